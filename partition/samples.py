"""Measured passes of bundles and the work of each: what a calibration is fitted to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import cast

from paceline.console import Report, quiet
from paceline.costmodel import Calibration, Machine, Profile, calibrate, read_profile
from paceline.costmodel.fitting import Sample
from paceline.errors import ProfileError
from paceline.partition.bundle import Bundle, read_bundle
from paceline.partition.times import RooflineTimes, model_of
from paceline.targets import Dtype
from paceline.targets.places import is_pinned


def calibrate_bundles(folders: Sequence[Path], *, report: Report = quiet) -> Calibration:
    """Fit a calibration to the profiles of bundles.

    Raises:
        BundleError: a folder is no bundle, or is damaged.
        ProfileError: a profile is missing, damaged or of another bundle; or machines, SoCs or their figures differ; or
            there is one width only, or no pass at all.
    """
    bundles = {folder: read_bundle(folder) for folder in folders}
    profiles = {folder: read_profile(folder, bundle=bundle.digest) for folder, bundle in bundles.items()}
    first = folders[0]
    for folder in folders[1:]:
        _check_same(first, folder, bundles, profiles)
    machine = _joined(profiles.values())
    samples = [
        sample
        for folder in folders
        for sample in samples_of(bundles[folder], profiles[folder], cache=machine.cache_bytes)
    ]
    if not samples:
        raise ProfileError(f"there is no measured pass in the profile of {first}; run 'paceline profile {first}' again")
    return calibrate(samples, soc=bundles[first].soc.name, machine=machine, report=report)


def _check_same(first: Path, other: Path, bundles: dict[Path, Bundle], profiles: dict[Path, Profile]) -> None:
    if differences := profiles[first].machine.differences(profiles[other].machine):
        raise ProfileError(
            f"{first} and {other} were profiled on different machines ({'; '.join(differences)}); "
            "calibrate one machine at a time"
        )
    one, two = bundles[first].soc, bundles[other].soc
    if one != two:
        found = f"{one.name} and {two.name}" if one.name != two.name else f"{one.name} with other figures"
        raise ProfileError(f"{first} and {other} are compiled for {found}; calibrate one SoC at a time")


def _joined(profiles: Iterable[Profile]) -> Machine:
    """The machine of all, with the drivers of every unit that one of them used, and its cache if one of them knows."""
    first, *others = (profile.machine for profile in profiles)
    drivers = {unit: driver for machine in (*others, first) for unit, driver in machine.drivers.items()}
    return Machine(
        architecture=first.architecture,
        cpu=first.cpu,
        cores=first.cores,
        memory_bytes=first.memory_bytes,
        drivers=drivers,
        cache_bytes=max(machine.cache_bytes for machine in (first, *others)),
    )


def samples_of(bundle: Bundle, profile: Profile, *, cache: int = 0) -> list[Sample]:
    """The passes of one bundle's profile, on a machine whose CPU has a last cache of ``cache`` bytes."""
    times, samples = RooflineTimes(bundle), list[Sample]()
    # Sets of cores are left out: they may be other cores than those that the unit's figures are of.
    for entry in (entry for entry in profile.measurements if not is_pinned(entry.unit)):
        model, unit = model_of(bundle, entry.role), bundle.soc.unit(entry.unit)
        if model is None or unit is None:
            raise ProfileError(f"the profile of {bundle.name} has a {entry.role} on {entry.unit}, the bundle has not")
        samples.append(
            Sample(
                model=model.spec.name,
                precision=cast(Dtype, model.precision),
                unit=unit,
                program=times.program(entry.role, entry.unit),
                cores=entry.cores,
                width=entry.width,
                position=entry.position,
                work=times.work(entry.role, entry.unit, entry.width, entry.position),
                seconds=entry.seconds,
                cache=cache if unit.kind == "cpu" else 0,
            )
        )
    return samples
