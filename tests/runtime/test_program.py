"""Programs that cannot be loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from paceline.errors import BundleError, DeviceUnavailable
from paceline.partition import Failure, read_bundle
from paceline.runtime import NullDevice, load_program, open_device
from paceline.runtime.null_device import NULL_UNIT

GPU = msgspec.structs.replace(NULL_UNIT, name="gpu", kind="gpu")


def test_program_that_was_not_compiled(null_bundle: Callable[..., Path]) -> None:
    folder = null_bundle()
    bundle = read_bundle(folder)
    target = msgspec.structs.replace(bundle.target, programs={"cpu": bundle.target.programs["cpu"]})
    failure = Failure(role="target", precision="f32", unit="gpu", reason="IREE refused it")
    device = NullDevice(unit=GPU)
    without = msgspec.structs.replace(bundle, models=(target,))
    with pytest.raises(DeviceUnavailable, match="no target program for unit 'gpu'; it has: cpu"):
        load_program(folder, without, "target", device)
    with pytest.raises(DeviceUnavailable, match="not compiled for gpu: IREE refused it"):
        load_program(folder, msgspec.structs.replace(without, failures=(failure,)), "target", device)
    with pytest.raises(BundleError, match="no drafter"):
        load_program(folder, without, "drafter", device)


@pytest.mark.cpu
def test_file_that_is_no_program(null_bundle: Callable[..., Path]) -> None:
    folder = null_bundle()
    with pytest.raises(BundleError, match=r"vmfb with target\.f32\.irpa cannot be loaded.*compile it again"):
        load_program(folder, read_bundle(folder), "target", open_device(NULL_UNIT))
