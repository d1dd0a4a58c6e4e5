"""``paceline acceptance`` and ``paceline validate`` as a user calls them, on programs that compute nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner, Result

from paceline.commands.validate import _decision
from paceline.errors import DeviceUnavailable
from paceline.partition import Mapping
from paceline.runtime import acceptance, validate
from paceline.runtime.null_device import NullDevice
from paceline.runtime.validation import Compared, Rival, Validation
from paceline.targets import ProcessingUnit

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """A null device has nothing to warm up, and one text tells what it takes."""
    for module in ("measure", "case"):
        monkeypatch.setattr(f"paceline.runtime.{module}.WARM_SECONDS", 0.001)
    for module in ("measure", "measure_contention", "case", "validate"):
        monkeypatch.setattr(f"paceline.runtime.{module}.BURST_SECONDS", 0.02)
    monkeypatch.setattr("paceline.runtime.run_off.MOST", 4)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Calls the command line with a null device as its CPU, and no GPU."""
    from paceline.cli import _register, app

    def opened(wanted: ProcessingUnit, *, cores: int | None = None) -> NullDevice:
        if wanted.kind == "gpu":
            raise DeviceUnavailable("no Vulkan driver was found")
        return NullDevice(unit=wanted, agreement=0.9)

    for function in (acceptance.measure_acceptance, validate.validate):
        monkeypatch.setattr(function, "__kwdefaults__", {**(function.__kwdefaults__ or {}), "opened": opened})
    if not app.registered_commands:
        _register()
    monkeypatch.setenv("COLUMNS", "150")

    def call(*words: object) -> Result:
        return CliRunner().invoke(app, [str(word) for word in words])

    return call


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.jsonl"
    lines = [{"turns": ["abc"], "category": "ride"}, {"turns": ["defg"], "category": "turn"}, {"prompt": "h"}]
    path.write_text("\n".join(json.dumps(line) for line in lines))
    return path


def test_acceptance_goes_into_the_bundle(run: Run, null_bundle: Callable[..., Path], prompts: Path) -> None:
    folder = null_bundle()
    result = run("acceptance", folder, "--prompts", prompts, "--tokens", 24, "--live", 3)
    assert result.exit_code == 0, result.output
    assert "live speculation kept the same drafts in 6 of 6 texts" in result.output
    assert "i.i.d." in result.output and "+-" in result.output
    found = json.loads((folder / "acceptance.json").read_text())
    assert {entry["task"] for entry in found["histograms"]} == {"ride", "turn", "own"}


def test_acceptance_as_json_and_elsewhere(run: Run, null_bundle: Callable[..., Path], tmp_path: Path) -> None:
    place = tmp_path / "mine.json"
    result = run("acceptance", null_bundle(), "--tokens", 8, "--limit", 1, "--json", "-o", place)
    assert json.loads(result.stdout) == json.loads(place.read_text())


def test_replays_that_do_not_hold_are_an_error(
    run: Run, null_bundle: Callable[..., Path], prompts: Path, wrong_when_wide: None
) -> None:
    result = run("acceptance", null_bundle(widths=(1, 4)), "--prompts", prompts, "--live", 3)
    assert result.exit_code == 1 and "kept other drafts than the replay" in result.output


def test_validate_says_what_was_lost(run: Run, null_bundle: Callable[..., Path], prompts: Path, tmp_path: Path) -> None:
    place = tmp_path / "validation.json"
    words = ("--prompts", prompts, "--tokens", 16, "--repeats", 2, "--draft-lengths", "1,2")
    result = run("validate", null_bundle(), *words, "-o", place)
    assert result.exit_code == 0, result.output
    for said in (
        "error of the prediction: median",
        "what was measured is sure to",
        "decision: target=cpu",
        "times as quick",
        "not run: target=gpu: target on gpu: no Vulkan",
    ):
        assert said in result.output
    found = msgspec.json.decode(place.read_bytes(), type=Validation)
    assert len(found.rows) == 5 and found.prompts == 3
    assert found.rival is not None and found.rival.row != found.chosen


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--draft-lengths", "1,x"), "cannot read the draft lengths '1,x'"),
        (("--draft-lengths", ","), "cannot read the draft lengths ','"),
        (("--draft-lengths", "40"), "draft length 40 cannot be run"),
        (("--unit", "npu"), "has no unit 'npu'"),
        (("--prompts", "absent.jsonl"), "cannot read the prompts in absent.jsonl"),
        (("-o", "absent/v.json"), "there is no folder absent"),
        (("--tokens", "1"), "should be greater than or equal to 2"),
    ],
)
def test_odd_words_are_a_sentence(
    run: Run, null_bundle: Callable[..., Path], words: tuple[str, ...], sentence: str
) -> None:
    result = run("validate", null_bundle(), *words)
    assert result.exit_code in (1, 2) and sentence in result.output and "Traceback" not in result.output


def test_a_place_that_cannot_be_written_is_refused_before_anything_is_measured(
    run: Run, null_bundle: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acceptance, "measure_acceptance", None)
    result = run("acceptance", null_bundle(), "-o", tmp_path)
    assert result.exit_code == 1 and "it is a folder" in result.output


@pytest.mark.parametrize("page", ["acceptance", "validate"])
def test_the_bundle_itself_is_never_written_over(run: Run, null_bundle: Callable[..., Path], page: str) -> None:
    folder = null_bundle()
    before = (folder / "bundle.json").read_bytes()
    result = run(page, folder, "-o", folder / "bundle.json")
    assert result.exit_code == 1 and "bundle.json is a part of the bundle; choose another output" in result.output
    assert (folder / "bundle.json").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "said"),
    [(("acceptance",), "Drafts kept"), (("validate", "--repeats", 1, "--draft-lengths", 1), "decision:")],
)
def test_what_was_measured_is_shown_where_it_cannot_be_written(
    run: Run, null_bundle: Callable[..., Path], words: tuple[object, ...], said: str
) -> None:
    result = run(words[0], null_bundle(), *words[1:], "--limit", 1, "--tokens", 4, "-o", "/dev/full")
    assert result.exit_code == 1 and said in result.stdout and "the disk is full" in result.stderr


def test_prompts_that_do_not_fit_are_counted(run: Run, null_bundle: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text("abc\n" + "x" * 500)
    words = ("--repeats", 1, "--draft-lengths", 1, "--tokens", 4, "--prompts", tmp_path / "long.txt")
    assert "1 prompts are longer than the context" in run("validate", null_bundle(), *words).stderr


def test_texts_that_differ_are_an_error(
    run: Run, null_bundle: Callable[..., Path], prompts: Path, wrong_when_wide: None
) -> None:
    result = run("validate", null_bundle(), "--prompts", prompts, "--repeats", 1, "--draft-lengths", 3)
    assert result.exit_code == 1 and "speculative texts differ from the plain ones" in result.output


@pytest.mark.parametrize(
    ("speedup", "said"),
    [(1.25, "regret 25.0% +- 2.0%"), (0.9, "the best"), (None, "nothing else can run")],
)
def test_the_decision_says_how_sure_it_is(speedup: float | None, said: str) -> None:
    row = Compared(
        mapping=Mapping(target="cpu", drafter=None),
        draft_length=0,
        predicted=1.0,
        measured=1.0,
        low=1.0,
        high=1.0,
        tokens_per_round=1.0,
        draft=0.0,
        verify=1.0,
        host=0.0,
    )
    rival = None if speedup is None else Rival(row=1, speedup=speedup, standard_error=0.02, turns=5)
    found = Validation(
        bundle="one",
        prompts=1,
        tokens=2,
        repeats=1,
        margin=0.05,
        rows=(row, row),
        rejected=(),
        median_error=0.0,
        ninetieth_error=0.0,
        noise=None,
        chosen=0,
        rival=rival,
        best=0,
        regret=max(0.0, (speedup or 0.0) - 1.0),
    )
    lines = _decision(found).splitlines()
    assert lines[0].startswith("decision: target=cpu, plain; ") and lines[0].endswith(said)
    assert (lines[1:] == []) is (speedup is None)
