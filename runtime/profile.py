"""All that is measured of a bundle on this machine: passes, acceptance and host time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from paceline.console import Report, quiet
from paceline.costmodel import AcceptanceFile, Profile
from paceline.errors import DeviceUnavailable
from paceline.files import write_json
from paceline.partition import Bundle
from paceline.runtime.device import open_device
from paceline.runtime.machine import this_machine
from paceline.runtime.measure import Open, loaded_programs, time_passes, usable_units
from paceline.runtime.measure_drafting import measure_drafting
from paceline.runtime.prompts import BUILT_IN, Prompt

REPEATS = 50
BUDGET = 30.0
TOKENS = 48


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
    prompts: Sequence[Prompt] = BUILT_IN,
    tokens: int = TOKENS,
    opened: Open = open_device,
    report: Report = quiet,
) -> Measured:
    """Measure a bundle; ``budget`` is seconds for the passes, ``units`` and ``cores`` what to measure (default: all).

    Raises:
        BundleError: a program or its weights cannot be read.
        DeviceUnavailable: no unit of the bundle's SoC is here.
        UsageError: ``units`` names one that the SoC does not have.
        PromptError: no prompt fits the context.
    """
    devices, unavailable = usable_units(bundle, only=units, opened=opened)
    if not any(unit in bundle.target.programs for unit in devices):
        reasons = "; ".join(f"{unit}: {reason}" for unit, reason in unavailable.items()) or "no program fits"
        raise DeviceUnavailable(f"the target of {bundle.name} runs on no device of this machine: {reasons}")
    with loaded_programs(folder, bundle, devices, cores=cores, opened=opened) as programs:
        measurements = time_passes(programs, repeats=repeats, budget=budget, report=report)
        drafting = measure_drafting(
            folder, bundle, programs, measurements, prompts=prompts, tokens=tokens, report=report
        )
    profile = Profile(
        bundle=bundle.digest,
        machine=this_machine({unit: device.description for unit, device in devices.items()}),
        context=bundle.context,
        measurements=measurements,
        host_seconds=drafting.host_seconds,
    )
    acceptance = AcceptanceFile(bundle=bundle.digest, histograms=drafting.histograms)
    return Measured(profile=profile, acceptance=acceptance, unavailable=unavailable, skipped_prompts=drafting.skipped)


def save(folder: Path, measured: Measured) -> None:
    """Write profile.json and acceptance.json into the bundle's folder, each whole or not at all.

    Raises:
        OutputError: the folder cannot be written, or the disk is full.
    """
    write_json(folder / "profile.json", measured.profile)
    write_json(folder / "acceptance.json", measured.acceptance)
