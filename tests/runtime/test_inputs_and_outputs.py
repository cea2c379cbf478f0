"""Inputs and outputs of a classifier as members of one manifest: texts or numbers, labels or values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import bundle_maker
import numpy as np
import pytest

from pocketrnn import LabelOutput, NumberInput, TextInput, ValueOutput
from pocketrnn.bundle import manifest as manifests
from pocketrnn.bundle.manifest import Comparison, Graph, Limits, Manifest, NumberExample, Parity, StepGraph
from pocketrnn.bundle.output_kinds import build_output
from pocketrnn.engines.engine import EngineAnswer, compute_logits
from pocketrnn.errors import BundleError, InputError, LimitError
from pocketrnn.text import TextRules

LINE = Comparison("numpy", "onnx", "sequences", 1, 1, 0.0, 0)


def of_numbers(**members: Any) -> Manifest:
    """The manifest of a classifier of numbers, with some members others."""
    return Manifest(
        **{
            "name": "load",
            "input": NumberInput(("x", "y"), mean=(0.5, 1.0), training_range=((0.0, 1.0), (0.0, 2.5))),
            "output": ValueOutput(("power", "heat"), ("kW", "kW")),
            "graph": Graph("model.onnx", "0" * 64, 18, ("samples",), padding=False, limits=Limits(max_tokens=9)),
            "examples": (NumberExample(((0.5, 1.0),), (1.5, 0.0)),),
            "parity": Parity(1e-5, (LINE,)),
            **members,
        }
    )


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"output": LabelOutput(("a", "b"), "sigmoid", (0.25, 0.75))},
        {"output": LabelOutput(("a", "b"), priors={"still": {"a": 3, "b": 0.5}})},
        {"stream": StepGraph("model.step.onnx", "1" * 64, 4)},
        {"input": NumberInput(("x", "y"), window=4, hop=2, missing=0.0)},
    ],
    ids=["values", "labels", "a prior", "a step graph", "windows"],
)
def test_a_manifest_of_numbers_is_read_as_it_was_written(members: dict[str, Any], tmp_path: Path) -> None:
    written = of_numbers(**members)
    (tmp_path / "classifier.json").write_bytes(manifests.encode_manifest(written))
    assert manifests.read_manifest(tmp_path) == written
    document = json.loads((tmp_path / "classifier.json").read_bytes())
    assert document["graph"]["limits"] == {"max_tokens": 9}
    assert not {"text", "vocabulary", "torchscript"} & document.keys()
    assert not {"embedding_rows", "alone"} & document["graph"].keys()


def test_a_manifest_says_which_kind_of_input_it_has(padded: Path) -> None:
    of_texts = manifests.read_manifest(padded)
    assert (of_texts.text.vocabulary, of_texts.golden_texts) == (bundle_maker.WORDS, of_texts.examples)
    assert not of_texts.golden_sequences
    assert list(manifests.make_input_digest_metadata(of_texts.labels, of_texts.input)) == ["pocketrnn.text_digest"]
    with pytest.raises(BundleError, match="texts"):
        assert of_texts.numbers
    numbers = of_numbers()
    assert (numbers.numbers.channels, numbers.golden_sequences, numbers.golden_texts) == (
        ("x", "y"),
        numbers.examples,
        (),
    )
    with pytest.raises(BundleError, match=r"load .*numbers"):
        assert numbers.text


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"stream": StepGraph("s", "1" * 64, 4), "input": NumberInput(("x", "y"), window=4)}, "windows of 4"),
        ({"input": NumberInput(("x", "y"), steps=10)}, "10 steps"),
        ({"input": NumberInput(("x",))}, "example 1"),
        ({"output": ValueOutput(("power",))}, "example 1"),
    ],
)
def test_parts_that_do_not_fit_each_other_are_refused(members: dict[str, Any], said: str) -> None:
    with pytest.raises(BundleError, match=said):
        of_numbers(**members)


def test_outputs_that_do_not_fit_are_refused() -> None:
    assert build_output(("a", "b"), "sigmoid", (0.1, 0.2)) == LabelOutput(("a", "b"), "sigmoid", (0.1, 0.2))
    assert build_output(("m",), "values", value_units=("kg",)).labels == ("m",)
    for ask, said in (
        (lambda: LabelOutput(("a",)), "it has 1"),
        (lambda: LabelOutput(("a", "b"), thresholds=(0.5,)), r"\b1 thresholds.*\b2"),
        (lambda: ValueOutput(()), "no value"),
        (lambda: ValueOutput(("m",), ("kg", "s")), r"\b2 units.*\b1"),
        (lambda: build_output(("m",), "values", (0.5,)), "thresholds"),
        (lambda: build_output(("a", "b"), value_units=("kg", "s")), "units"),
        (lambda: build_output(("a", "b"), "tanh"), "tanh"),
    ):
        with pytest.raises(InputError, match=said):
            ask()


def test_a_text_input_encodes_by_its_rules() -> None:
    given = TextInput(TextRules(padding_id=1), ("<unk>", "<pad>", "oil"))
    assert given.encoder().encode("Oil wins") == [2, 0]
    assert given.document["padding_id"] == 1


def test_a_sequence_that_is_refused_among_others_is_refused_with_its_own_reason() -> None:
    class Refusing:
        def logits(self, steps: np.ndarray, lengths: np.ndarray) -> EngineAnswer:
            assert (steps.shape, lengths.tolist()) == ((5, 2), [2, 3])
            return EngineAnswer(np.zeros((2, 4), np.float32), [1])

        def compute_item_logits(self, steps: np.ndarray) -> list[float]:
            assert steps.shape == (1, 3, 2)
            raise LimitError("It leads to a number beyond 32 bits.", "Shorten it.")

    engine: Any = Refusing()
    with pytest.raises(LimitError, match="32 bits"):
        compute_logits(engine, "load", [np.zeros((2, 2), np.float32), np.zeros((3, 2), np.float32)])
