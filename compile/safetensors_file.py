"""Safetensors files, read and written one tensor at a time, bfloat16 included, without torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from paceline.errors import CheckpointError

_LENGTH_BYTES = 8
_MOST_HEADER = 100 << 20
_ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
# What holds plain weights, and how numpy reads it; integers and float8 need scales that only their tool knows.
DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


class _Entry(msgspec.Struct, frozen=True):
    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class SafeTensor:
    """Where one tensor lies: ``offset`` and ``size`` in bytes of ``path``."""

    path: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int
    size: int

    def read(self) -> NDArray[np.float32]:
        """The tensor as float32; ``dtype`` must be one of ``DTYPES``."""
        count = self.size // _ITEM_BYTES[self.dtype]
        raw = np.fromfile(self.path, dtype=DTYPES[self.dtype], count=count, offset=self.offset)
        if self.dtype == "BF16":
            wide = raw.astype(np.uint32)
            wide <<= 16
            return wide.view(np.float32).reshape(self.shape)
        return raw.astype(np.float32, copy=False).reshape(self.shape)


def open_safetensors(path: Path) -> dict[str, SafeTensor]:
    """Read and check a header: every tensor by name, each lying in the file.

    Raises:
        CheckpointError: no safetensors, a damaged header, or a cut file.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            if not 0 < length <= min(size - _LENGTH_BYTES, _MOST_HEADER):
                raise CheckpointError(f"{path} is cut or is no safetensors file: its header would have {length} bytes")
            header = file.read(length)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    start = _LENGTH_BYTES + length
    return {name: _placed(path, name, entry, start, size) for name, entry in _entries(path, header).items()}


def _entries(path: Path, header: bytes) -> dict[str, _Entry]:
    try:
        table = msgspec.json.decode(header, type=dict[str, msgspec.Raw])
        table.pop("__metadata__", None)
        return {name: msgspec.json.decode(raw, type=_Entry) for name, raw in table.items()}
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} has a damaged header: {error}; download it again") from error


def _placed(path: Path, name: str, entry: _Entry, start: int, size: int) -> SafeTensor:
    begin, end = entry.data_offsets
    needed = math.prod(entry.shape) * _ITEM_BYTES.get(entry.dtype, 0)
    if begin < 0 or end < begin or min(entry.shape, default=1) < 0 or (needed and end - begin != needed):
        raise CheckpointError(f"{path} has a damaged header: tensor {name!r} does not fit its own shape {entry.shape}")
    if start + end > size:
        raise CheckpointError(
            f"{path} is cut: tensor {name!r} ends at byte {start + end}, the file has {size}; download it again"
        )
    return SafeTensor(path=path, dtype=entry.dtype, shape=entry.shape, offset=start + begin, size=end - begin)


def write_safetensors(
    path: Path, shapes: Mapping[str, tuple[int, ...]], read: Callable[[str], NDArray[np.float32]]
) -> Iterable[str]:
    """Write float32 tensors in the order of ``shapes``, asking ``read`` for one at a time; yields each written name."""
    table, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + math.prod(shape) * _ITEM_BYTES["F32"]
        table[name] = {"dtype": "F32", "shape": shape, "data_offsets": (begin, end)}
    header = msgspec.json.encode(table)
    header += b" " * (-len(header) % _LENGTH_BYTES)
    with path.open("wb") as file:
        file.write(len(header).to_bytes(_LENGTH_BYTES, "little") + header)
        for name in shapes:
            np.ascontiguousarray(read(name), dtype="<f4").tofile(file)
            yield name
