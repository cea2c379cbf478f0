"""A text that arrives in pieces at the native engine as WebAssembly is answered after each as all the text so far."""

from __future__ import annotations

import base64
import random
from pathlib import Path
from typing import Any

import bundle_maker
import numpy as np
import pytest
from slow_case_sampling import mostly_slow
from web_node import Node
from web_texts import PIECES, as_utf16

from pocketrnn import Classifier
from pocketrnn.text import AnyTextRules, TextRules

ROOT = Path(__file__).parents[2]
HEADER = (ROOT / "runtime" / "native" / "src" / "pocketrnn.h").read_text(encoding="utf-8")
pytestmark = pytest.mark.skipif("prnn_stream_open" not in HEADER, reason="this engine has no streams")
ENGINES = ("pocketrnn.wasm", "pocketrnn-plain.wasm")
# Rules and tokens of subwords, from the test vectors.
SUBWORDS = ("streams-wordpiece", "streams-merges")
RULES: dict[str, AnyTextRules | None] = {
    "words": TextRules(),
    "cut": TextRules(max_tokens=5, unknown_id=None),
    "cased": TextRules(tokenizer="whitespace", lowercase=False),
    "characters": TextRules(tokenizer="characters"),
    **dict.fromkeys(SUBWORDS),
}
WORDS = ("oil ", "prices", " rise", "ri", "ses. ", "cup", "😀", "\ud83d\ude00x")


def pieces_of(seed: int, count: int) -> list[dict[str, Any]]:
    """Texts, and where they are cut: at UTF-16 units, also inside of a pair."""
    drawn, texts = random.Random(seed), []
    for _ in range(count):
        text = as_utf16("".join(drawn.choice((*PIECES, *WORDS)) for _ in range(drawn.randrange(20))))
        units = len(text.encode("utf-16-le", "surrogatepass")) // 2
        texts.append({"text": text, "cuts": sorted(drawn.randrange(units + 1) for _ in range(drawn.randrange(7)))})
    return texts


@pytest.fixture(scope="module", params=mostly_slow([*RULES], 2))
def streamed(
    request: pytest.FixtureRequest, node: Node, wasm: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[dict[str, Any]]]:
    """A packed file with a step, and what each engine answered."""
    from packing_tools import packed_bundle
    from subword_vectors import STREAMS

    from pocketrnn_native import Classifier as Native

    folder = tmp_path_factory.mktemp(request.param)
    texts = pieces_of(5, 120)
    words = sorted({word for text in texts for word in text["text"].lower().split()})[::2]
    vocabulary = tuple(dict.fromkeys(("<unk>", "<pad>", "oil", "prices", "rise", *"abcxyz", *words)))
    rules = RULES[request.param]
    if rules is None:
        rules, vocabulary = STREAMS[request.param]
    bundle = bundle_maker.make(folder / "b", rules=rules, stream=True, vocabulary=vocabulary)
    (folder / "b.prnn").write_bytes(packed_bundle(bundle))
    (folder / "other.prnn").write_bytes(packed_bundle(bundle_maker.make(folder / "other", name="still")))
    stream = Native.load(folder / "b.prnn").stream()
    stream.push("oil pri")
    answers = [
        node(
            "stream_in_node.mjs",
            {
                "file": str(folder / "b.prnn"),
                "other": str(folder / "other.prnn"),
                "wasm": str(wasm / engine),
                "texts": texts,
                "saved": base64.b64encode(stream.save()).decode(),
            },
        )
        for engine in ENGINES
    ]
    return folder / "b.prnn", answers


def test_every_piece_is_answered_as_all_the_text_so_far(streamed: tuple[Path, list[dict[str, Any]]]) -> None:
    for answer in streamed[1]:
        pushed, whole = np.array(answer["pairs"]).transpose(1, 0, 2)
        assert len(pushed) > 300
        np.testing.assert_allclose(pushed, whole, atol=1e-5)
        assert answer["inBytes"]["label"] == answer["asWhole"]["label"]
        assert len(answer["inBytes"]["top"]) == 2


def test_a_stream_goes_on_in_python_and_one_of_python_in_the_browser(
    streamed: tuple[Path, list[dict[str, Any]]],
) -> None:
    from pocketrnn_native import Classifier as Native

    path, answers = streamed
    expected = Classifier.load(path).logits(["oil prices rise"])[0]
    for answer in answers:
        for name in ("resumed", "after", "anew"):
            np.testing.assert_allclose(answer[name], expected, atol=1e-5, err_msg=name)
        stream = Native.load(path).stream(base64.b64decode(answer["saved"]))
        np.testing.assert_allclose(stream.logits("ces rise"), expected, atol=1e-5)


def test_what_a_stream_cannot_do_is_refused_in_a_sentence(streamed: tuple[Path, list[dict[str, Any]]]) -> None:
    for answer in streamed[1]:
        for name in ("changed", "short", "empty"):
            assert answer[name].startswith("InputError: This is not a saved stream of this classifier"), answer[name]
        assert answer["noBytes"].startswith("InputError: saved is not bytes.")
        assert answer["noText"].startswith("InputError: A fragment must be a string or bytes, not number.")
        assert answer["noUtf8"].startswith("PocketRNNError: The engine of small failed: The text is not UTF-8.")
        assert answer["top"].startswith("InputError: top is 99.")
        assert answer["without"].startswith("InputError: The packed file of still cannot answer while a text arrives")
        assert answer["released"].startswith("InputError: small was released.")


def test_a_sigma_that_nothing_decides_is_refused_and_changes_nothing(
    streamed: tuple[Path, list[dict[str, Any]]],
) -> None:
    path, answers = streamed
    rules = Classifier.load(path).manifest.text.rules
    if not isinstance(rules, TextRules) or not rules.lowercase or rules.max_tokens:
        pytest.skip("nothing waits under these rules")
    for answer in answers:
        assert answer["undecided"].startswith("InputError: "), answer["undecided"]


def test_pieces_without_a_space_to_cut_them_at_are_refused(streamed: tuple[Path, list[dict[str, Any]]]) -> None:
    path, answers = streamed
    if isinstance(Classifier.load(path).manifest.text.rules, TextRules):
        pytest.skip("nothing waits under these rules")
    for answer in answers:
        assert answer["waiting"].startswith("InputError: More characters have no space to cut them at")
        assert answer["kept"] < 2000
