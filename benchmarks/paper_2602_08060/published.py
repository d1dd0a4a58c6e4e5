"""What arXiv 2602.08060 prints: the inputs that it measured, and tables II and III; and Eq. 1 over them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from paceline.costmodel import paper_speedup

INPUT_LENGTH = 63  # S_L, the mean of Spec-Bench's translation prompts
CORES = range(1, 7)  # of Cortex-A55, a variant each
MOST_AHEAD = 8  # gamma_max, which the paper does not say
ALPHA_HIGH, ALPHA_MEDIAN = 0.90, 0.17  # 90th percentile and median: target in w8a8, drafter unquantised
ALPHA_SEEN = 0.94  # at which variant 1 was measured to reach what 0.90 promised
C_GPU, C_CPU = 0.41, 0.80  # target on one core; drafter on the GPU, or on that core too
_ROUNDING = 0.005  # speed-ups are printed with two digits


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A line of table II: what is chosen with the target on ``cores``; ``gamma`` 0 means no speculation."""

    cores: int
    gamma: int
    heterogeneous: bool
    speedup: float


TABLE_II = (
    Row(cores=1, gamma=5, heterogeneous=True, speedup=1.68),
    Row(cores=2, gamma=2, heterogeneous=True, speedup=1.10),
    Row(cores=3, gamma=0, heterogeneous=False, speedup=1.0),
    Row(cores=4, gamma=0, heterogeneous=False, speedup=1.0),
    Row(cores=5, gamma=1, heterogeneous=False, speedup=1.02),
    Row(cores=6, gamma=0, heterogeneous=False, speedup=1.0),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One claim of the paper and the inputs that should lead to it; ``speedup`` None: the paper says "no gain"."""

    claim: str
    alpha: float
    c: float
    gamma: int
    speedup: float | None

    @property
    def ours(self) -> float:
        """Eq. 1 at the paper's draft length."""
        return paper_speedup(self.alpha, self.gamma, self.c)

    @property
    def verdict(self) -> str:
        """Whether Eq. 1 gives the paper's value, and whether the paper's draft length is the best one."""
        if self.speedup is None:
            return "reproduced" if best_length(self.alpha, self.c) == 0 else "not reproduced"
        value = abs(self.ours - self.speedup) <= _ROUNDING
        length = best_length(self.alpha, self.c) == self.gamma
        if value == length:
            return "reproduced" if value else "not reproduced"
        off = 100 * (self.ours / self.speedup - 1)
        return "value yes, draft length no" if value else f"draft length yes, value {off:+.1f} %"


def best_length(alpha: float, c: float, *, most: int = MOST_AHEAD) -> int:
    """gamma*: the draft length of 0..``most`` with the largest S of Eq. 1, the shortest of equals."""
    return max(range(most + 1), key=lambda gamma: paper_speedup(alpha, gamma, c))


def implied_c(alpha: float, gamma: int, speedup: float) -> float:
    """The c at which Eq. 1 gives ``speedup``: S is Omega / (gamma * c + 1)."""
    return (paper_speedup(alpha, gamma, 0.0) / speedup - 1.0) / gamma


def largest_c(alpha: float, gamma: int) -> float:
    """The c up to which drafting ``gamma`` beats drafting one less: S(gamma) = S(gamma - 1) there."""
    longer, shorter = (paper_speedup(alpha, length, 0.0) for length in (gamma, gamma - 1))
    return (longer - shorter) / (gamma * shorter - (gamma - 1) * longer)


def checks() -> tuple[Check, ...]:
    """What can be recomputed: with the measured c where it is printed, else with the one that Eq. 1 implies."""
    one, two, five = (row for row in TABLE_II if row.gamma)
    implied = {row: implied_c(ALPHA_HIGH, row.gamma, row.speedup) for row in (one, two, five)}
    return (
        Check(claim="1 core and GPU, measured c", alpha=ALPHA_HIGH, c=C_GPU, gamma=5, speedup=1.68),
        Check(claim="1 core and GPU, c that fits 1.68", alpha=ALPHA_HIGH, c=implied[one], gamma=5, speedup=1.68),
        Check(claim="1 core and GPU, alpha seen", alpha=ALPHA_SEEN, c=C_GPU, gamma=5, speedup=1.68),
        Check(claim="2 cores and GPU, c that fits 1.10", alpha=ALPHA_HIGH, c=implied[two], gamma=2, speedup=1.10),
        Check(claim="5 cores alone, c that fits 1.02", alpha=ALPHA_HIGH, c=implied[five], gamma=1, speedup=1.02),
        Check(claim="3 to 6 cores and GPU, c above 1", alpha=ALPHA_HIGH, c=1.0, gamma=1, speedup=None),
        Check(claim="table III: 1 core and GPU", alpha=ALPHA_MEDIAN, c=C_GPU, gamma=1, speedup=None),
        Check(claim="table III: 1 core alone", alpha=ALPHA_MEDIAN, c=C_CPU, gamma=1, speedup=None),
    )


def best_of(lengths: Iterable[int], speedup: Callable[[int], float]) -> tuple[int, float]:
    """(gamma, S) of the best draft length, the first of equals; (0, 1.0) where none gains."""
    gamma, best = max(((length, speedup(length)) for length in lengths), key=lambda pair: pair[1], default=(0, 1.0))
    return (gamma, best) if best > 1.0 else (0, 1.0)
