"""Two processors at once: drafts made before verifying against drafts made beside it, predicted and measured.

    .venv/bin/python benchmarks/overlap.py bundles/smollm2-f16 --pin drafter=0,target=1 --draft-lengths 1,2,3,4

What ``paceline validate --pin`` runs, ordered by the way of decoding: models on cores of their own and on all of them,
drafts made before verifying and beside it. Passes, host time and contention are measured anew in the same run.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from paceline.console import print_json, print_table
from paceline.partition import read_bundle
from paceline.runtime.local_task import usable_core_numbers
from paceline.runtime.prompts import BUILT_IN, read_prompts
from paceline.runtime.validate import validate
from paceline.runtime.validation import Compared
from paceline.targets.pins import parse_pins
from paceline.targets.places import is_pinned

WAYS: dict[str, Callable[[Compared], bool]] = {
    "plain, all cores": lambda row: not row.draft_length and not is_pinned(row.mapping.target),
    "plain, the target's cores": lambda row: not row.draft_length and is_pinned(row.mapping.target),
    "serial, all cores each": lambda row: row.mapping.drafter == row.mapping.target,
    "serial, own cores": lambda row: row.mapping.two_processors and not row.overlap,
    "overlapped, own cores": lambda row: row.overlap,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--pin", default="auto")
    parser.add_argument("--draft-lengths", default="1,2,3,4")
    parser.add_argument("--prompts", type=Path)
    parser.add_argument("--tasks", default="coding,math", help="categories of prompts")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    bundle, prompts = read_bundle(given.bundle), read_prompts(given.prompts) if given.prompts else BUILT_IN
    found = validate(
        given.bundle,
        bundle,
        prompts=[prompt for prompt in prompts if prompt.task in given.tasks.split(",")],
        tokens=given.tokens,
        repeats=given.repeats,
        draft_lengths=[int(length) for length in given.draft_lengths.split(",")],
        units=("cpu",),
        pins=parse_pins(given.pin, bundle.soc, usable_core_numbers()),
    )
    if given.json:
        print_json(found)
        return
    rows = [row for row in found.rows if row.mapping.drafter != "ngram"]
    columns = (
        "way",
        "ahead",
        "predicted ms",
        "measured ms",
        "error",
        "low .. high",
        "tokens a round",
        "waits",
        "verify",
    )
    print_table(
        f"{bundle.name}, {given.pin}: milliseconds a token", columns, [_row(way, row) for way, row in _named(rows)]
    )
    best = {way: min(fitting, key=lambda row: row.measured) for way in WAYS if (fitting := _of(way, rows))}
    fastest = best["overlapped, own cores"]
    for way, row in best.items():
        if row is not fastest:
            print(
                f"overlapped over {way} ({row.draft_length} ahead): measured {row.measured / fastest.measured:.2f}x,"
                f" predicted {row.predicted / fastest.predicted:.2f}x"
            )
    errors = sorted(abs(row.error) for row in rows if row.overlap)
    print(f"error of overlapped rounds: median {errors[len(errors) // 2]:.1%}, largest {errors[-1]:.1%}")
    print(
        f"texts that differ from plain decoding: {found.strange}; chosen: row {found.chosen}, regret {found.regret:.1%}"
    )


def _of(way: str, rows: list[Compared]) -> list[Compared]:
    return [row for row in rows if WAYS[way](row)]


def _named(rows: list[Compared]) -> list[tuple[str, Compared]]:
    return [(way, row) for way in WAYS for row in sorted(_of(way, rows), key=lambda row: row.draft_length)]


def _row(way: str, row: Compared) -> tuple[str, ...]:
    return (
        way,
        str(row.draft_length),
        f"{row.predicted * 1e3:.2f}",
        f"{row.measured * 1e3:.2f}",
        f"{row.error:+.1%}",
        f"{row.low * 1e3:.2f} .. {row.high * 1e3:.2f}",
        f"{row.tokens_per_round:.2f}",
        f"{row.draft * 1e3:.2f}",
        f"{row.verify * 1e3:.2f}",
    )


if __name__ == "__main__":
    main()
