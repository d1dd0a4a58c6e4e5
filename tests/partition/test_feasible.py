"""What a unit can never run is known before any compiler is asked."""

from __future__ import annotations

import msgspec

from paceline.partition.feasible import why_not_precision
from paceline.targets import load_soc


def test_half_precision_needs_storage_for_it() -> None:
    cpu, gpu = load_soc("rpi5").units
    assert why_not_precision("f16", cpu) is None
    assert "no 16-bit storage" in (why_not_precision("f16", gpu) or "")
    assert why_not_precision("int8", gpu) is None
    assert why_not_precision("f16", msgspec.structs.replace(gpu, storage_bits=16)) is None
