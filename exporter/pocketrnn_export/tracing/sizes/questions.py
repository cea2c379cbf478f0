"""A trace's questions about sizes, the branch that answers them, and the log that notes them. They are answered and
noted in `python_semantics/answered_questions.py`.

`torch.export` follows one branch: each question about a size (`if x.size(1) > 512`, the end of a slice, the number of
chunks of a split) is answered for the example, and the answer restricts the sizes that the traced program is right for.
So every question is noted in a `TraceLog`, with the line of the module that asked it. On a `Branch` the questions of
the module's own code are answered for chosen sizes, without restricting anything. Which of the programs is right where
is another matter: see `pocketrnn_export.tracing.sizes.restrictions`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor, nn

from pocketrnn.errors import ExportError
from pocketrnn_export.torch_internals import sym_max
from pocketrnn_export.tracing.sizes.conditions import Condition, Sizes, UnsolvableError
from pocketrnn_export.tracing.trace_operators import CUT

__all__ = ["Branch", "Question", "TraceLog", "UntraceableError", "asks_too_much"]


class UntraceableError(ExportError):
    """There is no program of a module for batches of any size; there may be one for a single text."""


def asks_too_much(place: str) -> ExportError:
    """The refusal of a line that asks about more sizes than can be tried."""
    return ExportError(
        f"The module asks more about sizes than can be tried, {place}.",
        "Ask by few comparisons, as in 700 <= n < 800; loop over range(x.size(1)), or use nn.RNN, nn.LSTM or nn.GRU; "
        "call no function again for parts of a text.",
    )


@dataclass(frozen=True)
class Question:
    """Something that a module, or PyTorch on its behalf, asked about sizes while it was traced.

    Attributes:
        condition: what was asked.
        branch: whether the module's own code asked, rather than an operation that it called.
        file, line, source: where in the module's code; empty, 0 and empty where that is not known.
        number: whether Python took a size for a plain number: the condition is that it is this one.
    """

    condition: Condition
    branch: bool
    file: str = ""
    line: int = 0
    source: str = ""
    number: bool = False

    def holds(self, sizes: Sizes) -> bool:
        """The answer for these sizes."""
        return self.condition.holds(sizes)

    @property
    def where(self) -> str:
        """The line of the module's code, as one shows it in an error."""
        return f"{self.file}:{self.line}: `{self.source}`" if self.line else "a line that is not known"


@dataclass(frozen=True)
class Branch:
    """The assumptions of a general trace.

    Attributes:
        sizes: branches on a size are answered for these, without a restriction.
        pads_from_zero: take the amounts of `F.pad` as at least 0. On the path of `if size < n` they are, and the pad
            then does nothing on longer texts, as the module does.
        least, most: the tokens of the sizes that take this branch. Where two branches are computed and one answer is
            taken, each is given tokens of its own sizes, since it may fail on others.
    """

    sizes: Sizes
    pads_from_zero: bool = False
    least: int | None = None
    most: int | None = None

    def fitted(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The inputs, padded to `least` tokens or cut to `most`: the same for sizes that take this branch."""
        tokens, *second = inputs
        if self.most is not None:
            tokens = CUT(tokens, 1, 0, self.most, 1)
            second = [value.clamp(max=self.most) if value.dim() == 1 else value for value in second]
        if self.least is not None:
            tokens = nn.functional.pad(tokens, (0, sym_max(self.least - tokens.shape[1], 0)))
        return (tokens, *second)


@dataclass
class TraceLog:
    """The findings of a trace so far.

    Attributes:
        questions: each once.
        raised: the lines whose torch functions raised an error.
        pads: how many pads by a size it met.
        counted_lengths: whether the module unpacks by lengths that it was not given.
        steps: whether each recurrent layer has a row and a step. onnxruntime ends the process where one has none.
        answered: restrictions that answer a question of the module's own.
        refused: why a question cannot be answered, however the module goes on.
        said: lines that made the text of a size for an error to be raised.
        periods: the divisors of sizes.
        until: the time of the processor after which no further question is noted.
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

    def note(self, question: Question) -> bool:
        """Note a question that has more than one answer among the sizes that a graph is run with; whether it has.

        A question by an operation itself that cannot be solved has none.

        Raises:
            ExportError: that cannot be found out, or there is no end of questions.
        """
        self.check_time(lambda: question.where)
        try:
            varies = question.condition.varies
        except UnsolvableError as error:
            if not question.branch:
                return False
            raise self.refuse(
                ExportError(
                    f"The module asks a question about a size that cannot be solved, {error}: {question.where}.",
                    "Ask by sums, products, whole divisions and comparisons with plain numbers.",
                )
            ) from error
        if varies and all(known.condition != question.condition for known in self.questions):
            self.questions.append(question)
        return varies

    def refuse(self, error: ExportError) -> ExportError:
        """Note an error to be raised, which stands also where the module goes on after it."""
        self.refused.append(error)
        return error

    def check_time(self, where: Callable[[], str]) -> None:
        """Refuse a forward that is followed for too long, at a line of it.

        Raises:
            ExportError: it is.
        """
        if time.process_time() > self.until:
            raise self.refuse(asks_too_much(where()))

    def check_answered(self) -> None:
        """Refuse a trace that came to its end, but asked what has no answer.

        Raises:
            ExportError: it asked what could not be answered, and went on after the error.
        """
        if self.refused:
            raise self.refused[0]
        if self.said:
            raise ExportError(
                f"The module raises an error with a size in its text, and catches it: {self.said[0]}.",
                "Ask about the size itself, as in x.size(1) > 512.",
            )
