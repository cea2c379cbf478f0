"""Choose between calls that give different answers: the right call gives the answers of the owner's classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

import torch
from torch import Tensor, nn

from pocketrnn_export.intake.call_discovery.trial_answers import call_and_restore_state
from pocketrnn_export.intake.compiled_call_line import compile_call
from pocketrnn_export.vocabularies.owner_texts_and_answers import Answer

# The largest difference from the owner's probabilities, which may be rounded to two decimals. The proof compares the
# chosen call more strictly.
_NEAR: Final = 6e-3
Rows: TypeAlias = "Sequence[tuple[Sequence[int], Answer]]"


def find_calls_that_agree(
    module: nn.Module, calls: Sequence[str], rows: Rows, labels: Sequence[str], *, multi_label: bool
) -> list[str]:
    """Return those of the calls with which the module gives the owner's answers to all texts.

    Args:
        calls: lines of Python that call the module.
        rows: the ids of texts, with the answers of the owner's classifier.
        labels: the labels, in the order of the module's outputs.
        multi_label: whether a text may have several labels, each with its own probability.
    """
    return [call for call in calls if _gives_owners_answers(module, call, rows, labels, multi_label=multi_label)]


def _gives_owners_answers(
    module: nn.Module, line: str, rows: Rows, labels: Sequence[str], *, multi_label: bool
) -> bool:
    """Return whether a call of the module gives the owner's answers to all texts. The module's numbers are either
    logits for all texts or probabilities for all texts."""
    call, fits = compile_call(line), [True, True]
    for ids, answer in rows:
        try:
            found = call_and_restore_state(module, call, torch.tensor([list(ids)]), torch.tensor([len(ids)]))
            numbers = found.double().reshape(-1)
        # Whatever a user's module raises.
        except (Exception, SystemExit):
            return False
        # The module gives probabilities, or logits: one of them for all texts.
        binary = len(numbers) == 1 and len(labels) == 2
        made = numbers.sigmoid() if binary or multi_label else numbers.softmax(0)
        for i, one in enumerate((numbers, made)):
            each = torch.cat([1 - one, one]) if binary else one
            fits[i] = fits[i] and _matches_owners_answer(each, answer, labels, multi_label=multi_label)
    return any(fits)


def _matches_owners_answer(numbers: Tensor, answer: Answer, labels: Sequence[str], *, multi_label: bool) -> bool:
    """Return whether the module's numbers, one for each label, agree with the owner's answer: with its probabilities,
    or with its labels if it has no probabilities."""
    if len(numbers) != len(labels):
        return False
    if isinstance(answer, Mapping):
        return all(abs(answer[label] - float(numbers[labels.index(label)])) <= _NEAR for label in answer)
    if multi_label:
        return {label for label, p in zip(labels, numbers.tolist(), strict=True) if p >= 0.5} == set(answer)
    return labels[int(numbers.argmax())] in answer
