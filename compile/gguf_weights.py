"""Tensors of a GGUF under canonical names."""

from __future__ import annotations

import numpy as np
from gguf.constants import GGMLQuantizationType
from numpy.typing import NDArray

from paceline.compile.family import Family, expected_shapes
from paceline.compile.gguf_file import GgufFile, GgufTensor
from paceline.compile.int4 import Blocks, from_q4_k
from paceline.costmodel import ModelSpec
from paceline.errors import CheckpointError


def maps_onto_int4(tensor: GgufTensor) -> bool:
    """Whether a tensor is stored in blocks that map onto int4 exactly."""
    return bool(tensor.kind == GGMLQuantizationType.Q4_K)


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
        order = self._order(name)
        return weight if order is None else weight[order]

    def blocks(self, name: str) -> Blocks | None:
        """A matrix stored as Q4_K, which maps onto int4 exactly; None for any other.

        Raises:
            CheckpointError: the file has no such tensor.
        """
        stored = self._stored(name)
        if not maps_onto_int4(self._file.tensors[stored]):
            return None
        found = from_q4_k(self._file.read_raw(stored), self.shape(name)[-1])
        order = self._order(name)
        return found if order is None else found.rows(order)

    def _order(self, name: str) -> NDArray[np.intp] | None:
        """The stored row of each row, where they differ.

        A GGUF of Llama keeps row 2j beside row 2j + 1 of each head; rotating halves wants them half a head apart.
        """
        part = name.split(".")[-2]
        if not self._family.gguf_rotates_pairs or part not in ("q", "k"):
            return None
        heads = self._spec.heads if part == "q" else self._spec.kv_heads
        return np.arange(self.shape(name)[0]).reshape(heads, -1, 2).swapaxes(1, 2).ravel()

    def _stored(self, name: str) -> str:
        stored = self._family.gguf_name(name)
        if stored not in self._file.tensors:
            raise CheckpointError(f"{self._file.path} has no tensor {stored!r}, needed by {self._family.name}")
        return stored
