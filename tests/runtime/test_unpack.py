"""A pack becomes the bundle that it was, where there is a place for it and a machine that runs it, or nothing."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from paceline.checksums import describe_bytes
from paceline.documents import write_json
from paceline.errors import BundleError, DeviceUnavailable, OutputError, UsageError
from paceline.partition import Bundle, read_bundle
from paceline.partition.contents import list_contents
from paceline.runtime import unpack as module
from paceline.runtime.pack import pack
from paceline.runtime.unpack import unpack
from paceline.targets import Figure, ProcessingUnit, Soc
from paceline.targets.host import Cpu
from tests.runtime.packs import Files, archived, nothing_left, refused

MakeBundle = Callable[..., Path]
ZERO = Figure(value=1.0, source="test")


def test_a_round_trip_gives_the_same_files(bundle: Path, sound: Path, tmp_path: Path) -> None:
    folder, manifest = unpack(sound, tmp_path / "new" / "out")
    assert folder == tmp_path / "new" / "out"
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {p.name: p.read_bytes() for p in bundle.iterdir()}
    assert {p.stat().st_mode & 0o777 for p in folder.iterdir()} == {0o644}
    assert read_bundle(folder, checksums=True).digest == manifest.bundle
    pack(list_contents(folder), again := tmp_path / "again.tar.zst")
    assert again.read_bytes() == sound.read_bytes()


def test_the_folder_is_called_like_the_file(sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert unpack(sound)[0] == Path("sound")
    assert read_bundle(tmp_path / "sound")
    with pytest.raises(UsageError, match=r"is not called NAME\.tar\.zst, .*; name it with -o"):
        unpack(sound.rename(tmp_path / "odd"))


def on(**changes: Any) -> Soc:
    unit = ProcessingUnit(
        name="cpu", kind="cpu", description="a core", cores=1, peak={}, bandwidth=ZERO, memory=ZERO, launch=ZERO
    )
    return Soc(name="board", description="", memory=ZERO, units=(replace(unit, **changes),))


def test_another_architecture_is_refused_unless_told_otherwise(null_bundle: MakeBundle, tmp_path: Path) -> None:
    pack(list_contents(null_bundle(soc=on(triple="riscv64-linux-gnu"))), path := tmp_path / "x.tar.zst")
    refused(tmp_path, path.read_bytes(), "is for board: these programs are for riscv64", DeviceUnavailable)
    folder, _ = unpack(path, tmp_path / "out", judge=lambda bundle: None)
    assert read_bundle(folder).soc.name == "board"


def test_instructions_that_the_cpu_lacks(null_bundle: MakeBundle) -> None:
    whole = read_bundle(null_bundle())
    needy = tuple(replace(model, features={"cpu": ("dotprod",)}) for model in whole.models)
    bundle = replace(whole, models=needy, soc=on(triple="aarch64-linux-gnu"))
    lesser = Cpu(name="Cortex-A53", features=frozenset({"asimd"}), hertz=1e9)
    with pytest.raises(DeviceUnavailable, match=r"need dotprod, which this machine's CPU \(Cortex-A53\)"):
        module.check_machine(bundle, machine="aarch64", cpu=lesser)
    module.check_machine(bundle, machine="aarch64", cpu=replace_features(lesser, "asimddp"))


def replace_features(cpu: Cpu, *features: str) -> Cpu:
    return Cpu(name=cpu.name, features=frozenset(features), hertz=cpu.hertz)


def test_places_that_are_taken(sound: Path, tmp_path: Path) -> None:
    (other := tmp_path / "other").mkdir()
    (other / "mine").write_text("1")
    unpack(sound, old := tmp_path / "old")
    with nothing_left(tmp_path):
        with pytest.raises(OutputError, match="old exists already; replace it with --force"):
            unpack(sound, old)
        for place in (other, sound):
            for force in (False, True):
                with pytest.raises(OutputError, match="exists and is no bundle; choose another output"):
                    unpack(sound, place, replace=force)
        with pytest.raises(OutputError, match="cannot write"):
            unpack(sound, other / "mine" / "out")
    (tmp_path / "empty").mkdir()
    assert read_bundle(unpack(sound, tmp_path / "empty")[0])


def test_replacing_exchanges_all_of_a_bundle(sound: Path, tmp_path: Path) -> None:
    unpack(sound, old := tmp_path / "old")
    (old / "plan.json").write_text("of before")
    (tmp_path / "link").symlink_to(old)
    unpack(sound, tmp_path / "link", replace=True)
    assert not (old / "plan.json").exists() and read_bundle(old)
    assert {path.name for path in tmp_path.iterdir()} == {"bundle", "sound.tar.zst", "old", "link"}


def test_a_damaged_pack_replaces_nothing(sound: Path, files: Files, tmp_path: Path) -> None:
    unpack(sound, old := tmp_path / "old")
    (bad := tmp_path / "bad.tar.zst").write_bytes(archived({**files, "target.f32.irpa": b"other weights!!"}))
    with nothing_left(tmp_path), pytest.raises(BundleError, match="was changed"):
        unpack(bad, old, replace=True)
    assert read_bundle(old, checksums=True)


def test_no_room_is_said_before_anything_is_written(
    sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 100))
    refused(tmp_path, sound.read_bytes(), r"out needs 0\.0 MB, and its disk has 0\.0 MB free; free some", OutputError)


def test_a_disk_that_fills_meanwhile(null_bundle: MakeBundle, tmp_path: Path) -> None:
    folder = null_bundle()
    (folder / "target.f32.irpa").write_bytes(bytes(300_000))
    whole = read_manifest(folder)
    write_json(
        folder / "bundle.json", replace(whole, files={**whole.files, "target.f32.irpa": describe_bytes(bytes(300_000))})
    )
    pack(list_contents(folder), path := tmp_path / "y.tar.zst")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        refused(tmp_path, path.read_bytes(), "cannot write .*out: File too large", OutputError)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def read_manifest(folder: Path) -> Bundle:
    return msgspec.json.decode((folder / "bundle.json").read_bytes(), type=Bundle)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_an_interrupt_leaves_nothing(sound: Path, tmp_path: Path, steps: int) -> None:
    seen: list[int] = []

    def interrupt(what: str, done: int, total: int) -> None:
        seen.append(done)
        if len(seen) == steps:
            raise KeyboardInterrupt

    with nothing_left(tmp_path), pytest.raises(KeyboardInterrupt):
        unpack(sound, tmp_path / "new" / "out", report=interrupt)
    assert len(seen) == steps


def test_progress_ends_at_all_bytes(sound: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    _, manifest = unpack(sound, tmp_path / "out", report=lambda what, done, total: seen.append((done, total)))
    assert seen == sorted(seen) and seen[-1] == (manifest.total, manifest.total)
