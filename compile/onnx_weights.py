"""Weights of a decoder that optimum exported to ONNX, found by the names that the export leaves on its nodes.

A projection is a node /model/layers.0/self_attn/q_proj/MatMul whose second input is the weight [in, out]; a norm is a
Mul of its module with the multiplier, Gemma's 1 already folded in. What kept its own name ("model.norm.weight")
is taken as it is.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from paceline.compile.family import Family, expected_shapes
from paceline.compile.int4 import Blocks
from paceline.costmodel import ModelSpec
from paceline.errors import CheckpointError

_ITEM_BYTES = {onnx.TensorProto.FLOAT: 4, onnx.TensorProto.FLOAT16: 2, onnx.TensorProto.BFLOAT16: 2}
_MOST_ALIASES = 8


class OnnxWeights:
    """The tensors of an ONNX graph under canonical names; external data is read one tensor at a time."""

    def __init__(self, model: Any, path: Path, family: Family, spec: ModelSpec) -> None:
        self._path, self._family, self._spec = path, family, spec
        self._tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        self._nodes = {node.name: node for node in model.graph.node}
        self._makers = {output: node for node in model.graph.node for output in node.output}

    def names(self) -> tuple[str, ...]:
        """Canonical names in the order of computation."""
        return tuple(name for name, _ in expected_shapes(self._spec))

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape as a canonical tensor.

        Raises:
            CheckpointError: the graph has no such weight, or its data is cut or of a type that holds no plain weights.
        """
        tensor, turned, _ = self._find(name)
        self._check_data(tensor)
        dims = tuple(tensor.dims)
        return dims[::-1] if turned else dims

    def read(self, name: str) -> NDArray[np.float32]:
        """One tensor as float32.

        Raises:
            CheckpointError: the graph has no such weight.
        """
        tensor, turned, offset = self._find(name)
        array = numpy_helper.to_array(tensor, str(self._path.parent)).astype(np.float32, copy=False)
        array = np.ascontiguousarray(array.T if turned else array)
        return array + np.float32(offset) if offset else array

    def blocks(self, name: str) -> Blocks | None:
        """None: these files hold floats."""
        return None

    def _find(self, name: str) -> tuple[Any, bool, float]:
        # The initialiser, whether it is stored [in, out], and what the norm convention adds to it.
        own = self._family.hf_name(name)
        if own in self._tensors:
            return self._tensors[own], False, self._family.hf_norm_offset if name.endswith("norm.weight") else 0.0
        module = "/" + own.removesuffix(".weight").replace(".", "/").replace("layers/", "layers.")
        for node in (self._nodes.get(f"{module}/{kind}") for kind in ("MatMul", "Mul_1", "Mul")):
            sources = [self._source(value) for value in node.input] if node is not None else []
            for tensor, turned in (source for source in sources if source is not None and source[0].dims):
                return tensor, turned != (len(tensor.dims) == 2), 0.0
        raise CheckpointError(
            f"{self._path} has neither a tensor {own!r} nor a node {module}/MatMul or /Mul_1 with a weight; expected "
            "what 'optimum-cli export onnx' writes for text-generation-with-past, not optimised or quantised further"
        )

    def _source(self, value: str) -> tuple[Any, bool] | None:
        # Exports share equal weights through Identity, and tied ones through Transpose.
        turned = False
        for _ in range(_MOST_ALIASES):
            if value in self._tensors:
                return self._tensors[value], turned
            maker = self._makers.get(value)
            if maker is None or maker.op_type not in ("Identity", "Transpose"):
                return None
            value, turned = maker.input[0], turned != (maker.op_type == "Transpose")
        return None

    def _check_data(self, tensor: Any) -> None:
        if tensor.data_type not in _ITEM_BYTES:
            kind = onnx.TensorProto.DataType.Name(tensor.data_type)
            raise CheckpointError(f"{self._path} stores {tensor.name!r} as {kind}, expected FLOAT, FLOAT16 or BFLOAT16")
        needed = math.prod(tensor.dims) * _ITEM_BYTES[tensor.data_type]
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            self._check_external(tensor, needed)
        elif tensor.raw_data and len(tensor.raw_data) != needed:
            raise CheckpointError(f"{self._path} is damaged: {tensor.name!r} has not the {needed} bytes of its shape")

    def _check_external(self, tensor: Any, needed: int) -> None:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        name, offset = entries.get("location", ""), entries.get("offset", "0")
        path = self._path.parent / name
        if not name or Path(name).is_absolute() or ".." in Path(name).parts or not offset.isdigit():
            raise CheckpointError(
                f"{self._path} is damaged: {tensor.name!r} lies at {name!r}, expected a file beside it"
            )
        if not path.is_file():
            raise CheckpointError(f"{path} is missing; it holds weights of {self._path.name} and must stand beside it")
        if (end := int(offset) + needed) > (size := path.stat().st_size):
            raise CheckpointError(f"{path} is cut: {tensor.name!r} ends at byte {end}, the file has {size}")
