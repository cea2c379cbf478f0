"""What classifier.json says of a classifier of numbers: read, check, write."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from pocketrnn.bundle.json_schema import first_fault
from pocketrnn.bundle.manifest import (
    CLASSIFIER_JSON,
    FORMAT,
    MAKE_AGAIN,
    VERSION,
    Comparison,
    Parity,
    StepGraph,
    check_digest_of,
    check_provenance,
    digested,
    document_in,
    takes_numbers,
)
from pocketrnn.errors import BundleError, PocketRNNError
from pocketrnn.numbers.number_input import NumberInput

__all__ = [
    "ACTIVATIONS",
    "NumberExample",
    "NumberGraph",
    "NumberManifest",
    "StepLimits",
    "built",
    "document_of",
    "held_against_carrying",
    "json_schema",
    "numbers_digest",
    "read",
    "to_bytes",
]

Activation = Literal["softmax", "sigmoid", "values"]
ACTIVATIONS: Final = ("softmax", "sigmoid", "values")


@dataclass(frozen=True)
class StepLimits:
    """What the graph cannot take, since the PyTorch module cannot. None is no limit.

    Attributes:
        min_steps, max_steps: the fewest and the most steps of a sequence.
        max_batch: the most sequences in a run.

    Example:
        >>> StepLimits(max_steps=300).allow(301)
        False
    """

    min_steps: int | None = None
    max_steps: int | None = None
    max_batch: int | None = None

    def allow(self, steps: int) -> bool:
        """Whether the graph takes a sequence of so many steps."""
        return (self.min_steps or 1) <= steps and (self.max_steps is None or steps <= self.max_steps)


@dataclass(frozen=True)
class NumberGraph:
    """The ONNX file: `samples` float32 [batch, time, channels], and `lengths` int64 [batch] where the module uses them,
    to `logits` float32 [batch, labels]. `padding` says whether sequences of several lengths may share a run; `batch` is
    1 where a run takes one only, else None."""

    file: str
    sha256: str
    opset: int
    inputs: tuple[str, ...]
    padding: bool
    batch: int | None = None
    limits: StepLimits | None = None


@dataclass(frozen=True)
class NumberExample:
    """A golden example: what the PyTorch module answered to `samples`, float32 [time, channels] as the graph is given
    them, when the bundle was made."""

    samples: tuple[tuple[float, ...], ...]
    logits: tuple[float, ...]


@dataclass(frozen=True)
class NumberManifest:
    """All of classifier.json of a classifier of numbers.

    Attributes:
        labels: the classes in the order of the logits; the names of the values, where `activation` is `values`.
        value_units: with values, the unit of each; None where nobody said.
        stream: the graph that reads on from a state, of a bundle that answers while a recording arrives; else None. It
            takes `samples` in the place of tokens.

    Raises:
        BundleError: the parts do not fit each other.
    """

    name: str
    labels: tuple[str, ...]
    numbers: NumberInput
    graph: NumberGraph
    examples: tuple[NumberExample, ...] = field(repr=False)
    parity: Parity
    provenance: Mapping[str, Any] = field(default_factory=dict)
    activation: Activation = "softmax"
    value_units: tuple[str, ...] | None = None
    thresholds: tuple[float, ...] | None = None
    stream: StepGraph | None = None

    def __post_init__(self) -> None:
        of_labels = self.activation != "values"
        if of_labels and len(self.labels) < 2:
            raise BundleError("There is one label.", MAKE_AGAIN)
        if self.value_units is not None and (of_labels or len(self.value_units) != len(self.labels)):
            raise BundleError(f"There are {len(self.value_units)} units of values.", MAKE_AGAIN)
        if self.thresholds is not None and (not of_labels or len(self.thresholds) != len(self.labels)):
            raise BundleError(f"There are {len(self.thresholds)} thresholds.", MAKE_AGAIN)
        limits, rules = self.graph.limits or StepLimits(), self.numbers
        if self.stream is not None and (held := held_against_carrying(rules, limits)):
            raise BundleError(f"There is a step graph, and {held}.", MAKE_AGAIN)
        for steps in filter(None, (rules.steps, None if rules.steps else rules.window)):
            if not limits.allow(steps):
                raise BundleError(
                    f"The graph takes no sequence of {steps:,} steps, which the rules give it.", MAKE_AGAIN
                )
        for number, example in enumerate(self.examples, 1):
            widths = {len(row) for row in example.samples}
            if widths != {len(rules.channels)} or len(example.logits) != len(self.labels):
                raise BundleError(f"The golden example {number} does not fit the channels or the labels.", MAKE_AGAIN)
            if not limits.allow(len(example.samples)) or len(example.samples) != (rules.steps or len(example.samples)):
                raise BundleError(f"The golden example {number} is beyond the limits of the graph.", MAKE_AGAIN)


def held_against_carrying(rules: NumberInput, limits: StepLimits) -> str:
    """What keeps a recording from being answered step by step from a carried state; empty where nothing does.

    Example:
        >>> held_against_carrying(NumberInput(("x",), window=64), StepLimits())
        'a recording is answered in windows of 64 steps'
    """
    if rules.steps is not None:
        return f"every sequence has {rules.steps:,} steps"
    if rules.window is not None:
        return f"a recording is answered in windows of {rules.window:,} steps"
    least = limits.min_steps or 1
    return f"a sequence has at least {least:,} steps" if least > 1 else ""


@functools.cache
def json_schema() -> dict[str, Any]:
    """The JSON Schema of classifier.json of a classifier of numbers."""
    schema: dict[str, Any] = json.loads(Path(__file__).with_name("numbers.schema.json").read_bytes())
    return schema


def numbers_digest(labels: tuple[str, ...], rules: NumberInput) -> str:
    """The sha256 of all that makes numbers for the graph and labels of logits; the graph carries it in its metadata.

    Example:
        >>> len(numbers_digest(("up", "down"), NumberInput(("x",))))
        64
    """
    import hashlib

    content = json.dumps([labels, rules.document], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(content.encode()).hexdigest()


def read(folder: Path) -> NumberManifest:
    """Read and check the classifier.json of a classifier of numbers.

    Raises:
        BundleError: it is missing or unreadable, of another version, a byte was changed, or its parts do not fit each
            other; or it is one of texts.
    """
    path = folder / CLASSIFIER_JSON
    document, content = document_in(folder)
    if not takes_numbers(document):
        raise BundleError(f"{path} is of a classifier of texts.", "Use pocketrnn.Classifier.")
    if fault := first_fault(document, json_schema()):
        raise BundleError(f"{path} is not valid: {fault}.", MAKE_AGAIN)
    check_provenance(document, path)
    check_digest_of(document, content, path)
    try:
        return built(document)
    except PocketRNNError as error:
        raise BundleError(f"{path} contradicts itself: {error.problem}", MAKE_AGAIN) from None


def built(document: Mapping[str, Any]) -> NumberManifest:
    """The manifest of a document that is valid by `json_schema`.

    Raises:
        PocketRNNError: its parts do not fit each other.
    """
    graph, parity, stream = document["graph"], document["parity"], document.get("stream")
    limits = graph.get("limits")
    return NumberManifest(
        name=document["name"],
        labels=tuple(document["labels"]),
        activation=document["activation"],
        value_units=tuple(document["value_units"]) if "value_units" in document else None,
        thresholds=tuple(map(float, document["thresholds"])) if "thresholds" in document else None,
        numbers=NumberInput.of(document["numbers"]),
        graph=NumberGraph(
            **{
                **graph,
                "inputs": tuple(graph["inputs"]),
                "opset": int(graph["opset"]),
                "limits": None if limits is None else StepLimits(**{name: int(size) for name, size in limits.items()}),
            }
        ),
        stream=None if stream is None else StepGraph(**{**stream, "state_size": int(stream["state_size"])}),
        examples=tuple(
            NumberExample(
                samples=tuple(tuple(map(float, row)) for row in example["samples"]),
                logits=tuple(map(float, example["logits"])),
            )
            for example in document["examples"]
        ),
        parity=Parity(float(parity["tolerance"]), tuple(Comparison(**line) for line in parity["comparisons"])),
        provenance=document["provenance"],
    )


def document_of(manifest: NumberManifest) -> dict[str, Any]:
    """What classifier.json says, without the digest."""
    graph = {name: value for name, value in asdict(manifest.graph).items() if value is not None}
    if manifest.graph.limits is not None:
        graph["limits"] = {name: size for name, size in asdict(manifest.graph.limits).items() if size is not None}
    return {
        "format": FORMAT,
        "version": VERSION,
        "name": manifest.name,
        "labels": manifest.labels,
        "activation": manifest.activation,
        **({} if manifest.value_units is None else {"value_units": manifest.value_units}),
        **({} if manifest.thresholds is None else {"thresholds": manifest.thresholds}),
        "numbers": manifest.numbers.document,
        "graph": graph,
        **({} if manifest.stream is None else {"stream": asdict(manifest.stream)}),
        "examples": [asdict(example) for example in manifest.examples],
        "parity": {
            "tolerance": manifest.parity.tolerance,
            "comparisons": [
                {name: value for name, value in asdict(line).items() if value is not None}
                for line in manifest.parity.comparisons
            ],
        },
        "provenance": dict(manifest.provenance),
    }


def to_bytes(manifest: NumberManifest) -> bytes:
    """classifier.json's content: UTF-8, one top-level member a line, its own digest last."""
    return digested(document_of(manifest))
