"""Packed files of sequences of numbers: the engine's answers, and its arithmetic on samples, are the runtime's."""

from __future__ import annotations

import itertools
import json
import pickle
import re
import struct
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import number_modules
import number_vectors
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from refused_packed import File
from slow_case_sampling import examples
from torch import Tensor, nn

from pocketrnn import Classifier, NumberInput, verify
from pocketrnn.bundle.bundle_lookup import find_or_download_bundle
from pocketrnn.bundle.checked_files import compute_file_sha256
from pocketrnn.bundle.manifest import Comparison, Graph, Parity, encode_manifest
from pocketrnn.bundle.packed_file import compute_plain_and_weighted_checksums, encode_packed_file
from pocketrnn.commands.cli import main
from pocketrnn.engines.native import NativeEngine
from pocketrnn.errors import BundleError, ExportError, InputError, PocketRNNError, SequenceError
from pocketrnn.verdicts import describe_graph_proof, read_integer_verdict
from pocketrnn_export import export
from pocketrnn_export.forms.packed_file.graph_to_program import translate_graph_into_program
from pocketrnn_export.integer_accuracy import AllowedChange
from pocketrnn_export.packing import pack
from pocketrnn_native import EngineError, Packed, _engine
from pocketrnn_training.rows.labelled_sequences import LabelledSequences
from pocketrnn_training.rows.labelled_texts import LabelledTexts

PACKED = Path(__file__).parents[1] / "vectors" / "packed"
SOURCE = Path(__file__).parents[2] / "runtime" / "native" / "src"
KINDS = number_vectors.KINDS


def array_of(vector: dict[str, Any], channels: int) -> np.ndarray:
    """The samples of a line of the vectors; a missing one is NaN."""
    return np.array(vector["samples"], float).astype(KINDS[vector["kind"]]).reshape(-1, channels)


def type_of(samples: np.ndarray) -> int:
    return {"f4": _engine.FLOAT32, "f8": _engine.FLOAT64, "i2": _engine.INT16, "i4": _engine.INT32}[
        samples.dtype.str[1:]
    ]


def lines_of(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (PACKED / f"{name}.jsonl").read_text(encoding="ascii").splitlines()]


@pytest.mark.parametrize("name", number_vectors.FILES)
def test_a_file_of_numbers_is_current_and_answered_as_it_says(name: str) -> None:
    made, content = number_vectors.made(name), (PACKED / f"{name}.prnn").read_bytes()
    assert content == made.content, "Run scripts/make_test_vectors."
    rules = made.manifest.numbers
    classifier: Any = Classifier.load(PACKED / f"{name}.prnn")
    for (vector, again), in_place in itertools.product(zip(lines_of(name), made.vectors, strict=True), (False, True)):
        engine = Packed(content, 0, in_place)
        samples = array_of(vector, len(rules.channels))
        if "said" in vector:
            with pytest.raises(EngineError) as error:
                engine.logits_of_numbers(samples, type_of(samples))
            assert error.value.args[0] == getattr(_engine, vector["said"])
            with pytest.raises(SequenceError):
                classifier.prepared(samples)
            continue
        np.testing.assert_allclose(vector["logits"], again["logits"], rtol=1e-6)
        assert engine.logits_of_numbers(samples, type_of(samples)) == pytest.approx(vector["logits"], abs=1e-5)
        prepared = np.array(vector["prepared"], np.float32)
        assert classifier.prepared(samples).tobytes() == prepared.tobytes()
        found = np.empty_like(samples, np.float32)
        engine.prepare(samples, type_of(samples), found)
        assert found.tobytes() == prepared[-len(samples) :].tobytes()
        np.testing.assert_allclose(classifier.logits([samples])[0], vector["logits"], atol=1e-5)


@pytest.mark.parametrize("name", number_vectors.FILES)
def test_a_file_of_numbers_verifies(name: str, program: Path) -> None:
    assert verify(PACKED / f"{name}.prnn").name == name
    subprocess.run(
        [str(program), "--verify", str(PACKED / f"{name}.prnn")], check=True, capture_output=True, timeout=60
    )


numbers = st.floats(-1e6, 1e6).filter(lambda x: x == 0 or abs(x) > 1e-12)
scales = numbers.filter(bool)


@st.composite
def rules_and_samples(draw: Any) -> tuple[NumberInput, np.ndarray]:
    """Rules of three channels, and samples of some type, of which some are missing, infinite or far too large."""

    def each(one: Any) -> Any:
        return draw(st.none() | st.tuples(one, one, one))

    clip = draw(st.none() | st.tuples(numbers, numbers).filter(lambda pair: pair[0] < pair[1]))
    rules = NumberInput(
        ("a", "b", "c"), integer_scale=each(scales), mean=each(numbers), scale=each(scales), clip=clip,
        missing=draw(st.none() | numbers),
    )  # fmt: skip
    kind = KINDS[draw(st.sampled_from([*KINDS]))]
    if np.dtype(kind).kind == "i":
        bounds = np.iinfo(kind)
        one: Any = st.integers(int(bounds.min), int(bounds.max))
    else:
        one = st.floats(width=32) | numbers | st.sampled_from([np.nan, np.inf, 3.4e38, 1e-40])
    rows = draw(st.lists(st.tuples(one, one, one), min_size=1, max_size=4))
    with np.errstate(over="ignore"):
        return rules, np.array(rows).astype(kind)


@pytest.fixture(scope="module")
def gesture() -> number_vectors.MadeOfNumbers:
    return number_vectors.made("numbers-gesture")


def packed_with(made: number_vectors.MadeOfNumbers, rules: NumberInput) -> Packed:
    """A file with other rules, which no golden example minds."""
    program = translate_graph_into_program(made.graph, made.manifest.graph, numbers=rules).program.encode_sections()
    return Packed(encode_packed_file(replace(made.manifest, input=rules), program))


@settings(max_examples=examples(15, 150))
@given(rules_and_samples())
def test_the_engine_makes_of_samples_what_the_runtime_does_bit_by_bit(
    drawn: tuple[NumberInput, np.ndarray],
) -> None:
    rules, samples = drawn
    engine = packed_with(number_vectors.made("numbers-gesture"), rules)
    found = np.empty(samples.shape, np.float32)
    try:
        expected = rules.prepared(samples)
    except SequenceError as error:
        with pytest.raises(EngineError) as refused:
            engine.prepare(samples, type_of(samples), found)
        # The first of both kinds in a row is what the engine says; the runtime looks for infinite ones first.
        assert refused.value.args[0] in (_engine.MISSING, _engine.NOT_FINITE)
        if "missing" in error.problem:
            assert refused.value.args[0] == _engine.MISSING
        return
    engine.prepare(samples, type_of(samples), found)
    assert found.tobytes() == expected.tobytes()


def run_command(*arguments: str, status: int = 0) -> Any:
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == status, done.stderr
    return done


def bundle_of(name: str, folder: Path) -> Path:
    """The bundle that a file of the test vectors could have been packed from."""
    made, graph = number_vectors.made(name), folder / name / "model.onnx"
    graph.parent.mkdir()
    graph.write_bytes(made.graph)
    entry = Graph(graph.name, compute_file_sha256(graph), 18, ("samples",), padding=False)
    line = Comparison("numpy, float64", "onnx, float64", "samples of each type", 1, 1, 0.0, 0)
    stated = replace(made.manifest, graph=entry, stream=None, parity=Parity(1e-5, (line,)))
    (graph.parent / "classifier.json").write_bytes(encode_manifest(stated))
    return graph.parent


def exported(name: str, folder: Path) -> Path:
    torch.manual_seed(0)
    kind, _, how = number_modules.EXPORTED[name]
    export(kind().eval(), folder / name, **how)
    return folder / name


# These cut a sequence into windows, so a size is not a * steps + b; the operator that the message names.
REFUSED = {"Pooled": "MaxPool", "Strides": "Conv"}


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in number_modules.EXPORTED if name in REFUSED])
def test_a_bundle_that_the_engine_cannot_run_is_refused_by_its_operator(name: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=REFUSED[name]):
        pack(exported(name, tmp_path), tmp_path / "packed.prnn")
    assert not (tmp_path / "packed.prnn").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in number_modules.EXPORTED if name not in REFUSED])
def test_a_bundle_of_numbers_is_packed_and_answers_as_it_did(name: str, tmp_path: Path) -> None:
    bundle = exported(name, tmp_path)
    path = tmp_path / "packed.prnn"
    manifest = pack(bundle, path)
    before: Any = Classifier.load(bundle)
    packed: Any = Classifier.load(path)
    assert isinstance(packed, Classifier)
    assert packed.manifest == manifest
    assert packed.labels == before.labels
    assert packed.channels == before.channels
    lines = [(line.reference, line.candidate) for line in manifest.parity.comparisons]
    assert {("onnx on samples", "packed"), ("onnx on samples", "packed, in place")} <= {*lines}
    assert ("rules in Python", "rules in C") in lines
    generator = np.random.default_rng(1)
    steps = [before.manifest.numbers.steps or n for n in (2, 17, 130)]
    limits = before.manifest.graph.limits
    sequences = [
        generator.normal(0, 2, (n, len(packed.channels))) for n in steps if limits is None or limits.allows_length(n)
    ]
    np.testing.assert_allclose(packed.logits(sequences), before.logits(sequences), atol=2e-5)
    assert verify(path).files == ("packed.prnn",)
    again = pickle.loads(pickle.dumps(packed))  # noqa: S301 - made here
    np.testing.assert_array_equal(again.logits(sequences), packed.logits(sequences))


def test_recordings_and_streams_are_answered_window_by_window(gesture: number_vectors.MadeOfNumbers) -> None:
    classifier: Any = Classifier.load(PACKED / "numbers-gesture.prnn")
    recording = np.random.default_rng(2).integers(-3000, 3000, (50, 3)).astype(np.int16)
    windows = classifier.recording(recording)
    assert [window.start for window in windows] == [*range(0, 35, 4)]
    for window in windows:
        assert window.answer == classifier.classify(recording[window.start : window.stop])
    stream = classifier.stream()
    pushed = [answer for some in np.array_split(recording, 7) for answer in stream.push(some)]
    assert pushed == windows


CARRIED = PACKED / "numbers-carried.prnn"


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("kind", [np.int16, np.float64])
def test_a_recording_that_arrives_is_answered_as_all_of_it_so_far(in_place: bool, kind: type) -> None:
    engine, classifier = Packed(CARRIED.read_bytes(), 0, in_place), Classifier.load(CARRIED)
    size = 3000 if kind is np.int16 else 2
    recording = np.random.default_rng(4).normal(0, size, (60, 2)).astype(kind)
    of_c, of_python = _engine.Stream(engine), classifier.stream()
    for first, end in itertools.pairwise([0, 1, 2, 3, 10, 31, 60]):
        whole = np.array(engine.logits_of_numbers(recording[:end], type_of(recording)))
        assert of_c.push_numbers(recording[first:end], type_of(recording)) == pytest.approx(whole, abs=1e-6)
        (window,) = of_python.push(recording[first:end])
        assert (window.start, window.stop) == (0, end)
        assert window.answer.label == classifier.classify(recording[:end]).label
        assert window.answer.probability == pytest.approx(classifier.classify(recording[:end]).probability, abs=1e-6)
        # Each goes on where it was saved.
        of_c = _engine.Stream(engine, of_c.save())
        of_python = classifier.stream(saved=of_python.save())
    assert of_c.push_numbers(recording[:0], type_of(recording)) == pytest.approx(whole, abs=1e-6)
    assert len(of_c.save()) < 200
    assert classifier.recording(recording) == classifier.stream().push(recording)


def test_what_a_carried_stream_refuses_leaves_it_as_it_was() -> None:
    classifier, engine = Classifier.load(CARRIED), Packed(CARRIED.read_bytes())
    stream, of_c = classifier.stream(), _engine.Stream(engine)
    with pytest.raises(EngineError) as error:
        of_c.push_numbers(np.empty((0, 2)), _engine.FLOAT64)
    assert error.value.args[0] == _engine.TOO_SHORT
    first = np.ones((3, 2))
    stream.push(first)
    of_c.push_numbers(first, _engine.FLOAT64)
    saved = stream.save(), of_c.save()
    for wrong, step in ((np.nan, 4), (np.inf, 3)):
        some = np.zeros((2, 2))
        some[step - 3, 1] = wrong
        with pytest.raises(SequenceError, match=f"'y' is .* at step {step} "):
            stream.push(some)
        with pytest.raises(EngineError):
            of_c.push_numbers(some, _engine.FLOAT64)
    for wrong_samples in ([1.0, 2.0, 3.0], [], "x"):
        with pytest.raises(SequenceError):
            stream.push(wrong_samples)
    assert (stream.save(), of_c.save()) == saved
    for ask in (lambda: of_c.push("a text"), lambda: _engine.Stream(Packed((PACKED / "streams.prnn").read_bytes()))
                .push_numbers(first, _engine.FLOAT64)):  # fmt: skip
        with pytest.raises(EngineError) as error:
            ask()
        assert error.value.args[0] == _engine.INPUT
    for place in range(0, len(saved[1]), 7):
        changed = bytearray(saved[1])
        changed[place] ^= 4
        with pytest.raises(EngineError):
            _engine.Stream(engine, bytes(changed))
    for other in (saved[0].replace(b'"steps":3', b'"steps":4'), b"{}"):
        with pytest.raises(InputError):
            classifier.stream(saved=other)


@pytest.mark.slow
def test_every_machine_makes_the_same_of_raw_recordings(tmp_path: Path) -> None:
    root = PACKED.parents[2]
    done = subprocess.run([root / "scripts" / "build_web"], capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        pytest.skip(done.stderr.strip())
    np.save(tmp_path / "one.npy", np.random.default_rng(5).normal(0, 3, (30, 3)))
    (tmp_path / "two.csv").write_text("at,az,ay,ax\n" + "".join(f"{i},{i / 7},,{-i}\n" for i in range(20)))
    line = [root / "scripts" / "compare_machines", PACKED / "numbers-gesture.prnn", *sorted(tmp_path.iterdir())]
    done = subprocess.run(line, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [row.split(" | ")[1:] for row in done.stdout.splitlines() if re.search(r"\d of \d", row)]
    assert len(rows) > 3
    for same, labels, apart in rows:
        assert (same, labels) == ("2 of 2", "2 of 2")
        assert float(apart.rstrip(" |")) <= 1e-5


def test_windows_and_a_carried_state_are_not_mistaken_for_each_other() -> None:
    classifier: Any = Classifier.load(CARRIED)
    assert [window.start for window in classifier.stream(window=5).push(np.ones((11, 2)))] == [0, 5]
    with pytest.raises(InputError, match="window"):
        classifier.stream(hop=3)
    with pytest.raises(InputError, match="saved"):
        classifier.stream(window=5, saved=classifier.stream().save())
    without: Any = Classifier.load(PACKED / "numbers-plain.prnn")
    with pytest.raises(InputError, match="window"):
        without.stream()


def test_the_program_answers_a_recording_as_the_command_does(program: Path, tmp_path: Path) -> None:
    file, path = PACKED / "numbers-gesture.prnn", tmp_path / "walk.csv"
    generator = np.random.default_rng(3)
    for scale, whole in ((2000, True), (1.5, False)):
        rows = (
            generator.normal(0, scale, (40, 3)).astype(int) if whole else generator.normal(0, scale, (40, 3))
        ).tolist()
        path.write_text("at,az,ax,ay\n" + "".join(f"{i},{c},{a},{b}\n" for i, (a, b, c) in enumerate(rows)))
        done = subprocess.run(
            [str(program), str(file)], input=path.read_text(), capture_output=True, text=True, timeout=60
        )
        expected = run_command("classify", "-b", str(file), "--input", str(path))
        assert done.stdout == expected.stdout
        assert done.stdout.count("\n") == 7
    plain = PACKED / "numbers-plain.prnn"
    done = subprocess.run([str(program), str(plain)], input="x\ty\n1\t2\n", capture_output=True, text=True, timeout=60)
    assert re.fullmatch(r"(rain|wind)\t0\.\d{4}\t0-0\n", done.stdout)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("ax,ay\n1,2\n", "az"),
        ("", "first line"),
        ("ax,ay,az\n", "no step"),
        ("ax,ay,az\n1,2,3\n", "fewer steps"),
        ("ax,ay,az\n1,2\n", "line 2"),
        ("ax,ay,az\n1,2,3\n1,2,x\n", "line 3"),
        ("ax,ay,az\n1,2,0x3\n", "line 2"),
        ("ax,ay,az\n" + "5000000000,1,1\n" * 16, "32 bits"),
        ("ax,ay,az\n" + "inf,1,1\n" * 16, "infinite"),
    ],
)
def test_the_program_refuses_a_recording_that_is_none(given: str, said: str, program: Path) -> None:
    line = [str(program), str(PACKED / "numbers-gesture.prnn")]
    done = subprocess.run(line, input=given, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in (1, 2)
    assert said in done.stderr


def test_each_kind_of_file_refuses_what_the_other_takes() -> None:
    of_numbers, of_texts = (Packed((PACKED / f"{name}.prnn").read_bytes()) for name in ("numbers-plain", "words"))
    one, status = np.zeros((1, 2), np.float32), bytearray(1)
    logits, steps = np.empty((1, 2), np.float32), np.ones(1, np.int64)
    calls: list[Callable[[], object]] = [
        lambda: of_numbers.logits("a text"),
        lambda: of_numbers.encode("a text"),
        lambda: of_numbers.examples(),
        lambda: of_texts.logits_of_numbers(one, _engine.FLOAT32),
        lambda: of_texts.prepare(one, _engine.FLOAT32, one),
        lambda: of_texts.logits_of_samples(one, steps, np.empty((1, 4), np.float32), status),
    ]
    for call in calls:
        with pytest.raises(EngineError) as error:
            call()
        assert error.value.args[0] == _engine.INPUT
    of_numbers.logits_of_ids(np.zeros(1, np.int32), steps, logits, status)
    assert status[0] == _engine.INPUT
    embedding = np.empty((1, of_numbers.embedding_size()), np.float32)
    of_numbers.embeddings_of_ids(np.zeros(1, np.int32), steps, embedding, status)
    assert status[0] == _engine.INPUT
    with pytest.raises(EngineError) as error:
        _engine.Stream(of_numbers)
    assert error.value.args[0] == _engine.NO_STREAM
    assert of_texts.channels() == []
    assert of_numbers.channels() == ["x", "y"]
    assert of_texts.window() == of_numbers.window() == (0, 0)


def test_values_have_no_probabilities() -> None:
    engine = Packed((PACKED / "numbers-load.prnn").read_bytes())
    assert engine.gives_values()
    with pytest.raises(EngineError) as error:
        engine.probabilities([0.0, 1.0])
    assert error.value.args[0] == _engine.VALUES
    classifier: Any = Classifier.load(PACKED / "numbers-load.prnn")
    assert classifier.values([[1.0, 2.0]]).shape == (1, 2)


def test_a_classifier_refuses_what_is_of_the_other_kind_of_input() -> None:
    with pytest.raises(BundleError, match="numbers"):
        assert NativeEngine(PACKED / "numbers-plain.prnn").manifest.text
    of_texts, of_numbers = Classifier.load(PACKED / "words.prnn"), Classifier.load(PACKED / "numbers-plain.prnn")
    for ask in (
        lambda: of_texts.prepared([[1.0, 2.0]]), lambda: of_texts.recording([[1.0, 2.0]]), lambda: of_texts.channels,
        lambda: of_texts.stream(window=2), lambda: Classifier.load(PACKED / "words.prnn", out_of_range="refuse"),
    ):  # fmt: skip
        with pytest.raises(InputError, match="texts"):
            ask()
    for ask in (
        lambda: of_numbers.encode("a"), lambda: of_numbers.explain("a"), lambda: of_numbers.embed(["a"]),
        lambda: Classifier.load(PACKED / "numbers-plain.prnn", tokenizer=str.split),
    ):  # fmt: skip
        with pytest.raises(InputError, match="numbers"):
            ask()
    with pytest.raises(InputError, match="labels"):
        of_texts.values(["a"])


def test_a_step_beside_windows_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    kind, _, how = number_modules.EXPORTED["LastStep"]
    with pytest.raises(InputError, match="windows of 8 steps"):
        export(kind().eval(), tmp_path / "steps", **how, window=8, streaming=True)
    with pytest.raises(InputError, match="already a packed"):
        pack(PACKED / "numbers-plain.prnn", tmp_path / "x.prnn")
    assert list(tmp_path.glob("*.prnn")) == []


@pytest.mark.slow
def test_a_step_beside_windows_is_not_packed(tmp_path: Path) -> None:
    torch.manual_seed(0)
    kind, _, how = number_modules.EXPORTED["LastStep"]
    export(kind().eval(), tmp_path / "steps", **how, window=8)
    bundle = tmp_path / "steps"
    with pytest.raises(InputError, match="windows of 8 steps"):
        pack(bundle, tmp_path / "x.prnn", streaming=True)
    assert list(tmp_path.glob("*.prnn")) == []


class Swings(nn.Module):
    """A GRU of two channels, which reads one that rises and one that falls; with large states, so that it is sure."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(2, 16, batch_first=True)
        self.fc = nn.Linear(16, 2)

    def forward(self, samples: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.rnn(samples)[1][-1])
        return logits


def swings(count: int) -> LabelledSequences:
    """Sequences of 4 to 19 steps, and which of two labels the module gives them, so that all are right."""
    generator = np.random.default_rng(5)
    sequences = [generator.normal(0, 1, (int(generator.integers(4, 20)), 2)) for _ in range(count)]
    torch.manual_seed(1)
    module = Swings().eval()
    with torch.no_grad():
        logits = [module(torch.tensor(one, dtype=torch.float32)[None])[0] for one in sequences]
    targets = np.array([int(row.argmax()) for row in logits])
    rows = np.arange(count)
    return LabelledSequences(
        sequences, targets, ("up", "down"), NumberInput(("x", "y")), "some swings", rows, [str(row) for row in rows]
    )


@pytest.fixture(scope="module")
def swinging(tmp_path_factory: pytest.TempPathFactory, scant_proofs: None) -> Path:
    path = tmp_path_factory.mktemp("swings") / "swings"
    torch.manual_seed(1)
    export(Swings().eval(), path, labels=["up", "down"], channels=["x", "y"], streaming=True)
    return path


@pytest.mark.slow
def test_integers_of_numbers_are_exact_and_what_they_change_is_measured_on_sequences(
    swinging: Path, tmp_path: Path
) -> None:
    path, data = tmp_path / "swings.prnn", swings(60)
    made = pack(swinging, path, arithmetic="int8", data=data, allowed=AllowedChange(labels=5, loss=5))
    lines = {(line.reference, line.candidate): line for line in made.parity.comparisons}
    for opened in ("", ", in place"):
        assert lines["numpy, exactly", f"products of int8{opened}"].largest_difference == 0
        assert lines["int8 arithmetic", f"packed{opened}"].largest_difference <= 1e-6
        assert lines["int8 arithmetic", f"packed{opened} step, 1 step each"].largest_difference <= 1e-6
    assert lines["packed", "int8 arithmetic"].largest_difference > 0
    verdict = read_integer_verdict(made)
    assert verdict is not None
    assert (verdict.texts, verdict.of, verdict.accuracy_before) == (60, "sequences", 1.0)
    assert "On 60 sequences of some swings" in describe_graph_proof(made)
    assert "not equal to the PyTorch module" in describe_graph_proof(made)
    given, exact = (Classifier.load(one).logits(data.sequences) for one in (path, swinging))
    assert not np.array_equal(given, exact)
    np.testing.assert_allclose(given, exact, atol=0.05)
    assert verify(path).name == "swings"
    classifier = Classifier.load(path)
    stream = classifier.stream()
    answers = [stream.push(sample)[0].answer for sample in data.sequences[0]]
    assert answers[-1].probability == pytest.approx(classifier.classify(data.sequences[0]).probability, abs=1e-6)


@pytest.mark.slow
def test_a_file_of_integers_that_does_not_say_so_is_refused_for_numbers(swinging: Path, tmp_path: Path) -> None:
    path = tmp_path / "swings.prnn"
    made = pack(swinging, path, arithmetic="int8", allowed=AllowedChange(labels=100))
    assert "golden examples, which says little" in describe_graph_proof(made)
    content = path.read_bytes()
    changed = bytearray(content.replace(b'"int8 arithmetic"', b'"int9 arithmetic"'))
    assert changed != content
    struct.pack_into("<2Q", changed, 16, *compute_plain_and_weighted_checksums(changed))
    path.write_bytes(changed)
    Packed(bytes(changed))
    with pytest.raises(BundleError, match="contradicts itself"):
        Classifier.load(path)


def test_what_integers_of_numbers_cannot_be_measured_on_is_refused(tmp_path: Path) -> None:
    path, values, carried = (
        tmp_path / "x.prnn",
        bundle_of("numbers-load", tmp_path),
        bundle_of("numbers-carried", tmp_path),
    )
    texts = LabelledTexts(["a"], np.array([0]), ("up", "down"), "a text")
    for bundle, data, named in (
        (values, None, "values"),
        (carried, texts, "texts"),
        (find_or_download_bundle("ag_news-small"), swings(2), "sequences"),
        (carried, replace(swings(2), labels=("shake", "rest", "tap")), "labels"),
    ):
        with pytest.raises(InputError, match=named):
            pack(bundle, path, arithmetic="int8", data=data)
    line = ("pack", str(values), "-o", str(tmp_path / "y.prnn"), "--arithmetic", "int8")
    refused = run_command(*line, status=2)
    assert "values" in refused.output
    assert not (tmp_path / "y.prnn").exists()


def test_the_command_measures_integers_on_a_file_of_sequences(tmp_path: Path) -> None:
    data, path, rows = tmp_path / "swings.npz", tmp_path / "swings.prnn", swings(20)
    bundle, lengths = bundle_of("numbers-carried", tmp_path), rows.lengths
    x = np.zeros((20, int(lengths.max()), 2))
    for row, sequence in enumerate(rows.sequences):
        x[row, : len(sequence)] = sequence
    np.savez(data, x=x, y=np.array(["rest", "tap"])[rows.targets], lengths=lengths)
    done = run_command("pack", str(bundle), "-o", str(path), "--arithmetic", "int8", "--data", str(data),
                       "--max-changed", "10", "--max-loss", "10")  # fmt: skip
    assert "On 20 sequences of swings.npz" in done.output
    assert "what it changed" in run_command("inspect", str(path)).output
    refused = run_command("pack", str(bundle), "-o", str(tmp_path / "y.prnn"), "--arithmetic", "int8",
                          "--data", str(data), "--text-column", "body", status=2)  # fmt: skip
    assert "--text-column" in refused.output


def test_a_document_that_says_other_than_the_engine_reads_is_refused(
    gesture: number_vectors.MadeOfNumbers, tmp_path: Path
) -> None:
    path = tmp_path / "changed.prnn"
    for one, other in ((b'"window":16', b'"window":12'), (b'"missing":0.5', b'"missing":0.6'), (b'"ax"', b'"bx"')):
        content = bytearray(gesture.content.replace(one, other, 1))
        assert content != gesture.content
        struct.pack_into("<2Q", content, 16, *compute_plain_and_weighted_checksums(content))
        path.write_bytes(content)
        Packed(bytes(content))
        with pytest.raises(BundleError):
            Classifier.load(path)


def test_a_program_that_reads_more_samples_than_there_are_is_refused(gesture: number_vectors.MadeOfNumbers) -> None:
    file = File(bytearray(gesture.content))
    # Value 0, the samples, has numbers for four channels.
    file.put(file.value(0) + 20 + 12, 4)
    file.make_sums_fit()
    engine = Packed(bytes(file.content))
    with pytest.raises(EngineError) as error:
        engine.logits_of_numbers(np.zeros((3, 3), np.float32), _engine.FLOAT32)
    assert error.value.args[0] == _engine.CONTENT


def test_an_operator_that_the_engine_does_not_have_is_named(gesture: number_vectors.MadeOfNumbers) -> None:
    import onnx

    model = onnx.load_from_string(gesture.graph)
    model.graph.node[-1].output[0] = "before"
    model.graph.node.append(onnx.helper.make_node("Mod", ["before", "bias"], ["logits"], name="odd", fmod=1))
    with pytest.raises(ExportError, match="Mod"):
        translate_graph_into_program(
            model.SerializeToString(), gesture.manifest.graph, numbers=gesture.manifest.numbers
        )


def test_the_command_packs_inspects_and_classifies_numbers(tmp_path: Path) -> None:
    bundle, path = bundle_of("numbers-plain", tmp_path), tmp_path / "steps.prnn"
    packed = run_command("pack", str(bundle), "-o", str(path))
    assert "Graph: proven equal to" in packed.stdout
    assert "--input recording.csv" in packed.stdout
    assert "rules in C" in run_command("inspect", str(path)).stdout
    assert run_command("verify", str(path)).stdout.splitlines()[-1].startswith("OK: ")
    header = run_command("pack", str(bundle), "--c-array", str(tmp_path / "steps.h"))
    assert "proven" in header.stdout
    with pytest.raises(PocketRNNError):
        assert NativeEngine(path).manifest.text


@pytest.mark.slow
def test_a_packed_file_knows_the_training_range_in_every_language(
    tmp_path: Path, compiler: str, engine_object: Path
) -> None:
    known = ((-2.0, 2.0), (0.0, 9.0))
    torch.manual_seed(1)
    export(Swings().eval(), tmp_path / "b", labels=["up", "down"], channels=["x", "y"], training_range=known,
           integer_scale=[0.001, 1.0])  # fmt: skip
    path = tmp_path / "b.prnn"
    pack(tmp_path / "b", path)
    refusing = Classifier.load(path, out_of_range="refuse")
    assert refusing.manifest.numbers.training_range == known
    refusing.predict([[[18.0, 45.0]], np.array([[-18_000, -36]], np.int16)])
    for far in ([[18.1, 0.0]], [[0.0, -36.1]], np.array([[18_001, 0]], np.int16)):
        with pytest.raises(SequenceError, match="far outside"):
            refusing.classify(far)
    source = tmp_path / "range.c"
    source.write_text(ASKING_FOR_THE_RANGE)
    line = [compiler, "-std=gnu11", "-O1", "-w", f"-I{SOURCE}", source, engine_object, "-o",
            tmp_path / "asks"]  # fmt: skip
    subprocess.run([*map(str, line), "-lm"], check=True, timeout=300)
    done = subprocess.run([tmp_path / "asks", path], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["0", "23", "1", "23", "2"]
    # A range whose least is above its largest.
    content = bytearray(path.read_bytes())
    pair = struct.pack("<2d", *known[1])
    assert content.count(pair) == 1
    at = content.index(pair)
    content[at : at + 16] = struct.pack("<2d", *reversed(known[1]))
    struct.pack_into("<2Q", content, 16, *compute_plain_and_weighted_checksums(content))
    with pytest.raises(EngineError):
        Packed(bytes(content))


ASKING_FOR_THE_RANGE = """
#include <stdio.h>
#include <stdlib.h>
#include "pocketrnn.h"
int main(int count, char **names)
{
    static _Alignas(64) char file[1 << 20];
    FILE *opened = fopen(names[1], "rb");
    size_t bytes = fread(file, 1, sizeof file, opened), size = 1 << 22, first = 0;
    const prnn *p;
    void *memory = malloc(size);
    if (count < 2 || prnn_open(&p, file, bytes, memory, &size))
        return 1;
    double near[] = {18, 45, -18, -36}, far[] = {0, 45.5};
    int16_t whole[] = {0, 0, 18001, 0};
    printf("%d ", prnn_check_range(p, near, PRNN_FLOAT64, 2, &first));
    printf("%d ", prnn_check_range(p, far, PRNN_FLOAT64, 1, &first));
    printf("%d ", (int)first);
    printf("%d ", prnn_check_range(p, whole, PRNN_INT16, 2, &first));
    printf("%d", (int)first);
    return 0;
}
"""


@pytest.mark.slow
def test_the_memory_that_a_board_needs_is_printed_and_stands_in_the_header(
    tmp_path: Path, compiler: str, engine_object: Path
) -> None:
    torch.manual_seed(1)
    how = {"labels": ["up", "down"], "channels": ["x", "y"]}
    export(Swings().eval(), tmp_path / "windows", **how, window=20)
    header = tmp_path / "gesture.h"
    done = run_command("pack", str(tmp_path / "windows"), "--c-array", str(header))
    stated = {name: int(size) for name, size in re.findall(r"#define gesture_(\w+) (\d+)", header.read_text())}
    assert (stated["window"], stated["channels"], stated.keys() & {"stream"}) == (20, 2, set())
    assert f"{stated['memory']:,} bytes" in done.output
    assert f"160 for a window of 20 steps and {stated['work']:,} of" in done.output
    source = tmp_path / "board.c"
    source.write_text(WITHIN_ITS_MEMORY)
    line = [compiler, "-std=gnu11", "-O1", "-w", f"-I{SOURCE}", f"-I{tmp_path}", source, engine_object, "-o",
            tmp_path / "board", "-lm"]  # fmt: skip
    subprocess.run(list(map(str, line)), check=True, timeout=300)
    assert (
        subprocess.run([tmp_path / "board"], capture_output=True, text=True, timeout=60, check=True).stdout == "0 0 1"
    )


WITHIN_ITS_MEMORY = """
#include <stdio.h>
#include "gesture.h"
#include "pocketrnn.h"
static _Alignas(64) uint8_t memory[gesture_memory], work[gesture_work + 64];
int main(void)
{
    float logits[2], samples[gesture_window * gesture_channels] = {0};
    size_t size = sizeof memory, enough = gesture_work, few = gesture_work / 2;
    const prnn *p;
    printf("%d ", prnn_open_in_place(&p, gesture, gesture_size, memory, &size));
    printf("%d ", prnn_logits_of_samples(p, samples, gesture_window, logits, work + 1, &enough));
    printf("%d", prnn_logits_of_samples(p, samples, gesture_window, logits, work + 1, &few));
    return 0;
}
"""


def test_the_memory_for_a_long_window_is_found() -> None:
    # The engine asks during a long computation whether it is to stop.
    for name in ("numbers-plain", "numbers-integers"):
        packed = Packed((PACKED / f"{name}.prnn").read_bytes(), 0, True)
        assert packed.memory(30_000)[1] >= packed.memory(30)[1] > 0
