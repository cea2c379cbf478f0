"""A text that is still arriving, answered for after each piece at the cost of the new tokens only.

What a text means must not hang on where it was cut into pieces: after each piece the answer is that for all the text so
far. So a token is read for good only when nothing that may follow can change it; what is left is the text's tail, which
is read on a copy of the state for the answer, and waits there for its end. Two things make a token wait:

- lower-casing: a capital sigma becomes one letter at a word's end and another within it, and what comes next decides;
- the tokenizer: the word may go on, and `<br />` may be cut in its middle, which holds a space.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from pocketrnn.errors import InputError, TextError
from pocketrnn.text import TOKENIZERS, TextRules

if TYPE_CHECKING:
    from pocketrnn.classifier import Classifier, Prediction

__all__ = ["Arriving", "Stream", "read_on"]

Floats = NDArray[np.float32]

_FORMAT: Final = "pocketrnn-stream"
_VERSION: Final = 1
_SIGMA: Final = "\N{GREEK CAPITAL LETTER SIGMA}"
_FINAL_SIGMA: Final = "\N{GREEK SMALL LETTER FINAL SIGMA}"
# What basic_english puts spaces around or turns into one, so that a word ends there whatever follows.
_ENDS_A_WORD: Final = frozenset("'.,()!?;:")
_MAKE_AGAIN: Final = "Begin the stream again from its text."


@dataclass(frozen=True)
class Arriving:
    """Where in a text the reading stands.

    Attributes:
        tokens: how many tokens were read for good; `max_tokens` counts these.
        ids: how many ids they became: fewer, where unknown words are dropped.
        context: "a" if a capital sigma that came next would stand after a cased letter, else "".
        undecided: text that is not lower-cased yet: a capital sigma, and what may follow it within a word.
        tail: text that is lower-cased, where the rules say so, and not read for good yet.
    """

    tokens: int = 0
    ids: int = 0
    context: str = ""
    undecided: str = ""
    tail: str = ""


def read_on(at: Arriving, piece: str, rules: TextRules) -> tuple[Arriving, list[str], list[str]]:
    """Read a further piece of a text.

    Args:
        at: where the reading stands.
        piece: what has arrived; may be empty, and may begin and end anywhere.
        rules: the text rules, without n-grams.

    Returns:
        where the reading stands now, its `ids` not yet counted; the tokens that are read for good from now on; and
        those of the tail, as they are if the text ends here.
    """
    if rules.max_tokens is not None and at.tokens >= rules.max_tokens:
        return replace(at, context="", undecided="", tail=""), [], []
    context, undecided, lowered, provisional = at.context, at.undecided, piece, ""
    if rules.lowercase:
        context, undecided, lowered, provisional = _lowered(at, piece)
    text = at.tail + lowered
    place = _LAST_CUT[rules.tokenizer](text)
    # Lower-casing what is lower-cased changes nothing but a capital sigma's kin, of which none is left.
    tokenize = TOKENIZERS[rules.tokenizer]
    settled, open_ = tokenize(text[:place]), tokenize(text[place:] + provisional)
    if rules.max_tokens is not None:
        settled = settled[: rules.max_tokens - at.tokens]
        open_ = open_[: rules.max_tokens - at.tokens - len(settled)]
    return (
        replace(at, tokens=at.tokens + len(settled), context=context, undecided=undecided, tail=text[place:]),
        settled,
        open_,
    )


def _lowered(at: Arriving, piece: str) -> tuple[str, str, str, str]:
    """Lower-case what can be: the new context and undecided text, what is lower-cased for good, and the rest as it is
    lower-cased if the text ends here.

    Python's own lower-casing decides everything, with the context's one letter in front; nothing here knows Unicode.
    """
    text = at.undecided + piece
    place = text.rfind(_SIGMA)
    if place < 0 or not _is_ignorable(text[place + 1 :]):
        place = len(text)
    whole = (at.context + text).lower()
    # U+0130 becomes two letters, but is never undecided: a sigma and case-ignorable characters become one each.
    end = len(whole) - (len(text) - place)
    before = at.context + text[:place]
    context = "a" if f"{before}{_SIGMA}".lower()[-1] == _FINAL_SIGMA else ""
    return context, text[place:], whole[len(at.context) : end], whole[end:]


def _is_ignorable(text: str) -> bool:
    """Whether a sigma's form does not hang on `text`, which stands beside it: all of it is case-ignorable."""
    return (f"a{text}{_SIGMA}".lower()[-1], f"1{text}{_SIGMA}".lower()[-1]) == (_FINAL_SIGMA, _SIGMA.lower())


def _after_white_space(text: str) -> int:
    end = len(text)
    while end and not text[end - 1].isspace():
        end -= 1
    return end


def _after_word(text: str) -> int:
    """Where the last word of lower-cased text begins that may go on, by basic_english."""
    end = len(text)
    while end:
        last = text[end - 1]
        if last in _ENDS_A_WORD or (last.isspace() and not (last == " " and _ends_in_break(text, end - 1))):
            break
        end -= 1
    return end


def _ends_in_break(text: str, end: int) -> bool:
    """Whether `text` up to `end` ends in "<br", which a space and "/>" would make one; quotes are taken out before."""
    for wanted in "rb<":
        while end and text[end - 1] == '"':
            end -= 1
        if not end or text[end - 1] != wanted:
            return False
        end -= 1
    return True


# Up to where lower-cased text means the same whatever follows.
_LAST_CUT: Final[dict[str, Callable[[str], int]]] = {
    "basic_english": _after_word,
    "whitespace": _after_white_space,
    "characters": len,
}


class Stream:
    """A text that arrives in pieces. Make one with `Classifier.stream`; for one thread at a time.

    Each `push` costs what its own tokens cost, however long the text has become, and is answered as
    `Classifier.classify` answers all the text so far, to the last digits.
    """

    def __init__(self, classifier: Classifier, saved: bytes | None = None) -> None:
        self._classifier = classifier
        self._step = classifier.step
        self._rules = classifier.manifest.text
        self._at = Arriving()
        self._state: Floats = np.zeros((1, classifier.state_size), np.float32)
        # The answer to what was read for good; None before the first id.
        self._logits: Floats | None = None
        if saved is not None:
            self._resume(saved)

    def push(self, piece: str, top: int = 1) -> Prediction:
        """Read a further piece of the text and answer for all of it so far.

        Args:
            piece: any string, cut anywhere.
            top: how many labels to give, from 1 to the number of labels.

        Raises:
            TextError: `piece` is not a string. Like every error, it leaves the stream as it was.
            InputError: `top` is out of its range.
        """
        return self._classifier.prediction(self.logits(piece).tolist(), top)

    def logits(self, piece: str) -> Floats:
        """Read a further piece of the text: the logits of all of it so far, float32 [labels].

        Raises:
            TextError: `piece` is not a string.
        """
        if not isinstance(piece, str):
            raise TextError(f"A piece of text must be a string, not {type(piece).__name__}.", "Decode bytes first.")
        at, settled, open_ = read_on(self._at, piece, self._rules)
        state, logits = self._state, self._logits
        if ids := self._classifier.look_up(settled):
            logits, state = self._step(ids, state)
            at = replace(at, ids=at.ids + len(ids))
        if open_ids := self._classifier.look_up(open_):
            answer, _ = self._step(open_ids, state)
        elif logits is None:
            answer, _ = self._step([self._rules.empty_id], state)
        else:
            answer = logits
        self._at, self._state, self._logits = at, state, logits
        return answer[0].copy()  # type: ignore[no-any-return]

    def save(self) -> bytes:
        """All that is needed to go on elsewhere, with `Classifier.stream(saved)` of the same bundle: JSON, some
        kilobytes. It holds the text's unfinished last word."""
        document = {
            "format": _FORMAT,
            "version": _VERSION,
            "bundle": self._classifier.stream_digest,
            "at": asdict(self._at),
            "state": _as_text(self._state),
            "logits": None if self._logits is None else _as_text(self._logits),
        }
        return _json({**document, "digest": _digest_of(document)})

    def _resume(self, saved: bytes) -> None:
        document = _parsed(saved)
        if document["bundle"] != self._classifier.stream_digest:
            raise InputError(
                f"The stream was saved by another bundle than {self._classifier.name}.",
                "Resume it with the bundle that it was begun with, byte for byte.",
            )
        at = document["at"]
        if not _is_place(at, self._rules):
            raise _damaged("says where it stands in a way that cannot be")
        self._at = Arriving(**at)
        self._state = _as_floats(document["state"], self._classifier.state_size)
        if (document["logits"] is None) != (self._at.ids == 0):
            raise _damaged("has no answer to what it has read, or one to nothing")
        if document["logits"] is not None:
            self._logits = _as_floats(document["logits"], len(self._classifier.labels))


def _parsed(saved: bytes) -> dict[str, Any]:
    if not isinstance(saved, bytes):
        raise InputError(f"A saved stream is bytes, not {type(saved).__name__}.", "Give what Stream.save gave.")
    try:
        document = json.loads(saved)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        raise InputError("This is not a saved stream.", "Give what Stream.save gave.")
    if document.get("version") != _VERSION:
        raise InputError(
            f"The stream was saved in version {document.get('version')!r:.40}; this pocketrnn reads {_VERSION}.",
            "Resume it with the pocketrnn that saved it.",
        )
    digest = document.pop("digest", None)
    if document.keys() != {"format", "version", "bundle", "at", "state", "logits"} or digest != _digest_of(document):
        raise _damaged("was changed after it was saved: its digest does not match")
    return document


def _is_place(at: Any, rules: TextRules) -> bool:
    if not isinstance(at, dict) or at.keys() != asdict(Arriving()).keys():
        return False
    counts, texts = [at["tokens"], at["ids"]], [at["undecided"], at["tail"]]
    return (
        all(type(count) is int and count >= 0 for count in counts)
        and at["ids"] <= at["tokens"] <= (rules.max_tokens or at["tokens"])
        and all(isinstance(text, str) for text in texts)
        and at["context"] in ("", "a")
    )


def _as_text(numbers: Floats) -> str:
    return base64.b64encode(numbers.astype("<f4").tobytes()).decode("ascii")


def _as_floats(text: Any, size: int) -> Floats:
    """float32 [1, size]."""
    try:
        content = base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error):
        content = b""
    if len(content) != 4 * size:
        raise _damaged("holds a state of another size")
    numbers: Floats = np.frombuffer(content, "<f4").astype(np.float32).reshape(1, size)
    if not np.isfinite(numbers).all():
        raise _damaged("holds a state that is no number")
    return numbers


def _digest_of(document: dict[str, Any]) -> str:
    return hashlib.sha256(_json(document)).hexdigest()


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode("ascii")


def _damaged(what: str) -> InputError:
    return InputError(f"The saved stream {what}.", _MAKE_AGAIN)
