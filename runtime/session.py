"""One model in the course of a text: which tokens its caches hold, and how to bring them up to date.

A session never trusts its caller to rewind: it remembers the tokens behind its caches, keeps the part that a new
sequence shares with them, and runs the rest. Catching up after a round, reusing a prompt's beginning, recovering from
an abandoned generation and going on elsewhere when a device is lost are all this one step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from paceline.errors import DeviceLost
from paceline.runtime.program import Program, Step

TakeOver = Callable[[DeviceLost], Program]
"""Gives the program to go on with, of the same model, widths and context; raises where there is none."""


def next_width(remaining: int, position: int, widths: Sequence[int], context: int) -> int:
    """Width of the next pass: the smallest that takes all that remains and fits the cache, else the largest it fills.

    ``widths`` ascend and start with 1; needs 1 <= remaining <= context - position.
    """
    return _covering(remaining, position, widths, context) or _filled(remaining, widths)


def next_width_of_reading(remaining: int, position: int, widths: Sequence[int], context: int) -> int:
    """Like ``next_width``, but two passes where they compute at most half of what padding makes of one.

    18 tokens are read as 16 and 2 where the next width is 64: mostly padding, whose arithmetic is waited for. Should
    the weights be, two passes take at most twice as long as one. What no width but 1 is filled by is not split: a pass
    of one waits for the weights wherever it runs. Nor is it where, near the end of the context, no pass takes the rest.
    """
    width, filled = next_width(remaining, position, widths, context), _filled(remaining, widths)
    rest = _covering(remaining - filled, position + filled, widths, context)
    return filled if filled > 1 and rest and 2 * (filled + rest) <= width else width


def _covering(remaining: int, position: int, widths: Sequence[int], context: int) -> int | None:
    return next((width for width in widths if width >= remaining and position + width <= context), None)


def _filled(remaining: int, widths: Sequence[int]) -> int:
    return max(width for width in widths if width <= remaining)


def shared_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens two sequences share from their beginning."""
    length = min(len(first), len(second))
    if list(first[:length]) == list(second[:length]):
        return length
    return next(index for index in range(length) if first[index] != second[index])


class Session:
    """A program and the tokens that its caches hold; ``position`` is their number.

    Where the program's device is lost, ``take_over`` gives the next one, and the text is read again from its ids.
    """

    def __init__(self, program: Program, *, take_over: TakeOver | None = None) -> None:
        self.program = program
        self._take_over = take_over
        self._tokens: list[int] = []

    @property
    def context(self) -> int:
        return self.program.context

    @property
    def position(self) -> int:
        return len(self._tokens)

    def shared(self, sequence: Sequence[int]) -> int:
        """How many tokens of ``sequence``, from its beginning, the caches hold already."""
        return shared_prefix(self._tokens, sequence)

    def rewind(self, position: int) -> None:
        """Forget the tokens from ``position`` on; what the caches hold there is never read again."""
        del self._tokens[position:]

    def follow(self, sequence: Sequence[int], *, rows: int = 1, logits: bool = False) -> Step:
        """Make the caches hold ``sequence`` and return what follows each of its last ``rows`` tokens.

        Returns ids [rows] and, when asked, logits [rows, vocabulary]. With rows = 0 the caches are
        filled and both are empty. Needs rows <= len(sequence) <= context.

        Raises:
            DeviceLost: the device is lost, and nothing takes over.
        """
        try:
            return self._follow(sequence, rows=rows, logits=logits)
        except DeviceLost as error:
            self.rewind(0)
            if self._take_over is None:
                raise
            self.program = self._take_over(error)
        return self.follow(sequence, rows=rows, logits=logits)

    def _follow(self, sequence: Sequence[int], *, rows: int, logits: bool) -> Step:
        self.rewind(min(self.shared(sequence), len(sequence) - rows))
        # What is verified is one pass, as the cost model counts it.
        next_pass = next_width if rows > 1 else next_width_of_reading
        steps = []
        while (start := self.position) < len(sequence):
            width = next_pass(len(sequence) - start, start, self.program.widths, self.context)
            taken = sequence[start : start + width]
            # Only the last ``rows`` are of use to the caller, and a pass that fills the cache can leave out the head.
            wanted = min(len(taken), max(0, start + len(taken) - (len(sequence) - rows)))
            first = len(taken) - wanted if wanted else width
            step = self.program.step(_padded(taken, width), start, first=first, logits=logits and wanted > 0)
            self._tokens += taken
            if wanted:
                steps.append(_rows(step, wanted))
        return _joined(steps)


def _padded(tokens: Sequence[int], width: int) -> NDArray[np.int32]:
    padded = np.zeros(width, np.int32)
    padded[: len(tokens)] = tokens
    return padded


def _rows(step: Step, wanted: int) -> Step:
    """Without the rows of the padding."""
    return Step(step.ids[:wanted], None if step.logits is None else step.logits[:wanted])


def _joined(steps: list[Step]) -> Step:
    if len(steps) == 1:
        return steps[0]
    logits = [step.logits for step in steps if step.logits is not None]
    ids = [step.ids for step in steps]
    return Step(np.concatenate(ids) if ids else np.zeros(0, np.int32), np.concatenate(logits) if logits else None)
