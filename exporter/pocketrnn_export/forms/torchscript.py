"""The TorchScript copy of a module."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn

from pocketrnn.bundle.manifest import TorchScript
from pocketrnn.errors import ExportError, InputError, first_line
from pocketrnn.text import AnyTextRules
from pocketrnn_export.comparing.logit_comparison import make_module_run
from pocketrnn_export.description import Description
from pocketrnn_export.forms.form import Form, FormKind, sha256
from pocketrnn_export.intake.module_preparation import ExportableModule
from pocketrnn_export.intake.torchscript_file import ignore_warnings, load_from_bytes, save_to_bytes
from pocketrnn_export.tracing.trace import make_script_session

__all__ = ["TORCHSCRIPT", "TORCHSCRIPT_FILE", "trace_torchscript"]

TORCHSCRIPT_FILE: Final = "model.torchscript.pt"


def _check_python_version(_module: nn.Module, _rules: AnyTextRules) -> None:
    if sys.version_info >= (3, 14):
        raise InputError(
            "TorchScript does not support Python 3.14.", "Export without it: --no-torchscript, or torchscript=False."
        )


def _make_torchscript_form(prepared: ExportableModule, _description: Description, _forms: Sequence[Form]) -> Form:
    content, script = trace_torchscript(prepared.module_to_script, prepared.example)
    return Form(
        entry=TorchScript(TORCHSCRIPT_FILE, sha256(content)),
        member="torchscript",
        content=content,
        runs={"torchscript": make_module_run(script, takes_lengths=prepared.takes_lengths)},
        one_row=prepared.one_text,
    )


TORCHSCRIPT: Final = FormKind("TorchScript", _make_torchscript_form, _check_python_version)


def trace_torchscript(module: nn.Module, example: tuple[Tensor, ...]) -> tuple[bytes, torch.jit.ScriptModule]:
    """Trace a module, packing and all, and read it back from the bytes of its file.

    Args:
        module: in eval mode, on the CPU.
        example: (tokens,) or (tokens, lengths); rows by falling length, for modules that pack only such rows.

    Returns:
        the file's bytes, and the module read back from them.

    Raises:
        ExportError: the module cannot be traced.
    """
    with ignore_warnings(), torch.no_grad():
        try:
            # torch's own check would run the module again on one shape; the proof runs it on all shapes.
            with make_script_session(module):
                script = torch.jit.trace(module, example, check_trace=False)  # type: ignore[no-untyped-call]
            content = save_to_bytes(script)
            return content, load_from_bytes(content)
        # Tracing fails with errors of many classes, among them the module's own, and sys.exit in it.
        except (Exception, SystemExit) as error:
            raise ExportError(
                f"TorchScript cannot trace the module: {first_line(error)}.",
                "Export without the TorchScript file: --no-torchscript, or torchscript=False.",
            ) from error
