"""alpha and Omega come back from simulated histograms."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.costmodel import (
    Acceptance,
    AcceptanceFile,
    Moments,
    check_alpha,
    count_rounds,
    expected_tokens,
    independent,
    merge,
    nearest,
    read_acceptance,
)
from paceline.documents import write_json
from paceline.errors import ProfileError, UsageError

lengths = st.integers(0, 6)
rows = st.dictionaries(lengths, st.integers(0, 50)).map(
    lambda sizes: {g: tuple((g * 7 + k * n) % 11 for k in range(g + 1)) for g, n in sizes.items()}
)


def simulate(alpha: float, draft_length: int, rounds: int, *, seed: int = 0) -> Acceptance:
    source = random.Random(seed)

    def kept() -> int:
        return next((k for k in range(draft_length) if source.random() >= alpha), draft_length)

    return Acceptance(counts=count_rounds((draft_length, kept()) for _ in range(rounds)))


@pytest.mark.parametrize("alpha", [0.05, 0.3, 0.58, 0.9, 0.99])
@pytest.mark.parametrize("draft_length", [1, 4, 8])
def test_alpha_is_recovered(alpha: float, draft_length: int) -> None:
    measured = simulate(alpha, draft_length, 20_000)
    assert measured.alpha == pytest.approx(alpha, abs=0.02)
    assert measured.expected_tokens(draft_length) == pytest.approx(expected_tokens(alpha, draft_length), rel=0.03)


def test_the_plain_ratio_would_be_biased() -> None:
    measured = simulate(0.6, 8, 20_000)
    assert measured.accepted / measured.drafted < 0.25
    assert measured.alpha == pytest.approx(0.6, abs=0.02)


def test_histogram_by_hand() -> None:
    measured = Acceptance(counts={0: (5,), 2: (2, 1, 3), 3: (0, 0, 1, 3)})
    assert measured.rounds == 15
    assert measured.drafted == 6 * 2 + 4 * 3
    assert measured.accepted == 1 + 6 + 2 + 9
    assert measured.rejections == 2 + 1 + 1
    assert measured.alpha == 18 / 22
    assert measured.lengths(3) == pytest.approx((5 / 15, 0, 6 / 15, 4 / 15))
    assert measured.lengths(1) == pytest.approx((5 / 15, 10 / 15))
    # First draft: 8 of 10 rounds; second given the first: 7 of 8; third given two, where three were drafted: 3 of 4.
    assert measured.probabilities(3) == pytest.approx((0.8, 0.8 * 7 / 8, 0.8 * 7 / 8 * 3 / 4))
    # Nobody drafted a fourth: alpha stands in.
    assert measured.probabilities(4)[3] == pytest.approx(measured.probabilities(3)[2] * 18 / 22)
    assert measured.expected_tokens(1) == 1.8
    # Over all 15 rounds, short and missing drafts included: 8 kept a first, 7 a second, 3 a third.
    assert measured.shares(4) == (8 / 15, 7 / 15, 3 / 15, 0.0)


def test_dependent_drafts_are_not_taken_for_independent_ones() -> None:
    all_or_nothing = Acceptance(counts={4: (50, 0, 0, 0, 50)})
    assert all_or_nothing.alpha == 200 / 250
    assert all_or_nothing.probabilities(4) == (0.5, 0.5, 0.5, 0.5)
    assert all_or_nothing.expected_tokens(4) == 3.0 < expected_tokens(0.8, 4)


def test_nothing_drafted_has_no_alpha() -> None:
    empty = Acceptance(counts={0: (4,)})
    assert empty.alpha is None and empty.lengths(1) == (1.0, 0.0) and empty.shares(2) == (0.0, 0.0)
    assert Acceptance().lengths(1) == (0.0, 1.0) and Acceptance().shares(1) == (0.0,)
    with pytest.raises(ProfileError, match="holds no draft"):
        empty.probabilities(1)


@given(rows)
def test_probabilities_fall_and_stay_between_0_and_1(counts: dict[int, tuple[int, ...]]) -> None:
    measured = Acceptance(counts=counts)
    if measured.alpha is None:
        return
    chain = (1.0, *measured.probabilities(8))
    assert all(0.0 <= after <= before <= 1.0 for before, after in itertools.pairwise(chain))


@given(st.lists(rows, min_size=1, max_size=4))
def test_merging_adds_rounds_and_tokens(parts: list[dict[int, tuple[int, ...]]]) -> None:
    measured = [Acceptance(drafter="int8", target="f32", counts=counts) for counts in parts]
    total = merge(measured, task="sum")
    assert (total.task, total.drafter, total.target) == ("sum", "int8", "f32")
    for name in ("rounds", "drafted", "accepted", "rejections"):
        assert getattr(total, name) == sum(getattr(part, name) for part in measured)


def test_pairs_are_not_mixed() -> None:
    with pytest.raises(ProfileError, match="2 pairs"):
        merge([Acceptance(drafter="int8"), Acceptance(drafter="f32")])


@given(st.floats(0, 1), st.integers(0, 12))
def test_omega_is_the_closed_form(alpha: float, draft_length: int) -> None:
    omega = expected_tokens(alpha, draft_length)
    assert 1.0 <= omega <= draft_length + 1
    if alpha < 0.999:
        assert omega == pytest.approx((1 - alpha ** (draft_length + 1)) / (1 - alpha))


@pytest.mark.parametrize(("alpha", "omega"), [(0.0, 1.0), (1.0, 6.0), (0.5, 1.96875)])
def test_omega_at_the_ends(alpha: float, omega: float) -> None:
    assert expected_tokens(alpha, 5) == omega


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_impossible_alpha_is_refused(alpha: float) -> None:
    for use in (check_alpha, lambda value: expected_tokens(value, 2), lambda value: independent(value, 2)):
        with pytest.raises(UsageError, match=r"alpha is .*between 0 and 1"):
            use(alpha)


def test_negative_draft_length_is_refused() -> None:
    with pytest.raises(UsageError, match="draft length is -1"):
        expected_tokens(0.5, -1)


@pytest.mark.parametrize("text", ['{"counts": {"2": [1, 2]}}', '{"counts": {"1": [1, -2]}}', '{"tokens": 1}'])
def test_a_damaged_histogram_does_not_decode(text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=Acceptance)


def test_file_adds_tasks_of_one_drafter() -> None:
    parts = (
        Acceptance(task="code", drafter="int8", counts={2: (1, 0, 3)}),
        Acceptance(task="qa", drafter="int8", counts={2: (2, 2, 0)}),
        Acceptance(task="qa", drafter="ngram", counts={0: (9,)}),
    )
    file = AcceptanceFile(bundle="digest", histograms=parts)
    assert msgspec.json.decode(msgspec.json.encode(file), type=AcceptanceFile) == file
    (total,) = file.of("int8")
    assert total.counts == {2: (3, 2, 3)}
    assert [part.counts for part in file.of("int8", task="qa")] == [{2: (2, 2, 0)}]
    assert file.of("ngram") == () and file.of("f16") == ()


def test_histograms_of_each_asked_length_stay_apart() -> None:
    parts = [
        Acceptance(task=task, drafter="int8", asked=asked, counts={asked: (1, *(0,) * (asked - 1), 3)})
        for task in ("code", "qa")
        for asked in (2, 5)
    ]
    two, five = AcceptanceFile(bundle="digest", histograms=tuple(parts)).of("int8")
    assert (two.asked, two.counts) == (2, {2: (2, 0, 6)})
    assert (five.asked, five.counts) == (5, {5: (2, 0, 0, 0, 0, 6)})
    assert [nearest((two, five), length).asked for length in (1, 2, 3, 5, 8)] == [2, 2, 5, 5, 5]
    assert merge([two, five]).asked == 0


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(0, 90)), min_size=2, max_size=12))
def test_the_half_width_is_that_of_a_ratio_over_texts(texts: list[tuple[int, int]]) -> None:
    parts = [
        Acceptance(
            counts={90: tuple(int(k == kept) for k in range(91)), 0: (rounds - 1,)},
            moments=Moments(
                texts=1,
                rounds_squared=rounds**2,
                rounds_tokens=rounds * (rounds + kept),
                tokens_squared=(rounds + kept) ** 2,
            ),
        )
        for rounds, kept in texts
    ]
    total = merge(parts)
    r = np.array([rounds for rounds, _ in texts], float)
    t = r + np.array([kept for _, kept in texts])
    ratio, n = t.sum() / r.sum(), len(texts)
    residual = (t - ratio * r).var() * n / (n - 1)
    assert total.tokens_per_round == pytest.approx(ratio)
    assert total.half_width == pytest.approx(1.96 * np.sqrt(n * residual) / r.sum(), rel=1e-6, abs=1e-6)
    assert parts[0].half_width is None and Acceptance().half_width is None


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(5)

    def measured() -> Acceptance:
        parts = []
        for _ in range(30):
            kept = np.minimum(random.geometric(1 - random.uniform(0.5, 0.9), 20) - 1, 4)
            tokens = int(kept.sum()) + 20
            moments = Moments(texts=1, rounds_squared=400, rounds_tokens=20 * tokens, tokens_squared=tokens**2)
            parts.append(Acceptance(asked=4, moments=moments, counts=count_rounds((4, int(k)) for k in kept)))
        return merge(parts)

    samples = [measured() for _ in range(300)]
    found = np.array([sample.tokens_per_round or 0.0 for sample in samples])
    widths = np.array([sample.half_width or 0.0 for sample in samples])
    held = np.mean(np.abs(found - found.mean()) <= widths)
    assert 0.91 <= held <= 0.98


def test_acceptance_file_is_bound_to_its_bundle(tmp_path: Path) -> None:
    path = tmp_path / "acceptance.json"
    with pytest.raises(ProfileError, match=r"acceptance\.json is missing; measure it with 'paceline acceptance'"):
        read_acceptance(path)
    file = AcceptanceFile(bundle="digest", histograms=(Acceptance(drafter="int8", counts={1: (2, 3)}),))
    write_json(path, file)
    assert read_acceptance(path) == read_acceptance(path, bundle="digest") == file
    with pytest.raises(ProfileError, match="other programs or weights"):
        read_acceptance(path, bundle="another")
    path.write_text('{"schema": 1, "histogram": []}')
    with pytest.raises(
        ProfileError, match="has schema 1, expected 2; measure it with 'paceline acceptance', or give --alpha"
    ):
        read_acceptance(path)


@pytest.mark.parametrize("field", ['"asked": -1', '"moments": {"texts": -1}', '"counts": {"1": [2]}'])
def test_what_nobody_counts_is_damage(tmp_path: Path, field: str) -> None:
    path = tmp_path / "acceptance.json"
    path.write_text(f'{{"schema": 2, "bundle": "", "histograms": [{{"schema": 2, {field}}}]}}')
    with pytest.raises(ProfileError, match=r"is not a valid AcceptanceFile: .*; measure it with"):
        read_acceptance(path)


def test_drafters_are_those_of_which_a_draft_was_judged() -> None:
    none, some = Acceptance(drafter="ngram", counts={0: (4,)}), Acceptance(drafter="int8", counts={1: (2, 3)})
    assert AcceptanceFile(bundle="", histograms=(none, some)).drafters == ("int8",)


def test_rounds_are_counted_from_pairs_or_a_counter() -> None:
    pairs = [(2, 0), (2, 2), (0, 0), (2, 2)]
    assert count_rounds(pairs) == count_rounds(Counter(pairs)) == {0: (1,), 2: (1, 0, 2)}
