"""Two devices at once: what they share slows both, what they do not share slows none."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from numpy.typing import NDArray

from paceline.costmodel import Role
from paceline.errors import DeviceUnavailable
from paceline.runtime.measure import Loaded
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
    contentions = Contentions(programs)
    for _ in range(3):
        contentions.turn()
    found = contentions.found()
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
    contentions = Contentions(programs, widest=2)
    contentions.turn()
    (entry,) = contentions.found()
    assert entry.slows_drafter != 1.0 and 0.4 < entry.slows_drafter < 2.5  # two sleeps are never equally long


def test_a_device_that_fails_beside_another_is_heard_of() -> None:
    class Failing(Sleeping):
        def step(self, tokens: NDArray[np.int32], position: int, *, first: int = 0, logits: bool = False) -> Step:
            if threading.current_thread() is not threading.main_thread():
                raise DeviceUnavailable("it is gone")
            return super().step(tokens, position, first=first, logits=logits)

    programs = [loaded("target", "cpu", Sleeping(0.0)), loaded("drafter", "gpu", Failing(0.0))]
    with pytest.raises(DeviceUnavailable, match="it is gone"):
        Contentions(programs, widest=2).turn()


def test_only_two_processors_are_held_against_each_other() -> None:
    places: list[tuple[Role, str]] = [
        ("target", "cpu"),
        ("target", "gpu"),
        ("target", "cpu@1"),
        ("drafter", "cpu"),
        ("drafter", "cpu@0"),
    ]
    programs = [loaded(role, unit, Sleeping(0.0)) for role, unit in places]
    contentions = Contentions(programs, widest=2)
    contentions.turn()
    assert {(entry.target, entry.drafter) for entry in contentions.found()} == {("gpu", "cpu"), ("cpu@1", "cpu@0")}
    assert pinned_places(programs) == {"target": ["cpu@1"], "drafter": ["cpu@0"]}
