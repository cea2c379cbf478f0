"""A packed file from a stranger: the engine, built with sanitizers, refuses it or answers, and reads nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import bundle_maker
import input_output_vectors
import number_vectors
import numpy as np
import pytest
import subword_vectors
import user_modules
from compiled_programs import compiled_once
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from packing_tools import packed_bundle, packed_graph
from refused_packed import File
from slow_case_sampling import examples, mostly_slow
from test_packed_programs import LABELS, _Numbers, graph_of_kind, vocabulary_of
from test_packed_streams import vocabulary_for

from pocketrnn.bundle import manifest as manifests
from pocketrnn.bundle.manifest import Graph
from pocketrnn.bundle.packed_file import encode_packed_text_rules
from pocketrnn.text import TextRules
from pocketrnn_export.forms.weight_quantization import Storage, quantize_graph
from pocketrnn_native import EngineError, Packed
from pocketrnn_native._engine import CONTENT

HERE = Path(__file__).parent
VECTORS = HERE.parent / "vectors"
SOURCE = HERE.parents[1] / "runtime" / "native" / "src"
BUNDLES = sorted(path.parent for path in VECTORS.glob("*/classifier.json"))
# Each byte of a file is changed, and the whole file read again.
BY_SIZE = sorted(BUNDLES, key=lambda bundle: (VECTORS / "packed" / f"{bundle.name}.prnn").stat().st_size)


@pytest.fixture(scope="session")
def hostile(compiler: str, programs: Path) -> Path:
    """The program that changes files, with the engine, both built with sanitizers."""
    # With -O1 it compiles for 12.6 s, with -O0 for 7.2, and runs as long; with -g1 in place of -g, for 6.3.
    line = [compiler, "-std=gnu11", "-g1", "-O0", "-fsanitize=address,undefined", "-fno-sanitize-recover=all",
            "-DPRNN_GUARDED", "-Wall", "-Wextra", "-Werror", "-Wno-psabi",
            "-Wno-missing-field-initializers", f"-I{SOURCE}", SOURCE / "pocketrnn.c", HERE / "hostile.c"]  # fmt: skip
    program, built = compiled_once(line, [SOURCE, HERE / "hostile.c"], programs, "hostile")
    if built is not None and "cannot find" in built.stderr:
        pytest.skip("the compiler has no sanitizers here")
    assert built is None or built.returncode == 0, built.stderr
    return program


def run(program: Path, content: bytes, folder: Path, times: int | None = None) -> str:
    """The program's output for a file, after it has gone through all changes without a fault."""
    path = folder / "file.prnn"
    path.write_bytes(content)
    given = [] if times is None else [str(times)]
    done = subprocess.run([str(program), str(path), *given], capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("bundle", BY_SIZE, ids=lambda bundle: bundle.name)
def test_a_file_with_any_byte_changed_or_cut_short_anywhere_is_refused(
    bundle: Path, hostile: Path, tmp_path: Path
) -> None:
    assert run(hostile, packed_bundle(bundle), tmp_path) == "0 opened\n"


@pytest.mark.parametrize("bundle", mostly_slow(BUNDLES, 14, first=8), ids=lambda bundle: bundle.name)
def test_a_file_made_to_mislead_is_refused_or_answers_without_a_fault(
    bundle: Path, hostile: Path, tmp_path: Path
) -> None:
    assert run(hostile, packed_bundle(bundle), tmp_path, examples(150, 3000)).endswith(" opened\n")


@pytest.mark.parametrize("name", mostly_slow([*number_vectors.FILES], 5))
def test_a_file_of_numbers_changed_or_made_to_mislead_is_refused_or_answers_without_a_fault(
    name: str, hostile: Path, tmp_path: Path
) -> None:
    content = number_vectors.made(name).content
    assert run(hostile, content, tmp_path) == "0 opened\n"
    assert run(hostile, content, tmp_path, examples(150, 3000)).endswith(" opened\n")


@pytest.mark.parametrize("name", input_output_vectors.FILES)
def test_a_file_of_other_inputs_or_outputs_made_to_mislead_is_refused_or_answers_without_a_fault(
    name: str, hostile: Path, tmp_path: Path
) -> None:
    content = (VECTORS / "packed" / f"{name}.prnn").read_bytes()
    assert run(hostile, content, tmp_path, examples(150, 3000)).endswith(" opened\n")


@pytest.mark.parametrize("bundle", ["external/words", *mostly_slow(["cleaned", "words", "keras", "padded"], 4)])
def test_text_rules_alone_made_to_mislead_are_refused_or_make_ids_without_a_fault(
    bundle: str, hostile: Path, tmp_path: Path
) -> None:
    content = encode_packed_text_rules(manifests.read_manifest(VECTORS / bundle))
    assert run(hostile, content, tmp_path) == "0 opened\n"
    assert run(hostile, content, tmp_path, examples(150, 3000)).endswith(" opened\n")


KINDS = [_Numbers, user_modules.MaskedAttention, user_modules.ConvolutionFirst, user_modules.FlattensParameters]


@pytest.mark.slow
@pytest.mark.parametrize("kind", mostly_slow([*KINDS, user_modules.Frozen, user_modules.Projected], 6, first=3),
                         ids=lambda kind: kind.__name__)  # fmt: skip
def test_a_program_made_to_mislead_is_refused_or_answers_without_a_fault(
    kind: type, hostile: Path, tmp_path: Path
) -> None:
    vocabulary = vocabulary_of(50 if kind is _Numbers else user_modules.WORDS)
    packed = packed_graph(*graph_of_kind(kind), vocabulary, LABELS)
    assert run(hostile, packed, tmp_path, examples(60, 3000)).endswith(" opened\n")


def with_a_table() -> tuple[bytes, Graph]:
    """A graph for one text: the last state of a layer compared with a table of labels, which is read as it is."""

    def drawn(*shape: int) -> NDArray[np.float32]:
        return np.random.default_rng(sum(shape)).normal(0, 0.3, shape).astype(np.float32)

    tensors = {
        "embedding": drawn(50, 64), "w": drawn(1, 96, 64), "r": drawn(1, 96, 32), "b": drawn(1, 192),
        "table": drawn(40, 32), "linear": drawn(4, 40), "bias": drawn(4), "axis": np.array([0]),
    }  # fmt: skip
    nodes = [
        helper.make_node("Gather", ["embedding", "tokens"], ["embedded"]),
        helper.make_node("Transpose", ["embedded"], ["x"], perm=[1, 0, 2]),
        helper.make_node("GRU", ["x", "w", "r", "b"], ["", "h"], hidden_size=32, linear_before_reset=1),
        helper.make_node("Squeeze", ["h", "axis"], ["last"]),
        helper.make_node("Transpose", ["last"], ["column"], perm=[1, 0]),
        helper.make_node("MatMul", ["table", "column"], ["compared"]),
        helper.make_node("Transpose", ["compared"], ["scores"], perm=[1, 0]),
        helper.make_node("Softmax", ["scores"], ["shares"], axis=1),
        helper.make_node("Gemm", ["shares", "linear", "bias"], ["logits"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "table",
        [helper.make_tensor_value_info("tokens", TensorProto.INT64, [1, "length"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(tensor, name) for name, tensor in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    entry = Graph("m.onnx", "0" * 64, 17, ("tokens",), padding=False, embedding_rows=50, batch=1)
    return model.SerializeToString(), entry


def test_small_weights_that_cannot_stay_in_place_are_read_without_a_fault(hostile: Path, tmp_path: Path) -> None:
    # The layer's blocks were sized before the table behind it said that nothing stays in place.
    content, graph = with_a_table()
    small = quantize_graph(content, Storage("float16", "float16"), {}).content
    packed = packed_graph(small, graph, vocabulary_of(50), LABELS)
    assert run(hostile, packed, tmp_path, examples(60, 300)).endswith(" opened\n")


@pytest.mark.slow
def test_a_step_and_saved_streams_made_to_mislead_are_refused_or_read_on_without_a_fault(
    hostile: Path, tmp_path: Path
) -> None:
    whole, cut = TextRules(tokenizer="whitespace", lowercase=False), TextRules(max_tokens=4)
    # In the fast suite the rules that cut.
    for number, rules in enumerate((cut, whole)[: examples(1, 2)]):
        vocabulary = vocabulary_for(rules)
        bundle = bundle_maker.make(tmp_path / str(number), stream=True, rules=rules, vocabulary=vocabulary)
        content = packed_bundle(bundle)
        assert run(hostile, content, tmp_path) == "0 opened\n"
        assert run(hostile, content, tmp_path, examples(100, 3000)).endswith(" opened\n")


@pytest.mark.parametrize("name", subword_vectors.STREAMS)
def test_streams_of_subwords_made_to_mislead_are_refused_or_read_on_without_a_fault(
    name: str, hostile: Path, tmp_path: Path
) -> None:
    content = (VECTORS / "packed" / f"{name}.prnn").read_bytes()
    assert run(hostile, content, tmp_path, examples(80, 3000)).endswith(" opened\n")


def test_what_is_no_packed_file_is_refused_with_the_reason() -> None:
    content = packed_bundle(VECTORS / "words")
    for wrong, reason in (
        (b"", "not a packed classifier"),
        (b"PRNN", "not a packed classifier"),
        (b"PK" + content[2:], "not a packed classifier"),
        (content[:4] + b"\x02" + content[5:], "Another release"),
        (content[:-4], "changed after it was made, or is cut short"),
        (content + bytes(4), "changed after it was made, or is cut short"),
    ):
        with pytest.raises(EngineError, match=reason):
            Packed(wrong)
    assert Packed(content).labels() == list(manifests.read_manifest(VECTORS / "words").labels)


def test_an_operation_on_no_numbers_takes_no_time_however_large_its_other_sizes_are(tmp_path: Path) -> None:
    # Found by scripts/fuzz_native: with a last size of 0, the loops over the others went on for hours.
    file = File(bytearray((VECTORS / "packed" / "binary.prnn").read_bytes()))
    # Pairs of what is added for each id and always; then which axes the operands have.
    file.put(file.op(8) + 24, 0, 1 << 20, 0, 1 << 20, 0, 1, 0, 0, 0, 0)
    file.make_sums_fit()
    path = tmp_path / "no-numbers.prnn"
    path.write_bytes(file.content)
    code = (
        "import sys\nfrom pocketrnn_native import Packed\n"
        "print(len(Packed(open(sys.argv[1], 'rb').read()).logits('w1')))"
    )
    # In a process of its own, which can be stopped.
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=30)
    assert done.stdout == f"{len(Packed(bytes(file.content)).labels())}\n", done.stderr


# Sizes whose product is 0 modulo 2^64, and two that stand for a size each, so that 64 bits do not hold the product.
_WRAPS, _ONE, _NONE = ((0, 1 << 20), (0, 1 << 20), (0, 1 << 24)), (0, 1), (0, 0)
# Files of the test vectors, with the first operation of a code, and what stands there from a field on.
WRAPPED = {
    "count": ("binary", 3, 1, [*_WRAPS]),
    "reduce": ("axes", 10, 3, [*_WRAPS]),
    "softmax": ("axes", 11, 3, [*_WRAPS]),
    "gather": ("axes", 15, 3, [*_WRAPS]),
    "argmax": ("axes", 16, 3, [*_WRAPS]),
    "cumsum": ("axes", 17, 3, [*_WRAPS]),
    # The product is 2^64 + 4.
    "binary": ("binary", 8, 4, [_ONE, (0, 173620), (0, 49477), (0, 2147418113)]),
    "copy": ("axes", 1, 2, [*_WRAPS, _ONE, _ONE]),
    "matmul of no inner numbers": ("axes", 6, 3, [(0, 1 << 24), (0, 1 << 16), _NONE, (0, 1 << 24)]),
    "matmul of no columns": ("axes", 6, 3, [(0, 1 << 30), (0, 1 << 20), (0, 1 << 20), _NONE]),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_sizes_whose_product_no_integer_holds_are_refused(name: str, hostile: Path, tmp_path: Path) -> None:
    vectors, code, field, sizes = WRAPPED[name]
    file = File(bytearray((VECTORS / "packed" / f"{vectors}.prnn").read_bytes()))
    file.put(file.op(code) + 8 + 4 * field, *[word for size in sizes for word in size])
    file.make_sums_fit()
    assert run(hostile, bytes(file.content), tmp_path, 0).endswith(" opened\n")
    for in_place in (False, True):
        with pytest.raises(EngineError) as refused:
            Packed(bytes(file.content), 0, in_place).logits("w1 w7")
        assert refused.value.args[0] == CONTENT
