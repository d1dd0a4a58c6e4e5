"""Packs with bytes, headers and values of chance: the bundle that it was, or one sentence and nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paceline.checksums import describe_bytes
from paceline.errors import PacelineError
from paceline.partition import read_bundle
from paceline.runtime.pack_format import BLOCK
from paceline.runtime.unpack import unpack
from tests.runtime.packs import Files, archived, compressed, plain_of

FUZZ = settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


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
