"""The reader of SPIR-V against modules that are put together word by word, and against noise."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.compile.spirv import MAGIC, Module, read_module
from paceline.errors import BundleError

UINT, FLOAT, VEC3, FOUR, ARRAY, STRUCT, POINTER, SHARED, MAIN = range(1, 10)


def op(code: int, *words: int) -> list[int]:
    return [len(words) + 1 << 16 | code, *words]


def text(value: str) -> list[int]:
    padded = value.encode() + b"\0" * (4 - len(value.encode()) % 4)
    return list(struct.unpack(f"<{len(padded) // 4}I", padded))


def words(*instructions: Sequence[int], version: int = 0x10300, bound: int = 100) -> list[int]:
    return [MAGIC, version, 0, bound, 0, *(word for each in instructions for word in each)]


def content(values: Sequence[int], order: str = "<") -> bytes:
    return struct.pack(f"{order}{len(values)}I", *values)


BEGIN = (op(17, 1), op(17, 39), op(10, *text("SPV_KHR_8bit_storage")), op(15, 5, MAIN, *text("main")))
SIZE = op(16, MAIN, 17, 8, 4, 2)
TYPES = (op(21, UINT, 32, 0), op(22, FLOAT, 32), op(23, VEC3, FLOAT, 3), op(43, UINT, FOUR, 4))


def shared(*types: Sequence[int], of: int) -> Module:
    """A module whose workgroups share one variable of type ``of``."""
    variable = (op(32, POINTER, 4, of), op(59, POINTER, SHARED, 4))
    return read_module(content(words(*BEGIN, SIZE, *TYPES, *types, *variable)))


def test_what_a_module_says_of_itself() -> None:
    module = read_module(content(words(*BEGIN, SIZE)))
    assert module == Module(
        version=(1, 3),
        entry_points=("main",),
        local_size=(8, 4, 2),
        shared_bytes=0,
        push_constant_bytes=0,
        bindings=frozenset(),
        capabilities=("Shader", "Int8"),
        extensions=("SPV_KHR_8bit_storage",),
        subgroup_operations=False,
        no_wrap=False,
    )
    assert read_module(content(words(*BEGIN, SIZE), ">")) == module


@pytest.mark.parametrize(
    ("types", "of", "size"),
    [
        ((), FLOAT, 4),
        ((), VEC3, 12),
        ((op(28, ARRAY, FLOAT, FOUR),), ARRAY, 16),
        ((op(28, ARRAY, VEC3, FOUR),), ARRAY, 64),  # a vector of three is aligned like one of four
        ((op(30, STRUCT, FLOAT, VEC3),), STRUCT, 32),
        ((op(71, ARRAY, 6, 8), op(28, ARRAY, FLOAT, FOUR)), ARRAY, 32),  # an explicit stride
        ((op(28, ARRAY, FLOAT, FOUR), op(28, STRUCT, ARRAY, FOUR)), STRUCT, 64),
    ],
)
def test_shared_variables_are_as_large_as_std430_makes_them(types: tuple[list[int], ...], of: int, size: int) -> None:
    assert shared(*types, of=of).shared_bytes == size


def test_variables_are_added_with_their_alignment() -> None:
    two = (op(32, 30, 4, FLOAT), op(59, 30, 31, 4), op(32, 32, 4, VEC3), op(59, 32, 33, 4))
    assert read_module(content(words(*BEGIN, SIZE, *TYPES, *two))).shared_bytes == 16 + 12


def test_push_constants_end_where_their_last_member_ends_and_buffers_are_counted_once_a_binding() -> None:
    module = read_module(
        content(
            words(
                *BEGIN, SIZE, op(72, STRUCT, 0, 35, 0), op(72, STRUCT, 1, 35, 20), op(71, 40, 33, 3), op(71, 41, 33, 3),
                op(71, 42, 33, 4), op(71, 42, 34, 1), *TYPES, op(30, STRUCT, UINT, FLOAT), op(32, POINTER, 9, STRUCT),
                op(59, POINTER, SHARED, 9), op(29, 50, FLOAT), op(30, 51, 50), op(32, 52, 12, 51),
                op(59, 52, 40, 12), op(59, 52, 41, 12), op(59, 52, 42, 12),
            )
        )
    )  # fmt: skip
    assert module.push_constant_bytes == 24
    assert module.bindings == {(0, 3), (1, 4)}


def test_the_size_of_workgroups_may_be_given_by_constants() -> None:
    by_id = read_module(content(words(*BEGIN, op(331, MAIN, 38, FOUR, FOUR, FOUR), *TYPES)))
    assert by_id.local_size == (4, 4, 4)
    built_in = op(71, 60, 11, 25), op(23, 61, UINT, 3), op(51, 61, 60, FOUR, FOUR, FOUR)
    assert read_module(content(words(*BEGIN, SIZE, built_in[0], *TYPES, *built_in[1:]))).local_size == (4, 4, 4)


def test_operations_of_subgroups_and_decorations_that_forbid_overflow_are_seen() -> None:
    module = read_module(content(words(*BEGIN, SIZE, op(71, 70, 4469), *TYPES, op(349, FLOAT, 71, 3, 0, 70))))
    assert module.subgroup_operations and module.no_wrap


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([], "0 bytes are no header"),
        ([1, 2, 3, 4, 5], "it begins with 0x00000001"),
        (words(version=0x10700), "version 0x10700"),
        (words(bound=0), "bound 0"),
        (words(*BEGIN), "does not say how large"),
        (words(SIZE), "without a compute shader"),
        ([*words(*BEGIN, SIZE), 0], "is 0 words long"),
        ([*words(*BEGIN, SIZE), 9 << 16 | 17], "is 9 words long"),
        (words(*BEGIN, SIZE, op(59, POINTER, SHARED, 4)), "names or lacks"),
        (words(*BEGIN, SIZE, op(23, VEC3)), "names or lacks"),
        (words(*BEGIN, SIZE, *TYPES, op(28, ARRAY, FLOAT, 77)), "names or lacks"),
        (words(*BEGIN, SIZE, *TYPES, op(29, 50, FLOAT), op(32, 51, 4, 50), op(59, 51, 52, 4)), "must have a size"),
    ],
)
def test_damage_is_one_error(values: list[int], reason: str) -> None:
    with pytest.raises(BundleError, match=reason):
        read_module(content(values))


def read_or_refuse(data: bytes) -> None:
    try:
        assert isinstance(read_module(data), Module)
    except BundleError as error:
        assert str(error)


word = st.integers(0, 2**32 - 1)
# opcodes and lengths that the reader knows, with operands of small ids: noise that gets past the first checks
instruction = st.builds(
    lambda code, operands: op(code, *operands),
    st.sampled_from([10, 15, 16, 17, 20, 21, 22, 23, 24, 28, 29, 30, 32, 43, 44, 50, 51, 59, 71, 72, 331, 349]),
    st.lists(st.integers(0, 40) | word, max_size=6),
)


@given(st.binary(max_size=200))
def test_noise_is_refused(data: bytes) -> None:
    read_or_refuse(data)


@given(st.lists(word, max_size=60))
def test_noise_after_a_header_is_refused(values: list[int]) -> None:
    read_or_refuse(content(words(values)))


@given(st.lists(instruction, max_size=30))
def test_instructions_in_any_order_are_read_or_refused(instructions: list[list[int]]) -> None:
    read_or_refuse(content(words(*BEGIN, SIZE, *instructions)))


@given(st.data())
def test_one_changed_word_is_read_or_refused(data: st.DataObject) -> None:
    values = words(
        *BEGIN, SIZE, *TYPES, op(28, ARRAY, VEC3, FOUR), op(32, POINTER, 4, ARRAY), op(59, POINTER, SHARED, 4)
    )
    values[data.draw(st.integers(0, len(values) - 1))] = data.draw(word)
    read_or_refuse(content(values[: data.draw(st.integers(0, len(values)))]))
