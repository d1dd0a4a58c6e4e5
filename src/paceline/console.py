"""What the pages print with: one JSON document, progress on stderr, tables on stdout."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

Report = Callable[[str, int, int], None]
"""``report(what, done, total)``: how far a long step is; the unit is the caller's."""
_MOST_LETTERS = 16  # of a word in a table that is never broken


def quiet(what: str, done: int, total: int) -> None:
    """A ``Report`` that says nothing."""


def print_json(value: object, *, line: bool = False) -> None:
    """Print one value as an indented JSON document on stdout, or as one ``line``, written at once."""
    from paceline.encoding import encode_json, json_for

    print(json_for(sys.stdout.encoding, encode_json(value, indent=None if line else 2)), flush=line)


def discard_stdout() -> None:
    """Let what is still to be written vanish: Python flushes once more at exit, which must not fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def reader_is_gone() -> bool:
    """Whether stdout is a pipe that nobody reads any more: for those who have nothing to write yet."""
    if not hasattr(select, "poll"):
        return False
    watch = select.poll()
    try:
        watch.register(sys.stdout.fileno(), 0)
    except (OSError, ValueError):  # no file behind it
        return False
    return any(event & select.POLLERR for _, event in watch.poll(0))


def note(text: str) -> None:
    """Print a line for people on stderr, where it does not mix with results."""
    print(text, file=sys.stderr, flush=True)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table on stdout; cells are plain text, wrapped at the terminal's width between words.

    Where the words of a row do not fit beside each other, there is a line for each cell instead, however long.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    console.print(Text(title, style="italic"))
    layout = _layout(list(zip(columns, *rows, strict=True)), console.width)
    if layout is None:
        _print_cells(columns, rows)
        return
    padding, widths = layout
    table = Table(header_style="bold", padding=(0, padding))
    for column, width in zip(columns, widths, strict=True):
        table.add_column(column, overflow="fold", width=width)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)


def _print_cells(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A line for each cell that says something, and an empty one after each row."""
    indent = max(map(len, columns)) + 2
    for row in rows:
        for column, cell in zip(columns, row, strict=True):
            if cell:
                print(f"{column:<{indent}}" + cell.replace("\n", "\n" + " " * indent))
        print()


def _layout(columns: Sequence[Sequence[str]], room: int) -> tuple[int, Sequence[int]] | None:
    """Padding, and the width of each column in which no word is broken; None where that does not fit."""
    least, whole = [_longest_word(texts) for texts in columns], [_longest_line(texts) for texts in columns]
    for padding in (1, 0):
        spare = room - sum(least) - (2 * padding + 1) * len(columns) - 1
        if spare >= 0:
            # columns that need little to stay on one line come first
            for column in sorted(range(len(columns)), key=lambda column: whole[column] - least[column]):
                more = max(0, min(spare, whole[column] - least[column]))
                least[column], spare = least[column] + more, spare - more
            return padding, least
    return None


def _longest_line(texts: Sequence[str]) -> int:
    from rich.cells import cell_len

    return max(cell_len(line) for text in texts for line in text.split("\n"))


def _longest_word(texts: Sequence[str]) -> int:
    """Its width on a terminal; a word of more than ``_MOST_LETTERS`` may be broken."""
    from rich.cells import cell_len

    return min(_MOST_LETTERS, max((cell_len(word) for text in texts for word in text.split()), default=0))


@contextmanager
def progress(*, enabled: bool = True) -> Iterator[Report]:
    """Yield a ``Report`` that draws bars on stderr while the body runs; silent where stderr is no terminal."""
    if not (enabled and sys.stderr.isatty()):
        yield quiet
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        yield _reporter(bars)


def _reporter(bars: Progress) -> Report:
    tasks: dict[str, TaskID] = {}

    def report(what: str, done: int, total: int) -> None:
        if what not in tasks:
            tasks[what] = bars.add_task(what, total=total)
        bars.update(tasks[what], completed=done, total=total)

    return report
