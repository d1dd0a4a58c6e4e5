"""The C functions of ``compile/kernels``: what each takes, and the objects that hold them, one an instruction set.

A function takes its arrays, then integers, then the number of its workgroup. What it changes in place comes before what
it makes.
"""

from __future__ import annotations

import hashlib
import platform
from dataclasses import dataclass
from pathlib import Path

from paceline.errors import CompileFailed
from paceline.targets import ProcessingUnit
from paceline.targets.host import detect_cpu

FOLDER = Path(__file__).parent / "kernels"
PRECISIONS = ("f32", "f16", "int8", "int4")


@dataclass(frozen=True, slots=True)
class Kernel:
    """``arrays`` by use: i is read, c is changed in place, o is made; then come ``integers``."""

    arrays: str
    integers: tuple[str, ...]


_MATMUL = ("rows", "channels", "columns", "chunk")
_HEADS = ("heads", "kv_heads", "size", "capacity", "layer")
KERNELS: dict[str, Kernel] = {
    "quantise": Kernel("io", ("columns", "padded")),
    "norm_quantise": Kernel("iio", ("columns", "padded", "epsilon")),
    "norm": Kernel("iio", ("columns", "epsilon")),
    "norm_add": Kernel("iic", ("columns", "epsilon")),
    "argmax": Kernel("iio", ("vocabulary",)),
    "rope_store": Kernel("ciicci", ("rows", *_HEADS, "factor")),
    "rope_norm_store": Kernel("ciiiicci", ("rows", *_HEADS, "factor", "epsilon")),
    "attention": Kernel("iccio", ("rows", *_HEADS, "window")),
    **{f"embed_{name}": Kernel("iio", ("vocabulary", "columns", "padded", "factor")) for name in PRECISIONS[:3]},
    **{
        f"matmul_{name}_{kind}": Kernel(arrays, _MATMUL)
        for name in PRECISIONS
        for kind, arrays in (("store", "iio"), ("bias", "iiio"), ("add", "iic"), ("silu", "iio"), ("gelu", "iio"))
    },
    **{f"matmul_{name}_from": Kernel("iiio", _MATMUL) for name in PRECISIONS},
}


@dataclass(frozen=True, slots=True)
class InstructionSet:
    """Kernels compiled for processors that have all of ``features``, as the compiler spells them."""

    name: str
    architecture: str
    features: frozenset[str]

    @property
    def object(self) -> Path:
        """The compiled kernels."""
        return FOLDER / f"{self.name}.o"

    def digest(self) -> str:
        """Of the object: what a program links is part of its identity.

        Raises:
            CompileFailed: the object is missing.
        """
        try:
            return hashlib.sha256(self.object.read_bytes()).hexdigest()
        except OSError as error:
            reason = f"cannot read {self.object}: {error.strerror}; install paceline anew, or compile with --no-kernels"
            raise CompileFailed(tool="paceline", diagnostic=reason, command=()) from error


# best first
SETS = (
    InstructionSet(
        "x86_64-avx512vnni", "x86_64", frozenset({"avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512vnni"})
    ),
    InstructionSet("x86_64-avx2", "x86_64", frozenset({"avx2", "fma", "f16c", "bmi2"})),
    InstructionSet("aarch64-dotprod", "aarch64", frozenset({"dotprod"})),
    InstructionSet("aarch64-neon", "aarch64", frozenset()),
)


def set_named(name: str) -> InstructionSet:
    """The set called ``name``, one of ``SETS``."""
    return next(some for some in SETS if some.name == name)


_ALIASES = {"amd64": "x86_64", "arm64": "aarch64"}


def instruction_set(unit: ProcessingUnit) -> InstructionSet | None:
    """The best kernels that every core of ``unit`` runs by what is said of it; None where there are none."""
    if unit.kind != "cpu":
        return None
    architecture = (unit.triple.partition("-")[0] or platform.machine()).lower()
    features = {feature[1:] for feature in unit.cpu_features.split(",") if feature.startswith("+")}
    if unit.cpu == "host":
        features |= detect_cpu().instructions
    return next(
        (
            some
            for some in SETS
            if some.architecture == _ALIASES.get(architecture, architecture) and some.features <= features
        ),
        None,
    )
