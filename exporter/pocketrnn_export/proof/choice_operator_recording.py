"""Record the operators by which a module makes choices, such as a comparison or a clamp, and the weights that it reads.

Where forward asks about a size, two programs may give equal answers to all texts that are tried, and differ for a rare
word: one of them looks for it, or reads another table. The operators and the weights tell them apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from torch import Tensor, nn

from pocketrnn_export.module_runs.complete_copy import copy_without_comparison
from pocketrnn_export.module_runs.quiet_cpu_run import compute_answer
from pocketrnn_export.module_runs.values_in_containers import list_tensors_in
from pocketrnn_export.torch_internals import DispatchMode
from pocketrnn_export.tracing.sizes.program_search import Choice

_CHOOSE: Final = frozenset({
    "argmax", "argmin", "bucketize", "ceil", "clamp", "clamp_max", "clamp_min", "eq", "floor", "fmod", "gather",
    "ge", "gt", "hardtanh", "heaviside", "index_put", "isin", "isnan", "le", "lt",
    "masked_fill", "masked_scatter", "maximum", "minimum", "nan_to_num", "ne", "relu", "remainder", "round",
    "searchsorted", "sign", "threshold", "trunc", "where",
})  # fmt: skip


def record_choices(module: nn.Module, inputs: tuple[Tensor, ...]) -> frozenset[Choice]:
    """Run a module, and record what its choices depend on. The returned set contains the names of operators that
    choose, such as a comparison or a clamp, the Python numbers that these operators are called with, and the names of
    the weights that any operator reads.

    Raises:
        Exception: whatever the module raises.
    """
    copied = copy_without_comparison(module)
    recorder = _ChoiceRecorder({id(one): name for name, one in (*copied.named_parameters(), *copied.named_buffers())})
    with recorder:
        compute_answer(copied, inputs)
    return frozenset(recorder.found)


class _ChoiceRecorder(DispatchMode):  # type: ignore[no-untyped-call]
    """A torch dispatch mode that records the operators that make choices, such as a comparison or a clamp, and the
    weights that any operator reads.

    Args:
        weights: the names of the weights, by the identity of each tensor.
    """

    def __init__(self, weights: Mapping[int, str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: set[Choice] = set()
        self._weights = weights

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = (*args, *(kwargs or {}).values())
        self.found |= {(self._weights[id(one)], None) for one in list_tensors_in(given) if id(one) in self._weights}
        name = func.__name__.split(".")[0].removesuffix("_")
        if name in _CHOOSE:
            self.found |= {(name, None), *((name, one) for one in given if isinstance(one, int | float))}
        return func(*args, **(kwargs or {}))
