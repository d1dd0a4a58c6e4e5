"""Turns torch-dialect MLIR into linalg MLIR, and marks the matmuls whose weights the CPU should pack.

Marking is ours because IREE's own choice packs attention's batched matmuls too, which it then miscompiles. In this IR
a product with a weight is a ``linalg.matmul`` and attention is a ``linalg.batch_matmul``.
"""

from __future__ import annotations

import re
from pathlib import Path

from paceline.compile.capture import Capture
from paceline.compile.emit_vmfb import iree_compile
from paceline.compile.tools import Children
from paceline.errors import CompileFailed

# Vulkan has no i64, and the CPU program should be the same program.
_OPTIONS = ("--compile-to=input", "--iree-input-type=torch", "--iree-input-demote-i64-to-i32")
_MATMUL = re.compile(r"= linalg\.matmul (?:\{[^}]*\} )?ins\(")
_MARKED = '= linalg.matmul {"iree.opt.data_tiling"} ins('


def lower_to_linalg(torch_text: Path, capture: Capture, output: Path, children: Children) -> None:
    """Lower and mark.

    Raises:
        CompileFailed: the compiler refused, or the IR does not hold the matmuls that the decoder has.
    """
    iree_compile(torch_text, _OPTIONS, output, children)
    text, marked = mark(output.read_text())
    if marked != (expected := _matmuls(capture)):
        raise CompileFailed(
            tool="paceline",
            diagnostic=f"{marked} weight matmuls in the lowered IR, expected {expected}; "
            "this IREE lowers them differently: use the version that paceline was installed with",
            command=("iree-compile", str(torch_text), *_OPTIONS),
        )
    output.write_text(text)


def mark(text: str) -> tuple[str, int]:
    """The text with every weight matmul marked, and how many those are."""
    return _MATMUL.subn(_MARKED, text)


def _matmuls(capture: Capture) -> int:
    """Weight matmuls over all widths: four a layer, and the head."""
    return len(capture.widths) * (4 * capture.spec.layers + 1)
