"""Make the error for a module that does not have one right program for all sizes. The error names the condition and its
line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np
import sympy

from pocketrnn.errors import ExportError, first_line
from pocketrnn_export.comparing.proof_inputs import LARGEST
from pocketrnn_export.tracing.sizes.boundary_sizes import find_condition_changes
from pocketrnn_export.tracing.sizes.program_judging import AnswerJudge, ProgramAttempt, describe_sizes
from pocketrnn_export.tracing.sizes.size_conditions import USUAL, Sizes
from pocketrnn_export.tracing.sizes.size_question_log import Question, UntraceableError

# The most programs in one graph that the sizes choose from.
TOGETHER: Final = 4


def make_size_refusal_error(
    known: Sequence[Question],
    attempts: Sequence[ProgramAttempt[Any]],
    cases: Sequence[Sizes],
    judge: AnswerJudge,
    batch: int | None,
) -> ExportError:
    """Return the error for a module without a right program. It names a condition of forward whose result at usual
    sizes differs from that at sizes for which the programs are wrong."""
    usual = Sizes(batch or USUAL.batch, USUAL.tokens)
    branches = {tuple(q.holds(case) for q in known if q.branch) for case in cases}
    # A program that agrees everywhere may choose by other operators than forward, or differ with weights that forget
    # nothing.
    wrong = [next((case for case in cases if not judge.agrees(attempt, case)), None) for attempt in attempts]
    failures = [case for case in wrong if case is not None]
    for attempt, case in zip(attempts, wrong, strict=True):
        if case is not None and (rounding := judge.find_too_large_rounding(attempt, case)):
            return ExportError(
                f"For {describe_sizes(case)}, float32 rounds the module's answer by {rounding:.1e}, so that no graph "
                "can be compared with it.",
                "Numbers that grow from layer to layer lose their digits: look at the weights, and train the module "
                "before you export it.",
            )
    for case in failures:
        # A question of the module's own code tells more than one of an operation.
        blamed = [q for q in known if q.holds(case) != q.holds(usual)]
        for question in sorted(blamed, key=lambda q: (not q.branch, not q.line)):
            return _make_question_error(
                question, _describe_region(question, case, usual), len(branches) if len(attempts) > TOGETHER else 0
            )
    if judge.errors and not failures:
        for question in known:
            if _freezes_a_size(question) and question.line:
                size = "number of tokens" if "tokens" in question.condition.size_names else "number of texts"
                return UntraceableError(
                    "The module cannot be traced with a dynamic batch and sequence length: it uses the "
                    f"{size} as a plain number, {question.where}.",
                    "Compute with sizes. Do not loop over them, and do not pass them to int() or range().",
                )
        if isinstance(first := judge.errors[0], ExportError):
            return first
        return UntraceableError(
            f"The module cannot be traced with a dynamic batch and sequence length: {first_line(first)}.",
            "Compute sizes from the shapes of tensors and not from their values. Avoid loops over steps.",
        )
    question = next((q for q in known if q.branch), known[0])
    case = failures[0] if failures else usual
    return _make_question_error(question, f"for {describe_sizes(case)}")


def _freezes_a_size(question: Question) -> bool:
    """Return whether a condition states one number for a size: an operation, such as `range`, made a constant of it."""
    relation = question.condition.relation
    return not question.branch and isinstance(relation, sympy.Eq) and relation.lhs.is_Symbol and relation.rhs.is_Integer


def _make_question_error(question: Question, region_in_words: str, number_of_branches: int = 0) -> ExportError:
    """Return the error for a condition that is true for some sizes and false for others. `region_in_words` describes
    the sizes where it is not as usual, and `number_of_branches` is the number of branches."""
    where = region_in_words[0].upper() + region_in_words[1:]
    if question.branch and number_of_branches > TOGETHER:
        return ExportError(
            f"Forward has {number_of_branches} branches for different sizes of its input, but a graph can have at most "
            f"{TOGETHER}: {question.where}.",
            "Compute the numbers that differ: the next width as -(-n // 16) * 16, the bucket of a length as "
            "(torch.tensor(widths) < n).sum(). Or let the text rules pad and cut (min_width, max_width), outside of "
            "forward.",
        )
    if question.branch:
        return ExportError(
            f"{where}, forward takes another branch than for other sizes, which a graph cannot do: {question.where}.",
            "Do not branch on a size: cut with x[:, :n], pad with F.pad(x, (0, max(0, n - x.size(1)))), or "
            "compute both sides and choose with torch.where.",
        )
    return ExportError(
        f"{where}, an operation of forward computes something else than for other sizes, which "
        f"a graph cannot do: {question.where}.",
        "Use an operation that is the same for every size: cut with x[:, :n], do not use a fixed number of chunks or "
        "windows, and do not use a size as a plain number.",
    )


def _describe_region(question: Question, case: Sizes, usual: Sizes) -> str:
    """Describe in words the sizes at which a condition has the same result as for `case`."""
    for name, noun in (("tokens", "texts of {} tokens"), ("batch", "batches of {} texts")):
        if question.condition.size_names == {name}:
            numbers, at = np.arange(1, LARGEST + 1), getattr(case, name)
            usually = {size: np.full_like(numbers, number) for size, number in asdict(usual).items()}
            edges = find_condition_changes(question.condition.evaluate_on_sizes(**{**usually, name: numbers}))
            which = str(at) if len(edges) != 1 else f"more than {edges[0]}" if at > edges[0] else f"at most {edges[0]}"
            return "for " + noun.format(which)
    return f"where {question.condition} is {question.holds(case)}"
