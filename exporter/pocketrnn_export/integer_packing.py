"""Packing with products of integers: the programs of integers, and what is said of them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Final

from pocketrnn.bundle.manifest import INTEGERS, Comparison, Manifest, Parity
from pocketrnn.bundle.packed_file import PackedProgram
from pocketrnn.errors import InputError
from pocketrnn.verdicts import IntegerVerdict
from pocketrnn_export.comparing.cases import Case, Run
from pocketrnn_export.comparing.comparing import LEAST_TOLERANCE, Compared, Reference
from pocketrnn_export.forms.packed_file.integer_program import IntegerForm, with_integers
from pocketrnn_export.forms.packed_file.packed_program import Program
from pocketrnn_export.labels_given import compared_by_labels
from pocketrnn_export.proof.reference_answers import ReferenceAnswers

__all__ = [
    "Programs",
    "changed_by_integers_on",
    "finished",
    "integer_programs",
    "integer_tolerance",
    "measured",
    "most_of",
    "not_measured",
    "turns_of",
    "written",
]

# The program of a whole text or sequence, and that of a step where there is one; not finished yet.
Programs = tuple[Program, Program | None]
# That a file computes with integers, before it is known what that changes.
_NOT_MEASURED: Final = Comparison("packed", INTEGERS, "nothing yet", 1, 1, 0.0, 0)


def finished(programs: Programs) -> PackedProgram:
    """The programs as sections; they stay as they are, to be made otherwise too."""
    whole, step = deepcopy(programs)
    return whole.finished(step)


def turns_of(programs: Programs) -> frozenset[int]:
    """Numbers of tokens, or of steps, beside which two sizes of the graphs change their order; the proof asks them.

    Example:
        >>> sorted(turns_of((program, None)))
        [619, 620, 621, 622]
    """
    return frozenset().union(*(program.turns for program in programs if program is not None))


def most_of(programs: Programs) -> int | None:
    """The most tokens, or steps, of which no whole number of the programs has more than the engine's 32 bits; None
    where that is so of all that the graph takes.

    Example:
        >>> most_of((program, None))
        65535
    """
    return min((program.most for program in programs if program is not None and program.most), default=None)


@contextmanager
def written(content: bytes) -> Iterator[Path]:
    """A packed file for as long as it is compared."""
    with tempfile.TemporaryDirectory(prefix="pocketrnn.") as folder:
        file = Path(folder) / "packed.prnn"
        file.write_bytes(content)
        yield file


def integer_programs(programs: Programs, name: str) -> tuple[IntegerForm, PackedProgram]:
    """The programs with products of integers: what became of the first, and the sections of both.

    Args:
        programs: in float32.
        name: the classifier's, for the message.

    Raises:
        InputError: nothing of the program has an integer form.
    """
    whole, step = programs
    form = with_integers(whole)
    if not form.matrices:
        raise InputError(
            f"Nothing of {name} has an integer form: it has no LSTM, GRU or tanh layer, and no linear layer of some "
            "size for every token.",
            "Pack it in float32.",
        )
    return form, finished((form.program, None if step is None else with_integers(step).program))


def measured(
    made: Manifest,
    before: Parity,
    lines: Iterable[Comparison],
    apart: float,
    form: IntegerForm,
    verdict: IntegerVerdict,
) -> Manifest:
    """The manifest of a file of integers once it is measured.

    Args:
        made: its manifest before, with the proof of float32 in `before`.
        before: that proof, which stays part of the new one.
        lines: the comparisons since: its integers, how much they change, and the ways to open it.
        apart: how far its answers may be from each other.
        form: how the program was changed.
        verdict: how much integers change the answers.
    """
    stated = {
        "matrices": form.matrices,
        "tables": form.tables,
        "float32": list(form.left),
        "measured": verdict.document,
    }
    parity = replace(before, tolerance=max(apart, before.tolerance), comparisons=(*before.comparisons, *lines))
    packed = {**made.provenance["packed"], "int8": stated}
    return replace(made, parity=parity, provenance={**made.provenance, "packed": packed})


def not_measured(parity: Parity) -> Parity:
    """A proof of float32 for a file of integers that is still to be measured. Without its line the file would be
    refused: nothing may show it as proven equal."""
    return replace(parity, comparisons=(*parity.comparisons, _NOT_MEASURED))


def changed_by_integers_on(
    made: Manifest, cases: Mapping[str, Sequence[Case]], before: Run, after: Run
) -> list[Compared]:
    """How much integers change the answers to the cases of the proof, a line for each kind of inputs."""
    answers = ReferenceAnswers(Reference("packed", before), cases, rows_alone=True)
    lines = []
    for inputs in answers.kinds:
        asked, expected = zip(*answers.of(inputs, one_row=True), strict=True)
        lines.append(compared_by_labels(made, INTEGERS, after, asked, expected, inputs=inputs, reference="packed"))
    return lines


def integer_tolerance(changed: Iterable[Compared]) -> float:
    """How far answers of integers may be from each other.

    Where a state lies between two integers, the last digit of an activation decides: another processor may take the
    other one. A few such differences change an answer by less than all roundings together change it, so the change on
    texts is the bound. Drawn inputs are not used: the change was 8.8 on one of 5,254, which on a golden example would
    be another answer.
    """
    return max(LEAST_TOLERANCE, *(one.line.largest_difference for one in changed if one.line.inputs == "texts"))
