"""Read, check and write classifier.json, the description of a bundle.

A bundle is a folder that holds `classifier.json` and the files that it names: the ONNX graph and, unless left out, a
TorchScript copy and the graph of one step.
`classifier.schema.json` beside this file defines the format. `read_manifest` checks a file against it, and then checks
what a schema cannot express: that no byte was changed and that the parts fit each other.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from pocketrnn.bundle.checked_files import MAKE_AGAIN, read_regular_file
from pocketrnn.bundle.json_parsing import parse_versioned_document
from pocketrnn.bundle.json_schema_check import find_first_fault
from pocketrnn.bundle.output_kinds import HeadsOutput, Output, build_heads, build_output
from pocketrnn.errors import BundleError, InputError, PocketRNNError
from pocketrnn.numbers.number_input import NumberInput
from pocketrnn.text import TextRules, rules_of
from pocketrnn.text.features_beside_text import (
    Features,
    build_features_from_document,
    encode_numbers_as_negative_ids,
    encode_values,
    make_features_document,
)
from pocketrnn.text.pairs import make_pair_mark
from pocketrnn.text.text_input import CharacterInput, FeatureInput, PairInput, TextInput, name_rules_against_streaming
from pocketrnn.text.token_characters import Characters

__all__ = [
    "CLASSIFIER_JSON",
    "FORMAT",
    "GIVE_A_BUNDLE",
    "INTEGERS",
    "IN_OWN_PRECISION",
    "ROUNDED",
    "TAKES_NUMBERS",
    "VERSION",
    "Comparison",
    "Example",
    "Graph",
    "Input",
    "Limits",
    "Manifest",
    "NumberExample",
    "Parity",
    "StepGraph",
    "TorchScript",
    "build_manifest_from_document",
    "compute_labels_and_input_digest",
    "describe_padding_effect",
    "encode_json_with_digest",
    "encode_manifest",
    "explain_why_no_answer_after_each_step",
    "list_bundle_files",
    "load_manifest_schema",
    "make_input_digest_metadata",
    "make_manifest_document",
    "read_manifest",
    "suggest_bundle_with_similar_name",
]

FORMAT: Final = "pocketrnn-classifier"
# A bundle of another version was made by another release.
VERSION: Final = 1
CLASSIFIER_JSON: Final = "classifier.json"
# The name in a proof for a graph whose weights are stored in rounded form. The effect of this rounding is measured, and
# not proven.
ROUNDED: Final = "rounded weights"
# The proof's name for a module whose weights have another precision, followed by that precision.
IN_OWN_PRECISION: Final = "as given in "
# The proof's name for a packed program that multiplies integers where the original multiplies float32.
INTEGERS: Final = "int8 arithmetic"
# A vocabulary of 5 million n-grams takes some 100 MB. A byte of JSON takes up to 20 bytes in Python.
_LARGEST_JSON: Final = 1 << 27

_ZEROS: Final = b"0" * 64
# The digest is the last member of the file, so that it can be found without parsing.
_DIGEST: Final = re.compile(rb'"digest": *"([0-9a-f]{64})"\s*}\s*\Z')
# The schema limits the depth of every member except `provenance`, and code that shows it may recurse.
_DEEPEST: Final = 32
TAKES_NUMBERS: Final = (
    "Give a bundle for texts. Bundles for numbers work with Classifier.load and `pocketrnn classify`, `verify` and "
    "`inspect`."
)
GIVE_A_BUNDLE: Final = "Give the folder that `pocketrnn export` wrote, or a packed file that `pocketrnn pack` wrote."
_EXPORT_AGAIN: Final = "Export it again with this pocketrnn."


@dataclass(frozen=True)
class Limits:
    """The limits of a graph: how many tokens a text may have, how many texts a run may have, and whether a text needs a
    token other than padding.

    The PyTorch module has the same limits: 300 position embeddings allow at most 300 tokens, a convolution over 5
    tokens needs at least 5, and a mean over the tokens that are not padding needs at least one such token. None means
    that there is no limit.

    Attributes:
        min_tokens: the smallest number of token ids of a text, or of steps of a sequence of numbers; from 1 to 65,536.
        max_tokens: the largest number of token ids of a text, or of steps of a sequence.
        max_batch: the largest number of texts or sequences in a run.
        real_token: True if a text must have an id other than the padding id.

    Raises:
        BundleError: `min_tokens` is larger than `max_tokens`.
    """

    min_tokens: int | None = None
    max_tokens: int | None = None
    max_batch: int | None = None
    real_token: Literal[True] | None = None

    def __post_init__(self) -> None:
        if (self.min_tokens or 1) > (self.max_tokens or sys.maxsize):
            raise BundleError(
                f"The limits `min_tokens` and `max_tokens` contradict each other: a text must have at least "
                f"{self.min_tokens} and at most {self.max_tokens} tokens.",
                "Export the bundle again.",
            )

    def allows_length(self, token_count: int) -> bool:
        """Return whether the graph accepts a text of this many token ids, or a sequence of this many steps."""
        return (self.min_tokens or 1) <= token_count <= (self.max_tokens or sys.maxsize)

    def accepts_ids(self, ids: Sequence[int], padding_id: int) -> bool:
        """Return whether the graph accepts a text, or a pair of texts, with these ids: their number is within the
        limits and, if `real_token` is True, each text has an id other than `padding_id`. Negative ids that encode
        features do not count."""
        ids = ids[count_leading_negative_ids(ids) :]
        if not self.allows_length(len(ids)):
            return False
        return not self.real_token or not any(
            all(i == padding_id for i in text)
            for is_mark, text in itertools.groupby(ids, _is_negative_id)
            if not is_mark
        )


def _is_negative_id(token_id: int) -> bool:
    """Return whether an id is negative: such an id separates two texts, or encodes a feature."""
    return token_id < 0


def count_leading_negative_ids(ids: Sequence[int]) -> int:
    """Return how many ids at the beginning of a text's ids are negative. They encode the text's features
    (`pocketrnn.text.features_beside_text`)."""
    return next((i for i, token_id in enumerate(ids) if token_id >= 0), len(ids))


@dataclass(frozen=True)
class Graph:
    """The ONNX file of a bundle, and the graph's inputs.

    The inputs are `tokens` int64 [batch, sequence], or `samples` float32 [batch, time, channels]; and `lengths` int64
    [batch] if the model uses lengths. The output is `logits` float32 [batch, labels], or [batch, sequence, labels] if
    the model labels tokens. For two texts, `second_tokens` follows `tokens`, and `second_lengths` follows `lengths`.
    For texts with numbers or categories, the last input is `features` float32 [batch, features]; for tokens with their
    characters, the last input is `characters` int64 [batch, sequence, width].

    `padding` is True if rows may be padded without changing an answer. `batch` is 1 if a run takes only one text or
    sequence, else None. `limits` are the limits of texts and runs; None without limits. `embedding_rows` is the number
    of rows of the embedding, 0 for sequences of numbers; every id is below it. A text that holds one of the ids in
    `alone` gets a run of its own: the module takes such an id for padding inside a text, so that the answer would
    depend on the other texts in the run.
    """

    file: str
    sha256: str
    opset: int
    inputs: tuple[str, ...]
    padding: bool
    embedding_rows: int = 0
    batch: int | None = None
    limits: Limits | None = None
    alone: tuple[int, ...] = ()


@dataclass(frozen=True)
class TorchScript:
    """The file of a bundle that holds the classifier as TorchScript."""

    file: str
    sha256: str


@dataclass(frozen=True)
class StepGraph:
    """The ONNX file of the step graph, which answers while a text or a recording arrives: it reads some further steps,
    and carries a state from run to run.

    The inputs are `tokens` or `samples`, as in the graph, and `state` float32 [batch, state_size]; the outputs are
    `logits` float32 [batch, labels] and `new_state`, with the shape of `state`.
    """

    file: str
    sha256: str
    state_size: int


@dataclass(frozen=True)
class Example:
    """A golden example: a text, two texts, or a text with features, with the PyTorch module's answer when the bundle
    was made.

    `text` is a string, a tuple of two texts, or a tuple of a text and its features as (name, value) pairs. `ids` are
    the token ids. In a pair, a negative id separates the ids of the two texts. Features are negative ids before the ids
    of the text. `logits` are one row, or a row for each id if the module labels tokens.
    """

    text: str | tuple[str, Any]
    ids: tuple[int, ...]
    logits: tuple[float, ...] | tuple[tuple[float, ...], ...]

    @property
    def shown(self) -> str:
        """The text, both texts, or the text with its features, as one string for messages."""
        if isinstance(self.text, str):
            return self.text
        first, second = self.text
        return f"{first} | {second if isinstance(second, str) else ', '.join(f'{n}={v}' for n, v in second)}"

    @property
    def rows(self) -> tuple[tuple[float, ...], ...]:
        """The rows of logits: one row for the text, or a row for each id if the classifier labels tokens."""
        return self.logits if isinstance(self.logits[0], tuple) else (self.logits,)


@dataclass(frozen=True)
class NumberExample:
    """A golden example of numbers: a sequence, prepared as the graph's input, with the PyTorch module's answer when the
    bundle was made.

    `samples` are float32 [time, channels]; `logits` are one row.
    """

    samples: tuple[tuple[float, ...], ...]
    logits: tuple[float, ...]

    @property
    def rows(self) -> tuple[tuple[float, ...], ...]:
        """The logits of the sequence, as one row."""
        return (self.logits,)


@dataclass(frozen=True)
class Comparison:
    """One line of the proof: it compares the answers of a candidate, which is one form of the classifier such as ONNX,
    with the answers of a reference, such as the module.

    There were `rows` texts or sequences, in `cases` runs. `spreads` is the candidate's largest distance from the exact
    answer, in units of the error that float32 rounding may cause; None if this distance was not measured.
    """

    reference: str
    candidate: str
    inputs: str
    cases: int
    rows: int
    largest_difference: float
    labels_differing: int
    spreads: float | None = None

    @property
    def measures_rounding(self) -> bool:
        """Whether this line measures the effect of rounding the weights. The proof has no limit for this effect."""
        return self.candidate == ROUNDED

    @property
    def measures_integer_arithmetic(self) -> bool:
        """Whether this line measures the effect of integer arithmetic. The proof has no limit for this effect."""
        return self.candidate == INTEGERS

    @property
    def is_only_measured(self) -> bool:
        """Whether this line is only a measurement, and not part of the proof.

        Such a line measures the effect of rounding, of integer arithmetic, or of a module's precision other than
        float32.
        """
        return self.measures_rounding or self.measures_integer_arithmetic or self.candidate.startswith(IN_OWN_PRECISION)


@dataclass(frozen=True)
class Parity:
    """The proof of a bundle: all its comparisons, and `tolerance`, the largest allowed difference of logits."""

    tolerance: float
    comparisons: tuple[Comparison, ...]


Input = TextInput | NumberInput


@dataclass(frozen=True)
class Manifest:
    """The content of classifier.json. `classifier.schema.json` documents each member.

    Attributes:
        input: the kind of input, with the rules that convert it to the graph's inputs.
        output: what the graph's logits mean.
        stream: the step graph, which reads a text or a recording while it arrives; None if the bundle has no step
            graph.

    Raises:
        BundleError: the parts do not fit each other.
    """

    name: str
    input: Input
    output: Output
    graph: Graph
    examples: tuple[Example, ...] | tuple[NumberExample, ...] = field(repr=False)
    parity: Parity
    provenance: Mapping[str, Any] = field(default_factory=dict)
    torchscript: TorchScript | None = None
    stream: StepGraph | None = None

    def __post_init__(self) -> None:
        if isinstance(self.input, TextInput):
            _check_text_manifest(self, self.input)
        else:
            _check_number_manifest(self, self.input)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the logits; for a classifier that gives values, the names of the values."""
        return self.output.labels

    @property
    def text(self) -> TextInput:
        """The text rules and the vocabulary of a classifier of texts. Raise a BundleError if the classifier takes
        sequences of numbers."""
        if not isinstance(self.input, TextInput):
            raise BundleError(f"{self.name} classifies sequences of numbers, not texts.", TAKES_NUMBERS)
        return self.input

    @property
    def has_two_texts(self) -> bool:
        """Whether the classifier takes pairs of texts."""
        return isinstance(self.input, TextInput) and self.input.pairs

    @property
    def features(self) -> Features:
        """The features that the classifier takes in addition to a text; empty without features."""
        return self.input.features if isinstance(self.input, TextInput) else ()

    @property
    def characters(self) -> Characters | None:
        """The characters that the classifier takes in addition to each token; None without characters."""
        return self.input.characters if isinstance(self.input, TextInput) else None

    def require_single_text(self, capability: str) -> None:
        """Check that the classifier takes one text and nothing else, since a method or an option needs this.

        Args:
            capability: the method or option, as the subject of a sentence: `explain()`, `a packed file`.

        Raises:
            InputError: the classifier takes two texts, or a text with features, or the characters of tokens.
        """
        if self.features:
            names = ", ".join(name for name, _ in self.features)
            raise InputError(
                f"{self.name} takes the features {names} in addition to a text, but {capability} does not support "
                "features.",
                "Use classify(), which supports them.",
            )
        if self.characters is not None:
            raise InputError(
                f"{self.name} reads the characters of each word, but {capability} does not support this.",
                "Use tag(), which supports it.",
            )
        if self.has_two_texts:
            raise InputError(
                f"{self.name} takes two texts, but {capability} works only with a single text.",
                "Use classify(), which takes pairs of texts.",
            )

    @property
    def heads(self) -> tuple[str, ...]:
        """The names of the heads; empty if the classifier has a single set of labels."""
        return tuple(self.output.heads) if isinstance(self.output, HeadsOutput) else ()

    def require_single_head(self, capability: str) -> None:
        """Check that the classifier has a single set of labels, since a method or an option needs this.

        Args:
            capability: the method or option, as the subject of a sentence: `a stream`.

        Raises:
            InputError: the classifier has several heads.
        """
        if self.heads:
            raise InputError(
                f"{self.name} has the heads {', '.join(self.heads)}, but {capability} works only with one head.",
                f"Choose one of them in Python: Classifier.load(...).head({self.heads[0]!r}).",
            )

    @property
    def numbers(self) -> NumberInput:
        """The input rules of a classifier of sequences of numbers. Raise a BundleError if the classifier takes
        texts."""
        if not isinstance(self.input, NumberInput):
            raise BundleError(
                f"{self.name} classifies texts, not sequences of numbers.", "Give a bundle for sequences of numbers."
            )
        return self.input

    @property
    def golden_texts(self) -> tuple[Example, ...]:
        """The golden examples of a classifier of texts; empty for a classifier of numbers."""
        return tuple(example for example in self.examples if isinstance(example, Example))

    @property
    def golden_logit_rows(self) -> list[tuple[tuple[float, ...], ...]]:
        """The logits of each golden example, as a tuple of rows: one row, or a row for each token."""
        return [example.rows for example in self.golden_texts] + [example.rows for example in self.golden_sequences]

    @property
    def golden_sequences(self) -> tuple[NumberExample, ...]:
        """The golden examples of a classifier of numbers; empty for a classifier of texts."""
        return tuple(example for example in self.examples if isinstance(example, NumberExample))


def _check_text_manifest(manifest: Manifest, text_input: TextInput) -> None:
    """Raise a BundleError if the vocabulary, rules, graph, step graph and golden examples of a classifier of texts
    contradict each other."""
    graph, rules, rows = manifest.graph, text_input.rules, manifest.graph.embedding_rows
    takes = ", ".join(graph.inputs)
    if len(text_input.vocabulary) > rows:
        raise BundleError(
            f"The vocabulary holds {len(text_input.vocabulary)} tokens, but the embedding has only {rows} rows.",
            "Give the vocabulary that the model was trained with.",
        )
    if rules.highest_id >= rows:
        raise BundleError(
            f"The text rules use the token id {rules.highest_id}, but the ids of the embedding are 0 to {rows - 1}.",
            "Give text rules with the ids that the model was trained with.",
        )
    if graph.alone and max(graph.alone) >= rows:
        raise BundleError(
            f"`alone` of the graph has the token id {max(graph.alone)}, but the ids of the embedding are 0 to "
            f"{rows - 1}.",
            MAKE_AGAIN,
        )
    if ("features" in graph.inputs) != bool(text_input.features):
        raise BundleError(
            f"The inputs of the graph are {takes}, but classifier.json has {len(text_input.features)} features.",
            MAKE_AGAIN,
        )
    if ("characters" in graph.inputs) != (text_input.characters is not None):
        stated = "no characters" if text_input.characters is None else "characters"
        raise BundleError(
            f"The inputs of the graph are {takes}, but classifier.json has {stated} for each token.", MAKE_AGAIN
        )
    if text_input.characters is not None and not manifest.output.of_tokens:
        raise BundleError(
            "classifier.json has characters for each token, but its labels are for texts and not for tokens.",
            MAKE_AGAIN,
        )
    if ("second_tokens" in graph.inputs) != text_input.pairs:
        raise BundleError(
            f"The inputs of the graph are {takes}, but classifier.json has rules for {1 + text_input.pairs} texts.",
            MAKE_AGAIN,
        )
    if manifest.stream is not None and (
        held := _explain_why_texts_cannot_be_streamed(text_input, graph.limits or Limits())
    ):
        raise BundleError(held, "Export without streaming.")
    _check_text_examples(manifest, text_input)


def _explain_why_texts_cannot_be_streamed(text_input: TextInput, limits: Limits) -> str:
    """Return a sentence that says why this classifier cannot read a text in fragments; an empty string if it can."""
    rules = text_input.rules
    if isinstance(rules, TextRules) and rules.ngrams > 1:
        return (
            "The text rules make n-grams, which come after all single tokens, so that a text cannot be read in "
            "fragments by a stream."
        )
    if held := name_rules_against_streaming(rules, text_input.vocabulary):
        return f"The text rules have {held}, which a stream cannot follow while it reads a text in fragments."
    if (limits.min_tokens or 1) > 1:
        return f"The graph takes only texts of at least {limits.min_tokens} tokens, but a stream begins with one."
    return "The graph takes no text without a known word, but a stream may begin with one." if limits.real_token else ""


def _check_text_examples(manifest: Manifest, text_input: TextInput) -> None:
    """Raise a BundleError if a golden example has another number of texts, features, ids or logits than the classifier,
    or an id that the embedding lacks."""
    rows, labels, limits = manifest.graph.embedding_rows, len(manifest.labels), manifest.graph.limits or Limits()
    for example in manifest.golden_texts:
        named = f"The golden example {example.shown[:40]!r}"
        beside = text_input.pairs or bool(text_input.features)
        marks = int(text_input.pairs) + len(text_input.features)
        if isinstance(example.text, tuple) != beside or sum(map(_is_negative_id, example.ids)) != marks:
            what = (
                f"{len(text_input.features)} features and a text"
                if text_input.features
                else f"{1 + text_input.pairs} texts"
            )
            raise BundleError(f"{named} must consist of {what}, but it does not.", MAKE_AGAIN)
        if not limits.allows_length(tokens := len(example.ids) - len(text_input.features)):
            raise BundleError(f"{named} has {tokens} token ids, too few or too many for the graph.", MAKE_AGAIN)
        if not limits.accepts_ids(example.ids, text_input.rules.padding_id):
            raise BundleError(f"{named} has no known word, but the graph needs one.", MAKE_AGAIN)
        answers = len(example.ids) if manifest.output.of_tokens else 1
        if len(example.rows) != answers:
            raise BundleError(
                f"{named} has {len(example.rows)} rows of logits, but it must have {answers}.", MAKE_AGAIN
            )
        if other := {len(row) for row in example.rows} - {labels}:
            raise BundleError(
                f"{named} has a row of {min(other)} logits, which does not fit {labels} labels.", MAKE_AGAIN
            )
        if (highest := max(example.ids)) >= rows:
            raise BundleError(
                f"{named} has the token id {highest}, but the ids of the embedding are 0 to {rows - 1}.", MAKE_AGAIN
            )


def _check_number_manifest(manifest: Manifest, number_input: NumberInput) -> None:
    """Raise a BundleError if the rules, graph, step graph and golden examples of a classifier of numbers contradict
    each other."""
    limits = manifest.graph.limits or Limits()
    if manifest.stream is not None and (held := explain_why_no_answer_after_each_step(number_input, limits)):
        raise BundleError(f"The bundle has a step graph (for streams) that cannot be used: {held}.", MAKE_AGAIN)
    steps = number_input.steps or number_input.window
    if steps and not limits.allows_length(steps):
        raise BundleError(
            f"The input rules make sequences of {steps:,} steps, but the graph does not accept this length.", MAKE_AGAIN
        )
    for number, example in enumerate(manifest.golden_sequences, 1):
        named, steps, channels = f"The golden example {number}", len(example.samples), len(number_input.channels)
        if other := {len(row) for row in example.samples} - {channels}:
            raise BundleError(
                f"{named} has a step of {min(other)} numbers, but the classifier has {channels} channels.", MAKE_AGAIN
            )
        if len(example.logits) != len(manifest.labels):
            raise BundleError(
                f"{named} has {len(example.logits)} logits, but the classifier has {len(manifest.labels)} labels.",
                MAKE_AGAIN,
            )
        if not limits.allows_length(steps) or steps != (number_input.steps or steps):
            raise BundleError(
                f"{named} has {steps:,} steps, but the graph or the input rules do not allow this length.", MAKE_AGAIN
            )


def explain_why_no_answer_after_each_step(number_input: NumberInput, limits: Limits) -> str:
    """Return a clause that says why this classifier of numbers cannot answer a recording after each step, such as
    "every sequence has 100 steps"; an empty string if it can."""
    if number_input.steps is not None:
        return f"every sequence has {number_input.steps:,} steps"
    if number_input.window is not None:
        return f"a recording is answered in windows of {number_input.window:,} steps"
    least = limits.min_tokens or 1
    return f"a sequence has at least {least:,} steps" if least > 1 else ""


def describe_padding_effect(provenance: Mapping[str, Any]) -> str | None:
    """Describe how much padding would change the answers, as measured at the export, in a sentence without its full
    stop. Return None if this was not measured.

    Args:
        provenance: the bundle's provenance, a mapping with any content.
    """
    found = provenance.get("padding")
    if not isinstance(found, Mapping):
        return None
    ids, after, before = (found.get(name) for name in ("ids", "probability_after", "probability_before"))
    if type(ids) is not int or not isinstance(after, int | float):
        return None
    ids_before = found.get("ids_before", ids)
    many = f"{ids_before:,} " if type(ids_before) is int and ids_before != ids else ""
    more = f", {many}before it by up to {before:.2g}" if isinstance(before, int | float) else ""
    return f"{ids:,} ids of padding after a text would change a probability by up to {after:.2g}{more}"


@functools.cache
def load_manifest_schema() -> dict[str, Any]:
    """Load the JSON Schema of classifier.json. The result is cached, so callers must not change it."""
    schema: dict[str, Any] = json.loads(Path(__file__).with_name("classifier.schema.json").read_bytes())
    return schema


def compute_labels_and_input_digest(labels: tuple[str, ...], input_rules: Input) -> str:
    """Compute the sha256 of the labels and of all rules that convert the input to ids or samples; for texts, the
    vocabulary is included."""
    of_texts: list[Any] = [input_rules.vocabulary] if isinstance(input_rules, TextInput) else []
    of_texts += ["two texts"] if isinstance(input_rules, TextInput) and input_rules.pairs else []
    of_texts += (
        [make_features_document(input_rules.features)]
        if isinstance(input_rules, TextInput) and input_rules.features
        else []
    )
    characters = input_rules.characters if isinstance(input_rules, TextInput) else None
    of_texts += [] if characters is None else [characters.document]
    content = json.dumps([labels, input_rules.document, *of_texts], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(content.encode()).hexdigest()


def make_input_digest_metadata(labels: tuple[str, ...], input_rules: Input) -> dict[str, str]:
    """Make the metadata entry that an exported graph carries: the digest of its labels and input rules, under a name
    such as `pocketrnn.text_digest`. The entry identifies the graph without its bundle."""
    return {f"pocketrnn.{input_rules.kind}_digest": compute_labels_and_input_digest(labels, input_rules)}


def encode_manifest(manifest: Manifest) -> bytes:
    """Encode a manifest as the content of classifier.json, in UTF-8: one top-level member on each line, and the sha256
    of the rest as the last member, `digest`."""
    words = {"vocabulary": manifest.input.vocabulary} if isinstance(manifest.input, TextInput) else {}
    return encode_json_with_digest({**make_manifest_document(manifest), **words})


def encode_json_with_digest(document: Mapping[str, Any]) -> bytes:
    """Encode a document as JSON, with the sha256 of the rest as the last member, `digest`.

    The JSON is UTF-8, with one top-level member on each line.
    """
    # The vocabulary has no spaces after its commas: 13,000 words take 133 kB so, and 146 kB with them.
    between = {"vocabulary": ","}
    lines = [
        f"{json.dumps(name)}: {_encode_json_with_item_separator(value, between.get(name, ', '))}"
        for name, value in document.items()
    ]
    # A lone surrogate (half of a UTF-16 pair) has no UTF-8 form and is left as its JSON escape.
    content = ("{\n " + ",\n ".join(lines)).encode("utf-8") + b',\n "digest": "' + _ZEROS + b'"\n}\n'
    return content.replace(_ZEROS + b'"\n}\n', hashlib.sha256(content).hexdigest().encode() + b'"\n}\n')


def make_manifest_document(manifest: Manifest) -> dict[str, Any]:
    """Convert a manifest to the members of classifier.json, without `vocabulary` and `digest`."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "name": manifest.name,
        **manifest.output.document,
        **({"texts": 2} if manifest.has_two_texts else {}),
        **({"features": make_features_document(manifest.features)} if manifest.features else {}),
        **({} if manifest.characters is None else {"characters": manifest.characters.document}),
        manifest.input.kind: manifest.input.document,
        "graph": _drop_empty_members(asdict(manifest.graph)),
        **({} if manifest.torchscript is None else {"torchscript": asdict(manifest.torchscript)}),
        **({} if manifest.stream is None else {"stream": asdict(manifest.stream)}),
        "examples": [_make_example_document(example) for example in manifest.examples],
        "parity": {
            "tolerance": manifest.parity.tolerance,
            "comparisons": [
                {name: value for name, value in asdict(line).items() if value is not None}
                for line in manifest.parity.comparisons
            ],
        },
        "provenance": dict(manifest.provenance),
    }


def _make_example_document(example: Example | NumberExample) -> dict[str, Any]:
    """Convert a golden example to an object for classifier.json. Leave out the negative ids that encode features or
    separate two texts."""
    document = asdict(example)
    if isinstance(example, Example) and isinstance(example.text, tuple):
        if not isinstance(example.text[1], str):
            values = dict(example.text[1])
            return {
                "text": example.text[0],
                "features": values,
                "ids": list(example.ids[len(values) :]),
                "logits": example.logits,
            }
        mark = example.ids.index(min(example.ids))
        document["ids"] = [example.ids[:mark], example.ids[mark + 1 :]]
    return document


def list_bundle_files(manifest: Manifest) -> tuple[str, ...]:
    """List the names of the files of a bundle; classifier.json comes first."""
    further = (entry.file for entry in (manifest.graph, manifest.torchscript, manifest.stream) if entry is not None)
    return CLASSIFIER_JSON, *further


def read_manifest(folder: Path) -> Manifest:
    """Read and check classifier.json in the folder of a bundle. The other files are checked when they are opened.

    Raises:
        BundleError: the folder or the file is missing or unreadable; the file is not JSON, or has another format or
            version; a byte was changed; or the members contradict each other.
    """
    path = folder / CLASSIFIER_JSON
    try:
        exists = path.exists()
    except OSError as error:  # a name that is too long
        raise BundleError(f"{path} cannot be read: {error.strerror or error}.", "Check the path.") from None
    if not exists:
        raise _make_not_a_bundle_error(folder)
    content = read_regular_file(path, _LARGEST_JSON)
    document = parse_versioned_document(
        content,
        path,
        form=FORMAT,
        version=VERSION,
        error=BundleError,
        written_by="pocketrnn export",
        remedy=MAKE_AGAIN,
        version_remedy=_EXPORT_AGAIN,
    )
    _check_schema_and_nesting(document, path)
    _check_digest(document, content, path)
    return _build_consistent_manifest(document, path)


def _make_not_a_bundle_error(path: Path) -> BundleError:
    """Make the error for a path that is not a bundle. If the path is a checkpoint or a file of a bundle, the error says
    so."""
    if path.is_dir():
        if _is_pocketrnn_checkpoint(path):
            # Imported here, since loading a bundle needs neither.
            import shlex

            from pocketrnn.bundle.names_from_paths import choose_default_bundle_folder

            return BundleError(
                f"{path} is a checkpoint, not a bundle.",
                f"Export it: pocketrnn export {shlex.quote(str(path))} -o "
                f"{shlex.quote(str(choose_default_bundle_folder(path)))}",
            )
        return BundleError(f"{path} holds no {CLASSIFIER_JSON}.", GIVE_A_BUNDLE)
    if path.is_file() and (path.parent / CLASSIFIER_JSON).is_file():
        return BundleError(f"{path} is a file of a bundle.", f"Give its folder: {path.parent}")
    if path.exists():
        return BundleError(f"{path} is neither a folder nor a packed file.", GIVE_A_BUNDLE)
    return BundleError(f"{path} does not exist.", suggest_bundle_with_similar_name(path) or GIVE_A_BUNDLE)


def suggest_bundle_with_similar_name(path: Path, shipped: Iterable[str] = ()) -> str:
    """Return a sentence that suggests an existing bundle, packed file or checkpoint with a name similar to that of a
    missing one, such as "Did you mean news.bundle?"

    Args:
        shipped: the names of shipped classifiers, if the user may mean one of them.

    Returns:
        the sentence; an empty string if no name is similar.
    """
    from pocketrnn.bundle.names_from_paths import suggest_near_file

    return suggest_near_file(path, (".prnn",), folders_with=(CLASSIFIER_JSON, "config.json"), other_names=shipped)


def _is_pocketrnn_checkpoint(folder: Path) -> bool:
    """Return whether a folder is a checkpoint of `pocketrnn train`: whether its config.json begins with the name of
    this format."""
    config = folder / "config.json"
    try:
        if not config.is_file():
            return False
        with config.open("rb") as file:
            return b'"pocketrnn-checkpoint"' in file.read(100)
    except OSError:
        return False


def build_manifest_from_document(document: dict[str, Any], path: Path) -> Manifest:
    """Build a manifest from the members of classifier.json, without checking their digest.

    Args:
        document: the members, as `make_manifest_document` returns them, with `vocabulary` and any `digest`.

    Raises:
        BundleError: the document breaks the schema, or its members contradict each other.
    """
    _check_schema_and_nesting(document, path)
    return _build_consistent_manifest(document, path)


def _build_consistent_manifest(document: dict[str, Any], path: Path) -> Manifest:
    """Build a manifest from members that fit the schema. If they contradict each other, raise a BundleError that names
    `path`."""
    try:
        return _build_manifest(document)
    except PocketRNNError as error:
        raise BundleError(f"{path} contradicts itself: {error.problem}", MAKE_AGAIN) from None


def _check_schema_and_nesting(document: dict[str, Any], path: Path) -> None:
    """Raise a BundleError if the members of classifier.json break its schema, or if the provenance is nested too
    deeply."""
    if fault := find_first_fault(document, load_manifest_schema()):
        raise BundleError(f"{path} is not valid: {fault}.", MAKE_AGAIN)
    if _is_nested_deeper(document["provenance"], _DEEPEST):
        raise BundleError(f"{path} is not valid: provenance has more than {_DEEPEST} levels of nesting.", MAKE_AGAIN)


def _check_digest(document: Mapping[str, Any], content: bytes, path: Path) -> None:
    """Raise a BundleError if classifier.json was changed: if the digest at its end is not the sha256 of the rest."""
    stated = _DIGEST.search(content)
    if stated is None or stated[1].decode() != document["digest"]:
        raise BundleError(f"{path} was changed after it was made: it does not end with its digest.", MAKE_AGAIN)
    zeroed = content[: stated.start(1)] + _ZEROS + content[stated.end(1) :]
    if hashlib.sha256(zeroed).hexdigest() != document["digest"]:
        raise BundleError(f"{path} was changed after it was made: its digest does not match.", MAKE_AGAIN)


def _build_manifest(document: dict[str, Any]) -> Manifest:
    """Build a manifest from the members of classifier.json, which fit the schema."""
    parity, graph = document["parity"], document["graph"]
    torchscript, stream = document.get("torchscript"), document.get("stream")
    given = NumberInput.from_document(document["numbers"]) if "numbers" in document else _build_text_input(document)
    return Manifest(
        name=document["name"],
        input=given,
        output=build_heads(document["heads"])
        if "heads" in document
        else build_output(
            tuple(document["labels"]),
            document["activation"],
            tuple(map(float, document["thresholds"])) if "thresholds" in document else None,
            tuple(document["value_units"]) if "value_units" in document else None,
            document.get("priors", {}),
            document.get("labels_of", "texts"),
            document.get("crf"),
        ),
        graph=Graph(
            file=graph["file"],
            sha256=graph["sha256"],
            opset=int(graph["opset"]),
            inputs=tuple(graph["inputs"]),
            padding=graph["padding"],
            embedding_rows=int(graph.get("embedding_rows", 0)),
            batch=1 if "batch" in graph else None,
            limits=_build_limits(graph["limits"]) if "limits" in graph else None,
            alone=tuple(map(int, graph.get("alone", ()))),
        ),
        torchscript=None if torchscript is None else TorchScript(**torchscript),
        stream=None if stream is None else StepGraph(stream["file"], stream["sha256"], int(stream["state_size"])),
        examples=_build_examples(
            document["examples"], document.get("text", {}).get("padding_id", 0), getattr(given, "features", ())
        ),
        parity=Parity(
            tolerance=float(parity["tolerance"]),
            comparisons=tuple(Comparison(**comparison) for comparison in parity["comparisons"]),
        ),
        provenance=document["provenance"],
    )


def _build_text_input(document: Mapping[str, Any]) -> TextInput:
    """Build the input of a classifier of texts from the members of classifier.json: its rules and vocabulary, and its
    characters or features if there are any."""
    rules, vocabulary = rules_of(document["text"]), tuple(document["vocabulary"])
    if "characters" in document:
        return CharacterInput(rules, vocabulary, Characters(**document["characters"]))
    if "features" in document:
        return FeatureInput(rules, vocabulary, build_features_from_document(document["features"]))
    return (PairInput if "texts" in document else TextInput)(rules, vocabulary)


def _build_examples(
    members: Sequence[Mapping[str, Any]], padding_id: int, features: Features
) -> tuple[Example, ...] | tuple[NumberExample, ...]:
    """Build the golden examples from their objects in classifier.json.

    Args:
        features: the features that the classifier takes in addition to a text; empty without features.
    """
    golden: list[Any] = [
        tuple(tuple(map(float, row)) if isinstance(row, list) else float(row) for row in one["logits"])
        for one in members
    ]
    if "samples" in members[0]:
        rows = [tuple(tuple(map(float, row)) for row in one["samples"]) for one in members]
        return tuple(itertools.starmap(NumberExample, zip(rows, golden, strict=True)))
    given = [_read_golden_text_and_ids(one, int(padding_id), features) for one in members]
    return tuple(Example(text, ids, logits) for (text, ids), logits in zip(given, golden, strict=True))


def _read_golden_text_and_ids(
    example: Mapping[str, Any], padding_id: int, features: Features
) -> tuple[str | tuple[str, Any], tuple[int, ...]]:
    """Read the text and the ids of a golden example from its object in classifier.json.

    Returns:
        the text, a tuple of two texts, or a tuple of the text and its features; and the ids, with the negative ids that
        encode features or separate two texts.
    """
    if features:
        marks = encode_numbers_as_negative_ids(
            encode_values(features, example["features"], "A golden example")
        ).tolist()
        return (example["text"], tuple(example["features"].items())), (*marks, *map(int, example["ids"]))
    if isinstance(example["text"], str):
        return example["text"], tuple(map(int, example["ids"]))
    (first, second), (ids, others) = example["text"], example["ids"]
    return (first, second), (*map(int, ids), make_pair_mark(padding_id), *map(int, others))


def _build_limits(members: Mapping[str, Any]) -> Limits:
    """Build the limits of a graph from their object in classifier.json."""
    sizes = {name: int(value) for name, value in members.items() if name != "real_token"}
    return Limits(**sizes, real_token=True if "real_token" in members else None)


def _drop_empty_members(members: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object without the members that are None, 0 or empty, and without inner objects of which nothing is
    left. Members that are False stay."""
    members = {
        name: _drop_empty_members(value) if isinstance(value, dict) else value for name, value in members.items()
    }
    return {name: value for name, value in members.items() if value or value is False}


def _is_nested_deeper(value: Any, levels: int) -> bool:
    """Return whether a JSON value has lists and objects nested in more than `levels` levels."""
    level = [value]
    for _ in range(levels + 1):
        level = [m for v in level if isinstance(v, (dict, list)) for m in (v.values() if isinstance(v, dict) else v)]
    return bool(level)


def _encode_json_with_item_separator(value: Any, item_separator: str) -> str:
    """Encode a value as JSON with `item_separator`, such as ",", after each item. Non-ASCII characters are not escaped,
    unless the value holds a lone surrogate (half of a UTF-16 pair)."""
    text = json.dumps(value, ensure_ascii=False, separators=(item_separator, ": "), allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, ensure_ascii=True, separators=(item_separator, ": "), allow_nan=False)
    return text
