"""Time and memory of an answer: bounded by the file's size and the text's, and ended by a signal."""

from __future__ import annotations

import json
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import bundle_maker
import numpy as np
import pytest
from click.testing import CliRunner, Result
from packing_tools import packed_bundle
from refused_packed import LINEAR, MATMUL, OPS, POOL, STEP, VALUES, VOCABULARY, WEIGHTS, File

import pocketrnn_native
from pocketrnn import Classifier
from pocketrnn.commands.cli import main
from pocketrnn.errors import BundleError, LimitError
from pocketrnn.text import Replace, TextRules
from pocketrnn_native import EngineError, Packed
from pocketrnn_native._engine import CONTENT, COSTLY, MEMORY, sentence

PACKED = Path(__file__).parents[1] / "vectors" / "packed"
SIZES = 20  # where a value's sizes begin


def run(*arguments: object, stdin: str = "") -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin)


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
    with pytest.raises(EngineError) as refused:
        Packed(bytes(file.content))
    assert refused.value.args[0] == CONTENT


@pytest.mark.slow
def test_a_rule_that_nearly_stands_everywhere_in_a_text_is_refused_before_long(tmp_path: Path) -> None:
    rules = TextRules(steps=(Replace("a" * 255 + "b", "c"),) * 128)
    path = tmp_path / "rules.prnn"
    path.write_bytes(packed_bundle(bundle_maker.make(tmp_path / "bundle", rules=rules)))
    start = time.process_time()
    classifier = Classifier.load(path)
    with pytest.raises(LimitError, match=r"memory or time .*\bsmall\b"):
        classifier.classify("a" * 60_000)
    assert classifier.classify("a" * 1_000).label in classifier.labels
    assert time.process_time() - start < 10


@pytest.mark.parametrize("name", ["words", "layers", "binary"])
def test_a_text_of_many_tokens_is_answered(name: str) -> None:
    assert Packed((PACKED / f"{name}.prnn").read_bytes()).logits("w1 w2 the team wins " * 4_000)


# A file that may take texts of up to 16 ids: one of its values has 2^16 numbers for every pair of ids, so that longer
# texts would take more memory than it may ask for.
WITHIN, BEYOND = "the team wins", "the team wins " * 6


def _grows(file: File, section: int = OPS, numbers: int = 1 << 16) -> None:
    value = file.word(file.op(LINEAR, section) + 8)
    file.put(file.value(value) + SIZES, 1, 0, 1, 0, 0, numbers, 0, 1)
    file.make_sums_fit()


@pytest.fixture(scope="module")
def growing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A packed file that takes texts of at most 16 ids."""
    file = File(bytearray((PACKED / "words.prnn").read_bytes()))
    _grows(file)
    path = tmp_path_factory.mktemp("growing") / "growing.prnn"
    path.write_bytes(file.content)
    return path


def test_one_text_that_is_too_costly_leaves_the_others_their_answers(
    growing: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for threads, tokenizer in ((1, None), (2, None), (1, str.split)):
        classifier = Classifier.load(growing, threads=threads, tokenizer=tokenizer)
        label = classifier.classify(WITHIN).label
        ready = classifier.encode(BEYOND)
        for texts in ([WITHIN, BEYOND, WITHIN], [BEYOND.split(), WITHIN], [WITHIN, ready], [None, BEYOND, WITHIN]):
            expected = [label if text == WITHIN else None for text in texts]
            assert classifier.predict(texts, on_error="skip") == expected  # type: ignore[arg-type]
            # So many are read in two pieces.
            times = 2000 if threads == 2 and texts[0] is None else 50
            lazily = classifier.predict(iter(texts * times), on_error="skip")  # type: ignore[arg-type]
            assert lazily == expected * times
            logits = classifier.logits(texts, on_error="skip")  # type: ignore[arg-type]
            assert [not row for row in np.isnan(logits).all(1)] == [one is not None for one in expected]
            proba = classifier.predict_proba(texts, on_error="skip")  # type: ignore[arg-type]
            assert np.isnan(proba).tolist() == np.isnan(logits).tolist()
            embeddings = classifier.embed(texts, on_error="skip")  # type: ignore[arg-type]
            assert [not row for row in np.isnan(embeddings).all(1)] == [one is not None for one in expected]
            answers = classifier.classify_all(texts, on_error="skip")  # type: ignore[arg-type]
            assert [answer and answer.label for answer in answers] == expected
    assert "too costly" in caplog.text


def test_a_text_that_is_too_costly_is_named(growing: Path) -> None:
    classifier = Classifier.load(growing)
    for ask in (classifier.predict, classifier.predict_proba, classifier.logits, classifier.predict_labels):
        for beyond in (BEYOND, BEYOND.split(), classifier.encode(BEYOND)):
            with pytest.raises(LimitError) as error:
                ask([WITHIN, beyond, WITHIN])  # type: ignore[operator]
            assert error.value.problem.startswith("The text at position 1 (counted from 0) would need more")
            assert "on_error='skip'" in error.value.remedy
            with pytest.raises(LimitError) as error:
                classifier.classify(beyond)
            assert error.value.problem.startswith("The text would need more")
    with pytest.raises(LimitError) as error:
        classifier.explain(BEYOND)
    assert error.value.problem.startswith("The text would need more")
    assert len(classifier.explain(WITHIN).fragments) == 3
    alone = pocketrnn_native.Classifier.load(growing)
    with pytest.raises(EngineError, match="text at position 1 "):
        alone.predict([WITHIN, BEYOND])
    with pytest.raises(EngineError) as refused:
        alone.classify(BEYOND)
    assert refused.value.args[0] == COSTLY
    assert str(refused.value) == refused.value.args[1]


def test_a_text_that_is_too_costly_is_one_among_many_where_another_is_beyond_the_limits(tmp_path: Path) -> None:
    file = File(bytearray((PACKED / "limits.prnn").read_bytes()))
    _grows(file)
    path = tmp_path / "limits.prnn"
    path.write_bytes(file.content)
    classifier = Classifier.load(path)
    limits = classifier.manifest.graph.limits
    assert limits is not None
    least, most = limits.min_tokens or 1, limits.max_tokens or 99
    texts = ["the " * n for n in range(1, most + 2)]
    labels = classifier.predict(texts, on_error="skip")
    assert [n + 1 for n, label in enumerate(labels) if label] == list(range(least, min(most, 16) + 1))


def test_lines_and_rows_that_are_too_costly(growing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for options in ((), ("--tokens",), ("--explain",)):
        within, beyond = (json.dumps(text.split()) if "--tokens" in options else text for text in (WITHIN, BEYOND))
        given = run("classify", "-b", growing, *options, within, beyond, within)
        assert (given.exit_code, len(given.stdout.splitlines())) == (2, 1)
        assert given.stderr.startswith("Error: Text 2 would need more")
    lines = run("classify", "-b", growing, stdin=f"{WITHIN}\n{WITHIN}\n{BEYOND}\n{WITHIN}\n")
    assert (lines.exit_code, len(lines.stdout.splitlines())) == (2, 2)
    assert "Error: Line 3 would need more" in lines.stderr
    Path("in.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in (WITHIN, BEYOND, WITHIN)))
    refused = run("classify", "-b", growing, "-i", "in.jsonl", "-o", "out.jsonl")
    assert (refused.exit_code, Path("out.jsonl").exists()) == (2, False)
    assert refused.stderr.startswith("Error: Row 2 of in.jsonl would need more")
    assert "--on-error skip" in refused.stderr
    passed = run("classify", "-b", growing, "-i", "in.jsonl", "-o", "out.jsonl", "--on-error", "skip")
    assert passed.exit_code == 0
    assert "1 of 3 rows skipped: 0 without a text, 0 left out, 1 too costly" in passed.stderr
    written = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert [row["label"] is None for row in written] == [False, True, False]


def test_a_fragment_that_is_too_costly_leaves_the_stream_as_it_was(tmp_path: Path) -> None:
    file = File(bytearray((PACKED / "streams.prnn").read_bytes()))
    _grows(file, STEP, 1 << 20)
    path = tmp_path / "streams.prnn"
    path.write_bytes(file.content)
    stream, expected = Classifier.load(path).stream(), Classifier.load(PACKED / "streams.prnn").stream()
    engine = pocketrnn_native.Classifier.load(path).stream()
    for ask in (stream, engine):
        ask.push("the team ")
    with pytest.raises(LimitError, match=r"so far .*memory or time"):
        stream.push("wins " * 99)
    with pytest.raises(EngineError):
        engine.push("wins " * 99)
    expected.push("the team ")
    wanted = expected.logits("wins")
    np.testing.assert_allclose(stream.logits("wins"), wanted, atol=1e-6)
    np.testing.assert_allclose(engine.logits("wins"), wanted, atol=1e-6)


# Asks after the address space was limited to what is in use and a few MiB.
LITTLE_MEMORY = """
import resource, sys
from pocketrnn_native import Classifier, EngineError, Packed, Stream, _engine
path, what = sys.argv[1:]
classifier, content = Classifier.load(path), open(path, "rb").read()
stream = classifier.stream()
text, texts = "oil prices " * 2_000_000, ["oil"] * 50_000
statuses, logits = bytearray(50_000), bytearray(4 * len(classifier.labels) * 50_000)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (4 << 20), -1))
try:
    if what == "classify": classifier.classify(text)
    if what == "encode": classifier.encode(text)
    if what == "predict": classifier.predict([text])
    if what == "many": classifier._packed.logits_of_texts(texts * 20, logits, statuses)
    if what == "push": stream.push(text)
    if what == "open": Packed(content, 1 << 29)
except EngineError as error:
    assert error.args == (_engine.MEMORY, str(error)), error.args
    print(error)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the limit is Linux's")
@pytest.mark.parametrize("what", ["classify", "encode", "predict", "push", "open"])
def test_a_lack_of_memory_is_a_sentence_of_the_engine_alone(what: str) -> None:
    line = [sys.executable, "-c", LITTLE_MEMORY, str(PACKED / "streams.prnn"), what]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{sentence(MEMORY)}\n", "")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the limit is Linux's")
def test_a_lack_of_memory_ends_a_command_with_status_1(program: Path, tmp_path: Path) -> None:
    text = tmp_path / "long.txt"
    text.write_bytes(b"oil prices " * 3_000_000 + b"\n")
    file = PACKED / "words.prnn"
    code = (
        "import resource, sys\n"
        "from pocketrnn.commands.cli import main\n"
        "import pocketrnn.classifier, pocketrnn.engines.native, pocketrnn_native\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + (256 << 20), -1))\n"
        "main(sys.argv[1:])\n"
    )
    for line in (
        [sys.executable, "-c", code, "classify", "-b", str(file)],
        ["sh", "-c", 'ulimit -v 200000; exec "$0" "$@"', str(program), str(file)],
    ):
        with text.open("rb") as given:
            done = subprocess.run(line, stdin=given, capture_output=True, text=True, timeout=120, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("Error: ")
        assert "memory" in done.stderr
        assert done.stderr.count("\n") == 1


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
