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
from paceline.costmodel.traced import program_on
from paceline.errors import ProfileError
from paceline.targets import Dtype, Figure, ProcessingUnit

MACHINE = Machine(architecture="x86_64", cpu="Test CPU", cores=2, memory_bytes=8 << 30)
WIDTHS = (1, 2, 4, 8, 16, 64)
MODELS = ("qwen2.5-0.5b", "qwen2.5-1.5b", "smollm2-135m", "shallow")
PRECISIONS: tuple[Dtype, ...] = ("f32", "int8", "int4")


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
TRUE = {
    "bandwidth": 40e9,
    "attention": 30e9,
    "in bytes": 45e9,
    "activations": 2e9,  # as logits are, at whose rate they are held
    "logits": 2e9,
    "launch": 8e-6,
    "call": 300e-6,
}
PEAK, P = {"f32": 60e9, "int8": 150e9, "int4": 90e9}, {"f32": 2.0, "int8": 3.0, "int4": 1.4}


def arithmetic_of(sample: Sample) -> float:
    work = sample.work
    products = work.operations - work.attended - work.attended_in_bytes
    attention = work.attended / TRUE["attention"] + work.attended_in_bytes / TRUE["in bytes"]
    return products / PEAK[sample.precision] + attention + 4 * work.activations / TRUE["activations"]


def true_seconds(sample: Sample, logits: float = TRUE["logits"]) -> float:
    """The formula, written out once more."""
    work, precision = sample.work, sample.precision
    reading = work.bytes / TRUE["bandwidth"]
    arithmetic = arithmetic_of(sample)
    together: float = (reading ** P[precision] + arithmetic ** P[precision]) ** (1 / P[precision])
    return together + 4 * work.logits / logits + work.dispatches * TRUE["launch"] + TRUE["call"]


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
    figures = {p: UNIT.peak["f32" if p == "f32" else "int8"].value for p in PRECISIONS}
    peaks = {f"peak {p}": figures[p] * half * found.peak for p, found in factors.precisions.items()}
    return {
        "bandwidth": 10e9 * factors.bandwidth,
        "attention": 100e9 * half * (factors.attention or 0.0),
        "in bytes": 100e9 * half * (factors.attention_in_bytes or 0.0),
        "activations": 10e9 * (factors.activations or 0.0),
        "logits": 10e9 * (factors.logits or 0.0),
        "launch": 2e-6 * factors.launch,
        "call": 2e-6 * (factors.call or 0.0),
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


@pytest.mark.parametrize("times", [0.2, 5.0])
def test_logits_that_are_far_from_activations_are_predicted_all_the_same(times: float) -> None:
    calibration = fit([replace(one, seconds=true_seconds(one, times * TRUE["logits"])) for one in samples()])
    assert calibration.errors["fitted"].percentile_90 < 0.02
    assert calibration.errors["models"].median < 0.03


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
        "fitted": 144,
        "widths": 144,
        "models": 144,
    }


@pytest.mark.parametrize("cache", [0, 200 << 20])
def test_shares_say_what_the_fit_said(cache: int) -> None:
    given = [replace(one, cache=cache) for one in samples(noise=0.1)]
    calibration = calibrate(given, soc="test", machine=msgspec.structs.replace(MACHINE, cache_bytes=cache))
    for one, residual in zip(given, calibration.residuals, strict=True):
        shares = calibration.shares("cpu", "kernels", one.precision, cores=2, width=one.width)
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
            shares = others.shares("cpu", "kernels", one.precision, cores=2, width=one.width) or Shares()
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


CACHE, FASTER = 200 << 20, 2.5  # holds the smallest model's int8 and half of a pass of the next one's


def with_cache(given: Sequence[Sample]) -> list[Sample]:
    """The same passes where what the last cache still holds comes 2.5 times as fast as the rest."""
    made = []
    for one in given:
        found = max(0, min(one.work.bytes, 2 * CACHE - one.work.bytes))
        slow, p = one.work.bytes / TRUE["bandwidth"], P[one.precision]
        fast = slow - found / TRUE["bandwidth"] * (1 - 1 / FASTER)
        arithmetic = arithmetic_of(one)
        together = [(reading**p + arithmetic**p) ** (1 / p) for reading in (slow, fast)]
        made.append(replace(one, seconds=one.seconds - together[0] + together[1], cache=CACHE))
    return made


def fit_with_cache(given: Sequence[Sample]) -> Calibration:
    return calibrate(given, soc="test", machine=msgspec.structs.replace(MACHINE, cache_bytes=CACHE))


def test_a_cache_is_told_from_memory() -> None:
    calibration = fit_with_cache(with_cache(samples()))
    assert calibration.factors[0].cached == pytest.approx(FASTER, rel=0.1)  # starts at 2
    assert fitted(calibration) == pytest.approx(TRUTH, rel=0.1)
    assert calibration.errors["models"].median < 0.01


@pytest.mark.parametrize("times", [1, 2, 4])
def test_a_cache_that_others_use_too_is_as_large_as_passes_find_it(times: int) -> None:
    given = [replace(one, cache=times * CACHE) for one in with_cache(samples())]
    calibration = calibrate(given, soc="test", machine=msgspec.structs.replace(MACHINE, cache_bytes=times * CACHE))
    assert calibration.factors[0].there == pytest.approx(1 / times)
    assert calibration.factors[0].cached == pytest.approx(FASTER, rel=0.1)
    shares = calibration.shares("cpu", "kernels", "int8", cores=2, width=1)
    assert shares is not None and shares.cache == CACHE


def test_without_the_size_of_the_cache_its_passes_are_predicted_worse() -> None:
    given = with_cache(samples())
    blind = fit([replace(one, cache=0) for one in given])
    assert blind.factors[0].cached is None
    assert blind.errors["models"].median > 3 * fit_with_cache(given).errors["models"].median


def test_a_cache_that_is_no_faster_is_found_to_be_none() -> None:
    calibration = fit_with_cache([replace(one, cache=CACHE) for one in samples()])
    assert calibration.factors[0].cached == pytest.approx(1.0, abs=0.1)  # starts at 2
    assert fitted(calibration)["bandwidth"] == pytest.approx(TRUTH["bandwidth"], rel=0.02)


def test_nothing_is_claimed_of_a_cache_that_no_pass_fits() -> None:
    given = [replace(one, cache=1 << 20) for one in samples(MODELS[:2])]
    calibration = fit(given)
    assert calibration.factors[0].cached == pytest.approx(1.0)
    assert fitted(calibration) == pytest.approx(fitted(fit(samples(MODELS[:2]))))


GPU = msgspec.structs.replace(UNIT, name="gpu", kind="gpu", storage_bits=32)
TRACED = {"bandwidth": 4e9, "launch": 30e-6, "wide": 1.6}
TRACED_PEAK: dict[Dtype, float] = {"f32": 5e9, "int8": 3e9}


def traced(model: str, precision: Dtype, width: int) -> Sample:
    """A pass of a GPU that reads and multiplies at once (p = 2), and multiplies 1.6 times as fast from 16 rows on."""
    spec, program = find_model(model), program_on(GPU, kernels=False)
    work = forward(spec, width=width, context=256, precision=precision, program=program)
    peak = TRACED_PEAK[precision] * (TRACED["wide"] if width >= 16 else 1.0)
    together = float(np.hypot(work.bytes / TRACED["bandwidth"], work.operations / peak))
    seconds = together + work.dispatches * TRACED["launch"]
    return Sample(
        model=model, precision=precision, unit=GPU, program=program, cores=4, width=width, position=0, work=work,
        seconds=seconds,
    )  # fmt: skip


def test_wide_passes_of_a_gpu_have_a_rate_of_their_own() -> None:
    given = [traced(m, p, w) for m in MODELS[:3] for p in TRACED_PEAK for w in WIDTHS]
    calibration = fit(given)
    (factors,) = calibration.factors
    assert factors.wide == pytest.approx(TRACED["wide"], rel=0.02)
    assert 10e9 * factors.bandwidth == pytest.approx(TRACED["bandwidth"], rel=0.05)
    peaks = {precision: 100e9 * found.peak for precision, found in factors.precisions.items()}
    assert peaks == pytest.approx(TRACED_PEAK, rel=0.05)
    of_kernels = ("attention", "attention_in_bytes", "activations", "logits", "call", "cached", "there")
    assert [getattr(factors, name) for name in of_kernels] == [None] * len(of_kernels)
    assert calibration.errors["models"].percentile_90 < 0.02
    for one, residual in zip(given, calibration.residuals, strict=True):
        shares = calibration.shares("gpu", "words", one.precision, cores=4, width=one.width)
        assert shares is not None
        seconds = roofline(one.work, GPU, one.precision, cores=4, program="words", shares=shares).seconds
        assert seconds == pytest.approx(residual.fitted)


def test_core_counts_are_fitted_apart() -> None:
    slow = [replace(sample(MODELS[1], "int8", width, 0, cores=1), seconds=9.0) for width in WIDTHS]
    calibration = fit([*samples(), *slow])
    assert [factors.cores for factors in calibration.factors] == [2, 1]
    assert fitted(replace_factors(calibration, 0)) == pytest.approx(fitted(fit(samples())))


def replace_factors(calibration: Calibration, which: int) -> Calibration:
    """With one of its factors only."""
    return msgspec.structs.replace(calibration, factors=(calibration.factors[which],))


def test_one_width_is_not_enough() -> None:
    narrow = [one for one in samples() if one.precision != "int8" or one.width == 4]
    with pytest.raises(ProfileError, match=r"^int8 on 2 cores of cpu was measured at width 4 only, .*profile a bundle"):
        fit(narrow)


def test_attention_over_bytes_is_no_factor_of_its_own() -> None:
    """And none is made up where no pass has another."""
    (factors,) = fit([one for one in samples() if one.precision != "f32"]).factors
    assert factors.attention is None
    peaks = {f"peak {p}": 200e9 * found.peak for p, found in factors.precisions.items()}
    assert peaks == pytest.approx({name: TRUTH[name] for name in peaks}, rel=0.05)


def test_errors_of_nothing() -> None:
    assert errors_of([], "fitted") is None
