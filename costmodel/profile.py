"""Measured seconds of forward passes, and the machine that they were measured on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from paceline.costmodel.model_spec import Positive, PositiveFloat
from paceline.errors import ProfileError
from paceline.files import read_json

SCHEMA = 1
PROFILE = "profile.json"
Role = Literal["drafter", "target"]
_MEMORY_SLACK = 8  # a kernel update moves the memory that the machine reports by less than an eighth


class Machine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who measured: enough to tell another machine from this one.

    ``drivers`` maps a unit to the device that served it, e.g. ``{"gpu": "SwiftShader Device (LLVM 16.0.0)"}``.
    """

    architecture: str
    cpu: str
    cores: int
    memory_bytes: int
    drivers: dict[str, str] = {}

    def differences(self, other: Machine) -> tuple[str, ...]:
        """What tells ``other`` from this one, as ``field: mine, not theirs``.

        A unit that only one of the two has is no difference: the planner treats it as unavailable.
        """
        pairs: list[tuple[str, object, object]] = [
            ("architecture", self.architecture, other.architecture),
            ("cpu", self.cpu, other.cpu),
            ("cores", self.cores, other.cores),
            *((unit, self.drivers[unit], other.drivers[unit]) for unit in self.drivers if unit in other.drivers),
        ]
        if abs(self.memory_bytes - other.memory_bytes) * _MEMORY_SLACK > max(self.memory_bytes, other.memory_bytes):
            pairs.append(("memory", f"{self.memory_bytes} bytes", f"{other.memory_bytes} bytes"))
        return tuple(f"{name}: {mine}, not {theirs}" for name, mine, theirs in pairs if mine != theirs)


class Measurement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One forward pass: median seconds, and the spread as (75th - 25th percentile) in seconds."""

    role: Role
    precision: str
    unit: str
    cores: Positive
    width: Positive
    seconds: PositiveFloat
    spread: float
    repeats: int


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All measurements of one bundle on one machine.

    ``bundle`` is the digest of the bundle's programs and weights, so that a profile of other artifacts is refused.
    ``host_seconds`` is the median time of one speculative round that is spent in no forward pass.
    """

    schema: int = SCHEMA
    bundle: str
    machine: Machine
    context: int
    measurements: tuple[Measurement, ...]
    host_seconds: Annotated[float, msgspec.Meta(ge=0)]

    def seconds(self, role: Role, unit: str, width: int, *, cores: int | None = None) -> float | None:
        """Median seconds of a pass of ``width`` tokens; None where no program that wide was measured there.

        A width between two measured ones costs the wider: programs exist for compiled widths only, so that is what
        runs. Without ``cores`` the most that were measured count.
        """
        if cores is None:
            cores = max(self.cores(unit, role=role), default=0)
        fitting = [
            entry
            for entry in self.measurements
            if (entry.role, entry.unit, entry.cores) == (role, unit, cores) and entry.width >= width
        ]
        return min(fitting, key=lambda entry: entry.width).seconds if fitting else None

    def cores(self, unit: str, *, role: Role | None = None) -> tuple[int, ...]:
        """Core counts that were measured on ``unit``, ascending."""
        return tuple(sorted({e.cores for e in self.measurements if e.unit == unit and role in (None, e.role)}))


def read_profile(folder: Path, *, bundle: str, machine: Machine) -> Profile:
    """Read ``profile.json`` of a bundle folder.

    Args:
        bundle: digest of the bundle as it is now.
        machine: this machine.

    Raises:
        ProfileError: missing, damaged, of another schema, another bundle or another machine.
    """
    path = folder / PROFILE
    if not path.is_file():
        raise ProfileError(f"{folder} has no {PROFILE}; run 'paceline profile {folder}', or plan with --roofline")
    again = f"run 'paceline profile {folder}' again"
    profile = read_json(path, Profile, error=ProfileError, schema=SCHEMA, remedy=again)
    if profile.bundle != bundle:
        raise ProfileError(f"{path} was measured with other programs or weights than the bundle holds now; {again}")
    if differences := machine.differences(profile.machine):
        found = "; ".join(differences)
        raise ProfileError(
            f"{path} was measured on another machine (this one has {found}); {again}, or plan with --roofline"
        )
    return profile
