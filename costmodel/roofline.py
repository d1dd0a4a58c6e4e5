"""Seconds of work on a processing unit that is not at hand, and the wall that it hits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from paceline.costmodel.arrays import larger
from paceline.costmodel.traced import Program
from paceline.costmodel.work import Work
from paceline.targets import Dtype, ProcessingUnit

Bound = Literal["bandwidth", "arithmetic", "launches"]
# The first that a unit has a figure for.
_MULTIPLIED_AS: dict[Dtype, tuple[Dtype, ...]] = {
    "f32": (),
    "f16": (),
    "int8": ("int8",),
    "int4": ("int4", "int8"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RooflineEstimate:
    """A lower bound in seconds: max(bandwidth, arithmetic) + launches.

    ``bound`` names the largest of the three. Figures of a unit may be arrays [points], and then so is what follows from
    them, but for ``bound``.
    """

    bandwidth: float
    arithmetic: float
    launches: float

    @property
    def seconds(self) -> float:
        return larger(self.bandwidth, self.arithmetic) + self.launches

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


def roofline(
    work: Work, unit: ProcessingUnit, precision: Dtype, *, cores: int | None = None, program: Program | None = None
) -> RooflineEstimate:
    """Seconds of ``work`` on ``cores`` of ``unit``: arithmetic scales with cores, bandwidth and launches do not."""
    share = (cores or unit.cores) / unit.cores
    peak = unit.peak[multiplied_as(precision, unit, program)].value * share
    return RooflineEstimate(
        bandwidth=work.bytes / unit.bandwidth.value,
        arithmetic=work.operations / peak,
        launches=work.dispatches * unit.launch.value,
    )
