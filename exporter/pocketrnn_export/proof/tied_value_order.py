"""Find out whether the order of equal values, which PyTorch leaves undefined, may change the answer to some text.

A word that occurs twice in a text has equal scores. If the answer depends on which one is taken, the module is refused
(`traced_program_checks.refuse_tie_dependence`); but a gate may hide the difference for every text that was tried. So
the program runs with equal values in both orders, and its operators are checked one by one
(`differences_for_other_texts.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor

from pocketrnn_export.proof.differences_for_other_texts import HiddenDifferences, RecordedRun
from pocketrnn_export.proof.fresh_copies_and_random_inputs import is_text, set_lengths_to_full_width
from pocketrnn_export.proof.program_nodes import describe_node_line, read_operator_name
from pocketrnn_export.proof.texts_mixed_in_batch import BY_POSITION
from pocketrnn_export.tracing.reversed_tie_sort import ORDERS, call_with_reversed_ties

_STEPS: Final = (2, 9, 40)
# The values at the places of equal scores may also be equal, as the vectors of one word are. Then their order does not
# matter.
_TAKES: Final = (*BY_POSITION, "embedding", "index", "take")


def find_tie_sensitive_line(
    program: torch.export.ExportedProgram, inputs_of: Callable[[int, int], tuple[Tensor, ...]], *, one_text: bool
) -> str:
    """Return the line of a sort, or a similar function, whose order of equal values may change an answer, or "".

    Args:
        program: from torch.export.
        inputs_of: makes random inputs from rows and steps, as the program takes them.
        one_text: whether the batch size is always 1.
    """
    for steps in _STEPS:
        given = inputs_of(1 if one_text else 2, steps)
        inputs = set_lengths_to_full_width([_repeat_each_token(value) if is_text(value) else value for value in given])
        one, other = RecordedRun(program), _ReversedTieRun(program)
        if not (one(inputs) and other(inputs)):
            continue
        if HiddenDifferences(program, one, other).find_node_that_may_differ(operators_left_out=_TAKES) is not None:
            orders = [node for node in program.graph.nodes if read_operator_name(node) in ORDERS]
            return describe_node_line(*orders)
    return ""


def _repeat_each_token(tokens: Tensor) -> Tensor:
    """Return rows that all hold the first half of the tokens of the first row, each of these tokens twice."""
    return tokens[:1, torch.arange(tokens.shape[1]) // 2].expand(len(tokens), -1).contiguous()


class _ReversedTieRun(RecordedRun):
    """A run of a program in which sorts give equal values in reverse order."""

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        name = str(target).removeprefix("aten.").partition(".")[0]
        run = super().call_function
        return call_with_reversed_ties(lambda *given, **named: run(target, given, named), name, args, kwargs)
