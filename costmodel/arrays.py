"""Arrays [points] in the place of numbers: the formulas of this package are elementwise, so a sweep is one call.

Their types say float, which is what they are about; ``in_place_of_number`` is the one cast.
"""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray


def in_place_of_number(values: NDArray[np.float64]) -> float:
    """An array [points] for a formula that takes a number; what comes out is an array [points] too."""
    return cast(float, values)


def array_of(value: float, points: int) -> NDArray[np.float64]:
    """What came out of a formula as an array [points]; a number that no axis moves is repeated."""
    return np.broadcast_to(np.asarray(value, dtype=np.float64), (points,))


def larger(one: float, other: float) -> float:
    """The larger of two numbers, element by element where one of them is an array."""
    if isinstance(one, float | int) and isinstance(other, float | int):
        return max(one, other)
    either: Any = np.maximum(one, other)
    return cast(float, either)


def overlapped(one: float, other: float, exponent: float) -> float:
    """(one^p + other^p)^(1/p) of two times: their sum at p = 1, nearer to the larger of them the larger p is."""
    most = larger(one, other)
    if isinstance(exponent, float) and exponent == math.inf:
        return most
    least: Any = one + other - most
    share: Any = np.divide(least, most, out=np.zeros_like(most, dtype=np.float64), where=np.asarray(most) > 0)
    together = most * (1.0 + share**exponent) ** (1.0 / exponent)
    return cast(float, together if np.ndim(together) else float(together))
