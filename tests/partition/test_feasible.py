"""What a unit can never run is known before any compiler is asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from paceline.partition import read_bundle
from paceline.partition.feasible import model_footprint, why_not_precision
from paceline.targets import load_soc


def test_half_precision_needs_storage_for_it() -> None:
    cpu, gpu = load_soc("rpi5").units
    assert why_not_precision("f16", cpu) is None
    assert "no 16-bit storage" in (why_not_precision("f16", gpu) or "")
    assert why_not_precision("int8", gpu) is None
    assert why_not_precision("f16", msgspec.structs.replace(gpu, storage_bits=16)) is None


def test_a_traced_program_of_a_cpu_holds_its_weights_twice(null_bundle: Callable[..., Path]) -> None:
    bundle = read_bundle(null_bundle())
    spec, (cpu, gpu) = bundle.target.spec, bundle.soc.units
    multiplied = spec.layers * 4 * 64 + 3 * 64 + spec.vocabulary * 8  # of 8 columns: q, k, v, o; gate, up, down; head
    traced, on_gpu = (model_footprint(bundle, bundle.target, unit.name) for unit in (cpu, gpu))
    kernels = msgspec.structs.replace(bundle.target, kernels={"cpu": "x86-avx2"})
    assert traced.packed == 4 * multiplied
    assert on_gpu.packed == model_footprint(bundle, kernels, "cpu").packed == 0
