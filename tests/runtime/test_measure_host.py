"""Host time is what a round takes beyond its passes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from paceline.partition import Mapping, read_bundle
from paceline.runtime.measure_host import HostTimes, TimedModel, TimedProgram
from paceline.runtime.model import Model
from paceline.runtime.null_device import NullProgram
from paceline.runtime.setting import Setting
from paceline.runtime.text import read_tokenizer


def test_timed_programs_count_their_passes() -> None:
    inner = NullProgram(seconds=0.002)
    timed = TimedProgram(inner)
    start = time.perf_counter()
    step = timed.step(np.zeros(2, np.int32), 5)
    assert 0.0 < timed.seconds <= time.perf_counter() - start
    assert len(step.ids) == 2 and (timed.widths, timed.context) == (inner.widths, inner.context)
    timed.close()
    assert inner.closed


def test_passes_are_no_host_time(null_bundle: Callable[..., Path]) -> None:
    folder = null_bundle()
    bundle = read_bundle(folder)
    programs = [TimedProgram(NullProgram(context=96, vocabulary=64, seconds=0.01)) for _ in range(2)]
    model = Model(
        bundle,
        Setting(mapping=Mapping(target="cpu", drafter="cpu"), draft_length=0),
        target=programs[0],
        drafter=programs[1],
        tokenizer=read_tokenizer(folder / "tokenizer.json"),
    )
    timed = TimedModel(model=model, drafting="model", programs=tuple(programs))
    hosts = HostTimes((timed,), 4)
    start = time.perf_counter()
    hosts.measure((3, 4, 5), tokens=12)
    once = time.perf_counter() - start
    found = {(entry.drafter, entry.draft_length): entry.seconds for entry in hosts.medians()}
    assert list(found) == [("none", 0), ("model", 1), ("model", 4)]
    # a round that drafts 4 runs 5 passes of 10 ms; what the loop does beside them is far below one
    assert all(0.0 < seconds < 0.008 for seconds in found.values())
    HostTimes((timed,), 4, 2 * once).measure((3, 4, 5), tokens=12)
    assert time.perf_counter() - start > (1 + 3 * 2) * once  # each of the three for as long as was asked
