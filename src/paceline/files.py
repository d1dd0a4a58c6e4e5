"""Files and folders that are either whole or absent, and the places where they may be."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from paceline.errors import OutputError, UsageError

_STREAMS = (Path("/dev"), Path("/dev/fd"), Path("/proc/self/fd"))


def cache_folder(name: str = "") -> Path:
    """Where things that can be made again are kept: ``$PACELINE_CACHE/name``, or the same in the user's cache.

    Raises:
        UsageError: this user has no home, and PACELINE_CACHE is not set.
    """
    if chosen := os.environ.get("PACELINE_CACHE"):
        return Path(chosen) / name
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else _home() / ".cache") / "paceline" / name


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:
        raise UsageError("this user has no home folder; set PACELINE_CACHE to a folder that may be written") from None


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals about ``path`` into one sentence.

    Raises:
        OutputError: the disk is full, or the place cannot be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise OutputError(f"the disk is full: {path} was not written; free some room and run it again") from error
        reason = error.strerror or str(error)
        if error.errno == errno.ENOENT and not path.parent.is_dir():
            reason = f"there is no folder {path.parent}"
        raise OutputError(f"cannot write {path}: {reason}") from error


@contextmanager
def new_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside ``path`` and rename it to ``path`` when the body ends well.

    With ``replace`` an existing folder is exchanged at the end; without it, one that holds anything is refused.

    Raises:
        OutputError: ``path`` is taken, cannot be written, or the disk is full.
    """
    if not replace:
        check_free(path)
    with writing(path), _new_parents(path):
        scratch = Path(tempfile.mkdtemp(prefix=_hidden(path), dir=path.parent))
        try:
            yield scratch
            scratch.chmod(0o755)
            if not replace:
                check_free(path)  # somebody else may have made it meanwhile
            _exchange(scratch, path)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def check_free(path: Path) -> None:
    """Whether a new folder may become ``path``: for what takes minutes to make.

    Raises:
        OutputError: something stands there, and it is no empty folder.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise OutputError(f"{path} exists already; choose another output or remove it")


def _hidden(path: Path) -> str:
    """How the name of something begins that becomes ``path``; short, for names may have 255 bytes."""
    return f".{path.name[:40]}-"


@contextmanager
def _new_parents(path: Path) -> Iterator[None]:
    """Make the folders above ``path``; those that were not there go again when the body fails."""
    made = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for folder in made:
            with suppress(OSError):  # somebody else has put something there
                folder.rmdir()
        raise


def _exchange(scratch: Path, path: Path) -> None:
    if not path.exists():
        scratch.rename(path)
        return
    old = scratch.with_name(scratch.name + "-old")
    path.rename(old)
    try:
        scratch.rename(path)
    except BaseException:
        # Ctrl-C can come between the two; what was there must not be left under a name that nobody knows.
        if not path.exists():
            old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def real_place(path: Path) -> Path:
    """Where a file called ``path`` is or would be, links followed.

    Raises:
        OutputError: a link leads back to itself.
    """
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # the latter before Python 3.13
        raise OutputError(f"cannot write {path}: it is a link that leads back to itself") from None


def check_place(path: Path) -> Path:
    """Return ``path`` if a file can be written there, as far as that shows beforehand: for what takes minutes to make.

    Raises:
        OutputError: its folder does not exist or may not be written, or a folder stands there.
    """
    if path.is_dir():
        raise OutputError(f"cannot write {path}: it is a folder")
    if is_stream(path):
        if not os.access(path, os.W_OK):
            raise OutputError(f"cannot write {path}: it takes nothing from you")
        return path
    folder = (real_place(path) if path.is_symlink() else path).parent
    if not folder.is_dir():
        raise OutputError(f"cannot write {path}: there is no folder {folder}")
    if not os.access(folder, os.W_OK):
        raise OutputError(f"cannot write {path}: its folder is read-only")
    return path


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file by renaming a finished one; what is no file, such as a pipe or /dev/null, is written to instead.

    Raises:
        OutputError: the place cannot be written, or the disk is full.
    """
    with writing(path):
        if is_stream(path):
            with path.open("ab") as file:
                file.write(data)
        else:
            with _renamed(real_place(path)) as file:
                file.write(data)


def is_stream(path: Path) -> bool:
    """Whether ``path`` is no file to be replaced: a pipe, a device, or a stream of this process, wherever that goes."""
    return path.exists() and (not path.is_file() or path.parent in _STREAMS)


@contextmanager
def new_file(path: Path, *, replace: bool = False) -> Iterator[IO[bytes]]:
    """Yield a file to write to that appears as ``path`` when the body ends well; a pipe is written to instead.

    Raises:
        OutputError: ``path`` exists and is not to be replaced, cannot be written, or the disk is full.
    """
    with writing(path):
        if is_stream(path):
            with path.open("ab") as file:
                yield file
            return
        _check_new(path, replace)
        with _renamed(real_place(path)) as file:
            yield file
            _check_new(path, replace)  # somebody else may have made it meanwhile


def _check_new(path: Path, replace: bool) -> None:
    if path.exists() and not replace:
        raise OutputError(f"{path} exists already; replace it with --force, or choose another output")


@contextmanager
def _renamed(path: Path) -> Iterator[IO[bytes]]:
    descriptor, name = tempfile.mkstemp(prefix=_hidden(path), dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
        Path(name).chmod(0o644)
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)
