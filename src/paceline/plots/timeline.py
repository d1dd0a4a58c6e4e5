"""The timeline of one round: what each unit and the host do when, beside plain decoding of as many tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.text import Text

from paceline.costmodel import Round
from paceline.plots import style
from paceline.plots.labels import fits

HOST, PLAIN = "host", "plain decoding"
_HEIGHT = 0.56  # of a bar, where lanes are 1 apart
_THIN = 0.006  # of the width: bars below it have no edge, which would cover them
_COLOURS = {
    "draft": style.ORANGE,
    "catch-up": style.SKY,
    "verify": style.BLUE,
    "decode": style.BLUE,
    "host": style.GREEN,
    "plain": style.LIGHT,
}
_UNITS = ((10.0, 1.0, "s"), (1e-4, 1e3, "ms"), (0.0, 1e6, "µs"))  # from so many seconds on, times, name
_NAMES = {
    "catch-up": "catch-up, as often as needed",
    "host": "host: accept, sample, call",
    "plain": "as many tokens without a drafter",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One stretch of work: seconds from ``start`` in the round, on the unit of ``lane``."""

    lane: str
    phase: str
    start: float
    seconds: float
    text: str


def bars_of(costs: Round, *, target: str, drafter: str | None) -> list[Bar]:
    """What happens in a round, in the order of time; each pass of the drafter is a bar.

    Phases that take no time are left out. The catch-up pass stands with its expected time: seconds times P(needed).
    """
    bars: list[Bar] = []
    now = 0.0
    for lane, phase, seconds, text in _steps(costs, target, drafter):
        if seconds > 0.0:
            bars.append(Bar(lane=lane, phase=phase, start=now, seconds=seconds, text=text))
            now += seconds
    return bars


def _steps(costs: Round, target: str, drafter: str | None) -> Iterator[tuple[str, str, float, str]]:
    lane = drafter or HOST
    yield lane, "catch-up", costs.catch_up, "catch-up"
    for number in range(1, costs.draft_length + 1):
        yield lane, "draft", costs.draft / costs.draft_length, str(number)
    yield target, *_target_pass(costs, drafter)
    yield HOST, "host", costs.host, "host"


def _target_pass(costs: Round, drafter: str | None) -> tuple[str, float, str]:
    if not costs.draft_length:
        return "decode", costs.verify, "1 token"
    # prompt lookup drafts what it finds, and each round is verified at the width of its own draft
    at_most = "" if drafter else "at most "
    return "verify", costs.verify, f"verify {at_most}{costs.draft_length + 1} tokens"


def plain_bars(costs: Round) -> list[Bar]:
    """Plain decoding of as many tokens as the round is expected to bring, the last one cut where need be."""
    whole = int(costs.tokens)
    shares = [1.0] * whole + ([costs.tokens - whole] if costs.tokens > whole else [])
    return [
        Bar(
            lane=PLAIN,
            phase="plain",
            start=i * costs.plain,
            seconds=share * costs.plain,
            text="1 token" if share == 1.0 else f"{share:.2f}",
        )
        for i, share in enumerate(shares)
    ]


def timeline_chart(
    costs: Round, *, target: str, drafter: str | None = None, title: str = "a round", subtitle: str = ""
) -> Figure:
    """Draw the round: a lane for each unit, one for the host if it takes time, plain decoding of as many tokens below.

    Args:
        target, drafter: units as they are to be shown; None where the host drafts (prompt lookup) or nothing does.
        title: what the round is of; tokens and time stand before it.
    """
    scale, unit = next((times, name) for least, times, name in _UNITS if costs.seconds >= least)
    brought = f"{costs.tokens:.2f} tokens" if costs.draft_length else "1 token"
    figure = style.new_figure(f"{brought} in {style.quantity(costs.seconds, 's')}: {title}", subtitle)
    axes = figure.add_subplot()
    style.dress(axes, x=f"time since the round began ({unit})")
    bars = bars_of(costs, target=target, drafter=drafter) + (plain_bars(costs) if costs.draft_length else [])
    lanes = list(dict.fromkeys([target, drafter or target, *(bar.lane for bar in bars)]))
    end = max(bar.start + bar.seconds for bar in bars)
    patches = [_draw(axes, bar, lanes.index(bar.lane), scale, edge=bar.seconds > _THIN * end) for bar in bars]
    line = axes.axvline(costs.seconds * scale, color=style.INK, linewidth=1.0, linestyle=(0, (4, 3)), zorder=1.5)
    _dress_lanes(axes, lanes, end * scale)
    told: list[tuple[Artist, str]] = [(Patch(facecolor=_COLOURS[phase]), text) for phase, text in _told(bars)]
    style.legend_below(figure, [*told, (line, "end of the round")])
    _write(figure, axes, bars, patches)
    return figure


def _draw(axes: Axes, bar: Bar, lane: int, scale: float, *, edge: bool) -> Rectangle:
    patch = Rectangle(
        (bar.start * scale, lane - _HEIGHT / 2),
        bar.seconds * scale,
        _HEIGHT,
        facecolor=_COLOURS[bar.phase],
        edgecolor="white" if edge else _COLOURS[bar.phase],
        linewidth=1.0,
        zorder=2,
    )
    axes.add_patch(patch)
    return patch


def _dress_lanes(axes: Axes, lanes: Sequence[str], end: float) -> None:
    axes.set_xlim(0.0, 1.02 * end)
    axes.set_ylim(len(lanes) - 0.4, -0.6)  # the first lane on top
    axes.set_yticks(range(len(lanes)), labels=[style.plain(lane, 16, lines=3) for lane in lanes], fontsize=11)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)


def _told(bars: Sequence[Bar]) -> Iterator[tuple[str, str]]:
    """Each phase with its time, which a thin bar does not show."""
    for phase in dict.fromkeys(bar.phase for bar in bars):
        parts = [bar.seconds for bar in bars if bar.phase == phase]
        total = style.quantity(sum(parts), "s")
        each = f"{len(parts)} x {style.quantity(parts[0], 's')} = " if phase == "draft" and len(parts) > 1 else ""
        yield phase, f"{_NAMES.get(phase, phase)}: {each}{total}"


def _write(figure: Figure, axes: Axes, bars: Sequence[Bar], patches: Sequence[Rectangle]) -> None:
    """A text on each bar that has room for it; drafts are numbered all or not at all."""
    figure.draw_without_rendering()
    cramped: list[tuple[str, Text]] = []
    written: list[tuple[str, Text]] = []
    for bar, patch in zip(bars, patches, strict=True):
        x, y = patch.get_x() + patch.get_width() / 2, patch.get_y() + _HEIGHT / 2
        text = axes.text(x, y, bar.text, ha="center", va="center", fontsize=9, color=style.ink_on(_COLOURS[bar.phase]))
        roomy = fits(text.get_window_extent().padded(2), patch.get_window_extent())
        (written if roomy else cramped).append((bar.phase, text))
    if any(phase == "draft" for phase, _ in cramped):
        cramped += [entry for entry in written if entry[0] == "draft"]
    for _, text in cramped:
        text.remove()
