"""What a board does, with what a board installs: the wheel without extras, and a bundle that came as one file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from paceline.partition.contents import list_contents
from paceline.runtime.pack import pack

pytestmark = pytest.mark.cpu
NOT_ON_A_BOARD = ("torch", "iree.compiler", "matplotlib", "transformers", "onnx", "gguf", "safetensors", "pytest")
PROMPT = ("the rider drafts behind", "--max-tokens", "12")
FEW = ("--tokens", "4", "--repeats", "3")
Board = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def folder(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an environment in which pip has put the wheel and what it asks for."""
    folder = tmp_path_factory.mktemp("board")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    said = pip("--python", folder / "venv" / "bin" / "python", "install", wheel)
    if said.returncode and pip("download", "--no-deps", "--dest", folder / "probe", "msgspec").returncode:
        pytest.skip("no package index to install from")
    assert not said.returncode, said.stderr
    return folder


def pip(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def packed(folder: Path, tiny_bundle: Path) -> Path:
    """The tiny pair, without the GPU's programs."""
    pack(list_contents(tiny_bundle, units=("cpu",)), path := folder / "tiny.tar.zst")
    return path


@pytest.fixture(scope="module")
def board(folder: Path) -> Board:
    """Run a command of the environment in its folder, with an empty cache of its own."""
    environment = {
        **{name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ},
        "PATH": f"{folder / 'venv' / 'bin'}:/usr/bin:/bin",
        "PACELINE_CACHE": str(folder / "cache"),
    }

    def call(*command: object) -> subprocess.CompletedProcess[str]:
        words = [str(folder / "venv" / "bin" / str(command[0])), *map(str, command[1:])]
        return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)

    return call


@pytest.fixture(scope="module")
def unpacked(board: Board, folder: Path, packed: Path) -> Path:
    said = board("paceline", "unpack", packed.name)
    assert said.returncode == 0, said.stderr
    return folder / "tiny"


def test_nothing_heavy_is_there(board: Board) -> None:
    code = f"from importlib.util import find_spec; print([n for n in {NOT_ON_A_BOARD} if find_spec(n)])"
    said = board("python", "-c", code)
    assert (said.stdout, said.stderr) == ("[]\n", "")


def test_doctor_is_content_and_names_what_compiling_would_take(board: Board) -> None:
    said = board("paceline", "doctor", "--json")
    health = json.loads(said.stdout)
    assert said.returncode == 0 and health["cpu_ready"] and not health["compile_ready"]
    assert health["packages"]["torch"] == health["packages"]["iree-base-compiler"] == ""
    said = board("paceline", "compile", "--soc", "host", "--target", "x", "-o", "y")
    assert said.returncode == 1 and "pip install 'paceline[compile]'" in said.stderr


def test_it_says_what_the_desk_says(board: Board, unpacked: Path, packed: Path, tiny_bundle: Path) -> None:
    desk = [sys.executable, "-m", "paceline", "run", str(tiny_bundle), *PROMPT, "--map", "target=cpu"]
    text = subprocess.run(desk, capture_output=True, text=True, check=True).stdout
    for place in (unpacked.name, packed.name, packed.name):
        for drafting in ((), ("--draft-length", "3")):
            said = board("paceline", "run", place, *PROMPT, *drafting)
            assert (said.returncode, said.stdout) == (0, text), said.stderr


def test_it_measures_plans_and_validates(board: Board, unpacked: Path) -> None:
    for command in (
        ("profile", unpacked.name, "--budget", "1", *FEW),
        ("plan", unpacked.name),
        ("validate", unpacked.name, "--limit", "1", "--draft-lengths", "2", *FEW),
        ("run", unpacked.name, *PROMPT),
    ):
        said = board("paceline", *command)
        assert said.returncode == 0, said.stderr
    assert {"profile.json", "acceptance.json", "plan.json"} <= {path.name for path in unpacked.iterdir()}


def test_a_start_maps_weights_and_reads_the_rest(board: Board, unpacked: Path) -> None:
    """Both archives are mapped; through read() comes what other files hold, twice, once for the checksum."""
    code = f"""
import json, re, paceline
def bytes_read():
    return int(re.search(r"rchar: (\\d+)", open("/proc/self/io").read())[1])
import iree.runtime, paceline.runtime.iree_program, tokenizers
before = bytes_read()
with paceline.load({str(unpacked)!r}, draft_length=2, drafter="model") as model:
    after = bytes_read()
    maps = re.findall(r"\\S+\\.irpa$", open("/proc/self/maps").read(), re.MULTILINE)
print(json.dumps([after - before, maps]))
"""
    said = board("python", "-c", code)
    assert said.returncode == 0, said.stderr
    read, maps = json.loads(said.stdout)
    weights = {path.name: path.stat().st_size for path in unpacked.glob("*.irpa")}
    assert {Path(name).name for name in maps} == set(weights)
    unread = {*weights, "profile.json", "acceptance.json"}
    small = sum(path.stat().st_size for path in unpacked.iterdir() if path.name not in unread)
    assert read < 2 * small + 100_000 < 2 * small + sum(weights.values())
