"""At break-even a what-if changes its mind, and "never" is never."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from paceline.costmodel import ModelSpec, find_model, parameters
from paceline.partition.break_even import Answers, BreakEven, break_even
from paceline.partition.figures import with_figures
from paceline.partition.synthetic import Pair, Question
from paceline.partition.whatif import Row, what_if
from paceline.targets import Soc, load_soc

IMX95 = load_soc("imx95")
DRAFTER = find_model("llama-3.2-1b")
QUESTION = Question(
    soc=IMX95,
    target=find_model("llama-3.2-3b"),
    drafter=DRAFTER,
    precisions=(Pair(target="int8", drafter="int8"),),
    alpha=0.7,
)


def asked(question: Question) -> BreakEven:
    found = break_even(question, what_if(question).rows)
    assert found is not None
    return found


def best_gain(question: Question) -> float:
    """Of the fastest that drafts, over the best plain decoding."""
    return max(row.estimate.speedup_over_best for row in what_if(question).rows if row.draft_length)


def variant_gain(question: Question, variant: BreakEven) -> float:
    """Of that variant, over itself without drafts."""

    def same(row: Row) -> bool:
        return (row.mapping, row.cores) == (variant.mapping, variant.cores)

    return max(row.estimate.speedup for row in what_if(question).rows if row.draft_length and same(row))


def test_it_is_about_the_fastest_that_drafts() -> None:
    rows = what_if(replace(QUESTION, alpha=0.1)).rows
    first = next(row for row in rows if row.draft_length)
    assert rows[0].draft_length == 0
    found = asked(replace(QUESTION, alpha=0.1))
    assert (found.mapping, found.precision, found.cores) == (first.mapping, first.precision, first.cores)


@pytest.mark.parametrize("name", ["imx95", "rpi5", "pixel8", "rk3588"])
def test_alpha(name: str) -> None:
    question = replace(QUESTION, soc=load_soc(name))
    found = asked(question)
    needed, own = found.best_plain.alpha, found.same_variant.alpha
    assert needed is not None and own is not None
    for alpha, pays in ((needed - 1e-4, False), (needed + 1e-4, True)):
        assert (best_gain(replace(question, alpha=alpha)) >= 1.0) is pays
    for alpha, pays in ((own - 1e-4, False), (own + 1e-4, True)):
        assert (variant_gain(replace(question, alpha=alpha), found) >= 1.0) is pays
    row = next(r for r in what_if(replace(question, alpha=needed)).rows if r.draft_length)
    assert row.draft_length == found.best_plain.alpha_draft_length


def scaled(soc: Soc, factor: float) -> Soc:
    return with_figures(soc, {f"{unit.name}.bandwidth": unit.bandwidth.value * factor for unit in soc.units})


def test_bandwidth() -> None:
    found = asked(QUESTION)
    (span,) = found.best_plain.bandwidth
    assert span.low is None and span.high is not None
    for factor, pays in ((1 / 60, True), (span.high * 0.99, True), (span.high * 1.01, False), (60.0, False)):
        assert (best_gain(replace(QUESTION, soc=scaled(IMX95, factor))) >= 1.0) is pays
    (own,) = found.same_variant.bandwidth
    assert own.high is not None
    for factor, pays in ((own.high * 0.99, True), (own.high * 1.01, False)):
        assert (variant_gain(replace(QUESTION, soc=scaled(IMX95, factor)), found) >= 1.0) is pays


def test_a_larger_drafter() -> None:
    """Layers scale a pass but for its head, so a deeper drafter of almost that size pays, one well beyond does not."""
    limit = asked(QUESTION).best_plain.drafter_parameters
    assert limit is not None and limit > parameters(DRAFTER)

    def with_layers(layers: int) -> ModelSpec:
        return msgspec.structs.replace(DRAFTER, layers=layers)

    sizes = {layers: parameters(with_layers(layers)) for layers in range(16, 80)}
    smaller = max(layers for layers, size in sizes.items() if size < 0.95 * limit)
    larger = min(layers for layers, size in sizes.items() if size > 1.05 * limit)
    assert best_gain(replace(QUESTION, drafter=with_layers(smaller))) > 1.0
    assert best_gain(replace(QUESTION, drafter=with_layers(larger))) < 1.0


def test_never() -> None:
    """Verifying two tokens takes more than twice as long as one where arithmetic is all there is."""
    soc = with_figures(IMX95, {"peak.int8": 1e6})
    found = asked(replace(QUESTION, soc=soc))
    never = Answers(alpha=None, alpha_draft_length=None, bandwidth=(), drafter_parameters=None)
    assert found.same_variant == found.best_plain == never


def test_a_slow_target_flatters_the_same_variant_only() -> None:
    soc = with_figures(IMX95, {"gpu.bandwidth": 1e9, "gpu.memory": 16e9, "cpu.memory": 2e9})
    found = asked(replace(QUESTION, soc=soc))
    assert found.mapping.target == "gpu"
    alone = with_figures(IMX95, {"gpu.bandwidth": 1e9})
    slow = next(r for r in what_if(replace(QUESTION, soc=alone)).rows if str(r.mapping) == "target=gpu,drafter=cpu")
    assert slow.estimate.speedup > 1.0 > slow.estimate.speedup_over_best


def test_without_a_drafter_there_is_nothing_to_ask() -> None:
    question = replace(QUESTION, drafter=None, alpha=None)
    assert break_even(question, what_if(question).rows) is None
    question = replace(QUESTION, max_draft_length=0)
    assert break_even(question, what_if(question).rows) is None
