"""The keyword arguments of `export`, for all classifiers and for classifiers of numbers, and checks of some of them:
features, pairs of texts, heads and characters."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypedDict

from pocketrnn.bundle.crf import Crf
from pocketrnn.bundle.output_kinds import HeadsOutput, LabelOutput, Priors
from pocketrnn.errors import DataError, InputError, TextError, short_repr
from pocketrnn.text import EXTERNAL, AnyTextRules
from pocketrnn.text.encoder import TextEncoder
from pocketrnn.text.features_beside_text import (
    Category,
    FeatureRow,
    Features,
    Number,
    encode_values,
    freeze_text_with_features,
)
from pocketrnn.text.pairs import check_pair
from pocketrnn.text.text_input import TextInput
from pocketrnn.text.text_row_encoder import Tokenizer
from pocketrnn.text.token_characters import Characters, add_character_ids, make_characters
from pocketrnn.text.token_positions import locate_text_tokens
from pocketrnn_export.bundle_description import Description, LabelsOf, make_label_output
from pocketrnn_export.comparing.parity_decision_and_report import write_comparison_report
from pocketrnn_export.comparing.proof_inputs import choose_texts_for_proof
from pocketrnn_export.intake.compiled_call_line import Call
from pocketrnn_export.json_reading_and_writing import parse_json
from pocketrnn_export.proof.feature_cases import make_example_features
from pocketrnn_export.vocabularies.owner_texts_and_answers import OwnersText
from pocketrnn_export.vocabularies.tokenizer_json import Subwords
from pocketrnn_export.vocabularies.vocabulary import VocabularySource, log_doubtful_lines, read_vocabulary

# A text with its ids, tokens or None; and the answer of the owner's classifier, if given.
OwnersPair = tuple[str, object] | tuple[str, object, object]


class DescribedArguments(TypedDict, total=False):
    """The arguments of `export` that may be given together with the arguments `input` and `output`. The docstring of
    `export` explains each."""

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
    """The arguments of `export` for a classifier of any kind, if `input` and `output` are not given."""

    multi_label: bool
    thresholds: Sequence[float] | None


class NumberArguments(TypedDict, total=False):
    """The arguments of `export` for a classifier of sequences of numbers.

    They are the members of `NumberInput` except the channels, each as one number for all channels or as one for each
    channel; and the arguments that describe the module, its values and its sequences.

    Attributes:
        values, value_units: the names of the values that the module gives in place of labels, and the unit of each.
        scaler: a scaler of scikit-learn with mean and scale, or the path of a file that holds one: `.joblib`, `.pkl`,
            `.npz` or `.json`. No code in a file is executed.
        layout: the axes of forward's input: `btc` for [batch, time, channels], `bct` for [batch, channels, time], `bt`
            for [batch, time]. By default, `export` finds the layout by trials; it then also finds layouts with time
            before the batch.
        sequences: real sequences, as the sensor gives them; the first ones become golden examples.
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
    """The options of an export that do not describe input or output. The docstring of `export` explains each."""

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


@dataclass(frozen=True)
class TextExportArguments:
    """The arguments of `export` that describe a classifier of texts, without those in `ExportOptions`. The docstring of
    `export` explains each."""

    name: str
    vocabulary: VocabularySource | None
    tokenizer: str | os.PathLike[str] | Tokenizer | None
    rules: AnyTextRules | Subwords | Mapping[str, Any] | None
    labels: Sequence[str] | None
    heads: Mapping[str, Sequence[str] | LabelOutput] | None
    labels_of: LabelsOf
    priors: Priors
    thresholds: Sequence[float] | None
    example_ids: Iterable[OwnersPair]
    example_texts: Sequence[Any]
    features: FeaturesGiven | None
    characters: CharactersGiven | None
    torchscript: bool | None
    provenance: Mapping[str, object] | None
    multi_label: bool = False
    edge: bool = False


def check_export_options(options: ExportOptions) -> None:
    """Check the options `tolerance` and `gives`, and that the report can be written, before the work starts.

    Raises:
        InputError: `tolerance` or `gives` has an unusable value.
        OutputError: the report cannot be written.
    """
    if options.tolerance is not None and not 0 <= options.tolerance < float("inf"):
        raise InputError(
            f"The option `tolerance` is {options.tolerance}, but must be a finite number of 0 or more.",
            "Give the largest difference of answers that you accept, such as 1e-5.",
        )
    if options.gives not in (None, "logits", "probabilities"):
        raise InputError(
            f"The option `gives` is {short_repr(options.gives)}, but must be 'logits' or 'probabilities'.",
            "Write what forward returns: gives='logits' or gives='probabilities'.",
        )
    if options.report is not None:
        write_comparison_report(options.report, [], options.tolerance)


def refuse_options_excluded_by_input(reason: str, **options: bool) -> None:
    """Raise an InputError if the user wants an option that the module's kind of input excludes. The message names the
    first such option.

    Args:
        reason: the kind of input, as the beginning of a sentence, such as "The module takes two texts".
        options: the names of the excluded options, each with True if the user wants it.
    """
    if found := next((name for name, wanted in options.items() if wanted), None):
        raise InputError(f"{reason}, so it cannot be exported with the option `{found}`.", f"Leave out `{found}`.")


def refuse_options_with_pairs_or_features(
    reason: str, description: Description, pairs: Iterable[OwnersText], example_call: str, **options: bool
) -> None:
    """Raise an InputError for options that a bundle of pairs of texts, or of texts with features, cannot have.

    Args:
        reason: the kind of input, as the beginning of a sentence, such as "The module takes two texts".
        example_call: a call that gives tokens to the bundle, for the message.
        options: the names of the excluded options, each with True if the user wants it.
    """
    refuse_options_excluded_by_input(reason, **options)
    if description.output.of_tokens:
        raise InputError(
            f"{reason}, so its labels must be of texts, but `labels_of` is 'tokens'.",
            "Leave out the argument `labels_of`.",
        )
    if description.text.rules.tokenizer == EXTERNAL:
        raise InputError(
            f"{reason}, so its rules must split texts, but `tokenizer` is 'external': your own code splits them.",
            f"Give text rules that split texts. The bundle still takes tokens or ids if you have them: {example_call}.",
        )
    if any(one.answer is not None for one in pairs):
        raise InputError(
            f"{reason}, but `example_ids` has an answer to a single text, which cannot be compared.",
            "Leave out the answers, and give only single texts with their ids: [(text, ids), ...].",
        )


# --- Features ---

# The features as `export` takes them: names of numbers; or for each name a number or a category, or its values.
FeaturesGiven: TypeAlias = Sequence[str] | Mapping[str, Number | Category | Iterable[str | int] | Mapping[Any, int]]


def read_features(given: str) -> FeaturesGiven:
    """Read the features that the user names on the command line, or describes in a JSON file.

    Args:
        given: the names of numbers with commas between them, `a,b,c`; or the path of a JSON file. The file has a list
            of names, or an object with one member for each name: `{"mean": 3.1, "scale": 2.0}` for a number; a list of
            values, or `{"values": {"book": 0}, "unknown": 1}`, for a category.

    Raises:
        DataError: the file cannot be read, or holds something else.
        InputError: a mean, a scale or the values of a category are unusable.
    """
    path = Path(given)
    if path.suffix != ".json":
        return [name.strip() for name in given.split(",")]
    remedy = 'Write {"price": {"mean": 3.1, "scale": 2.0}, "kind": ["book", "film"]}, or a list of names.'
    try:
        text = path.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise DataError(f"{given} cannot be read: {getattr(error, 'strerror', None) or error}.", remedy) from None
    document = parse_json(text, given, remedy)
    if isinstance(document, list):
        return document
    if not isinstance(document, dict):
        raise DataError(
            f"{given} must hold a JSON list or object that describes the features, but holds neither.", remedy
        )
    return {name: _read_feature(name, members, given, remedy) for name, members in document.items()}


def _read_feature(name: str, members: Any, file: str, remedy: str) -> Number | Category:
    """Return the `Number` or `Category` that the JSON members of a feature describe. `file` and `remedy` are used in
    the error message for other members."""
    if isinstance(members, list):
        return Category(members)
    if isinstance(members, dict) and members.keys() <= {"mean", "scale"}:
        return Number(**members)
    if isinstance(members, dict) and members.keys() - {"unknown"} == {"values"}:
        return Category(members["values"], members.get("unknown"))
    raise DataError(
        f"In {file}, the feature {name} must be a number, with `mean` and `scale`, or a category, with a list of "
        "values or with `values`. It is neither.",
        remedy,
    )


def freeze_texts_with_features(texts: Sequence[Any], features: Features) -> list[tuple[str, FeatureRow]]:
    """Check example texts with their features, and convert each to a tuple that can be put into a set.

    Raises:
        InputError: an item is not a tuple of a string and a dict of features, or a feature has an unusable value.
    """
    found = []
    for i, item in enumerate(texts):
        which = f"The example at position {i} (counted from 0)"
        try:
            text, values = freeze_text_with_features(item, which)
            encode_values(features, dict(values), which)
        except TextError as error:
            raise InputError(error.problem, f"{error.remedy} Give example_texts as [(text, features), ...].") from None
        if not isinstance(text, str):
            raise InputError(
                f"{which} has a text that is not a string.",
                "Give `example_texts` as [(text, features), ...], where text is a string.",
            )
        found.append((text, values))
    return found


def choose_texts_with_features(
    given: Sequence[tuple[str, FeatureRow]], description: Description, *, made_too: bool
) -> list[tuple[str, FeatureRow]]:
    """Choose the texts, with their features, on which the export is proven. They are the given texts and texts without
    a known token; also generated texts, if no texts are given or `made_too` is set.

    Args:
        given: tuples of a text and its features, from `freeze_texts_with_features`.
        made_too: whether to add generated texts even if texts are given.
    """
    source = description.text
    made = choose_texts_for_proof([], source.vocabulary, source.rules)
    if given and not made_too:
        made = made[-2:]
    rows = [tuple(values.items()) for values in make_example_features(source.features, len(made))]
    drawn = list(zip(made, rows, strict=True))
    # Texts that may be shown come first where the given ones must not be.
    return [*drawn, *given] if made_too else [*given, *drawn]


def refuse_options_with_features(description: Description, pairs: Sequence[OwnersText], **options: bool) -> None:
    """Raise an InputError for options that a bundle with features cannot have. `options` are the names of the excluded
    options, each with True if the user wants it."""
    what = f"The module takes {', '.join(name for name, _ in description.text.features)} beside a text"
    refuse_options_with_pairs_or_features(what, description, pairs, "classify((tokens, features))", **options)


# --- Pairs of texts ---


def flatten_pairs(pairs: Sequence[Any]) -> list[str]:
    """Return the first and second texts of all pairs in one list, so that text rules can be compared on them.

    Raises:
        InputError: an item is not a pair of strings.
    """
    texts: list[str] = []
    for i, pair in enumerate(pairs):
        try:
            both = check_pair(pair, f"The example at position {i} (counted from 0)")
        except TextError as error:
            raise InputError(error.problem, "Give example_texts as [(first, second), ...].") from None
        if not all(isinstance(text, str) for text in both):
            raise InputError(
                f"The pair at position {i} (counted from 0) of `example_texts` holds something that is not a string.",
                "Give `example_texts` as [(first, second), ...], where both are strings.",
            )
        texts += both
    return texts


def refuse_options_with_two_texts(description: Description, pairs: Sequence[OwnersText], **options: bool) -> None:
    """Raise an InputError for options that a bundle for two texts cannot have. `options` are the names of the excluded
    options, each with True if the user wants it."""
    rules, what = description.text.rules, "The module takes two texts"
    call = "classify((first_tokens, second_tokens))"
    refuse_options_with_pairs_or_features(what, description, pairs, call, **options)
    if (rules.min_width or 1) > 1:
        raise InputError(
            f"{what}, so texts cannot be padded, but the rules pad each text to {rules.min_width} tokens "
            "(`min_width`).",
            "Leave `min_width` out of the rules. The bundle answers each text at its own length.",
        )


# --- Heads ---


def make_heads_output(heads: Mapping[str, Sequence[str] | LabelOutput], *, multi_label: bool = False) -> HeadsOutput:
    """Make the output of a classifier with several heads.

    Args:
        heads: for each head's name, its labels or its whole output, such as `LabelOutput(labels, "sigmoid",
            thresholds)`.
        multi_label: whether a text can have any number of labels of a head for which only labels are given.

    Raises:
        InputError: the labels or thresholds of a head are unusable, or there are fewer than two heads.
    """
    if not isinstance(heads, Mapping):
        raise InputError(
            f"The argument `heads` is {short_repr(heads, 40)}, but must be a dict.",
            'Give the labels of each head by its name: heads={"topic": ["oil", "cup"], "mood": ["bad", "good"]}.',
        )
    made = {}
    for name, given in heads.items():
        try:
            if isinstance(given, LabelOutput):
                several = given.activation == "sigmoid"
                made[name] = make_label_output(given.labels, given.thresholds, given.priors, multi_label=several)
            else:
                made[name] = make_label_output(given, None, multi_label=multi_label)
        except (InputError, TypeError) as error:
            problem, remedy = ("its labels are not a list", "Give a list of names.")
            if isinstance(error, InputError):
                problem, remedy = f"{error.problem[0].lower()}{error.problem[1:].rstrip('.')}", error.remedy
            raise InputError(
                f"In the argument `heads`, the head {short_repr(name, 40)} is unusable: {problem}.", remedy
            ) from None
    return HeadsOutput(made)


def refuse_arguments_with_heads(
    *,
    labels: Sequence[str] | None,
    labels_of: str,
    thresholds: Sequence[float] | None,
    two_texts: bool,
    streaming: bool,
) -> None:
    """Raise an InputError for arguments of `export` that a classifier with several heads cannot have."""
    if labels is not None:
        raise InputError(
            "The arguments `labels` and `heads` are both given, but only one of them can be.",
            "Leave out `labels` if the module has several heads; otherwise leave out `heads`.",
        )
    if thresholds is not None:
        raise InputError(
            "The argument `thresholds` cannot be used with several heads, since it does not say which head it is for.",
            'Give them with the labels of their head: heads={"mood": LabelOutput(labels, "sigmoid", thresholds), ...}.',
        )
    if labels_of != "texts":
        raise InputError(
            "The argument `labels_of` is 'tokens', but the heads of a module give labels of whole texts.",
            "Export the labels of tokens in a bundle of their own: labels=[...], labels_of='tokens'.",
        )
    if two_texts:
        raise InputError(
            "The module takes two texts, but only modules of one text can have several heads.",
            "Export each head in a bundle of its own: labels=[...], call=... and two_texts=True.",
        )
    if streaming:
        raise InputError(
            "The argument `streaming` is set, but a bundle with several heads cannot answer streams.",
            "Leave out `streaming`.",
        )


# --- Characters ---

# The characters as `export` takes them: `Characters`, or its vocabulary, or the path of its file.
CharactersGiven: TypeAlias = Characters | Mapping[str, int] | Sequence[str] | Path


def read_characters(given: CharactersGiven) -> Characters:
    """Convert the argument `characters` of `export` to `Characters`: the ids of characters, and the width.

    Args:
        given: `Characters`; a list of characters; a map from characters to ids; or the path of a file that holds such a
            list or map.

    Raises:
        DataError: the file holds no vocabulary.
        InputError: the ids or the width are unusable.
    """
    if isinstance(given, str | Path):
        found = read_vocabulary(Path(given))
        log_doubtful_lines(found, Path(given))
        return Characters({entry: i for i, entry in enumerate(found.tokens)})
    return make_characters(given)


def refuse_options_with_characters(*, of_tokens: bool, **options: bool) -> None:
    """Raise an InputError for options that a module that takes the characters of words cannot have. Also raise it if
    the labels are of texts, since such a module can only label tokens.

    Args:
        of_tokens: whether the labels are of tokens.
        options: the names of the excluded options, each with True if the user wants it.
    """
    what = "The module takes the characters of each word"
    if not of_tokens:
        raise InputError(
            f"{what}, but its labels are of texts. Only a module that labels tokens can take characters.",
            "Give labels_of='tokens'; or leave out the argument `characters` if forward does not take characters.",
        )
    refuse_options_excluded_by_input(what, **options)


def separate_characters_from_texts(given: Iterable[Any]) -> tuple[list[Any], list[tuple[str, Any]]]:
    """Separate the ids of characters from example texts (text, ids, ids of characters). Return two lists: all texts as
    (text, ids); and (text, the ids of the characters of each token) for each text that has them. Texts without ids of
    characters are not changed."""
    pairs, spelled = [], []
    for item in given:
        third = item[2] if isinstance(item, tuple | list) and len(item) == 3 else None
        rows: Any = third.tolist() if third is not None and hasattr(third, "tolist") else third
        if isinstance(rows, list | tuple) and rows and all(isinstance(row, list | tuple) for row in rows):
            pairs.append((item[0], item[1]))
            spelled.append((item[0], rows))
        else:
            pairs.append(item)
    return pairs, spelled


def compare_characters_for_provenance(
    text_input: TextInput, characters: Characters, owners_characters: Sequence[tuple[str, Any]]
) -> str:
    """Compare `characters` with the ids of characters in the owner's texts. Return a phrase for the provenance that
    says how many texts were compared.

    Args:
        text_input: the text rules and the vocabulary.
        owners_characters: texts with the ids of the characters of each token; padding at the ends does not count.

    Raises:
        InputError: the ids of a token differ; the message has the first difference.
    """
    encoder = TextEncoder(text_input.rules, text_input.vocabulary)
    for text, rows in owners_characters:
        own = add_character_ids(characters, locate_text_tokens(encoder, text))[:, 1:].tolist()
        for i, (ours, theirs) in enumerate(zip(own, rows, strict=False)):
            if _strip_character_padding(ours, characters) != _strip_character_padding(theirs, characters):
                raise InputError(
                    f"In token {i} of {short_repr(text, 40)}, the characters have the ids {ours} by the argument "
                    f"`characters`, but {list(theirs)} by `example_ids`.",
                    "Give `characters` the vocabulary, the width and the ids for padding and unknown characters "
                    "of your pipeline; and lowercase=True if your pipeline spells words in lower case.",
                )
        if len(own) != len(rows):
            raise InputError(
                f"{short_repr(text, 40)} has {len(own)} tokens by the rules, but `example_ids` has characters for "
                f"{len(rows)} tokens.",
                "Give one row of character ids for each token of the text.",
            )
    return (
        f"compared: {len(owners_characters)} text{'s' * (len(owners_characters) > 1)}"
        if owners_characters
        else "not compared"
    )


def _strip_character_padding(row: Sequence[int], characters: Characters) -> list[int]:
    """Return a row of ids of characters without the padding at its end."""
    ids = [int(i) for i in row]
    while ids and ids[-1] == characters.padding:
        ids.pop()
    return ids
