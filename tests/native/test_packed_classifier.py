"""`Classifier.load("news.prnn")` has the methods and errors that it has for a bundle; commands take the file too."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import bundle_maker
import numpy as np
import pytest
from click.testing import CliRunner

import pocketrnn_native
from pocketrnn import Classifier, verify
from pocketrnn.bundle.bundle_lookup import find_or_download_bundle
from pocketrnn.bundle.manifest import Limits, encode_manifest
from pocketrnn.bundle.manifest import read_manifest as read_manifest
from pocketrnn.bundle.output_kinds import build_output
from pocketrnn.commands.cli import main
from pocketrnn.engines import native
from pocketrnn.engines.engine import Floats
from pocketrnn.engines.native import NativeEngine
from pocketrnn.errors import BundleError, InputError, LimitError, MissingExtraError, OutputError, ParityError, TextError
from pocketrnn.predictions_from_logits import Answers
from pocketrnn_export.microcontroller import convert_to_c_array
from pocketrnn_export.packing import pack

TEXTS = [
    "Oil prices rise again",
    "",
    "Striker scores twice in cup final",
    "NASA probe nears Saturn " * 40,
    "Σ ẞ \ud800",
]


@pytest.fixture(scope="module")
def both(news: Path) -> tuple[Classifier, Classifier]:
    """The bundle, and the same packed."""
    return Classifier.load("ag_news-small"), Classifier.load(news)


def test_a_file_of_words_is_answered_without_what_other_bundles_need(news: Path) -> None:
    code = (
        "import sys\nfrom pocketrnn import Classifier\n"
        f"Classifier.load({str(news)!r}).classify('oil')\n"
        "parts = ('subword', 'charsmap', 'packed_tags', 'packed_numbers', 'onnxruntime')\n"
        "print([name for name in sys.modules if any(part in name for part in parts)])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_every_method_answers_as_that_of_the_bundle(both: tuple[Classifier, Classifier]) -> None:
    bundle, packed = both
    assert (packed.name, packed.labels) == (bundle.name, bundle.labels)
    assert repr(packed) == repr(bundle)
    assert [packed.encode(text) for text in TEXTS] == [bundle.encode(text) for text in TEXTS]
    np.testing.assert_allclose(packed.logits(TEXTS), bundle.logits(TEXTS), atol=1e-5)
    np.testing.assert_allclose(packed.predict_proba(iter(TEXTS)), bundle.predict_proba(TEXTS), atol=1e-5)
    assert packed.predict(TEXTS) == bundle.predict(TEXTS)
    assert packed.predict_labels(TEXTS, 0.3) == bundle.predict_labels(TEXTS, 0.3)
    for text in TEXTS:
        given, expected = packed.classify(text, top=3), bundle.classify(text, top=3)
        assert [label for label, _ in given.top] == [label for label, _ in expected.top]
        assert given.probability == pytest.approx(expected.probability, abs=1e-5)
    assert [answer and answer.label for answer in packed.classify_all(TEXTS)] == bundle.predict(TEXTS)
    assert packed.logits([]).shape == (0, 4)


def test_what_is_no_text_is_refused_or_skipped_as_with_a_bundle(both: tuple[Classifier, Classifier]) -> None:
    _, packed = both
    with pytest.raises(TextError, match="position 1"):
        packed.predict(["oil", None])  # type: ignore[list-item]
    with pytest.raises(TextError, match="string"):
        packed.classify(None)  # type: ignore[arg-type]
    assert packed.predict(["Oil prices rise again", None], on_error="skip") == ["Business", None]  # type: ignore[list-item]
    with pytest.raises(InputError, match="top is 9"):
        packed.classify("oil", top=9)


@pytest.mark.parametrize("name", [pytest.param("limits", marks=pytest.mark.slow), "real-token"])
def test_texts_beyond_the_limits_are_refused_or_skipped_as_with_a_bundle(tmp_path: Path, name: str) -> None:
    limits = Path(__file__).parents[1] / "vectors" / name
    pack(limits, tmp_path / "limits.prnn")
    bundle, packed = Classifier.load(limits), Classifier.load(tmp_path / "limits.prnn")
    stated, rules = bundle.manifest.graph.limits or Limits(), bundle.manifest.text.rules
    # No text has other numbers of tokens than its rules give.
    least, most = stated.min_tokens or rules.min_width, stated.max_tokens or rules.max_width
    assert packed.manifest.graph.limits == replace(stated, min_tokens=least, max_tokens=most, max_batch=None)
    alone = pocketrnn_native.Classifier.load(tmp_path / "limits.prnn")
    for line in (limits / "beyond.jsonl").read_text(encoding="ascii").splitlines():
        beyond = json.loads(line)
        with pytest.raises(LimitError, match=beyond["said"]):
            packed.classify(beyond["text"])
        with pytest.raises(pocketrnn_native.EngineError, match=r"fewer tokens|more tokens|no known word"):
            alone.classify(beyond["text"])
        within = json.loads((limits / "vectors.jsonl").read_text(encoding="ascii").splitlines()[0])["text"]
        texts = [within, beyond["text"]]
        with pytest.raises(LimitError, match="position 1"):
            packed.predict(texts)
        assert packed.predict(texts, on_error="skip") == bundle.predict(texts, on_error="skip")


@pytest.mark.parametrize("activation", [pytest.param("softmax", marks=pytest.mark.slow), "sigmoid"])
def test_thresholds_of_a_bundle_hold_in_a_packed_file_with_and_without_pocketrnn(
    tmp_path: Path, activation: str
) -> None:
    words, folder, path = Path(__file__).parents[1] / "vectors" / "words", tmp_path / "bundle", tmp_path / "words.prnn"
    texts = ["the cup game", "The team wins the cup game!", "", "unheard-of", "NASA's space probe"]
    answers = replace(Answers.from_manifest(read_manifest(words)), activation=activation)
    likeliest = answers.probabilities(Classifier.load(words).logits(texts)).max(axis=1)
    thresholds = (float(np.median(likeliest)) - 1e-3,) * 4
    changed = replace(read_manifest(words), output=build_output(answers.labels, activation, thresholds))
    folder.mkdir()
    (folder / "model.onnx").write_bytes((words / "model.onnx").read_bytes())
    (folder / "classifier.json").write_bytes(encode_manifest(changed))
    done = CliRunner().invoke(main, ["pack", str(folder), "-o", str(path)])
    assert done.exit_code == 0, done.output
    assert "compare them with `thresholds` of prnn_document" in done.stdout
    bundle, packed, alone = Classifier.load(folder), Classifier.load(path), pocketrnn_native.Classifier.load(path)
    assert alone.thresholds == packed.thresholds == bundle.thresholds
    assert alone.predict_labels(texts) == packed.predict_labels(texts) == bundle.predict_labels(texts)
    assert () in alone.predict_labels(texts)
    assert alone.predict_labels(texts, 0.3) == bundle.predict_labels(texts, 0.3)
    with pytest.raises(ValueError, match="not a probability"):
        alone.predict_labels(texts, 1.5)


def test_two_thresholds_that_add_up_to_one_decide_between_two_labels_in_a_packed_file(tmp_path: Path) -> None:
    texts = ["the oil", "team wins", "the team wins the cup", "of the"]
    folder, path = tmp_path / "bundle", tmp_path / "two.prnn"
    of_second = Classifier.load(bundle_maker.make(folder, labels=("ham", "spam"))).predict_proba(texts)[:, 1]
    second = round(float(np.sort(of_second[of_second < 0.5])[-2:].mean()), 5)
    changed = bundle_maker.with_output(read_manifest(folder), "softmax", (1 - second, second))
    (folder / "classifier.json").write_bytes(encode_manifest(changed))
    assert CliRunner().invoke(main, ["pack", str(folder), "-o", str(path)]).exit_code == 0
    expected = [("spam" if p >= second else "ham",) for p in of_second]
    assert set(expected) == {("ham",), ("spam",)}
    for classifier in (Classifier.load(folder), Classifier.load(path), pocketrnn_native.Classifier.load(path)):
        assert classifier.predict_labels(texts) == expected


def test_a_packed_file_is_pickled_by_its_path_and_threads_share_one(both: tuple[Classifier, Classifier]) -> None:
    _, packed = both
    again = pickle.loads(pickle.dumps(packed))  # noqa: S301 - our own
    assert again.predict(TEXTS) == packed.predict(TEXTS)
    expected, different = packed.logits(TEXTS), []

    def ask() -> None:
        for _ in range(40):
            if not np.array_equal(packed.logits(TEXTS), expected):
                different.append(1)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not different
    assert Classifier.load(packed._folder, threads=2).predict(TEXTS * 500) == packed.predict(TEXTS) * 500


def test_an_int8_bundle_stays_as_small_and_verify_replays_its_examples(news: Path) -> None:
    files = find_or_download_bundle("ag_news-small").iterdir()
    assert news.stat().st_size < 1.1 * sum(file.stat().st_size for file in files)
    found = verify(news)
    assert found.files == ("news.prnn",)
    assert [replay.how for replay in found.replays] == ["each alone", "all in one batch"]
    assert max(replay.largest_difference for replay in found.replays) <= 1e-5


def test_the_proof_of_a_packed_file_stands_beside_that_of_its_bundle(tmp_path: Path) -> None:
    # Its weights are int8.
    folder = Path(__file__).parents[1] / "vectors" / "int8"
    bundle, packed = read_manifest(folder), pack(folder, tmp_path / "int8.prnn")
    before, lines = bundle.parity.comparisons, packed.parity.comparisons
    assert lines[: len(before)] == before
    for opened in ("packed", "packed, in place"):
        kinds = {line.inputs for line in lines[len(before) :] if line.candidate == opened}
        assert kinds == {"shapes", "drawn shapes", "hazards", "every id", "texts"}
    assert packed.provenance["packed"]["from_graph"] == bundle.graph.sha256


@pytest.mark.slow
@pytest.mark.parametrize("wrong_in_place", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_file_that_one_way_of_opening_answers_wrongly_is_not_written(
    wrong_in_place: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = NativeEngine.step

    def step(self: NativeEngine, ids: Sequence[int], state: Floats) -> tuple[Floats, Floats]:
        logits, new_state = right(self, ids, state)
        return logits + (0.1 if (self._packed is self._file.packed) != wrong_in_place else 0), new_state

    monkeypatch.setattr(NativeEngine, "step", step)
    with pytest.raises(ParityError):
        pack(Path(__file__).parents[1] / "vectors" / "streams", tmp_path / "streams.prnn")
    assert not list(tmp_path.iterdir())


def test_a_changed_file_is_refused_and_where_the_sums_fit_verify_refuses_it(news: Path, tmp_path: Path) -> None:
    content, path = bytearray(news.read_bytes()), tmp_path / "changed.prnn"
    content[-5000] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"changed\.prnn .*changed after"):
        Classifier.load(path)
    with pytest.raises(BundleError, match=r"changed\.prnn .*digest"):
        verify(path)


def test_a_file_whose_document_says_other_than_its_sections_is_refused(tmp_path: Path) -> None:
    bundle = bundle_maker.make(tmp_path / "bundle")
    pack(bundle, tmp_path / "one.prnn")
    content = bytearray((tmp_path / "one.prnn").read_bytes())
    at = content.index(b'"padding_id":') + len(b'"padding_id":')
    content[at] ^= 1
    words = np.frombuffer(bytes(content[:16]) + bytes(16) + bytes(content[32:]), "<u4").astype(np.uint64)
    positions = np.arange(1, len(words) + 1, dtype=np.uint64)
    content[16:32] = np.array([words.sum(), (words * positions).sum()], "<u8").tobytes()
    (tmp_path / "other.prnn").write_bytes(content)
    with pytest.raises(BundleError, match="contradicts itself"):
        Classifier.load(tmp_path / "other.prnn")


def test_without_the_native_engine_a_packed_file_says_what_is_missing(
    news: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pocketrnn_native", None)
    with pytest.raises(MissingExtraError, match="pip install"):
        Classifier.load(news)
    with pytest.raises(MissingExtraError, match="native engine"):
        native.import_native_module()


@pytest.mark.parametrize("other", [None, 0, 4, 6])
def test_a_native_engine_of_another_version_is_named_as_that(
    news: Path, monkeypatch: pytest.MonkeyPatch, other: int | None
) -> None:
    engine = native.import_native_module()
    if other is None:
        monkeypatch.delattr(engine, "INTERFACE")
    else:
        monkeypatch.setattr(engine, "INTERFACE", other)
    with pytest.raises(MissingExtraError, match="have different versions"):
        Classifier.load(news)


@pytest.mark.slow
def test_a_module_is_exported_as_a_packed_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model.py").write_text(
        "from torch import nn\nclass Model(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.embedding, self.fc = nn.Embedding(5, 8), nn.Linear(6, 2)\n"
        "        self.gru = nn.GRU(8, 6, batch_first=True)\n"
        "    def forward(self, tokens):\n        return self.fc(self.gru(self.embedding(tokens))[1][-1])\n"
    )
    Path("vocab.txt").write_text("<unk>\n<pad>\ngood\nbad\nfilm\n")
    line = ["export", "model.py:Model", "--random-weights", "--vocabulary", "vocab.txt", "--labels", "no,yes",
            "--profile", "packed", "-o", "mood.prnn"]  # fmt: skip
    done = CliRunner().invoke(main, line)
    assert done.exit_code == 0, done.output
    assert "Wrote mood.prnn: mood, 2 labels" in done.output
    assert Classifier.load("mood.prnn").classify("a good film").label in ("no", "yes")
    assert CliRunner().invoke(main, line).exit_code == OutputError.exit_status
    streaming = CliRunner().invoke(main, [*line, "--force", "--streaming"])
    assert streaming.exit_code == 0, streaming.output
    stream = Classifier.load("mood.prnn").stream()
    stream.push("a good")
    whole = Classifier.load("mood.prnn").classify("a good film")
    assert stream.push(" film").probability == pytest.approx(whole.probability, abs=1e-6)


def test_the_commands_take_a_packed_file(news: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    packed = tmp_path / "words.prnn"
    bundle = str(Path(__file__).parents[1] / "vectors" / "words")
    done = runner.invoke(main, ["pack", bundle, "-o", str(packed)])
    assert done.exit_code == 0, done.output
    assert f"Wrote {packed}" in done.output
    assert runner.invoke(main, ["pack", bundle, "-o", str(packed)]).exit_code == OutputError.exit_status
    assert runner.invoke(main, ["pack", bundle, "-o", str(packed), "--force"]).exit_code == 0
    assert "already a packed file" in runner.invoke(main, ["pack", str(packed), "-o", str(tmp_path / "b.prnn")]).output
    assert runner.invoke(main, ["verify", str(packed)]).exit_code == 0
    assert "words.prnn" in runner.invoke(main, ["inspect", str(packed)]).output
    assert json.loads(runner.invoke(main, ["inspect", "--json", str(packed)]).output)["graph"]["file"] == "program"
    shown = runner.invoke(main, ["classify", "-b", str(news), "--top", "2", "Oil prices rise again"]).output
    assert shown.startswith("Business\t0.")
    assert runner.invoke(main, ["bench", str(packed), "--rounds", "1"]).exit_code == 0


def test_pack_writes_an_array_in_c_of_the_same_file(tmp_path: Path) -> None:
    runner = CliRunner()
    bundle = str(Path(__file__).parents[1] / "vectors" / "words")
    packed, header = tmp_path / "words.prnn", tmp_path / "words.h"
    assert runner.invoke(main, ["pack", bundle, "-o", str(packed)]).exit_code == 0
    done = runner.invoke(main, ["pack", bundle, "--c-array", str(header)])
    assert done.exit_code == 0, done.output
    assert f"Wrote {header}" in done.output
    assert "Next:" not in done.output
    assert header.read_text(encoding="ascii") == convert_to_c_array(packed.read_bytes(), "words")
    assert runner.invoke(main, ["pack", bundle, "--c-array", str(header)]).exit_code == OutputError.exit_status
    for given in ([], ["-o", str(packed), "--c-array", str(header)]):
        refused = runner.invoke(main, ["pack", bundle, "--force", *given])
        assert refused.exit_code == 2
        assert "must be given exactly once" in refused.output


def test_a_packed_classifier_explains_as_its_bundle(both: tuple[Classifier, Classifier]) -> None:
    bundle, packed = both
    for text in TEXTS:
        expected, given = bundle.explain(text), packed.explain(text)
        assert given.label == expected.label
        assert [(f.text, f.start, f.end) for f in given.fragments] == [
            (f.text, f.start, f.end) for f in expected.fragments
        ]
        for member in ("log_odds", "probability"):
            numbers = [[getattr(f, member) for f in one.fragments] for one in (given, expected)]
            np.testing.assert_allclose(*numbers, atol=3e-5)
