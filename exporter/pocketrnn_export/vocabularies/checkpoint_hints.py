"""Find what a checkpoint says about texts and answers beside its weights: lengths, stop words, a threshold. Nothing in
the file is executed."""

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
    """List what a checkpoint says about texts and answers, and no option says, a sentence each.

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
                f"{path} says {key}={value:g}. A bundle gives the likeliest label, or with --multi-label those from "
                f"0.5 on: --thresholds {value:g} says another number. For one of two labels, --pairs with the labels "
                "that your code gives shows the --call that moves the logit"
            )
        elif _STOP_WORDS.search(key) and isinstance(value, list | tuple | set | frozenset) and value and not drops:
            said.append(
                f"{path} has {len(value)} words under {key}, and the text rules drop none: say stop_words in --rules"
            )
        else:
            continue
        told.add(key)
    return said


def names_length(name: str) -> bool:
    """Return whether a name is one that code gives to the length of texts."""
    return _LENGTH.fullmatch(name.replace("_", "")) is not None


def describe_length(where: str, name: str, value: int) -> str:
    """Say that a file names a length, and how to give it to the text rules."""
    return (
        f"{where} says {name}={value}, and the bundle reads all tokens of a text: it neither cuts nor pads. If your "
        f"code cuts texts there, give --max-tokens {value}; if it pads all to that width and the module reads the "
        f'padding, --rules \'{{"min_width": {value}, "max_width": {value}}}\'. --pairs shows which'
    )


def _list_members(value: Any, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield the members of a dict or an object, and of those within it."""
    members = vars(value) if isinstance(value, PickledObject) else value
    if not isinstance(members, dict) or depth > _DEEPEST:
        return
    for key, member in members.items():
        if type(key) is str:
            yield key, member
            yield from _list_members(member, depth + 1)
