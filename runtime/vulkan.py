"""The GPU through IREE's Vulkan driver."""

from __future__ import annotations

from functools import cache
from typing import Any

from paceline.errors import DeviceUnavailable
from paceline.interrupts import left_to_the_system
from paceline.runtime.iree_program import IreeDevice
from paceline.runtime.vulkan_probe import VulkanDevice, parse_device
from paceline.targets import ProcessingUnit


def open_gpu(unit: ProcessingUnit) -> IreeDevice:
    """The Vulkan device that the preferred driver offers.

    Raises:
        DeviceUnavailable: no driver, a driver without a device, or one whose subgroups the unit's programs do not fit.
    """
    from paceline.runtime.vulkan_driver import prepare, select_driver

    driver = select_driver()
    if driver is None:
        raise DeviceUnavailable(
            "no Vulkan driver was found; install your GPU's driver, or run 'paceline doctor --install-swiftshader'"
        )
    prepare(driver)
    hal, device = _vulkan()
    if reason := why_not(unit, device):
        raise DeviceUnavailable(f"{device.name} cannot run programs for {unit.description}: {reason}")
    return IreeDevice(unit, device.name, hal, loading=left_to_the_system)


def why_not(unit: ProcessingUnit, device: VulkanDevice) -> str | None:
    """What keeps a device from running a unit's programs, or None; IREE checks none of it and computes rubbish."""
    low, high = device.subgroup
    if not device.supported:
        return f"it lacks what IREE needs ({device.missing})"
    if unit.subgroup and not low <= unit.subgroup <= high:
        return f"they rely on subgroups of {unit.subgroup}, it has {low} to {high}; compile for this device"
    if unit.storage_bits < device.storage_bits:
        return f"they load {unit.storage_bits}-bit elements, it can load {device.storage_bits}-bit ones; compile for it"
    return None


@cache
def _vulkan() -> tuple[Any, VulkanDevice]:
    from iree.runtime import _binding

    try:
        driver = _binding.create_hal_driver("vulkan")
        devices = driver.query_available_devices()
        if not devices:
            raise DeviceUnavailable("the Vulkan driver offers no device; see 'paceline doctor'")
        number = devices[0]["device_id"]
        return driver.create_device(number), parse_device(str(driver.dump_device_info(number)))
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise DeviceUnavailable(f"the Vulkan driver cannot be used: {reason}; see 'paceline doctor'") from error
