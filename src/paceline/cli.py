"""The ``paceline`` command: a table of pages, and one place that turns errors into sentences and exit codes."""

from __future__ import annotations

import errno
import functools
import importlib
import io
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from typing import Annotated, Any

import typer

from paceline import __version__, interrupts
from paceline.commands.on_board import MADE, also_on_boards
from paceline.console import discard_stdout
from paceline.errors import PacelineError

COMMANDS = (
    *("doctor", "targets", "whatif", "import", "compile", "profile", "acceptance"),
    *("calibrate", "plan", "validate", "pack", "unpack", "run", "bench"),
)
# Commands that run forward passes, which no signal interrupts.
PASSES = frozenset({"profile", "acceptance", "validate", "run", "bench"})
# modules that a board does without, and the extra that brings each
_EXTRAS = {
    **dict.fromkeys(("gguf", "huggingface_hub", "iree", "onnx", "safetensors", "torch"), "compile"),
    "matplotlib": "plot",
}
_PYTHON_WORDS = ("import", "compile")

app = typer.Typer(
    name="paceline",
    help="Compile a drafter and a target for an edge SoC, plan, and decode losslessly.",
    epilog="The way a model travels: import, compile, profile, plan, run.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"paceline {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options that stand before a command."""


def guarded(page: Callable[..., None], *, in_time: bool = False) -> Callable[..., None]:
    """Run a page; a PacelineError becomes one sentence on stderr and its exit code.

    Ctrl-C becomes exit code 130 and SIGTERM 143, in a second whatever the page is at, where it is to end ``in_time``.
    """

    @functools.wraps(page)
    def run(*args: Any, **options: Any) -> None:
        try:
            with interrupts.raised(), interrupts.ended_in_time() if in_time else nullcontext():
                page(*args, **options)
                sys.stdout.flush()
        except PacelineError as error:
            print(f"error: {error}", file=sys.stderr)
            raise typer.Exit(error.exit_code) from None
        except ModuleNotFoundError as error:
            missing = (error.name or "").split(".")[0]
            if (extra := _EXTRAS.get(missing)) is None:
                raise
            remedy = f"pip install 'paceline[{extra}]'"
            print(f"error: this needs {missing}, which is not installed: {remedy}", file=sys.stderr)
            raise typer.Exit(1) from None
        except MemoryError:
            print("error: this machine is out of memory; close something, or choose a smaller model", file=sys.stderr)
            raise typer.Exit(1) from None
        except KeyboardInterrupt as interrupt:
            print("interrupted", file=sys.stderr)
            raise typer.Exit(interrupts.exit_code(interrupt)) from None

    return run


def _register() -> None:
    for name in COMMANDS:
        module_name = f"paceline.commands.{name}_" if name in _PYTHON_WORDS else f"paceline.commands.{name}"
        module = importlib.import_module(module_name)
        page = also_on_boards(module.page, made=MADE[name]) if name in MADE else module.page
        app.command(name, epilog="\b\n" + module.EPILOG)(guarded(page, in_time=name in PASSES))


def prepare_streams() -> None:
    """Make the standard streams usable: closed ones are empty, or fail once they are written to; stderr is let go.

    Odd characters end nothing.
    """
    for name, mode, opened in (("stdin", "r", _nothing), ("stdout", "w", _unwritable), ("stderr", "w", _nothing)):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(opened(), mode, encoding="utf-8"))
    for stream, errors in ((sys.stdin, "surrogateescape"), (sys.stdout, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)


def _nothing() -> int:
    return os.open(os.devnull, os.O_RDWR)


def _unwritable() -> int:
    """A file that cannot be written, also under its name /dev/stdout: a socket that leads nowhere."""
    import socket

    return socket.socket(socket.AF_UNIX).detach()


def main() -> None:
    """The ``paceline`` command, whose entry point is ``paceline.__main__``."""
    interrupts.begin()
    prepare_streams()
    try:
        _run()
    except OSError as error:
        # such as a full disk under stdout; typer itself ends quietly where the reader of a pipe is gone
        discard_stdout()
        if error.errno == errno.ENOTCONN:
            sys.exit("error: standard output is closed")
        place = f": {error.filename}" if error.filename else ""
        sys.exit(f"error: {error.strerror or error}{place}")


def _run() -> None:
    try:
        _register()
        app()
    except SystemExit as left:
        if left.code in interrupts.CODES:
            interrupts.leave(left.code)
        sys.stdout.flush()
        raise
