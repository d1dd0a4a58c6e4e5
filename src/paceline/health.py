"""What paceline finds on this machine, what is missing, and the command that gets it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from paceline import __version__
from paceline.errors import DeviceUnavailable

if TYPE_CHECKING:
    from paceline.runtime.vulkan_driver import Driver

RUNTIME, COMPILER, TORCH = "iree-base-runtime", "iree-base-compiler", "torch"
PACKAGES = (RUNTIME, COMPILER, TORCH, "numpy", "tokenizers")
ROOM = 2_000_000_000
INSTALL_DRIVER = "paceline doctor --install-swiftshader"
# Features that change what a compiled program can do, by their names in /proc/cpuinfo (x86, then Arm).
_TELLING = (
    *("sse4_2", "avx2", "fma", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8"),
    *("asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2"),
)


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A Vulkan driver, the device behind it, and whether GPU mappings will use it; ``problem`` says why not."""

    driver: str
    icd: str
    software: bool
    used: bool
    device: str = ""
    api: str = ""
    subgroup: int = 0
    storage_bits: int = 0
    memory_bytes: int = 0
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Missing:
    """Something that is not here, what it would be for, and the command that gets it."""

    what: str
    command: str


@dataclass(frozen=True, kw_only=True)
class Health:
    """The whole report; ``packages`` maps a package to its version, empty where it is not installed.

    ``cpu_ready`` says that models can decode on the CPU, ``gpu_ready`` the same of a Vulkan device,
    ``compile_ready`` that models can be imported and compiled here. ``cached_bundles`` were unpacked from packs that
    are used like folders, or sent here over ssh.
    """

    paceline: str
    python: str
    system: str
    packages: dict[str, str]
    cpu: str
    cores: int
    features: tuple[str, ...]
    memory_bytes: int
    cache: str
    cache_free_bytes: int
    cached_bundles: int
    cached_bundle_bytes: int
    drivers: tuple[Gpu, ...]
    cpu_ready: bool
    gpu_ready: bool
    compile_ready: bool
    missing: tuple[Missing, ...]


def examine() -> Health:
    """Look at this machine; takes a moment for each Vulkan driver, because every one is asked for its device."""
    from paceline.files import cache_folder
    from paceline.runtime.bundle_cache import cached_bundles
    from paceline.targets.host import count_cores, detect_cpu, memory_bytes

    cpu, cache, bundles = detect_cpu(), cache_folder(), cached_bundles()
    packages = {name: version_of(name) for name in PACKAGES}
    drivers = _gpus()
    free = _free_bytes(cache)
    cpu_ready = bool(packages[RUNTIME]) and _cpu_device()
    gpu_ready = any(gpu.used for gpu in drivers)
    compile_ready = bool(packages[COMPILER] and packages[TORCH]) and packages[COMPILER] == packages[RUNTIME]
    return Health(
        paceline=__version__,
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        packages=packages,
        cpu=cpu.name,
        cores=count_cores(),
        features=tuple(name for name in _TELLING if name in cpu.features),
        memory_bytes=memory_bytes(),
        cache=str(cache),
        cache_free_bytes=free,
        cached_bundles=len(bundles),
        cached_bundle_bytes=sum(bundles.values()),
        drivers=drivers,
        cpu_ready=cpu_ready,
        gpu_ready=gpu_ready,
        compile_ready=compile_ready,
        missing=_missing(packages, cpu_ready=cpu_ready, gpu_ready=gpu_ready, cache=cache, free=free),
    )


def version_of(package: str) -> str:
    """Installed version without importing the package; empty where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def requirements(extra: str = "") -> list[str]:
    """What pip needs for paceline itself or for one of its extras, e.g. ``iree-base-runtime==3.13.0``."""
    lines = importlib.metadata.requires("paceline") or []
    wanted = (line.partition(";") for line in lines)
    return [name.strip() for name, _, mark in wanted if (f'"{extra}"' in mark if extra else not mark)]


def _cpu_device() -> bool:
    try:
        from iree.runtime import get_device

        return get_device("local-task") is not None
    except (ImportError, RuntimeError, ValueError):
        return False


def _gpus() -> tuple[Gpu, ...]:
    from paceline.runtime.vulkan_driver import find_drivers, select_driver

    used = select_driver()
    return tuple(_gpu(driver, used=used is not None and driver.icd == used.icd) for driver in find_drivers())


def _gpu(driver: Driver, *, used: bool) -> Gpu:
    from paceline.runtime.vulkan_probe import probe

    known = Gpu(driver=driver.name, icd=str(driver.icd), software=driver.software, used=False, problem=driver.problem)
    if driver.problem:
        return known
    try:
        device = probe(driver.icd, driver.loader)
    except DeviceUnavailable as error:
        return Gpu(driver=known.driver, icd=known.icd, software=known.software, used=False, problem=str(error))
    return Gpu(
        driver=known.driver,
        icd=known.icd,
        software=known.software,
        used=used and device.supported,
        device=device.name,
        api=device.api,
        subgroup=device.subgroup[0],
        storage_bits=device.storage_bits,
        memory_bytes=device.memory,
        problem="" if device.supported else f"it lacks what IREE needs of Vulkan 1.3: {device.missing}",
    )


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(_existing(folder)).free


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    # Asked with os.access: a folder that is closed to this user is none that exists for them.
    return next(place for place in (folder, *folder.parents) if os.access(place, os.F_OK))


def _may_be_made(folder: Path) -> bool:
    place = _existing(folder)
    return place.is_dir() and os.access(place, os.W_OK | os.X_OK)


def _pip(extra: str) -> str:
    return shlex.join(["pip", "install", *requirements(extra)])


def _missing(
    packages: dict[str, str], *, cpu_ready: bool, gpu_ready: bool, cache: Path, free: int
) -> tuple[Missing, ...]:
    found = []
    if not cpu_ready:
        what = "IREE's runtime does not start" if packages[RUNTIME] else "IREE's runtime: without it nothing decodes"
        found.append(Missing(what=what, command=_pip("")))
    if not (packages[COMPILER] and packages[TORCH]):
        absent = " and ".join(name for name in (COMPILER, TORCH) if not packages[name])
        what = f"{absent}: models can be run here, but not imported or compiled"
        found.append(Missing(what=what, command=_pip("compile")))
    elif packages[COMPILER] != packages[RUNTIME]:
        what = f"{COMPILER} {packages[COMPILER]} and {RUNTIME} {packages[RUNTIME]} are of different releases"
        found.append(Missing(what=what, command=_pip("compile")))
    if not gpu_ready:
        what = "a Vulkan driver that works: mappings to the GPU will be rejected"
        found.append(Missing(what=what, command=INSTALL_DRIVER))
    if not _may_be_made(cache):
        what = f"a cache that can be written, which {cache} is not: compiling and packs that are run need it"
        found.append(Missing(what=what, command="export PACELINE_CACHE=FOLDER"))
    if free < ROOM:
        what = f"room on the disk: {free / 1e9:.1f} GB free, compiling a model takes some {ROOM / 1e9:.0f} GB"
        found.append(Missing(what=what, command=f"du -sh {cache}/*"))
    return tuple(found)
