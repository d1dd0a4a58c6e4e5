"""Programs for the three Malis: compiled, every shader held against the limits of its driver, and run where one can."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from paceline.compile import pipeline
from paceline.compile.bindings import read_reach
from paceline.compile.build import build
from paceline.compile.check_gpu import check, needs_of
from paceline.compile.emit_vmfb import emit_vmfb
from paceline.compile.tools import Children
from paceline.compile.vmfb import shaders
from paceline.errors import CompileFailed
from paceline.partition import Bundle, read_bundle
from paceline.runtime import load_program, open_device
from paceline.runtime.vulkan_driver import CHOSEN_BY, select_driver
from paceline.targets import GpuNeeds, ProcessingUnit, Soc, load_soc
from paceline.targets.limits import why_not_fit

MALIS = ("imx95", "rk3588", "pixel8")
pytestmark = [
    pytest.mark.cpu,
    pytest.mark.usefixtures("forked_captures"),
    pytest.mark.xdist_group("one layer"),  # with the same programs
]
Compile = Callable[..., Bundle]

MATMUL = """
func.func @f(%a: tensor<8x64xf32>, %b: tensor<64x64xf32>) -> tensor<8x64xf32> {
  %zero = arith.constant 0.0 : f32
  %empty = tensor.empty() : tensor<8x64xf32>
  %sum = linalg.fill ins(%zero : f32) outs(%empty : tensor<8x64xf32>) -> tensor<8x64xf32>
  %product = linalg.matmul ins(%a, %b : tensor<8x64xf32>, tensor<64x64xf32>)
      outs(%sum : tensor<8x64xf32>) -> tensor<8x64xf32>
  return %product : tensor<8x64xf32>
}
"""
ROW_SUMS = """
func.func @f(%a: tensor<8x64xf32>) -> tensor<8xf32> {
  %zero = arith.constant 0.0 : f32
  %empty = tensor.empty() : tensor<8xf32>
  %start = linalg.fill ins(%zero : f32) outs(%empty : tensor<8xf32>) -> tensor<8xf32>
  %sum = linalg.reduce { arith.addf } ins(%a : tensor<8x64xf32>) outs(%start : tensor<8xf32>) dimensions = [1]
  return %sum : tensor<8xf32>
}
"""


def gpu(soc: str) -> ProcessingUnit:
    unit = load_soc(soc).unit("gpu")
    assert unit is not None and unit.limits is not None
    return unit


def with_limits(soc: str, **changes: Any) -> Soc:
    """A SoC whose GPU is allowed something else: ``shared_memory=8``."""
    unit = gpu(soc)
    table = msgspec.to_builtins(unit.limits) | {key: {"value": value, "source": "us"} for key, value in changes.items()}
    changed = msgspec.structs.replace(unit, limits=msgspec.convert(table, type(unit.limits)))
    units = tuple(changed if other.kind == "gpu" else other for other in load_soc(soc).units)
    return msgspec.structs.replace(load_soc(soc), units=units)


@pytest.fixture
def compiled(tmp_path: Path, tiny_package: Callable[..., Path]) -> Compile:
    """Compiles a llama of one layer for a SoC's GPU, as test_every_soc does, and reads the bundle back."""

    def run(soc: Soc, precision: str = "f32", *, units: tuple[str, ...] = ("gpu",), **overrides: Any) -> Bundle:
        package = tiny_package("llama", num_hidden_layers=1, **overrides)
        build(
            soc=soc, target=package, target_precision=precision, output=tmp_path / "bundle", context=32, widths=(1, 4),
            units=units, jobs=1, replace=True,
        )  # fmt: skip
        return read_bundle(tmp_path / "bundle", checksums=True)

    return run


NEEDED = {
    "f32": set(),
    "f16": {"Float16", "StorageBuffer16BitAccess"},
    "int8": {"Int8", "StorageBuffer8BitAccess", "DotProduct"},
}


@pytest.mark.parametrize("precision", NEEDED)
@pytest.mark.parametrize("soc", MALIS)
def test_every_shader_of_a_mali_fits_its_driver(compiled: Compile, soc: str, precision: str) -> None:
    bundle = compiled(load_soc(soc), precision)
    assert bundle.failures == ()
    needs = bundle.target.needs["gpu"]
    assert needs.shaders > 40
    assert NEEDED[precision] <= set(needs.capabilities)
    assert needs.subgroup == 16 and "GroupNonUniformArithmetic" in needs.capabilities
    # the longest of what a dispatch binds is the table of embeddings, or that of the head
    bytes_each = {"f32": 4, "f16": 2, "int8": 1}[precision]
    spec = bundle.target.spec
    assert needs.buffer_range == spec.vocabulary * spec.hidden * bytes_each
    limits = gpu(soc).limits
    assert limits is not None and not list(why_not_fit(needs, limits))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"shared_memory": 4},
            r"step_\d+\$async_dispatch_\d+_\S+: it asks for \d+ bytes of shared memory; the limit is 4",
        ),
        ({"invocations": 8}, r"step_\d+\$async_dispatch_\d+_\S+: it asks for \d+ invocations a workgroup"),
        ({"workgroup": (8, 8, 8)}, r"_\S+: it asks for a workgroup of 16 x 1 x 1; the limit is 8 x 8 x 8 \(us\)"),
        ({"workgroups": (2, 1, 1)}, r"it asks for a dispatch of \d+ x 1 x 1 workgroups"),
        ({"buffer_range": 1000}, r"it asks for a storage buffer of \d+ bytes; the limit is 1000"),
        ({"buffers": 1}, r"it asks for \d storage buffers; the limit is 1"),
        ({"push_constants": 4}, r"it asks for \d+ bytes of push constants; the limit is 4"),
        ({"subgroups": (32, 64)}, r"it counts on subgroups of 16; there are 32 to 64"),
        ({"capabilities": ("GroupNonUniformShuffle",)}, r"it uses GroupNonUniformArithmetic, which is not there"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_shader_that_does_not_fit_is_refused_by_name_and_nothing_is_compiled_for_that(
    compiled: Compile, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], reason: str
) -> None:
    compiled(load_soc("imx95"))
    monkeypatch.setattr(pipeline, "emit_vmfb", lambda *a, **k: pytest.fail("compiled twice"))
    with pytest.raises(CompileFailed, match=reason) as caught:
        compiled(with_limits("imx95", **changes))
    assert "gpu is Mali-G310" in str(caught.value)
    assert "\n" not in caught.value.diagnostic


def test_a_gpu_whose_limits_are_passed_is_left_out_and_the_cpu_is_kept(compiled: Compile) -> None:
    bundle = compiled(with_limits("imx95", push_constants=4), units=("cpu", "gpu"))
    (failure,) = bundle.failures
    assert (failure.role, failure.unit, failure.command) == ("target", "gpu", "")
    assert "push constants; the limit is 4 (us)" in failure.reason
    assert set(bundle.target.programs) == {"cpu"} and not bundle.target.needs


def test_a_soc_file_without_limits_leaves_programs_unchecked_but_says_what_they_need(compiled: Compile) -> None:
    soc = load_soc("imx95")
    units = tuple(msgspec.structs.replace(unit, limits=None) for unit in soc.units)
    bundle = compiled(msgspec.structs.replace(soc, units=units))
    assert bundle.failures == () and bundle.target.needs["gpu"].shaders > 40


def test_a_vocabulary_of_more_rows_than_a_dispatch_has_workgroups_fits(compiled: Compile) -> None:
    """Alone, a row of activations takes a workgroup a row of the matrix on Mali, and the head has 70000."""
    for precision in ("f32", "int8"):
        needs = compiled(load_soc("imx95"), precision, vocab_size=70000).target.needs["gpu"]
        assert max(needs.workgroups) <= 65535
        assert needs.buffer_range >= 70000


@pytest.mark.vulkan
@pytest.mark.parametrize("precision", ["f32", "int8"])
def test_such_a_vocabulary_has_the_same_bits_at_width_1_and_4(
    compiled: Compile, tmp_path: Path, precision: str
) -> None:
    bundle = compiled(load_soc("x86-swiftshader"), precision, vocab_size=70000)
    program = load_program(tmp_path / "bundle", bundle, "target", open_device(gpu("x86-swiftshader")))
    tokens = np.array([5, 69999, 17, 40000], dtype=np.int32)
    try:
        wide = program.step(tokens, 0, logits=True)
        assert wide.logits is not None
        expected = wide.logits.copy()
        for at in range(4):
            alone = program.step(tokens[at : at + 1], at, logits=True)
            assert alone.logits is not None and alone.logits.shape == (1, 70000)
            np.testing.assert_array_equal(alone.logits[0], expected[at])
            assert alone.ids.tolist() == [int(expected[at].argmax())]
    finally:
        program.close()


@pytest.fixture
def compile_for(tmp_path: Path) -> Callable[[str, str], tuple[Path, dict[str, GpuNeeds]]]:
    """Compiles MLIR for a SoC's GPU: the .vmfb, and what its shaders ask for."""

    def run(source: str, soc: str) -> tuple[Path, dict[str, GpuNeeds]]:
        mlir, program = tmp_path / "f.mlir", tmp_path / f"{soc}.vmfb"
        mlir.write_text(source)
        emit_vmfb(mlir, gpu(soc), program, Children(), dump=tmp_path / soc)
        return program, needs_of(program, read_reach(tmp_path / soc, mlir), gpu(soc))

    return run


def run_on_gpu(program: Path, *arguments: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """``f`` of a .vmfb on this machine's Vulkan driver, in a process of its own."""
    driver = select_driver()
    assert driver is not None
    command = [str(Path(sys.executable).with_name("iree-run-module")), "--device=vulkan", f"--module={program}"]
    for number, argument in enumerate(arguments):
        np.save(program.with_name(f"{number}.npy"), argument)
        command.append(f"--input=@{program.with_name(f'{number}.npy')}")
    if driver.loader is not None:
        command.append(f"--vulkan_libvulkan_search_path={driver.loader}")
    out = program.with_name("out.npy")
    environment = {**os.environ, **dict.fromkeys(CHOSEN_BY, str(driver.icd))}
    done = subprocess.run(
        [*command, "--function=f", f"--output=@{out}"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[:500]
    return np.array(np.load(out))


@pytest.mark.vulkan
@pytest.mark.parametrize("soc", MALIS)
def test_what_fits_swiftshader_too_runs_there_as_it_was_compiled_for_mali(compile_for: Any, soc: str) -> None:
    program, needs = compile_for(MATMUL, soc)
    check(needs, gpu(soc))
    check(needs, gpu("x86-swiftshader"))
    generator = np.random.default_rng(0)
    a, b = (generator.standard_normal(shape, dtype=np.float32) for shape in ((8, 64), (64, 64)))
    np.testing.assert_allclose(run_on_gpu(program, a, b), a @ b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("soc", MALIS)
def test_what_counts_on_subgroups_of_mali_is_not_for_swiftshader(compile_for: Any, soc: str) -> None:
    _, needs = compile_for(ROW_SUMS, soc)
    check(needs, gpu(soc))
    with pytest.raises(CompileFailed, match=r"counts on subgroups of 16; there are 4 to 4 \(SwiftShader"):
        check(needs, gpu("x86-swiftshader"))


def modules(program: Path) -> Iterator[tuple[str, bytes]]:
    """SPIR-V in a .vmfb as the words between a list's length and its end, found without our reader of FlatBuffers."""
    with zipfile.ZipFile(program) as archive:
        for name in archive.namelist():
            content = archive.read(name)
            for match in re.finditer(struct.pack("<I", 0x07230203), content):
                (count,) = struct.unpack_from("<I", content, match.start() - 4)
                yield name, content[match.start() : match.start() + 4 * count]


def tool(*command: str, given: bytes) -> str:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed (Debian's spirv-tools)")
    done = subprocess.run(command, input=given, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[:500]
    return done.stdout.decode()


@pytest.mark.parametrize("precision", NEEDED)
def test_our_reader_agrees_with_khronos_disassembler(compiled: Compile, tmp_path: Path, precision: str) -> None:
    compiled(load_soc("imx95"), precision)
    program = tmp_path / "bundle" / f"target.{precision}.gpu.vmfb"
    ours = {shader.name: shader for shader in shaders(program)}
    found = list(modules(program))
    assert len(found) == len(ours)
    for _, content in found:
        text = tool("spirv-dis", "--raw-id", "-", given=content)
        entry = re.search(r'OpEntryPoint GLCompute \S+ "([^"]+)"', text)
        assert entry
        shader = ours[entry[1]]
        module = shader.module
        # the disassembler of Debian 12 gives dot products the suffix that they had before they were in the core
        names = [name.removesuffix("KHR") for name in re.findall(r"OpCapability (\S+)", text)]
        assert list(module.capabilities) == names
        assert list(module.extensions) == re.findall(r'OpExtension "([^"]+)"', text)
        size = re.search(r"LocalSize (\d+) (\d+) (\d+)", text)
        assert size and module.local_size == tuple(map(int, size.groups()))
        assert len(module.bindings) == shader.storage_buffers
        assert {number for _, number in module.bindings} == set(map(int, re.findall(r" Binding (\d+)", text)))
        assert module.subgroup_operations == ("= OpGroupNonUniform" in text)
        assert bool(module.shared_bytes) == (" Workgroup\n" in text.replace("OpTypePointer Workgroup", ""))
        assert shader.push_constant_bytes == module.push_constant_bytes
        assert f"Version: {module.version[0]}.{module.version[1]}" in text


def test_khronos_validator_takes_every_module_by_the_rules_of_the_newest_spirv(
    compiled: Compile, tmp_path: Path
) -> None:
    """IREE writes by the rules of 1.4 and later, and a header of 1.0 where nothing newer is used: docs/compile.md."""
    compiled(load_soc("imx95"), "int8")
    for _, content in modules(tmp_path / "bundle" / "target.int8.gpu.vmfb"):
        newest = content[:4] + struct.pack("<I", 0x10600) + content[8:]
        tool("spirv-val", "--target-env", "vulkan1.3", "-", given=newest)
