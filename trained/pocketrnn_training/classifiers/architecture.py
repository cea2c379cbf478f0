"""The architecture of a recurrent classifier: its cell, the sizes of its layers, and what they compute."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Final

from pocketrnn.errors import InputError
from pocketrnn_training.classifiers.linear_classifier import LinearArchitecture, check_pair_and_joint_table_rows
from pocketrnn_training.classifiers.random_kernels import KernelArchitecture
from pocketrnn_training.settings.base_settings import CELLS, NO_POOLING, POOLINGS

__all__ = [
    "AnyArchitecture",
    "Architecture",
    "SequenceArchitecture",
    "labels_tokens",
]

# Far more than a recurrent classifier needs, and small enough that a larger value gives an error and not a crash.
_LARGEST_DIM: Final = 65_536
_MOST_LAYERS: Final = 64


@dataclass(frozen=True)
class Architecture:
    """The sizes of the weights of a classifier of texts, and what it computes with them.

    Attributes:
        cell: a name in `settings.CELLS`: Elman RNN with tanh or relu, LSTM, or GRU, as PyTorch defines them; or `qrnn`,
            a GRU whose recurrent weights and biases are zero and stay so, and whose first layer gets each step together
            with the step before it (`append_previous_step`). It is the quasi-recurrent layer of Bradbury et al. 2016.
        vocabulary_size: the rows of the embedding.
        embedding_dim: the size of the embedding of a token.
        hidden_dim: the size of the state of one layer in one direction.
        layers: the number of stacked recurrent layers.
        bidirectional: read the text in both directions.
        dropout: the share of values set to zero while training: in the pooled state and between layers; in the
            embeddings, three fifths of this share. All steps of a text lose the same ones (Gal and Ghahramani 2016).
        pooling: a name in `settings.POOLINGS`: how the states of the last layer become the input of the linear layer;
            or `none`, where each token has a label and the linear layer is applied to each state.
        packed: read each row by its length, so that padding is never read. Without it padding is read like text, and
            an answer depends on how much padding the row has in its batch.
        classes: the number of logits.
        padding_id: the token id that fills the rows of a batch.
        pairs: the rows of the table of pairs of tokens of the linear part (`pocketrnn_training.texts.linear_part`); 0
            for a classifier without one.
        joints: the rows of its table of characters where pieces of words meet; 0 without one.
        two_texts: whether a row is two texts, which are read by the same layers and compared (`PairClassifier`).
        crf: whether a CRF decodes the labels of words, where each token has a label (`CrfLayer`).

    Raises:
        InputError: a value is out of its range.

    Example:
        >>> Architecture(
        ...     cell="gru", vocabulary_size=1000, embedding_dim=64, hidden_dim=32, layers=1, bidirectional=True,
        ...     dropout=0.5, pooling="max", packed=True, classes=4, padding_id=1,
        ... ).cell
        'gru'
    """

    cell: str
    vocabulary_size: int
    embedding_dim: int
    hidden_dim: int
    layers: int
    bidirectional: bool
    dropout: float
    pooling: str
    packed: bool
    classes: int
    padding_id: int
    pairs: int = 0
    joints: int = 0
    two_texts: bool = False
    crf: bool = False

    def __post_init__(self) -> None:
        _check_layers(self, "vocabulary_size", "embedding_dim")
        check_pair_and_joint_table_rows(self.pairs, self.joints)
        if self.two_texts and (self.pairs or not self.packed or labels_tokens(self)):
            raise InputError(
                "A classifier of two texts cannot be padded, label tokens or have a linear part.",
                "Set packed=True, pairs=0 and a pooling such as max.",
            )
        if labels_tokens(self) and (self.pairs or not self.packed):
            raise InputError(
                "A classifier that labels tokens cannot be padded or have a linear part.",
                "Set packed=True and pairs=0.",
            )
        if self.crf and not labels_tokens(self):
            raise InputError("A CRF decodes labels of tokens, but the classifier labels texts.", "Leave crf out.")
        if self.pairs and not self.packed:
            raise InputError("A linear part needs a packed classifier, not a padded one.", "Set packed to True.")
        if not 0 <= self.padding_id < self.vocabulary_size:
            raise InputError(
                f"padding_id is {self.padding_id}, but the embedding has {self.vocabulary_size} rows.",
                "Use the id of a token of the vocabulary.",
            )

    @property
    def linear_only_architecture(self) -> LinearArchitecture:
        """The architecture of only the linear part."""
        return LinearArchitecture(self.vocabulary_size, self.classes, self.padding_id, self.pairs, self.joints)

    @property
    def input_dim(self) -> int:
        """The number of features of a step before the recurrent layers: the size of an embedding.

        A `qrnn` reads twice as many, since it reads the step before, too.
        """
        return self.embedding_dim

    @property
    def padding_value(self) -> int:
        """The value that pads the rows of a batch."""
        return self.padding_id

    @property
    def input_description(self) -> str:
        """The input, in words for a report."""
        more = ", two texts" if self.two_texts else ", with a linear part" if self.pairs else ""
        return f"{self.vocabulary_size:,} tokens{more}"

    @property
    def pooled_dim(self) -> int:
        """The input size of the last linear layer: the size of a pooled state; four times that for two texts."""
        return _compute_state_dim(self) * (4 if self.two_texts else 1)

    @property
    def summary(self) -> str:
        """The layers, in words for a report."""
        return _describe_recurrent_layers(self)

    @property
    def without_linear_part(self) -> Architecture:
        """The architecture of only the recurrent part."""
        return replace(self, pairs=0, joints=0)


@dataclass(frozen=True)
class SequenceArchitecture:
    """The sizes of the weights of a classifier of sequences of numbers, and what it computes with them.

    Each row is read by its length, so that padding is never read.

    Attributes:
        channels: how many numbers a step has.
        convolution: the kernel size of the convolution before the recurrent layers, an odd number; 0 for
            no convolution.
        stride: the stride of the convolution: above 1, the recurrent layers read fewer steps.
        filters: the number of filters.
        cell, hidden_dim, layers, bidirectional, pooling, classes: as `Architecture`.
        dropout: the share of values set to zero while training, of the pooled state and between layers.

    Raises:
        InputError: a value is out of its range.
    """

    # The value that pads the rows of a batch; and whether each row is read by its length.
    padding_value: ClassVar[float] = 0.0
    packed: ClassVar[bool] = True

    channels: int
    convolution: int
    stride: int
    filters: int
    cell: str
    hidden_dim: int
    layers: int
    bidirectional: bool
    dropout: float
    pooling: str
    classes: int

    def __post_init__(self) -> None:
        _check_layers(self, "channels", "stride", "filters")
        if self.convolution != 0 and (self.convolution < 1 or self.convolution % 2 == 0):
            raise InputError(
                f"convolution is {self.convolution}, but a kernel size must be odd.",
                "Use an odd number of steps, such as 9, or 0 for no convolution.",
            )
        if max(self.channels, self.convolution, self.stride) > _LARGEST_DIM:
            raise InputError(
                f"A convolution of {self.convolution} steps of {self.channels} channels with a stride of "
                f"{self.stride} is too large.",
                f"Use at most {_LARGEST_DIM} of each.",
            )

    @property
    def input_dim(self) -> int:
        """The number of features of a step before the recurrent layers: the filters or, without a convolution,
        channels.

        A `qrnn` reads twice as many, since it reads the step before, too.
        """
        return self.filters if self.convolution else self.channels

    @property
    def pooled_dim(self) -> int:
        """The input size of the last linear layer: the size of a pooled state."""
        return _compute_state_dim(self)

    @property
    def input_description(self) -> str:
        """The input, in words for a report."""
        said = f"{self.channels} channel{'' if self.channels == 1 else 's'}"
        if not self.convolution:
            return said
        return f"{said}, {self.filters} filters of {self.convolution} steps with a stride of {self.stride}"

    @property
    def summary(self) -> str:
        """The layers, in words for a report."""
        return _describe_recurrent_layers(self)


AnyArchitecture = Architecture | LinearArchitecture | SequenceArchitecture | KernelArchitecture


_RecurrentArchitecture = Architecture | SequenceArchitecture


def _compute_state_dim(a: _RecurrentArchitecture) -> int:
    """Compute the size of the state of one layer in all directions."""
    return a.hidden_dim * (2 if a.bidirectional else 1)


def _describe_recurrent_layers(a: _RecurrentArchitecture) -> str:
    """Describe the cell, the layers, the pooling, the input and the classes of an architecture, for a report."""
    ways = "both directions" if a.bidirectional else "one direction"
    of_tokens = "a label for each token" + (", decoded by a CRF" if isinstance(a, Architecture) and a.crf else "")
    pooling = of_tokens if a.pooling == NO_POOLING else f"{a.pooling} pooling"
    layers = f"{a.layers} x ({a.input_dim} -> {a.hidden_dim}), {pooling}"
    return f"{a.cell.upper()} in {ways}: {layers}, {a.input_description}, {a.classes} classes"


def labels_tokens(architecture: AnyArchitecture) -> bool:
    """Return whether a classifier of this architecture labels each token."""
    return isinstance(architecture, Architecture) and architecture.pooling == NO_POOLING


def _check_layers(a: _RecurrentArchitecture, *input_size_names: str) -> None:
    """Raise an InputError for an unknown cell or pooling, and for sizes out of their range.

    `input_size_names` are the names of the attributes that hold the sizes of the input, such as `channels`.
    """
    if a.cell not in CELLS:
        raise InputError(f"The cell {a.cell!r} is unknown.", f"Use one of: {', '.join(CELLS)}.")
    if a.pooling not in (*POOLINGS, *((NO_POOLING,) if isinstance(a, Architecture) else ())):
        raise InputError(f"The pooling {a.pooling!r} is unknown.", f"Use one of: {', '.join(POOLINGS)}.")
    for name in (*input_size_names, "hidden_dim", "layers"):
        if getattr(a, name) < 1:
            raise InputError(f"{name} is {getattr(a, name)}, but it must be at least 1.", "Use a number from 1.")
    if max(a.input_dim, a.hidden_dim) > _LARGEST_DIM or a.layers > _MOST_LAYERS:
        raise InputError(
            f"{a.layers} layers that read {a.input_dim} numbers with a hidden_dim of {a.hidden_dim} are too large.",
            f"Use at most {_MOST_LAYERS} layers, and {_LARGEST_DIM} for each size.",
        )
    if a.classes < 2:
        raise InputError(f"classes is {a.classes}, but it must be at least 2.", "Use a number from 2.")
    if not 0 <= a.dropout < 1:
        raise InputError(f"dropout is {a.dropout}, which is out of its range.", "Use a number from 0 to below 1.")
