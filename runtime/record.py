"""What happened during a generation: seconds by phase and accepted lengths, and the statistics made of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import msgspec

from paceline.costmodel import Acceptance, Role, count_rounds

SCHEMA = 1
Phase = Literal["prefill", "draft", "verify", "accept"]
StopReason = Literal["eos", "stop", "length", "context", "abandoned"]


class Seconds(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Seconds by phase; ``host`` is what was neither a forward pass nor acceptance, the consumer's time excluded."""

    prefill: float
    draft: float
    verify: float
    accept: float
    host: float


class Fallback(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The device of ``role`` was ``lost`` (its unit) in the middle of a text.

    ``unit`` is where it went on; None for a drafter: decoding went on plain.
    """

    role: Role
    lost: str
    unit: str | None
    reason: str


class Stats(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Statistics of one generation.

    Attributes:
        prompt_tokens: length of the prompt; ``reused_tokens`` of them were in the cache already.
        tokens: how many were generated; ``drafted_tokens`` of them were drafts that the target kept.
        rounds: passes of the target after the first, which reads the prompt.
        draft_length: of every round; where it was ``adaptive``, what the plan chose: ``acceptance`` has the lengths.
        overlapped: whether the drafter worked while the target did; ``ready`` rounds then found their drafts made.
        fallback: devices that were lost meanwhile; reading the text again elsewhere counts in the seconds.
        acceptance: histogram of accepted lengths over those rounds.
        decode_seconds: after the first token, the drafter's reading of the prompt aside: what the rounds took.
        tokens_per_second: of the tokens in these seconds; 0 without a second token.
        time_to_first_token: seconds, 0 where there is none; ``total_seconds`` is the whole, the consumer's time aside.
    """

    schema: int = SCHEMA
    prompt_tokens: int
    reused_tokens: int
    tokens: int
    drafted_tokens: int
    rounds: int
    draft_length: int
    adaptive: bool = False
    overlapped: bool = False
    ready: int = 0
    fallback: tuple[Fallback, ...] = ()
    acceptance: Acceptance
    seconds: Seconds
    decode_seconds: float
    tokens_per_second: float
    time_to_first_token: float
    total_seconds: float
    stop_reason: StopReason


class Record:
    """Collects while a generation runs; ``stats`` makes the value."""

    def __init__(self) -> None:
        self.reused = 0
        self.active = 0.0
        self.first = 0.0
        self._first_prefill = 0.0
        self._started = 0.0
        self.tokens = 0
        self.drafted = 0
        self.ready = 0
        self.fallbacks: list[Fallback] = []
        self._phases = dict.fromkeys(("prefill", "draft", "verify", "accept"), 0.0)
        self._rounds: list[tuple[int, int]] = []

    @contextmanager
    def phase(self, name: Phase) -> Iterator[None]:
        """Book the seconds of the body under ``name``."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._phases[name] += time.perf_counter() - start

    @contextmanager
    def running(self) -> Iterator[None]:
        """Book the seconds of the body as work, in whatever phase."""
        self._started = time.perf_counter()
        try:
            yield
        finally:
            self.active += time.perf_counter() - self._started

    def first_token(self) -> None:
        """Note, within ``running``, that the first token is known; all work so far led to it."""
        self.first = self.active + time.perf_counter() - self._started
        self._first_prefill = self._phases["prefill"]

    def round(self, drafted: int, accepted: int, *, ready: bool = False) -> None:
        """Count a round; its drafts were ``ready`` where they had been made while the target worked."""
        self._rounds.append((drafted, accepted))
        self.ready += ready

    def token(self, *, drafted: bool) -> None:
        """Count a token that was handed out."""
        self.tokens += 1
        self.drafted += drafted

    @property
    def acceptance(self) -> Acceptance:
        """Histogram of accepted lengths so far."""
        return Acceptance(counts=count_rounds(self._rounds))

    def stats(
        self,
        *,
        prompt_tokens: int,
        draft_length: int,
        stop_reason: StopReason,
        adaptive: bool = False,
        overlapped: bool = False,
    ) -> Stats:
        """The value of what was collected so far."""
        later = self.active - self.first - (self._phases["prefill"] - self._first_prefill)
        return Stats(
            prompt_tokens=prompt_tokens,
            reused_tokens=self.reused,
            tokens=self.tokens,
            drafted_tokens=self.drafted,
            rounds=len(self._rounds),
            draft_length=draft_length,
            adaptive=adaptive,
            overlapped=overlapped,
            ready=self.ready,
            fallback=tuple(self.fallbacks),
            acceptance=self.acceptance,
            seconds=Seconds(host=max(0.0, self.active - sum(self._phases.values())), **self._phases),
            decode_seconds=max(0.0, later),
            tokens_per_second=(self.tokens - 1) / later if self.tokens > 1 and later > 0 else 0.0,
            time_to_first_token=self.first,
            total_seconds=self.active,
            stop_reason=stop_reason,
        )
