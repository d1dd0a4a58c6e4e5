"""``paceline run``: a prompt, or a conversation, streamed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paceline.commands.generating import (
    MAP_HELP,
    BundleFolder,
    Drafter,
    MinConfidence,
    Pin,
    Raw,
    System,
    as_folder,
    as_prompt,
    open_model,
    stream,
)
from paceline.console import note, print_json
from paceline.errors import UsageError

if TYPE_CHECKING:
    from paceline.commands.run_report import RunReport
    from paceline.runtime import Generation, Model

EPILOG = """$ paceline run bundles/smollm2 "Why is the sky blue?" --max-tokens 64
"""


def page(
    bundle: BundleFolder,
    prompt: Annotated[str | None, typer.Argument(help="The prompt; - reads it from standard input.")] = None,
    chat: Annotated[
        bool, typer.Option("--chat", help="Talk: a line is a turn, also from a pipe; end with Ctrl-D.")
    ] = False,
    mapping: Annotated[str | None, typer.Option("--map", help=MAP_HELP)] = None,
    draft_length: Annotated[
        int | None,
        typer.Option(
            help="Tokens to draft each round; 0 does not draft. Default: the plan's, adapted to what is kept."
        ),
    ] = None,
    adapt: Annotated[bool, typer.Option("--adapt/--no-adapt", help="Adapt the plan's draft length.")] = True,
    min_confidence: MinConfidence = 0.0,
    drafter: Drafter = None,
    pin: Pin = None,
    overlap: Annotated[
        bool | None,
        typer.Option("--overlap/--no-overlap", help="Draft on while the target verifies. Default: what the plan says."),
    ] = None,
    max_tokens: Annotated[int, typer.Option(help="Most tokens to generate.")] = 256,
    temperature: Annotated[float, typer.Option(help="0 takes the likeliest token.")] = 0.0,
    top_k: Annotated[int, typer.Option(help="Sample among the k likeliest; 0 means all.")] = 0,
    top_p: Annotated[float, typer.Option(help="Sample among the likeliest that hold this share.")] = 1.0,
    seed: Annotated[int, typer.Option(help="The same seed draws the same text.")] = 0,
    stop: Annotated[list[str] | None, typer.Option(help="Stop before this text; may be repeated.")] = None,
    system: System = None,
    raw: Raw = False,
    compare: Annotated[bool, typer.Option("--compare", help="Generate once more without drafts and compare.")] = False,
    stats: Annotated[Path | None, typer.Option(help="Write the statistics to this file as JSON.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print text and statistics as JSON; with --chat, a line a turn.")
    ] = False,
) -> None:
    """Generate after a prompt and show how it went: mapping, acceptance, tokens per second, speed-up."""
    if chat and (prompt is not None or raw or compare):
        raise UsageError("--chat reads its prompts from standard input; it takes no PROMPT, --raw or --compare")
    text = "" if chat else _prompt_text(prompt)
    options: dict[str, Any] = {
        "max_new_tokens": max_tokens,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "seed": seed,
        "stop": stop or (),
    }
    drafting: dict[str, Any] = {
        "draft_length": draft_length,
        "adapt": adapt,
        "min_confidence": min_confidence,
        "drafter": drafter,
        "pin": pin,
        "overlap": overlap,
    }
    bundle = as_folder(bundle)
    with open_model(bundle, mapping=mapping, **drafting) as model:
        if chat:
            from paceline.commands.chat import talk

            for answer in talk(model, options, system=system, silent=as_json):
                _finish(
                    _report(bundle, model, answer, compare=False, options=options), stats, as_json=as_json, as_line=True
                )
            return
        generation = model.generate(as_prompt(model, text, raw=raw, system=system), **options)
        try:
            stream(generation, silent=as_json)
        except KeyboardInterrupt:
            _finish(_report(bundle, model, generation, compare=False, options=options), stats, as_json=as_json)
            raise
        report = _report(bundle, model, generation, compare=compare, options=options)
        _finish(report, stats, as_json=as_json)


def _prompt_text(prompt: str | None) -> str:
    if prompt not in (None, "-"):
        return prompt or ""
    if prompt is None and sys.stdin.isatty():
        raise UsageError("no prompt; give one, - for standard input, or --chat")
    return sys.stdin.read()


def _report(bundle: Path, model: Model, generation: Generation, *, compare: bool, options: dict[str, Any]) -> RunReport:
    from paceline.commands.run_report import measure_plain, profiled_plain, report_of

    plain = measure_plain(model, generation, options) if compare else profiled_plain(bundle, model)
    return report_of(model, generation, plain)


def _finish(report: RunReport, stats: Path | None, *, as_json: bool, as_line: bool = False) -> None:
    from paceline.commands.run_report import summary
    from paceline.files import write_json

    if as_json:
        print_json(report, line=as_line)
    for line in summary(report):
        note(line)
    if stats is not None:
        write_json(stats, report)
