"""Tensors of safetensors files under canonical names: those of Hugging Face, or canonical ones already."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from paceline.compile.family import Family, expected_shapes
from paceline.compile.int4 import Blocks
from paceline.compile.safetensors_file import DTYPES, SafeTensor, open_safetensors
from paceline.costmodel import ModelSpec
from paceline.errors import CheckpointError

# A text model alone, the text part of a model that also sees images (two generations of names), a bare decoder.
_BODIES = ("model.", "language_model.model.", "model.language_model.", "")


def open_all(files: Iterable[Path]) -> dict[str, SafeTensor]:
    """Every tensor of several files by its own name.

    Raises:
        CheckpointError: a file that is damaged or cut.
    """
    return {name: tensor for path in files for name, tensor in open_safetensors(path).items()}


class SafetensorsWeights:
    """Reads one tensor at a time, with Gemma's 1 added to norm weights."""

    def __init__(self, tensors: Mapping[str, SafeTensor], family: Family, spec: ModelSpec, *, where: str) -> None:
        self._tensors, self._family, self._spec, self._where = tensors, family, spec, where
        embedding = "embedding.weight"
        self._canonical = embedding in tensors
        self._body = next((body for body in _BODIES if family.hf_name(embedding, body=body) in tensors), _BODIES[0])
        self._head = next((name for name in tensors if name.endswith("lm_head.weight")), "lm_head.weight")

    def names(self) -> tuple[str, ...]:
        """Canonical names in the order of computation."""
        return tuple(name for name, _ in expected_shapes(self._spec))

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape as stored.

        Raises:
            CheckpointError: no file has such a tensor, or it is of a type that holds no plain weights.
        """
        return self._stored(name).shape

    def read(self, name: str) -> NDArray[np.float32]:
        """One tensor as float32.

        Raises:
            CheckpointError: no file has such a tensor, or it is of a type that holds no plain weights.
        """
        weight = self._stored(name).read()
        if not self._canonical and self._family.hf_norm_offset and name.endswith("norm.weight"):
            weight += np.float32(self._family.hf_norm_offset)
        return weight

    def blocks(self, name: str) -> Blocks | None:
        """None: these files hold floats."""
        return None

    def _stored(self, name: str) -> SafeTensor:
        stored = name if self._canonical else self._family.hf_name(name, body=self._body, head=self._head)
        if stored not in self._tensors:
            raise CheckpointError(f"{self._where} has no tensor {stored!r}, needed by {self._family.name}")
        tensor = self._tensors[stored]
        if tensor.dtype not in DTYPES:
            raise CheckpointError(f"{tensor.path} stores {stored!r} as {tensor.dtype}, expected {', '.join(DTYPES)}")
        return tensor
