"""`export`: write the bundle of a module."""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Unpack, overload

from torch import nn

from pocketrnn.bundle.atomic_writing import check_output_folder
from pocketrnn.bundle.crf import Crf
from pocketrnn.bundle.manifest import CLASSIFIER_JSON, Graph, Limits, Manifest, count_leading_negative_ids
from pocketrnn.bundle.names_from_paths import make_classifier_name
from pocketrnn.bundle.output_kinds import NO_PRIORS, HeadsOutput, LabelOutput, Output, TagOutput, ValueOutput
from pocketrnn.errors import ExportError, InputError, ParityError, PocketRNNError, first_line, short_repr
from pocketrnn.numbers.number_input import NumberInput
from pocketrnn.text import EXTERNAL, AnyTextRules, TextEncoder, TextRules
from pocketrnn.text.features_beside_text import Features, make_features
from pocketrnn.text.text_input import CharacterInput, FeatureInput, PairInput, TextInput
from pocketrnn.text.text_row_encoder import Text, Tokenizer
from pocketrnn.text.token_characters import Characters
from pocketrnn.verdicts import (
    LOGGER,
    TEXT_RULES,
    TextVerdict,
    describe_graph_proof,
    describe_uncompared_steps,
    read_text_verdict,
)
from pocketrnn_export.bundle_description import Description, LabelsOf, make_text_output, validate_labels, validate_name
from pocketrnn_export.bundle_proof import (
    ProofPlan,
    make_module_proof_cases,
    refuse_dependence_on_batch_calls_or_copy,
    select_texts_within_limits,
)
from pocketrnn_export.bundle_writer import GOLDEN_EXAMPLES, read_package_versions, write_bundle
from pocketrnn_export.comparing.proof_inputs import (
    MADE_TEXTS,
    choose_pairs_for_proof,
    choose_texts_for_proof,
    encode_each_text_as_case,
    make_texts_of_random_words,
)
from pocketrnn_export.crf_of_tagger import add_crf
from pocketrnn_export.diagnosis import export_without_faulty_rules
from pocketrnn_export.export_arguments import (
    AnyNumberArguments,
    CharactersGiven,
    CommonArguments,
    DescribedArguments,
    ExportOptions,
    FeaturesGiven,
    NumberArguments,
    OwnersPair,
    TextExportArguments,
    check_export_options,
    choose_texts_with_features,
    compare_characters_for_provenance,
    flatten_pairs,
    freeze_texts_with_features,
    make_heads_output,
    read_characters,
    refuse_arguments_with_heads,
    refuse_options_with_characters,
    refuse_options_with_features,
    refuse_options_with_two_texts,
    separate_characters_from_texts,
)
from pocketrnn_export.export_lock_and_exceptions import keep_module_and_convert_exceptions, run_one_export_on_one_core
from pocketrnn_export.forms.edge_profile_graph import EDGE
from pocketrnn_export.forms.form import Form, FormKind, log_uncompared_parts_and_make_provenance_entry
from pocketrnn_export.forms.onnx.integers_near_graph_constants import list_integers_near_constants
from pocketrnn_export.forms.onnx.onnx_form import ONNX
from pocketrnn_export.forms.onnx.word_and_character_inputs import replace_spelling_ids_by_word_and_character_inputs
from pocketrnn_export.forms.step_graph_that_continues_from_state import STEP
from pocketrnn_export.forms.torchscript_form import TORCHSCRIPT
from pocketrnn_export.intake.call_discovery.call_by_answers import find_calls_that_agree
from pocketrnn_export.intake.call_discovery.call_failures import AmbiguousCallError
from pocketrnn_export.intake.call_discovery.logits_or_probabilities import UnclearNumbersError
from pocketrnn_export.intake.compiled_call_line import Call
from pocketrnn_export.intake.ids_with_batch_dependent_answers import list_possible_padding_ids, select_answered_ids
from pocketrnn_export.intake.module_copy_with_call_and_logits import (
    ExportableModule,
    add_ids_that_need_own_batch,
    prepare_module,
)
from pocketrnn_export.intake.padding_effect import measure_padding_effect
from pocketrnn_export.module_check_by_owner_answers import (
    encode_text_or_tokens,
    list_modules_with_other_weights,
    refuse_module_with_other_answers,
)
from pocketrnn_export.module_runs.state_restoration import restore_random_state
from pocketrnn_export.numbers.number_arguments import (
    collect_number_arguments,
    refuse_arguments_that_input_and_output_contain,
    refuse_text_arguments_for_numbers_and_reverse,
)
from pocketrnn_export.numbers.number_export import export_number_module
from pocketrnn_export.progress import ABOUT_PADDING, AFTER_AN_ERROR, hide_log_records, show_progress
from pocketrnn_export.proof.case_selection import (
    find_text_widths,
    make_provenance_entry_of_compared_ids,
    make_provenance_entry_of_condition_sizes,
)
from pocketrnn_export.proof.ids_that_cases_must_contain import (
    find_ids_of_extreme_vectors,
    find_ids_that_program_compares_words_with,
)
from pocketrnn_export.proof.notes_on_values_equal_for_all_texts import write_notes_on_values_equal_for_all_texts
from pocketrnn_export.proof.proof_duration import describe_duration_of_long_work, estimate_proof_seconds
from pocketrnn_export.single_text_fallback import run_with_single_text_fallback
from pocketrnn_export.source_code.sigmoid_or_softmax_in_code import find_activations_in_code
from pocketrnn_export.source_code.text_settings_in_code import (
    find_uncompared_length_and_unknown_id,
    list_hints_on_text_rules_in_code,
)
from pocketrnn_export.tracing.sizes.size_question_log import UntraceableError
from pocketrnn_export.vocabularies.answer_distances import AnsweredText
from pocketrnn_export.vocabularies.doubtful_ids_refusal import warn_of_cut_that_no_text_shows
from pocketrnn_export.vocabularies.ids_or_counts import IdEvidence
from pocketrnn_export.vocabularies.owner_answer_comparison import list_labels_that_no_answer_names
from pocketrnn_export.vocabularies.owner_texts_and_answers import (
    Answer,
    OwnersText,
    convert_example_pairs,
    find_thresholds_of_two_labels,
    list_texts_with_ids,
    map_answers_to_labels,
    map_head_answers,
)
from pocketrnn_export.vocabularies.rules_from_function import list_compared_texts
from pocketrnn_export.vocabularies.spelled_word_ids import make_spellings_for_proof
from pocketrnn_export.vocabularies.text_rule_selection import choose_rules
from pocketrnn_export.vocabularies.text_to_id_arguments import TextArguments, read_text_arguments
from pocketrnn_export.vocabularies.texts_with_known_ids import collect_given_ids, make_random_texts_with_ids
from pocketrnn_export.vocabularies.tokenizer_json import Subwords
from pocketrnn_export.vocabularies.tokenizer_library_comparison import compare_with_library
from pocketrnn_export.vocabularies.vocabulary import VocabularySource

_log = logging.getLogger(__name__)
# The number of tokens of a text that repeats one id, to test whether the module takes that id for padding.
_FILLED: Final = 12
_USE_OF_EXAMPLES: Final = (
    ", which whoever has the bundle can read: --no-examples, in Python examples=False, leaves them out"
)
# A module of more numbers has a TorchScript copy that the last lines of an export name, of 0.5 MB.
_LARGE: Final = 125_000
# An embedding of so many times the rows of the vocabulary is another vocabulary's, or the file was read wrongly.
_FEW_WORDS: Final = 20


@overload
def export(
    module: nn.Module,
    path: str | Path,
    *,
    labels: Sequence[str] | None = None,
    heads: Mapping[str, Sequence[str] | LabelOutput] | None = None,
    labels_of: LabelsOf = "texts",
    two_texts: bool = False,
    features: FeaturesGiven | None = None,
    characters: CharactersGiven | None = None,
    crf: bool | Crf = True,
    vocabulary: VocabularySource | None = None,
    tokenizer: str | os.PathLike[str] | Tokenizer | None = None,
    rules: AnyTextRules | Subwords | Mapping[str, Any] | None = None,
    example_ids: Iterable[OwnersPair] = (),
    example_texts: Sequence[Text | tuple[str, str] | tuple[str, Mapping[str, Any]]] = (),
    torchscript: bool | None = None,
    edge: bool = False,
    **common: Unpack[CommonArguments],
) -> Manifest: ...
@overload
def export(
    module: nn.Module,
    path: str | Path,
    *,
    channels: Sequence[str] | int,
    labels: Sequence[str] | None = None,
    **numbers: Unpack[AnyNumberArguments],
) -> Manifest: ...
@overload
def export(
    module: nn.Module,
    path: str | Path,
    *,
    input: TextInput,
    output: LabelOutput | HeadsOutput | TagOutput,
    example_ids: Iterable[OwnersPair] = (),
    example_texts: Sequence[Text | tuple[str, str] | tuple[str, Mapping[str, Any]]] = (),
    torchscript: bool | None = None,
    edge: bool = False,
    **common: Unpack[DescribedArguments],
) -> Manifest: ...
@overload
def export(
    module: nn.Module,
    path: str | Path,
    *,
    input: NumberInput,
    output: Output,
    layout: str | None = None,
    sequences: Iterable[object] = (),
    **common: Unpack[DescribedArguments],
) -> Manifest: ...
def export(
    module: nn.Module,
    path: str | Path,
    *,
    input: TextInput | NumberInput | None = None,  # noqa: A002 - the field's name for it
    output: Output | None = None,
    labels: Sequence[str] | None = None,
    heads: Mapping[str, Sequence[str] | LabelOutput] | None = None,
    labels_of: LabelsOf = "texts",
    two_texts: bool = False,
    features: FeaturesGiven | None = None,
    characters: CharactersGiven | None = None,
    crf: bool | Crf = True,
    vocabulary: VocabularySource | None = None,
    tokenizer: str | os.PathLike[str] | Tokenizer | None = None,
    rules: AnyTextRules | Subwords | Mapping[str, Any] | None = None,
    channels: Sequence[str] | int | None = None,
    example_ids: Iterable[OwnersPair] = (),
    lengths: bool | None = None,
    call: str | Call | None = None,
    gives: str | None = None,
    one_text: bool = False,
    multi_label: bool = False,
    thresholds: Sequence[float] | None = None,
    example_texts: Sequence[Text | tuple[str, str] | tuple[str, Mapping[str, Any]]] = (),
    examples: bool = True,
    name: str | None = None,
    torchscript: bool | None = None,
    streaming: bool = False,
    edge: bool = False,
    tolerance: float | None = None,
    provenance: Mapping[str, object] | None = None,
    report: str | Path | None = None,
    force: bool = False,
    progress: bool = True,
    **numbers: Unpack[NumberArguments],
) -> Manifest:
    """Export a recurrent classifier of texts, or of sequences of numbers, as a bundle, and prove that the bundle gives
    the same answers.

    Long because every argument is described here; the work is in `prepare_module`, the forms and `write_bundle`.

    The module is not changed: a copy of it in float32, in eval mode, on the CPU is exported. `export` calls the module
    on small batches to find out how to call `forward` and how to read its output (docs/modules.md). It logs the result
    at the level INFO and keeps it in the bundle's provenance. If it cannot find out, give `call`.

    Args:
        module: the classifier; nn.RNN, nn.LSTM and nn.GRU in it are exported with dynamic batch and sequence length,
            packed or not.
        path: the folder to write.
        input: the description of the module's input, `TextInput` or `NumberInput`; in short form by `vocabulary`,
            `tokenizer` and `rules`, or by `channels` and `numbers`.
        output: the description of the module's output, `LabelOutput`, `HeadsOutput`, `TagOutput` or `ValueOutput`; in
            short form by `labels`, `heads`, `labels_of`, `multi_label` and `thresholds`, or by `values` and
            `value_units`.
        labels: the classes, in the order of the logits. Always needed, but for `heads`, and for a module of numbers
            that gives values.
        heads: in place of `labels`, for a module with several outputs for one text: a map from each output's name to
            its labels, such as {"topic": ["oil", "cup"], "mood": ["bad", "good"]}, or to a `LabelOutput` with its own
            activation and thresholds (docs/heads.md).
        labels_of: `texts`; or `tokens` for a module that gives logits for each token, as a tagger does: [batch,
            sequence, labels], also with the sequence first or flattened (docs/tags.md).
        two_texts: whether forward takes two texts, such as a premise and a hypothesis, with or without the lengths of
            each (docs/pairs.md). A pair is then given in the order of forward's inputs; the rules apply to both texts.
        features: the numbers and categories that forward takes beside one text (docs/features.md): a list of names of
            numbers, or a map from names to `Number(mean, scale)`, or to a category: the list of its values, a map value
            -> id, or `Category(values, unknown=id)`.
        characters: needed if forward also takes the characters of each word, for labels of tokens (docs/tags.md):
            `Characters(vocabulary, width=...)`, or its vocabulary: a list, a map character -> id, or a file.
        crf: whether the CRF of a tagger decodes its labels, or a `Crf` with the numbers of the CRF. With False, each
            token has its likeliest label.
        vocabulary: the tokens in the order of their ids; a token -> id map; a torchtext Vocab, or the path of a file
            that holds one of these. None if the tokenizer contains it.
        tokenizer: if `rules` is None: `basic_english` (the default, which is logged), `whitespace`, `characters` or
            `external`. Or your own function, text -> tokens. `rules`, or else the first of the three built-in
            tokenizers that agrees with the function, must then give the same ids on all example texts. If the rules'
            tokenizer is `external`, the bundle takes tokens or ids, and the function, text -> tokens or ids, is only
            used for the texts of the proof. Or a subword tokenizer: the path of a tokenizer.json, or anything else that
            `read_tokenizer` takes.
        rules: all text rules, if your pipeline does more than split texts: cleans them, drops stop words, puts "<sos>"
            and "<eos>" around them, pads them to one width (docs/text-rules.md). By default, they follow from the
            vocabulary: its default index, or else its "<unk>", stands for unknown words, and its "<pad>" is the
            padding. Without a default index and an "<unk>", unknown words are dropped. Or the result of
            `read_tokenizer`, which is compared with the library that wrote the file, if that library is installed and
            there are no pairs. For a subword tokenizer, a dict of widths that its file does not state: `{"min_width":
            200, "max_width": 200}`.
        example_ids: pairs (text, ids) of your own pipeline, unpadded; or (text, ids, answer) with your classifier's
            answer: a label, a list of labels, the probabilities of all labels, or a map label -> probability. The rules
            must give these ids, and the bundle these answers, probabilities within 0.001. Give tokens in place of ids
            if the tokenizer is `external`; the ids may be None if there is an answer. With `characters`, (text, ids,
            the ids of the characters of each token).
        lengths: whether forward takes lengths; by default `export` finds out.
        call: how the module is called, if `export` cannot find out: a line of Python, such as `"module(tokens.t(),
            lengths)[0]"`, or a function of (module, tokens int64 [batch, sequence], lengths int64 [batch]), that gives
            [batch, classes]. With `two_texts` a line over `first`, `second`, `first_lengths` and `second_lengths`, or a
            function of the module and these. With `features` the line may have their names, and a function has a dict
            of them as fourth argument; with `characters` the line may have `characters` int64 [batch, sequence, width],
            which is then the function's fourth argument.
        gives: whether the module gives `logits` or `probabilities`; by default its numbers decide (docs/modules.md).
            The conclusion is logged, and kept in the bundle's provenance.
        one_text: whether to run the module on one text at a time, even if it takes a batch: for a module that mixes the
            texts of a batch. The bundle answers text by text, which is slower for many.
        multi_label: whether a text can have any number of the labels. Probabilities are then a sigmoid of each logit,
            not a softmax of all.
        thresholds: for each label, the lowest probability with which it is predicted, for example chosen by validation.
            The bundle keeps them, and `predict_labels` and `pocketrnn classify` use them. With one label a text, the
            likeliest label is predicted if it reaches its threshold, else none; of two labels whose thresholds differ
            and add up to 1, the one that reaches its threshold. By default, answers in `example_ids` with labels beside
            probabilities decide about these two.
        example_texts: real texts for the proof. If the tokenizer is `external` and not a function, lists of tokens;
            with `two_texts`, tuples of two texts; with `features`, tuples of a text and a dict. The first of them
            become golden examples. Without any, `export` makes texts of the vocabulary's words.
        examples: whether your texts become golden examples, which everybody who has the bundle can read. With False,
            your texts are used only for the proof, and the golden examples are made of the vocabulary's words.
        name: the classifier's name; by default the folder's name, without an ending such as `.bundle`.
        torchscript: whether to write a TorchScript copy; by default one is written if it can be proven, since tracing
            freezes each condition on a size in forward.
        streaming: whether to also write a step graph, which answers while a text arrives, and holds the weights a
            second time. Only for one-directional classifiers that `pocketrnn train` made.
        edge: whether to write a graph for small engines: one text a run, no lengths, no If, Loop or Scan, the lowest
            opset that its operators allow. It is also proven with the engine tract. The bundle then has neither a
            TorchScript copy nor a step graph.
        tolerance: the largest difference of two logits that passes, with equal labels; by default an answer passes if
            it is as near to the exact one as the module's own rounding allows (docs/proof.md).
        provenance: the origin of the classifier: data, metrics, licence. Versions are added.
        report: a JSON file for the results of every single case of the proof, which is also written if the proof fails.
        force: whether to replace a bundle at `path`.
        progress: whether to print progress on standard error, after the first two seconds. If your program has set up
            logging, its handlers get these lines instead, at the level INFO.
        channels: for a module that takes sequences of numbers and not texts, the names of the channels, or their
            number. The module is called, traced and proven on random numbers (docs/numbers.md).
        numbers: the members of `NumberInput` beside the channels (mean, scale, window and others), and those of
            `NumberArguments`: values, scaler, layout, sequences. If no training range is given, but four or more
            sequences are, the bundle keeps the range of these.

    Returns:
        the manifest that was written to classifier.json, with the proof.

    Raises:
        InputError: an argument is unusable; the rules give other ids than `example_ids` or your tokenizer; or these ids
            suggest that your pipeline does more than the rules. The message has the first difference.
        OutputError: `path` exists, and `force` is not set.
        ExportError: the module cannot be traced, is not reproducible or does not take a batch.
        ParityError: PyTorch, TorchScript, ONNX and the runtime do not agree, or the bundle gives other answers than
            example_ids. Nothing was written.

    Example:
        >>> manifest = export(module, "news", labels=["World", "Sports"], vocabulary=["<unk>", "<pad>", "oil", "game"])
        >>> manifest.labels
        ('World', 'Sports')
    """
    path = Path(path)
    if input is not None or output is not None:
        beside_input = {"labels": labels, "vocabulary": vocabulary, "tokenizer": tokenizer, "rules": rules,
                   "channels": channels, "multi_label": multi_label, "thresholds": thresholds, "heads": heads,
                   "labels_of": None if labels_of == "texts" else labels_of, "two_texts": two_texts or None,
                   "features": features, "characters": characters, **numbers}  # fmt: skip
        refuse_arguments_that_input_and_output_contain(beside_input, input, output)
    if isinstance(input, TextInput):
        rules, vocabulary, two_texts = input.rules, input.vocabulary, input.pairs
        features, characters = dict(input.features) or None, input.characters
    priors = NO_PRIORS if output is None else output.priors
    if isinstance(output, LabelOutput):
        labels, thresholds = output.labels, output.thresholds
        multi_label = output.activation == "sigmoid"
    if isinstance(output, TagOutput):
        labels, labels_of, crf = output.labels, "tokens", output.crf or crf
    heads = output.heads if isinstance(output, HeadsOutput) else heads
    name = name if name is not None else make_classifier_name(path)
    wanted = ExportOptions(lengths, call, gives, one_text, examples, streaming, tolerance, report, crf, two_texts)
    if isinstance(input, NumberInput) or channels is not None or numbers:
        of_texts = {"vocabulary": vocabulary, "tokenizer": tokenizer, "rules": rules, "example_ids": example_ids,
                    "example_texts": example_texts, "torchscript": torchscript, "edge": edge,
                    "labels_of": None if labels_of == "texts" else labels_of, "crf": not crf,
                    "two_texts": two_texts or None, "heads": heads, "features": features,
                    "characters": characters}  # fmt: skip
        stated = input if isinstance(input, NumberInput) else None
        refuse_text_arguments_for_numbers_and_reverse(
            of_texts, channels if stated is None else stated.channels, numbers
        )
        if isinstance(output, ValueOutput):
            numbers |= {"values": output.names, "value_units": output.units}
        check_output_folder(path, force=force, marker_file=CLASSIFIER_JSON)
        known = collect_number_arguments(
            name, wanted, provenance, given=stated, channels=channels, labels=labels, multi_label=multi_label,
            thresholds=thresholds, priors=priors, **numbers,
        )  # fmt: skip
        check_export_options(wanted)
        with _prepare_process(module, progress=progress):
            return export_without_faulty_rules(lambda: export_number_module(module, path, known, force=force))
    if isinstance(output, ValueOutput):
        raise InputError(
            "The argument `output` is a ValueOutput, but a classifier of texts gives labels.",
            "Give output=LabelOutput(...).",
        )
    given = TextExportArguments(
        name, vocabulary, tokenizer, rules, labels, heads, labels_of, priors, thresholds, example_ids, example_texts,
        features, characters, torchscript, provenance, multi_label=multi_label, edge=edge,
    )  # fmt: skip
    return _export_text_classifier(module, path, given, wanted, force=force, progress=progress)


@contextlib.contextmanager
def _prepare_process(module: nn.Module, *, progress: bool) -> Iterator[None]:
    """While the block runs, make other exports wait, use one core, and show progress. At its end, restore the module
    and the random state. An exception that is not pocketrnn's own becomes an ExportError."""
    with (
        run_one_export_on_one_core(),
        show_progress(progress),
        restore_random_state(),
        keep_module_and_convert_exceptions(module),
    ):
        yield


def _export_text_classifier(
    module: nn.Module, path: Path, given: TextExportArguments, options: ExportOptions, *, force: bool, progress: bool
) -> Manifest:
    """Export a classifier of texts: read the arguments, describe the bundle, choose the texts of the proof, and make
    and prove the bundle."""
    labels, heads = _find_labels_and_heads(given, options)
    check_output_folder(path, force=force, marker_file=CLASSIFIER_JSON)
    characters = None if given.characters is None else read_characters(given.characters)
    excluded = {"streaming": options.streaming, "edge": given.edge, "torchscript": given.torchscript is True}
    example_ids, owners_characters = given.example_ids, list[tuple[str, Any]]()
    if characters is not None:
        refuse_options_with_characters(
            of_tokens=given.labels_of == "tokens", two_texts=options.two_texts, heads=heads is not None,
            features=given.features is not None, one_text=options.one_text, **excluded,
        )  # fmt: skip
        example_ids, owners_characters = separate_characters_from_texts(example_ids)
    pairs = convert_example_pairs(example_ids)
    text = read_text_arguments(given.vocabulary, given.tokenizer, given.rules, _make_id_evidence(module, pairs))
    answers, given = _map_answers_and_keep_thresholds(pairs, labels, heads, given)
    features = () if given.features is None else make_features(given.features)
    if features and options.two_texts:
        raise InputError("A module cannot take both `features` and `two_texts`.", "Leave out one of these arguments.")
    shown: Any = freeze_texts_with_features(given.example_texts, features) if features else given.example_texts
    each_text = flatten_pairs(shown) if options.two_texts else [text for text, _ in shown] if features else shown
    tried = [*each_text, *(one.text for one in pairs if one.ids is None)]
    rules = choose_rules(text.vocabulary, text.rules, text.tokenizer, list_texts_with_ids(pairs), tried, answers)
    description = Description(
        validate_name(given.name),
        _make_text_input(rules, text.vocabulary.tokens, features, characters, two_texts=options.two_texts),
        heads or make_text_output(labels, given.labels_of, given.thresholds, given.priors,
                                  multi_label=given.multi_label),
        {**(given.provenance or {}), "versions": read_package_versions()},
    )  # fmt: skip
    description = _add_comparison_of_texts(description, text, pairs, each_text)
    if characters is not None:
        description = _add_comparison_of_characters(description, characters, owners_characters)
    check_export_options(options)
    _refuse_options_with_token_labels(description, pairs, streaming=options.streaming, edge=given.edge)
    if options.two_texts:
        refuse_options_with_two_texts(description, pairs, **excluded)
    elif features:
        refuse_options_with_features(description, pairs, **excluded)
    copied = given.torchscript if not (characters or features or options.two_texts) else False
    kinds = _choose_form_kinds(module, rules, torchscript=copied, streaming=options.streaming, edge=given.edge)
    chosen = _choose_proof_texts(description, text.tokenizer, pairs, shown, examples=options.examples)
    description, users, texts = chosen
    if characters is not None:
        description = replace(description, spellings=make_spellings_for_proof(description.text, characters, texts))
    _warn_of_labels_of_unknown_order(description, _make_answered_texts(description, answers))
    make = functools.partial(
        _export_text_module, module, path, description, options, kinds, users, texts, _mark_empty_texts(answers, text),
        ids_compared=bool(pairs) or getattr(text.tokenizer, "has_own_ids", False), force=force,
    )  # fmt: skip
    with _prepare_process(module, progress=progress):
        _warn_of_small_vocabulary(module, text.vocabulary.tokens)
        manifest = export_without_faulty_rules(make)
    _log_verdicts(manifest, _list_hints_from_owners_code(module, rules, text, pairs, manifest))
    return manifest


def _map_answers_and_keep_thresholds(
    pairs: Sequence[OwnersText], labels: Sequence[str], heads: HeadsOutput | None, given: TextExportArguments
) -> tuple[list[Any], TextExportArguments]:
    """Return the texts with the owner's answers to them, mapped to labels, and the arguments. If the answers show other
    thresholds than 0.5, by which the owner's classifier decides between two labels, the arguments have these, and a
    warning says so; otherwise, the arguments are unchanged. Given thresholds stay."""
    if heads is not None:
        return map_head_answers(pairs, heads.heads), given
    answers = map_answers_to_labels(pairs, validate_labels(labels), multi_label=given.multi_label)
    if given.thresholds is not None or given.multi_label or given.labels_of == "tokens":
        return answers, given
    if (found := find_thresholds_of_two_labels(answers, labels)) is None:
        return answers, given
    _log.warning(
        "Your classifier gives %s from a probability of %g on, not from 0.5. So the bundle keeps the thresholds %g,%g "
        "(--thresholds, thresholds=[...]): classify and predict_labels() give your labels, and predict() the likelier "
        "label",
        short_repr(labels[1], 40), found[1], *found,
    )  # fmt: skip
    return answers, replace(given, thresholds=found)


def _find_labels_and_heads(
    given: TextExportArguments, options: ExportOptions
) -> tuple[Sequence[str], HeadsOutput | None]:
    """Return a tuple (labels, output of the heads). If the module has several heads, the labels are those of all heads;
    otherwise, the output of the heads is None. Raise an InputError if neither `labels` nor `heads` is given."""
    if given.heads is not None:
        heads = make_heads_output(given.heads, multi_label=given.multi_label)
        refuse_arguments_with_heads(
            labels=given.labels, labels_of=given.labels_of, thresholds=given.thresholds,
            two_texts=options.two_texts, streaming=options.streaming,
        )  # fmt: skip
        return heads.labels, heads
    if given.labels is None:
        raise InputError(
            "Neither `labels` nor `heads` is given.",
            "Give the classes in the order of the logits: labels=[...]. For a module with several heads, give the "
            "classes of each head: heads={...}.",
        )
    return given.labels, None


def _add_comparison_of_texts(
    description: Description, text: TextArguments, pairs: Sequence[OwnersText], texts: Sequence[Text]
) -> Description:
    """Return the description with the verdict on the text rules in its provenance. The verdict says what the rules were
    compared with."""
    _refuse_tokens_without_ids_or_answer(description.text.rules, pairs)
    verdict = _make_verdict_on_text_rules(description, text, pairs, texts)
    if text.tokenizer is None:
        warn_of_cut_that_no_text_shows(description.text.rules, text.vocabulary.tokens, [one.text for one in pairs])
    return description.add_provenance({TEXT_RULES: verdict.document})


def _add_comparison_of_characters(
    description: Description, characters: Characters, owners_characters: Sequence[Any]
) -> Description:
    """Compare the ids of the characters of words with those that the user gives. Return the description with the number
    of compared texts in its provenance. Log a warning if there is no text to compare."""
    said = compare_characters_for_provenance(description.text, characters, owners_characters)
    if not owners_characters:
        _log.warning(
            "The characters of words were not compared with the owner's pipeline. Give example_ids=[(text, ids, "
            "characters), ...], with the ids of the characters of each token"
        )
    return description.add_provenance({"characters": said})


def _list_hints_from_owners_code(
    module: nn.Module, rules: AnyTextRules, text: TextArguments, pairs: Sequence[OwnersText], manifest: Manifest
) -> list[str]:
    """Return a sentence of advice for each setting of texts or answers that is in the code of the module or of the
    tokenizer, but neither in the arguments nor in `pairs`. Return an empty list for a classifier that pocketrnn
    trained."""
    if read_text_verdict(manifest).kind == "trained":
        return []
    paths = []
    for one in (type(module), getattr(text.tokenizer, "function", None)):
        # A class that a cell or an `exec` has made has no file.
        with contextlib.suppress(TypeError, OSError):
            paths.append(Path(inspect.getsourcefile(inspect.unwrap(one)) or ""))  # type: ignore[arg-type]
    # The code of a package says nothing of the owner's pipeline.
    own = [path for path in paths if path.is_file() and "site-packages" not in path.parts]
    longest, unknown_id = find_uncompared_length_and_unknown_id(rules, text.vocabulary.tokens, pairs, text.tokenizer)
    answered = any(one.answer is not None for one in pairs)
    # The sigmoid of one number is the softmax of its two labels.
    is_open = not (answered or manifest.output.of_tokens or manifest.heads or manifest.provenance.get("one_number"))
    hints = list_hints_on_text_rules_in_code(own, longest=longest, unknown_id=unknown_id)
    multi_label = manifest.output.activation == "sigmoid"
    return [*hints, *(find_activations_in_code(own).list_hints(multi_label=multi_label) if is_open else [])]


def _make_text_input(
    rules: AnyTextRules,
    vocabulary: tuple[str, ...],
    features: Features,
    characters: Characters | None,
    *,
    two_texts: bool,
) -> TextInput:
    """Make the description of the input of a classifier: one text, two texts, a text with features, or a text with the
    characters of its words."""
    if characters is not None:
        return CharacterInput(rules, vocabulary, characters)
    if features:
        return FeatureInput(rules, vocabulary, features)
    return (PairInput if two_texts else TextInput)(rules, vocabulary)


def _export_text_module(
    module: nn.Module,
    path: Path,
    description: Description,
    options: ExportOptions,
    kinds: Sequence[FormKind],
    users_texts: Sequence[Any],
    proof_texts: Sequence[Any],
    answers: Sequence[tuple[OwnersText, Answer]],
    *,
    ids_compared: bool,
    force: bool,
) -> Manifest:
    """Export a module of texts as a bundle. If several ways to call the module give different answers, the user's
    answers decide.

    Args:
        kinds: the forms to make, such as an ONNX graph and a TorchScript copy.
        proof_texts: all texts of the proof.
        answers: texts with the answers of the user's classifier.
        ids_compared: whether the user gave texts with their ids or answers.
        force: whether to replace a bundle at `path`.
    """
    answered = _make_answered_texts(description, answers)
    prepared, forms = _prepare_by_answers(module, kinds, description, options, answered)
    inputs = _find_graph_and_condition_sizes(forms)[0].inputs
    if description.spellings is not None:
        words = replace(description, spellings=None).token_id_count
        forms = replace_spelling_ids_by_word_and_character_inputs(forms, description.spellings, words)
    description, labels_of_owner = add_crf(prepared, description, crf_option=options.crf)
    shown = "given texts" if users_texts and options.examples else "made of words of the vocabulary"
    description = description.add_provenance({**prepared.convention.provenance, "golden_examples": shown})
    graph, bounds = _find_graph_and_condition_sizes(forms)
    program = next((form.program for form in forms if form.program is not None), None)
    phrase = () if program is None else find_ids_that_program_compares_words_with(program, graph.embedding_rows)
    description = description.add_provenance(
        {**make_provenance_entry_of_condition_sizes(bounds), **make_provenance_entry_of_compared_ids(phrase)}
    )
    _warn_of_extra_embedding_rows(graph, description, ids_compared=ids_compared)
    private = frozenset(() if options.examples else users_texts)
    proof_texts = _choose_proof_texts_within_limits(graph.limits, proof_texts, description, private)
    description = _log_and_note_padding_effect(prepared, graph, description, proof_texts)
    refuse_dependence_on_batch_calls_or_copy(prepared, graph.limits, bounds, _list_integers_near_graph_constants(forms))
    cases = make_module_proof_cases(
        prepared,
        description.text.rules,
        graph,
        condition_sizes=bounds,
        extreme_ids=find_ids_of_extreme_vectors(prepared.module, description.token_id_count),
        possible_padding_ids=_find_possible_padding_ids_with_answer(prepared),
        compared_ids=phrase,
    )
    every = {**cases, "texts": encode_each_text_as_case(proof_texts, description.encoder())}
    closed = write_notes_on_values_equal_for_all_texts(program, every, inputs, one_row=graph.batch == 1)
    description = description.add_provenance(log_uncompared_parts_and_make_provenance_entry(forms, closed))
    plan = ProofPlan.from_module(
        prepared, cases, proof_texts, private=private, tolerance=options.tolerance, report=options.report,
        answered=answered, labels=labels_of_owner, spellings=description.spellings,
    )  # fmt: skip
    runs = [run for form in forms for run in form.runs.values()]
    seconds = estimate_proof_seconds(plan.reference, every, runs, rows_alone=plan.rows_alone)
    how_long = describe_duration_of_long_work(seconds)
    if how_long and users_texts and options.examples:
        # The last lines say so too late for a proof of minutes.
        _log.info("Up to %d of your texts become golden examples%s", GOLDEN_EXAMPLES, _USE_OF_EXAMPLES)
    _log.info("Proving all forms, and the runtime on texts, equal to PyTorch%s", how_long)
    return write_bundle(path, description, forms, plan, force=force)


def _prepare_by_answers(
    module: nn.Module,
    kinds: Sequence[FormKind],
    description: Description,
    options: ExportOptions,
    answered: Sequence[AnsweredText],
) -> tuple[ExportableModule, list[Form]]:
    """Prepare the module, compare its answers with the user's, and make its forms, such as an ONNX graph. Return the
    prepared module and the forms.

    If several calls of the module are possible, or if it is unclear what its outputs mean, the user's answers decide.
    """
    prepare = _bind_arguments_of_prepare_module(module, description, options)
    compare = functools.partial(
        refuse_module_with_other_answers, description=description, answered=answered,
        prepare_others=functools.partial(_prepare_with_other_weights, description, options),
    )  # fmt: skip

    def make(**changes: str) -> tuple[ExportableModule, list[Form]]:
        changed = functools.partial(prepare, **changes)
        return _prepare_module_and_forms(changed, kinds, description, compare, one_text=options.one_text)

    try:
        return make()
    except AmbiguousCallError as error:
        return make(call=_choose_call_by_answers(module, description, error, answered))
    except UnclearNumbersError as error:
        return _choose_meaning_of_outputs_by_answers(make, error, answered)


def _prepare_with_other_weights(
    description: Description, options: ExportOptions, prepared: ExportableModule
) -> Iterator[tuple[str, ExportableModule]]:
    """Yield pairs (file, prepared module), one for each file of weights that may be tried in place of the given one.
    The module has the weights of that file and is called in the same way as `prepared`."""
    call = prepared.convention.line if options.call is None else options.call
    for name, module in list_modules_with_other_weights():
        prepare = _bind_arguments_of_prepare_module(module, description, replace(options, call=call))
        other = None
        with contextlib.suppress(PocketRNNError), hide_log_records():
            other = prepare(one_text=prepared.one_text)
        if other is not None:
            yield name, other


def _choose_call_by_answers(
    module: nn.Module,
    description: Description,
    error: AmbiguousCallError,
    answered: Sequence[AnsweredText],
) -> str:
    """Among the calls in `error`, lines of Python that call the module, return the only one that gives the user's
    answers. Raise an AmbiguousCallError if no line or several lines give them, or if no answer can be compared."""
    text, output = description.text, description.output
    if output.of_tokens or text.pairs or text.features or description.spellings is not None:
        raise error
    encoder = description.encoder()
    every = [(encode_text_or_tokens(encoder, one.read), one.answer) for one in answered if not one.head]
    rows = [(ids, answer) for ids, answer in every if ids]
    if not rows:
        raise error
    agreeing = find_calls_that_agree(
        module, error.calls, rows, output.labels, multi_label=output.activation == "sigmoid"
    )
    if len(agreeing) == 1:
        _log.warning(
            'The module can be called in %d ways that give different answers. "%s" is used: it alone gives your '
            "classifier's answer to every text with an answer (%d).", len(error.calls), agreeing[0], len(rows),
        )  # fmt: skip
        return agreeing[0]
    remedy = error.remedy.partition(" Or let the answers")[0]
    if not agreeing:
        said = "None of them gives your classifier's answer to every text with an answer."
        remedy += " Or correct the text rules, the vocabulary, the weights or the labels."
    elif error.deciding_id is None or any(error.deciding_id in ids for ids, _ in rows):
        said = f"{len(agreeing)} of them give your classifier's answer to every text with an answer."
    else:
        said = "None of your texts with an answer holds that id."
    raise AmbiguousCallError(f"{error.problem} {said}", remedy) from None


def _choose_meaning_of_outputs_by_answers(
    make: Callable[..., tuple[ExportableModule, list[Form]]],
    error: UnclearNumbersError,
    answered: Sequence[AnsweredText],
) -> tuple[ExportableModule, list[Form]]:
    """Find out by the user's answers whether the module's outputs are logits, probabilities or something else. Return
    the prepared module and its forms.

    Args:
        make: prepares the module for a given meaning of its outputs, makes the forms, and raises an error if the
            answers differ from the user's.
        error: the error to raise if the answers do not decide.
    """
    probabilities = [one.answer for one in answered if isinstance(one.answer, Mapping)]
    told = {label for one in answered if not isinstance(one.answer, Mapping) for label in one.answer}
    if not probabilities and not (error.labels_decide and len(told) > 1):
        raise error
    made, refusals = [], []
    for gives in error.choices:
        try:
            made.append((gives, *make(gives=gives)))
        except ParityError as refusal:
            refusals.append(refusal)
    if not made:
        raise refusals[0]
    if len(made) > 1:
        raise error
    gives, prepared, forms = made[0]
    _log.warning("%s Your classifier's answers show that they are %s.", error.problem, gives)
    return prepared, forms


class _ProofTexts(NamedTuple):
    """The texts of a proof.

    Attributes:
        description: the description of the bundle. If the user's own code splits texts, it has the ids of the texts.
        users: the user's texts.
        every: all texts of the proof: the user's and generated ones.
    """

    description: Description
    users: Sequence[Any]
    every: list[Any]


def _choose_proof_texts(
    description: Description,
    tokenizer: str | Tokenizer | None,
    pairs: Sequence[OwnersText],
    example_texts: Sequence[Any],
    *,
    examples: bool,
) -> _ProofTexts:
    """Choose the texts of the proof: the user's texts and generated texts. If the user's own code splits texts, add the
    ids of the chosen texts to the description."""
    rules, vocabulary = description.text.rules, description.text.vocabulary
    if description.text.pairs:
        given_pairs = [tuple(pair) for pair in example_texts]
        every_pair = choose_pairs_for_proof(given_pairs, vocabulary, rules, made_too=not examples)
        return _ProofTexts(description, given_pairs, every_pair)
    if description.text.features:
        texts_beside = choose_texts_with_features(example_texts, description, made_too=not examples)
        return _ProofTexts(description, list(example_texts), texts_beside)
    if rules.tokenizer != EXTERNAL:
        texts: Any = example_texts or [one.text for one in pairs]
        every_text = choose_texts_for_proof(texts, vocabulary, rules, made_too=not examples)
        return _ProofTexts(description, texts, every_text)
    function = tokenizer if callable(tokenizer) else None
    given = collect_given_ids(
        rules, vocabulary, rows=description.token_id_count, tokenizer=function, pairs=pairs, texts=example_texts
    )
    made = make_random_texts_with_ids(rules, vocabulary, () if given and examples else MADE_TEXTS)
    known = {**given, **made, **given} if examples else {**made, **given}
    if function is not None and examples and given and not any(one.tokens for one in pairs):
        # The runtime compares the function that is given when the bundle is loaded.
        description = description.add_provenance({"examples_split_by": "function"})
    return _ProofTexts(replace(description, known=known), list(given), list(known))


def _refuse_tokens_without_ids_or_answer(rules: AnyTextRules, pairs: Sequence[OwnersText]) -> None:
    """Raise an InputError if the rules split texts, but `example_ids` has a text with its tokens and without ids or an
    answer. Nothing would be compared for this text."""
    for one in pairs if rules.tokenizer != EXTERNAL else ():
        if one.tokens and one.ids is None and one.answer is None:
            raise InputError(
                f"`example_ids` has tokens for {short_repr(one.text, 40)}, but neither ids nor an answer. Tokens "
                "can be compared only if your own code splits texts, but these rules split texts by the tokenizer "
                f"{rules.tokenizer}.",
                "Give the ids of the text, or your classifier's answer to it.",
            )


def _mark_empty_texts(
    answers: Sequence[tuple[OwnersText, Answer]], text: TextArguments
) -> list[tuple[OwnersText, Answer]]:
    """Return the texts with the user's answers. If the user's function splits texts in place of text rules, give each
    text in which this function finds no token an empty list of tokens."""
    function = text.tokenizer
    if not callable(function) or text.rules is None or text.rules.tokenizer != EXTERNAL:
        return [*answers]
    open_ones = [one.ids is None and one.tokens is None and isinstance(one.text, str) for one, _ in answers]
    return [
        (replace(one, tokens=[]) if is_open and not [*function(one.text)] else one, answer)
        for (one, answer), is_open in zip(answers, open_ones, strict=True)
    ]


def _make_answered_texts(description: Description, answers: Sequence[tuple[OwnersText, Answer]]) -> list[AnsweredText]:
    """Return an `AnsweredText` for each text that the user's classifier answered. Texts without ids are included, since
    the user's code may answer them without calling the module."""
    external = description.text.rules.tokenizer == EXTERNAL
    found = {}
    for one, answer in answers:
        if external:
            is_empty = one.ids is not None or one.tokens is not None
            read: Text = one.tokens or one.ids or ([] if is_empty else description.known[one.text])
        else:
            read = one.text
        # One probability beside a label is that of this label.
        is_of_label = one.label is not None and len(answer) == 1
        names = isinstance(one.answer, Mapping) or not isinstance(answer, Mapping) or is_of_label
        given = [] if one.label is None else one.label if isinstance(one.label, list | tuple) else [one.label]
        label = None if one.label is None else tuple(map(str, given))
        answered = AnsweredText(one.text, read, answer, one.ids is not None, names, one.head, label)
        # A text that is given twice is compared once, as it counts once among the texts whose ids are compared.
        found[repr((one.text, read, answer, one.head))] = answered
    return [*found.values()]


def _warn_of_labels_of_unknown_order(description: Description, answered: Sequence[AnsweredText]) -> None:
    """Log a warning with the names of those labels whose order cannot be checked by the user's answers."""
    output = description.output
    heads = output.heads if isinstance(output, HeadsOutput) else {"": output}
    for head, of_head in heads.items():
        some = [one for one in answered if one.head == head]
        if some and (untold := list_labels_that_no_answer_names(some, of_head.labels)):
            named = ", ".join(short_repr(label, 40) for label in untold[:6]) + ", ..." * (len(untold) > 6)
            are_named = any(one.names for one in some)
            _log.warning(
                "The answers to your texts %s, so they cannot show the order of %s. Give the probability of each label "
                'by its name, {"%s": 0.9, ...}%s',
                "name none of these labels" if are_named else "are lists without names",
                named, untold[0], "" if are_named else ", or the label beside the list",
            )  # fmt: skip


def _make_verdict_on_text_rules(
    description: Description, text: TextArguments, pairs: Sequence[OwnersText], texts: Sequence[Text]
) -> TextVerdict:
    """Return the verdict on the text rules: what they were compared with, and on how many texts. It does not include
    the comparison with the user's answers, which comes later."""
    tokenizer, read = text.tokenizer, text.subwords
    external = description.text.rules.tokenizer == EXTERNAL
    # The module has no answer to a text without an id.
    compared = {one.text for one in pairs if one.ids and (one.tokens or callable(tokenizer) or not external)}
    if compared:
        shown_too = _may_texts_have_unknown_words(description, text, pairs)
        return TextVerdict("compared", len(compared), "ids", unknown_words=shown_too)
    if callable(tokenizer) and not external:
        given = list_compared_texts(tokenizer, text.vocabulary, [*map(str, texts), *(one.text for one in pairs)])
        if getattr(tokenizer, "gives_ids", False):
            shown_too = _may_texts_have_unknown_words(description, text, [OwnersText(one) for one in given])
            return TextVerdict("compared", len(given), "ids", unknown_words=shown_too)
        shown_too = _may_texts_have_unknown_words(description, text, [one for one in pairs if one.answer is not None])
        by: Literal["strings", "tokens"] = "strings" if getattr(tokenizer, "gives_string", False) else "tokens"
        return TextVerdict("compared", len(given), by, unknown_words=shown_too)
    if read is not None:
        number = compare_with_library(read, [text for text in texts if isinstance(text, str)])
        return TextVerdict("read", number, read.library, read.kind)
    answers = sum(one.answer is not None and not (external and one.ids) for one in pairs)
    if answers:
        shown_too = _may_texts_have_unknown_words(description, text, pairs)
        return TextVerdict("compared", answers, "answers", unknown_words=shown_too)
    if external:
        return TextVerdict("external")
    stated = description.provenance.get(TEXT_RULES)
    return TextVerdict("trained" if stated == TextVerdict("trained").document else "not compared")


def _may_texts_have_unknown_words(description: Description, text: TextArguments, pairs: Sequence[OwnersText]) -> bool:
    """Return whether the user's texts may contain a word that the vocabulary lacks. Only then does a comparison on
    these texts show the id of unknown words."""
    rules = description.text.rules
    if not isinstance(rules, TextRules) or (rules.tokenizer == EXTERNAL and callable(text.tokenizer)):
        return True
    encoder = TextEncoder(rules, description.text.vocabulary)
    if rules.tokenizer == EXTERNAL:
        each: Iterator[Sequence[str]] = (one.tokens or () for one in pairs)
    else:
        each = (encoder.tokens(one.text) for one in pairs)
    return any(not encoder.holds(token) for tokens in each for token in tokens)


def _log_verdicts(manifest: Manifest, hints: Sequence[str]) -> None:
    """Log the verdicts on the graph and on the text rules, the steps that were not compared, and the hints. The log
    level is a warning if the text rules are not verified or if there is a hint. Also log whether the bundle contains
    texts of the user."""
    verdict, log = read_text_verdict(manifest), logging.getLogger(LOGGER)
    how = (
        " Give example_ids=[(text, ids, answer), ...], with the ids, or the tokens, that your pipeline gives for some "
        "texts, and the answers of your classifier to them."
    )
    if verdict.answers is not None and verdict.answers.unordered:
        how = " Give texts whose answers are these labels, or the probability of each label by its name."
    log.log(
        logging.WARNING if verdict.is_open or hints else logging.INFO,
        "%s. The graph: %s The text rules: %s%s%s", manifest.name, describe_graph_proof(manifest), verdict.sentence,
        how if verdict.is_open else "", "".join(f"\n{line}" for line in (*describe_uncompared_steps(manifest), *hints)),
    )  # fmt: skip
    if manifest.provenance.get("golden_examples") == "given texts":
        log.info(
            "%s holds %d golden examples, which are texts that were given: whoever has it can read them. Leave them "
            "out with examples=False.",
            manifest.name, len(manifest.examples),
        )  # fmt: skip


def _bind_arguments_of_prepare_module(
    module: nn.Module, description: Description, options: ExportOptions
) -> Callable[..., ExportableModule]:
    """Return `prepare_module` with all its arguments except `one_text`."""
    return functools.partial(
        prepare_module,
        module,
        lengths=options.lengths,
        ids=description.token_id_count,
        padding_id=description.text.rules.padding_id,
        classes=len(description.output.labels),
        multi_label=description.output.activation == "sigmoid",
        of_tokens=description.output.of_tokens,
        two_texts=options.two_texts,
        heads=description.output.heads if isinstance(description.output, HeadsOutput) else None,
        features=description.text.features,
        spellings=description.spellings,
        labels_are_words=2 * len({*description.output.labels} & {*description.text.vocabulary})
        >= len(description.output.labels),
        call=options.call,
        gives=options.gives,
        widths=find_text_widths(description.text.rules),
    )


def _choose_form_kinds(
    module: nn.Module, rules: AnyTextRules, *, torchscript: bool | None, streaming: bool, edge: bool
) -> list[FormKind]:
    """Choose which forms of the module to make: an ONNX graph or a graph for the profile edge, a TorchScript copy, a
    step graph. Raise an InputError for options that exclude each other, or for a form that this module cannot have."""
    if edge and (streaming or torchscript):
        raise InputError(
            "The option `edge` excludes `streaming` and `torchscript`: the profile edge has only one graph.",
            "Export with torchscript=False and streaming=False, or leave out `edge`.",
        )
    copied = not edge if torchscript is None else torchscript
    script = replace(TORCHSCRIPT, required=torchscript is True)
    kinds = {EDGE: edge, ONNX: not edge, script: copied, STEP: streaming}
    chosen = [kind for kind, wanted in kinds.items() if wanted]
    for kind in chosen:
        if kind.required:
            kind.check(module, rules)
    return chosen


def _refuse_options_with_token_labels(
    description: Description, pairs: Sequence[OwnersText], *, streaming: bool, edge: bool
) -> None:
    """Raise an InputError if the module labels tokens, and an option is given that such a bundle cannot have: a step
    graph, the profile edge, n-grams, or answers to whole texts."""
    rules = description.text.rules
    if not description.output.of_tokens:
        return
    if streaming or edge:
        raise InputError(
            "The module labels tokens, so it cannot be exported with the option "
            f"`{'streaming' if streaming else 'edge'}`.",
            f"Leave out `{'streaming' if streaming else 'edge'}`. The bundle answers whole texts.",
        )
    if isinstance(rules, TextRules) and rules.ngrams > 1:
        raise InputError(
            f"The module labels tokens, but the rules also make n-grams (`ngrams` is {rules.ngrams}), which cannot "
            "be labelled.",
            "Leave `ngrams` out of the rules.",
        )
    if any(one.answer is not None for one in pairs):
        raise InputError(
            "The module labels tokens, but `example_ids` has an answer to a whole text.",
            "Leave out the answers, and give each text with its ids or tokens: [(text, ids), ...].",
        )


def _prepare_module_and_forms(
    prepare: Callable[..., ExportableModule],
    kinds: Sequence[FormKind],
    description: Description,
    check_answers: Callable[[ExportableModule], None],
    *,
    one_text: bool,
) -> tuple[ExportableModule, list[Form]]:
    """Prepare the module, and make its forms. If no graph for batches can be made, prepare the module for one text at a
    time. Return the prepared module and the forms.

    Args:
        prepare: the function that prepares the module.
        kinds: the forms to make, such as an ONNX graph.
        check_answers: raises an error if the prepared module gives other answers than the user's classifier.
        one_text: whether to prepare the module for one text at a time from the beginning.
    """
    _log.info("Finding out how forward is called")
    prepared = prepare(one_text=one_text)
    check_answers(prepared)
    rules, padding = description.text.rules, prepared.padding_id
    framed = {*rules.first_ids, *rules.last_ids} - {padding}
    if prepared.needs_real_token and not framed:
        _log.warning(
            "The bundle refuses texts of padding only (the id %d), which %s: the module fails on them %s. To have such "
            "texts answered, count at least one token in forward, as in lengths.clamp(min=1), and mask with a large "
            "negative number in place of minus infinity",
            padding,
            "a text without a known word may become"
            if rules.unknown_id in (None, padding)
            else f"{'the empty text and ' * (rules.empty_id == padding)}a text of the padding's own word only becomes",
            prepared.padding_fault,
        )
    if prepared.least > 1:
        _log.warning(
            "The bundle refuses texts of fewer than %d tokens: the module fails on them, or gives no finite answer. "
            "To have such texts answered, leave out operations that need more steps, such as a standard deviation",
            prepared.least,
        )

    def make_forms(prepared: ExportableModule) -> tuple[ExportableModule, list[Form]]:
        forms = _make_forms(kinds, prepared, description)
        if EDGE in kinds or prepared.one_text:
            return prepared, forms
        graph, _ = _find_graph_and_condition_sizes(forms)
        told = {i: 0.0 for i in graph.alone if i not in prepared.ids_run_alone}
        prepared = replace(prepared, padding=graph.padding, alone={**told, **prepared.alone})
        # The graph's constants include the numbers that forward compares ids with.
        rules = description.text.rules
        numbers = [
            rules.unknown_id,
            rules.empty_id,
            *rules.first_ids,
            *rules.last_ids,
            *_list_integers_near_graph_constants(forms),
        ]
        tried = add_ids_that_need_own_batch(prepared, [i for i in numbers if i is not None])
        if tried.alone != prepared.alone:
            prepared, forms = tried, _make_forms(kinds, tried, description)
        return prepared, forms

    again = functools.partial(_prepare_again_with_same_call, prepare, prepared)
    return run_with_single_text_fallback(prepared, make_forms, again, batches_only=EDGE in kinds)


def _prepare_again_with_same_call(
    prepare: Callable[..., ExportableModule], prepared: ExportableModule, *, one_text: bool
) -> ExportableModule:
    """Prepare a module for one text at a time. If several calls work for one text, such as one for [batch, sequence]
    and one for [sequence, batch], take the call that also works for batches, which is that of `prepared`."""
    try:
        return prepare(one_text=one_text)
    except AmbiguousCallError as error:
        called = prepared.convention
        if called.line not in error.calls:
            raise
        found = prepare(one_text=one_text, call=called.line)
        return replace(found, convention=replace(found.convention, pair=called.pair, notes=called.notes))


def _log_and_note_padding_effect(
    prepared: ExportableModule, graph: Graph, description: Description, texts: Sequence[Any]
) -> Description:
    """Log a warning if padding, or the other texts of a batch, change the module's answers to the `texts`. If padding
    changes answers by more than rounding, return the description with a note on that in its provenance; otherwise,
    return it unchanged."""
    rules, encoder = description.text.rules, description.encoder()
    if prepared.alone and graph.batch != 1:
        change = max(prepared.alone.values())
        _log.warning(
            "The module's answer to a text with %s differs between a batch and the text alone%s, for example "
            "because forward takes this id for padding and pools up to the longest text of the batch. pocketrnn "
            "answers such a text alone, which is slower for many texts",
            _name_first_ids_with_words(prepared.alone, description.text.vocabulary),
            f", by up to {change:.2g} in probability" if 0 < change < 1 else "",
        )  # fmt: skip
    effect = measure_padding_effect(
        prepared.make_reference(),
        # The marks of features are not ids, and pad no text.
        [ids[count_leading_negative_ids(ids) :] for ids in map(encoder.encode, texts)],
        padding_id=rules.padding_id,
        widths=prepared.widths,
        most_tokens=None if graph.limits is None else graph.limits.max_tokens,
        takes_lengths=prepared.takes_lengths,
        one_text=prepared.one_text,
        activation=prepared.activation,
    )
    if effect is None or not effect.exceeds_rounding:
        return description
    advice = "" if prepared.takes_lengths or prepared.widths.least > 1 or prepared.two_texts else (
        ". If your pipeline pads every text to one width, say so in the rules: min_width, max_width and pad_side "
        "(docs/text-rules.md)"
    )  # fmt: skip
    padding = f"padded to {rules.min_width} tokens as the rules say" if rules.min_width else "without padding"
    _log.warning(
        "In batches with padding, your module answers differently (a probability changes by up to %.2g); pocketrnn "
        "answers each text alone, %s%s", effect.largest, padding, advice, extra={AFTER_AN_ERROR: ABOUT_PADDING},
    )  # fmt: skip
    return description.add_provenance({"padding": effect.document})


def _find_possible_padding_ids_with_answer(prepared: ExportableModule) -> list[int]:
    """Find the ids that the code and the constants of a module show as possible padding. Return them without those on
    which the module fails, that is, without an id if the module raises an error for a text of only this id."""
    candidates = list_possible_padding_ids(prepared.module, ids=prepared.ids, special=[prepared.padding_id])
    return select_answered_ids(prepared.make_reference().run, candidates, prepared.widths.clip(_FILLED))


def _name_first_ids_with_words(ids: Iterable[int], vocabulary: Sequence[str]) -> str:
    """Return a phrase that names the first five ids with their words, and says how many more there are."""
    found = list(ids)
    some = [f"the id {i} ({vocabulary[i]!r})" if i < len(vocabulary) else f"the id {i}" for i in found[:5]]
    return " or ".join(some) + (f" or one of {len(found) - 5} more" if len(found) > 5 else "")


def _make_id_evidence(module: nn.Module, pairs: Sequence[OwnersText]) -> IdEvidence:
    """Make the evidence by which numbers beside words are taken for ids or for counts: the number of rows of the
    module's largest embedding. With `pairs`, the numbers are taken for ids in any case, since the texts in `pairs` are
    compared."""

    def count_rows() -> int:
        layers = [layer for layer in module.modules() if isinstance(layer, nn.Embedding)]
        return max((layer.num_embeddings for layer in layers), default=0)

    return IdEvidence(count_rows, are_trusted=bool(pairs))


def _warn_of_small_vocabulary(module: nn.Module, tokens: Sequence[str]) -> None:
    """Log a warning if every embedding has many more rows than the vocabulary has words. The file of the vocabulary may
    then be read wrongly."""
    rows = min((layer.num_embeddings for layer in module.modules() if isinstance(layer, nn.Embedding)), default=0)
    if rows >= _FEW_WORDS * len(tokens):
        _log.warning(
            "The embedding has %s rows, but the vocabulary only %s: %s. Look at how its file is read: "
            "pocketrnn import-vocab FILE",
            f"{rows:,}", f"{len(tokens):,} word{'s' * (len(tokens) > 1)}",
            ", ".join(map(short_repr, tokens[:3])) + ", ..." * (len(tokens) > 3),
        )  # fmt: skip


def _warn_of_extra_embedding_rows(graph: Graph, description: Description, *, ids_compared: bool) -> None:
    """Log a warning if the embedding has more rows than the vocabulary has words and no texts with ids or answers were
    compared. The ids may then be shifted."""
    tokens, rows = description.text.vocabulary, graph.embedding_rows
    words = len(tokens)
    if rows > words and not ids_compared:
        _log.warning(
            "The embedding has %d rows, but the vocabulary %d words: %s, and the rows from %d on have no word. If your "
            "classifier reads these words as other ids, give its own map from word to id, or texts with ids (--pairs, "
            "example_ids=) to compare with.",
            rows, words, ", ".join(f"{short_repr(one, 20)} is {i}" for i, one in enumerate(tokens[:3])), words,
        )  # fmt: skip


def _list_integers_near_graph_constants(forms: Iterable[Form]) -> list[int]:
    """List the constants in the ONNX graphs among the forms, and the integers next to these constants. The graph may
    compare ids or lengths with them, so the proof must have such ids and lengths."""
    return [
        number
        for form in forms
        if isinstance(form.entry, Graph)
        for number in list_integers_near_constants(form.content)
    ]


def _make_forms(kinds: Iterable[FormKind], prepared: ExportableModule, description: Description) -> list[Form]:
    """Make the forms of the prepared module, such as an ONNX graph and a TorchScript copy. If a form that is not
    required cannot be made, log a warning and leave it out."""
    forms: list[Form] = []
    for kind in kinds:
        is_large = sum(one.numel() for one in prepared.module.parameters()) > _LARGE
        use = ", which only programs with PyTorch need: --no-torchscript, in Python torchscript=False, leaves it out"
        _log.info("Tracing the module for %s%s", kind.name, use * (is_large and kind.name == TORCHSCRIPT.name))
        if kind.required:
            try:
                forms.append(kind.make(prepared, description, forms))
            except PocketRNNError:
                raise
            # An engine or the module's own code can raise any exception here.
            except (Exception, SystemExit) as error:
                raise UntraceableError(
                    f"The {kind.name} of the module cannot be made: {type(error).__name__}: "
                    f"{first_line(error).rstrip('.')}.",
                    "In forward, use another operation in place of the one that the error names.",
                ) from error
            continue
        try:
            kind.check(prepared.module, description.text.rules)
            forms.append(replace(kind.make(prepared, description, forms), required=False))
        except (ExportError, InputError) as error:
            _log.warning("The %s copy is left out. %s", kind.name, first_line(error))
    return forms


def _choose_proof_texts_within_limits(
    limits: Limits | None, texts: Sequence[Any], description: Description, private_texts: frozenset[Any]
) -> list[Any]:
    """Return the texts of the proof that a graph with these limits accepts. The bundle must not show `private_texts`:
    if only private texts remain, add generated texts with enough words. Raise an ExportError if no such text can be
    made."""
    inside = select_texts_within_limits(limits, texts, description)
    beside = description.text.pairs or description.text.features
    if private_texts.issuperset(inside) and description.text.rules.tokenizer != EXTERNAL and not beside:
        # Texts with as many words as the module needs: the usual made texts have fewer.
        least = max(1, (limits and limits.min_tokens) or 1)
        inside += select_texts_within_limits(
            limits,
            make_texts_of_random_words(description.text.vocabulary, description.text.rules, (least,)),
            description,
        )
    if private_texts.issuperset(inside):
        raise ExportError(
            "The module takes none of the texts for the proof: each has too few tokens, too many tokens, or no "
            "known word.",
            "Give texts that the module can answer: example_texts=[...] in Python, or --texts FILE on the command "
            "line.",
        )
    return inside


def _find_graph_and_condition_sizes(forms: Iterable[Form]) -> tuple[Graph, tuple[tuple[int, int], ...]]:
    """Return a tuple (entry, sizes). The entry describes the graph in classifier.json; the sizes are pairs (batch size,
    tokens) just below and above each condition on a size in forward."""
    for form in forms:
        if isinstance(form.entry, Graph):
            return form.entry, form.bounds
    raise ValueError("the forms do not include a graph")
