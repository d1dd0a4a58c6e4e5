"""Figures by their keys."""

from __future__ import annotations

import msgspec
import pytest

from paceline.errors import UsageError
from paceline.partition.figures import figures_named, unsure_figures, with_figures
from paceline.targets import Figure, load_soc

IMX95 = load_soc("imx95")


def test_keys() -> None:
    assert figures_named(IMX95, "cpu.bandwidth") == (("cpu", "bandwidth"),)
    assert figures_named(IMX95, "launch") == (("cpu", "launch"), ("gpu", "launch"))
    assert figures_named(IMX95, "peak.int8") == (("cpu", "peak.int8"), ("gpu", "peak.int8"))
    assert figures_named(IMX95, "gpu.peak.int4") == (("gpu", "peak.int4"),)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("npu.bandwidth", "imx95 has no unit 'npu'; it has cpu, gpu"),
        ("cpu.speed", "'cpu.speed' is no figure of a SoC; expected one of bandwidth, launch, memory, peak.f32"),
        ("cpu", "'cpu' is no figure"),
        ("peak", "'peak' is no figure"),
        ("peak.int2", "'peak.int2' is no figure"),
        ("cpu.peak", "'cpu.peak' is no figure"),
        ("", "'' is no figure"),
    ],
)
def test_keys_that_there_are_none_of(text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        figures_named(IMX95, text)


def test_other_figures() -> None:
    soc = with_figures(IMX95, {"bandwidth": 1e9, "cpu.peak.int4": 2e9, "gpu.launch": 3e-6})
    cpu, gpu = soc.units
    assert cpu.bandwidth == gpu.bandwidth == Figure(value=1e9, source="given")
    assert cpu.peak["int4"].value == 2e9 and "int4" not in gpu.peak
    assert gpu.launch.value == 3e-6
    assert (cpu.launch, cpu.peak["int8"], gpu.peak) == (
        IMX95.units[0].launch,
        IMX95.units[0].peak["int8"],
        IMX95.units[1].peak,
    )
    assert with_figures(IMX95, {}) == IMX95


def test_memory_is_that_of_units_and_soc() -> None:
    soc = with_figures(IMX95, {"memory": 1e9})
    assert {soc.memory.value, *(unit.memory.value for unit in soc.units)} == {1e9}
    alone = with_figures(IMX95, {"gpu.memory": 1e9})
    assert alone.memory == IMX95.memory


def test_unsure_figures_are_those_that_are_used() -> None:
    assert "cpu.peak.f32" in unsure_figures(IMX95, [("cpu", "f32")])
    assert "cpu.peak.f32" not in unsure_figures(IMX95, [("cpu", "int8"), ("gpu", "f32")])
    unknown = msgspec.structs.replace(IMX95, memory=Figure(value=1e9, source="estimated: a guess"))
    assert unsure_figures(unknown, [])[0] == "memory"
