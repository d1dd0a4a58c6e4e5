"""The page of SoCs: a list, one with its sources, and sentences for what it does not know."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
import typer
from typer.testing import CliRunner, Result

from paceline.cli import guarded
from paceline.commands import targets
from paceline.runtime import vulkan_driver
from paceline.targets import Soc, known_socs, load_soc


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vulkan_driver, "select_driver", lambda: None)


def run(*arguments: str) -> Result:
    app = typer.Typer(rich_markup_mode=None)
    app.command("targets")(guarded(targets.page))
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})


def test_the_list_has_every_soc() -> None:
    result = run()
    assert result.exit_code == 0
    assert all(name in result.stdout for name in known_socs())


def test_the_list_as_json_is_one_document_of_socs() -> None:
    found = json.loads(run("--json").stdout)
    assert [entry["name"] for entry in found] == list(known_socs())


@pytest.mark.parametrize("name", known_socs())
def test_one_soc_shows_every_source(name: str) -> None:
    result = run("show", name)
    assert result.exit_code == 0
    words = "".join(result.stdout.replace("│", " ").split())
    soc = load_soc(name)
    for figure in (soc.memory, *(unit.bandwidth for unit in soc.units)):
        assert "".join(figure.source.split())[:40] in words


def test_one_soc_as_json_is_the_value_itself() -> None:
    found = msgspec.json.decode(run("show", "imx95", "--json").stdout, type=Soc)
    assert found == load_soc("imx95")


def test_a_file_is_shown_like_a_name(tmp_path: Path) -> None:
    import paceline.targets

    source = Path(paceline.targets.__path__[0]) / "rpi5.toml"
    file = tmp_path / "mine.toml"
    file.write_text(source.read_text().replace('name = "rpi5"', 'name = "mine"'))
    assert "mine: Raspberry Pi 5" in run("show", str(file)).stdout


def test_host_shows_the_driver_that_serves_its_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = vulkan_driver.Driver(name="SwiftShader", icd=Path("/x.json"))
    monkeypatch.setattr(vulkan_driver, "select_driver", lambda: driver)
    assert "gpu: SwiftShader" in run("show", "host").stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["show", "nosuch"], "unknown SoC 'nosuch'; known: imx95"),
        (["show"], "needs a name"),
        (["remove", "imx95"], "unknown action 'remove'"),
    ],
)
def test_mistakes_are_sentences(arguments: list[str], words: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2 and result.stdout == ""
    assert result.stderr.startswith("error: ") and words in result.stderr


@pytest.mark.parametrize(
    ("value", "text"), [(86.4e9, "86.4 Gop/s"), (2e12, "2 Top/s"), (5e-6, "5 uop/s"), (999.0, "999 op/s")]
)
def test_values_have_a_prefix(value: float, text: str) -> None:
    from paceline.targets import Figure

    assert targets._text(Figure(value=value, source="x"), "op/s") == text
