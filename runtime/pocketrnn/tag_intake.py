"""Check users' texts, find the positions and ids of their tokens, and run the engine to label each token."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, NoReturn

import numpy as np

from pocketrnn.bundle.manifest import Manifest
from pocketrnn.bundle.output_kinds import TagOutput
from pocketrnn.bundle.texts_beyond_limits import SKIP_THEM, add_text_name_to_error, make_limit_error
from pocketrnn.engines.engine import Engine, Floats, Ids, Steps, compute_logits
from pocketrnn.errors import InputError, LimitError, TextError, short_repr
from pocketrnn.predictions_from_logits import Answers
from pocketrnn.tags import Tag, Tags
from pocketrnn.text.chunks_of_checked_texts import OnError, check_and_iterate_texts, check_on_error
from pocketrnn.text.text_row_encoder import Tokenizer
from pocketrnn.text.token_characters import add_character_ids
from pocketrnn.text.token_positions import LocatedToken, LocatedTokens, locate_split_tokens, locate_text_tokens
from pocketrnn.text_intake import TextIntake

__all__ = ["TagIntake"]

# How many texts are located and answered at a time.
_TEXTS: Final = 512


@dataclass(frozen=True)
class _LocatedText:
    """A text with the positions and ids of its tokens; `located` is None for a text that is skipped."""

    text: Any
    located: LocatedTokens | None


class TagIntake(TextIntake):
    """Converts users' texts to tags, a label for each token. Methods that answer for a whole text raise an error."""

    def __init__(
        self, manifest: Manifest, engine: Engine, answers: Answers, tokenizer: Tokenizer | None = None
    ) -> None:
        super().__init__(manifest, engine, answers, tokenizer)
        self._crf = manifest.output.crf if isinstance(manifest.output, TagOutput) else None
        self._characters = manifest.characters

    def copy_with_engine(self, engine: Engine, answers: Answers) -> TagIntake:
        """Return a copy of this object with another engine, and with other `Answers` for its logits. Raise an
        InputError if the labels are decoded by a CRF, which needs the logits of all labels."""
        if self._crf is not None:
            raise InputError(
                f"{self._name} chooses its labels with a CRF, which needs all labels, so that no label can be left "
                "out.",
                "Use the tagger with all its labels.",
            )
        other = super().copy_with_engine(engine, answers)
        assert isinstance(other, TagIntake)  # noqa: S101 - a copy of this
        return other

    def require_text_labels(self) -> NoReturn:
        """Raise an InputError: this classifier labels tokens, and has no answer for a whole text."""
        raise InputError(f"{self._name} gives a label for each token, not for a text.", "Call tag() or predict_tags().")

    def compute_item_logits(self, _text: object) -> list[float]:
        """Raise an InputError: this classifier labels tokens, and has no logits for a whole text."""
        self.require_text_labels()

    def divide_into_chunks(self, *_: Any, **__: Any) -> Iterable[Any]:
        """Raise an InputError: this classifier labels tokens, and has no answer for a whole text."""
        self.require_text_labels()

    def check_batches(self, *_: Any, **__: Any) -> Iterator[Any]:
        """Raise an InputError: this classifier labels tokens, and has no answer for a whole text."""
        self.require_text_labels()

    def make_text_tags(self, text: object) -> Tags:
        """Label the tokens of one text, and return its tags.

        Raises:
            TextError: the argument is neither a string nor a list of tokens.
            LimitError: the text has too few or too many tokens for the graph.
            InputError: the position of a token in the text cannot be found.
        """
        return self._compute_tags_of_located_texts([self._locate_tokens(text)])[0]

    def make_engine_input(self, text: object) -> Steps:
        """Encode one text for the engine: int64 [ids]; or, if the module reads the characters of tokens, int64 [ids, 1
        + width].

        Raises:
            TextError: the argument is neither a string nor a list of tokens.
            LimitError: the text has too few or too many tokens for the graph.
            InputError: the position of a token in the text cannot be found.
        """
        located = self._locate_tokens(text).located
        assert located is not None  # noqa: S101 - a text that cannot be located is refused
        return self._convert_to_engine_input(located)

    def _convert_to_engine_input(self, located: LocatedTokens) -> Steps:
        """Convert located tokens to the engine's input: their ids, with the ids of their characters if the module reads
        these."""
        return (
            np.array(located.ids, np.int64)
            if self._characters is None
            else add_character_ids(self._characters, located)
        )

    def locate_texts_in_groups(self, texts: Iterable[object], on_error: OnError) -> Iterator[list[_LocatedText]]:
        """Yield groups of at most 512 texts, with the positions and ids of their tokens.

        Raises:
            TextError: an item is neither a string nor a list of tokens, and `on_error` is `raise`.
            LimitError: a text has too few or too many tokens, and `on_error` is `raise`.
            InputError: the position of a token in a text cannot be found.
        """
        check_on_error(on_error)
        numbered = enumerate(check_and_iterate_texts(texts))
        while some := list(islice(numbered, _TEXTS)):
            yield [self._locate_tokens_or_mark_skipped(i, text, on_error) for i, text in some]

    def compute_group_tags(self, group: list[_LocatedText]) -> list[Tags | None]:
        """Return the tags of each text of a group; None for a skipped text."""
        made = iter(self._compute_tags_of_located_texts(group))
        return [None if one.located is None else next(made) for one in group]

    def _locate_tokens_or_mark_skipped(self, text_index: int, text: object, on_error: OnError) -> _LocatedText:
        """Locate the tokens of a text, whose index among all texts is `text_index`. If the text is refused and
        `on_error` is `skip`, return it without positions."""
        text_name = f"The text at position {text_index} (counted from 0)"
        try:
            return self._locate_tokens(text, text_name)
        except (TextError, LimitError) as error:
            if on_error == "skip":
                return _LocatedText(text, None)
            if isinstance(error, LimitError):
                raise add_text_name_to_error(error, text_name, SKIP_THEM) from None
            raise TextError(error.problem, f"{error.remedy.removesuffix('.')}; or {SKIP_THEM}.") from None

    def _locate_tokens(self, text: object, text_name: str = "The text") -> _LocatedText:
        """Find the positions and ids of the tokens of a string, or of a list of tokens. Raise a LimitError for too few
        or too many tokens. `text_name` is the name of the text in messages."""
        if isinstance(text, str) and self.row_encoder.splits:
            located = locate_text_tokens(self.encoder, text)
        elif isinstance(text, str):
            located = self._split_by_callers_tokenizer_and_locate(text)
        else:
            # This checks that the items are tokens, or words.
            text = (
                self.row_encoder.get_tokens(text, text_name)
                if self.encoder.subword_encoder is None
                else self.row_encoder.check_words(text, text_name)
            )
            located = locate_split_tokens(self.encoder, text)
        if self._limits is not None and not self._limits.accepts_ids(located.ids, self._padding_id):
            raise make_limit_error(self._name, self._limits, len(located.ids))
        return _LocatedText(text, located)

    def _split_by_callers_tokenizer_and_locate(self, text: str) -> LocatedTokens:
        """Split a text with the caller's tokenizer, and find each token in the rest of the text after the previous
        token. Raise an InputError for a token that does not occur there."""
        tokens, found, end = self.row_encoder.get_tokens(text), [], 0
        for token in tokens:
            start = text.find(token, end)
            if start < 0:
                raise InputError(
                    f"The function `tokenizer` returns the token {short_repr(token, 40)}, which does not occur in the "
                    f"rest of the text, {short_repr(text[end:], 40)}, so that its position is not known.",
                    "Give the text as a list of its tokens.",
                )
            end = start + len(token)
            found.append((start, end))
        located = locate_split_tokens(self.encoder, tokens)
        moved = tuple(LocatedToken(one.token, *found[one.start], one.step) for one in located.tokens)
        return LocatedTokens(located.ids, moved)

    def _compute_tags_of_located_texts(self, group: list[_LocatedText]) -> list[Tags]:
        """Return the tags of the texts of a group, without those that are skipped."""
        pairs = [(one.text, one.located) for one in group if one.located is not None]
        if not pairs:
            return []
        inputs = [self._convert_to_engine_input(located) for _, located in pairs]
        logits = compute_logits(self._engine, self._name, inputs)
        parts = np.split(logits, np.cumsum(list(map(len, inputs)))[:-1])
        return [self._make_tags(*pair, part) for pair, part in zip(pairs, parts, strict=True)]

    def _make_tags(self, text: Any, located: LocatedTokens, logits: Floats) -> Tags:
        """Make the tags of one text.

        Args:
            located: the positions and ids of its tokens.
            logits: the logits of its ids, float32 [ids, labels], with NaN for an id without an answer.
        """
        # A module that counts the tokens itself gives no answer for last tokens that it takes for padding.
        answered_steps = 1 + int(np.flatnonzero(~np.isnan(logits).all(axis=1)).max(initial=-1))
        asked = [token for token in located.tokens if token.step is not None and token.step < answered_steps]
        if not asked:
            return Tags((), text, tuple((one.token, one.start, one.end) for one in located.tokens))
        steps = np.array([token.step for token in asked], np.int64)
        best, likeliest = self._decide_label_indices_and_probabilities(logits[:answered_steps], steps)
        tags = tuple(
            Tag(token.token, self._answers.labels[i], probability, token.start, token.end)
            for token, i, probability in zip(asked, best, likeliest, strict=True)
        )
        tagged = set(asked)
        rest = tuple((one.token, one.start, one.end) for one in located.tokens if one not in tagged)
        return Tags(tags, text, rest)

    def _decide_label_indices_and_probabilities(
        self, logits: Floats, token_steps: Ids
    ) -> tuple[list[int], list[float]]:
        """Choose the label of each token of one text; return the indices of the labels, and their probabilities.

        Args:
            logits: the logits of all ids of the text, float32 [ids, labels].
            token_steps: the rows of `logits` that belong to tokens, int64 [tokens].
        """
        if self._crf is None or self._crf.over_tokens:
            logits, token_steps = logits[token_steps], np.arange(len(token_steps))
        self._answers.check_finite(logits)
        if self._crf is None:
            best, probabilities = logits.argmax(1), self._answers.probabilities(logits).astype(np.float64)
        else:
            best, probabilities = (
                self._crf.decode_labels(logits)[token_steps],
                self._crf.probabilities(logits)[token_steps],
            )
        return best.tolist(), probabilities[np.arange(len(best)), best].tolist()
