"""``paceline acceptance``: how many drafts the target keeps, by task, without speculating for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paceline import console
from paceline.commands.drafts import drafts_table
from paceline.commands.generating import as_folder
from paceline.commands.options import AsJson, BundleFolder, written_file
from paceline.errors import PacelineError

if TYPE_CHECKING:
    from paceline.runtime.acceptance import MeasuredAcceptance

EPILOG = """\
Example:
  $ paceline acceptance bundles/smollm2 --prompts prompts.jsonl -o acceptance.json
  $ paceline plan bundles/smollm2 --acceptance acceptance.json
"""


def page(
    bundle: BundleFolder,
    prompts: Annotated[
        Path | None,
        typer.Option(help="JSON lines with 'turns' (as Spec-Bench) or 'prompt', or one prompt a line (default: six)."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only the first prompts of each category, this many.")
    ] = None,
    tokens: Annotated[int, typer.Option(min=2, help="Tokens that the target writes after each prompt.")] = 64,
    max_draft_length: Annotated[int, typer.Option(min=1, max=64, help="Longest draft to replay.")] = 8,
    live: Annotated[
        int, typer.Option(min=0, metavar="N", help="Speculate after the first N prompts too, and compare each round.")
    ] = 0,
    output: Annotated[
        Path | None,
        written_file("Where to write it (default: acceptance.json of the bundle).", "--output", "-o"),
    ] = None,
    every_length: Annotated[bool, typer.Option("--all", help="Show every draft length.")] = False,
    as_json: AsJson = False,
) -> None:
    """Measure accepted lengths by task and draft length.

    The target writes each text as it would without a drafter, the drafter reads it, and every draft length is replayed
    over the two: greedy speculation keeps exactly these drafts, whatever it would cost here.
    """
    from paceline.costmodel.acceptance import ACCEPTANCE
    from paceline.documents import write_json
    from paceline.partition import read_bundle
    from paceline.partition.bundle import check_output
    from paceline.runtime.acceptance import first_of_each, measure_acceptance
    from paceline.runtime.prompts import BUILT_IN, read_prompts

    bundle = as_folder(bundle)
    compiled, chosen = read_bundle(bundle, checksums=True), read_prompts(prompts) if prompts else BUILT_IN
    place = check_output(output or bundle / ACCEPTANCE, bundle, compiled)
    with console.progress(enabled=not as_json) as report:
        found = measure_acceptance(
            bundle,
            compiled,
            prompts=first_of_each(chosen, limit),
            tokens=tokens,
            longest=max_draft_length,
            live=live,
            report=report,
        )
    try:
        write_json(place, found.file)
    finally:  # what took minutes is shown, even where it cannot be written
        console.print_json(found.file) if as_json else _show(found, every_length=every_length)
    if not as_json:
        print(f"wrote {place}")
    if found.skipped:
        console.note(f"{found.skipped} prompts are longer than the context and were left out")
    if found.differing:
        raise PacelineError(
            f"live speculation kept other drafts than the replay in {found.differing} of {found.compared} texts;"
            " please report this"
        )


def _show(found: MeasuredAcceptance, *, every_length: bool) -> None:
    console.print_table("Drafts kept by the target", *drafts_table(found.file.histograms, every_length=every_length))
    if found.compared:
        print(f"live speculation kept the same drafts in {found.compared - found.differing} of {found.compared} texts")
