"""A SoC as facts: its processing units, what they can do, and who says so."""

from __future__ import annotations

from typing import Literal

import msgspec

from paceline.targets.limits import GpuLimits

SCHEMA = 1
Dtype = Literal["f32", "f16", "int8", "int4"]


class Figure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A number in SI units and where it comes from."""

    value: float
    source: str


class ProcessingUnit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One processor that runs whole models.

    Attributes:
        name: how mappings call it: ``cpu`` or ``gpu``.
        kind: which backend compiles for it.
        cores: CPU cores, or shader cores of a GPU.
        triple, cpu, cpu_features: llvm-cpu target; empty for a GPU.
        vulkan_target: name of IREE's Vulkan target; empty for a CPU.
        storage_bits: the narrowest element that its programs may load and store (8, 16 or 32).
        subgroup: subgroup size that its programs may rely on; 0 where none is pinned.
        peak: operations per second by dtype of the multiplicands (a multiply-add counts as two).
        bandwidth: bytes per second from memory.
        memory: bytes that this unit can use.
        launch: seconds that one dispatch costs.
        limits: of a GPU, what its driver allows; None where it is not known, which leaves programs unchecked.
        clusters: of a CPU, sets of alike cores by the numbers that Linux gives them: the unit's own first, then the one
            that a drafter should have to itself. Empty where all cores are alike.
    """

    name: str
    kind: Literal["cpu", "gpu"]
    description: str
    cores: int
    triple: str = ""
    cpu: str = ""
    cpu_features: str = ""
    vulkan_target: str = ""
    storage_bits: int = 8
    subgroup: int = 0
    peak: dict[Dtype, Figure]
    bandwidth: Figure
    memory: Figure
    launch: Figure
    limits: GpuLimits | None = None
    clusters: dict[str, tuple[int, ...]] = {}

    @property
    def named_features(self) -> frozenset[str]:
        """What ``cpu_features`` adds to ``cpu``, without the +."""
        return frozenset(name[1:] for name in self.cpu_features.split(",") if name.startswith("+"))


class Soc(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A system on chip: one CPU, at most one GPU, one memory.

    ``shared_memory`` says that the units draw on the same bytes, as on every SoC here.
    """

    schema: int = SCHEMA
    name: str
    description: str
    memory: Figure
    shared_memory: bool = True
    units: tuple[ProcessingUnit, ...]

    def unit(self, name: str) -> ProcessingUnit | None:
        """The unit called ``name``, or None."""
        return next((unit for unit in self.units if unit.name == name), None)
