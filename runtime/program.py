"""A loaded model: one forward pass over a few tokens at a position, with caches of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from paceline.costmodel import Role
from paceline.errors import BundleError, DeviceUnavailable
from paceline.partition import Bundle, BundledModel
from paceline.runtime.device import Device


@dataclass(frozen=True, slots=True)
class Step:
    """What a pass gives for its wanted rows: the likeliest next token after each, and the logits when asked for."""

    ids: NDArray[np.int32]
    logits: NDArray[np.float32] | None = None


class Program(Protocol):
    """A model on a device. Its caches hold ``context`` tokens; a pass overwrites them from its position on."""

    @property
    def widths(self) -> tuple[int, ...]: ...

    @property
    def context(self) -> int: ...

    @property
    def vocabulary(self) -> int: ...

    def step(self, tokens: NDArray[np.int32], position: int, *, first: int = 0, logits: bool = False) -> Step:
        """Run n = one of ``widths`` tokens that stand at ``position`` ...; needs position + n <= context.

        Returns ids [n - first] and, when asked, logits [n - first, vocabulary] of the rows from
        ``first`` on; both belong to the caller. With first = n the caches are filled and nothing else need be computed.

        Raises:
            DeviceLost: the device is gone, or out of memory; what the caches hold is then lost too.
        """
        ...

    def close(self) -> None:
        """Give the memory back; a second call does nothing."""
        ...


def check_span(program: Program, width: int, position: int, first: int) -> None:
    """Refuse a pass that its caller got wrong.

    Raises:
        ValueError: ``width`` tokens at ``position`` do not fit the context, or ``first`` is not one of 0 ... width.
    """
    if not 0 <= position <= program.context - width:
        raise ValueError(f"{width} tokens at position {position} do not fit a context of {program.context}")
    if not 0 <= first <= width:
        raise ValueError(f"rows from {first} on of a pass over {width} tokens, expected 0 to {width}")


def load_program(folder: Path, bundle: Bundle, role: Role, device: Device) -> Program:
    """Load the bundle's ``role`` on ``device``.

    Raises:
        BundleError: the bundle has no such model, or its files cannot be read.
        DeviceUnavailable: the bundle has no program for the device's unit; says why when the compiler failed.
    """
    model = next((model for model in bundle.models if model.role == role), None)
    if model is None:
        raise BundleError(f"{folder} has no {role}; compile it with one, or choose another drafter")
    check_compiled(bundle, model, device.unit.name)
    return device.load(folder, bundle, model)


def check_compiled(bundle: Bundle, model: BundledModel, unit: str) -> None:
    """Refuse a unit that ``model`` has no program for.

    Raises:
        DeviceUnavailable: says why, where the compiler failed.
    """
    if unit not in model.programs:
        raise DeviceUnavailable(_no_program(bundle, model, unit))


def _no_program(bundle: Bundle, model: BundledModel, unit: str) -> str:
    for failure in bundle.failures:
        if (failure.role, failure.unit) == (model.role, unit):
            return f"the {model.role} was not compiled for {unit}: {failure.reason}"
    units = ", ".join(model.programs) or "none"
    return f"the bundle has no {model.role} program for unit {unit!r}; it has: {units}"
