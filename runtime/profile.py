"""All that is measured of bundles on this machine: passes, acceptance and host time.

Passes of several bundles take turns, so that a machine that is faster one minute than the next is so for all of them:
what is fitted to their profiles together then differs by what the models are, not by when they were measured.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from paceline.console import Report, quiet
from paceline.costmodel import Acceptance, AcceptanceFile, Contention, HostTime, Measurement, Profile
from paceline.documents import write_json
from paceline.errors import UsageError
from paceline.partition import Bundle
from paceline.partition.times import model_of
from paceline.runtime.device import open_device
from paceline.runtime.loaded import Open, Ready, ready
from paceline.runtime.machine import this_machine
from paceline.runtime.measure import time_passes
from paceline.runtime.measure_acceptance import (
    Encoded,
    all_histograms,
    encode_for,
    fastest,
    longest_draft,
    record_texts,
    timed_models,
)
from paceline.runtime.measure_contention import Contentions
from paceline.runtime.measure_host import HostTimes
from paceline.runtime.prompts import BUILT_IN, Prompt
from paceline.targets.host import memory_bytes
from paceline.targets.pins import Pins
from paceline.targets.places import unit_of

REPEATS = 50
BUDGET = 30.0
TOKENS = 48
CONTENTION_TURNS = 5
HOST_PROMPTS = 3  # host time hardly depends on the text, and a median wants three


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What ``paceline profile`` found of a bundle; ``unavailable`` says why a unit is missing, by its name."""

    profile: Profile
    acceptance: AcceptanceFile
    unavailable: dict[str, str]
    skipped_prompts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Subject:
    """A bundle that is ready to be measured; ``skipped`` prompts did not fit its context."""

    folder: Path
    bundle: Bundle
    ready: Ready
    prompts: tuple[Encoded, ...]
    skipped: int


def measure(
    bundles: Mapping[Path, Bundle],
    *,
    repeats: int = REPEATS,
    budget: float = BUDGET,
    units: Sequence[str] = (),
    cores: Sequence[int] = (),
    pins: Pins | None = None,
    prompts: Sequence[Prompt] = BUILT_IN,
    tokens: int = TOKENS,
    opened: Open = open_device,
    report: Report = quiet,
) -> Iterator[tuple[Path, Measured]]:
    """Measure bundles, by their folders; each comes as soon as all is known of it.

    ``budget`` is seconds for each, shared equally among the passes of all, and as many for passes in company of another
    model; ``units`` and ``cores`` say what to measure (default: all). Programs are closed when all is known of them.

    Models with ``pins`` are measured on these cores too, and every target and drafter in company: in turns, and at
    once where they are on two devices.

    Raises:
        BundleError: a program or its weights cannot be read.
        DeviceUnavailable: no unit of a bundle's SoC is here.
        UsageError: ``units`` names one that a SoC does not have, or weights of several bundles together are larger
            than this machine's memory.
        PromptError: no prompt fits the context.
    """
    with ExitStack() as stack:
        loading = partial(_subject, units=units, cores=cores, pins=pins, prompts=prompts, opened=opened)
        loaded = {stack.enter_context(ExitStack()): one for one in bundles.items()}
        subjects = [own.enter_context(loading(*one)) for own, one in loaded.items()]
        _check_memory(subjects, memory_bytes())
        timed = time_passes([one.ready.programs for one in subjects], repeats=repeats, budget=budget, report=report)
        for own, one, passes in zip(loaded, subjects, timed, strict=True):
            with own:
                about = _about(one.folder, report) if len(bundles) > 1 else report
                measured = _measured(one, passes, budget=budget, tokens=tokens, report=about)
            yield one.folder, measured


@contextmanager
def _subject(
    folder: Path,
    bundle: Bundle,
    *,
    units: Sequence[str],
    cores: Sequence[int],
    pins: Pins | None,
    prompts: Sequence[Prompt],
    opened: Open,
) -> Iterator[_Subject]:
    with ready(folder, bundle, units=units, cores=cores, pins=pins, opened=opened) as found:
        fitting = encode_for(folder, bundle, found.programs, prompts)
        skipped = len(prompts) - len(fitting)
        yield _Subject(folder=folder, bundle=bundle, ready=found, prompts=fitting, skipped=skipped)


def _check_memory(subjects: Sequence[_Subject], memory: int) -> None:
    """What does not fit would be read again in every turn, and the disk be timed."""
    needed = sum(_weights_bytes(one) for one in subjects)
    if len(subjects) > 1 and needed > memory:
        found = f"weights of these {len(subjects)} bundles take {needed / 1e9:.3g} GB together"
        raise UsageError(f"{found}, this machine has {memory / 1e9:.3g} GB of memory; profile fewer of them at a time")


def _weights_bytes(subject: _Subject) -> int:
    """Of the archives that its programs read; several programs may read one."""
    bundle = subject.bundle
    programs = [(model_of(bundle, loaded.role), unit_of(loaded.unit)) for loaded in subject.ready.programs]
    names = {model.weights[unit] for model, unit in programs if model}
    return sum(entry.bytes for name, entry in bundle.files.items() if name in names)


def _about(folder: Path, report: Report) -> Report:
    """Says of which bundle a step is, where there are several."""
    return lambda step, done, total: report(f"{folder.name}: {step}", done, total)


def _measured(
    subject: _Subject,
    measurements: tuple[Measurement, ...],
    *,
    budget: float,
    tokens: int,
    report: Report,
) -> Measured:
    """What was timed of a bundle, and the rest, which is measured one bundle after another."""
    bundle, found = subject.bundle, subject.ready
    contention = _contention(Contentions(found.programs, range(1, longest_draft(bundle.widths) + 1)), budget, report)
    drafting = _drafting(subject, measurements, tokens=tokens, report=report)
    profile = Profile(
        bundle=bundle.digest,
        machine=this_machine({unit: device.description for unit, device in found.devices.items()}),
        context=bundle.context,
        measurements=measurements,
        host=drafting.host,
        contention=contention,
    )
    return Measured(
        profile=profile,
        acceptance=AcceptanceFile(bundle=bundle.digest, histograms=drafting.histograms),
        unavailable=found.unavailable,
        skipped_prompts=subject.skipped,
    )


def _contention(contentions: Contentions, budget: float, report: Report) -> tuple[Contention, ...]:
    """Several turns, or as many as begin within the ``budget``: passes of a slow device take seconds."""
    end = time.monotonic() + budget
    for turn in range(CONTENTION_TURNS):
        contentions.turn()
        report("passes in company", turn + 1, CONTENTION_TURNS)
        if time.monotonic() >= end:
            report("passes in company", CONTENTION_TURNS, CONTENTION_TURNS)
            break
    return contentions.found()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Drafting:
    histograms: tuple[Acceptance, ...]
    host: tuple[HostTime, ...]


def _drafting(subject: _Subject, measurements: Sequence[Measurement], *, tokens: int, report: Report) -> _Drafting:
    """Acceptance and host time on the units whose passes of one token are fastest."""
    bundle = subject.bundle
    target, drafter = (fastest(role, subject.ready.programs, measurements) for role in ("target", "drafter"))
    assert target is not None
    models = timed_models(subject.folder, bundle, target, drafter)
    recordings = record_texts(bundle, target, drafter, subject.prompts, tokens=tokens, report=report)
    hosts = HostTimes(models, longest_draft(bundle.widths))
    for done, prompt in enumerate(subject.prompts[:HOST_PROMPTS], 1):
        hosts.measure(prompt.ids, tokens=tokens)
        report("host time", done, min(HOST_PROMPTS, len(subject.prompts)))
    found = all_histograms(recordings, bundle, with_model=drafter is not None, longest=longest_draft(bundle.widths))
    return _Drafting(histograms=found, host=hosts.medians())


def save(folder: Path, measured: Measured) -> None:
    """Write profile.json and acceptance.json into the bundle's folder, each whole or not at all.

    Raises:
        OutputError: the folder cannot be written, or the disk is full.
    """
    write_json(folder / "profile.json", measured.profile)
    write_json(folder / "acceptance.json", measured.acceptance)
