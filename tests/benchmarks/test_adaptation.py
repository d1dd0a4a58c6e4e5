"""The tables of adaptive lengths: hand-made seconds, and a run on the null device."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from adaptation import (
    SECONDS,
    Run,
    best_fixed,
    by_category,
    chosen,
    contestants,
    judgement,
    overview,
    plan_of,
    play,
    ratios,
)
from paceline.costmodel import Acceptance
from paceline.documents import write_json
from paceline.partition import Mapping, TokenIds, choose, read_bundle
from paceline.partition.plan import Pacing, Plan
from paceline.runtime import Model, NullDevice, load
from paceline.runtime.prompts import Prompt

ROUNDS = SECONDS["rounds"]


def run(contestant: str, prompt: int, rounds: float, *, category: str = "qa", ids: tuple[int, ...] = (1, 2)) -> Run:
    return Run(
        category=category,
        prompt=prompt,
        repetition=0,
        contestant=contestant,
        rounds=rounds,
        streamed=rounds + 0.5,
        whole=rounds + 1.0,
        ids=ids,
        acceptance=Acceptance(counts={2: (1, 0, 1)}),
    )


@pytest.fixture
def folder(null_bundle: Callable[..., Path]) -> Path:
    return null_bundle(tokens=TokenIds(bos=0))


def plan_for(folder: Path) -> Plan:
    plan = choose(read_bundle(folder), profile=None, alpha=0.9)
    pacing = Pacing(round_seconds=(1.0, 1.2, 1.4), chain=(0.9, 0.8))
    return replace(plan, mapping=Mapping(target="cpu", drafter="cpu"), draft_length=2, pacing=pacing)


@pytest.fixture
def model(folder: Path) -> Model:
    return load(folder, plan=plan_for(folder), device=NullDevice(agreement=0.0))


RUNS = [
    *(run("plain", n, seconds) for n, seconds in enumerate((4.0, 4.0, 4.0))),
    *(run("fixed 1", n, seconds) for n, seconds in enumerate((2.0, 4.0, 8.0))),
    *(run("adaptive", n, seconds) for n, seconds in enumerate((5.0, 4.0, 2.5))),
    run("plain", 3, 9.0, ids=(1,)),
]


def test_ratios_text_by_text_and_together(model: Model) -> None:
    each, together = ratios(RUNS[:9], "adaptive", "plain", ROUNDS)
    assert each == [0.8, 1.0, 1.6]
    assert together == pytest.approx(12 / 11.5)
    field = contestants(model, {}, [1])
    assert best_fixed(RUNS[:9], field, ROUNDS) == "plain"
    assert [len(runs) for runs in by_category(RUNS).values()] == [9]
    told = judgement(RUNS, field)
    assert told.count("adaptive") == 3
    assert "1.000" in told and f"{12 / 11.5:.3f}" in told and f"{15 / 14.5:.3f}" in told


def test_texts_that_differ_are_counted(model: Model) -> None:
    wrong = [*RUNS[:6], run("adaptive", 0, 1.0, ids=(1, 3)), *RUNS[7:9]]
    assert "1 of 3" in overview(wrong, contestants(model, {}, [1]))


def test_all_take_turns_and_repetitions_begin_anew(folder: Path, model: Model) -> None:
    doubting = load(folder, plan=plan_for(folder), min_confidence=0.2, device=NullDevice(agreement=0.0))
    field = contestants(model, {0.2: doubting}, [1, 2])
    names = ["plain", "fixed 1", "fixed 2", "adaptive", "adaptive, p >= 0.2", "fixed 2, p >= 0.2"]
    assert [contestant.name for contestant in field] == names
    prompts = chosen(model, [Prompt("qa", "hello"), Prompt("qa", "you"), Prompt("qa", "me")], tokens=40, limit=2)
    assert [category for category, _ in prompts] == ["qa", "qa"]
    runs = list(play(field, prompts, tokens=40, repetitions=2))
    assert [one.contestant for one in runs[:12]] == [*names, *names[1:], names[0]]
    assert len(runs) == 2 * 2 * len(names)
    assert len({(one.prompt, one.ids) for one in runs}) == 2
    drafted = [one.acceptance.drafted for one in runs if one.contestant == "adaptive"]
    assert drafted[0] > drafted[1] and drafted[:2] == drafted[2:]
    assert "all" not in by_category(runs) and "0 of 4" in overview(runs, field)


def test_long_prompts_are_left_out(model: Model) -> None:
    assert chosen(model, [Prompt("qa", "a" * 90), Prompt("qa", "b")], tokens=40, limit=5) == [("qa", model.encode("b"))]


def test_a_plan_that_does_not_draft_is_refused(folder: Path) -> None:
    write_json(folder / "plan.json", replace(plan_for(folder), pacing=None))
    with pytest.raises(SystemExit, match="does not draft"):
        plan_of(folder, None)
