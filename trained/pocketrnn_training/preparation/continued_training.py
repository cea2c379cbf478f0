"""Continue the training of a checkpoint on new rows.

Tokenizer and architecture stay. New words and labels are added with random weights; all other weights start as they
were. A linear part is fitted anew, on the new rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

import numpy as np
import torch
from torch import Tensor

from pocketrnn.errors import DataError, InputError
from pocketrnn.numbers.number_input import NumberInput
from pocketrnn.tables.column_and_label_checks import list_first_names
from pocketrnn.text import SUBWORDS, TextEncoder
from pocketrnn_training.classifiers.architecture import Architecture
from pocketrnn_training.classifiers.checkpoint import Checkpoint
from pocketrnn_training.classifiers.linear_classifier import LINEAR
from pocketrnn_training.measures.logit_measures import compute_label_log_odds
from pocketrnn_training.rows.class_labels import convert_codes_to_targets
from pocketrnn_training.rows.labelled_texts import LabelledTexts
from pocketrnn_training.settings.pair_settings import PairSettings
from pocketrnn_training.settings.settings_of_all_runs import Settings
from pocketrnn_training.settings.text_settings import BPE, TextSettings

__all__ = ["StartingCheckpoint", "add_checkpoint_labels", "make_settings_from_checkpoint"]

# The standard deviation of a new word's embedding, as in a new classifier (`pocketrnn_training.loop.training_step`).
_NEW_WORD: Final = 0.1
_S = TypeVar("_S", bound=Settings)
_OF_SHAPE: Final = ("cell", "embedding_dim", "hidden_dim", "layers", "bidirectional", "pooling", "packed")


@dataclass(frozen=True)
class StartingCheckpoint:
    """A checkpoint from which a run continues, and the new words that the run adds to it.

    Attributes:
        checkpoint: the classifier as it was.
        vocabulary: the words of the checkpoint, then the new words.
    """

    checkpoint: Checkpoint
    vocabulary: tuple[str, ...]

    @classmethod
    def from_checkpoint(
        cls, checkpoint: Checkpoint, texts: Sequence[str], settings: TextSettings
    ) -> StartingCheckpoint:
        """Make the start of a run that continues a checkpoint, with the new words of `texts`.

        A new word is added if it occurs `settings.min_freq` times. A vocabulary of pieces of words gets no new pieces.
        """
        rules = checkpoint.text_rules
        if rules.tokenizer == SUBWORDS:
            return cls(checkpoint, checkpoint.vocabulary)
        known = set(checkpoint.vocabulary)
        tokens_of = TextEncoder(rules, ()).tokens
        counts = Counter(token for text in texts for token in tokens_of(text) if token not in known)
        least = settings.min_freq_for(len(texts), of_words=True)
        new = [token for token, n in sorted(counts.items(), key=lambda i: (-i[1], i[0])) if n >= least]
        if settings.max_vocabulary is not None:
            new = new[: max(0, settings.max_vocabulary - len(known))]
        return cls(checkpoint, (*checkpoint.vocabulary, *new))

    def make_architecture(self, classes: int, dropout: float) -> Architecture:
        """Return the checkpoint's architecture, enlarged for the new words and for `classes` classes in all."""
        before = self.checkpoint.architecture
        assert isinstance(before, Architecture)  # noqa: S101 - `make_settings_from_checkpoint` refuses others
        return replace(before, vocabulary_size=len(self.vocabulary), classes=classes, dropout=dropout)

    def make_weights(self, data: LabelledTexts, seed: int) -> dict[str, Tensor]:
        """Make the initial weights by name: those of the checkpoint, with random rows for new words and labels.

        The bias of a new label starts at 0; if a text can have several labels, at the log odds of the label in `data`.
        """
        classes, before = len(data.labels), len(self.checkpoint.labels)
        before_it = self.checkpoint.module.state_dict().items()
        # A linear part is fitted anew.
        state = {name: tensor.clone() for name, tensor in before_it if not name.startswith(LINEAR)}
        generator = torch.Generator().manual_seed(seed)

        def extend_with_random_rows(name: str, total_rows: int, scale: float) -> None:
            tensor = state[name]
            drawn = torch.randn((total_rows - len(tensor), *tensor.shape[1:]), generator=generator) * scale
            state[name] = torch.cat((tensor, drawn))

        extend_with_random_rows("embedding.weight", len(self.vocabulary), _NEW_WORD)
        extend_with_random_rows("fc.weight", classes, state["fc.weight"].size(1) ** -0.5 / 3)
        extend_with_random_rows("fc.bias", classes, 0.0)
        if data.several_labels:
            state["fc.bias"][before:] = compute_label_log_odds(data.targets)[before:]
        return state

    def make_notice(self, data: LabelledTexts) -> str:
        """Write the notice about the words and labels that the run adds, and about old labels without rows."""
        before = len(self.checkpoint.labels)
        new, counts = data.labels[before:], data.counts()
        words = len(self.vocabulary) - len(self.checkpoint.vocabulary)
        said = f"The run goes on from {self.checkpoint.name}: {words:,} new words and {len(new)} new labels"
        said += f" ({list_first_names(new)}) are added." if new else " are added."
        if gone := [label for label, count in zip(data.labels[:before], counts, strict=False) if not count]:
            said += f" No row has {list_first_names(gone)}."
        return f"{said} The classifier forgets what the rows do not show: give the old rows, too, to keep it."


def make_settings_from_checkpoint(checkpoint: Checkpoint, settings: _S) -> _S:
    """Return `settings` with the tokenizer and the architecture of a checkpoint, for a run that continues from it.

    Raises:
        InputError: the settings ask for another tokenizer or architecture; the checkpoint is a classifier of numbers or
            a linear model; or only one of the checkpoint and the settings is for pairs of texts.
    """
    rules, shape = checkpoint.rules, checkpoint.architecture
    if isinstance(rules, NumberInput) or checkpoint.is_linear:
        what = "a linear model" if checkpoint.is_linear else "a classifier of sequences of numbers"
        raise InputError(
            f"Training cannot continue from {checkpoint.name}, which is {what}.",
            "Leave out --from, and train on the old rows and the new rows together.",
        )
    if checkpoint.two_texts != isinstance(settings, PairSettings):
        takes, have = ("two texts", "one text") if checkpoint.two_texts else ("one text", "two texts")
        raise InputError(
            f"The checkpoint {checkpoint.name} reads {takes} in each row, but each row of DATA has {have}.",
            "Name the column of the second texts with --second-text-column."
            if checkpoint.two_texts
            else "Continue from a classifier of pairs of texts, or leave out --from.",
        )
    kept: dict[str, Any] = {name: getattr(shape, name) for name in _OF_SHAPE}
    kept["tokenizer"] = BPE if rules.tokenizer == SUBWORDS else rules.tokenizer
    kept |= {"ngrams": getattr(rules, "ngrams", 1), "max_tokens": rules.max_tokens, "vocabulary_size": None}
    for name, value in kept.items():
        asked = getattr(settings, name)
        if asked not in (value, getattr(type(settings), name)):
            raise InputError(
                f"{name} is {asked!r}, but a run that continues from {checkpoint.name} keeps the value of this "
                f"checkpoint, {value!r}.",
                "Leave out this option, or train anew without --from.",
            )
    return replace(settings, **kept)


def add_checkpoint_labels(checkpoint: Checkpoint, data: LabelledTexts) -> LabelledTexts:
    """Return the same rows with the labels of a checkpoint, followed by the labels that only the rows have.

    The targets are renumbered for these labels.

    Raises:
        DataError: a text can have several labels in the checkpoint but not in the rows, or the other way round.
    """
    several = checkpoint.activation == "sigmoid"
    if several != data.several_labels:
        given, found = ("any number of labels", "one label")[:: 1 if several else -1]
        raise DataError(
            f"The checkpoint {checkpoint.name} gives {given} to a text, but each row of DATA has {found}.",
            "Add --multi-label, with which the checkpoint was trained."
            if several
            else "Leave out --multi-label, without which the checkpoint was trained.",
        )
    labels = tuple(dict.fromkeys((*checkpoint.labels, *data.labels)))
    if several:
        targets: Any = np.zeros((len(data), len(labels)), dtype=bool)
        places = convert_codes_to_targets(np.arange(len(data.labels)), data.labels, labels, data.source)
        targets[:, places] = data.targets
    else:
        targets = convert_codes_to_targets(data.targets, data.labels, labels, data.source)
    return replace(data, targets=targets, labels=labels)
