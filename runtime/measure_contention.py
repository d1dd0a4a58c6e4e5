"""How much slower passes are while another device works too: two processors share a memory, or even cores.

In a turn each model runs alone for a burst, and then both at once, each from its own thread: the drafter's passes of
one token for as long as the target's of some width. A turn gives two ratios, both at once over alone; reported are
their medians, by the target's width.
"""

from __future__ import annotations

import itertools
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from paceline.costmodel import Contention, Role
from paceline.runtime.measure import BURST_CALLS, WARM_SECONDS, Loaded, call, calls
from paceline.targets.places import are_apart, is_pinned

BURST_SECONDS = 0.1
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
        alone = [statistics.mean(_burst(one, width, clock)) for one, width in self._passes()]
        both = self._at_once(clock, BURST_SECONDS)
        for ratios, together, single in zip((self.slows_target, self.slows_drafter), both, alone, strict=True):
            if together:
                ratios.append(statistics.mean(together) / single)

    def _passes(self) -> tuple[tuple[Loaded, int], ...]:
        return (self.target, self.width), (self.drafter, 1)

    def _at_once(self, clock: Clock, least: float) -> tuple[list[float], list[float]]:
        """Seconds of the target's passes, and of the drafter's that began and ended while those went on."""
        done, ends = threading.Event(), list[tuple[float, float]]()

        def draft() -> None:
            while not done.is_set():
                seconds = _call(self.drafter, 1, clock)
                ends.append((clock(), seconds))

        thread = threading.Thread(target=draft, name="paceline-drafter")
        thread.start()
        try:
            _call(self.target, self.width, clock)  # both are under way
            start = clock()
            passes = list(_burst(self.target, self.width, clock, least))
            end = clock()
        finally:
            done.set()
            thread.join()
        return passes, [seconds for at, seconds in ends if at - seconds >= start and at <= end]

    def contention(self) -> Contention:
        return Contention(
            target=self.target.unit,
            drafter=self.drafter.unit,
            width=self.width,
            slows_target=statistics.median(self.slows_target),
            slows_drafter=statistics.median(self.slows_drafter or [1.0]),
        )


def _burst(loaded: Loaded, width: int, clock: Clock, least: float = BURST_SECONDS) -> Iterator[float]:
    return calls(loaded, width, _half_full(loaded, width), clock, least=BURST_CALLS, seconds=least)


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
