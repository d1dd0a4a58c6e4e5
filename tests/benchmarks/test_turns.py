"""What turns say: pairs, medians, the fastest of each tool, texts that differ."""

from __future__ import annotations

from collections.abc import Callable

from turns import Answer, Contestant, Ids, Play, Turn, duels, play_all, rows, same, table


def fixed(speed: float, *, ids: Callable[[Ids], Ids] = lambda ids: ids, text: str = "") -> Play:
    return lambda prompt: Answer(speed, ids(prompt), text=text)


def contestants() -> dict[str, Contestant]:
    def one(tool: str, play: Play) -> Contestant:
        return Contestant(tool=tool, plain=f"{tool} plain", play=play)

    return {
        "ours plain": one("ours", fixed(10.0)),
        "ours fast": one("ours", fixed(30.0)),
        "theirs plain": one("theirs", fixed(20.0)),
        "theirs wrong": one("theirs", fixed(5.0, ids=lambda ids: (*ids, 1))),
    }


PROMPTS: dict[str, list[Ids]] = {"qa": [(1, 2), (3,)], "coding": [(4,)]}


def test_everyone_answers_everything_and_the_order_moves_on() -> None:
    turns = list(play_all(contestants(), PROMPTS, 2))
    assert len(turns) == 2 * 3 * 4
    firsts = [turn.contestant for turn in turns[::4]]
    assert firsts == ["ours plain"] * 3 + ["ours fast"] * 3


def test_rows_compare_with_the_first_and_count_differences_with_the_own_plain() -> None:
    found = {
        (row.category, row.contestant): row for row in rows(list(play_all(contestants(), PROMPTS, 2)), contestants())
    }
    assert {category for category, _ in found} == {"qa", "coding", "all"}
    assert found["all", "ours fast"].ratio == 3.0
    assert (found["qa", "theirs wrong"].different, found["qa", "theirs wrong"].compared) == (4, 4)
    assert found["all", "ours fast"].different == 0


def test_duels_are_between_the_fastest_of_each_tool() -> None:
    (duel,) = duels(list(play_all(contestants(), {"qa": [(1,)]}, 3)), contestants())
    assert (duel.first, duel.second, duel.ratio) == ("ours fast", "theirs plain", 1.5)


def test_ratios_are_of_pairs_not_of_medians() -> None:
    speeds = {"ours plain": [1.0, 10.0, 100.0], "ours fast": [2.0, 20.0, 50.0]}
    turns = [
        Turn(category="qa", prompt=0, repetition=number, contestant=name, answer=Answer(speed, (1,)))
        for name, all_speeds in speeds.items()
        for number, speed in enumerate(all_speeds)
    ]
    (_, fast) = rows(turns, {name: contestants()[name] for name in speeds})
    assert (fast.ratio, fast.lowest, fast.highest) == (2.0, 0.5, 2.0)


def test_a_text_may_go_on_but_not_differ() -> None:
    plain = Answer(1.0, (1, 2), text="to the wa\ufffd")
    assert same(Answer(1.0, text="to the waä and on"), plain)
    assert not same(Answer(1.0, text="to the sea"), plain)


def test_table_is_markdown() -> None:
    assert table(["a", "bc"], [["xyz", "1"]]).splitlines() == ["| a   | bc |", "| --- | -- |", "| xyz | 1  |"]
