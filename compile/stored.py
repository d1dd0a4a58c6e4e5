"""How the matrices of a model lie in an archive, as the code that writes archives sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from paceline.compile.int4 import Blocks


@dataclass(frozen=True, slots=True)
class Part:
    """One stored array as the program declares it: ``dtype`` is f32, f16, i8 or i32."""

    dtype: str
    shape: tuple[int, ...]


class Stored(Protocol):
    """One way to store the matrices of a model."""

    @property
    def name(self) -> str:
        """What the command line calls it."""

    @property
    def form(self) -> str:
        """How programs read the stored bytes; programs of equal name and form are the same program."""

    def parts(self, rows: int, columns: int) -> dict[str, Part]:
        """What a matrix [rows, columns] is declared as, by part name."""

    def store(self, block: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """Stored parts of some rows [rows, columns]."""

    def for_matrix(self, matrix: str, *, exact: bool = False) -> Stored:
        """How a matrix (``embedding``, ``head``, ``qkv``, ``o``, ``gate_up``, ``down``) is stored at this precision.

        ``exact`` says that its checkpoint has it in the blocks of int4: kernels lose nothing then by taking these.
        """


@runtime_checkable
class StoresBlocks(Stored, Protocol):
    """One that stores int4, and can do so without rounding what is int4 already."""

    def store_blocks(self, blocks: Blocks) -> dict[str, NDArray[Any]]:
        """Stored parts of some rows."""
