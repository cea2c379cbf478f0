"""The text rules of a bundle, held against the owner's own pipeline; nothing is assumed in silence."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from torch import nn

from pocketrnn.bundle import manifest
from pocketrnn.commands.cli import main
from pocketrnn.errors import InputError
from pocketrnn.text import TextEncoder, TextRules, cleaning
from pocketrnn_export import export
from pocketrnn_export.bundle_export import _warn_of_extra_embedding_rows
from pocketrnn_export.vocabularies.owner_texts_and_answers import convert_example_pairs, list_texts_with_ids, read_pairs
from pocketrnn_export.vocabularies.rules_from_ids import find_rules_from_ids
from pocketrnn_export.vocabularies.text_rule_selection import choose_rules
from pocketrnn_export.vocabularies.text_rules_file import read_rules
from pocketrnn_export.vocabularies.vocabulary import read_vocabulary

KNOWN = read_vocabulary(["<unk>", "<pad>", "oil", "Oil", "rises", ",", ":", "is", "n't"])
MODEL = """
from torch import nn
class Net(nn.Module):
    def __init__(self, words=9):
        super().__init__()
        self.embedding = nn.Embedding(words, 4)
        self.gru = nn.GRU(4, 3, batch_first=True)
        self.fc = nn.Linear(3, 2)
    def forward(self, tokens):
        return self.fc(self.gru(self.embedding(tokens))[1][-1])
"""


def chosen(**given: Any) -> TextRules:
    return choose_rules(KNOWN, *[given.get(name) or default for name, default in
                                 (("rules", None), ("tokenizer", None), ("pairs", []), ("texts", []))])  # fmt: skip


def test_pairs_that_agree_are_taken() -> None:
    pairs = [("Oil rises, oil", [2, 4, 5, 2]), ("", []), ("x", [0]), (" ", [0])]
    assert chosen(pairs=pairs) == TextRules(padding_id=1)


@pytest.mark.parametrize(
    ("text", "ids", "said"),
    [
        ("Oil rises", [3, 4], "at index 0 your pipeline gives the id 3 ('Oil'), but the rules give the id 2 ('oil')"),
        ("oil rises", [2], "at index 1 your pipeline gives nothing more, but the rules give the id 4 ('rises')"),
        ("oil", [2, 4], "at index 1 your pipeline gives the id 4 ('rises'), but the rules give nothing more"),
        ("oil", [], "at index 0 your pipeline gives nothing more, but the rules give the id 2 ('oil')"),
        ("oil", [2, 1, 1], "your pipeline pads it to 3 ids at the end, but the rules do not"),
        ("oil", [1, 2], "your pipeline pads it to 2 ids at the beginning, but the rules do not"),
        ("oil", [99], "gives the id 99 (no token), but"),
        ("oil", [10**30], "gives the id an enormous number (no token), but"),
        ("", [2], "gives the id 2 ('oil'), but the rules give the id 0 ('<unk>')"),
    ],
)
def test_a_mismatch_shows_the_first_difference(text: str, ids: list[int], said: str) -> None:
    with pytest.raises(InputError, match="Text 2 ") as caught:
        chosen(pairs=[("oil", [2]), (text, ids)])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_mismatch_names_the_tokenizer_that_agrees() -> None:
    rules = """--rules '{"tokenizer": "whitespace", "lowercase": false}'"""
    with pytest.raises(InputError, match=f"lowercase=False .*all 2 texts: give {rules}"):
        chosen(pairs=[("Oil : rises", [3, 6, 4]), ("oil,", [0])])
    with pytest.raises(InputError, match=r"basic_english.*\b1 .*\b2\b"):
        chosen(pairs=[("oil, oil", [2, 5, 2]), ("oil", [8])])
    with pytest.raises(InputError, match=r"No rules.*docs/text-rules\.md.*tokenizer external\b"):
        chosen(pairs=[("oil", [8])])


WORDS = ("oil", "rises", "it's", "don't", "1984", "zest", "plot", "film")
TEXTS = ("", "!!", "Oil--rises!", "It's oil, don't", "(1984) zest; naïve", "plot/film “oil” e-mail", "oil rises " * 125)
LETTERS = (*"abcdefghijklmnopqrstuvwxyzOIPZD",)


def number(tokens: Sequence[str], known: Sequence[str], unknown: int, empty: int) -> list[int]:
    ids = {word: index for index, word in enumerate(known)}
    return [ids.get(token, unknown) for token in tokens][:200] or [empty]


@pytest.mark.parametrize(
    ("split", "known", "unknown", "empty", "option"),
    [
        pytest.param(lambda text: re.findall(r"[a-z0-9']+", text.lower()), ("[PAD]", "[UNK]", *WORDS), 1, 0,
                     {"tokenizer": "whitespace", "steps": [{"sub": ["[^a-z0-9']+", " "]}], "max_width": 200,
                      "empty_id": 0}, marks=pytest.mark.slow),
        pytest.param(lambda text: re.split(r"[^a-z0-9']+", text.lower()), ("[PAD]", "[UNK]", *WORDS), 1, 1,
                     {"tokenizer": "space", "steps": [{"sub": ["[^a-z0-9']+", " "]}], "max_width": 200},
                     marks=pytest.mark.slow),
        pytest.param(lambda text: re.findall(r"[\w']+", text), ("[PAD]", "[UNK]", "Oil", "It's", *WORDS), 1, 1,
                     {"tokenizer": "whitespace", "lowercase": False, "steps": [{"sub": ["[^\\w']+", " "]}],
                      "max_width": 200}, marks=pytest.mark.slow),
        (list, ("<pad>", *LETTERS), 0, 0,
         {"tokenizer": "characters", "lowercase": False, "unknown_id": 0, "max_width": 200}),
        pytest.param(str.split, ("<pad>", "<unk>", "Oil--rises!", *WORDS), 1, 0,
                     {"tokenizer": "whitespace", "lowercase": False, "max_width": 200, "empty_id": 0},
                     marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_a_mismatch_finds_the_members_that_the_ids_give_away(
    split: Callable[[str], list[str]], known: tuple[str, ...], unknown: int, empty: int, option: dict[str, Any]
) -> None:
    vocabulary = read_vocabulary([*known])
    pairs = [(text, number(split(text), known, unknown, empty)) for text in TEXTS]
    with pytest.raises(InputError) as caught:
        choose_rules(vocabulary, None, None, pairs, [])
    assert f"all {len(TEXTS)} texts" in caught.value.remedy
    written = shlex.split(caught.value.remedy.split("give --rules ")[1].removesuffix("."))[0]
    assert json.loads(written) == option
    assert choose_rules(vocabulary, read_rules(written, vocabulary), None, pairs, []).max_width == 200


def test_a_row_of_padding_only_shows_no_side_of_the_padding() -> None:
    pairs = [("oil rises", [2, 4, 1, 1]), ("", [1, 1, 1, 1]), ("rises oil oil oil oil", [4, 2, 2, 2])]
    found, agreed = find_rules_from_ids(TextRules(padding_id=1), KNOWN.tokens, pairs)
    assert (agreed, found.min_width, found.max_width, found.pad_side) == (3, 4, 4, "right")


def test_short_texts_are_padded_where_longer_ones_are_not_cut() -> None:
    texts = ["oil", "oil rises", "rises", "rises oil oil rises oil", "oil oil oil oil"]
    rows = [[KNOWN.tokens.index(word) for word in text.split()] for text in texts]
    pairs = [(text, row + [1] * (3 - len(row))) for text, row in zip(texts, rows, strict=True)]
    found, agreed = find_rules_from_ids(TextRules("whitespace", padding_id=1), KNOWN.tokens, pairs)
    assert agreed == 5
    assert (found.min_width, found.max_width, found.pad_side) == (3, None, "right")


def test_a_width_is_not_proposed_that_cuts_other_texts() -> None:
    pairs = [("oil rises oil", [2, 4, 2]), ("Oil rises", [2])]
    with pytest.raises(InputError) as caught:
        chosen(pairs=pairs)
    assert "max_width" not in caught.value.remedy


def test_a_mismatch_writes_the_nearest_rules_and_the_text_that_they_miss() -> None:
    pairs = [("Oil : rises", [3, 6, 4]), ("oil,", [0]), ("oil rises", [2, 4]), ("rises oil", [2])]
    given = TextRules("characters", padding_id=1)
    option = """--rules '{"tokenizer": "whitespace", "lowercase": false}'"""
    with pytest.raises(InputError) as caught:
        chosen(pairs=pairs, rules=given)
    message = str(caught.value)
    assert option in message
    assert "3 of 4" in message
    assert "'rises oil'" in message


@pytest.mark.slow
def test_where_few_texts_agree_the_owners_code_is_named_after_the_rules() -> None:
    # Its stemming is in no rules, and it reads three tokens.
    cut = [("oils rises rises rises", [2, 4, 4]), ("rise oils oil oil oil", [4, 2, 2]), ("rise", [4])]
    with pytest.raises(InputError) as caught:
        chosen(pairs=[*cut, ("oil", [2])])
    said = str(caught.value)
    assert said.index("on 1 of 4 texts") < said.index("re.sub") < said.index("--tokenizer external --max-tokens 3 (")
    padded = [(text, [3, *ids, *[1] * (3 - len(ids))]) for text, ids in cut]
    with pytest.raises(InputError) as caught:
        chosen(pairs=[*padded, ("oil", [3, 2, 1, 1])])
    options = re.findall(r"--rules '(\{.*?\})'", str(caught.value))
    assert json.loads(options[-1]) == {"tokenizer": "external", "first_id": 3, "max_width": 4, "min_width": 4}


def test_a_mismatch_names_the_three_shortest_texts_that_the_nearest_rules_miss() -> None:
    agreeing = [("oil : rises", [2, 6, 4]), ("oil", [2]), ("rises", [4]), ("oil rises oil", [2, 4, 2])]
    missed = [("oil rises rises oil", [2]), ("rises oil oil", [2]), ("oil oil", [2]), ("oil rises", [2])]
    with pytest.raises(InputError) as caught:
        chosen(pairs=[*missed, *agreeing])
    remedy = caught.value.remedy
    assert [remedy.count(f"{text!r}:") for text, _ in missed] == [0, 1, 1, 1]
    assert remedy.index("'oil oil':") < remedy.index("'oil rises':") < remedy.index("'rises oil oil':")


@pytest.mark.slow
def test_a_mismatch_does_not_repeat_the_owners_long_steps() -> None:
    steps = cleaning(("sub", r"\bnot\b", ""), ("sub", r"[^\w\s]+x?", ""))
    given = TextRules("characters", padding_id=1, steps=steps)
    pairs = [("Oil : rises", [3, 4]), ("oil not", [2]), ("oil", [2]), ("rises", [2])]
    with pytest.raises(InputError) as caught:
        chosen(pairs=pairs, rules=given)
    assert """with {"tokenizer": "whitespace", "lowercase": false}""" in str(caught.value)
    with pytest.raises(InputError) as agreeing:
        chosen(pairs=pairs[:3], rules=given)
    with pytest.raises(InputError) as nearest:
        chosen(pairs=pairs, rules=replace(given, tokenizer="whitespace", lowercase=False))
    assert str(nearest.value).count("'rises'") == 3
    assert max(len(str(error.value)) for error in (caught, agreeing, nearest)) < 800


def test_a_step_that_looks_like_a_regular_expression_is_named(caplog: pytest.LogCaptureFixture) -> None:
    for pattern in (r"https?://\S+", "<.*?>", "[^a-z]", "[A-Z]+"):
        caplog.clear()
        chosen(rules=TextRules("whitespace", padding_id=1, steps=cleaning((pattern, " "))), pairs=[("oil", [2])])
        assert pattern in caplog.text.replace("\\\\", "\\")
        assert '{"sub": [pattern, by]}' in caplog.text
        caplog.clear()
        steps = cleaning(("sub", pattern, " "))
        chosen(rules=TextRules("whitespace", padding_id=1, steps=steps), pairs=[("oil", [2])])
        assert "regular expression" not in caplog.text
    caplog.clear()
    for plain in ("<br />", "...", "(c)", "[URL]", "what?!", "C:\\", "a.k.a."):
        chosen(rules=TextRules("whitespace", padding_id=1, steps=cleaning((plain, " "))), pairs=[("oil", [2])])
    assert "regular expression" not in caplog.text


def test_long_steps_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    steps = cleaning(("sub", r"@\w+", ""), ("sub", r"#\w+x?", ""))
    chosen(rules=TextRules("whitespace", padding_id=1, steps=steps, stop_words=("oil",)), pairs=[])
    assert "2 steps" in caplog.text
    assert len(caplog.text) < 400


@pytest.mark.parametrize("tokenizer", ["whitespace", "external"])
def test_rules_with_another_unknown_word_than_the_vocabulary_names_are_noted(
    tokenizer: str, caplog: pytest.LogCaptureFixture
) -> None:
    chosen(rules=TextRules(tokenizer, unknown_id=1, padding_id=1))
    assert "unknown_id=0" in caplog.text
    caplog.clear()
    chosen(rules=TextRules(tokenizer, unknown_id=0, padding_id=1))
    assert "unknown_id" not in caplog.text


@pytest.mark.slow
def test_ids_of_another_vocabulary_are_told_from_other_rules() -> None:
    # Each word has one id more, as behind one more special token.
    pairs = [("oil rises, oil", [3, 5, 6, 3]), ("film", [1])]
    with pytest.raises(InputError, match=r"\b2 \('oil'\).*vocabulary"):
        chosen(pairs=pairs)
    # A word with two ids is no matter of the vocabulary, and neither is another number of ids.
    for other in ([8, 1], [5, 1, 1]):
        with pytest.raises(InputError) as caught:
            chosen(pairs=[*pairs, ("rises film", other)])
        assert "another vocabulary" not in str(caught.value)


OWN = TextRules(
    "space", unknown_id=None, steps=cleaning("letters"), stop_words=(), padding_id=1, first_id=3, last_id=8,
    min_width=9, max_width=9, pad_side="left", cut_side="left",
)  # fmt: skip


@pytest.mark.parametrize(
    "own",
    [
        pytest.param(OWN, marks=pytest.mark.slow),
        TextRules("whitespace", padding_id=1, steps=cleaning("remove_punctuation"), first_id=7),
        TextRules("whitespace", padding_id=1, max_width=3, cut_side="left", lowercase=False),
        pytest.param(TextRules("characters", padding_id=1, min_width=7, max_width=7), marks=pytest.mark.slow),
    ],
    ids=["keras", "first", "cut", "padded"],
)
def test_a_mismatch_names_the_rules_that_agree_and_they_are_taken(own: TextRules) -> None:
    own = replace(own, unknown_id=0)
    encoder = TextEncoder(own, KNOWN.tokens)
    texts = [
        "Oil rises, oil",
        "oil  is:rises",
        "is",
        "rises rises is, Oil n't; oil oil",
        "oil Oil: is is is is",
        "is,is",
    ]
    pairs = [(text, encoder.encode(text)) for text in texts]
    with pytest.raises(InputError, match=r"\b6 .*--rules ") as caught:
        chosen(pairs=pairs)
    given = shlex.split(str(caught.value).partition("--rules ")[2].strip().removesuffix("."))[0]
    found = read_rules(given, KNOWN)
    assert chosen(rules=found, pairs=pairs) == found
    assert replace(found, steps=()) == replace(own, steps=())


def test_a_refusal_of_pairs_writes_two_steps_where_the_pipeline_does_both() -> None:
    def ids_of(text: str) -> list[int]:
        words = re.sub("[^a-zA-Z]", " ", re.sub("<.*?>", " ", text)).lower().split()
        return [KNOWN.tokens.index(word) if word in KNOWN.tokens else 0 for word in words]

    texts = ["<b>oil</b>,rises", "oil<br />rises 9", "is: <a href='oil'>is</a>", "oil is", "is<is>is<rises", "oil-9"]
    with pytest.raises(InputError, match="6 texts") as caught:
        chosen(pairs=[(text, ids_of(text)) for text in texts])
    assert """'{"tokenizer": "whitespace", "steps": ["html_tags_to_space", "letters"]}'""" in str(caught.value)


@pytest.mark.slow
def test_a_tokenizer_that_cleans_is_told_from_others_by_made_texts() -> None:
    def letters(text: str) -> list[str]:
        return re.sub("[^a-zA-Z]", " ", text).lower().split()

    # Its source, which an exec without a file does not have, is not needed for that.
    scope: dict[str, Any] = {"re": re}
    exec("def letters(text): return re.sub('[^a-zA-Z]', ' ', text).lower().split()", scope)  # noqa: S102 - our own text
    for function in (letters, scope["letters"]):
        rules = chosen(tokenizer=function, texts=["oil,rises", "oil-is"])
        assert TextEncoder(rules, KNOWN.tokens).tokens("Oil-9 is<b>") == ["oil", "is", "b"]


@pytest.mark.parametrize(
    ("tokenizer", "expected"),
    [
        (str.split, ("whitespace", False)),
        (lambda text: text.lower().split(), ("whitespace", True)),
        pytest.param(list, ("characters", False), marks=pytest.mark.slow),
    ],
)
def test_a_tokenizer_of_the_owners_picks_the_rules_that_agree(
    tokenizer: Callable[[str], Sequence[str]], expected: tuple[str, bool], caplog: pytest.LogCaptureFixture
) -> None:
    known = read_vocabulary([*KNOWN.tokens, "O", "o", "i", "l"])
    rules = choose_rules(known, None, tokenizer, [], ["Oil rises, oil", "oil is x.y"])
    assert (rules.tokenizer, rules.lowercase) == expected
    assert "rules and your tokenizer split" in caplog.text


def test_a_tokenizer_that_no_rules_follow_is_refused_with_the_difference() -> None:
    def contractions(text: str) -> list[str]:
        return re.findall(r"n't|is|\w+|[^\w\s]", text.lower())

    with pytest.raises(InputError, match=r"index 1 .*'rises'.*whitespace.*'rises,'"):
        chosen(tokenizer=contractions, texts=["oil rises, oil", "x"], rules=TextRules("whitespace"))
    with pytest.raises(InputError, match=r"index 1 .*':'.*basic_english"):
        chosen(tokenizer=contractions, texts=["oil rises, oil", "x:"], rules=TextRules())
    with pytest.raises(InputError, match=r"'oil:'.*whitespace"):
        chosen(tokenizer=contractions, texts=["oil", "oil:"], rules=TextRules("whitespace"))


def test_a_tokenizer_is_compared_on_the_words_of_the_vocabulary_too() -> None:
    known = read_vocabulary(["<unk>", "<pad>", "oil", "don't"])
    rules = TextRules("whitespace", steps=cleaning(("sub", r"\b\w\b", "")))
    with pytest.raises(InputError, match=r"don't"):
        choose_rules(known, rules, lambda text: text.lower().split(), [], ["oil", "Oil oil"])
    assert choose_rules(known, rules, lambda text: re.sub(r"\b\w\b", "", text.lower()).split(), [], ["oil"]) == rules


def test_a_difference_between_unknown_words_is_none() -> None:
    known = read_vocabulary(["<unk>", "OIL"])
    own = TextRules("whitespace", lowercase=False, steps=cleaning(("sub", "x", "Y")))
    assert choose_rules(known, own, lambda text: text.replace("x", "z").split(), [], ["fox"]) == own


@pytest.mark.parametrize(
    ("tokenizer", "said"),
    [
        (lambda _: 1 / 0, "ZeroDivisionError on"),
        (lambda _: None, "returns None for 'oil'"),
        (lambda _: [2.5, 4], "token 2.5 for 'oil'"),
    ],
)
def test_a_tokenizer_that_fails_is_said_so(tokenizer: Any, said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        chosen(tokenizer=tokenizer, texts=["oil"])
    with pytest.raises(InputError, match=re.escape(said)):
        chosen(tokenizer=tokenizer)


def test_words_that_no_text_can_give_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    chosen()
    assert "2 words of the vocabulary" not in caplog.text
    assert re.search(r"\(basic_english\) find 3 words of the vocabulary.*: 'Oil', ':', \"n't\"\.", caplog.text)
    caplog.clear()
    known = read_vocabulary({"<PAD>": 1, "[UNK]": 2, "new york": 3, "new": 5, "york": 6})
    choose_rules(known, TextRules("whitespace", ngrams=2, unknown_id=2, padding_id=1), None, [], [])
    assert "of the vocabulary" not in caplog.text


@pytest.mark.parametrize(
    ("word", "steps"),
    [
        ("i\u0307kincisi", (("sub", "[^A-Za-z\u0130\xe7\u015f ]", ""), "lowercase")),
        ("oil", (("sub", "[^A-Z ]", ""), "lowercase")),
        ("\u03bf\u03b4\u03bf\u03c2", (("sub", "[^\u0391-\u03a9 ]", ""), "lowercase")),
    ],
)
def test_words_that_another_spelling_gives_are_not_counted(
    word: str, steps: Any, caplog: pytest.LogCaptureFixture
) -> None:
    rules = TextRules("whitespace", lowercase=False, steps=cleaning(*steps))
    assert word not in TextEncoder(rules, ["<unk>", word]).tokens(word)
    choose_rules(read_vocabulary(["<unk>", word]), rules, None, [], [])
    assert "of the vocabulary" not in caplog.text
    choose_rules(read_vocabulary(["<unk>", "42"]), rules, None, [], [])
    assert re.search("1 word of the vocabulary.*'42'", caplog.text)


def test_rules_that_are_assumed_are_said(caplog: pytest.LogCaptureFixture) -> None:
    chosen()
    assert "basic_english is used" in caplog.text
    assert re.search(r"id 0 \('<unk>'\); .*id 1 \('<pad>'\)", caplog.text)
    caplog.clear()
    chosen(tokenizer="basic_english")
    chosen(rules=TextRules())
    assert "No tokenizer is named" not in caplog.text


@pytest.mark.parametrize(
    "ids", [[2, 4], (2, 4), np.array([2, 4]), torch.tensor([2, 4]), [np.int64(2), torch.tensor(4)]]
)
def test_ids_are_taken_as_a_list_an_array_or_a_tensor(ids: Any) -> None:
    assert list_texts_with_ids(convert_example_pairs([("oil rises", ids)])) == [("oil rises", [2, 4])]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["oil"], "item 0 is 'oil'"),
        ([("oil", [1]), ("oil",)], "item 1 is a tuple"),
        ([([1], "oil")], "has a list"),
        ([("oil", "12")], "'12' as its ids"),
        ([("oil", [1.5])], "has the id 1.5"),
        ([("oil", [True])], "the id True"),
        ([("oil", [-1])], "has the id -1"),
        ([("oil", [[1]])], "id a list"),
        ([("oil", torch.tensor([[1]]))], "id a list"),
        ([("oil", torch.tensor(3))], "3 as its ids"),
        (3, "of type int"),
    ],
)
def test_pairs_that_are_none_are_refused(given: Any, said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        convert_example_pairs(given)


def test_a_file_of_pairs_holds_one_a_line(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text(
        '{"text": "oil", "ids": [2], "label": 3}\r\n["rises", [4]]\n', encoding="utf-8-sig"
    )
    assert list_texts_with_ids(read_pairs(tmp_path / "p.jsonl")) == [("oil", [2]), ("rises", [4])]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "line 2 is not valid JSON"),
        ("{", "line 2 is not valid JSON"),
        ('{"text": "a", "text": "b", "ids": []}', "line 2 has the name 'text' twice"),
        ('{"text": "a"}', "line 2 has a text, but needs its ids"),
        ('{"ids": [1]}', "line 2 has None as its text"),
        ("3", "line 2 is 3, but must be a text with its ids"),
        ("[1, 2, 3]", "line 2 has 1 as its text"),
        ('["a", [1], "x", 4]', "line 2 is a list, but must be a text with its ids"),
        ('["a", [1, null]]', "line 2 has the id None"),
        ('["a", [1e-3]]', "line 2 has the id 0.001"),
        ('["a", [NaN]]', "line 2 is not valid JSON"),
        ('["a", [1' + "0" * 5000 + "]]", "line 2 is not valid JSON"),
        ("[" * 100_000, "line 2 is not valid JSON"),
    ],
)
def test_a_hostile_line_of_pairs_is_refused_by_its_number(line: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text(f'["oil", [2]]\n{line}\n')
    with pytest.raises(InputError) as caught:
        read_pairs(tmp_path / "p.jsonl")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def run(folder: Path, *more: str) -> Result:
    arguments = ["export", f"{folder}/net.py:Net", "--vocabulary", f"{folder}/v.json", "--labels", "no,yes"]
    return CliRunner().invoke(main, [*arguments, "--no-torchscript", "-o", f"{folder}/b", *more])


def test_other_ids_are_refused_before_the_module_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("raise RuntimeError('loaded')\nclass Net:\n    def forward(self): pass\n")
    (tmp_path / "v.json").write_text(json.dumps(KNOWN.tokens))
    (tmp_path / "p.jsonl").write_text('["Oil rises", [3, 4]]\n')
    result = run(tmp_path, "--random-weights", "--pairs", str(tmp_path / "p.jsonl"))
    assert result.exit_code == 2
    assert "'Oil rises': at index 0" in result.stderr
    assert "PyTorch" not in result.stderr
    (tmp_path / "p.jsonl").write_text('["Oil rises", [2, 4]]\n')
    assert "loaded" in run(tmp_path, "--random-weights", "--pairs", str(tmp_path / "p.jsonl")).stderr


# In the fast suite, what is compared is tested from Python, and `--rules` in test_text_rules_end_to_end.py.
@pytest.mark.slow
def test_the_command_line_says_what_it_assumes_and_refuses_what_differs(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(MODEL)
    (tmp_path / "v.json").write_text(json.dumps(KNOWN.tokens))
    pairs = tmp_path / "p.jsonl"
    result = run(tmp_path)
    assert result.exit_code == 2
    assert "net.py:Net has random weights" in result.stderr
    assert re.search("--weights FILE, .*--random-weights", result.stderr)
    pairs.write_text('["Oil rises", [3, 4]]\n')
    result = run(tmp_path, "--random-weights", "--pairs", str(pairs))
    assert result.exit_code == 2
    assert re.search(r"index 0 .*pipeline .*\b3 \('Oil'\), .*rules .*\b2 \('oil'\)", result.stderr)
    assert "Tracing" not in result.stderr
    pairs.write_text('["Oil rises", [2, 4]]\n["rises", [4]]')
    result = run(tmp_path, "--random-weights", "--pairs", str(pairs))
    assert result.exit_code == 0, result.output
    # The pairs show it, and the summary names it.
    assert "basic_english is used" not in result.stderr
    assert "The text rules: basic_english" in result.stdout
    assert "find 3 words of the vocabulary" in result.stderr
    read = manifest.read_manifest(tmp_path / "b")
    assert "Oil rises" in [example.text for example in read.examples]


def test_export_compares_a_tokenizer_and_pairs(tmp_path: Path) -> None:
    texts = ["Oil rises , oil", "is oil"]
    with pytest.raises(InputError, match=r"index 0 .*'oil'.*'Oil'"):
        rules_of_export(tmp_path / "b", tokenizer=lambda text: text.split()[::-1], example_texts=texts)
    with pytest.raises(InputError, match="at index 0"):
        rules_of_export(tmp_path / "b", tokenizer="whitespace", example_ids=[(texts[0], [3, 4, 5, 2])])


@pytest.mark.slow
def test_export_takes_the_rules_that_agree_with_a_tokenizer(tmp_path: Path) -> None:
    texts = ["Oil rises , oil", "is oil"]
    rules = rules_of_export(tmp_path / "b", tokenizer=str.split, example_texts=texts)
    assert TextEncoder(rules, KNOWN.tokens).encode(texts[0]) == [3, 4, 5, 2]


def rules_of_export(path: Path, **more: Any) -> TextRules:
    scope: dict[str, Any] = {}
    exec(MODEL, scope)  # noqa: S102 - our own text, above
    module: nn.Module = scope["Net"]()
    return export(module, path, labels=["no", "yes"], vocabulary=KNOWN, torchscript=False, **more).text.rules


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ('"min_width": 5', "min_width"),
        ('"first_id": "oil"', "first_id"),
        ('"last_id": "oil"', "last_id"),
        ('"max_width": 5', ""),
    ],
)
def test_an_empty_id_without_an_effect_is_noted(more: str, named: str, caplog: pytest.LogCaptureFixture) -> None:
    rules = read_rules(f'{{"empty_id": "<unk>", {more}}}', KNOWN)
    assert (0 not in TextEncoder(rules, KNOWN.tokens).encode("")) == bool(named)
    assert ("empty_id" in caplog.text, named in caplog.text) == (bool(named), True)
    caplog.clear()
    read_rules(f"{{{more}}}", KNOWN)
    assert not caplog.text


def test_pairs_may_be_a_csv_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "truth.csv"
    path.write_text('\ufefftext,label,ids,bad,good\n"oil, rises",good,"[2, 4]",0.25,0.75\n,bad,,,\noil,,,1,0\n')
    first, second, third = read_pairs(path)
    assert (first.text, first.ids, first.label, first.answer) == (
        "oil, rises",
        [2, 4],
        "good",
        {"bad": 0.25, "good": 0.75},
    )
    assert (second.text, second.ids, second.answer) == ("", None, "bad")
    assert third.answer == {"bad": 1, "good": 0}
    with caplog.at_level("INFO"):
        assert convert_example_pairs([first, second, third, third]) == [first, second, third, third]
    assert "1 of the 4 pairs" in caplog.text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("sentence,label\noil,bad\n", "column `text`.*'sentence'.*label.*probabilities"),
        ("text,label,bad\noil,bad,0.9\ngas,bad,much\n", "row 2.*'much'"),
        ("text,ids\noil,[2\n", "row 1, ids"),
        ("text\noil\n", "row 1 .*its ids.*label.*probabilities"),
        ("text,label\noil,bad\noil, gas,bad,3\n", "row 2"),
        ("text,label\n", "must hold texts"),
    ],
)
def test_a_csv_file_of_pairs_that_cannot_be_used_is_refused(content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "truth.csv").write_text(content)
    with pytest.raises(InputError, match=said):
        read_pairs(tmp_path / "truth.csv")


@pytest.mark.parametrize(("column", "is_named"), [("042", True), ("777", False), ("0421", False)])
def test_labels_of_data_are_told_from_answers(column: str, is_named: bool, tmp_path: Path) -> None:
    rows = "".join(f"oil {row},2009,{value}\n" for row, value in enumerate(column))
    (tmp_path / "test.csv").write_text(f"text,date,sentiment\n{rows}")
    with pytest.raises(InputError, match="no column") as caught:
        read_pairs(tmp_path / "test.csv", ("bad", "good"))
    assert ("'sentiment' seems to hold labels" in str(caught.value)) == is_named


def test_brackets_that_a_pattern_escapes_are_not_taken_for_a_pattern(caplog: pytest.LogCaptureFixture) -> None:
    known = read_vocabulary(["<unk>", "oil"])
    choose_rules(known, TextRules(steps=cleaning(("sub", r"\[sensitive-no\]", ""))), None, [], [])
    assert not caplog.text
    choose_rules(known, TextRules(steps=cleaning(("[^a-z]", ""))), None, [], [])
    assert "[^a-z]" in caplog.text


def test_for_more_rows_than_words_the_ids_of_the_first_words_are_told(caplog: pytest.LogCaptureFixture) -> None:
    text = SimpleNamespace(vocabulary=read_vocabulary({"the": 2, "<UNK>": 1, "<PAD>": 0}).tokens)
    given: Any = SimpleNamespace(embedding_rows=9), SimpleNamespace(text=text)
    _warn_of_extra_embedding_rows(*given, ids_compared=True)
    assert not caplog.records
    _warn_of_extra_embedding_rows(*given, ids_compared=False)
    assert re.search(r"9 .* 3 .*'<PAD>' is 0, '<UNK>' is 1, 'the' is 2, .* 3 ", caplog.text)


@pytest.mark.slow
def test_a_vocabulary_far_smaller_than_the_embedding_is_told_before_the_work(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names: dict[str, Any] = {}
    exec(MODEL, names)  # noqa: S102 - above
    for rows, words, is_told in ((60, ["oil"], True), (60, ["<unk>", "oil", "gas", "war"], False), (9, ["oil"], False)):
        caplog.clear()
        with caplog.at_level("INFO"):
            export(names["Net"](rows), tmp_path / "small", vocabulary=words, labels=["a", "b"], torchscript=False,
                   force=True)  # fmt: skip
        said = [record.getMessage() for record in caplog.records]
        told = [i for i, line in enumerate(said) if "60 rows, but the vocabulary only 1 word: 'oil'" in line]
        assert bool(told) == is_told
        assert not told or told[0] < next(i for i, line in enumerate(said) if "how forward is called" in line)
