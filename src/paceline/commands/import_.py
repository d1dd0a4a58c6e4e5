"""``paceline import``: a checkpoint becomes a model package."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paceline import console

if TYPE_CHECKING:
    from paceline.compile import Package

EPILOG = """\
Examples:
  $ paceline import smollm2-135m.gguf -o packages/smollm2
  $ paceline import HuggingFaceTB/SmolLM2-135M-Instruct -o packages/smollm2
  $ paceline import exported-by-optimum/ -o packages/smollm2 --json | jq .spec.layers
  30
"""


def page(
    source: Annotated[str, typer.Argument(metavar="SRC", help="A .gguf or .onnx file, a folder, or a hub id.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="The new folder.")],
    revision: Annotated[str, typer.Option(help="Branch, tag or commit, for a hub id.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the package as one JSON document.")] = False,
) -> None:
    """Check a checkpoint and make a model package of it: weights as they are, tokenizer and chat template."""
    from paceline.compile import import_model

    with console.progress() as progress:
        package = import_model(source, output, revision=revision or None, progress=progress)
    console.print_json(package) if as_json else _show(package, output)


def _show(package: Package, output: Path) -> None:
    spec = package.spec
    attention = f"{spec.heads} heads over {spec.kv_heads} key-value heads of size {spec.head_size}"
    print(f"{output}: {spec.name}, family {spec.family}, {package.format}")
    print(f"  {spec.layers} layers, hidden {spec.hidden}, {attention}, feed-forward {spec.ffn}")
    print(f"  vocabulary {spec.vocabulary}, context {spec.context}, ends at tokens {list(package.tokens.eos)}")
    print(f"  {sum(entry.bytes for entry in package.files.values()) / 1e6:.1f} MB in {len(package.files)} files")
