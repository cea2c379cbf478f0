"""The linear part of a classifier: what it says, when there is one, and that all that trains knows of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from slow_case_sampling import mostly_slow
from training_data import LABELS, QUICK, SMALL, easy_texts

from pocketrnn.classifier import Classifier
from pocketrnn.errors import ExportError, InputError
from pocketrnn_export.bundle_export import export
from pocketrnn_export.checkpoint_export import export_trained, make_export_arguments_from_checkpoint
from pocketrnn_export.packing import pack
from pocketrnn_training.classifiers import checkpoint as checkpoints
from pocketrnn_training.classifiers.linear_classifier import LINEAR, LinearArchitecture, LinearScores
from pocketrnn_training.classifiers.logits_of_encoded_rows import compute_logits, encode_rows
from pocketrnn_training.classifiers.recurrent_classifiers import RecurrentClassifier
from pocketrnn_training.measures.evaluation import evaluate
from pocketrnn_training.measures.temperature_scaling import apply_temperature
from pocketrnn_training.rows.encoded_rows import EncodedTexts
from pocketrnn_training.rows.labelled_texts import LabelledTexts
from pocketrnn_training.rows.teacher_answers import TeacherAnswers
from pocketrnn_training.settings.text_settings import TextSettings
from pocketrnn_training.texts.linear_part import (
    FeatureCounter,
    LinearPart,
    choose_row_count_of_pair_table,
    compute_hash_codes_for_token_pairs,
)
from pocketrnn_training.texts.word_or_piece_choice import make_feature_counter
from pocketrnn_training.training import train

ONE = replace(QUICK, epochs=1)


def drawn_rows(rows: int = 30, vocabulary_size: int = 11) -> EncodedTexts:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 9, rows)
    return EncodedTexts.from_lengths(rng.integers(2, vocabulary_size, lengths.sum()).astype(np.int32), lengths)


def counted(*spelled: str, pairs: int = 16, pieces: bool = False) -> FeatureCounter:
    return FeatureCounter(("", "", *spelled), pairs, 1, pieces)


@pytest.mark.parametrize("pieces", [False, True])
def test_a_module_says_what_the_fit_says_however_its_rows_are_padded(pieces: bool) -> None:
    rng, rows = np.random.default_rng(1), drawn_rows()
    known = counted(*(f" {i}b" if i % 2 else f"{i}c" for i in range(9)), pieces=pieces)
    shapes = ((11, 3), (16, 3), (known.joints, 3), (3,))
    sizes = rng.uniform(1, 9, (11, 1)).astype(np.float32)
    part = LinearPart(known, sizes, *(rng.standard_normal(shape).astype(np.float32) for shape in shapes))
    scores = LinearScores(LinearArchitecture(11, 3, SMALL.padding_id, pairs=16, joints=known.joints))
    scores.load_state_dict(part.tensors(2.0))
    tokens, lengths = rows.batch(np.arange(len(rows.lengths)), 1)
    found = scores(torch.from_numpy(tokens), torch.from_numpy(lengths))
    np.testing.assert_allclose(found.detach().numpy(), 2 * part.logits(rows), rtol=1e-5, atol=1e-5)


def test_the_order_of_words_tells_and_a_class_without_rows_is_not_likely() -> None:
    rows = EncodedTexts(np.array([2, 3, 3, 2] * 4, np.int32), np.arange(0, 17, 2))
    targets = np.array([0, 2] * 4)
    part = LinearPart.fit_to_rows(
        counted("a", "b", "c", pairs=choose_row_count_of_pair_table(5, 3)), rows, targets, classes=3
    )
    assert part.logits(rows).argmax(axis=1).tolist() == targets.tolist()


def test_a_word_that_no_row_has_is_known_by_its_characters() -> None:
    known = counted(" walked ", " sea ", " talked ", " tea ")
    rows = EncodedTexts(np.array([2, 3, 2, 3], np.int32), np.arange(5))
    part = LinearPart.fit_to_rows(known, rows, np.array([0, 1, 0, 1]), classes=2)
    new = EncodedTexts(np.array([4, 5], np.int32), np.arange(3))
    assert part.logits(new).argmax(axis=1).tolist() == [0, 1]
    assert part.words[4, 0] > part.words[4, 1]


def test_a_word_that_no_row_has_is_known_by_its_vector() -> None:
    vectors = np.array([[0, 0], [0, 0], [1, 0.2], [-1, 0.3], [0.9, 0.1], [-0.8, 0.2]], np.float32)
    known = replace(counted(" ab ", " cd ", " ef ", " gh "), vectors=vectors)
    rows = EncodedTexts(np.array([2, 3, 2, 3], np.int32), np.arange(5))
    part = LinearPart.fit_to_rows(known, rows, np.array([0, 1, 0, 1]), classes=2)
    new = EncodedTexts(np.array([4, 5], np.int32), np.arange(3))
    assert part.logits(new).argmax(axis=1).tolist() == [0, 1]
    without = LinearPart.fit_to_rows(replace(known, vectors=None), rows, np.array([0, 1, 0, 1]), classes=2)
    assert not without.words[4:].any()
    refitted = part.refit(rows, np.array([1, 0, 1, 0]))
    assert refitted.logits(new).argmax(axis=1).tolist() == [1, 0]


def test_characters_are_counted_where_two_pieces_meet_and_not_where_two_words_do() -> None:
    rows = EncodedTexts(np.array([2, 3], np.int32), np.array([0, 2]))
    for spelled in ((" wal", "king"), (" tal", "king"), (" ba", "kery")):
        first, second = counted(*spelled, pairs=1024, pieces=True).count_features(rows)[2].indices.tolist()
        assert first != second
    numbers = [
        counted(*spelled, pairs=1024, pieces=True).count_features(rows)[2]
        for spelled in ((" wal", "king"), (" tal", "kit"))
    ]
    # "al" before "ki", whatever stands around them.
    assert len(np.intersect1d(*(one.indices for one in numbers))) == 1
    assert counted(" wal ", " king ").count_features(rows)[2].shape == (1, 0)


@pytest.mark.parametrize("pairs", [2, 3, 1 << 16])
def test_numbers_of_joints_stay_below_their_count(pairs: int) -> None:
    known = counted(*map(str, range(50)), pairs=pairs, pieces=True)
    codes = known.joint_codes
    assert codes.min() >= 0
    assert codes[:, 0].max() + codes[:, 1].max() < known.joints <= pairs


@pytest.mark.parametrize(("size", "pairs"), [(1, 2), (15_000, 16_384)])
def test_numbers_of_pairs_stay_below_their_count(size: int, pairs: int) -> None:
    codes = compute_hash_codes_for_token_pairs(size, pairs)
    assert codes.min() >= 0
    assert codes[:, 0].max() + codes[:, 1].max() < pairs


def test_pieces_of_words_have_one_too() -> None:
    best = train(easy_texts(60), replace(ONE, tokenizer="bpe", vocabulary_size=60))
    assert best.training["linear"]
    assert best.architecture.pairs == choose_row_count_of_pair_table(60, len(LABELS))
    assert best.architecture.joints


def test_a_run_has_one_by_default_and_its_checkpoint_is_read_as_it_was_written(tmp_path: Path) -> None:
    data = easy_texts(90)
    best = train(data, replace(ONE, final_fit=True))
    assert best.training["linear"]
    checkpoints.write(best, tmp_path / "c")
    read = checkpoints.read(tmp_path / "c")
    assert read.architecture == best.architecture
    encoded = encode_rows(data.texts, best)
    assert torch.equal(compute_logits(read.module, encoded, 16), compute_logits(best.module, encoded, 16))
    # The final fit fits it on all rows, too.
    assert isinstance(best.module, RecurrentClassifier)
    assert best.module.linear is not None
    known = make_feature_counter(best.vocabulary, best.text_rules, best.architecture.pairs)
    refitted = LinearPart.fit_to_rows(known, encoded, data.targets, classes=len(LABELS))
    words = best.module.linear.words.detach() * best.metrics["temperature"]
    order = torch.from_numpy(refitted.words)
    # The rows of the run are in another order, which moves the fit a little.
    assert torch.nn.functional.cosine_similarity(words.flatten(), order.flatten(), dim=0) > 0.99


def test_a_temperature_divides_all_of_the_logits() -> None:
    module = RecurrentClassifier(replace(SMALL, pairs=16)).eval()
    with torch.no_grad():
        for table in module.linear.parameters():  # type: ignore[union-attr]
            table.normal_()
    tokens, lengths = torch.tensor([[2, 3, 4]]), torch.tensor([3])
    before = module(tokens, lengths)
    apply_temperature(module, 2.0)
    torch.testing.assert_close(module(tokens, lengths), before / 2)


@pytest.mark.parametrize(
    "settings",
    mostly_slow(
        [
            replace(ONE, linear=False),
            replace(ONE, bidirectional=False),
            replace(ONE, packed=False),
            replace(ONE, tokenizer="characters"),
            replace(ONE, ngrams=2),
        ],
        2,
    ),
)
def test_there_is_none_where_it_is_not_wanted(settings: TextSettings) -> None:
    best = train(easy_texts(60), settings)
    assert not best.training["linear"]
    assert not any(name.startswith(LINEAR) for name in best.module.state_dict())


def with_several(data: LabelledTexts) -> LabelledTexts:
    return replace(data, targets=np.eye(3, dtype=bool)[data.targets])


def with_teacher(data: LabelledTexts) -> LabelledTexts:
    return data.add_teacher_answers(TeacherAnswers.of(np.full((len(data), 3), 1 / 3, np.float32)))


@pytest.mark.parametrize(("data", "what"), [(with_several, "several labels"), (with_teacher, "a teacher")])
def test_where_nothing_is_there_to_fit_it_on_it_is_refused(data: object, what: str) -> None:
    with pytest.raises(InputError, match=what):
        train(data(easy_texts(60)), replace(ONE, linear=True))  # type: ignore[operator]
    with pytest.raises(InputError, match="padded"):
        train(easy_texts(60), replace(ONE, linear=True, packed=False))


def test_going_on_fits_it_anew_with_the_new_words() -> None:
    before = train(easy_texts(60), ONE)
    more = easy_texts(60, seed=1)
    more = replace(more, texts=[f"{text} fresh words" for text in more.texts])
    after = train(more, ONE, before=before)
    assert after.architecture.pairs == before.architecture.pairs  # type: ignore[union-attr]
    assert after.module.linear.words.shape[0] == len(before.vocabulary) + 2  # type: ignore[union-attr]
    with pytest.raises(InputError, match="--linear"):
        train(more, replace(ONE, linear=True), before=train(easy_texts(60), replace(ONE, linear=False)))


def test_too_many_classes_have_none() -> None:
    assert choose_row_count_of_pair_table(15_000, 1000) == 0
    assert choose_row_count_of_pair_table(2000, 77) * 77 * 4 <= 2**21


@pytest.mark.slow
def test_as_the_whole_classifier_it_is_read_exported_and_packed(tmp_path: Path) -> None:
    data = easy_texts(100)
    best = train(data, replace(ONE, compare=None, tokenizer="basic_english"))
    assert isinstance(best.architecture, LinearArchitecture)
    checkpoints.write(best, tmp_path / "c")
    assert checkpoints.read(tmp_path / "c").architecture == best.architecture
    export_trained(checkpoints.read(tmp_path / "c"), tmp_path / "b")
    pack(tmp_path / "b", tmp_path / "c.prnn")
    expected = evaluate(best, data)
    for made in (tmp_path / "b", tmp_path / "c.prnn"):
        assert evaluate(Classifier.load(made), data).confusion == expected.confusion
    module, described = make_export_arguments_from_checkpoint(best)
    with pytest.raises(ExportError, match="--no-linear"):
        export(module, tmp_path / "s", **described, streaming=True)


def test_it_is_not_exported_for_streaming(tmp_path: Path) -> None:
    best = train(easy_texts(60), replace(ONE, bidirectional=False, linear=True))
    module, described = make_export_arguments_from_checkpoint(best)
    with pytest.raises(ExportError, match="linear part"):
        export(module, tmp_path / "b", **described, streaming=True)
