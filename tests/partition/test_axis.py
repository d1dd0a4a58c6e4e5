"""Axes as people write them."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from paceline.errors import UsageError
from paceline.partition.axis import Axis, read_axis


def test_ranges_include_their_ends() -> None:
    assert read_axis("alpha=0.1:0.3:0.1") == Axis(key="alpha", values=(0.1, 0.2, 0.3))
    assert read_axis("alpha=0.1:0.95:0.05").values[-3:] == (0.85, 0.9, 0.95)
    assert read_axis("bandwidth=5e9:6.9e9:1e9").values == (5e9, 6e9)
    assert read_axis("context=512:128:-128").values == (512, 384, 256, 128)
    assert read_axis("alpha=0.5:0.5:1").values == (0.5,)


def test_lists_are_taken_as_they_are() -> None:
    assert read_axis("gpu.peak.int8=2e9,1e9") == Axis(key="gpu.peak.int8", values=(2e9, 1e9))


@given(st.integers(-1000, 1000), st.integers(1, 500), st.integers(1, 1000))
@example(-9, 10, 1)
def test_a_range_has_every_step(start: int, count: int, step: int) -> None:
    scale = 1000
    text = f"x={start / scale}:{(start + (count - 1) * step) / scale}:{step / scale}"
    assert read_axis(text).values == tuple((start + i * step) / scale for i in range(count))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("alpha", "'alpha' is no sweep; write key=start:stop:step"),
        ("alpha=", "is no sweep"),
        ("=1,2", "is no sweep"),
        ("alpha=0:1", "is no range; write start:stop:step"),
        ("alpha=0:1:0.1:2", "is no range"),
        ("alpha=0:1,2:3", "is no range"),
        ("alpha=a,b", "'a' in 'alpha=a,b' is no number"),
        ("alpha=nan", "is not a finite number"),
        ("alpha=0:inf:1", "is not a finite number"),
        ("alpha=0:1:0", "never gets from 0 to 1 in steps of 0"),
        ("alpha=0:1:-0.1", "never gets from 0 to 1 in steps of -0.1"),
        ("bandwidth=1:1e12:1", r"has 1e\+12 values; a sweep has at most 1000000 points"),
        ("bandwidth=1:1e300:1e-300", "has inf values"),
    ],
)
def test_what_cannot_be_read(text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        read_axis(text)
