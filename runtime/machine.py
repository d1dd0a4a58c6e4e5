"""Which machine this is, so that its measurements are not taken for another's."""

from __future__ import annotations

import platform
from collections.abc import Mapping

from paceline.costmodel import Machine
from paceline.runtime.local_task import usable_cores
from paceline.targets.host import detect_cpu, last_cache_bytes, memory_bytes


def this_machine(drivers: Mapping[str, str] | None = None) -> Machine:
    """This machine; ``drivers`` maps a unit's name to the description of the device that serves it."""
    return Machine(
        architecture=platform.machine(),
        cpu=detect_cpu().name,
        cores=usable_cores(),
        memory_bytes=memory_bytes(),
        drivers=dict(drivers or {}),
        cache_bytes=last_cache_bytes(),
    )
