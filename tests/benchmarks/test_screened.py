"""What a drafter says within an answer is read off passes of any width."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from paceline.runtime.null_device import NullProgram
from screened import said


def test_what_is_said_does_not_ask_how_passes_are_cut() -> None:
    ids: NDArray[np.int32] = np.random.default_rng(0).integers(0, 32, 43).astype(np.int32)
    found = [said(NullProgram(widths=widths, context=64), ids, 20) for widths in ((1,), (1, 4, 16))]
    after = NullProgram(context=64)
    wanted = [int(after.logits_after(ids[: end + 1]).argmax()) for end in range(20, 42)]
    assert found[0].tolist() == found[1].tolist() == wanted
