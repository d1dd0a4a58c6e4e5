"""An ONNX decoder in the layout of optimum as a checkpoint: its weights, mapped onto a family that paceline has.

The graph itself is not compiled. It takes caches and gives longer copies of them instead of writing in place; its
shapes depend on a growing cache; it has no form in int8 that is exact on every device; and nothing makes the logits
of a token equal at every width, which lossless speculation rests on. Its initialisers carry all that training found,
and config.json beside it the rest, so the program of the family computes the same function with these properties.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError

from paceline.compile.checkpoint import Checkpoint, Progress, check_tensors
from paceline.compile.hf_checkpoint import describe_hf, read_spec
from paceline.compile.hf_tokenizer import read_tokenizer
from paceline.compile.onnx_weights import OnnxWeights
from paceline.compile.safetensors_file import write_safetensors
from paceline.errors import CheckpointError

_WEIGHTS = "model.safetensors"
_INPUT, _OUTPUT, _CACHE = "input_ids", "logits", "past_key_values."


def open_onnx_checkpoint(path: Path) -> Checkpoint:
    """Understand and check an .onnx file with its config.json and tokenizer.json, beside it or one folder up.

    Raises:
        CheckpointError: damaged, cut, of another layout, or a file beside it that is missing.
        UnknownArchitecture: of a family that paceline does not have.
    """
    model = _load(path)
    folder = next(
        (place for place in (path.parent, path.parent.parent) if (place / "config.json").is_file()), path.parent
    )
    family, spec = read_spec(folder, folder.resolve().name)
    weights = OnnxWeights(model, path, family, spec)
    check_tensors(weights, spec, str(path))

    def write(output: Path, progress: Progress) -> None:
        shapes = {name: weights.shape(name) for name in weights.names()}
        for index, _ in enumerate(write_safetensors(output / _WEIGHTS, shapes, weights.read), start=1):
            progress("convert tensors", index, len(shapes))

    return describe_hf(spec, read_tokenizer(folder, spec), write)


def _load(path: Path) -> Any:
    try:
        model = onnx.load(str(path), load_external_data=False)
    except DecodeError as error:
        raise CheckpointError(f"{path} is cut or is no ONNX file: {error}") from error
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    inputs = {value.name for value in model.graph.input}
    outputs = {value.name for value in model.graph.output}
    if _INPUT not in inputs or _OUTPUT not in outputs or not any(name.startswith(_CACHE) for name in inputs):
        taken, given = (", ".join(sorted(names)[:4]) or "nothing" for names in (inputs, outputs))
        raise CheckpointError(
            f"{path} takes {taken} and gives {given}; expected a decoder with {_INPUT}, {_CACHE}* and {_OUTPUT}, "
            "as 'optimum-cli export onnx --task text-generation-with-past' makes it"
        )
    return model
