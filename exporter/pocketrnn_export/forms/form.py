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
from pocketrnn_export.intake.module_preparation import ExportableModule

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OtherFile:
    """The entry of an additional file for other programs, which classifier.json does not describe."""

    file: str


@dataclass(frozen=True)
class Form:
    """A file of a classifier, such as an ONNX graph, and the functions that run it. The proof compares their answers
    with the module's.

    Attributes:
        entry: the form's entry in classifier.json, with the file's name and digest; or just the file's name.
        member: the member of classifier.json that holds the entry: `graph`, `torchscript` or `stream`; None if
            classifier.json does not describe the form.
        content: the file's bytes.
        runs: the ways to run it, by their names in the proof. Each is compared on all cases.
        one_row: whether a run takes one text only, so that each row of the cases is run alone.
        float64_run: makes the run in double precision; None if the form has none.
        retraced: traces the module in double precision, and otherwise as `content` was traced; see
            `prove_graph_in_double_precision`.
        bounds: the sizes (batch, sequence) around every size condition in forward.
        notes: the parts that were not compared with the module, a sentence each.
        program: the traced module, for the form that was made of it.
        required: whether the bundle is refused if the form cannot be proven; else it is left out with a warning.
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
        name: the form's name in messages.
        make: makes the form from the module or from the forms made before; raises ExportError where it cannot.
        check: refuses a module that cannot have the form before any work is done; raises InputError, ExportError or
            MissingExtraError.
        required: whether `export` fails if the form cannot be made or proven; else the form is left out with a
            warning.
    """

    name: str
    make: Callable[[ExportableModule, Description, Sequence[Form]], Form]
    check: Callable[[nn.Module, AnyTextRules], None] = lambda _module, _rules: None
    required: bool = True


def log_uncompared_parts_and_make_entry(forms: Iterable[Form], further_notes: Iterable[str] = ()) -> dict[str, str]:
    """Log the parts of the forms that were not compared with the module, and further notes. Return all of them as an
    entry of the bundle's provenance."""
    notes = dict.fromkeys([*(note for form in forms for note in form.notes), *further_notes])
    for note in notes:
        _log.warning("%s", note.removesuffix("."))
    return {"not_compared": " ".join(notes)} if notes else {}


def sha256(content: bytes) -> str:
    """Return the SHA-256 digest of a file, as classifier.json stores it."""
    return hashlib.sha256(content).hexdigest()
