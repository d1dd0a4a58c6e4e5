"""A device that computes nothing: seeded logits in constant time, for loops, planners and pages in milliseconds."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from paceline.errors import DeviceLost
from paceline.partition import Bundle, BundledModel
from paceline.runtime.program import Step, check_span
from paceline.targets import Figure, ProcessingUnit

_NOTHING = Figure(value=1.0, source="null device")
NULL_UNIT = ProcessingUnit(
    name="cpu",
    kind="cpu",
    description="null device",
    cores=1,
    peak={"f32": _NOTHING},
    bandwidth=_NOTHING,
    memory=Figure(value=1e12, source="null device: it loads nothing"),
    launch=_NOTHING,
)


@dataclass(frozen=True)
class NullDevice:
    """Loads any model. A drafter agrees with the target on the next token with probability ``agreement``.

    Each of its programs is lost in its pass number ``fault_at``, counted from 1, and in all that follow.
    """

    unit: ProcessingUnit = NULL_UNIT
    description: str = "null device"
    seed: int = 0
    agreement: float = 0.8
    seconds: float = 0.0
    fault_at: int | None = None

    def load(self, folder: Path, bundle: Bundle, model: BundledModel) -> NullProgram:
        """A program of the right shape; ``folder`` is not read."""
        return NullProgram(
            widths=bundle.widths,
            context=bundle.context,
            vocabulary=model.spec.vocabulary,
            seed=self.seed,
            agreement=self.agreement if model.role == "drafter" else 1.0,
            seconds=self.seconds,
            fault_at=self.fault_at,
        )


class NullProgram:
    """Logits are a pure function of (seed, last ``order`` tokens): what a real cache must reproduce, without weights.

    It remembers tokens as a cache does, so a wrong position or a missing rewind shows in its logits.
    """

    def __init__(
        self,
        *,
        widths: tuple[int, ...] = (1, 2, 4, 8, 16),
        context: int = 128,
        vocabulary: int = 32,
        seed: int = 0,
        agreement: float = 1.0,
        seconds: float = 0.0,
        order: int = 3,
        fault_at: int | None = None,
    ) -> None:
        self.widths, self.context, self.vocabulary = widths, context, vocabulary
        self._seed, self._agreement, self._seconds, self._order = seed, agreement, seconds, order
        self._cache = np.zeros(context, np.int32)
        self._fault_at, self._passes = fault_at, 0
        self.closed = False

    def step(self, tokens: NDArray[np.int32], position: int, *, first: int = 0, logits: bool = False) -> Step:
        """See ``Program.step``."""
        width = len(tokens)
        check_span(self, width, position, first)
        if width not in self.widths:
            raise ValueError(f"{width} tokens a pass, expected one of {self.widths}")
        if not 0 <= tokens.min() <= tokens.max() < self.vocabulary:
            # A real program would read whatever lies beyond its embedding.
            raise ValueError(f"tokens {tokens.tolist()} are not all within the vocabulary of {self.vocabulary}")
        self._passes += 1
        if self._fault_at is not None and self._passes >= self._fault_at:
            raise DeviceLost(f"the null device was lost (pass {self._passes})")
        if self._seconds:
            time.sleep(self._seconds)
        self._cache[position : position + width] = tokens
        rows = np.zeros((width - first, self.vocabulary), np.float32)
        for row in range(first, width):
            rows[row - first] = self.logits_after(self._cache[: position + row + 1])
        return Step(rows.argmax(-1).astype(np.int32), rows if logits else None)

    def logits_after(self, prefix: NDArray[np.int32]) -> NDArray[np.float32]:
        """Logits [vocabulary] of the token after ``prefix``."""
        key = np.asarray(prefix[-self._order :], np.int32).tobytes()
        common = self._random(b"common", key)
        rows = common.standard_normal(self.vocabulary, np.float32)
        if common.random() < self._agreement:
            return rows
        return self._random(b"own", key).standard_normal(self.vocabulary, np.float32)

    def _random(self, *parts: bytes) -> np.random.Generator:
        digest = hashlib.blake2b(b"|".join((str(self._seed).encode(), *parts)), digest_size=8).digest()
        return np.random.default_rng(int.from_bytes(digest))

    def close(self) -> None:
        """See ``Program.close``."""
        self.closed = True
