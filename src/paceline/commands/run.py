"""``paceline run``: a prompt, or a conversation, streamed."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paceline.commands.generating import as_folder, as_prompt, open_model, stream
from paceline.commands.options import MAP_HELP, BundleFolder, Drafter, MinConfidence, Raw, written_file
from paceline.console import note, print_json
from paceline.errors import UsageError

if TYPE_CHECKING:
    from paceline.runtime import Generation, Message, Model

EPILOG = """$ paceline run bundles/smollm2 "Why is the sky blue?" --max-tokens 64
"""
_Prompt = Annotated[str | None, typer.Argument(help="The prompt; - reads it from standard input.")]
_Chat = Annotated[bool, typer.Option("--chat", help="Talk: a line is a turn, also from a pipe; end with Ctrl-D.")]
_Map = Annotated[str | None, typer.Option("--map", help=MAP_HELP)]
_DraftLength = Annotated[
    int | None,
    typer.Option(help="Tokens to draft each round; 0 does not draft. Default: the plan's, adapted to what is kept."),
]
_Adapt = Annotated[bool, typer.Option("--adapt/--no-adapt", help="Adapt the plan's draft length.")]
_Pin = Annotated[
    str | None,
    typer.Option(help="CPU cores of each model, e.g. drafter=0,target=1-3, or names of the SoC's clusters, or auto."),
]
_Overlap = Annotated[
    bool | None,
    typer.Option("--overlap/--no-overlap", help="Draft on while the target verifies. Default: what the plan says."),
]
_MaxTokens = Annotated[int, typer.Option(help="Most tokens to generate.")]
_Temperature = Annotated[float, typer.Option(help="0 takes the likeliest token.")]
_TopK = Annotated[int, typer.Option(help="Sample among the k likeliest; 0 means all.")]
_TopP = Annotated[float, typer.Option(help="Sample among the likeliest that hold this share.")]
_Seed = Annotated[int, typer.Option(help="The same seed draws the same text.")]
_Stop = Annotated[list[str] | None, typer.Option(help="Stop before this text; may be repeated.")]
_System = Annotated[str | None, typer.Option(help="System message, for models with a chat template.")]
_Compare = Annotated[bool, typer.Option("--compare", help="Generate once more without drafts and compare.")]
_Stats = Annotated[Path | None, written_file("Write the statistics to this file as JSON.")]
_AsJson = Annotated[bool, typer.Option("--json", help="Print text and statistics as JSON; with --chat, a line a turn.")]


def page(
    bundle: BundleFolder,
    prompt: _Prompt = None,
    chat: _Chat = False,
    mapping: _Map = None,
    draft_length: _DraftLength = None,
    adapt: _Adapt = True,
    min_confidence: MinConfidence = 0.0,
    drafter: Drafter = None,
    pin: _Pin = None,
    overlap: _Overlap = None,
    max_tokens: _MaxTokens = 256,
    temperature: _Temperature = 0.0,
    top_k: _TopK = 0,
    top_p: _TopP = 1.0,
    seed: _Seed = 0,
    stop: _Stop = None,
    system: _System = None,
    raw: Raw = False,
    compare: _Compare = False,
    stats: _Stats = None,
    as_json: _AsJson = False,
) -> None:
    """Generate after a prompt and show how it went: mapping, acceptance, tokens per second, speed-up."""
    if chat and (prompt is not None or raw or compare):
        raise UsageError("--chat reads its prompts from standard input; it takes no PROMPT, --raw or --compare")
    text = "" if chat else _prompt_text(prompt)
    sampling = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed}
    options: dict[str, Any] = {"max_new_tokens": max_tokens, **sampling, "stop": stop or ()}
    drafting = {"draft_length": draft_length, "adapt": adapt, "min_confidence": min_confidence, "drafter": drafter}
    bundle = as_folder(bundle)
    if stats is not None:
        _check_stats(stats, bundle)
    with open_model(bundle, mapping=mapping, **drafting, pin=pin, overlap=overlap) as model:
        telling = _Telling(bundle, model, options, stats, as_json)
        if chat:
            telling.conversation(system)
        else:
            telling.answer(as_prompt(model, text, raw=raw, system=system), compare=compare)


def _check_stats(stats: Path, bundle: Path) -> None:
    from paceline.partition import read_bundle
    from paceline.partition.bundle import check_output

    check_output(stats, bundle, read_bundle(bundle))


def _prompt_text(prompt: str | None) -> str:
    if prompt not in (None, "-"):
        return prompt or ""
    if prompt is None and sys.stdin.isatty():
        raise UsageError("no prompt; give one, - for standard input, or --chat")
    if not (text := sys.stdin.read()):
        raise UsageError("standard input is empty; give a prompt")
    return text


@dataclass(frozen=True, slots=True)
class _Telling:
    """Generates with ``options``, and tells how it went: on stderr, as JSON on stdout, and in the file ``stats``."""

    bundle: Path
    model: Model
    options: dict[str, Any]
    stats: Path | None
    as_json: bool

    def conversation(self, system: str | None) -> None:
        """Answer line after line."""
        from paceline.commands.chat import talk

        for answer in talk(self.model, self.options, system=system, silent=self.as_json):
            self._tell(answer, as_line=True)

    def answer(self, prompt: str | list[Message], *, compare: bool) -> None:
        """Answer one prompt; an interrupted answer is told as far as it came."""
        generation = self.model.generate(prompt, **self.options)
        try:
            stream(generation, silent=self.as_json)
        except KeyboardInterrupt:
            self._tell(generation)
            raise
        self._tell(generation, compare=compare)

    def _tell(self, generation: Generation, *, compare: bool = False, as_line: bool = False) -> None:
        from paceline.commands.run_report import measure_plain, profiled_plain, report_of, summary
        from paceline.documents import write_json

        model = self.model
        plain = measure_plain(model, generation, self.options) if compare else profiled_plain(self.bundle, model)
        report = report_of(model, generation, plain)
        if self.as_json:
            print_json(report, line=as_line)
        for line in summary(report):
            note(line)
        if self.stats is not None:
            write_json(self.stats, report)
