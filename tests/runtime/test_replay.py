"""Replayed rounds are those of live speculation, round by round."""

from __future__ import annotations

import itertools

import pytest

from paceline.costmodel import Acceptance, Drafting
from paceline.runtime.drafters import Drafter, ModelDrafter, NgramDrafter
from paceline.runtime.null_device import NullProgram
from paceline.runtime.record import Record
from paceline.runtime.replay import histograms, record, replay
from paceline.runtime.session import Session
from paceline.runtime.speculate import Request, speculate

PROMPT = (5, 9, 2, 5, 9)


def program(agreement: float = 1.0, *, vocabulary: int = 24, order: int = 2, context: int = 96) -> NullProgram:
    return NullProgram(agreement=agreement, vocabulary=vocabulary, order=order, context=context)


def live(
    target: NullProgram, drafter: Drafter, length: int, *, tokens: int, ends: frozenset[int]
) -> tuple[Acceptance, list[int]]:
    found = Record()
    request = Request(prompt=PROMPT, max_tokens=tokens, draft_length=length, ends=ends)
    text = [token for token, _ in speculate(Session(target), drafter, request, found)]
    return found.acceptance, text


ENDS = [frozenset[int](), frozenset({1}), frozenset({3, 7})]


@pytest.mark.parametrize("tokens", [1, 2, 40, 200])
@pytest.mark.parametrize("ends", ENDS)
@pytest.mark.parametrize("agreement", [0.0, 0.6, 1.0])
def test_a_drafter_model(agreement: float, ends: frozenset[int], tokens: int) -> None:
    recording = record(program(), program(agreement), PROMPT, task="ride", max_tokens=tokens, ends=ends)
    for length in (1, 2, 3, 7):
        drafter = ModelDrafter(Session(program(agreement)), ends=ends, vocabulary=24)
        found, text = live(program(), drafter, length, tokens=tokens, ends=ends)
        replayed = replay(recording, "model", length).acceptance
        assert replayed.kept == found.kept, (length, text)
        assert replayed.rounds == found.rounds
        assert list(recording.answer[: len(text)]) == text


@pytest.mark.parametrize("ends", ENDS)
def test_prompt_lookup(ends: frozenset[int]) -> None:
    target = program(vocabulary=6, order=1)  # goes round and round
    recording = record(target, None, (3, 4), task="ride", max_tokens=60, ends=ends)
    request = Request(prompt=(3, 4), max_tokens=60, draft_length=4, ends=ends)
    found = Record()
    for _ in speculate(Session(program(vocabulary=6, order=1)), NgramDrafter(vocabulary=6), request, found):
        pass
    assert replay(recording, "ngram", 4).acceptance == found.acceptance
    assert recording.drafts == ()


def test_a_drafter_that_does_not_know_every_token_of_the_text() -> None:
    target, small = program(), program(0.7, vocabulary=20)
    recording = record(target, small, PROMPT, task="ride", max_tokens=50, ends=frozenset())
    assert max(recording.answer) >= 20 and len(recording.drafts) < len(recording.answer)
    drafter = ModelDrafter(Session(program(0.7, vocabulary=20)), vocabulary=24)
    found, _ = live(program(), drafter, 3, tokens=50, ends=frozenset())
    assert replay(recording, "model", 3).acceptance == found


def test_no_drafter_makes_a_round_a_token() -> None:
    recording = record(program(), None, PROMPT, task="ride", max_tokens=30, ends=frozenset())
    assert replay(recording, "none", 0).acceptance.counts == {0: (29,)}


def test_histograms_are_by_task_and_draft_length() -> None:
    recordings = [
        record(program(), program(0.7), (*PROMPT, start), task=task, max_tokens=30, ends=frozenset())
        for task, start in itertools.product(("ride", "turn"), range(3))
    ]
    drafting: Drafting = "model"
    found = histograms(recordings, drafting, (1, 4), drafter="int8", target="f32")
    assert [(h.task, h.asked, h.moments.texts) for h in found] == [(t, a, 3) for t in ("ride", "turn") for a in (1, 4)]
    for histogram in found:
        rounds = [replay(r, drafting, histogram.asked).acceptance for r in recordings if r.task == histogram.task]
        assert histogram.rounds == sum(one.rounds for one in rounds)
        assert histogram.accepted == sum(one.accepted for one in rounds)
        assert histogram.half_width is not None and histogram.half_width > 0
