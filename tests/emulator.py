"""An emulated Arm processor: single programs on it, or paceline itself, by what scripts/arm put into build/arm."""

from __future__ import annotations

import shutil
from pathlib import Path

BUILD = Path(__file__).parents[1] / "build" / "arm"
ROOT, SITE = BUILD / "debian", BUILD / "site"
MISSING = "no emulator with Python and packages for Arm; run: sh scripts/arm"
_EMULATOR = "qemu-aarch64-static"


def emulator(cpu: str) -> tuple[str, ...] | None:
    """The command that runs a program on ``cpu``, a model of the emulator's; None where scripts/arm was not run."""
    if not (BUILD / "stamp").is_file() or shutil.which(_EMULATOR) is None:
        return None
    return (_EMULATOR, "-cpu", cpu, "-L", str(ROOT))
