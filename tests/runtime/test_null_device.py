"""The null device: a function of the text, as a model is."""

from __future__ import annotations

import numpy as np
import pytest

from paceline.runtime.null_device import NullProgram


def test_null_program_is_a_function_of_the_text() -> None:
    text = np.array([3, 1, 4, 1, 5, 9, 2, 6], np.int32)
    whole = NullProgram(seed=1).step(text, 0, logits=True)
    single = NullProgram(seed=1)
    rows = [single.step(text[place : place + 1], place, logits=True) for place in range(8)]
    assert whole.logits is not None
    np.testing.assert_array_equal(whole.logits, np.concatenate([row.logits for row in rows if row.logits is not None]))
    np.testing.assert_array_equal(whole.ids, whole.logits.argmax(-1))
    assert not np.array_equal(whole.ids, NullProgram(seed=2).step(text, 0).ids)


def test_null_drafter_agrees_as_often_as_asked() -> None:
    target, drafter = NullProgram(vocabulary=1000), NullProgram(vocabulary=1000, agreement=0.7)
    prefixes = [np.array([a, b], np.int32) for a in range(30) for b in range(30)]
    agreed = sum(target.logits_after(text).argmax() == drafter.logits_after(text).argmax() for text in prefixes)
    # 900 draws: three standard deviations of sqrt(0.7 * 0.3 / 900).
    assert agreed / len(prefixes) == pytest.approx(0.7, abs=0.046)


def test_null_program_refuses_what_does_not_fit() -> None:
    program = NullProgram(widths=(1, 4), context=8)
    with pytest.raises(ValueError, match="do not fit"):
        program.step(np.zeros(4, np.int32), 5)
    with pytest.raises(ValueError, match="do not fit"):
        program.step(np.zeros(5, np.int32), 4)
    with pytest.raises(ValueError, match="2 tokens a pass"):
        program.step(np.zeros(2, np.int32), 0)
    for first in (-1, 5):
        with pytest.raises(ValueError, match=f"rows from {first} on"):
            program.step(np.zeros(4, np.int32), 0, first=first)


@pytest.mark.parametrize("first", range(5))
def test_only_the_wanted_rows_are_returned(first: int) -> None:
    text = np.array([3, 1, 4, 1], np.int32)
    whole, part = NullProgram().step(text, 0, logits=True), NullProgram().step(text, 0, first=first, logits=True)
    assert whole.logits is not None
    assert part.logits is not None
    np.testing.assert_array_equal(part.ids, whole.ids[first:])
    np.testing.assert_array_equal(part.logits, whole.logits[first:])
