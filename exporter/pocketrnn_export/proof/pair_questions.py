"""The questions about the sizes of two texts that a program need not follow.

A question of the module's own code takes one way or another, of which a trace has one. One that an operation of PyTorch
asks on its behalf (where a slice ends, which of two sizes is larger) may be answered by the program for all sizes. So
the program is held against the module at sizes on both sides of it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Final

from pocketrnn.errors import ExportError
from pocketrnn_export.proof.asked_module import AskedModule
from pocketrnn_export.proof.every_size import answer_if_any
from pocketrnn_export.proof.pytorch_run import run_in_pytorch
from pocketrnn_export.tracing.sizes.questions import Question
from pocketrnn_export.tracing.trace import TracedProgram

__all__ = ["questions_left"]

# Sizes of each text beside each of the other: those near each other, and some that are far apart.
_SIZES: Final = (*range(1, 10), 17, 40)
_BATCHES: Final = (1, 2, 5)
# So far beyond a number that a question names, and so many sizes on each side of it.
_BEYOND: Final = 3
_MOST: Final = 40


def questions_left(
    asked: AskedModule, plain: TracedProgram | ExportError, questions: Sequence[Question]
) -> list[Question]:
    """The questions that stand in the way of a program: all of the module's own code, and of the others those on one
    side of which the program answers otherwise than the module, or the module not at all.

    Args:
        asked: a module of two texts.
        plain: its ordinary trace, or why there is none.
        questions: what was asked about sizes.

    Example:
        >>> questions_left(asked, plain, log.questions)
        []
    """
    if isinstance(plain, ExportError):
        return list(questions)
    run = run_in_pytorch(plain).run

    def stands_in_the_way(question: Question) -> bool:
        if question.branch or question.number:
            return True
        for holds in (True, False):
            sides = [sizes for sizes in _sizes_near(question) if question.condition.holds_for_both(*sizes) == holds]
            for batch, first, second in sides[:_MOST]:
                inputs = asked.inputs_of_both(batch, first, second)
                if answer_if_any(asked, inputs) is None or not asked.agrees(run, inputs):
                    return True
            if not sides:
                return True
        return False

    return list(filter(stands_in_the_way, questions))


def _sizes_near(question: Question) -> list[tuple[int, int, int]]:
    """Texts, and tokens of both, among which are sizes on both sides of a question; those near a number that it names
    first."""
    named = [abs(int(number)) for number in question.condition.numbers]
    near = sorted({n + more for n in named for more in range(-_BEYOND, _BEYOND + 1) if n + more > 0 and n < 5_000})
    beside = (1, 4, 9)
    found = [(2, n, other) for n in near for other in beside] + [(2, other, n) for n in near for other in beside]
    found += [(2, n, n) for n in near]
    pairs = sorted(itertools.product(_SIZES, _SIZES), key=lambda pair: abs(pair[0] - pair[1]))
    return [*found, *((_BATCHES[i % len(_BATCHES)], *pair) for i, pair in enumerate(pairs))]
