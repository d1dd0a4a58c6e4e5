"""The GPU through IREE's Vulkan driver."""

from __future__ import annotations

from functools import cache
from typing import Any

from paceline.errors import DeviceUnavailable
from paceline.runtime.iree_program import IreeDevice
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
    hal, name = _vulkan()
    return IreeDevice(unit, name, hal)


@cache
def _vulkan() -> tuple[Any, str]:
    from iree.runtime import _binding

    try:
        driver = _binding.create_hal_driver("vulkan")
        devices = driver.query_available_devices()
        if not devices:
            raise DeviceUnavailable("the Vulkan driver offers no device; see 'paceline doctor'")
        return driver.create_device(devices[0]["device_id"]), str(devices[0]["name"])
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise DeviceUnavailable(f"the Vulkan driver cannot be used: {reason}; see 'paceline doctor'") from error
