"""Places: one spelling for each set of cores, and what is two processors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.errors import UsageError
from paceline.targets.places import are_apart, cores_of, is_pinned, parse_cores, pinned, unit_of


@given(st.sets(st.integers(0, 200), min_size=1))
def test_a_place_is_read_as_it_is_written(cores: set[int]) -> None:
    place = pinned("cpu", cores)
    assert is_pinned(place) and unit_of(place) == "cpu"
    assert cores_of(place) == tuple(sorted(cores))
    assert "," not in place and "=" not in place  # both mean something in a mapping


def test_runs_of_cores_are_ranges() -> None:
    assert pinned("cpu", [7, 4, 5, 0]) == "cpu@0+4-5+7"
    assert parse_cores("4-7") == (4, 5, 6, 7)
    assert parse_cores("little", {"big": (4, 5), "little": (1, 0)}) == (0, 1)


@pytest.mark.parametrize("text", ["", "x", "1,2", "3-1", "0+0", "-1", "0-", "12345"])
def test_what_is_no_list_of_cores_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="cores"):
        parse_cores(text)


@pytest.mark.parametrize(
    ("first", "second", "apart"),
    [
        ("cpu", "gpu", True),
        ("cpu@0", "gpu", True),
        ("cpu@0", "cpu@1", True),
        ("cpu@0-3", "cpu@3+5", False),
        ("cpu", "cpu", False),
        ("cpu", "cpu@0", False),
    ],
)
def test_two_processors_share_no_core(first: str, second: str, apart: bool) -> None:
    assert are_apart(first, second) == are_apart(second, first) == apart
