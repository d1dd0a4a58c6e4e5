"""Acceptance of a bundle on a set of prompts, replayed and, where it is asked for, checked against live speculation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from paceline.console import Report, quiet
from paceline.costmodel import AcceptanceFile
from paceline.partition import Bundle
from paceline.runtime.device import open_device
from paceline.runtime.loaded import Open, ready
from paceline.runtime.measure_acceptance import all_histograms, encode, longest_draft, record_texts, timed_models
from paceline.runtime.measure_host import TimedModel
from paceline.runtime.prompts import Prompt
from paceline.runtime.replay import Recording, replay


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredAcceptance:
    """The histograms, how many prompts were too long, and how many texts were ``compared`` and found ``differing``."""

    file: AcceptanceFile
    skipped: int
    compared: int
    differing: int


def first_of_each(prompts: Sequence[Prompt], limit: int | None) -> tuple[Prompt, ...]:
    """The first ``limit`` prompts of each task, in their order; all where there is no limit."""
    seen: Counter[str] = Counter()
    chosen = []
    for prompt in prompts:
        seen[prompt.task] += 1
        if limit is None or seen[prompt.task] <= limit:
            chosen.append(prompt)
    return tuple(chosen)


def measure_acceptance(
    folder: Path,
    bundle: Bundle,
    *,
    prompts: Sequence[Prompt],
    tokens: int,
    longest: int,
    live: int = 0,
    opened: Open = open_device,
    report: Report = quiet,
) -> MeasuredAcceptance:
    """Histograms of each task, drafter and draft length up to ``longest``, over texts of up to ``tokens`` tokens.

    Models run on the first unit of the SoC that has their programs here: where they run changes no greedy token that
    matters, and no time is taken. After the first ``live`` prompts speculation is run as well, at the longest draft
    that a verify pass takes, and its rounds are compared with the replayed ones.

    Raises:
        BundleError: a program, its weights or the tokenizer cannot be read.
        DeviceUnavailable: the target runs on no device of this machine.
        PromptError: no prompt fits the context.
    """
    with ready(folder, bundle, opened=opened) as found:
        target = next(entry for entry in found.programs if entry.role == "target")
        drafter = next((entry for entry in found.programs if entry.role == "drafter"), None)
        models = timed_models(folder, bundle, target, drafter)
        encoded = encode(models[0].model, prompts)
        recordings = record_texts(bundle, target, drafter, encoded, tokens=tokens, report=report)
        compared = [
            _kept_live(timed, recording, longest_draft(bundle.widths))
            for recording in recordings[:live]
            for timed in models
        ]
    kept = all_histograms(recordings, bundle, with_model=drafter is not None, longest=longest)
    return MeasuredAcceptance(
        file=AcceptanceFile(bundle=bundle.digest, histograms=kept),
        skipped=len(prompts) - len(encoded),
        compared=len(compared),
        differing=compared.count(False),
    )


def _kept_live(timed: TimedModel, recording: Recording, length: int) -> bool:
    """Whether live speculation keeps, round for round, what the replay says."""
    timed.model.forget()
    generation = timed.model.generate(recording.prompt, max_new_tokens=recording.max_tokens, draft_length=length)
    found, replayed = generation.finish().stats.acceptance, replay(recording, timed.drafting, length).acceptance
    return found.kept == replayed.kept
