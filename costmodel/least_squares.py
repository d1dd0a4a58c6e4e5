"""Nonlinear least squares of a few parameters (Levenberg and Marquardt), with numpy alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_STEP = 1e-6  # of a central difference; parameters are logarithms, so their size is known
_MOST_ROUNDS, _MOST_TRIES = 200, 20
_ENOUGH = 1e-12  # a gain of the sum of squares that is not worth a further round


def least_squares(residuals: Callable[[Array], Array], start: Array) -> Array:
    """Parameters [k] where the sum of squares of ``residuals`` [n] is smallest, going down from ``start`` [k].

    Each round solves the linear problem of its Jacobian, damped until the step is a gain.
    """
    at, damping = start.astype(np.float64), 1e-3
    now = residuals(at)
    for _ in range(_MOST_ROUNDS):
        slopes = _jacobian(residuals, at)
        square, gradient = slopes.T @ slopes, slopes.T @ now
        for _ in range(_MOST_TRIES):
            step = np.linalg.solve(square + damping * np.diag(np.diag(square) + _ENOUGH), -gradient)
            then = residuals(at + step)
            if then @ then < now @ now:
                break
            damping *= 4.0
        else:
            return at
        gain = float(now @ now - then @ then)
        at, now, damping = at + step, then, damping / 4.0
        if gain < _ENOUGH:
            break
    return at


def _jacobian(residuals: Callable[[Array], Array], at: Array) -> Array:
    """Derivatives [n, k]."""
    steps = _STEP * np.eye(len(at))
    return np.stack([(residuals(at + step) - residuals(at - step)) / (2 * _STEP) for step in steps], axis=1)
