"""What a GPU's driver allows: every limit refuses what passes it, and names what was asked, allowed, and by whom."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.targets import GpuNeeds, known_socs, load_soc
from paceline.targets.limits import GpuLimits, most, why_not_fit

LIMITS = msgspec.convert(
    {
        "workgroup": {"value": (256, 256, 64), "source": "w"},
        "invocations": {"value": 256, "source": "i"},
        "workgroups": {"value": (65535, 65535, 65535), "source": "c"},
        "shared_memory": {"value": 16384, "source": "s"},
        "buffer_range": {"value": 1 << 27, "source": "r"},
        "buffers": {"value": 4, "source": "b"},
        "push_constants": {"value": 128, "source": "p"},
        "subgroups": {"value": (8, 16), "source": "g"},
        "capabilities": {"value": ("Int8",), "source": "f"},
    },
    GpuLimits,
)
FITS = GpuNeeds(
    workgroup=(256, 1, 1), invocations=256, workgroups=(65535, 1, 1), shared_memory=16384, buffer_range=1 << 27,
    buffers=4, push_constants=128, subgroup=16, capabilities=("Shader", "Int8"),
    extensions=("SPV_KHR_8bit_storage",),
)  # fmt: skip


def reasons(**changes: Any) -> list[str]:
    return list(why_not_fit(msgspec.structs.replace(FITS, **changes), LIMITS))


def test_what_is_allowed_to_the_last_byte_fits() -> None:
    assert reasons() == []
    assert reasons(subgroup=0) == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"workgroup": (1, 1, 65)}, "it asks for a workgroup of 1 x 1 x 65; the limit is 256 x 256 x 64 (w)"),
        (
            {"workgroups": (65536, 1, 1)},
            "it asks for a dispatch of 65536 x 1 x 1 workgroups; the limit is 65535 x 65535 x 65535 (c)",
        ),
        ({"invocations": 257}, "it asks for 257 invocations a workgroup; the limit is 256 (i)"),
        ({"shared_memory": 16385}, "it asks for 16385 bytes of shared memory; the limit is 16384 (s)"),
        (
            {"buffer_range": (1 << 27) + 1},
            "it asks for a storage buffer of 134217729 bytes; the limit is 134217728 (r)",
        ),
        ({"buffers": 5}, "it asks for 5 storage buffers; the limit is 4 (b)"),
        ({"push_constants": 132}, "it asks for 132 bytes of push constants; the limit is 128 (p)"),
        ({"subgroup": 4}, "it counts on subgroups of 4; there are 8 to 16 (g)"),
        ({"capabilities": ("Float64", "Int64", "Shader")}, "it uses Float64, Int64, which is not there (f)"),
        ({"extensions": ("SPV_INTEL_x",)}, "it uses SPV_INTEL_x, which is not part of Vulkan 1.3"),
    ],
)
def test_each_limit_says_what_was_asked_what_is_allowed_and_who_says_so(changes: dict[str, Any], reason: str) -> None:
    assert reasons(**changes) == [reason]


small = st.integers(0, 300)
needs = st.builds(
    GpuNeeds,
    workgroup=st.tuples(small, small, small), invocations=small, workgroups=st.tuples(small, small, small),
    shared_memory=st.integers(0, 20000), buffer_range=st.integers(0, 1 << 28), buffers=st.integers(0, 6),
    push_constants=small, subgroup=st.just(16), capabilities=st.sets(st.sampled_from(["Int8", "Int64"])).map(tuple),
    extensions=st.just(()),
)  # fmt: skip


@given(st.lists(needs, min_size=1, max_size=5))
def test_the_most_that_shaders_ask_for_fits_exactly_when_each_of_them_does(every: list[GpuNeeds]) -> None:
    together = most(every)
    assert together.shaders == len(every)
    assert (not list(why_not_fit(together, LIMITS))) == all(not list(why_not_fit(each, LIMITS)) for each in every)


@pytest.mark.parametrize("name", [name for name in known_socs() if name != "host"])
def test_every_soc_that_ships_has_the_limits_of_its_gpu_with_sources(name: str) -> None:
    unit = load_soc(name).unit("gpu")
    assert unit is not None and unit.limits is not None
    for field in unit.limits.__struct_fields__:
        source = getattr(unit.limits, field).source
        assert source.startswith(("estimated: ", "Vulkan's guaranteed minimum", "SwiftShader, as its driver")) or (
            "https://" in source
        ), f"{field}: {source}"
    # no device of Vulkan 1.3 has less
    assert unit.limits.shared_memory.value >= 16384 and unit.limits.buffer_range.value >= 1 << 27
    assert unit.limits.invocations.value >= 128 and unit.limits.push_constants.value >= 128
    smallest, largest = unit.limits.subgroups.value
    assert not unit.subgroup or smallest <= unit.subgroup <= largest
    narrow = {8: "StorageBuffer8BitAccess", 16: "StorageBuffer16BitAccess"}.get(unit.storage_bits)
    assert narrow is None or narrow in unit.limits.capabilities.value
