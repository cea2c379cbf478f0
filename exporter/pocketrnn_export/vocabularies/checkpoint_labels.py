"""Find the labels in a checkpoint, or in another pickled dict with several members. No code in the file is run."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from pocketrnn.errors import InputError, short_repr
from pocketrnn_export.json_reading_and_writing import brief_text
from pocketrnn_export.safe_pickle_reader import PickledObject
from pocketrnn_export.vocabularies.array_and_pickle_labels import convert_numpy_scalar
from pocketrnn_export.vocabularies.checkpoint_file import describe_member, read_checkpoint_root

_log = logging.getLogger(__name__)

_MOST_LABELS: Final = 1 << 20
_DEEPEST: Final = 4
_NAMED_KEYS: Final = 12
_NAMED_LABELS: Final = 8
_OF_LABELS: Final = re.compile("label|class|tag|categor|target|intent|sentiment|topic|(^|_)le($|_)", re.IGNORECASE)
# Keys of maps of the vocabulary, and of lists that are not names: class_weights, the labels of rows.
_OF_WORDS: Final = re.compile("vocab|stoi|itos|word|token|char|weight|param|state|column|feature", re.IGNORECASE)
_SAVE_PLAIN: Final = (
    "Give a,b,c; or, where it was made, save the labels as JSON, in the order of the logits, and give labels.json: "
    "json.dump(labels, open('labels.json', 'w'), default=int)."
)


def find_labels_in_checkpoint(path: Path, head: str = "") -> list[Any] | dict[Any, Any]:
    """Find the labels in a file that `torch.save` or `pickle.dump` wrote, and log the key that holds them.

    They are a list of strings, a map from label to index or from index to label, an array, the `classes_` of an encoder
    of scikit-learn, or the vocabulary of a torchtext Field of labels. They are under a key like `labels`, `classes` or
    `idx2label`, also in a dict within.

    Args:
        path: the file.
        head: the name of the module's head that the labels belong to. If some keys contain this name, only these are
            searched.

    Raises:
        InputError: the file cannot be read, or it holds no labels or several; the message has its keys.
    """
    root = read_checkpoint_root(path, _SAVE_PLAIN)
    if (labels := _read_labels(root)) is not None and not isinstance(root, dict):
        return labels
    found = dict(_list_labels_with_paths(root, ""))
    if not found and labels is not None:
        return labels
    if of_head := {key: value for key, value in found.items() if head and head.lower() in key.lower()}:
        found = of_head
    distinct = {repr(_order_by_index(value)): key for key, value in reversed(found.items())}
    if len(distinct) != 1:
        raise _make_labels_error(path, root, sorted(distinct.values()))
    key = next(iter(found))
    shown = _order_by_index(found[key])
    more = f" and {len(shown) - _NAMED_LABELS} more" if len(shown) > _NAMED_LABELS else ""
    named = ", ".join(short_repr(str(label), 40) for label in shown[:_NAMED_LABELS])
    _log.warning("%s has several members. The labels are %s: %s%s.", path, describe_member(key), named, more)
    return found[key]


def _list_labels_with_paths(value: Any, path: str, depth: int = 0) -> Iterator[tuple[str, list[Any] | dict[Any, Any]]]:
    """Yield the path, such as `config.labels`, and the value of each list or dict of labels in a dict or an object.
    Inner dicts and objects are searched, too."""
    members = vars(value) if isinstance(value, PickledObject) else value
    if not isinstance(members, dict) or depth > _DEEPEST:
        return
    for key, member in members.items():
        if type(key) is not str:
            continue
        inner = f"{path}.{key}" if path else key
        is_named = bool(_OF_LABELS.search(inner))
        if isinstance(member, PickledObject):
            labels = _read_encoder_or_vocabulary(member, is_named=is_named)
        else:
            labels = _read_labels(member) if is_named and not _OF_WORDS.search(key) else None
        if labels is not None:
            yield inner, labels
        else:
            yield from _list_labels_with_paths(member, inner, depth + 1)


def _read_labels(value: Any) -> list[Any] | dict[Any, Any] | None:
    """Return a value as a list of labels, or as a dict from labels to indices or from indices to labels. Return None
    for another value."""
    if isinstance(value, PickledObject):
        return _read_encoder_or_vocabulary(value, is_named=True)
    if isinstance(value, np.ndarray):
        value = value.tolist() if value.ndim == 1 else None
    if isinstance(value, list | tuple):
        items = [*map(convert_numpy_scalar, value)]
        different = 1 < len(items) <= _MOST_LABELS and len({str(item) for item in items}) == len(items)
        return items if different and {type(item) for item in items} <= {str, int} else None
    if isinstance(value, dict) and 1 < len(value) <= _MOST_LABELS:
        plain = {convert_numpy_scalar(key): convert_numpy_scalar(member) for key, member in value.items()}
        return plain if _are_indices(plain) or _are_indices(plain.values()) else None
    return None


def _read_encoder_or_vocabulary(value: PickledObject, *, is_named: bool) -> list[Any] | dict[Any, Any] | None:
    """Return the `classes_` of an encoder of scikit-learn, or the `itos` of the vocabulary of a torchtext Field or
    Vocab, without special tokens before the labels. Return None for another object, and for a Field of texts.

    Args:
        value: the object.
        is_named: whether it has a name of labels, or is the whole file. If not, only a Field of labels is read.
    """
    members = vars(value)
    if members.get("classes_") is not None:
        return _read_labels(members["classes_"])
    vocabulary = members.get("vocab", value)
    words = vars(vocabulary).get("itos") if isinstance(vocabulary, PickledObject) else None
    is_target = members.get("is_target") is True
    if type(words) is not list or not (is_target or (is_named and members.get("sequential") is not True)):
        return None
    special = {"<unk>", "<pad>", *(members.get(name) for name in ("unk_token", "pad_token"))}
    first = next((i for i, word in enumerate(words) if type(word) is not str or word not in special), len(words))
    if first:
        _log.warning(
            "%s are left out of the labels. If the module has outputs for them, give all: --labels %s",
            ", ".join(map(short_repr, words[:first])), ",".join(map(str, words[:_NAMED_LABELS])),
        )  # fmt: skip
    return _read_labels(words[first:])


def _are_indices(items: Any) -> bool:
    """Return whether items are the whole numbers from 0, each once, as integers or as strings of digits."""
    numbers = [int(item) if isinstance(item, str) and item.isdecimal() and len(item) < 10 else item for item in items]
    return all(type(number) is int for number in numbers) and sorted(numbers) == list(range(len(numbers)))


def _order_by_index(labels: list[Any] | dict[Any, Any]) -> list[Any]:
    """Return the labels of a list or a dict in the order of their indices."""
    if isinstance(labels, list):
        return labels
    if _are_indices(labels.values()):
        return sorted(labels, key=lambda label: int(labels[label]))
    return [labels[index] for index in sorted(labels, key=int)]


def _make_labels_error(path: Path, root: Any, label_keys: list[str]) -> InputError:
    """Make the error for a checkpoint without labels, or with different labels under `label_keys`. `root` is the object
    in its file."""
    members = vars(root) if isinstance(root, PickledObject) else root
    if label_keys:
        return InputError(f"{path} holds different labels under {' and under '.join(label_keys[:3])}.", _SAVE_PLAIN)
    if not isinstance(members, Mapping) or not members:
        return InputError(f"{path} holds {brief_text(root)}, but no labels.", _SAVE_PLAIN)
    keys = ", ".join(short_repr(str(key), 40) for key in [*members][:_NAMED_KEYS]) + ", ..." * (
        len(members) > _NAMED_KEYS
    )
    return InputError(f"{path} holds the keys {keys}, but none of them has labels.", _SAVE_PLAIN)
