"""Profiles answer for compiled widths, and speak of one machine and one bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.costmodel import Contention, HostTime, Machine, Measurement, Profile, read_profile
from paceline.costmodel.overlap import ALONE, Slowdown
from paceline.costmodel.profile import Together, interpolate
from paceline.documents import write_json
from paceline.errors import ProfileError

MACHINE = Machine(
    architecture="x86_64", cpu="Test CPU", cores=2, memory_bytes=8 << 30, drivers={"gpu": "SwiftShader"},
    cache_bytes=32 << 20,
)  # fmt: skip


def measured(width: int, seconds: float, **fields: Any) -> Measurement:
    values = {
        "role": "target",
        "precision": "f32",
        "unit": "cpu",
        "cores": 2,
        "spread": 0.0,
        "repeats": 5,
        "position": 0,
    }
    return Measurement(**{**values, **fields, "width": width, "seconds": seconds})


PROFILE = Profile(
    bundle="digest",
    machine=MACHINE,
    context=128,
    measurements=(
        measured(8, 0.03),
        measured(1, 0.01),
        measured(4, 0.02),
        measured(1, 0.018, cores=1),
        measured(1, 0.002, role="drafter", precision="int8"),
    ),
    host=(
        HostTime(drafter="none", draft_length=0, seconds=1e-4),
        HostTime(drafter="model", draft_length=7, seconds=8e-4),
        HostTime(drafter="model", draft_length=1, seconds=2e-4),
    ),
)


@pytest.mark.parametrize(("width", "seconds"), [(1, 0.01), (2, 0.02), (4, 0.02), (5, 0.03), (8, 0.03), (9, None)])
def test_widths_round_up_to_what_runs(width: int, seconds: float | None) -> None:
    assert PROFILE.seconds("target", "cpu", width) == seconds
    assert PROFILE.seconds("target", "cpu", width, cores=2) == seconds


def contention(together: Together, width: int, slower: float, **places: str) -> Contention:
    pair = {"target": "cpu", "drafter": "gpu", **places}
    return Contention(together=together, width=width, slows_target=slower, slows_drafter=slower / 2, **pair)


def test_company_is_that_of_the_narrowest_round_that_holds_the_drafts() -> None:
    profile = msgspec.structs.replace(
        PROFILE,
        contention=(
            contention("at once", 4, 1.9),
            contention("in turns", 4, 1.4),
            contention("in turns", 2, 1.2),
            contention("in turns", 2, 3.0, drafter="cpu"),
        ),
    )
    assert [profile.in_turns("cpu", "gpu", drafts).target for drafts in (1, 2, 3, 9)] == [1.2, 1.4, 1.4, 1.4]
    assert profile.in_turns("cpu", "gpu", 1).drafter == 0.6
    assert profile.slowdown("cpu", "gpu", 2) == Slowdown(1.9, 1.0)
    assert profile.in_turns("cpu", "cpu", 1).target == 3.0 and profile.slowdown("cpu", "cpu", 2) is None
    assert profile.in_turns("gpu", "gpu", 1) == ALONE


def test_role_unit_and_cores_are_told_apart() -> None:
    assert PROFILE.seconds("drafter", "cpu", 1) == 0.002
    assert PROFILE.seconds("target", "cpu", 1, cores=1) == 0.018
    assert PROFILE.seconds("target", "gpu", 1) is None
    assert PROFILE.seconds("target", "cpu", 1, cores=3) is None
    assert (PROFILE.cores("cpu"), PROFILE.cores("cpu", role="drafter"), PROFILE.cores("gpu")) == ((1, 2), (2,), ())


def test_a_pass_grows_with_its_position() -> None:
    entries = (measured(1, 0.010), measured(1, 0.014, position=120), measured(4, 0.02), measured(4, 0.03, position=124))
    profile = msgspec.structs.replace(PROFILE, measurements=entries)
    assert profile.seconds("target", "cpu", 1, position=0) == 0.010
    assert profile.seconds("target", "cpu", 1, position=30) == pytest.approx(0.011)
    assert profile.seconds("target", "cpu", 1) == pytest.approx(0.010 + 0.004 * 64 / 120)  # the middle of the context
    assert profile.seconds("target", "cpu", 1, position=1000) == 0.014
    assert profile.seconds("target", "cpu", 3, position=62) == pytest.approx(0.025)


def test_host_time_is_a_line_between_the_measured_lengths() -> None:
    assert PROFILE.host_seconds("none", 0) == 1e-4
    assert PROFILE.host_seconds("model", 4) == pytest.approx(5e-4)
    assert PROFILE.host_seconds("model", 9) == 8e-4
    assert PROFILE.host_seconds("ngram", 3) == 0.0


@given(
    st.lists(st.tuples(st.integers(0, 1000), st.floats(-1e3, 1e3)), min_size=1, unique_by=lambda p: p[0]),
    st.floats(0, 2e3),
)
def test_interpolation_is_that_of_numpy(points: list[tuple[float, float]], at: float) -> None:
    ordered = sorted(points)
    expected = np.interp(at, [x for x, _ in ordered], [y for _, y in ordered])
    assert interpolate(points, at) == pytest.approx(expected, rel=1e-6, abs=1e-6)


def read(folder: Path, **fields: Any) -> Profile:
    return read_profile(folder, **{"bundle": "digest", "machine": MACHINE, **fields})


def test_round_trip(tmp_path: Path) -> None:
    write_json(tmp_path / "profile.json", PROFILE)
    assert read(tmp_path) == PROFILE


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=r"has no profile\.json; run 'paceline profile"):
        read(tmp_path)


@pytest.mark.parametrize("text", ["", "{", '{"schema": 3}', '{"schema": 3, "bundle": 3}'])
def test_damaged(tmp_path: Path, text: str) -> None:
    (tmp_path / "profile.json").write_text(text)
    with pytest.raises(ProfileError, match=r"profile\.json is not a valid Profile"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("measurements", 0, "seconds"), 1e308),
        (("measurements", 0, "seconds"), 1e-320),
        (("measurements", 0, "spread"), -1.0),
        (("measurements", 0, "repeats"), 0),
        (("measurements", 0, "unit"), "cpu@x"),
        (("measurements", 0, "unit"), "cpu@0-7"),
        (("host", 0, "seconds"), 1e308),
        (("context",), 0),
        (("contention", 0, "slows_target"), 1e-320),
        (("contention", 0, "slows_drafter"), 1e6),
        (("contention", 0, "together"), "beside"),
    ],
)
def test_figures_that_nobody_measured(tmp_path: Path, place: tuple[Any, ...], value: object) -> None:
    document = msgspec.json.decode(msgspec.json.encode(PROFILE))
    document["host"] = [{"drafter": "none", "draft_length": 0, "seconds": 0.001}]
    document["contention"] = [msgspec.json.decode(msgspec.json.encode(contention("in turns", 4, 1.4)))]
    write_json(tmp_path / "profile.json", document)
    read(tmp_path)
    part = document
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = value
    write_json(tmp_path / "profile.json", document)
    with pytest.raises(ProfileError, match=r"profile\.json is not a valid Profile: .*; run 'paceline profile"):
        read(tmp_path)


def test_other_schema(tmp_path: Path) -> None:
    write_json(tmp_path / "profile.json", msgspec.structs.replace(PROFILE, schema=9))
    with pytest.raises(ProfileError, match="schema 9, expected 3"):
        read(tmp_path)


def test_other_bundle(tmp_path: Path) -> None:
    write_json(tmp_path / "profile.json", PROFILE)
    with pytest.raises(ProfileError, match="other programs or weights"):
        read(tmp_path, bundle="another")


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"cpu": "Other CPU"}, "cpu: Other CPU, not Test CPU"),
        ({"cores": 4}, "cores: 4, not 2"),
        ({"architecture": "aarch64"}, "architecture: aarch64, not x86_64"),
        ({"memory_bytes": 4 << 30}, "memory: 4294967296 bytes"),
        ({"drivers": {"gpu": "Mali-G310"}}, "gpu: Mali-G310, not SwiftShader"),
        ({"cache_bytes": 16 << 20}, "last cache: 16777216 bytes, not 33554432 bytes"),
    ],
)
def test_other_machine_is_named(tmp_path: Path, fields: dict[str, Any], found: str) -> None:
    write_json(tmp_path / "profile.json", PROFILE)
    with pytest.raises(ProfileError, match=found):
        read(tmp_path, machine=msgspec.structs.replace(MACHINE, **fields))


def test_small_changes_are_the_same_machine(tmp_path: Path) -> None:
    write_json(tmp_path / "profile.json", PROFILE)
    updated_kernel = msgspec.structs.replace(MACHINE, memory_bytes=MACHINE.memory_bytes - (30 << 20))
    lost_driver = msgspec.structs.replace(MACHINE, drivers={})
    says_nothing_of_caches = msgspec.structs.replace(MACHINE, cache_bytes=0)
    for same in (updated_kernel, lost_driver, says_nothing_of_caches):
        assert read(tmp_path, machine=same) == PROFILE
