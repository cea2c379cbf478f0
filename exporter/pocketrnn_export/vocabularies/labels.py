"""Read labels, in the order of the logits, from the command line or from a file: a list, a scikit-learn LabelEncoder,
an array, a dict, or a checkpoint. No code in the file is run."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import shlex
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from pocketrnn.bundle.names_from_paths import suggest_near_file
from pocketrnn.errors import InputError, find_file_error_reason, first_line, short_repr
from pocketrnn_export.json_reading_and_writing import brief_text, parse_json
from pocketrnn_export.safe_pickle_reader import (
    PickledObject,
    UnsupportedPickleError,
    read_checkpoint,
    read_pickle,
    unwrap_stand_ins,
)
from pocketrnn_export.vocabularies.checkpoint_file import describe_member, is_checkpoint, read_checkpoint_root
from pocketrnn_export.vocabularies.text_lines_and_compressed_files import decompress_content, read_lines
from pocketrnn_training.rows.array_files import read_array_header, read_arrays

_GIVE: Final = (
    "Give the labels in the order of the logits: --labels a,b,c, or --labels FILE with one label in each line or with "
    'JSON: ["a", "b"], {"a": 0, "b": 1}, {"0": "a", "1": "b"} or [{"id": 0, "name": "a"}].'
)
_ENTRY_NAMES: Final = ("name", "label")
# The keys of the labels in a larger JSON object, such as a model's config.json.
_NESTED: Final = (
    *("id2label", "label2id", "idx2label", "label2idx", "labels", "classes", "class_names", "label_names"),
    *("target_names", "idx2class", "class2idx", "idx_to_label", "label_to_idx", "idx_to_class", "class_to_idx"),
)


def read_labels(labels_or_file: str, head: str = "") -> list[str]:
    """Read labels from the value of the option `--labels`, which is the labels themselves or the path of a file.

    The labels are typed as `a,b,c`, or as a JSON list if they contain commas or begin or end with blanks. A file is one
    of these:

    - a text file with one label in each line
    - a JSON file with a list of labels, with a map from label to index or from index to label, or with a list of
      objects that have an `id` and a `name` or `label`; one of these may also be under a key such as `id2label`,
      `labels` or `classes`
    - a numpy file such as `classes.npy`, a pickle with a LabelEncoder, a list or a dict, or a checkpoint with one of
      these under a key. No code in the file is run

    Args:
        labels_or_file: the labels, or the path of the file.
        head: the name of the output head of the module that the labels belong to. If some keys of a checkpoint contain
            this name, only these keys are searched.

    Raises:
        InputError: the file cannot be read, or does not give exactly one label for each index from 0 on.
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
            raise InputError(f"The file of labels {labels_or_file} does not exist.", near or _GIVE)
        if re.fullmatch(r'\[\s*".*"\s*\]', labels_or_file, re.DOTALL):
            return [_convert_label(item, "--labels") for item in parse_json(labels_or_file, "--labels", _GIVE)]
        typed = labels_or_file.split(",")
        if blank := next((label for label in typed if label.strip() != label.lstrip()), None):
            _log.warning(
                "The label %s is read as %s: blanks around typed labels are dropped. To keep them: --labels %s",
                short_repr(blank.lstrip()), short_repr(blank.strip()),
                shlex.quote(write_labels([label.lstrip() for label in typed])),
            )  # fmt: skip
        return [label.strip() for label in typed]
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
        raise InputError(
            f"{path} must hold a list of labels or a dict of labels and indices, but holds neither.", _GIVE
        )
    return [_convert_label(item, path) for item in document]


def write_labels(labels: Sequence[str]) -> str:
    """Return labels in the form that `--labels` takes: `a,b,c`, or a JSON list if a label contains a comma or begins or
    ends with a blank.

    Example:
        >>> write_labels(["bad", "good"]), write_labels(["bad", "good "])
        ('bad,good', '["bad", "good "]')
    """
    is_plain = all(label == label.strip() and "," not in label for label in labels)
    return ",".join(labels) if is_plain else json.dumps([*labels], ensure_ascii=False)


def _read_pickled_labels(path: Path, head: str) -> list[Any] | dict[Any, Any]:
    """Return the labels in a pickled file, which holds only the labels or is a checkpoint with the labels under a key.
    If some keys of the checkpoint contain the name `head`, only these keys are searched."""
    if not has_array_or_pickle_suffix(path):
        return find_labels_in_checkpoint(path, head)
    try:
        return read_array_or_pickle_labels(path)
    except InputError:
        with contextlib.suppress(InputError):
            return find_labels_in_checkpoint(path, head)
        raise


def _read_labels_in_object(document: Mapping[str, Any], path: Path) -> list[Any]:
    """Return the labels in the JSON object of a file, in the order of their indices. The labels are under a key such as
    `id2label`, or the object itself maps labels to indices or indices to labels. Raise an InputError if there are no
    labels, or if the object has different labels in two places."""
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
            raise InputError(
                f"{path} has different labels under the keys `{first}` and `{name}`.",
                f"Delete the key whose labels are not those of the module's logits. {_GIVE}",
            )
    said = set(map(str, labels))
    # The object may also map these labels itself, to indices or to numbers of rows.
    own, mapped = (
        {key: value for key, value in document.items() if _is_entry_of_label_and_index(key, value, said)},
        labels,
    )
    if len(own) == len(said):
        with contextlib.suppress(InputError):
            mapped = _read_labels_in_map(own, path)
    if list(map(str, mapped)) != list(map(str, labels)):
        raise InputError(
            f"{path} maps the labels to indices, but the labels under its key `{first}` have other indices.",
            f"Delete the wrong one of the two. {_GIVE}",
        )
    return labels


def _is_entry_list(value: Any) -> bool:
    """Return whether a value is a list of JSON objects that all have an `id`, such as {"id": 0, "name": "bad"}."""
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) and "id" in one for one in value)


def _read_labels_in_entries(entries: Sequence[Mapping[str, Any]], path: Path) -> list[Any]:
    """Return the labels in a list of objects such as {"id": 0, "name": "bad"}, in the order of the ids. Raise an
    InputError if an object has no label as `name` or `label`, or no whole number as `id`, or if an id occurs twice."""
    pairs = []
    for one in entries:
        names = [one[name] for name in _ENTRY_NAMES if name in one]
        index = int(one["id"]) if _is_digit_string(one["id"]) else one["id"]
        if len(names) != 1 or type(index) is not int:
            raise InputError(
                f"{path} has an entry {brief_text(one)}, but each entry must have one label, under `name` or `label`, "
                "and a whole number under `id`.",
                _GIVE,
            )
        pairs.append((names[0], index))
    if twice := [index for index, count in Counter(index for _, index in pairs).items() if count > 1]:
        raise InputError(
            f"{path} gives the index {brief_text(twice[0])} twice, but each index must belong to one label.", _GIVE
        )
    return _order_labels(pairs, path)


def _is_entry_of_label_and_index(key: str, value: Any, labels: Container[str]) -> bool:
    """Return whether an entry of a dict maps one of `labels` to an index, or an index to one of `labels`."""
    if _is_digit_string(key) and type(value) in (str, int) and str(value) in labels:
        return True
    return type(value) is int and key in labels


def _read_labels_under_name(document: Mapping[str, Any], name: str, path: Path) -> list[Any]:
    """Return the labels under the key `name` of a JSON object: a list of labels, or a map between labels and indices.
    `path` is the file, for messages."""
    value = document[name]
    return _read_labels_in_map(value, path, name) if isinstance(value, dict) else value


def _read_labels_in_pickled_map(found: Mapping[Any, Any], path: Path) -> list[Any]:
    """Return the labels in a pickled dict from indices to labels or from labels to indices, in the order of the
    indices. Unlike the keys of a JSON object, the indices may be integers."""
    if all(type(key) is int for key in found) and not any(type(value) is int for value in found.values()):
        return _order_labels([(label, index) for index, label in found.items()], path)
    return _read_labels_in_map({str(key): value for key, value in found.items()}, path)


def _read_labels_in_map(document: Mapping[str, Any], path: Path, name: str = "") -> list[Any]:
    """Return the labels of a dict from labels to indices or from indices to labels, in the order of the indices. `name`
    is the key under which the file has the dict. If all keys and values are whole numbers, `name` must be `id2label`
    or `label2id` to show which of them are the labels, unless both directions give the same order."""
    to_index = [*document.items()]
    name = {"idx2label": "id2label", "label2idx": "label2id"}.get(name, name)
    to_label = [(label, index) for index, label in document.items()]
    directions = []
    if name != "id2label" and all(type(i) is int or (name == "label2id" and _is_digit_string(i)) for _, i in to_index):
        directions.append(to_index)
    if name != "label2id" and all(_is_digit_string(index) for _, index in to_label):
        directions.append(to_label)
    if not directions:
        raise InputError(f"{path} must map labels to indices or indices to labels, but does neither.", _GIVE)
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
            f"{path} maps whole numbers to whole numbers, and does not say which of them are the labels.",
            'Write the map under a key that says it: {"id2label": {...}} or {"label2id": {...}}.',
        )
    return read[0]


def _order_labels(pairs: Sequence[tuple[Any, Any]], path: Path) -> list[Any]:
    """Return the labels of pairs (label, index) in the order of the indices. Raise an InputError if an index from 0 on
    is missing or belongs to two labels."""
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
            f"{path} holds {len(pairs)} labels, so their indices must be 0 to {len(pairs) - 1}, but no label has the "
            f"index {missing}.",
            "Number the labels from 0 on, in the order of the logits.",
        )
    return [by_index[i] for i in range(len(pairs))]


def _is_digit_string(value: Any) -> bool:
    """Return whether a value is a string of one to nine ASCII digits."""
    return isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 10


def _convert_label(item: Any, path: Path | str) -> str:
    """Return a label as a string. Raise an InputError if it is neither a string nor a whole number."""
    if type(item) not in (str, int):
        raise InputError(
            f"{path} holds {brief_text(item)} as a label, but a label must be a string or a whole number.", _GIVE
        )
    return str(item)


# Bytes: a million labels take less.
_LARGEST: Final = 1 << 25
_MOST_LABELS: Final = 1 << 20
_ENCODERS: Final = ("LabelEncoder", "LabelBinarizer", "MultiLabelBinarizer")
_NUMPY: Final = (".npy", ".npz")
_PICKLES: Final = (".pkl", ".pickle", ".joblib", ".sav")
_SAVE_PLAIN: Final = (
    "Where it was made, save the labels as JSON, and give labels.json: json.dump([str(one) for one in "
    "encoder.classes_], open('labels.json', 'w')) for a LabelEncoder; json.dump({str(label): int(i) for label, i in "
    "label2id.items()}, open('labels.json', 'w')) for a dict."
)
_SAVE_ARRAY: Final = (
    "Where it was made, save the labels as JSON, and give labels.json: json.dump([str(one) for one in "
    "classes], open('labels.json', 'w'))."
)


def has_array_or_pickle_suffix(path: Path) -> bool:
    """Return whether a file's name has a suffix of numpy arrays or pickles, such as `.npy` or `.pkl`."""
    return path.suffix.lower() in (*_NUMPY, *_PICKLES)


def read_array_or_pickle_labels(path: Path) -> list[Any] | dict[Any, Any]:
    """Read the labels in a `.npy` file, a `.npz` file or a pickle. Return a list of labels, or a dict from labels to
    indices or from indices to labels. Labels are strings or integers.

    A pickle of `joblib.dump` or `pickle.dump` holds an array, a list, a dict, or an encoder of scikit-learn such as a
    LabelEncoder, whose `classes_` are read. If it holds a tuple or a list with one encoder in it, this encoder is read.

    Raises:
        InputError: the file cannot be read, is too large, or does not hold labels.
    """
    remedy = _SAVE_ARRAY if path.suffix.lower() in _NUMPY else _SAVE_PLAIN
    try:
        found = _read_array_or_pickle(path, remedy)
    except InputError:
        raise
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {find_file_error_reason(error)}.",
            "Check that the file exists and that you may read it.",
        ) from None
    except UnsupportedPickleError as error:
        raise InputError(
            f"{path} is a pickle with {error}. Labels do not need this, and pocketrnn did not run it.", remedy
        ) from None
    # Damaged bytes may raise any exception.
    except Exception as error:
        raise InputError(f"The labels in {path} cannot be read: {first_line(error)}.", remedy) from None
    if isinstance(found, PickledObject):
        found = vars(found).get("classes_")
    if isinstance(found, np.ndarray):
        found = found.tolist()
    if isinstance(found, list | tuple):
        found = [*map(convert_numpy_scalar, found)]
        items = found
    elif isinstance(found, dict):
        found = {convert_numpy_scalar(key): convert_numpy_scalar(value) for key, value in found.items()}
        items = [*found, *found.values()]
    else:
        items = [None]
    if wrong := [item for item in items if type(item) not in (str, int)]:
        raise InputError(
            f"{path} holds {brief_text(wrong[0] if found else found)}, but a label must be a string or a whole number.",
            remedy,
        )
    if not 0 < len(found) <= _MOST_LABELS:
        raise InputError(f"{path} holds {len(found):,} labels, but must hold 1 to {_MOST_LABELS:,} labels.", remedy)
    return found  # type: ignore[no-any-return]


def convert_numpy_scalar(item: Any) -> Any:
    """Convert a single number or string of numpy to the Python value. Return any other object as it is."""
    return item.item() if isinstance(item, np.generic) else item


def _read_array_or_pickle(path: Path, remedy: str) -> Any:
    """Read the array or the pickled object in a file. Raise an InputError if the file is too large or does not have
    exactly one array; `remedy` is the advice in its message."""
    with path.open("rb") as file:
        content = decompress_content(file.read(_LARGEST + 1), _LARGEST)
    if len(content) > _LARGEST:
        raise InputError(f"{path} is too large: a file of labels may have at most {_LARGEST >> 20} MiB.", remedy)
    if content.startswith(b"\x93NUMPY"):
        header = read_array_header(content)
        if header.dtype.hasobject:
            return read_pickle(content[header.size :], _ENCODERS)
    if path.suffix.lower() in _NUMPY:
        arrays = list(read_arrays(path, remedy, most=_LARGEST).values())
        if len(arrays) != 1:
            raise InputError(f"{path} holds {len(arrays)} arrays, but must hold exactly one, the labels.", remedy)
        return arrays[0]
    try:
        return read_pickle(content, _ENCODERS)
    except UnsupportedPickleError:
        if (encoder := _find_label_encoder_in_list(content)) is None:
            raise
        return encoder


def _find_label_encoder_in_list(content: bytes) -> PickledObject | None:
    """Find the only encoder of labels, such as a LabelEncoder of scikit-learn, in a pickled tuple or list. Return None
    if there is none, or if there are several. `content` has the bytes of the pickle."""
    # Damaged bytes may raise any exception.
    with contextlib.suppress(Exception):
        held = read_checkpoint(content)
        # The members of a dict are found by their keys in `find_labels_in_checkpoint`.
        members = held if isinstance(held, tuple | list) else ()
        encoders = [one for one in members if isinstance(one, PickledObject) and type(one).__name__ in _ENCODERS]
        if len(encoders) == 1:
            return unwrap_stand_ins(encoders[0])  # type: ignore[no-any-return]
    return None


_log = logging.getLogger(__name__)

_DEEPEST: Final = 4
_NAMED_KEYS: Final = 12
_NAMED_LABELS: Final = 8
_OF_LABELS: Final = re.compile("label|class|tag|categor|target|intent|sentiment|topic|(^|_)le($|_)", re.IGNORECASE)
# Keys of maps of the vocabulary, and of lists that are not names: class_weights, the labels of rows.
_OF_WORDS: Final = re.compile("vocab|stoi|itos|word|token|char|weight|param|state|column|feature", re.IGNORECASE)
_SAVE_IN_ORDER: Final = (
    "Give a,b,c; or, where it was made, save the labels as JSON, in the order of the logits, and give labels.json: "
    "json.dump(labels, open('labels.json', 'w'), default=int)."
)


def find_labels_in_checkpoint(path: Path, head: str = "") -> list[Any] | dict[Any, Any]:
    """Find the labels in a checkpoint that `torch.save` or `pickle.dump` wrote. Return a list of labels, or a dict from
    labels to indices or from indices to labels, and log the key under which the labels are.

    The labels are a list of strings, a map, an array, an encoder of scikit-learn, or a torchtext Field of labels. They
    are under a key such as `labels`, `classes` or `idx2label`, which may be in an inner dict.

    Args:
        path: the checkpoint.
        head: the name of the output head of the module that the labels belong to. If some keys contain this name, only
            these keys are searched.

    Raises:
        InputError: the file cannot be read, holds no labels, or holds different labels under several keys.
    """
    root = read_checkpoint_root(path, _SAVE_IN_ORDER)
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
    """Yield a pair (path, labels) for each list or dict of labels in a dict or an object, and in the dicts and objects
    inside it. A path is such as `config.labels`."""
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
    """Return a value as a list of labels, or as a dict from labels to indices or from indices to labels. Return None if
    it is neither."""
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
        return (
            plain
            if _are_all_whole_numbers_from_zero(plain) or _are_all_whole_numbers_from_zero(plain.values())
            else None
        )
    return None


def _read_encoder_or_vocabulary(value: PickledObject, *, is_named: bool) -> list[Any] | dict[Any, Any] | None:
    """Return the labels of an encoder of scikit-learn (its `classes_`), or of a torchtext Field or Vocab (its `itos`,
    without special tokens at the beginning). Return None for a Field of texts, and for another object.

    Args:
        value: the object, as it was read from a pickle.
        is_named: whether the object is under a key such as `labels`, or is all that the file holds. If neither is so,
            only a Field of labels is read.
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


def _are_all_whole_numbers_from_zero(items: Any) -> bool:
    """Return whether the items are the whole numbers from 0 to their count minus 1, each once and in any order. Strings
    of digits count as numbers."""
    numbers = [int(item) if isinstance(item, str) and item.isdecimal() and len(item) < 10 else item for item in items]
    return all(type(number) is int for number in numbers) and sorted(numbers) == list(range(len(numbers)))


def _order_by_index(labels: list[Any] | dict[Any, Any]) -> list[Any]:
    """Return the labels of a list unchanged, or those of a dict in the order of their indices."""
    if isinstance(labels, list):
        return labels
    if _are_all_whole_numbers_from_zero(labels.values()):
        return sorted(labels, key=lambda label: int(labels[label]))
    return [labels[index] for index in sorted(labels, key=int)]


def _make_labels_error(path: Path, root: Any, label_keys: list[str]) -> InputError:
    """Make the error for a checkpoint that has different labels under the keys `label_keys`, or no labels if
    `label_keys` is empty. `root` is the object in the checkpoint."""
    members = vars(root) if isinstance(root, PickledObject) else root
    if label_keys:
        return InputError(
            f"{path} holds different labels under the keys {' and '.join(label_keys[:3])}.", _SAVE_IN_ORDER
        )
    if not isinstance(members, Mapping) or not members:
        return InputError(f"{path} holds {brief_text(root)}, but no labels.", _SAVE_IN_ORDER)
    keys = ", ".join(short_repr(str(key), 40) for key in [*members][:_NAMED_KEYS]) + ", ..." * (
        len(members) > _NAMED_KEYS
    )
    return InputError(f"{path} holds the keys {keys}, but none of them has labels.", _SAVE_IN_ORDER)
