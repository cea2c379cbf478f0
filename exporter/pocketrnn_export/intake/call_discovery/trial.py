"""Trying one way to call a module.

A way holds if the module runs, gives finite numbers for each text, gives them again when it is asked again, tells one
text from another, and answers each text as it does alone.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor, nn

from pocketrnn_export.intake.call_discovery.asked import Asked, parameters_of
from pocketrnn_export.intake.call_discovery.reading import leaves_of, no_place, places_of
from pocketrnn_export.intake.call_discovery.refusals import Fails, raised
from pocketrnn_export.intake.call_discovery.states import state_makers
from pocketrnn_export.intake.convention import (
    Call,
    Called,
    Convention,
    called_as,
    compiled,
    left_as_it_was,
    uses_lengths,
)
from pocketrnn_export.proof.surroundings import answer_of, surroundings

__all__ = ["Holds", "answer_to", "read_answer", "try_line"]

# Single precision sums a batch otherwise than one text; a module that mixes its texts differs by more.
_SAME: Final = 1e-4
# Rows of one product of matrices are rounded otherwise on some processors: 16 times float32's precision is no answer.
_ROUNDING: Final = 2e-6


@dataclass(frozen=True)
class Holds:
    """A way that holds, with its answers to the batches that it was tried on; and whether what stands past the end of a
    masked row tells in them, as where a layer reads it backwards."""

    convention: Convention
    answers: tuple[Tensor, ...]
    leaks: bool = False


def try_line(
    asked: Asked, line: str, function: Call, widths: Sequence[int], *, one_text: bool, suffixes: bool = True
) -> Iterable[Holds | Fails]:
    """Try a line; it holds once for each part of its answer that may be the logits."""
    if not one_text and ("tokens[0]" in line or "[tokens.size(1)]" in line):
        return
    if one_text and ("tolist" in line or "numpy" in line):
        return
    rows = 1 if one_text else asked.rows
    batches = asked.batches(rows, widths)
    try:
        answers = [answer_to(asked.module, function, *batch) for batch in batches]
    # Whatever a user's module raises.
    except (Exception, SystemExit) as error:
        yield Fails(line, 0, *raised(error, asked), error)
        return
    places = places_of(asked, answers, rows, suffixes=suffixes)
    if not places:
        yield Fails(line, 2, *no_place(answers[0], rows, asked))
    for suffix, units in places:
        whole = line + suffix
        reading = _then(function, suffix)
        convention = Convention(whole, reading, units, takes_lengths=True, one_text=one_text)
        yield _holds(asked, convention, batches)


def _then(function: Call, suffix: str) -> Call:
    if not suffix:
        return function
    read = compiled(f"module{suffix}")

    def call(module: nn.Module, tokens: Tensor, lengths: Tensor) -> Any:
        # The suffix alone is compiled; what it reads takes the module's name.
        return read(function(module, tokens, lengths), tokens, lengths)

    return call


def _holds(asked: Asked, convention: Convention, batches: Sequence[tuple[Tensor, Tensor]]) -> Holds | Fails:
    """Whether a way is reproducible, tells texts apart, and answers each as it does alone."""
    line = convention.line
    try:
        answers = tuple(read_answer(asked, convention, *batch) for batch in batches)
        again = tuple(read_answer(asked, convention, *batch, twice=True) for batch in batches)
    # Whatever a user's module raises when it is run again.
    except (Exception, SystemExit) as error:
        return Fails(line, 1, *raised(error, asked), error)
    if not all(bool(torch.isfinite(answer).all()) for answer in answers):
        return Fails(line, 3, "The module gives logits that are not finite numbers.", "Check its weights.")
    if not all(torch.equal(a, b) for a, b in zip(answers, again, strict=True)):
        return Fails(
            line, 5, "The module gives other answers when it is run again on the same texts.", _of_random(asked, line)
        )
    texts = torch.cat(answers)
    if torch.allclose(texts[1:], texts[:-1], rtol=_ROUNDING, atol=1e-7):
        return Fails(line, 3, "The module gives the same answer for every text.", "Check its weights, and its call.")
    convention = replace(convention, takes_lengths=_depends_on_lengths(asked, convention, batches))
    exact, fails_alone = _shapes_of_answers(asked, convention, batches[0])
    convention = replace(convention, exact=exact, beside_a_copy=fails_alone)
    if convention.one_text:
        return Holds(convention, answers)
    for (tokens, lengths), together in zip(batches, answers, strict=True):
        for row in range(len(tokens)):
            try:
                alone = _alone(asked, convention, tokens[row : row + 1], lengths[row : row + 1])
            # Whatever a user's module raises.
            except (Exception, SystemExit) as error:
                problem, advice = raised(error, asked)
                return Fails(line, 3, f"For a single text: {problem}", advice, error)
            if not _near(alone, together[row : row + 1]):
                return Fails(
                    line,
                    4,
                    "The module answers a text differently beside other texts of the same length.",
                    "Compute nothing across the batch and branch on no values: each row may depend on its own tokens "
                    "only. If its owner asks it one text at a time, export it so: --one-text, or one_text=True.",
                )
    refused = None
    if asked.lengths is None:
        refused = _not_lengths(asked, convention, batches[-1])
    if refused is not None and not _masked(asked, convention):
        return refused
    return Holds(convention, answers, leaks=refused is not None)


def _masked(asked: Asked, convention: Convention) -> bool:
    """Whether a line gives masks to arguments of that name."""
    names = [p.name.lower() for p in parameters_of(asked.module)] if "torch.arange" in convention.line else []
    return any("mask" in name for name in names)


def _of_random(asked: Asked, line: str) -> str:
    """What to do about a module that gives other answers when it is run again."""
    batch = asked.batch(asked.rows, asked.widths.clip(7))
    for name, arguments in state_makers(asked.module):
        states = []
        with contextlib.suppress(Exception, SystemExit):
            states = [answer_to(asked.module, compiled(f"module.{name}({arguments})"), *batch) for _ in range(2)]
        found = [[leaf for _, leaf in leaves_of(state)] for state in states]
        if found and found[0] and not all(torch.equal(a, b) for a, b in zip(*found, strict=True)):
            zeros = [
                f"torch.zeros({', '.join('tokens.size(0)' if n == asked.rows else str(n) for n in leaf.shape)})"
                for leaf in found[0]
            ]
            made = zeros[0] if isinstance(states[0], Tensor) else f"({', '.join(zeros)})"
            return (
                f"Its {name} draws a random state for each call. With zeros in place of it: --call "
                f'"module.{name} = lambda *_: {made}; {line}", or call=.'
            )
    return (
        "Take randomness such as dropout or a random initial state out of its eval mode. If it keeps a state from one "
        f'call to the next, say how that is made: --call "module.hidden = None; {line}", or call=.'
    )


def _shapes_of_answers(asked: Asked, convention: Convention, batch: tuple[Tensor, Tensor]) -> tuple[bool, bool]:
    """Whether the answers are [rows, units] as they are, also that to a single text; and whether it fails on one."""
    tokens, lengths = batch
    exact, fails_alone = True, False
    for rows in dict.fromkeys((len(tokens), 1)):
        try:
            answer = answer_to(asked.module, convention.function, tokens[:rows], lengths[:rows])
        # Whatever a user's module raises.
        except (Exception, SystemExit):
            fails_alone = fails_alone or rows == 1
            continue
        exact = exact and tuple(answer.shape) == (rows, convention.units)
    return exact, fails_alone


def _near(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).abs().max() <= _SAME * max(1.0, float(b.abs().max())))


def _depends_on_lengths(asked: Asked, convention: Convention, batches: Sequence[tuple[Tensor, Tensor]]) -> bool:
    """Whether the answer depends on the lengths. What a line does not name it does not depend on; else it is asked with
    none."""
    line = convention.line
    if line.startswith(("module", "_")) and not line.endswith("(module, tokens, lengths)") and not uses_lengths(line):
        return False
    tokens, _ = batches[-1]
    try:
        none = _Untouchable()
        answer_to(asked.module, convention.function, tokens, none)  # type: ignore[arg-type]
    # Whatever is raised because there are no lengths.
    except (Exception, SystemExit):
        return True
    return False


class _Untouchable:
    """In place of lengths: whatever is done with it raises."""

    def __getattribute__(self, name: str) -> Any:
        raise AttributeError(name)


def _not_lengths(asked: Asked, convention: Convention, batch: tuple[Tensor, Tensor]) -> Fails | None:
    """A refusal where an argument that got lengths does not behave as such: what stands past them tells in the answer.

    A name with "len" in it is believed: a mean over all of a row, divided by its length, is right for rows of full
    length. A mask is not: it may be true at the tokens or at the padding.
    """
    if not convention.takes_lengths or isinstance(asked.module, torch.jit.ScriptModule):
        return None
    named = [p.name for p in parameters_of(asked.module)]
    if "torch.arange" not in convention.line and (
        len(named) < 2 or any(re.search("len", name.lower()) for name in named)
    ):
        return None
    tokens, _ = batch
    width = tokens.shape[1]
    shorter = torch.tensor([width, *range(width - 1, width - len(tokens), -1)])
    past = torch.arange(width) >= shorter[:, None]
    other = torch.where(past, tokens.flip(0).roll(1, 1), tokens)
    try:
        one = read_answer(asked, convention, tokens, shorter)
        two = read_answer(asked, convention, other, shorter)
    # Whatever a user's module raises.
    except (Exception, SystemExit) as error:
        return Fails(convention.line, 3, *raised(error, asked), error)
    if _near(one, two):
        return None
    second = named[-1]
    return Fails(
        convention.line,
        4,
        f"The module's forward takes a second argument, {second}, that is neither lengths nor a mask: tokens past the "
        "length tell in its answer.",
        f'Say what it is given: --call "module(tokens, {second}=...)", or call=.',
    )


def answer_to(module: nn.Module, function: Call, tokens: Tensor, lengths: Tensor) -> Any:
    with torch.no_grad(), surroundings(), left_as_it_was(module):
        return called_as(function, module, tokens.clone(), lengths.clone() if isinstance(lengths, Tensor) else lengths)


def _alone(asked: Asked, convention: Convention, tokens: Tensor, lengths: Tensor) -> Tensor:
    """The numbers [1, units] that a module gives to one text; beside a copy of it, where it takes two at least."""
    called = Called(asked.module, replace(convention, activation=None), passing=False)
    answer: Tensor = answer_of(called, (tokens.clone(), lengths.clone())).float().reshape(1, convention.units)
    return answer


def read_answer(
    asked: Asked, convention: Convention, tokens: Tensor, lengths: Tensor, *, twice: bool = False
) -> Tensor:
    """The numbers [batch, units] that a module gives; where `twice`, at the second of two calls."""
    with torch.no_grad(), surroundings(), left_as_it_was(asked.module):
        for _ in range(1 + twice):
            answer = called_as(convention.function, asked.module, tokens.clone(), lengths.clone())
    numbers: Tensor = answer.float().reshape(len(tokens), convention.units)
    return numbers
