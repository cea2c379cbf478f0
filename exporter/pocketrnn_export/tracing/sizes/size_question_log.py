"""The questions about sizes that a trace meets, and the log that records them; see
`python_semantics/size_condition_answers.py`.

`torch.export` follows one branch: each question about a size (`if x.size(1) > 512`, the end of a slice, the number of
chunks of a split) is answered for the example, and the answer restricts the sizes for which the program is right. So
every question is recorded in a `TraceLog`, with the line of the module that asked it.
`pocketrnn_export.tracing.sizes.right_program_for_each_size` finds out which program is right for which sizes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pocketrnn.errors import ExportError
from pocketrnn_export.intake.user_code_lines_for_messages import UNKNOWN_LINE, write_place
from pocketrnn_export.tracing.sizes.size_conditions import Condition, Sizes, UnsolvableError


class UntraceableError(ExportError):
    """The error for a module that does not have a program for batches of every size. It may have one for a single
    text."""


@dataclass(frozen=True)
class Question:
    """A condition on sizes that forward tested in a trace.

    Attributes:
        condition: the condition.
        branch: whether the module's own code tested the condition, and not a PyTorch operation in it.
        file, line, source: the line in the module's code; empty, 0 and empty if it is not known.
        number: whether Python used a size as a plain number. The condition is then that the size equals this number.
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
        return f"{write_place(self.file, self.line)}: `{self.source}`" if self.line else UNKNOWN_LINE


@dataclass
class TraceLog:
    """The record of a trace: the conditions on sizes that forward tested, the errors to raise at the end, and lines to
    report.

    Attributes:
        questions: the conditions on sizes, each once.
        raised: the lines at which an error was raised or passed on.
        pads: how many calls of `F.pad` have amounts that depend on a size.
        counted_lengths: whether the module packs by lengths that it computes itself.
        steps: the conditions that each recurrent layer has at least one row and one step. Without them, onnxruntime
            ends the process.
        answered: the guards of torch that answer a condition in the module's own code.
        refused: errors that are raised at the end, even if the module catches them.
        said: the lines that put a size into the message of an error.
        periods: the integers by which sizes are divided.
        until: the processor time after which the trace is refused as too long.
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
        """Record a condition on sizes that forward tests, if it is true for some sizes and false for others. Return
        whether it was recorded. A condition in a PyTorch operation is not recorded if it cannot be evaluated.

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
                    "The module tests a condition on a size that pocketrnn cannot evaluate, because the condition "
                    f"contains {error}: {question.where}.",
                    "Use sums, products, integer divisions and comparisons with plain numbers.",
                )
            ) from error
        if varies and all(known.condition != question.condition for known in self.questions):
            self.questions.append(question)
        return varies

    def record_refusal(self, error: ExportError) -> ExportError:
        """Return an error, after recording it so that it is raised at the end of the trace even if the module catches
        it now."""
        self.refused.append(error)
        return error

    def refuse_long_trace(self, where: Callable[[], str]) -> None:
        """Raise an ExportError if a trace of forward takes too long. `where` returns the line that forward runs now."""
        if time.process_time() > self.until:
            raise self.record_refusal(
                ExportError(
                    f"The trace of forward for one size of its input took too long and was stopped, {where()}.",
                    "Loop over range(x.size(1)), or use nn.RNN, nn.LSTM or nn.GRU. Do not call a function recursively "
                    "for parts of a text.",
                )
            )

    def raise_recorded_error(self) -> None:
        """Raise the first recorded error, if there is one, even if the module caught it.

        Raises:
            ExportError: there is a recorded error, or the module caught an error with a size in its message.
        """
        if self.refused:
            raise self.refused[0]
        if self.said:
            raise ExportError(
                "The module raises an error with a size in the message and catches it, so the answer may depend on "
                f"the message: {self.said[0]}.",
                "Remove the size from the message. To test a size, compare it with a number, as in x.size(1) > 512.",
            )
