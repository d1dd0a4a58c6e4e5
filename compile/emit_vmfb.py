"""Turns linalg IR into a .vmfb for one processing unit. The only file that starts ``iree-compile``."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from paceline.compile import cpu, vulkan
from paceline.compile.tools import Children
from paceline.errors import DeviceUnavailable
from paceline.targets import ProcessingUnit

_BACKENDS = {"cpu": cpu.flags, "gpu": vulkan.flags}


def flags(unit: ProcessingUnit) -> tuple[str, ...]:
    """What ``iree-compile`` is told about a unit."""
    return ("--iree-input-type=none", *_BACKENDS[unit.kind](unit))


def emit_vmfb(
    linalg: Path, unit: ProcessingUnit, output: Path, children: Children, *, dump: Path | None = None
) -> None:
    """Compile for a unit; ``dump`` is a folder for the IR after each of the compiler's own phases.

    Raises:
        CompileFailed: the compiler refused.
    """
    extra = () if dump is None else (f"--dump-compilation-phases-to={dump}",)
    iree_compile(linalg, flags(unit), output, children, extra=extra)


def iree_compile(
    source: Path, options: Sequence[str], output: Path, children: Children, *, extra: Sequence[str] = ()
) -> None:
    """Run the compiler once; ``extra`` options are not needed to repeat a failure."""
    command = (str(_compiler()), str(source), *options, "-o", str(output))
    children.run((*command, *extra), tool="iree-compile", repeat=command)


def _compiler() -> Path:
    """The compiler's binary, found without importing it.

    Raises:
        DeviceUnavailable: iree-base-compiler is not installed.
    """
    try:
        found = importlib.util.find_spec("iree.compiler")
    except ModuleNotFoundError:
        found = None
    if found is None or found.origin is None:
        raise DeviceUnavailable("iree-base-compiler is not installed; install it with: pip install 'paceline[compile]'")
    return Path(found.origin).parent / "_mlir_libs" / "iree-compile"
