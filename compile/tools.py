"""Child processes: started here, ended with us, and quoted so that a failure can be repeated."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Sequence

from paceline.errors import CompileFailed

_GRACE = 5.0  # seconds between asking a child to end and ending it


class Children:
    """The running compilers of one build; ``stop`` ends them all and lets no further one start."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._stopped = False

    def run(self, command: Sequence[str], *, tool: str, repeat: Sequence[str] | None = None) -> None:
        """Run a program to its end.

        Raises:
            CompileFailed: it did not end with 0; keeps its first error line and the command, or ``repeat`` instead.
        """
        process = self._start(command, tool)
        try:
            _, complaint = process.communicate()
        finally:
            with self._lock:
                self._running.discard(process)
        if process.returncode:
            diagnostic = first_diagnostic(complaint) or f"exit code {process.returncode}"
            raise CompileFailed(tool=tool, diagnostic=diagnostic, command=repeat or command)

    def _start(self, command: Sequence[str], tool: str) -> subprocess.Popen[str]:
        with self._lock:
            if self._stopped:
                raise CompileFailed(tool=tool, diagnostic="interrupted", command=command)
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
            )
            self._running.add(process)
        return process

    def stop(self) -> None:
        """End every child."""
        with self._lock:
            self._stopped = True
            running = tuple(self._running)
        for process in running:
            process.terminate()
        for process in running:
            try:
                process.wait(_GRACE)
            except subprocess.TimeoutExpired:
                process.kill()


def first_diagnostic(text: str) -> str:
    """The first line that names an error, or the last line of a Python traceback; empty where there is none."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if any(line.startswith("Traceback ") for line in lines):
        return lines[-1]
    return next((line for line in lines if "error:" in line), lines[0] if lines else "")
