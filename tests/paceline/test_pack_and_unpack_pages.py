"""``paceline pack`` and ``unpack`` as a user calls them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace
from typer.testing import CliRunner, Result

from paceline import cli
from paceline.checksums import describe
from paceline.documents import write_json
from paceline.partition import Mapping, choose, read_bundle
from paceline.runtime import NullDevice, load_model
from paceline.targets import Figure, ProcessingUnit, Soc

MakeBundle = Callable[..., Path]
ZERO = Figure(value=1.0, source="test")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACELINE_CACHE", str(tmp_path / "cache"))


def call(*arguments: object) -> Result:
    cli._register()
    return CliRunner().invoke(cli.app, list(map(str, arguments)))


def test_there_and_back(null_bundle: MakeBundle, tmp_path: Path) -> None:
    folder, file, out = null_bundle(template="t"), tmp_path / "x.tar.zst", tmp_path / "out"
    said = call("pack", folder, "-o", file)
    assert said.exit_code == 0, said.stderr
    assert said.stdout.startswith(f"{file}: 0.0 MB (null for null, 9 files of 0.0 MB)\n")
    said = call("unpack", file, "-o", out)
    assert said.exit_code == 0, said.stderr
    assert said.stdout == f"{out}: null for null, 9 files, 0.0 MB; next: paceline run {out} PROMPT\n"
    assert {p.name: p.read_bytes() for p in out.iterdir()} == {p.name: p.read_bytes() for p in folder.iterdir()}


def test_json_of_both_is_the_manifest_and_where_it_went(null_bundle: MakeBundle, tmp_path: Path) -> None:
    folder, file, out = null_bundle(), tmp_path / "x.tar.zst", tmp_path / "out"
    packed = json.loads(call("pack", folder, "-o", file, "--json").stdout)
    unpacked = json.loads(call("unpack", file, "-o", out, "--json").stdout)
    assert (packed["file"], packed["bytes"]) == (str(file), file.stat().st_size)
    assert packed["left_out"] == {} and packed["remarks"] == []
    assert unpacked == {"folder": str(out), "manifest": packed["manifest"]}
    entry = describe(folder / "tokenizer.json")
    assert packed["manifest"]["files"]["tokenizer.json"] == {"bytes": entry.bytes, "sha256": entry.sha256}


def test_what_is_left_out_is_said(null_bundle: MakeBundle, tmp_path: Path) -> None:
    folder = null_bundle()
    plan = choose(read_bundle(folder), profile=None, alpha=0.9)
    write_json(folder / "plan.json", replace(plan, mapping=Mapping(target="cpu"), draft_length=0))
    said = call("pack", folder, "-o", tmp_path / "x.tar.zst", "--only-plan")
    assert said.exit_code == 0, said.stderr
    away = "drafter.f32.cpu.vmfb, drafter.f32.gpu.vmfb, target.f32.gpu.vmfb, drafter.f32.irpa"
    assert f"left out: {away}; that saves 0.0 MB on the board" in said.stdout
    assert "left out: the drafter: nothing that is kept runs it" in said.stdout
    only = json.loads(call("pack", folder, "-o", tmp_path / "y.tar.zst", "--unit", "cpu", "--json").stdout)
    assert set(only["left_out"]) == {"target.f32.gpu.vmfb", "drafter.f32.gpu.vmfb"}


def test_a_dash_is_standard_output_and_input(null_bundle: MakeBundle, tmp_path: Path) -> None:
    folder, file, out = null_bundle(), tmp_path / "x.tar.zst", tmp_path / "out"
    paceline = [sys.executable, "-m", "paceline"]
    for redirected in ("wb", "ab"):  # a regular file behind standard output is none to be replaced
        with file.open(redirected) as stdout:
            subprocess.run([*paceline, "pack", str(folder), "-o", "-"], stdout=stdout, check=True)
        with file.open("rb") as stdin:
            subprocess.run([*paceline, "unpack", "-", "-o", str(out), "--force"], stdin=stdin, check=True)
        assert {p.name: p.read_bytes() for p in out.iterdir()} == {p.name: p.read_bytes() for p in folder.iterdir()}
        file.unlink()
    said = call("pack", folder, "-o", "-", "--json")
    assert said.exit_code == 2 and "--json" in said.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "found"),
    [
        (("pack", "{folder}", "-o", "{file}", "--only-plan"), 1, "plan.json is missing"),
        (("pack", "{folder}", "-o", "{file}", "--unit", "npu"), 2, "null has no unit 'npu'"),
        (("pack", "{folder}", "-o", "{file}", "--unit", "cpu", "--only-plan"), 2, "decides the units"),
        (("pack", "{folder}", "-o", "{folder}"), 1, "cannot write"),
        (("pack", "{folder}", "-o", "{folder}/no/x.tar.zst"), 1, "there is no folder"),
        (("pack", "{folder}", "-o", "{folder}/bundle.json", "--force"), 1, "is a part of the bundle"),
        (("pack", "{folder}/no", "-o", "{file}"), 1, "is not a bundle"),
        (("pack", "{folder}"), 2, "Missing option"),
        (("unpack", "{file}"), 1, "No such file"),
        (("unpack", "{folder}"), 2, "name it with -o"),
        (("unpack", "{folder}", "-o", "{file}"), 1, "is a folder, no pack"),
        (("unpack", "{folder}/tokenizer.json", "-o", "{file}"), 1, "is no pack"),
        (("run", "{folder}/tokenizer.json", "hello"), 1, "is no pack"),
        (("profile", "{folder}/tokenizer.json"), 1, "is no pack"),
        (("validate", "{folder}/tokenizer.json"), 1, "is no pack"),
        (("plan", "{folder}/tokenizer.json"), 1, "is no pack"),
    ],
)
def test_refusals(null_bundle: MakeBundle, tmp_path: Path, arguments: tuple[str, ...], code: int, found: str) -> None:
    folder = null_bundle()
    before = set(tmp_path.rglob("*"))
    said = call(*(text.format(folder=folder, file=tmp_path / "x.tar.zst") for text in arguments))
    assert (said.exit_code, said.stdout) == (code, "")
    assert found in said.stderr.replace("\n", " ") and "Traceback" not in said.stderr
    assert set(tmp_path.rglob("*")) == before


def test_an_existing_output_needs_force(null_bundle: MakeBundle, tmp_path: Path) -> None:
    folder, file, out = null_bundle(), tmp_path / "x.tar.zst", tmp_path / "out"
    for arguments in (("pack", folder, "-o", file), ("unpack", file, "-o", out)):
        assert call(*arguments).exit_code == 0
        said = call(*arguments)
        assert said.exit_code == 1 and "exists already" in said.stderr
        assert call(*arguments, "--force").exit_code == 0


def test_into_a_folder(null_bundle: MakeBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = null_bundle()
    (place := tmp_path / "packs").mkdir()
    for output in (place, f"{place}/"):
        assert call("pack", folder, "-o", output).exit_code == 0
        (made,) = place.iterdir()
        assert made.name == "bundle.tar.zst"
        made.unlink()
    monkeypatch.chdir(folder)
    assert call("pack", ".", "-o", place).exit_code == 0 and (place / "bundle.tar.zst").exists()
    said = call("pack", folder, "-o", f"{tmp_path}/absent/")
    assert said.exit_code == 1 and "there is no such folder" in said.stderr
    assert not (tmp_path / "absent").exists()


def test_another_soc_needs_a_word(null_bundle: MakeBundle, tmp_path: Path) -> None:
    unit = ProcessingUnit(
        name="cpu", kind="cpu", description="a core", cores=1, triple="riscv64-linux-gnu",
        peak={}, bandwidth=ZERO, memory=ZERO, launch=ZERO,
    )  # fmt: skip
    folder = null_bundle(soc=Soc(name="board", description="", memory=ZERO, units=(unit,)))
    file, out = tmp_path / "x.tar.zst", tmp_path / "out"
    assert call("pack", folder, "-o", file).exit_code == 0
    said = call("unpack", file, "-o", out)
    assert said.exit_code == 1 and not out.exists()
    assert "is for board: these programs are for riscv64" in said.stderr
    assert "to look into it all the same: --other-soc" in said.stderr
    assert call("unpack", file, "-o", out, "--other-soc").exit_code == 0 and read_bundle(out)
    said = call("run", file, "hello")
    assert said.exit_code == 1 and "these programs are for riscv64" in said.stderr


def test_a_packed_bundle_runs_as_it_is(
    null_bundle: MakeBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load_model, "open_device", lambda unit, cores=None: NullDevice(unit=unit))
    folder, file = null_bundle(), tmp_path / "x.tar.zst"
    call("pack", folder, "-o", file)
    said = [call("run", place, "hello", "--max-tokens", 9) for place in (folder, file, file)]
    assert [result.exit_code for result in said] == [0, 0, 0]
    assert len({result.stdout for result in said}) == 1


def paceline(*arguments: object) -> subprocess.Popen[str]:
    # a background job inherits that Ctrl-C is ignored
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from paceline.cli import main; main()"
    )
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_nothing(null_bundle: MakeBundle, tmp_path: Path, number: signal.Signals) -> None:
    """The pack comes out of a pipe that stops in the middle of the weights."""
    folder, file = null_bundle(), tmp_path / "x.tar.zst"
    (folder / "target.f32.irpa").write_bytes(os.urandom(1 << 20))
    bundle = json.loads((folder / "bundle.json").read_text())
    entry = describe(folder / "target.f32.irpa")
    bundle["files"]["target.f32.irpa"] = {"bytes": entry.bytes, "sha256": entry.sha256}
    (folder / "bundle.json").write_text(json.dumps(bundle))
    assert call("pack", folder, "-o", file).exit_code == 0
    os.mkfifo(pipe := tmp_path / "pipe")
    (place := tmp_path / "place").mkdir()
    with paceline("unpack", pipe, "-o", place / "new" / "out") as unpacking, pipe.open("r+b", buffering=0) as writer:
        writer.write(file.read_bytes()[:500_000])
        while not list(place.glob("new/.out-*/target.f32.irpa")):
            assert unpacking.poll() is None
            time.sleep(0.02)
        time.sleep(0.2)  # until it waits for more
        unpacking.send_signal(number)
        said = unpacking.communicate(timeout=20)
    assert (unpacking.returncode, said) == (128 + number, ("", "interrupted\n"))
    assert list(place.iterdir()) == []


def test_through_a_pipe_without_a_file(null_bundle: MakeBundle, tmp_path: Path) -> None:
    folder, out = null_bundle(), tmp_path / "out"
    line = f'"$0" -m paceline pack "{folder}" -o /dev/stdout | "$0" -m paceline unpack /dev/stdin -o "{out}" --json'
    said = subprocess.run(["sh", "-c", line, sys.executable], capture_output=True, text=True, check=True)
    assert json.loads(said.stdout)["folder"] == str(out) and said.stderr == ""
    assert read_bundle(out, checksums=True) == read_bundle(folder)
