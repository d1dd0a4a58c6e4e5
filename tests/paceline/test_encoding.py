"""Bytes that are no UTF-8, and an environment that has another encoding."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.encoding import as_utf8, encode_json, json_for, utf8_name
from paceline.errors import UsageError


class Value(msgspec.Struct, frozen=True):
    name: str
    parts: tuple[str, ...] = ()
    by: dict[str, float] = {}


def test_text_whose_bytes_were_read_as_ascii() -> None:
    assert as_utf8("ä 日".encode().decode("ascii", "surrogateescape")) == "ä 日"
    for kept in ("ä 日", "\udcff", "ä\udcc3", "\ud800", ""):
        assert as_utf8(kept) == kept


def test_a_name_that_is_no_utf8_is_refused() -> None:
    assert utf8_name(Path("ä/日")) == "ä/日"
    with pytest.raises(UsageError, match="is no name in UTF-8, and IREE opens no other; rename it"):
        utf8_name(Path(os.fsdecode(b"\xff/w")))


def test_json_of_what_is_no_utf8() -> None:
    good, bad = Value(name="ä", parts=("b",)), Value(name="\udcff", parts=("a\udc80", "ä"), by={"\udcff": 1.5})
    assert encode_json(good) == msgspec.json.encode(good)
    shown = msgspec.json.decode(encode_json(bad, indent=2), type=Value)
    assert shown == Value(name="\\udcff", parts=("a\\udc80", "ä"), by={"\\udcff": 1.5})


@given(st.text())
def test_json_for_a_terminal_without_utf8_is_ascii_and_says_the_same(text: str) -> None:
    data = encode_json({"text": text})
    for encoding in ("ascii", "ANSI_X3.4-1968", "latin-1", None):
        printed = json_for(encoding, data)
        assert printed.isascii() and json.loads(printed) == {"text": text}
    assert json_for("UTF-8", data) == json_for("utf8", data) == data.decode()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_pages_print_json_that_can_be_read(encoding: str, tmp_path: Path) -> None:
    code = "from paceline.console import print_json; print_json({'text': 'ü \\udcff 🚀'})"
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    said = subprocess.run([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, check=True).stdout
    assert json.loads(said) == {"text": "ü \\udcff 🚀"}
