"""The roofline: roofs, and passes where they were predicted and measured."""

from __future__ import annotations

from paceline.plots import style
from paceline.plots.roofline import Pass, Unit, roofline_chart
from tests.paceline.plots.charts import legend, points


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
