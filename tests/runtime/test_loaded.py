"""Programs are loaded once for each place and closed; devices that are missing say why."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from paceline.costmodel import Role
from paceline.errors import DeviceUnavailable, UsageError
from paceline.partition import Bundle, BundledModel, TokenIds
from paceline.runtime.loaded import core_counts, loaded_programs, usable_units
from paceline.runtime.null_device import NullDevice, NullProgram
from paceline.targets import Figure, ProcessingUnit, Soc
from tests.specs import tiny_spec

SPEC = tiny_spec(name="null", layers=1, heads=1, kv_heads=1, head_size=8, ffn=8, context=128)


def unit(name: Any, cores: int = 1) -> ProcessingUnit:
    one = Figure(value=1e9, source="test")
    return ProcessingUnit(
        name=name, kind=name, description="", cores=cores, peak={"f32": one}, bandwidth=one, memory=one, launch=one
    )


def bundle(roles: Sequence[Role] = ("target", "drafter"), units: Sequence[str] = ("cpu", "gpu")) -> Bundle:
    models = tuple(
        BundledModel(
            role=role,
            spec=SPEC,
            precision={"target": "f32", "drafter": "int8"}[role],
            weights=dict.fromkeys(units, "w"),
            programs=dict.fromkeys(units, "p"),
        )
        for role in roles
    )
    memory = Figure(value=1e9, source="test")
    soc = Soc(name="null", description="", memory=memory, units=(unit("cpu"), unit("gpu", cores=4)))
    return Bundle(
        name="null", soc=soc, context=128, widths=(1, 2, 4), models=models, tokens=TokenIds(), versions={}, files={}
    )


def test_missing_devices_say_why() -> None:
    def opened(wanted: ProcessingUnit, *, cores: int | None = None) -> NullDevice:
        if wanted.kind == "gpu":
            raise DeviceUnavailable("no Vulkan driver")
        return NullDevice(unit=wanted)

    devices, unavailable = usable_units(bundle(), opened=opened)
    assert list(devices) == ["cpu"]
    assert unavailable == {"gpu": "no Vulkan driver"}


def test_only_the_units_that_are_wanted_are_opened() -> None:
    devices, unavailable = usable_units(bundle(), only=["cpu"], opened=lambda u, *, cores=None: NullDevice(unit=u))
    assert (list(devices), unavailable) == (["cpu"], {})
    with pytest.raises(UsageError, match="null has no unit 'npu'; it has: cpu, gpu"):
        usable_units(bundle(), only=["npu"])


def test_core_counts_apply_to_a_cpu_only() -> None:
    assert core_counts(unit("cpu"), ()) == (1,)
    assert core_counts(unit("cpu"), (2, 1, 2)) == (1, 2)
    assert core_counts(unit("gpu", cores=4), (1, 2)) == (4,)


def test_every_program_is_loaded_once_for_each_core_count_and_closed(tmp_path: Path) -> None:
    asked: list[tuple[str, int | None]] = []

    def opened(wanted: ProcessingUnit, *, cores: int | None = None) -> NullDevice:
        asked.append((wanted.name, cores))
        return NullDevice(unit=wanted)

    devices = {name: NullDevice(unit=unit(name, cores=4)) for name in ("cpu", "gpu")}
    with loaded_programs(tmp_path, bundle(), devices, cores=(1, 2), opened=opened) as programs:
        labels = [(entry.role, entry.precision, entry.unit, entry.cores) for entry in programs]
    assert labels == [
        (role, precision, *place)
        for role, precision in (("target", "f32"), ("drafter", "int8"))
        for place in (("cpu", 1), ("cpu", 2), ("gpu", 4))
    ]
    assert asked == [(name, cores) for _, _, name, cores in labels]
    assert all(isinstance(entry.program, NullProgram) and entry.program.closed for entry in programs)


def test_units_without_a_program_are_left_out(tmp_path: Path) -> None:
    devices = {name: NullDevice(unit=unit(name)) for name in ("cpu", "gpu")}
    with loaded_programs(
        tmp_path, bundle(units=("cpu",)), devices, opened=lambda u, *, cores: NullDevice(unit=u)
    ) as found:
        assert [(entry.role, entry.unit) for entry in found] == [("target", "cpu"), ("drafter", "cpu")]
