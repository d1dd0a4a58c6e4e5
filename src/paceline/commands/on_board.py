"""``--on ssh://board``: a page that works on a bundle does so on a board, and brings back what it makes there."""

from __future__ import annotations

import functools
import inspect
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paceline.console import note, progress
from paceline.errors import BoardError, OutputError, UsageError

if TYPE_CHECKING:
    from paceline.board import Board

# Pages that a board can be asked for, and what they write into the bundle.
MADE: Mapping[str, tuple[str, ...]] = {
    "profile": ("profile.json", "acceptance.json"),
    "plan": ("plan.json",),
    "run": (),
}
On = Annotated[
    str | None,
    typer.Option("--on", metavar="ssh://[USER@]HOST[:PORT][/FOLDER]", help="Do it on this board, over ssh."),
]
BoardCommand = Annotated[
    str,
    typer.Option(
        envvar="PACELINE_BOARD_COMMAND", metavar="COMMAND", help="With --on: how a shell there calls paceline."
    ),
]
_OURS = frozenset({"on", "board_command"})
_READ = "prompts"  # a file of the desk that goes to the board as standard input
_WRITTEN = "stats"  # a file that the board writes for the desk


def also_on_boards(page: Callable[..., None], *, made: tuple[str, ...]) -> Callable[..., None]:
    """Give a page the options ``--on`` and ``--board-command``; ``made`` names what it writes into the bundle."""

    @functools.wraps(page)
    def run(*, context: typer.Context, on: str | None, board_command: str, **options: Any) -> None:
        if on is None:
            page(**options)
        elif code := _there(context, on, board_command, made):
            raise typer.Exit(code)

    keyword = inspect.Parameter.KEYWORD_ONLY
    new = (
        inspect.Parameter("on", keyword, default=None, annotation=On),
        inspect.Parameter("board_command", keyword, default="paceline", annotation=BoardCommand),
        inspect.Parameter("context", keyword, annotation=typer.Context),
    )
    signature = inspect.signature(page, eval_str=True)
    old = (entry.replace(kind=keyword) for entry in signature.parameters.values())
    parameters = {entry.name: entry for entry in (*old, *new)}
    # what typer reads options from
    run.__signature__ = signature.replace(parameters=[*parameters.values()])  # type: ignore[attr-defined]
    run.__annotations__ = {name: entry.annotation for name, entry in parameters.items()}
    return run


def _there(context: typer.Context, on: str, command: str, made: tuple[str, ...]) -> int:
    """Run the page on the board; its exit code."""
    from paceline.board import ABSENT, parse_board
    from paceline.partition.bundle import check_output
    from paceline.partition.contents import list_contents
    from paceline.sending import no_paceline, send

    board, folder, given = parse_board(on), _bundle(context), context.params
    _check(context, folder, made)
    contents = list_contents(folder)
    if given.get(_WRITTEN):
        check_output(given[_WRITTEN], folder, contents.bundle)
    for remark in contents.remarks:
        note(f"stays here: {remark}")
    with progress() as report:
        sent = send(board, contents, command=command, every_byte=bool(made), report=report)
    if sent.bytes:
        note(f"copied {sent.bytes / 1e6:.1f} MB of {folder} to {board}")
    stats = f"{sent.folder}/.{uuid.uuid4()}.json" if given.get(_WRITTEN) else ""
    places = {"bundle": sent.folder, _READ: "/dev/stdin", _WRITTEN: stats}
    code = _execute(board, command, stats, [str(context.info_name), *typed_again(context, places)], given)
    if code == ABSENT:
        raise BoardError(no_paceline(board, command))
    _bring_back(board, sent.folder, folder, made if code == 0 else (), contents.bundle.digest)
    if stats:
        _bring_stats(board, stats, given[_WRITTEN])
    return code


def _bundle(context: typer.Context) -> Path:
    """The bundle, also of a page that takes several."""
    found = context.params["bundle"]
    folders: list[Path] = found if isinstance(found, list) else [found]
    if len(folders) > 1:
        raise UsageError(f"--on takes one bundle at a time, and {len(folders)} are given")
    return folders[0]


def _check(context: typer.Context, folder: Path, made: tuple[str, ...]) -> None:
    """Refuse what a board cannot be asked for, before anything travels."""
    if folder.is_file():
        raise UsageError(f"{folder} is a packed bundle; --on takes a folder: paceline unpack --other-soc {folder}")
    for name, value in context.params.items():
        if isinstance(value, Path) and name not in ("bundle", _READ, _WRITTEN):
            raise UsageError(f"--{name.replace('_', '-')} names a file of this machine; it does not go with --on")
    if made and folder.is_dir() and not os.access(folder, os.W_OK):
        raise OutputError(f"cannot write into {folder}, where {made[0]} belongs; copy the bundle to a place of yours")


def typed_again(context: typer.Context, places: Mapping[str, str]) -> list[str]:
    """The words that give a command the same options and arguments, but for those of ``places``."""
    options: list[str] = []
    arguments: list[str] = []
    for parameter in context.command.params:
        name = str(parameter.name)
        source = context.get_parameter_source(name)
        if name in _OURS or source is None or source.name not in ("COMMANDLINE", "ENVIRONMENT"):
            continue
        value = places.get(name, context.params[name])
        if parameter.param_type_name == "argument":
            arguments.append(str(value))
        else:
            options += _option(parameter, value)
    return [*options, "--", *arguments]


def _option(parameter: Any, value: Any) -> Iterator[str]:
    if parameter.is_flag:
        yield (parameter.opts if value else parameter.secondary_opts)[0]
    elif parameter.multiple:
        yield from (f"{parameter.opts[0]}={entry}" for entry in value)
    else:
        yield f"{parameter.opts[0]}={value}"


def _execute(board: Board, command: str, stats: str, words: list[str], given: Mapping[str, Any]) -> int:
    """Run there with what the page reads here: a file of prompts, what is typed, or nothing."""
    from paceline.board import execute
    from paceline.board_scripts import RUN

    terminal = all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)) and not given.get(_READ)
    if given.get(_READ):
        try:
            with given[_READ].open("rb") as file:
                return execute(board, RUN, command, stats, *words, stdin=file.fileno(), terminal=False)
        except OSError as error:
            raise UsageError(f"cannot read the prompts in {given[_READ]}: {error.strerror}") from error
    listens = terminal or given.get("chat") or given.get("prompt", "") in (None, "-")
    stdin = None if listens else subprocess.DEVNULL
    return execute(board, RUN, command, stats, *words, stdin=stdin, terminal=terminal)


def _bring_back(board: Board, there: str, folder: Path, made: tuple[str, ...], digest: str) -> None:
    """Put what the board wrote into its copy of the bundle into the bundle itself: all of it or nothing."""
    from paceline.board import ask
    from paceline.board_scripts import GET
    from paceline.documents import parse_json
    from paceline.files import write_bytes
    from paceline.partition.contents import Document

    texts = {name: ask(board, GET, f"{there}/{name}") for name in made}
    for name, text in texts.items():
        where = f"{board}: {there}/{name}"
        if parse_json(text, Document, where=where, error=BoardError).bundle != digest:
            raise BoardError(f"{where} is for another bundle than {folder}; run it again")
    for name, text in texts.items():
        write_bytes(folder / name, text)
    if texts:
        note(f"brought {' and '.join(texts)} back into {folder}")


def _bring_stats(board: Board, there: str, path: Path) -> None:
    from paceline.board import ask
    from paceline.board_scripts import TAKE
    from paceline.files import write_bytes

    if text := ask(board, TAKE, there):
        write_bytes(path, text)
