"""``paceline import``: what it prints, and its exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import typer
from typer.testing import CliRunner, Result

from paceline.cli import guarded
from paceline.commands import import_


def run(*arguments: str) -> Result:
    app = typer.Typer(rich_markup_mode=None)
    app.command("import")(guarded(import_.page))
    return CliRunner().invoke(app, arguments)


def test_json_is_the_package(tiny_checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    result = run(str(tiny_checkpoint("qwen3")), "-o", str(tmp_path / "package"), "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == json.loads((tmp_path / "package" / "package.json").read_text())


def test_people_read_sizes(tiny_checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    result = run(str(tiny_checkpoint("llama")), "-o", str(tmp_path / "package"))
    assert result.exit_code == 0
    assert "2 layers, hidden 64, 4 heads over 2 key-value heads of size 16" in result.stdout


def test_failures_are_a_sentence_and_exit_code_1(tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF")
    result = run(str(tmp_path / "broken.gguf"), "-o", str(tmp_path / "package"))
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ") and len(result.stderr.splitlines()) == 1


def test_the_output_must_be_named() -> None:
    assert run("model.gguf").exit_code == 2
