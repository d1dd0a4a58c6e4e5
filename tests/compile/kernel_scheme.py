"""What kernels compute with integer weights, in torch: activations are rounded to i8, 32 columns at a time; caches too.

For int8, of eight columns in a row those of one sign among 0, 1, 4 and 5 share 126 steps, and so do those among 2, 3, 6
and 7. For int4 a scale is the least power of two that leaves the largest within 127. Weights are those of traced
programs. Sums of a group are exact in f32: at most 32 * 127 * 127, below 2^24.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from paceline.compile.decoder import Decoder
from paceline.compile.int4 import GROUP, MOST, padded
from paceline.compile.precision import NIBBLES_PER_WORD, PRECISIONS, Int4, Int8, Precision, Rows
from tests.compile.rounded_caches import KEY_STEPS, spread_columns

STEPS = 126  # that four activations of one sign share
MOST_BYTE, HIGH = 127, 64  # scales are 2^-64 to 2^63
_TINY = 1e-10


@dataclass(frozen=True, slots=True)
class GroupedInt8(Int8):
    """The sum over groups of exact sum * scale of the activations, then times the scale of the output channel."""

    def linear(self, x: Tensor | Rows, parts: Mapping[str, Tensor]) -> Tensor:
        rounded, scale = _shared_steps(x)
        sums = torch.einsum("ngk,rgk->nrg", rounded, _groups(parts["weight"].float()))
        return (sums * scale[:, None]).sum(-1) * parts["scale"]


@dataclass(frozen=True, slots=True)
class GroupedInt4(Int4):
    """Over groups, exact sum * scale of the weights * scale of the activations, less low * scale * their sum."""

    kept: Int8 = GroupedInt8()

    def linear(self, x: Tensor | Rows, parts: Mapping[str, Tensor]) -> Tensor:
        rounded, scale = _powers_of_two(x)
        shifts = torch.arange(0, 32, 32 // NIBBLES_PER_WORD, dtype=torch.int32)
        nibbles = (parts["weight"][..., None] >> shifts) & MOST
        sums = torch.einsum("ngk,rgk->nrg", rounded, _groups(nibbles.flatten(1).float()))
        kept = sums * (parts["scale"] * scale[:, None])
        return (kept - parts["low"] * (scale * rounded.sum(-1))[:, None]).sum(-1)


KERNEL_SCHEMES: dict[str, Precision] = {**PRECISIONS, "int8": GroupedInt8(), "int4": GroupedInt4()}


class ByteCaches(Decoder):
    """The decoder with keys and values in bytes, over the one stretch of 64 positions that is a step of the softmax."""

    def _mixed(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        heads, n, size = q.shape
        rows, kv_heads = mask.repeat(heads // self.spec.kv_heads, 1), self.spec.kv_heads
        parts = zip(q.reshape(kv_heads, -1, size), k, v, strict=True)
        mixed = torch.stack([_mixed_bytes(*part, rows) for part in parts])
        return mixed.view(heads, n, size)


def _mixed_bytes(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """q [rows, size], k and v [positions, size], mask [rows, positions] -> [rows, size]."""
    asked, asked_scale = _shared_steps(_spread_columns(_groups(q)).flatten(1))
    keys, key_scale = _whole(_spread_columns(_groups(k)), KEY_STEPS)
    sums = torch.einsum("ngk,pgk->npg", asked.double(), keys.double()).float()  # exact, then rounded once
    asked_scale = asked_scale / GROUP
    scores = (sums * (key_scale[..., 0] * asked_scale[:, None])).sum(-1) + mask
    weights = torch.exp(scores - scores.amax(-1, keepdim=True))
    values, value_scale = _whole(v, MOST_BYTE)
    whole, scale = _shared_steps(weights * value_scale[:, 0])
    sums = torch.einsum("ngk,dgk->ndg", whole, _groups(values.T))
    return (sums * scale[:, None]).sum(-1) / weights.sum(-1, keepdim=True)


def _spread_columns(x: Tensor) -> Tensor:
    """Sums and differences of each 32 columns."""
    return torch.from_numpy(spread_columns(x.numpy()))


def _whole(x: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Whole numbers from -steps to steps and their scales [..., 1], by the last axis."""
    largest = x.abs().amax(-1, keepdim=True)
    return torch.round(x * torch.where(largest > 1e-30, steps / largest, 0.0)), largest * (1 / steps)


def _groups(x: Tensor) -> Tensor:
    """[n, columns] as [n, groups, 32], padded with zeros."""
    return torch.nn.functional.pad(x, (0, padded(x.shape[1]) - x.shape[1])).view(x.shape[0], -1, GROUP)


def _powers_of_two(x: Tensor | Rows) -> tuple[Tensor, Tensor]:
    """Whole numbers [n, groups, 32] and their scales [n, groups]."""
    groups = _groups(x.value * x.factor if isinstance(x, Rows) else x)
    scale = torch.exp2(torch.ceil(torch.log2(groups.abs().amax(-1) / MOST_BYTE)).clamp(-HIGH, HIGH - 1))
    return torch.round(groups / scale[..., None]), scale


def _shared_steps(x: Tensor | Rows) -> tuple[Tensor, Tensor]:
    """Whole numbers [n, groups, 32] and their scales [n, groups]."""
    groups = _groups(x.value if isinstance(x, Rows) else x)
    largest = torch.maximum(_shared(groups.clamp(min=0)), _shared((-groups).clamp(min=0)))
    inverse = torch.where(largest > _TINY, STEPS / largest, 0.0)
    scale = largest * (1 / STEPS) * (x.factor if isinstance(x, Rows) else 1)
    return torch.round(groups * inverse[..., None]), scale


def _shared(sizes: Tensor) -> Tensor:
    """The largest sum of four columns that share steps, of sizes [n, groups, 32]: [n, groups]."""
    eights = sizes.view(*sizes.shape[:-1], GROUP // 8, 2, 2, 2)
    pairs = eights[..., 0] + eights[..., 1]
    fours: Tensor = pairs[..., 0, :] + pairs[..., 1, :]
    return fours.flatten(-2).amax(-1)
