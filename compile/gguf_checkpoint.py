"""A .gguf file as a checkpoint: everything, the tokenizer included, is in it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from paceline.compile.checkpoint import Checkpoint, check_tensors, place
from paceline.compile.families import family_of_gguf
from paceline.compile.family import Family, check_spec
from paceline.compile.gguf_file import GgufFile, open_gguf
from paceline.compile.gguf_tokenizer import gguf_tokenizer
from paceline.compile.gguf_weights import GgufWeights, maps_onto_int4
from paceline.compile.parameters import Matrix, matrix_of, parameters
from paceline.compile.rope import llama3_from_factors
from paceline.compile.settings import Settings
from paceline.compile.tokenizer_file import check_vocabulary, token_ids
from paceline.costmodel import ModelSpec
from paceline.errors import CheckpointError

_EMBEDDING, _HEAD, _ROPE = "token_embd.weight", "output.weight", "rope_freqs.weight"


def open_gguf_checkpoint(path: Path) -> Checkpoint:
    """Understand and check a .gguf file; reads its header and at most one small tensor.

    Raises:
        CheckpointError: damaged, cut, incomplete, in parts, or with settings that paceline cannot compute.
        UnknownArchitecture: of a family that paceline does not have.
    """
    file = open_gguf(path)
    general = Settings(values=file.metadata, where=str(path))
    family, spec = _described(file, general)
    check_tensors(GgufWeights(file, family, spec), spec, str(path))
    made = gguf_tokenizer(file.metadata, path)
    tokens = token_ids(made.tokenizer, bos=made.bos, add_bos=made.add_bos, eos=made.eos)
    check_vocabulary(made.tokenizer, tokens, spec, where=str(path))
    return Checkpoint(
        spec=spec,
        format="gguf",
        tokenizer=made.tokenizer.to_str(),
        chat_template=general.text("tokenizer.chat_template", "") or None,
        tokens=tokens,
        write=lambda folder, progress: place((path,), folder, progress),
    )


def read_gguf_spec(path: Path) -> ModelSpec:
    """What a .gguf file's header says of its model.

    Raises:
        CheckpointError: damaged, cut, in parts, or with settings that paceline cannot compute.
        UnknownArchitecture: of a family that paceline does not have.
    """
    file = open_gguf(path)
    return _described(file, Settings(values=file.metadata, where=str(path)))[1]


def _described(file: GgufFile, general: Settings) -> tuple[Family, ModelSpec]:
    general.refuse("split.count", (0, 1))
    architecture = general.text("general.architecture")
    family = family_of_gguf(architecture)
    settings = Settings(values=file.metadata, where=general.where, prefix=architecture + ".")
    spec = _with_tensors(family.from_gguf(settings, general.text("general.name", file.path.stem)), file, settings)
    check_spec(spec, general.where)
    return family, msgspec.structs.replace(spec, exact_int4=_exact(family, spec, file))


def _exact(family: Family, spec: ModelSpec, file: GgufFile) -> tuple[str, ...]:
    """Names of attention's matrices of which all tensors are int4 already."""
    int4 = {name for name, tensor in file.tensors.items() if maps_onto_int4(tensor)}
    matrices = (entry for entry in parameters(spec, 1, traced=False) if isinstance(entry, Matrix))
    kept = (matrix for matrix in matrices if matrix_of(matrix.name) in ("qkv", "o"))
    return tuple(matrix.name for matrix in kept if {family.gguf_name(name) for name in matrix.sources} <= int4)


def _with_tensors(spec: ModelSpec, file: GgufFile, settings: Settings) -> ModelSpec:
    # A GGUF says by its tensors what config.json says in words: tying, vocabulary, the frequencies of Llama 3.
    if _EMBEDDING not in file.tensors:
        raise CheckpointError(f"{file.path} has no tensor {_EMBEDDING!r}; it holds no whole model")
    vocabulary, rope = file.tensors[_EMBEDDING].shape[0], spec.rope
    settings.refuse("vocab_size", (vocabulary,))
    if _ROPE in file.tensors:
        if file.tensors[_ROPE].shape != (spec.head_size // 2,):
            raise CheckpointError(f"{file.path}: {_ROPE} has shape {file.tensors[_ROPE].shape}, expected half a head")
        rope = llama3_from_factors(rope, np.asarray(file.read(_ROPE)), str(file.path))
    return msgspec.structs.replace(spec, vocabulary=vocabulary, rope=rope, tied=_HEAD not in file.tensors)
