"""Seconds of work on a processing unit that is not at hand, and the wall that it hits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from paceline.costmodel.arrays import overlapped
from paceline.costmodel.traced import Program
from paceline.costmodel.work import Work
from paceline.targets import Dtype, ProcessingUnit

Bound = Literal["bandwidth", "arithmetic", "launches"]
_F32 = 4  # bytes
# The first that a unit has a figure for.
_MULTIPLIED_AS: dict[Dtype, tuple[Dtype, ...]] = {
    "f32": (),
    "f16": (),
    "int8": ("int8",),
    "int4": ("int4", "int8"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """What a pass gets of a unit's figures; without a calibration all, and reading hides behind arithmetic.

    Attributes:
        bandwidth, peak: shares of these figures.
        cache, cached: bytes of the last cache, and share of the bandwidth at which is read what a pass finds there.
        attention: share of the f32 peak that attention gets; None where it gets what products get.
        attention_in_bytes: the same over caches in bytes.
        logits: share of the bandwidth at which logits are stored and the largest of them is found.
        activations: share of the bandwidth at which dispatches take and give them; counts as arithmetic.
        launch, call: how many of the launch figure's seconds one launch takes, and the pass as such.
        exponent: p of (bandwidth^p + arithmetic^p)^(1/p).
    """

    bandwidth: float = 1.0
    peak: float = 1.0
    cache: int = 0
    cached: float = 1.0
    attention: float | None = 1.0
    attention_in_bytes: float | None = None
    logits: float = math.inf
    activations: float = math.inf
    launch: float = 1.0
    call: float = 0.0
    exponent: float = math.inf


WHOLE = Shares()


@dataclass(frozen=True, slots=True, kw_only=True)
class RooflineEstimate:
    """Seconds: (bandwidth^p + arithmetic^p)^(1/p) + logits + launches, where p is ``exponent``.

    It is a lower bound where p is infinite and ``logits`` 0. ``bound`` names the largest of the other three. Figures
    of a unit may be arrays [points], and then so is what follows from them, but for ``bound``.
    """

    bandwidth: float
    arithmetic: float
    launches: float
    logits: float = 0.0
    exponent: float = math.inf

    @property
    def seconds(self) -> float:
        return overlapped(self.bandwidth, self.arithmetic, self.exponent) + self.logits + self.launches

    @property
    def bound(self) -> Bound:
        walls: dict[Bound, float] = {
            "bandwidth": self.bandwidth,
            "arithmetic": self.arithmetic,
            "launches": self.launches,
        }
        return max(walls, key=walls.__getitem__)


def multiplied_as(precision: Dtype, unit: ProcessingUnit, program: Program | None = None) -> Dtype:
    """The dtype that a precision's matmuls run in on ``unit``.

    f16 is a storage format and multiplied in f32. int4 is multiplied as int8 where the unit has no figure for it: its
    nibbles become bytes on the way. What the unit has no arithmetic for is multiplied in f32, and so is what a traced
    program widens: int4, and int8 without loads of bytes.
    """
    if program in ("cpu", "gpu", "words") and (precision == "int4" or program == "words"):
        return "f32"
    return next((dtype for dtype in _MULTIPLIED_AS[precision] if dtype in unit.peak), "f32")


def found_in_cache(moved: int, cache: int) -> int:
    """Bytes that a pass finds in a ``cache`` where the pass before it, over the same ``moved`` bytes, has left them.

    A place holds the last bytes that came to it. What is too much for the cache puts as much again out, and neither
    is there when its turn comes: of more than twice the cache nothing is found.
    """
    return max(0, min(moved, 2 * cache - moved))


def roofline(
    work: Work,
    unit: ProcessingUnit,
    precision: Dtype,
    *,
    cores: int | None = None,
    program: Program | None = None,
    shares: Shares = WHOLE,
) -> RooflineEstimate:
    """Seconds of ``work`` on ``cores`` of ``unit``: arithmetic scales with cores, bandwidth and launches do not."""
    part = (cores or unit.cores) / unit.cores
    peak = unit.peak[multiplied_as(precision, unit, program)].value * part * shares.peak
    attention, in_bytes = (
        peak if share is None else unit.peak["f32"].value * part * share
        for share in (shares.attention, shares.attention_in_bytes)
    )
    products = work.operations - work.attended - work.attended_in_bytes
    elements = work.activations * _F32 / (unit.bandwidth.value * shares.activations)
    found = found_in_cache(work.bytes, shares.cache)
    return RooflineEstimate(
        bandwidth=((work.bytes - found) / shares.bandwidth + found / shares.cached) / unit.bandwidth.value,
        arithmetic=products / peak + work.attended / attention + work.attended_in_bytes / in_bytes + elements,
        launches=(work.dispatches * shares.launch + shares.call) * unit.launch.value,
        logits=work.logits * _F32 / (unit.bandwidth.value * shares.logits),
        exponent=shares.exponent,
    )
