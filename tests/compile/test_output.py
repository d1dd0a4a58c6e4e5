"""A bundle is built again in place, with its measurements; anything else is left alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paceline.compile import build
from paceline.compile.output import Request, asked_model, check_output
from paceline.errors import OutputError
from paceline.partition import read_bundle
from paceline.targets import load_soc
from tests.specs import tiny_spec

SOC = load_soc("x86-swiftshader")
SMALL: dict[str, Any] = {"context": 32, "widths": (1, 2), "units": ("cpu",), "soc": SOC}


@pytest.mark.cpu
def test_the_same_request_keeps_what_was_measured(tmp_path: Path, tiny_package: Callable[..., Path]) -> None:
    package, output = tiny_package("llama"), tmp_path / "b"
    first = build(target=package, output=output, **SMALL)
    (output / "profile.json").write_text("measured")
    assert build(target=package, output=output, **SMALL) == first
    assert (output / "profile.json").read_text() == "measured"
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


@pytest.mark.cpu
def test_another_request_is_refused_and_with_force_forgets_what_was_measured(
    tmp_path: Path, tiny_package: Callable[..., Path]
) -> None:
    package, output = tiny_package("llama"), tmp_path / "b"
    first = build(target=package, output=output, **SMALL)
    (output / "profile.json").write_text("measured")
    with pytest.raises(OutputError, match="another bundle"):
        build(target=package, drafter=package, output=output, **SMALL)
    assert read_bundle(output) == first
    build(target=package, drafter=package, output=output, replace=True, **SMALL)
    assert read_bundle(output).drafter
    assert not (output / "profile.json").exists()


@pytest.mark.cpu
def test_a_damaged_bundle_is_repaired(tmp_path: Path, tiny_package: Callable[..., Path]) -> None:
    package, output = tiny_package("llama"), tmp_path / "b"
    first = build(target=package, output=output, **SMALL)
    (output / "target.f32.cpu.vmfb").unlink()
    assert build(target=package, output=output, **SMALL) == first
    read_bundle(output, checksums=True)


def test_an_empty_folder_is_free_and_a_file_is_not(tmp_path: Path) -> None:
    request = Request(soc="x", units=frozenset(), context=1, widths=(1,), models=())
    assert not check_output(tmp_path, request, replace=False)
    assert not check_output(tmp_path / "new", request, replace=False)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="no bundle"):
        check_output(tmp_path / "file", request, replace=True)


def test_a_drafter_that_chooses_among_fewer_ids_is_another_request() -> None:
    whole, some = tiny_spec(), tiny_spec(draft_vocabulary=9)
    assert asked_model("drafter", whole, "int8") != asked_model("drafter", some, "int8")
    assert asked_model("drafter", whole, "int8") == asked_model("drafter", tiny_spec(context=9), "int8")
