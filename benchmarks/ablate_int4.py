"""What four bits cost in which matrices: perplexity of an f32 bundle with some matrices rounded to int4 and back.

    .venv/bin/python benchmarks/ablate_int4.py bundles/q05f32 --package packages/qwen-0.5b --work /tmp/ablation

Activations stay f32, so that nothing but the weights is seen. The bundle must be a plain one of f32 kernel programs;
each row of the table is a copy of it with another archive. benchmarks/README.md says what followed from it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from paceline.compile.archive import write_archive
from paceline.compile.int4 import Blocks, dequantise, quantise
from paceline.compile.package import Weights, open_weights, read_package
from paceline.compile.packing import PACKED
from paceline.partition import read_bundle

Choice = Callable[[str], bool]
PERPLEXITY = Path(__file__).with_name("perplexity.py")


def part(name: str) -> str:
    """``v`` of ``layers.3.v.weight``."""
    return name.split(".")[-2]


def inner(name: str) -> bool:
    """Whether a tensor belongs to a layer."""
    return name.startswith("layers.")


CHOICES: dict[str, Choice] = {
    "nothing": lambda name: False,
    "all layers": inner,
    "all but v": lambda name: inner(name) and part(name) != "v",
    "all but q, k, v": lambda name: inner(name) and part(name) not in "qkv",
    "all but o": lambda name: inner(name) and part(name) != "o",
    "all but q, k, v, o": lambda name: inner(name) and part(name) not in "qkvo",
    "all but down": lambda name: inner(name) and part(name) != "down",
    "all layers and the head": lambda name: inner(name) or name.startswith("head"),
}


class Rounded:
    """``Weights`` whose chosen matrices went through int4 and back."""

    def __init__(self, weights: Weights, chosen: Choice) -> None:
        self._weights, self._chosen = weights, chosen

    def names(self) -> tuple[str, ...]:
        return self._weights.names()

    def shape(self, name: str) -> tuple[int, ...]:
        return self._weights.shape(name)

    def blocks(self, name: str) -> Blocks | None:
        return None

    def read(self, name: str) -> NDArray[np.float32]:
        values = self._weights.read(name)
        if values.ndim != 2 or not self._chosen(name):
            return values
        return np.ascontiguousarray(dequantise(quantise(values))[:, : values.shape[1]])


def rounded_copy(bundle: Path, package: Path, chosen: Choice, folder: Path) -> None:
    """The bundle at ``folder``, its archive made of rounded weights; programs are hard links."""
    found, described = read_bundle(bundle), read_package(package)
    (archive,) = set(found.target.weights.values())
    folder.mkdir(parents=True)
    for name in (*found.files, "bundle.json"):
        if name != archive:
            os.link(bundle / name, folder / name)
    weights = Rounded(open_weights(package, described), chosen)
    write_archive(weights, described.spec, PACKED["f32"], found.context, folder / archive)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--package", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="a folder that does not exist yet, removed at the end")
    parser.add_argument("--only", default=";".join(CHOICES), help="rows by name; the first is the reference")
    parser.add_argument("--tokens", default="8192")
    options = parser.parse_args()
    folders = []
    for name in options.only.split(";"):
        folders.append(options.work / name.replace(", ", "-").replace(" ", "-"))
        rounded_copy(options.bundle, options.package, CHOICES[name], folders[-1])
    command = [sys.executable, str(PERPLEXITY), *map(str, folders), "--tokens", options.tokens]
    code = subprocess.run(command).returncode
    shutil.rmtree(options.work)
    sys.exit(code)


if __name__ == "__main__":
    main()
