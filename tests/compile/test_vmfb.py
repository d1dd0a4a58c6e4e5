"""Executables in a .vmfb: read, and damaged in every way that bytes can be."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paceline.compile.emit_vmfb import emit_vmfb
from paceline.compile.tools import Children
from paceline.compile.vmfb import Shader, shaders
from paceline.errors import BundleError
from paceline.targets import load_soc

SOURCE = """
func.func @f(%a: tensor<8x64xf32>) -> tensor<8x64xf32> {
  %sum = arith.addf %a, %a : tensor<8x64xf32>
  return %sum : tensor<8x64xf32>
}
"""
pytestmark = pytest.mark.cpu


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vmfb")
    (folder / "f.mlir").write_text(SOURCE)
    unit = load_soc("imx95").unit("gpu")
    assert unit is not None
    emit_vmfb(folder / "f.mlir", unit, folder / "f.vmfb", Children())
    return folder / "f.vmfb"


@pytest.fixture(scope="module")
def executable(program: Path) -> bytes:
    with zipfile.ZipFile(program) as archive:
        return next(data for name in archive.namelist() if (data := archive.read(name)).startswith(b"VKE1"))


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bytes], tuple[Shader, ...]]:
    """Reads a .vmfb that has this one executable."""
    path = tmp_path_factory.mktemp("damaged") / "x.vmfb"

    def run(content: bytes) -> tuple[Shader, ...]:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("x.fb", content)
        path.write_bytes(buffer.getvalue())
        return shaders(path)

    return run


def test_a_shader_with_its_layout(program: Path) -> None:
    (shader,) = shaders(program)
    assert shader.name.startswith("f_dispatch_0_elementwise")
    assert shader.name == shader.module.entry_points[0]
    assert (shader.storage_buffers, shader.push_constant_bytes, shader.subgroup) == (2, 0, 0)
    assert shader.module.bindings == {(0, 0), (0, 1)}


def test_what_is_no_vmfb_is_one_error(tmp_path: Path, read: Callable[[bytes], tuple[Shader, ...]]) -> None:
    (tmp_path / "x").write_bytes(b"PK no zip")
    with pytest.raises(BundleError, match="cannot be read as a"):
        shaders(tmp_path / "x")
    with pytest.raises(BundleError, match="cannot be read as a"):
        shaders(tmp_path / "nowhere")
    assert read(b"an executable of a CPU") == ()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_damage_is_read_or_refused(
    executable: bytes, read: Callable[[bytes], tuple[Shader, ...]], data: st.DataObject
) -> None:
    content = bytearray(executable)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(4, 0x140) | st.integers(4, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)) | st.just(len(content)))
    try:
        read(bytes(content[:cut]))
    except BundleError as error:
        assert "x.fb" in str(error)
