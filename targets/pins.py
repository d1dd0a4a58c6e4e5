"""Which cores each model gets on the CPU: what was asked for, or what the SoC's clusters suggest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from paceline.errors import UsageError
from paceline.targets.places import parse_cores
from paceline.targets.soc import Soc

AUTO = "auto"
_ROLES = ("drafter", "target")
Pins = Mapping[str, tuple[int, ...]]
"""Cores by role; a role that is missing is not pinned."""


def parse_pins(text: str, soc: Soc, usable: Sequence[int]) -> Pins:
    """Read ``drafter=0,target=1``, ``drafter=little,target=big`` or ``auto``; ``usable`` are the cores that are here.

    ``auto`` takes the first two clusters of the SoC's CPU, the first for the target; where all cores are alike, half of
    them each.

    Raises:
        UsageError: another form, a role twice, cores that both would have, or too few for two.
    """
    clusters = next((unit.clusters for unit in soc.units if unit.kind == "cpu"), {})
    if text == AUTO:
        return _automatic(list(clusters.values()), sorted(usable))
    pairs = [part.partition("=") for part in text.split(",")]
    names = [role.strip() for role, _, _ in pairs]
    if not all(mark for _, mark, _ in pairs) or set(names) - set(_ROLES) or len(set(names)) != len(names):
        raise UsageError(f"cannot read the cores {text!r}; expected for example drafter=0,target=1-3, or auto")
    pins = {role: parse_cores(cores.strip(), clusters) for role, (_, _, cores) in zip(names, pairs, strict=True)}
    if shared := set(pins.get("drafter", ())) & set(pins.get("target", ())):
        raise UsageError(f"core {min(shared)} is given to the drafter and to the target; each needs cores of its own")
    return pins


def _automatic(clusters: Sequence[tuple[int, ...]], usable: Sequence[int]) -> Pins:
    here = [cores for cores in clusters if set(cores) <= set(usable)]
    if len(here) > 1:
        return {"target": here[0], "drafter": here[1]}
    if len(usable) < 2:
        raise UsageError("this process may use one core only; two models at once need two")
    half = len(usable) // 2
    return {"drafter": tuple(usable[:half]), "target": tuple(usable[half:])}
