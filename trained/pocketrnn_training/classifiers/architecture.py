"""The architecture of a recurrent classifier: its cell, the sizes of its layers, and what they compute."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Final

from pocketrnn.errors import InputError
from pocketrnn_training.classifiers.linear_classifier import LinearArchitecture, check_pair_and_joint_table_rows
from pocketrnn_training.classifiers.random_kernel_classifier import KernelArchitecture
from pocketrnn_training.settings.settings_of_all_runs import CELLS, NO_POOLING, POOLINGS

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
            the quasi-recurrent layer of Bradbury et al. 2016: a GRU whose recurrent weights and biases are always zero,
            and whose first layer gets each step joined with the step before it.
        vocabulary_size: the rows of the embedding.
        embedding_dim: the size of the embedding of a token.
        hidden_dim: the size of the state of one layer in one direction.
        layers: the number of stacked recurrent layers.
        bidirectional: whether the layers read the text in both directions.
        dropout: the share of values that training sets to zero in the pooled state and between layers. In the
            embeddings, three fifths of this share of the dimensions are zero at all steps of a text (Gal and Ghahramani
            2016).
        pooling: a name in `settings.POOLINGS`, which says how the states of the last layer become one input of the
            linear layer; or `none` for a tagger: the linear layer reads each state and labels each token.
        packed: whether each row is read only up to its length. Otherwise padding is read like text, and an answer
            depends on how much padding the row has in its batch.
        classes: the number of logits.
        padding_id: the token id that fills the rows of a batch.
        pairs: the rows of the linear part's table of scores for pairs of tokens; 0 for a classifier without a linear
            part.
        joints: the rows of the linear part's table of scores for the characters where two pieces of a word meet; 0 for
            no such table.
        two_texts: whether each input is a pair of texts, which the same layers read and compare (`PairClassifier`).
        crf: whether a CRF decodes the labels of words (`CrfLayer`); only for a tagger.

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
                "A classifier of pairs of texts (two_texts=True) cannot read padding (packed=False), label each token "
                "(pooling='none') or have a linear part (`pairs` above 0).",
                "Set packed=True, pairs=0 and a pooling such as 'max'.",
            )
        if labels_tokens(self) and (self.pairs or not self.packed):
            raise InputError(
                "A classifier that labels each token (pooling='none') cannot read padding (packed=False) or have a "
                "linear part (`pairs` above 0).",
                "Set packed=True and pairs=0.",
            )
        if self.crf and not labels_tokens(self):
            raise InputError(
                "crf=True needs a classifier that labels each token, but this one labels whole texts.",
                "Leave out `crf`, or set pooling='none'.",
            )
        if self.pairs and not self.packed:
            raise InputError(
                f"A classifier with a linear part (`pairs` is {self.pairs}) cannot read padding (packed=False).",
                "Set packed=True, or pairs=0.",
            )
        if not 0 <= self.padding_id < self.vocabulary_size:
            raise InputError(
                f"`padding_id` is {self.padding_id}, but it must be at least 0 and less than {self.vocabulary_size}, "
                "the number of rows of the embedding.",
                "Set `padding_id` to the id of a token of the vocabulary.",
            )

    @property
    def linear_only_architecture(self) -> LinearArchitecture:
        """The architecture of a classifier that has only this one's linear part."""
        return LinearArchitecture(self.vocabulary_size, self.classes, self.padding_id, self.pairs, self.joints)

    @property
    def input_dim(self) -> int:
        """The input size of the first recurrent layer: the size of an embedding, or twice that for the cell `qrnn`."""
        return self.embedding_dim

    @property
    def padding_value(self) -> int:
        """The value that pads the rows of a batch."""
        return self.padding_id

    @property
    def input_description(self) -> str:
        """The input of the classifier, in words for a report."""
        more = ", two texts" if self.two_texts else ", with a linear part" if self.pairs else ""
        return f"{self.vocabulary_size:,} tokens{more}"

    @property
    def pooled_dim(self) -> int:
        """The input size of the linear layer: the size of a pooled state, or four times that for pairs of texts."""
        return _compute_state_dim(self) * (4 if self.two_texts else 1)

    @property
    def summary(self) -> str:
        """The layers, in words for a report."""
        return _describe_recurrent_layers(self)

    @property
    def without_linear_part(self) -> Architecture:
        """The same architecture without the linear part."""
        return replace(self, pairs=0, joints=0)


@dataclass(frozen=True)
class SequenceArchitecture:
    """The sizes of the weights of a classifier of sequences of numbers, and what it computes with them.

    Each row is read only up to its length, so that padding is never read.

    Attributes:
        channels: how many numbers a step has.
        convolution: the kernel size of the convolution before the recurrent layers, an odd number; 0 for
            no convolution.
        stride: the stride of the convolution. If it is above 1, the recurrent layers read fewer steps.
        filters: the number of output channels of the convolution.
        cell, hidden_dim, layers, bidirectional, pooling, classes: the same as in `Architecture`.
        dropout: the share of values that training sets to zero in the pooled state and between layers.

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
                f"convolution is {self.convolution}, but this kernel size must be an odd number of 1 or more, or 0.",
                "Give an odd number of steps, such as 9, or 0 for no convolution.",
            )
        if max(self.channels, self.convolution, self.stride) > _LARGEST_DIM:
            raise InputError(
                f"`convolution` is {self.convolution}, `channels` is {self.channels} and `stride` is {self.stride}, "
                f"but each may be at most {_LARGEST_DIM}.",
                "Set the value that is too large to a smaller one.",
            )

    @property
    def input_dim(self) -> int:
        """The input size of the first recurrent layer: `filters`, or `channels` without a convolution.

        It is twice that for the cell `qrnn`.
        """
        return self.filters if self.convolution else self.channels

    @property
    def pooled_dim(self) -> int:
        """The input size of the last linear layer: the size of a pooled state."""
        return _compute_state_dim(self)

    @property
    def input_description(self) -> str:
        """The input of the classifier, in words for a report."""
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
    """Compute the size of a layer's output: `hidden_dim`, or twice that for a bidirectional layer."""
    return a.hidden_dim * (2 if a.bidirectional else 1)


def _describe_recurrent_layers(a: _RecurrentArchitecture) -> str:
    """Describe the input, the recurrent layers, the pooling and the classes in one line for a report."""
    ways = "both directions" if a.bidirectional else "one direction"
    of_tokens = "a label for each token" + (", decoded by a CRF" if isinstance(a, Architecture) and a.crf else "")
    pooling = of_tokens if a.pooling == NO_POOLING else f"{a.pooling} pooling"
    layers = f"{a.layers} x ({a.input_dim} -> {a.hidden_dim}), {pooling}"
    return f"{a.cell.upper()} in {ways}: {layers}, {a.input_description}, {a.classes} classes"


def labels_tokens(architecture: AnyArchitecture) -> bool:
    """Return whether a classifier of this architecture gives each token a label, and not the whole text one."""
    return isinstance(architecture, Architecture) and architecture.pooling == NO_POOLING


def _check_layers(a: _RecurrentArchitecture, *input_size_names: str) -> None:
    """Raise an InputError for an unknown cell or pooling, and for sizes out of their range.

    `input_size_names` are the names of the attributes that hold the sizes of the input, such as `channels`.
    """
    if a.cell not in CELLS:
        raise InputError(f"cell is {a.cell!r}, which is unknown.", f"Use one of: {', '.join(CELLS)}.")
    if a.pooling not in (*POOLINGS, *((NO_POOLING,) if isinstance(a, Architecture) else ())):
        raise InputError(f"pooling is {a.pooling!r}, which is unknown.", f"Use one of: {', '.join(POOLINGS)}.")
    for name in (*input_size_names, "hidden_dim", "layers"):
        if getattr(a, name) < 1:
            raise InputError(f"{name} is {getattr(a, name)}, but it must be 1 or more.", "Give a number of 1 or more.")
    if max(a.input_dim, a.hidden_dim) > _LARGEST_DIM or a.layers > _MOST_LAYERS:
        raise InputError(
            f"The recurrent layers are too large: `layers` is {a.layers}, `hidden_dim` is {a.hidden_dim}, and the "
            f"first layer reads {a.input_dim} numbers a step.",
            f"Set `layers` to at most {_MOST_LAYERS}, and each size to at most {_LARGEST_DIM}.",
        )
    if a.classes < 2:
        raise InputError(f"`classes` is {a.classes}, but it must be 2 or more.", "Give the number of classes.")
    if not 0 <= a.dropout < 1:
        raise InputError(
            f"dropout is {a.dropout}, but it must be at least 0 and below 1.",
            "Give the share of values to set to zero, such as 0.3.",
        )
