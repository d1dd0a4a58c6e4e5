"""Bundles: what goes in, what is refused, what is kept when a part fails."""

from __future__ import annotations

import errno
import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from paceline.compile import build
from paceline.compile.pair import check_vocabularies, vocabulary
from paceline.errors import CompileFailed, OutputError, PackageError, PairError, UsageError
from paceline.partition import read_bundle
from paceline.targets import Soc, load_soc

SOC = load_soc("x86-swiftshader")
SMALL: dict[str, Any] = {"context": 32, "widths": (1, 2), "units": ("cpu",)}


def _broken(soc: Soc, unit: str) -> Soc:
    """The SoC with a unit that no compiler knows."""
    units = tuple(
        msgspec.structs.replace(u, **({"vulkan_target": "nonesuch"} if u.kind == "gpu" else {"triple": "nonesuch"}))
        if u.name == unit
        else u
        for u in soc.units
    )
    return msgspec.structs.replace(soc, units=units)


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any attempt to start a compiler fails the test."""

    def start(*_: object, **__: object) -> None:
        raise AssertionError("a compiler was started")

    monkeypatch.setattr("paceline.compile.tools.Children.run", start)


@pytest.mark.cpu
def test_a_unit_that_fails_is_a_sentence_and_the_rest_is_kept(
    tmp_path: Path, tiny_package: Callable[..., Path]
) -> None:
    options = {**SMALL, "units": None}
    bundle = build(soc=_broken(SOC, "gpu"), target=tiny_package("llama"), output=tmp_path / "b", **options)
    assert set(bundle.target.programs) == {"cpu"}
    (failure,) = bundle.failures
    assert (failure.role, failure.unit) == ("target", "gpu")
    assert "iree-compile failed" in failure.reason
    assert "nonesuch" in failure.command
    assert subprocess.run(failure.command, shell=True, capture_output=True).returncode
    assert read_bundle(tmp_path / "b", checksums=True) == bundle


@pytest.mark.cpu
def test_a_target_that_compiles_nowhere_fails_and_leaves_the_old_bundle(
    tmp_path: Path, tiny_package: Callable[..., Path]
) -> None:
    old = build(soc=SOC, target=tiny_package("llama"), output=tmp_path / "b", **SMALL)
    with pytest.raises(CompileFailed, match="iree-compile failed"):
        build(soc=_broken(SOC, "cpu"), target=tiny_package("llama"), output=tmp_path / "b", replace=True, **SMALL)
    assert read_bundle(tmp_path / "b", checksums=True) == old
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


@pytest.mark.cpu
def test_nothing_changed_nothing_compiled(
    tmp_path: Path, tiny_package: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tiny_package("llama")
    first = build(soc=SOC, target=package, drafter=package, output=tmp_path / "one", **SMALL)
    monkeypatch.setattr("paceline.compile.tools.Children.run", None)
    second = build(soc=SOC, target=package, drafter=package, output=tmp_path / "two", **SMALL)
    assert second == first
    assert first.drafter is not None
    assert first.drafter.same_as_target
    assert first.files[first.drafter.weights["cpu"]].bytes < first.files[first.target.weights["cpu"]].bytes
    read_bundle(tmp_path / "two", checksums=True)


@pytest.mark.cpu
def test_a_dump_that_cannot_be_written_is_refused_before_any_work(
    tmp_path: Path, tiny_package: Callable[..., Path]
) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="file: File exists"):
        build(soc=SOC, target=tiny_package("llama"), output=tmp_path / "b", dump=tmp_path / "file", **SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("kernels", "phases"),
    [
        (True, ["packed.1-kernels.mlir", "packed.2-cpu"]),
        (False, ["plain.1-torch.mlir", "plain.2-linalg.mlir", "plain.3-cpu"]),
    ],
)
def test_dump_holds_the_ir_of_each_phase(
    tmp_path: Path, tiny_package: Callable[..., Path], kernels: bool, phases: list[str]
) -> None:
    dump = tmp_path / "dump"
    bundle = build(soc=SOC, target=tiny_package("llama"), output=tmp_path / "b", dump=dump, kernels=kernels, **SMALL)
    files = sorted(path.name for path in dump.iterdir())
    assert [name.split(".", 1)[1].split("f32-")[1] for name in files] == phases
    assert any("executable-targets" in path.name for path in (dump / files[-1]).iterdir())
    assert set(bundle.target.kernels) == ({"cpu"} if kernels else set())


@pytest.mark.usefixtures("no_compiler")
def test_half_precision_without_storage_for_it_is_refused_before_any_compiler(
    tmp_path: Path, tiny_package: Callable[..., Path]
) -> None:
    with pytest.raises(CompileFailed, match="no 16-bit storage"):
        build(
            soc=SOC, target=tiny_package("llama"), output=tmp_path / "b", target_precision="f16", context=32,
            widths=(1,), units=("gpu",),
        )  # fmt: skip
    assert not (tmp_path / "b").exists()


@pytest.mark.usefixtures("no_compiler")
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"context": 100_000}, "context 100000 is not within the 256 tokens"),
        ({"context": 0}, "context 0 is not within"),
        ({"target_precision": "int3"}, "unknown precision 'int3'"),
        ({"widths": ()}, "make no sense"),
        ({"widths": (0, 1)}, "make no sense"),
        ({"widths": (1, 64)}, "width 64 is more than the context of 32"),
        ({"units": ("npu",)}, "x86-swiftshader has no unit 'npu'; it has cpu, gpu"),
        ({"kernels": False, "draft_vocabulary": 9}, "draft vocabulary 9 needs kernels, and programs on cpu have none"),
        ({"units": ("gpu",), "draft_vocabulary": 9}, "draft vocabulary 9 needs kernels, and programs on gpu have none"),
    ],
)
def test_options_that_mean_nothing(
    tmp_path: Path, tiny_package: Callable[..., Path], options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        build(soc=SOC, target=tiny_package("llama"), output=tmp_path / "b", **{**SMALL, **options})


def test_weights_that_cannot_be_written_end_the_compilers_at_once(
    tmp_path: Path, tiny_package: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    started, stopped, ends = threading.Event(), threading.Event(), []

    def compiling(*_: object, **__: object) -> None:
        started.set()
        ends.append(stopped.wait(30))
        raise CompileFailed(tool="iree-compile", diagnostic="interrupted", command=())

    def full(*_: object, **__: object) -> None:
        assert started.wait(60)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setenv("PACELINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("paceline.compile.tools.Children.run", compiling)
    monkeypatch.setattr("paceline.compile.tools.Children.stop", lambda children: stopped.set())
    monkeypatch.setattr("paceline.compile.archive._convert", full)
    with pytest.raises(OutputError, match="the disk is full"):
        build(soc=SOC, target=tiny_package("llama"), output=tmp_path / "b", jobs=2, **SMALL)
    assert ends == [True]
    assert not (tmp_path / "b").exists()


def test_a_package_that_was_changed_is_not_compiled(
    tmp_path: Path, tiny_package: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "package"
    shutil.copytree(tiny_package("llama"), package)
    weights = package / "model.safetensors"
    *most, last = weights.read_bytes()
    weights.write_bytes(bytes([*most, last ^ 1]))
    monkeypatch.setenv("PACELINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(
        "paceline.compile.tools.Children.run", lambda children, command, **how: Path(command[-1]).write_text("")
    )
    with pytest.raises(PackageError, match=r"model\.safetensors was changed"):
        build(soc=SOC, target=package, output=tmp_path / "b", **SMALL)


@pytest.mark.usefixtures("no_compiler")
def test_a_taken_output_is_kept(tmp_path: Path, tiny_package: Callable[..., Path]) -> None:
    precious = tmp_path / "documents"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years")
    for replace in (False, True):
        with pytest.raises(OutputError, match="exists and is no bundle"):
            build(soc=SOC, target=tiny_package("llama"), output=precious, replace=replace, **SMALL)
    assert (precious / "thesis.txt").read_text() == "years"


def _with_tokenizer(package: Path, folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    shutil.copytree(package, folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    change(tokenizer)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    return folder


def test_another_vocabulary_is_refused_with_the_first_difference(
    tmp_path: Path, tiny_package: Callable[..., Path]
) -> None:
    package = tiny_package("llama")

    def swap(tokenizer: dict[str, Any]) -> None:
        words = tokenizer["model"]["vocab"]
        words["a"], words["b"] = words["b"], words["a"]

    other = _with_tokenizer(package, tmp_path / "other", swap)
    with pytest.raises(PairError, match="different vocabularies"):
        check_vocabularies(other, package)


def test_equal_vocabularies_fit_however_their_embeddings_are_padded(tiny_package: Callable[..., Path]) -> None:
    padded, plain = tiny_package("llama", vocab_size=384), tiny_package("llama")
    check_vocabularies(padded, plain)
    assert vocabulary(padded) == vocabulary(plain)


def test_a_tokenizer_that_cannot_be_read_names_its_file(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(PackageError, match=r"tokenizer\.json is not a tokenizer"):
        vocabulary(tmp_path)


@pytest.mark.cpu
def test_an_interrupt_ends_the_compilers_and_leaves_no_bundle(
    tmp_path: Path, tiny_package: Callable[..., Path]
) -> None:
    code = (
        "import signal, sys; from pathlib import Path\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a background job inherits that it is ignored
        "from paceline.compile import build; from paceline.targets import load_soc\n"
        "build(soc=load_soc('x86-swiftshader'), target=Path(sys.argv[1]), output=Path(sys.argv[2]))"
    )
    folder = tmp_path / "out"
    folder.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tiny_package("llama", seed=5)), str(folder / "b")],
        env={"PACELINE_CACHE": str(tmp_path / "cache"), "PATH": "/usr/bin:/bin"},
        stderr=subprocess.DEVNULL,
    )
    while not list((tmp_path / "cache" / "compile").glob("*.capture.json")):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) != 0
    assert list(folder.iterdir()) == []
    assert not list((tmp_path / "cache" / "compile").glob("*.vmfb"))
