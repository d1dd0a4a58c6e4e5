"""The table of kernels against their C sources and objects."""

from __future__ import annotations

import os
import re
import struct
import subprocess
from pathlib import Path

import pytest

from paceline.compile import kernel_calls
from paceline.compile.int4 import GROUP, SUPER_BLOCK
from paceline.compile.kernel_calls import FOLDER, KERNELS, digest, object_of
from paceline.compile.kernel_program import ROWS_AT_ONCE, SCREENED_AT_ONCE, row_bytes
from paceline.costmodel import cache_rows
from paceline.costmodel.caches import LANES
from paceline.costmodel.memory import FACTOR_BYTES
from paceline.costmodel.work import LARGEST_HEAD
from paceline.errors import CompileFailed
from paceline.targets.instruction_sets import SETS, InstructionSet
from tests.compile.clang import clang, needs_clang
from tests.compile.kernel_scheme import HIGH, STEPS

ROOT = Path(__file__).parents[2]
NAMES = [some.name for some in SETS]
# Code is generated for no system, whatever this machine is.
FOR_AVX2 = ("-target", "x86_64-none-elf", "-march=haswell")


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
    defined, asked = symbols(object_of(kernels).read_bytes())
    assert defined == set(KERNELS)
    assert asked == set()


def test_sizes_are_those_of_the_sources() -> None:
    sources = "".join(path.read_text() for path in FOLDER.glob("*.h"))
    found = {name: int(value) for name, value in re.findall(r"^#define (\w+) (\d+)\b", sources, re.MULTILINE)}
    assert (found["LANES"], found["GROUP"], found["SUPER"] * GROUP) == (LANES, GROUP, SUPER_BLOCK)
    assert (found["ROWS_AT_ONCE"], found["LARGEST_HEAD"]) == (ROWS_AT_ONCE, LARGEST_HEAD)
    assert (found["STEPS"], found["HIGH"]) == (STEPS, HIGH)
    assert (found["RUN"] * LANES, found["FACTORS"]) == (SCREENED_AT_ONCE, FACTOR_BYTES)
    assert [cache_rows(rows) for rows in (1, LANES, LANES + 1)] == [LANES, LANES, 2 * LANES]


@needs_clang
def test_the_table_has_the_arguments_of_the_sources() -> None:
    source = clang(*FOR_AVX2, "-E", "-P", str(FOLDER / "kernels.c"))
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
def test_rows_of_activations_are_as_far_apart_as_the_sources_have_them(tmp_path: Path) -> None:
    """A program that keeps less room than its kernels write would write over other values."""
    source, padded = tmp_path / "strides.c", range(GROUP, 320 * GROUP + 1, GROUP)
    returns = "".join(f"size_t of_{columns}(void) {{ return quantised_stride({columns}); }}\n" for columns in padded)
    source.write_text(f'#include "{FOLDER / "dot.h"}"\n{returns}')
    made = clang(*FOR_AVX2, "-O2", "-S", "-emit-llvm", "-o", "-", str(source))
    found = re.findall(r"@of_(\d+)\(.*?ret i64 (\d+)", made, re.DOTALL)
    assert {int(columns): int(stride) for columns, stride in found} == {n: row_bytes(n) for n in padded}


@needs_clang
def test_the_objects_are_what_the_sources_give(tmp_path: Path) -> None:
    environment = {**os.environ, "OUT": str(tmp_path)}
    subprocess.run(("sh", str(ROOT / "scripts" / "kernels")), check=True, env=environment, capture_output=True)
    assert {path.stem for path in tmp_path.iterdir()} == set(NAMES)
    for kernels in SETS:
        path = object_of(kernels)
        same = (tmp_path / path.name).read_bytes() == path.read_bytes()
        assert same, f"{path.name} is not what the sources give; run: sh scripts/kernels"


def test_an_object_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_calls, "FOLDER", tmp_path)
    with pytest.raises(CompileFailed, match=rf"{SETS[0].name}\.o: No such file.*install paceline anew"):
        digest(SETS[0])
