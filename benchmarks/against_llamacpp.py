"""Plain and speculative decoding beside llama.cpp: same prompts, same machine, one run, in turns.

    sh scripts/peers
    .venv/bin/python benchmarks/against_llamacpp.py BUNDLE --gguf target.gguf [--drafter-gguf drafter.gguf]
    .venv/bin/python benchmarks/against_llamacpp.py BUNDLE --gguf target.gguf --only plain,llama-plain
    .venv/bin/python benchmarks/against_llamacpp.py BUNDLE --gguf target.gguf --prefill 64,512
    .venv/bin/python benchmarks/against_llamacpp.py BUNDLE --gguf target.gguf --prefix

Contestants take turns on every prompt in every repetition; what is printed is the median of the ratios, pair by pair,
because a shared machine drifts. Between repetitions the script looks what else runs (see ``quiet.py``). Each generates
the same number of tokens greedily, end-of-sequence ignored.
llama.cpp decodes plainly and with prompt lookup through llama-cpp-python, with a draft model by its own
``llama-speculative-simple``. Contestants: plain, ngram, draft, planned (what the bundle's plan says), llama-plain,
llama-lookup, llama-draft.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from llamacpp import Peer, cores, speculative
from paceline.partition import Mapping
from paceline.partition.plan import NGRAM
from paceline.runtime import Model, load
from paceline.runtime.prompts import read_prompts
from quiet import sample, verdict
from reading import read_prefill, read_prefix, reading_table
from turns import Answer, Contestant, Ids, Play, Turn, duels, play_all, rows, span, table

ROOT = Path(__file__).resolve().parents[1]
KINDS = ("plain", "ngram", "draft", "planned", "llama-plain", "llama-lookup", "llama-draft")
PLAIN, PEER_PLAIN = "paceline plain", "llama.cpp plain"
NGRAM_PLACES = Mapping(target="cpu", drafter=NGRAM)


def ours(model: Model, tokens: int, draft_length: int | None) -> Play:
    """paceline, with the cache of the prompt before forgotten; draft length None: as the model was loaded."""

    def play(ids: Ids) -> Answer:
        model.forget()
        made = model.generate(ids, max_new_tokens=tokens, draft_length=draft_length, ignore_eos=True).finish()
        stats = made.stats
        return Answer(stats.tokens_per_second, made.ids, stats.time_to_first_token, stats.acceptance.alpha)

    return play


def our_contestants(options: argparse.Namespace, plain: Model, stack: ExitStack) -> dict[str, Contestant]:
    """Every way in which the bundle can decode that was asked for; ``plain`` may draft with n-grams."""
    plays = {PLAIN: ours(plain, options.tokens, 0)}
    if "ngram" in options.only:
        lengths = numbers(options.ngram_lengths)
        plays |= {f"paceline n-grams {length}": ours(plain, options.tokens, length) for length in lengths}
    if "draft" in options.only and plain.bundle.drafter:
        pair = stack.enter_context(load(options.bundle, mapping=Mapping(target="cpu", drafter="cpu")))
        lengths = numbers(options.draft_lengths)
        plays |= {f"paceline drafting {length}": ours(pair, options.tokens, length) for length in lengths}
    if "planned" in options.only:
        model = stack.enter_context(load(options.bundle))
        plays[f"paceline as planned ({model.setting.mapping}, {model.setting.draft_length})"] = ours(
            model, options.tokens, None
        )
    return {name: Contestant(tool="paceline", plain=PLAIN, play=play) for name, play in plays.items()}


def peer_contestants(options: argparse.Namespace, texts: dict[Ids, str], stack: ExitStack) -> dict[str, Contestant]:
    """Every way in which llama.cpp can decode that was asked for."""
    threads, context = options.threads, options.context
    plays: dict[str, Play] = {}
    lookups = [0] if "llama-plain" in options.only else []
    lookups += numbers(options.lookup_tokens) if "llama-lookup" in options.only else []
    for lookup in lookups:
        peer = Peer(options.gguf, threads=threads, context=context, lookup=lookup, tokens=options.tokens)
        plays[f"llama.cpp lookup {lookup}" if lookup else PEER_PLAIN] = stack.enter_context(peer)
    if "llama-draft" in options.only and options.drafter_gguf:
        for length in numbers(options.peer_draft_lengths):
            amounts = {"length": length, "tokens": options.tokens, "threads": threads, "context": context}
            play = speculative(options.gguf, options.drafter_gguf, **amounts, texts=texts)
            plays[f"llama.cpp drafting {length}"] = play
    return {name: Contestant(tool="llama.cpp", plain=PEER_PLAIN, play=play) for name, play in plays.items()}


def chosen_prompts(options: argparse.Namespace, model: Model) -> tuple[dict[str, list[Ids]], dict[Ids, str]]:
    """Ids of the first prompts of each category that leave room for the answer, and the text of each."""
    prompts: dict[str, list[Ids]] = {category: [] for category in options.categories.split(",")}
    texts: dict[Ids, str] = {}
    room = min(model.context, options.context) - options.tokens
    for prompt in read_prompts(options.prompts):
        chosen = prompts.get(prompt.task)
        if chosen is None or len(chosen) == options.limit:
            continue
        ids = model.encode([{"role": "user", "content": prompt.text}])
        if len(ids) <= room:
            texts[ids] = model.tokenizer.decode(list(ids), skip_special_tokens=False)
            chosen.append(ids)
    return {category: ids for category, ids in prompts.items() if ids}, texts


def show(turns: Sequence[Turn], contestants: dict[str, Contestant]) -> str:
    """The table of all contestants, and the fastest of each tool against the other's."""
    lines = [
        [
            row.category,
            row.contestant,
            f"{row.tokens_per_second:.1f}",
            span(row.ratio, row.lowest, row.highest),
            f"{row.first_token_seconds:.3f}",
            "" if row.accepted is None else f"{row.accepted:.2f}",
            f"{row.different} of {row.compared}" if row.compared else "",
        ]
        for row in rows(turns, contestants)
    ]
    columns = ["category", "contestant", "tok/s", "over paceline plain", "first token s", "accepted", "not as plain"]
    best = [[d.category, d.first, d.second, span(d.ratio, d.lowest, d.highest)] for d in duels(turns, contestants)]
    return "\n\n".join([table(columns, lines), table(["category", "fastest", "against", "ratio"], best)])


def decode(options: argparse.Namespace, plain: Model, stack: ExitStack) -> None:
    """Let all contestants decode and print the tables; one turn of each comes before, uncounted."""
    prompts, texts = chosen_prompts(options, plain)
    contestants = our_contestants(options, plain, stack) | peer_contestants(options, texts, stack)
    for contestant in contestants.values():
        contestant.play(next(iter(prompts.values()))[0])
    turns: list[Turn] = []
    busy = [sample()]
    each = len(contestants) * sum(map(len, prompts.values()))
    for turn in play_all(contestants, prompts, options.repeats):
        turns.append(turn)
        speed = f"{turn.contestant} {turn.answer.tokens_per_second:.1f} tok/s"
        print(f"{len(turns)}/{each * options.repeats} {turn.category}: {speed}", file=sys.stderr, flush=True)
        if len(turns) % each == 0:
            busy.append(sample())
            save(options, {"busy": busy, "turns": [asdict(turn) for turn in turns]})
    print(f"{show(turns, contestants)}\n\n{verdict(busy)}", flush=True)


def numbers(text: str) -> list[int]:
    """Numbers of a list such as ``2,3``."""
    return [int(part) for part in text.split(",") if part]


def save(options: argparse.Namespace, found: dict[str, Any]) -> None:
    """Write what was found so far, and with which options, where a file was asked for."""
    if options.json:
        said = {name: str(value) for name, value in vars(options).items()}
        options.json.write_text(json.dumps({"options": said, **found}, indent=1) + "\n", encoding="utf-8")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--gguf", type=Path, required=True, help="the target at the precision to compare with")
    parser.add_argument("--drafter-gguf", type=Path, help="the drafter, for llama.cpp's own speculative decoding")
    parser.add_argument("--only", default=",".join(k for k in KINDS if k != "planned"), help="contestants, by commas")
    parser.add_argument("--draft-lengths", default="2,3,4", help="ours")
    parser.add_argument("--ngram-lengths", default="3", help="ours")
    parser.add_argument("--peer-draft-lengths", default="2,3,4")
    parser.add_argument("--lookup-tokens", default="2,10", help="10 is the library's default, 2 its advice for CPUs")
    parser.add_argument("--prompts", type=Path, default=ROOT.parent / "shared/data/spec_bench_dev.jsonl")
    parser.add_argument("--categories", default="coding,translation,qa")
    parser.add_argument("--limit", type=int, default=3, help="prompts a category")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--context", type=int, default=1024, help="llama.cpp's; ours is the bundle's")
    parser.add_argument("--prefill", default="", help="instead: speed of reading prompts of these many tokens")
    parser.add_argument("--prefix", action="store_true", help="instead: first token after a cached system prompt")
    parser.add_argument("--json", type=Path, help="write every single timing there")
    options = parser.parse_args()
    if unknown := set(options.only.split(",")) - set(KINDS):
        parser.error(f"no contestant {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}")
    options.only = options.only.split(",")
    return options


def main() -> None:
    options = arguments()
    with ExitStack() as stack:
        plain = stack.enter_context(load(options.bundle, mapping=NGRAM_PLACES))
        print(
            f"{options.bundle} against {options.gguf.name}, {options.threads} threads, {options.repeats} repetitions\n"
        )
        if options.prefill or options.prefix:
            peer = stack.enter_context(Peer(options.gguf, threads=options.threads, context=options.context))
            texts = [prompt.text for prompt in read_prompts(options.prompts)]
            busy = [sample()]
            if options.prefix:
                readings = read_prefix(plain, peer, texts, options.repeats)
            else:
                readings = read_prefill(plain, peer, texts, numbers(options.prefill), options.repeats)
            busy.append(sample())
            print(f"{reading_table(readings)}\n\n{verdict(busy)}", flush=True)
            save(options, {"busy": busy, "readings": [asdict(reading) for reading in readings]})
        else:
            decode(options, plain, stack)


if __name__ == "__main__":
    main()
