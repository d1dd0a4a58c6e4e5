"""Products with words: the integers that they promise, in dispatches that every driver takes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.compile import words
from paceline.compile.bindings import read_reach
from paceline.compile.emit_vmfb import emit_vmfb
from paceline.compile.lower_to_linalg import lower
from paceline.compile.precision import Int8
from paceline.compile.tools import Children
from paceline.targets import load_soc

HEAD = (49152, 576)  # SmolLM2's


@pytest.mark.parametrize("most", [None, 512], ids=["whole", "in pieces"])
@pytest.mark.parametrize("n", [1, 3, 4, 5, 16])
def test_products_are_exact_in_one_piece_and_in_many(monkeypatch: pytest.MonkeyPatch, n: int, most: int | None) -> None:
    import torch

    if most is not None:
        for name in ("_MOST_ELEMENTS", "_MOST_COPIED"):
            monkeypatch.setattr(words, name, most * n)
        monkeypatch.setattr(words, "_TILE", 2)
    generator = np.random.default_rng(n)
    matrix = generator.integers(-128, 128, (700, 24), dtype=np.int8)
    x = generator.integers(-127, 128, (n, 24), dtype=np.int32)
    stored = torch.from_numpy(matrix).view(torch.int32)
    pieces = torch.split(stored, words.at_once(n, *stored.shape))
    assert (len(pieces) > 1) == (most is not None)
    found = words.side_by_side([words.product(torch.from_numpy(x), piece) for piece in pieces])
    assert (found.numpy() == x @ matrix.T.astype(np.int32)).all()


@given(n=st.sampled_from([1, 2, 4, 8, 16, 64]), rows=st.integers(1, 300_000), columns=st.integers(1, 5000))
def test_no_piece_is_too_large_for_a_dispatch(n: int, rows: int, columns: int) -> None:
    piece, most = words.at_once(n, rows, columns), words.MOST_WORKGROUPS
    assert 1 <= piece <= rows
    assert n * piece <= 64 * most  # results
    if n > words.FUSED:
        assert piece * columns <= 64 * most  # unpacked words
    elif columns % 64 == 0:
        assert n * piece <= most  # results that are a workgroup each on Adreno
    if piece < rows:
        assert n * piece <= 16 * most  # copied


@pytest.mark.cpu
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_head_is_no_dispatch_of_more_workgroups_than_drivers_take(tmp_path: Path) -> None:
    """On VideoCore, where IREE's workgroups are smallest: 442368 when bytes were put together again."""
    text = tmp_path / "torch.mlir"
    text.write_text(head_text(4, 64))
    linalg = tmp_path / "linalg.mlir"
    lower(text, linalg, Children())
    unit = load_soc("rpi5").unit("gpu")
    assert unit is not None
    emit_vmfb(linalg, unit, tmp_path / "head.vmfb", Children(), dump=tmp_path / "phases")
    reach = read_reach(tmp_path / "phases", linalg)
    assert len(reach) > 8
    assert max(max(entry.workgroups) for entry in reach.values()) <= 65535
    # nor does any hold the whole matrix as i32
    assert max(entry.range for entry in reach.values()) < 4 * HEAD[0] * HEAD[1]


def head_text(*widths: int) -> str:
    """MLIR of the torch dialect: a product with a head of SmolLM2's size."""
    torch = pytest.importorskip("torch")
    from torch._subclasses.fake_tensor import FakeTensorMode

    from paceline.compile.decoder import DTYPES
    from paceline.compile.export_model import text_of

    class Head(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            for name, part in Int8(words=True).parts(*HEAD).items():
                value = torch.empty(part.shape, dtype=DTYPES[part.dtype])
                self.register_parameter(name, torch.nn.Parameter(value, requires_grad=False))

        def forward(self, x: Any) -> Any:
            parts: Mapping[str, Any] = dict(self.named_parameters())
            return Int8(words=True).linear(x, parts)

    def traced(width: int) -> Any:
        with FakeTensorMode():
            return torch.export.export(Head(), (torch.zeros(width, HEAD[1]),), strict=False).run_decompositions()

    return text_of((f"head_{width}", traced(width)) for width in widths)
