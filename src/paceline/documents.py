"""Typed JSON files: written whole, and refused with one sentence where they do not fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from paceline.encoding import encode_json
from paceline.errors import PacelineError, UsageError
from paceline.files import write_bytes

T = TypeVar("T")


def write_json(path: Path, value: object) -> None:
    """Write a value as indented JSON, atomically."""
    write_bytes(path, encode_json(value, indent=2) + b"\n")


def read_json(
    path: Path, kind: type[T], *, error: Callable[[str], PacelineError], schema: int | None = None, remedy: str = ""
) -> T:
    """Read a JSON file as ``kind``; ``error`` builds what is raised when it is absent or does not fit.

    ``schema`` is the version that the file must state, asked before anything else, for another version has other
    fields; ``remedy`` says what to do about a file that is missing, of another version or damaged.
    """
    data = read_bytes(path, error=error, remedy=remedy)
    return parse_json(data, kind, where=str(path), error=error, schema=schema, remedy=remedy)


def read_bytes(path: Path, *, error: Callable[[str], PacelineError], remedy: str = "") -> bytes:
    """All of a small file; ``error`` builds what is raised when it cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise error(_with(f"{path} is missing", remedy)) from None
    except OSError as reason:
        raise error(f"cannot read {path}: {reason.strerror}") from reason


def parse_json(
    data: bytes,
    kind: type[T],
    *,
    where: str,
    error: Callable[[str], PacelineError],
    schema: int | None = None,
    remedy: str = "",
) -> T:
    """What ``read_json`` does with the bytes of a file; ``where`` is what errors call it."""
    try:
        found = msgspec.json.decode(data, type=_Versioned).schema if schema is not None else None
        if found != schema:
            raise error(_with(f"{where} has schema {found}, expected {schema}", remedy))
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, UsageError) as reason:
        raise error(_with(f"{where} is not a valid {kind.__name__}: {reason}", remedy)) from reason


def _with(sentence: str, remedy: str) -> str:
    return f"{sentence}; {remedy}" if remedy else sentence


class _Versioned(msgspec.Struct, frozen=True):
    schema: int = 1
