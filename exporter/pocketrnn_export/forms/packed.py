"""The packed file: all of a classifier in one file that an engine opens where it lies. docs/packed-format.md defines it."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import onnx

from pocketrnn.errors import ExportError
from pocketrnn.manifest import Example, Graph, Manifest, document_of
from pocketrnn.text import TextRules
from pocketrnn.text_steps import Keep, Lowercase, Replace
from pocketrnn_export.forms import lowering_layers
from pocketrnn_export.forms.lowering import Lowering
from pocketrnn_export.forms.one_text import observed
from pocketrnn_export.forms.packed_program import Program

__all__ = ["PACKED_SUFFIX", "packed", "program_of"]

PACKED_SUFFIX: Final = ".prnn"
_VERSION: Final = 1
_HEADER: Final = 256
_ALIGN: Final = 64
_SECTIONS_AT: Final = 128
_NONE: Final = -1
_LARGEST: Final = (1 << 31) - 1
_TOKENIZERS: Final = ("basic_english", "whitespace", "characters", "space")
# The files of this wing that bring operators register them when they are imported.
_OPERATORS: Final = (lowering_layers,)


def program_of(content: bytes, graph: Graph) -> Program:
    """The program of an ONNX graph, for one text.

    Args:
        content: the ONNX file.
        graph: what classifier.json says of it.

    Raises:
        ExportError: the engine has no operation for an operator; the message names it and where it stands.
    """
    model = onnx.load_from_string(content)
    return Lowering(observed(_with_plain_tables(model), graph)).run()


def packed(manifest: Manifest, program: Program) -> bytes:
    """The bytes of a packed file.

    Args:
        manifest: what it says; the bundle's own entries of files stay in it as where it comes from.
        program: from ids to logits.

    Raises:
        ExportError: it would be larger than 2 GiB.
    """
    values, ops, weights, regions = program.finished()
    limits = manifest.graph.limits
    sections = [
        json.dumps(document_of(manifest), ensure_ascii=True, separators=(",", ":")).encode(),
        _strings(manifest.labels),
        _rules(manifest.text),
        _strings(manifest.text.stop_words, looked_up=True),
        _strings(manifest.vocabulary, looked_up=True),
        values,
        ops,
        weights,
        b"".join(map(_example, manifest.examples)),
    ]
    header = [
        len(manifest.labels),
        ("softmax", "sigmoid").index(manifest.activation),
        manifest.graph.embedding_rows,
        1 if limits is None else limits.min_tokens or 1,
        _LARGEST if limits is None else limits.max_tokens or _LARGEST,
        program.output,
        len(program.values),
        len(program.ops),
        regions,
        len(manifest.examples),
    ]
    body, table = bytearray(), []
    for section in sections:
        table += [_HEADER + len(body), len(section)]
        body += section + bytes(-len(section) % _ALIGN)
    size = _HEADER + len(body)
    if size > _LARGEST:
        raise ExportError("The packed file would be larger than 2 GiB.", "Use the bundle with onnxruntime.")
    head = bytearray(_HEADER)
    struct.pack_into("<4s3I", head, 0, b"PRNN", _VERSION, size, 0)
    struct.pack_into(f"<{len(header)}I", head, 64, *header)
    struct.pack_into(f"<{len(table)}I", head, _SECTIONS_AT, *table)
    content = head + body
    content[32:64] = hashlib.sha256(content).digest()
    struct.pack_into("<2Q", content, 16, *_sums(content))
    return bytes(content)


def _sums(content: bytes | bytearray) -> tuple[int, int]:
    """The sum of the file's words, and that of every word times its position from 1; both modulo 2^64."""
    words = np.frombuffer(content, "<u4").astype(np.uint64)
    positions = np.arange(1, len(words) + 1, dtype=np.uint64)
    return int(words.sum(dtype=np.uint64)), int((words * positions).sum(dtype=np.uint64))


def _utf8(text: str) -> bytes:
    # Half of a surrogate pair is written as if it were a character, which the engine reads so too.
    return text.encode("utf-8", "surrogatepass")


def _words(numbers: Iterable[int]) -> bytes:
    return b"".join(struct.pack("<I", number & 0xFFFFFFFF) for number in numbers)


def _whole(content: bytes) -> bytes:
    return content + bytes(-len(content) % 4)


def _hash(string: bytes) -> int:
    made = 2166136261
    for byte in string:
        made = ((made ^ byte) * 16777619) & 0xFFFFFFFF
    made ^= made >> 15
    made = (made * 0x2C1B3C6D) & 0xFFFFFFFF
    return made ^ made >> 12


def _strings(strings: Sequence[str], *, looked_up: bool = False) -> bytes:
    """Strings by their numbers and, where they are looked up, a table of slots: the hash's rest, and the number + 1."""
    encoded = [_utf8(string) for string in strings]
    bits = (len(encoded) + 1).bit_length()
    slots = [0] * (len(encoded) * 4 // 3 + 1 if looked_up and encoded else 0)
    for number, string in enumerate(encoded):
        made = _hash(string)
        at = made * len(slots) >> 32 if slots else 0
        while slots and slots[at]:
            at = (at + 1) % len(slots)
        if slots:
            slots[at] = (made << bits & 0xFFFFFFFF) | (number + 1)
    ends = np.cumsum([0, *map(len, encoded)]).tolist()
    return _words([len(encoded), len(slots), bits, ends[-1], *ends, *slots]) + _whole(b"".join(encoded))


def _rules(rules: TextRules) -> bytes:
    def given(number: int | None) -> int:
        return _NONE if number is None else number

    head = [
        _TOKENIZERS.index(rules.tokenizer),
        int(rules.lowercase),
        rules.ngrams,
        rules.max_tokens or 0,
        given(rules.unknown_id),
        rules.empty_id,
        rules.padding_id,
        given(rules.first_id),
        given(rules.last_id),
        rules.max_width or 0,
        rules.min_width or 0,
        int(rules.cut_side == "left"),
        int(rules.pad_side == "left"),
        len(rules.steps),
    ]
    return _words(head) + b"".join(map(_step, rules.steps))


def _step(step: Replace | Keep | Lowercase) -> bytes:
    kind, first, content, by = 2, 0, b"", b""
    if isinstance(step, Replace):
        what = _utf8(step.what)
        kind, first, content, by = 0, len(what), _whole(what), _utf8(step.by)
    elif isinstance(step, Keep):
        ranges = _merged((ord(some[0]), ord(some[-1])) for some in step.ranges)
        kind, first, content, by = 1, len(ranges), _words(end for some in ranges for end in some), _utf8(step.by)
    content += _whole(by)
    return _words([kind, 4 + len(content) // 4, first, len(by)]) + content


def _merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    made: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if made and start <= made[-1][1] + 1:
            made[-1] = (made[-1][0], max(made[-1][1], end))
        else:
            made.append((start, end))
    return made


def _example(example: Example) -> bytes:
    text = _utf8(example.text)
    logits = np.array(example.logits, "<f4").tobytes()
    return _words([len(text), len(example.ids)]) + _whole(text) + _words(example.ids) + logits


def _with_plain_tables(model: onnx.ModelProto) -> bytes:
    """A graph whose tables of rows are float32, where they were stored in fewer bytes and brought back after they were
    looked up. The program stores them in as few bytes again."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    made = {name: node for node in model.graph.node for name in node.output}

    def looked_up(name: str) -> tuple[str, str] | None:
        node = made.get(name)
        if node is None or node.op_type != "Gather" or node.input[0] not in tensors:
            return None
        axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
        return (node.input[0], node.input[1]) if axis == 0 else None

    def array(name: str) -> Any:
        return onnx.numpy_helper.to_array(tensors[name])

    for node in model.graph.node:
        if node.op_type == "Mul":
            cast, scaled = made.get(node.input[0]), looked_up(node.input[1])
            stored = None if cast is None or cast.op_type != "Cast" else looked_up(cast.input[0])
            if stored is None or scaled is None or stored[1] != scaled[1] or array(stored[0]).dtype != np.int8:
                continue
            table = array(stored[0]).astype(np.float32) * array(scaled[0])
        elif node.op_type == "Cast":
            stored = looked_up(node.input[0])
            if stored is None or array(stored[0]).dtype != np.float16:
                continue
            table = array(stored[0]).astype(np.float32)
        else:
            continue
        name = f"{stored[0]}.as float32"
        if name not in tensors:
            tensors[name] = onnx.numpy_helper.from_array(table, name)
            model.graph.initializer.append(tensors[name])
        plain = onnx.helper.make_node("Gather", [name, stored[1]], list(node.output), name=node.name, axis=0)
        node.CopyFrom(plain)
    content: bytes = model.SerializeToString()
    return content
