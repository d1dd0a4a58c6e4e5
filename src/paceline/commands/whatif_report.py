"""What 'paceline whatif' prints and writes: rows, inverse questions, points of a sweep."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from paceline import console

if TYPE_CHECKING:
    from paceline.partition.break_even import Answers, BreakEven, Span
    from paceline.partition.points import Choice
    from paceline.partition.sweep import Sweep, SweepPoint
    from paceline.partition.synthetic import Question
    from paceline.partition.whatif import Rejection, Row, WhatIf

_GIB = 1 << 30
_MOST_ROWS = 40  # that a terminal is given unasked
_COLUMNS = ("target", "drafter", "ahead", "ms", "same", "best", "wall", "GiB")
_ROW_HEADER = (
    *("target_unit", "drafter_unit", "target_precision", "drafter_precision", "target_cores", "drafter_cores"),
    *("draft_length", "alpha", "seconds_per_token", "tokens_per_round", "round_seconds", "draft_seconds"),
    *("verify_seconds", "host_seconds", "speedup", "speedup_over_best", "draft_wall", "verify_wall", "wall"),
    "memory_bytes",
)
_POINT_HEADER = (
    *("target_unit", "drafter_unit", "target_precision", "drafter_precision", "target_cores", "drafter_cores"),
    *("draft_length", "seconds_per_token", "speedup", "speedup_over_best", "drafted_speedup_over_best"),
)


def show(question: Question, answer: WhatIf, inverse: BreakEven | None, *, all_lengths: bool) -> None:
    """Print the answer for people: the best, the table, the inverse questions, what was ruled out, what is unsure."""
    among = f" among {answer.draft_vocabulary} ids" if answer.draft_vocabulary else ""
    models = f"{answer.target} with {answer.drafter} drafting{among}" if answer.drafter else answer.target
    taught = "calibrated " if question.calibration else ""
    print(f"{models} on {answer.soc}: predicted by a {taught}roofline, context {answer.context}")
    _show_best(answer)
    rows = answer.rows if all_lengths else _best_of_each(answer.rows)
    shown = rows if all_lengths else rows[:_MOST_ROWS]
    title = "Every draft length" if all_lengths else "The best draft length of each configuration"
    console.print_table(f"{title}, best first", _COLUMNS, [_cells(row) for row in shown])
    print("ms a token; times plain decoding on the same mapping, and the best of the SoC; wall of draft, verify")
    if hidden := len(answer.rows) - len(shown):
        print(f"{hidden} more with --all")
    if inverse is not None:
        _show_inverse(question, inverse)
    if answer.rejected:
        columns = ("target", "drafter", "precision", "reason")
        console.print_table("Ruled out", columns, _ruled_out(answer.rejected))
    if question.calibration:
        print("\npasses as the calibration has it; the host's time is left out")
        return
    print("\na roofline is a lower bound on every pass, and leaves the host's time out")
    if answer.estimated:
        print(f"estimated in the SoC file, not measured: {', '.join(answer.estimated)}")


def _show_best(answer: WhatIf) -> None:
    row, cost = answer.rows[0], answer.rows[0].estimate
    ahead = f"drafting {row.draft_length} ahead" if row.draft_length else "no speculation"
    target, drafter = _places(row)
    models = f"target on {target}" + (f", drafter on {drafter}" if row.mapping.drafter else "")
    speed = f"{1 / cost.seconds_per_token:.1f} tokens/s, {cost.seconds_per_token * 1e3:.1f} ms each"
    print(f"best: {models}, {ahead}: {speed}")
    if row.draft_length:
        print(
            f"  {cost.speedup:.2f}x plain decoding on the same mapping, {cost.speedup_over_best:.2f}x the best plain "
            f"decoding of the SoC in {row.precision['target']}"
        )
    if answer.drafter:
        print(f"alpha {_alphas(answer.rows) or 'unused'} ({answer.alpha_source})")


def _alphas(rows: Iterable[Row]) -> str:
    """Those of the drafter, by its precision where they differ, and of prompt lookup."""
    found: dict[str, list[str]] = {}
    for row in rows:
        if row.alpha is not None:
            found.setdefault(f"{row.alpha:.2f}", []).append(row.precision.get("drafter", "prompt lookup"))
    if len(found) < 2:
        return "".join(found)
    return ", ".join(f"{alpha} of {' and '.join(dict.fromkeys(drafters))}" for alpha, drafters in found.items())


def _best_of_each(rows: Iterable[Row]) -> tuple[Row, ...]:
    best: dict[tuple[str, str, str], Row] = {}
    for row in rows:
        best.setdefault((str(row.mapping), str(row.precision), str(row.cores)), row)
    return tuple(best.values())


def _cells(row: Row) -> tuple[str, ...]:
    cost = row.estimate
    walls = dict.fromkeys(filter(None, (row.draft_wall, row.verify_wall)))
    return (
        *_places(row),
        str(row.draft_length),
        f"{cost.seconds_per_token * 1e3:.1f}",
        f"{cost.speedup:.2f}",
        f"{cost.speedup_over_best:.2f}",
        "host" if row.wall == "host" else ", ".join(walls),
        f"{row.memory / _GIB:.2f}",
    )


def _places(choice: Row | Choice | BreakEven) -> tuple[str, str]:
    """Where target and drafter run, on how many cores of the CPU, and in what precision."""
    units = {"target": choice.mapping.target, "drafter": choice.mapping.drafter or "none"}
    words = (
        (unit, f"x{choice.cores[unit]}" if unit == "cpu" else "", choice.precision.get(role, ""))
        for role, unit in units.items()
    )
    target, drafter = (" ".join(filter(None, parts)) for parts in words)
    return target, drafter


def _ruled_out(rejected: Iterable[Rejection]) -> list[tuple[str, ...]]:
    """One row for each mapping and reason, with the precisions that it holds for."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for one in rejected:
        key = (one.mapping.target, one.mapping.drafter or "none", one.reason)
        found.setdefault(key, []).append("+".join(one.precision.values()))
    return [(target, drafter, ", ".join(pairs), reason) for (target, drafter, reason), pairs in found.items()]


def _show_inverse(question: Question, inverse: BreakEven) -> None:
    target, drafter = _places(inverse)
    print(f"\nbreak-even of target on {target}, drafter on {drafter}, at the best draft length:")
    same, best = (_answers(question, answers) for answers in (inverse.same_variant, inverse.best_plain))
    if same == best:
        baselines = {"plain decoding, there and at its best": best}
    else:
        baselines = {"plain decoding there": same, "the best plain decoding of the SoC, on any mapping": best}
    for baseline, lines in baselines.items():
        print(f"  against {baseline}")
        print("\n".join(f"    {line}" for line in lines))


def _answers(question: Question, answers: Answers) -> tuple[str, ...]:
    alpha, bandwidth = "never: a loss even if every draft is kept", "never: a loss at 1/64 to 64 times the SoC's"
    drafter = "never: a loss even if it took no time"
    if answers.alpha is not None:
        alpha = f"{answers.alpha:.3f} or more, drafting {answers.alpha_draft_length} ahead"
    if answers.bandwidth:
        bandwidth = "; ".join(_span(question, span) for span in answers.bandwidth)
    if answers.drafter_parameters is not None:
        drafter = f"up to {_count(answers.drafter_parameters)} parameters, memory aside"
    return (f"alpha       {alpha}", f"bandwidth   {bandwidth}", f"drafter     {drafter}")


def _span(question: Question, span: Span) -> str:
    ends = [(word, end) for word, end in (("from", span.low), ("up to", span.high)) if end is not None]
    values = {unit.bandwidth.value for unit in question.soc.units}
    if not ends:
        return "any from 1/64 to 64 times the SoC's"
    if len(values) > 1:
        return " ".join(f"{word} {end:.3g} times" for word, end in ends) + " the SoC's"
    bandwidth = values.pop()
    return " ".join(f"{word} {bandwidth * end / 1e9:.3g} GB/s ({end:.3g} times the SoC's)" for word, end in ends)


def _count(parameters: float) -> str:
    return f"{parameters / 1e9:.2f} billion" if parameters >= 1e9 else f"{parameters / 1e6:.0f} million"


def show_points(question: Question, found: Sweep) -> None:
    """Print a sweep for people: evenly chosen points of it."""
    models = f"{question.target.name} with {question.drafter.name}" if question.drafter else question.target.name
    step = -(-len(found.which) // _MOST_ROWS)
    columns = (*found.columns, "target", "drafter", "ahead", "ms", "same", "best")
    rows = [_point_cells(point) for point in islice(found.points(), 0, None, step)]
    console.print_table(f"{models} on {question.soc.name}: the best at each point", columns, rows)
    print("ms a token; times plain decoding on the same mapping, and the best of the SoC")
    if step > 1:
        print(f"{len(rows)} of {len(found.which)} points; all of them with --json or --csv FILE")


def _point_cells(point: SweepPoint) -> tuple[str, ...]:
    at = tuple(f"{value:.6g}" for value in point.at.values())
    if point.choice is None:
        return (*at, "nowhere", "", "", "", "", "")
    choice = point.choice
    assert point.seconds_per_token is not None
    return (
        *at,
        *_places(choice),
        str(choice.draft_length),
        f"{point.seconds_per_token * 1e3:.1f}",
        f"{point.speedup:.2f}",
        f"{point.speedup_over_best:.2f}",
    )


def points_json(question: Question, found: Sweep) -> None:
    """Print a sweep as one JSON document."""
    drafter = question.drafter
    models = {
        "soc": question.soc.name,
        "target": question.target.name,
        "drafter": drafter.name if drafter else None,
        "draft_vocabulary": question.draft_vocabulary,
    }
    console.print_json({**models, "axes": found.axes, "points": list(found.points())})


def write_rows(path: Path | None, answer: WhatIf) -> None:
    """Write every row as CSV, in SI units; nothing where there is no ``path``."""
    _write(path, _ROW_HEADER, map(_row_fields, answer.rows))


def write_points(path: Path | None, found: Sweep) -> None:
    """Write every point as CSV, in SI units; nothing where there is no ``path``."""
    _write(path, (*found.columns, *_POINT_HEADER), map(_point_fields, found.points()))


def _write(path: Path | None, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    if path is None:
        return
    from paceline.files import write_bytes

    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_bytes(path, text.getvalue().encode())


def _row_fields(row: Row) -> tuple[object, ...]:
    cost = row.estimate
    return (
        *_choice_fields(row),
        row.alpha,
        *(cost.seconds_per_token, cost.tokens_per_round, cost.round_seconds, cost.draft, cost.verify, cost.host),
        *(cost.speedup, cost.speedup_over_best, row.draft_wall, row.verify_wall, row.wall, row.memory),
    )


def _point_fields(point: SweepPoint) -> tuple[object, ...]:
    choice = _choice_fields(point.choice) if point.choice else (None,) * 7
    numbers = (point.seconds_per_token, point.speedup, point.speedup_over_best, point.drafted_speedup_over_best)
    return (*point.at.values(), *choice, *numbers)


def _choice_fields(choice: Choice | Row) -> tuple[object, ...]:
    target, drafter = choice.mapping.target, choice.mapping.drafter
    precisions = (choice.precision["target"], choice.precision.get("drafter"))
    return (target, drafter, *precisions, choice.cores[target], choice.cores.get(drafter or ""), choice.draft_length)
