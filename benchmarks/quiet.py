"""How busy the machine is while nobody measures: what runs beside a benchmark does not slow everyone alike.

llama.cpp's threads wait for one another by spinning, so that another process on one of their cores costs it many times
what it costs a task queue. A comparison counts only from a quiet machine.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

LIMIT = 0.05
_IDLE = (3, 4)  # columns of /proc/stat: idle, and waiting for a disk


def busy_share(before: Sequence[int], after: Sequence[int]) -> float:
    """Share of all cores' time that was not idle between two readings of ``/proc/stat``; a neighbour's counts too."""
    spent = [late - early for early, late in zip(before, after, strict=True)]
    return 1 - sum(spent[column] for column in _IDLE) / sum(spent) if sum(spent) else 0.0


def sample(seconds: float = 0.5) -> float:
    """Busy share of the machine while this process sleeps; 0 where the system does not tell."""
    before = _ticks()
    time.sleep(seconds)
    return busy_share(before, _ticks()) if before else 0.0


def verdict(samples: Sequence[float]) -> str:
    """A sentence about the samples of a run."""
    worst = max(samples, default=0.0)
    said = f"Between repetitions the machine was up to {100 * worst:.0f} % busy with other things"
    return f"{said}: TOO BUSY to compare, measure again" if worst > LIMIT else f"{said}."


def _ticks() -> list[int]:
    stat = Path("/proc/stat")
    # Guests' time, the ninth column on, is counted in the first two already.
    return [int(word) for word in stat.read_text().split("\n", 1)[0].split()[1:9]] if stat.exists() else []
