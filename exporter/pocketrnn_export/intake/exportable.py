"""A user's module, made ready to export: copied, its inputs found out, its answers brought to logits of classes."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from pocketrnn.errors import ExportError, InputError, PocketRNNError, first_line
from pocketrnn_export.comparing.cases import (
    EXAMPLE_ROWS,
    EXAMPLE_STEPS,
    Case,
    Ids,
    Logits,
    Run,
    Widths,
    as_pairs,
    neighbour_cases,
    real_id,
    shape_grid,
    with_real_tokens,
    without_ids,
)
from pocketrnn_export.comparing.comparing import Reference, rows_stand_alone, run_of, texts_stand_alone
from pocketrnn_export.comparing.first_missing_operation import Place, departure
from pocketrnn_export.comparing.float64_graph import Run64
from pocketrnn_export.comparing.float64_module import doubled, float64_run_of
from pocketrnn_export.comparing.spread import moved_modules
from pocketrnn_export.intake.answered_texts import least_tokens, of_answered_lengths, padding_fault
from pocketrnn_export.intake.as_given import AsGiven
from pocketrnn_export.intake.call_discovery.module_facts import ModuleFacts
from pocketrnn_export.intake.call_discovery.probabilities import BOTH_SIGNS
from pocketrnn_export.intake.call_discovery.search import asked_convention
from pocketrnn_export.intake.convention import Call, CallAdapter, Convention, OfTwoTexts
from pocketrnn_export.intake.export_copy import (
    copied,
    copied_for_export,
    holds_torchscript,
    kept_tensors,
    unwrapped,
    with_traceable_parts,
)
from pocketrnn_export.intake.kept_state import is_changed_by_a_call, refuse_kept_by_sizes, refuse_kept_state
from pocketrnn_export.intake.last_activation import activated
from pocketrnn_export.intake.looked_up_rows import refuse_weight_beside_its_look_up, rows_beyond_their_norm
from pocketrnn_export.intake.neighbour_refusal import said_of_neighbours
from pocketrnn_export.intake.padding_effect import candidate_ids, ids_told_by_neighbours
from pocketrnn_export.intake.refused_modules import refuse_layers, refuse_nan
from pocketrnn_export.intake.taken_out import unseen_state

__all__ = ["ExportableModule", "prepare", "with_ids_tried"]

_log = logging.getLogger(__name__)
# Rounding of long texts may differ this much between batches; what looks at its neighbours differs by more.
_NEIGHBOURS: Final = 1e-3
# A module that needs more tokens than these has no limit of its own, but a fault.
_SHORTEST: Final = 8
# With so few ids each is tried, where the likely ones do not explain a batch's effect.
_FEW: Final = 512
# So many more tokens has the second text of an example: no number of tokens is that of the first.
_MORE_OF_SECOND: Final = 4


@dataclass(frozen=True)
class ExportableModule:
    """A module that can be exported.

    Attributes:
        module: in float32 and eval mode on the CPU. It never runs, so that what a first run leaves behind in a module
            is not traced.
        reference: a copy of it, which does run.
        takes_lengths: whether forward is given lengths.
        padding: whether a row may be padded beside longer ones without changing its answer.
        padding_id: the token past a row's length.
        ids: how many token ids there are.
        example: what the module is traced on, (tokens,) or (tokens, lengths): three rows by falling length, seven
            steps; sizes that occur nowhere else. One row where the module answers one text at a time. Where it takes
            two texts, the ids of both, and then the lengths of both.
        convention: how the user's module is called in it.
        multi_label: whether each label has a probability of its own.
        widths: how many tokens a text can have.
        padding_fault: how the module fails on a text of padding only, where it answers others; None where it does not.
        least: the fewest tokens of a text that the module has a finite answer to, where it has one to longer texts.
        given: the user's own module, of which this is a copy.
        alone: the ids that make a text's answer depend on its neighbours where it holds one, each with how far a
            probability was seen to move: such a text is answered alone.
        tried: the ids that were asked for that, each with whether in texts that are padded beside longer ones.
        refuse_kept: refuses a module whose answer to a text of one of the given sizes, (texts, tokens), depends on a
            text of another that it was asked before.
        notes: what of it no comparison shows, a sentence each.

    A module of two texts is asked with rows of ids that are pairs (`intake/pair_call.py`), but traced on both.
    """

    module: nn.Module
    reference: nn.Module
    takes_lengths: bool
    padding: bool
    padding_id: int
    ids: int
    example: tuple[Tensor, ...]
    convention: Convention
    multi_label: bool
    widths: Widths
    padding_fault: str | None = None
    least: int = 1
    given: AsGiven | None = None
    alone: Mapping[int, float] = field(default_factory=dict)
    tried: frozenset[tuple[int, bool]] = frozenset()
    refuse_kept: Callable[[Iterable[tuple[int, int]]], None] = lambda _sizes: None
    notes: tuple[str, ...] = ()

    @property
    def real_token(self) -> bool:
        """Whether the module takes no text of padding only."""
        return self.padding_fault is not None

    @property
    def stated_alone(self) -> tuple[int, ...]:
        """The ids of which a text that holds one takes a run of its own; the padding's where it could not be tried."""
        if self.one_text:
            return ()
        tried = any(i == self.padding_id for i, _ in self.tried)
        return tuple(self.alone) if tried or self.alone else (self.padding_id,)

    @property
    def one_text(self) -> bool:
        """Whether the module answers one text at a time only."""
        return self.convention.one_text

    @property
    def two_texts(self) -> bool:
        """Whether the module takes two texts."""
        return self.convention.of_two_texts

    def as_pairs(self, cases: Iterable[Case]) -> list[Case]:
        """The cases as a module of two texts is asked them; of one text, as they are."""
        return [as_pairs(case, self.padding_id) for case in cases] if self.two_texts else list(cases)

    @property
    def to_script(self) -> nn.Module:
        """The module to make the TorchScript copy from; where it holds TorchScript, the module as it was given."""
        return self.reference if holds_torchscript(self.reference) else self.module

    def as_reference(self) -> Reference:
        """The module as what every form is compared with. Its run raises ExportError where the module fails."""
        run = run_of(self.reference, takes_lengths=self.takes_lengths)
        if isinstance(self.reference, CallAdapter) and (self.convention.activation or self.convention.undone):
            run = _with_probabilities_compared(run, self.reference, multi_label=self.multi_label)
        return Reference(
            "pytorch",
            _said(run, self.padding_id),
            _float64_run(self),
            lambda: moved_modules(self.computed, takes_lengths=self.takes_lengths),
            lambda content, case, place: _departure(self, content, case, place),
        )

    def asked(self, cases: Iterable[Case]) -> list[Case]:
        """The cases as the module may be asked them: of widths that a text can have, with a real token in each row
        where it needs one, and without the ids of `alone`."""
        fitted = self.widths.fitted(self.as_pairs(cases), self.padding_id)
        real = with_real_tokens(fitted, self.padding_id) if self.real_token else fitted
        real = [case for case in real if case.lengths.min() >= self.least]
        return without_ids(real, self.alone, self.ids) if self.alone else real

    def check_neighbours(self, cases: Iterable[Case]) -> None:
        """Refuse a module that answers a text differently in a batch of some sizes than alone.

        Args:
            cases: sizes at which it may do something else, such as those on both sides of a branch; rows of full
                length.

        Raises:
            ExportError: it does.
        """
        run = self.as_reference().run
        for case in self.asked(cases):
            rows, steps = case.tokens.shape
            if rows > 1 and not rows_stand_alone(run, [case], tolerance=_NEIGHBOURS, rows=(0, rows - 1)):
                raise ExportError(
                    f"The module answers a text differently in a batch of {rows} x {steps} tokens than alone.",
                    "Branch on no size of the batch: a text's answer may depend on its own tokens only.",
                )

    @property
    def computed(self) -> nn.Module:
        """The module to run in double precision. The code of TorchScript holds float32 numbers and types of its own: in
        its place stands the module that runs its operators one by one."""
        if not holds_torchscript(self.reference):
            return self.reference
        return self.module.called if isinstance(self.module, OfTwoTexts) else self.module


def prepare(
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
    shortest: int = _SHORTEST,
) -> ExportableModule:
    """Copy a module and find out how to call it.

    Args:
        module: the user's module, which is not changed.
        lengths: whether forward is given lengths; None to find out.
        ids: how many token ids there are.
        padding_id: the token past a row's length.
        classes: how many labels there are. A module of two labels may give a single logit: it becomes the second
            label's logit beside a zero. Softmax of the two gives the probabilities that sigmoid gives of the one.
        multi_label: whether each label has a probability of its own. Then no logit is added.
        call: how the module is called, as a line of Python or a function of (module, tokens, lengths); None to find
            out.
        gives: `logits` or `probabilities`, which the module gives; None to find out.
        one_text: whether the module is asked one text at a time, though it may take a batch.
        widths: how many tokens a text can have; by default any number.
        values: whether the module's numbers are values, `classes` of them, and not logits of labels.
        samples: whether ids stand for rows of samples.
        of_tokens: whether the module gives the numbers of the labels for each token.
        two_texts: whether the module takes two texts.
        shortest: how many tokens a module may need at least; one that needs more has a fault.

    Raises:
        ExportError: the module cannot be copied or called, is not reproducible, does not give
            logits [batch, classes], or answers a text according to the other texts of its batch.

    Example:
        >>> prepared = prepare(module, lengths=None, ids=8000, padding_id=1, classes=4, multi_label=False)
        >>> prepared.takes_lengths
        True
    """
    refuse_layers(module)
    reference = copied_for_export(module)
    traceable = with_traceable_parts(reference)
    refuse_nan(reference)
    widths = widths or Widths()
    asked = ModuleFacts(
        reference, ids, padding_id, classes, multi_label=multi_label, lengths=lengths, one_text=one_text, gives=gives,
        widths=widths, values=values, samples=samples, of_tokens=of_tokens, two_texts=two_texts,
    )  # fmt: skip
    convention = asked_convention(asked, call)
    _check_texts_taken(convention, two_texts=two_texts)
    norms = rows_beyond_their_norm(unwrapped(module))
    refuse_kept = functools.partial(_refuse_kept, asked, convention, norms)
    refuse_weight_beside_its_look_up(asked, convention, norms)
    refuse_kept_state(asked, convention)
    if convention.takes_lengths and widths.least > 1 and widths.filled:
        convention = replace(convention, takes_lengths=False, counts=padding_id)
    _tell(convention)
    is_called = not convention.plain or convention.units != classes or is_changed_by_a_call(asked, convention)
    called = functools.partial(CallAdapter, convention=convention) if is_called else _itself
    traceable, reference = _traceable(called(traceable), convention, widths), called(reference)
    prepared = ExportableModule(
        traceable,
        reference,
        convention.takes_lengths,
        padding=False,
        padding_id=padding_id,
        ids=ids,
        example=_example(padding_id, widths, convention),
        convention=convention,
        multi_label=multi_label,
        widths=widths,
        given=AsGiven(unwrapped(module), called, convention.takes_lengths, kept_tensors, copied),
        refuse_kept=refuse_kept,
        notes=unseen_state(asked, convention),
    )
    run = prepared.as_reference().run
    fault, least = padding_fault(run, widths, padding_id), least_tokens(run, widths, padding_id, shortest)
    prepared = replace(prepared, padding_fault=fault, least=least)
    if convention.one_text:
        return prepared
    return _beside_others(prepared, candidate_ids(module, ids=ids, special=[padding_id]))


def _traceable(called: nn.Module, convention: Convention, widths: Widths) -> nn.Module:
    """A module behind its convention, as it is traced."""
    if convention.of_two_texts:
        assert isinstance(called, CallAdapter)  # noqa: S101 - no usual line names two texts
        return OfTwoTexts(called)
    return called if widths.fixed is None else OfWidth(called, widths.fixed)


def _check_texts_taken(convention: Convention, *, two_texts: bool) -> None:
    if convention.of_two_texts != two_texts:
        raise InputError(
            f"The module is called as {convention.line}, "
            + ("which names no second text." if two_texts else "which names two texts."),
            'Call it by first and second: --call "module(first, second)".'
            if two_texts
            else "Say that it takes two: --two-texts, in Python two_texts=True.",
        )


def _refuse_kept(
    asked: ModuleFacts, convention: Convention, norms: Mapping[str, float], sizes: Iterable[tuple[int, int]]
) -> None:
    refuse_kept_by_sizes(asked, convention, sizes)
    refuse_weight_beside_its_look_up(asked, convention, norms, sizes)


def with_ids_tried(prepared: ExportableModule, candidates: Collection[int]) -> ExportableModule:
    """A module with further ids tried: may a text that holds one be answered beside others?

    Example:
        >>> with_ids_tried(prepared, [57]).alone
        {57: 0.0142}
    """
    if prepared.one_text:
        return prepared
    told, tried = dict(prepared.alone), set(prepared.tried)
    for ragged in (False, True) if prepared.padding else (False,):
        left = [i for i in dict.fromkeys(candidates) if 0 <= i < prepared.ids and i not in prepared.alone]
        left = [i for i in left if (i, ragged) not in tried]
        found = ids_told_by_neighbours(
            prepared.as_reference(),
            left,
            known=prepared.alone,
            ids=prepared.ids,
            padding_id=prepared.padding_id,
            widths=prepared.widths,
            ragged=ragged,
            multi_label=prepared.multi_label,
        )
        if found is not None:
            told = {**found, **told}
            tried |= {(i, ragged) for i in left}
    # A module of which most ids do mixes its texts.
    if 2 * len(told) > prepared.ids:
        return prepared
    return replace(prepared, alone=dict(sorted(told.items())), tried=frozenset(tried))


def _beside_others(prepared: ExportableModule, candidates: Sequence[int]) -> ExportableModule:
    """A module that takes a batch: which texts, or pairs, may share one.

    Raises:
        ExportError: it mixes the texts of a batch.
    """
    ids, padding_id = prepared.ids, prepared.padding_id
    full, uneven = shape_grid(ids, 0, ragged=False), shape_grid(ids, padding_id, ragged=True)
    prepared = with_ids_tried(prepared, candidates)
    alone = _rows_stand_alone(prepared, full)
    if not alone and ids <= _FEW:
        # One of them is in the grid; which, was not among the candidates.
        prepared = with_ids_tried(prepared, range(ids))
        alone = _rows_stand_alone(prepared, full)
    if not alone:
        case = prepared.asked(neighbour_cases(full))[0]
        run = prepared.as_reference().run
        raise ExportError(*said_of_neighbours(lambda: run(case.tokens, case.lengths), two_texts=prepared.two_texts))
    if not prepared.takes_lengths or not _rows_stand_alone(prepared, uneven):
        return prepared
    return with_ids_tried(replace(prepared, padding=True), candidates)


def _itself(module: nn.Module) -> nn.Module:
    return module


def _how_it_is_called(convention: Convention) -> str:
    said = f"forward is called as {convention.line}"
    if convention.pair:
        said += f"; a pair is ({', '.join(convention.pair)}), in this order"
    if convention.units == 1 and not convention.values:
        said += "; its one number is the second label's"
    if convention.beside_a_copy:
        said += "; it fails on a single text, which is asked beside a copy of itself"
    if convention.counts is not None:
        said += "; the rules pad every text, and its lengths count the ids that are not the padding"
    if convention.one_text:
        said += "; it answers one text at a time, so that a bundle's batches are answered text by text"
    return said


def _tell(convention: Convention) -> None:
    """Log how a module is called, and what its answers are taken for and why; that as a warning, which a Python caller
    sees, where it was more than a look at the numbers."""
    _log.info("%s", _how_it_is_called(convention))
    said = f"The module's answers are taken for {convention.gives}"
    if convention.units == 1 and not convention.values:
        said += ". Its one number a text is the second label's"
        if convention.activation is None and convention.undone is None:
            said += (
                " logit: its sigmoid is that label's probability, and 0 divides the two; a value, such as a rating, "
            )
            said += "is not a logit"
    told = convention.units == 1 or not convention.gives.startswith((BOTH_SIGNS, "log-prob"))
    told = told and not convention.values
    _log.log(logging.WARNING if told else logging.INFO, "%s", said)
    for note in (*convention.notes, *([convention.left_out] if convention.left_out else [])):
        _log.warning("%s", note)


def _with_probabilities_compared(run: Run, called: CallAdapter, *, multi_label: bool) -> Run:
    """A run whose logits are compared with the probabilities that the user's module gives, on every case."""
    module = CallAdapter(called.module, called.convention, passing=False)
    # Its own name for the answer of a single number: the second label's probability.
    kind, column = ("sigmoid" if multi_label else "softmax"), slice(1 if called.convention.units == 1 else 0, None)
    own = run_of(module, takes_lengths=called.convention.takes_lengths)

    def held(tokens: Ids, lengths: Ids) -> Logits:
        logits, probabilities = run(tokens, lengths), own(tokens, lengths)
        given = activated(kind, torch.from_numpy(logits)).numpy()[:, column]
        if not np.allclose(given, probabilities, rtol=0, atol=1e-5, equal_nan=True):
            raise ExportError(
                "The module's probabilities are not those of the numbers before its last activation, for a batch of "
                f"{len(tokens)} x {tokens.shape[1]} tokens.",
                "Return the logits from forward, or say where they are: --call, or call=.",
            )
        return logits

    return held


def _float64_run(prepared: ExportableModule) -> Run64:
    """The module in double precision. It is copied when it first runs: most questions are settled in float32."""

    @functools.cache
    def made() -> Run64:
        return float64_run_of(prepared.computed, takes_lengths=prepared.takes_lengths)

    return lambda tokens, lengths: made()(tokens, lengths)


def _departure(prepared: ExportableModule, content: bytes, case: Case, place: Place) -> str:
    """The operation of forward at which a graph departs from the module, and its line; empty of two texts."""
    if prepared.two_texts:
        return ""
    order = np.argsort(-case.lengths, kind="stable")
    inputs = [case.tokens[order], *([case.lengths[order]] if prepared.takes_lengths else [])]
    return str(departure(doubled(prepared.computed), content, inputs, place) or "")


def _rows_stand_alone(prepared: ExportableModule, grid: Sequence[Case]) -> bool:
    """Whether a text's answer does not depend on the other texts of its batch, nor on its padding."""
    reference = prepared.as_reference()
    return texts_stand_alone(reference, of_answered_lengths(reference.run, prepared.asked(neighbour_cases(grid))))


def _example(padding_id: int, widths: Widths, convention: Convention) -> tuple[Tensor, ...]:
    width, rows = widths.clip(EXAMPLE_STEPS), 1 if convention.one_text else EXAMPLE_ROWS
    lengths = torch.tensor([width, widths.clip(width - 2), widths.clip(width - 4)])[:rows]
    # Real tokens: a module that counts those that are not padding may not take a text of padding only.
    tokens = torch.full((rows, width), real_id(padding_id))
    more = _MORE_OF_SECOND if convention.of_two_texts else 0
    texts = (tokens, tokens.repeat(1, 2)[:, : width + more].contiguous())[: 1 + bool(more)]
    of_texts = (lengths, lengths + more)[: len(texts)]
    if not convention.takes_lengths:
        return texts
    for text, of_text in zip(texts, of_texts, strict=True):
        text[torch.arange(text.shape[1]) >= of_text[:, None]] = padding_id
    return (*texts, *of_texts)


class OfWidth(nn.Module):
    """A module whose texts all have one number of tokens, which a trace takes for a constant."""

    def __init__(self, module: nn.Module, width: int) -> None:
        super().__init__()
        self.module = module
        self.width = width

    def forward(self, tokens: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Logits [batch, classes] of tokens [batch, width]."""
        # The same tokens, of a size that is known while tracing.
        tokens = tokens.index_select(1, torch.arange(self.width))
        # Named one by one: torch.export takes the sizes of `*lengths` for those of a tuple.
        logits: Tensor = self.module(tokens) if lengths is None else self.module(tokens, lengths)
        return logits


def _said(run: Run, padding_id: int) -> Run:
    """A run of the module, with whatever the module raises as an ExportError that says on what."""

    def said(tokens: Ids, lengths: Ids) -> Logits:
        try:
            return run(tokens, lengths)
        except PocketRNNError:
            raise
        # Whatever a user's module raises, a call of sys.exit included.
        except (Exception, SystemExit) as error:
            what = f"{type(error).__name__}: {first_line(error)}"
            if any((row[:length] == padding_id).all() for row, length in zip(tokens, lengths, strict=True)):
                raise ExportError(
                    f"The module fails on a text that holds the padding only (the id {padding_id}), as a text without "
                    f"a known word or with the word for padding may: {what}.",
                    "Count at least one token in forward, as in lengths.clamp(min=1); and let unknown words and empty "
                    "texts become another id: with '<unk>' in the vocabulary, or with rules=TextRules(unknown_id=..., "
                    "empty_id=...).",
                ) from error
            shape = f"batch {len(tokens)} x sequence {tokens.shape[1]}"
            advice = "A classifier is asked for any number of texts of any length: correct forward for this one."
            if isinstance(error, IndexError) and "out of range in self" in str(error):
                advice = (
                    f"The vocabulary and the text rules give token ids up to {tokens.max()}: check that the embedding "
                    f"has a row for each, and a table of positions one for each of {tokens.shape[1]} tokens."
                )
            ids = ", ".join(map(str, tokens[0, :8]))
            raise ExportError(f"The module fails on {shape}, ids {ids}...: {what}.", advice) from error

    return said
