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
_LENGTH: Final = re.compile(
    r"^(max_?(seq(uence)?_?)?(len(gth)?|tokens|words)|(seq(uence)?|text|pad|fix(ed)?)_?len(gth)?)$",
    re.IGNORECASE,
)
_STOP_WORDS: Final = re.compile(r"stop_?words?", re.IGNORECASE)


def list_checkpoint_hints(path: Path, *, cuts: bool, drops: bool, has_thresholds: bool) -> list[str]:
    """List what a checkpoint says about texts and answers, and no option says, a sentence each.

    Args:
        path: the file of weights.
        cuts: whether the text rules cut or pad texts.
        drops: whether they have stop words.
        has_thresholds: whether thresholds were given.

    Example:
        >>> list_checkpoint_hints(Path("model.pt"), cuts=False, drops=False, has_thresholds=True)
        ["model.pt says max_len=64, and the text rules neither cut nor pad: ..."]
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
        if _LENGTH.search(key) and type(value) is int and value > 1 and not cuts:
            said.append(
                f"{path} says {key}={value}, and the text rules neither cut nor pad. If your code cuts texts there, "
                f"give --max-tokens {value}; if it pads all to that width and the module reads the padding, --rules "
                f'\'{{"min_width": {value}, "max_width": {value}}}\'. --pairs shows which'
            )
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


def _list_members(value: Any, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield the members of a dict or an object, and of those within it."""
    members = vars(value) if isinstance(value, PickledObject) else value
    if not isinstance(members, dict) or depth > _DEEPEST:
        return
    for key, member in members.items():
        if type(key) is str:
            yield key, member
            yield from _list_members(member, depth + 1)
