"""Models at once: what they share slows both, what they do not share slows none. In turns: what the other one left."""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from paceline.costmodel import Role
from paceline.errors import DeviceUnavailable
from paceline.runtime.loaded import Loaded
from paceline.runtime.measure_contention import Contentions, pinned_places
from paceline.runtime.null_device import NullProgram
from paceline.runtime.program import Step


class Sleeping(NullProgram):
    """Takes ``seconds``, and holds ``shared`` meanwhile where there is such a thing."""

    def __init__(self, seconds: float, shared: threading.Lock | None = None) -> None:
        super().__init__(widths=(1, 2, 4, 32), context=64)
        self.shared, self.pause = shared, seconds

    def step(self, tokens: NDArray[np.int32], position: int, *, first: int = 0, logits: bool = False) -> Step:
        if self.shared is None:
            time.sleep(self.pause)
        else:
            with self.shared:
                time.sleep(self.pause)
        return Step(np.zeros(len(tokens) - first, np.int32))


@dataclass
class Clock:
    """Time that only programs pass, and which of them did."""

    now: float = 0.0
    ran: list[NullProgram] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now


class Remembering(NullProgram):
    """Takes ``seconds`` a token among its like, ``after`` times as long for each of up to six others in between."""

    def __init__(self, clock: Clock, after: float, seconds: float = 1e-4) -> None:
        super().__init__(widths=(1, 2, 4, 8), context=64)
        self.clock, self.after, self.seconds = clock, after, seconds

    def step(self, tokens: NDArray[np.int32], position: int, *, first: int = 0, logits: bool = False) -> Step:
        others = list(itertools.takewhile(lambda program: program is not self, reversed(self.clock.ran)))
        self.clock.now += len(tokens) * self.seconds * self.after ** min(len(others), 6)
        self.clock.ran.append(self)
        return Step(np.zeros(len(tokens) - first, np.int32))


def loaded(role: Role, unit: str, program: NullProgram) -> Loaded:
    return Loaded(role=role, precision="f32", unit=unit, cores=1, program=program)


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    from paceline.runtime import measure_contention

    monkeypatch.setattr(measure_contention, "WARM_SECONDS", 0.0)
    monkeypatch.setattr(measure_contention, "BURST_SECONDS", 0.02)


@pytest.mark.parametrize("shares", [False, True])
def test_passes_are_held_against_those_alone(shares: bool) -> None:
    lock = threading.Lock() if shares else None
    programs = [
        loaded("target", "cpu@1", Sleeping(0.004, lock)),
        loaded("drafter", "cpu@0", Sleeping(0.004, lock)),
    ]
    contentions = Contentions(programs, [1, 2, 3])
    for _ in range(3):
        contentions.turn()
    found = [entry for entry in contentions.found() if entry.together == "at once"]
    assert [(entry.target, entry.drafter, entry.width) for entry in found] == [
        ("cpu@1", "cpu@0", 2),
        ("cpu@1", "cpu@0", 4),
    ]
    for entry in found:
        if shares:
            assert max(entry.slows_target, entry.slows_drafter) > 1.4
        else:
            assert entry.slows_target < 1.4 and entry.slows_drafter < 1.4


def test_a_drafter_slower_than_a_burst_is_measured_too() -> None:
    programs = [loaded("target", "cpu", Sleeping(0.002)), loaded("drafter", "gpu", Sleeping(0.05))]
    contentions = Contentions(programs, [1])
    contentions.turn()
    entry = next(entry for entry in contentions.found() if entry.together == "at once")
    assert entry.slows_drafter != 1.0 and 0.4 < entry.slows_drafter < 2.5  # two sleeps are never equally long


def test_a_device_that_fails_beside_another_is_heard_of() -> None:
    class Failing(Sleeping):
        def step(self, tokens: NDArray[np.int32], position: int, *, first: int = 0, logits: bool = False) -> Step:
            if threading.current_thread() is not threading.main_thread():
                raise DeviceUnavailable("it is gone")
            return super().step(tokens, position, first=first, logits=logits)

    programs = [loaded("target", "cpu", Sleeping(0.0)), loaded("drafter", "gpu", Failing(0.0))]
    with pytest.raises(DeviceUnavailable, match="it is gone"):
        Contentions(programs, [1]).turn()


def test_all_pairs_that_a_mapping_may_have_are_measured_and_two_processors_at_once_too() -> None:
    places: list[tuple[Role, str]] = [
        ("target", "cpu"),
        ("target", "gpu"),
        ("target", "cpu@1"),
        ("drafter", "cpu"),
        ("drafter", "cpu@0"),
    ]
    programs = [loaded(role, unit, Sleeping(0.0)) for role, unit in places]
    contentions = Contentions(programs, [0, 1])
    for _ in range(3):  # a pass that hiccups for longer than a burst here leaves a pair out
        contentions.turn()
    found = {(entry.together, entry.target, entry.drafter) for entry in contentions.found()}
    apart = {("gpu", "cpu"), ("cpu@1", "cpu@0")}
    assert found == {("at once", *pair) for pair in apart} | {("in turns", *pair) for pair in {*apart, ("cpu", "cpu")}}
    assert Contentions(programs, [0]).found() == ()
    assert pinned_places(programs) == {"target": ["cpu@1"], "drafter": ["cpu@0"]}


def test_passes_are_timed_as_often_among_their_like_as_in_turns() -> None:
    """However long rounds are: of seven drafts a round, of one verdict."""
    clock = Clock()
    target, drafter = Remembering(clock, 1.0, seconds=1e-3), Remembering(clock, 1.0, seconds=5e-3)
    Contentions([loaded("target", "cpu", target), loaded("drafter", "cpu", drafter)], [5, 6, 7], clock=clock).turn()
    rounds = [(program, len(list(calls))) for program, calls in itertools.groupby(clock.ran)]
    alone = {program: max(calls for one, calls in rounds if one is program) for program in (target, drafter)}
    assert alone[drafter] >= 5 + 6 + 7 and alone[target] >= 3


class Settling(NullProgram):
    """Takes twice as long after another one, and is at its own pace again only after a dozen passes."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(widths=(1, 2, 4, 8), context=64)
        self.clock = clock

    def step(self, tokens: NDArray[np.int32], position: int, *, first: int = 0, logits: bool = False) -> Step:
        own = len(list(itertools.takewhile(lambda program: program is self, reversed(self.clock.ran))))
        self.clock.now += 5e-3 * (1 + 0.7**own)
        self.clock.ran.append(self)
        return Step(np.zeros(len(tokens) - first, np.int32))


def test_passes_alone_are_those_after_the_other_model_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    from paceline.runtime import measure_contention

    monkeypatch.setattr(measure_contention, "WARM_SECONDS", 0.3)
    clock = Clock()
    contentions = Contentions(
        [loaded("target", "cpu", Settling(clock)), loaded("drafter", "cpu", Settling(clock))], [1], clock=clock
    )
    contentions.turn()
    (entry,) = contentions.found()
    assert (entry.slows_target, entry.slows_drafter) == pytest.approx((2.0, 2.0), rel=1e-3)


def test_passes_in_turns_are_held_against_those_after_their_like() -> None:
    clock = Clock()
    programs = [
        loaded("target", "cpu", Remembering(clock, after=1.5)),
        loaded("drafter", "cpu", Remembering(clock, after=1.3)),
    ]
    contentions = Contentions(programs, [0, 1, 3, 4, 5], clock=clock)
    for _ in range(2):
        contentions.turn()
    found = contentions.found()
    assert {entry.together for entry in found} == {"in turns"}
    assert [entry.width for entry in found] == [2, 4, 8]
    for drafts, entry in zip((1, 3), found, strict=False):
        assert entry.slows_target == pytest.approx(1.5**drafts)
        assert entry.slows_drafter == pytest.approx((1.3 + drafts - 1) / drafts)  # the first one follows a verdict
    # 4 and 5 drafts share a pass of eight, and rounds of each were measured
    assert 1.5**4 < found[2].slows_target < 1.5**5 and 1 + 0.3 / 5 < found[2].slows_drafter < 1 + 0.3 / 4


@pytest.mark.parametrize(("target", "drafter"), [(1.0, 0.001), (0.001, 1.0)])
def test_passes_that_outlast_a_burst_are_not_measured_in_turns(target: float, drafter: float) -> None:
    clock = Clock()
    programs = [
        loaded("target", "cpu", Remembering(clock, 1.0, target)),
        loaded("drafter", "cpu", Remembering(clock, 1.0, drafter)),
    ]
    contentions = Contentions(programs, [1], clock=clock)
    contentions.turn()
    assert contentions.found() == () and clock.now == pytest.approx(2 * (2 * target + drafter))
