"""What the compiler is told about GPUs."""

from __future__ import annotations

import pytest

from paceline.compile import vulkan
from paceline.targets import load_soc


@pytest.mark.parametrize(("soc", "target"), [("x86-swiftshader", "vp_android_baseline_2022"), ("imx95", "mali-g310")])
def test_flags(soc: str, target: str) -> None:
    unit = load_soc(soc).unit("gpu")
    assert unit is not None
    assert vulkan.flags(unit) == (
        "--iree-hal-target-device=vulkan",
        f"--iree-vulkan-target={target}",
        "--iree-opt-level=O1",
        "--iree-opt-const-expr-hoisting=false",
    )
