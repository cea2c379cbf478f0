"""Wrap the run of a module: check that its logits give the module's probabilities, and explain its failures. Find the
smallest number of tokens that it answers, and the cases whose lengths it answers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import torch

from pocketrnn.errors import ExportError, PocketRNNError, first_line
from pocketrnn_export.comparing.module_and_graph_as_functions import make_module_run
from pocketrnn_export.comparing.proof_inputs import Case, Ids, Logits, Run, Widths, choose_non_padding_id
from pocketrnn_export.intake.calling_convention import CallAdapter, Convention
from pocketrnn_export.intake.last_activation_removal import Activation, apply_activation


def make_probability_checking_run(run: Run, called: CallAdapter, activation: Activation) -> Run:
    """Return a run that checks each answer: the probabilities of its logits must equal those that the user's module
    gives. If a head gives logits in place of probabilities, these are compared."""
    convention = called.convention
    module = CallAdapter(called.module, convention, as_logits=False)
    own = make_module_run(module, takes_lengths=called.convention.takes_lengths)

    def run_and_compare(tokens: Ids, lengths: Ids) -> Logits:
        logits, numbers = run(tokens, lengths), own(tokens, lengths)
        given = apply_activation(activation, torch.from_numpy(logits)).numpy()
        kinds = [(activation, given.shape[1])] if isinstance(activation, str) else activation
        if not all(
            _do_numbers_match(*each) for each in _split_answer_by_head(convention, kinds, logits, given, numbers)
        ):
            raise ExportError(
                f"For a batch of {len(tokens)} texts with {tokens.shape[1]} tokens, the module's probabilities are "
                "not those that follow from the numbers before its last activation.",
                "Return the logits from forward, or say how to get them: --call LINE, or call= in Python.",
            )
        return logits

    return run_and_compare


def _split_answer_by_head(
    convention: Convention, kinds: Sequence[tuple[str, int]], logits: Logits, probabilities: Logits, numbers: Logits
) -> Iterator[tuple[Convention, Logits, Logits, Logits]]:
    """Yield the convention of each head with its part of the answer: its logits, its probabilities [rows, labels], and
    the numbers that the module gives."""
    at = of = 0
    for part, (_, labels) in zip(convention.answer_conventions, kinds, strict=True):
        columns = slice(at, at + labels)
        yield part, logits[:, columns], probabilities[:, columns], numbers[:, of : of + part.units]
        at, of = at + labels, of + part.units


def _do_numbers_match(head: Convention, logits: Logits, probabilities: Logits, numbers: Logits) -> bool:
    """Return whether the numbers that the module gives for a head are the given probabilities. If the head gives
    logits, compare the numbers with the logits."""
    ours = probabilities if head.activation is not None or head.undone is not None else logits
    # A single number is that of the second label.
    ours = ours[:, 1:] if head.units == 1 and ours.shape[1] == 2 else ours
    return np.allclose(ours, numbers, rtol=0, atol=1e-5, equal_nan=True)


def make_explaining_run(run: Run, padding_id: int) -> Run:
    """Return a run that raises an ExportError if the module raises an exception. The message contains the input."""

    def run_with_explanation(tokens: Ids, lengths: Ids) -> Logits:
        try:
            return run(tokens, lengths)
        except PocketRNNError:
            raise
        # A user's module may raise any exception, and call sys.exit.
        except (Exception, SystemExit) as error:
            what = f"{type(error).__name__}: {first_line(error)}"
            if any((row[:length] == padding_id).all() for row, length in zip(tokens, lengths, strict=True)):
                raise ExportError(
                    f"The module fails on a text of only padding (the id {padding_id}): {what}. A text without a "
                    "known word can become such a text.",
                    "Count at least one token in forward, as in lengths.clamp(min=1). Or turn unknown words and "
                    "empty texts into another id: with '<unk>' in the vocabulary, or with "
                    "rules=TextRules(unknown_id=..., empty_id=...).",
                ) from error
            shape = f"batch {len(tokens)} x sequence {tokens.shape[1]}"
            advice = "A classifier must take any number of texts of any length: correct forward for this batch."
            if isinstance(error, IndexError) and "out of range in self" in str(error):
                advice = (
                    f"The vocabulary and the text rules give token ids up to {tokens.max()}: check that the embedding "
                    f"has a row for each, and a table of positions one for each of {tokens.shape[1]} tokens."
                )
            ids = ", ".join(map(str, tokens[0, :8]))
            raise ExportError(f"The module fails on {shape}, ids {ids}...: {what}.", advice) from error

    return run_with_explanation


# Lengths that are tried where the module answers none of the cases' own lengths.
_FEW_TOKENS: Final = (12, 8, 5)


def find_least_tokens(run: Run, widths: Widths, padding_id: int, tried_up_to: int) -> int:
    """Return the number of tokens of the shortest text that gets a finite answer, from 1 to `tried_up_to`: for example
    2 for a module that computes a standard deviation over steps. Return 1 if no text gets a finite answer."""
    for tokens in range(1, tried_up_to + 1):
        with contextlib.suppress(ExportError):
            width = widths.clip(tokens)
            if np.isfinite(run(np.full((1, width), choose_non_padding_id(padding_id)), np.array([width])).max()):
                return tokens if widths.filled else width
    # It fails on longer texts, too: the comparison that meets them reports this.
    return 1


def select_cases_of_answered_lengths(run: Run, cases: Sequence[Case]) -> list[Case]:
    """Return the cases whose texts are not longer than the module can answer. If there are none, return the first case,
    cut to the largest length that works. If no length works, return all cases.

    A module with 40 position embeddings, for example, fails on longer texts. The trace finds that limit.
    """
    widest = max(cases, key=lambda case: case.tokens.shape[1])
    longest = widest.tokens[[widest.lengths.argmax()]]
    for most in (*sorted({int(case.lengths.max()) for case in cases}, reverse=True), *_FEW_TOKENS):
        row = longest[:, :most]
        with contextlib.suppress(ExportError):
            run(row, np.array([row.shape[1]], np.int64))
            within = [case for case in cases if case.lengths.max() <= most]
            return within or [Case(c.name, c.tokens[:, :most], np.minimum(c.lengths, most)) for c in cases[:1]]
    # It fails for another reason: the next call of the module reports it.
    return list(cases)
