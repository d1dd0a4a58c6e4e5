"""The work of a build: every model for every unit on a few threads that wait for child processes."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import msgspec

from paceline.compile.archive import write_archive
from paceline.compile.cache import Entry, key
from paceline.compile.capture import Capture
from paceline.compile.check_gpu import check
from paceline.compile.package import open_weights, read_package
from paceline.compile.packing import FORM, PACKED
from paceline.compile.pair import Candidate
from paceline.compile.pipeline import Pipeline
from paceline.compile.precision import precision_named, precision_on
from paceline.compile.stored import Stored
from paceline.costmodel import Role, as_rounded, whole_head
from paceline.costmodel.work import kernels_take
from paceline.errors import CompileFailed
from paceline.partition import Failure
from paceline.partition.feasible import why_not_precision
from paceline.targets import GpuNeeds, ProcessingUnit
from paceline.targets.instruction_sets import instruction_set

Progress = Callable[[str, int, int], None]
# what decodes, joins and rounds weights: mended, it makes another archive of the same package
_ARCHIVED_BY = (
    *("archive", "parameters", "precision", "packing", "int4", "stored", "rope", "family", "../costmodel/memory"),
    *("gemma3", "llama", "qwen2", "qwen3"),
    *("gguf_file", "gguf_weights", "safetensors_file", "safetensors_weights", "package"),
)


@dataclass(frozen=True, slots=True)
class Job:
    """One program to compile."""

    model: Candidate
    unit: ProcessingUnit
    capture: Capture

    @property
    def stored(self) -> Stored:
        """How the program's weights are stored: packed, or the one way of all traced programs."""
        name = self.capture.precision
        return PACKED[name] if self.capture.kernels else precision_named(name)


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled program and, of one for a GPU, the most that any of its shaders asks of the driver."""

    entry: Entry
    needs: GpuNeeds | None = None


Programs = list[tuple[Job, Future[Program]]]


@dataclass(frozen=True, slots=True)
class Made:
    """What came out: entries of the cache, by model and the form of its weights, and by model and unit."""

    weights: dict[tuple[Role, str], Entry]
    programs: dict[tuple[Role, str], tuple[Job, Program]]
    failures: tuple[Failure, ...]


class Work:
    """Runs everything that a bundle needs on a few threads, which wait for child processes."""

    def __init__(
        self, pipeline: Pipeline, context: int, widths: tuple[int, ...], *, kernels: bool, progress: Progress
    ) -> None:
        self.pipeline, self.context, self.widths, self.progress = pipeline, context, widths, progress
        self.kernels = kernels
        self.stopped = threading.Event()

    def run(self, models: tuple[Candidate, ...], units: tuple[ProcessingUnit, ...], jobs: int) -> Made:
        wanted, failures = self._jobs(models, units)
        pool = ThreadPoolExecutor(jobs)
        try:
            # first in, first out: a program that waits for its IR never holds the thread that its IR needs
            sources = {job.capture: pool.submit(self.pipeline.source, job.capture) for job in wanted}
            weights = {(job.model.role, job.stored.form): job for job in wanted}
            archives = {kind: pool.submit(self._weights, job) for kind, job in weights.items()}
            programs = [(job, pool.submit(self._program, job, sources[job.capture])) for job in wanted]
            self._watch([*sources.values(), *archives.values(), *(future for _, future in programs)])
            written = {kind: future.result() for kind, future in archives.items()}
        except BaseException:
            self.stopped.set()
            self.pipeline.children.stop()
            raise
        finally:
            pool.shutdown(cancel_futures=True)
        return self._collect(programs, written, failures)

    def _jobs(
        self, models: tuple[Candidate, ...], units: tuple[ProcessingUnit, ...]
    ) -> tuple[list[Job], list[Failure]]:
        wanted, failures = [], []
        for model in models:
            for unit in units:
                if reason := why_not_precision(model.precision, unit):
                    failures.append(_failure(model, unit, reason))
                else:
                    wanted.append(Job(model, unit, self._capture(model, unit)))
        return wanted, failures

    def _capture(self, model: Candidate, unit: ProcessingUnit) -> Capture:
        wanted = self.kernels and kernels_take(model.package.spec)
        kernels = instruction_set(unit) if wanted else None
        spec = model.package.spec if kernels else whole_head(model.package.spec)
        return Capture(
            spec=spec if kernels and model.precision == "int4" else as_rounded(spec),
            precision=model.precision,
            form=FORM if kernels else precision_on(model.precision, unit).form,
            kernels=kernels.name if kernels else "",
            context=self.context,
            widths=self.widths,
        )

    def _program(self, job: Job, source: Future[Entry]) -> Program:
        source.result()
        entry = self.pipeline.program(job.capture, job.unit)
        if job.unit.kind == "cpu":
            return Program(entry)
        return Program(entry, check(self.pipeline.needs(job.unit, entry), job.unit))

    def _weights(self, job: Job) -> Entry:
        folder, package, precision = job.model.folder, job.model.package, job.stored
        # how many logits a drafter computes is no matter of its archive: that has signs, or none
        spec = msgspec.structs.replace(job.capture.spec, draft_vocabulary=min(job.capture.spec.draft_vocabulary, 1))
        kind = (precision.name, precision.form, self.context)
        name = key("weights", msgspec.to_builtins(spec), *kind, msgspec.to_builtins(package.files), by=_ARCHIVED_BY)

        def write(output: Path) -> None:
            read_package(folder, checksums=True)  # the cache files the archive under these very checksums
            weights = open_weights(folder, package)
            write_archive(weights, spec, precision, self.context, output, tick=self._tick)

        return self.pipeline.cache.make(name, "irpa", write)

    def _tick(self, done: int, total: int) -> None:
        if self.stopped.is_set():
            raise InterruptedError("the build was stopped")

    def _watch(self, futures: Sequence[Future[Entry] | Future[Program]]) -> None:
        """Wait for all; a program that cannot be made spoils nothing else, but a full disk ends it all."""
        for done, future in enumerate(as_completed(futures), 1):
            error = future.exception()
            if error is not None and not isinstance(error, CompileFailed):
                raise error
            self.progress("compile", done, len(futures))

    def _collect(self, programs: Programs, weights: dict[tuple[Role, str], Entry], failures: list[Failure]) -> Made:
        made: dict[tuple[Role, str], tuple[Job, Program]] = {}
        for job, future in programs:
            error = future.exception()
            if isinstance(error, CompileFailed):
                failures.append(_failure(job.model, job.unit, f"{error.tool} failed: {error.diagnostic}", error))
            else:
                made[job.model.role, job.unit.name] = job, future.result()
        if not any(role == "target" for role, _ in made):
            raise _nothing(programs, failures)
        return Made(weights, made, tuple(failures))


def _nothing(programs: Programs, failures: list[Failure]) -> CompileFailed:
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
