"""The command `pocketrnn export`."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import shlex
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import click

from pocketrnn.bundle.names_from_paths import make_classifier_name, suggest_near_file
from pocketrnn.commands.grouped_help_and_shared_options import Command, Text
from pocketrnn.commands.inspect import describe_limits
from pocketrnn.commands.standard_streams import print_line, print_line_if_slow
from pocketrnn.commands.terminal_text import escape_line
from pocketrnn.commands.threshold_without_effect import describe_threshold_without_effect
from pocketrnn.errors import (
    ExportError,
    InputError,
    OutputError,
    PocketRNNError,
    require_module,
    short_repr,
)
from pocketrnn_export.commands.collected_refusals import (
    SOURCE,
    CollectedRefusals,
    check_output,
    choose_default_output,
    find_other_module_of_output,
    name_source_of_output,
    remember_command,
    set_default_output_of_source,
    write_line_to_copy,
)
from pocketrnn_export.commands.compression_and_integer_options import (
    COLUMNS,
    arithmetic_options,
    data_options,
    format_int8_warning,
    read_int8_measure_arguments,
    read_rows_to_measure,
    refuse_measure_options_for_float32,
    write_compressed_bundle,
)
from pocketrnn_export.commands.corrected_labels_and_pairs import (
    correct_pairs_or_labels,
    find_file_of_source,
    propose_labels_by_outputs,
)
from pocketrnn_export.commands.export_with_rules_from_answers import (
    export_with_rules_from_answers,
    list_rules_in_code,
)
from pocketrnn_export.commands.lines_after_export import (
    describe_empty_texts,
    describe_torchscript,
    format_example_note,
    format_proof_summary,
    format_proof_table,
    list_files_of_tokenizer,
    print_next_step,
    print_verdicts,
)
from pocketrnn_export.commands.missing_option_files import (
    TOKENIZERS,
    correct_missing_files,
    refuse_name_similar_to_defined_one,
)
from pocketrnn_export.commands.number_options import (
    NUMBER_OPTIONS,
    OF_CHECKPOINTS,
    NumberOptions,
    format_number_summary,
    number_options,
    read_number_arguments,
    read_scale_and_unit_options,
    refuse_text_options,
)
from pocketrnn_export.commands.printed_stages import print_stages
from pocketrnn_export.commands.proposed_options import (
    TEXTS_TO_DECIDE_BY,
    UNKNOWN_FILE,
    ProposedOption,
    ProposedPairs,
    complete_rules_beside_tokenizer_function,
    describe_label_order,
    describe_tokenizer_function,
    describe_weights_that_do_not_fit,
    find_library_of_tokenizer_function,
    list_weights_of_same_shapes,
    make_id_evidence,
    make_options_of_tokenizer_function,
    make_placeholder_labels,
    propose_class_of_weights,
    propose_labels,
    propose_pairs,
    propose_to_save_transformers_tokenizer,
    propose_to_take_output_for_logits,
    propose_tokenizer,
    propose_tokenizer_function,
    propose_vocabulary,
    propose_weights,
    read_answers_in_near_folders,
    read_labels,
    read_weight_sizes,
)
from pocketrnn_export.commands.settings_found_in_code import (
    CORRECTED,
    find_files_of_stop_words,
    list_code_files,
    list_lengths_in_files,
    log_activation_after_module,
    log_owner_hints_and_list_corrections,
    print_uncompared_steps_and_kept_notes,
    propose_text_length,
)
from pocketrnn_export.commands.source_without_module_name import complete_source
from pocketrnn_export.commands.tokenizer_function_written_to_file import (
    complete_tokenizer_by_owner_call,
    refuse_answering_function,
    remove_tokenizer_file_that_bundle_replaces,
    remove_written_files_if_command_fails,
    replace_tokenizer_by_code_with_present_names,
    replace_tokenizer_by_its_splitting_part,
    replace_tokenizer_by_own_file,
    replace_tokenizer_that_cleans_before_keras,
    set_tokenizer_to_origin_of_written_file,
    write_code_file,
    write_tokenizer_of_columns_to_file,
    write_tokenizer_of_script_to_file,
)
from pocketrnn_export.intake.file_existence_check import check_weights_exist, find_kind_of_text
from pocketrnn_export.intake.module_name_with_arguments import ModuleName, parse_module_name
from pocketrnn_export.option_corrections_error import MissingOptionsError, OptionCorrectionsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pocketrnn.bundle.manifest import Manifest
    from pocketrnn.text import AnyTextRules, TextRules
    from pocketrnn.text.token_characters import Characters
    from pocketrnn_export.intake.weights_file import SavedWeights
    from pocketrnn_export.vocabularies.owner_texts_and_answers import OwnersText
    from pocketrnn_export.vocabularies.tokenizer_json import Subwords
    from pocketrnn_export.vocabularies.vocabulary import UnclearIdsError, Vocabulary

# The text rules that stand beside a function of --tokenizer, whose code shows all others.
_BESIDE_A_FUNCTION: Final = frozenset(
    (
        *("unknown_id", "empty_id", "padding_id", "first_id", "last_id"),
        *("max_tokens", "max_width", "min_width", "cut_side", "pad_side"),
    )
)
# Those that --rules may add to a subword tokenizer.
_WIDTHS: Final = frozenset(("max_tokens", "max_width", "min_width", "cut_side", "pad_side", "padding_id"))
# A vocabulary of labels may have words such as <unk> and <pad> beside them, and an embedding has many more words.
_SPECIAL_WORDS: Final = 2
_FEW_WORDS: Final = 10


def _choose_output(context: click.Context, _option: click.Parameter, output: Path | None) -> Path:
    """Return the given output or, without one, the default: a path in the current folder that is named after SOURCE."""
    if output is not None:
        return output
    return choose_default_output(context.params["source"], context.params.get("profile"))


@click.command(
    cls=Command,
    short_help="Export a classifier, with its proof.",
    groups={
        "Options": ("output", "weights", "vocabulary", "tokenizer", "labels", "pairs", "no_examples", "call", "force"),
        "How a text becomes ids": ("rules", "max_tokens"),
        "How the module is made and called": (
            "set",
            "random_weights",
            "run_notebook",
            "gives",
            "one_text",
        ),
        "Other kinds of classifiers": (
            "head",
            "multi_label",
            "thresholds",
            "labels_of",
            "no_crf",
            "two_texts",
            "features",
            "characters",
            "characters_width",
        ),
        "The files to write": (
            "name",
            "streaming",
            "torchscript",
            "profile",
            "arithmetic",
            "compress",
            "data",
            "max_loss",
            "max_changed",
            "text_column",
            "label_column",
            "label_separator",
        ),
        "The proof": ("texts", "tolerance", "report"),
        "Sequences of numbers": NUMBER_OPTIONS,
    },
)
@click.argument("source")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    callback=_choose_output,
    metavar="FOLDER",
    help="The new bundle's folder.  [default: SOURCE.bundle]",
)
@click.option("--weights", type=click.Path(path_type=Path), metavar="FILE",
              help="The weights of the module: .safetensors, or a saved state_dict.")  # fmt: skip
@click.option("--vocabulary", type=click.Path(path_type=Path), metavar="FILE",
              help="The vocabulary of the module: text, JSON, or a saved torchtext Vocab.")  # fmt: skip
@click.option("--labels", metavar="LABELS",
              help="The labels, in the order of the logits: a,b,c; a file, such as label_encoder.pkl; "
              "or file.py:NAME.")  # fmt: skip
@click.option("--head", type=Text(), multiple=True, metavar="NAME=LABELS",
              help="For a module with several outputs for a text: the name and the labels of one output, as --labels "
              "takes them. Give it once for each output, instead of --labels.")  # fmt: skip
@click.option("--random-weights", is_flag=True,
              help="Export the module with random weights.")  # fmt: skip
@click.option("--run-notebook", type=click.IntRange(min=1), metavar="SECONDS",
              help="Also run all cells of the notebook, with its training, in another process, and compare the answers "
              "of both modules. Stop after this many seconds. Only for a notebook that you trust.")  # fmt: skip
@click.option("--set", type=Text(), multiple=True, metavar="NAME=VALUE",
              help="A value for a name in the module's file, instead of the file's value; repeatable.")  # fmt: skip
@click.option("--tokenizer", type=Text(), metavar="NAME|FILE",
              help="How texts become tokens: basic_english, whitespace, characters; your function or method, "
              "file.py:name or file.py:Class(3).name, text -> tokens or ids, which is read and compared; external: "
              "your code splits them, and the bundle takes tokens or ids; or, without --vocabulary, subwords: "
              "tokenizer.json, the folder that save_pretrained wrote, sentencepiece's .model, BERT's vocab.txt, a "
              "checkpoint.  [default: basic_english]")  # fmt: skip
@click.option("--pairs", type=click.Path(path_type=Path), metavar="FILE",
              help="Texts with the ids of your pipeline, and the label or the probabilities that your classifier "
              'answers, to compare the bundle with: {"text": "...", "ids": [4, 17], "label": "Sports"} in each line, '
              "or the columns text, label and probability of a .csv file. "
              "Up to 12 of the texts stay in the bundle.")  # fmt: skip
@click.option(
    "--max-tokens",
    type=click.IntRange(min=1),
    metavar="N",
    help="Read at most this many tokens of a text.",
)
@click.option(
    "--rules",
    metavar="FILE",
    help="How texts become ids: JSON, or a JSON file (docs/text-rules.md). For a subword tokenizer, only the widths "
    "that its file does not state.",
)
@click.option("--multi-label", is_flag=True, help="A text may have several labels, or none (sigmoid).")
@click.option("--thresholds", type=Text(), metavar="NUMBERS",
              help="With --multi-label, the least probability of a given label: one number for all labels, or one for "
              "each: 0.4,0.5,0.3.  [default: 0.5] For two labels without --multi-label, two numbers that add up to 1: "
              "0.23,0.77 gives the second label from 0.77 on, and else the first.")  # fmt: skip
@click.option("--labels-of", type=click.Choice(["texts", "tokens"]),
              help="tokens: the module gives the logits of the labels for each token, as a tagger does.  "
              "[default: texts]")  # fmt: skip
@click.option("--two-texts", is_flag=True,
              help="The module takes two texts, such as a premise and a hypothesis.")  # fmt: skip
@click.option("--features", metavar="NAMES|FILE",
              help="The numbers that the module takes beside a text: a,b,c; or a JSON file of numbers and "
              "categories (docs/features.md).")  # fmt: skip
@click.option("--characters", type=click.Path(path_type=Path), metavar="FILE",
              help="The vocabulary of characters, in the form of --vocabulary, if the module also takes the characters "
              "of each token (docs/tags.md).")  # fmt: skip
@click.option("--characters-width", type=click.IntRange(1, 1024), metavar="N",
              help="The number of characters of each token that the module gets.  [default: 20]")  # fmt: skip
@click.option(
    "--no-crf", is_flag=True, help="Give each token its likeliest label by itself, although the module has a CRF."
)
@click.option("--call", type=Text(), metavar="LINE",
              help='The call of the module, if pocketrnn does not find it: "module(tokens.t(), lengths)[0]", or '
              "the name of a function of its file.")  # fmt: skip
@click.option("--gives", type=click.Choice(["logits", "probabilities"]),
              help="Whether the module gives logits or probabilities.  [default: its answers show it]")  # fmt: skip
@click.option("--one-text", "--one-sequence", "one_text", is_flag=True,
              help="Run the module on one text, or one sequence, at a time, even if it takes a batch.")  # fmt: skip
@click.option("--name", type=Text(), metavar="TEXT",
              help="The classifier's name.  [default: the checkpoint's or the output's name]")  # fmt: skip
@click.option(
    "--texts",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A UTF-8 file of texts for the proof, one in each line; with --two-texts, two with a tab between them. Up to "
    "12 of the texts stay in the bundle. A .csv file has the texts of a .csv file of --pairs without them.",
)
@click.option(
    "--no-examples",
    is_flag=True,
    help="Keep none of your texts in the bundle. The golden examples are then made of words of the vocabulary.",
)
@click.option("--tolerance", type=click.FloatRange(min=0, max=1), metavar="X",
              help="The largest allowed difference of two logits.  "
              "[default: what the module's own rounding explains]")  # fmt: skip
@click.option(
    "--report",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the proof, with every single case, to this JSON file.",
)
@click.option("--torchscript/--no-torchscript", default=None,
              help="Also write a TorchScript copy, or none.  [default: write one if it can be proven]")  # fmt: skip
@click.option(
    "--streaming",
    is_flag=True,
    help="Also write a step graph, which answers while a text arrives; for classifiers that read in one direction.",
)
@click.option(
    "--profile",
    type=click.Choice(["edge", "mobile", "packed"]),
    help="edge: for small engines such as tract, with one text a run, no lengths and old operators. mobile: in "
    "onnxruntime's own format, with a list of the operators. packed: one file for the native engine, as "
    "`pocketrnn pack` writes it. All are without TorchScript.",
)
@click.option("--compress", is_flag=True, help="Make the bundle smaller, as `pocketrnn compress` does.")
@arithmetic_options
@data_options
@click.option("--force", is_flag=True, help="Replace a bundle at OUTPUT.")
@number_options
@remove_written_files_if_command_fails()
def export(source: str, output: Path, numbers: NumberOptions, **options: Any) -> None:
    """Export a classifier as a bundle that runs without PyTorch.

    SOURCE is one of these: a checkpoint, which is a folder that `pocketrnn train` wrote; path/to/file.py:name;
    notebook.ipynb:name; or a TorchScript file. The name is a module, or a class or function that makes a module, with
    its arguments if it needs any. In a notebook, only the statements that the name needs are run. All but a checkpoint
    need --vocabulary and --labels; a Python file or notebook usually needs --weights, too.

    Nothing is written unless PyTorch, the ONNX graph and the runtime give the same answers, in double precision to
    1e-10 and in single precision as near as rounding allows, on many batch sizes and lengths, every token id and texts.
    If they do not, the exit status is 3 and the error lists the cases that differ.

    A module that takes sequences of numbers, as of a sensor, is exported with --channels, and with --labels or --values
    (docs/numbers.md).

    \b
    Examples:
      pocketrnn export model.py:Classifier --weights weights.pt --vocabulary vocab.pth \\
        --labels World,Sports,Business,Sci/Tech -o news
      pocketrnn export "notebook.ipynb:Classifier(layers=2)" --weights last.ckpt \\
        --vocabulary word2idx.json --labels labels.json --pairs pairs.jsonl -o news
      pocketrnn export model.py:Reviews --weights reviews.pt --vocabulary vocab.json \\
        --head topic=oil,cup,war --head mood=bad,good -o reviews
      pocketrnn export model.py:Steps --weights steps.pt --channels ax,ay,az \\
        --scaler scaler.joblib --labels walking,standing -o steps
      pocketrnn export news-checkpoint -o news
    """
    # These checks run before PyTorch is imported, so that an error is shown without delay.
    _refuse_unneeded_measure_options(options)
    _refuse_options_for_tokens_or_heads(options)
    remember_command()
    set_tokenizer_to_origin_of_written_file(options)
    given_tokenizer = options["tokenizer"]
    refusals = CollectedRefusals(output)
    is_folder = Path(source).is_dir()
    source, named = _read_source(source, options, refusals)
    options["source"] = source
    output = refusals.output = set_default_output_of_source(source)
    refusals.collect(lambda: _refuse_unusable_output(output, numbers, options))
    correct_missing_files(named, options, refusals)
    is_corrected = is_folder or bool(refusals)
    with print_stages():
        of_texts = refusals.collect(
            lambda: None if numbers.are_given else _read_text_arguments(source, named, options, refusals)
        )
    is_corrected = is_corrected or refusals.are_final
    if is_corrected or "source" in refusals.changes or not _may_load_module(named, options):
        with print_stages():
            refusals.raise_collected()
    _load_pytorch()
    with print_stages():
        if numbers.are_given:
            module, call = _load_number_module_and_call(source, named, options)
            description = read_number_arguments(numbers, {**options, "call": call})
        else:
            module, description = _read_module_and_arguments(source, named, options, of_texts, refusals)
    if "channels" not in description:
        _check_text_options_and_add_proof_texts(source, description, numbers, options)
        copied = options["torchscript"] if options["profile"] is None else False
        description |= {"torchscript": copied, "edge": options["profile"] == "edge"}
    elif not numbers.are_given:
        refuse_text_options(options, source)
        description |= read_scale_and_unit_options(numbers, len(description["channels"]))
    description |= {} if options["name"] is None else {"name": options["name"]}
    description |= {option: options[option] for option in ("tolerance", "report", "streaming")}
    description["examples"] = not options["no_examples"]
    with (
        _try_weights_rules_lengths_and_stop_words_of_files(module, named, description, options),
        _compare_label_order(named, description, options),
        _propose_vocabulary_with_rows(module, named, options),
        propose_labels_by_outputs(named, options),
    ):
        manifest = export_with_rules_from_answers(
            lambda given: _write_bundle(module, output, given, options), description, options, given_tokenizer
        )
    if "channels" in description:
        for line in format_number_summary(manifest, output, with_comparisons=options["report"] is not None):
            print_line(line)
        return
    _print_written_bundle(manifest, output, description, options, module)


def _may_load_module(named: ModuleName | None, options: Mapping[str, Any]) -> bool:
    """Return whether PyTorch may be loaded before all options are checked: SOURCE names a module, the files of weights,
    vocabulary and pairs exist, and the file of weights is not a text file. Loading PyTorch takes seconds, which would
    be wasted on options with a plain mistake."""
    files = [one for name in ("weights", "vocabulary", "pairs") if (one := options[name]) is not None]
    is_text = options["weights"] is not None and find_kind_of_text(options["weights"])
    return named is not None and not is_text and all(one.exists() for one in files)


def _try_weights_rules_lengths_and_stop_words_of_files(
    module: Any, named: ModuleName | None, description: Mapping[str, Any], options: dict[str, Any]
) -> contextlib.AbstractContextManager[None]:
    """Return a context manager for the block that proves the module. If the module gives other answers there than the
    user's classifier, the context manager tries it again with other weights of the same shapes, with the text lengths
    and stop words that the user's files name, and with the text rules of the user's functions."""
    from pocketrnn_export.intake.weights_file import load_weights, read_weights
    from pocketrnn_export.module_check_by_owner_answers import try_weights_lengths_and_stop_words_if_answers_differ
    from pocketrnn_export.progress import hide_log_records

    weights = options["weights"]

    def list_modules() -> Iterator[tuple[str, Any]]:
        for file in [] if named is None or weights is None else list_weights_of_same_shapes(named.path, weights):
            other = None
            # A module of the user's may refuse a copy by any exception.
            with contextlib.suppress(Exception), hide_log_records():
                other = copy.deepcopy(module)
                load_weights(other, read_weights(file))
            if other is not None:
                yield str(file), other

    return try_weights_lengths_and_stop_words_if_answers_differ(
        list_modules,
        lambda: list_lengths_in_files(named, options),
        lambda: [] if named is None else [*find_files_of_stop_words(named.path).values()],
        str(weights or ""),
        lambda rules: list_rules_in_code(rules, description, options),
    )


def _compare_label_order(
    named: ModuleName | None, description: Mapping[str, Any], options: Mapping[str, Any]
) -> contextlib.AbstractContextManager[None]:
    """Return a context manager that compares the order of the labels with answers of the user's classifier, if a file
    of them lies in the working folder or the folder of the module. With --pairs, the context manager does nothing."""
    from pocketrnn_export.module_check_by_owner_answers import (
        AnswersBeside,
        choose_texts_to_compare,
        compare_label_order,
    )
    from pocketrnn_export.vocabularies.answer_distances import AnsweredText

    of_texts = options["labels"] is not None and "channels" not in description
    if not of_texts or any(options[name] for name in ("pairs", "multi_label", "two_texts", "labels_of")):
        return contextlib.nullcontext()
    labels, function = description["labels"], description.get("tokenizer")
    file, answers = read_answers_in_near_folders(labels, None if named is None else named.path)
    answered = []
    is_external = getattr(description["rules"], "tokenizer", "") == "external"
    for row in choose_texts_to_compare([AnsweredText(text, text, answer) for text, answer in answers]):
        # The owner's function may raise any exception, or be missing.
        with contextlib.suppress(Exception):
            answered.append(replace(row, read=cast("Any", function)(row.text)) if is_external else row)
    is_typed = "," in options["labels"] and not Path(options["labels"]).is_file()
    note = describe_label_order(None if named is None else named.path, labels, options["weights"]) if is_typed else ""
    return compare_label_order(AnswersBeside(file, answered, note))


@contextlib.contextmanager
def _propose_vocabulary_with_rows(module: Any, named: ModuleName | None, options: Mapping[str, Any]) -> Iterator[None]:
    """While the block runs, add a correction to the error of a vocabulary that has more words than the embedding has
    rows: another vocabulary that the user's code names or makes, or else the command that leaves out the words without
    a row."""
    from pocketrnn_export.intake.call_discovery.call_failures import ID_WITHOUT_ROW
    from pocketrnn_export.source_code.text_settings_in_code import find_code_that_limits_ids_to_embedding

    try:
        yield
    except ExportError as error:
        own = max((getattr(one, "num_embeddings", 0) for one in module.modules()), default=0)
        rows = read_weight_sizes(options["weights"]).embedding_rows or own
        if ID_WITHOUT_ROW not in error.problem or named is None or options["vocabulary"] is None or not rows:
            raise
        place = find_code_that_limits_ids_to_embedding(named.path, rows)
        found = None if place else _propose_vocabulary(named, options["weights"])
        if found is None or found.value in (UNKNOWN_FILE, str(options["vocabulary"])):
            run, file = _write_command_for_words_with_rows(options["vocabulary"], rows)
            why = f"Your code takes no ids from {rows:,} on ({place})" if place else "If it is this one"
            found = ProposedOption("vocabulary", f"{why}: leave out the other words, {run}.", file)
        changes = {"vocabulary": None, found.option: found.value}
        write = write_line_to_copy(changes)
        raise ExportError(error.problem, f"{error.remedy} {found.sentence}{write}") from None


def _write_command_for_words_with_rows(vocabulary: Path, rows: int) -> tuple[str, str]:
    """Return a tuple (command, file). The command writes a vocabulary of those words of `vocabulary` that have a row in
    the embedding; the file, beside the output, is where the command writes it."""
    from pocketrnn_export.vocabularies.vocabulary import write_import_command_that_fills_id_gaps

    output = Path(click.get_current_context().params["output"])
    file = str(output.with_name(f"{output.name}-vocabulary.json"))
    return write_import_command_that_fills_id_gaps(vocabulary, rows, file), file


def _print_written_bundle(
    manifest: Manifest, output: Path, description: Mapping[str, Any], options: dict[str, Any], module: Any
) -> None:
    """Print a summary of a written bundle of texts: its name and labels, its verdicts, notes and limits, and the next
    command. `module` is the user's module."""
    from pocketrnn.text import TextRules
    from pocketrnn.verdicts import describe_uncompared_steps, read_text_verdict
    from pocketrnn_export.vocabularies.candidate_text_rules import describe_rules

    if getattr(manifest.text.rules, "tokenizer", "") != "external":
        remove_tokenizer_file_that_bundle_replaces(options)
    what = f"labels{' of tokens' * manifest.output.of_tokens}"
    what += f" of the heads {', '.join(manifest.heads)}" if manifest.heads else ""
    print_line(f"Wrote {output}: {manifest.name}, {len(manifest.labels)} {what}.")
    is_answered = read_text_verdict(manifest).answers is not None
    gives_probabilities = str(manifest.provenance.get("gives", "")).startswith("probabilities")
    proposed = _propose_pairs_of_bundle(manifest, options)
    summary = format_proof_summary(manifest, "texts", str(output))
    print_verdicts(manifest, summary, "" if proposed is None else proposed.sentence)
    print_uncompared_steps_and_kept_notes(
        describe_uncompared_steps(manifest), one_number=bool(manifest.provenance.get("one_number")),
        gives_probabilities=gives_probabilities, is_answered=is_answered, rules=manifest.text.rules,
        tokenizer=options["tokenizer"],
        has_answers_beside=proposed is not None and proposed.answer_count >= TEXTS_TO_DECIDE_BY,
    )  # fmt: skip
    said = "" if manifest.graph.limits is None else describe_limits(manifest.graph.limits, manifest.text.rules)
    empty = describe_empty_texts(manifest, module, description.get("tokenizer"))
    limits = [*empty, *([f"Limits: {said}."] if said else [])]
    table = format_proof_table(manifest.parity, "texts") if options["report"] is not None else []
    rules = manifest.text.rules
    if isinstance(rules, TextRules) and rules.tokenizer != "external":
        full = f"In full: pocketrnn inspect {shlex.quote(str(output))}."
        limits = [f"The text rules: {describe_rules(rules)}. {full}", *limits]
    limits += describe_torchscript(manifest, output)
    for line in [*limits, *format_int8_warning(manifest), *format_example_note(manifest), *table]:
        print_line(line)
    named = parse_module_name(options["tokenizer"] or "")
    alone = getattr(description.get("tokenizer"), "takes_only_text", False)
    alone = alone and named is not None and not (named.is_notebook or named.args or named.kwargs or named.method_kwargs)
    if alone and manifest.text.rules.tokenizer == "external":
        _print_note_if_tokenizer_imports_torch(Path(options["tokenizer"].rpartition(":")[0]))
    corrected = options.get(CORRECTED) or {}
    # Answers have shown that nothing else is to be corrected.
    kept = {"gives"} if is_answered else {*corrected}
    corrected = {one: corrected[one] for one in kept & {*corrected} if one != "gives" or gives_probabilities}
    corrected = corrected if proposed is None else proposed.complete(corrected)
    print_next_step(manifest, output, corrected, options["tokenizer"] if alone else "")


def _print_note_if_tokenizer_imports_torch(file: Path) -> None:
    """Print a note if the file of the --tokenizer function imports PyTorch, since PyTorch must then be installed to
    classify texts."""
    from pocketrnn_export.source_code.code_and_data_files_near_module import imports_torch_directly_or_indirectly

    if file.is_file() and imports_torch_directly_or_indirectly(file):
        print_line(
            f"Note: {file} imports torch, or a file or library that does, and so does classify --tokenizer. To answer "
            "without PyTorch, copy the function that splits texts, with what it needs, to a file of its own.",
            err=True,
        )


def _propose_pairs_of_bundle(manifest: Manifest, options: Mapping[str, Any]) -> ProposedPairs | None:
    """Return a file that seems to hold answers of the user's classifier, so that the bundle can be compared with them.
    Return None if there is no such file, if the module has several heads, or if the text rules are already verified and
    the command line needs no other option."""
    from pocketrnn.verdicts import read_text_verdict

    is_open = bool(options.get(CORRECTED)) or read_text_verdict(manifest).is_open
    return _propose_pairs(manifest.labels, options) if is_open and not manifest.heads else None


def _propose_pairs(labels: Sequence[str], options: Mapping[str, Any]) -> ProposedPairs | None:
    """Return a file that seems to hold answers of the user's classifier. Return None if there is no such file, if
    --pairs is given, or if the module takes two texts or labels tokens."""
    if any(options[name] for name in ("pairs", "two_texts")) or options["labels_of"] == "tokens":
        return None
    return propose_pairs(labels, find_file_of_source(options), multi_label=options["multi_label"])


def _load_pytorch() -> None:
    """Import PyTorch and the exporter, and print a line if that takes long. Refuse the export if a package is
    missing."""
    with print_line_if_slow("Loading PyTorch ..."):
        for package in ("torch", "onnx", "onnxscript", "safetensors"):
            require_module(package, "export")
        import torch

        import pocketrnn_export.bundle_export  # noqa: F401 - it imports all else

    # The code in the file of a module is small, too.
    torch.set_num_threads(1)


def _check_text_options_and_add_proof_texts(
    source: str, description: dict[str, Any], numbers: NumberOptions, options: dict[str, Any]
) -> None:
    """Raise a UsageError for an option that does not apply to a classifier of texts. Read the texts of --texts and add
    them to `description`, the arguments of `export`."""
    from pocketrnn_export.packing import check_packable_rules
    from pocketrnn_export.vocabularies.text_lines_and_compressed_files import read_lines

    for name in OF_CHECKPOINTS:
        if getattr(numbers, name) is not None:
            option = f"--{name.replace('_', '-')}"
            raise click.UsageError(f"{option} applies to numbers, but {source} takes texts. Leave {option} out.")
    if description["two_texts"] and options["compress"]:
        raise click.UsageError(
            "--compress applies to classifiers of one text, but --two-texts is given. Leave --compress out."
        )
    if options["texts"] is not None and options["features"] is not None:
        raise click.UsageError(
            "--texts gives texts without features, but --features is given, too. Leave --texts out, or export in "
            "Python with `example_texts`, which takes each text with its features."
        )
    if options["texts"] is not None:
        lines = read_lines(options["texts"])
        description["example_texts"] = (
            _split_lines_into_text_pairs(lines, options["texts"]) if description["two_texts"] else lines
        )
    if options["profile"] == "packed":
        check_packable_rules(getattr(description["rules"], "rules", description["rules"]), source)


def _refuse_unneeded_measure_options(options: dict[str, Any]) -> None:
    """Raise a UsageError if an option measures a loss of accuracy, but the export does not round any weights."""
    if options["arithmetic"] == "int8" and options["profile"] != "packed":
        raise click.UsageError(
            "--arithmetic int8 applies only to packed files, but --profile is not packed. Give --profile packed, "
            "too, or leave --arithmetic out."
        )
    refuse_measure_options_for_float32(options["arithmetic"], options, ["max_changed"])
    changes = options["compress"] or options["arithmetic"] == "int8"
    if not changes and (options["data"], options["max_loss"]) != (None, None):
        raise click.UsageError(
            "--data and --max-loss measure how much accuracy is lost by rounded weights, but this export rounds "
            "none. Give --compress or --arithmetic int8, too, or leave --data and --max-loss out."
        )


def _split_lines_into_text_pairs(lines: Sequence[str], file: Path) -> list[tuple[str, str]]:
    """Split each line of a file of text pairs at the tab. Return a list of (first text, second text). Raise an
    InputError for a line that does not have exactly one tab."""
    pairs = []
    for number, line in enumerate(lines, 1):
        parts = line.split("\t")
        if len(parts) != 2:
            raise InputError(
                f"Line {number} of {file} does not have exactly one tab. With --two-texts, each line must be a "
                "pair of texts with a tab between them.",
                "Write the first text, a tab and the second text on one line. Put spaces in place of tabs within "
                "a text.",
            )
        pairs.append((parts[0], parts[1]))
    return pairs


def _refuse_options_for_tokens_or_heads(options: dict[str, Any]) -> None:
    """Raise a UsageError for an option that cannot be combined with labels of tokens (--labels-of tokens), or with
    several heads (--head)."""
    forms = {"--compress": options["compress"], "--arithmetic int8": options["arithmetic"] == "int8"}
    if options["head"] and (given := [name for name, is_given in forms.items() if is_given]):
        raise click.UsageError(
            f"{given[0]} applies to classifiers with one head, but this module has several. Leave {given[0]} out."
        )
    forms |= {"--streaming": options["streaming"], "--profile edge": options["profile"] == "edge"}
    if options["labels_of"] == "tokens" and (given := [name for name, is_given in forms.items() if is_given]):
        raise click.UsageError(
            f"{given[0]} applies to classifiers with labels of texts, but this module labels tokens. Leave {given[0]} "
            "out."
        )


def _write_bundle(module: Any, output: Path, description: dict[str, Any], options: dict[str, Any]) -> Manifest:
    """Export a module with the arguments `description` of `export`, and write the bundle or packed file to the output.
    Return its manifest."""
    from pocketrnn_export.bundle_export import export as export_module
    from pocketrnn_export.intake.call_discovery.logits_or_probabilities import UnclearNumbersError

    named = parse_module_name(options["tokenizer"] or "")
    if named is not None and getattr(description.get("rules"), "tokenizer", "") == "external":
        of_function = list_files_of_tokenizer(named.path, named.function_name)
        files = [one.name if one.is_absolute() else str(one) for some in of_function for one in some]
        description["provenance"] = {**(description.get("provenance") or {}), "tokenizer_files": files}
    stated = {SOURCE: name_source_of_output(options["source"], output)}
    description["provenance"] = {**(description.get("provenance") or {}), **stated}
    try:
        if options["compress"] or options["profile"] in ("mobile", "packed"):
            return _export_and_compress_or_convert(module, output, description, options)
        with print_stages():
            return export_module(module, output, **description, force=options["force"])
    except UnclearNumbersError as error:
        # The user's code says what the module's numbers are.
        gives = (options.get(CORRECTED) or {}).get("gives")
        if gives not in error.choices:
            raise
        raise ExportError(error.problem, f"{error.remedy}{write_line_to_copy({'gives': gives})}") from None


def _export_and_compress_or_convert(
    module: Any, output: Path, description: dict[str, Any], options: dict[str, Any]
) -> Manifest:
    """Export a module to a temporary folder. Then compress the bundle, convert it to the profile `mobile` or pack it,
    as the options say. Write the result to the output, and return its manifest."""
    from pocketrnn.bundle import manifest
    from pocketrnn_export.bundle_export import export as export_module
    from pocketrnn_export.forms.weight_quantization import Storage
    from pocketrnn_export.mobile_profile import write_mobile_bundle
    from pocketrnn_export.packing import pack

    profile = options["profile"]
    description.setdefault("name", output.absolute().stem if profile == "packed" else make_classifier_name(output))
    description["torchscript"] = False
    # The data is read before the export, which takes long, so that an unusable file is refused without delay.
    labels, several = tuple(description.get("labels", ())), bool(description.get("multi_label"))
    names = ("data", "max_loss", *COLUMNS)
    measure = {name: options[name] for name in names}
    rows, texts, allowed = None, None, None
    if options["compress"]:
        rows = read_rows_to_measure(labels, several_labels=several, **measure)
    if options["arithmetic"] == "int8":
        texts, allowed = read_int8_measure_arguments(
            labels, several_labels=several, max_changed=options["max_changed"], **measure
        )
    with tempfile.TemporaryDirectory(prefix="pocketrnn.") as folder:
        made, last = Path(folder) / "bundle", profile not in ("mobile", "packed")
        with print_stages():
            export_module(module, made, **description)
        if options["compress"]:
            smaller = output if last else Path(folder) / "small"
            write_compressed_bundle(
                made, smaller, Storage(), name=None, rows=rows, force=options["force"], max_loss=options["max_loss"]
            )
            made = smaller
        if last:
            return manifest.read_manifest(made)
        with print_stages():
            if profile == "mobile":
                return write_mobile_bundle(made, output, force=options["force"])
            return pack(
                made, output, arithmetic=options["arithmetic"], data=texts, allowed=allowed, force=options["force"]
            )


def _refuse_unusable_output(output: Path, numbers: NumberOptions, options: Mapping[str, Any]) -> None:
    """Raise an error if the output cannot be written, or if the output is to be a packed file and the native engine,
    which proves it, is not installed."""
    packed, force = options["profile"] == "packed" and not numbers.are_given, options["force"]
    if packed:
        from pocketrnn.engines.native import import_native_module

        import_native_module()
    try:
        check_output(output, is_packed=packed, force=force)
    except OutputError as error:
        if force:
            raise
        # Only what stands in the way of the output is told with --force.
        check_output(output, is_packed=packed, force=True)
        if not (other := find_other_module_of_output(output, options["source"])):
            raise OptionCorrectionsError(error.problem, error.remedy, {"force": "--force"}) from None
        problem = f"{output} exists already: it was exported from {other}."
        free = choose_default_output(options["source"], options["profile"])
        raise OptionCorrectionsError(problem, "Choose another output.", {"output": str(free)}) from None


def _read_source(source: str, options: dict[str, Any], refusals: CollectedRefusals) -> tuple[str, ModuleName | None]:
    """Complete and parse SOURCE. If SOURCE is wrong but the right one is known, collect the error in `refusals` and go
    on with the right one, so that one run finds errors in other options, too."""

    def read() -> tuple[str, ModuleName | None]:
        completed = complete_source(source)
        return completed, parse_source(completed, options)

    found = refusals.collect(read)
    if found is None:
        if "source" not in (corrected := refusals.changes):
            refusals.raise_collected()
        source = str(corrected["source"])
        if corrected.get("weights"):
            options["weights"] = Path(str(corrected["weights"]))
        if (found := refusals.collect(read)) is None:
            refusals.raise_collected()
    return cast("tuple[str, ModuleName | None]", found)


def parse_source(source: str, options: dict[str, Any]) -> ModuleName | None:
    """Parse a SOURCE of the form file.py:name. Return None if SOURCE is a folder or another file.

    Args:
        source: SOURCE, as the user gave it.
        options: the options of the command. Only `set`, the arguments for the module's constructor, is used.

    Raises:
        InputError: the file or folder does not exist.
    """
    named = parse_module_name(source, options["set"])
    path = Path(source)
    if named is None and not path.is_dir() and not path.is_file():
        near = suggest_near_file(path, (".py", ".ipynb", path.suffix.lower() or ".pt"), folders_with=("config.json",))
        raise InputError(
            f"{path} does not exist.",
            near
            or "Give an existing file or folder: a folder that `pocketrnn train` wrote, file.py:name, "
            "notebook.ipynb:name, or a TorchScript file.",
        )
    return named


def _read_text_arguments(
    source: str, named: ModuleName | None, options: dict[str, Any], refusals: CollectedRefusals
) -> dict[str, Any] | None:
    """Read the vocabulary, the text rules, the labels and the pairs before PyTorch is loaded. Return them as arguments
    of `export`; return None if SOURCE is a checkpoint or a file is refused."""
    of_a_module = (
        "vocabulary",
        "labels",
        "head",
        "tokenizer",
        "max_tokens",
        "rules",
        "weights",
        "multi_label",
        "thresholds",
        "random_weights",
        "run_notebook",
        "set",
        "pairs",
        "call",
        "gives",
        "one_text",
        "labels_of",
        "no_crf",
        "two_texts",
        "features",
        "characters",
        "characters_width",
    )
    if named is None and Path(source).is_dir():
        if given := [f"--{option.replace('_', '-')}" for option in of_a_module if options[option]]:
            raise click.UsageError(
                f"{source} is a checkpoint. It already contains the values of {', '.join(given)}, so these options "
                "cannot be given. Leave them out."
            )
        return None
    if options["labels"] is not None and options["head"]:
        raise click.UsageError(
            "--labels and --head are both given, but only one of them can be. For a module with several heads, "
            "give only --head, with the labels of each head; otherwise give only --labels."
        )
    refusals.collect(lambda: _refuse_unusable_files(options))
    _set_tokenizer_from_checkpoint(options)
    proposed = _propose_tokenizer(named, options)
    subwords = options["tokenizer"] is not None and options["tokenizer"] not in TOKENIZERS
    subwords = subwords and not _is_function_name(options["tokenizer"])
    needed = ["labels"] if not options["head"] else []
    needed += [] if subwords else ["vocabulary"]
    needed.sort(reverse=True)
    _set_vocabulary_and_labels_from_checkpoint(needed, options)
    refusals.collect(lambda: _refuse_missing_options(source, named, needed, options, proposed, refusals))
    return _read_vocabulary_rules_and_pairs(options, refusals, subwords=subwords)


def _propose_tokenizer(named: ModuleName | None, options: dict[str, Any]) -> str:
    """Set --tokenizer to the subword tokenizer that the user's code names, if no option says how texts become ids.
    Return a sentence that says so, or an empty string if the code names no such tokenizer."""
    is_open = all(options[one] is None for one in ("vocabulary", "tokenizer", "rules", "characters"))
    found = propose_tokenizer(named.path) if is_open and named is not None else None
    if found is None:
        return ""
    options["tokenizer"] = str(found.path)
    return f"The tokenizer seems to be {found.path} ({found.place_in_code}). It contains its vocabulary."


def _refuse_missing_options(
    source: str,
    named: ModuleName | None,
    needed: Sequence[str],
    options: dict[str, Any],
    tokenizer_sentence: str,
    refusals: CollectedRefusals,
) -> None:
    """Refuse the export if the vocabulary or the labels are neither given as options nor contained in the file of
    weights. The error proposes options that the user's code names, such as a vocabulary file.

    Args:
        named: the file and the name of the module; None if SOURCE is of another form.
        needed: the names of the options that the export needs.
        tokenizer_sentence: a sentence about the tokenizer that was found in the code, which is then proposed, too;
            empty without one.
        options: the values of the command's options by name.
        refusals: the errors collected so far. If no option is missing, proposals on how texts are split are added to
            these errors.

    Raises:
        MissingOptionsError: an option is missing.
    """
    if all(options[option] is not None for option in needed) and not tokenizer_sentence:
        if refusals:
            refusals.propose(*_propose_text_options(named, options, {}))
        return
    remedy: list[str] = [tokenizer_sentence] if tokenizer_sentence else []
    changes: dict[str, str | None] = {"tokenizer": options["tokenizer"]} if tokenizer_sentence else {}
    given = options["weights"]
    is_open = given is None and not options["random_weights"]
    if is_open and named is not None:
        if (found := propose_weights(named.path, named.name)) is not None:
            changes["weights"] = str(found.path)
            remedy.append(f"The weights seem to be {found.description}.")
        else:
            said, others = describe_weights_that_do_not_fit(named.path, named.name)
            remedy, changes = [*remedy, *[said] * bool(said)], changes | others
            named = parse_module_name(str(others.get("source") or named), options["set"])
        if (weights := changes.get("weights", UNKNOWN_FILE)) != UNKNOWN_FILE:
            options["weights"] = Path(str(weights))
            _set_vocabulary_and_labels_from_checkpoint(needed, options)
    missing = [option for option in needed if options[option] is None]
    if "labels" in missing and (said := _set_multi_label_from_code(named, options)):
        remedy.append(said)
        changes |= {"multi_label": "given"} if options["multi_label"] else {}
    for option in missing:
        if option == "vocabulary":
            proposed = _propose_vocabulary(named, options["weights"])
        else:
            file = None if named is None else named.path
            proposed = propose_labels(file, options["weights"], options["pairs"], multi_label=options["multi_label"])
        changes[proposed.option] = proposed.value
        remedy.append(proposed.sentence)
    if said_of_output := propose_to_take_output_for_logits(named, options, changes.get("labels") or options["labels"]):
        remedy += said_of_output
        changes["gives"] = "logits"
    if given is not None:
        remedy.append(f"{' and '.join(missing).capitalize()} were not found in {given}.")
    of_texts, changes = _propose_text_options(named, options, changes)
    remedy += of_texts
    missing = ["tokenizer", *missing] if tokenizer_sentence else missing
    asked = missing or [one for one in changes if one not in ("tokenizer", "rules", "pairs")]
    said = " and ".join(f"--{option}" for option in asked)
    numbers = ", or --channels if it takes sequences of numbers" if "vocabulary" in missing else ""
    lines = "".join(f"\n{escape_line(one)}" for one in remedy)
    refused = MissingOptionsError(f"{source} needs {said}{numbers}.", lines, changes)
    refused.of_lines = True
    raise refused


def _set_multi_label_from_code(named: ModuleName | None, options: dict[str, Any]) -> str:
    """Set --multi-label if the user's code computes the probabilities of several outputs by a sigmoid, and not by a
    softmax. Return a sentence that says so. If the code has both, change nothing and return a sentence on that; if it
    has neither, return an empty string."""
    from pocketrnn_export.source_code.sigmoid_or_softmax_in_code import find_activations_in_code

    # The sigmoid of a single output is the softmax of its two labels.
    is_open = not any(options[one] for one in ("multi_label", "labels_of", "head"))
    if not is_open or read_weight_sizes(options["weights"]).outputs < 2:
        return ""
    found = find_activations_in_code(list_code_files(named, options))
    options["multi_label"] = found.are_of_several
    return found.sentence


def _propose_text_options(
    named: ModuleName | None, options: Mapping[str, Any], changes: dict[str, str | None]
) -> tuple[list[str], dict[str, str | None]]:
    """Propose the function of the user's code that splits texts and the file of the user's answers, each only if no
    option gives it. Return a list with a sentence on each, and the options of the next command, which are `changes` and
    the proposed ones."""
    from pocketrnn_export.progress import hide_log_records
    from pocketrnn_export.source_code.text_functions_in_file import seems_to_return_ids

    remedy: list[str] = []
    is_open = "tokenizer" not in changes and all(options[one] is None for one in ("tokenizer", "rules"))
    function = propose_tokenizer_function(named.path) if is_open and named is not None else None
    # Answers alone show text rules, but not what a library does. The lines of answering code need no search.
    if options["pairs"] is not None and function is not None and not function.is_answering:
        function = function if find_library_of_tokenizer_function(function.option) else None
    if function is not None:
        changes |= make_options_of_tokenizer_function(function.option)
        remedy.append(describe_tokenizer_function(function))
    elif is_open and named is not None and (copied := _copy_tokenizer_of_script(named.path, options)):
        changes |= make_options_of_tokenizer_function(copied[1])
        remedy.append(copied[0])
    labels = changes.get("labels") or options["labels"]
    with contextlib.suppress(InputError), hide_log_records():
        is_known = labels is not None and labels != make_placeholder_labels(labels.count(",") + 1)
        known = read_labels(str(labels)) if is_known else []
        if not options["head"] and (pairs := _propose_pairs(known, options)):
            remedy.append(f"{pairs.sentence} --pairs compares the bundle with them.")
            if function is not None and named is not None and not seems_to_return_ids(function):
                said, of_length = propose_text_length(named, options, function.option)
                remedy, changes = remedy + said, changes | of_length
            return remedy, pairs.complete(changes)
    # Answers show the length better than code does, and so does a function that gives ids.
    if is_open and named is not None and options["pairs"] is None and "tokenizer" not in changes:
        said, of_length = propose_text_length(named, options)
        return remedy + said, changes | of_length
    return remedy, changes


def _copy_tokenizer_of_script(path: Path, options: Mapping[str, Any]) -> tuple[str, str] | None:
    """Find the statements of a script, outside of its functions, that split a text, or a column of texts, into words.
    Write them as a function `words` to a new file. Return a sentence that names this file, and the value for
    --tokenizer, `new_file.py:words`. Return None if there are no such statements. With --pairs, statements that split a
    column are left out."""
    copied = write_tokenizer_of_script_to_file(path)
    return copied or (write_tokenizer_of_columns_to_file(path) if options["pairs"] is None else None)


def _propose_vocabulary(named: ModuleName | None, weights: Path | None) -> ProposedOption:
    """Propose a value for the missing option --vocabulary, or a value for --tokenizer that makes --vocabulary
    unnecessary. The result includes a sentence that says where the value was found."""
    from pocketrnn_export.source_code.script_that_saves_vocabulary import (
        find_code_that_makes_vocabulary,
    )
    from pocketrnn_export.source_code.text_settings_in_code import describe_vocabulary_to_save

    output = Path(click.get_current_context().params["output"])
    rows = read_weight_sizes(weights).embedding_rows
    found = None if named is None else propose_vocabulary(named.path, weights)
    # Code may add words to those of the file.
    if named is not None and (found is None or found.note):
        loaded = _propose_vocabulary_of_loading_code(named, None if found is None else found.path, rows)
        if loaded is not None:
            return loaded
    if found is not None:
        said = f"The vocabulary seems to be {found.path} ({found.place_in_code}).{found.note}"
        return ProposedOption("vocabulary", said, str(found.path))
    if named is not None and (tokenizer := propose_to_save_transformers_tokenizer(named.path)) is not None:
        return tokenizer
    if named is not None and (code := find_code_that_makes_vocabulary(named.path)) is not None:
        script = write_code_file(output, "vocabulary", code.write(rows, output.parent), code.file)
        file = script.with_suffix(".json")
        lines = "The code" if named.is_notebook else f"The code in line{'s' * (not code.lines.isdigit())} {code.lines}"
        is_chosen = rows and len(code.made) > 1
        fits = f": the vocabulary whose ids fit the {rows:,} rows of the embedding best" if is_chosen else ""
        also = f" Other code makes {' and '.join(code.others)}." if code.others else ""
        if code.unsorted:
            also += (
                f" {code.unsorted} lists files in an order that may differ on another machine: if the answers differ, "
                f"run python {shlex.quote(str(script))} sorted."
            )
        if code.data.replaced:
            paths = "; ".join(f"{new} in place of {old}" for old, new in code.data.replaced.items())
            also += f" It reads {paths}."
        if code.data.missing:
            also += f" Before you run it, correct the path {' and '.join(code.data.missing)}, which does not exist."
        return ProposedOption(
            "vocabulary",
            f"{lines} of {code.file} makes {' and '.join(code.made)}, and is copied to {script}: run python "
            f"{shlex.quote(str(script))}, with the data of the training. It writes {file}{fits}.{also}",
            str(file),
        )
    unclear = None if named is None else propose_vocabulary(named.path, weights, may_be_unclear=True)
    if unclear is not None:
        said = f"The vocabulary seems to be {unclear.path} ({unclear.place_in_code}), if its numbers are ids."
        return ProposedOption("vocabulary", said, str(unclear.path))
    said = describe_vocabulary_to_save([] if named is None else [named.path])
    return ProposedOption("vocabulary", f"--vocabulary takes a file. {said}", UNKNOWN_FILE)


def _propose_vocabulary_of_loading_code(named: ModuleName, data: Path | None, rows: int) -> ProposedOption | None:
    """Propose a value for --vocabulary if the user's code adds words to those of a file: the file that a script writes,
    which is the code that loads the vocabulary, copied beside the output. Return None if there is no such code.

    Args:
        named: the file and the name of the module.
        data: the file of the words; None for the only text file of words that the code names.
        rows: the number of rows of the embedding; 0 if it is not known.
    """
    from pocketrnn_export.source_code.script_that_saves_vocabulary import (
        find_vocabulary_loader,
        find_words_that_code_adds,
    )
    from pocketrnn_export.source_code.text_settings_in_code import describe_vocabulary_to_save

    words = [] if data is None else _read_words({"vocabulary": data})[0]
    if (loader := find_vocabulary_loader(named.path, data)) is not None:
        loading, file = loader
        if data is not None and not loading.changes_ids(words):
            return None
        output = Path(click.get_current_context().params["output"])
        script = write_code_file(output, "vocabulary", loading.write(rows, output.parent), loading.file)
        lines = f"line{'s' * (not loading.lines.isdigit())} {loading.lines}"
        return ProposedOption(
            "vocabulary",
            f"The code in {lines} of {loading.file} loads the vocabulary from {file}, and is copied to "
            f"{script}: run python {shlex.quote(str(script))}. It writes {script.with_suffix('.json')}.",
            str(script.with_suffix(".json")),
        )
    added = [] if data is None else find_words_that_code_adds(named.path, words)
    if not added or len(words) + len(added) != rows:
        return None
    said = f"The vocabulary seems to be the words of {data} with {' and '.join(added)}, which your code adds."
    return ProposedOption("vocabulary", f"{said} {describe_vocabulary_to_save([named.path])}", "vocab.json")


def _refuse_words_without_those_that_code_adds(words: Sequence[str], options: Mapping[str, Any]) -> None:
    """Raise an OptionCorrectionsError for a vocabulary with fewer words than the embedding has rows, if the user's code
    adds words to it: the ids would be wrong. With --pairs, a comparison shows this.

    Args:
        words: the words of the vocabulary.
        options: the options of the command.
    """
    from pocketrnn_export.source_code.script_that_saves_vocabulary import (
        find_vocabulary_loader,
        find_words_that_code_adds,
    )

    file, named = options["vocabulary"], parse_module_name(options["source"] or "")
    if named is None or options["pairs"] is not None:
        return
    loader = find_vocabulary_loader(named.path, file)
    # Reading the weights loads PyTorch.
    if not (find_words_that_code_adds(named.path, words) if loader is None else loader[0].changes_ids(words)):
        return
    sizes = read_weight_sizes(options["weights"])
    if len(words) >= sizes.embedding_rows or len(words) in sizes.table_rows:
        return
    proposed = _propose_vocabulary_of_loading_code(named, file, sizes.embedding_rows)
    if proposed is not None and proposed.value != str(file):
        said = f"{file} has {len(words):,} words, but the embedding has {sizes.embedding_rows:,} rows"
        changes = {proposed.option: proposed.value}
        raise OptionCorrectionsError(f"{said}, and your code adds words.", proposed.sentence, changes)


def _read_vocabulary_rules_and_pairs(
    options: dict[str, Any], refusals: CollectedRefusals, *, subwords: bool
) -> dict[str, Any] | None:
    """Read the vocabulary, the text rules, the labels and the pairs that the options name. Return them as arguments of
    `export`, or None if a file is refused. After a refused file, the other files are still read, so that the refusals
    of all files are collected."""
    from pocketrnn_export.vocabularies.label_order_in_pairs import read_pairs_in_label_order

    def read_all_labels() -> dict[str, Any]:
        if options["head"]:
            return {"heads": _read_heads(options["head"])}
        return {} if options["labels"] is None else {"labels": read_labels(options["labels"])}

    read, has_tokens = None, subwords or options["vocabulary"] is not None
    if has_tokens:
        read = refusals.collect(lambda: _read_tokens_or_propose_vocabulary(options, subwords=subwords))
    labels = refusals.collect(read_all_labels) or {}
    names, several = labels.get("labels", ()), options["multi_label"]
    count = read_weight_sizes(options["weights"]).labels if refusals and names else 0
    if count and count != len(names):
        proposed = propose_labels(
            find_file_of_source(options), options["weights"], options["pairs"], multi_label=several
        )
        said = f"The weights seem to have {count} outputs, and --labels has {len(names)}: {proposed.sentence}"
        refusals.propose([said], {"labels": proposed.value})
    file, texts = options["pairs"], None
    if {getattr(one, "suffix", "") for one in (file, options["texts"])} == {".csv"}:
        # A table with the texts of the pairs, and not lines of texts.
        texts, options["texts"] = options["texts"], None

    def read_pairs() -> Any:
        if file is None:
            return []
        try:
            return read_pairs_in_label_order(file, names, multi_label=several, texts=texts)
        except InputError as error:
            raise correct_pairs_or_labels(error, file, names, options) from None

    pairs = refusals.collect(read_pairs)
    if read is None or pairs is None or refusals:
        return None
    tokens, rules = read
    # The rules beside a function are widths; `_add_rules_of_function` compares them with the pairs.
    if rules is not None and not _is_function_name(options["tokenizer"]):
        rules = _choose_rules_agreeing_with_pairs(tokens, rules, pairs, options)
    return {"vocabulary": tokens, "rules": rules, "example_ids": pairs, **labels}


def _read_tokens_or_propose_vocabulary(options: dict[str, Any], *, subwords: bool) -> Any:
    """Read the tokens and the text rules that the options name. If the file of --vocabulary holds only weights, or if
    its numbers may be counts of words and not ids, raise an error that proposes the vocabulary found in the user's code
    or folder."""
    from pocketrnn_export.vocabularies.vocabulary import UnclearIdsError

    try:
        return _read_tokens_and_rules(options, subwords=subwords)
    except UnclearIdsError as error:
        raise (_propose_clear_ids(error, options) if error.may_be_ids else error) from None
    except InputError as error:
        path = options["vocabulary"]
        if subwords or path is None or not path.is_file() or _read_words({"vocabulary": path})[0]:
            raise
        proposed = _propose_vocabulary(parse_module_name(options["source"] or ""), options["weights"])
        if proposed.value == str(path):
            raise
        raise OptionCorrectionsError(error.problem, proposed.sentence, {proposed.option: proposed.value}) from None


def _propose_clear_ids(error: UnclearIdsError, options: Mapping[str, Any]) -> OptionCorrectionsError:
    """Return an error for a vocabulary whose numbers may be counts of words and not ids. The error proposes the first
    of these that exists: the weights that the user's code names, another vocabulary with as many words as the embedding
    has rows, or the command that takes the numbers for ids."""
    from pocketrnn_export.progress import hide_log_records
    from pocketrnn_export.vocabularies.vocabulary import read_vocabulary

    named, path, weights = parse_module_name(options["source"] or ""), options["vocabulary"], options["weights"]
    if weights is None and named is not None and (found := propose_weights(named.path, named.name)) is not None:
        weights = found.path
        with contextlib.suppress(InputError), hide_log_records():
            read_vocabulary(path, make_id_evidence(weights))
            said = f"The weights seem to be {found.description}: their rows show that these are ids."
            return OptionCorrectionsError(error.problem, said, {"weights": str(weights)})
    other = None if named is None else propose_vocabulary(named.path, weights)
    if other is not None and not other.note and other.path != path:
        said = f"The vocabulary seems to be {other.path} ({other.place_in_code})."
        return OptionCorrectionsError(error.problem, said, {"vocabulary": str(other.path)})
    run, file = _write_command_for_words_with_rows(path, read_weight_sizes(weights).embedding_rows)
    said = f"If they are ids of this module, run {run}. If they are counts, give the words in the order of their ids."
    return OptionCorrectionsError(error.problem, said, {"vocabulary": file})


def _refuse_unusable_files(options: dict[str, Any]) -> None:
    """Raise an InputError, before the work starts, if a file of the options is missing. Also raise it if the
    --tokenizer function needs more arguments than the text, or classifies texts in place of splitting them, and the
    part of it that splits texts cannot be copied."""
    from pocketrnn_export.source_code.functions_that_answer_or_split import (
        computes_prediction_for_text,
        is_name_of_answering_function,
    )
    from pocketrnn_export.source_code.text_functions_in_file import refuse_function_with_more_arguments
    from pocketrnn_export.vocabularies.text_lines_and_compressed_files import read_lines

    if options["weights"] is not None:
        check_weights_exist(options["weights"])
    for name in ("texts", "characters"):
        if options[name] is not None and not options[name].exists():
            read_lines(options[name])
    function = parse_module_name(options["tokenizer"] or "")
    if function is None or function.args or not function.path.is_file():
        return
    name = function.function_name
    replacements = [complete_tokenizer_by_owner_call, replace_tokenizer_by_its_splitting_part]
    if computes_prediction_for_text(function.path, name):
        # Its results are never taken for tokens or ids.
        if not any(replace_tokenizer(options) for replace_tokenizer in replacements):
            refuse_answering_function(function, Path(click.get_current_context().params["output"]))
        return
    try:
        refuse_function_with_more_arguments(function.path, function.name, list(function.kwargs or ()))
    except InputError:
        if not any(replace_tokenizer(options) for replace_tokenizer in replacements):
            raise
    else:
        if is_name_of_answering_function(function.method or function.name):
            replace_tokenizer_by_its_splitting_part(options)


def _set_vocabulary_and_labels_from_checkpoint(needed: Sequence[str], options: dict[str, Any]) -> None:
    """Set the missing ones of --vocabulary and --labels to the file of weights, if this file also holds the vocabulary
    or the labels. `needed` has the names of the options that the export needs."""
    from pocketrnn_export.progress import hide_log_records
    from pocketrnn_export.vocabularies.checkpoint_file import is_checkpoint
    from pocketrnn_export.vocabularies.labels import find_labels_in_checkpoint
    from pocketrnn_export.vocabularies.vocabulary import read_vocabulary

    weights = options["weights"]
    if weights is None or not weights.is_file() or not is_checkpoint(weights):
        return
    labels: Any = None
    # The notes are logged where both are read once more.
    if "labels" in needed and options["labels"] is None:
        with contextlib.suppress(InputError), hide_log_records():
            labels = find_labels_in_checkpoint(weights)
            options["labels"] = str(weights)
    if "vocabulary" in needed and options["vocabulary"] is None:
        with contextlib.suppress(InputError), hide_log_records():
            if set(read_vocabulary(weights, make_id_evidence(weights)).tokens) != set(labels or ()):
                options["vocabulary"] = weights


def _set_tokenizer_from_checkpoint(options: dict[str, Any]) -> None:
    """Set --tokenizer to the file of weights or of the vocabulary, if that file contains a complete subword tokenizer
    and no option says how texts are split. Remove the option --vocabulary then, since the tokenizer contains it.

    Raises:
        OptionCorrectionsError: the file of weights holds a tokenizer, but --vocabulary names another file.
    """
    from pocketrnn_export.vocabularies.checkpoint_file import describe_member, is_checkpoint
    from pocketrnn_export.vocabularies.checkpoint_text_settings import find_tokenizer_in_checkpoint
    from pocketrnn_export.vocabularies.text_rules_file import list_given_rule_members

    if options["tokenizer"] is not None:
        return
    if not _WIDTHS.issuperset(list_given_rule_members(options["rules"])):
        return
    for name in ("vocabulary", "weights"):
        path, held = options[name], None
        if path is None or not path.is_file() or not is_checkpoint(path):
            continue
        # A file that cannot be read is refused where it is read for what it must hold.
        with contextlib.suppress(InputError):
            held = find_tokenizer_in_checkpoint(path)
        if held is None:
            continue
        if options["vocabulary"] not in (None, path):
            raise OptionCorrectionsError(
                f"{path} holds a subword tokenizer, {describe_member(held.key)}, with its own vocabulary, but "
                f"--vocabulary names {options['vocabulary']}.",
                f"Give this tokenizer in place of --vocabulary: --tokenizer {path}. If your code uses another "
                "tokenizer, give that one: --tokenizer FILE.",
                {"vocabulary": None, "tokenizer": str(path)},
            )
        options["tokenizer"], options["vocabulary"] = str(path), None
        return


def _refuse_labels_as_vocabulary(
    named: ModuleName | None, options: dict[str, Any], text: dict[str, Any] | None
) -> None:
    """Raise an OptionCorrectionsError if the file of --vocabulary seems to be the file of the labels: it has hardly
    more words than there are labels, but the embedding of the weights has many more rows. The error proposes the
    vocabulary that the user's code names."""
    from pocketrnn_export.vocabularies.vocabulary import PLACEHOLDER, read_vocabulary

    if text is None or options["weights"] is None or options["vocabulary"] is None or not text.get("labels"):
        return
    rows, labels = read_weight_sizes(options["weights"]).embedding_rows, len(text["labels"])
    words = [one for one in read_vocabulary(text["vocabulary"]).tokens if not one.startswith(PLACEHOLDER)]
    if len(words) > labels + _SPECIAL_WORDS or rows < _FEW_WORDS * len(words):
        return
    proposed = _propose_vocabulary(named, options["weights"])
    raise OptionCorrectionsError(
        f"{options['vocabulary']} has only {len(words)} words, "
        f"{', '.join(map(short_repr, words[:4]))}{', ...' * (len(words) > 4)}, "
        f"but the embedding in {options['weights']} has {rows:,} rows. The file seems to hold the {labels} labels, "
        "not the vocabulary.",
        proposed.sentence,
        {proposed.option: proposed.value},
    )


def _add_rules_of_function(
    module_file: Path | None, options: dict[str, Any], text: dict[str, Any] | None
) -> dict[str, Any] | None:
    """Find the text rules that split texts as the function of --tokenizer file.py:name does. Return the arguments
    `text` of `export` with these rules and the function added. Return None if --tokenizer does not name a function. The
    function's file may import modules from the folder of `module_file`, the file of the module."""
    from pocketrnn.text import EXTERNAL
    from pocketrnn_export.intake.module_file import load_text_function
    from pocketrnn_export.vocabularies.checkpoint_text_settings import find_attributes_of_saved_object
    from pocketrnn_export.vocabularies.owner_function_call import (
        find_how_to_call_owner_function,
        list_left_out_words_whose_ids_have_rows,
    )
    from pocketrnn_export.vocabularies.owner_texts_and_answers import list_texts_with_ids
    from pocketrnn_export.vocabularies.text_lines_and_compressed_files import read_lines

    named = None if options["tokenizer"] is None or text is None else parse_module_name(options["tokenizer"])
    if named is None or text is None:
        return None
    # The file of the module is often the same, and prints its lines when the module is made.
    with Path(os.devnull).open("w") as nothing, contextlib.redirect_stdout(nothing):
        words = text["vocabulary"].word_ids
        # A file of weights holds more than the vocabulary.
        file = "" if options["vocabulary"] == options["weights"] else options["vocabulary"].name
        files = [one for one in (options["vocabulary"], options["weights"]) if one is not None]
        saved = next(filter(None, (find_attributes_of_saved_object(one, named.name) for one in files)), {})
        try:
            function = load_text_function(named, file, words, module_file, saved)
        # Its file may make the vocabulary in a loop, say, which its lines that split a text do not need.
        except PocketRNNError:
            replacements = (replace_tokenizer_by_its_splitting_part, replace_tokenizer_by_code_with_present_names)
            if not any(replace_tokenizer(options) for replace_tokenizer in replacements):
                refuse_name_similar_to_defined_one(named, "tokenizer", options["tokenizer"])
                raise
            return _add_rules_of_function(module_file, options, text)
        is_external = text["rules"] is not None and text["rules"].tokenizer == EXTERNAL
        adapted = find_how_to_call_owner_function(function, text["vocabulary"], str(named))
        if is_external and replace_tokenizer_by_own_file(options, function, saved, adapted):
            return _add_rules_of_function(module_file, options, text)
        function = adapted
        keras = text["vocabulary"].keras
        if function.gives_string and keras and replace_tokenizer_that_cleans_before_keras(options, keras):
            return _add_rules_of_function(module_file, options, text)
    texts = [] if options["texts"] is None else read_lines(options["texts"])
    given = text["example_ids"]
    pairs = list_texts_with_ids(given)
    texts += [one.text for one in given if one.ids is None]
    if module_file is not None:
        _refuse_function_that_raises(function, named, module_file, texts, is_external=is_external)
    texts += list_left_out_words_whose_ids_have_rows(function, text["vocabulary"])
    rules = _choose_rules_of_function(function, options, text, pairs, texts)
    if options["max_tokens"] is not None:
        rules = replace(rules, max_tokens=options["max_tokens"])
    return {**text, "rules": rules, "vocabulary": text["vocabulary"].tokens, "tokenizer": function}


def _refuse_function_that_raises(
    function: Any, named: ModuleName, module_file: Path, texts: Sequence[str], *, is_external: bool
) -> None:
    """Raise an error if the --tokenizer function raises an exception on most of the user's texts; with `is_external`,
    if it raises one on any of them. The error proposes another function of the user's code that may split texts, if
    there is one.

    Args:
        named: the file and the name of the function.
        module_file: the file of the module.
        is_external: whether the bundle has no text rules, so that only this function splits texts.
    """
    from pocketrnn_export.source_code.code_and_data_files_near_module import read_copied_function_of_exported_file
    from pocketrnn_export.source_code.text_functions_in_file import list_text_functions
    from pocketrnn_export.vocabularies.owner_function_call import describe_exceptions

    said = describe_exceptions(function, named, texts, is_external=is_external)
    if not said:
        return
    listed = {one.option: f"{one.file}:{one.name}" for one in list_text_functions(module_file)}
    # A file that the export wrote stands for the owner's function.
    tried = {
        str(named),
        click.get_current_context().params["tokenizer"],
        read_copied_function_of_exported_file(named.path),
    }
    at = max((i + 1 for i, one in enumerate(listed.items()) if {*one} & tried), default=0)
    remedy = "Name a function that takes a plain text and gives its tokens or ids."
    if left := [*listed][at:]:
        changes = {"rules": None, **make_options_of_tokenizer_function(left[0])}
        raise OptionCorrectionsError(said, f"{remedy} Another that may do so is {left[0]}.", changes)
    raise InputError(said, remedy)


def _choose_rules_of_function(
    function: Any,
    options: dict[str, Any],
    text: dict[str, Any],
    pairs: Sequence[tuple[str, Sequence[int]]],
    texts: Sequence[str],
) -> AnyTextRules:
    """Return the text rules that split texts as the --tokenizer function does. If there are none, raise an error; the
    rules that it proposes keep the widths that --rules gives.

    Args:
        text: the arguments of `export` for texts that were read before.
        pairs: texts with the ids that the user's pipeline gives.
        texts: texts to try the function on.
    """
    from pocketrnn_export.vocabularies.owner_id_comparison import refuse_other_ids
    from pocketrnn_export.vocabularies.text_rule_selection import choose_rules
    from pocketrnn_export.vocabularies.text_rules_file import list_given_rule_members

    vocabulary = text["vocabulary"]
    members = list_given_rule_members(options["rules"])
    are_beside = bool(members) and _BESIDE_A_FUNCTION.issuperset(members)
    if text["rules"] is not None and "unknown_id" not in members:
        text = {**text, "rules": replace(text["rules"], **function.stated_rules)}
    try:
        if are_beside:
            found = choose_rules(vocabulary, None, function, [], [*texts, *(one for one, _ in pairs)])
        else:
            rules = choose_rules(vocabulary, text["rules"], function, pairs, texts)
    except OptionCorrectionsError as error:
        if are_beside or options["rules"] is None:
            _refuse_rules_in_place_of_library(options, text.get("labels", ()))
            _add_given_members_to_proposed_rules(error, members)
        raise
    if are_beside:
        rules = replace(found, **{name: getattr(text["rules"], name) for name in members})
        refuse_other_ids(vocabulary, rules, pairs)
    return rules


def _add_given_members_to_proposed_rules(error: OptionCorrectionsError, members: Mapping[str, Any]) -> None:
    """Add the members of --rules that the user gave to the --rules that an error proposes, if it proposes any."""
    if rules := error.changes.get("rules"):
        error.changes["rules"] = json.dumps({**json.loads(rules), **members})


def _refuse_rules_in_place_of_library(options: Mapping[str, Any], labels: Sequence[str]) -> None:
    """Raise an error if the --tokenizer function calls a library whose work text rules cannot imitate. The error
    proposes the command for a bundle in which the function itself splits the texts."""
    library = find_library_of_tokenizer_function(options["tokenizer"])
    if not library:
        return
    pairs = _propose_pairs(labels, options)
    changes = complete_rules_beside_tokenizer_function({"tokenizer": options["tokenizer"]})
    raise OptionCorrectionsError(
        f"{options['tokenizer']} calls {library}, but no text rules split texts as that library does.",
        "Let your own code split the texts. The bundle then takes tokens or ids; it takes texts, too, if you open "
        "it with Classifier.load(..., tokenizer=function). Such a bundle cannot be packed.",
        changes if pairs is None else {**changes, **pairs.complete(changes), "rules": changes["rules"]},
    ) from None


def _read_module_and_arguments(
    source: str,
    named: ModuleName | None,
    options: dict[str, Any],
    text: dict[str, Any] | None,
    refusals: CollectedRefusals,
) -> tuple[Any, dict[str, Any]]:
    """Load the module, and read the other arguments of `export`. If options are refused, raise one error that names all
    of them.

    Args:
        named: the file and the name of the module; None if SOURCE is of another form.
        text: the arguments of `export` for texts; None for a checkpoint.
        refusals: the errors that were collected before.
    """
    path = None if named is None else named.path
    refusals.collect(lambda: _refuse_labels_as_vocabulary(named, options, text))
    text = refusals.collect(lambda: _add_rules_of_function(path, options, text)) or text
    if text is not None:
        options[CORRECTED] = log_owner_hints_and_list_corrections(named, options, text)
        options[CORRECTED] |= log_activation_after_module(named, options, text["example_ids"])
    given = refusals.collect(
        lambda: _load_module_and_read_arguments(source, named, options, text, is_any_refused=bool(refusals))
    )
    refusals.raise_collected()
    return cast("tuple[Any, dict[str, Any]]", given)


def _load_module_and_read_arguments(
    source: str, named: ModuleName | None, options: dict[str, Any], text: dict[str, Any] | None, *, is_any_refused: bool
) -> tuple[Any, dict[str, Any]]:
    """Load the module that SOURCE names, and read the other arguments of `export`.

    Args:
        named: the file and the name of the module; None if SOURCE is of another form.
        text: the arguments of `export` for texts; None for a checkpoint.
        is_any_refused: whether options were already refused. The module is then loaded only to find out whether it has
            errors, too.
    """
    if text is None and not is_any_refused:
        from pocketrnn_export.checkpoint_export import read_export_arguments_from_checkpoint

        return read_export_arguments_from_checkpoint(Path(source))
    module, call = load_module_and_call(source, named, options)
    if text is None:
        return module, {}
    from pocketrnn_export.export_arguments import read_features

    if options["thresholds"] is not None:
        text = {**text, "thresholds": _read_thresholds(options, text.get("labels", ()))}
    return module, {
        **text,
        "labels_of": options["labels_of"] or "texts",
        "two_texts": options["two_texts"],
        "features": None if options["features"] is None else read_features(options["features"]),
        "characters": _read_characters(options["characters"], options["characters_width"]),
        "crf": not options["no_crf"],
        "multi_label": options["multi_label"],
        "call": call,
        "gives": options["gives"],
        "one_text": options["one_text"],
    }


def _choose_rules_agreeing_with_pairs(
    tokens: Any, rules: AnyTextRules | Subwords, pairs: Sequence[OwnersText], options: dict[str, Any]
) -> AnyTextRules | Subwords:
    """Return the text rules, or raise an error if they give a text other ids than the pairs. If no option states rules,
    first change the default rules so that they give the ids of the pairs, or take usual rules that fit the vocabulary
    if the pairs have answers alone; without pairs, log that the default tokenizer is used.

    Raises:
        InputError: the rules give a text other ids than its pair has.
    """
    from pocketrnn.text import SubwordRules, TextRules
    from pocketrnn_export.vocabularies.owner_id_comparison import refuse_other_ids
    from pocketrnn_export.vocabularies.owner_texts_and_answers import list_texts_with_ids
    from pocketrnn_export.vocabularies.text_rule_selection import (
        choose_rules_that_fit_vocabulary,
        complete_rules_by_ids,
        log_default_tokenizer,
    )
    from pocketrnn_export.vocabularies.vocabulary import read_vocabulary

    plain = rules if isinstance(rules, TextRules | SubwordRules) else rules.rules
    vocabulary, given = read_vocabulary(tokens), list_texts_with_ids(pairs)
    stated = any(options[name] is not None for name in ("rules", "tokenizer", "max_tokens"))
    found = plain if stated else complete_rules_by_ids(vocabulary, plain, given)
    if isinstance(plain, TextRules) and options["tokenizer"] is None and options["rules"] is None and not given:
        if pairs:
            found = choose_rules_that_fit_vocabulary(vocabulary, plain, [one.text for one in pairs])
        else:
            _refuse_default_rules_of_other_tokens(plain, vocabulary.tokens, options)
            log_default_tokenizer(vocabulary, plain)
    refuse_other_ids(vocabulary, found, given)
    return rules if found is plain else found


def _refuse_default_rules_of_other_tokens(rules: TextRules, tokens: Sequence[str], options: Mapping[str, Any]) -> None:
    """Raise an error if the default tokenizer cannot have made the vocabulary `tokens`. The error proposes the function
    of the user's code that splits texts, or rules that split texts into such tokens."""
    from pocketrnn_export.progress import hide_log_records
    from pocketrnn_export.vocabularies.candidate_text_rules import describe_rules, write_rules_option
    from pocketrnn_export.vocabularies.subword_tokenizer_files import read_tokenizer
    from pocketrnn_export.vocabularies.unreachable_words import find_reason_against_default_rules

    if (doubt := find_reason_against_default_rules(rules, tokens)) is None:
        return
    remedy, changes = _propose_text_options(parse_module_name(options["source"] or ""), options, {})
    is_tokenizer, file = False, options["vocabulary"]
    with contextlib.suppress(InputError), hide_log_records():
        is_tokenizer = file is not None and bool(read_tokenizer(file).tokens)
    if "tokenizer" in changes:
        pass
    elif doubt.rules is not None:
        remedy.insert(0, f"The text rules {describe_rules(doubt.rules)} give such tokens.")
        # Answers decide.
        changes |= {} if "pairs" in changes else {"rules": write_rules_option(doubt.rules, rules)}
    else:
        own = f"{f'{file}, ' * is_tokenizer}its tokenizer.json, your function as file.py:name, whitespace or characters"
        remedy.insert(0, f"Name your tokenizer by --tokenizer: {own}.")
        if "pairs" not in changes:
            changes |= {"tokenizer": str(file), "vocabulary": None} if is_tokenizer else {"tokenizer": UNKNOWN_FILE}
    refused = OptionCorrectionsError(doubt.problem, "".join(f"\n{escape_line(one)}" for one in remedy), changes)
    refused.of_lines = True
    raise refused


def _read_characters(path: Path | None, width: int | None) -> Characters | None:
    """Read the vocabulary of characters that --characters names. Return None if the option is not given."""
    from pocketrnn_export.export_arguments import read_characters

    if path is None:
        if width is not None:
            raise click.UsageError(
                "--characters-width is given without --characters, the file of the characters. Give both options, "
                "or leave --characters-width out."
            )
        return None
    found = read_characters(path)
    return found if width is None else replace(found, width=width)


def _read_thresholds(options: Mapping[str, Any], labels: Sequence[str]) -> list[float]:
    """Read the thresholds from --thresholds: numbers with commas between them, one for each label, or one number for
    all labels. Return one threshold for each label.

    Raises:
        click.UsageError: they are not numbers from 0 to 1, or they have no effect because the likeliest label always
            reaches its threshold.
    """
    given = options["thresholds"]
    try:
        numbers = [float(one) for one in given.split(",")]
    except ValueError:
        numbers = [-1.0]
    if not all(0 <= number <= 1 for number in numbers):
        raise click.UsageError(
            f"--thresholds is {given}, but must be numbers from 0 to 1. Write one number for all labels, 0.4, or "
            "one for each label, 0.4,0.5,0.3."
        )
    if not options["multi_label"] and (said := describe_threshold_without_effect(numbers, labels)):
        raise click.UsageError(f"--thresholds {given} {said}")
    return numbers * len(labels) if len(numbers) == 1 else numbers


def _read_heads(given: Sequence[str]) -> dict[str, list[str]]:
    """Read the labels of each head from the options --head NAME=LABELS."""
    heads: dict[str, list[str]] = {}
    for one in given:
        name, equals, labels = one.partition("=")
        if not name or not equals:
            raise InputError(
                f"--head is {short_repr(one, 60)}, but must be NAME=LABELS.",
                "Write the name of the head, an equals sign, and the labels with commas between them: --head "
                "mood=bad,good.",
            )
        if name in heads:
            raise InputError(
                f"--head gives the head {short_repr(name, 40)} twice.", "Give each head once, with all its labels."
            )
        heads[name] = list(read_labels(labels, name))
    return heads


def _load_number_module_and_call(source: str, named: ModuleName | None, options: dict[str, Any]) -> tuple[Any, Any]:
    """Load the module that SOURCE names, for a classifier of sequences of numbers. Return a tuple (module, value of
    --call). Raise a UsageError if SOURCE is a checkpoint, which already states its channels."""
    if named is None and Path(source).is_dir():
        raise click.UsageError(
            f"{source} is a checkpoint. It already states its channels, so --channels cannot be given. Leave "
            "--channels out."
        )
    return load_module_and_call(source, named, options)


def load_module_and_call(source: str, named: ModuleName | None, options: dict[str, Any]) -> tuple[Any, Any]:
    """Load the module that SOURCE names in a Python file, a notebook or a TorchScript file. Return a tuple (module,
    call). The call is the value of --call: a line of Python, a function of the file, or None if --call is not given."""
    from pocketrnn_export.intake.torchscript_saving_and_loading import load_torchscript

    if named is not None:
        module, function = _load_named_module_and_call(named, options)
        return module, options["call"] if function is None else function
    if given := [
        f"--{option.replace('_', '-')}"
        for option in ("weights", "random_weights", "run_notebook", "set")
        if options[option]
    ]:
        raise click.UsageError(
            f"{given[0]} applies only to a module in a Python file or notebook, but SOURCE is {source}. Give "
            f"SOURCE as file.py:name, or leave {given[0]} out."
        )
    return load_torchscript(Path(source)), options["call"]


def _is_function_name(tokenizer: str | None) -> bool:
    """Return whether --tokenizer names a function in a file."""
    return tokenizer is not None and parse_module_name(tokenizer) is not None


def _read_tokens_and_rules(options: dict[str, Any], *, subwords: bool) -> tuple[Any, AnyTextRules | Subwords | None]:
    """Return a tuple (vocabulary, text rules), as the options give them. A subword tokenizer contains both. The rules
    are None for a --tokenizer function without --rules, since they are found later."""
    from pocketrnn_export.vocabularies.subword_tokenizer_files import read_tokenizer
    from pocketrnn_export.vocabularies.text_rules_file import parse_rules_json_with_name
    from pocketrnn_export.vocabularies.tokenizer_width_rules import add_widths_to_tokenizer_rules

    if not subwords:
        vocabulary = _read_vocabulary_or_word_vectors(options)
        if _is_function_name(options["tokenizer"]):
            return vocabulary, None if options["rules"] is None else _read_text_rules(vocabulary, options)
        return vocabulary.tokens, _read_text_rules(vocabulary, options)
    given, most = options["tokenizer"], options["max_tokens"]
    if Path(given).suffix in (".py", ".ipynb"):
        _refuse_tokenizer_file_of_code(Path(given))
    if options["vocabulary"] is not None:
        raise click.UsageError(
            f"{given} already contains a vocabulary, so --vocabulary cannot be given, too. Leave --vocabulary out."
        )
    found = read_tokenizer(given)
    if options["rules"] is not None:
        widths = parse_rules_json_with_name(options["rules"])[1]
        if most is not None and "max_tokens" in widths:
            raise click.UsageError(
                "--rules already states the largest number of tokens, so --max-tokens cannot be given, too. Leave "
                "--max-tokens out."
            )
        found = add_widths_to_tokenizer_rules(found, widths, given)
    if most is not None:
        file_rules = found.file_rules or found.rules
        found = replace(found, rules=replace(found.rules, max_tokens=most), file_rules=file_rules)
    return found.tokens, found


def _refuse_tokenizer_file_of_code(file: Path) -> None:
    """Raise an OptionCorrectionsError if --tokenizer is a file of code without the name of a function. The error names
    the functions in this file, or in files near it, that seem to split texts."""
    from pocketrnn_export.source_code.text_functions_in_file import list_text_functions

    found = [one.option for one in list_text_functions(file)]
    found = [one for one in found if one.startswith(f"{file}:")] or found
    raise OptionCorrectionsError(
        f"--tokenizer is {file}, a file of code, but it must also name a function in that file.",
        f"Name the function that splits a text: {', '.join(found) or f'{file}:NAME'}.",
        make_options_of_tokenizer_function(found[0]) if found else {"tokenizer": f"{file}:NAME"},
    )


def _read_vocabulary_or_word_vectors(options: dict[str, Any]) -> Vocabulary:
    """Read the vocabulary that --vocabulary names. If the file holds word vectors, take the ids of its words from the
    weights: each word has the id of the row that is equal to its vector."""
    from pocketrnn_export.source_code.code_and_data_files_near_module import is_written_by_export
    from pocketrnn_export.source_code.vocabulary_lines_in_code import read_vocabulary_lines_as_owners_code_does
    from pocketrnn_export.vocabularies.vocabulary import is_word_vector_file, read_vocabulary

    path, weights = options["vocabulary"], options["weights"]
    script = path.with_suffix(".py")
    if not path.exists() and is_written_by_export(script):
        made, run = path.with_suffix(".json"), f"Run python {script}, with the data of the training."
        changes = {} if made == path else {"vocabulary": str(made)}
        raise MissingOptionsError(f"There is no file {made} yet. The script {script} writes it.", run, changes)
    if weights is None or not is_word_vector_file(path):
        is_compared = options["pairs"] is not None
        evidence = make_id_evidence(weights, are_trusted=is_compared)
        found = read_vocabulary(path, evidence)
        _refuse_words_without_those_that_code_adds(found.tokens, options)
        rows = evidence.count_rows() if found.doubtful_lines else 0
        return read_vocabulary_lines_as_owners_code_does(
            found, path, find_file_of_source(options), rows, is_compared=is_compared
        )
    # These need PyTorch, which is loaded later where no word vectors are given.
    from pocketrnn_export.intake.weights_file import read_weights
    from pocketrnn_export.intake.word_vector_vocabulary import read_word_vector_vocabulary
    from pocketrnn_export.progress import hide_log_records

    # Its notes are logged where the module's weights are read.
    with hide_log_records():
        held = read_weights(weights)
    return read_word_vector_vocabulary(path, held)


def _read_text_rules(vocabulary: Vocabulary, options: dict[str, Any]) -> TextRules:
    """Return the text rules that --rules, --tokenizer and --max-tokens give. Members that none of them gives follow
    from the vocabulary."""
    from pocketrnn_export.vocabularies.text_rules_file import parse_rules_json_with_name, read_rules
    from pocketrnn_export.vocabularies.vocabulary import make_implied_rules

    if options["rules"] is None:
        return replace(
            make_implied_rules(vocabulary, options["tokenizer"] or "basic_english"), max_tokens=options["max_tokens"]
        )
    members = parse_rules_json_with_name(options["rules"])[1]
    beside: dict[str, Any] = {}
    if options["tokenizer"] and not _is_function_name(options["tokenizer"]):
        beside["tokenizer"] = options["tokenizer"]
    if options["max_tokens"]:
        beside["max_tokens"] = options["max_tokens"]
    if twice := [name for name in beside if members.get(name, beside[name]) != beside[name]]:
        option = f"--{twice[0].replace('_', '-')}"
        raise click.UsageError(
            f"--rules says that {twice[0]} is {json.dumps(members[twice[0]])}, but {option} says "
            f"{beside[twice[0]]}. Leave one of the two out."
        )
    if beside:
        return read_rules(json.dumps({**members, **beside}), vocabulary)
    return read_rules(options["rules"], vocabulary)


def _read_words(options: dict[str, Any]) -> tuple[Sequence[str], Sequence[tuple[str, int]]]:
    """Return a tuple (words, left out). The first has the words of the tokenizer or vocabulary that the options name,
    in the order of their ids; the second has pairs (word, id) of the words that the vocabulary leaves out. Both are
    empty if the file cannot be read."""
    from pocketrnn_export.vocabularies.subword_tokenizer_files import read_tokenizer
    from pocketrnn_export.vocabularies.vocabulary import read_vocabulary

    with contextlib.suppress(InputError):
        if options.get("tokenizer") is not None and Path(options["tokenizer"]).exists():
            return read_tokenizer(options["tokenizer"]).tokens, ()
    with contextlib.suppress(InputError):
        if options.get("vocabulary") is not None and Path(options["vocabulary"]).exists():
            evidence = make_id_evidence(options.get("weights"), are_trusted=options.get("pairs") is not None)
            found = read_vocabulary(options["vocabulary"], evidence)
            return found.tokens, found.left_out
    return (), ()


def _load_named_module_and_call(named: ModuleName, options: dict[str, Any]) -> tuple[Any, Any]:
    """Load the module that a Python file or notebook defines, with its weights. Return a tuple (module, call), where
    call is the function of the file that --call names, or None."""
    from pocketrnn_export.intake.checks_of_module_made_again import refuse_random_construction
    from pocketrnn_export.intake.missing_constructor_arguments import MissingArgumentsError
    from pocketrnn_export.intake.module_file import load_module_and_call_function, set_values_of_vocabulary_and_weights
    from pocketrnn_export.intake.weights_file import load_weights, read_weights
    from pocketrnn_export.source_code.class_definitions import find_class_meant_by_name
    from pocketrnn_export.source_code.needed_code import NeededNamesError

    weights = None if options["weights"] is None else read_weights(options["weights"])
    if options["call"] is not None and options["call"].isidentifier():
        named = replace(named, function=options["call"])
    try:
        with print_line_if_slow(f"Running the code of {named.path} ..."):
            while True:
                try:
                    module, function = load_module_and_call_function(named, weights)
                    break
                except (NeededNamesError, MissingArgumentsError) as error:
                    named = set_values_of_vocabulary_and_weights(named, error, *_read_words(options))
    except MissingArgumentsError as error:
        _refuse_weights_of_other_class(error, named, weights)
        refused = MissingOptionsError(error.problem, error.known, {"source": error.source})
        raise _propose_weights_in_error(refused, named, options) from None
    except InputError as error:
        meant = "" if isinstance(error, OptionCorrectionsError) else find_class_meant_by_name(named.path, named.name)
        if not meant:
            raise
        raise OptionCorrectionsError(error.problem, error.remedy, {"source": f"{named.path}:{meant}"}) from None
    if weights is not None:
        try:
            load_weights(module, weights)
        except InputError as error:
            _refuse_weights_of_other_class(error, named, weights, module)
            raise
    if not options["random_weights"]:
        with print_line_if_slow(f"Making {named.name} again, to see whether it contains random numbers ..."):
            try:
                refuse_random_construction(named, module, weights)
            except InputError as error:
                raise _propose_weights_in_error(error, named, options) from None
    if options["run_notebook"] is not None:
        from pocketrnn_export.intake.checks_of_module_made_again import refuse_other_answers_after_all_cells

        if not named.is_notebook:
            raise click.UsageError(
                f"--run-notebook runs all cells of a notebook, but {named.path} is not a notebook. Leave "
                "--run-notebook out."
            )
        refuse_other_answers_after_all_cells(named, module, weights, options["run_notebook"])
    return module, function


def _refuse_weights_of_other_class(
    error: InputError, named: ModuleName, weights: SavedWeights | None, module: Any = None
) -> None:
    """Raise an error with a correction for weights that do not fit the module. If they fit another class near the
    module, the correction names this class. If they belong to the module's own class, made with other arguments, the
    correction names the layers whose shapes differ and the code that makes these layers. Do nothing if neither class is
    found."""
    from pocketrnn_export.intake.layers_in_weights import describe_other_layers
    from pocketrnn_export.intake.weights_file import add_or_remove_prefix
    from pocketrnn_export.progress import hide_log_records
    from pocketrnn_export.source_code.class_definitions import describe_code_of_layers

    other = None if weights is None else propose_class_of_weights(named.path, named.name, weights.path)
    file, _, name = (other or f"{named.path}:{named.name}").rpartition(":")
    if weights is not None and type(module).__name__ == name:
        own = module.state_dict()
        with hide_log_records():
            differing = describe_other_layers(add_or_remove_prefix(weights, own), own)
        code = describe_code_of_layers(Path(file), name, {one.partition(".")[0] for one in differing})
        if differing:
            lines = [*list(differing.values())[:_FEW_WORDS], *code]
            raise InputError(error.problem, f"Make {name} as it was trained. {'. '.join(lines)}.") from None
    if weights is not None and other is not None:
        said = f"These are weights of {other}, which has the layers in {weights.path}."
        raise OptionCorrectionsError(error.problem, said, {"source": other}) from None


def _propose_weights_in_error(error: InputError, named: ModuleName, options: dict[str, Any]) -> InputError:
    """Return `error` with a proposal added: the file of weights that the user's code names. Return `error` unchanged if
    --weights is given or no such file is found."""
    is_open = options["weights"] is None and not options["random_weights"]
    found = propose_weights(named.path, named.name) if is_open else None
    if found is None:
        return error
    said = f"The weights seem to be {found.description}. --weights also uses the sizes that its tensors show."
    return MissingOptionsError(error.problem, said, {"weights": str(found.path)})
