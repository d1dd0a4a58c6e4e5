"""From a bundle's folder to a model, on the devices that a plan or the caller names."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from paceline.costmodel import Role
from paceline.errors import DeviceUnavailable, PlanError
from paceline.partition import Bundle, Mapping, Plan, read_bundle
from paceline.runtime.device import Device, open_device
from paceline.runtime.fallback import Standby, spare_cpu
from paceline.runtime.heap import give_back
from paceline.runtime.local_task import usable_core_numbers
from paceline.runtime.model import Model
from paceline.runtime.pack_cache import bundle_folder
from paceline.runtime.program import Program, load_program
from paceline.runtime.setting import DrafterKind, Setting, choose_setting, stored_plan
from paceline.runtime.text import read_tokenizer
from paceline.targets.pins import parse_pins
from paceline.targets.places import cores_of, is_pinned, unit_of


def load(
    folder: str | Path,
    *,
    mapping: Mapping | None = None,
    draft_length: int | None = None,
    drafter: DrafterKind | None = None,
    plan: Plan | None = None,
    adapt: bool = True,
    min_confidence: float = 0.0,
    device: Device | None = None,
    fallback: bool = True,
    overlap: bool | None = None,
    pin: str | None = None,
) -> Model:
    """Load a bundle, a folder or a packed one. What is not given comes from ``plan``, by default the plan stored in it.

    A draft length that comes from the plan adapts to what is kept, with ``adapt``; one that is given stays. A drafter
    model stops after a draft that it holds for less likely than ``min_confidence`` (0: never). ``device`` stands in for
    every unit (the null device of tests). With ``fallback`` a text goes on when a device is lost in the middle of it:
    the target on the CPU, or without the drafter; a warning says so, and the statistics. ``overlap`` lets the drafter
    go on while the target verifies, which wants two processors; ``pin`` gives models cores of their own
    (``drafter=0,target=1``, or ``auto``).

    Raises:
        BundleError: no bundle, or a damaged one.
        PlanError: the plan is for another bundle.
        DeviceUnavailable: a unit of the mapping that the SoC, the bundle or this machine does not have.
        UsageError: options that contradict each other.
    """
    folder = bundle_folder(Path(folder))
    bundle = read_bundle(folder)
    if plan and plan.bundle != bundle.digest:
        raise PlanError(f"the plan was made for another bundle than {folder}; plan again")
    setting = choose_setting(
        bundle,
        plan or stored_plan(folder, bundle),
        mapping=mapping,
        draft_length=draft_length,
        drafter=drafter,
        adapt=adapt,
        min_confidence=min_confidence,
        overlap=overlap,
        pins=None if pin is None else parse_pins(pin, bundle.soc, usable_core_numbers()),
    )
    return _loaded(folder, bundle, setting, device, fallback=fallback)


def _loaded(folder: Path, bundle: Bundle, setting: Setting, stand_in: Device | None, *, fallback: bool) -> Model:
    tokenizer = read_tokenizer(folder / "tokenizer.json")
    template = folder / "chat_template.jinja"
    places = setting.places
    devices = {unit: stand_in or _open(bundle, unit, setting.cores) for unit in dict.fromkeys(places.values())}
    programs: dict[Role, Program] = {}
    with ExitStack() as stack:
        for role, unit in places.items():
            programs[role] = load_program(folder, bundle, role, devices[unit])
            stack.callback(programs[role].close)
        # All went well: the model closes them from here on.
        stack.pop_all()
    give_back()
    return Model(
        bundle,
        setting,
        target=programs["target"],
        drafter=programs.get("drafter"),
        tokenizer=tokenizer,
        template=template.read_text(encoding="utf-8") if template.is_file() else None,
        devices={unit: device.description for unit, device in devices.items()},
        standby=Standby(
            folder=folder,
            bundle=bundle,
            unit=spare_cpu(bundle, setting.mapping.target),
            open=lambda unit: stand_in or _open(bundle, unit, setting.cores),
        )
        if fallback
        else None,
    )


def _open(bundle: Bundle, name: str, cores: dict[str, int]) -> Device:
    unit = bundle.soc.unit(unit_of(name))
    if unit is None:
        units = ", ".join(unit.name for unit in bundle.soc.units)
        raise DeviceUnavailable(f"{bundle.soc.name} has no unit {name!r}; it has: {units}")
    if is_pinned(name):
        return open_device(unit, pin=cores_of(name))
    return open_device(unit, cores=cores.get(name))
