"""Explain why an answer of a module holds no logits for the labels: the problem and advice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from torch import Tensor

from pocketrnn_export.intake.call_discovery.call_failures import ProblemAndAdvice, Reason
from pocketrnn_export.intake.call_discovery.logits_location import (
    Known,
    OutputCounts,
    count_numbers_per_output,
    count_numbers_per_text,
    find_float_tensors,
)
from pocketrnn_export.intake.call_discovery.module_properties_and_trial_batches import ModuleFacts

_LABELLED: Final = "To label each token, give --labels-of tokens, or labels_of='tokens'. "
# The advice where a module may give labels and not their numbers.
_DECODED: Final = (
    ' If a CRF decodes the labels, export the emissions that the CRF takes, as in --call "module.emissions(tokens)".'
)


def explain_missing_logits(known: Sequence[Known], facts: ModuleFacts, line: str) -> ProblemAndAdvice:
    """Return the problem and advice for an answer without a tensor [batch, classes]."""
    tokens, answer = known[0]
    leaves = dict(find_float_tensors(answer))
    rows, width = tokens.shape
    texts = f"{'1 text' if rows == 1 else f'{rows} texts'} of {width} tokens"
    if isinstance(answer, Tensor) and not answer.is_floating_point():
        return (
            f"The module's forward gives a tensor of {answer.dtype}.",
            "Return logits: scores before softmax, not labels." + (_DECODED if facts.of_tokens else ""),
        )
    if not leaves and facts.of_tokens:
        return (
            f"The module's forward gives a {type(answer).__name__}, not a tensor of numbers for each token.",
            "Return the numbers of the labels [batch, sequence, labels], or say where they are: --call, or "
            f"call=.{_DECODED}",
        )
    if not leaves:
        return (
            f"The module's forward gives a {type(answer).__name__}, not a tensor.",
            "Return the logits [batch, classes], or say where they are: --call, or call=.",
        )
    shapes = ", ".join(f"answer{suffix} {list(leaf.shape)}" for suffix, leaf in leaves.items())
    if isinstance(answer, Tensor):
        shapes = f"a tensor of shape {list(answer.shape)}"
    gives = f"The module gives {shapes} for {texts} and {facts.classes} {facts.number_word}"
    if facts.of_tokens:
        return _explain_missing_token_logits(gives, leaves, rows, facts)
    if (step := _write_code_of_last_step(leaves, rows, width, facts)) is not None:
        written = f'--call "{line}{step}", say' if step else "--call"
        return (
            f"{gives}: one answer for every token, as a module that labels each word does.",
            f"{'' if facts.samples else _LABELLED}A bundle gives one answer for a text. If your code uses the answer "
            f"of one step, or the mean over the steps, write that in the call: {written}, or call=.",
        )
    several = [leaf for leaf in leaves.values() if leaf.dim() == 3 and leaf.shape[-1] == facts.classes]
    if any(count_numbers_per_text(leaf, rows, values=facts.values) is None for leaf in several):
        return (
            f"{gives}.",
            "It holds several answers for a text: select the one that your code uses, with --call, or call=.",
        )
    return _explain_other_counts(count_numbers_per_output(facts, known), facts) or (
        f"{gives}.",
        "A bundle gives one answer for a text: return the numbers of the labels [batch, labels] from forward, or say "
        "where they are: --call, or call=.",
    )


def find_missing_logits_reason(known: Known, facts: ModuleFacts) -> Reason:
    """Return the kind of reason why an answer lacks the wanted logits, such as logits of texts where logits of tokens
    are wanted."""
    tokens, answer = known
    leaves, (rows, width) = dict(find_float_tensors(answer)), tokens.shape
    if not facts.of_tokens or rows == 1:
        return Reason.NO_LOGITS
    if _has_number_per_label(leaves, rows, facts):
        return Reason.LABELS_OF_TEXTS
    shapes = [tuple(leaf.shape) for leaf in leaves.values() if leaf.dim() == 3]
    of_tokens = any(shape[:2] in {(rows, width), (width, rows)} for shape in shapes)
    return Reason.OTHER_NUMBERS_OF_TOKENS if of_tokens else Reason.NO_LOGITS


def _has_number_per_label(leaves: Mapping[str, Tensor], rows: int, facts: ModuleFacts) -> bool:
    return any(count_numbers_per_text(leaf, rows, values=False) == facts.classes for leaf in leaves.values())


def _explain_missing_token_logits(
    given_shapes: str, leaves: Mapping[str, Tensor], rows: int, facts: ModuleFacts
) -> ProblemAndAdvice:
    """Return the problem and advice for an answer without a tensor [batch, sequence, labels] in any order of axes."""
    if _has_number_per_label(leaves, rows, facts):
        return (
            f"{given_shapes}: one answer for a text, and not one for each of its tokens.",
            "Export it as a classifier of texts: without --labels-of, or labels_of=.",
        )
    last = sorted({leaf.shape[-1] for leaf in leaves.values() if leaf.dim() >= 2})
    several = " or ".join(map(str, last))
    return (
        f"{given_shapes}, which are not numbers of {facts.classes} labels for each token.",
        f"Give as many labels as a token has numbers{f' ({several})' if several else ''}, in their order; or say where "
        f"these numbers are: --call, or call=.{_DECODED}",
    )


def _explain_other_counts(counts: OutputCounts, facts: ModuleFacts) -> ProblemAndAdvice | None:
    """Return the problem and advice for outputs whose count of numbers differs from the number of labels."""
    fixed = {suffix: n for suffix, n in counts.fixed.items() if not counts.may_count_tokens(suffix)}
    following = [f"answer{suffix}" for suffix in (*counts.fixed, *counts.following) if suffix not in fixed]
    one_answer = "A bundle gives one answer for a text: return it from forward, or say where it is: --call, or call=."
    if not fixed:
        if not following:
            return None
        which = " and ".join(following)
        return (
            f"The module gives more numbers for a longer text ({which}), so they are not the numbers of "
            f"{facts.classes} {facts.number_word}.",
            one_answer,
        )
    # The line of the owner may end before one of several outputs.
    if fitting := [suffix for suffix, n in fixed.items() if suffix and n == facts.classes]:
        return (
            f"The call gives several outputs. The output answer{fitting[0]} has {facts.classes} numbers for each text.",
            f"Add {fitting[0]} at the end of the line, if these are the {facts.number_word}.",
        )
    found = list(dict.fromkeys(fixed.values()))
    found = [n for n in found if n > 1] or found
    where = [" and ".join(f"answer{suffix}" for suffix, n in fixed.items() if n == one) for one in found]
    where += [f"{one} has more for a longer text" for one in following]
    said = f" ({'; '.join(where)})" if where != ["answer"] else ""
    problem = (
        f"The module gives {' or '.join(map(str, found))} number{'s' * (found != [1])} for each text, but there are "
        f"{facts.classes} {facts.number_word}{said}."
    )
    if found == [facts.ids] and not facts.samples:
        return (
            problem,
            "There is one number for each token id: the module predicts the next token, which is not a label.",
        )
    if found != [1]:
        several = " or ".join(f"{n} {facts.number_word}" for n in found if n > 1)
        more = " Or give the labels of each of several outputs: --head, in Python heads=." if "; " in said else ""
        return problem, f"Give {several}, in the order of the numbers.{more if len(found) > 1 else ''}"
    return (
        problem,
        "A single number is the logit of the second of two labels: give two labels. If it is a value, such as a "
        "rating, "
        'subtract the value that separates the two labels, as in --call "module(tokens) - 3".',
    )


def _write_code_of_last_step(leaves: Mapping[str, Tensor], rows: int, width: int, facts: ModuleFacts) -> str | None:
    """Return the code that selects the last step of an answer, if the answer has logits for each token. Return an empty
    string if the axis of the steps is not the first or the second, and None if no output has logits for each token."""
    # A step may have one number for two labels: the logit of the second.
    units = (facts.classes, 1) if facts.classes == 2 and not facts.values else (facts.classes,)
    for suffix, leaf in leaves.items():
        if any(_has_logits_of_each_token(leaf, rows, width, n) for n in units):
            axes = tuple(leaf.shape[:2])
            steps = "[:, -1]" if axes == (rows, width) else "[-1]" if axes == (width, rows) else ""
            return steps and f"{suffix}{steps}"
    return None


def _has_logits_of_each_token(leaf: Tensor, rows: int, width: int, classes: int) -> bool:
    """Return whether a tensor holds logits of each token, in any order of axes."""
    shape = tuple(leaf.shape)
    return sorted(shape) == sorted((rows, width, classes)) or shape in {
        (rows * width, classes),
        (classes, rows * width),
    }
