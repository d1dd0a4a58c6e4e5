"""A conversation in turns: the model reads only what is new at each.

The chat template renders a conversation as one text, and a tokenizer may cut an answer otherwise than the model wrote
it; the caches hold what it wrote. So earlier turns keep the ids that they were read and written with, and only the text
after them is tokenised.
"""

from __future__ import annotations

from typing import Any

from paceline.runtime.chat import Message
from paceline.runtime.generation import Generation
from paceline.runtime.model import Model


class Conversation:
    """Turns with one model: what was said, and the token ids behind it."""

    def __init__(self, model: Model, *, system: str | None = None) -> None:
        self._model = model
        self._opening = [Message(role="system", content=system)] if system else []
        self._answering: Generation | None = None
        self.restart()

    @property
    def messages(self) -> tuple[Message, ...]:
        """What was said so far; an answer that was broken off counts as far as it came."""
        answer = [] if self._answering is None else [Message(role="assistant", content=self._answering.text)]
        return (*self._messages, *answer)

    @property
    def turns(self) -> int:
        """How often something was said to the model."""
        return sum(message["role"] == "user" for message in self._messages)

    def restart(self) -> None:
        """Forget all turns but the system message."""
        self._messages, self._rendered, self._answering = list(self._opening), "", None

    def prompt(self, text: str) -> tuple[int, ...]:
        """Token ids of the conversation with ``text`` as its next turn.

        Raises:
            PromptError: the model has no chat template, or it refuses the turn.
        """
        return self._encoded(self._model.render(self._with(text)))

    def say(self, text: str, **options: Any) -> Generation:
        """The answer to ``text``; ``options`` are those of ``Model.generate``. An earlier answer ends where it is.

        Raises:
            PromptError: as ``prompt``, or the conversation is longer than the context; it is then as it was before.
            UsageError: an option out of its range.
        """
        if self._answering:
            self._answering.close()
        messages = self._with(text)
        rendered = self._model.render(messages)
        answering = self._model.generate(self._encoded(rendered), **options)
        self._messages, self._rendered, self._answering = messages, rendered, answering
        return answering

    def _with(self, text: str) -> list[Message]:
        return [*self.messages, Message(role="user", content=text)]

    def _encoded(self, rendered: str) -> tuple[int, ...]:
        """Ids of the rendered conversation, with those of the earlier turns where it goes on from them."""
        spoken, ids = self._spoken()
        rest = self._model.tokenize(rendered.removeprefix(spoken))
        # Only a special token is cut off alike whatever stands before it.
        goes_on = spoken and rendered.startswith(spoken) and rest and rest[0] in self._special
        return (*ids, *rest) if goes_on else self._model.tokenize(rendered)

    def _spoken(self) -> tuple[str, tuple[int, ...]]:
        """Text and ids up to the end of the last answer; empty where the ids are not those of the text."""
        answer = self._answering
        if answer is None or self._model.tokenizer.decode(answer.ids, skip_special_tokens=False) != answer.text:
            return "", ()
        return self._rendered + answer.text, (*answer.prompt, *answer.ids)

    @property
    def _special(self) -> frozenset[int]:
        return frozenset(self._model.tokenizer.get_added_tokens_decoder())
