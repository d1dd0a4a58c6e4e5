"""Prompt files in three spellings, and what is wrong with one."""

from __future__ import annotations

from pathlib import Path

import pytest

from paceline.errors import PromptError
from paceline.runtime.prompts import BUILT_IN, Prompt, read_prompts

LINES = """\
{"prompt": "Hello", "category": "greeting", "question_id": 3}

{"turns": ["First", "Second"]}
  plain text, as it is
"""


def test_text_and_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text(LINES)
    assert read_prompts(path) == (
        Prompt("greeting", "Hello"),
        Prompt("own", "First"),
        Prompt("own", "plain text, as it is"),
    )


def test_marks_of_editors_and_odd_ends_of_lines(tmp_path: Path) -> None:
    """JSON may hold characters, bare, that other texts end lines with."""
    path = tmp_path / "prompts.jsonl"
    path.write_bytes('\ufeff{"prompt": "one\u2028line", "category": ""}\r\n[INST] text [/INST]\r\n'.encode())
    assert read_prompts(path) == (Prompt("own", "one\u2028line"), Prompt("own", "[INST] text [/INST]"))


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "holds no prompt"),
        (b"fine\n{broken\n", "line 2, is no prompt"),
        (b'{"turns": "one"}', "line 1, is no prompt"),
        (b'{"category": "empty"}', "line 1, has neither 'prompt' nor 'turns'"),
        (b"fine\n\xff\xfe", r"is not text in UTF-8 \(byte 5\); save it as that"),
        (b'{"prompt":\n"on two lines"}', "line 1, is no prompt: .*; write one JSON object a line"),
        (b'[{"prompt": "Hello"}]', "is one JSON list; write each of its prompts on a line of its own"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, content: bytes, found: str) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes(content)
    with pytest.raises(PromptError, match=found):
        read_prompts(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(PromptError, match=r"cannot read the prompts in .*nowhere\.txt: No such file or directory$"):
        read_prompts(tmp_path / "nowhere.txt")


def test_six_prompts_are_built_in() -> None:
    assert len(BUILT_IN) == len({prompt.task for prompt in BUILT_IN}) == 6
    assert all(prompt.text for prompt in BUILT_IN)
