"""Options that several pages share. What one page alone has stands beside that page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer


def _file_name(text: str | Path) -> Path:
    """The name of a file to be written: of a folder's name, which ends in a slash, pathlib would make one.

    Raises:
        BadParameter: it ends in a slash.
    """
    if str(text).endswith("/"):
        raise typer.BadParameter(f"{str(text)!r} is a folder's name; give a file's")
    return Path(text)


def written_file(about: str, *names: str) -> Any:
    """An option that names a file to be written."""
    return typer.Option(*names, parser=_file_name, metavar="FILE", help=about)


DrafterKind = Literal["model", "ngram", "none"]
MAP_HELP = "Where the models run, e.g. drafter=gpu,target=cpu (drafter: a unit, ngram or none)."

BundleFolder = Annotated[
    Path,
    typer.Argument(metavar="BUNDLE", help="Folder that 'paceline compile' made, or what 'paceline pack' made of it."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
SocName = Annotated[str, typer.Option(metavar="NAME", help="A SoC ('paceline targets' lists them), or a TOML file.")]
Drafter = Annotated[DrafterKind | None, typer.Option(help="Who drafts. Default: what the plan or the mapping says.")]
Raw = Annotated[bool, typer.Option("--raw", help="Give the prompt as it is, without the chat template.")]
MinConfidence = Annotated[
    float, typer.Option(help="Stop drafting after a token that the drafter gives less than this probability.")
]
MaxDraftLength = Annotated[int, typer.Option(min=0, max=64, help="Longest draft to consider.")]
DraftVocabulary = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=0,
        help="Ids among which the drafter chooses, the likeliest by the signs of its head; 0 is all "
        "(default: a sixteenth of 65536 or more, in int8 or int4).",
    ),
]
Limit = Annotated[int | None, typer.Option(min=1, help="Only the first prompts, this many.")]
Tokens = Annotated[int, typer.Option(min=2, help="Tokens to generate after each prompt.")]
MemoryGib = Annotated[
    float | None,
    typer.Option("--memory", min=0, max=1 << 20, metavar="GIB", help="Memory to stay within (default: the SoC's)."),
]


def in_bytes(memory: float | None) -> int | None:
    """What ``--memory`` says."""
    return None if memory is None else int(memory * (1 << 30))
