"""Rules for tests of tensor values. An assertion counts as true, because a graph cannot raise an error. Other tests
whether tensors are equal are refused."""

from __future__ import annotations

import dis
import logging
import sys
from types import FrameType
from typing import Any, Final

from pocketrnn_export.intake.user_code_lines_for_messages import (
    describe_user_line,
    find_frame_outside_package,
    write_place,
)
from pocketrnn_export.torch_internals import TRACED_TENSORS
from pocketrnn_export.tracing.sizes.size_question_log import UntraceableError
from pocketrnn_export.tracing.trace_session import TraceSession, decline_call, decline_for_torchscript, rule

_log = logging.getLogger(__name__)

# The torch functions by which Python gets the truth of values.
TRUTHS: Final = ("__bool__", "equal", "allclose", "is_nonzero")


@rule(*TRUTHS, decline=decline_for_torchscript)
def answer_assert_with_true(session: TraceSession, *_: Any, **__: Any) -> Any:
    """Answer `bool(tensor)` and `torch.equal(x, y)` inside an `assert` statement with True, since a trace has no values
    to test. Log a warning that the graph leaves out the assert."""
    frame = find_frame_outside_package(sys._getframe(1))
    if not is_in_assert(frame):
        return decline_call("the call is not in an assert statement")
    line = write_place(frame.f_code.co_filename, frame.f_lineno)
    if line not in session.told:
        _log.warning("The graph leaves out an assert of forward, and answers even if the assert fails: %s.", line)
        session.told.add(line)
    return True


@rule("equal", "allclose", decline=decline_for_torchscript)
def refuse_equality_test(_session: TraceSession, *given: Any, **named: Any) -> Any:
    """Raise an UntraceableError for `torch.equal(x, y)` and `torch.allclose(x, y)` outside of `assert` statements. The
    error names the line."""
    if not any(isinstance(value, TRACED_TENSORS) for value in (*given, *named.values())):
        return decline_call("no argument is a tensor of the trace")
    raise UntraceableError(
        f"Forward tests whether tensors are equal, {describe_user_line(sys._getframe(1))}, so the exported graph would "
        "take the same branch for all texts.",
        "Do not test values of tensors in forward. Use torch.where to choose between two values for each text.",
    )


def is_in_assert(frame: FrameType) -> bool:
    """Return whether the instruction that a frame runs now tests the condition of an `assert` statement."""
    instructions = list(dis.get_instructions(frame.f_code))
    at = next((i for i, one in enumerate(instructions) if one.offset > frame.f_lasti), len(instructions))
    current = instructions[at - 1 : at]
    # The jump itself evaluates the truth, or, in newer Pythons, an instruction before it.
    jump = next(
        (one for one in (*current, *instructions[at : at + 2]) if "JUMP" in one.opname and "_IF_" in one.opname), None
    )
    if jump is None:
        return False
    position = instructions.index(jump)
    following = instructions[position + 1 : position + 2]
    targets = [one for one in instructions if one.offset == jump.argval]
    return any(
        one.opname == "LOAD_ASSERTION_ERROR" or (one.opname == "LOAD_COMMON_CONSTANT" and one.arg == 0)
        for one in (*following, *targets)
    )


ASSERTS: Final = (answer_assert_with_true, refuse_equality_test)
