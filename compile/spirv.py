"""A SPIR-V module as its driver sees it: what it asks for, read from its words without any tool.

SPIR-V defines every id before it is used, decorations first, so that one pass over the words is enough and a damaged
module is an error and never a loop. Numbers are those of the SPIR-V specification, unified1.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from paceline.errors import BundleError

MAGIC = 0x07230203
_HEADER, _NEWEST, _MOST_IDS = 5, 6, 0x3FFFFF
_COMPUTE = 5
_CAPABILITIES = {
    0: "Matrix", 1: "Shader", 9: "Float16", 10: "Float64", 11: "Int64", 22: "Int16", 39: "Int8",
    61: "GroupNonUniform", 62: "GroupNonUniformVote", 63: "GroupNonUniformArithmetic", 64: "GroupNonUniformBallot",
    65: "GroupNonUniformShuffle", 66: "GroupNonUniformShuffleRelative", 67: "GroupNonUniformClustered",
    68: "GroupNonUniformQuad", 4433: "StorageBuffer16BitAccess", 4434: "UniformAndStorageBuffer16BitAccess",
    4435: "StoragePushConstant16", 4441: "VariablePointersStorageBuffer", 4442: "VariablePointers",
    4448: "StorageBuffer8BitAccess", 4449: "UniformAndStorageBuffer8BitAccess", 4450: "StoragePushConstant8",
    5116: "BFloat16TypeKHR", 5345: "VulkanMemoryModel", 5347: "PhysicalStorageBufferAddresses",
    6016: "DotProductInputAll", 6017: "DotProductInput4x8Bit", 6018: "DotProductInput4x8BitPacked",
    6019: "DotProduct", 6022: "CooperativeMatrixKHR",
}  # fmt: skip
_UNIFORM, _WORKGROUP, _PUSH_CONSTANT, _STORAGE_BUFFER = 2, 4, 9, 12  # storage classes
_ARRAY_STRIDE, _BUILT_IN, _BINDING, _SET, _OFFSET, _NO_SIGNED_WRAP, _NO_UNSIGNED_WRAP = 6, 11, 33, 34, 35, 4469, 4470
_WORKGROUP_SIZE = 25  # a built-in
_LOCAL_SIZE, _LOCAL_SIZE_ID = 17, 38
_SUBGROUP_OPERATIONS = range(333, 367)


@dataclass(frozen=True, slots=True)
class Module:
    """What a module of one compute shader asks for.

    Attributes:
        version: of SPIR-V, as (1, 6).
        local_size: invocations of a workgroup, in x, y and z.
        shared_bytes: variables that a workgroup shares, laid out by the rules of std430.
        push_constant_bytes: end of the block of push constants.
        bindings: (set, number) of each buffer.
        subgroup_operations: whether its result depends on what invocations are a subgroup.
        no_wrap: it says of integers that they do not overflow, which is an extension before SPIR-V 1.4.
    """

    version: tuple[int, int]
    entry_points: tuple[str, ...]
    local_size: tuple[int, int, int]
    shared_bytes: int
    push_constant_bytes: int
    bindings: frozenset[tuple[int, int]]
    capabilities: tuple[str, ...]
    extensions: tuple[str, ...]
    subgroup_operations: bool
    no_wrap: bool


def read_module(content: bytes) -> Module:
    """Read a module, as bytes of either order.

    Raises:
        BundleError: it is no SPIR-V, is cut, names what it did not define, or has no compute shader.
    """
    words = _words(content)
    reader = _Reader()
    try:
        for opcode, operands in _instructions(words):
            reader.take(opcode, operands)
        return reader.module((words[1] >> 16 & 0xFF, words[1] >> 8 & 0xFF))
    except (KeyError, IndexError, TypeError) as error:
        raise BundleError(f"damaged SPIR-V: an instruction names or lacks what it needs ({error})") from error


def _words(content: bytes) -> Sequence[int]:
    count = len(content) // 4
    if len(content) % 4 or count < _HEADER:
        raise BundleError(f"not SPIR-V: {len(content)} bytes are no header and whole words")
    order = ">" if struct.unpack_from(">I", content)[0] == MAGIC else "<"
    words = struct.unpack(f"{order}{count}I", content)
    if words[0] != MAGIC:
        raise BundleError(f"not SPIR-V: it begins with {words[0]:#010x}, expected {MAGIC:#010x}")
    if words[1] >> 16 != 1 or words[1] & 0xFF or words[1] >> 8 & 0xFF > _NEWEST:
        raise BundleError(f"SPIR-V of version {words[1]:#x}, expected 1.0 to 1.{_NEWEST}")
    if not 0 < words[3] <= _MOST_IDS or words[4]:
        raise BundleError(f"damaged SPIR-V: bound {words[3]} and schema {words[4]} in its header")
    return words


def _instructions(words: Sequence[int]) -> Iterator[tuple[int, Sequence[int]]]:
    at = _HEADER
    while at < len(words):
        length, opcode = words[at] >> 16, words[at] & 0xFFFF
        if not length or at + length > len(words):
            raise BundleError(f"damaged SPIR-V: the instruction at word {at} is {length} words long")
        yield opcode, words[at + 1 : at + length]
        at += length


@dataclass(frozen=True, slots=True)
class _Type:
    """Bytes and alignment; ``size`` is None for what has none, such as an array that the caller sizes."""

    size: int | None
    align: int = 4


@dataclass(frozen=True, slots=True)
class _Pointer:
    storage: int
    to: int


class _Reader:
    """State of the pass over a module's instructions."""

    def __init__(self) -> None:
        self.capabilities, self.extensions, self.names = list[str](), list[str](), list[str]()
        self.types: dict[int, _Type | _Pointer] = {}
        self.constants: dict[int, int] = {}
        self.composites: dict[int, tuple[int, ...]] = {}
        self.decorations: dict[tuple[int, int], int] = {}
        self.offsets: dict[tuple[int, int], int] = {}
        self.variables: list[tuple[int, _Pointer]] = []
        self.sizes: list[tuple[int, ...]] = []
        self.size_ids: list[tuple[int, ...]] = []
        self.subgroup_operations = self.no_wrap = False

    def take(self, opcode: int, words: Sequence[int]) -> None:
        if handler := _HANDLERS.get(opcode):
            handler(self, words)
        elif opcode in _SUBGROUP_OPERATIONS:
            self.subgroup_operations = True

    def capability(self, words: Sequence[int]) -> None:
        self.capabilities.append(_CAPABILITIES.get(words[0], f"capability {words[0]}"))

    def extension(self, words: Sequence[int]) -> None:
        self.extensions.append(_text(words))

    def entry_point(self, words: Sequence[int]) -> None:
        if words[0] == _COMPUTE:
            self.names.append(_text(words[2:]))

    def execution_mode(self, words: Sequence[int]) -> None:
        if words[1] == _LOCAL_SIZE:
            self.sizes.append((words[2], words[3], words[4]))
        elif words[1] == _LOCAL_SIZE_ID:
            self.size_ids.append((words[2], words[3], words[4]))

    def decorate(self, words: Sequence[int]) -> None:
        self.decorations[words[0], words[1]] = words[2] if len(words) > 2 else 0
        self.no_wrap |= words[1] in (_NO_SIGNED_WRAP, _NO_UNSIGNED_WRAP)

    def member_decorate(self, words: Sequence[int]) -> None:
        if words[2] == _OFFSET:
            self.offsets[words[0], words[1]] = words[3]

    def scalar(self, words: Sequence[int]) -> None:
        self.types[words[0]] = _Type(-(-words[1] // 8), -(-words[1] // 8))

    def boolean(self, words: Sequence[int]) -> None:
        self.types[words[0]] = _Type(4)

    def vector(self, words: Sequence[int]) -> None:
        of, count = self._plain(words[1]), words[2]
        self.types[words[0]] = _Type(_times(of.size, count), of.align * (2 if count == 2 else 4))

    def matrix(self, words: Sequence[int]) -> None:
        of = self._plain(words[1])
        self.types[words[0]] = _Type(_times(_rounded(of.size, of.align), words[2]), of.align)

    def array(self, words: Sequence[int]) -> None:
        of = self._plain(words[1])
        stride = self.decorations.get((words[0], _ARRAY_STRIDE)) or _rounded(of.size, of.align)
        self.types[words[0]] = _Type(_times(stride, self.constants[words[2]]), of.align)

    def runtime_array(self, words: Sequence[int]) -> None:
        self.types[words[0]] = _Type(None, self._plain(words[1]).align)

    def structure(self, words: Sequence[int]) -> None:
        end: int | None = 0
        align = 1
        for number, member in enumerate(words[1:]):
            of = self._plain(member)
            at = self.offsets.get((words[0], number), _rounded(end, of.align))
            end = None if of.size is None or at is None else max(end or 0, at + of.size)
            align = max(align, of.align)
        explicit = (words[0], 0) in self.offsets
        self.types[words[0]] = _Type(end if explicit else _rounded(end, align), align)

    def pointer(self, words: Sequence[int]) -> None:
        self.types[words[0]] = _Pointer(words[1], words[2])

    def constant(self, words: Sequence[int]) -> None:
        self.constants[words[1]] = words[2]

    def composite(self, words: Sequence[int]) -> None:
        self.composites[words[1]] = tuple(words[2:])

    def variable(self, words: Sequence[int]) -> None:
        pointer = self.types[words[0]]
        if isinstance(pointer, _Pointer):
            self.variables.append((words[1], pointer))

    def _plain(self, number: int) -> _Type:
        found = self.types[number]
        return found if isinstance(found, _Type) else _Type(8, 8)

    def module(self, version: tuple[int, int]) -> Module:
        if not self.names:
            raise BundleError("SPIR-V without a compute shader")
        return Module(
            version=version,
            entry_points=tuple(self.names),
            local_size=self._local_size(),
            shared_bytes=self._shared_bytes(),
            push_constant_bytes=max((self._size(to) for _, to in self._of(_PUSH_CONSTANT)), default=0),
            bindings=frozenset(self._bindings()),
            capabilities=tuple(dict.fromkeys(self.capabilities)),
            extensions=tuple(dict.fromkeys(self.extensions)),
            subgroup_operations=self.subgroup_operations,
            no_wrap=self.no_wrap,
        )

    def _of(self, *storage: int) -> Iterator[tuple[int, int]]:
        return ((name, pointer.to) for name, pointer in self.variables if pointer.storage in storage)

    def _size(self, number: int) -> int:
        size = self._plain(number).size
        if size is None:
            raise BundleError("damaged SPIR-V: a block that must have a size has none")
        return size

    def _shared_bytes(self) -> int:
        end = 0
        for _, to in self._of(_WORKGROUP):
            end = -(-end // self._plain(to).align) * self._plain(to).align + self._size(to)
        return end

    def _bindings(self) -> Iterator[tuple[int, int]]:
        for name, _ in self._of(_STORAGE_BUFFER, _UNIFORM):
            if (name, _BINDING) in self.decorations:  # else it is no resource of the pipeline's layout
                yield self.decorations.get((name, _SET), 0), self.decorations[name, _BINDING]

    def _local_size(self) -> tuple[int, int, int]:
        by_id = [parts for number, parts in self.composites.items() if self._is_workgroup_size(number)]
        sizes = [tuple(self.constants[part] for part in parts) for parts in by_id or self.size_ids] or self.sizes
        if not sizes:
            raise BundleError("SPIR-V of a compute shader that does not say how large its workgroups are")
        x, y, z = max(sizes, key=math.prod)
        return x, y, z

    def _is_workgroup_size(self, number: int) -> bool:
        return self.decorations.get((number, _BUILT_IN)) == _WORKGROUP_SIZE


def _times(size: int | None, count: int) -> int | None:
    return None if size is None else size * count


def _rounded(size: int | None, align: int) -> int | None:
    return None if size is None else -(-size // align) * align


def _text(words: Sequence[int]) -> str:
    return struct.pack(f"<{len(words)}I", *words).split(b"\0")[0].decode(errors="replace")


_HANDLERS = {
    10: _Reader.extension, 15: _Reader.entry_point, 16: _Reader.execution_mode, 17: _Reader.capability,
    20: _Reader.boolean, 21: _Reader.scalar, 22: _Reader.scalar, 23: _Reader.vector, 24: _Reader.matrix,
    28: _Reader.array, 29: _Reader.runtime_array, 30: _Reader.structure, 32: _Reader.pointer,
    43: _Reader.constant, 44: _Reader.composite, 50: _Reader.constant, 51: _Reader.composite,
    59: _Reader.variable, 71: _Reader.decorate, 72: _Reader.member_decorate, 331: _Reader.execution_mode,
}  # fmt: skip
