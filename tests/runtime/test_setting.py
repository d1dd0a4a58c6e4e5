"""Cores for each model, and when the drafter goes on while the target verifies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paceline.errors import UsageError
from paceline.partition import Mapping, read_bundle
from paceline.runtime.setting import Setting, choose_setting

BOTH = Mapping(target="cpu", drafter="cpu")
PINS = {"drafter": (0,), "target": (1, 2)}


def chosen(folder: Path, **options: Any) -> Setting:
    return choose_setting(read_bundle(folder), None, **options)


def test_models_with_cores_of_their_own_may_overlap(null_bundle: Callable[..., Path]) -> None:
    setting = chosen(null_bundle(), mapping=BOTH, pins=PINS, overlap=True)
    assert str(setting.mapping) == "target=cpu@1-2,drafter=cpu@0"
    assert setting.overlap and not setting.adaptive
    assert setting.places == {"target": "cpu@1-2", "drafter": "cpu@0"}


def test_two_units_may_overlap_and_do_not_unless_asked(null_bundle: Callable[..., Path]) -> None:
    folder, mapping = null_bundle(), Mapping(target="cpu", drafter="gpu")
    assert not chosen(folder, mapping=mapping).overlap
    assert chosen(folder, mapping=mapping, overlap=True).overlap


@pytest.mark.parametrize(
    "options",
    [
        {"mapping": BOTH},
        {"mapping": BOTH, "pins": {"drafter": (0,)}},
        {"mapping": Mapping(target="cpu", drafter="ngram"), "pins": {"target": (0,)}},
        {"mapping": Mapping(target="cpu")},
    ],
)
def test_one_processor_overlaps_with_nobody(null_bundle: Callable[..., Path], options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"only those can overlap.*--pin drafter=0,target=1"):
        chosen(null_bundle(), **options, overlap=True)


@pytest.mark.parametrize(
    ("mapping", "role"),
    [
        (Mapping(target="cpu", drafter="gpu"), "drafter"),
        (Mapping(target="cpu", drafter="ngram"), "drafter"),
        (Mapping(target="gpu"), "target"),
    ],
)
def test_cores_for_a_model_that_has_none(null_bundle: Callable[..., Path], mapping: Mapping, role: str) -> None:
    with pytest.raises(UsageError, match=f"cores are given to the {role}"):
        chosen(null_bundle(), mapping=mapping, pins={role: (0,)})
