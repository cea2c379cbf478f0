"""Compare a module with its program for every number of tokens and every number of texts, from 1 on.

A trace records forward's conditions on sizes. Python has more ways to test a size than any list of them: a printed size
that is kept as text, `id`, another thread, an error that is caught. In each way, the module does something else at some
size and its program does not. So the two are compared at each size, with layers that have no memory
(`pocketrnn_export.tracing.layers.memoryless_layers`), and again with real layers if that shows a difference.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np
from torch import Tensor, nn

from pocketrnn.bundle.manifest import Limits
from pocketrnn.errors import ExportError
from pocketrnn_export.comparing.proof_inputs import Run
from pocketrnn_export.module_runs.complete_copy import copy_complete_copy
from pocketrnn_export.module_runs.quiet_cpu_run import compute_answer
from pocketrnn_export.progress import log_item_progress
from pocketrnn_export.tracing.layers.memoryless_layers import use_memoryless_layers
from pocketrnn_export.tracing.python_semantics.identity_comparisons import compares_identity
from pocketrnn_export.tracing.sizes.program_judging import is_within_limits
from pocketrnn_export.tracing.sizes.size_conditions import USUAL, Sizes

MOST_TOKENS: Final = 512
MOST_TEXTS: Final = 64
# The most texts for a module that may test the identity of a number: up to this number, Python keeps one object for
# each integer.
_KEPT: Final = 256
# The tokens of texts in a batch whose number of texts is varied, and of the text that is put beside longer ones.
_SHORT: Final = 5
# The largest number in a condition on a length that is tried; and the largest number of bounds.
_LONGEST: Final = 20_000
_MOST_BOUNDS: Final = 60
# The processor time for one of the two checks. Loops over the steps of a text stay slow without memory, so such a
# module is run at fewer sizes.
SECONDS: Final = 5.0
# A program differs from its module by rounding, 1e-6; programs that follow another rule differed by 1e-3.
APART: Final = 1e-4

# The usual sizes that are compared with a size at which a module does something else.
_ORDINARY: Final = (USUAL, Sizes(1, _SHORT + 1), Sizes(2, _SHORT))

# Maps inputs as the module takes them to logits, an array [batch, classes]; may raise anything.
Answers = Callable[[tuple[Tensor, ...]], Any]


class AnswersDifferError(ExportError):
    """A program gives other answers than its module.

    Args:
        problem, remedy: as for every error.
        module: the module.
        inputs: first inputs with different answers, then inputs with answers that may agree.
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


def check_every_size(
    module: nn.Module,
    program: Answers,
    limits: Limits,
    inputs_of: Callable[[Sizes], tuple[Tensor, ...]],
    agree: Callable[[Sizes], bool],
    *,
    one_text: bool,
) -> None:
    """Refuse a program whose answer differs from its module's answer for a text of 1 to 512 tokens, or for a batch of 1
    to 64 texts. If the module may test the identity of a number, the batches have up to 256 texts.

    Args:
        module: in eval mode, on the CPU; it is copied.
        program: the program, as PyTorch runs it.
        limits: the limits of the program.
        inputs_of: makes random inputs of some sizes, as the module takes them.
        agree: whether the module and the exported program give the same answer at some sizes, with real layers.
        one_text: whether the batch size is always 1.
    """
    copied, started = copy_complete_copy(module), time.process_time()
    texts, keeps = _KEPT if compares_identity(module) else MOST_TEXTS, False
    for sizes in log_item_progress(
        _list_sizes_to_try(texts, one_text=one_text), "Comparing the trace at every length and batch"
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
        if expected is None or _is_same_answer(_compute_memoryless_answer(program, inputs), expected):
            continue
        if agree(sizes):
            # The module has a loop of its own with memory, so without memory the two differ at each size.
            keeps = True
            continue
        # A difference at every size does not come from a condition on a size: the proof reports it.
        if agree(USUAL):
            raise AnswersDifferError(
                f"The module computes something else for {_describe_sizes(sizes)} than for other sizes: it tests a "
                "size in a way that a trace does not record.",
                "Compare sizes with numbers, as in x.size(1) > 20. Do not use the string or the identity of a size, a "
                "caught error or another thread.",
                module,
                [inputs, *(inputs_of(other) for other in _ORDINARY if _are_sizes_different(other, sizes))],
            )
        return


def check_batches_of_mixed_lengths(
    run: Run,
    ids: Sequence[int],
    padding_id: int,
    limits: Limits | None,
    *,
    ragged: bool,
    bounds: Iterable[tuple[int, int]] = (),
    numbers: Iterable[int] = (),
) -> None:
    """Refuse a module whose answer to a text depends on the length of another text in its batch, or on the batch size.

    Args:
        run: computes the module's answers from tokens and lengths; may raise anything.
        ids: the ids of random texts.
        padding_id: the token after a text that is shorter than another.
        limits: the limits of its graph.
        ragged: whether a batch may hold texts of several lengths.
        bounds: sizes (texts, tokens) around each condition on a size.
        numbers: the numbers that the graph may compare a length with.
    """
    generator, limits = np.random.default_rng(0), limits or Limits()
    texts: dict[int, Any] = {_SHORT: generator.choice(ids, _SHORT)}
    alone: dict[int, Any] = {}

    def check_size(rows: int, steps: int, length: int) -> None:
        if (
            not is_within_limits(limits, Sizes(rows, steps))
            or not limits.allows_length(length)
            or not (ragged or steps == length)
        ):
            return
        if length not in texts:
            texts[length] = texts[_SHORT][:length] if length < _SHORT else generator.choice(ids, length)
        tokens = generator.choice(ids, (rows, steps))
        tokens[-1], tokens[-1, :length] = padding_id, texts[length]
        lengths = np.array([*[steps] * (rows - 1), length])
        text = np.ascontiguousarray(tokens[-1:, :length]), lengths[-1:]
        with use_memoryless_layers():
            if length not in alone:
                alone[length] = compute_answer_or_none(run, *text)
            together = compute_answer_or_none(run, tokens, lengths)
        if _are_answered_rows_equal(together, alone[length]) or _are_answered_rows_equal(
            compute_answer_or_none(run, tokens, lengths), compute_answer_or_none(run, *text)
        ):
            return
        raise ExportError(
            f"The module answers a text of {length} tokens differently in a batch of {rows} x {steps} tokens than "
            "alone.",
            "Let a text's answer depend only on its own tokens, and not on a size of the batch. Or export the module "
            "for one text at a time: --one-text, or one_text=True.",
        )

    asked = ((max(2, s.batch), s.tokens, min(s.tokens, _SHORT)) for s in _list_sizes_to_try(MOST_TEXTS, one_text=False))
    for sizes in (_list_sizes_on_both_sides_of_bounds(bounds, numbers), list(asked)):
        started = time.process_time()
        for rows, steps, length in log_item_progress(sizes, "Running texts in batches with others"):
            if time.process_time() - started > SECONDS:
                break
            check_size(rows, steps, length)


def _list_sizes_on_both_sides_of_bounds(
    bounds: Iterable[tuple[int, int]], numbers: Iterable[int]
) -> list[tuple[int, int, int]]:
    """Return sizes (rows, longest text, text beside it) just below and above each condition on a length."""
    asked = {tokens for _, tokens in bounds if tokens > 1}
    # All shorter lengths are tried beside a short text anyway.
    asked |= {number for number in numbers if MOST_TOKENS < number <= _LONGEST}
    widths = sorted(asked)[:_MOST_BOUNDS]
    near = [(2, steps, before) for before, steps in itertools.pairwise(widths)]
    return [*((2, steps, _SHORT) for steps in widths if steps >= _SHORT), *near]


def _are_answered_rows_equal(together: Any, alone: Any) -> bool:
    """Return whether the last rows of a batch's answer equal the text's own answer, if there are both."""
    return together is None or alone is None or _is_same_answer(together[-len(alone) :], alone)


def _list_sizes_to_try(texts: int, *, one_text: bool) -> Iterator[Sizes]:
    """Yield texts of up to 128 tokens, small batches, then longer texts in an order that soon covers all ranges."""
    lengths = range(1, MOST_TOKENS + 1)
    near = min(128, MOST_TOKENS)
    yield from (Sizes(1, length) for length in lengths[:near])
    if not one_text:
        yield from (Sizes(rows, _SHORT) for rows in range(2, texts + 1))
    for rest in range(3):
        yield from (Sizes(1, length) for length in lengths[near:] if length % 3 == rest)


def _compute_memoryless_answer(run: Answers, inputs: tuple[Tensor, ...]) -> Any:
    """Return the answer of a run in which recurrent layers have no memory, or None if the run fails."""
    with use_memoryless_layers():
        return compute_answer_or_none(run, inputs)


def compute_answer_or_none(run: Callable[..., Any], *inputs: Any) -> Any:
    """Return the answer of a run as an array, or None if the run fails. Any program passes for inputs on which the
    module fails, since the proof refuses such a module on its cases."""
    try:
        answer = run(*inputs)
    # A user's module, or an engine, may raise anything.
    except Exception:
        return None
    answer = answer[0] if isinstance(answer, tuple) else answer
    return answer.numpy() if isinstance(answer, Tensor) else answer


def _is_same_answer(given: Any, expected: Any) -> bool:
    if given is None or given.shape != expected.shape:
        return False
    # If the module's number is not finite, any number passes.
    there = np.isfinite(expected)
    scale = np.maximum(1.0, np.abs(expected[there]))
    return bool((np.abs(given[there] - expected[there]) <= APART * scale).all())


def _are_sizes_different(one: Sizes, other: Sizes) -> bool:
    """Return whether two sizes differ in the number of texts, or, if `other` is one text, of tokens."""
    return one.tokens != other.tokens if other.batch == 1 else one.batch != other.batch


def _describe_sizes(sizes: Sizes) -> str:
    return f"a text of {sizes.tokens} tokens" if sizes.batch == 1 else f"a batch of {sizes.batch} texts"
