"""The phases of a compilation, on one screen.

    Capture (a shape, a precision, widths) that names kernels
      | write      a list of kernel calls, one function a width            -> flow
      | link       iree-compile with the kernels' object                   -> .vmfb
    any other
      | capture    torch.export on fake tensors, one function a width      -> torch dialect
      | lower      iree-compile --compile-to=input, weight matmuls marked  -> linalg
      | emit       iree-compile for one processing unit                    -> .vmfb
      | check      of a GPU: each shader against the limits of the SoC

Each phase is a file made from a file, cached by what went into it; of traced programs units share the first two.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from paceline.compile import cpu
from paceline.compile.bindings import Reach, read_reach
from paceline.compile.cache import Cache, Entry, key
from paceline.compile.capture import Capture
from paceline.compile.check_gpu import needs_of
from paceline.compile.emit_vmfb import emit_vmfb, flags, iree_compile
from paceline.compile.kernel_calls import FOLDER, digest
from paceline.compile.kernel_program import program_text
from paceline.compile.lower_to_linalg import lower_to_linalg
from paceline.compile.tools import Children
from paceline.files import writing
from paceline.targets import GpuNeeds, ProcessingUnit
from paceline.targets.instruction_sets import set_named

_DECLARED_BY = (
    "parameters",
    "precision",
    "int4",
    "stored",
    "../costmodel/caches",
    "../costmodel/memory",
    "../costmodel/model_spec",
)
_CAPTURED_BY = ("capture", "decoder", "export_model", "words", *_DECLARED_BY)
_WRITTEN_BY = ("kernel_program", "kernel_text", "kernel_calls", "packing", *_DECLARED_BY)
_CHECKED_BY = ("bindings", "check_gpu", "spirv", "vmfb", "../targets/limits")
_REACH = "reach.json"  # of a GPU's .vmfb
_LINKED = ("--iree-input-type=none", f"--iree-hal-executable-object-search-path={FOLDER}")


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Where phases keep their files, and the children that they run; ``dump`` is a folder for copies of all IR."""

    cache: Cache
    children: Children
    dump: Path | None = None

    def capture(self, capture: Capture) -> Entry:
        """Phase 1: MLIR of the torch dialect."""

        def write(output: Path) -> None:
            request = self.cache.folder / f"{name}.capture.json"
            request.write_bytes(msgspec.json.encode(capture))
            command = (sys.executable, "-m", "paceline.compile.export_model", str(request), str(output))
            self.children.run(command, tool="torch.export")

        name = key("capture", _shape(capture), by=_CAPTURED_BY)
        return self._dumped(self.cache.make(name, "torch.mlir", write), capture, "1-torch.mlir")

    def lower(self, capture: Capture) -> Entry:
        """Phases 1 and 2: MLIR of the linalg dialect, weight matmuls marked."""
        name = key("lower", _shape(capture), by=(*_CAPTURED_BY, "lower_to_linalg"))
        if self.dump is None and (found := self.cache.find(name, "linalg.mlir")):
            return found
        source = self.capture(capture).path
        made = self.cache.make(
            name, "linalg.mlir", lambda output: lower_to_linalg(source, capture, output, self.children)
        )
        return self._dumped(made, capture, "2-linalg.mlir")

    def source(self, capture: Capture) -> Entry:
        """All phases but the last: MLIR that is ready for a unit."""
        if not capture.kernels:
            return self.lower(capture)
        kernels = set_named(capture.kernels)
        name = key("kernels", _shape(capture), digest(kernels), by=_WRITTEN_BY)
        made = self.cache.make(name, "kernels.mlir", lambda output: _write(output, program_text(capture, kernels)))
        return self._dumped(made, capture, "1-kernels.mlir")

    def program(self, capture: Capture, unit: ProcessingUnit) -> Entry:
        """All phases: a .vmfb for ``unit``.

        Raises:
            CompileFailed: a phase failed; its input stays in the cache, so that the command can be repeated.
        """
        if capture.kernels:
            return self._linked(capture, unit)
        name = _emitted(capture, unit)
        whole = unit.kind == "cpu" or self.cache.find(_reach_of(name), _REACH)
        if self.dump is None and whole and (found := self.cache.find(name, "vmfb")):
            return found
        source = self.lower(capture).path
        with self._phases(capture, unit) as folder:
            made = self.cache.remake(
                name, "vmfb", lambda output: emit_vmfb(source, unit, output, self.children, dump=folder)
            )
            if unit.kind == "gpu" and folder is not None:
                self.cache.remake(_reach_of(name), _REACH, lambda output: _save(output, read_reach(folder, source)))
        return made

    def needs(self, unit: ProcessingUnit, program: Entry) -> dict[str, GpuNeeds]:
        """What each shader of a GPU's ``program`` asks of its driver.

        Raises:
            CompileFailed: the compiler did not say it.
        """
        emitted = program.path.stem

        def write(output: Path) -> None:
            reach = self.cache.folder / f"{_reach_of(emitted)}.{_REACH}"
            of_each = msgspec.json.decode(reach.read_bytes(), type=dict[str, Reach])
            _save(output, needs_of(program.path, of_each, unit))

        made = self.cache.make(key("needs", emitted, unit.subgroup, by=_CHECKED_BY), "needs.json", write)
        return msgspec.json.decode(made.path.read_bytes(), type=dict[str, GpuNeeds])

    @contextmanager
    def _phases(self, capture: Capture, unit: ProcessingUnit) -> Iterator[Path | None]:
        """Where the compiler leaves the IR of its phases: what a GPU's dispatches bind is in no other place."""
        if self.dump is not None:
            yield self.dump / f"{label(capture)}.3-{unit.name}"
        elif unit.kind == "cpu":
            yield None
        else:
            with writing(self.cache.folder), TemporaryDirectory(prefix=".phases-", dir=self.cache.folder) as folder:
                yield Path(folder)

    def _linked(self, capture: Capture, unit: ProcessingUnit) -> Entry:
        name = key("link", _shape(capture), digest(set_named(capture.kernels)), by=_WRITTEN_BY)
        if self.dump is None and (found := self.cache.find(name, "vmfb")):
            return found
        source = self.source(capture).path
        extra = (
            () if self.dump is None else (f"--dump-compilation-phases-to={self.dump / label(capture)}.2-{unit.name}",)
        )
        return self.cache.remake(
            name, "vmfb", lambda output: iree_compile(source, (*_LINKED, *extra), output, self.children)
        )

    def _dumped(self, entry: Entry, capture: Capture, ending: str) -> Entry:
        if self.dump is not None:
            self.dump.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(entry.path, self.dump / f"{label(capture)}.{ending}")
        return entry


def label(capture: Capture) -> str:
    """What dumped files of a capture are called."""
    return f"{capture.spec.name}.{capture.precision}-{capture.form}"


def _write(output: Path, text: str) -> None:
    output.write_text(text)


def _save(output: Path, value: object) -> None:
    output.write_bytes(msgspec.json.encode(value))


def _emitted(capture: Capture, unit: ProcessingUnit) -> str:
    """Key of a traced program."""
    made_of = ("emit", _shape(capture), flags(unit), cpu.identity(unit))
    return key(*made_of, by=(*_CAPTURED_BY, "lower_to_linalg"))


def _reach_of(emitted: str) -> str:
    """Key of what was read from the compiler's IR of a traced program: only a compiler's run can be read anew."""
    return key("reach", emitted, by=("bindings",))


def _shape(capture: Capture) -> object:
    """A capture without what leaves no trace in its IR: models of one shape share programs."""
    spec = msgspec.structs.replace(capture.spec, name="", family="", context=0)
    return msgspec.to_builtins(msgspec.structs.replace(capture, spec=spec))
