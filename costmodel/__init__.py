"""Seconds, bytes and tokens per second, each with the wall that it hits.

Example:
    >>> from paceline.costmodel import expected_tokens
    >>> round(expected_tokens(alpha=0.8, draft_length=3), 3)
    2.952
"""

from paceline.costmodel.acceptance import (
    Acceptance,
    AcceptanceFile,
    Moments,
    check_alpha,
    count_rounds,
    expected_tokens,
    independent,
    merge,
    nearest,
    read_acceptance,
)
from paceline.costmodel.caches import CacheKind, cache_bytes, cache_kind, cache_rows, cache_shapes, cache_types
from paceline.costmodel.calibration import Calibration, read_calibration
from paceline.costmodel.fitting import calibrate
from paceline.costmodel.known_models import find_model, known_model, known_models
from paceline.costmodel.memory import (
    Footprint,
    footprint,
    matrix_bytes,
    parameters,
    stored_as,
    unread_parameters,
    weights_bytes,
)
from paceline.costmodel.model_spec import (
    Experts,
    ModelSpec,
    Rope,
    as_rounded,
    check_draft_vocabulary,
    screened_head,
    whole_head,
)
from paceline.costmodel.overlap import ALONE, Slowdown, overlapped_round
from paceline.costmodel.profile import Contention, Drafting, HostTime, Machine, Measurement, Profile, Role, read_profile
from paceline.costmodel.roofline import RooflineEstimate, roofline
from paceline.costmodel.speculation import (
    Round,
    break_even_alpha,
    can_gain,
    paper_speedup,
    plain_round,
    speculative_round,
)
from paceline.costmodel.work import Work, attention, forward, kernel_calls, layer, matmul

__all__ = [
    "ALONE",
    "Acceptance",
    "AcceptanceFile",
    "CacheKind",
    "Calibration",
    "Contention",
    "Drafting",
    "Experts",
    "Footprint",
    "HostTime",
    "Machine",
    "Measurement",
    "ModelSpec",
    "Moments",
    "Profile",
    "Role",
    "RooflineEstimate",
    "Rope",
    "Round",
    "Slowdown",
    "Work",
    "as_rounded",
    "attention",
    "break_even_alpha",
    "cache_bytes",
    "cache_kind",
    "cache_rows",
    "cache_shapes",
    "cache_types",
    "calibrate",
    "can_gain",
    "check_alpha",
    "check_draft_vocabulary",
    "count_rounds",
    "expected_tokens",
    "find_model",
    "footprint",
    "forward",
    "independent",
    "kernel_calls",
    "known_model",
    "known_models",
    "layer",
    "matmul",
    "matrix_bytes",
    "merge",
    "nearest",
    "overlapped_round",
    "paper_speedup",
    "parameters",
    "plain_round",
    "read_acceptance",
    "read_calibration",
    "read_profile",
    "roofline",
    "screened_head",
    "speculative_round",
    "stored_as",
    "unread_parameters",
    "weights_bytes",
    "whole_head",
]
