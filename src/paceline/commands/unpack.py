"""``paceline unpack``: a packed bundle becomes a folder again."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from paceline import console
from paceline.commands.options import AsJson
from paceline.errors import DeviceUnavailable

EPILOG = """\
Examples:
  $ paceline unpack smollm2.tar.zst
  smollm2: smollm2 for rk3588, 9 files, 676.3 MB; next: paceline run smollm2 PROMPT
  $ paceline pack bundles/smollm2 -o - | ssh board paceline unpack - -o smollm2
"""


def page(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="File that 'paceline pack' made, or a pipe; - is standard input.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="BUNDLE", help="The new folder (default: FILE's name).")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing bundle.")] = False,
    other_soc: Annotated[
        bool, typer.Option("--other-soc", help="Unpack it even if this machine cannot run it, to look into it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Unpack a bundle, after checking what it is for, that it fits the disk, and every byte of it.

    The folder appears whole or not at all. 'paceline run', 'profile', 'plan' and 'validate' take it; they take
    FILE as well, and unpack it into the cache once.
    """
    from paceline.runtime.unpack import check_machine, unpack

    if str(file) == "-":
        file = Path("/dev/stdin")
    try:
        with console.progress() as report:
            judge = (lambda bundle: None) if other_soc else check_machine
            folder, manifest = unpack(file, output, replace=force, judge=judge, report=report)
    except DeviceUnavailable as error:
        raise DeviceUnavailable(f"{error}; to look into it all the same: --other-soc") from error
    if as_json:
        console.print_json({"folder": str(folder), "manifest": manifest})
    else:
        what = f"{manifest.name} for {manifest.soc}, {len(manifest.files)} files, {manifest.total / 1e6:.1f} MB"
        print(f"{folder}: {what}; next: paceline run {shlex.quote(str(folder))} PROMPT")
