"""Which kernels a processor gets."""

from __future__ import annotations

import platform

import msgspec
import pytest

from paceline.targets import ProcessingUnit, instruction_sets, load_soc
from paceline.targets.host import Cpu
from paceline.targets.instruction_sets import instruction_set

AVX512 = "avx512f avx512bw avx512vl avx512dq"


def cpu(*, triple: str, name: str, features: str) -> ProcessingUnit:
    unit = load_soc("x86-swiftshader").unit("cpu")
    assert unit is not None
    return msgspec.structs.replace(unit, triple=triple, cpu=name, cpu_features=features)


def chosen(unit: ProcessingUnit) -> str | None:
    found = instruction_set(unit)
    return None if found is None else found.name


@pytest.mark.parametrize("soc", ["imx95", "pixel8", "rk3588", "rpi5", "snapdragon-8-gen3"])
def test_boards_have_dot_products(soc: str) -> None:
    unit = load_soc(soc).unit("cpu")
    assert unit is not None and chosen(unit) == "aarch64-dotprod"


@pytest.mark.parametrize(
    ("triple", "features", "wanted"),
    [
        ("aarch64-linux-gnu", "", "aarch64-neon"),
        ("aarch64-linux-gnu", "-dotprod", "aarch64-neon"),
        ("arm64-apple-macos", "+dotprod", "aarch64-dotprod"),
        ("x86_64-linux-gnu", "+avx2,+fma,+f16c,+bmi2", "x86_64-avx2"),
        ("x86_64-linux-gnu", "+avx2,+fma", None),
        ("x86_64-linux-gnu", "", None),
        ("riscv64-linux-gnu", "+v", None),
    ],
)
def test_what_is_said_of_a_processor_decides(triple: str, features: str, wanted: str | None) -> None:
    assert chosen(cpu(triple=triple, name="some", features=features)) == wanted


@pytest.mark.parametrize(
    ("machine", "flags", "wanted"),
    [
        ("x86_64", f"sse2 avx2 {AVX512} avx512_vnni amx_bf16 amx_tile amx_int8", "x86_64-amx"),
        ("x86_64", f"sse2 avx2 {AVX512} avx512_vnni amx_bf16 amx_tile", "x86_64-avx512vnni"),
        ("x86_64", f"sse2 avx2 fma f16c bmi2 {AVX512} avx512_vnni", "x86_64-avx512vnni"),
        ("AMD64", "sse2 avx2 fma f16c bmi2 avx512f avx512bw avx512vl avx512dq", "x86_64-avx2"),
        ("x86_64", "sse2", None),
        ("aarch64", "fp asimd asimddp", "aarch64-dotprod"),
        ("arm64", "fp asimd", "aarch64-neon"),
        ("riscv64", "", None),
    ],
)
def test_the_host_is_asked(machine: str, flags: str, wanted: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(instruction_sets, "detect_cpu", lambda: Cpu("some", frozenset(flags.split()), 0.0))
    assert chosen(cpu(triple="", name="host", features="")) == wanted


def test_a_gpu_has_no_kernels() -> None:
    unit = load_soc("rpi5").unit("gpu")
    assert unit is not None and chosen(unit) is None
