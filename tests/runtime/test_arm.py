"""What a board does, on an emulated Arm processor: the wheel with a board's packages, ``paceline run``, x86's ids."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from dispatches import inputs_for
from paceline.compile import build
from paceline.partition import Mapping, read_bundle
from paceline.partition.contents import list_contents
from paceline.runtime import load
from paceline.runtime.pack import pack
from paceline.targets import Soc, load_soc
from tests.emulator import MISSING, ROOT, SITE, emulator

pytestmark = [pytest.mark.arm, pytest.mark.usefixtures("forked_captures")]
# What has the features of a core and, but for the newest, no more. The emulator knows no Cortex-A55: it is of Armv8.2
# with dot products and f16, as a Cortex-A76 is.
PROCESSORS = {"imx95": "cortex-a76", "rk3588": "cortex-a76", "armv8.0": "cortex-a53", "pixel8": "max"}
PROMPT, TOKENS = "Ride close behind", 24
REPEATING = "one two three four, one two three four, one two"

Board = Callable[..., subprocess.CompletedProcess[str]]
Bundles = Callable[[str], Path]


def soc_named(name: str) -> Soc:
    """A SoC that ships, or a RK3588 whose cores are of Armv8.0, without dot products."""
    if name != "armv8.0":
        return load_soc(name)
    soc = load_soc("rk3588")
    old = [msgspec.structs.replace(unit, cpu="cortex-a53", cpu_features="") for unit in soc.units if unit.kind == "cpu"]
    return msgspec.structs.replace(soc, name=name, units=tuple(old))


@pytest.fixture(scope="module")
def board(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Board:
    """``board(soc, *arguments)``: the command line of paceline on a processor like that of a SoC."""
    if emulator("max") is None:
        pytest.skip(MISSING)
    folder = tmp_path_factory.mktemp("board")
    install = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), str(wheel))
    subprocess.run(install, check=True, capture_output=True)
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": f"{folder}:{SITE}"}

    def run(soc: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = (*(emulator(PROCESSORS[soc]) or ()), str(ROOT / "usr/bin/python3"), "-m", "paceline", *arguments)
        return subprocess.run(command, check=False, capture_output=True, text=True, env=environment)

    return run


@pytest.fixture(scope="module")
def tiny_pair(tmp_path_factory: pytest.TempPathFactory, tiny_package: Callable[..., Path]) -> Bundles:
    """A tiny llama in f32 and, as its drafter, the same in int8, for the CPU of a SoC."""

    @cache
    def made(soc: str) -> Path:
        package, folder = tiny_package("llama"), tmp_path_factory.mktemp("bundles") / soc
        build(soc=soc_named(soc), target=package, drafter=package, output=folder, units=("cpu",), context=128)
        return folder

    return made


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory, tiny_package: Callable[..., Path]) -> Bundles:
    """A tiny llama in int8 as the compiler makes it, without kernels."""

    @cache
    def made(soc: str) -> Path:
        package, folder = tiny_package("llama"), tmp_path_factory.mktemp("traced") / soc
        build(
            soc=load_soc(soc), target=package, target_precision="int8", output=folder,
            units=("cpu",), context=64, widths=(1, 4), kernels=False,
        )  # fmt: skip
        return folder

    return made


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory: pytest.TempPathFactory, smollm2_package: Path) -> Bundles:
    """SmolLM2 in int8 for the CPU of a SoC."""

    @cache
    def made(soc: str) -> Path:
        folder = tmp_path_factory.mktemp("bundles") / soc
        build(soc=load_soc(soc), target=smollm2_package, target_precision="int8", output=folder, units=("cpu",))
        return folder

    return made


def written(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """What ``run --json`` printed."""
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    assert all("aarch64 CPU" in device for device in report["devices"].values())
    return report


def plain(bundle: Path, prompt: str, tokens: int) -> tuple[list[int], str]:
    """Ids and text that this machine generates without drafts."""
    with load(bundle, mapping=Mapping(target="cpu"), draft_length=0) as model:
        generation = model.generate(prompt, max_new_tokens=tokens).finish()
        return list(generation.ids), generation.text


@pytest.mark.parametrize("soc", ["imx95", "rk3588", "armv8.0"])
def test_a_board_drafts_and_writes_what_x86_writes(soc: str, board: Board, tiny_pair: Bundles) -> None:
    drafting = ("--map", "target=cpu,drafter=cpu", "--draft-length", "3", "--max-tokens", str(TOKENS))
    report = written(board(soc, "run", str(tiny_pair(soc)), PROMPT, "--raw", "--json", *drafting))
    assert (report["ids"], report["text"]) == plain(tiny_pair("x86-swiftshader"), PROMPT, TOKENS)
    assert len(report["ids"]) == TOKENS and report["stats"]["drafted_tokens"] > 0


def test_a_board_runs_the_one_file_that_it_got(board: Board, tiny_pair: Bundles, tmp_path: Path) -> None:
    pack(list_contents(tiny_pair("imx95")), tmp_path / "tiny.tar.zst")
    assert board("imx95", "unpack", str(tmp_path / "tiny.tar.zst"), "-o", str(tmp_path / "tiny")).returncode == 0
    report = written(board("imx95", "run", str(tmp_path / "tiny"), PROMPT, "--raw", "--json", "--max-tokens", "4"))
    assert report["ids"] == plain(tiny_pair("x86-swiftshader"), PROMPT, 4)[0]
    done = board("armv8.0", "unpack", str(tmp_path / "tiny.tar.zst"), "-o", str(tmp_path / "other"))
    assert done.returncode == 1 and "dotprod" in done.stderr
    assert not (tmp_path / "other").exists()


@pytest.mark.real
@pytest.mark.parametrize(
    ("soc", "drafting"),
    [("imx95", ("--drafter", "ngram", "--draft-length", "3")), ("rk3588", ("--draft-length", "0"))],
)
def test_smollm2_writes_on_boards_what_it_writes_on_x86(
    soc: str, drafting: tuple[str, ...], board: Board, smollm2: Bundles
) -> None:
    options = ("--raw", "--json", "--max-tokens", "12")
    report = written(board(soc, "run", str(smollm2(soc)), REPEATING, *options, *drafting))
    assert (report["ids"], report["text"]) == plain(smollm2("x86-swiftshader"), REPEATING, 12)
    assert bool(report["stats"]["drafted_tokens"]) == ("ngram" in drafting)


@pytest.mark.parametrize("soc", ["imx95", "rk3588", "pixel8"])
def test_the_compilers_own_programs_write_the_same(soc: str, board: Board, traced: Bundles) -> None:
    """Made for each core, and for that of pixel8 with i8mm, which kernels do not use."""
    report = written(board(soc, "run", str(traced(soc)), PROMPT, "--raw", "--json", "--max-tokens", "8"))
    assert report["ids"] == plain(traced("x86-swiftshader"), PROMPT, 8)[0]


@pytest.mark.parametrize(
    ("soc", "other", "missing"), [("rk3588", "armv8.0", "dotprod"), ("pixel8", "rk3588", "bf16, i8mm")]
)
def test_a_core_that_lacks_a_feature_is_refused(
    soc: str, other: str, missing: str, board: Board, tiny_pair: Bundles, traced: Bundles
) -> None:
    bundle = tiny_pair(soc) if soc == "rk3588" else traced(soc)
    done = board(other, "run", str(bundle), PROMPT)
    assert done.returncode == 1 and done.stdout == ""
    assert f"these programs need {missing}, which this machine's CPU" in done.stderr
    assert "Traceback" not in done.stderr


def ids(soc: str, program: Path, weights: str, output: Path) -> list[int] | int:
    """Four tokens given to a program by IREE's runner, which checks no features: ids, or the exit code."""
    command = emulator(PROCESSORS[soc])
    if command is None:
        pytest.skip(MISSING)
    bundle = read_bundle(program.parent)
    (model,) = (model for model in bundle.models if program.name in model.programs.values())
    inputs = ("4xi32=5,6,7,8", "2xi32=0,0", *inputs_for(model.spec, bundle.context, model.kept_on("cpu"), 4, 0)[2:])
    runner = (str(SITE / "iree" / "_runtime_libs" / "iree-run-module"), "--device=local-sync", "--function=step_4")
    files = (f"--module={program}", f"--parameters=model={program.with_name(weights)}", f"--output=@{output}")
    options = (*files, "--output=", *(f"--input={value}" for value in inputs))
    done = subprocess.run([*command, *runner, *options], check=False, capture_output=True)
    return done.returncode or [int(token) for token in np.load(output)]


def test_kernels_would_stop_at_a_dot_product(tiny_pair: Bundles, tmp_path: Path) -> None:
    def drafted(soc: str, made_for: str) -> list[int] | int:
        program = tiny_pair(made_for) / "drafter.int8.cpu.vmfb"
        return ids(soc, program, "drafter.int8.packed.irpa", tmp_path / "ids.npy")

    assert drafted("armv8.0", "rk3588") == -signal.SIGILL
    assert drafted("armv8.0", "armv8.0") == drafted("rk3588", "rk3588")


def test_the_compilers_own_programs_would_stop_at_a_matrix_product(traced: Bundles, tmp_path: Path) -> None:
    def computed(soc: str) -> list[int] | int:
        return ids(soc, traced("pixel8") / "target.int8.cpu.vmfb", "target.int8.irpa", tmp_path / "ids.npy")

    assert computed("rk3588") == -signal.SIGILL
    assert isinstance(computed("pixel8"), list)
