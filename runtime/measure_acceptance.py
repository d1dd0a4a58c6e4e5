"""How many drafts are kept, by task and draft length, without speculation having to pay.

The target writes a text after each prompt as it would without a drafter, the drafter reads it (``replay``), and every
draft length is replayed over the two. Greedy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from paceline.console import Report, quiet
from paceline.costmodel import Acceptance, Drafting, Measurement, Role
from paceline.errors import PromptError
from paceline.partition import Bundle, Mapping
from paceline.partition.plan import NGRAM
from paceline.partition.search import MAX_DRAFT_LENGTH
from paceline.runtime.chat import Message
from paceline.runtime.loaded import Loaded
from paceline.runtime.measure_host import TimedModel, TimedProgram
from paceline.runtime.model import Model
from paceline.runtime.prompts import Prompt
from paceline.runtime.replay import Recording, histograms, record
from paceline.runtime.setting import Setting
from paceline.runtime.text import read_tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """A prompt as token ids."""

    task: str
    ids: tuple[int, ...]


def longest_draft(widths: Sequence[int]) -> int:
    """The longest draft that a plan may choose and whose verify pass some program can run; 0 if there is none."""
    return min(max(widths) - 1, MAX_DRAFT_LENGTH)


def fastest(role: Role, programs: Sequence[Loaded], measurements: Sequence[Measurement]) -> Loaded | None:
    """The program of ``role`` whose passes of one token take the fewest seconds."""
    single = {(m.role, m.unit, m.cores): m.seconds for m in measurements if m.width == 1}
    fitting = [entry for entry in programs if entry.role == role]
    return min(fitting, key=lambda entry: single[entry.role, entry.unit, entry.cores], default=None)


def timed_models(folder: Path, bundle: Bundle, target: Loaded, drafter: Loaded | None) -> tuple[TimedModel, ...]:
    """The target with each way of drafting: the drafter model, if any, and prompt lookup. They share its programs.

    Raises:
        BundleError: the tokenizer cannot be read.
    """
    drafters: dict[Drafting, Loaded | None] = {"model": drafter} if drafter else {}
    drafters["ngram"] = None
    return tuple(timed_model(folder, bundle, target, drafting, one) for drafting, one in drafters.items())


def timed_model(
    folder: Path,
    bundle: Bundle,
    target: Loaded,
    drafting: Drafting,
    drafter: Loaded | None,
    *,
    overlap: bool = False,
) -> TimedModel:
    """A model made of loaded programs, each under a clock. It must ``forget`` before others use its programs."""
    programs = tuple(TimedProgram(entry.program) for entry in (target, drafter) if entry)
    template = folder / "chat_template.jinja"
    unit = None if drafting == "none" else drafter.unit if drafter else NGRAM
    model = Model(
        bundle,
        Setting(mapping=Mapping(target=target.unit, drafter=unit), draft_length=0, overlap=overlap),
        target=programs[0],
        drafter=programs[1] if drafter else None,
        tokenizer=read_tokenizer(folder / "tokenizer.json"),
        template=template.read_text(encoding="utf-8") if template.is_file() else None,
    )
    return TimedModel(model=model, drafting=drafting, programs=programs)


def encode(model: Model, prompts: Sequence[Prompt]) -> tuple[Encoded, ...]:
    """Prompts as users would send them, those left out that leave no room for an answer.

    Raises:
        PromptError: none leaves room in the context.
    """
    ids = [
        (p.task, model.encode([Message(role="user", content=p.text)] if model.has_chat_template else p.text))
        for p in prompts
    ]
    fitting = tuple(Encoded(task=task, ids=found) for task, found in ids if len(found) < model.context)
    if not fitting:
        raise PromptError(f"none of {len(prompts)} prompts fits the context of {model.context}; give shorter ones")
    return fitting


def encode_for(
    folder: Path, bundle: Bundle, programs: Sequence[Loaded], prompts: Sequence[Prompt]
) -> tuple[Encoded, ...]:
    """``encode`` with the target among loaded ``programs``, wherever it is."""
    target = next(entry for entry in programs if entry.role == "target")
    return encode(timed_model(folder, bundle, target, "none", None).model, prompts)


def record_texts(
    bundle: Bundle,
    target: Loaded,
    drafter: Loaded | None,
    prompts: Sequence[Encoded],
    *,
    tokens: int,
    report: Report = quiet,
) -> tuple[Recording, ...]:
    """The target's text of up to ``tokens`` tokens after each prompt, and what the drafter says of it."""

    def recorded() -> Iterator[Recording]:
        for done, prompt in enumerate(prompts, 1):
            yield record(
                target.program,
                drafter.program if drafter else None,
                prompt.ids,
                task=prompt.task,
                max_tokens=tokens,
                ends=frozenset(bundle.tokens.eos),
            )
            report("acceptance", done, len(prompts))

    return tuple(recorded())


def all_histograms(
    recordings: Sequence[Recording], bundle: Bundle, *, with_model: bool, longest: int
) -> tuple[Acceptance, ...]:
    """Histograms of the drafter model, ``with_model``, and of prompt lookup, by task and draft length."""
    drafters: dict[Drafting, str] = {"model": bundle.drafter.precision} if with_model and bundle.drafter else {}
    drafters["ngram"] = NGRAM
    return tuple(
        histogram
        for drafting, name in drafters.items()
        for histogram in histograms(
            recordings, drafting, range(1, longest + 1), drafter=name, target=bundle.target.precision
        )
    )
