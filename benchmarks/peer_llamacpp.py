"""Worker that decodes with llama-cpp-python; runs in an environment of its own and talks JSON lines.

    {"ids": [1, 2, 3], "tokens": 64}   ->   {"ids": [...], "prefill": seconds, "decode": seconds}

``prefill`` ends with the first token, ``decode`` covers the others. Greedy, no end-of-sequence stop.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any


def decode(model: Any, ids: list[int], tokens: int) -> dict[str, Any]:
    """Greedy continuation of ``ids`` with nothing reused from the call before."""
    model.reset()
    model._ctx.kv_cache_clear() if hasattr(model._ctx, "kv_cache_clear") else model._ctx.memory_clear(True)
    made: list[int] = []
    started = time.perf_counter()
    first = started
    for token in model.generate(ids, temp=0.0, top_k=1, reset=True):
        made.append(int(token))
        if len(made) == 1:
            first = time.perf_counter()
        if len(made) == tokens:
            break
    return {"ids": made, "prefill": first - started, "decode": time.perf_counter() - first}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--context", type=int, default=1024)
    options = parser.parse_args()
    import llama_cpp

    model = llama_cpp.Llama(
        options.model, n_ctx=options.context, n_threads=options.threads, n_threads_batch=options.threads, verbose=False
    )
    print(json.dumps({"ready": llama_cpp.__version__}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(decode(model, request["ids"], request["tokens"])), flush=True)


if __name__ == "__main__":
    main()
