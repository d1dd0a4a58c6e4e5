"""Acceptance of a set of prompts, and its check against live speculation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from paceline.errors import DeviceUnavailable, PromptError
from paceline.partition import read_bundle
from paceline.runtime.acceptance import MeasuredAcceptance, first_of_each, measure_acceptance
from paceline.runtime.null_device import NullDevice
from paceline.runtime.prompts import Prompt
from paceline.targets import ProcessingUnit

PROMPTS = (Prompt("ride", "abc"), Prompt("turn", "hello"), Prompt("ride", "de"), Prompt("ride", "z" * 500))


def opened(unit: ProcessingUnit, *, cores: int | None = None) -> NullDevice:
    if unit.name == "gpu":
        raise DeviceUnavailable("no Vulkan driver")
    return NullDevice(unit=unit, agreement=0.8)


def measured(folder: Path, **options: object) -> MeasuredAcceptance:
    values: dict[str, object] = {"prompts": PROMPTS, "tokens": 40, "longest": 5, "opened": opened}
    return measure_acceptance(folder, read_bundle(folder), **{**values, **options})  # type: ignore[arg-type]


def test_the_first_prompts_of_each_task() -> None:
    assert first_of_each(PROMPTS, None) == PROMPTS
    assert first_of_each(PROMPTS, 1) == PROMPTS[:2]
    assert first_of_each(PROMPTS, 2) == PROMPTS[:3]


def test_live_speculation_keeps_the_same_drafts(null_bundle: Callable[..., Path]) -> None:
    found = measured(null_bundle(), live=2)
    assert (found.skipped, found.compared, found.differing) == (1, 4, 0)
    drafter, *_ = {entry.drafter for entry in found.file.histograms} - {"ngram"}
    histograms = found.file.of(drafter)
    assert [entry.asked for entry in histograms] == [1, 2, 3, 4, 5]
    assert [entry.moments.texts for entry in histograms] == [3] * 5
    assert {entry.task for entry in found.file.histograms} == {"ride", "turn"}


def test_a_program_that_depends_on_the_width_is_found_out(
    null_bundle: Callable[..., Path], wrong_when_wide: None
) -> None:
    found = measured(null_bundle(widths=(1, 4)), live=2)
    assert found.differing > 0


def test_nothing_that_fits_or_runs(null_bundle: Callable[..., Path]) -> None:
    def nothing(unit: ProcessingUnit, *, cores: int | None = None) -> NullDevice:
        raise DeviceUnavailable("it is not here")

    folder = null_bundle()
    with pytest.raises(PromptError, match="none of 1 prompts fits"):
        measured(folder, prompts=PROMPTS[3:])
    with pytest.raises(DeviceUnavailable, match="cpu: it is not here"):
        measured(folder, opened=nothing)
