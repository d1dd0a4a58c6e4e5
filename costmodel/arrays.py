"""Arrays [points] in the place of numbers: the formulas of this package are elementwise, so a sweep is one call.

Their types say float, which is what they are about; ``in_place_of_number`` is the one cast.
"""

from __future__ import annotations

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
