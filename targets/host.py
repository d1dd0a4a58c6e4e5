"""The machine that this runs on, as a SoC: what it says of itself, and careful guesses for what it does not say."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from paceline.targets import amx
from paceline.targets.hwcap import hwcap_features
from paceline.targets.soc import Dtype, Figure, ProcessingUnit, Soc

HOST = "host"
BASELINE = "vp_android_baseline_2022"
_NOT_MEASURED = "not measured; run paceline profile"
_CPUINFO = Path("/proc/cpuinfo")
_BOARD = Path("/proc/device-tree/model")
_TOPOLOGY = "/sys/devices/system/cpu/cpu{}/topology/{}"
_CACHES = "/sys/devices/system/cpu/cpu{}/cache"
_TOP_KHZ = Path("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq")
_GUESSED_HERTZ = 2e9

# What Linux calls otherwise than compilers do.
_COMPILERS_NAMES = {
    "avx512_vnni": "avx512vnni",
    "asimddp": "dotprod",
    "asimdhp": "fullfp16",
    **{name: name.replace("_", "-") for name in amx.FLAGS},
}

# Widest vector unit first: (feature flag, f32 lanes). One multiply-add unit per core is the careful guess.
_LANES = (("avx512f", 16), ("avx2", 8), ("asimd", 4), ("sse2", 4))
# Best integer instruction first: (feature flag, int8 multiply-adds for each f32 multiply-add).
_INT8 = (("i8mm", 8), ("asimddp", 4), ("avx512_vnni", 4), ("avx_vnni", 4), ("avx2", 2))


@dataclass(frozen=True)
class Cpu:
    """A CPU by name, with the feature flags that Linux prints; ``hertz`` is 0 where nothing tells."""

    name: str
    features: frozenset[str]
    hertz: float

    @property
    def instructions(self) -> frozenset[str]:
        """``features`` as compilers spell them."""
        return compilers_names(self.features)


def compilers_names(features: Iterable[str]) -> frozenset[str]:
    """Features as compilers spell them, of names that are theirs or Linux's."""
    return frozenset(_COMPILERS_NAMES.get(name, name) for name in features)


def detect_cpu() -> Cpu:
    """This machine's CPU, from /proc/cpuinfo where there is one; an Arm board is called what its firmware calls it.

    Of its features those that programs may use.
    """
    cpu, top = parse_cpuinfo(_text(_CPUINFO)), _text(_TOP_KHZ)
    unlent = frozenset[str]() if amx.tiles_lent() else amx.FLAGS
    return Cpu(
        name=_text(_BOARD).strip("\0\n ") or cpu.name,
        features=hwcap_features() or cpu.features - unlent,
        hertz=float(top) * 1e3 if top else cpu.hertz,
    )


def _text(file: Path) -> str:
    """What the system says there; nothing where it says nothing, or not to everyone, as Android does."""
    return file.read_text() if os.access(file, os.R_OK) else ""


def parse_cpuinfo(text: str) -> Cpu:
    """The first processor of a /proc/cpuinfo; x86 and Arm spell the keys differently."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            fields.setdefault(key.strip().lower(), value.strip())
    name = fields.get("model name") or fields.get("hardware") or platform.processor() or platform.machine()
    features = fields.get("flags") or fields.get("features") or ""
    megahertz = re.match(r"[\d.]+", fields.get("cpu mhz", ""))
    return Cpu(name=name, features=frozenset(features.split()), hertz=float(megahertz[0]) * 1e6 if megahertz else 0.0)


def count_cores() -> int:
    """Physical cores that this process may use; logical ones where the machine does not tell them apart."""
    cores = set()
    for index in _allowed_cores():
        files = [Path(_TOPOLOGY.format(index, key)) for key in ("physical_package_id", "core_id")]
        cores.add(tuple(file.read_text() for file in files) if all(file.is_file() for file in files) else index)
    return len(cores)


def _allowed_cores() -> list[int]:
    """Numbers of the logical cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def memory_bytes() -> int:
    """Bytes of main memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def last_cache_bytes() -> int:
    """Bytes of the caches before main memory, of all cores that this process may use; 0 where nothing tells."""
    levels: dict[int, dict[str, int]] = {}
    for core in _allowed_cores():
        for cache in sorted(Path(_CACHES.format(core)).glob("index*")):
            level, size, shared = (_text(cache / key).strip() for key in ("level", "size", "shared_cpu_list"))
            if level and size:
                levels.setdefault(int(level), {})[shared or str(core)] = _bytes_of(size)
    return sum(levels[max(levels)].values()) if levels else 0


def _bytes_of(size: str) -> int:
    """Linux writes 32768K."""
    return int(size.rstrip("KMG")) << {"K": 10, "M": 20, "G": 30}.get(size[-1], 0)


def detect_host(*, gpu: str = "") -> Soc:
    """This machine as a SoC called ``host``; it has a GPU when ``gpu`` names a Vulkan device or driver."""
    cpu, cores, memory = detect_cpu(), count_cores(), float(memory_bytes())
    total = Figure(value=memory, source="detected: page size x physical pages of this machine")
    units = [_cpu_unit(cpu, cores, total)]
    if gpu:
        units.append(_gpu_unit(gpu, cores, total))
    return Soc(name=HOST, description=f"this machine: {cpu.name}", memory=total, units=tuple(units))


def _cpu_unit(cpu: Cpu, cores: int, memory: Figure) -> ProcessingUnit:
    return ProcessingUnit(
        name="cpu",
        kind="cpu",
        description=f"{cpu.name}, {cores} cores",
        cores=cores,
        cpu="host",
        peak=host_peak(cpu, cores),
        bandwidth=Figure(value=10e9, source=f"estimated: half of one DDR4-2400 channel; {_NOT_MEASURED}"),
        memory=memory,
        launch=Figure(value=5e-6, source=f"estimated: one dispatch of IREE's local-task driver; {_NOT_MEASURED}"),
    )


def host_peak(cpu: Cpu, cores: int) -> dict[Dtype, Figure]:
    """Operations per second from the widest vector unit that the CPU lists, one multiply-add unit per core."""
    hertz, clock = (cpu.hertz, "detected") if cpu.hertz else (_GUESSED_HERTZ, "estimated")
    lanes = next((lanes for flag, lanes in _LANES if flag in cpu.features), 1)
    factor = next((factor for flag, factor in _INT8 if flag in cpu.features), 1)
    f32 = cores * hertz * lanes * 2
    steps = f"{cores} cores x {hertz:.4g} Hz ({clock}) x {lanes} f32 lanes x 2 operations"
    return {
        "f32": Figure(value=f32, source=f"derived: {steps}; {_NOT_MEASURED}"),
        "int8": Figure(value=f32 * factor, source=f"derived: {steps} x {factor} for int8; {_NOT_MEASURED}"),
    }


def _gpu_unit(name: str, cores: int, memory: Figure) -> ProcessingUnit:
    # Every Vulkan 1.3 device runs the baseline target, a narrower one would have to be known for each device.
    return ProcessingUnit(
        name="gpu",
        kind="gpu",
        description=name,
        cores=cores,
        vulkan_target=BASELINE,
        storage_bits=32,
        peak={"f32": Figure(value=1e9, source=f"estimated: as slow as Vulkan in software; {_NOT_MEASURED}")},
        bandwidth=Figure(value=0.5e9, source=f"estimated: as slow as Vulkan in software; {_NOT_MEASURED}"),
        memory=memory,
        launch=Figure(value=100e-6, source=f"estimated: one queue submission; {_NOT_MEASURED}"),
    )
