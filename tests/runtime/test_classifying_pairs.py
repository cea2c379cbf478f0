"""Two texts: how a pair becomes the inputs of a graph, many pairs, files of them, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import bundle_maker
import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from row_files import write_rows

from pocketrnn import Classifier, verify
from pocketrnn.bundle.hub_download import parse_hub_address
from pocketrnn.bundle.manifest import Limits, Manifest, read_manifest
from pocketrnn.bundle.texts_beyond_limits import mark_texts_beyond_limits
from pocketrnn.commands.cli import main
from pocketrnn.errors import BundleError, InputError, LimitError, PocketRNNError, TextError
from pocketrnn.hub_upload import _format_card_lines
from pocketrnn.text import TextRules
from pocketrnn.text.pairs import make_pair_inputs
from pocketrnn.text.text_input import TextInput

PAIRS = [("Wall St. Bears", "oil"), ("oil", "The team wins the cup game!"), ("", "war"), ("NASA", "NASA"), ("oil", "")]


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle_maker.make(tmp_path_factory.mktemp("pairs") / "nli", two_texts=True, torchscript=False, texts=PAIRS)


@pytest.fixture(scope="session")
def classifier(bundle: Path) -> Classifier:
    return Classifier.load(bundle)


def run(*arguments: str, exit_code: int = 0, input: str | None = None) -> Result:  # noqa: A002 - as click names it
    done = CliRunner().invoke(main, arguments, input=input)
    assert done.exit_code == exit_code, done.stderr
    return done


rows_of_pairs = st.lists(
    st.tuples(st.lists(st.integers(0, 9), min_size=1, max_size=5), st.lists(st.integers(0, 9), min_size=1, max_size=5)),
    min_size=1,
    max_size=6,
)


@given(rows_of_pairs, st.sampled_from([0, 1, 9]))
def test_a_row_of_ids_with_a_mark_becomes_both_texts_padded_to_the_longest_of_their_side(
    pairs: list[tuple[list[int], list[int]]], padding_id: int
) -> None:
    rows = [[*first, ~padding_id, *second] for first, second in pairs]
    lengths = np.array([len(row) for row in rows])
    tokens = np.full((len(rows), lengths.max() + 2), padding_id)
    for made, row in zip(tokens, rows, strict=True):
        made[: len(row)] = row
    found = make_pair_inputs(tokens, lengths)
    for side, (texts, sizes) in enumerate(((found.tokens, found.lengths), (found.second_tokens, found.second_lengths))):
        longest = max(len(pair[side]) for pair in pairs)
        assert sizes.tolist() == [len(pair[side]) for pair in pairs]
        assert texts.tolist() == [[*pair[side], *[padding_id] * (longest - len(pair[side]))] for pair in pairs]


@pytest.mark.parametrize("lengths", [True, False])
def test_a_pair_is_answered_alone_as_among_others(tmp_path: Path, lengths: bool) -> None:
    folder = bundle_maker.make(
        tmp_path / "nli", two_texts=True, torchscript=False, texts=PAIRS, lengths=lengths, hidden=3
    )
    classifier, model = Classifier.load(folder), bundle_maker.weights(len(bundle_maker.WORDS), hidden=3)
    expected = np.array([bundle_maker.pair_logits(model, classifier.encode(pair)) for pair in PAIRS])
    together, alone = classifier.logits(PAIRS), np.concatenate([classifier.logits([pair]) for pair in PAIRS])
    assert np.allclose(together, expected, atol=1e-5)
    assert np.allclose(alone, expected, atol=1e-5)
    # Exchanged, a pair is another.
    assert not np.allclose(classifier.logits([PAIRS[0][::-1]]), expected[:1], atol=1e-3)
    assert verify(folder).replays[0].examples == len(PAIRS)


def test_each_text_of_a_pair_may_be_tokens_or_ids(classifier: Classifier) -> None:
    pair = ("Wall St.", "oil")
    assert classifier.encode((["wall", "st", "."], ["oil"])) == classifier.encode(pair)
    first, second = (Classifier.encode(classifier, (text, text)) for text in pair)
    assert classifier.classify((first[: len(first) // 2], second[2:])) == classifier.classify(list(pair))
    assert classifier.classify(np.array(pair, object)) == classifier.classify(pair)


@pytest.mark.parametrize(
    ("given", "said"),
    [("oil", "'oil'"), (("a", "b", "c"), "tuple of 3"), (["a"], "list of 1"), (None, "NoneType"), (("a", 7), "int")],
)
def test_what_is_not_two_texts_is_refused(classifier: Classifier, given: object, said: str) -> None:
    with pytest.raises(TextError, match=said):
        classifier.classify(given)
    with pytest.raises(TextError, match="position 1"):
        classifier.predict([PAIRS[0], given])
    assert classifier.predict([PAIRS[0], given], on_error="skip")[1] is None


@pytest.mark.parametrize(
    "asked",
    [
        lambda c: c.stream(),
        lambda c: c.explain(PAIRS[0]),
        lambda c: c.embed(PAIRS),
        lambda c: c.manifest.require_single_text("a packed file"),
        lambda c: c.tag("oil"),
        lambda c: c.predict("oil"),
    ],
)
def test_what_is_asked_of_one_text_is_refused(classifier: Classifier, asked: Callable[[Classifier], object]) -> None:
    with pytest.raises(PocketRNNError):
        asked(classifier)


def test_a_graph_that_needs_a_known_word_needs_it_in_both_texts(tmp_path: Path) -> None:
    limits, rules = Limits(real_token=True), TextRules(padding_id=1)
    folder = bundle_maker.make(
        tmp_path / "nli", two_texts=True, torchscript=False, texts=PAIRS[:1], limits=limits, rules=rules
    )
    classifier = Classifier.load(folder)
    # The word whose id is that of the padding.
    for pair in (("the", "oil"), ("oil", "the the")):
        with pytest.raises(LimitError, match="small"):
            classifier.classify(pair)
        assert classifier.predict([("oil", "oil"), pair], on_error="skip")[1] is None
    ids = np.array([5, -2, 1, 5, -2, 7])
    assert mark_texts_beyond_limits(limits, ids, np.array([3, 3]), 1).tolist() == [True, False]


def changed_input(manifest: Manifest) -> Manifest:
    return replace(manifest, input=TextInput(manifest.text.rules, manifest.text.vocabulary))


def test_a_bundle_of_two_texts_says_so_and_the_parts_must_agree(bundle: Path) -> None:
    document = json.loads((bundle / "classifier.json").read_bytes())
    assert document["texts"] == 2
    assert document["examples"][0]["text"] == list(PAIRS[0])
    assert [len(ids) for ids in document["examples"][0]["ids"]] == [4, 1]
    manifest = read_manifest(bundle)
    assert manifest.golden_texts[0].text == PAIRS[0]
    assert repr(Classifier.load(bundle)).count("two texts") == 1
    with pytest.raises(BundleError, match="second_tokens"):
        changed_input(manifest)


def test_lines_are_pairs_with_a_tab_and_two_arguments_are_one_pair(bundle: Path, classifier: Classifier) -> None:
    label, probability = (answer := classifier.classify(PAIRS[0])).label, f"{answer.probability:.4f}"
    line = "\t".join((label, probability, *PAIRS[0]))
    assert run("classify", "-b", str(bundle), *PAIRS[0]).stdout == line + "\n"
    assert run("classify", "-b", str(bundle), input="\t".join(PAIRS[0]) + "\n").stdout == line + "\n"
    both = run("classify", "-b", str(bundle), "--json", *map("\t".join, PAIRS[:2])).stdout.splitlines()
    assert [(one["text"], one["second_text"]) for one in map(json.loads, both)] == PAIRS[:2]
    assert run("classify", "-b", str(bundle), "--tokens", '[["wall", "st"], ["oil"]]').stdout.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["oil"], "Text 1"),
        (["a", "b", "c"], "Text 1"),
        (["--stream", "a"], "small"),
        (["--explain", "a", "b"], "small"),
        (["--second-text-column", "x", "a", "b"], "--input"),
    ],
)
def test_the_command_line_refuses_what_is_not_a_pair(bundle: Path, arguments: list[str], said: str) -> None:
    assert said in run("classify", "-b", str(bundle), *arguments, exit_code=2).stderr


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_two_columns_of_a_file_are_pairs(tmp_path: Path, bundle: Path, classifier: Classifier, kind: str) -> None:
    rows = [{"premise": first, "hypothesis": second} for first, second in PAIRS]
    file, out = write_rows(tmp_path / f"pairs.{kind}", rows), tmp_path / "out.jsonl"
    columns = ("--text-column", "premise", "--second-text-column", "hypothesis")
    run("classify", "-b", str(bundle), "--input", str(file), "-o", str(out), *columns)
    answered = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["label"] for row in answered] == classifier.predict(PAIRS)
    assert [(row["premise"], row["hypothesis"]) for row in answered] == PAIRS
    missing = run("classify", "-b", str(bundle), "--input", str(file), *columns[:3], "other", exit_code=2).stderr
    assert "other" in missing
    for some in ((), columns[:2], columns[2:]):
        said = run("classify", "-b", str(bundle), "--input", str(file), *some, exit_code=2).stderr
        assert "--text-column and --second-text-column" in said
        assert "'premise', 'hypothesis'" in said


def test_a_row_without_a_second_text_is_refused_or_passed_over(tmp_path: Path, bundle: Path) -> None:
    file = write_rows(
        tmp_path / "pairs.jsonl", [{"text": "oil", "second_text": "war"}, {"text": "oil", "second_text": None}]
    )
    assert "Row 2" in run("classify", "-b", str(bundle), "--input", str(file), exit_code=2).stderr
    done = run("classify", "-b", str(bundle), "--input", str(file), "--on-error", "skip")
    assert [bool(json.loads(line)["label"]) for line in done.stdout.splitlines()] == [True, False]
    file = write_rows(
        tmp_path / "pairs.jsonl", [{"text": None, "second_text": None}, {"text": "oil", "second_text": "war"}]
    )
    said = run("classify", "-b", str(bundle), "--input", str(file), "--on-error", "skip").stderr
    assert "1 of 2 rows skipped: 1 without a text," in said


def test_inspect_verify_and_the_page_know_pairs(tmp_path: Path, bundle: Path) -> None:
    assert "two texts" in run("inspect", str(bundle)).stdout
    run("verify", "--html", str(tmp_path / "proof.html"), str(bundle))
    assert "Wall St. Bears | oil" in (tmp_path / "proof.html").read_text()
    assert "two texts" in run("bench", str(bundle), exit_code=2).stderr
    assert '("a text", "another text")' in "\n".join(
        _format_card_lines(read_manifest(bundle), parse_hub_address("hf://me/nli"), [])
    )


def test_a_column_of_second_texts_is_for_two_texts(tmp_path: Path) -> None:
    one = bundle_maker.make(tmp_path / "one", torchscript=False)
    file = write_rows(tmp_path / "pairs.csv", [{"text": "oil", "other": "war"}])
    said = run("classify", "-b", str(one), "--input", str(file), "--second-text-column", "other", exit_code=2).stderr
    assert "--second-text-column" in said


def test_a_tokenizer_of_ones_own_splits_both_texts(bundle: Path) -> None:
    classifier = Classifier.load(bundle, tokenizer=str.split)
    assert classifier.encode(("oil", "the oil")) == Classifier.load(bundle).encode(("oil", "the oil"))
    with pytest.raises(InputError, match="two texts"):
        classifier.stream()
