"""A way to decode, timed in the loop that users run: a mapping and a draft length over texts that are known."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from paceline.costmodel import Drafting
from paceline.partition import Mapping
from paceline.runtime.averages import error_of_sum, interquartile_mean, standard_error
from paceline.runtime.measure import BURST_SECONDS, WARM_SECONDS
from paceline.runtime.measure_host import TimedModel
from paceline.runtime.replay import Recording


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A mapping, the model that runs it, and the texts that its target writes."""

    mapping: Mapping
    timed: TimedModel
    recordings: tuple[Recording, ...]

    @property
    def drafting(self) -> Drafting:
        """What proposes drafts."""
        return self.timed.drafting

    @property
    def overlap(self) -> bool:
        """Whether the drafter works while the target does."""
        return self.timed.model.setting.overlap

    def lengths(self, wanted: Sequence[int]) -> tuple[int, ...]:
        """Those of ``wanted`` that this way can draft: none but 0 without a drafter."""
        return (0,) if self.drafting == "none" else tuple(length for length in wanted if length)


@dataclass(slots=True)
class Case:
    """A way and a draft length.

    ``seconds[prompt]`` are those of its repeats, ``strange`` counts texts that are not as they were recorded.
    """

    way: Way
    draft_length: int
    seconds: dict[int, list[float]] = field(default_factory=dict)
    tokens: dict[int, int] = field(default_factory=dict)
    strange: int = 0

    def run(self, number: int) -> None:
        """Time the text of prompt ``number`` once more."""
        self.seconds.setdefault(number, []).append(self.sample(number))

    def sample(self, number: int) -> float:
        """Mean seconds of rounds of a text of prompt ``number``, not kept.

        The first texts do not count, as the first passes do not; those after them find the prompt read.
        """
        self.way.timed.model.forget()
        for _ in self._texts(number, WARM_SECONDS):
            pass
        return statistics.mean(self._texts(number, BURST_SECONDS))

    def _texts(self, number: int, least: float) -> Iterator[float]:
        spent = 0.0
        while spent < least:
            yield (seconds := self._generate(number))
            if not seconds:
                return  # a text of one token has no rounds to time
            spent += seconds

    def _generate(self, number: int) -> float:
        recording, model = self.way.recordings[number], self.way.timed.model
        generation = model.generate(
            recording.prompt, max_new_tokens=recording.max_tokens, draft_length=self.draft_length
        ).finish()
        stats = generation.stats
        self.tokens[number] = stats.rounds + stats.acceptance.accepted
        self.strange += generation.ids != recording.answer[: len(generation.ids)]
        return stats.decode_seconds

    @property
    def all_tokens(self) -> int:
        """Tokens that rounds brought in one repeat of every prompt; the one that ends a text counts."""
        return max(1, sum(self.tokens.values()))

    @property
    def seconds_per_token(self) -> float:
        """Interquartile means over repeats, as of passes, added up over prompts."""
        return sum(map(interquartile_mean, self.seconds.values())) / self.all_tokens

    @property
    def standard_error(self) -> float | None:
        """Of ``seconds_per_token``; None after a single repeat."""
        error = error_of_sum([standard_error(seconds) for seconds in self.seconds.values()])
        return None if error is None else error / self.all_tokens

    @property
    def spread(self) -> tuple[float, float]:
        """Seconds a token if every prompt had taken its quickest, or its slowest, repeat."""
        return (
            sum(map(min, self.seconds.values())) / self.all_tokens,
            sum(map(max, self.seconds.values())) / self.all_tokens,
        )
