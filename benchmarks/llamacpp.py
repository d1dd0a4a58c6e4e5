"""llama.cpp as the benchmarks see it: its Python library in a process of its own, and its draft-model program."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from turns import Answer, Ids, Play

ROOT = Path(__file__).resolve().parents[1]
PEER_PYTHON = ROOT / ".venv-peers/bin/python"
PEER_SPECULATIVE = ROOT / ".peers/bin/llama-speculative-simple"


def cores() -> int:
    """Cores that this process may use; the threads of every contestant."""
    return len(os.sched_getaffinity(0))


class Peer:
    """llama-cpp-python with one model open. A context manager: the process ends with it.

    ``lookup`` is the number of tokens that its prompt lookup drafts, 0 for plain decoding.
    """

    def __init__(
        self, gguf: Path, *, threads: int, context: int, lookup: int = 0, logits_all: bool = False, tokens: int = 1
    ) -> None:
        self._tokens = tokens
        worker = [str(PEER_PYTHON), str(ROOT / "benchmarks/peer_llamacpp.py"), "--model", str(gguf)]
        options = ["--threads", str(threads), "--context", str(context), "--lookup", str(lookup)]
        self._process = subprocess.Popen(
            [*worker, *options, *(["--logits-all"] if logits_all else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.version = str(self._answer()["ready"])

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()

    def generate(self, ids: Ids, *, tokens: int, fresh: bool = True) -> Answer:
        """Decode ``tokens`` tokens after ``ids``; with ``fresh`` nothing of the call before is reused."""
        said = self._ask({"ids": ids, "tokens": tokens, "fresh": fresh})
        speed = (tokens - 1) / said["decode"] if tokens > 1 else 0.0
        return Answer(speed, tuple(said["ids"]), said["prefill"], text=said["text"], reused=said["reused"])

    def __call__(self, ids: Ids) -> Answer:
        return self.generate(ids, tokens=self._tokens)

    def score(self, ids: Ids, rows: int) -> list[float]:
        """Natural log probability of each of the last ``rows`` of ``ids``."""
        return list(self._ask({"score": ids, "rows": rows})["scores"])

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin
        print(json.dumps(request), file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"llama-cpp-python ended with {self._process.wait()}; what it said stands above")
        return dict(json.loads(line))


def speculative(
    gguf: Path, drafter: Path, *, length: int, tokens: int, threads: int, context: int, texts: Mapping[Ids, str]
) -> Play:
    """llama.cpp's own draft-model decoding, a process a prompt; ``texts`` has the prompts' texts by their ids."""
    models = [str(PEER_SPECULATIVE), "-m", str(gguf), "-md", str(drafter), "--spec-type", "draft-simple"]
    amounts = {"-n": tokens, "--spec-draft-n-max": length, "-t": threads, "-td": threads, "-c": context, "--temp": 0}
    fixed = [*models, "--ignore-eos", *(word for pair in amounts.items() for word in map(str, pair))]

    def play(ids: Ids) -> Answer:
        with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as prompt:
            # The program drops one newline that ends the file.
            prompt.write(texts[ids] + "\n")
            prompt.flush()
            said = subprocess.run([*fixed, "-f", prompt.name], capture_output=True, check=True)
        return read_speculative(
            said.stdout.decode("utf-8", "replace"), said.stderr.decode("utf-8", "replace"), texts[ids], len(ids)
        )

    return play


def read_speculative(output: str, log: str, prompt: str, prompt_tokens: int) -> Answer:
    """Speed, share of kept drafts and text from what the program prints; its own clock counts decoding only."""
    speed = re.search(r"decoded .*?speed:\s*([\d.]+) t/s", log)
    kept = re.search(r"accept\s*=\s*([\d.]+)%", log)
    read = re.search(r"encoded\s+(\d+) tokens in\s+([\d.]+) seconds", log)
    if not speed or not read:
        sys.exit(f"no speed in what {PEER_SPECULATIVE.name} printed:\n{log[-2000:]}")
    if int(read[1]) != prompt_tokens:
        sys.exit(f"{PEER_SPECULATIVE.name} read {read[1]} tokens of a prompt of {prompt_tokens}")
    # Two newlines of its own stand before the prompt, and four after the answer.
    text = output.removeprefix("\n\n").removesuffix("\n\n\n\n")
    if not text.startswith(prompt):
        sys.exit(f"{PEER_SPECULATIVE.name} repeats the prompt as {text[: len(prompt)]!r}, expected {prompt!r}")
    text = text.removeprefix(prompt)
    return Answer(float(speed[1]), (), float(read[2]), float(kept[1]) / 100 if kept else None, text)
