"""A changed bundle gets one sentence on what is wrong and one on what to do, never an answer."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import bundle_maker
import onnx
import onnxruntime
import pytest
from bundle_maker import with_graph
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from slow_case_sampling import examples

import pocketrnn.bundle.manifest as manifests
from pocketrnn import Classifier, verify
from pocketrnn.bundle.manifest import Manifest
from pocketrnn.bundle.output_kinds import LabelOutput
from pocketrnn.commands.cli import main
from pocketrnn.errors import BundleError, ParityError


@pytest.fixture
def bundle(padded: Path, tmp_path: Path) -> Path:
    """A sound bundle of one's own to damage."""
    return Path(shutil.copytree(padded, tmp_path / "bundle"))


def rewritten(folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """classifier.json changed by somebody who made its digest anew."""
    path = folder / "classifier.json"
    document = json.loads(path.read_bytes())
    change(document)
    del document["digest"]
    zeroed = json.dumps(document)[:-1] + ', "digest": "' + "0" * 64 + '"}'
    path.write_text(zeroed.replace('"' + "0" * 64 + '"}', f'"{hashlib.sha256(zeroed.encode()).hexdigest()}"}}'))
    return folder


def test_a_bundle_reads_back_what_was_written(padded: Path, tmp_path: Path) -> None:
    manifest = manifests.read_manifest(padded)
    (tmp_path / "classifier.json").write_bytes(manifests.encode_manifest(manifest))
    assert manifests.read_manifest(tmp_path) == manifest


def test_a_digest_made_anew_is_accepted(bundle: Path) -> None:
    rewritten(bundle, lambda document: document.update(name="another"))
    assert verify(bundle).name == "another"


def test_tokens_that_utf8_cannot_hold_survive(tmp_path: Path) -> None:
    vocabulary = ["<unk>", "\ud800", "\0", "\u2028", "é"]
    folder = bundle_maker.make(tmp_path / "b", vocabulary=vocabulary, texts=["\ud800 é"])
    assert list(Classifier.load(folder).manifest.text.vocabulary) == vocabulary


@settings(max_examples=examples(100, 400), deadline=None)
@given(data=st.data())
def test_no_byte_of_classifier_json_can_be_changed_unseen(
    padded: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray((padded / "classifier.json").read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] = data.draw(st.integers(0, 255).filter(lambda byte: byte != content[place]))
    folder = tmp_path_factory.getbasetemp() / "changed"
    folder.mkdir(exist_ok=True)
    (folder / "classifier.json").write_bytes(content)
    with pytest.raises(BundleError):
        manifests.read_manifest(folder)


@pytest.mark.parametrize("cut", [0, 1, 100, -1, -3, -70])
def test_a_file_cut_short_is_refused(bundle: Path, cut: int) -> None:
    path = bundle / "classifier.json"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(BundleError):
        Classifier.load(bundle)


@pytest.mark.parametrize("place", [0, 100, -1])
def test_a_changed_byte_of_the_graph_is_refused(bundle: Path, place: int) -> None:
    content = bytearray((bundle / "model.onnx").read_bytes())
    content[place] ^= 1
    (bundle / "model.onnx").write_bytes(content)
    with pytest.raises(BundleError, match=r"model\.onnx was changed"):
        Classifier.load(bundle)


def test_a_changed_byte_of_the_torchscript_twin_is_seen_by_verify_alone(bundle: Path) -> None:
    (bundle / "model.torchscript.pt").write_bytes(b"X" + bundle_maker.TORCHSCRIPT_BYTES[1:])
    Classifier.load(bundle)
    with pytest.raises(BundleError, match=r"model\.torchscript\.pt was changed"):
        verify(bundle)


@pytest.mark.parametrize("file", ["classifier.json", "model.onnx", "model.torchscript.pt"])
def test_a_missing_file_is_named(bundle: Path, file: str) -> None:
    (bundle / file).unlink()
    with pytest.raises(BundleError, match=re.escape(file)):
        verify(bundle)


@pytest.mark.parametrize("file", ["classifier.json", "model.onnx", "model.torchscript.pt"])
def test_a_folder_where_a_file_should_be_is_refused(bundle: Path, file: str) -> None:
    (bundle / file).unlink()
    (bundle / file).mkdir()
    with pytest.raises(BundleError, match=re.escape(file)):
        verify(bundle)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("file", ["classifier.json", "model.onnx", "model.torchscript.pt"])
def test_a_file_that_may_not_be_read_is_named(bundle: Path, file: str) -> None:
    (bundle / file).chmod(0)
    with pytest.raises(BundleError, match=f"{re.escape(file)} cannot be read"):
        verify(bundle)


@pytest.mark.parametrize("path", ["nowhere/at/all", "a\0b", "./" + "x" * 5000])
def test_a_path_that_leads_nowhere_is_refused(path: str) -> None:
    with pytest.raises(BundleError):
        Classifier.load(path)


def test_a_file_in_place_of_the_folder_is_refused(bundle: Path) -> None:
    with pytest.raises(BundleError, match=re.escape(f"its folder: {bundle}")):
        Classifier.load(bundle / "model.onnx")


@pytest.mark.parametrize(
    "file", ["../model.onnx", "/etc/passwd", "a/b.onnx", "..", ".hidden", "a\\b", "", "model.onnx\n"]
)
@pytest.mark.parametrize("part", ["graph", "torchscript"])
def test_a_file_name_that_leaves_the_folder_is_refused(bundle: Path, part: str, file: str) -> None:
    with pytest.raises(BundleError, match=rf"{part}\.file is"):
        Classifier.load(rewritten(bundle, lambda document: document[part].update(file=file)))


@pytest.mark.parametrize("version", [0, 2, 7])
def test_a_bundle_of_another_version_is_to_be_exported_again(bundle: Path, version: int) -> None:
    with pytest.raises(BundleError, match=rf"another release.*\b{version}\b.*\b1\b.*Export it"):
        Classifier.load(rewritten(bundle, lambda document: document.update(version=version, extra={})))
    assert CliRunner().invoke(main, ["inspect", str(bundle)]).exit_code == 2


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"null", b'"format"', b"\xff\xfe", b"{}" * 2, b'{"format": NaN}', b'{"format": 1e999}',
        b"[" * 100_000, b'{"format": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", b"9" * 10_000, b'{"format": "other"}',
        b'{"format": "pocketrnn-classifier", "version": -Infinity}', b'{"format": "pocketrnn-classifier"}',
    ],
)  # fmt: skip
def test_broken_json_is_refused(bundle: Path, content: bytes) -> None:
    (bundle / "classifier.json").write_bytes(content)
    with pytest.raises(BundleError, match=r"classifier\.json is not"):
        Classifier.load(bundle)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda d: d["text"].update(tokenizer="spacy"), "tokenizer is 'spacy'"),
        (lambda d: d.update(labels=d["labels"][:3]), "does not fit 3 labels"),
        (lambda d: d.update(labels=[*d["labels"], "Fifth"]), "does not fit 5 labels"),
        (lambda d: d.update(labels=["a", "a", "b", "c"]), "labels holds 'a' twice"),
        (lambda d: d["vocabulary"].append("one more"), "holds 31 tokens"),
        (lambda d: d["vocabulary"].append("the"), "vocabulary holds 'the' twice"),
        (lambda d: d["text"].update(unknown_id=30), "the token id 30"),
        (lambda d: d["text"].update(empty_id=-1), "empty_id is -1, less than 0"),
        (lambda d: d["examples"][0].update(ids=[99]), "golden example"),
        (lambda d: d["examples"][0].update(logits=[1.0, 2.0]), "golden example"),
        (lambda d: d["graph"].update(embedding_rows=31), "highest token id, 30"),
        (lambda d: d["graph"].update(embedding_rows=2**70), "embedding_rows is 1180591620717411303424, more than"),
        (lambda d: d["graph"].update(inputs=["tokens"]), "has the inputs"),
        (lambda d: d["graph"].update(sha256="0" * 64), "was changed after"),
        (lambda d: d.update(activation="tanh"), "activation is 'tanh'"),
        (lambda d: d.pop("parity"), "parity is missing"),
        (lambda d: d.update(more=1), "'more'"),
        (lambda d: d.update(provenance=json.loads("[" * 40 + "]" * 40)), "of type object"),
        (lambda d: d.update(provenance={"a": json.loads("[" * 40 + "]" * 40)}), "more than 32 levels"),
    ],
)
def test_parts_that_do_not_fit_are_refused_though_the_digest_does(
    bundle: Path, change: Callable[[dict[str, Any]], None], sentence: str
) -> None:
    with pytest.raises(BundleError, match=re.escape(sentence)):
        Classifier.load(rewritten(bundle, change))


def test_onnxruntime_adds_nothing_of_its_own_on_stderr(bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BundleError, match="cannot be run"):
        Classifier.load(rewritten(bundle, lambda document: document["graph"].update(embedding_rows=31)))
    assert capfd.readouterr() == ("", "")


def test_a_vocabulary_smaller_than_the_embedding_is_sound_until_verified(bundle: Path) -> None:
    rewritten(bundle, lambda document: document["vocabulary"].pop())
    Classifier.load(bundle)
    with pytest.raises(BundleError, match=r"model\.onnx .*other labels"):
        verify(bundle)


def test_labels_and_logits_must_be_as_many(tmp_path: Path) -> None:
    def fewer(manifest: Manifest) -> Manifest:
        examples = tuple(replace(example, logits=example.logits[:3]) for example in manifest.golden_texts)
        return replace(manifest, output=LabelOutput(manifest.labels[:3]), examples=examples)

    with pytest.raises(BundleError, match=r"\b4 logits.*\b3 labels"):
        Classifier.load(bundle_maker.make(tmp_path / "b", change=fewer))


def test_a_graph_that_is_not_onnx_is_refused(bundle: Path) -> None:
    (bundle / "model.onnx").write_bytes(b"not a graph")
    sha256 = hashlib.sha256(b"not a graph").hexdigest()
    with pytest.raises(BundleError, match=r"model\.onnx .*not an ONNX"):
        Classifier.load(rewritten(bundle, lambda document: document["graph"].update(sha256=sha256)))


def rename_input(graph: onnx.ModelProto) -> None:
    graph.graph.input[0].name = "words"
    graph.graph.node[1].input[1] = "words"


def rename_output(graph: onnx.ModelProto) -> None:
    graph.graph.output[0].name = "scores"
    graph.graph.node[-1].output[0] = "scores"


def fix_width(graph: onnx.ModelProto) -> None:
    graph.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 7


def float_tokens(graph: onnx.ModelProto) -> None:
    graph.graph.node.insert(0, helper.make_node("Cast", ["tokens"], ["cast"], to=TensorProto.INT64))
    graph.graph.node[2].input[1] = "cast"
    graph.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


def label_output(graph: onnx.ModelProto) -> None:
    graph.graph.node[-1].output[0] = "scores"
    graph.graph.node.append(helper.make_node("ArgMax", ["scores"], ["logits"], axis=1, keepdims=1))
    graph.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (rename_input, "has the inputs lengths (tensor(int64), rank 1), words"),
        (rename_output, "has the outputs scores"),
        (fix_width, "fixed shape"),
        (float_tokens, "has the inputs"),
        (label_output, "has the outputs logits (tensor(int64), rank 2)"),
    ],
)
def test_a_graph_of_another_signature_is_refused(
    tmp_path: Path, change: Callable[[onnx.ModelProto], None], sentence: str
) -> None:
    with pytest.raises(BundleError) as caught:
        Classifier.load(bundle_maker.make(tmp_path / "b", change_graph=change))
    # The inputs' order is onnxruntime's own.
    words = re.findall(r"\w+", sentence)
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize("location", ["weights", "../weights", "bundle/weights", "model.onnx"])
def test_weights_in_a_file_that_no_digest_covers_are_refused(
    tmp_path: Path, location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def moved_out(graph: onnx.ModelProto) -> None:
        tensor = graph.graph.initializer[0]
        content = tensor.raw_data
        for place in (tmp_path, tmp_path / "bundle", tmp_path / "current"):
            place.mkdir(exist_ok=True)
            (place / "weights").write_bytes(content)
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", location

    folder = bundle_maker.make(tmp_path / "bundle", change_graph=moved_out)
    for current in (tmp_path, tmp_path / "bundle", tmp_path / "current"):
        monkeypatch.chdir(current)
        with pytest.raises(BundleError, match=r"model\.onnx .*further files"):
            Classifier.load(folder)


def test_a_word_in_the_graph_is_not_taken_for_weights_elsewhere(tmp_path: Path) -> None:
    folder = bundle_maker.make(tmp_path / "b", name="location", labels=["location", "b", "c", "\x08location"])
    assert verify(folder).name == "location"


def test_a_graph_without_its_metadata_does_not_verify(tmp_path: Path) -> None:
    folder = bundle_maker.make(tmp_path / "b", change_graph=lambda graph: graph.ClearField("metadata_props"))
    Classifier.load(folder)
    with pytest.raises(BundleError, match=r"model\.onnx .*not say"):
        verify(folder)


@pytest.mark.parametrize("lengths", [True, False])
def test_verify_says_what_it_checked(tmp_path: Path, lengths: bool) -> None:
    result = verify(bundle_maker.make(tmp_path / "b", lengths=lengths))
    assert result.files == ("classifier.json", "model.onnx", "model.torchscript.pt")
    assert [replay.how for replay in result.replays] == ["each alone", "all in one batch"]
    assert all(replay.largest_difference <= 1e-5 and replay.examples == 6 for replay in result.replays)


def test_verify_needs_no_torchscript_twin(tmp_path: Path) -> None:
    result = verify(bundle_maker.make(tmp_path / "b", torchscript=False))
    assert result.files == ("classifier.json", "model.onnx")


def test_examples_answered_otherwise_break_parity_and_are_named(tmp_path: Path) -> None:
    def shifted(manifest: Manifest) -> Manifest:
        first, second, *others = manifest.examples
        near = replace(first, logits=tuple(logit + 1e-4 for logit in first.logits))
        other = replace(second, logits=tuple(-logit for logit in second.logits))
        return replace(manifest, examples=(near, other, *others))

    with pytest.raises(ParityError, match=r"'Wall St\. Bears.*0\.0001") as caught:
        verify(bundle_maker.make(tmp_path / "b", change=shifted))
    assert caught.value.exit_status == 3


def test_examples_that_become_other_ids_break_parity(tmp_path: Path) -> None:
    def changed(manifest: Manifest) -> Manifest:
        first, *others = manifest.examples
        return replace(manifest, examples=(replace(first, ids=(*first.ids, 1)), *others))

    with pytest.raises(ParityError, match=r"'Wall St\. Bears.*token ids"):
        verify(bundle_maker.make(tmp_path / "b", change=changed))


def test_a_wrong_leave_to_pad_breaks_parity(tmp_path: Path) -> None:
    folder = bundle_maker.make(
        tmp_path / "b", lengths=False, padding=True, texts=["the oil team", "the", "oil", "wall st", "war", "talks"]
    )
    with pytest.raises(ParityError, match="in one batch"):
        verify(folder)


def test_a_fraction_that_counts_as_an_integer_is_read_as_one(bundle: Path) -> None:
    rewritten(bundle, lambda document: document["graph"].update(embedding_rows=30.0))
    assert isinstance(Classifier.load(bundle).manifest.graph.embedding_rows, int)


def test_changing_a_graphs_members_is_seen(tmp_path: Path) -> None:
    folder = bundle_maker.make(tmp_path / "b", change=lambda manifest: with_graph(manifest, inputs=("tokens",)))
    with pytest.raises(BundleError, match="has the inputs"):
        Classifier.load(folder)


def test_a_graph_that_is_replaced_while_it_is_opened_is_the_one_that_was_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = bundle_maker.make(tmp_path / "b")
    real = onnxruntime.InferenceSession
    expected = Classifier.load(folder).logits(["the oil"])

    def opened_late(*arguments: object, **options: object) -> object:
        (folder / "model.onnx").write_bytes(b"another graph")
        return real(*arguments, **options)

    monkeypatch.setattr(onnxruntime, "InferenceSession", opened_late)
    assert Classifier.load(folder).logits(["the oil"]).tolist() == expected.tolist()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems know no such names")
def test_a_folder_whose_name_is_not_utf8_is_opened(tmp_path: Path) -> None:
    folder = bundle_maker.make(Path(os.fsdecode(os.fsencode(tmp_path) + b"/b\xff")))
    assert Classifier.load(folder).predict(["the oil"])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_second_classifier_holds_its_weights_once(tmp_path: Path) -> None:
    """The file of the graph is no part of what stays: 4,000 rows of 1,000 numbers are 15.3 MiB."""
    folder = bundle_maker.make(tmp_path / "b", vocabulary=[f"w{i}" for i in range(4_000)], embedding=1_000)
    code = """
import ctypes, sys
from pocketrnn import Classifier

def resident():
    # malloc gives freed memory back when it sees fit.
    getattr(ctypes.CDLL(None), "malloc_trim", int)(0)
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20

held = [Classifier.load(sys.argv[1])]
before = resident()
held += [Classifier.load(sys.argv[1]) for _ in range(4)]
print((resident() - before) / 4)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, timeout=60, check=True
    )
    assert float(done.stdout) < 1.6 * 15.3
