"""A checkpoint's description of itself (config.json, GGUF metadata), read with checks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from paceline.errors import CheckpointError

MOST_LAYERS = 1024


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A checkpoint's own description, read with checks; ``where`` names it in errors, ``prefix`` precedes each key."""

    values: Mapping[str, object]
    where: str
    prefix: str = ""

    def __contains__(self, key: str) -> bool:
        return self.values.get(self.prefix + key) is not None

    def has_positive(self, key: str) -> bool:
        """Whether ``key`` is there and says more than "none" (null, 0 or less)."""
        value = self.values.get(self.prefix + key)
        return isinstance(value, int | float) and value > 0

    def integer(self, key: str, default: int | None = None, *, most: int = 1 << 31) -> int:
        """A positive integer up to ``most``; without ``default`` it must be there.

        Raises:
            CheckpointError: absent, of another type, or out of range.
        """
        value = self._value(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= most:
            raise self.unfit(key, f"an integer from 1 to {most}")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A finite positive number.

        Raises:
            CheckpointError: absent, of another type, infinite, not a number, or not positive.
        """
        value = self._value(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
            raise self.unfit(key, "a finite positive number")
        return float(value)

    def text(self, key: str, default: str | None = None) -> str:
        """A string.

        Raises:
            CheckpointError: absent or of another type.
        """
        value = self._value(key, default)
        if not isinstance(value, str):
            raise self.unfit(key, "a string")
        return value

    def flag(self, key: str, default: bool) -> bool:
        """A boolean.

        Raises:
            CheckpointError: of another type.
        """
        value = self._value(key, default)
        if not isinstance(value, bool):
            raise self.unfit(key, "true or false")
        return value

    def items(self, key: str) -> list[object]:
        """A list; empty when absent.

        Raises:
            CheckpointError: of another type.
        """
        value = self._value(key, [])
        if not isinstance(value, list):
            raise self.unfit(key, "a list")
        return value

    def section(self, key: str) -> Settings:
        """A nested table; empty when absent.

        Raises:
            CheckpointError: of another type.
        """
        value = self._value(key, {})
        if not isinstance(value, dict):
            raise self.unfit(key, "a table")
        return Settings(values=value, where=f"{self.where}: {key}")

    def refuse(self, key: str, allowed: tuple[object, ...]) -> None:
        """Insist that a setting is absent, null or one of ``allowed``.

        Raises:
            CheckpointError: another value, which would change what the model computes.
        """
        if key in self and self.values[self.prefix + key] not in allowed:
            expected = " or ".join(repr(value) for value in (*allowed, None))
            raise self.unfit(key, f"{expected}: paceline cannot compute the other form")

    def unfit(self, key: str, expected: str) -> CheckpointError:
        """The error that says what ``key`` holds and what it should hold."""
        full = self.prefix + key
        found = repr(self.values[full])[:80] if self.values.get(full) is not None else "missing"
        return CheckpointError(f"{self.where}: {full} is {found}, expected {expected}")

    def _value(self, key: str, default: object) -> object:
        value = self.values.get(self.prefix + key)
        return default if value is None else value


def read_settings(path: Path) -> Settings:
    """A JSON object as settings.

    Raises:
        CheckpointError: missing, unreadable, or no object.
    """
    try:
        return Settings(values=msgspec.json.decode(path.read_bytes(), type=dict[str, object]), where=str(path))
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing; it must stand beside the weights") from None
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} is not a JSON object: {error}") from error
