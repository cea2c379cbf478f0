"""The error for an operator that the engine of packed files cannot compute, and what to do about it."""

from __future__ import annotations

from typing import Final

from pocketrnn.errors import ExportError

COMPUTE_IN_FLOAT32: Final = "Compute this in float32, or in whole numbers; or use the bundle with onnxruntime."
USE_OTHER_OPERATIONS: Final = "Use the bundle with onnxruntime, or use other operations in that part of forward."


class UnsupportedOperatorError(ExportError):
    """The engine cannot compute an operator of a graph.

    Args:
        problem: the reason, a sentence.
        remedy: what to do, a sentence.
    """

    def __init__(self, problem: str, remedy: str = USE_OTHER_OPERATIONS) -> None:
        super().__init__(problem, remedy)
