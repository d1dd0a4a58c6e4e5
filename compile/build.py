"""From model packages and a SoC to a bundle: every model for every unit, in parallel, failures kept as sentences."""

from __future__ import annotations

import os
import shlex
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import msgspec

from paceline.compile.archive import stored_bytes, write_archive
from paceline.compile.cache import Cache, Entry, default_folder, key, place, versions
from paceline.compile.capture import Capture
from paceline.compile.output import Request, check_output, keep_measurements
from paceline.compile.package import CHAT_TEMPLATE, TOKENIZER, open_weights, read_package
from paceline.compile.pair import Candidate, candidates, chosen_context
from paceline.compile.pipeline import Pipeline
from paceline.compile.precision import precision_named, precision_on, refusal
from paceline.compile.tools import Children
from paceline.costmodel import Role
from paceline.errors import CompileFailed, UsageError
from paceline.files import describe, new_folder, write_json, writing
from paceline.partition import Bundle, BundledModel, Failure
from paceline.partition.bundle import MANIFEST
from paceline.targets import ProcessingUnit, Soc

WIDTHS = (1, 2, 4, 8, 16, 64)
Progress = Callable[[str, int, int], None]
# what decodes, joins and rounds weights: mended, it makes another archive of the same package
_ARCHIVED_BY = (
    *("archive", "parameters", "precision", "rope", "family", "gemma3", "llama", "qwen2", "qwen3"),
    *("gguf_file", "gguf_weights", "safetensors_file", "safetensors_weights", "package"),
)


@dataclass(frozen=True, slots=True)
class _Job:
    """One program to compile."""

    model: Candidate
    unit: ProcessingUnit
    capture: Capture


def build(
    *,
    soc: Soc,
    target: Path,
    drafter: Path | None = None,
    output: Path,
    target_precision: str = "f32",
    drafter_precision: str = "int8",
    context: int | None = None,
    widths: tuple[int, ...] = WIDTHS,
    units: tuple[str, ...] | None = None,
    dump: Path | None = None,
    jobs: int | None = None,
    replace: bool = False,
    progress: Progress = lambda what, done, total: None,
) -> Bundle:
    """Compile a target and, where given, a drafter for the units of a SoC into a bundle at ``output``.

    ``context`` is 512 tokens unless said, or as many as the models were trained for. A bundle of the same request is
    built again in place; ``replace`` allows to replace another one. A program that cannot be made becomes a
    ``Failure`` of the bundle. ``progress(what, done, total)`` counts finished pieces of work.

    Raises:
        CompileFailed: no program of the target could be made.
        PairError, PackageError, UsageError, OutputError: before any compiler is started.
    """
    models = candidates(target, target_precision, drafter, drafter_precision)
    context = chosen_context(models, context)
    chosen, widths = _units(soc, units), _widths(widths, context)
    request = Request(
        soc=soc.name,
        units=frozenset(unit.name for unit in chosen),
        context=context,
        widths=widths,
        models=tuple((model.role, model.package.spec.name, model.precision) for model in models),
    )
    replace = check_output(output, request, replace=replace)
    if dump is not None:
        with writing(dump):
            dump.mkdir(parents=True, exist_ok=True)
    with new_folder(output, replace=replace) as folder:
        work = _Work(Pipeline(Cache(default_folder()), Children(), dump), context, widths, progress)
        made = work.run(models, chosen, jobs or os.cpu_count() or 1)
        bundle = _assemble(folder, soc, models, made, context, widths)
        keep_measurements(output, bundle, folder)
        write_json(folder / MANIFEST, bundle)
    return bundle


def _units(soc: Soc, names: tuple[str, ...] | None) -> tuple[ProcessingUnit, ...]:
    known = [unit.name for unit in soc.units]
    if names is None:
        return soc.units
    if missing := [name for name in names if name not in known]:
        raise UsageError(f"{soc.name} has no unit {missing[0]!r}; it has {', '.join(known)}")
    return tuple(unit for unit in soc.units if unit.name in names)


def _widths(widths: tuple[int, ...], context: int) -> tuple[int, ...]:
    if not widths or min(widths) < 1:
        raise UsageError(f"widths {widths} make no sense: give numbers of tokens per call, from 1 up")
    if max(widths) > context:
        raise UsageError(f"width {max(widths)} is more than the context of {context} tokens; choose smaller widths")
    return tuple(sorted({1, *widths}))


_Programs = list[tuple[_Job, Future[Entry]]]


@dataclass(frozen=True, slots=True)
class _Made:
    """What came out: entries of the cache, by model and unit."""

    weights: dict[Role, Entry]
    programs: dict[tuple[Role, str], Entry]
    failures: tuple[Failure, ...]


class _Work:
    """Runs everything that a bundle needs on a few threads, which wait for child processes."""

    def __init__(self, pipeline: Pipeline, context: int, widths: tuple[int, ...], progress: Progress) -> None:
        self.pipeline, self.context, self.widths, self.progress = pipeline, context, widths, progress
        self.stopped = threading.Event()

    def run(self, models: tuple[Candidate, ...], units: tuple[ProcessingUnit, ...], jobs: int) -> _Made:
        wanted, failures = self._jobs(models, units)
        pool = ThreadPoolExecutor(jobs)
        try:
            # first in, first out: a program that waits for its IR never holds the thread that its IR needs
            lowered = {job.capture: pool.submit(self.pipeline.lower, job.capture) for job in wanted}
            weights = {model.role: pool.submit(self._weights, model) for model in models}
            programs = [(job, pool.submit(self._program, job, lowered[job.capture])) for job in wanted]
            self._watch([*lowered.values(), *weights.values(), *(future for _, future in programs)])
            archives = {role: future.result() for role, future in weights.items()}
        except BaseException:
            self.stopped.set()
            self.pipeline.children.stop()
            raise
        finally:
            pool.shutdown(cancel_futures=True)
        return self._collect(programs, archives, failures)

    def _jobs(
        self, models: tuple[Candidate, ...], units: tuple[ProcessingUnit, ...]
    ) -> tuple[list[_Job], list[Failure]]:
        wanted, failures = [], []
        for model in models:
            for unit in units:
                if reason := refusal(model.precision, unit):
                    failures.append(_failure(model, unit, reason))
                else:
                    wanted.append(_Job(model, unit, self._capture(model, unit)))
        return wanted, failures

    def _capture(self, model: Candidate, unit: ProcessingUnit) -> Capture:
        form = precision_on(model.precision, unit).form
        return Capture(
            spec=model.package.spec, precision=model.precision, form=form, context=self.context, widths=self.widths
        )

    def _program(self, job: _Job, lowered: Future[Entry]) -> Entry:
        lowered.result()
        return self.pipeline.program(job.capture, job.unit)

    def _weights(self, model: Candidate) -> Entry:
        package, precision = model.package, precision_named(model.precision)
        shape = msgspec.to_builtins(package.spec)
        name = key(
            *("weights", shape, model.precision, self.context, msgspec.to_builtins(package.files)), by=_ARCHIVED_BY
        )

        def write(output: Path) -> None:
            read_package(model.folder, checksums=True)  # the cache files the archive under these very checksums
            weights = open_weights(model.folder, package)
            write_archive(weights, package.spec, precision, self.context, output, tick=self._tick)

        return self.pipeline.cache.make(name, "irpa", write)

    def _tick(self, done: int, total: int) -> None:
        if self.stopped.is_set():
            raise InterruptedError("the build was stopped")

    def _watch(self, futures: list[Future[Entry]]) -> None:
        """Wait for all; a program that cannot be made spoils nothing else, but a full disk ends it all."""
        for done, future in enumerate(as_completed(futures), 1):
            error = future.exception()
            if error is not None and not isinstance(error, CompileFailed):
                raise error
            self.progress("compile", done, len(futures))

    def _collect(self, programs: _Programs, weights: dict[Role, Entry], failures: list[Failure]) -> _Made:
        made: dict[tuple[Role, str], Entry] = {}
        for job, future in programs:
            error = future.exception()
            if isinstance(error, CompileFailed):
                failures.append(_failure(job.model, job.unit, f"{error.tool} failed: {error.diagnostic}", error))
            else:
                made[job.model.role, job.unit.name] = future.result()
        if not any(role == "target" for role, _ in made):
            raise _nothing(programs, failures)
        return _Made(weights, made, tuple(failures))


def _nothing(programs: _Programs, failures: list[Failure]) -> CompileFailed:
    for job, future in programs:
        error = future.exception()
        if job.model.role == "target" and isinstance(error, CompileFailed):
            return error
    return CompileFailed(tool="paceline", diagnostic="; ".join(f.reason for f in failures), command=())


def _failure(model: Candidate, unit: ProcessingUnit, reason: str, error: CompileFailed | None = None) -> Failure:
    return Failure(
        role=model.role,
        precision=model.precision,
        unit=unit.name,
        reason=reason,
        command="" if error is None else shlex.join(error.command),
    )


def _assemble(
    folder: Path, soc: Soc, models: tuple[Candidate, ...], made: _Made, context: int, widths: tuple[int, ...]
) -> Bundle:
    """Put the files into the bundle's folder and describe them."""
    files = {}
    bundled = []
    for model in models:
        stem = f"{model.role}.{model.precision}"
        programs = {unit: f"{stem}.{unit}.vmfb" for role, unit in made.programs if role == model.role}
        if not programs:
            continue
        entries = {name: made.programs[model.role, unit] for unit, name in programs.items()}
        entries[f"{stem}.irpa"] = made.weights[model.role]
        for name, entry in entries.items():
            place(entry, folder / name)
            files[name] = entry.entry
        bundled.append(_bundled(model, programs, f"{stem}.irpa", context))
    target = models[0]
    for name in (TOKENIZER, CHAT_TEMPLATE):
        if name in target.package.files:
            shutil.copyfile(target.folder / name, folder / name)
            files[name] = describe(folder / name)
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


def _bundled(model: Candidate, programs: dict[str, str], weights: str, context: int) -> BundledModel:
    spec = model.package.spec
    return BundledModel(
        role=model.role,
        spec=spec,
        precision=model.precision,
        weights=weights,
        weights_bytes=stored_bytes(spec, precision_named(model.precision), context),
        programs=programs,
        same_as_target=model.same_as_target,
    )
