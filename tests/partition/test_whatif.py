"""A what-if is the planner's search over shapes: its rows add up, and say what bounds them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.costmodel import (
    Acceptance,
    AcceptanceFile,
    ModelSpec,
    expected_tokens,
    find_model,
    forward,
    roofline,
    weights_bytes,
)
from paceline.costmodel.traced import Program
from paceline.errors import PairError, PlanError, UsageError
from paceline.partition import Mapping, choose
from paceline.partition.figures import with_figures
from paceline.partition.synthetic import Pair, Question, precision_named, synthetic_bundle
from paceline.partition.times import middle
from paceline.partition.whatif import Row, WhatIf, what_if
from paceline.targets import Dtype, ProcessingUnit, load_soc

TARGET, DRAFTER = find_model("llama-3.2-3b"), find_model("llama-3.2-1b")
IMX95 = load_soc("imx95")
INT8 = Pair(target="int8", drafter="int8")
QUESTION = Question(soc=IMX95, target=TARGET, drafter=DRAFTER, precisions=(INT8,), alpha=0.9)
DTYPES: tuple[Dtype, ...] = ("f32", "f16", "int8", "int4")


def unit(name: str) -> ProcessingUnit:
    found = IMX95.unit(name)
    assert found is not None
    return found


def row(answer: WhatIf, **fields: Any) -> Row:
    """The best row with these fields."""
    return next(row for row in answer.rows if all(getattr(row, key) == value for key, value in fields.items()))


def test_a_row_by_hand() -> None:
    def seconds(spec: ModelSpec, name: str, width: int, program: Program) -> float:
        context = middle(512, width) + width if program == "kernels" else 512
        work = forward(spec, width=width, context=context, precision="int8", program=program)
        return roofline(work, unit(name), "int8", program=program).seconds

    # The CPU has kernels, the GPU's programs are traced; 4 tokens are verified at a compiled width of 4.
    one, two = (seconds(DRAFTER, "gpu", width, "gpu") for width in (1, 2))
    round_seconds = 3 * one + 0.9**3 * (two - one) + seconds(TARGET, "cpu", 4, "kernels")
    found = row(what_if(QUESTION), mapping=Mapping(target="cpu", drafter="gpu"), draft_length=3)
    assert found.estimate.round_seconds == pytest.approx(round_seconds)
    assert found.estimate.seconds_per_token == pytest.approx(round_seconds / expected_tokens(0.9, 3))
    assert found.precision == {"target": "int8", "drafter": "int8"}
    assert found.cores == {"cpu": 6, "gpu": 1}
    assert found.alpha == 0.9
    assert found.memory > weights_bytes(TARGET, "int8") + weights_bytes(DRAFTER, "int8")


def test_only_kernels_store_in_four_bits_what_is_four_bits_already() -> None:
    exact = msgspec.structs.replace(TARGET, exact_int4=("layers.0.qkv",))
    sizes = {}
    for spec in (TARGET, exact):
        bundle = synthetic_bundle(IMX95, [("target", spec)], Pair(target="int4", drafter="int4"), 512)
        assert list(bundle.target.kernels) == ["cpu"]
        sizes[spec] = {unit: bundle.files[name].bytes for unit, name in bundle.target.weights.items()}
    assert sizes[exact]["gpu"] == sizes[TARGET]["gpu"] == sizes[TARGET]["cpu"] > sizes[exact]["cpu"]


def test_rows_are_the_choices_that_the_planner_has() -> None:
    bundle = synthetic_bundle(IMX95, QUESTION.compiled(INT8), INT8, 512)
    plan = choose(bundle, profile=None, alpha=0.9, margin=0.0)
    answer = what_if(QUESTION)
    assert answer.rows[0].estimate == plan.estimate
    assert (answer.rows[0].mapping, answer.rows[0].draft_length) == (plan.mapping, plan.draft_length)
    planned = sum(alternative.estimate is not None for alternative in plan.rejected) + 1
    assert len(answer.rows) == planned


def test_rows_come_best_first_and_once() -> None:
    pairs = tuple(Pair(target=target, drafter=drafter) for target in DTYPES for drafter in DTYPES)
    answer = what_if(replace(QUESTION, precisions=pairs, cpu_cores=(1, 2, 4)))
    seconds = [row.estimate.seconds_per_token for row in answer.rows]
    assert seconds == sorted(seconds)
    keys = [(str(r.mapping), str(r.precision), str(r.cores), r.draft_length) for r in answer.rows]
    assert len(set(keys)) == len(keys)
    plain = [row for row in answer.rows if row.mapping.drafter is None]
    assert len(plain) == 4 * (3 + 1)  # precisions of the target x (cores of the CPU, and the GPU)


def test_baselines() -> None:
    pairs = (INT8, Pair(target="int4", drafter="int4"))
    answer = what_if(replace(QUESTION, precisions=pairs))
    for target in ("int8", "int4"):
        best = min(
            row.estimate.seconds_per_token
            for row in answer.rows
            if row.draft_length == 0 and row.precision["target"] == target
        )
        for found in (row for row in answer.rows if row.precision["target"] == target):
            cost = found.estimate
            same = row(answer, mapping=Mapping(target=found.mapping.target), precision={"target": target})
            assert cost.speedup_over_best == pytest.approx(best / cost.seconds_per_token)
            assert cost.speedup == pytest.approx(same.estimate.seconds_per_token / cost.seconds_per_token)


def test_no_speculation_when_that_wins() -> None:
    answer = what_if(replace(QUESTION, alpha=0.1))
    assert answer.rows[0].draft_length == 0
    assert all(row.estimate.speedup_over_best < 1.0 for row in answer.rows if row.draft_length)


@pytest.mark.parametrize(
    ("figures", "wall"),
    [
        ({"bandwidth": 1e6}, "bandwidth"),
        ({"peak.int8": 1e6, "peak.f32": 1e6}, "arithmetic"),
        ({"launch": 10.0}, "launches"),
    ],
)
def test_walls(figures: dict[str, float], wall: str) -> None:
    answer = what_if(replace(QUESTION, soc=with_figures(IMX95, figures)))
    assert {row.wall for row in answer.rows} == {row.verify_wall for row in answer.rows} == {wall}
    assert {row.draft_wall for row in answer.rows} == {wall, None}


def test_fewer_cores_are_slower_where_arithmetic_is_the_wall() -> None:
    soc = with_figures(IMX95, {"cpu.peak.int8": 10e9})
    answer = what_if(replace(QUESTION, soc=soc, cpu_cores=(1, 2, 6)))
    plain = {r.cores["cpu"]: r for r in answer.rows if r.mapping == Mapping(target="cpu")}
    assert sorted(plain) == [1, 2, 6]
    assert all(found.wall == "arithmetic" for found in plain.values())
    assert plain[1].estimate.seconds_per_token > 1.9 * plain[2].estimate.seconds_per_token


def test_ties_go_to_fewer_cores() -> None:
    soc = with_figures(IMX95, {"bandwidth": 1e9})
    first, second = what_if(replace(QUESTION, soc=soc, cpu_cores=(2, 1), drafter=None, alpha=None)).rows[:2]
    assert first.estimate == second.estimate
    assert (first.cores, second.cores) == ({"cpu": 1}, {"cpu": 2})


def test_what_does_not_fit_is_ruled_out_with_its_sizes() -> None:
    answer = what_if(replace(QUESTION, memory_bytes=4 << 30))
    reasons = {str(r.mapping): r.reason for r in answer.rejected}
    assert "of weights): 4.30 GiB > 4.00 GiB of memory" in reasons["target=cpu,drafter=cpu"]
    assert all(row.draft_length == 0 for row in answer.rows)
    with pytest.raises(
        PlanError, match=r"llama-3\.2-3b runs nowhere on imx95: target=cpu in int8: .* > 1\.00 GiB of memory"
    ):
        what_if(replace(QUESTION, memory_bytes=1 << 30))


def test_half_precision_is_ruled_out_where_there_is_no_storage_for_it() -> None:
    small = find_model("qwen2.5-0.5b")
    pairs = (Pair(target="f16", drafter="f16"),)
    answer = what_if(Question(soc=load_soc("rpi5"), target=small, precisions=pairs))
    assert [row.mapping for row in answer.rows] == [Mapping(target="cpu")]
    assert ["no 16-bit storage" in r.reason for r in answer.rejected if r.mapping == Mapping(target="gpu")] == [True]


def test_prompt_lookup_counts_once_it_was_measured() -> None:
    assert {r.mapping.drafter for r in what_if(QUESTION).rejected} == {"ngram"}
    kept = Acceptance(drafter="ngram", target="int8", asked=4, counts={0: (50,), 4: (10, 0, 0, 0, 40)})
    model = Acceptance(drafter="int8", target="int8", asked=4, counts={4: (20, 0, 0, 0, 80)})
    file = AcceptanceFile(bundle="x", histograms=(kept, model))
    answer = what_if(replace(QUESTION, alpha=None, acceptance=file))
    assert not answer.rejected and answer.alpha_source == "measured on all tasks"
    lookup = row(answer, mapping=Mapping(target="cpu", drafter="ngram"), draft_length=4)
    assert lookup.precision == {"target": "int8"} and lookup.draft_wall is None
    assert lookup.estimate.tokens_per_round == pytest.approx(1 + 4 * 0.4)
    measured = row(answer, mapping=Mapping(target="cpu", drafter="cpu"), draft_length=4)
    assert measured.estimate.tokens_per_round == pytest.approx(1 + 4 * 0.8)
    other = replace(QUESTION, alpha=None, acceptance=file, precisions=(Pair(target="int8", drafter="int4"),))
    with pytest.raises(UsageError, match="no drafts of a drafter in int4, it has int8; choose another"):
        what_if(other)


def test_figures_that_nobody_measured_are_named() -> None:
    assert what_if(QUESTION).estimated == ("cpu.bandwidth", "cpu.launch", "gpu.launch")
    sure = with_figures(IMX95, {"bandwidth": 25e9, "launch": 1e-5})
    assert what_if(replace(QUESTION, soc=sure)).estimated == ()


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"alpha": 1.5}, "alpha is 1.5"),
        ({"alpha": float("nan")}, "alpha is nan"),
        ({"max_draft_length": -1}, "longest draft is -1"),
        ({"cpu_cores": (1, 7)}, "7 cores: the cpu of imx95 has 1 to 6"),
        ({"context": 0}, "context 0 is not within"),
        ({"context": 131073}, "context 131073 is not within the 131072 tokens that llama-3.2-3b was trained for"),
    ],
)
def test_questions_without_sense(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        what_if(replace(QUESTION, **fields))


def test_a_precision_that_no_unit_runs() -> None:
    soc = load_soc("rpi5")
    units = tuple(msgspec.structs.replace(unit, storage_bits=32) for unit in soc.units)
    question = replace(QUESTION, soc=msgspec.structs.replace(soc, units=units))
    with pytest.raises(UsageError, match=r"no unit of rpi5 runs f16: cpu \(4x Cortex-A76 .*no 16-bit storage"):
        what_if(replace(question, precisions=(Pair(target="f16", drafter="int8"),)))


def test_models_of_different_vocabularies() -> None:
    with pytest.raises(PairError, match=r"drafter smollm2-135m knows 49152 tokens and target llama-3\.2-3b 128256"):
        what_if(replace(QUESTION, drafter=find_model("smollm2-135m")))
    padded = replace(QUESTION, target=find_model("qwen2.5-7b"), drafter=find_model("qwen2.5-0.5b"))
    assert what_if(padded).rows


def test_precisions_have_names() -> None:
    assert [precision_named(name) for name in DTYPES] == list(DTYPES)
    with pytest.raises(UsageError, match="unknown precision 'int2'; known: f32, f16, int8, int4"):
        precision_named("int2")


@given(st.sampled_from(["cpu", "gpu"]), st.sampled_from(["bandwidth", "peak.int8"]), st.floats(1.0, 100.0))
@settings(max_examples=20)
def test_a_better_figure_never_hurts(name: str, figure: str, factor: float) -> None:
    now = unit(name).bandwidth.value if figure == "bandwidth" else unit(name).peak["int8"].value
    better = replace(QUESTION, soc=with_figures(IMX95, {f"{name}.{figure}": now * factor}))
    fastest = [what_if(question).rows[0].estimate.seconds_per_token for question in (better, QUESTION)]
    assert fastest[0] <= fastest[1]
