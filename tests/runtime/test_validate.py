"""Every feasible case is run and predicted; on a device of constant time the two agree."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest

from paceline.errors import DeviceUnavailable, PlanError, PromptError, UsageError
from paceline.partition import TokenIds, read_bundle
from paceline.runtime.case import Case
from paceline.runtime.null_device import NULL_UNIT, NullDevice
from paceline.runtime.prompts import Prompt
from paceline.runtime.validate import validate
from paceline.runtime.validation import Validation
from paceline.targets import Figure, ProcessingUnit, Soc

PROMPTS = (Prompt("ride", "abc"), Prompt("turn", "hello"))


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """A null device has nothing to warm up, and one text tells what it takes."""
    for module in ("measure", "measure_contention", "case"):
        monkeypatch.setattr(f"paceline.runtime.{module}.WARM_SECONDS", 0.001)
    for module in ("measure", "measure_contention", "case", "validate"):
        monkeypatch.setattr(f"paceline.runtime.{module}.BURST_SECONDS", 0.02)
    monkeypatch.setattr("paceline.runtime.run_off.MOST", 4)


def opened(unit: ProcessingUnit, *, cores: int | None = None, pin: Collection[int] = ()) -> NullDevice:
    return NullDevice(unit=unit, agreement=0.9, seconds=0.004 if unit.name == "cpu" else 0.008)


def found(folder: Path, **options: Any) -> Validation:
    values: dict[str, Any] = {"prompts": PROMPTS, "tokens": 24, "repeats": 1, "opened": opened}
    return validate(folder, read_bundle(folder), **{**values, **options})


def test_constant_passes_are_predicted(null_bundle: Callable[..., Path]) -> None:
    result = found(null_bundle(), draft_lengths=(1, 3))
    cases = {(row.mapping.target, row.mapping.drafter, row.draft_length) for row in result.rows}
    units = ("cpu", "gpu")
    assert cases == {(t, d, g) for t in units for d in ("ngram", *units) for g in (1, 3)} | {
        (t, None, 0) for t in units
    }
    assert result.strange == 0 and (result.prompts, result.repeats) == (2, 1)
    # sleeping for 4 or 8 ms is not exact, least of all on a busy machine: the order of mappings must come out
    assert result.median_error < 0.25
    slow = {row.mapping.target: row.measured for row in result.rows if not row.draft_length}
    assert slow["gpu"] > 1.3 * slow["cpu"]


def test_cases_take_turns_in_another_order_each_time(
    null_bundle: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    ran, run = list[tuple[int, int]](), Case.run

    def noted(case: Case, number: int) -> None:
        ran.append((id(case), number))
        run(case, number)

    monkeypatch.setattr(Case, "run", noted)
    count = len(found(null_bundle(), draft_lengths=(1, 2), repeats=2).rows)
    turns = [ran[start : start + count] for start in range(0, len(ran), count)]
    assert [{number for _, number in turn} for turn in turns] == [{0}, {1}, {0}, {1}]
    orders = [tuple(case for case, _ in turn) for turn in turns]
    assert {frozenset(order) for order in orders} == {frozenset(orders[0])} and len(set(orders[0])) == count
    assert len(set(orders)) == 4


def test_two_processors_are_run_both_ways(null_bundle: Callable[..., Path]) -> None:
    pins = {"drafter": (0,), "target": (1,)}
    result = found(null_bundle(), units=("cpu",), draft_lengths=(2,), pins=pins)
    rows = {row.overlap: row for row in result.rows if row.mapping.drafter == "cpu@0"}
    assert {row.mapping.target for row in rows.values()} == {"cpu@1"} and set(rows) == {False, True}
    assert result.strange == 0
    assert rows[True].tokens_per_round == rows[False].tokens_per_round
    assert rows[True].verify >= rows[False].verify * 0.9  # never quicker beside a drafter, but for noise
    assert any(row.mapping.target == "cpu@1" and not row.draft_length for row in result.rows)


def test_units_that_are_not_there_are_said(null_bundle: Callable[..., Path]) -> None:
    def only_cpu(unit: ProcessingUnit, *, cores: int | None = None) -> NullDevice:
        if unit.name == "gpu":
            raise DeviceUnavailable("no Vulkan driver")
        return NullDevice(unit=unit)

    result = found(null_bundle(drafter=False), opened=only_cpu, draft_lengths=(2,))
    assert {(row.mapping.drafter, row.draft_length) for row in result.rows} == {(None, 0), ("ngram", 2)}
    assert [entry.reason for entry in result.rejected] == ["target on gpu: no Vulkan driver"] * 2


def test_a_unit_can_be_left_out(null_bundle: Callable[..., Path]) -> None:
    result = found(null_bundle(), units=("cpu",), draft_lengths=(1,))
    assert {row.mapping.target for row in result.rows} == {"cpu"}
    assert {entry.reason for entry in result.rejected} == {
        "target on gpu: not asked for",
        "drafter on gpu: not asked for",
    }


@pytest.mark.parametrize(("lengths", "reason"), [((16,), "needs a wider program"), ((-1,), "it is negative")])
def test_lengths_that_cannot_be_run(null_bundle: Callable[..., Path], lengths: tuple[int, ...], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        found(null_bundle(), draft_lengths=lengths)


def test_a_target_that_is_too_large(null_bundle: Callable[..., Path]) -> None:
    tight = Soc(name="tight", description="", memory=Figure(value=1.0, source="test"), units=(NULL_UNIT,))
    with pytest.raises(PlanError, match=r"runs nowhere here: target=cpu: target on cpu .* of memory"):
        found(null_bundle(soc=tight))


def test_no_device_at_all(null_bundle: Callable[..., Path]) -> None:
    def nothing(unit: ProcessingUnit, *, cores: int | None = None) -> NullDevice:
        raise DeviceUnavailable("it is not here")

    with pytest.raises(DeviceUnavailable, match="runs on no device"):
        found(null_bundle(), opened=nothing)


def test_texts_that_leave_the_plain_ones_are_counted(null_bundle: Callable[..., Path], wrong_when_wide: None) -> None:
    assert found(null_bundle(), units=("cpu",), draft_lengths=(3,)).strange > 0


def test_texts_that_end_at_once_cannot_be_timed(null_bundle: Callable[..., Path]) -> None:
    with pytest.raises(PromptError, match="every text ends with its first token"):
        found(null_bundle(tokens=TokenIds(bos=0, eos=tuple(range(64)))), draft_lengths=(1,))
