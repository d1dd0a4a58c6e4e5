"""Plain and speculative decoding beside llama.cpp: same prompts, same machine, one run, in turns.

    sh scripts/peers
    .venv/bin/python benchmarks/against_llamacpp.py BUNDLE --gguf target.gguf [--drafter-gguf drafter.gguf]

Contestants take turns on every prompt in every repetition; what is printed is the median of the ratios, pair by pair,
because a shared machine drifts. Each generates the same number of tokens greedily, end-of-sequence ignored.
llama.cpp decodes plainly through llama-cpp-python; with ``--drafter-gguf`` also by ``llama-speculative-simple``.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from paceline.costmodel import Acceptance
from paceline.partition import Mapping
from paceline.runtime import Model, load
from paceline.runtime.prompts import read_prompts

ROOT = Path(__file__).resolve().parents[1]
PEER_PYTHON = ROOT / ".venv-peers/bin/python"
PEER_SPECULATIVE = ROOT / ".peers/bin/llama-speculative-simple"


@dataclass(frozen=True)
class Turn:
    """One contestant's answer to one prompt: ids where it tells them, and tokens per second after the first."""

    ids: tuple[int, ...]
    tokens_per_second: float
    prefill_seconds: float = 0.0
    accepted: float | None = None


Contestant = Callable[[tuple[int, ...]], Turn]


class Peer:
    """llama-cpp-python in a process of its own."""

    def __init__(self, gguf: Path, threads: int, tokens: int) -> None:
        command = [str(PEER_PYTHON), str(ROOT / "benchmarks/peer_llamacpp.py"), "--model", str(gguf)]
        self._tokens = tokens
        self._process = subprocess.Popen(
            [*command, "--threads", str(threads)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.version = self._answer()["ready"]

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()

    def __call__(self, ids: tuple[int, ...]) -> Turn:
        assert self._process.stdin
        print(json.dumps({"ids": ids, "tokens": self._tokens}), file=self._process.stdin, flush=True)
        said = self._answer()
        return Turn(tuple(said["ids"]), (self._tokens - 1) / said["decode"], said["prefill"])

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        return dict(json.loads(self._process.stdout.readline()))


def ours(model: Model, tokens: int, draft_length: int) -> Contestant:
    """paceline, with the cache of the prompt before forgotten."""

    def turn(ids: tuple[int, ...]) -> Turn:
        model.forget()
        made = model.generate(ids, max_new_tokens=tokens, draft_length=draft_length or None, ignore_eos=True).finish()
        kept: Acceptance = made.stats.acceptance
        return Turn(made.ids, made.stats.tokens_per_second, made.stats.time_to_first_token, kept.alpha)

    return turn


def speculative_peer(options: argparse.Namespace, texts: dict[tuple[int, ...], str]) -> Contestant:
    """llama.cpp's own draft-model decoding, a process a prompt; its own clock counts decoding only."""

    def turn(ids: tuple[int, ...]) -> Turn:
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as prompt:
            prompt.write(texts[ids])
            prompt.flush()
            command = [
                *(str(PEER_SPECULATIVE), "-m", str(options.gguf), "-md", str(options.drafter_gguf)),
                *("--spec-type", "draft-simple", "-td", str(options.threads)),
                *("-f", prompt.name, "-n", str(options.tokens), "--spec-draft-n-max", str(options.peer_draft_length)),
                *("-t", str(options.threads), "-c", "1024", "--temp", "0", "--ignore-eos"),
            ]
            said = subprocess.run(command, capture_output=True, text=True, check=True)
        text = said.stdout + said.stderr
        speed = re.search(r"decoded .*?speed:\s*([\d.]+) t/s", text)
        kept = re.search(r"accept\s*=\s*([\d.]+)%", text)
        if not speed:
            sys.exit(f"no speed in the output of {PEER_SPECULATIVE.name}:\n{text[-2000:]}")
        return Turn((), float(speed[1]), accepted=float(kept[1]) / 100 if kept else None)

    return turn


def compare(contestants: dict[str, Contestant], prompts: dict[str, list[tuple[int, ...]]], repeats: int) -> None:
    """Print, for every category, each contestant's median speed and its ratio to the first, pair by pair."""
    for category, ids in prompts.items():
        turns: dict[str, list[Turn]] = {name: [] for name in contestants}
        for _ in range(repeats):
            for one in ids:
                for name, contestant in contestants.items():
                    turns[name].append(contestant(one))
        first = next(iter(turns.values()))
        for name, made in turns.items():
            ratios = [a.tokens_per_second / b.tokens_per_second for a, b in zip(made, first, strict=True)]
            same = [a.ids == b.ids for a, b in zip(made, first, strict=True) if a.ids]
            kept = [turn.accepted for turn in made if turn.accepted is not None]
            print(
                f"{category:12} {name:34} {statistics.median(t.tokens_per_second for t in made):7.1f} tok/s"
                f"  ratio {statistics.median(ratios):5.2f} [{min(ratios):.2f}, {max(ratios):.2f}]"
                f"  first token {statistics.median(t.prefill_seconds for t in made):6.3f} s"
                + (f"  same ids as first {sum(same)}/{len(same)}" if same else "")
                + (f"  accepted {statistics.mean(kept):.2f}" if kept else ""),
                flush=True,
            )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--gguf", type=Path, required=True, help="the target at the precision to compare with")
    parser.add_argument("--drafter-gguf", type=Path, help="the drafter, for llama.cpp's own speculative decoding")
    parser.add_argument("--draft-lengths", default="", help="ours, separated by commas; empty: plain only")
    parser.add_argument("--peer-draft-length", type=int, default=3)
    parser.add_argument("--prompts", type=Path, default=ROOT.parent / "shared/data/spec_bench_dev.jsonl")
    parser.add_argument("--categories", default="coding,translation,qa")
    parser.add_argument("--limit", type=int, default=3, help="prompts a category")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def main() -> None:
    options = arguments()
    lengths = [int(length) for length in options.draft_lengths.split(",") if length]
    plain = load(options.bundle, mapping=Mapping(target="cpu"))
    texts: dict[tuple[int, ...], str] = {}
    prompts: dict[str, list[tuple[int, ...]]] = {}
    for prompt in read_prompts(options.prompts):
        chosen = prompts.setdefault(prompt.task, [])
        if prompt.task in options.categories.split(",") and len(chosen) < options.limit:
            ids = plain.encode([{"role": "user", "content": prompt.text}])
            texts[ids] = plain.tokenizer.decode(list(ids), skip_special_tokens=False)
            chosen.append(ids)
    contestants: dict[str, Contestant] = {"paceline plain": ours(plain, options.tokens, 0)}
    if lengths:
        pair = load(options.bundle, mapping=Mapping(target="cpu", drafter="cpu"), draft_length=max(lengths))
        for length in lengths:
            contestants[f"paceline, drafting {length}"] = ours(pair, options.tokens, length)
    with Peer(options.gguf, options.threads, options.tokens) as peer:
        contestants[f"llama.cpp plain ({options.gguf.stem})"] = peer
        if options.drafter_gguf:
            name = f"llama.cpp, drafting {options.peer_draft_length}"
            contestants[name] = speculative_peer(options, texts)
        print(f"{options.bundle} against llama-cpp-python {peer.version}, {options.tokens} tokens, ratios to the first")
        compare(contestants, {name: ids for name, ids in prompts.items() if ids}, options.repeats)


if __name__ == "__main__":
    main()
