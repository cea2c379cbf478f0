"""The packed test vectors are current, and answered as they say by the engine, the program and Python's Classifier."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import input_output_vectors
import numpy as np
import operation_vectors
import pytest
import refused_packed
import subword_vectors
import tag_vectors
from packing_tools import logits_of, packed_bundle
from slow_case_sampling import mostly_slow

from pocketrnn import Classifier, verify
from pocketrnn.bundle import packed_enums
from pocketrnn.errors import BundleError, LimitError, PocketRNNError
from pocketrnn_export.forms.packed_file.program import _LAYOUT
from pocketrnn_native import EngineError, Packed
from pocketrnn_native._engine import CONTENT, COSTLY, Stream

VECTORS = Path(__file__).parents[1] / "vectors"
PACKED = VECTORS / "packed"
NATIVE = Path(__file__).parents[2] / "runtime" / "native"
BUNDLES = sorted(path.parent for path in VECTORS.glob("*/classifier.json"))
OPERATIONS = sorted(operation_vectors.FILES)
SUBWORDS = sorted(subword_vectors.FILES)
STREAMS = sorted(subword_vectors.STREAMS)
TAGGERS = sorted(tag_vectors.FILES)
OTHERS = sorted(input_output_vectors.FILES)


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]


REFUSED = lines_of(PACKED / "refused.jsonl")


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda bundle: bundle.name)
def test_a_packed_bundle_is_current(bundle: Path) -> None:
    assert packed_bundle(bundle) == (PACKED / f"{bundle.name}.prnn").read_bytes(), "Run scripts/make_test_vectors."


@pytest.mark.parametrize("name", OPERATIONS + SUBWORDS)
def test_a_file_of_operations_or_subwords_is_current_and_answered_as_it_says(name: str) -> None:
    made = (operation_vectors if name in OPERATIONS else subword_vectors).made(name)
    content = (PACKED / f"{name}.prnn").read_bytes()
    assert content == made.content, "Run scripts/make_test_vectors."
    vectors = lines_of(PACKED / f"{name}.jsonl")
    # A logarithm may end in another digit elsewhere.
    for (vector, again), in_place in itertools.product(zip(vectors, made.vectors, strict=True), (False, True)):
        engine = Packed(content, 0, in_place)
        assert engine.encode(vector["text"]) == vector["ids"] == again["ids"]
        np.testing.assert_allclose(vector["logits"], again["logits"], rtol=1e-6)
        for label, given, expected in zip(
            engine.labels(), engine.logits(vector["text"]), vector["logits"], strict=True
        ):
            assert given == pytest.approx(expected, abs=1e-5, rel=1e-5), label


def test_the_refused_files_are_current() -> None:
    contents = {name: (PACKED / f"{name}.prnn").read_bytes() for name in refused_packed.BASES}
    assert json.loads(json.dumps(refused_packed.refused(contents))) == REFUSED, "Run scripts/make_test_vectors."


@pytest.mark.parametrize("vector", REFUSED, ids=lambda vector: vector["why"])
def test_what_must_be_refused_is(vector: dict[str, Any], tmp_path: Path) -> None:
    content = refused_packed.changed((PACKED / vector["file"]).read_bytes(), vector)
    path = tmp_path / "changed.prnn"
    path.write_bytes(content)
    costly = "costly" in vector
    for in_place in (False, True):
        if vector["when"] == "a text is answered":
            engine = Packed(content, 0, in_place)
            with pytest.raises(EngineError) as error:
                engine.logits("the team wins")
            assert error.value.args[0] == (COSTLY if costly else CONTENT)
        else:
            with pytest.raises(EngineError) as error:
                Packed(content, 0, in_place)
            assert (error.value.args[0] == COSTLY) == costly
    if vector["when"] == "opened":
        with pytest.raises(BundleError):
            Classifier.load(path)
    else:
        with pytest.raises(LimitError if costly else PocketRNNError):
            Classifier.load(path).classify("the team wins")


@pytest.mark.parametrize(
    "name", [bundle.name for bundle in BUNDLES] + OPERATIONS + SUBWORDS + STREAMS + TAGGERS + OTHERS
)
def test_a_file_verifies(name: str) -> None:
    assert verify(PACKED / f"{name}.prnn").name == name


@pytest.mark.parametrize("name", TAGGERS)
def test_a_file_of_a_tagger_is_current(name: str) -> None:
    if name == "tags-subwords" and unicodedata.unidata_version != "14.0.0":
        pytest.skip("this Python has other punctuation marks, at which the subwords are split")
    made, vectors = tag_vectors.made(name), lines_of(PACKED / f"{name}.jsonl")
    assert (PACKED / f"{name}.prnn").read_bytes() == made.content, "Run scripts/make_test_vectors."
    for vector, again in zip(vectors, made.vectors, strict=True):
        assert (vector["ids"], vector.get("said")) == (again["ids"], again.get("said"))
        for one, other in zip(vector.get("tags", ()), again.get("tags", ()), strict=True):
            assert one[:3] == other[:3]
            assert one[3] == pytest.approx(other[3], abs=1e-6)


@pytest.mark.parametrize("name", TAGGERS)
def test_the_program_tags_the_lines_as_the_vectors_say(name: str, program: Path) -> None:
    vectors = [
        vector for vector in lines_of(PACKED / f"{name}.jsonl")
        if "tags" in vector and not {"\n", "\r", "\0", "\x1f"} & set(vector["text"])
    ]  # fmt: skip
    given = [vector["text"].encode("utf-8", "surrogatepass") for vector in vectors]
    line = [str(program), str(PACKED / f"{name}.prnn")]
    done = subprocess.run(
        line, input=b"".join(one + b"\n" for one in given), capture_output=True, timeout=60, check=True
    )
    expected = b""
    for text, vector in zip(given, vectors, strict=True):
        for start, end, label, _ in vector["tags"]:
            named = b"_" if label is None else tag_vectors.LABELS[label].encode()
            expected += text[start:end] + b"\t" + named + b"\n"
        expected += b"\n"
    assert done.stdout == expected


@pytest.mark.parametrize("name", STREAMS)
def test_a_file_of_streams_of_subwords_is_current(name: str) -> None:
    made, vectors = subword_vectors.streamed(name), lines_of(PACKED / f"{name}.jsonl")
    assert (PACKED / f"{name}.prnn").read_bytes() == made.content, "Run scripts/make_test_vectors."
    for vector, again in zip(vectors, made.vectors, strict=True):
        assert vector["ids"] == again["ids"]
        np.testing.assert_allclose(vector["logits"][-1], again["logits"][-1], rtol=1e-6)


@pytest.mark.parametrize("name", ["streams", *STREAMS])
def test_streams_are_answered_as_they_say(name: str) -> None:
    content = (PACKED / f"{name}.prnn").read_bytes()
    bundle = Classifier.load(VECTORS / name if name == "streams" else PACKED / f"{name}.prnn")
    for vector, in_place in itertools.product(lines_of(PACKED / f"{name}.jsonl"), (False, True)):
        stream, expected = Stream(Packed(content, 0, in_place)), bundle.stream()
        fragments = vector.get("fragments") or [bytes.fromhex(one) for one in vector["hex"]]
        for fragment, logits in zip(fragments, vector["logits"], strict=True):
            assert stream.push(fragment) == pytest.approx(logits, abs=1e-5)
            if isinstance(fragment, str):
                np.testing.assert_allclose(expected.logits(fragment), logits, atol=1e-5)


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda bundle: bundle.name)
def test_the_program_answers_the_vectors_as_they_say(bundle: Path, program: Path) -> None:
    vectors = [
        vector for vector in lines_of(bundle / "vectors.jsonl")
        # A line ends there.
        if not {"\n", "\r", "\0"} & set(vector["text"])
    ]  # fmt: skip
    given = "".join(f"{vector['text']}\n" for vector in vectors)
    file = PACKED / f"{bundle.name}.prnn"
    done = subprocess.run([str(program), str(file)], input=given.encode(), capture_output=True, timeout=60, check=True)
    answers = [line.split("\t")[:2] for line in done.stdout.decode().split("\n")[:-1]]
    assert [label for label, _ in answers] == [vector["label"] for vector in vectors]
    for (_, probability), vector in zip(answers, vectors, strict=True):
        assert float(probability) == pytest.approx(max(vector["probabilities"]), abs=2e-4)


@pytest.mark.parametrize("name", mostly_slow(OTHERS, every=len(OTHERS)))
def test_a_file_of_other_inputs_or_outputs_is_current_and_answered_as_it_says(name: str) -> None:
    made, content = input_output_vectors.made(name), (PACKED / f"{name}.prnn").read_bytes()
    assert content == made.content, "Run scripts/make_test_vectors."
    vectors = lines_of(PACKED / f"{name}.jsonl")
    classifier = Classifier.load(PACKED / f"{name}.prnn")
    for vector, again, item in zip(vectors, made.vectors, input_output_vectors.FILES[name].items, strict=True):
        row, ids = classifier.encode(item), vector["ids"]
        assert (ids, vector["text"]) == (again["ids"], json.loads(json.dumps(again["text"])))
        assert [one for one in row if one >= 0] == ([*itertools.chain(*ids)] if isinstance(ids[0], list) else ids)
        np.testing.assert_allclose(vector["logits"], again["logits"], rtol=1e-5)
        np.testing.assert_allclose(classifier.logits([item])[0], vector["logits"], atol=1e-5)
        for in_place in (False, True):
            engine = Packed(content, 0, in_place)
            logits = logits_of(engine, np.array(row))
            np.testing.assert_allclose(logits, vector["logits"], atol=1e-5)
            np.testing.assert_allclose(engine.probabilities(logits.tolist()), vector["probabilities"], atol=1e-6)


def test_the_program_answers_lines_by_head_and_lines_of_two_texts(program: Path) -> None:
    for name, lines in (("heads", ["Oil prices rise.", "the cup final"]), ("pairs", ["Oil prices\tthe cup", "cup\t"])):
        classifier = Classifier.load(PACKED / f"{name}.prnn")
        asked = [tuple(line.split("\t")) if name == "pairs" else line for line in lines]
        done = subprocess.run(
            [str(program), str(PACKED / f"{name}.prnn")], input="".join(f"{line}\n" for line in lines).encode(),
            capture_output=True, timeout=60, check=True,
        )  # fmt: skip
        for line, predicted in zip(done.stdout.decode().splitlines(), classifier.predict(asked), strict=True):
            labels = predicted if isinstance(predicted, dict) else {"": predicted}
            shown = [f"{head}: {label}" if head else label for head, label in labels.items()]
            assert line.split("\t")[: 2 * len(shown) : 2] == shown
    line = [str(program), str(PACKED / "pairs.prnn")]
    assert subprocess.run(line, input=b"one text\n", capture_output=True, timeout=60, check=False).returncode == 2


@pytest.mark.parametrize("name", ["streams", *OPERATIONS, *SUBWORDS, *STREAMS, *TAGGERS, *OTHERS])
def test_the_program_verifies_a_file_and_refuses_what_must_be(name: str, program: Path, tmp_path: Path) -> None:
    line = [str(program), "--verify", str(PACKED / f"{name}.prnn")]
    assert subprocess.run(line, capture_output=True, timeout=60, check=False).returncode == 0
    for vector in REFUSED:
        if vector["file"] == f"{name}.prnn":
            path = tmp_path / "changed.prnn"
            path.write_bytes(refused_packed.changed((PACKED / vector["file"]).read_bytes(), vector))
            done = subprocess.run(
                [str(program), str(path)], input=b"oil\n", capture_output=True, timeout=60, check=False
            )
            assert done.returncode == 2, vector["why"]


def test_what_asks_an_installed_wheel_asks_for_all_of_them() -> None:
    # As cibuildwheel runs it: with the engine, and with none of what else is installed here.
    file = Path(__file__).parent / "installed_engine.py"
    code = f"import runpy, sys; sys.path.insert(0, {str(NATIVE)!r}); runpy.run_path({str(file)!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("OK: pocketrnn-native ")
    assert done.stdout.endswith(f", {len(REFUSED)} files that must be refused\n")
    assert f"{sum(len(lines_of(PACKED / f'{name}.jsonl')) for name in ('streams', *STREAMS))} streams" in done.stdout


def test_the_writer_and_the_engine_have_one_table_of_operations() -> None:
    text = (NATIVE / "src" / "ops.def").read_text(encoding="ascii").partition("*/")[2]
    table = re.findall(r"^OPERATION\((\w+), (\w+),\s+((?:\w+\([\w, ]+\)\s*)+)\)$", text, re.MULTILINE)
    assert len(table) == text.count("OPERATION(")
    assert [name for _, name, _ in table] == [name.lower() for name, *_ in table] == list(_LAYOUT)
    for code, (_, name, operands) in enumerate(table):
        kinds = re.findall(r"(\w+)\(", operands)
        values = [kind for kind in kinds if kind in {"READ", "READ_IF", "WRITE", "WRITE_IF"}]
        assert kinds[: len(values)] == values, f"{name}: the values come first"
        written = tuple(i for i, kind in enumerate(values) if kind.startswith("WRITE"))
        assert _LAYOUT[name] == (code, len(values), written)
    page = (NATIVE.parents[1] / "docs" / "packed-format.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| (\d+) (\w+) \|", page, re.MULTILINE)[-len(table) :] == [
        (str(code), name) for code, (_, name, _) in enumerate(table)
    ]


# The names of an enum in C, and what stands before each name there.
ENUMS = {
    "section_name": (packed_enums.Section, "NAME_"),
    "number_type": (packed_enums.NumberType, ""),
    "storage": (packed_enums.Storage, ""),
    "subword_model": (packed_enums.SubwordModel, ""),
    "subword_operation": (packed_enums.SubwordOperation, "SW_"),
    "cut": (packed_enums.Cut, "CUT_"),
    "pattern_kind": (packed_enums.PatternKind, "LIKE_"),
    "layer_kind": (packed_enums.Layer, ""),
    "unary_kind": (packed_enums.Unary, ""),
    "binary_kind": (packed_enums.Binary, ""),
    "reduction": (packed_enums.Reduction, ""),
    "pooling": (packed_enums.Pooling, "POOL_"),
}
# The last names of some enums, which count the others.
COUNTS = {"SECTIONS", "MODELS", "SW_KINDS", "LIKE_KINDS"}


def named(codes: type) -> dict[str, int]:
    return {name: number for name, number in vars(codes).items() if name.isupper()}


@pytest.mark.parametrize("enum", ENUMS)
def test_python_and_the_engine_have_one_name_for_each_number(enum: str) -> None:
    source = "".join((NATIVE / "src" / name).read_text("ascii") for name in ("file_layout.inc", "subword_steps.inc"))
    (body,) = re.findall(rf"^enum {enum} {{(.*?)}};", source, re.MULTILINE | re.DOTALL)
    in_c = {name: number for number, name in enumerate(re.findall(r"\w+", body)) if name not in COUNTS}
    codes, before = ENUMS[enum]
    assert {before + name: number for name, number in named(codes).items()} == in_c


def test_every_list_of_names_is_compared_with_the_engine() -> None:
    assert {codes for codes, _ in ENUMS.values()} == {getattr(packed_enums, name) for name in packed_enums.__all__}


@pytest.mark.parametrize("name", ["Layer", "Unary", "Binary", "Reduction", "Pooling"])
def test_the_page_names_every_kind_of_an_operation_with_its_number(name: str) -> None:
    page = (NATIVE.parents[1] / "docs" / "packed-format.md").read_text(encoding="utf-8")
    (row,) = re.findall(rf"^\| {name.lower()} \| (.*) \|$", page, re.MULTILINE)
    kinds = {kind: int(number) for number, kind in re.findall(r"(\d+) `(\w+)`", row)}
    assert kinds == named(getattr(packed_enums, name))


def test_the_packed_vectors_hold_every_operation_and_stay_small() -> None:
    codes = set()
    for path in PACKED.glob("*.prnn"):
        content = path.read_bytes()
        offset, size = (int.from_bytes(content[at : at + 4], "little") for at in (128 + 48, 128 + 52))
        words = np.frombuffer(content, "<u4", size // 4, offset)
        at = 0
        while at < len(words):
            codes.add(int(words[at]))
            at += int(words[at + 1])
    assert codes == set(range(18))
    assert sum(path.stat().st_size for path in PACKED.iterdir()) < 860_000
