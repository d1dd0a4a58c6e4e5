"""Text that is not UTF-8: names of files that are any bytes, and an environment that has another encoding.

Python keeps a byte that it cannot read as half a character (a surrogate), which no UTF-8 can hold: neither JSON nor a
library that takes names in UTF-8. And a system that claims to know ASCII only still has UTF-8 in its pipes and names.
"""

from __future__ import annotations

import codecs
import json
import os
import re
from pathlib import Path
from typing import Any

import msgspec

from paceline.errors import UsageError

_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")


def as_utf8(text: str) -> str:
    """``text``, whose bytes were read as another encoding's: as UTF-8, where that is what they are."""
    try:
        return text.encode(errors="surrogateescape").decode()
    except UnicodeError:
        return text


def utf8_name(path: Path) -> str:
    """The name of a file for libraries that take it in UTF-8.

    Raises:
        UsageError: it is not.
    """
    try:
        return os.fsencode(path).decode()
    except UnicodeDecodeError:
        raise UsageError(f"{path} is no name in UTF-8, and IREE opens no other; rename it") from None


def encode_json(value: object, *, indent: int | None = None) -> bytes:
    """``value`` as JSON, on one line or with an ``indent``; bytes that are no UTF-8 are spelt as on the screen."""
    try:
        text = msgspec.json.encode(value)
    except UnicodeEncodeError:
        text = msgspec.json.encode(_shown(msgspec.to_builtins(value)))
    return text if indent is None else msgspec.json.format(text, indent=indent)


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, dict):
        return {_shown(key): _shown(entry) for key, entry in value.items()}
    return [_shown(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def json_for(encoding: str | None, data: bytes) -> str:
    """A JSON document to be printed in ``encoding``: where that is not UTF-8, in ASCII, which all have."""
    text = data.decode()
    if codecs.lookup(encoding or "ascii").name == "utf-8":
        return text
    return _NOT_ASCII.sub(lambda found: json.dumps(found[0])[1:-1], text)
