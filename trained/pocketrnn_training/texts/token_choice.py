"""Words or pieces of words: how the texts of a run are cut, and the linear part that each way gives.

Where nothing is named, the rows choose. The linear parts of both ways (`pocketrnn_training.texts.linear_part`) take
seconds to fit, and the one that is right of more validation rows belongs to the better classifier: docs/training.md,
"Words or pieces".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from pocketrnn.errors import DataError, InputError
from pocketrnn.text import SUBWORDS, AnyTextRules, TextEncoder, TextRules
from pocketrnn_training.progress import Notice, Step
from pocketrnn_training.rows.batches import EncodedTexts
from pocketrnn_training.rows.data import LabelledTexts
from pocketrnn_training.settings.text_settings import WORDS, TextSettings
from pocketrnn_training.texts import pieces, vectors, vocabulary
from pocketrnn_training.texts.linear_part import Counted, LinearPart, pairs_for

__all__ = ["TokenChoice", "TokenizedTexts", "as_before", "counted_in"]

# Where the linear parts may not choose and more of the words of the validation rows are unknown, pieces are taken.
_MOST_UNKNOWN: Final = 0.2
# And where more are, whatever the linear parts say.
_WORDS_SAY_NOTHING: Final = 0.6
# Where the validation rows do not tell by more than chance, words are taken with fewer rows than these, else pieces.
# With 2,500 of TREC's the linear part of words is better by 1.8 points, with 4,915 it is no longer. Beside word vectors
# words are taken of any number of rows: docs/training-measurements.md, "Word vectors".
_FEW_ROWS: Final = 3_000


@dataclass(frozen=True)
class TokenizedTexts:
    """The texts as ids, and what made them: the members of `Task` of these names.

    Attributes:
        rules: how a text becomes token ids.
        vocabulary: the tokens, in the order of their ids.
        texts: the training rows.
        validation_texts: the validation rows.
        words: the training rows as words, then the validation rows, where pieces are drawn anew in every epoch.
        vectors: the word vectors that the embedding starts from, or None.
        linear: the linear part, fitted on the training rows; or None.
    """

    rules: AnyTextRules
    vocabulary: tuple[str, ...]
    texts: EncodedTexts
    validation_texts: EncodedTexts
    words: pieces.WordsOfRows | None = None
    vectors: vectors.Vectors | None = None
    linear: LinearPart | None = None

    def with_linear_part(self, data: LabelledTexts, pairs: int, *, balanced: bool) -> TokenizedTexts:
        """The same with a linear part of so many rows of pairs, or as it is with 0."""
        if not pairs:
            return self
        counted = counted_in(self.vocabulary, self.rules, pairs, self.vectors)
        part = LinearPart.fitted(counted, self.texts, data.targets, classes=len(data.labels), balanced=balanced)
        return replace(self, linear=part)


@dataclass(frozen=True)
class TokenChoice:
    """The choice of a run: what it is made from.

    Attributes:
        data: the training rows.
        validation: the validation rows.
        settings: the choices, as they were given.
        decided: the same with what the number of rows decides.
        word_vectors: a file in GloVe's format that the embedding starts from.
        report: called with what the owner of the data should know.
    """

    data: LabelledTexts
    validation: LabelledTexts
    settings: TextSettings
    decided: TextSettings
    word_vectors: Path | None
    report: Callable[[Notice], None]

    def tokenized(self) -> TokenizedTexts:
        """The texts by the tokenizer that is asked for, with a linear part where there is to be one; where none is
        asked for, by words or by pieces, as the rows choose.

        Raises:
            InputError: a linear part is asked for, and its tables would be too large.
            DataError: the texts have no token that is frequent enough, or the word vectors cannot be used.
        """
        found = self._found()
        if self.settings.linear and not self._pairs(found):
            raise InputError("There can be no linear part here: its tables would be too large.", "Leave --linear out.")
        return found

    def _found(self) -> TokenizedTexts:
        settings = self.settings
        if settings.asks_for_pieces:
            if settings.tokenizer is None:
                said = f"With a vocabulary size, texts are cut into pieces of words, at most {settings.pieces:,}."
                self.report(Step(said))
            return self._as_pieces()
        if settings.tokenizer is not None or settings.ngrams > 1:
            return self._as_words()
        try:
            by_words = self._as_words()
        except DataError as error:
            by_pieces = self._as_pieces_if_any()
            if by_pieces is None:
                raise
            return self._pieces_since(error.problem, by_pieces)
        unknown = _unknown_share(self.validation.texts, by_words)
        why = f"{unknown:.0%} of the words of the validation rows are unknown." if unknown > _MOST_UNKNOWN else None
        may_compare = self._may_compare and unknown < _WORDS_SAY_NOTHING
        if (why is None and not may_compare) or (by_pieces := self._as_pieces_if_any()) is None:
            return self._words_do(by_words)
        if may_compare and by_pieces.linear is not None:
            why = self._better_linear_part(by_words, by_pieces)
        return self._words_do(by_words) if why is None else self._pieces_since(why, by_pieces)

    @property
    def _may_compare(self) -> bool:
        """Whether the linear parts may choose: there is to be one, and nothing is named that is of words."""
        of_words = self.settings.spelling or self._bounds_words
        return bool(self.decided.linear) and self._may_have_linear_part and not of_words

    @property
    def _bounds_words(self) -> bool:
        return self.settings.max_vocabulary != TextSettings.max_vocabulary

    @property
    def _may_have_linear_part(self) -> bool:
        return self.data.answers is None and int((self.data.counts() > 0).sum()) >= 2

    def _better_linear_part(self, by_words: TokenizedTexts, by_pieces: TokenizedTexts) -> str | None:
        """Why pieces are taken, as a sentence; None where words are."""
        if by_words.linear is None:
            return "With words there would be no linear part: its tables would be too large."
        words, parts = (self._right(tokenized) for tokenized in (by_words, by_pieces))
        more, chance = int(parts.sum()) - int(words.sum()), float(np.sqrt((words != parts).sum()))
        words_in_doubt = len(self.data) < _FEW_ROWS or self.word_vectors is not None
        if more <= chance if words_in_doubt else more < -chance:
            return None
        return (
            f"A linear model of pieces of words is right of {parts.mean():.1%} of the validation rows, one of words of "
            f"{words.mean():.1%}."
        )

    def _right(self, tokenized: TokenizedTexts) -> npt.NDArray[np.bool_]:
        """Which validation rows the linear part is right of."""
        assert tokenized.linear is not None  # noqa: S101 - there is one where they are compared
        given: npt.NDArray[np.bool_] = (
            tokenized.linear.logits(tokenized.validation_texts).argmax(axis=1) == self.validation.targets
        )
        return given

    def _words_do(self, by_words: TokenizedTexts) -> TokenizedTexts:
        if self.settings.piece_dropout not in (0, TextSettings.piece_dropout):
            said = "Words do, so that nothing is done with --piece-dropout; --tokenizer bpe asks for pieces."
            self.report(Notice(said))
        return by_words

    def _pieces_since(self, why: str, by_pieces: TokenizedTexts) -> TokenizedTexts:
        more = " --max-vocabulary is of words alone; --vocabulary-size bounds the pieces." if self._bounds_words else ""
        self.report(Notice(f"{why} So texts are cut into pieces of words (--tokenizer bpe).{more}"))
        return by_pieces

    def _as_pieces_if_any(self) -> TokenizedTexts | None:
        try:
            return self._as_pieces()
        except DataError:
            return None

    def _as_words(self) -> TokenizedTexts:
        """The texts as ids of whole tokens.

        Words that only the vectors know are in the vocabulary too: a text that is still to come has them, and their
        vectors say what they are like. It holds no more words for it than `max_vocabulary`.
        """
        settings = self.settings
        rules = TextRules(
            tokenizer=settings.tokenizer or WORDS,
            ngrams=settings.ngrams,
            max_tokens=settings.max_tokens,
            unknown_id=vocabulary.UNKNOWN,
            empty_id=vocabulary.UNKNOWN,
            padding_id=vocabulary.PADDING,
        )
        start: vectors.Vectors | None = None
        tokens_of = TextEncoder(rules, ()).tokens

        def more(tokens: tuple[str, ...]) -> Sequence[str]:
            nonlocal start
            if self.word_vectors is None:
                return ()
            room = settings.vector_words
            if settings.max_vocabulary is not None:
                room = min(room, settings.max_vocabulary - len(tokens))
            start = vectors.read(self.word_vectors, tokens, room, lambda word: tokens_of(word) == [word])
            return start.added

        tokens, encoded = vocabulary.build(
            self.data.texts,
            rules,
            min_freq=settings.min_freq_for(len(self.data), of_words=True),
            max_size=settings.max_vocabulary,
            more=more,
        )
        of_validation = EncodedTexts.of(self.validation.texts, TextEncoder(rules, tokens))
        return self._with_linear_part(TokenizedTexts(rules, tokens, encoded, of_validation, None, start))

    def _as_pieces(self) -> TokenizedTexts:
        """The texts as ids of pieces of words. One that is a whole word, or begins one, has the vector of that word."""
        settings, texts, validation = self.settings, self.data.texts, self.validation.texts
        rules, tokens = pieces.learn_pieces(
            texts,
            settings.pieces,
            min_freq=settings.min_freq_for(len(texts), of_words=False),
            max_tokens=settings.max_tokens,
        )
        words_of_all = pieces.WordsOfRows.of(chain(texts, validation), rules, tokens)
        # No line of a file of vectors holds the end of a line.
        whole = [pieces.whole_word(piece) or "\n" for piece in tokens]
        found = TokenizedTexts(
            rules,
            tokens,
            words_of_all.first(len(texts)).encoded(),
            EncodedTexts.of(validation, TextEncoder(rules, tokens)),
            words_of_all if settings.piece_dropout else None,
            None if self.word_vectors is None else vectors.read(self.word_vectors, whole),
        )
        return self._with_linear_part(found)

    def _pairs(self, tokenized: TokenizedTexts) -> int:
        """How many rows of pairs the linear part has; 0 where there is to be none, or it would be too large."""
        if not self.decided.linear:
            return 0
        return pairs_for(len(tokenized.vocabulary), len(self.data.labels))

    def _with_linear_part(self, tokenized: TokenizedTexts) -> TokenizedTexts:
        if not self._may_have_linear_part:
            return tokenized
        return tokenized.with_linear_part(
            self.data, self._pairs(tokenized), balanced=self.settings.class_weights == "balanced"
        )


def counted_in(tokens: Sequence[str], rules: AnyTextRules, pairs: int, start: vectors.Vectors | None = None) -> Counted:
    """The counts of a linear part in texts that are cut by these rules, with the word vectors of their tokens.

    Example:
        >>> counted_in(("<unk>", "<pad>", "so"), TextRules(unknown_id=0, padding_id=1), 1024).spelled
        ('', '', ' so ')
    """
    are_pieces = rules.tokenizer == SUBWORDS
    known = range(len(vocabulary.SPECIALS), len(tokens))
    spelled = [tokens[i].replace(pieces.MARK, " ") if are_pieces else f" {tokens[i]} " for i in known]
    of_tokens = None if start is None else start.of_tokens(len(tokens))
    return Counted(("",) * len(vocabulary.SPECIALS) + tuple(spelled), pairs, rules.padding_id, are_pieces, of_tokens)


def as_before(
    data: LabelledTexts,
    validation: LabelledTexts,
    settings: TextSettings,
    rules: AnyTextRules,
    tokens: tuple[str, ...],
    pairs: int,
) -> TokenizedTexts:
    """The texts as ids, by rules and tokens that are there already, with a linear part of so many rows of pairs.

    Raises:
        InputError: a linear part is asked for, and there is none to go on from.
    """
    if settings.linear and not pairs:
        raise InputError(
            "There can be no linear part here: the checkpoint to go on from has none.", "Leave --linear out."
        )
    encoder = TextEncoder(rules, tokens)
    words = None
    if rules.tokenizer == SUBWORDS and settings.piece_dropout:
        words = pieces.WordsOfRows.of(chain(data.texts, validation.texts), rules, tokens)  # type: ignore[arg-type]
    found = TokenizedTexts(
        rules, tokens, EncodedTexts.of(data.texts, encoder), EncodedTexts.of(validation.texts, encoder), words
    )
    if settings.linear is False or data.answers is not None or (data.counts() > 0).sum() < 2:
        return found
    return found.with_linear_part(data, pairs, balanced=settings.class_weights == "balanced")


def _unknown_share(texts: Sequence[str], by_words: TokenizedTexts) -> float:
    """How many of the words of some texts the vocabulary does not hold, from 0 to 1."""
    encoder = TextEncoder(by_words.rules, by_words.vocabulary)
    held = [encoder.holds(word) for text in texts for word in encoder.tokens(text)]
    return held.count(False) / max(1, len(held))
