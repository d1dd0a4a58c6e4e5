"""The hub's cache with damage in it, and servers that answer something else."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub.errors import HfHubHTTPError, IncompleteSnapshotError, LocalEntryNotFoundError

from paceline.compile import hub
from paceline.console import quiet
from paceline.errors import CheckpointError

WEIGHTS = b"weights" * 1000


def fetch(monkeypatch: pytest.MonkeyPatch, outcome: Path | BaseException) -> Path:
    """``download``, where the hub's client comes to ``outcome``."""

    def snapshot(*arguments: Any, **options: Any) -> str:
        if isinstance(outcome, BaseException):
            raise outcome
        return str(outcome)

    monkeypatch.setattr(hub, "snapshot_download", snapshot)
    return hub.download("owner/name", revision=None, progress=quiet)


def refused(status: int) -> HfHubHTTPError:
    error: HfHubHTTPError = HfHubHTTPError.__new__(HfHubHTTPError)
    error.args, error.response = (f"{status} from the hub.",), SimpleNamespace(status_code=status)
    return error


def behind(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


def test_a_file_that_is_not_what_it_is_called_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's cache keeps large files under their checksum, and a link to each in a folder."""
    (blobs := tmp_path / "blobs").mkdir()
    (folder := tmp_path / "snapshot").mkdir()
    blob = blobs / hashlib.sha256(WEIGHTS).hexdigest()
    (link := folder / "model.safetensors").symlink_to(blob)
    (folder / "config.json").write_text("{}")
    blob.write_bytes(WEIGHTS)
    assert fetch(monkeypatch, folder) == folder
    blob.write_bytes(b"x" + WEIGHTS[1:])
    with pytest.raises(CheckpointError, match="was damaged on its way or on the disk, and is removed; run it again"):
        fetch(monkeypatch, folder)
    assert not blob.exists() and not link.is_symlink() and (folder / "config.json").exists()


@pytest.mark.parametrize("odd", [KeyError("id"), ValueError("Expecting value: line 1"), TypeError(), AssertionError()])
def test_what_is_no_hub(monkeypatch: pytest.MonkeyPatch, odd: Exception) -> None:
    with pytest.raises(CheckpointError, match="what answers is not the hub"):
        fetch(monkeypatch, odd)


def test_who_may_try_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def sentence(outcome: BaseException) -> str:
        with pytest.raises(CheckpointError) as found:
            fetch(monkeypatch, outcome)
        return str(found.value)

    cannot, again = "cannot download owner/name: ", "; run it again: what came whole is kept"
    assert sentence(refused(503)) == f"{cannot}503 from the hub{again}"
    assert sentence(refused(403)) == f"{cannot}403 from the hub"
    lost: Any = hub._REQUEST_ERROR
    assert sentence(lost("peer closed connection")) == f"{cannot}peer closed connection{again}"
    # reached, and nothing of it in the cache; not reached, and a part of it there
    assert sentence(behind(LocalEntryNotFoundError("x"), refused(500))) == f"{cannot}500 from the hub{again}"
    part = IncompleteSnapshotError("x", snapshot_path="x")
    assert "cannot reach the hub for owner/name, and the cache does not hold all of it" in sentence(part)


def test_a_terminal_has_bars_and_a_pipe_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(hub, "disable_progress_bars", lambda: calls.append("off"))
    for terminal in (True, False):
        monkeypatch.setattr(sys.stderr, "isatty", lambda terminal=terminal: terminal, raising=False)
        fetch(monkeypatch, tmp_path)
    assert calls == ["off"]
