"""The words of --vocabulary as the objects that owners' code takes for a vocabulary: a dict, a torchtext Vocab or
Field, a Keras Tokenizer, or a class of the owner's own."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from pocketrnn_export.vocabularies.vocabulary import make_implied_rules, read_vocabulary

# The names that code gives to a map from words to ids.
_VOCABULARY: Final = re.compile(
    r"vocab|stoi|w(ord)?s?_?dict|^dictionary$|index|idx|w(ord)?s?_?(2|to)_?(i|n)|tok(en)?s?_?(2|to)_?(i|n)|(2|_to)_?i(x|d|nt)?s?$",
    re.IGNORECASE,
)
_LABELS: Final = re.compile(r"label|class|target", re.IGNORECASE)
# Dicts of labels, and dicts from ids to words.
_NO_VOCABULARY: Final = re.compile(rf"{_LABELS.pattern}|^_*(idx?|index|int)_?(2|to)", re.IGNORECASE)
_WORDS_OF_IDS: Final = re.compile(r"(get_)?itos|(id|i|idx|ix|index|int)s?_?(2|to)_?(w(ord)?|t(ok(en)?)?)s?|index_word")
_IDS_OF_WORDS: Final = re.compile(
    r"vocab(ulary)?|stoi|(w(ord)?|t(ok(en)?)?)s?_?(2|to)_?(i|id|idx|ix|index|int)s?|word_index|word_dict|lookup_indices"
)
_COUNTS: Final = re.compile(r"(n|num)_?(words?|tokens?)|(vocab_?)?size")
_SPECIAL: Final = re.compile(r"(pad|unk)(ding|nown)?_?(token|word)?(_?(idx?|index|ix))?", re.IGNORECASE)


class WordIds(dict[str, int]):
    """A dict from words to ids that the owner's code can also use as a vocabulary object: `vocab(words)`, `vocab.stoi`,
    `field.vocab.itos`, `vocab.lookup_tokens(ids)`, `vocab.pad_token`.

    Example:
        >>> WordIds({"oil": 1})(["oil"]), WordIds({"oil": 1}).stoi["oil"], WordIds({"oil": 0}).itos[0]
        ([1], 1, 'oil')
    """

    def __call__(self, words: str | Sequence[str]) -> Any:
        """Return the ids of words, or that of one word."""
        return self[words] if isinstance(words, str) else [self[word] for word in words]

    def get_itos(self) -> list[str]:
        """Return the words in the order of their ids. An id without a word has an empty string."""
        words = [""] * (max(self.values(), default=-1) + 1)
        for word, number in self.items():
            words[number] = word
        return words

    def get_stoi(self) -> WordIds:
        """Return the dict itself."""
        return self

    get_vocab = get_stoi

    def lookup_token(self, number: int) -> str:
        """Return the word of an id."""
        return self.get_itos()[number]

    def lookup_tokens(self, numbers: Sequence[int]) -> list[str]:
        """Return the words of ids."""
        words = self.get_itos()
        return [words[number] for number in numbers]

    def __getattr__(self, name: str) -> Any:
        if name == "itos":
            return self.get_itos()
        if _WORDS_OF_IDS.fullmatch(name):
            return {number: word for word, number in self.items()}
        if _IDS_OF_WORDS.fullmatch(name):
            return self
        if _COUNTS.fullmatch(name):
            return len(self.get_itos())
        special = _SPECIAL.fullmatch(name)
        if special is not None and self and (special[3] or special[4]):
            words = self.get_itos()
            rules = make_implied_rules(read_vocabulary(words))
            number = rules.padding_id if special[1].lower() == "pad" else rules.unknown_id
            # Without a word for padding, the id is a guess.
            if number is not None and re.search("pad|unk|oov", words[number], re.IGNORECASE):
                return number if special[4] else words[number]
        raise AttributeError(f"The words of --vocabulary have no {name}.")


def is_vocabulary_name(name: str) -> bool:
    """Return whether the name of an argument looks like the name of a vocabulary.

    Example:
        >>> is_vocabulary_name("word2idx"), is_vocabulary_name("text")
        (True, False)
    """
    return _VOCABULARY.search(name) is not None and not _NO_VOCABULARY.search(name)


def is_name_of_labels(name: str) -> bool:
    """Return whether the name of an object says that it holds labels, and not a vocabulary of words.

    Example:
        >>> is_name_of_labels("label2id"), is_name_of_labels("word2idx")
        (True, False)
    """
    return _LABELS.search(name) is not None


def is_vocabulary_attribute(name: str) -> bool:
    """Return whether `name` is an attribute that usually only vocabularies have, such as `stoi`, and that the class
    `WordIds` also has.

    Example:
        >>> is_vocabulary_attribute("stoi"), is_vocabulary_attribute("hidden")
        (True, False)
    """
    own = ("get_itos", "get_stoi", "get_vocab", "lookup_token", "lookup_tokens")
    return name in own or any(one.fullmatch(name) for one in (_WORDS_OF_IDS, _IDS_OF_WORDS))


def is_used_as_vocabulary(code: Iterable[ast.AST], name: str) -> bool:
    """Return whether code uses an object as a vocabulary of words. It does if it reads an attribute that only
    vocabularies have, such as `stoi`. If the object has the name of a vocabulary, it is enough that the code reads its
    length or looks up a word. Return False if the code reads an attribute that `WordIds` lacks.

    Args:
        code: the syntax trees of the code.
        name: the name of the object in the code.

    Example:
        >>> is_used_as_vocabulary([ast.parse("size = len(field.vocab)")], "field")
        True
    """
    read: set[str] = set()
    is_looked_up = False
    for node in (one for tree in code for one in ast.walk(tree)):
        parts = node.args if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "len" else [
            getattr(node, "value", None)
        ]  # fmt: skip
        if any(isinstance(one, ast.Name) and one.id == name for one in parts):
            read |= {node.attr} if isinstance(node, ast.Attribute) else set()
            is_looked_up |= isinstance(node, ast.Call | ast.Subscript)
    held = WordIds({"<unk>": 0, "<pad>": 1})
    is_known = all(hasattr(held, one) for one in read) and not _NO_VOCABULARY.search(name)
    return is_known and (any(map(is_vocabulary_attribute, read)) or (is_looked_up and is_vocabulary_name(name)))
