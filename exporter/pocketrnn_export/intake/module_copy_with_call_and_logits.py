"""Prepare a user's module for the export: copy it, find how to call it, and turn its answers into logits."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from pocketrnn.bundle.output_kinds import LabelOutput
from pocketrnn.errors import ExportError, InputError
from pocketrnn.text.features_beside_text import Features
from pocketrnn_export.comparing.answer_spread_by_rounding import make_perturbed_module_runs
from pocketrnn_export.comparing.first_operation_not_in_graph import LineFinder, find_first_operation_missing_in_graph
from pocketrnn_export.comparing.float64_module import make_float64_copy, make_float64_module_run
from pocketrnn_export.comparing.logit_comparison import (
    Reference,
    are_rows_independent,
    are_rows_independent_up_to_rounding,
)
from pocketrnn_export.comparing.module_and_graph_as_functions import make_module_run
from pocketrnn_export.comparing.proof_inputs import (
    EXAMPLE_ROWS,
    EXAMPLE_STEPS,
    Case,
    Run64,
    Widths,
    choose_non_padding_id,
    cut_rows_into_text_pairs,
    make_cases_for_grid_of_shapes,
    put_real_token_in_padding_rows,
    replace_ids_by_other_ids,
    select_cases_for_row_independence,
)
from pocketrnn_export.intake.call_discovery.call_search import find_convention
from pocketrnn_export.intake.call_discovery.logits_or_probabilities import BOTH_SIGNS
from pocketrnn_export.intake.call_discovery.module_properties_and_trial_batches import ModuleFacts
from pocketrnn_export.intake.calling_convention import CallAdapter, Convention
from pocketrnn_export.intake.character_and_feature_call_search import (
    find_convention_with_characters,
    find_convention_with_features,
)
from pocketrnn_export.intake.character_pair_and_feature_calls import derive_features_from_first_ids
from pocketrnn_export.intake.checked_run_and_smallest_input import (
    find_least_tokens,
    make_explaining_run,
    make_probability_checking_run,
    select_cases_of_answered_lengths,
)
from pocketrnn_export.intake.compiled_call_line import Call
from pocketrnn_export.intake.exported_copy_comparison import OwnersModule
from pocketrnn_export.intake.ids_with_batch_dependent_answers import (
    explain_batch_dependence,
    find_batch_dependent_ids,
    list_possible_padding_ids,
)
from pocketrnn_export.intake.last_activation_removal import Activation
from pocketrnn_export.intake.module_copy_for_export import (
    copy_for_export,
    has_torchscript,
    replace_torchscript,
    unwrap_module,
)
from pocketrnn_export.intake.padding_effect import find_padding_fault
from pocketrnn_export.intake.refused_layers_and_weights import (
    find_exceeded_max_norms,
    make_nonfinite_weights_error,
    refuse_direct_weight_reads,
    refuse_unsafe_layers,
    set_nonfinite_weights_to_zero,
)
from pocketrnn_export.intake.state_between_calls import (
    assigns_without_effect,
    note_extracted_numbers,
    refuse_dependence_on_calls,
    refuse_dependence_on_sizes,
)
from pocketrnn_export.intake.wrappers_for_trace import FeatureModule, TwoTextModule, wrap_for_trace
from pocketrnn_export.progress import log_step
from pocketrnn_export.vocabularies.spelled_word_ids import Spellings

_log = logging.getLogger(__name__)
# The rounding of long texts may differ this much between batches; a module that mixes texts differs by more.
_NEIGHBOURS: Final = 1e-3
# A module that needs more tokens than this is faulty.
_SHORTEST: Final = 8
# If the likely ids do not explain how a batch changes an answer, all ids are tried, unless there are more than this.
_FEW: Final = 512
# The texts of a batch in which each id is tried, and the tokens of each.
_ROWS_OF_IDS: Final = 16
_TOKENS_OF_IDS: Final = 10
# The second text of an example has this many more tokens, so that the two lengths differ.
_MORE_OF_SECOND: Final = 4


@dataclass(frozen=True)
class ExportableModule:
    """A module that is ready for the export: a copy in float32 and eval mode, the way to call it, and the texts that it
    answers. A module of two texts, or of a text with features, is called with rows of ids that stand for pairs, but
    traced on the real inputs.

    Attributes:
        module: the copy in float32 and eval mode on the CPU. It never runs before the trace, so that the trace does not
            contain what a first run leaves in a module.
        reference: a copy of `module`, which does run.
        takes_lengths: whether forward is given lengths.
        padding: whether padding a row to the length of longer rows leaves its answer unchanged.
        padding_id: the id that pads a row after its length.
        ids: how many token ids there are.
        example: the inputs of the trace, (tokens,) or (tokens, lengths): three rows of decreasing length, with seven
            steps, which are sizes that occur nowhere else. If the module answers one text at a time, there is one row.
            If it takes two texts, the inputs are the ids of both, and then the lengths of both.
        convention: how the user's module is called.
        activation: the activation that turns the module's logits into probabilities.
        widths: how many tokens a text can have.
        padding_fault: how the module fails on a text of only padding; None if it does not, or fails on all texts.
        least: the fewest tokens for which the module gives a finite answer.
        given: the user's own module.
        alone: the ids that make a text's answer depend on the other texts of its batch, each with the largest change
            seen in a probability. A text with such an id is answered alone.
        tried: the ids that were tried for `alone`, each with whether padded texts were tried.
        refuse_kept: raises an error if the answer to a text of one of the given sizes (texts, tokens) depends on an
            earlier text of another size.
        notes: sentences on what the comparisons cannot show.
    """

    module: nn.Module
    reference: nn.Module
    takes_lengths: bool
    padding: bool
    padding_id: int
    ids: int
    example: tuple[Tensor, ...]
    convention: Convention
    activation: Activation
    widths: Widths
    padding_fault: str | None = None
    least: int = 1
    given: OwnersModule | None = None
    alone: Mapping[int, float] = field(default_factory=dict)
    tried: frozenset[tuple[int, bool]] = frozenset()
    refuse_kept: Callable[[Iterable[tuple[int, int]]], None] = lambda _sizes: None
    notes: tuple[str, ...] = ()

    @property
    def needs_real_token(self) -> bool:
        """Whether the module fails on a text that is only padding."""
        return self.padding_fault is not None

    @property
    def ids_run_alone(self) -> tuple[int, ...]:
        """The ids whose texts must run alone and not in a batch. If none were found, but the padding id was not tested,
        the padding id is the only one."""
        if self.one_text:
            return ()
        tried = any(i == self.padding_id for i, _ in self.tried)
        return tuple(self.alone) if tried or self.alone else (self.padding_id,)

    @property
    def one_text(self) -> bool:
        """Whether the module answers only one text at a time."""
        return self.convention.one_text

    @property
    def features(self) -> Features:
        """The features that the module takes in addition to a text."""
        return self.convention.features

    @property
    def two_texts(self) -> bool:
        """Whether the module takes two texts."""
        return self.convention.has_two_texts

    @property
    def heads(self) -> tuple[int, ...]:
        """The number of labels of each head. Empty if there are no heads."""
        return () if isinstance(self.activation, str) else tuple(labels for _, labels in self.activation)

    def cut_rows_into_text_pairs(self, cases: Iterable[Case]) -> list[Case]:
        """Convert cases of texts to cases of pairs, if the module takes two texts. Otherwise, return the cases
        unchanged."""
        return [cut_rows_into_text_pairs(case, self.padding_id) for case in cases] if self.two_texts else list(cases)

    @property
    def module_to_script(self) -> nn.Module:
        """The module from which TorchScript is made: `reference` if the user's module is TorchScript or has TorchScript
        layers, otherwise `module`."""
        return self.reference if has_torchscript(self.reference) else self.module

    def make_reference(self) -> Reference:
        """Return the module's run as the reference for all comparisons. The run raises an ExportError if the module
        fails."""
        run = make_module_run(self.reference, takes_lengths=self.takes_lengths)
        if isinstance(self.reference, CallAdapter) and self.convention.gives_probabilities:
            run = make_probability_checking_run(run, self.reference, self.activation)
        return Reference(
            "pytorch",
            make_explaining_run(run, self.padding_id),
            _make_float64_run(self),
            lambda: make_perturbed_module_runs(self.module_for_float64, takes_lengths=self.takes_lengths),
            lambda content, case, place: _find_differing_operation(self, content, case, place),
            heads=self.heads,
        )

    def fit_cases_to_module(self, cases: Iterable[Case]) -> list[Case]:
        """Change the cases so that the module answers them: to widths that a text can have, without the ids in
        `self.alone`, and with a real token in each row if the module needs one. Return the changed cases."""
        fitted = self.widths.fit_cases(self.cut_rows_into_text_pairs(cases), self.padding_id)
        real = put_real_token_in_padding_rows(fitted, self.padding_id) if self.needs_real_token else fitted
        real = [case for case in real if case.lengths.min() >= self.least]
        return replace_ids_by_other_ids(real, self.alone, self.ids) if self.alone else real

    def refuse_batch_dependence(self, cases: Iterable[Case]) -> None:
        """Raise an ExportError if the module's answer to a text in one of these batches differs from its answer to the
        text alone.

        Args:
            cases: batches of rows without padding. Their sizes are those at which the module's answers may change, such
                as the sizes around a branch.
        """
        run = self.make_reference().run
        for case in self.fit_cases_to_module(cases):
            rows, steps = case.tokens.shape
            if rows > 1 and not are_rows_independent(run, [case], tolerance=_NEIGHBOURS, rows=(0, rows - 1)):
                raise ExportError(
                    f"The module answers a text differently in a batch of {rows} texts with {steps} tokens than alone.",
                    "Remove conditions on the sizes of a batch from forward: a text's answer must depend only on "
                    "its own tokens.",
                )

    @property
    def module_for_float64(self) -> nn.Module:
        """The module that runs in double precision. TorchScript code contains float32 numbers and dtypes, so a
        TorchScript module is replaced by one that runs its operators one by one."""
        if not has_torchscript(self.reference):
            return self.reference
        return self.module.called if isinstance(self.module, TwoTextModule | FeatureModule) else self.module


def prepare_module(
    module: nn.Module,
    *,
    lengths: bool | None,
    ids: int,
    padding_id: int,
    classes: int,
    multi_label: bool,
    call: str | Call | None = None,
    gives: str | None = None,
    one_text: bool = False,
    widths: Widths | None = None,
    values: bool = False,
    samples: bool = False,
    of_tokens: bool = False,
    two_texts: bool = False,
    heads: Mapping[str, LabelOutput] | None = None,
    features: Features = (),
    spellings: Spellings | None = None,
    labels_are_words: bool = True,
    shortest: int = _SHORTEST,
) -> ExportableModule:
    """Copy a module, and find out how to call it, how to read its answers, and which texts may share a batch.

    Args:
        module: the user's module, which is not changed.
        classes: how many labels there are. A module of two labels may give one logit, that of the second label; the
            first then gets 0, since softmax of the two is the sigmoid of the one.
        multi_label: whether each label has a probability of its own. No logit is added then.
        call: how the module is called, as a line of Python or a function of (module, tokens, lengths); None to find
            out.
        gives: whether the module gives `logits` or `probabilities`; None to find out.
        shortest: the largest number of tokens to try, to find the shortest text that the module answers.
        all others: facts about the module, as in `ModuleFacts`.

    Raises:
        ExportError: the module cannot be copied or called; it is not reproducible; it does not give logits [batch,
            classes]; or its answer to a text depends on the other texts of the batch.
    """
    refuse_unsafe_layers(module)
    reference = copy_for_export(module)
    nonfinite = set_nonfinite_weights_to_zero(reference)
    traceable, widths = replace_torchscript(reference), widths or Widths()
    facts = ModuleFacts(
        reference, ids, padding_id, classes, multi_label=multi_label, lengths=lengths, one_text=one_text, gives=gives,
        widths=widths, values=values, samples=samples, of_tokens=of_tokens, two_texts=two_texts, heads=heads or {},
        features=features, spellings=spellings, labels_are_words=labels_are_words,
    )  # fmt: skip
    convention = _find_convention(facts, call, nonfinite)
    _refuse_other_number_of_texts(convention, two_texts=two_texts)
    norms = find_exceeded_max_norms(unwrap_module(module))
    refuse_direct_weight_reads(facts, convention, norms)
    refuse_dependence_on_calls(facts, convention)
    if convention.takes_lengths and widths.least > 1 and widths.filled:
        convention = replace(convention, takes_lengths=False, counts=padding_id)
    _log_convention(convention)
    is_called = (
        not convention.has_graph_inputs_and_outputs
        or convention.units != classes
        or assigns_without_effect(facts, convention)
    )
    called = functools.partial(CallAdapter, convention=convention) if is_called else lambda unchanged: unchanged
    traceable, reference = wrap_for_trace(called(traceable), convention, widths), called(reference)
    prepared = ExportableModule(
        traceable, reference, convention.takes_lengths, padding=False, padding_id=padding_id, ids=ids,
        example=_make_trace_inputs(padding_id, widths, convention), convention=convention, activation=facts.activation,
        widths=widths, given=OwnersModule(unwrap_module(module), called, convention.takes_lengths, facts.head_sizes),
        refuse_kept=functools.partial(_refuse_dependence_on_sizes_or_max_norms, facts, convention, norms),
        notes=note_extracted_numbers(facts, convention),
    )  # fmt: skip
    _refuse_reads_of_nonfinite_weights(nonfinite, facts, prepared.given, reference)
    run = prepared.make_reference().run
    fault, least = find_padding_fault(run, widths, padding_id), find_least_tokens(run, widths, padding_id, shortest)
    prepared = replace(prepared, padding_fault=fault, least=least)
    if convention.one_text:
        return prepared
    return _find_padding_and_ids_run_alone(prepared, list_possible_padding_ids(module, ids=ids, special=[padding_id]))


def _find_convention(facts: ModuleFacts, call: str | Call | None, nonfinite: Sequence[str]) -> Convention:
    """Find out how to call a module of texts, of texts with features, or of words with characters. If this fails and
    there are infinite or NaN weights (`nonfinite`), the error names these weights: they are 0 in the copy, which may
    therefore give all texts the same answer."""
    try:
        if facts.spellings is not None:
            return find_convention_with_characters(facts, facts.spellings, call)
        return find_convention_with_features(facts, call) if facts.features else find_convention(facts, call)
    except ExportError:
        if nonfinite:
            raise make_nonfinite_weights_error(nonfinite) from None
        raise


def _refuse_reads_of_nonfinite_weights(
    weights: Sequence[str], facts: ModuleFacts, owners: OwnersModule | None, copied: nn.Module
) -> None:
    """Raise an ExportError if a module's answers depend on infinite or NaN numbers in its weights. To find out, its
    answers to texts with every id are compared with those of `copied`, in which these numbers are 0. If the module does
    more than label one text, the error is raised without a comparison."""
    if not weights or owners is None:
        return
    if facts.values or facts.samples or facts.of_tokens or facts.two_texts or facts.features or facts.spellings:
        raise make_nonfinite_weights_error(weights)
    rows, width = 1 if facts.one_text else _ROWS_OF_IDS, facts.widths.clip(_TOKENS_OF_IDS)
    ids = np.resize(np.arange(facts.ids, dtype=np.int64), (-(-facts.ids // (rows * width)), rows, width))
    cases = [Case("all ids", one, np.full(rows, width, np.int64)) for one in ids]
    run = make_module_run(copied, takes_lengths=owners.takes_lengths)
    if not owners.answers_as_copy(run, cases):
        raise make_nonfinite_weights_error(weights)
    _log.warning(
        "Some numbers of the module's %s are not finite. No answer reads them, as texts with each of the %d ids show; "
        "in the bundle they are 0", " and ".join(weights), facts.ids,
    )  # fmt: skip


def _refuse_other_number_of_texts(convention: Convention, *, two_texts: bool) -> None:
    """Raise an InputError if the call uses two texts but the module takes one, or the call uses one text but the module
    takes two."""
    if convention.has_two_texts != two_texts:
        raise InputError(
            f"The call is {convention.line}, "
            + (
                "but the module takes two texts, and the call has no second text."
                if two_texts
                else "which uses two texts, but the option for two texts is not given."
            ),
            'Call the module with first and second: --call "module(first, second)".'
            if two_texts
            else "Give --two-texts, in Python two_texts=True.",
        )


def _refuse_dependence_on_sizes_or_max_norms(
    facts: ModuleFacts, convention: Convention, exceeded_norms: Mapping[str, float], sizes: Iterable[tuple[int, int]]
) -> None:
    """Raise an ExportError if a module's answer to a text depends on earlier texts of other sizes, or on an embedding
    that its `max_norm` changed for earlier texts. `sizes` are the sizes (texts, tokens) to try."""
    refuse_dependence_on_sizes(facts, convention, sizes)
    refuse_direct_weight_reads(facts, convention, exceeded_norms, sizes)


def add_ids_that_need_own_batch(prepared: ExportableModule, candidates: Collection[int]) -> ExportableModule:
    """Find out which candidate ids make a text's answer depend on the other texts of its batch. Return the module with
    these ids in `alone`: texts with them run alone."""
    if prepared.one_text:
        return prepared
    told, tried = dict(prepared.alone), set(prepared.tried)
    for ragged in (False, True) if prepared.padding else (False,):
        left = [i for i in dict.fromkeys(candidates) if 0 <= i < prepared.ids and i not in prepared.alone]
        left = [i for i in left if (i, ragged) not in tried]
        found = find_batch_dependent_ids(
            prepared.make_reference(),
            left,
            known_dependent_ids=prepared.alone,
            ids=prepared.ids,
            padding_id=prepared.padding_id,
            widths=prepared.widths,
            ragged=ragged,
            activation=prepared.activation,
        )
        if found is not None:
            told = {**found, **told}
            tried |= {(i, ragged) for i in left}
    # If most ids have this effect, the module mixes its texts.
    if 2 * len(told) > prepared.ids:
        return prepared
    return replace(prepared, alone=dict(sorted(told.items())), tried=frozenset(tried))


def _find_padding_and_ids_run_alone(prepared: ExportableModule, candidates: Sequence[int]) -> ExportableModule:
    """Find out which ids make a text's answer depend on other texts of its batch, first among `candidates`, and whether
    texts may be padded. Return the module with both facts. Raise an ExportError if the module mixes the texts of a
    batch in any case."""
    log_step("Running texts alone and in batches")
    ids, padding_id = prepared.ids, prepared.padding_id
    full, uneven = (
        make_cases_for_grid_of_shapes(ids, 0, ragged=False),
        make_cases_for_grid_of_shapes(ids, padding_id, ragged=True),
    )
    prepared = add_ids_that_need_own_batch(prepared, candidates)
    alone = _are_rows_independent(prepared, full)
    if not alone and ids <= _FEW:
        # One of the ids in the grid has the effect, and was not among the candidates.
        prepared = add_ids_that_need_own_batch(prepared, range(ids))
        alone = _are_rows_independent(prepared, full)
    if not alone:
        case = prepared.fit_cases_to_module(select_cases_for_row_independence(full))[0]
        run = prepared.make_reference().run
        raise ExportError(*explain_batch_dependence(lambda: run(case.tokens, case.lengths)))
    if not prepared.takes_lengths or not _are_rows_independent(prepared, uneven):
        return prepared
    return add_ids_that_need_own_batch(replace(prepared, padding=True), candidates)


def _describe_call(convention: Convention) -> str:
    """Describe in a sentence how forward is called, and what is assumed about its answer."""
    said = f"forward is called as {convention.line}"
    if convention.pair:
        said += f"; a pair is ({', '.join(convention.pair)}), in this order"
    if convention.units == 1 and not convention.values:
        said += "; its one number is the second label's"
    if convention.beside_a_copy:
        said += "; it fails on a batch of one text, which is run beside a copy of itself"
    if convention.counts is not None:
        said += "; the rules pad every text, and its lengths count the ids that are not the padding"
    if convention.one_text:
        said += "; it answers one text at a time, so that a bundle's batches are answered text by text"
    return said


def _log_convention(convention: Convention) -> None:
    """Log how the module is called, whether its answers count as logits, probabilities or values, and the notes of the
    convention. The log level for the kind of the answers is a warning, unless the numbers prove the kind."""
    _log.info("%s", _describe_call(convention))
    said = f"The module's answers are taken for {convention.gives}"
    if convention.units == 1 and not convention.values:
        said += ". Its one number a text is the second label's"
        if convention.activation is None and convention.undone is None:
            said += (
                " logit: its sigmoid is that label's probability, and 0 separates the two; a value, such as a rating, "
            )
            said += "is not a logit"
    plain = all(
        part.units > 1 and part.gives.startswith((BOTH_SIGNS, "log-prob")) for part in convention.answer_conventions
    )
    told = not plain and not convention.values
    _log.log(logging.WARNING if told else logging.INFO, "%s", said)
    for note in (*convention.notes, *([convention.left_out] if convention.left_out else [])):
        _log.warning("%s", note)


def _make_float64_run(prepared: ExportableModule) -> Run64:
    """Return a run in double precision. The module is copied at the first call, since float32 is usually enough."""

    @functools.cache
    def make_run() -> Run64:
        return make_float64_module_run(prepared.module_for_float64, takes_lengths=prepared.takes_lengths)

    return lambda tokens, lengths: make_run()(tokens, lengths)


def _find_differing_operation(prepared: ExportableModule, content: bytes, case: Case, find_line: LineFinder) -> str:
    """Describe the first operation of forward whose result differs in the ONNX graph `content`, with its line of code.
    Return an empty string if none is found, and always for a module of two texts or with features."""
    if prepared.two_texts or prepared.features:
        return ""
    order = np.argsort(-case.lengths, kind="stable")
    inputs = [case.tokens[order], *([case.lengths[order]] if prepared.takes_lengths else [])]
    return str(
        find_first_operation_missing_in_graph(
            make_float64_copy(prepared.module_for_float64), content, inputs, find_line
        )
        or ""
    )


def _are_rows_independent(prepared: ExportableModule, grid: Sequence[Case]) -> bool:
    """Return whether, in all these cases, a text's answer depends neither on the other texts of its batch nor on
    padding."""
    reference = prepared.make_reference()
    return are_rows_independent_up_to_rounding(
        reference,
        select_cases_of_answered_lengths(
            reference.run, prepared.fit_cases_to_module(select_cases_for_row_independence(grid))
        ),
    )


def _make_trace_inputs(padding_id: int, widths: Widths, convention: Convention) -> tuple[Tensor, ...]:
    """Return the inputs of the trace: tokens, and lengths and features if the module takes them. All axes have
    different sizes, so that the trace cannot confuse them."""
    width, rows = widths.clip(EXAMPLE_STEPS), 1 if convention.one_text else EXAMPLE_ROWS
    lengths = torch.tensor([width, widths.clip(width - 2), widths.clip(width - 4)])[:rows]
    # Real tokens: a module that counts them may fail on a text of padding only.
    tokens = torch.full((rows, width), choose_non_padding_id(padding_id))
    more = _MORE_OF_SECOND if convention.has_two_texts else 0
    texts = (tokens, tokens.repeat(1, 2)[:, : width + more].contiguous())[: 1 + bool(more)]
    of_texts = (lengths, lengths + more)[: len(texts)]
    beside = (
        (derive_features_from_first_ids(convention.features, tokens + torch.arange(rows)[:, None]),)
        if convention.features
        else ()
    )
    if not convention.takes_lengths:
        return (*texts, *beside)
    for text, of_text in zip(texts, of_texts, strict=True):
        text[torch.arange(text.shape[1]) >= of_text[:, None]] = padding_id
    return (*texts, *of_texts, *beside)
