"""Find the lengths of texts, the stop words and the threshold that a checkpoint names beside its weights, and a
complete subword tokenizer in a checkpoint or another pickled file. No code in the file is run."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from pocketrnn.errors import InputError, short_repr
from pocketrnn_export.safe_pickle_reader import PickledObject
from pocketrnn_export.vocabularies.checkpoint_file import find_checkpoint_root, read_checkpoint_root

_DEEPEST: Final = 3
_MOST_PLACES: Final = 2


@dataclass(frozen=True)
class NamedLength:
    """A number of tokens that a checkpoint or the owner's code names, and that may be the length to which texts are
    cut.

    Attributes:
        where: the file, and the line in code.
        name: the name that the file gives it.
        value: the number of tokens.
    """

    where: str
    name: str
    value: int


_THRESHOLD: Final = re.compile(r"threshold|cut_?off", re.IGNORECASE)
# Names of lengths without their underscores. max_words is mostly the size of a vocabulary.
_LENGTH: Final = re.compile(
    r"(?!(len(gth)?|tokens)$)(max(imum)?)?"
    r"(fix(ed)?|pad(ded|ding)?|seq(uence)?|text|sen(t(ence)?)?|doc(ument)?|review|comment|tweet|title|input|tokens?)?"
    r"(len(gth)?|tokens)",
    re.IGNORECASE,
)
_STOP_WORDS: Final = re.compile(r"stop_?words?", re.IGNORECASE)


def advise_on_checkpoint_settings(
    path: Path, *, has_stop_words: bool, has_thresholds: bool, multi_label: bool = False, labels: int = 0
) -> list[str]:
    """Return sentences with advice on settings that a checkpoint contains and that no option of the export gives: one
    sentence for each threshold and for each list of stop words. Return an empty list if there are none.

    Args:
        path: the file of weights.
        has_stop_words: whether the text rules have stop words.
        has_thresholds: whether thresholds were given.
        multi_label: whether a text may have several labels.
        labels: the number of labels; 0 if it is not known.

    Example:
        >>> advise_on_checkpoint_settings(Path("model.pt"), has_stop_words=False, has_thresholds=True)
        ["model.pt has 2 words under stop_words, but the text rules drop none: give stop_words in --rules"]
    """
    said, told = [], set[str]()
    for key, value in _list_members(find_checkpoint_root(path)):
        if key in told:
            continue
        number = type(value) in (int, float)
        if _THRESHOLD.search(key) and number and 0 < value < 1 and value != 0.5 and not has_thresholds:
            give = f"give --thresholds {value:g}"
            if not multi_label:
                of_two = f"give --thresholds {1 - value:g},{value:g} where it is for the second label"
                give = (
                    of_two if labels == 2 else f"and a text may have several, give --multi-label --thresholds {value:g}"
                )
            gives = "the labels from 0.5 on" if multi_label else "the likeliest label"
            said.append(
                f"{path} says {key}={value:g}, but the bundle gives {gives}. If your code gives labels by it, {give}"
            )
        elif (
            _STOP_WORDS.search(key)
            and isinstance(value, list | tuple | set | frozenset)
            and value
            and not has_stop_words
        ):
            said.append(
                f"{path} has {len(value)} words under {key}, but the text rules drop none: give stop_words in --rules"
            )
        else:
            continue
        told.add(key)
    return said


def is_name_of_text_length(name: str) -> bool:
    """Return whether a name, such as `max_len`, usually means the number of tokens of a text."""
    return _LENGTH.fullmatch(name.replace("_", "")) is not None


def list_text_lengths_in_checkpoint(path: Path, longest_compared_text: int | None) -> list[NamedLength]:
    """List the numbers in a checkpoint whose names, such as `max_len`, suggest that the user's pipeline cuts texts
    after so many tokens.

    Args:
        path: the file of weights.
        longest_compared_text: the number of tokens of the longest text that was compared with the user's pipeline. The
            pipeline did not cut this text, so numbers up to this one are left out. None leaves out all numbers, for
            text rules that themselves cut or pad.

    Example:
        >>> list_text_lengths_in_checkpoint(Path("model.pt"), 0)
        [NamedLength(where='model.pt', name='max_len', value=64)]
    """
    if longest_compared_text is None:
        return []
    found: dict[str, NamedLength] = {}
    for key, value in _list_members(find_checkpoint_root(path)):
        if is_name_of_text_length(key) and type(value) is int and value > max(1, longest_compared_text):
            found.setdefault(key, NamedLength(str(path), key, value))
    return list(found.values())


def find_attributes_of_saved_object(path: Path, class_name: str) -> dict[str, Any]:
    """Find the first object of the class `class_name` in a file that `torch.save` or `pickle.dump` wrote. Return its
    attributes whose values are plain: numbers, strings, None, and lists, tuples and dicts of these. Return an empty
    dict if there is no such object.

    Args:
        path: the file.
        class_name: the name of the class, without its Python module.

    Example:
        >>> find_attributes_of_saved_object(Path("processor.pkl"), "Processor")
        {'max_length': 60, 'stoi': {'<pad>': 0, 'oil': 1}}
    """
    root = find_checkpoint_root(path)
    objects = [one for one in (root, *(held for _, held in _list_members(root))) if isinstance(one, PickledObject)]
    found = next((one for one in objects if type(one).__name__ == class_name), None)
    return {} if found is None else {name: value for name, value in vars(found).items() if is_plain_value(value)}


def is_plain_value(value: Any) -> bool:
    """Return whether a value is a number, a string, None, or a list, tuple or dict of plain values."""
    parts = [*value, *value.values()] if isinstance(value, dict) else value
    if isinstance(value, dict | list | tuple):
        return all(map(is_plain_value, parts))
    return value is None or type(value) in (bool, int, float, str)


def describe_lengths(
    lengths: Sequence[NamedLength], given_members: Mapping[str, Any] = MappingProxyType({}), marks: int = 0
) -> list[str]:
    """Return a sentence for each different length in `lengths`. It names the files that state this length, and the
    options that cut or pad texts to it.

    Args:
        lengths: the lengths.
        given_members: the members of --rules that the user gave. The recommended --rules repeats them.
        marks: how many ids of a length are the marks around a text, which --max-tokens does not count.

    Example:
        >>> describe_lengths([NamedLength("model.pt", "max_len", 64)])
        ['model.pt says max_len=64, and the bundle reads all tokens of a text: ...']
    """
    said = []
    for value in dict.fromkeys(one.value for one in lengths):
        # The vocabulary is often in the file of weights.
        each = dict.fromkeys(f"{one.where} says {one.name}={value}" for one in lengths if one.value == value)
        named = " and ".join([*each][:_MOST_PLACES])
        counted = f" ({marks} of the {value} are marks around the text)" if 0 < marks < value else ""
        most = value - marks if counted else value
        widths = {"min_width": value, **({"max_tokens": most} if counted else {"max_width": value})}
        said.append(
            f"{named}, and the bundle reads all tokens of a text: it neither cuts nor pads. If your code cuts texts "
            f"there, give --max-tokens {most}{counted}; if it pads all to that width and the module reads the padding, "
            f"{write_rules_option_with_members(given_members, **widths)}. --pairs shows which"
        )
    return said


def write_rules_option_with_members(rules: Mapping[str, Any], **members: int) -> str:
    """Return the option --rules for a command line. Its JSON has the members of `rules` and, added or in their place,
    `members`.

    Example:
        >>> write_rules_option_with_members({"first_id": 2}, unknown_id=0)
        '--rules '{"first_id": 2, "unknown_id": 0}''
    """
    return f"--rules {shlex.quote(json.dumps({**rules, **members}))}"


def _list_members(value: Any, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield each member of a dict or an object with its name. Members of inner dicts and objects follow. Yield nothing
    for other values."""
    members = vars(value) if isinstance(value, PickledObject) else value
    if not isinstance(members, dict) or depth > _DEEPEST:
        return
    for key, member in members.items():
        if type(key) is str:
            yield key, member
            yield from _list_members(member, depth + 1)


_DEEPEST_TOKENIZER: Final = 8
# Members of a tokenizer.json beside its model. A saved model's config has none of them.
_PARTS: Final = frozenset({"pre_tokenizer", "normalizer", "added_tokens", "post_processor", "decoder"})
_OF_SENTENCEPIECE: Final = re.compile(r"sentence_?piece|sp_?(m|model|proto)($|[_.])", re.IGNORECASE)
_OF_OTHERS: Final = re.compile(r"(bpe_?)?(merges|ranks|codes)|bpe|.*tokenizer.*", re.IGNORECASE)
_SAVE_TOKENIZER: Final = (
    "Where it was made, save it on its own, and give the file: tokenizer.save('tokenizer.json'), or sentencepiece's "
    ".model."
)


@dataclass(frozen=True)
class HeldTokenizer:
    """A subword tokenizer that was found in a checkpoint.

    Attributes:
        key: its path of keys in the checkpoint, such as `tokenizer_state.tokenizer_json`.
        content: the text of a tokenizer.json, or the bytes of a sentencepiece .model file.
    """

    key: str
    content: str | bytes


def find_tokenizer_in_checkpoint(path: Path) -> HeldTokenizer | None:
    """Find the subword tokenizer in a file that `torch.save` or `pickle.dump` wrote: the text or the dict of a
    tokenizer.json, a pickled tokenizer of the library tokenizers, or the bytes of a sentencepiece model. Return None if
    there is none.

    Raises:
        InputError: the file cannot be read, or holds different tokenizers.

    Example:
        >>> find_tokenizer_in_checkpoint(Path("best_model.pt")).key
        'tokenizer_state.tokenizer_json'
    """
    root = read_checkpoint_root(path, _SAVE_TOKENIZER)
    # By its content, since the text may be written in several ways.
    found: dict[str | bytes, HeldTokenizer] = {}
    for key, value in _list_members_with_paths(root, "", set()):
        content = _read_tokenizer(key, value)
        if content is not None:
            same = json.dumps(json.loads(content)) if isinstance(content, str) else content
            found.setdefault(same, HeldTokenizer(key, content))
    if len(found) > 1:
        keys = " and under ".join(short_repr(one.key, 60) for one in list(found.values())[:3])
        raise InputError(f"{path} holds different tokenizers under {keys}.", _SAVE_TOKENIZER)
    return next(iter(found.values()), None)


def describe_unread_tokenizer(path: Path) -> str:
    """Return a sentence that names a member of a checkpoint, such as merges, that belongs to a subword tokenizer and
    that the export does not use. Return an empty string if there is none."""
    for key, value in _list_members_with_paths(find_checkpoint_root(path), "", set()):
        name = key.rpartition(".")[2]
        is_part = isinstance(value, bytes) or (isinstance(value, list | dict) and "tokenizer" not in name.lower())
        if value and is_part and _OF_OTHERS.fullmatch(name):
            return (
                f"{path} has a tokenizer's {short_repr(key, 60)}, which the text rules do not use: if your code splits "
                "texts into subwords, give --tokenizer FILE with its tokenizer.json or sentencepiece's .model"
            )
    return ""


def _list_members_with_paths(value: Any, key: str, seen: set[int], depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield (path, value) for a value and for all members of dicts, lists and objects in it. A path is keys joined by
    dots, such as `config.max_len`; `key` is the path of the value itself. Outer members come before inner ones. `seen`
    has the ids of objects that are not searched again."""
    yield key, value
    members = vars(value) if isinstance(value, PickledObject) else value
    if isinstance(members, list | tuple):
        members = dict(enumerate(members))
    if not isinstance(members, dict) or depth > _DEEPEST_TOKENIZER or id(value) in seen:
        return
    seen.add(id(value))
    for name, member in members.items():
        if isinstance(member, str | bytes | list | tuple | dict | PickledObject):
            yield from _list_members_with_paths(member, f"{key}.{name}" if key else str(name), seen, depth + 1)


def _read_tokenizer(key: str, value: Any) -> str | bytes | None:
    """Return the content of the tokenizer in a member of a checkpoint: the text of a tokenizer.json, or the bytes of a
    sentencepiece model. Return None if the member is neither. `key` is the member's name."""
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
