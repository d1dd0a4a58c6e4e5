"""Prompts to measure with: a few generic ones, or the user's own from a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from paceline.errors import PromptError


@dataclass(frozen=True, slots=True)
class Prompt:
    """A user's message and the kind of task it is."""

    task: str
    text: str


BUILT_IN = (
    Prompt("coding", "Write a Python function that checks whether a string is a palindrome."),
    Prompt("translation", "Translate into German: The ferry to the island leaves every morning at eight."),
    Prompt("qa", "Why is the sky blue during the day and red at sunset?"),
    Prompt("summarization", "Summarize in one sentence: Bees visit flowers for nectar. While they drink, pollen sticks "
        "to their legs, and they carry it to the next flower, which can then make seeds."),
    Prompt("math", "A train travels 60 km in 45 minutes. How far does it travel in two hours? Explain each step."),
    Prompt("writing", "Write a short story about a lighthouse keeper who finds a letter in a bottle."),
)  # fmt: skip


class _Line(msgspec.Struct, frozen=True):
    """One line of JSON; fields of other names are ignored, so that Spec-Bench's files can be used as they are."""

    prompt: str = ""
    turns: tuple[str, ...] = ()
    category: str = "own"


def read_prompts(path: Path) -> tuple[Prompt, ...]:
    """Prompts of a file: JSON lines with ``prompt`` or ``turns`` (the first counts), or text with one prompt a line.

    Raises:
        PromptError: the file cannot be read, holds no prompt, or a line is damaged; names the line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors begin a file with a mark
    except OSError as error:
        raise PromptError(f"cannot read the prompts in {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise PromptError(f"{path} is not text in UTF-8 (byte {error.start}); save it as that") from error
    if text.lstrip().startswith("[") and _is_list(text):
        raise PromptError(f"{path} is one JSON list; write each of its prompts on a line of its own, as JSON or text")
    # not splitlines, for which a line also ends at characters that JSON has inside of texts
    numbered = ((number, line.strip()) for number, line in enumerate(text.split("\n"), 1))
    prompts = tuple(_prompt(path, number, line) for number, line in numbered if line)
    if not prompts:
        raise PromptError(f"{path} holds no prompt; write one on each line, as text or JSON")
    return prompts


def _is_list(text: str) -> bool:
    try:
        msgspec.json.decode(text, type=list[msgspec.Raw])
    except msgspec.DecodeError:
        return False
    return True


def _prompt(path: Path, number: int, line: str) -> Prompt:
    if not line.startswith("{"):
        return Prompt("own", line)
    try:
        parsed = msgspec.json.decode(line, type=_Line)
    except msgspec.DecodeError as error:
        raise PromptError(f"{path}, line {number}, is no prompt: {error}; write one JSON object a line") from error
    text = parsed.prompt or next(iter(parsed.turns), "")
    if not text:
        raise PromptError(f"{path}, line {number}, has neither 'prompt' nor 'turns'")
    return Prompt(parsed.category or _Line().category, text)
