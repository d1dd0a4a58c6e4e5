"""From a bundle, a SoC and measurements to a plan that explains itself.

Example:
    >>> from paceline.partition import read_bundle, choose
    >>> plan = choose(read_bundle(folder), profile=profile, acceptance=acceptance)
    >>> plan.mapping, plan.draft_length, plan.rejected[0].reason
"""

from paceline.partition.bundle import Bundle, BundledModel, Failure, TokenIds, read_bundle
from paceline.partition.plan import Alternative, Estimate, Mapping, Plan, read_plan
from paceline.partition.search import choose

__all__ = [
    "Alternative",
    "Bundle",
    "BundledModel",
    "Estimate",
    "Failure",
    "Mapping",
    "Plan",
    "TokenIds",
    "choose",
    "read_bundle",
    "read_plan",
]
