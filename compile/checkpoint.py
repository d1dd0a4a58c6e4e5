"""What every importer gives: a checkpoint understood, and how its weights get into a package."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from paceline.compile.family import expected_shapes
from paceline.compile.package import Format, Weights
from paceline.costmodel import ModelSpec
from paceline.errors import CheckpointError
from paceline.partition import TokenIds

Progress = Callable[[str, int, int], None]  # what is under way, how much is done, of how much
WriteWeights = Callable[[Path, Progress], None]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint, described; ``write`` puts its weights into a folder."""

    spec: ModelSpec
    format: Format
    tokenizer: str
    chat_template: str | None
    tokens: TokenIds
    write: WriteWeights


def check_tensors(weights: Weights, spec: ModelSpec, where: str) -> None:
    """Every tensor must be there in the shape that the spec asks for.

    Raises:
        CheckpointError: the first that is missing or of another shape.
    """
    for name, shape in expected_shapes(spec):
        if (found := weights.shape(name)) != shape:
            raise CheckpointError(f"{where}: {name} has shape {found}, its settings ask for {shape}")


def place(files: Iterable[Path], folder: Path, progress: Progress) -> None:
    """Copy files into a folder, by hard link where the file system allows it."""
    files = tuple(files)
    for index, file in enumerate(files):
        progress(f"copy {file.name}", index, len(files))
        _link_or_copy(file.resolve(), folder / file.name)
    progress("copy", len(files), len(files))


def _link_or_copy(source: Path, output: Path) -> None:
    try:
        os.link(source, output)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, output)
