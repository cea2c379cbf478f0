"""Find the role of a parameter of forward from its name.

A name counts only if all of its words agree: `x_len` is the length of the texts, `aspect_len` is that of
something else, and `valence` has a "len" in it.
"""

from __future__ import annotations

import re
from typing import Final, Literal

Role = Literal["tokens", "lengths", "mask", "state", "batch size", "device", "training", "targets", "other"]

# The usual words for the text itself.
_TEXT_WORDS: Final = (
    "x xs text texts token tokens ids input inputs inp sentence sentences sent sents seq seqs sequence sequences word "
    "words src source doc docs document documents utterance utt review reviews tweet tweets title news article comment "
    "post message msg content body batch data s premise question query q string chars char letters name names"
)
_TEXT: Final = frozenset(_TEXT_WORDS.split())
# The words that may occur with "len" or "mask" in the name of the texts' lengths or mask.
_PLAIN_WORDS: Final = (
    "attention attn att padding pad key valid real actual true orig original num n the enc encoder encoded sorted list "
    "tensor arr of all lstm rnn gru packed step steps time non not is in t l m b"
)
_PLAIN: Final = _TEXT | frozenset(_PLAIN_WORDS.split())
_LENGTHS: Final = re.compile(r"(len|lens|length|lengths|lenghts|lenght)$")
_MASKS: Final = frozenset({"mask", "masks", "msk"})
_STATES: Final = frozenset({"hidden", "hid", "hiddens", "state", "states"})
_STATE_WORDS: Final = (
    "init initial prev previous last first start h c n x 0 1 rnn lstm gru cell enc encoder dec decoder in old"
)
_OF_A_STATE: Final = _STATES | frozenset(_STATE_WORDS.split())
_SHORT_STATE: Final = re.compile(r"^_?(h|c|hc|hx|cx|hn|cn|h_c|hidden|cell|h_?0|c_?0|h_?n|c_?n)_?$")
_BATCH_SIZE: Final = re.compile(r"batch_?(size|len)$|^(n|num|cur|current|this)?_?batch$|^bs$|^bsz$")


def split_name(name: str) -> list[str]:
    """Split the name of a parameter into its words: `input`, `ids` for `inputIds` and `input_ids`."""
    return re.findall(r"[a-z]+|[0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower())


def is_text_name(name: str) -> bool:
    """Return whether a name means the text, such as `input_ids`."""
    words = [word for word in split_name(name) if not word.isdigit()]
    return bool(words) and all(word in _TEXT for word in words)


def is_lengths_name(name: str) -> bool:
    """Return whether a name means lengths, such as `seq_len`."""
    return any(_LENGTHS.search(word) for word in split_name(name) if not word.isdigit())


def find_role(name: str, *, text_name: str = "", required: bool = True) -> Role:
    """Return the role of a parameter by its name. The role is `other` if the name shows no known role.

    Args:
        name: the name of the parameter.
        text_name: the name of the text's parameter. Its words are ignored in `name`: `review` in `review_lengths`.
        required: whether the parameter has no default.
    """
    words, lower = split_name(name), name.lower()
    plain = _PLAIN | set(split_name(text_name))
    if "device" in words:
        return "device"
    if re.search(r"^(is_?)?(train|training|teacher_forcing)$", lower):
        return "training"
    if required and any(word in {"label", "labels", "target", "targets", "y", "ys"} for word in words[-1:]):
        return "targets"
    rest = [word for word in words if not word.isdigit()]
    if any(word in _MASKS for word in rest):
        return "mask" if all(word in plain | _MASKS or _LENGTHS.search(word) for word in rest) else "other"
    if _BATCH_SIZE.search(lower):
        return "batch size"
    if any(_LENGTHS.search(word) for word in rest):
        named = (_LENGTHS.sub("", word) for word in rest)
        return "lengths" if all(word == "" or word in plain for word in named) else "other"
    if _SHORT_STATE.search(lower) or (any(w in _STATES for w in words) and all(w in _OF_A_STATE for w in words)):
        return "state"
    return "other"
