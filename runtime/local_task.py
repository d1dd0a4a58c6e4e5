"""The CPU through IREE's local-task driver, with a chosen number of worker threads."""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path
from typing import Any

from paceline.errors import DeviceUnavailable
from paceline.runtime.iree_program import IreeDevice
from paceline.targets import ProcessingUnit

_ALIASES = {"amd64": "x86_64", "arm64": "aarch64"}


def open_cpu(unit: ProcessingUnit, *, cores: int | None = None) -> IreeDevice:
    """The CPU with ``cores`` worker threads (default: as many of the unit's cores as this machine has).

    Raises:
        DeviceUnavailable: programs of ``unit`` are for another processor, or more cores are asked for than are here.
    """
    check_architecture(unit, platform.machine())
    available = usable_cores()
    if cores is not None and not 1 <= cores <= available:
        raise DeviceUnavailable(
            f"{cores} CPU cores were asked for, this machine has {available}; choose 1 to {available}"
        )
    count = cores or min(unit.cores, available)
    return IreeDevice(unit, f"{platform.machine()} CPU, {count} of {available} cores", _local_task(count))


def check_architecture(unit: ProcessingUnit, machine: str) -> None:
    """Refuse programs for another instruction set.

    Raises:
        DeviceUnavailable: the unit's triple names another architecture than ``machine``.
    """
    wanted, found = unit.triple.partition("-")[0].lower(), machine.lower()
    if wanted and _ALIASES.get(wanted, wanted) != _ALIASES.get(found, found):
        raise DeviceUnavailable(
            f"these programs are for {wanted} ({unit.description}), this machine is {machine}; compile for 'host'"
        )


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def core_capacities() -> tuple[int, ...]:
    """Relative speed of each core as the kernel states it on big.LITTLE machines; empty elsewhere."""
    files = sorted(Path("/sys/devices/system/cpu").glob("cpu[0-9]*/cpu_capacity"))
    return tuple(int(file.read_text()) for file in files)


def topology_flags(cores: int, capacities: tuple[int, ...]) -> tuple[str, ...]:
    """IREE flags for one worker a core, on the fastest cores where they differ and are enough.

    Equal cores are left to the operating system: pinned workers would wait behind whatever else runs there.
    """
    fast = capacities.count(max(capacities, default=0))
    if min(capacities, default=0) != max(capacities, default=0) and cores <= fast:
        return (
            "--task_topology_group_count=0",
            f"--task_topology_max_group_count={cores}",
            "--task_topology_performance_level=high",
        )
    return (f"--task_topology_group_count={cores}",)


@cache
def _local_task(cores: int) -> Any:
    from iree.runtime import _binding

    # The driver reads its flags when it is made, and IREE's own cache would hand out the first one for ever.
    _binding.parse_flags(*topology_flags(cores, core_capacities()))
    return _binding.create_hal_driver("local-task").create_default_device()
