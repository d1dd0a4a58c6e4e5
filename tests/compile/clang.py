"""The compiler of kernels, for tests that look at their sources or call their objects."""

from __future__ import annotations

import shutil
import subprocess

import pytest

CLANG = "clang-16"
needs_clang = pytest.mark.skipif(
    shutil.which(CLANG) is None, reason=f"{CLANG} is not installed; on Debian: apt-get install {CLANG}"
)


def clang(*options: str) -> str:
    """What the compiler prints, with its own headers and no others; an error fails the test with what it says."""
    headers = f"{_run('-print-resource-dir').strip()}/include"
    return _run("-ffreestanding", "-isystem", headers, *options)


def _run(*options: str) -> str:
    done = subprocess.run((CLANG, *options), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
