"""Compiled programs against transformers, and every width against every other: all families, precisions and devices.

One bundle a family: f32 target and int8 drafter for the CPU and SwiftShader; f16 and int4 have bundles of their own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from paceline.compile import build
from paceline.compile.precision import PRECISIONS
from paceline.costmodel import Role
from paceline.runtime import load_program, open_device
from paceline.runtime.vulkan_driver import select_driver
from paceline.targets import load_soc

FAMILIES = ("llama", "uneven", "llama3", "mistral", "qwen2", "qwen3", "gemma3")
CONTEXT, WIDTHS = 64, (1, 2, 8)
TOKENS = np.random.default_rng(1).integers(0, 300, 48).astype(np.int32)

# Shares of the largest logit.
F32_BOUND = 1e-4  # the issue's
F16_BOUND = 1e-4  # the same arithmetic, against transformers with weights rounded to half precision
# Compiled int8 against the same scheme in torch: sums are exact, but an activation within an f32 rounding of a half
# step may round the other way, which moves the logits of that row by one step of one activation. Seen: 4e-7 and, in
# one row of 48 of llama, 2e-3. Which rows flip depends on the CPU, hence the room.
INT8_BOUND = 2e-2
# int8 against f32 transformers: the error of the scheme itself on random weights. Seen: 0.04 to 0.06.
INT8_QUALITY = 0.1
# Kernels round the activations of int4 to i8, torch does not: the error of int8, and a tenth of that of int4 itself.
# Seen: 0.02 to 0.04; without kernels 1e-6 to 1.5e-3, the head's activations.
INT4_BOUND = {"cpu": INT8_QUALITY, "gpu": INT8_BOUND}
# int4 against f32 transformers: random weights have nothing that four bits keep well. Seen: 0.3 to 0.7; logits of
# another model would be off by 1.4.
INT4_QUALITY = 1.0

Runner = Callable[..., NDArray[np.float32]]
SOC = load_soc("x86-swiftshader")


class Case(NamedTuple):
    precision: str
    unit: str


CASES = [
    pytest.param(Case(precision, unit), id=f"{precision}-{unit}", marks=mark)
    for precision, unit, mark in (
        ("f32", "cpu", pytest.mark.cpu),
        ("f16", "cpu", pytest.mark.cpu),
        ("int8", "cpu", pytest.mark.cpu),
        ("int4", "cpu", pytest.mark.cpu),
        ("f32", "gpu", pytest.mark.vulkan),
        ("int8", "gpu", pytest.mark.vulkan),
        ("int4", "gpu", pytest.mark.vulkan),
    )
]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory, tiny_package: Callable[..., Path]) -> Callable[..., Path]:
    """``compiled(family, precision)``: a bundle whose target (f32, f16, int4) or drafter (int8) has the precision."""

    @functools.cache
    def made(family: str, target_precision: str) -> Path:
        package, folder = tiny_package(family), tmp_path_factory.mktemp("bundles") / "bundle"
        options: dict[str, Any] = {"target_precision": target_precision}
        if target_precision == "f32":
            options["drafter"] = package
        if target_precision == "f16":
            options["units"] = ("cpu",)
        bundle = build(soc=SOC, target=package, output=folder, context=CONTEXT, widths=WIDTHS, **options)
        assert not bundle.failures
        return folder

    return lambda family, precision: made(family, "f32" if precision == "int8" else precision)


@pytest.fixture(scope="module")
def run(compiled: Callable[..., Path]) -> Runner:
    """``run(family, case, width)``: logits [48, vocabulary] of TOKENS, ``width`` at a time; checks ids on the way."""
    from paceline.partition import read_bundle

    def logits(family: str, case: Case, width: int) -> NDArray[np.float32]:
        if case.unit == "gpu" and select_driver() is None:
            pytest.skip("no Vulkan driver; run 'paceline doctor --install-swiftshader'")
        folder = compiled(family, case.precision)
        role: Role = "drafter" if case.precision == "int8" else "target"
        unit = SOC.unit(case.unit)
        assert unit is not None
        program = load_program(folder, read_bundle(folder), role, open_device(unit))
        try:
            steps = [program.step(TOKENS[at : at + width], at, logits=True) for at in range(0, len(TOKENS), width)]
        finally:
            program.close()
        rows = np.concatenate([step.logits for step in steps if step.logits is not None])
        assert (np.concatenate([step.ids for step in steps]) == rows.argmax(1)).all()
        return rows

    return logits


def _off(found: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("family", FAMILIES)
def test_logits(
    family: str,
    case: Case,
    run: Runner,
    reference_logits: Any,
    torch_decoder: Any,
    tiny_package: Callable[..., Path],
) -> None:
    found = run(family, case, 8)
    reference = reference_logits(family, TOKENS)
    same_scheme = torch_decoder(tiny_package(family), PRECISIONS[case.precision], context=CONTEXT)(TOKENS)[1]
    if case.precision == "int8":
        assert _off(found, same_scheme) <= INT8_BOUND
        assert _off(found, reference) <= INT8_QUALITY
    elif case.precision == "int4":
        assert _off(found, same_scheme) <= INT4_BOUND[case.unit]
        assert _off(found, reference) <= INT4_QUALITY
    elif case.precision == "f16":
        assert _off(found, same_scheme) <= F16_BOUND
    else:
        assert _off(found, reference) <= F32_BOUND


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_the_same_bits_at_every_width(family: str, case: Case, run: Runner) -> None:
    one = run(family, case, 1)
    for width in WIDTHS[1:]:
        assert (run(family, case, width) == one).all()
