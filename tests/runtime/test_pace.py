"""Adaptive draft lengths against brute force, and against fixed ones in simulated seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from paceline.partition.plan import Pacing
from paceline.runtime.pace import BUDGET, MEMORY, TRUST, AdaptivePace, Evidence, FixedPace, Pace

LONGEST, TOKENS, PROMPT = 8, 64, 60
WIDTHS = (1, 2, 4, 8, 16)
# Seconds in passes of the target: a draft of the drafter, each further row of the target's pass, the host's round.
CHEAP, USUAL, STEEP, DEAR = (0.1, 0.05, 0.0), (0.3, 0.05, 0.0), (0.3, 0.15, 0.02), (0.5, 0.03, 0.0)
COSTS = [CHEAP, USUAL, STEEP, DEAR]


def pacing_of(costs: tuple[float, float, float], alpha: float, read: float = 0.02) -> Pacing:
    draft, row, host = costs
    widths = [min(width for width in WIDTHS if width > length) for length in range(LONGEST + 1)]
    rounds = [1.0] + [n * draft + 1.0 + row * (widths[n] - 1) + host for n in range(1, LONGEST + 1)]
    chain = tuple(alpha**k for k in range(1, LONGEST + 1))
    return Pacing(round_seconds=tuple(rounds), chain=chain, read_seconds=read)


def agreements(random: np.random.Generator, share: float, *, lasting: float = 0.0, tokens: int = TOKENS) -> list[bool]:
    """Whether the drafter would say each token of a text: a Markov chain of mean ``share``."""
    found = [bool(random.random() < share)]
    while len(found) < tokens + LONGEST:
        found.append(bool(random.random() < lasting * found[-1] + (1 - lasting) * share))
    return found


@dataclass
class Played:
    """Seconds of a text's rounds, of the drafter's reading of its prompt before them, and the lengths drafted."""

    seconds: float
    prompt: float
    lengths: list[int]

    @property
    def total(self) -> float:
        return self.seconds + self.prompt


def play(pace: Pace, text: Sequence[bool], costs: Pacing, *, tokens: int = TOKENS, prompt: int = PROMPT) -> Played:
    """What the loop does, in seconds of the cost model."""
    pace.begin()
    at, unread, played = 1, prompt, Played(0.0, 0.0, [])
    while at < tokens:
        room = tokens - at
        length = min(pace.next(unread=unread, room=room), room - 1)
        accepted = next(k for k in range(length + 1) if k == length or not text[at + k])
        played.seconds += costs.round_seconds[length]
        reading = costs.read_seconds * unread if length else 0.0
        if at == 1:
            played.prompt += reading
        else:
            played.seconds += reading
        unread = 0 if length else unread + 1
        pace.observe(length, accepted)
        played.lengths.append(length)
        at += accepted + 1
    return played


def best_fixed(texts: Sequence[Sequence[bool]], costs: Pacing) -> float:
    """Seconds of all texts' rounds with the length that was best for them all, in hindsight."""
    return min(sum(play(FixedPace(n), text, costs).seconds for text in texts) for n in range(LONGEST + 1))


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


@given(
    seconds=st.lists(st.floats(0.1, 5.0), min_size=2, max_size=9),
    alpha=st.floats(0.0, 1.0),
)
def test_the_first_round_is_the_best_of_what_the_plan_says(seconds: list[float], alpha: float) -> None:
    chain = tuple(alpha**k for k in range(1, len(seconds)))
    pace = AdaptivePace(Pacing(round_seconds=tuple(seconds), chain=chain))
    found = pace.next(unread=0, room=1)
    each = [cost / (1 + sum(chain[:length])) for length, cost in enumerate(seconds)]
    assert each[found] == pytest.approx(min(each))


@pytest.mark.parametrize("costs", COSTS)
@pytest.mark.parametrize("share", [0.0, 0.02, 0.1])
@pytest.mark.parametrize("read", [0.0, 0.02, 0.1])
def test_a_bad_drafter_costs_less_than_3_per_cent(costs: tuple[float, float, float], share: float, read: float) -> None:
    random, pacing = np.random.default_rng(1), pacing_of(costs, 0.8, read)
    texts = [agreements(random, share) for _ in range(10)]
    pace = AdaptivePace(pacing)
    played = [play(pace, text, pacing) for text in texts]
    plain = len(texts) * (TOKENS - 1)
    # What the drafter read before the first round counts here as well, though no rate of tokens includes it.
    assert plain / sum(one.total for one in played) >= 0.97
    assert np.median([(TOKENS - 1) / one.total for one in played]) >= 0.97
    assert max(played[0].lengths) > 0


@pytest.mark.parametrize("costs", COSTS)
@pytest.mark.parametrize("lasting", [0.0, 0.4])
@pytest.mark.parametrize("share", [0.7, 0.8, 0.9, 0.97])
@pytest.mark.parametrize("alpha", [0.7, 0.95])
def test_a_good_drafter_is_used_as_well_as_with_the_best_fixed_length(
    costs: tuple[float, float, float], lasting: float, share: float, alpha: float
) -> None:
    random, pacing = np.random.default_rng(2), pacing_of(costs, alpha)
    texts = [agreements(random, share, lasting=lasting) for _ in range(60)]
    pace = AdaptivePace(pacing)
    assert best_fixed(texts, pacing) / sum(play(pace, text, pacing).seconds for text in texts) >= 0.97


def test_texts_of_two_kinds_are_drafted_as_each_deserves() -> None:
    random, pacing = np.random.default_rng(3), pacing_of(USUAL, 0.8)
    texts = [agreements(random, (0.1, 0.95)[number // 5 % 2]) for number in range(40)]
    pace = AdaptivePace(pacing)
    assert best_fixed(texts, pacing) / sum(play(pace, text, pacing).seconds for text in texts) > 1.05


@pytest.mark.parametrize("read", [0.0, 0.02])
def test_a_drafter_that_becomes_good_is_found_again(read: float) -> None:
    random, pacing = np.random.default_rng(4), pacing_of(USUAL, 0.8, read)
    pace = AdaptivePace(pacing)
    bad = [play(pace, agreements(random, 0.0), pacing) for _ in range(10)]
    good = [play(pace, agreements(random, 0.95), pacing) for _ in range(20)]
    assert sum(map(bool, bad[-1].lengths)) < 5
    assert np.mean(good[-1].lengths) > 3


@pytest.mark.parametrize("read", [0.0, 0.02])
def test_within_a_text_drafting_stops_and_starts_again(read: float) -> None:
    random, pacing = np.random.default_rng(5), pacing_of(CHEAP, 0.8, read)
    pace = AdaptivePace(pacing)
    for _ in range(10):
        play(pace, agreements(random, 0.9), pacing)
    parts = [agreements(random, share, tokens=200 - LONGEST) for share in (0.95, 0.0, 0.95)]
    played = play(pace, [*parts[0], *parts[1], *parts[2]], pacing, tokens=590)
    assert np.mean(played.lengths[:10]) > 3
    assert np.mean([length == 0 for length in played.lengths]) > 0.5
    assert np.mean(played.lengths[-10:]) > 3


def test_probes_of_a_bad_drafter_stay_within_their_budget() -> None:
    pacing = pacing_of(USUAL, 0.8, read=0.0)
    pace = AdaptivePace(pacing)
    text = [False] * (4000 + LONGEST)
    lengths = play(pace, text, pacing, tokens=4000).lengths
    probes = [at for at, length in enumerate(lengths) if length][20:]
    assert probes, "it never tries again"
    waits = np.diff(probes)
    assert waits.min() >= MEMORY
    extra = sum(pacing.round_seconds[length] - 1.0 for length in lengths)
    assert extra <= BUDGET * len(lengths) + 10


def test_rounds_that_draft_nothing_are_no_evidence() -> None:
    pace = AdaptivePace(pacing_of(USUAL, 0.8))
    before = pace.next(unread=0, room=50)
    for _ in range(100):
        pace.observe(0, 0)
    assert pace.next(unread=0, room=50) == before > 0


def test_a_text_too_short_to_make_up_for_the_reading_is_not_drafted() -> None:
    pacing = pacing_of(USUAL, 0.9, read=0.1)
    pace = AdaptivePace(pacing)
    tokens = 1 + sum(pacing.chain[:3])
    gain = 1.0 - pacing.round_seconds[3] / tokens
    room = int(0.1 * 500 / gain)
    assert pace.next(unread=500, room=room) == 0
    assert pace.next(unread=500, room=room + 2) > 0
    assert pace.next(unread=0, room=1) > 0


def test_nothing_is_drafted_where_no_draft_can_pay() -> None:
    pacing = Pacing(round_seconds=(1.0, 2.1, 3.2), chain=(1.0, 1.0))
    pace = AdaptivePace(pacing)
    assert play(pace, [True] * 500, pacing, tokens=400).lengths == [0] * 399


def test_a_chain_that_ends_is_read() -> None:
    pace = AdaptivePace(Pacing(round_seconds=(1.0, 1.1, 1.2), chain=(0.0, 0.0)))
    assert pace.next(unread=0, room=50) == 0


def test_two_texts_may_share_a_pace_in_turns() -> None:
    pacing = pacing_of(USUAL, 0.8)
    pace, random = AdaptivePace(pacing), np.random.default_rng(6)
    pace.begin()
    pace.begin()
    kept: NDArray[np.bool_] = random.random((40, LONGEST)) < 0.9
    for row in kept:
        first, second = (pace.next(unread=0, room=50) for _ in range(2))
        for length in (second, first):
            pace.observe(length, next(k for k in range(length + 1) if k == length or not row[k]))
    assert pace.next(unread=0, room=50) > 0


def test_fixed_pace() -> None:
    pace = FixedPace(3)
    pace.begin()
    pace.observe(3, 0)
    assert pace.next(unread=1000, room=1) == 3
