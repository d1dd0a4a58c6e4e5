"""Charts as files: whole, repeatable, or a sentence; and no matplotlib before there is one."""

from __future__ import annotations

import errno
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from paceline.errors import OutputError, UsageError
from paceline.plots.save import check_plot, save_plot
from tests.paceline.plots.charts import CHARTS


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
