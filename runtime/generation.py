"""A generation in progress: tokens to iterate over, the text so far and the statistics."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace

from tokenizers import Tokenizer

from paceline.runtime.drafters import Drafter
from paceline.runtime.record import Fallback, Record, Stats, StopReason
from paceline.runtime.session import Session
from paceline.runtime.speculate import Origin, Request, speculate
from paceline.runtime.text import TextStream


@dataclass(frozen=True, slots=True)
class Token:
    """A generated token. ``text`` is what became certain with it: empty while a character or stop string is open."""

    id: int
    text: str
    origin: Origin


class Generation:
    """An iterator of ``Token``; dropping it at any point leaves the model usable.

    ``text``, ``ids`` and ``stats`` speak of what was generated so far; ``finish`` generates the rest. ``fallbacks`` is
    the model's list of devices that it lost, which grows.
    """

    def __init__(
        self,
        target: Session,
        drafter: Drafter,
        request: Request,
        tokenizer: Tokenizer,
        *,
        stop: Sequence[str] = (),
        fallbacks: Sequence[Fallback] = (),
    ) -> None:
        self._request, self._record, self._fallbacks = request, Record(), fallbacks
        self._stream = TextStream(tokenizer, stop=stop)
        self._reason: StopReason = "abandoned"
        self._ids: list[int] = []
        self._pieces: list[str] = []
        self._target = target
        self._tokens = self._generate(speculate(target, drafter, request, self._record))

    def __iter__(self) -> Iterator[Token]:
        return self

    def __next__(self) -> Token:
        known = len(self._fallbacks)
        try:
            with self._record.running():
                return next(self._tokens)
        finally:
            self._record.fallbacks += self._fallbacks[known:]

    @property
    def prompt(self) -> tuple[int, ...]:
        """The prompt's token ids."""
        return self._request.prompt

    @property
    def text(self) -> str:
        """The text of the tokens handed out so far."""
        return "".join(self._pieces)

    @property
    def ids(self) -> tuple[int, ...]:
        """The tokens handed out so far."""
        return tuple(self._ids)

    @property
    def stats(self) -> Stats:
        """Statistics so far; ``stop_reason`` is ``abandoned`` until the end is reached."""
        return self._record.stats(
            prompt_tokens=len(self._request.prompt),
            draft_length=self._request.draft_length,
            adaptive=self._request.pace is not None,
            overlapped=self._request.overlap,
            stop_reason=self._reason,
        )

    def finish(self) -> Generation:
        """Generate the rest and return this generation."""
        for _ in self:
            pass
        return self

    def close(self) -> None:
        """Stop here; the model can generate something else at once."""
        self._tokens.close()

    def _generate(self, tokens: Generator[tuple[int, Origin], None, StopReason]) -> Generator[Token, None, None]:
        self._record.reused = self._target.shared(self._request.prompt)
        # A token with text held back waits for the next one, so that the texts of all tokens make up the whole.
        waiting: Token | None = None
        while not self._stream.stopped:
            try:
                number, origin = next(tokens)
            except StopIteration as end:
                self._reason = end.value
                break
            if not self._ids and not waiting:
                self._record.first_token()
            if waiting:
                yield self._count(waiting)
            token = Token(number, self._stream.push(number), origin)
            waiting = token if self._stream.holding else None
            if not waiting:
                yield self._count(token)
        rest = self._stream.finish()
        if self._stream.stopped:
            self._reason = "stop"
        if waiting:
            yield self._count(replace(waiting, text=waiting.text + rest))

    def _count(self, token: Token) -> Token:
        self._record.token(drafted=token.origin == "drafted")
        self._ids.append(token.id)
        self._pieces.append(token.text)
        return token
