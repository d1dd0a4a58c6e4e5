"""The paper's board and pair by our own means: the roofline over ``imx95``, with and without a cache.

The target is int8 on the CPU's cores, the drafter f16 on the GPU or on the same cores. Our programs multiply f16 in
f32; ``f16_units`` asks what it would be where some units multiply it as it is.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import msgspec

from paceline.costmodel import ModelSpec, Round, forward, independent, plain_round, roofline, speculative_round
from paceline.costmodel.traced import program_on
from paceline.targets import Dtype, ProcessingUnit, load_soc
from paper_2602_08060.published import INPUT_LENGTH, MOST_AHEAD, best_of

CONTEXT = 128  # that traced GPU programs have room for and read: the prompt, and an answer of the same length


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What is best at one number of cores: a draft length (0: none), whether the GPU drafts, and S over plain."""

    gamma: int
    gpu: bool
    speedup: float

    def __str__(self) -> str:
        if not self.gamma:
            return "no"
        return f"gamma {self.gamma}, {'GPU' if self.gpu else 'CPU'} drafts, {self.speedup:.2f}x"


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """Seconds of passes, and what is best; without ``cached`` each pass reads the whole text again, as in the paper."""

    target: ModelSpec
    drafter: ModelSpec
    cached: bool
    f16_units: tuple[str, ...] = ()

    def target_pass(self, cores: int, width: int) -> float:
        """Seconds of a target pass of ``width`` new tokens after the prompt; the prompt's last token is the first."""
        return self._seconds(self.target, "cpu", "int8", cores, width)

    def draft_pass(self, gpu: bool, cores: int, width: int) -> float:
        """As ``target_pass``, of the drafter."""
        return self._seconds(self.drafter, "gpu" if gpu else "cpu", "f16", 1 if gpu else cores, width)

    def c(self, gpu: bool, cores: int) -> float:
        """One drafter pass over one target pass."""
        return self.draft_pass(gpu, cores, 1) / self.target_pass(cores, 1)

    def round(self, gpu: bool, cores: int, gamma: int, alpha: float) -> Round:
        """Our round: verify passes at their width, and a catch-up pass where there is a cache to catch up with."""
        if gamma == 0:
            return plain_round(lambda width: self.target_pass(cores, width))
        lengths = range(1, gamma + 1)
        drafting = sum(self.draft_pass(gpu, cores, 1 if self.cached else length) for length in lengths) / gamma
        behind = self.draft_pass(gpu, cores, 2) - self.draft_pass(gpu, cores, 1) if self.cached else 0.0
        return speculative_round(
            drafter=lambda width: drafting + (behind if width == 2 else 0.0),
            target=lambda width: self.target_pass(cores, width),
            probabilities=independent(alpha, gamma),
        )

    def best(self, cores: int, alpha: float) -> Choice:
        """The better of both mappings at its best draft length, over plain decoding on as many cores."""
        return max((self._best_with(gpu, cores, alpha) for gpu in (True, False)), key=lambda choice: choice.speedup)

    def _best_with(self, gpu: bool, cores: int, alpha: float) -> Choice:
        lengths = range(1, MOST_AHEAD + 1)
        gamma, speedup = best_of(lengths, lambda length: self.round(gpu, cores, length, alpha).speedup)
        return Choice(gamma=gamma, gpu=gpu and gamma > 0, speedup=speedup)

    def _seconds(self, spec: ModelSpec, name: str, precision: Dtype, cores: int, width: int) -> float:
        processor = unit_of(name, f16_arithmetic=precision == "f16" and name in self.f16_units)
        if not self.cached:
            length = INPUT_LENGTH + width - 1
            work = forward(spec, width=length, context=length, precision=precision)
        else:
            program = program_on(processor, kernels=processor.kind == "cpu")
            context = INPUT_LENGTH + width - 1 if program == "kernels" else CONTEXT
            work = forward(spec, width=width, context=context, precision=precision, program=program)
        return roofline(work, processor, precision, cores=cores).seconds


@functools.cache
def unit_of(name: str, *, f16_arithmetic: bool = False) -> ProcessingUnit:
    """A unit of ``imx95``; with ``f16_arithmetic`` one whose f32 is as fast as its f16."""
    unit = load_soc("imx95").unit(name)
    assert unit is not None
    return msgspec.structs.replace(unit, peak={**unit.peak, "f32": unit.peak["f16"]}) if f16_arithmetic else unit
