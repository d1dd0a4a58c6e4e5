"""Charts: what they contain, where it is, and that no text covers another or leaves the picture."""

from __future__ import annotations

import errno
import itertools
import math
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.axis import Axis as DrawnAxis
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from paceline.costmodel import Round, paper_speedup, speculative_round
from paceline.errors import OutputError, UsageError
from paceline.plots import style
from paceline.plots.decision import Costs, Mark, best_draft, decision_chart, paper_costs
from paceline.plots.labels import Beside, put_beside
from paceline.plots.roofline import Pass, Unit, roofline_chart
from paceline.plots.save import check_plot, save_plot
from paceline.plots.speedup import Choice, Curve, Points, speedup_chart
from paceline.plots.sweep import Axis, Outcome, sweep_chart
from paceline.plots.timeline import bars_of, plain_bars, timeline_chart

LONG = "target int8 on cpu x6, drafter int8 on gpu x1, of a model with a name that does not end "
LENGTHS = tuple(range(1, 9))


def curve(label: str, *, alpha: float = 0.8, c: float = 0.3) -> Curve:
    return Curve(label=label, lengths=LENGTHS, speedups=[paper_speedup(alpha, length, c) for length in LENGTHS])


def measured(of: Curve) -> Points:
    around = ([s * share for s in of.speedups] for share in (1.02, 0.95, 1.1))
    return Points(label=of.label, lengths=of.lengths, speedups=next(around), low=next(around), high=next(around))


def costs(length: int = 4, *, host: float = 0.75e-3, scale: float = 1.0) -> Round:
    return Round(
        draft_length=length,
        tokens=1.0 + 0.6 * length,
        draft=5.95e-3 * length * scale,
        catch_up=1.1e-3 * scale if length else 0.0,
        verify=18.3e-3 * scale,
        host=host * scale,
        plain=15.4e-3 * scale,
    )


def unit(label: str, *, intensities: int = 6, times: float | None = 1.5, dtypes: int = 2) -> Unit:
    """Passes of two models whose points lie close together, on a unit of 25.6 GB/s and up to 346 Gop/s."""
    peaks = {"int8": 346e9, "f32": 86.4e9}
    passes = []
    for share in (1.0, 0.97):
        widths = [1 << k for k in range(intensities)]
        seconds = [max(1e9 / 25.6e9, 2e9 * share * width / 346e9) + 1e-3 for width in widths]
        passes.append(
            [
                Pass(width=w, operations=2e9 * share * w, bytes=1e9, seconds=s, measured=s * times if times else None)
                for w, s in zip(widths, seconds, strict=True)
            ]
        )
    shown = dict(itertools.islice(peaks.items(), dtypes))
    return Unit(label=label, bandwidth=25.6e9, peaks=shown, models={"target (int8)": passes[0], "drafter": passes[1]})


def outcome(label: str, *shape: int, seed: int = 0) -> Outcome:
    random = np.random.default_rng(seed)
    return Outcome(
        label=label, speedups=random.uniform(0.7, 2.0, shape), lengths=random.integers(0, 9, shape).astype(np.float64)
    )


ALPHA = Axis(name="alpha", values=np.round(np.arange(0.1, 0.96, 0.05), 2).tolist())
BANDWIDTH = Axis(name="bandwidth (B/s)", values=np.geomspace(1e9, 1e12, 13).tolist())
WORDS = Axis(name="precision", values=[f"unit.key{i}=some" for i in range(15)])
NOTHING = Outcome(label="none", speedups=np.full((13, 18), np.nan), lengths=np.full((13, 18), np.nan))

CHARTS: dict[str, Callable[[], Figure]] = {
    "one curve": lambda: speedup_chart([curve("drafter on gpu")]),
    "many curves": lambda: speedup_chart(
        [curve(f"{LONG}{i}", c=0.1 + 0.03 * i) for i in range(24)],
        [measured(curve(f"{LONG}{i}")) for i in range(24)],
        chosen=Choice(label="chosen: " + LONG, length=4, speedup=1.7),
        title=LONG * 3,
        subtitle=LONG * 4,
    ),
    "only plain decoding": lambda: speedup_chart(
        [Curve(label="cpu", lengths=(0,), speedups=(1.0,)), Curve(label="gpu", lengths=(0,), speedups=(0.01,))],
        chosen=Choice(label="chosen: no speculation", length=0, speedup=1.0),
    ),
    "huge and tiny": lambda: speedup_chart(
        [
            Curve(label="$huge_{x}$ for $5", lengths=range(1, 65), speedups=[1e5 * g for g in range(1, 65)]),
            Curve(label="_tiny \u6771 \n\t", lengths=LENGTHS, speedups=[1e-7] * 8),
        ]
    ),
    "map of Eq. 1": lambda: decision_chart(paper_costs(8), marks=[Mark(label="gpu", c=0.41, alpha=0.58)]),
    "map, many marks": lambda: decision_chart(
        Costs(verify=(1, 1.3, 1.55, 1.6, 2.5, 2.5, 2.5, 2.5, 4.8), catch_up=0.3, source=LONG),
        marks=[Mark(label=f"{LONG}{i}", c=0.3 * i, alpha=0.1 * i) for i in range(11)],
    ),
    "map, never": lambda: decision_chart(Costs(verify=(1, 5, 9))),
    "map, long drafts": lambda: decision_chart(paper_costs(64), marks=[Mark(label="far", c=1e9, alpha=1.0)]),
    "map, no drafts": lambda: decision_chart(paper_costs(0)),
    "roofs of two units": lambda: roofline_chart([unit("cpu x6"), unit(LONG, times=None)], subtitle=LONG),
    "roofs, close dtypes": lambda: roofline_chart(
        [Unit(label="cpu", bandwidth=1e12, peaks={"f32": 1e9, "int8": 1.05e9}, models={}), unit("gpu", intensities=11)]
    ),
    "roof of one unit": lambda: roofline_chart([unit("cpu x6", dtypes=1)]),
    "round": lambda: timeline_chart(costs(), target="cpu x2", drafter="gpu x1", title=LONG, subtitle=LONG),
    "round on one unit": lambda: timeline_chart(costs(scale=500), target=LONG, drafter=LONG),
    "round, short": lambda: timeline_chart(costs(64, scale=1e-3), target="cpu x2", drafter="gpu x1"),
    "round of prompt lookup": lambda: timeline_chart(costs(5), target="cpu x2"),
    "wide letters": lambda: timeline_chart(costs(), target="WWW", title="MW" * 99, subtitle="MW" * 99),
    "plain round": lambda: timeline_chart(costs(0, host=0.0), target="cpu x2"),
    "sweep": lambda: sweep_chart([ALPHA], [outcome(f"{LONG}{i}", 18, seed=i) for i in range(9)], subtitle=LONG),
    "sweep of words": lambda: sweep_chart([WORDS], [outcome("best", 15)]),
    "sweep of two": lambda: sweep_chart([BANDWIDTH, ALPHA], [outcome("best", 13, 18)]),
    "sweep of two, words": lambda: sweep_chart([WORDS, ALPHA], [outcome("best", 15, 18)], title=LONG, subtitle=LONG),
    "sweep, nothing runs": lambda: sweep_chart([BANDWIDTH, ALPHA], [NOTHING]),
    "sweep of 10,000": lambda: sweep_chart(
        [Axis(name=name, values=np.linspace(0.01, 0.99, 100).tolist()) for name in "ca"], [outcome("best", 100, 100)]
    ),
}


def texts(figure: Figure) -> list[Text]:
    """Every text that is drawn; ticks beyond the ends of an axis are not."""
    axes = [axis for axis in figure.findobj(DrawnAxis) if isinstance(axis, DrawnAxis)]
    hidden: set[int] = set()
    for axis in axes:
        low, high = sorted(axis.get_view_interval())
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
            if not low <= tick.get_loc() <= high:
                hidden |= {id(tick.label1), id(tick.label2)}
    found = [text for text in figure.findobj(Text) if isinstance(text, Text) and id(text) not in hidden]
    return [text for text in found if text.get_visible() and text.get_text().strip()]


def corners(text: Text) -> npt.NDArray[np.float64]:
    """The four corners in pixels of a text, which may stand aslant."""
    angle = text.get_rotation()
    box = text.get_window_extent()
    middle = np.array([(box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2])
    text.set_rotation(0.0)
    level = text.get_window_extent()
    text.set_rotation(angle)
    turn = np.exp(1j * np.radians(angle))
    points = [complex(x * level.width, y * level.height) / 2 * turn for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    return np.array([(middle[0] + point.real, middle[1] + point.imag) for point in points])


def overlap(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    """Pixels by which two rectangles overlap along the side where they do so least; 0 or less where they do not."""
    least = math.inf
    for sides in (one, other):
        for side in (sides[1] - sides[0], sides[2] - sides[1]):
            along = side / np.linalg.norm(side)
            a, b = one @ along, other @ along
            least = min(least, float(min(a.max(), b.max()) - max(a.min(), b.min())))
    return least


@pytest.mark.parametrize("name", CHARTS)
def test_no_text_covers_another_or_leaves_the_picture(name: str) -> None:
    figure = CHARTS[name]()
    figure.draw_without_rendering()
    found = [(text.get_text(), corners(text)) for text in texts(figure)]
    assert len(found) > 6
    for text, box in found:
        assert (box >= -0.5).all() and (box <= np.array(figure.bbox.size) + 0.5).all(), text
    low, high = np.array([box.min(axis=0) for _, box in found]), np.array([box.max(axis=0) for _, box in found])
    near = (low[:, None] < high[None]).all(axis=2) & (low[None] < high[:, None]).all(axis=2)
    for i, j in zip(*np.nonzero(np.triu(near, k=1)), strict=True):
        assert overlap(found[i][1], found[j][1]) < 1.0, (found[i][0], found[j][0])


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for box in figure.legends for text in box.get_texts()]


def said(figure: Figure) -> str:
    """Title and subtitle."""
    return " ".join(text.get_text() for text in figure.texts)


def corners_of(line: Line2D) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in np.asarray(line.get_xydata()).tolist()]


def points(axes: Axes, colour: str | None = None) -> set[tuple[float, float]]:
    """Where the lines of a colour, or all, have marks or corners."""
    return {point for line in axes.lines if colour in (None, line.get_color()) for point in corners_of(line)}


def test_speedups_stand_where_they_were_predicted_and_measured() -> None:
    predicted = curve("drafter on gpu")
    found = measured(predicted)
    figure = speedup_chart(
        [predicted, curve("other", c=0.6)], [found], chosen=Choice(label="best", length=3, speedup=1.5)
    )
    (axes,) = figure.axes
    drawn = points(axes, style.look(0).colour)
    assert set(zip(LENGTHS, predicted.speedups, strict=True)) <= drawn
    assert set(zip(LENGTHS, found.speedups, strict=True)) <= drawn
    bars = [np.asarray(path.vertices).tolist() for group in axes.collections for path in group.get_paths()]
    assert [[length, low] for length, low in zip(LENGTHS, found.low, strict=True)] == [bar[0] for bar in bars]
    assert [[length, high] for length, high in zip(LENGTHS, found.high, strict=True)] == [bar[1] for bar in bars]
    assert (3.0, 1.5) in points(axes)
    assert legend(figure) == [
        "drafter on gpu",
        "other",
        "hollow: measured (bars: 25th to 75th percentile)",
        "1x: best plain decoding",
        "best: 1.50x",
    ]


def test_more_curves_than_colours_are_grey_and_counted() -> None:
    figure = speedup_chart([curve(f"mapping {i}", c=0.1 * i) for i in range(style.STYLES + 3)])
    assert [line.get_color() for line in figure.axes[0].lines].count(style.LIGHT) == 3
    assert legend(figure)[style.STYLES :] == ["3 more", "1x: best plain decoding"]


def test_measured_points_without_a_curve_have_an_entry() -> None:
    assert "alone" in legend(speedup_chart([curve("predicted")], [measured(curve("alone"))]))


def test_only_plain_decoding_has_whole_draft_lengths_on_its_axis() -> None:
    (axes,) = CHARTS["only plain decoding"]().axes
    assert [tick for tick in axes.get_xticks() if -0.4 <= tick <= 0.4] == [0.0]


@settings(max_examples=50, deadline=None)
@given(alpha=st.floats(0, 1), c=st.floats(0, 2))
def test_the_map_of_eq_1_is_eq_1(alpha: float, c: float) -> None:
    length, best = best_draft(np.array([c]), np.array([alpha]), paper_costs(8))
    brute = [paper_speedup(alpha, gamma, c) for gamma in range(9)]
    assert best[0] == pytest.approx(max(brute[1:]))
    assert brute[length[0]] == pytest.approx(max(brute))
    assert bool(length[0]) == (best[0] > 1.0)


@settings(max_examples=50, deadline=None)
@given(alpha=st.floats(0, 1), c=st.floats(0, 2), verify=st.lists(st.floats(1, 5), min_size=4, max_size=4))
def test_the_map_is_the_round_of_the_cost_model(alpha: float, c: float, verify: list[float]) -> None:
    host, catch_up = 0.25, 0.5
    _, best = best_draft(
        np.array([c]), np.array([alpha]), Costs(verify=(1.0, *(v + host for v in verify)), catch_up=catch_up)
    )
    rounds = [
        speculative_round(
            drafter=lambda width: c * (1 + catch_up * (width - 1)),
            target=lambda width: 1.0 if width == 1 else verify[width - 2],
            probabilities=[alpha**k for k in range(1, gamma + 1)],
            host=host,
        )
        for gamma in range(1, 5)
    ]
    assert best[0] == pytest.approx(max(costs.speedup for costs in rounds))


def test_marks_stand_at_their_c_and_alpha_or_at_the_edge() -> None:
    marks = [Mark(label="near", c=0.4, alpha=0.6), Mark(label="far", c=12.0, alpha=0.7)]
    figure = decision_chart(Costs(verify=(1, 1.2), source="v as measured"), marks=marks, title="Board")
    axes = figure.axes[0]
    assert points(axes, style.look(0).colour) == {(0.4, 0.6)}
    assert points(axes, style.look(1).colour) == {(axes.get_xlim()[1], 0.7)}
    assert points(axes, style.INK) == {(0.0, 0.0), (1.0, 1.0)}
    assert legend(figure)[:2] == ["c 0.4, alpha 0.60: near", "c 12 (beyond the map), alpha 0.70: far"]
    assert "v as measured" in said(figure)


def test_lines_of_equal_speedup_are_named_where_they_leave_the_map() -> None:
    above = next(child for child in CHARTS["map of Eq. 1"]().axes[0].child_axes)
    named = {text.get_text(): place for text, place in zip(above.get_xticklabels(), above.get_xticks(), strict=True)}
    for name, c in named.items():
        assert max(paper_speedup(1.0, gamma, c) for gamma in range(1, 9)) == pytest.approx(float(name[:-1]), rel=1e-3)
    assert {"1x", "1.5x", "2x", "4x"} <= set(named)


def test_passes_stand_at_their_operations_per_byte_and_second() -> None:
    one = Pass(width=2, operations=8e9, bytes=2e9, seconds=0.5, measured=0.8)
    units = [
        Unit(label="cpu x2", bandwidth=10e9, peaks={"f32": 40e9}, models={"target": [one]}),
        Unit(label="gpu x1", bandwidth=20e9, peaks={"f32": 30e9, "int8": 90e9}, models={"drafter": [one]}),
    ]
    figure = roofline_chart(units)
    assert len(figure.axes) == 2
    cpu, gpu = figure.axes
    assert points(cpu, style.look(0).colour) == {(4.0, 16e9), (4.0, 10e9)}
    assert points(gpu, style.look(1).colour) == {(4.0, 16e9), (4.0, 10e9)}
    corners = {point for point in points(gpu, style.INK) if gpu.get_xlim()[0] < point[0] < gpu.get_xlim()[1]}
    assert corners == {(1.5, 30e9), (4.5, 90e9)}
    written = {text.get_text() for text in gpu.texts}
    assert written == {"memory: 20 GB/s", "f32 arithmetic: 30 Gop/s", "int8 arithmetic: 90 Gop/s", "2"}
    assert legend(figure)[:2] == ["target", "drafter"] and legend(figure)[-1] == "measured"


def test_a_round_is_told_in_order_and_to_its_end() -> None:
    bars = bars_of(costs(3), target="cpu x2", drafter="gpu x1")
    assert [(bar.lane, bar.phase) for bar in bars] == [
        ("gpu x1", "catch-up"),
        *[("gpu x1", "draft")] * 3,
        ("cpu x2", "verify"),
        ("host", "host"),
    ]
    assert bars[-1].start + bars[-1].seconds == pytest.approx(costs(3).seconds)
    assert all(b.start == pytest.approx(a.start + a.seconds) for a, b in itertools.pairwise(bars))
    plain = plain_bars(costs(3))
    assert sum(bar.seconds for bar in plain) == pytest.approx(costs(3).tokens * costs(3).plain)


def test_a_timeline_draws_those_bars_in_milliseconds() -> None:
    figure = timeline_chart(costs(3), target="cpu x2", drafter="gpu x1", title="of a plan")
    (axes,) = figure.axes
    bars = bars_of(costs(3), target="cpu x2", drafter="gpu x1") + plain_bars(costs(3))
    drawn = [(patch.get_x(), patch.get_width()) for patch in axes.patches if isinstance(patch, Rectangle)]
    np.testing.assert_allclose(drawn, [(bar.start * 1e3, bar.seconds * 1e3) for bar in bars], atol=1e-12)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cpu x2", "gpu x1", "host", "plain decoding"]
    assert said(figure).startswith("2.80 tokens in 38 ms: of a plan")
    assert "draft: 3 x 5.95 ms = 17.9 ms" in legend(figure)
    assert axes.get_xlabel().endswith("(ms)")


def test_a_plain_round_has_no_drafter_and_no_comparison() -> None:
    figure = timeline_chart(costs(0, host=0.0), target="cpu x2")
    assert [text.get_text() for text in figure.axes[0].texts] == ["1 token"]
    assert legend(figure) == ["decode: 18.3 ms", "end of the round"]


def test_a_sweep_of_one_is_lines() -> None:
    best = outcome("best", 18)
    above, below = sweep_chart([ALPHA], [best]).axes
    drawn = next(line for line in above.lines if line.get_color() == style.look(0).colour)
    assert corners_of(drawn) == list(zip(ALPHA.values, best.speedups.tolist(), strict=True))
    assert [corners_of(line) for line in below.lines] == [list(zip(ALPHA.values, best.lengths.tolist(), strict=True))]


def test_a_sweep_of_two_is_maps_whose_first_axis_runs_across() -> None:
    best = outcome("best", 3, 4)
    best.speedups[0, 1] = best.lengths[0, 1] = np.nan
    axes = [Axis(name="bandwidth", values=[1.0, 10.0, 100.0]), Axis(name="alpha", values=[0.1, 0.2, 0.3, 0.4])]
    left, right, *_ = sweep_chart(axes, [best]).axes
    for panel, field in ((left, best.speedups), (right, best.lengths)):
        (mesh,) = (found for found in panel.collections if isinstance(found, QuadMesh))
        values = mesh.get_array()
        assert values is not None
        np.testing.assert_array_equal(np.ma.filled(values, np.nan), field.T)
    assert (left.get_xscale(), left.get_yscale()) == ("log", "linear")
    written = {text.get_position(): text.get_text() for text in right.texts}
    assert written[10.0, 0.3] == f"{best.lengths[1, 2]:.0f}" and written[1.0, 0.2] == ""


@pytest.mark.parametrize("count", [0, 3])
def test_a_sweep_of_another_number_is_a_sentence(count: int) -> None:
    with pytest.raises(UsageError, match=f"one or two sweeps; {count} were given"):
        sweep_chart([ALPHA] * count, [outcome("best", 18)])
    with pytest.raises(UsageError, match="sweep of cores has one value"):
        sweep_chart([ALPHA, Axis(name="cores", values=[1])], [outcome("best", 18, 1)])


def test_a_text_without_room_is_left_out() -> None:
    figure = Figure(figsize=style.SIZE, dpi=style.DPI)
    axes = figure.add_subplot()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    figure.draw_without_rendering()
    wanted = [Beside(axes=axes, x=0.5, y=0.5, text=str(number)) for number in range(40)]
    written = put_beside(wanted)
    assert 4 < len(written) < 40
    assert len(axes.texts) == len(written)
    assert not put_beside([Beside(axes=axes, x=0.99, y=0.99, text="a text that is much too long" * 9)])


def test_texts_are_shown_as_they_are() -> None:
    assert style.plain("$a_b$ \u6771\n c") == r"\$a_b\$ ? c"
    assert style.plain("x" * 50, 20, lines=1) == "x" * 18 + " …"
    assert [style.quantity(v, "s") for v in (0.0, 1.5e-3, 999.96, 2.5e-10)] == ["0 s", "1.5 ms", "1 ks", "0.25 ns"]


@pytest.mark.parametrize("suffix", [".png", ".SVG"])
def test_a_saved_chart_is_whole_and_repeatable(tmp_path: Path, suffix: str) -> None:
    for name in ("a", "b"):
        save_plot(CHARTS["round"](), tmp_path / f"{name}{suffix}")
    data = (tmp_path / f"a{suffix}").read_bytes()
    assert data == (tmp_path / f"b{suffix}").read_bytes()
    if suffix == ".png":
        assert data.startswith(b"\x89PNG") and data[16:24] == (1200).to_bytes(4, "big") + (800).to_bytes(4, "big")
    else:
        assert ET.fromstring(data).tag.endswith("svg")


@pytest.mark.parametrize("name", ["plot.pdf", "plot", ".png"])
def test_another_suffix_is_a_sentence(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"written as \.png or \.svg"):
        save_plot(Figure(), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_places_that_cannot_be_written_are_sentences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OutputError, match="there is no folder"):
        check_plot(tmp_path / "nowhere" / "plot.png")
    (tmp_path / "taken.png").mkdir()
    with pytest.raises(OutputError, match="cannot write"):
        save_plot(Figure(), tmp_path / "taken.png")

    def full(self: Path, target: Path) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OutputError, match="the disk is full"):
        save_plot(Figure(), tmp_path / "plot.png")
    assert [path.name for path in tmp_path.iterdir()] == ["taken.png"]


def test_the_command_line_does_without_matplotlib() -> None:
    look = "import sys; from paceline import cli; cli._register(); sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", look], check=False).returncode == 0
    missing = (
        "import sys; sys.modules['matplotlib'] = None; from pathlib import Path; from paceline.plots import save; "
    )
    found = subprocess.run(
        [sys.executable, "-c", missing + "save.check_plot(Path('plot.png'))"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert "ModuleNotFoundError" in found.stderr
