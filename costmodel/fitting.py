"""Fits a calibration to measured passes, and says how well it predicts what it did not see."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paceline.console import Report, quiet
from paceline.costmodel.arrays import in_place_of_number, overlapped
from paceline.costmodel.calibration import Calibration, Errors, Factors, Kind, Multiplying, Residual
from paceline.costmodel.least_squares import Array, least_squares
from paceline.costmodel.profile import Machine
from paceline.costmodel.roofline import Shares, found_in_cache, roofline
from paceline.costmodel.traced import Program, fills_tiles, on_gpu
from paceline.costmodel.work import Work
from paceline.errors import ProfileError
from paceline.targets import Dtype, ProcessingUnit

# How hard parameters are held at the SoC file's figures, all times one factor: a parameter that is off by e counts like
# one measurement that is off by 2 %. What measurements say wins; what they cannot tell apart stays in proportion.
# Logits are stored as all activations are, and are held at the rate of these, five times as hard: where only wide
# passes of a target make many, a fit would take them for products.
_PULL, _PULL_OF_LOGITS = 0.02, 0.1
_FARTHEST = 50.0  # logarithms beyond it are nobody's figures
# How many times the figures' seconds a term takes.
_TIMES = ("bandwidth", "attention", "attention in bytes", "activations", "logits", "launch", "call")
# Parameters that precisions share; of the last two, how many times as fast as memory the cache is, less 1, and how many
# times the seconds a product takes in a wide pass.
_COMMON = (*_TIMES, "cached", "wide")
# How much of the last cache may be there for a pass: what it finds has corners there, so that each share gets a fit.
# The largest stands that fits as well as the best, but for what two measurements that are off by 2 % make.
_THERE = tuple(2.0 ** (-k / 2) for k in range(10))
_LITTLE = 2 * _PULL**2


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One measured pass and its work; ``cache`` is how many bytes the last cache holds that its unit reads through."""

    model: str
    precision: Dtype
    unit: ProcessingUnit
    program: Program
    cores: int
    width: int
    position: int
    work: Work
    seconds: float
    cache: int = 0

    @property
    def group(self) -> tuple[str, Program, int]:
        """What its factors belong to."""
        return self.unit.name, self.program, self.cores


Predict = Callable[[Sequence[Sample]], Array]


def calibrate(samples: Sequence[Sample], *, soc: str, machine: Machine, report: Report = quiet) -> Calibration:
    """Fit each unit, kind of program and core count by itself; that takes seconds, of which ``report`` hears.

    Raises:
        ProfileError: a precision was measured at one width only.
    """
    groups = {sample.group: [s for s in samples if s.group == sample.group] for sample in samples}
    factors, residuals = list[Factors](), list[Residual]()
    for done, group in enumerate(groups.values()):
        report("fitting", done, len(groups))
        _check(group)
        fit = _Fit.of(group)
        factors.append(fit.factors(group[0]))
        residuals += _residuals(group, fit)
    report("fitting", len(groups), len(groups))
    kinds: tuple[Kind, ...] = ("fitted", "widths", "models")
    errors = {kind: found for kind in kinds if (found := errors_of(residuals, kind)) is not None}
    return Calibration(soc=soc, machine=machine, factors=tuple(factors), errors=errors, residuals=tuple(residuals))


def errors_of(residuals: Sequence[Residual], kind: Kind) -> Errors | None:
    """Median and 90th percentile of the absolute errors; None where there are none of this kind."""
    found = [abs(error) for residual in residuals if (error := residual.error(kind)) is not None]
    if not found:
        return None
    median, most = np.percentile(found, (50, 90))
    return Errors(passes=len(found), median=float(median), percentile_90=float(most))


def _check(group: Sequence[Sample]) -> None:
    for precision in {sample.precision for sample in group}:
        widths = {sample.width for sample in group if sample.precision == precision}
        if len(widths) < 2:
            unit, _, cores = group[0].group
            raise ProfileError(
                f"{precision} on {cores} cores of {unit} was measured at width {widths.pop()} only, and one width does "
                "not tell bandwidth from arithmetic; profile a bundle with several widths"
            )


@dataclass(frozen=True, slots=True)
class _Fit:
    """Logarithms of one group's parameters.

    First those of ``_COMMON``, then of each precision how many times the figures' seconds products take, and p - 1.
    What no pass of the group has a term for stays where it starts; ``present`` says which have one. ``there`` is how
    much of the last cache there is, ``misfit`` the sum of squared errors.
    """

    precisions: tuple[Dtype, ...]
    present: frozenset[str]
    at: Array
    there: float
    misfit: float

    @classmethod
    def of(cls, group: Sequence[Sample]) -> _Fit:
        """The least sum of squared errors of log(seconds)."""
        shares = _THERE if any(sample.cache for sample in group) else _THERE[:1]
        fits = [cls._with(group, there) for there in shares]
        enough = min(fit.misfit for fit in fits) + _LITTLE
        return next(fit for fit in fits if fit.misfit <= enough)

    @classmethod
    def _with(cls, group: Sequence[Sample], there: float) -> _Fit:
        precisions = tuple(sorted({sample.precision for sample in group}))
        terms, measured = _Terms.of(group, precisions, there), np.log([sample.seconds for sample in group])
        start = np.zeros(len(_COMMON) + 2 * len(precisions))
        slower = float(np.median(measured - np.log(terms.seconds(start))))
        start[: len(_TIMES)] = start[len(_COMMON) :: 2] = slower
        if "cached" not in terms.present:
            start[len(_TIMES)] = -_FARTHEST  # a cache that nobody has seen at work is no faster than memory

        def residuals(at: Array) -> Array:
            return np.concatenate([np.log(terms.seconds(at)) - measured, _pulled(at, start)])

        at = least_squares(residuals, start)
        misfit = float(np.sum((np.log(terms.seconds(at)) - measured) ** 2))
        return cls(precisions, terms.present, at, there, misfit)

    def predict(self, group: Sequence[Sample]) -> Array:
        """Seconds [n] of passes at precisions that the fit has seen."""
        return _Terms.of(group, self.precisions, self.there).seconds(self.at)

    def factors(self, sample: Sample) -> Factors:
        """As shares: of a rate the inverse of how many times the seconds."""
        unit, program, cores = sample.group
        common, own = np.split(_times(self.at), [len(_COMMON)])
        times = dict(zip(_COMMON, common.tolist(), strict=True))
        share = {name: 1.0 / times[name] for name in self.present}
        return Factors(
            unit=unit,
            program=program,
            cores=cores,
            bandwidth=1.0 / times["bandwidth"],
            cached=1.0 + times["cached"] if sample.cache else None,
            there=self.there if sample.cache else None,
            attention=share.get("attention"),
            attention_in_bytes=share.get("attention in bytes"),
            logits=share.get("logits"),
            activations=share.get("activations"),
            launch=times["launch"],
            call=times["call"] if "call" in self.present else None,
            wide=1.0 / times["wide"] if on_gpu(program) else None,
            precisions={
                precision: Multiplying(peak=1.0 / products, exponent=1.0 + more)
                for precision, products, more in zip(
                    self.precisions, own[::2].tolist(), own[1::2].tolist(), strict=True
                )
            },
        )


def _pulled(at: Array, start: Array) -> Array:
    """How far parameters ``at`` are from where they are held."""
    pull, logits, activations = _PULL * (at - start), _TIMES.index("logits"), _TIMES.index("activations")
    pull[logits] = _PULL_OF_LOGITS * (at[logits] - at[activations])
    return pull


def _times(at: Array) -> Array:
    return np.exp(np.clip(at, -_FARTHEST, _FARTHEST))


@dataclass(frozen=True, slots=True)
class _Terms:
    """Seconds [terms, n] that a pass would take with all of the unit's figures.

    ``which`` [n] is its precision, ``wide`` [n] whether its products fill their tiles.
    """

    seconds_of: Array
    which: list[int]
    wide: NDArray[np.bool_]

    @classmethod
    def of(cls, group: Sequence[Sample], precisions: Sequence[Dtype], there: float) -> _Terms:
        terms = np.array([_terms(sample, there) for sample in group]).T
        wide = np.array([fills_tiles(sample.program, sample.width) for sample in group])
        return cls(terms, [precisions.index(sample.precision) for sample in group], wide)

    @property
    def present(self) -> frozenset[str]:
        """Those of ``_TIMES`` that a pass has something of, and "cached" where one finds bytes in the cache."""
        names = (*_TIMES, "cached")
        return frozenset(name for name, seconds in zip(names, self.seconds_of, strict=False) if seconds.any())

    def seconds(self, at: Array) -> Array:
        """What parameters ``at`` say."""
        times = _times(at)
        bandwidth, *beside, logits, launches, call = self.seconds_of[: len(_TIMES)] * times[: len(_TIMES), None]
        (faster, wide), (found, products) = times[len(_TIMES) : len(_COMMON)], self.seconds_of[len(_TIMES) :]
        reading = bandwidth + found * times[0] / (1.0 + faster)
        products = products * times[len(_COMMON) :: 2][self.which] * np.where(self.wide, wide, 1.0)
        exponents = 1.0 + times[len(_COMMON) + 1 :: 2][self.which]
        together = overlapped(*map(in_place_of_number, (reading, products + sum(beside), exponents)))
        return np.asarray(together + logits + launches + call)


def _terms(sample: Sample, there: float) -> tuple[float, ...]:
    """Those of ``_TIMES``, the first for what memory brings; what the cache brings, as if memory did; and products."""
    apart = None if on_gpu(sample.program) else 1.0
    far = apart or math.inf
    shares = Shares(logits=far, activations=far, attention=apart, attention_in_bytes=apart)
    whole, *estimates = (
        roofline(work, sample.unit, sample.precision, cores=sample.cores, program=sample.program, shares=shares)
        for work in (sample.work, *_beside_products(sample))
    )
    beside = [estimate.arithmetic for estimate in estimates]
    found = found_in_cache(sample.work.bytes, round(there * sample.cache)) / sample.unit.bandwidth.value
    products, call = whole.arithmetic - sum(beside), sample.unit.launch.value if apart else 0.0
    return whole.bandwidth - found, *beside, whole.logits, whole.launches, call, found, products


def _beside_products(sample: Sample) -> tuple[Work, Work, Work]:
    """What of a pass has a rate of its own: attention in f32, over bytes, and activations."""
    work = sample.work
    if on_gpu(sample.program):
        return Work(), Work(), Work()
    in_f32 = Work(work.attended, attended=work.attended)
    in_bytes = Work(work.attended_in_bytes, attended_in_bytes=work.attended_in_bytes)
    return in_f32, in_bytes, Work(activations=work.activations)


def _residuals(group: Sequence[Sample], fit: _Fit) -> list[Residual]:
    fitted = fit.predict(group)
    widths = _left_out(group, lambda sample: sample.width)
    models = _left_out(group, lambda sample: sample.model)
    return [
        Residual(
            model=sample.model,
            precision=sample.precision,
            unit=sample.unit.name,
            program=sample.program,
            cores=sample.cores,
            width=sample.width,
            position=sample.position,
            seconds=sample.seconds,
            fitted=float(fitted[i]),
            without_width=widths.get(i),
            without_model=models.get(i),
        )
        for i, sample in enumerate(group)
    ]


def _left_out(group: Sequence[Sample], part: Callable[[Sample], object]) -> dict[int, float]:
    """Predictions, by place in the group, of fits to the samples of all other parts; none of an unseen precision."""
    found: dict[int, float] = {}
    for left in {part(sample) for sample in group}:
        seen = [sample for sample in group if part(sample) != left]
        known = {sample.precision for sample in seen}
        out = [i for i, sample in enumerate(group) if part(sample) == left and sample.precision in known]
        if out:
            found |= dict(zip(out, _Fit.of(seen).predict([group[i] for i in out]).tolist(), strict=True))
    return found
