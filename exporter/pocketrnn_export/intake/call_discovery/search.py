"""How a module is called, found out by calling it: on a few small batches, in the ways that people write forward.

A way holds if the module runs, gives finite numbers for each text, gives them again when it is asked again, tells one
text from another, and answers each text as it does alone. The batches have sizes that occur nowhere else, so that no
axis can be taken for another. Where two ways hold with other answers, nothing is chosen.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from pocketrnn_export.intake.activation import activated
from pocketrnn_export.intake.call_discovery.asked import Asked, parameters_of
from pocketrnn_export.intake.call_discovery.candidates import LENGTH_FIRST, MOST_LINES, calls_of
from pocketrnn_export.intake.call_discovery.probabilities import with_activation
from pocketrnn_export.intake.call_discovery.refusals import Fails, ambiguous, refusal
from pocketrnn_export.intake.call_discovery.states import setups_of
from pocketrnn_export.intake.call_discovery.trial import Holds, try_line
from pocketrnn_export.intake.convention import (
    Call,
    Convention,
    compiled,
)

__all__ = ["asked_convention"]


def asked_convention(asked: Asked, call: str | Call | None = None) -> Convention:
    """Find out how a module is called.

    Args:
        asked: the module, and what is known of it.
        call: how its owner says that it is called: a line of Python, or a function of (module, tokens, lengths).

    Raises:
        ExportError: no way holds; or two hold with other answers.
        InputError: the line is no Python.

    Example:
        >>> asked_convention(Asked(module, ids=8000, padding_id=1, classes=4)).line
        'module(tokens.t(), lengths)[0]'
    """
    if call is None:
        convention = _found(asked)
    elif isinstance(call, str):
        convention = _given(asked, call.strip(), compiled(call))
    else:
        convention = _given(asked, getattr(call, "__name__", "call") + "(module, tokens, lengths)", call)
    return with_activation(asked, convention)


def _given(asked: Asked, line: str, function: Call) -> Convention:
    """The convention of a call that the owner wrote."""
    failures: list[Fails] = []
    for one_text, widths in itertools.product((False, True), asked.tried_widths):
        if asked.one_text and not one_text:
            continue
        if one_text and not asked.one_text and any(failed.rank >= 4 for failed in failures):
            # It takes a batch, and answers wrongly in it: one text at a time is for its owner to choose.
            break
        outcomes = try_line(asked, line, function, widths, one_text=one_text, suffixes=False)
        for found in outcomes:
            if isinstance(found, Holds):
                return found.convention
            failures.append(found)
    raise refusal(asked, failures)


def _found(asked: Asked) -> Convention:
    """The convention that holds among those that people have."""
    failures: list[Fails] = []
    inputs = list(itertools.islice(calls_of(asked), MOST_LINES))
    setups = [""] if isinstance(asked.module, torch.jit.ScriptModule) else ["", *setups_of(asked.module)]
    for one_text in (False, True):
        if asked.one_text and not one_text:
            continue
        for widths in asked.tried_widths:
            for setup in setups:
                holding: list[Holds] = []
                for line in inputs:
                    if holding and line == LENGTH_FIRST:
                        continue
                    for found in try_line(asked, setup + line, compiled(setup + line), widths, one_text=one_text):
                        if isinstance(found, Fails):
                            failures.append(found)
                        elif not any(_same_answers(found, other, asked) for other in holding):
                            holding.append(found)
                    if holding and not setup and _certain(asked, line, inputs):
                        break
                # Of two masks, that under which what is past the length tells less is right.
                holding = [holds for holds in holding if not holds.leaks] or holding
                if len(holding) > 1:
                    raise ambiguous([holds.convention.line for holds in holding])
                if holding:
                    return holding[0].convention
        if mixing := [failed for failed in failures if failed.rank >= 4]:
            # It takes a batch, and answers wrongly in it: one text at a time is for its owner to choose.
            raise refusal(asked, mixing)
    raise refusal(asked, failures)


def _certain(asked: Asked, line: str, lines: Sequence[str]) -> bool:
    """Whether a way that holds needs no comparison with others: forward takes the tokens only, or lengths by name."""
    if line != lines[0] or line not in {"module(tokens)", "module(tokens, lengths)"}:
        return False
    parameters = parameters_of(asked.module)
    if asked.widths.least > 1 and any("len" in p.name.lower() and p.default is not p.empty for p in parameters):
        # Where the rules pad every text, a module may be given the real lengths of its texts, or may not.
        return False
    return not any("mask" in p.name.lower() for p in parameters)


def _same_answers(one: Holds, other: Holds, asked: Asked) -> bool:
    """Whether two ways say the same: equal numbers, or those of which one are the probabilities of the other."""

    def probabilities(holds: Holds, answer: Tensor) -> list[Tensor]:
        kind = "sigmoid" if asked.multi_label or holds.convention.units == 1 else "softmax"
        return [answer, activated(kind, answer)]

    return one.convention.units == other.convention.units and all(
        any(torch.allclose(x, y, atol=1e-5) for x in probabilities(one, a) for y in probabilities(other, b))
        for a, b in zip(one.answers, other.answers, strict=True)
    )
