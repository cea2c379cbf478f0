"""The native engine as WebAssembly, in Node: the answers of Python, the same refusals, and nothing that files break."""

from __future__ import annotations

import base64
import json
import os
import re
import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from slow_case_sampling import SLOW_TOO, examples
from web_node import Node
from web_texts import adversarial, real

from pocketrnn import Classifier
from pocketrnn.bundle.packed_file import is_packed_file

ROOT = Path(__file__).parents[2]
WEB = ROOT / "runtime" / "web"
VECTORS = ROOT / "tests" / "vectors"
ENGINES = ("pocketrnn.wasm", "pocketrnn-plain.wasm")
LARGEST_ENGINE = 122_000
HEADER = (ROOT / "runtime" / "native" / "src" / "pocketrnn.h").read_text(encoding="utf-8")
# Whether packed files can say that a text must hold a known word.
LIMITED = ("limits", "real-token") if "PRNN_NO_WORD" in HEADER else ("limits",)
BUNDLES = sorted(
    path.parent
    for path in VECTORS.glob("*/classifier.json")
    if path.parent.name in LIMITED or not (path.parent / "beyond.jsonl").exists()
)


CASES = [(bundle, engine) for bundle in BUNDLES for engine in ENGINES]


def is_fast(bundle: Path, engine: str) -> bool:
    """All bundles by the engine that browsers of today take; by the other, which is of the same source, some."""
    return engine == ENGINES[0] or bundle.name in ("words", *LIMITED)


@pytest.fixture(scope="module")
def packed(wasm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the bundles of the test vectors, packed."""
    from packing_tools import packed_bundle

    folder = tmp_path_factory.mktemp("packed")
    for bundle in BUNDLES:
        (folder / f"{bundle.name}.prnn").write_bytes(packed_bundle(bundle))
    return folder


def vectors_of(bundle: Path) -> list[dict[str, Any]]:
    files = sorted(set(bundle.glob("*.jsonl")) - set(bundle.glob("beyond.jsonl")))
    return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def answers(node: Node, wasm: Path, packed: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """The answers to the test vectors, by bundle and engine."""
    cases = [(bundle, engine) for bundle, engine in CASES if SLOW_TOO in os.environ or is_fast(bundle, engine)]
    questions = [
        {
            "file": str(packed / f"{bundle.name}.prnn"),
            "wasm": str(wasm / engine),
            "texts": [vector["text"] for vector in vectors_of(bundle)] + beyond_of(bundle),
        }
        for bundle, engine in cases
    ]
    names = [(bundle.name, engine) for bundle, engine in cases]
    return dict(zip(names, node("native_engine_in_node.mjs", questions), strict=True))


def beyond_of(bundle: Path) -> list[str]:
    path = bundle / "beyond.jsonl"
    return [json.loads(line)["text"] for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.parametrize(
    ("bundle", "engine"),
    [
        pytest.param(
            bundle, engine, id=f"{bundle.name}-{engine}", marks=() if is_fast(bundle, engine) else pytest.mark.slow
        )
        for bundle, engine in CASES
    ],
)
def test_the_test_vectors_are_answered_as_they_say(
    answers: dict[tuple[str, str], dict[str, Any]], bundle: Path, engine: str
) -> None:
    answer, vectors = answers[bundle.name, engine], vectors_of(bundle)
    assert answer["ids"][: len(vectors)] == [vector["ids"] for vector in vectors]
    assert answer["labels"] == [vector["label"] for vector in vectors]
    for member in ("logits", "probabilities"):
        np.testing.assert_allclose(answer[member], [vector[member] for vector in vectors], atol=1e-5, rtol=0)
    assert answer["verified"] <= 1e-5


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", LIMITED)
def test_texts_beyond_the_limits_are_refused_in_the_words_of_python(
    answers: dict[tuple[str, str], dict[str, Any]], engine: str, name: str
) -> None:
    bundle = VECTORS / name
    said = answers[name, engine]["said"]
    beyond = [json.loads(line) for line in (bundle / "beyond.jsonl").read_text().splitlines()]
    assert len(said) == len(beyond) > 0
    for text, sentence in zip(beyond, said, strict=True):
        assert sentence.startswith("LimitError: ")
        assert re.search(text["said"], sentence), sentence


# In the fast suite, the test vectors are answered so.
@pytest.mark.slow
@pytest.mark.parametrize("name", ["ag_news-small"])
def test_adversarial_and_real_texts_are_answered_and_explained_as_by_the_bundle(
    node: Node, wasm: Path, tmp_path: Path, name: str
) -> None:
    from packing_tools import packed_bundle

    from pocketrnn.bundle.bundle_lookup import find_or_download_bundle

    path = tmp_path / "news.prnn"
    path.write_bytes(packed_bundle(find_or_download_bundle(name)))
    classifier, texts = Classifier.load(name), [*adversarial(examples(60, 150), seed=4), *real(examples(20, 50))]
    short = [text for text in texts if len(text) < 300]
    explained = [*short[::9], "Oil prices rise again", "", "word " * 200]
    questions = [
        {"file": str(path), "wasm": str(wasm / engine), "texts": texts, "explained": explained} for engine in ENGINES
    ]
    for answer in node("native_engine_in_node.mjs", questions):
        assert answer["ids"] == [classifier.encode(text) for text in texts]
        np.testing.assert_allclose(answer["logits"], classifier.logits(texts), atol=1e-5, rtol=0)
        np.testing.assert_allclose(answer["probabilities"], classifier.predict_proba(texts), atol=1e-5, rtol=0)
        assert answer["labels"] == classifier.predict(texts)
        for text, got in zip(texts, answer["alone"], strict=True):
            expected = classifier.classify(text, top=2)
            assert [e["label"] for e in got["top"]] == [label for label, _ in expected.top]
            assert got["probability"] == pytest.approx(expected.probability, abs=1e-5)
        for text, got in zip(explained, answer["contributions"], strict=True):
            fragments = classifier.explain(text).fragments
            units = [utf16_units(text[:place]) for f in fragments for place in (f.start, f.end)]
            assert [place for c in got for place in (c["start"], c["end"])] == units
            for member, own in (("logOdds", "log_odds"), ("probability", "probability")):
                np.testing.assert_allclose([c[member] for c in got], [getattr(f, own) for f in fragments], atol=3e-5)


def test_texts_of_subwords_are_explained_as_in_python(node: Node, wasm: Path) -> None:
    path = VECTORS / "packed" / "subwords-wordpiece.prnn"
    classifier = Classifier.load(path)
    texts = [
        "the unable \u4e2d\u6587ok\u3002 \u30ab \u0e17\u0e35!",
        "\U00020000\U0001f600\u4e2d",
        "a b",
        "\u1000\u1780 ab\u00e9",
    ]
    question = {"file": str(path), "wasm": str(wasm / ENGINES[0]), "texts": texts, "explained": texts}
    (answer,) = node("native_engine_in_node.mjs", [question])
    for text, got in zip(texts, answer["contributions"], strict=True):
        fragments = classifier.explain(text).fragments
        units = [utf16_units(text[:place]) for f in fragments for place in (f.start, f.end)]
        assert [place for c in got for place in (c["start"], c["end"])] == units


NUMBERS = VECTORS / "packed" / "numbers-gesture.prnn"
HOSTILE_TEXTS = ("oil prices", "", "The team wins the cup game! " * 5)


def utf16_units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def with_right_sums(content: bytearray) -> bytes:
    """A file whose sums fit what was changed in it, so that it is not refused for them."""
    content[16:32] = bytes(16)
    words = np.frombuffer(bytes(content), "<u4").astype(np.uint64)
    sums = int(words.sum()), int((words * np.arange(1, len(words) + 1, dtype=np.uint64)).sum())
    struct.pack_into("<2Q", content, 16, *sums)
    return bytes(content)


def hostile_answer(
    node: Node, files: list[bytes], good: Path, engine: Path, texts: tuple[str, ...] = HOSTILE_TEXTS
) -> list[str | None]:
    question = {
        "files": [base64.b64encode(file).decode() for file in files],
        "texts": texts,
        "good": str(good),
        "wasm": str(engine),
    }
    answer = node("hostile_in_node.mjs", question, timeout=500)
    assert len(answer["after"]) == len(texts)
    said: list[str | None] = answer["said"]
    return said


def test_a_file_that_was_cut_or_changed_is_refused_in_a_sentence(node: Node, wasm: Path, packed: Path) -> None:
    good = packed / "words.prnn"
    content = good.read_bytes()
    assert is_packed_file(good)
    lengths = [0, 1, 3, 4, 255, 256, 257, len(content) // 2 // 4 * 4, len(content) - 64, len(content) - 1]
    cut = [content[:length] for length in lengths]
    changed = []
    for place in range(0, len(content), max(1, len(content) // 400)):
        other = bytearray(content)
        other[place] ^= 1 << place % 8
        changed.append(bytes(other))
    others = [b"PRNN", b"GIF89a" * 100, (VECTORS / "words" / "classifier.json").read_bytes(), content + b"\0\0\0\0"]
    said = hostile_answer(node, [*cut, *changed, *others], good, wasm / "pocketrnn.wasm")
    assert [sentence for sentence in said if sentence is None or not sentence.startswith("BundleError: ")] == []
    kinds = {sentence.partition("opened: ")[2].partition(".")[0] for sentence in said if sentence}
    assert {"This is not a packed classifier", "The file was changed after it was made, or is cut short"} <= kinds


@pytest.mark.parametrize("engine", ENGINES)
def test_the_files_that_every_reader_must_refuse_are_refused(node: Node, wasm: Path, packed: Path, engine: str) -> None:
    import refused_packed

    vectors = [json.loads(line) for line in (VECTORS / "packed" / "refused.jsonl").read_text().splitlines()]
    files = [refused_packed.changed((VECTORS / "packed" / one["file"]).read_bytes(), one) for one in vectors]
    said = hostile_answer(node, files, packed / "words.prnn", wasm / engine, ("the team wins",))
    assert any("costly" in vector for vector in vectors)
    for vector, sentence in zip(vectors, said, strict=True):
        kind = "PocketRNNError" if vector["when"] != "opened" else "BundleError"
        if "costly" in vector and vector["when"] != "opened":
            kind = "LimitError"
        assert sentence is not None, vector["why"]
        assert sentence.startswith(f"{kind}: "), (vector["why"], sentence)
        assert ("more memory or time" in sentence) == ("costly" in vector), (vector["why"], sentence)


CLASSES = {"native": ("Classifier", "Stream"), "numbers": ("NumberClassifier", "NumberStream", "CarriedStream")}


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_changes_with_sums_made_to_fit_never_break_the_next_answer(
    node: Node, wasm: Path, packed: Path, engine: str
) -> None:
    drawn = np.random.default_rng(7)
    for good in (*(packed / f"{name}.prnn" for name in ("words", "keras", "cleaned")), NUMBERS):
        content, files = good.read_bytes(), []
        (operations,) = struct.unpack_from("<I", content, 128 + 8 * 6)
        for turn in range(700):
            other = bytearray(content)
            for _ in range(int(drawn.integers(1, 4))):
                first, last = ((64, 256), (256, len(other)), (operations, operations + 400))[turn % 3]
                place = int(drawn.integers(first, last)) // 4 * 4
                word = drawn.choice([0, 1, 2, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, int(drawn.integers(0, 1 << 32))])
                struct.pack_into("<I", other, place, int(word))
            files.append(with_right_sums(other))
        said = hostile_answer(node, files, good, wasm / engine)
        names = {sentence.partition(":")[0] for sentence in said if sentence}
        assert names <= {"BundleError", "PocketRNNError", "LimitError"}
        assert sum(sentence is not None for sentence in said) > 100


def test_what_is_no_file_no_engine_or_no_text_is_refused_in_a_sentence(node: Node, wasm: Path, packed: Path) -> None:
    question = {"good": str(packed / "words.prnn"), "wasm": str(wasm / "pocketrnn.wasm"), "folder": str(packed)}
    said = node("refused_bundles_in_node.mjs", question)
    begins = {
        "nothing": "InputError: A packed file was not given.",
        "object": "InputError: A packed file was not given.",
        "missing": "BundleError: file://",
        "folder": "BundleError: file://",
        "empty": "BundleError: The packed file cannot be opened: This is not a packed classifier.",
        "engineMissing": "BundleError: file://",
        "engineWrong": "BundleError: pocketrnn.wasm is not WebAssembly: ",
        "notText": "InputError: A text must be a string, not number.",
        "oneText": "InputError: This takes a list of texts.",
        "noList": "InputError: This takes a list of texts.",
        "inList": "InputError: A text must be a string, not object.",
        "top": "InputError: top is 99.",
        "released": "InputError: ",
    }
    for name, begin in begins.items():
        assert said[name].startswith(begin), said[name]
    assert "scripts/build_web" in said["engineMissing"]
    assert said["none"] == []
    assert (said["generator"], said["long"]) == (2, 3)
    assert (
        said["view"]
        == said["buffer"]
        == said["relative"]
        == json.loads((VECTORS / "words" / "classifier.json").read_text(encoding="utf-8"))["name"]
    )
    assert said["halves"]
    assert said["concurrent"]
    assert said["inherits"]


@pytest.mark.parametrize("engine", ENGINES)
def test_the_engine_is_small_and_asks_for_nothing_outside(node: Node, wasm: Path, engine: str) -> None:
    assert (wasm / engine).stat().st_size <= LARGEST_ENGINE
    assert node("imports_in_node.mjs", str(wasm / engine)) == []


@pytest.mark.parametrize(
    ("page", "engine", "before", "after"),
    [
        ("README.md", "pocketrnn.wasm", r"\[", "of WebAssembly"),
        ("CHANGELOG.md", "pocketrnn.wasm", "engine as", "of WebAssembly"),
        ("docs/cookbook.md", "pocketrnn.wasm", "engine of", "in WebAssembly"),
        ("runtime/web/README.md", "pocketrnn.wasm", r"`pocketrnn.wasm` \(", ","),
        ("runtime/web/README.md", "pocketrnn-plain.wasm", r"the second \(", r"\)"),
    ],
)
def test_the_size_that_a_page_states_is_the_engines(
    wasm: Path, page: str, engine: str, before: str, after: str
) -> None:
    (stated,) = re.findall(rf"{before} ?(\d+) kB ?{after}", (ROOT / page).read_text(encoding="utf-8"))
    # Other versions of clang than ours write a little more or less.
    assert int(stated) == pytest.approx((wasm / engine).stat().st_size / 1000, rel=0.04)


@pytest.mark.parametrize("module", CLASSES)
def test_the_type_declaration_names_what_the_module_has(module: str) -> None:
    written = "".join((WEB / name).read_text(encoding="utf-8") for name in (f"{module}.js", "texts.js", "answers.js"))
    types = (WEB / f"{module}.d.ts").read_text(encoding="utf-8")
    for name in CLASSES[module]:
        body, base = "", name
        while base:
            own = written[written.index(f"export class {base} ") :].partition("\n}\n")[0]
            body, base = body + own, "".join(re.findall(r"^export class \w+ extends (\w+) ", own))
        methods = set(re.findall(r"^  (?:static |async |get )*([a-zA-Z]\w*)\(.*\{$", body, re.MULTILINE)) - {
            "constructor",
            "of",
        }
        declared = types[types.index(f"export class {name} ") :].partition("\n}\n")[0]
        assert methods == set(re.findall(r"^  (?:static |readonly )*(\w+)[(:]", declared, re.MULTILINE)) - {
            "window",
            "hop",
        }


@pytest.mark.slow
def test_the_type_declaration_holds_for_a_program_that_uses_it(web_modules: Path, node: Node, tmp_path: Path) -> None:
    compiler = web_modules / "typescript" / "bin" / "tsc"
    if not compiler.exists():
        pytest.skip("typescript is not installed; run: npm install --prefix .venv-web typescript")
    (tmp_path / "uses.mts").write_text(
        f'import {{ Classifier, LimitError, load, type Prediction }} from "{WEB}/native.js";\n'
        f'import {{ NumberClassifier }} from "{WEB}/numbers.js";\n'
        'const classifier = await Classifier.load(new Uint8Array(4), { wasm: new URL("file:///pocketrnn.wasm") });\n'
        'const answer: Prediction = await classifier.classify("text", 2);\n'
        "const rows: number[][] = await classifier.predictProba(new Set([answer.top[0].label]));\n"
        "const error = new LimitError(String(rows), String(classifier.words('a')[0][1]));\n"
        "export const said: string = error.problem + classifier.manifest.parity.tolerance;\n"
        'const either = await load("steps.prnn");\n'
        "if (either instanceof NumberClassifier && !either.givesValues) {\n"
        "  const stream = either.stream({ window: 50, hop: 25 });\n"
        "  for (const { start, answer } of await stream.push(new Int16Array(3)))\n"
        '    console.log(start, "label" in answer ? answer.label : answer[0]);\n'
        "  await either.classify([[0.1, null, 9.8]]);\n"
        "} else if (either instanceof Classifier) await either.classify(either.labels[0]);\n"
    )
    arguments = ["--noEmit", "--strict", "--target", "es2022", "--module", "nodenext", "--types", ""]
    done = subprocess.run(
        ["node", str(compiler), *arguments, "uses.mts"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout
