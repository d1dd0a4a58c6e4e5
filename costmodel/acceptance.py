"""How many drafted tokens the target keeps: the histogram, and everything derived from it."""

from __future__ import annotations

import msgspec

SCHEMA = 1


class Acceptance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Histogram of accepted lengths.

    ``counts[g][k]`` is how many rounds that drafted ``g`` tokens kept exactly ``k`` of them
    (``counts[g]`` has ``g + 1`` entries). alpha and Omega are derived here and nowhere else.
    """

    schema: int = SCHEMA
    task: str = "all"
    drafter: str = ""
    target: str = ""
    counts: dict[int, tuple[int, ...]] = {}
