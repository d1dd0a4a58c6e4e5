"""Contestants that take turns on prompts, and what their turns say: medians, ratios pair by pair, texts that differ."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

Ids = tuple[int, ...]
OVERALL = "all"


@dataclass(frozen=True, slots=True)
class Answer:
    """One contestant's answer to one prompt; speeds in tokens per second, after the first token.

    ``ids`` is empty where the tool prints a text only, which may go on beyond the last token that was asked for.
    ``accepted`` is the share of drafts that were kept, as the tool counts them; ``reused`` the tokens of the prompt
    that were in the cache already.
    """

    tokens_per_second: float
    ids: Ids = ()
    first_token_seconds: float = 0.0
    accepted: float | None = None
    text: str = ""
    reused: int = 0


Play = Callable[[Ids], Answer]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """A way to decode; ``plain`` names the contestant whose texts its own must equal."""

    tool: str
    plain: str
    play: Play


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """An answer and where it belongs: turns of the same category, prompt and repetition are a pair."""

    category: str
    prompt: int
    repetition: int
    contestant: str
    answer: Answer

    @property
    def key(self) -> tuple[str, int, int]:
        return self.category, self.prompt, self.repetition


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What a contestant's turns of a category say.

    ``ratio`` is the median of the ratios to the first contestant's speed, pair by pair, between ``lowest`` and
    ``highest``; ``different`` of ``compared`` texts differ from the tool's own plain ones.
    """

    category: str
    contestant: str
    tokens_per_second: float
    ratio: float
    lowest: float
    highest: float
    first_token_seconds: float
    accepted: float | None
    different: int
    compared: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Duel:
    """The fastest mode of one tool against the fastest of the other, median of the ratios pair by pair."""

    category: str
    first: str
    second: str
    ratio: float
    lowest: float
    highest: float


def play_all(
    contestants: Mapping[str, Contestant], prompts: Mapping[str, Sequence[Ids]], repetitions: int
) -> Iterator[Turn]:
    """Let every contestant answer every prompt in every repetition, one after the other.

    The order moves on by one from repetition to repetition, so that nobody always follows the same one.
    """
    names = list(contestants)
    for repetition in range(repetitions):
        start = repetition % len(names)
        for category, chosen in prompts.items():
            for number, ids in enumerate(chosen):
                for name in names[start:] + names[:start]:
                    answer = contestants[name].play(ids)
                    yield Turn(category=category, prompt=number, repetition=repetition, contestant=name, answer=answer)


def rows(turns: Sequence[Turn], contestants: Mapping[str, Contestant]) -> list[Row]:
    """A row for every contestant in every category and overall; ratios are to the first contestant."""
    first = next(iter(contestants))
    found = []
    for category, chosen in by_category(turns).items():
        for name, contestant in contestants.items():
            mine = [turn for turn in chosen if turn.contestant == name]
            if mine:
                ratios = paired_ratios(chosen, name, first)
                found.append(_row(category, name, mine, ratios, differences(chosen, name, contestant.plain)))
    return found


def duels(turns: Sequence[Turn], contestants: Mapping[str, Contestant]) -> list[Duel]:
    """For every category and overall: the first tool's fastest mode over the fastest of each other tool."""
    tools = list(dict.fromkeys(contestant.tool for contestant in contestants.values()))
    found = []
    for category, chosen in by_category(turns).items():
        best = {tool: fastest(chosen, [n for n, c in contestants.items() if c.tool == tool]) for tool in tools}
        for tool in tools[1:]:
            ratios = paired_ratios(chosen, best[tools[0]], best[tool])
            found.append(
                Duel(
                    category=category,
                    first=best[tools[0]],
                    second=best[tool],
                    ratio=statistics.median(ratios),
                    lowest=min(ratios),
                    highest=max(ratios),
                )
            )
    return found


def by_category(turns: Sequence[Turn]) -> dict[str, list[Turn]]:
    """Turns of each category, and of all together where there are several."""
    found: dict[str, list[Turn]] = {}
    for turn in turns:
        found.setdefault(turn.category, []).append(turn)
    return found if len(found) < 2 else {**found, OVERALL: list(turns)}


def speeds(turns: Sequence[Turn], name: str) -> dict[tuple[str, int, int], float]:
    """Speed of each of a contestant's turns."""
    return {turn.key: turn.answer.tokens_per_second for turn in turns if turn.contestant == name}


def fastest(turns: Sequence[Turn], names: Sequence[str]) -> str:
    """The contestant with the highest median speed."""
    return max(names, key=lambda name: statistics.median(speeds(turns, name).values()))


def paired_ratios(turns: Sequence[Turn], name: str, other: str) -> list[float]:
    """Speed of ``name`` over speed of ``other``, on the same prompt in the same repetition."""
    mine, theirs = speeds(turns, name), speeds(turns, other)
    return [speed / theirs[key] for key, speed in mine.items() if key in theirs]


def differences(turns: Sequence[Turn], name: str, plain: str) -> tuple[int, int]:
    """How many of a contestant's texts differ from those of ``plain``, of how many that can be compared."""
    theirs = {turn.key: turn.answer for turn in turns if turn.contestant == plain}
    pairs = [(turn.answer, theirs[turn.key]) for turn in turns if turn.contestant == name and turn.key in theirs]
    return sum(not same(mine, other) for mine, other in pairs), len(pairs)


def same(mine: Answer, plain: Answer) -> bool:
    """Whether an answer is the plain one: by its ids, or, where only its text is known, by what it begins with."""
    # The plain text may end in the middle of a character, which the longer one has whole.
    return mine.ids == plain.ids if mine.ids else mine.text.startswith(plain.text.rstrip("\ufffd"))


def _row(category: str, name: str, mine: list[Turn], ratios: list[float], different: tuple[int, int]) -> Row:
    kept = [turn.answer.accepted for turn in mine if turn.answer.accepted is not None]
    return Row(
        category=category,
        contestant=name,
        tokens_per_second=statistics.median(turn.answer.tokens_per_second for turn in mine),
        ratio=statistics.median(ratios),
        lowest=min(ratios),
        highest=max(ratios),
        first_token_seconds=statistics.median(turn.answer.first_token_seconds for turn in mine),
        accepted=statistics.mean(kept) if kept else None,
        different=different[0],
        compared=different[1],
    )


def table(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table, columns padded so that it can be read as it is."""
    sizes = [max(len(line[index]) for line in (columns, *lines)) for index in range(len(columns))]
    padded = [[cell.ljust(size) for cell, size in zip(line, sizes, strict=True)] for line in (columns, *lines)]
    ruled = [padded[0], ["-" * size for size in sizes], *padded[1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in ruled)


def span(middle: float, lowest: float, highest: float) -> str:
    """A median with its smallest and largest value."""
    return f"{middle:.2f} [{lowest:.2f}, {highest:.2f}]"
