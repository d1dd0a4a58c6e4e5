"""Programs for boards hold no instruction that the core of the SoC file lacks: disassembled as that core would read it.

What an emulator says of the instructions that it meets, this says of all of them, and of cores that none emulates.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from paceline.compile.build import build
from paceline.compile.kernel_calls import object_of
from paceline.targets import ProcessingUnit, load_soc
from paceline.targets.instruction_sets import SETS

pytestmark = [pytest.mark.arm, pytest.mark.usefixtures("forked_captures")]
BOARDS = ("imx95", "pixel8", "rk3588", "rpi5", "snapdragon-8-gen3")
DISASSEMBLER = "llvm-objdump-16"
# newer than the disassembler, which has for it what a Cortex-A715 has
OLDER = {"cortex-a720": "cortex-a715"}

Programs = Callable[[str, bool], tuple[Path, ...]]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory, tiny_package: Callable[..., Path]) -> Programs:
    """``programs(soc, kernels)``: a tiny llama in f32 and int8 for the CPU of a SoC."""

    @cache
    def made(soc: str, kernels: bool) -> tuple[Path, ...]:
        package, folder = tiny_package("llama"), tmp_path_factory.mktemp("bundles") / soc
        bundle = build(
            soc=load_soc(soc), target=package, drafter=package, output=folder,
            units=("cpu",), context=64, widths=(1, 4), kernels=kernels,
        )  # fmt: skip
        return tuple(folder / model.programs["cpu"] for model in bundle.models)

    return made


def cpu_of(soc: str) -> ProcessingUnit:
    unit = load_soc(soc).unit("cpu")
    assert unit is not None
    return unit


def disassembled(code: Path, cpu: str, features: str, folder: Path) -> list[str]:
    """The instructions of an object, or of a program, which has its code as an ELF file inside."""
    if shutil.which(DISASSEMBLER) is None:
        pytest.skip(f"no {DISASSEMBLER}; run: sh scripts/arm")
    content = code.read_bytes()
    elf = folder / f"{code.name}.elf"
    elf.write_bytes(content[content.index(b"\x7fELF") :])
    options = ("--disassemble", "--no-show-raw-insn", f"--mcpu={cpu}", f"--mattr={features}")
    done = subprocess.run([DISASSEMBLER, *options, str(elf)], check=True, capture_output=True, text=True)
    lines = [line.split(":", 1)[1].strip() for line in done.stdout.splitlines() if line[:1] == " " and ":" in line]
    assert len(lines) > 100
    return lines


def unknown(code: Path, cpu: str, features: str, folder: Path) -> int:
    """How many instructions a processor does not have."""
    return disassembled(code, cpu, features, folder).count("<unknown>")


@pytest.mark.parametrize(("soc", "kernels"), [*((soc, True) for soc in BOARDS), ("imx95", False), ("pixel8", False)])
def test_a_core_has_every_instruction(soc: str, kernels: bool, programs: Programs, tmp_path: Path) -> None:
    unit = cpu_of(soc)
    for program in programs(soc, kernels):
        assert unknown(program, OLDER.get(unit.cpu, unit.cpu), unit.cpu_features, tmp_path) == 0, program.name


@pytest.mark.parametrize(
    ("soc", "kernels", "lesser"), [("rk3588", True, "cortex-a53"), ("pixel8", False, "cortex-a76")]
)
def test_one_instruction_too_many_is_seen(
    soc: str, kernels: bool, lesser: str, programs: Programs, tmp_path: Path
) -> None:
    """Dot products where there are none, and i8mm on a core that has dot products only."""
    _, int8 = programs(soc, kernels)
    assert unknown(int8, lesser, "", tmp_path) > 10


@pytest.mark.parametrize("name", [some.name for some in SETS if some.architecture == "aarch64"])
def test_kernels_have_their_sets_instructions_and_no_more(name: str, tmp_path: Path) -> None:
    (kernels,) = (some for some in SETS if some.name == name)
    features = ",".join(f"+{feature}" for feature in kernels.features)
    assert unknown(object_of(kernels), "generic", features, tmp_path) == 0
    for feature in kernels.features:
        assert unknown(object_of(kernels), "generic", features.replace(f"+{feature}", f"-{feature}"), tmp_path) > 10
