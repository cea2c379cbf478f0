"""Record the operators of torch that compute an answer while a module runs, and the inputs on which each result
depends.

An answer shows what a module does with one text. The operators show what it may do with any text: both sides of
`torch.where`, the product with a mask that is zero, the addition to a state that hardly any text reaches.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor

from pocketrnn_export.torch_internals import (
    DispatchMode,
    FunctionMode,
    flatten_tree,
    list_written_arguments,
    past_function_modes,
    read_memory_address,
    read_overload_name,
    without_dispatch_modes,
)

# The operators that return sizes or new memory, not numbers.
GIVES_NO_NUMBERS: Final = ("size", "new_", "empty", "zeros", "ones", "full", "arange", "scalar_tensor",
                           "sym_", "_assert")  # fmt: skip
_NEW: Final = ("empty", "new_empty")
# The operators that return the same numbers in another shape or float dtype; and the operators that turn logits into
# probabilities.
SHAPES: Final = frozenset({
    "_reshape_alias", "_to_copy", "_unsafe_view", "alias", "clone", "detach", "expand", "squeeze", "unsqueeze",
    "view",
})  # fmt: skip
_MOVES: Final = frozenset({
    "flip", "gather", "index", "index_select", "permute", "select", "slice", "t", "transpose",
})  # fmt: skip
PROBABILITIES: Final = frozenset({"_log_softmax", "_softmax", "exp", "log", "log_sigmoid_forward", "sigmoid"})
# The operators that overwrite a whole tensor.
_OVERWRITES: Final = frozenset({"copy_", "fill_", "zero_"})
# The functions of recurrent layers and cells.
_LAYERS: Final = frozenset({
    "gru", "gru_cell", "lstm", "lstm_cell", "rnn_relu", "rnn_relu_cell", "rnn_tanh", "rnn_tanh_cell",
})  # fmt: skip
# The constant for which an operator returns its other operand unchanged; for operators in `_FIRST`, only as the second
# operand.
_NEUTRAL: Final = {
    "add": 0, "bitwise_and": 1, "bitwise_or": 0, "div": 1, "logical_and": 1, "logical_or": 0, "masked_fill": 0,
    "mul": 1, "sub": 0,
}  # fmt: skip
_FIRST: Final = frozenset({"div", "masked_fill", "sub"})
# TorchScript's names for operators that have another name in Python.
_ONE_NAME: Final = {"__and__": "bitwise_and", "__or__": "bitwise_or", "__xor__": "bitwise_xor"}
# A number above every index of an axis; a slice of the whole axis.
_END: Final = 2**63 - 1
_ALL: Final = (0, _END, 1)
# So many numbers of a constant are compared one by one; all of them only by their sum.
_SAMPLED: Final = 4096
# So many numbers are added up at once.
_PART: Final = 1 << 16
# The tolerance for rounding: a number may be computed from a larger cache.
_SAME: Final = 1e-5

# The label of inputs other than the text.
BESIDE: Final = "beside"

Labels = frozenset[str]
_NONE: Final[Labels] = frozenset()
# The recorders that are entered: one export runs at a time.
_entered: list[OperatorRecorder] = []


@dataclass(frozen=True)
class _Step:
    """One run of an operator.

    Attributes:
        name: the operator's name, such as `add.Tensor`.
        arguments: its arguments, in one flat list.
        steps: the numbers of the steps that made its arguments.
        labels: the labels of the inputs that its arguments depend on.
    """

    name: str
    arguments: tuple[Any, ...]
    steps: frozenset[int]
    labels: Labels


@dataclass(frozen=True)
class _Constant:
    """A tensor that does not depend on a labelled input (see `OperatorRecorder.label_tensors`), reduced to what is
    compared: its shape, some of its numbers, and the sum of all its numbers."""

    shape: tuple[int, ...]
    values: Tensor
    total: float

    def is_near(self, other: _Constant) -> bool:
        """Return whether two constants are equal up to rounding."""
        if self.shape != other.shape:
            return False
        size = max(1.0, float(other.values.abs().max())) if other.values.numel() else 1.0
        return bool((self.values - other.values).abs().le(_SAME * size).all()) and (
            abs(self.total - other.total) <= _SAME * max(1.0, abs(other.total))
        )


@dataclass(frozen=True)
class _Argument:
    """A tensor that an operator takes: the numbers of the steps that made the tensor, and its shape and numbers as
    `constant`, which is None for a tensor that depends on a labelled input (see `OperatorRecorder.label_tensors`)."""

    steps: frozenset[int]
    constant: _Constant | None


# The steps that make an answer, in order; each has the positions of the steps whose results it takes.
Program = Sequence[tuple[str, tuple[Any, ...]]]
# An operator that moves numbers: its name, and its arguments that are not tensors.
Move = tuple[str, list[Any]]


class OperatorRecorder(DispatchMode):  # type: ignore[no-untyped-call]
    """Records each operator that runs inside the block, with the labels of the inputs on which its result depends.

    Args:
        fixed: a label, or None. An operator that selects numbers with this label by an index that has a label is
            recorded as `mixed.NAME`, if the numbers differ along the axis of the index.
        neutral: whether to skip operators whose constants leave their operand unchanged, such as a product with ones.
    """

    def __init__(self, fixed: str | None = None, *, neutral: bool = False) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._fixed, self._neutral = fixed, neutral
        self._steps: list[_Step] = []
        # The steps that made a tensor or a part of memory, and the last step at the time of this entry: a later write
        # into the memory outdates it.
        self._made: dict[Hashable, tuple[frozenset[int], int]] = {}
        # The last step that wrote into each tensor's memory.
        self._written: dict[int, int] = {}
        # Keep tensors alive, so that no id and no memory is used twice.
        self._kept: list[Tensor] = []
        # The constants of large tensors, such as weights that each step reads, by their memory and its last write.
        self._constants: dict[Hashable, _Constant] = {}
        self._now = _NONE
        self._layers = _WholeLayers(self)

    def __enter__(self) -> OperatorRecorder:
        _entered.append(self)
        self._layers.__enter__()
        return super().__enter__()  # type: ignore[no-any-return, no-untyped-call]

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        self._layers.__exit__(*error)
        _entered.remove(self)

    def label_tensors(self, label: str, *tensors: Tensor) -> None:
        """Give a label to tensors, such as the inputs of a module. Results that are computed from these tensors get the
        label, too."""
        # numpy may have written since.
        self._constants.clear()
        for tensor in filter(_has_memory, tensors):
            self._record_write(
                tensor, self._add_step(_Step("input", (label,), frozenset(), frozenset({label}))), replaces_all=True
            )

    def label_results_of_later_operators(self, *labels: str) -> None:
        """Give these labels to the results of all operators that run from now on."""
        self._now = frozenset(labels)

    def find_labels(self, *tensors: Tensor) -> Labels:
        """Return the labels of the inputs on which tensors depend."""
        return _NONE.union(
            *(self._steps[step].labels for tensor in tensors for step in self.find_steps_that_made(tensor))
        )

    def find_steps_that_made(self, tensor: Tensor) -> frozenset[int]:
        """Return the numbers of the recorded operators that made a tensor: the one that created it, and the last one
        that wrote into its memory since then."""
        if not _has_memory(tensor):
            return frozenset()
        last = self._written.get(read_memory_address(tensor), -1)
        steps, until = self._made.get(_make_memory_key(tensor), (frozenset(), -2))
        if last <= until:
            return steps
        steps, until = self._made.get(id(tensor), (frozenset(), -1))
        return steps | {last} if last > until else steps

    def extract_program(self, steps: Iterable[int], label: str) -> Program:
        """Return the recorded operators that compute the results of `steps` from the tensors with a label, in order,
        each as a pair (name, arguments). An argument is a constant, or a tuple with the positions of the operators in
        the returned list that made it.

        Args:
            steps: the numbers of recorded operators, such as those that made an answer.
            label: operators whose results do not depend on this label are left out.
        """
        places = {step: place for place, step in enumerate(self.find_steps_needed_for_results(steps, label))}
        return [
            (self._steps[step].name, _replace_tensors_by_positions(self._steps[step].arguments, places))
            for step in places
        ]

    def find_steps_needed_for_results(self, steps: Iterable[int], label: str) -> list[int]:
        """Return, in order, the numbers of the recorded operators that compute the results of the operators `steps`
        from the tensors with this label."""
        needed: set[int] = set()
        waiting = list(steps)
        while waiting:
            step = waiting.pop()
            if step not in needed and label in self._steps[step].labels:
                needed.add(step)
                waiting += self._steps[step].steps
        return sorted(needed)

    def trace_back_through_operators_and_moves(
        self, names: Collection[str], tensor: Tensor, label: str
    ) -> tuple[frozenset[int], list[Move]]:
        """Go back from a tensor to the operators that made it, through operators with the given names and through
        moves, such as a transpose. Return the numbers of the operators at which the search stops, and the moves that it
        passed, each with its name and its arguments that are not tensors.

        Args:
            names: the operators that the search passes, such as "view".
            tensor: where the search begins.
            label: at an operator, the search goes on to the operand with this label.
        """
        steps, moved = self.find_steps_that_made(tensor), []
        while len(steps) == 1:
            step = self._steps[next(iter(steps))]
            name = step.name.partition(".")[0]
            given = [one.steps for one in step.arguments if isinstance(one, _Argument)]
            of_label = [any(label in self._steps[of].labels for of in one) for one in given]
            if name in _MOVES and given:
                # A move by positions from the text differs for each text.
                plain = [one for one in step.arguments if not isinstance(one, _Argument)]
                moved.append((name, plain if sum(of_label) == 1 else [object()]))
                steps = given[0]
            elif name in names and sum(of_label) == 1:
                steps = given[of_label.index(True)]
            else:
                break
        return steps, moved

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = str(getattr(func, "overloadpacket", func)).rpartition(".")[2]
        given = flatten_tree((args, kwargs))[0]
        written = [value for value in list_written_arguments(func, args, kwargs) if _has_memory(value)]
        overwrites = name in _OVERWRITES
        read = [value for value in given if not (overwrites and any(value is one for one in written))]
        read = [] if name.startswith(GIVES_NO_NUMBERS) else read
        step = self._make_operator_step(f"{name}.{read_overload_name(func)}", read)
        if self._fixed is not None and self._fixed in step.labels and self._gathers_unequal_numbers(name, args):
            step = replace(step, name=f"mixed.{step.name}")
        places = {read_memory_address(value) for value in given if _has_memory(value)}
        result = func(*args, **kwargs)
        if self._neutral and (passed := self._find_unchanged_operand_steps(name, read, step, result)):
            for tensor in flatten_tree(result)[0]:
                self._made[id(tensor)] = passed, len(self._steps) - 1
                self._kept.append(tensor)
            return result
        number = self._add_step(step)
        for tensor in written:
            self._record_write(tensor, number, replaces_all=overwrites)
        for tensor in flatten_tree(result)[0]:
            if _has_memory(tensor) and not any(tensor is one for one in written):
                if read_memory_address(tensor) in places:
                    self._record_tensor_step(tensor, number)
                else:
                    self._record_write(tensor, number, replaces_all=True)
        return result

    def record_as_one_operator(self, name: str, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Call a function of torch, `func`, and return its result. Record the whole call as one operator `name`."""
        # Operators on its weights are not the module's either.
        with without_dispatch_modes():
            step = self._make_operator_step(name, flatten_tree((args, kwargs))[0])
            result = func(*args, **kwargs)
        number = self._add_step(step)
        for tensor in filter(_has_memory, flatten_tree(result)[0]):
            self._record_write(tensor, number, replaces_all=True)
        return result

    def _add_step(self, step: _Step) -> int:
        self._steps.append(step)
        return len(self._steps) - 1

    def _record_tensor_step(self, tensor: Tensor, step: int) -> None:
        self._kept.append(tensor)
        self._made[id(tensor)] = frozenset({step}), len(self._steps) - 1

    def _record_write(self, tensor: Tensor, step: int, *, replaces_all: bool) -> None:
        """Record that the operator with the number `step` wrote into a tensor's memory. `replaces_all` says whether it
        replaced all numbers of the tensor, so that earlier writes no longer count."""
        place = read_memory_address(tensor)
        before = self._written.get(place)
        self._written[place] = step
        if (
            replaces_all
            and before is not None
            and tensor.numel() * tensor.element_size() < tensor.untyped_storage().nbytes()
        ):
            # A read of more than this part also reads the numbers from before.
            both = frozenset({step, before})
            labels = self._steps[step].labels | self._steps[before].labels
            self._written[place] = self._add_step(_Step("part", (), both, labels))
        self._record_tensor_step(tensor, step)
        if replaces_all:
            self._made[_make_memory_key(tensor)] = self._made[id(tensor)]

    def _find_unchanged_operand_steps(
        self, name: str, arguments: Sequence[Any], step: _Step, result: Any
    ) -> frozenset[int] | None:
        """If an operator returned its operand `x` unchanged, as in `x * 1`, return the numbers of the operators that
        made `x`. Otherwise, return None.

        Args:
            name: the name of the operator.
            arguments: the arguments of the call.
            step: the record of the call.
            result: the result of the call.
        """
        values = [one for one in zip(arguments, step.arguments, strict=True) if isinstance(one[1], _Argument)]
        constants = [one.constant for _, one in values if one.constant is not None]
        if name == "where" and values[0][1].constant is not None:
            left = values[1 if constants[0].values.all() else 2] if constants[0].values.unique().numel() == 1 else None
        else:
            others = [pair for pair in values if pair[1].constant is None]
            leaves = _NEUTRAL.get(name.removesuffix("_"))
            is_one = leaves is not None and len(constants) == len(others) == 1 and constants[0].values.eq(leaves).all()
            left = others[0] if is_one and (name.removesuffix("_") not in _FIRST or others[0] is values[0]) else None
        return left[1].steps if left is not None and left[0].shape == result.shape else None

    def _gathers_unequal_numbers(self, name: str, args: tuple[Any, ...]) -> bool:
        """Return whether the operator `name`, called with `args`, picks numbers by an index tensor that depends on a
        labelled input, along an axis on which the numbers differ."""
        if name == "index":
            along = [axis for axes, index in _find_indexed_axes(args[1]) if self.find_labels(index) for axis in axes]
        elif name in ("gather", "index_select"):
            along = [args[1]] if self.find_labels(args[2]) else []
        else:
            return False
        return any(bool((args[0].amax(axis) != args[0].amin(axis)).any()) for axis in along)

    def _make_operator_step(self, name: str, operands: Sequence[Any]) -> _Step:
        """Return the record (step) of a call of the operator `name` with these operands. It has the labels of all
        inputs on which the operands depend."""
        steps = [self.find_steps_that_made(value) if isinstance(value, Tensor) else frozenset() for value in operands]
        every = frozenset[int]().union(*steps)
        labels = _NONE.union(*(self._steps[step].labels for step in every))
        if any(isinstance(value, Tensor) for value in operands):
            labels |= self._now
        arguments = tuple(self._make_argument(value, of, labels) for value, of in zip(operands, steps, strict=True))
        return _Step(name, arguments, every, labels)

    def _make_argument(self, value: Any, steps: frozenset[int], labels: Labels) -> Any:
        if not isinstance(value, Tensor):
            return value if value is None or isinstance(value, bool | int | float | complex | str) else repr(value)
        # Only constants that meet labelled values are compared; new memory holds arbitrary numbers.
        is_constant = labels and not any(self._steps[s].labels or self._steps[s].name.startswith(_NEW) for s in steps)
        return _Argument(steps, self._make_or_reuse_constant(value) if is_constant and not self._now else None)

    def _make_or_reuse_constant(self, tensor: Tensor) -> _Constant:
        """Return the numbers of a tensor as a constant. The constants of large tensors are kept for later calls."""
        if tensor.numel() < _SAMPLED or not _has_memory(tensor):
            return _make_constant(tensor)
        place = read_memory_address(tensor)
        key = _make_memory_key(tensor), tensor.dtype, self._written.get(place)
        if key not in self._constants:
            self._constants[key] = _make_constant(tensor)
            # Keep it alive, so that its memory is not reused.
            self._kept.append(tensor)
        return self._constants[key]


class _WholeLayers(FunctionMode):
    """Records each recurrent layer as one operator. For a long text, a layer consists of thousands of operators."""

    def __init__(self, operations: OperatorRecorder) -> None:
        super().__init__()
        self._operations = operations

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(getattr(func, "__name__", ""))
        if name in _LAYERS:
            return self._operations.record_as_one_operator(name, func, args, kwargs or {})
        return func(*args, **(kwargs or {}))


def label_input_beside_text(value: Any) -> Any:
    """Give the tensors in an input that is not the text, such as an initial state, the label "beside" in all active
    recorders, so that these know which results depend on it. Return the input unchanged."""
    for operations in _entered:
        operations.label_tensors(BESIDE, *(one for one in flatten_tree(value)[0] if isinstance(one, Tensor)))
    return value


def find_first_different_operator(one: Program, other: Program) -> int | None:
    """Return the position of the first operator that differs between two programs by more than rounding. Return None
    for equal programs."""
    for place, ((name, given), (other_name, other_given)) in enumerate(zip(one, other, strict=False)):
        if (
            name != other_name
            or len(given) != len(other_given)
            or not all(map(_is_argument_equal_up_to_rounding, given, other_given))
        ):
            return place
    return None if len(one) == len(other) else min(len(one), len(other))


def normalize_program_with_positions(program: Program) -> tuple[Program, list[int]]:
    """Return a recorded program in a form that is the same for Python and TorchScript: operators that change only the
    shape or the dtype are left out, and all overloads of an operator get one name. Also return, for each operator in
    the new form, its position in the original program."""
    plain: list[tuple[str, tuple[Any, ...]]] = []
    places: list[int] = []
    origins: list[tuple[int, ...]] = []
    for place, (full_name, given) in enumerate(program):
        name = full_name.partition(".")[0]
        name = _ONE_NAME.get(name, name)
        replaces_all = name == "slice" and _read_slice_arguments(given)[2:] == _ALL
        made = [one for one in given if isinstance(one, tuple)]
        if (name in SHAPES or replaces_all) and len(made) == 1:
            origins.append(tuple(sorted({origin for step in made[0] for origin in origins[step]})))
            continue
        arguments = tuple(
            tuple(sorted({origin for step in one for origin in origins[step]})) if isinstance(one, tuple) else plain_one
            for one in (_read_slice_arguments(given) if name == "slice" else given)
            if (plain_one := _simplify_recorded_argument(one)) is not None
        )
        if name == "rsub" and isinstance(arguments[1], float):
            # TorchScript writes `rsub` like this.
            plain.append(("neg", arguments[:1]))
            places.append(place)
            name, arguments = "add", ((len(plain) - 1,), arguments[1])
        origins.append((len(plain),))
        plain.append((name, arguments))
        places.append(place)
    return plain, places


def _read_slice_arguments(given: Sequence[Any]) -> tuple[Any, ...]:
    """Return the tensor, axis, start, end and step of a slice. Defaults replace missing arguments."""
    tensor, axis, first, last, step = (*given, *(None,) * 5)[:5]
    return tensor, axis or 0, first or 0, _END if last is None else last, step or 1


def _simplify_recorded_argument(one: Any) -> Any:
    """Return an argument of a recorded operator in a form in which Python and TorchScript agree. A number, or a tensor
    of one number, becomes a float; positions of operators and larger constant tensors stay as they are; any other
    value, such as a dtype, becomes None."""
    if isinstance(one, _Constant) and one.values.numel() == 1:
        return float(one.values[0])
    if isinstance(one, bool | int | float):
        return float(one)
    return one if isinstance(one, tuple | _Constant) else None


def _is_argument_equal_up_to_rounding(one: Any, other: Any) -> bool:
    if isinstance(one, _Constant) and isinstance(other, _Constant):
        return one.is_near(other)
    return type(one) is type(other) and bool(one == other or one != one)


def _find_indexed_axes(indices: Sequence[Tensor | None]) -> Iterator[tuple[range, Tensor]]:
    """Yield (axes, index tensor) for each tensor that indexes another one. A boolean mask indexes as many axes as the
    mask has."""
    axis = 0
    for index in indices:
        axes = range(axis, axis + (index.dim() if index is not None and index.dtype is torch.bool else 1))
        axis = axes.stop
        if index is not None:
            yield axes, index


def _replace_tensors_by_positions(arguments: tuple[Any, ...], positions_of_steps: Mapping[int, int]) -> tuple[Any, ...]:
    """Return the arguments of a recorded operator with each tensor replaced by the positions of the operators that made
    it, if `positions_of_steps` has these operators, or else by its constant, which may be None."""
    placed: list[Any] = []
    for argument in arguments:
        inside = argument.steps & positions_of_steps.keys() if isinstance(argument, _Argument) else ()
        if inside:
            placed.append(tuple(sorted(positions_of_steps[step] for step in inside)))
        else:
            placed.append(argument.constant if isinstance(argument, _Argument) else argument)
    return tuple(placed)


def _make_constant(tensor: Tensor) -> _Constant:
    """Reduce a tensor to what is compared of it: its shape, at most 4,096 of its numbers, and the sum of all."""
    with past_function_modes():
        numbers = tensor.detach().reshape(-1)
        every = max(1, -(-numbers.numel() // _SAMPLED))
        # Part by part: a copy of an embedding of 60,000 words in double precision took ten times as long.
        parts = (numbers[begin : begin + _PART] for begin in range(0, numbers.numel(), _PART))
        total = sum((float(part.double().sum()) for part in parts), 0.0)
        if not math.isfinite(total):
            total = float(_replace_nonfinite_numbers(numbers).sum())
        return _Constant(tuple(tensor.shape), _replace_nonfinite_numbers(numbers[::every]).clone(), total)


def _replace_nonfinite_numbers(numbers: Tensor) -> Tensor:
    return torch.nan_to_num(numbers.double(), nan=1e30, posinf=1e31, neginf=-1e31)


def _has_memory(tensor: Any) -> bool:
    """Return whether a value is a tensor whose numbers are in memory at one address; empty, sparse and nested tensors
    are not."""
    return isinstance(tensor, Tensor) and tensor.layout is torch.strided and read_memory_address(tensor) != 0


def _make_memory_key(tensor: Tensor) -> Hashable:
    """Return a key that is equal for two tensors exactly if they are views of the same memory with the same offset,
    shape and strides."""
    return read_memory_address(tensor), tensor.storage_offset(), tensor.shape, tensor.stride()
