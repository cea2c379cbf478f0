"""Train recurrent classifiers of texts, of pairs of texts, and of sequences of numbers, in PyTorch.

    from pocketrnn_training import fit

    reviews = fit(texts, labels)
    reviews.predict(["a good film"])

Or with files, and every part by itself:

    from pocketrnn_training import Settings, read_files, train, write_checkpoint

    checkpoint = train(read_files([Path("reviews.csv")]), Settings(cell="lstm"), name="reviews")
    write_checkpoint(checkpoint, Path("reviews.checkpoint"))

The names are imported when they are first used, so that the command line shows its help without PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from pocketrnn.errors import require_module

if TYPE_CHECKING:
    from pocketrnn_training.classifiers.architecture import Architecture
    from pocketrnn_training.classifiers.checkpoint import Checkpoint
    from pocketrnn_training.classifiers.checkpoint import read as read_checkpoint
    from pocketrnn_training.classifiers.checkpoint import write as write_checkpoint
    from pocketrnn_training.classifiers.recurrent_classifiers import RecurrentClassifier
    from pocketrnn_training.cross_validation import CrossValidation
    from pocketrnn_training.fit_with_scikit_learn_interface import FittedClassifier, cross_validate, fit
    from pocketrnn_training.measures.evaluation import Evaluation, evaluate
    from pocketrnn_training.preparation.teacher_reader import read_teacher
    from pocketrnn_training.rows.ag_news_files import ag_news
    from pocketrnn_training.rows.conll_files import read_tagged
    from pocketrnn_training.rows.labelled_pairs import LabelledPairs
    from pocketrnn_training.rows.labelled_sequences import LabelledSequences
    from pocketrnn_training.rows.labelled_texts import LabelledTexts
    from pocketrnn_training.rows.sequence_files import read_sequences
    from pocketrnn_training.rows.tagged_sentences import TaggedSentences
    from pocketrnn_training.rows.teacher_answers import TeacherAnswers
    from pocketrnn_training.rows.text_files import read_files, read_pairs, with_unlabelled
    from pocketrnn_training.settings.number_settings import NumberSettings
    from pocketrnn_training.settings.pair_settings import PairSettings
    from pocketrnn_training.settings.sequence_reading_options import SequenceOptions
    from pocketrnn_training.settings.tag_settings import TagSettings
    from pocketrnn_training.settings.text_settings import TextSettings
    from pocketrnn_training.training import train

__all__ = [
    "Architecture",
    "Checkpoint",
    "CrossValidation",
    "Evaluation",
    "FittedClassifier",
    "LabelledPairs",
    "LabelledSequences",
    "LabelledTexts",
    "NumberSettings",
    "PairSettings",
    "RecurrentClassifier",
    "SequenceOptions",
    "TagSettings",
    "TaggedSentences",
    "TeacherAnswers",
    "TextSettings",
    "ag_news",
    "cross_validate",
    "evaluate",
    "fit",
    "read_checkpoint",
    "read_files",
    "read_pairs",
    "read_sequences",
    "read_tagged",
    "read_teacher",
    "train",
    "with_unlabelled",
    "write_checkpoint",
]

_TRAINS = ("torch", "safetensors", "pyarrow", "lightning_fabric", "scipy", "sklearn")
# Public name: the module that defines it, its name there, and the packages that the module needs.
_HOMES = {
    "Architecture": ("classifiers.architecture", "Architecture", ("torch",)),
    "Checkpoint": ("classifiers.checkpoint", "Checkpoint", ("torch", "safetensors")),
    "CrossValidation": ("cross_validation", "CrossValidation", _TRAINS),
    "Evaluation": ("measures.evaluation", "Evaluation", ("torch", "safetensors", "pyarrow", "sklearn")),
    "FittedClassifier": ("fit_with_scikit_learn_interface", "FittedClassifier", _TRAINS),
    "LabelledPairs": ("rows.labelled_pairs", "LabelledPairs", ("pyarrow",)),
    "LabelledSequences": ("rows.labelled_sequences", "LabelledSequences", ("pyarrow",)),
    "LabelledTexts": ("rows.labelled_texts", "LabelledTexts", ("pyarrow",)),
    "NumberSettings": ("settings.number_settings", "NumberSettings", ()),
    "PairSettings": ("settings.pair_settings", "PairSettings", ()),
    "RecurrentClassifier": ("classifiers.recurrent_classifiers", "RecurrentClassifier", ("torch",)),
    "SequenceOptions": ("settings.sequence_reading_options", "SequenceOptions", ()),
    "TagSettings": ("settings.tag_settings", "TagSettings", ()),
    "TaggedSentences": ("rows.tagged_sentences", "TaggedSentences", ()),
    "TeacherAnswers": ("rows.teacher_answers", "TeacherAnswers", ()),
    "TextSettings": ("settings.text_settings", "TextSettings", ()),
    "ag_news": ("rows.ag_news_files", "ag_news", ("pyarrow",)),
    "cross_validate": ("fit_with_scikit_learn_interface", "cross_validate", _TRAINS),
    "evaluate": ("measures.evaluation", "evaluate", ("torch", "safetensors", "pyarrow", "sklearn")),
    "fit": ("fit_with_scikit_learn_interface", "fit", _TRAINS),
    "read_checkpoint": ("classifiers.checkpoint", "read", ("torch", "safetensors")),
    "read_files": ("rows.text_files", "read_files", ("pyarrow",)),
    "read_pairs": ("rows.text_files", "read_pairs", ("pyarrow",)),
    "read_sequences": ("rows.sequence_files", "read_sequences", ("pyarrow",)),
    "read_tagged": ("rows.conll_files", "read_tagged", ("pyarrow",)),
    "read_teacher": ("preparation.teacher_reader", "read_teacher", ("torch", "safetensors", "pyarrow")),
    "train": ("training", "train", _TRAINS),
    "with_unlabelled": ("rows.text_files", "with_unlabelled", ("pyarrow",)),
    "write_checkpoint": ("classifiers.checkpoint", "write", ("torch", "safetensors")),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute, packages = _HOMES[name]
    for package in packages:
        require_module(package, "train")
    return getattr(importlib.import_module(f"{__name__}.{module}"), attribute)


def __dir__() -> list[str]:
    return sorted(__all__)
