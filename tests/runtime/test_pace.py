"""Adaptive draft lengths against brute force, and against fixed ones in simulated seconds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from paceline.costmodel import Slowdown, overlapped_round
from paceline.costmodel.overlap import beside
from paceline.partition.plan import Beside, Pacing
from paceline.runtime.evidence import MEMORY
from paceline.runtime.pace import BUDGET, AdaptivePace, FixedPace, Pace

LONGEST, TOKENS, PROMPT = 8, 64, 60
WIDTHS = (1, 2, 4, 8, 16)
# Seconds in passes of the target: a draft of the drafter, each further row of the target's pass, the host's round.
CHEAP, USUAL, STEEP, DEAR = (0.1, 0.05, 0.0), (0.3, 0.05, 0.0), (0.3, 0.15, 0.02), (0.5, 0.03, 0.0)
COSTS = [CHEAP, USUAL, STEEP, DEAR]
SLOW = (0.95, 0.03, 0.0)  # pays beside the target only, and only if nearly all guesses come true


@dataclass(frozen=True)
class Machine:
    """One processor, on which drafter and target take turns, or two that slow each other: a simulated clock."""

    costs: tuple[float, float, float]
    slowdown: Slowdown | None = None

    def verify(self, width: int) -> float:
        return 1.0 + self.costs[1] * (min(compiled for compiled in WIDTHS if compiled >= width) - 1)

    def round(self, drafted: int, *, ready: bool = False, ahead: int = 0, hit: bool = False) -> float:
        """Seconds from the verdict before to this one's, or until ``ahead`` drafts after a hit are made."""
        draft, _, host = self.costs
        before = 0.0 if ready else drafted * draft
        if not ahead or self.slowdown is None:
            return before + self.verify(drafted + 1) + (host if drafted else 0.0)
        verified, made = beside(self.verify(drafted + 1), (ahead + 1) * draft, self.slowdown)
        one = draft * self.slowdown.drafter
        under_way = (math.ceil(verified / one) * one - verified) / self.slowdown.drafter if made > verified else 0.0
        return before + (max(verified, made) if hit else verified + under_way) + host

    def pacing(self, alpha: float, read: float = 0.02) -> Pacing:
        """As a plan has it."""
        chain = tuple(alpha**k for k in range(1, LONGEST + 1))
        if self.slowdown is None:
            rounds = tuple(self.round(length) for length in range(LONGEST + 1))
            return Pacing(round_seconds=rounds, chain=chain, read_seconds=read)
        return Pacing(
            round_seconds=self._all_at(0.0),
            chain=chain,
            read_seconds=read,
            beside=Beside(
                hit_seconds=self._all_at(1.0),
                wait_seconds=tuple(length * self.costs[0] for length in range(LONGEST + 1)),
                guess=alpha,
            ),
        )

    def _all_at(self, chance: float) -> tuple[float, ...]:
        rounds = (
            overlapped_round(
                drafter=lambda width: self.costs[0],
                target=self.verify,
                probabilities=[chance] * (length + 1),
                slowdown=self.slowdown or Slowdown(),
                host=self.costs[2],
            )
            for length in range(1, LONGEST + 1)
        )
        return (1.0, *(costs.seconds for costs in rounds))


TURNS = [Machine(costs) for costs in COSTS]
BESIDE = [Machine(USUAL, Slowdown()), *(Machine(costs, Slowdown(1.1, 1.2)) for costs in COSTS)]


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


def play(
    pace: Pace,
    text: Sequence[bool],
    machine: Machine,
    *,
    read: float = 0.02,
    tokens: int = TOKENS,
    prompt: int = PROMPT,
) -> Played:
    """What the loop does, by the simulated clock."""
    pace.begin()
    at, unread, ready, played = 1, prompt, 0, Played(0.0, 0.0, [])
    while at < tokens:
        room = tokens - at
        wanted = pace.next(unread=unread, room=room)
        length = min(wanted, room - 1)
        drafted = min(length, ready) if ready else length
        accepted = next(k for k in range(drafted + 1) if k == drafted or not text[at + k])
        ahead = max(0, min(wanted, room - drafted - 2)) if machine.slowdown else 0
        hit = accepted == drafted and text[at + drafted] if ahead else None
        played.seconds += machine.round(drafted, ready=drafted > 0 and ready > 0, ahead=ahead, hit=bool(hit))
        reading = read * unread if length else 0.0
        if at == 1:
            played.prompt += reading
        else:
            played.seconds += reading
        unread = 0 if length else unread + 1
        pace.observe(drafted, accepted, hit=hit)
        ready = ahead if hit else 0
        played.lengths.append(drafted)
        at += accepted + 1
    return played


def best_fixed(texts: Sequence[Sequence[bool]], machine: Machine) -> float:
    """Seconds of all texts' rounds with the length that was best for them all, in hindsight."""
    return min(sum(play(FixedPace(n), text, machine).seconds for text in texts) for n in range(LONGEST + 1))


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


@pytest.mark.parametrize("machine", [*TURNS, *BESIDE])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.1])
@pytest.mark.parametrize("read", [0.0, 0.02, 0.1])
def test_a_bad_drafter_costs_less_than_3_per_cent(machine: Machine, share: float, read: float) -> None:
    random, pace = np.random.default_rng(1), AdaptivePace(machine.pacing(0.8, read))
    texts = [agreements(random, share) for _ in range(10)]
    played = [play(pace, text, machine, read=read) for text in texts]
    plain = len(texts) * (TOKENS - 1)
    # What the drafter read before the first round counts here as well, though no rate of tokens includes it.
    assert plain / sum(one.total for one in played) >= 0.97
    assert np.median([(TOKENS - 1) / one.total for one in played]) >= 0.97
    assert max(played[0].lengths) > 0


@pytest.mark.parametrize("machine", [*TURNS, *BESIDE])
@pytest.mark.parametrize("lasting", [0.0, 0.4])
@pytest.mark.parametrize("share", [0.7, 0.8, 0.9, 0.97])
@pytest.mark.parametrize("alpha", [0.7, 0.95])
def test_a_good_drafter_is_used_as_well_as_with_the_best_fixed_length(
    machine: Machine, lasting: float, share: float, alpha: float
) -> None:
    random, pace = np.random.default_rng(2), AdaptivePace(machine.pacing(alpha))
    texts = [agreements(random, share, lasting=lasting) for _ in range(60)]
    assert best_fixed(texts, machine) / sum(play(pace, text, machine).seconds for text in texts) >= 0.97


EITHER = pytest.mark.parametrize("slowdown", [None, Slowdown(), Slowdown(1.1, 1.2)])


@EITHER
def test_texts_of_two_kinds_are_drafted_as_each_deserves(slowdown: Slowdown | None) -> None:
    random, machine = np.random.default_rng(3), Machine(USUAL, slowdown)
    texts = [agreements(random, (0.1, 0.95)[number // 5 % 2]) for number in range(40)]
    pace = AdaptivePace(machine.pacing(0.8))
    assert best_fixed(texts, machine) / sum(play(pace, text, machine).seconds for text in texts) > 1.05


@EITHER
@pytest.mark.parametrize("read", [0.0, 0.02])
def test_a_drafter_that_becomes_good_is_found_again(slowdown: Slowdown | None, read: float) -> None:
    random, machine = np.random.default_rng(4), Machine(USUAL, slowdown)
    pace = AdaptivePace(machine.pacing(0.8, read))
    bad = [play(pace, agreements(random, 0.0), machine, read=read) for _ in range(10)]
    good = [play(pace, agreements(random, 0.95), machine, read=read) for _ in range(20)]
    assert sum(map(bool, bad[-1].lengths)) < 5
    assert np.mean(good[-1].lengths) > 2.5


@EITHER
@pytest.mark.parametrize("read", [0.0, 0.02])
def test_within_a_text_drafting_stops_and_starts_again(slowdown: Slowdown | None, read: float) -> None:
    random, machine = np.random.default_rng(5), Machine(CHEAP, slowdown)
    pace = AdaptivePace(machine.pacing(0.8, read))
    for _ in range(10):
        play(pace, agreements(random, 0.9), machine, read=read)
    parts = [agreements(random, share, tokens=200 - LONGEST) for share in (0.95, 0.0, 0.95)]
    played = play(pace, [*parts[0], *parts[1], *parts[2]], machine, read=read, tokens=590)
    assert np.mean(played.lengths[:10]) > 3
    assert np.mean([length == 0 for length in played.lengths]) > 0.5
    assert np.mean(played.lengths[-10:]) > 3


@EITHER
def test_probes_of_a_bad_drafter_stay_within_their_budget(slowdown: Slowdown | None) -> None:
    machine = Machine(USUAL, slowdown)
    text = [False] * (4000 + LONGEST)
    played = play(AdaptivePace(machine.pacing(0.8, read=0.0)), text, machine, read=0.0, tokens=4000)
    lengths = played.lengths
    probes = [at for at, length in enumerate(lengths) if length][20:]
    assert probes, "it never tries again"
    waits = np.diff(probes)
    assert waits.min() >= MEMORY
    assert played.seconds - len(lengths) <= BUDGET * len(lengths) + 10


def test_rounds_that_draft_nothing_are_no_evidence() -> None:
    pace = AdaptivePace(Machine(USUAL).pacing(0.8))
    before = pace.next(unread=0, room=50)
    for _ in range(100):
        pace.observe(0, 0)
    assert pace.next(unread=0, room=50) == before > 0


def test_a_text_too_short_to_make_up_for_the_reading_is_not_drafted() -> None:
    pacing = Machine(USUAL).pacing(0.9, read=0.1)
    pace = AdaptivePace(pacing)
    tokens = 1 + sum(pacing.chain[:3])
    gain = 1.0 - pacing.round_seconds[3] / tokens
    room = int(0.1 * 500 / gain)
    assert pace.next(unread=500, room=room) == 0
    assert pace.next(unread=500, room=room + 2) > 0
    assert pace.next(unread=0, room=1) > 0


def test_nothing_is_drafted_where_no_draft_can_pay() -> None:
    hopeless = Machine((1.1, 0.0, 0.0))
    pace = AdaptivePace(hopeless.pacing(1.0))
    assert play(pace, [True] * 500, hopeless, tokens=400).lengths == [0] * 399


def test_a_chain_that_ends_is_read() -> None:
    pace = AdaptivePace(Pacing(round_seconds=(1.0, 1.1, 1.2), chain=(0.0, 0.0)))
    assert pace.next(unread=0, room=50) == 0


def test_two_texts_may_share_a_pace_in_turns() -> None:
    pace, random = AdaptivePace(Machine(USUAL).pacing(0.8)), np.random.default_rng(6)
    pace.begin()
    pace.begin()
    kept: NDArray[np.bool_] = random.random((40, LONGEST)) < 0.9
    for row in kept:
        first, second = (pace.next(unread=0, room=50) for _ in range(2))
        for length in (second, first):
            pace.observe(length, next(k for k in range(length + 1) if k == length or not row[k]))
    assert pace.next(unread=0, room=50) > 0


@given(guess=st.floats(0.0, 1.0), draft=st.floats(0.05, 1.5), seed=st.integers(0, 1000))
def test_what_rounds_beside_the_target_are_booked_with_is_what_they_take(guess: float, draft: float, seed: int) -> None:
    machine, random, ready = Machine((draft, 0.05, 0.02), Slowdown(1.1, 1.3)), np.random.default_rng(seed), False
    pace = AdaptivePace(machine.pacing(0.8))
    for _ in range(20):
        length = int(random.integers(0, LONGEST))
        hit = bool(length and random.random() < guess)
        taken = machine.round(length, ready=ready and length > 0, ahead=length, hit=hit)
        assert pace._seconds(length, hit=hit) == pytest.approx(taken)
        pace.observe(length, length, hit=hit if length else None)
        ready = hit


@pytest.mark.parametrize("alpha", [0.5, 0.9])
def test_beside_the_target_the_first_length_is_the_best_of_the_overlapped_rounds(alpha: float) -> None:
    machine = Machine(DEAR, Slowdown(1.1, 1.2))
    found = AdaptivePace(machine.pacing(alpha)).next(unread=0, room=50)

    def each(length: int) -> float:
        costs = overlapped_round(
            drafter=lambda width: DEAR[0],
            target=machine.verify,
            probabilities=[alpha**k for k in range(1, length + 2)],
            slowdown=Slowdown(1.1, 1.2),
        )
        return costs.seconds_per_token if length else 1.0

    assert found == min(range(LONGEST + 1), key=each)


def test_guesses_that_fail_are_found_out() -> None:
    """Where drafts are kept but the token after them is never the guess, the drafter's passes beside it are lost."""
    pace = AdaptivePace(Machine(SLOW, Slowdown()).pacing(0.97))
    assert pace.next(unread=0, room=500) > 0
    for _ in range(40):
        length = pace.next(unread=0, room=500)
        pace.observe(length, length, hit=False if length else None)
    assert pace.next(unread=0, room=500) == 0


def test_fixed_pace() -> None:
    pace = FixedPace(3)
    pace.begin()
    pace.observe(3, 0)
    assert pace.next(unread=1000, room=1) == 3
