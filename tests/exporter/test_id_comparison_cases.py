"""Texts of the ids that forward compares words with, and the values that no text of a proof changes."""

from __future__ import annotations

import itertools
import logging
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from pocketrnn.bundle import manifest as manifests
from pocketrnn.errors import BundleError, ExportError
from pocketrnn.text import TextRules
from pocketrnn_export import export
from pocketrnn_export.proof.case_selection import (
    ASKED_IDS,
    choose_cases_for_graph_of_bundle,
    read_compared_ids_of_provenance,
)
from pocketrnn_export.proof.ids_that_cases_must_contain import (
    find_ids_that_program_compares_words_with,
    make_cases_with_compared_ids,
    write_phrases_into_rows,
)
from pocketrnn_export.proof.notes_on_values_equal_for_all_texts import find_constant_values
from pocketrnn_export.proof.right_program_search import find_program_right_for_all_sizes

IDS = 40
WORDS = ["<unk>", "<pad>", *(f"w{i}" for i in range(2, IDS))]
LABELS = ["A", "B", "C"]


class Reads(nn.Module):
    """A GRU over words, and a linear layer over its last state."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(IDS, 8)
        self.rnn = nn.GRU(8, 8, batch_first=True)
        self.fc = nn.Linear(8, 3)

    def states(self, x: Tensor) -> Tensor:
        found: Tensor = self.rnn(self.embedding(x))[0]
        return found


def phrase_of(x: Tensor, words: tuple[int, ...]) -> Tensor:
    """Where a phrase ends, bool [batch, sequence]; the program compares with its last word first."""
    wide, steps = pad(x, (len(words) - 1, 0)), x.size(1)
    found = wide[:, len(words) - 1 :] == words[-1]
    for place, word in enumerate(words[:-1]):
        found = found & (wide[:, place : place + steps] == word)
    return found


class TiesBehindAPhrase(Reads):
    """The place of the largest of equal numbers counts where a phrase of four words stands."""

    def forward(self, x: Tensor) -> Tensor:
        place = (x % 5).topk(1, dim=1).indices.float()
        return self.fc(self.states(x)[:, -1] + place * phrase_of(x, (38, 37, 36, 35)).any(1, keepdim=True))


class PhraseInDisorder(Reads):
    """The program names five words in an order in which they do not stand in the phrase."""

    def forward(self, x: Tensor) -> Tensor:
        wide, steps = pad(x, (4, 0)), x.size(1)
        places = ((2, 30), (0, 31), (4, 32), (1, 33), (3, 34))
        found = torch.stack([wide[:, place : place + steps] == word for place, word in places]).all(0)
        last = self.states(x)[:, -1]
        return self.fc(torch.where(found.any(1, keepdim=True), 3 * last, last))


class OneOfMany(Reads):
    """Asks for a remainder that hardly a text has, and of two words whether they are there."""

    def forward(self, x: Tensor) -> Tensor:
        rare = ((31 * x).cumsum(1) % 100_003 == 777).any(1)
        has = torch.stack([(x == 5).any(1), rare, (x == 7).any(1)], 1)
        return self.fc(self.states(x)[:, -1] + has.float() @ torch.ones(3, 8))


class FromATable(Reads):
    """Two words have another row in a table; a buffer holds words, too."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("stops", torch.zeros(IDS).index_fill(0, torch.tensor([9, 21]), 1.0))
        self.register_buffer("names", torch.tensor([33, 12]))

    def forward(self, x: Tensor) -> Tensor:
        named = (x[:, :, None] == self.names).any(2)
        weights = (1 - self.stops[x]) * (1 + named.float())
        return self.fc((self.states(x) * weights[:, :, None]).mean(1))


class MaskedMean(Reads):
    """Ordinary code: the mean of the states of real words."""

    def forward(self, x: Tensor) -> Tensor:
        mask = (x != 1).unsqueeze(2).float()
        return self.fc((self.states(x) * mask).sum(1) / mask.sum(1).clamp(min=1e-9))


def program_of(kind: type[nn.Module]) -> torch.export.ExportedProgram:
    torch.manual_seed(0)
    return find_program_right_for_all_sizes(kind().eval(), (torch.zeros(3, 7, dtype=torch.int64),)).program


def exported(kind: type[nn.Module], path: Path, *texts: str) -> manifests.Manifest:
    torch.manual_seed(0)
    rules = TextRules("whitespace", padding_id=1, unknown_id=0, empty_id=0)
    return export(
        kind().eval(), path, labels=LABELS, vocabulary=WORDS, rules=rules, torchscript=False, example_texts=texts,
        progress=False,
    )  # fmt: skip


@pytest.mark.slow
def test_the_ids_of_comparisons_are_asked_in_the_order_of_the_program() -> None:
    assert find_ids_that_program_compares_words_with(program_of(PhraseInDisorder), IDS) == (30, 31, 32, 33, 34)
    assert find_ids_that_program_compares_words_with(program_of(OneOfMany), IDS) == (5, 7)


@pytest.mark.slow
def test_the_ids_of_buffers_and_those_with_another_row_than_most_are_asked() -> None:
    assert set(find_ids_that_program_compares_words_with(program_of(FromATable), IDS)) == {9, 12, 21, 33}


def test_texts_hold_the_asked_ids_in_every_order() -> None:
    cases = {case.name: case for case in make_cases_with_compared_ids([35, 36, 37, 38, 1], IDS, 1, ragged=True)}
    every = cases["asked ids in every order"].tokens
    found = {tuple(row[i : i + 4]) for row in every.tolist() for i in range(len(row) - 3)}
    assert found >= set(itertools.product((35, 36, 37, 38), repeat=4))
    assert cases["the asked ids"].tokens.tolist() == [[35, 36, 37, 38], [38, 37, 36, 35]]
    uneven = cases["the asked ids beside longer rows"]
    assert len(set(uneven.lengths.tolist())) > 3
    assert all((uneven.tokens[row, length:] == 1).all() for row, length in enumerate(uneven.lengths))
    assert make_cases_with_compared_ids([1], IDS, 1, ragged=True) == []


def test_drawn_texts_have_phrases_where_there_is_room() -> None:
    tokens = torch.zeros(4, 10, dtype=torch.int64)
    assert write_phrases_into_rows(tokens, (8, 9)).tolist()[1:3] == [[9, 8, 0, 0, 0, 8, 9, 0, 0, 0], [0] * 10]
    assert write_phrases_into_rows(tokens[:, :1], (8, 9)).tolist() == [[0]] * 4
    assert write_phrases_into_rows(tokens, ()) is tokens


@pytest.mark.slow
def test_an_order_of_equal_values_behind_a_phrase_is_refused() -> None:
    with pytest.raises(ExportError, match="topk"):
        program_of(TiesBehindAPhrase)


@pytest.mark.slow
def test_a_bundle_notes_the_asked_ids_and_its_forms_are_asked_about_them(tmp_path: Path) -> None:
    manifest = exported(FromATable, tmp_path / "bundle")
    assert set(manifest.provenance[ASKED_IDS]) == {9, 12, 21, 33}
    assert "asked ids" in {line.inputs for line in manifest.parity.comparisons}
    assert "not_compared" not in manifest.provenance
    drawn = choose_cases_for_graph_of_bundle(manifest.text.rules, manifest.graph, manifest.provenance)
    assert {9, 12, 21, 33} <= set(np.unique(drawn["asked ids"][0].tokens).tolist())


@pytest.mark.slow
def test_a_value_that_no_text_of_the_proof_changes_is_told_with_its_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        told = exported(PhraseInDisorder, tmp_path / "bundle").provenance["not_compared"]
    assert re.search(r"False for all .*test_id_comparison_cases\.py:\d+: `found = ", told)
    assert "example_texts" in caplog.text


@pytest.mark.slow
def test_a_given_text_that_changes_the_value_ends_the_note(tmp_path: Path) -> None:
    told = exported(PhraseInDisorder, tmp_path / "bundle", "w31 w33 w30 w34 w32", "w2")
    assert "not_compared" not in told.provenance


@pytest.mark.slow
def test_one_place_of_a_value_is_looked_at_by_itself() -> None:
    generator = torch.Generator().manual_seed(0)
    runs = [(torch.randint(2, IDS, (64, 5), generator=generator),)]
    found = find_constant_values(program_of(OneOfMany), runs)
    assert len(found) == 1
    assert "777" in (next(iter(found)).meta["stack_trace"])
    assert [*found.values()] == ["False"]


@pytest.mark.slow
def test_ordinary_code_has_no_value_that_stays_the_same() -> None:
    generator = torch.Generator().manual_seed(0)
    assert not find_constant_values(program_of(MaskedMean), [(torch.randint(0, IDS, (8, 9), generator=generator),)])


@pytest.mark.parametrize("stated", [{"3": 5}, [[1]], ["2"], [IDS], [-1], [True], [2] * 25, 7])
def test_asked_ids_that_no_export_writes_are_refused_in_a_sentence(stated: object) -> None:
    with pytest.raises(BundleError, match=ASKED_IDS):
        read_compared_ids_of_provenance({ASKED_IDS: stated}, IDS)
    assert read_compared_ids_of_provenance({}, IDS) == []
