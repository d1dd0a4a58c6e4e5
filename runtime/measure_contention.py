"""How much slower passes are while another device works too: two processors share a memory, or even cores.

In a turn each model runs alone for a burst, and then both at once, each from its own thread: the drafter's passes of
one token for as long as the target's of some width, and until one of each is through. A turn gives two ratios, both at
once over alone; reported are their medians, by the target's width.
"""

from __future__ import annotations

import itertools
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from paceline.costmodel import Contention, Role
from paceline.runtime.measure import BURST_SECONDS, WARM_SECONDS, Loaded, call, calls
from paceline.targets.places import are_apart, is_pinned

WIDEST = 16  # of the passes that verify
Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class _Pair:
    target: Loaded
    drafter: Loaded
    width: int
    slows_target: list[float] = field(default_factory=list)
    slows_drafter: list[float] = field(default_factory=list)

    def take_turn(self, clock: Clock) -> None:
        self._at_once(clock, WARM_SECONDS)  # all cores come up to speed, and stay there
        alone = [_alone(one, width, clock) for one, width in ((self.target, self.width), (self.drafter, 1))]
        both = self._at_once(clock, BURST_SECONDS)
        for ratios, together, single in zip((self.slows_target, self.slows_drafter), both, alone, strict=True):
            ratios.append(statistics.mean(together) / single)

    def _at_once(self, clock: Clock, least: float) -> tuple[list[float], list[float]]:
        """Seconds of the target's passes, and of the drafter's that began and ended while those went on."""
        done, ends = threading.Event(), list[tuple[float, float]]()

        def draft() -> None:
            while not done.is_set():
                seconds = _call(self.drafter, 1, clock)
                ends.append((clock(), seconds))

        with ThreadPoolExecutor(1, thread_name_prefix="paceline-drafter") as drafting:
            drafted = drafting.submit(draft)
            try:
                _call(self.target, self.width, clock)  # both are under way
                start, passes, drafts = clock(), list[float](), list[float]()
                while not drafted.done() and (clock() - start < least or not drafts):
                    passes.append(_call(self.target, self.width, clock))
                    drafts = [seconds for at, seconds in ends if at - seconds >= start]
            finally:
                done.set()
            drafted.result()  # raises what went wrong there
        return passes, drafts

    def contention(self) -> Contention:
        return Contention(
            target=self.target.unit,
            drafter=self.drafter.unit,
            width=self.width,
            slows_target=statistics.median(self.slows_target),
            slows_drafter=statistics.median(self.slows_drafter),
        )


def _alone(loaded: Loaded, width: int, clock: Clock) -> float:
    return statistics.mean(calls(loaded, width, _half_full(loaded, width), clock, least=1, seconds=BURST_SECONDS))


def _call(loaded: Loaded, width: int, clock: Clock) -> float:
    return call(loaded, width, _half_full(loaded, width), clock)


def _half_full(loaded: Loaded, width: int) -> int:
    return (loaded.program.context - width) // 2


def pinned_places(programs: Sequence[Loaded]) -> dict[Role, list[str]]:
    """The sets of cores that each model is loaded on."""
    roles: tuple[Role, ...] = ("target", "drafter")
    return {role: [one.unit for one in programs if one.role == role and is_pinned(one.unit)] for role in roles}


class Contentions:
    """Every target and drafter among ``programs`` that are on two processors, at every width that may verify."""

    def __init__(
        self, programs: Sequence[Loaded], *, widest: int | None = None, clock: Clock = time.perf_counter
    ) -> None:
        self._clock = clock
        # of a unit that is measured with several counts of cores, the most, which comes last
        targets, drafters = ({e.unit: e for e in programs if e.role == role} for role in ("target", "drafter"))
        self._pairs = [
            _Pair(target, drafter, width)
            for target, drafter in itertools.product(targets.values(), drafters.values())
            if are_apart(target.unit, drafter.unit) and is_pinned(target.unit) == is_pinned(drafter.unit)
            for width in target.program.widths
            if 1 < width <= (widest or WIDEST)
        ]

    def turn(self) -> None:
        """Measure each pair once more."""
        for pair in self._pairs:
            pair.take_turn(self._clock)

    def found(self) -> tuple[Contention, ...]:
        """Medians so far; needs a turn."""
        return tuple(pair.contention() for pair in self._pairs)
