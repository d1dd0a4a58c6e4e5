"""A checkpoint of random weights with the tokenizer of a model package: a tiny pair for all mappings, or a bad drafter.

    .venv/bin/python benchmarks/random_model.py packages/smollm2 checkpoints/tiny --hidden 64 --layers 2
    paceline import checkpoints/tiny -o packages/tiny
    paceline compile --soc x86-swiftshader --target packages/tiny --drafter packages/tiny@int8 -o bundles/tiny

Weights are seeded and spread so that logits differ by several units: an argmax then does not hang on a rounding.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import torch
import transformers
from transformers import LlamaConfig

from paceline.compile import read_package

_TEXTS = ("tokenizer.json", "chat_template.jinja")


def make(package: Path, output: Path, *, hidden: int, layers: int, heads: int, seed: int) -> None:
    """Write a Hugging Face folder of a llama with the vocabulary, tokenizer and special tokens of ``package``."""
    made = read_package(package)
    config = LlamaConfig(
        vocab_size=made.spec.vocabulary,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=max(1, heads // 2),
        max_position_embeddings=made.spec.context,
        bos_token_id=made.tokens.bos,
        eos_token_id=list(made.tokens.eos),
        tie_word_embeddings=False,
    )
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    source = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(_weight(name, tuple(weight.shape), source))
    model.save_pretrained(output)
    for text in _TEXTS:
        if (package / text).is_file():
            shutil.copy(package / text, output / text)


def _weight(name: str, shape: tuple[int, ...], source: torch.Generator) -> torch.Tensor:
    noise = torch.randn(shape, generator=source)
    if "norm" in name:
        return 1.0 + 0.2 * noise
    return noise if "embed" in name else noise * ((4.0 if "lm_head" in name else 1.5) / shape[-1] ** 0.5)


def main() -> None:
    """Read the command line and write the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    make(
        options.package,
        options.output,
        hidden=options.hidden,
        layers=options.layers,
        heads=options.heads,
        seed=options.seed,
    )


if __name__ == "__main__":
    main()
