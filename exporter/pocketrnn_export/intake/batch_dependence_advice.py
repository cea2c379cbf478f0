"""Explain the refusal of a module whose answer to a text depends on the other texts of the batch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor

from pocketrnn_export.torch_internals import FunctionMode

_NARROW: Final = (torch.bfloat16, torch.float16)


def explain_batch_dependence(run_module: Callable[[], object]) -> tuple[str, str]:
    """Explain why a module's answer to a text depends on the other texts of the batch. Return the problem and the
    remedy, both as sentences for an error.

    Args:
        run_module: runs the module once, to see whether it computes in a narrow type: in bfloat16, a sum has an error
            of 1e-2, which differs from one size of batch to another. It may raise any exception.
    """
    with contextlib.suppress(Exception), _NarrowDtypeRecorder() as seen:
        run_module()
    if seen.narrow:
        kinds = " and ".join(sorted(str(kind).removeprefix("torch.") for kind in seen.narrow))
        return (
            f"The module computes in {kinds}, so that a text's answer is rounded differently beside other texts.",
            "Leave torch.autocast, .bfloat16() and .half() out of forward: a bundle computes in float32.",
        )
    return (
        "The module answers a text differently beside other texts of the same length.",
        "Do not compute across the batch or branch on values: each row may depend on its own tokens only. If you run "
        "it on one text at a time, export it so: --one-text, or one_text=True.",
    )


class _NarrowDtypeRecorder(FunctionMode):
    """Records the dtypes of results that are narrower than float32."""

    def __init__(self) -> None:
        super().__init__()
        self.narrow = set[torch.dtype]()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.dtype in _NARROW:
            self.narrow.add(result.dtype)
        return result
