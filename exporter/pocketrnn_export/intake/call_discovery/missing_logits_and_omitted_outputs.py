"""Explain why an answer of a module holds no logits for the labels. Check whether an output with one number for each
label holds the logits of the labels, and describe the outputs that are left out.

A module with several outputs may be exported with the labels of another output. Another output with numbers for each
text is left out with a warning, unless the program shows that it is not an answer of its own: the answer is computed
only from it, it is computed only from the answer, or it is a state. In the opposite case the labels may belong to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from torch import Tensor

from pocketrnn_export.intake.call_discovery.call_failures import FailedCall, ProblemAndAdvice, Reason
from pocketrnn_export.intake.call_discovery.logits_location import (
    Known,
    OutputCounts,
    count_numbers_per_output,
    count_numbers_per_text,
    find_float_tensors,
    find_unsearched_values,
)
from pocketrnn_export.intake.call_discovery.module_properties_and_trial_batches import ModuleFacts
from pocketrnn_export.intake.call_discovery.tensor_dependencies import FlowRecorder


@dataclass(frozen=True)
class RefusedOutput:
    """The reason why one output of a module is not the answer, and the code that reads the right output (`other`; empty
    if it is unknown)."""

    fails: FailedCall
    other: str = ""


def explain_unsuitable_output(
    facts: ModuleFacts, flow: FlowRecorder, known: Sequence[Known], line: str, suffix: str
) -> RefusedOutput | None:
    """Return the reason why an output is not the answer, although it has one number for each label. Return None if it
    may be the answer. The code `suffix` selects the output."""
    theirs = f'say so: --call "{line}{suffix}", or call=.'
    if facts.classes in flow.table_rows | {facts.ids} and facts.labels_are_words and not facts.samples:
        problem = (
            f"The module gives {facts.classes} numbers, one for each token id, so it may predict the next token: the "
            f"{facts.classes} labels need not be labels of a text"
        )
        advice = f"If each text has one of {facts.classes} labels, or the next token is its label, {theirs}"
        return RefusedOutput(FailedCall(line, Reason.OTHER_ANSWER, problem, advice))
    own, counts = flow.leaves.get(suffix), count_numbers_per_output(facts, known)
    for other in _yield_other_outputs(flow, counts, suffix):
        if counts.may_count_tokens(suffix) and other.numbers is not None and not facts.of_tokens:
            why: str | None = "may hold one number for each token: the module answers only texts of that length"
        else:
            why = None if own is None else _explain_why_other_is_answer(flow, own, counts.fixed.get(suffix), other)
        if why is not None:
            place = f"answer{other.suffix}"
            problem = (
                f"The module gives {other.describe_shape(known[0][0])}, but there are {facts.classes} "
                f"{facts.number_word} ({place}); answer{suffix}, which has as many numbers, {why.format(place)}"
            )
            advice = f"Give the {facts.number_word} of {place}. If your code uses answer{suffix}, {theirs}"
            if other.numbers is None:
                advice = f"Say which output your code uses. If it is answer{suffix}, {theirs}"
            return RefusedOutput(FailedCall(line, Reason.OTHER_ANSWER, problem, advice), other.suffix)
    return None


def describe_omitted_outputs(facts: ModuleFacts, flow: FlowRecorder, known: Sequence[Known], *suffixes: str) -> str:
    """Describe the outputs that may be answers, other than those that the code `suffixes` selects, and the parts of the
    answer that were not searched. Return an empty string if there are none."""
    own = [flow.leaves[suffix] for suffix in suffixes if suffix in flow.leaves]
    found = [
        f"answer{other.suffix}, {other.describe_shape(known[0][0])}"
        for other in _yield_other_outputs(flow, count_numbers_per_output(facts, known), *suffixes)
        if not any(_is_intermediate_result(flow, one, other) for one in own)
    ]
    said = []
    if found:
        beside = " and ".join(f"answer{suffix}" for suffix in suffixes)
        said.append(
            f"The bundle uses {beside} of forward. Forward also gives {'; '.join(found)}, which is not needed for "
            "that and is left out: this is usual for states and attention weights. If it has labels of its own, "
            "export it, too, by --call or call=; or export all outputs in one bundle: --head, or heads=."
        )
    if unread := [f"answer{other} ({kind})" for other, kind in find_unsearched_values(flow.answer)]:
        said.append(
            f"Some parts of forward's answer were not searched: {', '.join(unread)}. If they hold the numbers of "
            f"these {facts.number_word}, give the call: --call, or call=."
        )
    return " ".join(said)


@dataclass(frozen=True)
class _OtherOutput:
    """Another output of the module: the code that reads it, its tensor, and its count of numbers for each text. The
    count is None for an output with numbers for each token."""

    suffix: str
    leaf: Tensor
    numbers: int | None

    def describe_shape(self, tokens: Tensor) -> str:
        """Describe in words how many numbers the output has for each text. If this is not known, return its shape."""
        if self.numbers is not None:
            return f"{self.numbers} number{'s' * (self.numbers != 1)} for each text"
        return f"{list(self.leaf.shape)} for {len(tokens)} texts of {tokens.shape[1]} tokens"


def _yield_other_outputs(flow: FlowRecorder, counts: OutputCounts, *suffixes: str) -> Iterator[_OtherOutput]:
    """Yield the module's outputs, other than those that the code `suffixes` selects. Outputs with as many numbers as
    the answer are left out, and so are single numbers, such as a loss."""
    # An output of as many numbers may be the answer itself; beside several heads it is another output.
    own = counts.fixed.get(suffixes[0]) if len(suffixes) == 1 else None
    for other, leaf in flow.leaves.items():
        numbers = None if counts.may_count_tokens(other) else counts.fixed.get(other)
        if other not in suffixes and leaf.dim() > 0 and (numbers is None or numbers != own):
            yield _OtherOutput(other, leaf, numbers)


def _explain_why_other_is_answer(
    flow: FlowRecorder, own_leaf: Tensor, units: int | None, other: _OtherOutput
) -> str | None:
    """Return the reason why the output `other` is the answer, and not the tensor `own_leaf`, which has `units` numbers
    for each text. Return None if `own_leaf` may be the answer."""
    leaf, numbers = other.leaf, other.numbers
    if flow.is_only_source(own_leaf, leaf):
        return "is used to compute {}" if flow.has_weights_between(own_leaf, leaf) else None
    if (
        flow.is_state_or_embedding(own_leaf)
        and flow.is_computed_with_weights(leaf)
        and not flow.is_state_or_embedding(leaf)
    ):
        return "is a state of a layer"
    if numbers is None:
        return None
    if flow.is_only_source(leaf, own_leaf):
        return None if flow.has_weights_between(leaf, own_leaf) else "is computed from {}"
    if flow.is_computed_with_weights(leaf) and not flow.is_computed_with_weights(own_leaf):
        return "is computed without weights"
    if (
        units is not None
        and flow.comes_from_layer_of_size(leaf, numbers)
        and not flow.comes_from_layer_of_size(own_leaf, units)
    ):
        return "is not the output of a layer of that size"
    return None


def _is_intermediate_result(flow: FlowRecorder, own_leaf: Tensor, other: _OtherOutput) -> bool:
    """Return whether the output `other` is only an intermediate result: a state, attention weights, a part of the
    answer's computation, or a tensor that no weights compute, such as lengths."""
    leaf, numbers = other.leaf, other.numbers
    if numbers is None and not flow.was_recorded(leaf):
        return True
    is_of_a_layer = numbers is not None and flow.comes_from_layer_of_size(leaf, numbers)
    if not is_of_a_layer and (flow.leads_from_last_layer_of(leaf, own_leaf) or flow.leads_to(own_leaf, leaf)):
        return True
    alone = flow.is_only_source(own_leaf, leaf) or flow.is_only_source(leaf, own_leaf)
    return alone or flow.is_state_or_embedding(leaf) or not flow.is_computed_with_weights(leaf)


# In the problem of another number of labels than outputs.
OTHER_COUNT: Final = "for each text, but there are"
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
    """Return the reason why an answer lacks the needed logits. For example, it has logits of texts, but logits of
    tokens are needed."""
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
        f"The module gives {' or '.join(map(str, found))} number{'s' * (found != [1])} {OTHER_COUNT} "
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
    """Return the code that selects the last step, if the answer has logits for each token. Return an empty string if
    the steps are not on the first or the second axis. Return None if no output has logits for each token."""
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
