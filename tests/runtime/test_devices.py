"""Devices: what is refused, and with which sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from paceline.errors import BundleError, DeviceUnavailable
from paceline.partition import Failure, read_bundle
from paceline.runtime import NullDevice, load_program, open_device, vulkan_driver
from paceline.runtime.local_task import check_architecture, topology_flags, usable_cores
from paceline.runtime.null_device import NULL_UNIT, NullProgram
from paceline.runtime.vulkan import why_not
from paceline.runtime.vulkan_probe import VulkanDevice

GPU = msgspec.structs.replace(NULL_UNIT, name="gpu", kind="gpu", subgroup=16, storage_bits=8)
DEVICE = VulkanDevice(
    name="a GPU", api="1.3", supported=True, missing="", subgroup=(8, 32), storage_bits=8, memory=1 << 30
)


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


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, None),
        ({"subgroup": (4, 4)}, "subgroups of 16, it has 4 to 4"),
        ({"storage_bits": 32}, "8-bit elements"),
        ({"supported": False, "missing": "no timeline semaphores"}, "no timeline semaphores"),
    ],
)
def test_gpu_that_does_not_fit(changes: dict[str, object], sentence: str | None) -> None:
    reason = why_not(GPU, msgspec.convert({**_fields(DEVICE), **changes}, VulkanDevice))
    assert (reason is None) if sentence is None else (sentence in (reason or ""))


def _fields(device: VulkanDevice) -> dict[str, object]:
    return {name: getattr(device, name) for name in VulkanDevice.__dataclass_fields__}


def test_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vulkan_driver, "select_driver", lambda: None)
    with pytest.raises(DeviceUnavailable, match="install-swiftshader"):
        open_device(GPU)


def test_program_that_was_not_compiled(null_bundle: Callable[..., Path]) -> None:
    folder = null_bundle()
    bundle = read_bundle(folder)
    target = msgspec.structs.replace(bundle.target, programs={"cpu": bundle.target.programs["cpu"]})
    failure = Failure(role="target", precision="f32", unit="gpu", reason="IREE refused it")
    device = NullDevice(unit=GPU)
    without = msgspec.structs.replace(bundle, models=(target,))
    with pytest.raises(DeviceUnavailable, match="no target program for unit 'gpu'; it has: cpu"):
        load_program(folder, without, "target", device)
    with pytest.raises(DeviceUnavailable, match="not compiled for gpu: IREE refused it"):
        load_program(folder, msgspec.structs.replace(without, failures=(failure,)), "target", device)
    with pytest.raises(BundleError, match="no drafter"):
        load_program(folder, without, "drafter", device)


@pytest.mark.cpu
def test_file_that_is_no_program(null_bundle: Callable[..., Path]) -> None:
    folder = null_bundle()
    with pytest.raises(BundleError, match=r"target\.f32\.cpu\.vmfb cannot be loaded.*compile it again"):
        load_program(folder, read_bundle(folder), "target", open_device(NULL_UNIT))


def test_null_program_is_a_function_of_the_text() -> None:
    text = np.array([3, 1, 4, 1, 5, 9, 2, 6], np.int32)
    whole = NullProgram(seed=1).step(text, 0, logits=True)
    single = NullProgram(seed=1)
    rows = [single.step(text[place : place + 1], place, logits=True) for place in range(8)]
    assert whole.logits is not None
    np.testing.assert_array_equal(whole.logits, np.concatenate([row.logits for row in rows if row.logits is not None]))
    np.testing.assert_array_equal(whole.ids, whole.logits.argmax(-1))
    assert not np.array_equal(whole.ids, NullProgram(seed=2).step(text, 0).ids)


def test_null_drafter_agrees_as_often_as_asked() -> None:
    target, drafter = NullProgram(vocabulary=1000), NullProgram(vocabulary=1000, agreement=0.7)
    prefixes = [np.array([a, b], np.int32) for a in range(30) for b in range(30)]
    agreed = sum(target.logits_after(text).argmax() == drafter.logits_after(text).argmax() for text in prefixes)
    # 900 draws: three standard deviations of sqrt(0.7 * 0.3 / 900).
    assert agreed / len(prefixes) == pytest.approx(0.7, abs=0.046)


def test_null_program_refuses_what_does_not_fit() -> None:
    program = NullProgram(widths=(1, 4), context=8)
    with pytest.raises(ValueError, match="do not fit"):
        program.step(np.zeros(4, np.int32), 5)
    with pytest.raises(ValueError, match="do not fit"):
        program.step(np.zeros(2, np.int32), 0)
