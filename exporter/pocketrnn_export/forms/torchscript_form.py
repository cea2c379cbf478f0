"""The TorchScript form of a module: a trace that does not depend on the sizes of its example."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

from pocketrnn.bundle.manifest import Graph, Limits, TorchScript
from pocketrnn.errors import ExportError, InputError, first_line
from pocketrnn.text import AnyTextRules
from pocketrnn_export.bundle_description import Description
from pocketrnn_export.comparing.module_and_graph_as_functions import make_module_run
from pocketrnn_export.forms.form import Form, FormKind, sha256
from pocketrnn_export.intake.module_copy_with_call_and_logits import ExportableModule
from pocketrnn_export.intake.torchscript_saving_and_loading import ignore_warnings, load_from_bytes, save_to_bytes
from pocketrnn_export.proof.fresh_copies_and_random_inputs import resize_example
from pocketrnn_export.tracing.module_trace import make_torchscript_session
from pocketrnn_export.tracing.sizes.size_conditions import Sizes

TORCHSCRIPT_FILE: Final = "model.torchscript.pt"
# The sizes of two further traces, beside 3 texts of 7 tokens.
_OTHER_SIZES: Final = (Sizes(2, 11), Sizes(2, 701))
# The processor time for traces at the sizes around what forward asks, and the most tokens of one.
_SECONDS: Final = 2.0
_MOST_TOKENS: Final = 4_096


def _refuse_python_without_torchscript(_module: nn.Module, _rules: AnyTextRules) -> None:
    if sys.version_info >= (3, 14):
        raise InputError(
            "TorchScript does not support Python 3.14, so a TorchScript file cannot be written.",
            "Export without the TorchScript file: --no-torchscript, or torchscript=False in Python.",
        )


def _make_torchscript_form(prepared: ExportableModule, _description: Description, forms: Sequence[Form]) -> Form:
    """Trace the module by TorchScript. Return the trace as a form, a file with the functions that run it in the proof.
    Raise an ExportError if traces at other sizes differ from it."""
    content, script = trace_torchscript(prepared.module_to_script, prepared.example)
    _refuse_frozen_sizes(prepared, script, forms)
    return Form(
        entry=TorchScript(TORCHSCRIPT_FILE, sha256(content)),
        member="torchscript",
        content=content,
        runs={"torchscript": make_module_run(script, takes_lengths=prepared.takes_lengths)},
        one_row=prepared.one_text,
    )


TORCHSCRIPT: Final = FormKind("TorchScript", _make_torchscript_form, _refuse_python_without_torchscript)


def trace_torchscript(module: nn.Module, example: tuple[Tensor, ...]) -> tuple[bytes, torch.jit.ScriptModule]:
    """Trace a module by TorchScript. Return the bytes of the TorchScript file, and the module that was loaded from
    these bytes.

    Args:
        module: in eval mode, on the CPU.
        example: the inputs for the trace: (tokens,) or (tokens, lengths), with the longest text first.

    Raises:
        ExportError: the module cannot be traced.
    """
    with ignore_warnings(), torch.no_grad():
        try:
            # torch's own check would run the module again on one shape; the proof runs it on all shapes.
            with make_torchscript_session(module):
                script = torch.jit.trace(module, example, check_trace=False)  # type: ignore[no-untyped-call]
            content = save_to_bytes(script)
            return content, load_from_bytes(content)
        # Tracing fails with errors of many classes, among them the module's own, and sys.exit in it.
        except (Exception, SystemExit) as error:
            raise ExportError(
                f"TorchScript cannot trace the module: {first_line(error)}.",
                "Export without the TorchScript file: --no-torchscript, or torchscript=False in Python.",
            ) from error


def _refuse_frozen_sizes(prepared: ExportableModule, script: torch.jit.ScriptModule, forms: Sequence[Form]) -> None:
    """Trace the module again at other sizes, and raise an ExportError if a trace differs from `script`. One of the
    traces then contains a number, or one branch of a condition, that is right only for the sizes of its example.

    The cases of the proof may miss such a number if few texts need it: `torch.where(has_phrase, h * math.log(n), h)`.
    After `_SECONDS`, no further sizes are traced.
    """
    expected = list(_read_operations(script.inlined_graph))
    started = time.process_time()
    for sizes in dict.fromkeys(_yield_sizes_of_further_traces(forms)):
        if time.process_time() - started > _SECONDS:
            return
        example = resize_example(prepared.example, sizes)
        _, other = trace_torchscript(prepared.module_to_script, example)
        if list(_read_operations(other.inlined_graph)) != expected:
            raise ExportError(
                f"The TorchScript file would be wrong for some sizes: a trace of {len(example[0])} texts of "
                f"{sizes.tokens} tokens has other operations or constants than a trace of 3 texts of 7 tokens.",
                "Export without the TorchScript file: --no-torchscript, or torchscript=False in Python.",
            )


def _yield_sizes_of_further_traces(forms: Sequence[Form]) -> Iterator[Sizes]:
    """Yield sizes (texts, tokens) for further traces: sizes that are far from each other, and sizes near those that a
    condition in forward asks about."""
    graphs = [form.entry for form in forms if isinstance(form.entry, Graph)]
    limits = (graphs[0].limits if graphs else None) or Limits()
    least, most = limits.min_tokens or 1, limits.max_tokens or _MOST_TOKENS
    bounds = [Sizes(batch, tokens) for form in forms for batch, tokens in form.bounds]
    for sizes in (*_OTHER_SIZES, *bounds):
        batch = min(sizes.batch, limits.max_batch or sizes.batch)
        tokens = min(max(sizes.tokens, least), most)
        if batch * tokens <= _MOST_TOKENS:
            yield Sizes(batch, tokens)


def _read_operations(block: Any, value_numbers: dict[int, int] | None = None) -> Iterator[tuple[Any, ...]]:
    """Yield each operation of a TorchScript graph as a tuple (its kind, its inputs, its constants), without shapes. Two
    traces with equal tuples compute the same.

    Args:
        block: a TorchScript graph, or a block inside it.
        value_numbers: the numbers that stand for the graph's values in the tuples so far, by the values' ids; None at
            the start.
    """
    value_numbers = {} if value_numbers is None else value_numbers
    for value in block.inputs():
        value_numbers[value.unique()] = len(value_numbers)
    for node in block.nodes():
        read = tuple(value_numbers[value.unique()] for value in node.inputs())
        constants = tuple((name, _read_constant(node, name)) for name in node.attributeNames())
        yield node.kind(), read, constants
        for inner in node.blocks():
            yield from _read_operations(inner, value_numbers)
        for value in node.outputs():
            value_numbers[value.unique()] = len(value_numbers)
    yield tuple(value_numbers[value.unique()] for value in block.outputs())


def _read_constant(node: Any, name: str) -> Any:
    value = getattr(node, node.kindOf(name))(name)
    return (value.dtype, value.shape, value.flatten().tolist()) if isinstance(value, Tensor) else repr(value)
