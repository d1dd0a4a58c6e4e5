"""A bundle's programs on the devices of this machine, loaded to be measured."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from paceline.costmodel import Role
from paceline.errors import DeviceUnavailable, UsageError
from paceline.partition import Bundle
from paceline.runtime.device import Device, open_device
from paceline.runtime.local_task import usable_cores
from paceline.runtime.program import Program, load_program
from paceline.targets import ProcessingUnit
from paceline.targets.pins import Pins
from paceline.targets.places import pinned

Open = Callable[..., Device]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A program to be measured, and how its measurements are labelled."""

    role: Role
    precision: str
    unit: str
    cores: int
    program: Program


def usable_units(
    bundle: Bundle, *, only: Sequence[str] = (), opened: Open = open_device
) -> tuple[dict[str, Device], dict[str, str]]:
    """Devices of this machine by unit of the bundle's SoC, and why the other units cannot be used here.

    ``only`` names the units that are wanted; the others are in neither result.

    Raises:
        UsageError: ``only`` names a unit that the SoC does not have.
    """
    if strangers := set(only) - {unit.name for unit in bundle.soc.units}:
        known = ", ".join(unit.name for unit in bundle.soc.units)
        raise UsageError(f"{bundle.soc.name} has no unit {min(strangers)!r}; it has: {known}")
    devices: dict[str, Device] = {}
    unavailable: dict[str, str] = {}
    for unit in bundle.soc.units:
        if only and unit.name not in only:
            continue
        try:
            devices[unit.name] = opened(unit)
        except DeviceUnavailable as error:
            unavailable[unit.name] = str(error)
    return devices, unavailable


def check_target(bundle: Bundle, devices: Mapping[str, Device], unavailable: Mapping[str, str]) -> None:
    """Refuse a bundle whose target runs on none of ``devices``.

    Raises:
        DeviceUnavailable: says why each unit is ``unavailable``.
    """
    if not any(unit in bundle.target.programs for unit in devices):
        reasons = "; ".join(f"{unit}: {reason}" for unit, reason in unavailable.items()) or "no program fits"
        raise DeviceUnavailable(f"the target of {bundle.name} runs on no device of this machine: {reasons}")


def core_counts(unit: ProcessingUnit, cores: Sequence[int]) -> tuple[int, ...]:
    """Core counts to measure on a unit: those asked for on a CPU, else as many as it has here."""
    if unit.kind == "gpu":
        return (unit.cores,)
    return tuple(sorted(set(cores))) or (min(unit.cores, usable_cores()),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """Programs of a bundle, loaded on the ``devices`` that serve its units; why other units are ``unavailable``."""

    devices: dict[str, Device]
    unavailable: dict[str, str]
    programs: tuple[Loaded, ...]


@contextmanager
def ready(
    folder: Path,
    bundle: Bundle,
    *,
    units: Sequence[str] = (),
    cores: Sequence[int] = (),
    pins: Pins | None = None,
    opened: Open = open_device,
) -> Iterator[Ready]:
    """Find the devices of a bundle, check that its target runs on one, and load what they serve.

    Raises:
        PacelineError: as ``usable_units``, ``check_target`` and ``loaded_programs``.
    """
    devices, unavailable = usable_units(bundle, only=units, opened=opened)
    check_target(bundle, devices, unavailable)
    with loaded_programs(folder, bundle, devices, cores=cores, pins=pins, opened=opened) as programs:
        yield Ready(devices=devices, unavailable=unavailable, programs=programs)


@contextmanager
def loaded_programs(
    folder: Path,
    bundle: Bundle,
    devices: Mapping[str, Device],
    *,
    cores: Sequence[int] = (),
    pins: Pins | None = None,
    opened: Open = open_device,
) -> Iterator[tuple[Loaded, ...]]:
    """Load every program that a device of ``devices`` serves, and close them at the end.

    Models with ``pins`` are loaded once more, on these cores of the CPU, if that is one of ``devices``.

    Raises:
        BundleError: a program or its weights cannot be read.
        DeviceUnavailable: more cores are asked for than are here.
    """
    with ExitStack() as stack:
        programs = []
        for model, (unit, device) in itertools.product(bundle.models, devices.items()):
            for count in core_counts(device.unit, cores) if unit in model.programs else ():
                program = load_program(folder, bundle, model.role, opened(device.unit, cores=count))
                stack.callback(program.close)
                programs.append(
                    Loaded(role=model.role, precision=model.precision, unit=unit, cores=count, program=program)
                )
        for model, device in itertools.product(bundle.models, devices.values()):
            pin = (pins or {}).get(model.role, ()) if device.unit.kind == "cpu" else ()
            if pin and device.unit.name in model.programs:
                program = load_program(folder, bundle, model.role, opened(device.unit, pin=pin))
                stack.callback(program.close)
                place, precision = pinned(device.unit.name, pin), model.precision
                programs.append(
                    Loaded(role=model.role, precision=precision, unit=place, cores=len(pin), program=program)
                )
        yield tuple(programs)
