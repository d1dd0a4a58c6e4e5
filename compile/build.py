"""From model packages and a SoC to a bundle: every model for every unit, in parallel, failures kept as sentences."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from paceline.checksums import FileEntry, describe
from paceline.compile.cache import Cache, Entry, default_folder, place, versions
from paceline.compile.cpu import needed
from paceline.compile.jobs import Job, Made, Progress, Work
from paceline.compile.output import Request, asked_model, check_output, keep_measurements
from paceline.compile.package import CHAT_TEMPLATE, TOKENIZER
from paceline.compile.pair import Candidate, candidates, chosen_context
from paceline.compile.pipeline import Pipeline
from paceline.compile.tools import Children
from paceline.documents import write_json
from paceline.errors import UsageError
from paceline.files import new_folder, writing
from paceline.partition import Bundle, BundledModel
from paceline.partition.bundle import MANIFEST, WIDTHS
from paceline.targets import ProcessingUnit, Soc
from paceline.targets.instruction_sets import instruction_set


def build(
    *,
    soc: Soc,
    target: Path,
    drafter: Path | None = None,
    output: Path,
    target_precision: str = "f32",
    drafter_precision: str = "int8",
    draft_vocabulary: int | None = None,
    context: int | None = None,
    widths: tuple[int, ...] = WIDTHS,
    units: tuple[str, ...] | None = None,
    dump: Path | None = None,
    jobs: int | None = None,
    replace: bool = False,
    kernels: bool = True,
    progress: Progress = lambda what, done, total: None,
) -> Bundle:
    """Compile a target and, where given, a drafter for the units of a SoC into a bundle at ``output``.

    For each token the drafter chooses among ``draft_vocabulary`` ids, see ``screened_head``. ``context`` is 512
    tokens unless said, or as many as the models were trained for. A bundle of the same request is built again in place;
    ``replace`` allows to replace another one. A program that cannot be made becomes a ``Failure`` of the bundle.
    Without ``kernels`` CPU programs are traced, as those of GPUs are.
    ``progress(what, done, total)`` counts finished pieces of work.

    Raises:
        CompileFailed: no program of the target could be made.
        PairError, PackageError, UsageError, OutputError: before any compiler is started.
    """
    chosen = _units(soc, units)
    draft_vocabulary = _draft_vocabulary(draft_vocabulary, chosen, kernels=kernels)
    models = candidates(target, target_precision, drafter, drafter_precision, draft_vocabulary)
    context = chosen_context(models, context)
    widths = _widths(widths, context)
    request = Request(
        soc=soc.name,
        units=frozenset(unit.name for unit in chosen),
        context=context,
        widths=widths,
        models=tuple(asked_model(model.role, model.package.spec, model.precision) for model in models),
    )
    replace = check_output(output, request, replace=replace)
    if dump is not None:
        with writing(dump):
            dump.mkdir(parents=True, exist_ok=True)
    with new_folder(output, replace=replace) as folder:
        pipeline = Pipeline(Cache(default_folder()), Children(), dump)
        work = Work(pipeline, context, widths, kernels=kernels, progress=progress)
        made = work.run(models, chosen, jobs or os.cpu_count() or 1)
        bundle = _assemble(folder, soc, models, made, context, widths)
        keep_measurements(output, bundle, folder)
        write_json(folder / MANIFEST, bundle)
    pipeline.cache.forget()
    return bundle


def _units(soc: Soc, names: tuple[str, ...] | None) -> tuple[ProcessingUnit, ...]:
    known = [unit.name for unit in soc.units]
    if names is None:
        return soc.units
    if missing := [name for name in names if name not in known]:
        raise UsageError(f"{soc.name} has no unit {missing[0]!r}; it has {', '.join(known)}")
    return tuple(unit for unit in soc.units if unit.name in names)


def _draft_vocabulary(wanted: int | None, units: tuple[ProcessingUnit, ...], *, kernels: bool) -> int | None:
    """``wanted``, or 0 where nobody could do anything else: only kernels leave logits out."""
    if kernels and any(map(instruction_set, units)):
        return wanted
    if wanted:
        names = ", ".join(unit.name for unit in units)
        raise UsageError(f"draft vocabulary {wanted} needs kernels, and programs on {names} have none; leave it out")
    return 0


def _widths(widths: tuple[int, ...], context: int) -> tuple[int, ...]:
    if not widths or min(widths) < 1:
        raise UsageError(f"widths {widths} make no sense: give numbers of tokens per call, from 1 up")
    if max(widths) > context:
        raise UsageError(f"width {max(widths)} is more than the context of {context} tokens; choose smaller widths")
    return tuple(sorted({1, *widths}))


def _assemble(
    folder: Path, soc: Soc, models: tuple[Candidate, ...], made: Made, context: int, widths: tuple[int, ...]
) -> Bundle:
    """Put the files into the bundle's folder and describe them."""
    target, bundled = models[0], list[BundledModel]()
    files = _texts(target, folder)
    for model in models:
        jobs = {unit: job for (role, unit), (job, _) in made.programs.items() if role == model.role}
        if jobs:
            bundled.append(_bundled(model, jobs, made))
            files |= _placed(bundled[-1], jobs, made, folder)
    return Bundle(
        name=target.package.spec.name,
        soc=soc,
        context=context,
        widths=widths,
        models=tuple(bundled),
        tokens=target.package.tokens,
        versions=versions(),
        failures=made.failures,
        files=files,
    )


def _texts(target: Candidate, folder: Path) -> dict[str, FileEntry]:
    """Copy the tokenizer and, where there is one, the chat template."""
    names = [name for name in (TOKENIZER, CHAT_TEMPLATE) if name in target.package.files]
    for name in names:
        shutil.copyfile(target.folder / name, folder / name)
    return {name: describe(folder / name) for name in names}


def _placed(model: BundledModel, jobs: dict[str, Job], made: Made, folder: Path) -> dict[str, FileEntry]:
    """Put a model's programs and weights at their names."""
    entries: dict[str, Entry] = {}
    for unit, job in jobs.items():
        entries[model.programs[unit]] = made.programs[model.role, unit][1].entry
        entries[model.weights[unit]] = made.weights[model.role, job.stored.form]
    for name, entry in entries.items():
        place(entry, folder / name)
    return {name: entry.entry for name, entry in entries.items()}


def _bundled(model: Candidate, jobs: dict[str, Job], made: Made) -> BundledModel:
    stem = f"{model.role}.{model.precision}"
    needs = {unit: made.programs[model.role, unit][1].needs for unit in jobs}
    return BundledModel(
        role=model.role,
        spec=model.package.spec,
        precision=model.precision,
        programs={unit: f"{stem}.{unit}.vmfb" for unit in jobs},
        weights={unit: f"{stem}.{'packed.' if job.capture.kernels else ''}irpa" for unit, job in jobs.items()},
        kernels={unit: job.capture.kernels for unit, job in jobs.items() if job.capture.kernels},
        features={unit: found for unit, job in jobs.items() if (found := needed(job.unit, job.capture.kernels))},
        needs={unit: found for unit, found in needs.items() if found is not None},
        caches={unit: job.capture.caches for unit, job in jobs.items() if job.capture.caches != "f32"},
        same_as_target=model.same_as_target,
    )
