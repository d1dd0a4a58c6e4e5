"""Tiny GGUF and ONNX files with the weights of the tiny checkpoints, written the way their own tools write them."""

from __future__ import annotations

import functools
import itertools
import json
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

_ARCHITECTURES = {"llama": "llama", "llama3": "llama", "mistral": "llama"}
_NORMAL, _CONTROL, _UNUSED = 1, 3, 5


def hf_tensors(folder: Path) -> dict[str, NDArray[np.float32]]:
    """Every tensor of a tiny checkpoint, read by the safetensors package."""
    from safetensors.numpy import load_file

    return dict(load_file(str(folder / "model.safetensors")))


@pytest.fixture(scope="session")
def read_hf() -> Callable[[Path], dict[str, NDArray[np.float32]]]:
    """``hf_tensors`` as a fixture."""
    return hf_tensors


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Any) -> Callable[..., Path]:
    """``tiny_gguf(family, kind="F32", metadata={...}, **overrides)``: the tiny checkpoint as a GGUF.

    ``kind`` is a type of gguf.quants for matrices (Q4_K: random ones); ``metadata`` replaces keys, None leaves one out.
    """
    counter = itertools.count()

    def make(family: str, *, kind: str = "F32", metadata: dict[str, Any] | None = None, **overrides: Any) -> Path:
        path = tmp_path_factory.mktemp("gguf") / f"{family}-{kind.lower()}-{next(counter)}.gguf"
        write_gguf(path, family, tiny_checkpoint(family, **overrides), kind, metadata or {})
        return path

    return make


def write_gguf(path: Path, family: str, checkpoint: Path, kind: str, metadata: dict[str, Any]) -> None:
    """Write a tiny checkpoint as llama.cpp's converter would: its names, its row order, its 1 + w."""
    import gguf

    config = json.loads((checkpoint / "config.json").read_text())
    architecture = _ARCHITECTURES.get(family, family)
    writer = gguf.GGUFWriter(str(path), architecture)
    _write_metadata(writer, architecture, config, checkpoint, metadata)
    row = next(arch for arch, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    names = gguf.get_tensor_name_map(row, config["num_hidden_layers"])
    for name, weight in _gguf_tensors(architecture, config, checkpoint):
        stored = names.get_name(name, try_suffixes=(".weight", ".bias")) or name
        wanted = gguf.GGMLQuantizationType[kind if weight.ndim == 2 else "F32"]
        raw = random_q4_k(*weight.shape) if wanted.name == "Q4_K" else gguf.quants.quantize(weight, wanted)
        writer.add_tensor(stored, raw, raw_dtype=wanted)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def random_q4_k(rows: int, columns: int, seed: int = 0) -> NDArray[np.uint8]:
    """Random bytes [rows, bytes] with finite halves of both signs: gguf decodes this type and cannot write it."""
    random = np.random.default_rng(seed)
    raw = random.integers(0, 256, (rows, columns // 256, 144), dtype=np.uint8)
    raw[..., :4] = random.standard_normal((rows, columns // 256, 2)).astype(np.float16).view(np.uint8)
    return raw.reshape(rows, -1)


@pytest.fixture(scope="session")
def q4_k() -> Callable[..., NDArray[np.uint8]]:
    """``random_q4_k`` as a fixture."""
    return random_q4_k


def _gguf_tensors(
    architecture: str, config: dict[str, Any], checkpoint: Path
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    for name, weight in hf_tensors(checkpoint).items():
        projection = name.split(".")[-2]
        if architecture == "llama" and projection in heads:
            yield name, _permuted(weight, heads[projection])
        elif architecture == "gemma3" and name.endswith("norm.weight"):
            yield name, weight + 1
        else:
            yield name, weight
    if config["rope_parameters"].get("rope_type") == "llama3":
        yield "rope_freqs.weight", _rope_divisors(config["rope_parameters"], config["head_dim"])


def _permuted(weight: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(weight.shape))


def _rope_divisors(rope: dict[str, Any], head_size: int) -> NDArray[np.float32]:
    divisors = []
    original, factor = rope["original_max_position_embeddings"], rope["factor"]
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    for index in range(0, head_size, 2):
        wavelength = 2 * math.pi * rope["rope_theta"] ** (index / head_size)
        smooth = (original / wavelength - low) / (high - low)
        if wavelength < original / high:
            divisors.append(1.0)
        elif wavelength > original / low:
            divisors.append(factor)
        else:
            divisors.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(divisors, dtype=np.float32)


def _write_metadata(
    writer: Any, architecture: str, config: dict[str, Any], checkpoint: Path, changes: dict[str, Any]
) -> None:
    rope = config["rope_parameters"]
    full = rope.get("full_attention", rope)
    values: dict[str, Any] = {
        "general.name": f"tiny {architecture}",
        f"{architecture}.block_count": config["num_hidden_layers"],
        f"{architecture}.context_length": config["max_position_embeddings"],
        f"{architecture}.embedding_length": config["hidden_size"],
        f"{architecture}.feed_forward_length": config["intermediate_size"],
        f"{architecture}.attention.head_count": config["num_attention_heads"],
        f"{architecture}.attention.head_count_kv": config["num_key_value_heads"],
        f"{architecture}.attention.key_length": config["head_dim"],
        f"{architecture}.attention.value_length": config["head_dim"],
        f"{architecture}.attention.layer_norm_rms_epsilon": config["rms_norm_eps"],
        f"{architecture}.rope.freq_base": full["rope_theta"],
        **_tokenizer_metadata(checkpoint),
    }
    if full["rope_type"] == "linear":
        values[f"{architecture}.rope.scaling.type"] = "linear"
        values[f"{architecture}.rope.scaling.factor"] = full["factor"]
    if architecture == "gemma3":
        values["gemma3.attention.sliding_window"] = config["sliding_window"]
        values["gemma3.attention.sliding_window_pattern"] = 2
    for key, value in {**values, **changes}.items():
        if value is not None:
            _add(writer, key, value)


def _add(writer: Any, key: str, value: Any) -> None:
    kinds = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
    kinds.get(type(value), writer.add_array)(key, value)


def _tokenizer_metadata(checkpoint: Path) -> dict[str, Any]:
    table = json.loads((checkpoint / "tokenizer.json").read_text())
    tokens = sorted(table["model"]["vocab"], key=table["model"]["vocab"].get)
    special = {token["content"] for token in table["added_tokens"]}
    rows = json.loads((checkpoint / "config.json").read_text())["vocab_size"]
    padding = [f"[PAD{index}]" for index in range(len(tokens), rows)]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": tokens + padding,
        "tokenizer.ggml.token_type": [_CONTROL if token in special else _NORMAL for token in tokens]
        + [_UNUSED] * len(padding),
        "tokenizer.ggml.merges": [" ".join(pair) for pair in table["model"]["merges"]],
        "tokenizer.ggml.bos_token_id": tokens.index("<|bos|>"),
        "tokenizer.ggml.eos_token_id": tokens.index("<|eos|>"),
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": json.loads((checkpoint / "tokenizer_config.json").read_text())["chat_template"],
    }


@pytest.fixture(scope="session")
def tiny_onnx(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Any) -> Callable[..., Path]:
    """``tiny_onnx(family, external=False)``: a folder as optimum exports it, with the nodes that carry weights."""

    @functools.cache
    def make(family: str, *, external: bool = False) -> Path:
        folder = tmp_path_factory.mktemp(f"{family}-onnx-")
        checkpoint = tiny_checkpoint(family)
        for name in ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"):
            shutil.copy(checkpoint / name, folder / name)
        write_onnx(folder / "model.onnx", hf_tensors(checkpoint), gemma=family == "gemma3", external=external)
        return folder

    return make


def write_onnx(path: Path, tensors: dict[str, NDArray[np.float32]], *, gemma: bool, external: bool) -> None:
    """A graph with optimum's names: folded [in, out] matrices on MatMul nodes, other weights under their own names."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes, initialisers = [], []
    tied = "lm_head.weight" not in tensors
    for index, (name, weight) in enumerate(tensors.items()):
        module = "/" + name.removesuffix(".weight").replace(".", "/").replace("layers/", "layers.")
        folded = gemma and name.endswith("norm.weight")
        matrix = weight.ndim == 2 and "embed" not in name
        stored = f"onnx::{'MatMul' if matrix else 'Mul'}_{700 + index}" if matrix or folded else name
        array = np.ascontiguousarray(weight.T) if matrix else weight + 1 if folded else weight
        initialisers.append(numpy_helper.from_array(array, stored))
        if matrix:
            nodes.append(helper.make_node("MatMul", ["x", stored], [f"{module}/out"], name=f"{module}/MatMul"))
        elif name.endswith("norm.weight"):
            nodes.append(helper.make_node("Mul", [stored, "x"], [f"{module}/out"], name=f"{module}/Mul_1"))
    if tied:
        nodes.append(
            helper.make_node("Transpose", ["model.embed_tokens.weight"], ["turned"], name="/lm_head/Transpose")
        )
        nodes.append(helper.make_node("MatMul", ["x", "turned"], ["logits"], name="/lm_head/MatMul"))
    values = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        for name in ("input_ids", "attention_mask", "past_key_values.0.key", "past_key_values.0.value", "logits")
    }
    output = values.pop("logits")
    graph = helper.make_graph(nodes, "main_graph", list(values.values()), [output], initializer=initialisers)
    model = helper.make_model(graph)
    options = {"all_tensors_to_one_file": True, "location": "model.onnx_data", "size_threshold": 0}
    onnx.save(model, str(path), save_as_external_data=external, **(options if external else {}))


@pytest.fixture(scope="session")
def torch_decoder() -> Callable[..., Any]:
    """``torch_decoder(package, precision, context=...)``: our decoder in torch, of an archive's bytes.

    Calling it with tokens gives (ids [n], logits [n, vocabulary]) as arrays, from position 0.
    """
    torch = pytest.importorskip("torch")
    from paceline.compile.archive import stored_blocks
    from paceline.compile.decoder import Decoder
    from paceline.compile.package import open_weights, read_package
    from paceline.compile.parameters import parameters

    def make(
        folder: Path, precision: Any, *, context: int = 64, decoder: type[Decoder] = Decoder
    ) -> Callable[..., Any]:
        package = read_package(folder)
        spec, weights = package.spec, open_weights(folder, package)
        model = decoder(spec, precision, context)
        stored: dict[str, list[NDArray[Any]]] = {}
        for parameter in parameters(spec, context):
            for parts in stored_blocks(parameter, weights, precision):
                for name, values in parts.items():
                    stored.setdefault(name, []).append(values)
        for name, blocks in stored.items():
            joined = torch.from_numpy(np.concatenate(blocks).copy())
            own = model.get_parameter(name)
            own.data.copy_(joined.view(own.dtype) if own.dtype == torch.int32 else joined)

        def run(tokens: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
            caches = [torch.zeros(spec.layers, spec.kv_heads, model.capacity, spec.head_size) for _ in range(2)]
            with torch.no_grad():
                ids, logits = model(torch.from_numpy(tokens), torch.zeros(2, dtype=torch.int32), *caches)
            return ids.numpy(), logits.numpy()

        return run

    return make


@pytest.fixture(scope="session")
def reference_logits(tiny_checkpoint: Any) -> Callable[..., NDArray[np.float32]]:
    """``reference_logits(family, tokens)``: logits [n, vocabulary] of transformers in f32."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")

    @functools.cache
    def model(family: str) -> Any:
        return transformers.AutoModelForCausalLM.from_pretrained(tiny_checkpoint(family), dtype=torch.float32).eval()

    def run(family: str, tokens: NDArray[np.int32]) -> NDArray[np.float32]:
        with torch.no_grad():
            logits: NDArray[np.float32] = model(family)(torch.from_numpy(tokens[None]).long()).logits[0].numpy()
        return logits

    return run
