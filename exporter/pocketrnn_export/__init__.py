"""Export recurrent text classifiers from PyTorch to bundles, proven equal.

The names below are imported on first use, so that the command line can list its commands without PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pocketrnn.errors import require_module

if TYPE_CHECKING:
    from pocketrnn.verification import verify
    from pocketrnn_export.bundle_export import export
    from pocketrnn_export.checking.check import check, check_files
    from pocketrnn_export.checking.verdict import Verdict
    from pocketrnn_export.checkpoint_export import export_trained
    from pocketrnn_export.vocabularies.subword_tokenizer_files import read_tokenizer

__all__ = ["Verdict", "check", "check_files", "export", "export_trained", "read_tokenizer", "verify"]

_HOMES = {
    "Verdict": "pocketrnn_export.checking.verdict",
    "check": "pocketrnn_export.checking.check",
    "check_files": "pocketrnn_export.checking.check",
    "export": "pocketrnn_export.bundle_export",
    "export_trained": "pocketrnn_export.checkpoint_export",
    "read_tokenizer": "pocketrnn_export.vocabularies.subword_tokenizer_files",
    "verify": "pocketrnn.verification",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    for package in ("torch", "onnx", "onnxscript"):
        require_module(package, "export")
    return getattr(require_module(_HOMES[name], "export"), name)
