"""Tensors of a GGUF under canonical names."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from paceline.compile.family import Family, expected_shapes
from paceline.compile.gguf_file import GgufFile
from paceline.costmodel import ModelSpec
from paceline.errors import CheckpointError


class GgufWeights:
    """Decodes one tensor at a time, with rows in the order of Hugging Face."""

    def __init__(self, file: GgufFile, family: Family, spec: ModelSpec) -> None:
        self._file, self._family, self._spec = file, family, spec

    def names(self) -> tuple[str, ...]:
        """Canonical names in the order of computation."""
        return tuple(name for name, _ in expected_shapes(self._spec))

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape as stored.

        Raises:
            CheckpointError: the file has no such tensor.
        """
        return self._file.tensors[self._stored(name)].shape

    def read(self, name: str) -> NDArray[np.float32]:
        """One tensor as float32.

        Raises:
            CheckpointError: the file has no such tensor.
        """
        weight = self._file.read(self._stored(name))
        part = name.split(".")[-2]
        if not self._family.gguf_rotates_pairs or part not in ("q", "k"):
            return weight
        heads = self._spec.heads if part == "q" else self._spec.kv_heads
        return _halves_from_pairs(weight, heads)

    def _stored(self, name: str) -> str:
        stored = self._family.gguf_name(name)
        if stored not in self._file.tensors:
            raise CheckpointError(f"{self._file.path} has no tensor {stored!r}, needed by {self._family.name}")
        return stored


def _halves_from_pairs(weight: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    # A GGUF of Llama keeps row 2j beside row 2j + 1 of each head; rotating halves wants row j beside row j + size / 2.
    pairs = weight.reshape(heads, -1, 2, *weight.shape[1:])
    return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(weight.shape)
