"""onnxscript's optimizer, changed so that it compares constants exactly.

Its rules for `x + 0`, `x - 0`, `x * 1` and `x / 1` take a constant for 0 within 1e-8 and for 1 within 1e-5, so that the
`a / (a.sum(1) + 1e-10)` of many attentions loses its 1e-10, and `x * 1.000009` its factor. Here these four rules match
the exact number. The other rules move nodes about and compare whole numbers only. Folded constants are computed in
double precision; see `pocketrnn_export.forms.onnx.folded_constant_rounding`.
"""

from __future__ import annotations

import itertools
from typing import Any, Final

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common as passes
from onnxscript import optimizer, rewriter
from onnxscript.rewriter import pattern

from pocketrnn_export.forms.onnx.folded_constant_rounding import compute_rounded_constants, set_folded_values
from pocketrnn_export.forms.onnx.nan_propagation import make_graph_propagate_nans
from pocketrnn_export.forms.onnx.small_sigmoid_values import rewrite_sigmoids_with_small_values
from pocketrnn_export.torch_internals import list_default_rewrite_rules, list_unsound_rewrite_rules

# As often as onnxscript goes over a graph.
_ROUNDS: Final = 2


def optimize_exactly(model: ir.Model) -> None:
    """Fold constants and simplify nodes in place, by the same steps as `onnxscript.optimizer.optimize`. Then rewrite
    the nodes in which onnxruntime would lose NaN, or small results of a sigmoid."""
    passes.InlinePass()(model)
    exact = compute_rounded_constants(model)
    for _ in range(_ROUNDS):
        # An overflow in float32 is infinity, as it is where the graph runs: no warning is needed.
        with np.errstate(all="ignore"):
            folded = optimizer.fold_constants_ir(model, onnx_shape_inference=True)
        rewritten = rewriter.RewritePass(REWRITE_RULES)(model)
        optimizer.remove_unused_nodes(model)
        passes.RemoveUnusedFunctionsPass()(model)  # type: ignore[no-untyped-call]
        passes.RemoveUnusedOpsetsPass()(model)
        if not folded.modified and not rewritten.modified:
            break
    _rename_duplicate_constants(model.graph)
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    set_folded_values(model, exact)
    # Join a sigmoid that forward computes twice, so that it is rewritten once.
    passes.CommonSubexpressionEliminationPass()(model)
    rewrite_sigmoids_with_small_values(model)
    make_graph_propagate_nans(model)
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    for last in (
        passes.RemoveUnusedNodesPass(),
        passes.LiftSubgraphInitializersToMainGraphPass(),
        passes.DeduplicateInitializersPass(),
        passes.CommonSubexpressionEliminationPass(),
        passes.OutputFixPass(),
        passes.NameFixPass(),
    ):
        last(model)


def _rename_duplicate_constants(graph: ir.Graph) -> None:
    """Give each constant its own name. The rule that joins two Clips would give equal bounds one name."""
    for node in graph:
        for value in node.inputs:
            if value is None or value.const_value is None or value.producer() is not None:
                continue
            if graph.initializers.get(value.name or "") is not value:
                numbers = (f"{value.name}.{i}" for i in itertools.count())
                value.name = next(name for name in numbers if name not in graph.initializers)
                graph.initializers[value.name] = value


_ZERO, _ONE = (pattern.Constant(number, rel_tol=0.0, abs_tol=0.0) for number in (0, 1))


def _replace_by_identity(op: Any, x: Any, **_: Any) -> Any:
    return op.Identity(x)


def _is_lookup_in_constant_table(_: Any, table: ir.Value, axes: ir.Value, **__: Any) -> bool:
    """Return whether the table of a GatherND is constant, and the Unsqueeze before it gives its ids one new axis at the
    end."""
    return table.const_value is not None and axes.const_value is not None and axes.const_value.numpy().tolist() == [-1]


_TIMES_ONE: Final = pattern.RewriteRule(lambda op, x: op.Mul(x, _ONE), _replace_by_identity, name="TimesOne")
_PLUS_ZERO: Final = pattern.RewriteRule(lambda op, x: op.Add(x, _ZERO), _replace_by_identity, name="PlusZero")
_UNSOUND: Final = frozenset(id(rule) for rule in list_unsound_rewrite_rules())

# onnxscript's rules: those that match within a tolerance are replaced by exact ones, and unsound ones are left out.
REWRITE_RULES: Final[tuple[pattern.RewriteRule, ...]] = (
    *_TIMES_ONE.commute(),
    *_PLUS_ZERO.commute(),
    pattern.RewriteRule(lambda op, x: op.Div(x, _ONE), _replace_by_identity, name="ByOne"),
    pattern.RewriteRule(lambda op, x: op.Sub(x, _ZERO), _replace_by_identity, name="MinusZero"),
    # `self.embedding.weight[tokens]` is a lookup, as `self.embedding(tokens)` is.
    pattern.RewriteRule(
        lambda op, table, ids, axes: op.GatherND(table, op.Unsqueeze(ids, axes), batch_dims=0),
        lambda op, table, ids, **_: op.Gather(table, ids, axis=0),
        _is_lookup_in_constant_table,
        name="Lookup",
    ),
    *(rule for rule in list_default_rewrite_rules() if id(rule) not in _UNSOUND),
)
