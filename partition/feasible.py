"""Why a mapping cannot be chosen: each check gives None or the sentence to show."""

from __future__ import annotations

from collections.abc import Mapping as Table
from typing import cast

from paceline.costmodel import Footprint, Role, footprint
from paceline.costmodel.traced import packed_bytes, program_on
from paceline.partition.bundle import Bundle, BundledModel
from paceline.partition.plan import NGRAM, Mapping
from paceline.partition.times import compiled_width, model_of
from paceline.targets import Dtype, ProcessingUnit
from paceline.targets.places import unit_of

_MIB, _GIB = 1 << 20, 1 << 30


def placements(bundle: Bundle, mapping: Mapping) -> tuple[tuple[BundledModel, str], ...]:
    """The models that a mapping loads, and the unit of each."""
    pairs: list[tuple[Role, str | None]] = [("target", mapping.target), ("drafter", mapping.drafter)]
    found = ((model_of(bundle, role), unit) for role, unit in pairs if unit not in (None, NGRAM))
    return tuple((model, unit) for model, unit in found if model is not None and unit is not None)


def why_not_mapping(
    bundle: Bundle, mapping: Mapping, *, unavailable: Table[str, str], memory_bytes: int | None
) -> str | None:
    """What rules a mapping out at every draft length."""
    for model, unit in placements(bundle, mapping):
        unit = unit_of(unit)
        if unit not in model.programs:
            return _missing_program(bundle, model, unit)
        if unit in unavailable:
            return f"{model.role} on {unit}: {unavailable[unit]}"
    return _memory(bundle, mapping, memory_bytes)


def why_not_precision(precision: str, unit: ProcessingUnit) -> str | None:
    """Why a unit can never run a precision, known before any compiler is asked; None where it may."""
    if precision == "f16" and unit.storage_bits > 16:
        return f"{unit.name} ({unit.description}) has no 16-bit storage; use f32, int8 or int4 there"
    return None


def _missing_program(bundle: Bundle, model: BundledModel, unit: str) -> str:
    failed = next((f for f in bundle.failures if (f.role, f.unit) == (model.role, unit)), None)
    if failed is not None:
        return f"{model.role} ({model.precision}) was not compiled for {unit}: {failed.reason}"
    return f"the bundle has no program of the {model.role} for {unit}; compile it for that unit"


def _memory(bundle: Bundle, mapping: Mapping, memory_bytes: int | None) -> str | None:
    placed = [(model, unit_of(place)) for model, place in placements(bundle, mapping)]
    parts = [(unit, model.role, model_footprint(bundle, model, unit)) for model, unit in placed]
    for processor in bundle.soc.units:
        needed = sum(size.total for unit, _, size in parts if unit == processor.name)
        if needed > processor.memory.value:
            return _too_large([part for part in parts if part[0] == processor.name], processor.memory.value)
    budget = bundle.soc.memory.value if memory_bytes is None else memory_bytes
    shared = bundle.soc.shared_memory or memory_bytes is not None
    if shared and sum(size.total for _, _, size in parts) > budget:
        return _too_large(parts, budget)
    return None


def _too_large(parts: list[tuple[str, Role, Footprint]], budget: float) -> str:
    each = "; ".join(f"{role} on {unit} {_size(size.total)} ({_weights(size)})" for unit, role, size in parts)
    return f"{each}: {_size(sum(size.total for _, _, size in parts))} > {_size(budget)} of memory"


def _weights(size: Footprint) -> str:
    again = f", {_size(size.packed)} of them again, packed" if size.packed else ""
    return f"{_size(size.weights)} of weights{again}"


def _size(count: float) -> str:
    return f"{count / _GIB:.2f} GiB" if count >= _GIB else f"{count / _MIB:.1f} MiB"


def model_footprint(bundle: Bundle, model: BundledModel, unit: str) -> Footprint:
    """Bytes of one model of the bundle once it is loaded on ``unit``."""
    weights, program = (bundle.files.get(files.get(unit, "")) for files in (model.weights, model.programs))
    processor = bundle.soc.unit(unit)
    made = program_on(processor, kernels=unit in model.kernels) if processor else "kernels"
    return footprint(
        model.spec,
        weights=weights.bytes if weights else 0,
        packed=packed_bytes(model.spec, cast(Dtype, model.precision), made),
        context=bundle.context,
        width=max(bundle.widths),
        program=program.bytes if program else 0,
        kept=model.kept_on(unit),
    )


def why_not_length(bundle: Bundle, draft_length: int) -> str | None:
    """What rules a draft length out on every mapping: its verify pass of draft_length + 1 tokens."""
    width = compiled_width(bundle, draft_length + 1)
    if width is None:
        compiled = ", ".join(map(str, bundle.widths))
        return f"verifying {draft_length + 1} tokens needs a wider program; compiled widths are {compiled}"
    if width > bundle.context:
        return f"verifying {draft_length + 1} tokens runs {width} wide, more than the context of {bundle.context}"
    return None
