"""Draft lengths that adapt, against plain decoding and every fixed length: same prompts, in turns, greedy.

    .venv/bin/python benchmarks/adaptation.py bundles/qwen-int8 --confidence 0.5 --json good.json
    .venv/bin/python benchmarks/adaptation.py bundles/qwen-and-noise --alpha 0.9 --json bad.json

The first needs 'paceline profile' and a plan that drafts. The second is for a drafter of random weights (one is made by
``random_model.py``), for which no honest plan drafts: ``--alpha`` has it planned as if that share of its drafts were
kept. Nothing is written into the bundle.

Every prompt is answered by every contestant before the next one comes. What adaptive lengths learn from a prompt they
know at the next; each repetition begins with the plan's word again. Ratios are medians over prompts, with the
smallest and the largest, and of the seconds of all prompts, which the first prompts of a bad drafter count in.
"rounds" leave out the drafter's reading of the prompt, which a fixed length always pays for and an adaptive one only
where it drafts, and then in a round if it begins late. "from first token" has it, wherever it is paid; "with prompt"
is all that a user waits for, the target's reading included. The best fixed length is known in hindsight, 0 (plain)
among them.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from llamacpp import ROOT
from paceline.commands.generating import as_prompt
from paceline.costmodel import Acceptance, merge, read_profile
from paceline.documents import write_json
from paceline.partition import Plan, choose, read_bundle, read_plan
from paceline.runtime import Model, load
from paceline.runtime.machine import this_machine
from paceline.runtime.pace import DraftLength
from paceline.runtime.prompts import Prompt, read_prompts
from quiet import sample, verdict
from turns import OVERALL, Ids, span, table

PLAIN, ADAPTIVE = "plain", "adaptive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """A way to decode; ``fixed`` is its length where it has one that any plan could have chosen."""

    name: str
    model: Model
    length: DraftLength
    fixed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One text: seconds of its rounds, those after its first token, and all seconds."""

    category: str
    prompt: int
    repetition: int
    contestant: str
    rounds: float
    streamed: float
    whole: float
    ids: Ids
    acceptance: Acceptance

    @property
    def key(self) -> tuple[str, int, int]:
        return self.category, self.prompt, self.repetition


Seconds = Callable[[Run], float]
SECONDS: dict[str, Seconds] = {
    "rounds": lambda run: run.rounds,
    "from first token": lambda run: run.streamed,
    "with prompt": lambda run: run.whole,
}


def contestants(model: Model, doubting: dict[float, Model], lengths: Sequence[int]) -> tuple[Contestant, ...]:
    """Plain, every fixed length, adaptive; and, for each confidence, adaptive and the longest length with it."""
    found = [Contestant(name=PLAIN, model=model, length=0, fixed=0)]
    found += [Contestant(name=f"fixed {length}", model=model, length=length, fixed=length) for length in lengths]
    found.append(Contestant(name=ADAPTIVE, model=model, length="adaptive"))
    for least, other in doubting.items():
        found.append(Contestant(name=f"{ADAPTIVE}, p >= {least}", model=other, length="adaptive"))
        found.append(Contestant(name=f"fixed {max(lengths)}, p >= {least}", model=other, length=max(lengths)))
    return tuple(found)


def play(
    field: Sequence[Contestant], prompts: Sequence[tuple[str, Ids]], *, tokens: int, repetitions: int
) -> Iterator[Run]:
    """Let all take turns on every prompt; who begins moves on by one from prompt to prompt."""
    for repetition in range(repetitions):
        for contestant in field:
            contestant.model.forget(learnt=True)
        for number, (category, ids) in enumerate(prompts):
            first = (number + repetition) % len(field)
            for contestant in (*field[first:], *field[:first]):
                contestant.model.forget()
                made = contestant.model.generate(ids, max_new_tokens=tokens, draft_length=contestant.length).finish()
                yield Run(
                    category=category,
                    prompt=number,
                    repetition=repetition,
                    contestant=contestant.name,
                    rounds=made.stats.decode_seconds,
                    streamed=made.stats.total_seconds - made.stats.time_to_first_token,
                    whole=made.stats.total_seconds,
                    ids=made.ids,
                    acceptance=made.stats.acceptance,
                )


def by_category(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs of each category, and of all. A text of one token has no rounds and says nothing of them."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        if len(run.ids) > 1:
            found.setdefault(run.category, []).append(run)
    return found if len(found) < 2 else {**found, OVERALL: [run for some in found.values() for run in some]}


def seconds_of(runs: Sequence[Run], name: str, seconds: Seconds) -> dict[tuple[str, int, int], float]:
    """Seconds of each of a contestant's texts."""
    return {run.key: seconds(run) for run in runs if run.contestant == name}


def ratios(runs: Sequence[Run], name: str, other: str, seconds: Seconds) -> tuple[list[float], float]:
    """How many times as fast ``name`` is as ``other``: text by text, and over all texts together."""
    mine, theirs = seconds_of(runs, name, seconds), seconds_of(runs, other, seconds)
    return [theirs[key] / mine[key] for key in mine], sum(theirs.values()) / sum(mine.values())


def best_fixed(runs: Sequence[Run], field: Sequence[Contestant], seconds: Seconds) -> str:
    """The fixed length that took the fewest seconds for all texts."""
    names = [contestant.name for contestant in field if contestant.fixed is not None]
    return min(names, key=lambda name: sum(seconds_of(runs, name, seconds).values()))


def different(runs: Sequence[Run], name: str) -> int:
    """How many texts of a contestant are not the plain ones."""
    plain = {run.key: run.ids for run in runs if run.contestant == PLAIN}
    return sum(run.ids != plain[run.key] for run in runs if run.contestant == name)


def overview(runs: Sequence[Run], field: Sequence[Contestant]) -> str:
    """Every contestant in every category against plain decoding."""
    lines = []
    for category, some in by_category(runs).items():
        for contestant in field:
            each, together = ratios(some, contestant.name, PLAIN, SECONDS["rounds"])
            whole = ratios(some, contestant.name, PLAIN, SECONDS["with prompt"])[1]
            kept = merge([run.acceptance for run in some if run.contestant == contestant.name])
            lines.append(
                [
                    category,
                    contestant.name,
                    span(statistics.median(each), min(each), max(each)),
                    f"{together:.3f}",
                    f"{whole:.3f}",
                    f"{kept.drafted / max(1, kept.rounds):.2f}",
                    "" if kept.alpha is None else f"{kept.alpha:.2f}",
                    f"{different(some, contestant.name)} of {len(each)}",
                ]
            )
    columns = [
        "category",
        "contestant",
        "over plain",
        "together",
        "with prompt",
        "mean length",
        "alpha",
        "not as plain",
    ]
    return table(columns, lines)


def judgement(runs: Sequence[Run], field: Sequence[Contestant]) -> str:
    """What adapts against plain decoding and against the best fixed length: medians, and all texts together."""
    lines = []
    for category, some in by_category(runs).items():
        for contestant in (one for one in field if one.length == "adaptive"):
            for what, seconds in SECONDS.items():
                best = best_fixed(some, field, seconds)
                cells = []
                for other in (PLAIN, best):
                    each, together = ratios(some, contestant.name, other, seconds)
                    cells += [f"{statistics.median(each):.3f}", f"{together:.3f}"]
                lines.append([category, contestant.name, what, *cells[:2], best, *cells[2:]])
    columns = ["category", "contestant", "seconds", "/ plain", "together", "best fixed", "/ best", "together"]
    return table(columns, lines)


def plan_of(folder: Path, alpha: float | None) -> Plan:
    """The bundle's plan, or one that believes in ``alpha``; it must draft.

    Raises:
        PacelineError: no plan, or no profile of this machine.
    """
    if alpha is None:
        plan = read_plan(folder)
    else:
        bundle = read_bundle(folder)
        profile = read_profile(folder, bundle=bundle.digest, machine=this_machine())
        plan = choose(bundle, profile=profile, alpha=alpha)
    if plan.pacing is None:
        sys.exit(
            f"the plan of {folder} does not draft, or is older than lengths that adapt; plan again, or give --alpha"
        )
    return plan


def chosen(model: Model, prompts: Sequence[Prompt], *, tokens: int, limit: int) -> list[tuple[str, Ids]]:
    """Category and ids of the first prompts of each category that leave room for the answer."""
    found: list[tuple[str, Ids]] = []
    for prompt in prompts:
        ids = model.encode(as_prompt(model, prompt.text, raw=False))
        if len(ids) + tokens <= model.context and sum(task == prompt.task for task, _ in found) < limit:
            found.append((prompt.task, ids))
    return found


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--prompts", type=Path, default=ROOT.parent / "shared/data/spec_bench_dev.jsonl")
    parser.add_argument("--alpha", type=float, help="plan as if this share of drafts were kept")
    parser.add_argument("--lengths", default="1,2,3,4,6,8", help="fixed lengths, separated by commas")
    parser.add_argument("--confidence", default="", help="least confidences to stop at, separated by commas")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--limit", type=int, default=5, help="prompts of each category")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write every run to this file")
    return parser.parse_args()


def main() -> None:
    """Read the command line, let all decode, print the tables."""
    options = arguments()
    plan = plan_of(options.bundle, options.alpha)
    lengths = [int(length) for length in options.lengths.split(",")]
    with ExitStack() as stack:
        model = stack.enter_context(load(options.bundle, plan=plan))
        doubting = {
            float(least): stack.enter_context(load(options.bundle, plan=plan, min_confidence=float(least)))
            for least in options.confidence.split(",")
            if least
        }
        field = contestants(model, doubting, lengths)
        prompts = chosen(model, read_prompts(options.prompts), tokens=options.tokens, limit=options.limit)
        for _ in play(field, prompts[:1], tokens=options.tokens, repetitions=1):
            pass  # what a first call pays for is no contestant's
        runs, busy = [], [sample()]
        for run in play(field, prompts, tokens=options.tokens, repetitions=options.repeats):
            runs.append(run)
            if len(runs) % len(field) == 0:
                busy.append(sample())
                done = f"{len(runs) // len(field)}/{len(prompts) * options.repeats}"
                print(f"{done} {run.category}", file=sys.stderr, flush=True)
    if options.json:
        write_json(options.json, {"plan": plan, "busy": busy, "runs": [asdict(run) for run in runs]})
    print(
        f"{model.setting.mapping}, planned length {plan.draft_length}, alpha {plan.alpha:.2f} ({plan.alpha_source})\n"
    )
    print(f"{overview(runs, field)}\n\n{judgement(runs, field)}\n\n{verdict(busy)}")
    if any(different(runs, contestant.name) for contestant in field):
        sys.exit(1)


if __name__ == "__main__":
    main()
