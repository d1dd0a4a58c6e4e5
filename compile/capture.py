"""What a decoder's IR depends on, as a value: no weights, no device. Equal captures are captured, or written, once."""

from __future__ import annotations

from typing import cast

import msgspec

from paceline.compile.precision import FORMS, Precision
from paceline.costmodel import CacheKind, ModelSpec, cache_kind
from paceline.targets import Dtype


class Capture(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A shape at a precision, with room for ``context`` tokens, at ``widths`` tokens a call.

    ``form`` is ``Stored.form``: how the program reads stored bytes. ``kernels`` names the instruction set of a kernel
    program, empty for one that is traced.
    """

    spec: ModelSpec
    precision: str
    form: str
    context: int
    widths: tuple[int, ...]
    kernels: str = ""

    @property
    def caches(self) -> CacheKind:
        """What the program keeps keys and values in."""
        return cache_kind(cast(Dtype, self.precision), traced=not self.kernels)

    def rules(self) -> Precision:
        """The precision of a traced program."""
        return FORMS[self.precision, self.form]
