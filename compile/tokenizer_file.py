"""tokenizer.json: checked, and asked which tokens start and end a text."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer

from paceline.costmodel import ModelSpec
from paceline.errors import CheckpointError
from paceline.partition import TokenIds

# Tokens that end an answer whatever the settings of a checkpoint name; chat models stop at them.
_ENDS = ("<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>")


def parse_tokenizer(text: str, *, where: str) -> Tokenizer:
    """A tokenizer from the text of tokenizer.json.

    Raises:
        CheckpointError: not one that the tokenizers package reads.
    """
    try:
        return Tokenizer.from_str(text)
    except Exception as error:  # the tokenizers package raises plain Exception
        raise CheckpointError(f"{where} is not a tokenizer.json of the tokenizers package: {error}") from error


def token_ids(tokenizer: Tokenizer, *, bos: int | None, add_bos: bool | None, eos: Iterable[int]) -> TokenIds:
    """Special ids; where ``add_bos`` is None the tokenizer itself shows whether it starts texts with a token.

    What the checkpoint itself names comes first in ``eos``: the first is what chat templates call ``eos_token``.
    """
    bare, full = (tokenizer.encode("a", add_special_tokens=special).ids for special in (False, True))
    adds = len(full) > len(bare) and full[:1] != bare[:1]
    if adds and bos is None:
        bos = full[0]
    if add_bos is None:
        add_bos = adds
    ends = (tokenizer.token_to_id(token) for token in _ENDS)
    known = dict.fromkeys([*eos, *(end for end in ends if end is not None)])
    return TokenIds(bos=bos, add_bos=add_bos and bos is not None, eos=tuple(known))


def check_vocabulary(tokenizer: Tokenizer, tokens: TokenIds, spec: ModelSpec, *, where: str) -> None:
    """Every token must have a row in the embedding; a model padded to more rows is fine.

    Raises:
        CheckpointError: the tokenizer, or a special id, goes beyond the model's vocabulary.
    """
    highest = max(tokenizer.get_vocab().values(), default=-1)
    special = max((*tokens.eos, tokens.bos or 0))
    if max(highest, special) >= spec.vocabulary:
        raise CheckpointError(
            f"{where}: the tokenizer goes up to id {max(highest, special)}, the model has {spec.vocabulary} tokens; "
            "they do not belong together"
        )
