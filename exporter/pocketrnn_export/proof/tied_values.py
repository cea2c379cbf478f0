"""Whether the order of equal values may decide the answer to some text, which PyTorch leaves undefined.

The words of a text that stand twice have equal scores. A value that is taken at their places shows in the answer, and
then the module is refused (`trace_checks.refuse_ties`); or in a number that a gate holds back from every text that was
tried. So the program runs with equal values in both orders, and its operators are looked at one by one
(`hidden_differences.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor

from pocketrnn_export.intake.user_frames import line_of_node
from pocketrnn_export.proof.across_rows import BY_POSITION
from pocketrnn_export.proof.asked_module import is_text, with_whole_lengths
from pocketrnn_export.proof.hidden_differences import HiddenDifferences, KeptRun
from pocketrnn_export.proof.what_of_words import name_of_node
from pocketrnn_export.tracing.unstable_sort import ORDERS, in_the_other_order

__all__ = ["place_of_tied_values"]

_STEPS: Final = (2, 9, 40)
# The values at the places of equal scores may be equal, as the vectors of one word are: then the order is nothing.
_TAKES: Final = (*BY_POSITION, "embedding", "index", "take")


def place_of_tied_values(
    program: torch.export.ExportedProgram, inputs_of: Callable[[int, int], tuple[Tensor, ...]], *, one_text: bool
) -> str:
    """The line of the sort or the like whose order of equal values may decide an answer; empty where there is none.

    Args:
        program: of torch.export.
        inputs_of: of rows and steps random inputs, as the program takes them.
        one_text: whether the batch is always one.

    Example:
        >>> place_of_tied_values(program, inputs_of, one_text=False)
        'model.py:12: `best = scores.topk(3, 1).indices`'
    """
    for steps in _STEPS:
        given = inputs_of(1 if one_text else 2, steps)
        inputs = with_whole_lengths([_each_twice(value) if is_text(value) else value for value in given])
        one, other = KeptRun(program), _OtherOrder(program)
        if not (one(inputs) and other(inputs)):
            continue
        if HiddenDifferences(program, one, other).first_node(left_out=_TAKES) is not None:
            orders = [node for node in program.graph.nodes if name_of_node(node) in ORDERS]
            return next(filter(None, map(line_of_node, orders)), "a line that is not known")
    return ""


def _each_twice(tokens: Tensor) -> Tensor:
    """The first row's tokens in every row, each twice."""
    return tokens[:1, torch.arange(tokens.shape[1]) // 2].expand(len(tokens), -1).contiguous()


class _OtherOrder(KeptRun):
    """A run with equal values in the opposite order."""

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        name = str(target).removeprefix("aten.").partition(".")[0]
        run = super().call_function
        return in_the_other_order(lambda *given, **named: run(target, given, named), name, args, kwargs)
