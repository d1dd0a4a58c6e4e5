"""Plain against speculative decoding on every prompt of a file, to be run in the background and taken up again.

    .venv/bin/python benchmarks/lossless.py bundles/smollm2 --tokens 64 --draft-lengths 3 --log lossless.jsonl

Each prompt is one line of the log, written when it is done; a second call goes on after the last one. Exits with 1 when
a text differs from the plain one. The comparison is that of ``paceline bench``. Prompts that do not fit the context are
cut: their last tokens are taken, so that every prompt counts.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from llamacpp import ROOT
from paceline.commands.generating import as_prompt
from paceline.costmodel import merge
from paceline.partition import Mapping
from paceline.partition.plan import NGRAM
from paceline.runtime import Model, load
from paceline.runtime.compare import Outcome, compare
from paceline.runtime.prompts import Prompt, read_prompts
from turns import table


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """First line of a log: what all its prompts were decoded with."""

    bundle: str
    mapping: str
    draft_lengths: tuple[int, ...]
    tokens: int
    prompts: int


class Checked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One prompt: its tokens (``cut``: it was longer) and an outcome for every draft length, plain first."""

    number: int
    category: str
    prompt_tokens: int
    cut: bool
    outcomes: tuple[Outcome, ...]


def check(model: Model, number: int, prompt: Prompt, settings: Settings) -> Checked:
    """Decode after one prompt plainly and with every draft length."""
    ids = model.encode(as_prompt(model, prompt.text, raw=False))
    kept: Sequence[Any] = ids[-(model.context - settings.tokens) :]
    outcomes = compare(model, [kept], draft_lengths=settings.draft_lengths, max_new_tokens=settings.tokens)
    return Checked(
        number=number,
        category=prompt.task,
        prompt_tokens=len(kept),
        cut=len(kept) < len(ids),
        outcomes=outcomes,
    )


def read_log(path: Path, settings: Settings) -> list[Checked]:
    """The prompts that a log holds already; starts it where there is none. A last line that was cut is dropped."""
    if not path.exists() or not path.stat().st_size:
        path.write_bytes(msgspec.json.encode(settings) + b"\n")
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if whole != data:
        path.write_bytes(whole)
    first, *lines = whole.splitlines()
    if msgspec.json.decode(first, type=Settings) != settings:
        sys.exit(f"{path} was made with {first.decode()}; give another --log, or the same options")
    return [msgspec.json.decode(line, type=Checked) for line in lines]


def summary(checked: Sequence[Checked]) -> str:
    """By draft length: texts that are the plain ones, acceptance; then every prompt whose text is not."""
    lines, wrong = [], []
    for outcomes in zip(*(one.outcomes for one in checked), strict=True):
        kept = merge([outcome.acceptance for outcome in outcomes])
        same = sum(outcome.identical for outcome in outcomes)
        alpha = "" if kept.alpha is None else f"{kept.alpha:.3f}"
        lines.append([str(outcomes[0].draft_length), f"{same}/{len(outcomes)}", alpha])
        wrong += [
            f"draft length {outcome.draft_length}: prompt {one.number} ({one.category})"
            for one, outcome in zip(checked, outcomes, strict=True)
            if outcome.different
        ]
    cut = sum(one.cut for one in checked)
    return "\n".join([table(["draft length", "same text", "alpha"], lines), f"{cut} prompts were cut", *wrong])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--prompts", type=Path, default=ROOT.parent / "shared/data/spec_bench_dev.jsonl")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--draft-lengths", default="3", help="separated by commas")
    parser.add_argument("--drafter", choices=["model", "ngram"], default="model")
    parser.add_argument("--unit", default="cpu")
    parser.add_argument("--every", type=int, default=1, help="only each so many-th prompt: 6 makes 40 of 240")
    parser.add_argument("--log", type=Path, required=True)
    return parser.parse_args()


def main() -> None:
    options = arguments()
    prompts = list(enumerate(read_prompts(options.prompts)))[:: options.every]
    drafter = NGRAM if options.drafter == "ngram" else options.unit
    mapping = Mapping(target=options.unit, drafter=drafter)
    with load(options.bundle, mapping=mapping) as model:
        settings = Settings(
            bundle=model.bundle.digest,
            mapping=str(mapping),
            draft_lengths=tuple(int(length) for length in options.draft_lengths.split(",")),
            tokens=options.tokens,
            prompts=len(prompts),
        )
        checked = read_log(options.log, settings)
        done = {one.number for one in checked}
        for number, prompt in prompts:
            if number in done:
                continue
            checked.append(check(model, number, prompt, settings))
            with options.log.open("ab") as log:
                log.write(msgspec.json.encode(checked[-1]) + b"\n")
            same = all(outcome.identical for outcome in checked[-1].outcomes)
            said = f"{len(checked)}/{len(prompts)} {prompt.task}: {'same' if same else 'DIFFERENT'}"
            print(said, file=sys.stderr, flush=True)
    print(summary(checked))
    if any(outcome.different for one in checked for outcome in one.outcomes):
        sys.exit(1)


if __name__ == "__main__":
    main()
