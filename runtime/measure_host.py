"""What a round costs outside forward passes, in the loop that users run.

Every program is wrapped in a clock; what a generation takes after its first token beyond its forward passes is host
time. Measured without drafts, with the shortest and with the longest drafts: between those it is a line.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from paceline.costmodel import Drafting, HostTime
from paceline.runtime.model import Model
from paceline.runtime.program import Program, Step


class TimedProgram:
    """A program that counts the ``seconds`` of its passes."""

    def __init__(self, program: Program) -> None:
        self.widths, self.context, self.vocabulary = program.widths, program.context, program.vocabulary
        self.seconds = 0.0
        self._program = program

    def step(self, tokens: NDArray[np.int32], position: int, *, first: int = 0, logits: bool = False) -> Step:
        """See ``Program.step``."""
        start = time.perf_counter()
        try:
            return self._program.step(tokens, position, first=first, logits=logits)
        finally:
            self.seconds += time.perf_counter() - start

    def close(self) -> None:
        """See ``Program.close``."""
        self._program.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedModel:
    """A model whose drafter, if it has one, is of the kind ``drafting``, and the clocks around its programs."""

    model: Model
    drafting: Drafting
    programs: tuple[TimedProgram, ...]

    def host_of_a_round(self, prompt: Sequence[int], *, tokens: int, draft_length: int) -> float | None:
        """Generate, and return the host seconds of a round; None where the text ended before any."""
        self.model.forget()
        generation = self.model.generate(prompt, max_new_tokens=tokens, draft_length=draft_length)
        next(generation, None)
        start, rounds = self._beyond_passes(generation.stats.total_seconds), generation.stats.rounds
        stats = generation.finish().stats
        beyond = self._beyond_passes(stats.total_seconds) - start
        return max(0.0, beyond) / (stats.rounds - rounds) if stats.rounds > rounds else None

    def _beyond_passes(self, active: float) -> float:
        return active - sum(program.seconds for program in self.programs)


@dataclass(frozen=True, slots=True)
class HostTimes:
    """Collects host seconds of rounds; ``medians`` makes the values.

    Each time one text is generated, or as many as take ``least_seconds``, and their mean counts.
    """

    models: tuple[TimedModel, ...]
    longest: int
    least_seconds: float = 0.0
    _seen: dict[tuple[Drafting, int], list[float]] = field(default_factory=dict)

    def measure(self, prompt: Sequence[int], *, tokens: int) -> None:
        """Generate after ``prompt`` without drafts, and with each drafter at its shortest and its longest drafts."""
        self._note(self.models[0], "none", 0, prompt, tokens)
        for timed in self.models:
            for length in self._lengths(timed):
                self._note(timed, timed.drafting, length, prompt, tokens)

    def medians(self) -> tuple[HostTime, ...]:
        """Medians over the generations so far."""
        return tuple(
            HostTime(drafter=drafting, draft_length=length, seconds=statistics.median(seconds))
            for (drafting, length), seconds in self._seen.items()
        )

    def _lengths(self, timed: TimedModel) -> Iterable[int]:
        return () if timed.drafting == "none" or not self.longest else sorted({1, self.longest})

    def _note(self, timed: TimedModel, drafting: Drafting, length: int, prompt: Sequence[int], tokens: int) -> None:
        start, found = time.perf_counter(), list[float]()
        while not found or time.perf_counter() - start < self.least_seconds:
            seconds = timed.host_of_a_round(prompt, tokens=tokens, draft_length=length)
            if seconds is None:
                return
            found.append(seconds)
        self._seen.setdefault((drafting, length), []).append(statistics.mean(found))
