"""What the kernel of an Arm system says that every core has; right in a container and under emulation as well.

/proc/cpuinfo prints the same, but an emulator for programs passes on the file of the machine that it runs on.
"""

from __future__ import annotations

import ctypes
import platform
import sys

# Linux's names in the order of their bits (arch/arm64/include/uapi/asm/hwcap.h).
HWCAP = (
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm jscvt fcma lrcpc "
    "dcpop sha3 sm3 sm4 asimddp sha512 sve asimdfhm dit uscat ilrcpc flagm ssbs sb paca pacg"
)
HWCAP2 = (
    "dcpodp sve2 sveaes svepmull svebitperm svesha3 svesm4 flagm2 frint svei8mm svef32mm svef64mm svebf16 i8mm bf16 "
    "dgh rng bti mte"
)
_AT_HWCAP, _AT_HWCAP2 = 16, 26


def hwcap_features() -> frozenset[str]:
    """Feature flags by Linux's names; empty where this is no 64-bit Arm with Linux."""
    if sys.platform != "linux" or platform.machine() != "aarch64":
        return frozenset()
    ask = ctypes.CDLL(None).getauxval
    ask.restype, ask.argtypes = ctypes.c_ulong, [ctypes.c_ulong]
    return named(ask(_AT_HWCAP), ask(_AT_HWCAP2))


def named(hwcap: int, hwcap2: int) -> frozenset[str]:
    """The features whose bits are set."""
    return frozenset(
        name
        for bits, names in ((hwcap, HWCAP), (hwcap2, HWCAP2))
        for bit, name in enumerate(names.split())
        if bits >> bit & 1
    )
