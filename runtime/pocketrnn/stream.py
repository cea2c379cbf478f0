"""A text that is still arriving, answered for after each fragment at the cost of the new tokens only.

The answer after each fragment is that for all the text so far, wherever the text was cut into fragments. So a token is
read for good only when nothing that may follow can change it. The other tokens are the text's tail, which is read on a
copy of the state for the answer, and waits there for its end. Two things make a token wait:

- lower-casing: a capital sigma becomes one letter at a word's end and another within it, and what comes next decides;
- the tokenizer: the word may go on, and `<br />` may be cut in its middle, which holds a space.

By rules of subwords, what waits is the text as it arrived, from the last space on before which nothing can change
(`text/subword_cuts.py`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np

from pocketrnn.answers import Answers, Prediction
from pocketrnn.bundle.manifest import Manifest
from pocketrnn.bundle.refused_texts import limit_error, with_text_named
from pocketrnn.chosen_labels import ChosenLabels
from pocketrnn.engines.engine import Engine, Floats
from pocketrnn.errors import InputError, LimitError, TextError
from pocketrnn.saved_stream import damaged, resumed, written
from pocketrnn.text import TOKENIZERS, AnyTextRules, TextEncoder, TextRules

if TYPE_CHECKING:
    from pocketrnn.text import SubwordRules
    from pocketrnn.text.subwords import SubwordIds

__all__ = ["Arriving", "Stream", "read_on"]

_SIGMA: Final = "\N{GREEK CAPITAL LETTER SIGMA}"
_FINAL_SIGMA: Final = "\N{GREEK SMALL LETTER FINAL SIGMA}"
# basic_english puts spaces around these characters or turns them into one: a word ends there, whatever follows.
_ENDS_A_WORD: Final = frozenset("'.,()!?;:")
_BREAK: Final = "<br />"
# Unicode has texts in which nothing decides a sigma's form, such as one followed by full stops.
_MOST_UNDECIDED: Final = 4096
# Where the reading stands, the ids that are read for good, and those of the tail.
_Read = tuple["Arriving", list[int], list[int]]


@dataclass(frozen=True)
class Arriving:
    """Where in a text the reading stands.

    Attributes:
        tokens: how many tokens were read for good; `max_tokens` counts these.
        ids: how many ids they became: fewer, where unknown words are dropped.
        context: "a" if a capital sigma that came next would stand after a cased letter, else ""; by rules of subwords,
            "a" if something was read for good.
        undecided: text that is not lower-cased yet: a capital sigma, and what may follow it within a word.
        tail: text that is lower-cased, where the rules say so, and not read for good yet; by rules of subwords, as it
            arrived.
    """

    tokens: int = 0
    ids: int = 0
    context: str = ""
    undecided: str = ""
    tail: str = ""


def read_on(
    at: Arriving, fragment: str, rules: TextRules, longest: int = sys.maxsize
) -> tuple[Arriving, list[str], list[str]]:
    """Read a further fragment of a text.

    Args:
        at: where the reading stands.
        fragment: what has arrived; may be empty, and may begin and end anywhere.
        rules: the text rules, without n-grams.
        longest: how many characters the longest token of the vocabulary has.

    Returns:
        where the reading stands now, its `ids` not yet counted; the tokens that are read for good from now on; and
        those of the tail, as they are if the text ends here.

    Raises:
        InputError: more than 4,096 characters wait for what decides the form of a capital sigma.
    """
    if rules.max_tokens is not None and at.tokens >= rules.max_tokens:
        return replace(at, context="", undecided="", tail=""), [], []
    context, undecided, lowered, provisional = at.context, at.undecided, fragment, ""
    if rules.lowercase:
        context, undecided, lowered, provisional = _lowered(at, fragment)
        if len(undecided) > _MOST_UNDECIDED:
            raise InputError(
                f"A capital sigma is followed by more than {_MOST_UNDECIDED:,} characters that do not decide its form.",
                "Classify such a text as a whole.",
            )
    text = at.tail + lowered
    if rules.tokenizer == "basic_english":
        # It drops them before it looks for anything but an apostrophe.
        text = text.replace('"', "")
    cut = _LAST_CUT[rules.tokenizer](text)
    # Lower-casing what is lower-cased changes nothing but a capital sigma's kin, of which none is left.
    tokenize = TOKENIZERS[rules.tokenizer]
    settled, open_ = tokenize(text[:cut]), tokenize(text[cut:] + provisional)
    if rules.max_tokens is not None:
        settled = settled[: rules.max_tokens - at.tokens]
        open_ = open_[: rules.max_tokens - at.tokens - len(settled)]
    return (
        replace(
            at,
            tokens=at.tokens + len(settled),
            context=context,
            undecided=undecided,
            tail=_shortened(text[cut:], longest),
        ),
        settled,
        open_,
    )


def _lowered(at: Arriving, fragment: str) -> tuple[str, str, str, str]:
    """Lower-case what can be: the new context and undecided text, what is lower-cased for good, and the rest as it is
    lower-cased if the text ends here.

    Python's own lower-casing decides everything, with the context's one letter in front; nothing here knows Unicode.
    """
    text = at.undecided + fragment
    sigma = text.rfind(_SIGMA)
    if sigma < 0 or not _is_ignorable(text[sigma + 1 :]):
        sigma = len(text)
    whole = (at.context + text).lower()
    # U+0130 becomes two letters, but is never undecided: a sigma and case-ignorable characters become one each.
    end = len(whole) - (len(text) - sigma)
    before = at.context + text[:sigma]
    context = "a" if f"{before}{_SIGMA}".lower()[-1] == _FINAL_SIGMA else ""
    return context, text[sigma:], whole[len(at.context) : end], whole[end:]


def _is_ignorable(text: str) -> bool:
    """Whether a sigma's form does not depend on `text`, which stands beside it: all of it is case-ignorable."""
    return (f"a{text}{_SIGMA}".lower()[-1], f"1{text}{_SIGMA}".lower()[-1]) == (_FINAL_SIGMA, _SIGMA.lower())


def _after_white_space(text: str) -> int:
    """Where the last word of `text` begins, split at white space."""
    end = len(text)
    while end and not text[end - 1].isspace():
        end -= 1
    return end


def _after_word(text: str) -> int:
    """Where the last word of lower-cased text without quotation marks begins that may go on, by basic_english."""
    # An end that may still become "<br />" holds a space that may not be one.
    undecided = next((len(end) for end in (" /", " ") if text.endswith(f"<br{end}")), 0)
    end = len(text) - undecided
    while end:
        last = text[end - 1]
        if last in _ENDS_A_WORD or last.isspace() or (last == ">" and text.endswith(_BREAK, 0, end)):
            break
        end -= 1
    return end


# Up to where lower-cased text means the same whatever follows.
_LAST_CUT: Final[dict[str, Callable[[str], int]]] = {
    "basic_english": _after_word,
    "whitespace": _after_white_space,
    "characters": len,
}


def _shortened(tail: str, longest: int) -> str:
    """A word that is not over yet, of few characters: one longer than every token is unknown, whatever follows.

    So a push costs as much after a million characters without white space as after ten. The last characters stay, since
    they may be the begin of "<br />".
    """
    kept = longest + 1
    return tail if len(tail) <= kept + len(_BREAK) else tail[:kept] + tail[1 - len(_BREAK) :]


class Stream:
    """A text that arrives in fragments. Make one with `Classifier.stream`; for one thread at a time.

    Each `push` costs what its own tokens cost, however long the text has become, and is answered as
    `Classifier.classify` answers all the text so far, to the last digits.
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
        # Opened now, so that what is wrong with the step graph is said before any text is read.
        engine.open_step()
        self._manifest, self._encoder, self._engine, self._answers = manifest, encoder, engine, answers
        self._chosen = chosen
        self._longest = max(map(len, manifest.text.vocabulary))
        rules = manifest.text.rules
        if isinstance(rules, TextRules):
            self._read_on: Callable[[Arriving, str], _Read] = self._words_read_on
        else:
            from pocketrnn.text.subword_cuts import SubwordCuts

            self._cuts = SubwordCuts(rules, manifest.text.vocabulary, cast("SubwordIds", encoder.pieces))
            self._read_on = self._pieces_read_on
        self._at = Arriving()
        self._state: Floats = np.zeros((1, 0 if manifest.stream is None else manifest.stream.state_size), np.float32)
        # The answer to what was read for good; None before the first id.
        self._logits: Floats | None = None
        if saved is not None:
            self._resume(saved)

    def push(self, fragment: str, top: int = 1) -> Prediction:
        """Read a further fragment of the text and answer for all of it so far.

        Args:
            fragment: any string, cut anywhere.
            top: how many labels to give, from 1 to the number of labels.

        Raises:
            TextError: `fragment` is not a string. Like every error, it leaves the stream as it was.
            LimitError: the text so far has more tokens than the graph takes.
            InputError: `top` is out of its range; or more than 4,096 characters wait for what decides the form of a
                capital sigma.

        Example:
            >>> stream = Classifier.load("one-way").stream()    # a bundle exported with --streaming
            >>> stream.push("Oil pri").label, stream.push("ces rise").label
            ('World', 'Business')
        """
        self._answers.check_top(top)
        return self._answers.prediction(self.logits(fragment).tolist(), top)

    def logits(self, fragment: str) -> Floats:
        """Read a further fragment of the text: the logits of all of it so far, float32 [labels].

        Raises:
            TextError: `fragment` is not a string.
            LimitError: the text so far has more tokens than the graph takes.

        Example:
            >>> Classifier.load("one-way").stream().logits("Oil prices").shape
            (4,)
        """
        if not isinstance(fragment, str):
            raise TextError(
                f"A fragment of text must be a string, not {type(fragment).__name__}.", "Decode bytes first."
            )
        at, ids, open_ids = self._read_on(self._at, fragment)
        state, logits = self._state, self._logits
        limits, tokens = self._manifest.graph.limits, max(1, at.ids + len(ids) + len(open_ids))
        if limits is not None and not limits.allow(tokens):
            raise with_text_named(limit_error(self._manifest.name, limits, tokens), "The text so far")
        try:
            if ids:
                logits, state = self._engine.step(ids, state)
                at = replace(at, ids=at.ids + len(ids))
            if open_ids:
                answer, _ = self._engine.step(open_ids, state)
            elif logits is None:
                answer, _ = self._engine.step([self._manifest.text.rules.empty_id], state)
            else:
                answer = logits
        except LimitError as error:
            raise with_text_named(error, "The text so far") from None
        self._at, self._state, self._logits = at, state, logits
        return (answer.copy() if self._chosen is None else self._chosen.of_rows(answer))[0]  # type: ignore[no-any-return]

    def _words_read_on(self, at: Arriving, fragment: str) -> _Read:
        at, settled, open_ = read_on(at, fragment, cast("TextRules", self._manifest.text.rules), self._longest)
        return at, self._encoder.look_up(settled), self._encoder.look_up(open_)

    def _pieces_read_on(self, at: Arriving, fragment: str) -> _Read:
        """The ids that are read for good from now on, those of the text's begin among them, and those of the tail, as
        they are if the text ends here, with those of its end."""
        rules = cast("SubwordRules", self._manifest.text.rules)
        pieces = cast("SubwordIds", self._encoder.pieces)
        most = sys.maxsize if rules.max_tokens is None else rules.max_tokens - at.tokens
        if most <= 0:
            return replace(at, tail=""), [], [*rules.last_ids]
        text, goes_on = at.tail + fragment, bool(at.context)
        cut = self._cuts.last(text)
        settled = pieces.encode(text[:cut], goes_on=goes_on)[:most] if cut else []
        open_ = pieces.encode(text[cut:], goes_on=goes_on or cut > 0)[: most - len(settled)]
        context = "a" if goes_on or cut else ""
        first = [*rules.first_ids] if not at.ids else []
        at = replace(at, tokens=at.tokens + len(settled), context=context, tail=text[cut:])
        if settled:
            return at, [*first, *settled], [*open_, *rules.last_ids]
        return at, [], [*first, *open_, *rules.last_ids]

    def save(self) -> bytes:
        """All that is needed to go on elsewhere, with `Classifier.stream(saved)` of the same bundle: JSON, some
        kilobytes. It holds the text's unfinished last word.

        Example:
            >>> saved = stream.save()
            >>> stream = Classifier.load("one-way").stream(saved)
        """
        return written(self._manifest, {"at": asdict(self._at)}, self._state, self._logits)

    def _resume(self, saved: bytes) -> None:
        at, self._state, self._logits = resumed(saved, self._manifest, "at")
        if not _is_position(at, self._manifest.text.rules):
            raise damaged("says where it stands in a way that cannot be")
        self._at = Arriving(**at)
        if (self._logits is None) != (self._at.ids == 0):
            raise damaged("has no answer to what it has read, or one to nothing")


def _is_position(at: Any, rules: AnyTextRules) -> bool:
    if not isinstance(at, dict) or at.keys() != asdict(Arriving()).keys():
        return False
    counts, texts = [at["tokens"], at["ids"]], [at["undecided"], at["tail"]]
    return (
        all(type(count) is int and count >= 0 for count in counts)
        and at["ids"] <= at["tokens"] + len(rules.first_ids)
        and at["tokens"] <= (rules.max_tokens or at["tokens"])
        and all(isinstance(text, str) for text in texts)
        and at["context"] in ("", "a")
    )
