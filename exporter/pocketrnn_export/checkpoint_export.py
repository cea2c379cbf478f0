"""Export a checkpoint of `pocketrnn_training`. The checkpoint holds all arguments of `export`."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pocketrnn.bundle.manifest import Manifest
from pocketrnn.numbers.number_input import NumberInput
from pocketrnn.verdicts import SCALE, TEXT_RULES, TextVerdict
from pocketrnn_export.bundle_export import export

if TYPE_CHECKING:
    from pocketrnn_training.classifiers.checkpoint import Checkpoint
    from pocketrnn_training.fit_with_scikit_learn_interface import FittedClassifier

# Forward takes each pair as one row, as training has it.
_PAIR_CALL: Final = "module.compare(first, second, first_lengths, second_lengths)"


def export_trained(trained: Checkpoint | FittedClassifier, path: str | Path, **arguments: Any) -> Manifest:
    """Export a trained classifier as a bundle, and prove that the bundle gives the same answers.

    Args:
        trained: the result of `pocketrnn_training.fit`, `train` or `read_checkpoint`.
        path: the folder to write.
        arguments: further arguments of `export`, such as `streaming=True`, `force=True` or `examples=False`. They
            override arguments that the checkpoint has, such as `name`.

    Returns:
        the manifest that was written to classifier.json, with the proof.

    Raises:
        PocketRNNError: any error that `export` raises.

    Example:
        >>> fitted = fit(["so good", "so bad"] * 10, ["good", "bad"] * 10, epochs=1, min_freq=1)
        >>> export_trained(fitted, "reviews").labels
        ('bad', 'good')
    """
    from pocketrnn_training.classifiers.checkpoint import Checkpoint as Trained

    module, described = make_export_arguments_from_checkpoint(
        trained if isinstance(trained, Trained) else trained.checkpoint
    )
    return export(module, path, **{**described, **arguments})


def read_export_arguments_from_checkpoint(folder: Path) -> tuple[Any, dict[str, Any]]:
    """Read a checkpoint's folder. Return the module in it, and a dict of all other arguments that `export` needs.

    Raises:
        CheckpointError: the folder is not a checkpoint, or is damaged.
    """
    from pocketrnn_training.classifiers import checkpoint

    return make_export_arguments_from_checkpoint(checkpoint.read(folder))


def make_export_arguments_from_checkpoint(checkpoint: Checkpoint) -> tuple[Any, dict[str, Any]]:
    """Return the module of a checkpoint, and a dict of all other arguments that `export` needs."""
    from pocketrnn_training.classifiers.architecture import labels_tokens
    from pocketrnn_training.classifiers.checkpoint import MADE_EXAMPLES

    rules, origin = checkpoint.rules, {"data": checkpoint.data, "metrics": checkpoint.metrics}
    both = {"labels": checkpoint.labels, "name": checkpoint.name, "thresholds": checkpoint.thresholds}
    if isinstance(rules, NumberInput):
        return checkpoint.module, {
            **both,
            **{field.name: getattr(rules, field.name) for field in fields(NumberInput)},
            "call": "module(samples, lengths)",
            "layout": "btc",
            # None is a missing sample there.
            "sequences": [np.array(example, np.float64) for example in checkpoint.examples],
            "provenance": {**origin, SCALE: "trained"},
        }
    return checkpoint.module, {
        **both,
        "vocabulary": checkpoint.vocabulary,
        "rules": rules,
        # The call of training; forward's other arguments are only for training.
        "call": _PAIR_CALL
        if checkpoint.two_texts
        else "module(tokens, lengths)"
        if checkpoint.architecture.packed
        else "module(tokens)",
        "two_texts": checkpoint.two_texts,
        "example_texts": () if checkpoint.data.get("examples") == MADE_EXAMPLES else checkpoint.examples,
        **({"labels_of": "tokens"} if labels_tokens(checkpoint.architecture) else {}),
        **({"crf": checkpoint.crf} if checkpoint.crf is not None else {}),
        # All logits of rare labels may be below 0, so they could be taken for logarithms of probabilities.
        **({"multi_label": True, "gives": "logits"} if checkpoint.activation == "sigmoid" else {}),
        # Training made its ids by the same code and the same rules.
        "provenance": {**origin, TEXT_RULES: TextVerdict("trained").document},
    }
