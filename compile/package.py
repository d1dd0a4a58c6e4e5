"""A model package: one checkpoint, checked and described, its weights kept in the checkpoint's own bytes.

package.json                       this value
*.gguf or *.safetensors            weights, decoded one tensor at a time when they are asked for
tokenizer.json                     always
chat_template.jinja                where the model has one
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from paceline.checksums import FileEntry, check_files
from paceline.compile.families import family
from paceline.compile.gguf_file import GgufFile, open_gguf
from paceline.compile.gguf_weights import GgufWeights
from paceline.compile.int4 import Blocks
from paceline.compile.safetensors_weights import SafetensorsWeights, open_all
from paceline.costmodel import ModelSpec
from paceline.documents import read_json
from paceline.errors import PackageError
from paceline.partition import TokenIds

SCHEMA = 1
MANIFEST = "package.json"
TOKENIZER = "tokenizer.json"
CHAT_TEMPLATE = "chat_template.jinja"
Format = Literal["gguf", "safetensors"]


class Package(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ``import`` made of a checkpoint: ``source`` is what the user named, ``format`` that of the weights."""

    schema: int = SCHEMA
    spec: ModelSpec
    source: str
    format: Format
    tokens: TokenIds
    files: dict[str, FileEntry]


class Weights(Protocol):
    """A package's tensors under canonical names; matrices are [out, in], norm weights are plain multipliers."""

    def names(self) -> tuple[str, ...]: ...

    def shape(self, name: str) -> tuple[int, ...]: ...

    def read(self, name: str) -> NDArray[np.float32]:
        """One tensor, decoded to float32, C-contiguous."""
        ...

    def blocks(self, name: str) -> Blocks | None:
        """One matrix in the very int4 blocks of the checkpoint; None where it is stored in another way."""
        ...


def read_package(folder: Path, *, checksums: bool = False) -> Package:
    """Read and check a package's manifest and the presence and size of its files; with ``checksums`` every byte.

    Raises:
        PackageError: no package there, another schema, or a file that is missing, cut or changed; names the file.
    """
    if not (folder / MANIFEST).is_file():
        raise PackageError(f"{folder} is not a model package: it has no {MANIFEST}; make one with 'paceline import'")
    remedy = "import the model again"
    package = read_json(folder / MANIFEST, Package, error=PackageError, schema=SCHEMA, remedy=remedy)
    check_files(folder / MANIFEST, package.files, every_byte=lambda name: checksums, error=PackageError, remedy=remedy)
    return package


def open_weights(folder: Path, package: Package) -> Weights:
    """The tensors of a package, read when asked for.

    Raises:
        PackageError: the package names no file of weights.
        CheckpointError: a file of weights that is damaged.
    """
    files = [folder / name for name in sorted(package.files) if name.endswith(f".{package.format}")]
    if not files:
        raise PackageError(f"{folder / MANIFEST} names no .{package.format} file; import it again")
    row = family(package.spec.family)
    if package.format == "gguf":
        file: GgufFile = open_gguf(files[0])
        return GgufWeights(file, row, package.spec)
    return SafetensorsWeights(open_all(files), row, package.spec, where=str(folder))
