"""What a text may take of a packed file: bounded by the file's size and the text's, and ended by a signal."""

from __future__ import annotations

import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import bundle_maker
import pytest
from packing_tools import packed_bundle
from refused_packed import LINEAR, VALUES, VOCABULARY, WEIGHTS, File

from pocketrnn import Classifier
from pocketrnn.errors import BundleError, LimitError
from pocketrnn.text import Replace, TextRules
from pocketrnn_native import EngineError, Packed
from pocketrnn_native._engine import COSTLY

PACKED = Path(__file__).parents[1] / "vectors" / "packed"
MATMUL, POOL = 6, 14
SIZES = 20  # where a value's sizes begin


def _large_value(file: File) -> None:
    file.put(file.section(VALUES) + 52 * file.word(file.op(LINEAR) + 8 + 12) + SIZES, 0, 1 << 29, 0, 1, 0, 1, 0, 1)


# Files of a few kilobytes that would take gigabytes, or hours, for one word.
HOSTILE: dict[str, tuple[str, Callable[[File], None]]] = {
    "a value of 2 GiB": ("words", _large_value),
    "a pool over 2^32 places": ("axes", lambda f: f.put(f.op(POOL) + 8 + 32, 1 << 16, 1 << 16)),
    "many products of no columns": (
        "axes", lambda f: f.put(f.op(MATMUL) + 8 + 12, 0, 0x7FFFFFFF, 0, 1, 0, 6, 0, 0, 0, 0)
    ),
}  # fmt: skip


@pytest.mark.parametrize("why", HOSTILE)
def test_a_small_file_that_asks_for_much_for_one_word_is_refused(why: str, tmp_path: Path) -> None:
    name, change = HOSTILE[why]
    file = File(bytearray((PACKED / f"{name}.prnn").read_bytes()))
    change(file)
    file.make_sums_fit()
    content, path, start = bytes(file.content), tmp_path / "hostile.prnn", time.process_time()
    for in_place in (False, True):
        with pytest.raises(EngineError) as error:
            Packed(content, 0, in_place).logits("w1")
        assert error.value.args[0] == COSTLY
    path.write_bytes(content)
    for ask in (Classifier.load(path).classify, lambda text: Classifier.load(path).predict([text] * 9)):
        with pytest.raises(LimitError, match=name):
            ask("w1")
    assert time.process_time() - start < 2


def test_a_file_whose_constants_would_take_many_times_its_size_is_refused_when_it_is_opened(tmp_path: Path) -> None:
    file = File(bytearray((PACKED / "int8.prnn").read_bytes()))
    values, count, numbers = file.section(VALUES), file.word(88), file.word(128 + 8 * WEIGHTS + 4) // 2
    # All of the weights as float16, again and again.
    record = struct.pack("<13I", 0, 0xFFFFFFFF, 1, 0, 0, 0, 1, 0, numbers, 0, 1, 0, 1)
    made = file.content[values : values + 52 * count] + record * 8000
    file.content += bytes(-len(file.content) % 64)
    at = len(file.content)
    file.content += made + bytes(-len(made) % 4)
    file.put(8, len(file.content))
    file.put(88, count + 8000)
    file.put(128 + 8 * VALUES, at, len(made))
    file.make_sums_fit()
    path = tmp_path / "hostile.prnn"
    path.write_bytes(file.content)
    with pytest.raises(EngineError) as error:
        Packed(bytes(file.content))
    assert error.value.args[0] == COSTLY
    with pytest.raises(BundleError, match="memory or time"):
        Classifier.load(path)


def test_a_vocabulary_that_is_searched_from_end_to_end_for_every_word_is_refused(news: Path) -> None:
    file = File(bytearray(news.read_bytes()))
    at = file.section(VOCABULARY)
    count, slots, _, _, small = (file.word(at + 4 * i) for i in range(5))
    first = at + 20 + (4 * (count // 64 + 1) + 4 * ((count + 2) // 2) if small else 4 * (count + 1))
    width = 2 if small else 4
    file.content[first : first + width * slots] = b"\1".ljust(width, b"\0") * slots
    file.make_sums_fit()
    with pytest.raises(EngineError, match="parts do not fit"):
        Packed(bytes(file.content))


def test_a_rule_that_nearly_stands_everywhere_in_a_text_is_refused_before_long(tmp_path: Path) -> None:
    rules = TextRules(steps=(Replace("a" * 255 + "b", "c"),) * 128)
    path = tmp_path / "rules.prnn"
    path.write_bytes(packed_bundle(bundle_maker.make(tmp_path / "bundle", rules=rules)))
    start = time.process_time()
    classifier = Classifier.load(path)
    with pytest.raises(LimitError, match="more memory or time"):
        classifier.classify("a" * 60_000)
    assert classifier.classify("a" * 1_000).label in classifier.labels
    assert time.process_time() - start < 10


@pytest.mark.parametrize("name", ["words", "layers", "binary"])
def test_a_text_of_many_tokens_is_answered(name: str) -> None:
    assert Packed((PACKED / f"{name}.prnn").read_bytes()).logits("w1 w2 the team wins " * 4_000)


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_long_text_within_a_second(
    number: signal.Signals, status: int, threads: int, news: Path, tmp_path: Path
) -> None:
    text = tmp_path / "long.txt"
    text.write_text("oil prices rise again " * 500_000 + "\n", encoding="ascii")
    line = [sys.executable, "-m", "pocketrnn", "classify", "--bundle", str(news), "--threads", str(threads)]
    with (
        text.open("rb") as given,
        subprocess.Popen(line, stdin=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process,
    ):
        time.sleep(6)
        assert process.poll() is None
        start = time.monotonic()
        process.send_signal(number)
        process.communicate(timeout=60)
        assert time.monotonic() - start < 1
    assert process.returncode == status
