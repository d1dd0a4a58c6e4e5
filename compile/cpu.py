"""What the compiler is told about a CPU."""

from __future__ import annotations

import hashlib
import platform
from pathlib import Path

from paceline.targets import ProcessingUnit


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
