"""A trained classifier on disk: a folder of `weights.safetensors` and `config.json`, never a pickle.

`checkpoint.schema.json` beside this file defines config.json. `read` checks a file against it, and then what a schema
cannot express: that labels, vocabulary, text rules and weights fit the architecture.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors import torch as safetensors

from pocketrnn.bundle import manifest
from pocketrnn.bundle.atomic_writing import write_whole_folder
from pocketrnn.bundle.crf import Crf
from pocketrnn.bundle.json_parsing import parse_versioned_document
from pocketrnn.bundle.json_schema_check import find_first_fault
from pocketrnn.errors import CheckpointError, InputError, PocketRNNError
from pocketrnn.numbers.number_input import NumberInput
from pocketrnn.predictions_from_logits import Answers
from pocketrnn.text import AnyTextRules, TextRules, make_rules_document, rules_of
from pocketrnn.text.subword_encoder import check_rules_fit_vocabulary
from pocketrnn_training.classifiers.architecture import AnyArchitecture, Architecture, SequenceArchitecture
from pocketrnn_training.classifiers.checkpoint_file_names import CONFIG_JSON, MAKE_AGAIN, WEIGHTS, read_checkpoint_file
from pocketrnn_training.classifiers.linear_classifier import CODES_OF_JOINTS, SIZES, LinearArchitecture
from pocketrnn_training.classifiers.random_kernel_classifier import KernelArchitecture
from pocketrnn_training.classifiers.recurrent_classifiers import (
    AnyClassifier,
    build_classifier,
    get_crf_layer,
    is_recurrent_weight,
)
from pocketrnn_training.settings.settings_of_all_runs import QRNN

__all__ = [
    "BY_FOLDS",
    "CONFIG_JSON",
    "FITTED_ROWS",
    "FORMAT",
    "VERSION",
    "WEIGHTS",
    "Checkpoint",
    "load_checkpoint_schema",
    "make_rules_member",
    "read",
    "write",
    "write_files",
]

# The values of `data` for examples that are not taken from the user's rows.
MADE_EXAMPLES: Final = "made of words of the vocabulary"
MADE_SIGNALS: Final = "made signals"

# The member of `data` that is the number of rows of the final fit.
FITTED_ROWS: Final = "fitted_rows"
# The member of `data` that is true where all rows are validation rows, by folds.
BY_FOLDS: Final = "by_folds"

FORMAT: Final = "pocketrnn-checkpoint"
# A checkpoint of another version was made by another release.
VERSION: Final = 1
# Members of an architecture that are written only where they are not 0 or false.
_MISSING_IF_0: Final = ("pairs", "joints", "own_scale", "two_texts", "crf")


@dataclass(frozen=True)
class Checkpoint:
    """A trained classifier, and everything that is known about it.

    Attributes:
        name: the name of the classifier.
        architecture: the shape of the module's weights.
        rules: the rules that turn a text into token ids, or that scale a sequence of numbers.
        labels: the classes, in the order of the logits.
        vocabulary: the tokens, in the order of their ids; none for numbers.
        module: the module with its weights, in evaluation mode, on the CPU.
        metrics: measures on the validation rows, by name, such as `accuracy`.
        data: a description of the training data, with members such as `source` and `rows`.
        examples: up to 32 texts, or pairs of texts, of the validation rows; or up to 8 sequences of numbers, each a
            list of time steps, in which None is a missing sample.
        training: the settings of the training run.
        activation: the function that turns logits into probabilities: `softmax` if an input has exactly one label,
            `sigmoid` if it can have any number of labels.
        thresholds: for each label, the lowest probability at which an answer includes it; None without thresholds.

    Raises:
        CheckpointError: the parts do not fit each other, such as the number of labels and the classes of the module.

    Example:
        >>> checkpoint = read_checkpoint(Path("reviews.checkpoint"))
        >>> checkpoint.labels, checkpoint.architecture.cell
        (('bad', 'good'), 'gru')
    """

    name: str
    architecture: AnyArchitecture
    rules: AnyTextRules | NumberInput
    labels: tuple[str, ...]
    vocabulary: tuple[str, ...] = field(repr=False)
    module: AnyClassifier = field(repr=False)
    metrics: Mapping[str, Any]
    data: Mapping[str, Any]
    examples: tuple[Any, ...] = field(repr=False)
    training: Mapping[str, Any]
    activation: str = "softmax"
    thresholds: tuple[float, ...] | None = None

    @property
    def answers(self) -> Answers:
        """The object that turns logits into probabilities and labels, by `activation`, `labels` and `thresholds`.

        Example:
            >>> read_checkpoint(Path("reviews.checkpoint")).answers.activation
            'softmax'
        """
        return Answers(self.name, self.labels, self.activation, self.thresholds)

    @property
    def text_rules(self) -> AnyTextRules:
        """The rules that turn a text into token ids.

        Raises:
            InputError: the classifier takes sequences of numbers.

        Example:
            >>> read_checkpoint(Path("reviews.checkpoint")).text_rules.tokenizer
            'basic_english'
        """
        if isinstance(self.rules, NumberInput):
            raise InputError(
                f"{self.name} classifies sequences of numbers, not texts, so it has no text rules.",
                "Give a checkpoint that classifies texts.",
            )
        return self.rules

    @property
    def measured_by_folds(self) -> bool:
        """Whether its measures come from cross-validation: each row was classified by a model that never saw it.

        Example:
            >>> read_checkpoint(Path("reviews.checkpoint")).measured_by_folds
            False
        """
        return bool(self.data.get(BY_FOLDS))

    @property
    def two_texts(self) -> bool:
        """Whether the classifier reads pairs of texts.

        Example:
            >>> read_checkpoint(Path("reviews.checkpoint")).two_texts
            False
        """
        return isinstance(self.architecture, Architecture) and self.architecture.two_texts

    @property
    def crf(self) -> Crf | None:
        """The CRF that decodes the labels of words; None if each word has its likeliest label.

        Example:
            >>> read_checkpoint(Path("reviews.checkpoint")).crf is None
            True
        """
        layer = get_crf_layer(self.module)
        return None if layer is None else layer.crf

    @property
    def is_linear(self) -> bool:
        """Whether the classifier is only a linear model, without a recurrent part.

        Example:
            >>> read_checkpoint(Path("reviews.checkpoint")).is_linear
            False
        """
        return isinstance(self.architecture, LinearArchitecture)

    def __post_init__(self) -> None:
        if self.thresholds is not None and len(self.thresholds) != len(self.labels):
            raise CheckpointError(
                f"There are {len(self.thresholds)} thresholds, but {len(self.labels)} labels.",
                "Give exactly one threshold for each label.",
            )
        _check_labels_rules_and_vocabulary_fit_architecture(self.architecture, self.rules, self.labels, self.vocabulary)
        if not isinstance(self.rules, NumberInput) and any(isinstance(e, str) == self.two_texts for e in self.examples):
            raise CheckpointError(
                f"{self.name} reads {'pairs of texts' if self.two_texts else 'single texts'}, but one of its examples "
                f"is {'a single text' if self.two_texts else 'a pair of texts'}.",
                MAKE_AGAIN,
            )


def _check_labels_rules_and_vocabulary_fit_architecture(
    architecture: AnyArchitecture,
    rules: AnyTextRules | NumberInput,
    labels: tuple[str, ...],
    vocabulary: tuple[str, ...],
) -> None:
    """Raise a CheckpointError if labels, rules or vocabulary do not fit the architecture, such as too few labels."""
    if len(labels) != architecture.classes:
        raise CheckpointError(
            f"There are {len(labels)} labels, but the architecture has {architecture.classes} classes.",
            "Give exactly one label for each class.",
        )
    if isinstance(rules, NumberInput) or isinstance(architecture, SequenceArchitecture | KernelArchitecture):
        if not (isinstance(rules, NumberInput) and isinstance(architecture, SequenceArchitecture | KernelArchitecture)):
            kinds = ("numbers", "texts") if isinstance(rules, NumberInput) else ("texts", "numbers")
            raise CheckpointError(
                f"The reading rules are for {kinds[0]}, but the architecture is for {kinds[1]}.",
                f"Give rules for {kinds[1]}, or an architecture for {kinds[0]}.",
            )
        if len(rules.channels) != architecture.channels:
            raise CheckpointError(
                f"There are {len(rules.channels)} names of channels, but the architecture has {architecture.channels} "
                "channels.",
                "Give exactly one name for each channel.",
            )
        return
    rows = architecture.vocabulary_size
    if len(vocabulary) != rows:
        raise CheckpointError(
            f"The vocabulary holds {len(vocabulary)} tokens, but the embedding has {rows} rows.",
            "Give the vocabulary that the model was trained with.",
        )
    if rules.highest_id >= len(vocabulary):
        raise CheckpointError(
            f"The text rules contain the token id {rules.highest_id}, but the vocabulary has only {len(vocabulary)} "
            "tokens.",
            "Give the text rules and the vocabulary that the model was trained with.",
        )
    if rules.padding_id != architecture.padding_id:
        raise CheckpointError(
            f"The padding id of the text rules is {rules.padding_id}, but that of the architecture is "
            f"{architecture.padding_id}.",
            "Give the text rules that the model was trained with.",
        )


@functools.cache
def load_checkpoint_schema() -> dict[str, Any]:
    """Load the JSON Schema of a checkpoint's config.json."""
    schema: dict[str, Any] = json.loads(Path(__file__).with_name("checkpoint.schema.json").read_bytes())
    return schema | {"$defs": schema["$defs"] | manifest.load_manifest_schema()["$defs"]}


def write(checkpoint: Checkpoint, folder: Path, *, force: bool = False) -> None:
    """Write a checkpoint as a new folder. After an error, no part of the folder is left.

    The same checkpoint always gives the same bytes.

    Args:
        checkpoint: the checkpoint to write.
        folder: the folder to make.
        force: whether to replace a checkpoint that the folder holds.

    Raises:
        CheckpointError: the checkpoint holds a value that `read_checkpoint` would refuse, such as a weight of NaN.
        OutputError: the folder exists and must not be replaced, or it cannot be written.

    Example:
        >>> write_checkpoint(read_checkpoint(Path("reviews.checkpoint")), Path("copy.checkpoint"))
    """
    with write_whole_folder(folder, force=force, marker_file=CONFIG_JSON) as work:
        write_files(checkpoint, work)


def write_files(checkpoint: Checkpoint, folder: Path) -> None:
    """Write the two files of a checkpoint into an existing folder.

    Raises:
        CheckpointError: the checkpoint holds a value that `read_checkpoint` would refuse, such as a weight of NaN.
    """
    document = {
        "format": FORMAT,
        "version": VERSION,
        "name": checkpoint.name,
        "labels": list(checkpoint.labels),
        **({} if checkpoint.activation == "softmax" else {"activation": checkpoint.activation}),
        **({} if checkpoint.thresholds is None else {"thresholds": list(checkpoint.thresholds)}),
        "architecture": {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(checkpoint.architecture).items()
            if value or name not in _MISSING_IF_0
        },
        **make_rules_member(checkpoint.rules),
        "metrics": dict(checkpoint.metrics),
        "data": dict(checkpoint.data),
        "training": dict(checkpoint.training),
        "examples": [list(example) if isinstance(example, tuple) else example for example in checkpoint.examples],
        **({} if isinstance(checkpoint.rules, NumberInput) else {"vocabulary": list(checkpoint.vocabulary)}),
    }
    if fault := find_first_fault(document, load_checkpoint_schema()):
        raise CheckpointError(
            f"The checkpoint cannot be written: {fault}.", "Correct this value, and write the checkpoint again."
        )
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.module.state_dict().items()}
    if fault := _find_weights_fault(state, checkpoint.architecture):
        raise CheckpointError(
            f"The weights of the checkpoint cannot be written: {fault}.", "Train again with a lower learning rate."
        )
    # One member on each line, in ASCII only: half of a surrogate pair in a text has a JSON escape, but not a UTF-8
    # form.
    lines = (f"{json.dumps(name)}: {json.dumps(value, allow_nan=False)}" for name, value in document.items())
    (folder / WEIGHTS).write_bytes(safetensors.save(state))
    (folder / CONFIG_JSON).write_bytes(("{\n " + ",\n ".join(lines) + "\n}\n").encode("ascii"))


def make_rules_member(rules: AnyTextRules | NumberInput) -> dict[str, Any]:
    """Make the member of config.json that holds the rules for reading inputs: {"text": ...} or {"numbers": ...}."""
    return {"numbers": rules.document} if isinstance(rules, NumberInput) else {"text": make_rules_document(rules)}


def read(folder: Path) -> Checkpoint:
    """Read a checkpoint from its folder, and check that its configuration and its weights are valid and fit each other.

    Raises:
        CheckpointError: the folder or a file is missing or unreadable; config.json is not JSON, has another format or
            version, or is not valid; the parts do not fit each other; or a weight is missing, has another shape or type
            than the architecture says, or is not finite.

    Example:
        >>> read_checkpoint(Path("reviews.checkpoint")).module.training
        False
    """
    path = folder / CONFIG_JSON
    document = parse_versioned_document(
        read_checkpoint_file(folder, path.name),
        path,
        form=FORMAT,
        version=VERSION,
        error=CheckpointError,
        written_by="pocketrnn train",
        remedy=MAKE_AGAIN,
        version_remedy="Train it again with this pocketrnn.",
    )
    if fault := find_first_fault(document, load_checkpoint_schema()):
        raise CheckpointError(f"{path} is not valid: {fault}.", MAKE_AGAIN)
    if "numbers" in document and {"text", "vocabulary"} & document.keys():
        raise CheckpointError(
            f'{path} is not valid: it has the member "numbers", which only a classifier of numbers has, and also '
            '"text" or "vocabulary", which only a classifier of texts has.',
            MAKE_AGAIN,
        )
    labels, vocabulary = tuple(document["labels"]), tuple(document.get("vocabulary", ()))
    try:
        architecture, rules = _read_architecture_and_rules(document)
        _check_labels_rules_and_vocabulary_fit_architecture(architecture, rules, labels, vocabulary)
        if not isinstance(rules, TextRules | NumberInput):
            check_rules_fit_vocabulary(rules, vocabulary)
    except PocketRNNError as error:
        raise CheckpointError(f"{path} contradicts itself: {error.problem}", MAKE_AGAIN) from None
    return Checkpoint(
        name=document["name"],
        architecture=architecture,
        rules=rules,
        labels=labels,
        vocabulary=vocabulary,
        module=_load_module(architecture, folder),
        metrics=document["metrics"],
        data=document["data"],
        # JSON has lists in place of tuples of two texts.
        examples=tuple(tuple(e) if isinstance(e, list) and "text" in document else e for e in document["examples"]),
        training=document["training"],
        activation=document.get("activation", "softmax"),
        thresholds=tuple(map(float, document["thresholds"])) if "thresholds" in document else None,
    )


def _read_architecture_and_rules(document: dict[str, Any]) -> tuple[AnyArchitecture, AnyTextRules | NumberInput]:
    """Make the architecture, and the rules for reading texts or numbers, from the parsed content of config.json."""
    # JSON Schema counts 1.0 as an integer; a size does not.
    members: dict[str, Any] = {
        name: int(value) if isinstance(value, float) and name != "dropout" else value
        for name, value in document["architecture"].items()
    }
    if "numbers" in document:
        kind = KernelArchitecture if "dilations" in members else SequenceArchitecture
        return kind(**members), NumberInput.from_document(document["numbers"])
    of_text = Architecture if "cell" in members else LinearArchitecture
    return of_text(**members), rules_of(document["text"])


def _load_module(architecture: AnyArchitecture, folder: Path) -> AnyClassifier:
    """Build the module of an architecture with the weights of the checkpoint in `folder`, in evaluation mode.

    Raises:
        CheckpointError: the file of weights is missing or damaged, or does not fit the architecture.
    """
    path = folder / WEIGHTS
    try:
        state = safetensors.load(read_checkpoint_file(folder, path.name))
    except (SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path} is damaged: {error}.", MAKE_AGAIN) from None
    if fault := _find_weights_fault(state, architecture):
        raise CheckpointError(f"{path} does not fit {CONFIG_JSON} beside it: {fault}.", MAKE_AGAIN)
    module = _build_module_without_weights(architecture)
    module.load_state_dict(state, assign=True)
    return module.eval()


def _build_module_without_weights(architecture: AnyArchitecture) -> AnyClassifier:
    """Build the module of an architecture on torch's meta device, where its weights have shapes but not values."""
    # On the meta device no memory is taken and nothing is drawn from the global generator.
    with torch.device("meta"):
        return build_classifier(architecture)


def _find_weights_fault(state: Mapping[str, torch.Tensor], architecture: AnyArchitecture) -> str | None:
    """Find the first reason why tensors cannot be the weights of an architecture; None if they can.

    Args:
        state: the tensors by name, as in a state dict.
        architecture: the architecture.

    Returns:
        The reason as a part of a sentence, such as "the tensor fc.bias is missing".
    """
    # A config.json with a million layers, or with a size above int64, is refused before the module is built.
    a, numbers = architecture, sum(tensor.numel() for tensor in state.values())
    pairs, joints = (a.pairs, a.joints) if isinstance(a, Architecture | LinearArchitecture) else (0, 0)
    if isinstance(a, KernelArchitecture):
        layers, largest = len(a.dilations), max(a.channels, a.classes)
    elif isinstance(a, LinearArchitecture):
        layers, largest = 1, max(a.vocabulary_size, pairs, joints, a.classes)
    else:
        before = a.channels if isinstance(a, SequenceArchitecture) else a.vocabulary_size
        layers, largest = a.layers, max(before, pairs, joints, a.input_dim, a.hidden_dim, a.classes)
    if layers > len(state) or largest > numbers:
        return f"it holds {len(state)} tensors with {numbers} numbers in all, which are too few for the architecture"
    expected = _build_module_without_weights(architecture).state_dict()
    for name, tensor in expected.items():
        if name not in state:
            return f"the tensor {name} is missing"
        found = state[name]
        if found.shape != tensor.shape:
            return f"the tensor {name} has the shape {list(found.shape)}, but must have {list(tensor.shape)}"
        if found.dtype != tensor.dtype:
            return f"the tensor {name} has the type {found.dtype}, but must have {tensor.dtype}"
        if name == CODES_OF_JOINTS and (found.min() < 0 or found.amax(0).sum() >= joints):
            return f"the tensor {name} leads to rows outside the {joints} rows of the table of joints"
        if name == SIZES and bool((found <= 0).any()):
            return f"the tensor {name} holds a value that is 0 or less, or NaN"
        if not bool(torch.isfinite(found).all()):
            return f"the tensor {name} holds a value that is not a finite number"
        if getattr(a, "cell", None) == QRNN and is_recurrent_weight(name) and bool(found.any()):
            return f"the tensor {name} holds numbers other than 0, but the cell is {QRNN}, which has none"
    if unknown := sorted(state.keys() - expected.keys()):
        return f"the tensor {unknown[0]} is not part of the architecture"
    return None
