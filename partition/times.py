"""Seconds of a bundle's forward passes: as measured, or as a roofline predicts them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, Protocol, cast

from paceline.costmodel import (
    ALONE,
    CacheKind,
    Calibration,
    Drafting,
    ModelSpec,
    Profile,
    Role,
    RooflineEstimate,
    Slowdown,
    Work,
    forward,
    roofline,
)
from paceline.costmodel.roofline import WHOLE, Shares
from paceline.costmodel.traced import Program, program_on
from paceline.errors import ProfileError
from paceline.partition.bundle import Bundle, BundledModel
from paceline.targets import Dtype, ProcessingUnit

Source = Literal["profile", "roofline", "calibration"]


class Times(Protocol):
    """What the planner asks."""

    @property
    def source(self) -> Source: ...

    def host_seconds(self, drafter: Drafting, draft_length: int) -> float:
        """Seconds of a round outside forward passes."""

    def seconds(self, role: Role, unit: str, width: int, cores: int) -> float | None:
        """Seconds of a pass of ``width`` tokens, padded to a compiled width; None where that is not known."""

    def cores(self, unit: str) -> tuple[int, ...]:
        """Core counts of ``unit`` that can be chosen from."""

    def slowdown(self, target: str, drafter: str, width: int) -> Slowdown | None:
        """Of the target's pass of ``width`` tokens and the drafter's beside it; None where that is not known."""

    def in_turns(self, target: str, drafter: str, draft_length: int) -> Slowdown:
        """Of the passes of a round, each model's after the other's; ``ALONE`` without drafts, or if it is not known."""

    @property
    def pinned(self) -> Mapping[Role, Sequence[str]]:
        """Sets of cores that each model may be put on, besides whole units."""


@dataclass(frozen=True, slots=True)
class MeasuredTimes:
    """Times of a profile, at ``position`` (default: the middle of the context)."""

    bundle: Bundle
    profile: Profile
    position: float | None = None

    @property
    def source(self) -> Source:
        return "profile"

    def host_seconds(self, drafter: Drafting, draft_length: int) -> float:
        return self.profile.host_seconds(drafter, draft_length)

    def seconds(self, role: Role, unit: str, width: int, cores: int) -> float | None:
        padded = compiled_width(self.bundle, width)
        if padded is None:
            return None
        return self.profile.seconds(role, unit, padded, cores=cores, position=self.position)

    def cores(self, unit: str) -> tuple[int, ...]:
        return self.profile.cores(unit)

    def slowdown(self, target: str, drafter: str, width: int) -> Slowdown | None:
        return self.profile.slowdown(target, drafter, compiled_width(self.bundle, width) or width)

    def in_turns(self, target: str, drafter: str, draft_length: int) -> Slowdown:
        return self.profile.in_turns(target, drafter, draft_length)

    @property
    def pinned(self) -> Mapping[Role, Sequence[str]]:
        return self.profile.pinned


def check_profile(bundle: Bundle, profile: Profile) -> None:
    """Refuse a profile that says it is of these programs, and is not.

    Raises:
        ProfileError: of other widths or another context.
    """
    if strange := {entry.width for entry in profile.measurements} - set(bundle.widths):
        raise ProfileError(f"the profile has passes of {min(strange)} tokens, {bundle.name} has none; profile it again")
    if profile.context != bundle.context:
        found = f"the profile is of a context of {profile.context}, {bundle.name} has {bundle.context}"
        raise ProfileError(f"{found}; profile it again")


@dataclass(frozen=True, slots=True)
class RooflineTimes:
    """Times of a board that is not at hand; host time is taken as none.

    The whole of a unit works, but for the CPU where ``cpu_cores`` says what to choose from. With a ``calibration``
    passes get the shares of the figures that it says, and those of programs that it does not know are not known.
    """

    bundle: Bundle
    cpu_cores: tuple[int, ...] = ()
    calibration: Calibration | None = None
    known: dict[tuple[Role, str, int, int], float] = field(default_factory=dict, compare=False, repr=False)

    @property
    def source(self) -> Source:
        return "calibration" if self.calibration else "roofline"

    def host_seconds(self, drafter: Drafting, draft_length: int) -> float:
        return 0.0

    def seconds(self, role: Role, unit: str, width: int, cores: int) -> float | None:
        padded = compiled_width(self.bundle, width)
        if padded is None or self.shares(role, unit, cores, padded) is None:
            return None
        key = (role, unit, padded, cores)
        if key not in self.known:  # a search asks for the same pass again and again
            self.known[key] = self.estimate(role, unit, padded, cores).seconds
        return self.known[key]

    def estimate(self, role: Role, unit: str, width: int, cores: int) -> RooflineEstimate:
        """The pass and the wall that it hits.

        Raises:
            ProfileError: the calibration does not know such programs.
        """
        model, processor = self._placed(role, unit)
        precision, work = cast(Dtype, model.precision), self.work(role, unit, width)
        if (shares := self.shares(role, unit, cores, width)) is None:
            raise ProfileError(f"the calibration knows no {precision} programs on {unit} such as the {role}'s")
        return roofline(work, processor, precision, cores=cores, program=self.program(role, unit), shares=shares)

    def program(self, role: Role, unit: str) -> Program:
        """How the program was made."""
        model, processor = self._placed(role, unit)
        return program_on(processor, kernels=unit in model.kernels)

    def slowdown(self, target: str, drafter: str, width: int) -> Slowdown | None:
        return None  # how two units get on with one memory is in no SoC file

    def in_turns(self, target: str, drafter: str, draft_length: int) -> Slowdown:
        return ALONE

    @property
    def pinned(self) -> Mapping[Role, Sequence[str]]:
        return {}

    def shares(self, role: Role, unit: str, cores: int, width: int) -> Shares | None:
        """What a pass of ``width`` tokens gets of the unit's figures; None where the calibration knows no such."""
        if self.calibration is None:
            return WHOLE
        model, _ = self._placed(role, unit)
        program, precision = self.program(role, unit), cast(Dtype, model.precision)
        return self.calibration.shares(unit, program, precision, cores=cores, width=width)

    def work(self, role: Role, unit: str, width: int, position: int | None = None) -> Work:
        """What the pass computes and moves with ``position`` tokens in the caches (default: half of what they hold)."""
        model, _ = self._placed(role, unit)
        program, capacity = self.program(role, unit), self.bundle.context
        before = middle(capacity, width) if position is None else position
        context = before + width if program == "kernels" else capacity
        # A drafter is asked for what comes after its last token only.
        wanted = 1 if role == "drafter" else width
        return _work(model.spec, width, context, cast(Dtype, model.precision), program, model.kept_on(unit), wanted)

    def _placed(self, role: Role, unit: str) -> tuple[BundledModel, ProcessingUnit]:
        model, processor = model_of(self.bundle, role), self.bundle.soc.unit(unit)
        if model is None or processor is None:
            raise ProfileError(f"{self.bundle.name} has no {role} or its SoC no unit {unit!r}")
        return model, processor

    def cores(self, unit: str) -> tuple[int, ...]:
        processor = self.bundle.soc.unit(unit)
        if processor is None:
            return ()
        return self.cpu_cores if self.cpu_cores and processor.kind == "cpu" else (processor.cores,)


@lru_cache(maxsize=1 << 12)
def _work(
    spec: ModelSpec, width: int, context: int, precision: Dtype, program: Program, kept: CacheKind, wanted: int
) -> Work:
    return forward(spec, width=width, context=context, precision=precision, program=program, kept=kept, wanted=wanted)


def middle(context: int, width: int) -> int:
    """The position that a roofline assumes: caches are half full, as in the middle of a conversation."""
    return min(context // 2, context - width)


def compiled_width(bundle: Bundle, width: int) -> int | None:
    """The narrowest compiled width that holds ``width`` tokens, None if there is none."""
    return min((compiled for compiled in bundle.widths if compiled >= width), default=None)


def model_of(bundle: Bundle, role: Role) -> BundledModel | None:
    """The bundle's model in that role."""
    return bundle.target if role == "target" else bundle.drafter
