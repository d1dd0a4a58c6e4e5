"""Kernel programs as text, and the models that kernels refuse. What programs compute is tested by test_parity."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from paceline.compile import build, read_package
from paceline.compile.capture import Capture
from paceline.compile.kernel_calls import KERNELS
from paceline.compile.kernel_program import program_text
from paceline.compile.packing import FORM, PACKED
from paceline.costmodel import ModelSpec, kernel_calls
from paceline.targets import Dtype, load_soc
from paceline.targets.instruction_sets import SETS

WIDTHS = (1, 9)


@pytest.fixture
def spec(tiny_package: Callable[..., Path]) -> ModelSpec:
    return read_package(tiny_package("llama")).spec


def text(spec: ModelSpec, precision: str) -> str:
    capture = Capture(spec=spec, precision=precision, form=FORM, kernels=SETS[0].name, context=32, widths=WIDTHS)
    return program_text(capture, SETS[0])


@pytest.mark.parametrize(("precision", "calls"), [("f32", 8), ("f16", 8), ("int8", 10), ("int4", 10)])
def test_a_layer_is_a_handful_of_calls(spec: ModelSpec, precision: str, calls: int) -> None:
    dispatches = text(spec, precision).count("flow.dispatch @")
    deeper = text(msgspec.structs.replace(spec, layers=spec.layers + 1), precision).count("flow.dispatch @")
    assert deeper - dispatches == calls * len(WIDTHS)


@pytest.mark.parametrize("precision", PACKED)
@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_the_cost_model_counts_the_same_calls(tiny_package: Callable[..., Path], family: str, precision: Dtype) -> None:
    spec = read_package(tiny_package(family)).spec
    assert text(spec, precision).count("flow.dispatch @") == kernel_calls(spec, precision) * len(WIDTHS)


@pytest.mark.parametrize("precision", PACKED)
def test_a_program_calls_what_it_declares(spec: ModelSpec, precision: str) -> None:
    found = text(spec, precision)
    assert re.findall(r"util\.func public @(\w+)", found) == [f"step_{width}" for width in WIDTHS]
    called = set(re.findall(r"func\.call @(\w+)\(", found))
    assert called == set(re.findall(r"func\.func private @(\w+)\(", found)) <= set(KERNELS)


@pytest.mark.cpu
def test_a_model_that_kernels_refuse_is_traced(tiny_package: Callable[..., Path], tmp_path: Path) -> None:
    package = tiny_package("llama", intermediate_size=136, num_hidden_layers=1)
    soc = load_soc("x86-swiftshader")
    bundle = build(soc=soc, target=package, output=tmp_path / "b", context=32, widths=(1,), units=("cpu",))
    assert not bundle.failures
    assert bundle.target.weights == {"cpu": "target.f32.irpa"}
    assert not bundle.target.kernels
