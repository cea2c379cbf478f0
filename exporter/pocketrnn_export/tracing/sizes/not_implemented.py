"""`(77).__ne__(n)` of a size: Python's numbers do not know the classes of a trace's sizes, and give `NotImplemented`.

Its truth is True, whatever the size is, and Python warns of it (in 3.14 it is an error). `77 != n` asks the size.
Nothing else tells of a number beyond the sizes at which the proof compares a module with its program.
"""

from __future__ import annotations

import contextlib
import traceback
import warnings
from collections.abc import Iterator

from pocketrnn.errors import ExportError
from pocketrnn_export.intake.user_frames import is_users, place_of
from pocketrnn_export.tracing.sizes.questions import TraceLog

__all__ = ["no_truth_of_not_implemented"]


@contextlib.contextmanager
def no_truth_of_not_implemented(log: TraceLog) -> Iterator[None]:
    """While the block runs, the truth of `NotImplemented` is an error that names the line.

    Raises:
        ExportError: it was asked for.
    """
    warnings.filterwarnings("error", message="NotImplemented should not be used", category=DeprecationWarning)
    try:
        yield
    except (DeprecationWarning, TypeError) as error:
        if "NotImplemented should not be used" not in str(error):
            raise
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__) if is_users(frame)]
        place = place_of(frames[-1]) if frames else "a line that is not known"
        raise log.refuse(
            ExportError(
                f"The module asks a method of a number about a size, which it does not know in a trace: {place}.",
                "Compare with the operators ==, !=, <, <=, > and >=.",
            )
        ) from error
