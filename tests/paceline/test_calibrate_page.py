"""``paceline calibrate`` as a user calls it, and the pages that take what it writes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner, Result

from paceline.costmodel import Machine, Measurement, Profile, find_model, read_calibration
from paceline.costmodel.profile import Role
from paceline.documents import write_json
from paceline.partition import BundledModel, Plan, read_bundle
from paceline.partition.times import RooflineTimes
from paceline.runtime import pack_cache
from paceline.targets import load_soc

Run = Callable[..., Result]
SLOWER = 2.5


@pytest.fixture
def run() -> Run:
    from paceline.cli import _register, app

    if not app.registered_commands:
        _register()

    def call(*words: object) -> Result:
        return CliRunner(env={"COLUMNS": "120"}).invoke(app, [str(word) for word in words])

    return call


def bundled(role: Role, name: str) -> BundledModel:
    return BundledModel(
        role=role,
        spec=find_model(name),
        precision="int8",
        programs={"cpu": f"{role}.f32.cpu.vmfb"},
        weights={"cpu": f"{role}.f32.irpa"},
        kernels={"cpu": "aarch64-dotprod"},
    )


@pytest.fixture
def folder(null_bundle: Callable[..., Path]) -> Path:
    """A pair for a Raspberry Pi whose passes take 2.5 times as long as the roofline says."""
    models = (bundled("target", "qwen2.5-1.5b"), bundled("drafter", "qwen2.5-0.5b"))
    folder = null_bundle(soc=load_soc("rpi5"), models=models, context=256)
    bundle = read_bundle(folder)
    times = RooflineTimes(bundle)
    measurements = tuple(
        Measurement(
            role=model.role, precision="int8", unit="cpu", cores=4, width=width, position=128 - width, spread=0.0,
            seconds=SLOWER * times.estimate(model.role, "cpu", width, 4).seconds, repeats=3,
        )
        for model in models
        for width in bundle.widths
    )  # fmt: skip
    machine = Machine(architecture="aarch64", cpu="Cortex-A76", cores=4, memory_bytes=8 << 30)
    profile = Profile(bundle=bundle.digest, machine=machine, context=256, measurements=measurements)
    write_json(folder / "profile.json", profile)
    return folder


@pytest.fixture
def calibration(run: Run, folder: Path, tmp_path: Path) -> Path:
    path = tmp_path / "calibration.json"
    assert run("calibrate", folder, "-o", path).exit_code == 0
    return path


def test_calibrate_writes_and_shows(run: Run, folder: Path, tmp_path: Path) -> None:
    result = run("calibrate", folder, "-o", tmp_path / "here.json")
    assert result.exit_code == 0, result.output
    assert "rpi5 on Cortex-A76, 4 cores: 10 measured passes" in result.stdout
    for word in ("cpu x4, kernels", "bandwidth", "products in int8", "overlap p in int8", "GB/s"):
        assert word in result.stdout
    assert "do not say how large the CPU's last cache is" in result.stdout and "of cache" not in result.stdout
    for word in ("the measurements themselves", "widths that were left out", "models that were left out"):
        assert word in result.stdout
    assert f"--roofline --calibration {tmp_path / 'here.json'}" in result.stdout.replace("\n", "")
    calibration = read_calibration(tmp_path / "here.json", soc="rpi5")
    assert calibration.errors["fitted"].median < 0.05
    (factors,) = calibration.factors
    assert factors.bandwidth == pytest.approx(1 / SLOWER, rel=0.15)
    assert {residual.model for residual in calibration.residuals} == {"qwen2.5-1.5b", "qwen2.5-0.5b"}


def test_the_cache_is_shown_where_the_profile_knows_it(run: Run, folder: Path, tmp_path: Path) -> None:
    profile = msgspec.json.decode((folder / "profile.json").read_bytes(), type=Profile)
    machine = msgspec.structs.replace(profile.machine, cache_bytes=2 << 20)
    write_json(folder / "profile.json", msgspec.structs.replace(profile, machine=machine))
    result = run("calibrate", folder, "-o", tmp_path / "here.json")
    assert result.exit_code == 0, result.output
    assert "out of 2 MiB of cache" in result.stdout and "do not say how large" not in result.stdout
    assert "nothing found" in result.stdout  # of hundreds of megabytes

    machine = msgspec.structs.replace(profile.machine, cache_bytes=1 << 40)
    write_json(folder / "profile.json", msgspec.structs.replace(profile, machine=machine))
    result = run("calibrate", folder, "-o", tmp_path / "here.json")
    assert "MiB of cache" in result.stdout and "nothing found" not in result.stdout


def test_json_is_the_file(run: Run, folder: Path, tmp_path: Path) -> None:
    result = run("calibrate", folder, "-o", tmp_path / "here.json", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == json.loads((tmp_path / "here.json").read_text())


def test_a_packed_bundle_is_one(run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACELINE_CACHE", str(tmp_path / "cache"))
    assert run("pack", folder, "-o", tmp_path / "pair.tar.zst").exit_code == 0
    monkeypatch.setattr(pack_cache, "check_machine", lambda bundle: None)  # a Raspberry Pi, which made the profile
    fitted = [
        json.loads(run("calibrate", place, "-o", tmp_path / "c.json", "--json").stdout)
        for place in (folder, tmp_path / "pair.tar.zst")
    ]
    assert fitted[0] == fitted[1]


def test_one_model_says_that_others_are_unknown(run: Run, folder: Path, tmp_path: Path) -> None:
    profile = msgspec.json.decode((folder / "profile.json").read_bytes(), type=Profile)
    kept = tuple(entry for entry in profile.measurements if entry.role == "target")
    write_json(folder / "profile.json", msgspec.structs.replace(profile, measurements=kept))
    result = run("calibrate", folder, "-o", tmp_path / "here.json")
    assert result.exit_code == 0, result.output
    assert "one model at each precision: nothing is known about the error on other models" in result.stdout


def test_plan_by_a_calibration(run: Run, folder: Path, calibration: Path) -> None:
    plans = []
    for words in ((), ("--calibration", calibration)):
        result = run("plan", folder, "--roofline", "--alpha", 0.8, *words)
        assert result.exit_code == 0, result.output
        plans.append(msgspec.json.decode((folder / "plan.json").read_bytes(), type=Plan))
    assert "predicted (calibration):" in result.stdout
    plain = [
        next(entry.estimate for entry in plan.rejected if entry.mapping.drafter is None and entry.estimate)
        if plan.draft_length
        else plan.estimate
        for plan in plans
    ]
    assert plain[1].source == "calibration"
    assert plain[1].seconds_per_token == pytest.approx(SLOWER * plain[0].seconds_per_token, rel=0.05)


def test_whatif_by_a_calibration(run: Run, calibration: Path) -> None:
    pair = ("--target", "qwen2.5-3b", "--drafter", "qwen2.5-0.5b", "--precision", "int8")
    words = ("whatif", "--soc", "rpi5", *pair, "--alpha", 0.8)
    bare, taught = (json.loads(run(*words, *more, "--json").stdout) for more in ((), ("--calibration", calibration)))
    seconds = [answer["what_if"]["rows"][0]["estimate"]["seconds_per_token"] for answer in (bare, taught)]
    assert seconds[1] == pytest.approx(SLOWER * seconds[0], rel=0.15)
    text = run(*words, "--calibration", calibration).stdout
    assert "predicted by a calibrated roofline" in text and "a roofline is a lower bound" not in text
    reasons = [row["reason"] for row in taught["what_if"]["rejected"]]
    assert "the calibration knows no int8 programs on gpu such as the target's" in reasons


def test_a_sweep_by_a_calibration(run: Run, calibration: Path) -> None:
    words = ("whatif", "--soc", "rpi5", "--target", "qwen2.5-3b", "--precision", "int8", "--calibration", calibration)
    result = run(*words, "--sweep", "cpu.bandwidth=5e9,10e9,20e9", "--json")
    assert result.exit_code == 0, result.output
    seconds = [point["seconds_per_token"] for point in json.loads(result.stdout)["points"]]
    assert seconds == sorted(seconds, reverse=True) and seconds[0] > 1.8 * seconds[1]


def test_a_chart_of_a_sweep_names_the_calibration(run: Run, calibration: Path, tmp_path: Path) -> None:
    words = ("whatif", "--soc", "rpi5", "--target", "qwen2.5-3b", "--precision", "int8", "--calibration", calibration)
    assert run(*words, "--sweep", "launch=1e-6,2e-6", "--plot", tmp_path / "sweep.svg").exit_code == 0
    assert "times: calibration" in (tmp_path / "sweep.svg").read_text()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("plan", "{folder}", "--calibration", "{calibration}"), "error: --calibration is for --roofline"),
        (
            ("plan", "{folder}", "--roofline", "--calibration", "none.json"),
            "error: none.json is missing; make it with",
        ),
        (
            ("whatif", "--soc", "imx95", "--target", "llama-3.2-1b", "--calibration", "{calibration}"),
            "was fitted to profiles of rpi5, not of imx95; shares do not carry over",
        ),
        (("calibrate", "{folder}/nothing"), "is not a bundle"),
        (("calibrate", "{folder}", "-o", "{folder}/none/there.json"), "error: "),
        (
            ("calibrate", "{folder}", "-o", "{folder}/bundle.json"),
            "bundle.json is a part of the bundle; choose another",
        ),
    ],
)
def test_bad_input_is_one_sentence(
    run: Run, folder: Path, calibration: Path, words: tuple[str, ...], sentence: str
) -> None:
    result = run(*(word.format(folder=folder, calibration=calibration) for word in words))
    assert result.exit_code in (1, 2)
    assert sentence in result.stderr and len(result.stderr.strip().splitlines()) == 1
    assert "Traceback" not in result.output


@pytest.mark.cpu
def test_a_bundle_that_computes(run: Run, tiny_bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(tiny_bundle, folder)
    assert run("profile", folder, "--unit", "cpu", "--budget", 1, "--tokens", 4).exit_code == 0
    result = run("calibrate", folder, "-o", tmp_path / "here.json")
    assert result.exit_code == 0, result.output
    calibration = read_calibration(tmp_path / "here.json", soc="x86-swiftshader")
    assert {residual.width for residual in calibration.residuals} == {1, 2, 4, 8, 16}
    assert run("plan", folder, "--roofline", "--calibration", tmp_path / "here.json").exit_code == 0


def test_no_bundle_at_all(run: Run) -> None:
    assert run("calibrate").exit_code == 2


def test_a_damaged_calibration(run: Run, folder: Path, calibration: Path) -> None:
    calibration.write_text(calibration.read_text()[:500])
    result = run("plan", folder, "--roofline", "--calibration", calibration)
    assert result.exit_code == 1 and "is not a valid Calibration" in result.stderr
    assert not (folder / "plan.json").exists()


def test_the_roof_of_a_calibration(run: Run, folder: Path, calibration: Path, tmp_path: Path) -> None:
    """Its GPU has no factors, and is left out."""
    chart = tmp_path / "roof.svg"
    words = ("whatif", "--soc", "rpi5", "--target", "qwen2.5-3b", "--precision", "int8", "--plot", chart)
    assert run(*words, "--chart", "roofline", "--calibration", calibration).exit_code == 0
    taught = chart.read_text()
    assert run(*words, "--chart", "roofline").exit_code == 0
    assert "cpu x4" in taught and "gpu x" not in taught and "roof: by the calibration" in taught
    assert "gpu x" in chart.read_text() and "by the figures of the SoC file" in chart.read_text()
