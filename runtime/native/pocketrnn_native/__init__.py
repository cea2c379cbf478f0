"""Run packed classifiers with an engine in C. This package needs only Python.

`pocketrnn pack` makes a packed file of a bundle; `pocketrnn.Classifier.load("news.prnn")` opens one with all that
pocketrnn has. This package does without numpy and onnxruntime, and starts in milliseconds.
"""

from __future__ import annotations

import array
import mmap
import os
import weakref
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from pocketrnn_native import _engine
from pocketrnn_native._engine import EngineError, Packed

__all__ = [
    "PRODUCTS_MEMORY",
    "Classifier",
    "EngineError",
    "Opened",
    "Packed",
    "Prediction",
    "Stream",
    "Tag",
    "map_packed_file",
    "open_once",
]

# How many texts one call of the engine answers.
_TEXTS_AT_ONCE = 1024
# The most bytes for the products of frequent words and input weights, which are computed once for a file, where a layer
# reads embeddings.
PRODUCTS_MEMORY = 1 << 23


def __getattr__(name: str) -> str:
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Here and not above: importlib.metadata takes as long as the rest of the start.
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("pocketrnn-native")
    except PackageNotFoundError:
        # Built where its source lies (scripts/build_native), and never installed.
        return "unknown"


# A text; two of them, for a file that takes pairs; or a text and the value of each of its features, by name.
Given = str | tuple[str, str] | tuple[str, Mapping[str, float | str]]


class Prediction(NamedTuple):
    """The answer to one text: the likeliest label, its probability, and the likeliest (label, probability) pairs."""

    label: str
    probability: float
    top: tuple[tuple[str, float], ...]


class Tag(NamedTuple):
    """The label of one token, and the probability of this label.

    A token without a label has the label None and the probability 0. `start` and `end` are the position of the token in
    the original text, in code points; `end` is the index after the token. If the text was given as a list of tokens,
    they count tokens.
    """

    token: str
    label: str | None
    probability: float
    start: int
    end: int


class _Labels(NamedTuple):
    """The labels of a classifier or of a head, the columns of their logits, and whether one text may have several of
    these labels."""

    labels: tuple[str, ...]
    columns: slice
    is_multi_label: bool

    def make_prediction(self, file_logits: list[float], file_probabilities: list[float], top: int) -> Prediction:
        """Make the prediction for one text from its logits and probabilities for all labels of the file; its `top`
        labels are the likeliest of this head or set of labels."""
        own, found = file_logits[self.columns], file_probabilities[self.columns]
        order = sorted(range(len(own)), key=own.__getitem__, reverse=True)[:top]
        likeliest = tuple((self.labels[i], found[i]) for i in order)
        return Prediction(*likeliest[0], likeliest)

    def find_likeliest_label(self, file_probabilities: list[float]) -> str:
        """Return the likeliest of these labels for one text, from its probabilities for all labels of the file."""
        own = file_probabilities[self.columns]
        return self.labels[own.index(max(own))]

    def select_reached_labels(self, file_probabilities: list[float], thresholds: tuple[float, ...]) -> tuple[str, ...]:
        """Select the labels of one text whose probabilities reach their thresholds. Unless the labels are multi-label,
        select at most the likeliest label; or, if two different thresholds add up to 1, the one that is reached.

        Args:
            file_probabilities: the probabilities of all labels of the file.
            thresholds: one threshold for each of these labels.
        """
        own = file_probabilities[self.columns]
        is_decided = len(thresholds) == 2 and thresholds[0] != thresholds[1] and abs(sum(thresholds) - 1) < 1e-9
        if is_decided and not self.is_multi_label:
            return (self.labels[own[1] >= thresholds[1]],)
        asked = range(len(own)) if self.is_multi_label else (own.index(max(own)),)
        return tuple(self.labels[i] for i in asked if own[i] >= thresholds[i])


def map_packed_file(path: str | os.PathLike[str]) -> Packed:
    """Map a packed file into memory. Processes that open the same file share the memory.

    Raises:
        EngineError: the file is not a packed file, or is damaged.
        OSError: the file cannot be read.

    Example:
        >>> map_packed_file("news.prnn").labels()
        ['World', 'Sports', 'Business', 'Sci/Tech']
    """
    with open(path, "rb") as file:  # noqa: PTH123 - importing pathlib takes as long as all else
        if os.fstat(file.fileno()).st_size == 0:
            raise EngineError(
                _engine.NO_FILE, f"{os.fsdecode(path)} is empty, so it is not a packed classifier. Copy the file again."
            )
        return Packed(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), PRODUCTS_MEMORY)


class Opened:
    """An open packed file. All classifiers of the same file share one such object, which `open_once` returns."""

    __slots__ = ("__weakref__", "packed")

    def __init__(self, packed: Packed) -> None:
        self.packed = packed


_open: weakref.WeakValueDictionary[tuple[str, int, int, int], Opened] = weakref.WeakValueDictionary()


def open_once(path: str | os.PathLike[str]) -> Opened:
    """Open a packed file. If the file is already open, return the open object.

    Raises:
        EngineError: the file is not a packed file, or is damaged.
        OSError: the file cannot be read.

    Example:
        >>> open_once("news.prnn") is open_once("news.prnn")
        True
    """
    status = os.stat(path)  # noqa: PTH116 - as above
    key = (os.path.realpath(path), status.st_ino, status.st_mtime_ns, status.st_size)
    found = _open.get(key)
    if found is None:
        found = _open[key] = Opened(map_packed_file(path))
    return found


class Classifier:
    """A classifier in a packed file. Make one with `Classifier.load`. Several threads may use the same one.

    Attributes:
        labels: the classes, in the order of the columns of `predict_proba`. With several heads, these are the labels of
            all heads with the head's name in front: `topic: oil`.
        heads: the names of the heads; empty if the classifier has a single set of labels.

    Example:
        >>> Classifier.load("news.prnn").classify("Oil prices rise again").label
        'Business'
    """

    def __init__(self, file: Opened) -> None:
        if not isinstance(file, Opened):
            raise TypeError(
                f"Classifier() takes an opened file, not {type(file).__name__}. Use Classifier.load({file!r})."
            )
        self._file = file
        self._packed = file.packed
        labels, start = tuple(file.packed.labels()), 0
        self._parts: dict[str, _Labels] = {}
        for name, count, is_multi_label in file.packed.heads():
            columns = slice(start, start + count)
            self._parts[name] = _Labels(labels[columns], columns, is_multi_label)
            start = columns.stop
        self.heads = tuple(self._parts)
        self.labels = tuple(f"{name}: {one}" for name, part in self._parts.items() for one in part.labels) or labels
        self._own = _Labels(self.labels, slice(len(labels)), file.packed.is_multi_label())
        self._head: str | None = None
        self._features = file.packed.features()
        self._takes_single_texts = not self._features and not file.packed.takes_pairs()

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Classifier:
        """Open a packed file.

        Raises:
            EngineError: the file is not a packed file, or is damaged.
            OSError: the file cannot be read.

        Example:
            >>> Classifier.load("news.prnn").labels
            ('World', 'Sports', 'Business', 'Sci/Tech')
        """
        return cls(open_once(path))

    def head(self, name: str) -> Classifier:
        """Return a classifier that answers only with the labels of one head of the same file.

        Raises:
            ValueError: the classifier has no heads, or none of this name.

        Example:
            >>> Classifier.load("reviews.prnn").head("mood").classify("Never again").label
            'bad'
        """
        if name not in self._parts:
            known = f"Use one of: {', '.join(self.heads)}" if self.heads else "Do not call head: the file has no heads"
            raise ValueError(f"There is no head {name!r}. {known}.")
        other = Classifier(self._file)
        other._own, other._head, other._parts, other.heads = self._parts[name], name, {}, ()
        other.labels = other._own.labels
        return other

    def encode(self, text: str) -> list[int]:
        """Return the token ids of one text. There is at least one id, also for an empty text. For a classifier of
        pairs, encode each of the two texts by itself.

        Example:
            >>> len(Classifier.load("news.prnn").encode("Oil prices rise again"))
            4
        """
        return self._packed.encode(text)

    def classify(self, text: Given, top: int = 1) -> Prediction:
        """Classify one text, one pair of texts, or one text with its features.

        If the classifier has several heads, the answer is a dict from each head's name to its prediction. `predict`,
        `predict_labels` and `predict_proba` then return dicts, too.

        Args:
            text: any string; for a classifier of pairs, a tuple of two strings; for a classifier with features, a tuple
                of the text and a mapping from each feature's name to its value.
            top: how many labels to give, from 1 to the number of labels.

        Raises:
            EngineError: the text has fewer or more tokens than the classifier takes; the text would take more memory or
                time than the engine allows for a file of this size; there is too little memory; or the logits are not
                finite.
            ValueError: `top` is out of its range; or a feature is missing, is unknown, or has an impossible value.
            TypeError: `text` is not a string where the classifier takes a single text, or not a tuple where it takes
                two texts or features.

        Example:
            >>> Classifier.load("news.prnn").classify("Striker scores twice in cup final").label
            'Sports'
        """
        self._check_top(top)
        answer: Prediction = self._make_predictions(self._compute_logits(text), top)
        return answer

    def _compute_logits(self, given: Any, text_name: str = "The text") -> list[float]:
        """Compute the logits of a text, of a pair, or of a text with its features. Error messages call the text
        `text_name`, such as "The text at position 3"."""
        if self._takes_single_texts:
            return self._packed.logits(given)
        if not isinstance(given, tuple | list) or len(given) != 2:
            what = "a text and its features" if self._features else "two texts"
            raise TypeError(f"{text_name} is of the type {type(given).__name__}. Give a tuple of {what}.")
        text, beside = given
        return self._packed.logits_beside(text, self._encode_features(beside, text_name) if self._features else beside)

    def _encode_features(self, values: Any, text_name: str) -> list[float]:
        """Check the values of a text's features, given by name, and encode them in the order of the file. Error
        messages call the text `text_name`."""
        names = [name for name, _ in self._features]
        if not isinstance(values, Mapping):
            raise TypeError(
                f"{text_name} has no features. Give a tuple of the text and its features: (text, {{name: value, ...}})."
            )
        if unknown := [name for name in values if name not in names]:
            raise ValueError(
                f"{text_name} has the feature {unknown[0]!r}, which the classifier does not take. Leave it out."
            )
        if missing := [name for name in names if values.get(name) is None]:
            raise ValueError(f"{text_name} has no value for the feature {missing[0]}. Give {', '.join(names)}.")
        return [self._encode_feature(i, values[name], text_name) for i, name in enumerate(names)]

    def _encode_feature(self, index: int, value: Any, text_name: str) -> float:
        """Encode the value of the feature at `index` as the number that the engine takes. Error messages call the text
        `text_name`."""
        name, is_category = self._features[index]
        kinds = (str, int) if is_category else (int, float)
        if not isinstance(value, kinds) or isinstance(value, bool):
            what = "category: give a string or an int" if is_category else "number: give an int or a float"
            raise ValueError(
                f"{text_name} has {name}={value!r} of the type {type(value).__name__}, but {name} is a {what}."
            )
        try:
            return self._packed.feature(index, str(value) if is_category else value)
        except OverflowError:
            pass
        except EngineError as error:
            if error.args[0] == _engine.UNKNOWN:
                raise ValueError(
                    f"{text_name} has {name}={value!r}, which is not one of the known values of {name}. Give one of "
                    "the values that `pocketrnn inspect` lists."
                ) from None
            if error.args[0] != _engine.NOT_FINITE:
                raise
        raise ValueError(f"{text_name} has {name}={value!r}, which is not a finite float32. Give a finite number.")

    def tag(self, text: str | list[str]) -> list[Tag]:
        """Label each token of one text, with a packed tagger.

        Args:
            text: any string, or the list of its tokens.

        Raises:
            EngineError: the classifier labels whole texts; the position of a token in the text cannot be found; the
                text has fewer or more tokens than the classifier takes, or would take too much memory or time.

        Example:
            >>> [(tag.token, tag.label) for tag in Classifier.load("people.prnn").tag("Ada lives in Berlin")]
            [('Ada', 'B-PER'), ('lives', 'O'), ('in', 'O'), ('Berlin', 'B-LOC')]
        """
        found = self._packed.tag(text)
        return [
            Tag(
                text[start] if isinstance(text, list) else text[start:end],
                None if label is None else self.labels[label],
                probability or 0.0,
                start,
                end,
            )
            for start, end, label, probability in found
        ]

    def stream(self, saved: bytes | None = None) -> Stream:
        """Open a stream: a text that arrives in fragments, with an answer after each fragment.

        Args:
            saved: the bytes that `Stream.save` returned, to continue that stream; None to begin a text.

        Raises:
            EngineError: the file was packed from a bundle without streams; or `saved` is damaged, or comes from another
                file.

        Example:
            >>> stream = Classifier.load("one-way.prnn").stream()    # of a bundle exported with --streaming
            >>> stream.push("Wall St. ").label
            'Business'
        """
        return Stream(self, saved)

    def _check_top(self, top: int) -> None:
        """Raise a ValueError unless `top` is from 1 to the number of labels, with several heads of the largest head."""
        most = max(len(part.labels) for part in (*self._parts.values(),) or (self._own,))
        if not 1 <= top <= most:
            raise ValueError(f"top is {top}. Give a whole number from 1 to {most}, the number of labels.")

    def _make_predictions(self, logits: list[float], top: int) -> Any:
        """Make the prediction for one text from its logits, with the `top` likeliest labels; with several heads, a dict
        from each head's name to its prediction."""
        probabilities = self._packed.probabilities(logits)
        if not self._parts:
            return self._own.make_prediction(logits, probabilities, top)
        return {name: part.make_prediction(logits, probabilities, top) for name, part in self._parts.items()}

    def predict(self, texts: Iterable[Given]) -> list[str]:
        """Return the likeliest label of every text. With several heads, return a dict from each head's name to its
        likeliest label for every text.

        Raises:
            EngineError: a text is refused, for a reason that `classify` lists. The message names its position.
            TypeError: `texts` is one string, or an item of it is not a text.

        Example:
            >>> Classifier.load("news.prnn").predict(["Oil prices rise again", "Striker scores twice in cup final"])
            ['Business', 'Sports']
        """
        rows: list[Any] = self._compute_probabilities(texts)
        if not self._parts:
            return [self._own.find_likeliest_label(row) for row in rows]
        return [{name: part.find_likeliest_label(row) for name, part in self._parts.items()} for row in rows]  # type: ignore[misc]

    @property
    def thresholds(self) -> tuple[float, ...] | None:
        """The threshold of each label, the probability from which `predict_labels` lists the label; None if the file
        has no thresholds.

        Example:
            >>> Classifier.load("news.prnn").thresholds is None
            True
        """
        return self._read_thresholds(self._head)

    def _read_thresholds(self, head: str | None) -> tuple[float, ...] | None:
        """Read the thresholds of the labels of `head`, or of a file without heads if `head` is None. Return None if
        there are no thresholds."""
        # Here and not above: few ask, and importing json takes as long as all else.
        import json

        document = json.loads(self._packed.document())
        if head is not None:
            document = next(one for one in document["heads"] if one["name"] == head)
        found = document.get("thresholds")
        return None if found is None else tuple(found)

    def predict_labels(self, texts: Iterable[Given], threshold: float | None = None) -> list[tuple[str, ...]]:
        """List for every text the labels whose probabilities reach their thresholds. If a text can have only one label,
        list the likeliest label if it reaches its threshold. If there are two labels and their thresholds add up to 1,
        such as 0.23 and 0.77, list the one that reaches its threshold.

        Args:
            texts: any strings.
            threshold: one probability, for all labels; None for the thresholds of the file, or 0.5 if the file has
                none.

        Raises:
            EngineError: a text is refused, for a reason that `classify` lists. The message names its position.
            TypeError: `texts` is one string, or an item of it is not a string.
            ValueError: `threshold` is not from 0 to 1.

        Example:
            >>> Classifier.load("news.prnn").predict_labels(["Oil prices rise again"], 0.4)
            [('Business',)]
        """
        if threshold is not None and not 0 <= threshold <= 1:
            raise ValueError(f"threshold is {threshold}, which is not a probability. Give a number from 0 to 1.")

        def choose_thresholds(part: _Labels, head: str | None) -> tuple[float, ...]:
            kept = self._read_thresholds(head) if threshold is None else None
            return kept or (0.5 if threshold is None else threshold,) * len(part.labels)

        rows = self._compute_probabilities(texts)
        if not self._parts:
            least = choose_thresholds(self._own, self._head)
            return [self._own.select_reached_labels(row, least) for row in rows]
        each = {name: choose_thresholds(part, name) for name, part in self._parts.items()}
        found: Any = [
            {name: part.select_reached_labels(row, each[name]) for name, part in self._parts.items()} for row in rows
        ]
        return found  # type: ignore[no-any-return]

    def predict_proba(self, texts: Iterable[Given]) -> list[list[float]]:
        """Return the probability of every label for every text, as one list for each text. With several heads, return a
        dict from each head's name to such lists.

        Raises:
            EngineError: a text is refused, for a reason that `classify` lists. The message names its position.
            TypeError: `texts` is one string, or an item of it is not a string.

        Example:
            >>> len(Classifier.load("news.prnn").predict_proba(["Oil prices rise again"])[0])
            4
        """
        rows = self._compute_probabilities(texts)
        if not self._parts:
            return [row[self._own.columns] for row in rows]
        found: Any = {name: [row[part.columns] for row in rows] for name, part in self._parts.items()}
        return found  # type: ignore[no-any-return]

    def _compute_probabilities(self, texts: Iterable[Given]) -> list[list[float]]:
        """Compute for every text the probabilities of all labels of the file, in the order of the file. With several
        heads, the row of a text holds the labels of all heads."""
        if isinstance(texts, str):
            raise TypeError("The texts are one string. Give a list of texts, or use classify for one text.")
        given: list[Any] = list(texts)
        classes, rows = len(self._packed.labels()), list[list[float]]()
        if not self._takes_single_texts:
            for i, one in enumerate(given):
                text_name = f"The text at position {i} (counted from 0)"
                try:
                    rows.append(self._packed.probabilities(self._compute_logits(one, text_name)))
                except EngineError as error:
                    raise EngineError(error.args[0], f"{text_name} is refused: {error.args[1]}") from None
            return rows
        for start in range(0, len(given), _TEXTS_AT_ONCE):
            some = given[start : start + _TEXTS_AT_ONCE]
            logits = array.array("f", bytes(4 * classes * len(some)))
            statuses = bytearray(len(some))
            self._packed.logits_of_texts(some, logits, statuses)
            for i, status in enumerate(statuses):
                if status:
                    sentence = _engine.sentence(status)
                    raise EngineError(
                        status, f"The text at position {start + i} (counted from 0) is refused: {sentence}"
                    )
                rows.append(self._packed.probabilities(list(logits[i * classes : (i + 1) * classes])))
        return rows

    def __repr__(self) -> str:
        return f"<Classifier: {len(self.labels)} labels>"


class Stream:
    """A stream of a text that arrives in fragments, with an answer after each fragment. Make one with
    `Classifier.stream`. A stream may be used by one thread at a time."""

    def __init__(self, classifier: Classifier, saved: bytes | None = None) -> None:
        self._classifier = classifier
        packed = classifier._packed
        self._stream = _engine.Stream(packed) if saved is None else _engine.Stream(packed, saved)

    def push(self, fragment: str | bytes, top: int = 1) -> Prediction:
        """Read the next fragment of the text, and answer for the whole text so far.

        Args:
            fragment: any string, cut anywhere; or UTF-8, which may be cut inside of a character.
            top: how many labels to give, from 1 to the number of labels.

        Raises:
            EngineError: the text so far has more tokens than the classifier takes, or would take too much memory or
                time; the logits are not finite; or bytes are not UTF-8. After an error, the stream is as it was before
                the call.
            ValueError: `top` is out of its range.

        Example:
            >>> stream = Classifier.load("one-way.prnn").stream()
            >>> stream.push("Oil pri").label, stream.push("ces rise").label
            ('World', 'Business')
        """
        self._classifier._check_top(top)
        answer: Prediction = self._classifier._make_predictions(self._stream.push(fragment), top)
        return answer

    def logits(self, fragment: str | bytes) -> list[float]:
        """Read the next fragment of the text, and return the logits of the whole text so far.

        Raises:
            EngineError: the fragment is refused, for a reason that `push` lists. After an error, the stream is as it
                was before.

        Example:
            >>> len(Classifier.load("one-way.prnn").stream().logits("Oil prices"))
            4
        """
        return self._stream.push(fragment)

    def save(self) -> bytes:
        """Save the stream as some kilobytes. `Classifier.stream(saved)` continues it elsewhere with the same file.

        The saved stream includes the unfinished last word of the text.

        Example:
            >>> saved = stream.save()
            >>> stream = Classifier.load("one-way.prnn").stream(saved)
        """
        return self._stream.save()

    def reset(self) -> None:
        """Forget the text, so that the next fragment begins another text.

        Example:
            >>> stream.reset()
        """
        self._stream.reset()
