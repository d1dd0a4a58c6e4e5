"""What llama.cpp's speculative program prints, read."""

from __future__ import annotations

import pytest

from llamacpp import read_speculative

LOG = """0.01.598 I encoded    7 tokens in    0.048 seconds, speed:  146.306 t/s
0.01.599 I decoded   12 tokens in    0.240 seconds, speed:   49.907 t/s
0.01.600 I accept    = 72.727%
"""


def test_speed_share_and_text() -> None:
    answer = read_speculative("\n\n<user>Hi\nHello\nthere\n\n\n\n", LOG, "<user>Hi\n", 7)
    assert (answer.tokens_per_second, answer.first_token_seconds) == (49.907, 0.048)
    assert answer.accepted == pytest.approx(0.72727)
    assert (answer.ids, answer.text) == ((), "Hello\nthere")


@pytest.mark.parametrize(
    ("output", "log", "sentence"),
    [
        ("\n\nHi\n\n\n\n", "no model", "no speed"),
        ("\n\nHi\n\n\n\n", LOG.replace("7 tokens", "8 tokens"), "read 8 tokens of a prompt of 7"),
        ("\n\nHo\n\n\n\n", LOG, "repeats the prompt as 'Ho'"),
    ],
)
def test_what_cannot_be_compared_ends_the_run(output: str, log: str, sentence: str) -> None:
    with pytest.raises(SystemExit, match=sentence):
        read_speculative(output, log, "Hi", 7)
