"""``paceline pack``: a bundle becomes one file that a board can run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paceline import console
from paceline.commands.options import AsJson
from paceline.errors import OutputError, UsageError

if TYPE_CHECKING:
    from paceline.partition.contents import Contents
    from paceline.runtime.pack_format import PackManifest

EPILOG = """\
Examples:
  $ paceline pack bundles/smollm2 -o smollm2.tar.zst
  $ paceline pack bundles/qwen --only-plan -o qwen.tar.zst     # on the board: paceline unpack qwen.tar.zst
"""


def page(
    bundle: Annotated[Path, typer.Argument(help="Folder that 'paceline compile' made.")],
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="The new file, NAME.tar.zst, or a folder for one called like the bundle; - is standard output.",
        ),
    ],
    only_plan: Annotated[
        bool, typer.Option("--only-plan", help="Leave out programs and weights that the stored plan does not run.")
    ] = False,
    unit: Annotated[list[str] | None, typer.Option(help="Only programs of this unit; may be repeated.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    as_json: AsJson = False,
) -> None:
    """Pack what a board needs of a bundle: programs, weights, tokenizer, chat template, plan and measurements.

    Every byte is checked against its checksum. The same bundle gives the same bytes.
    """
    from paceline.files import is_stream, real_place
    from paceline.partition.contents import list_contents
    from paceline.runtime.pack import pack

    file = _file(output, bundle)
    if as_json and is_stream(file):
        raise UsageError(f"{file} holds the pack; it takes no --json")
    contents = list_contents(bundle, only_plan=only_plan, units=tuple(unit or ()))
    if real_place(file) in {(bundle / name).resolve() for name in (*contents.files, *contents.left_out)}:
        raise OutputError(f"{file} is a part of the bundle; choose another output")
    with console.progress() as report:
        manifest = pack(contents, file, replace=force, report=report)
    size = None if is_stream(file) else file.stat().st_size
    if as_json:
        found = {"file": str(file), "bytes": size, "left_out": contents.left_out, "remarks": contents.remarks}
        console.print_json({**found, "manifest": manifest})
    elif size is not None:  # a stream holds the pack, and takes no remarks
        _show(contents, manifest, file, size)


def _file(output: str, bundle: Path) -> Path:
    """The file that ``output`` names; in a folder it is called like the bundle's.

    Raises:
        OutputError: there is no such folder, or it is the bundle.
    """
    if output == "-":
        return Path("/dev/stdout")
    path = Path(output)
    if output.endswith("/") and not path.is_dir():
        raise OutputError(f"cannot write into {output}: there is no such folder; make it, or leave the last slash")
    if not path.is_dir():
        return path
    if path.resolve() == bundle.resolve():
        raise OutputError(f"cannot write into {output}: that is the bundle itself; choose another folder")
    return path / f"{bundle.resolve().name}.tar.zst"


def _show(contents: Contents, manifest: PackManifest, output: Path, size: int) -> None:
    named = f"{manifest.name} for {manifest.soc}, {len(manifest.files)} files of {manifest.total / 1e6:.1f} MB"
    print(f"{output}: {size / 1e6:.1f} MB ({named})")
    if contents.left_out:
        saved = sum(contents.left_out.values()) / 1e6
        print(f"left out: {', '.join(contents.left_out)}; that saves {saved:.1f} MB on the board")
    for remark in contents.remarks:
        print(f"left out: {remark}")
