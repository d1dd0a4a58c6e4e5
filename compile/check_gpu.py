"""A GPU program held against the limits of the driver that will run it, before it ships."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from paceline.compile.bindings import Reach
from paceline.compile.vmfb import Shader, shaders
from paceline.errors import CompileFailed
from paceline.targets import ProcessingUnit
from paceline.targets.limits import GpuNeeds, invocations, most, why_not_fit

_SHOWN = 3


def needs_of(program: Path, reach: Mapping[str, Reach], unit: ProcessingUnit) -> dict[str, GpuNeeds]:
    """What each shader of a .vmfb asks for, by its name.

    Raises:
        BundleError: the .vmfb is damaged.
        CompileFailed: a shader of which the compiler did not say what its dispatches bind, or no shader at all.
    """
    found = {shader.name: shader for shader in shaders(program)}
    if not found or set(found) != set(reach):
        odd = sorted(set(found) ^ set(reach))[:_SHOWN]
        raise _failed(f"{len(found)} shaders and dispatches of {len(reach)}, which must be the same ones ({odd})")
    return {name: _needs(shader, reach[name], unit) for name, shader in found.items()}


def check(needs: Mapping[str, GpuNeeds], unit: ProcessingUnit) -> GpuNeeds:
    """The most that any shader asks for.

    Raises:
        CompileFailed: a shader does not fit ``unit``; names the shader, the limit, and who says so.
    """
    if unit.limits is not None:
        misfits = [f"{name}: {reason}" for name, need in needs.items() for reason in why_not_fit(need, unit.limits)]
        if misfits:
            more = f"; and {len(misfits) - 1} more" if misfits[1:] else ""  # misfits of one kind come by the layer
            raise _failed(f"{misfits[0]}{more}; {unit.name} is {unit.description}")
    return most(needs.values())


def _needs(shader: Shader, reach: Reach, unit: ProcessingUnit) -> GpuNeeds:
    module = shader.module
    return GpuNeeds(
        workgroup=module.local_size,
        invocations=invocations(module.local_size),
        workgroups=reach.workgroups,
        shared_memory=module.shared_bytes,
        buffer_range=reach.range,
        buffers=max(shader.storage_buffers, len(module.bindings)),
        push_constants=max(shader.push_constant_bytes, module.push_constant_bytes),
        # IREE tiles such shaders for the size of its target and demands it of no driver
        subgroup=shader.subgroup or (unit.subgroup if module.subgroup_operations else 0),
        capabilities=module.capabilities,
        extensions=module.extensions,
    )


def _failed(diagnostic: str) -> CompileFailed:
    return CompileFailed(tool="the check against the SoC's limits", diagnostic=diagnostic, command=())
