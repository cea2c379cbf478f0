"""Find how to call the module that a file is compared with.

The ways of `export` are tried first, then calls with the inputs that the file declares.
"""

from __future__ import annotations

import inspect
import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from pocketrnn.errors import InputError, PocketRNNError
from pocketrnn_export.checking.calls_by_axis_roles import (
    UncallableModuleError,
    find_call_by_trying_axis_roles,
    has_independent_rows,
)
from pocketrnn_export.checking.calls_for_torchscript_inputs import find_call_without_declared_axes
from pocketrnn_export.checking.exported_file import CheckedFile, count_table_rows
from pocketrnn_export.checking.forward_call_recording import (
    SIZES,
    ModuleCall,
    can_run_on_size,
    can_take_ids_below,
    draw_case,
    limit_call_to_running_sizes,
    list_sizes_with_different_rows,
    record_call,
    record_calls,
)
from pocketrnn_export.checking.input_output_matching import match_inputs, normalize_name, rate_fit_of_file_answers
from pocketrnn_export.comparing.proof_inputs import Case
from pocketrnn_export.intake.call_discovery.call_failures import AmbiguousCallError
from pocketrnn_export.intake.call_discovery.call_search import find_convention
from pocketrnn_export.intake.call_discovery.module_properties_and_trial_batches import (
    ModuleFacts,
    list_forward_parameters,
)
from pocketrnn_export.intake.compiled_call_line import Call, compile_call
from pocketrnn_export.numbers.table_of_proof_samples import EVERYWHERE, NEAR, POSITIVE, make_sample_table
from pocketrnn_export.progress import hide_log_records

_log = logging.getLogger(__name__)
_USUAL_IDS: Final = 100
# The most steps that a file is tried with which does not declare its sizes.
_MOST_STEPS: Final = 64
# A word's answer in a text that differs by more than this from its answer alone is not that of a batch of words.
_APART: Final = 1e-3


def find_how_to_call_module(
    module: nn.Module,
    file: CheckedFile,
    *,
    call: str | Call | None,
    ids: int | None,
    padding_id: int | None,
    channels: int | None,
    inputs: Mapping[str, str],
) -> ModuleCall:
    """Find out how to call a module so that its forward gets the inputs that a file takes. The calls that `export`
    tries come first, then calls with the inputs that the file declares. A call on whose inputs the file also runs is
    preferred.

    Args:
        module: in float32 and eval mode, on the CPU.
        file: the file that was exported from it.
        call: how the user calls the module: a line of Python with `module`, `tokens` or `samples`, and `lengths`, or a
            function of these; None to find out.
        ids: how many token ids there are; None to find out.
        padding_id: the id that fills a row after its last token; None for that of the module's embedding.
        channels: how many numbers a step has, if `call` takes samples.
        inputs: a dict from names of the module's inputs to names of the file's, as the user gave it.

    Raises:
        InputError: the module runs with none of the calls that were tried.
    """
    table = next((layer for layer in module.modules() if isinstance(layer, nn.Embedding)), None)
    if padding_id is None:
        padding_id = 0 if table is None or table.padding_idx is None else table.padding_idx
    # The owner's call may turn ids into numbers itself.
    numbers = channels is not None or ((call is None or ids is None) and _takes_numbers_instead_of_ids(file, table))
    counts = _list_likely_id_counts(file, module, ids)
    known = ids or counts[0]
    if call is not None:
        channels = (channels or _count_channels(file)) if numbers else None
        return _raise_id_count_to_largest_that_runs(
            _make_call_stated_by_owner(module, call, known, padding_id, channels), counts
        )

    declares_axes = all(port.axes is not None for port in file.inputs)

    def rate_in_file(called: ModuleCall) -> int:
        calls = [record_call(called, draw_case(called, *size)) for size in called.sizes]
        try:
            fed = match_inputs(file, calls, inputs, called.sizes)
        except InputError:
            return 0
        return 1 if declares_axes else max(rate_fit_of_file_answers(file, fed, call) for call in calls)

    def runs_in_file(called: ModuleCall) -> bool:
        return rate_in_file(called) > 0

    if not numbers and (of_one := _find_call_on_ids_of_single_text(module, file, known, padding_id)) is not None:
        return _raise_id_count_to_largest_that_runs(of_one, counts)
    of_texts = None if numbers else _find_call_on_token_ids(module, file, counts, known, padding_id, runs_in_file)
    if of_texts is not None and runs_in_file(of_texts) and has_independent_rows(of_texts):
        return of_texts
    tried = [] if of_texts is None else [of_texts]
    every = sorted({*counts, *_list_table_row_counts(module, ids)})
    if not declares_axes and len(file.inputs) > 1:
        without_axes = find_call_without_declared_axes(module, file, every, padding_id, rate_in_file)
        if without_axes is not None:
            return without_axes
    try:
        by_axes = find_call_by_trying_axis_roles(module, file, every, padding_id, runs_in_file)
        if runs_in_file(by_axes):
            return by_axes
        tried.append(by_axes)
    except UncallableModuleError:
        if not tried:
            raise
    with_steps = (_find_call_with_undeclared_steps(called, runs_in_file) for called in tried)
    return next((called for called in with_steps if called is not None), tried[0])


def _find_call_on_token_ids(
    module: nn.Module,
    file: CheckedFile,
    id_counts: Sequence[int],
    ids: int,
    padding_id: int,
    is_preferred: Callable[[ModuleCall], bool],
) -> ModuleCall | None:
    """Find a call of a module on token ids, among the calls that `export` tries. Return None if the module runs with
    none of these.

    Args:
        module: in float32 and eval mode, on the CPU.
        file: the file, whose outputs show how many classes there may be.
        id_counts: the possible numbers of ids; the call gets the largest with which the module runs.
        ids: the number of ids for the search.
        padding_id: the id that fills a row after its last token.
        is_preferred: returns whether to take a call and end the search, for example because the file also runs on its
            inputs.
    """
    names = _list_inputs_in_file_if_some_are_optional(module, file)
    kept = module if names is None else _wrap_module_to_take_only_inputs(module, names)
    last = None
    for classes, of_tokens in itertools.product(_list_likely_class_counts(file, module), (False, True)):
        facts = ModuleFacts(kept, ids, padding_id, classes, values=True, of_tokens=of_tokens)
        try:
            with hide_log_records():
                found = find_convention(facts)
        except AmbiguousCallError:
            # The ways differ in a mask, say. Others that were found for tokens would be odd ones.
            break
        except PocketRNNError as error:
            _log.debug("Found no call that gives %d numbers for a text: %s", classes, error.problem)
            continue
        function = found.function if names is None else _make_call_with_only_inputs(found.function, names)
        called = ModuleCall(module, found.line, function, ids, padding_id, found.takes_lengths)
        if (running := limit_call_to_running_sizes(called, SIZES)) is not None:
            last = _raise_id_count_to_largest_that_runs(running, id_counts)
            if is_preferred(last):
                break
    return last


def _find_call_on_ids_of_single_text(
    module: nn.Module, file: CheckedFile, ids: int, padding_id: int
) -> ModuleCall | None:
    """Find a call that gives a module the ids of a single text, without a batch axis. Return None if the file does not
    declare exactly one input with one axis, or if the module does not run on such an input. Also return None if the
    module answers each id independently of the others, since the axis is then a batch of words.

    Args:
        module: in float32 and eval mode, on the CPU.
        ids: the number of ids.
        padding_id: the id that fills a row after its last token.
    """
    axes = [port.axes for port in file.inputs]
    if len(axes) != 1 or axes[0] is None or len(axes[0]) != 1:
        return None

    def function(module: nn.Module, tokens: torch.Tensor, _lengths: torch.Tensor) -> Any:
        (text,) = tokens
        return module(text)

    (steps,) = axes[0]
    made = ModuleCall(module, "module(tokens[0])", function, ids, padding_id)
    sizes = [(1, steps)] if isinstance(steps, int) else [(1, size[1]) for size in SIZES]
    called = limit_call_to_running_sizes(made, dict.fromkeys(sizes))
    return None if called is None or _answers_each_token_independently(called) else called


def _answers_each_token_independently(called: ModuleCall) -> bool:
    """Return whether a module's answer to each token of a text equals its answer to a text of only this token."""
    case = draw_case(called, *called.sizes[0])
    words = [Case("word", case.tokens[:, [place]], np.ones(1, np.int64)) for place in range(case.tokens.shape[1])]
    calls = record_calls(called, [case, *words])
    if calls is None:
        return False
    together, *alone = ([np.atleast_1d(one) for one in call.outputs.values()] for call in calls)
    joined = [np.concatenate(parts) for parts in zip(*alone, strict=True)]
    return all(
        one.shape == other.shape and np.allclose(one, other, atol=_APART)
        for one, other in zip(together, joined, strict=True)
    )


def _find_call_with_undeclared_steps(
    called: ModuleCall, runs_in_file: Callable[[ModuleCall], bool]
) -> ModuleCall | None:
    """Find the number of steps, from 1 to 64, with which both the module and the file run, for a file that takes only
    one number of steps but does not declare it. Return `called` with sizes of this number of steps, or None if there is
    no such number."""
    for steps in range(1, _MOST_STEPS + 1) if called.unit else ():
        running = limit_call_to_running_sizes(called, list_sizes_with_different_rows(steps))
        if running is not None and runs_in_file(running):
            return running
    return None


def _list_inputs_in_file_if_some_are_optional(module: nn.Module, file: CheckedFile) -> list[str] | None:
    """Return the names of those inputs of the module that the file takes, if some of the module's inputs have a default
    and so may be missing in the file. Return None if none has a default, or if the names cannot be found out."""
    parameters = list_forward_parameters(module)
    named = {normalize_name(port.name) for port in file.inputs}
    needed = [p.name for p in parameters if p.default is inspect.Parameter.empty]
    if len(needed) == len(parameters):
        return None
    kept = [p.name for p in parameters if p.name in needed or normalize_name(p.name) in named]
    # An exporter without names for the inputs keeps their order.
    first = [p.name for p in parameters[: len(file.inputs)]]
    likely = (needed, kept, first if set(needed) <= set(first) else [])
    return next((names for names in likely if len(names) == len(file.inputs)), None)


def _wrap_module_to_take_only_inputs(module: nn.Module, names: Sequence[str]) -> nn.Module:
    """Wrap a module so that it takes only the inputs with these names."""
    wrapped = ModuleWithSignature(lambda *tensors: module(**dict(zip(names, tensors, strict=True))), names)
    # Its layers are looked at.
    wrapped.inner = module
    return wrapped


def _make_call_with_only_inputs(function: Call, names: Sequence[str]) -> Call:
    return lambda module, tokens, lengths: function(_wrap_module_to_take_only_inputs(module, names), tokens, lengths)


def _takes_numbers_instead_of_ids(file: CheckedFile, table: nn.Embedding | None) -> bool:
    """Return whether a file takes rows of numbers in place of token ids, which the types and axes of its inputs show.
    If the types are not declared, `table`, the module's embedding, decides; it is None if there is no embedding."""
    kinds = [port.kind for port in file.inputs if port.axes is None or len(port.axes) > 1]
    if any(kind is None for kind in kinds):
        return table is None
    whole = any(np.dtype(kind).kind in "iu" for kind in kinds)
    # Keras writes ids as float32.
    return not whole and (table is None or any(port.axes is not None and len(port.axes) > 2 for port in file.inputs))


def _list_likely_id_counts(file: CheckedFile, module: nn.Module, stated_count: int | None) -> list[int]:
    """List the possible numbers of ids of an input, in ascending order. If the user stated a number, `stated_count`,
    they are this number and the numbers of rows of smaller embeddings of the module. Otherwise, they are the number of
    rows of the file's smallest embedding and those of larger embeddings of the module."""
    tables = _list_table_row_counts(module, stated_count)
    if stated_count is not None:
        return sorted({stated_count, *tables})
    # One-hot vectors are as long as a recurrent layer is wide.
    wide = next((layer.input_size for layer in module.modules() if isinstance(layer, nn.RNNBase)), _USUAL_IDS)
    of_file = [rows for port in file.inputs if (rows := count_table_rows(file, port.name)) is not None]
    least = min([*of_file, max(tables)] if tables else of_file, default=wide)
    return sorted({least, *(rows for rows in tables if rows > least)})


def _list_table_row_counts(module: nn.Module, below: int | None) -> list[int]:
    """List the numbers of rows of a module's embeddings. If `below` is not None, only smaller numbers are listed."""
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Embedding | nn.EmbeddingBag)]
    return [layer.num_embeddings for layer in layers if below is None or layer.num_embeddings < below]


def _raise_id_count_to_largest_that_runs(called: ModuleCall, id_counts: Sequence[int]) -> ModuleCall:
    """Return the call with the largest number of ids, among its own and those in `id_counts` (in ascending order), with
    which the module runs. A call on rows of numbers in place of ids is returned unchanged."""
    more = id_counts[:0:-1] if called.samples is None else ()
    largest = next((count for count in more if count > called.ids and can_take_ids_below(called, count)), called.ids)
    return replace(called, ids=largest)


def _list_likely_class_counts(file: CheckedFile, module: nn.Module) -> list[int]:
    """List how many numbers the module may give for a text or a token, the likeliest count first."""
    last = [port.axes[-1] for port in file.outputs if port.axes]
    layers = [layer.out_features for layer in module.modules() if isinstance(layer, nn.Linear)]
    return list(dict.fromkeys([*(size for size in last if isinstance(size, int)), *layers[-1:]]))


def _make_call_stated_by_owner(
    module: nn.Module, call: str | Call, ids: int, padding_id: int, channels: int | None
) -> ModuleCall:
    """Make the call that the user stated, with the sizes on which the module runs.

    Args:
        module: in float32 and eval mode, on the CPU.
        call: a line of Python, or a function of the module, tokens and lengths.
        ids: the number of ids.
        padding_id: the id that fills a row after its last token.
        channels: how many numbers a step has, for a module that takes random numbers; None for ids.

    Raises:
        UncallableModuleError: the module does not run with this call.
    """
    line = call.strip() if isinstance(call, str) else getattr(call, "__name__", "call")
    tables: list[Any] = [None]
    if channels is not None:
        tables = [make_sample_table(channels, kind=kind).rows for kind in (EVERYWHERE, NEAR, POSITIVE)]
        call = f"samples = x = tokens; {call}" if isinstance(call, str) else call
    function = compile_call(call) if isinstance(call, str) else call
    for rows in tables:
        looked_up = function if rows is None else _make_call_on_sample_rows(function, rows)
        count, unit = (ids, "tokens") if rows is None else (len(rows), "steps")
        made = ModuleCall(module, line, looked_up, count, padding_id, samples=rows, unit=unit)
        if (called := limit_call_to_running_sizes(made, SIZES)) is not None:
            ragged = any(
                can_run_on_size(called, *size, ragged=True) for size in called.sizes
            ) and _depends_on_lengths_argument(called)
            return replace(called, ragged=ragged)
    raise UncallableModuleError(f"The module raises an error on every tried input if it is called as {line}")


def _count_channels(file: CheckedFile) -> int:
    """Return how many numbers a step has by the declared axes of the file; 1 if the axes do not show this."""
    last = next((port.axes[-1] for port in file.inputs if port.axes and len(port.axes) > 2), 1)
    return last if isinstance(last, int) else 1


def _depends_on_lengths_argument(called: ModuleCall) -> bool:
    """Return whether a call uses the lengths that it is given. To find out, only the lengths are made shorter; the
    inputs of forward must then change."""
    for size in called.sizes:
        full = draw_case(called, *size, ragged=False)
        short = Case(full.name, full.tokens, draw_case(called, *size, ragged=True).lengths)
        if (full.lengths == short.lengths).all():
            continue
        calls = record_calls(called, (full, short))
        if calls is not None:
            return any(
                not np.array_equal(value, calls[1].inputs[name], equal_nan=value.dtype.kind == "f")
                for name, value in calls[0].inputs.items()
            )
    return False


def _make_call_on_sample_rows(function: Call, rows_of_ids: Any) -> Call:
    """Return a call that takes ids, and calls `function` with the row of `rows_of_ids` at the index of each id in place
    of the id."""
    table = torch.from_numpy(rows_of_ids)
    return lambda module, tokens, lengths: function(module, table[tokens], lengths)


# --- Forward with named parameters: TorchScript, or a file, is called as Python modules are ---


class ModuleWithSignature(nn.Module):
    """A module with named parameters that calls a function of tensors. It is needed because Python cannot read the
    parameters of TorchScript or of a file.

    Args:
        run: the function: a ScriptModule, or an object that runs a file.
        names: the names of its inputs.
    """

    def __init__(self, run: Any, names: Sequence[str]) -> None:
        super().__init__()
        self.run = run
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        if all(name.isidentifier() for name in names):
            # The intake reads this signature.
            vars(self)["forward"] = _make_function_with_named_parameters(
                run, [inspect.Parameter(name, kind) for name in names]
            )

    def forward(self, *tensors: Tensor) -> Any:
        """Call the wrapped function on the tensors, and return its result."""
        return self.run(*tensors)


def _make_function_with_named_parameters(run: Any, parameters: Sequence[inspect.Parameter]) -> Any:
    def forward(*args: Any, **kwargs: Any) -> Any:
        return run(*args, **kwargs)

    forward.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return forward
