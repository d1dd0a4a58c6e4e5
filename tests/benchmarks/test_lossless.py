"""The log of a long check: taken up again, damaged, of other options; differences named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from lossless import Checked, Settings, check, read_log, summary
from paceline.partition import TokenIds
from paceline.runtime import NullDevice, load
from paceline.runtime.prompts import Prompt

SETTINGS = Settings(bundle="b", mapping="m", draft_lengths=(3,), tokens=12, prompts=2)


@pytest.fixture
def checked(null_bundle: Callable[..., Path]) -> Callable[[str], Checked]:
    folder = null_bundle(tokens=TokenIds(bos=0))

    def run(text: str) -> Checked:
        with load(folder, drafter="model", device=NullDevice(agreement=0.9)) as model:
            return check(model, 0, Prompt("qa", text), SETTINGS)

    return run


def test_log_is_taken_up_again_without_its_cut_line(checked: Callable[[str], Checked], tmp_path: Path) -> None:
    log, one = tmp_path / "log.jsonl", checked("hello")
    assert read_log(log, SETTINGS) == []
    line = msgspec.json.encode(one) + b"\n"
    log.write_bytes(log.read_bytes() + line + line[:20])
    assert read_log(log, SETTINGS) == [one]
    assert log.read_bytes().endswith(line)
    with pytest.raises(SystemExit, match="give another --log"):
        read_log(log, msgspec.structs.replace(SETTINGS, tokens=13))


def test_long_prompts_are_cut_and_counted(checked: Callable[[str], Checked]) -> None:
    short, long = checked("hello"), checked("hello " * 200)
    assert (short.cut, long.cut) == (False, True)
    assert "2/2" in summary([short, long]) and "1 prompts were cut" in summary([short, long])


@pytest.mark.usefixtures("wrong_when_wide")
def test_differences_are_named(checked: Callable[[str], Checked]) -> None:
    told = summary([checked("hello")])
    assert "0/1" in told and "draft length 3: prompt 0 (qa)" in told
