"""Answer a text while it arrives. Each fragment costs only its new tokens.

The answer after each fragment is the answer for all the text so far, wherever it was cut into fragments. A token is
therefore final only when nothing that follows can change it. The other tokens are the text's tail: they are read from a
copy of the state for the answer, and wait until they are final. Two things make a token wait:

- lower-casing: a capital sigma becomes one letter at a word's end and another within it, and what comes next decides;
- the tokenizer: the word may go on, and `<br />` may be cut in its middle, which holds a space.

With subword rules, the tail is the text as it arrived, from the last space before which nothing can change
(`text/subword_stream_cuts.py`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import numpy as np

from pocketrnn.bundle.manifest import Manifest
from pocketrnn.bundle.texts_beyond_limits import add_text_name_to_error, make_limit_error
from pocketrnn.engines.engine import Engine, Floats
from pocketrnn.errors import InputError, LimitError, TextError
from pocketrnn.label_subset_and_prior import ChosenLabels
from pocketrnn.predictions_from_logits import Answers, Prediction
from pocketrnn.saved_stream import decode_stream, encode_stream, make_damaged_stream_error
from pocketrnn.text import TOKENIZERS, AnyTextRules, TextEncoder, TextRules

if TYPE_CHECKING:
    from pocketrnn.text import SubwordRules
    from pocketrnn.text.subword_encoder import SubwordEncoder

__all__ = ["Stream", "StreamPosition", "read_fragment"]

_SIGMA: Final = "\N{GREEK CAPITAL LETTER SIGMA}"
_FINAL_SIGMA: Final = "\N{GREEK SMALL LETTER FINAL SIGMA}"
# basic_english puts spaces around these characters or replaces them by one: a word ends there, whatever follows.
_ENDS_A_WORD: Final = frozenset("'.,()!?;:")
_BREAK: Final = "<br />"
# In some texts nothing decides a sigma's form for long, such as in one followed by full stops.
_MOST_UNDECIDED: Final = 4096
# The new position; the tokens or ids that are final; and those of the tail as if the text ended here.
_PositionFinalAndOpenTokens = tuple["StreamPosition", list[str], list[str]]
_PositionFinalAndOpenIds = tuple["StreamPosition", list[int], list[int]]


@dataclass(frozen=True)
class StreamPosition:
    """How far a stream has read its text.

    A token is final if no later text can change it.

    Attributes:
        tokens: how many tokens are final; `max_tokens` of the rules limits this number.
        ids: how many ids these tokens became: fewer, if unknown words are dropped.
        context: "a" if a capital sigma at this position would follow a cased letter, else ""; with subword rules, "a"
            if any token is final.
        undecided: text that cannot be lower-cased yet: a capital sigma, and the characters after it that may belong to
            its word.
        tail: text after the final tokens and before `undecided`. It is in lower case if the rules ask for this; with
            subword rules, it is as it arrived.
    """

    tokens: int = 0
    ids: int = 0
    context: str = ""
    undecided: str = ""
    tail: str = ""


def read_fragment(
    position: StreamPosition, fragment: str, rules: TextRules, longest_token_length: int = sys.maxsize
) -> _PositionFinalAndOpenTokens:
    """Read the next fragment of a text with word rules. Return the tokens that are now final, and the tokens of the
    rest, as if the text ended here.

    Args:
        position: how far the stream has read.
        fragment: the new text, which may be empty, and may begin and end anywhere.
        rules: the text rules, without n-grams.
        longest_token_length: the length of the vocabulary's longest token in characters.

    Returns:
        the new position, whose `ids` are not updated; the tokens that are now final; and the tokens of the rest.

    Raises:
        InputError: more than 4,096 characters after a capital sigma do not show whether its word ends.
    """
    if rules.max_tokens is not None and position.tokens >= rules.max_tokens:
        return replace(position, context="", undecided="", tail=""), [], []
    context, undecided, lowered, provisional = position.context, position.undecided, fragment, ""
    if rules.lowercase:
        context, undecided, lowered, provisional = _lower_and_split_fragment(position, fragment)
        if len(undecided) > _MOST_UNDECIDED:
            raise InputError(
                "A capital sigma (\u03a3) in the stream cannot be lower-cased: the next "
                f"{_MOST_UNDECIDED:,} characters do not show whether it ends its word.",
                "Classify such a text as a whole, without a stream.",
            )
    text = position.tail + lowered
    if rules.tokenizer == "basic_english":
        # basic_english applies its rule for apostrophes, then drops quotation marks, and then applies all other rules.
        text = text.replace('"', "")
    cut = _LAST_CUT[rules.tokenizer](text)
    # Lower-casing lower-cased text again changes nothing, since no capital sigma is left.
    tokenize = TOKENIZERS[rules.tokenizer]
    settled, open_ = tokenize(text[:cut]), tokenize(text[cut:] + provisional)
    if rules.max_tokens is not None:
        settled = settled[: rules.max_tokens - position.tokens]
        open_ = open_[: rules.max_tokens - position.tokens - len(settled)]
    return (
        replace(
            position,
            tokens=position.tokens + len(settled),
            context=context,
            undecided=undecided,
            tail=_shorten_unfinished_word(text[cut:], longest_token_length),
        ),
        settled,
        open_,
    )


class _LoweredFragment(NamedTuple):
    """A fragment in lower case. Its end is kept apart if later text may change how the end is lower-cased.

    Attributes:
        context: the new `StreamPosition.context`.
        undecided: the end as it arrived; empty if the end is decided.
        lowered: the text before the end, in lower case.
        provisional: the end in lower case, as if the text ended here.
    """

    context: str
    undecided: str
    lowered: str
    provisional: str


def _lower_and_split_fragment(position: StreamPosition, fragment: str) -> _LoweredFragment:
    """Lower-case a fragment, together with the undecided text before it. Keep the end from a capital sigma on apart, if
    later text can change how this sigma is lower-cased: a sigma has another form at the end of a word.

    Python's own lower-casing decides this, with the letter of the context in front of the text.
    """
    text = position.undecided + fragment
    sigma = text.rfind(_SIGMA)
    if sigma < 0 or not _is_case_ignorable(text[sigma + 1 :]):
        sigma = len(text)
    whole = (position.context + text).lower()
    # U+0130 becomes two letters, but is never undecided: a sigma and case-ignorable characters become one letter each.
    end = len(whole) - (len(text) - sigma)
    before = position.context + text[:sigma]
    context = "a" if f"{before}{_SIGMA}".lower()[-1] == _FINAL_SIGMA else ""
    return _LoweredFragment(context, text[sigma:], whole[len(position.context) : end], whole[end:])


def _is_case_ignorable(text: str) -> bool:
    """Return whether all characters of a text are "case-ignorable" in Unicode: they do not affect how a capital sigma
    before or after them is lower-cased."""
    return (f"a{text}{_SIGMA}".lower()[-1], f"1{text}{_SIGMA}".lower()[-1]) == (_FINAL_SIGMA, _SIGMA.lower())


def _find_start_of_last_word(text: str) -> int:
    """Return the index at which the last word of a text begins, where white space separates words; the length of the
    text if it ends with white space."""
    end = len(text)
    while end and not text[end - 1].isspace():
        end -= 1
    return end


def _find_start_of_last_basic_english_word(text: str) -> int:
    """Return the index at which the last word of a text begins, as the tokenizer `basic_english` splits words. Later
    text may continue this word.

    Args:
        text: text in lower case, without quotation marks.
    """
    # The space in an end that may still become "<br />" may not separate words.
    undecided = next((len(end) for end in (" /", " ") if text.endswith(f"<br{end}")), 0)
    end = len(text) - undecided
    while end:
        last = text[end - 1]
        if last in _ENDS_A_WORD or last.isspace() or (last == ">" and text.endswith(_BREAK, 0, end)):
            break
        end -= 1
    return end


# For each tokenizer, the index up to which the tokens of lower-cased text are final, whatever follows.
_LAST_CUT: Final[dict[str, Callable[[str], int]]] = {
    "basic_english": _find_start_of_last_basic_english_word,
    "whitespace": _find_start_of_last_word,
    "characters": len,
}


def _shorten_unfinished_word(tail: str, longest_token_length: int) -> str:
    """Shorten an unfinished word that is longer than every token of the vocabulary: it is unknown, whatever follows.

    So a push costs as much after a million characters without white space as after ten. The last characters are kept,
    since they may be the beginning of "<br />".
    """
    kept = longest_token_length + 1
    return tail if len(tail) <= kept + len(_BREAK) else tail[:kept] + tail[1 - len(_BREAK) :]


class Stream:
    """A stream of a text that arrives in fragments. Make one with `Classifier.stream`.

    A stream may be used by one thread at a time. The time of each `push` depends on its own tokens only, however long
    the text is. Its answer is that of `Classifier.classify` for all the text so far; only the last digits may differ.
    """

    def __init__(
        self,
        manifest: Manifest,
        encoder: TextEncoder,
        engine: Engine,
        answers: Answers,
        saved: bytes | None = None,
        chosen: ChosenLabels | None = None,
    ) -> None:
        # Opened now, so that a fault of the step graph is reported before the first text is read.
        engine.open_step()
        self._manifest, self._encoder, self._engine, self._answers = manifest, encoder, engine, answers
        self._chosen = chosen
        self._longest = max(map(len, manifest.text.vocabulary))
        rules = manifest.text.rules
        if isinstance(rules, TextRules):
            self._read_on: Callable[[StreamPosition, str], _PositionFinalAndOpenIds] = self._read_fragment_as_words
        else:
            from pocketrnn.text.subword_stream_cuts import SubwordCuts

            self._cuts = SubwordCuts(rules, manifest.text.vocabulary, cast("SubwordEncoder", encoder.subword_encoder))
            self._read_on = self._read_fragment_as_pieces
        self._position = StreamPosition()
        self._state: Floats = np.zeros((1, 0 if manifest.stream is None else manifest.stream.state_size), np.float32)
        # The answer for the final ids; None before the first of them.
        self._logits: Floats | None = None
        if saved is not None:
            self._resume(saved)

    def push(self, fragment: str, top: int = 1) -> Prediction:
        """Read the next fragment of the text, and answer for the whole text so far.

        Args:
            fragment: any string, cut anywhere.
            top: how many labels to give, from 1 to the number of labels.

        Raises:
            TextError: `fragment` is not a string.
            LimitError: the text so far has more tokens than the graph takes.
            InputError: `top` is out of its range; or more than 4,096 characters after a capital sigma do not show
                whether its word ends. After any error, the stream is as it was before.

        Example:
            >>> stream = Classifier.load("one-way").stream()    # a bundle exported with --streaming
            >>> stream.push("Oil pri").label, stream.push("ces rise").label
            ('World', 'Business')
        """
        self._answers.check_top(top)
        return self._answers.make_prediction(self.logits(fragment).tolist(), top)

    def logits(self, fragment: str) -> Floats:
        """Read the next fragment of the text, and return the logits of the whole text so far, float32 [labels].

        Raises:
            TextError: `fragment` is not a string.
            LimitError: the text so far has more tokens than the graph takes.
            InputError: more than 4,096 characters after a capital sigma do not show whether its word ends.

        Example:
            >>> Classifier.load("one-way").stream().logits("Oil prices").shape
            (4,)
        """
        if not isinstance(fragment, str):
            raise TextError(
                f"A fragment of text must be a string, but it has the type {type(fragment).__name__}.",
                "Give a str. Decode bytes first, for example with codecs.getincrementaldecoder('utf-8').",
            )
        position, ids, open_ids = self._read_on(self._position, fragment)
        state, logits = self._state, self._logits
        limits, tokens = self._manifest.graph.limits, max(1, position.ids + len(ids) + len(open_ids))
        if limits is not None and not limits.allows_length(tokens):
            raise add_text_name_to_error(make_limit_error(self._manifest.name, limits, tokens), "The text so far")
        try:
            if ids:
                logits, state = self._engine.step(ids, state)
                position = replace(position, ids=position.ids + len(ids))
            if open_ids:
                answer, _ = self._engine.step(open_ids, state)
            elif logits is None:
                answer, _ = self._engine.step([self._manifest.text.rules.empty_id], state)
            else:
                answer = logits
        except LimitError as error:
            raise add_text_name_to_error(error, "The text so far") from None
        self._position, self._state, self._logits = position, state, logits
        return (answer.copy() if self._chosen is None else self._chosen.select_and_weight_logits_of_rows(answer))[0]  # type: ignore[no-any-return]

    def _read_fragment_as_words(self, position: StreamPosition, fragment: str) -> _PositionFinalAndOpenIds:
        """Read a fragment with word rules. Return the new position, the ids that are now final, and the ids of the
        rest, as if the text ended here."""
        rules = cast("TextRules", self._manifest.text.rules)
        position, settled, open_ = read_fragment(position, fragment, rules, self._longest)
        return position, self._encoder.look_up(settled), self._encoder.look_up(open_)

    def _read_fragment_as_pieces(self, position: StreamPosition, fragment: str) -> _PositionFinalAndOpenIds:
        """Read a fragment with subword rules. Return the new position, the ids that are now final, and the ids of the
        rest, as if the text ended here.

        Ids that the rules add before a text are among the first final ids, and ids that they add after a text are
        always among the rest.
        """
        rules = cast("SubwordRules", self._manifest.text.rules)
        pieces = cast("SubwordEncoder", self._encoder.subword_encoder)
        most = sys.maxsize if rules.max_tokens is None else rules.max_tokens - position.tokens
        if most <= 0:
            return replace(position, tail=""), [], [*rules.last_ids]
        text, goes_on = position.tail + fragment, bool(position.context)
        cut = self._cuts.find_last_cut(text)
        settled = pieces.encode(text[:cut], continues_text=goes_on)[:most] if cut else []
        open_ = pieces.encode(text[cut:], continues_text=goes_on or cut > 0)[: most - len(settled)]
        context = "a" if goes_on or cut else ""
        first = [*rules.first_ids] if not position.ids else []
        position = replace(position, tokens=position.tokens + len(settled), context=context, tail=text[cut:])
        if settled:
            return position, [*first, *settled], [*open_, *rules.last_ids]
        return position, [], [*first, *open_, *rules.last_ids]

    def save(self) -> bytes:
        """Save the stream as some kilobytes of JSON. `Classifier.stream(saved)` continues it elsewhere with the same
        bundle.

        The saved stream includes the unfinished last word of the text.

        Example:
            >>> saved = stream.save()
            >>> stream = Classifier.load("one-way").stream(saved)
        """
        return encode_stream(self._manifest, "at", asdict(self._position), self._state, self._logits)

    def _resume(self, saved: bytes) -> None:
        """Continue from a saved stream. Raise an InputError if it is damaged or comes from another bundle."""
        members, self._state, self._logits = decode_stream(saved, self._manifest, "at")
        if not _is_valid_position(members, self._manifest.text.rules):
            raise make_damaged_stream_error("holds an impossible position")
        self._position = StreamPosition(**members)
        if (self._logits is None) != (self._position.ids == 0):
            raise make_damaged_stream_error("holds tokens without an answer, or an answer without tokens")


def _is_valid_position(members: Any, rules: AnyTextRules) -> bool:
    """Return whether the members of a saved position are those of a `StreamPosition`, and possible with the rules."""
    if not isinstance(members, dict) or members.keys() != asdict(StreamPosition()).keys():
        return False
    counts, texts = [members["tokens"], members["ids"]], [members["undecided"], members["tail"]]
    return (
        all(type(count) is int and count >= 0 for count in counts)
        and members["ids"] <= members["tokens"] + len(rules.first_ids)
        and members["tokens"] <= (rules.max_tokens or members["tokens"])
        and all(isinstance(text, str) for text in texts)
        and members["context"] in ("", "a")
    )
