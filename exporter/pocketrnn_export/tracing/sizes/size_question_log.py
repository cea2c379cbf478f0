"""The questions about sizes that a trace meets, and the log that records them; see
`python_semantics/size_condition_answers.py`.

`torch.export` follows one branch: each question about a size (`if x.size(1) > 512`, the end of a slice, the number of
chunks of a split) is answered for the example, and the answer restricts the sizes for which the program is right. So
every question is recorded in a `TraceLog`, with the line of the module that asked it.
`pocketrnn_export.tracing.sizes.program_search` finds out which program is right for which sizes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pocketrnn.errors import ExportError
from pocketrnn_export.intake.user_frames import UNKNOWN_LINE
from pocketrnn_export.tracing.sizes.size_conditions import Condition, Sizes, UnsolvableError


class UntraceableError(ExportError):
    """A module does not have a program for batches of every size. It may have one for a single text."""


@dataclass(frozen=True)
class Question:
    """A condition on sizes that was tested in a trace, by user code or by a PyTorch operation.

    Attributes:
        condition: the condition.
        branch: whether the module's own code tested it, and not an operation that it called.
        file, line, source: the line in the module's code; empty, 0 and empty if it is not known.
        number: whether Python used a size as a plain number: the condition is that it equals this number.
    """

    condition: Condition
    branch: bool
    file: str = ""
    line: int = 0
    source: str = ""
    number: bool = False

    def holds(self, sizes: Sizes) -> bool:
        """Return whether the condition is true for these sizes."""
        return self.condition.holds(sizes)

    @property
    def where(self) -> str:
        """The line of user code that tested the condition, formatted for error messages."""
        return f"{self.file}:{self.line}: `{self.source}`" if self.line else UNKNOWN_LINE


@dataclass
class TraceLog:
    """The record of a trace: the conditions on sizes that forward tested, the errors to raise at its end, and lines to
    report.

    Attributes:
        questions: the questions, each once.
        raised: the lines whose torch functions raised an error.
        pads: how many calls of `F.pad` have amounts that depend on a size.
        counted_lengths: whether the module unpacks by lengths that are not its inputs.
        steps: the conditions that each recurrent layer has a row and a step. Without these, onnxruntime ends the
            process.
        answered: the restrictions that answer a question of the module's own code.
        refused: the errors for questions that cannot be answered, even if the module catches them.
        said: the lines that put a size into the message of an error.
        periods: the divisors of sizes.
        until: the processor time after which no further question is recorded.
    """

    questions: list[Question] = field(default_factory=list)
    raised: list[str] = field(default_factory=list)
    pads: int = 0
    counted_lengths: bool = False
    steps: list[Question] = field(default_factory=list)
    answered: set[str] = field(default_factory=set)
    refused: list[ExportError] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    periods: set[int] = field(default_factory=set)
    until: float = float("inf")

    def record_question_if_it_varies(self, question: Question) -> bool:
        """Record a condition that forward tests, if it is true for some sizes with which a graph is run and false for
        others. Return whether this is so.

        Return False for a condition inside a PyTorch operation that cannot be evaluated.

        Raises:
            ExportError: a condition in the module's own code cannot be evaluated, or forward takes too long to trace.
        """
        self.refuse_long_trace(lambda: question.where)
        try:
            varies = question.condition.varies
        except UnsolvableError as error:
            if not question.branch:
                return False
            raise self.record_refusal(
                ExportError(
                    f"The module tests a condition on a size that cannot be solved, because of {error}: "
                    f"{question.where}.",
                    "Use sums, products, integer divisions and comparisons with plain numbers.",
                )
            ) from error
        if varies and all(known.condition != question.condition for known in self.questions):
            self.questions.append(question)
        return varies

    def record_refusal(self, error: ExportError) -> ExportError:
        """Record an error, so that it is raised later even if the module catches it now."""
        self.refused.append(error)
        return error

    def refuse_long_trace(self, where: Callable[[], str]) -> None:
        """Raise an ExportError if a trace of forward takes too long. `where` returns the line that forward now runs,
        which the error names."""
        if time.process_time() > self.until:
            raise self.record_refusal(
                ExportError(
                    f"Forward takes too long to trace for one size of its input, {where()}.",
                    "Loop over range(x.size(1)), or use nn.RNN, nn.LSTM or nn.GRU. Do not call a function again for "
                    "parts of a text.",
                )
            )

    def raise_recorded_error(self) -> None:
        """Raise the first error that was recorded, even if the module caught it. Raise an ExportError if the module
        caught an error with a size in its message."""
        if self.refused:
            raise self.refused[0]
        if self.said:
            raise ExportError(
                f"The module raises an error with a size in the message, and catches the error: {self.said[0]}.",
                "Compare the size itself, as in x.size(1) > 512.",
            )
