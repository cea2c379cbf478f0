"""Find out whether a module gives logits, probabilities or values such as a rating. Its numbers decide, not the names
of its functions.

A linear layer can give logits or such values. The range of the numbers, or the loss in the module's file, shows which.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from pocketrnn.errors import ExportError
from pocketrnn_export.intake.call_discovery.module_properties_and_trial_batches import Batch, ModuleFacts
from pocketrnn_export.intake.call_discovery.trial_answers import call_and_read_numbers
from pocketrnn_export.intake.calling_convention import Convention
from pocketrnn_export.intake.compiled_call_line import wrap_last_expression
from pocketrnn_export.intake.last_activation_removal import (
    ActivationCall,
    ActivationRecorder,
    ActivationSkipper,
    apply_activation,
)
from pocketrnn_export.intake.run_that_undoes_assignments import run_quietly_and_undo_assignments
from pocketrnn_export.intake.user_code_lines_for_messages import run_user_call
from pocketrnn_export.module_runs.complete_deep_copy import copy_without_comparison
from pocketrnn_export.module_runs.operator_recording import SHAPES, OperatorRecorder

# The conclusion for numbers of both signs.
BOTH_SIGNS: Final = "logits: numbers below 0 and above 0"

# The rounding error of a sum of probabilities, and of a softmax above 1.
_ROUNDING: Final = 1e-5
# The scales of the drawn weights. If the answers keep their sign with all of these weights, they keep it with every
# weights.
_DRAWS: Final = (1.0, 4.0, 16.0, 64.0, 256.0, 64.0, 256.0, 1024.0)
# Larger weights are flipped instead of drawn, which would take long.
_LARGE: Final = 2_000_000
_SHARES: Final = (
    "The module's probabilities are assumed to sum to 1 for every text: where they do not, each is divided by the sum."
)
# The most activations that are left out, one at a time.
_TRIED: Final = 4
# The label of an activation's output.
_SHARES_LABEL: Final = "shares"
_SAY: Final = "Say which: --gives logits or --gives probabilities, in Python gives=."


@dataclass(frozen=True)
class _ProbedAnswers:
    """A module's answers to batches of texts, [batch, units], or [tokens, units] for labels of tokens; and the
    activation (`kind`) that turns logits of these labels into probabilities."""

    batches: tuple[Batch, ...]
    answers: tuple[Tensor, ...]
    kind: str

    @property
    def all(self) -> Tensor:
        """All answers in one tensor [texts, units]."""
        return torch.cat(self.answers).double()

    @property
    def are_between_zero_and_one(self) -> bool:
        """Whether all answers are from 0 to 1, up to rounding."""
        return bool(((self.all >= -_ROUNDING) & (self.all <= 1 + _ROUNDING)).all())

    @property
    def sign(self) -> int:
        """The sign of all numbers: 1 if none is below 0, -1 if none is above 0, and 0 if both signs occur."""
        return 1 if bool((self.all >= 0).all()) else -1 if bool((self.all <= 0).all()) else 0

    def find_common_sum(self, rows: Tensor) -> float | None:
        """Return the sum that all rows of `rows` [texts, units] have. Return None if the sums differ, or if each row
        has only one number."""
        if rows.shape[1] == 1:
            return None
        sums = rows.sum(1)
        mean = float(sums.mean())
        return mean if bool(((sums - mean).abs() <= _ROUNDING * max(1.0, abs(mean))).all()) else None

    def exp_sums_to_one(self, factor: float) -> bool:
        """Return whether exp(factor * numbers) sums to 1 for each row of the answers, as for logarithms of
        probabilities."""
        total = self.find_common_sum(torch.exp(self.all.clamp(-700, 700) * factor))
        return total is not None and math.isclose(total, 1, abs_tol=1e-4)


def decide_logits_or_probabilities(
    facts: ModuleFacts, convention: Convention, *, call_was_searched: bool
) -> Convention:
    """Find out whether the module gives logits or probabilities, and which activation converts logits to probabilities.
    Return the convention with both. `call_was_searched` is false if the user wrote the call.

    Raises:
        ExportError: a bundle cannot give the module's probabilities, or it is not clear whether the numbers are logits,
            probabilities or values.
    """
    if facts.heads:
        return _decide_for_each_head(facts, convention, call_was_searched=call_was_searched)
    if facts.values:
        return replace(convention, gives="values", values=True)
    if facts.gives == "logits":
        return replace(convention, gives="logits, as its owner says")
    probed = _probe_answers(facts, convention)
    if probed.are_between_zero_and_one and (call := _find_removable_activation(facts, convention, probed)) is not None:
        why = f"probabilities: leaving out {call.function} ({call.line}) gives numbers whose {probed.kind} they are"
        return replace(convention, activation=call, gives=why)
    if facts.gives == "probabilities":
        return _make_convention_of_probabilities(facts, convention, probed)
    if probed.kind == "softmax" and probed.exp_sums_to_one(1):
        why = "log-probabilities: exp of each answer sums to 1, and softmax gives these probabilities again"
        return replace(convention, gives=why)
    if facts.of_tokens and convention.units > 1 and (shares := _name_numbers_that_sum_over_tokens(probed)):
        why = f"logits: {shares} of a label sum to 1 over the tokens of a text, and not over the labels, as of a "
        return replace(convention, gives=f"{why}softmax along another axis; the label of a token is its largest number")
    _refuse_common_sums(convention, probed)
    refuse_regression_values(facts.module, convention, probed.all, call_was_searched=call_was_searched)
    if probed.sign == 0:
        return replace(convention, gives=BOTH_SIGNS)
    if probed.sign == 1 and probed.kind == "softmax" and not probed.are_between_zero_and_one:
        least = wrap_last_expression(convention.line, "-{}")
        why = "logits: numbers from 0 on, some above 1, which do not sum to one number. If they are distances, the "
        return replace(convention, gives=f'{why}least is the likeliest: say so with --call "{least}" --gives logits')
    if (other := _find_range_with_other_weights(facts, convention, probed)) is not None:
        tried = "from 0 on" if probed.sign == 1 else "up to 0"
        why = f"logits: numbers {tried} for every text that was tried, and with other weights {other}"
        return replace(convention, gives=why)
    raise _make_ambiguous_numbers_error(convention, probed)


def _decide_for_each_head(facts: ModuleFacts, convention: Convention, *, call_was_searched: bool) -> Convention:
    """Find out for each head whether it gives logits, and which activation converts these to probabilities. Return the
    convention with both for each head."""
    heads = []
    for name, one in zip(facts.heads, convention.heads, strict=True):
        try:
            heads.append(
                decide_logits_or_probabilities(
                    facts.make_facts_for_head(name), one, call_was_searched=call_was_searched
                )
            )
        except ExportError as error:
            raise ExportError(f"The head {name!r}: {error.problem}", error.remedy) from error.__cause__
    heads = [_take_logarithm_for_dependent_heads(facts, one, heads) for one in heads]
    gives = "; ".join(
        f"{name}: {one.gives}" + (" (its one number is the second label's)" if one.units == 1 else "")
        for name, one in zip(facts.heads, heads, strict=True)
    )
    notes = (*convention.notes, *dict.fromkeys(note for one in heads for note in one.notes))
    return replace(convention, heads=tuple(heads), gives=gives, notes=notes)


def _take_logarithm_for_dependent_heads(
    facts: ModuleFacts, head: Convention, heads: Sequence[Convention]
) -> Convention:
    """Return the convention of a head. If another head uses its probabilities, its activation stays, and its logits are
    computed from the probabilities. Otherwise, its logits are the numbers before the activation."""
    if head.activation is None:
        return head
    batch = facts.draw_batch(1 if head.one_text else facts.trial_rows, facts.trial_widths[0][0])
    for other in heads:
        own = call_and_read_numbers(facts, other, *batch)
        with run_quietly_and_undo_assignments(facts.module), ActivationSkipper(head.activation):
            without = run_user_call(other.function, facts.module, *(each.clone() for each in batch))
        if other is not head and not torch.equal(own, without.float().reshape(own.shape)):
            undone = "sigmoid" if head.activation.function.startswith(("sigmoid", "special_expit")) else "softmax"
            return replace(head, activation=None, undone=undone, gives=f"{head.gives}; another head reads them")
    return head


def _probe_answers(facts: ModuleFacts, convention: Convention) -> _ProbedAnswers:
    """Return the module's answers to random texts of several lengths."""
    kind = "sigmoid" if facts.multi_label or convention.units == 1 else "softmax"
    rows = 1 if convention.one_text else facts.trial_rows
    tried = [facts.draw_batch(rows, width) for width in itertools.chain(*facts.trial_widths)]
    # Several texts, even if one at a time: the sum of a single text's numbers shows nothing.
    tokens, lengths = facts.draw_batch(16, facts.widths.clip(11))
    each = 1 if convention.one_text else len(tokens)
    tried += [(tokens[i : i + each], lengths[i : i + each]) for i in range(0, len(tokens), each)]
    batches, answers = [], []
    for batch in tried:
        # A convolution may fail at this width.
        with contextlib.suppress(Exception, SystemExit):
            answers.append(call_and_read_numbers(facts, convention, *batch).reshape(-1, convention.units))
            batches.append(batch)
    if not answers:
        # Let the module raise its error.
        call_and_read_numbers(facts, convention, *tried[0])
    return _ProbedAnswers(tuple(batches), tuple(answers), kind)


# --- an activation that can be left out


def _find_removable_activation(
    facts: ModuleFacts, convention: Convention, probed: _ProbedAnswers
) -> ActivationCall | None:
    """Find the call of an activation without which the module gives the logits. Return None if there is no such call.

    Raises:
        ExportError: the module changes the activation's output afterwards; or the activation is a sigmoid for each
            label, although a text has only one label.
    """
    for call in _find_last_activations(facts, convention, probed):
        logits = []
        with contextlib.suppress(Exception, SystemExit):
            for batch in probed.batches:
                with run_quietly_and_undo_assignments(facts.module), ActivationSkipper(call):
                    answer = run_user_call(convention.function, facts.module, *batch)
                logits.append(answer.float().reshape(-1, convention.units))
        if len(logits) != len(probed.batches):
            continue
        if _does_activation_give_answers(probed.kind, logits, probed.answers):
            if _is_followed_only_by_moves(facts, convention, call, probed):
                return call
            if facts.gives == "probabilities":
                return None
            raise ExportError(
                f"The module changes the result of its {call.function} ({call.line}), as by a product, a mask or a "
                "division. This may change the answers to some texts.",
                "Return the logits from forward, after every such change; or export these numbers as they are: "
                "--gives probabilities, in Python gives=.",
            )
        if convention.units > 1 and _does_activation_give_answers("sigmoid", logits, probed.answers):
            raise UnclearNumbersError(
                f"The module gives a sigmoid of each label ({call.line}), which need not sum to 1.",
                "If a text can have any number of labels, export it with --multi-label (multi_label=True). If these "
                "numbers go into a softmax, as with nn.CrossEntropyLoss, export it with --gives logits "
                "(gives='logits').",
                one=False,
            )
    return None


def _find_last_activations(facts: ModuleFacts, convention: Convention, probed: _ProbedAnswers) -> list[ActivationCall]:
    """Return the last activations before the answer: the answer depends on each of them without a later activation in
    between. The last call comes first."""
    operations = OperatorRecorder()
    seen = ActivationRecorder(lambda number, result: operations.label_tensors(f"call {number}", result))
    with run_quietly_and_undo_assignments(facts.module), operations, seen:
        answer = run_user_call(convention.function, facts.module, *probed.batches[0])
    labels = operations.find_labels(answer)
    return [call for number, call in enumerate(seen.calls) if f"call {number}" in labels][: -_TRIED - 1 : -1]


def _is_followed_only_by_moves(
    facts: ModuleFacts, convention: Convention, call: ActivationCall, probed: _ProbedAnswers
) -> bool:
    """Return whether the operations after an activation only reshape its output or move its numbers, for every text. A
    mask or a product may change the probabilities of rare texts. So may an index on the axis that sums to 1.

    To see such indexing, the activation returns each number's index on that axis in place of the probability.
    """
    tokens, lengths = (value.clone() for value in probed.batches[0])
    operations, found = OperatorRecorder(_SHARES_LABEL), list[frozenset[int]]()

    def replace_by_indices(shares: Tensor) -> Tensor:
        # In place, as an activation that works in place is read from its input.
        shares.copy_(_make_sum_axis_indices(shares))
        operations.label_tensors(_SHARES_LABEL, shares)
        found.append(operations.find_steps_that_made(shares))
        return shares

    operations.label_tensors("text", tokens, lengths)
    skipper = ActivationSkipper(call, instead=replace_by_indices)
    with run_quietly_and_undo_assignments(facts.module), operations, skipper:
        answer = run_user_call(convention.function, facts.module, tokens, lengths)
    return found == [operations.trace_back_through_operators_and_moves(SHAPES, answer, _SHARES_LABEL)[0]]


def _make_sum_axis_indices(shares: Tensor) -> Tensor:
    """Return for each number its index on the axis along which the numbers sum to 1. Return zeros if there is no such
    axis."""
    places = torch.zeros_like(shares)
    for axis, size in enumerate(shares.shape):
        if torch.allclose(shares.sum(axis), torch.ones(()).to(shares), atol=1e-4):
            places += torch.arange(size).to(shares).view(-1, *[1] * (shares.dim() - axis - 1))
    return places


def _does_activation_give_answers(kind: str, logits: Sequence[Tensor], answers: Sequence[Tensor]) -> bool:
    """Return whether an activation converts the logits of every batch to the module's answers."""
    return all(
        torch.allclose(apply_activation(kind, given), answer, atol=1e-6)
        for given, answer in zip(logits, answers, strict=True)
    )


# --- conclusions from the numbers


def _make_convention_of_probabilities(facts: ModuleFacts, convention: Convention, probed: _ProbedAnswers) -> Convention:
    """Return the convention of a module of which the user says that it gives probabilities. Raise an ExportError if its
    numbers cannot be probabilities."""
    if not probed.are_between_zero_and_one:
        raise ExportError(
            "The module is exported with --gives probabilities, but gives numbers below 0 or above 1.",
            "Export it with --gives logits.",
        )
    total = probed.find_common_sum(probed.all)
    if probed.kind == "softmax" and (total is None or not math.isclose(total, 1, abs_tol=1e-4)):
        raise ExportError(
            "The module is exported with --gives probabilities, but its numbers for a text do not sum to 1.",
            "If your code drops a class, keep the class and give its label, or divide by the sum: "
            "--call 'p = module(tokens); p / p.sum(1, keepdim=True)'. If a text may have several labels, give "
            "--multi-label. If the numbers are not probabilities, give --gives logits.",
        )
    why = "probabilities, as its owner says: they are brought to logits by their logarithm"
    undone = "sigmoid" if facts.multi_label else "softmax"
    notes = convention.notes if probed.kind == "sigmoid" else (*convention.notes, _SHARES)
    return replace(convention, undone=undone, gives=why, notes=notes)


def _name_numbers_that_sum_over_tokens(probed: _ProbedAnswers) -> str:
    """Return "the numbers" if the module's numbers sum to 1 over the tokens of each text, and "exp of the numbers" if
    their exp does. Otherwise, return an empty string."""
    for what, of in (("the numbers", torch.Tensor.double), ("exp of the numbers", torch.Tensor.exp)):
        sums = [of(a).reshape(*t.shape, -1).sum(1) for (t, _), a in zip(probed.batches, probed.answers, strict=True)]
        if all(torch.allclose(one, torch.ones(()).to(one), atol=1e-4) for one in sums):
            return what
    return ""


def _refuse_common_sums(convention: Convention, probed: _ProbedAnswers) -> None:
    """Raise an ExportError if a module's numbers for each text sum to 1, or are never below 0 and have the same sum
    for every text. Also raise it for negative log-probabilities, and for logarithms of probabilities to the base 2
    or 10."""
    total = probed.find_common_sum(probed.all)
    to_one = total is not None and math.isclose(total, 1, abs_tol=1e-4)
    if to_one and probed.are_between_zero_and_one:
        raise UnclearNumbersError(
            "The module gives numbers between 0 and 1, which may be logits or probabilities: those of each text sum to "
            "1.",
            _SAY,
            choices=("logits", "probabilities"),
            one=False,
        )
    if total is not None and (to_one or (probed.sign == 1 and total > _ROUNDING)):
        raise ExportError(
            f"The module gives numbers that sum to {total:.4g} for every text: they may be logits, or parts of this "
            "sum.",
            "Say which: --gives logits, or --call "
            f'"{wrap_last_expression(convention.line, f"torch.log({{}} / {total:.4g})")}".',
        )
    if probed.kind == "sigmoid" and not probed.exp_sums_to_one(1):
        return
    if probed.exp_sums_to_one(-1):
        raise ExportError(
            "The module gives negative log-probabilities: the smallest belongs to the likeliest label.",
            f'Change their sign: --call "{wrap_last_expression(convention.line, "-{}")}", or call=.',
        )
    for base in (2, 10):
        if probed.exp_sums_to_one(math.log(base)):
            raise ExportError(
                f"The module gives logarithms to the base {base} of numbers that sum to 1.",
                f'Convert them: --call "{wrap_last_expression(convention.line, f"{{}} * {math.log(base):.9f}")}", or '
                "--gives logits.",
            )


def _make_ambiguous_numbers_error(convention: Convention, probed: _ProbedAnswers) -> UnclearNumbersError:
    """Make the error for answers that may be logits or probabilities: they have the same sign with all weights that
    were tried."""
    one = convention.units == 1
    if probed.sign == -1:
        line = wrap_last_expression(convention.line, "torch.logit(torch.exp({}))")
        logarithms = f'for logarithms of probabilities, --call "{line}".'
        if probed.kind == "sigmoid":
            meant, before = "sigmoid of them is meant, as nn.BCEWithLogitsLoss takes them", "F.logsigmoid"
        else:
            meant, before = "softmax of them is meant, as nn.CrossEntropyLoss takes them", "F.log_softmax"
            logarithms += (
                " Where each label has a probability of its own, as of F.logsigmoid, a text may have any number of "
                "labels: then with --multi-label (multi_label=True) too."
            )
        what = "one number for each text," if one else "numbers"
        return UnclearNumbersError(
            f"The module gives {what} below 0 only, which may be logits or the logarithms of probabilities.",
            f"Return the numbers before the logarithm, as they go into {before}; or say what these are: --gives logits "
            f"(gives='logits') where {meant}; {logarithms}",
            one=one,
        )
    if probed.are_between_zero_and_one:
        said = "The module gives numbers between 0 and 1, which may be logits or probabilities."
        return UnclearNumbersError(said, _SAY, choices=("logits", "probabilities"), one=one)
    return UnclearNumbersError(
        "The module gives no number below 0: as logits, its numbers would give no probability below 0.5.",
        "Say what they are: --gives logits (gives='logits'); or return the numbers before the last activation.",
        one=one,
    )


def _find_range_with_other_weights(facts: ModuleFacts, convention: Convention, probed: _ProbedAnswers) -> str | None:
    """Run the module with other weights, to find out whether its numbers may be probabilities. Return "below 0", "above
    0" or "above 1" if some numbers are in a range where neither probabilities nor their logarithms can be. Otherwise,
    return None.

    With random weights, a linear layer gives both signs, and a last ReLU numbers above 1; a sigmoid gives neither, for
    any input. So does a sigmoid times positive weights: matrices of one sign are therefore also kept and only scaled,
    one at a time, and the answers must lie in the range then, too.
    """
    module = copy_without_comparison(facts.module)
    # A maximum over one step can have both signs.
    again, batches = (
        replace(facts, module=module),
        [*probed.batches[:2], facts.draw_batch(len(probed.batches[0][0]), 1)],
    )
    matrices = [weight for weight in module.parameters() if weight.dim() > 1 and weight.is_floating_point()]
    own = [weight.detach().clone() for weight in matrices]
    of_one_sign = [i for i, weight in enumerate(own) if bool((weight >= 0).all() | (weight <= 0).all())]
    generator = torch.Generator().manual_seed(0)
    may_exceed_one = probed.kind == "softmax" and probed.sign == 1
    crossed, exceeded = bool(matrices), bool(matrices) and may_exceed_one
    # Numbers below 0 are not a mixture of probabilities.
    for kept in (None, *(of_one_sign if probed.sign == 1 else [])):
        crosses = exceeds = False
        for scale in _DRAWS:
            for i, weight in enumerate(matrices):
                weight.data.copy_(own[i] * scale if i == kept else _draw_weights(own[i], scale, generator))
            for answer in _compute_finite_answers(again, convention, batches):
                crosses = crosses or bool((answer * probed.sign < -_ROUNDING).any())
                exceeds = exceeds or bool((answer > 1 + 1e-3).any())
            if (crosses or not crossed) and (exceeds or not exceeded):
                break
        crossed, exceeded = crossed and crosses, exceeded and exceeds
        if not crossed and not exceeded:
            return None
    if crossed:
        return "below 0" if probed.sign == 1 else "above 0"
    return "above 1" if exceeded else None


def _compute_finite_answers(facts: ModuleFacts, convention: Convention, batches: Sequence[Batch]) -> Iterator[Tensor]:
    """Yield the module's answers to each batch, [rows, units], without the rows that contain infinity or NaN."""
    for batch in batches:
        with contextlib.suppress(Exception, SystemExit):
            answer = call_and_read_numbers(facts, convention, *batch).reshape(-1, convention.units)
            yield answer[torch.isfinite(answer).all(1)]


def _draw_weights(own_weights: Tensor, scale: float, generator: torch.Generator) -> Tensor:
    """Draw new weights of both signs, about as large as the module's own weights times `scale`. A very large matrix is
    not drawn, but reversed and negated."""
    if own_weights.numel() > _LARGE:
        return own_weights.flip(0).mul_(-scale)
    size = float(own_weights.float().pow(2).mean().sqrt()) or 0.1
    return torch.randn(own_weights.shape, generator=generator).to(own_weights.dtype) * (scale * size)


_LOSS_OF_VALUES: Final = re.compile(r"\b((?:MSE|L1|SmoothL1|Huber)Loss|(?:mse|l1|smooth_l1|huber)_loss)\b")
_LOSS_OF_LABELS: Final = re.compile(
    r"BCE|CrossEntropy|cross_?entropy|NLL|nll_loss|[mM]argin_?[lL]oss|[fF]ocal|logsigmoid|log_?softmax", re.IGNORECASE
)
# A logit of 1 is a probability of 0.73. If every text has at least this logit, all texts would have the second label.
_SURE: Final = 1.0


class UnclearNumbersError(ExportError):
    """The module's numbers may be of several kinds.

    Attributes:
        choices: what `gives` may be.
        labels_decide: whether the labels that the owner's classifier gives show which it is. Its probabilities do.
    """

    def __init__(self, problem: str, remedy: str, *, choices: tuple[str, ...] = ("logits",), one: bool) -> None:
        super().__init__(problem, remedy)
        self.choices, self.labels_decide = choices, one and choices == ("logits",)


def refuse_regression_values(
    module: nn.Module, convention: Convention, numbers: Tensor, *, call_was_searched: bool
) -> None:
    """Refuse a module whose numbers for texts may be values instead of logits.

    Args:
        module: the owner's module.
        convention: how it is called.
        numbers: what it gives to some texts, [texts, units].
        call_was_searched: false for a call that the user wrote, which may turn values into logits.

    Raises:
        UnclearNumbersError: the module gives a single number that is never below 1; or its file names a loss for values
            and none for labels.
    """
    one, least, most = convention.units == 1, float(numbers.min()), float(numbers.max())
    loss = _find_loss_of_values(module) if call_was_searched else None
    if one and least > _SURE:
        why = f"from {least:.3g} to {most:.3g} for the tried texts: as logits, they give every text the second label"
    elif loss is not None:
        meant = "it may be a value, such as a rating" if one else "they may be values, such as ratings"
        why = f"and its file names {loss}, but no loss for labels: {meant}"
    else:
        return
    divided = (
        "; for a text, subtract the value that separates the two labels, such as 3 in "
        f'--call "{wrap_last_expression(convention.line, "{} - 3")}" --gives logits'
    )
    raise UnclearNumbersError(
        f"The module gives {'one number' if one else f'{convention.units} numbers'} for each text, {why}.",
        "If it is a logit, give --gives logits (gives='logits'). If it is a value, export a module of sequences of "
        f"numbers with --values{divided if one else '; a classifier of texts gives labels, not values'}.",
        one=one,
    )


def _find_loss_of_values(module: nn.Module) -> str | None:
    """Return the loss for values that the file of a module's class names. Return None if the file names none, or if it
    also names a loss for labels."""
    file, text = getattr(sys.modules.get(type(module).__module__), "__file__", None), ""
    if isinstance(file, str) and file.endswith((".py", ".ipynb")):
        with contextlib.suppress(OSError):
            text = Path(file).read_text(encoding="utf-8", errors="replace")
    named = _LOSS_OF_VALUES.search(text)
    return None if named is None or _LOSS_OF_LABELS.search(text) else named[1]
