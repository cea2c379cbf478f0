"""Find the output of each head in a module's answer, and write the code that joins the outputs into one tensor.

Names decide, where forward gives a dict, a named tuple or an object; else the numbers of labels; else, for heads with
as many labels as each other, the order in which forward gives them.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from torch import Tensor

from pocketrnn.bundle.output_kinds import LabelOutput
from pocketrnn.errors import suggest_similar_name
from pocketrnn_export.intake.call_discovery.call_failures import ProblemAndAdvice
from pocketrnn_export.intake.call_discovery.logits_location import Known, count_numbers_per_output, find_float_tensors
from pocketrnn_export.intake.call_discovery.module_properties_and_trial_batches import ModuleFacts
from pocketrnn_export.intake.compiled_call_line import wrap_last_expression

# Words that the name of an output may have in addition to the name of a head.
_BESIDE: Final = frozenset(
    {"logit", "logits", "score", "scores", "out", "output", "outputs", "head", "prob", "probs", "probabilities", "pred",
     "preds", "prediction", "predictions", "label", "labels", "y"}
)  # fmt: skip
_LAST_NAME: Final = re.compile(r"""(?:\[(?:'([^']*)'|"([^"]*)")\]|\.(\w+))$""")
_HEADS_FIRST: Final = "{}.transpose(0, 1).flatten(1)"
_JOIN_YOURSELF: Final = (
    'Or join them yourself, in the order of the heads: --call "out = module(tokens); torch.cat([...], 1)", or call=.'
)


@dataclass(frozen=True)
class JoinedHeads:
    """The code that joins the outputs of all heads, and the number of logits of each head.

    Attributes:
        around: an expression with {} in the place of the call; empty if the answer is joined already.
        units: how many numbers each head gives for a text: one for each label, or one for two labels.
        parts: the code after a call that selects the numbers of each head.
        suffixes: the code that selects the output of each head in the answer; empty if one output holds all.
        note: a sentence on what was assumed about the order of the outputs; empty if nothing was.
    """

    around: str
    units: tuple[int, ...]
    parts: tuple[str, ...]
    suffixes: tuple[str, ...] = ()
    note: str = ""

    def write_call(self, line: str) -> str:
        """Return a line that calls the module and then joins the outputs of its heads."""
        return wrap_last_expression(line, self.around) if self.around else line


@dataclass(frozen=True)
class _Output:
    """One output of a module: the code that reads it, its name if any, and its count of numbers for each text."""

    suffix: str
    name: str
    numbers: int

    def fits_head(self, head: LabelOutput) -> bool:
        """Return whether the output may belong to a head: it has one value for each label, or one value for two
        labels."""
        count = len(head.labels)
        return self.numbers == count or (self.numbers, count, head.activation) == (1, 2, "softmax")


def find_head_outputs(
    facts: ModuleFacts, known: Sequence[Known], answer_to_one_text: Any | None
) -> JoinedHeads | ProblemAndAdvice:
    """Find the output of each head. If this is not possible, return the problem and advice.

    Args:
        facts: the module, and its heads.
        known: batches of tokens with the same number of texts, each with the module's answer.
        answer_to_one_text: the module's answer to a single text; None if it fails on a single text.
    """
    answer, rows = known[0][1], len(known[0][0])
    units, total = facts.head_sizes, facts.classes
    if isinstance(answer, Tensor) and tuple(answer.shape) == (rows, total):
        note = f"forward gives the numbers of all heads in one output, taken in the order {', '.join(facts.heads)}."
        ends = list(itertools.accumulate(units))
        parts = tuple(f"[:, {end - count}:{end}]" for end, count in zip(ends, units, strict=True))
        return JoinedHeads("", units, parts, note=note)
    if len(set(units)) == 1 and isinstance(answer, Tensor) and len({tuple(one.shape) for _, one in known}) == 1:
        note = f"forward gives a row of numbers for each head, taken in the order {', '.join(facts.heads)}."
        for first, around, part in ((rows, "{}.flatten(1)", "[:, %d]"), (len(units), _HEADS_FIRST, "[%d]")):
            if tuple(answer.shape) == (first, rows + len(units) - first, units[0]):
                return JoinedHeads(around, units, tuple(part % i for i in range(len(units))), note=note)
    outputs = list(_yield_outputs_of_fixed_size(facts, known))
    chosen = _choose_by_name(facts, outputs)
    note = ""
    if chosen is None:
        chosen, note = _choose_by_count_with_note(facts, outputs, answer)
    if isinstance(chosen, tuple):
        return chosen
    taken = [chosen[name] for name in facts.heads]
    leaves = dict(find_float_tensors(answer))
    single = {} if answer_to_one_text is None else dict(find_float_tensors(answer_to_one_text))
    parts = tuple(
        one.suffix
        if tuple(leaves[one.suffix].shape) == (rows, one.numbers)
        and (one.suffix not in single or tuple(single[one.suffix].shape) == (1, one.numbers))
        else f"{one.suffix}.reshape(tokens.size(0), {one.numbers})"
        for one in taken
    )
    around = f"out = {{}}; torch.cat([{', '.join(f'out{part}' for part in parts)}], 1)"
    units = tuple(one.numbers for one in taken)
    return JoinedHeads(around, units, parts, tuple(one.suffix for one in taken), note)


def _yield_outputs_of_fixed_size(facts: ModuleFacts, known: Sequence[Known]) -> Iterator[_Output]:
    """Yield each output that has the same number of values for every text, so that it may belong to a head."""
    answer, fixed, seen = known[0][1], count_numbers_per_output(facts, known).fixed, set[int]()
    for suffix, leaf in find_float_tensors(answer):
        if leaf.dim() > 0 and suffix in fixed and id(leaf) not in seen:
            seen.add(id(leaf))
            yield _Output(suffix, _name_output(answer, suffix), fixed[suffix])


def _name_output(answer: Any, suffix: str) -> str:
    """Return the name of an output: its field, key or attribute in the answer. Return an empty string if the output has
    only an index. The code `suffix` selects the output."""
    # The names of a named tuple's fields, in their order.
    fields = getattr(type(answer), "__match_args__", ())
    if fields and (place := re.fullmatch(r"\[(\d+)\]", suffix)):
        return str(fields[int(place[1])])
    found = _LAST_NAME.search(suffix)
    return next(filter(None, found.groups()), "") if found else ""


def _choose_by_name(facts: ModuleFacts, outputs: Sequence[_Output]) -> dict[str, _Output] | ProblemAndAdvice | None:
    """Choose the output for each head by its name. Return a dict from heads to outputs. Return the problem and advice
    if an output is missing or does not fit. Return None if no output has the name of a head."""
    named: dict[str, list[_Output]] = {name: _find_outputs_by_name(name, outputs) for name in facts.heads}
    if not any(named.values()):
        return None
    names = [one.name for one in outputs if one.name]
    for name, found in named.items():
        if not found:
            near = suggest_similar_name(name, names) or f"Its outputs: {', '.join(names)}."
            return f"forward gives no output with the name of the head {name!r}", near
        if len(found) > 1:
            where = " and ".join(f"answer{one.suffix}" for one in found)
            return (
                f"forward gives {len(found)} outputs with the name of the head {name!r} ({where})",
                _JOIN_YOURSELF,
            )
        if not found[0].fits_head(head := facts.heads[name]):
            return (
                f"forward gives {found[0].numbers} numbers as answer{found[0].suffix}, but the head {name!r} has "
                f"{len(head.labels)} labels",
                "Give one label for each number, in the order of the numbers.",
            )
    chosen = {name: found[0] for name, found in named.items()}
    if len({one.suffix for one in chosen.values()}) < len(chosen):
        return (
            f"two of the heads {', '.join(facts.heads)} have the name of one output",
            "Give each head the name of its output.",
        )
    return chosen


def _find_outputs_by_name(head_name: str, outputs: Sequence[_Output]) -> list[_Output]:
    """Return the outputs that have the name of a head. If there are several, those with `logit` in their path are
    preferred."""
    found = [one for one in outputs if one.name == head_name]
    found = found or [
        one for one in outputs if one.name and _split_output_name(one.name) == _split_output_name(head_name)
    ]
    logits = [one for one in found if "logit" in one.suffix.lower()]
    return logits if len(found) > 1 and logits else found


def _split_output_name(name: str) -> tuple[str, ...]:
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+|\d+", name) or [name]
    return tuple(word for word in map(str.lower, words) if word not in _BESIDE) or (name,)


def _choose_by_count_with_note(
    facts: ModuleFacts, outputs: Sequence[_Output], answer: Any
) -> tuple[dict[str, _Output] | ProblemAndAdvice, str]:
    """Choose the output for each head by its number of values, or, if these numbers are equal, by the order of the
    outputs. Return a tuple: the outputs by head, or the problem and advice; and a note that the order was used, or an
    empty string."""
    chosen: dict[str, _Output] = {}
    ordered: list[str] = []
    for count in dict.fromkeys(facts.head_sizes):
        names = [name for name, head in facts.heads.items() if len(head.labels) == count]
        fitting = [one for one in outputs if one.numbers == count]
        if count == 2 and len(fitting) < len(names):
            fitting = [one for one in outputs if one.numbers in (1, 2)]
        of_heads = dict(zip(names, fitting, strict=False))
        if len(fitting) != len(names) or not all(one.fits_head(facts.heads[name]) for name, one in of_heads.items()):
            return _explain_token_outputs(facts, names, answer) or _explain_unfit_counts(
                facts, outputs, names, fitting
            ), ""
        if len(names) > 1 and any(one.name for one in fitting):
            said = ", ".join(one.name or f"answer{one.suffix}" for one in outputs)
            problem = f"forward names its outputs ({said}), but the heads are called {', '.join(facts.heads)}"
            return (problem, f"Give the heads the names of their outputs. {_JOIN_YOURSELF}"), ""
        if len(names) > 1:
            ordered += [f"{name} is answer{one.suffix}" for name, one in of_heads.items()]
        chosen |= of_heads
    note = (
        f"Heads with equal numbers of labels are taken in the order in which forward gives them: {', '.join(ordered)}."
    )
    return chosen, note if ordered else ""


def _explain_token_outputs(facts: ModuleFacts, names: Sequence[str], answer: Any) -> ProblemAndAdvice | None:
    """Return the problem and advice for an output that labels each token, although its head labels whole texts. Return
    None if there is no such output."""
    count = len(facts.heads[names[0]].labels)
    for suffix, leaf in find_float_tensors(answer):
        if leaf.dim() == 3 and leaf.shape[-1] == count:
            return (
                f"forward gives {count} numbers for each token as answer{suffix}, but the labels of the head "
                f"{names[0]!r} are of a text",
                "Export the labels of tokens as a bundle of their own: --labels and --labels-of tokens, in Python "
                "labels=[...], labels_of='tokens'.",
            )
    return None


def _explain_unfit_counts(
    facts: ModuleFacts, outputs: Sequence[_Output], names: Sequence[str], fitting: Sequence[_Output]
) -> ProblemAndAdvice:
    """Return the problem and advice for heads to which no output fits, because none has as many values as the head has
    labels."""
    gives = ", ".join(f"answer{one.suffix} with {one.numbers}" for one in outputs) or "no output with numbers of a text"
    count = len(facts.heads[names[0]].labels)
    heads = " and ".join(map(repr, names))
    return (
        f"forward gives {gives}: {len(fitting) or 'none'} of these outputs fit{'s' * (len(fitting) == 1)} the {count} "
        f"labels of the head{'s' * (len(names) > 1)} {heads}",
        f"Give each head as many labels as its output has numbers. {_JOIN_YOURSELF}",
    )
