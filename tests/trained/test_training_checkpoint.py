"""Checkpoints on disk: what is written is what is read, and what a damaged one gets."""

from __future__ import annotations

import contextlib
import errno
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from safetensors import torch as safetensors

from pocketrnn.errors import CheckpointError, OutputError
from pocketrnn.text import TextRules
from pocketrnn_training.classifiers import checkpoint as checkpoints
from pocketrnn_training.classifiers.architecture import Architecture
from pocketrnn_training.classifiers.checkpoint import Checkpoint
from pocketrnn_training.classifiers.recurrent_classifiers import RecurrentClassifier

ARCHITECTURE = Architecture("lstm", 6, 4, 5, 2, True, 0.2, "mean", True, 2, 1)


def made(**changes: Any) -> Checkpoint:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = RecurrentClassifier(ARCHITECTURE).eval()
    parts: dict[str, Any] = {
        "name": "tiny",
        "architecture": ARCHITECTURE,
        "rules": TextRules(ngrams=2, max_tokens=9, padding_id=1),
        "labels": ("no", "ye\ns"),
        "vocabulary": ("<unk>", "<pad>", "a", "é", "\ud800", "a b"),
        "module": module,
        "metrics": {"validation_accuracy": 0.5},
        "data": {"source": "x.csv", "rows": 4},
        "examples": ("a b", "\udfff\x00"),
        "training": {"batch_size": 16},
    }
    return Checkpoint(**(parts | changes))


def refusal(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        checkpoints.read(folder)
    assert caught.value.exit_status == 2
    assert caught.value.remedy
    return caught.value.problem


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    checkpoints.write(made(), tmp_path / "c")
    return tmp_path / "c"


def change_config(folder: Path, change: Any) -> None:
    document = json.loads((folder / "config.json").read_text())
    change(document)
    (folder / "config.json").write_text(json.dumps(document))


def change_weights(folder: Path, **tensors: torch.Tensor | None) -> None:
    state = safetensors.load((folder / "weights.safetensors").read_bytes())
    state |= {name.replace("__", "."): tensor for name, tensor in tensors.items()}
    kept = {name: tensor for name, tensor in state.items() if tensor is not None}
    (folder / "weights.safetensors").write_bytes(safetensors.save(kept))


def test_what_is_written_is_read(folder: Path) -> None:
    written, read = made(), checkpoints.read(folder)
    assert replace(read, module=written.module) == written
    assert not read.module.training
    for name, tensor in written.module.state_dict().items():
        assert torch.equal(tensor, read.module.state_dict()[name])
    tokens, lengths = torch.tensor([[2, 3, 4], [5, 1, 1]]), torch.tensor([3, 1])
    assert torch.equal(read.module(tokens, lengths), written.module(tokens, lengths))
    assert {path.name for path in folder.iterdir()} == {"config.json", "weights.safetensors"}


def test_the_same_checkpoint_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    checkpoints.write(checkpoints.read(folder), tmp_path / "again")
    for name in ("config.json", "weights.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_reading_draws_no_random_number(folder: Path) -> None:
    before = torch.get_rng_state()
    checkpoints.read(folder)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_schema_is_one_and_accepts_what_is_written(folder: Path) -> None:
    Draft202012Validator.check_schema(checkpoints.load_checkpoint_schema())
    Draft202012Validator(checkpoints.load_checkpoint_schema()).validate(
        json.loads((folder / "config.json").read_bytes())
    )


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    assert "is not a folder" in refusal(tmp_path / "none")
    assert "holds no config.json" in refusal(tmp_path)
    (tmp_path / "file").write_text("x")
    assert "is not a folder" in refusal(tmp_path / "file")
    (tmp_path / "config.json").mkdir()
    assert "is not a regular file" in refusal(tmp_path)
    assert "cannot be read" in refusal(Path("a\0b"))


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000, b'{"format": NaN}'])
def test_a_config_that_is_not_json_is_refused(folder: Path, content: bytes) -> None:
    (folder / "config.json").write_bytes(content)
    assert "is not JSON" in refusal(folder)


@pytest.mark.parametrize("content", ["[]", "{}", '{"format": "pocketrnn-classifier"}'])
def test_another_format_is_refused(folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content)
    assert "is not a pocketrnn-checkpoint file" in refusal(folder)


def test_a_checkpoint_of_another_version_is_to_be_trained_again(folder: Path) -> None:
    change_config(folder, lambda d: d.update(version=2, labels=7))
    with pytest.raises(CheckpointError, match=r"another release.*version 2.*Train it"):
        checkpoints.read(folder)


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("architecture", "pairs"), 16, "does not fit config.json"),
        (("labels",), ["a", "b", "c"], "There are 3 labels"),
        (("labels",), ["a", "a"], "'a' twice"),
        (("labels",), ["a", ""], "empty string"),
        (("labels",), "ab", "labels"),
        (("vocabulary",), ["a"], "holds 1 tokens, but the embedding has 6 rows"),
        (("vocabulary",), ["a", "b", "c", "d", "e", "a"], "'a' twice"),
        (("vocabulary",), [1, 2, 3, 4, 5, 6], "vocabulary[0]"),
        (("name",), "", "name"),
        (("version",), "1", "version"),
        (("examples",), [], "examples"),
        (("metrics",), None, "metrics"),
        (("unknown",), 1, "not a known member"),
        (("architecture", "cell"), "sru", "architecture.cell"),
        (("architecture", "hidden_dim"), "5", "architecture.hidden_dim"),
        (("architecture", "hidden_dim"), True, "architecture.hidden_dim"),
        (("architecture", "hidden_dim"), 5.5, "architecture.hidden_dim"),
        (("architecture", "hidden_dim"), 6, "rnn.weight_ih_l0 has the shape [20, 4], but must have [24, 4]"),
        (("architecture", "hidden_dim"), 10**30, "are too large"),
        (("architecture", "layers"), 10**30, "are too large"),
        (("architecture", "layers"), 1, "rnn.bias_hh_l1 is not part"),
        (("architecture", "layers"), 3, "rnn.weight_ih_l2 is missing"),
        (("architecture", "bidirectional"), 1, "architecture.bidirectional"),
        (("architecture", "bidirectional"), False, "has the shape"),
        (("architecture", "dropout"), 1.5, "dropout is 1.5"),
        (("architecture", "padding_id"), 2, "padding id of the text rules is 1"),
        (("text", "unknown_id"), 6, "the token id 6"),
        (("text", "tokenizer"), "spacy", "text.tokenizer"),
        (("text", "lowercase"), False, "basic_english always lower-cases"),
    ],
)
def test_a_config_that_is_wrong_is_refused(folder: Path, path: tuple[str, ...], value: Any, says: str) -> None:
    def change(document: dict[str, Any]) -> None:
        for step in path[:-1]:
            document = document[step]
        document[path[-1]] = value

    change_config(folder, change)
    assert says in refusal(folder)


def test_a_missing_member_is_refused(folder: Path) -> None:
    whole = json.loads((folder / "config.json").read_text())
    for name in whole:
        (folder / "config.json").write_text(json.dumps({n: v for n, v in whole.items() if n != name}))
        said = refusal(folder)
        assert name == "format" or f"{name} is missing" in said


def test_sizes_written_as_1_0_are_whole_numbers(folder: Path) -> None:
    change_config(folder, lambda d: d["architecture"].update(hidden_dim=5.0, dropout=0))
    assert checkpoints.read(folder).architecture.hidden_dim == 5


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({"fc__bias": None}, "the tensor fc.bias is missing"),
        ({"fc__extra": torch.zeros(2)}, "the tensor fc.extra is not part"),
        ({"fc__bias": torch.zeros(3)}, "fc.bias has the shape [3], but must have [2]"),
        ({"fc__bias": torch.zeros(2, dtype=torch.float16)}, "fc.bias has the type torch.float16"),
        ({"fc__bias": torch.tensor([0.0, math.nan])}, "fc.bias holds a value that is not a finite number"),
        ({"embedding__weight": torch.full((6, 4), math.inf)}, "embedding.weight holds a value"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(folder: Path, tensors: dict[str, Any], says: str) -> None:
    change_weights(folder, **tensors)
    assert says in refusal(folder)


def test_missing_or_broken_weights_are_refused(folder: Path) -> None:
    path = folder / "weights.safetensors"
    whole = path.read_bytes()
    for cut in (0, 4, 8, 100, len(whole) - 1):
        path.write_bytes(whole[:cut])
        assert "is damaged" in refusal(folder)
    path.write_bytes(b"\xff" * 8 + whole[8:])
    assert "is damaged" in refusal(folder)
    path.unlink()
    assert "holds no weights.safetensors" in refusal(folder)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_changed_bytes_are_refused_or_read_but_never_crash(folder: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["config.json", "weights.safetensors"]))
    whole = (folder / name).read_bytes()
    at = data.draw(st.integers(0, min(len(whole), 1500) - 1))
    (folder / name).write_bytes(whole[:at] + data.draw(st.binary(min_size=1, max_size=3)) + whole[at + 1 :])
    try:
        # Anything but a CheckpointError fails the test.
        with contextlib.suppress(CheckpointError):
            assert checkpoints.read(folder).labels
    finally:
        (folder / name).write_bytes(whole)


@pytest.mark.parametrize("change", [{"labels": ("a",)}, {"vocabulary": ("a",)}, {"rules": TextRules(padding_id=0)}])
def test_parts_that_do_not_fit_make_no_checkpoint(change: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError):
        made(**change)


def test_what_would_be_refused_is_not_written(tmp_path: Path) -> None:
    broken = made()
    with torch.no_grad():
        broken.module.fc.bias[0] = math.nan
    for checkpoint, says in ((broken, "fc.bias"), (made(examples=()), "examples"), (made(name=""), "name")):
        with pytest.raises(CheckpointError, match=says):
            checkpoints.write(checkpoint, tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_an_existing_folder_is_kept_unless_forced(folder: Path) -> None:
    before = (folder / "config.json").read_bytes()
    with pytest.raises(OutputError, match="exists already"):
        checkpoints.write(made(name="other"), folder)
    assert (folder / "config.json").read_bytes() == before
    checkpoints.write(made(name="other"), folder, force=True)
    assert checkpoints.read(folder).name == "other"


@pytest.mark.parametrize("fault", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_no_room_or_ctrl_c_while_writing_keeps_the_old_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch, fault: BaseException
) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    write_bytes = Path.write_bytes

    def fails_on_the_second_file(path: Path, content: bytes) -> int:
        if path.name == "config.json":
            write_bytes(path, content[: len(content) // 2])
            raise fault
        return write_bytes(path, content)

    monkeypatch.setattr(Path, "write_bytes", fails_on_the_second_file)
    with pytest.raises(KeyboardInterrupt if isinstance(fault, KeyboardInterrupt) else OutputError):
        checkpoints.write(made(name="other"), folder, force=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ["c"]
