"""A calibration on disk: whose it is, what it knows, and what it says of core counts that nobody measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from paceline.costmodel import Calibration, Machine, read_calibration
from paceline.costmodel.calibration import Errors, Factors, Multiplying, Residual
from paceline.costmodel.roofline import Shares
from paceline.documents import write_json
from paceline.errors import ProfileError

MACHINE = Machine(architecture="x86_64", cpu="Test CPU", cores=4, memory_bytes=8 << 30, cache_bytes=32 << 20)


def factors(cores: int, bandwidth: float) -> Factors:
    return Factors(
        unit="cpu",
        program="kernels",
        cores=cores,
        bandwidth=bandwidth,
        cached=3.0,
        there=0.5,
        attention=0.3,
        attention_in_bytes=0.2,
        logits=0.1,
        activations=0.7,
        launch=2.0,
        call=5.0,
        precisions={"int8": Multiplying(peak=0.5, exponent=2.0)},
    )


RESIDUAL = Residual(
    model="m", precision="int8", unit="cpu", program="kernels", cores=4, width=2, position=0, seconds=0.01,
    fitted=0.011, without_width=0.008,
)  # fmt: skip
CALIBRATION = Calibration(
    soc="test-soc",
    machine=MACHINE,
    factors=(
        factors(4, 1.0),
        factors(1, 0.6),
        Factors(
            unit="gpu",
            program="words",
            cores=2,
            bandwidth=0.5,
            launch=2.0,
            wide=1.5,
            precisions={"f32": Multiplying(peak=0.4, exponent=1.0)},
        ),
    ),
    errors={"fitted": Errors(passes=1, median=0.1, percentile_90=0.1)},
    residuals=(RESIDUAL,),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_json(tmp_path / "calibration.json", CALIBRATION)
    return tmp_path / "calibration.json"


def test_round_trip(path: Path) -> None:
    assert read_calibration(path, soc="test-soc") == CALIBRATION


def test_shares_are_those_of_the_program() -> None:
    shares = CALIBRATION.shares("cpu", "kernels", "int8", cores=1, width=64)
    assert shares is not None
    assert (shares.bandwidth, shares.peak, shares.attention, shares.logits) == (0.6, 0.5, 0.3, 0.1)
    assert (shares.launch, shares.call, shares.exponent) == (2.0, 5.0, 2.0)
    assert (shares.attention_in_bytes, shares.activations) == (0.2, 0.7)
    assert shares.cache == 16 << 20 and shares.cached == pytest.approx(3 * 0.6)
    assert CALIBRATION.shares("cpu", "cpu", "int8", cores=4, width=1) is None
    assert CALIBRATION.shares("gpu", "gpu", "int8", cores=1, width=1) is None
    assert CALIBRATION.shares("cpu", "kernels", "int4", cores=4, width=1) is None


def test_a_gpu_has_what_it_was_fitted_with() -> None:
    narrow, wide = (CALIBRATION.shares("gpu", "words", "f32", cores=2, width=width) for width in (15, 16))
    assert narrow == Shares(bandwidth=0.5, cached=0.5, peak=0.4, attention=None, launch=2.0, exponent=1.0)
    assert wide is not None and wide.peak == pytest.approx(0.4 * 1.5)
    assert replace(wide, peak=0.4) == narrow


def test_a_cache_of_unknown_size_changes_nothing() -> None:
    unknown = msgspec.structs.replace(
        CALIBRATION,
        machine=msgspec.structs.replace(MACHINE, cache_bytes=0),
        factors=tuple(msgspec.structs.replace(f, cached=None, there=None) for f in CALIBRATION.factors),
    )
    shares = unknown.shares("cpu", "kernels", "int8", cores=4, width=1)
    assert shares is not None and (shares.cache, shares.cached) == (0, shares.bandwidth)


@pytest.mark.parametrize(("cores", "bandwidth"), [(1, 0.6), (2, 0.6), (3, 1.0), (4, 1.0), (8, 1.0)])
def test_the_nearest_core_count_speaks(cores: int, bandwidth: float) -> None:
    shares = CALIBRATION.shares("cpu", "kernels", "int8", cores=cores, width=1)
    assert shares is not None and shares.bandwidth == bandwidth


def test_errors_are_relative_to_what_was_measured() -> None:
    assert RESIDUAL.error("fitted") == pytest.approx(0.1)
    assert RESIDUAL.error("widths") == pytest.approx(-0.2)
    assert RESIDUAL.error("models") is None


def test_another_soc_is_refused(path: Path) -> None:
    with pytest.raises(
        ProfileError, match="was fitted to profiles of test-soc, not of imx95; shares do not carry over"
    ):
        read_calibration(path, soc="imx95")


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=r"is missing; make it with 'paceline calibrate BUNDLE\.\.\.'"):
        read_calibration(tmp_path / "none.json", soc="test-soc")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 4}'])
def test_damaged(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(ProfileError, match=r"calibration\.json is not a valid Calibration: "):
        read_calibration(path, soc="test-soc")


def test_a_folder_is_no_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=r"^cannot read .*: Is a directory$"):
        read_calibration(tmp_path, soc="test-soc")


@pytest.mark.parametrize("schema", [3, 99])
def test_other_schema(path: Path, schema: int) -> None:
    write_json(path, msgspec.structs.replace(CALIBRATION, schema=schema))
    with pytest.raises(ProfileError, match=f"schema {schema}, expected 4; make it with 'paceline calibrate"):
        read_calibration(path, soc="test-soc")


@pytest.mark.parametrize(
    ("field", "value"), [("bandwidth", 0.0), ("launch", -1.0), ("logits", 1e-300), ("call", 1e300)]
)
def test_shares_that_cannot_be_are_damage(path: Path, field: str, value: float) -> None:
    damaged = msgspec.to_builtins(CALIBRATION)
    damaged["factors"][0][field] = value
    path.write_bytes(msgspec.json.encode(damaged))
    with pytest.raises(ProfileError, match=rf"not a valid Calibration: .* at `\$\.factors\[0\]\.{field}`"):
        read_calibration(path, soc="test-soc")
