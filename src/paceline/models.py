"""From what a user calls a model to its shape: a known name, a package, a config.json or a .gguf file. No weights."""

from __future__ import annotations

from pathlib import Path

from paceline.costmodel import ModelSpec
from paceline.costmodel.known_models import find_model


def model_named(text: str) -> ModelSpec:
    """The shape of a model.

    A path that is there wins over a name.

    Raises:
        UnknownModel: neither a known name nor a path that says what a model is.
        CheckpointError, PackageError: a file that is damaged, or of a model that paceline cannot compute.
    """
    path = Path(text)
    if path.suffix == ".gguf" and path.is_file():
        from paceline.compile.gguf_checkpoint import read_gguf_spec  # importing compile is slow, and names need none

        return read_gguf_spec(path)
    if (config := _config_at(path)) is not None:
        from paceline.compile.hf_checkpoint import read_config

        return read_config(config, config.resolve().parent.name)[1]
    return find_model(text)


def _config_at(path: Path) -> Path | None:
    """The config.json that ``path`` is, or that it holds where it is no model package."""
    if path.is_file() and path.suffix == ".json":
        return path
    return path / "config.json" if (path / "config.json").is_file() and not (path / "package.json").is_file() else None
