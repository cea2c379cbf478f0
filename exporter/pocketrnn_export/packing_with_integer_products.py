"""Pack a bundle with integer products: make the integer programs, and the manifest of the file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Final

from pocketrnn.bundle.manifest import INTEGERS, Comparison, Manifest, Parity
from pocketrnn.bundle.packed_file import PackedProgram
from pocketrnn.errors import InputError
from pocketrnn.verdicts import IntegerVerdict
from pocketrnn_export.comparing.logit_comparison import LEAST_TOLERANCE, CandidateComparison, Reference
from pocketrnn_export.comparing.proof_inputs import Case, Run
from pocketrnn_export.forms.packed_file.conversion_to_integer_products import (
    IntegerForm,
    convert_products_to_integers,
)
from pocketrnn_export.forms.packed_file.program import Program
from pocketrnn_export.predicted_labels_and_data_labels import compare_answers_and_labels
from pocketrnn_export.proof.reference_answers_on_demand import ReferenceAnswers

# The program of a whole text or sequence, and that of a step where there is one; not finished yet.
Programs = tuple[Program, Program | None]
# The line of the proof of a file with integers, before their effect is measured.
NOT_MEASURED: Final = Comparison("packed", INTEGERS, "nothing yet", 1, 1, 0.0, 0)


def encode_program_sections(programs: Programs) -> PackedProgram:
    """Encode the programs of a packed file, for whole texts and for one step, as sections of the file. The programs
    themselves are not changed."""
    whole, step = deepcopy(programs)
    return whole.encode_sections(step)


def make_integer_programs(programs: Programs, name: str) -> tuple[IntegerForm, PackedProgram]:
    """Convert the programs of a packed file so that their layers multiply integers. Return the integer form of the
    program for whole texts, and the sections of the file with both programs.

    Raises:
        InputError: no weights of the program have an integer form.
    """
    whole, step = programs
    form = convert_products_to_integers(whole)
    if not form.matrices:
        raise InputError(
            f"{name} has no weights that can be multiplied as integers. Only those of LSTM, GRU and tanh layers "
            "can, and those of large linear layers that run on every token.",
            "Pack it in float32: leave out `--arithmetic`.",
        )
    return form, encode_program_sections(
        (form.program, None if step is None else convert_products_to_integers(step).program)
    )


def add_integer_measurement(
    manifest: Manifest,
    float32_proof: Parity,
    comparisons: Iterable[Comparison],
    tolerance: float,
    form: IntegerForm,
    verdict: IntegerVerdict,
) -> Manifest:
    """Return a packed file's manifest with the proof and the measured effect of its integer arithmetic.

    Args:
        manifest: the manifest of the float32 file.
        float32_proof: the proof of the float32 file, which stays part of the new one.
        comparisons: the comparisons to add to that proof: of the integers, of their effect, and of the ways to open the
            file.
        tolerance: how much two answers of the file may differ.
        form: the integer program.
        verdict: how much integers change the answers.
    """
    stated = {
        "matrices": form.matrices,
        "tables": form.tables,
        "float32": list(form.left),
        "measured": verdict.document,
    }
    parity = replace(
        float32_proof,
        tolerance=max(tolerance, float32_proof.tolerance),
        comparisons=(*float32_proof.comparisons, *comparisons),
    )
    packed = {**manifest.provenance["packed"], "int8": stated}
    return replace(manifest, parity=parity, provenance={**manifest.provenance, "packed": packed})


def compare_integer_answers(
    made: Manifest, cases: Mapping[str, Sequence[Case]], float32_run: Run, integer_run: Run
) -> list[CandidateComparison]:
    """Compare the answers of a packed file in integer arithmetic with those in float32, on the cases of the proof.
    Return a line of the proof for each kind of inputs. `made` is the manifest of the packed file."""
    answers = ReferenceAnswers(Reference("packed", float32_run), cases, rows_alone=True)
    lines = []
    for inputs in answers.kinds:
        asked, expected = zip(*answers.compute_answers(inputs, one_row=True), strict=True)
        lines.append(
            compare_answers_and_labels(made, INTEGERS, integer_run, asked, expected, inputs=inputs, reference="packed")
        )
    return lines


def compute_integer_tolerance(changed: Iterable[CandidateComparison]) -> float:
    """Return how much two answers of the same packed file with integer arithmetic may differ between two processors:
    the largest change that integers make to an answer to a text of the proof.

    If a state is halfway between two integers, another processor may round it to the other integer. A few such
    differences change an answer by less than all roundings together, so the bound is the change that integers make on
    texts. Random inputs are not used for it, since one of 5,254 changed by 8.8.
    """
    return max(LEAST_TOLERANCE, *(one.line.largest_difference for one in changed if one.line.inputs == "texts"))
