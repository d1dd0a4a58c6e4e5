"""SentencePiece's scores as ranked merges, which is how the tokenizers package states the same BPE."""

from __future__ import annotations

from collections.abc import Mapping


def spm_merges(scores: Mapping[str, float]) -> list[tuple[str, str]]:
    """Every way to make a piece of two pieces, the best-scored piece first.

    SentencePiece joins the neighbours whose joint piece has the highest score; a list of merges joins those that
    come first. ``scores`` holds the pieces that may arise by joining, in the order of their ids.
    """
    order = {piece: index for index, piece in enumerate(scores)}
    ranked: list[tuple[float, tuple[str, str]]] = []
    for piece, score in scores.items():
        splits = ((piece[:cut], piece[cut:]) for cut in range(1, len(piece)))
        known = [(left, right) for left, right in splits if left in order and right in order]
        known.sort(key=lambda pair: (order[pair[0]], order[pair[1]]))
        ranked.extend((score, pair) for pair in known)
    ranked.sort(key=lambda row: (row[0], len(row[1][0]), len(row[1][1])), reverse=True)
    return [pair for _, pair in ranked]
