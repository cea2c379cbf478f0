"""The settings that training runs of all kinds have, and their defaults. This needs no PyTorch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, Final, Self

from pocketrnn.errors import InputError

__all__ = [
    "ANY_TIME",
    "CELLS",
    "CLASS_WEIGHTS",
    "DEVICES",
    "FEW_VALIDATION_ROWS",
    "LABEL_SMOOTHING",
    "MANY_ROWS",
    "METRICS",
    "NO_POOLING",
    "POOLINGS",
    "PRECISIONS",
    "QRNN",
    "Settings",
    "check_values_of_settings",
    "make_data_dependent_field",
]

# The cell whose recurrent weights are zeros (`pocketrnn_training.classifiers.architecture.Architecture`).
QRNN: Final = "qrnn"
CELLS: Final = ("rnn_tanh", "rnn_relu", "lstm", "gru", QRNN)
POOLINGS: Final = ("last", "mean", "max")
# A tagger does not pool: each of its steps has an answer.
NO_POOLING: Final = "none"
DEVICES: Final = ("auto", "cpu", "cuda")
PRECISIONS: Final = ("fp32", "bf16")
CLASS_WEIGHTS: Final = ("none", "balanced")
# The measures that choose the best epoch.
METRICS: Final = ("accuracy", "f1")
# The settings that may change when a run is resumed, since they do not change the classifier.
ANY_TIME: Final = ("device", "report_every", "threads")
# From this many rows on, batches are twice as large: there are enough steps, and fewer are cheaper.
MANY_ROWS: Final = 20_000
# With fewer validation rows, one row is half a point of the accuracy or more, and the standard error is 3 points. Folds
# of all rows are then used to measure the classifier, and the weights of the parts are not fitted on so few rows.
FEW_VALIDATION_ROWS: Final = 200
LABEL_SMOOTHING: Final = 0.05
_BY_DATA: Final = "by_data"


def make_data_dependent_field() -> Any:
    """Define a dataclass field for a setting with the default None, which means that the data decides the value."""
    return field(default=None, metadata={_BY_DATA: True})


@dataclass(frozen=True)
class Settings(ABC):
    """The settings that all training runs have: for the layers, the training loop and the machine.

    A run uses `TextSettings`, `NumberSettings` or `TagSettings`, which add the settings of their rows.

    Attributes:
        cell: a name in `CELLS` (`pocketrnn_training.classifiers.architecture.Architecture`; docs/training.md,
            "Which cell").
        hidden_dim: the size of the state of one layer in one direction. None for 96, 128 if the cell is `qrnn`, or 64
            for sequences of numbers.
        layers: the number of stacked recurrent layers.
        bidirectional: whether a row is read in both directions.
        dropout: the share of values that training sets to zero (`Architecture.dropout`). None for 0.5, or 0.3 if a text
            can have several labels; less for a state of fewer than 128 numbers, and 0 for a run of one epoch. For
            sequences of numbers the default is 0.5.
        pooling: a name in `POOLINGS`.
        label_smoothing: the share of a row's target that is spread over all classes (Szegedy et al. 2016). If a text
            can have several labels, this share of each label's target becomes 0.5. None for 0.05, or for 0 if a text
            can have several labels.
        class_weights: `none` if every row has the same weight, `balanced` if every class has the same weight.
        batch_size: the number of rows in a step of each process. None for 64, 128 if an epoch has 20,000 rows or more,
            or 16 for fewer than 2,000 sequences of numbers.
        learning_rate: the highest learning rate of AdamW. It rises from a 25th of this value during the first 30 % of
            the largest number of epochs, and then falls to 0, along cosines (Smith and Topin 2018: one cycle).
        epochs: the largest number of epochs. None for so many that 100,000 rows are read, but from 4 to 9 (up to 20 for
            few rows); more for many classes. For sequences of numbers the default is 10.
        epoch_size: the number of rows of an epoch, after which the classifier is validated. None for all training rows,
            or 480 if there are fewer sequences of numbers, so that each is read several times.
        patience: the number of epochs without a better validation after which training stops. None for never, since
            the last epochs of a learning rate cycle are the best.
        metric: a name in `METRICS`, by which epochs are compared: `accuracy`, or `f1` for macro F1. If two epochs are
            equal, the one with the smaller loss is better. None for `accuracy`, or for `f1` if a text can have several
            labels, which is the micro F1 for such texts.
        none_of_these: the share of the correct validation answers that must reach the threshold below which a row gets
            no label. None for no threshold. If a text can have several labels, each label has a threshold anyway.
        validation_share: the share of each class that is held out, if no validation rows are given.
        final_fit: whether the classifier is fitted once more, on all rows including those that were held out; only
            without validation rows and without a teacher. None for true if there are fewer than 20,000 rows.
        seed: decides the held-out rows, the initial weights, the order of the rows and the dropout.
        device: `auto` (CUDA where there is one), `cpu` or `cuda`.
        precision: `fp32`, or `bf16` for matrix products on GPUs; the weights stay in fp32.
        processes: the number of processes that share each batch, each on a CUDA device of its own or on the CPU.
        threads: the number of processor cores that a process uses. More than one helps little with such small layers,
            and slows training down if other programs use the cores, too (docs/training.md).
        report_every: the number of rows after which the running loss and accuracy are reported.

    Raises:
        InputError: a value is out of its range.

    Example:
        >>> TextSettings(cell="lstm", epochs=12).epochs, NumberSettings().epochs
        (12, 10)
    """

    # The word for the rows; and whether a run learns only from the rows, without word vectors or a teacher.
    ROWS: ClassVar[str]
    ALONE: ClassVar[bool] = False

    cell: str = "gru"
    hidden_dim: int | None = make_data_dependent_field()
    layers: int = 1
    bidirectional: bool = True
    dropout: float | None = make_data_dependent_field()
    pooling: str = "max"
    label_smoothing: float | None = make_data_dependent_field()
    class_weights: str = "none"
    batch_size: int | None = make_data_dependent_field()
    learning_rate: float = 4e-3
    epochs: int | None = make_data_dependent_field()
    epoch_size: int | None = make_data_dependent_field()
    patience: int | None = None
    metric: str | None = make_data_dependent_field()
    none_of_these: float | None = None
    validation_share: float = 0.1
    final_fit: bool | None = make_data_dependent_field()
    seed: int = 0
    device: str = "auto"
    precision: str = "fp32"
    processes: int = 1
    threads: int = 1
    report_every: int = 1000

    @abstractmethod
    def epochs_for(self, epoch_rows: int, classes: int) -> int:
        """Return the largest number of epochs of a run whose epochs have `epoch_rows` rows of `classes` classes."""

    @abstractmethod
    def fill_missing_values(self, rows: int, classes: int, *, several_labels: bool = False) -> Self:
        """Return the settings with a value for each None that the data decides.

        Args:
            rows: the number of training rows.
            classes: the number of classes.
            several_labels: whether a row can have several labels.
        """

    def refuse_unsupported_sources(self, **sources: object) -> None:
        """Check that a run on this kind of rows can learn from all given sources, such as a teacher.

        Args:
            sources: the sources by name: `teacher`, `word_vectors` and `before`; None or () for one that is not given.

        Raises:
            InputError: a source is given that this kind of rows does not support.

        Example:
            >>> NumberSettings().refuse_unsupported_sources(teacher=None)
        """
        for name, value in sources.items():
            if self.ALONE and value not in (None, ()):
                said = {"before": "A checkpoint to continue from"}.get(name, name.replace("_", " ").capitalize())
                are = "are" if said.endswith("s") else "is"
                raise InputError(
                    f"{said} {are} for texts, but the data holds {self.ROWS}.",
                    f"Leave out {said[0].lower()}{said[1:]}.",
                )

    def batch_size_for(self, epoch_rows: int) -> int:
        """Return the batch size of a training step, if an epoch has `epoch_rows` rows.

        Example:
            >>> TextSettings().batch_size_for(100_000)
            128
        """
        if self.batch_size is not None:
            return self.batch_size
        return 64 if epoch_rows < MANY_ROWS else 128

    def describe_first_difference(self, before: Mapping[str, Any]) -> str:
        """Describe the first setting whose value differs from that of the run to resume; return "" if none differs.

        Settings that do not change the classifier, or that the data decides, are not compared.

        Args:
            before: the settings of the run to resume, by name. A setting that is missing here is not compared.

        Example:
            >>> TextSettings(batch_size=8).describe_first_difference({"batch_size": 16})
            'batch_size 16, not 8'
        """
        undecided = {one.name for one in fields(self) if _BY_DATA in one.metadata and getattr(self, one.name) is None}
        for name, value in asdict(self).items():
            # Settings that the data decides are compared later, once it is read.
            if name not in (*ANY_TIME, *undecided) and (was := before.get(name, value)) != value:
                return f"{name} {was!r}, not {value!r}"
        return ""

    def __post_init__(self) -> None:
        counts = ("hidden_dim", "batch_size", "epochs", "epoch_size", "patience", "processes", "threads")
        one_or_more = "Give a whole number of 1 or more."
        check_values_of_settings(self, lambda count: count >= 1, one_or_more, *counts, "report_every")
        check_values_of_settings(
            self, lambda rate: 0 < rate < float("inf"), "Give a number above 0, such as 0.001.", "learning_rate"
        )
        check_values_of_settings(
            self, lambda share: 0 < share <= 1, "Give a share above 0 and up to 1, such as 0.95.", "none_of_these"
        )
        between = "Give a share above 0 and below 1, such as 0.1."
        check_values_of_settings(self, lambda share: 0 < share < 1, between, "validation_share")
        check_values_of_settings(self, lambda seed: 0 <= seed < 2**63, "Give a whole number of 0 or more.", "seed")
        check_values_of_settings(self, is_at_least_0_and_below_1, A_SHARE, "label_smoothing")
        for name, known in (
            ("device", DEVICES),
            ("precision", PRECISIONS),
            ("class_weights", CLASS_WEIGHTS),
            ("metric", METRICS),
        ):
            check_values_of_settings(self, known.__contains__, f"Use one of: {', '.join(known)}.", name)


A_SHARE: Final = "Give a number of at least 0 and below 1."


def is_at_least_0_and_below_1(value: float) -> bool:
    """Return whether a number is at least 0 and below 1."""
    return 0 <= value < 1


def check_values_of_settings(settings: Settings, is_valid: Callable[[Any], bool], remedy: str, *names: str) -> None:
    """Check with the function `is_valid` that the values of some settings are in their range.

    Args:
        settings: the settings.
        is_valid: the function that returns whether a value is valid. It is not called for None, which is valid if the
            type of the setting allows None.
        remedy: the sentence of the error that says what to do.
        names: the names of the settings to check.

    Raises:
        InputError: a value is not valid; the error names the first such setting.
    """
    types = {one.name: str(one.type) for one in fields(settings)}
    for name in names:
        value = getattr(settings, name)
        if not ("None" in types[name] if value is None else is_valid(value)):
            raise InputError(f"{name} is {value!r}, which is not a valid value for this setting.", remedy)
