"""Where a chart goes: PNG or SVG by the name of the file, whole or not at all."""

from __future__ import annotations

import importlib
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from paceline.errors import UsageError
from paceline.files import check_place, write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "svg")


def check_plot(path: Path) -> Path:
    """Return ``path`` if a chart can be written there, as far as that shows before it is drawn.

    For pages that measure for minutes first.

    Raises:
        UsageError: the name does not end in .png or .svg.
        OutputError: as ``check_place``.
        ModuleNotFoundError: matplotlib is not installed; the CLI says how to install it.
    """
    if _format(path) not in FORMATS:
        raise UsageError(f"a plot is written as .png or .svg; {path.name!r} ends in {path.suffix or 'neither'}")
    importlib.import_module("matplotlib")
    return check_place(path)


def save_plot(figure: Figure, path: Path) -> None:
    """Draw ``figure`` and write it; the same figure gives the same bytes.

    Raises:
        UsageError, ModuleNotFoundError: as ``check_plot``.
        OutputError: the place cannot be written, or the disk is full.
    """
    import matplotlib

    kind = _format(check_plot(path))
    drawn = BytesIO()
    # SVG only: a date, and ids that are random without a salt
    with matplotlib.rc_context({"svg.hashsalt": "paceline"}):
        figure.savefig(drawn, format=kind, metadata={"Date": None} if kind == "svg" else None)
    write_bytes(path, drawn.getvalue())


def _format(path: Path) -> str:
    return path.suffix.lower().removeprefix(".")
