"""Measured seconds of forward passes, and the machine that they were measured on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from paceline.costmodel.model_spec import Positive
from paceline.costmodel.overlap import ALONE, Slowdown
from paceline.documents import read_json
from paceline.errors import ProfileError
from paceline.targets.places import cores_of, is_pinned

SCHEMA = 3  # contention says whether models work at once or in turns since 3
PROFILE = "profile.json"
Role = Literal["drafter", "target"]
Drafting = Literal["none", "model", "ngram"]
Together = Literal["at once", "in turns"]
# No clock shows less than a nanosecond, and nobody waits a day for a pass: such a figure was damaged or made up.
Seconds = Annotated[float, msgspec.Meta(ge=1e-9, le=86_400.0)]
Slower = Annotated[float, msgspec.Meta(ge=1e-2, le=1e3)]
_MEMORY_SLACK = 8  # a kernel update moves the memory that the machine reports by less than an eighth


class Machine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who measured: enough to tell another machine from this one.

    ``drivers`` maps a unit to the device that served it, e.g. ``{"gpu": "SwiftShader Device (LLVM 16.0.0)"}``;
    ``cache_bytes`` is the size of the CPU's last cache, 0 where it is not known.
    """

    architecture: str
    cpu: str
    cores: int
    memory_bytes: int
    drivers: dict[str, str] = {}
    cache_bytes: Annotated[int, msgspec.Meta(ge=0)] = 0

    def differences(self, other: Machine) -> tuple[str, ...]:
        """What tells ``other`` from this one, as ``field: mine, not theirs``.

        A unit that only one of the two has is no difference: the planner treats it as unavailable. Nor is a cache that
        only one of them knows of: profiles did not always say.
        """
        pairs: list[tuple[str, object, object]] = [
            ("architecture", self.architecture, other.architecture),
            ("cpu", self.cpu, other.cpu),
            ("cores", self.cores, other.cores),
            *((unit, self.drivers[unit], other.drivers[unit]) for unit in self.drivers if unit in other.drivers),
        ]
        if abs(self.memory_bytes - other.memory_bytes) * _MEMORY_SLACK > max(self.memory_bytes, other.memory_bytes):
            pairs.append(("memory", f"{self.memory_bytes} bytes", f"{other.memory_bytes} bytes"))
        if self.cache_bytes and other.cache_bytes:
            pairs.append(("last cache", f"{self.cache_bytes} bytes", f"{other.cache_bytes} bytes"))
        return tuple(f"{name}: {mine}, not {theirs}" for name, mine, theirs in pairs if mine != theirs)


class Measurement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One forward pass: its seconds (interquartile mean), and the spread as (75th - 25th percentile) in seconds.

    ``position`` is how many tokens the caches held before it.
    """

    role: Role
    precision: str
    unit: str
    cores: Positive
    width: Positive
    position: Annotated[int, msgspec.Meta(ge=0)]
    seconds: Seconds
    spread: Annotated[float, msgspec.Meta(ge=0)]
    repeats: Positive

    def __post_init__(self) -> None:
        named = len(cores_of(self.unit))
        if is_pinned(self.unit) and named != self.cores:
            raise ValueError(f"{self.unit!r} names {named} cores, found {self.cores}")


class HostTime(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Median seconds of a round of ``draft_length`` that are spent in no forward pass, by who drafts."""

    drafter: Drafting
    draft_length: Annotated[int, msgspec.Meta(ge=0)]
    seconds: Annotated[float, msgspec.Meta(ge=0, le=86_400.0)]


class Contention(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many times as long passes take in company as among their like.

    ``together`` says in which: both models at once, on two devices, or in turns, rounds of drafts and the verdict on
    them. ``target`` and ``drafter`` are where the models were; the target's passes had ``width`` tokens, the drafter's
    one. In turns the drafter's ratio is the mean over the drafts of a round, of which the first follows a verdict.
    """

    together: Together
    target: str
    drafter: str
    width: Positive
    slows_target: Slower
    slows_drafter: Slower


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All measurements of one bundle on one machine.

    ``bundle`` is the digest of the bundle's programs and weights, so that a profile of other artifacts is refused.
    """

    schema: int = SCHEMA
    bundle: str
    machine: Machine
    context: Positive
    measurements: tuple[Measurement, ...]
    host: tuple[HostTime, ...] = ()
    contention: tuple[Contention, ...] = ()

    def slowdown(self, target: str, drafter: str, width: int) -> Slowdown | None:
        """Of a target's pass of ``width`` tokens beside a drafter's; None where the two were not measured so.

        Another device does not make a pass quicker: what looks like it is noise.
        """
        found = self._together("at once", target, drafter, width)
        return None if found is None else Slowdown(max(1.0, found.slows_target), max(1.0, found.slows_drafter))

    def in_turns(self, target: str, drafter: str, draft_length: int) -> Slowdown:
        """Of a round's passes, which follow those of another model; ``ALONE`` without drafts or measurement.

        Not held to be at least 1: noise that may only slow drafting down would be a bias against it.
        """
        found = self._together("in turns", target, drafter, draft_length + 1) if draft_length else None
        return ALONE if found is None else Slowdown(found.slows_target, found.slows_drafter)

    def _together(self, together: Together, target: str, drafter: str, width: int) -> Contention | None:
        """Of the narrowest width measured that holds so many tokens, or of the widest."""
        places = (together, target, drafter)
        pair = [entry for entry in self.contention if (entry.together, entry.target, entry.drafter) == places]
        wide = [entry for entry in pair if entry.width >= width]
        return min(wide, key=lambda e: e.width) if wide else max(pair, key=lambda e: e.width, default=None)

    @property
    def pinned(self) -> dict[Role, tuple[str, ...]]:
        """Sets of cores that each model was measured on."""
        roles: tuple[Role, ...] = ("target", "drafter")
        return {
            role: tuple(dict.fromkeys(e.unit for e in self.measurements if e.role == role and is_pinned(e.unit)))
            for role in roles
        }

    def seconds(
        self, role: Role, unit: str, width: int, *, cores: int | None = None, position: float | None = None
    ) -> float | None:
        """Seconds of a pass of ``width`` tokens; None where no program that wide was measured there.

        A width between two measured ones costs the wider: programs exist for compiled widths only, so that is what
        runs. Attention reads what the caches hold, so a pass grows linearly with its ``position`` (default: the middle
        of the context); below the lowest position measured it costs what it does there. Without ``cores`` the most that
        were measured count.
        """
        if cores is None:
            cores = max(self.cores(unit, role=role), default=0)
        fitting = [
            entry
            for entry in self.measurements
            if (entry.role, entry.unit, entry.cores) == (role, unit, cores) and entry.width >= width
        ]
        narrowest = min((entry.width for entry in fitting), default=0)
        points = [(entry.position, entry.seconds) for entry in fitting if entry.width == narrowest]
        return interpolate(points, self.context / 2 if position is None else position) if points else None

    def host_seconds(self, drafter: Drafting, draft_length: int) -> float:
        """Seconds of a round outside forward passes, between the draft lengths that were measured; 0 where none was."""
        points = [(entry.draft_length, entry.seconds) for entry in self.host if entry.drafter == drafter]
        return interpolate(points, draft_length) if points else 0.0

    def cores(self, unit: str, *, role: Role | None = None) -> tuple[int, ...]:
        """Core counts that were measured on ``unit``, ascending."""
        return tuple(sorted({e.cores for e in self.measurements if e.unit == unit and role in (None, e.role)}))


def interpolate(points: Sequence[tuple[float, float]], at: float) -> float:
    """The value at ``at`` on the line through the two ``points`` around it; beyond them, the nearest's."""
    ordered = sorted(points)
    low = max((point for point in ordered if point[0] <= at), default=ordered[0])
    high = min((point for point in ordered if point[0] >= at), default=ordered[-1])
    share = 0.0 if high[0] == low[0] else (at - low[0]) / (high[0] - low[0])
    return low[1] + share * (high[1] - low[1])


def read_profile(folder: Path, *, bundle: str, machine: Machine | None = None) -> Profile:
    """Read ``profile.json`` of a bundle folder.

    Args:
        bundle: digest of the bundle as it is now.
        machine: this machine; None takes a profile of any.

    Raises:
        ProfileError: missing, damaged, of another schema, another bundle or another machine.
    """
    path, again = folder / PROFILE, f"run 'paceline profile {folder}' again"
    or_else = "" if machine is None else ", or plan with --roofline"
    if not path.is_file():
        raise ProfileError(f"{folder} has no {PROFILE}; run 'paceline profile {folder}'{or_else}")
    profile = read_json(path, Profile, error=ProfileError, schema=SCHEMA, remedy=again + or_else)
    if profile.bundle != bundle:
        raise ProfileError(f"{path} was measured with other programs or weights than the bundle holds now; {again}")
    if machine is not None and (differences := machine.differences(profile.machine)):
        found = "; ".join(differences)
        raise ProfileError(f"{path} was measured on another machine (this one has {found}); {again}{or_else}")
    return profile
