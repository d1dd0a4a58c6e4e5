"""A board to reach by ssh, and a bundle to send there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from paceline.partition import TokenIds
from tests.paceline.desk import Desk, reachable, with_weights


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A board that keeps bundles in a folder whose name needs quotes, until the end of the test."""
    with reachable(tmp_path) as desk:
        yield desk


@pytest.fixture
def sendable(null_bundle: Callable[..., Path]) -> Path:
    """A bundle that writes an endless text."""
    return with_weights(null_bundle(tokens=TokenIds(bos=0), context=4000))
