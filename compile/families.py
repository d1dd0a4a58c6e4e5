"""The table of model families: a new one is a file and a row."""

from __future__ import annotations

from paceline.compile.family import Family
from paceline.compile.gemma3 import GEMMA3
from paceline.compile.llama import LLAMA
from paceline.compile.qwen2 import QWEN2
from paceline.compile.qwen3 import QWEN3
from paceline.errors import UnknownArchitecture

FAMILIES: tuple[Family, ...] = (LLAMA, QWEN2, QWEN3, GEMMA3)


def family(name: str) -> Family:
    """The family of that name.

    Raises:
        UnknownArchitecture: no such row.
    """
    found = next((row for row in FAMILIES if row.name == name), None)
    if found is None:
        raise UnknownArchitecture(name, [row.name for row in FAMILIES])
    return found


def family_of_config(model_type: str) -> Family:
    """The family of a ``model_type`` of config.json.

    Raises:
        UnknownArchitecture: no row has it.
    """
    found = next((row for row in FAMILIES if model_type in row.model_types), None)
    if found is None:
        raise UnknownArchitecture(model_type, [kind for row in FAMILIES for kind in row.model_types])
    return found


def family_of_gguf(architecture: str) -> Family:
    """The family of a GGUF's ``general.architecture``.

    Raises:
        UnknownArchitecture: no row has it.
    """
    found = next((row for row in FAMILIES if architecture in row.architectures), None)
    if found is None:
        raise UnknownArchitecture(architecture, [kind for row in FAMILIES for kind in row.architectures])
    return found
