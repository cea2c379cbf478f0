"""Find settings for texts and answers in a checkpoint, beside its weights: lengths, stop words, a threshold. No code
in the file is run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from pocketrnn.errors import InputError
from pocketrnn_export.safe_pickle_reader import PickledObject
from pocketrnn_export.vocabularies.checkpoint_labels import is_checkpoint, read_checkpoint_root

_DEEPEST: Final = 3
_THRESHOLD: Final = re.compile(r"threshold|cut_?off", re.IGNORECASE)
# Names of lengths without their underscores. max_words is mostly the size of a vocabulary.
_LENGTH: Final = re.compile(
    r"(?!(len(gth)?|tokens)$)(max(imum)?)?"
    r"(fix(ed)?|pad(ded|ding)?|seq(uence)?|text|sen(t(ence)?)?|doc(ument)?|review|comment|tweet|title|input|tokens?)?"
    r"(len(gth)?|tokens)",
    re.IGNORECASE,
)
_STOP_WORDS: Final = re.compile(r"stop_?words?", re.IGNORECASE)


def list_checkpoint_hints(path: Path, *, longest: int | None, drops: bool, has_thresholds: bool) -> list[str]:
    """List the settings for texts and answers that a checkpoint states and no option gives, one sentence for each.

    Args:
        path: the file of weights.
        longest: the most tokens of a text that was compared with the owner's pipeline: a smaller length cuts nothing;
            None if the text rules cut or pad.
        drops: whether they have stop words.
        has_thresholds: whether thresholds were given.
    """
    try:
        root = read_checkpoint_root(path) if is_checkpoint(path) else None
    except (InputError, OSError):
        return []
    said, told = [], set[str]()
    for key, value in _list_members(root):
        if key in told:
            continue
        number = type(value) in (int, float)
        if names_length(key) and type(value) is int and longest is not None and value > max(1, longest):
            said.append(describe_length(str(path), key, value))
        elif _THRESHOLD.search(key) and number and 0 < value < 1 and value != 0.5 and not has_thresholds:
            said.append(
                f"{path} says {key}={value:g}, but a bundle gives the likeliest label. With --multi-label, it gives "
                f"the labels from 0.5 on: to change this, give --thresholds {value:g}. With two labels, give --pairs "
                "with the labels that your code gives: a message then shows the --call that moves the logit"
            )
        elif _STOP_WORDS.search(key) and isinstance(value, list | tuple | set | frozenset) and value and not drops:
            said.append(
                f"{path} has {len(value)} words under {key}, but the text rules drop none: give stop_words in --rules"
            )
        else:
            continue
        told.add(key)
    return said


def names_length(name: str) -> bool:
    """Return whether code usually gives this name to the length of texts."""
    return _LENGTH.fullmatch(name.replace("_", "")) is not None


def describe_length(where: str, name: str, value: int) -> str:
    """Return a sentence about a length that a file states, and the option that gives this length to the text rules."""
    return (
        f"{where} says {name}={value}, but the bundle reads all tokens of a text: it neither cuts nor pads. If your "
        f"code cuts texts there, give --max-tokens {value}. If it also pads all texts to that width and the module "
        f'reads the padding, give --rules \'{{"min_width": {value}, "max_width": {value}}}\'. --pairs shows which'
    )


def _list_members(value: Any, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield each member of a dict or an object with its name. Members of inner dicts and objects follow."""
    members = vars(value) if isinstance(value, PickledObject) else value
    if not isinstance(members, dict) or depth > _DEEPEST:
        return
    for key, member in members.items():
        if type(key) is str:
            yield key, member
            yield from _list_members(member, depth + 1)
