"""Whatever bytes a GGUF holds, the importer gives a checkpoint or one of paceline's own errors."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paceline.compile.gguf_checkpoint import open_gguf_checkpoint
from paceline.errors import PacelineError

HEADER = 7600  # bytes that hold counts, metadata and the descriptions of tensors
FUZZ = settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def whole(tiny_gguf: Callable[..., Path]) -> bytes:
    """A sound file."""
    return tiny_gguf("llama3").read_bytes()


def survives(path: Path, data: bytes) -> None:
    """Open ``data`` as a checkpoint; anything but a PacelineError fails the test."""
    path.write_bytes(data)
    with contextlib.suppress(PacelineError):
        open_gguf_checkpoint(path)


@FUZZ
@given(edits=st.lists(st.tuples(st.integers(0, HEADER), st.integers(0, 255)), min_size=1, max_size=8))
def test_changed_bytes(whole: bytes, tmp_path: Path, edits: list[tuple[int, int]]) -> None:
    data = bytearray(whole)
    for at, value in edits:
        data[at] = value
    survives(tmp_path / "x.gguf", bytes(data))


@FUZZ
@given(
    at=st.integers(0, HEADER), word=st.sampled_from([b"\xff" * 8, b"\0" * 8, b"\0\0\0\0\1\0\0\0", b"\xff\xff\xff\x7f"])
)
def test_changed_counts(whole: bytes, tmp_path: Path, at: int, word: bytes) -> None:
    survives(tmp_path / "x.gguf", whole[:at] + word + whole[at + len(word) :])


@FUZZ
@given(size=st.integers(0, HEADER))
def test_cut_anywhere(whole: bytes, tmp_path: Path, size: int) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(whole[:size])
    with pytest.raises(PacelineError):
        open_gguf_checkpoint(path)


@FUZZ
@given(data=st.binary(max_size=300))
def test_random_bytes_after_the_magic(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(b"GGUF\x03\0\0\0" + data)
    with pytest.raises(PacelineError):
        open_gguf_checkpoint(path)


@pytest.mark.parametrize("depth", [3, 100_000])
def test_arrays_within_arrays(tmp_path: Path, depth: int) -> None:
    """A value of type array of arrays of arrays ..., each of one element."""
    path = tmp_path / "x.gguf"
    key = (1).to_bytes(8, "little") + b"a" + (9).to_bytes(4, "little")
    header = b"GGUF" + (3).to_bytes(4, "little") + (0).to_bytes(8, "little") + (1).to_bytes(8, "little")
    path.write_bytes(header + key + ((9).to_bytes(4, "little") + (1).to_bytes(8, "little")) * depth)
    with pytest.raises(PacelineError, match=r"x\.gguf"):
        open_gguf_checkpoint(path)


@pytest.mark.parametrize("at", [8, 16])
@pytest.mark.parametrize("count", [2**31, 2**60, 2**64 - 1])
def test_declared_counts_that_no_file_holds(whole: bytes, tmp_path: Path, at: int, count: int) -> None:
    """Counts of tensors (at 8) and of metadata (at 16): refused for what the file holds, not tried."""
    path = tmp_path / "x.gguf"
    path.write_bytes(whole[:at] + count.to_bytes(8, "little") + whole[at + 8 :])
    with pytest.raises(PacelineError, match=r"x\.gguf"):
        open_gguf_checkpoint(path)
