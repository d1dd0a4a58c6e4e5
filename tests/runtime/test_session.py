"""Sessions: how a text is cut into passes, and that the caches always hold what the session says."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from paceline.runtime.null_device import NullProgram
from paceline.runtime.program import Step
from paceline.runtime.session import Session, next_width, next_width_of_reading, shared_prefix

CONTEXT = 40
widths = st.sets(st.integers(2, 64)).map(lambda more: (1, *sorted(more)))
sequences = st.lists(st.integers(0, 31), min_size=1, max_size=CONTEXT)


@given(widths=widths, position=st.integers(0, 90), remaining=st.integers(1, 100), slack=st.integers(0, 70))
def test_width_fits_and_prefers_one_pass(widths: tuple[int, ...], position: int, remaining: int, slack: int) -> None:
    context = position + remaining + slack
    width = next_width(remaining, position, widths, context)
    assert width in widths
    assert position + width <= context
    covering = [w for w in widths if w >= remaining and position + w <= context]
    assert width == (min(covering) if covering else max(w for w in widths if w <= remaining))


@given(widths=widths, position=st.integers(0, 90), remaining=st.integers(1, 100), slack=st.integers(0, 70))
def test_reading_in_more_passes_at_least_halves_the_tokens(
    widths: tuple[int, ...], position: int, remaining: int, slack: int
) -> None:
    context = position + remaining + slack
    plain, read = (_passes(f, remaining, position, widths, context) for f in (next_width, next_width_of_reading))
    if read != plain:
        # all that differs is the pass that was padding; each split halves what is left to compute
        same = len(plain) - 1
        assert read[:same] == plain[:same]
        assert 2 * sum(read[same:]) <= plain[-1]
        assert len(read[same:]) <= plain[-1].bit_length()


def _passes(
    choose: Callable[..., int], remaining: int, position: int, widths: tuple[int, ...], context: int
) -> list[int]:
    passes = []
    while remaining > 0:
        width = choose(remaining, position, widths, context)
        assert position + width <= context
        passes.append(width)
        remaining, position = remaining - width, position + width
    return passes


@pytest.mark.parametrize("remaining", [33, 45, 60, 63, 64])
def test_near_the_end_of_the_context_a_reading_is_one_pass(remaining: int) -> None:
    assert next_width_of_reading(remaining, 960, (1, 2, 4, 8, 16, 64), 1024) == 64


@pytest.mark.parametrize(
    ("remaining", "passes"),
    [(1, [1]), (3, [4]), (9, [16]), (17, [16, 1]), (18, [16, 2]), (32, [16, 16]), (33, [64]), (82, [64, 16, 2])],
)
def test_passes_of_a_reading(remaining: int, passes: list[int]) -> None:
    assert _passes(next_width_of_reading, remaining, 0, (1, 2, 4, 8, 16, 64), 1024) == passes


def test_a_verify_is_one_pass_however_much_is_padding() -> None:
    program = CountingProgram()
    program.widths = (1, 2, 32)
    session = Session(program)
    session.follow([7])
    session.follow([7, 1, 2, 3], rows=3)
    assert program.passes == [(0, 1), (1, 32)]


@given(first=st.lists(st.integers(0, 2)), second=st.lists(st.integers(0, 2)))
def test_shared_prefix(first: list[int], second: list[int]) -> None:
    shared = shared_prefix(first, second)
    assert first[:shared] == second[:shared]
    assert shared == min(len(first), len(second)) or first[shared] != second[shared]


@given(steps=st.lists(st.tuples(sequences, st.integers(0, 5)), min_size=1, max_size=6), seed=st.integers(0, 5))
def test_follow_gives_the_same_rows_however_it_got_there(steps: list[tuple[list[int], int]], seed: int) -> None:
    program = NullProgram(context=CONTEXT, seed=seed)
    session = Session(program)
    for sequence, rows in steps:
        rows = min(rows, len(sequence))
        step = session.follow(sequence, rows=rows, logits=True)
        assert session.position == len(sequence)
        assert len(step.ids) == rows
        for row in range(rows):
            prefix = np.array(sequence[: len(sequence) - rows + row + 1], np.int32)
            expected = program.logits_after(prefix)
            assert step.logits is not None
            np.testing.assert_array_equal(step.logits[row], expected)
            assert step.ids[row] == expected.argmax()


class CountingProgram(NullProgram):
    """Remembers the passes it was asked for."""

    def __init__(self) -> None:
        super().__init__(context=CONTEXT)
        self.passes: list[tuple[int, int]] = []
        self.firsts: list[int] = []

    def step(self, tokens: NDArray[np.int32], position: int, *, first: int = 0, logits: bool = False) -> Step:
        self.passes.append((position, len(tokens)))
        self.firsts.append(first)
        return super().step(tokens, position, first=first, logits=logits)


def test_only_what_is_new_is_computed() -> None:
    program = CountingProgram()
    session = Session(program)
    session.follow([1, 2, 3, 4, 5])
    session.follow([1, 2, 3, 9])
    session.follow([1, 2, 3, 9])
    assert program.passes == [(0, 8), (3, 1), (3, 1)]


def test_only_what_is_wanted_is_asked_for() -> None:
    program = CountingProgram()
    session = Session(program)
    session.follow(list(range(20)), rows=0)  # 16 and 4
    session.follow(list(range(30)), rows=3)  # 10, padded to 16: rows 7, 8, 9 are wanted
    session.follow([9] * 18, rows=3)  # 16 and 2: the rows lie in both passes
    assert program.passes == [(0, 16), (16, 4), (20, 16), (0, 16), (16, 2)]
    assert program.firsts == [16, 4, 7, 15, 0]


def test_full_cache_is_filled_by_smaller_passes() -> None:
    program = CountingProgram()
    Session(program).follow([number % program.vocabulary for number in range(CONTEXT)])
    assert program.passes == [(0, 16), (16, 16), (32, 8)]
    near = CountingProgram()
    session = Session(near)
    session.follow([0] * (CONTEXT - 3))
    near.passes.clear()
    session.follow([0] * CONTEXT, rows=3)
    assert near.passes == [(37, 2), (39, 1)]


def test_rewind_forgets() -> None:
    session = Session(NullProgram(context=CONTEXT))
    session.follow([1, 2, 3])
    session.rewind(1)
    assert session.position == 1
    assert session.shared([1, 2, 3]) == 1


def test_a_failed_pass_leaves_a_usable_session() -> None:
    class Failing(NullProgram):
        broken = True

        def step(self, tokens: NDArray[np.int32], position: int, *, first: int = 0, logits: bool = False) -> Step:
            step = super().step(tokens, position, first=first, logits=logits)
            if self.broken and position:
                raise KeyboardInterrupt
            return step

    program = Failing(context=CONTEXT)
    session = Session(program)
    text = list(range(20))
    with pytest.raises(KeyboardInterrupt):
        session.follow(text)
    program.broken = False
    assert session.follow(text).ids[0] == NullProgram(context=CONTEXT).logits_after(np.array(text)).argmax()
