"""Record from which tensors each tensor of a call is computed. This shows whether weights lie between two outputs.

Each result of a torch function is recorded with its inputs. Code whose calls are not seen, such as TorchScript, leaves
no record, and nothing is concluded about it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from torch import Tensor, nn

from pocketrnn_export.intake.call_discovery.logits_location import find_float_tensors
from pocketrnn_export.intake.compiled_call_line import Call
from pocketrnn_export.intake.run_that_undoes_assignments import run_quietly_and_undo_assignments
from pocketrnn_export.intake.user_code_lines_for_messages import run_user_call
from pocketrnn_export.module_runs.tensors_in_values import list_tensors_in
from pocketrnn_export.torch_internals import FunctionMode

_TABLES: Final = frozenset({"embedding", "embedding_bag"})
# The output of one of these layers is a state or a vector, and not the answer of a later layer.
_STATES: Final = _TABLES | {
    "lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"
}  # fmt: skip
# The functions that keep all numbers of a tensor, if the result has as many.
_SHAPES: Final = frozenset({
    "view", "reshape", "squeeze", "unsqueeze", "transpose", "permute", "t", "contiguous", "flatten", "unflatten",
    "clone", "detach", "float", "to", "cpu", "type_as", "__getitem__", "__get__", "select", "swapaxes", "movedim",
})  # fmt: skip


@dataclass(frozen=True)
class _ComputedTensor:
    """The way in which a tensor was computed: the function, the tensors that it took (`of`), the sizes of its weights,
    and its other outputs (`beside`). A tensor is named by its Python id."""

    function: str
    of: tuple[int, ...]
    sizes: frozenset[int]
    beside: tuple[int, ...]

    @property
    def has_weights_as_input(self) -> bool:
        """Whether the tensor was computed with weights among the inputs of its function."""
        return bool(self.sizes)


class FlowRecorder(FunctionMode):
    """Records the inputs of each tensor that is computed inside the block.

    Args:
        given: the input tensors, made from the text.

    Attributes:
        answer: the answer of the call; the caller sets it.
        leaves: the tensors in the answer, by the code that reaches each (`[0]`, `.logits`).
        table_rows: the numbers of rows of the tables in which ids of the text were looked up.
    """

    def __init__(self, given: tuple[Tensor, ...]) -> None:
        super().__init__()
        self.answer: Any = None
        self.leaves: dict[str, Tensor] = {}
        self.table_rows: set[int] = set()
        self._given = {id(tensor) for tensor in given}
        self._of_text = set(self._given)
        self._weights: set[int] = set()
        self._made: dict[int, _ComputedTensor] = {}
        # Python may reuse the id of a tensor that was freed.
        self._alive: dict[int, Tensor] = {id(tensor): tensor for tensor in given}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = str(getattr(func, "__name__", "")).split(".")[0]
        inputs, outputs = list(list_tensors_in((args, kwargs))), list(list_tensors_in(result))
        if inputs and (name == "__setitem__" or (name.endswith("_") and not name.endswith("__"))):
            outputs += self._list_tensor_and_viewed_tensors(inputs[0])
        self._record_function_call(name, inputs, outputs)
        return result

    def _record_function_call(self, name: str, inputs: list[Tensor], outputs: list[Tensor]) -> None:
        """Record from which inputs a call of a torch function computed its outputs."""
        self._alive |= {id(tensor): tensor for tensor in (*inputs, *outputs)}
        self._weights |= {id(tensor) for tensor in inputs if isinstance(tensor, nn.Parameter) and tensor.dim() > 1}
        of = [id(tensor) for tensor in inputs]
        of_text = not self._of_text.isdisjoint(of)
        sizes = frozenset(size for tensor in inputs if id(tensor) in self._weights for size in tensor.shape)
        if name in _TABLES and of_text:
            self.table_rows |= {tensor.shape[0] for tensor in inputs if id(tensor) in self._weights}
        made_here = tuple(map(id, outputs))
        for i in made_here:
            # An in-place operation adds to the inputs that the tensor already has.
            before = self._made.pop(i, _ComputedTensor(name, (), frozenset(), ()))
            parents = tuple(j for j in dict.fromkeys((*before.of, *of)) if j != i)
            if parents:
                function = before.function if before.has_weights_as_input and not sizes else name
                self._made[i] = _ComputedTensor(function, parents, sizes | before.sizes, before.beside or made_here)
            if of_text:
                self._of_text.add(i)
            elif sizes:
                self._weights.add(i)

    def _list_tensor_and_viewed_tensors(self, tensor: Tensor) -> list[Tensor]:
        """Return a tensor, and the tensors of which it may be a view. A change of the tensor in place changes these,
        too."""
        found = [tensor]
        for one in found:
            made = self._made.get(id(one))
            found += [] if made is None or made.function not in _SHAPES else [self._alive[i] for i in made.of]
        return found

    def leads_to(self, source: Tensor, result: Tensor) -> bool:
        """Return whether the tensor `result` is computed from the tensor `source`."""
        return self._find_origin_id(source) in self._find_ancestor_ids(id(result))

    def is_only_source(self, source: Tensor, result: Tensor) -> bool:
        """Return whether `result` depends on the text only through the tensor `source`."""
        origin = self._find_origin_id(source)
        return self.leads_to(source, result) and self._given.isdisjoint(
            self._find_ancestor_ids(id(result), lambda i, _: i == origin)
        )

    def has_weights_between(self, source: Tensor, result: Tensor) -> bool:
        """Return whether weights are used on a path from the tensor `source` to the tensor `result`."""
        above, found = self._find_ancestor_ids(id(result)), {self._find_origin_id(source)}
        # A tensor is recorded after all of its inputs.
        for i, made in self._made.items():
            if i in above and not found.isdisjoint(made.of):
                if made.has_weights_as_input:
                    return True
                found.add(i)
        return False

    def is_computed_with_weights(self, tensor: Tensor) -> bool:
        """Return whether a tensor is computed with weights. If its computation was not recorded, return True."""
        return not self.was_recorded(tensor) or bool(self._find_last_weighted_tensors(tensor))

    def was_recorded(self, tensor: Tensor) -> bool:
        """Return whether the computation of a tensor was recorded."""
        return id(tensor) in self._made

    def is_state_or_embedding(self, tensor: Tensor) -> bool:
        """Return whether a tensor is the output of a recurrent layer or an embedding. It may be selected, pooled or
        joined."""
        last = {made.function for made in self._find_last_weighted_tensors(tensor).values()}
        return bool(last) and last <= _STATES

    def leads_from_last_layer_of(self, layer_result: Tensor, other: Tensor) -> bool:
        """Return whether `other` is computed from an output of the layer that has the last weights before
        `layer_result`. For example, `layer_result` is a mean of attention weights, and `other` is these weights."""
        given = {i for made in self._find_last_weighted_tensors(layer_result).values() for i in made.beside}
        return not given.isdisjoint(self._find_ancestor_ids(id(other)))

    def comes_from_layer_of_size(self, tensor: Tensor, numbers: int) -> bool:
        """Return whether the last weights before a tensor have an axis of size `numbers`, as those of a layer with this
        number of outputs do. Return True if there are no such weights."""
        last = self._find_last_weighted_tensors(tensor)
        return not last or any(numbers in made.sizes for made in last.values())

    def _find_last_weighted_tensors(self, tensor: Tensor) -> dict[int, _ComputedTensor]:
        """Go back from a tensor to the last function with weights on each path. Return the tensors that these functions
        computed, by id."""
        above = self._find_ancestor_ids(id(tensor), lambda _, made: made.has_weights_as_input)
        return {i: made for i in above if (made := self._made.get(i)) is not None and made.has_weights_as_input}

    def _find_origin_id(self, tensor: Tensor) -> int:
        """Go back from a tensor over the operations that only change its shape. Return the id of the tensor before
        them."""
        i = id(tensor)
        while (made := self._made.get(i)) is not None and made.function in _SHAPES:
            same = [j for j in made.of if self._alive[j].numel() == tensor.numel()]
            if len(same) != 1:
                break
            i = same[0]
        return i

    def _find_ancestor_ids(
        self, tensor_id: int, stop: Callable[[int, _ComputedTensor], bool] = lambda _i, _made: False
    ) -> set[int]:
        """Return the ids of a tensor and of all tensors from which it is computed. The search does not go beyond a
        tensor for which `stop` is true."""
        seen: set[int] = set()
        left = [tensor_id]
        while left:
            one = left.pop()
            if one not in seen:
                seen.add(one)
                made = self._made.get(one)
                left += () if made is None or stop(one, made) else made.of
        return seen


def record_flow(module: nn.Module, function: Call, tokens: Tensor, lengths: Tensor) -> FlowRecorder:
    """Call a module, and record how its answer is computed. If the module fails because of the recording, call it
    again, and record only the answer."""
    given = (tokens.clone(), lengths.clone())
    seen = FlowRecorder(given)
    with run_quietly_and_undo_assignments(module):
        try:
            with seen:
                seen.answer = run_user_call(function, module, *given)
                seen.leaves = dict(find_float_tensors(seen.answer))
        # A user's module may fail in any way where torch functions are watched.
        except (Exception, SystemExit):
            seen = FlowRecorder(())
            seen.answer = run_user_call(function, module, tokens.clone(), lengths.clone())
            seen.leaves = dict(find_float_tensors(seen.answer))
    return seen
