"""Weights in huge pages: what is dropped and read once more, and what is left as it is."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from paceline.runtime import huge_pages

PIECE = 2 << 20


class Kernel:
    """Stands in for the kernel: the share of a file in huge pages, and that after it is read once more."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, huge: float, anew: float, room: int = 1 << 40) -> None:
        self.huge, self.anew, self.dropped = huge, anew, list[int]()
        monkeypatch.setattr(huge_pages, "_piece", lambda: PIECE)
        monkeypatch.setattr(huge_pages, "_room", lambda piece: room)
        monkeypatch.setattr(huge_pages, "_share", lambda file, length: self.huge)
        monkeypatch.setattr(huge_pages, "_share_anew", self.read_anew)

    def read_anew(self, file: int, length: int) -> float:
        self.dropped.append(length)
        return self.anew


@pytest.fixture
def weights(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "weights.irpa"
    with path.open("wb") as file:
        file.truncate(8 * PIECE)
    yield path


def test_huge_pages_are_left_alone(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(monkeypatch, huge=0.97, anew=1.0)
    assert huge_pages.gather(weights) == 0.97
    assert kernel.dropped == []


def test_a_kernel_that_cannot_is_asked_for_one_piece_only(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(monkeypatch, huge=0.0, anew=0.0)
    assert huge_pages.gather(weights) == 0.0
    assert kernel.dropped == [PIECE]


def test_small_pages_are_read_once_more(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(monkeypatch, huge=0.4, anew=1.0)
    assert huge_pages.gather(weights) == 1.0
    assert kernel.dropped == [8 * PIECE]


def test_nothing_is_read_again_where_memory_is_in_small_pieces(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(monkeypatch, huge=0.4, anew=1.0, room=8 * PIECE - 1)
    assert huge_pages.gather(weights) == 0.4
    assert kernel.dropped == []


def test_a_small_file_a_missing_one_and_a_kernel_without(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = Kernel(monkeypatch, huge=0.4, anew=1.0)
    os.truncate(weights, PIECE - 1)
    assert huge_pages.gather(weights) == huge_pages.gather(tmp_path / "none") == 0.0
    monkeypatch.setattr(huge_pages, "_piece", lambda: 0)
    os.truncate(weights, 8 * PIECE)
    assert huge_pages.gather(weights) == 0.0
    assert kernel.dropped == []


def test_room_counts_pieces_of_that_size_and_larger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = tmp_path / "buddyinfo"
    free.write_text(f"Node 0, zone    DMA32 {' 7' * 9} 3 1\nNode 0, zone   Normal {' 9' * 9} 0 2\n")
    monkeypatch.setattr(huge_pages, "_FREE_FILE", free)
    monkeypatch.setattr(mmap, "PAGESIZE", 4096)
    assert huge_pages._room(PIECE) == (3 + 2 * 1 + 0 + 2 * 2) * PIECE


def test_on_this_kernel_a_file_keeps_its_bytes(tmp_path: Path) -> None:
    content = os.urandom(1 << 20) * 9
    path = tmp_path / "weights.irpa"
    path.write_bytes(content)
    share = huge_pages.gather(path)
    assert 0 <= share <= 1
    assert path.read_bytes() == content
