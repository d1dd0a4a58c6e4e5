"""Checkpoints of the Hugging Face hub, fetched into its own cache: a file that came whole is not fetched again."""

from __future__ import annotations

import errno
import re
import sys
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import disable_progress_bars

from paceline.checksums import describe
from paceline.compile.checkpoint import Progress
from paceline.errors import CheckpointError, OutputError

_WANTED = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.*",
    "*.safetensors",
    "model.safetensors.index.json",
)
_UNWANTED = ("*/*", "consolidated*", "adapter*")
# What any failed request is below: httpx.HTTPError, or requests.HTTPError in older versions of the hub's client.
_REQUEST_ERROR: type[BaseException] = HfHubHTTPError.__mro__[1]
# What the client meets in an answer that is no listing, such as the login page of a network: no JSON, or another one.
_ODD_ANSWER = (ValueError, LookupError, TypeError, AttributeError, AssertionError)
_SHA256 = re.compile("[0-9a-f]{64}")


def download(identifier: str, *, revision: str | None, progress: Progress) -> Path:
    """Fetch what an import needs and give the folder; what the cache holds already is not fetched again.

    Raises:
        CheckpointError: no such repository or revision, no access, no network and nothing in the cache, or damage.
        OutputError: the disk is full.
    """
    progress(f"download {identifier}", 0, 1)
    if not sys.stderr.isatty():
        disable_progress_bars()
    try:
        folder = Path(
            snapshot_download(
                identifier, revision=revision, allow_patterns=list(_WANTED), ignore_patterns=list(_UNWANTED)
            )
        )
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise _unreachable(identifier, revision, error) from error
    except (OSError, _REQUEST_ERROR, *_ODD_ANSWER) as error:
        raise _refusal(identifier, revision, error) from error
    for path in sorted(folder.iterdir()):
        _check(path)
    progress(f"download {identifier}", 1, 1)
    return folder


def _check(path: Path) -> None:
    """Hold a file against the checksum that the hub's cache calls it by, where it is one of large files."""
    stored = path.resolve()
    if _SHA256.fullmatch(stored.name) and describe(stored).sha256 != stored.name:
        stored.unlink()
        path.unlink(missing_ok=True)
        raise CheckpointError(f"{path} was damaged on its way or on the disk, and is removed; run it again to fetch it")


def _unreachable(identifier: str, revision: str | None, error: BaseException) -> CheckpointError | OutputError:
    if isinstance(error.__cause__, HfHubHTTPError):  # it was reached, and said no
        return _refusal(identifier, revision, error.__cause__)
    return CheckpointError(
        f"cannot reach the hub for {identifier}, and the cache does not hold all of it; "
        "go online, or give the path of a folder or .gguf file"
    )


def _refusal(identifier: str, revision: str | None, error: BaseException) -> CheckpointError | OutputError:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return OutputError(f"the disk is full: {identifier} was not downloaded; free some room and run it again")
    if isinstance(error, RepositoryNotFoundError):
        return CheckpointError(
            f"the hub has no model {identifier}, or it needs a login ('hf auth login'); check the name"
        )
    at = f" at revision {revision}" if revision else ""
    if isinstance(error, _ODD_ANSWER) and not isinstance(error, (OSError, HFValidationError)):
        return CheckpointError(
            f"cannot download {identifier}{at}: what answers is not the hub; is there a proxy, or a page to log in to?"
        )
    reason = str(error).strip().splitlines() or [type(error).__name__]
    again = "; run it again: what came whole is kept" if _may_pass(error) else ""
    return CheckpointError(f"cannot download {identifier}{at}: {reason[0].rstrip('.')}{again}")


def _may_pass(error: BaseException) -> bool:
    """Whether it may go better the next time: a lost connection, or a server in trouble."""
    if isinstance(error, HfHubHTTPError):
        return error.response is not None and (error.response.status_code == 429 or error.response.status_code >= 500)
    return isinstance(error, _REQUEST_ERROR)
