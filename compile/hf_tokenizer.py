"""tokenizer.json, special ids and chat template of a Hugging Face folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from paceline.compile.settings import Settings, read_settings
from paceline.compile.tokenizer_file import check_vocabulary, parse_tokenizer, token_ids
from paceline.costmodel import ModelSpec
from paceline.errors import CheckpointError
from paceline.partition import TokenIds


@dataclass(frozen=True, kw_only=True)
class HfTokenizer:
    """The text of tokenizer.json, special ids, and the chat template where there is one."""

    text: str
    tokens: TokenIds
    chat_template: str | None


def read_tokenizer(folder: Path, spec: ModelSpec) -> HfTokenizer:
    """Read and check the tokenizer of a folder.

    Raises:
        CheckpointError: no tokenizer.json, a damaged one, or one that does not belong to ``spec``.
    """
    path = folder / "tokenizer.json"
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise CheckpointError(
            f"{path} is missing; make it with AutoTokenizer.from_pretrained(...).save_pretrained({str(folder)!r})"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
    tokenizer = parse_tokenizer(text, where=str(path))
    settings = _optional(folder / "tokenizer_config.json")
    tokens = _special_ids(folder, tokenizer, settings)
    check_vocabulary(tokenizer, tokens, spec, where=str(folder))
    return HfTokenizer(text=text, tokens=tokens, chat_template=_chat_template(folder, settings))


def _optional(path: Path) -> Settings:
    return read_settings(path) if path.is_file() else Settings(values={}, where=str(path))


def _special_ids(folder: Path, tokenizer: Tokenizer, settings: Settings) -> TokenIds:
    named: list[object] = [_named(tokenizer, settings, "eos_token")]
    for file in ("config.json", "generation_config.json"):
        value = _optional(folder / file).values.get("eos_token_id")
        named.extend(value if isinstance(value, list) else [value])
    add_bos = settings.flag("add_bos_token", False) if "add_bos_token" in settings else None
    eos = [end for end in named if isinstance(end, int) and end >= 0]
    return token_ids(tokenizer, bos=_named(tokenizer, settings, "bos_token"), add_bos=add_bos, eos=eos)


def _named(tokenizer: Tokenizer, settings: Settings, key: str) -> int | None:
    value = settings.values.get(key)
    content = value.get("content") if isinstance(value, dict) else value
    return tokenizer.token_to_id(content) if isinstance(content, str) else None


def _chat_template(folder: Path, settings: Settings) -> str | None:
    if (folder / "chat_template.jinja").is_file():
        return (folder / "chat_template.jinja").read_text(encoding="utf-8")
    if (folder / "chat_template.json").is_file():
        return read_settings(folder / "chat_template.json").text("chat_template")
    value = settings.values.get("chat_template")
    if isinstance(value, list):
        named = {entry.get("name"): entry.get("template") for entry in value if isinstance(entry, dict)}
        value = named.get("default")
    return value if isinstance(value, str) else None
