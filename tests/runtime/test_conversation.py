"""Conversations: no turn reads again what the caches hold, and every turn reads what the template says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models

from paceline.errors import PromptError, UsageError
from paceline.partition import Bundle, BundledModel, Mapping, TokenIds, read_bundle
from paceline.runtime import Conversation, Model, load
from paceline.runtime.null_device import NULL_UNIT, NullProgram
from paceline.runtime.program import Program, Step
from paceline.runtime.setting import Setting
from paceline.targets import ProcessingUnit

TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no tools') }}{% endif %}"
    "{{ m.role[0] }}:{{ m.content }}<eos>{% endfor %}a:"
)
MakeBundle = Callable[..., Path]


class SpyProgram(NullProgram):
    """Runs one token a pass and notes where each stood."""

    def __init__(self, *, vocabulary: int, agreement: float = 1.0) -> None:
        super().__init__(widths=(1,), context=96, vocabulary=vocabulary, agreement=agreement)
        self.positions: list[int] = []

    def step(self, tokens: NDArray[np.int32], position: int, *, first: int = 0, logits: bool = False) -> Step:
        self.positions.append(position)
        return super().step(tokens, position, first=first, logits=logits)

    def logits_after(self, prefix: NDArray[np.int32]) -> NDArray[np.float32]:
        row = super().logits_after(prefix)
        row[:2] = -np.inf  # special tokens, which have no text
        return row


@dataclass(frozen=True)
class SpyDevice:
    unit: ProcessingUnit = NULL_UNIT
    description: str = "spy"
    agreement: float = 1.0
    programs: dict[str, SpyProgram] = field(default_factory=dict)

    def load(self, folder: Path, bundle: Bundle, model: BundledModel) -> Program:
        agreement = self.agreement if model.role == "drafter" else 1.0
        self.programs[model.role] = SpyProgram(vocabulary=model.spec.vocabulary, agreement=agreement)
        return self.programs[model.role]


@pytest.mark.parametrize("system", [None, "be brief"])
def test_a_turn_runs_only_what_is_new_on_target_and_drafter(null_bundle: MakeBundle, system: str | None) -> None:
    device, length = SpyDevice(), 2
    folder = null_bundle(template=TEMPLATE, tokens=TokenIds(bos=0))
    with load(folder, drafter="model", draft_length=length, device=device) as model:
        conversation = Conversation(model, system=system)
        ends = 0
        for text in ("hi", "why?", "ok"):
            for program in device.programs.values():
                program.positions.clear()
            asked = conversation.prompt(text)
            answer = conversation.say(text, max_new_tokens=6).finish()
            assert answer.prompt == asked
            target, drafter = (device.programs[role].positions for role in ("target", "drafter"))
            # Of what was said before, the target has not run the last token, and the drafter not the last two.
            assert min(target) == max(0, ends - 1)
            assert min(drafter) == max(0, ends - 2)
            # With a drafter that is always right nothing is run twice, by neither.
            assert len(target) == len(set(target))
            assert len(drafter) == len(set(drafter))
            assert answer.stats.reused_tokens == max(0, ends - 1)
            ends = len(answer.prompt) + len(answer.ids)


@pytest.mark.parametrize("agreement", [0.0, 0.5])
def test_a_drafter_that_errs_is_read_from_where_it_erred(null_bundle: MakeBundle, agreement: float) -> None:
    device, length = SpyDevice(agreement=agreement), 3
    with load(
        null_bundle(template=TEMPLATE, tokens=TokenIds(bos=0)), drafter="model", draft_length=length, device=device
    ) as model:
        conversation = Conversation(model)
        first = conversation.say("hi", max_new_tokens=8).finish()
        for program in device.programs.values():
            program.positions.clear()
        conversation.say("why?", max_new_tokens=8).finish()
        ends = len(first.prompt) + len(first.ids)
        assert min(device.programs["target"].positions) == ends - 1
        assert min(device.programs["drafter"].positions) >= ends - 1 - length


def merging() -> Tokenizer:
    """Characters and all pairs of lower-case ones: most texts can be cut in many ways, and one is preferred."""
    characters = [*"abcd:?uas", "<eos>"]
    pairs = [(first, second) for first in "abcd" for second in "abcd"]
    words = [*dict.fromkeys(characters), *(first + second for first, second in pairs)]
    tokenizer = Tokenizer(models.BPE(vocab={word: number for number, word in enumerate(words)}, merges=pairs))
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(["<eos>"])
    return tokenizer


def test_an_answer_keeps_the_ids_that_the_model_wrote(null_bundle: MakeBundle) -> None:
    class Writing(SpyProgram):
        """Writes single characters where the tokenizer would have taken pairs."""

        def logits_after(self, prefix: NDArray[np.int32]) -> NDArray[np.float32]:
            row = np.zeros(self.vocabulary, np.float32)
            row[len(prefix) % 4] = 1.0
            return row

    tokenizer = merging()
    program = Writing(vocabulary=tokenizer.get_vocab_size())
    bundle, setting = (
        read_bundle(null_bundle(tokens=TokenIds())),
        Setting(mapping=Mapping(target="cpu"), draft_length=0),
    )
    with Model(bundle, setting, target=program, drafter=None, tokenizer=tokenizer, template=TEMPLATE) as model:
        conversation = Conversation(model)
        first = conversation.say("ab", max_new_tokens=8).finish()
        assert model.tokenize(first.text) != first.ids
        said = conversation.prompt("c")
        assert said[: len(first.prompt) + 8] == (*first.prompt, *first.ids)
        assert tokenizer.decode(said, skip_special_tokens=False) == model.render(
            [*conversation.messages, {"role": "user", "content": "c"}]
        )
        assert conversation.say("c", max_new_tokens=2).finish().stats.reused_tokens == len(first.prompt) + 7


@pytest.mark.parametrize(
    "template",
    [
        pytest.param(TEMPLATE.replace("<eos>", " "), id="no special token after an answer"),
        pytest.param(
            TEMPLATE.replace("m.content", "m.content | upper | lower | trim('abc')"), id="answers are changed"
        ),
    ],
)
def test_where_ids_cannot_be_kept_the_text_is_tokenised(null_bundle: MakeBundle, template: str) -> None:
    with load(null_bundle(template=template, tokens=TokenIds(bos=0)), device=SpyDevice()) as model:
        conversation = Conversation(model)
        conversation.say("hi", max_new_tokens=5).finish()
        messages = [*conversation.messages, {"role": "user", "content": "why?"}]
        assert conversation.prompt("why?") == model.encode(messages)


def test_messages_and_a_fresh_start(null_bundle: MakeBundle) -> None:
    with load(null_bundle(template=TEMPLATE, tokens=TokenIds(bos=0)), device=SpyDevice()) as model:
        conversation = Conversation(model, system="be brief")
        answer = conversation.say("hi", max_new_tokens=5)
        next(answer)
        broken = answer.text
        conversation.say("why?", max_new_tokens=5).finish()
        assert list(answer) == []
        assert [message["role"] for message in conversation.messages] == [
            *("system", "user", "assistant"),
            *("user", "assistant"),
        ]
        assert conversation.messages[2]["content"] == broken
        assert conversation.turns == 2
        before = conversation.messages
        with pytest.raises(PromptError, match="the prompt has"):
            conversation.say("x" * 96)
        with pytest.raises(UsageError):
            conversation.say("x", max_new_tokens=0)
        assert conversation.messages == before
        conversation.restart()
        assert conversation.messages == ({"role": "system", "content": "be brief"},)
        assert conversation.say("hi", max_new_tokens=5).finish().ids[: len(answer.ids)] == answer.ids
