"""Read a vocabulary that `torch.save` or `pickle.dump` wrote: a torchtext Vocab or Field, a Keras Tokenizer, a list, a
dict, or a checkpoint with one of these. Neither library is needed, and no code in the file is run.

`safe_pickle_reader.py` follows the pickle but calls nothing. Here a named class or function stays a name, and a call
becomes a record of the name and its arguments. Names and instructions that a Vocab does not need are refused.

Sources of the formats:
- the containers: PyTorch's "Serialization semantics" notes and `torch/serialization.py`: since 1.6 a zip archive of
  stored entries, the object in `data.pkl`; before, or on request, four pickles in a row (magic number, protocol,
  system, the object).
- the Vocab: `torchtext/vocab/vocab.py` and `_serialize_vocab` in `torchtext/csrc/vocab.cpp` (0.10 to 0.18);
  `torchtext/vocab.py` up to 0.8, `torchtext/legacy/vocab.py` up to 0.11.
- the Tokenizer of Keras: `keras/src/legacy/preprocessing/text.py`, and `keras_preprocessing/text.py` before Keras 2.13.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import re
import struct
import zipfile
from collections.abc import Collection, Set
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from pocketrnn.errors import DataError, short_repr
from pocketrnn_export.safe_pickle_reader import (
    STAND_INS,
    TORCH_MAGIC,
    ObjectReader,
    PickledObject,
    PickleReader,
    UnsupportedPickleError,
    require_type,
    unwrap_stand_ins,
)
from pocketrnn_export.vocabularies.checkpoint_file import describe_member

_log = logging.getLogger(__name__)

SAVE_PLAIN: Final = (
    "Save only the tokens, and give vocab.json. For a dict: json.dump(word2idx, open('vocab.json', 'w'), default=int). "
    "For a torchtext Vocab: json.dump({'tokens': vocab.get_itos(), 'default_index': vocab.get_default_index()}, "
    "open('vocab.json', 'w'))."
)
_SAVE_AGAIN: Final = "Copy the file again from the machine that made it, or save it there again."

# A Vocab takes 2 instructions a token, one of torchtext up to 0.8 takes 8; either takes a container for each thousand
# tokens. At these limits a hostile file takes some seconds and 1 GB.
_MOST_INSTRUCTIONS: Final = 10_000_000
_MOST_CONTAINERS: Final = 100_000
# An archive of a Vocab has about 5 entries, one of a large model's weights some thousands.
_MOST_ENTRIES: Final = 10_000

_NEW_VOCAB: Final = frozenset({"torchtext.vocab.vocab.Vocab", "torchtext.vocab.Vocab"})
_NATIVE_VOCAB: Final = "torchtext._torchtext.Vocab"
_OLD_VOCAB: Final = frozenset({"torchtext.vocab.Vocab", "torchtext.legacy.vocab.Vocab"})
_OLD_DEFAULT: Final = "torchtext.vocab._default_unk_index"
# PyTorch's names in such files; PyTorch itself is not needed to read them.
_TORCH: Final = "torch"
_TENSOR: Final = f"{_TORCH}._utils._rebuild_tensor_v2"
# The names of a Vocab and its parts: the containers of an nn.Module, the counts and word vectors of an old Vocab.
_KNOWN: Final = (
    _NEW_VOCAB
    | _OLD_VOCAB
    | {_NATIVE_VOCAB, _OLD_DEFAULT}
    | {"collections.OrderedDict", "collections.Counter", "collections.defaultdict"}
    | {"builtins.set", "builtins.object", "builtins.int", "builtins.long", "copyreg._reconstructor"}
)
# The names of a tensor, such as the word vectors, which are left out: pickle.dump stores its numbers as bytes of
# torch.save, which are never loaded here.
_TENSOR_PARTS: Final = re.compile(
    rf"{_TORCH}\.(storage\.)?(\w+Storage|_load_from_bytes)"
    rf"|{_TORCH}\._utils\._rebuild_(tensor|tensor_v2|parameter|parameter_with_state)"
)
# Protocols 0 to 2 use the names of Python 2.
_PYTHON_2: Final = {"__builtin__": "builtins", "copy_reg": "copyreg"}

# The names that vocabularies and labels have in a checkpoint: vocab_stoi, word2idx, token_to_idx; label2id, classes.
_OF_WORDS: Final = re.compile("vocab|stoi|itos|word|token|char", re.IGNORECASE)
_OF_LABELS: Final = re.compile("label|class|tag|categor|target", re.IGNORECASE)
# Beside the words, or among them.
_OF_PARTS: Final = re.compile("special|reserved|stop_?words|weight", re.IGNORECASE)
_NAMED_KEYS: Final = 12
_DEEPEST: Final = 4
_FEWEST_UNNAMED: Final = 20
_PICKLES: Final = (".pkl", ".pickle")


@dataclass(frozen=True)
class SavedVocab:
    """The contents of a saved Vocab: the tokens in the order of their ids, and the default index or None."""

    tokens: list[Any]
    default_index: Any


def read_zipped_vocabulary(content: bytes, source: str) -> SavedVocab | list[Any] | dict[str, Any]:
    """Read the vocabulary in a zip archive that `torch.save` wrote. No code in the file is run.

    Args:
        content: the bytes of the archive.
        source: the name of the file in messages.

    Returns:
        The content of a torchtext Vocab, or a list or dict whose items are not checked. If the archive holds a dict
        with several members, such as a checkpoint, this is the only vocabulary among them.

    Raises:
        DataError: the archive is damaged, was not written by `torch.save`, or holds no vocabulary or several.
    """
    if content.count(b"PK\x01\x02") > _MOST_ENTRIES:
        raise DataError(
            f"{source} is an archive of more than {_MOST_ENTRIES:,} files, which is too many for a vocabulary.",
            SAVE_PLAIN,
        )
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
            if any(name.endswith("constants.pkl") for name in names):
                raise DataError(f"{source} is a TorchScript file, not a vocabulary.", SAVE_PLAIN)
            pickles = [name for name in names if name == "data.pkl" or name.endswith("/data.pkl")]
            if len(pickles) != 1:
                raise DataError(f"{source} is a zip archive that torch.save did not write.", SAVE_PLAIN)
            entry = archive.getinfo(pickles[0])
            # torch.save never compresses, so compressed entries are refused.
            if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
                raise DataError(f"{source} is a compressed or encrypted archive, but torch.save never writes such an "
                                "archive.", SAVE_PLAIN)  # fmt: skip
            stored = archive.read(entry)
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, RuntimeError, OverflowError, struct.error) as error:
        raise DataError(f"{source} is a damaged zip archive: {_shorten_text(str(error))}.", _SAVE_AGAIN) from None
    return read_pickled_vocabulary(stored, source)


def read_pickled_vocabulary(content: bytes, source: str) -> SavedVocab | list[Any] | dict[str, Any]:
    """Read the vocabulary in a pickle, or in a file that `torch.save` wrote without a zip archive. No code in the file
    is run.

    Args:
        content: the file's bytes.
        source: the name of the file in messages.

    Returns:
        The content of a torchtext Vocab, or a list or dict whose items are not checked. If the pickle holds a dict with
        several members, such as a checkpoint, this is the only vocabulary among them.

    Raises:
        DataError: the pickle is damaged or too large, names a class or function that no vocabulary needs, or holds no
            vocabulary or several.
    """
    reader = _VocabReader(content, source)
    root = reader.read_next_object()
    if isinstance(root, int) and root == TORCH_MAGIC:
        reader.read_next_object()  # the protocol
        reader.read_next_object()  # byte order and sizes of the machine
        root = reader.read_next_object()
    is_mixed = isinstance(root, list | tuple) and any(isinstance(one, dict | _RecordedObject) for one in root)
    if reader.refused is None and not is_mixed:
        return _find_vocabulary(root, source, reader.table_rows)
    # Such as a tuple of the ids of the words and the longest text. A checkpoint may hold other objects beside the
    # vocabulary, such as an encoder of labels: they are left out. An object of the owner's class, or a Field of
    # torchtext, holds the vocabulary in an attribute.
    # A Vocab of torchtext that holds more than it needs is refused as a whole.
    is_owners = isinstance(root, _RecordedObject) and root.name not in _KNOWN
    members = {"": root} if is_owners else _list_members_of_pickled_value(root)
    if members:
        with contextlib.suppress(DataError):
            return _select_vocabulary_among_members(members, source, reader.table_rows)
    if reader.refused is None:
        return _find_vocabulary(root, source, reader.table_rows)
    raise reader.refused


@dataclass(frozen=True)
class _Name:
    """A class or function that a pickle names."""

    name: str


@dataclass(eq=False)
class _RecordedObject:
    """A record of an object in a pickle. pickle.load would make the object by calling the class or function `name`.

    Attributes:
        name: the class or function, with its module.
        args: the arguments of the call.
        state: the attributes that the pickle sets on the object.
        members: the items that the pickle adds, if the object is a dict.
    """

    name: str
    args: tuple[Any, ...] = ()
    state: Any = None
    members: dict[str, Any] = field(default_factory=dict)


class _VocabReader(ObjectReader):
    """Reads a pickle without running it: as dicts, lists, numbers, names, and records of the calls that pickle.load
    would make."""

    # Arrays hold bytes.
    values = PickleReader.values | {"SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"}

    def __init__(self, content: bytes, source: str) -> None:
        PickleReader.__init__(self, content, _MOST_INSTRUCTIONS, _MOST_CONTAINERS)
        self.source, self.classes = source, ()
        # The error for the first name that a vocabulary does not need.
        self.refused: DataError | None = None
        # The numbers of rows of the file's matrices, of which one may be the embedding.
        self.table_rows = set[int]()

    def read_next_object(self) -> Any:
        try:
            return _convert_arrays(super().read_next_object())
        except UnsupportedPickleError as error:
            raise self.refused or DataError(
                f"{self.source} is a pickle with {error}. A vocabulary does not need this, and nothing in the file was "
                "run.",
                SAVE_PLAIN,
            ) from None
        except EOFError:
            raise DataError(f"{self.source} is a damaged pickle: its end is missing.", _SAVE_AGAIN) from None
        except DataError:
            raise
        # Damaged bytes may raise any exception.
        except Exception:
            raise self.refused or DataError(f"{self.source} is a damaged pickle.", _SAVE_AGAIN) from None

    def make_object(self, name: str, argument: Any) -> Any:
        if name in ("EMPTY_SET", "FROZENSET"):
            if name == "FROZENSET":
                self.pop_items(None)
            return _RecordedObject("builtins.set")
        if name == "BINPERSID":
            return self._make_persistent_stand_in(require_type(self.pop_items(1)[0], tuple))
        return super().make_object(name, argument)

    def make_call_result_stand_in(self, called: Any, arguments: tuple[Any, ...]) -> Any:
        if isinstance(called, type):
            made = super().make_call_result_stand_in(called, arguments)
            if isinstance(made, np.generic):
                # The tuple of its arguments and the call leave a number or a string, as an instruction does.
                self.containers -= 2
                return made.item()
            return made
        name = require_type(called, _Name).name
        if name == "collections.OrderedDict" and not arguments:
            return {}
        if name == "collections.defaultdict" and arguments != (_Name(_OLD_DEFAULT),):
            return {}
        if name == "copyreg._reconstructor" and arguments and isinstance(arguments[0], _Name):
            return _RecordedObject(arguments[0].name, arguments[2:])
        if name == _TENSOR and len(arguments) > 2 and isinstance(size := arguments[2], tuple) and len(size) == 2:
            self.table_rows.add(size[0])
        return _RecordedObject(name, arguments)

    def set_state(self, made: Any, state: Any) -> None:
        if isinstance(made, PickledObject):
            super().set_state(made, state)
        # The attributes of a dict (the `_metadata` of a state_dict) are not kept.
        elif type(made) is not dict:
            if require_type(made, _RecordedObject).state is not None:
                raise ValueError("two states")
            made.state = state

    def add_items(self, target: Any, items: list[Any]) -> None:
        if not isinstance(target, _RecordedObject):
            super().add_items(target, items)

    def set_items(self, target: Any, items: list[Any]) -> None:
        # An optimizer's state in a checkpoint has whole numbers as keys.
        if not all(type(key) in (str, int) for key in items[::2]):
            # Such a dict is not the vocabulary, but one may lie beside it.
            self.refused = self.refused or DataError(
                f"{self.source} holds a dict with keys that are neither strings nor integers.",
                "Give a list of tokens, or a dict from token to id.",
            )
        super().set_items(target.members if isinstance(target, _RecordedObject) else target, items)

    def make_class_or_function_stand_in(self, module: str, name: str) -> Any:
        full = f"{_PYTHON_2.get(module, module)}.{name}"
        if full in STAND_INS:
            return STAND_INS[full]
        if full not in _KNOWN and not _TENSOR_PARTS.fullmatch(full):
            self.refused = self.refused or self._make_refused_name_error(full)
        return _Name(full)

    def _make_refused_name_error(self, name: str) -> DataError:
        """Make the error for a pickle that names `name`, a class or function that a vocabulary does not need."""
        name = _shorten_text(ascii(name)[1:-1])
        modules = b"torch.nn.modules" in self.content or b"_parameters" in self.content
        if modules and b"torchtext" not in self.content:
            return DataError(
                f"{self.source} holds a whole pickled module ({name}), not a vocabulary. Nothing in the file was run.",
                "Save the weights and the vocabulary to two files: torch.save(model.state_dict(), 'weights.pt') and "
                "json.dump(vocab.get_itos(), open('vocab.json', 'w')).",
            )
        return DataError(
            f"{self.source} is a pickle with {name}. A vocabulary does not need this, and nothing in the file was run.",
            SAVE_PLAIN,
        )

    def _make_persistent_stand_in(self, identity: tuple[Any, ...]) -> Any:
        """Return a placeholder for an object that torch.save stores outside the pickle, such as the numbers of a
        tensor. `identity` is the pickle's persistent id of the object."""
        if identity[0] == "module":
            return require_type(identity[1], _Name)
        if identity[0] != "storage":
            raise ValueError("unknown persistent id")
        return _RecordedObject("storage")


def _convert_arrays(value: Any) -> Any:
    """Return a numpy array as a list, and a dict with its arrays as lists. Return any other value unchanged."""
    if not isinstance(value, dict):
        plain = unwrap_stand_ins(value) if isinstance(value, PickledObject) else value
        return plain.tolist() if isinstance(plain, np.ndarray) else plain
    # A hostile file may name one array a million times.
    lists = {id(held): held if isinstance(held, dict) else _convert_arrays(held) for held in value.values()}
    return {key: lists[id(held)] for key, held in value.items()}


def _find_vocabulary(root: Any, source: str, table_rows: Set[int]) -> SavedVocab | list[Any] | dict[str, Any]:
    """Return the vocabulary in an object that was read from a pickle: the object itself, or a member of it. Raise a
    DataError if there is none. `table_rows` has the number of rows of each matrix in the file, since one of the
    matrices may be the embedding."""
    if isinstance(root, _RecordedObject):
        if root.name == _NATIVE_VOCAB:
            return _read_compiled_vocab(root, source)
        if isinstance(root.state, dict):
            held = root.state.get("vocab")
            if root.name in _NEW_VOCAB and isinstance(held, _RecordedObject) and held.name == _NATIVE_VOCAB:
                return _read_compiled_vocab(held, source)
            if root.name in _OLD_VOCAB and isinstance(root.state.get("itos"), list):
                return SavedVocab(root.state["itos"], _find_default_of_old_vocab(root.state))
            if _is_keras_tokenizer(root):
                return {"class_name": "Tokenizer", "config": root.state}
        if root.name in _NEW_VOCAB | _OLD_VOCAB:
            raise _make_unknown_form_error(source)
    if isinstance(root, dict):
        if any(isinstance(value, dict | _RecordedObject) for value in root.values()):
            return _select_vocabulary_among_members(root, source, table_rows)
        return root
    if isinstance(root, list | tuple):
        return list(root)
    what = root.name if isinstance(root, _RecordedObject | _Name) else type(root).__name__
    raise DataError(f"{source} holds an object of type {what}, not a vocabulary.", SAVE_PLAIN)


def _list_members_of_pickled_value(value: Any) -> dict[str, Any]:
    """Return the members of a dict, a list or a pickled object as a dict. Its keys are the keys of the dict, the
    indices of the list, or the names of the object's attributes and constructor arguments. Return an empty dict for
    other values."""
    if isinstance(value, _RecordedObject):
        if value.name in _KNOWN or value.name.startswith(f"{_TORCH}."):
            return {}
        # An object with __slots__ has a pair of dicts as its state.
        states = value.state if isinstance(value.state, tuple) else (value.state,)
        found: dict[Any, Any] = dict(enumerate(value.args))
        found |= {"items": value.members} if value.members else {}
        for number, state in enumerate(states):
            found |= state if isinstance(state, dict) else {f"state{number}": state}
    elif isinstance(value, list | tuple):
        found = dict(enumerate(value))
    else:
        found = value if isinstance(value, dict) else {}
    return {str(key): held for key, held in _convert_arrays(found).items()}


def _is_keras_tokenizer(value: _RecordedObject) -> bool:
    """Return whether a pickled object has the attributes of a Keras Tokenizer. The name of its class is not compared,
    since the class has moved between modules."""
    return isinstance(value.state, dict) and isinstance(value.state.get("word_index"), dict)


def _select_vocabulary_among_members(
    root: dict[Any, Any], source: str, table_rows: Set[int]
) -> SavedVocab | list[Any] | dict[str, Any]:
    """Return the only vocabulary among the members of a dict such as a checkpoint, also from inner dicts. Raise a
    DataError if there is none, or if several members may be the vocabulary. `table_rows` has the number of rows of each
    matrix in the file, since one of the matrices may be the embedding."""
    if root and all(isinstance(value, _RecordedObject) and value.name == _TENSOR for value in root.values()):
        raise DataError(
            f"{source} holds only weights (a state_dict), not a vocabulary.",
            "Give this file as --weights, and the file of the vocabulary as --vocabulary.",
        )
    found = {key: value for key, value in root.items() if type(key) is str and _is_vocabulary(value)}
    if not any(_OF_WORDS.search(key) for key in found):
        found |= _find_vocabularies_with_paths(root, {id(root)})
    # Beside a Vocab, a list of strings is a setting.
    found = {key: value for key, value in found.items() if isinstance(value, _RecordedObject)} or found
    for names in (_OF_WORDS, _OF_LABELS):
        if len(found) > 1:
            named = {key: value for key, value in found.items() if bool(names.search(key)) is (names is _OF_WORDS)}
            found = named or found
    fitting = {key: value for key, value in found.items() if _count_ids(value) in table_rows}
    # A long list in an object may be one of columns: without a name of words, only the embedding shows what it is.
    is_open = bool(table_rows) and all("." in key and not _OF_WORDS.search(key) for key in found)
    if len(found) > 1 or is_open:
        found = fitting or ({} if is_open else found)
    first, *others = found.items() or [("", None)]
    if not found or any(
        _list_words_for_comparison(value) != _list_words_for_comparison(first[1]) for _, value in others
    ):
        keys = ", ".join(short_repr(key, 40) for key in [*root][:_NAMED_KEYS]) + ", ..." * (len(root) > _NAMED_KEYS)
        wanted = next(iter(found), "vocab")
        loaded = f'torch.load("{source}")' if not source.endswith(_PICKLES) else f'pickle.load(open("{source}", "rb"))'
        raise DataError(
            f"{source} holds a dict with the keys {keys}, but does not show which of them is the vocabulary.",
            "Save only your dict from words to ids, and give vocab.json. If its key is "
            f"{json.dumps(wanted)}: json.dump({loaded}[{json.dumps(wanted)}], "
            'open("vocab.json", "w"), default=int).',
        )
    if len(root) > 1:
        _log.warning("%s has several members. The vocabulary is %s.", source, describe_member(first[0]))
    return first[1] if isinstance(first[1], dict) else _find_vocabulary(first[1], source, table_rows)


def _find_vocabularies_with_paths(value: Any, seen: set[int], path: str = "", depth: int = 0) -> dict[str, Any]:
    """Return a dict from the path to the value of each vocabulary in a dict or object, and in the dicts and objects
    inside it. A path is such as `config.words`. Lists of special tokens are left out, and so is a list or dict of
    fewer than 20 words, unless its name is like `words` or `vocab`."""
    found: dict[str, Any] = {}
    for key, held in _list_members_of_pickled_value(value).items() if depth < _DEEPEST else ():
        inner = f"{path}.{key}" if path else key
        if depth and _is_vocabulary(held) and not _OF_LABELS.search(key) and not _OF_PARTS.search(key):
            is_known = isinstance(held, _RecordedObject) or len(held) >= _FEWEST_UNNAMED
            found |= {inner: held} if is_known or _OF_WORDS.search(key) else {}
        elif isinstance(held, dict | _RecordedObject) and id(held) not in seen:
            seen.add(id(held))
            found |= _find_vocabularies_with_paths(held, seen, inner, depth + 1)
    return found


def _count_ids(value: Any) -> int:
    """Return the number of ids of a vocabulary: the number of its words plus its lowest id, since the ids below that
    have no word. Return 0 for an object such as a Vocab."""
    if isinstance(value, _RecordedObject):
        return 0
    return len(value) + (min(value.values()) if isinstance(value, dict) and type(next(iter(value))) is str else 0)


def _is_vocabulary(value: Any) -> bool:
    """Return whether a value is a list of words, a dict from words to consecutive ids, a torchtext Vocab or a Keras
    Tokenizer."""
    if isinstance(value, _RecordedObject):
        return value.name in _NEW_VOCAB | _OLD_VOCAB | {_NATIVE_VOCAB} or _is_keras_tokenizer(value)
    if isinstance(value, dict):
        ids: Collection[Any] = value.values()
        if value and all(type(word) is str for word in ids) and all(type(key) is int for key in value):
            # From ids to words.
            ids, value = value.keys(), dict.fromkeys(ids)
        if len(value) < 2 or not all(type(key) is str for key in value) or not all(type(id_) is int for id_ in ids):
            return False
        return len(set(ids)) == len(value) and min(ids) in (0, 1) and max(ids) - min(ids) == len(value) - 1
    return isinstance(value, list | tuple) and len(value) > 1 and all(type(word) is str for word in value)


def _list_words_for_comparison(value: Any) -> list[Any]:
    """Return the words of a vocabulary in the order of their ids, so that two vocabularies can be compared. For an
    object such as a Vocab, return a list that contains only this object."""
    if isinstance(value, dict):
        ids = value if type(next(iter(value))) is str else {word: key for key, word in value.items()}
        return sorted(ids, key=ids.__getitem__)
    return [value] if isinstance(value, _RecordedObject) else list(value)


def _read_compiled_vocab(made: _RecordedObject, source: str) -> SavedVocab:
    """Read the tokens and the default index of a Vocab of torchtext 0.10 or later. Its pickled state is a tuple
    (version, [default index] or [], tokens, []). Raise a DataError if the state has another form."""
    state = made.state
    if (
        not isinstance(state, tuple)
        or len(state) != 4
        or not isinstance(state[0], str)
        or not all(isinstance(part, list) for part in state[1:])
        # torchtext itself refuses earlier forms, and any tensors.
        or state[0] < "0.0.2"
        or len(state[1]) > 1
        or state[3]
    ):
        raise _make_unknown_form_error(source)
    return SavedVocab(state[2], state[1][0] if state[1] else None)


def _find_default_of_old_vocab(state: dict[str, Any]) -> Any:
    """Return the id of unknown words in a Vocab of torchtext before 0.10: `unk_index` from torchtext 0.5 on, and 0
    before that; None if there is none. `stoi` is not searched, since each look-up of an unknown word adds the word to
    it."""
    stoi = state.get("stoi")
    if "unk_index" not in state and isinstance(stoi, _RecordedObject) and stoi.args == (_Name(_OLD_DEFAULT),):
        return 0
    return state.get("unk_index")


def _make_unknown_form_error(source: str) -> DataError:
    return DataError(f"{source} holds a torchtext Vocab in a form that pocketrnn does not know.", SAVE_PLAIN)


def _shorten_text(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."
