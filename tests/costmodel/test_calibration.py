"""A calibration on disk: whose it is, what it knows, and what it says of core counts that nobody measured."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from paceline.costmodel import Calibration, Machine, read_calibration
from paceline.costmodel.calibration import Errors, Factors, Multiplying, Residual
from paceline.errors import ProfileError
from paceline.files import write_json

MACHINE = Machine(architecture="x86_64", cpu="Test CPU", cores=4, memory_bytes=8 << 30)


def factors(cores: int, bandwidth: float) -> Factors:
    return Factors(
        unit="cpu",
        program="kernels",
        cores=cores,
        bandwidth=bandwidth,
        attention=0.3,
        logits=0.1,
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
    factors=(factors(4, 1.0), factors(1, 0.6)),
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
    shares = CALIBRATION.shares("cpu", "kernels", "int8", cores=4)
    assert shares is not None
    assert (shares.bandwidth, shares.peak, shares.attention, shares.logits) == (1.0, 0.5, 0.3, 0.1)
    assert (shares.launch, shares.call, shares.exponent) == (2.0, 5.0, 2.0)
    assert CALIBRATION.shares("cpu", "cpu", "int8", cores=4) is None
    assert CALIBRATION.shares("gpu", "gpu", "int8", cores=1) is None
    assert CALIBRATION.shares("cpu", "kernels", "int4", cores=4) is None


@pytest.mark.parametrize(("cores", "bandwidth"), [(1, 0.6), (2, 0.6), (3, 1.0), (4, 1.0), (8, 1.0)])
def test_the_nearest_core_count_speaks(cores: int, bandwidth: float) -> None:
    shares = CALIBRATION.shares("cpu", "kernels", "int8", cores=cores)
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


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 1}'])
def test_damaged(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(ProfileError, match=r"calibration\.json is not a valid Calibration: "):
        read_calibration(path, soc="test-soc")


def test_a_folder_is_no_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=r"^cannot read .*: Is a directory$"):
        read_calibration(tmp_path, soc="test-soc")


def test_other_schema(path: Path) -> None:
    write_json(path, msgspec.structs.replace(CALIBRATION, schema=99))
    with pytest.raises(ProfileError, match="schema 99, expected 1; make it with 'paceline calibrate"):
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
