"""The drafter beside the target: the serial loop's rounds, no pass behind the caller's back, nothing left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from itertools import cycle, islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from paceline.partition.plan import Beside, Pacing
from paceline.runtime.drafters import ModelDrafter, NgramDrafter
from paceline.runtime.null_device import NullProgram
from paceline.runtime.overlap import Ahead
from paceline.runtime.pace import AdaptivePace
from paceline.runtime.program import Step
from paceline.runtime.record import Record
from paceline.runtime.sampling import GREEDY, Sampling
from paceline.runtime.session import Session
from paceline.runtime.speculate import Request, speculate
from tests.runtime.test_speculate import (
    CONTEXT,
    VOCABULARY,
    AnyPace,
    argmax_ids,
    check_distribution,
    drafter_of,
    joint,
    target_of,
)


class Watched(NullProgram):
    """Notes which threads run its passes, and refuses one that begins while another one goes on, or at rest."""

    def __init__(self, *, agreement: float = 1.0, seed: int = 0, seconds: float = 0.0) -> None:
        super().__init__(vocabulary=VOCABULARY, context=CONTEXT, agreement=agreement, seed=seed, seconds=seconds)
        self.threads, self.running, self.passes = set[str](), 0, 0

    def step(self, tokens: NDArray[np.int32], position: int, *, first: int = 0, logits: bool = False) -> Step:
        assert not self.running
        self.running, self.passes = 1, self.passes + 1
        self.threads.add(threading.current_thread().name)
        try:
            return super().step(tokens, position, first=first, logits=logits)
        finally:
            self.running = 0


def rounds_of(seed: int, agreement: float, *, draft_length: int, overlap: bool) -> tuple[Record, list[tuple[int, str]]]:
    record = Record()
    request = Request(prompt=(1, 2, 3), max_tokens=40, draft_length=draft_length, overlap=overlap)
    drafter = drafter_of("model", seed, agreement, frozenset())
    return record, list(speculate(target_of(seed), drafter, request, record))


@given(seed=st.integers(0, 200), agreement=st.sampled_from([0.0, 0.5, 0.9, 1.0]), draft_length=st.integers(1, 6))
@settings(max_examples=50)
def test_rounds_are_those_of_the_serial_loop(seed: int, agreement: float, draft_length: int) -> None:
    serial, plain = rounds_of(seed, agreement, draft_length=draft_length, overlap=False)
    beside, found = rounds_of(seed, agreement, draft_length=draft_length, overlap=True)
    assert found == plain
    assert beside.acceptance == serial.acceptance
    assert serial.ready == 0


@given(seed=st.integers(0, 200), agreement=st.sampled_from([0.3, 0.9, 1.0]), draft_length=st.integers(1, 4))
@settings(max_examples=50)
def test_drafts_are_ready_where_the_drafter_would_have_said_the_next_token_too(
    seed: int, agreement: float, draft_length: int
) -> None:
    record, found = rounds_of(seed, agreement, draft_length=draft_length, overlap=True)
    drafter = NullProgram(vocabulary=VOCABULARY, context=CONTEXT, seed=seed, agreement=agreement)
    text, expected, at = [1, 2, 3, found[0][0]], 0, 1
    while at < len(found):
        drafted = min(draft_length, len(found) - at - 1)
        kept = next((k for k in range(drafted) if found[at + k][1] == "target"), drafted)
        text += [token for token, _ in found[at : at + kept + 1]]
        at += kept + 1
        guess = int(drafter.logits_after(np.array(text[:-1], np.int32)).argmax())
        expected += kept == drafted and guess == text[-1] and len(found) - at > 1
    assert record.ready == expected


@given(
    seed=st.integers(0, 200),
    agreement=st.sampled_from([0.0, 0.5, 0.9, 1.0]),
    lengths=st.lists(st.integers(0, 6), min_size=1, max_size=9),
)
def test_lengths_may_change_in_every_round(seed: int, agreement: float, lengths: list[int]) -> None:
    """Drafts that are ready are used as far as they are wanted, and no round waits for more."""
    record, pace = Record(), AnyPace(lengths)
    request = Request(prompt=(1, 2, 3), max_tokens=40, pace=pace, overlap=True)
    found = list(speculate(target_of(seed), drafter_of("model", seed, agreement, frozenset()), request, record))
    assert [token for token, _ in found] == argmax_ids(seed, request.prompt, 40, frozenset())[0]
    wanted = islice(cycle(lengths), len(pace.told))
    assert all(drafted <= length for (drafted, _), length in zip(pace.told, wanted, strict=True))
    assert record.ready <= sum(drafted > 0 for drafted, _ in pace.told)
    if agreement == 1.0 and min(lengths) > 0:
        assert record.ready == len(pace.told) - 1 - (pace.told[-1][0] == 0)


def test_an_adaptive_length_is_found_beside_the_target() -> None:
    """A drafter that is always right is drafted further ahead than the plan thought, one that never is not at all."""
    beside = Beside(hit_seconds=(1.0, 1.0, 1.1, 1.2, 1.3), wait_seconds=(0.0, 0.3, 0.6, 0.9, 1.2), guess=0.6)
    pacing = Pacing(round_seconds=(1.0, 1.4, 1.7, 2.0, 2.3), chain=(0.6, 0.36, 0.22, 0.13), beside=beside)

    def lengths(agreement: float) -> list[int]:
        pace, drafter = Told(pacing), drafter_of("model", 3, agreement, frozenset())
        for _ in range(6):
            request = Request(prompt=(1, 2, 3), max_tokens=50, pace=pace, overlap=True)
            assert len(list(speculate(target_of(3), drafter, request, Record()))) == 50
        return pace.drafted[-12:]

    assert max(lengths(1.0)) == 4
    assert sum(map(bool, lengths(0.0))) <= 2


class Told(AdaptivePace):
    """Remembers what was drafted."""

    def __init__(self, pacing: Pacing) -> None:
        super().__init__(pacing)
        self.drafted: list[int] = []

    def observe(self, drafted: int, accepted: int, *, hit: bool | None = None) -> None:
        super().observe(drafted, accepted, hit=hit)
        self.drafted.append(drafted)


def sampled(
    seeds: range, *, draft_length: int, kind: str, ready: list[int], lengths: Sequence[int] = ()
) -> Iterator[tuple[int, ...]]:
    """What ends with the first token of the second drafted round, where the first one kept all."""
    target, drafter = target_of(0), drafter_of(kind, 0, 0.5, frozenset())
    for seed in seeds:
        record = Record()
        request = Request(
            prompt=(4,),
            max_tokens=2 * draft_length + 4,
            draft_length=draft_length,
            pace=AnyPace(list(lengths)) if lengths else None,
            sampling=Sampling(temperature=1.5, top_k=3),
            seed=seed,
            overlap=True,
        )
        loop = speculate(target, drafter, request, record)
        yield tuple(token for token, _ in islice(loop, draft_length + 3))[-4:]
        loop.close()
        ready.append(record.ready)


def last_four(count: int) -> dict[tuple[int, ...], float]:
    found: dict[tuple[int, ...], float] = {}
    for text, mass in joint(count).items():
        found[text[-4:]] = found.get(text[-4:], 0.0) + mass
    return found


@pytest.mark.parametrize(("draft_length", "kind"), [(1, "model"), (1, "doubting"), (1, "narrower"), (2, "model")])
def test_sampled_texts_follow_the_target(draft_length: int, kind: str) -> None:
    ready: list[int] = []
    texts = sampled(range(2000), draft_length=draft_length, kind=kind, ready=ready)
    check_distribution(texts, rounds=2000, exact=last_four(draft_length + 3))
    assert sum(count > 0 for count in ready) > 100


@pytest.mark.parametrize("lengths", [(2, 1), (1, 2)])
def test_sampled_texts_follow_the_target_where_lengths_change(lengths: tuple[int, int]) -> None:
    """The second round takes fewer drafts than are ready, or has fewer than it asked for."""
    ready: list[int] = []
    texts = sampled(range(1200), draft_length=lengths[0], kind="model", ready=ready, lengths=lengths)
    check_distribution(texts, rounds=1200, exact=last_four(lengths[0] + 3))
    assert sum(count > 0 for count in ready) > 100


def test_sampled_texts_follow_the_target_where_the_length_follows_what_was_kept() -> None:
    """Lengths that hang on the verdicts, as any that learns; what was drafted already is judged all the same."""
    beside = Beside(hit_seconds=(1.0, 1.0, 1.1), wait_seconds=(0.0, 0.2, 0.4), guess=0.9)
    pacing = Pacing(round_seconds=(1.0, 1.3, 1.5), chain=(0.6, 0.36), beside=beside)

    def texts() -> Iterator[tuple[int, ...]]:
        target, drafter = target_of(0), drafter_of("model", 0, 0.5, frozenset())
        for seed in range(1200):
            sampling = Sampling(temperature=1.5, top_k=3)
            request = Request(
                prompt=(4,), max_tokens=9, sampling=sampling, seed=seed, pace=AdaptivePace(pacing), overlap=True
            )
            yield tuple(token for token, _ in islice(speculate(target, drafter, request, Record()), 5))[-4:]

    check_distribution(texts(), rounds=1200, exact=last_four(5))


def test_a_seed_gives_the_same_text_however_far_the_drafter_came() -> None:
    def texts(pause: float) -> list[tuple[int, ...]]:
        target, drafter = Session(Watched(seconds=pause)), ModelDrafter(Session(Watched(agreement=0.5)))
        requests = (
            Request(
                prompt=(4,), max_tokens=12, draft_length=2, sampling=Sampling(temperature=1), seed=seed, overlap=True
            )
            for seed in range(4)
        )
        return [tuple(token for token, _ in speculate(target, drafter, one, Record())) for one in requests]

    assert texts(0.0) == texts(0.002)


def test_the_drafter_works_in_a_thread_of_its_own_and_only_while_the_loop_does() -> None:
    target, drafter = Watched(seconds=0.002), Watched(agreement=0.7, seconds=0.003)
    request = Request(prompt=(1, 2), max_tokens=30, draft_length=2, overlap=True)
    for _ in speculate(Session(target), ModelDrafter(Session(drafter)), request, Record()):
        before = drafter.passes
        time.sleep(0.004)
        assert drafter.passes == before and not drafter.running
    assert target.threads == {"MainThread"}
    assert any(name.startswith("paceline-drafter") for name in drafter.threads)


def test_both_work_at_once() -> None:
    """A perfect drafter at half the seconds: a round of one draft takes one verify pass, not one and a half."""
    target, drafter = Watched(seconds=0.02), Watched(seconds=0.01)
    seconds = []
    for overlap in (False, True):
        request = Request(prompt=(1, 2), max_tokens=31, draft_length=1, overlap=overlap)
        started = time.perf_counter()
        assert len(list(speculate(Session(target), ModelDrafter(Session(drafter)), request, Record()))) == 31
        seconds.append(time.perf_counter() - started)
    assert seconds[1] < 0.85 * seconds[0]


@given(seed=st.integers(0, 100), taken=st.integers(0, 20), overlap=st.booleans())
@settings(max_examples=40)
def test_dropped_texts_leave_no_thread_and_nothing_in_the_way(seed: int, taken: int, overlap: bool) -> None:
    target, drafter = target_of(seed), drafter_of("model", seed, 0.8, frozenset())
    request = Request(prompt=(1, 2, 3), max_tokens=30, draft_length=3, overlap=True)
    before = threading.active_count()
    loop = speculate(target, drafter, request, Record())
    list(islice(loop, taken))
    loop.close()
    assert threading.active_count() == before
    again = Request(prompt=(1, 2, 3), max_tokens=30, draft_length=2, overlap=overlap)
    assert [t for t, _ in speculate(target, drafter, again, Record())] == argmax_ids(seed, (1, 2, 3), 30, frozenset())[
        0
    ]


@pytest.mark.parametrize("cut", range(1, 16))
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_error_in_any_pass_comes_out_and_leaves_both_usable(cut: int, error: type[BaseException]) -> None:
    class Failing(NullProgram):
        left = cut

        def step(self, tokens: NDArray[np.int32], position: int, *, first: int = 0, logits: bool = False) -> Step:
            Failing.left -= 1
            if Failing.left == 0:
                raise error
            return super().step(tokens, position, first=first, logits=logits)

    def session(agreement: float) -> Session:
        return Session(Failing(vocabulary=VOCABULARY, context=CONTEXT, agreement=agreement))

    request = Request(prompt=(1, 2, 3), max_tokens=30, draft_length=3, overlap=True)
    target, drafter = session(1.0), ModelDrafter(session(0.9))
    before = threading.active_count()
    with pytest.raises(error):
        list(speculate(target, drafter, request, Record()))
    assert threading.active_count() == before
    again = [token for token, _ in speculate(target, drafter, request, Record())]
    assert again == argmax_ids(0, request.prompt, 30, frozenset())[0]


def test_what_falls_is_not_drafted_to_its_end() -> None:
    drafter = Watched(agreement=1.0, seconds=0.005)
    with Ahead(ModelDrafter(Session(drafter))) as ahead:
        ahead.start([1, 2], 20, sampling=GREEDY, random=np.random.default_rng(0))
        ahead.settle(None)
        assert ahead.take([1, 2], 20) is None
    assert drafter.passes <= 2


def test_drafts_are_taken_once_and_for_their_text_only() -> None:
    random = np.random.default_rng(0)
    follower = int(NullProgram(vocabulary=VOCABULARY).logits_after(np.array([1, 2], np.int32)).argmax())
    with Ahead(ModelDrafter(Session(Watched()))) as ahead:
        for asked in ([1, 2, follower], [1, 2, (follower + 1) % VOCABULARY]):
            ahead.start([1, 2], 3, sampling=GREEDY, random=random)
            ahead.settle(follower)
            taken = ahead.take(asked, 2)
            assert (len(taken.tokens) if taken else None) == (2 if asked[-1] == follower else None)
            assert ahead.take(asked, 2) is None


def test_prompt_lookup_has_nothing_to_overlap() -> None:
    request = Request(prompt=(1, 2, 1, 2), max_tokens=20, draft_length=2, overlap=True)
    record = Record()
    found = [token for token, _ in speculate(target_of(0), NgramDrafter(vocabulary=VOCABULARY), request, record)]
    assert found == argmax_ids(0, request.prompt, 20, frozenset())[0]
    assert record.ready == 0
