"""How many drafts are kept, and what a round costs outside forward passes: measured in the loop that users run.

Greedy generations of a few prompts with each drafter, on the units whose single-token passes are fastest. Every
program is wrapped in a clock; what a generation takes beyond its forward passes is host time.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from paceline.console import Report, quiet
from paceline.costmodel import Acceptance, Measurement, Role, merge
from paceline.errors import PromptError
from paceline.partition import Bundle, Mapping
from paceline.partition.plan import NGRAM
from paceline.partition.search import MAX_DRAFT_LENGTH
from paceline.runtime.chat import Message
from paceline.runtime.measure import Loaded
from paceline.runtime.model import Model
from paceline.runtime.program import Program, Step
from paceline.runtime.prompts import Prompt
from paceline.runtime.record import Stats
from paceline.runtime.setting import Setting
from paceline.runtime.text import read_tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Drafting:
    """Accepted lengths by task and drafter, median host seconds of a round, and how many prompts were too long."""

    histograms: tuple[Acceptance, ...] = ()
    host_seconds: float = 0.0
    skipped: int = 0


class TimedProgram:
    """A program that counts the ``seconds`` of its passes."""

    def __init__(self, program: Program) -> None:
        self.widths, self.context, self.vocabulary = program.widths, program.context, program.vocabulary
        self.seconds = 0.0
        self._program = program

    def step(self, tokens: NDArray[np.int32], position: int, *, first: int = 0, logits: bool = False) -> Step:
        """See ``Program.step``."""
        start = time.perf_counter()
        try:
            return self._program.step(tokens, position, first=first, logits=logits)
        finally:
            self.seconds += time.perf_counter() - start

    def close(self) -> None:
        """See ``Program.close``."""
        self._program.close()


def measure_drafting(
    folder: Path,
    bundle: Bundle,
    programs: Sequence[Loaded],
    measurements: Sequence[Measurement],
    *,
    prompts: Sequence[Prompt],
    tokens: int,
    report: Report = quiet,
) -> Drafting:
    """Generate up to ``tokens`` tokens after each prompt, with the drafter model (if any) and with prompt lookup.

    Raises:
        PromptError: no prompt leaves room in the context.
        BundleError: the tokenizer cannot be read.
    """
    target = _fastest("target", programs, measurements)
    if target is None or not measured_draft_length(bundle.widths):
        return Drafting()
    drafters = dict.fromkeys((_fastest("drafter", programs, measurements), None))
    runs = [
        _run(_model(folder, bundle, target, drafter), prompts=prompts, tokens=tokens, report=report)
        for drafter in drafters
    ]
    if not any(run.histograms for run in runs):
        raise PromptError(f"none of {len(prompts)} prompts fits the context of {bundle.context}; give shorter ones")
    # The first run is the drafter model's where there is one: its rounds have the most to do on the host.
    hosts = next((run.hosts for run in runs if run.hosts), (0.0,))
    return Drafting(
        histograms=tuple(histogram for run in runs for histogram in run.histograms),
        host_seconds=statistics.median(hosts),
        skipped=runs[0].skipped,
    )


def measured_draft_length(widths: Sequence[int]) -> int:
    """The longest draft that a plan may choose and whose verify pass fills a compiled width; 0 if there is none."""
    return max((width - 1 for width in widths if width - 1 <= MAX_DRAFT_LENGTH), default=0)


@dataclass(frozen=True, slots=True)
class _Run:
    histograms: tuple[Acceptance, ...]
    hosts: tuple[float, ...]
    skipped: int


@dataclass(frozen=True, slots=True)
class _Timed:
    """A model to generate with, its drafter's name, and the clocks around its programs."""

    model: Model
    drafter: str
    target: str
    programs: tuple[TimedProgram, ...]


def _fastest(role: Role, programs: Sequence[Loaded], measurements: Sequence[Measurement]) -> Loaded | None:
    single = {(m.role, m.unit, m.cores): m.seconds for m in measurements if m.width == 1}
    fitting = [entry for entry in programs if entry.role == role]
    return min(fitting, key=lambda entry: single[entry.role, entry.unit, entry.cores], default=None)


def _model(folder: Path, bundle: Bundle, target: Loaded, drafter: Loaded | None) -> _Timed:
    timed = tuple(TimedProgram(entry.program) for entry in (target, drafter) if entry)
    template = folder / "chat_template.jinja"
    mapping = Mapping(target=target.unit, drafter=drafter.unit if drafter else NGRAM)
    model = Model(
        bundle,
        Setting(mapping=mapping, draft_length=measured_draft_length(bundle.widths)),
        target=timed[0],
        drafter=timed[1] if drafter else None,
        tokenizer=read_tokenizer(folder / "tokenizer.json"),
        template=template.read_text(encoding="utf-8") if template.is_file() else None,
    )
    return _Timed(model, drafter.precision if drafter else NGRAM, target.precision, timed)


def _run(timed: _Timed, *, prompts: Sequence[Prompt], tokens: int, report: Report) -> _Run:
    encoded = [(prompt.task, _encode(timed.model, prompt.text)) for prompt in prompts]
    fitting = [(task, ids) for task, ids in encoded if len(ids) < timed.model.context]
    histograms: dict[str, list[Acceptance]] = {}
    hosts: list[float] = []
    for done, (task, ids) in enumerate(fitting, 1):
        before = sum(program.seconds for program in timed.programs)
        stats = timed.model.generate(ids, max_new_tokens=tokens).finish().stats
        passes = sum(program.seconds for program in timed.programs) - before
        if stats.rounds:
            hosts.append(max(0.0, _total(stats) - passes) / stats.rounds)
        measured = Acceptance(drafter=timed.drafter, target=timed.target, counts=stats.acceptance.counts)
        histograms.setdefault(task, []).append(measured)
        report(f"drafting ({timed.drafter})", done, len(fitting))
    merged = tuple(merge(parts, task=task) for task, parts in histograms.items())
    return _Run(merged, tuple(hosts), len(encoded) - len(fitting))


def _encode(model: Model, text: str) -> tuple[int, ...]:
    return model.encode([Message(role="user", content=text)] if model.has_chat_template else text)


def _total(stats: Stats) -> float:
    seconds = stats.seconds
    return seconds.prefill + seconds.draft + seconds.verify + seconds.accept + seconds.host
