"""What a GPU's driver allows, what a program asks of it, and why the two do not fit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Annotated

import msgspec

Whole = Annotated[int, msgspec.Meta(ge=1)]
Three = tuple[Whole, Whole, Whole]
# What every Vulkan 1.3 device takes: the features of these are a must there, and basic subgroups since 1.1.
EVERYWHERE = {
    *("Shader", "Matrix", "GroupNonUniform", "VulkanMemoryModel", "PhysicalStorageBufferAddresses"),
    *("DotProduct", "DotProductInputAll", "DotProductInput4x8Bit", "DotProductInput4x8BitPacked"),
}
EXTENSIONS = {
    *("SPV_KHR_storage_buffer_storage_class", "SPV_KHR_16bit_storage", "SPV_KHR_8bit_storage"),
    *("SPV_KHR_integer_dot_product", "SPV_KHR_variable_pointers", "SPV_KHR_no_integer_wrap_decoration"),
    *("SPV_KHR_float_controls", "SPV_KHR_vulkan_memory_model", "SPV_KHR_physical_storage_buffer"),
    "SPV_KHR_non_semantic_info",
}


class Limit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole number and where it comes from."""

    value: Whole
    source: str


class Limit3(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole number for each of x, y and z."""

    value: Three
    source: str


class Range(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Smallest and largest."""

    value: tuple[Whole, Whole]
    source: str


class Names(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A set of names."""

    value: tuple[str, ...]
    source: str


class GpuLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A driver's limits, each with its source; Vulkan's name of each in brackets.

    Attributes:
        workgroup: invocations of a workgroup in x, y and z (maxComputeWorkGroupSize).
        invocations: of a workgroup altogether (maxComputeWorkGroupInvocations).
        workgroups: of a dispatch in x, y and z (maxComputeWorkGroupCount).
        shared_memory: bytes that a workgroup shares (maxComputeSharedMemorySize).
        buffer_range: bytes that one binding reaches (maxStorageBufferRange).
        buffers: storage buffers of a shader (maxPerStageDescriptorStorageBuffers).
        push_constants: bytes (maxPushConstantsSize).
        subgroups: sizes that a pipeline can have (minSubgroupSize, maxSubgroupSize).
        capabilities: of SPIR-V, beyond those that every Vulkan 1.3 device has.
    """

    workgroup: Limit3
    invocations: Limit
    workgroups: Limit3
    shared_memory: Limit
    buffer_range: Limit
    buffers: Limit
    push_constants: Limit
    subgroups: Range
    capabilities: Names


class GpuNeeds(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one shader asks for, or the most that any of ``shaders`` does; fields as in ``GpuLimits``.

    ``subgroup`` is the size that it counts on, 0 where any will do.
    """

    shaders: int = 1
    workgroup: tuple[int, int, int]
    invocations: int
    workgroups: tuple[int, int, int]
    shared_memory: int
    buffer_range: int
    buffers: int
    push_constants: int
    subgroup: int
    capabilities: tuple[str, ...]
    extensions: tuple[str, ...]


def most(needs: Iterable[GpuNeeds]) -> GpuNeeds:
    """What a driver must offer to run them all; there must be one at least."""
    every = tuple(needs)

    def three(name: str) -> tuple[int, int, int]:
        x, y, z = (max(values) for values in zip(*(getattr(need, name) for need in every), strict=True))
        return x, y, z

    def names(name: str) -> tuple[str, ...]:
        return tuple(sorted({entry for need in every for entry in getattr(need, name)}))

    numbers = ("invocations", "shared_memory", "buffer_range", "buffers", "push_constants", "subgroup")
    return GpuNeeds(
        shaders=sum(need.shaders for need in every),
        workgroup=three("workgroup"),
        workgroups=three("workgroups"),
        capabilities=names("capabilities"),
        extensions=names("extensions"),
        **{name: max(getattr(need, name) for need in every) for name in numbers},
    )


def why_not_fit(needs: GpuNeeds, limits: GpuLimits) -> Iterator[str]:
    """Each limit that is passed: what is asked for, what is allowed, and who says so."""
    for name, what in (("workgroup", "a workgroup of {}"), ("workgroups", "a dispatch of {} workgroups")):
        asked, limit = getattr(needs, name), getattr(limits, name)
        if any(a > b for a, b in zip(asked, limit.value, strict=True)):
            yield _more(what.format(_times(asked)), _times(limit.value), limit.source)
    for name, what in (
        ("invocations", "{} invocations a workgroup"),
        ("shared_memory", "{} bytes of shared memory"),
        ("buffer_range", "a storage buffer of {} bytes"),
        ("buffers", "{} storage buffers"),
        ("push_constants", "{} bytes of push constants"),
    ):
        asked, limit = getattr(needs, name), getattr(limits, name)
        if asked > limit.value:
            yield _more(what.format(asked), str(limit.value), limit.source)
    smallest, largest = limits.subgroups.value
    if needs.subgroup and not smallest <= needs.subgroup <= largest:
        allowed = f"{smallest} to {largest}"
        yield f"it counts on subgroups of {needs.subgroup}; there are {allowed} ({limits.subgroups.source})"
    if absent := set(needs.capabilities) - EVERYWHERE - set(limits.capabilities.value):
        yield f"it uses {', '.join(sorted(absent))}, which is not there ({limits.capabilities.source})"
    if absent := set(needs.extensions) - EXTENSIONS:
        yield f"it uses {', '.join(sorted(absent))}, which is not part of Vulkan 1.3"


def _more(asked: str, allowed: str, source: str) -> str:
    return f"it asks for {asked}; the limit is {allowed} ({source})"


def _times(sizes: Iterable[int]) -> str:
    return " x ".join(map(str, sizes))


def invocations(workgroup: tuple[int, int, int]) -> int:
    """Of a workgroup of that size."""
    return math.prod(workgroup)
