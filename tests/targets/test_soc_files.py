"""The SoC files that ship: sources that hold, figures that follow from them, flags that IREE takes."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from paceline.targets import Figure, ProcessingUnit, known_socs, load_soc

NAMES = tuple(name for name in known_socs() if name != "host")
UNITS = [(name, unit.name) for name in NAMES for unit in load_soc(name).units]
TOLERANCE = 0.002
# Where IREE refuses an int8 matmul, and its words; every other target takes it.
REFUSED = {("snapdragon-8-gen3", "gpu"): "failed to legalize operation"}
# The instruction that an int8 matmul must end in: without it a file's int8 figure would be a lie.
INT8_INSTRUCTION = {
    "imx95": "sdot",
    "rk3588": "sdot",
    "rpi5": "sdot",
    "pixel8": "smmla",
    "snapdragon-8-gen3": "smmla",
}

MATMUL = """
func.func @f(%a: tensor<8x512x{of}>, %b: tensor<512x256x{of}>) -> tensor<8x256x{to}> {{
  %zero = arith.constant {zero} : {to}
  %empty = tensor.empty() : tensor<8x256x{to}>
  %sum = linalg.fill ins(%zero : {to}) outs(%empty : tensor<8x256x{to}>) -> tensor<8x256x{to}>
  %product = linalg.matmul ins(%a, %b : tensor<8x512x{of}>, tensor<512x256x{of}>)
      outs(%sum : tensor<8x256x{to}>) -> tensor<8x256x{to}>
  return %product : tensor<8x256x{to}>
}}
"""
KINDS = {"f32": MATMUL.format(of="f32", to="f32", zero="0.0"), "i8": MATMUL.format(of="i8", to="i32", zero="0")}


def unit_of(soc: str, name: str) -> ProcessingUnit:
    unit = load_soc(soc).unit(name)
    assert unit is not None
    return unit


def figures(name: str) -> Iterator[tuple[str, Figure]]:
    soc = load_soc(name)
    yield "memory", soc.memory
    for unit in soc.units:
        yield from ((f"{unit.name} peak {dtype}", figure) for dtype, figure in unit.peak.items())
        yield from ((f"{unit.name} {key}", getattr(unit, key)) for key in ("bandwidth", "memory", "launch"))


def derivation(source: str) -> float | None:
    """Value of ``derived: 6 cores x 1.8e9 Hz / 2 things; why``; None where nothing is derived."""
    if not source.startswith("derived: "):
        return None
    formula = source.removeprefix("derived: ").split(";")[0].split(",")[0]
    value = 1.0
    for operator, term in re.findall(r"(^|\bx |/ )(\d[\d.e+]*)(?= |$)", formula):
        value = value / float(term) if operator == "/ " else value * float(term)
    return value


def test_the_derivation_reader_reads() -> None:
    assert derivation("derived: 6 cores x 1.8e9 Hz x 4 f32 lanes x 2 operations; one 128-bit unit") == 86.4e9
    assert derivation("derived: 12 bytes / 4 s, of something") == 3
    assert derivation("estimated: 3 x 4") is None


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_is_positive_and_says_where_it_comes_from(name: str) -> None:
    for key, figure in figures(name):
        assert figure.value > 0, key
        known = ("derived:", "estimated:", "the SoC's memory", "the 8 GB model", "SwiftShader's", "vkpeak", "NXP")
        assert figure.source.startswith(known) or "https://" in figure.source, f"{key}: {figure.source}"


@pytest.mark.parametrize("name", NAMES)
def test_derived_figures_follow_from_their_derivation(name: str) -> None:
    derived = [(key, figure, value) for key, figure in figures(name) if (value := derivation(figure.source))]
    assert derived
    for key, figure, value in derived:
        assert math.isclose(figure.value, value, rel_tol=TOLERANCE), f"{key}: {figure.value:g} against {value:g}"


@pytest.mark.parametrize("name", NAMES)
def test_units_share_the_memory_of_the_soc(name: str) -> None:
    soc = load_soc(name)
    assert soc.shared_memory
    assert all(unit.memory.value <= soc.memory.value for unit in soc.units)


@pytest.mark.parametrize("name", NAMES)
def test_narrower_types_are_never_slower(name: str) -> None:
    for unit in load_soc(name).units:
        peaks = [unit.peak[dtype].value for dtype in ("f32", "f16", "int8") if dtype in unit.peak]
        assert len(peaks) >= 2 and peaks == sorted(peaks)


def compiled(folder: Path, unit: ProcessingUnit, kind: str, *more: str) -> subprocess.CompletedProcess[str]:
    flags = pytest.importorskip(f"paceline.compile.{'cpu' if unit.kind == 'cpu' else 'vulkan'}").flags(unit)
    pytest.importorskip("iree.compiler")
    source = folder / "f.mlir"
    source.write_text(KINDS[kind])
    command = [str(Path(sys.executable).with_name("iree-compile")), str(source), "-o", str(folder / "f.out")]
    return subprocess.run([*command, *flags, *more], capture_output=True, text=True, check=False)


@pytest.mark.cpu
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("soc", "name"), UNITS)
def test_iree_compiles_a_matmul_for_every_unit(tmp_path: Path, soc: str, name: str, kind: str) -> None:
    done = compiled(tmp_path, unit_of(soc, name), kind)
    if kind == "i8" and (soc, name) in REFUSED:
        assert done.returncode and REFUSED[soc, name] in done.stderr
    else:
        assert done.returncode == 0, done.stderr[:500]
        assert (tmp_path / "f.out").stat().st_size > 0


@pytest.mark.cpu
@pytest.mark.parametrize("soc", INT8_INSTRUCTION)
def test_int8_matmuls_use_the_instruction_that_the_figure_counts(tmp_path: Path, soc: str) -> None:
    folder = tmp_path / "intermediates"
    done = compiled(tmp_path, unit_of(soc, "cpu"), "i8", f"--iree-hal-dump-executable-intermediates-to={folder}")
    assert done.returncode == 0, done.stderr[:500]
    assembly = "".join(file.read_text() for file in folder.glob("*.s"))
    assert re.search(rf"\b{INT8_INSTRUCTION[soc]}\b", assembly)
    assert not re.search(r"\bz\d+\.", assembly), "a scalable vector register, although the file says -sve"


@pytest.mark.cpu
@pytest.mark.parametrize("soc", NAMES)
def test_storage_and_subgroup_are_those_of_irees_target(tmp_path: Path, soc: str) -> None:
    unit = unit_of(soc, "gpu")
    done = compiled(tmp_path, unit, "f32", "--compile-to=flow")
    assert done.returncode == 0, done.stderr[:500]
    text = (tmp_path / "f.out").read_text()
    storage, pinned = re.search(r"storage = ([b\d|]+)", text), re.search(r"subgroup_size_choices = \[(\d+)\]", text)
    assert storage and pinned
    assert unit.storage_bits == min(int(bits[1:]) for bits in storage[1].split("|"))
    profile = unit.vulkan_target.startswith("vp_")  # names a size too, but has no subgroup operations to use it
    assert unit.subgroup == (0 if profile else int(pinned[1]))
