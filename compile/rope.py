"""Rotary embeddings as checkpoints describe them."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from paceline.compile.settings import Settings
from paceline.costmodel import Rope
from paceline.errors import CheckpointError


def rope_from_config(settings: Settings, *, theta: float = 10000.0) -> Rope:
    """Rope of config.json: ``rope_parameters`` (transformers 5) or ``rope_theta`` with ``rope_scaling`` (before).

    Raises:
        CheckpointError: a scaling that paceline does not compute.
    """
    base = settings.number("rope_theta", theta)
    table = "rope_parameters" if "rope_parameters" in settings else "rope_scaling"
    return rope_from_table(settings.section(table), base)


def rope_from_table(table: Settings, theta: float) -> Rope:
    """Rope of one table of parameters; ``theta`` holds where the table has none."""
    table.refuse("partial_rotary_factor", (1, 1.0))
    theta = table.number("rope_theta", theta)
    kind = table.text("rope_type", table.text("type", "default"))
    if kind == "default":
        return Rope(theta=theta)
    if kind == "linear":
        return Rope(theta=theta, scaling="linear", factor=table.number("factor"))
    if kind != "llama3":
        raise table.unfit("rope_type" if "rope_type" in table else "type", "default, linear or llama3")
    return Rope(
        theta=theta,
        scaling="llama3",
        factor=table.number("factor"),
        low=table.number("low_freq_factor"),
        high=table.number("high_freq_factor"),
        original_context=table.integer("original_max_position_embeddings"),
    )


def rope_from_gguf(settings: Settings) -> Rope:
    """Rope of GGUF metadata (``llama3`` scaling stands in a tensor instead).

    Raises:
        CheckpointError: a scaling that paceline does not compute.
    """
    theta = settings.number("rope.freq_base", 10000.0)
    kind = settings.text("rope.scaling.type", "linear" if "rope.scale_linear" in settings else "none")
    if kind == "none":
        return Rope(theta=theta)
    if kind != "linear":
        raise settings.unfit("rope.scaling.type", "none or linear")
    factor = settings.number("rope.scaling.factor", settings.number("rope.scale_linear", 1.0))
    return Rope(theta=theta, scaling="linear", factor=factor)


def llama3_factors(rope: Rope, head_size: int) -> NDArray[np.float64]:
    """What ``llama3`` scaling divides each of the ``head_size // 2`` frequencies by.

    Waves longer than original_context / low are stretched by the factor, those shorter than original_context / high
    kept; in between it blends.
    """
    wavelengths = 2 * np.pi * rope.theta ** (np.arange(0, head_size, 2) / head_size)
    smooth = (rope.original_context / wavelengths - rope.low) / (rope.high - rope.low)
    divisors: NDArray[np.float64] = 1 / (np.clip(smooth, 0, 1) * (1 - 1 / rope.factor) + 1 / rope.factor)
    return divisors


def llama3_from_factors(rope: Rope, factors: NDArray[np.float32], where: str) -> Rope:
    """The ``llama3`` scaling whose divisors a GGUF stores as rope_freqs.weight [head_size // 2].

    Raises:
        CheckpointError: no such scaling gives these divisors.
    """
    if not np.isfinite(factors).all() or factors.min() < 1:
        raise CheckpointError(f"{where}: rope_freqs.weight holds numbers below 1 or not finite, expected divisors")
    if factors.max() == 1:
        return rope
    for guess in _guesses(rope, factors):
        if np.allclose(llama3_factors(guess, 2 * len(factors)), factors, rtol=1e-4):
            return guess
    raise CheckpointError(f"{where}: rope_freqs.weight is not a scaling of Llama 3, which is all that paceline has")


def _guesses(rope: Rope, factors: NDArray[np.float32]) -> list[Rope]:
    # smooth = original / (high - low) / wavelength - low / (high - low) is a line in 1 / wavelength; its points between
    # 0 and 1 fix the three settings up to one common factor, so low is 1 without loss.
    factor = float(factors.max())
    published = Rope(theta=rope.theta, scaling="llama3", factor=factor)
    smooth = (1 / factors.astype(np.float64) - 1 / factor) / (1 - 1 / factor)
    inverse = 1 / (2 * np.pi * rope.theta ** (np.arange(len(factors)) / len(factors)))
    inside = (smooth > 1e-6) & (smooth < 1 - 1e-6)
    if inside.sum() < 2:
        return [published]
    slope, start = (float(value) for value in np.polyfit(inverse[inside], smooth[inside], 1))
    if start >= 0:
        return [published]
    high, original = 1 - 1 / start, max(1, round(-slope / start))
    return [published, msgspec.structs.replace(published, high=round(high, 3), original_context=original)]
