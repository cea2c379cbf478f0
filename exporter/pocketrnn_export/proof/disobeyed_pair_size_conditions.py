"""Find the conditions on the sizes of two texts that a program does not obey.

A condition in the module's own code has two branches, and a trace holds one of them. A condition inside a PyTorch
operation (where a slice ends, which of two sizes is larger) may hold in the program for all sizes. So the program is
compared with the module at sizes around it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Final

from pocketrnn.errors import ExportError
from pocketrnn_export.proof.forward_value_comparison import ForwardValues
from pocketrnn_export.proof.fresh_copies_and_random_inputs import FreshCopyModule
from pocketrnn_export.proof.runnable_program_and_node_values import compute_answer_or_none, make_runnable_program
from pocketrnn_export.tracing.module_trace import TracedProgram
from pocketrnn_export.tracing.sizes.size_conditions import USUAL
from pocketrnn_export.tracing.sizes.size_question_log import Question

# The number of pairs in a batch, and the numbers of tokens of their first and of their second texts.
_PairSizes = tuple[int, int, int]
# The sizes of each text, combined with each size of the other: sizes near each other, and some far apart.
_SIZES: Final = (*range(1, 10), 17, 40)
_BATCHES: Final = (1, 2, 5)
# How far beyond a number in a condition sizes are tried, and how many sizes on each side of it.
_BEYOND: Final = 3
_MOST: Final = 40
# On this many of these, the values behind gates are compared, too.
_FEW: Final = 4


def find_disobeyed_conditions(
    compared: FreshCopyModule, plain: TracedProgram | ExportError, questions: Sequence[Question]
) -> list[Question]:
    """Return the conditions on sizes that a program may not obey: all in user code, and those near which the module
    fails or its program computes something else.

    A condition that holds for all sizes that are tried, or for none of them, counts too. If there is no program, all
    conditions count.
    """
    if isinstance(plain, ExportError):
        return list(questions)
    run = make_runnable_program(plain).run
    values, usual = ForwardValues(compared.module), compared.draw_inputs(USUAL)

    def may_be_disobeyed(question: Question) -> bool:
        if question.branch or question.number:
            return True
        for holds in (True, False):
            sides = [
                sizes
                for sizes in _list_sizes_near_question(question)
                if question.condition.holds_for_pair(*sizes) == holds
            ]
            for i, (batch, first, second) in enumerate(sides[:_MOST]):
                inputs = compared.draw_inputs_for_pair(batch, first, second)
                if compute_answer_or_none(compared, inputs) is None or not compared.agrees(run, inputs):
                    return True
                if i < _FEW and not values.are_computed_by_program(plain, usual, inputs):
                    return True
            if not sides:
                return True
        return False

    return list(filter(may_be_disobeyed, questions))


def _list_sizes_near_question(question: Question) -> list[_PairSizes]:
    """Return the sizes at which a condition is compared, beginning with sizes near the numbers in the condition."""
    named = [abs(int(number)) for number in question.condition.numbers]
    near = sorted({n + more for n in named for more in range(-_BEYOND, _BEYOND + 1) if n + more > 0 and n < 5_000})
    beside = (1, 4, 9)
    found = [(2, n, other) for n in near for other in beside] + [(2, other, n) for n in near for other in beside]
    found += [(2, n, n) for n in near]
    pairs = sorted(itertools.product(_SIZES, _SIZES), key=lambda pair: abs(pair[0] - pair[1]))
    return [*found, *((_BATCHES[i % len(_BATCHES)], *pair) for i, pair in enumerate(pairs))]
