"""Kernels of every instruction set compute the same bits: sets of this processor here, those of Arm in an emulator."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from paceline.compile import import_model
from paceline.compile.kernel_calls import PRECISIONS
from paceline.costmodel.caches import LANES
from paceline.targets import ProcessingUnit, load_soc
from paceline.targets.instruction_sets import SETS, InstructionSet, instruction_set
from tests.compile.kernel_programs import Tiny, emulated, native, tiny
from tests.emulator import MISSING

CONTEXT, WIDEST = 80, 19  # more rows than any kernel takes at once
NO_LOGIT = np.float32(-1e30)
ROUNDED = 0.05  # share of the largest logit. Seen: 0.011 and 0.020
POSITION = 59  # rows begin in one block and stretch of keys and end in the next
TOKENS = np.random.default_rng(1).integers(0, 300, WIDEST).astype(np.int32)

# Columns and rows that are no multiple of a group or a block, and more than a super-block of int4.
UNEVEN = {"hidden_size": 72, "intermediate_size": 336, "vocab_size": 333}
MODELS: dict[str, dict[str, Any]] = {"llama": {}, "qwen3": {}, "gemma3": {}, "qwen2": UNEVEN, "mistral": {}}
# every number of rows that a kernel takes is code of its own
WIDTHS = dict.fromkeys(MODELS, (1, 4, 11, WIDEST)) | {"llama": (*range(1, 10), 11, WIDEST)}
# processors that have what a set asks for and no more
EMULATED = {"aarch64-dotprod": "cortex-a76", "aarch64-neon": "cortex-a53"}

CASES = [
    pytest.param(some.name, marks=pytest.mark.arm if some.name in EMULATED else pytest.mark.cpu, id=some.name)
    for some in SETS
]
Logits = Callable[..., NDArray[np.float32]]


@pytest.fixture(scope="module")
def host() -> ProcessingUnit:
    unit = load_soc("host").unit("cpu")
    assert unit is not None
    return unit


@pytest.fixture(scope="module")
def best(host: ProcessingUnit) -> InstructionSet:
    """The best set that this processor has."""
    return instruction_set(host) or pytest.skip("there are no kernels for this processor")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_package: Callable[..., Path], host: ProcessingUnit) -> Logits:
    """``run(family, precision, kernels, width, choices=0)``: logits [width, vocabulary] at POSITION, behind a cache.

    ``choices`` are those of a drafter.
    """

    @functools.cache
    def model(family: str, precision: str, choices: int) -> Tiny:
        package, folder = tiny_package(family, **MODELS[family]), tmp_path_factory.mktemp(family)
        widths = WIDTHS[family]
        return tiny(package, precision, folder, context=CONTEXT, widths=widths, draft_vocabulary=choices)

    @functools.cache
    def logits(family: str, precision: str, kernels: str, width: int, choices: int = 0) -> NDArray[np.float32]:
        command, made = _command(kernels, host), model(family, precision, choices)
        return made.logits(made.program(kernels, host), command, TOKENS[:width], POSITION)

    return logits


def _command(kernels: str, host: ProcessingUnit) -> tuple[str, ...]:
    """What runs a program of ``kernels``, or the test is skipped."""
    best, names = instruction_set(host), [some.name for some in SETS]
    wanted = SETS[names.index(kernels)]
    if best and best.architecture == wanted.architecture and names.index(best.name) <= names.index(kernels):
        return native()
    if kernels not in EMULATED:
        pytest.skip(f"this processor has not all of {', '.join(sorted(wanted.features))}")
    return emulated(EMULATED[kernels]) or pytest.skip(MISSING)


@pytest.mark.parametrize("kernels", CASES)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("family", MODELS)
def test_logits_are_the_same_bits_on_every_processor(
    family: str, precision: str, kernels: str, run: Logits, best: InstructionSet
) -> None:
    """All widths of a set against the widest call of this machine's best set."""
    wanted = run(family, precision, best.name, WIDEST)
    assert np.isfinite(wanted).all() and np.ptp(wanted, axis=1).min() > 1
    for width in WIDTHS[family]:
        assert (run(family, precision, kernels, width) == wanted[:width]).all(), width


@pytest.mark.parametrize("kernels", CASES)
@pytest.mark.parametrize("precision", ["int8", "int4"])
@pytest.mark.parametrize("family", ["llama", "qwen2"])  # a head of its own; the embedding, and columns to pad
def test_a_screened_head_computes_some_of_the_very_logits(
    family: str, precision: str, kernels: str, run: Logits, best: InstructionSet
) -> None:
    """The same ones on every processor and at every width; which are best is in test_kernel_arithmetic.py."""
    logits, whole = run(family, precision, kernels, WIDEST, 100), run(family, precision, kernels, WIDEST)
    assert logits.tobytes() == run(family, precision, best.name, WIDEST, 100).tobytes()
    assert logits[:1].tobytes() == run(family, precision, kernels, 1, 100).tobytes()
    computed, blocks = logits != NO_LOGIT, -(-logits.shape[1] // LANES)
    assert (logits[computed] == whole[computed]).all()
    by_block = np.pad(computed, ((0, 0), (0, blocks * LANES - logits.shape[1])), "edge").reshape(WIDEST, blocks, LANES)
    assert (by_block.all(2) == by_block.any(2)).all()
    assert (by_block.all(2).sum(1) == -(-blocks * 100 // logits.shape[1])).all()


@pytest.mark.cpu
def test_attention_that_is_four_bits_already_is_computed_with_the_same_weights(
    tiny_gguf: Callable[..., Path], tmp_path: Path, host: ProcessingUnit, best: InstructionSet
) -> None:
    """With biases and without; against f32 of the same weights, from which rounded activations are off by little."""
    for family in ("llama", "qwen2"):
        package = tmp_path / family
        import_model(str(tiny_gguf(family, kind="Q4_K", hidden_size=256, intermediate_size=512, head_dim=64)), package)
        found = {}
        for precision in ("f32", "int4"):
            (folder := tmp_path / f"{family}-{precision}").mkdir()
            made = tiny(package, precision, folder, context=CONTEXT, widths=(4,))
            assert made.spec.exact_int4
            found[precision] = made.logits(made.program(best.name, host), native(), TOKENS[:4], POSITION)
        assert np.abs(found["int4"] - found["f32"]).max() <= ROUNDED * np.abs(found["f32"]).max(), family
