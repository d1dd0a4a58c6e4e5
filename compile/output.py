"""Where a bundle may be written, and what of an earlier one there stays.

Compiling the same request again rebuilds the bundle in place; where its programs and weights did not change, what was
measured of them (profile, acceptance, plan) still holds and is kept.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from paceline.costmodel import ModelSpec, Role
from paceline.costmodel.acceptance import ACCEPTANCE
from paceline.costmodel.profile import PROFILE
from paceline.errors import BundleError, OutputError
from paceline.partition import Bundle, read_bundle
from paceline.partition.bundle import MANIFEST
from paceline.partition.plan import PLAN

Asked = tuple[Role, str, str, int]


def asked_model(role: Role, spec: ModelSpec, precision: str) -> Asked:
    """What of a model makes a request another one: role, name, precision, draft vocabulary."""
    return role, spec.name, precision, spec.draft_vocabulary


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody asked to compile: models as ``asked_model`` has them, for which units of which SoC."""

    soc: str
    units: frozenset[str]
    context: int
    widths: tuple[int, ...]
    models: tuple[Asked, ...]

    @classmethod
    def of(cls, bundle: Bundle) -> Request:
        """The request that a bundle answers."""
        done = {unit for model in bundle.models for unit in model.programs}
        return cls(
            soc=bundle.soc.name,
            units=frozenset(done | {failure.unit for failure in bundle.failures}),
            context=bundle.context,
            widths=bundle.widths,
            models=tuple(asked_model(model.role, model.spec, model.precision) for model in bundle.models),
        )


def check_output(output: Path, request: Request, *, replace: bool) -> bool:
    """Whether a bundle stands at ``output`` that may be replaced: the same request, or any with ``replace``.

    Raises:
        OutputError: something else stands there; said before any work is done.
    """
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return False
    if not (output / MANIFEST).is_file():
        raise OutputError(f"{output} exists and is no bundle; choose another output")
    if not replace and (earlier := _earlier(output)) and Request.of(earlier) != request:
        raise OutputError(f"{output} holds another bundle; choose another output, or replace it with --force")
    return True


def keep_measurements(output: Path, bundle: Bundle, folder: Path) -> None:
    """Copy what was measured of the bundle at ``output`` into ``folder`` when ``bundle`` is the same."""
    earlier = _earlier(output)
    if earlier is None or earlier.digest != bundle.digest:
        return
    for name in (PROFILE, ACCEPTANCE, PLAN):
        if (output / name).is_file():
            shutil.copyfile(output / name, folder / name)


def _earlier(output: Path) -> Bundle | None:
    """The bundle at ``output``; None where it is damaged, which compiling it again repairs."""
    try:
        return read_bundle(output)
    except BundleError:
        return None
