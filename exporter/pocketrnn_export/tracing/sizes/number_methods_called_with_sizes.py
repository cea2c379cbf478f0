"""Refuse `(77).__ne__(n)` with a size n. Python's numbers do not know symbolic sizes, so the method returns
`NotImplemented`.

Its truth is True for every size, and Python warns of it (in 3.14 it is an error). `77 != n` compares with the size.
No other check finds such a number beyond the sizes at which the proof compares a module with its program.
"""

from __future__ import annotations

import contextlib
import traceback
import warnings
from collections.abc import Iterator

from pocketrnn.errors import ExportError
from pocketrnn_export.intake.user_code_lines_for_messages import UNKNOWN_LINE, describe_line, is_user_frame
from pocketrnn_export.tracing.sizes.size_question_log import TraceLog


@contextlib.contextmanager
def refuse_not_implemented_truth(log: TraceLog) -> Iterator[None]:
    """While the block runs, refuse code that tests whether `NotImplemented` is true, as in `if n.__eq__(size)`.

    Raises:
        ExportError: the block tested `NotImplemented`. The error names the line.
    """
    warnings.filterwarnings("error", message="NotImplemented should not be used", category=DeprecationWarning)
    try:
        yield
    except (DeprecationWarning, TypeError) as error:
        if "NotImplemented should not be used" not in str(error):
            raise
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__) if is_user_frame(frame)]
        place = describe_line(frames[-1]) if frames else UNKNOWN_LINE
        raise log.record_refusal(
            ExportError(
                f"The module calls a method of a number, such as __eq__, with a size as its argument: {place}. A "
                "trace cannot record this.",
                "Compare with the operators ==, !=, <, <=, > and >=.",
            )
        ) from error
