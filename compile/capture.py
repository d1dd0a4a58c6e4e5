"""What a decoder's IR depends on, as a value: no weights, no device. Equal captures are captured once."""

from __future__ import annotations

import msgspec

from paceline.compile.precision import PRECISIONS, Int8, Precision
from paceline.costmodel import ModelSpec


class Capture(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A shape at a precision, with room for ``context`` tokens, at ``widths`` tokens a call.

    ``form`` is ``Precision.form``: how the program reads stored bytes.
    """

    spec: ModelSpec
    precision: str
    form: str
    context: int
    widths: tuple[int, ...]

    def rules(self) -> Precision:
        """The precision in this form."""
        return Int8(words=True) if self.form == "words" else PRECISIONS[self.precision]
