"""Checkpoints of the Hugging Face hub, fetched into its own cache and resumed where they stopped."""

from __future__ import annotations

import errno
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

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


def download(identifier: str, *, revision: str | None, progress: Progress) -> Path:
    """Fetch what an import needs and give the folder; what the cache holds already is not fetched again.

    Raises:
        CheckpointError: no such repository or revision, no access, or no network and nothing in the cache.
        OutputError: the disk is full.
    """
    progress(f"download {identifier}", 0, 1)
    try:
        folder = snapshot_download(
            identifier, revision=revision, allow_patterns=list(_WANTED), ignore_patterns=list(_UNWANTED)
        )
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise CheckpointError(
            f"cannot reach the hub for {identifier}, and the cache does not hold it; "
            "go online, or give the path of a folder or .gguf file"
        ) from error
    except (OSError, ValueError, _REQUEST_ERROR) as error:
        raise _refusal(identifier, revision, error) from error
    progress(f"download {identifier}", 1, 1)
    return Path(folder)


def _refusal(identifier: str, revision: str | None, error: BaseException) -> CheckpointError | OutputError:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return OutputError(f"the disk is full: {identifier} was not downloaded; free some room and run it again")
    if isinstance(error, RepositoryNotFoundError):
        return CheckpointError(
            f"the hub has no model {identifier}, or it needs a login ('hf auth login'); check the name"
        )
    at = f" at revision {revision}" if revision else ""
    reason = str(error).strip().splitlines() or [type(error).__name__]
    return CheckpointError(f"cannot download {identifier}{at}: {reason[0]}")
