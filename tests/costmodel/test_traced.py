"""Launches and bytes of a pass against what the compiler itself counts in tiny programs."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from paceline.compile import read_package
from paceline.compile.cache import Cache, default_folder
from paceline.compile.capture import Capture
from paceline.compile.emit_vmfb import flags, iree_compile
from paceline.compile.kernel_calls import FOLDER
from paceline.compile.packing import FORM, PACKED
from paceline.compile.pipeline import Pipeline
from paceline.compile.precision import precision_on
from paceline.compile.tools import Children
from paceline.costmodel import ModelSpec, cache_bytes, find_model, forward, screened_head, weights_bytes
from paceline.costmodel.traced import Program, packed_bytes, program_on, traced_traffic
from paceline.targets import Dtype, ProcessingUnit, load_soc
from paceline.targets.instruction_sets import SETS
from tests.specs import tiny_spec

pytestmark = [pytest.mark.cpu, pytest.mark.usefixtures("forked_captures")]
CONTEXT = 64
_SECTION = re.compile(r"; builtin\.module(?: @\w+)? > util\.(?:func @(\w+)|initializer)")
_BYTES = {"f32": 4, "f16": 2, "i32": 4, "i8": 1}


@dataclass
class Counted:
    """Commands of one function: dispatches, and bytes of each copy."""

    dispatches: int = 0
    copies: list[int] = field(default_factory=list)


def unit_of(soc: str, name: str) -> ProcessingUnit:
    unit = load_soc(soc).unit(name)
    assert unit is not None
    return unit


CPU, GPU, WORDS = unit_of("x86-swiftshader", "cpu"), unit_of("imx95", "gpu"), unit_of("x86-swiftshader", "gpu")


@pytest.fixture
def ask(tmp_path: Path) -> Callable[..., dict[str, Counted]]:
    """Compile as far as the schedule, and return what every step dispatches and copies."""
    pipeline = Pipeline(Cache(default_folder()), Children())
    said = tmp_path / "statistics.csv"

    def compiled(capture: Capture, unit: ProcessingUnit) -> dict[str, Counted]:
        own = ("--iree-input-type=none", f"--iree-hal-executable-object-search-path={FOLDER}")
        options = own if capture.kernels else flags(unit)
        statistics = ("--iree-scheduling-dump-statistics-format=csv", f"--iree-scheduling-dump-statistics-file={said}")
        source = pipeline.source(capture).path
        iree_compile(source, (*options, "--compile-to=stream", *statistics), tmp_path / "out.mlir", Children())
        return counted(said.read_text())

    return compiled


def counted(text: str) -> dict[str, Counted]:
    """By function, the commands that the statistics list."""
    found: dict[str, Counted] = {}
    here = Counted()
    for line in text.splitlines():
        if section := _SECTION.match(line):
            here = found.setdefault(section[1] or "initializer", Counted())
        cells = line.split(",")
        if '"dispatch"' in cells[1:2]:
            here.dispatches += 1
        elif '"copy"' in cells[1:2]:
            here.copies.append(int(cells[3] or cells[2]))
    return found


def captured(spec: ModelSpec, precision: Dtype, widths: tuple[int, ...], unit: ProcessingUnit | None) -> Capture:
    """What to compile; ``unit`` None means kernels."""
    form = FORM if unit is None else precision_on(precision, unit).form
    kernels = SETS[0].name if unit is None else ""
    return Capture(spec=spec, precision=precision, form=form, kernels=kernels, context=CONTEXT, widths=widths)


@pytest.mark.parametrize("family", ["llama", "gemma3"])
@pytest.mark.parametrize("precision", PACKED)
def test_kernels_dispatch_what_is_counted_and_copy_nothing(
    tiny_package: Callable[..., Path], ask: Callable[..., dict[str, Counted]], family: str, precision: Dtype
) -> None:
    spec = read_package(tiny_package(family)).spec
    found = ask(captured(spec, precision, (1, 9), None), CPU)
    for width in (1, 9):
        work = forward(spec, width=width, context=CONTEXT, precision=precision, program="kernels")
        assert found[f"step_{width}"] == Counted(dispatches=work.dispatches)
    assert "initializer" not in found


@pytest.mark.parametrize(
    ("family", "precision", "unit"),
    [
        *(("llama", precision, CPU) for precision in ("f32", "f16", "int8", "int4")),
        *(("llama", precision, GPU) for precision in ("f16", "int8", "int4")),
        *(("llama", precision, WORDS) for precision in ("f32", "int8", "int4")),
        *((family, "f32", CPU) for family in ("qwen2", "gemma3", "mistral")),
    ],
    ids=lambda value: f"{value.kind}{value.storage_bits}" if isinstance(value, ProcessingUnit) else str(value),
)
def test_traced_programs_launch_what_is_counted(
    tiny_package: Callable[..., Path],
    ask: Callable[..., dict[str, Counted]],
    family: str,
    precision: Dtype,
    unit: ProcessingUnit,
) -> None:
    spec, program = read_package(tiny_package(family)).spec, program_on(unit, kernels=False)
    found = ask(captured(spec, precision, (1, 4, 16), unit), unit)
    for width in (1, 4, 16):
        step = found[f"step_{width}"]
        work = forward(spec, width=width, context=CONTEXT, precision=precision, program=program)
        assert step.dispatches + len(step.copies) == work.dispatches
        whole = [size for size in step.copies if size == cache_bytes(spec, CONTEXT, "f32") // 2]
        assert len(whole) >= 4  # both caches, in and out


def test_rows_are_few_where_the_decoder_says_so() -> None:
    """The cost model must not import what loads torch, so it says these again."""
    from paceline.compile import decoder, words
    from paceline.costmodel import traced

    assert (traced._FEW, traced._FUSED) == (decoder.FEW, words.FUSED)


def test_what_a_cpu_widens_when_it_loads_is_read_wide(
    tiny_package: Callable[..., Path], ask: Callable[..., dict[str, Counted]]
) -> None:
    """int4 is made f32 by the initializer on a CPU and in every pass on a GPU."""
    spec = read_package(tiny_package("llama")).spec
    int4, f32 = (ask(captured(spec, precision, (1, 4, 16), CPU), CPU) for precision in ("int4", "f32"))
    matrices = 2 * spec.layers + 1  # gate and up, down; and a head that is not tied
    assert int4["initializer"].dispatches > f32["initializer"].dispatches + 2 * matrices
    assert "initializer" not in ask(captured(spec, "int4", (1, 4, 16), GPU), GPU)


def test_what_would_grow_by_more_than_a_mebibyte_is_widened_in_every_pass(
    ask: Callable[..., dict[str, Counted]],
) -> None:
    """gate and up in one, down, and the head; what stays in bytes is packed when the program is loaded."""
    spec = tiny_spec(name="wide", hidden=1024, head_size=16, ffn=1024, vocabulary=320, context=256)
    found = ask(captured(spec, "int4", (1, 4), CPU), CPU)
    for width in (1, 4):
        step = found[f"step_{width}"]
        work = forward(spec, width=width, context=CONTEXT, precision="int4", program="cpu")
        assert step.dispatches + len(step.copies) == work.dispatches
    assert packed_bytes(spec, "int4", "cpu") == 2 * 1024 * (64 + 2 * 32 + 64)
    beyond = traced_traffic(spec, 1, CONTEXT, "int4", "cpu")[1] - 3 * cache_bytes(spec, CONTEXT, "f32")
    assert beyond == 2 * 4 * 1024 * (2 * 3 * 1024 + 320)


@pytest.mark.parametrize(("precision", "element"), [("f32", 4), ("f16", 2), ("int8", 1)])
def test_a_cpu_packs_what_it_multiplies_with_and_others_nothing(precision: Dtype, element: int) -> None:
    spec = find_model("smollm2-135m")
    layer = spec.hidden * (2 * spec.heads + 2 * spec.kv_heads) * spec.head_size + 3 * spec.hidden * spec.ffn
    multiplied = spec.layers * layer + spec.vocabulary * spec.hidden
    assert packed_bytes(spec, precision, "cpu") == element * multiplied
    assert {packed_bytes(spec, precision, program) for program in ("gpu", "words", "kernels")} == {0}


@pytest.mark.parametrize(("precision", "choices"), [*((name, 0) for name in PACKED), ("int8", 100), ("int4", 100)])
def test_weights_are_the_bytes_that_the_program_declares(
    tiny_package: Callable[..., Path], tmp_path: Path, precision: Dtype, choices: int
) -> None:
    spec = screened_head(read_package(tiny_package("llama")).spec, choices, precision)
    text = Pipeline(Cache(tmp_path), Children()).source(captured(spec, precision, (1,), None)).path.read_text()
    declared = re.findall(r"util\.global private @(\w+) = .* : tensor<([0-9x]+)x(\w+)>", text)
    tables = 2 * 4 * CONTEXT * spec.head_size
    total = sum(_size(shape) * _BYTES[kind] for _, shape, kind in declared)
    assert total - tables == weights_bytes(spec, precision)


def _size(shape: str) -> int:
    product = 1
    for axis in shape.split("x"):
        product *= int(axis)
    return product


@pytest.mark.parametrize(
    ("precision", "program", "width", "read", "written"),
    [
        ("int8", "cpu", 5, 0, 0),
        ("int8", "gpu", 5, 0, 0),
        ("int8", "words", 4, 0, 0),
        ("int8", "words", 5, 3 + 4, 4),
        ("f32", "words", 5, 0, 0),
    ],
)
def test_widening_by_hand(
    tiny_package: Callable[..., Path], precision: Dtype, program: Program, width: int, read: int, written: int
) -> None:
    spec = read_package(tiny_package("llama")).spec
    q, kv = spec.heads * spec.head_size, spec.kv_heads * spec.head_size
    layer = spec.hidden * (2 * q + 2 * kv + 3 * spec.ffn)
    elements = spec.layers * layer + spec.hidden * spec.vocabulary
    caches = 3 * cache_bytes(spec, CONTEXT, "f32")
    found = traced_traffic(spec, width, CONTEXT, precision, program)
    assert found == (caches + read * elements, caches + written * elements)
