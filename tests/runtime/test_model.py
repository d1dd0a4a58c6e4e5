"""Models on the null device: loading, prompts, generations, statistics."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import pytest

from paceline.documents import write_json
from paceline.errors import BundleError, DeviceUnavailable, PlanError, PromptError, UsageError
from paceline.partition import Estimate, Mapping, Plan, TokenIds, read_bundle
from paceline.partition.plan import Beside, Pacing
from paceline.runtime import Model, NullDevice, Stats, load

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if message.role == 'tool' %}"
    "{{ raise_exception('no tools here') }}{% endif %}{{ message.role[0] }}:{{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}a:{% endif %}"
)
MakeBundle = Callable[..., Path]
ESTIMATE = Estimate(
    seconds_per_token=0.1, tokens_per_round=2.0, round_seconds=0.2, draft=0.1, verify=0.1, host=0.0,
    speedup=1.5, speedup_over_best=1.4, source="profile",
)  # fmt: skip
PACING = Pacing(round_seconds=(1.0, 1.2, 1.3, 1.4, 1.5), chain=(0.8, 0.64, 0.51, 0.41))


def opened(folder: Path, **options: Any) -> Model:
    return load(folder, device=NullDevice(agreement=0.8), **options)


def write_plan(
    folder: Path,
    mapping: Mapping,
    draft_length: int,
    *,
    digest: str | None = None,
    pacing: Pacing | None = None,
    overlap: bool = False,
) -> None:
    plan = Plan(
        bundle=digest or read_bundle(folder).digest, soc="null", mapping=mapping, draft_length=draft_length,
        precision={}, cores={"cpu": 1}, context=96, alpha=0.5, alpha_source="measured", estimate=ESTIMATE,
        pacing=pacing, overlap=overlap,
    )  # fmt: skip
    write_json(folder / "plan.json", plan)


def test_plain_and_speculative_texts_are_the_same(null_bundle: MakeBundle) -> None:
    folder = null_bundle()
    plain = opened(folder).generate("hello", max_new_tokens=40, ignore_eos=True).finish()
    for drafter in ("model", "ngram"):
        with opened(folder, drafter=drafter) as model:
            for length in range(9):
                found = model.generate("hello", max_new_tokens=40, ignore_eos=True, draft_length=length).finish()
                assert (found.ids, found.text) == (plain.ids, plain.text)
                assert found.stats.draft_length == length


def test_stats_add_up(null_bundle: MakeBundle) -> None:
    with opened(null_bundle(), drafter="model", draft_length=3) as model:
        generation = model.generate("hello", max_new_tokens=30, ignore_eos=True)
        tokens = list(generation)
    stats = generation.stats
    assert stats.tokens == len(tokens) == len(generation.ids) == 30
    assert stats.drafted_tokens == sum(token.origin == "drafted" for token in tokens) == stats.acceptance.accepted
    assert stats.tokens == 1 + stats.rounds + stats.drafted_tokens
    assert "".join(token.text for token in tokens) == generation.text == model.tokenizer.decode(generation.ids)
    assert (stats.prompt_tokens, stats.reused_tokens, stats.stop_reason) == (5, 0, "length")
    parts = stats.seconds
    assert sum(msgspec.structs.astuple(parts)) == pytest.approx(stats.total_seconds)
    assert 0 < stats.time_to_first_token < stats.total_seconds
    assert msgspec.json.decode(msgspec.json.encode(stats), type=Stats) == stats


def test_abandoned_generation(null_bundle: MakeBundle) -> None:
    with opened(null_bundle(), drafter="model") as model:
        whole = model.generate("hello", max_new_tokens=20, ignore_eos=True).finish()
        for count in range(8):
            generation = model.generate("hello", max_new_tokens=20, ignore_eos=True)
            list(islice(generation, count))
            generation.close()
            assert generation.ids == whole.ids[:count]
            assert generation.stats.stop_reason == "abandoned"
            assert next(generation, None) is None
        assert model.generate("hello", max_new_tokens=20, ignore_eos=True).finish().ids == whole.ids


def test_shared_beginning_of_prompts_is_not_read_again(null_bundle: MakeBundle) -> None:
    with opened(null_bundle()) as model:
        first = model.generate("hello there", max_new_tokens=3, ignore_eos=True).finish()
        again = model.generate("hello you", max_new_tokens=3, ignore_eos=True).finish()
        assert (first.stats.reused_tokens, again.stats.reused_tokens) == (0, 6)
        model.forget()
        fresh = model.generate("hello you", max_new_tokens=3, ignore_eos=True).finish()
        assert fresh.stats.reused_tokens == 0
        assert fresh.ids == again.ids


def test_end_of_sequence_is_not_part_of_the_text(null_bundle: MakeBundle) -> None:
    folder = null_bundle(tokens=TokenIds(bos=0, eos=tuple(range(1, 64, 5))))
    with opened(folder, drafter="model") as model:
        endless = model.generate("hello", max_new_tokens=60, ignore_eos=True).finish().ids
        end = next(number for number, token in enumerate(endless) if token % 5 == 1)
        for length in range(6):
            found = model.generate("hello", max_new_tokens=60, draft_length=length).finish()
            assert found.ids == endless[:end]
            assert found.stats.stop_reason == "eos"


def test_stop_string(null_bundle: MakeBundle) -> None:
    with opened(null_bundle(), drafter="model") as model:
        text = model.generate("hello", max_new_tokens=40, ignore_eos=True).finish().text
        stop = text[10:13]
        for length in range(6):
            found = model.generate("hello", max_new_tokens=40, ignore_eos=True, stop=[stop], draft_length=length)
            assert "".join(token.text for token in found) == text[: text.index(stop)] == found.text
            assert found.stats.stop_reason == "stop"


def test_text_that_waits_for_a_stop_string_comes_with_the_last_token(null_bundle: MakeBundle) -> None:
    with opened(null_bundle()) as model:
        text = model.generate("hello", max_new_tokens=12, ignore_eos=True).finish().text
        tokens = list(model.generate("hello", max_new_tokens=12, ignore_eos=True, stop=[text[-2:] + "never"]))
    assert "".join(token.text for token in tokens) == text
    assert len(tokens) == 12


def test_context_is_used_to_its_end(null_bundle: MakeBundle) -> None:
    with opened(null_bundle(), drafter="model") as model:
        for length in range(9):
            found = model.generate("a" * 90, draft_length=length, ignore_eos=True).finish()
            assert (found.stats.tokens, found.stats.stop_reason) == (96 - 90 + 1, "context")


def test_prompts_that_cannot_be_run(null_bundle: MakeBundle) -> None:
    with opened(null_bundle(tokens=TokenIds())) as model:
        with pytest.raises(PromptError, match="empty"):
            model.generate("")
        with pytest.raises(PromptError, match=r"97 tokens.* 96"):
            model.generate("a" * 97)
        with pytest.raises(PromptError, match="no chat template"):
            model.generate([{"role": "user", "content": "hi"}])
        with pytest.raises(PromptError, match="vocabulary of 64"):
            model.generate([64])
        with pytest.raises(UsageError, match="max_new_tokens is 0"):
            model.generate("a", max_new_tokens=0)
        with pytest.raises(UsageError, match="seed is -1"):
            model.generate("a", temperature=1.0, seed=-1)
        with pytest.raises(PromptError, match="is not UTF-8 text: "):
            model.generate("a\udcff")
        with pytest.raises(UsageError, match="nothing drafts"):
            model.generate("a", draft_length=2)


def test_a_prompt_whose_bytes_were_read_as_ascii(null_bundle: MakeBundle) -> None:
    with opened(null_bundle()) as model:
        assert model.tokenize("ä日".encode().decode("ascii", "surrogateescape")) == model.tokenize("ä日")


def test_beginning_of_text(null_bundle: MakeBundle) -> None:
    with opened(null_bundle(tokens=TokenIds(bos=0, add_bos=True))) as model:
        assert model.encode("") == (0,)
        assert model.encode("a") == (0, 2)
        assert model.encode("<bos>a") == (0, 2)
        assert model.generate("", max_new_tokens=2).finish().stats.tokens == 2


def test_conversation(null_bundle: MakeBundle) -> None:
    with opened(null_bundle(template=TEMPLATE)) as model:
        assert model.has_chat_template
        ids = model.encode([{"role": "user", "content": "hi"}])
        assert model.tokenizer.decode(ids, skip_special_tokens=False) == "<bos>u:hi\na:"
        with pytest.raises(PromptError, match="no tools here"):
            model.generate([{"role": "tool", "content": "x"}])
        with pytest.raises(PromptError, match="no messages"):
            model.generate([])


def test_default_is_plain_on_the_first_unit(null_bundle: MakeBundle) -> None:
    setting = opened(null_bundle()).setting
    assert (setting.mapping, setting.draft_length, setting.estimate) == (Mapping(target="cpu"), 0, None)


def test_stored_plan_is_used(null_bundle: MakeBundle) -> None:
    folder = null_bundle()
    write_plan(folder, Mapping(target="cpu", drafter="gpu"), 5)
    setting = opened(folder).setting
    assert (setting.mapping.drafter, setting.draft_length, setting.estimate) == ("gpu", 5, ESTIMATE)
    assert setting.cores == {"cpu": 1}
    other = opened(folder, draft_length=2).setting
    assert (other.mapping.drafter, other.draft_length, other.estimate) == ("gpu", 2, None)
    assert opened(folder, draft_length=0).setting.mapping == Mapping(target="cpu")
    assert opened(folder, drafter="ngram").setting.mapping.drafter == "ngram"


def test_a_plan_that_overlaps_is_followed_unless_asked_otherwise(null_bundle: MakeBundle) -> None:
    folder, mapping = null_bundle(), Mapping(target="cpu", drafter="gpu")
    plain = opened(folder).generate("hello", max_new_tokens=40, ignore_eos=True).finish()
    write_plan(folder, mapping, 3, overlap=True)
    with opened(folder) as model:
        found = model.generate("hello", max_new_tokens=40, ignore_eos=True).finish()
        assert found.ids == plain.ids
        assert found.stats.overlapped and 0 < found.stats.ready < found.stats.rounds
        assert model.setting.estimate == ESTIMATE and not model.setting.adaptive
    with opened(folder, overlap=False) as model:
        found = model.generate("hello", max_new_tokens=40, ignore_eos=True).finish()
        assert (found.ids, found.stats.overlapped, found.stats.ready) == (plain.ids, False, 0)
        assert model.setting.estimate is None  # the plan says what overlapping costs
    assert not opened(folder, drafter="ngram").setting.overlap
    assert not opened(folder, mapping=Mapping(target="gpu", drafter="cpu")).setting.overlap


def test_cores_of_each_model(null_bundle: MakeBundle) -> None:
    both = Mapping(target="cpu", drafter="cpu")
    with opened(null_bundle(), mapping=both, pin="drafter=0,target=1-2", overlap=True) as model:
        assert set(model.devices) == {"cpu@0", "cpu@1-2"}
        assert model.generate("hello", max_new_tokens=20, ignore_eos=True).finish().stats.overlapped


@pytest.fixture
def planned(null_bundle: MakeBundle) -> Path:
    """A bundle whose plan drafts 2 ahead and knows what up to 4 cost."""
    folder = null_bundle()
    write_plan(folder, Mapping(target="cpu", drafter="gpu"), 2, pacing=PACING)
    return folder


def test_the_length_of_a_plan_adapts_unless_it_is_asked_for(planned: Path) -> None:
    def longest(model: Model, **options: Any) -> tuple[bool, int]:
        stats = model.generate("hello", max_new_tokens=60, ignore_eos=True, **options).finish().stats
        return stats.adaptive, max(stats.acceptance.counts)

    with opened(planned) as model:
        plain = model.generate("hello", max_new_tokens=60, ignore_eos=True, draft_length=0).finish()
        found = model.generate("hello", max_new_tokens=60, ignore_eos=True).finish()
        assert found.ids == plain.ids
        assert (plain.stats.adaptive, found.stats.adaptive, found.stats.draft_length) == (False, True, 2)
        assert max(found.stats.acceptance.counts) == 4
        assert longest(model, draft_length=2) == (False, 2)
        assert longest(model, draft_length="adaptive")[0]
    for options in ({"adapt": False}, {"draft_length": 2}):
        with opened(planned, **options) as model:
            assert longest(model) == (False, 2)
            assert longest(model, draft_length="adaptive")[0]
    with opened(planned, mapping=Mapping(target="gpu", drafter="cpu")) as model:
        assert not longest(model)[0]
        with pytest.raises(UsageError, match="no plan says what drafting costs"):
            model.generate("hello", draft_length="adaptive")


def test_the_length_of_a_plan_that_overlaps_adapts(null_bundle: MakeBundle) -> None:
    folder, mapping = null_bundle(), Mapping(target="cpu", drafter="gpu")
    plain = opened(folder).generate("hello", max_new_tokens=60, ignore_eos=True).finish()
    beside = Beside(hit_seconds=(1.0, 1.0, 1.0, 1.0, 1.1), wait_seconds=(0.0, 0.1, 0.2, 0.3, 0.4), guess=0.8)
    write_plan(folder, mapping, 2, pacing=msgspec.structs.replace(PACING, beside=beside), overlap=True)
    with opened(folder) as model:
        found = model.generate("hello", max_new_tokens=60, ignore_eos=True).finish()
        assert found.ids == plain.ids
        assert found.stats.adaptive and found.stats.overlapped and found.stats.ready > 0
        assert max(found.stats.acceptance.counts) > 2
        fixed = model.generate("hello", max_new_tokens=60, ignore_eos=True, draft_length=2).finish().stats
        assert fixed.overlapped and not fixed.adaptive and max(fixed.acceptance.counts) == 2
    with opened(folder, overlap=False) as model:  # no plan says what rounds in turns cost
        assert model.setting.pacing is None and not model.setting.adaptive
    with load(folder, device=NullDevice(agreement=0.0)) as model:
        first, second = (model.generate("hello", max_new_tokens=40, ignore_eos=True).finish() for _ in range(2))
        assert first.ids == second.ids == plain.ids[:40]
        assert first.stats.acceptance.drafted > 10 > second.stats.acceptance.drafted


def test_greedy_texts_learn_from_one_another(planned: Path) -> None:
    def drafted(model: Model) -> int:
        return model.generate("hello", max_new_tokens=40, ignore_eos=True).finish().stats.acceptance.drafted

    # A drafter that never agrees, and a plan that expects it to.
    with load(planned, device=NullDevice(agreement=0.0)) as model:
        first, second = drafted(model), drafted(model)
        assert first > 10 > second
        model.forget()
        assert drafted(model) < 10
        model.forget(learnt=True)
        assert drafted(model) == first


def test_a_seed_repeats_its_text_whatever_came_before(planned: Path) -> None:
    with opened(planned) as model:
        first, *others = [
            model.generate("hello", max_new_tokens=40, ignore_eos=True, temperature=1.0, seed=3).finish()
            for _ in range(3)
        ]
        model.generate("hello", max_new_tokens=40, ignore_eos=True).finish()
        others.append(model.generate("hello", max_new_tokens=40, ignore_eos=True, temperature=1.0, seed=3).finish())
    assert first.stats.adaptive
    assert all((other.ids, other.stats.acceptance) == (first.ids, first.stats.acceptance) for other in others)


def test_a_drafter_may_doubt(planned: Path) -> None:
    def run(**options: Any) -> tuple[tuple[int, ...], float]:
        with opened(planned, draft_length=4, **options) as model:
            found = model.generate("hello", max_new_tokens=60, ignore_eos=True).finish()
            return found.ids, found.stats.acceptance.drafted / found.stats.rounds

    (sure, all_of_them), (doubting, fewer), (never_sure, one) = (run(min_confidence=p) for p in (0.0, 0.15, 1.0))
    assert sure == doubting == never_sure
    assert all_of_them > fewer > one
    assert one <= 1.0


def test_plan_of_another_bundle(null_bundle: MakeBundle, caplog: pytest.LogCaptureFixture) -> None:
    folder = null_bundle()
    write_plan(folder, Mapping(target="gpu"), 0, digest="0" * 64)
    assert opened(folder).setting.mapping == Mapping(target="cpu")
    assert "plan.json is for other programs" in caplog.text
    plan = msgspec.json.decode((folder / "plan.json").read_bytes(), type=Plan)
    with pytest.raises(PlanError, match="another bundle"):
        opened(folder, plan=plan)


def test_damaged_plan(null_bundle: MakeBundle) -> None:
    folder = null_bundle()
    (folder / "plan.json").write_text("{")
    with pytest.raises(PlanError, match=r"plan\.json"):
        opened(folder)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"draft_length": -1}, "draft length is -1"),
        ({"drafter": "none", "draft_length": 3}, "names nothing that drafts"),
        ({"mapping": Mapping(target="cpu"), "draft_length": 3}, "names nothing that drafts"),
        ({"drafter": "model", "min_confidence": 1.5}, "the least confidence is 1.5; it is a probability"),
        ({"drafter": "ngram", "min_confidence": 0.5}, "has no drafter model to be confident"),
    ],
)
def test_options_that_contradict_each_other(null_bundle: MakeBundle, options: dict[str, object], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        opened(null_bundle(), **options)


def test_bundle_without_drafter(null_bundle: MakeBundle) -> None:
    folder = null_bundle(drafter=False)
    with pytest.raises(UsageError, match="no drafter model"):
        opened(folder, drafter="model")
    with pytest.raises(BundleError, match="has no drafter"):
        opened(folder, mapping=Mapping(target="cpu", drafter="cpu"))
    assert opened(folder, draft_length=3).setting.mapping.drafter == "ngram"


def test_units_that_are_not_there(null_bundle: MakeBundle) -> None:
    folder = null_bundle()
    with pytest.raises(DeviceUnavailable, match=r"no unit 'npu'.*cpu, gpu"):
        load(folder, mapping=Mapping(target="npu"))


@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_damaged_bundle_names_the_file(null_bundle: MakeBundle, damage: str) -> None:
    folder = null_bundle()
    if damage == "missing":
        (folder / "target.f32.irpa").unlink()
    else:
        (folder / "target.f32.irpa").write_bytes(b"x")
    with pytest.raises(BundleError, match=r"target\.f32\.irpa"):
        opened(folder)
