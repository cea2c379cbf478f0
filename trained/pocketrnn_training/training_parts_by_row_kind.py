"""The parts of a training run that depend on its kind of rows.

The kinds are texts, pairs of texts, sequences of numbers, and tagged sentences.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from pocketrnn_training.baselines.baseline_accuracy import Baseline
from pocketrnn_training.baselines.linear_baseline import fit_text_baseline
from pocketrnn_training.baselines.sequence_baselines import fit_sequence_baseline
from pocketrnn_training.baselines.tag_baseline import measure_most_frequent_label_baseline
from pocketrnn_training.classifiers.checkpoint import Checkpoint
from pocketrnn_training.preparation.prepared_data import Task
from pocketrnn_training.preparation.sequence_preparation import prepare_sequences
from pocketrnn_training.preparation.tag_preparation import prepare_tags
from pocketrnn_training.preparation.text_preparation import prepare_texts
from pocketrnn_training.rows.labelled_pairs import LabelledPairs
from pocketrnn_training.rows.labelled_rows import LabelledRows
from pocketrnn_training.rows.labelled_sequences import LabelledSequences
from pocketrnn_training.rows.labelled_texts import LabelledTexts
from pocketrnn_training.rows.tagged_sentences import TaggedSentences
from pocketrnn_training.settings.number_settings import NumberSettings
from pocketrnn_training.settings.pair_settings import PairSettings
from pocketrnn_training.settings.settings_of_all_runs import Settings
from pocketrnn_training.settings.tag_settings import TagSettings
from pocketrnn_training.settings.text_settings import TextSettings

__all__ = ["Kind", "find_row_kind"]


@dataclass(frozen=True)
class Kind:
    """One kind of rows, such as texts, with the classes and functions that a training run needs for it.

    Attributes:
        rows: the class of the rows.
        settings: the class of the settings of a run on such rows.
        prepare: the function that makes the prepared data of a run from the training and the validation rows.
        baseline: the function that measures a simple model for comparison. Its arguments are the training rows, the
            validation rows and the trained classifier; it returns None if no simple model fits the rows.
    """

    rows: type[LabelledRows]
    settings: type[Settings]
    prepare: Callable[..., tuple[Task, Settings]]
    baseline: Callable[[Any, Any, Checkpoint], Baseline | None]


_KINDS: Final = (
    # Before texts, since pairs are texts, too.
    Kind(LabelledPairs, PairSettings, prepare_texts, fit_text_baseline),
    Kind(LabelledTexts, TextSettings, prepare_texts, fit_text_baseline),
    Kind(LabelledSequences, NumberSettings, prepare_sequences, fit_sequence_baseline),
    Kind(TaggedSentences, TagSettings, prepare_tags, measure_most_frequent_label_baseline),
)


def find_row_kind(data: LabelledRows) -> Kind:
    """Find the kind of the rows (texts, pairs, sequences or tagged sentences) by their class.

    The returned `Kind` holds the settings class and the functions for training on such rows.
    """
    return next(kind for kind in _KINDS if isinstance(data, kind.rows))
