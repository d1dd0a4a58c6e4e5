"""A device of this machine that runs compiled programs, opened for one processing unit of a SoC."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from paceline.errors import DeviceUnavailable
from paceline.partition import Bundle, BundledModel
from paceline.targets import ProcessingUnit

if TYPE_CHECKING:
    from paceline.runtime.program import Program


class Device(Protocol):
    """What loads programs: ``unit`` is the unit it stands for, ``description`` what was really found."""

    @property
    def unit(self) -> ProcessingUnit: ...

    @property
    def description(self) -> str: ...

    def load(self, folder: Path, bundle: Bundle, model: BundledModel) -> Program:
        """Load one model of a bundle.

        Raises:
            BundleError: its program or weights cannot be read.
            DeviceUnavailable: it has instructions that this machine's CPU does not have.
        """
        ...


def open_device(unit: ProcessingUnit, *, cores: int | None = None, pin: Collection[int] = ()) -> Device:
    """Open the device behind ``unit``; ``cores`` limits a CPU (default: all of the unit's that are here).

    ``pin`` names a CPU's cores instead. Calls with the same unit and cores share one device, so two models on it never
    compete for its threads.

    Raises:
        DeviceUnavailable: another processor, too few cores, cores of a unit that has none, or no driver.
    """
    if unit.kind == "cpu":
        from paceline.runtime.local_task import open_cpu

        return open_cpu(unit, cores=cores, pin=pin)
    if pin:
        raise DeviceUnavailable(
            f"{unit.name} ({unit.description}) has no cores to choose from; only a CPU can be pinned"
        )
    from paceline.runtime.vulkan import open_gpu

    return open_gpu(unit)
