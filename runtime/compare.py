"""Plain against speculative decoding: the same prompts, draft lengths in turn, greedy, token by token."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import msgspec

from paceline.console import Report, quiet
from paceline.costmodel import Acceptance, merge
from paceline.runtime.chat import Message
from paceline.runtime.model import Model
from paceline.runtime.pace import DraftLength
from paceline.runtime.record import Stats


class Outcome(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One draft length over all prompts; medians over prompts.

    ``speedup`` compares tokens per second with plain decoding of the same prompt, ``total_speedup`` all seconds, the
    reading of the prompt included. ``identical`` of ``prompts`` texts equal the plain one token for token.
    """

    draft_length: DraftLength
    prompts: int
    identical: int
    tokens_per_second: float
    total_seconds: float
    speedup: float
    total_speedup: float
    host_seconds: float
    acceptance: Acceptance
    different: tuple[int, ...] = ()


def compare(
    model: Model,
    prompts: Sequence[str | Sequence[Message]],
    *,
    draft_lengths: Sequence[DraftLength],
    max_new_tokens: int,
    report: Report = quiet,
) -> tuple[Outcome, ...]:
    """Generate after every prompt with every draft length, 0 first; lengths take turns, so that drift hits all alike.

    ``host_seconds`` is the median over prompts of host seconds a round. An adaptive length begins with what the plan
    says, whatever the model did before, and learns from prompt to prompt.

    Raises:
        PromptError: a prompt that cannot be run.
        UsageError: an adaptive length where no plan has its costs.
    """
    model.forget(learnt=True)
    fixed = sorted({length for length in draft_lengths if length != "adaptive"} - {0})
    adaptive: tuple[DraftLength, ...] = ("adaptive",) if "adaptive" in draft_lengths else ()
    lengths: tuple[DraftLength, ...] = (0, *fixed, *adaptive)
    runs: dict[DraftLength, list[tuple[tuple[int, ...], Stats]]] = {length: [] for length in lengths}
    for number, prompt in enumerate(prompts):
        for length in lengths:
            report(
                str(model.setting.mapping), number * len(lengths) + lengths.index(length), len(prompts) * len(lengths)
            )
            model.forget()
            generation = model.generate(prompt, max_new_tokens=max_new_tokens, draft_length=length).finish()
            runs[length].append((generation.ids, generation.stats))
    report(str(model.setting.mapping), len(prompts) * len(lengths), len(prompts) * len(lengths))
    return tuple(_outcome(length, runs[length], runs[0]) for length in lengths)


def _outcome(
    length: DraftLength, runs: list[tuple[tuple[int, ...], Stats]], plain: list[tuple[tuple[int, ...], Stats]]
) -> Outcome:
    pairs = [(mine, theirs) for (_, mine), (_, theirs) in zip(runs, plain, strict=True)]
    different = tuple(
        number for number, (mine, theirs) in enumerate(zip(runs, plain, strict=True)) if mine[0] != theirs[0]
    )
    # A text of one token has no rate.
    timed = [(mine, theirs) for mine, theirs in pairs if mine.tokens_per_second and theirs.tokens_per_second]
    return Outcome(
        draft_length=length,
        prompts=len(runs),
        identical=len(runs) - len(different),
        tokens_per_second=_median([mine.tokens_per_second for mine, _ in timed]),
        total_seconds=_median([mine.total_seconds for mine, _ in pairs]),
        speedup=_median([mine.tokens_per_second / theirs.tokens_per_second for mine, theirs in timed]),
        total_speedup=_median([theirs.total_seconds / mine.total_seconds for mine, theirs in pairs]),
        host_seconds=_median([mine.seconds.host / max(1, mine.rounds) for mine, _ in pairs]),
        acceptance=merge([mine.acceptance for mine, _ in pairs]),
        different=different,
    )


def _median(values: list[float]) -> float:
    return median(values) if values else 0.0
