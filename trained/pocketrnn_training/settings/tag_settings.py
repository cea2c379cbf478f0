"""The settings of a training run of taggers, and their defaults. This needs no PyTorch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Final

from pocketrnn.errors import InputError
from pocketrnn_training.settings.settings_of_all_runs import (
    A_SHARE,
    MANY_ROWS,
    Settings,
    check_values_of_settings,
    is_at_least_0_and_below_1,
    make_data_dependent_field,
)

__all__ = ["TagSettings"]

_PIECES: Final = 4000
_EMBEDDING_DIM: Final = 100
_FEWEST_PIECES: Final = 8
# The number of sentences that all epochs read together, and the smallest and largest number of epochs.
_SENTENCES_READ: Final = 100_000
_LEAST_EPOCHS: Final = 8
_MOST_EPOCHS: Final = 20
_SMALL_BATCH: Final = 16
_BATCH: Final = 32
_FEW_ROWS: Final = 5_000


@dataclass(frozen=True)
class TagSettings(Settings):
    """The settings of a training run of taggers, in addition to those of `Settings`.

    Attributes:
        vocabulary_size: the largest number of pieces of words, including `<unk>` and `<pad>`; None for 4,000.
        piece_dropout: the share of merges that training skips at random, so that every epoch cuts words into other
            pieces (BPE-dropout).
        min_freq: how often a character, or a pair that is merged into a piece, must occur; None for 2.
        embedding_dim: the size of the embedding of a piece; None for 100.
        word_dropout: the share of pieces that training replaces by the unknown token.

    Raises:
        InputError: a value is out of its range, or a setting is given that is only for classifiers of whole texts.

    Example:
        >>> TagSettings(epochs=3).vocabulary_size is None
        True
    """

    ROWS: ClassVar[str] = "sentences of words with labels"
    ALONE: ClassVar[bool] = True

    hidden_dim: int = 128
    # Accuracy on the validation words of UD English EWT: 92.9 % with 0.5 and an embedding of 64, 93.4 with these.
    dropout: float = 0.25
    label_smoothing: float = 0.0
    vocabulary_size: int | None = None
    piece_dropout: float = 0.1
    min_freq: int | None = make_data_dependent_field()
    embedding_dim: int | None = make_data_dependent_field()
    word_dropout: float = 0.05

    @property
    def pieces(self) -> int:
        """The largest number of pieces of words in the vocabulary.

        Example:
            >>> TagSettings().pieces
            4000
        """
        return _PIECES if self.vocabulary_size is None else self.vocabulary_size

    def epochs_for(self, epoch_rows: int, classes: int) -> int:  # noqa: ARG002 - labels are few
        """Return the largest number of epochs of a run whose epochs have `epoch_rows` sentences.

        Example:
            >>> TagSettings().epochs_for(3000, classes=13), TagSettings().epochs_for(12_500, classes=17)
            (20, 8)
        """
        return self.epochs or min(max(round(_SENTENCES_READ / epoch_rows), _LEAST_EPOCHS), _MOST_EPOCHS)

    def batch_size_for(self, epoch_rows: int) -> int:
        """Return the number of sentences in a batch, if an epoch has `epoch_rows` sentences.

        Example:
            >>> TagSettings().batch_size_for(3000), TagSettings().batch_size_for(12_500)
            (16, 32)
        """
        return self.batch_size or (_SMALL_BATCH if epoch_rows < _FEW_ROWS else _BATCH)

    def fill_missing_values(self, rows: int, classes: int, *, several_labels: bool = False) -> TagSettings:  # noqa: ARG002
        """Return the settings with a value for each None that the number of training sentences decides.

        Example:
            >>> TagSettings().fill_missing_values(3000, classes=13).epochs
            20
        """
        of_epoch = self.epoch_size or rows
        return replace(
            self,
            batch_size=self.batch_size_for(of_epoch),
            epochs=self.epochs_for(of_epoch, classes),
            final_fit=rows < MANY_ROWS if self.final_fit is None else self.final_fit,
            embedding_dim=self.embedding_dim or _EMBEDDING_DIM,
            metric=self.metric or "accuracy",
            min_freq=self.min_freq or 2,
        )

    def __post_init__(self) -> None:
        super().__post_init__()
        one_or_more = "Give a whole number of 1 or more."
        check_values_of_settings(self, lambda count: count >= 1, one_or_more, "min_freq", "embedding_dim")
        enough = f"Give a whole number of {_FEWEST_PIECES} or more."
        check_values_of_settings(self, lambda size: size >= _FEWEST_PIECES, enough, "vocabulary_size")
        check_values_of_settings(self, is_at_least_0_and_below_1, A_SHARE, "piece_dropout", "word_dropout", "dropout")
        for name in ("pooling", "none_of_these"):
            if getattr(self, name) != getattr(Settings, name):
                raise InputError(
                    f"{name} is {getattr(self, name)!r}, but this setting is for classifiers that give a whole text a "
                    "label, and a tagger labels each word.",
                    f"Leave out the setting {name}.",
                )
