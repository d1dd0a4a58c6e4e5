"""The GPU: what is refused, and with which sentence."""

from __future__ import annotations

import msgspec
import pytest

from paceline.errors import DeviceUnavailable
from paceline.runtime import open_device, vulkan_driver
from paceline.runtime.null_device import NULL_UNIT
from paceline.runtime.vulkan import why_not
from paceline.runtime.vulkan_probe import VulkanDevice

GPU = msgspec.structs.replace(NULL_UNIT, name="gpu", kind="gpu", subgroup=16, storage_bits=8)
DEVICE = VulkanDevice(
    name="a GPU", api="1.3", supported=True, missing="", subgroup=(8, 32), storage_bits=8, memory=1 << 30
)


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
