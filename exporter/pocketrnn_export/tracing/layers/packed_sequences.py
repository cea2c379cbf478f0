"""Packing as it is traced: a PackedSequence carries the padded, time-major tensor as its `data` and the lengths as its
`batch_sizes` (see `recurrence.py`)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import rnn as torch_rnn

from pocketrnn.errors import ExportError
from pocketrnn_export.torch_internals import code_exchanged, statically_known_true
from pocketrnn_export.tracing.python_semantics.arrays import number_of, unwrapped
from pocketrnn_export.tracing.session import TraceSession, current, given_whole
from pocketrnn_export.tracing.trace_operators import CUT_TO_LONGEST

__all__ = ["following", "packing_traced", "unpacking_traced"]

# PyTorch's own functions, while their code is exchanged.
_shipped: dict[str, Callable[..., Any]] = {}


@contextlib.contextmanager
def packing_traced() -> Iterator[None]:
    """While the block runs, `pack_padded_sequence` is `_packed`."""
    with code_exchanged(torch_rnn.pack_padded_sequence, _pack_padded_sequence) as _shipped["pack"]:
        yield


@contextlib.contextmanager
def unpacking_traced() -> Iterator[None]:
    """While the block runs, `pad_packed_sequence` is `_unpacked`."""
    with code_exchanged(torch_rnn.pad_packed_sequence, _pad_packed_sequence) as _shipped["pad"]:
        yield


# The code of the next two runs with torch.nn.utils.rnn's globals, so that they can only name what they import.
def _pack_padded_sequence(input: Any, lengths: Any, batch_first: Any = False, enforce_sorted: Any = True) -> Any:  # noqa: A002
    from pocketrnn_export.tracing.layers.packed_sequences import _packed

    return _packed(input, lengths, batch_first, enforce_sorted)


def _pad_packed_sequence(
    sequence: Any, batch_first: Any = False, padding_value: Any = 0.0, total_length: Any = None
) -> Any:
    from pocketrnn_export.tracing.layers.packed_sequences import _unpacked

    return _unpacked(sequence, batch_first, padding_value, total_length)


def _packed(padded: Tensor, lengths: Tensor | list[int], batch_first: bool, enforce_sorted: bool) -> Any:
    """`pack_padded_sequence` while tracing: the time-major padded tensor and its lengths, as a PackedSequence."""
    lengths = unwrapped(lengths)
    if following() is None:
        return _shipped["pack"](padded, lengths, batch_first, enforce_sorted)
    if isinstance(lengths, list | tuple):
        lengths = _of_numbers(lengths, padded.shape[0 if batch_first else 1])
    if not isinstance(lengths, Tensor):
        raise ExportError(
            "The module packs by lengths that are a Python list, which a traced graph would freeze.",
            "Pass the tensor of lengths itself to pack_padded_sequence.",
        )
    data = padded.transpose(0, 1) if batch_first else padded
    # Nothing is sorted: the order of the rows is the order given.
    order = None if enforce_sorted else torch.arange(data.shape[1], device=data.device)
    return torch_rnn.PackedSequence(data, lengths.to(torch.int64), order, order)


def _of_numbers(lengths: Any, rows: Any) -> Any:
    """A list of lengths that are traced, as where one text a run is listed: a tensor. Any other list is given back."""
    if not lengths or not all(isinstance(n, Tensor | torch.SymInt) for n in lengths):
        return lengths
    if isinstance(rows, torch.SymInt) and all(
        isinstance(n, torch.SymInt) and statically_known_true(n == lengths[0]) for n in lengths
    ):
        # One number for every row: [x.size(1) for _ in range(x.size(0))], whose loop ran a few turns.
        return given_whole(torch.full((rows,), lengths[0], dtype=torch.int64))
    longest = [isinstance(n, torch.SymInt) or number_of(n) is not n for n in lengths]
    tensor = torch.stack([n if isinstance(n, Tensor) else torch.full((), n, dtype=torch.int64) for n in lengths])
    return given_whole(tensor) if any(longest) else tensor


def _unpacked(
    sequence: torch_rnn.PackedSequence, batch_first: bool, padding_value: float, total_length: int | None
) -> tuple[Tensor, Tensor]:
    """`pad_packed_sequence` while tracing.

    PyTorch gives the width of the longest length. That is the width of the padded tensor that was packed, for a graph
    that is run as its contract says: `sequence` is the longest of `lengths`. Lengths that the module counts from the
    tokens, or clamps, may all be shorter; then the tensor is cut.
    """
    session = following()
    if session is None:
        padded: tuple[Tensor, Tensor] = _shipped["pad"](sequence, batch_first, padding_value, total_length)
        return padded
    data, lengths = sequence.data, sequence.batch_sizes
    if total_length is None:
        whole, data = data, cut_to_longest(data, lengths)
        if data is not whole and session.facts.of(whole).zero_past_end:
            session.facts.note(data, zero_past_end=True)
    if padding_value != 0.0 or not session.facts.of(data).zero_past_end:
        steps = torch.arange(data.shape[0], device=data.device)
        real = steps.unsqueeze(1) < lengths.unsqueeze(0)
        real = real.reshape(*real.shape, *[1] * (data.dim() - 2))
        data = torch.where(real, data, torch.full((), padding_value, dtype=data.dtype))
    if total_length is not None:
        missing = total_length - data.shape[0]
        data = nn.functional.pad(data, (0, 0) * (data.dim() - 1) + (0, missing), value=padding_value)
    return (data.transpose(0, 1) if batch_first else data), lengths


def cut_to_longest(x: Tensor, lengths: Tensor) -> Tensor:
    """While tracing, x [sequence, batch, ...] up to the longest of the lengths that a module packs by, as PyTorch cuts.

    The lengths that a module is given have the whole width for their longest, so that nothing is to be cut. Those that
    it counts from the tokens, or clamps, may all be shorter.
    """
    session = following()
    if session is None or session.facts.of(lengths).whole:
        return x
    session.log.counted_lengths = True
    return CUT_TO_LONGEST(x, lengths) if session.cut_counted else x


def following() -> TraceSession | None:
    """The session for torch.export of this thread; in a trace for TorchScript, PyTorch's own layers run."""
    session = current()
    return None if session is None or session.scripted else session
