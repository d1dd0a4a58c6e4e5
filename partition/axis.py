"""One axis of a sweep: what moves, and the values that it takes."""

from __future__ import annotations

import math

import msgspec

from paceline.errors import UsageError

MOST_POINTS = 1_000_000
_DIGITS = 12  # 0.1 + 2 * 0.05 is to read 0.2
_SLACK = 1e-9  # of a step, by which the end of a range may be missed and still belong to it


class Axis(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``key`` is alpha, context or a figure of the SoC."""

    key: str
    values: tuple[float, ...]


def read_axis(text: str) -> Axis:
    """``key=start:stop:step``, ends included, or ``key=value,value,...``.

    Raises:
        UsageError: it is written in another way, or has too many values.
    """
    key, equals, values = text.partition("=")
    if not (key and equals and values):
        raise UsageError(
            f"{text!r} is no sweep; write key=start:stop:step or key=value,value, such as alpha=0.1:0.9:0.1"
        )
    numbers = [_number(word, text) for word in values.replace(":", ",").split(",")]
    if ":" not in values:
        return Axis(key=key.strip(), values=tuple(numbers))
    if len(numbers) != 3 or "," in values:
        raise UsageError(f"{values!r} in {text!r} is no range; write start:stop:step, such as 0.1:0.9:0.1")
    return Axis(key=key.strip(), values=_range(*numbers, text=text))


def _number(word: str, text: str) -> float:
    try:
        value = float(word)
    except ValueError:
        raise UsageError(f"{word!r} in {text!r} is no number") from None
    if not math.isfinite(value):
        raise UsageError(f"{word!r} in {text!r} is not a finite number")
    return value


def _range(start: float, stop: float, step: float, *, text: str) -> tuple[float, ...]:
    if step == 0 or (stop - start) / step < 0:
        raise UsageError(f"{text!r} never gets from {start:g} to {stop:g} in steps of {step:g}")
    steps = (stop - start) / step
    if steps >= MOST_POINTS:
        raise UsageError(f"{text!r} has {steps + 1:.3g} values; a sweep has at most {MOST_POINTS} points")
    count = int(steps + _SLACK) + 1
    return tuple(_rounded(start + i * step, step) for i in range(count))


def _rounded(value: float, step: float) -> float:
    """Without the last digits, which sums of steps get wrong, and which are all there is of a zero."""
    return 0.0 if abs(value) < _SLACK * abs(step) else float(f"{value:.{_DIGITS}g}")
