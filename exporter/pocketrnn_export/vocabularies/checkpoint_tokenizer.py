"""Find a complete subword tokenizer in a checkpoint, or in another pickled file. No code in the file is run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pocketrnn.errors import InputError, short_repr
from pocketrnn_export.safe_pickle_reader import PickledObject
from pocketrnn_export.vocabularies.checkpoint_file import find_checkpoint_root, read_checkpoint_root

_DEEPEST: Final = 8
# Members of a tokenizer.json beside its model. A saved model's config has none of them.
_PARTS: Final = frozenset({"pre_tokenizer", "normalizer", "added_tokens", "post_processor", "decoder"})
_OF_SENTENCEPIECE: Final = re.compile(r"sentence_?piece|sp_?(m|model|proto)($|[_.])", re.IGNORECASE)
_OF_OTHERS: Final = re.compile(r"(bpe_?)?(merges|ranks|codes)|bpe|.*tokenizer.*", re.IGNORECASE)
_SAVE_PLAIN: Final = (
    "Where it was made, save it on its own, and give the file: tokenizer.save('tokenizer.json'), or sentencepiece's "
    ".model."
)


@dataclass(frozen=True)
class HeldTokenizer:
    """A subword tokenizer that was found in a checkpoint: its key there and its content.

    Attributes:
        key: its place, such as `tokenizer_state.tokenizer_json`.
        content: the text of a tokenizer.json, or the bytes of sentencepiece's .model.
    """

    key: str
    content: str | bytes


def find_tokenizer_in_checkpoint(path: Path) -> HeldTokenizer | None:
    """Find the tokenizer in a file of `torch.save` or `pickle.dump`. It is the text or the dict of a tokenizer.json, a
    pickled tokenizer of the library tokenizers, or the bytes of a sentencepiece model. Return None if there is none.

    Raises:
        InputError: the file cannot be read, or holds different tokenizers.

    Example:
        >>> find_tokenizer_in_checkpoint(Path("best_model.pt")).key
        'tokenizer_state.tokenizer_json'
    """
    root = read_checkpoint_root(path, _SAVE_PLAIN)
    # By its content, since the text may be written in several ways.
    found: dict[str | bytes, HeldTokenizer] = {}
    for key, value in _list_members(root, "", set()):
        content = _read_tokenizer(key, value)
        if content is not None:
            same = json.dumps(json.loads(content)) if isinstance(content, str) else content
            found.setdefault(same, HeldTokenizer(key, content))
    if len(found) > 1:
        keys = " and under ".join(short_repr(one.key, 60) for one in list(found.values())[:3])
        raise InputError(f"{path} holds different tokenizers under {keys}.", _SAVE_PLAIN)
    return next(iter(found.values()), None)


def describe_unread_tokenizer(path: Path) -> str:
    """Return a sentence about a part of a subword tokenizer in a checkpoint, such as merges, that the export does not
    use; an empty string if there is none."""
    for key, value in _list_members(find_checkpoint_root(path), "", set()):
        name = key.rpartition(".")[2]
        is_part = isinstance(value, bytes) or (isinstance(value, list | dict) and "tokenizer" not in name.lower())
        if value and is_part and _OF_OTHERS.fullmatch(name):
            return (
                f"{path} has a tokenizer's {short_repr(key, 60)}, which the text rules do not use: if your code splits "
                "texts into subwords, give --tokenizer FILE with its tokenizer.json or sentencepiece's .model"
            )
    return ""


def _list_members(value: Any, key: str, seen: set[int], depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield the path and the value of each member of dicts, lists and objects, the outer ones first."""
    yield key, value
    members = vars(value) if isinstance(value, PickledObject) else value
    if isinstance(members, list | tuple):
        members = dict(enumerate(members))
    if not isinstance(members, dict) or depth > _DEEPEST or id(value) in seen:
        return
    seen.add(id(value))
    for name, member in members.items():
        if isinstance(member, str | bytes | list | tuple | dict | PickledObject):
            yield from _list_members(member, f"{key}.{name}" if key else str(name), seen, depth + 1)


def _read_tokenizer(key: str, value: Any) -> str | bytes | None:
    """Return the text of a tokenizer.json, or the bytes of a sentencepiece model, if a value is one; else None."""
    if isinstance(value, Mapping):
        with_model = isinstance(value.get("model"), Mapping) and not _PARTS.isdisjoint(value)
        if not with_model or value["model"].keys().isdisjoint({"type", "vocab"}):
            return None
        try:
            return json.dumps(value)
        except (TypeError, ValueError):
            return None
    if isinstance(value, bytes) and _OF_SENTENCEPIECE.search(key):
        return value
    if not isinstance(value, str | bytes) or len(value) < 2:
        return None
    try:
        text = value if isinstance(value, str) else value.decode()
        if not text.lstrip().startswith("{") or '"model"' not in text:
            return None
        document = json.loads(text)
    # Text that is not JSON, or too deep.
    except (ValueError, RecursionError):
        return None
    return text if isinstance(document, dict) and _read_tokenizer(key, document) is not None else None
