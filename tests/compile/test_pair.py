"""Models that do not fit each other or their precision are refused before any compiler is started."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from paceline.compile.package import read_package
from paceline.compile.pair import candidates
from paceline.errors import UsageError


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_columns_that_do_not_fill_words_are_refused(tiny_package: Callable[..., Path], precision: str) -> None:
    package = tiny_package("llama", intermediate_size=130)
    assert len(candidates(package, "f32", None, "int8")) == 1
    with pytest.raises(UsageError, match=rf"130\) columns; {precision} needs multiples of 4"):
        candidates(package, precision, None, "int8")


def test_only_a_drafter_chooses_among_fewer_ids(tiny_package: Callable[..., Path]) -> None:
    package = tiny_package("llama")
    ids = read_package(package).spec.vocabulary
    target, drafter = candidates(package, "f32", package, "int8", 100)
    found = target.package.spec.draft_vocabulary, drafter.package.spec.draft_vocabulary
    assert (*found, drafter.same_as_target) == (0, 100, True)
    assert candidates(package, "f32", package, "int8", ids) == candidates(package, "f32", package, "int8")
    with pytest.raises(UsageError, match=f"{ids + 1} is not within the {ids} ids"):
        candidates(package, "f32", package, "int8", ids + 1)
    with pytest.raises(UsageError, match="draft vocabulary 100 needs a drafter in int8 or int4, not f16"):
        candidates(package, "f32", package, "f16", 100)
    with pytest.raises(UsageError, match="draft vocabulary 100 means nothing without a drafter"):
        candidates(package, "f32", None, "int8", 100)
