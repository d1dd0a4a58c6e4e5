"""Tables on narrow terminals."""

from __future__ import annotations

import pytest

from paceline.console import print_table

COLUMNS = ("target", "predicted ms", "tokens a round", "decision")
ROWS = (("cpu", "0.919", "1.75 (-19.4%)", "chosen, best"), ("gpu", "12.5", "translation", "summarization"))


def printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(width))
    print_table("What was measured on this machine", COLUMNS, ROWS)
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= width for line in lines)
    return lines


@pytest.mark.parametrize("width", [100, 60, 50])
def test_words_stay_whole_where_they_fit(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    text = "\n".join(printed(capsys, monkeypatch, width))
    assert text.startswith("What was measured on this machine\n")
    for word in ("predicted", "translation", "(-19.4%)", "summarization"):
        assert word in text


def test_where_they_do_not_fit_nothing_is_lost(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    letters = "".join(part for line in printed(capsys, monkeypatch, 30) for part in line if part.isalnum())
    assert sorted(c for c in "".join((*COLUMNS, *ROWS[0], *ROWS[1])) if c.isalnum()) == sorted(
        letters.removeprefix("Whatwasmeasuredonthismachine")
    )


def test_a_table_that_just_fits_keeps_its_right_edge(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    columns = ("drafter", "task", "ahead", "alpha", "kept", "tokens a round", "Omega", "i.i.d.")
    row = ("ngram", "summarization", "8", "no draft", "118 of 120", "3.50 +- 1.23", "6.00", "4.84 (-19.4%)")
    print_table("Drafts", columns, [row])
    printed = capsys.readouterr().out
    assert all(word in printed for text in (*columns, *row) for word in text.split())
    assert len({len(line) for line in printed.splitlines()[1:]}) == 1
