"""What the compiler is told about CPUs."""

from __future__ import annotations

import msgspec
import pytest

from paceline.compile import cpu
from paceline.targets import load_soc
from paceline.targets.host import Cpu

HOST = load_soc("x86-swiftshader").units[0]
A55 = load_soc("imx95").units[0]
COMMON = ("--iree-opt-level=O1", "--iree-opt-data-tiling", "--iree-llvmcpu-stack-allocation-limit=262144")
DEVICE = ("--iree-hal-target-device=local", "--iree-hal-local-target-device-backends=llvm-cpu")


def test_this_machine() -> None:
    assert cpu.flags(HOST) == (*DEVICE, "--iree-llvmcpu-target-cpu=host", *COMMON)


def test_a_board_names_its_triple_processor_and_features() -> None:
    unit = msgspec.structs.replace(A55, triple="aarch64-linux-gnu", cpu="cortex-a55", cpu_features="+dotprod")
    target = (
        "--iree-llvmcpu-target-triple=aarch64-linux-gnu",
        "--iree-llvmcpu-target-cpu=cortex-a55",
        "--iree-llvmcpu-target-cpu-features=+dotprod",
    )
    assert cpu.flags(unit) == (*DEVICE, *target, *COMMON)


def test_what_a_processor_must_have(monkeypatch: pytest.MonkeyPatch) -> None:
    this = Cpu("some", frozenset({"fpu", "ht", "sse2", "avx2", "avx512_vnni"}), 0.0)
    monkeypatch.setattr(cpu, "detect_cpu", lambda: this)
    assert cpu.needed(A55, "aarch64-dotprod") == ("dotprod",)
    assert cpu.needed(HOST, "x86_64-avx2") == ("avx2", "bmi2", "f16c", "fma")
    assert cpu.needed(HOST, "") == ("avx2", "avx512vnni", "sse2")
    assert cpu.needed(A55, "") == ("dotprod", "fullfp16")
    a715 = load_soc("pixel8").units[0]
    assert cpu.needed(a715, "") == ("bf16", "dotprod", "i8mm")


def test_features_that_linux_calls_otherwise_are_not_asked_for() -> None:
    """A machine that has them would be refused."""
    assert cpu.needed(msgspec.structs.replace(A55, cpu_features="+avx2,+sse4.2,+lse,-sve"), "") == ("avx2",)


def test_a_traced_program_of_an_arm_machine_needs_dot_products(monkeypatch: pytest.MonkeyPatch) -> None:
    this = Cpu("some", frozenset({"fp", "asimd", "asimdhp", "asimddp", "i8mm", "dcpop"}), 0.0)
    monkeypatch.setattr(cpu, "detect_cpu", lambda: this)
    assert cpu.needed(HOST, "") == ("asimd", "dotprod", "fullfp16", "i8mm")


def test_only_programs_for_the_host_depend_on_the_host() -> None:
    assert cpu.identity(A55) == ""
    assert cpu.identity(HOST) == cpu.identity(HOST) != ""
