"""Who rides ahead: a compiled model, the text's own repetitions, or nobody."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from paceline.errors import DeviceLost
from paceline.runtime.program import Step
from paceline.runtime.sampling import Sampling, draw, probabilities
from paceline.runtime.session import Session


@dataclass(frozen=True, slots=True)
class Proposal:
    """Drafted tokens [gamma] and the distributions [gamma, vocabulary] they were drawn from (None when greedy)."""

    tokens: tuple[int, ...] = ()
    probabilities: NDArray[np.float64] | None = None

    def first(self, length: int) -> Proposal:
        """The first ``length`` drafts of it."""
        rows = self.probabilities
        return Proposal(self.tokens[:length], None if rows is None else rows[:length])


def always() -> bool:
    """The answer of one who wants all drafts."""
    return True


class Drafter(Protocol):
    """Proposes what may follow a text."""

    def prepare(self, sequence: Sequence[int]) -> None:
        """Read a prompt before the first proposal, as far as this drafter needs to."""
        ...

    def unread(self, sequence: Sequence[int]) -> int:
        """How many tokens of ``sequence`` a proposal must read first, those aside that a round leaves unread anyway."""
        ...

    def forget(self) -> None:
        """Forget all texts, so that the next one is read from its beginning."""
        ...

    def propose(
        self, sequence: Sequence[int], length: int, *, sampling: Sampling, random: np.random.Generator
    ) -> Proposal:
        """Propose up to ``length`` tokens after ``sequence``; needs len(sequence) + length <= context."""
        ...


class NoDrafter:
    """Proposes nothing: plain decoding."""

    def prepare(self, sequence: Sequence[int]) -> None:
        """Nothing to read."""

    def unread(self, sequence: Sequence[int]) -> int:
        """Never any."""
        return 0

    def forget(self) -> None:
        """Nothing to forget."""

    def propose(
        self, sequence: Sequence[int], length: int, *, sampling: Sampling, random: np.random.Generator
    ) -> Proposal:
        """An empty proposal."""
        return Proposal()


class ModelDrafter:
    """A model that runs ahead token by token; it stops where it would end the text, or after a draft that it doubts.

    ``vocabulary`` is the target's, where that is another: models of one tokenizer pad their embeddings differently, and
    neither may meet an id that only the other has.

    A draft is doubted where the likeliest token after the text has less than ``min_confidence`` of the probability (at
    temperature 1, whatever the sampling). The doubted draft itself is proposed: its pass is paid for, and it is kept
    more often than never. Stopping looks at the drafter's distribution, not at what was drawn from it, so that sampling
    stays lossless.

    When its device is lost, ``lost`` is told, and nothing is proposed any more; without it, that is an error.
    """

    def __init__(
        self,
        session: Session,
        *,
        ends: frozenset[int] = frozenset(),
        vocabulary: int | None = None,
        min_confidence: float = 0.0,
        lost: Callable[[DeviceLost], None] | None = None,
    ) -> None:
        self._session, self._ends, self._min_confidence = session, ends, min_confidence
        self._lost, self._gone = lost, False
        self._own = session.program.vocabulary
        self._vocabulary = self._own if vocabulary is None else vocabulary

    def prepare(self, sequence: Sequence[int]) -> None:
        """Fill the caches with the prompt, but for its last token: the first proposal runs that."""
        if self._can_read(sequence):
            self._read(sequence[:-1], rows=0)

    def unread(self, sequence: Sequence[int]) -> int:
        """What the caches lack but for two tokens: the target's own, and a last draft that was kept, never read."""
        return max(0, len(sequence) - self._session.shared(sequence) - 2)

    def forget(self) -> None:
        """Empty the session."""
        self._session.rewind(0)

    def propose(
        self,
        sequence: Sequence[int],
        length: int,
        *,
        sampling: Sampling,
        random: np.random.Generator,
        wanted: Callable[[], bool] = always,
    ) -> Proposal:
        """Run up to ``length`` passes; the first also catches up with what was added since the last one.

        Before each it asks whether more drafts are ``wanted``, and stops where they are not.
        """
        tokens: list[int] = []
        rows: list[NDArray[np.float64]] = []
        needs_logits, sure = self._min_confidence > 0 or not sampling.greedy, True
        while len(tokens) < length and sure and wanted() and not (tokens and tokens[-1] in self._ends):
            if not self._can_read([*sequence, *tokens]):
                break
            step = self._read([*sequence, *tokens], logits=needs_logits)
            if step is None:
                break
            if not sampling.greedy and step.logits is not None:
                rows.append(self._distribution(step.logits[0], sampling))
                tokens.append(draw(rows[-1], random.random()))
            elif step.ids[0] < self._vocabulary:
                tokens.append(int(step.ids[0]))
            else:
                break
            if self._min_confidence and step.logits is not None:
                sure = confidence(step.logits[0]) >= self._min_confidence
        return Proposal(tuple(tokens), np.stack(rows) if rows else None)

    def _read(self, sequence: Sequence[int], *, rows: int = 1, logits: bool = False) -> Step | None:
        """See ``Session.follow``; None where the device was lost, now or before."""
        if self._gone:
            return None
        try:
            return self._session.follow(sequence, rows=rows, logits=logits)
        except DeviceLost as error:
            if self._lost is None:
                raise
            self._gone = True
            self._lost(error)
            return None

    def _can_read(self, sequence: Sequence[int]) -> bool:
        return self._own >= self._vocabulary or max(sequence) < self._own

    def _distribution(self, logits: NDArray[np.float32], sampling: Sampling) -> NDArray[np.float64]:
        """What a draft is drawn from [the target's vocabulary]: renormalised over the ids that both models have."""
        row = probabilities(logits[: self._vocabulary], sampling)
        return row if len(row) == self._vocabulary else np.pad(row, (0, self._vocabulary - len(row)))


def confidence(logits: NDArray[np.float32]) -> float:
    """Probability of the likeliest token, of logits [vocabulary], at temperature 1."""
    return 1.0 / float(np.exp(logits - logits.max()).sum())


class NgramDrafter:
    """Prompt lookup: what followed the last time that the text's last few tokens stood in it.

    The longest match of ``longest`` down to ``shortest`` tokens wins, and of those the most recent. A copy ends where
    the text does, unless all of it stands there twice: such a text goes round, and the copy with it.
    """

    def __init__(self, *, vocabulary: int, longest: int = 3, shortest: int = 1) -> None:
        self._vocabulary, self._longest, self._shortest = vocabulary, longest, shortest

    def prepare(self, sequence: Sequence[int]) -> None:
        """Nothing to read: the text itself is searched."""

    def unread(self, sequence: Sequence[int]) -> int:
        """Never any."""
        return 0

    def forget(self) -> None:
        """Nothing to forget."""

    def propose(
        self, sequence: Sequence[int], length: int, *, sampling: Sampling, random: np.random.Generator
    ) -> Proposal:
        """Copy up to ``length`` tokens; drawn from a point mass, as far as sampling is concerned."""
        tokens = _continuation(array("i", sequence), length, self._longest, self._shortest)
        if sampling.greedy or not tokens:
            return Proposal(tokens)
        certain = np.zeros((len(tokens), self._vocabulary))
        certain[range(len(tokens)), tokens] = 1.0
        return Proposal(tokens, certain)


def _continuation(text: array[int], length: int, longest: int, shortest: int) -> tuple[int, ...]:
    for size in range(min(longest, len(text) - 1), shortest - 1, -1):
        if (start := _last_before_the_end(text, size)) is not None:
            return _copied(text, start + size, length)
    return ()


def _last_before_the_end(text: array[int], size: int) -> int | None:
    """Where the last ``size`` tokens of ``text`` stood the time before.

    Bytes are searched, because the target waits: nothing else is as quick in Python. A hit between two tokens is none.
    """
    raw, width = text.tobytes(), text.itemsize
    wanted = raw[-size * width :]
    end = len(raw) - width
    while (at := raw.rfind(wanted, 0, end)) % width and at >= 0:
        end = at + len(wanted) - 1
    return at // width if at >= 0 else None


def _copied(text: array[int], start: int, length: int) -> tuple[int, ...]:
    """Up to ``length`` tokens from ``start`` on, beyond the end where what stands there repeats what is before it."""
    rest = tuple(text[start:])
    goes_round = len(rest) <= start and tuple(text[start - len(rest) : start]) == rest
    return (rest * (-(-length // len(rest))))[:length] if goes_round else rest[:length]
