"""Refuse to turn a tensor into a string: `str(x)`, `repr(x)`, f"{x[0, 0]}". A graph does not have strings, and a tensor
of a trace does not have numbers.

The proof needs this rule: forward may compare the string with that of a row that no case has.
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any, Final

from pocketrnn.errors import ExportError
from pocketrnn_export.intake.user_code_lines_for_messages import (
    describe_line,
    find_frame_outside_package,
    is_library_frame,
    is_user_frame,
)
from pocketrnn_export.torch_internals import TEXT_FILES
from pocketrnn_export.tracing.sizes.printed_sizes import find_use_of_current_value
from pocketrnn_export.tracing.trace_session import TraceSession, decline_call, decline_for_torchscript, rule


@rule("__repr__", "__str__", "__format__", decline=decline_for_torchscript)
def refuse_string_of_tensor(session: TraceSession, *_: Any, **__: Any) -> Any:
    """Raise an ExportError if user code makes a string of a tensor, unless the string is only printed, logged or put
    into an error's message."""
    frame: FrameType | None = find_frame_outside_package(sys._getframe(1))
    while frame is not None and frame.f_code.co_filename in TEXT_FILES:
        frame = frame.f_back
    if frame is None or not is_user_frame(frame) or is_library_frame(frame):
        return decline_call("PyTorch or a library makes the string")
    if find_use_of_current_value(frame):
        return decline_call("the string is only printed, logged or raised")
    raise session.log.record_refusal(
        ExportError(
            "The module converts the numbers of a tensor to a string, which an ONNX graph cannot do: "
            f"{describe_line(frame)}.",
            "Compute with the tensor itself, for example x[:, 0] == 42.",
        )
    )


TEXTS: Final = (refuse_string_of_tensor,)
