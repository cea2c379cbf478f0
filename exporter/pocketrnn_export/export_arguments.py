"""The keyword arguments of `export`, for all classifiers and for classifiers of numbers, and checks of some of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from pocketrnn.bundle.crf import Crf
from pocketrnn.errors import InputError, short_repr
from pocketrnn.text import EXTERNAL
from pocketrnn_export.bundle_description import Description
from pocketrnn_export.comparing.parity_verdict import write_report
from pocketrnn_export.intake.compiled_call_line import Call
from pocketrnn_export.vocabularies.owner_texts_and_answers import OwnersText

# A text with its ids, tokens or None; and the answer of the owner's classifier, if given.
OwnersPair = tuple[str, object] | tuple[str, object, object]


class DescribedArguments(TypedDict, total=False):
    """The arguments of `export` that can be given in addition to the objects `input` and `output`. `export` documents
    each."""

    lengths: bool | None
    call: str | Call | None
    gives: str | None
    one_text: bool
    examples: bool
    name: str | None
    streaming: bool
    tolerance: float | None
    provenance: Mapping[str, object] | None
    report: str | Path | None
    force: bool
    progress: bool


class CommonArguments(DescribedArguments, total=False):
    """The arguments of `export` for any classifier that is described without the objects `input` and `output`."""

    multi_label: bool
    thresholds: Sequence[float] | None


class NumberArguments(TypedDict, total=False):
    """The arguments of `export` for a classifier of sequences of numbers.

    They are the members of `NumberInput` except the channels, each as one number for all channels or as one for each
    channel; and the arguments that describe the module, its values and its sequences.

    Attributes:
        values, value_units: the names of the values that a module gives in place of labels, and the unit of each.
        scaler: a scaler of scikit-learn, or the file of one, that says mean and scale: `.joblib`, `.pkl`, `.npz` or
            `.json`. Nothing in a file is executed.
        layout: the axes of forward's input: `btc` for [batch, time, channels], `bct` for [batch, channels, time],
            `bt` for [batch, time]; by default `export` finds out, also if time comes before the batch.
        sequences: real sequences, as the sensor gives them; the first become golden examples.
    """

    values: Sequence[str] | None
    value_units: Sequence[str] | None
    scaler: object
    layout: str | None
    sequences: Iterable[object]
    units: Sequence[str] | str | None
    integer_scale: Sequence[float] | float | None
    mean: Sequence[float] | None
    scale: Sequence[float] | None
    clip: Sequence[float] | None
    missing: float | None
    steps: int | None
    pad_side: str | None
    pad_value: float
    window: int | None
    hop: int | None
    rate: float | None
    training_range: Sequence[Sequence[float]] | None


class AnyNumberArguments(CommonArguments, NumberArguments, total=False):
    """All arguments of `export` for a classifier of numbers that is described without the objects `input` and
    `output`."""


@dataclass(frozen=True)
class ExportOptions:
    """The options of an export that do not describe input or output. `export` documents each."""

    lengths: bool | None = None
    call: str | Call | None = None
    gives: str | None = None
    one_text: bool = False
    examples: bool = True
    streaming: bool = False
    tolerance: float | None = None
    report: str | Path | None = None
    crf: bool | Crf = True
    two_texts: bool = False


def check_export_options(options: ExportOptions) -> None:
    """Refuse unusable options, and check that the report can be written, before the work starts.

    Raises:
        InputError: an option is unusable; its subclass OutputError, where the report cannot be written.
    """
    if options.tolerance is not None and not 0 <= options.tolerance < float("inf"):
        raise InputError(
            f"The tolerance is {options.tolerance}, which is out of range.",
            "Give a finite number of 0 or more, such as 1e-5.",
        )
    if options.gives not in (None, "logits", "probabilities"):
        raise InputError(f"gives is {short_repr(options.gives)}, which is unknown.", "Use 'logits' or 'probabilities'.")
    if options.report is not None:
        write_report(options.report, [], options.tolerance)


def refuse_options(reason: str, **options: bool) -> None:
    """Refuse the first option that the user gives although the module's kind of input excludes it.

    Args:
        reason: what the module takes, as the beginning of a sentence.
        options: the options of `export` that it excludes, each with True if the user wants it.
    """
    if found := next((name for name, wanted in options.items() if wanted), None):
        raise InputError(f"{reason}, so it cannot be exported with {found}.", f"Leave {found} out.")


def refuse_options_with_pairs_or_features(
    reason: str, description: Description, pairs: Iterable[OwnersText], example_call: str, **options: bool
) -> None:
    """Refuse options that a bundle of pairs of texts, or of texts with features, cannot have.

    Args:
        reason: as for `refuse_options`.
        description: the bundle's description.
        pairs: the owner's texts, with their ids or answers.
        example_call: how the bundle is given tokens.
        options: as for `refuse_options`.
    """
    refuse_options(reason, **options)
    if description.output.of_tokens:
        raise InputError(f"{reason}, but the labels are of tokens.", "Leave labels_of out.")
    if description.text.rules.tokenizer == EXTERNAL:
        raise InputError(
            f"{reason}, but its rules do not split texts (the tokenizer is external).",
            f"Give rules that split texts. The classifier takes tokens or ids all the same: {example_call}.",
        )
    if any(one.answer is not None for one in pairs):
        raise InputError(
            f"{reason}, but example_ids has the answer to a single text.",
            "Leave the answers out, and give single texts with their ids, for which the rules are the same: [(text, "
            "ids), ...].",
        )
