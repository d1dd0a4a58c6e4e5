"""Cores for each model: as asked, by the SoC's clusters, or half each."""

from __future__ import annotations

import pytest

from paceline.errors import UsageError
from paceline.targets import load_soc
from paceline.targets.pins import parse_pins


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("drafter=0,target=1", {"drafter": (0,), "target": (1,)}),
        ("target=4-7, drafter=0+2", {"target": (4, 5, 6, 7), "drafter": (0, 2)}),
        ("drafter=little,target=big", {"drafter": (0, 1, 2, 3), "target": (4, 5, 6, 7)}),
        ("target=big", {"target": (4, 5, 6, 7)}),
        ("auto", {"drafter": (0, 1, 2, 3), "target": (4, 5, 6, 7)}),
    ],
)
def test_pins_of_a_big_little_soc(text: str, expected: dict[str, tuple[int, ...]]) -> None:
    assert parse_pins(text, load_soc("rk3588"), range(8)) == expected


def test_clusters_that_are_not_here_are_no_suggestion() -> None:
    assert parse_pins("auto", load_soc("rk3588"), [0, 1, 2]) == {"drafter": (0,), "target": (1, 2)}


def test_alike_cores_are_halved() -> None:
    assert parse_pins("auto", load_soc("rpi5"), range(4)) == {"drafter": (0, 1), "target": (2, 3)}
    with pytest.raises(UsageError, match="one core only"):
        parse_pins("auto", load_soc("rpi5"), [0])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "cannot read"),
        ("drafter", "cannot read"),
        ("drafter=0,drafter=1", "cannot read"),
        ("verifier=0", "cannot read"),
        ("drafter=fast", "one of big, little"),
        ("drafter=0-4,target=4-7", "core 4 is given to the drafter and to the target"),
    ],
)
def test_pins_that_mean_nothing(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_pins(text, load_soc("rk3588"), range(8))
