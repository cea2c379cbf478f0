"""Find which axis of each declared input is the batch, and which is the sequence, by calling the module."""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from pocketrnn.errors import InputError
from pocketrnn_export.checking.exported_file import CheckedFile, Port, find_axis_role
from pocketrnn_export.checking.forward_call_recording import (
    SIZES,
    ModuleCall,
    RowsAndSteps,
    can_run_on_size,
    can_take_ids_below,
    draw_case,
    limit_call_to_running_sizes,
    list_sizes_with_different_rows,
    record_call,
    record_calls,
    record_inputs,
)
from pocketrnn_export.checking.joined_outputs import join_outputs_into_table
from pocketrnn_export.intake.call_discovery.module_properties_and_trial_batches import list_forward_parameters
from pocketrnn_export.numbers.table_of_proof_samples import EVERYWHERE, NEAR, POSITIVE, make_sample_table

# The most assignments of sizes to the file's inputs that are tried, and the processor time for all of them.
_MOST_WAYS: Final = 400
_SECONDS: Final = 30.0
# The most ways that are sorted.
_MOST_ROLES: Final = 10_000
# The most layer sizes that are tried as the size of a file's axis.
_MOST_SIZES: Final = 6
# If a row is larger than _LARGE, the table holds at most _MOST_NUMBERS numbers.
_LARGE: Final = 4_096
_MOST_NUMBERS: Final = 1 << 24
_LENGTHS: Final = ("len", "size")
# The processor time for finding a better assignment, after the first one that runs.
_MORE_SECONDS: Final = 5.0
# If a row's answer in a batch differs by more than this from its answer alone, the rows of the batch are not
# independent.
_APART: Final = 1e-3
# The columns of an input have tables of their own only where there are no more than these.
_MOST_COLUMNS: Final = 32
_OTHER_SIZE: Final = 13
# Numbers that may be ids in a column of their own.
_WHOLE: Final = "whole numbers"
# A mask is true where a row has steps, or where it has none, or at its last step alone.
KEEPS: Final = "keeps"
HIDES: Final = "hides"
ONE_STEP: Final = "one step"
# Where a module runs on none of the usual sizes, the steps up to this many are tried, with the likeliest roles.
_MOST_STEPS: Final = 128
_LIKELY: Final = 12


class UncallableModuleError(InputError):
    """The module does not run in any way that was tried."""

    def __init__(self, problem: str) -> None:
        super().__init__(
            f"{problem}.",
            "Say how the module is called, and how many ids there are: --call LINE, --ids N (in Python call=, ids=).",
        )


def find_call_by_trying_axis_roles(
    module: nn.Module,
    file: CheckedFile,
    id_counts: Sequence[int],
    padding_id: int,
    is_preferred: Callable[[ModuleCall], bool],
) -> ModuleCall:
    """Find a call of a module with the inputs that a file declares. For each axis of each input, it is tried whether
    the axis is the batch, is the sequence, or has a fixed size.

    The first call is returned in which each row of a batch gets the same answer as alone: otherwise, the supposed batch
    axis is the sequence. If there is no such call, one that runs is returned.

    Args:
        module: in float32 and eval mode, on the CPU.
        file: the file that was exported from it.
        id_counts: the possible numbers of ids of an input, in ascending order. Each input gets the largest number with
            which the module runs.
        padding_id: the id that fills a row after its last token.
        is_preferred: returns whether a call is better than others, for example because the file also runs on its
            inputs.

    Raises:
        UncallableModuleError: the module runs with none of the calls that were tried.
    """
    ports = _order_file_inputs_as_module_inputs(module, file)
    # The input size of a layer is the second axis of its weight, or a later one of a convolution over columns.
    matrices = [weight.shape for weight in module.parameters() if weight.dim() > 1]
    taken = list(dict.fromkeys([*(shape[1] for shape in matrices), *itertools.chain(*(one[2:] for one in matrices))]))
    role_choices = _list_choices_of_axis_roles(ports, taken[:_MOST_SIZES])[:_MOST_WAYS]
    # First try any sizes, then the declared ones: a module may accept only those.
    of_any, of_declared = (itertools.product([sizes], role_choices) for sizes in (SIZES[:2], ()))
    others: list[ModuleCall] = []
    roles_of_others: list[tuple[Roles, ...]] = []
    until = time.process_time() + _SECONDS
    for sizes, axis_roles in itertools.chain(
        of_any, of_declared, (((), axis_roles) for axis_roles in _list_roles_with_declared_sizes(ports))
    ):
        is_declared = "b" not in itertools.chain(*axis_roles)
        if not is_declared and time.process_time() > until:
            continue
        called = try_axis_roles(module, ports, axis_roles, sizes, id_counts, padding_id)
        if called is None or _mistakes_features_for_steps(called, ports, axis_roles):
            continue
        if is_declared:
            called = _note_if_only_declared_sizes_are_compared(called, others)
        varies = len(_list_input_shapes(called)) > 1
        if is_declared or (varies and has_independent_rows(called) and is_preferred(called)):
            return _choose_call_with_variable_steps(called, axis_roles, zip(roles_of_others, others, strict=True))
        until = until if others else min(until, time.process_time() + _MORE_SECONDS)
        others.append(called)
        roles_of_others.append(axis_roles)
    if not others and any(_is_float(port) for port in ports):
        whole = (
            try_axis_roles(module, ports, axis_roles, SIZES[:2], id_counts, padding_id, kinds_of_numbers=(_WHOLE,))
            for axis_roles in role_choices[:_LIKELY]
        )
        others = [called for called in whole if called is not None and has_independent_rows(called)]
    if not any(len(_list_input_shapes(called)) > 1 for called in others):
        fixed = _find_call_with_one_number_of_steps(module, ports, role_choices, id_counts, padding_id)
        others = others if fixed is None else [fixed]
    if others:
        return max(others, key=lambda called: (is_preferred(called), *_rate_call(called)))
    shapes = ", ".join(f"{port.name} {list(port.axes or ())}" for port in file.inputs)
    raise UncallableModuleError(f"The module fails on all inputs that the file declares ({shapes})")


def _find_call_with_one_number_of_steps(
    module: nn.Module,
    ports: Sequence[Port],
    role_choices: Sequence[tuple[Roles, ...]],
    id_counts: Sequence[int],
    padding_id: int,
) -> ModuleCall | None:
    """Find a call of a module that runs with only one number of steps, by trying many. Return None if the module runs
    with none of them.

    Args:
        module: in float32 and eval mode, on the CPU.
        ports: the inputs of the file.
        role_choices: choices of roles (batch, sequence or a fixed size) for the axes of all inputs, the likeliest
            first.
        id_counts: the possible numbers of ids of an input.
        padding_id: the id that fills a row after its last token.
    """
    widths = {int(size) for weight in module.parameters() for size in weight.shape if size > 1}
    joined = {int(weight.shape[1]) for weight in module.parameters() if weight.dim() > 1}
    lengths = {all_steps // width for all_steps, width in itertools.product(joined, widths)}
    others: list[tuple[bool, ModuleCall]] = []
    for steps in sorted({*range(1, _MOST_STEPS + 1), *lengths} - {0}):
        for axis_roles in [axis_roles for axis_roles in role_choices if "s" in itertools.chain(*axis_roles)][:_LIKELY]:
            sizes = list_sizes_with_different_rows(steps)
            found = try_axis_roles(module, ports, axis_roles, (), id_counts, padding_id, optional_sizes=sizes)
            several = found is not None and len(found.sizes) > 1
            if found is not None and several and has_independent_rows(found):
                return found
            others += [(several, found)] if found is not None else []
    return max(others, key=lambda other: other[0])[1] if others else None


def _choose_call_with_variable_steps(
    called: ModuleCall, axis_roles: Sequence[Roles], others: Iterable[tuple[Sequence[Roles], ModuleCall]]
) -> ModuleCall:
    """Return the call in `others` that differs from `called` only in that its number of steps may vary. Such a call
    exists if tracing fixed the number of steps in the file, but the module accepts any. Return `called` if there is no
    such call.

    Args:
        axis_roles: the roles (batch, sequence or a fixed size) that `called` gives the axes of all inputs.
        others: other calls, each with its roles.
    """
    for earlier, other in others:
        before, after = (list(itertools.chain(*one)) for one in (earlier, axis_roles))
        differing = {(old, new) for old, new in itertools.zip_longest(before, after) if old != new}
        steps = next((new for old, new in differing if old == "s"), None)
        if len(differing) == 1 and isinstance(steps, int) and len(other.sizes) > 1 and has_independent_rows(other):
            return replace(other, sizes=list_sizes_with_different_rows(steps))
    return called


def try_axis_roles(
    module: nn.Module,
    ports: Sequence[Port],
    axis_roles: Sequence[Roles],
    required_sizes: Iterable[RowsAndSteps],
    id_counts: Sequence[int],
    padding_id: int,
    optional_sizes: Sequence[RowsAndSteps] = (),
    kinds_of_numbers: Sequence[str] = (EVERYWHERE, NEAR, POSITIVE),
) -> ModuleCall | None:
    """Call a module with random inputs whose axes have the given roles. Return the call, or None if the module does not
    run or its answers are not finite with any kind of numbers and masks.

    Args:
        module: in float32 and eval mode, on the CPU.
        ports: the inputs of the file.
        axis_roles: the role of each axis of each input: "b" for the batch, "s" for the sequence, or a fixed size.
        required_sizes: sizes (rows, steps) on all of which the module must run.
        id_counts: the possible numbers of ids of an input; the largest with which the module runs is used.
        padding_id: the id that fills a row after its last token.
        optional_sizes: the module must run on at least one of these sizes, and the returned call has those on which it
            runs. By default, they are a few usual sizes and those that the file declares.
        kinds_of_numbers: the kinds of random numbers to try for inputs of floats.
    """
    usual, unusual = ((KEEPS, HIDES), (ONE_STEP,)) if any(map(is_mask, ports)) else ((KEEPS,), ())
    failing: set[str] = set()
    for kind, masks in itertools.chain(
        itertools.product(kinds_of_numbers, usual), itertools.product(kinds_of_numbers, unusual)
    ):
        if masks in failing:
            continue
        make = functools.partial(
            make_call_with_roles,
            module,
            ports,
            axis_roles,
            padding_id=padding_id,
            kind_of_numbers=kind,
            marked_by_masks=masks,
        )
        made = make({port.name: id_counts[:1] for port in ports})
        runs = all(can_run_on_size(made, *size) for size in required_sizes)
        called = (
            limit_call_to_running_sizes(made, optional_sizes or _list_trial_sizes(ports, axis_roles)) if runs else None
        )
        if called is None:
            failing.add(masks)
        elif _gives_finite_answers(called):
            return limit_call_to_running_sizes(
                make(_find_largest_id_count_of_each_column(make, called, ports, axis_roles, id_counts)), called.sizes
            )
    return None


def has_independent_rows(called: ModuleCall) -> bool:
    """Return whether a module gives each row of a random batch the same answer as this row alone, up to 1e-3."""
    rows, steps = called.sizes[0]
    case = draw_case(called, rows, steps, ragged=False)
    # Beside its copy, where the module takes no row alone.
    copies = 1 if can_run_on_size(called, 1, steps, ragged=False) else 2
    apart = [replace(case, tokens=case.tokens[[n] * copies], lengths=case.lengths[[n] * copies]) for n in range(rows)]
    calls = record_calls(called, [case, *apart])
    if calls is None:
        return rows == 1
    counts = (rows, *[copies] * rows)
    together, *alone = (
        join_outputs_into_table(list(one.outputs.values()), n) for one, n in zip(calls, counts, strict=True)
    )
    expected = np.concatenate([one[:1] for one in alone])
    return together.shape == expected.shape and np.allclose(
        together, expected, rtol=_APART, atol=_APART, equal_nan=True
    )


def _order_file_inputs_as_module_inputs(module: nn.Module, file: CheckedFile) -> Sequence[Port]:
    """Return the inputs of a file, in the order of the module's inputs if they have the same names. If the module does
    not have an embedding, an input without a declared type gets float32."""
    names = [parameter.name for parameter in list_forward_parameters(module)]
    ports: Sequence[Port] = file.inputs
    if {port.name for port in ports} <= set(names):
        ports = sorted(ports, key=lambda port: names.index(port.name))
    if any(isinstance(layer, nn.Embedding | nn.EmbeddingBag) for layer in module.modules()):
        return ports
    return [replace(port, kind=port.kind or "float32") for port in ports]


def _rate_call(called: ModuleCall) -> tuple[bool, bool, int]:
    """Return a rating of a call as a tuple, which is larger for a better call. Its members are whether the call takes
    several sizes, whether its rows are independent, and how many of the usual sizes it takes."""
    rows, steps = called.sizes[0]
    varies = len(_list_input_shapes(replace(called, sizes=(*called.sizes, (rows, steps + 1))))) > 1
    return varies, has_independent_rows(called), len({*SIZES} & {*called.sizes})


def _note_if_only_declared_sizes_are_compared(called: ModuleCall, others: Iterable[ModuleCall]) -> ModuleCall:
    """Return `called`, whose inputs have the sizes that the file declares. If the calls in `others` show that the
    module also runs on other sizes, set `only_these`, so that the verdict says that only these sizes were compared."""
    own = _list_input_shapes(called)
    if all(_list_input_shapes(other) <= own for other in others):
        return called
    inputs = record_call(called, draw_case(called, *called.sizes[0])).inputs
    only = ", ".join(f"{name} {list(array.shape)}" for name, array in inputs.items())
    return replace(called, only_these=only)


def _list_input_shapes(called: ModuleCall) -> set[tuple[tuple[int, ...], ...]]:
    """Return the set of the shapes of a call's inputs: a tuple of shapes for each size (rows, steps) on which the
    module runs."""
    cases = [draw_case(called, *size) for size in called.sizes if can_run_on_size(called, *size)]
    return {tuple(array.shape for array in record_inputs(called, case).values()) for case in cases}


def _mistakes_features_for_steps(called: ModuleCall, ports: Sequence[Port], axis_roles: Sequence[Roles]) -> bool:
    """Return whether a call wrongly treats the feature axis of an input as the sequence. This is so if the module fails
    with fewer columns than the file declares, and ignores further columns.

    Args:
        ports: the inputs of the file, with their declared sizes.
        axis_roles: the roles that the call gives the axes of each input.
    """
    declared = {
        size
        for port, roles in zip(ports, axis_roles, strict=True)
        for size, role in zip(port.axes or (), roles, strict=False)
        if role == "s" and isinstance(size, int)
    }
    for size in declared:
        rows = called.sizes[0][0]
        case = draw_case(called, rows, size + 3, ragged=False)
        other = replace(case, tokens=np.where(np.arange(size + 3) < size, case.tokens, case.tokens + 1) % called.ids)
        if can_run_on_size(called, rows, size - 1, ragged=False) or not can_run_on_size(called, rows, size + 3):
            continue
        one, another = (record_call(called, some).outputs.values() for some in (case, other))
        if all(map(np.array_equal, one, another)):
            return True
    return False


def _find_largest_id_count_of_each_column(
    make_call: Callable[[Mapping[str, Sequence[int]]], ModuleCall],
    called: ModuleCall,
    ports: Sequence[Port],
    axis_roles: Sequence[Roles],
    id_counts: Sequence[int],
) -> dict[str, Sequence[int]]:
    """Find, for each column of each input, the largest number of ids with which the module runs, since a column may
    have an embedding of its own. Return a dict from the name of each input to a list with a number for each column.

    Args:
        make_call: makes the call from such a dict.
        called: a call that runs with the smallest number.
        ports: the inputs of the file.
        axis_roles: the roles of the axes of each input.
        id_counts: the possible numbers, in ascending order.
    """
    widths = [_multiply_fixed_sizes(roles) for roles in axis_roles]
    found: dict[str, Sequence[int]] = {
        port.name: [id_counts[0]] * (width if width <= _MOST_COLUMNS else 1)
        for port, width in zip(ports, widths, strict=True)
    }
    every = [(port.name, column) for port in ports if not _is_float(port) for column in range(len(found[port.name]))]
    for name, column in every if len(id_counts) > 1 else ():
        for count in id_counts[:0:-1]:
            columns = [*found[name][:column], count, *found[name][column + 1 :]]
            tried = replace(make_call({**found, name: columns}), sizes=called.sizes)
            if can_take_ids_below(tried, count, tried_ids=len(ports) + max(widths)):
                found[name] = columns
                break
    return found


def _list_trial_sizes(ports: Sequence[Port], axis_roles: Sequence[Roles]) -> list[RowsAndSteps]:
    """List the sizes (rows, steps) with which a module is called first: a few usual ones, and those that the file
    declares, since a module may accept only these. `axis_roles` says which axis of each input is the batch ("b") and
    which the sequence ("s")."""
    if "b" not in itertools.chain(*axis_roles):
        return [(1, SIZES[0][1])]
    declared: dict[str | int, int] = {}
    for port, roles in zip(ports, axis_roles, strict=True):
        pairs = zip(port.axes or (), roles, strict=False)
        for size, role in pairs:
            if isinstance(size, int) and not isinstance(role, int):
                declared[role] = max(size, declared.get(role, 0))
    (rows, steps), *others = SIZES
    steps = declared.get("s", steps)
    return list(dict.fromkeys([SIZES[0], (declared.get("b", rows), steps), (rows, steps), (1, steps), *others]))


# The meaning of each axis of an input: "b" for the batch, "s" for the sequence, or a size.
Roles = tuple[str | int, ...]


def _yield_possible_roles(port: Port, layer_widths: Sequence[int]) -> Iterator[Roles]:
    """Yield the possible roles of the axes of an input. Each axis is the batch ("b"), the sequence ("s"), or has a
    fixed size. If the input has no declared axes, `layer_widths`, the sizes of layers, are tried as fixed sizes."""
    if port.axes is None:
        yield from (("b", "s"), ("b", "s", 1), ("b",), ("s",))
        for size in layer_widths if _is_float(port) else ():
            # Steps, channels, a row of numbers, a picture, the state of a layer.
            yield from (("b", "s", size), ("b", size, "s"), ("b", size))
            yield from (("b", size, "s", _OTHER_SIZE), (1, "b", size))
        return
    # If three sizes may change, as for a picture, one of them gets a fixed size.
    others = (_OTHER_SIZE,) if sum(not isinstance(n, int) for n in port.axes) > len(("b", "s")) else ()
    each: list[Roles] = [("b", "s", n) if isinstance(n, int) else ("b", "s", *others) for n in port.axes]
    for roles in itertools.product(*each):
        # A first axis of size 1 is a batch of one, and not a sequence of one step.
        is_sequence = port.axes[0] == 1 and roles[0] == "s" if roles else False
        if roles.count("b") <= 1 and roles.count("s") <= 1 and not is_sequence:
            yield roles


def _list_choices_of_axis_roles(ports: Sequence[Port], layer_widths: Sequence[int]) -> list[tuple[Roles, ...]]:
    """List choices of roles for the axes of all inputs, the likeliest first: each axis is the batch ("b"), the sequence
    ("s"), or has a fixed size. Choices in which inputs with equal axes, such as two states, have equal roles come
    first. `layer_widths` are fixed sizes to try for inputs without declared axes."""
    alike = {(port.axes, _is_float(port)): port for port in ports}
    every = itertools.product(*(list(_yield_possible_roles(port, layer_widths)) for port in alike.values()))
    chosen = (dict(zip(alike, roles, strict=True)) for roles in itertools.islice(every, _MOST_ROLES))
    same = [tuple(axis_roles[port.axes, _is_float(port)] for port in ports) for axis_roles in chosen]
    others = itertools.islice(
        itertools.product(*(list(_yield_possible_roles(port, layer_widths)) for port in ports)), _MOST_ROLES
    )
    in_order = (
        sorted(ways, key=lambda axis_roles: _make_sort_key_of_axis_roles(ports, axis_roles)) for ways in (same, others)
    )
    return [
        axis_roles for axis_roles in dict.fromkeys(itertools.chain(*in_order)) if "b" in itertools.chain(*axis_roles)
    ]


def _list_roles_with_declared_sizes(ports: Sequence[Port]) -> list[tuple[Roles, ...]]:
    """Return a list with the one choice of roles in which each axis has its declared size. Return an empty list if the
    file declares an axis as variable."""
    declared = [(None,) if port.axes is None else port.axes for port in ports]
    return [tuple(declared)] if all(isinstance(n, int) for axes in declared for n in axes) else []  # type: ignore[arg-type]


def _make_sort_key_of_axis_roles(ports: Sequence[Port], axis_roles: Sequence[Roles]) -> tuple[int, ...]:
    """Return a sort key for a choice of roles for the axes of all inputs. It is smaller for a likelier choice: by how
    many roles contradict the declared names of the axes, how few axes are variable, and how late the batch and the
    sequence axis come."""
    changing = sum(role in ("b", "s") for roles in axis_roles for role in roles)
    late = sum(roles.index("b") for roles in axis_roles if "b" in roles)
    misplaced = sum(roles.index("s") for roles in axis_roles if "s" in roles)
    named = (
        (name, role)
        for port, roles in zip(ports, axis_roles, strict=True)
        for name, role in zip(port.axes or (), roles, strict=False)
        if isinstance(name, str)
    )
    called_otherwise = sum(find_axis_role(name) not in (None, role) for name, role in named)
    return called_otherwise, -changing, late, misplaced


def make_call_with_roles(
    module: nn.Module,
    ports: Sequence[Port],
    axis_roles: Sequence[Roles],
    id_counts: Mapping[str, Sequence[int]],
    *,
    padding_id: int,
    kind_of_numbers: str,
    marked_by_masks: str,
) -> ModuleCall:
    """Return a call of a module in which batches of ids become inputs whose axes have the given roles: ids, rows of
    random numbers, lengths, offsets or masks. The module is not run.

    Args:
        ports: the inputs of the file, which the module takes.
        axis_roles: the role of each axis of each input: "b" for the batch, "s" for the sequence, or a fixed size.
        id_counts: how many ids each column of an input may have, by the name of the input.
        padding_id: the id that fills a row after its last token.
        kind_of_numbers: the kind of random numbers that float inputs get, such as POSITIVE.
        marked_by_masks: where a mask is true: at the steps of a row (KEEPS), at the padding (HIDES) or at the last step
            (ONE_STEP).
    """
    # Whole numbers may be ids of any table.
    least = min(map(min, id_counts.values())) if kind_of_numbers == _WHOLE else None
    sizes = {_multiply_fixed_sizes(roles) for port, roles in zip(ports, axis_roles, strict=True) if _is_float(port)}
    tables = {size: _make_rows_of_random_numbers(size, kind_of_numbers, least) for size in sizes}
    most = min((len(table) for table in tables.values()), default=0)
    has_steps, has_offsets = any("s" in roles for roles in axis_roles), any(map(_is_offset_input, ports, axis_roles))
    missing = _count_missing_steps(ports, axis_roles)

    def make_input(port_number: int, tokens: Tensor, lengths: Tensor) -> Tensor:
        port, roles = ports[port_number], axis_roles[port_number]
        width, steps = _multiply_fixed_sizes(roles), max(1, tokens.shape[1] - missing[port_number])
        tokens, lengths = tokens[:, :steps], lengths.clamp(max=steps)
        real = torch.arange(tokens.shape[1]) < lengths[:, None]
        # Each input is given another draw, so that one in the place of another is seen; and so is each column of one.
        drawn = torch.where(real, tokens + port_number, tokens)
        if roles == ("s",) and has_offsets:
            # The rows one after the other: the offsets say where each begins.
            return _cast_as_declared(drawn[real] % id_counts[port.name][0], port)
        places = slice(None if "b" in roles else 1), slice(None if "s" in roles else 1)
        drawn = drawn[places]
        if is_mask(port):
            value = _make_mask(lengths, tokens.shape[1], marked_by_masks).to(torch.int64)[..., None]
        elif _is_offset_input(port, roles):
            value = (lengths.cumsum(0) - lengths)[:, None, None]
        elif _is_float(port):
            return _order_axes(tables[width][drawn % most], port, roles)
        elif "s" not in roles and has_steps and _is_length_input(port, roles):
            value = lengths[:, None, None]
        else:
            columns = torch.arange(width) * real[places][..., None]
            value = (drawn[..., None] + columns) % torch.tensor(id_counts[port.name])
        return _order_axes(value.expand(*value.shape[:2], width), port, roles)

    def call_module(module: nn.Module, tokens: Tensor, lengths: Tensor, shorter_port: int | None = None) -> Any:
        half = max(1, tokens.shape[1] // 2)
        cut = (tokens[:, :half], lengths.clamp(max=half))
        every = [make_input(n, *(cut if n == shorter_port else (tokens, lengths))) for n in range(len(ports))]
        return _call_with_inputs(module, dict(zip((port.name for port in ports), every, strict=True)))

    samples = next(iter(tables.values())).numpy() if tables else None
    ragged = has_offsets or any(map(_is_length_input, ports, axis_roles)) or any(map(is_mask, ports))
    in_steps = [n for n, roles in enumerate(axis_roles) if "s" in roles and not is_mask(ports[n])]
    unequal = tuple(functools.partial(call_module, shorter_port=n) for n in in_steps) if len(in_steps) > 1 else ()
    ids = max([most] * bool(tables) + [n for port in ports if not _is_float(port) for n in id_counts[port.name]])
    return ModuleCall(
        module, f"module({_describe_inputs(ports, axis_roles, missing)})", call_module, ids,
        0 if tables else padding_id, ragged, samples, unit=("steps" if tables else "tokens") if has_steps else "",
        unequal=() if ragged else unequal, one_row="b" not in itertools.chain(*axis_roles),
        numbers="" if kind_of_numbers == EVERYWHERE or not tables else kind_of_numbers,
    )  # fmt: skip


def _make_mask(lengths: Tensor, steps: int, marked: str) -> Tensor:
    """Make the mask of rows of these lengths, bool [batch, steps]. `marked` says where it is true: at the steps of a
    row (KEEPS), at the padding (HIDES), or at the last step (ONE_STEP)."""
    places = torch.arange(steps)
    if marked == ONE_STEP:
        return places == lengths[:, None] - 1
    return (places < lengths[:, None]) ^ (marked == HIDES)


def _call_with_inputs(module: nn.Module, inputs: Mapping[str, Tensor]) -> Any:
    """Call a module with the inputs of a file. The inputs are passed by name if the module's parameters have the same
    names in another order, else by position. If there are more inputs than parameters, the last parameter gets a
    tuple."""
    parameters = list_forward_parameters(module)
    names = [parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_POSITIONAL]
    if set(inputs) <= set(names) and list(inputs) != names[: len(inputs)]:
        return module(**inputs)
    given = list(inputs.values())
    if 0 < len(names) == len(parameters) < len(given):
        # The last parameter takes a tuple, as the two states of an LSTM.
        return module(*given[: len(names) - 1], tuple(given[len(names) - 1 :]))
    return module(*given)


def _order_axes(value: Tensor, port: Port, roles: Roles) -> Tensor:
    """Return a tensor [batch, sequence, numbers] reshaped for an input whose axes have these roles: "b" for the batch,
    "s" for the sequence, or a fixed size, into which the numbers are reshaped. The result has the input's type."""
    inner = [role for role in roles if isinstance(role, int)]
    value = value.reshape(value.shape[0], value.shape[1], *inner)
    axes = ["b", "s", *range(len(inner))]
    kept = [axis for axis in axes if not isinstance(axis, str) or axis in roles]
    value = value[tuple(slice(None) if axis in kept else 0 for axis in axes)]
    count = iter(range(len(inner)))
    order = [kept.index(role if isinstance(role, str) else next(count)) for role in roles]
    return _cast_as_declared(value.permute(order).contiguous(), port)


def _cast_as_declared(value: Tensor, port: Port) -> Tensor:
    if port.kind is None:
        return value
    # The module computes in float32, also on numbers that the file takes in half precision.
    given = value.to(getattr(torch, port.kind))
    return given.float() if _is_float(port) else given


@functools.lru_cache(maxsize=16)
def _make_rows_of_random_numbers(width: int, kind_of_numbers: str, integers_below: int | None) -> Tensor:
    """Make rows of `width` random numbers of a kind. If `integers_below` is not None, they are integers from 0 to
    `integers_below` - 1. For a width above 4,096, there are fewer rows, and their numbers repeat."""
    rows = make_sample_table(min(width, _LARGE), kind=EVERYWHERE if kind_of_numbers == _WHOLE else kind_of_numbers).rows
    if width > _LARGE:
        rows = np.stack([np.resize(row, width) for row in rows[:: -(-len(rows) * width // _MOST_NUMBERS)]])
    if integers_below is not None:
        rows = np.floor(np.abs(rows)) % integers_below
    return torch.from_numpy(rows)


def _describe_inputs(ports: Sequence[Port], axis_roles: Sequence[Roles], missing: Sequence[int]) -> str:
    return ", ".join(
        f"{port.name} [{', '.join(_make_axis_name(role, less) for role in roles)}]"
        for port, roles, less in zip(ports, axis_roles, missing, strict=True)
    )


def _make_axis_name(role: str | int, missing: int) -> str:
    return {"b": "batch", "s": f"sequence - {missing}" if missing else "sequence"}.get(str(role), str(role))


def _count_missing_steps(ports: Sequence[Port], axis_roles: Sequence[Roles]) -> list[int]:
    """Return how many fewer steps each input has than the longest one: [20, 0] for a question of 30 tokens and a text
    of 50. The steps are the sizes that the file declares for the sequence axes (role "s")."""
    declared = [
        next((size for size, role in zip(port.axes or (), roles, strict=False) if role == "s"), None)
        for port, roles in zip(ports, axis_roles, strict=True)
    ]
    most = max((size for size in declared if isinstance(size, int)), default=0)
    return [most - size if isinstance(size, int) else 0 for size in declared]


def _multiply_fixed_sizes(roles: Roles) -> int:
    return int(np.prod([role for role in roles if isinstance(role, int)], dtype=int))


def _is_float(port: Port) -> bool:
    return port.kind is not None and np.dtype(port.kind).kind == "f"


def has_length_name(port: Port) -> bool:
    """Return whether the name of an input says that the input holds lengths."""
    return any(word in port.name.lower() for word in _LENGTHS)


def _is_length_input(port: Port, roles: Roles) -> bool:
    return roles == ("b",) and not _is_float(port) and (has_length_name(port) or port.kind in ("int64", "int32"))


def _is_offset_input(port: Port, roles: Roles) -> bool:
    return roles == ("b",) and not _is_float(port) and "offset" in port.name.lower()


def is_mask(port: Port) -> bool:
    """Return whether an input is a mask, by its type or its name."""
    return port.kind == "bool" or "mask" in port.name.lower()


def _gives_finite_answers(called: ModuleCall) -> bool:
    """Return whether the module's answers to two or three random batches contain only finite numbers. A batch on which
    the module fails does not count."""
    answered: list[bool] = []
    for rows, steps in called.sizes[:2] if called.samples is None else (*called.sizes[:2], (32, called.sizes[-1][1])):
        # The module may take no such size.
        for call in record_calls(called, [draw_case(called, rows, steps)]) or ():
            answered += [bool(np.isfinite(value).all()) for value in call.outputs.values() if value.dtype.kind == "f"]
    return all(answered)
