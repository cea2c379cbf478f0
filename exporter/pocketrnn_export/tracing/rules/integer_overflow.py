"""Rules for integers that overflow in PyTorch but not in onnxruntime, which computes products and sums in floating
point.

`torch.prod` of 63 times 2 is -2**63 in PyTorch and 2**63 - 1 in onnxruntime 1.32. The texts of the proof may not hold
one word so often. Sums of int64 are exact in onnxruntime up to 2**53.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor
from torch.export.graph_signature import InputKind
from torch.fx import Node

from pocketrnn_export.intake.user_code_lines_for_messages import describe_user_line_of_node
from pocketrnn_export.tracing.sizes.size_question_log import UntraceableError
from pocketrnn_export.tracing.trace_session import TraceSession, decline_call, decline_for_torchscript, rule

_NARROW: Final = (torch.int8, torch.uint8, torch.int16, torch.int32)
_PRODUCTS: Final = (torch.ops.aten.prod.default, torch.ops.aten.prod.dim_int)
_POWERS: Final = (torch.ops.aten.pow.Tensor_Tensor, torch.ops.aten.pow.Scalar)
_CAST: Final = "aten._to_copy.default"


@rule("sum", decline=decline_for_torchscript)
def rewrite_sum_in_narrow_integers(_session: TraceSession, x: Any, *args: Any, dtype: Any = None, **more: Any) -> Any:
    """Rewrite `x.sum(1, dtype=torch.int32)` as a sum in int64 and a cast to int32, since onnxruntime's sum does not
    wrap around."""
    if dtype not in _NARROW or not isinstance(x, Tensor) or x.is_floating_point():
        return decline_call("the result is not of integers with fewer than 64 bits")
    return torch.sum(x, *args, **more).to(dtype)


def refuse_integer_products_and_powers(program: torch.export.ExportedProgram) -> None:
    """Raise an UntraceableError if a program has a `torch.prod` or a power of integers that depends on the program's
    inputs. A `torch.prod` of bools is allowed."""
    inputs = {spec.arg.name for spec in program.graph_signature.input_specs if spec.kind == InputKind.USER_INPUT}
    of_text: set[Node] = set()
    for node in program.graph.nodes:
        if node.name in inputs or of_text.intersection(node.all_input_nodes):
            of_text.add(node)
        value = node.meta.get("val")
        if node not in of_text or not isinstance(value, Tensor) or value.is_floating_point():
            continue
        if node.target in _PRODUCTS and not _is_zero_or_one(node.all_input_nodes[0]):
            remedy = "Multiply floats: torch.prod(x.float(), 1). For a mask of 0 and 1, use (x == 0).sum(1) == 0."
            raise _make_error_for_inexact_integers("products", node, remedy)
        if node.target in _POWERS and of_text.intersection(node.args[:2]):
            raise _make_error_for_inexact_integers("powers", node, "Compute powers of floats: 2.0 ** counts.")


def _is_zero_or_one(node: Node) -> bool:
    """Return whether a node's value is a tensor of bools, or of integers that were converted from bools."""
    made_of = (node, *(node.all_input_nodes if str(node.target) == _CAST else ()))
    return any(one.meta["val"].dtype == torch.bool for one in made_of)


def _make_error_for_inexact_integers(operation: str, node: Node, remedy: str) -> UntraceableError:
    """Return the error for an operation, "products" or "powers", of integers that onnxruntime computes differently."""
    return UntraceableError(
        f"onnxruntime computes {operation} of integers with floating-point numbers, so that large results differ from "
        f"those of PyTorch, {describe_user_line_of_node(node)}.",
        remedy,
    )


WHOLE_NUMBERS: Final = (rewrite_sum_in_narrow_integers,)
