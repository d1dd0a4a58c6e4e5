"""Streaming text: the pieces are the tokenizer's own text, whole characters, cut at stop strings."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from paceline.errors import BundleError
from paceline.runtime.text import TextStream, encode, read_tokenizer

SPECIALS = ["<s>", "</s>"]


def byte_level() -> Tokenizer:
    """Every token is one byte, so that most characters take several."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({character: number for number, character in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIALS)
    return tokenizer


def sentence_piece() -> Tokenizer:
    """As Llama 2: ▁ for spaces, bytes as <0xNN> for what the vocabulary lacks, the first space dropped."""
    words = [*SPECIALS, "<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *"▁abcdefgh", "▁a", "▁b"]
    tokenizer = Tokenizer(
        models.BPE(
            {word: number for number, word in enumerate(words)}, [("▁", "a"), ("▁", "b")],
            byte_fallback=True, unk_token="<unk>", fuse_unk=True,
        )
    )  # fmt: skip
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(SPECIALS)
    return tokenizer


TOKENIZERS = {"byte level": byte_level(), "sentence piece": sentence_piece()}
names = st.sampled_from(sorted(TOKENIZERS))
texts = st.text(st.sampled_from("ab  hé€🚴👩‍👩‍👧ñ\n�日本"), max_size=30)


def stream_all(stream: TextStream, ids: list[int]) -> list[str]:
    pieces = []
    for token in ids:
        pieces.append(stream.push(token))
        if stream.stopped:
            return pieces
    return [*pieces, stream.finish()]


@given(name=names, text=texts)
def test_pieces_make_up_the_decoded_text(name: str, text: str) -> None:
    tokenizer = TOKENIZERS[name]
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert "".join(stream_all(TextStream(tokenizer), ids)) == tokenizer.decode(ids)


@given(ids=st.lists(st.integers(0, 257), max_size=25))
def test_random_bytes_with_special_tokens_between(ids: list[int]) -> None:
    tokenizer = TOKENIZERS["byte level"]
    pieces = stream_all(TextStream(tokenizer), ids)
    assert "".join(pieces) == tokenizer.decode(ids, skip_special_tokens=True)


@given(text=st.text(st.sampled_from("aé€🚴"), min_size=1, max_size=8))
def test_no_piece_ends_inside_a_character(text: str) -> None:
    tokenizer = TOKENIZERS["byte level"]
    pieces = stream_all(TextStream(tokenizer), tokenizer.encode(text, add_special_tokens=False).ids)
    assert "�" not in "".join(pieces)
    assert [piece for piece in pieces if piece] == list(text)


@given(
    name=names,
    text=st.text(st.sampled_from("ab é"), max_size=25),
    stops=st.lists(st.text(st.sampled_from("ab é"), max_size=4), max_size=3),
)
def test_text_ends_before_the_first_stop_string(name: str, text: str, stops: list[str]) -> None:
    tokenizer = TOKENIZERS[name]
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    stream, whole = TextStream(tokenizer, stop=stops), tokenizer.decode(ids)
    found = "".join(stream_all(stream, ids))
    places = [whole.find(stop) for stop in stops if stop and stop in whole]
    assert stream.stopped == bool(places)
    if not places:
        assert found == whole
        return
    # A stop string is seen as soon as it is complete, which may be before one that begins earlier ends.
    ends = min(whole.find(stop) + len(stop) for stop in stops if stop and stop in whole)
    assert whole.startswith(found)
    assert not any(stop in found for stop in stops if stop)
    assert len(found) <= ends


def test_stop_string_across_tokens_is_held_back() -> None:
    tokenizer = TOKENIZERS["byte level"]
    stream = TextStream(tokenizer, stop=["abba"])
    ids = tokenizer.encode("xabbb abba.", add_special_tokens=False).ids
    pieces = stream_all(stream, ids)
    assert pieces == ["x", "", "", "", "abbb", " ", "", "", "", ""]
    assert stream.stopped
    assert stream.finish() == ""


def test_half_a_character_at_the_end_is_shown_as_such() -> None:
    tokenizer = TOKENIZERS["byte level"]
    stream = TextStream(tokenizer)
    ids = tokenizer.encode("€", add_special_tokens=False).ids[:2]
    assert [stream.push(token) for token in ids] == ["", ""]
    assert stream.holding
    assert stream.finish() == "�"
    assert not stream.holding


def test_tokenizer_file_that_is_missing_or_damaged(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"tokenizer\.json"):
        read_tokenizer(tmp_path / "tokenizer.json")
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0"}')
    with pytest.raises(BundleError, match="is not a tokenizer"):
        read_tokenizer(tmp_path / "tokenizer.json")


@given(name=names, text=st.text(st.sampled_from("ab  hé€日"), max_size=400), enough=st.integers(1, 40))
def test_a_long_text_is_read_as_far_as_it_takes(name: str, text: str, enough: int) -> None:
    tokenizer = TOKENIZERS[name]
    whole, found = tuple(tokenizer.encode(text, add_special_tokens=False).ids), encode(tokenizer, text, enough=enough)
    assert found == whole or (len(found) > enough and len(whole) > enough and len(text) > 4 * enough)


def test_megabytes_are_not_read() -> None:
    class Counting:
        read = 0

        def encode(self, text: str, **options: object) -> Any:
            self.read += len(text)
            return tokenizer.encode(text, add_special_tokens=False)

    tokenizer, counting = TOKENIZERS["byte level"], Counting()
    assert len(encode(cast(Tokenizer, counting), "a" * 10_000_000, enough=500)) == counting.read == 2000
