"""Figures of a SoC by the keys that people write: cpu.bandwidth, gpu.peak.int8, or launch for that of every unit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import get_args

import msgspec

from paceline.errors import UsageError
from paceline.targets import Dtype, Figure, ProcessingUnit, Soc

_DTYPES: tuple[Dtype, ...] = get_args(Dtype)
_QUANTITIES = ("bandwidth", "launch", "memory", *(f"peak.{dtype}" for dtype in _DTYPES))
Key = tuple[str, str]
"""A unit's name, or _WHOLE, and one of its figures."""
_WHOLE = ""  # the SoC itself, which has memory
_LEAST, _MOST = 1e-30, 1e30  # no figure of a board is near, and beyond them sums of seconds overflow


def figures_named(soc: Soc, text: str, *, also: Sequence[str] = ()) -> tuple[Key, ...]:
    """The figures that ``[unit.]quantity`` means; without a unit, that of all units, and of the SoC.

    Raises:
        UsageError: no such unit or figure; lists those that there are, and what else there might have stood (``also``).
    """
    names = [unit.name for unit in soc.units]
    first, dot, rest = text.partition(".")
    if dot and first not in ("peak", *names):
        raise UsageError(f"{text!r}: {soc.name} has no unit {first!r}; it has {', '.join(names)}")
    chosen, quantity = ([first], rest) if first in names else (names, text)
    if quantity not in _QUANTITIES:
        expected = ", ".join((*also, *_QUANTITIES))
        raise UsageError(
            f"{text!r} is no figure of a SoC; expected one of {expected}, or UNIT.FIGURE such as cpu.launch"
        )
    whole = ((_WHOLE, quantity),) if text == "memory" else ()
    return (*whole, *((name, quantity) for name in chosen))


def check_figure(key: str, value: float) -> float:
    """Return ``value``.

    Raises:
        UsageError: it is no figure of anything.
    """
    if not _LEAST <= value <= _MOST:
        raise UsageError(f"{key} of {value:g}: figures are numbers in SI units from {_LEAST:g} to {_MOST:g}")
    return value


def with_figures(soc: Soc, values: Mapping[str, float]) -> Soc:
    """The SoC with other figures, by key; a value may be an array [points].

    Raises:
        UsageError: no such unit or figure.
    """
    given = {key: value for text, value in values.items() for key in figures_named(soc, text)}
    units = (
        _changed(unit, {q: value for (name, q), value in given.items() if name == unit.name}) for unit in soc.units
    )
    memory = Figure(value=given[_WHOLE, "memory"], source="given") if (_WHOLE, "memory") in given else soc.memory
    return msgspec.structs.replace(soc, units=tuple(units), memory=memory)


def _changed(unit: ProcessingUnit, values: Mapping[str, float]) -> ProcessingUnit:
    figures = {quantity: Figure(value=value, source="given") for quantity, value in values.items()}
    peak = {dtype: figures.pop(f"peak.{dtype}", unit.peak.get(dtype)) for dtype in _DTYPES}
    kept = {dtype: figure for dtype, figure in peak.items() if figure is not None}
    return msgspec.structs.replace(unit, peak=kept, **figures)


def unsure_figures(soc: Soc, multiplied: Iterable[tuple[str, Dtype]]) -> tuple[str, ...]:
    """Keys of figures that nobody measured or published, of those that a roofline uses.

    ``multiplied`` says in which dtypes which unit multiplies.
    """
    wanted = set(multiplied)
    found = {"memory": soc.memory} if soc.shared_memory else {}
    for unit in soc.units:
        found |= {f"{unit.name}.bandwidth": unit.bandwidth, f"{unit.name}.launch": unit.launch}
        found |= {
            f"{unit.name}.peak.{dtype}": peak for dtype, peak in unit.peak.items() if (unit.name, dtype) in wanted
        }
    return tuple(key for key, figure in found.items() if _unsure(figure))


def _unsure(figure: Figure) -> bool:
    return "estimated" in figure.source or "not measured" in figure.source
