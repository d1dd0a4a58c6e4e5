"""A bundle folder whose programs nobody reads, for the null device."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from paceline.costmodel import ModelSpec, Role, Rope
from paceline.files import describe, write_json
from paceline.partition import Bundle, BundledModel, TokenIds
from paceline.runtime.null_device import NULL_UNIT
from paceline.targets import Figure, Soc

VOCABULARY = 64


def _model(role: Role) -> BundledModel:
    spec = ModelSpec(
        name="null", family="llama", layers=1, hidden=8, heads=1, kv_heads=1, head_size=8, ffn=8,
        vocabulary=VOCABULARY, context=256, norm_epsilon=1e-5, rope=Rope(theta=1e4),
    )  # fmt: skip
    programs = {unit: f"{role}.f32.{unit}.vmfb" for unit in ("cpu", "gpu")}
    return BundledModel(
        role=role, spec=spec, precision="f32", weights=f"{role}.f32.irpa", weights_bytes=0, programs=programs
    )


@pytest.fixture(scope="session")
def letters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer.json of 64 single characters; id 0 is <bos>, id 1 is <eos>."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    characters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ .,:!?'-\n0"
    words = ["<bos>", "<eos>", *characters][:VOCABULARY]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="0"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(["<bos>", "<eos>"])
    path = tmp_path_factory.mktemp("letters") / "tokenizer.json"
    tokenizer.save(str(path))
    return path


@pytest.fixture
def null_bundle(tmp_path: Path, letters: Path) -> Callable[..., Path]:
    """Make a bundle folder for the null device; arguments replace fields of the ``Bundle``."""

    def make(*, drafter: bool = True, template: str | None = None, **fields: object) -> Path:
        folder = tmp_path / "bundle"
        folder.mkdir()
        (folder / "tokenizer.json").write_bytes(letters.read_bytes())
        if template is not None:
            (folder / "chat_template.jinja").write_text(template)
        models = tuple(_model(role) for role in (("target", "drafter") if drafter else ("target",)))
        for model in models:
            for name in (model.weights, *model.programs.values()):
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
