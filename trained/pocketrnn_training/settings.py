"""All choices of a training run, and their defaults. Does not need PyTorch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from pocketrnn.errors import InputError
from pocketrnn.text import TOKENIZERS

__all__ = [
    "ANY_TIME",
    "BPE",
    "CELLS",
    "CLASS_WEIGHTS",
    "DEVICES",
    "METRICS",
    "POOLINGS",
    "PRECISIONS",
    "SPLITS",
    "WORDS",
    "Settings",
]

# Pieces of words, learnt from the training rows (`pocketrnn_training.pieces`).
BPE: Final = "bpe"
# The tokenizer where none is named, and words do.
WORDS: Final = "basic_english"
SPLITS: Final = (*TOKENIZERS, BPE)
CELLS: Final = ("rnn_tanh", "rnn_relu", "lstm", "gru")
POOLINGS: Final = ("last", "mean", "max")
DEVICES: Final = ("auto", "cpu", "cuda")
PRECISIONS: Final = ("fp32", "bf16")
CLASS_WEIGHTS: Final = ("none", "balanced")
# What the best epoch is chosen by.
METRICS: Final = ("accuracy", "f1")
# What may change when a run is resumed: the settings that are not about what is learnt.
ANY_TIME: Final = ("device", "report_every", "threads")
# Where these are None, the data decides.
_BY_DATA: Final = (
    *("batch_size", "convolution", "dropout", "epoch_size", "epochs", "filters", "final_fit", "hidden_dim", "jitter"),
    *("label_smoothing", "linear", "metric", "min_freq", "scaling", "spelling", "stride", "time_masking", "tokenizer"),
)
# What is of one kind of data only.
_OF_TEXTS: Final = (
    *("tokenizer", "vocabulary_size", "piece_dropout", "ngrams", "max_tokens", "min_freq", "max_vocabulary"),
    *("vector_words", "spelling", "linear", "embedding_dim", "packed", "adversarial", "word_dropout", "teacher_weight"),
    "teacher_temperature",
)
_OF_NUMBERS: Final = ("convolution", "stride", "filters", "jitter", "scaling", "time_masking")
_HIDDEN_DIM: Final = 96
# What is chosen for sequences of numbers (docs/numbers.md, "How the defaults were chosen").
_NUMBERS: Final[dict[str, Any]] = {
    "convolution": 9,
    # A packed file has no size that is a part of the steps.
    "stride": 1,
    "filters": 32,
    "hidden_dim": 64,
    "jitter": 0.1,
    "scaling": 0.1,
    "time_masking": 0.1,
    "dropout": 0.5,
    "epochs": 10,
}
# An epoch of sequences has so many rows at least: fewer are read several times.
_LEAST_SEQUENCES: Final = 480
# From so many on, a step has as many as one of texts.
_MANY_SEQUENCES: Final = 2_000
# Pieces of a vocabulary for which no size is named.
_PIECES: Final = 4000
_FEWEST_PIECES: Final = 8
# Small sets need more epochs than large ones to learn as much, and many classes more than a few. Both numbers are for
# ten classes. TREC, of six, is right in 87.5 % of the validation rows after 7 epochs and in 87.0 after 10; Banking77,
# of 77, in 88.0 after 10 and 88.7 after 15.
_ROWS_READ: Final = 100_000
_LEAST_EPOCHS: Final = 4
_MOST_EPOCHS: Final = 9
# Of few rows there are more: of 500 of TREC's, 47.9 % of 1,000 validation rows are right after 9 epochs and 68.7 after
# 20; of 150 of snips', 20.0 after 9 and 87.9 after 60.
_LEAST_READ: Final = 10_000
_MOST_EPOCHS_OF_FEW: Final = 60
# Of fewer rows, words that occur once are known, too: of 150 of TREC's, 60.7 % of 1,000 rows are right for 56.6.
_FEW_ROWS: Final = 1_000
# From so many rows on, batches are of twice the size: fewer and cheaper steps, where there are enough of them.
_MANY_ROWS: Final = 20_000
# The dropout of a state of at least 128 numbers, in both directions together; of a smaller one it is less.
_DROPOUT: Final = 0.5
_DROPOUT_OF_EACH_NUMBER: Final = _DROPOUT / 128
# Each text teaches a label less than one class of it: 76.2 % micro F1 for 72.6 with a half (docs/training.md).
_DROPOUT_OF_SEVERAL_LABELS: Final = 0.3
_LABEL_SMOOTHING: Final = 0.05


@dataclass(frozen=True)
class Settings:
    """All choices of a training run.

    Attributes:
        tokenizer: a name in `SPLITS`: one of `pocketrnn.text.TOKENIZERS`, or `bpe` for pieces of words, learnt from the
            training rows. None for words (`basic_english`) or `bpe`, as the rows choose
            (`pocketrnn_training.token_choice`).
        vocabulary_size: the most pieces of `bpe`, `<unk>` and `<pad>` included; None for 4,000.
        piece_dropout: the share of merges that are skipped while training with `bpe`, so that a word is cut in another
            way in every epoch (BPE-dropout).
        ngrams: 1 for tokens alone, n for n-grams up to n beside them.
        max_tokens: how many tokens of a text are read, or None for all.
        min_freq: the vocabulary keeps tokens that occur this often in the training texts; None for twice, and for once
            of words in fewer than 1,000 rows. Of pieces: characters, and neighbours that become a piece.
        max_vocabulary: the largest number of tokens, `<unk>` and `<pad>` included, or None for all; not of pieces.
        vector_words: at most so many words that the training texts lack, or have less often than `min_freq`, are taken
            from the word vectors, as far as `max_vocabulary` leaves room.
        spelling: whether a word's row of the embedding is learnt together with the rows of its fragments of 3 to 5
            characters, so that words that are spelt alike learn from each other; the classifier is of the same size.
            None for that where words are the tokens and there are fewer than 20,000 rows.
        linear: whether a linear part is fitted beside the recurrent one, whose scores of tokens and of pairs of tokens
            are added to the logits (`pocketrnn_training.linear_part`). None for that where a text has one label, the
            tokens are words or pieces of words, the classifier reads in both directions and is packed, there are
            fewer than 20,000 rows and no teacher, and its tables have 2 million numbers at most.
        cell: a name in `CELLS`.
        embedding_dim: None for that of the word vectors, or 64 without them.
        convolution, stride, filters: of sequences of numbers: the convolution before the recurrent layers
            (`pocketrnn_training.architecture.SequenceArchitecture`). None for 9 steps, 1 and 32.
        hidden_dim: the size of the state of one layer in one direction; None for 96, and for 64 with numbers.
        layers: the number of stacked recurrent layers.
        bidirectional: read the text in both directions.
        dropout: see `pocketrnn_training.architecture.Architecture`; None for a half, or three tenths where a text can
            have several labels; less of it for a state of fewer than 128 numbers, and none where the run is of one
            epoch, which sees no row twice. Of numbers, a half.
        jitter, scaling, time_masking: how sequences of numbers are changed while training
            (`pocketrnn_training.augmentation`); None for a tenth each.
        pooling: a name in `POOLINGS`.
        packed: read each text by its length, so that padding is never seen.
        adversarial: adversarial training (Miyato et al. 2017): each row is trained a second time, with its embeddings
            moved in the direction that raises its loss, by this share of their length. 0 for no second time, which
            doubles the duration of a step.
        word_dropout: the share of tokens that are replaced by the unknown one while training, so that a text is not
            learnt by one of its words.
        label_smoothing: the share of a row's weight that all classes have alike (Szegedy et al. 2016); where a text can
            have several labels, how much of each label's answer is "as likely as not". None for 0.05, and for 0 where a
            text can have several.
        class_weights: `none` gives every row the same weight, `balanced` every class.
        teacher_weight: how much of the loss of a row with a label and a teacher's answer is that of the answer, from 0
            to 1. A row with only one of them is learnt from that alone.
        teacher_temperature: what the logits of student and teacher are divided by for that loss, from 1 upwards: the
            higher, the more of it is about the classes that the teacher thinks unlikely.
        batch_size: rows in a step, for each process; None for 64, or 128 where an epoch has 20,000 rows or more. Of
            fewer than 2,000 sequences of numbers, 16.
        learning_rate: the highest learning rate of AdamW. It rises to it during three tenths of all epochs that may be,
            from a 25th of it, and falls to 0 in the others, along cosines (Smith and Topin 2018: one cycle).
        epochs: the largest number of epochs, or None for as many as read 100,000 rows, from 4 to 9, or up to 60 of
            few rows; more for many classes, fewer for a few. Of sequences of numbers, 10.
        epoch_size: rows in an epoch, or None for all training rows; of fewer than 480 sequences of numbers, None is for
            480, so that each is read several times. The classifier is validated after each epoch.
        patience: stop after this many epochs without a better validation, or None for never: the best epochs of a
            cycle are its last.
        metric: a name in `METRICS`, by which epochs are compared: `accuracy`, or `f1`, the mean F1 of all classes. Of
            two equal epochs the one with the smaller loss is better. None for `accuracy`; where a text can have
            several labels, for `f1`, which is then that of all answers together.
        none_of_these: keep a threshold that this share of the right validation answers reaches. Below it, a text is
            given no label. None for no threshold; where a text can have several labels, each has its own anyway.
        validation_share: the share of each class that is held out, if no validation rows are given.
        final_fit: whether the classifier is fitted once more, on all rows, those too that were held out. Only where no
            validation rows and no teacher are given. None for that where there are fewer than 20,000 rows.
        seed: decides the held-out rows, the first weights, the order of the rows and the dropout.
        device: `auto` (CUDA where there is one), `cpu` or `cuda`.
        precision: `fp32`, or `bf16` for matrix products on GPUs; the weights stay in fp32.
        processes: the number of processes that share each batch, each on a CUDA device of its own or on the CPU.
        threads: how many processor cores a process uses. More than one gain little at these sizes, and lose much where
            other work runs beside (docs/training.md).
        report_every: report the running loss and accuracy every so many rows.

    Raises:
        InputError: a value is out of its range.

    Example:
        >>> Settings(cell="lstm", hidden_dim=64, epochs=12).epochs_for(1000, classes=2)
        12
    """

    tokenizer: str | None = None
    vocabulary_size: int | None = None
    piece_dropout: float = 0.1
    ngrams: int = 1
    max_tokens: int | None = 256
    min_freq: int | None = None
    max_vocabulary: int | None = 15_000
    vector_words: int = 10_000
    spelling: bool | None = None
    linear: bool | None = None
    cell: str = "gru"
    embedding_dim: int | None = None
    convolution: int | None = None
    stride: int | None = None
    filters: int | None = None
    hidden_dim: int | None = None
    layers: int = 1
    bidirectional: bool = True
    dropout: float | None = None
    jitter: float | None = None
    scaling: float | None = None
    time_masking: float | None = None
    pooling: str = "max"
    packed: bool = True
    adversarial: float = 0.0
    word_dropout: float = 0.05
    label_smoothing: float | None = None
    class_weights: str = "none"
    teacher_weight: float = 0.7
    teacher_temperature: float = 2.0
    batch_size: int | None = None
    learning_rate: float = 4e-3
    epochs: int | None = None
    epoch_size: int | None = None
    patience: int | None = None
    metric: str | None = None
    none_of_these: float | None = None
    validation_share: float = 0.1
    final_fit: bool | None = None
    seed: int = 0
    device: str = "auto"
    precision: str = "fp32"
    processes: int = 1
    threads: int = 1
    report_every: int = 1000

    @property
    def pieces(self) -> int:
        """The most pieces of `bpe`.

        Example:
            >>> Settings(tokenizer="bpe", vocabulary_size=500).pieces
            500
        """
        return _PIECES if self.vocabulary_size is None else self.vocabulary_size

    @property
    def asks_for_pieces(self) -> bool:
        """Whether texts are cut into pieces of words, whatever the rows are: by `bpe`, or by a vocabulary size.

        Example:
            >>> Settings(vocabulary_size=500).asks_for_pieces, Settings().asks_for_pieces
            (True, False)
        """
        return self.tokenizer == BPE or (self.tokenizer is None and self.vocabulary_size is not None)

    @property
    def has_words(self) -> bool:
        """Whether the tokens are single words, where a tokenizer is named.

        Example:
            >>> Settings(tokenizer="whitespace").has_words, Settings(tokenizer="characters").has_words
            (True, False)
        """
        return self.tokenizer != "characters" and self.ngrams == 1 and not self.asks_for_pieces

    def min_freq_for(self, rows: int, *, of_words: bool) -> int:
        """How often a token of the vocabulary must occur, in so many training rows; of words, or of pieces.

        Example:
            >>> Settings().min_freq_for(150, of_words=True), Settings().min_freq_for(5000, of_words=True)
            (1, 2)
        """
        if self.min_freq is not None:
            return self.min_freq
        return 1 if of_words and rows < _FEW_ROWS else 2

    def epochs_for(self, rows: int, classes: int) -> int:
        """The largest number of epochs, if an epoch has `rows` rows.

        Example:
            >>> Settings().epochs_for(5000, classes=6), Settings().epochs_for(5000, classes=77)
            (8, 13)
            >>> Settings().epochs_for(500, classes=6)
            20
        """
        if self.epochs is not None:
            return self.epochs
        of_classes = (1 + math.log10(classes)) / 2
        most = max(round(_MOST_EPOCHS * of_classes), min(_LEAST_READ // rows, _MOST_EPOCHS_OF_FEW))
        return min(max(round(_ROWS_READ * of_classes / rows), _LEAST_EPOCHS), most)

    def batch_size_for(self, rows: int) -> int:
        """The rows in a step, if an epoch has `rows` rows.

        Example:
            >>> Settings().batch_size_for(100_000)
            128
        """
        if self.batch_size is not None:
            return self.batch_size
        return 64 if rows < _MANY_ROWS else 128

    def check_for_texts(self) -> None:
        """Refuse choices that are of sequences of numbers: they would do nothing.

        Raises:
            InputError: one is named.

        Example:
            >>> Settings(hidden_dim=32).check_for_texts()
        """
        self._check_default(_OF_NUMBERS, "of sequences of numbers, and the data holds texts")

    def check_for_numbers(self) -> None:
        """Refuse choices that are of texts: they would do nothing.

        Raises:
            InputError: one is named.

        Example:
            >>> Settings(hidden_dim=32).check_for_numbers()
        """
        self._check_default(_OF_TEXTS, "of texts, and the data holds sequences of numbers")

    def _check_default(self, names: tuple[str, ...], what: str) -> None:
        for name in names:
            if getattr(self, name) != getattr(Settings, name):
                raise InputError(f"{name} is {getattr(self, name)}, which is {what}.", "Leave it out.")

    def document(self, *, of_numbers: bool) -> dict[str, Any]:
        """The choices by name, without those of the other kind of data.

        Example:
            >>> "tokenizer" in Settings().document(of_numbers=True)
            False
        """
        others = _OF_TEXTS if of_numbers else _OF_NUMBERS
        return {name: value for name, value in asdict(self).items() if name not in others}

    def other_than(self, before: Mapping[str, Any]) -> str:
        """The first setting that is another than that of a run to resume, in words; empty where none is.

        Args:
            before: the settings of that run, by name. What it lacks is of the other kind of data, which is told by the
                data.

        Example:
            >>> Settings(batch_size=8).other_than({"batch_size": 16})
            'batch_size 16, not 8'
        """
        for name, value in asdict(self).items():
            was = before.get(name, value)
            # What the data decides is compared when they were read.
            if value != was and name not in ANY_TIME and not (value is None and name in _BY_DATA):
                return f"{name} {was!r}, not {value!r}"
        return ""

    def check_tokens(self) -> None:
        """Refuse choices of the other kind of token than the one that is asked for: they would do nothing.

        Raises:
            InputError: `max_vocabulary` or `spelling` is named beside pieces, `piece_dropout` beside words, or `linear`
                beside padding.

        Example:
            >>> Settings(tokenizer="bpe", vocabulary_size=500).check_tokens()
        """
        if self.asks_for_pieces and self.max_vocabulary != Settings.max_vocabulary:
            raise InputError(
                f"max_vocabulary is {self.max_vocabulary}, which bounds words, and there are pieces.",
                "Bound the pieces by vocabulary_size.",
            )
        if self.asks_for_pieces and self.spelling:
            raise InputError(
                "spelling is of words, and pieces of words have their fragments already.",
                "Leave it out, or use another tokenizer.",
            )
        if self.linear and not self.packed:
            raise InputError(
                "A linear part reads a text by its length, and the classifier is to be padded.", "Ask for one of both."
            )
        if self.tokenizer not in (None, BPE) and self.piece_dropout not in (0, Settings.piece_dropout):
            raise InputError(
                f"piece_dropout is {self.piece_dropout}, and the tokenizer {self.tokenizer} has no pieces.",
                f"Use the tokenizer {BPE}, or leave it out: word_dropout is for words.",
            )

    def dropout_for(self, epochs: int, *, several_labels: bool = False) -> float:
        """The share of values set to zero while training, in a run of so many epochs.

        Example:
            >>> Settings(hidden_dim=32, bidirectional=False).dropout_for(8)
            0.125
        """
        if self.dropout is not None:
            return self.dropout
        if epochs == 1:
            return 0.0
        most = _DROPOUT_OF_SEVERAL_LABELS if several_labels else _DROPOUT
        return min(most, _DROPOUT_OF_EACH_NUMBER * (self.hidden_dim or _HIDDEN_DIM) * (2 if self.bidirectional else 1))

    def decided(self, rows: int, classes: int, *, several_labels: bool = False) -> Settings:
        """The same with what the numbers of training rows and of classes decide, and whether a text can have several.

        Example:
            >>> Settings(epochs=3).decided(1000, classes=2).batch_size
            64
        """
        few = rows < _MANY_ROWS
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
            hidden_dim=self.hidden_dim or _HIDDEN_DIM,
            label_smoothing=_smoothing(self.label_smoothing, several_labels),
            linear=with_linear if self.linear is None else self.linear,
            metric=self.metric or ("f1" if several_labels else "accuracy"),
            spelling=few and self.has_words if self.spelling is None else self.spelling,
        )

    def decided_for_numbers(self, rows: int) -> Settings:
        """The same with what the number of training rows decides, for sequences of numbers.

        Example:
            >>> decided = Settings().decided_for_numbers(40)
            >>> decided.epoch_size, decided.batch_size, decided.epochs
            (480, 16, 10)
        """
        named = {name: value for name, value in asdict(self).items() if value is not None}
        size = self.epoch_size or (None if rows >= _LEAST_SEQUENCES else _LEAST_SEQUENCES)
        made = {
            **_NUMBERS,
            "batch_size": 16 if rows < _MANY_SEQUENCES else self.batch_size_for(rows),
            "final_fit": rows < _MANY_ROWS,
            "label_smoothing": _LABEL_SMOOTHING,
            "metric": "accuracy",
            **named,
            "epoch_size": size,
        }
        return replace(self, **made)

    def __post_init__(self) -> None:
        for name in ("batch_size", "epochs", "report_every", "epoch_size", "patience", "processes", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} is {value}.", "Use a number from 1.")
        for name in ("hidden_dim", "stride", "filters"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}.", "Use a number from 1.")
        if self.convolution is not None and (self.convolution < 0 or (self.convolution and self.convolution % 2 == 0)):
            raise InputError(
                f"convolution is {self.convolution}.", "Use an odd number of steps, such as 9, or 0 for none."
            )
        for name in ("jitter", "scaling"):
            if not 0 <= (getattr(self, name) or 0) < float("inf"):
                raise InputError(f"{name} is {getattr(self, name)}.", "Use a number from 0, such as 0.1.")
        if self.max_vocabulary is not None and self.max_vocabulary <= 2:
            # Two are for unknown words and for padding.
            raise InputError(f"max_vocabulary is {self.max_vocabulary}.", "Use a number from 3.")
        if self.vector_words < 0:
            raise InputError(f"vector_words is {self.vector_words}.", "Use a number from 0.")
        if not 0 < self.learning_rate < float("inf"):
            raise InputError(f"learning_rate is {self.learning_rate}.", "Use a number above 0, such as 0.001.")
        if self.none_of_these is not None and not 0 < self.none_of_these <= 1:
            raise InputError(f"none_of_these is {self.none_of_these}.", "Use a share above 0, up to 1, such as 0.95.")
        if not 0 < self.validation_share < 1:
            raise InputError(f"validation_share is {self.validation_share}.", "Use a share between 0 and 1.")
        if not 0 <= self.seed < 2**63:
            raise InputError(f"seed is {self.seed}.", "Use a number from 0.")
        if not 0 <= self.adversarial < 1:
            raise InputError(f"adversarial is {self.adversarial}.", "Use a share from 0 up to, but not including, 1.")
        if not 0 <= self.teacher_weight <= 1:
            raise InputError(f"teacher_weight is {self.teacher_weight}.", "Use a share from 0 to 1.")
        if not 1 <= self.teacher_temperature < 100:
            raise InputError(f"teacher_temperature is {self.teacher_temperature}.", "Use a number from 1 to below 100.")
        for name in ("piece_dropout", "word_dropout", "label_smoothing", "time_masking"):
            if not 0 <= (getattr(self, name) or 0) < 1:
                raise InputError(f"{name} is {getattr(self, name)}.", "Use a share from 0 up to, but not including, 1.")
        self._check_pieces()
        for name, known in (
            ("device", DEVICES),
            ("precision", PRECISIONS),
            ("class_weights", CLASS_WEIGHTS),
            ("tokenizer", SPLITS),
            ("metric", METRICS),
        ):
            if getattr(self, name) not in known and (name not in _BY_DATA or getattr(self, name) is not None):
                raise InputError(f"{name} is {getattr(self, name)!r}.", f"Use one of: {', '.join(known)}.")

    def _check_pieces(self) -> None:
        if self.tokenizer not in (None, BPE):
            if self.vocabulary_size is not None:
                raise InputError(
                    f"vocabulary_size is {self.vocabulary_size}, and the tokenizer {self.tokenizer} has no pieces.",
                    f"Use the tokenizer {BPE}, or bound the words by max_vocabulary.",
                )
            return
        if self.pieces < _FEWEST_PIECES:
            raise InputError(f"vocabulary_size is {self.pieces}.", f"Use a number from {_FEWEST_PIECES}.")
        if self.ngrams > 1 and self.asks_for_pieces:
            raise InputError(
                f"ngrams is {self.ngrams}, and pieces of words have no n-grams.",
                "Leave it at 1, or use another tokenizer: the pieces of a word are n-grams of its characters already.",
            )


def _smoothing(asked: float | None, several_labels: bool) -> float:
    if asked is not None:
        return asked
    # Where a text has two of a hundred labels, a twentieth of "as likely as not" is more than the labels themselves.
    return 0.0 if several_labels else _LABEL_SMOOTHING
