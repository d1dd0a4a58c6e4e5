"""What the texts of ``paceline whatif``'s options mean, and which options do not go together."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from paceline.errors import UsageError

if TYPE_CHECKING:
    from paceline.partition.axis import Axis
    from paceline.partition.synthetic import Pair
    from paceline.targets import Soc

_RANGE = re.compile(r"(\d+)(?:\.\.(\d+))?")
_MOST_CORES = 4096
_NO_FIGURES = ("alpha", "context")  # that a sweep moves


def read_overrides(soc: Soc, texts: Sequence[str]) -> dict[str, float]:
    """Figures by key, of ``KEY=VALUE``; a later key replaces what an earlier one says of a unit.

    Raises:
        UsageError: written in another way, no figure of the SoC, or the same key twice.
    """
    from paceline.partition.figures import check_figure, figures_named

    found: dict[str, float] = {}
    for text in texts:
        key, value = _override(text)
        figures_named(soc, key)
        if key in found:
            raise UsageError(f"--override {key} is given twice, as {found[key]:g} and {value:g}; leave one of them")
        found[key] = check_figure(key, value)
    return found


def _override(text: str) -> tuple[str, float]:
    key, equals, value = text.partition("=")
    try:
        number = float(value)
    except ValueError:
        number = 0.0
    if not (key.strip() and equals and 0 < number < float("inf")):
        raise UsageError(f"--override {text!r} is no KEY=VALUE with a positive number in SI units: cpu.bandwidth=12e9")
    return key.strip(), number


def read_pairs(texts: Sequence[str], *, drafts: bool) -> tuple[Pair, ...]:
    """Precisions, each of ``int8`` or ``target=int8,drafter=int4``, once.

    Raises:
        UsageError: written in another way, or no precision.
    """
    from paceline.partition.synthetic import Pair, precision_named

    pairs = []
    for text in texts:
        parts = [part.partition("=") for part in text.split(",")] if "=" in text or "," in text else []
        named = {role: precision for role, _, precision in parts} if parts else {"target": text}
        if len(named) < len(parts) or set(named) - {"target", "drafter"} or (parts and drafts and len(named) < 2):
            raise UsageError(
                f"--precision {text!r} is neither a precision nor target=PRECISION,drafter=PRECISION; "
                "repeat --precision for several"
            )
        target = precision_named(named.get("target", ""))
        pairs.append(Pair(target=target, drafter=precision_named(named.get("drafter", target)) if drafts else target))
    return tuple(dict.fromkeys(pairs))


def read_cores(text: str) -> tuple[int, ...]:
    """Core counts, of ``1..6`` or ``1,2,4``; none of an empty text.

    Raises:
        UsageError: written in another way.
    """
    counts = set[int]()
    for part in text.split(",") if text else ():
        found = _RANGE.fullmatch(part.strip())
        if found is None or int(found[2] or found[1]) < int(found[1]) or int(found[2] or 0) > _MOST_CORES:
            raise UsageError(f"--cores {text!r} is neither a list nor a range of core counts; write 1..6 or 1,2,4")
        counts.update(range(int(found[1]), int(found[2] or found[1]) + 1))
    return tuple(sorted(counts))


def check_sweep_options(
    axes: Sequence[Axis],
    soc: Soc,
    *,
    alpha: float | None,
    context: int | None,
    overrides: Mapping[str, float],
    all_lengths: bool,
) -> None:
    """Refuse options that a sweep would leave without any effect.

    Raises:
        UsageError: a value is both given and swept, or ``--all`` asks for a table that a sweep does not have.
    """
    from paceline.partition.figures import figures_named

    if axes and all_lengths:
        raise UsageError(
            "--all lists draft lengths of one question; all points of a --sweep are in --json or --csv FILE"
        )
    swept = {axis.key for axis in axes}
    given = [key for key, value in (("alpha", alpha), ("context", context)) if value is not None and key in swept]
    moved = {figure for key in swept - set(_NO_FIGURES) for figure in figures_named(soc, key, also=_NO_FIGURES)}
    given += [key for key in overrides if moved.issuperset(figures_named(soc, key))]
    if given:
        option = f"--{given[0]}" if given[0] in _NO_FIGURES else f"--override {given[0]}"
        raise UsageError(f"{given[0]} is swept, so {option} has no effect; leave one of them")
