"""Writes a model's parameters as .irpa, one tensor at a time: memory holds one decoded tensor, never the model.

The parameters go to a scratch file in safetensors' layout (a table of offsets, then bytes), which IREE then copies
into its own, aligned one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from paceline.compile.package import Weights
from paceline.compile.packing import FORM
from paceline.compile.parameters import Matrix, Parameter, Table, declared, parameters, table_values
from paceline.compile.stored import Part, Stored, StoresBlocks
from paceline.costmodel import ModelSpec
from paceline.costmodel.caches import LANES

_BLOCK = 1 << 22  # elements that are rounded at once
_BYTES = {"f32": 4, "f16": 2, "i8": 1, "i32": 4}
_SAFETENSORS = {"f32": "F32", "f16": "F16", "i8": "I8", "i32": "I32"}


def write_archive(
    weights: Weights,
    spec: ModelSpec,
    precision: Stored,
    context: int,
    output: Path,
    *,
    tick: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write all parameters of a decoder; ``tick(done, total)`` counts parameters and may raise to stop."""
    wanted = parameters(spec, context, traced=precision.form != FORM)
    scratch = output.with_name(output.name + ".safetensors")
    try:
        with scratch.open("wb") as file:
            table = _reserve(file, wanted, precision)
            for done, parameter in enumerate(wanted):
                tick(done, len(wanted))
                _write(file, table, parameter, weights, precision)
        _convert(scratch, output)
    finally:
        scratch.unlink(missing_ok=True)


def _reserve(file: BinaryIO, wanted: tuple[Parameter, ...], precision: Stored) -> dict[str, int]:
    """Write the header; the place of each part in the file."""
    header, offsets, end = {}, {}, 0
    for parameter in wanted:
        for name, part in declared(parameter, precision).items():
            size = _size(part)
            header[name] = {
                "dtype": _SAFETENSORS[part.dtype],
                "shape": part.shape,
                "data_offsets": [end, end + size],
            }
            offsets[name] = end
            end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    start = file.tell()
    return {name: start + offset for name, offset in offsets.items()}


def _write(file: BinaryIO, offsets: dict[str, int], parameter: Parameter, weights: Weights, precision: Stored) -> None:
    place = {name: offset for name, offset in offsets.items() if name in declared(parameter, precision)}
    for parts in stored_blocks(parameter, weights, precision):
        for name, values in parts.items():
            file.seek(place[name])
            file.write(np.ascontiguousarray(values).data)
            place[name] += values.nbytes


def stored_blocks(parameter: Parameter, weights: Weights, precision: Stored) -> Iterator[dict[str, NDArray[Any]]]:
    """Stored parts by full name, some rows at a time."""
    if isinstance(parameter, Table):
        yield {parameter.name: table_values(parameter)}
        return
    for source in parameter.sources:
        if not isinstance(parameter, Matrix):
            yield {parameter.name: weights.read(source)}
            continue
        step = max(1, _BLOCK // parameter.columns // LANES) * LANES
        for parts in _stored_rows(source, weights, parameter.stored(precision), step):
            yield {f"{parameter.name}.{part}": stored for part, stored in parts.items()}


def _stored_rows(source: str, weights: Weights, stored: Stored, step: int) -> Iterator[dict[str, NDArray[Any]]]:
    """Stored parts of a matrix, ``step`` rows at a time; what is int4 in the checkpoint is not rounded again."""
    if isinstance(stored, StoresBlocks) and (blocks := weights.blocks(source)) is not None:
        for first in range(0, blocks.nibbles.shape[0], step):
            yield stored.store_blocks(blocks.rows(slice(first, first + step)))
        return
    values = weights.read(source)
    for first in range(0, values.shape[0], step):
        yield stored.store(values[first : first + step])


def _size(part: Part) -> int:
    return math.prod(part.shape) * _BYTES[part.dtype]


def _convert(scratch: Path, output: Path) -> None:
    import iree.runtime as rt

    index = rt.ParameterIndex()
    index.load(str(scratch))
    index.create_archive_file(str(output))
