"""Profiles of bundles as what a calibration is fitted to; what does not belong together is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from paceline.costmodel import Machine, Measurement, Profile, Role, forward
from paceline.documents import write_json
from paceline.errors import BundleError, ProfileError
from paceline.partition import Bundle, read_bundle
from paceline.partition.samples import calibrate_bundles, samples_of
from paceline.partition.times import RooflineTimes

MACHINE = Machine(architecture="x86_64", cpu="Test CPU", cores=2, memory_bytes=8 << 30, drivers={"gpu": "a driver"})
PER_TOKEN = 2e-4
ROLES: tuple[Role, Role] = ("drafter", "target")


def profile_of(bundle: Bundle, *, units: tuple[str, ...] = ("cpu", "gpu"), digest: str = "", **fields: Any) -> Profile:
    """Every pass at both ends of the caches; a unit's first pass takes a millisecond."""
    measurements = tuple(
        Measurement(
            role=model.role, precision=model.precision, unit=unit, cores=1, width=width, position=position,
            seconds=1e-3 + PER_TOKEN * width, spread=0.0, repeats=3,
        )
        for model in bundle.models
        for unit in units
        for width in bundle.widths
        for position in (0, bundle.context - width)
    )  # fmt: skip
    values = {
        "bundle": digest or bundle.digest,
        "machine": MACHINE,
        "context": bundle.context,
        "measurements": measurements,
    }
    return Profile(**{**values, **fields})


@pytest.fixture
def folder(null_bundle: Callable[..., Path]) -> Path:
    folder = null_bundle()
    write_json(folder / "profile.json", profile_of(read_bundle(folder)))
    return folder


@pytest.fixture
def another(folder: Path, tmp_path: Path) -> Callable[..., Path]:
    """Make a second bundle; arguments replace fields of its profile, ``soc`` its SoC."""

    def make(soc: Any = None, **fields: Any) -> Path:
        other = tmp_path / "another"
        other.mkdir()
        for file in folder.iterdir():
            (other / file.name).write_bytes(file.read_bytes())
        if soc is not None:
            write_json(other / "bundle.json", msgspec.structs.replace(read_bundle(other), soc=soc))
        write_json(other / "profile.json", profile_of(read_bundle(other), **fields))
        return other

    return make


def test_a_sample_is_a_pass_and_its_work(folder: Path) -> None:
    bundle = read_bundle(folder)
    samples = samples_of(bundle, profile_of(bundle))
    assert len(samples) == 2 * 2 * len(bundle.widths) * 2
    last = next(s for s in samples if (s.unit.name, s.width, s.position) == ("gpu", 4, bundle.context - 4))
    spec = bundle.target.spec
    assert (last.model, last.precision, last.program, last.cores) == (spec.name, "f32", "gpu", 1)
    assert last.work == forward(spec, width=4, context=bundle.context, precision="f32", program="gpu")
    assert last.seconds == pytest.approx(1e-3 + 4 * PER_TOKEN)


def test_only_a_cpu_reads_through_the_cache_of_its_machine(folder: Path, another: Callable[..., Path]) -> None:
    bundle = read_bundle(folder)
    samples = samples_of(bundle, profile_of(bundle), cache=5 << 20)
    assert {(sample.unit.name, sample.cache) for sample in samples} == {("cpu", 5 << 20), ("gpu", 0)}
    knows = msgspec.structs.replace(MACHINE, cache_bytes=5 << 20)
    calibration = calibrate_bundles([folder, another(machine=knows)])
    assert calibration.machine.cache_bytes == 5 << 20
    assert [factors.cached is None for factors in calibration.factors] == [False, True]
    assert calibrate_bundles([folder]).factors[0].cached is None


def test_kernels_are_timed_by_what_the_caches_hold(folder: Path) -> None:
    bundle = read_bundle(folder)
    target = msgspec.structs.replace(bundle.target, kernels={"cpu": "x86_64-avx2"})
    samples = samples_of(msgspec.structs.replace(bundle, models=(target,)), _of_target(profile_of(bundle)))
    empty, full = (s for s in samples if (s.unit.name, s.width) == ("cpu", 8))
    assert empty.program == "kernels" and empty.work.bytes < full.work.bytes


def test_a_drafters_kernels_make_logits_of_one_token(folder: Path) -> None:
    bundle = read_bundle(folder)
    models = tuple(msgspec.structs.replace(model, kernels={"cpu": "x86_64-avx2"}) for model in bundle.models)
    times = RooflineTimes(msgspec.structs.replace(bundle, models=models))
    assert bundle.drafter is not None and bundle.drafter.spec.draft_vocabulary == 0
    for width in bundle.widths:
        drafter, target = (times.work(role, "cpu", width).logits for role in ROLES)
        assert (drafter, target) == (bundle.drafter.spec.vocabulary, width * bundle.target.spec.vocabulary)


def _of_target(profile: Profile) -> Profile:
    kept = tuple(entry for entry in profile.measurements if entry.role == "target")
    return msgspec.structs.replace(profile, measurements=kept)


def test_a_calibration_of_a_bundle_says_what_its_passes_take(folder: Path) -> None:
    calibration = calibrate_bundles([folder])
    assert calibration.soc == "null" and calibration.machine == MACHINE
    assert {factors.unit for factors in calibration.factors} == {"cpu", "gpu"}
    times = RooflineTimes(read_bundle(folder), calibration=calibration)
    assert times.source == "calibration"
    for width in (1, 4, 16):
        assert times.seconds("target", "cpu", width, 1) == pytest.approx(1e-3 + PER_TOKEN * width, rel=0.1)


def test_a_profile_of_no_pass_is_refused(folder: Path) -> None:
    write_json(folder / "profile.json", msgspec.structs.replace(profile_of(read_bundle(folder)), measurements=()))
    with pytest.raises(ProfileError, match="there is no measured pass in the profile of"):
        calibrate_bundles([folder])


def test_programs_that_were_not_measured_have_no_times(folder: Path) -> None:
    bundle = read_bundle(folder)
    write_json(folder / "profile.json", profile_of(bundle, units=("cpu",)))
    times = RooflineTimes(bundle, calibration=calibrate_bundles([folder]))
    assert times.seconds("target", "gpu", 1, 1) is None
    with pytest.raises(ProfileError, match=r"^the calibration knows no f32 programs on gpu such as the target's$"):
        times.estimate("target", "gpu", 1, 1)


def test_bundles_are_fitted_together(folder: Path, another: Callable[..., Path]) -> None:
    driver = {"cpu": "all cores"}
    machine = Machine(architecture="x86_64", cpu="Test CPU", cores=2, memory_bytes=8 << 30, drivers=driver)
    calibration = calibrate_bundles([folder, another(units=("cpu",), machine=machine)])
    assert calibration.machine.drivers == {**driver, **MACHINE.drivers}
    assert len(calibration.residuals) == (2 + 1) * 2 * 5 * 2


def test_other_machines_are_refused(folder: Path, another: Callable[..., Path]) -> None:
    other = another(machine=msgspec.structs.replace(MACHINE, cpu="Another CPU"))
    with pytest.raises(ProfileError) as refused:
        calibrate_bundles([folder, other])
    assert str(refused.value) == (
        f"{folder} and {other} were profiled on different machines (cpu: Test CPU, not Another CPU); "
        "calibrate one machine at a time"
    )


def test_other_socs_are_refused(folder: Path, another: Callable[..., Path]) -> None:
    soc = read_bundle(folder).soc
    with pytest.raises(ProfileError, match=r"are compiled for null and another; calibrate one SoC at a time$"):
        calibrate_bundles([folder, another(soc=msgspec.structs.replace(soc, name="another"))])


def test_other_figures_are_refused(folder: Path, another: Callable[..., Path]) -> None:
    soc = read_bundle(folder).soc
    faster = msgspec.structs.replace(soc, units=(msgspec.structs.replace(soc.units[0], cores=7), soc.units[1]))
    with pytest.raises(ProfileError, match="are compiled for null with other figures; calibrate one SoC at a time"):
        calibrate_bundles([folder, another(soc=faster)])


def test_a_profile_of_other_programs_is_refused(folder: Path) -> None:
    write_json(folder / "profile.json", profile_of(read_bundle(folder), digest="another"))
    with pytest.raises(ProfileError, match=r"other programs or weights .*; run 'paceline profile .*' again$"):
        calibrate_bundles([folder])


def test_no_profile(folder: Path) -> None:
    (folder / "profile.json").unlink()
    with pytest.raises(ProfileError, match=r"has no profile\.json; run 'paceline profile [^']*'$"):
        calibrate_bundles([folder])


def test_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is not a bundle"):
        calibrate_bundles([tmp_path])


def test_one_width(folder: Path) -> None:
    whole = profile_of(read_bundle(folder))
    narrow = tuple(entry for entry in whole.measurements if entry.width == 2)
    write_json(folder / "profile.json", msgspec.structs.replace(whole, measurements=narrow))
    with pytest.raises(ProfileError, match="f32 on 1 cores of cpu was measured at width 2 only"):
        calibrate_bundles([folder])


def test_a_role_that_the_bundle_lacks(folder: Path) -> None:
    bundle = read_bundle(folder)
    alone = msgspec.structs.replace(bundle, models=(bundle.target,))
    with pytest.raises(ProfileError, match="the profile of null has a drafter on cpu, the bundle has not"):
        samples_of(alone, profile_of(bundle))


def test_seconds_scale_all_that_is_fitted(folder: Path) -> None:
    """A machine that is twice as slow gets half of every figure."""
    bundle = read_bundle(folder)
    slower = tuple(msgspec.structs.replace(m, seconds=2 * m.seconds) for m in profile_of(bundle).measurements)
    first = calibrate_bundles([folder])
    write_json(folder / "profile.json", profile_of(bundle, measurements=slower))
    second = calibrate_bundles([folder])
    for one, other in zip(first.residuals, second.residuals, strict=True):
        assert other.fitted == pytest.approx(2 * one.fitted, rel=1e-3)
