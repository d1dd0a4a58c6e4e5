"""Greedy speculative decoding gives the plain tokens, on every mapping and at every draft length."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paceline.partition import Mapping
from paceline.runtime import load
from paceline.runtime.local_task import usable_cores
from paceline.runtime.vulkan_driver import select_driver

PROMPTS = ("a rider drafts behind another", "target target token", "z")
TOKENS = 48
UNITS = ("cpu", "gpu")


def marked(target: str, drafter: str) -> Any:
    kind = pytest.mark.vulkan if "gpu" in (target, drafter) else pytest.mark.cpu
    return pytest.param(target, drafter, marks=kind, id=f"{target}-{drafter}")


@pytest.fixture(scope="module")
def plain(tiny_bundle: Path) -> Callable[[str], tuple[tuple[int, ...], ...]]:
    """Plain tokens after each prompt, by unit of the target."""

    @functools.cache
    def generate(unit: str) -> tuple[tuple[int, ...], ...]:
        with load(tiny_bundle, mapping=Mapping(target=unit)) as model:
            runs = [model.generate(prompt, max_new_tokens=TOKENS, ignore_eos=True).finish() for prompt in PROMPTS]
        return tuple(run.ids for run in runs)

    return generate


@pytest.mark.cpu
@pytest.mark.skipif(usable_cores() < 2, reason="two processors need two cores")
def test_drafts_beside_the_target_change_no_token(
    tiny_bundle: Path, plain: Callable[[str], tuple[tuple[int, ...], ...]]
) -> None:
    with load(tiny_bundle, mapping=Mapping(target="cpu", drafter="cpu"), pin="auto", overlap=True) as model:
        for length in (1, 3, 6):
            for prompt, expected in zip(PROMPTS, plain("cpu"), strict=True):
                found = model.generate(prompt, max_new_tokens=TOKENS, draft_length=length, ignore_eos=True).finish()
                assert found.ids == expected, f"draft length {length}, prompt {prompt!r}"
                assert found.stats.ready > 0


@pytest.mark.parametrize(("target", "drafter"), [marked(target, drafter) for target in UNITS for drafter in UNITS])
def test_speculative_tokens_are_the_plain_ones(
    target: str, drafter: str, tiny_bundle: Path, plain: Callable[[str], tuple[tuple[int, ...], ...]]
) -> None:
    if "gpu" in (target, drafter) and select_driver() is None:
        pytest.skip("no Vulkan driver; run 'paceline doctor --install-swiftshader'")
    with load(tiny_bundle, mapping=Mapping(target=target, drafter=drafter)) as model:
        for length in range(1, 9):
            for prompt, expected in zip(PROMPTS, plain(target), strict=True):
                found = model.generate(prompt, max_new_tokens=TOKENS, draft_length=length, ignore_eos=True).finish()
                assert found.ids == expected, f"draft length {length}, prompt {prompt!r}"
                assert found.stats.acceptance.drafted > 0
