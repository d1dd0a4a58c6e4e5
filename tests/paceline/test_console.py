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


@pytest.mark.parametrize("width", [40, 20, 3])
def test_where_they_do_not_fit_each_cell_has_a_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    print_table("Two", COLUMNS, [*ROWS, ("npu", "", "a\nb", "")])
    assert capsys.readouterr().out == (
        "Two\n"
        "target          cpu\npredicted ms    0.919\ntokens a round  1.75 (-19.4%)\ndecision        chosen, best\n\n"
        "target          gpu\npredicted ms    12.5\ntokens a round  translation\ndecision        summarization\n\n"
        "target          npu\ntokens a round  a\n                b\n\n"
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
