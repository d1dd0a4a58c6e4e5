"""``paceline bench``: plain against speculative decoding on the same prompts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paceline.commands.generating import as_prompt, open_model
from paceline.commands.options import MAP_HELP, AsJson, BundleFolder, Drafter, Limit, MinConfidence, Raw
from paceline.console import Report, note, print_json, print_table, progress
from paceline.errors import PacelineError, PromptError, UsageError

if TYPE_CHECKING:
    from paceline.runtime import Model
    from paceline.runtime.compare import Outcome
    from paceline.runtime.pace import DraftLength
    from paceline.runtime.prompts import Prompt

EPILOG = """$ paceline bench bundles/smollm2 --prompts prompts.jsonl --category coding --draft-lengths 2,4
"""


def page(
    bundle: BundleFolder,
    prompts: Annotated[
        Path, typer.Option(help="JSON lines with 'turns' (as Spec-Bench) or 'prompt', or text, one prompt a line.")
    ],
    mapping: Annotated[list[str] | None, typer.Option("--map", help=MAP_HELP + " May be repeated.")] = None,
    draft_lengths: Annotated[str, typer.Option(help="Tokens to draft each round, separated by commas.")] = "1,2,4",
    adapt: Annotated[
        bool, typer.Option("--adapt/--no-adapt", help="Measure an adaptive length too, where the plan has its costs.")
    ] = True,
    min_confidence: MinConfidence = 0.0,
    drafter: Drafter = None,
    category: Annotated[list[str] | None, typer.Option(help="Only these categories; may be repeated.")] = None,
    limit: Limit = None,
    max_tokens: Annotated[int, typer.Option(help="Tokens to generate after each prompt.", min=1)] = 64,
    raw: Raw = False,
    as_json: AsJson = False,
) -> None:
    """Measure the speed-up of drafting, and check that it changes no token."""
    lengths = _lengths(draft_lengths)
    chosen = _chosen(prompts, category or [], limit)
    results: dict[str, tuple[Outcome, ...]] = {}
    with progress(enabled=not as_json) as report:
        wanted: list[str | None] = [*mapping] if mapping else [None]
        for one in wanted:
            # A positive length asks for a drafter even where the plan has none.
            ahead = None if one else max(lengths)
            with open_model(
                bundle,
                mapping=one,
                draft_length=ahead,
                drafter=drafter,
                min_confidence=min_confidence,
                fallback=False,  # half of a text on another device is no measurement
            ) as model:
                name = str(model.setting.mapping)
                results[name] = _measure(model, chosen, lengths, max_tokens, adapt=adapt, raw=raw, report=report)
    _show(results, as_json=as_json)
    _check_identical(results)


def _lengths(text: str) -> tuple[int, ...]:
    try:
        lengths = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"cannot read the draft lengths {text!r}; expected for example 1,2,4") from None
    if min(lengths) < 0:
        raise UsageError(f"draft length is {min(lengths)}, expected 0 or a positive number")
    return lengths


def _chosen(path: Path, categories: list[str], limit: int | None) -> tuple[Prompt, ...]:
    from paceline.runtime.prompts import read_prompts

    prompts = read_prompts(path)
    if unknown := set(categories) - {prompt.task for prompt in prompts}:
        known = ", ".join(sorted({prompt.task for prompt in prompts}))
        raise PromptError(f"{path} has no prompt of category {', '.join(sorted(unknown))}; it has {known}")
    return tuple(prompt for prompt in prompts if not categories or prompt.task in categories)[:limit]


def _measure(
    model: Model,
    prompts: tuple[Prompt, ...],
    lengths: tuple[int, ...],
    max_tokens: int,
    *,
    adapt: bool,
    raw: bool,
    report: Report,
) -> tuple[Outcome, ...]:
    from paceline.runtime.compare import compare

    ready = [as_prompt(model, prompt.text, raw=raw) for prompt in prompts]
    adaptive: tuple[DraftLength, ...] = ("adaptive",) if adapt and model.setting.pacing else ()
    return compare(model, ready, draft_lengths=(*lengths, *adaptive), max_new_tokens=max_tokens, report=report)


def _show(results: dict[str, tuple[Outcome, ...]], *, as_json: bool) -> None:
    if as_json:
        print_json(results)
        return
    columns = ("drafts", "tokens/s", "speed-up", "with prompt", "alpha", "tokens a round", "same text")
    for name, outcomes in results.items():
        title = f"{name}: medians over prompts, against plain decoding there"
        print_table(title, columns, [_row(outcome) for outcome in outcomes])


def _row(outcome: Outcome) -> tuple[str, ...]:
    kept = outcome.acceptance
    alpha = "" if kept.alpha is None else f"{kept.alpha:.2f}"
    tokens = (kept.accepted + kept.rounds) / max(1, kept.rounds)
    return (
        str(outcome.draft_length),
        f"{outcome.tokens_per_second:.1f}",
        f"{outcome.speedup:.2f}x",
        f"{outcome.total_speedup:.2f}x",
        alpha,
        f"{tokens:.2f}",
        f"{outcome.identical}/{outcome.prompts}",
    )


def _check_identical(results: dict[str, tuple[Outcome, ...]]) -> None:
    wrong = [
        f"{name}, draft length {outcome.draft_length}: prompts {', '.join(map(str, outcome.different))}"
        for name, outcomes in results.items()
        for outcome in outcomes
        if outcome.different
    ]
    if wrong:
        raise PacelineError(f"speculative texts differ from the plain ones ({'; '.join(wrong)}); please report this")
    note("all speculative texts are identical to the plain ones, token for token")
