"""Choose between words and pieces of words as the tokens of a run, and fit the linear part.

Where the user names no tokenizer, the rows choose. The linear parts of both choices take seconds to fit
(`pocketrnn_training.texts.linear_part`), and the one with the higher validation accuracy belongs to the better
classifier: docs/training.md, "Words or pieces".
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
from pocketrnn.text.pairs import make_pair_mark
from pocketrnn_training.rows.encoded_rows import EncodedTexts
from pocketrnn_training.rows.labelled_texts import LabelledTexts
from pocketrnn_training.settings.text_settings import WORDS, TextSettings
from pocketrnn_training.texts import piece_learning, vocabulary, word_vectors
from pocketrnn_training.texts.linear_part import FeatureCounter, LinearPart, choose_row_count_of_pair_table
from pocketrnn_training.training_events import Notice, StageNotice

__all__ = ["TokenChoice", "TokenizedTexts", "encode_with_rules_and_fit", "make_feature_counter"]

# If the linear parts may not choose, pieces are taken when more than this share of the validation words is unknown.
_MOST_UNKNOWN: Final = 0.2
# Above this share, pieces are taken in any case.
_WORDS_SAY_NOTHING: Final = 0.6
# Where the difference on the validation rows may be chance, words are taken with fewer rows than this, else pieces.
# With 2,500 rows of TREC the linear part of words is better by 1.8 points, with 4,915 it no longer is. With word
# vectors, words are taken for any number of rows: docs/training-measurements.md, "Word vectors".
_FEW_ROWS: Final = 3_000


@dataclass(frozen=True)
class TokenizedTexts:
    """The rows of a run as token ids, with the text rules, the vocabulary and the linear part.

    Attributes:
        rules: the rules that turn a text into token ids.
        vocabulary: the tokens, in the order of their ids.
        texts: the training rows.
        validation_texts: the validation rows.
        words: the training rows, then the validation rows, as words, which every epoch cuts into pieces anew; None if
            the ids stay the same.
        vectors: the word vectors that the embedding starts from, or None.
        linear: the linear part, fitted on the training rows; or None.
    """

    rules: AnyTextRules
    vocabulary: tuple[str, ...]
    texts: EncodedTexts
    validation_texts: EncodedTexts
    words: piece_learning.RowWords | None = None
    vectors: word_vectors.Vectors | None = None
    linear: LinearPart | None = None

    def join_pairs(self) -> TokenizedTexts:
        """Join the two texts of each pair to one row: texts 0 and 1, texts 2 and 3, and so on."""
        mark = make_pair_mark(self.rules.padding_id)
        return replace(
            self,
            texts=self.texts.join_pairs(mark),
            validation_texts=self.validation_texts.join_pairs(mark),
            words=None if self.words is None else replace(self.words, mark=mark),
        )

    def fit_linear_part(self, data: LabelledTexts, pair_rows: int, *, balanced: bool) -> TokenizedTexts:
        """Return the same texts with a linear part that is fitted on the training rows; unchanged if `pair_rows` is 0.

        Args:
            data: the training rows, which have the classes.
            pair_rows: the number of rows of the weight table for pairs of tokens.
            balanced: whether every class has the same weight in the fit; otherwise every row has.
        """
        if not pair_rows:
            return self
        counted = make_feature_counter(self.vocabulary, self.rules, pair_rows, self.vectors)
        part = LinearPart.fit_to_rows(counted, self.texts, data.targets, classes=len(data.labels), balanced=balanced)
        return replace(self, linear=part)


@dataclass(frozen=True)
class TokenChoice:
    """Chooses whether the tokens of a run are words or pieces of words.

    Attributes:
        data: the training rows.
        validation: the validation rows.
        settings: the settings as the user gave them.
        decided: the settings with a value for each one that the user left open.
        word_vectors: a file of word vectors that the embedding starts from; None without one.
        report: the function to call with notices for the user.
    """

    data: LabelledTexts
    validation: LabelledTexts
    settings: TextSettings
    decided: TextSettings
    word_vectors: Path | None
    report: Callable[[Notice], None]

    def tokenize_texts(self) -> TokenizedTexts:
        """Encode the texts with the tokenizer that the user names; if it is left open, with words or pieces of words.

        A linear part is fitted, too, if the settings and the rows allow it.

        Raises:
            InputError: the user asks for a linear part, but its tables would be too large.
            DataError: all tokens of the texts are too rare, or the word vectors cannot be used.
        """
        found = self._encode_with_better_of_words_and_pieces()
        if self.settings.linear and not self._choose_pair_table_rows(found):
            raise InputError(
                "--linear cannot be used with these texts: the tables of scores would be too large for their many "
                "words or classes.",
                "Leave out --linear.",
            )
        return found

    def _encode_with_better_of_words_and_pieces(self) -> TokenizedTexts:
        """Encode the texts as words and as pieces, and return the encoding whose linear part is more accurate.

        If the user names one of the two, only this encoding is made.
        """
        settings = self.settings
        if settings.asks_for_pieces:
            if settings.tokenizer is None:
                said = f"With a vocabulary size, texts are cut into pieces of words, at most {settings.pieces:,}."
                self.report(StageNotice(said))
            return self._encode_as_pieces_and_fit()
        if settings.tokenizer is not None or settings.ngrams > 1:
            return self._encode_as_words_and_fit()
        try:
            by_words = self._encode_as_words_and_fit()
        except DataError as error:
            by_pieces = self._encode_as_pieces_if_possible()
            if by_pieces is None:
                raise
            return self._report_and_take_pieces(error.problem, by_pieces)
        unknown = _compute_share_of_unknown_words(self.validation.texts, by_words)
        why = f"{unknown:.0%} of the words of the validation rows are unknown." if unknown > _MOST_UNKNOWN else None
        may_compare = self._may_compare_linear_parts and unknown < _WORDS_SAY_NOTHING
        if (why is None and not may_compare) or (by_pieces := self._encode_as_pieces_if_possible()) is None:
            return self._report_and_take_words(by_words)
        if may_compare and by_pieces.linear is not None:
            why = self._explain_if_pieces_beat_words(by_words, by_pieces)
        return self._report_and_take_words(by_words) if why is None else self._report_and_take_pieces(why, by_pieces)

    @property
    def _may_compare_linear_parts(self) -> bool:
        """Return whether the accuracy of linear parts can decide between words and pieces.

        It cannot without linear parts, or if the user gives a setting that applies only to words.
        """
        of_words = self.settings.spelling or self._has_word_limit
        return bool(self.decided.linear) and self._can_fit_linear_part and not of_words

    @property
    def _has_word_limit(self) -> bool:
        """Whether the user limits the number of words."""
        return self.settings.max_vocabulary != TextSettings.max_vocabulary

    @property
    def _can_fit_linear_part(self) -> bool:
        """Whether a linear part can be fitted on the rows: they have no teacher's answers and at least two classes."""
        return self.data.answers is None and int((self.data.counts() > 0).sum()) >= 2

    def _explain_if_pieces_beat_words(self, by_words: TokenizedTexts, by_pieces: TokenizedTexts) -> str | None:
        """Compare words and pieces of words by the accuracy of their linear parts on the validation rows.

        Return a sentence that says why pieces are better, or None if words are to be used.
        """
        if by_words.linear is None:
            return "With words there would be no linear part: its tables would be too large."
        words, parts = (
            self._mark_rows_that_linear_part_classifies_correctly(tokenized) for tokenized in (by_words, by_pieces)
        )
        more, chance = int(parts.sum()) - int(words.sum()), float(np.sqrt((words != parts).sum()))
        words_in_doubt = len(self.data) < _FEW_ROWS or self.word_vectors is not None
        if more <= chance if words_in_doubt else more < -chance:
            return None
        return (
            f"A linear model of pieces of words classifies {parts.mean():.1%} of the validation rows correctly, and "
            f"one of words {words.mean():.1%}."
        )

    def _mark_rows_that_linear_part_classifies_correctly(self, tokenized: TokenizedTexts) -> npt.NDArray[np.bool_]:
        """Mark the validation rows that the linear part classifies correctly, bool [validation rows]."""
        assert tokenized.linear is not None  # noqa: S101 - there is one where they are compared
        given: npt.NDArray[np.bool_] = (
            tokenized.linear.logits(tokenized.validation_texts).argmax(axis=1) == self.validation.targets
        )
        return given

    def _report_and_take_words(self, by_words: TokenizedTexts) -> TokenizedTexts:
        """Return `by_words`, the texts as words; report that a setting for pieces that the user gave has no effect."""
        if self.settings.piece_dropout not in (0, TextSettings.piece_dropout):
            said = (
                "Texts are split into words, so --piece-dropout has no effect; --tokenizer bpe splits them into pieces."
            )
            self.report(Notice(said))
        return by_words

    def _report_and_take_pieces(self, why: str, by_pieces: TokenizedTexts) -> TokenizedTexts:
        """Report why pieces of words are used (the sentence `why`), and return `by_pieces`, the texts as pieces."""
        more = (
            " --max-vocabulary applies to words only; --vocabulary-size bounds the pieces."
            if self._has_word_limit
            else ""
        )
        self.report(Notice(f"{why} So texts are cut into pieces of words (--tokenizer bpe).{more}"))
        return by_pieces

    def _encode_as_pieces_if_possible(self) -> TokenizedTexts | None:
        """Encode the texts as pieces of words; return None if all characters are too rare."""
        try:
            return self._encode_as_pieces_and_fit()
        except DataError:
            return None

    def _encode_as_words_and_fit(self) -> TokenizedTexts:
        """Encode the texts as ids of whole tokens, and fit the linear part if the rows allow one.

        Words that only the word vectors have are added to the vocabulary, up to `max_vocabulary`, since later texts may
        contain them.
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
        start: word_vectors.Vectors | None = None
        tokens_of = TextEncoder(rules, ()).tokens

        def read_vectors_and_list_new_words(tokens: tuple[str, ...]) -> Sequence[str]:
            nonlocal start
            if self.word_vectors is None:
                return ()
            room = settings.vector_words
            if settings.max_vocabulary is not None:
                room = min(room, settings.max_vocabulary - len(tokens))
            start = word_vectors.read_vectors(self.word_vectors, tokens, room, lambda word: tokens_of(word) == [word])
            return start.added

        tokens, encoded = vocabulary.build(
            self.data.texts,
            rules,
            min_freq=settings.min_freq_for(len(self.data), of_words=True),
            max_size=settings.max_vocabulary,
            list_more_tokens=read_vectors_and_list_new_words,
        )
        of_validation = EncodedTexts.from_texts(self.validation.texts, TextEncoder(rules, tokens))
        return self._fit_linear_part(TokenizedTexts(rules, tokens, encoded, of_validation, None, start))

    def _encode_as_pieces_and_fit(self) -> TokenizedTexts:
        """Encode the texts as ids of pieces of words, and fit the linear part if the rows allow one.

        The embedding of a piece that begins a word starts from the word vector of the same characters.
        """
        settings, texts, validation = self.settings, self.data.texts, self.validation.texts
        rules, tokens = piece_learning.learn_pieces(
            texts,
            settings.pieces,
            min_freq=settings.min_freq_for(len(texts), of_words=False),
            max_tokens=settings.max_tokens,
        )
        words_of_all = piece_learning.RowWords.from_texts(chain(texts, validation), rules, tokens)
        # A line break is never a word of a file of vectors.
        whole = [piece_learning.convert_piece_to_word(piece) or "\n" for piece in tokens]
        found = TokenizedTexts(
            rules,
            tokens,
            words_of_all.select_first_rows(len(texts)).encode_rows_as_pieces(),
            EncodedTexts.from_texts(validation, TextEncoder(rules, tokens)),
            words_of_all if settings.piece_dropout else None,
            None if self.word_vectors is None else word_vectors.read_vectors(self.word_vectors, whole),
        )
        return self._fit_linear_part(found)

    def _choose_pair_table_rows(self, tokenized: TokenizedTexts) -> int:
        """Choose the number of rows of the linear part's weight table for pairs of tokens.

        Return 0 for no linear part, if the settings exclude it or its tables would be too large.
        """
        if not self.decided.linear:
            return 0
        return choose_row_count_of_pair_table(len(tokenized.vocabulary), len(self.data.labels))

    def _fit_linear_part(self, tokenized: TokenizedTexts) -> TokenizedTexts:
        """Return the texts with a fitted linear part, or unchanged if the rows or the settings do not allow one."""
        if not self._can_fit_linear_part:
            return tokenized
        return tokenized.fit_linear_part(
            self.data, self._choose_pair_table_rows(tokenized), balanced=self.settings.class_weights == "balanced"
        )


def make_feature_counter(
    tokens: Sequence[str], rules: AnyTextRules, pair_rows: int, vectors: word_vectors.Vectors | None = None
) -> FeatureCounter:
    """Make the object that counts the features of a linear part in texts.

    Args:
        tokens: the vocabulary, in the order of the ids.
        rules: the rules that split the texts into tokens.
        pair_rows: the number of rows of the weight table for pairs of tokens.
        vectors: the word vectors, or None.
    """
    are_pieces = rules.tokenizer == SUBWORDS
    known = range(len(vocabulary.SPECIALS), len(tokens))
    spelled = [tokens[i].replace(piece_learning.MARK, " ") if are_pieces else f" {tokens[i]} " for i in known]
    of_tokens = None if vectors is None else vectors.make_token_vectors(len(tokens))
    return FeatureCounter(
        ("",) * len(vocabulary.SPECIALS) + tuple(spelled), pair_rows, rules.padding_id, are_pieces, of_tokens
    )


def encode_with_rules_and_fit(
    data: LabelledTexts,
    validation: LabelledTexts,
    settings: TextSettings,
    rules: AnyTextRules,
    tokens: tuple[str, ...],
    pair_rows: int,
) -> TokenizedTexts:
    """Encode the texts with the rules and tokens of a checkpoint, and fit the linear part.

    Args:
        data: the training rows.
        validation: the validation rows.
        settings: the settings of the run.
        rules: the rules that split texts into tokens.
        tokens: the vocabulary: the checkpoint's, followed by new words.
        pair_rows: the number of rows of the linear part's weight table for pairs of tokens; 0 for no linear part.

    Raises:
        InputError: the settings ask for a linear part, but the checkpoint does not have one.
    """
    if settings.linear and not pair_rows:
        raise InputError(
            "--linear cannot be used with --from, since the checkpoint to continue from has no linear part.",
            "Leave out --linear.",
        )
    encoder = TextEncoder(rules, tokens)
    words = None
    if rules.tokenizer == SUBWORDS and settings.piece_dropout:
        words = piece_learning.RowWords.from_texts(chain(data.texts, validation.texts), rules, tokens)  # type: ignore[arg-type]
    found = TokenizedTexts(
        rules,
        tokens,
        EncodedTexts.from_texts(data.texts, encoder),
        EncodedTexts.from_texts(validation.texts, encoder),
        words,
    )
    if settings.linear is False or data.answers is not None or (data.counts() > 0).sum() < 2:
        return found
    return found.fit_linear_part(data, pair_rows, balanced=settings.class_weights == "balanced")


def _compute_share_of_unknown_words(texts: Sequence[str], tokenized: TokenizedTexts) -> float:
    """Compute the share of the words of the texts that the vocabulary lacks, from 0 to 1."""
    encoder = TextEncoder(tokenized.rules, tokenized.vocabulary)
    held = [encoder.holds(word) for text in texts for word in encoder.tokens(text)]
    return held.count(False) / max(1, len(held))
