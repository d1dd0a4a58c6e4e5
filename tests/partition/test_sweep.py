"""Every point of a sweep is the what-if that one would ask there, and many points take little longer."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.costmodel import Acceptance, AcceptanceFile, Calibration, Machine, find_model
from paceline.costmodel.calibration import Factors, Multiplying
from paceline.errors import PlanError, UsageError
from paceline.partition.axis import Axis, read_axis
from paceline.partition.break_even import break_even
from paceline.partition.figures import with_figures
from paceline.partition.sweep import Sweep, SweepPoint, sweep
from paceline.partition.synthetic import Pair, Question
from paceline.partition.whatif import what_if
from paceline.targets import Dtype, load_soc

IMX95 = load_soc("imx95")
PAIRS = (Pair(target="int8", drafter="int8"), Pair(target="int8", drafter="int4"), Pair(target="f32", drafter="int8"))
QUESTION = Question(
    soc=IMX95,
    target=find_model("llama-3.2-3b"),
    drafter=find_model("llama-3.2-1b"),
    precisions=PAIRS,
    cpu_cores=(1, 6),
    alpha=0.7,
    max_draft_length=5,
)
FIGURES = {
    "bandwidth": (1e9, 1e12),
    "cpu.peak.int8": (1e9, 1e13),
    "gpu.launch": (1e-7, 1e-2),
    "gpu.peak.f32": (1e9, 1e13),
}


def at(question: Question, point: dict[str, float]) -> Question:
    """The question of a single what-if at a point."""
    figures = {key: value for key, value in point.items() if key not in ("alpha", "context")}
    fields: dict[str, Any] = {"soc": with_figures(question.soc, figures)}
    if "alpha" in point:
        fields["alpha"] = point["alpha"]
    if "context" in point:
        fields["context"] = int(point["context"])
    return replace(question, **fields)


def check(question: Question, point: SweepPoint) -> None:
    rows = what_if(at(question, point.at)).rows
    best, drafted = rows[0], next((row for row in rows if row.mapping.drafter in ("cpu", "gpu")), None)
    assert point.seconds_per_token == pytest.approx(best.estimate.seconds_per_token)
    assert point.speedup_over_best == pytest.approx(best.estimate.speedup_over_best)
    assert point.drafted_speedup_over_best == (pytest.approx(drafted.estimate.speedup_over_best) if drafted else None)
    chosen = point.choice
    assert chosen is not None
    same = [
        row
        for row in rows
        if (row.mapping, row.precision, row.cores, row.draft_length)
        == (chosen.mapping, chosen.precision, chosen.cores, chosen.draft_length)
    ]
    assert [row.estimate.seconds_per_token for row in same] == pytest.approx([point.seconds_per_token])
    assert point.speedup == pytest.approx(same[0].estimate.speedup)


@given(st.data())
@settings(max_examples=25)
def test_a_point_is_the_what_if_there(data: st.DataObject) -> None:
    keys = data.draw(st.lists(st.sampled_from(["alpha", "context", *FIGURES]), min_size=1, max_size=3, unique=True))
    if "bandwidth" in keys and "cpu.bandwidth" in keys:
        keys.remove("cpu.bandwidth")
    ranges = {"alpha": st.floats(0, 1), "context": st.integers(1, 4096).map(float)}
    ranges |= {key: st.floats(*bounds) for key, bounds in FIGURES.items()}
    axes = [Axis(key=key, values=tuple(data.draw(st.lists(ranges[key], min_size=1, max_size=3)))) for key in keys]
    points = list(sweep(QUESTION, axes).points())
    check(QUESTION, data.draw(st.sampled_from(points)))


def test_the_last_axis_moves_fastest() -> None:
    found = sweep(
        QUESTION, [read_axis("alpha=0.2,0.8"), read_axis("context=64,128,256"), read_axis("launch=1e-5,1e-4")]
    )
    assert found.shape == (2, 3, 2)
    points = [point.at for point in found.points()]
    expected = [
        {"alpha": a, "context": c, "launch": s} for a in (0.2, 0.8) for c in (64, 128, 256) for s in (1e-5, 1e-4)
    ]
    assert points == expected
    for point in found.points():
        check(QUESTION, point)


def test_measured_acceptance_is_swept_over_figures() -> None:
    kept = Acceptance(drafter="int8", target="int8", asked=4, counts={4: (30, 5, 0, 0, 65)})
    lookup = Acceptance(drafter="ngram", target="int8", asked=4, counts={0: (20,), 4: (10, 0, 0, 0, 70)})
    file = AcceptanceFile(bundle="x", histograms=(kept, lookup))
    question = replace(QUESTION, alpha=None, acceptance=file, precisions=PAIRS[:1])
    found = sweep(question, [read_axis("bandwidth=1e9:200e9:20e9")])
    for point in found.points():
        check(question, point)
    assert {choice.mapping.drafter for choice in found.choices} & {"ngram"}


def test_a_calibration_is_swept_too() -> None:
    """One that knows the kernels of the CPU in int8, of which reading and arithmetic overlap a little."""
    multiplying: dict[Dtype, Multiplying] = {"int8": Multiplying(peak=0.5, exponent=1.7)}
    shares = {"bandwidth": 0.6, "attention": 0.2, "logits": 0.3, "launch": 0.4, "call": 2.0}
    factors = Factors(unit="cpu", program="kernels", cores=6, precisions=multiplying, **shares)
    machine = Machine(architecture="x", cpu="x", cores=6, memory_bytes=1)
    taught = Calibration(soc="imx95", machine=machine, factors=(factors,), errors={}, residuals=())
    question = replace(QUESTION, calibration=taught)
    answer = what_if(question)
    assert {str(row.mapping) for row in answer.rows} == {"target=cpu", "target=cpu,drafter=cpu"}
    assert {row.estimate.source for row in answer.rows} == {"calibration"} and not answer.estimated
    reasons = {r.reason for r in answer.rejected if r.mapping.drafter == "gpu"}
    assert "the calibration knows no int8 programs on gpu such as the drafter's" in reasons
    for point in sweep(question, [read_axis("alpha=0.2,0.9"), read_axis("cpu.peak.int8=1e10,1e12")]).points():
        check(question, point)
    assert break_even(question, answer.rows) is not None


def test_where_nothing_fits_there_is_no_choice() -> None:
    question = replace(QUESTION, precisions=PAIRS[:1], memory_bytes=int(3.7 * 2**30))
    fits, not_any_more = sweep(question, [read_axis("context=128,16384")]).points()
    assert fits.choice is not None and fits.drafted_speedup_over_best is None  # the target alone
    nothing = SweepPoint(
        at={"context": 16384.0},
        choice=None,
        seconds_per_token=None,
        speedup=None,
        speedup_over_best=None,
        drafted_speedup_over_best=None,
    )
    assert not_any_more == nothing


def test_chunks_do_not_show() -> None:
    alphas = tuple(np.linspace(0, 1, 20_000).tolist())
    question = replace(QUESTION, precisions=PAIRS[:1], cpu_cores=())
    whole = sweep(question, [Axis(key="alpha", values=alphas)])
    for index in (0, 16_383, 16_384, 19_999):
        (single,) = sweep(question, [Axis(key="alpha", values=(alphas[index],))]).points()
        assert single.seconds_per_token == whole.seconds_per_token[index]
    assert (np.diff(whole.seconds_per_token) <= 0).all()


def test_ten_thousand_points_take_seconds() -> None:
    axes = [read_axis("alpha=0.01:1:0.01"), read_axis("bandwidth=5e9:29.75e9:0.25e9")]
    start = time.perf_counter()
    found = sweep(replace(QUESTION, cpu_cores=tuple(range(1, 7)), max_draft_length=8), axes)
    assert len(found.which) == 10_000
    assert time.perf_counter() - start < 20.0  # about half a second on a quiet machine


def keys_of(found: Sweep) -> set[int]:
    return {choice.draft_length for choice in found.choices}


def test_better_drafts_are_longer_drafts() -> None:
    found = sweep(replace(QUESTION, precisions=PAIRS[:1], cpu_cores=()), [read_axis("alpha=0:1:0.05")])
    lengths = [point.choice.draft_length for point in found.points() if point.choice]
    assert lengths == sorted(lengths) and lengths[0] == 0 and lengths[-1] > 1
    assert keys_of(found) == set(lengths)


@pytest.mark.parametrize(
    ("axes", "sentence"),
    [
        (["beta=1"], "'beta' is no figure of a SoC; expected one of alpha, context, bandwidth"),
        (["npu.launch=1"], "has no unit 'npu'"),
        (["alpha=0.5,1.5"], "alpha is 1.5"),
        (["alpha=-0.5,1"], "alpha is -0.5"),
        (["memory=1e9"], "memory cannot be swept"),
        (["bandwidth=1e9,0"], "bandwidth of 0: figures are numbers in SI units from 1e-30"),
        (["launch=1e-6,1e300"], r"launch of 1e\+300: figures are numbers"),
        (["context=100.5"], "context 100.5 is no number of tokens"),
        (["context=0,1"], "context 0 is not within"),
        (["context=1:2000:1"], "2000 contexts are too many"),
        (["alpha=0.1", "alpha=0.2"], "'alpha' is swept twice"),
        (["cpu.launch=1", "launch=2"], "'launch' is swept twice"),
        (
            ["alpha=0:1:0.001", "bandwidth=1e9:1001e9:1e9"],
            "1001 x 1001 = 1002001 points, at most 1000000 can be asked for",
        ),
    ],
)
def test_what_cannot_be_swept(axes: list[str], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        sweep(QUESTION, [read_axis(text) for text in axes])


def test_alpha_needs_a_drafter() -> None:
    with pytest.raises(UsageError, match="alpha means nothing without a drafter"):
        sweep(replace(QUESTION, drafter=None), [read_axis("alpha=0.5")])


def test_a_target_that_runs_nowhere_has_no_sweep() -> None:
    with pytest.raises(
        PlanError, match=r"llama-3\.2-3b runs nowhere on imx95: target=cpu in int8: .*target=cpu in f32: "
    ):
        sweep(replace(QUESTION, memory_bytes=1), [read_axis("alpha=0.1,0.9")])
