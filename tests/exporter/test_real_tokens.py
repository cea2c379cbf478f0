"""A module that fails on a text of padding only is exported with that limit; every other text is answered."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from pocketrnn import Classifier, verify
from pocketrnn.bundle.manifest import Limits
from pocketrnn.classifier import read_graph_metadata
from pocketrnn.errors import CompressionError, ExportError, LimitError
from pocketrnn.text import TextRules
from pocketrnn_export import export
from pocketrnn_export.comparing.proof_inputs import Case, fit_cases_to_graph_limits, put_real_token_in_padding_rows
from pocketrnn_export.compression import compress
from pocketrnn_export.forms.weight_quantization import Storage
from pocketrnn_export.intake.module_copy_with_call_and_logits import prepare_module
from pocketrnn_export.mobile_profile import write_mobile_bundle
from pocketrnn_export.proof.case_selection import choose_cases_for_text_rules
from pocketrnn_training.rows.labelled_texts import LabelledTexts

pytestmark = pytest.mark.usefixtures("short_proofs")
WORDS = [f"w{i}" for i in range(38)]
PAD_LAST, PAD_FIRST = ["<unk>", "<pad>", *WORDS], ["<pad>", "<unk>", *WORDS]
LABELS = list("abc")
REAL = Limits(real_token=True)


class Counts(nn.Module):
    """Counts its lengths, and packs by them."""

    def __init__(self, padding_id: int = 1) -> None:
        super().__init__()
        self.padding_id = padding_id
        self.emb = nn.Embedding(40, 8, padding_idx=padding_id)
        self.rnn = nn.LSTM(8, 6, batch_first=True, bidirectional=True)
        self.out = nn.Linear(12, 3)

    def counted(self, x: Tensor) -> Tensor:
        return (x != self.padding_id).sum(1)

    def forward(self, x: Tensor) -> Any:
        packed = pack_padded_sequence(self.emb(x), self.counted(x).cpu(), batch_first=True, enforce_sorted=False)
        _, (h, _) = self.rnn(packed)
        return self.out(torch.cat([h[-2], h[-1]], 1))


class Sorts(Counts):
    """Sorts its rows by hand before it packs them."""

    def forward(self, x: Tensor) -> Any:
        lengths, order = self.counted(x).sort(0, descending=True)
        _, back = order.sort(0)
        packed = pack_padded_sequence(self.emb(x[order]), lengths, batch_first=True)
        _, (h, _) = self.rnn(packed)
        return self.out(torch.cat([h[-2], h[-1]], 1)[back])


class Pools(Counts):
    """Divides the sum of its outputs by the count: NaN, not an error, once none is left to pack."""

    def forward(self, x: Tensor) -> Any:
        packed = pack_padded_sequence(self.emb(x), self.counted(x), batch_first=True, enforce_sorted=False)
        outputs, _ = pad_packed_sequence(self.rnn(packed)[0], batch_first=True, total_length=x.size(1))
        return self.out(outputs.sum(1) / self.counted(x)[:, None])


class Masks(Counts):
    """Attends with a mask of minus infinity: NaN where all is masked."""

    def forward(self, x: Tensor) -> Any:
        outputs, _ = self.rnn(self.emb(x))
        weights = outputs.sum(2).masked_fill(x == self.padding_id, float("-inf")).softmax(1)
        return self.out((outputs * weights[:, :, None]).sum(1))


class TakesTheLast(Counts):
    """Reads the output at the last real token by its index: -1 is an error."""

    def forward(self, x: Tensor) -> Any:
        outputs, _ = self.rnn(self.emb(x))
        last = (self.counted(x) - 1)[:, None, None].expand(-1, 1, 12)
        return self.out(outputs.gather(1, last).squeeze(1))


class AnswersAll(Counts):
    def counted(self, x: Tensor) -> Tensor:
        return super().counted(x).clamp(min=1)


class FailsBesideOthers(Counts):
    def counted(self, x: Tensor) -> Tensor:
        return super().counted(x).clamp(min=int(x.size(0) == 1))


def rules_of(vocabulary: list[str], **more: Any) -> TextRules:
    padding_id = vocabulary.index("<pad>")
    return TextRules("whitespace", **{"unknown_id": None, "empty_id": padding_id, "padding_id": padding_id, **more})


def exported(
    kind: type[Counts], path: Path, *, vocabulary: list[str] = PAD_LAST, rules: TextRules | None = None, **more: Any
) -> tuple[nn.Module, Classifier]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = kind(vocabulary.index("<pad>")).eval()
    export(module, path, labels=LABELS, vocabulary=vocabulary, rules=rules or rules_of(vocabulary), **more)
    verify(path)
    return module, Classifier.load(path)


def check_answers(module: nn.Module, classifier: Classifier) -> None:
    """The bundle answers as the module does, one text after the other and all together."""
    generator = np.random.default_rng(0)
    texts = [" ".join(generator.choice(WORDS, size)) for size in (1, 2, 3, 9, 9, 40, 300)]
    texts += ["w3 <pad>", "<pad> w3 w4", "<pad> <pad> unheard w5"]
    with torch.no_grad():
        expected = np.concatenate([module(torch.tensor([classifier.encode(text)])).numpy() for text in texts])
    np.testing.assert_allclose(classifier.logits(texts), expected, atol=1e-5)
    for text, row in zip(texts, expected, strict=True):
        assert classifier.classify(text).label == LABELS[row.argmax()]


def check_refusals(classifier: Classifier) -> None:
    for text in ("", "<pad>", "<pad> <pad>", "unheard of"):
        with pytest.raises(LimitError, match=f"no known word .*{classifier.name} "):
            classifier.classify(text)
    assert classifier.predict(["", "<pad>", "unheard"], on_error="skip") == [None] * 3


@pytest.mark.slow
@pytest.mark.parametrize(
    "vocabulary",
    [PAD_LAST, pytest.param(PAD_FIRST, marks=pytest.mark.slow)],
    ids=["padding 1", "padding 0"],
)
@pytest.mark.parametrize("kind", [Sorts, pytest.param(Counts, marks=pytest.mark.slow)])
def test_a_module_that_counts_its_lengths_is_exported_with_the_limit(
    kind: type[Counts], vocabulary: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        module, classifier = exported(
            kind, tmp_path / "b", vocabulary=vocabulary, torchscript=None if kind is Counts else False
        )
    assert classifier.manifest.graph.limits == REAL
    assert read_graph_metadata(classifier)["pocketrnn.version"] == "1"
    assert (classifier.manifest.torchscript is not None) == (kind is Counts)
    (told,) = [record.message for record in caplog.records if "padding only" in record.message]
    assert "RuntimeError: Length of all" in told
    assert "lengths.clamp(min=1)" in told
    check_answers(module, classifier)
    check_refusals(classifier)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("empty_id", "told"), [("<unk>", "which a text of the"), ("<pad>", "which the empty text and a")]
)
def test_where_unknown_words_have_an_id_the_note_says_that_only_padding_is_refused(
    empty_id: str, told: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    vocabulary = ["<unk>", *PAD_LAST] if "<unk>" not in PAD_LAST else PAD_LAST
    rules = rules_of(vocabulary, unknown_id=vocabulary.index("<unk>"), empty_id=vocabulary.index(empty_id))
    exported(Counts, tmp_path / "b", vocabulary=vocabulary, rules=rules, torchscript=False)
    assert f"{told} " in caplog.text
    assert "known word may" not in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(("least", "most"), [(12, None), (12, 12)])
def test_the_padding_up_to_a_width_is_no_real_token(side: str, least: int, most: int | None, tmp_path: Path) -> None:
    rules = rules_of(PAD_LAST, min_width=least, max_width=most, pad_side=side)
    module, classifier = exported(Counts, tmp_path / "b", rules=rules)
    assert classifier.manifest.graph.limits == Limits(most and least, most, real_token=True)
    check_answers(module, classifier)
    check_refusals(classifier)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Pools, Masks, TakesTheLast])
def test_other_ways_to_fail_on_padding_are_the_same_limit(kind: type[Counts], tmp_path: Path) -> None:
    module, classifier = exported(kind, tmp_path / "b", torchscript=False)
    assert classifier.manifest.graph.limits == REAL
    check_answers(module, classifier)
    check_refusals(classifier)


def test_a_module_that_answers_texts_of_padding_needs_no_real_token() -> None:
    prepared = prepare_module(AnswersAll().eval(), lengths=None, ids=40, padding_id=1, classes=3, multi_label=False)
    assert not prepared.needs_real_token
    answers = prepared.make_reference().run(np.array([[1, 1], [5, 6]]), np.array([2, 2]))
    assert np.isfinite(answers).all()


@pytest.mark.slow
def test_a_module_that_answers_texts_of_padding_has_no_such_limit(tmp_path: Path) -> None:
    module, classifier = exported(AnswersAll, tmp_path / "b", torchscript=False)
    assert classifier.manifest.graph.limits is None
    check_answers(module, classifier)
    assert len(classifier.predict(["", "<pad>", "unheard"])) == 3


@pytest.mark.slow
def test_one_text_a_run_and_small_engines_have_the_limit_too(tmp_path: Path) -> None:
    module, classifier = exported(Counts, tmp_path / "one", one_text=True, torchscript=False)
    assert (classifier.manifest.graph.batch, classifier.manifest.graph.limits) == (1, REAL)
    check_answers(module, classifier)
    pytest.importorskip("tract")
    module, classifier = exported(Masks, tmp_path / "edge", vocabulary=PAD_FIRST, edge=True)
    assert (classifier.manifest.graph.batch, classifier.manifest.graph.limits) == (1, REAL)
    check_answers(module, classifier)
    check_refusals(classifier)


@pytest.mark.slow
def test_smaller_bundles_take_the_limit_over(tmp_path: Path) -> None:
    exported(Counts, tmp_path / "b", torchscript=False, example_texts=["w1 w2", "w20", "w3 <pad>"])
    compress(tmp_path / "b", tmp_path / "small")
    few = Storage(embedding="float32", weights="float32", rows=12)
    texts = ("w1 w2", "", "w30", "w3")
    data = LabelledTexts(texts, np.array([0, 1, 2, 0]), tuple(LABELS), "made up", None)
    made = compress(tmp_path / "b", tmp_path / "few", storage=few, data=data)
    # One of the three texts that the original takes, "w30", holds no word of the first 12.
    assert made.steps[-1].agreement == pytest.approx(2 / 3)
    write_mobile_bundle(tmp_path / "b", tmp_path / "mobile")
    for name in ("small", "few", "mobile"):
        classifier = Classifier.load(tmp_path / name)
        assert classifier.manifest.graph.limits == REAL
        check_refusals(classifier)
        verify(tmp_path / name)
    with pytest.raises(CompressionError, match=r"\b2 words"):
        compress(tmp_path / "b", tmp_path / "none", storage=Storage("float32", "float32", rows=2))


@pytest.mark.slow
def test_a_module_that_fails_on_padding_beside_other_texts_only_is_refused() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = FailsBesideOthers().eval()
    prepared = prepare_module(module, lengths=None, ids=40, padding_id=1, classes=3, multi_label=False)
    assert not prepared.needs_real_token
    with pytest.raises(ExportError, match=r"clamp\(min=1\)"):
        prepared.make_reference().run(np.array([[1, 1], [5, 6]]), np.array([2, 2]))


@pytest.mark.usefixtures("whole_proofs")
def test_no_case_of_a_proof_holds_a_text_of_padding_only() -> None:
    for padding_id, rules in ((0, rules_of(PAD_FIRST)), (1, rules_of(PAD_LAST, min_width=3))):
        plain = choose_cases_for_text_rules(rules, ids=5, ragged=True)
        cases = choose_cases_for_text_rules(rules, ids=5, ragged=True, limits=REAL)
        rows = {kind: sum(len(case.lengths) for case in some) for kind, some in cases.items()}
        assert rows == {kind: sum(len(case.lengths) for case in some) for kind, some in plain.items()}
        for case in (case for some in cases.values() for case in some):
            assert (case.tokens != padding_id).any(1).all()
            assert case.tokens.max() < 5


def test_a_row_of_padding_gets_another_id_and_the_case_stays_as_it_was() -> None:
    tokens = np.array([[1, 1], [1, 7]])
    case = Case("two", tokens, np.array([1, 2]))
    (made,) = put_real_token_in_padding_rows([case], 1)
    assert made.tokens.tolist() == [[0, 1], [1, 7]]
    assert tokens.tolist() == [[1, 1], [1, 7]]
    assert fit_cases_to_graph_limits([case], None, 1) == [case]
    (cut,) = fit_cases_to_graph_limits([case], Limits(max_tokens=1, real_token=True), 1)
    assert cut.tokens.tolist() == [[0], [0]]


def test_a_limit_shortens_or_repeats_rows_and_leaves_out_no_case() -> None:
    cases = [
        Case("long", np.arange(3000)[None], np.array([3000])),
        Case("short", np.array([[4, 5], [6, 1]]), np.array([2, 1])),
        Case("many", np.full((9, 4), 3), np.full(9, 4)),
    ]
    long, short, many = fit_cases_to_graph_limits(cases, Limits(min_tokens=3, max_tokens=700, max_batch=2), 1)
    assert long.tokens.tolist() == [[*range(700)]]
    assert short.tokens.tolist() == [[4, 5, 4], [6, 6, 6]]
    assert many.tokens.shape == (2, 4)
    assert [case.lengths.tolist() for case in (long, short, many)] == [[700], [3, 3], [4, 4]]
