"""The text of a tensor: `str(x)`, `repr(x)`, f"{x[0, 0]}". A graph has none, and in a trace it has no numbers.

The proof does not do without this rule: forward may compare the text with that of a row that no case has.
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any, Final

from pocketrnn.errors import ExportError
from pocketrnn_export.intake.user_frames import is_library, is_users, outside, place_of
from pocketrnn_export.torch_internals import TEXT_FILES
from pocketrnn_export.tracing.session import TraceSession, declined, exporting, rule
from pocketrnn_export.tracing.sizes.printed_sizes import output_of

__all__ = ["TEXTS"]


@rule("__repr__", "__str__", "__format__", when=exporting)
def text(session: TraceSession, *_: Any, **__: Any) -> Any:
    """Refused by its line, where it is made by the module's code and not only printed, logged or raised."""
    frame: FrameType | None = outside(sys._getframe(1))
    while frame is not None and frame.f_code.co_filename in TEXT_FILES:
        frame = frame.f_back
    if frame is None or not is_users(frame) or is_library(frame):
        return declined("PyTorch or a library makes it")
    if output_of(frame):
        return declined("it is only printed, logged or raised")
    raise session.log.refuse(
        ExportError(
            f"The module makes a text of a tensor's numbers, which no graph holds: {place_of(frame)}.",
            "Compare the numbers as tensors, such as (x[:, 0] == 42).",
        )
    )


TEXTS: Final = (text,)
