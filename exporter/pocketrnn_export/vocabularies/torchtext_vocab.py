"""Read a torchtext Vocab that `torch.save` or `pickle.dump` wrote, without torchtext and without running anything.

A pickle is a small program: it names functions and calls them. This reader follows the program but calls nothing. A
named class or function stays a name, and a call becomes a record of the name and its arguments. Names and instructions
that a Vocab does not need are refused. So nothing in a file can run, and limits on instructions, containers and bytes
bound its time and memory.

Sources of the formats:
- the instructions: Python's `pickletools` (protocols 0 to 5). PyTorch reads weights by a loop of its own for the same
  reason (`torch/_weights_only_unpickler.py`).
- the containers: PyTorch's "Serialization semantics" notes and `torch/serialization.py`: since 1.6 a zip archive of
  stored entries, the object in `data.pkl`; before, or on request, four pickles in a row (magic number, protocol,
  system, the object).
- the Vocab: `torchtext/vocab/vocab.py` and `_serialize_vocab` in `torchtext/csrc/vocab.cpp` (0.10 to 0.18);
  `torchtext/vocab.py` up to 0.8, `torchtext/legacy/vocab.py` up to 0.11.
"""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from dataclasses import dataclass, field
from typing import Any, Final

from pocketrnn.errors import DataError

__all__ = ["SAVE_PLAIN", "SavedVocab", "read_pickle", "read_zip"]

SAVE_PLAIN: Final = (
    "Where it was made, save the tokens alone, and give vocab.json: json.dump(word2idx, open('vocab.json', 'w')) for a "
    "dict of your own; for a Vocab, json.dump({'tokens': vocab.get_itos(), 'default_index': "
    "vocab.get_default_index()}, open('vocab.json', 'w'))."
)
_SAVE_AGAIN: Final = "Copy the file again from where it was made, or save it there again."

# A Vocab takes 2 instructions a token, one of torchtext up to 0.8 takes 8; either takes a container for each thousand
# tokens. At these limits a hostile file takes some seconds and 1 GB.
_MOST_INSTRUCTIONS: Final = 10_000_000
_MOST_CONTAINERS: Final = 100_000
# An archive of a Vocab has about 5 entries, one of a large model's weights some thousands.
_MOST_ENTRIES: Final = 10_000

_TORCH_MAGIC: Final = 0x1950A86A20F9469CFC6C

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
    | {_NATIVE_VOCAB, _OLD_DEFAULT, _TENSOR}
    | {"collections.OrderedDict", "collections.Counter", "collections.defaultdict"}
    | {"builtins.set", "builtins.object", "copyreg._reconstructor"}
    | {f"{_TORCH}.{kind}Storage" for kind in ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Bool", "Byte")}
)
# Protocols 0 to 2 use the names of Python 2.
_PYTHON_2: Final = {"__builtin__": "builtins", "copy_reg": "copyreg"}


@dataclass(frozen=True)
class SavedVocab:
    """The contents of a saved Vocab: the tokens in the order of their ids, and the default index or None."""

    tokens: list[Any]
    default_index: Any


def read_zip(content: bytes, source: str) -> SavedVocab | list[Any] | dict[str, Any]:
    """Read an archive that `torch.save` wrote, as `read_pickle` reads a pickle.

    Raises:
        DataError: it is another kind of archive; or as in `read_pickle`.
    """
    if content.count(b"PK\x01\x02") > _MOST_ENTRIES:
        raise DataError(f"{source} is an archive of more than {_MOST_ENTRIES} files.", SAVE_PLAIN)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
            if any(name.endswith("constants.pkl") for name in names):
                raise DataError(f"{source} is a TorchScript file, not a vocabulary.", SAVE_PLAIN)
            pickles = [name for name in names if name == "data.pkl" or name.endswith("/data.pkl")]
            if len(pickles) != 1:
                raise DataError(f"{source} is a zip archive, but not one of torch.save.", SAVE_PLAIN)
            entry = archive.getinfo(pickles[0])
            # torch.save never compresses, so compressed entries are refused.
            if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
                raise DataError(f"{source} is a compressed or encrypted archive, which torch.save does not write.",
                                SAVE_PLAIN)  # fmt: skip
            stored = archive.read(entry)
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, RuntimeError, OverflowError, struct.error) as error:
        raise DataError(f"{source} is a damaged archive: {_shorten_text(str(error))}.", _SAVE_AGAIN) from None
    return read_pickle(stored, source)


def read_pickle(content: bytes, source: str) -> SavedVocab | list[Any] | dict[str, Any]:
    """Read a pickle, or a file of `torch.save`'s older form. Nothing in it is called.

    Args:
        content: the file's bytes.
        source: the name of the file in messages.

    Returns:
        A Vocab's content; or, for a saved list, tuple or dict, its items, unchecked.

    Raises:
        DataError: the pickle names something that a Vocab does not need, is damaged, too large, or not a vocabulary.

    Example:
        >>> read_pickle(pickle.dumps(["<unk>", "oil"]), "vocab.pkl")
        ['<unk>', 'oil']
    """
    reader = _PickleReader(content, source)
    root = reader.read_next_object()
    if isinstance(root, int) and root == _TORCH_MAGIC:
        reader.read_next_object()  # the protocol
        reader.read_next_object()  # byte order and sizes of the machine
        root = reader.read_next_object()
    return _find_vocabulary(root, source)


@dataclass(frozen=True)
class _Name:
    """A class or function that the pickle names."""

    name: str


@dataclass(eq=False)
class _RecordedObject:
    """Records the object that the pickle would make by a call of `name`."""

    name: str
    args: tuple[Any, ...] = ()
    state: Any = None
    members: dict[str, Any] = field(default_factory=dict)


_MEMOIZE: Final = pickle.MEMOIZE[0]
_STOP: Final = pickle.STOP[0]
_CONSTANTS: Final = {pickle.NONE[0]: None, pickle.NEWTRUE[0]: True, pickle.NEWFALSE[0]: False}
# The bytes of a length or a number that follows an instruction, least significant first.
_TEXTS: Final = {pickle.BINUNICODE[0]: 4, pickle.SHORT_BINUNICODE[0]: 1, pickle.BINUNICODE8[0]: 8}
_UNSIGNED: Final = {pickle.BININT1[0]: 1, pickle.BININT2[0]: 2}
_PUTS: Final = {pickle.BINPUT[0]: 1, pickle.LONG_BINPUT[0]: 4}
_GETS: Final = {pickle.BINGET[0]: 1, pickle.LONG_BINGET[0]: 4}
_TUPLES: Final = {pickle.EMPTY_TUPLE[0]: 0, pickle.TUPLE1[0]: 1, pickle.TUPLE2[0]: 2, pickle.TUPLE3[0]: 3}
_EMPTY: Final = {pickle.EMPTY_LIST[0], pickle.EMPTY_DICT[0], pickle.EMPTY_SET[0]}
_FROM_MARK: Final = {pickle.TUPLE[0], pickle.LIST[0], pickle.DICT[0]}
_LINES: Final = {pickle.UNICODE[0], pickle.INT[0], pickle.LONG[0], pickle.FLOAT[0], pickle.PUT[0], pickle.GET[0]}
_INSTRUCTIONS: Final = {
    getattr(pickle, name)[0]: name
    for name in dir(pickle)
    if name.isupper() and isinstance(getattr(pickle, name), bytes)
}


class _PickleReader:
    """Follows the pickles in `content`, one after the other."""

    def __init__(self, content: bytes, source: str) -> None:
        self.content = content
        self.source = source
        self.at = 0
        self.instructions = 0
        self.containers = 0

    def read_next_object(self) -> Any:
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        try:
            return self._run_instructions()
        # Damaged lengths, indexes, texts and numbers raise these.
        except (IndexError, KeyError, ValueError, struct.error):
            raise DataError(f"{self.source} is a damaged pickle.", _SAVE_AGAIN) from None

    def _run_instructions(self) -> Any:
        # The codes of a token - a text, or a number, and its index in the memo - are handled here, without further
        # calls.
        content, size, memo = self.content, len(self.content), self.memo
        at = self.at
        while at < size:
            code = content[at]
            at += 1
            self.instructions += 1
            if self.instructions > _MOST_INSTRUCTIONS:
                raise DataError(f"{self.source} is a pickle of over {_MOST_INSTRUCTIONS:,} instructions.", SAVE_PLAIN)
            if code in _TEXTS:
                start = at + _TEXTS[code]
                # A length beyond the end is noticed when the loop ends, before the truncated text is used.
                at = start + int.from_bytes(content[at:start], "little")
                self.stack.append(str(content[start:at], "utf-8", "surrogatepass"))
            elif code in _PUTS:
                start, at = at, at + _PUTS[code]
                memo[int.from_bytes(content[start:at], "little")] = self.stack[-1]
            elif code == _MEMOIZE:
                memo[len(memo)] = self.stack[-1]
            elif code in _GETS:
                start, at = at, at + _GETS[code]
                self.stack.append(memo[int.from_bytes(content[start:at], "little")])
            elif code in _UNSIGNED:
                start, at = at, at + _UNSIGNED[code]
                self.stack.append(int.from_bytes(content[start:at], "little"))
            elif code == _STOP:
                self.at = at
                return self.stack.pop()
            else:
                self.at = at
                self._run_rare_instruction(code)
                at = self.at
        raise DataError(f"{self.source} is a pickle that ends too early.", _SAVE_AGAIN)

    def _run_rare_instruction(self, code: int) -> None:
        stack = self.stack
        if code == pickle.BININT[0]:
            stack.append(struct.unpack("<i", self._read_bytes(4))[0])
        elif code == pickle.BINFLOAT[0]:
            stack.append(struct.unpack(">d", self._read_bytes(8))[0])
        elif code == pickle.LONG1[0]:
            stack.append(int.from_bytes(self._read_bytes(self._read_bytes(1)[0]), "little", signed=True))
        elif code in _CONSTANTS:
            stack.append(_CONSTANTS[code])
        elif code == pickle.PROTO[0]:
            if (protocol := self._read_bytes(1)[0]) > 5:
                raise DataError(f"{self.source} is a pickle of the unknown protocol {protocol}.", SAVE_PLAIN)
        elif code == pickle.FRAME[0]:
            self._read_bytes(8)
        elif code == pickle.MARK[0]:
            self._count_container()
            self.outer.append(stack)
            self.stack = []
        elif code in _LINES:
            self._read_text_value(code)
        elif code in (pickle.APPEND[0], pickle.APPENDS[0]):
            items = [stack.pop()] if code == pickle.APPEND[0] else self._pop_since_mark()
            self._require_type_of(self.stack[-1], list).extend(items)
        elif code in (pickle.SETITEM[0], pickle.SETITEMS[0]):
            items = self._pop_items(2) if code == pickle.SETITEM[0] else self._pop_since_mark()
            target = self.stack[-1]
            self._set_items(
                target.members if isinstance(target, _RecordedObject) else self._require_type_of(target, dict), items
            )
        else:
            self._make_container_or_call(code)

    def _make_container_or_call(self, code: int) -> None:
        made: Any
        self._count_container()
        if code in _TUPLES:
            made = tuple(self._pop_items(_TUPLES[code]))
        elif code in _EMPTY:
            made = (
                []
                if code == pickle.EMPTY_LIST[0]
                else {}
                if code == pickle.EMPTY_DICT[0]
                else _RecordedObject("builtins.set")
            )
        elif code in _FROM_MARK:
            made = self._pop_since_mark()
            if code == pickle.TUPLE[0]:
                made = tuple(made)
            elif code == pickle.DICT[0]:
                made = self._set_items({}, made)
        elif code == pickle.GLOBAL[0]:
            module, name = self._read_text_line(), self._read_text_line()
            made = self._make_name(module, name)
        elif code == pickle.STACK_GLOBAL[0]:
            module, name = self._pop_items(2)
            made = self._make_name(self._require_type_of(module, str), self._require_type_of(name, str))
        elif code in (pickle.REDUCE[0], pickle.NEWOBJ[0]):
            called, args = self._pop_items(2)
            made = _record_call(self._require_type_of(called, _Name).name, self._require_type_of(args, tuple))
        elif code == pickle.BUILD[0]:
            made, state = self._pop_items(2)
            # The attributes of a dict (the `_metadata` of a state_dict) are not kept.
            if type(made) is not dict:
                if self._require_type_of(made, _RecordedObject).state is not None:
                    raise ValueError("two states")
                made.state = state
        elif code == pickle.BINPERSID[0]:
            made = self._load_persistent(self._require_type_of(self.stack.pop(), tuple))
        else:
            instruction = _INSTRUCTIONS.get(code, f"0x{code:02x}")
            raise DataError(
                f"{self.source} is a pickle with the instruction {instruction}, which no vocabulary needs. "
                "Nothing in it was run.",
                SAVE_PLAIN,
            )
        self.stack.append(made)

    def _count_container(self) -> None:
        self.containers += 1
        if self.containers > _MOST_CONTAINERS:
            raise DataError(f"{self.source} holds more than {_MOST_CONTAINERS:,} nested parts; a vocabulary has few.",
                            SAVE_PLAIN)  # fmt: skip

    def _read_bytes(self, count: int) -> bytes:
        taken = self.content[self.at : self.at + count]
        if len(taken) < count:
            raise ValueError("too short")
        self.at += count
        return taken

    def _read_text_line(self) -> str:
        end = self.content.index(b"\n", self.at)
        line = self.content[self.at : end]
        self.at = end + 1
        return line.decode()

    def _read_text_value(self, code: int) -> None:
        """Read a value that protocol 0 writes as a line of text."""
        if code == pickle.UNICODE[0]:
            end = self.content.index(b"\n", self.at)
            self.stack.append(str(self.content[self.at : end], "raw-unicode-escape"))
            self.at = end + 1
            return
        line = self._read_text_line()
        if code == pickle.PUT[0]:
            self.memo[int(line)] = self.stack[-1]
        elif code == pickle.GET[0]:
            self.stack.append(self.memo[int(line)])
        elif code == pickle.FLOAT[0]:
            self.stack.append(float(line))
        elif code == pickle.INT[0] and line in ("00", "01"):
            self.stack.append(line == "01")
        else:
            self.stack.append(int(line.removesuffix("L")))

    def _pop_items(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise IndexError("the stack is too short")
        taken = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return taken

    def _pop_since_mark(self) -> list[Any]:
        items = self.stack
        self.stack = self.outer.pop()
        return items

    def _set_items(self, target: dict[str, Any], items: list[Any]) -> dict[str, Any]:
        keys = items[::2]
        if not all(type(key) is str for key in keys):
            raise DataError(f"{self.source} holds a dict whose keys are not all strings.",
                            "Give a list of tokens, or a dict from token to id.")  # fmt: skip
        target.update(zip(keys, items[1::2], strict=True))
        return target

    def _require_type_of(self, value: Any, kind: type) -> Any:
        if type(value) is not kind:
            raise ValueError(f"not a {kind.__name__}")
        return value

    def _make_name(self, module: str, name: str) -> _Name:
        full = f"{_PYTHON_2.get(module, module)}.{name}"
        if full not in _KNOWN:
            raise self._make_refused_name_error(full)
        return _Name(full)

    def _make_refused_name_error(self, name: str) -> DataError:
        name = _shorten_text(ascii(name)[1:-1])
        modules = b"torch.nn.modules" in self.content or b"_parameters" in self.content
        if modules and b"torchtext" not in self.content:
            return DataError(
                f"{self.source} holds a whole pickled module, not a vocabulary, and would run code to be loaded "
                f"(it names {name}). Nothing in it was run.",
                "Where it was made, save its weights alone, torch.save(model.state_dict(), 'weights.pt'), and the "
                "vocabulary alone, json.dump(vocab.get_itos(), open('vocab.json', 'w')).",
            )
        return DataError(f"{self.source} names {name}, which no vocabulary needs. Nothing in it was run.", SAVE_PLAIN)

    def _load_persistent(self, identity: tuple[Any, ...]) -> Any:
        """Return a stand-in for an object that torch.save keeps outside the pickle: a storage, or in the older form the
        source of a module."""
        if identity[0] == "module":
            return self._require_type_of(identity[1], _Name)
        if identity[0] != "storage":
            raise ValueError("unknown persistent id")
        return _RecordedObject("storage")


def _record_call(name: str, args: tuple[Any, ...]) -> Any:
    if name == "collections.OrderedDict" and not args:
        return {}
    if name == "copyreg._reconstructor" and args and isinstance(args[0], _Name):
        return _RecordedObject(args[0].name)
    return _RecordedObject(name, args)


def _find_vocabulary(root: Any, source: str) -> SavedVocab | list[Any] | dict[str, Any]:
    if isinstance(root, _RecordedObject):
        if root.name == _NATIVE_VOCAB:
            return _read_native_vocab(root, source)
        if isinstance(root.state, dict):
            held = root.state.get("vocab")
            if root.name in _NEW_VOCAB and isinstance(held, _RecordedObject) and held.name == _NATIVE_VOCAB:
                return _read_native_vocab(held, source)
            if root.name in _OLD_VOCAB and isinstance(root.state.get("itos"), list):
                return SavedVocab(root.state["itos"], _find_old_default(root.state))
        if root.name in _NEW_VOCAB | _OLD_VOCAB:
            raise _make_unknown_form_error(source)
    if isinstance(root, dict):
        tensors = any(isinstance(value, _RecordedObject) and value.name == _TENSOR for value in root.values())
        nested = any(isinstance(value, dict) for value in root.values())
        if tensors or nested:
            raise DataError(
                f"{source} holds {'weights (a state_dict)' if tensors else 'a dict of dicts'}, not a vocabulary.",
                "`pocketrnn export` takes weights with --weights. Give a file of the vocabulary alone.",
            )
        return root
    if isinstance(root, list | tuple):
        return list(root)
    what = root.name if isinstance(root, _RecordedObject | _Name) else type(root).__name__
    raise DataError(f"{source} holds something of type {what}, not a vocabulary.", SAVE_PLAIN)


def _read_native_vocab(made: _RecordedObject, source: str) -> SavedVocab:
    """Read the content of torchtext's compiled Vocab: (version, [default index] or [], tokens, [])."""
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


def _find_old_default(state: dict[str, Any]) -> Any:
    """Return the unknown word's id: `unk_index` from 0.5 on; before, always 0, by a defaultdict. `stoi` is not used, as
    every look-up of an unknown word added the word to it."""
    stoi = state.get("stoi")
    if "unk_index" not in state and isinstance(stoi, _RecordedObject) and stoi.args == (_Name(_OLD_DEFAULT),):
        return 0
    return state.get("unk_index")


def _make_unknown_form_error(source: str) -> DataError:
    return DataError(f"{source} holds a torchtext Vocab of a form that is not known.", SAVE_PLAIN)


def _shorten_text(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."
