"""``paceline run --chat``: a line of standard input is a turn, from a terminal or a pipe."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from paceline.commands.generating import stream
from paceline.console import note, print_json
from paceline.errors import PromptError

if TYPE_CHECKING:
    from paceline.runtime import Conversation, Generation, Model


def talk(model: Model, options: dict[str, Any], *, system: str | None, silent: bool) -> Iterator[Generation]:
    """Answer line after line and yield each answer when it is complete; empty lines are passed over.

    A turn that cannot be answered is said on stderr, with ``silent`` as a line of JSON too: whoever waits for an answer
    gets one. Ctrl-C ends an answer, not the conversation.

    Raises:
        PromptError: the model has no chat template.
    """
    from paceline.runtime import Conversation

    if not model.has_chat_template:
        raise PromptError("this model has no chat template, so it cannot chat; give it a PROMPT to continue")
    _line_editing()
    conversation = Conversation(model, system=system)
    while (line := _read_line(silent=silent)) is not None:
        if not line.strip():
            continue
        try:
            yield _answer(model, conversation, line, options, silent=silent)
        except PromptError as error:
            note(f"error: {error}")
            if silent:
                print_json({"error": str(error)}, line=True)


def _answer(
    model: Model, conversation: Conversation, line: str, options: dict[str, Any], *, silent: bool
) -> Generation:
    if conversation.turns and len(conversation.prompt(line)) > model.context:
        note(f"the conversation is longer than the context of {model.context} tokens; starting a new one")
        conversation.restart()
    generation = conversation.say(line, **options)
    try:
        stream(generation, silent=silent)
    except KeyboardInterrupt:
        note(" (stopped)")
        if not silent:
            sys.stdout.write("\n")
    return generation


def _read_line(*, silent: bool) -> str | None:
    try:
        return input("> " if sys.stdin.isatty() and not silent else "")
    except EOFError:
        return None


def _line_editing() -> None:
    # Importing readline is what gives input() a history; some builds of Python lack it.
    if importlib.util.find_spec("readline"):
        importlib.import_module("readline")
