"""The words of a refusal, with the line of the module's code that decides."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from pocketrnn_export.diagnose.parting_line import parting_line
from pocketrnn_export.tracing.checks.every_size import OtherAnswersError

__all__ = ["with_its_line"]


@contextlib.contextmanager
def with_its_line() -> Iterator[None]:
    """While the block runs, the error of a program that answers otherwise than its module names the line at which the
    module's ways part.

    Raises:
        OtherAnswersError: the block raised one.

    Example:
        >>> with with_its_line():
        ...     right_program(module, example)
    """
    try:
        yield
    except OtherAnswersError as error:
        if error.module is None or not error.inputs:
            raise
        odd, *others = error.inputs
        line = parting_line(error.module, odd, others)
        if not line:
            raise
        raise OtherAnswersError(f"{error.problem.rstrip('.')}: {line}.", error.remedy) from error
