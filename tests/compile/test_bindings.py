"""What dispatches bind, read from IR that looks like IREE's."""

from __future__ import annotations

from pathlib import Path

import pytest

from paceline.compile.bindings import Reach, parse_reach, read_reach
from paceline.errors import CompileFailed

IR = """
  util.func private @__step_1$async_memoize_apply() -> !hal.command_buffer attributes {inlining_policy = #x} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c8 = arith.constant 8 : index
    %c4096 = arith.constant 4096 : index
    %c256_i32 = arith.constant 256 : i32
    %function_id = hal.executable.lookup.function target(%e : !hal.executable) function(@d_0::@spirv::@"d_0_matmul") : i64
    hal.command_buffer.dispatch<%cmd : !hal.command_buffer> target(%e : !hal.executable)[%function_id] workgroups([%c8, %c1, %c1]) constants([%c256_i32]) bindings([
      (%c0 : index)[%c0, %c8],
      (%weight : !hal.buffer)[%c0, %c4096]
    ]) flags("None")
    hal.command_buffer.dispatch<%cmd : !hal.command_buffer> target(%e : !hal.executable)[%function_id] workgroups([%c1, %c8, %c1]) bindings([
      (%c0 : index)[%c0, %c8]
    ]) flags("None")
    util.return %cmd : !hal.command_buffer
  }
  util.func private @__step_4$async_memoize_apply() -> !hal.command_buffer {
    %c1 = arith.constant 1 : index
    %c8 = arith.constant 9000 : index
    %function_id = hal.executable.lookup.function target(%e : !hal.executable) function(@d_1::@spirv::@d_1_add) : i64
    hal.command_buffer.dispatch<%cmd : !hal.command_buffer> target(%e : !hal.executable)[%function_id] workgroups([%c1, %c1, %c1]) bindings([
      (%c1 : index)[%c1, %c8]
    ]) flags("None")
  }
"""  # noqa: E501


def test_the_most_of_each_shader_over_its_dispatches_in_the_names_of_its_function() -> None:
    assert parse_reach(IR.splitlines()) == {
        "d_0_matmul": Reach(workgroups=(8, 8, 1), range=4096),
        "d_1_add": Reach(workgroups=(1, 1, 1), range=9000),
    }


def test_a_number_that_is_known_only_when_running_is_an_error() -> None:
    unknown = IR.replace("%c8 = arith.constant 9000 : index", "%c8 = arith.muli %arg0, %arg1 : index")
    with pytest.raises(CompileFailed, match="%c8 is no constant; its limits cannot be checked"):
        parse_reach(unknown.splitlines())


def test_the_phase_is_that_of_the_source(tmp_path: Path) -> None:
    (tmp_path / "abc_linalg.11.hal.mlir").write_text(IR)
    (tmp_path / "other_linalg.11.hal.mlir").write_text("")
    assert len(read_reach(tmp_path, Path("elsewhere/abc.linalg.mlir"))) == 2
    with pytest.raises(CompileFailed, match="0 files of the phase 'hal'"):
        read_reach(tmp_path, Path("nothing.linalg.mlir"))
