"""Seconds, bytes and tokens per second, each with the wall that it hits.

Example:
    >>> from paceline.costmodel import expected_tokens
    >>> expected_tokens(alpha=0.8, draft_length=3)
    2.952
"""

from paceline.costmodel.acceptance import Acceptance
from paceline.costmodel.model_spec import Experts, ModelSpec, Rope
from paceline.costmodel.profile import Machine, Measurement, Profile, Role

__all__ = ["Acceptance", "Experts", "Machine", "Measurement", "ModelSpec", "Profile", "Role", "Rope"]
