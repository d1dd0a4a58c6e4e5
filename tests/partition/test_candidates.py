"""What a plan hands to a draft length that adapts: rounds by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Mapping as Table
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import msgspec
import pytest

from paceline.costmodel import Acceptance, Drafting, Role, Slowdown, overlapped_round
from paceline.partition import Mapping, read_bundle
from paceline.partition.candidates import Belief, Candidate, Search, mapping_round, mappings
from paceline.partition.pacing import pacing_of
from paceline.partition.plan import Pacing

WIDTHS = (1, 2, 4, 16)
CORES = {"cpu": 2, "gpu": 1}


@dataclass
class Seconds:
    """A target of 1 s and a tenth for each further row of the compiled width, a drafter of a quarter of that."""

    source: Literal["profile"] = "profile"
    missing: set[int] = field(default_factory=set)
    beside: Slowdown | None = None
    after: dict[int, Slowdown] = field(default_factory=dict)
    sets: dict[Role, Sequence[str]] = field(default_factory=dict)

    def host_seconds(self, drafter: Drafting, draft_length: int) -> float:
        return {"none": 0.01, "model": 0.03, "ngram": 0.02}[drafter] + 0.001 * draft_length

    def seconds(self, role: Role, unit: str, width: int, cores: int) -> float | None:
        padded = min((compiled for compiled in WIDTHS if compiled >= width), default=0)
        if not padded or padded in self.missing:
            return None
        assert cores == CORES[unit]
        return (0.9 + 0.1 * padded) * (0.25 if role == "drafter" else 1.0)

    def cores(self, unit: str) -> tuple[int, ...]:
        return (CORES[unit],)

    def slowdown(self, target: str, drafter: str, width: int) -> Slowdown | None:
        return self.beside

    def in_turns(self, target: str, drafter: str, draft_length: int) -> Slowdown:
        assert drafter != "ngram"
        return self.after.get(draft_length, Slowdown())

    @property
    def pinned(self) -> Table[Role, Sequence[str]]:
        return self.sets


def choice(drafter: str) -> Candidate:
    return Candidate(mapping=Mapping(target="cpu", drafter=drafter), draft_length=1, cores=CORES)


def test_rounds_of_a_drafter_model() -> None:
    pacing = pacing_of(Seconds(), WIDTHS, choice("gpu"), Belief(alpha=0.5, source="given"), 4)
    assert pacing.chain == (0.5, 0.25, 0.125, 0.0625)
    catch_up = [0.025 * kept for kept in pacing.chain]
    assert pacing.round_seconds == pytest.approx(
        [
            1.0 + 0.01,
            0.25 + catch_up[0] + 1.1 + 0.031,
            0.50 + catch_up[1] + 1.3 + 0.032,
            0.75 + catch_up[2] + 1.3 + 0.033,
            1.00 + catch_up[3] + 2.5 + 0.034,
        ]
    )
    assert pacing.read_seconds == pytest.approx(0.25 * 2.5 / 16)


def test_prompt_lookup_is_taken_to_find_something_and_has_nothing_to_read() -> None:
    found = Acceptance(drafter="ngram", asked=2, counts={0: (80,), 2: (5, 5, 10)})
    belief = Belief(alpha=0.5, source="measured", measured=(found,), proposes_always=False)
    pacing = pacing_of(Seconds(), WIDTHS, choice("ngram"), belief, 2)
    assert pacing.chain == (0.75, 0.5)
    assert pacing.round_seconds == pytest.approx([1.01, 1.1 + 0.021, 1.3 + 0.022])
    assert pacing.read_seconds == 0.0


def test_the_chain_is_that_of_the_chosen_length_and_goes_on_as_the_longest() -> None:
    short = Acceptance(drafter="int8", asked=1, counts={1: (20, 80)})
    long = Acceptance(drafter="int8", asked=3, counts={3: (40, 20, 20, 20)})
    belief = Belief(alpha=0.5, source="measured", measured=(short, long))
    assert pacing_of(Seconds(), WIDTHS, choice("cpu"), belief, 3).chain == pytest.approx((0.8, 0.8 * 2 / 3, 0.8 / 3))
    never = replace(belief, measured=(short, Acceptance(drafter="int8", asked=3, counts={3: (9, 0, 0, 0)})))
    assert pacing_of(Seconds(), WIDTHS, choice("cpu"), never, 3).chain == (0.8, 0.0, 0.0)


@pytest.mark.parametrize("after", [{}, dict.fromkeys((1, 2, 3), Slowdown(1.3, 1.5))])
def test_rounds_beside_the_target_and_what_a_hit_saves(after: dict[int, Slowdown]) -> None:
    times, belief = Seconds(beside=Slowdown(1.2, 1.1), after=after), Belief(alpha=0.5, source="given")
    chosen = replace(choice("gpu"), overlap=True)
    pacing = pacing_of(times, WIDTHS, chosen, belief, 3)
    found = pacing.beside
    assert found is not None
    assert pacing.chain == (0.5, 0.25, 0.125)
    assert found.guess == pytest.approx(0.5)
    # the round's host time passes where the drafter is
    assert found.wait_seconds == pytest.approx([0.0, *(0.251 * n + 0.02 for n in (1, 2, 3))])
    for length in range(4):
        costs = mapping_round(times, chosen.mapping, length, CORES, belief, overlap=True)
        hits = 0.5 ** (length + 1) if length else 0.0
        both = hits * found.hit_seconds[length] + (1 - hits) * pacing.round_seconds[length]
        assert costs.seconds == pytest.approx(both)
    with pytest.raises(ValueError, match="waits for 0 to 3 drafts"):
        msgspec.structs.replace(pacing, beside=msgspec.structs.replace(found, wait_seconds=(0.0,)))
    with pytest.raises(ValueError, match="rounds of 0 to 3 drafts"):
        msgspec.structs.replace(pacing, beside=msgspec.structs.replace(found, hit_seconds=(1.0,)))


@pytest.mark.parametrize(("missing", "longest", "lengths"), [({16}, 8, 3), (set(), 99, 15), (set(), 1, 1)])
def test_lengths_go_as_far_as_passes_are_known(missing: set[int], longest: int, lengths: int) -> None:
    times = Seconds(missing=missing)
    pacing = pacing_of(times, WIDTHS, choice("cpu"), Belief(alpha=0.9, source="given"), longest)
    assert len(pacing.chain) == len(pacing.round_seconds) - 1 == lengths


@pytest.mark.parametrize("rounds", [(), (1.0,), (1.0, 1.0, 1.0), (1.0, 0.0)])
def test_pacing_has_a_round_for_every_draft(rounds: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="rounds of 0 to 1 drafts"):
        Pacing(round_seconds=rounds, chain=(0.5,))


def test_an_overlapped_round_is_the_cost_models() -> None:
    times, belief = Seconds(beside=Slowdown(1.2, 1.1)), Belief(alpha=0.8, source="given")
    found = mapping_round(times, Mapping(target="cpu", drafter="gpu"), 3, CORES, belief, overlap=True)
    expected = overlapped_round(
        drafter=lambda width: 0.25,
        target=lambda width: {1: 1.0, 4: 1.3}[min(compiled for compiled in WIDTHS if compiled >= width)],
        probabilities=[0.8, 0.64, 0.512, 0.4096],
        slowdown=Slowdown(1.2, 1.1),
        host=0.01,
        draft_host=(0.033 - 0.01) / 3,
        plain_host=0.01,
    )
    assert found.seconds == pytest.approx(expected.seconds)
    assert found.tokens == pytest.approx(expected.tokens)
    with pytest.raises(LookupError, match="drafter on gpu beside the target on cpu"):
        mapping_round(Seconds(), Mapping(target="cpu", drafter="gpu"), 3, CORES, belief, overlap=True)


def test_passes_after_those_of_another_model_take_longer() -> None:
    after = {1: Slowdown(1.1, 1.5), 3: Slowdown(1.2, 1.3)}
    belief, mapping = Belief(alpha=0.5, source="given"), Mapping(target="cpu", drafter="cpu")
    alone, found = (mapping_round(Seconds(after=given), mapping, 3, CORES, belief) for given in ({}, after))
    assert found.draft == pytest.approx(1.3 * alone.draft)
    assert found.catch_up == pytest.approx(1.3 * alone.catch_up) and found.catch_up > 0
    assert found.verify == pytest.approx(1.2 * alone.verify)
    assert (found.host, found.plain) == (alone.host, alone.plain)


def test_rounds_cut_short_are_verified_after_as_many_drafts_as_they_have() -> None:
    after = {1: Slowdown(2.0, 1.0), 2: Slowdown(3.0, 1.0)}
    cut = Belief(
        alpha=0.0, source="replayed", measured=(Acceptance(asked=2, counts={0: (1,), 1: (1, 0), 2: (2, 0, 0)}),)
    )
    cut = replace(cut, proposes_always=False)
    found = mapping_round(Seconds(after=after), Mapping(target="cpu", drafter="cpu"), 2, CORES, cut)
    one, two, four = 1.0, 1.1, 1.3
    assert found.verify == pytest.approx(one / 4 + 2.0 * two / 4 + 3.0 * four / 2)


def test_prompt_lookup_leaves_the_caches_to_the_target() -> None:
    after, belief = {3: Slowdown(5.0, 5.0)}, Belief(alpha=0.5, source="given")
    mapping = Mapping(target="cpu", drafter="ngram")
    alone, found = (mapping_round(Seconds(after=given), mapping, 3, CORES, belief) for given in ({}, after))
    assert found == alone


def test_a_hit_goes_on_as_drafts_one_longer_do() -> None:
    short = Acceptance(asked=1, counts={1: (2, 8)})
    longer = Acceptance(asked=2, counts={2: (1, 3, 6)})
    assert Belief(alpha=0.5, source="measured", measured=(short, longer)).hit(1) == pytest.approx(0.8 * 6 / 9)
    assert Belief(alpha=0.5, source="given").hit(2) == pytest.approx(0.125)
    assert Belief(alpha=0.0, source="given").hit(2) == 0.0


def test_models_on_sets_of_cores_come_last(null_bundle: Callable[..., Path]) -> None:
    bundle = read_bundle(null_bundle())
    whole = list(mappings(bundle))
    sets: dict[Role, list[str]] = {"target": ["cpu@1"], "drafter": ["cpu@0", "cpu@1"]}
    assert list(mappings(bundle, sets)) == [
        *whole,
        Mapping(target="cpu@1"),
        Mapping(target="cpu@1", drafter="cpu@0"),
    ]


@pytest.mark.parametrize(("slowdown", "overlaps"), [(Slowdown(1.05, 1.05), True), (Slowdown(2.4, 2.4), False)])
def test_a_search_overlaps_where_that_pays(
    null_bundle: Callable[..., Path], slowdown: Slowdown, overlaps: bool
) -> None:
    search = Search(
        bundle=read_bundle(null_bundle()),
        times=Seconds(beside=slowdown),
        beliefs={"model": Belief(alpha=0.9, source="given")},
        unavailable={},
        max_draft_length=3,
        memory_bytes=None,
    )
    found = [c for c in search.candidates() if c.mapping == Mapping(target="cpu", drafter="gpu")]
    assert len(found) == 6 and min(found, key=lambda candidate: candidate.seconds).overlap == overlaps
    together = [c for c in search.candidates() if c.mapping == Mapping(target="cpu", drafter="cpu")]
    assert len(together) == 3 and not any(candidate.overlap for candidate in together)
