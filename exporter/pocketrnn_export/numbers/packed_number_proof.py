"""Prove a packed file of a classifier of numbers: make the cases, and compare the engine's scaling with Python's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from pocketrnn.bundle.manifest import Comparison, Manifest
from pocketrnn.engines.native import import_native_module
from pocketrnn.errors import ParityError
from pocketrnn.numbers.number_input import NumberInput
from pocketrnn_export.comparing.logit_comparison import Reference, make_graph_reference
from pocketrnn_export.comparing.proof_inputs import Case
from pocketrnn_export.numbers.number_export import (
    drop_constant_sequences_if_answers_are_unstable,
    make_text_rules_for_proof,
)
from pocketrnn_export.numbers.table_of_proof_samples import (
    EVERYWHERE,
    NEAR,
    POSITIVE,
    Samples,
    SampleTable,
    make_sample_table,
)
from pocketrnn_export.proof.case_selection import choose_cases_for_graph_of_bundle

# The proof's name for the graph that takes samples.
_GRAPH: Final = "onnx on samples"
_NATIVE_TYPES: Final = {"f8": "FLOAT64", "f4": "FLOAT32", "i2": "INT16", "i4": "INT32"}


class NumberProofPlan(NamedTuple):
    """What the proof of a packed file that takes samples needs. In the proof, ids stand for rows of numbers.

    Attributes:
        reference: the bundle's graph, called with ids.
        cases: the inputs of the proof by kind. The cases of the kind `texts` are the bundle's golden examples.
        rows: float32 [ids, channels], the row of numbers that each id stands for, drawn as in the bundle's own proof.
    """

    reference: Reference
    cases: dict[str, Sequence[Case]]
    rows: Samples


def make_proof_plan_for_packed_numbers(
    manifest: Manifest, content: bytes, further_tokens: frozenset[int]
) -> NumberProofPlan:
    """Make the inputs (cases) for the proof of a packed file that takes samples, and the reference that answers them:
    the bundle's graph.

    Args:
        manifest: the bundle's classifier.json.
        content: the bundle's ONNX file.
        further_tokens: numbers of samples; a case with each of these is added.
    """
    table, limits = _make_table_of_bundle_proof(manifest), manifest.graph.limits
    reference = make_graph_reference(_GRAPH, make_graph_take_ids_of_samples(content, table.rows))
    rules = make_text_rules_for_proof(manifest.numbers, 1 if limits is None else limits.min_tokens or 1)
    cases = choose_cases_for_graph_of_bundle(
        rules, manifest.graph, manifest.provenance, further_tokens=further_tokens, ids=len(table.rows)
    )
    golden = [Case(f"sequence {i}", ids[None], np.array([len(ids)])) for i, ids in enumerate(table.sequences)]
    return NumberProofPlan(
        reference, drop_constant_sequences_if_answers_are_unstable(reference, {**cases, "texts": golden}), table.rows
    )


def make_graph_take_ids_of_samples(content: bytes, rows_of_ids: Samples) -> bytes:
    """Turn a graph that takes samples into a graph that takes ids: the new graph looks up the sample of each id in a
    table. `replace_ids_by_samples` does the opposite.

    Args:
        content: the ONNX file, whose first input is `samples` float32 [batch, time, channels].
        rows_of_ids: float32 [rows, channels], the table.

    Returns:
        an ONNX file whose first input is `tokens` int64 [batch, time].
    """
    model = onnx.load_from_string(content)
    graph = model.graph
    samples = graph.input[0].name
    axes = [axis.dim_param or (axis.dim_value if axis.HasField("dim_value") else None)
            for axis in graph.input[0].type.tensor_type.shape.dim[:2]]  # fmt: skip
    graph.input[0].CopyFrom(helper.make_tensor_value_info("tokens", TensorProto.INT64, axes))
    graph.initializer.append(numpy_helper.from_array(rows_of_ids, "pocketrnn.rows"))
    graph.node.insert(0, helper.make_node("Gather", ["pocketrnn.rows", "tokens"], [samples], axis=0))
    made: bytes = model.SerializeToString()
    return made


def _make_table_of_bundle_proof(manifest: Manifest) -> SampleTable:
    """Make again the table of random rows that the bundle's own proof used, and add the samples of the bundle's golden
    examples."""
    rules, stated = manifest.numbers, manifest.provenance.get("numbers_in_proof")
    return make_sample_table(
        len(rules.channels),
        padding=rules.pad_value,
        given_sequences=[np.array(example.samples, np.float32) for example in manifest.golden_sequences],
        steps=rules.steps,
        kind=stated if stated in (NEAR, POSITIVE) else EVERYWHERE,
        clip=rules.clip,
    )


def compare_scaling_of_engine_and_python(file: Path, rows_of_ids: Samples, rules: NumberInput) -> Comparison:
    """Scale samples by the bundle's rules in the native engine and in Python, and compare the results, which must be
    equal bit by bit. Return the comparison for the proof's report.

    Args:
        file: the packed file.
        rows_of_ids: float32 [ids, channels], rows of scaled numbers; samples that give about these rows are scaled.
        rules: the rules, such as the mean and the scale.

    Raises:
        ParityError: the results differ.
    """
    module = import_native_module()
    packed = module.Packed(file.read_bytes())
    given = _make_raw_samples(rows_of_ids.astype(np.float64), rules)
    for samples in given:
        expected = replace(rules, steps=None, pad_side=None, window=None, hop=None).prepared(samples)
        found = np.empty_like(expected)
        packed.prepare(samples, getattr(module, _NATIVE_TYPES[samples.dtype.str[1:]]), found)
        if found.tobytes() != expected.tobytes():
            raise ParityError(
                f"The engine scales samples of type {samples.dtype} to other numbers than the runtime.",
                "This is a fault of pocketrnn. Report it with the rules for numbers and the name of your compiler.",
            )
    asked = sum(map(len, given))
    return Comparison("rules in Python", "rules in C", "samples of each type", len(given), asked, 0.0, 0)


def _make_raw_samples(rows: npt.NDArray[np.float64], rules: NumberInput) -> list[npt.NDArray[Any]]:
    """Return unscaled samples in float64, float32, int16 and int32 that the rules scale to about the given rows."""
    raw = rows * (rules.scale or 1.0) + (rules.mean or 0.0)
    whole = np.rint(raw / (rules.integer_scale or 1.0))
    made: list[npt.NDArray[Any]] = [raw, raw.clip(-3e38, 3e38).astype(np.float32)]
    for kind in (np.int16, np.int32):
        bounds = np.iinfo(kind)
        made.append(whole.clip(bounds.min, bounds.max).astype(kind))
    return made
