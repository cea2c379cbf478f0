"""The command `pocketrnn classify`: it answers texts or sequences of numbers from arguments, standard input or
files."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

from pocketrnn.commands.file_options import FileOptions, add_file_options, choose_unused_answer_columns
from pocketrnn.commands.grouped_help_and_shared_options import Command, Text
from pocketrnn.commands.input_and_answer_lines import AnswerFormat, check_labels_separable
from pocketrnn.commands.standard_streams import (
    open_standard_input,
    print_text,
    read_arriving_fragments,
    read_arriving_lines,
)
from pocketrnn.commands.suggested_command import format_command_with_changes
from pocketrnn.commands.tokenizer_function import find_tokenizer_function_beside_bundle, load_tokenizer_function
from pocketrnn.errors import DataError, InputError, LimitError, replace_error_subject
from pocketrnn.tables.row_reader import OtherColumnsError

if TYPE_CHECKING:
    from pocketrnn.classifier import Classifier
    from pocketrnn.predictions_from_logits import Answers

__all__ = ["classify"]

_NOT_FOR_TAGS: Final = ("--input", "--top", "--threshold", "--explain", "--stream", "--sequence-column")


@click.command(
    cls=Command,
    short_help="Classify texts, lines of standard input, or a file of rows.",
    groups={
        "Options": (
            *("bundle", "top", "threshold", "head", "among", "prior", "as_json", "as_conll"),
            *("feature", "explains", "as_stream", "as_tokens", "tokenizer"),
        ),
        "Files of rows": (
            *("input", "output", "text_column", "second_text_column", "sequence_column", "on_error", "force"),
        ),
        "Rare options": ("label_column", "probability_column", "input_format", "output_format", "encoding", "threads"),
    },
)
@click.argument("texts", nargs=-1, type=Text())
@click.option(
    "-b",
    "--bundle",
    default="languages",
    show_default=True,
    metavar="PATH_OR_NAME",
    help="The bundle's folder, a packed file, or the name of a classifier that ships with pocketrnn.",
)
@click.option(
    "--feature",
    "feature",
    type=Text(),
    multiple=True,
    metavar="NAME=VALUE",
    help="A number or category that the bundle takes beside a text; repeat the option for each. It applies to all "
    "TEXTS and lines; a file has a column for each.",
)
@click.option("--top", type=click.IntRange(min=1), metavar="K", help="Give the K likeliest labels.  [default: 1]")
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    metavar="P",
    help="Give the labels whose probability reaches P, which may be none.  [default: the thresholds that the bundle "
    "keeps; else 0.5 for a multi-label bundle, and the likeliest label for any other]",
)
@click.option(
    "--head", type=Text(), metavar="NAME", help="Give the answers of this head only, for a bundle with several heads."
)
@click.option(
    "--among",
    type=Text(),
    metavar="LABELS",
    help="Choose only among these labels: en,de,fr. The label und is kept, too; -und leaves it out.",
)
@click.option(
    "--prior",
    type=Text(),
    metavar="NAME",
    help="Expect each label as often as in this prior of the bundle, such as web for languages.",
)
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object for each text.")
@click.option(
    "--conll",
    "as_conll",
    is_flag=True,
    help="Write a line for each token, with its label, and an empty line after each text; for a bundle that labels "
    "tokens.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Use up to N processor cores.",
)
@click.option(
    "--explain",
    "explains",
    is_flag=True,
    help="Show which words decided: coloured on a terminal, else as JSON.",
)
@click.option(
    "--stream",
    "as_stream",
    is_flag=True,
    help="Treat the input as one text that arrives in fragments; for a bundle that was exported with --streaming.",
)
@click.option(
    "--tokens",
    "as_tokens",
    is_flag=True,
    help="Each text is a JSON list of its tokens or token ids; for a bundle that does not split texts itself.",
)
@click.option(
    "--tokenizer",
    type=Text(),
    metavar="FILE.PY:FUNCTION",
    help="Run this Python file, and split each text by its function: text -> tokens or ids; for a bundle that does not "
    "split texts itself.",
)
@click.option(
    "--sequence-column",
    type=Text(),
    metavar="NAME",
    help="The column that names the sequence of each row, for a bundle that takes numbers.  [default: the file is one "
    "recording]",
)
@add_file_options
def classify(
    texts: tuple[str, ...],
    bundle: str,
    top: int | None,
    threshold: float | None,
    head: str | None,
    among: str | None,
    prior: str | None,
    as_json: bool,
    as_conll: bool,
    threads: int,
    explains: bool,
    as_stream: bool,
    as_tokens: bool,
    tokenizer: str | None,
    sequence_column: str | None,
    feature: tuple[str, ...],
    files: FileOptions,
) -> None:
    """Classify TEXTS, the rows of a file, or, if neither is given, the lines of standard input.

    Each text is answered with one line, in the order of the texts: label, probability and text, with tabs between
    them. --top adds a label and a probability for each further label, before the text. Control characters are shown as
    escapes.

    With --threshold, all labels that reach it are given, likeliest first: sad|long, and likewise their probabilities. A
    bundle that is multi-label or has thresholds does so without --threshold, too, unless --top is given. A classifier
    with exactly one right label gives at most the likeliest label, or, of two labels whose thresholds differ and add up
    to 1, the one that reaches its threshold. If no label reaches its threshold, the label is
    empty, and the probability is that of the likeliest label.

    With a bundle that has several heads, such as the topic and the mood of a text, a line has the answer of each head:
    topic: oil, its probability, mood: good, its probability, and the text. --head gives only the answer of one head.
    The columns of a file are label_topic, probability_topic and so on.

    With --among, the answer is one of the given labels, with its probability among these. Use it if the texts can have
    no other label. A label after a minus is left out; if all given labels have a minus, all other labels are kept. With
    --prior web, which the bundle `languages` has, a text with few clues gets a language that is frequent on the web.

    Standard input is UTF-8, with one text on each line. An empty line is an empty text. Lines are answered as they
    arrive.

    With --stream, TEXTS or standard input are the fragments of one text. After each fragment, the whole text so far is
    answered. A fragment of standard input is the part of a line that has arrived. The bundle must be exported with
    --streaming (docs/streams.md); the shipped classifiers are not.

    With --explain, each word is left out once, and the change of the label's probability is shown. On a terminal, words
    that raise the probability are green, and words that lower it are red and underlined. Otherwise, or with --json,
    each text is answered with a JSON object: log_odds and probability of a word say how far the label's log-odds and
    probability fall if the word is left out.

    With --tokens, each text is a JSON list of its tokens, which are looked up in the vocabulary, or of its token ids.
    This holds for lines of standard input, too. A bundle with the tokenizer external needs --tokens, or --tokenizer
    with the name of your own function that splits the texts. With --tokens, --explain gives JSON, in which start and
    end count tokens.

    With a bundle that labels tokens, each text is written with its entities in brackets: [PER Ada] lives in
    [LOC Berlin]. With --json, an answer has each token with its label, its probability and its position in the text,
    and the entities. With --conll, it has a line for each token; the label is _ if the text rules cut the token off.

    With a bundle that takes two texts, two TEXTS are one pair. A line of standard input is a pair with a tab between
    the texts. In a file, the texts are in the columns --text-column and --second-text-column.

    With a bundle that takes numbers or categories in addition to a text, --feature gives each of them. A file has a
    column with the name of each.

    With a bundle that takes sequences of numbers, TEXTS and lines are JSON lists of rows, with one number for each
    channel. The file of --input has a column for each channel and a row for each time step. It is one recording, which
    is answered window by window if the bundle has a window. With --sequence-column, the file has a sequence for each
    value of that column.

    With --input, or with --input-format for standard input, the rows of a CSV, TSV, JSON Lines or Parquet file are
    read. They are written with all their columns and two new ones, label and probability. --top adds label_2,
    probability_2 and so on. With thresholds, JSON Lines and Parquet have lists of a multi-label classifier's labels,
    and CSV has sad|long. Rows are counted from 1, without the header. The output file is written as a whole or not
    at all.

    \b
    Examples:
      pocketrnn classify "Où est la gare ?"
      pocketrnn classify --top 3 --json "Hvor er stasjonen?" "Waar is het station?"
      pocketrnn classify -b ag_news --among World,Business "Oil prices rise again"
      pocketrnn classify -b ag_news < headlines.txt
      pocketrnn classify -b ag_news --threshold 0.9 "Oil prices rise again" "What is it?"
      pocketrnn classify -b ag_news --explain "Oil prices rise again"
      pocketrnn classify -b ag_news --tokens '["oil", "prices", "rise"]' "[17, 25]"
      pocketrnn classify -b ag_news --input headlines.csv --output labelled.csv
      pocketrnn classify -b ag_news --input-format jsonl --text-column headline < headlines.jsonl
    """
    from pocketrnn.classifier import get_answers_of_chosen_labels
    from pocketrnn.text.text_input import TextInput

    _refuse_clashing_options(files, texts, top, threshold, explains=explains, as_stream=as_stream, as_tokens=as_tokens)
    classifier = _restrict_to_head_and_labels(_load_classifier(bundle, threads, prior, tokenizer), head, among)
    answers, of_texts = get_answers_of_chosen_labels(classifier), isinstance(classifier.manifest.input, TextInput)
    if of_texts and not as_tokens:
        _refuse_texts_if_function_beside_bundle_splits_them(classifier, bundle)
    not_for_tags = (files.asks_for_file, top, threshold is not None, explains, as_stream, sequence_column)
    if _answer_if_tagger(classifier, texts, not_for_tags, as_json=as_json, as_conll=as_conll, as_tokens=as_tokens):
        return
    _refuse_threshold_without_effect(answers, threshold)
    if of_texts:
        _refuse_options_not_for_texts(classifier, files, sequence_column, as_json=as_json)
    else:
        from pocketrnn.commands.classify_recordings import check_recording_options, classify_recordings

        text_options = (as_stream, explains, as_tokens, threshold is not None)
        check_recording_options(classifier, files, sequence_column, top, text_options)
    features = _parse_feature_options(classifier, files, feature)
    keeps = any(one.gives_reached_labels for one in (answers, *answers.heads.values()))
    by_threshold = of_texts and (threshold is not None or (top is None and not explains and keeps))
    if of_texts and files.asks_for_file:
        _classify_file(classifier, files, top or 1, by_threshold=by_threshold, threshold=threshold)
        return
    if by_threshold and not as_json:
        check_labels_separable(answers, "use --json")
    # A threshold chooses among all labels.
    top = max(len(one.labels) for _, one, _ in answers.iterate_heads()) if by_threshold else top or 1
    if not answers.gives_values:
        answers.check_top(top)
    pairs = classifier.manifest.has_two_texts and not as_tokens
    content = "tokens or ids" if as_tokens else "pairs" if pairs else None if of_texts else "rows"
    texts = _join_two_texts_by_tab(texts) if pairs else texts
    wanted = AnswerFormat(answers, top, by_threshold, threshold, as_json, explains, content, features)
    if files.input:
        classify_recordings(classifier, files, wanted, sequence_column)
    elif as_stream:
        _answer_fragments(classifier, texts, wanted)
    else:
        _answer_texts_or_lines(classifier, texts, wanted, "Text" if of_texts else "Sequence")


def _answer_texts_or_lines(classifier: Classifier, texts: Sequence[str], wanted: AnswerFormat, row_name: str) -> None:
    """Answer the texts of the command line, or, if there are none, the lines of standard input. Messages call each of
    the texts `row_name`, such as "Text"."""
    if texts:
        _answer_texts(classifier, texts, wanted, row_name)
    else:
        _answer_lines(classifier, wanted)


def _load_classifier(bundle: str, threads: int, prior: str | None, tokenizer: str | None) -> Classifier:
    """Load the bundle, with the prior of --prior and the function of --tokenizer if these are given."""
    from pocketrnn.classifier import Classifier

    try:
        function = None if tokenizer is None else load_tokenizer_function(tokenizer)
    except InputError:
        # A missing bundle is told first.
        Classifier.load(bundle)
        raise
    classifier = Classifier.load(bundle, threads=threads, prior=prior, tokenizer=function)
    if click.get_current_context().get_parameter_source("bundle") is ParameterSource.DEFAULT:
        _tell_that_default_bundle_answers_if_another_may_be_meant(bundle)
    return classifier


def _refuse_texts_if_function_beside_bundle_splits_them(classifier: Classifier, bundle: str) -> None:
    """Raise an InputError if the bundle cannot split texts, but a Python file beside the bundle, which `pocketrnn
    export` wrote, can. The error shows the whole command with --tokenizer and this file."""
    from pocketrnn.classifier import can_split_texts

    if not can_split_texts(classifier) and (found := find_tokenizer_function_beside_bundle(Path(bundle))):
        line = format_command_with_changes({"tokenizer": found})
        raise InputError(
            f"{classifier.name} does not split texts into tokens: its tokenizer is not part of the bundle.",
            f"The function {found} beside the bundle splits them. Write: {line}",
        )


def _tell_that_default_bundle_answers_if_another_may_be_meant(default: str) -> None:
    """Print that the default bundle answers, and the command for another bundle, if a text is the path of a bundle or
    the current folder contains a bundle. The user may mean that bundle."""
    from pocketrnn.bundle.bundle_lookup import is_bundle, list_bundles_of_folder

    texts = click.get_current_context().params["texts"]
    beside = list_bundles_of_folder(Path())
    # A folder that has the default's name is what answers.
    if meant := [one for one in texts if is_bundle(Path(one))] or ([] if default in beside else beside):
        line = format_command_with_changes({"bundle": meant[0], "texts": [one for one in texts if one != meant[0]]})
        print_text(f"The bundle {default} answers, since --bundle is not given. To ask {meant[0]}, write:", err=True)
        print_text(f"  {line}", err=True)


def _refuse_threshold_without_effect(answers: Answers, threshold: float | None) -> None:
    """Raise a UsageError if --threshold changes no answer: every text has one label, and the likeliest label always
    reaches the threshold."""
    from pocketrnn.commands.threshold_without_effect import describe_threshold_without_effect

    if threshold is None:
        return
    said = [
        describe_threshold_without_effect([threshold], one.labels) if one.activation == "softmax" else ""
        for _, one, _ in answers.iterate_heads()
    ]
    if all(said):
        raise click.UsageError(f"--threshold {threshold:g} {said[0]}")


def _classify_file(classifier: Classifier, files: FileOptions, top: int, **thresholds: Any) -> None:
    """Classify the rows of a file. Raise a DataError with the corrected command if the file already has a column with
    the name of a new one, or if its texts seem to be in another column than --text-column says."""
    from pocketrnn.commands.classify_file import classify_file

    try:
        classify_file(classifier, files, top, **thresholds)
    except OtherColumnsError as error:
        changes = choose_unused_answer_columns(files, error.taken) if error.taken else {}
        changes |= {"text_column": error.text_column} if error.text_column else {}
        line = format_command_with_changes(changes)
        raise DataError(error.problem, f"{error.remedy} Write: {line}") from None


def _refuse_clashing_options(
    files: FileOptions,
    texts: Sequence[str],
    top: int | None,
    threshold: float | None,
    *,
    explains: bool,
    as_stream: bool,
    as_tokens: bool,
) -> None:
    """Raise a UsageError if two options are given that cannot be used together, whatever the classifier is."""
    not_for_files = {"TEXTS": texts, "--stream": as_stream, "--tokens": as_tokens, "--explain": explains}
    for name in (name for name, value in not_for_files.items() if value and files.asks_for_file):
        raise click.UsageError(f"{name} cannot be used with files. Leave out {name} or --input.")
    if as_stream and as_tokens:
        raise click.UsageError(
            "--stream and --tokens cannot be used together: a stream splits its text itself. Leave one of them out."
        )
    not_explained = {"--stream": as_stream, "--threshold": threshold is not None, "--top": top not in (None, 1)}
    for name in (name for name, is_given in not_explained.items() if is_given and explains):
        raise click.UsageError(
            f"--explain works only for the likeliest label of a whole text, and not with {name}. Leave {name} out."
        )
    if threshold is not None and threshold != threshold:
        raise click.UsageError("--threshold is nan, but it must be a probability from 0 to 1.")
    if threshold is not None and top is not None:
        raise click.UsageError("--threshold and --top cannot be used together. Leave one of them out.")


def _refuse_options_not_for_texts(
    classifier: Classifier, files: FileOptions, sequence_column: str | None, *, as_json: bool
) -> None:
    """Raise a UsageError if an option is given that has no meaning for a classifier of texts, or an option for files
    without a file."""
    if sequence_column is not None:
        raise click.UsageError(f"{classifier.name} takes texts, not sequences of numbers. Leave --sequence-column out.")
    if files.asks_for_file and as_json:
        raise click.UsageError("--json cannot be used with files. Give --output-format jsonl instead.")
    if files.second_text_column is None:
        return
    if not classifier.manifest.has_two_texts:
        raise click.UsageError(f"{classifier.name} takes one text, not pairs of texts. Leave --second-text-column out.")
    if not files.asks_for_file:
        raise click.UsageError("--second-text-column works only with a file. Name the file with --input.")


def _parse_feature_options(
    classifier: Classifier, files: FileOptions, feature_options: Sequence[str]
) -> dict[str, Any] | None:
    """Parse the NAME=VALUE of each --feature, and return the values by name.

    Return None if the texts come from a file, or if the classifier takes no features.

    Raises:
        click.UsageError: --feature is given for a file or to a classifier without features; an option does not have the
            form NAME=VALUE, or gives a feature twice; or a feature is missing.
        TextError: a feature is unknown, or has an impossible value.
    """
    from pocketrnn.text.features_beside_text import encode_values, parse_feature_values_from_strings

    features = classifier.manifest.features
    if feature_options and (files.asks_for_file or not features):
        takes = "The features of a file are in its columns" if features else f"{classifier.name} takes no features"
        raise click.UsageError(f"{takes}. Leave --feature out.")
    if files.asks_for_file or not features:
        return None
    written: dict[str, str] = {}
    for one in feature_options:
        name, equals, value = one.partition("=")
        if not equals or name in written:
            raise click.UsageError(
                f"--feature {one!r} gives the feature {name!r} a second time. Give each feature once."
                if equals
                else f"--feature {one!r} does not have the form NAME=VALUE."
            )
        written[name] = value
    if missing := [name for name, _ in features if name not in written]:
        what = " ".join(f"--feature {name}=VALUE" for name in missing)
        raise click.UsageError(f"{classifier.name} needs a value for the features {', '.join(missing)}. Add {what}.")
    values = parse_feature_values_from_strings(features, written)
    encode_values(features, values)
    return values


def _join_two_texts_by_tab(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Join two arguments into one pair with a tab between them. Return the arguments unchanged if there are not exactly
    two, or if one contains a tab."""
    return ("\t".join(texts),) if len(texts) == 2 and not any("\t" in text for text in texts) else texts


def _restrict_to_head_and_labels(
    classifier: Classifier, head: str | None, comma_separated_labels: str | None
) -> Classifier:
    """Return a classifier that answers only with the head of --head, and with the labels of --among. An option that is
    None changes nothing."""
    classifier = classifier if head is None else classifier.head(head)
    return (
        classifier
        if comma_separated_labels is None
        else classifier.among([one.strip() for one in comma_separated_labels.split(",") if one.strip()])
    )


def _answer_if_tagger(
    classifier: Classifier,
    texts: Sequence[str],
    values_of_options_not_for_tags: Sequence[object],
    *,
    as_json: bool,
    as_conll: bool,
    as_tokens: bool,
) -> bool:
    """Answer all texts if the bundle labels tokens. Return whether it does.

    Args:
        texts: the texts of the command line; empty for standard input.
        values_of_options_not_for_tags: the values of the options `_NOT_FOR_TAGS`, which are refused if they are given.
    """
    if not classifier.manifest.output.of_tokens:
        if as_conll:
            raise click.UsageError(f"{classifier.name} labels texts, not tokens. Leave --conll out.")
        return False
    from pocketrnn.classifier import get_answers_of_chosen_labels
    from pocketrnn.commands.classify_tags import classify_tags

    for name, value in zip(_NOT_FOR_TAGS, values_of_options_not_for_tags, strict=True):
        if value:
            raise click.UsageError(f"{classifier.name} labels tokens, so {name} cannot be used. Leave {name} out.")
    if as_conll and as_json:
        raise click.UsageError("--json and --conll cannot be used together. Leave one of them out.")
    content = "tokens or ids" if as_tokens else None
    wanted = AnswerFormat(get_answers_of_chosen_labels(classifier), 1, False, None, as_json, False, content)
    classify_tags(classifier, texts, wanted, as_conll=as_conll)
    return True


def _answer_fragments(classifier: Classifier, fragments: Sequence[str], wanted: AnswerFormat) -> None:
    """Print an answer after each fragment of one text. The fragments are the arguments of the command, or without
    arguments those that arrive at standard input."""
    stream = classifier.stream()
    for fragment in fragments or read_arriving_fragments(open_standard_input()):
        print_text(wanted.format_answer_line(fragment, stream.push(fragment, wanted.top)))


def _answer_lines(classifier: Classifier, wanted: AnswerFormat) -> None:
    """Answer the lines of standard input when they arrive. At a terminal, first tell the user what is expected."""
    stdin = open_standard_input()
    if stdin.isatty():
        what = "sequences, a JSON list on each line" if wanted.line_content == "rows" else "texts, one a line"
        what = "pairs of texts, one a line, with a tab between" if wanted.line_content == "pairs" else what
        print_text(f"Reading {what}, until Ctrl-D.", err=True)
    answered = 0
    for lines in read_arriving_lines(stdin):
        _answer_texts(classifier, lines, wanted, "Line", answered)
        answered += len(lines)


def _answer_texts(
    classifier: Classifier, texts: Sequence[str], wanted: AnswerFormat, row_name: str, rows_before: int = 0
) -> None:
    """Print the answers to texts or sequences. Messages call each of them `row_name`, such as "Line", with a number
    that counts from `rows_before` + 1.

    Raises:
        InputError: a text or sequence cannot be answered. The answers before it are printed first.
    """
    from pocketrnn.bundle.texts_beyond_limits import add_text_name_to_error
    from pocketrnn.classifier import compute_logits_up_to_first_refused_text

    if wanted.explains:
        _explain_texts(classifier, texts, wanted, row_name, rows_before)
        return
    given = _parse_and_check_inputs(classifier, texts, wanted, row_name, rows_before)
    logits, error = compute_logits_up_to_first_refused_text(classifier, given)
    rows = wanted.answers.make_predictions_or_values(logits, wanted.top)
    answers = [
        wanted.format_answer_line(wanted.shorten_shown_sequence(text), row)
        for text, row in zip(texts, rows, strict=False)
    ]
    # One write: click flushes after each.
    if answers:
        print_text("\n".join(answers))
    if error is not None:
        raise add_text_name_to_error(error, f"{row_name} {rows_before + len(rows) + 1}")


def _parse_and_check_inputs(
    classifier: Classifier, texts: Sequence[str], wanted: AnswerFormat, row_name: str, rows_before: int
) -> Sequence[Any]:
    """Parse each line as an input of the classifier, and check that the classifier takes it. Messages call a line
    `row_name`, with a number that counts from `rows_before` + 1.

    Raises:
        InputError: a line is not a valid pair, or not a valid JSON list of tokens, ids or rows. The lines before it are
            answered first.
    """
    if wanted.line_content is None and wanted.features is None:
        return texts
    check = classifier.prepared if wanted.line_content == "rows" else classifier.encode
    given: list[Any] = []
    for index, text in enumerate(texts):
        name = f"{row_name} {rows_before + index + 1}"
        try:
            given.append(wanted.parse_input(text, name))
            check(given[-1])
        except InputError as error:
            _answer_texts(classifier, texts[:index], wanted, row_name, rows_before)
            subject = "The sequence" if wanted.line_content == "rows" else "The text"
            raise replace_error_subject(error, subject, name) from None
    return given


def _explain_texts(
    classifier: Classifier, texts: Sequence[str], wanted: AnswerFormat, row_name: str, rows_before: int
) -> None:
    """Print the answer to each text with the effect of each of its words: coloured on a terminal, else as JSON.
    Messages call a text `row_name`, with a number that counts from `rows_before` + 1."""
    from pocketrnn.bundle.texts_beyond_limits import add_text_name_to_error
    from pocketrnn.commands.explanation_output import format_explanation_as_coloured_line, format_explanation_as_json

    on_terminal = sys.stdout is not None and sys.stdout.isatty()
    coloured = on_terminal and not wanted.as_json and wanted.line_content is None
    format_line = format_explanation_as_coloured_line if coloured else format_explanation_as_json
    for index, text in enumerate(texts):
        name = f"{row_name} {rows_before + index + 1}"
        try:
            explanation = classifier.explain(wanted.parse_input(text, name))
        except LimitError as error:
            raise add_text_name_to_error(error, name) from None
        print_text(format_line(text, explanation))
