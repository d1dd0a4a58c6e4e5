"""torch.export for tests that compile a lot: in forks of one process that has imported torch, which takes seconds.

A fork has traced nothing before, as the command that it stands for; test_export_model holds it to what that writes.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from tempfile import NamedTemporaryFile

from paceline.compile.tools import Children, first_diagnostic
from paceline.errors import CompileFailed

_FORKS = multiprocessing.get_context("forkserver")
# what the command imports, and what torch imports when it first traces
_FORKS.set_forkserver_preload(
    ["tests.captures", "paceline.compile.export_model", "torch._dynamo", "torch._export.non_strict_utils"]
)
_in_a_child = Children.run


def run(children: Children, command: Sequence[str], *, tool: str, repeat: Sequence[str] | None = None) -> None:
    """``Children.run``, but for torch.export, which gets a fork.

    Raises:
        CompileFailed: it did not end with 0.
    """
    if tool != "torch.export":
        _in_a_child(children, command, tool=tool, repeat=repeat)
        return
    _, _, module, *words = command
    with NamedTemporaryFile("r") as complaint:
        process = _FORKS.Process(target=_as_main, args=(module, words, Path(complaint.name)))
        process.start()
        process.join()
        if process.exitcode:
            diagnostic = first_diagnostic(complaint.read()) or f"exit code {process.exitcode}"
            raise CompileFailed(tool=tool, diagnostic=diagnostic, command=repeat or command)


def _as_main(module: str, words: list[str], complaint: Path) -> None:
    """In the fork: what ``python -m module words`` does."""
    with complaint.open("wb") as file:
        os.dup2(file.fileno(), 2)
    sys.argv = [module, *words]
    import_module(module).main()
