"""How often a drafter whose head is screened says what it would say with all logits.

    paceline compile ... --draft-vocabulary 0 -o bundles/whole
    .venv/bin/python benchmarks/screened.py bundles/whole bundles/qwen-int4 --limit 10 --tokens 64

The target of the first bundle answers the first prompts of each task, greedily. The drafters of all bundles read that,
and a row says of one bundle and task after what share of these tokens its drafter says the same as that of the first
bundle, and the same as the target.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llamacpp import ROOT
from paceline.commands.generating import as_prompt
from paceline.partition import Mapping, read_bundle
from paceline.runtime import load
from paceline.runtime.acceptance import first_of_each
from paceline.runtime.device import open_device
from paceline.runtime.program import Program, load_program
from paceline.runtime.prompts import read_prompts
from turns import table

Ids = NDArray[np.int32]


def answers(folder: Path, options: argparse.Namespace) -> list[tuple[str, int, Ids]]:
    """Of each prompt its task, its number of tokens, and these with the answer behind them."""
    found = []
    prompts = [prompt for prompt in read_prompts(options.prompts) if prompt.task in options.tasks]
    with load(folder, mapping=Mapping(target=options.unit)) as model:
        for prompt in first_of_each(prompts, options.limit):
            ids = list(model.encode(as_prompt(model, prompt.text, raw=False)))
            text = [token.id for token in model.generate(ids, max_new_tokens=options.tokens)]
            found.append((prompt.task, len(ids), np.array(ids + text, np.int32)))
            print(f"{len(found)} {prompt.task}: {len(text)} tokens", file=sys.stderr, flush=True)
    return found


def said(program: Program, ids: Ids, begin: int) -> Ids:
    """What a model says after each token from ``begin`` on, the last one left out."""
    found, position = [], 0
    while position < len(ids) - 1:
        width = max(width for width in program.widths if width <= len(ids) - 1 - position)
        found.append(program.step(ids[position : position + width], position).ids)
        position += width
    return np.concatenate(found)[begin:]


def drafted(folder: Path, unit: str, texts: Sequence[tuple[str, int, Ids]]) -> list[Ids]:
    """What the drafter of a bundle says within each answer."""
    bundle = read_bundle(folder)
    device = bundle.soc.unit(unit)
    if device is None:
        sys.exit(f"{folder} is for {bundle.soc.name}, which has no unit {unit!r}")
    program = load_program(folder, bundle, "drafter", open_device(device))
    found = [said(program, ids, begin - 1) for _, begin, ids in texts]
    program.close()
    return found


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", type=Path, nargs="+")
    parser.add_argument("--prompts", type=Path, default=ROOT.parent / "shared/data/spec_bench_dev.jsonl")
    parser.add_argument("--tasks", type=lambda text: text.split(","), default=["coding", "translation", "qa"])
    parser.add_argument("--limit", type=int, default=10, help="prompts of a task")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--unit", default="cpu")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    texts = answers(options.bundles[0], options)
    by_bundle = {folder: drafted(folder, options.unit, texts) for folder in options.bundles}
    whole, lines = by_bundle[options.bundles[0]], []
    for folder, drafts in by_bundle.items():
        same, right = defaultdict[str, list[bool]](list), defaultdict[str, list[bool]](list)
        for (task, begin, ids), own, first in zip(texts, drafts, whole, strict=True):
            same[task] += (own == first).tolist()
            right[task] += (own == ids[begin:]).tolist()
        for task in same:
            shares = (f"{np.mean(same[task]):.3f}", f"{np.mean(right[task]):.3f}")
            lines.append([str(folder), task, *shares, str(len(same[task]))])
    print(table(["bundle", "task", "as the first", "as the target", "tokens"], lines))


if __name__ == "__main__":
    main()
