"""Busy shares of a machine, and what they say of a comparison."""

from __future__ import annotations

import pytest

from quiet import busy_share, verdict

BEFORE = [100, 0, 50, 800, 20, 0, 0, 0]


def test_idle_and_disk_are_not_busy_but_a_neighbour_is() -> None:
    assert busy_share(BEFORE, [100, 0, 50, 880, 40, 0, 0, 0]) == 0.0
    assert busy_share(BEFORE, [110, 0, 55, 860, 20, 0, 0, 25]) == pytest.approx(0.4)
    assert busy_share(BEFORE, BEFORE) == 0.0


def test_one_busy_sample_is_enough() -> None:
    assert "TOO BUSY" in verdict([0.0, 0.3, 0.01])
    assert "TOO BUSY" not in verdict([0.0, 0.01])
