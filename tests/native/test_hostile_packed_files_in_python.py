"""A packed file from a stranger, opened from Python: one sentence of pocketrnn's errors, whatever its bytes say."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from refused_packed import DOCUMENT, LABELS, VOCABULARY, File

import pocketrnn_native
from pocketrnn import Classifier
from pocketrnn.errors import BundleError, PocketRNNError

PACKED = Path(__file__).parents[1] / "vectors" / "packed" / "binary.prnn"


def changed(tmp_path: Path, section: int, at: int, content: bytes) -> Path:
    """The file with some bytes of a section exchanged, counted from the section's end where `at` is negative."""
    file = File(bytearray(PACKED.read_bytes()))
    offset, size = struct.unpack_from("<2I", file.content, 128 + 8 * section)
    start = offset + at % size
    file.content[start : start + len(content)] = content
    file.make_sums_fit()
    path = tmp_path / "changed.prnn"
    path.write_bytes(file.content)
    return path


@pytest.mark.parametrize("wrong", [b"\xff", b"\xc0", b"\xf5", b"\x80"])
@pytest.mark.parametrize("section", [LABELS, VOCABULARY])
def test_strings_that_are_not_utf8_are_refused_in_a_sentence(section: int, wrong: bytes, tmp_path: Path) -> None:
    # Strings stand at the end of a section, filled up to words by up to 3 zeros.
    path = changed(tmp_path, section, -4, wrong)
    with pytest.raises(BundleError):
        Classifier.load(path)
    packed = pocketrnn_native.map_packed_file(path)
    with pytest.raises(pocketrnn_native.EngineError, match="UTF-8"):
        (packed.labels if section == LABELS else packed.tokens)()


@pytest.mark.parametrize(
    "document",
    [b"\xff\xfe", b'{"a": 1, "a": 2}', b"[" * 4000, b'{"format": NaN}', b'{"x": 1e999}', b"9" * 5000, b"null"],
)
def test_a_document_that_is_no_json_of_ours_is_refused_in_a_sentence(document: bytes, tmp_path: Path) -> None:
    file = File(bytearray(PACKED.read_bytes()))
    size = file.word(128 + 4)
    with pytest.raises(BundleError):
        Classifier.load(changed(tmp_path, DOCUMENT, 0, document[:size].ljust(size)))


def test_numbers_that_no_float_holds_are_refused_in_a_sentence(tmp_path: Path) -> None:
    file = File(bytearray(PACKED.read_bytes()))
    offset, size = struct.unpack_from("<2I", file.content, 128)
    document = json.loads(file.content[offset : offset + size])
    for number in (10**400, 1e300):
        document["examples"] = [{**document["examples"][0], "logits": [number]}]
        written = json.dumps({**document, "provenance": {}}).encode()
        if len(written) <= size:
            with pytest.raises(BundleError):
                Classifier.load(changed(tmp_path, DOCUMENT, 0, written.ljust(size)))


class _NoMemory:
    """The engine, where there is no more memory."""

    def __getattr__(self, name: str) -> object:
        def asked(*_: object) -> None:
            raise MemoryError

        return asked


def test_a_lack_of_memory_is_said_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = Classifier.load(PACKED)
    monkeypatch.setattr(classifier._engine, "_packed", _NoMemory())
    for ask in (lambda: classifier.classify("oil"), lambda: classifier.logits(["oil"] * 3)):
        with pytest.raises(PocketRNNError, match="memory"):
            ask()
