"""What a pass of several tokens costs over a pass of one: t(n) / t(1) of a bundle's target on this machine's CPU.

    .venv/bin/python benchmarks/verify_cost.py bundles/qwen-int8 bundles/qwen-int4 --seconds 60

In every turn each width reads at each position once, in another order, after a pass of the same width and position that
does not count. A ratio is that of one turn, so that a machine which slows down for a while slows both; medians and
quartiles of all turns. No drafter comes between, as it does in a round: that ``paceline profile`` measures.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from against_llamacpp import numbers
from paceline.partition import Bundle, read_bundle
from paceline.runtime.loaded import Loaded, loaded_programs, usable_units
from paceline.runtime.measure import FEW, call
from quiet import sample, verdict
from turns import table

Case = tuple[int, int]  # width, position
Times = dict[Case, list[float]]


def take_turns(target: Loaded, cases: Sequence[Case], seconds: float) -> tuple[Times, list[float]]:
    """Seconds of a pass of each case, turn by turn, and how busy the machine was between turns."""
    times: Times = {case: [] for case in cases}
    busy: list[float] = []
    end = time.perf_counter() + seconds
    while len(busy) < 2 or time.perf_counter() < end:
        for case in random.sample(cases, len(cases)):
            _, second = (call(target, *case, time.perf_counter) for _ in range(2))
            times[case].append(second)
        busy.append(sample())
    return times, busy


def positions(bundle: Bundle, widest: int) -> tuple[int, ...]:
    """A cache that holds little, one half full and a full one; fewer where the context is short."""
    full = bundle.context - widest
    return tuple(sorted({min(FEW, full), min(bundle.context // 2, full), full}))


def measure(folder: Path, widths: Sequence[int], seconds: float) -> tuple[Times, list[float]]:
    """Times of the target of a bundle on the CPU."""
    bundle = read_bundle(folder)
    devices, missing = usable_units(bundle, only=("cpu",))
    if missing:
        sys.exit(missing["cpu"])
    if strangers := set(widths) - set(bundle.widths):
        sys.exit(f"{folder} has no width {min(strangers)}; it has {', '.join(map(str, bundle.widths))}")
    cases = [(width, position) for width in widths for position in positions(bundle, max(widths))]
    with loaded_programs(folder, bundle, devices) as programs:
        return take_turns(next(loaded for loaded in programs if loaded.role == "target"), cases, seconds)


def lines(times: Times) -> list[list[str]]:
    """A line for each case: milliseconds, and the ratio to width 1 with its quartiles."""
    found = []
    for (width, position), mine in sorted(times.items(), key=lambda item: item[0][::-1]):
        ratios = [one / first for one, first in zip(mine, times[1, position], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        milliseconds = 1e3 * statistics.median(mine)
        found.append([str(position), str(width), f"{milliseconds:.1f}", f"{middle:.2f} [{low:.2f}, {high:.2f}]"])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", type=Path)
    parser.add_argument("--widths", type=numbers, default=(1, 2, 4, 8), help="by commas; 1 is always among them")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each bundle")
    parser.add_argument("--json", type=Path, help="write all times there: by bundle, width and position")
    options = parser.parse_args()
    kept = {}
    for folder in options.bundles:
        times, busy = measure(folder, sorted({1, *options.widths}), options.seconds)
        print(f"{folder}: {len(busy)} turns. {verdict(busy)}")
        print(table(("position", "width", "ms", "over width 1"), lines(times)), flush=True)
        named = {f"{width} at {position}": mine for (width, position), mine in times.items()}
        kept[str(folder)] = {"busy": busy, "seconds": named}
    if options.json:
        options.json.write_text(json.dumps(kept))


if __name__ == "__main__":
    main()
