"""Fits recover what made the seconds, and errors on what was left out are those of fits that did not see it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from paceline.costmodel import Calibration, Machine, calibrate, find_model, forward, roofline
from paceline.costmodel.fitting import Sample, errors_of
from paceline.costmodel.roofline import Shares
from paceline.errors import ProfileError
from paceline.targets import Dtype, Figure, ProcessingUnit

MACHINE = Machine(architecture="x86_64", cpu="Test CPU", cores=2, memory_bytes=8 << 30)
WIDTHS = (1, 2, 4, 8, 16, 64)
MODELS = ("qwen2.5-0.5b", "qwen2.5-1.5b", "smollm2-135m", "shallow")
PRECISIONS: tuple[Dtype, ...] = ("int8", "int4")


def figure(value: float) -> Figure:
    return Figure(value=value, source="test")


UNIT = ProcessingUnit(
    name="cpu",
    kind="cpu",
    description="test",
    cores=4,
    peak={"f32": figure(100e9), "int8": figure(400e9)},
    bandwidth=figure(10e9),
    memory=figure(64e9),
    launch=figure(2e-6),
)
# What the machine of these tests is really like: far from its SoC file, as SoC files are.
TRUE = {"bandwidth": 40e9, "attention": 30e9, "logits": 2e9, "launch": 8e-6, "call": 300e-6}
PEAK, P = {"int8": 150e9, "int4": 90e9}, {"int8": 3.0, "int4": 1.4}


def true_seconds(sample: Sample) -> float:
    """The formula, written out once more."""
    work, precision = sample.work, sample.precision
    reading = work.bytes / TRUE["bandwidth"]
    arithmetic = (work.operations - work.attended) / PEAK[precision] + work.attended / TRUE["attention"]
    together: float = (reading ** P[precision] + arithmetic ** P[precision]) ** (1 / P[precision])
    return together + 4 * work.logits / TRUE["logits"] + work.dispatches * TRUE["launch"] + TRUE["call"]


def sample(model: str, precision: Dtype, width: int, position: int, *, cores: int = 2) -> Sample:
    """``shallow`` has two layers: of so few launches, a call is no small part."""
    spec = msgspec.structs.replace(find_model("smollm2-135m"), layers=2) if model == "shallow" else find_model(model)
    work = forward(spec, width=width, context=position + width, precision=precision, program="kernels")
    made = Sample(
        model=model, precision=precision, unit=UNIT, program="kernels", cores=cores, width=width, position=position,
        work=work, seconds=1.0,
    )  # fmt: skip
    return replace(made, seconds=true_seconds(made))


def samples(models: Sequence[str] = MODELS, *, noise: float = 0.0, seed: int = 0) -> list[Sample]:
    random = np.random.default_rng(seed)
    made = [sample(m, p, w, at) for m in models for p in PRECISIONS for w in WIDTHS for at in (0, 448)]
    return [replace(one, seconds=one.seconds * float(np.exp(noise * random.normal()))) for one in made]


def fit(given: Sequence[Sample]) -> Calibration:
    return calibrate(given, soc="test", machine=MACHINE)


def fitted(calibration: Calibration) -> dict[str, float]:
    """What the factors mean, in the units of ``TRUE``."""
    (factors,) = calibration.factors
    half = factors.cores / UNIT.cores
    peaks = {f"peak {p}": 400e9 * half * found.peak for p, found in factors.precisions.items()}
    return {
        "bandwidth": 10e9 * factors.bandwidth,
        "attention": 100e9 * half * factors.attention,
        "logits": 10e9 * factors.logits,
        "launch": 2e-6 * factors.launch,
        "call": 2e-6 * factors.call,
        **peaks,
        **{f"p {p}": found.exponent for p, found in factors.precisions.items()},
    }


TRUTH = {**TRUE, **{f"peak {p}": value for p, value in PEAK.items()}, **{f"p {p}": value for p, value in P.items()}}


def test_without_noise_the_truth_is_found() -> None:
    calibration = fit(samples())
    assert fitted(calibration) == pytest.approx(TRUTH, rel=0.05)
    assert calibration.errors["fitted"].percentile_90 < 0.002
    assert calibration.errors["models"].median < 0.005
    assert calibration.errors["widths"].median < 0.005


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_with_noise_what_matters_is_found(seed: int) -> None:
    calibration = fit(samples(noise=0.03, seed=seed))
    found = fitted(calibration)
    for name in ("bandwidth", "peak int8", "peak int4"):
        assert found[name] == pytest.approx(TRUTH[name], rel=0.1), name
    assert found["attention"] == pytest.approx(TRUTH["attention"], rel=0.25)
    assert 0.015 < calibration.errors["fitted"].median < 0.03
    assert calibration.errors["widths"].median < 0.04
    assert calibration.errors["models"].median < 0.05
    assert {kind: errors.passes for kind, errors in calibration.errors.items()} == {
        "fitted": 96,
        "widths": 96,
        "models": 96,
    }


def test_shares_say_what_the_fit_said() -> None:
    given = samples(noise=0.1)
    calibration = fit(given)
    for one, residual in zip(given, calibration.residuals, strict=True):
        shares = calibration.shares("cpu", "kernels", one.precision, cores=2)
        assert shares is not None
        again = roofline(one.work, UNIT, one.precision, cores=2, program="kernels", shares=shares)
        assert again.seconds == pytest.approx(residual.fitted)
        assert residual.seconds == one.seconds
        assert residual.error("fitted") == pytest.approx(residual.fitted / one.seconds - 1)


@pytest.mark.parametrize(
    ("kind", "part"), [("widths", lambda one: one.width), ("models", lambda one: one.model)], ids=["widths", "models"]
)
def test_left_out_means_not_seen(kind: str, part: Callable[[Sample], object]) -> None:
    given = samples(MODELS[:3], noise=0.1)
    whole = fit(given)
    left = part(given[0])
    others = fit([one for one in given if part(one) != left])
    for one, residual in zip(given, whole.residuals, strict=True):
        if part(one) == left:
            shares = others.shares("cpu", "kernels", one.precision, cores=2) or Shares()
            seconds = roofline(one.work, UNIT, one.precision, cores=2, shares=shares).seconds
            found = residual.without_width if kind == "widths" else residual.without_model
            assert found == pytest.approx(seconds)


def test_a_model_that_is_alone_cannot_be_left_out() -> None:
    calibration = fit(samples(MODELS[:1]))
    assert set(calibration.errors) == {"fitted", "widths"}
    assert all(residual.without_model is None for residual in calibration.residuals)


def test_a_precision_of_one_model_is_not_predicted_without_it() -> None:
    given = [*samples(MODELS[:2]), *(sample(MODELS[2], "int8", width, 0) for width in WIDTHS)]
    only = [one for one in given if not (one.model == MODELS[0] and one.precision == "int4")]
    residuals = fit(only).residuals
    assert all((residual.without_model is None) == (residual.precision == "int4") for residual in residuals)


def test_core_counts_are_fitted_apart() -> None:
    slow = [replace(sample(MODELS[1], "int8", width, 0, cores=1), seconds=9.0) for width in WIDTHS]
    calibration = fit([*samples(), *slow])
    assert [factors.cores for factors in calibration.factors] == [2, 1]
    assert fitted(replace_factors(calibration, 0)) == pytest.approx(fitted(fit(samples())))


def replace_factors(calibration: Calibration, which: int) -> Calibration:
    """With one of its factors only."""
    return msgspec.structs.replace(calibration, factors=(calibration.factors[which],))


def test_one_width_is_not_enough() -> None:
    narrow = [one for one in samples() if one.precision == "int4" or one.width == 4]
    with pytest.raises(ProfileError, match=r"^int8 on 2 cores of cpu was measured at width 4 only, .*profile a bundle"):
        fit(narrow)


def test_errors_of_nothing() -> None:
    assert errors_of([], "fitted") is None
