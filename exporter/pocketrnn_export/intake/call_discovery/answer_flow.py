"""Which tensor a module makes of which, seen in one call of it: whether an output goes into another, and by weights.

Each tensor that a call of torch gives is noted with those that it is made of. Code that runs where no call is seen,
such as TorchScript, leaves no note, and nothing is concluded from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from pocketrnn_export.intake.call_discovery.reading import leaves_of
from pocketrnn_export.intake.convention import Call, left_as_it_was
from pocketrnn_export.intake.user_frames import called_as
from pocketrnn_export.module_runs.cpu_run import quietly_on_cpu
from pocketrnn_export.torch_internals import FunctionMode

__all__ = ["FlowSeen", "flow_of"]

_TABLES: Final = frozenset({"embedding", "embedding_bag"})
# The output of one of these is a state or a vector, not the answer of a layer above it.
_STATES: Final = _TABLES | {
    "lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"
}  # fmt: skip
# The functions that leave all numbers of a tensor as they are, where they give as many.
_SHAPES: Final = frozenset({
    "view", "reshape", "squeeze", "unsqueeze", "transpose", "permute", "t", "contiguous", "flatten", "unflatten",
    "clone", "detach", "float", "to", "cpu", "type_as", "__getitem__", "__get__", "select", "swapaxes", "movedim",
})  # fmt: skip


@dataclass(frozen=True)
class _Made:
    """How a tensor was made: by which function, of which tensors, the sizes of the weights that went in, and what else
    that call gave."""

    function: str
    of: tuple[int, ...]
    sizes: frozenset[int]
    beside: tuple[int, ...]

    @property
    def weighted(self) -> bool:
        """Whether weights went in."""
        return bool(self.sizes)


class FlowSeen(FunctionMode):
    """While it is entered, notes what each tensor is made of.

    Args:
        given: the tensors of the text.

    Attributes:
        answer: that of the call, for whoever ran it.
        leaves: the tensors in it, by what is written behind the call to reach each.
        table_rows: how many rows the tables have that ids of the text were looked up in.
    """

    def __init__(self, given: tuple[Tensor, ...]) -> None:
        super().__init__()
        self.answer: Any = None
        self.leaves: dict[str, Tensor] = {}
        self.table_rows: set[int] = set()
        self._given = {id(tensor) for tensor in given}
        self._of_text = set(self._given)
        self._weights: set[int] = set()
        self._made: dict[int, _Made] = {}
        # An id stands for one tensor only while that lives.
        self._alive: dict[int, Tensor] = {id(tensor): tensor for tensor in given}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        del types
        result = func(*args, **(kwargs or {}))
        name = str(getattr(func, "__name__", "")).split(".")[0]
        inputs, outputs = list(_tensors((args, kwargs))), list(_tensors(result))
        if inputs and (name == "__setitem__" or (name.endswith("_") and not name.endswith("__"))):
            outputs += self._seen_through(inputs[0])
        self._note(name, inputs, outputs)
        return result

    def _note(self, name: str, inputs: list[Tensor], outputs: list[Tensor]) -> None:
        self._alive |= {id(tensor): tensor for tensor in (*inputs, *outputs)}
        self._weights |= {id(tensor) for tensor in inputs if isinstance(tensor, nn.Parameter) and tensor.dim() > 1}
        of = [id(tensor) for tensor in inputs]
        of_text = not self._of_text.isdisjoint(of)
        sizes = frozenset(size for tensor in inputs if id(tensor) in self._weights for size in tensor.shape)
        if name in _TABLES and of_text:
            self.table_rows |= {tensor.shape[0] for tensor in inputs if id(tensor) in self._weights}
        made_here = tuple(map(id, outputs))
        for i in made_here:
            # A change of a tensor in place adds to the tensors that it is made of.
            before = self._made.pop(i, _Made(name, (), frozenset(), ()))
            parents = tuple(j for j in dict.fromkeys((*before.of, *of)) if j != i)
            if parents:
                function = before.function if before.weighted and not sizes else name
                self._made[i] = _Made(function, parents, sizes | before.sizes, before.beside or made_here)
            if of_text:
                self._of_text.add(i)
            elif sizes:
                self._weights.add(i)

    def _seen_through(self, tensor: Tensor) -> list[Tensor]:
        """A tensor that is changed in its place, and those that it may be a view of."""
        found = [tensor]
        for one in found:
            made = self._made.get(id(one))
            found += [] if made is None or made.function not in _SHAPES else [self._alive[i] for i in made.of]
        return found

    def makes(self, one: Tensor, other: Tensor) -> bool:
        """Whether one tensor goes into another."""
        return self._origin(one) in self._above(id(other))

    def makes_alone(self, one: Tensor, other: Tensor) -> bool:
        """Whether all that another tensor has of the text comes by way of this one."""
        origin = self._origin(one)
        return self.makes(one, other) and self._given.isdisjoint(self._above(id(other), lambda i, _: i == origin))

    def has_weights_between(self, one: Tensor, other: Tensor) -> bool:
        """Whether weights are applied on a way from one tensor to another that it goes into."""
        above, found = self._above(id(other)), {self._origin(one)}
        # Each is noted after all that it is made of.
        for i, made in self._made.items():
            if i in above and not found.isdisjoint(made.of):
                if made.weighted:
                    return True
                found.add(i)
        return False

    def has_weights(self, tensor: Tensor) -> bool:
        """Whether weights go into a tensor; one that is not seen to be made may have them."""
        return not self.is_seen(tensor) or bool(self._last_weighted(tensor))

    def is_seen(self, tensor: Tensor) -> bool:
        """Whether it was seen what a tensor is made of."""
        return id(tensor) in self._made

    def is_state(self, tensor: Tensor) -> bool:
        """Whether a tensor is what recurrent layers or tables give, taken, pooled or joined: the first weights above it
        are theirs."""
        last = {made.function for made in self._last_weighted(tensor).values()}
        return bool(last) and last <= _STATES

    def shares(self, one: Tensor, other: Tensor) -> bool:
        """Whether what the last weights above one tensor give goes into another, as where one is the mean of attention
        weights."""
        given = {i for made in self._last_weighted(one).values() for i in made.beside}
        return not given.isdisjoint(self._above(id(other)))

    def is_of_a_layer(self, tensor: Tensor, numbers: int) -> bool:
        """Whether the first weights above a tensor are of a layer of so many outputs, as far as is seen."""
        last = self._last_weighted(tensor)
        return not last or any(numbers in made.sizes for made in last.values())

    def _last_weighted(self, tensor: Tensor) -> dict[int, _Made]:
        """The nearest tensors above one, or itself, that weights give."""
        above = self._above(id(tensor), lambda _, made: made.weighted)
        return {i: made for i in above if (made := self._made.get(i)) is not None and made.weighted}

    def _origin(self, tensor: Tensor) -> int:
        """The tensor whose numbers one has, in another shape."""
        i = id(tensor)
        while (made := self._made.get(i)) is not None and made.function in _SHAPES:
            same = [j for j in made.of if self._alive[j].numel() == tensor.numel()]
            if len(same) != 1:
                break
            i = same[0]
        return i

    def _above(self, i: int, stop: Callable[[int, _Made], bool] = lambda _i, _made: False) -> set[int]:
        """A tensor and all that it is made of, up to those at which to stop."""
        seen: set[int] = set()
        left = [i]
        while left:
            one = left.pop()
            if one not in seen:
                seen.add(one)
                made = self._made.get(one)
                left += () if made is None or stop(one, made) else made.of
        return seen


def flow_of(module: nn.Module, function: Call, tokens: Tensor, lengths: Tensor) -> FlowSeen:
    """Call a module that runs, and see what its answer is made of; nothing where it does not run so.

    Example:
        >>> flow = flow_of(module, compiled("module(tokens)"), tokens, lengths)
        >>> flow.makes(flow.answer["features"], flow.answer["logits"])
        True
    """
    given = (tokens.clone(), lengths.clone())
    seen = FlowSeen(given)
    with torch.no_grad(), quietly_on_cpu(), left_as_it_was(module):
        try:
            with seen:
                seen.answer = called_as(function, module, *given)
                seen.leaves = dict(leaves_of(seen.answer))
        # Whatever a user's module raises where a function of torch may not be watched.
        except (Exception, SystemExit):
            seen = FlowSeen(())
            seen.answer = called_as(function, module, tokens.clone(), lengths.clone())
            seen.leaves = dict(leaves_of(seen.answer))
    return seen


def _tensors(value: Any, depth: int = 8) -> Iterator[Tensor]:
    """The tensors in the arguments or the result of a call."""
    if isinstance(value, Tensor):
        yield value
    elif depth and isinstance(value, dict):
        for each in value.values():
            yield from _tensors(each, depth - 1)
    elif depth and isinstance(value, list | tuple):
        for each in value:
            yield from _tensors(each, depth - 1)
