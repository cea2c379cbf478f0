"""Add to an error the line or the operation at which the exported program first differs from the module."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import onnx

from pocketrnn.errors import PocketRNNError
from pocketrnn_export.bundle_proof import FormsDifferError
from pocketrnn_export.comparing.float64_proof import DOUBLE_TOLERANCE, measure_agreement
from pocketrnn_export.diagnose.branching_line import find_branching_line
from pocketrnn_export.intake.user_frames import describe_user_line_if_known
from pocketrnn_export.proof.every_size_comparison import AnswersDifferError


@contextlib.contextmanager
def add_first_difference_to_error() -> Iterator[None]:
    """If the block raises an error of the proof, add the place where the exported program first differs from the
    module.

    Raises:
        AnswersDifferError: the block raised one.
        FormsDifferError: the block raised one.
    """
    try:
        yield
    except AnswersDifferError as error:
        raise _add_branching_line(error) from error.__cause__
    except FormsDifferError as error:
        raise _add_first_differing_operation(error) from error.__cause__


def _add_branching_line(error: AnswersDifferError) -> AnswersDifferError:
    """Return the error with the line of forward at which its inputs take different branches, if there is one."""
    if error.module is None or not error.inputs:
        return error
    odd, *others = error.inputs
    line = find_branching_line(error.module, odd, others)
    return AnswersDifferError(f"{error.problem.rstrip('.')}: {line}.", error.remedy) if line else error


def _add_first_differing_operation(error: FormsDifferError) -> FormsDifferError:
    """Add to an error of the proof the operation at which the graph first differs from the module. If that operation is
    not found and the graph contains CumSum, add advice on `cumsum`. Return the new error, or the same one if there is
    nothing to add."""
    form = next((form for form in error.forms if form.float64_run is not None), None)
    answers = error.answers
    if form is None or form.float64_run is None or answers is None or answers.reference.departs is None:
        return error
    run = form.float64_run()
    known = [
        exact
        for kind in answers.kinds
        for exact in answers.compute_exact_answers_of_kind(kind, one_row=form.one_row) or ()
    ]
    for exact in sorted(known, key=lambda exact: exact.case.tokens.size):
        with contextlib.suppress(PocketRNNError):
            if measure_agreement(run, [exact]).largest_difference > DOUBLE_TOLERANCE:
                found = answers.reference.departs(form.content, exact.case, describe_user_line_if_known)
                if not found:
                    break
                says = f"{error.problem.rstrip()} The graph first differs from the module in the result of {found}."
                return FormsDifferError(says, error.remedy)
    if any(node.op_type == "CumSum" for node in onnx.load_from_string(form.content).graph.node):
        return FormsDifferError(
            error.problem,
            f"{error.remedy} If forward calls cumsum on floats, write x.cumsum(1, dtype=torch.float64).to(x.dtype): "
            "onnxruntime sums in float32, but PyTorch in double precision.",
        )
    return error
