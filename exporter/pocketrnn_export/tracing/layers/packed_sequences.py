"""Packed sequences in a trace. The `data` of a PackedSequence is the padded, time-major tensor, and its `batch_sizes`
are the lengths; see `recurrence.py`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import rnn as torch_rnn

from pocketrnn.errors import ExportError
from pocketrnn_export.torch_internals import replace_function_code, statically_known_true
from pocketrnn_export.tracing.python_semantics.traced_arrays import replace_largest_length_by_width, unwrap_arrays
from pocketrnn_export.tracing.session import find_current_export_session, find_current_session, mark_full_width
from pocketrnn_export.tracing.trace_operators import CUT_TO_LONGEST

# PyTorch's own functions, while their code is replaced.
_shipped: dict[str, Callable[..., Any]] = {}


@contextlib.contextmanager
def trace_packing() -> Iterator[None]:
    """While the block runs, `pack_padded_sequence` in a trace returns a PackedSequence that holds the padded tensor and
    its lengths."""
    with replace_function_code(torch_rnn.pack_padded_sequence, _pack_padded_sequence) as _shipped["pack"]:
        yield


@contextlib.contextmanager
def trace_unpacking() -> Iterator[None]:
    """While the block runs, `pad_packed_sequence` in a trace returns the padded tensor and the lengths that
    `trace_packing` keeps in a PackedSequence."""
    with replace_function_code(torch_rnn.pad_packed_sequence, _pad_packed_sequence) as _shipped["pad"]:
        yield


# The code of the next two functions runs with the globals of torch.nn.utils.rnn, so they import what they use.
def _pack_padded_sequence(input: Any, lengths: Any, batch_first: Any = False, enforce_sorted: Any = True) -> Any:  # noqa: A002
    from pocketrnn_export.tracing.layers.packed_sequences import _pack_padded_in_trace

    return _pack_padded_in_trace(input, lengths, batch_first, enforce_sorted)


def _pad_packed_sequence(
    sequence: Any, batch_first: Any = False, padding_value: Any = 0.0, total_length: Any = None
) -> Any:
    from pocketrnn_export.tracing.layers.packed_sequences import _unpack_in_trace

    return _unpack_in_trace(sequence, batch_first, padding_value, total_length)


def _pack_padded_in_trace(padded: Tensor, lengths: Tensor | list[int], batch_first: bool, enforce_sorted: bool) -> Any:
    """Replace `pack_padded_sequence` in a trace. Return a PackedSequence of the padded time-major tensor and the
    lengths."""
    lengths, session = unwrap_arrays(lengths), find_current_export_session()
    if session is None:
        return _shipped["pack"](padded, lengths, batch_first, enforce_sorted)
    if isinstance(lengths, list | tuple):
        lengths = _convert_traced_lengths_to_tensor(lengths, padded.shape[0 if batch_first else 1])
    if not isinstance(lengths, Tensor):
        raise ExportError(
            "The module packs by a Python list of lengths: a graph would use the lengths of one batch for all batches.",
            "Pass the lengths to pack_padded_sequence as a tensor.",
        )
    data = padded.transpose(0, 1) if batch_first else padded
    # Nothing is sorted: the rows keep their order.
    order = None if enforce_sorted else torch.arange(data.shape[1], device=data.device)
    lengths = lengths.to(torch.int64)
    # The largest of the batch sizes is the number of rows, and these may be asked for it.
    sizes = lengths.clone()
    session.facts.note(sizes, lengths="batch sizes", width=data.shape[1], packed_by=lengths)
    return torch_rnn.PackedSequence(data, sizes, order, order)


def read_packed_lengths(sequence: torch_rnn.PackedSequence) -> Tensor:
    """Return the lengths of a sequence that is packed in a trace."""
    session, sizes = find_current_session(), sequence.batch_sizes
    packed_by: Tensor | None = None if session is None else session.facts.find_fact(sizes).packed_by
    return sizes if packed_by is None else packed_by


def _convert_traced_lengths_to_tensor(lengths: Any, batch_size: Any) -> Any:
    """Return a list of traced lengths as a tensor. Return other lists unchanged."""
    if not lengths or not all(isinstance(n, Tensor | torch.SymInt) for n in lengths):
        return lengths
    if isinstance(batch_size, torch.SymInt) and all(
        isinstance(n, torch.SymInt) and statically_known_true(n == lengths[0]) for n in lengths
    ):
        # One number for every row: [x.size(1) for _ in range(x.size(0))], whose loop ran only a few iterations.
        return mark_full_width(torch.full((batch_size,), lengths[0], dtype=torch.int64))
    longest = [isinstance(n, torch.SymInt) or replace_largest_length_by_width(n) is not n for n in lengths]
    tensor = torch.stack([n if isinstance(n, Tensor) else torch.full((), n, dtype=torch.int64) for n in lengths])
    return mark_full_width(tensor) if any(longest) else tensor


def _unpack_in_trace(
    sequence: torch_rnn.PackedSequence, batch_first: bool, padding_value: float, total_length: int | None
) -> tuple[Tensor, Tensor]:
    """Replace `pad_packed_sequence` in a trace. Return the padded tensor and the lengths.

    PyTorch pads to the longest length. That is the width of the padded tensor that was packed, since a graph requires
    that `sequence` is the longest of `lengths`. Lengths that the module counts from the tokens, or clamps, may all be
    shorter; then the tensor is cut.
    """
    session = find_current_export_session()
    if session is None:
        padded: tuple[Tensor, Tensor] = _shipped["pad"](sequence, batch_first, padding_value, total_length)
        return padded
    data, lengths = sequence.data, read_packed_lengths(sequence)
    if total_length is None:
        whole, data = data, cut_to_longest(data, lengths)
        if data is not whole and session.facts.find_fact(whole).zero_past_end:
            session.facts.note(data, zero_past_end=True)
    if padding_value != 0.0 or not session.facts.find_fact(data).zero_past_end:
        steps = torch.arange(data.shape[0], device=data.device)
        real = steps.unsqueeze(1) < lengths.unsqueeze(0)
        real = real.reshape(*real.shape, *[1] * (data.dim() - 2))
        data = torch.where(real, data, torch.full((), padding_value, dtype=data.dtype))
    if total_length is not None:
        missing = total_length - data.shape[0]
        if missing < 0:
            # As PyTorch does. The condition limits the number of tokens of a graph.
            raise ValueError("Expected total_length to be at least the length of the longest sequence in input")
        data = nn.functional.pad(data, (0, 0) * (data.dim() - 1) + (0, missing), value=padding_value)
    return (data.transpose(0, 1) if batch_first else data), lengths


def cut_to_longest(x: Tensor, lengths: Tensor) -> Tensor:
    """In a trace, cut x [sequence, batch, ...] to the largest of the lengths that the module packs by, as PyTorch does.

    The longest of the lengths that a module is given is the whole width, so nothing is cut. Lengths that it counts from
    the tokens, or clamps, may all be shorter.
    """
    session = find_current_export_session()
    if session is None or session.facts.find_fact(lengths).whole:
        return x
    session.log.counted_lengths = True
    return CUT_TO_LONGEST(x, lengths) if session.cut_counted else x
