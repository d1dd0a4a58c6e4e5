"""The detected SoC: what Linux says of a CPU, on x86 and on Arm, becomes figures that say how they came about."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from paceline.targets import detect_host, host
from paceline.targets.host import (
    Cpu,
    compilers_names,
    count_cores,
    detect_cpu,
    host_peak,
    last_cache_bytes,
    memory_bytes,
    parse_cpuinfo,
)

X86 = """processor\t: 0
model name\t: Example CPU @ 2.50GHz
cpu MHz\t\t: 2500.000
flags\t\t: fpu sse2 avx2 fma

processor\t: 1
model name\t: Another
cpu MHz\t\t: 800.000
flags\t\t: fpu
"""
ARM = """processor\t: 0
BogoMIPS\t: 48.00
Features\t: fp asimd asimddp i8mm
CPU part\t: 0xd0b

Hardware\t: BCM2712
"""


def test_x86_is_read_from_its_first_processor() -> None:
    cpu = parse_cpuinfo(X86)
    assert cpu == Cpu(name="Example CPU @ 2.50GHz", features=frozenset(["fpu", "sse2", "avx2", "fma"]), hertz=2.5e9)


def test_arm_spells_the_same_facts_differently() -> None:
    cpu = parse_cpuinfo(ARM)
    assert cpu.name == "BCM2712"
    assert {"asimddp", "i8mm"} <= cpu.features
    assert cpu.hertz == 0


def test_a_board_is_called_what_its_firmware_calls_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"Raspberry Pi 5 Model B Rev 1.0\0")
    monkeypatch.setattr(host, "_BOARD", tmp_path / "model")
    assert detect_cpu().name == "Raspberry Pi 5 Model B Rev 1.0"
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert detect_cpu().name == parse_cpuinfo("").name


def test_what_the_kernel_tells_every_process_goes_before_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """An emulator for programs passes on the file of the machine that it runs on."""
    monkeypatch.setattr(host, "hwcap_features", lambda: frozenset({"asimd", "asimddp", "asimdhp"}))
    assert detect_cpu().features == {"asimd", "asimddp", "asimdhp"}
    assert detect_cpu().instructions == {"asimd", "dotprod", "fullfp16"}


def test_either_spelling_is_understood() -> None:
    """Bundles of before tiles were used name the features of a traced program as Linux does."""
    assert compilers_names(["amx_int8", "amx-int8", "avx512_vnni", "avx2"]) == {"amx-int8", "avx512vnni", "avx2"}


def test_nothing_to_read_still_gives_a_name() -> None:
    assert parse_cpuinfo("").name in (platform.processor(), platform.machine())


@pytest.mark.parametrize(
    ("features", "f32", "int8"),
    [
        ((), 2, 2),
        (("sse2",), 8, 8),
        (("sse2", "avx2"), 16, 32),
        (("sse2", "avx2", "avx512f", "avx512_vnni"), 32, 128),
        (("asimd", "asimddp"), 8, 32),
        (("asimd", "asimddp", "i8mm"), 8, 64),
    ],
)
def test_the_widest_vector_unit_counts(features: tuple[str, ...], f32: int, int8: int) -> None:
    peak = host_peak(Cpu(name="x", features=frozenset(features), hertz=1e9), 3)
    assert peak["f32"].value == 3e9 * f32
    assert peak["int8"].value == 3e9 * int8
    assert "(detected)" in peak["f32"].source


def test_a_guessed_clock_says_so() -> None:
    peak = host_peak(Cpu(name="x", features=frozenset(), hertz=0), 1)
    assert "(estimated)" in peak["f32"].source


def test_figures_that_nobody_measured_say_what_to_do() -> None:
    soc = detect_host(gpu="a driver")
    for unit in soc.units:
        for figure in (*unit.peak.values(), unit.bandwidth, unit.launch):
            assert "run paceline profile" in figure.source


def test_this_machine() -> None:
    soc = detect_host()
    cpu = soc.unit("cpu")
    assert cpu is not None and cpu.cpu == "host" and cpu.cores == count_cores() >= 1
    assert soc.memory.value == memory_bytes() > 0
    assert detect_cpu().name in soc.description


def write_caches(root: Path, core: int, *caches: tuple[int, str, str]) -> None:
    """Level, size and sharing cores of each cache of a core, as Linux shows them."""
    for index, values in enumerate(caches):
        folder = root / str(core) / f"index{index}"
        folder.mkdir(parents=True)
        for key, value in zip(("level", "size", "shared_cpu_list"), values, strict=True):
            (folder / key).write_text(f"{value}\n")


@pytest.mark.parametrize(
    ("cores", "found"),
    [
        ({0: [(1, "32K", "0"), (2, "1M", "0"), (3, "32768K", "0-1")], 1: [(3, "32768K", "0-1")]}, 32 << 20),
        ({0: [(2, "512K", "0")], 1: [(2, "256K", "1")]}, 768 << 10),  # of two clusters each has its own
        ({0: [(1, "32K", "0")]}, 32 << 10),
        ({0: [(3, "", "")]}, 0),
        ({}, 0),
    ],
    ids=["shared", "apart", "one level", "says nothing", "no caches"],
)
def test_the_last_cache_of_all_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: dict[int, list[tuple[int, str, str]]], found: int
) -> None:
    for core, caches in cores.items():
        write_caches(tmp_path, core, *caches)
    monkeypatch.setattr(host, "_CACHES", f"{tmp_path}/{{}}")
    monkeypatch.setattr(host, "_allowed_cores", lambda: [0, 1])
    assert last_cache_bytes() == found
