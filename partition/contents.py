"""What of a bundle travels to a board: every file with size and SHA-256, and a bundle without what it does not need.

Programs of some units, or a drafter, may stay behind. The rest is a bundle of its own: its bundle.json names only what
is there, and its plan and measurements, which speak of the very same programs, are made out to its digest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from msgspec.structs import replace

from paceline.checksums import FileEntry, describe_bytes
from paceline.costmodel import Role
from paceline.costmodel.acceptance import ACCEPTANCE
from paceline.costmodel.profile import PROFILE
from paceline.documents import parse_json, read_bytes
from paceline.errors import BundleError, PlanError, UsageError
from paceline.partition.bundle import MANIFEST, Bundle, BundledModel, read_bundle
from paceline.partition.plan import NGRAM, PLAN, Plan, read_plan
from paceline.targets.places import unit_of

DOCUMENTS = (PLAN, PROFILE, ACCEPTANCE)
Places = Mapping[Role, frozenset[str]]
"""Units whose programs are kept, for each model that is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """The files of a bundle, bundle.json first and weights last, and where their bytes are.

    Attributes:
        folder: where the files are whose bytes are not in ``texts``.
        files: size and SHA-256 by name, in the order in which they should travel.
        texts: bytes of bundle.json, the plan and the measurements.
        left_out: bytes of the programs and weights that stay behind, by name.
        remarks: sentences about models, plan and measurements that stay behind.
    """

    folder: Path
    bundle: Bundle
    files: dict[str, FileEntry]
    texts: dict[str, bytes]
    left_out: dict[str, int] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """Bytes of all files."""
        return sum(entry.bytes for entry in self.files.values())


class Document(msgspec.Struct, frozen=True):
    """Of a plan, a profile or an acceptance file: which bundle it is for."""

    bundle: str


def list_contents(folder: Path, *, only_plan: bool = False, units: tuple[str, ...] = ()) -> Contents:
    """List what is in a bundle: all of it, what its plan needs (``only_plan``), or the programs of some ``units``.

    Weights are not read: their checksums are those of bundle.json, their sizes are compared.

    Raises:
        BundleError: no bundle there, or a damaged one.
        PlanError: what the plan needs is asked for, and there is none for these programs.
        UsageError: a unit that the SoC does not have, or without a program of the target; ``units`` and ``only_plan``.
    """
    whole = read_bundle(folder)
    if units and only_plan:
        raise UsageError("what the plan needs decides the units; name units, or take what the plan needs")
    places = planned_places(folder, whole) if only_plan else _unit_places(whole, units) if units else None
    bundle = whole if places is None else select(whole, places)
    texts, remarks = _texts(folder, whole, bundle)
    no_drafter = ["the drafter: nothing that is kept runs it"] if whole.drafter and not bundle.drafter else []
    return Contents(
        folder=folder,
        bundle=bundle,
        files={**{name: describe_bytes(data) for name, data in texts.items()}, **dict(_ordered(bundle))},
        texts=texts,
        left_out={name: entry.bytes for name, entry in _ordered(whole) if name not in bundle.files},
        remarks=(*no_drafter, *remarks),
    )


def planned_places(folder: Path, bundle: Bundle) -> Places:
    """Where the stored plan runs each model; a model that it does not run is left out.

    Raises:
        PlanError: there is no plan for these programs.
    """
    plan = read_plan(folder)
    if plan.bundle != bundle.digest:
        raise PlanError(f"{folder / PLAN} is for other programs; run 'paceline plan {folder}' again")
    return _places_of(plan)


def _places_of(plan: Plan) -> Places:
    target: Places = {"target": frozenset({unit_of(plan.mapping.target)})}
    drafter = plan.mapping.drafter
    return target if drafter in (None, NGRAM) else {**target, "drafter": frozenset({unit_of(drafter)})}


def _unit_places(bundle: Bundle, units: tuple[str, ...]) -> Places:
    for name in units:
        if bundle.soc.unit(name) is None:
            known = ", ".join(unit.name for unit in bundle.soc.units)
            raise UsageError(f"{bundle.soc.name} has no unit {name!r}; it has: {known}")
    if not set(units) & set(bundle.target.programs):
        having = ", ".join(bundle.target.programs)
        raise UsageError(f"the target of {bundle.name} has no program for {', '.join(units)}; it has one for: {having}")
    return {model.role: frozenset(units) for model in bundle.models}


def select(bundle: Bundle, places: Places) -> Bundle:
    """The bundle with the programs of ``places`` only, and the weights that these read.

    Raises:
        BundleError: no program of the target is among them.
    """
    models = tuple(_with_units(model, places[model.role]) for model in bundle.models if model.role in places)
    models = tuple(model for model in models if model.programs)
    if not any(model.role == "target" for model in models):
        raise BundleError(f"the bundle {bundle.name} has no program of the target for {', '.join(places['target'])}")
    unused = _used(bundle.models) - _used(models)
    return replace(
        bundle,
        models=models,
        failures=tuple(entry for entry in bundle.failures if entry.unit in places.get(entry.role, ())),
        files={name: entry for name, entry in bundle.files.items() if name not in unused},
    )


def _with_units(model: BundledModel, units: frozenset[str]) -> BundledModel:
    tables = {name: getattr(model, name) for name in ("programs", "weights", "kernels", "features", "needs", "caches")}
    return replace(model, **{name: {u: v for u, v in table.items() if u in units} for name, table in tables.items()})


def _used(models: tuple[BundledModel, ...]) -> set[str]:
    return {name for model in models for name in (*model.programs.values(), *model.weights.values())}


def _ordered(bundle: Bundle) -> Iterator[tuple[str, FileEntry]]:
    """Files of bundle.json: texts, programs, weights, each by name."""
    programs = _used(bundle.models) - bundle.weights
    yield from sorted(bundle.files.items(), key=lambda item: (item[0] in bundle.weights, item[0] in programs, item[0]))


def _texts(folder: Path, whole: Bundle, bundle: Bundle) -> tuple[dict[str, bytes], list[str]]:
    """bundle.json, plan and measurements, made out to ``bundle``; and why some of them stay behind."""
    texts, remarks = {MANIFEST: _read(folder / MANIFEST) if bundle == whole else _encoded(bundle)}, []
    for name in DOCUMENTS:
        if not (folder / name).is_file():
            continue
        data = _read(folder / name)
        if parse_json(data, Document, where=str(folder / name), error=BundleError).bundle != whole.digest:
            remarks.append(f"{name}: it is for other programs")
        elif name == PLAN and not _can_run(bundle, _places_of(read_plan(folder))):
            remarks.append(f"{name}: it uses programs that are left out")
        elif bundle == whole:
            texts[name] = data
        else:
            texts[name] = _encoded({**msgspec.json.decode(data), "bundle": bundle.digest})
    return texts, remarks


def _can_run(bundle: Bundle, places: Places) -> bool:
    programs = {model.role: set(model.programs) for model in bundle.models}
    return all(units <= programs.get(role, set()) for role, units in places.items())


def _encoded(value: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def _read(path: Path) -> bytes:
    return read_bytes(path, error=BundleError)
