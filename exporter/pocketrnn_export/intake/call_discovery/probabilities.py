"""Whether a module gives logits or probabilities."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from pocketrnn.errors import ExportError
from pocketrnn_export.intake.activation import CallsSeen, Passing, activated
from pocketrnn_export.intake.call_discovery.asked import Asked
from pocketrnn_export.intake.call_discovery.trial import read_answer
from pocketrnn_export.intake.convention import (
    Convention,
    called_as,
    left_as_it_was,
)
from pocketrnn_export.proof.surroundings import surroundings

__all__ = ["with_activation"]


def with_activation(asked: Asked, convention: Convention) -> Convention:
    """The convention with what makes probabilities of its logits.

    Raises:
        ExportError: it gives probabilities that a bundle cannot, or numbers that may be either.
    """
    if asked.gives == "logits":
        return convention
    kind = "sigmoid" if asked.multi_label or convention.units == 1 else "softmax"
    rows = 1 if convention.one_text else asked.rows
    batches = []
    for width in itertools.chain(*asked.tried_widths):
        with contextlib.suppress(Exception, SystemExit):
            batch = asked.batch(rows, width)
            batches.append((batch, read_answer(asked, convention, *batch)))
    seen = CallsSeen()
    with torch.no_grad(), surroundings(), left_as_it_was(asked.module), seen:
        called_as(convention.function, asked.module, *batches[0][0])
    answers = [answer for _, answer in batches]
    between = all(bool(((answer >= 0) & (answer <= 1)).all()) for answer in answers)
    if not between:
        _refuse_logarithms(asked, convention, answers, logged=seen.logged)
        if asked.gives == "probabilities":
            raise ExportError("The module gives numbers that are no probabilities.", "Export it with --gives logits.")
        return convention
    for call in reversed(seen.calls[-4:]):
        passing = replace(convention, activation=call)
        logits = []
        with contextlib.suppress(Exception, SystemExit):
            for batch, _ in batches:
                with torch.no_grad(), surroundings(), left_as_it_was(asked.module), Passing(call):
                    logits.append(called_as(convention.function, asked.module, *batch).float().reshape(rows, -1))
        if len(logits) != len(batches):
            continue
        if _gives(kind, logits, answers):
            return passing
        if convention.units > 1 and _gives("sigmoid", logits, answers):
            raise ExportError(
                f"The module gives a sigmoid of each label ({call.line}), which need not sum to 1.",
                "If a text can have any number of labels, export it with --multi-label (multi_label=True). If softmax "
                "of these numbers is meant, as nn.CrossEntropyLoss takes them, with --gives logits (gives='logits').",
            )
    sums = convention.units > 1 and all(bool(((answer.sum(1) - 1).abs() < 1e-5).all()) for answer in answers)
    if asked.gives == "probabilities":
        if kind == "softmax" and not sums:
            raise ExportError(
                "The module gives numbers that do not sum to 1.", "Export it with --multi-label, or --gives logits."
            )
        return replace(convention, undone="sigmoid" if asked.multi_label else "softmax")
    if sums or seen.squashed:
        raise ExportError(
            "The module gives numbers between 0 and 1, which may be logits or probabilities.",
            "Say which: --gives logits or --gives probabilities, in Python gives=.",
        )
    return convention


def _refuse_logarithms(asked: Asked, convention: Convention, answers: Sequence[Tensor], *, logged: bool) -> None:
    """Refuse numbers that may be logarithms of a sigmoid, or negative ones of a softmax: taken for logits, they give
    other probabilities.

    Raises:
        ExportError: they may be.
    """
    line = convention.line
    if convention.units > 1 and not asked.multi_label:
        sums = [torch.exp(-answer).sum(1) for answer in answers]
        if all(bool(((total - 1).abs() < 1e-4).all()) for total in sums):
            raise ExportError(
                "The module gives negative log-probabilities: the least is the likeliest.",
                f'Say so: --call "-{line}", or call=.',
            )
    elif logged and all(bool((answer < 0).all()) for answer in answers):
        raise ExportError(
            "The module gives a logarithm of numbers that may be probabilities, and a bundle would take it for logits.",
            f'Say which: --gives logits (gives="logits"), or --call "torch.logit(torch.exp({line}))".',
        )


def _gives(kind: str, logits: Sequence[Tensor], answers: Sequence[Tensor]) -> bool:
    return all(
        torch.allclose(activated(kind, given), answer, atol=1e-6) for given, answer in zip(logits, answers, strict=True)
    )
