"""SmolLM2 on the CPU: speculation changes no token, and the tokens are those of transformers."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from paceline.partition import Mapping
from paceline.runtime import Model, load

pytestmark = pytest.mark.real
SHARED = Path(os.environ.get("PACELINE_SHARED", Path(__file__).resolve().parents[3] / "shared"))
CATEGORIES = ("translation", "coding", "math_reasoning", "qa")
TOKENS = 64


def questions() -> list[str]:
    """Three questions of each of four categories of Spec-Bench."""
    file = SHARED / "data" / "spec_bench_dev.jsonl"
    if not file.is_file():
        pytest.skip(f"{file} is missing; set PACELINE_SHARED to the folder that has data/{file.name}")
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [text for name in CATEGORIES for text in [x["turns"][0] for x in lines if x["category"] == name][:3]]


@pytest.fixture(scope="module")
def model(smollm2_bundle: Path) -> Iterator[Model]:
    with load(smollm2_bundle, mapping=Mapping(target="cpu", drafter="cpu")) as model:
        yield model


def test_speculative_texts_are_the_plain_ones(model: Model) -> None:
    prompts = [[{"role": "user", "content": text}] for text in questions()]
    assert len(prompts) == 12
    for number, prompt in enumerate(prompts):
        plain = model.generate(prompt, max_new_tokens=TOKENS, draft_length=0).finish()
        length = (2, 4, 7)[number % 3]
        found = model.generate(prompt, max_new_tokens=TOKENS, draft_length=length).finish()
        assert found.ids == plain.ids, f"prompt {number}, draft length {length}"
        assert found.text == plain.text
        assert found.stats.drafted_tokens > 0


@pytest.fixture(scope="module")
def reference(smollm2_checkpoint: Path) -> Any:
    """The same checkpoint in transformers, f32."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    config = transformers.AutoConfig.from_pretrained(smollm2_checkpoint.parent, gguf_file=smollm2_checkpoint.name)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    # from_pretrained would do the same, but insists on accelerate being installed.
    reader = importlib.import_module("transformers.modeling_gguf_pytorch_utils")
    tensors = reader.load_gguf_checkpoint(str(smollm2_checkpoint), return_tensors=True, model_to_load=model)["tensors"]
    missing = model.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, strict=False)
    assert not missing.unexpected_keys
    assert set(missing.missing_keys) <= {"lm_head.weight"}
    model.tie_weights()
    return model


@pytest.mark.parametrize(
    "prompt",
    [
        "The capital of France is",
        "def fibonacci(n):\n",
        "Once upon a time, in a village by the sea,",
        "Water boils at 100 degrees Celsius because",
    ],
)
def test_greedy_continuation_equals_transformers(model: Model, reference: Any, prompt: str) -> None:
    torch = pytest.importorskip("torch")
    found = model.generate(prompt, max_new_tokens=32, draft_length=0, ignore_eos=True).finish()
    # One pass over prompt and answer: if each answered token is the likeliest after all before it, so is the answer.
    text = torch.tensor([[*found.prompt, *found.ids]])
    with torch.no_grad():
        likeliest = reference(text).logits[0].argmax(-1).tolist()
    assert list(found.ids) == likeliest[len(found.prompt) - 1 : -1]
    assert len(found.ids) == 32
