"""A device is lost, or out of memory, in the middle of a text: what goes on without it.

The target must go on: its program for the CPU takes over, and reads the text again from its token ids. The drafter need
not: without its device, decoding goes on plain. A length that adapts is chosen by what passes cost where they were
planned, which is no longer true when the target has moved: it becomes 0. A length that was asked for stays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from paceline.errors import DeviceLost, PacelineError
from paceline.partition import Bundle, Mapping
from paceline.runtime.device import Device
from paceline.runtime.pace import Pace
from paceline.runtime.program import Program, check_compiled, load_program
from paceline.runtime.setting import Setting


@dataclass(frozen=True, slots=True, kw_only=True)
class Standby:
    """Opens the target where it can go on: on the CPU ``unit``; None where it is there already, or the SoC has none."""

    folder: Path
    bundle: Bundle
    unit: str | None
    open: Callable[[str], Device]

    def take_over(self, lost: DeviceLost, release: Callable[[], None]) -> tuple[Program, Device]:
        """The target's program and its device; ``release`` gives back the memory of the lost one.

        Raises:
            DeviceLost: it cannot go on; says why.
        """
        if self.unit is None:
            raise lost
        try:
            check_compiled(self.bundle, self.bundle.target, self.unit)
            device = self.open(self.unit)
            release()
            return load_program(self.folder, self.bundle, "target", device), device
        except PacelineError as reason:
            raise DeviceLost(f"{lost}; the target cannot go on elsewhere: {reason}") from lost


def spare_cpu(bundle: Bundle, target: str) -> str | None:
    """The CPU that a target on the unit ``target`` could go on with, before all one that it is compiled for."""
    kinds = {unit.name: unit.kind for unit in bundle.soc.units}
    if kinds.get(target) == "cpu":
        return None
    names = [name for name, kind in kinds.items() if kind == "cpu"]
    return next((name for name in names if name in bundle.target.programs), next(iter(names), None))


def moved(setting: Setting, unit: str) -> Setting:
    """``setting`` with its target on ``unit``, where no plan says what anything costs."""
    length = 0 if setting.adaptive else setting.draft_length
    mapping = Mapping(target=unit, drafter=setting.mapping.drafter)
    return replace(setting, mapping=mapping, draft_length=length, estimate=None, pacing=None, adaptive=False)


def undrafted(setting: Setting) -> Setting:
    """``setting`` without its drafter."""
    mapping = Mapping(target=setting.mapping.target)
    return replace(setting, mapping=mapping, draft_length=0, estimate=None, pacing=None, adaptive=False)


class PlannedPace:
    """A pace as long as its costs are true, ``holds``; then plain."""

    def __init__(self, pace: Pace, holds: Callable[[], bool]) -> None:
        self._pace, self._holds = pace, holds

    def begin(self) -> None:
        """See ``Pace.begin``."""
        self._pace.begin()

    def next(self, *, unread: int, room: int) -> int:
        """See ``Pace.next``."""
        return self._pace.next(unread=unread, room=room) if self._holds() else 0

    def observe(self, drafted: int, accepted: int, *, hit: bool | None = None) -> None:
        """See ``Pace.observe``."""
        if self._holds():
            self._pace.observe(drafted, accepted, hit=hit)
