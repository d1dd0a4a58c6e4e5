"""Perplexity of bundles, and of GGUF files through llama-cpp-python, over exactly the same tokens.

    .venv/bin/python benchmarks/perplexity.py bundles/f32 bundles/int8 bundles/int4 --gguf model-q8_0.gguf

A text is cut into chunks that each begin with an empty cache, and the second half of every chunk is scored, as
llama.cpp's own program does; no token is put before a chunk. Bundles run their compiled programs on the CPU. Ratios are
to the first bundle, with the paired standard error of the log difference, token by token.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llamacpp import Peer, cores
from paceline.errors import BundleError
from paceline.partition import read_bundle
from paceline.runtime.device import open_device
from paceline.runtime.program import load_program
from paceline.runtime.prompts import read_prompts
from paceline.runtime.session import Session
from paceline.runtime.text import read_tokenizer
from turns import Ids, table

ROOT = Path(__file__).resolve().parents[1]
LONG = ("summarization", "rag")
Score = Callable[[Ids, int], Sequence[float]]


def log_probabilities(logits: NDArray[np.float32], ids: Sequence[int]) -> NDArray[np.float64]:
    """Natural log probability of ids [n] under logits [n, vocabulary]."""
    found = np.empty(len(ids))
    # Row by row: a chunk's logits in double precision would be large.
    for row, token in enumerate(ids):
        values = logits[row].astype(np.float64)
        top = values.max()
        found[row] = values[token] - top - np.log(np.exp(values - top).sum())
    return found


def session_score(session: Session) -> Score:
    """Scores by a compiled program, from an empty cache each time."""

    def score(ids: Ids, rows: int) -> Sequence[float]:
        session.rewind(0)
        step = session.follow(ids[:-1], rows=rows, logits=True)
        assert step.logits is not None
        return [float(value) for value in log_probabilities(step.logits, ids[-rows:])]

    return score


def all_scores(name: str, score: Score, chunks: Sequence[Ids]) -> NDArray[np.float64]:
    """Log probabilities of the second halves of all chunks, in one row."""
    found: list[float] = []
    for number, chunk in enumerate(chunks, 1):
        found += score(chunk, len(chunk) // 2)
        told = np.exp(-np.mean(found))
        print(f"{name}: chunk {number} of {len(chunks)}, perplexity so far {told:.4f}", file=sys.stderr, flush=True)
    return np.array(found)


def summary(scores: NDArray[np.float64], reference: NDArray[np.float64]) -> dict[str, float]:
    """Perplexity, its ratio to the reference's, and the standard error of that ratio's logarithm."""
    difference = reference - scores
    error = difference.std(ddof=1) / np.sqrt(len(difference)) if len(difference) > 1 else float("nan")
    return {
        "perplexity": float(np.exp(-scores.mean())),
        "tokens": len(scores),
        "ratio": float(np.exp(difference.mean())),
        "error": float(error),
    }


def chunked(ids: Sequence[int], size: int, tokens: int) -> list[Ids]:
    """Whole chunks of ``size`` ids, up to ``tokens`` ids together."""
    usable = min(len(ids), tokens)
    return [tuple(ids[start : start + size]) for start in range(0, usable - size + 1, size)]


def measure(options: argparse.Namespace, chunks: Sequence[Ids]) -> dict[str, NDArray[np.float64]]:
    """Scores of every bundle and GGUF file, by name; one is open at a time."""
    found = {}
    for folder in options.bundles:
        bundle = read_bundle(folder)
        unit = bundle.soc.unit("cpu")
        if unit is None:
            raise BundleError(f"{folder} is for {bundle.soc.name}, which has no unit 'cpu'")
        if any(
            one.role == options.role and one.spec.draft_vocabulary and "cpu" in one.kernels for one in bundle.models
        ):
            raise BundleError(
                f"the {options.role} of {folder} computes few logits; compile it with --draft-vocabulary 0"
            )
        program = load_program(folder, bundle, options.role, open_device(unit))
        if program.context < options.chunk:
            raise BundleError(f"{folder} has a context of {program.context}; expected at least --chunk {options.chunk}")
        found[str(folder)] = all_scores(str(folder), session_score(Session(program)), chunks)
        program.close()
    for file in options.gguf:
        with Peer(file, threads=options.threads, context=options.chunk, logits_all=True) as peer:
            found[str(file)] = all_scores(file.name, peer.score, chunks)
    return found


def read_text(options: argparse.Namespace) -> str:
    """The text to score: a file, or the long prompts of the prompts file, joined."""
    if options.text:
        return str(options.text.read_text(encoding="utf-8"))
    return "\n\n".join(prompt.text for prompt in read_prompts(options.prompts) if prompt.task in LONG)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", type=Path, nargs="+")
    parser.add_argument("--gguf", type=Path, action="append", default=[], help="may be repeated")
    parser.add_argument("--role", choices=["target", "drafter"], default="target")
    parser.add_argument("--text", type=Path, help="instead of the long prompts of --prompts")
    parser.add_argument("--prompts", type=Path, default=ROOT.parent / "shared/data/spec_bench_dev.jsonl")
    parser.add_argument("--tokens", type=int, default=8192, help="of the text; half of them are scored")
    parser.add_argument("--chunk", type=int, default=512)
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--json", type=Path, help="write the summaries and every log probability there")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    tokenizer = read_tokenizer(options.bundles[0] / "tokenizer.json")
    ids = tokenizer.encode(read_text(options), add_special_tokens=False).ids
    chunks = chunked(ids, options.chunk, options.tokens)
    if not chunks:
        sys.exit(f"the text has {len(ids)} tokens, expected at least --chunk {options.chunk} and --tokens as many")
    scores = measure(options, chunks)
    reference = next(iter(scores.values()))
    told = {name: summary(values, reference) for name, values in scores.items()}
    lines = [
        [name, f"{s['perplexity']:.4f}", f"{s['ratio']:.4f}", f"{100 * s['error']:.2f} %", f"{s['tokens']:.0f}"]
        for name, s in told.items()
    ]
    print(table(["model", "perplexity", "over the first", "standard error", "tokens scored"], lines))
    if options.json:
        both = {name: {**told[name], "scores": values.tolist()} for name, values in scores.items()}
        options.json.write_text(json.dumps(both) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
