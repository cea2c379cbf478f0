"""Damaged and hostile files given to the exporter: one sentence, no traceback, no memory beyond the file's size."""

from __future__ import annotations

import json
import pickle
import random
import struct
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from slow_case_sampling import examples, mostly_slow
from torch import nn

from pocketrnn.errors import InputError
from pocketrnn_export.intake.pytorch_file_memory_check import LARGEST_PICKLE, is_torchscript
from pocketrnn_export.intake.torchscript_saving_and_loading import load_torchscript
from pocketrnn_export.intake.weights_file import load_weights, read_weights
from pocketrnn_export.vocabularies.vocabulary import read_vocabulary

WORDS = ["<unk>", "<pad>", "oil", "é"]
DAMAGED = examples(100, 300)


def read_torchscript(path: Path) -> Any:
    return load_torchscript(path) if is_torchscript(path) else None


def write_torchscript(path: Path) -> None:
    module = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 2))
    torch.jit.save(torch.jit.trace(module, torch.zeros(1, 2, dtype=torch.int64)), path)


def write_legacy(path: Path) -> None:
    torch.save(nn.GRU(3, 2).state_dict(), path, _use_new_zipfile_serialization=False)


def write_map(path: Path) -> None:
    path.write_text(json.dumps({word: i for i, word in enumerate(WORDS)}, ensure_ascii=False), encoding="utf-8")


WRITTEN: dict[str, tuple[Callable[[Path], Any], Callable[[Path], Any]]] = {
    "weights.pt": (lambda path: torch.save(nn.GRU(3, 2).state_dict(), path), read_weights),
    "legacy.pt": (write_legacy, read_weights),
    "weights.safetensors": (lambda path: safetensors.torch.save_file(nn.GRU(3, 2).state_dict(), path), read_weights),
    "script.pt": (write_torchscript, read_torchscript),
    "vocabulary.pth": (lambda path: torch.save(WORDS, path), read_vocabulary),
    "vocabulary.pkl": (lambda path: path.write_bytes(pickle.dumps(WORDS)), read_vocabulary),
    "vocabulary.json": (write_map, read_vocabulary),
    "vocabulary.txt": (lambda path: path.write_text("\n".join(WORDS), encoding="utf-8"), read_vocabulary),
}


def damaged(whole: bytes, times: int) -> Iterator[bytes]:
    """Cut short, with bytes changed, and with some left out."""
    draw = random.Random(0)
    for _ in range(times):
        content = bytearray(whole)
        how = draw.random()
        if how < 0.2:
            del content[draw.randrange(len(content)) :]
        else:
            for _ in range(draw.choice((1, 1, 2, 5))):
                content[draw.randrange(len(content))] = draw.choice((0, 255, draw.randrange(256)))
        if 0.2 < how < 0.4:
            start = draw.randrange(len(content))
            del content[start : start + draw.randrange(1, 9)]
        yield bytes(content)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", mostly_slow([*WRITTEN], every=4))
def test_a_damaged_file_is_read_or_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    write, read = WRITTEN[name]
    path = tmp_path / name
    write(path)
    read(path)
    said: list[str] = []
    for content in damaged(path.read_bytes(), DAMAGED):
        path.write_bytes(content)
        try:
            read(path)
        except InputError as error:
            said.append(str(error))
    # Most of a TorchScript archive is padding and records that nobody reads.
    assert len(said) > DAMAGED / 10
    assert not any("\n" in sentence for sentence in said)


def _text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def _number(value: int) -> bytes:
    return b"\x8a\x08" + struct.pack("<q", value)


def _state(value: bytes) -> bytes:
    """The pickle of {"w": value}."""
    return b"\x80\x02}" + _text("w") + value + b"s."


def _tensor(size: int, stride: int, *, stored: int = 4) -> bytes:
    storage = b"(" + _text("storage") + b"ctorch\nFloatStorage\n" + _text("0") + _text("cpu") + _number(stored) + b"tQ"
    shape = _number(size) + b"\x85" + _number(stride) + b"\x85"
    hooks = b"ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + _number(0) + shape + b"\x89" + hooks + b"tR"


def archive(path: Path, pickled: bytes, *, numbers: bytes = bytes(16), compress: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compress, compresslevel=1) as file:
        file.writestr("x/data.pkl", pickled)
        file.writestr("x/byteorder", "little")
        file.writestr("x/data/0", numbers)
        file.writestr("x/version", "3\n")


HUGE = 900_000_000


def _of_size(kind: bytes) -> bytes:
    return _state(kind + _number(HUGE) + b"\x85R")


def entries_on_top_of_each_other(path: Path) -> None:
    """Many names for the same bytes."""
    archive(path, _state(_tensor(4, 1)), numbers=bytes(1 << 20))
    content = bytearray(path.read_bytes())
    start = content.index(b"PK\x01\x02")
    end = content.index(b"PK\x05\x06")
    directory = bytes(content[start:end])
    struct.pack_into("<HHL", content, end + 8, 4 * 50, 4 * 50, len(directory) * 50)
    path.write_bytes(content[:start] + directory * 50 + content[end:])


BOMBS: dict[str, Callable[[Path], Any]] = {
    "a size beyond the storage": lambda path: archive(path, _state(_tensor(HUGE, 1))),
    "a storage beyond the file": lambda path: archive(path, _state(_tensor(HUGE, 1, stored=HUGE))),
    "bytearray": lambda path: archive(path, _state(b"cbuiltins\nbytearray\n" + _number(2**31) + b"\x85R")),
    "bytearray of Python 2": lambda path: archive(
        path, _state(b"c__builtin__\nbytearray\n" + _number(2**31) + b"\x85R")
    ),
    "bytearray alone": lambda path: path.write_bytes(_state(b"cbuiltins\nbytearray\n" + _number(2**31) + b"\x85R")),
    "a tensor of a size": lambda path: archive(path, _state(b"ctorch\nFloatTensor\n" + _number(HUGE) + b"\x85R")),
    "compressed numbers": lambda path: archive(
        path, _state(_tensor(1 << 26, 1, stored=1 << 26)), numbers=bytes(1 << 27), compress=zipfile.ZIP_DEFLATED
    ),
    "a compressed pickle": lambda path: archive(
        path, b"\x80\x02" + _text("a" * (1 << 27)) + b".", compress=zipfile.ZIP_DEFLATED
    ),
    "entries on top of each other": entries_on_top_of_each_other,
    "a large pickle": lambda path: archive(path, b"\x80\x02](" + b"}" * LARGEST_PICKLE + b"e."),
}


def memory(which: str) -> int:
    """MiB of this process: VmRSS now, or VmHWM at most since the peak was forgotten."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{which}:")) >> 10


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux does")
@pytest.mark.parametrize("kind", BOMBS)
def test_a_small_file_takes_no_memory_to_be_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "bomb.pt"
    BOMBS[kind](path)
    # Forgets the peak: proc(5).
    Path("/proc/self/clear_refs").write_text("5")
    before = memory("VmRSS")
    with pytest.raises(InputError, match=r"bomb\.pt ") as refused:
        read_weights(path)
    assert memory("VmHWM") - before < 100
    assert "\n" not in str(refused.value)


def test_a_tensor_that_repeats_a_number_is_named_not_made(tmp_path: Path) -> None:
    archive(tmp_path / "w.pt", _state(_tensor(HUGE, 0)))
    with pytest.raises(InputError, match=r"w\.pt .*no weight, bias"):
        load_weights(nn.Linear(2, 2), read_weights(tmp_path / "w.pt"))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["sparse", "nested"])
def test_tensors_that_are_not_plain_numbers_are_refused(kind: str, tmp_path: Path) -> None:
    value = torch.eye(2).to_sparse() if kind == "sparse" else torch.nested.nested_tensor([torch.zeros(2)])
    torch.save({"weight": value}, tmp_path / "w.pt")
    with pytest.raises(InputError, match=r"w\.pt"):
        read_weights(tmp_path / "w.pt")


def test_torchscript_whose_code_would_unpack_to_gigabytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "script.pt"
    write_torchscript(path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        file.writestr("script/code/more.py", bytes(1 << 26))
    with pytest.raises(InputError, match="entries claim"):
        load_torchscript(path)
