"""Shapes of well-known models, which ship as data: enough to ask what a model would do without having it.

A model is ``models/<name>.toml`` beside this module: a ``ModelSpec``, and in a comment where its figures are from.
"""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path

import msgspec

from paceline.costmodel.model_spec import ModelSpec
from paceline.documents import read_json
from paceline.errors import PackageError, UnknownModel

_FOLDER = files("paceline.costmodel") / "models"
_TUNED = ("-instruct", "-it", "-chat")  # training does not change a shape


def known_models() -> tuple[str, ...]:
    """Names that ``known_model`` takes, sorted."""
    names = (entry.name for entry in _FOLDER.iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml")))


def known_model(name: str) -> ModelSpec | None:
    """The model of that name, None where there is none.

    Case does not matter, and neither do an owner in front nor ``-instruct`` behind: hub ids work as they are.
    """
    short = name.lower().rpartition("/")[2]
    for suffix in _TUNED:
        short = short.removesuffix(suffix)
    if short not in known_models():
        return None
    return msgspec.convert(tomllib.loads((_FOLDER / f"{short}.toml").read_text()), ModelSpec)


class PackageSpec(msgspec.Struct, frozen=True):
    """The part of a model package's manifest that says what the model is."""

    spec: ModelSpec


def find_model(name_or_path: str) -> ModelSpec:
    """The model of a folder that ``paceline import`` made, or a known one; a folder that is there wins over a name.

    Raises:
        UnknownModel: neither.
        PackageError: the folder's manifest is damaged.
    """
    manifest = Path(name_or_path) / "package.json"
    if manifest.is_file():
        return read_json(manifest, PackageSpec, error=PackageError).spec
    if (found := known_model(name_or_path)) is None:
        raise UnknownModel(name_or_path, known_models())
    return found
