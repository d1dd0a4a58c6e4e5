"""The choice is the brute-force minimum, and every loser says why."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.checksums import FileEntry
from paceline.costmodel import (
    Acceptance,
    HostTime,
    Machine,
    Measurement,
    Profile,
    Role,
    expected_tokens,
    weights_bytes,
)
from paceline.errors import PlanError, ProfileError, UsageError
from paceline.partition import Bundle, BundledModel, Failure, Mapping, Plan, TokenIds, choose
from paceline.partition.times import RooflineTimes, check_profile
from paceline.targets import Figure, ProcessingUnit, Soc
from tests.specs import tiny_spec

UNITS = ("cpu", "gpu")
WIDTHS = (1, 2, 4, 8, 16)
CPU_CPU, NGRAM_CPU, CPU = (Mapping(target="cpu", drafter=drafter) for drafter in ("cpu", "ngram", None))
NGRAM = Acceptance(task="all", drafter="ngram", target="f32", counts={0: (50,), 4: (20, 5, 5, 0, 20)})


def figure(value: float) -> Figure:
    return Figure(value=value, source="test")


def unit(name: Any, memory: float = 8e9) -> ProcessingUnit:
    return ProcessingUnit(
        name=name,
        kind=name,
        description="test",
        cores=2,
        peak={"f32": figure(50e9), "int8": figure(200e9)},
        bandwidth=figure(10e9),
        memory=figure(memory),
        launch=figure(2e-6),
    )


SPEC = tiny_spec(
    name="model", layers=4, hidden=256, heads=8, kv_heads=4, head_size=32, ffn=1024, vocabulary=8192, context=512
)


def model(role: Role, precision: Any) -> BundledModel:
    return BundledModel(
        role=role,
        spec=SPEC,
        precision=precision,
        weights=dict.fromkeys(UNITS, f"{role}.irpa"),
        programs={name: f"{role}.{name}.vmfb" for name in UNITS},
    )


BUNDLE = Bundle(
    name="test",
    soc=Soc(name="test-soc", description="", memory=figure(8e9), units=tuple(map(unit, UNITS))),
    context=256,
    widths=WIDTHS,
    models=(model("target", "f32"), model("drafter", "int8")),
    tokens=TokenIds(),
    versions={},
    files={
        "target.cpu.vmfb": FileEntry(bytes=1000, sha256="0"),
        "target.irpa": FileEntry(bytes=weights_bytes(SPEC, "f32"), sha256="0"),
        "drafter.irpa": FileEntry(bytes=weights_bytes(SPEC, "int8"), sha256="0"),
    },
)


def profile(*, target: float = 0.016, drafter: float = 0.004, gpu: float = 4.0, slope: float = 0.03) -> Profile:
    """Seconds by role and unit, the GPU ``gpu`` times slower, each further token ``slope`` of a pass."""
    times = {("target", "cpu"): target, ("drafter", "cpu"): drafter}
    times |= {("target", "gpu"): target * gpu, ("drafter", "gpu"): drafter * gpu}
    return profile_of({(*key, width): s * (1 + slope * (width - 1)) for key, s in times.items() for width in WIDTHS})


def profile_of(seconds: dict[tuple[Any, ...], float], *, cores: int = 2, host: float = 0.0002) -> Profile:
    machine = Machine(architecture="x", cpu="x", cores=2, memory_bytes=1)
    measured = tuple(
        Measurement(role=r, precision="", unit=u, cores=cores, width=w, position=0, seconds=s, spread=0, repeats=3)
        for (r, u, w), s in seconds.items()
    )
    return Profile(bundle=BUNDLE.digest, machine=machine, context=256, measurements=measured, host=hosts(host))


def hosts(seconds: float) -> tuple[HostTime, ...]:
    """Plain rounds half of ``seconds``; rounds that draft 1 to 7 between once and twice."""
    model = tuple(HostTime(drafter="model", draft_length=g, seconds=seconds * (5 + g) / 6) for g in (1, 7))
    ngram = HostTime(drafter="ngram", draft_length=1, seconds=seconds)
    return (HostTime(drafter="none", draft_length=0, seconds=seconds / 2), ngram, *model)


def brute_force(seconds: dict[tuple[Any, ...], float], alpha: float, host: float) -> dict[tuple[Any, ...], float]:
    """Seconds a token of every mapping and length, written out once more and differently."""
    found: dict[tuple[Any, ...], float] = {(t, None, 0): seconds["target", t, 1] + host / 2 for t in UNITS}
    for t, d, g in itertools.product(UNITS, UNITS, range(1, 9)):
        padded = next(width for width in WIDTHS if width >= g + 1)
        total = sum(seconds["drafter", d, 1] for _ in range(g)) + seconds["target", t, padded]
        total += host * (5 + min(g, 7)) / 6
        total += alpha**g * (seconds["drafter", d, 2] - seconds["drafter", d, 1])
        found[t, d, g] = total / expected_tokens(alpha, g)
    return found


times = st.floats(1e-4, 1e-1)
tables = st.fixed_dictionaries({(r, u, w): times for r in ("target", "drafter") for u in UNITS for w in WIDTHS})


@given(tables, st.floats(0, 1), st.floats(0, 1e-3), st.sampled_from([0.0, 0.05, 0.5]))
@settings(max_examples=60, deadline=None)
def test_the_choice_is_the_brute_force_minimum(
    seconds: dict[tuple[Any, ...], float], alpha: float, host: float, margin: float
) -> None:
    plan = choose(BUNDLE, profile=profile_of(seconds, host=host), alpha=alpha, margin=margin)
    costs = brute_force(seconds, alpha, host)
    best_plain = min(cost for (_, _, length), cost in costs.items() if not length)
    worthy = [cost for (_, _, g), cost in costs.items() if g and best_plain > (1 + margin) * cost]
    assert plan.estimate.seconds_per_token == pytest.approx(min([best_plain, *worthy]))
    key = (plan.mapping.target, plan.mapping.drafter, plan.draft_length)
    assert costs[key] == pytest.approx(plan.estimate.seconds_per_token)
    assert plan.estimate.speedup_over_best == pytest.approx(best_plain / costs[key])
    assert plan.estimate.speedup == pytest.approx(costs[key[0], None, 0] / costs[key])


@given(tables, st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_every_alternative_is_listed_once_with_a_reason(seconds: dict[tuple[Any, ...], float], alpha: float) -> None:
    plan = choose(BUNDLE, profile=profile_of(seconds), alpha=alpha, ngram=(NGRAM,))
    keys = [(str(entry.mapping), entry.draft_length) for entry in plan.rejected]
    assert len(set(keys)) == len(keys)
    # 2 plain, 2 targets x 8 lengths by n-grams, 4 mappings x 8 lengths; one of them is the choice.
    assert len(keys) == 2 + 16 + 32 - 1
    assert (str(plan.mapping), plan.draft_length) not in keys
    assert all(entry.reason and entry.estimate for entry in plan.rejected)
    costs = [entry.estimate.seconds_per_token for entry in plan.rejected if entry.estimate]
    assert costs == sorted(costs)


def reasons(plan: Plan, **fields: Any) -> list[str]:
    """Reasons of the alternatives whose mapping has these units."""
    wanted = fields.items()
    return [e.reason for e in plan.rejected if all(getattr(e.mapping, key) == value for key, value in wanted)]


def test_a_good_drafter_is_used() -> None:
    plan = choose(BUNDLE, profile=profile(), alpha=0.9)
    assert (plan.mapping, plan.cores) == (CPU_CPU, {"cpu": 2})
    assert plan.draft_length > 0 and plan.estimate.speedup_over_best > 1.05
    assert plan.precision == {"target": "f32", "drafter": "int8"}
    assert (plan.bundle, plan.soc, plan.context) == (BUNDLE.digest, "test-soc", 256)
    assert (plan.alpha, plan.alpha_source) == (0.9, "given")
    parts = plan.estimate.draft + plan.estimate.verify + plan.estimate.host
    assert plan.estimate.round_seconds == pytest.approx(parts)


@pytest.mark.parametrize(("alpha", "drafter"), [(0.05, 0.004), (0.95, 0.016), (0.0, 0.0001)])
def test_a_bad_drafter_is_not(alpha: float, drafter: float) -> None:
    plan = choose(BUNDLE, profile=profile(drafter=drafter), alpha=alpha)
    assert (plan.mapping, plan.draft_length) == (CPU, 0)
    assert plan.precision == {"target": "f32"}
    assert plan.estimate.speedup == plan.estimate.speedup_over_best == 1.0
    assert all(reason.startswith("a loss: ") for reason in reasons(plan, drafter="cpu", target="cpu"))


def test_a_gain_within_the_margin_is_left() -> None:
    measured = profile(drafter=0.0105, slope=0.0)
    gain = choose(BUNDLE, profile=measured, alpha=0.8, margin=0.0).estimate.speedup_over_best
    assert 1.0 < gain < 1.1
    plan = choose(BUNDLE, profile=measured, alpha=0.8, margin=0.1)
    assert plan.draft_length == 0
    assert f"{gain:.3f}x plain decoding is within the margin of 1.10x" in reasons(plan, drafter="cpu", target="cpu")


def test_best_plain_is_the_honest_baseline() -> None:
    plan = choose(BUNDLE, profile=profile(gpu=4.0), alpha=0.9)
    on_gpu = [e for e in plan.rejected if e.mapping == Mapping(target="gpu", drafter="cpu")]
    best = max((e.estimate for e in on_gpu if e.estimate), key=lambda estimate: estimate.speedup)
    assert best.speedup > 2.0 > 1.0 > best.speedup_over_best


def test_an_unavailable_unit_is_rejected_with_the_given_reason() -> None:
    why = "no Vulkan driver; run 'paceline doctor --install-swiftshader'"
    plan = choose(BUNDLE, profile=profile(gpu=0.1), alpha=0.9, unavailable={"gpu": why})
    assert plan.mapping == CPU_CPU
    assert reasons(plan, target="gpu", drafter=None) == [f"target on gpu: {why}"]
    assert reasons(plan, target="cpu", drafter="gpu") == [f"drafter on gpu: {why}"]
    ruled_out = [e for e in plan.rejected if "gpu" in (e.mapping.target, e.mapping.drafter)]
    assert [e.draft_length for e in ruled_out if e.mapping.drafter is None] == [0]
    assert all(e.estimate is None for e in ruled_out)


def test_a_program_that_failed_or_is_missing_is_rejected() -> None:
    without = [msgspec.structs.replace(m, programs={"cpu": m.programs["cpu"]}) for m in BUNDLE.models]
    failure = Failure(role="drafter", precision="int8", unit="gpu", reason="IREE has no int8 for Adreno")
    bundle = msgspec.structs.replace(BUNDLE, models=tuple(without), failures=(failure,))
    plan = choose(bundle, profile=profile(), alpha=0.9)
    assert reasons(plan, target="gpu", drafter=None) == [
        "the bundle has no program of the target for gpu; compile it for that unit"
    ]
    assert reasons(plan, target="cpu", drafter="gpu") == [
        "drafter (int8) was not compiled for gpu: IREE has no int8 for Adreno"
    ]


def test_memory_is_a_budget() -> None:
    plan = choose(BUNDLE, profile=profile(), alpha=0.9, memory_bytes=40 << 20)
    assert plan.draft_length == 0
    (reason,) = reasons(plan, target="cpu", drafter="cpu")
    weights = "(31.0 MiB of weights, 23.0 MiB of them again, packed)"
    assert reason.startswith(f"target on cpu 55.5 MiB {weights}; drafter on cpu ")
    assert reason.endswith("> 40.0 MiB of memory")
    with pytest.raises(PlanError, match=r"runs nowhere here: target=cpu: .*MiB of memory; target=gpu"):
        choose(BUNDLE, profile=profile(), alpha=0.9, memory_bytes=1000)


def test_a_small_gpu_takes_the_drafter_only() -> None:
    soc = msgspec.structs.replace(BUNDLE.soc, units=(unit("cpu"), unit("gpu", memory=20e6)))
    plan = choose(msgspec.structs.replace(BUNDLE, soc=soc), profile=profile(gpu=0.5), alpha=0.9)
    assert plan.mapping == Mapping(target="cpu", drafter="gpu")
    assert ["of memory" in reason for reason in reasons(plan, target="gpu", drafter=None)] == [True]


def test_widths_and_context_bound_the_draft() -> None:
    narrow = choose(msgspec.structs.replace(BUNDLE, widths=(1, 2, 4)), profile=profile(), alpha=0.99)
    assert narrow.draft_length == 3
    expected = "verifying 5 tokens needs a wider program; compiled widths are 1, 2, 4"
    assert expected in reasons(narrow, target="cpu", drafter="cpu")
    short = choose(msgspec.structs.replace(BUNDLE, context=4), profile=profile(), alpha=0.99)
    assert "verifying 5 tokens runs 8 wide, more than the context of 4" in reasons(short, target="cpu", drafter="cpu")


def test_padding_is_paid_for() -> None:
    seconds = {(r, u, w): 0.01 * w for r in ("target", "drafter") for u in UNITS for w in WIDTHS}
    plan = choose(BUNDLE, profile=profile_of(seconds, host=0.0), alpha=0.5)
    verify = {e.draft_length: e.estimate.verify for e in plan.rejected if e.mapping == CPU_CPU and e.estimate}
    assert [verify[g] for g in range(1, 9)] == pytest.approx([0.02, 0.04, 0.04, 0.08, 0.08, 0.08, 0.08, 0.16])


def test_what_was_not_measured_is_rejected() -> None:
    only_cpu = msgspec.structs.replace(
        profile(), measurements=tuple(m for m in profile().measurements if m.unit == "cpu")
    )
    plan = choose(BUNDLE, profile=only_cpu, alpha=0.9)
    assert reasons(plan, target="gpu", drafter=None)[0].startswith("the profile has no target on gpu")


def test_core_counts_are_searched() -> None:
    two = profile()
    one = [msgspec.structs.replace(m, cores=1, seconds=m.seconds * 0.9) for m in two.measurements if m.unit == "cpu"]
    both = msgspec.structs.replace(two, measurements=(*two.measurements, *one))
    plan = choose(BUNDLE, profile=both, alpha=0.9)
    assert plan.cores == {"cpu": 1}
    same = [e for e in plan.rejected if e.mapping == plan.mapping and e.draft_length == plan.draft_length]
    assert [e.cores for e in same] == [{"cpu": 2}]


def test_prompt_lookup_needs_its_own_measurement() -> None:
    slow = profile(drafter=0.02, slope=0.001)
    without = choose(BUNDLE, profile=slow, alpha=0.5)
    assert reasons(without, target="cpu", drafter="ngram") == [
        "nobody measured how much of prompt lookup is kept; run 'paceline profile'"
    ]
    plan = choose(BUNDLE, profile=slow, alpha=0.5, ngram=(NGRAM,))
    assert plan.mapping == NGRAM_CPU
    assert plan.alpha == NGRAM.alpha and plan.alpha_source == "measured on all tasks"
    assert plan.estimate.tokens_per_round == pytest.approx(1 + sum(NGRAM.shares(plan.draft_length)))
    assert plan.estimate.draft == 0.0 and plan.precision == {"target": "f32"}


def test_prompt_lookup_that_found_nothing_was_measured() -> None:
    plan = choose(
        BUNDLE, profile=profile(), ngram=(Acceptance(drafter="ngram", target="f32", asked=4, counts={0: (9,)}),)
    )
    assert reasons(plan, target="cpu", drafter="ngram") == [
        "prompt lookup found nothing to draft in the texts that were measured"
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"context": 4}, "of a context of 256, .* has 4;"), ({"widths": (1, 2, 4)}, "passes of 8 tokens, .* has none")],
)
def test_a_profile_of_other_programs(changes: dict[str, Any], said: str) -> None:
    check_profile(BUNDLE, profile())
    with pytest.raises(ProfileError, match=said):
        check_profile(msgspec.structs.replace(BUNDLE, **changes), profile())


def test_measured_acceptance_counts_as_it_is_not_as_independent() -> None:
    all_or_nothing = Acceptance(task="code", drafter="int8", target="f32", counts={4: (60, 0, 0, 0, 40)})
    plan = choose(BUNDLE, profile=profile(), acceptance=(all_or_nothing,))
    assert plan.alpha == all_or_nothing.alpha and plan.alpha_source == "measured on code"
    assert plan.estimate.tokens_per_round == pytest.approx(all_or_nothing.expected_tokens(plan.draft_length))
    assert choose(BUNDLE, profile=profile(), acceptance=(all_or_nothing,), alpha=0.0).draft_length == 0


def test_the_default_says_that_it_is_one() -> None:
    assert choose(BUNDLE, profile=profile()).alpha_source == "default: not measured"


def test_a_roofline_stands_in_for_a_board_that_is_not_here() -> None:
    models = tuple(msgspec.structs.replace(model, kernels={"cpu": "x86_64-avx2"}) for model in BUNDLE.models)
    bundle = msgspec.structs.replace(BUNDLE, models=models)
    plan = choose(bundle, profile=None, alpha=0.8)
    assert plan.estimate.source == "roofline" and plan.cores == {"cpu": 2}
    faster = msgspec.structs.replace(unit("cpu"), bandwidth=figure(20e9))
    soc = msgspec.structs.replace(BUNDLE.soc, units=(faster, unit("gpu")))
    again = choose(msgspec.structs.replace(bundle, soc=soc), profile=None, alpha=0.8)
    assert again.estimate.seconds_per_token < plan.estimate.seconds_per_token


def test_a_roofline_of_kernels_reads_what_is_filled() -> None:
    target = msgspec.structs.replace(BUNDLE.target, kernels={"cpu": "x86_64-avx2"})
    times = RooflineTimes(msgspec.structs.replace(BUNDLE, models=(target,)))
    traced, called = (times.estimate("target", name, 4, 2) for name in ("gpu", "cpu"))
    saved = 4 * 2 * (BUNDLE.context // 2 - 4) * SPEC.kv_heads * SPEC.head_size * SPEC.layers  # bytes of keys and values
    assert traced.bandwidth - called.bandwidth > saved / 10e9
    assert called.arithmetic < traced.arithmetic
    assert called.launches == pytest.approx((8 * SPEC.layers + 4) * 2e-6)


def test_ties_go_to_the_first_unit_and_the_shorter_draft() -> None:
    even = profile(gpu=1.0)
    plan = choose(BUNDLE, profile=even, alpha=0.9)
    assert plan.mapping == CPU_CPU
    assert "as fast as the choice, which drafts less or comes first" in reasons(plan, target="gpu", drafter="gpu")
    free = profile_of({(r, u, w): 0.01 * (r == "target") for r in ("target", "drafter") for u in UNITS for w in WIDTHS})
    assert choose(BUNDLE, profile=msgspec.structs.replace(free, host=()), alpha=0.0).draft_length == 0


def test_a_bundle_without_a_drafter() -> None:
    alone = msgspec.structs.replace(BUNDLE, models=BUNDLE.models[:1])
    plan = choose(alone, profile=profile())
    assert plan.mapping == CPU
    assert {e.mapping.drafter for e in plan.rejected} == {None, "ngram"}
    looked_up = choose(alone, profile=profile(slope=1.0), ngram=(NGRAM,))
    assert (looked_up.draft_length, looked_up.alpha) == (0, NGRAM.alpha)


@pytest.mark.parametrize("options", [{"alpha": 1.5}, {"margin": -0.1}, {"max_draft_length": -1}])
def test_meaningless_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        choose(BUNDLE, profile=profile(), **options)


def test_a_plan_survives_the_disk() -> None:
    plan = choose(BUNDLE, profile=profile(), alpha=0.9, unavailable={"gpu": "not here"})
    assert msgspec.json.decode(msgspec.json.encode(plan), type=Plan) == plan
