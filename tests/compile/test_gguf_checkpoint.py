"""GGUF files: the same tensors as the Hugging Face checkpoint that they were made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from gguf.constants import GGMLQuantizationType

from paceline.compile import open_weights, read_package
from paceline.compile.families import family_of_gguf
from paceline.compile.gguf_checkpoint import _exact, open_gguf_checkpoint, read_gguf_spec
from paceline.compile.gguf_file import open_gguf
from paceline.compile.gguf_weights import GgufWeights
from paceline.compile.int4 import dequantise
from paceline.compile.package import Weights
from paceline.errors import CheckpointError, UnknownArchitecture

FAMILIES = ["llama", "llama3", "mistral", "qwen2", "qwen3", "gemma3"]
# Largest error of a type, relative to the largest weight of the tensor.
ERRORS = {"F32": 0.0, "F16": 1e-3, "BF16": 8e-3, "Q8_0": 8e-3, "Q5_1": 0.05, "Q5_0": 0.08, "Q4_1": 0.1, "Q4_0": 0.15}


def weights_of(path: Path) -> Weights:
    """Weights of a GGUF without importing it."""
    file, spec = open_gguf(path), open_gguf_checkpoint(path).spec
    return GgufWeights(file, family_of_gguf(str(file.metadata["general.architecture"])), spec)


@pytest.mark.parametrize("family", FAMILIES)
def test_gguf_equals_hugging_face(
    tiny_gguf: Callable[..., Path], tiny_package: Callable[..., Path], family: str
) -> None:
    folder = tiny_package(family)
    package = read_package(folder)
    expected, found = open_weights(folder, package), weights_of(tiny_gguf(family))
    assert found.names() == expected.names()
    for name in expected.names():
        np.testing.assert_array_equal(found.read(name), expected.read(name), err_msg=name)


@pytest.mark.parametrize("family", ["llama", "llama3", "mistral", "qwen2", "qwen3"])
def test_spec_equals_hugging_face(
    tiny_gguf: Callable[..., Path], tiny_package: Callable[..., Path], family: str
) -> None:
    expected = read_package(tiny_package(family)).spec
    path = tiny_gguf(family)
    found = open_gguf_checkpoint(path).spec
    assert msgspec.structs.replace(found, name="") == msgspec.structs.replace(expected, name="")
    assert read_gguf_spec(path) == found


def test_gemma_keeps_its_layers_and_both_ropes(
    tiny_gguf: Callable[..., Path], tiny_package: Callable[..., Path]
) -> None:
    expected = read_package(tiny_package("gemma3")).spec
    found = open_gguf_checkpoint(tiny_gguf("gemma3")).spec
    # A GGUF has no place for query_pre_attn_scalar: the scale falls back to 1 / sqrt(head_size).
    assert msgspec.structs.replace(found, name="", attention_scale=expected.attention_scale) == (
        msgspec.structs.replace(expected, name="")
    )
    assert found.attention_scale == 0.0


@pytest.mark.parametrize("kind", list(ERRORS))
def test_quantised_types_decode(tiny_gguf: Callable[..., Path], tiny_package: Callable[..., Path], kind: str) -> None:
    folder = tiny_package("llama")
    expected, found = open_weights(folder, read_package(folder)), weights_of(tiny_gguf("llama", kind=kind))
    for name in expected.names():
        wanted, read = expected.read(name), found.read(name)
        assert np.abs(read - wanted).max() <= ERRORS[kind] * np.abs(wanted).max(), name


WIDE = {"hidden_size": 256, "intermediate_size": 512, "head_dim": 64}  # Q4_K has 256 columns a block


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_q4_k_is_handed_out_as_it_is(tiny_gguf: Callable[..., Path], family: str) -> None:
    weights = weights_of(tiny_gguf(family, kind="Q4_K", **WIDE))
    for name in weights.names():
        blocks = weights.blocks(name)
        if blocks is None:
            assert len(weights.shape(name)) == 1
        else:
            np.testing.assert_array_equal(dequantise(blocks), weights.read(name), err_msg=name)


def test_attention_that_is_four_bits_already_is_named(tiny_gguf: Callable[..., Path]) -> None:
    whole = read_gguf_spec(tiny_gguf("llama", kind="Q4_K", **WIDE)).exact_int4
    assert "layers.0.qkv" in whole and "layers.0.o" in whole
    assert not read_gguf_spec(tiny_gguf("llama", kind="Q4_0")).exact_int4


def test_a_matrix_is_four_bits_only_where_all_of_its_tensors_are(tiny_gguf: Callable[..., Path]) -> None:
    path = tiny_gguf("llama", kind="Q4_K", **WIDE)
    file, spec, family = open_gguf(path), read_gguf_spec(path), family_of_gguf("llama")
    value = replace(file.tensors["blk.0.attn_v.weight"], kind=GGMLQuantizationType.Q6_K)
    mixed = replace(file, tensors={**file.tensors, "blk.0.attn_v.weight": value})
    assert set(spec.exact_int4) - set(_exact(family, spec, mixed)) == {"layers.0.qkv"}


def test_other_types_are_no_blocks(tiny_gguf: Callable[..., Path]) -> None:
    weights = weights_of(tiny_gguf("llama", kind="Q4_0"))
    assert all(weights.blocks(name) is None for name in weights.names())


def test_every_type_that_gguf_decodes_is_read(tmp_path: Path) -> None:
    import gguf

    random = np.random.default_rng(0)
    path, written = tmp_path / "types.gguf", {}
    writer = gguf.GGUFWriter(str(path), "llama")
    for kind, (block, size) in gguf.GGML_QUANT_SIZES.items():
        rows = random.integers(0, 60, (4, 512 // block * size), dtype=np.uint8)
        try:
            written[kind.name] = gguf.quants.dequantize(rows, kind)
        except NotImplementedError:
            continue
        writer.add_tensor(kind.name, rows, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    file = open_gguf(path)
    assert len(written) > 20
    for name, expected in written.items():
        assert file.tensors[name].shape == (4, 512)
        np.testing.assert_array_equal(file.read(name), expected.reshape(4, 512), err_msg=name)


def test_a_type_without_a_decoder_is_named(tmp_path: Path) -> None:
    import gguf

    path, kind = tmp_path / "integers.gguf", gguf.GGMLQuantizationType.I32
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_tensor("numbers", np.zeros((2, 2), dtype=np.int32), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(CheckpointError, match=r"'numbers' is of type I32"):
        open_gguf(path)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"llama.attention.head_count": None}, "head_count is missing"),
        ({"llama.attention.head_count": 5}, r"key-value heads"),
        ({"llama.rope.freq_base": float("nan")}, "freq_base is nan"),
        ({"llama.attention.layer_norm_rms_epsilon": float("inf")}, "epsilon is inf"),
        ({"llama.block_count": 3}, r"no tensor 'blk\.2\.attn_norm\.weight'"),
        ({"llama.block_count": 2**31}, "block_count is 2147483648"),
        ({"llama.feed_forward_length": 96}, r"layers\.0\.gate\.weight has shape \(128, 64\)"),
        ({"llama.vocab_size": 99}, "vocab_size is 99"),
        ({"llama.rope.scaling.type": "yarn"}, "type is 'yarn'"),
        ({"llama.rope.dimension_count": 8}, "dimension_count is 8"),
        ({"llama.expert_count": 8}, "expert_count is 8"),
        ({"split.count": 2}, r"split\.count is 2"),
    ],
)
def test_settings_that_cannot_be_computed_are_named(
    tiny_gguf: Callable[..., Path], metadata: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        open_gguf_checkpoint(tiny_gguf("llama", metadata=metadata))


def test_an_unknown_architecture_lists_the_known_ones(tmp_path: Path) -> None:
    import gguf

    writer = gguf.GGUFWriter(str(tmp_path / "x.gguf"), "mamba")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(UnknownArchitecture, match=r"'mamba'; paceline knows llama, qwen2, qwen3, gemma3"):
        open_gguf_checkpoint(tmp_path / "x.gguf")
