"""Speculation as it would have gone, replayed from texts that were recorded without any.

Greedy decoding keeps a draft only where it is the target's own next token. So two rows of ids tell what every round of
every draft length keeps: the text that the target wrote, and what the drafter says after each beginning of that text
(teacher forcing: a few wide passes). The loop that users run is run over the two rows, so what it decides is never
written down a second time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paceline.costmodel import Acceptance, Drafting, Moments, merge
from paceline.runtime.drafters import Drafter, ModelDrafter, NgramDrafter, NoDrafter
from paceline.runtime.program import Program, Step, check_span
from paceline.runtime.record import Record
from paceline.runtime.session import Session
from paceline.runtime.speculate import Request, speculate

_NOTHING = -1  # no token has this id, so no draft can equal it


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One text: the target's greedy ``answer`` to ``prompt``, with the token of ``ends`` that ended it, if one did.

    ``drafts[j]`` is what the drafter model says after the prompt and the first j tokens of the answer; shorter than the
    answer where the drafter does not know its tokens, empty where there is no drafter model. ``vocabularies`` are the
    target's and the drafter's, ``context`` is the smaller of what their caches hold.
    """

    task: str
    prompt: tuple[int, ...]
    answer: tuple[int, ...]
    drafts: tuple[int, ...]
    max_tokens: int
    ends: frozenset[int]
    context: int
    vocabularies: tuple[int, int]

    @property
    def middle(self) -> float:
        """Mean position of the tokens that rounds bring."""
        return len(self.prompt) + len(self.answer) / 2


def record(
    target: Program,
    drafter: Program | None,
    prompt: tuple[int, ...],
    *,
    task: str,
    max_tokens: int,
    ends: frozenset[int],
) -> Recording:
    """Let the target write up to ``max_tokens`` after ``prompt``, and the drafter read it."""
    session = Session(target)
    request = Request(prompt=prompt, max_tokens=max_tokens, ends=ends)
    answer = [token for token, _ in speculate(session, NoDrafter(), request, Record())]
    if len(answer) < max_tokens and len(prompt) + len(answer) <= target.context:
        (end,) = session.follow([*prompt, *answer]).ids
        answer.append(int(end))
    return Recording(
        task=task,
        prompt=prompt,
        answer=tuple(answer),
        drafts=_teacher_forced(drafter, prompt, answer) if drafter else (),
        max_tokens=max_tokens,
        ends=ends,
        context=target.context,
        vocabularies=(target.vocabulary, drafter.vocabulary if drafter else target.vocabulary),
    )


def _teacher_forced(drafter: Program, prompt: Sequence[int], answer: Sequence[int]) -> tuple[int, ...]:
    sequence = [*prompt, *answer][: len(prompt) + len(answer) - 1]
    readable = next((at for at, token in enumerate(sequence) if token >= drafter.vocabulary), len(sequence))
    rows = readable - len(prompt) + 1
    return tuple(Session(drafter).follow(sequence[:readable], rows=rows).ids.tolist()) if rows > 0 else ()


class _Recorded:
    """A program that says what was recorded, whatever stands in its caches."""

    widths: tuple[int, ...] = (1,)

    def __init__(self, recording: Recording, says: Sequence[int], vocabulary: int) -> None:
        self.context, self.vocabulary = recording.context, vocabulary
        self.widths = tuple(range(1, recording.context + 1))
        self._next = np.full(recording.context, _NOTHING, np.int32)
        start = len(recording.prompt) - 1
        self._next[start : start + len(says)] = says

    def step(self, tokens: NDArray[np.int32], position: int, *, first: int = 0, logits: bool = False) -> Step:
        """See ``Program.step``."""
        check_span(self, len(tokens), position, first)
        return Step(self._next[position + first : position + len(tokens)].copy())

    def close(self) -> None:
        """Nothing to close."""


def replay(recording: Recording, drafting: Drafting, draft_length: int) -> Record:
    """The rounds that drafting ``draft_length`` ahead would have made of this text."""
    request = Request(
        prompt=recording.prompt, max_tokens=recording.max_tokens, draft_length=draft_length, ends=recording.ends
    )
    target = Session(_Recorded(recording, recording.answer, recording.vocabularies[0]))
    record = Record()
    for _ in speculate(target, _drafter(recording, drafting), request, record):
        pass
    return record


def _drafter(recording: Recording, drafting: Drafting) -> Drafter:
    vocabulary, own = recording.vocabularies
    if drafting == "ngram":
        return NgramDrafter(vocabulary=vocabulary)
    if drafting == "none":
        return NoDrafter()
    session = Session(_Recorded(recording, recording.drafts, own))
    return ModelDrafter(session, ends=recording.ends, vocabulary=vocabulary)


def histograms(
    recordings: Iterable[Recording], drafting: Drafting, draft_lengths: Iterable[int], *, drafter: str, target: str
) -> tuple[Acceptance, ...]:
    """Accepted lengths of each task at each draft length, labelled with the names of ``drafter`` and ``target``."""
    tasks: dict[str, list[Recording]] = {}
    for recording in recordings:
        tasks.setdefault(recording.task, []).append(recording)
    lengths = tuple(draft_lengths)
    return tuple(
        merge([_histogram(text, drafting, length, drafter, target) for text in texts], task=task)
        for task, texts in tasks.items()
        for length in lengths
    )


def _histogram(recording: Recording, drafting: Drafting, length: int, drafter: str, target: str) -> Acceptance:
    found = replay(recording, drafting, length).acceptance
    rounds, tokens = found.rounds, found.rounds + found.accepted
    moments = Moments(texts=1, rounds_squared=rounds**2, rounds_tokens=rounds * tokens, tokens_squared=tokens**2)
    return Acceptance(
        task=recording.task, drafter=drafter, target=target, asked=length, moments=moments, counts=found.counts
    )
