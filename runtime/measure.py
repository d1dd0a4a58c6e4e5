"""Seconds of every forward pass of a bundle on this machine, with caches that hold little and with full ones.

All passes take turns, so that a machine that slows down for a while slows all of them alike. A turn begins with calls
that do not count, because in decoding passes of one model follow each other too: weights are in the caches, and cores
that were idle have come up to speed, which takes some of them tenths of a second. Then comes a burst whose mean counts,
because what is to be predicted is a sum of passes: now and then one takes longer, and the median of single calls would
leave that out. Each pass may use an equal share of the time budget and gets at least ``MINIMUM`` turns, of fewer calls
where passes are so long that four would not fit, or a single call where one takes more than the share; bursts of short
passes last as long as they do, whatever the share. Reported are the interquartile mean over turns and the distance
between the quartiles.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from paceline.console import Report, quiet
from paceline.costmodel import Measurement, Role
from paceline.runtime.averages import interquartile_mean
from paceline.runtime.loaded import Loaded

MINIMUM = 3
WARM_SECONDS = 0.3  # until all cores run as fast as they do in a long text: seen to take 0.2 s after idling
# At least both, if the budget has room for so many calls. Where a machine is slow for hundredths of a second now and
# then, most of shorter bursts are spared, and decoding takes longer than their middle says.
BURST_CALLS, BURST_SECONDS = 4, 0.2
# Tokens in the caches at the low end: a pass over fewer keys lies below the line through all that follow, because what
# attention does once for a block of keys is not paid yet.
FEW = 32
_tokens = np.random.default_rng(0)
Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class _Pass:
    loaded: Loaded
    width: int
    position: int
    seconds: list[float] = field(default_factory=list)
    spent: list[float] = field(default_factory=list)

    def set_up(self, clock: Clock) -> None:
        self._call(clock)  # pays for what is done once, and is never counted

    def is_due(self, share: float) -> bool:
        if not self.seconds:
            return True
        too_few = len(self.seconds) < MINIMUM and self.seconds[-1] <= share
        return too_few or sum(self.spent) < share

    def take_turn(self, clock: Clock, share: float) -> None:
        warm = list(self._burst(clock, least=1, seconds=min(WARM_SECONDS, share / 2)))
        least = _calls_within(share, warm[-1])
        burst = list(self._burst(clock, least=least, seconds=BURST_SECONDS)) if warm[0] <= share else warm
        self.seconds.append(sum(burst) / len(burst))
        self.spent.append(sum(warm) + (sum(burst) if burst is not warm else 0.0))

    def _burst(self, clock: Clock, *, least: int, seconds: float) -> Iterator[float]:
        return calls(self.loaded, self.width, self.position, clock, least=least, seconds=seconds)

    def _call(self, clock: Clock) -> float:
        return call(self.loaded, self.width, self.position, clock)

    def measurement(self) -> Measurement:
        low, high = np.percentile(self.seconds, (25, 75))
        return Measurement(
            role=self.loaded.role,
            precision=self.loaded.precision,
            unit=self.loaded.unit,
            cores=self.loaded.cores,
            width=self.width,
            position=self.position,
            seconds=interquartile_mean(self.seconds),
            spread=float(high - low),
            repeats=len(self.seconds),
        )


def _calls_within(share: float, seconds: float) -> int:
    """How many calls of a long pass a burst has, so that turns enough, with a call more each, fit a ``share``."""
    return int(max(1, min(BURST_CALLS, share / (MINIMUM * seconds) - 1))) if seconds else BURST_CALLS


def call(loaded: Loaded, width: int, position: int, clock: Clock) -> float:
    """Seconds of one pass: with the results of all rows, but of a drafter the last one's: it is asked for no more.

    Of other tokens each time: which part of a screened head is read depends on them, and the same would be in a cache.
    """
    tokens = _tokens.integers(loaded.program.vocabulary, size=width, dtype=np.int32)
    first, start = width - 1 if loaded.role == "drafter" else 0, clock()
    loaded.program.step(tokens, position, first=first)
    return clock() - start


def calls(loaded: Loaded, width: int, position: int, clock: Clock, *, least: int, seconds: float) -> Iterator[float]:
    """Seconds of passes one after another: at least so many, for at least so long."""
    spent, done = 0.0, 0
    while done < least or spent < seconds:
        yield (one := call(loaded, width, position, clock))
        spent, done = spent + one, done + 1


class Passes:
    """Every width of every program at a low and at the highest position, measured turn by turn.

    ``widest`` says for a role up to which width.
    """

    def __init__(
        self, programs: Sequence[Loaded], *, widest: Mapping[Role, int] | None = None, clock: Clock = time.perf_counter
    ) -> None:
        self._clock, self._next = clock, 0
        self._passes = [
            _Pass(loaded, width, position)
            for loaded in programs
            for width in loaded.program.widths
            if width <= (widest or {}).get(loaded.role, width)
            for position in _ends(loaded.program.context - width)
        ]
        for one in self._passes:
            one.set_up(clock)

    def __len__(self) -> int:
        return len(self._passes)

    def some(self, count: int) -> None:
        """Measure the next ``count`` passes once more, going round: for passes that take turns with something else."""
        for _ in range(count):
            self._passes[self._next % len(self._passes)].take_turn(self._clock, math.inf)
            self._next += 1

    def turn(self, *, share: float = math.inf) -> bool:
        """Measure each pass once more that has not had its ``share`` of seconds; False where none was left."""
        waiting = [one for one in self._passes if one.is_due(share)]
        for one in waiting:
            one.take_turn(self._clock, share)
        return bool(waiting)

    def measurements(self) -> tuple[Measurement, ...]:
        """What was measured so far; needs a turn."""
        return tuple(one.measurement() for one in self._passes)


def _ends(highest: int) -> list[int]:
    return sorted({min(FEW, highest), highest})


def time_passes(
    groups: Sequence[Sequence[Loaded]],
    *,
    repeats: int,
    budget: float,
    clock: Clock = time.perf_counter,
    report: Report = quiet,
) -> list[tuple[Measurement, ...]]:
    """Measure every width of every program, interleaved, each at most ``repeats`` times.

    ``budget`` is seconds for each of the ``groups``, which take turns too; all passes share the sum of it equally.
    The result has what was measured of each group.
    """
    passes = [Passes(programs, clock=clock) for programs in groups]
    share = budget * len(groups) / max(1, sum(map(len, passes)))
    most = max(repeats, MINIMUM)
    for turn in range(most):
        taken = [group.turn(share=share) for group in passes]
        if not any(taken):
            break
        report("forward passes", turn + 1, most)
    report("forward passes", most, most)
    return [group.measurements() for group in passes]
