"""What ``run`` and ``bench`` share: a bundle to load, a model made of options, prompts, text as it comes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from paceline.console import discard_stdout, progress, reader_is_gone
from paceline.errors import UsageError

if TYPE_CHECKING:
    from paceline.partition import Mapping
    from paceline.runtime import Generation, Message, Model


def as_folder(bundle: Path) -> Path:
    """``bundle``, or the folder that a packed one was unpacked into.

    Raises:
        PacelineError: as ``paceline.runtime.pack_cache.bundle_folder``.
    """
    from paceline.runtime.pack_cache import bundle_folder

    if not bundle.is_file():
        return bundle
    with progress() as report:
        return bundle_folder(bundle, report=report)


def parse_mapping(text: str) -> Mapping:
    """Read ``drafter=gpu,target=cpu``.

    Raises:
        UsageError: another form, or no target.
    """
    from paceline.partition import Mapping

    pairs = [part.partition("=") for part in text.split(",") if part]
    places = {role.strip(): unit.strip() for role, _, unit in pairs}
    if set(places) - {"target", "drafter"} or len(places) != len(pairs) or not all(places.values()):
        raise UsageError(f"cannot read the mapping {text!r}; expected for example target=cpu,drafter=gpu")
    if "target" not in places:
        raise UsageError(f"the mapping {text!r} names no unit for the target; add target=cpu or target=gpu")
    drafter = places.get("drafter")
    return Mapping(target=places["target"], drafter=None if drafter == "none" else drafter)


def open_model(bundle: Path, *, mapping: str | None, **options: Any) -> Model:
    """Load a bundle as the options say; ``options`` are those of ``paceline.runtime.load``.

    Raises:
        PacelineError: as ``paceline.runtime.load``.
    """
    from paceline.runtime import load

    chosen = parse_mapping(mapping) if mapping is not None else None
    return load(bundle, mapping=chosen, **options)


def as_prompt(model: Model, text: str, *, raw: bool, system: str | None = None) -> str | list[Message]:
    """A text as the model wants it: one turn of a conversation where there is a chat template, unless ``raw``.

    Raises:
        UsageError: a system message that has no place to go.
    """
    if raw or not model.has_chat_template:
        if system:
            raise UsageError("--system needs a model with a chat template, and no --raw")
        return text
    return [*opening(system), {"role": "user", "content": text}]


def opening(system: str | None) -> list[Message]:
    """The messages that a conversation begins with."""
    return [{"role": "system", "content": system}] if system else []


def stream(generation: Generation, *, silent: bool) -> None:
    """Generate all of it, printing the text as it comes, unless ``silent``; ends the command when nobody reads it."""
    try:
        for token in generation:
            if silent and reader_is_gone():
                raise BrokenPipeError
            _write("" if silent else token.text)
    except BrokenPipeError:
        discard_stdout()  # the reader has seen enough
        raise typer.Exit from None
    finally:
        generation.close()
        _write("" if silent else "\n")


def _write(text: str) -> None:
    if text:
        sys.stdout.write(text)
        sys.stdout.flush()
