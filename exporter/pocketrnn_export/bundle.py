"""`export`: from a module to its bundle."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Unpack, overload

from torch import nn

from pocketrnn.bundle.folder import check_free, name_of
from pocketrnn.bundle.manifest import CLASSIFIER_JSON, Graph, Limits, Manifest
from pocketrnn.bundle.output import NO_PRIORS, LabelOutput, Output, TagOutput, ValueOutput
from pocketrnn.errors import ExportError, InputError, PocketRNNError, first_line, shown
from pocketrnn.numbers.number_input import NumberInput
from pocketrnn.text import EXTERNAL, AnyTextRules, TextEncoder, TextRules
from pocketrnn.text.pretokenized import Text, Tokenizer
from pocketrnn.text.text_input import PairInput, TextInput
from pocketrnn.verdicts import LOGGER, TEXT_RULES, TextVerdict, graph_sentence, text_verdict
from pocketrnn_export.bundle_proof import ProofPlan, proof_cases, refuse_mixed_texts, texts_within
from pocketrnn_export.bundle_writer import versions, write_bundle
from pocketrnn_export.comparing.cases import (
    MADE_TEXTS,
    made_texts,
    pairs_for_proof,
    text_cases,
    texts_for_proof,
)
from pocketrnn_export.decoded_labels import with_crf
from pocketrnn_export.description import Description, LabelsOf, checked_labels, checked_name, text_output
from pocketrnn_export.diagnose.faulty_rules import without_faulty_rules
from pocketrnn_export.export_arguments import (
    AnyNumberArguments,
    CommonArguments,
    DescribedArguments,
    NumberArguments,
    OwnersPair,
)
from pocketrnn_export.forms.edge import EDGE
from pocketrnn_export.forms.form import Form, FormKind, not_compared
from pocketrnn_export.forms.onnx.onnx_graph import ONNX, whole_numbers_of
from pocketrnn_export.forms.step import STEP
from pocketrnn_export.forms.torchscript import TORCHSCRIPT
from pocketrnn_export.intake.convention import Call
from pocketrnn_export.intake.exportable import ExportableModule, prepare, with_ids_tried
from pocketrnn_export.intake.padding_effect import answered_alone, candidate_ids, padding_effect
from pocketrnn_export.module_runs.untouched import random_state_kept
from pocketrnn_export.numbers.number_arguments import (
    described_numbers,
    refuse_arguments_of_texts,
    refuse_short_form,
)
from pocketrnn_export.numbers.number_export import export_numbers_of
from pocketrnn_export.one_export import Wanted, check_wanted, one_export_at_a_time, or_one_text, told_in_a_sentence
from pocketrnn_export.pair_arguments import refuse_beside_pairs, texts_of_pairs
from pocketrnn_export.progress import told_on_stderr
from pocketrnn_export.proof.asked_ids import asked_ids
from pocketrnn_export.proof.chosen_cases import noted_ids, noted_sizes, widths_of
from pocketrnn_export.proof.closed_values import notes_of_closed_values
from pocketrnn_export.proof.loud_ids import loud_ids
from pocketrnn_export.tracing.sizes.questions import UntraceableError
from pocketrnn_export.vocabularies.external import given_ids, made_ids
from pocketrnn_export.vocabularies.owners_answers import Answered
from pocketrnn_export.vocabularies.owners_texts import Answer, OwnersText, answers_in_words, checked_pairs, pairs_of
from pocketrnn_export.vocabularies.pipeline import chosen_rules
from pocketrnn_export.vocabularies.text_arguments import TextArguments, read_text_arguments
from pocketrnn_export.vocabularies.tokenizer_json import Subwords
from pocketrnn_export.vocabularies.tokenizer_library import compared_with_library
from pocketrnn_export.vocabularies.vocabulary import VocabularySource

__all__ = ["export"]

_log = logging.getLogger(__name__)
# So many tokens has a text of one id that a module may take for padding, where it is asked whether it answers it.
_FILLED: Final = 12


@overload
def export(
    module: nn.Module,
    path: str | Path,
    *,
    labels: Sequence[str],
    labels_of: LabelsOf = "texts",
    two_texts: bool = False,
    crf: bool = True,
    vocabulary: VocabularySource | None = None,
    tokenizer: str | os.PathLike[str] | Tokenizer | None = None,
    rules: AnyTextRules | Subwords | None = None,
    example_ids: Iterable[OwnersPair] = (),
    example_texts: Sequence[Text | tuple[str, str]] = (),
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
    output: LabelOutput | TagOutput,
    example_ids: Iterable[OwnersPair] = (),
    example_texts: Sequence[Text | tuple[str, str]] = (),
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
    labels_of: LabelsOf = "texts",
    two_texts: bool = False,
    crf: bool = True,
    vocabulary: VocabularySource | None = None,
    tokenizer: str | os.PathLike[str] | Tokenizer | None = None,
    rules: AnyTextRules | Subwords | None = None,
    channels: Sequence[str] | int | None = None,
    example_ids: Iterable[OwnersPair] = (),
    lengths: bool | None = None,
    call: str | Call | None = None,
    gives: str | None = None,
    one_text: bool = False,
    multi_label: bool = False,
    thresholds: Sequence[float] | None = None,
    example_texts: Sequence[Text | tuple[str, str]] = (),
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
    """Export a recurrent classifier of texts, or of sequences of numbers, as a bundle that is proven to give the same
    answers.

    Long because every argument is described here; the work is in `prepare`, in the forms and in `write_bundle`.

    The module is not changed: a copy of it in float32, in eval mode, on the CPU is exported. How its `forward` is
    called and read is found out by calling it on small batches (docs/modules.md), told at the level INFO, and kept in
    the bundle's provenance; `call` says it where that does not do.

    Args:
        module: the classifier; nn.RNN, nn.LSTM and nn.GRU in it are exported with dynamic batch and sequence length,
            packed or not.
        path: the folder to write.
        input: all that is known of what it takes, `TextInput` or `NumberInput`; in short form by `vocabulary`,
            `tokenizer` and `rules`, or by `channels` and `numbers`.
        output: all that is known of what it gives, `LabelOutput`, `TagOutput` or `ValueOutput`; in short form by
            `labels`, `labels_of`, `multi_label` and `thresholds`, or by `values` and `value_units`.
        labels: the classes, in the order of the logits. Always needed, but for a module of numbers that gives values.
        labels_of: `texts`, or `tokens` for a module that gives the numbers of the labels for each token, as a tagger
            does: [batch, sequence, labels], also with the sequence first or flattened (docs/tags.md).
        two_texts: whether forward takes two texts, such as a premise and a hypothesis, with or without the lengths of
            each (docs/pairs.md). A pair is then given in the order of forward's inputs; the rules are of both texts.
        crf: whether a CRF that such a module has decodes its labels. With False each token has its likeliest label.
        vocabulary: the tokens in the order of their ids, or whatever else `read_vocabulary` takes: a token -> id map, a
            torchtext Vocab, or the path of a file that holds one of these. None where the tokenizer holds it.
        tokenizer: `basic_english` (the default, which is logged), `whitespace`, `characters` or `external`, where
            `rules` is None. Or your own function, text -> tokens: the rules, or the first of these three that agrees,
            must give the same ids on all example texts. Where the rules' tokenizer is `external`, the bundle takes
            tokens or ids, and the function, text -> tokens or ids, splits the texts of the proof. Or a tokenizer of
            subwords, as `read_tokenizer` takes it: the path of a tokenizer.json, say.
        rules: all text rules, where the owner's pipeline does more: cleans texts, drops stop words, sets "<sos>" and
            "<eos>" around them, pads them to one width (docs/text-rules.md). By default what the vocabulary says: its
            default index, else its "<unk>", stands for unknown words, and its "<pad>" is the padding. With neither of
            the first two, unknown words are dropped. Or what `read_tokenizer` gave, which is compared with the library
            that the file is of, where that is installed and there are no pairs.
        example_ids: pairs (text, ids) of your own pipeline, unpadded, or (text, ids, answer) with what your classifier
            answers: a label, a list of labels, the probabilities of all labels, or a map label -> probability. The
            rules must give these ids, and the bundle these answers, probabilities within 0.001. In place of ids stand
            tokens, where the tokenizer is `external`; or None, where there is an answer.
        lengths: whether forward is given lengths; by default that is found out.
        call: how the module is called, where that is not found out: a line of Python, such as
            `"module(tokens.t(), lengths)[0]"`, or a function of (module, tokens int64 [batch, sequence], lengths int64
            [batch]), that gives [batch, classes]. With `two_texts` a line over `first`, `second`, `first_lengths`
            and `second_lengths`, or a function of the module and these.
        gives: whether the module gives `logits` or `probabilities`; by default its numbers decide (docs/modules.md).
            The conclusion is told, and kept in the bundle's provenance.
        one_text: ask the module one text at a time, though it takes a batch: for one that mixes the texts of a batch.
            Its bundle answers text by text, which is slower for many.
        multi_label: whether a text can have any number of the labels. Probabilities are then a sigmoid of each logit,
            not a softmax of all.
        thresholds: for each label the probability from which it is given, such as validation chose it; the bundle
            keeps them, and `predict_labels` and `pocketrnn classify` use them. Where one label is right, the likeliest
            is given from its threshold on, else none.
        example_texts: real texts for the proof; lists of tokens, where the tokenizer is `external` and no function;
            tuples of two, with `two_texts`. The first of them become golden examples. Without any, texts are made of
            the vocabulary's words.
        examples: whether given texts become golden examples, which whoever has the bundle can read. With False they
            serve the proof only, and the golden examples are made of the vocabulary's words.
        name: what the classifier is called; by default the folder's name, without an end such as `.bundle`.
        torchscript: whether to write a TorchScript copy; by default one is written if it can be proven, since tracing
            freezes what forward asks about a size.
        streaming: whether to write a step graph too, which answers while a text arrives; for one-directional
            classifiers that `pocketrnn train` made. It holds the weights a second time.
        edge: write a graph for small engines: one text a run, no lengths, no If, Loop or Scan, the lowest opset that
            its operators allow. It is proven with tract too. There is no TorchScript copy and no step graph then.
        tolerance: the largest difference of two logits that passes, with equal labels; by default an answer passes if
            it is as near to the exact one as the module's own rounding allows (docs/proof.md).
        provenance: the origin of the classifier: data, metrics, licence. Versions are added.
        report: a JSON file to write every single case of the proof to, also where it fails.
        force: replace a bundle at `path`.
        progress: say on standard error what is done, once it has taken two seconds. Where your program sets logging up,
            its handlers get these lines instead, at the level INFO.
        channels: the channels of a module that takes sequences of numbers, not texts: their names, or how many. It is
            called, traced and proven on numbers that are drawn for it (docs/numbers.md).
        numbers: the members of `NumberInput` beside the channels (mean, scale, window and others), and what
            `NumberArguments` says: values, scaler, layout, sequences. Without a training range, that of four sequences
            or more is kept, where so many are given.

    Returns:
        what was written to classifier.json, with the proof.

    Raises:
        InputError: an argument is unusable; among them OutputError, when `path` is taken. The rules give other ids than
            example_ids or your tokenizer, or these ids suggest that your pipeline does what the rules do not; the
            message has the first difference.
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
        shortly = {"labels": labels, "vocabulary": vocabulary, "tokenizer": tokenizer, "rules": rules,
                   "channels": channels, "multi_label": multi_label, "thresholds": thresholds,
                   "labels_of": None if labels_of == "texts" else labels_of, "two_texts": two_texts or None,
                   **numbers}  # fmt: skip
        refuse_short_form(shortly, input, output)
    if isinstance(input, TextInput):
        rules, vocabulary, two_texts = input.rules, input.vocabulary, input.pairs
    priors = NO_PRIORS if output is None else output.priors
    if isinstance(output, LabelOutput):
        labels, thresholds = output.labels, output.thresholds
        multi_label = output.activation == "sigmoid"
    if isinstance(output, TagOutput):
        labels, labels_of = output.labels, "tokens"
    name = name if name is not None else name_of(path)
    wanted = Wanted(lengths, call, gives, one_text, examples, streaming, tolerance, report, crf, two_texts)
    if isinstance(input, NumberInput) or channels is not None or numbers:
        of_texts = {"vocabulary": vocabulary, "tokenizer": tokenizer, "rules": rules, "example_ids": example_ids,
                    "example_texts": example_texts, "torchscript": torchscript, "edge": edge,
                    "labels_of": None if labels_of == "texts" else labels_of, "crf": not crf,
                    "two_texts": two_texts or None}  # fmt: skip
        stated = input if isinstance(input, NumberInput) else None
        refuse_arguments_of_texts(of_texts, channels if stated is None else stated.channels, numbers)
        if isinstance(output, ValueOutput):
            numbers |= {"values": output.names, "value_units": output.units}
        check_free(path, force=force, made_by=CLASSIFIER_JSON)
        known = described_numbers(
            name, wanted, provenance, given=stated, channels=channels, labels=labels, multi_label=multi_label,
            thresholds=thresholds, priors=priors, **numbers,
        )  # fmt: skip
        check_wanted(wanted)
        with one_export_at_a_time(), told_on_stderr(progress), random_state_kept(), told_in_a_sentence(module):
            return without_faulty_rules(lambda: export_numbers_of(module, path, known, force=force))
    if isinstance(output, ValueOutput):
        raise InputError("A classifier of texts gives labels, not values.", "Give output=LabelOutput(...).")
    if labels is None:
        raise InputError("There are no labels.", "Give the classes, in the order of the logits: labels=[...].")
    check_free(path, force=force, made_by=CLASSIFIER_JSON)
    text, pairs = read_text_arguments(vocabulary, tokenizer, rules), checked_pairs(example_ids)
    answers = answers_in_words(pairs, checked_labels(labels))
    each_text = texts_of_pairs(example_texts) if two_texts else example_texts
    chosen = chosen_rules(text.vocabulary, text.rules, text.tokenizer, pairs_of(pairs), each_text)
    description = Description(
        checked_name(name),
        (PairInput if two_texts else TextInput)(chosen, text.vocabulary.tokens),
        text_output(labels, labels_of, thresholds, priors, multi_label=multi_label),
        {**(provenance or {}), "versions": versions()},
    )
    _refuse_tokens_alone(chosen, pairs)
    verdict = _text_verdict(description, text, pairs, each_text)
    description = description.noting({TEXT_RULES: verdict.document})
    check_wanted(wanted)
    if description.output.of_tokens:
        _refuse_for_tokens(chosen, pairs, streaming=streaming, edge=edge)
    if two_texts:
        refuse_beside_pairs(
            description, pairs, torchscript=torchscript is True, streaming=streaming, edge=edge, one_text=one_text
        )
        torchscript = False
    kinds = _wanted(module, chosen, torchscript=torchscript, streaming=streaming, edge=edge)
    description, given, texts = _texts_of_proof(description, text.tokenizer, pairs, example_texts, examples=examples)
    make = functools.partial(
        _exported, module, path, description, wanted, kinds, given, texts, answers, compared=bool(pairs), force=force
    )
    with one_export_at_a_time(), told_on_stderr(progress), random_state_kept(), told_in_a_sentence(module):
        manifest = without_faulty_rules(make)
    _tell_verdicts(manifest)
    return manifest


def _exported(
    module: nn.Module,
    path: Path,
    description: Description,
    wanted: Wanted,
    kinds: Sequence[FormKind],
    given: Sequence[Any],
    texts: Sequence[Any],
    answers: Sequence[tuple[OwnersText, Answer]],
    *,
    compared: bool,
    force: bool,
) -> Manifest:
    """A module of texts as a bundle, once; as for `export`.

    Args:
        module, path, description, wanted, kinds, force: as `export` has them.
        given, texts: those that were given, and all of the proof.
        answers: what the owner's classifier answers to some of them.
        compared: whether the owner gave texts with their ids or answers.
    """
    prepared, forms = _prepared_and_made(
        _asking(module, description, wanted), kinds, description, one_text=wanted.one_text
    )
    description, labels_of_owner = with_crf(prepared, description, wanted=wanted.crf)
    shown = "given texts" if given and wanted.examples else "made of words of the vocabulary"
    description = description.noting({**prepared.convention.provenance, "golden_examples": shown})
    graph, bounds = _graph_of(forms)
    program = next((form.program for form in forms if form.program is not None), None)
    phrase = () if program is None else asked_ids(program, graph.embedding_rows)
    description = description.noting({**noted_sizes(bounds), **noted_ids(phrase)})
    _tell_what_is_assumed(graph, description, compared=compared)
    private = frozenset(() if wanted.examples else given)
    texts = _texts_for(graph.limits, texts, description, private)
    description = _with_padding_measured(prepared, graph, description, texts)
    refuse_mixed_texts(prepared, graph.limits, bounds, _whole_numbers(forms))
    loud, tried = loud_ids(prepared.module, description.ids), _answered_where_padding(prepared)
    cases = proof_cases(prepared, description.text.rules, graph, bounds, loud=loud, tried=tried, phrase=phrase)
    every = {**cases, "texts": text_cases(texts, description.encoder())}
    closed = notes_of_closed_values(program, every, graph.inputs, one_row=graph.batch == 1)
    description = description.noting(not_compared(forms, closed))
    plan = ProofPlan.of(prepared, cases, texts=texts, private=private, tolerance=wanted.tolerance, report=wanted.report)
    plan = replace(plan, answered=_answered(description, answers), labels=labels_of_owner)
    _log.info("Proving all forms, and the runtime on texts, equal to PyTorch")
    return write_bundle(path, description, forms, plan, force=force)


def _texts_of_proof(
    description: Description,
    tokenizer: str | Tokenizer | None,
    pairs: Sequence[OwnersText],
    example_texts: Sequence[Any],
    *,
    examples: bool,
) -> tuple[Description, list[Any], list[Any]]:
    """The description with the ids of texts that only the owner's code can split; the given texts; and all texts."""
    rules, vocabulary = description.text.rules, description.text.vocabulary
    if description.text.pairs:
        given_pairs = [tuple(pair) for pair in example_texts]
        return description, given_pairs, pairs_for_proof(given_pairs, vocabulary, rules, made_too=not examples)
    if rules.tokenizer != EXTERNAL:
        texts: Any = example_texts or [one.text for one in pairs]
        return description, texts, texts_for_proof(texts, vocabulary, rules, made_too=not examples)
    function = tokenizer if callable(tokenizer) else None
    given = given_ids(rules, vocabulary, rows=description.ids, tokenizer=function, pairs=pairs, texts=example_texts)
    made = made_ids(rules, vocabulary, () if given and examples else MADE_TEXTS)
    known = {**given, **made, **given} if examples else {**made, **given}
    return replace(description, known=known), list(given), list(known)


def _refuse_tokens_alone(rules: AnyTextRules, pairs: Sequence[OwnersText]) -> None:
    """Refuse tokens that would be compared with nothing.

    Raises:
        InputError: the rules split texts, and a text comes with its tokens alone.
    """
    for one in pairs if rules.tokenizer != EXTERNAL else ():
        if one.tokens and one.ids is None and one.answer is None:
            raise InputError(
                f"{shown(one.text, 40)} comes with its tokens, and {rules.tokenizer} splits texts itself.",
                "Give its ids, or what your classifier answers.",
            )


def _answered(description: Description, answers: Sequence[tuple[OwnersText, Answer]]) -> list[Answered]:
    """The texts on which the written bundle is compared with its owner's classifier. Texts without an id are left out:
    the classifier has no answer to them."""
    external = description.text.rules.tokenizer == EXTERNAL
    return [
        Answered(
            one.text,
            (one.tokens or one.ids or description.known[one.text]) if external else one.text,
            answer,
            one.ids is not None,
            isinstance(one.answer, Mapping) or not isinstance(answer, Mapping),
        )
        for one, answer in answers
        if one.ids != [] or one.tokens
    ]


def _text_verdict(
    description: Description, text: TextArguments, pairs: Sequence[OwnersText], texts: Sequence[Text]
) -> TextVerdict:
    """The verdict on the text rules, after `chosen_rules` has refused rules that differ. How many answers equal the
    owner's is known when the bundle is written."""
    tokenizer, read = text.tokenizer, text.subwords
    external = description.text.rules.tokenizer == EXTERNAL
    # The module has no answer to a text without an id.
    compared = {one.text for one in pairs if one.ids and (one.tokens or callable(tokenizer) or not external)}
    if compared:
        shown_too = _may_show_unknown_words(description, text, pairs)
        return TextVerdict("compared", len(compared), "ids", unknown_words=shown_too)
    if callable(tokenizer) and not external:
        return TextVerdict("compared", len({*map(str, texts), *(one.text for one in pairs)}), "tokens")
    if read is not None:
        number = compared_with_library(read, [text for text in texts if isinstance(text, str)])
        return TextVerdict("read", number, read.library, read.kind)
    answers = sum(one.answer is not None and not (external and one.ids) for one in pairs)
    if answers:
        shown_too = _may_show_unknown_words(description, text, pairs)
        return TextVerdict("compared", answers, "answers", unknown_words=shown_too)
    if external:
        return TextVerdict("external")
    stated = description.provenance.get(TEXT_RULES)
    return TextVerdict("trained" if stated == TextVerdict("trained").document else "not compared")


def _may_show_unknown_words(description: Description, text: TextArguments, pairs: Sequence[OwnersText]) -> bool:
    """Whether a text has a word that the vocabulary lacks; always of subwords, and where the owner's code may give
    ids."""
    rules = description.text.rules
    if not isinstance(rules, TextRules) or (rules.tokenizer == EXTERNAL and callable(text.tokenizer)):
        return True
    encoder = TextEncoder(rules, description.text.vocabulary)
    if rules.tokenizer == EXTERNAL:
        each: Iterator[Sequence[str]] = (one.tokens or () for one in pairs)
    else:
        each = (encoder.tokens(one.text) for one in pairs)
    return any(not encoder.holds(token) for tokens in each for token in tokens)


def _tell_verdicts(manifest: Manifest) -> None:
    """Log the two verdicts: a warning where one leaves something open; and whose texts are inside."""
    verdict, log = text_verdict(manifest), logging.getLogger(LOGGER)
    how = (
        " Give example_ids=[(text, ids, answer), ...], with the ids, or the tokens, that your pipeline gives for some "
        "texts, and what your classifier answers to them."
    )
    if verdict.answers is not None and verdict.answers.unordered:
        how = " Give texts whose answers are these labels, or the probability of each label by its name."
    log.log(
        logging.WARNING if verdict.is_open else logging.INFO,
        "%s. The graph: %s The text rules: %s%s", manifest.name, graph_sentence(manifest), verdict.sentence,
        how if verdict.is_open else "",
    )  # fmt: skip
    if manifest.provenance.get("golden_examples") == "given texts":
        log.info(
            "%s holds %d golden examples, which are texts that were given: whoever has it can read them. Leave them "
            "out with examples=False",
            manifest.name, len(manifest.examples),
        )  # fmt: skip


def _asking(module: nn.Module, description: Description, wanted: Wanted) -> Callable[..., ExportableModule]:
    """The function that finds out how the module is called, for batches or with `one_text`."""
    return functools.partial(
        prepare,
        module,
        lengths=wanted.lengths,
        ids=description.ids,
        padding_id=description.text.rules.padding_id,
        classes=len(description.output.labels),
        multi_label=description.output.activation == "sigmoid",
        of_tokens=description.output.of_tokens,
        two_texts=wanted.two_texts,
        call=wanted.call,
        gives=wanted.gives,
        widths=widths_of(description.text.rules),
    )


def _wanted(
    module: nn.Module, rules: AnyTextRules, *, torchscript: bool | None, streaming: bool, edge: bool
) -> list[FormKind]:
    """The forms that `export` is asked for.

    Raises:
        InputError: they do not go together, or the module cannot have one of them.
    """
    if edge and (streaming or torchscript):
        raise InputError(
            "The profile edge has neither a step graph nor a TorchScript copy.",
            "Export with torchscript=False and streaming=False.",
        )
    copied = not edge if torchscript is None else torchscript
    script = replace(TORCHSCRIPT, required=torchscript is True)
    kinds = {EDGE: edge, ONNX: not edge, script: copied, STEP: streaming}
    chosen = [kind for kind, wanted in kinds.items() if wanted]
    for kind in chosen:
        if kind.required:
            kind.check(module, rules)
    return chosen


def _refuse_for_tokens(rules: AnyTextRules, pairs: Sequence[OwnersText], *, streaming: bool, edge: bool) -> None:
    """Refuse what no bundle has whose labels are of tokens.

    Raises:
        InputError: something of it is asked for.
    """
    if streaming or edge:
        raise InputError(
            f"The labels are of tokens, and there is no {'step graph' if streaming else 'profile edge'} of such.",
            f"Export without {'streaming' if streaming else 'edge'}: the bundle answers whole texts.",
        )
    if isinstance(rules, TextRules) and rules.ngrams > 1:
        raise InputError(
            f"The labels are of tokens, and the rules make n-grams (ngrams is {rules.ngrams}), which are none.",
            "Leave ngrams out of the rules.",
        )
    if any(one.answer is not None for one in pairs):
        raise InputError(
            "The labels are of tokens, and example_ids has the answer to a text.",
            "Give the texts with their ids, or tokens: [(text, ids), ...].",
        )


def _prepared_and_made(
    ask: Callable[..., ExportableModule], kinds: Sequence[FormKind], description: Description, *, one_text: bool
) -> tuple[ExportableModule, list[Form]]:
    """The module as it is called, and its forms: for one text at a time, where there are none for batches."""
    prepared = ask(one_text=one_text)
    if prepared.real_token:
        _log.warning(
            "The bundle takes no text that holds the padding only (the id %d), as a text without a known word may: the "
            "module fails there %s. To have such texts answered, count at least one token in forward, as in "
            "lengths.clamp(min=1), and mask with a large negative number in place of minus infinity",
            prepared.padding_id,
            prepared.padding_fault,
        )
    if prepared.least > 1:
        _log.warning(
            "The bundle takes no text of fewer than %d tokens: the module fails on one, or has no finite answer to it. "
            "To have such texts answered, leave out what needs more steps, such as a standard deviation over them",
            prepared.least,
        )

    def make_forms(prepared: ExportableModule) -> tuple[ExportableModule, list[Form]]:
        forms = _make_forms(kinds, prepared, description)
        if EDGE in kinds or prepared.one_text:
            return prepared, forms
        graph, _ = _graph_of(forms)
        told = {i: 0.0 for i in graph.alone if i not in prepared.stated_alone}
        prepared = replace(prepared, padding=graph.padding, alone={**told, **prepared.alone})
        # A graph says which numbers forward compares ids with.
        rules = description.text.rules
        numbers = [rules.unknown_id, rules.empty_id, *rules.first_ids, *rules.last_ids, *_whole_numbers(forms)]
        tried = with_ids_tried(prepared, [i for i in numbers if i is not None])
        if tried.alone != prepared.alone:
            prepared, forms = tried, _make_forms(kinds, tried, description)
        return prepared, forms

    return or_one_text(prepared, make_forms, ask, batches_only=EDGE in kinds or prepared.two_texts)


def _with_padding_measured(
    prepared: ExportableModule, graph: Graph, description: Description, texts: Sequence[Any]
) -> Description:
    """Log what padding does to the module's answers, and keep it in the provenance; nothing where it does nothing."""
    rules, encoder = description.text.rules, description.encoder()
    if prepared.alone and graph.batch != 1:
        _log.warning(
            "A text that holds %s is answered otherwise beside other texts than alone%s, as where forward takes that "
            "for padding and pools up to the longest text of a batch. pocketrnn answers such a text alone, which takes "
            "longer where there are many",
            _named(prepared.alone, description.text.vocabulary), _moved(max(prepared.alone.values())),
        )  # fmt: skip
    effect = padding_effect(
        prepared.as_reference(),
        [encoder.encode(text) for text in texts],
        padding_id=rules.padding_id,
        widths=prepared.widths,
        most=None if graph.limits is None else graph.limits.max_tokens,
        takes_lengths=prepared.takes_lengths,
        one_text=prepared.one_text,
        multi_label=prepared.multi_label,
    )
    if effect is None or not effect.tells:
        return description
    advice = "" if prepared.takes_lengths or prepared.widths.least > 1 or prepared.two_texts else (
        ". If your pipeline pads texts to one width, say so in the rules: min_width, max_width and pad_side "
        "(docs/text-rules.md)"
    )  # fmt: skip
    _log.warning(
        "%s, as in batches of your own (seen on %d texts); pocketrnn answers each text without padding%s",
        effect.said, effect.texts, advice,
    )  # fmt: skip
    return description.noting({"padding": effect.document})


def _answered_where_padding(prepared: ExportableModule) -> list[int]:
    """The ids that a module may take for padding, and of which it answers a text of nothing else."""
    candidates = candidate_ids(prepared.module, ids=prepared.ids, special=[prepared.padding_id])
    return answered_alone(prepared.as_reference().run, candidates, prepared.widths.clip(_FILLED))


def _named(ids: Iterable[int], vocabulary: Sequence[str]) -> str:
    """Ids with their words, the first five."""
    found = list(ids)
    some = [f"the id {i} ({vocabulary[i]!r})" if i < len(vocabulary) else f"the id {i}" for i in found[:5]]
    return " or ".join(some) + (f" or one of {len(found) - 5} more" if len(found) > 5 else "")


def _moved(probability: float) -> str:
    return f", by up to {probability:.2g} in probability" if 0 < probability < 1 else ""


def _tell_what_is_assumed(graph: Graph, description: Description, *, compared: bool) -> None:
    """Log what a wrong bundle may come of, and nothing here can show to be wrong."""
    words, rows = len(description.text.vocabulary), graph.embedding_rows
    if rows > words and not compared:
        _log.warning(
            "The embedding has %d rows, and the vocabulary %d words: the first word has the id 0. If your ids begin "
            "elsewhere, every word is taken for another; give a map from word to id, or texts with their ids (--pairs, "
            "example_ids=) to compare with.",
            rows, words,
        )  # fmt: skip


def _whole_numbers(forms: Iterable[Form]) -> list[int]:
    """The small constants of the ONNX graph among the forms."""
    return [number for form in forms if isinstance(form.entry, Graph) for number in whole_numbers_of(form.content)]


def _make_forms(kinds: Iterable[FormKind], prepared: ExportableModule, description: Description) -> list[Form]:
    """The forms; one that is not required and cannot be made is left out, and that is said."""
    forms: list[Form] = []
    for kind in kinds:
        _log.info("Tracing the module for %s", kind.name)
        if kind.required:
            try:
                forms.append(kind.make(prepared, description, forms))
            except PocketRNNError:
                raise
            # Whatever an engine or the module's own code raises on the way.
            except (Exception, SystemExit) as error:
                raise UntraceableError(
                    f"The module has no {kind.name} form: {type(error).__name__}: {first_line(error).rstrip('.')}.",
                    "Simplify what the message names.",
                ) from error
            continue
        try:
            kind.check(prepared.module, description.text.rules)
            forms.append(replace(kind.make(prepared, description, forms), required=False))
        except (ExportError, InputError) as error:
            _log.warning("The %s copy is left out. %s", kind.name, first_line(error))
    return forms


def _texts_for(
    limits: Limits | None, texts: Sequence[Any], description: Description, private: frozenset[Any]
) -> list[Any]:
    """The texts that the module takes, for the proof; among them one that may be shown.

    Raises:
        ExportError: there is none.
    """
    inside = texts_within(limits, texts, description)
    if private.issuperset(inside) and description.text.rules.tokenizer != EXTERNAL and not description.text.pairs:
        # Texts with as many words as the module needs, where the texts made for every module have fewer.
        least = max(1, (limits and limits.min_tokens) or 1)
        inside += texts_within(
            limits, made_texts(description.text.vocabulary, description.text.rules, (least,)), description
        )
    if private.issuperset(inside):
        raise ExportError(
            "The module takes none of the texts for the proof: each has too few tokens for it, too many, or no known "
            "word.",
            "Give example_texts (on the command line, --texts) that it takes.",
        )
    return inside


def _graph_of(forms: Iterable[Form]) -> tuple[Graph, tuple[tuple[int, int], ...]]:
    """The graph's entry for classifier.json, and the sizes on both sides of each condition on a size in forward."""
    for form in forms:
        if isinstance(form.entry, Graph):
            return form.entry, form.bounds
    raise ValueError("there is no graph among the forms")
