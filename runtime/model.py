"""A bundle made ready to generate: programs loaded, tokenizer and chat template at hand."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from types import TracebackType

from tokenizers import Tokenizer

from paceline.costmodel import Role
from paceline.encoding import as_utf8
from paceline.errors import DeviceLost, PromptError, UsageError
from paceline.partition import Bundle
from paceline.partition.plan import NGRAM
from paceline.runtime.chat import ChatTemplate, Message
from paceline.runtime.drafters import Drafter, ModelDrafter, NgramDrafter, NoDrafter
from paceline.runtime.fallback import PlannedPace, Standby, moved, undrafted
from paceline.runtime.generation import Generation
from paceline.runtime.pace import AdaptivePace, DraftLength, Pace
from paceline.runtime.program import Program
from paceline.runtime.record import Fallback
from paceline.runtime.sampling import Sampling
from paceline.runtime.session import Session
from paceline.runtime.setting import Setting
from paceline.runtime.speculate import Request
from paceline.runtime.text import encode

_FAR = 4  # contexts; a conversation, a new turn and their template are fewer together


class Model:
    """A target and its drafter, loaded. Use as a context manager, or call ``close``.

    With a ``standby`` it goes on when a device is lost; ``fallbacks`` then has what happened, and ``setting`` and
    ``devices`` what is used since.
    """

    def __init__(
        self,
        bundle: Bundle,
        setting: Setting,
        *,
        target: Program,
        drafter: Program | None,
        tokenizer: Tokenizer,
        template: str | None = None,
        devices: dict[str, str] | None = None,
        standby: Standby | None = None,
    ) -> None:
        self.bundle, self.setting, self.tokenizer = bundle, setting, tokenizer
        self.devices = devices or {}
        self.fallbacks: list[Fallback] = []
        self._standby = standby
        self._template = template
        self._programs = [program for program in (target, drafter) if program]
        self._target = Session(target, take_over=self._take_over if standby else None)
        self._drafter = self._make_drafter(drafter)
        self._pace = self._new_pace()

    def _make_drafter(self, program: Program | None) -> Drafter:
        if program:
            ends, vocabulary = frozenset(self.bundle.tokens.eos), self._target.program.vocabulary
            least = self.setting.min_confidence
            lost = self._lose_drafter if self._standby else None
            return ModelDrafter(Session(program), ends=ends, vocabulary=vocabulary, min_confidence=least, lost=lost)
        if self.setting.mapping.drafter == NGRAM:
            return NgramDrafter(vocabulary=self.bundle.target.spec.vocabulary)
        return NoDrafter()

    @property
    def context(self) -> int:
        """Tokens that prompt and answer may have together."""
        return self._target.context

    @property
    def has_chat_template(self) -> bool:
        return self._template is not None

    def generate(
        self,
        prompt: str | Sequence[Message] | Sequence[int],
        *,
        max_new_tokens: int | None = None,
        temperature: float = 0.0,
        top_p: float = 1.0,
        top_k: int = 0,
        seed: int = 0,
        stop: Sequence[str] = (),
        draft_length: DraftLength | None = None,
        ignore_eos: bool = False,
    ) -> Generation:
        """Begin to generate after a text, a conversation (through the chat template) or token ids.

        ``max_new_tokens`` None means: until the text ends or the context is full; ``draft_length`` None: as loaded.
        Greedy texts with an adaptive length learn from one another. Sampled ones begin anew with what the plan says, so
        that a seed repeats its text: the lengths decide which random numbers a token is drawn with.

        Raises:
            PromptError: an empty prompt where no token begins a text, one longer than the context, or no template.
            UsageError: an option out of its range, or an adaptive length where no plan has its costs.
        """
        sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p)
        if max_new_tokens is not None and max_new_tokens < 1:
            raise UsageError(f"max_new_tokens is {max_new_tokens}, expected at least 1")
        if seed < 0:
            raise UsageError(f"seed is {seed}, expected 0 or a positive number")
        adaptive = draft_length == "adaptive" or (draft_length is None and self.setting.adaptive)
        request = Request(
            prompt=self._checked(self.encode(prompt)),
            max_tokens=self.context if max_new_tokens is None else max_new_tokens,
            draft_length=self._draft_length(None if draft_length == "adaptive" else draft_length),
            pace=self._adaptive_pace(sampling) if adaptive else None,
            overlap=self.setting.overlap,
            ends=frozenset() if ignore_eos else frozenset(self.bundle.tokens.eos),
            sampling=sampling,
            seed=seed,
        )
        fallbacks = self.fallbacks
        return Generation(self._target, self._drafter, request, self.tokenizer, stop=stop, fallbacks=fallbacks)

    def encode(self, prompt: str | Sequence[Message] | Sequence[int]) -> tuple[int, ...]:
        """Token ids of a prompt, as ``generate`` sees them.

        Raises:
            PromptError: text that is not Unicode, or a conversation, and no chat template or one that refuses it.
        """
        if isinstance(prompt, str):
            return self._started(self.tokenize(prompt))
        messages = [part for part in prompt if not isinstance(part, int)]
        if not messages and prompt:
            return tuple(part for part in prompt if isinstance(part, int))
        return self.tokenize(self.render(messages))

    def tokenize(self, text: str) -> tuple[int, ...]:
        """Token ids of a text as it stands, nothing put before it; of one far longer than the context, of a part.

        Raises:
            PromptError: text that is not Unicode.
        """
        text = as_utf8(text)
        try:
            text.encode()
        except UnicodeEncodeError as error:
            byte = ord(text[error.start]) - 0xDC00  # how Python keeps a byte that is part of no character
            what = (
                f"no character has the byte 0x{byte:02x} there" if 0x80 <= byte <= 0xFF else "it has half a character"
            )
            raise PromptError(f"the prompt is not UTF-8 text: {what}") from error
        return encode(self.tokenizer, text, enough=_FAR * self.context)

    def render(self, messages: Sequence[Message]) -> str:
        """A conversation as the chat template writes it.

        Raises:
            PromptError: no chat template, or one that refuses the messages.
        """
        if self._template is None:
            raise PromptError("the model has no chat template; give a text instead of messages (--raw)")
        tokens = self.bundle.tokens
        bos, eos = (tokens.bos, tokens.eos[0] if tokens.eos else None)
        return ChatTemplate(self._template, bos=self._token(bos), eos=self._token(eos)).render(messages)

    def forget(self, *, learnt: bool = False) -> None:
        """Forget earlier prompts, so that the next one is read from its beginning: for measuring.

        What adaptive lengths ``learnt`` of the drafter stays, unless that is to be forgotten too.
        """
        self._target.rewind(0)
        self._drafter.forget()
        if learnt:
            self._pace = self._new_pace()

    def close(self) -> None:
        """Release the programs."""
        for program in self._programs:
            program.close()

    def __enter__(self) -> Model:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _started(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        bos = self.bundle.tokens.bos
        if bos is not None and (not ids or (self.bundle.tokens.add_bos and ids[0] != bos)):
            return (bos, *ids)
        return ids

    def _token(self, number: int | None) -> str:
        return "" if number is None else self.tokenizer.id_to_token(number) or ""

    def _checked(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        if not ids:
            raise PromptError("the prompt is empty, and this model has no token that begins a text; give some text")
        if len(ids) > self.context:
            far = _FAR * self.context
            found = f"more than {far}" if len(ids) > far else len(ids)
            raise PromptError(
                f"the prompt has {found} tokens, the bundle's context is {self.context};"
                " shorten the prompt, or compile with a larger context"
            )
        vocabulary = self.bundle.target.spec.vocabulary
        if not all(0 <= token < vocabulary for token in ids):
            raise PromptError(f"the prompt has a token id outside the vocabulary of {vocabulary}")
        return ids

    def _new_pace(self) -> Pace | None:
        return AdaptivePace(self.setting.pacing) if self.setting.pacing else None

    def _adaptive_pace(self, sampling: Sampling) -> Pace:
        pace = self._pace if sampling.greedy else self._new_pace()
        if pace is None:
            raise UsageError("no plan says what drafting costs on this mapping; run 'paceline plan', or give a length")
        return PlannedPace(pace, lambda: not self.fallbacks)

    def _take_over(self, lost: DeviceLost) -> Program:
        """The target's program where it goes on; see ``Standby.take_over``."""
        assert self._standby
        old, unit = self._target.program, self.setting.mapping.target
        program, device = self._standby.take_over(lost, old.close)
        self._programs = [program if one is old else one for one in self._programs]
        self.setting, self._pace = moved(self.setting, device.unit.name), None
        self._fell_back("target", unit, device.unit.name, lost)
        self.devices[device.unit.name] = device.description
        return program

    def _lose_drafter(self, lost: DeviceLost) -> None:
        unit = self.setting.mapping.drafter or ""
        self.setting, self._drafter, self._pace = undrafted(self.setting), NoDrafter(), None
        self._fell_back("drafter", unit, None, lost)

    def _fell_back(self, role: Role, lost: str, unit: str | None, reason: DeviceLost) -> None:
        self.fallbacks.append(Fallback(role=role, lost=lost, unit=unit, reason=str(reason)))
        if lost not in self.setting.places.values():
            self.devices.pop(lost, None)
        on = f"with the target on {unit}, which reads the text again" if unit else "plain, without the drafter"
        logging.getLogger(__name__).warning("%s; going on %s", reason, on)

    def _draft_length(self, asked: int | None) -> int:
        if isinstance(self._drafter, NoDrafter):
            if asked:
                raise UsageError(f"draft length is {asked}, but nothing drafts; load the bundle with a drafter")
            return 0
        length = self.setting.draft_length if asked is None else asked
        if length < 0:
            raise UsageError(f"draft length is {length}, expected 0 (do not draft) or a positive number")
        return length
