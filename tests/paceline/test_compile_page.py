"""``paceline compile`` as a user calls it; what it builds is tested with ``compile/build.py``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner, Result

import paceline.compile
from paceline import cli
from paceline.partition import Bundle, Failure, read_bundle
from paceline.runtime import vulkan_driver

FAILURE = Failure(
    role="drafter", precision="int8", unit="gpu", reason="iree-compile failed: no bytes", command="repeat"
)
Compile = Callable[..., Result]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, null_bundle: Callable[..., Path]) -> dict[str, Any]:
    """What the page asked ``build`` for; it answers with a bundle whose drafter failed on the GPU."""
    options: dict[str, Any] = {}
    bundle = read_bundle(null_bundle(failures=(FAILURE,)))

    def build(**given: Any) -> Bundle:
        options.update(given)
        return bundle

    monkeypatch.setattr(paceline.compile, "build", build)
    monkeypatch.setattr(vulkan_driver, "select_driver", lambda: pytest.fail("a driver was looked for"))
    return options


def run(*arguments: object) -> Result:
    cli._register()
    return CliRunner().invoke(cli.app, ["compile", *map(str, arguments)])


def test_options_reach_the_build(asked: dict[str, Any], tmp_path: Path) -> None:
    models = ("--target", tmp_path / "large@f16", "--drafter", tmp_path / "small")
    result = run(
        "--soc", "rk3588", *models, "-o", "out", "--widths", "1,4", "--unit", "cpu", "--context", 64, "--force",
        "--draft-vocabulary", 32000,
    )  # fmt: skip
    assert result.exit_code == 0
    assert (asked["target"], asked["target_precision"]) == (tmp_path / "large", "f16")
    assert (asked["drafter"], asked["drafter_precision"]) == (tmp_path / "small", "int8")
    assert (asked["soc"].name, asked["widths"], asked["units"], asked["context"]) == ("rk3588", (1, 4), ("cpu",), 64)
    assert (asked["replace"], asked["kernels"], asked["draft_vocabulary"]) == (True, True, 32000)


def test_programs_can_be_traced_where_there_are_kernels(asked: dict[str, Any], tmp_path: Path) -> None:
    assert run("--soc", "rpi5", "--target", tmp_path, "-o", "out", "--no-kernels").exit_code == 0
    assert asked["kernels"] is False


def test_a_folder_may_have_an_at_in_its_name(asked: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "me@home").mkdir()
    run("--soc", "rpi5", "--target", tmp_path / "me@home", "-o", "out")
    assert (asked["target"], asked["target_precision"], asked["drafter"]) == (tmp_path / "me@home", "f32", None)


@pytest.mark.usefixtures("asked")
def test_what_could_not_be_made_is_said_with_a_command_that_repeats_it() -> None:
    result = run("--soc", "rpi5", "--target", "t", "-o", "out")
    assert "target null f32: cpu (traced), gpu (traced)" in result.stdout
    assert "drafter int8 not on gpu: iree-compile failed: no bytes" in result.stderr
    assert "repeat it with: repeat" in result.stderr


def test_what_has_kernels_and_what_is_slower_without(
    monkeypatch: pytest.MonkeyPatch, null_bundle: Callable[..., Path]
) -> None:
    plain = read_bundle(null_bundle())
    target = msgspec.structs.replace(plain.target, kernels={"cpu": "aarch64-neon"})
    bundle = msgspec.structs.replace(plain, models=(target, *plain.models[1:]))
    monkeypatch.setattr(paceline.compile, "build", lambda **_: bundle)
    request = ("--soc", "rpi5", "--target", "t", "-o", "out")
    result = run(*request)
    assert "target null f32: cpu (aarch64-neon), gpu (traced)" in result.stdout
    assert result.stderr.splitlines() == [
        "  drafter on cpu is traced, which is slower: no kernels for its shape or CPU"
    ]
    assert not run(*request, "--no-kernels").stderr


@pytest.mark.usefixtures("asked")
def test_json_is_the_manifest() -> None:
    document = json.loads(run("--soc", "rpi5", "--target", "t", "-o", "out", "--json").stdout)
    assert document["failures"][0]["reason"] == FAILURE.reason


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        ({"--soc": "zx81"}, 2, "unknown SoC 'zx81'; known: imx95"),
        ({"--widths": "1,two"}, 2, "--widths '1,two' is no list of numbers"),
        ({"--target": "nowhere"}, 1, "nowhere is not a model package"),
        ({"--jobs": "0"}, 2, "jobs"),
        ({"--draft-vocabulary": "-1"}, 2, "draft-vocabulary"),
    ],
)
def test_one_sentence_for_what_cannot_be(tmp_path: Path, options: dict[str, str], code: int, sentence: str) -> None:
    given = {"--soc": "rpi5", "--target": "t", "-o": str(tmp_path / "out"), **options}
    result = run(*(part for pair in given.items() for part in pair))
    assert result.exit_code == code
    assert sentence in result.stderr
    assert not (tmp_path / "out").exists()
