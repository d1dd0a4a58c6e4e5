"""From a shape to IR: no weights, one function a width, every parameter by its name."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import msgspec
import pytest

from paceline.compile.capture import Capture
from paceline.compile.lower_to_linalg import mark
from paceline.compile.parameters import declared, parameters
from paceline.compile.tools import Children
from paceline.costmodel import ModelSpec, Rope
from paceline.errors import CompileFailed
from tests import captures
from tests.specs import tiny_spec

# torch's own tracer uses what it deprecates; the pipeline traces in a child, where nobody sees it
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

# Qwen2.5-1.5B by its sizes: 6 GB in f32, which nobody holds here
LARGE = ModelSpec(
    name="large", family="qwen2", layers=2, hidden=1536, heads=12, kv_heads=2, head_size=128, ffn=8960,
    vocabulary=151936, context=32768, norm_epsilon=1e-6, rope=Rope(theta=1e6), qkv_bias=True, tied=True,
)  # fmt: skip


@pytest.fixture(scope="module", params=["f32-plain", "int8-bytes", "int8-words"])
def exported(request: pytest.FixtureRequest) -> tuple[Capture, str]:
    pytest.importorskip("torch")
    pytest.importorskip("iree.compiler")
    from paceline.compile.export_model import export_text

    precision, form = request.param.split("-")
    capture = Capture(spec=LARGE, precision=precision, form=form, context=64, widths=(1, 4))
    return capture, export_text(capture)


def test_a_function_for_each_width(exported: tuple[Capture, str]) -> None:
    assert re.findall(r'sym_name = "(\w+)"', exported[1]) == ["step_1", "step_4"]


def test_every_parameter_of_the_archive_is_declared_and_no_other(exported: tuple[Capture, str]) -> None:
    capture, text = exported
    found = dict(re.findall(r'flow\.parameter\.named<"model"::"([^"]+)"> : tensor<(\S+)>', text))
    assert found == {
        name: "x".join([*map(str, part.shape), part.dtype])
        for parameter in parameters(capture.spec, capture.context)
        for name, part in declared(parameter, capture.rules()).items()
    }


def test_weights_are_no_literals(exported: tuple[Capture, str]) -> None:
    assert "dense_resource" not in exported[1]
    assert len(exported[1]) < 1_000_000


def test_a_fork_writes_what_the_command_writes_and_fails_as_it_fails(tmp_path: Path) -> None:
    """Tests that compile a lot fork a process that has imported torch."""
    pytest.importorskip("torch")
    capture = Capture(spec=tiny_spec(layers=1), precision="int8", form="bytes", context=32, widths=(1, 2))
    (tmp_path / "capture.json").write_bytes(msgspec.json.encode(capture))
    texts = []
    for run in (Children.run, captures.run):
        command = (sys.executable, "-m", "paceline.compile.export_model", *(str(tmp_path / n) for n in ("no", "out")))
        with pytest.raises(CompileFailed, match=r"torch\.export failed: FileNotFoundError.*/no'") as caught:
            run(Children(), command, tool="torch.export")
        assert caught.value.command == command
        run(Children(), (*command[:3], str(tmp_path / "capture.json"), command[4]), tool="torch.export")
        texts.append((tmp_path / "out").read_text())
        (tmp_path / "out").unlink()
    assert texts[0] == texts[1] != ""


def test_marking_touches_products_with_weights_only() -> None:
    text = (
        "%1 = linalg.matmul ins(%a, %b : t, t) outs(%c : t) -> t\n"
        "%2 = linalg.batch_matmul ins(%a, %b : t, t) outs(%c : t) -> t\n"
    )
    marked, count = mark(text)
    assert count == 1
    assert 'linalg.matmul {"iree.opt.data_tiling"} ins(' in marked
    assert "linalg.batch_matmul ins(" in marked
    assert mark(marked) == (marked, 1)
