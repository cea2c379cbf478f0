"""Compare a module with its program for every number of tokens and every number of texts, from 1 on.

A trace records forward's conditions on sizes. Python has more ways to test a size than any list of them: a printed size
that is kept as text, `id`, another thread, an error that is caught. In each way, the module does something else at some
size and its program does not. So the two are compared at each size, with layers that have no memory
(`layers/memoryless_layers.py`), and again with real layers if that shows a difference.
"""

from __future__ import annotations

import ast
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np
from torch import Tensor, nn

from pocketrnn.bundle.manifest import Limits
from pocketrnn.errors import ExportError
from pocketrnn_export.intake.user_code_lines_for_messages import parse_file
from pocketrnn_export.module_runs.complete_deep_copy import copy_without_comparison
from pocketrnn_export.module_runs.quiet_cpu_run import compute_answer
from pocketrnn_export.progress import log_item_progress
from pocketrnn_export.proof.program_runs_and_nodes import Answers, compute_answer_or_none
from pocketrnn_export.tracing.layers.memoryless_layers import use_memoryless_layers
from pocketrnn_export.tracing.python_semantics.user_files_and_globals import find_users_files
from pocketrnn_export.tracing.sizes.program_answers_at_some_sizes import is_within_limits
from pocketrnn_export.tracing.sizes.size_conditions import USUAL, Sizes

MOST_TOKENS: Final = 512
MOST_TEXTS: Final = 64
# The most texts for a module that may test the identity of a number: up to this number, Python keeps one object for
# each integer.
_KEPT: Final = 256
# The tokens of texts in a batch whose number of texts is varied, and of the text that is put beside longer ones.
SHORT_TEXT: Final = 5
# The processor time for one such check. Loops over the steps of a text stay slow without memory, so such a
# module is run at fewer sizes.
SECONDS: Final = 5.0
# A program differs from its module by rounding, 1e-6; programs that follow another rule differed by 1e-3.
APART: Final = 1e-4

# The usual sizes that are compared with a size at which a module does something else.
_ORDINARY: Final = (USUAL, Sizes(1, SHORT_TEXT + 1), Sizes(2, SHORT_TEXT))


class AnswersDifferError(ExportError):
    """A program gives other answers than its module.

    Args:
        problem, remedy: the two sentences of the message.
        module: the module.
        inputs: inputs with different answers, followed by inputs whose answers may agree.
    """

    def __init__(
        self,
        problem: str,
        remedy: str,
        module: nn.Module | None = None,
        inputs: Sequence[tuple[Tensor, ...]] = (),
    ) -> None:
        super().__init__(problem, remedy)
        self.module, self.inputs = module, inputs


def refuse_differences_at_any_size(
    module: nn.Module,
    program: Answers,
    limits: Limits,
    inputs_of: Callable[[Sizes], tuple[Tensor, ...]],
    agree: Callable[[Sizes], bool],
    *,
    one_text: bool,
) -> None:
    """Raise an AnswersDifferError if a program that gives its module's answers at the usual sizes gives another answer
    to some text of 1 to 512 tokens, or to some batch of 2 to 64 short texts. If the module's code may compare numbers
    by `is` or `id`, the batches have up to 256 texts. After 5 s of processor time, no further size is tried.

    The recurrent layers of both start each step from the initial state, so that a difference at one step is not hidden
    by later steps.

    Args:
        module: in eval mode, on the CPU; it is copied.
        program: a function that runs the program in PyTorch.
        limits: the limits of the program's sizes; other sizes are skipped.
        inputs_of: a function that makes random inputs of some sizes, as the module takes them.
        agree: a function that returns whether the module and the exported program give the same answer at some sizes,
            with the real layers; asked before an error is raised.
        one_text: whether the batch size is always 1.
    """
    copied, started = copy_without_comparison(module), time.process_time()
    texts, keeps = _KEPT if may_compare_numbers_by_identity(module) else MOST_TEXTS, False
    for sizes in log_item_progress(
        list_sizes_to_try(texts, one_text=one_text), "Comparing the trace at every length and batch"
    ):
        if time.process_time() - started > SECONDS:
            return
        if not is_within_limits(limits, sizes):
            continue
        if keeps and agree(sizes):
            continue
        inputs = inputs_of(sizes)
        expected = _compute_memoryless_answer(lambda given: compute_answer(copied, given), inputs)
        # If the module fails, any program passes.
        if expected is None or is_answer_near_expected(_compute_memoryless_answer(program, inputs), expected):
            continue
        if agree(sizes):
            # The module has a loop of its own with memory, so without memory the two differ at each size.
            keeps = True
            continue
        # A difference at every size does not come from a condition on a size: the proof reports it.
        if agree(USUAL):
            raise AnswersDifferError(
                f"The module computes something else for {_describe_sizes(sizes)} than for other sizes, but the trace "
                "of the module does not show where it tests a size.",
                "Test a size only by comparing it with a number, as in x.size(1) > 20: not by its string or its "
                "identity, not by a caught error, and not in another thread.",
                module,
                [inputs, *(inputs_of(other) for other in _ORDINARY if _differs_in_varied_size(other, sizes))],
            )
        return


def list_sizes_to_try(most_texts: int, *, one_text: bool) -> Iterator[Sizes]:
    """Yield the sizes at which a module and its program are compared: one text of 1 to 128 tokens; then, unless
    `one_text`, batches of 2 to `most_texts` short texts; then one text of each length up to 512."""
    lengths = range(1, MOST_TOKENS + 1)
    near = min(128, MOST_TOKENS)
    yield from (Sizes(1, length) for length in lengths[:near])
    if not one_text:
        yield from (Sizes(rows, SHORT_TEXT) for rows in range(2, most_texts + 1))
    for rest in range(3):
        yield from (Sizes(1, length) for length in lengths[near:] if length % 3 == rest)


def _compute_memoryless_answer(run: Answers, inputs: tuple[Tensor, ...]) -> Any:
    """Return the answer of `run`, a module or program as a function, while recurrent layers start each step from the
    initial state. Return None if the run fails."""
    with use_memoryless_layers():
        return compute_answer_or_none(run, inputs)


def is_answer_near_expected(given: Any, expected: Any) -> bool:
    """Return whether an answer differs from the expected one by at most 1e-4, relative to numbers above 1. Where the
    expected number is not finite, any number passes. Return False for None, and for another shape."""
    if given is None or given.shape != expected.shape:
        return False
    there = np.isfinite(expected)
    scale = np.maximum(1.0, np.abs(expected[there]))
    return bool((np.abs(given[there] - expected[there]) <= APART * scale).all())


def _differs_in_varied_size(one: Sizes, varied: Sizes) -> bool:
    """Return whether two batches differ in the size that is varied: in the number of tokens if `varied` is a batch of
    one text, else in the number of texts."""
    return one.tokens != varied.tokens if varied.batch == 1 else one.batch != varied.batch


def _describe_sizes(sizes: Sizes) -> str:
    return f"a text of {sizes.tokens} tokens" if sizes.batch == 1 else f"a batch of {sizes.batch} texts"


# --- Tests of identity ---
# Find out whether a module's code may test the identity of a number: `n is special`, `id(n)`, `operator.is_`.
#
# Python keeps one object for each number up to 256, so such a comparison may be true in a run. A size of a trace is
# another object.


def may_compare_numbers_by_identity(module: nn.Module) -> bool:
    """Return whether a file with a module's code may compare numbers by identity: by `is` or `id`."""
    return any(map(_may_file_compare_by_identity, find_users_files(module)))


@functools.lru_cache(maxsize=256)
def _may_file_compare_by_identity(file: str) -> bool:
    """Return whether the code of a Python file may compare two values by identity: by `is` or `id`. Return True for a
    file that cannot be parsed."""
    tree = parse_file(file)
    return tree is None or any(
        (isinstance(node, ast.Name) and node.id in ("id", "is_", "is_not"))
        or (isinstance(node, ast.Attribute) and node.attr in ("is_", "is_not"))
        or (isinstance(node, ast.Compare) and _compares_two_values_by_is(node))
        for node in ast.walk(tree)
    )


def _compares_two_values_by_is(node: ast.Compare) -> bool:
    """Return whether a comparison in the syntax tree uses `is` or `is not` between two values that are both not
    literals, unlike `x is None`."""
    pairs = zip(node.ops, [node.left, *node.comparators], node.comparators, strict=False)
    return any(
        isinstance(operator, ast.Is | ast.IsNot) and not any(isinstance(one, ast.Constant) for one in operands)
        for operator, *operands in pairs
    )
