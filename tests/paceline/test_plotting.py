"""``--plot`` as a user gives it, and the charts that pages make of plans, what-ifs, sweeps and validations."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from typer.testing import CliRunner, Result

from paceline.commands import plotting
from paceline.costmodel import Contention, Machine, Measurement, Profile, Role
from paceline.costmodel.profile import HostTime
from paceline.models import model_named
from paceline.partition import Bundle, Mapping, choose
from paceline.partition.axis import read_axis
from paceline.partition.search import beliefs_of
from paceline.partition.sweep import sweep
from paceline.partition.synthetic import Pair, Question
from paceline.partition.times import MeasuredTimes, RooflineTimes, Times
from paceline.partition.whatif import what_if
from paceline.plots import save, style
from paceline.runtime.validation import Compared, validation
from paceline.targets import load_soc

Run = Callable[..., Result]
PAIR = ("--soc", "imx95", "--target", "llama-3.2-3b", "--drafter", "llama-3.2-1b", "--precision", "int8")
PNG = b"\x89PNG"


@pytest.fixture
def run() -> Run:
    from paceline.cli import _register, app

    if not app.registered_commands:
        _register()

    def call(*words: object) -> Result:
        return CliRunner().invoke(app, [str(word) for word in words])

    return call


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Charts that would have been written."""
    figures: list[Figure] = []
    monkeypatch.setattr(save, "save_plot", lambda figure, path: figures.append(figure))
    return figures


@pytest.fixture(scope="module")
def question() -> Question:
    return Question(
        soc=load_soc("imx95"),
        target=model_named("llama-3.2-3b"),
        drafter=model_named("llama-3.2-1b"),
        precisions=(Pair(target="int8", drafter="int8"), Pair(target="int8", drafter="int4")),
        cpu_cores=(1, 6),
        alpha=0.9,
    )


def profile(bundle: Bundle) -> Profile:
    """Passes that take twice what the roofline says, other times in rounds, and a host that takes 2 ms and more."""
    times = RooflineTimes(bundle)
    passes = [
        Measurement(
            role=model.role,
            precision=model.precision,
            unit=unit.name,
            cores=unit.cores,
            width=width,
            position=position,
            seconds=2 * times.estimate(model.role, unit.name, width, unit.cores).seconds,
            spread=0.0,
            repeats=5,
        )
        for model in bundle.models
        for unit in bundle.soc.units
        for width in bundle.widths
        for position in (0, 448)
    ]
    host = (
        HostTime(drafter="none", draft_length=0, seconds=2e-3),
        HostTime(drafter="model", draft_length=1, seconds=3e-3),
        HostTime(drafter="model", draft_length=8, seconds=10e-3),
    )
    units = [unit.name for unit in bundle.soc.units]
    company = tuple(
        Contention(together="in turns", target=target, drafter=drafter, width=2, slows_target=1.2, slows_drafter=0.6)
        for target in units
        for drafter in units
    )
    machine = Machine(architecture="a", cpu="c", cores=2, memory_bytes=1)
    return Profile(
        bundle=bundle.digest,
        machine=machine,
        context=512,
        measurements=tuple(passes),
        host=host,
        contention=company,
    )


def one_token(times: Times, role: Role, unit: str, cores: int) -> float:
    """Seconds of a pass that is known."""
    seconds = times.seconds(role, unit, 1, cores)
    assert seconds is not None
    return seconds


def corners(line: Line2D) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in np.asarray(line.get_xydata()).tolist()]


def curves(figure: Figure) -> dict[str, list[tuple[float, float]]]:
    """Points of the coloured lines of the first panel, by their names in the legend."""
    looks = [style.look(index).colour for index in range(style.STYLES)]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    found = [corners(line) for line in figure.axes[0].lines if line.get_color() in looks]
    return dict(zip(names, (points for points in found if len(points) != 2), strict=False))


def test_a_what_if_is_drawn_over_one_baseline(question: Question, drawn: list[Figure]) -> None:
    answer = what_if(question)
    plotting.plot_what_if(Path("x.png"), None, question, answer)
    plain = min(row.estimate.seconds_per_token for row in answer.rows if not row.draft_length)
    found = curves(drawn[0])
    best = answer.rows[0]
    drafter = str(best.mapping.drafter)
    label = f"target on cpu x{best.cores['cpu']}, drafter on {drafter} x{best.cores[drafter]}"
    label += f" ({'+'.join(best.precision.values())})"
    expected = {
        (row.draft_length, plain / row.estimate.seconds_per_token)
        for row in answer.rows
        if (row.mapping, row.cores, row.precision) == (best.mapping, best.cores, best.precision)
    }
    assert expected <= set(found[label]) and len(found[label]) == len(expected) + 1
    assert max(y for curve in found.values() for _, y in curve) == plain / best.estimate.seconds_per_token


def test_a_decision_map_marks_the_drafters_beside_the_chosen_target(question: Question, drawn: list[Figure]) -> None:
    answer = what_if(question)
    plotting.plot_what_if(Path("x.png"), "decision", question, answer)
    best = answer.rows[0]
    pair = next(pair for pair in question.precisions if pair.drafter == best.precision["drafter"])
    times = RooflineTimes(question.search(pair).bundle)
    cores = best.cores["cpu"]
    c = {
        one_token(times, "drafter", unit, count) / one_token(times, "target", "cpu", cores)
        for unit, count in (("cpu", cores), ("gpu", 1))
    }
    marks = {point for line in drawn[0].axes[0].lines for point in corners(line)}
    edge = drawn[0].axes[0].get_xlim()[1]
    assert {(min(share, edge), 0.9) for share in c} <= marks


@pytest.mark.parametrize("alpha", [0.95, 0.0])
def test_charts_of_a_plan_from_a_profile(question: Question, drawn: list[Figure], alpha: float) -> None:
    bundle = question.search(question.precisions[0]).bundle
    measured = profile(bundle)
    plan = choose(bundle, profile=measured, alpha=alpha)
    times, belief = MeasuredTimes(bundle, measured), beliefs_of((), (), alpha)["model"]
    for chart in ("speedup", "decision", "roofline", "timeline"):
        plotting.plot_plan(Path("x.png"), chart, plan, bundle=bundle, times=times, belief=belief)
    speedup, decision, roofline, timeline = drawn
    assert bool(plan.draft_length) == (alpha > 0.5)
    assert f"chosen: {'drafting' if alpha else 'no speculation'}" in speedup.legends[0].get_texts()[-1].get_text()
    # measured passes reach half the operations per second of predicted ones
    pairs = [corners(line) for line in roofline.axes[0].lines if line.get_linewidth() == 0.8]
    assert pairs and all(high == pytest.approx(2 * low) for (_, high), (_, low) in pairs)
    said = " ".join(text.get_text() for text in timeline.texts)
    shown = plan if alpha else next(entry for entry in plan.rejected if entry.draft_length and entry.estimate)
    assert shown.estimate is not None
    assert f"{shown.estimate.tokens_per_round:.2f} tokens in" in said
    assert ("no speculation is chosen" in said) == (alpha == 0.0)
    bars = [patch for patch in timeline.axes[0].patches if isinstance(patch, Rectangle)]
    ends = [patch.get_x() + patch.get_width() for patch in bars]
    assert any(end == pytest.approx(shown.estimate.round_seconds * 1e3) for end in ends)
    # a draft takes 0.6 of its time in rounds
    unit = str(shown.mapping.drafter)
    draft = 0.6 * one_token(times, "drafter", unit, shown.cores[unit])
    widths = [patch.get_width() for patch in bars]
    assert sum(width == pytest.approx(draft * 1e3) for width in widths) == shown.draft_length
    target = plan.mapping.target
    plain = one_token(times, "target", target, plan.cores[target]) + times.host_seconds("none", 0)
    marks = [x for line in decision.axes[0].lines for x, _ in corners(line)]
    assert any(x == pytest.approx(draft / plain) for x in marks)


def test_a_swept_axis_may_be_in_any_order(question: Question, drawn: list[Figure]) -> None:
    found = sweep(question, [read_axis("alpha=0.9,0.1,0.5,0.1"), read_axis("bandwidth=1e10,2e10")])
    plotting.plot_sweep(Path("x.png"), question, found)
    left = drawn[0].axes[0]
    (mesh,) = (entry for entry in left.collections if isinstance(entry, QuadMesh))
    ordered = found.speedup_over_best.reshape(4, 2)[[1, 2, 0]]
    values = mesh.get_array()
    assert values is not None
    np.testing.assert_array_equal(np.ma.filled(values, np.nan), ordered.T)
    assert (left.get_xlabel(), left.get_ylabel()) == ("alpha (share of drafts that are kept)", "bandwidth (B/s)")


def test_a_validation_shows_both(drawn: list[Figure], question: Question) -> None:
    def row(drafter: str | None, length: int, predicted: float, measured: float) -> Compared:
        return Compared(
            mapping=Mapping(target="cpu", drafter=drafter),
            draft_length=length,
            predicted=predicted,
            measured=measured,
            low=measured / 1.25,
            high=measured * 1.25,
            tokens_per_round=1.0,
            draft=0.0,
            verify=predicted,
            host=0.0,
        )

    rows = [row("gpu", 1, 0.5, 0.8), row("gpu", 2, 0.8, 0.5), row(None, 0, 1.0, 2.0), row("ngram", 1, 2.0, 2.0)]
    bundle = question.search(question.precisions[0]).bundle
    found = validation(bundle, rows, [], prompts=1, tokens=1, repeats=1, margin=0.05)
    plotting.plot_validation(Path("x.png"), found)
    axes = drawn[0].axes[0]
    points = [corners(line) for line in axes.lines]
    assert [(0, 1.0), (1, 2.0), (2, 1.25)] in points and [(0, 1.0), (1, 2.5), (2, 4.0)] in points
    bars = [np.asarray(path.vertices).tolist() for group in axes.collections for path in group.get_paths()]
    assert [[1, 2.0], [1, 3.125]] in bars
    names = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert names[:2] == ["target on cpu, drafter on gpu", "target on cpu, prompt lookup"]
    assert names[-1] == "chosen by the prediction, as measured: 2.50x"


@pytest.mark.parametrize("chart", ["speedup", "decision", "roofline", "timeline"])
def test_what_if_writes_a_chart(run: Run, tmp_path: Path, chart: str) -> None:
    result = run("whatif", *PAIR, "--plot", tmp_path / "chart.png", "--chart", chart, "--json")
    assert result.exit_code == 0, result.output
    assert set(json.loads(result.stdout)) == {"what_if", "break_even"}
    assert (tmp_path / "chart.png").read_bytes().startswith(PNG)


def test_what_if_without_a_drafter_has_charts_too(run: Run, tmp_path: Path) -> None:
    alone = ("--soc", "rpi5", "--target", "qwen2.5-0.5b")
    for chart in ("speedup", "decision", "roofline", "timeline"):
        result = run("whatif", *alone, "--plot", tmp_path / f"{chart}.svg", "--chart", chart)
        assert result.exit_code == 0, result.output
        assert b"<svg" in (tmp_path / f"{chart}.svg").read_bytes()


def test_plan_writes_a_chart(run: Run, null_bundle: Callable[..., Path], tmp_path: Path) -> None:
    folder = null_bundle()
    result = run("plan", folder, "--roofline", "--alpha", 0.8, "--plot", tmp_path / "plan.png")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "plan.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--plot", "chart.pdf"), "a plot is written as .png or .svg; 'chart.pdf' ends in .pdf"),
        (("--plot", "nowhere/chart.png"), "there is no folder nowhere"),
        (("--chart", "roofline"), "add --plot FILE.png"),
        (("--plot", "a.png", "--chart", "roofline", "--sweep", "alpha=0.1,0.2"), "leave --chart roofline or --sweep"),
        (("--plot", "a.png", *("--sweep", "alpha=0.1,0.2") * 3), "alpha"),
        (
            ("--plot", "a.png", "--sweep", "alpha=0.1,0.2", "--sweep", "context=64,128", "--sweep", "launch=1e-6,2e-6"),
            "one or two sweeps; 3 were given",
        ),
        (("--plot", "a.png", "--csv", "a.csv", "--sweep", "alpha=0.1"), "has one value; a plot needs two or more"),
        (("--plot", "a.svg", "--csv", "./a.svg"), "a.svg would be written twice, as the plot and as something else"),
    ],
)
def test_what_cannot_be_drawn_is_a_sentence(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("whatif", *PAIR, *options)
    assert result.exit_code in (1, 2) and sentence in result.stderr
    assert "Traceback" not in result.output and not list(tmp_path.iterdir())


def test_without_matplotlib_nothing_is_computed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    result = run("whatif", *PAIR, "--plot", "chart.png")
    assert result.exit_code == 1 and not result.stdout
    assert result.stderr == "error: this needs matplotlib, which is not installed: pip install 'paceline[plot]'\n"
