"""Products of integers: the kernels, the program that has them, the proof of each, and what they change."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from compiled_programs import compiled_once
from packing_tools import graph_of, logits_of, packed_graph
from slow_case_sampling import mostly_slow
from torch import Tensor, nn

from pocketrnn import Classifier, verify
from pocketrnn.bundle.manifest import read_manifest as read_manifest
from pocketrnn.bundle.packed_file import PackedProgram
from pocketrnn.commands.cli import main
from pocketrnn.errors import BundleError, CompressionError, InputError, ParityError
from pocketrnn.verdicts import IntegerVerdict, describe_graph_proof, read_integer_verdict
from pocketrnn.verification_page import proof_page
from pocketrnn_export import export
from pocketrnn_export.forms.packed_file.conversion_to_integer_products import (
    IntegerForm,
    convert_products_to_integers,
)
from pocketrnn_export.forms.packed_file.graph_to_program import translate_graph_into_program
from pocketrnn_export.forms.packed_file.program import group_rows_by_four
from pocketrnn_export.integer_accuracy import AllowedChange, compute_accuracy_change_interval
from pocketrnn_export.packing import pack
from pocketrnn_export.proof import integer_product_comparison
from pocketrnn_export.proof.integer_product_comparison import (
    multiply_rounded_rows_by_weights,
    read_integer_weights,
    round_rows_to_engine_integers,
)
from pocketrnn_native import EngineError, Packed
from pocketrnn_native._engine import NOT_FINITE
from pocketrnn_training.rows.labelled_texts import LabelledTexts

HERE = Path(__file__).parent
VECTORS = HERE.parent / "vectors"
SOURCE = HERE.parents[1] / "runtime" / "native" / "src"
VOCABULARY = ("<unk>", "<pad>", *(f"w{i}" for i in range(58)))
LABELS = ("a", "b", "c")
THRESHOLDS = (0.4, 0.5, 0.3)
TEXTS = [" ".join(f"w{(7 * i + k * k) % 58}" for k in range(1 + i % 23)) for i in range(600)]


class Tagger(nn.Module):
    """Layers one over the other, and their last states."""

    def __init__(self, kind: type[nn.RNNBase] = nn.GRU, *, both: bool = True, layers: int = 2, **options: Any) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.embedding = nn.Embedding(len(VOCABULARY), 20)
        self.rnn = kind(20, 12, num_layers=layers, bidirectional=both, batch_first=True, **options)
        self.fc = nn.Linear(24 if both else 12, len(LABELS))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc(self.rnn(self.embedding(tokens))[0].mean(1))


def form_of(module: nn.Module) -> IntegerForm:
    return convert_products_to_integers(translate_graph_into_program(*graph_of(module, VOCABULARY, LABELS)).program)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of two layers both ways."""
    path, module = tmp_path_factory.mktemp("bundle") / "tags", Tagger().eval()
    ids = [torch.tensor([[VOCABULARY.index(word) for word in text.split()]]) for text in TEXTS]
    with torch.no_grad():
        # So that each label is the likeliest of some texts, and of some by little.
        module.fc.bias -= torch.cat([module(row) for row in ids]).mean(0)
    export(module, path, labels=LABELS, vocabulary=VOCABULARY, torchscript=False)
    return path


@pytest.fixture(scope="module")
def packed(bundle: Path) -> Path:
    """The same with products of integers."""
    path = bundle.parent / "tags.prnn"
    pack(bundle, path, arithmetic="int8", data=read_texts(TEXTS), allowed=AllowedChange(labels=10))
    return path


def read_texts(texts: list[str], targets: list[int] | None = None) -> LabelledTexts:
    return LabelledTexts(texts, np.array(targets or [-1] * len(texts)), LABELS, "some texts")


def integer_kernels(compiler: str, options: list[str], programs: Path) -> Path:
    """The program that compares every instruction set, built."""
    line = [compiler, "-std=gnu11", *options, "-ffp-contract=fast", "-Wall", "-Wextra", "-Werror", "-Wno-psabi",
            "-Wno-missing-field-initializers", "-Wno-unused-function", f"-I{SOURCE}",
            HERE / "integer_kernels.c"]  # fmt: skip
    name = "integer_kernels" + "".join(options).replace(",", "_")
    program, built = compiled_once(line, [SOURCE, HERE / "integer_kernels.c"], programs, name)
    if built is not None and "cannot find" in built.stderr:
        pytest.skip("the compiler has no sanitizers here")
    assert built is None or built.returncode == 0, built.stderr
    return program


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [["-O3"], ["-O1", "-DPRNN_AVX2_ONLY", "-fsanitize=address,undefined"]],
)
def test_every_instruction_set_gives_the_integers_of_plain_c(options: list[str], compiler: str, programs: Path) -> None:
    program = integer_kernels(compiler, options, programs)
    done = subprocess.run([str(program), "plain"], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout
    assert "plain: 1441 products, the same" in done.stdout


# In the fast suite, programs of integers run on what the processor has.
@pytest.mark.slow
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="AVX-VNNI is of x86-64")
def test_avx_vnni_gives_the_integers_of_plain_c_also_where_a_processor_has_only_avx2(
    compiler: str, programs: Path
) -> None:
    program = integer_kernels(compiler, ["-O1", "-DINSTEAD_OF_AVXVNNI"], programs)
    done = subprocess.run([str(program), "avxvnni"], capture_output=True, text=True, timeout=300, check=False)
    if done.returncode == 2:
        pytest.skip("the processor has no AVX2, or the compiler does not know AVX-VNNI")
    assert done.returncode == 0, done.stdout
    assert "avxvnni: 1441 products, the same" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cross", "emulator", "options", "names"),
    [
        ("aarch64-linux-gnu-gcc", "qemu-aarch64", [], ["sdot", "neon"]),
        ("arm-linux-gnueabihf-gcc", "qemu-arm", ["-DPRNN_DSP"], ["neon", "dsp"]),
    ],
)
def test_arm_gives_the_integers_of_plain_c_in_an_emulator(
    cross: str, emulator: str, options: list[str], names: list[str], tmp_path: Path
) -> None:
    if shutil.which(cross) is None or shutil.which(emulator) is None:
        pytest.skip(f"{cross} and {emulator} are not installed")
    program = str(tmp_path / "integer_kernels")
    subprocess.run(
        [cross, "-std=gnu11", "-O2", "-static", *options, "-ffp-contract=fast", "-Wno-psabi", f"-I{SOURCE}",
         str(HERE / "integer_kernels.c"), "-o", program, "-lm"],
        check=True, timeout=300,
    )  # fmt: skip
    done = subprocess.run([emulator, program, *names], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("kind", mostly_slow([nn.GRU, nn.LSTM, nn.RNN], 3))
@pytest.mark.parametrize("in_place", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_program_of_integers_answers_nearly_as_in_float32_in_every_way_of_reading(
    kind: type[nn.RNNBase], in_place: bool, bundle: Path
) -> None:
    if kind is nn.GRU:
        graph = read_manifest(bundle).graph
        content = (bundle / graph.file).read_bytes()
    else:
        content, graph = graph_of(Tagger(kind), VOCABULARY, LABELS)
    exact = Packed(packed_graph(content, graph, VOCABULARY, LABELS), 0, in_place)
    engine = Packed(packed_graph(content, graph, VOCABULARY, LABELS, integers=True), 0, in_place)
    generator = np.random.default_rng(1)
    for length in (1, 2, 3, 4, 5, 17, 64, 257):
        ids = generator.integers(0, len(VOCABULARY), length)
        given, wanted = logits_of(engine, ids), logits_of(exact, ids)
        assert not np.array_equal(given, wanted)
        np.testing.assert_allclose(given, wanted, atol=0.02)
    alone = [engine.logits(text) for text in TEXTS[:9]]
    together = np.empty((9, len(LABELS)), np.float32)
    engine.logits_of_texts(TEXTS[:9], together, bytearray(9))
    np.testing.assert_array_equal(np.float32(alone), together)


@pytest.mark.slow
def test_a_step_of_integers_is_proven_against_the_whole_text(tmp_path: Path) -> None:
    made = pack(VECTORS / "streams", tmp_path / "streams.prnn", arithmetic="int8", allowed=AllowedChange(labels=100))
    lines = {line.candidate: line for line in made.parity.comparisons if line.reference == "int8 arithmetic"}
    for ways in ("packed", "packed, in place"):
        for how in (" step, 3 chunks", " step, 1 token each", " step, chunks at random", ", as a stream"):
            assert lines[ways + how].largest_difference <= 1e-6
    stream = Classifier.load(tmp_path / "streams.prnn").stream()
    for fragment in ("the te", "am wi", "ns the cup"):
        stream.push(fragment)
    np.testing.assert_allclose(
        stream.logits(""), Packed((tmp_path / "streams.prnn").read_bytes()).logits("the team wins the cup"), atol=1e-6
    )


def test_the_statement_is_that_of_the_format() -> None:
    x = np.array([[0.5, -1.0, 2.5 / 127, 1.5 / 127, 4.0]], np.float32)
    assert round_rows_to_engine_integers(x, as_states=True).tolist() == [[64, -127, 2, 2, 127]]
    assert round_rows_to_engine_integers(x, as_states=False).tolist() == [[16, -32, 1, 0, 127]]
    assert round_rows_to_engine_integers(np.zeros((1, 3), np.float32), as_states=False).tolist() == [[0, 0, 0]]
    whole = np.arange(-10, 0, dtype=np.int8).reshape(5, 2)
    assert group_rows_by_four(whole).tolist() == [[[-10, -8, -6, -4], [-9, -7, -5, -3]], [[-2, 0, 0, 0], [-1, 0, 0, 0]]]
    weights = integer_product_comparison.IntegerWeights(0, whole, np.ones(2, np.float32))
    assert multiply_rounded_rows_by_weights(np.array([[1, 0, 0, 0, 2]]), weights).tolist() == [[-14, -11]]


@pytest.mark.slow
def test_what_has_no_integer_form_stays_in_float32() -> None:
    assert form_of(Tagger(nn.LSTM)).matrices == 8
    relu = form_of(Tagger(nn.RNN, nonlinearity="relu"))
    assert (relu.matrices, relu.tables) == (0, 0)
    assert "recurrent" in relu.left


class FarState(Tagger):
    """A layer that begins far from where its states may be."""

    def forward(self, tokens: Tensor) -> Tensor:
        begin = torch.full((1, len(tokens), 12), 1.5)
        return self.fc(self.rnn(self.embedding(tokens), begin)[1][-1])


@pytest.mark.slow
def test_a_layer_is_of_integers_only_where_its_states_are_known_to_be_within_bounds() -> None:
    content, graph = graph_of(FarState(both=False, layers=1), VOCABULARY, LABELS)
    assert convert_products_to_integers(translate_graph_into_program(content, graph).program).matrices == 0
    # One that begins among them.
    near = content.replace(np.float32(1.5).tobytes(), np.float32(0.5).tobytes())
    assert near != content
    assert convert_products_to_integers(translate_graph_into_program(near, graph).program).matrices == 2


class Projected(Tagger):
    """A linear layer of some size for every token, in front of the others."""

    def __init__(self) -> None:
        super().__init__(layers=1)
        self.wide = nn.Linear(20, 256)
        self.narrow = nn.Linear(256, 20)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.narrow(torch.relu(self.wide(self.embedding(tokens))))
        return self.fc(self.rnn(x)[0].mean(1))


@pytest.mark.slow
def test_linear_layers_of_every_token_are_of_integers() -> None:
    content, graph = graph_of(Projected(), VOCABULARY, LABELS)
    assert form_of(Projected()).matrices == 6
    exact, engine = (Packed(packed_graph(content, graph, VOCABULARY, LABELS, integers=i)) for i in (False, True))
    for length in (1, 5, 30):
        ids = np.arange(length) % len(VOCABULARY)
        np.testing.assert_allclose(logits_of(engine, ids), logits_of(exact, ids), atol=0.02)


class Exploding(Tagger):
    """The layer's input overflows float32 for one word."""

    def forward(self, tokens: Tensor) -> Tensor:
        x = torch.exp(self.embedding(tokens) * 60)
        return self.fc(self.rnn(x)[0].mean(1))


@pytest.mark.slow
def test_what_cannot_be_rounded_is_an_error_and_no_answer() -> None:
    module = Exploding(both=False, layers=1)
    with torch.no_grad():
        module.embedding.weight.clamp_(-1, 1)
        module.embedding.weight[5, 3] = 40
    content, graph = graph_of(module, VOCABULARY, LABELS)
    for in_place in (False, True):
        engine = Packed(packed_graph(content, graph, VOCABULARY, LABELS, integers=True), 0, in_place)
        assert np.isfinite(engine.logits("w1 w2")).all()
        with pytest.raises(EngineError) as error:
            engine.logits("w1 w3 w2")
        assert error.value.args[0] == NOT_FINITE


@pytest.mark.slow
def test_a_file_of_integers_says_everywhere_that_it_is_measured_and_not_proven(packed: Path) -> None:
    manifest = Classifier.load(packed).manifest
    verdict = read_integer_verdict(manifest)
    assert verdict is not None
    assert (verdict.texts, verdict.is_data, verdict.labelled, verdict.accuracy) == (len(TEXTS), True, 0, None)
    sentence = describe_graph_proof(manifest)
    assert sentence.startswith("not equal to the PyTorch module")
    assert verdict.sentence in sentence
    for shown in (CliRunner().invoke(main, ["inspect", str(packed)]).output, proof_page(verify(packed))):
        assert f"{len(TEXTS)} texts of some texts" in shown
        assert "int8 arithmetic" in shown
        assert "proven equal" not in shown
    lines = {(line.reference, line.candidate): line for line in manifest.parity.comparisons}
    for ways in ("", ", in place"):
        exact = lines["numpy, exactly", f"products of int8{ways}"]
        assert (exact.cases, exact.largest_difference) == (8, 0)
        assert lines["int8 arithmetic", f"packed{ways}"].largest_difference == 0
    assert 0 < lines["packed", "int8 arithmetic"].largest_difference <= manifest.parity.tolerance < 0.1
    assert manifest.provenance["packed"]["int8"]["float32"] == ["linear"]


def test_what_a_stranger_states_of_integers_is_shown_only_where_it_can_be(packed: Path) -> None:
    manifest = Classifier.load(packed).manifest
    stated = manifest.provenance["packed"]["int8"]["measured"]
    for wrong in (
        {"texts": 0},
        {"texts": "9"},
        {"changed": -1},
        {"source": 5},
        {"largest_change": None},
        {"accuracy": "1"},
    ):
        int8 = {"int8": {"measured": {**stated, **wrong}}}
        other = replace(manifest, provenance={"packed": int8})
        assert read_integer_verdict(other) is None
        assert "The file does not say" in describe_graph_proof(other)
    for nothing in ({}, {"packed": 3}, {"packed": {"int8": {"measured": []}}}):
        assert read_integer_verdict(replace(manifest, provenance=nothing)) is None


def test_a_file_that_hides_its_integers_is_refused(packed: Path, tmp_path: Path) -> None:
    from refused_packed import File

    file = File(bytearray(packed.read_bytes()))
    # As long, so that all else stays where it is.
    file.content = bytearray(bytes(file.content).replace(b'"int8 arithmetic"', b'"int9 arithmetic"'))
    file.make_sums_fit()
    (tmp_path / "hidden.prnn").write_bytes(file.content)
    with pytest.raises(BundleError, match="contradicts itself"):
        Classifier.load(tmp_path / "hidden.prnn")


@pytest.mark.slow
def test_more_change_than_is_allowed_writes_nothing_and_says_how_to_allow_it(bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "no.prnn"
    with pytest.raises(CompressionError, match=rf"of {len(TEXTS)} texts.*--max-changed"):
        pack(bundle, path, arithmetic="int8", data=read_texts(TEXTS), allowed=AllowedChange(labels=0))
    right = Classifier.load(bundle).predict(TEXTS)
    data = read_texts(TEXTS, [LABELS.index(label) for label in right])
    with pytest.raises(CompressionError, match=rf"points of accuracy.*{len(TEXTS)} rows.*--max-loss"):
        pack(bundle, path, arithmetic="int8", data=data, allowed=AllowedChange(labels=10, loss=0))
    assert not path.exists()
    made = pack(bundle, path, arithmetic="int8", data=data, allowed=AllowedChange(labels=10, loss=10))
    verdict = read_integer_verdict(made)
    assert verdict is not None and verdict.accuracy is not None and verdict.interval is not None  # noqa: PT018
    assert verdict.accuracy_before == 1
    low, high = verdict.interval
    assert low < verdict.accuracy - 1 < high


@pytest.mark.slow
def test_without_data_the_golden_examples_are_asked_and_that_is_told(bundle: Path, tmp_path: Path) -> None:
    line = ["pack", str(bundle), "-o", str(tmp_path / "tags.prnn"), "--arithmetic", "int8", "--max-changed", "30"]
    done = CliRunner().invoke(main, line)
    assert done.exit_code == 0, done.output
    assert "golden examples, which says little" in done.output
    assert "--data FILE" in done.output


@pytest.mark.slow
def test_data_may_have_labels_or_none(bundle: Path, tmp_path: Path) -> None:
    texts, rows, path = tmp_path / "texts.csv", tmp_path / "rows.csv", tmp_path / "tags.prnn"
    texts.write_text("text\n" + "".join(f"{text}\n" for text in TEXTS[:20]))
    rows.write_text("text,label\n" + "".join(f"{text},{LABELS[i % 3]}\n" for i, text in enumerate(TEXTS[:20])))
    line = ["pack", str(bundle), "-o", str(path), "--arithmetic", "int8", "--max-changed", "30", "--force", "--data"]
    done = CliRunner().invoke(main, [*line, str(texts)])
    assert done.exit_code == 0, done.output
    assert "has no column 'label'" in done.output
    done = CliRunner().invoke(main, [*line, str(rows), "--max-loss", "40"])
    assert done.exit_code == 0, done.output
    assert "20 of them have known labels" in done.output
    path.unlink()
    for wrong in ([str(texts), "--max-loss", "1"], [str(texts), "--label-column", "topic"]):
        assert CliRunner().invoke(main, [*line, *wrong]).exit_code == 2
    refused = CliRunner().invoke(main, [*line[:-2], "--max-changed", "0", "--data", str(tmp_path / "more.csv")])
    assert refused.exit_code == 2
    assert not path.exists()


def test_more_change_than_is_allowed_is_exit_status_1(bundle: Path, tmp_path: Path) -> None:
    texts = tmp_path / "texts.csv"
    texts.write_text("text\n" + "".join(f"{text}\n" for text in TEXTS))
    line = ["pack", str(bundle), "-o", str(tmp_path / "no.prnn"), "--arithmetic", "int8", "--max-changed", "0"]
    done = CliRunner().invoke(main, [*line, "--data", str(texts)])
    assert (done.exit_code, "--max-changed" in done.output) == (1, True)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["pack", "ag_news", "-o", "x.prnn", "--data", "dev.csv"], "--arithmetic int8"),
        (["pack", "ag_news", "-o", "x.prnn", "--max-changed", "1"], "--arithmetic int8"),
        (["pack", "ag_news", "-o", "x.prnn", "--arithmetic", "int8", "--max-loss", "1"], "--data"),
        (["export", "m.py:M", "-o", "x", "--arithmetic", "int8"], "--profile packed"),
        (["export", "m.py:M", "-o", "x", "--max-changed", "1"], "--arithmetic int8"),
    ],
)
def test_options_that_measure_nothing_are_refused(options: list[str], names: str) -> None:
    done = CliRunner().invoke(main, options)
    assert done.exit_code == 2
    assert names in done.output


# In the fast suite, bundles are packed so, and a module is exported as a packed file.
@pytest.mark.slow
def test_a_module_is_exported_as_a_file_of_integers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.py").write_text(
        "from torch import nn\n\n\nclass M(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.embedding = nn.Embedding(5, 8)\n        self.rnn = nn.RNN(8, 8, batch_first=True)\n"
        "        self.fc = nn.Linear(8, 2)\n\n    def forward(self, tokens):\n"
        "        return self.fc(self.rnn(self.embedding(tokens))[1][-1])\n"
    )
    (tmp_path / "words.txt").write_text("<unk>\n<pad>\na\nb\nc\n")
    monkeypatch.chdir(tmp_path)
    line = ["export", "m.py:M", "--random-weights", "--vocabulary", "words.txt", "--labels", "x,y", "-o", "m.prnn"]
    done = CliRunner().invoke(main, [*line, "--profile", "packed", "--arithmetic", "int8", "--max-changed", "20"])
    assert done.exit_code == 0, done.output
    assert describe_graph_proof(Classifier.load("m.prnn").manifest).startswith("not equal")


@pytest.mark.slow
def test_nothing_to_multiply_as_integers_is_refused(tmp_path: Path) -> None:
    export(Tagger(nn.RNN, nonlinearity="relu"), tmp_path / "relu", labels=LABELS, vocabulary=VOCABULARY,
           torchscript=False)  # fmt: skip
    with pytest.raises(InputError, match=r"\brelu\b.*integer form"):
        pack(tmp_path / "relu", tmp_path / "relu.prnn", arithmetic="int8")


def test_arguments_of_another_arithmetic_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="int4"):
        pack("ag_news", tmp_path / "a.prnn", arithmetic="int4")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="changes no answer"):
        pack("ag_news", tmp_path / "a.prnn", data=read_texts(["a"]))
    with pytest.raises(InputError, match="`max_loss` is 101"):
        AllowedChange(loss=101)


def test_an_engine_with_another_integer_is_no_engine_for_the_file(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def one_off(program: PackedProgram) -> Any:
        for weights in read_integer_weights(program):
            whole = weights.whole.copy()
            whole[0, 0] += 1 if whole[0, 0] < 127 else -1
            yield replace(weights, whole=whole)

    monkeypatch.setattr(integer_product_comparison, "read_integer_weights", one_off)
    with pytest.raises(ParityError, match="matrix number 16"):
        pack(bundle, tmp_path / "no.prnn", arithmetic="int8", allowed=AllowedChange(labels=100))
    assert not (tmp_path / "no.prnn").exists()


def test_the_interval_of_a_change_is_that_of_pairs() -> None:
    before = np.zeros(1000, bool)
    before[:900] = True
    after = before.copy()
    after[:4], after[900:902] = False, True
    low, high = compute_accuracy_change_interval(before, after)
    assert low < -0.002 < high
    # 7 pairs differ, with the halves: -2 points in a thousand, 1.96 times the root of 7.
    assert low == pytest.approx((-2 - 1.96 * np.sqrt(7 - 4 / 1002)) / 1002, rel=1e-3)
    assert high == pytest.approx((-2 + 1.96 * np.sqrt(7 - 4 / 1002)) / 1002, rel=1e-3)


def test_a_verdict_reads_as_a_sentence() -> None:
    verdict = IntegerVerdict(4000, "dev.csv", True, 1, 0.0123, 4000, 0.91, 0.9098, (-0.001, 0.0006))
    assert verdict.sentence == (
        "On 4,000 texts of dev.csv, 1 label changes (0.03%), and a probability by at most 0.012. 4,000 of them "
        "have known labels: 90.98% are right, before 91.00%: -0.02 points, in an interval of 95 % from -0.10 to +0.06."
    )
    assert json.loads(json.dumps(verdict.document))["interval"] == [-0.001, 0.0006]


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that gives any number of labels, each at about half of the texts, from its own threshold on."""
    path, module = tmp_path_factory.mktemp("several") / "tags", Tagger().eval()
    ids = [torch.tensor([[VOCABULARY.index(word) for word in text.split()]]) for text in TEXTS]
    with torch.no_grad():
        module.fc.bias -= torch.cat([module(row) for row in ids]).quantile(0.5, 0)
        module.fc.bias += torch.logit(torch.tensor(THRESHOLDS))
    export(module, path, labels=LABELS, vocabulary=VOCABULARY, torchscript=False, multi_label=True,
           thresholds=THRESHOLDS)  # fmt: skip
    return path


def sets_of(path: Path, texts: list[str]) -> list[tuple[str, ...]]:
    return Classifier.load(path).predict_labels(texts)


@pytest.mark.slow
def test_of_several_labels_the_sets_that_are_given_are_measured(several: Path, tmp_path: Path) -> None:
    before, path = sets_of(several, TEXTS), tmp_path / "tags.prnn"
    targets = np.array([[label in given for label in LABELS] for given in before])
    data = LabelledTexts(TEXTS, targets, LABELS, "some texts")
    verdict = read_integer_verdict(
        pack(several, path, arithmetic="int8", data=data, allowed=AllowedChange(labels=20, loss=20))
    )
    assert verdict is not None
    changed = sum(a != b for a, b in zip(before, sets_of(path, TEXTS), strict=True))
    likeliest = sum(
        a != b
        for a, b in zip(Classifier.load(several).predict(TEXTS), Classifier.load(path).predict(TEXTS), strict=True)
    )
    assert 0 < changed != likeliest
    assert (verdict.changed, verdict.labelled, verdict.accuracy_before) == (changed, len(TEXTS), 1.0)
    assert verdict.accuracy == pytest.approx(1 - changed / len(TEXTS))
    assert f"{changed} sets of labels change" in verdict.sentence
    assert verdict.sentence in describe_graph_proof(Classifier.load(path).manifest)
    with pytest.raises(CompressionError, match=f"of {changed} of {len(TEXTS)} texts"):
        pack(several, tmp_path / "no.prnn", arithmetic="int8", data=data, allowed=AllowedChange(labels=0, loss=20))


@pytest.mark.slow
def test_the_command_reads_several_labels_of_a_text(several: Path, tmp_path: Path) -> None:
    rows, path = tmp_path / "rows.csv", tmp_path / "tags.prnn"
    given = sets_of(several, TEXTS[:30])
    rows.write_text("text,label\n" + "".join(f"{t},{';'.join(some)}\n" for t, some in zip(TEXTS, given, strict=False)))
    line = ["pack", str(several), "-o", str(path), "--arithmetic", "int8", "--data", str(rows)]
    done = CliRunner().invoke(main, [*line, "--label-separator", ";", "--max-changed", "50", "--max-loss", "50"])
    assert done.exit_code == 0, done.output
    verdict = read_integer_verdict(Classifier.load(path).manifest)
    assert verdict is not None
    assert (verdict.labelled, verdict.accuracy_before) == (30, 1.0)


def test_what_is_given_below_a_threshold_is_no_label_and_measured_as_such(bundle: Path, tmp_path: Path) -> None:
    from pocketrnn.bundle.manifest import encode_manifest

    folder, path = tmp_path / "tags", tmp_path / "tags.prnn"
    shutil.copytree(bundle, folder)
    # At the median of the likeliest: half of the texts get no label.
    at = float(np.median(Classifier.load(bundle).predict_proba(TEXTS).max(1)))
    made = read_manifest(bundle)
    made = replace(made, output=replace(made.output, thresholds=(at,) * len(LABELS)))
    (folder / "classifier.json").write_bytes(encode_manifest(made))
    before = sets_of(folder, TEXTS)
    targets = [LABELS.index(given[0]) if given else 0 for given in before]
    verdict = read_integer_verdict(
        pack(folder, path, arithmetic="int8", data=read_texts(TEXTS, targets), allowed=AllowedChange(20, 20))
    )
    assert verdict is not None
    after = sets_of(path, TEXTS)
    assert 0 < verdict.changed == sum(a != b for a, b in zip(before, after, strict=True))
    assert verdict.accuracy_before == sum(map(bool, before)) / len(TEXTS)


def test_copies_of_a_text_count_once_and_what_predict_labels_gives_counts_too(bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "tags.prnn"
    data = read_texts([*TEXTS, *TEXTS, *[""] * 400], [*[-1] * len(TEXTS), *[0] * len(TEXTS), *[-1] * 400])
    verdict = read_integer_verdict(pack(bundle, path, arithmetic="int8", data=data, allowed=AllowedChange(100, 100)))
    assert verdict is not None
    texts = list(dict.fromkeys([*TEXTS, ""]))
    each = [
        zip(classifier.predict(texts), classifier.predict_labels(texts), strict=True)
        for classifier in (Classifier.load(bundle), Classifier.load(path))
    ]
    assert verdict.changed == sum(a != b for a, b in zip(*each, strict=True))
    assert (verdict.texts, verdict.labelled) == (len(texts), len(set(TEXTS)))


@pytest.mark.parametrize(
    "targets",
    [np.zeros((2, 3), bool), np.zeros(3, np.int64), np.zeros(2, np.float32), np.array([0, 3]), np.array([-2, 0])],
)
def test_targets_that_say_something_else_are_refused_before_any_work(
    bundle: Path, tmp_path: Path, targets: Any
) -> None:
    data = LabelledTexts(TEXTS[:2], targets, LABELS, "some texts")
    with pytest.raises(InputError, match=r"tags\b.*exactly one|float32|\[3\]|row 1 is 3|row 0 is -2"):
        pack(bundle, tmp_path / "no.prnn", arithmetic="int8", data=data)
