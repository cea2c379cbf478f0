"""Find for each number of a program its owner, the text of the batch on which it depends, operator by operator.

`state * is_rare(x)` is zero for every random text, and so is the result of a pooling over the batch. So an operator is
not run on the numbers that reach it: it runs alone, on random numbers, and those of some texts are changed. A number
that changes with two texts is computed across them. The batch need not be an axis of its own: a `view` that merges it
with another is followed number by number, and so is an order of lengths that is undone later.
"""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from torch.fx import Node
from torch.fx.node import map_arg

from pocketrnn_export.module_runs.operator_recording import GIVES_NO_NUMBERS
from pocketrnn_export.proof.fresh_copies_and_random_inputs import set_lengths_to_full_width
from pocketrnn_export.proof.program_runs_and_nodes import (
    NodeValues,
    describe_first_known_line_of_nodes,
    read_operator_name,
    select_nodes_needed_for_outputs,
)
from pocketrnn_export.proof.texts_mixed_in_batch import BY_POSITION, OF_LENGTHS
from pocketrnn_export.proof.word_dependence_of_values import WordDependence, find_word_dependence
from pocketrnn_export.torch_internals import (
    flatten_tree,
    list_aliased_arguments,
    list_written_arguments,
    read_size_expression,
    unflatten_tree,
    writes_in_place,
)

# The rows of the two batches; more than most kernels and dilations reach.
_ROWS: Final = (16, 32)
# How many more steps than rows a text has; the second is tried if the program refuses the first.
_STEPS: Final = (0, 24)
# How often an operator runs with other numbers at most, until the owner of each result is known.
_DRAWS: Final = 8
# The same with integers, of which most may be equal, as in a batch of mostly padding.
_INTEGER_DRAWS: Final = 32
_NONE: Final = -1
# The operators that take a type or a shape from all arguments but the first.
_LIKE: Final = frozenset({"expand_as", "reshape_as", "to", "type_as", "view_as"})
_ORDERS: Final = frozenset({"argsort", "msort", "sort", "topk"})
# The operators that write numbers at positions. The other operators of BY_POSITION read there.
_PUTS: Final = (BY_POSITION - {"gather", "index_select"}) | {"index_put", "put"}
# Numbers at which an operator may behave differently, besides its own numeric arguments.
_NUMBERS: Final = (0.0, 1.0, -1.0, 2.0, 3.0)


@dataclass(frozen=True)
class _Call:
    """A call of an operator: its arguments and, in lists of the same length, the node of each argument and the text on
    which each of its numbers depends.

    Attributes:
        run: a function that computes the results for other arguments.
        node: the operator's node.
        given: the arguments.
        nodes: the nodes whose values the arguments are.
        owners: int64, the text that each number of a tensor belongs to, -1 for none; None for a non-tensor.
        bits: the number of bits of a text's number.
    """

    run: Callable[[Sequence[Any]], list[Any]]
    node: Node
    given: list[Any]
    nodes: list[Any]
    owners: list[Tensor | None]
    bits: int

    def find_arguments_that_depend_on_texts(self) -> list[int]:
        """Return the indices of the call's arguments that contain numbers which depend on a text of the batch.
        Arguments from which the operator takes only a type or a shape are left out."""
        asked = self.owners[:1] if read_operator_name(self.node) in _LIKE else self.owners
        return [i for i, one in enumerate(asked) if one is not None and bool((one >= 0).any())]


def find_line_that_mixes_texts_by_runs(
    program: torch.export.ExportedProgram, inputs_of: Callable[[int, int], tuple[Tensor, ...]], batch_symbols: set[Any]
) -> str:
    """Run each operator of a program on random numbers, and change the numbers of some texts. Return the line of user
    code at which a number changes with several texts of a batch, or "" if there is no such line.

    Args:
        program: from torch.export.
        inputs_of: a function that makes random inputs, as the program takes them, from the number of texts and of
            tokens.
        batch_symbols: the symbols that stand for the batch size in the program's shapes.
    """
    # An axis of 16 numbers may be mistaken for a batch of 16. So a line counts only if it is found with both batch
    # sizes.
    found = ""
    for rows in _ROWS:
        found = _find_line_that_mixes_texts_in_batch_of_size(program, inputs_of, batch_symbols, rows)
        if not found:
            return ""
    return found


def _find_line_that_mixes_texts_in_batch_of_size(
    program: torch.export.ExportedProgram,
    inputs_of: Callable[[int, int], tuple[Tensor, ...]],
    batch_symbols: set[Any],
    rows: int,
) -> str:
    """Run each operator of a program on batches of `rows` texts with random numbers, and change the numbers of some
    texts. Return the line of user code at which a number changes with several texts, or "".

    Args:
        program: from torch.export.
        inputs_of: a function that makes random inputs, as the program takes them, from the number of texts and of
            tokens.
        batch_symbols: the symbols that stand for the batch size in the program's shapes.
        rows: the number of texts.
    """
    # Lengths in falling order stay in place when they are sorted; equal lengths have several orders.
    orders = (torch.arange(rows).view(4, -1).t().flatten(), torch.arange(rows - 1, -1, -1))
    for more in _STEPS:
        for order in orders:
            owners, inputs = _OwnerRun(program, batch_symbols, rows), inputs_of(rows, rows + more)
            whole = set_lengths_to_full_width(inputs)
            if owners(tuple(torch.minimum(order + more + 1, v) if v.dim() == 1 else v for v in whole)):
                return owners.place
    return ""


class _OwnerRun(NodeValues):
    """A run of a program that tracks for each number of each node its owner, the text of the batch on which it depends.

    Attributes:
        place: the first line of user code at which a number depends on two texts, or on another text than the one whose
            answer it is a part of.
    """

    def __init__(self, program: torch.export.ExportedProgram, batch: set[Any], rows: int) -> None:
        super().__init__(program)
        self._rows = rows
        self.place = ""
        self._owners: dict[Node, Any] = {}
        self._batch, self._words, self._needed = (
            batch,
            find_word_dependence(program),
            set(select_nodes_needed_for_outputs(program)),
        )
        self._texts = set(program.graph_signature.user_inputs)
        self._generator = torch.Generator().manual_seed(5)

    def run_node(self, n: Node) -> Any:
        if n.op == "output" and not self.place:
            self._record_line_of_mixed_answers(n)
        if n.op != "call_function" or "_assert" in str(n.target) or self.place:
            value = super().run_node(n)
            if isinstance(value, Tensor):
                self._owners[n] = _make_owners_before_any_operator(value, row_is_owner=n.name in self._texts)
            return value
        given, form = flatten_tree(self.fetch_args_kwargs_from_env(n))
        nodes = flatten_tree((n.args, n.kwargs))[0]
        is_overwritten = writes_in_place(n.target)
        kept = [one.clone() if is_overwritten and isinstance(one, Tensor) else one for one in given]
        owners = flatten_tree(map_arg((n.args, n.kwargs), self._owners.get))[0]

        def run_operator(given: Sequence[Any]) -> list[Any]:
            args, kwargs = unflatten_tree(list(given), form)
            return flatten_tree(self.call_function(n.target, args, kwargs))[0]

        value = super().run_node(n)
        if n.target is operator.getitem:
            whole = self._owners.get(n.args[0])  # type: ignore[arg-type]
            self._owners[n] = None if whole is None else whole[n.args[1]]
            return value
        results, shape = flatten_tree(value)
        owners = [one if isinstance(one, Tensor) else None for one in owners] + [None] * (len(kept) - len(owners))
        found = self._find_owners_of_results(
            _Call(run_operator, n, kept, nodes, owners, (self._rows - 1).bit_length()), results
        )
        self._owners[n] = unflatten_tree(found, shape)
        for target in list_written_arguments(n.target, n.args, n.kwargs):
            old = self._owners.get(target)
            if isinstance(old, Tensor) and isinstance(found[0], Tensor) and old.shape == found[0].shape:
                self._owners[n] = old.copy_(found[0])
        return value

    def _find_owners_of_results(self, call: _Call, results: list[Any]) -> list[Any]:
        """Return a tensor for each result of a call, with the owner of each number: the index of the text on which this
        number depends, or -1. If a number depends on several texts, store the line of the call in `place`."""
        node, name, owned = (
            call.node,
            read_operator_name(call.node).removesuffix("_"),
            call.find_arguments_that_depend_on_texts(),
        )
        if (views := _find_owners_of_views(call, results)) is not None:
            return views
        if not owned or node not in self._needed or name.startswith(GIVES_NO_NUMBERS):
            return [_make_owners_before_any_operator(one) for one in results]
        lengths = [i for i in owned if self._is_length_of_each_text(call.nodes[i])]
        if name in _ORDERS and lengths and results[-1].shape == call.given[owned[0]].shape:
            of_lengths: Any = call.owners[owned[0]]
            return [of_lengths[results[-1]] for _ in results]
        # Numbers written at positions that follow from lengths belong to the texts of these positions.
        places = [i for i in owned if name in _PUTS and self._words[call.nodes[i]] <= WordDependence.COUNTS]
        told = _find_owners_with_arguments_that_operator_accepts(
            call, results, [i for i in owned if i not in places], lengths, self._generator
        )
        stated = flatten_tree(node.meta.get("val"))[0]
        if told is None or ((name not in OF_LENGTHS or len(lengths) < len(owned)) and any(one.mixed for one in told)):
            self.place = describe_first_known_line_of_nodes(node)
            return [_make_owners_before_any_operator(one) for one in results]
        return [
            self._fill_unknown_owners(one, result, val, call) if isinstance(result, Tensor) else None
            for one, result, val in zip(told, results, stated, strict=True)
        ]

    def _is_length_of_each_text(self, node: Any) -> bool:
        """Return whether a node's value is one integer for each text that depends on a few ids only, such as the number
        of the text's tokens that are not padding. Other checks try each of these ids."""
        value: Any = node.meta.get("val") if isinstance(node, Node) else None
        whole = isinstance(value, Tensor) and value.dim() == 1 and not value.is_floating_point()
        return whole and value.dtype != torch.bool and self._words[node] <= WordDependence.COUNTS

    def _fill_unknown_owners(self, changes: _ResultOwners, result: Tensor, stated: Any, call: _Call) -> Tensor:
        """Return the owner of each number of a result: the index of the text on which this number depends. A number
        that did not change with any text gets the owner of the numbers in the operator's arguments from which it is
        computed, or else the owner of other numbers in its row.

        Args:
            changes: the owners that were found by changing texts.
            result: the result of the call.
            stated: the result in the program, with symbolic sizes.
        """
        owners = changes.owners
        if bool((owners != _NONE).all()):
            return owners
        if read_operator_name(call.node).removesuffix("_") not in _PUTS:
            for given in (call.owners[i] for i in call.find_arguments_that_depend_on_texts()):
                if given is not None and _can_broadcast(given, result):
                    owners = torch.where(owners == _NONE, given.expand(result.shape), owners)
        for axis in self._find_batch_axes_of_value(stated, result)[:1]:
            # Else they get the owner of other numbers in the same row of the batch.
            rows = owners.movedim(axis, 0).reshape(self._rows, -1).amax(1)
            rows = torch.where(rows == _NONE, torch.arange(self._rows), rows)
            rows = rows.view([-1 if i == axis else 1 for i in range(result.dim())])
            owners = torch.where(owners == _NONE, rows.expand(result.shape), owners)
        return owners

    def _find_batch_axes_of_value(self, stated: Any, value: Tensor) -> list[int]:
        if not isinstance(stated, Tensor) or stated.dim() != value.dim():
            return []
        return [
            axis
            for axis, size in enumerate(stated.shape)
            if isinstance(size, torch.SymInt)
            and read_size_expression(size) in self._batch
            and value.shape[axis] == self._rows
        ]

    def _record_line_of_mixed_answers(self, output: Node) -> None:
        for node in output.all_input_nodes:
            owners = self._owners.get(node)
            if isinstance(owners, Tensor):
                for axis in self._find_batch_axes_of_value(node.meta.get("val"), owners)[:1]:
                    rows = torch.arange(self._rows).view([-1 if i == axis else 1 for i in range(owners.dim())])
                    if bool(((owners != rows) & (owners != _NONE)).any()):
                        self.place = describe_first_known_line_of_nodes(node)


@dataclass(frozen=True)
class _ResultOwners:
    """For each number of a result, its owner, which is the index of the text with which the number changed, or -1; and
    whether any number changed with several texts."""

    owners: Tensor
    mixed: bool


def _make_owners_before_any_operator(value: Any, *, row_is_owner: bool = False) -> Any:
    """Return a tensor of the shape of `value` with the owner of each number before any operator ran: the index of the
    text on which this number depends. With `row_is_owner` that is the number's row, else -1 for no text. Return None
    for a value that is not a tensor."""
    if not isinstance(value, Tensor):
        return None
    owners = torch.full(value.shape, _NONE, dtype=torch.int64)
    if row_is_owner and value.dim():
        owners[:] = torch.arange(len(value)).view(-1, *[1] * (value.dim() - 1))
    return owners


def _find_owners_of_views(call: _Call, results: list[Any]) -> list[Any] | None:
    """Return the owner of each number, the index of the text on which this number depends, for results that are views
    of a call's arguments: the operator is applied to the owners of the arguments. Return None for other results."""
    node = call.node
    shared = list_aliased_arguments(node.target, node.args, node.kwargs)
    if (
        not shared
        or list_written_arguments(node.target, node.args, node.kwargs)
        or read_operator_name(node) == "as_strided"
    ):
        return None
    seen: list[Any] = [
        given if owners is None else owners for given, owners in zip(call.given, call.owners, strict=True)
    ]
    views = call.run(seen)
    same = all(isinstance(one, Tensor) and one.dtype == torch.int64 for one in views)
    return views if same and [one.shape for one in views] == [one.shape for one in results] else None


def _can_broadcast(given: Tensor, result: Tensor) -> bool:
    sizes = zip(reversed(given.shape), reversed(result.shape), strict=False)
    return given.dim() <= result.dim() and all(size in (1, other) for size, other in sizes)


def _find_owners_with_arguments_that_operator_accepts(
    call: _Call,
    results: list[Any],
    changing_arguments: list[int],
    length_arguments: list[int],
    generator: torch.Generator,
) -> list[_ResultOwners] | None:
    """Find for each number in the results of a call the text on which this number depends: the operator runs on random
    arguments, and the numbers of some texts are changed. If it fails on them, integers are changed less. Return None if
    the operator still fails.

    Args:
        results: its results.
        changing_arguments: the indices of the arguments that depend on texts.
        length_arguments: the indices of those that are the lengths of the texts.
        generator: the random generator that draws the random arguments.
    """
    whole = [i for i in changing_arguments if not _is_float(call.given[i]) and call.given[i].dtype != torch.bool]
    # Try any integers; only integers of the argument, which may be positions; equal lengths; equal integers.
    for wide, kept in ((True, []), (False, []), (False, length_arguments), (False, whole)):
        # An operator may raise anything.
        with contextlib.suppress(Exception):
            return _find_owners_by_changes(
                call, results, [i for i in changing_arguments if i not in kept], generator, with_other_integers=wide
            )
    return None


def _find_owners_by_changes(
    call: _Call,
    results: list[Any],
    changing_arguments: list[int],
    generator: torch.Generator,
    *,
    with_other_integers: bool,
) -> list[_ResultOwners]:
    """Find for each number in the results of a call the text on which this number depends. Half of the texts are
    changed at a time: for each bit of the texts' indices, first the texts whose index has a 0 there, and then those
    with a 1.

    Args:
        results: its results.
        changing_arguments: the indices of the arguments that are changed.
        generator: the random generator that draws the random arguments.
        with_other_integers: whether to also draw integers that the arguments do not contain.

    Raises:
        ValueError: the operator gives a result of another shape for the random arguments.
    """
    shapes = [one.shape if isinstance(one, Tensor) else () for one in results]
    seen = [torch.zeros(2, call.bits, *shape, dtype=torch.bool) for shape in shapes]
    for _ in range(_DRAWS if all(_is_float(call.given[i]) for i in changing_arguments) else _INTEGER_DRAWS):
        base, other = (
            {
                i: _draw_random_argument(
                    call, i, generator, with_other_integers=with_other_integers, keep_integers=base
                )
                for i in changing_arguments
            }
            for base in (True, False)
        )
        before = call.run(_replace_arguments(call, base))
        for bit in range(call.bits):
            for side in (0, 1):
                mixed = {
                    i: torch.where(_mask_numbers_with_owner_bit(call.owners[i], bit, side), other[i], base[i])
                    for i in changing_arguments
                }
                for told, one, two, result in zip(
                    seen, before, call.run(_replace_arguments(call, mixed)), results, strict=True
                ):
                    if not isinstance(result, Tensor):
                        continue
                    if one.shape != result.shape or two.shape != result.shape:
                        raise ValueError("The operator gives a result of another shape for other arguments.")
                    told[side, bit] |= (one != two) & ~((one != one) & (two != two))
        if all(bool((one[0] ^ one[1]).all() or (one[0] & one[1]).any()) for one in seen):
            break
    powers = 2 ** torch.arange(call.bits)
    return [
        _ResultOwners(
            torch.where((one[0] ^ one[1]).all(0), (one[1] * powers.view(-1, *[1] * (one.dim() - 2))).sum(0), _NONE),
            bool((one[0] & one[1]).any()),
        )
        for one in seen
    ]


def _replace_arguments(call: _Call, changed: dict[int, Tensor]) -> list[Any]:
    # Keep each tensor's memory layout: in another, a sum is rounded otherwise.
    is_overwritten = writes_in_place(call.node.target)
    return [
        torch.empty_like(one).copy_(changed.get(i, one))
        if isinstance(one, Tensor) and (is_overwritten or i in changed)
        else one
        for i, one in enumerate(call.given)
    ]


def _mask_numbers_with_owner_bit(owners: Any, bit: int, bit_value: int) -> Any:
    """Return a mask of the numbers in `owners`, the indices of texts, whose bit number `bit` is `bit_value`. Negative
    numbers, which stand for no text, are not in the mask."""
    return (owners >= 0) & ((owners >> bit) & 1 == bit_value)


def _is_float(value: Tensor) -> bool:
    return value.is_floating_point() or value.is_complex()


def _draw_random_argument(
    call: _Call, i: int, generator: torch.Generator, *, with_other_integers: bool, keep_integers: bool
) -> Tensor:
    """Return the argument number `i` of a call with random numbers in place of those that depend on a text.

    Args:
        i: the index of the argument.
        generator: the random generator that draws the numbers.
        with_other_integers: draw integers from those in the argument and a few others; else only from those in it.
        keep_integers: whether to leave integers unchanged, since they may be positions.
    """
    given: Tensor = call.given[i]
    owners: Any = call.owners[i]
    numbers = [float(one) for one in call.given if isinstance(one, int | float) and abs(one) < 2**31]
    if given.dtype == torch.bool:
        drawn = torch.rand(given.shape, generator=generator) < 0.5
    elif _is_float(given):
        known = torch.tensor([*_NUMBERS, *numbers], dtype=torch.float64)
        picked = known[torch.randint(len(known), given.shape, generator=generator)]
        random = torch.randn(given.shape, generator=generator, dtype=torch.float64)
        drawn = torch.where(torch.rand(given.shape, generator=generator) < 0.25, picked, random).to(given.dtype)
    elif keep_integers or not given.numel():
        return given
    else:
        # Each once: most ids of a batch may be padding, and padding in place of padding shows no owner.
        known = given.unique()  # type: ignore[no-untyped-call]
        if with_other_integers:
            known = torch.cat([known, torch.tensor([*_NUMBERS, *numbers]).to(given.dtype)])
        drawn = known[torch.randint(len(known), given.shape, generator=generator)]
    return torch.where(owners >= 0, drawn, given)
