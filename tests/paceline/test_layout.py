"""The tree is what the design says: packages listed, imports one way, names at the front door true."""

from __future__ import annotations

import ast
import importlib
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STAGES = ("targets", "costmodel", "partition", "compile", "runtime")
MAY_IMPORT = {
    "targets": set(),
    "costmodel": {"targets"},
    "partition": {"targets", "costmodel"},
    "compile": {"targets", "costmodel", "partition"},
    "runtime": {"targets", "costmodel", "partition"},
}
NEVER_ON_A_BOARD = {"torch", "transformers", "gguf", "onnx", "safetensors", "huggingface_hub", "matplotlib"}
LONGEST_MODULE = 350


def modules(stage: str) -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted((ROOT / stage).glob("*.py")):
        yield path, ast.parse(path.read_text())


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def test_every_folder_with_modules_is_packaged() -> None:
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    packaged = {ROOT / folder for folder in table["package-dir"].values()}
    found = {p.parent for s in (*STAGES, "src") for p in (ROOT / s).rglob("*.py") if ".egg-info" not in str(p)}
    assert found == packaged
    assert set(table["packages"]) == set(table["package-dir"])


def test_a_wheel_holds_kernels_socs_and_models(wheel: Path) -> None:
    found = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    data = [*(ROOT / "compile" / "kernels").iterdir(), *(ROOT / "targets").glob("*.toml")]
    data += (ROOT / "costmodel" / "models").iterdir()
    assert {f"paceline/{path.relative_to(ROOT)}" for path in data} <= found
    assert "paceline/py.typed" in found


@pytest.mark.parametrize("stage", STAGES)
def test_imports_run_one_way(stage: str) -> None:
    for path, tree in modules(stage):
        for name in imported(tree):
            parts = name.split(".")
            if parts[0] == "paceline" and len(parts) > 1 and parts[1] in STAGES:
                assert parts[1] == stage or parts[1] in MAY_IMPORT[stage], f"{path} imports {name}"


@pytest.mark.parametrize("stage", ["targets", "costmodel", "partition", "runtime"])
def test_nothing_heavy_reaches_a_board(stage: str) -> None:
    for path, tree in modules(stage):
        heavy = {name.split(".")[0] for name in imported(tree)} & NEVER_ON_A_BOARD
        compiler = {name for name in imported(tree) if name.startswith("iree.compiler")}
        assert not heavy | compiler, f"{path} imports {heavy | compiler}"


@pytest.mark.parametrize("stage", STAGES)
def test_front_door_names_exist_and_are_listed_sorted(stage: str) -> None:
    package = importlib.import_module(f"paceline.{stage}")
    names = package.__all__
    assert names == sorted(names) and len(set(names)) == len(names)
    assert all(isinstance(name, str) and getattr(package, name) is not None for name in names)
    assert package.__doc__ and "Example" in package.__doc__


@pytest.mark.parametrize("folder", [*STAGES, "src/paceline", "src/paceline/commands", "src/paceline/plots"])
def test_modules_are_short_and_say_what_they_are(folder: str) -> None:
    for path, tree in modules(folder):
        assert ast.get_docstring(tree), f"{path} has no docstring"
        lines = len(path.read_text().splitlines())
        assert lines <= LONGEST_MODULE, f"{path} has {lines} lines; split it by idea"


@pytest.mark.parametrize("stage", STAGES)
def test_tests_mirror_the_folders(stage: str) -> None:
    names = {path.stem for path, _ in modules(stage)} | {
        "parity",
        "width_invariance",
        "every_soc",
        "lossless",
        "real",
        "arm",
    }
    names |= {"soc_files", "gguf_fuzz", "bundle_fuzz", "pack_fuzz", "leaks", "two_processes"}
    names |= {"kernels", "kernel_arithmetic", "instructions"}  # of compile/kernels, which are no modules
    strays = [p.name for p in (ROOT / "tests" / stage).glob("test_*.py") if p.stem.removeprefix("test_") not in names]
    assert not strays


def test_no_machine_path_or_registry_is_committed() -> None:
    forbidden = ["/root" + "/", "/work" + "/", "/tmp" + "/exp", "pypi" + ".org", "deb" + ".debian.org"]
    for path in ROOT.rglob("*"):
        parts = path.relative_to(ROOT).parts
        text_file = path.suffix in {".py", ".md", ".toml"} or parts[0] == "scripts"
        if text_file and path.is_file() and not any(p.startswith(".") or p == "build" for p in parts):
            text = path.read_text()
            assert not [word for word in forbidden if word in text], path
