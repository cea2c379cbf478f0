"""Numbers and categories in addition to a text: how each is encoded, and how a row of ids carries them.

A text with its features is one row of ids: a negative mark for each feature, and then the ids of the text. A mark holds
the bits of a float32, so that a row keeps the number as it is.
"""

from __future__ import annotations

import keyword
import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pocketrnn.errors import InputError, TextError, short_repr, suggest_similar_name
from pocketrnn.text.encoder import TextEncoder
from pocketrnn.text.value_checks import check_feature_or_character_id, is_whole_number

__all__ = [
    "FEATURE_INPUTS",
    "Category",
    "Feature",
    "FeatureEncoder",
    "FeatureRow",
    "Features",
    "Number",
    "build_features_from_document",
    "check_text_with_features",
    "encode_numbers_as_negative_ids",
    "encode_values",
    "freeze_text_with_features",
    "make_example_values",
    "make_features",
    "make_features_document",
    "make_highest_category_ids_and_zeros",
    "parse_feature_values_from_strings",
    "separate_features_from_ids",
    "write_example_feature_options",
]

Ids = NDArray[np.int64]

# The inputs of a graph of texts with features, without lengths and with them.
FEATURE_INPUTS: Final = (("tokens", "features"), ("tokens", "lengths", "features"))
_MOST_FEATURES: Final = 65_536
# Among more values, the nearest one to an unknown value is not looked for: it takes long.
_FEW: Final = 1_000
# So many names or values are told in a message, and so much of a long one.
_NAMED: Final = 10
_LONGEST_NAMED: Final = 40
# The names that mean something else in a line that calls a module, or in a row of a file.
_TAKEN: Final = frozenset(
    ["text", "tokens", "lengths", "module", "features", "categories", "first", "second", "torch", "nn", "F", "np"]
)


@dataclass(frozen=True)
class Number:
    """A number in addition to a text. The module gets `(number - mean) / scale` as float32.

    Attributes:
        mean: the number that is subtracted, as in training.
        scale: the number by which the difference is divided, as in training.

    Raises:
        InputError: one of them is not a finite number, or the scale is 0.

    Example:
        >>> Number(mean=3.0, scale=2.0).encode(5, "price")
        1.0
    """

    mean: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        for name in ("mean", "scale"):
            value = getattr(self, name)
            if not _is_number(value) or not math.isfinite(value) or (name == "scale" and value == 0):
                raise InputError(
                    f"`{name}` of a feature is {short_repr(value)}, but it must be a finite number"
                    + (" other than 0." if name == "scale" else "."),
                    f"Give the {name} that was used in training.",
                )
            object.__setattr__(self, name, float(value))

    @property
    def document(self) -> dict[str, Any]:
        """The feature as members of classifier.json, without its name."""
        return {"mean": self.mean, "scale": self.scale}

    def encode(self, value: object, name: str, text_name: str = "The text") -> float:
        """Check a value of the feature, and return `(value - mean) / scale`, which the graph gets.

        Args:
            text_name: the name of the text, with which messages begin.

        Raises:
            TextError: the value is not a finite number, or too large for float32.

        Example:
            >>> Number(scale=2.0).encode(5, "price")
            2.5
        """
        if not _is_number(value):
            raise TextError(
                f"{text_name} has {name}={short_repr(value, 40)} of the type {type(value).__name__}, but the feature "
                f"{name} must be a number.",
                "Give an int or a float.",
            )
        try:
            given = (float(value) - self.mean) / self.scale  # type: ignore[arg-type]
        except OverflowError:
            given = math.inf
        if not abs(given) <= float(np.finfo(np.float32).max):
            raise TextError(
                f"{text_name} has {name}={short_repr(value, 40)}, which is not a finite number in float32.",
                "Give a finite number. In place of a missing number, give what it was replaced with in training.",
            )
        return given


@dataclass(frozen=True)
class Category:
    """A category in addition to a text, such as a user or a genre. The module gets the id of its value.

    Attributes:
        values: a map value -> id, or a list in which the index of a value is its id. A whole number is the same value
            as the string of its digits.
        unknown: the id of all other values; None to refuse them.

    Raises:
        InputError: a value is given twice, a value is neither a string nor a whole number, or an id is not a whole
            number of 0 or more.

    Example:
        >>> Category(["book", "film"]).encode("film", "kind")
        1.0
    """

    values: Mapping[str, int] = field(hash=False)
    unknown: int | None = None

    def __init__(self, values: Mapping[Any, int] | Iterable[Any], unknown: int | None = None) -> None:
        if isinstance(values, str) or not isinstance(values, Iterable):
            raise InputError(
                f"The values of a category are {short_repr(values)}, but they must be a list or a map.",
                "Give a list of the values in the order of their ids, or a map value -> id.",
            )
        pairs = list(values.items()) if isinstance(values, Mapping) else [(v, i) for i, v in enumerate(values)]
        named: dict[str, int] = {}
        for value, number in pairs:
            word = _read_category_word(value)
            if word is None:
                raise InputError(
                    f"A category has the value {short_repr(value, 40)} of the type {type(value).__name__}, but a value "
                    "must be a string or a whole number.",
                    "Give strings or whole numbers.",
                )
            if word in named:
                raise InputError(
                    f"The value {short_repr(word, 40)} of a category is given twice.", "Give each value once."
                )
            named[word] = check_feature_or_character_id(number, f"of {short_repr(word, 40)}")
        if not named:
            raise InputError("A category has no values.", "Give the values that it had in training.")
        object.__setattr__(self, "values", named)
        object.__setattr__(
            self, "unknown", None if unknown is None else check_feature_or_character_id(unknown, "of unknown values")
        )

    @property
    def ids(self) -> tuple[int, ...]:
        """The ids that the module may get, in order.

        Example:
            >>> Category({"a": 3, "b": 1}, unknown=0).ids
            (0, 1, 3)
        """
        return tuple(sorted({*self.values.values(), *(() if self.unknown is None else (self.unknown,))}))

    @property
    def document(self) -> dict[str, Any]:
        """The feature as members of classifier.json, without its name."""
        return {"values": dict(self.values), **({} if self.unknown is None else {"unknown": self.unknown})}

    def encode(self, value: object, name: str, text_name: str = "The text") -> float:
        """Return the id of a value as a float.

        Args:
            text_name: the name of the text, with which messages begin.

        Raises:
            TextError: the value is neither a string nor a whole number; or it is unknown, and `unknown` is None.

        Example:
            >>> Category(["book"], unknown=7).encode("film", "kind")
            7.0
        """
        word = _read_category_word(value)
        if word is None:
            raise TextError(
                f"{text_name} has {name}={short_repr(value, 40)} of the type {type(value).__name__}, but a value of "
                f"the category {name} must be a string or a whole number.",
                "Give such a value.",
            )
        found = self.values.get(word, self.unknown)
        if found is None:
            near = suggest_similar_name(word, self.values) if len(self.values) <= _FEW else ""
            raise TextError(
                f"{text_name} has {name}={short_repr(word, 40)}, which is not a known value of {name}.",
                f"{near} Give one of these values: {_list_first_words(list(self.values))}.".lstrip(),
            )
        return float(found)


Feature: TypeAlias = Number | Category
Features: TypeAlias = tuple[tuple[str, Feature], ...]
# The features of one text as they are given: name and value of each.
FeatureRow: TypeAlias = tuple[tuple[str, Any], ...]


class SplitRows(NamedTuple):
    """The texts of a batch as ids, int64 [batch, sequence], their lengths, int64 [batch], and their features, float32
    [batch, features]."""

    tokens: Ids
    lengths: Ids
    features: NDArray[np.float32]


def make_features(given: object) -> Features:
    """Make the features from the user's argument `features`.

    Args:
        given: a list of the names of numbers; or a map from the name of each feature to a `Number`, a `Category`, or
            the values of a category.

    Raises:
        InputError: a name is given twice, is not a Python identifier or has another meaning, or a feature has another
            type.
    """
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise InputError(
            f"features is {short_repr(given)}, but it must be a list or a map.",
            "Give a list of the names of numbers, or a map from names to features.",
        )
    pairs = list(given.items()) if isinstance(given, Mapping) else [(name, Number()) for name in given]
    features: dict[str, Feature] = {}
    for name, feature in pairs:
        _check_feature_name(name)
        if name in features:
            raise InputError(f"The feature {name} is given twice.", "Give each feature once.")
        try:
            features[name] = feature if isinstance(feature, Number | Category) else Category(feature)
        except InputError as error:
            raise InputError(f"The feature {name} is not valid. {error.problem}", error.remedy) from None
    if not features or len(features) > _MOST_FEATURES:
        raise InputError(
            f"There are {len(features):,} features, but 1 to 65,536 are allowed.",
            "Give at least one feature. For a model without features, leave the argument `features` out.",
        )
    return tuple(features.items())


def make_features_document(features: Features) -> list[dict[str, Any]]:
    """Convert the features to a member of classifier.json."""
    return [{"name": name, **feature.document} for name, feature in features]


def build_features_from_document(members: Sequence[Mapping[str, Any]]) -> Features:
    """Build the features from a member of classifier.json. Raise an InputError if a feature is given twice, or a
    feature or its name is not valid."""
    names = [member["name"] for member in members]
    made = [
        Category(member["values"], member.get("unknown"))
        if "values" in member
        else Number(member.get("mean", 0.0), member.get("scale", 1.0))
        for member in members
    ]
    if len(set(names)) < len(names):
        raise InputError("Two features have the same name.", "Give each feature once.")
    return make_features(dict(zip(names, made, strict=True)))


def check_text_with_features(item: object, text_name: str = "The text") -> tuple[Any, dict[str, Any]]:
    """Check a text and its features, and return both.

    Args:
        item: a tuple or list of the text and its features: a map name -> value, or a tuple of (name, value) pairs.
        text_name: the name of the text, with which messages begin.

    Raises:
        TextError: `item` has another form, such as a text without features.
    """
    if isinstance(item, tuple | list) and len(item) == 2:
        text, values = item
        if isinstance(values, Mapping):
            return text, dict(values)
        if isinstance(values, tuple) and all(isinstance(one, tuple) and len(one) == 2 for one in values):
            return text, dict(values)
    what = f"a text alone, {short_repr(item, 40)}" if isinstance(item, str) else f"of the type {type(item).__name__}"
    raise TextError(
        f"{text_name} is {what}, but this classifier needs a text together with its features.",
        'Give a tuple of both: ("the text", {"name": value, ...}).',
    )


def freeze_text_with_features(item: object, text_name: str = "The text") -> tuple[Any, FeatureRow]:
    """Check a text with its features, and convert both to a tuple that can be hashed."""
    text, values = check_text_with_features(item, text_name)
    return text, tuple((name, v.item() if isinstance(v, np.generic) else v) for name, v in values.items())


def encode_values(features: Features, values: Mapping[str, Any], text_name: str = "The text") -> NDArray[np.float32]:
    """Encode the features of one text as the graph's input, float32 [features].

    Args:
        text_name: the name of the text, with which messages begin.

    Raises:
        TextError: a feature is missing or unknown, or has a value that is not allowed.
    """
    names = [name for name, _ in features]
    for name in values:
        if name not in names:
            raise TextError(
                f"{text_name} has the feature {short_repr(name, 40)}, which the classifier does not have.",
                f"{suggest_similar_name(str(name), names)} Give these features: {_list_first_words(names)}.".lstrip(),
            )
    for name in names:
        if name not in values or values[name] is None:
            raise TextError(
                f"{text_name} has no value for the feature {name}.",
                f"Give a value for each of these features: {_list_first_words(names)}.",
            )
    with np.errstate(over="ignore"):
        return np.array([feature.encode(values[name], name, text_name) for name, feature in features], np.float32)


def make_highest_category_ids_and_zeros(features: Features) -> NDArray[np.float32]:
    """Make encoded features for a trial run of a graph, float32 [features]: the highest id of each category, and 0 for
    each number."""
    return np.array([feature.ids[-1] if isinstance(feature, Category) else 0 for _, feature in features], np.float32)


def parse_feature_values_from_strings(features: Features, written: Mapping[str, Any]) -> dict[str, Any]:
    """Parse the values of features that are written as strings in a CSV file or on a command line.

    For a feature that is a number, an empty string becomes None, and a string that is not a number stays a string.
    `encode_values` refuses both.
    """
    kinds = dict(features)
    values = dict(written)
    for name, value in written.items():
        if isinstance(kinds.get(name), Number) and isinstance(value, str):
            values[name] = _parse_number(value)
    return values


def make_example_values(features: Features) -> dict[str, Any]:
    """Make a valid value for each feature: the mean of a number, the first value of a category."""
    return {
        name: next(iter(feature.values)) if isinstance(feature, Category) else feature.mean
        for name, feature in features
    }


def write_example_feature_options(features: Features) -> str:
    """Write example values of the features as options of `pocketrnn classify`, each option followed by a space. Return
    an empty string if there are no features."""
    return "".join(
        f"--feature {shlex.quote(f'{name}={value}')} " for name, value in make_example_values(features).items()
    )


def encode_numbers_as_negative_ids(numbers: NDArray[np.float32]) -> Ids:
    """Convert encoded features, which are float32, to negative integers, so that they can stand in a row of ids."""
    return ~np.ascontiguousarray(numbers, np.float32).view(np.uint32).astype(np.int64)


def separate_features_from_ids(tokens: Ids, lengths: Ids) -> SplitRows:
    """Separate the features at the beginning of each row from the ids of its text.

    Args:
        tokens: int64 [batch, features + sequence]: each row begins with its features as negative integers.
        lengths: int64 [batch], the length of each row, its features included.
    """
    count = int((tokens[0] < 0).sum())
    marks = np.ascontiguousarray(~tokens[:, :count]).astype(np.uint32)
    return SplitRows(np.ascontiguousarray(tokens[:, count:]), lengths - count, marks.view(np.float32))


class FeatureEncoder(TextEncoder):
    """Encodes a text with its features as one row of ids, the features first as negative integers."""

    def __init__(self, rules: Any, vocabulary: Sequence[str], features: Features) -> None:
        super().__init__(rules, vocabulary)
        self.features = features

    def encode(self, item: Any) -> list[int]:
        """Encode a text and its features as one row of ids, the features first. Raise a TextError if `item` is not a
        tuple of a text and its features, or a feature is missing, unknown or not valid."""
        text, values = check_text_with_features(item)
        return [*encode_numbers_as_negative_ids(encode_values(self.features, values)).tolist(), *super().encode(text)]

    def encode_row(self, item: Any) -> Ids:
        """Encode a text and its features as one row of ids, the features first: int64 [1, ids]."""
        return np.array([self.encode(item)], np.int64)


def _parse_number(written: str) -> float | str | None:
    """Parse a number; return None for an empty string, and any other string unchanged."""
    if not written.strip():
        return None
    try:
        return float(written) if "_" not in written else written
    except ValueError:
        return written


def _is_number(value: object) -> bool:
    """Return whether a value is a number of Python or numpy. An array or a boolean is not a number."""
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool | np.bool_)


def _list_first_words(words: Sequence[str]) -> str:
    """List the first of the words for a message, followed by the number of the others."""
    first = ", ".join(
        word if len(word) <= _LONGEST_NAMED else short_repr(word, _LONGEST_NAMED) for word in words[:_NAMED]
    )
    return first if len(words) <= _NAMED else f"{first} and {len(words) - _NAMED:,} more"


def _read_category_word(value: object) -> str | None:
    """Return a value of a category as a string. An integer becomes its digits; any other type becomes None."""
    if isinstance(value, str):
        return str(value)
    return str(int(value)) if is_whole_number(value) else None


def _check_feature_name(name: object) -> None:
    """Raise an InputError if the name of a feature is not a Python identifier, or already has another meaning in
    pocketrnn."""
    if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name) or len(name) > 200:
        raise InputError(
            f"{short_repr(name, 40)} cannot be the name of a feature, because it is not a valid variable name.",
            "Use letters, digits and _, and begin with a letter.",
        )
    if name in _TAKEN or name.startswith("_"):
        raise InputError(
            f"A feature cannot have the name {name}, because it has another meaning in pocketrnn.",
            f"Give the feature another name, such as its_{name}.",
        )
