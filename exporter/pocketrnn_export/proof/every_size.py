"""A module beside its program at every number of tokens and of texts, from 1 on.

A trace notes what forward asks about sizes. Python has more ways to ask than any list of them: the text of a size that
is kept after it was printed, `id`, another thread, an error that is caught. Whatever asked, the module does something
else at some size and its program does not. So the two are asked at each size, with layers that remember nothing
(`pocketrnn_export.tracing.layers.stateless`), and once more as they are where that shows a difference.
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
from pocketrnn_export.comparing.cases import Run
from pocketrnn_export.module_runs.cpu_run import answer_of
from pocketrnn_export.module_runs.whole_copy import copied_again
from pocketrnn_export.progress import each
from pocketrnn_export.tracing.layers.stateless import stateless_layers
from pocketrnn_export.tracing.python_semantics.users_globals import compares_identity
from pocketrnn_export.tracing.sizes.conditions import USUAL, Sizes
from pocketrnn_export.tracing.sizes.module_answers import inside

__all__ = [
    "APART",
    "MOST_TEXTS",
    "MOST_TOKENS",
    "Answers",
    "OtherAnswersError",
    "answer_if_any",
    "check_beside_others",
    "check_every_size",
]

MOST_TOKENS: Final = 512
MOST_TEXTS: Final = 64
# The same of a module that may ask which object a number is: Python keeps one for each number up to here.
_KEPT: Final = 256
# The tokens of texts, where their number is what counts; and of the text that stands beside longer ones.
_SHORT: Final = 5
# The largest number compared with a length that is tried; and the largest number of bounds.
_LONGEST: Final = 20_000
_MOST_BOUNDS: Final = 60
# Processor time for one of the two checks. Loops over the steps of a text take as long as they always do, so that such
# a module is run at fewer sizes.
SECONDS: Final = 5.0
# A program differs from its module by rounding, 1e-6; programs that follow another rule differed by 1e-3.
APART: Final = 1e-4

# Sizes beside which a module is looked at where it answers otherwise at one.
_ORDINARY: Final = (USUAL, Sizes(1, _SHORT + 1), Sizes(2, _SHORT))

# Maps inputs as the module takes them to logits, an array [batch, classes]; may raise anything.
Answers = Callable[[tuple[Tensor, ...]], Any]


class OtherAnswersError(ExportError):
    """A program answers otherwise than its module.

    Args:
        problem, remedy: as of every error.
        module: the module.
        inputs: what it takes, where the two differ, and then where they may agree.
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
    """Refuse a program that answers otherwise than its module at one of these sizes: a text of 1 to 512 tokens, or a
    batch of 1 to 64; of 1 to 256 where the module may ask which object a number is.

    Args:
        module: in eval mode, on the CPU; it is copied.
        program: as PyTorch runs it.
        limits: of the program.
        inputs_of: random inputs of some sizes, as the module takes them.
        agree: whether the module and the program as it is exported give the same answer there, with real layers.
        one_text: whether the batch is always one.

    Raises:
        OtherAnswersError: it does; names the size.
    """
    copied, started = copied_again(module), time.process_time()
    texts, keeps = _KEPT if compares_identity(module) else MOST_TEXTS, False
    for sizes in each(_sizes(texts, one_text=one_text), "Comparing the trace at every length and batch"):
        if time.process_time() - started > SECONDS:
            return
        if not inside(limits, sizes):
            continue
        if keeps and agree(sizes):
            continue
        inputs = inputs_of(sizes)
        expected = _stateless(lambda given: answer_of(copied, given), inputs)
        # Where the module fails, any program is as good as another.
        if expected is None or _same(_stateless(program, inputs), expected):
            continue
        if agree(sizes):
            # A loop of the module's own remembers: without memory, it and its program differ at each size.
            keeps = True
            continue
        # A difference at every size is not a question about one size: the proof says where it is.
        if agree(USUAL):
            raise OtherAnswersError(
                f"The module does something else for {_named(sizes)} than for other texts, by a question about a size "
                "that a trace does not see.",
                "Ask by comparisons of numbers, such as x.size(1) > 20: not by the text of a size, its identity, an "
                "error that is caught, or from another thread.",
                module,
                [inputs, *(inputs_of(other) for other in _ORDINARY if _differ(other, sizes))],
            )
        return


def check_beside_others(
    run: Run,
    ids: Sequence[int],
    padding_id: int,
    limits: Limits | None,
    *,
    ragged: bool,
    bounds: Iterable[tuple[int, int]] = (),
    numbers: Iterable[int] = (),
) -> None:
    """Refuse a module that answers a text by the length of the one beside it, or by how many there are.

    Args:
        run: the module's answers to tokens and lengths; may raise anything.
        ids: what its texts are drawn from.
        padding_id: what stands after a text that is shorter than another.
        limits: of its graph.
        ragged: whether texts of several lengths share a batch; else of one.
        bounds: sizes (texts, tokens) on both sides of what forward asks about a size.
        numbers: what the graph may compare a length with.

    Raises:
        ExportError: it does; names the sizes.
    """
    generator, limits = np.random.default_rng(0), limits or Limits()
    texts: dict[int, Any] = {_SHORT: generator.choice(ids, _SHORT)}
    alone: dict[int, Any] = {}

    def check(rows: int, steps: int, length: int) -> None:
        if not inside(limits, Sizes(rows, steps)) or not limits.allow(length) or not (ragged or steps == length):
            return
        if length not in texts:
            texts[length] = texts[_SHORT][:length] if length < _SHORT else generator.choice(ids, length)
        tokens = generator.choice(ids, (rows, steps))
        tokens[-1], tokens[-1, :length] = padding_id, texts[length]
        lengths = np.array([*[steps] * (rows - 1), length])
        text = np.ascontiguousarray(tokens[-1:, :length]), lengths[-1:]
        with stateless_layers():
            if length not in alone:
                alone[length] = answer_if_any(run, *text)
            together = answer_if_any(run, tokens, lengths)
        if _same_if_any(together, alone[length]) or _same_if_any(
            answer_if_any(run, tokens, lengths), answer_if_any(run, *text)
        ):
            return
        raise ExportError(
            f"The module answers a text of {length} tokens differently in a batch of {rows} x {steps} tokens than "
            "alone.",
            "Let a text's answer depend on its own tokens only, and on no size of its batch; or export the module for "
            "one text at a time: --one-text, or one_text=True.",
        )

    asked = ((max(2, s.batch), s.tokens, min(s.tokens, _SHORT)) for s in _sizes(MOST_TEXTS, one_text=False))
    for sizes in (_across_bounds(bounds, numbers), list(asked)):
        started = time.process_time()
        for rows, steps, length in each(sizes, "Asking for texts beside others"):
            if time.process_time() - started > SECONDS:
                break
            check(rows, steps, length)


def _across_bounds(bounds: Iterable[tuple[int, int]], numbers: Iterable[int]) -> list[tuple[int, int, int]]:
    """Rows, the longest text, and the one beside it, on both sides of each question about a length: a short text, and
    one that is little shorter than the longest."""
    asked = {tokens for _, tokens in bounds if tokens > 1}
    # Shorter ones are all tried beside a short text.
    asked |= {number for number in numbers if MOST_TOKENS < number <= _LONGEST}
    widths = sorted(asked)[:_MOST_BOUNDS]
    near = [(2, steps, before) for before, steps in itertools.pairwise(widths)]
    return [*((2, steps, _SHORT) for steps in widths if steps >= _SHORT), *near]


def _same_if_any(together: Any, alone: Any) -> bool:
    """Whether the last rows of a batch are those of the text alone, as far as both are answered."""
    return together is None or alone is None or _same(together[-len(alone) :], alone)


def _sizes(texts: int, *, one_text: bool) -> Iterator[Sizes]:
    """Every length up to 128, every small batch, and the other lengths in an order that leaves none of them to the end
    of the time."""
    lengths = range(1, MOST_TOKENS + 1)
    near = min(128, MOST_TOKENS)
    yield from (Sizes(1, length) for length in lengths[:near])
    if not one_text:
        yield from (Sizes(rows, _SHORT) for rows in range(2, texts + 1))
    for rest in range(3):
        yield from (Sizes(1, length) for length in lengths[near:] if length % 3 == rest)


def _stateless(run: Answers, inputs: tuple[Tensor, ...]) -> Any:
    """An answer with layers that remember nothing; None where there is none."""
    with stateless_layers():
        return answer_if_any(run, inputs)


def answer_if_any(run: Callable[..., Any], *inputs: Any) -> Any:
    """An answer as an array; None where the run fails: there any program is as good as another. Whether a module may
    fail on such inputs is for the proof to say, which refuses one that fails on its cases."""
    try:
        answer = run(*inputs)
    # Whatever a user's module, or an engine, raises.
    except Exception:
        return None
    answer = answer[0] if isinstance(answer, tuple) else answer
    return answer.numpy() if isinstance(answer, Tensor) else answer


def _same(given: Any, expected: Any) -> bool:
    if given is None or given.shape != expected.shape:
        return False
    # Where the module has no finite answer, any is as good.
    there = np.isfinite(expected)
    scale = np.maximum(1.0, np.abs(expected[there]))
    return bool((np.abs(given[there] - expected[there]) <= APART * scale).all())


def _differ(one: Sizes, other: Sizes) -> bool:
    """Whether two inputs differ in the number of texts, or of tokens where one is a text alone."""
    return one.tokens != other.tokens if other.batch == 1 else one.batch != other.batch


def _named(sizes: Sizes) -> str:
    return f"a text of {sizes.tokens} tokens" if sizes.batch == 1 else f"a batch of {sizes.batch} texts"
