"""The CPU: which programs it takes, and how many workers it gets."""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec
import pytest

from paceline.errors import DeviceUnavailable
from paceline.runtime import open_device
from paceline.runtime.calling import giving_way
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


def test_workers_are_pinned_and_the_caller_is_not() -> None:
    """A worker for each core that was asked for, and a later device that is not pinned may use all of them again."""
    allowed, before = os.sched_getaffinity(0), set(Path("/proc/self/task").iterdir())

    def workers() -> dict[Path, str]:
        found = {}
        for task in set(Path("/proc/self/task").iterdir()) - before:
            status = (task / "status").read_text()
            if "iree-worker" in status.splitlines()[0]:
                found[task] = status.partition("Cpus_allowed_list:")[2].split()[0]
        return found

    core = min(allowed)
    device = open_device(NULL_UNIT, pin=(core,))
    for _ in range(100):  # a worker takes its name and place once it runs
        if set(workers().values()) == {str(core)}:
            break
        time.sleep(0.02)
    assert list(workers().values()) == [str(core)]
    assert device.description.endswith(f"core {core}")
    assert os.sched_getaffinity(0) == allowed
    pinned = set(workers())
    open_device(NULL_UNIT, cores=1)
    for _ in range(100):
        if others := {task: cores for task, cores in workers().items() if task not in pinned}:
            break
        time.sleep(0.02)
    if len(allowed) > 1:
        assert all(cores != str(core) for cores in others.values())


def test_cores_that_cannot_be_pinned() -> None:
    with pytest.raises(DeviceUnavailable, match="core 9999 was asked for, this process may use"):
        open_device(NULL_UNIT, pin=(9999,))
    with pytest.raises(DeviceUnavailable, match="only a CPU can be pinned"):
        open_device(msgspec.structs.replace(NULL_UNIT, name="gpu", kind="gpu"), pin=(0,))


def test_a_caller_gives_way_while_a_program_runs() -> None:
    allowed, core = os.sched_getaffinity(0), max(os.sched_getaffinity(0))
    with pytest.raises(KeyError), giving_way((core,)):
        assert os.sched_getscheduler(0) == os.SCHED_BATCH
        assert os.sched_getaffinity(0) == {core}
        raise KeyError
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
    assert os.sched_getaffinity(0) == allowed


@pytest.mark.parametrize("cores", [0, 10_000])
def test_cores_that_are_not_there(cores: int) -> None:
    with pytest.raises(DeviceUnavailable, match=f"{cores} CPU cores.*this machine has {usable_cores()}"):
        open_device(NULL_UNIT, cores=cores)
