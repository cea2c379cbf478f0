"""A loaded classifier gives the right answers to one text and to many."""

from __future__ import annotations

import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import bundle_maker
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_case_sampling import examples

import pocketrnn.bundle.bundle_lookup
from pocketrnn import Classifier, PocketRNNError, Prediction, verify
from pocketrnn.errors import BundleError, InputError, TextError
from pocketrnn.text import TextRules

TEXTS = st.lists(st.lists(st.sampled_from([*bundle_maker.WORDS, "unheard"]), max_size=40).map(" ".join), max_size=30)
HOSTILE = ["", " \n\t", "...!?", "a\0b", "\ud800 the \udfff", "wall " * 200_000, "\u0130\u0301" * 5, "'" * 1000]


@pytest.fixture(params=["padded", "unpadded"])
def either(request: pytest.FixtureRequest) -> Classifier:
    return Classifier.load(request.getfixturevalue(request.param))


def test_classify_gives_the_likeliest_label_and_its_probability(classifier: Classifier) -> None:
    text = bundle_maker.TEXTS[0]
    answer = classifier.classify(text)
    (row,) = classifier.predict_proba([text])
    assert answer.label == classifier.labels[int(row.argmax())]
    assert answer.probability == pytest.approx(float(row.max()), abs=1e-6)
    assert answer.top == ((answer.label, answer.probability),)


def test_top_gives_the_likeliest_labels_in_order(classifier: Classifier) -> None:
    answer = classifier.classify("oil prices", top=4)
    probabilities = [probability for _, probability in answer.top]
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) == pytest.approx(1)
    assert {label for label, _ in answer.top} == set(classifier.labels)
    assert (answer.label, answer.probability) == answer.top[0]


def test_of_equal_probabilities_the_earlier_label_comes_first(classifier: Classifier) -> None:
    world, sports, business, tech = classifier.labels
    assert [label for label, _ in classifier._answers.make_prediction([1.0, 2.0, 2.0, 1.0], top=4).top] == [
        sports, business, world, tech,
    ]  # fmt: skip
    assert classifier._answers.make_prediction([1.0, 2.0, 2.0, 1.0]).label == sports


def test_large_logits_do_not_overflow(classifier: Classifier) -> None:
    assert classifier._answers.make_prediction([3e38, -3e38, 0.0, float("-inf")]).probability == 1


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_logits_that_are_no_numbers_are_never_an_answer(
    classifier: Classifier, bad: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PocketRNNError, match="NaN or infinite"):
        classifier._answers.make_prediction([0.0, bad, 0.0, 0.0])

    def run(tokens: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        return np.full((len(tokens), 4), bad, np.float32)

    monkeypatch.setattr(classifier._engine, "_compute_logits_of_run", run)
    for answer in (classifier.logits, classifier.predict, classifier.predict_proba):
        with pytest.raises(PocketRNNError, match="NaN or infinite"):
            answer(["oil"])


@settings(max_examples=examples(20, 60), deadline=None)
@given(texts=TEXTS)
def test_a_text_is_answered_alike_alone_and_in_a_batch(padded: Path, unpadded: Path, texts: list[str]) -> None:
    for folder in (padded, unpadded):
        classifier = Classifier.load(folder)
        together = classifier.logits(texts)
        assert together.shape == (len(texts), 4)
        for text, row in zip(texts, together, strict=True):
            np.testing.assert_allclose(classifier.logits([text])[0], row, atol=1e-6)


def test_answers_keep_the_texts_order_beyond_what_is_encoded_at_once(either: Classifier) -> None:
    words = [f"{'the ' * (i % 7)}{bundle_maker.WORDS[i % 30]}" for i in range(9000)]
    known = {word: either.classify(word).label for word in set(words)}
    assert either.predict(words) == [known[word] for word in words]


def test_logits_are_those_of_the_lstm_written_out_in_numpy(either: Classifier) -> None:
    model = bundle_maker.weights(len(bundle_maker.WORDS))
    expected = [bundle_maker.reference_logits(model, either.encode(text)) for text in bundle_maker.TEXTS]
    np.testing.assert_allclose(either.logits(bundle_maker.TEXTS), np.array(expected), atol=3e-6)


def test_probabilities_are_float32_and_add_up_to_one(classifier: Classifier) -> None:
    probabilities = classifier.predict_proba(bundle_maker.TEXTS)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-6)
    assert classifier.predict(bundle_maker.TEXTS) == [classifier.labels[i] for i in probabilities.argmax(1)]


def test_a_graph_without_lengths_only_sees_texts_of_one_length(unpadded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = Classifier.load(unpadded)
    run = classifier._engine._compute_logits_of_run
    seen: list[list[int]] = []

    def watched(tokens: Any, lengths: Any) -> Any:
        seen.append(lengths.tolist())
        assert tokens.shape[1] == lengths.max()
        return run(tokens, lengths)

    monkeypatch.setattr(classifier._engine, "_compute_logits_of_run", watched)
    classifier.predict(["the"] * 3 + ["the oil"] * 2)
    assert sorted(seen) == [[1, 1, 1], [2, 2]]


def test_a_graph_with_lengths_but_no_leave_to_pad_gets_texts_of_one_length(tmp_path: Path) -> None:
    classifier = Classifier.load(bundle_maker.make(tmp_path / "b", lengths=True, padding=False))
    alone = [classifier.classify(text).label for text in bundle_maker.TEXTS]
    assert classifier.predict(bundle_maker.TEXTS) == alone


def test_no_texts_give_empty_answers_of_the_right_shape(classifier: Classifier) -> None:
    assert classifier.predict([]) == []
    assert classifier.predict_proba([]).shape == (0, 4)
    assert classifier.logits(iter(())).dtype == np.float32


def test_generators_arrays_and_numpy_strings_are_texts(classifier: Classifier) -> None:
    expected = classifier.predict(["the oil", "war"])
    assert classifier.predict(text for text in ("the oil", "war")) == expected
    assert classifier.predict(np.array(["the oil", "war"])) == expected
    assert classifier.classify(np.str_("war")).label == expected[1]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_no_string_is_too_odd_to_be_answered(either: Classifier, text: str) -> None:
    answer = either.classify(text)
    assert answer.label in either.labels
    assert either.predict([text, "the", text]) == [answer.label, either.classify("the").label, answer.label]


def test_a_text_of_a_million_tokens_is_answered(tmp_path: Path) -> None:
    rules = TextRules(tokenizer="characters")
    classifier = Classifier.load(bundle_maker.make(tmp_path / "b", rules=rules))
    assert classifier.classify("s" * 1_000_000).label in classifier.labels


@pytest.mark.parametrize("method", ["predict", "predict_proba", "logits"])
def test_one_string_is_not_taken_for_a_list_of_texts(classifier: Classifier, method: str) -> None:
    with pytest.raises(TextError, match="but one str"):
        getattr(classifier, method)("oil")
    with pytest.raises(TextError, match="but one bytes"):
        getattr(classifier, method)(b"oil")
    with pytest.raises(TextError, match="type NoneType"):
        getattr(classifier, method)(None)


@pytest.mark.parametrize("odd", [None, b"bytes", 3, ["nested", 3], float("nan")])
def test_an_item_that_is_no_text_is_named_by_its_place_before_any_work(
    classifier: Classifier, odd: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier._engine, "_compute_logits_of_run", None)
    with pytest.raises(TextError, match="position 2 "):
        classifier.predict(["a", "b", odd, "c"])  # type: ignore[list-item]
    with pytest.raises(TextError, match=type(odd).__name__):
        classifier.classify(odd)  # type: ignore[arg-type]


@pytest.mark.parametrize("top", [0, -1, 5, 1.5, "2", None])
def test_a_top_out_of_range_is_refused(classifier: Classifier, top: Any) -> None:
    with pytest.raises(InputError, match="from 1 to 4"):
        classifier.classify("oil", top=top)


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", None, 10**10])
def test_a_number_of_threads_that_cannot_be_is_refused(padded: Path, threads: Any) -> None:
    with pytest.raises(InputError, match="threads is"):
        Classifier.load(padded, threads=threads)


def test_more_threads_give_the_same_answers(padded: Path, classifier: Classifier) -> None:
    np.testing.assert_allclose(
        Classifier.load(padded, threads=2).logits(bundle_maker.TEXTS), classifier.logits(bundle_maker.TEXTS), atol=1e-6
    )


def test_python_threads_may_share_a_classifier(classifier: Classifier) -> None:
    texts = [f"{'oil ' * (i % 9)}the" for i in range(400)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda text: classifier.classify(text).label, texts))
    assert answers == classifier.predict(texts)


def test_a_failing_graph_says_so_in_our_words(classifier: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        def __init__(self, session: Any) -> None:
            self.io_binding = session.io_binding

        def run(self, *_: object) -> None:
            raise RuntimeError("bad allocation\nand more")

        run_with_iobinding = run

    before = classifier.classify("the oil")
    with monkeypatch.context() as patched:
        engine = classifier._engine
        patched.setattr(engine, "_session", Failing(engine._session))
        patched.setattr(engine, "_idle", [])
        for ask in (lambda: classifier.classify("the oil"), lambda: classifier.predict(["the oil"])):
            with pytest.raises(PocketRNNError, match=r"\b1 texts .*\b2 tokens.*bad allocation"):
                ask()
    assert classifier.classify("the oil") == before


def test_a_classifier_can_be_pickled(classifier: Classifier) -> None:
    again = pickle.loads(pickle.dumps(classifier))  # noqa: S301
    assert again.predict(bundle_maker.TEXTS) == classifier.predict(bundle_maker.TEXTS)


def test_a_prediction_is_a_value() -> None:
    assert Prediction("a", 0.5, (("a", 0.5),)) == Prediction("a", 0.5, (("a", 0.5),))
    with pytest.raises(AttributeError):
        Prediction("a", 0.5, (("a", 0.5),)).label = "b"  # type: ignore[misc]


def test_a_classifier_says_what_it_is(classifier: Classifier, padded: Path) -> None:
    assert classifier.name == "small"
    assert classifier.labels == bundle_maker.LABELS
    assert classifier.manifest.graph.padding
    assert repr(classifier) == "<Classifier 'small': 4 labels>"


@pytest.fixture
def zoo(padded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A zoo package with one classifier, `known`."""
    shutil.copytree(padded, tmp_path / "zoo" / "known" / "bundle")
    (tmp_path / "zoo" / "unfinished").mkdir()
    monkeypatch.setattr(
        pocketrnn.bundle.bundle_lookup.importlib.util,
        "find_spec",
        lambda _: type("Spec", (), {"submodule_search_locations": [str(tmp_path / "zoo")]}),
    )
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


def test_a_shipped_classifier_is_found_by_its_name(zoo: Path) -> None:
    assert Classifier.load("known").labels == bundle_maker.LABELS


def test_a_folder_that_holds_a_bundle_wins_over_a_shipped_name(zoo: Path) -> None:
    bundle_maker.make(zoo / "known", name="mine")
    assert Classifier.load("known").name == "mine"


def test_a_folder_that_holds_none_does_not_hide_a_shipped_name(zoo: Path) -> None:
    (zoo / "known").mkdir()
    assert Classifier.load("known").name == "small"


def test_an_unknown_name_lists_the_shipped_ones(zoo: Path) -> None:
    with pytest.raises(BundleError, match=r"'other'.*known"):
        Classifier.load("other")


@pytest.mark.parametrize("path", ["./known", "../work/known", "known/"])
def test_a_path_is_never_taken_for_a_shipped_name(zoo: Path, path: str) -> None:
    with pytest.raises(BundleError, match="does not exist"):
        Classifier.load(path)


def test_a_file_that_is_no_packed_file_is_named_so(tmp_path: Path) -> None:
    other = tmp_path / "news.prnn"
    other.write_bytes(bytes(range(256)) * 20)
    with pytest.raises(BundleError, match=r"news\.prnn is neither"):
        Classifier.load(other)


def test_an_address_is_refused_as_an_address(zoo: Path) -> None:
    with pytest.raises(BundleError, match=r"https://example\.org/news\.prnn.*Download"):
        Classifier.load("https://example.org/news.prnn")


def test_what_is_no_path_is_refused() -> None:
    with pytest.raises(InputError, match="given as int"):
        Classifier.load(3)  # type: ignore[arg-type]


def test_a_graph_of_one_text_a_run_is_given_one_text_a_run(unpadded: Path, tmp_path: Path) -> None:
    def one_text(proto: onnx.ModelProto) -> None:
        for value in (*proto.graph.input, *proto.graph.output):
            value.type.tensor_type.shape.dim[0].dim_value = 1

    bundle = bundle_maker.make(
        tmp_path / "one",
        lengths=False,
        change_graph=one_text,
        change=lambda manifest: bundle_maker.with_graph(manifest, batch=1),
    )
    texts = [*bundle_maker.TEXTS, *bundle_maker.TEXTS]
    np.testing.assert_allclose(
        Classifier.load(bundle).logits(texts), Classifier.load(unpadded).logits(texts), atol=1e-6
    )
    assert verify(bundle).replays[0].examples == len(bundle_maker.TEXTS)
    undeclared = bundle_maker.make(tmp_path / "undeclared", lengths=False, change_graph=one_text)
    with pytest.raises(BundleError, match="fixed shape"):
        Classifier.load(undeclared)
