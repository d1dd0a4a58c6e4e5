"""``paceline profile`` and ``paceline plan`` as a user calls them, on programs that compute nothing."""

from __future__ import annotations

import inspect
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner, Result

from paceline.checksums import describe
from paceline.commands import plan, validate
from paceline.costmodel import ModelSpec, Role, Rope
from paceline.documents import write_json
from paceline.errors import DeviceLost, DeviceUnavailable
from paceline.partition import Bundle, BundledModel, Plan, TokenIds, read_bundle
from paceline.partition.search import DEFAULT_MARGIN
from paceline.runtime import loaded, profile
from paceline.runtime.null_device import NullDevice
from paceline.targets import Figure, ProcessingUnit, Soc

Run = Callable[..., Result]
GPU_REASON = "no Vulkan driver was found; run 'paceline doctor --install-swiftshader'"


def figure(value: float) -> Figure:
    return Figure(value=value, source="test")


def unit(name: Any, speed: float) -> ProcessingUnit:
    return ProcessingUnit(
        name=name,
        kind=name,
        description="test",
        cores=1,
        peak={"f32": figure(10e9 * speed)},
        bandwidth=figure(1e9 * speed),
        memory=figure(1e9),
        launch=figure(1e-6),
    )


def bundled(role: Role, precision: str, layers: int) -> BundledModel:
    spec = ModelSpec(
        name=role,
        family="llama",
        layers=layers,
        hidden=64,
        heads=4,
        kv_heads=2,
        head_size=16,
        ffn=128,
        vocabulary=320,
        context=256,
        norm_epsilon=1e-5,
        rope=Rope(theta=1e4),
    )
    programs = {name: f"{role}.{name}.vmfb" for name in ("cpu", "gpu")}
    weights = dict.fromkeys(programs, f"{role}.irpa")
    return BundledModel(role=role, spec=spec, precision=precision, weights=weights, programs=programs)


@pytest.fixture
def folder(tmp_path: Path, tiny_tokenizer: Path) -> Path:
    models = (bundled("target", "f32", layers=40), bundled("drafter", "int8", layers=1))
    for name in (name for model in models for name in (*model.weights.values(), *model.programs.values())):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "tokenizer.json").write_bytes((tiny_tokenizer / "tokenizer.json").read_bytes())
    bundle = Bundle(
        name="null",
        soc=Soc(name="null-soc", description="", memory=figure(1e9), units=(unit("cpu", 1.0), unit("gpu", 0.2))),
        context=256,
        widths=(1, 2, 4, 8, 16),
        models=models,
        tokens=TokenIds(),
        versions={},
        files={path.name: describe(path) for path in sorted(tmp_path.iterdir())},
    )
    write_json(tmp_path / "bundle.json", bundle)
    return tmp_path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Calls the command line with null devices: a CPU whose passes take no time, and no GPU."""
    from paceline.cli import _register, app

    monkeypatch.setattr("paceline.runtime.measure_contention.WARM_SECONDS", 0.001)
    monkeypatch.setattr("paceline.runtime.measure_contention.BURST_SECONDS", 0.05)

    def opened(wanted: ProcessingUnit, *, cores: int | None = None) -> NullDevice:
        if wanted.kind == "gpu":
            raise DeviceUnavailable(GPU_REASON)
        return NullDevice(unit=wanted, agreement=0.9)

    for function in (loaded.usable_units, loaded.loaded_programs, profile.measure):
        defaults = {**(function.__kwdefaults__ or {}), "opened": opened}
        monkeypatch.setattr(function, "__kwdefaults__", defaults)
    if not app.registered_commands:
        _register()

    def call(*words: object) -> Result:
        return CliRunner().invoke(app, [str(word) for word in words])

    return call


def profiled(run: Run, folder: Path) -> Result:
    return run("profile", folder, "--repeats", 3, "--budget", 0, "--tokens", 20)


def test_profile_then_plan(run: Run, folder: Path) -> None:
    result = profiled(run, folder)
    assert result.exit_code == 0, result.output
    assert "In company of the other model" in result.stdout and "in turns" in result.stdout
    assert "Drafts kept by the target" in result.stdout and "host time of a round" in result.stdout
    assert f"not measured: gpu: {GPU_REASON}" in result.stderr
    result = run("plan", folder)
    assert result.exit_code == 0, result.output
    assert "predicted (profile):" in result.stdout and "measured on all tasks" in result.stdout
    plan = msgspec.json.decode((folder / "plan.json").read_bytes(), type=Plan)
    assert plan.mapping.target == "cpu"
    assert f"target on gpu: {GPU_REASON}" in [entry.reason for entry in plan.rejected]


def test_a_bundle_that_cannot_hold_its_profile_is_not_measured(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Permissions do not bind the administrator, as whom tests may run.
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    monkeypatch.setattr(profile, "measure", None)
    result = profiled(run, folder)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: cannot write into")


def test_json_is_one_document(run: Run, folder: Path) -> None:
    document = json.loads(run("profile", folder, "--repeats", 3, "--budget", 0, "--tokens", 20, "--json").stdout)
    assert set(document) == {"profile", "acceptance"}
    assert document["profile"] == json.loads((folder / "profile.json").read_text())
    assert document["acceptance"] == json.loads((folder / "acceptance.json").read_text())
    plan = json.loads(run("plan", folder, "--json").stdout)
    assert plan == json.loads((folder / "plan.json").read_text())


def test_bundles_together(run: Run, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = Path(shutil.copytree(folder, tmp_path_factory.mktemp("other"), dirs_exist_ok=True))
    options = ("--repeats", 3, "--budget", 0, "--tokens", 20)
    documents = json.loads(run("profile", folder, other, *options, "--json").stdout)
    stored = [json.loads((at / "profile.json").read_text()) for at in (folder, other)]
    assert [one["profile"] for one in documents] == stored
    shown = run("profile", folder, other, *options).stdout
    assert all(f"next: paceline plan {at}" in shown for at in (folder, other))


def test_a_bundle_of_several_that_is_done_is_kept_where_the_next_one_fails(
    run: Run, folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Path(shutil.copytree(folder, tmp_path_factory.mktemp("other"), dirs_exist_ok=True))
    found = profile.measure

    def first_only(*arguments: Any, **options: Any) -> Iterator[Any]:
        yield next(iter(found(*arguments, **options)))
        raise DeviceLost("the device is gone")

    monkeypatch.setattr(profile, "measure", first_only)
    result = run("profile", folder, other, "--repeats", 3, "--budget", 0, "--tokens", 20)
    assert result.exit_code == 1 and "the device is gone" in result.stderr
    assert f"next: paceline plan {folder}" in result.stdout and f"{folder}: not measured: gpu" in result.stderr
    assert (folder / "profile.json").exists() and not (other / "profile.json").exists()


def test_one_bundle_under_two_names_is_measured_once(run: Run, folder: Path) -> None:
    (folder / "again").symlink_to(folder)
    options = ("--repeats", 3, "--budget", 0, "--tokens", 20, "--json")
    assert set(json.loads(run("profile", folder, folder / "again", *options).stdout)) == {"profile", "acceptance"}


def test_bundles_of_two_socs_are_not_measured_together(
    run: Run, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = Path(shutil.copytree(folder, tmp_path_factory.mktemp("other"), dirs_exist_ok=True))
    bundle = read_bundle(other)
    soc = msgspec.structs.replace(bundle.soc, name="another")
    write_json(other / "bundle.json", msgspec.structs.replace(bundle, soc=soc))
    result = run("profile", folder, other)
    assert result.exit_code == 2 and "for another; profile one SoC at a time" in result.stderr
    there = run("profile", folder, other, "--on", "ssh://board")
    assert there.exit_code == 2 and "--on takes one bundle at a time, and 2 are given" in there.stderr


def test_own_prompts(run: Run, folder: Path, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"prompt": "the rider drafts", "category": "riding"}\n')
    options = ("--repeats", 3, "--budget", 0, "--prompts", prompts)
    assert "riding" in run("profile", folder, *options).stdout
    missing = run("profile", folder, "--prompts", tmp_path / "nowhere")
    assert missing.exit_code == 1 and "cannot read the prompts" in missing.stderr


def test_a_unit_that_was_not_measured_is_no_candidate(run: Run, folder: Path) -> None:
    result = run("profile", folder, "--unit", "cpu", "--budget", 0, "--tokens", 20)
    assert result.exit_code == 0 and "not measured" not in result.stderr
    assert run("profile", folder, "--unit", "npu").exit_code == 2


def test_plan_without_a_profile(run: Run, folder: Path) -> None:
    result = run("plan", folder)
    assert result.exit_code == 1
    assert "has no profile.json; run 'paceline profile" in result.stderr and "--roofline" in result.stderr
    assert not (folder / "plan.json").exists()


def test_plan_from_a_roofline(run: Run, folder: Path) -> None:
    result = run("plan", folder, "--roofline", "--alpha", 0.9)
    assert result.exit_code == 0, result.output
    assert "predicted (roofline):" in result.stdout and "alpha 0.90 (given)" in result.stdout
    assert "target=cpu,drafter=cpu, drafting" in result.stdout
    poor = run("plan", folder, "--roofline", "--alpha", 0)
    assert "no speculation" in poor.stdout


def test_a_profile_of_another_machine_is_refused(run: Run, folder: Path) -> None:
    profiled(run, folder)
    path = folder / "profile.json"
    document = json.loads(path.read_text())
    document["machine"]["cpu"] = "Cortex-A55"
    path.write_text(json.dumps(document))
    result = run("plan", folder)
    assert result.exit_code == 1 and "was measured on another machine" in result.stderr
    assert "not Cortex-A55" in result.stderr
    assert run("plan", folder, "--roofline").exit_code == 0


def test_a_bundle_that_was_compiled_again_needs_a_new_profile(run: Run, folder: Path) -> None:
    profiled(run, folder)
    (folder / "target.irpa").write_bytes(b"TARGET.irpa")
    manifest = json.loads((folder / "bundle.json").read_text())
    manifest["files"]["target.irpa"]["sha256"] = describe(folder / "target.irpa").sha256
    (folder / "bundle.json").write_text(json.dumps(manifest))
    result = run("plan", folder)
    assert result.exit_code == 1 and "other programs or weights" in result.stderr
    stale = run("plan", folder, "--roofline")
    assert stale.exit_code == 1 and "give --alpha" in stale.stderr
    assert run("plan", folder, "--roofline", "--alpha", 0.5).exit_code == 0


def test_acceptance_of_another_workload(run: Run, folder: Path, tmp_path: Path) -> None:
    profiled(run, folder)
    own = tmp_path / "own.json"
    histogram = '{"task": "t", "drafter": "int8", "counts": {"1": [3, 1]}}'
    own.write_text(f'{{"schema": 2, "bundle": "x", "histograms": [{histogram}]}}')
    result = run("plan", folder, "--acceptance", own)
    assert result.exit_code == 0 and "alpha 0.25" in result.stdout
    assert run("plan", folder, "--acceptance", tmp_path / "nowhere").exit_code == 1


def test_every_length_with_all(run: Run, folder: Path) -> None:
    short, full = (run("plan", folder, "--roofline", *more).stdout for more in ((), ("--all",)))
    assert "more draft lengths of these mappings with --all" in short
    assert "--all" not in full and len(full.splitlines()) > len(short.splitlines())


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--alpha", "1.5"), 2),
        (("--margin", "-1"), 2),
        (("--memory", "0"), 1),
        (("--memory", "inf"), 2),
        (("--max-draft-length", "99999999999"), 2),
    ],
)
def test_bad_options(run: Run, folder: Path, options: tuple[str, ...], code: int) -> None:
    result = run("plan", folder, "--roofline", *options)
    assert result.exit_code == code and not (folder / "plan.json").exists()


@pytest.mark.parametrize("page", ["profile", "plan"])
def test_no_bundle(run: Run, tmp_path: Path, page: str) -> None:
    result = run(page, tmp_path / "absent")
    assert result.exit_code == 1
    assert "is not a bundle" in result.stderr and "Traceback" not in result.output


def test_pages_have_the_margin_of_the_planner() -> None:
    """They say it again, because the planner is not loaded before it is asked."""
    pages = (plan.page, validate.page)
    assert {inspect.signature(page).parameters["margin"].default for page in pages} == {DEFAULT_MARGIN}
