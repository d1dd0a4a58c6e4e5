"""The CPU: which programs it takes, and how many workers it gets."""

from __future__ import annotations

import msgspec
import pytest

from paceline.errors import DeviceUnavailable
from paceline.runtime import open_device
from paceline.runtime.local_task import check_architecture, topology_flags, usable_cores
from paceline.runtime.null_device import NULL_UNIT


@pytest.mark.parametrize(
    ("triple", "machine", "fits"),
    [
        ("", "x86_64", True),
        ("x86_64-unknown-linux-gnu", "AMD64", True),
        ("aarch64-linux-gnu", "arm64", True),
        ("aarch64-linux-gnu", "x86_64", False),
    ],
)
def test_architecture(triple: str, machine: str, fits: bool) -> None:
    unit = msgspec.structs.replace(NULL_UNIT, triple=triple)
    if fits:
        check_architecture(unit, machine)
        return
    with pytest.raises(DeviceUnavailable, match=r"for aarch64.*this machine is x86_64"):
        check_architecture(unit, machine)


@pytest.mark.parametrize(
    ("cores", "capacities", "expected"),
    [
        (2, (), ("--task_topology_group_count=2",)),
        (2, (1024, 1024), ("--task_topology_group_count=2",)),
        (6, (400,) * 4 + (1024,) * 4, ("--task_topology_group_count=6",)),
        (
            4,
            (400,) * 4 + (1024,) * 4,
            (
                "--task_topology_group_count=0",
                "--task_topology_max_group_count=4",
                "--task_topology_performance_level=high",
            ),
        ),
    ],
)
def test_topology_flags(cores: int, capacities: tuple[int, ...], expected: tuple[str, ...]) -> None:
    assert topology_flags(cores, capacities) == expected


@pytest.mark.parametrize("cores", [0, 10_000])
def test_cores_that_are_not_there(cores: int) -> None:
    with pytest.raises(DeviceUnavailable, match=f"{cores} CPU cores.*this machine has {usable_cores()}"):
        open_device(NULL_UNIT, cores=cores)
