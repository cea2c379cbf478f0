"""pocketrnn_training: train recurrent classifiers of texts, and of sequences of numbers, in PyTorch.

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

from pocketrnn.errors import require

if TYPE_CHECKING:
    from pocketrnn_training.ag_news_files import ag_news
    from pocketrnn_training.architecture import Architecture, RecurrentClassifier
    from pocketrnn_training.checkpoint import Checkpoint
    from pocketrnn_training.checkpoint import read as read_checkpoint
    from pocketrnn_training.checkpoint import write as write_checkpoint
    from pocketrnn_training.data import LabelledTexts, read_files, with_unlabelled
    from pocketrnn_training.evaluation import Evaluation, evaluate
    from pocketrnn_training.fitting import FittedClassifier, cross_validate, fit
    from pocketrnn_training.folds import CrossValidation
    from pocketrnn_training.number_settings import NumberSettings
    from pocketrnn_training.sequence_files import read_sequences
    from pocketrnn_training.sequence_options import SequenceOptions
    from pocketrnn_training.sequences import LabelledSequences
    from pocketrnn_training.teacher import read_teacher
    from pocketrnn_training.teacher_answers import TeacherAnswers
    from pocketrnn_training.text_settings import TextSettings
    from pocketrnn_training.training import train

__all__ = [
    "Architecture",
    "Checkpoint",
    "CrossValidation",
    "Evaluation",
    "FittedClassifier",
    "LabelledSequences",
    "LabelledTexts",
    "NumberSettings",
    "RecurrentClassifier",
    "SequenceOptions",
    "TeacherAnswers",
    "TextSettings",
    "ag_news",
    "cross_validate",
    "evaluate",
    "fit",
    "read_checkpoint",
    "read_files",
    "read_sequences",
    "read_teacher",
    "train",
    "with_unlabelled",
    "write_checkpoint",
]

_TRAINS = ("torch", "safetensors", "pyarrow", "lightning_fabric", "scipy", "sklearn")
# Public name: the module that defines it, its name there, and the packages that the module needs.
_HOMES = {
    "Architecture": ("architecture", "Architecture", ("torch",)),
    "Checkpoint": ("checkpoint", "Checkpoint", ("torch", "safetensors")),
    "CrossValidation": ("folds", "CrossValidation", _TRAINS),
    "Evaluation": ("evaluation", "Evaluation", ("torch", "safetensors", "pyarrow", "sklearn")),
    "FittedClassifier": ("fitting", "FittedClassifier", _TRAINS),
    "LabelledSequences": ("sequences", "LabelledSequences", ("pyarrow",)),
    "LabelledTexts": ("data", "LabelledTexts", ("pyarrow",)),
    "NumberSettings": ("number_settings", "NumberSettings", ()),
    "RecurrentClassifier": ("architecture", "RecurrentClassifier", ("torch",)),
    "SequenceOptions": ("sequence_options", "SequenceOptions", ()),
    "TeacherAnswers": ("teacher_answers", "TeacherAnswers", ()),
    "TextSettings": ("text_settings", "TextSettings", ()),
    "ag_news": ("ag_news_files", "ag_news", ("pyarrow",)),
    "cross_validate": ("fitting", "cross_validate", _TRAINS),
    "evaluate": ("evaluation", "evaluate", ("torch", "safetensors", "pyarrow", "sklearn")),
    "fit": ("fitting", "fit", _TRAINS),
    "read_checkpoint": ("checkpoint", "read", ("torch", "safetensors")),
    "read_files": ("data", "read_files", ("pyarrow",)),
    "read_sequences": ("sequence_files", "read_sequences", ("pyarrow",)),
    "read_teacher": ("teacher", "read_teacher", ("torch", "safetensors", "pyarrow")),
    "train": ("training", "train", _TRAINS),
    "with_unlabelled": ("data", "with_unlabelled", ("pyarrow",)),
    "write_checkpoint": ("checkpoint", "write", ("torch", "safetensors")),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute, packages = _HOMES[name]
    for package in packages:
        require(package, "train")
    return getattr(importlib.import_module(f"{__name__}.{module}"), attribute)


def __dir__() -> list[str]:
    return sorted(__all__)
