"""The shell around the pages: what is listed, how errors end, how fast help is at hand."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from paceline.cli import COMMANDS, guarded
from paceline.errors import BundleError, Terminated, UnknownSoc


def paceline(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "paceline", *args], capture_output=True, text=True, check=False)


def test_help_lists_every_command() -> None:
    said = paceline("--help")
    assert said.returncode == 0
    assert all(f" {name} " in said.stdout for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_page_has_help_with_an_example(command: str) -> None:
    said = paceline(command, "--help")
    assert said.returncode == 0, said.stderr
    assert f"paceline {command}" in said.stdout and "--json" in said.stdout
    assert f"$ paceline {command}" in said.stdout


def test_help_loads_nothing_heavy() -> None:
    code = "import sys, paceline.cli as c; c._register(); print(sorted({m.split('.')[0] for m in sys.modules}))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for name in ("torch", "numpy", "iree", "tokenizers", "transformers", "matplotlib"):
        assert f"'{name}'" not in said


@pytest.mark.parametrize("args", [["nonesuch"], ["run"], ["run", "x", "y", "--temperature", "warm"], ["plan", "--odd"]])
def test_a_wrong_command_line_is_exit_code_2_without_a_traceback(args: list[str]) -> None:
    said = paceline(*args)
    assert said.returncode == 2
    assert "Traceback" not in said.stderr


@pytest.mark.parametrize("command", ["profile", "plan", "run", "bench"])
def test_a_folder_that_is_no_bundle_is_exit_code_1(command: str, tmp_path: Path) -> None:
    more = {"run": ["hello"], "bench": ["--prompts", str(Path(__file__))]}.get(command, [])
    said = paceline(command, str(tmp_path), *more)
    assert said.returncode == 1
    assert said.stderr.startswith("error: ") and "is not a bundle" in said.stderr
    assert said.stdout == ""


def with_closed(streams: str, *args: object) -> subprocess.CompletedProcess[str]:
    command = ["sh", "-c", f'"$@" {streams}', "sh", sys.executable, "-m", "paceline", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- 2>&-"])
def test_closed_streams_end_nothing(closed: str) -> None:
    said = with_closed(closed, "targets")
    assert (said.returncode, said.stderr) == (0, "")


@pytest.mark.parametrize("closed", [">&-", "<&- >&-"])
@pytest.mark.parametrize("args", [["--version"], ["--help"], ["targets"], ["targets", "--json"]])
def test_a_closed_stdout_is_one_sentence(closed: str, args: list[str]) -> None:
    said = with_closed(closed, *args)
    assert (said.returncode, said.stderr) == (1, "error: standard output is closed\n")
    assert with_closed(f"{closed} 2>&-", *args).returncode == 1


def test_a_closed_stdout_is_no_file_either() -> None:
    whatif = ("whatif", "--soc", "imx95", "--target", "llama-3.2-3b", "--csv", "/dev/stdout")
    said = with_closed(">&-", *whatif)
    assert said.returncode == 1 and "cannot write /dev/stdout" in said.stderr and "Traceback" not in said.stderr


@pytest.mark.parametrize("args", [["--version"], ["targets"], ["targets", "--json"]])
def test_a_full_disk_under_stdout_is_one_sentence(args: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "paceline", *args]
        said = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (said.returncode, said.stderr) == (1, "error: No space left on device\n")


def test_a_name_that_is_no_text_is_shown(tmp_path: Path) -> None:
    said = paceline("targets", "show", "\udcff")
    assert said.returncode == 2
    assert "unknown SoC" in said.stderr


def raising(error: BaseException) -> Callable[[], None]:
    def page() -> None:
        raise error

    return page


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (BundleError("the bundle is cut"), 1, "error: the bundle is cut"),
        (UnknownSoc("x", ["a", "b"]), 2, "error: unknown SoC 'x'; known: a, b"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (Terminated(), 143, "interrupted"),
        (MemoryError(), 1, "error: this machine is out of memory"),
        (ModuleNotFoundError("no torch", name="torch"), 1, "pip install 'paceline[compile]'"),
        (
            ModuleNotFoundError("none", name="matplotlib"),
            1,
            "needs matplotlib, which is not installed: pip install 'pacel",
        ),
    ],
)
def test_errors_become_sentences_and_exit_codes(
    error: BaseException, code: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as left:
        guarded(raising(error))()
    assert left.value.exit_code == code
    assert text in capsys.readouterr().err


def test_an_unknown_module_that_is_ours_is_not_hidden() -> None:
    with pytest.raises(ModuleNotFoundError):
        guarded(raising(ModuleNotFoundError("a bug", name="paceline.nonesuch")))()
