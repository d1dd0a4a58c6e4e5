"""What fading counts add up to, and what they make one expect."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.runtime.evidence import MEMORY, TRUST, Evidence, Learnt, conditional


@given(
    rounds=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)).map(sorted), max_size=30),
    memory=st.sampled_from([2, 16, 256]),
)
def test_evidence_is_the_sum_of_fading_rounds(rounds: list[list[int]], memory: int) -> None:
    prior = [0.5, 0.6, 0.7]
    evidence = Evidence.of(prior, [8.0] * 3, memory)
    for accepted, drafted in rounds:
        evidence.add(drafted, accepted)
    fading = 1 - 1 / memory
    for k in range(3):
        ages = [(fading ** (len(rounds) - 1 - at), pair) for at, pair in enumerate(rounds)]
        judged = sum(weight for weight, (accepted, drafted) in ages if drafted > k and accepted >= k)
        kept = sum(weight for weight, (accepted, drafted) in ages if accepted > k)
        old = 8.0 * fading ** len(rounds)
        assert evidence.judged[k] == pytest.approx(old + judged)
        assert evidence.kept[k] == pytest.approx(old * prior[k] + kept)
    assert all(0.0 <= chance <= 1.0 for chance in evidence.chances())


@given(chances=st.lists(st.floats(0.0, 1.0), min_size=1, max_size=9), weight=st.floats(0.1, 50.0))
def test_a_draft_is_expected_to_do_as_its_own_rounds_and_as_the_draft_before(
    chances: list[float], weight: float
) -> None:
    found = Evidence.of(chances, [weight] * len(chances), MEMORY).chances()
    assert found[0] == pytest.approx(chances[0])
    for before, own, both in zip(found, chances[1:], found[1:], strict=False):
        assert both == pytest.approx((TRUST * before + weight * own) / (TRUST + weight))


def test_a_text_begins_with_what_all_texts_have_shown() -> None:
    learnt = Learnt([0.9, 0.9])
    assert learnt.chances() == pytest.approx([0.9, 0.9])
    for _ in range(100):
        learnt.add(2, 0)
    assert learnt.chances()[0] < 0.01
    learnt.begin()
    assert 0.01 < learnt.chances()[0] < 0.1  # all texts still remember the plan


def test_chances_of_a_chain() -> None:
    assert conditional((0.8, 0.4, 0.4)) == pytest.approx([0.8, 0.5, 1.0])
    assert conditional((0.8, 0.0, 0.0)) == [0.8, 0.0, 0.0]
    assert conditional((0.0, 0.0)) == [0.0, 0.0]
