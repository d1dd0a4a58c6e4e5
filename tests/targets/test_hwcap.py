"""The bits that Linux gives every process on Arm, by name."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from paceline.targets.host import parse_cpuinfo
from paceline.targets.hwcap import HWCAP, HWCAP2, hwcap_features, named

NAMES = {*HWCAP.split(), *HWCAP2.split()}
# Linux's own constants
HWCAP_ASIMD, HWCAP_FPHP, HWCAP_ASIMDHP, HWCAP_ASIMDDP, HWCAP_SVE, HWCAP_PACG = (1 << b for b in (1, 9, 10, 20, 22, 31))
HWCAP2_SVE2, HWCAP2_I8MM, HWCAP2_BF16, HWCAP2_MTE = (1 << bit for bit in (1, 13, 14, 18))


def test_bits_have_the_names_of_cpuinfo() -> None:
    bits = HWCAP_ASIMD | HWCAP_FPHP | HWCAP_ASIMDHP | HWCAP_ASIMDDP
    assert named(bits, 0) == {"asimd", "fphp", "asimdhp", "asimddp"}
    assert named(HWCAP_SVE | HWCAP_PACG, HWCAP2_SVE2 | HWCAP2_I8MM) == {"sve", "pacg", "sve2", "i8mm"}
    assert named(0, HWCAP2_BF16 | HWCAP2_MTE) == {"bf16", "mte"}
    assert named(0, 0) == frozenset()


def test_a_newer_kernel_may_tell_more() -> None:
    assert named(~0 & (1 << 64) - 1, ~0 & (1 << 64) - 1) == NAMES


@pytest.mark.skipif(platform.machine() == "aarch64", reason="this is an Arm")
def test_other_processors_have_none() -> None:
    assert hwcap_features() == frozenset()


@pytest.mark.skipif(platform.machine() != "aarch64", reason="this is no Arm")
def test_an_arm_says_the_same_in_both_places() -> None:
    assert parse_cpuinfo(Path("/proc/cpuinfo").read_text()).features & NAMES == hwcap_features()
