"""A soak of seconds on the null device, and what counts as flat, different or grown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from paceline.partition import Mapping
from paceline.runtime import NullDevice, load
from paceline.runtime.prompts import Prompt
from soak import Soak, interrupted_after, soak
from watching import Line

TEMPLATE = "{% for m in messages %}{{ m.role[0] }}:{{ m.content }}\n{% endfor %}a:"
MIB = 1 << 20
PROMPTS = tuple(Prompt("own", text) for text in ("hello", "a longer prompt than that", "x" * 300))


def soaked(null_bundle: Callable[..., Path]) -> Soak:
    folder = null_bundle(template=TEMPLATE)
    pair, device = Mapping(target="cpu", drafter="cpu"), NullDevice(agreement=0.8)
    with (
        load(folder, mapping=pair, device=device) as model,
        load(folder, mapping=Mapping(target="cpu"), device=device) as plain,
    ):
        return soak(model, plain, PROMPTS, minutes=0.05, tokens=12, seed=0, bound=64.0 * MIB)


def test_a_sound_runtime(null_bundle: Callable[..., Path]) -> None:
    found = soaked(null_bundle)
    assert found.sound
    assert not found.different
    assert found.compared > 20
    kinds, ends = zip(*(name.split(", ") for name in found.acts), strict=True)
    assert set(kinds) == {"prompt", "sampled", "chat"}
    assert set(ends) == {"finished", "closed", "dropped", "interrupted"}
    assert found.tokens > found.compared


@pytest.mark.usefixtures("wrong_when_wide")
def test_texts_that_differ_are_named(null_bundle: Callable[..., Path]) -> None:
    found = soaked(null_bundle)
    assert found.different and not found.sound
    assert all(name.split(", drafting ")[1] in {"1", "2", "3", "4", "7", "0"} for name in found.different)


def test_growth_of_threads_or_files_is_not_sound() -> None:
    line = Line(samples=9, median=1.0, rise=0.0, error=0.0, bound=1.0)
    found = Soak(
        bundle="x", mapping="x", seconds=1.0, acts={}, tokens=0, compared=0, different=(), memory=line,
        threads=(5, 5), files=(9, 9), series=(),
    )  # fmt: skip
    assert found.sound
    assert not replace(found, threads=(5, 6)).sound
    assert not replace(found, files=(9, 10)).sound


def test_interrupted() -> None:
    reached = []
    with interrupted_after(0.05):
        while True:
            reached.append(1)
    assert reached
    with interrupted_after(5.0):
        pass
