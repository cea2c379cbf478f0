"""Recognize a file that `torch.save` or `pickle.dump` wrote, and read the object in it. No code in the file is run."""

from __future__ import annotations

import contextlib
import json
import zipfile
from pathlib import Path
from typing import Any, Final

from pocketrnn.errors import InputError, find_file_error_reason, first_line, short_repr
from pocketrnn_export.safe_pickle_reader import PickledObject, UnsupportedPickleError, read_checkpoint

# Bytes of the pickle, without the tensors: a checkpoint holds a vocabulary of some megabytes.
_LARGEST: Final = 1 << 26
# How many dicts may be around a state_dict.
_DEEPEST_STATE_DICT: Final = 2
_DEEPEST_PART: Final = 50
# The pickle of torch's magic number, with which the older form begins.
_OLD_FORM: Final = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
# The functions that build tensors, as a pickle names them.
_BUILDS: Final = "_rebuild_"


def is_checkpoint(path: Path) -> bool:
    """Return whether the first bytes of a file are those of a pickle or of a zip archive, as `torch.save` and
    `pickle.dump` write them."""
    with path.open("rb") as file:
        beginning = file.read(4)
    return beginning.startswith(b"\x80") or beginning == b"PK\x03\x04"


def may_be_weights_file(path: Path) -> bool:
    """Return whether a file may contain weights: its first bytes are those that `torch.save` of any release writes, or
    its name ends in `.safetensors`. Every zip archive counts as such a file."""
    with path.open("rb") as file:
        return path.suffix == ".safetensors" or file.read(len(_OLD_FORM)).startswith((b"PK\x03\x04", _OLD_FORM))


def read_checkpoint_root(path: Path, remedy: str) -> Any:
    """Read the outermost object in a file that `torch.save` or `pickle.dump` wrote. Placeholders replace tensors and
    objects of other classes in it, and no code is run.

    Args:
        path: the file.
        remedy: advice on how to save the content in another form, for the message if the file is damaged.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                (name,) = [name for name in archive.namelist() if name == "data.pkl" or name.endswith("/data.pkl")]
                entry = archive.getinfo(name)
                if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > _LARGEST:
                    raise UnsupportedPickleError(f"a compressed part, or a part larger than {_LARGEST >> 20} MiB")
                content = archive.read(entry)
        else:
            with path.open("rb") as file:
                # In the older form, tensors follow the pickles.
                content = file.read(_LARGEST)
        return read_checkpoint(content)
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {find_file_error_reason(error)}.", "Check that you may read the file."
        ) from None
    # Damaged bytes may raise any exception.
    except Exception as error:
        raise InputError(f"{path} cannot be read as a checkpoint: {first_line(error)}.", remedy) from None


def find_checkpoint_root(path: Path) -> Any:
    """Return the outermost object in a file that `torch.save` or `pickle.dump` wrote, with placeholders for tensors and
    objects of classes. Return None for any other file, and for one that cannot be read."""
    try:
        return read_checkpoint_root(path, "") if is_checkpoint(path) else None
    except (InputError, OSError):
        return None


def holds_weights(path: Path) -> bool:
    """Return whether a file is a safetensors file, or a file in which `torch.save` stored a state_dict."""
    return path.suffix == ".safetensors" or bool(list_weight_names(path))


def list_weight_names(path: Path) -> list[str]:
    """Return the names of the weights in a safetensors file, or in a file that `torch.save` wrote. Return an empty list
    for another file."""
    if path.suffix == ".safetensors":
        with contextlib.suppress(OSError, ValueError), path.open("rb") as file:
            # Its header is JSON, after the header's size.
            header = json.loads(file.read(min(_LARGEST, int.from_bytes(file.read(8), "little"))))
            return [name for name in header if name != "__metadata__"]
        return []
    return _list_weight_names_in_object(find_checkpoint_root(path))


def _list_weight_names_in_object(value: Any, depth: int = 0) -> list[str]:
    """Return the names of the weights in a pickled module or state_dict, such as `fc.weight`. Dicts inside a dict are
    searched, too. Return an empty list if there are none."""
    if isinstance(value, PickledObject):
        # A whole module: each of its parts holds dicts of tensors and of parts.
        held: list[Any] = [getattr(value, one, None) for one in ("_parameters", "_buffers", "_modules")]
        if not all(isinstance(one, dict) for one in held) or depth > _DEEPEST_PART:
            return []
        parameters, buffers, parts = held
        inner = [
            f"{name}.{one}" for name, part in parts.items() for one in _list_weight_names_in_object(part, depth + 1)
        ]
        return [*(name for name, one in (*parameters.items(), *buffers.items()) if one is not None), *inner]
    if not isinstance(value, dict) or depth > _DEEPEST_STATE_DICT:
        return []
    of_layers = [name for name in value if isinstance(name, str) and "." in name]
    if len(of_layers) > 1 and all(type(value[one]).__name__.startswith(_BUILDS) for one in of_layers):
        return of_layers
    return next(filter(None, (_list_weight_names_in_object(one, depth + 1) for one in value.values())), [])


def describe_member(key: str) -> str:
    """Describe a member of a pickled file in a few words for a message. `key` is its key, its path of keys, or its
    index in a list or a tuple.

    Example:
        >>> describe_member("0"), describe_member("3"), describe_member("vocab.stoi")
        ('its first member', 'its member 4', "its 'vocab.stoi'")
    """
    number, _, inner = key.partition(".")
    if not number.isdecimal():
        return f"its {short_repr(key, 60)}"
    places = ("first member", "second member", "third member")
    place = f"its {places[int(number)]}" if int(number) < len(places) else f"its member {int(number) + 1}"
    return f"the {short_repr(inner, 60)} of {place}" if inner else place
