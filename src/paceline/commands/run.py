"""``paceline run``: a prompt, or a conversation, streamed."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paceline.commands.generating import (
    MAP_HELP,
    BundleFolder,
    Drafter,
    Raw,
    System,
    as_prompt,
    open_model,
    opening,
)
from paceline.console import discard_stdout, note, print_json
from paceline.errors import PromptError, UsageError

if TYPE_CHECKING:
    from paceline.commands.run_report import RunReport
    from paceline.runtime import Generation, Message, Model

EPILOG = """$ paceline run bundles/smollm2 "Why is the sky blue?" --max-tokens 64
"""


def page(
    bundle: BundleFolder,
    prompt: Annotated[str | None, typer.Argument(help="The prompt; - reads it from standard input.")] = None,
    chat: Annotated[bool, typer.Option("--chat", help="Talk: one line a turn; end with Ctrl-D.")] = False,
    mapping: Annotated[str | None, typer.Option("--map", help=MAP_HELP)] = None,
    draft_length: Annotated[int | None, typer.Option(help="Tokens to draft each round; 0 does not draft.")] = None,
    drafter: Drafter = None,
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
    as_json: Annotated[bool, typer.Option("--json", help="Print text and statistics as one JSON document.")] = False,
) -> None:
    """Generate after a prompt and show how it went: mapping, acceptance, tokens per second, speed-up."""
    if chat and (prompt is not None or as_json or raw or compare):
        raise UsageError("--chat reads its prompts from the terminal; it takes no PROMPT, --json, --raw or --compare")
    text = "" if chat else _prompt_text(prompt)
    options = {
        "max_new_tokens": max_tokens,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "seed": seed,
        "stop": stop or (),
    }
    with open_model(bundle, mapping=mapping, draft_length=draft_length, drafter=drafter) as model:
        if chat:
            _chat(bundle, model, system, options, stats)
            return
        generation = _stream(model, as_prompt(model, text, raw=raw, system=system), options, silent=as_json)
        report = _report(bundle, model, generation, compare=compare, options=options)
        _finish(report, stats, as_json=as_json)


def _prompt_text(prompt: str | None) -> str:
    if prompt not in (None, "-"):
        return prompt or ""
    if prompt is None and sys.stdin.isatty():
        raise UsageError("no prompt; give one, - for standard input, or --chat")
    return sys.stdin.read()


def _stream(model: Model, prompt: str | list[Message], options: dict[str, Any], *, silent: bool) -> Generation:
    generation = model.generate(prompt, **options)
    try:
        for token in generation:
            if token.text and not silent:
                sys.stdout.write(token.text)
                sys.stdout.flush()
        if not silent:
            sys.stdout.write("\n")
            sys.stdout.flush()
    except BrokenPipeError:
        discard_stdout()  # the reader has seen enough
        raise typer.Exit from None
    finally:
        generation.close()
    return generation


def _report(bundle: Path, model: Model, generation: Generation, *, compare: bool, options: dict[str, Any]) -> RunReport:
    from paceline.commands.run_report import measure_plain, profiled_plain, report_of

    plain = measure_plain(model, generation, options) if compare else profiled_plain(bundle, model)
    return report_of(model, generation, plain)


def _finish(report: RunReport, stats: Path | None, *, as_json: bool) -> None:
    from paceline.commands.run_report import summary
    from paceline.files import write_json

    if as_json:
        print_json(report)
    for line in summary(report):
        note(line)
    if stats is not None:
        write_json(stats, report)


def _chat(bundle: Path, model: Model, system: str | None, options: dict[str, Any], stats: Path | None) -> None:
    if not model.has_chat_template:
        raise PromptError("this model has no chat template, so it cannot chat; give it a PROMPT to continue")
    _line_editing()
    messages = opening(system)
    while (line := _read_line()) is not None:
        if not line.strip():
            continue
        messages.append({"role": "user", "content": line})
        try:
            generation = _answer(model, messages, options, opening(system))
        except PromptError as error:
            note(f"error: {error}")
            messages.pop()
            continue
        messages.append({"role": "assistant", "content": generation.text})
        _finish(_report(bundle, model, generation, compare=False, options=options), stats, as_json=False)


def _answer(model: Model, messages: list[Message], options: dict[str, Any], beginning: list[Message]) -> Generation:
    if len(model.encode(messages)) > model.context and len(messages) > len(beginning) + 1:
        note(f"the conversation is longer than the context of {model.context} tokens; starting a new one")
        messages[:] = [*beginning, messages[-1]]
    generation = model.generate(messages, **options)
    try:
        for token in generation:
            sys.stdout.write(token.text)
            sys.stdout.flush()
    except KeyboardInterrupt:
        note(" (stopped)")
    sys.stdout.write("\n")
    return generation


def _read_line() -> str | None:
    try:
        return input("> " if sys.stdin.isatty() else "")
    except EOFError:
        return None


def _line_editing() -> None:
    # Importing readline is what gives input() a history; some builds of Python lack it.
    if importlib.util.find_spec("readline"):
        importlib.import_module("readline")
