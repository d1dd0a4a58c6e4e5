"""Scores: log probabilities, chunks, ratios with their error."""

from __future__ import annotations

import numpy as np
import pytest

from perplexity import all_scores, chunked, log_probabilities, summary


def test_log_probabilities_of_large_logits() -> None:
    logits = np.array([[1000.0, 1000.0, 0.0], [0.0, np.log(3.0), -np.inf]], np.float32)
    assert log_probabilities(logits, [1, 0]) == pytest.approx([np.log(0.5), np.log(0.25)])


def test_whole_chunks_within_the_limit() -> None:
    assert chunked(range(10), 3, 8) == [(0, 1, 2), (3, 4, 5)]
    assert chunked(range(2), 3, 8) == []


def test_the_second_half_of_each_chunk_is_scored() -> None:
    asked: list[tuple[tuple[int, ...], int]] = []

    def score(ids: tuple[int, ...], rows: int) -> list[float]:
        asked.append((ids, rows))
        return [float(-token) for token in ids[-rows:]]

    assert all_scores("x", score, [(1, 2, 3, 4), (5, 6, 7, 8)]).tolist() == [-3, -4, -7, -8]
    assert [rows for _, rows in asked] == [2, 2]


def test_ratio_is_of_the_same_tokens() -> None:
    reference = np.array([-1.0, -2.0, -3.0])
    told = summary(reference - np.array([0.1, 0.2, 0.3]), reference)
    assert told["perplexity"] == pytest.approx(np.exp(2.2))
    assert told["ratio"] == pytest.approx(np.exp(0.2))
    assert told["error"] == pytest.approx(0.1 / np.sqrt(3))
    assert summary(reference, reference)["error"] == 0.0
