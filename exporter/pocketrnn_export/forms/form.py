"""A form of a classifier: a file, the ways to run the file for the proof, and the file's entry in classifier.json."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import nn
from torch.export import ExportedProgram

from pocketrnn.bundle.manifest import Graph, StepGraph, TorchScript
from pocketrnn.text import AnyTextRules
from pocketrnn_export.bundle_description import Description
from pocketrnn_export.comparing.proof_inputs import Run, Run64
from pocketrnn_export.intake.module_copy_with_call_and_logits import ExportableModule

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OtherFile:
    """The name of an additional file for other programs. It is used in place of an entry, since classifier.json does
    not describe the file."""

    file: str


@dataclass(frozen=True)
class Form:
    """A file of a classifier, such as an ONNX graph, and the functions that run it. The proof compares their answers
    with the module's.

    Attributes:
        entry: the file's entry in classifier.json, with its name and digest; an `OtherFile` if the file has no entry.
        member: the member of classifier.json that holds the entry: `graph`, `torchscript` or `stream`; None if the file
            has no entry.
        content: the file's bytes.
        runs: the functions that run the file, by their names in the proof. Each one is compared with the module on all
            cases.
        one_row: whether a run takes only one text at a time, so that each row of a case is run alone.
        float64_run: makes a function that runs the file in double precision; None if this is impossible.
        retraced: converts the module to double precision and traces it again, with the same branches as the trace that
            made `content`; returns the bytes of the new file. None if the form has no such trace.
        bounds: the sizes (batch, sequence) just below, at and above each size that a condition in forward compares
            with.
        notes: sentences that name the parts that were not compared with the module.
        program: the traced module, if the file was made from it; else None.
        required: whether a bundle is refused if this form cannot be proven. If not, the form is left out with a
            warning.
    """

    entry: Graph | TorchScript | StepGraph | OtherFile
    member: str | None
    content: bytes = field(repr=False)
    runs: Mapping[str, Run]
    one_row: bool = False
    float64_run: Callable[[], Run64] | None = field(default=None, repr=False)
    retraced: Callable[[], bytes] | None = field(default=None, repr=False)
    bounds: tuple[tuple[int, int], ...] = ()
    notes: tuple[str, ...] = ()
    program: ExportedProgram | None = field(default=None, repr=False)
    required: bool = True

    @property
    def file(self) -> str:
        """The name of the form's file in the bundle's folder."""
        return self.entry.file


@dataclass(frozen=True)
class FormKind:
    """A kind of form, such as a step graph: how `export` makes a form of this kind, and whether an export fails without
    it.

    Attributes:
        name: the name of the kind in messages.
        make: makes the form from the module, the description and the earlier forms; raises an ExportError if it cannot.
        check: is called before any work is done, with the module and the text rules; raises an InputError, ExportError
            or MissingExtraError if they cannot have the form.
        required: whether `export` fails if the form cannot be made or proven. If not, the form is left out with a
            warning.
    """

    name: str
    make: Callable[[ExportableModule, Description, Sequence[Form]], Form]
    check: Callable[[nn.Module, AnyTextRules], None] = lambda _module, _rules: None
    required: bool = True


def log_uncompared_parts_and_make_provenance_entry(
    forms: Iterable[Form], further_notes: Iterable[str] = ()
) -> dict[str, str]:
    """Log a warning for each part of the forms that was not compared with the module, and for each of the further
    notes. Return the entry for the bundle's provenance: {"not_compared": all these sentences}, or {} if there are
    none."""
    notes = dict.fromkeys([*(note for form in forms for note in form.notes), *further_notes])
    for note in notes:
        _log.warning("%s", note.removesuffix("."))
    return {"not_compared": " ".join(notes)} if notes else {}


def sha256(content: bytes) -> str:
    """Return the SHA-256 digest of a file's bytes in hexadecimal, as classifier.json stores it."""
    return hashlib.sha256(content).hexdigest()
