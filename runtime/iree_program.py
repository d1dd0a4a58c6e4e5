"""Programs that IREE compiled: weights mapped from the archive, caches owned, ids read through mapped memory."""

from __future__ import annotations

import math
import os
import re
import weakref
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import iree.runtime as rt
import numpy as np
from iree.runtime import _binding
from numpy.typing import NDArray

from paceline.costmodel import CacheKind, cache_bytes, cache_shapes
from paceline.encoding import utf8_name
from paceline.errors import BundleError, DeviceLost, DeviceUnavailable
from paceline.partition import Bundle, BundledModel
from paceline.runtime import huge_pages
from paceline.runtime.program import Step, check_span
from paceline.targets import ProcessingUnit, amx
from paceline.targets.host import Cpu, compilers_names, detect_cpu

_DEFAULT = int(rt.BufferUsage.DEFAULT)
_MAPPED = int(rt.BufferUsage.MAPPING_SCOPED) | int(rt.BufferUsage.MAPPING_PERSISTENT)
_HOST = int(rt.MemoryType.HOST_LOCAL) | int(rt.MemoryType.DEVICE_VISIBLE)
_INT32, _FLOAT32 = np.dtype(np.int32), np.dtype(np.float32)
# Status codes by which IREE says that a device failed and not its caller, with what follows up to the next part.
_FAULT = re.compile(
    r"\b(RESOURCE_EXHAUSTED|UNAVAILABLE|INTERNAL|ABORTED|DEADLINE_EXCEEDED|DATA_LOSS|UNKNOWN)\b(; [^;\n]*)?"
)


@cache
def _instance() -> Any:
    return rt.VmInstance()


@dataclass(frozen=True)
class IreeDevice:
    """A HAL device of IREE; ``hal`` is IREE's handle.

    ``calling`` is entered around every call of its programs, ``loading`` while one is loaded.
    """

    unit: ProcessingUnit
    description: str
    hal: Any
    calling: Callable[[], AbstractContextManager[None]] = nullcontext
    loading: Callable[[], AbstractContextManager[None]] = nullcontext

    def load(self, folder: Path, bundle: Bundle, model: BundledModel) -> IreeProgram:
        """Load ``model`` from ``folder``.

        Raises:
            BundleError: IREE cannot read the program or its weights, or the caches are larger than this machine.
            DeviceUnavailable: the program has instructions that this machine's CPU does not have.
            DeviceLost: the device has no memory for it.
            UsageError: the weights have a name that is not UTF-8.
        """
        needed = model.features.get(self.unit.name, ())
        check_features(needed, detect_cpu())
        check_tiles(needed)
        path, weights = folder / model.programs[self.unit.name], folder / model.weights[self.unit.name]
        check_caches(cache_bytes(model.spec, bundle.context, model.kept_on(self.unit.name)), str(path))
        if self.unit.kind == "cpu":  # a GPU gets a copy
            huge_pages.gather(weights)
        try:
            with self.loading():
                return IreeProgram(self.hal, path, weights, bundle, model, device=self)
        except (OSError, ValueError, TypeError, RuntimeError, LookupError) as error:
            if (lost := device_fault(error, self.description)) and "RESOURCE_EXHAUSTED" in str(error):
                raise DeviceLost(f"{lost} for {path.name}; choose another --map, or a smaller context") from error
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            what = f"{path} with {weights.name} cannot be loaded on {self.description}"
            raise BundleError(f"{what}: {reason}; compile it again") from error


def check_caches(size: int, program: str) -> None:
    """Refuse, before it is tried, to take more memory than there is: systems that overcommit would grant it.

    Raises:
        BundleError: caches of ``size`` bytes are larger than this machine's memory.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else size
    if size > memory:
        found = f"its bundle.json asks for caches of {size / 1e9:.3g} GB, this machine has {memory / 1e9:.3g} GB"
        raise BundleError(f"{program} cannot be loaded: {found}; compile it again with a smaller --context")


def check_features(needed: Iterable[str], cpu: Cpu) -> None:
    """Refuse a program that would stop at an instruction; a machine that does not list its features is trusted.

    Raises:
        DeviceUnavailable: ``cpu`` lacks some of the features ``needed``.
    """
    missing = sorted(compilers_names(needed) - cpu.instructions)
    if missing and cpu.features:
        raise DeviceUnavailable(
            f"these programs need {', '.join(missing)}, which this machine's CPU ({cpu.name}) does not have; "
            "compile them on this machine, or for a SoC file that names its processor"
        )


def check_tiles(needed: Iterable[str]) -> None:
    """Have Linux lend this process the tiles that a program needs, or refuse it: its first tile would stop the process.

    Raises:
        DeviceUnavailable: there are features of AMX among those ``needed``, and Linux lends no tiles.
    """
    if not compilers_names(amx.FLAGS).isdisjoint(compilers_names(needed)) and not amx.tiles_granted():
        raise DeviceUnavailable(
            "these programs multiply tiles (AMX), which Linux does not lend to this process: a thread of it has too "
            "small a stack for signals; load them before it starts others, or compile for a SoC file without amx-int8"
        )


def device_fault(error: Exception, device: str) -> DeviceLost | None:
    """What an error of IREE says of the device it came from; None where it is the caller's fault, or another."""
    found = _FAULT.search(str(error)) if isinstance(error, RuntimeError) else None
    if found is None:
        return None
    what = "ran out of memory" if found[1] == "RESOURCE_EXHAUSTED" else "was lost"
    return DeviceLost(f"{device} {what} ({found[0]})")


class _Input:
    """A small i32 tensor in host memory that the device sees; ``array`` writes straight into it."""

    def __init__(self, hal: Any, shape: tuple[int, ...]) -> None:
        size = _INT32.itemsize * math.prod(shape)
        self.buffer = hal.allocator.allocate_buffer(
            memory_type=_HOST, allowed_usage=_DEFAULT | _MAPPED, allocation_size=size
        )
        self.view = rt.HalBufferView(self.buffer, shape, int(rt.HalElementType.INT_32))
        self.mapping = self.buffer.map()
        self.array: NDArray[np.int32] = self.mapping.asarray((size // _INT32.itemsize,), _INT32)


@dataclass
class _Held:
    """Everything that lives on the device, released in this order: what is used before what it uses."""

    calls: dict[int, tuple[Any, Any, _Input]] = field(default_factory=dict)
    inputs: list[Any] = field(default_factory=list)
    staging: dict[int, Any] = field(default_factory=dict)
    semaphore: list[Any] = field(default_factory=list)
    context: list[Any] = field(default_factory=list)

    def release(self) -> None:
        for part in (self.calls, self.inputs, self.staging, self.semaphore, self.context):
            part.clear()


class IreeProgram:
    """One compiled model with its caches; see ``Program``."""

    def __init__(
        self, hal: Any, path: Path, weights: Path, bundle: Bundle, model: BundledModel, *, device: IreeDevice
    ) -> None:
        self._device, self._calling = device.description, device.calling
        self._path = path
        self.widths, self.context, self.vocabulary = bundle.widths, bundle.context, model.spec.vocabulary
        self._hal, self._held, self._copies = hal, _Held(), 0
        # IREE's buffers must go before their device; the finalizer sees to it at interpreter exit as well.
        self.close = weakref.finalize(self, self._held.release)
        module = _load_modules(hal, path, weights, self._held)
        kept = model.kept_on(device.unit.name)
        self._held.semaphore.append(hal.create_semaphore(0))
        self._span = _Input(hal, (2,))
        caches = [self._zeros(shape, kept) for shape in cache_shapes(model.spec, bundle.context, kept)]
        self._held.inputs += [self._span, *caches]
        for width in self.widths:
            self._held.calls[width] = self._bind(module, width, caches)

    def _bind(self, module: Any, width: int, caches: list[Any]) -> tuple[Any, Any, _Input]:
        function = module.lookup_function(f"step_{width}")
        if function is None:
            raise KeyError(f"it exports no step_{width}")
        tokens, arguments = _Input(self._hal, (width,)), rt.VmVariantList(4)
        for view in (tokens.view, self._span.view, *caches):
            arguments.push_ref(view)
        return function, arguments, tokens

    def _zeros(self, shape: tuple[int, ...], kept: CacheKind) -> Any:
        element, kind = (
            (_FLOAT32.itemsize, rt.HalElementType.FLOAT_32) if kept == "f32" else (1, rt.HalElementType.INT_8)
        )
        size = math.prod(shape) * element
        buffer = self._hal.allocator.allocate_buffer(
            memory_type=int(rt.MemoryType.DEVICE_LOCAL), allowed_usage=_DEFAULT, allocation_size=size
        )
        if _mappable(buffer):
            buffer.fill_zero(0, size)
        else:
            source = self._host_buffer(size)
            source.fill_zero(0, size)
            self._copy(source, buffer)
        return rt.HalBufferView(buffer, shape, int(kind))

    def step(self, tokens: NDArray[np.int32], position: int, *, first: int = 0, logits: bool = False) -> Step:
        """See ``Program.step``."""
        width = len(tokens)
        function, arguments, inputs = self._held.calls[width]
        check_span(self, width, position, first)
        inputs.array[:] = tokens
        self._span.array[:] = position, first
        results = rt.VmVariantList(2)
        try:
            with self._calling():
                self._held.context[0].invoke(function, arguments, results)
            ids = self._read(results, 0, (width,), _INT32, first)
            return Step(ids, self._read(results, 1, (width, self.vocabulary), _FLOAT32, first) if logits else None)
        except RuntimeError as error:
            if lost := device_fault(error, self._device):
                raise lost from error
            raise
        except ValueError as error:
            reason = "; ".join(str(error).splitlines()[0].split("; ")[1:3]) or str(error)
            raise BundleError(f"{self._path} does not fit its bundle.json: {reason}; compile it again") from error

    def _read(self, results: Any, index: int, shape: tuple[int, ...], dtype: np.dtype[Any], first: int) -> NDArray[Any]:
        """A copy of the rows from ``first`` on."""
        view = results.get_as_object(index, rt.HalBufferView)
        if tuple(view.shape) != shape:
            raise ValueError(f"result {index} has shape {tuple(view.shape)}, expected {shape}")
        buffer = view.get_buffer()
        if not _mappable(buffer):
            buffer = self._stage(buffer)
        return np.array(buffer.map().asarray(shape, dtype)[first:])

    def _stage(self, source: Any) -> Any:
        size = source.byte_length()
        if size not in self._held.staging:
            self._held.staging[size] = self._host_buffer(size)
        self._copy(source, self._held.staging[size])
        return self._held.staging[size]

    def _host_buffer(self, size: int) -> Any:
        return self._hal.allocator.allocate_buffer(
            memory_type=_HOST, allowed_usage=_DEFAULT | _MAPPED, allocation_size=size
        )

    def _copy(self, source: Any, target: Any) -> None:
        semaphore, at = self._held.semaphore[0], rt.HalFence.create_at
        before, self._copies = self._copies, self._copies + 1
        done = at(semaphore, self._copies)
        self._hal.queue_copy(source, target, wait_semaphores=at(semaphore, before), signal_semaphores=done)
        done.wait()


def _load_modules(hal: Any, path: Path, weights: Path, held: _Held) -> Any:
    index = rt.ParameterIndex()
    index.load(utf8_name(weights), mmap=True)
    parameters = rt.create_io_parameters_module(_instance(), index.create_provider(scope="model"))
    # Read, not mapped: IREE maps a program for writing, and a bundle may be read-only.
    module = rt.VmModule.copy_buffer(_instance(), path.read_bytes())
    modules = [_binding.create_hal_module(_instance(), hal), parameters, module]
    held.context += [rt.VmContext(_instance(), modules=modules), modules]
    return module


def _mappable(buffer: Any) -> bool:
    visible = int(buffer.memory_type()) & int(rt.MemoryType.HOST_VISIBLE)
    return bool(visible and int(buffer.allowed_usage()) & int(rt.BufferUsage.MAPPING_SCOPED))
