"""The compiler as a child: what it refuses can be read and repeated, and it does not outlive us."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from paceline.compile.emit_vmfb import emit_vmfb, flags
from paceline.compile.tools import Children, first_diagnostic
from paceline.errors import CompileFailed
from paceline.targets import load_soc

CPU, GPU = load_soc("x86-swiftshader").units
SLEEP = (sys.executable, "-c", "import time; time.sleep(600)")


def test_both_kinds_of_unit_take_linalg() -> None:
    assert flags(CPU)[:2] == ("--iree-input-type=none", "--iree-hal-target-device=local")
    assert flags(GPU)[:2] == ("--iree-input-type=none", "--iree-hal-target-device=vulkan")


def test_a_refusal_keeps_its_first_error_and_a_command_that_repeats_it(tmp_path: Path) -> None:
    pytest.importorskip("iree.compiler")
    source = tmp_path / "bad.mlir"
    source.write_text("func.func @f() { return %nothing : f32 }\n")
    with pytest.raises(CompileFailed, match="iree-compile failed") as caught:
        emit_vmfb(source, CPU, tmp_path / "out.vmfb", Children())
    assert caught.value.tool == "iree-compile"
    assert "error: use of undeclared SSA value" in caught.value.diagnostic
    again = subprocess.run(caught.value.command, capture_output=True, text=True)
    assert again.returncode
    assert caught.value.diagnostic in again.stderr
    assert not (tmp_path / "out.vmfb").exists()


def test_a_child_that_says_nothing_gives_its_exit_code() -> None:
    with pytest.raises(CompileFailed, match="exit code 3"):
        Children().run((sys.executable, "-c", "raise SystemExit(3)"), tool="python")


def test_stop_ends_children_and_lets_none_start() -> None:
    children = Children()
    outcome: list[CompileFailed] = []

    def work() -> None:
        try:
            children.run(SLEEP, tool="sleeper")
        except CompileFailed as error:
            outcome.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    while not children._running:
        time.sleep(0.01)
    children.stop()
    thread.join(30)
    assert not thread.is_alive()
    assert len(outcome) == 1
    with pytest.raises(CompileFailed, match="interrupted"):
        children.run(SLEEP, tool="sleeper")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", ""),
        ("warning: slow\nx.mlir:3:4: error: bad op\nx.mlir:9:9: error: worse\n", "x.mlir:3:4: error: bad op"),
        ("Traceback (most recent call last):\n  File\nValueError: no\n", "ValueError: no"),
        ("something else\nmore\n", "something else"),
    ],
)
def test_the_first_diagnostic(text: str, line: str) -> None:
    assert first_diagnostic(text) == line
