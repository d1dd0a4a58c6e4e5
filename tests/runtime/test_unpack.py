"""A pack becomes the bundle that it was, or one sentence and nothing: whatever its bytes are."""

from __future__ import annotations

import io
import json
import resource
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from paceline.errors import BundleError, DeviceUnavailable, OutputError, PacelineError, UsageError
from paceline.files import describe_bytes, write_json
from paceline.partition import Bundle, read_bundle
from paceline.partition.contents import list_contents
from paceline.runtime import unpack as module
from paceline.runtime.pack import pack
from paceline.runtime.pack_format import BLOCK, END, header, padding
from paceline.runtime.unpack import unpack
from paceline.targets import Figure, ProcessingUnit, Soc
from paceline.targets.host import Cpu

MakeBundle = Callable[..., Path]
Files = dict[str, bytes]
FUZZ = settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
ZERO = Figure(value=1.0, source="test")


@pytest.fixture
def bundle(null_bundle: MakeBundle) -> Path:
    """A bundle of a few kilobytes."""
    return null_bundle(template="t")


@pytest.fixture
def sound(bundle: Path, tmp_path: Path) -> Path:
    """Its pack."""
    pack(list_contents(bundle), path := tmp_path / "sound.tar.zst")
    return path


@pytest.fixture
def files(sound: Path) -> Files:
    """Its members, pack.json first."""
    with tarfile.open(fileobj=io.BytesIO(plain_of(sound.read_bytes()))) as archive:
        return {m.name: archive.extractfile(m).read() for m in archive.getmembers()}  # type: ignore[union-attr]


def plain_of(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompressobj().decompress(data)


def compressed(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


def member(name: str, data: bytes, *, size: int | None = None) -> bytes:
    return header(name, len(data) if size is None else size) + data + bytes(padding(len(data)))


def archived(files: Files, *, more: bytes = b"", end: bytes = END) -> bytes:
    return compressed(b"".join(member(name, data) for name, data in files.items()) + more + end)


def honest(files: Files) -> Files:
    """``files`` with a pack.json, and a bundle.json, that state what the files are."""
    head, described = json.loads(files["pack.json"]), json.loads(files["bundle.json"])
    described["files"] = {
        name: msgspec.to_builtins(describe_bytes(data)) for name, data in files.items() if name in described["files"]
    }
    changed = {**files, "bundle.json": json.dumps(described).encode()}
    entries = {name: describe_bytes(data) for name, data in changed.items() if name != "pack.json"}
    with suppress(msgspec.ValidationError):
        head["bundle"] = msgspec.convert(described, Bundle).digest
    return {**changed, "pack.json": msgspec.json.encode({**head, "files": entries})}


def edited(files: Files, name: str, /, **changes: Any) -> Files:
    return {**files, name: json.dumps({**json.loads(files[name]), **changes}).encode()}


@contextmanager
def nothing_left(folder: Path) -> Iterator[None]:
    before = {path: path.stat().st_size for path in folder.rglob("*")}
    yield
    assert {path: path.stat().st_size for path in folder.rglob("*")} == before


def refused(tmp_path: Path, data: bytes, found: str, error: type[PacelineError] = BundleError) -> None:
    (path := tmp_path / "x.tar.zst").write_bytes(data)
    with nothing_left(tmp_path), pytest.raises(error, match=found):
        unpack(path, tmp_path / "new" / "out")


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


def test_what_is_no_pack(tmp_path: Path) -> None:
    for data in (b"", b"PK\3\4 zip", b"\x28\xb5", b"\x1f\x8b\x08" + bytes(99)):
        refused(tmp_path, data, "is no pack: it does not begin as zstd does; make one with 'paceline pack'")
    refused(tmp_path, compressed(b""), "ends too early")
    refused(tmp_path, compressed(b"text " * 500), "is damaged before pack.json")
    refused(tmp_path, compressed(bytes(9999)), "ends before pack.json")
    for path, found in ((tmp_path, "is a folder, no pack"), (tmp_path / "absent", "cannot read .*: No such file")):
        with pytest.raises(BundleError, match=found):
            unpack(path, tmp_path / "out")


def test_a_pack_that_is_cut_anywhere(sound: Path, tmp_path: Path) -> None:
    data = sound.read_bytes()
    for size in {*range(4, len(data), 41), *range(len(data) - 12, len(data))}:
        refused(tmp_path, data[:size], "ends too early: it was cut; pack it again, or copy it anew")


def test_an_archive_that_is_cut_between_members(files: Files, tmp_path: Path) -> None:
    refused(tmp_path, archived(files, end=b""), "ends too early")
    refused(tmp_path, archived(files, end=bytes(BLOCK)), "ends too early")
    refused(tmp_path, archived(dict(list(files.items())[:-1])), "ends before target.f32.irpa")


@pytest.mark.parametrize("name", ["tokenizer.json", "target.f32.cpu.vmfb", "target.f32.irpa", "bundle.json"])
def test_other_bytes_than_the_manifests(files: Files, tmp_path: Path, name: str) -> None:
    changed = files[name][:-1] + b"!"
    refused(tmp_path, archived({**files, name: changed}), f"{name} in .* was changed: its checksum")


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "..", "sub/x"])
def test_a_way_out_of_the_folder(files: Files, tmp_path: Path, name: str) -> None:
    """In the archive, in its manifest, and in the bundle's own."""
    renamed = {(name if key == "tokenizer.json" else key): data for key, data in files.items()}
    refused(tmp_path, archived(renamed), "might lead out of the folder")
    entries = json.loads(files["pack.json"])["files"]
    lying = {(name if key == "tokenizer.json" else key): entry for key, entry in entries.items()}
    refused(tmp_path, archived(edited(renamed, "pack.json", files=lying)), "is no name for a file of a bundle")
    own = {
        (name if key == "tokenizer.json" else key): e for key, e in json.loads(files["bundle.json"])["files"].items()
    }
    refused(tmp_path, archived(honest(edited(files, "bundle.json", files=own))), "disagree about|does not name")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_members_that_are_no_files(files: Files, tmp_path: Path, kind: bytes) -> None:
    link = tarfile.TarInfo("tokenizer.json")
    link.type, link.linkname = kind, "/etc/passwd"
    parts = [link.tobuf() if name == link.name else member(name, data) for name, data in files.items()]
    refused(tmp_path, compressed(b"".join(parts) + END), "holds 'tokenizer.json', which is .*; packs hold plain files")


def test_more_than_the_manifest_lists(files: Files, tmp_path: Path) -> None:
    for more in (member("extra", b"x"), member("tokenizer.json", b"x"), bytes(9 * BLOCK), b"\1" * BLOCK):
        refused(tmp_path, archived(files, more=more), "holds more than its manifest lists")
    extra = {**json.loads(files["pack.json"])["files"], "extra": {"bytes": 1, "sha256": ""}}
    listed = {**edited(files, "pack.json", files=extra), "extra": b"x"}
    refused(tmp_path, archived(listed), "holds 'extra', which its bundle does not name")


def test_members_larger_than_the_manifest_says(files: Files, tmp_path: Path) -> None:
    """Nothing of a member is read whose size is not the expected one: zeros of any number cost nothing."""
    for size in (0, 1, 1 << 40, 1 << 62):
        parts = [member(name, data, size=size if name == "target.f32.irpa" else None) for name, data in files.items()]
        refused(tmp_path, compressed(b"".join(parts) + END), f"irpa in .* has {size} bytes, its manifest says 15")


def test_manifests_that_are_too_large_to_read(files: Files, tmp_path: Path) -> None:
    refused(tmp_path, compressed(header("pack.json", 1 << 40)), "has 1099511627776 bytes, expected 1048576 at most")
    start = member("pack.json", files["pack.json"])
    refused(tmp_path, compressed(start + header("bundle.json", 1 << 40)), "expected 16777216 at most")


def test_a_window_larger_than_a_board_can_hold(files: Files, tmp_path: Path) -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27)
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    refused(tmp_path, stream.compress(plain_of(archived(files))) + stream.flush(), "requires too much memory")


@pytest.mark.parametrize(
    ("name", "changes", "found"),
    [
        ("pack.json", {"schema": 2}, r"pack\.json in .* has schema 2, expected 1; pack it again"),
        ("pack.json", {"schema": "1"}, r"pack\.json in .* is not a valid PackManifest"),
        ("pack.json", {"surprise": 1}, r"pack\.json in .* is not a valid PackManifest"),
        ("pack.json", {"files": {}}, "the first file is None, expected 'bundle.json'"),
        ("pack.json", {"files": {"bundle.json": {"bytes": -1, "sha256": ""}}}, "is not a valid PackManifest"),
        ("pack.json", {"bundle": "0"}, "are of different bundles"),
        ("pack.json", {"soc": "another"}, "are of different bundles"),
        ("bundle.json", {"schema": 1}, r"bundle\.json in .* has schema 1, expected 2; compile it again"),
        ("bundle.json", {"surprise": 1}, r"bundle\.json in .* is not a valid Bundle"),
        ("bundle.json", {"models": []}, "names no target"),
    ],
)
def test_manifests_of_another_form(files: Files, tmp_path: Path, name: str, changes: Any, found: str) -> None:
    changed = edited(files, name, **changes)
    refused(tmp_path, archived(honest(changed) if name == "bundle.json" else changed), found)


def test_manifests_that_disagree(files: Files, tmp_path: Path) -> None:
    entries = json.loads(files["pack.json"])["files"]
    lying = {**entries, "tokenizer.json": {**entries["tokenizer.json"], "sha256": "0"}}
    refused(tmp_path, archived(edited(files, "pack.json", files=lying)), r"disagree about 'tokenizer\.json'")
    fewer = {name: entry for name, entry in entries.items() if name != "tokenizer.json"}
    refused(tmp_path, archived(edited(files, "pack.json", files=fewer)), r"disagree about 'tokenizer\.json'")


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


def survives(tmp_path: Path, data: bytes, bundle: Path) -> None:
    """Unpack ``data``: the bundle as it was, or an error of paceline's and nothing beside it."""
    (path := tmp_path / "fuzzed.tar.zst").write_bytes(data)
    before = set(tmp_path.rglob("*"))
    try:
        folder, _ = unpack(path, tmp_path / "fuzzed")
    except PacelineError:
        assert set(tmp_path.rglob("*")) == before
        return
    names = set(read_bundle(folder, checksums=True).files)
    assert {path.name for path in folder.iterdir()} == {*names, "bundle.json"}
    assert all((folder / name).read_bytes() == (bundle / name).read_bytes() for name in names)
    shutil.rmtree(folder)
    assert set(tmp_path.rglob("*")) == before


EDITS = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8)


def with_bytes(data: bytes, edits: list[tuple[float, int]]) -> bytes:
    changed = bytearray(data)
    for at, value in edits:
        changed[int(at * len(data))] = value
    return bytes(changed)


@FUZZ
@given(edits=EDITS)
def test_changed_bytes_of_the_file(sound: Path, bundle: Path, tmp_path: Path, edits: list[tuple[float, int]]) -> None:
    survives(tmp_path, with_bytes(sound.read_bytes(), edits), bundle)


@FUZZ
@given(edits=EDITS)
def test_changed_bytes_of_the_archive(
    sound: Path, bundle: Path, tmp_path: Path, edits: list[tuple[float, int]]
) -> None:
    survives(tmp_path, compressed(with_bytes(plain_of(sound.read_bytes()), edits)), bundle)


@FUZZ
@given(at=st.integers(0, 80), block=st.integers(0, 30), field=st.binary(min_size=1, max_size=12))
def test_changed_headers_with_a_sum_of_their_own(
    sound: Path, bundle: Path, tmp_path: Path, at: int, block: int, field: bytes
) -> None:
    """Fields of any header, as one who means it would change them."""
    data = bytearray(plain_of(sound.read_bytes()))
    start = (block * BLOCK) % len(data)
    at = at * 6 % (BLOCK - len(field))
    data[start + at : start + at + len(field)] = field
    data[start + 148 : start + 156] = b" " * 8
    total = sum(data[start : start + BLOCK])
    data[start + 148 : start + 156] = b"%06o\0 " % total
    survives(tmp_path, compressed(bytes(data)), bundle)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@FUZZ
@given(data=st.data())
def test_manifests_with_other_values(files: Files, bundle: Path, tmp_path: Path, data: st.DataObject) -> None:
    """Any value in any place of pack.json or bundle.json, with checksums that fit."""
    name = data.draw(st.sampled_from(["pack.json", "bundle.json"]))
    document = json.loads(files[name])
    place, key = data.draw(st.sampled_from(list(places(document))))
    place[key] = data.draw(JSON)
    changed = {**files, name: json.dumps(document).encode()}
    if name == "bundle.json":
        entries = {**json.loads(files["pack.json"])["files"], name: describe_bytes(changed[name])}
        changed["pack.json"] = msgspec.json.encode({**json.loads(files["pack.json"]), "files": entries})
    survives(tmp_path, archived(changed), bundle)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container and key inside ``value``."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from places(value[key])


@FUZZ
@given(tail=st.binary(max_size=300))
def test_random_bytes_after_the_magic(bundle: Path, tmp_path: Path, tail: bytes) -> None:
    survives(tmp_path, b"\x28\xb5\x2f\xfd" + tail, bundle)
