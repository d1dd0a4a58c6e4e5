"""The loop on the null device: whatever drafts, the tokens are those of plain decoding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import cycle, islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from paceline.costmodel import count_rounds
from paceline.partition.plan import Beside, Pacing
from paceline.runtime.drafters import Drafter, ModelDrafter, NgramDrafter, NoDrafter, Proposal
from paceline.runtime.null_device import NullProgram
from paceline.runtime.pace import AdaptivePace, Pace
from paceline.runtime.program import Step
from paceline.runtime.record import Record
from paceline.runtime.sampling import Sampling
from paceline.runtime.session import Session
from paceline.runtime.speculate import Request, speculate

VOCABULARY, CONTEXT = 24, 60


def argmax_ids(seed: int, prompt: tuple[int, ...], count: int, ends: frozenset[int]) -> tuple[list[int], str]:
    """What greedy decoding is by definition, without sessions, rounds or drafts; and why it stops."""
    program = NullProgram(vocabulary=VOCABULARY, context=CONTEXT, seed=seed)
    text = list(prompt)
    while len(text) - len(prompt) < count:
        if len(text) > CONTEXT:
            return text[len(prompt) :], "context"
        token = int(program.logits_after(np.array(text, np.int32)).argmax())
        if token in ends:
            return text[len(prompt) :], "eos"
        text.append(token)
    return text[len(prompt) :], "length"


def drafter_of(kind: str, seed: int, agreement: float, ends: frozenset[int]) -> Drafter:
    least = 0.15 if kind == "doubting" else 0.0
    if kind == "none":
        return NoDrafter()
    if kind == "ngram":
        return NgramDrafter(vocabulary=VOCABULARY)
    # Embeddings of one tokenizer may be padded differently; the null device refuses ids that it has no row for.
    own = VOCABULARY + {"wider": 8, "narrower": -8}.get(kind, 0)
    made = Screened if kind == "screened" else NullProgram
    program = made(vocabulary=own, context=CONTEXT, seed=seed, agreement=agreement)
    return ModelDrafter(Session(program), ends=ends, vocabulary=VOCABULARY, min_confidence=least)


class Screened(NullProgram):
    """Computes a third of its logits, as a screened head does."""

    def logits_after(self, prefix: NDArray[np.int32]) -> NDArray[np.float32]:
        logits = super().logits_after(prefix)
        logits[int(prefix[-1]) % 3 :: 3] = logits[(int(prefix[-1]) + 1) % 3 :: 3] = -1e30
        return logits


def target_of(seed: int) -> Session:
    return Session(NullProgram(vocabulary=VOCABULARY, context=CONTEXT, seed=seed))


class AnyPace:
    """Lengths out of a list, whatever the drafter did."""

    def __init__(self, lengths: list[int]) -> None:
        self.lengths, self.told = cycle(lengths), list[tuple[int, int]]()

    def begin(self) -> None:
        self.told.clear()

    def next(self, *, unread: int, room: int) -> int:
        assert unread >= 0 and room >= 1
        return next(self.lengths)

    def observe(self, drafted: int, accepted: int, *, hit: bool | None = None) -> None:
        assert not hit or accepted == drafted
        self.told.append((drafted, accepted))


# Drafts cost little, so that the length moves with whatever is kept; the plan believes in none or in many.
PACINGS = [
    Pacing(round_seconds=(1.0, 1.2, 1.4, 1.6), chain=(alpha, alpha**2, alpha**3), read_seconds=0.01, beside=beside)
    for alpha in (0.1, 0.5, 0.9)
    for beside in (None, Beside(hit_seconds=(1.0, 1.1, 1.2, 1.3), wait_seconds=(0.0, 0.1, 0.2, 0.3), guess=alpha))
]
requests = st.builds(
    Request,
    prompt=st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=CONTEXT).map(tuple),
    max_tokens=st.integers(1, 80),
    draft_length=st.integers(0, 8),
    pace=st.one_of(
        st.none(),
        st.sampled_from(PACINGS).map(AdaptivePace),
        st.lists(st.integers(0, 8), min_size=1, max_size=9).map(AnyPace),
    ),
    ends=st.frozensets(st.integers(0, VOCABULARY - 1), max_size=3),
    overlap=st.booleans(),
)


@given(
    request=requests,
    seed=st.integers(0, 1000),
    kind=st.sampled_from(["none", "model", "doubting", "wider", "narrower", "screened", "ngram"]),
    agreement=st.sampled_from([0.0, 0.5, 0.9, 1.0]),
)
def test_greedy_tokens_are_the_argmax_ids(request: Request, seed: int, kind: str, agreement: float) -> None:
    record, tokens = Record(), []
    loop = speculate(target_of(seed), drafter_of(kind, seed, agreement, request.ends), request, record)
    while True:
        try:
            tokens.append(next(loop))
        except StopIteration as end:
            reason = end.value
            break
    expected, expected_reason = argmax_ids(seed, request.prompt, request.max_tokens, request.ends)
    assert [token for token, _ in tokens] == expected
    assert reason == expected_reason
    drafted = sum(origin == "drafted" for _, origin in tokens)
    stats = record.stats(prompt_tokens=len(request.prompt), draft_length=request.draft_length, stop_reason=reason)
    # An end inside the drafts cuts a round short: its kept drafts count as accepted, but are not handed out.
    longest = request.draft_length if request.pace is None else 8
    assert drafted <= stats.acceptance.accepted <= drafted + longest
    assert stats.acceptance.rounds == stats.rounds
    assert max(stats.acceptance.counts, default=0) <= longest
    if isinstance(request.pace, AnyPace):
        assert count_rounds(request.pace.told) == stats.acceptance.counts


@given(request=requests, seed=st.integers(0, 100), taken=st.integers(0, 20))
def test_abandoned_loop_leaves_target_and_drafter_usable(request: Request, seed: int, taken: int) -> None:
    target, drafter = target_of(seed), drafter_of("model", seed, 0.7, request.ends)
    loop = speculate(target, drafter, request, Record())
    list(islice(loop, taken))
    loop.close()
    again = [token for token, _ in speculate(target, drafter, request, Record())]
    assert again == argmax_ids(seed, request.prompt, request.max_tokens, request.ends)[0]


@given(seed=st.integers(0, 100), cut=st.integers(1, 12))
def test_interrupt_in_any_pass_leaves_target_and_drafter_usable(seed: int, cut: int) -> None:
    class Interrupted(NullProgram):
        left = cut

        def step(self, tokens: NDArray[np.int32], position: int, *, first: int = 0, logits: bool = False) -> Step:
            Interrupted.left -= 1
            if Interrupted.left == 0:
                raise KeyboardInterrupt
            return super().step(tokens, position, first=first, logits=logits)

    def session(agreement: float) -> Session:
        return Session(Interrupted(vocabulary=VOCABULARY, context=CONTEXT, seed=seed, agreement=agreement))

    request = Request(prompt=(1, 2, 3), max_tokens=30, draft_length=3)
    target, drafter = session(1.0), ModelDrafter(session(0.7))
    with pytest.raises(KeyboardInterrupt):
        list(speculate(target, drafter, request, Record()))
    again = [token for token, _ in speculate(target, drafter, request, Record())]
    assert again == argmax_ids(seed, request.prompt, 30, frozenset())[0]


def test_two_loops_may_take_turns() -> None:
    target, drafter = target_of(0), drafter_of("model", 0, 0.8, frozenset())
    requests = [Request(prompt=prompt, max_tokens=20, draft_length=3) for prompt in [(1, 2), (1, 5, 6)]]
    loops = [speculate(target, drafter, request, Record()) for request in requests]
    pairs = list(zip(*loops, strict=True))
    for number, request in enumerate(requests):
        assert [pair[number][0] for pair in pairs] == argmax_ids(0, request.prompt, 20, frozenset())[0]


def test_perfect_drafter_is_always_kept_and_never_overruns() -> None:
    record = Record()
    request = Request(prompt=(1, 2), max_tokens=10, draft_length=4)
    tokens = list(speculate(target_of(0), drafter_of("model", 0, 1.0, frozenset()), request, record))
    # The prompt's own pass gives 1; then 4 + 1, and 3 + 1 because only 4 more may come.
    assert [origin for _, origin in tokens] == ["target", *["drafted"] * 4, "target", *["drafted"] * 3, "target"]
    assert record.stats(prompt_tokens=2, draft_length=4, stop_reason="length").acceptance.counts == {
        3: (0, 0, 0, 1),
        4: (0, 0, 0, 0, 1),
    }


def test_full_context_still_gives_one_token() -> None:
    request = Request(prompt=(1,) * CONTEXT, max_tokens=10, draft_length=4)
    assert len(list(speculate(target_of(0), drafter_of("model", 0, 1.0, frozenset()), request, Record()))) == 1


def runs(
    seeds: range, *, draft_length: int, kind: str, tokens: int = 3, pace: Pace | None = None
) -> Iterator[tuple[int, ...]]:
    sampling = Sampling(temperature=1.5, top_k=3)
    target, drafter = target_of(0), drafter_of(kind, 0, 0.5, frozenset())
    for seed in seeds:
        request = Request(
            prompt=(4,), max_tokens=tokens, draft_length=draft_length, sampling=sampling, seed=seed, pace=pace
        )
        yield tuple(token for token, _ in speculate(target, drafter, request, Record()))


def joint(count: int) -> dict[tuple[int, ...], float]:
    """Exact probability of each continuation of so many tokens."""
    from paceline.runtime.sampling import probabilities

    program = NullProgram(vocabulary=VOCABULARY, context=CONTEXT)
    found: dict[tuple[int, ...], float] = {(): 1.0}
    for _ in range(count):
        longer: dict[tuple[int, ...], float] = {}
        for text, mass in found.items():
            row = probabilities(program.logits_after(np.array((4, *text))), Sampling(temperature=1.5, top_k=3))
            longer |= {(*text, int(token)): mass * row[token] for token in np.flatnonzero(row)}
        found = longer
    return found


@pytest.mark.parametrize(
    ("draft_length", "kind"),
    [
        (0, "none"),
        (2, "model"),
        (2, "ngram"),
        (1, "model"),
        (2, "doubting"),
        (2, "wider"),
        (2, "narrower"),
        (2, "screened"),
    ],
)
def test_sampled_texts_follow_the_target(draft_length: int, kind: str) -> None:
    check_distribution(runs(range(1500), draft_length=draft_length, kind=kind), rounds=1500, exact=joint(3))


@pytest.mark.parametrize("kind", ["model", "doubting"])
def test_sampled_texts_follow_the_target_at_lengths_that_follow_what_was_kept(kind: str) -> None:
    class Moody(AnyPace):
        """Drafts much after a round that kept little, and the other way round, from text to text."""

        def begin(self) -> None:
            pass

        def next(self, *, unread: int, room: int) -> int:
            return (2 - self.told[-1][1]) % 3 if self.told else 2

    pace = Moody([])
    texts = runs(range(3000), draft_length=0, kind=kind, tokens=4, pace=pace)
    check_distribution(texts, rounds=3000, exact=joint(4))
    assert min(Counter(drafted for drafted, _ in pace.told)[length] for length in range(3)) > 300


def check_distribution(texts: Iterator[tuple[int, ...]], *, rounds: int, exact: dict[tuple[int, ...], float]) -> None:
    counts = dict.fromkeys(exact, 0)
    for text in texts:
        counts[text] += 1
    chi_square = sum((counts[text] - rounds * mass) ** 2 / (rounds * mass) for text, mass in exact.items())
    freedom = len(exact) - 1
    deviation = ((chi_square / freedom) ** (1 / 3) - (1 - 2 / (9 * freedom))) / np.sqrt(2 / (9 * freedom))
    assert deviation < 4.5


@pytest.mark.parametrize("kind", ["none", "model", "ngram"])
def test_a_seed_gives_the_same_text(kind: str) -> None:
    first, second = (list(runs(range(5), draft_length=2, kind=kind)) for _ in range(2))
    assert first == second
    assert len(set(first)) > 1


def propose(text: list[int], length: int) -> Proposal:
    return NgramDrafter(vocabulary=10).propose(text, length, sampling=Sampling(), random=np.random.default_rng(0))


def test_ngram_copies_what_followed_the_longest_latest_match() -> None:
    assert propose([1, 2, 3, 9, 2, 3, 7, 1, 2, 3], 2).tokens == (9, 2)
    assert propose([2, 3, 9, 2, 3, 7, 2, 3], 2).tokens == (7, 2)
    assert propose([1, 2, 3, 4], 3).tokens == ()
    assert propose([5], 3).tokens == ()
    assert propose([5, 5], 3).tokens == (5, 5, 5)
    assert propose([5, 1, 2, 5], 4).tokens == (1, 2, 5)  # stands there once: nothing says that it goes round


@given(
    before=st.lists(st.integers(0, 2), max_size=6),
    pattern=st.lists(st.integers(3, 9), min_size=1, max_size=6, unique=True),
    more=st.integers(0, 12),
    length=st.integers(1, 20),
)
def test_ngram_goes_round_with_a_text_that_does(before: list[int], pattern: list[int], more: int, length: int) -> None:
    endless = pattern * 40
    standing = 2 * len(pattern) + more
    assert propose([*before, *endless[:standing]], length).tokens == tuple(endless[standing : standing + length])


# ids whose bytes also stand between two tokens: 0x01010101 next to itself, 0 next to 256
@given(text=st.lists(st.sampled_from([0, 1, 256, 65536, 16843009, 16843008]), min_size=2, max_size=24))
def test_ngram_matches_whole_tokens(text: list[int]) -> None:
    ends = [(size, at) for size in (3, 2, 1) for at in range(len(text) - 1, size - 1, -1)]
    found = [at for size, at in ends if size < len(text) and text[at - size : at] == text[-size:]]
    tokens = propose(text, 1).tokens
    assert tokens == ((text[found[0]],) if found else ())


@given(text=st.lists(st.integers(0, 3), min_size=1, max_size=20), length=st.integers(1, 12))
def test_ngram_only_ever_repeats(text: list[int], length: int) -> None:
    tokens, end = propose(text, length).tokens, len(text)
    longer = [*text, *tokens]
    distances = [far for far in range(1, end) if longer[end - 1 :] == longer[end - 1 - far : len(longer) - far]]
    assert len(tokens) <= length
    assert bool(tokens) == (text[-1] in text[:-1])
    # Short of what was asked for, it copied all that stands after the match.
    assert not tokens or (distances if len(tokens) == length else len(tokens) in distances)


def test_model_drafter_stops_at_an_end() -> None:
    program = NullProgram(vocabulary=VOCABULARY, context=CONTEXT)
    first = int(program.logits_after(np.array([1], np.int32)).argmax())
    drafter = ModelDrafter(Session(program), ends=frozenset({first}))
    proposal = drafter.propose([1], 5, sampling=Sampling(), random=np.random.default_rng(0))
    assert proposal.tokens == (first,)


@given(seed=st.integers(0, 50), length=st.integers(1, 6), least=st.floats(0.01, 1.0))
def test_model_drafter_stops_after_the_first_draft_that_it_doubts(seed: int, length: int, least: float) -> None:
    def propose(least: float) -> tuple[int, ...]:
        program = NullProgram(vocabulary=VOCABULARY, context=CONTEXT, seed=seed)
        drafter = ModelDrafter(Session(program), min_confidence=least)
        return drafter.propose([1, 2], length, sampling=Sampling(), random=np.random.default_rng(0)).tokens

    program, whole = NullProgram(vocabulary=VOCABULARY, context=CONTEXT, seed=seed), propose(0.0)
    assert len(whole) == length
    rows = [program.logits_after(np.array([1, 2, *whole[:k]], np.int32)).astype(np.float64) for k in range(length)]
    sure = [np.exp(row).max() / np.exp(row).sum() >= least for row in rows]
    assert propose(least) == whole[: sure.index(False) + 1 if False in sure else length]


def test_unread_tokens_are_those_that_no_round_would_leave() -> None:
    drafter = ModelDrafter(Session(NullProgram(vocabulary=VOCABULARY, context=CONTEXT)))
    text = list(range(10))
    assert drafter.unread(text) == 8
    drafter.propose(text, 3, sampling=Sampling(), random=np.random.default_rng(0))
    assert drafter.unread(text) == 0
    assert drafter.unread([*text, 1, 2]) == 0
    assert drafter.unread([*text, 1, 2, 3, 4]) == 2
    assert NgramDrafter(vocabulary=VOCABULARY).unread(text) == NoDrafter().unread(text) == 0


def test_a_drafter_that_is_not_asked_reads_nothing() -> None:
    class Counting(NullProgram):
        passes = 0

        def step(self, tokens: NDArray[np.int32], position: int, *, first: int = 0, logits: bool = False) -> Step:
            Counting.passes += 1
            return super().step(tokens, position, first=first, logits=logits)

    drafter = ModelDrafter(Session(Counting(vocabulary=VOCABULARY, context=CONTEXT)))
    hopeless = Pacing(round_seconds=(1.0, 1.9), chain=(0.1,), read_seconds=1.0)
    request = Request(prompt=(1, 2, 3), max_tokens=30, pace=AdaptivePace(hopeless))
    assert len(list(speculate(target_of(0), drafter, request, Record()))) == 30
    assert Counting.passes == 0
