"""From token ids to text as it comes: whole characters, no special tokens, cut at a stop string."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from paceline.errors import BundleError

_INCOMPLETE = "\ufffd"


def read_tokenizer(path: Path) -> Tokenizer:
    """Read a tokenizer.json.

    Raises:
        BundleError: it is missing or cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BundleError(f"cannot read {path}: {error.strerror}; compile the bundle again") from error
    try:
        return Tokenizer.from_buffer(data)
    except ValueError as error:
        raise BundleError(f"{path} is not a tokenizer: {error}; compile the bundle again") from error


def encode(tokenizer: Tokenizer, text: str, *, enough: int) -> tuple[int, ...]:
    """Ids of ``text``, without special tokens; where they are more than ``enough``, maybe of its beginning only.

    Megabytes take a tokenizer seconds. Where a beginning ends inside a word, its last tokens may not be those of the
    text; ``enough`` should not be one that a few tokens more or less decide.
    """
    size = 4 * enough  # characters; prose has about as many a token
    while size < len(text):
        ids = tokenizer.encode(text[:size], add_special_tokens=False).ids
        if len(ids) > enough:
            return tuple(ids)
        size *= 2
    return tuple(tokenizer.encode(text, add_special_tokens=False).ids)


class TextStream:
    """Text of a growing list of ids. What was handed out never changes: ``"".join`` of it is the final text.

    Ids that end inside a character are held back until it is whole, and text that may become one of the ``stop``
    strings until it is clear that it does not.
    """

    def __init__(self, tokenizer: Tokenizer, *, stop: Sequence[str] = ()) -> None:
        self._tokenizer = tokenizer
        self._stop = tuple(text for text in stop if text)
        self._ids: list[int] = []
        # Decoders look at neighbours (leading spaces, byte runs), hence the window: the last whole piece and after.
        self._window, self._done = 0, 0
        self._held = ""
        self.stopped = False

    @property
    def holding(self) -> bool:
        """Whether text is being held back."""
        return bool(self._held) or self._done < len(self._ids)

    def push(self, token: int) -> str:
        """Add an id and return the text that is certain by now, often none."""
        self._ids.append(token)
        known, text = self._decode(self._window, self._done), self._decode(self._window, len(self._ids))
        if text.endswith(_INCOMPLETE):
            return ""
        if text != known:
            self._window = self._done
        self._done = len(self._ids)
        return self._release(text[len(known) :])

    def finish(self) -> str:
        """Return what was held back; half a character becomes U+FFFD."""
        if self.stopped:
            return ""
        known, text = self._decode(self._window, self._done), self._decode(self._window, len(self._ids))
        self._window = self._done = len(self._ids)
        released = self._release(text[len(known) :])
        rest, self._held = self._held, ""
        return released + rest

    def _decode(self, start: int, stop: int) -> str:
        return str(self._tokenizer.decode(self._ids[start:stop], skip_special_tokens=True))

    def _release(self, text: str) -> str:
        self._held += text
        if found := [at for stop in self._stop if (at := self._held.find(stop)) >= 0]:
            self.stopped = True
            released, self._held = self._held[: min(found)], ""
            return released
        keep = max((_overlap(self._held, stop) for stop in self._stop), default=0)
        released, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return released


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of ``text`` that begins ``stop``, short of all of it."""
    lengths = range(min(len(text), len(stop) - 1), 0, -1)
    return next((length for length in lengths if text.endswith(stop[:length])), 0)
