"""Which Vulkan driver serves a GPU unit: found, chosen, and made known to the Vulkan loader.

Order of preference: what VK_DRIVER_FILES or VK_ICD_FILENAMES names, then the drivers of real GPUs, then SwiftShader.
Mesa's llvmpipe is found and named, but never chosen: a step of a small model takes it most of a minute.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import msgspec

from paceline.console import Report, quiet
from paceline.errors import DeviceUnavailable
from paceline.runtime import swiftshader
from paceline.runtime.vulkan_probe import probe

LOADER = "libvulkan.so.1"
CHOSEN_BY = ("VK_DRIVER_FILES", "VK_ICD_FILENAMES")
_SYSTEM_FOLDERS = ("/etc/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/usr/share/vulkan/icd.d")
# Browsers carry SwiftShader too, in the very layout of our cache.
_BROWSER_FOLDERS = ("/usr/lib/chromium", "/opt/google/chrome")
_SLOW = ("lvp", "lavapipe", "llvmpipe")
_GPU_NODES = ("/dev/dri/renderD*", "/dev/nvidia[0-9]*", "/dev/mali*", "/dev/kgsl*", "/dev/dxg")


@dataclass(frozen=True, kw_only=True)
class Driver:
    """An installed Vulkan driver.

    Attributes:
        name: for people: the stem of its ICD file, or ``SwiftShader``.
        icd: the JSON file that describes it to the Vulkan loader.
        loader: folder of the libvulkan.so.1 to use; None means the system's.
        software: it computes on the CPU.
        chosen: an environment variable named it.
        problem: why it cannot be used; empty when nothing speaks against it.
    """

    name: str
    icd: Path
    loader: Path | None = None
    software: bool = False
    chosen: bool = False
    problem: str = ""


class _Icd(msgspec.Struct):
    library_path: str
    library_arch: str = ""


class _IcdFile(msgspec.Struct):
    icd: _Icd = msgspec.field(name="ICD")


def find_drivers() -> tuple[Driver, ...]:
    """Every driver on this machine, best first; those with a ``problem`` come last."""
    named = next((value for name in CHOSEN_BY if (value := os.environ.get(name))), "")
    if named:
        return tuple(_describe(Path(file), chosen=True) for file in named.split(os.pathsep) if file)
    drivers = {driver.icd.resolve(): driver for driver in (_describe(icd) for icd in _icd_files())}
    return tuple(sorted(drivers.values(), key=lambda driver: (bool(driver.problem), driver.software)))


def select_driver() -> Driver | None:
    """The driver that a GPU unit will use; None when there is none.

    A GPU's driver is asked for a device first, because distributions install drivers of GPUs that are not there.
    """
    return _first_that_works(tuple(driver for driver in find_drivers() if not driver.problem))


@cache
def _first_that_works(drivers: tuple[Driver, ...]) -> Driver | None:
    return next((driver for driver in drivers if driver.software or driver.chosen or _has_device(driver)), None)


def _has_device(driver: Driver) -> bool:
    try:
        return probe(driver.icd, driver.loader).supported
    except DeviceUnavailable:
        return False


def prepare(driver: Driver) -> None:
    """Tell the Vulkan loader and IREE which driver to use; call it before IREE's Vulkan driver is created."""
    for name in CHOSEN_BY:
        os.environ[name] = str(driver.icd)
    if driver.loader is not None:
        from iree.runtime import flags

        flags.parse_flags(f"--vulkan_libvulkan_search_path={driver.loader}")


def install_swiftshader(report: Report = quiet) -> Driver:
    """Put SwiftShader into the user's cache, without root; does nothing when it is there.

    Raises:
        DeviceUnavailable: no apt, no network, or no package for this machine.
        OutputError: the cache cannot be written, or the disk is full.
    """
    icd = swiftshader.folder() / swiftshader.ICD
    if not icd.is_file() or _describe(icd).problem:
        swiftshader.install(report)
    driver = _describe(icd)
    if driver.problem:
        raise DeviceUnavailable(f"SwiftShader was unpacked to {icd.parent}, but {driver.problem}")
    return driver


def _icd_files() -> Iterator[Path]:
    # As the Vulkan loader does, which asks nobody but the environment for the user's home.
    user = os.environ.get("XDG_DATA_HOME") or f"{os.environ.get('HOME', '')}/.local/share"
    for folder in (*map(Path, _SYSTEM_FOLDERS), Path(user) / "vulkan" / "icd.d"):
        # A folder that is closed to this user holds no driver for them.
        if os.access(folder, os.R_OK | os.X_OK):
            yield from sorted(folder.glob("*.json"))
    for folder in (swiftshader.folder(), *map(Path, _BROWSER_FOLDERS)):
        if os.access(icd := folder / swiftshader.ICD, os.R_OK):
            yield icd


def _describe(icd: Path, *, chosen: bool = False) -> Driver:
    word = icd.name.lower()
    swift = "swiftshader" in word
    slow = any(part in word for part in _SLOW)
    loader = icd.parent if (icd.parent / LOADER).is_file() else None
    name = "SwiftShader" if swift else icd.stem
    driver = Driver(name=name, icd=icd, loader=loader, software=swift or slow, chosen=chosen)
    if loader is None and not _system_has_loader():
        fallback = swiftshader.folder()
        driver = replace(driver, loader=fallback if os.access(fallback / LOADER, os.R_OK) else None)
    return replace(driver, problem=_problem(driver, slow=slow))


def _problem(driver: Driver, *, slow: bool) -> str:
    try:
        icd = msgspec.json.decode(driver.icd.read_bytes(), type=_IcdFile).icd
    except FileNotFoundError:
        return f"{driver.icd} does not exist"
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        return f"{driver.icd} cannot be read as a driver description: {error}"
    library = driver.icd.parent / icd.library_path
    if "/" in icd.library_path and not library.is_file():
        return f"its library {library} does not exist"
    if icd.library_arch == "32":
        return "it is a 32-bit driver"
    if driver.loader is None and not _system_has_loader():
        return f"the Vulkan loader {LOADER} is missing (package libvulkan1)"
    if slow and not driver.chosen:
        return "llvmpipe is too slow to decode with; name it in VK_DRIVER_FILES to use it all the same"
    if not driver.software and not driver.chosen and not _gpu_nodes():
        return "no GPU is visible to this user (no device in /dev/dri)"
    return ""


@cache
def _system_has_loader() -> bool:
    try:
        ctypes.CDLL(LOADER)
    except OSError:
        return False
    return True


def _gpu_nodes() -> bool:
    return any(any(Path("/").glob(pattern.removeprefix("/"))) for pattern in _GPU_NODES)
