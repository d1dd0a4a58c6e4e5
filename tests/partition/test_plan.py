"""A plan on disk belongs to one bundle."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from paceline.costmodel import Acceptance
from paceline.documents import write_json
from paceline.errors import PlanError
from paceline.partition import Estimate, Mapping, Plan, read_plan
from paceline.partition.plan import Beside, Pacing

ESTIMATE = Estimate(
    seconds_per_token=0.01,
    tokens_per_round=1.0,
    round_seconds=0.01,
    draft=0.0,
    verify=0.01,
    host=0.0,
    speedup=1.0,
    speedup_over_best=1.0,
    source="roofline",
)
PLAN = Plan(
    bundle="digest",
    soc="rpi5",
    mapping=Mapping(target="cpu"),
    draft_length=0,
    precision={"target": "f32"},
    cores={"cpu": 4},
    context=512,
    alpha=0.5,
    alpha_source="given",
    estimate=ESTIMATE,
)


def test_round_trip(tmp_path: Path) -> None:
    write_json(tmp_path / "plan.json", PLAN)
    assert read_plan(tmp_path) == PLAN


def test_seconds_of_rounds_that_were_counted() -> None:
    pacing = Pacing(round_seconds=(1.0, 1.2, 1.5), chain=(0.9, 0.8))
    kept = Acceptance(counts={0: (3,), 1: (1, 4), 2: (1, 0, 2)})
    assert pacing.seconds(kept) == pytest.approx(3 * 1.0 + 5 * 1.2 + 3 * 1.5)
    assert pacing.seconds(Acceptance()) == 0.0
    assert pacing.seconds(Acceptance(counts={3: (0, 0, 0, 1)})) is None
    beside = Beside(hit_seconds=(1.0, 1.1, 1.2), wait_seconds=(0.0, 0.1, 0.2), guess=0.5)
    assert msgspec.structs.replace(pacing, beside=beside).seconds(kept) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"draft_length": -1},
        {"cores": {"cpu": 0}},
        {"context": -1},
        {"alpha": 2.0},
        {"mapping": {"target": "cpu@x"}},
        {"mapping": {"target": "cpu", "drafter": "cpu@0"}, "overlap": True},
        {"estimate": {**msgspec.to_builtins(ESTIMATE), "speedup": 1e308}},
    ],
)
def test_a_plan_that_nobody_made(tmp_path: Path, changes: dict[str, object]) -> None:
    write_json(tmp_path / "plan.json", {**msgspec.to_builtins(PLAN), **changes})
    with pytest.raises(PlanError, match=r"plan\.json is not a valid Plan: .*; run 'paceline plan"):
        read_plan(tmp_path)


def test_no_plan_or_another_schema(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"plan\.json is missing"):
        read_plan(tmp_path)
    write_json(tmp_path / "plan.json", msgspec.structs.replace(PLAN, schema=7))
    with pytest.raises(PlanError, match="schema 7, expected 1; run 'paceline plan"):
        read_plan(tmp_path)


@pytest.mark.parametrize(
    ("mapping", "text"),
    [
        (Mapping(target="cpu"), "target=cpu"),
        (Mapping(target="cpu", drafter="gpu"), "target=cpu,drafter=gpu"),
        (Mapping(target="gpu", drafter="ngram"), "target=gpu,drafter=ngram"),
    ],
)
def test_mappings_read_as_the_command_line_writes_them(mapping: Mapping, text: str) -> None:
    assert str(mapping) == text
