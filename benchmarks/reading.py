"""How fast a prompt is read: from nothing, and after a system prompt that the cache holds already."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llamacpp import Peer
from paceline.runtime import Model
from paceline.runtime.chat import Message
from turns import Ids, span, table

ANSWER_TOKENS = 16
QUESTIONS = ("Who or what is this text about?", "Name one fact that it mentions.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One prompt read by both tools, one after the other: seconds to the first token, and tokens that were reused."""

    scene: str
    repetition: int
    tokens: int
    ours: float
    theirs: float
    ours_reused: int = 0
    theirs_reused: int = 0


def read_prefill(
    model: Model, peer: Peer, texts: Sequence[str], lengths: Sequence[int], repetitions: int
) -> list[Reading]:
    """Read prompts of exactly these many tokens of the joined ``texts``, each time from nothing, both tools in turn."""
    ids = model.tokenizer.encode("\n\n".join(texts), add_special_tokens=False).ids
    found = []
    for repetition in range(-1, repetitions):
        for length in lengths:
            prompt = tuple(ids[(repetition + 1) * length :][:length])
            model.forget()
            reading = _read(f"{length} tokens", repetition, model, peer, prompt, prompt, fresh=True)
            # The first one warms up.
            found += [reading] if repetition >= 0 else []
    return found


def read_prefix(model: Model, peer: Peer, texts: Sequence[str], repetitions: int) -> list[Reading]:
    """Read a conversation about a system prompt of about half the context: its first turn, its second, a new chat.

    Nothing is in the cache before the first; the second goes on after each tool's own answer; the new chat shares the
    system prompt only.
    """
    found = []
    for repetition in range(-1, repetitions):
        for reading in _conversation(model, peer, _system(model, texts, repetition + 1), repetition):
            found += [reading] if repetition >= 0 else []
    return found


def reading_table(readings: Sequence[Reading]) -> str:
    """Medians by scene: seconds and tokens per second of both tools, and the median ratio of their seconds."""
    lines = []
    for scene in dict.fromkeys(reading.scene for reading in readings):
        chosen = [reading for reading in readings if reading.scene == scene]
        ratios = [reading.theirs / reading.ours for reading in chosen]
        ours, theirs = (statistics.median(values) for values in ([r.ours for r in chosen], [r.theirs for r in chosen]))
        tokens = statistics.median(reading.tokens for reading in chosen)
        lines.append(
            [
                scene,
                f"{tokens:.0f}",
                f"{ours:.3f} s, {tokens / ours:.0f} tok/s",
                f"{theirs:.3f} s, {tokens / theirs:.0f} tok/s",
                span(statistics.median(ratios), min(ratios), max(ratios)),
                f"{chosen[-1].ours_reused}, {chosen[-1].theirs_reused}",
            ]
        )
    return table(["prompt", "tokens", "paceline", "llama.cpp", "paceline faster by", "reused"], lines)


def _conversation(model: Model, peer: Peer, system: str, repetition: int) -> Iterator[Reading]:
    start: list[Message] = [{"role": "system", "content": system}, {"role": "user", "content": QUESTIONS[0]}]
    other: list[Message] = [start[0], {"role": "user", "content": QUESTIONS[1]}]
    first = model.encode(start)
    model.forget()
    yield _read("first turn, empty cache", repetition, model, peer, first, first, fresh=True)
    # What a second turn adds after the answer: the end of the first, the question and the beginning of the next.
    whole = model.encode([*start, {"role": "assistant", "content": ""}, other[1]])
    more = whole[len(first) :]
    ours = model.generate(first, max_new_tokens=ANSWER_TOKENS, draft_length=0, ignore_eos=True).finish().ids
    theirs = peer.generate(first, tokens=ANSWER_TOKENS, fresh=False).ids
    yield _read("second turn", repetition, model, peer, (*first, *ours, *more), (*first, *theirs, *more))
    fresh_chat = model.encode(other)
    yield _read("new chat, same system prompt", repetition, model, peer, fresh_chat, fresh_chat)


def _read(
    scene: str, repetition: int, model: Model, peer: Peer, ours: Ids, theirs: Ids, *, fresh: bool = False
) -> Reading:
    stats = model.generate(ours, max_new_tokens=1, draft_length=0, ignore_eos=True).finish().stats
    answer = peer.generate(theirs, tokens=1, fresh=fresh)
    return Reading(
        scene=scene,
        repetition=repetition,
        tokens=len(ours),
        ours=stats.time_to_first_token,
        theirs=answer.first_token_seconds,
        ours_reused=stats.reused_tokens,
        theirs_reused=answer.reused,
    )


def _system(model: Model, texts: Sequence[str], number: int) -> str:
    """Another part of the joined texts each time, of half the context's tokens."""
    ids = model.tokenizer.encode("\n\n".join(texts), add_special_tokens=False).ids
    length = model.context // 2
    start = number * length % max(1, len(ids) - length)
    return str(model.tokenizer.decode(ids[start : start + length]))
