"""What of a bundle travels: all of it, or a bundle of its own without what is not needed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from paceline.checksums import FileEntry, describe
from paceline.costmodel import AcceptanceFile, Machine, Measurement, Profile
from paceline.documents import write_json
from paceline.errors import BundleError, PlanError, UsageError
from paceline.partition import Bundle, BundledModel, Failure, Mapping, choose, read_bundle, read_plan
from paceline.partition.contents import Contents, list_contents, select

MakeBundle = Callable[..., Path]
MEASURED = Measurement(
    role="target", precision="f32", unit="cpu", cores=1, width=1, position=0, seconds=0.1, spread=0.0, repeats=3
)


def planned(folder: Path, *, target: str = "cpu", drafter: str | None = None) -> Path:
    """Put a plan, a profile and an acceptance file into a bundle's folder."""
    bundle = read_bundle(folder)
    plan = choose(bundle, profile=None, alpha=0.9)
    write_json(folder / "plan.json", replace(plan, mapping=Mapping(target=target, drafter=drafter)))
    machine = Machine(architecture="x", cpu="y", cores=1, memory_bytes=1)
    profile = Profile(bundle=bundle.digest, machine=machine, context=bundle.context, measurements=(MEASURED,))
    write_json(folder / "profile.json", profile)
    write_json(folder / "acceptance.json", AcceptanceFile(bundle=bundle.digest, histograms=()))
    return folder


def written(contents: Contents, folder: Path) -> Path:
    """The files of ``contents`` as a folder, as any way of travelling would leave it."""
    folder.mkdir()
    for name in contents.files:
        (folder / name).write_bytes(contents.texts.get(name) or (contents.folder / name).read_bytes())
    return folder


def test_all_of_a_bundle_and_nothing_else(null_bundle: MakeBundle) -> None:
    folder = planned(null_bundle(template="t"))
    (folder / "chart.png").write_bytes(b"mine")
    contents = list_contents(folder)
    assert contents.files == {name: describe(folder / name) for name in contents.files}
    assert set(contents.files) == {path.name for path in folder.iterdir()} - {"chart.png"}
    assert contents.total == sum((folder / name).stat().st_size for name in contents.files)
    assert (contents.left_out, contents.remarks) == ({}, ())


def test_manifest_first_then_texts_then_programs_then_weights(null_bundle: MakeBundle) -> None:
    names = list(list_contents(planned(null_bundle(template="t"))).files)
    assert names[:4] == ["bundle.json", "plan.json", "profile.json", "acceptance.json"]
    assert names[4:6] == ["chat_template.jinja", "tokenizer.json"]
    assert [Path(name).suffix for name in names[6:]] == [".vmfb"] * 4 + [".irpa"] * 2


@pytest.mark.parametrize("drafter", [None, "ngram"])
def test_what_a_plan_without_a_drafter_model_needs(
    null_bundle: MakeBundle, tmp_path: Path, drafter: str | None
) -> None:
    folder = planned(null_bundle(), drafter=drafter)
    contents = list_contents(folder, only_plan=True)
    away = {"target.f32.gpu.vmfb", "drafter.f32.cpu.vmfb", "drafter.f32.gpu.vmfb", "drafter.f32.irpa"}
    assert contents.left_out == {name: (folder / name).stat().st_size for name in away}
    assert any("the drafter" in remark for remark in contents.remarks)
    bundle = read_bundle(written(contents, tmp_path / "board"), checksums=True)
    assert (bundle, bundle.drafter) == (contents.bundle, None)
    assert bundle.target.programs == {"cpu": "target.f32.cpu.vmfb"} and not away & set(bundle.files)


def test_what_a_plan_over_two_units_needs(null_bundle: MakeBundle) -> None:
    contents = list_contents(planned(null_bundle(), target="gpu", drafter="cpu"), only_plan=True)
    assert {model.role: list(model.programs) for model in contents.bundle.models} == {
        "target": ["gpu"],
        "drafter": ["cpu"],
    }


def test_plan_and_measurements_are_made_out_to_what_is_kept(null_bundle: MakeBundle, tmp_path: Path) -> None:
    folder = planned(null_bundle(), drafter="cpu")
    board = written(list_contents(folder, units=("cpu",)), tmp_path / "board")
    digest = read_bundle(board).digest
    assert digest != read_bundle(folder).digest
    assert read_plan(board) == replace(read_plan(folder), bundle=digest)
    for name, kind in (("profile.json", Profile), ("acceptance.json", AcceptanceFile)):
        before: Any = msgspec.json.decode((folder / name).read_bytes(), type=kind)
        assert msgspec.json.decode((board / name).read_bytes(), type=kind) == replace(before, bundle=digest)


def test_what_is_said_of_units_that_are_left_out_is_left_out_too(null_bundle: MakeBundle) -> None:
    folder = null_bundle()
    bundle, both = read_bundle(folder), {"cpu": "int8", "gpu": "int8"}
    said = replace(bundle, models=tuple(replace(model, caches=both) for model in bundle.models))
    (folder / "bundle.json").write_bytes(msgspec.json.encode(said))
    assert [model.caches for model in list_contents(folder, units=("cpu",)).bundle.models] == [{"cpu": "int8"}] * 2


def test_units_that_leave_nothing_out_change_nothing(null_bundle: MakeBundle) -> None:
    folder = planned(null_bundle())
    assert list_contents(folder, units=("cpu", "gpu")).texts == list_contents(folder).texts


def test_a_plan_that_uses_what_is_left_out_stays_behind(null_bundle: MakeBundle) -> None:
    contents = list_contents(planned(null_bundle(), target="gpu"), units=("cpu",))
    assert "plan.json" not in contents.files and "profile.json" in contents.files
    assert contents.remarks == ("plan.json: it uses programs that are left out",)


def test_measurements_of_other_programs_stay_behind(null_bundle: MakeBundle) -> None:
    folder = planned(null_bundle())
    profile = json.loads((folder / "profile.json").read_text())
    (folder / "profile.json").write_text(json.dumps({**profile, "bundle": "another"}))
    contents = list_contents(folder)
    assert "profile.json" not in contents.files
    assert contents.remarks == ("profile.json: it is for other programs",)


def test_failures_of_other_units_are_not_the_boards(null_bundle: MakeBundle) -> None:
    failures = tuple(Failure(role="target", precision="f32", unit=unit, reason="") for unit in ("cpu", "gpu"))
    kept = list_contents(null_bundle(failures=failures), units=("cpu",)).bundle.failures
    assert [failure.unit for failure in kept] == ["cpu"]


@pytest.mark.parametrize(
    ("options", "error", "found"),
    [
        ({"units": ("npu",)}, UsageError, "null has no unit 'npu'; it has: cpu, gpu"),
        ({"units": ("cpu",), "only_plan": True}, UsageError, "decides the units"),
        ({"only_plan": True}, PlanError, r"plan\.json is missing"),
    ],
)
def test_what_cannot_be_asked(null_bundle: MakeBundle, options: Any, error: type[Exception], found: str) -> None:
    with pytest.raises(error, match=found):
        list_contents(null_bundle(), **options)


def test_units_that_the_target_has_no_program_for(null_bundle: MakeBundle) -> None:
    folder = null_bundle()
    whole = read_bundle(folder)
    cpu_only = select(whole, {"target": frozenset({"cpu"}), "drafter": frozenset({"cpu", "gpu"})})
    write_json(folder / "bundle.json", cpu_only)
    with pytest.raises(UsageError, match="the target of null has no program for gpu; it has one for: cpu"):
        list_contents(folder, units=("gpu",))


def test_a_plan_of_other_programs_says_nothing_of_need(null_bundle: MakeBundle) -> None:
    folder = planned(null_bundle())
    write_json(folder / "plan.json", replace(read_plan(folder), bundle="another"))
    with pytest.raises(PlanError, match="is for other programs; run 'paceline plan"):
        list_contents(folder, only_plan=True)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"bundle": 1}', "[" * 100_000, '{"x":' + "[" * 100_000])
def test_a_damaged_plan_is_a_sentence(null_bundle: MakeBundle, text: str) -> None:
    folder = null_bundle()
    (folder / "plan.json").write_text(text)
    with pytest.raises(BundleError, match=r"plan\.json is not a valid"):
        list_contents(folder)


UNITS = st.frozensets(st.sampled_from(["a", "b", "c"]))


@given(programs=st.tuples(UNITS, UNITS), shared=st.booleans(), places=st.tuples(UNITS, UNITS))
def test_a_selection_names_exactly_what_its_programs_read(
    programs: tuple[frozenset[str], ...], shared: bool, places: tuple[frozenset[str], ...]
) -> None:
    models = tuple(
        model(role, units, shared=shared) for role, units in zip(("target", "drafter"), programs, strict=True)
    )
    whole = bundle_of(models)
    kept = dict(zip(("target", "drafter"), places, strict=True))
    if not programs[0] & places[0]:
        with pytest.raises(BundleError, match="no program of the target for"):
            select(whole, kept)  # type: ignore[arg-type]
        return
    chosen = select(whole, kept)  # type: ignore[arg-type]
    assert {m.role: set(m.programs) for m in chosen.models} == {
        role: units & kept[role] for (role, units) in zip(kept, programs, strict=True) if units & kept[role]
    }
    needed = {name for m in chosen.models for name in (*m.programs.values(), *m.weights.values())}
    assert set(chosen.files) == needed | {"tokenizer.json"}


def model(role: Any, units: frozenset[str], *, shared: bool) -> BundledModel:
    spec: Any = None
    programs = {unit: f"{role}.{unit}.vmfb" for unit in sorted(units)}
    weights = {unit: f"{role}.irpa" if shared else f"{role}.{unit}.irpa" for unit in programs}
    return BundledModel(role=role, spec=spec, precision="f32", programs=programs, weights=weights)


def bundle_of(models: tuple[BundledModel, ...]) -> Bundle:
    names = {name for model in models for name in (*model.programs.values(), *model.weights.values())}
    files = {name: FileEntry(bytes=1, sha256=name) for name in {*names, "tokenizer.json"}}
    nothing: Any = None
    return Bundle(
        name="x", soc=nothing, context=1, widths=(1,), models=models, tokens=nothing, versions={}, files=files
    )
