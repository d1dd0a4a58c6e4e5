"""Kernel programs for one instruction set, and their logits by ``iree-run-module``: here, or in an emulator for Arm."""

from __future__ import annotations

import importlib.util
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from paceline.compile.archive import write_archive
from paceline.compile.cache import Cache
from paceline.compile.capture import Capture
from paceline.compile.package import open_weights, read_package
from paceline.compile.packing import FORM, PACKED
from paceline.compile.pipeline import Pipeline
from paceline.compile.tools import Children
from paceline.costmodel import ModelSpec, cache_kind, cache_rows, screened_head
from paceline.targets import Dtype, ProcessingUnit
from tests.compile.rounded_caches import rounded_keys, rounded_values
from tests.emulator import SITE, emulator

_RUNNER = Path("iree", "_runtime_libs", "iree-run-module")


@dataclass(frozen=True, slots=True)
class Tiny:
    """A tiny model's weights at a precision, packed, and the folder that its programs go to."""

    spec: ModelSpec
    precision: str
    weights: Path
    context: int
    widths: tuple[int, ...]

    def program(self, kernels: str, unit: ProcessingUnit) -> Path:
        """Compiled for the instruction set called ``kernels``."""
        capture = Capture(
            spec=self.spec,
            precision=self.precision,
            form=FORM,
            kernels=kernels,
            context=self.context,
            widths=self.widths,
        )
        return Pipeline(Cache(self.weights.parent), Children()).program(capture, unit).path

    def logits(
        self, program: Path, command: Sequence[str], tokens: NDArray[np.int32], position: int
    ) -> NDArray[np.float32]:
        """[n, vocabulary] of one call; what lies before ``position`` in the caches are seeded random numbers."""
        folder, n = program.parent, len(tokens)
        inputs = [tokens, np.array([position, 0], np.int32), *self._caches()]
        for name, values in enumerate(inputs):
            np.save(folder / f"{name}.npy", values)
        options = [f"--input=@{folder / f'{name}.npy'}" for name, _ in enumerate(inputs)]
        found = folder / "ids.npy", folder / "logits.npy"
        subprocess.run(
            [
                *command,
                "--device=local-sync",
                f"--module={program}",
                f"--parameters=model={self.weights}",
                f"--function=step_{n}",
                *options,
                *(f"--output=@{path}" for path in found),
            ],
            check=True,
            capture_output=True,
        )
        ids, logits = (np.load(path) for path in found)
        assert (ids == logits.argmax(1)).all()
        return np.asarray(logits, np.float32)

    def _caches(self) -> list[NDArray[Any]]:
        shape = (self.spec.layers, self.spec.kv_heads, cache_rows(self.context), self.spec.head_size)
        random = np.random.default_rng(7)
        keys, values = (random.standard_normal(shape, np.float32) for _ in "kv")
        if cache_kind(cast(Dtype, self.precision)) == "f32":
            return [keys, values]
        return [rounded_keys(keys)[0].view(np.int8), rounded_values(values)[0].view(np.int8)]


def tiny(
    package: Path, precision: str, folder: Path, *, context: int, widths: tuple[int, ...], draft_vocabulary: int = 0
) -> Tiny:
    """The model of ``package``, as a drafter where it has a draft vocabulary; ``folder`` is a new one."""
    read, weights = read_package(package), folder / "weights.irpa"
    spec = screened_head(read.spec, draft_vocabulary, precision)
    write_archive(open_weights(package, read), spec, PACKED[precision], context, weights)
    return Tiny(spec, precision, weights, context, widths)


def native() -> tuple[str, ...]:
    """The command that runs a program on this processor."""
    found = importlib.util.find_spec("iree.runtime")
    assert found is not None and found.origin is not None
    return (str(Path(found.origin).parents[2] / _RUNNER),)


def emulated(cpu: str) -> tuple[str, ...] | None:
    """The command that runs a program on an emulated Arm processor; None where scripts/arm was not run."""
    command = emulator(cpu)
    return command and (*command, str(SITE / _RUNNER))
