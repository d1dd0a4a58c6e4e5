"""A GGUF's tokenizer as tokenizer.json, with the ids of the model's own tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from paceline.compile.settings import Settings
from paceline.compile.spm_merges import spm_merges
from paceline.errors import CheckpointError

_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = range(1, 7)
_SPACE = "\u2581"
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}DIGITS| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _gpt2() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


def _single_digits() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), _gpt2()])


def _words(digits: str) -> pre_tokenizers.PreTokenizer:
    split = pre_tokenizers.Split(Regex(_WORDS.replace("DIGITS", digits)), behavior="isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


@dataclass(frozen=True, kw_only=True)
class PreTokenizer:
    """How a family cuts text into words before it merges bytes.

    ``whole_words`` takes a word that is itself a token without merging; ``starts`` says that texts begin with the
    first token unless the metadata says otherwise; ``composes`` normalises to NFC.
    """

    make: Callable[[], pre_tokenizers.PreTokenizer]
    whole_words: bool = False
    starts: bool = False
    composes: bool = False


_LLAMA3 = PreTokenizer(make=lambda: _words("{1,3}"), whole_words=True, starts=True)
_QWEN2 = PreTokenizer(make=lambda: _words(""), composes=True)
# Values of tokenizer.ggml.pre. A file without one is older than the key: GPT-2's rule was the only one then.
PRE_TOKENIZERS: Mapping[str, PreTokenizer] = {
    "default": PreTokenizer(make=_gpt2),
    "gpt-2": PreTokenizer(make=_gpt2),
    "smollm": PreTokenizer(make=_single_digits),
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
    "qwen2": _QWEN2,
    "deepseek-r1-qwen": _QWEN2,
}


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Tokens in the order of their ids, what kind each is, and the settings beside them."""

    tokens: tuple[str, ...]
    kinds: tuple[int, ...]
    settings: Settings

    def ids(self) -> dict[str, int]:
        """Id by token; where a token occurs twice the first holds."""
        return {token: index for index, token in reversed(list(enumerate(self.tokens)))}

    def special(self, key: str) -> int | None:
        """The id that ``tokenizer.ggml.<key>`` names, if it names a token."""
        value = self.settings.values.get(f"{self.settings.prefix}{key}")
        if value is None:
            return None
        if not isinstance(value, int) or not 0 <= value < len(self.tokens):
            raise self.settings.unfit(key, f"an id below {len(self.tokens)}")
        return value


@dataclass(frozen=True, kw_only=True)
class GgufTokenizer:
    """A tokenizer, and which token starts and which ones end a text by the metadata."""

    tokenizer: Tokenizer
    bos: int | None
    add_bos: bool
    eos: tuple[int, ...]


def gguf_tokenizer(metadata: Mapping[str, object], path: Path) -> GgufTokenizer:
    """Build the tokenizer that the metadata of a GGUF describes.

    Raises:
        CheckpointError: no tokenizer, or one of a model or pre-tokenizer that paceline does not have; names it.
    """
    settings = Settings(values=metadata, where=str(path), prefix="tokenizer.ggml.")
    vocabulary = _vocabulary(settings)
    kind = settings.text("model")
    if kind == "gpt2":
        tokenizer, starts = _byte_level(vocabulary)
    elif kind == "llama":
        tokenizer, starts = _sentence_piece(vocabulary), True
    else:
        raise settings.unfit("model", "gpt2 or llama")
    _add_tokens(tokenizer, vocabulary)
    bos, add_bos = vocabulary.special("bos_token_id"), settings.flag("add_bos_token", starts)
    if bos is not None and add_bos:
        _start_with(tokenizer, vocabulary.tokens[bos], bos)
    ends = (vocabulary.special(key) for key in ("eos_token_id", "eot_token_id", "eom_token_id"))
    return GgufTokenizer(
        tokenizer=tokenizer, bos=bos, add_bos=add_bos, eos=tuple(end for end in ends if end is not None)
    )


def _vocabulary(settings: Settings) -> Vocabulary:
    tokens, kinds = settings.items("tokens"), settings.items("token_type")
    if not tokens or not all(isinstance(token, str) for token in tokens):
        raise settings.unfit("tokens", "a list of strings")
    kinds = kinds or [_NORMAL] * len(tokens)
    if len(kinds) != len(tokens) or not all(isinstance(kind, int) for kind in kinds):
        raise settings.unfit("token_type", f"{len(tokens)} integers")
    return Vocabulary(
        tokens=tuple(str(token) for token in tokens),
        kinds=tuple(kind for kind in kinds if isinstance(kind, int)),
        settings=settings,
    )


def _byte_level(vocabulary: Vocabulary) -> tuple[Tokenizer, bool]:
    settings = vocabulary.settings
    name = settings.text("pre", "default")
    if name not in PRE_TOKENIZERS:
        raise settings.unfit("pre", f"one of {', '.join(PRE_TOKENIZERS)}")
    rule, ids = PRE_TOKENIZERS[name], vocabulary.ids()
    model = models.BPE(vocab=ids, merges=_merges(settings, ids), ignore_merges=rule.whole_words)
    tokenizer = Tokenizer(model)
    if rule.composes:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = rule.make()
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer, rule.starts


def _merges(settings: Settings, ids: Mapping[str, int]) -> list[tuple[str, str]]:
    merges = []
    for line in settings.items("merges"):
        left, _, right = line.partition(" ") if isinstance(line, str) else ("", "", "")
        if left not in ids or right not in ids or left + right not in ids:
            raise CheckpointError(f"{settings.where}: merge {line!r} does not make a token of two tokens")
        merges.append((left, right))
    return merges


def _sentence_piece(vocabulary: Vocabulary) -> Tokenizer:
    ids, settings = vocabulary.ids(), vocabulary.settings
    unknown = vocabulary.special("unknown_token_id")
    if unknown is None:
        unknown = next((index for index, kind in enumerate(vocabulary.kinds) if kind == _UNKNOWN), None)
    model = models.BPE(
        vocab=ids,
        merges=spm_merges(_scores(vocabulary)),
        unk_token=None if unknown is None else vocabulary.tokens[unknown],
        fuse_unk=True,
        byte_fallback=_BYTE in vocabulary.kinds,
    )
    tokenizer, prefix = Tokenizer(model), settings.flag("add_space_prefix", True)
    spaces = normalizers.Replace(" ", _SPACE)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(_SPACE), spaces]) if prefix else spaces
    steps = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if prefix else steps)
    return tokenizer


def _scores(vocabulary: Vocabulary) -> dict[str, float]:
    scores = vocabulary.settings.items("scores")
    if len(scores) != len(vocabulary.tokens) or not all(isinstance(score, float) for score in scores):
        raise vocabulary.settings.unfit("scores", f"{len(vocabulary.tokens)} numbers")
    rows = zip(vocabulary.tokens, vocabulary.kinds, scores, strict=True)
    return {
        token: score for token, kind, score in rows if kind in (_NORMAL, _USER_DEFINED) and isinstance(score, float)
    }


def _add_tokens(tokenizer: Tokenizer, vocabulary: Vocabulary) -> None:
    rows = zip(vocabulary.tokens, vocabulary.kinds, strict=True)
    added = [(token, kind == _CONTROL) for token, kind in rows if token and kind in (_CONTROL, _USER_DEFINED)]
    tokenizer.add_tokens([AddedToken(token, special=special, normalized=False) for token, special in added])


def _start_with(tokenizer: Tokenizer, token: str, index: int) -> None:
    tokenizer.post_processor = processors.TemplateProcessing(
        single=[token, "$A"], pair=[token, "$A", token, "$B:1"], special_tokens=[(token, index)]
    )
