"""A stranger's bundle whose digests are right gets one sentence, at once, and no memory."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bundle_maker
import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import AttributeProto, TensorProto, helper, numpy_helper
from refused_bundles import bytes_field, number_field
from slow_case_sampling import examples

from pocketrnn import Classifier, verify
from pocketrnn.bundle import manifest as manifests
from pocketrnn.bundle.checked_files import LARGEST_FILE, read_regular_file
from pocketrnn.errors import BundleError
from pocketrnn.graph_check.graph_contents import LARGEST_ALLOCATION, OPERATORS, GraphContents
from pocketrnn.graph_check.graph_file import check_graph
from pocketrnn.graph_check.onnx_protobuf import MESSAGES, read_onnx_contents
from pocketrnn.graph_check.ort_flatbuffer import read_ort_contents

ONNX = Path("model.onnx")
FILES = ("classifier.json", "model.onnx", "model.torchscript.pt", "model.step.onnx")
Model = onnx.ModelProto


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle_maker.make(tmp_path_factory.mktemp("whole") / "bundle", stream=True)


@pytest.fixture
def bundle(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "bundle"))


def model() -> Model:
    return bundle_maker.graph(bundle_maker.weights(30))


@contextlib.contextmanager
def at_once_and_without_memory(seconds: float = 5, mib: int = 64) -> Iterator[None]:
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    yield
    assert time.monotonic() - start < seconds
    if sys.platform == "linux":
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < mib * 1024


def rewritten(folder: Path, change: Callable[[str], str]) -> Path:
    """The text of classifier.json changed by somebody who made its digest anew."""
    path = folder / "classifier.json"
    content = path.read_text(encoding="utf-8")
    stated = json.loads(content)["digest"]
    zeroed = change(content).replace(stated, "0" * 64).encode("utf-8", "surrogatepass")
    path.write_bytes(zeroed.replace(b"0" * 64, hashlib.sha256(zeroed).hexdigest().encode()))
    return folder


# ------------------------------------------------------------------------------------------------------------- files


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
@pytest.mark.parametrize("file", FILES)
def test_a_pipe_in_place_of_a_file_is_refused_at_once(bundle: Path, file: str) -> None:
    (bundle / file).unlink()
    os.mkfifo(bundle / file)
    with at_once_and_without_memory(), pytest.raises(BundleError, match="regular file"):
        verify(bundle)


@pytest.mark.skipif(not Path("/dev/zero").is_char_device(), reason="this system has no /dev/zero")
@pytest.mark.parametrize("file", FILES)
def test_a_device_in_place_of_a_file_is_refused_at_once(bundle: Path, file: str) -> None:
    (bundle / file).unlink()
    (bundle / file).symlink_to("/dev/zero")
    with at_once_and_without_memory(), pytest.raises(BundleError, match="regular file"):
        verify(bundle)


@pytest.mark.parametrize("file", FILES)
def test_a_huge_sparse_file_is_refused_at_once(bundle: Path, file: str) -> None:
    with (bundle / file).open("r+b") as sparse:
        sparse.truncate(20 << 30)
    with at_once_and_without_memory(), pytest.raises(BundleError, match=rf"{file} has {20 << 30:,} bytes"):
        verify(bundle)


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right of their own there")
def test_a_link_to_a_file_is_followed(bundle: Path, tmp_path: Path) -> None:
    expected = Classifier.load(bundle).predict(["the oil"])
    (bundle / "model.onnx").rename(tmp_path / "blob")
    (bundle / "model.onnx").symlink_to(tmp_path / "blob")
    assert Classifier.load(bundle).predict(["the oil"]) == expected


@pytest.mark.parametrize("change", [-1, 1])
def test_a_file_that_grows_or_shrinks_while_it_is_read_is_refused(
    bundle: Path, change: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = bundle / "model.onnx"
    real, size = os.fstat, path.stat().st_size

    def then_changed(descriptor: int) -> os.stat_result:
        status = real(descriptor)
        if status.st_size == path.stat().st_size == size:
            os.truncate(path, size + change)
        return status

    monkeypatch.setattr(os, "fstat", then_changed)
    with pytest.raises(BundleError, match=r"model\.onnx .*changed while"):
        read_regular_file(path, LARGEST_FILE)


# --------------------------------------------------------------------------------------------------- classifier.json


@pytest.mark.parametrize(
    "encoded",
    [
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: text.encode("utf-16"),
        lambda text: text.encode("utf-32-le"),
        lambda text: text.replace('"small"', '"\U0001f600"').encode("utf-16", "surrogatepass"),
    ],
)
def test_only_utf8_without_a_mark_is_read(bundle: Path, encoded: Callable[[str], bytes]) -> None:
    path = bundle / "classifier.json"
    path.write_bytes(encoded(path.read_text(encoding="utf-8")))
    with pytest.raises(BundleError, match=r"classifier\.json .*not JSON"):
        manifests.read_manifest(bundle)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda text: text.replace('"name": "small"', '"name": "\ud83d\ude00"'), "is not JSON: 'utf-8' codec"),
        (lambda text: text.replace('"name": "small"', '"name": "small", "name": "small"'), "'name' stands twice"),
        (lambda text: text.replace('"licence"', '"x": {"a": 1, "\\u0061": 2}, "licence"'), "'a' stands twice"),
        (lambda text: text.replace('"ngrams": 1', '"ngrams": 1000000000'), "ngrams is 1000000000, more than 16"),
        (lambda text: text.replace('"tolerance": 1e-05', f'"tolerance": {"9" * 400}'), "too large a number"),
        (lambda text: text.replace('"logits": [', f'"logits": [{"9" * 400}, '), "too large a number"),
        (lambda text: text.replace('"logits": [', f'"logits": [{"9" * 9000}, '), "too large a number"),
        (lambda text: text.replace('"licence"', f'"x": -{"9" * 400}, "licence"'), "too large a number"),
        (lambda text: text.replace('"empty_id": 0', '"empty_id": 9223372036854775808'), "empty_id is"),
        (lambda text: text.replace('"ids": [', '"ids": [1e300, '), "ids[0] is 1e+300, more than"),
        (lambda text: text.replace('"state_size": 8', '"state_size": 1048577'), "state_size is"),
        (lambda text: text.replace('"max_tokens": null', '"max_tokens": 2147483648'), "max_tokens is"),
        (lambda text: text + "{}", "is not JSON: Extra data"),
        (lambda text: text.replace('"small"', "[" * 5000 + "]" * 5000), "name is"),
        (lambda text: text.replace('"small"', "[" * 200_000 + "]" * 200_000), "is not JSON"),
    ],
)
def test_what_readers_would_read_differently_or_never_end_with_is_refused(
    bundle: Path, change: Callable[[str], str], sentence: str
) -> None:
    rewritten(bundle, change)
    with at_once_and_without_memory(), pytest.raises(BundleError) as caught:
        Classifier.load(bundle)
    assert sentence in str(caught.value) or (sentence == "name is" and "is not JSON" in str(caught.value))


def test_whole_numbers_in_place_of_fractions_are_read(bundle: Path) -> None:
    rewritten(bundle, lambda text: text.replace('"tolerance": 1e-05', f'"tolerance": {"9" * 300}'))
    assert verify(bundle).tolerance == 1e300


# ------------------------------------------------------------------------------------------------------------- graphs


def external(*entries: bytes, more: bytes = b"") -> bytes:
    """A model with a tensor "x" whose content these entries place elsewhere."""
    tensor = (
        number_field(1, 1)
        + number_field(2, 1)
        + bytes_field(8, b"x")
        + b"".join(bytes_field(13, entry) for entry in entries)
    )
    return model().SerializeToString() + bytes_field(7, bytes_field(5, tensor + more))


LOCATION = bytes_field(1, b"location"), bytes_field(2, b"weights")


@pytest.mark.parametrize(
    "content",
    [
        external(LOCATION[0] + LOCATION[1]),
        external(LOCATION[1] + LOCATION[0]),
        external(b"\x0a\x88\x80\x00location" + LOCATION[1]),
        external(number_field(3, 1) + LOCATION[0] + LOCATION[1]),
        external(b"", LOCATION[0] + LOCATION[1]),
        external(more=number_field(14, 1)),
        external(more=b"\x70\x81\x80\x00"),
    ],
)
def test_weights_elsewhere_are_found_however_they_are_written(content: bytes) -> None:
    with pytest.raises(BundleError, match=r"field 7 of ModelProto|further files"):
        check_graph(content, ONNX)
    graph = bytes_field(7, Model.FromString(content).graph.SerializeToString())
    if Model.FromString(content).graph.initializer[-1].external_data:
        for trusted in (False, True):
            with pytest.raises(BundleError, match="further files"):
                check_graph(graph, ONNX, trusted=trusted)


def test_weights_elsewhere_are_found_in_attributes_too() -> None:
    tensor = TensorProto(name="x", data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    for attribute in ({"value": tensor}, {"tensors": [tensor]}):
        content = with_node(helper.make_node("Constant", [], ["made"], **attribute)).SerializeToString()
        for trusted in (False, True):
            with pytest.raises(BundleError, match="further files"):
                check_graph(content, ONNX, trusted=trusted)
    hidden = helper.make_graph([], "g", [], [], [tensor])
    content = with_node(helper.make_node("If", ["c"], ["made"], then_branch=hidden)).SerializeToString()
    with pytest.raises(BundleError, match="further files"):
        check_graph(content, ONNX, trusted=True)


def with_node(*nodes: onnx.NodeProto, **constants: Any) -> Model:
    made = model()
    for name, value in constants.items():
        made.graph.initializer.append(numpy_helper.from_array(np.array(value), name))
    for node in reversed(nodes):
        made.graph.node.insert(0, node)
    return made


def inner() -> onnx.GraphProto:
    """The body of a loop that goes on for ever."""
    condition = helper.make_tensor_value_info("go", TensorProto.BOOL, [])
    step = helper.make_tensor_value_info("i", TensorProto.INT64, [])
    again = helper.make_tensor_value_info("again", TensorProto.BOOL, [])
    steps = helper.make_tensor_value_info("s", TensorProto.FLOAT, [])
    nodes = [
        helper.make_node("Identity", ["go"], ["again"]),
        helper.make_node("Cast", ["i"], ["s"], to=TensorProto.FLOAT),
    ]
    return helper.make_graph(nodes, "body", [step, condition], [again, steps])


def inside(operator: str) -> Model:
    return with_node(helper.make_node(operator, ["", "true"], ["made"], body=inner()), true=True)


STRANGE_OPERATORS: dict[str, tuple[Callable[[], Model], str]] = {
    "a loop without end": (lambda: inside("Loop"), "'Loop'"),
    "a graph inside a known operator": (
        lambda: with_node(helper.make_node("Identity", ["true"], ["x"], body=inner()), true=True),
        "a graph inside",
    ),
    "a random operator": (
        lambda: with_node(helper.make_node("RandomNormal", [], ["made"], shape=[2])),
        "'RandomNormal'",
    ),
    "an operator of Microsoft": (
        lambda: with_node(helper.make_node("Gelu", ["linear"], ["made"], domain="com.microsoft")),
        "'com.microsoft.Gelu'",
    ),
    "a known name in another domain": (
        lambda: with_node(helper.make_node("Relu", ["b"], ["made"], domain="com.microsoft")),
        "'com.microsoft.Relu'",
    ),
    "sequences": (lambda: with_node(helper.make_node("SequenceEmpty", [], ["x"])), "'SequenceEmpty'"),
}


@pytest.mark.parametrize("what", STRANGE_OPERATORS)
def test_an_operator_that_a_classifier_has_no_need_of_is_refused(what: str) -> None:
    make, sentence = STRANGE_OPERATORS[what]
    with pytest.raises(BundleError, match=sentence):
        check_graph(make().SerializeToString(), ONNX)
    check_graph(make().SerializeToString(), ONNX, trusted=True)


def test_a_loop_without_end_does_not_hang_load(tmp_path: Path) -> None:
    def add_loop(proto: Model) -> None:
        proto.CopyFrom(inside("Loop"))

    with at_once_and_without_memory(), pytest.raises(BundleError, match="'Loop'"):
        Classifier.load(bundle_maker.make(tmp_path / "b", change_graph=add_loop))


def test_an_operator_that_is_not_listed_is_run_for_who_asks(tmp_path: Path) -> None:
    def branch(proto: Model) -> None:
        proto.graph.initializer.append(numpy_helper.from_array(np.array(True), "true"))
        some = helper.make_tensor_value_info("same", TensorProto.FLOAT, None)
        same = helper.make_graph([helper.make_node("Identity", ["scores"], ["same"])], "same", [], [some])
        proto.graph.node[-1].output[0] = "scores"
        proto.graph.node.append(helper.make_node("If", ["true"], ["logits"], then_branch=same, else_branch=same))

    folder = bundle_maker.make(tmp_path / "b", change_graph=branch)
    with pytest.raises(BundleError, match="'If'"):
        Classifier.load(folder)
    assert Classifier.load(folder, trust=True).predict(["oil"])


def test_functions_of_its_own_are_refused() -> None:
    made = model()
    function = helper.make_function(
        "own", "f", ["x"], ["y"], [helper.make_node("Relu", ["x"], ["y"])], [helper.make_opsetid("", 17)]
    )
    made.functions.append(function)
    with pytest.raises(BundleError, match="defines functions"):
        check_graph(made.SerializeToString(), ONNX)
    check_graph(made.SerializeToString(), ONNX, trusted=True)


BIG = 10**9
ALLOCATIONS: dict[str, Callable[[], Model]] = {
    "ConstantOfShape": lambda: with_node(helper.make_node("ConstantOfShape", ["n"], ["x"]), n=[BIG]),
    "ConstantOfShape of two": lambda: with_node(helper.make_node("ConstantOfShape", ["n"], ["x"]), n=[40_000, 40_000]),
    "ConstantOfShape through Constant": lambda: with_node(
        helper.make_node("Constant", [], ["n"], value_ints=[BIG]), helper.make_node("ConstantOfShape", ["n"], ["x"])
    ),
    "ConstantOfShape through a tensor": lambda: with_node(
        helper.make_node("Constant", [], ["n"], value=helper.make_tensor("", TensorProto.INT64, [1], [BIG])),
        helper.make_node("Identity", ["n"], ["m"]),
        helper.make_node("ConstantOfShape", ["m"], ["x"]),
    ),
    "Expand of a shape in two parts": lambda: with_node(
        helper.make_node("Shape", ["tokens"], ["s"]),
        helper.make_node("Concat", ["s", "n"], ["shape"], axis=0),
        helper.make_node("Expand", ["axis", "shape"], ["x"]),
        n=[BIG],
    ),
    "Tile": lambda: with_node(helper.make_node("Tile", ["axis", "n"], ["x"]), n=[BIG]),
    "Range": lambda: with_node(helper.make_node("Range", ["a", "b_", "c"], ["x"]), a=0, b_=BIG, c=1),
    "Range of fractions": lambda: with_node(
        helper.make_node("Range", ["a", "b_", "c"], ["x"]), a=0.0, b_=1.0, c=np.float32(1e-9)
    ),
    "Range without steps": lambda: with_node(helper.make_node("Range", ["a", "b_", "c"], ["x"]), a=0, b_=1, c=0),
    "Pad": lambda: with_node(helper.make_node("Pad", ["axis", "n"], ["x"]), n=[0, BIG]),
    "Pad at each axis": lambda: with_node(helper.make_node("Pad", ["w", "n"], ["x"]), n=[999, 999, 999, 999, 999, 999]),
    "OneHot": lambda: with_node(helper.make_node("OneHot", ["tokens", "n", "axis"], ["x"]), n=BIG),
    "Conv": lambda: with_node(helper.make_node("Conv", ["w", "w"], ["x"], pads=[BIG, 0])),
}


@pytest.mark.parametrize("what", ALLOCATIONS)
def test_memory_that_constants_ask_for_is_bounded(what: str) -> None:
    content = ALLOCATIONS[what]().SerializeToString()
    with at_once_and_without_memory(), pytest.raises(BundleError, match=r"from constants"):
        check_graph(content, ONNX)


def test_sizes_within_the_bound_are_let_through() -> None:
    made = with_node(
        helper.make_node("ConstantOfShape", ["n"], ["x"]),
        helper.make_node("Range", ["zero", "limit", "one"], ["y"]),
        n=[LARGEST_ALLOCATION],
        zero=0,
        limit=5000,
        one=1,
    )
    check_graph(made.SerializeToString(), ONNX)


def test_a_tensor_must_hold_the_numbers_that_its_shape_says() -> None:
    made = model()
    made.graph.initializer[0].dims[:] = [BIG, BIG]
    with pytest.raises(BundleError, match=r"\[1000000000, 1000000000\]"):
        check_graph(made.SerializeToString(), ONNX)


def test_lists_joined_to_themselves_take_no_memory() -> None:
    nodes = [helper.make_node("Concat", [f"n{i}"] * 64, [f"n{i + 1}"], axis=0) for i in range(200)]
    with at_once_and_without_memory():
        check_graph(with_node(*nodes, n0=[1] * 64).SerializeToString(), ONNX)


@pytest.mark.parametrize(
    "content",
    [
        bytes_field(7, bytes_field(1, bytes_field(4, b"Relu")) + bytes_field(1, b"") * 2_000_000),
        bytes_field(7, bytes_field(1, bytes_field(4, b"Relu"))) + bytes_field(6, b"x" * (17 << 20)),
        bytes_field(7, bytes_field(1, bytes_field(4, b"Relu") + bytes_field(5, bytes_field(8, b"\0" * 2_000_000)))),
    ],
    ids=["operators", "text", "numbers"],
)
def test_a_graph_of_millions_of_parts_is_refused_in_little_time(content: bytes) -> None:
    with at_once_and_without_memory(10), pytest.raises(BundleError, match="more than"):
        check_graph(content, ONNX)


def test_graphs_in_graphs_are_followed_only_so_deep() -> None:
    content = b""
    for _ in range(5000):
        content = bytes_field(1, bytes_field(5, bytes_field(6, content)))
    with pytest.raises(BundleError, match="nests graphs"):
        check_graph(bytes_field(7, content), ONNX, trusted=True)
    with pytest.raises(BundleError):
        check_graph(bytes_field(7, content), ONNX)


@settings(max_examples=examples(125, 500), deadline=2000)
@given(content=st.binary(max_size=300), trusted=st.booleans())
def test_no_bytes_at_all_raise_anything_else(content: bytes, trusted: bool) -> None:
    for name in ("model.onnx", "model.ort"):
        with contextlib.suppress(BundleError):
            check_graph(content, Path(name), trusted=trusted)


def ort_format(content: bytes, folder: Path) -> bytes:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.save_model_format", "ORT")
    options.optimized_model_filepath = str(folder / "made.ort")
    onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return (folder / "made.ort").read_bytes()


@pytest.fixture(scope="module")
def both_formats(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    content = model().SerializeToString()
    return {"model.onnx": content, "model.ort": ort_format(content, tmp_path_factory.mktemp("ort"))}


@settings(max_examples=examples(150, 600), deadline=2000)
@given(data=st.data())
def test_a_changed_graph_raises_nothing_else_and_takes_no_time(
    both_formats: dict[str, bytes], data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(sorted(both_formats)))
    content = bytearray(both_formats[name])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        end = data.draw(st.integers(at, min(len(content), at + 8)))
        content[at:end] = data.draw(st.binary(max_size=8))
        if not content:
            break
    with contextlib.suppress(BundleError):
        check_graph(bytes(content), Path(name), trusted=data.draw(st.booleans()))


@settings(max_examples=examples(75, 300), deadline=2000)
@given(data=st.data())
def test_what_is_let_through_is_what_onnx_reads(both_formats: dict[str, bytes], data: st.DataObject) -> None:
    """Whatever is changed: if the walk takes a file, it saw the operators and tensors that protobuf sees in it."""
    content = bytearray(both_formats["model.onnx"])
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] = data.draw(st.integers(0, 255))
    found = GraphContents(ONNX, trusted=True)
    try:
        read_onnx_contents(bytes(content), found)
    except BundleError:
        return
    try:
        parsed = Model.FromString(bytes(content))
    except Exception:  # protobuf refuses more: strings that are not UTF-8, broken messages that hold no operator
        return
    assert [(n.operator, n.inputs, n.outputs) for n in found.nodes] == [
        (n.op_type, list(n.input), list(n.output)) for n in parsed.graph.node
    ]
    assert found.constants.keys() == {tensor.name for tensor in parsed.graph.initializer}
    assert not any(t.external_data or t.data_location for t in parsed.graph.initializer)


@settings(max_examples=examples(25, 100), deadline=2000)
@given(
    values=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=64),
    raw=st.booleans(),
    operators=st.lists(st.sampled_from(sorted(OPERATORS)), min_size=1, max_size=5),
)
def test_valid_graphs_are_read_as_onnx_reads_them(values: list[int], raw: bool, operators: list[str]) -> None:
    tensor = (
        numpy_helper.from_array(np.array(values, np.int64), "n")
        if raw
        else helper.make_tensor("n", TensorProto.INT64, [len(values)], values)
    )
    nodes = [helper.make_node(name, ["n"], [f"o{i}"], pads=values) for i, name in enumerate(operators)]
    made = helper.make_model(helper.make_graph(nodes, "g", [], [], [tensor]))
    found = GraphContents(ONNX, trusted=False)
    read_onnx_contents(made.SerializeToString(), found)
    assert [node.operator for node in found.nodes] == operators
    assert all(node.attributes == {"pads": tuple(values)} for node in found.nodes)
    assert found.constants == {"n": tuple(values)}


def test_both_formats_of_a_graph_are_found_to_hold_the_same(both_formats: dict[str, bytes]) -> None:
    one, other = GraphContents(ONNX, trusted=False), GraphContents(Path("model.ort"), trusted=False)
    read_onnx_contents(both_formats["model.onnx"], one)
    read_ort_contents(both_formats["model.ort"], other)
    assert sorted(node.operator for node in one.nodes) == sorted(node.operator for node in other.nodes)
    assert one.constants == other.constants
    assert one.weights == other.weights


@pytest.mark.parametrize("what", ["a random operator", "a loop without end", "an operator of Microsoft"])
def test_a_strange_operator_in_onnxruntimes_format_is_refused(what: str, tmp_path: Path) -> None:
    make, sentence = STRANGE_OPERATORS[what]
    made = make()
    made.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    made.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        for node in made.graph.node[:1]
        for name in node.output
    )
    content = ort_format(made.SerializeToString(), tmp_path)
    with pytest.raises(BundleError, match=sentence):
        check_graph(content, Path("model.ort"))
    check_graph(content, Path("model.ort"), trusted=True)


def test_a_format_is_not_taken_for_the_other(both_formats: dict[str, bytes]) -> None:
    with pytest.raises(BundleError, match=r"model\.ort .*onnxruntime's format"):
        check_graph(both_formats["model.onnx"], Path("model.ort"))
    with pytest.raises(BundleError, match="ONNX file"):
        check_graph(both_formats["model.ort"], ONNX)


def test_the_table_of_fields_is_onnxs_own() -> None:
    letters = {"TYPE_MESSAGE": "b", "TYPE_STRING": "b", "TYPE_BYTES": "b", "TYPE_FLOAT": "i", "TYPE_DOUBLE": "q"}
    left_out = {"training_info", "sparse_initializer", "segment", "string_data", "sparse_tensor", "sparse_tensors"}
    looked_into = set()
    for message, fields in MESSAGES.items():
        descriptor = getattr(onnx, message).DESCRIPTOR
        assert {f.name for f in descriptor.fields if f.number not in fields} <= left_out
        for number, (kinds, inside_) in fields.items():
            known = descriptor.fields_by_number[number]
            wire = letters.get(
                next(n for n in dir(known) if n.startswith("TYPE_") and getattr(known, n) == known.type), "v"
            )
            many = known.is_repeated if hasattr(known, "is_repeated") else known.label == known.LABEL_REPEATED
            packs = many and wire != "b"
            assert kinds == wire + ("b" if packs else "") + ("*" if many else ""), known.full_name
            assert not inside_ or known.message_type.name == inside_
            if inside_:
                looked_into.add(inside_)
            elif known.message_type is not None:
                # A message that is not looked into can hold none of those that are.
                assert known.message_type.name not in MESSAGES
    assert looked_into == MESSAGES.keys() - {"ModelProto"}
    assert AttributeProto.DESCRIPTOR.fields_by_name["g"].number == 6


def test_every_operator_of_the_list_is_onnxs_and_gives_the_same_each_time() -> None:
    schemas = {schema.name: schema for schema in onnx.defs.get_all_schemas() if schema.domain == ""}
    assert schemas.keys() | {"Scatter"} >= OPERATORS
    for name in OPERATORS & schemas.keys():
        kinds = {str(a.type) for a in schemas[name].attributes.values()}
        assert not any("GRAPH" in kind for kind in kinds)
        assert "seed" not in schemas[name].attributes
