"""A conversation as the text that a chat model was trained on, by the template that came with it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from paceline.errors import PromptError

# What code in a template can raise: it indexes, adds, divides and formats what it is given.
_IN_TEMPLATE = (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError)
Message = dict[str, str]
"""One turn: ``role`` (system, user, assistant) and ``content``."""


class ChatTemplate:
    """A model's jinja template; runs in a sandbox, for it is data from a download.

    Raises:
        PromptError: the template is no valid jinja.
    """

    def __init__(self, source: str, *, bos: str = "", eos: str = "") -> None:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = _tojson
        environment.globals.update(raise_exception=_refuse, strftime_now=_now)
        self._tokens = {"bos_token": bos, "eos_token": eos}
        try:
            self._template = environment.from_string(source)
        except TemplateError as error:
            raise PromptError(f"the chat template cannot be read: {error}; use the prompt as it is (--raw)") from error

    def render(self, messages: Sequence[Message]) -> str:
        """The text to continue with the assistant's answer.

        Raises:
            PromptError: no messages, or the template refuses them; says what it said.
        """
        if not messages:
            raise PromptError("there are no messages, expected at least one")
        try:
            return self._template.render(messages=list(messages), add_generation_prompt=True, **self._tokens)
        except _IN_TEMPLATE as error:
            raise PromptError(f"the chat template refuses these messages: {error}") from error


def _tojson(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
    # jinja's own escapes < and > for HTML, which no model was trained on.
    return json.dumps(value, ensure_ascii=ensure_ascii, **options)


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)


def _now(form: str) -> str:
    return datetime.now().strftime(form)
