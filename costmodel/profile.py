"""Measured seconds of forward passes, and the machine that they were measured on."""

from __future__ import annotations

from typing import Literal

import msgspec

SCHEMA = 1
Role = Literal["drafter", "target"]


class Machine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who measured: enough to tell another machine from this one.

    ``drivers`` maps a unit to the device that served it, e.g. ``{"gpu": "SwiftShader Device (LLVM 16.0.0)"}``.
    """

    architecture: str
    cpu: str
    cores: int
    memory_bytes: int
    drivers: dict[str, str] = {}


class Measurement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One forward pass: median seconds, and the spread as (75th - 25th percentile) in seconds."""

    role: Role
    precision: str
    unit: str
    cores: int
    width: int
    seconds: float
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
    host_seconds: float
