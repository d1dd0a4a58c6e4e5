"""Ctrl-C and SIGTERM: an exception in the main thread, and the end of the command within a second.

Python runs its signal handlers between two of its own instructions, so never while a forward pass runs in C: on a slow
board with a large model that can take seconds. So a command that runs passes is watched: if it has not ended by itself
a while after the signal, the process ends as it stands. What was streamed was written then, and files that it writes
are either whole or absent.

While IREE loads a program for the GPU it keeps Python's lock, and no watcher runs either: there the system ends the
process, as it ends one that has no handlers. Before there is a page, and after it, the process ends without a word.
"""

from __future__ import annotations

# Nothing here may take long to import: until ``begin`` is called, Ctrl-C shows where Python was.
import os
import select
import signal
import sys
from contextlib import contextmanager, suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import FrameType
    from typing import Any, NoReturn

PATIENCE = 0.7
_BASE = 128  # of the exit code, as shells count
CODES = (_BASE + signal.SIGINT, _BASE + signal.SIGTERM)
_handled: set[int] = set()
_kept: set[int] = set()


def exit_code(interrupt: KeyboardInterrupt) -> int:
    """What a command returns that was ended by ``interrupt``."""
    from paceline.errors import Terminated

    return _BASE + (signal.SIGTERM if isinstance(interrupt, Terminated) else signal.SIGINT)


def begin() -> None:
    """This process is one command: from here on Ctrl-C and SIGTERM end it at once, but for what pages do about them."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # what a shell starts in its background is deaf to Ctrl-C, and stays so
        if number == signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _leave_at_once)
            _handled.add(number)


@contextmanager
def raised() -> Iterator[None]:
    """Let Ctrl-C raise KeyboardInterrupt, and SIGTERM ``Terminated``, while the body runs.

    Does nothing unless the process is one command.
    """
    with _handling({signal.SIGINT: signal.default_int_handler, signal.SIGTERM: _terminate}):
        yield


@contextmanager
def left_to_the_system() -> Iterator[None]:
    """Let signals end the process while the body is in C and keeps Python's lock, so that no handler could run.

    Does nothing unless the process is one command, and this its main thread.
    """
    from threading import current_thread, main_thread

    here = current_thread() is main_thread()
    with _handling({signal.SIGINT: signal.SIG_DFL, signal.SIGTERM: signal.SIG_DFL} if here else {}):
        yield


@contextmanager
def _handling(handlers: Mapping[int, Any]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number, handler in handlers.items() if number in _handled}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave(interrupt_code: int) -> NoReturn:
    """End the process, its command having tidied up: devices may take seconds to be taken down, and need not be."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(interrupt_code)


def _leave_at_once(number: int, frame: FrameType | None) -> NoReturn:
    os._exit(_BASE + number)


def _terminate(number: int, frame: FrameType | None) -> None:
    from paceline.errors import Terminated

    raise Terminated


@contextmanager
def ended_in_time() -> Iterator[None]:
    """End the process where the body goes on for longer than ``PATIENCE`` after Ctrl-C or SIGTERM.

    Does nothing unless the process is one command.
    """
    if not _handled:
        yield
        return
    from threading import Thread

    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    watcher = Thread(target=_watch, args=(reading,), name="paceline-signals", daemon=True)
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
