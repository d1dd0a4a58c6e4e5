"""All that is measured of a bundle on this machine: passes, acceptance and host time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from paceline.console import Report, quiet
from paceline.costmodel import Acceptance, AcceptanceFile, Contention, HostTime, Measurement, Profile
from paceline.files import write_json
from paceline.partition import Bundle
from paceline.runtime.device import open_device
from paceline.runtime.loaded import Loaded, Open, check_target, loaded_programs, usable_units
from paceline.runtime.machine import this_machine
from paceline.runtime.measure import time_passes
from paceline.runtime.measure_acceptance import (
    all_histograms,
    encode,
    fastest,
    longest_draft,
    record_texts,
    timed_models,
)
from paceline.runtime.measure_contention import Contentions
from paceline.runtime.measure_host import HostTimes
from paceline.runtime.prompts import BUILT_IN, Prompt
from paceline.targets.pins import Pins

REPEATS = 50
BUDGET = 30.0
TOKENS = 48
CONTENTION_TURNS = 5
HOST_PROMPTS = 3  # host time hardly depends on the text, and a median wants three


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What ``paceline profile`` found; ``unavailable`` says why a unit is missing, by its name."""

    profile: Profile
    acceptance: AcceptanceFile
    unavailable: dict[str, str]
    skipped_prompts: int


def measure(
    folder: Path,
    bundle: Bundle,
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
) -> Measured:
    """Measure a bundle.

    ``budget`` is seconds for the passes, and as many for passes in company of another model; ``units`` and ``cores``
    say what to measure (default: all).

    Models with ``pins`` are measured on these cores too, and every target and drafter in company: in turns, and at
    once where they are on two devices.

    Raises:
        BundleError: a program or its weights cannot be read.
        DeviceUnavailable: no unit of the bundle's SoC is here.
        UsageError: ``units`` names one that the SoC does not have.
        PromptError: no prompt fits the context.
    """
    devices, unavailable = usable_units(bundle, only=units, opened=opened)
    check_target(bundle, devices, unavailable)
    with loaded_programs(folder, bundle, devices, cores=cores, pins=pins, opened=opened) as programs:
        measurements = time_passes(programs, repeats=repeats, budget=budget, report=report)
        lengths = range(1, longest_draft(bundle.widths) + 1)
        contention = _contention(Contentions(programs, lengths), budget, report)
        drafting = _drafting(folder, bundle, programs, measurements, prompts=prompts, tokens=tokens, report=report)
    profile = Profile(
        bundle=bundle.digest,
        machine=this_machine({unit: device.description for unit, device in devices.items()}),
        context=bundle.context,
        measurements=measurements,
        host=drafting.host,
        contention=contention,
    )
    acceptance = AcceptanceFile(bundle=bundle.digest, histograms=drafting.histograms)
    return Measured(profile=profile, acceptance=acceptance, unavailable=unavailable, skipped_prompts=drafting.skipped)


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
    skipped: int


def _drafting(
    folder: Path,
    bundle: Bundle,
    programs: Sequence[Loaded],
    measurements: Sequence[Measurement],
    *,
    prompts: Sequence[Prompt],
    tokens: int,
    report: Report,
) -> _Drafting:
    """Acceptance and host time on the units whose passes of one token are fastest."""
    target, drafter = (fastest(role, programs, measurements) for role in ("target", "drafter"))
    assert target is not None
    models = timed_models(folder, bundle, target, drafter)
    encoded = encode(models[0].model, prompts)
    recordings = record_texts(bundle, target, drafter, encoded, tokens=tokens, report=report)
    hosts = HostTimes(models, longest_draft(bundle.widths))
    for done, prompt in enumerate(encoded[:HOST_PROMPTS], 1):
        hosts.measure(prompt.ids, tokens=tokens)
        report("host time", done, min(HOST_PROMPTS, len(encoded)))
    found = all_histograms(recordings, bundle, with_model=drafter is not None, longest=longest_draft(bundle.widths))
    return _Drafting(histograms=found, host=hosts.medians(), skipped=len(prompts) - len(encoded))


def save(folder: Path, measured: Measured) -> None:
    """Write profile.json and acceptance.json into the bundle's folder, each whole or not at all.

    Raises:
        OutputError: the folder cannot be written, or the disk is full.
    """
    write_json(folder / "profile.json", measured.profile)
    write_json(folder / "acceptance.json", measured.acceptance)
