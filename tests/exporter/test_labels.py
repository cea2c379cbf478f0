"""Labels from the command line and from the files that people have."""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch
from module_sources import run_source
from sklearn.preprocessing import LabelBinarizer, LabelEncoder, MultiLabelBinarizer, OneHotEncoder

from pocketrnn.errors import InputError
from pocketrnn_export.bundle_description import validate_labels, validate_thresholds
from pocketrnn_export.vocabularies.labels import read_labels, write_labels

LABELS = ["World", "Sports", "Sci/Tech"]


@pytest.mark.parametrize("given", ["World,Sports,Sci/Tech", " World , Sports,Sci/Tech "])
def test_labels_stand_on_the_command_line(given: str) -> None:
    assert read_labels(given) == LABELS
    assert read_labels("a" * 5000) == ["a" * 5000]
    assert read_labels("a\0b,c") == ["a\0b", "c"]


@pytest.mark.parametrize("labels", [["a", "b"], ["oil, gas", "war"], ["bad", "good "], ["[x", "y]"], ['"a"', "\u732b"]])
def test_an_option_with_labels_gives_them_back(labels: list[str]) -> None:
    assert read_labels(write_labels(labels)) == labels


def test_a_damaged_list_of_labels_on_the_command_line_is_refused() -> None:
    with pytest.raises(InputError, match="--labels"):
        read_labels('["a", 2.5, "b"]')
    with pytest.raises(InputError, match="--labels"):
        read_labels('["a" "b"]')


@pytest.mark.parametrize("name", ["labels.json", "labels.txt", "labels"])
@pytest.mark.parametrize(
    "content",
    [
        LABELS,
        {"World": 0, "Sci/Tech": 2, "Sports": 1},
        {"0": "World", "2": "Sci/Tech", "1": "Sports"},
        {"id2label": {"0": "World", "1": "Sports", "2": "Sci/Tech"}, "label2id": 3},
        {"classes": LABELS, "epoch": 3},
        {"classes": LABELS, "World": 0, "Sports": 1, "Sci/Tech": 2},
        {"classes": LABELS, "World": 120, "Sports": 80, "Sci/Tech": 80},
        {"label2id": {"World": "0", "Sports": "1", "Sci/Tech": "2"}, "labels": [0, 0, 2, 1]},
        [{"id": 2, "name": "Sci/Tech"}, {"id": 0, "name": "World"}, {"id": 1, "name": "Sports"}],
        {"intents": [{"id": i, "name": label, "about": "x"} for i, label in enumerate(LABELS)], "version": 3},
        {"labels": [{"id": str(i), "label": label} for i, label in enumerate(LABELS)]},
        {"classes": LABELS, "rows": [{"id": 0, "label": "Sports"}]},
    ],
)
def test_a_json_file_is_a_list_or_a_map(content: Any, name: str, tmp_path: Path) -> None:
    for indent in (None, 2):
        (tmp_path / name).write_text(json.dumps(content, indent=indent), encoding="utf-8-sig")
        assert read_labels(str(tmp_path / name)) == LABELS


@pytest.mark.parametrize(
    ("content", "labels"),
    [
        ({"id2label": {"0": 1, "1": 2, "2": 0}}, ["1", "2", "0"]),
        ({"label2id": {"0": 1, "1": 2, "2": 0}}, ["2", "0", "1"]),
        ({"label2id": {"0": "1", "1": "2", "2": "0"}}, ["2", "0", "1"]),
        ({"id2label": {"0": 1, "1": 2, "2": 0}, "label2id": {"1": 0, "2": 1, "0": 2}}, ["1", "2", "0"]),
        # Only one of the two directions has each index.
        ({"10": 0, "20": 1}, ["10", "20"]),
        ({"0": 10, "1": 20}, ["10", "20"]),
        ({"0": 1, "1": 0}, ["1", "0"]),
    ],
)
def test_the_name_of_a_map_says_which_whole_numbers_are_the_labels(
    content: Any, labels: list[str], tmp_path: Path
) -> None:
    (tmp_path / "labels.json").write_text(json.dumps(content))
    assert read_labels(str(tmp_path / "labels.json")) == labels


def test_a_text_file_holds_a_label_a_line(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_bytes(b"World\r\nSports\r\nSci/Tech\r\n")
    assert read_labels(str(tmp_path / "labels.txt")) == LABELS
    (tmp_path / "labels.json").write_text("[0, 1]")
    assert read_labels(str(tmp_path / "labels.json")) == ["0", "1"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty"),
        ("{", "not valid JSON"),
        ("[NaN]", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("3", "a list of labels or a dict"),
        ('["a", null]', "holds None as a label"),
        ('["a", true]', "holds True as a label"),
        ('["a", ["b"]]', "holds a list as a label"),
        ('{"a": 0, "b": 0}', "the index 0 to 'a' and to 'b'"),
        ('{"a": 1, "b": 2}', "no label has the index 0"),
        ('{"a": -1, "b": 0}', "no label has the index 1"),
        ('{"a": 0, "b": 1e9}', "must map labels to indices or indices"),
        ('{"0": "a", "00": "b"}', "the index 0 to 'a' and to 'b'"),
        ('{"0": 1, "1": 2, "2": 0}', "does not say which of them"),
        ('{"id2label": {"a": 0, "b": 1}}', "must map labels to indices or indices"),
        (
            '{"labels": ["a", "b"], "class_names": ["b", "a"]}',
            "different labels under the keys `labels` and `class_names`",
        ),
        ('{"id2label": {"0": "a", "1": "b"}, "label2id": {"a": 1, "b": 0}}', "keys `id2label` and `label2id`"),
        ('{"b": 1, "a": 0, "classes": ["b", "a"]}', "key `classes`"),
        ('{"0": "a", "1": "b", "classes": ["b", "a"]}', "key `classes`"),
        ('{"a": 0, "a": 1}', "'a' twice"),
        ('{"a": 1' + "0" * 4000 + ', "b": 0}', "no label has the index 1"),
        ('{"' + "9" * 5000 + '": "a"}', "must map labels to indices or indices"),
        ('[{"id": 0, "name": "a"}, {"id": 0, "name": "b"}]', "the index 0 twice"),
        ('[{"id": 1, "name": "a"}, {"id": 1, "name": "a"}]', "the index 1 twice"),
        ('[{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]', "no label has the index 0"),
        ('{"intents": [{"id": 0, "name": "a"}, {"id": 1}]}', "must have one label"),
        ('[{"id": 0.5, "name": "a"}]', "must have one label"),
        ('[{"id": 0, "name": ["a"]}]', "holds a list as a label"),
        (b"\xff", "not UTF-8"),
    ],
)
def test_a_file_that_gives_no_labels_is_refused_in_a_sentence(content: str | bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as caught:
        read_labels(str(path))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_of_labels_is_not_taken_for_a_label(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"labels\.json .*exist"):
        read_labels(str(tmp_path / "labels.json"))


ENCODER = LabelEncoder().fit(["b", "c", "a"])
OF_OBJECTS = LabelEncoder().fit(np.array(["b", "c", "a"], dtype=object))


@pytest.mark.parametrize("how", ["joblib", "protocol 2", "protocol 4", "protocol 5"])
@pytest.mark.parametrize(
    ("held", "labels"),
    [
        (ENCODER, ["a", "b", "c"]),
        (OF_OBJECTS, ["a", "b", "c"]),
        (LabelEncoder().fit([30, 10, 20]), ["10", "20", "30"]),
        (LabelBinarizer().fit(["yes", "no"]), ["no", "yes"]),
        (MultiLabelBinarizer().fit([["b"], ["a", "c"]]), ["a", "b", "c"]),
        ((pathlib.PurePosixPath("x"), ENCODER, np.zeros(2)), ["a", "b", "c"]),
        (ENCODER.classes_, ["a", "b", "c"]),
        (["b", "a"], ["b", "a"]),
        ({"b": 0, "a": 1}, ["b", "a"]),
        ({1: "a", 0: "b"}, ["b", "a"]),
        (dict(zip(ENCODER.classes_, ENCODER.transform(ENCODER.classes_), strict=True)), ["a", "b", "c"]),
    ],
    ids=str,
)
def test_a_pickle_of_labels_is_read(held: Any, labels: list[str], how: str, tmp_path: Path) -> None:
    path = tmp_path / "label_encoder.pkl"
    if how == "joblib":
        joblib.dump(held, path)
    else:
        path.write_bytes(pickle.dumps(held, protocol=int(how[-1])))
    assert read_labels(str(path)) == labels


@pytest.mark.parametrize("held", [ENCODER.classes_, OF_OBJECTS.classes_, {"a": 0, "c": 2, "b": 1}], ids=str)
def test_an_array_of_labels_is_read(held: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "classes.npy", held)
    assert read_labels(str(tmp_path / "classes.npy")) == ["a", "b", "c"]
    np.savez(tmp_path / "classes.npz", classes=ENCODER.classes_)
    assert read_labels(str(tmp_path / "classes.npz")) == ["a", "b", "c"]


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("echo executed > executed",)


def saved_by(write: Callable[[Path, Any], object], held: object) -> Callable[[Path], object]:
    return lambda path: write(path, held)


def pickled(path: Path, held: object) -> None:
    path.write_bytes(pickle.dumps(held))


@pytest.mark.parametrize(
    ("name", "write", "named"),
    [
        ("l.pkl", saved_by(pickled, Evil()), r"posix\.system.*json\.dump"),
        ("l.npy", saved_by(np.save, np.array([Evil()], dtype=object)), r"posix\.system.*in classes\]"),
        ("l.pkl", saved_by(pickled, OneHotEncoder().fit([["a"]])), r"OneHotEncoder.*in encoder\."),
        ("l.pkl", saved_by(pickled, LabelEncoder()), r"holds None, .*json\.dump"),
        ("l.pkl", saved_by(pickled, {"encoder": Evil()}), r"posix\.system.*json\.dump"),
        ("l.pkl", saved_by(pickled, {"a", "b"}), r"EMPTY_SET.*json\.dump"),
        ("l.pkl", saved_by(pickled, [["a"], ["b"]]), r"holds a list, .*json\.dump"),
        ("l.pkl", saved_by(pickled, []), r"0 labels"),
        ("l.joblib", lambda path: joblib.dump(Evil(), path, compress=3), r"posix\.system.*json\.dump"),
        ("l.npy", saved_by(np.save, np.array([0.5, 1.5])), r"holds 0\.5, .*json\.dump"),
        ("l.npy", saved_by(np.save, np.array([["a"], ["b"]])), r"holds a list, .*json\.dump"),
        ("l.npz", lambda path: np.savez(path, a=[1], b=[2]), "2 arrays"),
        ("l.npy", saved_by(Path.write_bytes, b"\x93NUMPY\x01\x00"), "cannot be read"),
        ("l.pkl", saved_by(Path.write_bytes, b""), "cannot be read"),
    ],
)
def test_what_holds_no_labels_is_refused_with_the_line_that_saves_them_and_not_executed(
    name: str, write: Callable[[Path], object], named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path(name))
    with pytest.raises(InputError, match=named) as caught:
        read_labels(name)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("held", [[0.0, 1.0], [True, False]])
def test_the_line_that_saves_labels_works_for_numbers_of_numpy(
    held: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    encoder = LabelEncoder().fit(held)
    joblib.dump(encoder, "l.joblib")
    with pytest.raises(InputError) as caught:
        read_labels("l.joblib")
    saved = re.search(r"json\.dump\((.*?encoder.*?), open", str(caught.value))
    assert saved
    make = run_source(f"def make(encoder):\n    return {saved[1]}\n")["make"]
    Path("labels.json").write_text(json.dumps(make(encoder)))
    assert read_labels("labels.json") == [str(one) for one in sorted(held)]


STATE = {"fc.weight": torch.zeros(3, 2), "fc.bias": torch.zeros(3)}
ROWS = {"model_state_dict": STATE, "epoch": 3, "vocab": {"<pad>": 0, "oil": 1}, "class_weights": [0.2, 0.3, 0.5]}


def torch_saved(path: Path, held: object) -> None:
    torch.save(held, path)


def torch_saved_as_before_1_6(path: Path, held: object) -> None:
    torch.save(held, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("write", [torch_saved, torch_saved_as_before_1_6, pickled])
@pytest.mark.parametrize(
    ("beside", "key"),
    [
        ({"labels": ["a", "b", "c"]}, "labels"),
        ({"classes": ("a", "b", "c")}, "classes"),
        ({"idx2label": {0: "a", 1: "b", 2: "c"}}, "idx2label"),
        ({"label2idx": {"c": 2, "a": 0, "b": 1}}, "label2idx"),
        ({"label_encoder": ENCODER}, "label_encoder"),
        ({"le": ENCODER, "class_names": ["a", "b", "c"]}, "le"),
        ({"config": {"model": {"class_names": np.array(["a", "b", "c"])}}}, "config.model.class_names"),
        ({"args": argparse.Namespace(labels=["a", "b", "c"], lr=0.1)}, "args.labels"),
        ({"labels": ["a", "b", "c"], "evil": Evil()}, "labels"),
    ],
)
def test_labels_in_a_checkpoint_are_found_and_their_key_is_told(
    beside: dict[str, Any],
    key: str,
    write: Callable[[Path, object], None],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("model.pkl" if write is pickled else "model.pt"), {**ROWS, **beside})
    (saved,) = tmp_path.iterdir()
    assert read_labels(str(saved)) == ["a", "b", "c"]
    (told,) = [record.getMessage() for record in caplog.records]
    assert f"'{key}'" in told
    assert list(tmp_path.iterdir()) == [saved]


def test_the_name_of_a_head_chooses_among_the_labels_of_a_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({**ROWS, "category_labels": ["oil", "war"], "labels": {"mood": ["bad", "good"]}}, path)
    assert read_labels(str(path), "category") == ["oil", "war"]
    assert read_labels(str(path), "mood") == ["bad", "good"]
    with pytest.raises(InputError, match=r"category_labels.*labels\.mood"):
        read_labels(str(path))


@pytest.mark.parametrize(
    ("held", "named"),
    [
        (ROWS, r"'model_state_dict', 'epoch', 'vocab', 'class_weights'.*json\.dump"),
        ({**ROWS, "labels": [0, 1, 1, 0]}, "them has labels"),
        (STATE, r"'fc\.weight', 'fc\.bias'"),
        (3, r"holds 3.*json\.dump"),
    ],
)
def test_a_checkpoint_without_labels_is_refused_with_its_keys(held: object, named: str, tmp_path: Path) -> None:
    torch.save(held, tmp_path / "model.pt")
    with pytest.raises(InputError, match=named) as caught:
        read_labels(str(tmp_path / "model.pt"))
    assert "UTF-8" not in str(caught.value)


def test_a_saved_list_or_map_of_labels_is_read_without_a_key(tmp_path: Path) -> None:
    for held in (["a", "b", "c"], {"a": 0, "b": 1, "c": 2}, {0: "a", 1: "b", 2: "c"}):
        torch.save(held, tmp_path / "labels.pt")
        assert read_labels(str(tmp_path / "labels.pt")) == ["a", "b", "c"]


@pytest.mark.parametrize("odd", [True, np.True_, -0.1, float("nan"), "a"])
def test_a_threshold_is_a_number_and_no_boolean(odd: Any) -> None:
    assert validate_thresholds([0, np.float32(0.5)], ["a", "b"]) == (0.0, 0.5)
    with pytest.raises(InputError, match=f"'b' .*{re.escape(repr(odd))}"):
        validate_thresholds([0.5, odd], ["a", "b"])


@pytest.mark.parametrize(
    ("labels", "named"),
    [
        ({"0": "ham", "1": "spam"}, r"sorted\(labels, key=int\)"),
        ({0: "ham", 1: "spam"}, r"sorted\(labels, key=int\)"),
        ({"ham": 0, "spam": 1}, r"sorted\(labels, key=labels\.get\)"),
        ("config.json", r"'config\.json'.*--labels"),
        ([["bad", "good"], ["news", "sport"]], r"heads=.*docs/heads\.md"),
    ],
)
def test_a_map_or_a_path_in_python_is_refused_with_the_list_that_it_means(labels: Any, named: str) -> None:
    with pytest.raises(InputError, match=named):
        validate_labels(labels)


def test_labels_of_numpy_become_plain_strings() -> None:
    labels = validate_labels(np.array(["ham", "spam"]))
    assert [type(label) for label in labels] == [str, str]


class Vocab:
    """The old torchtext.vocab.Vocab."""

    def __init__(self, words: list[str]) -> None:
        self.itos = words
        self.stoi = {word: i for i, word in enumerate(words)}


class Field:
    """The old torchtext.data.Field."""

    def __init__(self, words: list[str], *, sequential: bool = False, is_target: bool = False) -> None:
        self.vocab, self.sequential, self.is_target = Vocab(words), sequential, is_target
        self.unk_token, self.pad_token = None if is_target else "<unk>", "<pad>" if sequential else None


LABEL = Field(["1", "3", "2"], is_target=True)
TEXT = Field(["<unk>", "<pad>", "film", "page"], sequential=True)


@pytest.mark.parametrize(
    ("held", "labels"),
    [
        (LABEL, ["1", "3", "2"]),
        (LABEL.vocab, ["1", "3", "2"]),
        (Field(["<unk>", "good", "bad"]), ["good", "bad"]),
        ({"TEXT": TEXT, "LABEL": LABEL, "epoch": 3}, ["1", "3", "2"]),
        ({"vocab": TEXT.vocab, "label_vocab": LABEL.vocab}, ["1", "3", "2"]),
        ({"vocab": TEXT.vocab}, None),
        (TEXT, None),
        # The labels have other indices than their positions.
        (Field(["good", "<unk>", "<unk>"]), None),
    ],
)
@pytest.mark.parametrize("name", ["label_field.pth", "label.pkl"])
def test_labels_of_a_torchtext_field_are_read(held: Any, labels: list[str] | None, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if path.suffix == ".pth":
        torch.save(held, path)
    else:
        path.write_bytes(pickle.dumps(held))
    if labels is not None:
        assert read_labels(str(path)) == labels
    else:
        with pytest.raises(InputError):
            read_labels(str(path))
