"""JSON files come back as they were written, or are refused."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from paceline.documents import read_json, write_json
from paceline.errors import BundleError


class Value(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    number: int


def test_json_round_trip_and_its_errors(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    with pytest.raises(BundleError, match=r"is missing; make it anew$"):
        read_json(path, Value, error=BundleError, remedy="make it anew")
    write_json(path, Value(number=3))
    assert read_json(path, Value, error=BundleError) == Value(number=3)
    for bad in (b"{", b'{"number": "x"}', b'{"number": 1, "more": 2}', b"\xff\xfe"):
        path.write_bytes(bad)
        with pytest.raises(BundleError, match=r"not a valid Value: .*; make it anew$"):
            read_json(path, Value, error=BundleError, remedy="make it anew")
