"""SoC files are found by name or path, and every mistake in one is a sentence with the file and the key."""

from __future__ import annotations

from pathlib import Path

import pytest

from paceline.errors import UnknownSoc, UsageError
from paceline.targets import known_socs, load_soc

GOOD = """
name = "board"
description = "a board"
memory = { value = 4e9, source = "datasheet" }

[[units]]
name = "cpu"
kind = "cpu"
description = "four cores"
cores = 4
triple = "aarch64-linux-gnu"
cpu = "cortex-a76"
peak = { f32 = { value = 1e11, source = "datasheet" } }
bandwidth = { value = 1e10, source = "datasheet" }
memory = { value = 4e9, source = "datasheet" }
launch = { value = 5e-6, source = "estimated" }

[[units]]
name = "gpu"
kind = "gpu"
description = "a gpu"
cores = 1
vulkan_target = "mali-g310"
subgroup = 16
peak = { f32 = { value = 2e11, source = "datasheet" } }
bandwidth = { value = 1e10, source = "datasheet" }
memory = { value = 4e9, source = "datasheet" }
launch = { value = 6e-5, source = "estimated" }
"""


def written(folder: Path, text: str) -> str:
    file = folder / "board.toml"
    file.write_text(text)
    return str(file)


def test_names_are_sorted_and_host_comes_last() -> None:
    names = known_socs()
    assert names[-1] == "host"
    assert list(names[:-1]) == sorted(names[:-1])
    expected = {"imx95", "rk3588", "rpi5", "pixel8", "snapdragon-8-gen3", "x86-swiftshader"}
    assert expected == set(names) - {"host"}


@pytest.mark.parametrize("name", [name for name in known_socs() if name != "host"])
def test_a_file_says_the_name_it_is_found_by(name: str) -> None:
    assert load_soc(name).name == name


def test_host_is_detected_and_has_a_gpu_only_when_told_of_one() -> None:
    assert load_soc("host").unit("gpu") is None
    gpu = load_soc("host", gpu="SwiftShader").unit("gpu")
    assert gpu is not None and gpu.description == "SwiftShader"


def test_a_path_is_as_good_as_a_name(tmp_path: Path) -> None:
    soc = load_soc(written(tmp_path, GOOD))
    assert soc.name == "board"
    assert [unit.name for unit in soc.units] == ["cpu", "gpu"]


@pytest.mark.parametrize("name", ["nosuch", "nosuch.toml", "", "imx95.json"])
def test_an_unknown_name_lists_the_known_ones(name: str) -> None:
    with pytest.raises(UnknownSoc, match=r"imx95, pixel8, .*, host"):
        load_soc(name)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("cores = 4\n", "", ["units", "cores"]),
        ("cores = 4", "cores = 0", ["units.cpu.cores is 0"]),
        ("cores = 4", 'cores = "four"', ["units", "cores", "int"]),
        ("cores = 4", "cores = 4\nspeed = 9", ["speed", "units"]),
        ('description = "a board"', 'description = "a board"\nvendor = "x"', ["vendor"]),
        ("bandwidth = { value = 1e10, source", "bandwidth = { value = 0, source", ["units.cpu.bandwidth.value is 0"]),
        ("launch = { value = 5e-6,", "launch = { value = -1.0,", ["units.cpu.launch.value is -1"]),
        ("launch = { value = 5e-6,", "launch = { value = nan,", ["units.cpu.launch.value is nan"]),
        ("memory = { value = 4e9,", "memory = { value = inf,", ["memory.value is inf"]),
        ("launch = { value = 5e-6,", "launch = {", ["value", "launch"]),
        ('source = "estimated"', 'source = " "', ["units.cpu.launch.source is empty"]),
        ("peak = { f32", "peak = { f64", ["f64", "peak"]),
        ("peak = { f32", "peak = { f16", ["units.cpu.peak.f32 is missing"]),
        ('vulkan_target = "mali-g310"', 'vulkan_target = "mali-g610"', ["units.gpu.vulkan_target", "mali-g610"]),
        ('vulkan_target = "mali-g310"\n', "", ["units.gpu.vulkan_target is ''"]),
        ('cpu = "cortex-a76"\n', "", ["units.cpu.cpu is missing"]),
        ('triple = "aarch64-linux-gnu"\n', "", ["units.cpu.triple is missing", "cortex-a76"]),
        ('name = "gpu"', 'name = "npu"', ["['cpu', 'npu']"]),
        ('kind = "gpu"', 'kind = "cpu"', ["units.gpu.kind is 'cpu'"]),
        ("subgroup = 16", "subgroup = -1", ["units.gpu.subgroup is -1"]),
        ("subgroup = 16", "storage_bits = 4", ["units.gpu.storage_bits is 4", "8, 16 or 32"]),
        ("subgroup = 16", 'cpu = "host"', ["units.gpu", "only a cpu"]),
        ("cores = 4", "cores = 4\nclusters = { big = [] }", ["units.cpu.clusters.big is []"]),
        ("cores = 4", "cores = 4\nclusters = { a = [1], b = [0, 1] }", ["units.cpu.clusters.b has core 1"]),
        ("cores = 4", 'cores = 4\nclusters = { "0" = [1] }', ["units.cpu.clusters has '0'", "--pin"]),
        ("subgroup = 16", "clusters = { all = [0] }", ["units.gpu has clusters"]),
        ('name = "board"', 'name = "board"\nschema = 9', ["schema is 9, expected 1"]),
        ('name = "board"', 'name = "board', ["not TOML"]),
    ],
)
def test_a_mistake_is_a_sentence_with_file_and_key(tmp_path: Path, old: str, new: str, words: list[str]) -> None:
    assert old in GOOD
    with pytest.raises(UsageError) as caught:
        load_soc(written(tmp_path, GOOD.replace(old, new, 1)))
    message = str(caught.value)
    assert "board.toml" in message and "\n" not in message
    assert all(word in message for word in words), message
    assert caught.value.exit_code == 2


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "board.toml"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="not TOML"):
        load_soc(str(file))
