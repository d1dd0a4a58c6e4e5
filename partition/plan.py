"""A plan: which model runs where, how far ahead it drafts, what that should cost, and what was turned down."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from paceline.costmodel.acceptance import Acceptance
from paceline.costmodel.model_spec import Positive
from paceline.documents import read_json
from paceline.errors import PlanError
from paceline.targets.places import are_apart, cores_of

SCHEMA = 1
PLAN = "plan.json"
NGRAM = "ngram"
Probability = Annotated[float, msgspec.Meta(ge=0, le=1)]
Amount = Annotated[float, msgspec.Meta(ge=0, le=1e9)]  # of seconds, tokens or times; more was damaged or made up


class Mapping(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Units by name, or cores of one (``targets/places.py``): ``cpu``, ``gpu``, ``cpu@0``.

    ``drafter`` is None when nothing drafts, ``NGRAM`` for prompt lookup on the host.
    """

    target: str
    drafter: str | None = None

    def __post_init__(self) -> None:
        for place in (self.target, self.drafter or ""):
            cores_of(place)  # refuses what is none

    def __str__(self) -> str:
        return f"target={self.target}" + (f",drafter={self.drafter}" if self.drafter else "")

    @property
    def two_processors(self) -> bool:
        """Whether a drafter model can work while the target does."""
        return self.drafter not in (None, NGRAM) and are_apart(self.target, str(self.drafter))


class Estimate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a choice should cost.

    ``speedup`` is S over the same mapping without speculation (the paper's baseline), ``speedup_over_best`` over the
    best plain decoding that the SoC can do. ``draft``, ``verify`` and ``host`` are seconds of one round; where the
    drafter works beside the target, ``draft`` is what the target waits for it.
    """

    seconds_per_token: Amount
    tokens_per_round: Amount
    round_seconds: Amount
    draft: Amount
    verify: Amount
    host: Amount
    speedup: Amount
    speedup_over_best: Amount
    source: Literal["profile", "roofline", "calibration"]


class Alternative(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A choice that lost, or could not be made; ``estimate`` is None in the second case.

    A mapping that no draft length can save stands once, with the shortest: 0 without a drafter, 1 with one.
    """

    mapping: Mapping
    draft_length: int
    reason: str
    overlap: bool = False
    cores: dict[str, int] = {}
    estimate: Estimate | None = None


class Beside(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What rounds of 0, 1, ... n drafts cost where the drafter goes on while the target verifies.

    Attributes:
        hit_seconds: of a round whose drafts were ready and whose guess comes true.
        wait_seconds: of the target for drafts that are not ready.
        guess: P(the guess comes true, given that all drafts were kept) that was assumed.
    """

    hit_seconds: tuple[float, ...]
    wait_seconds: tuple[Annotated[float, msgspec.Meta(ge=0)], ...]
    guess: Probability


class Pacing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What other draft lengths would cost on the chosen mapping and cores: for a draft length that adapts.

    Attributes:
        round_seconds: of a round that drafts exactly 0, 1, ... n tokens, 0 being plain decoding; where the drafter
            works ``beside`` the target, of one whose drafts were not ready and whose guess fails.
        chain: P(first k drafts accepted) that was assumed, k = 1..n, of a drafter that always proposes.
        read_seconds: of the drafter for a token of a text that it has not read yet, in its widest passes.
        beside: None where the two take turns.
    """

    round_seconds: tuple[float, ...]
    chain: tuple[Probability, ...]
    read_seconds: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    beside: Beside | None = None

    def __post_init__(self) -> None:
        for seconds in (self.round_seconds, *((self.beside.hit_seconds,) if self.beside else ())):
            if not self.chain or len(seconds) != len(self.chain) + 1 or min(seconds) <= 0:
                raise ValueError(f"rounds of 0 to {len(self.chain)} drafts take time each, found {seconds}")
        if self.beside and len(self.beside.wait_seconds) != len(self.round_seconds):
            raise ValueError(f"there are waits for 0 to {len(self.chain)} drafts, found {self.beside.wait_seconds}")

    def seconds(self, kept: Acceptance) -> float | None:
        """Of rounds that drafted as ``kept`` counts them; None where they overlap, or drafted more than is known of."""
        rounds = {drafted: sum(row) for drafted, row in kept.counts.items()}
        if self.beside or max(rounds, default=0) >= len(self.round_seconds):
            return None
        return sum(self.round_seconds[drafted] * count for drafted, count in rounds.items())


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The chosen configuration. ``draft_length`` 0 means: do not speculate.

    ``bundle`` is the digest that the plan was made for; ``alpha`` the acceptance it assumed and ``alpha_source``
    whether that was measured here or taken as a default. ``precision`` is by role, ``cores`` by unit. Where nothing
    drafts there is no ``pacing``. With ``overlap`` the drafter goes on while the target verifies.
    """

    schema: int = SCHEMA
    bundle: str
    soc: str
    mapping: Mapping
    draft_length: Annotated[int, msgspec.Meta(ge=0)]
    overlap: bool = False
    precision: dict[str, str]
    cores: dict[str, Positive]
    context: Positive
    alpha: Probability
    alpha_source: str
    estimate: Estimate
    pacing: Pacing | None = None
    rejected: tuple[Alternative, ...] = ()

    def __post_init__(self) -> None:
        if self.overlap and not self.mapping.two_processors:
            raise ValueError(f"{self.mapping} is no drafter beside a target, which could overlap")


def read_plan(folder: Path) -> Plan:
    """Read ``plan.json`` of a bundle folder; whether it fits the bundle is the caller's question.

    Raises:
        PlanError: missing, damaged, or of another schema.
    """
    remedy = f"run 'paceline plan {folder}' again"
    return read_json(folder / PLAN, Plan, error=PlanError, schema=SCHEMA, remedy=remedy)
