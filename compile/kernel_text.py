"""The text of kernel programs: values, calls, and one IREE executable whose exports call C functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from paceline.compile.kernel_calls import KERNELS, object_of
from paceline.compile.parameters import declaration, symbol
from paceline.targets.instruction_sets import InstructionSet

_BYTE, _POINTER = "memref<1xi8>", "memref<i8>, index, index, index"
# name in IREE's executable formats, target triple, data layout
_ELF = {
    "x86_64": ("x86_64", "x86_64-none-elf", "e-m:e-p270:32:32-p271:32:32-p272:64:64-i64:64-f80:128-n8:16:32:64-S128"),
    "aarch64": ("arm_64", "aarch64-none-elf", "e-m:e-i8:8:32-i16:16:32-i64:64-i128:128-n32:64-S128"),
}


@dataclass
class Value:
    """A tensor in the course of a program: ``name`` is its latest version, empty before its first."""

    kind: str
    name: str = ""


@dataclass
class Builder:
    """Writes one function; ``weights`` are the types of the globals by name.

    ``exports`` has the kernel of each call site, by the name that a profile shows: site and kernel.
    """

    function: str
    weights: Mapping[str, str]
    exports: dict[str, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    arguments: dict[str, Value] = field(default_factory=dict)
    results: int = 0
    _loaded: dict[str, Value] = field(default_factory=dict)
    _count: int = 0

    def argument(self, name: str, shape: str) -> Value:
        """An input that the caller owns."""
        value = Value(f"tensor<{shape}>", self._new())
        self.arguments[name] = value
        self.lines.append(f'{value.name} = hal.tensor.import %{name} "{name}" : !hal.buffer_view -> {value.kind}')
        return value

    def make(self, shape: str) -> Value:
        """A tensor that the first call which has it as its last array makes."""
        return Value(f"tensor<{shape}>")

    def weight(self, name: str) -> Value:
        """A parameter."""
        if name not in self._loaded:
            value = self._loaded[name] = Value(self.weights[name], self._new())
            self.lines.append(f"{value.name} = util.global.load immutable @{symbol(name)} : {value.kind}")
        return self._loaded[name]

    def call(self, site: str, kernel: str, workgroups: int, arrays: Sequence[Value], **integers: int) -> None:
        """Run ``workgroups`` of a kernel; ``integers`` are named so that a wrong order cannot be."""
        signature = KERNELS[kernel]
        if tuple(integers) != signature.integers or len(arrays) != len(signature.arrays):
            raise ValueError(f"{kernel} takes {signature.arrays} and {signature.integers}, not {tuple(integers)}")
        self.exports[f"{site}_{kernel}"] = kernel
        uses = list(zip(arrays, signature.arrays, strict=True))
        given, written = [value for value, use in uses if use != "o"], [value for value, use in uses if use != "i"]
        numbers = [self._constant(number, "i32") for number in integers.values()]
        operands = ", ".join([*numbers, *(value.name for value in given)])
        types = ", ".join([*("i32" for _ in numbers), *(value.kind for value in given)])
        # a result is the operand that is changed in place, or the type of what is made
        results = ", ".join(value.name if use == "c" else value.kind for value, use in uses if use != "i")
        target = f"@kernels::@native::@{site}_{kernel}[{self._constant(workgroups, 'index')}]"
        for value in written:
            value.name = self._new()
        names = ", ".join(value.name for value in written)
        self.lines.append(f"{names} = flow.dispatch {target}({operands}) : ({types}) -> ({results})")

    def finish(self, *, results: Sequence[Value], changed: Sequence[Value]) -> None:
        """Return ``results``; ``changed`` are arguments whose new content is the caller's."""
        for name, value in self.arguments.items():
            if value in changed:
                kept = self._new()
                self.lines.append(
                    f"{kept} = hal.tensor.alias {value.name} : {value.kind} to %{name} : !hal.buffer_view"
                )
                self.lines.append(f"{self._new()} = util.optimization_barrier {kept} : {value.kind}")
        names = []
        for value in results:
            names.append(self._new())
            self.lines.append(f"{names[-1]} = hal.tensor.export {value.name} : {value.kind} -> !hal.buffer_view")
        self.lines.append(f"util.return {', '.join(names)} : {', '.join('!hal.buffer_view' for _ in names)}")
        self.results = len(names)

    def text(self) -> str:
        """The function."""
        arguments = ", ".join(f"%{name}: !hal.buffer_view" for name in self.arguments)
        results = ", ".join(["!hal.buffer_view"] * self.results)
        body = "\n".join(f"    {line}" for line in self.lines)
        return f"  util.func public @{self.function}({arguments}) -> ({results}) {{\n{body}\n  }}\n"

    def _constant(self, number: int, kind: str) -> str:
        name = self._new()
        self.lines.append(f"{name} = arith.constant {number} : {kind}")
        return name

    def _new(self) -> str:
        self._count += 1
        return f"%v{self._count}"


def module_text(kernels: InstructionSet, weights: Mapping[str, str], functions: Sequence[Builder]) -> str:
    """A module of ``functions``."""
    exports = {name: kernel for function in functions for name, kernel in function.exports.items()}
    return (
        _targets(kernels.architecture)
        + "module @model attributes {hal.device.targets = [#cpu]} {\n"
        + _executable(kernels, exports)
        + "".join(f"  {declaration(name, kind)}\n" for name, kind in weights.items())
        + "".join(function.text() for function in functions)
        + "}\n"
    )


def _targets(architecture: str) -> str:
    elf, triple, layout = _ELF[architecture]
    return (
        f'#native = #hal.executable.target<"llvm-cpu", "embedded-elf-{elf}", '
        f'{{cpu = "generic", cpu_features = "", data_layout = "{layout}", native_vector_size = 16 : index, '
        f'target_triple = "{triple}"}}>\n'
        '#cpu = #hal.device.target<"local", [#native]> : !hal.device\n'
    )


def _executable(kernels: InstructionSet, exports: Mapping[str, str]) -> str:
    return (
        "  hal.executable private @kernels {\n"
        "    hal.executable.variant public @native target(#native) "
        f'objects([#hal.executable.object<{{path = "{object_of(kernels).name}"}}>]) {{\n'
        + "".join(_export(ordinal, name, kernel) for ordinal, (name, kernel) in enumerate(exports.items()))
        + "      builtin.module {\n"
        + "".join(_import(kernel) for kernel in sorted(set(exports.values())))
        + "".join(_body(name, kernel) for name, kernel in exports.items())
        + "      }\n    }\n  }\n"
    )


def _layout(kernel: str) -> str:
    signature = KERNELS[kernel]
    binding = {"i": "storage_buffer, ReadOnly", "c": "storage_buffer", "o": "storage_buffer"}
    bindings = ", ".join(f"#hal.pipeline.binding<{binding[use]}>" for use in signature.arrays)
    return f"#hal.pipeline.layout<constants = {len(signature.integers)}, bindings = [{bindings}]>"


def _export(ordinal: int, name: str, kernel: str) -> str:
    return (
        f"      hal.executable.export public @{name} ordinal({ordinal}) layout({_layout(kernel)}) "
        "count(%device: !hal.device, %count: index) -> (index, index, index) {\n"
        "        %one = arith.constant 1 : index\n"
        "        hal.return %count, %one, %one : index, index, index\n"
        "      }\n"
    )


def _import(kernel: str) -> str:
    signature = KERNELS[kernel]
    types = ", ".join(["memref<i8>" for _ in signature.arrays] + ["index"] * (len(signature.integers) + 1))
    return f"        func.func private @{kernel}({types}) attributes {{hal.import.static, llvm.bareptr = true}}\n"


def _body(name: str, kernel: str) -> str:
    """One workgroup: every array as a plain pointer, every integer widened, and which workgroup it is."""
    signature, layout = KERNELS[kernel], _layout(kernel)
    space = "alignment(64) offset(%zero)"
    lines = ["%zero = arith.constant 0 : index", "%part = hal.interface.workgroup.id[0] : index"]
    for i, _ in enumerate(signature.arrays):
        lines += [
            f"%s{i} = hal.interface.binding.subspan layout({layout}) binding({i}) {space} : {_BYTE}",
            f"%p{i}, %o{i}, %n{i}, %t{i} = iree_codegen.extract_strided_metadata %s{i} : {_BYTE} -> {_POINTER}",
        ]
    for i, _ in enumerate(signature.integers):
        lines += [
            f"%c{i} = hal.interface.constant.load layout({layout}) ordinal({i}) : i32",
            f"%i{i} = arith.index_castui %c{i} : i32 to index",
        ]
    pointers = [f"%p{i}" for i, _ in enumerate(signature.arrays)]
    numbers = [f"%i{i}" for i, _ in enumerate(signature.integers)]
    types = ["memref<i8>"] * len(pointers) + ["index"] * (len(numbers) + 1)
    lines.append(f"func.call @{kernel}({', '.join([*pointers, *numbers, '%part'])}) : ({', '.join(types)}) -> ()")
    body = "\n".join(f"          {line}" for line in (*lines, "return"))
    return f"        func.func @{name}() {{\n{body}\n        }}\n"
