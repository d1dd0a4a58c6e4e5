"""The CPU through IREE's local-task driver: a number of worker threads, or one on each of the cores that are named.

Pinned devices don't use ``--task_topology_cpu_ids``: every repetition of that flag in a process adds to the ones
before, so that a second device would get the first one's cores too, and no later one could be without. Instead the
device is made by a thread that may run on its cores only: IREE then finds no others, and gives each worker its own.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Collection, Iterable
from functools import cache, partial
from pathlib import Path
from typing import Any

from paceline.errors import DeviceUnavailable
from paceline.runtime.calling import giving_way, starting_on
from paceline.runtime.heap import keep_large_buffers_apart
from paceline.runtime.iree_program import IreeDevice
from paceline.targets import ProcessingUnit

_ALIASES = {"amd64": "x86_64", "arm64": "aarch64"}


def open_cpu(unit: ProcessingUnit, *, cores: int | None = None, pin: Collection[int] = ()) -> IreeDevice:
    """The CPU with ``cores`` worker threads (default: as many of the unit's cores as this machine has).

    With ``pin`` it has a worker on each of these cores, and they stay there.

    Raises:
        DeviceUnavailable: programs of ``unit`` are for another processor, or more cores, or others, are asked for than
            are here.
    """
    check_architecture(unit, platform.machine())
    keep_large_buffers_apart()  # IREE's buffers of this device are the process's own
    if pin:
        return _open_pinned(unit, tuple(sorted(pin)))
    available = usable_cores()
    if cores is not None and not 1 <= cores <= available:
        raise DeviceUnavailable(
            f"{cores} CPU cores were asked for, this machine has {available}; choose 1 to {available}"
        )
    count = cores or min(unit.cores, available)
    description = f"{platform.machine()} CPU, {count} of {available} cores"
    return IreeDevice(unit, description, _local_task(count), giving_way)


def _open_pinned(unit: ProcessingUnit, pin: tuple[int, ...]) -> IreeDevice:
    if sys.platform != "linux":
        raise DeviceUnavailable("cores cannot be chosen on this operating system; leave out --pin")
    if strangers := set(pin) - set(usable_core_numbers()):
        raise DeviceUnavailable(
            f"core {min(strangers)} was asked for, this process may use {_listed(usable_core_numbers())};"
            " choose among these"
        )
    description = f"{platform.machine()} CPU, core{'s' if len(pin) > 1 else ''} {_listed(pin)}"
    return IreeDevice(unit, description, _pinned_local_task(pin), partial(giving_way, pin))


def _listed(cores: Iterable[int]) -> str:
    return ", ".join(map(str, cores))


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


def usable_core_numbers() -> tuple[int, ...]:
    """Cores that this process may use, by the operating system's numbers."""
    return tuple(sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else range(os.cpu_count() or 1))


def usable_cores() -> int:
    """How many cores this process may use."""
    return len(usable_core_numbers())


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


@cache
def _pinned_local_task(cores: tuple[int, ...]) -> Any:
    from iree.runtime import _binding

    # No count: IREE would leave so many workers to the operating system. Its own choice is one for each core it sees.
    flags = ("group_count=0", f"max_group_count={len(cores)}", "performance_level=any")
    with starting_on(cores):
        _binding.parse_flags(*(f"--task_topology_{flag}" for flag in flags))
        return _binding.create_hal_driver("local-task").create_default_device()
