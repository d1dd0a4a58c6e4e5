"""The GPU's part of a .vmfb: one SPIR-V module a dispatch, and what IREE tells the driver about it.

A .vmfb is a zip archive, uncompressed, of a module and its executables. An executable for Vulkan is a header of 64
bytes that begins with ``VKE1``, and a FlatBuffer (``vulkan_executable_def.fbs`` in IREE's sources), of which this reads
the few fields that limits apply to.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from paceline.compile.spirv import Module, read_module
from paceline.errors import BundleError

_IDENTIFIER, _HEADER = b"VKE1", 64
_PIPELINES, _SET_LAYOUTS, _LAYOUTS, _MODULES = range(4)  # of an executable
_MODULE, _ENTRY_POINT, _LAYOUT, _SUBGROUP = range(4)  # of a pipeline
_SETS, _RANGES = range(2)  # of a layout
_RANGE_BYTES = 12  # stages, offset, size
_STORAGE_BUFFER = 7  # VkDescriptorType


@dataclass(frozen=True, slots=True)
class Shader:
    """One pipeline: its name, its module, and what its layout declares.

    Attributes:
        subgroup: size that the pipeline demands, 0 where it demands none.
        storage_buffers: descriptors of that type, over all sets.
        push_constant_bytes: end of the declared ranges.
    """

    name: str
    module: Module
    subgroup: int
    storage_buffers: int
    push_constant_bytes: int


def shaders(program: Path) -> tuple[Shader, ...]:
    """All shaders of a .vmfb, in the order of its executables; none where it has no executable for Vulkan.

    Raises:
        BundleError: it is no .vmfb, or is damaged; names the file and the executable.
    """
    try:
        with zipfile.ZipFile(program) as archive:
            contents = {name: archive.read(name) for name in archive.namelist()}
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError) as error:
        raise BundleError(f"{program} cannot be read as a .vmfb: {error}") from error
    found = list[Shader]()
    for name, content in contents.items():
        if content.startswith(_IDENTIFIER):
            try:
                found += _executable(content)
            except (BundleError, IndexError, struct.error, UnicodeDecodeError) as error:
                raise BundleError(f"{program}, {name}: {error}") from error
    return tuple(found)


def _executable(content: bytes) -> Iterator[Shader]:
    root = _Table(content[_HEADER:], struct.unpack_from("<I", content, _HEADER)[0])
    modules = [read_module(table.words(0)) for table in root.tables(_MODULES)]
    layouts = root.tables(_LAYOUTS)
    sets = [_storage_buffers(table) for table in root.tables(_SET_LAYOUTS)]
    for pipeline in root.tables(_PIPELINES):
        layout = layouts[pipeline.number(_LAYOUT)]
        yield Shader(
            name=pipeline.text(_ENTRY_POINT),
            module=modules[pipeline.number(_MODULE)],
            subgroup=pipeline.number(_SUBGROUP),
            storage_buffers=sum(sets[number] for (number,) in struct.iter_unpack("<I", layout.words(_SETS))),
            push_constant_bytes=max((at + size for _, at, size in layout.records(_RANGES, "<3I")), default=0),
        )


def _storage_buffers(layout: _Table) -> int:
    return sum(binding.number(2) for binding in layout.tables(0) if binding.number(1) == _STORAGE_BUFFER)


@dataclass(frozen=True, slots=True)
class _Table:
    """A table of a FlatBuffer: fields by number, absent ones as zero or empty."""

    buffer: bytes
    at: int

    def number(self, field: int) -> int:
        at = self._field(field)
        return self._word(at) if at else 0

    def text(self, field: int) -> str:
        at, length = self._vector(field)
        return self._slice(at, length).decode()

    def words(self, field: int) -> bytes:
        at, length = self._vector(field)
        return self._slice(at, 4 * length)

    def records(self, field: int, form: str) -> Iterator[tuple[int, ...]]:
        at, length = self._vector(field)
        return struct.iter_unpack(form, self._slice(at, struct.calcsize(form) * length))

    def tables(self, field: int) -> list[_Table]:
        at, length = self._vector(field)
        self._slice(at, 4 * length)
        return [_Table(self.buffer, at + 4 * i + self._word(at + 4 * i)) for i in range(length)]

    def _vector(self, field: int) -> tuple[int, int]:
        at = self._field(field)
        if not at:
            return 0, 0
        at += self._word(at)
        return at + 4, self._word(at)

    def _field(self, number: int) -> int:
        """Where a field is; 0 where it is absent."""
        vtable = self.at - struct.unpack_from("<i", self.buffer, self.at)[0]
        if vtable < 0:
            raise BundleError("damaged: a table without a description")
        (size,) = struct.unpack_from("<H", self.buffer, vtable)
        if 4 + 2 * number >= size:
            return 0
        (offset,) = struct.unpack_from("<H", self.buffer, vtable + 4 + 2 * number)
        return self.at + offset if offset else 0

    def _word(self, at: int) -> int:
        return int(struct.unpack_from("<I", self.buffer, at)[0])

    def _slice(self, at: int, length: int) -> bytes:
        if at + length > len(self.buffer):
            raise BundleError("damaged: a list reaches beyond the end")
        return self.buffer[at : at + length]
