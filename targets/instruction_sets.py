"""Instruction sets that kernels are compiled for, and the best of them that a CPU runs."""

from __future__ import annotations

import platform
from dataclasses import dataclass

from paceline.targets.host import detect_cpu
from paceline.targets.soc import ProcessingUnit


@dataclass(frozen=True, slots=True)
class InstructionSet:
    """Processors of an architecture that have all of ``features``, as the compiler spells them."""

    name: str
    architecture: str
    features: frozenset[str]


_AVX512 = frozenset({"avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512vnni"})
# best first
SETS = (
    InstructionSet("x86_64-amx", "x86_64", _AVX512 | {"amx-tile", "amx-int8"}),
    InstructionSet("x86_64-avx512vnni", "x86_64", _AVX512),
    InstructionSet("x86_64-avx2", "x86_64", frozenset({"avx2", "fma", "f16c", "bmi2"})),
    InstructionSet("aarch64-dotprod", "aarch64", frozenset({"dotprod"})),
    InstructionSet("aarch64-neon", "aarch64", frozenset()),
)
_ALIASES = {"amd64": "x86_64", "arm64": "aarch64"}


def set_named(name: str) -> InstructionSet:
    """The set called ``name``, one of ``SETS``."""
    return next(some for some in SETS if some.name == name)


def instruction_set(unit: ProcessingUnit) -> InstructionSet | None:
    """The best that every core of ``unit`` runs by what is said of it; None where there are no kernels for it."""
    if unit.kind != "cpu":
        return None
    architecture = (unit.triple.partition("-")[0] or platform.machine()).lower()
    features = unit.named_features
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
