"""The settings of a training run of sequences of numbers, and their defaults. This needs no PyTorch.

See docs/numbers.md, "How the defaults were chosen".
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import ClassVar, Final

from pocketrnn.errors import InputError
from pocketrnn_training.settings.settings_of_all_runs import (
    A_SHARE,
    FEW_VALIDATION_ROWS,
    LABEL_SMOOTHING,
    MANY_ROWS,
    Settings,
    check_values_of_settings,
    is_at_least_0_and_below_1,
    make_data_dependent_field,
)

__all__ = ["OF_LAYERS", "NumberSettings"]

# An epoch of sequences has at least this many rows: fewer sequences are read several times.
_LEAST_SEQUENCES: Final = 480
# From this many sequences on, a batch is as large as one of texts.
_MANY_SEQUENCES: Final = 2_000
_SMALL_BATCH: Final = 16
_KERNELS: Final = 1_008
# The settings of recurrent layers and their training; a user who gives one of them asks for recurrent layers.
OF_LAYERS: Final = (
    *("cell", "hidden_dim", "layers", "bidirectional", "dropout", "pooling", "convolution", "stride", "filters"),
    *("label_smoothing", "learning_rate", "epochs", "epoch_size", "batch_size", "patience"),
    *("jitter", "scaling", "time_masking"),
)


@dataclass(frozen=True)
class NumberSettings(Settings):
    """The settings of a training run of sequences of numbers, in addition to those of `Settings`.

    Attributes:
        kernels: the number of random convolution kernels that the classifier has in place of recurrent layers
            (`pocketrnn_training.classifiers.random_kernel_classifier`); 0 for recurrent layers. None for 1,008, or for
            0 if a setting of recurrent layers is given.
        convolution: the kernel size of the convolution before the recurrent layers, an odd number of steps; 0 for no
            convolution.
        stride: the stride of the convolution. If it is above 1, the recurrent layers read fewer steps, and
            `pocketrnn pack` refuses the classifier.
        filters: the number of output channels of the convolution.
        jitter: the standard deviation of the noise that training adds to the samples.
        scaling: the standard deviation of the random factors by which training multiplies the channels.
        time_masking: the largest share of the steps of a sequence that training sets to zero.

    Raises:
        InputError: a value is out of its range; or `kernels` is above 0, and a setting of recurrent layers is given.

    Example:
        >>> NumberSettings(convolution=5).filters
        32
    """

    ROWS: ClassVar[str] = "sequences of numbers"
    ALONE: ClassVar[bool] = True

    hidden_dim: int = 64
    dropout: float = 0.5
    label_smoothing: float = LABEL_SMOOTHING
    epochs: int = 10
    metric: str = "accuracy"
    kernels: int | None = make_data_dependent_field()
    convolution: int = 9
    # A packed file cannot have a stride.
    stride: int = 1
    filters: int = 32
    jitter: float = 0.1
    scaling: float = 0.1
    time_masking: float = 0.1

    @property
    def changed_layer_settings(self) -> tuple[str, ...]:
        """The names of the settings of recurrent layers that the user changed from their defaults.

        Example:
            >>> NumberSettings(hidden_dim=32).changed_layer_settings
            ('hidden_dim',)
        """
        defaults = {one.name: one.default for one in fields(self)}
        return tuple(name for name in OF_LAYERS if getattr(self, name) != defaults[name])

    @property
    def kernels_asked_for(self) -> int:
        """The number of random kernels that the user or the default asks for; 0 for recurrent layers.

        Example:
            >>> NumberSettings().kernels_asked_for, NumberSettings(hidden_dim=32).kernels_asked_for
            (1008, 0)
        """
        if self.kernels is not None:
            return self.kernels
        return 0 if self.changed_layer_settings else _KERNELS

    def by_folds(self, rows: int) -> bool:
        """Return whether cross-validation measures the accuracy, since the rows (or recordings) are few.

        Otherwise a part of the rows is held out for validation.

        Example:
            >>> NumberSettings().by_folds(36), NumberSettings().by_folds(5000), NumberSettings(kernels=0).by_folds(36)
            (True, False, False)
        """
        return self.kernels_asked_for > 0 and rows * self.validation_share < FEW_VALIDATION_ROWS

    def epochs_for(self, epoch_rows: int, classes: int) -> int:  # noqa: ARG002 - sequences are few, whatever they are
        """Return the largest number of epochs of a run, the same for any number of rows and classes.

        Example:
            >>> NumberSettings().epochs_for(480, classes=4)
            10
        """
        return self.epochs

    def fill_missing_values(self, rows: int, classes: int, *, several_labels: bool = False) -> NumberSettings:  # noqa: ARG002
        """Return the settings with a value for each None that the number of training rows decides.

        Example:
            >>> decided = NumberSettings(kernels=0).fill_missing_values(40, classes=4)
            >>> decided.epoch_size, decided.batch_size
            (480, 16)
        """
        settled = replace(
            self,
            kernels=self.kernels_asked_for,
            final_fit=rows < MANY_ROWS if self.final_fit is None else self.final_fit,
        )
        if settled.kernels:
            return settled
        small = self.batch_size is None and rows < _MANY_SEQUENCES
        return replace(
            settled,
            batch_size=_SMALL_BATCH if small else self.batch_size_for(rows),
            epoch_size=self.epoch_size or (None if rows >= _LEAST_SEQUENCES else _LEAST_SEQUENCES),
        )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_values_of_settings(
            self, lambda count: count >= 0, "Give a whole number of 1 or more, or 0 for recurrent layers.", "kernels"
        )
        one_or_more = "Give a whole number of 1 or more."
        check_values_of_settings(self, lambda count: count >= 1, one_or_more, "stride", "filters")
        odd = "Give an odd number of steps, such as 9, or 0 for no convolution."
        check_values_of_settings(self, lambda steps: steps == 0 or (steps > 0 and steps % 2 == 1), odd, "convolution")
        check_values_of_settings(
            self, lambda more: 0 <= more < float("inf"), "Give a number of 0 or more, such as 0.1.", "jitter", "scaling"
        )
        check_values_of_settings(self, is_at_least_0_and_below_1, A_SHARE, "time_masking")
        if self.kernels and (named := self.changed_layer_settings):
            name, value = named[0], getattr(self, named[0])
            raise InputError(
                f"kernels is {self.kernels}, so the classifier has no recurrent layers, but {name} is {value}, which "
                "is a setting of recurrent layers.",
                f"Leave out one of the two settings, kernels or {name}.",
            )
