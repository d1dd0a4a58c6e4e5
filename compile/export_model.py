"""Turns a model's shape into MLIR of the torch dialect: one function a width, every weight a named parameter.

No weight is needed or made: the module is traced on fake tensors. It runs in a process of its own, because torch takes
seconds to import and its tracer is single-threaded:

    python -m paceline.compile.export_model CAPTURE.json OUTPUT.mlir
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import torch
from iree.compiler import ir
from iree.compiler.extras.fx_importer import FxImporter, FxImporterHooks
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.export import ExportedProgram

from paceline.compile.capture import Capture
from paceline.compile.decoder import DTYPES, Decoder
from paceline.compile.parameters import declaration, symbol
from paceline.costmodel import cache_rows

_ELEMENT = {dtype: name for name, dtype in DTYPES.items()}
# The importer's context does not know IREE's dialects: it prints the load in MLIR's generic form, which drops types
# that IREE's own parser wants. This is the same operation in IREE's spelling.
_GENERIC_LOAD = re.compile(r'"util\.global\.load"\(\) <?\{global = (@\w+)\}>? : \(\) -> (tensor<[^>]*>)')


def export_text(capture: Capture) -> str:
    """MLIR text with ``step_<width>`` for each width."""
    return text_of((f"step_{width}", trace(capture, width)) for width in capture.widths)


def text_of(programs: Iterable[tuple[str, ExportedProgram]]) -> str:
    """MLIR text of programs that share their parameters, as functions of the names that come with them."""
    hooks, context = _Parameters(), ir.Context()
    context.allow_unregistered_dialects = True
    importer = FxImporter(context=context, hooks=hooks)
    for name, program in programs:
        importer.import_program(program, func_name=name)
    text = _GENERIC_LOAD.sub(r"util.global.load \1 : \2", str(importer.module))
    start = text.index("{", text.index("module")) + 1
    return text[:start] + "\n" + hooks.declarations() + text[start:]


def trace(capture: Capture, width: int) -> ExportedProgram:
    """The decoder at one width as a functional graph of core operations."""
    spec = capture.spec
    with FakeTensorMode():
        model = Decoder(spec, capture.rules(), capture.context).eval()
        shape = (spec.layers, spec.kv_heads, cache_rows(capture.context), spec.head_size)
        arguments = (
            torch.zeros(width, dtype=torch.int32),
            torch.zeros(2, dtype=torch.int32),
            torch.zeros(shape),
            torch.zeros(shape),
        )
        program: ExportedProgram = torch.export.export(model, arguments, strict=False).run_decompositions()
    return program


class _Parameters(FxImporterHooks):  # type: ignore[misc]
    """Imports every weight as a load of a global that the archive fills, never as a literal."""

    def __init__(self) -> None:
        self.types: dict[str, str] = {}

    def resolve_input(self, gni: Any, value: Any, info: Any) -> Any:
        if not isinstance(value, torch.Tensor) or info is None:
            return None
        name = info.input_spec.target
        self.types[name] = f"tensor<{'x'.join(map(str, value.shape))}x{_ELEMENT[value.dtype]}>"
        context = gni.fx_importer._c
        where = ir.Location.unknown(context)
        load = ir.Operation.create(
            "util.global.load",
            results=[ir.Type.parse(self.types[name], context)],
            attributes={"global": ir.FlatSymbolRefAttr.get(symbol(name), context)},
            loc=where,
        )
        wrap = ir.Operation.create(
            "torch_c.from_builtin_tensor",
            results=[gni._cc.tensor_to_vtensor_type(value)],
            operands=[load.result],
            loc=where,
        )
        gni._b.append(load)
        gni._b.append(wrap)
        return wrap.result

    def declarations(self) -> str:
        return "".join(f"{declaration(name, kind)}\n" for name, kind in self.types.items())


def main() -> None:
    """Read a capture, write its text."""
    warnings.simplefilter("ignore")
    request, output = map(Path, sys.argv[1:])
    output.write_text(export_text(msgspec.json.decode(request.read_bytes(), type=Capture)))


if __name__ == "__main__":
    main()
