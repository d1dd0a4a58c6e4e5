"""What-if: a bundle of no files, and the search over it that a real one gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast, get_args

import msgspec

from paceline.checksums import FileEntry
from paceline.costmodel import (
    AcceptanceFile,
    Calibration,
    ModelSpec,
    Role,
    as_rounded,
    cache_kind,
    screened_head,
    weights_bytes,
    whole_head,
)
from paceline.costmodel.work import kernels_take
from paceline.errors import PairError, UsageError
from paceline.partition.bundle import CONTEXT, WIDTHS, Bundle, BundledModel, Failure, TokenIds
from paceline.partition.candidates import Belief, Search
from paceline.partition.feasible import why_not_precision
from paceline.partition.plan import NGRAM
from paceline.partition.search import MAX_DRAFT_LENGTH, beliefs_of
from paceline.partition.times import RooflineTimes
from paceline.targets import Dtype, Soc
from paceline.targets.instruction_sets import instruction_set

_PADDING = 0.01  # by which sizes of one vocabulary differ: embeddings are padded to round numbers


class Pair(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Precisions of target and drafter."""

    target: Dtype
    drafter: Dtype

    def of(self, role: Role) -> Dtype:
        return self.target if role == "target" else self.drafter


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked about: a SoC, models as shapes, precisions, and what is believed of drafts.

    Attributes:
        cpu_cores: counts to choose from; empty means all cores of the CPU at once.
        context: tokens that caches hold; None means as many as ``compile`` gives them.
        alpha: share of drafts that are kept. It replaces ``acceptance``; without either a default is assumed.
        memory_bytes: budget instead of the SoC's memory.
        draft_vocabulary: among how many ids the drafter chooses, as ``screened_head`` takes it.
        calibration: what passes get of the SoC's figures; all of them without one.
    """

    soc: Soc
    target: ModelSpec
    drafter: ModelSpec | None = None
    precisions: tuple[Pair, ...]
    cpu_cores: tuple[int, ...] = ()
    context: int | None = None
    alpha: float | None = None
    acceptance: AcceptanceFile | None = None
    max_draft_length: int = MAX_DRAFT_LENGTH
    memory_bytes: int | None = None
    draft_vocabulary: int | None = None
    calibration: Calibration | None = None

    @property
    def models(self) -> tuple[tuple[Role, ModelSpec], ...]:
        drafter: tuple[tuple[Role, ModelSpec], ...] = (("drafter", self.drafter),) if self.drafter else ()
        return (("target", self.target), *drafter)

    @property
    def tokens(self) -> int:
        """Tokens that caches hold."""
        most = min(CONTEXT, *(spec.context for _, spec in self.models))
        return most if self.context is None else self.context

    def compiled(self, pair: Pair) -> tuple[tuple[Role, ModelSpec], ...]:
        """The models as ``compile`` makes them at these precisions."""
        if self.drafter is None:
            return self.models
        drafter = screened_head(self.drafter, self.draft_vocabulary, pair.of("drafter"))
        return (("target", self.target), ("drafter", drafter))

    def beliefs(self, pair: Pair) -> dict[str, Belief]:
        """What to assume of each drafter at these precisions.

        Raises:
            UsageError: alpha is not between 0 and 1, or the histograms are of a drafter at another precision.
        """
        if self.acceptance is None:
            return beliefs_of((), (), self.alpha)
        model, ngram = self.acceptance.of(pair.drafter), self.acceptance.of(NGRAM)
        if self.drafter and self.alpha is None and not model:
            known = [name for name in self.acceptance.drafters if name != NGRAM]
            raise UsageError(
                f"the acceptance holds no drafts of a drafter in {pair.drafter}, it has {', '.join(known) or 'none'}; "
                "choose another --precision, or give --alpha"
            )
        return {
            drafter: replace(belief, source=belief.source + _elsewhere(belief, pair.target))
            for drafter, belief in beliefs_of(model, ngram, self.alpha).items()
        }

    def searches(self) -> tuple[Search, ...]:
        """For each pair of precisions, everything that could be run."""
        return tuple(map(self.search, self.precisions))

    def search(self, pair: Pair) -> Search:
        """Everything that could be run at these precisions."""
        bundle = synthetic_bundle(self.soc, self.compiled(pair), pair, self.tokens)
        return Search(
            bundle=bundle,
            times=RooflineTimes(bundle, tuple(sorted(self.cpu_cores)), self.calibration),
            beliefs=self.beliefs(pair),
            unavailable={},
            max_draft_length=self.max_draft_length,
            memory_bytes=self.memory_bytes,
        )


def _elsewhere(belief: Belief, target: Dtype) -> str:
    """What to add to the source of a belief that was measured with a target in another precision."""
    others = dict.fromkeys(histogram.target for histogram in belief.measured if histogram.target not in ("", target))
    return f" with the target in {', '.join(others)}" if others else ""


def check(question: Question) -> None:
    """Refuse what cannot mean anything.

    Raises:
        UsageError: cores, context or lengths that there are none of, a precision that no unit can run, or an alpha
            where nothing drafts.
        PairError: drafts would mean other texts to the target.
    """
    if question.alpha is not None and question.drafter is None:
        raise UsageError("alpha means nothing without a drafter; give --drafter")
    if question.max_draft_length < 0:
        raise UsageError(f"the longest draft is {question.max_draft_length}; it is a number of tokens, 0 or more")
    cpu = next(unit for unit in question.soc.units if unit.kind == "cpu")
    if bad := [count for count in question.cpu_cores if not 1 <= count <= cpu.cores]:
        raise UsageError(f"{bad[0]} cores: the cpu of {question.soc.name} has 1 to {cpu.cores}")
    for _, spec in question.models:
        check_context(question.tokens, spec)
    for pair in question.precisions:
        for role, _ in question.models:
            _check_precision(question.soc, pair.of(role))
    if question.drafter is not None:
        _check_vocabularies(question.drafter, question.target)


def check_context(tokens: int, spec: ModelSpec) -> None:
    """Refuse a context that ``compile`` would refuse.

    Raises:
        UsageError: not within what the model was trained for.
    """
    if not 1 <= tokens <= spec.context:
        raise UsageError(f"context {tokens} is not within the {spec.context} tokens that {spec.name} was trained for")


def precision_named(text: str) -> Dtype:
    """A precision by name.

    Raises:
        UsageError: there is none of that name; lists the known ones.
    """
    if text not in get_args(Dtype):
        raise UsageError(f"unknown precision {text!r}; known: {', '.join(get_args(Dtype))}")
    return cast(Dtype, text)


def _check_precision(soc: Soc, precision: Dtype) -> None:
    reasons = [why_not_precision(precision, unit) for unit in soc.units]
    if all(reasons):
        raise UsageError(f"no unit of {soc.name} runs {precision}: {'; '.join(filter(None, reasons))}")


def _check_vocabularies(drafter: ModelSpec, target: ModelSpec) -> None:
    one, other = drafter.vocabulary, target.vocabulary
    if abs(one - other) > _PADDING * max(one, other):
        raise PairError(
            f"drafter {drafter.name} knows {one} tokens and target {target.name} {other}: a drafted id would mean "
            "another text; choose a drafter of the same model family"
        )


def synthetic_bundle(soc: Soc, models: Sequence[tuple[Role, ModelSpec]], pair: Pair, context: int) -> Bundle:
    """What ``compile`` would make, but for the files: sizes of weights stand without bytes."""
    widths = tuple(width for width in WIDTHS if width <= context)
    bundled = tuple(_bundled(soc, role, spec, pair.of(role)) for role, spec in models)
    files = {
        name: FileEntry(bytes=weights_bytes(_stored(model, unit), pair.of(model.role)), sha256="")
        for model in bundled
        for unit, name in model.weights.items()
    }
    failures = (
        Failure(role=role, precision=pair.of(role), unit=unit.name, reason=reason)
        for role, _ in models
        for unit in soc.units
        if (reason := why_not_precision(pair.of(role), unit))
    )
    return Bundle(
        name=models[0][1].name,
        soc=soc,
        context=context,
        widths=widths,
        models=bundled,
        tokens=TokenIds(),
        versions={},
        failures=tuple(failures),
        files=files,
    )


def _stored(model: BundledModel, unit: str) -> ModelSpec:
    """The model as its unit's archive has it: traced programs keep attention at int8, and have no signs."""
    return model.spec if unit in model.kernels else whole_head(as_rounded(model.spec))


def _bundled(soc: Soc, role: Role, spec: ModelSpec, precision: Dtype) -> BundledModel:
    units = [unit for unit in soc.units if why_not_precision(precision, unit) is None]
    found = {unit.name: instruction_set(unit) for unit in units if kernels_take(spec)}
    kernels = {name: some.name for name, some in found.items() if some is not None}
    return BundledModel(
        role=role,
        spec=spec,
        precision=precision,
        programs={unit.name: f"{role}.{unit.name}.vmfb" for unit in units},
        weights={unit.name: f"{role}.{'packed.' if unit.name in kernels else ''}irpa" for unit in units},
        kernels=kernels,
        caches={} if (kept := cache_kind(precision)) == "f32" else dict.fromkeys(kernels, kept),
    )
