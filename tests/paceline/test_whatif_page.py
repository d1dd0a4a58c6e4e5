"""``paceline whatif`` as a user calls it."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from paceline.compile import read_package
from paceline.costmodel import find_model
from paceline.models import model_named

Run = Callable[..., Result]
PAIR = ("--soc", "imx95", "--target", "llama-3.2-3b", "--drafter", "llama-3.2-1b")
# The parts of published files that say what a model is.
CONFIGS: dict[str, dict[str, Any]] = {
    "llama-3.2-1b": {
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": 2048,
        "head_dim": 64,
        "intermediate_size": 8192,
        "max_position_embeddings": 131072,
        "num_attention_heads": 32,
        "num_hidden_layers": 16,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-05,
        "rope_scaling": {
            "factor": 32.0,
            "high_freq_factor": 4.0,
            "low_freq_factor": 1.0,
            "original_max_position_embeddings": 8192,
            "rope_type": "llama3",
        },
        "rope_theta": 500000.0,
        "tie_word_embeddings": True,
        "vocab_size": 128256,
    },
    "gemma-3-270m": {
        "model_type": "gemma3_text",
        "hidden_activation": "gelu_pytorch_tanh",
        "head_dim": 256,
        "hidden_size": 640,
        "intermediate_size": 2048,
        "max_position_embeddings": 32768,
        "num_attention_heads": 4,
        "num_hidden_layers": 18,
        "num_key_value_heads": 1,
        "query_pre_attn_scalar": 256,
        "rms_norm_eps": 1e-06,
        "rope_local_base_freq": 10000.0,
        "rope_theta": 1000000.0,
        "sliding_window": 512,
        "vocab_size": 262144,
    },
    "qwen2.5-0.5b": {
        "model_type": "qwen2",
        "hidden_act": "silu",
        "hidden_size": 896,
        "intermediate_size": 4864,
        "max_position_embeddings": 32768,
        "max_window_layers": 21,
        "num_attention_heads": 14,
        "num_hidden_layers": 24,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0,
        "sliding_window": 32768,
        "tie_word_embeddings": True,
        "use_sliding_window": False,
        "vocab_size": 151936,
    },
}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    from paceline.cli import _register, app

    monkeypatch.setenv("COLUMNS", "120")
    if not app.registered_commands:
        _register()
    return lambda *words: CliRunner().invoke(app, ["whatif", *(str(word) for word in words)])


def test_the_answer_for_people(run: Run) -> None:
    result = run(*PAIR, "--alpha", 0.9)
    assert result.exit_code == 0, result.output
    text = result.stdout
    assert "llama-3.2-3b with llama-3.2-1b drafting on imx95: predicted by a roofline, context 512" in text
    assert "best: target on cpu x6 int4, drafter on cpu x6 int4, drafting 3 ahead: 19.0 tokens/s" in text
    assert "alpha 0.90 (given)" in text
    assert "break-even of target on cpu x6 int4, drafter on cpu x6 int4" in text
    assert "or more, drafting 1 ahead" in text and "times the SoC's" in text and "parameters, memory aside" in text
    assert "nobody measured how much of prompt lookup is kept" in text
    assert "estimated in the SoC file, not measured: cpu.bandwidth, cpu.launch, gpu.launch" in text
    assert "84 more with --all" in text and len(run(*PAIR, "--all").stdout.splitlines()) > len(text.splitlines())


def test_a_loss_is_called_one(run: Run) -> None:
    text = run(*PAIR, "--alpha", 0.1).stdout
    assert "best: target on cpu x6 int4, no speculation" in text
    slow = ("--override", "peak.int8=1e6", "--override", "peak.f32=1e6")
    text = run(*PAIR, "--alpha", 0.9, *slow).stdout
    assert "never: a loss even if every draft is kept" in text
    assert "never: a loss at 1/64 to 64 times the SoC's" in text
    assert "never: a loss even if it took no time" in text


def test_a_target_alone(run: Run) -> None:
    result = run("--soc", "rpi5", "--target", "qwen2.5-1.5b", "--precision", "int8")
    assert result.exit_code == 0, result.output
    assert "qwen2.5-1.5b on rpi5" in result.stdout
    assert "break-even" not in result.stdout and "alpha" not in result.stdout


def test_json_and_csv(run: Run, tmp_path: Path) -> None:
    document = json.loads(run(*PAIR, "--alpha", 0.9, "--json", "--csv", tmp_path / "rows.csv").stdout)
    assert set(document) == {"what_if", "break_even"}
    rows = document["what_if"]["rows"]
    with (tmp_path / "rows.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == len(rows) > 50
    for line, row in zip(lines, rows, strict=True):
        assert float(line["seconds_per_token"]) == row["estimate"]["seconds_per_token"]
        assert (line["target_unit"], line["drafter_unit"] or None) == (
            row["mapping"]["target"],
            row["mapping"]["drafter"],
        )
        assert line["verify_wall"] == row["verify_wall"] and int(line["memory_bytes"]) == row["memory"]
    assert 0.0 < document["break_even"]["best_plain"]["alpha"] < 0.9


def test_options_narrow_the_question(run: Run) -> None:
    options = ("--precision", "target=int8,drafter=int4", "--cores", "1..2,4", "--context", 64, "--max-draft-length", 2)
    document = json.loads(run(*PAIR, *options, "--json").stdout)["what_if"]
    rows = document["rows"]
    assert document["context"] == 64 and document["alpha_source"] == "default: not measured"
    assert {row["cores"].get("cpu", 1) for row in rows} == {1, 2, 4}
    assert {row["draft_length"] for row in rows} == {0, 1, 2}
    assert {row["precision"].get("drafter", "int4") for row in rows} == {"int4"}
    small = json.loads(run(*PAIR, "--memory", 4, "--precision", "int8", "--json").stdout)["what_if"]
    assert all(row["draft_length"] == 0 for row in small["rows"]) and len(small["rejected"]) == 6


def test_a_sweep(run: Run, tmp_path: Path) -> None:
    axes = ("--sweep", "alpha=0.1:0.9:0.2", "--sweep", "bandwidth=5e9:30e9:5e9")
    result = run(*PAIR, *axes, "--csv", tmp_path / "points.csv")
    assert result.exit_code == 0, result.output
    assert "the best at each point" in result.stdout
    with (tmp_path / "points.csv").open() as file:
        lines = list(csv.DictReader(file))
    document = json.loads(run(*PAIR, *axes, "--json").stdout)
    assert [axis["key"] for axis in document["axes"]] == ["alpha", "bandwidth"]
    assert len(lines) == len(document["points"]) == 30
    for line, point in zip(lines, document["points"], strict=True):
        assert float(line["bandwidth"]) == point["at"]["bandwidth"]
        assert float(line["seconds_per_token"]) == point["seconds_per_token"]
        assert int(line["draft_length"]) == point["choice"]["draft_length"]
    many = run(*PAIR, "--sweep", "alpha=0:1:0.01").stdout
    assert "34 of 101 points; all of them with --json or --csv FILE" in many


def test_measured_acceptance(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "acceptance.json"
    counts = '{"schema": 2, "drafter": "int8", "target": "int8", "asked": 2, "counts": {"2": [10, 10, 80]}}'
    file.write_text(f'{{"schema": 2, "bundle": "x", "histograms": [{counts}]}}')
    result = run(*PAIR, "--acceptance", file, "--precision", "int8")
    assert result.exit_code == 0 and "(measured on all tasks)" in result.stdout
    other = run(*PAIR, "--acceptance", file, "--precision", "int4")
    assert other.exit_code == 2 and "the acceptance holds no drafts of a drafter in int4, it has int8" in other.stderr
    apart = run(*PAIR, "--acceptance", file, "--precision", "target=int4,drafter=int8")
    assert "(measured on all tasks with the target in int8)" in apart.stdout


def test_alphas_say_whose_they_are(run: Run, tmp_path: Path) -> None:
    counts = {"int8": [10, 10, 80], "ngram": [90, 5, 5]}
    parts = [{"schema": 2, "drafter": name, "asked": 2, "counts": {2: row}} for name, row in counts.items()]
    (tmp_path / "a.json").write_text(json.dumps({"schema": 2, "bundle": "x", "histograms": parts}))
    result = run(*PAIR, "--acceptance", tmp_path / "a.json", "--precision", "int8")
    assert "alpha 0.89 of int8, 0.14 of prompt lookup (measured on all tasks)" in result.stdout


def test_a_drafter_that_chooses_among_fewer_ids_is_quicker(run: Run, tmp_path: Path) -> None:
    def fastest(ids: int) -> tuple[float, float]:
        """Least seconds per token plain, and with drafts."""
        run(*PAIR, "--alpha", 0.8, "--draft-vocabulary", ids, "--csv", tmp_path / f"{ids}.csv")
        rows = list(csv.DictReader((tmp_path / f"{ids}.csv").read_text().splitlines()))
        plain, drafted = (
            min(float(row["seconds_per_token"]) for row in rows if (row["draft_length"] != "0") == drafts)
            for drafts in (False, True)
        )
        return plain, drafted

    (plain, drafted), (plain_again, quicker) = fastest(0), fastest(8000)
    assert plain_again == plain and quicker < drafted


def test_a_draft_vocabulary_needs_a_drafter(run: Run) -> None:
    result = run("--soc", "rpi5", "--target", "qwen2.5-1.5b", "--draft-vocabulary", 500)
    assert result.exit_code == 2 and "draft vocabulary 500 means nothing without a drafter" in result.stderr


def test_an_alpha_needs_a_drafter(run: Run) -> None:
    result = run("--soc", "rpi5", "--target", "qwen2.5-1.5b", "--alpha", 0.5)
    assert result.exit_code == 2 and "alpha means nothing without a drafter; give --drafter" in result.stderr


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--alpha", "1.5"), "alpha is 1.5"),
        (("--override", "npu.bandwidth=1e9"), "imx95 has no unit 'npu'"),
        (("--override", "cpu.speed=1"), "'cpu.speed' is no figure of a SoC"),
        (("--override", "cpu.bandwidth=-1"), "is no KEY=VALUE with a positive number in SI units"),
        (("--override", "cpu.bandwidth"), "is no KEY=VALUE"),
        (("--precision", "int2"), "unknown precision 'int2'; known: f32, f16, int8, int4"),
        (("--precision", "target=int8"), "is neither a precision nor target=PRECISION,drafter=PRECISION"),
        (("--precision", "target=int8,verifier=int8"), "is neither a precision nor"),
        (("--cores", "1..9"), "7 cores: the cpu of imx95 has 1 to 6"),
        (("--cores", "6..1"), "is neither a list nor a range of core counts"),
        (("--cores", "one"), "is neither a list nor a range of core counts"),
        (("--cores", "1..999999999"), "is neither a list nor a range of core counts"),
        (("--context", "0"), "context 0 is not within"),
        (("--override", "bandwidth=1e-320"), "bandwidth of 9.99989e-321: figures are numbers in SI units from 1e-30"),
        (("--override", "launch=1e-6", "--override", "launch=2e-6"), "--override launch is given twice, as 1e-06 and"),
        (("--precision", "int8,int4"), "repeat --precision for several"),
        (("--precision", "target=int8,drafter=int8,drafter=int4"), "is neither a precision nor"),
        (("--alpha", "0.5", "--sweep", "alpha=0.1,0.2"), "alpha is swept, so --alpha has no effect"),
        (("--context", "64", "--sweep", "context=64,128"), "context is swept, so --context has no effect"),
        (("--override", "cpu.launch=1", "--sweep", "launch=1,2"), "so --override cpu.launch has no effect"),
        (("--all", "--sweep", "alpha=0.1,0.2"), "all points of a --sweep are in --json or --csv FILE"),
        (("--sweep", "alpha=0:1"), "is no range; write start:stop:step"),
        (("--sweep", "alpha=0:1:1e-9"), "a sweep has at most 1000000 points"),
        (("--sweep", "beta=1"), "expected one of alpha, context, bandwidth"),
        (("--draft-vocabulary", "999999"), "draft vocabulary 999999 is not within the 128256 ids of"),
        (("--soc", "imx96"), "unknown SoC 'imx96'"),
        (("--target", "llama-9"), "unknown model 'llama-9'; known: gemma-3-1b"),
    ],
)
def test_bad_options_are_one_sentence(run: Run, options: tuple[str, ...], sentence: str) -> None:
    result = run(*PAIR, *options)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ") and sentence in result.stderr
    assert len(result.stderr.splitlines()) == 1 and not result.stdout


def test_what_cannot_be_is_a_failure(run: Run, tmp_path: Path) -> None:
    for options, sentence in (
        (("--memory", 1), "runs nowhere on imx95"),
        (("--drafter", "smollm2-135m"), "choose a drafter of the same model family"),
        (("--acceptance", tmp_path / "absent"), "is missing; measure it with 'paceline acceptance'"),
        (("--memory", 1, "--sweep", "alpha=0.1,0.2"), "runs nowhere on imx95: target=cpu in int8"),
        (("--csv", tmp_path / "absent" / "rows.csv"), "cannot write"),
    ):
        result = run(*PAIR, *options)
        assert result.exit_code == 1 and sentence in result.stderr and not result.stdout


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_alone_says_what_a_model_is(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIGS[name]))
    assert model_named(str(folder)) == model_named(str(folder / "config.json")) == find_model(name)


def test_an_imported_model_is_asked_about_by_its_folder(run: Run, tiny_package: Callable[..., Path]) -> None:
    package = tiny_package("llama")
    assert model_named(str(package)) == read_package(package).spec
    result = run("--soc", "rpi5", "--target", package, "--drafter", package, "--precision", "target=f32,drafter=int8")
    assert result.exit_code == 0, result.output


def test_a_full_what_if_is_a_matter_of_moments() -> None:
    everything = ("--cores", "1..6", *(word for p in ("f32", "f16", "int8", "int4") for word in ("--precision", p)))
    command = (sys.executable, "-m", "paceline", "whatif", *PAIR, *everything, "--json")
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    assert time.perf_counter() - start < 10.0  # under a second on a quiet machine
