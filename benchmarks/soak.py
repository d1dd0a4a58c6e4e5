"""Hours of mixed work on one loaded bundle, and whether it stays right and flat.

    .venv/bin/python benchmarks/soak.py bundles/smollm2-int8 --minutes 30 --json soak.json

Prompts, sampled texts, chat turns and cancellations (dropped, closed, or interrupted by a timer at any instruction, as
by Ctrl-C) come in a seeded random order, with draft lengths that change. Every greedy output, as far as it came, is
compared token for token with plain decoding by a second copy of the target that forgets everything before each text; a
sampled one with itself, drawn again from the same seed.

Both copies are first filled to the end of their context: caches of keys and values take their pages when a position is
first reached, and the longest text so far would be taken for a leak.

Between two texts the process is looked at (``watching.py``): anonymous memory, which is what the kernel cannot drop,
threads, open files. The first fifth warms up. Exits with 1 where a text differs, memory is not flat outside IREE's
slabs, or threads or files grew.
"""

from __future__ import annotations

import argparse
import itertools
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
import numpy as np

from llamacpp import ROOT
from paceline.commands.generating import as_prompt
from paceline.console import print_json
from paceline.documents import write_json
from paceline.partition import Mapping
from paceline.runtime import Conversation, Generation, Model, load
from paceline.runtime.prompts import Prompt, read_prompts
from turns import Ids
from watching import Line, Watch

LENGTHS = (0, 1, 2, 3, 4, 7)
_MIB = 1 << 20


class Soak(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it. ``different`` names texts that differ; Counts are (after the warm-up, at the end).

    ``series`` is seconds, bytes outside IREE's slabs, bytes in them.
    """

    bundle: str
    mapping: str
    seconds: float
    acts: dict[str, int]
    tokens: int
    compared: int
    different: tuple[str, ...]
    memory: Line
    threads: tuple[int, int]
    files: tuple[int, int]
    series: tuple[tuple[float, int, int], ...]

    @property
    def sound(self) -> bool:
        grew = any(end > start for start, end in (self.threads, self.files))
        return self.memory.flat and not grew and not self.different


def fill(model: Model, prompts: Sequence[Prompt], *, draft_length: int) -> None:
    """Decode with a text as long as the context, so that every page of the caches has been written."""
    ids = [number for prompt in prompts for number in model.encode(prompt.text)]
    answer = 4 * max(LENGTHS)
    if len(ids) < model.context - answer:
        sys.exit(
            f"all prompts together have {len(ids)} tokens, fewer than the context of {model.context}; give longer ones"
        )
    model.generate(ids[: model.context - answer], max_new_tokens=answer, draft_length=draft_length).finish()


class Interrupted(Exception):
    """What the timer raises."""


class Work:
    """Acts on a model in a seeded random order, each compared with ``plain``."""

    def __init__(self, model: Model, plain: Model, prompts: Sequence[Prompt], *, tokens: int, seed: int) -> None:
        self._model, self._plain, self._prompts, self._most = model, plain, prompts, tokens
        self._random = np.random.default_rng(seed)
        self._talk = Conversation(model)
        self._kinds: dict[str, Callable[[], Generation]] = {"prompt": self._prompt, "sampled": self._sampled}
        if model.has_chat_template:
            self._kinds["chat"] = self._chat
        self.acts: Counter[str] = Counter()
        self.tokens = self.compared = 0
        self.different: list[str] = []

    def act(self) -> None:
        """Begin a text, end it in one of several ways, compare it."""
        kind = str(self._random.choice(list(self._kinds)))
        end = str(self._random.choice(["finished", "finished", "closed", "dropped", "interrupted"]))
        generation = self._kinds[kind]()
        self._run(generation, end)
        self.acts[f"{kind}, {end}"] += 1
        self.tokens += len(generation.ids)
        self._compare(generation, f"{kind}, {end}, text {self.acts.total()}", self._seed if kind == "sampled" else None)

    def _prompt(self) -> Generation:
        return self._model.generate(self._cut(), **self._options())

    def _sampled(self) -> Generation:
        self._seed = int(self._random.integers(1 << 31))
        return self._model.generate(self._cut(), temperature=0.8, top_p=0.95, seed=self._seed, **self._options())

    def _chat(self) -> Generation:
        text = self._any().text
        if len(self._talk.prompt(text)) + self._most > self._model.context:
            self._talk.restart()
        if len(self._talk.prompt(text)) + self._most > self._model.context:
            return self._prompt()  # as long as the context by itself
        return self._talk.say(text, **self._options())

    def _any(self) -> Prompt:
        return self._prompts[int(self._random.integers(len(self._prompts)))]

    def _cut(self) -> Ids:
        """A prompt's last tokens, as many as leave room for the answer."""
        ids = self._model.encode(as_prompt(self._model, self._any().text, raw=False))
        return ids[-(self._model.context - self._most) :]

    def _options(self) -> dict[str, Any]:
        length, wanted = int(self._random.choice(LENGTHS)), int(self._random.integers(1, self._most + 1))
        self._chosen = {"draft_length": length, "max_new_tokens": wanted}
        return self._chosen

    def _run(self, generation: Generation, end: str) -> None:
        if end == "interrupted":
            with interrupted_after(float(self._random.uniform(0.001, 1.0))):
                generation.finish()
            return
        for _ in itertools.islice(generation, None if end == "finished" else int(self._random.integers(1, self._most))):
            pass
        if end == "closed":
            generation.close()

    def _compare(self, generation: Generation, name: str, seed: int | None) -> None:
        ids = generation.ids
        if not ids:
            return
        self.compared += 1
        if seed is None:
            again = self._again(self._plain, generation.prompt, len(ids), draft_length=0)
        else:
            # with the same end in sight: where drafts are shortened, other random numbers are drawn
            sampling = {"temperature": 0.8, "top_p": 0.95, "seed": seed}
            again = self._again(self._model, generation.prompt, len(ids), **sampling, **self._chosen)
        if again != ids:
            self.different.append(f"{name}, drafting {self._chosen['draft_length']}")

    def _again(self, model: Model, prompt: Ids, tokens: int, **options: Any) -> Ids:
        model.forget()
        generation = model.generate(prompt, **options)
        for _ in itertools.islice(generation, tokens):
            pass
        return generation.ids


@contextmanager
def interrupted_after(seconds: float) -> Iterator[None]:
    """Break the body off after ``seconds``, wherever it is; it may also end before."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        yield
    except Interrupted:
        pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def soak(
    model: Model, plain: Model, prompts: Sequence[Prompt], *, minutes: float, tokens: int, seed: int, bound: float
) -> Soak:
    """Work for ``minutes`` and watch; ``bound`` is bytes that memory may rise by after the warm-up."""
    work, watch = Work(model, plain, prompts, tokens=tokens, seed=seed), Watch(60 * minutes)
    while watch.elapsed < 60 * minutes:
        work.act()
        watch.look()
        if sys.stderr.isatty():
            print(f"\r{watch.elapsed:6.0f} s, {work.acts.total()} texts ", end="", file=sys.stderr, flush=True)
    return Soak(
        bundle=model.bundle.name,
        mapping=str(model.setting.mapping),
        seconds=watch.elapsed,
        acts=dict(sorted(work.acts.items())),
        tokens=work.tokens,
        compared=work.compared,
        different=tuple(work.different),
        memory=watch.memory(bound),
        threads=watch.counts["task"],
        files=watch.counts["fd"],
        series=tuple((float(seconds), int(outside), int(inside)) for seconds, outside, inside in watch.series()),
    )


def show(found: Soak) -> None:
    """The summary for people."""
    memory = found.memory
    print(f"{found.bundle}, {found.mapping}: {found.seconds / 60:.1f} minutes, {sum(found.acts.values())} texts")
    for name, count in found.acts.items():
        print(f"  {count:5} {name}")
    print(f"tokens       {found.tokens}; {found.compared} texts compared, {len(found.different)} different")
    print(
        f"memory       {memory.median / _MIB:.1f} MiB anonymous outside slabs; the line rises by"
        f" {memory.rise / 1024:+.0f} +- {memory.error / 1024:.0f} KiB over {memory.samples} samples after the warm-up"
        f" (bound {memory.bound / 1024:.0f} KiB): {'flat' if memory.flat else 'NOT FLAT'}"
    )
    slabs = [inside / _MIB for _, _, inside in found.series]
    print(f"slabs        {slabs[0]:.1f} MiB at the start, {slabs[-1]:.1f} at the end")
    print(f"threads      {found.threads[0]} after the warm-up, {found.threads[1]} at the end")
    print(f"files        {found.files[0]} after the warm-up, {found.files[1]} at the end")
    for name in found.different:
        print(f"DIFFERENT    {name}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--prompts", type=Path, default=ROOT.parent / "shared/data/spec_bench_dev.jsonl")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--tokens", type=int, default=64, help="most tokens of an answer")
    parser.add_argument("--unit", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bound", type=float, default=4.0, help="MiB that memory may rise by after the warm-up")
    parser.add_argument("--json", type=Path, help="write the result to this file too; - prints it instead")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    prompts = read_prompts(options.prompts)
    pair = Mapping(target=options.unit, drafter=options.unit)
    with (
        load(options.bundle, mapping=pair) as model,
        load(options.bundle, mapping=Mapping(target=options.unit)) as plain,
    ):
        fill(model, prompts, draft_length=max(LENGTHS))
        fill(plain, prompts, draft_length=0)
        how = {"minutes": options.minutes, "tokens": options.tokens, "seed": options.seed}
        found = soak(model, plain, prompts, bound=options.bound * _MIB, **how)
    if options.json == Path("-"):
        print_json(found)
    else:
        show(found)
        if options.json:
            write_json(options.json, found)
    if not found.sound:
        sys.exit(1)


if __name__ == "__main__":
    main()
