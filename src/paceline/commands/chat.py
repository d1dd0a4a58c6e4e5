"""``paceline run --chat``: a line of standard input is a turn, from a terminal or a pipe."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from paceline.commands.generating import stream
from paceline.console import note, print_json
from paceline.errors import PromptError, Terminated
from paceline.interrupts import surviving_ctrl_c

if TYPE_CHECKING:
    from paceline.runtime import Conversation, Generation, Model


def talk(model: Model, options: dict[str, Any], *, system: str | None, silent: bool) -> Iterator[Generation]:
    """Answer line after line and yield each answer when it is complete; empty lines are passed over.

    A turn that cannot be answered is said on stderr, with ``silent`` as a line of JSON too: whoever waits for an answer
    gets one. Ctrl-C ends an answer, not the conversation; SIGTERM ends both, and the answer so far is yielded.

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
            answer = _begin(model, conversation, line, options)
        except PromptError as error:
            note(f"error: {error}")
            if silent:
                print_json({"error": str(error)}, line=True)
            continue
        interrupt = _interruption(answer, silent=silent)
        yield answer
        if isinstance(interrupt, Terminated):
            raise interrupt


def _begin(model: Model, conversation: Conversation, line: str, options: dict[str, Any]) -> Generation:
    if conversation.turns and len(conversation.prompt(line)) > model.context:
        note(f"the conversation is longer than the context of {model.context} tokens; starting a new one")
        conversation.restart()
    return conversation.say(line, **options)


def _interruption(answer: Generation, *, silent: bool) -> KeyboardInterrupt | None:
    """Stream ``answer``; what ended it before its end."""
    try:
        with surviving_ctrl_c():
            stream(answer, silent=silent)
    except KeyboardInterrupt as interrupt:
        note("(stopped)")
        return interrupt
    return None


def _read_line(*, silent: bool) -> str | None:
    try:
        return input("> " if sys.stdin.isatty() and not silent else "")
    except EOFError:
        return None


def _line_editing() -> None:
    # Importing readline is what gives input() a history; some builds of Python lack it.
    if importlib.util.find_spec("readline"):
        importlib.import_module("readline")
