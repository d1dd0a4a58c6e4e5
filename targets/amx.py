"""Whether Linux lends tiles (AMX): their state is so large that a thread has it only where the process asked for it."""

from __future__ import annotations

import ctypes
import platform
import sys

FLAGS = frozenset({"amx_tile", "amx_int8", "amx_bf16", "amx_fp16", "amx_complex"})
_ARCH_PRCTL, _ARCH_GET_XCOMP_SUPP, _ARCH_REQ_XCOMP_PERM = 158, 0x1021, 0x1023
_XTILEDATA = 18  # the bit of what tiles hold, in a set of parts of a thread's state


def tiles_lent() -> bool:
    """Whether this machine's Linux has any to lend; what is asked here is only that."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    lent = ctypes.c_uint64()
    refused = ctypes.CDLL(None).syscall(_ARCH_PRCTL, _ARCH_GET_XCOMP_SUPP, ctypes.byref(lent))
    return not refused and bool(lent.value >> _XTILEDATA & 1)


def tiles_granted() -> bool:
    """Ask for this process, as kernels do: refused where a thread has a smaller stack for signals than tiles need."""
    return tiles_lent() and not ctypes.CDLL(None).syscall(_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XTILEDATA)
