"""Read labels from a file of a scikit-learn LabelEncoder, or of an array, a list or a dict. No code in the file is
run."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, Final

import numpy as np

from pocketrnn.errors import InputError, find_file_error_reason, first_line
from pocketrnn_export.json_reading_and_writing import brief_text
from pocketrnn_export.safe_pickle_reader import (
    PickledObject,
    UnsupportedPickleError,
    read_checkpoint,
    read_pickle,
    unwrap_stand_ins,
)
from pocketrnn_export.vocabularies.compressed_files import decompress_content
from pocketrnn_training.rows.array_files import read_array_header, read_arrays

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
    """Return whether the file's name ends like the name of a numpy array or a pickle."""
    return path.suffix.lower() in (*_NUMPY, *_PICKLES)


def read_array_or_pickle_labels(path: Path) -> list[Any] | dict[Any, Any]:
    """Read the labels in a `.npy` file, a `.npz` file or a pickle. Labels are strings or integers, in an array, a list
    or a dict.

    A pickle holds a LabelEncoder, a LabelBinarizer or a MultiLabelBinarizer, whose `classes_` are in the order of the
    logits, an array, a list or a dict. `joblib.dump` and `pickle.dump` wrote it. In a tuple or a list, the only encoder
    is read, and objects of other classes beside it are ignored.

    Raises:
        InputError: the file cannot be read, or holds something else.
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
        raise InputError(f"{path} holds {error}, which is not executed.", remedy) from None
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
        raise InputError(f"{path} holds {brief_text(wrong[0] if found else found)} where a label should be.", remedy)
    if not 0 < len(found) <= _MOST_LABELS:
        raise InputError(f"{path} holds {len(found):,} labels, but must hold 1 to {_MOST_LABELS:,}.", remedy)
    return found  # type: ignore[no-any-return]


def convert_numpy_scalar(item: Any) -> Any:
    """Return the Python value of a single number or string of numpy. Return any other object as it is."""
    return item.item() if isinstance(item, np.generic) else item


def _read_array_or_pickle(path: Path, remedy: str) -> Any:
    """Read the array or the pickled object in a file. Refuse a large file, and several arrays."""
    with path.open("rb") as file:
        content = decompress_content(file.read(_LARGEST + 1), _LARGEST)
    if len(content) > _LARGEST:
        raise InputError(f"{path} is larger than {_LARGEST >> 20} MiB, too large for labels.", remedy)
    if content.startswith(b"\x93NUMPY"):
        header = read_array_header(content)
        if header.dtype.hasobject:
            return read_pickle(content[header.size :], _ENCODERS)
    if path.suffix.lower() in _NUMPY:
        arrays = list(read_arrays(path, remedy, most=_LARGEST).values())
        if len(arrays) != 1:
            raise InputError(f"{path} holds {len(arrays)} arrays, but only one array, of labels, is needed.", remedy)
        return arrays[0]
    try:
        return read_pickle(content, _ENCODERS)
    except UnsupportedPickleError:
        if (encoder := _find_encoder(content)) is None:
            raise
        return encoder


def _find_encoder(content: bytes) -> PickledObject | None:
    """Return the encoder of labels in a pickled tuple or list, such as a LabelEncoder. Return None if there is none, or
    if there are several."""
    # Damaged bytes may raise any exception.
    with contextlib.suppress(Exception):
        held = read_checkpoint(content)
        # The members of a dict are found by their keys: `checkpoint_labels`.
        members = held if isinstance(held, tuple | list) else ()
        encoders = [one for one in members if isinstance(one, PickledObject) and type(one).__name__ in _ENCODERS]
        if len(encoders) == 1:
            return unwrap_stand_ins(encoders[0])  # type: ignore[no-any-return]
    return None
