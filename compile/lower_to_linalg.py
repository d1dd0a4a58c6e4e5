"""Turns torch-dialect MLIR into linalg MLIR, and marks the matmuls whose weights the CPU should pack.

Marking is ours because IREE's own choice packs attention's batched matmuls too, which it then miscompiles. In this IR
a product with a weight is a ``linalg.matmul`` and attention is a ``linalg.batch_matmul``.
"""

from __future__ import annotations

import re
from pathlib import Path

from paceline.compile.capture import Capture
from paceline.compile.emit_vmfb import iree_compile
from paceline.compile.parameters import Matrix, matrix_of, parameters
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
    lower(torch_text, output, children)
    text, marked = mark(output.read_text())
    if marked != (expected := _matmuls(capture)):
        raise CompileFailed(
            tool="paceline",
            diagnostic=f"{marked} weight matmuls in the lowered IR, expected {expected}; "
            "this IREE lowers them differently: use the version that paceline was installed with",
            command=("iree-compile", str(torch_text), *_OPTIONS),
        )
    output.write_text(text)


def lower(torch_text: Path, output: Path, children: Children) -> None:
    """Lower alone.

    Raises:
        CompileFailed: the compiler refused.
    """
    iree_compile(torch_text, _OPTIONS, output, children)


def mark(text: str) -> tuple[str, int]:
    """The text with every weight matmul marked, and how many those are."""
    return _MATMUL.subn(_MARKED, text)


def _matmuls(capture: Capture) -> int:
    """Weight matmuls over all widths, of all matrices but an embedding that is only looked up."""
    spec, rules = capture.spec, capture.rules()
    matrices = [entry for entry in parameters(spec, capture.context) if isinstance(entry, Matrix)]
    multiplied = [matrix for matrix in matrices if spec.tied or matrix.name != "embedding"]
    return sum(
        rules.for_matrix(matrix_of(matrix.name)).matmuls(n, matrix.rows, matrix.columns)
        for n in capture.widths
        for matrix in multiplied
    )
