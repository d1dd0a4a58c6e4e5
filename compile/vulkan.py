"""What the compiler is told about a GPU."""

from __future__ import annotations

from paceline.targets import ProcessingUnit


def flags(unit: ProcessingUnit) -> tuple[str, ...]:
    """Options of ``iree-compile`` for a Vulkan device. docs/compile.md has the reason of each."""
    return (
        "--iree-hal-target-device=vulkan",
        f"--iree-vulkan-target={unit.vulkan_target}",
        "--iree-opt-level=O1",
        "--iree-opt-const-expr-hoisting=false",  # else weights are unpacked once a width when loading, to be kept
    )
