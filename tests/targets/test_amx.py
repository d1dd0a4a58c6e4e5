"""Tiles are counted among a CPU's features only where Linux lends them."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from paceline.targets import amx, host
from paceline.targets.host import detect_cpu

# What kernels do before the first tile: ARCH_REQ_XCOMP_PERM of XTILEDATA.
ASK = "import ctypes, sys; sys.exit(ctypes.CDLL(None).syscall(158, 0x1023, 18) != 0)"
# The same where signals have less of a stack than tiles take, by sigaltstack of the C library.
CRAMPED = """
import ctypes, sys
from paceline.targets.amx import tiles_granted
class Stack(ctypes.Structure):
    _fields_ = [("sp", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]
room = ctypes.create_string_buffer(6144)
assert ctypes.CDLL(None).sigaltstack(ctypes.byref(Stack(ctypes.addressof(room), 0, 6144)), None) == 0
sys.exit(not tiles_granted())
"""
FLAGS = "flags : fpu avx2 amx_bf16 amx_tile amx_int8"


@pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="only Linux on x86-64 lends tiles"
)
def test_who_asks_gets_what_was_promised() -> None:
    granted = subprocess.run([sys.executable, "-c", ASK], check=False).returncode == 0
    assert amx.tiles_lent() == granted


def test_a_cramped_process_gets_none_and_says_so() -> None:
    if not amx.tiles_lent():
        pytest.skip("this machine has no tiles to lend")
    assert subprocess.run([sys.executable, "-c", CRAMPED], check=False, capture_output=True).returncode == 1


@pytest.mark.parametrize("other", [("linux", "aarch64"), ("darwin", "x86_64")])
def test_nobody_else_is_asked(other: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", other[0])
    monkeypatch.setattr(platform, "machine", lambda: other[1])
    monkeypatch.setattr(ctypes, "CDLL", lambda name: pytest.fail("asked"))
    assert not amx.tiles_lent()


@pytest.mark.parametrize("lent", [True, False])
def test_features_are_those_that_programs_may_use(lent: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(FLAGS)
    monkeypatch.setattr(host, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(host, "hwcap_features", frozenset)
    monkeypatch.setattr(amx, "tiles_lent", lambda: lent)
    tiles = {"amx-bf16", "amx-tile", "amx-int8"} if lent else set[str]()
    assert detect_cpu().instructions == {"fpu", "avx2"} | tiles
