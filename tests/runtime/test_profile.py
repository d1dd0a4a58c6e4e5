"""Measuring a bundle of null programs end to end: profile, acceptance and host time."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from paceline.checksums import FileEntry
from paceline.console import quiet
from paceline.costmodel import Role, merge, read_acceptance, read_profile
from paceline.errors import DeviceUnavailable, OutputError, PromptError, UsageError
from paceline.partition import Bundle, BundledModel, TokenIds, choose
from paceline.runtime import profile
from paceline.runtime.machine import this_machine
from paceline.runtime.measure import FEW
from paceline.runtime.measure_acceptance import longest_draft
from paceline.runtime.measure_contention import Contentions
from paceline.runtime.null_device import NullDevice
from paceline.runtime.profile import Measured, measure, save
from paceline.runtime.prompts import Prompt
from paceline.targets import Figure, ProcessingUnit, Soc
from paceline.targets.host import last_cache_bytes
from tests.specs import tiny_spec

ONE = Figure(value=1e9, source="test")
UNITS = tuple(
    ProcessingUnit(
        name=name, kind=name, description="", cores=1, peak={"f32": ONE}, bandwidth=ONE, memory=ONE, launch=ONE
    )
    for name in ("cpu", "gpu")
)

PROMPTS = (Prompt("ride", "the rider drafts behind another"), Prompt("turn", "take a turn in front"))


def bundled(role: Role, precision: str) -> BundledModel:
    spec = tiny_spec(name="null", layers=1, heads=1, kv_heads=1, head_size=8, ffn=8, vocabulary=320, context=256)
    programs = {"cpu": "p", "gpu": "p"}
    return BundledModel(
        role=role, spec=spec, precision=precision, weights=dict.fromkeys(programs, "w"), programs=programs
    )


BUNDLE = Bundle(
    name="null",
    soc=Soc(name="null-soc", description="", memory=ONE, units=UNITS),
    context=256,
    widths=(1, 2, 4, 8, 16),
    models=(bundled("target", "f32"), bundled("drafter", "int8")),
    tokens=TokenIds(),
    versions={},
    files={},
)


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """A null device has nothing to warm up."""
    monkeypatch.setattr("paceline.runtime.measure_contention.WARM_SECONDS", 0.001)
    monkeypatch.setattr("paceline.runtime.measure_contention.BURST_SECONDS", 0.05)


def opened(unit: ProcessingUnit, *, cores: int | None = None) -> NullDevice:
    if unit.kind == "gpu":
        raise DeviceUnavailable("no Vulkan driver")
    return NullDevice(unit=unit, agreement=0.8)


BRIEF: dict[str, Any] = {"repeats": 3, "budget": 0.0, "prompts": PROMPTS, "tokens": 60, "opened": opened}


def measured(folder: Path, **options: Any) -> Measured:
    return dict(measure({folder: options.pop("bundle", BUNDLE)}, **{**BRIEF, **options}))[folder]


def test_everything_is_measured(tiny_tokenizer: Path) -> None:
    found = measured(tiny_tokenizer)
    passes = [(entry.role, entry.unit, entry.width, entry.position) for entry in found.profile.measurements]
    assert passes == [
        (role, "cpu", width, position)
        for role in ("target", "drafter")
        for width in BUNDLE.widths
        for position in (FEW, BUNDLE.context - width)
    ]
    assert found.unavailable == {"gpu": "no Vulkan driver"}
    assert found.profile.machine.drivers == {"cpu": "null device"}
    assert found.profile.bundle == found.acceptance.bundle == BUNDLE.digest
    company = {(entry.together, entry.target, entry.drafter, entry.width) for entry in found.profile.contention}
    assert company == {("in turns", "cpu", "cpu", width) for width in BUNDLE.widths if 1 < width <= 16}
    rounds = [(entry.drafter, entry.draft_length) for entry in found.profile.host]
    assert rounds == [("none", 0), ("model", 1), ("model", 8), ("ngram", 1), ("ngram", 8)]
    assert min(entry.seconds for entry in found.profile.host) > 0 and found.skipped_prompts == 0


def test_bundles_that_are_measured_together_get_a_profile_each(tiny_tokenizer: Path, tmp_path: Path) -> None:
    other = msgspec.structs.replace(BUNDLE, name="other", widths=(1, 4))
    folder = tmp_path / "other"
    shutil.copytree(tiny_tokenizer, folder)
    both = dict(measure({tiny_tokenizer: BUNDLE, folder: other}, repeats=3, budget=0.0, tokens=20, opened=opened))
    assert [found.profile.bundle for found in both.values()] == [BUNDLE.digest, other.digest]
    widths = [{entry.width for entry in found.profile.measurements} for found in both.values()]
    assert widths == [set(BUNDLE.widths), {1, 4}]


def test_steps_say_of_which_of_several_bundles_they_are(tiny_tokenizer: Path, tmp_path: Path) -> None:
    folders = [shutil.copytree(tiny_tokenizer, tmp_path / name) for name in ("one", "other")]
    steps: dict[str, None] = {}
    for some in (folders, folders[:1]):
        steps.clear()
        dict(measure(dict.fromkeys(some, BUNDLE), report=lambda step, *_: steps.setdefault(step), **BRIEF))
        of = [f"{folder.name}: " for folder in some] if len(some) > 1 else [""]
        own = [f"{name}{step}" for name in of for step in ("passes in company", "acceptance", "host time")]
        assert list(steps) == ["forward passes", *own]


def test_bundles_larger_than_memory_together_are_refused(
    tiny_tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both models have their weights in one file, which counts once."""
    large = msgspec.structs.replace(BUNDLE, files={"w": FileEntry(bytes=6 << 30, sha256="")})
    folders = [shutil.copytree(tiny_tokenizer, tmp_path / name) for name in ("one", "other")]
    monkeypatch.setattr(profile, "memory_bytes", lambda: 12 << 30)
    assert len(dict(measure(dict.fromkeys(folders, large), **BRIEF))) == 2
    monkeypatch.setattr(profile, "memory_bytes", lambda: (12 << 30) - 1)
    with pytest.raises(
        UsageError, match=r"of these 2 bundles take 12\.9 GB together, this machine has 12\.9 GB of memory"
    ):
        next(measure(dict.fromkeys(folders, large), **BRIEF))
    assert next(measure({folders[0]: large}, **BRIEF))  # one by itself is as it is


@pytest.mark.parametrize(("budget", "turns"), [(0.0, 1), (60.0, profile.CONTENTION_TURNS)])
def test_passes_in_company_keep_to_the_budget_after_one_turn(budget: float, turns: int) -> None:
    taken: list[int] = []

    class Counted(Contentions):
        def turn(self) -> None:
            taken.append(1)

    profile._contention(Counted((), ()), budget, quiet)
    assert len(taken) == turns


def test_acceptance_is_that_of_the_programs(tiny_tokenizer: Path) -> None:
    found = measured(tiny_tokenizer, tokens=200).acceptance
    lengths = range(1, longest_draft(BUNDLE.widths) + 1)
    assert [(entry.drafter, entry.task, entry.asked) for entry in found.histograms] == [
        (drafter, task, asked) for drafter in ("int8", "ngram") for task in ("ride", "turn") for asked in lengths
    ]
    drafts = found.of("int8")
    assert [entry.asked for entry in drafts] == list(lengths) and drafts[0].target == "f32"
    assert drafts[-1].alpha == pytest.approx(0.8, abs=0.1)  # the null drafter's agreement
    assert max(drafts[-1].counts) == 8


def test_tasks_of_one_name_are_added(tiny_tokenizer: Path) -> None:
    twice = [Prompt("same", prompt.text) for prompt in PROMPTS]
    apart, together = (measured(tiny_tokenizer, prompts=p).acceptance.histograms for p in (PROMPTS, twice))
    assert {entry.task for entry in together} == {"same"}
    assert together[0] == merge([entry for entry in apart if (entry.drafter, entry.asked) == ("int8", 1)], task="same")


def test_what_was_saved_feeds_the_planner(tiny_tokenizer: Path, tmp_path: Path) -> None:
    found = measured(tiny_tokenizer)
    save(tmp_path, found)
    profile = read_profile(tmp_path, bundle=BUNDLE.digest, machine=this_machine({"cpu": "null device"}))
    assert profile == found.profile
    acceptance = read_acceptance(tmp_path / "acceptance.json", bundle=BUNDLE.digest)
    assert acceptance == found.acceptance
    plan = choose(BUNDLE, profile=profile, acceptance=acceptance.of("int8"), unavailable=found.unavailable)
    assert plan.mapping.target == "cpu" and plan.estimate.source == "profile"
    assert "target on gpu: no Vulkan driver" in [entry.reason for entry in plan.rejected]


def test_a_bundle_without_a_drafter_has_prompt_lookup(tiny_tokenizer: Path) -> None:
    alone = msgspec.structs.replace(BUNDLE, models=BUNDLE.models[:1])
    found = measured(tiny_tokenizer, bundle=alone)
    assert {entry.drafter for entry in found.acceptance.histograms} == {"ngram"}
    assert {entry.drafter for entry in found.profile.host} == {"none", "ngram"}


def test_one_width_leaves_nothing_to_draft(tiny_tokenizer: Path) -> None:
    narrow = msgspec.structs.replace(BUNDLE, widths=(1,))
    found = measured(tiny_tokenizer, bundle=narrow)
    assert found.acceptance.histograms == () and {entry.drafter for entry in found.profile.host} == {"none"}


def test_long_prompts_are_left_out_and_counted(tiny_tokenizer: Path) -> None:
    found = measured(tiny_tokenizer, prompts=(*PROMPTS, Prompt("long", "z" * 1000)))
    assert found.skipped_prompts == 1
    with pytest.raises(PromptError, match="none of 1 prompts fits the context of 256"):
        measured(tiny_tokenizer, prompts=[Prompt("long", "z" * 1000)])


def test_no_device_at_all(tiny_tokenizer: Path) -> None:
    def nothing(unit: ProcessingUnit, *, cores: int | None = None) -> NullDevice:
        raise DeviceUnavailable(f"{unit.name} is not here")

    with pytest.raises(DeviceUnavailable, match=r"runs on no device .*cpu: cpu is not here; gpu: gpu is not here"):
        measured(tiny_tokenizer, opened=nothing)


def test_an_unwritable_bundle_is_a_sentence(tiny_tokenizer: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot write"):
        save(tmp_path / "absent", measured(tiny_tokenizer))


def test_this_machine_is_itself() -> None:
    first, second = this_machine({"gpu": "a"}), this_machine({"gpu": "a"})
    assert first == second and first.differences(second) == ()
    assert first.cores >= 1 and first.memory_bytes > 0 and first.cpu and first.cache_bytes == last_cache_bytes()
