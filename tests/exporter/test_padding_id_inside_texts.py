"""A text with the padding's id inside is answered in any batch as alone; what padding does to a module is measured."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import padding_modules as modules
import pytest
import torch
from click.testing import CliRunner
from padding_modules import MODULES, Reads
from shared_results import made_once
from slow_case_sampling import mostly_slow
from torch import Tensor, nn

from pocketrnn import Classifier, verify
from pocketrnn.commands.cli import main
from pocketrnn.errors import ExportError, LimitError
from pocketrnn.text import TextRules
from pocketrnn_export import export
from pocketrnn_export.comparing.proof_inputs import (
    Case,
    Widths,
    move_ids_run_alone_to_own_cases,
    replace_ids_by_other_ids,
)
from pocketrnn_export.compression import compress
from pocketrnn_export.forms.weight_quantization import Storage
from pocketrnn_export.intake.compiled_call_line import compile_call
from pocketrnn_export.intake.ids_with_batch_dependent_answers import list_possible_padding_ids
from pocketrnn_export.intake.module_copy_with_call_and_logits import (
    ExportableModule,
    add_ids_that_need_own_batch,
    prepare_module,
)
from pocketrnn_export.intake.padding_effect import measure_padding_effect
from pocketrnn_export.mobile_profile import write_mobile_bundle
from pocketrnn_export.proof.case_selection import choose_cases_for_text_rules

pytestmark = pytest.mark.usefixtures("short_proofs")
LABELS = list("abc")
# ids, the padding's id, the id that the module takes for padding, and the rules.
SETTINGS: dict[str, tuple[int, int, int, dict[str, Any]]] = {
    "padding 1": (120, 1, 1, {"unknown_id": 0, "empty_id": 0}),
    "unknown words are padding": (120, 0, 0, {"unknown_id": 0, "empty_id": 0}),
    "padding last": (120, 119, 119, {"unknown_id": 0, "empty_id": 0}),
    "a few words": (14, 0, 0, {"unknown_id": 1, "empty_id": 1}),
    "another id than the rules say": (120, 1, 0, {"unknown_id": 0, "empty_id": 0}),
    "of one width": (120, 0, 0, {"unknown_id": 1, "empty_id": 1, "min_width": 9, "max_width": 9, "pad_side": "left"}),
    "at least six": (120, 0, 0, {"unknown_id": 1, "empty_id": 1, "min_width": 6}),
    "cut": (120, 1, 1, {"unknown_id": 0, "empty_id": 0, "max_width": 8}),
    "around": (120, 0, 0, {"unknown_id": 1, "empty_id": 1, "first_id": 2, "last_id": 3}),
}
# Modules that pocketrnn refuses, in a sentence with a way out: a loop to the longest of the batch.
REFUSED = {"LoopToLongest"}
# A mask as wide as the ids, beside outputs as wide as the longest text: it fails by itself where all texts are padded.
FAILS_ON_PADDED_TEXTS = {"LengthsBesideMax"}


def vocabulary(ids: int, padding_id: int) -> list[str]:
    words = [f"w{i}" for i in range(ids)]
    words[padding_id] = "<pad>"
    return words


def module_of(kind: type[Reads], ids: int, padding: int) -> Reads:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind(padding, ids).eval()


def rules_of(padding_id: int, more: dict[str, Any]) -> TextRules:
    return TextRules("whitespace", padding_id=padding_id, **more)


def adversarial(words: list[str], padding_id: int, seed: int = 0) -> list[str]:
    """Texts that begin with, end in, hold or are the padding's word, an unknown one, the first or the last."""
    generator, texts = np.random.default_rng(seed), []
    real = [word for word in words[5:-1] if word != "<pad>"]
    for size in (1, 2, 3, 5, 9, 17):
        texts.append(list(generator.choice(real, size)))
        for word in ("<pad>", "unheard", words[0], words[3], words[-1]):
            for places in ([0], [-1], [size // 2], range(size // 2, size), range(size - 1), range(size)):
                text = list(generator.choice(real, size))
                for place in places:
                    text[place] = word
                texts.append(text)
    return ["", "unheard", *(" ".join(text) for text in texts)]


def alone(module: nn.Module, classifier: Classifier, text: str) -> np.ndarray:
    """The module's answer to one text, called as the export found."""
    manifest = classifier.manifest
    tokens = torch.tensor([classifier.encode(text)])
    lengths = torch.tensor([tokens.shape[1]])
    if manifest.text.rules.min_width:
        lengths = (tokens != manifest.text.rules.padding_id).sum(1).clamp(min=1)
    with torch.no_grad():
        answer: Tensor = compile_call(manifest.provenance["call"])(module, tokens, lengths)
    return answer.numpy()


def check_batches(module: nn.Module, classifier: Classifier, texts: list[str]) -> None:
    """Batches of many sizes and orders give what the module answers to each text alone."""
    taken = [text for text in texts if classifier.predict([text], on_error="skip") != [None]]
    assert len(taken) > len(texts) // 2
    expected = np.concatenate([alone(module, classifier, text) for text in taken])
    scale = np.maximum(1, np.abs(expected).max(1) / 10)
    for seed, size in enumerate((len(taken), 2, 3, 7, 20, 50)):
        order = np.random.default_rng(seed).permutation(len(taken))[:size]
        apart = np.abs(classifier.logits([taken[i] for i in order]) - expected[order]).max(1) / scale[order]
        worst = int(apart.argmax())
        assert apart[worst] <= classifier.manifest.parity.tolerance, taken[order[worst]]


def exported(kind: type[Reads], setting: str, path: Path, **more: Any) -> tuple[nn.Module, Classifier]:
    ids, padding_id, taken_for_padding, rules = SETTINGS[setting]
    module, words = module_of(kind, ids, taken_for_padding), vocabulary(ids, padding_id)
    given = {
        "torchscript": False,
        "rules": rules_of(padding_id, rules),
        "example_texts": ["w9 w8 w7", "w6", "<pad> w9"],
    }
    export(module, path, labels=LABELS, vocabulary=words, **{**given, **more})
    verify(path)
    return module, Classifier.load(path)


# In the fast suite, a module with an id that only its code knows is exported and asked so, below.
@pytest.mark.slow
@pytest.mark.usefixtures("usual_proofs")
@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("kind", MODULES)
def test_a_row_in_a_batch_is_the_row_alone_or_the_module_is_refused(
    kind: type[Reads], setting: str, tmp_path: Path
) -> None:
    ids, padding_id, _, _ = SETTINGS[setting]
    try:
        module, classifier = exported(kind, setting, tmp_path / "b")
    except ExportError as error:
        refused = error
    else:
        refused = None
    if refused is not None:
        if "min_width" in SETTINGS[setting][3] and kind.__name__ in FAILS_ON_PADDED_TEXTS:
            with pytest.raises(RuntimeError, match="size of tensor"):
                module_of(kind, ids, padding_id)(torch.full((1, 6), 5), torch.tensor([4]))
            assert "padding_modules.py" in str(refused)
            return
        # A few words, among them several that it takes for padding, are in every batch.
        assert kind.__name__ in REFUSED or (setting == "a few words" and "--one-text" in refused.remedy), refused
        return
    check_batches(module, classifier, adversarial(vocabulary(ids, padding_id), padding_id))
    # A module that computes across a batch's texts is exported for one text at a time, without rows to answer together.
    assert classifier.manifest.graph.batch == 1 or asked_beside_special_ids(classifier)


def asked_beside_special_ids(classifier: Classifier) -> bool:
    lines = {(line.reference, line.candidate, line.inputs) for line in classifier.manifest.parity.comparisons}
    return ("alone", "together", "rows of special ids") in lines


def prepared(kind: type[Reads], ids: int = 120, padding_id: int = 1, **more: Any) -> ExportableModule:
    module = module_of(kind, ids, padding_id)
    return prepare_module(module, lengths=None, ids=ids, padding_id=padding_id, classes=3, multi_label=False, **more)


RIGHT = {
    "CountLast", "SortsLast", "TotalLength", "MaskedMean", "MaskedMax", "MaskedAttention", "PackedAttention",
    "LastByIndex", "LoopOverCounts", "LengthsBesideMask", "LengthsBesideMax", "LengthsMeanOverWidth",
    "LengthsAttentionOverWidth", "LengthsPacked", "LengthsSorted", "PlainLast", "PlainMean", "PlainMax",
}  # fmt: skip
OTHERS = {
    "CountGt": {0}, "CountSign": {0}, "CountBool": {0}, "CountAboveSpecials": {0, 1, 2, 3}, "CountTwo": {1, 119},
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", mostly_slow(MODULES, 43, first=24))
def test_the_ids_that_a_module_takes_for_padding_are_found(kind: type[Reads]) -> None:
    found = prepared(kind)
    expected = set() if kind.__name__ in RIGHT else OTHERS.get(kind.__name__, {1})
    assert set(found.alone) == expected
    assert all(moved > 1e-5 for moved in found.alone.values())


class Hidden(Reads):
    """Takes an id for padding that nothing but its code knows."""

    def counted(self, x: Tensor) -> Tensor:
        return (x != 57).sum(1).clamp(min=1)

    def forward(self, x: Tensor) -> Any:
        return self.out(self.packed(x, self.counted(x))[0].mean(1))


@pytest.mark.slow
def test_an_id_that_only_the_code_knows_is_found_in_the_graph(tmp_path: Path) -> None:
    # More words than are all tried.
    words, module = vocabulary(600, 0), module_of(Hidden, 600, 0)
    rules = rules_of(0, SETTINGS["of one width"][3])
    export(module, tmp_path / "b", labels=LABELS, vocabulary=words, rules=rules, torchscript=False)
    verify(tmp_path / "b")
    classifier = Classifier.load(tmp_path / "b")
    assert classifier.manifest.graph.alone == (57,)
    assert asked_beside_special_ids(classifier)
    texts = ["w9 w57 w8", "w9 w8 w7", "w57 w57", "w5 w6", "w57", "w3", "w57 w1 " * 5]
    check_batches(module, classifier, [*texts, *adversarial(words, 0)[:40]])


class Mixes(Reads):
    def forward(self, x: Tensor) -> Any:
        return self.out(self.rnn(self.emb(x))[1][-1].mean(0, keepdim=True).expand(x.size(0), -1))


class MixesWithoutTheLastId(Reads):
    """It mixes texts where the last id is missing, so the effect is not that of the id."""

    def forward(self, x: Tensor) -> Any:
        seen = (x == self.emb.num_embeddings - 1).any().float()
        state = self.rnn(self.emb(x))[1][-1]
        return self.out(state + (1 - seen) * state.mean(0, keepdim=True) + seen * state.max(0, keepdim=True)[0])


@pytest.mark.parametrize("kind", [pytest.param(Mixes, marks=pytest.mark.slow), MixesWithoutTheLastId])
def test_a_module_that_mixes_all_texts_is_refused_with_a_way_out(kind: type[Reads]) -> None:
    with pytest.raises(ExportError, match="--one-text"):
        prepared(kind)


@pytest.mark.slow
@pytest.mark.usefixtures("whole_proofs")
def test_a_module_whose_batch_changes_by_many_unknown_words_of_one_text_goes_for_one_text(tmp_path: Path) -> None:
    class Counts(Reads):
        def forward(self, x: Tensor) -> Any:
            many = ((x == 0).sum(1) > 60).any()
            state = self.rnn(self.emb(x))[1][-1]
            return self.out(torch.where(many, 2 * state, state))

    module = module_of(Counts, 120, 1)
    rules = TextRules("whitespace", unknown_id=0, empty_id=0, padding_id=1)
    made = export(module, tmp_path / "b", labels=LABELS, vocabulary=vocabulary(120, 1), rules=rules, torchscript=False)
    assert made.graph.batch == 1


def test_what_is_tried_is_what_may_be_padding() -> None:
    module = module_of(modules.CountMean, 120, 57)
    module.special = torch.tensor([60, 61])  # type: ignore[assignment]
    module.a_size = 500
    found = list_possible_padding_ids(module, ids=120, special=[7, 9])
    assert {0, 1, 7, 9, 57, 60, 61, 119} <= set(found)
    assert max(found) < 120
    assert len(found) == len(set(found)) < 30


def test_an_id_is_tried_once() -> None:
    found, asked = prepared(modules.CountMean), []
    found.reference.register_forward_hook(lambda *_: asked.append(1))
    assert add_ids_that_need_own_batch(found, [1, 0, 119]) == found
    assert not asked
    assert add_ids_that_need_own_batch(found, [60]).alone.keys() == {1}
    assert asked


@pytest.mark.usefixtures("whole_proofs")
def test_the_cases_of_a_proof_ask_texts_with_such_ids_alone() -> None:
    rules = rules_of(0, {})
    plain, cases = (
        choose_cases_for_text_rules(rules, ids=9, ragged=True),
        choose_cases_for_text_rules(rules, ids=9, ragged=True, ids_run_alone=(0, 3)),
    )
    assert plain.keys() == cases.keys()
    for kind, some in cases.items():
        shared, single = some[: len(plain[kind])], some[len(plain[kind]) :]
        assert [case.tokens.shape for case in shared] == [case.tokens.shape for case in plain[kind]]
        for case in shared:
            inside = np.arange(case.tokens.shape[1]) < case.lengths[:, None]
            assert not np.isin(case.tokens[inside], (0, 3)).any()
        assert single
        assert all(len(case.lengths) == 1 and np.isin(case.tokens, (0, 3)).any() for case in single)


def test_only_the_rows_that_hold_an_id_stand_apart() -> None:
    case = Case("two", np.array([[0, 5, 0], [4, 6, 7]]), np.array([2, 3]))
    shared, single = move_ids_run_alone_to_own_cases([case], [0], 8, most=3)
    assert shared.tokens.tolist() == [[1, 5, 0], [4, 6, 7]]
    assert (single.tokens.tolist(), single.lengths.tolist()) == ([[0, 5]], [2])
    assert move_ids_run_alone_to_own_cases([case], [], 8, most=3) == [case]
    assert replace_ids_by_other_ids([case], [9], 10) == [case]


@pytest.mark.slow
def test_smaller_bundles_and_others_of_one_take_it_over(tmp_path: Path) -> None:
    exported(modules.CountAboveSpecials, "padding 1", tmp_path / "b")
    texts = [text for text in adversarial(vocabulary(120, 1), 1) if "w119" not in text]
    compress(tmp_path / "b", tmp_path / "small")
    compress(tmp_path / "b", tmp_path / "few", storage=Storage("float32", "float32", rows=3))
    write_mobile_bundle(tmp_path / "b", tmp_path / "mobile")
    assert Classifier.load(tmp_path / "few").manifest.graph.alone == (0, 1, 2)
    for name in ("small", "few", "mobile"):
        made = Classifier.load(tmp_path / name)
        np.testing.assert_allclose(made.logits(texts), np.concatenate([made.logits([t]) for t in texts]), atol=1e-6)


class MaximumBesidePadding(Reads):
    """The answer of each text depends on whether any text of its batch holds the padding's id."""

    def forward(self, x: Tensor) -> Any:
        return self.out(self.rnn(self.emb(x))[1][-1] + (x == self.pad).float().max())


@pytest.mark.slow
def test_a_packed_file_takes_each_text_alone(tmp_path: Path) -> None:
    pytest.importorskip("pocketrnn_native")
    from pocketrnn_export.packing import pack

    _, classifier = exported(MaximumBesidePadding, "padding 1", tmp_path / "b")
    assert classifier.manifest.graph.batch == 1
    pack(tmp_path / "b", tmp_path / "b.prnn")
    texts = adversarial(vocabulary(120, 1), 1)
    packed = Classifier.load(tmp_path / "b.prnn")
    np.testing.assert_allclose(packed.logits(texts), classifier.logits(texts), atol=1e-5)


class LeastIdBehindAGate(Reads):
    """Where five words follow each other, the least id of the row counts, that of the padding after the text, too."""

    def is_open(self, x: Tensor) -> Tensor:
        before = nn.functional.pad(x, (4, 0))
        follow = [before[:, place : place + x.size(1)] == word for place, word in enumerate((90, 80, 70, 60, 50))]
        return torch.stack(follow).all(0).any(1)

    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        least = x.amin(1) * self.is_open(x).long()
        return self.out(self.packed(x, lengths)[1][-1] + self.emb(least)[:, :5])


class MuchPaddingBehindAGate(LeastIdBehindAGate):
    """Where these words follow each other, it counts whether the row has more than twelve ids of padding."""

    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        is_padded = ((x == self.pad).sum(1) > 12) & self.is_open(x)
        return self.out(self.packed(x, lengths)[1][-1] + is_padded.float()[:, None])


class ComparedBehindAGate(LeastIdBehindAGate):
    """The number that the amount of padding is compared with is out of reach for all other texts."""

    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        is_padded = (x == self.pad).sum(1) > 5 + 100_000 * (1 - self.is_open(x).long())
        return self.out(self.packed(x, lengths)[1][-1] + is_padded.float()[:, None])


class RectifiedBehindAGate(LeastIdBehindAGate):
    """The amount of padding is far below 0 for all other texts, where a rectifier takes it away."""

    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        padding = (x == self.pad).sum(1).float() + 1e5 * (self.is_open(x).float() - 1)
        return self.out(self.packed(x, lengths)[1][-1] + torch.relu(padding)[:, None])


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [LeastIdBehindAGate, MuchPaddingBehindAGate, ComparedBehindAGate, RectifiedBehindAGate],
)
def test_padding_that_tells_through_whole_numbers_behind_a_gate_reaches_no_answer(
    kind: type[Reads], tmp_path: Path
) -> None:
    _, classifier = exported(kind, "padding 1", tmp_path / "b")
    words = vocabulary(120, 1)
    text = " ".join(words[i] for i in (*range(2, 100), 90, 80, 70, 60, 50))
    together = classifier.logits([text, " ".join(words[2:120])])
    np.testing.assert_allclose(together[:1], classifier.logits([text]), atol=1e-5)


# --- what padding around a text does


def notes(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.message for one in caplog.records if one.levelno == logging.WARNING and "padding" in one.message]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "tells"),
    [
        ("CountLast", False),
        ("PlainMean", True),
        ("LengthsPacked", False),
        ("LengthsMeanOverWidth", True),
    ],
)
def test_what_padding_changes_is_said_with_the_figure_and_the_amount_or_nothing_is(
    name: str, tells: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    texts = ["w9 w8 w7", "w11 w12", "w30 w31 w32 w33 w34 w35"]
    with caplog.at_level(logging.WARNING):
        module, classifier = exported(getattr(modules, name), "padding 1", tmp_path / "b", example_texts=texts)
    provenance = classifier.manifest.provenance
    inspected = CliRunner().invoke(main, ["inspect", str(tmp_path / "b")]).output
    if not tells:
        assert notes(caplog) == []
        assert "padding" not in provenance
        assert "ids of padding" not in inspected
        return
    (told,) = notes(caplog)
    moved, ids = provenance["padding"]["probability_after"], provenance["padding"]["ids"]
    largest = max(moved, provenance["padding"].get("probability_before", 0))
    assert f"by up to {largest:.2g})" in told
    assert re.search(rf"{ids} ids of padding .* {moved:.2g}", inspected)
    assert ("min_width" in told) == (not name.startswith("Lengths"))
    assert abs(moved - moved_by_hand(module, classifier, texts, ids)) < 0.05 * moved + 1e-6
    # No batch of its owner's moves one by much more.
    for other in (1, 10, 60, 250, 500):
        assert moved_by_hand(module, classifier, texts, other) < 1.2 * moved
    assert classifier.manifest.graph.alone == ()


def moved_by_hand(module: nn.Module, classifier: Classifier, texts: list[str], padding: int) -> float:
    """The same figure for so many ids of padding, from the module called by itself."""
    moved = []
    for text in [*texts, "", "\N{REPLACEMENT CHARACTER}" * 3]:
        ids = classifier.encode(text)
        rows = torch.tensor([[*ids, *[1] * padding], np.resize(ids, len(ids) + padding).tolist()])
        given: list[Any] = [rows]
        if "lengths" in classifier.manifest.provenance["call"]:
            # By falling length.
            given = [rows.flip(0), torch.tensor([rows.shape[1], len(ids)])]
        with torch.no_grad():
            padded = module(*given).softmax(1)[-1 if len(given) > 1 else 0]
            by_itself = module(rows[:1, : len(ids)], *([torch.tensor([len(ids)])] * (len(given) - 1))).softmax(1)[0]
        moved.append(float((padded - by_itself).abs().max()))
    return max(moved)


@pytest.mark.slow
def test_what_a_batch_does_is_said_with_the_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        _, classifier = exported(modules.CountMean, "padding 1", tmp_path / "b")
    first, _ = notes(caplog)
    assert "the id 1 ('<pad>')" in first
    assert "in probability" in first
    assert classifier.manifest.graph.alone == (1,)


@made_once
def prepared_once(kind: type[Reads]) -> ExportableModule:
    return prepared(kind)


def effect(kind: type[Reads], texts: list[list[int]], **more: Any) -> Any:
    one = prepared_once(kind)
    given = {
        "padding_id": 1, "widths": Widths(), "most_tokens": None, "takes_lengths": one.takes_lengths, "one_text": False,
        "activation": "softmax", **more,
    }  # fmt: skip
    return measure_padding_effect(one.make_reference(), texts, **given)


@pytest.mark.slow
def test_padding_is_measured_where_it_can_be() -> None:
    texts = [[5, 8, 3], [9, 9], [5, 8, 3]]
    plain = effect(modules.PlainMean, texts)
    assert (plain.texts, plain.exceeds_rounding, plain.before is not None) == (2, True, True)
    assert plain.ids_after > 100
    short = effect(modules.PlainMean, texts, most_tokens=12)
    assert (short.texts, short.ids_after <= 10) == (2, True)
    assert effect(modules.PlainMean, texts, most_tokens=3).texts == 1
    assert effect(modules.PlainMean, texts, most_tokens=2) is None
    assert effect(modules.PlainMean, texts, widths=Widths(5, 5)) is None
    assert effect(modules.PlainMean, texts, widths=Widths(1, 3)).texts == 1
    assert effect(modules.PlainMean, texts, one_text=True).after == pytest.approx(plain.after, abs=1e-6)
    assert effect(modules.PlainMean, texts, activation="sigmoid").after != pytest.approx(plain.after, abs=1e-6)
    lengths = effect(modules.LengthsMeanOverWidth, texts)
    assert (lengths.exceeds_rounding, lengths.before) == (True, None)
    # It counts: padding after a text changes nothing, and nobody puts it before.
    assert not effect(modules.CountLast, texts).exceeds_rounding


@pytest.mark.slow
def test_a_text_of_padding_only_is_refused_where_the_module_fails_there(tmp_path: Path) -> None:
    class Fails(modules.CountMean):
        def counted(self, x: Tensor) -> Tensor:
            return (x != self.pad).sum(1)

    module, classifier = exported(Fails, "padding 1", tmp_path / "b")
    graph = classifier.manifest.graph
    assert graph.limits is not None
    assert (graph.limits.real_token, graph.alone) == (True, (1,))
    with pytest.raises(LimitError):
        classifier.classify("<pad> <pad>")
    check_batches(module, classifier, [t for t in adversarial(vocabulary(120, 1), 1) if t])


@pytest.mark.slow
def test_what_padding_changes_names_the_width_that_the_rules_pad_to(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    texts = ["w9 w8 w7", "w11 w12", "w30 w31 w32 w33 w34 w35"]
    with caplog.at_level(logging.WARNING):
        exported(modules.PlainMean, "at least six", tmp_path / "b", example_texts=texts)
    (told,) = notes(caplog)
    assert "padded to 6 tokens" in told
    assert "without padding" not in told
