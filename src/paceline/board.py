"""A board that is reached over ssh: its address, and small shell scripts that run there.

The system's ``ssh`` does the talking, so ~/.ssh/config, agents and jump hosts work as always. Nothing is asked on the
way: a key must be accepted without a password, and the board's own key must be known.
"""

from __future__ import annotations

import errno
import re
import shlex
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from paceline.console import Report, quiet
from paceline.errors import BoardError, UsageError

LOST = 255  # what ssh itself fails with
ABSENT = 127  # what a shell returns for a command that is not there
_OPTIONS = ("BatchMode=yes", "ConnectTimeout=15", "ServerAliveInterval=15", "LogLevel=ERROR")
_ADDRESS = re.compile(
    r"ssh://(?:(?P<user>[^@/:\s]+)@)?(?:\[(?P<six>[0-9A-Fa-f:.%]+)\]|(?P<host>[^@/:\s\[\]]+))"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<folder>/.*)?"
)
_PASSWORD = re.compile(r"ssh://[^@/]*:[^@/]*@")
# What ssh says, and what to do about it; the first that fits.
_REMEDIES = (
    ("HOST IDENTIFICATION HAS CHANGED", "the key of this board is another than before; make sure that it is yours"),
    ("Host key verification failed", "its key is not known here; connect once with '{ssh}' and accept it"),
    ("Permission denied", "it accepts no key of yours; try '{ssh}', and ssh-copy-id to leave your key there"),
    ("Could not resolve", "no network here knows this name"),
    ("Connection refused", "nothing listens at this port; is sshd running there?"),
    ("timed out", "nothing answers; is the board on, and on this network?"),
    ("Network is unreachable", "this machine has no network that leads there"),
    ("No route to host", "nothing answers; is the board on, and on this network?"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """Where a board is; ``folder`` is where it keeps bundles, its cache unless said."""

    host: str
    user: str = ""
    port: int | None = None
    folder: str = ""

    def __str__(self) -> str:
        user, port = f"{self.user}@" if self.user else "", f":{self.port}" if self.port else ""
        return f"ssh://{user}{f'[{self.host}]' if ':' in self.host else self.host}{port}{self.folder}"

    def ssh(self, *options: str) -> list[str]:
        """The words of an ssh command to this board, without what it shall do there."""
        user, port = ("-l", self.user) if self.user else (), ("-p", str(self.port)) if self.port else ()
        return ["ssh", *options, *user, *port, "--", self.host]

    def command(self, script: str, *arguments: str, terminal: bool = False) -> list[str]:
        """The words that run a POSIX shell script there with ``arguments``, whatever is in them."""
        options = [word for option in _OPTIONS for word in ("-o", option)]
        there = shlex.join(["exec", "sh", "-c", script, "paceline", *arguments])
        return [*self.ssh("-tt" if terminal else "-T", *options), there]


def parse_board(text: str) -> Board:
    """Read ``ssh://[user@]host[:port][/folder]``.

    Raises:
        UsageError: another form.
    """
    found = _ADDRESS.fullmatch(text)
    host = (found["six"] or found["host"]) if found else "-"
    if not found and _PASSWORD.match(text):
        raise UsageError("a board's address takes no password, which others here could read; leave a key there instead")
    if not found or host.startswith("-") or not 0 < int(found["port"] or 22) < 65536:
        raise UsageError(f"cannot read the board {text!r}; expected ssh://[user@]host[:port][/folder]")
    return Board(
        host=host,
        user=found["user"] or "",
        port=int(found["port"]) if found["port"] else None,
        folder=(found["folder"] or "").rstrip("/"),
    )


def ask(board: Board, script: str, *arguments: str) -> bytes:
    """What a script prints there.

    Raises:
        BoardError: the board cannot be reached, or the script failed.
    """
    code, out, said = feed(board, script, arguments, ())
    if code:
        raise BoardError(f"{board} failed: {last_line(said) or f'exit code {code}'}")
    return out


def feed(
    board: Board,
    script: str,
    arguments: Iterable[str],
    blocks: Iterable[bytes],
    *,
    report: Report = quiet,
    what: str = "",
    total: int = 0,
) -> tuple[int, bytes, str]:
    """Run a script there with ``blocks`` as its standard input; its exit code, output and words of complaint.

    Raises:
        BoardError: the board cannot be reached, or was lost meanwhile.
    """
    # a session of its own: Ctrl-C is for this process, which then ends it
    with _ended(
        board.command(script, *arguments), stdin=subprocess.PIPE, output=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdin
        done = 0
        try:
            for block in blocks:
                process.stdin.write(block)
                report(what, done := done + len(block), total)
        except BrokenPipeError:
            pass  # it has failed, and says why
        out, said = process.communicate()
    text = said.decode(errors="replace")
    if process.returncode == LOST or process.returncode < 0:  # ssh itself failed, or was killed
        raise BoardError(_cut_off(board, text) if done else _unreachable(board, text))
    return process.returncode, out, text


def execute(board: Board, script: str, *arguments: str, stdin: int | None, terminal: bool) -> int:
    """Run a script there with the streams of this process; its exit code.

    With a ``terminal`` there is one on the board too: Ctrl-C goes there.

    Raises:
        BoardError: the board was lost meanwhile.
    """
    words = board.command(script, *arguments, terminal=terminal)
    with _ended(words, stdin=stdin, start_new_session=not terminal) as process:
        code = process.wait()
    if code == LOST:
        raise BoardError(f"lost the connection to {board}; what ran there ends by itself")
    return code if code >= 0 else 128 - code


@contextmanager
def _ended(
    words: list[str], *, stdin: int | None, output: int | None = None, start_new_session: bool
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that does not outlive the body; ``output`` is where stdout and stderr go."""
    try:
        process = subprocess.Popen(
            words, stdin=stdin, stdout=output, stderr=output, start_new_session=start_new_session
        )
    except FileNotFoundError:
        raise BoardError("there is no ssh here, which boards are reached with; install OpenSSH's client") from None
    except OSError as error:
        if error.errno == errno.E2BIG:
            raise UsageError("this is too long for a command line; give the prompt on standard input (-)") from None
        raise BoardError(f"ssh, which boards are reached with, cannot be started: {error.strerror}") from None
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe:
                with suppress(OSError):
                    pipe.close()


def _cut_off(board: Board, said: str) -> str:
    reason = last_line(said).rstrip(".") or "ssh ended without a word"
    return f"lost the connection to {board}: {reason}; what has arrived is kept, and the next copy goes on from there"


def _unreachable(board: Board, said: str) -> str:
    by_hand = shlex.join(word for word in board.ssh() if word != "--")
    remedies = (remedy.format(ssh=by_hand) for words, remedy in _REMEDIES if words in said)
    return "; ".join((f"cannot reach {board}: {last_line(said).rstrip('.') or 'ssh failed'}", *list(remedies)[:1]))


def last_line(text: str) -> str:
    """The last of what a program has said, which as a rule is why it failed."""
    return (text.strip().splitlines() or [""])[-1].strip()
