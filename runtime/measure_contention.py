"""How much slower passes are in company of another model: they share a memory, caches, or even cores.

A turn gives two ratios, of the target's passes and of the drafter's, in company over alone; reported are their
interquartile means over turns. Two devices at once: each model runs alone for a burst, and then both, each from its own
thread, the drafter's passes of one token for as long as the target's of some width, and until one of each is through.

In turns: a verify pass follows the passes of a drafter, which left weights of their own in the caches, and the first
draft follows a verdict. Where a device waits for another one meanwhile, its cores or its clock may have gone to sleep.

Units count with the most cores that are measured of them.
"""

from __future__ import annotations

import itertools
import statistics
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import ClassVar

from paceline.costmodel import Contention, Role
from paceline.costmodel.profile import Together
from paceline.runtime.averages import interquartile_mean
from paceline.runtime.loaded import Loaded
from paceline.runtime.measure import BURST_SECONDS, WARM_SECONDS, call, calls
from paceline.targets.places import are_apart, is_pinned

# A large last cache keeps some of a model's weights from pass to pass, and has them back only after a dozen.
SETTLING_PASSES = 20
Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class _Pair(ABC):
    """A target whose passes have ``width`` tokens and a drafter; ``slows`` has their ratios, turn by turn."""

    together: ClassVar[Together]
    target: Loaded
    drafter: Loaded
    width: int
    slows: list[tuple[float, float]] = field(default_factory=list, kw_only=True)

    @abstractmethod
    def take_turn(self, clock: Clock) -> None:
        """Measure it once more."""

    def note(self, company: tuple[Sequence[float], Sequence[float]], alone: tuple[float, float]) -> None:
        """Means in company over those alone, of the target's passes and of the drafter's."""
        target, drafter = (statistics.mean(seconds) / one for seconds, one in zip(company, alone, strict=True))
        self.slows.append((target, drafter))

    def found(self) -> Contention | None:
        """None where no turn measured it."""
        if not self.slows:
            return None
        target, drafter = (interquartile_mean(ratios) for ratios in zip(*self.slows, strict=True))
        return Contention(
            together=self.together,
            target=self.target.unit,
            drafter=self.drafter.unit,
            width=self.width,
            slows_target=target,
            slows_drafter=drafter,
        )


@dataclass(frozen=True, slots=True)
class _AtOnce(_Pair):
    together = "at once"

    def take_turn(self, clock: Clock) -> None:
        self._at_once(clock, WARM_SECONDS)  # all cores come up to speed, and stay there
        verify = _settled(self.target, self.width, clock, BURST_SECONDS)
        draft = _settled(self.drafter, 1, clock, BURST_SECONDS)
        self.note(self._at_once(clock, BURST_SECONDS), (statistics.mean(verify), statistics.mean(draft)))

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


@dataclass(frozen=True, slots=True)
class _InTurns(_Pair):
    """Rounds whose drafts are verified at ``width``: ``lengths``, which share a ratio, as they share a pass."""

    together = "in turns"
    lengths: Sequence[int]

    def take_turn(self, clock: Clock) -> None:
        """Measure it once more, unless a pass outlasts a burst.

        Caches are filled again in milliseconds, and a device that idled is slow for tenths of a second.
        """
        if max(_quicker(self.target, self.width, clock), _quicker(self.drafter, 1, clock)) > BURST_SECONDS:
            return
        self._rounds(clock, WARM_SECONDS)
        rounds = self._rounds(clock, 2 * BURST_SECONDS)
        company = [verdict for _, verdict in rounds], [one for drafts, _ in rounds for one in drafts]
        # As long as in company: a ratio is no surer than the shorter of its sides.
        verify = _settled(self.target, self.width, clock, max(BURST_SECONDS, sum(company[0])))
        draft = _settled(self.drafter, 1, clock, max(BURST_SECONDS, sum(company[1])))
        self.note(company, (statistics.mean(verify), statistics.mean(draft)))

    def _rounds(self, clock: Clock, least: float) -> list[tuple[list[float], float]]:
        """Seconds of drafts and of the verdict on them, each length at least once; a first round does not count."""
        start, rounds = clock(), list[tuple[list[float], float]]()
        for length in itertools.cycle(self.lengths):
            rounds.append(
                ([_call(self.drafter, 1, clock) for _ in range(length)], _call(self.target, self.width, clock))
            )
            if clock() - start >= least and len(rounds) > len(self.lengths):
                break
        return rounds[1:]


def _quicker(loaded: Loaded, width: int, clock: Clock) -> float:
    """Of two passes, because the first may be the first after a pause."""
    return min(_call(loaded, width, clock) for _ in range(2))


def _settled(loaded: Loaded, width: int, clock: Clock, least: float) -> list[float]:
    """Passes one after another for so long, once the other model's traces are gone: as passes alone are measured."""
    settling = calls(loaded, width, _half_full(loaded, width), clock, least=1, seconds=WARM_SECONDS)
    for _ in itertools.islice(settling, SETTLING_PASSES):
        pass
    return _stretch(loaded, width, clock, least)


def _stretch(loaded: Loaded, width: int, clock: Clock, least: float) -> list[float]:
    """Passes one after another, for so long; the first one, which follows another model's, does not count."""
    return list(calls(loaded, width, _half_full(loaded, width), clock, least=2, seconds=least))[1:]


def _call(loaded: Loaded, width: int, clock: Clock) -> float:
    return call(loaded, width, _half_full(loaded, width), clock)


def _half_full(loaded: Loaded, width: int) -> int:
    return (loaded.program.context - width) // 2


def pinned_places(programs: Sequence[Loaded]) -> dict[Role, list[str]]:
    """The sets of cores that each model is loaded on."""
    roles: tuple[Role, ...] = ("target", "drafter")
    return {role: [one.unit for one in programs if one.role == role and is_pinned(one.unit)] for role in roles}


class Contentions:
    """Every target and drafter among ``programs`` that a mapping may have, at rounds of each of draft ``lengths``.

    All of them in turns, and at once those that are on two processors.
    """

    def __init__(self, programs: Sequence[Loaded], lengths: Iterable[int], *, clock: Clock = time.perf_counter) -> None:
        self._clock, drafts = clock, sorted({length for length in lengths if length})
        pairs = list(_pairs(programs)) if drafts else []
        apart = [(target, drafter) for target, drafter in pairs if are_apart(target.unit, drafter.unit)]
        self._pairs: list[_Pair] = [
            _AtOnce(target, drafter, width) for target, drafter in apart for width in _by_width(target, drafts)
        ]
        self._pairs += [
            _InTurns(target, drafter, width, found)
            for target, drafter in pairs
            for width, found in _by_width(target, drafts).items()
        ]

    def turn(self) -> None:
        """Measure each pair once more."""
        for pair in self._pairs:
            pair.take_turn(self._clock)

    def found(self) -> tuple[Contention, ...]:
        """Middles so far; needs a turn. Pairs whose passes take too long to be measured in turns are missing."""
        return tuple(entry for pair in self._pairs if (entry := pair.found()))


def _pairs(programs: Sequence[Loaded]) -> Iterator[tuple[Loaded, Loaded]]:
    """On whole units, or each on a set of cores of its own."""
    # of a unit that is measured with several counts of cores, the most, which comes last
    targets, drafters = ({e.unit: e for e in programs if e.role == role} for role in ("target", "drafter"))
    for target, drafter in itertools.product(targets.values(), drafters.values()):
        pinned = {is_pinned(target.unit), is_pinned(drafter.unit)}
        if pinned == {False} or (pinned == {True} and are_apart(target.unit, drafter.unit)):
            yield target, drafter


def _by_width(target: Loaded, draft_lengths: Iterable[int]) -> dict[int, list[int]]:
    """Draft lengths by the compiled width that verifies them."""
    found: dict[int, list[int]] = {}
    for length in draft_lengths:
        found.setdefault(min(width for width in target.program.widths if width > length), []).append(length)
    return found
