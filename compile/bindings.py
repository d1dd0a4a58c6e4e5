"""What a program's dispatches bind and how far they reach, read from IREE's own IR of the compilation.

A .vmfb holds these numbers only as bytecode. The IR of the compiler's phase ``hal`` has them as text: every
``hal.command_buffer.dispatch`` names its shader, its workgroups and the range of each binding that the driver is given.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from paceline.errors import CompileFailed

PHASE = "hal"
_CONSTANT = re.compile(r"(%[\w$.#-]+) = arith\.constant (-?\d+) : (?:index|i\d+)")
_FUNCTION = re.compile(r"(%[\w$.#-]+) = hal\.executable\.lookup\.function .*::@\"?([^\s\")]+)\"?\) : i64")
_DISPATCH = re.compile(r"hal\.command_buffer\.dispatch(?:\.indirect)?<.*?\)?\[(%[\w$.#-]+)\] workgroups\(\[([^]]*)\]\)")
_RANGE = re.compile(r"\)\[(%[\w$.#-]+), (%[\w$.#-]+)\]")
_SCOPE = ("util.func", "util.initializer", "hal.executable ")


class Reach(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of one shader, over all its dispatches: the most workgroups in x, y and z, and the longest range, in bytes."""

    workgroups: tuple[int, int, int]
    range: int


@dataclass(slots=True)
class _Scope:
    """Names of one function: SSA values are numbered anew in each."""

    constants: dict[str, int]
    functions: dict[str, str]

    def value(self, name: str) -> int:
        if name not in self.constants:
            raise CompileFailed(
                tool="paceline",
                diagnostic=f"IREE's IR has a dispatch whose {name} is no constant; its limits cannot be checked",
                command=(),
            )
        return self.constants[name]


def read_reach(folder: Path, source: Path) -> dict[str, Reach]:
    """The reach of each shader, by its name, from the phases of ``source`` that the compiler was told to dump there.

    Raises:
        CompileFailed: the phase is not there, or what a dispatch binds is not known before it runs.
    """
    files = sorted(folder.glob(f"{source.name.partition('.')[0]}*.{PHASE}.mlir"))
    if len(files) != 1:
        what = f"{len(files)} files of the phase {PHASE!r}, expected one"
        raise CompileFailed(tool="iree-compile", diagnostic=f"wrote {what}", command=())
    with files[0].open() as lines:
        return parse_reach(lines)


def parse_reach(lines: Iterable[str]) -> dict[str, Reach]:
    """The reach of each shader in IR of the phase ``hal``."""
    found: dict[str, Reach] = {}
    for name, workgroups, longest in _dispatches(lines):
        seen = found.get(name, Reach(workgroups=(0, 0, 0), range=0))
        x, y, z = map(max, seen.workgroups, workgroups)
        found[name] = Reach(workgroups=(x, y, z), range=max(seen.range, longest))
    return found


def _dispatches(lines: Iterable[str]) -> Iterator[tuple[str, tuple[int, ...], int]]:
    scope = _Scope({}, {})
    source = iter(lines)
    for line in source:
        text = line.lstrip()
        if text.startswith(_SCOPE):
            scope = _Scope({}, {})
        elif match := _CONSTANT.match(text):
            scope.constants[match[1]] = int(match[2])
        elif match := _FUNCTION.match(text):
            scope.functions[match[1]] = match[2]
        elif match := _DISPATCH.match(text):
            ranges = [_RANGE.findall(part) for part in _operands(text, source)]
            lengths = [scope.value(length) for part in ranges for _, length in part]
            workgroups = tuple(scope.value(name.strip()) for name in match[2].split(","))
            yield scope.functions[match[1]], workgroups, max(lengths, default=0)


def _operands(first: str, rest: Iterator[str]) -> Iterator[str]:
    """The lines of a dispatch after the one that begins it; its flags end it."""
    line = first
    while "flags(" not in line:
        line = next(rest, "flags(")
        yield line
