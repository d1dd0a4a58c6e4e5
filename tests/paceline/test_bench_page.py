"""``paceline bench`` as a user calls it, on the null device."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from numpy.typing import NDArray
from typer.testing import CliRunner, Result

from paceline import cli
from paceline.documents import write_json
from paceline.partition import Mapping, TokenIds, choose, read_bundle
from paceline.partition.plan import Pacing
from paceline.runtime import NullDevice, load_model
from paceline.runtime.null_device import NullProgram
from paceline.runtime.program import Step

LINES = [
    {"question_id": 1, "category": "qa", "turns": ["hello there", "again"]},
    {"category": "coding", "prompt": "pace"},
    {"category": "qa", "turns": ["line"]},
]
Bench = Callable[..., Result]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, null_bundle: Callable[..., Path], tmp_path: Path) -> Bench:
    cli._register()
    monkeypatch.setattr(load_model, "open_device", lambda unit, cores=None: NullDevice(unit=unit, agreement=0.8))
    folder = null_bundle(tokens=TokenIds(bos=0))
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("\n".join(map(json.dumps, LINES)))

    def call(*arguments: object) -> Result:
        fixed = ["bench", str(folder), "--prompts", str(prompts), "--max-tokens", "12"]
        return CliRunner().invoke(cli.app, [*fixed, *map(str, arguments)])

    return call


def test_table_and_verdict(bench: Bench) -> None:
    result = bench("--draft-lengths", "2")
    assert result.exit_code == 0
    assert "3/3" in result.stdout
    assert "identical to the plain ones" in result.stderr


def test_json_by_mapping_and_draft_length(bench: Bench) -> None:
    maps = ("--map", "target=cpu,drafter=gpu", "--map", "target=gpu,drafter=ngram")
    document = json.loads(bench("--json", *maps, "--draft-lengths", "1,3", "--category", "qa", "--limit", 1).stdout)
    assert list(document) == ["target=cpu,drafter=gpu", "target=gpu,drafter=ngram"]
    for outcomes in document.values():
        assert [outcome["draft_length"] for outcome in outcomes] == [0, 1, 3]
        assert {outcome["prompts"] for outcome in outcomes} == {1}


def test_a_length_that_adapts_is_measured_where_a_plan_has_its_costs(
    bench: Bench, null_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tmp_path / "bundle"
    plan = choose(read_bundle(folder), profile=None, alpha=0.9)
    mapping, pacing = Mapping(target="cpu", drafter="cpu"), Pacing(round_seconds=(1.0, 1.2, 1.4), chain=(0.9, 0.8))
    write_json(folder / "plan.json", replace(plan, mapping=mapping, draft_length=2, pacing=pacing))
    lengths = {}
    for options in [(), ("--no-adapt",), ("--map", "target=cpu,drafter=cpu"), ("--map", "target=cpu,drafter=gpu")]:
        (outcomes,) = json.loads(bench("--json", "--draft-lengths", "1", *options).stdout).values()
        lengths[options] = [outcome["draft_length"] for outcome in outcomes]
        assert all(outcome["identical"] == 3 for outcome in outcomes)
    assert list(lengths.values()) == [[0, 1, "adaptive"], [0, 1], [0, 1, "adaptive"], [0, 1]]
    assert "adaptive" in bench("--min-confidence", "0.5").stdout


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("--draft-lengths", "two"), 2, "cannot read the draft lengths 'two'"),
        (("--draft-lengths", "-1"), 2, "draft length is -1"),
        (("--category", "poetry"), 1, "no prompt of category poetry; it has coding, qa"),
        (("--drafter", "none"), 2, "names nothing that drafts"),
        (("--drafter", "ngram", "--min-confidence", "0.5"), 2, "has no drafter model to be confident"),
    ],
)
def test_one_sentence_for_what_cannot_be(bench: Bench, arguments: tuple[str, ...], code: int, sentence: str) -> None:
    result = bench(*arguments)
    assert result.exit_code == code
    assert sentence in result.stderr


def test_texts_that_differ_fail(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = NullProgram.step

    def wide_is_wrong(
        self: NullProgram, tokens: NDArray[np.int32], position: int, *, first: int = 0, logits: bool = False
    ) -> Step:
        step = honest(self, tokens, position, first=first, logits=logits)
        if len(step.ids) == 4:
            step.ids[:] = 5
        return step

    monkeypatch.setattr(NullProgram, "step", wide_is_wrong)
    result = bench("--draft-lengths", "3")
    assert result.exit_code == 1
    assert "differ from the plain ones" in result.stderr
