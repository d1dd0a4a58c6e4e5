"""What the compiler is told about a CPU."""

from __future__ import annotations

import hashlib
import platform
from pathlib import Path

from paceline.targets import ProcessingUnit
from paceline.targets.host import detect_cpu
from paceline.targets.instruction_sets import SETS, set_named

# Of all that /proc/cpuinfo lists, what adds instructions that a compiler uses unasked.
_INSTRUCTIONS = (
    *("adx", "asimd", "avx", "bf16", "bmi", "dotprod", "f16c", "fma", "fullfp16", "i8mm", "movbe", "popcnt"),
    *("ss", "sv"),
)
# Of all that a SoC file may name, what a board's kernel is known to list under the same name.
_KNOWN = frozenset({"fullfp16", "i8mm", "bf16", "sve", "sve2"}).union(*(some.features for some in SETS))


def flags(unit: ProcessingUnit) -> tuple[str, ...]:
    """Options of ``iree-compile`` for a CPU. docs/compile.md has the reason of each."""
    target = [f"--iree-llvmcpu-target-cpu={unit.cpu}"]
    if unit.triple:
        target.insert(0, f"--iree-llvmcpu-target-triple={unit.triple}")
    if unit.cpu_features:
        target.append(f"--iree-llvmcpu-target-cpu-features={unit.cpu_features}")
    return (
        "--iree-hal-target-device=local",
        "--iree-hal-local-target-device-backends=llvm-cpu",
        *target,
        "--iree-opt-level=O1",  # O2 reassociates sums and miscompiles some widths
        "--iree-opt-data-tiling",  # for the matmuls that lower_to_linalg marked
        "--iree-llvmcpu-stack-allocation-limit=262144",  # packed tiles do not fit the default 32 KiB
    )


def needed(unit: ProcessingUnit, kernels: str) -> tuple[str, ...]:
    """CPU features without which a program may stop at an instruction: those of ``kernels``.

    A traced program has what the compiler may use: the features that the SoC file names, or this machine's.
    """
    if kernels:
        return tuple(sorted(set_named(kernels).features))
    if unit.cpu != "host":
        return tuple(sorted(unit.named_features & _KNOWN))
    return tuple(sorted(name for name in detect_cpu().instructions if name.startswith(_INSTRUCTIONS)))


def identity(unit: ProcessingUnit) -> str:
    """What ``cpu`` stands for: the digest of this machine's CPU where it says ``host``, else nothing to add."""
    if unit.cpu != "host":
        return ""
    facts = [platform.machine(), platform.processor()]
    info = Path("/proc/cpuinfo")
    if info.exists():
        wanted = ("model name", "flags", "Features", "CPU part")
        facts += sorted({line for line in info.read_text().splitlines() if line.startswith(wanted)})
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()
