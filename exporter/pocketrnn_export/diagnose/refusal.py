"""The words of a refusal, with the line or the operation at which a program and its module part."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import onnx

from pocketrnn.errors import PocketRNNError
from pocketrnn_export.bundle_proof import FormsDifferError
from pocketrnn_export.comparing.exact import DOUBLE_TOLERANCE, agreement
from pocketrnn_export.diagnose.branching_line import branching_line
from pocketrnn_export.intake.user_frames import place_of_user
from pocketrnn_export.proof.every_size import OtherAnswersError

__all__ = ["with_its_line"]


@contextlib.contextmanager
def with_its_line() -> Iterator[None]:
    """While the block runs, the error of a program or a graph that answers otherwise than its module names where the
    two part, if that is found.

    Raises:
        OtherAnswersError: the block raised one.
        FormsDifferError: the block raised one.

    Example:
        >>> with with_its_line():
        ...     right_program(module, example)
    """
    try:
        yield
    except OtherAnswersError as error:
        raise _with_line(error) from error.__cause__
    except FormsDifferError as error:
        raise _with_operation(error) from error.__cause__


def _with_line(error: OtherAnswersError) -> OtherAnswersError:
    if error.module is None or not error.inputs:
        return error
    odd, *others = error.inputs
    line = branching_line(error.module, odd, others)
    return OtherAnswersError(f"{error.problem.rstrip('.')}: {line}.", error.remedy) if line else error


def _with_operation(error: FormsDifferError) -> FormsDifferError:
    form = next((form for form in error.forms if form.float64_run is not None), None)
    answers = error.answers
    if form is None or form.float64_run is None or answers is None or answers.reference.departs is None:
        return error
    run = form.float64_run()
    known = [exact for kind in answers.kinds for exact in answers.exact(kind, one_row=form.one_row) or ()]
    for exact in sorted(known, key=lambda exact: exact.case.tokens.size):
        with contextlib.suppress(PocketRNNError):
            if agreement(run, [exact]).largest_difference > DOUBLE_TOLERANCE:
                found = answers.reference.departs(form.content, exact.case, place_of_user)
                if not found:
                    break
                says = f"{error.problem.rstrip()} The first operation whose numbers the graph has not is {found}."
                return FormsDifferError(says, error.remedy)
    if any(node.op_type == "CumSum" for node in onnx.load_from_string(form.content).graph.node):
        return FormsDifferError(
            error.problem,
            f"{error.remedy} If its cumsum is of floats: onnxruntime sums in float32, PyTorch in double precision; "
            "write x.cumsum(1, dtype=torch.float64).to(x.dtype).",
        )
    return error
