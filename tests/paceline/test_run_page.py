"""``paceline run`` as a user calls it, on the null device."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace
from typer.testing import CliRunner, Result

from paceline import cli
from paceline.commands.run_report import _expected
from paceline.costmodel import Acceptance
from paceline.documents import write_json
from paceline.partition import Mapping, TokenIds, choose, read_bundle
from paceline.partition.plan import Pacing
from paceline.runtime import NullDevice, Seconds, Stats, load_model
from paceline.runtime.record import Fallback

TEMPLATE = "{% for m in messages %}{{ m.role[0] }}:{{ m.content }}\n{% endfor %}a:"
MakeBundle = Callable[..., Path]
Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    cli._register()
    monkeypatch.setattr(load_model, "open_device", lambda unit, cores=None: NullDevice(unit=unit, agreement=0.8))

    def call(*arguments: object, typed: str = "") -> Result:
        return CliRunner().invoke(cli.app, ["run", *map(str, arguments)], input=typed)

    return call


def endless(null_bundle: MakeBundle, **options: object) -> Path:
    return null_bundle(tokens=TokenIds(bos=0), **options)


def test_streams_the_text_and_sums_up(run: Run, null_bundle: MakeBundle) -> None:
    folder = endless(null_bundle)
    plain = run(folder, "hello", "--max-tokens", 20)
    assert plain.exit_code == 0
    assert len(plain.stdout.rstrip("\n")) > 0
    assert "mapping      target=cpu" in plain.stderr
    assert "20 tokens" in plain.stderr
    drafted = run(folder, "hello", "--max-tokens", 20, "--draft-length", 3, "--compare")
    assert drafted.stdout == plain.stdout
    assert "drafts accepted (alpha " in drafted.stderr
    assert "over plain" in drafted.stderr
    assert "same tokens" in drafted.stderr


def test_a_profile_that_is_of_no_use_is_not_passed_over_in_silence(run: Run, null_bundle: MakeBundle) -> None:
    folder = endless(null_bundle)
    assert "plain speed not known" not in run(folder, "hello", "--max-tokens", 4).stderr
    (folder / "profile.json").write_text('{"schema": 2}')
    old = run(folder, "hello", "--max-tokens", 4)
    assert old.exit_code == 0
    assert f"plain speed not known: {folder / 'profile.json'}" in old.stderr and "paceline profile" in old.stderr


def planned(null_bundle: MakeBundle) -> Path:
    """A bundle with a plan that drafts 2 ahead and knows what 1 and 2 cost."""
    folder = endless(null_bundle)
    plan = choose(read_bundle(folder), profile=None, alpha=0.9)
    mapping, pacing = Mapping(target="cpu", drafter="cpu"), Pacing(round_seconds=(2.0, 2.4, 2.8), chain=(0.9, 0.8))
    write_json(folder / "plan.json", replace(plan, mapping=mapping, draft_length=2, pacing=pacing))
    return folder


def test_a_planned_length_adapts_unless_told_otherwise(run: Run, null_bundle: MakeBundle) -> None:
    folder = planned(null_bundle)
    adaptive, fixed, doubting = (
        run(folder, "hello", "--max-tokens", 40, *options)
        for options in ((), ("--no-adapt",), ("--min-confidence", "1"))
    )
    assert adaptive.stdout == fixed.stdout == doubting.stdout
    assert "draft length adaptive, mean " in adaptive.stderr
    assert "draft length 2, " in fixed.stderr
    mean = [float(result.stderr.split("adaptive, mean ")[1].split(",")[0]) for result in (adaptive, doubting)]
    assert 1 >= mean[1] < mean[0] <= 2


@pytest.mark.parametrize("options", [(), ("--no-adapt",)])
def test_a_prediction_says_what_the_drafts_that_this_text_kept_make_of_it(
    run: Run, null_bundle: MakeBundle, options: tuple[str, ...]
) -> None:
    folder = planned(null_bundle)
    report = json.loads(run(folder, "hello", "--max-tokens", 40, "--json", *options).stdout)
    counts = report["stats"]["acceptance"]["counts"]
    seconds = sum({"0": 2.0, "1": 2.4, "2": 2.8}[drafted] * sum(rounds) for drafted, rounds in counts.items())
    assert report["expected"] == pytest.approx(39 * 2.0 / seconds)
    said = run(folder, "hello", "--max-tokens", 40, *options).stderr
    assert f"x (roofline); {report['expected']:.2f}x by its times with the drafts that this text kept" in said


def test_the_round_that_ends_a_text_counts_in_what_is_expected() -> None:
    pacing = Pacing(round_seconds=(2.0, 2.4, 2.8), chain=(0.9, 0.8))
    kept = Acceptance(
        counts={2: (0, 1, 3)}
    )  # seven drafts kept and four tokens of the target's own, the last one the end
    stats = Stats(
        prompt_tokens=1, reused_tokens=0, tokens=11, drafted_tokens=7, rounds=4, draft_length=2, acceptance=kept,
        seconds=Seconds(prefill=0.0, draft=0.0, verify=0.0, accept=0.0, host=0.0), decode_seconds=1.0,
        tokens_per_second=1.0, time_to_first_token=1.0, total_seconds=2.0, stop_reason="eos",
    )  # fmt: skip
    assert _expected(pacing, stats) == pytest.approx(11 * 2.0 / (4 * 2.8))
    assert _expected(pacing, replace(stats, stop_reason="length")) == pytest.approx(10 * 2.0 / (4 * 2.8))
    lost = Fallback(role="drafter", lost="gpu", unit=None, reason="gone")
    assert _expected(pacing, replace(stats, fallback=(lost,))) is None and _expected(None, stats) is None


def test_of_what_no_plan_knows_nothing_is_expected(run: Run, null_bundle: MakeBundle) -> None:
    folder = planned(null_bundle)
    for options in (("--draft-length", 0), ("--draft-length", 3), ("--drafter", "ngram")):
        assert json.loads(run(folder, "hello", "--max-tokens", 20, "--json", *options).stdout)["expected"] is None


def test_json_and_stats_are_the_same_document(run: Run, null_bundle: MakeBundle, tmp_path: Path) -> None:
    file = tmp_path / "stats.json"
    folder = endless(null_bundle)
    result = run(folder, "hello", "--max-tokens", 9, "--drafter", "ngram", "--json", "--stats", file)
    document = json.loads(result.stdout)
    assert document == json.loads(file.read_text())
    assert document["mapping"] == "target=cpu,drafter=ngram"
    assert document["stats"]["tokens"] == len(document["ids"]) == 9
    assert document["stats"]["stop_reason"] == "length"


def test_a_place_for_statistics_is_checked_before_a_device_is_opened(
    run: Run, null_bundle: MakeBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(*arguments: object, **options: object) -> None:
        raise AssertionError("a device was opened")

    monkeypatch.setattr(load_model, "open_device", opened)
    folder = endless(null_bundle)
    manifest = (folder / "bundle.json").read_bytes()
    for place, code, sentence in (
        (tmp_path, 1, "it is a folder"),
        (tmp_path / "absent" / "x", 1, "there is no folder"),
        (folder / "bundle.json", 1, "is a part of the bundle"),
        (f"{tmp_path}/new/", 2, "is a folder's name; give a file's"),
    ):
        for words in (("hello",), ("--chat",), ("hello", "--on", "ssh://127.0.0.1:9")):
            said = run(folder, *words, "--stats", place)
            assert (said.exit_code, said.stdout) == (code, "") and sentence in said.stderr
    assert (folder / "bundle.json").read_bytes() == manifest


def test_prompt_from_standard_input(run: Run, null_bundle: MakeBundle) -> None:
    folder = endless(null_bundle)
    expected = run(folder, "hello", "--max-tokens", 5).stdout
    assert run(folder, "-", "--max-tokens", 5, typed="hello").stdout == expected
    assert run(folder, "--max-tokens", 5, typed="hello").stdout == expected
    empty = run(folder, "-", typed="")
    assert (empty.exit_code, empty.stderr) == (2, "error: standard input is empty; give a prompt\n")


def test_chat_template_is_applied_unless_raw(run: Run, null_bundle: MakeBundle) -> None:
    folder = endless(null_bundle, template=TEMPLATE)
    ids = {
        options: json.loads(run(folder, "hi", "--json", "--max-tokens", 1, *options).stdout)["stats"]["prompt_tokens"]
        for options in [(), ("--raw",), ("--system", "be brief")]
    }
    assert ids == {(): len("u:hi\na:"), ("--raw",): 2, ("--system", "be brief"): len("s:be brief\nu:hi\na:")}


def test_conversation(run: Run, null_bundle: MakeBundle) -> None:
    folder = endless(null_bundle, template=TEMPLATE)
    result = run(folder, "--chat", "--max-tokens", 4, typed="hi\n\nyou\n")
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) >= 2
    assert result.stderr.count("mapping ") == 2


def test_conversation_as_lines_of_json(run: Run, null_bundle: MakeBundle) -> None:
    folder = endless(null_bundle, template=TEMPLATE)
    result = run(folder, "--chat", "--json", "--max-tokens", 4, typed="hi\n\nyou\n" + "c" * 200 + "\nd\n")
    first, second, refused, last = map(json.loads, result.stdout.splitlines())
    shown = run(folder, "--chat", "--max-tokens", 4, typed="hi\n").stdout
    assert first["text"] == shown.removesuffix("\n")
    assert first["stats"]["reused_tokens"] == 0
    # The last token of an answer was never run.
    assert second["stats"]["reused_tokens"] == first["stats"]["prompt_tokens"] + len(first["ids"]) - 1
    assert "the prompt has 205 tokens" in refused["error"]
    assert last["stats"]["prompt_tokens"] == len("u:d\na:")


def test_conversation_longer_than_the_context_starts_anew(run: Run, null_bundle: MakeBundle) -> None:
    folder = endless(null_bundle, template=TEMPLATE)
    result = run(folder, "--chat", "--max-tokens", 4, typed="a" * 60 + "\n" + "b" * 60 + "\n" + "c" * 200 + "\nd\n")
    assert result.exit_code == 0
    assert "starting a new one" in result.stderr
    assert "error: the prompt has" in result.stderr
    assert result.stderr.count("mapping ") == 3


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("a" * 100,), 1, "the prompt has 100 tokens, the bundle's context is 96"),
        (("a" * 100_000,), 1, "the prompt has more than 384 tokens, the bundle's context is 96"),
        (("hi", "--map", "cpu"), 2, "cannot read the mapping 'cpu'"),
        (("hi", "--map", ""), 2, "no unit for the target"),
        (("hi", "--map", "drafter=cpu"), 2, "no unit for the target"),
        (("hi", "--map", "target=npu"), 1, "no unit 'npu'"),
        (("hi", "--map", "target=cpu", "--draft-length", "2"), 2, "names nothing that drafts"),
        (("hi", "--temperature", "-1"), 2, "temperature is -1"),
        (("hi", "--drafter", "model", "--min-confidence", "2"), 2, "the least confidence is 2.0; it is a probability"),
        (("hi", "--min-confidence", "0.5"), 2, "target=cpu has no drafter model to be confident"),
        (("hi", "--system", "x"), 2, "--system needs a model with a chat template"),
        (("hi", "--chat"), 2, "--chat reads its prompts"),
        (("--chat", "--raw"), 2, "--chat reads its prompts"),
        (("--chat",), 1, "no chat template"),
        (("hi", "--stats", "/nowhere/stats.json"), 1, "cannot write /nowhere/stats.json"),
    ],
)
def test_one_sentence_for_what_cannot_be(
    run: Run, null_bundle: MakeBundle, arguments: tuple[str, ...], code: int, sentence: str
) -> None:
    result = run(endless(null_bundle), *arguments)
    assert result.exit_code == code
    assert sentence in result.stderr
    assert result.stderr.count("error:") == 1


def test_unit_that_this_machine_lacks(null_bundle: MakeBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    from paceline.runtime import vulkan_driver

    cli._register()
    monkeypatch.setattr(vulkan_driver, "select_driver", lambda: None)
    result = CliRunner().invoke(cli.app, ["run", str(null_bundle()), "hi", "--map", "target=gpu"])
    assert result.exit_code == 1
    assert "no Vulkan driver" in result.stderr


def test_interrupt_ends_with_130(run: Run, null_bundle: MakeBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    from paceline.runtime.null_device import NullProgram

    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(NullProgram, "step", interrupted)
    result = run(endless(null_bundle), "hello")
    assert result.exit_code == 130
    assert "interrupted" in result.stderr


def test_reader_that_goes_away(null_bundle: MakeBundle) -> None:
    program = (
        "from paceline import cli; from paceline.runtime import NullDevice, load_model;"
        "load_model.open_device = lambda unit, cores=None: NullDevice(unit=unit); cli.main()"
    )
    command = [sys.executable, "-c", program, "run", str(endless(null_bundle)), "hello", "--max-tokens", "80"]
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as stdout:
        done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
