"""The paper's tables: verdicts, what they are derived from, and that the page in the repository is what is printed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from paceline.costmodel import paper_speedup
from paceline.costmodel.known_models import find_model
from paper_2602_08060 import __main__ as page
from paper_2602_08060.board import Board
from paper_2602_08060.published import (
    ALPHA_HIGH,
    ALPHA_MEDIAN,
    CORES,
    TABLE_II,
    best_length,
    checks,
    implied_c,
    largest_c,
)

README = Path(page.__file__).with_name("README.md")
alphas, costs, gammas = st.floats(0.01, 0.99), st.floats(0.01, 2), st.integers(1, 8)


@pytest.fixture(scope="module")
def paper() -> Board:
    return Board(target=find_model("llama-3.2-3b"), drafter=find_model("llama-3.2-1b"), cached=False)


@pytest.fixture(scope="module")
def cached() -> Board:
    return Board(target=find_model("llama-3.2-3b"), drafter=find_model("llama-3.2-1b"), cached=True)


def test_what_eq1_reproduces() -> None:
    verdicts = [check.verdict for check in checks()]
    assert verdicts[:3] == ["not reproduced", "value yes, draft length no", "draft length yes, value +0.9 %"]
    assert verdicts[3:] == ["reproduced"] * 5
    assert [round(check.ours, 3) for check in checks()[:3]] == [1.536, 1.680, 1.695]


def test_no_c_makes_the_headline_the_best_choice() -> None:
    c = largest_c(ALPHA_HIGH, 5)
    assert best_length(ALPHA_HIGH, c - 1e-6) == 5 and best_length(ALPHA_HIGH, c + 1e-6) == 4
    assert paper_speedup(ALPHA_HIGH, 5, c) > TABLE_II[0].speedup + 0.05


@given(alphas, gammas, costs)
def test_implied_c_is_the_inverse_of_eq1(alpha: float, gamma: int, c: float) -> None:
    assert implied_c(alpha, gamma, paper_speedup(alpha, gamma, c)) == pytest.approx(c, abs=1e-9)


@given(alphas, gammas, costs)
def test_largest_c_separates_neighbours(alpha: float, gamma: int, c: float) -> None:
    limit = largest_c(alpha, gamma)
    assume(abs(c - limit) > 1e-6)
    longer, shorter = (paper_speedup(alpha, length, c) for length in (gamma, gamma - 1))
    assume(abs(longer - shorter) > 1e-12)
    assert (longer > shorter) == (c < limit)


def test_c_above_one_from_three_cores_on(paper: Board) -> None:
    assert [paper.c(True, cores) > 1 for cores in CORES] == [False, False, True, True, True, True]
    assert paper.c(False, 1) == pytest.approx(paper.c(False, 6), rel=0.01)


def test_without_a_cache_the_round_is_nearly_eq1(paper: Board) -> None:
    ours = paper.round(True, 1, 5, ALPHA_HIGH).speedup
    assert 0.9 < ours / paper_speedup(ALPHA_HIGH, 5, paper.c(True, 1)) < 1.0


def test_a_cache_turns_the_decision_on_one_core(paper: Board, cached: Board) -> None:
    assert paper.best(1, ALPHA_HIGH).gpu
    assert cached.best(1, ALPHA_HIGH).gamma == 0
    assert paper.target_pass(1, 1) > 20 * cached.target_pass(1, 1)


def test_nobody_speculates_at_the_median(paper: Board, cached: Board) -> None:
    assert {board.best(cores, ALPHA_MEDIAN).gamma for board in (paper, cached) for cores in CORES} == {0}


def test_the_page_in_the_repository_is_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    page.main()

    def lines(text: str) -> set[str]:
        plain = (re.sub(r"\s+|\*\*", " ", line) for line in text.splitlines() if line.startswith("| "))
        return {re.sub(r" +", " ", line).strip() for line in plain if "---" not in line}

    # Table III is one sentence there.
    printed = re.sub(r"## Table III.*?(?=\n## )", "", capsys.readouterr().out, flags=re.DOTALL)
    assert lines(printed) <= lines(README.read_text())
