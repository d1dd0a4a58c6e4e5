"""Programs that IREE compiled, on the CPU: what a step returns, what a cache remembers, what closing leaves."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from paceline.errors import BundleError, DeviceUnavailable, UsageError
from paceline.partition import read_bundle
from paceline.runtime import Program, iree_program, load_program, open_device
from paceline.runtime.iree_program import IreeDevice, check_tiles
from paceline.targets import amx
from paceline.targets.host import Cpu

pytestmark = pytest.mark.cpu
TEXT = np.arange(3, 19, dtype=np.int32)


def program(folder: Path, *, cores: int | None = None) -> Program:
    bundle = read_bundle(folder)
    return load_program(folder, bundle, "target", open_device(bundle.soc.units[0], cores=cores))


def test_step(tiny_bundle: Path) -> None:
    loaded = program(tiny_bundle)
    step = loaded.step(TEXT, 0, logits=True)
    assert step.logits is not None
    assert step.logits.shape == (16, loaded.vocabulary)
    np.testing.assert_array_equal(step.ids, step.logits.argmax(-1))
    kept = step.logits.copy()
    loaded.step(TEXT[::-1].copy(), 0, logits=True)
    np.testing.assert_array_equal(step.logits, kept)
    assert loaded.step(TEXT[:1], 0).logits is None


def test_rows_that_are_not_wanted_are_not_returned(tiny_bundle: Path) -> None:
    loaded = program(tiny_bundle)
    whole, part = loaded.step(TEXT, 0, logits=True), loaded.step(TEXT, 0, first=13, logits=True)
    assert whole.logits is not None
    assert part.logits is not None
    np.testing.assert_array_equal(part.ids, whole.ids[13:])
    np.testing.assert_array_equal(part.logits, whole.logits[13:])
    assert len(loaded.step(TEXT, 0, first=16).ids) == 0
    with pytest.raises(ValueError, match="rows from 17 on"):
        loaded.step(TEXT, 0, first=17)


def test_lower_position_forgets_and_two_programs_share_nothing(tiny_bundle: Path) -> None:
    first, second = program(tiny_bundle), program(tiny_bundle, cores=1)
    whole = first.step(TEXT, 0, logits=True)
    first.step(TEXT[::-1].copy(), 0)
    first.step(TEXT[:8], 0)
    again = first.step(TEXT[8:], 8, logits=True)
    assert whole.logits is not None
    assert again.logits is not None
    np.testing.assert_array_equal(again.logits, whole.logits[8:])
    np.testing.assert_array_equal(second.step(TEXT, 0).ids, whole.ids)


def test_what_does_not_fit_is_refused(tiny_bundle: Path) -> None:
    loaded = program(tiny_bundle)
    for position in (-1, loaded.context - 15):
        with pytest.raises(ValueError, match="do not fit"):
            loaded.step(TEXT, position)


def test_a_cpu_without_the_instructions_is_refused(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = read_bundle(tiny_bundle)
    needed = bundle.target.features["cpu"]
    lacking = frozenset({"fpu", *needed[1:]})
    monkeypatch.setattr(iree_program, "detect_cpu", lambda: Cpu("small", lacking, 0.0))
    with pytest.raises(DeviceUnavailable, match=rf"need {needed[0]}, .* \(small\) does not have"):
        program(tiny_bundle)
    monkeypatch.setattr(iree_program, "detect_cpu", lambda: Cpu("silent", frozenset(), 0.0))
    assert program(tiny_bundle).context == bundle.context


def test_tiles_that_linux_does_not_lend_are_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amx, "tiles_granted", lambda: False)
    for names in (["avx2", "amx-int8"], ["amx_tile"]):
        with pytest.raises(DeviceUnavailable, match=r"multiply tiles \(AMX\), which Linux does not lend"):
            check_tiles(names)
    check_tiles(["avx2", "avx512vnni"])
    monkeypatch.setattr(amx, "tiles_granted", lambda: True)
    check_tiles(["amx-int8"])


def test_equal_cores_share_a_device(tiny_bundle: Path) -> None:
    unit = read_bundle(tiny_bundle).soc.units[0]
    first, second, other = open_device(unit, cores=1), open_device(unit, cores=1), open_device(unit)
    assert isinstance(first, IreeDevice)
    assert isinstance(second, IreeDevice)
    assert first.hal is second.hal
    assert first.unit == other.unit


def test_a_bundle_is_only_read(tiny_bundle: Path) -> None:
    code = (
        "import sys, paceline; opened = []\n"
        "sys.addaudithook(lambda event, args: event == 'open' and opened.append((str(args[0]), args[1])))\n"
        "paceline.load(sys.argv[1]).generate('a', max_new_tokens=2).finish()\n"
        "print({mode for name, mode in opened if name.startswith(sys.argv[1]) and mode})"
    )
    said = subprocess.run([sys.executable, "-c", code, str(tiny_bundle)], capture_output=True, text=True, check=True)
    assert set(ast.literal_eval(said.stdout)) <= {"r", "rb"}


def test_a_damaged_archive_is_a_sentence(tiny_bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, folder)
    archive = folder / read_bundle(folder).target.weights["cpu"]
    whole = archive.read_bytes()
    for at in (0, 8, 64, 200):
        # A load that fails may leave reads of the mapped file behind: another file, not the same one cut and written.
        archive.unlink()
        archive.write_bytes(whole[:at] + bytes(byte ^ 0xFF for byte in whole[at : at + 16]) + whole[at + 16 :])
        with pytest.raises(BundleError, match="cannot be loaded"):
            program(folder)


def test_a_folder_whose_name_is_no_utf8(tiny_bundle: Path, tmp_path: Path) -> None:
    (folder := tmp_path / os.fsdecode(b"\xff")).symlink_to(tiny_bundle)
    with pytest.raises(UsageError, match="is no name in UTF-8, and IREE opens no other; rename it"):
        program(folder)


def test_closing_twice(tiny_bundle: Path) -> None:
    loaded = program(tiny_bundle)
    loaded.close()
    loaded.close()
    with pytest.raises(KeyError):
        loaded.step(TEXT, 0)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("context", 64, r"does not fit its bundle.json: keys shape dimension 2 mismatch; .*64"),
        ("context", 2**60, "asks for caches of .* GB, this machine has"),
        ("layers", 3, "does not fit its bundle.json: keys shape dimension 0 mismatch"),
        ("layers", 2**60, "asks for caches of .* GB, this machine has"),
        ("vocabulary", 321 + 2**20, r"result 1 has shape \(1, \d+\), expected \(1, 1048897\)"),
    ],
)
def test_a_manifest_that_does_not_fit_its_program(tiny_bundle: Path, field: str, value: int, said: str) -> None:
    bundle = read_bundle(tiny_bundle)
    spec = bundle.target.spec if field == "context" else replace(bundle.target.spec, **{field: value})
    wrong = replace(bundle, models=(replace(bundle.target, spec=spec),))
    if field == "context":
        wrong = replace(wrong, context=value)
    with pytest.raises(BundleError, match=said):
        load_program(tiny_bundle, wrong, "target", open_device(bundle.soc.units[0])).step(TEXT[:1], 0, logits=True)
