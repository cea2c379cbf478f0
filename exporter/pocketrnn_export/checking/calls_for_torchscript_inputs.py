"""Find how to call a module with the inputs of a file that does not declare their axes.

TorchScript files do not declare them.
"""

from __future__ import annotations

import itertools
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

import torch
from torch import nn

from pocketrnn_export.checking.calls_by_axis_roles import (
    KEEPS,
    ONE_STEP,
    Roles,
    has_independent_rows,
    has_length_name,
    is_mask,
    make_call_with_roles,
    try_axis_roles,
)
from pocketrnn_export.checking.exported_file import CheckedFile, Port
from pocketrnn_export.checking.forward_call_recording import SIZES, ModuleCall, draw_case, record_calls
from pocketrnn_export.checking.input_output_matching import AGREEING
from pocketrnn_export.numbers.table_of_proof_samples import NEAR
from pocketrnn_export.torch_internals import TORCH_FOLDER, FunctionMode

# The processor time for the search, and after the first way in which the two agree.
_SECONDS: Final = 15.0
_MORE_SECONDS: Final = 3.0
# The most sizes of layers that are tried as the size of an axis, and one for a module without layers.
_MOST_WIDTHS: Final = 10
_USUAL_WIDTH: Final = 6
# A batch and a sequence whose sizes are hardly those of a layer, or their sums.
_UNUSUAL: Final = (11, 13)
# The rate of a way than which there is none better.
_COMPLETE: Final = (1, 1, 1, 1, AGREEING)
_OF_MASKS: Final[tuple[Roles, ...]] = (("b", "s"), ("s", "b"), ("b", 1, "s"), ("b", "s", 1), ("b", 1, 1, "s"))
_OF_IDS: Final[tuple[Roles, ...]] = (("b", "s"), ("s", "b"), ("b",), ("s",), ("b", 1), (1, "b"))
_OF_NUMBERS: Final[tuple[Roles, ...]] = (("b", "s"), ("s", "b"), ("b",), ("s",), ("b", "s", 1), ("b", 1, "s"))

# A possible meaning of an input: its type, and the roles of its axes.
_Meaning = tuple[str, Roles]
_Way = tuple[_Meaning, ...]


class _TorchCalls(NamedTuple):
    """At how many places in the code torch is called, and how often."""

    code_places: int
    calls: int


def find_call_without_declared_axes(
    module: nn.Module,
    file: CheckedFile,
    counts: Sequence[int],
    padding_id: int,
    rate_in_file: Callable[[ModuleCall], int],
) -> ModuleCall | None:
    """Search for a call with which both a module and a file run, if the file declares neither the types nor the axes of
    its inputs, such as TorchScript. Return None if no such call is found.

    The search begins with likely types and axes, and changes those of one input at a time. It keeps a change if forward
    then calls torch at more places before it fails, or if its answers fit the file's better.

    Args:
        module: in float32 and eval mode, on the CPU.
        file: the file that was exported from it.
        counts: the possible numbers of ids of an input, in ascending order.
        padding_id: the id that fills a row after its last token.
        rate_in_file: returns how well the file's answers to a call fit the module's, from 0 (the file fails) to 3.
    """
    return _MeaningSearch(module, file, counts, padding_id, rate_in_file).find_best_call()


class _PlaceRecorder(FunctionMode):
    """Counts how often each place in the code calls torch."""

    def __init__(self) -> None:
        super().__init__()
        self.places: Counter[tuple[Any, int]] = Counter()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        frame = sys._getframe(1)
        while frame.f_back is not None and frame.f_code.co_filename.startswith(TORCH_FOLDER):
            self.places[frame.f_code, frame.f_lasti] += 1
            frame = frame.f_back
        self.places[frame.f_code, frame.f_lasti] += 1
        return func(*args, **(kwargs or {}))


class _MeaningSearch:
    """A search for the type and the axes of each input of a file. A "way" is a choice of these for all inputs. The
    search keeps the ratings of the ways that it has tried."""

    def __init__(
        self,
        module: nn.Module,
        file: CheckedFile,
        counts: Sequence[int],
        padding_id: int,
        rate_in_file: Callable[[ModuleCall], int],
    ) -> None:
        self.module, self.ports, self.counts, self.padding_id = module, file.inputs, counts, padding_id
        self.rate_in_file = rate_in_file
        takes_ids = any(isinstance(layer, nn.Embedding | nn.EmbeddingBag) for layer in module.modules())
        widths = _list_likely_axis_sizes(module, file)
        layers = [layer for layer in module.modules() if isinstance(layer, nn.RNNBase)]
        counts_of_states = sorted({1, *(one.num_layers * (2 if one.bidirectional else 1) for one in layers)})
        self.choices = [
            _list_likely_types_and_roles(port, widths, counts_of_states, takes_ids=takes_ids) for port in self.ports
        ]
        self.rated: dict[_Way, tuple[int, ...]] = {}
        self.until = time.process_time() + _SECONDS

    def find_best_call(self) -> ModuleCall | None:
        """Search for the types and axes of the inputs with the best rating, by hill climbing: from the likeliest ones,
        then from random ones, until the rating is the highest possible or the time is over. Return the call with the
        best ones. Return None if the module or the file fails with this call, or if the rows of the module's answer
        depend on each other."""
        drawn = random.Random(0)  # noqa: S311
        best = way = tuple(choices[0] for choices in self.choices)
        while self._rate_types_and_roles(best) != _COMPLETE and time.process_time() < self.until:
            best = max(best, self._climb_to_best_way_near(way), key=self._rate_types_and_roles)
            if self._rate_types_and_roles(best) >= (*_COMPLETE[:3], 0, AGREEING):
                # Only steps are missing, and there may be none.
                self.until = min(self.until, time.process_time() + _MORE_SECONDS)
            way = tuple(drawn.choices(some, [1 / n for n, _ in enumerate(some, 1)])[0] for some in self.choices)
        called = self._make_call_if_module_runs(best) if self._rate_types_and_roles(best)[0] else None
        runs = called is not None and has_independent_rows(called) and self.rate_in_file(called) > 0
        return called if runs else None

    def _climb_to_best_way_near(self, way: _Way) -> _Way:
        """Change the types and axes of the inputs in `way`, one change at a time and each time by the change with the
        best rating, until no change improves the rating. Return the types and axes at the end."""
        while (
            better := max(self._yield_ways_with_one_change(way), key=self._rate_types_and_roles, default=way)
        ) != way:
            if self._rate_types_and_roles(better) <= self._rate_types_and_roles(way):
                break
            way = better
        return way

    def _yield_ways_with_one_change(self, way: _Way) -> Iterator[_Way]:
        """Yield all types and axes of the inputs that differ from those in `way` by one change: of one input, or of one
        fixed size (or all of them) in all inputs. Stop when the time is over."""
        one = ({n: other} for n, choices in enumerate(self.choices) for other in choices)
        sizes, others = (
            dict.fromkeys(size for _, roles in some for size in roles if isinstance(size, int))
            for some in (way, itertools.chain(*self.choices))
        )
        # Layers that read two joined inputs take sizes with the right sum, such as 5 and 3 for twice 4.
        replaced = [*({size} for size in sizes), {*sizes} - {1}]
        exchanged = (
            {n: (kind, tuple(new if role in old else role for role in roles)) for n, (kind, roles) in enumerate(way)}
            for old, new in itertools.product(replaced, others)
        )
        for change in itertools.chain(one, exchanged):
            if time.process_time() > self.until:
                return
            yield tuple(change.get(n, meaning) for n, meaning in enumerate(way))

    def _rate_types_and_roles(self, way: _Way) -> tuple[int, ...]:
        """Return a rating of the types and axes of the inputs in `way`, as a tuple that is larger for better ones. Its
        first member is whether forward runs. If forward fails, the second is the number of places where it called torch
        before. If it runs, the others are whether its rows are independent, whether the file runs, whether there are
        steps, and how well the answers fit."""
        if way not in self.rated:
            if not any("b" in roles for _, roles in way):
                self.rated[way] = (0, 0)
            elif (places := self._count_torch_calls_before_failure(way)) is not None:
                self.rated[way] = (0, *places)
            elif (called := self._make_call_if_module_runs(way)) is None:
                self.rated[way] = (1, 0)
            else:
                level = self.rate_in_file(called)
                has_steps = any("s" in roles for _, roles in way)
                self.rated[way] = (1, int(has_independent_rows(called)), int(level > 0), int(has_steps), level)
        return self.rated[way]

    def _count_torch_calls_before_failure(self, way: _Way) -> _TorchCalls | None:
        """Run forward on inputs with the types and axes in `way`. If it fails, return at how many places in the code it
        called torch before, and how often, as a measure of how far it came. Return None if forward runs."""
        kinds = (KEEPS, ONE_STEP) if any(map(is_mask, self._split_into_ports_and_roles(way)[0])) else (KEEPS,)
        furthest = _TorchCalls(0, 0)
        for masks in kinds:
            if (places := self._count_torch_calls_before_failure_with_masks(way, masks)) is None:
                return None
            furthest = max(furthest, places)
        return furthest

    def _count_torch_calls_before_failure_with_masks(self, way: _Way, marked_by_masks: str) -> _TorchCalls | None:
        """Run forward on inputs with the types and axes in `way`, and with masks that are true at `marked_by_masks`,
        such as the padding. If it fails, return at how many places in the code it called torch before, and how often.
        Return None if forward runs."""
        ports, roles = self._split_into_ports_and_roles(way)
        counts = {port.name: self.counts[:1] for port in ports}
        called = make_call_with_roles(
            self.module,
            ports,
            roles,
            counts,
            padding_id=self.padding_id,
            kind_of_numbers=NEAR,
            marked_by_masks=marked_by_masks,
        )
        recorder = _PlaceRecorder()

        def function(module: nn.Module, tokens: torch.Tensor, lengths: torch.Tensor) -> Any:
            # The inputs are made before forward.
            hook = module.register_forward_pre_hook(lambda *_given: recorder.places.clear())
            try:
                with recorder:
                    return called.function(module, tokens, lengths)
            finally:
                hook.remove()

        if record_calls(replace(called, function=function), [draw_case(called, *_UNUSUAL)]) is not None:
            return None
        return _TorchCalls(len(recorder.places), recorder.places.total())

    def _make_call_if_module_runs(self, way: _Way) -> ModuleCall | None:
        """Return the call that gives the inputs the types and axes in `way`. Return None if the module does not run
        with this call on several numbers of rows."""
        ports, roles = self._split_into_ports_and_roles(way)
        called = try_axis_roles(
            self.module, ports, roles, SIZES[:1], self.counts, self.padding_id, optional_sizes=SIZES
        )
        return called if called is not None and len({rows for rows, _ in called.sizes}) > 1 else None

    def _split_into_ports_and_roles(self, way: _Way) -> tuple[list[Port], list[Roles]]:
        ports = [replace(port, kind=kind) for port, (kind, _) in zip(self.ports, way, strict=True)]
        return ports, [roles for _, roles in way]


def _list_likely_types_and_roles(
    port: Port, widths: Sequence[int], hidden_state_counts: Sequence[int], *, takes_ids: bool
) -> list[_Meaning]:
    """List the types and axes that an input of a file may have by its name, likely ones first.

    Args:
        port: the input.
        widths: the sizes that an axis of fixed size may have.
        hidden_state_counts: the possible first sizes of an input [count, batch, hidden] that holds hidden states.
        takes_ids: whether ids are likelier than other numbers, since the module has an embedding.
    """
    masks = [(kind, roles) for roles in _OF_MASKS for kind in ("bool", "int64", "float32")]
    if is_mask(port):
        return masks
    ids: list[_Meaning] = [("int64", roles) for roles in _OF_IDS]
    if has_length_name(port):
        return [("int64", ("b",)), *ids]
    wide: list[Roles] = [
        roles
        for n in widths
        for roles in (
            ("b", "s", n),
            ("s", "b", n),
            ("b", n),
            *((count, "b", n) for count in hidden_state_counts),
            ("b", n, "s"),
        )
    ]
    numbers: list[_Meaning] = [("float32", roles) for roles in (*wide, *_OF_NUMBERS)]
    return [*ids, *numbers, *masks[:3]] if takes_ids else [*numbers, *ids, *masks[:3]]


def _list_likely_axis_sizes(module: nn.Module, file: CheckedFile) -> list[int]:
    """List up to ten sizes that a fixed axis of an input may have: the sizes of the module's weights, and their halves
    and differences, since a layer may read two concatenated inputs. For a module without weights, use the numbers in
    the file's code."""
    shapes = [tuple(weight.shape) for weight in module.parameters()]
    taken = [shape[1] for shape in shapes if len(shape) > 1]
    given = [shape[0] for shape in shapes if shape]
    halves = [size // 2 for size in taken if size % 2 == 0]
    rest = [wide - size for wide in taken for size in (*given, *taken) if size < wide]
    # A scale may be the root of a size.
    of_file = [round(number) for value in file.numbers for number in (value, value**2, value and value**-2)]
    found = dict.fromkeys([*taken, *halves, *given, *rest] or [*of_file, _USUAL_WIDTH])
    return [size for size in found if 1 < size < 1 << 16][:_MOST_WIDTHS]
