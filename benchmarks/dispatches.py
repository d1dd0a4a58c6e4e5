"""Where a pass of a compiled program spends its time, kernel by kernel.

    .venv/bin/python benchmarks/dispatches.py bundle/target.int8.cpu.vmfb bundle/target.int8.irpa --function step_1

Runs ``iree-benchmark-module`` with host profiling on IREE's CPU device and reads the capture with ``iree-profile``.
Times of a kernel are of one dispatch; its share is of the pass, from the beginning of its first dispatch to the end of
its last one, gaps included. Workers is how many were busy at once while it ran. The capture slows small dispatches.
The CPU device does not tell the bytes that a dispatch reads; the pass as a whole reads the archive about once.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llamacpp import cores
from paceline.costmodel import CacheKind, ModelSpec, cache_types
from paceline.partition import read_bundle
from turns import table

TOOLS = Path(sys.executable).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One dispatch of a capture; nanoseconds of the host's clock."""

    kernel: str
    start: int
    end: int
    busy: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """All dispatches of one name: how many a pass has, microseconds of one, its share of the pass, busy workers."""

    name: str
    count: float
    least: float
    median: float
    share: float
    workers: float


def inputs_for(spec: ModelSpec, context: int, kept: CacheKind, width: int, position: int) -> list[str]:
    """A step's inputs in the tools' notation: tokens 1, the span (position, first wanted row: the last one), caches."""
    return [f"{width}xi32=1", f"2xi32={position} {width - 1}", *cache_types(spec, context, kept)]


def step_inputs(options: argparse.Namespace) -> list[str]:
    """Inputs of the function, by what the bundle around the program says of it."""
    width = re.fullmatch(r"step_(\d+)", options.function)
    bundle = read_bundle(options.program.parent)
    found = [
        (model, unit)
        for model in bundle.models
        for unit, name in model.programs.items()
        if name == options.program.name
    ]
    if not found or not width:
        sys.exit(f"{options.program} is no program of a bundle, or {options.function} no step; give --input for each")
    model, unit = found[0]
    return inputs_for(model.spec, bundle.context, model.kept_on(unit), int(width[1]), options.position)


def passes_of(events: Sequence[Event], passes: int) -> list[list[Event]]:
    """Events in the order in which they began, cut into ``passes`` equal parts; each pass dispatches the same."""
    ordered = sorted(events, key=lambda event: event.start)
    size, rest = divmod(len(ordered), passes)
    if rest:
        sys.exit(f"{len(ordered)} dispatches are no whole number for each of {passes} passes")
    return [ordered[number * size : (number + 1) * size] for number in range(passes)]


def pass_seconds(passes: Sequence[Sequence[Event]]) -> float:
    """Median seconds of a pass, from the beginning of its first dispatch to the end of its last one."""
    return statistics.median(max(e.end for e in one) - min(e.start for e in one) for one in passes) / 1e9


def kernels(passes: Sequence[Sequence[Event]]) -> list[Kernel]:
    """Kernels by their share of the pass, the largest first; medians, so that the first pass's page faults fall out."""
    whole = pass_seconds(passes) * 1e9
    named: dict[str, list[Event]] = {}
    for event in (event for one in passes for event in one):
        named.setdefault(event.kernel, []).append(event)
    found = []
    for name, events in named.items():
        lengths = [event.end - event.start for event in events]
        each = statistics.median(sum(e.end - e.start for e in one if e.kernel == name) for one in passes)
        found.append(
            Kernel(
                name=name,
                count=len(events) / len(passes),
                least=min(lengths) / 1e3,
                median=statistics.median(lengths) / 1e3,
                share=each / whole,
                workers=sum(event.busy for event in events) / max(1, sum(lengths)),
            )
        )
    return sorted(found, key=lambda kernel: -kernel.share)


def event_of(row: dict[str, Any]) -> Event:
    """An event from a row of ``iree-profile dispatch --dispatch_events``."""
    return Event(
        kernel=str(row["key"]),
        start=int(row["start_host_time_ns"]),
        end=int(row["end_host_time_ns"]),
        busy=int(row["tile_duration_sum_ns"]),
    )


def capture(options: argparse.Namespace) -> list[Event]:
    """Run the function and return every dispatch."""
    inputs = options.input or step_inputs(options)
    with tempfile.TemporaryDirectory() as folder:
        profile = Path(folder) / "capture.ireeprof"
        run(
            "iree-benchmark-module",
            *(f"--module={options.program}", f"--parameters={options.scope}={options.weights}"),
            *("--device=local-task", f"--task_topology_group_count={options.threads}"),
            *(f"--function={options.function}", *(f"--input={one}" for one in inputs)),
            *(f"--benchmark_min_time={options.passes}x", *options.flag),
            *("--device_profiling_mode=host-execution", f"--device_profiling_output={profile}"),
        )
        said = run("iree-profile", "dispatch", "--format=jsonl", "--dispatch_events", str(profile))
    rows = [json.loads(line) for line in said.splitlines()]
    return [event_of(row) for row in rows if row["type"] == "host_dispatch_event"]


def run(tool: str, *words: str) -> str:
    """What one of IREE's tools prints; exits with its complaint when it fails."""
    ended = subprocess.run([str(TOOLS / tool), *words], capture_output=True, text=True)
    if ended.returncode:
        sys.exit(f"{tool} ended with {ended.returncode}:\n{ended.stderr[-2000:]}")
    return ended.stdout


def show(passes: Sequence[Sequence[Event]], weights: int) -> str:
    """The table, and a line about the pass as a whole; ``weights`` are the archive's bytes."""
    found, seconds = kernels(passes), pass_seconds(passes)
    lines = [
        [k.name, f"{k.count:g}", f"{k.least:.1f}", f"{k.median:.1f}", f"{100 * k.share:.1f} %", f"{k.workers:.2f}"]
        for k in found
    ]
    busy = 100 * sum(kernel.share for kernel in found)
    whole = (
        f"A pass: {len(passes[0])} dispatches in {1e3 * seconds:.2f} ms, {busy:.0f} % of it"
        f" in kernels; {weights / 1e9 / seconds:.1f} GB/s if it reads the {weights / 1e9:.3f} GB of weights once."
    )
    return f"{table(['kernel', 'a pass', 'min us', 'median us', 'share', 'workers'], lines)}\n\n{whole}"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=Path, help="the .vmfb")
    parser.add_argument("weights", type=Path, help="the .irpa")
    parser.add_argument("--function", default="step_1")
    parser.add_argument("--position", type=int, default=64, help="tokens before the pass")
    parser.add_argument("--passes", type=int, default=20)
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--scope", default="model", help="the archive's name in the program")
    parser.add_argument("--input", action="append", help="as iree-run-module takes them, instead of a step's own")
    parser.add_argument("--flag", action="append", default=[], help="one more for iree-benchmark-module")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    print(show(passes_of(capture(options), options.passes), options.weights.stat().st_size))


if __name__ == "__main__":
    main()
