"""Where a model runs: a unit, ``cpu``, or some of its cores, ``cpu@0``, ``cpu@4-7`` or ``cpu@0+2``.

Cores have the numbers that Linux gives them. A set of cores that two models do not share is two processors.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from paceline.errors import UsageError

_MARK = "@"
_RANGE = re.compile(r"(\d{1,4})(?:-(\d{1,4}))?")


def unit_of(place: str) -> str:
    """The unit's name."""
    return place.partition(_MARK)[0]


def cores_of(place: str) -> tuple[int, ...]:
    """The cores of a place that is pinned; none of one that is not.

    Raises:
        UsageError: what follows the mark is no list of cores.
    """
    _, mark, text = place.partition(_MARK)
    return parse_cores(text) if mark else ()


def is_pinned(place: str) -> bool:
    """Whether a place is a set of cores."""
    return _MARK in place


def pinned(unit: str, cores: Collection[int]) -> str:
    """The place of these ``cores`` of a unit, spelled in one way only."""
    ordered, parts = sorted(set(cores)), list[list[int]]()
    for core in ordered:
        if parts and parts[-1][1] == core - 1:
            parts[-1][1] = core
        else:
            parts.append([core, core])
    return unit + _MARK + "+".join(str(low) if low == high else f"{low}-{high}" for low, high in parts)


def parse_cores(text: str, clusters: Mapping[str, Collection[int]] | None = None) -> tuple[int, ...]:
    """Read ``4-7``, ``0+2``, or the name of one of ``clusters``.

    Raises:
        UsageError: neither, a core twice, or a range that runs backwards.
    """
    if clusters and text in clusters:
        return tuple(sorted(clusters[text]))
    found: list[int] = []
    for part in text.split("+"):
        match = _RANGE.fullmatch(part.strip())
        if match is None:
            named = f", or one of {', '.join(clusters)}" if clusters else ""
            raise UsageError(f"cannot read the cores {text!r}; expected for example 0, 4-7 or 0+2{named}")
        found += range(int(match[1]), int(match[2] or match[1]) + 1)
    if not found or len(set(found)) != len(found):
        raise UsageError(f"the cores {text!r} name none, or one twice; expected for example 0, 4-7 or 0+2")
    return tuple(sorted(found))


def are_apart(first: str, second: str) -> bool:
    """Whether two places are two processors: other units, or cores of one that are not shared."""
    if unit_of(first) != unit_of(second):
        return True
    cores = set(cores_of(first)), set(cores_of(second))
    return all(cores) and not cores[0] & cores[1]
