"""The settings of a training run of texts, and their defaults. This needs no PyTorch."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Final, Self

from pocketrnn.errors import InputError
from pocketrnn.text import TOKENIZERS
from pocketrnn_training.settings.settings_of_all_runs import (
    A_SHARE,
    LABEL_SMOOTHING,
    MANY_ROWS,
    QRNN,
    Settings,
    check_values_of_settings,
    is_at_least_0_and_below_1,
    make_data_dependent_field,
)

__all__ = ["BPE", "SPLITS", "WORDS", "TextSettings"]

# Pieces of words, learnt from the training rows (`pocketrnn_training.texts.piece_learning`).
BPE: Final = "bpe"
# The default tokenizer of words.
WORDS: Final = "basic_english"
SPLITS: Final = (*TOKENIZERS, BPE)
_HIDDEN_DIM: Final = 96
# Accuracy on Banking77's validation rows with a state of 96 / 128: 90.0 / 90.8 %; a GRU of 96 has 90.7 %.
_HIDDEN_DIM_OF_QRNN: Final = 128
# The vocabulary size of pieces where the user names none.
_PIECES: Final = 4000
_FEWEST_PIECES: Final = 8
# Small sets need more epochs than large ones to learn as much, and many classes more than a few. Both numbers are for
# ten classes. The validation accuracy of TREC, with six classes, is 87.5 % after 7 epochs and 87.0 after 10; that of
# Banking77, with 77 classes, is 88.0 after 10 and 88.7 after 15.
_ROWS_READ: Final = 100_000
_LEAST_EPOCHS: Final = 4
_MOST_EPOCHS: Final = 9
# With fewer rows, words that occur once are kept, too: with 150 rows of TREC, the accuracy is 60.7 % and not 56.6.
_FEW_ROWS: Final = 1_000
# (rows, batch size): with fewer rows than this, batches are smaller, so that fewer epochs have as many steps. With 150
# rows of TREC, the recurrent part has an accuracy of 60.1 % on 1,000 others after 20 epochs in batches of 16, and 57.2
# after 60 in batches of 64, which take 1.7 times as long.
_BATCHES_OF_FEW: Final = ((500, 16), (_FEW_ROWS, 32))
_LEAST_READ: Final = 2_500
_MOST_EPOCHS_OF_FEW: Final = 20
# The dropout of a state of at least 128 numbers, both directions together; a smaller state has less.
_DROPOUT: Final = 0.5
_DROPOUT_OF_EACH_NUMBER: Final = _DROPOUT / 128
# With several labels, less dropout is better: a micro F1 of 76.2 %, and 72.6 with 0.5 (docs/training.md).
_DROPOUT_OF_SEVERAL_LABELS: Final = 0.3


@dataclass(frozen=True)
class TextSettings(Settings):
    """The settings of a training run of texts, in addition to those of `Settings`.

    Attributes:
        tokenizer: a name in `SPLITS`: one of `pocketrnn.text.TOKENIZERS`, or `bpe` for pieces of words, learnt from the
            training rows. None lets the rows choose between words (`basic_english`) and `bpe`
            (`pocketrnn_training.texts.word_or_piece_choice`).
        vocabulary_size: the largest number of pieces of `bpe`, including `<unk>` and `<pad>`; None for 4,000.
        piece_dropout: the share of merges of `bpe` that training skips at random, so that every epoch cuts words into
            other pieces (BPE-dropout).
        ngrams: the largest n of the n-grams that are used beside the tokens; 1 for the tokens alone.
        max_tokens: the largest number of tokens of a text that are read; None for all.
        min_freq: how often a token must occur in the training texts to be in the vocabulary; for pieces, a character or
            a pair that is merged. None for 2, or for 1 if the tokens are words and there are fewer than 1,000 rows.
        max_vocabulary: the largest number of tokens, including `<unk>` and `<pad>`; None for no limit. Not for pieces.
        vector_words: the largest number of words that are added to the vocabulary only because the word vectors have
            them. `max_vocabulary` applies to them, too.
        spelling: whether, in training, a word's embedding is its own row plus the mean of the rows of its fragments of
            3 to 5 characters, so that words with similar spelling learn from each other. The trained classifier has
            ordinary embeddings. None for true if the tokens are words and there are fewer than 20,000 rows.
        linear: whether a linear part is fitted beside the recurrent part. It adds scores of tokens, of their characters
            and of pairs of tokens to the logits (`pocketrnn_training.texts.linear_part`). None for true if a text has
            one label, the tokens are words or pieces of words, the classifier is bidirectional and packed, there are
            fewer than 20,000 rows and no teacher, and the tables of scores have at most 2 million numbers.
        compare: whether cross-validation chooses between words and pieces, and sets the weights of the recurrent and
            the linear part (`pocketrnn_training.candidates.candidate_comparison`). None for true if there is a linear
            part and from 100 to 10,000 rows.
        shipped_vectors: whether installed word vectors (`pocketrnn-words`) are tried if none are given and most of the
            rows are in their language (`pocketrnn_training.texts.installed_vectors`).
        embedding_dim: the size of an embedding. None for that of the word vectors, or 64 without word vectors.
        packed: whether each text is read only up to its length, so that padding is never read.
        adversarial: for adversarial training (Miyato et al. 2017), the share of their length by which embeddings are
            moved in the direction that raises the loss. Each row is then trained a second time, with these embeddings,
            which doubles the duration of a step. 0 for no adversarial training.
        word_dropout: the share of tokens that training replaces by the unknown token, so that a text is not recognized
            by a single word.
        teacher_weight: the weight from 0 to 1 of the teacher's answer in the loss of a row that also has a label.
        teacher_temperature: the number of 1 or more by which the logits of the classifier and of the teacher are
            divided in this loss. The higher it is, the more the unlikely classes count.

    Raises:
        InputError: a value is out of its range.

    Example:
        >>> TextSettings(cell="lstm", hidden_dim=64, epochs=12).epochs_for(1000, classes=2)
        12
    """

    ROWS: ClassVar[str] = "texts"

    tokenizer: str | None = make_data_dependent_field()
    vocabulary_size: int | None = None
    piece_dropout: float = 0.1
    ngrams: int = 1
    max_tokens: int | None = 256
    min_freq: int | None = make_data_dependent_field()
    max_vocabulary: int | None = 15_000
    vector_words: int = 10_000
    spelling: bool | None = make_data_dependent_field()
    linear: bool | None = make_data_dependent_field()
    compare: bool | None = None
    shipped_vectors: bool = True
    embedding_dim: int | None = None
    packed: bool = True
    adversarial: float = 0.0
    word_dropout: float = 0.05
    teacher_weight: float = 0.7
    teacher_temperature: float = 2.0

    @property
    def pieces(self) -> int:
        """The largest number of pieces of words, if the tokenizer is `bpe`.

        Example:
            >>> TextSettings(tokenizer="bpe", vocabulary_size=500).pieces
            500
        """
        return _PIECES if self.vocabulary_size is None else self.vocabulary_size

    @property
    def asks_for_pieces(self) -> bool:
        """Whether the user asks for pieces of words: with the tokenizer `bpe`, or with a vocabulary size.

        Example:
            >>> TextSettings(vocabulary_size=500).asks_for_pieces, TextSettings().asks_for_pieces
            (True, False)
        """
        return self.tokenizer == BPE or (self.tokenizer is None and self.vocabulary_size is not None)

    @property
    def has_words(self) -> bool:
        """Whether the tokens that the user asks for, or leaves open, are single words.

        Example:
            >>> TextSettings(tokenizer="whitespace").has_words, TextSettings(tokenizer="characters").has_words
            (True, False)
        """
        return self.tokenizer != "characters" and self.ngrams == 1 and not self.asks_for_pieces

    def min_freq_for(self, rows: int, *, of_words: bool) -> int:
        """Return how often a token must occur in the `rows` training rows to be in the vocabulary.

        `of_words` says whether the tokens are words; otherwise they are pieces of words.

        Example:
            >>> TextSettings().min_freq_for(150, of_words=True), TextSettings().min_freq_for(5000, of_words=True)
            (1, 2)
        """
        if self.min_freq is not None:
            return self.min_freq
        return 1 if of_words and rows < _FEW_ROWS else 2

    def epochs_for(self, epoch_rows: int, classes: int) -> int:
        """Return the largest number of epochs of a run whose epochs have `epoch_rows` rows of `classes` classes.

        Example:
            >>> TextSettings().epochs_for(5000, classes=6), TextSettings().epochs_for(5000, classes=77)
            (8, 13)
            >>> TextSettings().epochs_for(150, classes=6)
            16
        """
        if self.epochs is not None:
            return self.epochs
        of_classes = (1 + math.log10(classes)) / 2
        most = max(round(_MOST_EPOCHS * of_classes), min(_LEAST_READ // epoch_rows, _MOST_EPOCHS_OF_FEW))
        return min(max(round(_ROWS_READ * of_classes / epoch_rows), _LEAST_EPOCHS), most)

    def batch_size_for(self, epoch_rows: int) -> int:
        """Return the batch size of a training step, if an epoch has `epoch_rows` rows. Few rows have smaller batches.

        Example:
            >>> [TextSettings().batch_size_for(rows) for rows in (150, 800, 5000)]
            [16, 32, 64]
        """
        of_few = next((size for most, size in _BATCHES_OF_FEW if epoch_rows < most), None)
        return of_few if of_few and self.batch_size is None else super().batch_size_for(epoch_rows)

    def dropout_for(self, epochs: int, *, several_labels: bool = False) -> float:
        """Return the share of values that dropout sets to zero, in a run of `epochs` epochs.

        Example:
            >>> TextSettings(hidden_dim=32, bidirectional=False).dropout_for(8)
            0.125
        """
        if self.dropout is not None:
            return self.dropout
        if epochs == 1:
            return 0.0
        most = _DROPOUT_OF_SEVERAL_LABELS if several_labels else _DROPOUT
        return min(most, _DROPOUT_OF_EACH_NUMBER * self._state_dim * (2 if self.bidirectional else 1))

    @property
    def _state_dim(self) -> int:
        """The size of the state of one layer in one direction: the user's, or the default of the cell."""
        return self.hidden_dim or (_HIDDEN_DIM_OF_QRNN if self.cell == QRNN else _HIDDEN_DIM)

    def fill_missing_values(self, rows: int, classes: int, *, several_labels: bool = False) -> Self:
        """Return the settings with a value for each None that the data decides.

        Args:
            rows: the number of training rows.
            classes: the number of classes.
            several_labels: whether a text can have several labels.

        Example:
            >>> TextSettings(epochs=3).fill_missing_values(1000, classes=2).batch_size
            64
            >>> TextSettings(cell="qrnn").fill_missing_values(1000, classes=2).hidden_dim
            128
        """
        few = rows < MANY_ROWS
        follow = self.tokenizer != "characters" and self.ngrams == 1
        with_linear = few and follow and self.bidirectional and self.packed and not several_labels
        rows = self.epoch_size or rows
        epochs = self.epochs_for(rows, classes)
        return replace(
            self,
            batch_size=self.batch_size_for(rows),
            dropout=self.dropout_for(epochs, several_labels=several_labels),
            epochs=epochs,
            final_fit=few if self.final_fit is None else self.final_fit,
            hidden_dim=self._state_dim,
            label_smoothing=_choose_label_smoothing(self.label_smoothing, several_labels),
            linear=with_linear if self.linear is None else self.linear,
            metric=self.metric or ("f1" if several_labels else "accuracy"),
            spelling=few and self.has_words if self.spelling is None else self.spelling,
        )

    def check_tokens(self) -> None:
        """Check that the settings for tokens fit each other.

        Raises:
            InputError: `max_vocabulary` or `spelling` is given, but the tokens are pieces of words; `piece_dropout` is
                given, but they are words; or `linear` is true and `packed` is false.

        Example:
            >>> TextSettings(tokenizer="bpe", vocabulary_size=500).check_tokens()
        """
        if self.asks_for_pieces and self.max_vocabulary != TextSettings.max_vocabulary:
            raise InputError(
                f"max_vocabulary is {self.max_vocabulary}, but it limits the number of words, and the tokens are "
                "pieces of words.",
                "Set vocabulary_size, which limits the number of pieces, in place of max_vocabulary.",
            )
        if self.asks_for_pieces and self.spelling:
            raise InputError(
                "--spelling needs tokens that are words, but the tokens are pieces of words.",
                "Leave out --spelling, or give another --tokenizer.",
            )
        if self.linear and not self.packed:
            raise InputError(
                "--linear cannot be used with --padded: a classifier with a linear part cannot read padding.",
                "Leave out --linear or --padded.",
            )
        if self.tokenizer not in (None, BPE) and self.piece_dropout not in (0, TextSettings.piece_dropout):
            raise InputError(
                f"piece_dropout is {self.piece_dropout}, but the tokenizer {self.tokenizer} makes no pieces of words.",
                f"Set the tokenizer {BPE}; or set word_dropout in place of piece_dropout.",
            )

    def __post_init__(self) -> None:
        super().__post_init__()
        # Two tokens are for unknown words and for padding.
        three_or_more = "Give a whole number of 3 or more: two tokens stand for unknown words and for padding."
        check_values_of_settings(self, lambda most: most > 2, three_or_more, "max_vocabulary")
        check_values_of_settings(self, lambda words: words >= 0, "Give a whole number of 0 or more.", "vector_words")
        check_values_of_settings(self, lambda weight: 0 <= weight <= 1, "Give a share from 0 to 1.", "teacher_weight")
        check_values_of_settings(
            self, lambda divisor: 1 <= divisor < 100, "Give a number of 1 or more and below 100.", "teacher_temperature"
        )
        check_values_of_settings(
            self, is_at_least_0_and_below_1, A_SHARE, "adversarial", "piece_dropout", "word_dropout"
        )
        check_values_of_settings(self, SPLITS.__contains__, f"Use one of: {', '.join(SPLITS)}.", "tokenizer")
        self._check_piece_settings()

    def _check_piece_settings(self) -> None:
        """Check the settings for pieces of words.

        Raises:
            InputError: `vocabulary_size` is too small, or is given for a tokenizer that makes no pieces of words; or
                n-grams of pieces are asked for.
        """
        if self.tokenizer not in (None, BPE):
            if self.vocabulary_size is not None:
                raise InputError(
                    f"vocabulary_size is {self.vocabulary_size}, but it limits the number of pieces of words, which "
                    f"the tokenizer {self.tokenizer} does not make.",
                    f"Set the tokenizer {BPE}; or set max_vocabulary, which limits the number of words.",
                )
            return
        if self.pieces < _FEWEST_PIECES:
            raise InputError(
                f"vocabulary_size is {self.pieces}, but it must be at least {_FEWEST_PIECES}.",
                f"Give a whole number of {_FEWEST_PIECES} or more.",
            )
        if self.ngrams > 1 and self.asks_for_pieces:
            raise InputError(
                f"ngrams is {self.ngrams}, but n-grams are only for whole words, and the tokens are pieces of words.",
                "Leave out the setting ngrams, or set another tokenizer.",
            )


def _choose_label_smoothing(asked: float | None, several_labels: bool) -> float:
    """Return the label smoothing that the user asks for, or else 0 if a text can have several labels, or 0.05."""
    if asked is not None:
        return asked
    # Where a text has two of a hundred labels, smoothing by a twentieth outweighs the labels themselves.
    return 0.0 if several_labels else LABEL_SMOOTHING
