"""The accuracy of each word's most frequent label, to compare a tagger with."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pocketrnn_training.baselines.baseline_accuracy import Baseline
from pocketrnn_training.classifiers.checkpoint import Checkpoint
from pocketrnn_training.rows.tagged_sentences import TaggedSentences

__all__ = ["TagBaseline", "measure_most_frequent_label_baseline"]


@dataclass(frozen=True)
class TagBaseline(Baseline):
    """The accuracy of a model that gives each word its most frequent label in the training sentences.

    An unknown word gets the most frequent label of the words that occur once.
    """

    NAME: ClassVar[str] = "table of each word's most frequent label"
    MODEL: ClassVar[str] = "The most frequent label of each word"
    FITTED: ClassVar[str] = "counted in {:,} training sentences"
    ADVICE: ClassVar[str] = "With so few sentences, the context of a word does not improve its label."


def measure_most_frequent_label_baseline(
    training: TaggedSentences, validation: TaggedSentences, _checkpoint: Checkpoint
) -> TagBaseline:
    """Measure on the validation sentences a model that gives each word its most frequent training label.

    `_checkpoint` is not used: baselines of other kinds of rows need it.
    """
    labels_of: defaultdict[str, Counter[int]] = defaultdict(Counter)
    words = (word for sentence in training.sentences for word in sentence)
    for word, target in zip(words, training.targets.tolist(), strict=True):
        labels_of[word][target] += 1
    rare = Counter(target for labels in labels_of.values() if labels.total() == 1 for target in labels)
    unknown = (rare or Counter(training.targets.tolist())).most_common(1)[0][0]
    table = {word: labels.most_common(1)[0][0] for word, labels in labels_of.items()}
    given = np.array([table.get(word, unknown) for sentence in validation.sentences for word in sentence])
    return TagBaseline(float((given == validation.targets).mean()), len(training))
