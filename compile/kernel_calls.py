"""The C functions of ``compile/kernels``: what each takes, and the objects that hold them, one an instruction set.

A function takes its arrays, then integers, then the number of its workgroup. What it changes in place comes before what
it makes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from paceline.costmodel import CacheKind
from paceline.errors import CompileFailed
from paceline.targets.instruction_sets import InstructionSet

FOLDER = Path(__file__).parent / "kernels"
PRECISIONS = ("f32", "f16", "int8", "int4")
CACHES = get_args(CacheKind)
_ROUNDED = ("int8", "int4")  # weights that take activations in bytes


@dataclass(frozen=True, slots=True)
class Kernel:
    """``arrays`` by use: i is read, c is changed in place, o is made; then come ``integers``."""

    arrays: str
    integers: tuple[str, ...]


_MATMUL = ("rows", "channels", "columns", "chunk")
_HEADS = ("heads", "kv_heads", "size", "capacity", "layer")
KERNELS: dict[str, Kernel] = {
    **{f"quantise_{name}": Kernel("io", ("columns", "padded")) for name in _ROUNDED},
    **{f"norm_quantise_{name}": Kernel("iio", ("columns", "padded", "epsilon")) for name in _ROUNDED},
    "norm": Kernel("iio", ("columns", "epsilon")),
    "norm_add": Kernel("iic", ("columns", "epsilon")),
    "argmax": Kernel("iio", ("vocabulary",)),
    **{f"rope_store_{kept}": Kernel("ciicci", ("rows", *_HEADS, "factor")) for kept in CACHES},
    **{f"rope_norm_store_{kept}": Kernel("ciiiicci", ("rows", *_HEADS, "factor", "epsilon")) for kept in CACHES},
    **{f"attention_{kept}": Kernel("iccio", ("rows", *_HEADS, "window", "share")) for kept in CACHES},
    **{f"embed_{name}": Kernel("iio", ("vocabulary", "columns", "padded", "factor")) for name in PRECISIONS[:3]},
    **{
        f"matmul_{name}_{kind}": Kernel(arrays, _MATMUL)
        for name in PRECISIONS
        for kind, arrays in (("store", "iio"), ("bias", "iiio"), ("add", "iic"), ("silu", "iio"), ("gelu", "iio"))
    },
    **{f"matmul_{name}_from": Kernel("iiio", _MATMUL) for name in PRECISIONS},
    **{f"screened_{name}": Kernel("iiiio", ("rows", "channels", "columns", "choices")) for name in _ROUNDED},
}


def object_of(kernels: InstructionSet) -> Path:
    """The compiled kernels of an instruction set."""
    return FOLDER / f"{kernels.name}.o"


def digest(kernels: InstructionSet) -> str:
    """Of the object: what a program links is part of its identity.

    Raises:
        CompileFailed: the object is missing.
    """
    path = object_of(kernels)
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        reason = f"cannot read {path}: {error.strerror}; install paceline anew, or compile with --no-kernels"
        raise CompileFailed(tool="paceline", diagnostic=reason, command=()) from error
