"""Worker that runs llama-cpp-python; lives in an environment of its own and talks JSON lines.

    {"ids": [1, 2, 3], "tokens": 64, "fresh": true}
        ->  {"ids": [...], "text": "...", "prefill": seconds, "decode": seconds, "reused": 0}
    {"score": [1, 2, 3, 4], "rows": 2}
        ->  {"scores": [log probability of the last 2 tokens]}

``prefill`` ends with the first token, ``decode`` covers the others. Greedy, no end-of-sequence stop; ``text`` ends
before an end-of-sequence token. With ``"fresh": false`` what the cache holds of the ids is reused, as the library does
from call to call. Options are the library's defaults but for threads and context; with ``--lookup N`` it decodes with
its LlamaPromptLookupDecoding, N tokens ahead, which needs the logits of every row and turns them on.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

import numpy as np


def decode(llama: Any, ids: list[int], tokens: int, fresh: bool) -> dict[str, Any]:
    """Greedy continuation of ``ids`` by ``tokens`` tokens."""
    if fresh:
        llama.reset()
        llama._ctx.kv_cache_clear() if hasattr(llama._ctx, "kv_cache_clear") else llama._ctx.memory_clear(True)
    reused = 0 if fresh else shared(llama.input_ids[: llama.n_tokens].tolist(), ids)
    made: list[int] = []
    started = first = time.perf_counter()
    for token in llama.generate(ids, temp=0.0, top_k=1, reset=True):
        made.append(int(token))
        if len(made) == 1:
            first = time.perf_counter()
        if len(made) == tokens:
            break
    ended = time.perf_counter()
    text = llama.detokenize(before_end(made, llama.token_eos()), prev_tokens=ids, special=True)
    said = text.decode("utf-8", "replace")
    return {"ids": made, "text": said, "prefill": first - started, "decode": ended - first, "reused": reused}


def shared(first: list[int], second: list[int]) -> int:
    """Tokens that two sequences share from their beginning."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(first), len(second)))


def before_end(ids: list[int], end: int) -> list[int]:
    """The ids before the first ``end``."""
    return ids[: ids.index(end)] if end in ids else ids


def score(llama: Any, ids: list[int], rows: int) -> list[float]:
    """Natural log probability of each of the last ``rows`` tokens after those before it, in a fresh context."""
    llama.reset()
    llama.eval(ids[:-1])
    logits = llama.scores[len(ids) - 1 - rows : len(ids) - 1].astype(np.float64)
    top = logits.max(axis=1)
    total = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
    return [float(value) for value in logits[range(rows), ids[-rows:]] - total]


def opened(options: argparse.Namespace) -> Any:
    """The model with the library's defaults."""
    import llama_cpp
    from llama_cpp.llama_speculative import LlamaPromptLookupDecoding

    more = {"draft_model": LlamaPromptLookupDecoding(num_pred_tokens=options.lookup)} if options.lookup else {}
    return llama_cpp.Llama(
        options.model,
        n_ctx=options.context,
        n_threads=options.threads,
        n_threads_batch=options.threads,
        # With fewer rows than the context, prompt lookup fails behind the first batch of 512 tokens.
        logits_all=bool(options.lookup) or options.logits_all,
        verbose=False,
        **more,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--lookup", type=int, default=0, help="tokens to look up ahead; 0: plain")
    parser.add_argument("--logits-all", action="store_true", help="keep all logits, as scores need them")
    options = parser.parse_args()
    import llama_cpp

    llama = opened(options)
    print(json.dumps({"ready": llama_cpp.__version__}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        if "score" in asked:
            answer: dict[str, Any] = {"scores": score(llama, asked["score"], asked["rows"])}
        else:
            answer = decode(llama, asked["ids"], asked["tokens"], asked["fresh"])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
