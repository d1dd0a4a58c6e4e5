"""``paceline targets``: the SoCs that paceline knows, and every figure of one with its source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from paceline import console
from paceline.commands.options import AsJson
from paceline.errors import UsageError

if TYPE_CHECKING:
    from paceline.targets import Figure, GpuLimits, ProcessingUnit, Soc

EPILOG = """\
Examples:
  $ paceline targets
  $ paceline targets show rpi5
  $ paceline targets show rpi5 --json | jq '.units[0].cpu'
  "cortex-a76"
"""
_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "u"), (1e-9, "n"))


def page(
    action: Annotated[str, typer.Argument(metavar="show", help="'show' for one SoC, with sources.")] = "",
    name: Annotated[str, typer.Argument(metavar="NAME", help="A known SoC, or the path of a TOML file.")] = "",
    as_json: AsJson = False,
) -> None:
    """List the SoCs, or show one with the source of every figure."""
    if action not in ("", "show"):
        raise UsageError(f"unknown action {action!r} of 'paceline targets'; expected nothing, or: show NAME")
    if action and not name:
        raise UsageError("'paceline targets show' needs a name; 'paceline targets' lists them")
    from paceline.runtime.vulkan_driver import select_driver
    from paceline.targets import known_socs, load_soc

    driver = select_driver() if name in ("", "host") else None
    gpu = driver.name if driver else ""
    if name:
        soc = load_soc(name, gpu=gpu)
        console.print_json(soc) if as_json else _show(soc)
        return
    socs = [load_soc(known, gpu=gpu) for known in known_socs()]
    console.print_json(socs) if as_json else _list(socs)


def _list(socs: list[Soc]) -> None:
    rows = [(soc.name, *(_summary(soc.unit(name)) for name in ("cpu", "gpu")), _text(soc.memory, "B")) for soc in socs]
    console.print_table("Known SoCs", ("name", "cpu", "gpu", "memory"), rows)


def _summary(unit: ProcessingUnit | None) -> str:
    if unit is None:
        return "none"
    return f"{unit.description}: {_text(unit.peak['f32'], 'op/s')} f32, {_text(unit.bandwidth, 'B/s')}"


def _show(soc: Soc) -> None:
    print(f"{soc.name}: {soc.description}")
    rows = [("memory", _text(soc.memory, "B"), soc.memory.source)]
    console.print_table("all units", ("figure", "value", "source"), rows)
    for unit in soc.units:
        figures = [(f"peak {dtype}", figure, "op/s") for dtype, figure in unit.peak.items()]
        figures += [("bandwidth", unit.bandwidth, "B/s"), ("memory", unit.memory, "B"), ("launch", unit.launch, "s")]
        rows = [(key, _text(figure, symbol), figure.source) for key, figure, symbol in figures]
        console.print_table(f"{unit.name}: {unit.description}", ("figure", "value", "source"), rows)
        print(f"  compiled for {_target(unit)}\n")
        if unit.limits is not None:
            _show_limits(unit.name, unit.limits)


def _show_limits(unit: str, limits: GpuLimits) -> None:
    rows = [
        (field.replace("_", " "), _plain(getattr(limits, field).value), getattr(limits, field).source)
        for field in limits.__struct_fields__
    ]
    console.print_table(f"{unit}: limits of its driver", ("limit", "value", "source"), rows)


def _plain(value: int | tuple[int | str, ...]) -> str:
    if isinstance(value, int):
        return str(value)
    numbers = all(isinstance(part, int) for part in value)
    return (" x " if len(value) == 3 and numbers else " to " if numbers else ", ").join(map(str, value))


def _target(unit: ProcessingUnit) -> str:
    if unit.kind == "cpu":
        return " ".join(part for part in (unit.cpu, unit.triple, unit.cpu_features) if part)
    pinned = f"subgroups of {unit.subgroup}" if unit.subgroup else "any subgroup size"
    return f"{unit.vulkan_target}, {pinned}, storage of {unit.storage_bits} bits and wider"


def _text(figure: Figure, symbol: str) -> str:
    factor, prefix = next(((f, p) for f, p in _PREFIXES if figure.value >= f), (1e-9, "n"))
    return f"{figure.value / factor:.4g} {prefix}{symbol}"
