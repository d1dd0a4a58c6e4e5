"""A device that is lost in the middle of a text: who takes over, what is said, and that the text is the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from paceline.documents import write_json
from paceline.errors import DeviceLost, UsageError
from paceline.partition import Mapping, Plan, TokenIds, choose
from paceline.partition.plan import Pacing
from paceline.runtime import Model, NullDevice, load, load_model
from paceline.runtime.iree_program import IreeProgram, device_fault
from paceline.targets import ProcessingUnit

BOTH_ON_GPU, TARGET_ON_GPU = Mapping(target="gpu", drafter="gpu"), Mapping(target="gpu", drafter="cpu")
DRAFTER_ON_GPU = Mapping(target="cpu", drafter="gpu")
PACING = Pacing(round_seconds=(1.0, 1.2, 1.3, 1.4, 1.5), chain=(0.8, 0.64, 0.51, 0.41))


class Opened:
    """Loads a null bundle whose GPU is lost in pass ``fault_at`` of each of its programs."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self._patch = folder, monkeypatch

    def __call__(self, *, fault_at: int | None, plan: Plan | None = None, **options: Any) -> Model:
        def open_device(unit: ProcessingUnit, **rest: Any) -> NullDevice:
            return NullDevice(unit=unit, agreement=0.8, fault_at=fault_at if unit.kind == "gpu" else None)

        self._patch.setattr(load_model, "open_device", open_device)
        return load(self.folder, plan=plan, **options)


@pytest.fixture
def opened(null_bundle: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Opened:
    return Opened(null_bundle(tokens=TokenIds(bos=0)), monkeypatch)


def texts(model: Model, **options: Any) -> tuple[int, ...]:
    return model.generate("hello", max_new_tokens=40, **options).finish().ids


@pytest.mark.parametrize("fault_at", [1, 2, 3, 7, 15])
@pytest.mark.parametrize("mapping", [BOTH_ON_GPU, TARGET_ON_GPU, DRAFTER_ON_GPU, Mapping(target="gpu")])
def test_text_is_the_same_and_streamed_tokens_stay(
    opened: Opened, mapping: Mapping, fault_at: int, caplog: pytest.LogCaptureFixture
) -> None:
    options: dict[str, Any] = {"mapping": mapping, "draft_length": 3 if mapping.drafter else 0}
    expected = texts(opened(fault_at=None, **options))
    with opened(fault_at=fault_at, **options) as model:
        generation = model.generate("hello", max_new_tokens=40)
        seen = [token.id for token in generation]
        assert tuple(seen) == generation.ids == expected
        lost = {role: "gpu" for role in ("target", "drafter") if getattr(mapping, role) == "gpu"}
        assert {entry.role: entry.lost for entry in generation.stats.fallback} == lost
        # once for each device's program, however long the text goes on
        assert len(caplog.records) == len(lost)
        assert all("the null device was lost (pass " in record.message for record in caplog.records)
        # and the next text runs where this one ended
        again = model.generate("hello", max_new_tokens=40)
        assert again.finish().ids == expected
        assert again.stats.fallback == ()
        assert len(caplog.records) == len(lost)
        assert model.setting.mapping.target == "cpu" and model.setting.mapping.drafter in (None, "cpu")
        assert list(model.devices) == ["cpu"]


def test_where_each_goes(opened: Opened, caplog: pytest.LogCaptureFixture) -> None:
    with opened(fault_at=4, mapping=BOTH_ON_GPU, draft_length=3) as model:
        stats = model.generate("hello", max_new_tokens=40).finish().stats
    found = {entry.role: entry for entry in stats.fallback}
    assert (found["target"].unit, found["drafter"].unit) == ("cpu", None)
    assert found["target"].reason == "the null device was lost (pass 4)"
    assert any("going on with the target on cpu, which reads the text again" in r.message for r in caplog.records)
    assert any("going on plain, without the drafter" in record.message for record in caplog.records)


def test_a_fixed_length_stays_when_the_target_moves(opened: Opened) -> None:
    with opened(fault_at=3, mapping=TARGET_ON_GPU, draft_length=3) as model:
        texts(model)
        assert model.setting.draft_length == 3
        assert model.generate("hello", max_new_tokens=40).finish().stats.acceptance.drafted > 0


def adaptive_plan(mapping: Mapping, opened: Opened) -> Plan:
    model = opened(fault_at=None)
    return replace(
        choose(model.bundle, profile=None, alpha=0.9), mapping=mapping, draft_length=2, pacing=PACING, cores={}
    )


def test_an_adaptive_length_becomes_plain(opened: Opened) -> None:
    plan = adaptive_plan(TARGET_ON_GPU, opened)
    with opened(fault_at=None, plan=plan) as model:
        assert model.setting.adaptive
        whole = model.generate("hello", max_new_tokens=40).finish()
    with opened(fault_at=3, plan=plan) as model:
        broken = model.generate("hello", max_new_tokens=40).finish()
        assert broken.ids == whole.ids
        # the first pass reads the prompt, the third is lost: two rounds have drafted
        assert broken.stats.acceptance.drafted == 8 < whole.stats.acceptance.drafted
        assert (model.setting.adaptive, model.setting.draft_length, model.setting.estimate) == (False, 0, None)
        assert model.generate("hello", max_new_tokens=9).finish().stats.acceptance.drafted == 0
        with pytest.raises(UsageError, match="no plan says what drafting costs on this mapping"):
            model.generate("hello", draft_length="adaptive")


@pytest.mark.parametrize("mapping", [BOTH_ON_GPU, TARGET_ON_GPU])
def test_a_sampled_text_keeps_its_beginning_and_repeats(opened: Opened, mapping: Mapping) -> None:
    options = {"temperature": 0.8, "seed": 3}
    whole = texts(opened(fault_at=None, mapping=mapping, draft_length=3), **options)
    texts_ = [texts(opened(fault_at=5, mapping=mapping, draft_length=3), **options) for _ in range(2)]
    assert texts_[0] == texts_[1]
    if mapping == TARGET_ON_GPU:
        # the same drafts are judged by the same numbers, so even the rest is the same where logits are
        assert texts_[0] == whole


def test_without_a_cpu_program_the_error_says_so(opened: Opened) -> None:
    bundle, folder = opened(fault_at=None).bundle, opened.folder
    target, drafter = bundle.models
    models = (replace(target, programs={"gpu": target.programs["gpu"]}), drafter)
    write_json(folder / "bundle.json", replace(bundle, models=models))
    with pytest.raises(DeviceLost, match="cannot go on elsewhere: the bundle has no target program for unit 'cpu'"):
        texts(opened(fault_at=4, mapping=Mapping(target="gpu")))


@pytest.mark.parametrize("mapping", [Mapping(target="gpu"), DRAFTER_ON_GPU])
def test_without_fallback_it_is_an_error(opened: Opened, mapping: Mapping) -> None:
    length = 3 if mapping.drafter else 0
    with (
        opened(fault_at=4, mapping=mapping, draft_length=length, fallback=False) as model,
        pytest.raises(DeviceLost, match=r"^the null device was lost \(pass 4\)$"),
    ):
        texts(model)


def test_a_cpu_that_fails_has_nothing_to_go_on_with(null_bundle: Callable[..., Path]) -> None:
    with (
        load(null_bundle(tokens=TokenIds(bos=0)), device=NullDevice(fault_at=3)) as model,
        pytest.raises(DeviceLost, match=r"^the null device was lost \(pass 3\)$"),
    ):
        texts(model)


def test_statistics_of_a_dropped_text_do_not_grow(opened: Opened) -> None:
    with opened(fault_at=4, mapping=Mapping(target="gpu")) as model:
        first = model.generate("hello", max_new_tokens=40)
        next(first)
        first.close()
        later = model.generate("world", max_new_tokens=40).finish()
        assert (len(first.stats.fallback), len(later.stats.fallback)) == (0, 1)


class Faulty:
    """Stands before IREE's context; its ``at``-th call fails as IREE says it."""

    def __init__(self, context: Any, *, at: int, status: str) -> None:
        self._context, self._left, self._status = context, at, status

    def invoke(self, *arguments: Any) -> None:
        self._left -= 1
        if self._left <= 0:
            raise RuntimeError(f"Error invoking function: c/runtime/src/iree/x.c:57: {self._status}; while invoking x")
        self._context.invoke(*arguments)


@pytest.mark.cpu
@pytest.mark.vulkan
@pytest.mark.parametrize("mapping", [BOTH_ON_GPU, TARGET_ON_GPU, DRAFTER_ON_GPU, Mapping(target="gpu")])
def test_compiled_programs_go_on(tiny_bundle: Path, mapping: Mapping) -> None:
    length = 3 if mapping.drafter else 0
    prompt, options = list(range(3, 60)), dict[str, Any](max_new_tokens=32, ignore_eos=True)
    with load(tiny_bundle, mapping=mapping, draft_length=length) as model:
        expected = model.generate(prompt, **options).finish().ids
    with load(tiny_bundle, mapping=mapping, draft_length=length) as model:
        lost = "drafter" if mapping.target == "cpu" else "target"
        program = next(one for one in model._programs if (one is model._target.program) == (lost == "target"))
        assert isinstance(program, IreeProgram)
        held = program._held.context
        held[0] = Faulty(held[0], at=9, status="INTERNAL; VK_ERROR_DEVICE_LOST")
        generation = model.generate(prompt, **options)
        assert generation.finish().ids == expected
        (entry,) = generation.stats.fallback
        assert (entry.role, entry.lost, entry.unit) == (lost, "gpu", "cpu" if lost == "target" else None)
        assert entry.reason.endswith("was lost (INTERNAL; VK_ERROR_DEVICE_LOST)")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            RuntimeError("x: c/allocator_libc.c:57: RESOURCE_EXHAUSTED; libc failed"),
            "ran out of memory (RESOURCE_EXHAUSTED; libc failed)",
        ),
        (
            RuntimeError("x: INTERNAL; VK_ERROR_DEVICE_LOST; while\n[ 0] more"),
            "was lost (INTERNAL; VK_ERROR_DEVICE_LOST)",
        ),
        (RuntimeError("x: UNAVAILABLE"), "was lost (UNAVAILABLE)"),
        (RuntimeError("x: FAILED_PRECONDITION; the caller's fault"), None),
        (ValueError("x: INVALID_ARGUMENT; INTERNAL"), None),
    ],
)
def test_what_iree_says_of_a_device(error: Exception, said: str | None) -> None:
    found = device_fault(error, "the GPU")
    assert (None if found is None else str(found)) == (said and f"the GPU {said}")
