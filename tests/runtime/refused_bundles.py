"""Bundles that every reader must refuse, small and with right digests: what scripts/make_test_vectors writes.

Each is a sound bundle of `bundle_maker` of which one thing is changed. `SAID` is what every reader's sentence holds.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import bundle_maker
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

__all__ = ["REFUSED", "Refused", "bytes_field", "number_field", "write"]

WORDS = ("<unk>", "<pad>", "the", "cup")
BIG = 10**9


@dataclass(frozen=True)
class Refused:
    """A change of a sound bundle, of the text of its classifier.json or of its graph, and what is said of it."""

    said: str
    json: Callable[[str], bytes] = str.encode
    graph: Callable[[onnx.ModelProto], bytes] = onnx.ModelProto.SerializeToString


def number_field(number: int, value: int) -> bytes:
    """A field of a protobuf message that holds a whole number."""
    return _varint(number << 3) + _varint(value)


def bytes_field(number: int, content: bytes) -> bytes:
    """A field of a protobuf message that holds bytes, a string or a message."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    return bytes([value]) if value < 0x80 else bytes([value & 0x7F | 0x80]) + _varint(value >> 7)


def _swapped(old: str, new: str) -> Callable[[str], bytes]:
    def change(text: str) -> bytes:
        assert text.count(old) == 1, old
        return text.replace(old, new).encode("utf-8", "surrogatepass")

    return change


def _limited(members: str) -> Callable[[str], bytes]:
    return _swapped('"embedding_rows": 4', f'"embedding_rows": 4, "limits": {{{members}}}')


def _real_token(value: str = "true") -> Callable[[str], bytes]:
    return _limited(f'"real_token": {value}')


def _alone(value: str) -> Callable[[str], bytes]:
    return _swapped('"embedding_rows": 4', f'"embedding_rows": 4, "alone": {value}')


def _thresholds(value: str) -> Callable[[str], bytes]:
    return _swapped('"activation": "softmax"', f'"activation": "softmax",\n "thresholds": {value}')


def _of_tokens(members: str = "", value: str = '"tokens"') -> Callable[[str], bytes]:
    """Labels of tokens, of which the golden example has two rows."""

    def change(text: str) -> bytes:
        rows = re.sub(r'"logits": (\[[^]]*\])', r'"logits": [\1, \1]', text)
        return _swapped('"activation": "softmax"', f'"activation": "softmax", "labels_of": {value}{members}')(rows)

    return change


def _two_texts(value: str) -> Callable[[str], bytes]:
    return _swapped('"activation": "softmax"', f'"activation": "softmax", "texts": {value}')


def _crf(start: str, transitions: str = "[[0.5, -1.5], [2.0, 0.0]]") -> str:
    return f', "crf": {{"start": {start}, "transitions": {transitions}, "end": [0.25, -0.75]}}'


def _example_of_padding(text: str) -> bytes:
    return _swapped('"ids": [2, 3]', '"ids": [0, 0]')(_real_token()(text).decode())


def _ruled(members: str) -> Callable[[str], bytes]:
    """Further members of the text rules."""
    return _swapped('"ngrams": 1', f'"ngrams": 1, {members}')


def _external(lowercase: str = "false", more: str = "") -> Callable[[str], bytes]:
    """A bundle that does not split texts."""
    rules = f'{more}"tokenizer": "external", "lowercase": {lowercase}'
    return _swapped('"tokenizer": "basic_english", "lowercase": true', rules)


def _with_stream(changed: Callable[[str], bytes]) -> Callable[[str], bytes]:
    step = {"file": "model.step.onnx", "sha256": "1" * 64, "state_size": 4}

    def change(text: str) -> bytes:
        return _swapped('"examples": ', f'"stream": {json.dumps(step)},\n "examples": ')(changed(text).decode())

    return change


def _with(*nodes: onnx.NodeProto, **constants: object) -> Callable[[onnx.ModelProto], bytes]:
    def change(proto: onnx.ModelProto) -> bytes:
        for name, value in constants.items():
            proto.graph.initializer.append(numpy_helper.from_array(np.array(value), name))
        for node in reversed(nodes):
            proto.graph.node.insert(0, node)
        return proto.SerializeToString()

    return change


def _in_graph(content: bytes) -> Callable[[onnx.ModelProto], bytes]:
    """Bytes at the end of the graph's message."""

    def change(proto: onnx.ModelProto) -> bytes:
        graph = proto.graph.SerializeToString() + content
        proto.ClearField("graph")
        return proto.SerializeToString() + bytes_field(7, graph)

    return change


def _tensor(*more: bytes) -> bytes:
    return bytes_field(5, number_field(1, 1) + number_field(2, 1) + bytes_field(8, b"x") + b"".join(more))


def _loop() -> onnx.NodeProto:
    """A loop without end."""
    step = helper.make_tensor_value_info("i", TensorProto.INT64, [])
    go = helper.make_tensor_value_info("go", TensorProto.BOOL, [])
    again = helper.make_tensor_value_info("again", TensorProto.BOOL, [])
    body = helper.make_graph([helper.make_node("Identity", ["go"], ["again"])], "body", [step, go], [again])
    return helper.make_node("Loop", ["", "true"], ["made"], body=body)


def _function(proto: onnx.ModelProto) -> bytes:
    nodes, opset = [helper.make_node("Relu", ["x"], ["y"])], [helper.make_opsetid("", 17)]
    proto.functions.append(helper.make_function("own", "f", ["x"], ["y"], nodes, opset))
    return proto.SerializeToString()


def _too_few_numbers(proto: onnx.ModelProto) -> bytes:
    proto.graph.initializer[0].dims[:] = [BIG, BIG]
    return proto.SerializeToString()


def _marked(proto: onnx.ModelProto) -> bytes:
    # A valid ONNX file whose producer's name puts the mark of onnxruntime's format where it is looked for.
    proto.ClearField("producer_name")
    return bytes_field(2, b"..ORTM") + proto.SerializeToString()


def _sizes(operator: str, inputs: Sequence[str], **constants: object) -> Callable[[onnx.ModelProto], bytes]:
    return _with(helper.make_node(operator, inputs, ["made"]), **constants)


_LOCATION, _VALUE = bytes_field(1, b"location"), bytes_field(2, b"weights")
_ELSEWHERE = "further files"
_LOOP = _loop()

REFUSED: dict[str, Refused] = {
    "version-other": Refused("another release", json=_swapped('"version": 1', '"version": 2')),
    "version-none": Refused("another release", json=_swapped('"version": 1', '"version": 0')),
    "torchscript-null": Refused("torchscript", json=_swapped('"examples": ', '"torchscript": null,\n "examples": ')),
    "json-byte-order-mark": Refused("not JSON", json=lambda text: b"\xef\xbb\xbf" + text.encode()),
    "json-utf-16": Refused("not JSON", json=lambda text: text.encode("utf-16")),
    "json-cesu-8": Refused("not JSON", json=_swapped('"name": "x"', '"name": "\ud83d\ude00"')),
    "json-name-twice": Refused("twice", json=_swapped('"name": "x"', '"name": "x",\n "n\\u0061me": "x"')),
    "json-name-twice-inside": Refused("twice", json=_swapped('"provenance": {', '"provenance": {"a": 1, "a": 1, ')),
    "json-more-behind": Refused("not JSON", json=lambda text: text.encode() + b"{}"),
    "json-tolerance-too-large": Refused("too large", json=_swapped("1e-05", "9" * 400)),
    "json-fraction-too-large": Refused("too large", json=_swapped('"provenance": {', '"provenance": {"a": 1e999, ')),
    "json-ngrams-too-many": Refused("ngrams", json=_swapped('"ngrams": 1', '"ngrams": 1000000000')),
    "json-id-too-large": Refused("padding_id", json=_swapped('"padding_id": 0', '"padding_id": 9223372036854775808')),
    "json-rows-too-many": Refused("embedding_rows", json=_swapped('"embedding_rows": 4', '"embedding_rows": 1e300')),
    "limits-none": Refused("limits", json=_swapped('"embedding_rows": 4', '"embedding_rows": 4, "limits": {}')),
    "limits-unknown": Refused("most", json=_limited('"most": 9')),
    "limits-zero": Refused("min_tokens", json=_limited('"min_tokens": 0')),
    "limits-min-too-large": Refused("min_tokens", json=_limited('"min_tokens": 65537')),
    "limits-max-too-large": Refused("max_tokens", json=_limited('"max_tokens": 2147483648')),
    "limits-fraction": Refused("max_batch", json=_limited('"max_batch": 1.5')),
    "limits-crossed": Refused("at least 3 and at most 2", json=_limited('"min_tokens": 3, "max_tokens": 2')),
    "limits-example-too-short": Refused("golden example", json=_limited('"min_tokens": 3')),
    "limits-example-too-long": Refused("golden example", json=_limited('"max_tokens": 1')),
    "limits-stream": Refused("a stream begins with one", json=_with_stream(_limited('"min_tokens": 2'))),
    "limits-real-token-false": Refused("real_token", json=_real_token("false")),
    "limits-real-token-one": Refused("real_token", json=_real_token("1")),
    "limits-real-token-null": Refused("real_token", json=_real_token("null")),
    "limits-real-token-stream": Refused("a stream may begin with one", json=_with_stream(_real_token())),
    "limits-real-token-example": Refused("golden example", json=_example_of_padding),
    "alone-none": Refused("alone", json=_alone("[]")),
    "alone-null": Refused("alone", json=_alone("null")),
    "alone-number": Refused("alone", json=_alone("1")),
    "alone-twice": Refused("alone", json=_alone("[1, 1]")),
    "alone-fraction": Refused("alone", json=_alone("[0.5]")),
    "alone-negative": Refused("alone", json=_alone("[-1]")),
    "alone-beyond-the-rows": Refused("alone", json=_alone("[0, 4]")),
    "thresholds-too-few": Refused("thresholds", json=_thresholds("[0.5]")),
    "thresholds-too-many": Refused("thresholds", json=_thresholds("[0.5, 0.5, 0.5]")),
    "thresholds-above-one": Refused("thresholds", json=_thresholds("[0.5, 1.5]")),
    "thresholds-below-zero": Refused("thresholds", json=_thresholds("[-0.1, 0.5]")),
    "thresholds-null": Refused("thresholds", json=_thresholds("null")),
    "thresholds-of-strings": Refused("thresholds", json=_thresholds('["0.5", "0.5"]')),
    "labels-of-texts": Refused("labels_of", json=_of_tokens(value='"texts"')),
    "labels-of-null": Refused("labels_of", json=_of_tokens(value="null")),
    "labels-of-tokens-example-of-a-text": Refused(
        "logits", json=_swapped('"activation": "softmax"', '"activation": "softmax", "labels_of": "tokens"')
    ),
    "labels-of-tokens-example-of-fewer-tokens": Refused(
        "golden example", json=lambda text: _of_tokens()(text.replace('"ids": [2, 3]', '"ids": [2, 3, 3]'))
    ),
    "labels-of-tokens-thresholds": Refused("thresholds", json=_of_tokens(', "thresholds": [0.5, 0.5]')),
    "labels-of-tokens-several": Refused(
        "activation", json=lambda text: _of_tokens()(text).replace(b'"softmax"', b'"sigmoid"')
    ),
    "two-texts-and-a-graph-of-one": Refused("inputs", json=_two_texts("2")),
    "texts-of-three": Refused("texts", json=_two_texts("3")),
    "second-tokens-of-one-text": Refused(
        "inputs",
        json=lambda text: re.sub(r'"inputs": \[[^]]*\]', '"inputs": ["tokens", "second_tokens"]', text).encode(),
    ),
    "features-and-a-graph-of-a-text-alone": Refused(
        "inputs",
        json=_swapped('"activation": "softmax"', '"activation": "softmax", "features": [{"name": "price"}]'),
    ),
    "features-input-of-a-text-alone": Refused(
        "inputs",
        json=lambda text: re.sub(r'"inputs": \[[^]]*\]', '"inputs": ["tokens", "features"]', text).encode(),
    ),
    "crf-of-texts": Refused(
        "crf", json=_swapped('"activation": "softmax"', '"activation": "softmax"' + _crf("[0.0, 0.0]"))
    ),
    "crf-of-three-labels": Refused("labels", json=_of_tokens(_crf("[0.0, 0.0, 0.0]"))),
    "crf-transitions-too-few": Refused("transitions", json=_of_tokens(_crf("[0.0, 0.0]", "[[0.0, 0.0]]"))),
    "crf-without-an-end": Refused(
        "end", json=_of_tokens(', "crf": {"start": [0.0, 0.0], "transitions": [[0.0, 0.0], [0.0, 0.0]]}')
    ),
    "crf-not-a-number": Refused("crf", json=_of_tokens(_crf('[0.0, "1"]'))),
    "rules-unknown": Refused("most", json=_ruled('"most": 9')),
    "rules-steps-none": Refused("steps", json=_ruled('"steps": []')),
    "rules-step-unknown": Refused("steps", json=_ruled('"steps": [{"match": "a+", "by": "a"}]')),
    "rules-step-of-two-kinds": Refused("by", json=_ruled('"steps": [{"lowercase": true, "by": ""}]')),
    "rules-step-that-replaces-nothing": Refused("step", json=_ruled('"steps": [{"replace": "", "by": "a"}]')),
    "rules-step-too-long": Refused("step", json=_ruled(f'"steps": [{{"replace": "{"a" * 257}", "by": ""}}]')),
    "rules-step-of-a-number": Refused("step", json=_ruled('"steps": [{"replace": "a", "by": 1}]')),
    "rules-steps-that-grow": Refused(
        "grow more than 64 times", json=_ruled('"steps": [' + ", ".join(['{"replace": "a", "by": "aa"}'] * 7) + "]")
    ),
    "rules-steps-that-grow-slowly": Refused(
        "grow more than 64 times",
        json=_ruled('"steps": [{"keep": ["az"], "by": "0101010101"}, {"replace": "01", "by": "abcdefghijklmn"}]'),
    ),
    "rules-range-backwards": Refused("keep", json=_ruled('"steps": [{"keep": ["za"], "by": ""}]')),
    "rules-range-of-three": Refused("step", json=_ruled('"steps": [{"keep": ["abc"], "by": ""}]')),
    "rules-stop-words-twice": Refused("stop_words", json=_ruled('"stop_words": ["a", "b", "a"]')),
    "rules-first-id-too-large": Refused("id", json=_ruled('"first_id": 4')),
    "rules-last-id-negative": Refused("last_id", json=_ruled('"last_id": -1')),
    "rules-width-none": Refused("max_width", json=_ruled('"max_width": 0')),
    "rules-width-too-large": Refused("min_width", json=_ruled('"min_width": 65537')),
    "rules-width-crossed": Refused("max_width", json=_ruled('"min_width": 9, "max_width": 8')),
    "rules-side-unknown": Refused("pad_side", json=_ruled('"min_width": 9, "pad_side": "both"')),
    "rules-external-lower-cased": Refused("lower-case", json=_external(lowercase="true")),
    "rules-external-cleaned": Refused("clean", json=_external(more='"steps": [{"replace": "a", "by": "b"}], ')),
    "rules-stream": Refused("a stream cannot follow", json=_with_stream(_ruled('"min_width": 2'))),
    "weights-elsewhere": Refused(_ELSEWHERE, graph=_in_graph(_tensor(bytes_field(13, _LOCATION + _VALUE)))),
    "weights-elsewhere-value-first": Refused(_ELSEWHERE, graph=_in_graph(_tensor(bytes_field(13, _VALUE + _LOCATION)))),
    "weights-elsewhere-long-numbers": Refused(
        _ELSEWHERE, graph=_in_graph(_tensor(bytes_field(13, b"\x0a\x88\x80\x00location" + _VALUE)))
    ),
    "weights-elsewhere-by-mark": Refused(_ELSEWHERE, graph=_in_graph(_tensor(b"\x70\x81\x80\x00"))),
    "operator-loop": Refused("Loop", graph=_with(_LOOP, true=True)),
    "operator-random": Refused("RandomNormal", graph=_with(helper.make_node("RandomNormal", [], ["made"], shape=[2]))),
    "operator-other-domain": Refused(
        "com.microsoft.Gelu", graph=_with(helper.make_node("Gelu", ["linear"], ["made"], domain="com.microsoft"))
    ),
    "operator-sequence": Refused("SequenceEmpty", graph=_with(helper.make_node("SequenceEmpty", [], ["made"]))),
    "operator-with-a-graph": Refused(
        "graph inside",
        graph=_with(helper.make_node("Identity", ["true"], ["made"], body=_LOOP.attribute[0].g), true=True),
    ),
    "functions": Refused("functions", graph=_function),
    "size-constant": Refused("ConstantOfShape", graph=_sizes("ConstantOfShape", ["n"], n=[BIG])),
    "size-expand": Refused("Expand", graph=_sizes("Expand", ["axis", "n"], n=[50_000, 50_000])),
    "size-tile": Refused("Tile", graph=_sizes("Tile", ["axis", "n"], n=[BIG])),
    "size-range": Refused("Range", graph=_sizes("Range", ["a", "z", "step"], a=0, z=BIG, step=1)),
    "size-range-fractions": Refused("Range", graph=_sizes("Range", ["a", "z", "step"], a=0.0, z=1.0, step=1e-9)),
    "size-range-backwards": Refused("Range", graph=_sizes("Range", ["a", "z", "step"], a=0, z=-BIG, step=-1)),
    "size-pad": Refused("Pad", graph=_sizes("Pad", ["axis", "n"], n=[0, BIG])),
    "size-pads-of-a-convolution": Refused(
        "Conv", graph=_with(helper.make_node("Conv", ["w", "w"], ["made"], pads=[BIG, 0]))
    ),
    "size-handed-on": Refused(
        "ConstantOfShape",
        graph=_with(
            helper.make_node("Constant", [], ["n"], value_ints=[BIG]),
            helper.make_node("Shape", ["tokens"], ["s"]),
            helper.make_node("Concat", ["s", "n"], ["joined"], axis=0),
            helper.make_node("Identity", ["joined"], ["same"]),
            helper.make_node("ConstantOfShape", ["same"], ["made"]),
        ),
    ),
    "tensor-without-its-numbers": Refused("of the shape", graph=_too_few_numbers),
    "tensor-twice": Refused("twice", graph=_in_graph(_tensor(bytes_field(9, b"\0" * 4), bytes_field(4, b"\0" * 4)))),
    "graph-sparse-tensor": Refused("field 15 ", graph=_in_graph(bytes_field(15, b""))),
    "graph-unknown-field": Refused("field 1000 ", graph=_in_graph(number_field(1000, 1))),
    "graph-other-wire-type": Refused("field 1 ", graph=_in_graph(number_field(1, 1))),
    "graph-group": Refused("field 1 ", graph=_in_graph(b"\x0b\x0c")),
    "graph-twice": Refused("twice", graph=lambda proto: proto.SerializeToString() + bytes_field(7, b"")),
    "graph-cut-short": Refused("cut short", graph=lambda proto: proto.SerializeToString() + b"\x12\x05a"),
    "graph-cut-in-a-number": Refused("within a number", graph=lambda proto: proto.SerializeToString() + b"\x28\x80"),
    "graph-number-without-end": Refused(
        "more than 10 bytes", graph=lambda proto: b"\x08" + b"\x80" * 10 + b"\0" + proto.SerializeToString()
    ),
    "graph-marked-as-ort": Refused("onnxruntime's own format", graph=_marked),
    "graph-empty": Refused("no operator", graph=lambda _: b""),
}


def write(folder: Path, name: str) -> Path:
    """Write the bundle of that name to `folder`; its digests are right.

    Example:
        >>> write(Path("strange"), "operator-loop")
        PosixPath('strange')
    """
    refused = REFUSED[name]
    bundle_maker.make(
        folder,
        name="x",
        labels=("World", "Sports"),
        vocabulary=WORDS,
        texts=("the cup",),
        embedding=2,
        hidden=2,
        torchscript=False,
        change=lambda manifest: bundle_maker.replace(manifest, provenance={"made": "for a test"}),
    )
    graph = refused.graph(onnx.load_model_from_string((folder / "model.onnx").read_bytes()))
    (folder / "model.onnx").write_bytes(graph)
    text = (folder / "classifier.json").read_text(encoding="utf-8")
    stated = json.loads(text)
    text = text.replace(stated["graph"]["sha256"], hashlib.sha256(graph).hexdigest())
    zeroed = refused.json(text.replace(stated["digest"], "0" * 64))
    digest = hashlib.sha256(zeroed).hexdigest().encode()
    (folder / "classifier.json").write_bytes(zeroed.replace(b"0" * 64, digest))
    return folder
