"""Tables II and III of arXiv 2602.08060 from its own inputs, beside ours.

PYTHONPATH=benchmarks .venv/bin/python -m paper_2602_08060
"""

from __future__ import annotations

from collections.abc import Sequence

from paceline.costmodel import can_gain, paper_speedup
from paceline.costmodel.known_models import find_model
from paper_2602_08060.board import Board
from paper_2602_08060.published import (
    ALPHA_HIGH,
    ALPHA_MEDIAN,
    ALPHA_SEEN,
    C_CPU,
    C_GPU,
    CORES,
    INPUT_LENGTH,
    TABLE_II,
    best_length,
    checks,
    largest_c,
)
from turns import table


def eq1_rows() -> list[list[str]]:
    """A line for each claim that Eq. 1 can be asked about."""
    rows = []
    for check in checks():
        best = best_length(check.alpha, check.c)
        at_best = f"{best}: {paper_speedup(check.alpha, best, check.c):.3f}"
        paper = "no gain" if check.speedup is None else f"{check.gamma}: {check.speedup:.2f}"
        numbers = [f"{check.alpha:.2f}", f"{check.c:.3f}", paper, f"{check.gamma}: {check.ours:.3f}", at_best]
        rows.append([check.claim, *numbers, check.verdict])
    return rows


def around_eq1() -> str:
    """What the rows say together."""
    alone, together = (paper_speedup(ALPHA_HIGH, best_length(ALPHA_HIGH, c), c) for c in (C_CPU, C_GPU))
    least = largest_c(ALPHA_HIGH, 5)
    holds = all(can_gain(ALPHA_HIGH, c) for c in (C_GPU, C_CPU))
    return (
        f"Drafter on the GPU {together:.3f}, on the target's core {alone:.3f}: the GPU wins, as in the paper.\n"
        f"Break-even c < alpha {'holds' if holds else 'fails'} for both.\n"
        f"At alpha {ALPHA_HIGH}, gamma 5 is the best only where c < {least:.3f}, and S is then above"
        f" {paper_speedup(ALPHA_HIGH, 5, least):.2f}:\nno c makes gamma 5 the best choice with an S of 1.68."
    )


def ratio_rows(whole: Board, half: Board) -> list[list[str]]:
    """c by the roofline, without a cache and with f32 or f16 arithmetic; the paper's where it is printed."""
    published = {1: (f"{C_GPU}", f"about {C_CPU}"), **dict.fromkeys(range(3, 7), ("above 1", ""))}
    return [
        [
            str(cores),
            *(f"{board.c(True, cores):.2f}" for board in (whole, half)),
            published.get(cores, ("", ""))[0],
            *(f"{board.c(False, cores):.2f}" for board in (whole, half)),
            published.get(cores, ("", ""))[1],
        ]
        for cores in CORES
    ]


def choice_rows(alpha: float, boards: Sequence[Board]) -> list[list[str]]:
    """Table II (alpha 0.90) or III (0.17), and what our round and the roofline choose."""
    rows = []
    for row in TABLE_II:
        speculates = row.gamma and alpha == ALPHA_HIGH
        where = "GPU" if row.heterogeneous else "CPU"
        paper = f"gamma {row.gamma}, {where} drafts, {row.speedup:.2f}x" if speculates else "no"
        rows.append([str(row.cores), paper, *(str(board.best(row.cores, alpha)) for board in boards)])
    return rows


def pass_rows(boards: Sequence[Board]) -> list[list[str]]:
    """Seconds of a plain token and of the drafter's on the GPU, and v of the verify pass, in both forms."""
    rows = []
    for cores in CORES:
        cells = [str(cores)]
        for board in boards:
            one = board.target_pass(cores, 1)
            wide = [board.target_pass(cores, gamma + 1) / one for gamma in (1, 2, 5)]
            cells += [f"{one:.3f}", f"{board.draft_pass(True, cores, 1):.3f}", " ".join(f"{v:.2f}" for v in wide)]
        rows.append(cells)
    return rows


def own_inputs() -> str:
    """Variant 1 by the paper's c, with the one term that it leaves out and that needs no measurement."""
    verify, draft = (INPUT_LENGTH + 5) / INPUT_LENGTH, (INPUT_LENGTH + 2) / INPUT_LENGTH
    high, seen = (paper_speedup(alpha, 5, 0.0) / (5 * C_GPU * draft + verify) for alpha in (ALPHA_HIGH, ALPHA_SEEN))
    return (
        f"Without a cache, verifying 5 drafts reads {INPUT_LENGTH + 5} tokens where a plain pass reads {INPUT_LENGTH}:"
        f" v(5) is {verify:.2f}\nwhere arithmetic is the wall, and drafts read {INPUT_LENGTH} to {INPUT_LENGTH + 4}."
        f" S(5) at c {C_GPU} is then {high:.2f} at alpha {ALPHA_HIGH},\nand {seen:.2f} at {ALPHA_SEEN}, where the"
        " paper saw 1.68."
    )


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *remarks: str) -> None:
    print(f"## {title}\n\n{table(columns, rows)}\n")
    for remark in remarks:
        print(f"{remark}\n")


def main() -> None:
    target, drafter = find_model("llama-3.2-3b"), find_model("llama-3.2-1b")
    whole, mixed, half, cached = (
        Board(target=target, drafter=drafter, cached=cached, f16_units=units)
        for cached, units in ((False, ()), (False, ("cpu",)), (False, ("cpu", "gpu")), (True, ()))
    )
    columns = ("claim", "alpha", "c", "paper", "Eq. 1", "Eq. 1 at its best", "verdict")
    show("Eq. 1 against the paper's figures", columns, eq1_rows(), around_eq1(), own_inputs())
    gpu, cpu = ("GPU, f32", "GPU, f16", "paper"), ("same cores, f32", "same cores, f16", "paper")
    show("c without a cache, roofline over imx95", ("cores", *gpu, *cpu), ratio_rows(whole, half))
    ways = ("paper", "no cache", "no cache, f16 on the CPU", "with a cache")
    for name, alpha in (("Table II", ALPHA_HIGH), ("Table III", ALPHA_MEDIAN)):
        show(f"{name}, alpha {alpha:.2f}", ("cores", *ways), choice_rows(alpha, (whole, mixed, cached)))
    names = [f"{what}{form}" for form in ("", ", cache") for what in ("target s", "GPU drafter s", "v(1) v(2) v(5)")]
    show("Passes behind the tables", ("cores", *names), pass_rows((whole, cached)))


if __name__ == "__main__":
    main()
