"""Models that do not fit each other or their precision are refused before any compiler is started."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from paceline.compile.pair import candidates
from paceline.errors import UsageError


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_columns_that_do_not_fill_words_are_refused(tiny_package: Callable[..., Path], precision: str) -> None:
    package = tiny_package("llama", intermediate_size=130)
    assert len(candidates(package, "f32", None, "int8")) == 1
    with pytest.raises(UsageError, match=rf"130\) columns; {precision} needs multiples of 4"):
        candidates(package, precision, None, "int8")
