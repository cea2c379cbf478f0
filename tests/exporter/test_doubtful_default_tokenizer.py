"""A vocabulary that the default tokenizer cannot have made is not exported with it in silence."""

import itertools
import json
import random
import shlex
import string
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from torch import nn

from pocketrnn.commands.cli import main
from pocketrnn.errors import InputError
from pocketrnn.text import TextRules
from pocketrnn_export import export
from pocketrnn_export.vocabularies.labels import read_labels
from pocketrnn_export.vocabularies.owner_texts_and_answers import read_pairs
from pocketrnn_export.vocabularies.text_rule_selection import choose_rules, choose_rules_that_fit_vocabulary
from pocketrnn_export.vocabularies.unreachable_words import find_reason_against_default_rules
from pocketrnn_export.vocabularies.vocabulary import read_vocabulary

pytestmark = pytest.mark.usefixtures("scant_proofs")

WORDS = "the oil war cup film good bad near they were here two one new big old red far low high".split()  # noqa: SIM905 - a sentence is read more easily
NET = """
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(27, 4)
        self.rnn = nn.GRU(4, 3, batch_first=True)
        self.fc = nn.Linear(3, 2)
    def forward(self, tokens):
        return self.fc(self.rnn(self.embedding(tokens))[1][-1])
"""


@pytest.mark.parametrize(
    ("tokens", "found"),
    [
        (WORDS, None),
        # An example of a few words may be of letters.
        ([*"abcd"], None),
        ([*WORDS, *string.ascii_lowercase[:9]], None),
        ([*string.ascii_lowercase], ("characters", True)),
        ([*string.ascii_letters, " ", "'"], ("characters", False)),
        ([*map(chr, range(0x4E00, 0x4E60)), "1990"], ("characters", True)),
        ([one.title() for one in WORDS], ("whitespace", False)),
        ([*WORDS, "don't", "it's"], None),
        ([*WORDS, *(f"##{one}" for one in WORDS[:6])], ("", None)),
        ([*WORDS, *(f"\u2581{one}" for one in WORDS)], ("", None)),
        ([*WORDS, *(f"{one}@@" for one in WORDS)], ("", None)),
        ([*map("".join, itertools.product("abcdefghij ", repeat=2))], ("", None)),
        ([*map("".join, itertools.product("abcd", "aeiou", "klm"))], None),
        ([*WORDS, "veri", "onli", "peopl"], ("", None)),
        ([*WORDS, "veri", "very", "only", "people"], None),
        ([*map("".join, itertools.product("\u5929\u5730\u4eba\u5c71\u6c34", repeat=2))], ("", None)),
        ([*map("".join, itertools.product("\u0e01\u0e02\u0e04\u0e07\u0e08", repeat=2))], None),
        ([*WORDS, "It", "They", "We", "film.", "war,"], ("whitespace", False)),
        ([*WORDS, "it.", "they,", "(we", "film.", "war,"], ("whitespace", True)),
        # Words of a chat, and marks alone.
        ([*WORDS, "##", "##sale", "@@"], None),
    ],
)
def test_the_tokens_show_that_the_default_tokenizer_did_not_make_them(
    tokens: list[str], found: tuple[str, bool | None] | None
) -> None:
    rules = TextRules("basic_english", unknown_id=0, padding_id=1)
    doubt = find_reason_against_default_rules(rules, ["<unk>", "<pad>", *tokens])
    if doubt is None or found is None:
        assert doubt is found
    elif doubt.rules is None:
        assert found == ("", None)
    else:
        assert (doubt.rules.tokenizer, doubt.rules.lowercase) == found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(NET)
    Path("vocab.txt").write_text("\n".join(["<unk>", *string.ascii_lowercase]))
    return tmp_path


def run_export(*options: str) -> Result:
    given = ["export", "net.py:Net", "--random-weights", "--vocabulary", "vocab.txt", "--labels", "a,b", "-o", "made"]
    return CliRunner().invoke(main, [*given, "--no-torchscript", *options])


@pytest.mark.usefixtures("folder")
def test_letters_are_refused_with_the_rules_that_give_them() -> None:
    refused = run_export()
    assert refused.exit_code == 2
    assert """--rules '{"tokenizer": "characters"}'""" in refused.stderr.splitlines()[-1]
    assert not Path("made").exists()
    # Whoever says so is believed.
    assert run_export("--tokenizer", "basic_english").exit_code == 0


def test_python_is_told_the_rules_too(tmp_path: Path) -> None:
    names: dict[str, type[nn.Module]] = {}
    exec(NET, names)  # noqa: S102 - a test's own code
    torch.manual_seed(0)
    with pytest.raises(InputError, match="single characters") as refused:
        export(names["Net"](), tmp_path / "made", labels=["a", "b"], vocabulary=["<unk>", *string.ascii_lowercase])
    assert "rules={'tokenizer': 'characters'}" in refused.value.remedy


@pytest.mark.usefixtures("folder")
def test_the_file_of_subwords_is_the_tokenizer_and_answers_decide_without_one() -> None:
    Path("vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"##{one}" for one in WORDS)]))
    refused = run_export().stderr.splitlines()[-1]
    assert "--tokenizer vocab.txt" in refused
    assert "--vocabulary" not in refused
    rows = "".join(f"{one},{'ab'[i % 2]}\n" for i, one in enumerate(WORDS))
    Path("answers.csv").write_text(f"text,label\n{rows}")
    refused = run_export().stderr.splitlines()[-1]
    assert "--pairs answers.csv" in refused
    assert "--tokenizer" not in refused


@pytest.mark.usefixtures("folder")
def test_rules_that_fit_the_vocabulary_are_compared_with_the_answers_in_place_of_the_default() -> None:
    rows = "".join(f"{one},{'ab'[i % 2]}\n" for i, one in enumerate(WORDS))
    Path("answers.csv").write_text(f"text,label\n{rows}")
    refused = run_export("--pairs", "answers.csv")
    assert refused.exit_code == 3
    assert "single characters" in refused.stderr
    assert "It reads 't' 'h' 'e'" in refused.stderr
    vocabulary = read_vocabulary([*"abcdefghijklmnopqrstuvwxyz"])
    assert choose_rules(vocabulary, None, None, [], [], answers=["a"]).tokenizer == "characters"
    assert choose_rules(read_vocabulary(WORDS), None, None, [], [], answers=["a"]).tokenizer == "basic_english"


@pytest.mark.usefixtures("folder")
def test_a_width_beside_rules_that_fit_the_vocabulary_is_written_with_them() -> None:
    names: dict[str, type[nn.Module]] = {}
    exec(NET, names)  # noqa: S102 - a test's own code
    with torch.random.fork_rng():
        torch.manual_seed(1)
        module = names["Net"]().eval()
    texts = ["".join(random.Random(i).choices(string.ascii_lowercase, k=3 + i % 8)) for i in range(60)]
    ids = torch.tensor(
        [[1 + string.ascii_lowercase.index(one) for one in text] + [0] * (12 - len(text)) for text in texts]
    )
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(4)
        logits = module(ids)
        moved = (logits[:, 1] - logits[:, 0]).median()
        module.get_parameter("fc.bias")[1] -= moved
    torch.save(module.state_dict(), "w.pt")
    rows = [f"{text},{'ab'[int(one[1] - one[0] > moved)]}" for text, one in zip(texts, logits, strict=True)]
    Path("answers.csv").write_text("text,label\n" + "\n".join(rows))
    given = ["export", "net.py:Net", "--weights", "w.pt", "--vocabulary", "vocab.txt", "--labels", "a,b", "-o", "made"]
    refused = CliRunner().invoke(main, [*given, "--pairs", "answers.csv", "--no-torchscript"])
    assert refused.exit_code == 3, refused.output
    written = shlex.split(refused.stderr.splitlines()[-1])
    rules = json.loads(written[written.index("--rules") + 1])
    assert rules["tokenizer"] == "characters"
    assert rules["min_width"] >= 12


def test_rules_that_know_hardly_a_word_of_the_texts_make_way_for_those_that_know_nearly_all() -> None:
    tokens = [*WORDS, *"\u5929\u5730\u4eba\u5c71\u6c34\u706b", *(f"##{one}" for one in WORDS)]
    vocabulary, default = read_vocabulary(tokens), TextRules("basic_english")
    chinese = ["\u5929\u5730\u4eba", "\u5c71\u6c34\u706b\u5929"]
    assert choose_rules_that_fit_vocabulary(vocabulary, default, chinese).tokenizer == "characters"
    for texts in ([], ["the oil"], ["the oil", *chinese], ["qq zz"]):
        assert choose_rules_that_fit_vocabulary(vocabulary, default, texts) is default


@pytest.mark.usefixtures("folder")
def test_the_columns_of_answers_may_differ_from_the_labels_in_blanks(caplog: pytest.LogCaptureFixture) -> None:
    Path("answers.csv").write_text("text,label,English,French \noui,French ,0.1,0.9\n")
    (one,) = read_pairs(Path("answers.csv"), ["English", "French"])
    assert one.answer == {"English": 0.1, "French": 0.9}
    assert not caplog.messages
    # Either of two columns may be meant.
    Path("answers.csv").write_text("text,French ,FRENCH\noui,0.1,0.9\n")
    with pytest.raises(InputError):
        read_pairs(Path("answers.csv"), ["English", "French"])


def test_a_blank_that_a_typed_label_loses_is_told(caplog: pytest.LogCaptureFixture) -> None:
    assert read_labels("English, Dutch") == ["English", "Dutch"]
    assert not caplog.messages
    assert read_labels("English,French ") == ["English", "French"]
    assert "'French '" in caplog.text
