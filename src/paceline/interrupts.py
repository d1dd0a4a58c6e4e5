"""Ctrl-C and SIGTERM: an exception in the main thread, and the end of the command within a second.

Python runs its signal handlers between two of its own instructions, so never while a forward pass runs in C: on a slow
board with a large model that can take seconds. So a command that runs passes is watched: if it has not ended by itself
a while after the signal, the process ends as it stands. What was streamed was written then, and files that it writes
are either whole or absent.

What is left: loading a program for the GPU, where IREE keeps Python's lock while the driver compiles. A signal then
waits for that.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

from paceline.errors import Terminated

PATIENCE = 0.7
_BASE = 128  # of the exit code, as shells count
CODES = (_BASE + signal.SIGINT, _BASE + signal.SIGTERM)
_handled: set[int] = set()
_kept: set[int] = set()


def exit_code(interrupt: KeyboardInterrupt) -> int:
    """What a command returns that was ended by ``interrupt``."""
    return _BASE + (signal.SIGTERM if isinstance(interrupt, Terminated) else signal.SIGINT)


def raise_on_signals() -> None:
    """Let SIGTERM raise ``Terminated``, as Ctrl-C raises KeyboardInterrupt; for a process that is one command."""
    signal.signal(signal.SIGTERM, _terminate)
    _handled.add(signal.SIGTERM)


def leave(interrupt_code: int) -> NoReturn:
    """End the process, its command having tidied up: devices may take seconds to be taken down, and need not be."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(interrupt_code)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


@contextmanager
def ended_in_time() -> Iterator[None]:
    """End the process where the body goes on for longer than ``PATIENCE`` after Ctrl-C or SIGTERM.

    Does nothing unless the process is one command.
    """
    if not _handled:
        yield
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    watcher = threading.Thread(target=_watch, args=(reading,), name="paceline-signals", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(writing)
        watcher.join()
        os.close(reading)


@contextmanager
def surviving_ctrl_c() -> Iterator[None]:
    """Ctrl-C ends a part of the body and not the command, so it may take as long as a pass does."""
    _kept.add(signal.SIGINT)
    try:
        yield
    finally:
        _kept.discard(signal.SIGINT)


def _watch(reading: int) -> None:
    """Python writes the number of each signal into the pipe; its end means that the body is over."""
    while number := os.read(reading, 1):
        if number[0] not in (signal.SIGINT, signal.SIGTERM) or number[0] in _kept:
            continue
        ready, _, _ = select.select([reading], [], [], PATIENCE)
        if not ready:
            os.write(2, b"interrupted\n")
            os._exit(_BASE + number[0])
