"""Read labels, in the order of the logits, from the command line or from a file."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pocketrnn.bundle.names_from_paths import suggest_near_file
from pocketrnn.errors import InputError
from pocketrnn_export.json_reading_and_writing import brief_text, parse_json
from pocketrnn_export.vocabularies.array_and_pickle_labels import (
    has_array_or_pickle_suffix,
    read_array_or_pickle_labels,
)
from pocketrnn_export.vocabularies.checkpoint_file import is_checkpoint
from pocketrnn_export.vocabularies.checkpoint_labels import find_labels_in_checkpoint
from pocketrnn_export.vocabularies.text_file_lines import read_lines

_GIVE: Final = (
    'Give a,b,c; or a file: a label a line, or JSON: ["a", "b"], {"a": 0, "b": 1}, {"0": "a", "1": "b"} '
    'or [{"id": 0, "name": "a"}].'
)
_ENTRY_NAMES: Final = ("name", "label")
# The keys of the labels in a larger JSON object, such as a model's config.json.
_NESTED: Final = (
    *("id2label", "label2id", "idx2label", "label2idx", "labels", "classes", "class_names", "label_names"),
    *("target_names", "idx2class", "class2idx", "idx_to_label", "label_to_idx", "idx_to_class", "class_to_idx"),
)


def read_labels(labels_or_file: str, head: str = "") -> list[str]:
    """Read the labels that `--labels` names: `a,b,c`; a text file with one label in each line; a JSON file; or a file
    of scikit-learn.

    A JSON file holds a list of labels, a map from label to index or from index to label, or an object with one of these
    under a usual key such as `id2label`, `labels` or `classes`, or a list of objects with `id` and `name` or `label`,
    under any key. Whole numbers may be labels; in a map from whole numbers to whole numbers, the names `id2label` and
    `label2id` give the direction. `classes.npy`, and a pickle with a LabelEncoder, a list or a dict, are read without
    executing anything (`array_and_pickle_labels.py`), and so is a checkpoint that holds one of these under a key
    (`checkpoint_labels.py`).

    Args:
        labels_or_file: the labels, or the file.
        head: the name of the module's head that the labels belong to, which may be part of their key in a checkpoint.

    Raises:
        InputError: the file cannot be read, or does not give one label for each index from 0.
    """
    try:
        is_file = Path(labels_or_file).is_file()
    except (OSError, ValueError):
        # Too long for a file name, or with a NUL in it: a list of labels.
        is_file = False
    if not is_file:
        if "," not in labels_or_file and Path(labels_or_file).suffix:
            # A single label is never enough, so it must be a file.
            near = suggest_near_file(Path(labels_or_file), (".json", ".txt", ".npy", ".pkl", ".pt"))
            raise InputError(f"There is no file {labels_or_file} of labels.", near or _GIVE)
        return [label.strip() for label in labels_or_file.split(",")]
    path = Path(labels_or_file)
    if has_array_or_pickle_suffix(path) or is_checkpoint(path):
        found = _read_pickled_labels(path, head)
        return [
            _convert_label(item, path)
            for item in (found if isinstance(found, list) else _read_labels_in_pickled_map(found, path))
        ]
    lines = read_lines(path)
    if path.suffix.lower() != ".json" and not lines[0].lstrip().startswith(("[", "{")):
        return [line.removesuffix("\r") for line in lines]
    document = parse_json("\n".join(lines), str(path), _GIVE)
    if isinstance(document, dict):
        held = [value for value in document.values() if _is_entry_list(value)]
        is_usual = any(isinstance(document.get(name), list | dict) for name in _NESTED)
        document = held[0] if len(held) == 1 and not is_usual else _read_labels_in_object(document, path)
    if _is_entry_list(document):
        document = _read_labels_in_entries(document, path)
    if not isinstance(document, list):
        raise InputError(f"{path} holds neither a list nor a dict of labels.", _GIVE)
    return [_convert_label(item, path) for item in document]


def _read_pickled_labels(path: Path, head: str) -> list[Any] | dict[Any, Any]:
    """Return the labels in a pickled file, which holds only labels or is a checkpoint. In a checkpoint, `head` may be
    part of their key."""
    if not has_array_or_pickle_suffix(path):
        return find_labels_in_checkpoint(path, head)
    try:
        return read_array_or_pickle_labels(path)
    except InputError:
        with contextlib.suppress(InputError):
            return find_labels_in_checkpoint(path, head)
        raise


def _read_labels_in_object(document: Mapping[str, Any], path: Path) -> list[Any]:
    """Return the labels in a JSON object. They are under a usual key, such as `id2label`, or the object itself maps
    labels and indices."""
    names = [name for name in _NESTED if isinstance(document.get(name), list | dict)]
    if not names:
        return _read_labels_in_map(document, path)
    first, *others = names
    labels = _read_labels_under_name(document, first, path)
    for name in others:
        other = list(map(str, _read_labels_under_name(document, name, path)))
        # A model's config.json has them twice; and `labels` beside these may be the labels of rows.
        same = set(map(str, labels)) == set(other) and len(other) == len(labels)
        if other != list(map(str, labels)) and (same or name == "label2id"):
            raise InputError(f"{path} has different labels under {first} and under {name}.", _GIVE)
    said = set(map(str, labels))
    # The object may also map these labels itself, to indices or to numbers of rows.
    own, mapped = {key: value for key, value in document.items() if _maps_label(key, value, said)}, labels
    if len(own) == len(said):
        with contextlib.suppress(InputError):
            mapped = _read_labels_in_map(own, path)
    if list(map(str, mapped)) != list(map(str, labels)):
        raise InputError(f"{path} maps the labels to other indices than they have under {first}.", _GIVE)
    return labels


def _is_entry_list(value: Any) -> bool:
    """Return whether a value is a list of objects that each have an id, such as the list of intents of a data set."""
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) and "id" in one for one in value)


def _read_labels_in_entries(entries: Sequence[Mapping[str, Any]], path: Path) -> list[Any]:
    """Return the labels of objects with `id` and `name` or `label`, in the order of the ids."""
    pairs = []
    for one in entries:
        names = [one[name] for name in _ENTRY_NAMES if name in one]
        index = int(one["id"]) if _is_digit_string(one["id"]) else one["id"]
        if len(names) != 1 or type(index) is not int:
            raise InputError(f"{path} holds {brief_text(one)}, which is not one label with its index.", _GIVE)
        pairs.append((names[0], index))
    if twice := [index for index, count in Counter(index for _, index in pairs).items() if count > 1]:
        raise InputError(f"{path} gives the index {brief_text(twice[0])} twice.", _GIVE)
    return _order_labels(pairs, path)


def _maps_label(key: str, value: Any, labels: Container[str]) -> bool:
    """Return whether an entry of a dict maps one of the labels to an index, or an index to one of the labels."""
    if _is_digit_string(key) and type(value) in (str, int) and str(value) in labels:
        return True
    return type(value) is int and key in labels


def _read_labels_under_name(document: Mapping[str, Any], name: str, path: Path) -> list[Any]:
    value = document[name]
    return _read_labels_in_map(value, path, name) if isinstance(value, dict) else value


def _read_labels_in_pickled_map(found: Mapping[Any, Any], path: Path) -> list[Any]:
    """Return the labels in a pickled dict from indices to labels or from labels to indices. Its keys may be integers,
    unlike those of a JSON object."""
    if all(type(key) is int for key in found) and not any(type(value) is int for value in found.values()):
        return _order_labels([(label, index) for index, label in found.items()], path)
    return _read_labels_in_map({str(key): value for key, value in found.items()}, path)


def _read_labels_in_map(document: Mapping[str, Any], path: Path, name: str = "") -> list[Any]:
    """Return the labels in the order of their indices, from a dict of labels and indices. `name` is the key under which
    the dict stands, and may show whether it maps labels to indices or indices to labels."""
    to_index = [*document.items()]
    name = {"idx2label": "id2label", "label2idx": "label2id"}.get(name, name)
    to_label = [(label, index) for index, label in document.items()]
    directions = []
    if name != "id2label" and all(type(i) is int or (name == "label2id" and _is_digit_string(i)) for _, i in to_index):
        directions.append(to_index)
    if name != "label2id" and all(_is_digit_string(index) for _, index in to_label):
        directions.append(to_label)
    if not directions:
        raise InputError(f"{path} maps neither labels to indices nor indices to labels.", _GIVE)
    read: list[list[Any]] = []
    failures: list[InputError] = []
    for pairs in directions:
        try:
            read.append(_order_labels(pairs, path))
        except InputError as error:
            failures.append(error)
    if not read:
        raise failures[0]
    if len({tuple(map(str, labels)) for labels in read}) > 1:
        raise InputError(
            f"{path} maps whole numbers to whole numbers, and it is not clear which of them are the labels.",
            'Put the map under its name: {"id2label": {...}} or {"label2id": {...}}.',
        )
    return read[0]


def _order_labels(pairs: Sequence[tuple[Any, Any]], path: Path) -> list[Any]:
    """Return the labels of pairs (label, index) in the order of the indices."""
    by_index: dict[int, Any] = {}
    for label, given in pairs:
        index = int(given)
        if by_index.setdefault(index, label) != label:
            raise InputError(
                f"{path} gives the index {brief_text(index)} to {brief_text(by_index[index])} and to "
                f"{brief_text(label)}.",
                _GIVE,
            )
    if sorted(by_index) != list(range(len(pairs))):
        missing = next(i for i in range(len(pairs)) if i not in by_index)
        raise InputError(
            f"{path} holds {len(pairs)} labels, but no label has the index {missing}.",
            "Number the labels from 0, in the order of the logits.",
        )
    return [by_index[i] for i in range(len(pairs))]


def _is_digit_string(value: Any) -> bool:
    return isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 10


def _convert_label(item: Any, path: Path) -> str:
    """Return a label as a string. Refuse an item that is neither a string nor a whole number."""
    if type(item) not in (str, int):
        raise InputError(f"{path} holds {brief_text(item)}, which is not a label.", _GIVE)
    return str(item)
