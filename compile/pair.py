"""Which packages a bundle is made of, checked against each other before any compiler is started."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from paceline.compile.package import TOKENIZER, Package, read_package
from paceline.compile.precision import precision_named
from paceline.compile.words import BYTES_PER_WORD
from paceline.costmodel import ModelSpec, Role, check_draft_vocabulary, screened_head, whole_head
from paceline.errors import PackageError, PairError, UsageError
from paceline.partition.bundle import CONTEXT


@dataclass(frozen=True, slots=True)
class Candidate:
    """A package in its role."""

    role: Role
    folder: Path
    package: Package
    precision: str
    same_as_target: bool = False


def candidates(
    target: Path,
    target_precision: str,
    drafter: Path | None,
    drafter_precision: str,
    draft_vocabulary: int | None = None,
) -> tuple[Candidate, ...]:
    """The target, and the drafter where one is given: ``draft_vocabulary`` is as ``screened_head`` takes it.

    Raises:
        PackageError: one of them is no package, or damaged.
        PairError: their vocabularies differ.
        UsageError: an unknown precision, one that does not suit the model's sizes, or a draft vocabulary that no
            drafter has.
    """
    models = [Candidate("target", target, _with_spec(read_package(target), whole_head), target_precision)]
    if drafter is None:
        check_draft_vocabulary(draft_vocabulary, drafts=False)
    else:
        precision_named(drafter_precision)
        package = _with_spec(
            read_package(drafter), lambda spec: screened_head(spec, draft_vocabulary, drafter_precision)
        )
        same = package.files == models[0].package.files
        models.append(Candidate("drafter", drafter, package, drafter_precision, same_as_target=same))
        if not same:
            check_vocabularies(drafter, target)
    for model in models:
        _check(model.package.spec, model.precision)
    return tuple(models)


def _with_spec(package: Package, change: Callable[[ModelSpec], ModelSpec]) -> Package:
    return msgspec.structs.replace(package, spec=change(package.spec))


def _check(spec: ModelSpec, precision: str) -> None:
    precision_named(precision)
    columns = (spec.hidden, spec.heads * spec.head_size, spec.ffn)
    if precision in ("int8", "int4") and any(count % BYTES_PER_WORD for count in columns):
        needed = f"{precision} needs multiples of {BYTES_PER_WORD}"
        raise UsageError(f"{spec.name} has matrices of {columns} columns; {needed}")


def chosen_context(models: tuple[Candidate, ...], wanted: int | None) -> int:
    """``wanted`` tokens, or as many as all models were trained for and at most CONTEXT.

    Raises:
        UsageError: a model was trained for fewer.
    """
    if wanted is None:
        return min(CONTEXT, *(model.package.spec.context for model in models))
    for spec in (model.package.spec for model in models):
        if not 1 <= wanted <= spec.context:
            limit = f"the {spec.context} tokens that {spec.name} was trained for"
            raise UsageError(f"context {wanted} is not within {limit}")
    return wanted


def check_vocabularies(drafter: Path, target: Path) -> None:
    """Compare what ids mean; embeddings may be padded differently, so their sizes say nothing.

    Raises:
        PairError: an id or a text means something else to the other model.
    """
    one, other = vocabulary(drafter), vocabulary(target)
    if one == other:
        return
    text = min(one.items() ^ other.items(), key=lambda item: item[1])[0]
    raise PairError(
        f"drafter {drafter} and target {target} have different vocabularies ({len(one)} and {len(other)} entries; "
        f"{text!r} is {one.get(text, 'unknown')} and {other.get(text, 'unknown')}): a drafted id would mean another "
        "text; choose a drafter of the same model family, or the target itself at a lower precision"
    )


class _Added(msgspec.Struct):
    id: int
    content: str


class _Model(msgspec.Struct):
    vocab: dict[str, int]


class _Tokenizer(msgspec.Struct):
    model: _Model
    added_tokens: list[_Added] = []


def vocabulary(folder: Path) -> dict[str, int]:
    """Ids by text, added tokens included.

    Raises:
        PackageError: the tokenizer cannot be read.
    """
    path = folder / TOKENIZER
    try:
        found = msgspec.json.decode(path.read_bytes(), type=_Tokenizer)
    except (OSError, msgspec.DecodeError) as error:
        raise PackageError(f"{path} is not a tokenizer with a vocabulary: {error}; import the model again") from error
    return found.model.vocab | {token.content: token.id for token in found.added_tokens}
