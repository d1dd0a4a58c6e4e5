"""The table of kernels against their C sources and objects, and which objects a processor gets."""

from __future__ import annotations

import os
import platform
import re
import shutil
import struct
import subprocess
from pathlib import Path

import msgspec
import pytest

from paceline.compile import kernel_calls
from paceline.compile.int4 import GROUP, SUPER_BLOCK
from paceline.compile.kernel_calls import FOLDER, KERNELS, SETS, InstructionSet, instruction_set
from paceline.compile.kernel_program import LARGEST_HEAD, ROWS_AT_ONCE
from paceline.compile.packing import LANES
from paceline.costmodel import cache_rows
from paceline.errors import CompileFailed
from paceline.targets import ProcessingUnit, load_soc
from paceline.targets.host import Cpu

ROOT = Path(__file__).parents[2]
NAMES = [some.name for some in SETS]
needs_clang = pytest.mark.skipif(
    shutil.which("clang-16") is None, reason="clang-16 is not installed; on Debian: apt-get install clang-16"
)


def symbols(elf: bytes) -> tuple[set[str], set[str]]:
    """Names of the global symbols that a 64-bit little-endian object defines, and of those that it asks for."""
    (start,) = struct.unpack_from("<Q", elf, 0x28)
    size, count = struct.unpack_from("<HH", elf, 0x3A)
    sections = [struct.unpack_from("<IIQQQQIIQQ", elf, start + size * i) for i in range(count)]
    table = next(section for section in sections if section[1] == 2)  # SHT_SYMTAB
    names = sections[table[6]][4]
    defined, asked = set[str](), set[str]()
    for at in range(table[4], table[4] + table[5], 24):
        name, info, _, section = struct.unpack_from("<IBBH", elf, at)
        if info >> 4 and name:  # not STB_LOCAL
            text = elf[names + name : elf.index(b"\0", names + name)].decode()
            (defined if section else asked).add(text)
    return defined, asked


@pytest.mark.parametrize("kernels", SETS, ids=NAMES)
def test_an_object_has_every_kernel_and_needs_nothing(kernels: InstructionSet) -> None:
    defined, asked = symbols(kernels.object.read_bytes())
    assert defined == set(KERNELS)
    assert asked == set()


def test_sizes_are_those_of_the_sources() -> None:
    sources = "".join(path.read_text() for path in FOLDER.glob("*.h"))
    found = {name: int(value) for name, value in re.findall(r"^#define (\w+) (\d+)\b", sources, re.MULTILINE)}
    assert (found["LANES"], found["GROUP"], found["SUPER"] * GROUP) == (LANES, GROUP, SUPER_BLOCK)
    assert (found["ROWS_AT_ONCE"], found["LARGEST_HEAD"]) == (ROWS_AT_ONCE, LARGEST_HEAD)
    assert [cache_rows(rows) for rows in (1, LANES, LANES + 1)] == [LANES, LANES, 2 * LANES]


@needs_clang
def test_the_table_has_the_arguments_of_the_sources() -> None:
    headers = f"{_output('clang-16', '-print-resource-dir').strip()}/include"
    command = ("clang-16", "-target", "x86_64-none-elf", "-march=haswell", "-ffreestanding", "-isystem", headers)
    source = _output(*command, "-E", "-P", str(FOLDER / "kernels.c"))
    functions = re.findall(r"(static[^;{}]*?)?\bvoid (\w+)\(([^()]*)\)\s*\{", source)
    found = {name: arguments for static, name, arguments in functions if not static}
    assert set(found) == set(KERNELS)
    for name, kernel in KERNELS.items():
        arguments = [" ".join(argument.split()) for argument in found[name].split(",")]
        arrays = [argument for argument in arguments if "*" in argument]
        integers = [argument.removeprefix("size_t ") for argument in arguments[len(arrays) :]]
        for argument, use in zip(arrays, kernel.arrays, strict=True):
            # caches that attention only reads count as changed: a chain of single uses, which IREE does not copy
            assert use in ("ic" if argument.startswith("const ") else "co"), (name, argument)
        assert tuple(integers[:-1]) == kernel.integers, name
        assert integers[-1] in ("row", "head", "part"), name


@needs_clang
def test_the_objects_are_what_the_sources_give(tmp_path: Path) -> None:
    environment = {**os.environ, "OUT": str(tmp_path)}
    subprocess.run(("sh", str(ROOT / "scripts" / "kernels")), check=True, env=environment, capture_output=True)
    assert {path.stem for path in tmp_path.iterdir()} == set(NAMES)
    for kernels in SETS:
        same = (tmp_path / kernels.object.name).read_bytes() == kernels.object.read_bytes()
        assert same, f"{kernels.object.name} is not what the sources give; run: sh scripts/kernels"


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def cpu(*, triple: str, name: str, features: str) -> ProcessingUnit:
    unit = load_soc("x86-swiftshader").unit("cpu")
    assert unit is not None
    return msgspec.structs.replace(unit, triple=triple, cpu=name, cpu_features=features)


def chosen(unit: ProcessingUnit) -> str | None:
    found = instruction_set(unit)
    return None if found is None else found.name


@pytest.mark.parametrize("soc", ["imx95", "pixel8", "rk3588", "rpi5", "snapdragon-8-gen3"])
def test_boards_have_dot_products(soc: str) -> None:
    unit = load_soc(soc).unit("cpu")
    assert unit is not None and chosen(unit) == "aarch64-dotprod"


@pytest.mark.parametrize(
    ("triple", "features", "wanted"),
    [
        ("aarch64-linux-gnu", "", "aarch64-neon"),
        ("aarch64-linux-gnu", "-dotprod", "aarch64-neon"),
        ("arm64-apple-macos", "+dotprod", "aarch64-dotprod"),
        ("x86_64-linux-gnu", "+avx2,+fma,+f16c,+bmi2", "x86_64-avx2"),
        ("x86_64-linux-gnu", "+avx2,+fma", None),
        ("x86_64-linux-gnu", "", None),
        ("riscv64-linux-gnu", "+v", None),
    ],
)
def test_what_is_said_of_a_processor_decides(triple: str, features: str, wanted: str | None) -> None:
    assert chosen(cpu(triple=triple, name="some", features=features)) == wanted


@pytest.mark.parametrize(
    ("machine", "flags", "wanted"),
    [
        ("x86_64", "sse2 avx2 fma f16c bmi2 avx512f avx512bw avx512vl avx512dq avx512_vnni", "x86_64-avx512vnni"),
        ("AMD64", "sse2 avx2 fma f16c bmi2 avx512f avx512bw avx512vl avx512dq", "x86_64-avx2"),
        ("x86_64", "sse2", None),
        ("aarch64", "fp asimd asimddp", "aarch64-dotprod"),
        ("arm64", "fp asimd", "aarch64-neon"),
        ("riscv64", "", None),
    ],
)
def test_the_host_is_asked(machine: str, flags: str, wanted: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(kernel_calls, "detect_cpu", lambda: Cpu("some", frozenset(flags.split()), 0.0))
    assert chosen(cpu(triple="", name="host", features="")) == wanted


def test_an_object_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_calls, "FOLDER", tmp_path)
    with pytest.raises(CompileFailed, match=rf"{SETS[0].name}\.o: No such file.*install paceline anew"):
        SETS[0].digest()


def test_a_gpu_has_no_kernels() -> None:
    unit = load_soc("rpi5").unit("gpu")
    assert unit is not None and chosen(unit) is None
