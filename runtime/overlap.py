"""The drafter goes on while the target verifies: two processors at once.

A round verifies the drafts d_1 ... d_g after the last token. Meanwhile the drafter assumes that all of them stay. What
follows them is then the target's own token, which is not known yet: the drafter takes the one that it holds for the
likeliest as its *guess*, and drafts the next round's e_1 ... e_g after it.

    hit    all g drafts stay and the target's own token is the guess: the next round begins at once, with e_1 ... e_g
    miss   anything else: the drafter ends the pass that it is in, what it made is dropped, and the next round's drafts
           are made while the target waits, as without overlap

Either way a round of g drafts brings the same tokens as one of the serial loop; only who waits for whom is another
(``costmodel/overlap.py``). Where the length adapts, a round that finds its drafts made takes no more of them than it
wants and waits for no others.

**Greedy texts** are the target's whatever is proposed. The e are even those that the serial loop would draft: the
drafter's likeliest tokens after the same text.

**Sampled texts** keep the target's distribution. Speculative sampling needs that the drafts of a round are drawn from
the q(. | text so far) that they are judged by, given all that happened before. Let x be the text after a round, and let
F be what the round was made of: its drafts, the numbers that judged them, and the draw of the target's own token.
The guess is a function of the text and of d_1 ... d_g, so F decides x and also whether there was a hit. The e are drawn
from q(. | d_1 ... d_g, guess) with random numbers of their own, independent of F. Given F and a hit, the guess is the
last token of x, so the e have the law of a fresh draw from q(. | x); given F and a miss, they are not used. So the next
round's drafts always have the law that they are judged by. What is kept never depends on the e themselves, nor on how
far the drafter had come: a hit waits for all of them. How many there are was settled before F, and how many of them the
next round takes is decided by F.

No pass runs while the caller of the loop has the word, so a text can be dropped, and a model closed, at any token.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import numpy as np

from paceline.runtime.drafters import ModelDrafter, Proposal
from paceline.runtime.sampling import GREEDY, Sampling


class Ahead:
    """What one text's drafter does ahead of the target; of nobody (``drafter`` None) nothing is ever ready.

    A round calls ``take``, ``start`` and ``settle``, in that order. Use as a context manager: it ends the thread.
    """

    def __init__(self, drafter: ModelDrafter | None) -> None:
        self._drafter = drafter
        self._thread = ThreadPoolExecutor(1, "paceline-drafter") if drafter else None
        self._work: _Work | None = None
        self._ready: tuple[list[int], Proposal] | None = None

    def take(self, sequence: Sequence[int], length: int) -> Proposal | None:
        """The drafts after ``sequence``, at most ``length``, if they are ready."""
        ready, self._ready = self._ready, None
        return ready[1].first(length) if length and ready and ready[0] == sequence else None

    def start(self, text: Sequence[int], length: int, *, sampling: Sampling, random: np.random.Generator) -> None:
        """Begin to draft ``length`` tokens after ``text`` and a guess; needs len(text) + 1 + length <= context."""
        if self._drafter and self._thread and length > 0:
            # Numbers of its own: how far the work gets must not decide which ones the loop draws.
            own = random if sampling.greedy else random.spawn(1)[0]
            self._work = _Work(self._drafter, text, length, sampling, own)
            self._work.begin(self._thread)

    def settle(self, follower: int | None) -> bool | None:
        """Tell which token follows the text, None where not all of it stays; waits for the drafts, or for the pass.

        Returns whether there was a hit; None where nothing was begun.
        """
        work, self._work = self._work, None
        if work is None:
            return None
        proposal = work.settle(follower)
        self._ready = None if proposal is None else ([*work.text, *work.guess], proposal)
        return proposal is not None

    def __enter__(self) -> Ahead:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._work:
            self._work.drop()
        if self._thread:
            self._thread.shutdown(wait=True)


class _Work:
    """One round's work of the drafter, in its own thread."""

    def __init__(
        self,
        drafter: ModelDrafter,
        text: Sequence[int],
        length: int,
        sampling: Sampling,
        random: np.random.Generator,
    ) -> None:
        self.text, self.guess = list(text), tuple[int, ...]()
        self._drafter, self._length, self._sampling, self._random = drafter, length, sampling, random
        self._settled, self._follower = False, tuple[int, ...]()
        self._result: Future[Proposal] | None = None

    def begin(self, thread: ThreadPoolExecutor) -> None:
        self._result = thread.submit(self._run)

    def drop(self) -> None:
        """What is made is not wanted."""
        self._settled = True

    def settle(self, follower: int | None) -> Proposal | None:
        """The drafts where ``follower`` was the guess, else None; waits for the drafter in either case."""
        self._follower = () if follower is None else (follower,)
        self._settled = True
        assert self._result is not None
        proposal = self._result.result()
        return proposal if self.guess and self.guess == self._follower else None

    def _run(self) -> Proposal:
        self.guess = self._propose(self.text, 1, GREEDY).tokens
        if not self.guess:
            return Proposal()
        return self._propose([*self.text, *self.guess], self._length, self._sampling)

    def _propose(self, text: Sequence[int], length: int, sampling: Sampling) -> Proposal:
        return self._drafter.propose(text, length, sampling=sampling, random=self._random, wanted=self._wanted)

    def _wanted(self) -> bool:
        """Asked before each pass: nothing is known yet, or the guess came true (or may yet, while there is none)."""
        return not self._settled or (bool(self._follower) and self.guess in ((), self._follower))
