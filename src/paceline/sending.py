"""Files of a bundle on a board: what is missing is sent, and goes on where it stopped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from paceline import __version__
from paceline.board import ABSENT, Board, feed, last_line
from paceline.board_scripts import CHANGED, CUT, LIST, MOVED, PUT
from paceline.checksums import FileEntry
from paceline.console import Report, quiet
from paceline.errors import BoardError
from paceline.partition.contents import DOCUMENTS, Contents

_BLOCK = 1 << 18
_RESUMED = 1 << 20  # bytes from which on a file is worth going on with


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """Where a bundle lies on a board, and how many bytes went there just now."""

    folder: str
    bytes: int


@dataclass(frozen=True, slots=True)
class _Held:
    """What a board has of a file: its size and SHA-256, and bytes that have arrived of another copy."""

    size: str
    sha256: str
    part: int


def send(board: Board, contents: Contents, *, command: str, every_byte: bool = False, report: Report = quiet) -> Sent:
    """Bring what is missing of a bundle to a board, whose paceline is called with ``command``.

    ``every_byte`` reads there all that was sent earlier, and not only what was touched since.

    Raises:
        BoardError: the board cannot be reached, has no paceline or one of another version, no room, or fails to write.
    """
    folder, room, held = _list(board, contents, command, every_byte)
    missing = {
        name: entry
        for name, entry in contents.files.items()
        if (held[name].size, held[name].sha256) != (str(entry.bytes), entry.sha256)
    }
    total = sum(entry.bytes - _begin(entry, held[name]) for name, entry in missing.items())
    if total > room:
        raise BoardError(
            f"{board} has no room for {contents.bundle.name} in {folder}: "
            f"{total / 1e6:.1f} MB are missing, {room / 1e6:.1f} MB are free"
        )
    sent = sum(_put(board, contents, name, held[name], folder, report) for name in missing)
    return Sent(folder=folder, bytes=sent)


def _list(board: Board, contents: Contents, command: str, every_byte: bool) -> tuple[str, int, Mapping[str, _Held]]:
    """The bundle's folder on the board, bytes that are free there, and what it has of each file."""
    gone = " ".join(name for name in DOCUMENTS if name not in contents.files)
    words = (board.folder, contents.bundle.digest, "yes" if every_byte else "no", command, gone, *contents.files)
    code, out, said = feed(board, LIST, words, ())
    if code == ABSENT:
        raise BoardError(no_paceline(board, command))
    lines = out.decode(errors="surrogateescape").splitlines()
    if code or len(lines) != 3 + len(contents.files):
        reason = last_line(said) or f"exit code {code}"
        raise BoardError(f"{board} cannot say what it has of {contents.bundle.name}: {reason}")
    version, folder, room, *rest = lines
    if version not in ("", wanted := f"paceline {__version__}"):
        raise BoardError(f"{board} has {version}, this is {wanted}; install the same there and here")
    held = (line.split() for line in rest)
    return folder, int(room) * 1024, {n: _Held(s, c, int(p)) for n, (s, c, p) in zip(contents.files, held, strict=True)}


def no_paceline(board: Board, command: str) -> str:
    """What to say about a board where the command was not found."""
    return (
        f"{board} has no command {command!r}; install paceline there (pip install paceline), "
        "or say where it is with --board-command"
    )


def _begin(entry: FileEntry, held: _Held) -> int:
    """Byte that a copy goes on from."""
    return held.part if _RESUMED <= held.part <= entry.bytes else 0


def _put(board: Board, contents: Contents, name: str, held: _Held, folder: str, report: Report) -> int:
    """Send one file; its bytes that went over the wire. What has arrived of other bytes is sent anew once."""
    entry = contents.files[name]
    sent = 0
    for begin in dict.fromkeys((_begin(entry, held), 0)):
        words = (folder, name, str(begin), str(entry.bytes), entry.sha256)
        blocks = _blocks(contents, name, begin)
        code, _, said = feed(board, PUT, words, blocks, report=report, what=name, total=entry.bytes - begin)
        sent += entry.bytes - begin
        if code == 0:
            return sent
        if code != CHANGED:
            raise BoardError(_not_stored(board, name, code, said))
    raise BoardError(
        f"{contents.folder / name} is not what bundle.json says, or was damaged on its way to {board}: "
        "its checksum is another; compile the bundle again or copy it anew"
    )


def _not_stored(board: Board, name: str, code: int, said: str) -> str:
    if code == MOVED:
        return f"another process copies {name} to {board} at the same time; run it again"
    reason = "it was cut" if code == CUT else last_line(said) or f"exit code {code}"
    return f"{board} could not store {name}: {reason}; what has arrived is kept, and the next copy goes on from there"


def _blocks(contents: Contents, name: str, begin: int) -> Iterator[bytes]:
    if name in contents.texts:
        return iter((contents.texts[name][begin:],))
    return _read(contents, name, begin)


def _read(contents: Contents, name: str, begin: int) -> Iterator[bytes]:
    with (contents.folder / name).open("rb") as file:
        file.seek(begin)
        while block := file.read(_BLOCK):
            yield block
