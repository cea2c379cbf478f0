"""Packed files of modules that ask about large sizes: each answers as its module does at all of them, or is refused."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import packed_size_modules as zoo
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from packing_tools import graph_of
from shared_results import made_once
from slow_case_sampling import examples
from torch import nn

from pocketrnn import Classifier
from pocketrnn.bundle import manifest as manifests
from pocketrnn.bundle.manifest import Graph, Limits
from pocketrnn.engines.native import NativeEngine
from pocketrnn.errors import BundleError, ExportError, LimitError, ParityError
from pocketrnn.text import TextRules
from pocketrnn_export import export
from pocketrnn_export.forms.packed_file.graph_to_program import translate_graph_into_program
from pocketrnn_export.forms.packed_file.size_dependent_values import AffineRange, Numbers, SizeValues, Span
from pocketrnn_export.forms.packed_file.values_that_depend_on_tokens import compute_node_outputs, observe_graph
from pocketrnn_export.packing import pack
from pocketrnn_export.proof.case_selection import (
    ASKED_SIZES,
    list_sizes_to_compare_from_provenance,
    make_provenance_entry_of_condition_sizes,
)

WORDS = ["<unk>", "<pad>", *(f"w{i}" for i in range(2, zoo.WORDS))]
# Beside what the modules ask about, and some on the way.
LENGTHS = (1, 2, 3, 5, 40, 299, 300, 301, 302, 399, 400, 401, 612, 613, 614, 619, 620, 621, 622, 645, 646, 699, 700)


@made_once
def content_and_graph(kind: type[nn.Module]) -> tuple[bytes, Graph]:
    return graph_of(zoo.made(kind), tuple(WORDS), zoo.LABELS)


@pytest.mark.slow
@pytest.mark.parametrize("kind", zoo.PACKED, ids=lambda kind: kind.__name__)
def test_a_packed_module_that_asks_about_large_sizes_answers_as_it_does(kind: type[nn.Module], tmp_path: Path) -> None:
    module = zoo.made(kind)
    export(module, tmp_path / "bundle", labels=zoo.LABELS, vocabulary=WORDS, torchscript=False)
    pack(tmp_path / "bundle", tmp_path / "packed.prnn")
    engine, generator = NativeEngine(tmp_path / "packed.prnn"), np.random.default_rng(5)
    for length in LENGTHS:
        ids = generator.integers(0, zoo.WORDS, length)
        with torch.no_grad():
            expected = module(torch.from_numpy(ids)[None]).numpy()
        found, _ = engine.logits(ids, np.array([length]))
        np.testing.assert_allclose(found, expected, atol=1e-4, rtol=1e-4, err_msg=f"{length} tokens")


@pytest.mark.slow
@pytest.mark.parametrize("kind", zoo.NOT_PACKED, ids=lambda kind: kind.__name__)
def test_a_size_that_changes_its_rule_beyond_the_observed_lengths_is_refused(kind: type[nn.Module]) -> None:
    content, graph = content_and_graph(kind)
    with pytest.raises(ExportError, match=r"onnxruntime.* max_width"):
        translate_graph_into_program(content, graph)


@pytest.mark.slow
@pytest.mark.parametrize("kind", zoo.OTHER_TYPES, ids=lambda kind: kind.__name__)
def test_numbers_of_tokens_in_types_that_the_engine_has_not_are_refused(kind: type[nn.Module]) -> None:
    content, graph = content_and_graph(kind)
    with pytest.raises(ExportError, match=r"operator (Cast|Equal|Floor) .* at node"):
        translate_graph_into_program(content, graph)


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(zoo.WeighsByPosition, marks=pytest.mark.slow),
        pytest.param(zoo.HashesPositions, marks=pytest.mark.slow),
        zoo.LengthsThatWrap,
    ],
    ids=lambda kind: kind.__name__,
)
def test_a_file_states_how_many_tokens_its_whole_numbers_bear(kind: type[nn.Module]) -> None:
    content, graph = content_and_graph(kind)
    assert translate_graph_into_program(content, graph).program.most == zoo.HELD_TO[kind]
    assert translate_graph_into_program(content, replace(graph, limits=Limits(max_tokens=3_000))).program.most is None


@pytest.mark.slow
def test_a_packed_file_refuses_texts_whose_whole_numbers_it_does_not_bear(tmp_path: Path) -> None:
    module = zoo.made(zoo.HashesPositions)
    export(module, tmp_path / "bundle", labels=zoo.LABELS, vocabulary=WORDS, torchscript=False)
    made = pack(tmp_path / "bundle", tmp_path / "packed.prnn")
    assert made.graph.limits == Limits(max_tokens=21_473)
    engine = NativeEngine(tmp_path / "packed.prnn")
    ids = np.full(21_473, 3)
    with torch.no_grad():
        expected = module(torch.from_numpy(ids)[None]).numpy()
    np.testing.assert_allclose(engine.logits(ids, np.array([len(ids)]))[0], expected, atol=1e-4, rtol=1e-4)
    with pytest.raises(LimitError):
        Classifier.load(tmp_path / "packed.prnn").classify("w3 " * 21_474)


@pytest.mark.slow
def test_text_rules_that_cut_texts_say_how_many_tokens_a_packed_file_takes(tmp_path: Path) -> None:
    rules = TextRules("whitespace", unknown_id=0, padding_id=1, max_width=60)
    export(zoo.made(zoo.CutTo600), tmp_path / "bundle", labels=zoo.LABELS, vocabulary=WORDS, rules=rules,
           torchscript=False)  # fmt: skip
    assert pack(tmp_path / "bundle", tmp_path / "packed.prnn").graph.limits == Limits(max_tokens=60)


@pytest.mark.slow
def test_a_cut_beyond_all_texts_is_none() -> None:
    content, graph = content_and_graph(zoo.CutTo600)
    taken = replace(graph, limits=Limits(max_tokens=600))
    assert translate_graph_into_program(content, taken).program.turns <= {598, 599, 600}


@pytest.fixture(scope="module")
def step_at_620(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("step") / "bundle"
    export(zoo.made(zoo.StepAt620), path, labels=zoo.LABELS, vocabulary=WORDS, torchscript=False)
    return path


@pytest.mark.slow
def test_the_proof_of_a_packed_file_asks_what_the_bundle_says_that_its_module_asks(
    step_at_620: Path, tmp_path: Path
) -> None:
    manifest = manifests.read_manifest(step_at_620)
    assert {620, 621, 700} <= {tokens for _, tokens in list_sizes_to_compare_from_provenance(manifest.provenance)}
    report = pack(step_at_620, tmp_path / "packed.prnn").parity
    assert {line.inputs for line in report.comparisons if line.candidate == "packed"} >= {"bounds", "hazards"}


@pytest.mark.slow
def test_a_program_that_turns_elsewhere_than_its_graph_is_found_by_the_proof(
    step_at_620: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if Min(tokens, 620) were the tokens.
    monkeypatch.setattr(Span, "find_possible_signs_of_difference", lambda *_arguments: frozenset({-1}))
    with pytest.raises(ParityError):
        pack(step_at_620, tmp_path / "packed.prnn")


@pytest.mark.parametrize(
    "stated", [{"3": 5}, [[1]], [[1, "2"]], [[0, 4]], [[1, 60_000]], [[True, 2]], [[1, 2]] * 10_001, 7]
)
def test_sizes_that_no_export_writes_are_refused_in_a_sentence(stated: object) -> None:
    with pytest.raises(BundleError, match=re.escape(ASKED_SIZES)):
        list_sizes_to_compare_from_provenance({ASKED_SIZES: stated})


def test_sizes_that_are_noted_are_those_that_are_asked_and_few_long_ones() -> None:
    entry = make_provenance_entry_of_condition_sizes([(3, 512), (1, 700)])
    assert list_sizes_to_compare_from_provenance(entry, [90, *range(6_000, 6_010)]) == [
        (3, 512), (1, 700), (1, 90), (1, 6_000), (1, 6_001), (1, 6_002), (1, 6_003),
    ]  # fmt: skip
    assert make_provenance_entry_of_condition_sizes([]) == {}
    assert list_sizes_to_compare_from_provenance({}) == []


# Expressions of the number of tokens in a graph; their known values up to 700 tokens, and up to 600.
RULES = {
    "n - 1": ([("Sub", ["n", "1"])], Numbers(((1, -1),)), Numbers(((1, -1),))),
    "min(n, 620)": ([("Min", ["n", "620"])], None, Numbers(((1, 0),))),
    "max(n, 1)": ([("Max", ["n", "1"])], Numbers(((1, 0),)), Numbers(((1, 0),))),
    "n // 2": ([("Div", ["n", "2"])], None, None),
    "(2 n) // 2": ([("Mul", ["n", "2"]), ("Div", ["", "2"])], Numbers(((1, 0),)), Numbers(((1, 0),))),
    "n // 1000": ([("Div", ["n", "1000"])], Numbers(((0, 0),)), Numbers(((0, 0),))),
    "n // 650": ([("Div", ["n", "650"])], None, Numbers(((0, 0),))),
    "n % 1000": ([("Mod", ["n", "1000"])], Numbers(((1, 0),)), Numbers(((1, 0),))),
    "n < 620": ([("Less", ["n", "620"])], None, Numbers(((0, True),))),
    "n == 613": ([("Equal", ["n", "613"])], None, Numbers(((0, False),))),
    "2 n == 1001": ([("Mul", ["n", "2"]), ("Equal", ["", "1001"])], Numbers(((0, False),)), Numbers(((0, False),))),
    "n * n": ([("Mul", ["n", "n"])], None, None),
    "arange(n)": ([("Range", ["0", "n", "1"])], AffineRange((0, 0), 1, (1, 0)), AffineRange((0, 0), 1, (1, 0))),
    "arange(n) < n": ([("Range", ["0", "n", "1"]), ("Less", ["", "n"])], AffineRange((0, True), 0, (0, 1)),
                      AffineRange((0, True), 0, (0, 1))),
    "arange(n) < 620": ([("Range", ["0", "n", "1"]), ("Less", ["", "620"])], None, AffineRange((0, True), 0, (0, 1))),
    "arange(n) == 610": ([("Range", ["0", "n", "1"]), ("Equal", ["", "613"])], None,
                         AffineRange((0, False), 0, (0, 1))),
    "where(n > 620, 1, 2)": ([("Greater", ["n", "620"]), ("Where", ["", "1", "2"])], None, Numbers(((0, 2),))),
    "clip(n, 1, 620)": ([("Clip", ["n", "1", "620"])], None, Numbers(((1, 0),))),
    "3 for each of n": ([("Range", ["0", "n", "1"]), ("Mul", ["", "0"]), ("Add", ["", "3"]), ("ReduceSum", [""])],
                        Numbers(((3, 0),)), Numbers(((3, 0),))),
    "sum(arange(n))": ([("Range", ["0", "n", "1"]), ("ReduceSum", [""])], None, None),
    "abs(n - 650)": ([("Sub", ["n", "650"]), ("Abs", [""])], None, Numbers(((-1, 650),))),
}  # fmt: skip


def graph_of_rule(steps: list[tuple[str, list[str]]]) -> bytes:
    """A graph whose logits have nothing to do with the value `found`, which is made of the number of tokens."""
    constants = {name for _, inputs in steps for name in inputs if name.isdigit()}
    tensors = [helper.make_tensor(name, TensorProto.INT64, [], [int(name)]) for name in constants]
    tensors += [
        helper.make_tensor("second", TensorProto.INT64, [], [1]),
        helper.make_tensor("t", 1, [9, 2], [0.5] * 18),
    ]
    nodes = [helper.make_node("Shape", ["tokens"], ["shape"]), helper.make_node("Gather", ["shape", "second"], ["n"])]
    before = ""
    for i, (kind, inputs) in enumerate(steps):
        made = f"step{i}" if i < len(steps) - 1 else "found"
        nodes.append(helper.make_node(kind, [name or before for name in inputs], [made]))
        before = made
    nodes += [
        helper.make_node("Gather", ["t", "tokens"], ["rows"]),
        helper.make_node("ReduceMean", ["rows"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("Cast", ["found"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["float"], ["sum"], keepdims=0),
        helper.make_node("Add", ["mean", "sum"], ["logits"]),
    ]
    tokens = helper.make_tensor_value_info("tokens", TensorProto.INT64, ["batch", "sequence"])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])
    graph = helper.make_graph(nodes, "rule", [tokens], [logits], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


@pytest.mark.parametrize("rule", RULES)
def test_what_follows_from_the_number_of_tokens_is_read_off_the_graph(rule: str) -> None:
    steps, *expected = RULES[rule]
    content = graph_of_rule(steps)
    for most, known in zip((700, 600), expected, strict=True):
        graph = Graph(
            "model.onnx", "0" * 64, 17, ("tokens",), embedding_rows=9, padding=False, limits=Limits(max_tokens=most)
        )
        assert observe_graph(content, graph).size_values.known.get("found") == known, most


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int16, np.float16])
def test_a_number_of_tokens_in_a_type_of_fewer_bits_is_not_that_number(kind: type[np.generic]) -> None:
    lengths = (1, 2, 3, 7, 13, 22)
    to = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    model = helper.make_model(helper.make_graph(
        [helper.make_node("Shape", ["tokens"], ["n"], start=1), helper.make_node("Cast", ["n"], ["narrow"], to=to)],
        "narrow", [], [],
    ))  # fmt: skip
    values = {"tokens": [np.zeros((1, n), np.int64) for n in lengths], "n": [np.array([n]) for n in lengths],
              "narrow": [np.array([n], kind) for n in lengths]}  # fmt: skip
    known = SizeValues(model, lengths, values, frozenset({"tokens"}), Span(1, 700)).known
    assert known.keys() == {"n"}


@pytest.mark.parametrize("kind", ["HannWindow", "Unique", "NonZero"])
def test_an_operator_that_may_give_any_number_of_numbers_has_no_known_size(kind: str) -> None:
    content = graph_of_rule([("Range", ["0", "n", "1"]), (kind, [""])] if kind != "HannWindow" else [(kind, ["n"])])
    graph = Graph("model.onnx", "0" * 64, 17, ("tokens",), embedding_rows=9, padding=False)
    found = observe_graph(content, graph).size_values
    assert found.find_sizes("found") is None
    assert kind in found.irregular["found"]


def test_sizes_change_their_order_at_the_turns() -> None:
    span = Span(1, 700)
    assert span.decide_comparison("Less", (1, 0), (0, 620)) is None
    assert span.turns == {619, 620, 621, 622}
    assert span.decide_comparison("Less", (0, np.nan), (0, 1)) is None
    assert Span(1, None).decide_comparison("GreaterOrEqual", (1, 0), (0, 1)) is True
    assert Span(1, None).decide_comparison("Less", (1, 0), (0, 10**9)) is None


# Operators that are drawn, and how many inputs each has of the pool.
DRAWN = {"Add": 2, "Sub": 2, "Mul": 2, "Div": 2, "Mod": 2, "Min": 2, "Max": 2, "Less": 2, "Equal": 2, "LessOrEqual": 2,
         "Where": 3, "Range": 2, "Clip": 3, "Abs": 1, "Neg": 1, "Slice": 3, "CumSum": 1, "Not": 1, "ReduceMax": 1,
         "ReduceSum": 1, "Concat": 2, "Gather": 2, "Expand": 2}  # fmt: skip
LONGEST = 90


def drawn_graph(generator: np.random.Generator, operators: int) -> tuple[onnx.ModelProto, dict[str, list[np.ndarray]]]:
    """A graph of drawn operators on the number of tokens, and all its values for each number of tokens from 1 on."""
    numbers = sorted({0, 1, 2, *generator.integers(3, 80, 4).tolist()})
    constants: dict[str, np.ndarray] = {str(number): np.array(number) for number in numbers}
    constants |= {"minus one": np.array([-1]), "first": np.array(0)}
    nodes = [helper.make_node("Shape", ["tokens"], ["shape"], start=1),
             helper.make_node("Squeeze", ["shape"], ["n"])]  # fmt: skip
    lengths = range(1, LONGEST + 1)
    values = {name: [value] * LONGEST for name, value in constants.items()}
    values |= {
        "tokens": [np.zeros((1, n)) for n in lengths],
        "shape": [np.array([n]) for n in lengths],
        "n": [np.array(n) for n in lengths],
    }
    pool = ["n", *map(str, numbers), "n", "n"]
    for i in range(operators):
        kind = str(generator.choice([*DRAWN]))
        inputs = [str(name) for name in generator.choice(pool, DRAWN[kind])]
        more = []
        if kind in ("Slice", "Expand", "Concat"):
            more = [helper.make_node("Reshape", [name, "minus one"], [f"v{i}.{k}"]) for k, name in enumerate(inputs)]
            inputs = [f"v{i}.{k}" for k in range(len(inputs))]
        inputs += {"Range": ["1"], "CumSum": ["first"]}.get(kind, [])
        node = helper.make_node(kind, inputs, [f"v{i}"], **({"axis": 0} if kind == "Concat" else {}))
        try:
            run = [runs_of([*more, node], values, n, constants) for n in range(LONGEST)]
        except ExportError:
            # The operator does not take what was drawn for it, at one of the lengths.
            continue
        if max(array.size for found in run for array in found.values()) > 500:
            continue
        values |= {name: [found[name] for found in run] for name in run[0]}
        nodes += [*more, node]
        pool.append(f"v{i}")
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    tokens = helper.make_tensor_value_info("tokens", TensorProto.INT64, ["batch", "sequence"])
    return helper.make_model(helper.make_graph(nodes, "drawn", [tokens], [], tensors)), values


def runs_of(
    nodes: list[onnx.NodeProto], values: dict[str, list[np.ndarray]], n: int, constants: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The outputs of some nodes for the n-th number of tokens, by name."""
    found: dict[str, np.ndarray] = {}
    for node in nodes:
        given = {name: found[name] if name in found else values[name][n] for name in node.input}
        found |= dict(zip(node.output, compute_node_outputs(node, 17, given), strict=True))
    return found


@pytest.mark.parametrize("seed", range(examples(1, 60)))
def test_what_is_known_of_drawn_graphs_holds_for_every_number_of_tokens(seed: int) -> None:
    model, values = drawn_graph(np.random.default_rng(seed), operators=30)
    seen = [0, 1, 2, 6, 12, 21]
    some = {name: [every[i] for i in seen] for name, every in values.items()}
    found = SizeValues(model, [i + 1 for i in seen], some, frozenset({"tokens"}), Span(1, LONGEST))
    for name, every in values.items():
        known, sizes = found.known.get(name), found.find_sizes(name)
        for n, value in enumerate(every, 1):
            assert sizes is None or value.shape == tuple(a * n + b for a, b in sizes), (name, n)
            if isinstance(known, Numbers):
                assert value.ravel().tolist() == [a * n + b for a, b in known.numbers_with_smallest_and_largest], (
                    name,
                    n,
                )
            elif known is not None and value.size:
                ends = [a * n + b for a, b in known.numbers_with_smallest_and_largest]
                assert {value.min(), value.max()} <= {*ends}, (name, n)
    assert found.known.keys() >= {"n", "shape"}
