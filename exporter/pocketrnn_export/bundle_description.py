"""The parts of a bundle besides its graphs: name, input, output, provenance."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Any, Literal

from pocketrnn.bundle.manifest import VERSION, Input, Manifest, make_input_digest_metadata
from pocketrnn.bundle.output_kinds import NO_PRIORS, LabelOutput, Output, Priors, TagOutput
from pocketrnn.errors import InputError, short_repr
from pocketrnn.numbers.number_input import NumberInput
from pocketrnn.text import EXTERNAL, TextEncoder
from pocketrnn.text.text_input import TextInput
from pocketrnn_export.vocabularies.spelled_word_ids import SpelledEncoder, Spellings
from pocketrnn_export.vocabularies.texts_with_known_ids import KnownTexts

LabelsOf = Literal["texts", "tokens"]


@dataclass(frozen=True)
class Description:
    """Everything in a bundle that is the same for all forms of the classifier.

    Attributes:
        input: the classifier's input, and how it becomes the graph's input.
        output: the labels, and how the graph's logits become an answer.
        provenance: the origin of the classifier: data, metrics, licence, versions.
        known: maps each text of the proof to its ids, if the user's own code splits texts; otherwise empty.
        spellings: the word and its characters for each id in the proof, if the module also takes the characters of
            words; otherwise None.
    """

    name: str
    input: Input = field(repr=False)
    output: Output
    provenance: Mapping[str, Any]
    known: Mapping[str, Sequence[int]] = field(default_factory=dict, repr=False)
    spellings: Spellings | None = field(default=None, repr=False)

    @classmethod
    def from_manifest(cls, manifest: Manifest) -> Description:
        """Read the description from a bundle's manifest."""
        external = isinstance(manifest.input, TextInput) and manifest.input.rules.tokenizer == EXTERNAL
        known = {example.shown: example.ids for example in manifest.golden_texts} if external else {}
        return cls(manifest.name, manifest.input, manifest.output, manifest.provenance, known)

    @property
    def text(self) -> TextInput:
        """The input of a classifier of texts."""
        assert isinstance(self.input, TextInput)  # noqa: S101 - whoever asks has a classifier of texts
        return self.input

    @property
    def numbers(self) -> NumberInput:
        """The input of a classifier of sequences of numbers."""
        assert isinstance(self.input, NumberInput)  # noqa: S101 - whoever asks has a classifier of numbers
        return self.input

    def add_provenance(self, found: Mapping[str, Any]) -> Description:
        """Return a copy of the description with the entries `found` added to its provenance."""
        return replace(self, provenance={**self.provenance, **found})

    @property
    def token_id_count(self) -> int:
        """The number of token ids that the exported graph must accept: enough for the vocabulary and for the ids in the
        text rules.

        If the module also takes the characters of words, this is the number of `spellings`, since each of these words
        has one id in the proof.
        """
        if self.spellings is not None:
            return len(self.spellings.rows)
        return max(len(self.text.vocabulary), self.text.rules.highest_id + 1)

    @property
    def metadata(self) -> dict[str, str]:
        """The metadata for the ONNX files of the bundle. It shows to which classifier a single file belongs."""
        return {
            "pocketrnn.version": str(VERSION),
            "pocketrnn.name": self.name,
            "pocketrnn.labels": json.dumps(self.output.labels),
            **make_input_digest_metadata(self.output.labels, self.input),
        }

    def encoder(self) -> TextEncoder:
        """The encoder from texts to the ids that the exported graph takes. These are token ids or, if the module takes
        the characters of words, the ids of `spellings`.

        If the user's own code splits texts, the encoder takes only the texts in `known`.
        """
        rules, vocabulary = self.text.rules, self.text.vocabulary
        if self.spellings is not None:
            return SpelledEncoder(self.text, self.spellings)
        return KnownTexts(rules, vocabulary, self.known) if rules.tokenizer == EXTERNAL else self.text.encoder()

    def make_classifier_inputs(self, texts: Sequence[Any]) -> list[Any]:
        """Return the inputs for a Classifier that stand for some texts: the texts themselves, or their ids if the
        user's own code splits texts."""
        if self.text.rules.tokenizer != EXTERNAL:
            return list(texts)
        return [list(self.known[text]) for text in texts]


def require_onnx_graph(manifest: Manifest) -> None:
    """Raise an InputError if the graph of a bundle is not an ONNX file, but in onnxruntime's own format."""
    if not manifest.graph.file.endswith(".onnx"):
        raise InputError(
            f"The graph of {manifest.name} is in onnxruntime's own format, but this needs a graph in the format ONNX.",
            f"Give the bundle that {manifest.name} was made from.",
        )


def validate_name(name: str) -> str:
    """Return the name of a classifier if it is valid: 1 to 200 printable characters.

    Raises:
        InputError: the name is empty, longer than 200 characters, or has characters that cannot be printed.
    """
    if not name or len(name) > 200 or not name.isprintable():
        wrong = "is empty" if not name else "is longer than 200 characters" if len(name) > 200 else "cannot be printed"
        raise InputError(f"The name {name[:40]!r} {wrong}.", "Give a name of 1 to 200 characters that can be printed.")
    return name


def validate_labels(labels: Sequence[str]) -> tuple[str, ...]:
    """Return the labels as a tuple of strings.

    Raises:
        InputError: the labels are a string, a dict or lists of labels; or there are fewer than two; or a label is
            repeated, empty or not a string.
    """
    if isinstance(labels, str):
        raise InputError(
            f"`labels` is {short_repr(labels, 40)}, one string, but must be a list of names.",
            'Write a list: ["ham", "spam"]. On the command line, --labels also takes a file.',
        )
    if isinstance(labels, Mapping):
        ordered = "sorted(labels, key=labels.get)"
        if all(isinstance(label, str) and label for label in labels.values()):
            ordered = "[labels[i] for i in sorted(labels, key=int)]"
        raise InputError(
            "`labels` is a dict, but must be a list of names.", f"Give the names in the order of their ids: {ordered}."
        )
    if len(labels) and all(isinstance(label, list | tuple) for label in labels):
        raise InputError(
            "`labels` has lists in it, but must be a list of names.",
            "For one head, give a list of names. For several heads, give `heads` in place of `labels`: "
            'heads={"mood": ["bad", "good"], "topic": [...]} (docs/heads.md).',
        )
    if odd := [label for label in labels if not (isinstance(label, str) and label)]:
        raise InputError(
            f"`labels` has {short_repr(odd[0], 40)} in it, but must be a list of names.",
            "Give each label as a string that is not empty.",
        )
    if len(labels) < 2:
        raise InputError(
            f"There must be at least 2 labels, but there is {'only one' if labels else 'none'}.",
            "Give at least 2 labels. If the module gives one number, it is the logit of the second label. If this "
            "number is a value, such as a rating, subtract the value between the two labels: --call "
            '"module(tokens) - 3".',
        )
    # numpy's strings, as of a LabelEncoder, look otherwise in messages.
    labels = [str(label) for label in labels]
    label, times = Counter(labels).most_common(1)[0]
    if times > 1:
        raise InputError(
            f"The label {short_repr(label, 40)} is given {times} times, but labels must differ.",
            "Give each label once.",
        )
    return tuple(labels)


def make_label_output(
    labels: Sequence[str], thresholds: Sequence[float] | None, priors: Priors = NO_PRIORS, *, multi_label: bool
) -> LabelOutput:
    """Return the `LabelOutput` of a classifier, from the arguments of `export`.

    Raises:
        InputError: the labels are not at least two different names; or there is not one threshold for each label; or a
            threshold is not a number from 0 to 1.
    """
    activation: Literal["softmax", "sigmoid"] = "sigmoid" if multi_label else "softmax"
    return LabelOutput(validate_labels(labels), activation, validate_thresholds(thresholds, labels), priors)


def make_text_output(
    labels: Sequence[str],
    labels_of: str,
    thresholds: Sequence[float] | None,
    priors: Priors = NO_PRIORS,
    *,
    multi_label: bool,
) -> LabelOutput | TagOutput:
    """Return the output of a module that takes texts: a `LabelOutput`, or a `TagOutput` for labels of tokens.

    Raises:
        InputError: the labels or thresholds are unusable; `labels_of` is neither "texts" nor "tokens"; or
            `multi_label`, `thresholds` or `priors` are given for labels of tokens.
    """
    if labels_of not in ("texts", "tokens"):
        raise InputError(
            f"`labels_of` is {short_repr(labels_of)}, but must be 'texts' or 'tokens'.",
            "Give 'tokens' if the module has logits for each token; otherwise leave out `labels_of`.",
        )
    if labels_of == "texts":
        return make_label_output(labels, thresholds, priors, multi_label=multi_label)
    if multi_label or thresholds is not None or priors:
        what = "multi_label" if multi_label else "priors" if priors else "thresholds"
        raise InputError(
            f"`{what}` is given, but `labels_of` is 'tokens': each token then gets its likeliest label.",
            f"Leave out `{what}`.",
        )
    return TagOutput(validate_labels(labels))


def validate_thresholds(thresholds: Sequence[float] | None, labels: Sequence[str]) -> tuple[float, ...] | None:
    """Return the thresholds as a tuple, one for each label. Return None if there are no thresholds.

    Raises:
        InputError: there is not one threshold for each label, or a threshold is not a number from 0 to 1.
    """
    if thresholds is None:
        return None
    found = list(thresholds)
    if len(found) != len(labels):
        raise InputError(
            f"There are {len(found)} thresholds, but there must be {len(labels)}: one for each label.",
            "Give the thresholds in the order of the labels.",
        )
    for label, threshold in zip(labels, found, strict=True):
        if isinstance(threshold, bool) or not isinstance(threshold, Real) or not 0 <= threshold <= 1:
            raise InputError(
                f"The threshold of the label {short_repr(label, 40)} is {short_repr(threshold)}, but must be a "
                "probability.",
                "Give a number from 0 to 1.",
            )
    return tuple(map(float, found))
