"""What passes get of a SoC's figures, fitted to profiles: a roofline that was taught by measurements.

    seconds = ((bytes / bandwidth + found / cached)^p
               + (products / peak + attended / attention + bytes of activations / activations)^p)^(1/p)
              + bytes of logits / logits + launches * launch + call

``found`` are bytes that a pass finds in the CPU's last cache, ``bytes`` the others. bandwidth, cached, logits and
activations (bytes per second), attention (operations per second: one figure for caches in f32, one for caches in
bytes), launch and call (seconds) belong to a unit and the kind of its programs, peak (operations per second) and p,
which says how much of reading and arithmetic happens at once, to a precision there too. All but p are kept as shares of
the SoC file's figures, so that a what-if can move those. A last cache that others use too, as guests of one machine do,
holds less for each than it could: how much of it is there for a pass is fitted as well.

Activations are what dispatches hand to each other: they are rounded, normed and stored element by element, so that a
narrow model has more of them for each product than a wide one.

Attention of a GPU's programs is counted as products, which the same code generator makes, and what logits, activations
and a call take is in products and launches; with factors of their own they fit noise, and predict other models worse.
Products get ``wide`` times their peak in passes with rows enough to fill the tiles that they are computed in.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from paceline.costmodel.model_spec import Positive, PositiveFloat
from paceline.costmodel.profile import Machine
from paceline.costmodel.roofline import Shares
from paceline.costmodel.traced import Program, fills_tiles
from paceline.documents import read_json
from paceline.errors import ProfileError
from paceline.targets import Dtype

SCHEMA = 4  # activations are told from products since 4
Share = Annotated[float, msgspec.Meta(ge=1e-25, le=1e25)]
"""Wider than any fit goes, and narrow enough that no prediction overflows."""
Faster = Annotated[float, msgspec.Meta(ge=1, le=1e25)]
Kind = Literal["fitted", "widths", "models"]
"""Errors of the fit, and of fits that did not see the width, or the model, that they predict."""


class Multiplying(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Products with weights at one precision: share of the unit's peak, and p."""

    peak: Share
    exponent: Annotated[float, msgspec.Meta(ge=1)]


class Factors(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What programs of one kind get of ``cores`` of a unit, as shares of its figures: see ``roofline.Shares``.

    None is what such programs have no factor for: it is in the others. ``cached`` is how many times as fast as memory
    the last cache is, ``there`` the share of it that passes have, ``wide`` how many times its peak a precision gets in
    passes that fill tiles.
    """

    unit: str
    program: Program
    cores: Positive
    bandwidth: Share
    cached: Faster | None = None
    there: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    attention: Share | None = None
    attention_in_bytes: Share | None = None
    logits: Share | None = None
    activations: Share | None = None
    launch: Share
    call: Share | None = None
    wide: Share | None = None
    precisions: dict[Dtype, Multiplying]


class Residual(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One measured pass and what is predicted of it, in seconds.

    ``without_width`` and ``without_model`` are predictions of fits that did not see that width, or that model; None
    where too little would have been left.
    """

    model: str
    precision: Dtype
    unit: str
    program: Program
    cores: Positive
    width: Positive
    position: Annotated[int, msgspec.Meta(ge=0)]
    seconds: PositiveFloat
    fitted: PositiveFloat
    without_width: PositiveFloat | None = None
    without_model: PositiveFloat | None = None

    def error(self, kind: Kind) -> float | None:
        """Predicted over measured, less 1."""
        predicted = {"fitted": self.fitted, "widths": self.without_width, "models": self.without_model}[kind]
        return None if predicted is None else predicted / self.seconds - 1.0


class Errors(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Absolute relative errors of some passes."""

    passes: int
    median: float
    percentile_90: float


class Calibration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``calibration.json``: of one machine, with every measurement that it rests on."""

    schema: int = SCHEMA
    soc: str
    machine: Machine
    factors: tuple[Factors, ...]
    errors: dict[Kind, Errors]
    residuals: tuple[Residual, ...]

    def shares(self, unit: str, program: Program, precision: Dtype, *, cores: int, width: int) -> Shares | None:
        """What a pass of ``width`` tokens gets; None where no such program was measured.

        Of core counts that were not measured, the nearest one's, of two the larger.
        """
        fitting = [f for f in self.factors if (f.unit, f.program) == (unit, program) and precision in f.precisions]
        if not fitting:
            return None
        nearest = min(fitting, key=lambda factors: (abs(factors.cores - cores), -factors.cores))
        multiplying = nearest.precisions[precision]
        wide = nearest.wide if nearest.wide and fills_tiles(program, width) else 1.0
        return Shares(
            bandwidth=nearest.bandwidth,
            cache=round(self.machine.cache_bytes * (nearest.there or 0.0)),
            cached=nearest.bandwidth * (nearest.cached or 1.0),
            attention=nearest.attention,
            attention_in_bytes=nearest.attention_in_bytes,
            logits=nearest.logits or math.inf,
            activations=nearest.activations or math.inf,
            launch=nearest.launch,
            call=nearest.call or 0.0,
            peak=multiplying.peak * wide,
            exponent=multiplying.exponent,
        )


def read_calibration(path: Path, *, soc: str) -> Calibration:
    """Read a calibration of the SoC called ``soc``.

    Raises:
        ProfileError: missing, damaged, of another schema or another SoC.
    """
    remedy = "make it with 'paceline calibrate BUNDLE...'"
    calibration = read_json(path, Calibration, error=ProfileError, schema=SCHEMA, remedy=remedy)
    if calibration.soc != soc:
        raise ProfileError(
            f"{path} was fitted to profiles of {calibration.soc}, not of {soc}; shares do not carry over"
        )
    return calibration
