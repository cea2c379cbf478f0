"""One input of forward is the lengths, and one the mask; any other is refused by name, unless no value changes the
answer."""

from __future__ import annotations

from typing import Any

import input_modules as zoo
import pytest
import rare_word_modules as rare
import torch
from hypothesis import given
from hypothesis import strategies as st
from slow_case_sampling import mostly_slow
from torch import Tensor, nn

from pocketrnn.errors import ExportError
from pocketrnn_export.intake.call_discovery.parameter_roles import find_role, split_name
from pocketrnn_export.intake.module_copy_with_call_and_logits import ExportableModule, prepare_module

# The input that is named, and what it is said to be.
REFUSED = {
    zoo.User: ("user", "id of a user"),
    zoo.OneTextDomain: ("domain", ""),
    zoo.TwoTexts: ("hypothesis", "two texts"),
    zoo.Types: ("token_type_ids", "each token"),
    zoo.Temperature: ("temperature", ""),
    zoo.UserFirst: ("user", ""),
    zoo.UserByKeyword: ("user", ""),
    zoo.UserInADict: ("user", ""),
    zoo.UserInFields: ("user", ""),
    zoo.UserInATuple: ("user", ""),
    zoo.UserInArguments: ("args[2]", ""),
    zoo.UserInKeywords: ("user", ""),
    zoo.OneTextWeight: ("weight", ""),
    zoo.TwoTextsWithLengths: ("d", "two texts"),
    zoo.TwoTextsInADict: ("hypothesis", "two texts"),
    zoo.Aspect: ("aspect", "two texts"),
    zoo.AspectMask: ("aspect_mask", "each token"),
    zoo.Tags: ("pos", "each token"),
    zoo.Times: ("time", "each token"),
    zoo.Characters: ("char_ids", "each word"),
    zoo.Features: ("features", ""),
    zoo.DomainFive: ("domain", ""),
    zoo.Task: ("task", ""),
    zoo.Valence: ("valence", ""),
    zoo.UserState: ("user_state", ""),
    zoo.Context: ("context", "state"),
    zoo.LabelsEachWord: ("labels each word", ""),
    zoo.LabelsEachWordFlat: ("labels each word", ""),
    zoo.Numbers: ("takes numbers", "not ids"),
    zoo.Heads: ("several heads", "['mood']"),
    zoo.StateLeftOut: ("2 ways", "init_hidden"),
    zoo.CountsWords: ('"module(tokens, lengths)"', '"module(tokens)"'),
    zoo.CountsByAnId: ('"module(tokens, lengths)"', '"module(tokens)"'),
    zoo.Documents: ("several rows of ids", "document of sentences"),
    zoo.DocumentsInALoop: ("several rows of ids", ""),
    zoo.SentencesFirst: ("several rows of ids", ""),
    zoo.PairInOneTensor: ("several rows of ids", "pair of texts"),
    zoo.WordsOfCharacters: ("several rows of ids", ""),
}
REAL = "torch.arange(tokens.size(1)) < lengths[:, None]"
FOUND = {
    zoo.LengthsInArguments: "module(tokens, lengths)",
    zoo.UnusedUser: "module(tokens, lengths, None)",
    zoo.LengthsInFurtherArguments: "module(tokens, lengths)",
    zoo.LengthsInKeywords: "module(input_ids=tokens, lengths=lengths)",
    zoo.LengthsByAnotherName: "module(tokens, lengths)",
    zoo.LabelsInADict: "module({'text': tokens, 'lengths': lengths, "
    "'label': torch.zeros(tokens.size(0), dtype=torch.long)})[1]",
    zoo.LabelsInATuple: "module((tokens, lengths, None))",
    zoo.LengthsAndMask: f"module(tokens, lengths, {REAL})",
    zoo.OneTextLength: "module(tokens, lengths)",
    zoo.CountsFullRows: "module(tokens, lengths)",
}
TOLD = {
    zoo.UserLeftOut: "user (None)",
    zoo.TemperatureLeftOut: "temperature (1.0)",
    zoo.StateFromOutside: "hidden is given None",
    zoo.MaskByGet: "attention_mask (None)",
    zoo.MoreIfGiven: "*rest (nothing)",
    zoo.KeyByIn: "user (None)",
    zoo.UserByIn: "user (None)",
    zoo.UserByPop: "user (None)",
    zoo.UserInAnInnerFunction: "user (None)",
    zoo.UserUnderTry: "user (None)",
    zoo.KeywordsOneByOne: "**kw (nothing)",
    zoo.KeywordsHandedOn: "scale (None), **kw (nothing)",
    zoo.TextByGet: "scale (None)",
    zoo.MoreUnderTry: "*rest (nothing)",
    zoo.MoreHandedOn: "*rest (nothing)",
    zoo.TextInArguments: "more of *inputs (nothing)",
    zoo.KeyElse: "vectors (None)",
    zoo.KeysOneByOne: "further keys (nothing)",
    zoo.KeysOfADefault: "extras ({})",
    zoo.CharactersOfAText: "text_len is given the number of tokens",
}


def prepared(kind: type[nn.Module], **options: Any) -> ExportableModule:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = kind().eval()
    known = {"lengths": None, "ids": zoo.WORDS, "padding_id": 1, "classes": zoo.CLASSES, "multi_label": False}
    return prepare_module(module, **{**known, **options})


@pytest.mark.parametrize("kind", mostly_slow(list(REFUSED), 40, first=8), ids=lambda kind: kind.__name__)
def test_an_input_that_a_text_does_not_give_is_refused_by_name(kind: type[nn.Module]) -> None:
    with pytest.raises(ExportError) as refusal:
        prepared(kind)
    name, what = REFUSED[kind]
    assert name in refusal.value.problem
    assert what in refusal.value.problem
    assert "call=" in str(refusal.value.remedy)


def test_a_document_of_one_sentence_is_what_its_owner_says() -> None:
    with pytest.raises(ExportError) as refusal:
        prepared(zoo.Documents)
    line = "module(tokens.unsqueeze(1))"
    assert f'--call "{line}"' in refusal.value.remedy
    assert prepared(zoo.Documents, call=line).convention.line == line


@pytest.mark.parametrize("kind", mostly_slow(list(FOUND), 10, first=8), ids=lambda kind: kind.__name__)
def test_what_each_input_is_given_is_found_out(kind: type[nn.Module]) -> None:
    assert prepared(kind).convention.line == FOUND[kind]


@pytest.mark.parametrize("kind", mostly_slow(list(TOLD), 20, first=10), ids=lambda kind: kind.__name__)
def test_what_is_assumed_of_an_input_is_told_and_kept(kind: type[nn.Module], caplog: pytest.LogCaptureFixture) -> None:
    found = prepared(kind).convention
    assert TOLD[kind] in found.provenance["assumed"]
    assert any(TOLD[kind] in record.message for record in caplog.records if record.levelname == "WARNING")


@pytest.mark.parametrize(
    "kind", mostly_slow([zoo.UnreadFurther, zoo.FirstOfArguments, zoo.LengthsInFurtherArguments], 3)
)
def test_further_arguments_that_are_not_read_are_not_told(kind: type[nn.Module]) -> None:
    assert prepared(kind).convention.notes == ()


def rare_prepared(kind: type[rare.Base]) -> ExportableModule:
    return prepared(kind, ids=rare.WORDS, classes=rare.CLASSES)


@pytest.mark.parametrize("kind", mostly_slow(list(rare.READ), 6), ids=lambda kind: kind.__name__)
def test_an_input_that_only_rare_texts_read_is_refused_by_name(kind: type[nn.Module]) -> None:
    with pytest.raises(ExportError, match=rare.READ[kind]) as refusal:
        rare_prepared(kind)
    assert "call=" in str(refusal.value.remedy)


@pytest.mark.parametrize("kind", mostly_slow(list(rare.LEFT_OUT), 4), ids=lambda kind: kind.__name__)
def test_what_is_left_out_and_only_rare_texts_read_is_told(kind: type[nn.Module]) -> None:
    assert rare.LEFT_OUT[kind] in rare_prepared(kind).convention.provenance["assumed"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", mostly_slow([rare.MaskThatChangesNothing, rare.UnreadKinds, rare.OneAnswerTwice], 3))
def test_what_changes_no_answer_to_any_text_is_not_told(kind: type[nn.Module]) -> None:
    assert rare_prepared(kind).convention.notes == ()


@pytest.mark.parametrize("kind", mostly_slow(rare.TWO, 4), ids=lambda kind: kind.__name__)
def test_two_outputs_that_only_rare_texts_part_are_not_taken_for_one(kind: type[nn.Module]) -> None:
    with pytest.raises(ExportError, match="several heads") as refusal:
        rare_prepared(kind)
    call = str(refusal.value.remedy).partition('--call "')[2].partition('"')[0]
    assert prepared(kind, ids=rare.WORDS, classes=rare.CLASSES, call=call).convention.line == call


class OwnMaskByDefault(nn.Module):
    """A mask of the ids where no mask is given, as many models of transformers' shape have it."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.rnn = nn.Embedding(zoo.WORDS, 4), nn.GRU(4, 4, batch_first=True)
        self.score, self.fc = nn.Linear(4, 1), nn.Linear(4, zoo.CLASSES)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        mask = input_ids != 0 if attention_mask is None else attention_mask
        steps = self.rnn(self.embedding(input_ids))[0]
        weights = self.score(steps).squeeze(-1).masked_fill(mask == 0, -1e9).softmax(1)
        return self.fc((steps * weights.unsqueeze(-1)).sum(1))  # type: ignore[no-any-return]


@pytest.mark.slow
def test_a_mask_that_keeps_its_default_is_told_with_a_line_that_gives_one() -> None:
    note = next(note for note in prepared(OwnMaskByDefault).convention.notes if "attention_mask" in note)
    call = note.partition('as in "')[2].partition('"')[0]
    assert prepared(OwnMaskByDefault, call=call).convention.line == call


@pytest.mark.slow
@pytest.mark.parametrize("kind", mostly_slow([zoo.CountsWords, zoo.CountsByAnId], 2))
def test_lengths_that_are_counted_if_none_are_given_are_asked_about(kind: type[nn.Module]) -> None:
    with pytest.raises(ExportError) as refusal:
        prepared(kind)
    for line in ("module(tokens, lengths)", "module(tokens)"):
        assert f'--call "{line}"' in refusal.value.remedy
        assert prepared(kind, call=line).convention.line == line


@pytest.mark.parametrize(
    ("kind", "said"),
    [(zoo.CharactersOfAText, "text_len is given"), pytest.param(zoo.CountsFullRows, "", marks=pytest.mark.slow)],
    ids=["other", "lengths"],
)
def test_what_is_only_called_a_length_is_told(kind: type[nn.Module], said: str) -> None:
    notes = " ".join(prepared(kind).convention.notes)
    assert said in notes if said else not notes


def test_an_input_is_what_its_owner_says() -> None:
    call = "module(tokens, lengths, torch.full((tokens.size(0),), 3))"
    assert prepared(zoo.User, call=call).convention.line == call


def test_a_name_is_believed_where_all_its_words_say_the_same() -> None:
    lengths = ["lengths", "x_len", "textLengths", "seq_lens", "lens", "input_length", "seqlens"]
    masks = ["mask", "attention_mask", "padding_mask", "src_key_padding_mask", "x_mask"]
    states = ["hidden", "h0", "h_0", "hx", "state", "prev_hidden", "init_state", "c_0", "cell"]
    sizes = ["batch_size", "batchsize", "n_batch", "bsz"]
    others = [
        "aspect_len",
        "valence",
        "aspect_mask",
        "user_state",
        "token_type_ids",
        "statement",
        "chidden",
        "us_state",
        "chars_batch",
    ]
    assert {find_role(name) for name in lengths} == {"lengths"}
    assert {find_role(name) for name in masks} == {"mask"}
    assert {find_role(name) for name in states} == {"state"}
    assert {find_role(name) for name in sizes} == {"batch size"}
    assert {find_role(name) for name in others} == {"other"}
    assert find_role("aspect_len", text_name="aspect") == "lengths"


@given(st.text(max_size=30))
def test_any_name_has_a_role(name: str) -> None:
    assert find_role(name) in {"lengths", "mask", "state", "batch size", "device", "training", "targets", "other"}
    assert all(word == word.lower() for word in split_name(name))
