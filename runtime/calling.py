"""The thread that calls a CPU program, while the program runs.

A call of IREE ends with a spin: the caller waits until the worker that woke it has left its callback. Where the caller
wakes up on the very core of that worker, it takes the core away and spins for a whole time slice (4 ms here). Such
wake-ups are the rule once all cores are busy, as with two devices at once. So a caller gives way for the time of the
call: under the batch policy a thread that wakes up waits until the core is free. Beside workers that are pinned it also
stays on their cores, which are idle when it is wanted, and never on another device's.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext


def giving_way(cores: Collection[int] = ()) -> AbstractContextManager[None]:
    """Let the calling thread give way to workers, on ``cores`` (none: wherever it may run), while the body runs.

    Does nothing where there is no such policy, or where this thread has another one than the usual.
    """
    if sys.platform != "linux" or os.sched_getscheduler(0) != os.SCHED_OTHER:
        return nullcontext()
    return _giving_way(cores)


@contextmanager
def _giving_way(cores: Collection[int]) -> Iterator[None]:
    allowed = os.sched_getaffinity(0)
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    try:
        if cores:
            os.sched_setaffinity(0, cores)
        yield
    finally:
        if cores:
            os.sched_setaffinity(0, allowed)
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


@contextmanager
def starting_on(cores: Collection[int]) -> Iterator[None]:
    """Threads that the body starts may run on ``cores`` only; needs Linux."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
