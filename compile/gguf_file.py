"""GGUF files, opened by their header and read one tensor at a time.

The gguf package decodes the tensors; its reader is not used because it keeps an object for each of the several
hundred thousand strings of a tokenizer and answers a damaged header with whatever exception comes first.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize
from numpy.typing import NDArray

from paceline.errors import CheckpointError

MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_FLOAT32, _STRING, _ARRAY = 6, 8, 9
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_MOST_AXES = 4
_CHUNK, _ROWS = 1 << 20, 64  # elements decoded at once, bounding memory


@dataclass(frozen=True, kw_only=True)
class GgufTensor:
    """Where one tensor lies: shape row-major, ``offset`` and ``size`` in bytes of the file."""

    name: str
    shape: tuple[int, ...]
    kind: GGMLQuantizationType
    offset: int
    size: int


@dataclass(frozen=True, kw_only=True)
class GgufFile:
    """The header of a GGUF: metadata and tensors by name."""

    path: Path
    metadata: Mapping[str, object]
    tensors: Mapping[str, GgufTensor]

    def read(self, name: str) -> NDArray[np.float32]:
        """One tensor, decoded, in its own shape."""
        tensor = self.tensors[name]
        decoded = np.empty(math.prod(tensor.shape), dtype=np.float32)
        block, block_bytes = GGML_QUANT_SIZES[tensor.kind]
        with self.path.open("rb") as file:
            file.seek(tensor.offset)
            for start in range(0, decoded.size, _CHUNK):
                part = decoded[start : start + _CHUNK]
                raw = np.fromfile(file, dtype=np.uint8, count=part.size // block * block_bytes)
                # Blocks do not know their row, so a chunk is cut into the rows that gguf decodes fastest.
                part[:] = dequantize(raw.reshape(_ROWS if part.size == _CHUNK else 1, -1), tensor.kind).ravel()
        return decoded.reshape(tensor.shape)

    def read_raw(self, name: str) -> NDArray[np.uint8]:
        """One tensor as it is stored, u8 [rows, bytes]."""
        tensor = self.tensors[name]
        raw = np.fromfile(self.path, dtype=np.uint8, count=tensor.size, offset=tensor.offset)
        return raw.reshape(math.prod(tensor.shape[:-1]), -1)


def open_gguf(path: Path) -> GgufFile:
    """Read and check a header: every tensor must lie in the file and have a type that can be decoded.

    Raises:
        CheckpointError: no GGUF, another version, a damaged header, a cut file, or a type without a decoder.
    """
    try:
        with path.open("rb") as file, _mapped(file, path) as data:
            return _parse(path, _Cursor(data, path))
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error


@contextmanager
def _mapped(file: Any, path: Path) -> Iterator[mmap.mmap]:
    if path.stat().st_size < len(MAGIC):
        raise CheckpointError(f"{path} is not a GGUF file: it has {path.stat().st_size} bytes")
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield data


class _Cursor:
    """Reads little-endian values in order; what would lie beyond the end is a CheckpointError."""

    def __init__(self, data: mmap.mmap, path: Path) -> None:
        self.data, self.path, self.at, self.size = data, path, 0, len(data)

    def take(self, count: int) -> bytes:
        if count > self.size - self.at:
            raise CheckpointError(
                f"{self.path} is cut or damaged: its header wants {count} bytes at {self.at}, the file has {self.size}"
            )
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, code: str) -> Any:
        return struct.unpack("<" + code, self.take(struct.calcsize(code)))[0]

    def text(self) -> str:
        raw = self.take(self.number("Q"))
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise CheckpointError(f"{self.path} is damaged: a name or text near byte {self.at} is not UTF-8") from error

    def value(self, kind: int) -> object:
        if kind == _STRING:
            return self.text()
        if kind == _ARRAY:
            return self.array()
        if kind not in _SCALARS:
            raise CheckpointError(f"{self.path} is damaged: metadata of unknown type {kind} near byte {self.at}")
        value = self.number(_SCALARS[kind])
        # 1e-5 stored in 32 bits is 9.99999975e-06 in 64: take the number that was meant.
        return float(str(np.float32(value))) if kind == _FLOAT32 else value

    def array(self) -> list[object]:
        kind, count = self.number("I"), self.number("Q")
        if kind in _SCALARS:
            size = struct.calcsize(_SCALARS[kind])
            return [value for (value,) in struct.iter_unpack("<" + _SCALARS[kind], self.take(count * size))]
        if kind != _STRING:
            raise CheckpointError(f"{self.path} is damaged: an array of type {kind} near byte {self.at}")
        return [self.text() for _ in range(count)]


def _parse(path: Path, cursor: _Cursor) -> GgufFile:
    if (magic := cursor.take(len(MAGIC))) != MAGIC:
        raise CheckpointError(f"{path} is not a GGUF file: it starts with {magic!r}, expected {MAGIC!r}")
    if (version := cursor.number("I")) not in _VERSIONS:
        raise CheckpointError(f"{path} is GGUF version {version}, expected 2 or 3, little-endian; convert it anew")
    tensor_count, key_count = cursor.number("Q"), cursor.number("Q")
    metadata: dict[str, object] = {}
    for _ in range(key_count):
        key = cursor.text()
        metadata[key] = cursor.value(cursor.number("I"))
    infos = [_tensor_info(cursor) for _ in range(tensor_count)]
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or isinstance(alignment, bool) or alignment <= 0:
        raise CheckpointError(f"{path}: general.alignment is {alignment!r}, expected a positive integer")
    start = -(-cursor.at // alignment) * alignment
    tensors = [_placed(path, cursor.size, start, *info) for info in infos]
    for kind in {tensor.kind for tensor in tensors}:
        _check_decodes(path, kind, tensors)
    return GgufFile(path=path, metadata=metadata, tensors={tensor.name: tensor for tensor in tensors})


def _tensor_info(cursor: _Cursor) -> tuple[str, tuple[int, ...], int, int]:
    name, axes = cursor.text(), cursor.number("I")
    if axes > _MOST_AXES:
        raise CheckpointError(f"{cursor.path} is damaged: tensor {name!r} has {axes} axes, expected 1 to {_MOST_AXES}")
    shape = tuple(cursor.number("Q") for _ in range(axes))
    return name, shape[::-1], cursor.number("I"), cursor.number("Q")


def _placed(path: Path, size: int, start: int, name: str, shape: tuple[int, ...], kind: int, offset: int) -> GgufTensor:
    if kind not in {known.value for known in GGML_QUANT_SIZES}:
        raise CheckpointError(f"{path}: tensor {name!r} has the unknown type {kind}; a newer gguf package may know it")
    block, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
    if not shape or shape[-1] % block or 0 in shape:
        raise CheckpointError(f"{path} is damaged: tensor {name!r} of shape {shape} has no rows of {block} elements")
    needed = math.prod(shape) // block * block_bytes
    if (end := start + offset + needed) > size:
        raise CheckpointError(
            f"{path} is cut: tensor {name!r} ends at byte {end}, the file has {size}; download it again"
        )
    return GgufTensor(name=name, shape=shape, kind=GGMLQuantizationType(kind), offset=start + offset, size=needed)


def _check_decodes(path: Path, kind: GGMLQuantizationType, tensors: list[GgufTensor]) -> None:
    try:
        dequantize(np.zeros((1, GGML_QUANT_SIZES[kind][1]), dtype=np.uint8), kind)
    except NotImplementedError as error:
        name = next(tensor.name for tensor in tensors if tensor.kind == kind)
        raise CheckpointError(f"{path}: tensor {name!r} is of type {kind.name}, which gguf cannot decode") from error
