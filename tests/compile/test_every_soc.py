"""A tiny llama compiles for every SoC that ships; what IREE refuses becomes a sentence and spoils nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from paceline.compile.build import build
from paceline.partition import Bundle, read_bundle
from paceline.targets import Soc, known_socs, load_soc

SOCS = tuple(name for name in known_socs() if name != "host")
CONTEXT, WIDTHS = 32, (1, 4)

pytestmark = [
    pytest.mark.cpu,
    pytest.mark.usefixtures("forked_captures"),
    pytest.mark.xdist_group("one layer"),  # with the same programs
]
Compile = Callable[..., Bundle]


@pytest.fixture
def compiled(tmp_path: Path, tiny_package: Callable[..., Path]) -> Compile:
    """Compiles a llama of one layer, f32 as target and int8 as drafter unless said, and reads the bundle back.

    The model is captured once, and compiled for each device: in the cache it is the one of test_check_gpu.
    """
    package = tiny_package("llama", num_hidden_layers=1)

    def run(soc: Soc, target: str = "f32", drafter: str = "int8") -> Bundle:
        output = tmp_path / soc.name
        build(
            soc=soc, target=package, target_precision=target, drafter=package, drafter_precision=drafter,
            output=output, context=CONTEXT, widths=WIDTHS, jobs=1,
        )  # fmt: skip
        return read_bundle(output, checksums=True)

    return run


@pytest.mark.parametrize("precisions", [("f32", "int8"), ("int4", "int4")], ids=lambda both: "-".join(both))
@pytest.mark.parametrize("name", SOCS)
def test_f32_int8_and_int4_compile_for_cpu_and_gpu(compiled: Compile, name: str, precisions: tuple[str, str]) -> None:
    bundle = compiled(load_soc(name), *precisions)
    assert [failure.reason for failure in bundle.failures] == []
    assert bundle.drafter is not None
    for model in (bundle.target, bundle.drafter):
        assert set(model.programs) == {"cpu", "gpu"}
        assert {*model.programs.values(), *model.weights.values()} <= set(bundle.files)


def test_a_program_that_iree_refuses_is_a_sentence_and_the_others_are_kept(compiled: Compile) -> None:
    """Adreno has no 8-bit storage; a file that claims so is refused by the compiler, for int8 on the GPU only."""
    adreno = load_soc("snapdragon-8-gen3")
    units = tuple(msgspec.structs.replace(unit, storage_bits=8) for unit in adreno.units)
    bundle = compiled(msgspec.structs.replace(adreno, units=units))
    (failure,) = bundle.failures
    assert (failure.role, failure.precision, failure.unit) == ("drafter", "int8", "gpu")
    assert failure.reason.startswith("iree-compile failed: ") and "error: " in failure.reason
    assert "\n" not in failure.reason
    assert "--iree-vulkan-target=adreno-750" in failure.command
    assert bundle.drafter is not None
    assert set(bundle.drafter.programs) == {"cpu"}
    assert set(bundle.target.programs) == {"cpu", "gpu"}
