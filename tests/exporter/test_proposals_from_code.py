"""The export proposes the parts that the owner's code shows: a file's module, labels, files, the lines that split."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import re
import shlex
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import click
import joblib
import pytest
import torch
from click.testing import CliRunner, Result
from module_sources import make_net, run_source
from notebook_maker import cell

from pocketrnn import Classifier
from pocketrnn.commands.cli import main
from pocketrnn.commands.standard_streams import get_lines_to_print_at_end
from pocketrnn.errors import InputError, ParityError
from pocketrnn.text import TextRules
from pocketrnn_export.commands.collected_refusals import choose_default_output
from pocketrnn_export.commands.export import export as export_command
from pocketrnn_export.commands.export_with_rules_from_answers import export_with_rules_from_answers
from pocketrnn_export.commands.lines_after_export import describe_empty_texts, print_import_of_tokenizer
from pocketrnn_export.commands.printed_stages import print_stages
from pocketrnn_export.commands.proposed_options import (
    ProposedPairs,
    complete_rules_beside_tokenizer_function,
    describe_tokenizer_function,
    make_options_of_tokenizer_function,
    make_placeholder_labels,
    propose_labels,
    propose_pairs,
    propose_tokenizer,
    propose_tokenizer_function,
    propose_vocabulary,
)
from pocketrnn_export.commands.settings_found_in_code import _make_options_for_length_and_unknown_id
from pocketrnn_export.commands.tokenizer_function_written_to_file import (
    replace_tokenizer_by_code_with_present_names,
    replace_tokenizer_by_its_splitting_part,
    replace_tokenizer_that_cleans_before_keras,
    set_tokenizer_to_origin_of_written_file,
    write_code_file,
)
from pocketrnn_export.intake.module_file import load_text_function
from pocketrnn_export.intake.module_name_with_arguments import parse_module_name
from pocketrnn_export.progress import ABOUT_SOFTMAX
from pocketrnn_export.source_code import notebook
from pocketrnn_export.source_code.class_definitions import find_first_calls_of_classes, list_module_classes
from pocketrnn_export.source_code.code_and_data_files_near_module import (
    imports_torch_directly_or_indirectly,
    list_data_files_named_in_code,
    list_files_near,
    write_first_line_of_exported_file,
)
from pocketrnn_export.source_code.labels_in_code import find_labels_in_code, join_first_labels
from pocketrnn_export.source_code.script_that_saves_vocabulary import (
    find_code_that_makes_vocabulary,
    find_vocabulary_loader,
)
from pocketrnn_export.source_code.splitting_part_of_function import (
    find_changed_text,
    uses_only_basic_english_tokenizer,
    write_tokenizer_of_function,
)
from pocketrnn_export.source_code.text_function_in_own_file import replace_removed_names
from pocketrnn_export.source_code.text_functions_in_file import complete_text_function, list_text_functions
from pocketrnn_export.source_code.text_settings_in_code import (
    OpenSettings,
    describe_vocabulary_to_save,
    find_word_ids_in_code,
)
from pocketrnn_export.source_code.values_of_call_arguments import find_attribute_values
from pocketrnn_export.vocabularies.checkpoint_text_settings import NamedLength
from pocketrnn_export.vocabularies.keras_tokenizer_split import KerasSplit
from pocketrnn_export.vocabularies.owner_answer_comparison import OtherAnswersError
from pocketrnn_export.vocabularies.vocabulary import read_vocabulary

pytestmark = pytest.mark.usefixtures("scant_proofs")
WORDS = ["<PAD>", "<UNK>", *(f"w{i}" for i in range(20)), "good", "bad", "film"]
FILE = """
import re
import torch
from torch import nn
import a_package_for_pages

class Attention(nn.Module):
    def forward(self, steps):
        return steps.mean(1)

class Net(nn.Module):
    def __init__(self, vocab_size, pad_idx, dim=6):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, dim)
        self.gru = nn.GRU(dim, dim, batch_first=True)
        self.pool = Attention()
        self.fc = nn.Linear(dim, 2)

    def forward(self, x):
        return self.fc(self.pool(self.gru(self.embedding(x))[0]))

def predict(text, model, vocab, longest=4):
    text = re.sub("[^a-z ]", "", str(text).lower())
    words = text.split()
    ids = [vocab.get(word, vocab["<UNK>"]) for word in words]
    ids = ids[:longest] + [0] * (longest - len(ids))
    prediction = model(torch.tensor([ids])).argmax(1).item()
    return "good" if prediction == 1 else "bad"

def main():
    page = a_package_for_pages.Page()
    vocab = json.load(open("vocab.json"))
    model.load_state_dict(torch.load("models/best.pt"))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(FILE)
    Path("models").mkdir()
    torch.save(make_net(FILE.replace("import a_package_for_pages", ""), len(WORDS), 0).state_dict(), "models/best.pt")
    Path("vocab.json").write_text(json.dumps({word: i for i, word in enumerate(WORDS)}))
    return tmp_path


def name_proposed_function() -> str:
    proposed = propose_tokenizer_function(Path("net.py"))
    return "" if proposed is None else proposed.option


def export(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["export", *arguments, "-o", "out", "--no-torchscript"])


@pytest.mark.parametrize(
    ("arguments", "output"),
    [
        (["src/net.py"], "net.bundle"),
        (["net.py:Net(path='a.py:b')"], "net.bundle"),
        (["notebooks/My Net.ipynb:Net"], "My_Net.bundle"),
        (["news.checkpoint"], "news.bundle"),
        (["net.pt", "--profile", "packed"], "net.prnn"),
        (["net.py", "-o", "mine"], "mine"),
    ],
)
def test_a_bundle_is_named_after_its_source_by_default(arguments: list[str], output: str) -> None:
    with export_command.make_context("export", arguments) as context:
        assert context.params["output"] == Path(output)


@pytest.mark.parametrize(
    ("files", "outputs"),
    [
        (["src/net.py"], ["net.bundle"]),
        (["rnn/net.py", "char/net.py"], ["rnn_net.bundle", "char_net.bundle"]),
        (["net.py", "char/net.py"], ["net.bundle", "char_net.bundle"]),
        (["a/nlp/net.py", "b/nlp/net.py"], ["a_nlp_net.bundle", "b_nlp_net.bundle"]),
    ],
)
def test_modules_in_files_with_one_name_have_bundles_of_different_names(
    files: list[str], outputs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for file in [*files, "tests/net.py"]:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).write_text(FILE if file in files else "def test(): pass\n")
    assert [str(choose_default_output(f"{file}:Net", None)) for file in files] == outputs


@pytest.mark.parametrize("profile", ["", "packed"])
def test_a_bundle_of_another_module_is_named_and_not_replaced(profile: str, folder: Path) -> None:
    given = ["--weights", "models/best.pt", "--vocabulary", "vocab.json", "--labels", "bad,good"]
    given += ["--profile", profile] * bool(profile)
    Path("net.py").write_text(FILE + "class Other(Net):\n    pass\n")
    output, other = (f"{one}{'.prnn' if profile else '.bundle'}" for one in ("net", "net_Other"))
    made = CliRunner().invoke(main, ["export", "net.py:Net", *given])
    assert f"Wrote {output}:" in made.stdout, made.stderr
    refused = CliRunner().invoke(main, ["export", "net.py:Other", *given, "-o", output])
    assert refused.exit_code == 2
    assert "net.py:Net" in refused.stderr
    line = refused.stderr.partition("Write: ")[2]
    assert f"-o {other}" in line
    assert "--force" not in line
    assert str(choose_default_output("net.py:Other", profile)) == other
    again = CliRunner().invoke(main, ["export", "net.py:Net", *given])
    assert "--force" in again.stderr.partition("Write: ")[2]


def test_a_file_alone_leads_to_a_line_to_copy_whose_bundle_answers_as_the_owners_function(folder: Path) -> None:
    Path("answers.csv").write_text("text,label\nfilm,good\n")
    first = export("net.py")
    assert first.exit_code == 2
    line = shlex.split(first.stderr[first.stderr.index("Write: pocketrnn") :])[2:]
    assert line[:2] == ["export", "net.py:Net"]
    for option, value in {
        "--weights": "models/best.pt",
        "--vocabulary": "vocab.json",
        "--labels": "bad,good",
        "--tokenizer": "net.py:predict",
        "--pairs": "answers.csv",
    }.items():
        assert line[line.index(option) + 1] == value
    source = FILE.replace("import a_package_for_pages", "")
    module, owners = make_net(source, len(WORDS), 0).eval(), run_source(source)["predict"]
    vocab = {word: i for i, word in enumerate(WORDS)}
    texts = [f"{'GOOD' if i % 3 else 'bad,'} Film! w{i} {'film ' * (i % 5)}x" for i in range(24)]
    answers = [json.dumps({"text": text, "label": owners(text, module, vocab)}) for text in texts]
    Path("pairs.jsonl").write_text("\n".join(answers))
    second = CliRunner().invoke(main, [*line, "--pairs", "pairs.jsonl", "--rules", '{"min_width": 4, "max_width": 4}'])
    assert second.exit_code == 0, second.stderr
    # The rules of the bundle do what its lines do.
    assert not Path("out_words.py").exists()
    assert Classifier.load("out").predict(texts) == [owners(text, module, vocab) for text in texts]


@pytest.mark.parametrize("numbers_first", [True, False])
def test_a_map_of_labels_is_no_vocabulary_and_the_compressed_words_are(tmp_path: Path, numbers_first: bool) -> None:
    words, labels = [f"w{i}" for i in range(90)], [f"label{i}" for i in range(27)]
    joblib.dump({word: i for i, word in enumerate(words)}, tmp_path / "words.joblib", compress=3)
    mapped: dict[Any, Any] = dict(enumerate(labels))
    mapped = mapped if numbers_first else {label: i for i, label in mapped.items()}
    (tmp_path / "map.json").write_text(json.dumps(mapped))
    (tmp_path / "net.py").write_text('first, second = "map.json", "words.joblib"\n')
    torch.save({"embedding.weight": torch.zeros(90, 3), "fc.weight": torch.zeros(27, 4)}, tmp_path / "best.pt")
    given = (tmp_path / "net.py", tmp_path / "best.pt")
    vocabulary = propose_vocabulary(*given)
    assert vocabulary is not None
    assert vocabulary.path.name == "words.joblib"
    assert propose_labels(*given, None, multi_label=False).value == str(tmp_path / "map.json")
    assert read_vocabulary(tmp_path / "words.joblib").tokens == tuple(words)
    # The weights of another module: too few words for it, and not as many labels as logits.
    torch.save({"embedding.weight": torch.zeros(900, 3), "fc.weight": torch.zeros(3, 4)}, tmp_path / "best.pt")
    assert propose_vocabulary(*given) is None
    (tmp_path / "map.json").write_text(json.dumps(["a", "b", "c"] * 9))
    assert propose_labels(*given, None, multi_label=False).value == make_placeholder_labels(3)


def test_a_pickled_object_gives_the_vocabulary_and_the_labels(tmp_path: Path) -> None:
    held = {"word_to_idx": {word: i for i, word in enumerate(WORDS)}, "label_to_idx": {"bad": 0, "good": 1}}
    (tmp_path / "processor.pkl").write_bytes(pickle.dumps(Namespace(**held)))
    (tmp_path / "net.py").write_text('first = "processor.pkl"\n')
    torch.save({"embedding.weight": torch.zeros(len(WORDS), 3), "fc.weight": torch.zeros(2, 4)}, tmp_path / "best.pt")
    given = (tmp_path / "net.py", tmp_path / "best.pt")
    labels, vocabulary = propose_labels(*given, None, multi_label=False), propose_vocabulary(*given)
    assert vocabulary is not None
    assert "bad,good" in labels.sentence
    assert labels.value == str(vocabulary.path)


TOKENIZER = {"version": "1.0", "added_tokens": [], "normalizer": None, "pre_tokenizer": {"type": "Whitespace"},
             "post_processor": None, "decoder": None, "truncation": None, "padding": None,
             "model": {"type": "WordLevel", "vocab": {word: i for i, word in enumerate(WORDS)}, "unk_token": "<UNK>"}
}  # fmt: skip


@pytest.mark.parametrize(
    ("code", "file", "proposed"),
    [
        ('Tokenizer.from_file("tokenizer.json")', "tokenizer.json", "tokenizer.json"),
        ('Tokenizer.from_file(os.path.join(FOLDER, "bpe.json"))', "saved/bpe.json", "saved/bpe.json"),
        ('AutoTokenizer.from_pretrained("./saved/tok/")', "saved/tok/tokenizer.json", "saved/tok"),
        ("AutoTokenizer.from_pretrained(FOLDER)", "saved/tokenizer.json", "saved"),
        ('AutoTokenizer.from_pretrained("bert-base-uncased")', "saved2/tokenizer.json", None),
        # Saved there, as an earlier line proposed.
        ('AutoTokenizer.from_pretrained("bert-base-uncased")', "tokenizer/tokenizer.json", "tokenizer"),
        ("load_words()", "tokenizer/tokenizer.json", None),
    ],
)
def test_the_tokenizer_of_subwords_that_code_reads_is_proposed(
    folder: Path, code: str, file: str, proposed: str | None
) -> None:
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    Path(file).write_text(json.dumps(TOKENIZER))
    Path("net.py").write_text(f'FOLDER = "saved"\ntokenizer = {code}\n')
    found = propose_tokenizer(Path("net.py"))
    assert (None if found is None else str(found.path)) == proposed


def test_a_tokenizer_stands_for_a_vocabulary_and_gives_the_ids_of_words_that_the_module_needs(folder: Path) -> None:
    Path("tokenizer.json").write_text(json.dumps(TOKENIZER))
    lines = 'tokenizer = Tokenizer.from_file("tokenizer.json")\nvocab = tokenizer.get_vocab()\npad = vocab["<PAD>"]\n'
    code = FILE.replace("class Net", f"{lines}\nclass Net").replace("vocab_size, dim)", "vocab_size, dim, pad)")
    code = code.replace("longest", "max_length")
    Path("net.py").write_text(code.replace("vocab.json", "model.bin"))
    said = export("net.py").stderr
    line = shlex.split(said[said.index("Write: pocketrnn") :])
    assert line[line.index("--tokenizer") + 1] == "tokenizer.json"
    assert "--vocabulary" not in line
    assert "pad = 0" in said
    assert "--set" not in said
    # The corrected command has the length to which the code pads, and the file of answers.
    Path("answers.csv").write_text("text,label\nfilm,good\n")
    second = CliRunner().invoke(main, line[2:])
    assert second.exit_code == 0, second.stderr
    corrected = shlex.split(second.output[second.output.index("Next: ") :])
    assert corrected[corrected.index("--pairs") + 1] == "answers.csv"
    assert json.loads(corrected[corrected.index("--rules") + 1]) == {"min_width": 4, "max_width": 4}


def test_the_ids_of_words_are_read_from_code() -> None:
    code = {
        "pad": "pad = vocab['film']", "a": "a = tokenizer.token_to_id('good')", "b": "b = tok.get_vocab()['bad']",
        "c": "c = vocab['unseen']", "d": "d = labels['good']", "e": "e = len(vocab)",
    }  # fmt: skip
    assert find_word_ids_in_code(code, WORDS) == {"pad": 24, "a": 22, "b": 23}


@pytest.mark.parametrize(
    ("files", "proposed"),
    [
        ({"answers.csv": "id,label,p_good\n0,good,0.75\n", "texts.csv": "id,text\n0,film\n"}, "answers.csv"),
        ({"pairs.jsonl": '{"text": "film", "label": "good"}\n'}, "pairs.jsonl"),
        ({"train.csv": "text,label\nfilm,good\n"}, ""),
        ({"predicted.csv": "text,label\nfilm,other\n", "results.csv": "text\nfilm\n", "output.csv": "\0"}, ""),
        ({"answers.csv": "text,label\nfilm,good\n", "predictions.csv": "text,label\nfilm,bad\n"}, "answers.csv"),
    ],
)
def test_a_file_of_answers_is_found_by_its_name_and_contents(
    folder: Path, files: dict[str, str], proposed: str
) -> None:
    for name, content in files.items():
        Path(name).write_text(content)
    found = propose_pairs(["bad", "good"], None, multi_label=False)
    assert ("" if found is None else found.file) == proposed


def test_many_answers_take_the_place_of_open_text_rules_but_not_of_a_function_and_its_widths(folder: Path) -> None:
    Path("cut.py").write_text("import jieba\ndef words(text):\n return jieba.cut(text)\ndef split(text): ...")
    known: dict[str, str | None] = {"rules": '{"max_width": 50}', "tokenizer": "cut.py:split"}
    for count in (3, 30):
        assert ProposedPairs("a.csv", count).complete(known) == {**known, "pairs": "a.csv"}
    # A default tokenizer with a width, which no one named.
    usual: dict[str, str | None] = {"rules": '{"tokenizer": "basic_english", "max_width": 50}', "tokenizer": None}
    assert ProposedPairs("a.csv", 3).complete(usual) == {**usual, "pairs": "a.csv"}
    assert ProposedPairs("a.csv", 30).complete(usual) == {"pairs": "a.csv"}
    external = {"tokenizer": "cut.py:words", "rules": '{"tokenizer": "external"}'}
    assert make_options_of_tokenizer_function("cut.py:words") == external
    assert make_options_of_tokenizer_function("cut.py:split") == {"tokenizer": "cut.py:split"}
    # Rules can drop stop words.
    words = "from nltk.corpus import stopwords\ndef words(text):\n return stopwords.words('english')"
    Path("cut.py").write_text(words)
    assert "rules" not in make_options_of_tokenizer_function("cut.py:words")
    known = {"vocabulary": "words.json", "tokenizer": "folder/tokenizer.json", "max_tokens": "3"}
    assert ProposedPairs("a.csv", 30).complete(known) == {**known, "pairs": "a.csv"}


@pytest.mark.parametrize(
    ("code", "proposed"),
    [
        ("tok = AutoTokenizer.from_pretrained('bert-base-uncased')", "tokenizer"),
        ("model = AutoModel.from_pretrained('bert-base-uncased')", None),
    ],
)
def test_a_tokenizer_that_the_code_names_is_proposed(code: str, proposed: str | None, folder: Path) -> None:
    Path("split.py").write_text(code)
    Path("vocab.json").unlink()
    message = export("net.py:Net").stderr
    assert ("bert-base-uncased" in message, "--tokenizer tokenizer" in message) == (bool(proposed), bool(proposed))


@pytest.mark.parametrize(
    ("code", "proposed"),
    [
        ("def text_to_indices(text, vocab): ...", "text/split.py:text_to_indices"),
        ("class Words:\n    def encode(self, text): ...", "text/split.py:Words.encode"),
        ("def build_tokenizer(name): ...\ndef get_tokenizer(name): ...\ndef encode_labels(row): ...", ""),
        ("def encode_state(tokenizer): ...", ""),
        ("def clean_text(text): ...", ""),
    ],
)
def test_a_function_near_the_module_is_proposed_if_it_splits_texts(code: str, proposed: str, folder: Path) -> None:
    Path("net.py").write_text(FILE.split("def predict")[0])
    Path("text").mkdir()
    Path("text/split.py").write_text(code)
    assert name_proposed_function() == proposed


@pytest.mark.parametrize(
    ("lines", "proposed"),
    [
        ("    return model(encode(text, vocab))", "split.py:encode"),
        ("    return model(encode(text, vocab))  # from .", "split.py:encode"),
        ("    ids = encode(str(text).lower(), vocab)", "net.py:predict"),
        ("    text = text.lower()\n    ids = encode(text, vocab)", "net.py:predict"),
        ("    tidy = clean_text(text)\n    ids = encode(tidy, vocab)", "net.py:predict"),
    ],
)
def test_the_function_that_an_answering_one_calls_with_its_text_is_proposed(
    lines: str, proposed: str, folder: Path
) -> None:
    Path("split.py").write_text("def encode(text, vocab):\n    return [vocab.get(word, 1) for word in text.split()]\n")
    dot = "." * ("from ." in lines)
    split = f"from {dot}split import encode\n" if proposed == "split.py:encode" else Path("split.py").read_text()
    Path("net.py").write_text(f"{split}def clean_text(t):\n    return t.strip()\ndef predict(text, model):\n{lines}\n")
    assert name_proposed_function() == proposed


OWN_METHOD = """
def word2seq(words):
    return [[vocab[letter] for letter in word] for word in words]
class Net(nn.Module):
    def forward(self, ids): ...
    def encode(self, ids): ...
    def predict(self, word):
        return self.forward(self.encode(word2seq([word])))
"""


@pytest.mark.parametrize(
    ("before", "after", "proposed"),
    [
        ("", "", "net.py:word2seq"),
        ("word2seq([word])", "word2seq(word)", ""),
        ("word2seq([word])", "word2seq([word, word])", ""),
        ("word2seq([word])", "[vocab[one] for one in word.split()]", "net.py:Net.predict"),
    ],
)
def test_a_method_of_the_module_that_answers_a_text_shows_what_splits_it(
    before: str, after: str, proposed: str, folder: Path
) -> None:
    Path("net.py").write_text(OWN_METHOD.replace(before, after))
    assert name_proposed_function() == proposed
    named = complete_text_function(Path("net.py"), "Net.predict")
    assert (named is not None) == (proposed == "net.py:word2seq")


def test_a_script_that_answers_what_is_typed_leads_to_a_copy_of_its_lines(folder: Path) -> None:
    Path("net.py").write_text(FILE.split("def predict")[0])
    Path("app.py").write_text("text = input()\nids = [vocab.get(w, 1) for w in text.lower().split()]\nmodel(ids)\n")
    assert "--tokenizer out_words.py:words" in export("net.py").stderr.splitlines()[-1]
    assert run_source(Path("out_words.py").read_text())["words"]("A b") == ["a", "b"]


def test_a_file_of_code_is_no_tokenizer_without_the_name_of_a_function(folder: Path) -> None:
    Path("cut.py").write_text("def tokenize(text):\n    return text.split()\n")
    given = ["--weights", "models/best.pt", "--vocabulary", "vocab.json", "--labels", "bad,good"]
    found = export("net.py:Net", *given, "--tokenizer", "cut.py").stderr
    assert "text rules of its own" not in found
    assert "--tokenizer cut.py:tokenize" in found.splitlines()[-1]


def test_a_function_that_answers_is_never_taken_for_one_that_splits(folder: Path) -> None:
    Path("page.py").write_text("def page(text):\n    return model(cut(text))\n")
    given = ["--weights", "models/best.pt", "--vocabulary", "vocab.json", "--labels", "bad,good"]
    found = export("net.py:Net", *given, "--tokenizer", "page.py:page")
    assert found.exit_code == 2
    assert "page.py:page returns an answer" in found.stderr
    assert "--tokenizer out_words.py:words" in found.stderr.splitlines()[-1]
    assert "NotImplementedError" in Path("out_words.py").read_text()


PREPROCESS = """
def preprocess_text(text, vocab, most):
    ids = []
    for word in text.split()[:most]:
        ids.append(vocab[word])
    return ids
"""


@pytest.mark.parametrize(
    "code",
    [
        "MOST = 9\ndef predict(text, model, vocab):\n    return model(preprocess_text(text, vocab, MOST))",
        "def predict(text, model, vocab, most=9):\n    return model(preprocess_text(str(text), vocab, most=most))",
        "p.add_argument('--max-len', default=9)\nprint(preprocess_text(input(), vocab, args.max_len))",
        "config = {'n': 9}\nprint(preprocess_text(input(), vocab, config['n']))",
        "class P:\n    def __init__(self, n=9):\n        self.most = n\n"
        "    def answer(self, text):\n        return preprocess_text(text, self.vocab, self.most)",
        "print(preprocess_text(input(), vocab, load_length()))\nprint(preprocess_text(input(), vocab, 9))",
    ],
)
def test_the_values_that_a_function_needs_beside_the_text_are_those_of_the_owners_call(code: str, folder: Path) -> None:
    Path("split.py").write_text(PREPROCESS)
    Path("net.py").write_text(f"{FILE.split('def predict')[0]}from split import preprocess_text\n{code}\n")
    proposed = propose_tokenizer_function(Path("net.py"))
    assert proposed is not None
    assert proposed.option == "split.py:preprocess_text(most=9)"
    said = describe_tokenizer_function(proposed)
    assert "its argument text is the text" in said
    assert proposed.called is not None
    assert proposed.called.place in said


@pytest.mark.parametrize("named", ["split.py:preprocess_text", "net.py:predict"])
def test_a_named_function_gets_the_values_of_the_owners_call(named: str, folder: Path) -> None:
    Path("split.py").write_text(PREPROCESS)
    code = "def predict(text, model, vocab):\n    return model(preprocess_text(text, vocab, 9))\n"
    Path("net.py").write_text(f"{FILE.split('def predict')[0]}from split import preprocess_text\n{code}")
    message = export("net.py:Net", "--tokenizer", named).stderr
    assert f"--tokenizer {named} is taken as split.py:preprocess_text(most=9), as net.py, line" in message
    assert "--tokenizer 'split.py:preprocess_text(most=9)'" in message.splitlines()[-1]


def test_a_function_that_needs_an_object_beside_the_text_is_called_as_the_owners_code_calls_it(folder: Path) -> None:
    code = "def encode(text, cut, vocab, most):\n    return [vocab[word] for word in cut(text)][:most]\n"
    called = (
        "cut = str.split\ndef predict(text, model, vocab, most=2):\n    return model(encode(text, cut, vocab, 2))\n"
    )
    Path("net.py").write_text(FILE.split("def predict")[0] + code + called)
    proposed = propose_tokenizer_function(Path("net.py"))
    assert proposed is not None
    assert proposed.option == "net.py:encode"
    assert "its argument text is the text" in describe_tokenizer_function(proposed)
    assert run_source(proposed.code)["words"]("a b c", {"a": 1, "b": 5, "c": 3}) == [1, 5]
    message = export("net.py:Net", "--tokenizer", "net.py:encode").stderr
    assert "--tokenizer net.py:encode" in message.splitlines()[-1]


@pytest.mark.parametrize(
    ("call", "values"),
    [("", {"most": 9, "kind": "a"}), ("Words(net, vocab, 7)", {"most": 7, "kind": "a"}),
     ("Words(net, vocab, most=read())", {"kind": "a"})],
)  # fmt: skip
def test_plain_attributes_of_an_object_that_splits_texts_are_those_of_the_owners_call(
    call: str, values: dict[str, Any], folder: Path
) -> None:
    Path("net.py").write_text(
        f"{FILE.split('def predict')[0]}class Words:\n    def __init__(self, net, vocab, most=9):\n"
        "        self.net, self.vocab, self.most = net, vocab, most\n        self.kind = 'a'\n        self.twice = 1\n"
        f"        self.twice = 2\n    def encode(self, text):\n        return [self.vocab[one] for one in text.split()]"
        f"[:self.most]\n{call}\n"
    )
    assert find_attribute_values(Path("net.py"), "Words", ["net", "most", "kind", "twice"]) == values
    if "most" not in values:
        assert name_proposed_function() == ""
        return
    assert name_proposed_function() == "net.py:Words.encode"
    named = parse_module_name("net.py:Words.encode")
    assert named is not None
    assert load_text_function(named, "", {"a": 1, "b": 2})(" ".join("ab" * 9)) == ([1, 2] * 9)[: values["most"]]


@pytest.mark.parametrize("call", ["most", "9)\npreprocess_text('b', vocab, 8"])
def test_a_function_whose_further_values_are_not_known_is_not_proposed(call: str, folder: Path) -> None:
    Path("split.py").write_text(f"{PREPROCESS}preprocess_text('a', vocab, {call})\n")
    Path("net.py").write_text(FILE.split("def predict")[0])
    assert (name_proposed_function() == "") is (call == "most")


def test_an_unknown_value_where_a_function_answers_is_not_that_of_another_call(folder: Path) -> None:
    code = "def predict(text, model, vocab, n):\n    return model(preprocess_text(text, vocab, n()))\n"
    Path("net.py").write_text(f"{FILE.split('def predict')[0]}{PREPROCESS}{code}preprocess_text('a', vocab, 9)\n")
    assert name_proposed_function() == ""


def test_a_file_of_texts_is_no_vocabulary_and_an_encoder_of_labels_splits_no_texts(folder: Path) -> None:
    Path("net.py").write_text(f"{FILE}\ndef class_encoder(name):\n    return 0\ndata = open('questions.txt')\n")
    Path("questions.txt").write_text("".join(f"what is question {i}?\n" for i in range(30)))
    Path("vocab.json").unlink()
    line = export("net.py").stderr
    assert "questions.txt" not in line
    assert "class_encoder" not in line


@pytest.mark.slow
def test_an_export_whose_rules_are_not_compared_names_the_file_of_answers(folder: Path) -> None:
    Path("answers.csv").write_text("text,label\nfilm,good\n")
    given = ["--weights", "models/best.pt", "--vocabulary", "vocab.json", "--labels", "bad,good"]
    result = export("net.py:Net", *given, "--rules", '{"tokenizer": "whitespace"}')
    assert result.exit_code == 0, result.stderr
    assert "--pairs answers.csv" in result.stdout.splitlines()[-1]
    assert "--pairs" not in result.stderr


@pytest.mark.parametrize(
    ("code", "proposed"),
    [
        ("class Texts:\n def __init__(self, vocab): ...\n def tokenize(self, text): ...", "cut.py:Texts.tokenize"),
        ("class Texts:\n def __init__(self, net, vocab): ...\n def tokenize(self, text): self.net(text)", ""),
        (
            "class Texts:\n def __init__(self, net, vocab): ...\n def tokenize(self, text): text.split()",
            "cut.py:Texts.tokenize",
        ),
        ("def tokenize(reviews, vocab): ...", ""),
    ],
)
def test_a_method_whose_class_needs_more_than_words_and_a_function_of_many_texts_are_not_proposed(
    code: str, proposed: str, folder: Path
) -> None:
    Path("net.py").write_text(FILE.split("def predict")[0])
    Path("cut.py").write_text(code)
    assert name_proposed_function() == proposed


@pytest.mark.parametrize(
    "code",
    ["import jieba\nclass Texts:\n def tokenize(self, text):\n  return [*jieba.cut(text)]",
     "import spacy as s\nclass Texts:\n def __init__(self):\n  self.nlp = s.load('en')\n def tokenize(self, text):\n"
     "  return [t.lemma_ for t in self.nlp(text)]"],
)  # fmt: skip
def test_a_function_that_calls_a_library_is_proposed_before_others(code: str, folder: Path) -> None:
    Path("net.py").write_text(FILE.split("def predict")[0])
    Path("cut.py").write_text(code)
    proposed = propose_tokenizer_function(Path("net.py"))
    assert proposed is not None
    assert proposed.option == "cut.py:Texts.tokenize"
    assert re.search("jieba|spacy", describe_tokenizer_function(proposed))


def test_the_first_line_to_copy_has_the_library_that_splits_texts_and_the_answers(folder: Path) -> None:
    Path("net.py").write_text(FILE.split("def predict")[0])
    Path("cut.py").write_text("import jieba\nclass Texts:\n def tokenize(self, text):\n  return [*jieba.cut(text)]")
    rows = "".join(f"film {i},good\n" for i in range(25))
    Path("answers.csv").write_text(f"text,label\n{rows}")
    found = export("net.py").stderr.splitlines()
    line = shlex.split(found[-1])
    given = {option: line[line.index(option) + 1] for option in ("--tokenizer", "--pairs", "--rules")}
    assert given == {"--tokenizer": "cut.py:Texts.tokenize", "--pairs": "answers.csv",
                     "--rules": '{"tokenizer": "external"}'}  # fmt: skip


@pytest.mark.usefixtures("folder")
def test_the_nearest_rules_are_not_shown_where_a_library_splits_texts() -> None:
    Path("cut.py").write_text("import jieba\ndef cut(text):\n return jieba.cut(text)\n")
    Path("jieba.py").write_text("def cut(text):\n return [letter for word in text.split() for letter in word[::2]]\n")
    given = ["--weights", "models/best.pt", "--vocabulary", "vocab.json", "--labels", "bad,good"]
    found = export("net.py:Net", *given, "--tokenizer", "cut.py:cut").stderr
    assert "calls jieba" in found
    assert "nearest" not in found
    assert '--rules \'{"tokenizer": "external"}\'' in found.splitlines()[-1]


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("class A(nn.Module):\n def forward(self, x): pass\nclass B(A): pass", ["B"]),
        ("class A:\n def forward(self, x): pass\nclass B:\n def forward(self, x): pass", ["A", "B"]),
        ("class A:\n def predict(self, x): pass", []),
    ],
)
def test_the_modules_of_a_file_are_those_that_no_other_one_contains(
    tmp_path: Path, code: str, names: list[str]
) -> None:
    (tmp_path / "a.py").write_text(code)
    assert list_module_classes(tmp_path / "a.py") == names


@pytest.mark.parametrize(
    ("code", "proposed"),
    [("from net import Net", "net.py:Net"), ("class Other(Net):\n def forward(self, x): pass", "page.py:Other")],
)
def test_a_file_without_a_module_leads_to_one_near_it(folder: Path, code: str, proposed: str) -> None:
    Path("page.py").write_text(code)
    result = export("page.py")
    assert result.exit_code == 2
    assert proposed in result.stderr


@pytest.mark.parametrize(("source", "weights"), [("README.md", ""), ("models/best.pt", "--weights models/best.pt")])
def test_a_file_that_is_no_code_leads_to_a_module_near_it(folder: Path, source: str, weights: str) -> None:
    Path("README.md").write_text("# Texts")
    result = export(source)
    assert result.exit_code == 2
    assert f"{source} " in result.stderr
    assert re.search(rf"Write: .* export net\.py:Net .*{weights}", result.stderr)


@pytest.mark.parametrize("source", ["models/best.pt", "."])
def test_the_notebook_beside_weights_comes_before_other_files_that_fit(source: str, folder: Path) -> None:
    # Its layers have the names of those in the weights, but not their sizes.
    Path("a.py").write_text(FILE.replace("dim, batch_first", "dim * 2, batch_first").replace("Net", "Decoder"))
    cells = {"cells": [cell(FILE)], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    Path("models/page.ipynb").write_text(json.dumps(cells))
    result = export(source)
    assert "one of the modules: models/page.ipynb:Net, net.py:Net." in result.stderr
    assert re.search("export models/page.ipynb:Net .*--weights models/best.pt", result.stderr.splitlines()[-1])
    assert "taken as models/page.ipynb:Net" in export("models").stderr


def test_modules_of_examples_and_scripts_are_not_offered_for_a_file_that_is_no_code(folder: Path) -> None:
    for name in ("examples/one", "scripts"):
        Path(name).mkdir(parents=True)
        Path("net.py").rename(f"{name}/net.py")
        Path("README.md").write_text("# Texts")
        found = export("README.md").stderr
        assert "Name the Python file or notebook with the module" in found
        assert "Write:" not in found
        Path(name, "net.py").rename("net.py")
    assert "net.py:Net" in export("README.md").stderr


def test_answers_beside_the_module_are_named_from_another_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("answers.csv").write_text("text,label\noil up,bad\noil,good\n")
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    message = export("../net.py:Net").stderr
    assert "line 28: 'good' if prediction == 1 else 'bad')" in message
    assert "--pairs ../answers.csv checks their order" in message
    assert "--pairs ../answers.csv" in message.splitlines()[-1]


def test_weights_of_another_class_name_the_class_that_has_their_layers(folder: Path) -> None:
    init = "    def __init__(self):\n        super().__init__()\n        self.out = nn.Linear(2, 2)\n"
    forward = "    def forward(self, x):\n        return self.out(x.float())\n"
    Path("net.py").write_text(f"{FILE}\nclass Second(nn.Module):\n{init}{forward}")
    given = ["--weights", "models/best.pt", "--vocabulary", "vocab.json", "--labels", "bad,good"]
    result = export("net.py:Second", *given)
    assert result.exit_code == 2
    assert "These are weights of net.py:Net" in result.stderr
    assert "export net.py:Net" in result.stderr.splitlines()[-1]


def test_the_one_of_several_modules_that_has_the_layers_of_the_weights_is_taken(folder: Path) -> None:
    second = "class Second(nn.Module):\n    def forward(self, x):\n        return x\n"
    Path("net.py").write_text(f"{FILE}\n{second}")
    assert "net.py is taken as net.py:Net" in export("net.py").stderr
    # Both have these layers.
    layers = FILE[FILE.index("    def __init__(self, vocab") : FILE.index("    def forward(self, x)")]
    Path("net.py").write_text(f"{FILE}\n{second.replace('    def', f'{layers}    def')}")
    result = export("net.py")
    assert result.exit_code == 2
    assert "net.py:Net, net.py:Second" in result.stderr


@pytest.mark.parametrize(
    ("code", "labels"),
    [
        ("LABELS = ['sad', 'glad']", ("sad", "glad")),
        ("self.columns = ['toxic', 'threat']", ("toxic", "threat")),
        ("table = {1: 'Positive', 0: 'Negative'}", ("Negative", "Positive")),
        ("class_names = {1: 'World', 2: 'Sports'}", ("World", "Sports")),
        ("frame['y'] = frame['x'].map({'positive': 1, 'negative': 0})", ("negative", "positive")),
        ("answer = {0: 'ham', 1: 'spam'}[number]", ("ham", "spam")),
        ("print('spam' if prob >= 0.5 else 'ham')", ("ham", "spam")),
        ("shown = 'ham' if pred.item() == 0 else 'spam'", ("ham", "spam")),
        ("if output > 0.5:\n    shown = 'spam'\nelse:\n    shown = 'ham'", ("ham", "spam")),
        (
            "if pred.item() == 1:\n print('-')\n print('It is bad..')\nelse:\n print('-')\n print('It is good !')",
            ("good", "bad"),
        ),
        ("if pred == 1:\n    print('It is bad')\nelse:\n    print('Nobody knows')", None),
        ("frame.columns = ['target', 'text']", None),
        ("device = 'cuda' if available else 'cpu'", None),
        ("words = 'texts' if count > 1 else 'text'", None),
        ("sentiment_map = {-1: 'bad', 0: 'fair', 1: 'good'}", ("bad", "fair", "good")),
        ("label_map = {1: 'bad', 2: 'bad', 3: 'fair', 4: 'good', 5: 'good'}", ("bad", "fair", "good")),
        ("label_dict = {'bad': 0, 'negative': 0, 'good': 1, 'positive': 1}", ("bad", "good")),
        ("names = {'0': 'ham', '1': 'spam'}", ("ham", "spam")),
        ("idx2label = {i: one for i, one in enumerate(['ham', 'spam'])}", ("ham", "spam")),
        ("CLASS_NAMES: list = np.array('World Sports'.split())", None),
        ("CLASS_NAMES: list = 'World Sports'.split()", ("World", "Sports")),
        ("classification_report(y, p, target_names=['ham', 'spam'])", ("ham", "spam")),
        ("SETTINGS = {'labels': ['ham', 'spam'], 'dim': 3}", ("ham", "spam")),
        ("def predict(text, labels=('ham', 'spam')): ...", ("ham", "spam")),
        ("answer = ['ham', 'spam'][int(torch.argmax(x))]", ("ham", "spam")),
        ("answer = {0: 'ham', 1: 'spam'}.get(k)", ("ham", "spam")),
        ("shown = 'spam' if 0.5 < x else 'ham'", ("ham", "spam")),
        ("shown = 'spam' if score > self.threshold else 'ham'", ("ham", "spam")),
        ("shown = 'ham' if not prediction else 'spam'", ("ham", "spam")),
        ("shown = 'bad' if pred == 0 else 'fair' if pred == 1 else 'good'", ("bad", "fair", "good")),
        ("if pred != 1:\n shown = 'ham'\nelse:\n shown = 'spam'", ("ham", "spam")),
        ("def f(pred):\n if pred == 1:\n  log()\n  return 'spam'\n return 'ham'", ("ham", "spam")),
        (
            "def f(k):\n if k == 0:\n  return 'a', p\n if k == 1:\n  return 'b', p\n"
            " if k == 2:\n  return 'c', p\n raise X",
            ("a", "b", "c"),
        ),
        ("match k:\n case 0:\n  s = 'a'\n case 1:\n  s = 'b'\n case _:\n  s = 'c'", ("a", "b", "c")),
        ("if pred == 0:\n print(f'{p} bad')\nif pred == 1:\n print(f'{p} good')\nprint('done')", ("bad", "good")),
        ("if p > 0.6:\n s = 'good'\nelif p < 0.4:\n s = 'bad'\nelse:\n s = 'fair'", None),
        ("frame = DataFrame(rows, columns=['target', 'text'])", None),
        ("mode = 'w' if results else 'r'", None),
        ("ending = 'st' if count == 1 else 'th'", None),
        ("LABELS = ['one']", None),
        ("LABELS = ['same', 'same']", None),
        ("LABELS = ['a', name]", None),
        ("vocab = {'<pad>': 0, 'oil': 1}", None),
    ],
)
def test_labels_are_found_in_code_in_the_order_of_their_numbers(
    tmp_path: Path, code: str, labels: tuple[str, ...] | None
) -> None:
    (tmp_path / "a.py").write_text(code)
    assert [one.labels for one in find_labels_in_code(tmp_path / "a.py")] == ([] if labels is None else [labels])


@pytest.mark.parametrize(
    ("outputs", "answers", "proposed"),
    [
        (2, "ham", "ham,spam"),
        (1, "glad", "sad,glad"),
        (2, "", "sad,glad"),
        (3, "", "low,middle,high"),
        (4, "", make_placeholder_labels(4)),
    ],
)
def test_labels_are_proposed_if_only_they_fit_the_weights_or_the_answers(
    outputs: int, answers: str, proposed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(
        "print('glad' if prob > 0.5 else 'sad')\nMOODS = {0: 'ham', 1: 'spam'}\nCLASSES = ['low', 'middle', 'high']\n"
        "OTHER_CLASSES = ['Low', 'Middle', 'High']\n"
    )
    layers = {"fc.weight": (outputs, 4), "fc.bias": (outputs,), "attention.weight": (1, 6)}
    torch.save({"embedding.weight": torch.zeros(9, 6)} | {k: torch.zeros(v) for k, v in layers.items()}, "best.pt")
    if answers:
        Path("answers.csv").write_text(f"text,label\na b,{answers}\n")
    found = propose_labels(Path("net.py"), Path("best.pt"), None, multi_label=False)
    assert found.value == proposed
    if proposed == make_placeholder_labels(outputs):
        assert f"fc, has {outputs} outputs" in found.sentence
        for named in ("sad,glad (net.py, line 1)", "ham,spam (net.py, line 2)"):
            assert named not in found.sentence


def test_labels_of_equal_evidence_are_all_named_and_those_of_notebooks_come_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text("MOODS = {0: 'sad', 1: 'glad'}\nKINDS = {0: 'ham', 1: 'spam'}\n")
    found = propose_labels(Path("net.py"), None, None, multi_label=False)
    assert found.value == make_placeholder_labels(3)
    assert "sad,glad (net.py, line 1) and ham,spam (net.py, line 2)" in found.sentence
    notebook_file = {"cells": [cell("print('good' if pred == 1 else 'bad')\n")], "metadata": {}, "nbformat": 4}
    Path("try.ipynb").write_text(json.dumps(notebook_file))
    assert propose_labels(Path("net.py"), None, None, multi_label=False).value == make_placeholder_labels(3)
    Path("net.py").write_text("")
    os.utime("net.py", (1, 1))
    assert propose_labels(Path("net.py"), None, None, multi_label=False).value == "bad,good"


@pytest.mark.parametrize(
    ("answers", "outputs", "proposed"),
    [
        ("text,label\na b,REAL\nb,FAKE\nc,REAL\nd,FAKE\n", 2, "FAKE,REAL"),
        ("text,label,y_pred\na b,x,REAL\nb,y,FAKE\nc,z,REAL\nd,x,FAKE\n", 1, "FAKE,REAL"),
        ("text,prob_REAL,prob_FAKE\na b,0.25,0.75\n", 2, "REAL,FAKE"),
        ("text,prediction\na b,1\nb,0\n", 3, "0,1,2"),
        ("text,label\na b,REAL\nb,FAKE\nc,REAL\nd,FAKE\n", 3, make_placeholder_labels(3)),
        ("text,p_0,p_1\na b,0.25,0.75\n", 2, make_placeholder_labels(2)),
    ],
)
def test_labels_that_no_code_names_are_those_of_the_answers(
    answers: str, outputs: int, proposed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.py").touch()
    torch.save({"embedding.weight": torch.zeros(9, 6), "fc.weight": torch.zeros(outputs, 4)}, "best.pt")
    Path("answers.csv").write_text(answers)
    assert propose_labels(Path("net.py"), Path("best.pt"), None, multi_label=False).value == proposed


def test_the_labels_of_lines_of_json_are_proposed_in_their_order(folder: Path) -> None:
    Path("answers.jsonl").write_text('{"text": "film", "probabilities": {"REAL": 0.25, "FAKE": 0.75}}\n')
    Path("net.py").write_text(FILE.split("def predict")[0])
    found = propose_labels(Path("net.py"), Path("models/best.pt"), None, multi_label=False)
    assert found.value == "REAL,FAKE"
    Path("answers.jsonl").write_text('{"text": "film", "label": 1}\n{"text": "w1", "label": 0}\n')
    assert propose_labels(Path("net.py"), None, None, multi_label=False).value == "0,1"


def test_answers_are_named_in_the_first_line_to_copy_without_known_labels(folder: Path) -> None:
    Path("net.py").write_text(FILE.split("def predict")[0] + "open('vocab.json'), open('models/best.pt')")
    Path("answers.csv").write_text("text,p_0,p_1\nfilm,0.25,0.75\n")
    assert "--labels LABEL0,LABEL1 --pairs answers.csv" in export("net.py").stderr


COUNTED = """
import helpers
def build_vocab(texts):
    found = {"<PAD>": 0}
    for text in texts:
        for word in text.split():
            found.setdefault(word, len(found))
    return found
"""
AT_TOP = """
train = helpers.texts
train = train[:2]
vocab = build_vocab(train)
vocab["<UNK>"] = len(vocab)
for epoch in range(10):
    helpers.train(vocab.get("oil"))
"""
IN_MAIN = """
def main(most=2):
    model = helpers.Model()
    with helpers.open_texts() as texts:
        train = [one for one in texts][:most]
    word2idx, words = build_vocab(train), None
    word2idx = build_vocab(train)
    word2idx.update({"<UNK>": len(word2idx)})
    model.fit(word2idx)
if __name__ == "__main__":
    main()
"""


BY_IMPORTS = """
from helpers import *
def process(path, most):
    texts = open_texts(path).read().split("\\n")[:most]
    return texts, count_words(texts)
if __name__ == "__main__":
    model = Model(load_settings())
    train, word2idx = process("reviews.txt", 2)
    model.fit(word2idx)
"""


def test_all_spellings_of_a_module_give_one_script_named_after_its_file(folder: Path) -> None:
    Path("vocab.json").unlink()
    Path("helpers.py").write_text("texts = ['oil', 'war']\n")
    Path("net.py").write_text(FILE.split("def predict")[0] + COUNTED + AT_TOP)
    for source in ("net.py:Net", "./net.py:Net", "net.py", ".", f"../{folder.name}", f"{folder}/net.py:Net"):
        result = CliRunner().invoke(main, ["export", source])
        assert "--vocabulary net_vocabulary.json" in result.stderr, source
        assert [one.name for one in Path().glob("*_vocabulary*")] == ["net_vocabulary.py"], source


@pytest.mark.parametrize("code", [AT_TOP, IN_MAIN, BY_IMPORTS])
def test_code_that_counts_a_vocabulary_becomes_a_script(code: str, folder: Path) -> None:
    Path("vocab.json").unlink()
    Path("train").mkdir()
    start = "" if code is BY_IMPORTS else COUNTED
    Path("train/net.py").write_text(FILE.replace("vocab.json", "v") + start + code)
    Path("train/helpers.py").write_text(f"import io\ntexts = ['a b', 'b oil', 'x']\nopen_texts = lambda path='': "
                                        f"io.StringIO('\\n'.join(texts)){COUNTED.replace('import helpers', '')}"
                                        "count_words = lambda texts: {**build_vocab(texts), '<UNK>': 4}")  # fmt: skip
    message = export("train/net.py:Net").stderr
    assert "python out_vocabulary.py" in message
    assert "--vocabulary out_vocabulary.json" in message
    subprocess.run([sys.executable, "out_vocabulary.py"], check=True, capture_output=True)
    assert json.loads(Path("out_vocabulary.json").read_text()) == {"<PAD>": 0, "a": 1, "b": 2, "oil": 3, "<UNK>": 4}


def run_script(code: str, folder: Path, *arguments: str) -> Any:
    """Run the code as v.py in a folder. Return what it writes to v.json."""
    (folder / "v.py").write_text(code)
    subprocess.run([sys.executable, "v.py", *arguments], check=True, capture_output=True, cwd=folder)
    return json.loads((folder / "v.json").read_text())


def test_a_failed_export_leaves_no_written_function(folder: Path) -> None:
    code = "def predict(text, model, vocab):\n    return model([vocab.get(w, 1) for w in text.lower().split()])\n"
    Path("net.py").write_text(FILE.split("def predict")[0] + code)
    given = ("net.py:Net", "--vocabulary", "vocab.json", "--labels", "a,b,c", "--tokenizer", "net.py:predict")
    refused = export(*given)
    assert refused.exit_code, refused.stderr
    assert "--tokenizer net.py:predict" in refused.stderr.partition("Write: ")[2]
    assert "out_words" not in refused.stderr
    assert not Path("out_words.py").exists()
    # One that an earlier export has written stays as it was.
    Path("out_words.py").write_text(before := write_first_line_of_exported_file("x = 1\n") + "x = 1\n")
    assert export(*given).exit_code
    assert Path("out_words.py").read_text() == before


@pytest.mark.parametrize(
    "helper",
    ["def words(text):\n    return text.lower().split()\n", "from helper import words\n", "words = str.split\n"],
)
def test_a_function_of_the_owners_with_the_name_of_the_written_one_is_another(helper: str, tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("def words(text):\n    return text.lower().split()\n")
    short = "class Kinds:\n    words = 3\ndef few(words, most=Kinds.words):\n    return words[:most]\n"
    answer = "def predict(text, model, vocab):\n    return model([vocab.get(w, 1) for w in few(words=words(text))])\n"
    (tmp_path / "net.py").write_text(helper + short + answer)
    written = write_tokenizer_of_function(tmp_path / "net.py", "predict")
    assert written is not None
    assert run_source(written.code)["words"]("a b c d") == ["a", "b", "c"]


def test_files_that_export_wrote_are_not_the_owners_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text("def encode(text):\n    return text.split()\n")
    code = "def words(text):\n    return text.split()\n"
    made = write_code_file(Path("out"), "words", code)
    assert made == Path("out_words.py")
    # Another output has a file of its own, as a module of Python, and the same output the same file.
    assert write_code_file(Path("3-b.x"), "words", code) == Path("_3_b_x_words.py")
    assert write_code_file(Path("out"), "words", f"{code}\n") == made
    assert made.read_text().endswith("split()\n\n")
    # A file that the owner has changed stays, as that of an output that is not replaced does.
    made.write_text(f"{made.read_text()}x = 1\n")
    assert write_code_file(Path("out"), "words", code) == Path("out_words2.py")
    Path("kept").mkdir()
    kept = [write_code_file(Path("kept"), "words", f"{code}{'#' * number}") for number in range(2)]
    assert kept == [Path("kept_words.py"), Path("kept_words2.py")]
    assert write_code_file(Path("kept"), "words", code) == kept[0]
    assert [one.option for one in list_text_functions(Path("net.py"))] == ["net.py:encode"]
    # A file that the user names is read.
    assert list_files_near(made) == [made, Path("net.py")]


@pytest.mark.parametrize(
    ("body", "is_splitter"),
    [
        ("return self.ids.get(one, 1)", False),
        ("return self.ids[one] if one in self.ids else 1", False),
        ("if one not in self.ids:\n            return 1\n        return self.ids[one]", False),
        ("return [self.ids.get(word, 1) for word in one.split()]", True),
        ("return self.ids.get(one) or one.split()", True),
    ],
)
def test_a_function_that_only_looks_its_argument_up_is_not_taken_for_one_that_splits_texts(
    body: str, is_splitter: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(
        "import torch\nclass Net(torch.nn.Module):\n    def forward(self, x):\n        return x\n"
        "class Vocab:\n    def __init__(self):\n        self.ids = {}\n"
        f"    def token_to_id(self, one):\n        {body}\n"
    )
    assert [one.name for one in list_text_functions(Path("net.py"))] == ["Vocab.token_to_id"] * is_splitter


def test_the_only_module_of_a_folder_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("scripts", "src"):
        Path(name).mkdir()
        Path(name, "net.py").write_text(FILE)
        for folder in (".", name):
            message = export(folder).stderr
            assert f"Note: {folder} is taken as {name}/net.py:Net" in message
            assert f"Write: pocketrnn export {name}/net.py:Net" in message


def test_the_owners_function_is_taken_in_place_of_a_file_that_was_written_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text("def encode(text):\n    return text.split()\n")
    Path("in").mkdir()
    code = "def words(text):\n    return text.split()\n"
    named = parse_module_name("net.py:encode")
    made = write_code_file(Path("in/out"), "words", code, named, "./net.py:encode(most=3)")
    assert "return text.split()  # net.py, line 2" in made.read_text()

    def take() -> str:
        options = {"tokenizer": f"{made}:words"}
        with click.Context(click.Command("export")):
            set_tokenizer_to_origin_of_written_file(options)
        return options["tokenizer"]

    assert Path(take().partition(":")[0]).resolve() == Path("net.py").resolve()
    assert take().endswith(":encode(most=3)")
    made.write_text(made.read_text() + "x = 1\n")
    assert take() == "in/out_words.py:words"


def test_the_last_lines_say_how_python_takes_the_function_and_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("cut.py").write_text(
        "import re\nimport nltk\nfrom clean import clean\nindex = open('words.vec')\n\ndef words(text):\n"
        "    return [clean(text)]\n\ndef other():\n    return open('never.txt')\n"
    )
    Path("clean.py").write_text(
        "import contractions\nnot_used = 1\ndef clean(text):\n    return open('data/stop.lst')\n"
    )
    Path("data").mkdir()
    for name in ("words.vec", "data/stop.lst", "never.txt"):
        Path(name).write_text("a")
    assert print_import_of_tokenizer('Classifier.load("mine"', "cut.py:words")
    assert not print_import_of_tokenizer('Classifier.load("mine"', "my-cut.py:words")
    heading, *code, needs, data = capsys.readouterr().out.splitlines()
    assert heading.startswith("In Python")
    # Nothing is left to look up.
    compile("\n".join(line.strip() for line in code), "printed", "exec")
    assert code[0].strip() == "from pocketrnn import Classifier"
    assert "  from cut import words" in code
    assert '  classifier = Classifier.load("mine", tokenizer=words)' in code
    assert re.findall(r"[\w.]+\.py|contractions|nltk|\bre\b", needs) == ["cut.py", "clean.py", "contractions", "nltk"]
    assert {*re.findall(r"[\w./]+\.(?:vec|lst|txt)", data)} == {"words.vec", "data/stop.lst"}
    # Text rules may do what a function does, but not what a library does.
    assert "--rules" in needs
    Path("cut.py").write_text("import nltk\n\ndef words(text):\n    return nltk.word_tokenize(text)\n")
    assert print_import_of_tokenizer('Classifier.load("mine"', "cut.py:words")
    assert "--rules" not in capsys.readouterr().out
    Path("cut.py").write_text(
        "import jieba\nclass Cutter:\n    def __init__(self, stop=None): self.stop = stop\n"
        "    def cut(self, text): return jieba.lcut(text)\n"
        "class Other(Cutter):\n    def __init__(self, stop): self.stop = stop\n    def cut(self, text): return [text]\n"
    )
    assert print_import_of_tokenizer('Classifier.load("mine"', "cut.py:Cutter.cut")
    said = capsys.readouterr().out
    assert 'from cut import Cutter\n  classifier = Classifier.load("mine", tokenizer=Cutter().cut)' in said
    assert "jieba" in said.splitlines()[-1]
    assert not print_import_of_tokenizer('Classifier.load("mine"', "cut.py:Other.cut")


@pytest.mark.parametrize("tokenizer", ["external", "whitespace"])
def test_the_last_lines_say_how_a_text_without_tokens_is_answered(tokenizer: str) -> None:
    text = SimpleNamespace(rules=TextRules(tokenizer=tokenizer, empty_id=1), vocabulary=("<unk>", "<pad>", "oil"))
    (line,) = describe_empty_texts(cast("Any", SimpleNamespace(text=text)))
    assert "'<pad>'" in line


def test_a_command_to_copy_lets_a_function_that_calls_a_library_split_the_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("cut.py").write_text("import nltk\n\ndef words(text):\n    return nltk.word_tokenize(text)\n")
    widths = '{"max_width": 9}'

    def complete(changes: dict[str, str | None], **given: str) -> dict[str, Any]:
        with click.Context(click.Command("export")) as context:
            context.params = given
            return json.loads(complete_rules_beside_tokenizer_function(changes).get("rules") or "{}")

    both = {"tokenizer": "external", "max_width": 9}
    assert complete({"force": "--force"}, tokenizer="cut.py:words") == {"tokenizer": "external"}
    assert complete({"tokenizer": "cut.py:words"}, rules=widths) == both
    assert complete({"tokenizer": "cut.py:words", "rules": widths}) == both
    assert complete({"rules": '{"tokenizer": "space"}'}, tokenizer="cut.py:words") == {"tokenizer": "space"}
    assert complete({"tokenizer": "basic_english"}) == {}


def test_without_a_tokenizer_the_function_of_the_code_is_told_before_other_causes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text("def tokenize(text):\n    return text.split()\n")
    error = OtherAnswersError("9 of 9 answers differ.", "Give the vocabulary.")
    names = ("source", "tokenizer", "rules", "max_tokens", "multi_label", "pairs")
    options: dict[str, Any] = dict.fromkeys(names) | {"source": "net.py:Net"}

    def refuse(_: Any) -> Any:
        raise error

    with click.Context(click.Command("export")) as context:
        context.params = {"output": "out", "source": "net.py:Net"}
        with pytest.raises(ParityError) as refused:
            export_with_rules_from_answers(refuse, {}, options, None)
    message = str(refused.value)
    assert message.index("net.py:tokenize") < message.index("--tokenizer") < message.index("Give the vocabulary")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import string\nletters = string.ascii_lowercase[:0] + 'x'\n"
         "def encode(name): return [letters.find(one) for one in name]", None),
        ("import string\nletters = string.digits + ' .'\ndef encode(name): return [letters.find(one) for one in name]",
         [*"0123456789 ."]),
        ("class A:\n    pass\nLETTERS = 'abc'\nimport os\nFILES = os.listdir('.')\n"
         "def encode(one): return LETTERS.index(one) + 1", [*"abc"]),
        ("WORDS = ['<pad>', 'oil', 'war']\ndef encode(text): return [WORDS.index(one) for one in text.split()]",
         ["<pad>", "oil", "war"]),
        ("SIGNS = 'abc'\nplace = SIGNS.find('b')", None),
        ("def encode(text, signs='abc'): return [signs.find(one) for one in text]", None),
    ],
)  # fmt: skip
def test_a_string_in_which_code_finds_the_places_of_letters_is_saved_as_a_vocabulary(
    code: str, words: list[str] | None, tmp_path: Path
) -> None:
    (tmp_path / "net.py").write_text(f"{code}\n")
    script = find_code_that_makes_vocabulary(tmp_path / "net.py")
    assert (script is None) == (words is None)
    if script is not None:
        # The listing of files is not in the lines that the script needs.
        assert not script.unsorted
        assert run_script(script.write(), tmp_path) == words


def test_a_missing_vocabulary_is_made_by_the_script_beside_it(folder: Path) -> None:
    write_code_file(Path("out"), "vocabulary", "words = 1\n")
    made = export("net.py:Net", "--vocabulary", "out_vocabulary.json", "--labels", "a,b")
    assert "python out_vocabulary.py" in made.stderr
    assert "is run" not in made.stderr


def test_a_refused_command_says_nothing_of_the_probabilities_of_a_bundle() -> None:
    with click.Context(click.Command("export")) as context:
        for raised, kept in ((None, 2), (InputError("a", "b"), 1)):
            get_lines_to_print_at_end(context)[:] = [("a", ABOUT_SOFTMAX), ("b", "")]
            with contextlib.suppress(InputError), print_stages():
                if raised is not None:
                    raise raised
            assert len(get_lines_to_print_at_end(context)) == kept


def test_of_several_files_of_answers_the_one_that_begins_with_that_name_is_proposed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("my-answers.csv", "answers.csv", "mine-answers.csv"):
        Path(name).write_text("text,label,probability\noil,bad,0.75\n")
    found = propose_pairs(["bad", "good"], None, multi_label=False)
    assert found is not None
    assert (found.file, found.others) == ("answers.csv", ("mine-answers.csv", "my-answers.csv"))
    assert "my-answers.csv" in found.sentence


@pytest.mark.parametrize(("rows", "size"), [(28, 3), (4, 3), (2, 2), (0, 3)])
def test_the_script_saves_the_one_of_several_vocabularies_that_fits_the_embedding(
    rows: int, size: int, tmp_path: Path
) -> None:
    (tmp_path / "net.py").write_text(
        "def build(*words):\n    return [{w: i for i, w in enumerate(one)} for one in words]\n"
        "tag_vocab, word2idx = build('xy', 'abc')\ndef f():\n    char2idx = {'a': 0}\n"
    )
    script = find_code_that_makes_vocabulary(tmp_path / "net.py")
    assert script is not None
    assert {*script.made} == {"tag_vocab", "word2idx"}
    assert script.others == (f"char2idx ({tmp_path / 'net.py'}, line 5)",)
    assert len(run_script(script.write(rows), tmp_path)) == size


@pytest.mark.parametrize(
    "installed", ["raise OSError('undefined symbol')", "def build_vocab_from_iterator(rows): pass"]
)
def test_a_script_counts_a_vocabulary_as_torchtext_does_in_the_folder_of_the_data(
    installed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    Path("torchtext/data").mkdir(parents=True)
    Path("torchtext/vocab.py").write_text(installed)
    for name in ("__init__", "data/__init__", "data/utils"):
        Path(f"torchtext/{name}.py").touch()
    Path("net.py").touch()
    Path("runs/texts.txt").write_text("Oil, OIL b a\na c c.\n")
    # The owner's file of settings does not import a module that it needs.
    Path("runs/settings.py").write_text("SETTINGS = {'most': 5, 'of': collections.Counter, 'name': 'texts.txt'}\n")
    Path("runs/words.py").write_text(
        "import collections\nfrom torchtext.data.utils import get_tokenizer\nfrom torchtext.vocab import *\n"
        "from torchtext.vocab import GloVe, build_vocab_from_iterator\nfrom settings import SETTINGS\n"
        "split = get_tokenizer('basic_english')\ndef build_vocab():\n"
        "    vocab = build_vocab_from_iterator(map(split, open(SETTINGS['name'])), specials=['<unk>'], "
        "max_tokens=SETTINGS['most'])\n    vocab.set_default_index(vocab['<unk>'])\n    return vocab\n"
    )
    Path("runs/main.py").write_text("from words import build_vocab\nvocab = build_vocab()\n")
    if "OSError" not in installed:
        Path("torchtext/vocab.py").write_text(f"{installed}\nGloVe = None\n")
    script = find_code_that_makes_vocabulary(Path("net.py"))
    assert script is not None
    Path("made").mkdir()
    found = run_script(script.write(folder=Path("made")), Path("made"))
    # By falling count, and words with equal counts by their letters.
    assert found == {"default_index": 0, "tokens": ["<unk>", "a", "c", "oil", ","]}
    assert read_vocabulary(Path("made/v.json")).default_index == 0


@pytest.mark.parametrize(("imported", "code", "is_needed"), [
    ("vocab", "build_vocab_from_iterator(t, specials=s)", True), ("vocab", "build_vocab_from_iterator(t).stoi", False),
    ("vocab", "Vocab(counts, min_freq=2)", False), ("data.utils", "Vocab(get_tokenizer('basic_english')).stoi", True),
    ("data", "Field(t)", False)])  # fmt: skip
def test_code_for_an_old_torchtext_keeps_its_functions(
    imported: str, code: str, is_needed: bool, tmp_path: Path
) -> None:
    (tmp_path / "net.py").write_text(f"from torchtext.{imported} import *\nt, s, counts = [], [], {{}}\n"
                                     f"def make_vocab():\n    return {code}\nvocab = make_vocab()\n")  # fmt: skip
    script = find_code_that_makes_vocabulary(tmp_path / "net.py")
    assert script is not None
    assert script.needs_torchtext == is_needed


@pytest.mark.parametrize(("rows", "kind"), [(5, list), (6, dict), (7, dict)])
def test_the_script_saves_the_dict_whose_ids_begin_at_one_if_the_embedding_has_that_row(
    rows: int, kind: type, tmp_path: Path
) -> None:
    (tmp_path / "net.py").write_text(
        "vocab = sorted({*'badce'})\nvocab_to_int = {word: i for i, word in enumerate(vocab, 1)}\n"
    )
    script = find_code_that_makes_vocabulary(tmp_path / "net.py")
    assert script is not None
    assert isinstance(run_script(script.write(rows), tmp_path), kind)


def test_the_owners_function_that_loads_the_vocabulary_is_called_with_the_file_that_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("src", "data"):
        (tmp_path / folder).mkdir()
    Path("data/vocabulary.txt").write_text("oil 9\ncup 3\n")
    Path("src/settings.ini").write_text("path=../data/vocabulary.txt\n")
    Path("src/net.py").write_text("from torch import nn\n")
    Path("src/files.py").write_text(
        "FIRST = '#unk#'\ndef load_vocab_pair(path):\n    return open(path), 1\n"
        "def load_vocabulary(path):\n    return [FIRST, *(line.split()[0] for line in open(path))]\n"
    )
    found = find_vocabulary_loader(Path("src/net.py"))
    assert found is not None
    assert found[1] == Path("data/vocabulary.txt")
    assert run_script(found[0].write(3), tmp_path) == ["#unk#", "oil", "cup"]
    # Either may be the file.
    Path("data/words.txt").write_text("oil\n")
    Path("src/settings.ini").write_text("path=../data/vocabulary.txt\nother=../data/words.txt\n")
    assert find_vocabulary_loader(Path("src/net.py")) is None


@pytest.mark.parametrize(
    ("code", "first"),
    [
        ("words = ['<pad>', '<unk>'] + open('words.txt').read().split()\nids = {w: i for i, w in enumerate(words)}\n",
         {"<pad>": 0, "<unk>": 1, "oil": 2}),
        ("def load_words(path='words.txt'):\n    return [line.strip() for line in open(path)]\n"
         "def answer(text):\n    vocab = {w: i + 2 for i, w in enumerate(load_words())}\n    return text, vocab\n",
         {"oil": 2, "cup": 3}),
        ("class Service:\n    def __init__(self, path='words.txt'):\n        with open(path) as file:\n"
         "            self.words = ['[UNK]', *sorted(file.read().split())]\n"
         "        self.word2idx = {w: i for i, w in enumerate(self.words)}\n",
         {"[UNK]": 0, "cup": 1, "oil": 2}),
        ("import argparse\nparser = argparse.ArgumentParser()\nparser.add_argument('text')\n"
         "parser.add_argument('--words', default='words.txt')\nargs = parser.parse_args()\n"
         "vocab = {w: i for i, w in enumerate(open(args.words).read().split(), 1)}\n", {"oil": 1, "cup": 2}),
        ("from pathlib import Path\nHERE = Path(__file__).parent\n"
         "vocab = {'<pad>': 0}\nfor line in open(HERE / '../words.txt'):\n    vocab[line.strip()] = len(vocab)\n",
         {"<pad>": 0, "oil": 1}),
    ],
)  # fmt: skip
def test_code_that_adds_words_to_those_of_a_file_is_followed(
    code: str, first: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("src").mkdir()
    Path("words.txt").write_text("oil\ncup\n")
    Path("src/net.py").write_text(code)
    found = find_vocabulary_loader(Path("src/net.py"), Path("words.txt"))
    assert found is not None
    assert found[0].changes_ids(["oil", "cup"])
    made = run_script(found[0].write(), tmp_path)
    made = made if isinstance(made, dict) else {word: i for i, word in enumerate(made)}
    assert dict([*made.items()][: len(first)]) == first


def test_code_that_takes_the_words_of_a_file_as_they_are_changes_no_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text("vocab = {w: i for i, w in enumerate(open('words.txt'), 0)}\nPAD = vocab['<pad>']\n")
    found = find_vocabulary_loader(Path("net.py"), Path("words.txt"))
    assert found is not None
    assert not found[0].changes_ids(["<pad>", "oil"])


@pytest.mark.parametrize(
    ("code", "is_whole"),
    [
        ("try:\n    texts = json.load(open('rows.txt'))\n"
         "except ValueError:\n    texts = open('rows.txt').read().split()\n"
         "vocab = build_vocab(texts)\n", True),
        ("try:\n    vocab = build_vocab(['b', 'a'])\nexcept OSError:\n    vocab = {}\n", False),
        ("try:\n    vocab = build_vocab(['b', 'a'])\nexcept OSError:\n    print('no')\n", False),
    ],
)  # fmt: skip
def test_data_that_code_reads_in_a_second_way_after_an_error_are_read_so_by_the_script(
    code: str, is_whole: bool, tmp_path: Path
) -> None:
    (tmp_path / "rows.txt").write_text("b a")
    (tmp_path / "net.py").write_text(
        f"import json\ndef build_vocab(texts):\n    return {{w: i for i, w in enumerate(texts)}}\n{code}"
    )
    script = find_code_that_makes_vocabulary(tmp_path / "net.py")
    assert script is not None
    assert ("except" in script.code) == is_whole
    assert run_script(script.write(2, tmp_path), tmp_path) == {"b": 0, "a": 1}


@pytest.mark.parametrize(("code", "is_told"), [("vocab[word] += 1", False), ("vocab[word] = len(vocab)", True)])
def test_a_dict_of_counts_is_not_advised_as_a_vocabulary(code: str, is_told: bool, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(f"def build(words):\n    vocab = {{}}\n    for word in words:\n        {code}\n")
    assert ("json.dump(vocab," in describe_vocabulary_to_save([tmp_path / "net.py"])) == is_told


@pytest.mark.parametrize(("code", "is_found"), [("split('\\n')", True), ("splitlines()", False)])
def test_an_empty_label_after_the_last_line_gets_a_name(
    code: str, is_found: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("labels.txt").write_text("x\ny\n")
    Path("net.py").write_text(f"labels = open('labels.txt').read().{code}\n")
    torch.save({"out.weight": torch.zeros(3, 4), "out.bias": torch.zeros(3)}, "net.pt")
    found = propose_labels(Path("net.py"), Path("net.pt"), None, multi_label=False)
    assert found.value == ("x,y,none" if is_found else "LABEL0,LABEL1,LABEL2")
    assert ("line 2, the last" in found.sentence) == is_found


def test_a_message_shows_the_first_of_many_labels() -> None:
    assert join_first_labels(["a", "b"]) == "a,b"
    assert join_first_labels([f"l{number}" for number in range(51)]) == "l0,l1,l2,... (51 labels)"


def test_a_parameter_that_the_function_binds_before_it_reads_it_needs_no_caller(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "def train(text):\n    text = 'oil up'\n    vocab = {word: i for i, word in enumerate(text.split())}\n"
    )
    script = find_code_that_makes_vocabulary(tmp_path / "net.py")
    assert script is not None
    assert run_script(script.write(), tmp_path) == {"oil": 0, "up": 1}


@pytest.mark.parametrize(
    "code",
    ["def train(texts):\n    vocab = {w: i for i, w in enumerate(texts)}", "vocab = json.load(open('v.json'))",
     "def build_vocab(t):\n    return {}\nvocab = build_vocab(unknown)",
     "def build_vocab(text):\n    text = [*text]\n    vocab = {w: i for i, w in enumerate(text)}\n    return vocab",
     "def make(counts):\n    counts.update('ab')\n    vocab = {w: i for i, w in enumerate(counts)}"],
)  # fmt: skip
def test_a_vocabulary_that_needs_more_than_the_file_has_is_no_script(code: str, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(f"import json\n{code}\n")
    assert find_code_that_makes_vocabulary(tmp_path / "net.py") is None


@pytest.mark.parametrize(
    "use",
    ["def main():\n    size = 2\n    loader, vocab = get_loaders(size=size)\n",
     "data = Data()\nvocab = data.vocab\n", "def main():\n    data = Data()\n    vocab = data.make()\n"],
)  # fmt: skip
def test_a_vocabulary_that_an_imported_function_or_object_gives_is_saved_by_a_script(
    use: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("src").mkdir()
    Path("runs").mkdir()
    Path("net.py").touch()
    Path("src/data.py").write_text(
        "import os\ndef get_loaders(size=1):\n    return None, {w: i for i, w in enumerate(read())}\n"
        "def read():\n    return os.listdir('src/texts')\n"
        "class Data:\n    def __init__(self):\n        self.vocab = get_loaders()[1]\n"
        "    def make(self):\n        return self.vocab\n"
    )
    Path("src/texts").mkdir()
    for name in "cab":
        Path("src/texts", name).touch()
    Path("runs/main.py").write_text(f"from src.data import get_loaders, Data\n{use}")
    script = find_code_that_makes_vocabulary(Path("net.py"))
    assert script is not None
    assert script.unsorted == f"{Path('src/data.py')}, line 5,"
    assert run_script(script.write(), Path(), "sorted") == {"a": 0, "b": 1, "c": 2}


@pytest.mark.parametrize(
    ("imported", "call"),
    [("from .data import build_vocab", "build_vocab"), ("from ..text.words import build_vocab", "build_vocab"),
     ("from . import data", "data.build_vocab"), ("import data as d", "d.build_vocab")],
)  # fmt: skip
@pytest.mark.parametrize("has_init", [True, False])
def test_a_script_that_saves_a_vocabulary_imports_from_the_owners_package(
    imported: str, call: str, *, has_init: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("src/pkg/nets", "src/pkg/text"):
        Path(name).mkdir(parents=True)
    for name in ("src/pkg", "src/pkg/nets", "src/pkg/text") if has_init else ():
        Path(name, "__init__.py").touch()
    code = "def build_vocab(texts):\n    return {w: i for i, w in enumerate(texts)}\n"
    Path("src/pkg/nets/data.py").write_text(code)
    Path("src/pkg/text/words.py").write_text(code)
    Path("src/pkg/nets/net.py").write_text(f"{imported}\ndef main():\n    vocab = {call}(['a', 'b'])\n")
    script = find_code_that_makes_vocabulary(Path("src/pkg/nets/net.py"))
    assert script is not None
    assert str(tmp_path) not in script.write()
    assert run_script(script.write(), Path()) == {"a": 0, "b": 1}


def test_files_are_found_by_the_names_in_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.py").touch()
    Path("data").mkdir()
    Path("data/words.pkl").touch()
    Path("settings.yaml").write_text("layers: 2\nword_indices: ../data/words.pkl  # by main.py\n")
    assert list_data_files_named_in_code(Path("net.py"), "pkl") == {Path("data/words.pkl"): "settings.yaml, line 2"}


def test_links_in_a_circle_and_pipes_are_passed_over(tmp_path: Path) -> None:
    Path(tmp_path, "a.py").write_text("LABELS = ['x', 'y']")
    Path(tmp_path, "loop.py").symlink_to("loop.py")
    os.mkfifo(tmp_path / "pipe.py")
    assert list_files_near(tmp_path / "a.py") == [tmp_path / "a.py"]


def test_a_large_file_near_the_module_is_not_read_and_a_notebook_is_parsed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("table.py").write_text(f"LABELS = ['sad', 'glad']\nTEXT = '{'x' * 2**18}'\n")
    picture = cell("import table\nMOODS = {0: 'bad', 1: 'good'}\n", outputs=["x" * 2**22])
    Path("net.ipynb").write_text(json.dumps({"cells": [picture], "metadata": {}, "nbformat": 4}))
    parsed: list[str] = []
    parse = notebook.parse_statements
    monkeypatch.setattr(notebook, "parse_statements", lambda source: parsed.append(source) or parse(source))
    assert list_files_near(Path("net.ipynb")) == [Path("net.ipynb")]
    assert [one.labels for one in find_labels_in_code(Path("net.ipynb"))] == [("bad", "good")]
    assert not imports_torch_directly_or_indirectly(Path("net.ipynb"))
    assert len(parsed) == 1
    os.utime("net.ipynb", (1, 1))
    assert len(find_labels_in_code(Path("net.ipynb"))) == 1
    assert len(parsed) == 2


def test_files_are_found_by_the_names_in_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.py").write_text("open(BASE + '/saved/words.json'), f'best_{kind}_model.pt', open('absent.json')")
    Path("saved").mkdir()
    for name in ("saved/words.json", "best_gru_model.pt", "other.json"):
        Path(name).touch()
    found = {*list_data_files_named_in_code(Path("a.py"), "json|pt")}
    assert found == {Path("saved/words.json"), Path("best_gru_model.pt")}


CLEANED = "def clean(t):\n    return re.sub('x', '', t)\nimport re\n"
INNER = "def encode(t):\n    return [vocab.get(w, 1) for w in t.split('-')]\n"


@pytest.mark.parametrize(
    ("code", "text", "words"),
    [
        ("def f(t, model):\n    t = t.lower()\n    return model([v[w] for w in t.split()])", "A b", ["a", "b"]),
        (f"{CLEANED}def f(t, m):\n    m.eval()\n    ids = [v[w] for w in clean(t).split()]", "ax b", ["a", "b"]),
        (f"{INNER}def f(request):\n    return model(encode(request.text.lower()))", "A-b", ["a", "b"]),
        (f"{INNER}async def f(request):\n    text = request.text\n    return encode(text)", "a-b", ["a", "b"]),
        ("N = 1\ndef f(t, m):\n    return [v[w] if w in v else 0 for w in t.split()[:N]]", "a b", ["a"]),
        ("def f(t, m, n=2):\n    with no_grad():\n        return [v[w] for w in t.split()[:n]]", "a b c", ["a", "b"]),
        (
            "def f(t, m):\n    if not t:\n        return 'none'\n    return [v.get(w, 0) for w in list(t)]",
            "ab",
            ["a", "b"],
        ),
        ("def f(t, m):\n    words = []\n    words.extend(t)\n    return [v[w] for w in words]", "ab", ["a", "b"]),
        ("def f(t, m):\n    words = [*t]\n    del words[0]\n    return [v[w] for w in words]", "ab", ["b"]),
        ("def f(t, m):\n    words = [*t]\n    words[0] = 'c'\n    return [v[w] for w in words]", "ab", ["c", "b"]),
    ],
)
def test_the_lines_of_a_function_that_split_a_text_become_a_function(
    tmp_path: Path, code: str, text: str, words: list[str]
) -> None:
    (tmp_path / "a.py").write_text(code)
    written = write_tokenizer_of_function(tmp_path / "a.py", "f")
    assert written is not None
    made: dict[str, Any] = run_source(written.code)
    assert made["words"](text) == words


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ("", ["an", "oil", "film"]),
        ("tok = Tokenizer(num_words=9, lower=False, filters='-')", ["AN", "Oil!\tFilm"]),
        ("class Mine:\n    def texts_to_sequences(self, texts): ...", None),
    ],
)
def test_the_words_that_a_keras_tokenizer_gets_are_split_as_it_does(
    made: str, words: list[str] | None, folder: Path
) -> None:
    Path("train.py").write_text(made)
    Path("a.py").write_text("def f(t, m, tok):\n    ids = pad_sequences(tok.texts_to_sequences([t.replace('a', 'A')]))")
    written = write_tokenizer_of_function(Path("a.py"), "f")
    assert (None if written is None else run_source(written.code)["words"]("aN-Oil!\tFilm")) == words
    assert written is None or any("pad_sequences" in line for line in written.later_changes)


def test_a_string_that_the_owners_function_gives_is_split_as_keras_does(folder: Path) -> None:
    Path("a.py").write_text("import keras\ndef clean(text):\n    return text.replace('0', 'o')\n")
    options = {"tokenizer": "a.py:clean", "vocabulary": "tokenizer.json"}
    with click.Context(click.Command("export")) as context:
        context.params = {"output": Path("out"), **options}
        assert replace_tokenizer_that_cleans_before_keras(options, KerasSplit())
    assert options["tokenizer"] == "out_words.py:words"
    assert run_source(Path("out_words.py").read_text())["words"]("G0,  Now") == ["go", "now"]


@pytest.mark.parametrize(
    ("code", "present", "named"),
    [
        ("# spaCy 2\nnlp = spacy.load('en', disable=['ner'])", "spacy.load('en_core_web_sm', disable=", "download"),
        ("é, nlp = 'é', spacy.load('de')  # é", "'é', spacy.load('de_core_news_sm')  # é", "de_core_news_sm"),
        ("nlp = spacy.load('en_core_web_md')", "spacy.load('en_core_web_md')", ""),
        ("from spacy.en import English", "from spacy.lang.en import English", "spacy.lang.en"),
        ("def f():\n    nltk.download('punkt')", "    nltk.download('punkt_tab')", "punkt_tab"),
        ("cut = nltk.data.load('tokenizers/punkt/english.pickle')", "nltk.tokenize.PunktTokenizer('english')", "_tab"),
        ("from keras.preprocessing.text import Tokenizer", "from tensorflow.keras.preprocessing.text import Tokenizer",
         "Keras 3"),
        ("from keras.preprocessing.sequence import pad_sequences", "from keras.preprocessing.sequence import", ""),
        ("from torchtext.data import Field", "from torchtext.data import Field", "torchtext has no Field"),
        ("from torchtext.data.utils import get_tokenizer", "from torchtext.data.utils import get_tokenizer", ""),
    ],
)  # fmt: skip
def test_what_libraries_have_removed_is_written_in_its_present_form(code: str, present: str, named: str) -> None:
    changed, notes = replace_removed_names(code)
    assert present in changed
    assert (notes != []) == (named != "")
    assert named in " ".join(notes)


def test_a_function_that_needs_a_removed_name_is_written_with_the_present_one(folder: Path) -> None:
    Path("cut.py").write_text("import spacy\nnlp = spacy.load('en')\ndef words_of(text):\n    return [*nlp(text)]\n")
    options = {"tokenizer": "cut.py:words_of"}
    with click.Context(click.Command("export")) as context:
        context.params = {"output": Path("out"), **options}
        assert replace_tokenizer_by_code_with_present_names(options)
        assert not replace_tokenizer_by_code_with_present_names({"tokenizer": "net.py:predict"})
    assert options["tokenizer"] == "out_words.py:words"
    assert "spacy.load('en_core_web_sm')" in Path("out_words.py").read_text()


PAGE = """
import spacy
from flask import Flask, request
app, nlp = Flask(__name__), None
nlp = spacy.load("en")
def cut(text):
    return [token.text for token in nlp(text)]
@app.route("/predict", methods=["POST"])
def predict():
    def trim(x):
        return x[:200]
    if request.method == "POST":
        READ
        ids = [vocab.stoi[t] for t in cut(trim(text))]
    return render(model(ids))
"""


@pytest.mark.parametrize(
    "read",
    ["text = request.form['text']", "data = request.get_json(force=True); text = str(data['body'])",
     "text = request.args.get('q', '')", "values = [x for x in request.form.values()]; text = values[0]"],
)  # fmt: skip
def test_a_page_that_splits_texts_by_a_library_is_proposed_and_its_lines_take_a_text(read: str, folder: Path) -> None:
    Path("net.py").write_text(FILE.split("def predict")[0] + PAGE.replace("READ", read).replace("app, nlp", "app, _"))
    proposed = name_proposed_function()
    assert proposed == "net.py:predict"
    assert make_options_of_tokenizer_function(proposed)["rules"] == '{"tokenizer": "external"}'
    written = write_tokenizer_of_function(Path("net.py"), "predict")
    assert written is not None
    assert "request" not in written.code
    code = written.code.replace("import spacy", "").replace("spacy.load('en')", "cut_for_test")
    made = run_source(
        f"from argparse import Namespace\ncut_for_test = lambda t: [Namespace(text=w) for w in t]\n{code}"
    )
    assert made["words"]("ab" * 200) == [*"ab" * 100]


def test_the_lines_of_a_page_with_several_fields_are_a_function_of_these(folder: Path) -> None:
    read = "form = request.form; text = form['title'] + '. ' + form['body']"
    page = PAGE.replace("READ", read).replace("app, nlp", "app, _").replace("return x[:200]", "return x.upper()")
    Path("page.py").write_text(page)
    given = ["--weights", "models/best.pt", "--vocabulary", "vocab.json", "--labels", "bad,good"]
    line = export("net.py:Net", *given, "--tokenizer", "page.py:predict").stderr
    assert "2 fields of a request (title, body)" in line
    assert "def words_of_fields(title, body):" in Path("out_words.py").read_text()


def test_a_text_function_that_needs_what_is_not_run_is_named_and_no_value_is_asked_for(folder: Path) -> None:
    Path("app").mkdir()
    Path("app/words.pkl").write_bytes(b"")
    Path("app/page.py").write_text(
        "import pickle\nfrom pathlib import Path\nwords = pickle.loads(Path('words.pkl').read_bytes())\n"
        "class Net:\n  size = len(words)\n"
        "cut = Net()\ndef encode(text):\n  return cut(text)\n"
    )
    given = ["--weights", "models/best.pt", "--vocabulary", "vocab.json", "--labels", "bad,good"]
    line = export("net.py:Net", *given, "--tokenizer", "app/page.py:encode").stderr
    assert re.search(r"app/page.py:encode, which takes texts,.* needs words", line)
    assert "--set words" not in line
    assert f"It lies at {Path('app/words.pkl')}" in line


@pytest.mark.parametrize("made", ["Field(tokenize='spacy')", "get_tokenizer('spacy', language='en')"])
def test_a_library_that_torchtext_calls_is_named(made: str, folder: Path) -> None:
    Path("cut.py").write_text(f"field = {made}\ndef tokenize(text):\n    return field(text)\n")
    assert make_options_of_tokenizer_function("cut.py:tokenize")["rules"] == '{"tokenizer": "external"}'


@pytest.mark.parametrize(
    ("lines", "changes"),
    [
        (["ids = [v[w] for w in t[:9].split()]", "x = torch.tensor([ids])", "print(m(x)[:3])"], []),
        (["ids = [v[w] for w in t.split()][::-1]"], [3]),
        (["ids = [v[w] for w in t.split()]", "ids = ids[-9:]", "ids = [2] + ids", "ids.append(3)"], [4, 5, 6]),
        (["x = encode(t)[::-1]"], [3]),
        # A batch of one text.
        (["rows = []", "rows.append([v[w] for w in t.split()])"], []),
        (["rows = [2]", "rows.extend([v[w] for w in t.split()])"], [4]),
    ],
)
def test_what_changes_the_ids_after_the_split_is_listed(tmp_path: Path, lines: list[str], changes: list[int]) -> None:
    code = "".join(f"    {line}\n" for line in lines)
    (tmp_path / "a.py").write_text(f"v = {{}}\ndef f(t, m):\n{code}{INNER}")
    written = write_tokenizer_of_function(tmp_path / "a.py", "f")
    assert written is not None
    assert [int(line.split()[1].rstrip(":")) for line in written.later_changes] == changes


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("tokens = tok(text)", True),
        ("tokens = tok(text.lower())", False),
        ("tokens = tok(text)[:9]", False),
        ("tokens = [one for one in tok(text) if one]", False),
        ("tokens = text.split()", False),
    ],
)
def test_torchtexts_tokenizer_is_taken_without_its_package(tmp_path: Path, line: str, expected: bool) -> None:
    begin = "from torchtext.data import get_tokenizer\ntok = get_tokenizer('basic_english')\n"
    code = f"{begin}def g(text):\n    {line}\n    return [v[w] for w in tokens]\ndef f(t, m):\n    return m(g(t))"
    (tmp_path / "a.py").write_text(code)
    written = write_tokenizer_of_function(tmp_path / "a.py", "f")
    assert written is not None
    assert uses_only_basic_english_tokenizer(written.code) == expected


@pytest.mark.slow
def test_a_function_whose_file_makes_the_vocabulary_in_a_loop_is_read(folder: Path) -> None:
    begin = "counts = {}\nfor text in texts:\n    counts[text] = 1\nvocab = {w: i for i, w in enumerate(counts)}\n"
    Path("loop.py").write_text(f"{begin}def encode(text):\n    return [vocab.get(w, 1) for w in text.lower().split()]")
    given = ["--weights", "models/best.pt", "--vocabulary", "vocab.json", "--labels", "bad,good"]
    result = export("net.py:Net", *given, "--tokenizer", "loop.py:encode")
    assert result.exit_code == 0, result.stderr
    assert Classifier.load("out").encode("GOOD film") == [WORDS.index("good"), WORDS.index("film")]


@pytest.mark.slow
def test_a_length_in_a_file_that_imports_the_module_is_told(folder: Path) -> None:
    Path("serve.py").write_text("from net import Net\nmax_len = 37\n")
    given = ["--weights", "models/best.pt", "--vocabulary", "vocab.json", "--labels", "bad,good"]
    assert "max_len=37" in export("net.py:Net", *given).stderr


@pytest.mark.parametrize(
    "code",
    [
        "def f(t, model):\n    return model(t)",
        "def f(t, splitter):\n    return [v[w] for w in splitter(t)]",
        "def f(t, m):\n    return [v[w] for w in unknown(t)]",
        "def f(t, m):\n    return [v.get(w, v.get(w.lower(), 1)) for w in t.split()]",
        "def f(t, m):\n    if t.isupper():\n        t = t.lower()\n        if t == 'x':\n            return 0\n"
        "    return [v[w] for w in t.split()]",
        "def f(self, t):\n    return [v[w] for w in self.split(t)]",
        "def g(t):\n    return [v[w] for w in t]",
        "nlp = load('en')\nfor i in x: nlp = i\ndef f(t, m):\n    return [v[w] for w in nlp(t)]",
    ],
)
def test_lines_that_need_more_than_the_text_are_no_function(tmp_path: Path, code: str) -> None:
    (tmp_path / "a.py").write_text(code)
    assert write_tokenizer_of_function(tmp_path / "a.py", "f") is None


def test_the_model_of_an_answering_function_is_not_its_text(tmp_path: Path) -> None:
    code = "def predict(model, text):\n    ids = [vocab[word] for word in text.split()]\n    return model(ids)\n"
    (tmp_path / "a.py").write_text(f"{code}net = Net(dim=len(words))\npredict(net, line)\n")
    assert find_changed_text(tmp_path / "a.py", "predict") is None
    (tmp_path / "a.py").write_text(f"{code}net = Net(dim=len(words))\npredict(net, clean(line))\n")
    found = find_changed_text(tmp_path / "a.py", "predict")
    assert found is not None
    assert (found.code, found.text) == ("clean(line)", "line")


@pytest.mark.parametrize(
    ("lines", "changed"),
    [
        ("print(predict(clean(line), model, vocab))", "clean(line)"),
        ("better = clean(line)\nprint(predict(better, model, vocab))", "clean(line)"),
        ("def answer(line):\n    return predict(clean(line).upper(), model, vocab)", "clean(line).upper()"),
        ("print(predict(line, model, vocab), predict(str(line), model, vocab), predict('a b', model, vocab))", ""),
        ("print(predict(clean(rows['text']), model, vocab))", ""),
        ("predict(model=Net(len(vocab)), vocab=vocab, text=clean(line))", "clean(line)"),
        ("predict(Net(len(vocab)), Net(len(vocab)), vocab)", ""),
    ],
)
def test_a_tokenizer_also_changes_a_text_as_the_code_does_before_the_function(
    lines: str, changed: str, tmp_path: Path
) -> None:
    code = "def clean(text):\n    return text.replace('0', 'o')\n\ndef predict(text, model, vocab):\n"
    code += "    return model([vocab.get(word, 1) for word in text.split()])\n\n"
    (tmp_path / "a.py").write_text(code + lines)
    found = find_changed_text(tmp_path / "a.py", "predict")
    assert (found.code if found else "") == changed
    if found is not None:
        made = write_tokenizer_of_function(tmp_path / "a.py", "predict", found)
        assert made is not None
        assert run_source(made.code)["words"]("g0 n0w") == ("GO NOW" if "upper" in changed else "go now").split()


def test_a_name_that_another_function_changes_is_given_as_it_is(tmp_path: Path) -> None:
    code = "def predict(text, model, vocab):\n    text = clean(text)\n"
    code += "    return model([vocab.get(word, 1) for word in text.split()])\n\n"
    (tmp_path / "a.py").write_text(f"{code}def answer(text):\n    return predict(text, model, vocab)\n")
    assert find_changed_text(tmp_path / "a.py", "predict") is None
    # In its own function, and outside of functions, it is changed.
    (tmp_path / "a.py").write_text(f"{code}text = clean(line)\npredict(text, model, vocab)\n")
    assert find_changed_text(tmp_path / "a.py", "predict") is not None


def test_a_file_whose_imports_lead_to_torch_is_told_from_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("src").mkdir()
    Path("src/net.py").write_text("import clean\nfrom torch import nn\n")
    Path("src/data.py").write_text("from .net import Net\n")
    Path("cut.py").write_text("from src.data import words\n")
    Path("clean.py").write_text("import re, json\nimport other\n")
    Path("other.py").write_text("import clean, broken\n")
    Path("broken.py").write_text("print 'as in Python 2'\n")
    assert [imports_torch_directly_or_indirectly(Path(name)) for name in ("cut.py", "src/data.py", "clean.py")] == [
        True,
        True,
        False,
    ]


def test_of_several_modules_the_one_that_other_files_make_is_found(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("class A: ...\nclass B: ...\nfor kind in (A(), B(), A()): print(kind)\n")
    found = find_first_calls_of_classes(tmp_path / "net.py", ["A", "B"])
    assert found == {"A": f"{tmp_path / 'net.py'}, line 3", "B": f"{tmp_path / 'net.py'}, line 3"}
    (tmp_path / "answer.py").write_text("import net\nmodel = net.B().eval()\n")
    assert find_first_calls_of_classes(tmp_path / "net.py", ["A", "B"]) == {"B": f"{tmp_path / 'answer.py'}, line 2"}


def test_the_corrected_command_replaces_wrong_labels_and_keeps_the_answers(folder: Path) -> None:
    Path("answers.csv").write_text("text,label\noil up,bad\noil,good\n")
    Path("out").mkdir()
    Path("out/classifier.json").touch()
    given = ("--weights", "models/best.pt", "--vocabulary", "vocab.json", "--pairs", "answers.csv", "-o", "out")
    line = export("net.py:Net", *given, "--labels", "bad").stderr.splitlines()[-1]
    for said in ("--labels bad,good", "--pairs answers.csv", "--force", "--vocabulary vocab.json"):
        assert said in line
    # Without the answers, the weights show the number of labels.
    Path("answers.csv").unlink()
    line = export("net.py:Net", *given[:4], "-o", "out", "--labels", "bad").stderr.splitlines()[-1]
    assert "--labels bad,good" in line


def test_weights_given_as_the_vocabulary_are_replaced_in_the_corrected_command(folder: Path) -> None:
    given = ("--weights", "models/best.pt", "--vocabulary", "models/best.pt", "--labels", "bad,good")
    line = export("net.py:Net", *given).stderr.splitlines()[-1]
    assert "--vocabulary vocab.json" in line
    assert "--vocabulary models/best.pt" not in line


def test_a_table_without_names_is_replaced_by_answers_with_a_column_of_more_words(folder: Path) -> None:
    Path("answers.csv").write_text(
        "text,label,probability,others\noil up,good,0.6,bad 0.4; x 0.1\noil,bad,0.7,good 0.3\n"
    )
    given = ("--weights", "models/best.pt", "--vocabulary", "vocab.json", "--labels", "bad,good")
    for rows in ("oil is up\t1\ta\nit is bad\t1\tb\n", "oil is up\t1\t1\nit is bad\t0\t0\n"):
        Path("train.tsv").write_text(rows)
        line = export("net.py:Net", *given, "--pairs", "train.tsv").stderr.splitlines()[-1]
        assert "--pairs answers.csv" in line


def test_a_sigmoid_of_several_outputs_in_code_is_in_the_line_to_copy(folder: Path) -> None:
    code = Path("net.py").read_text()
    for line, is_given in (("torch.sigmoid(net(x))", True), ("torch.softmax(net(x), 1)", False)):
        Path("net.py").write_text(f"{code}\ndef ask(net, x):\n    return {line}\n")
        said = export("net.py:Net", "--weights", "models/best.pt").stderr
        assert ("--multi-label" in said.splitlines()[-1]) == is_given
        assert (f"says '{line}'" in said) == is_given


def test_a_tokenizer_that_also_changes_a_text_has_a_file_of_its_own(folder: Path) -> None:
    code = "def clean(text):\n    return text.replace('0', 'o')\n\ndef answer(model, text):\n"
    code += "    return model([vocab[word] for word in text.split()])\n\nanswer(net, clean(line))\n"
    Path("app.py").write_text(code)
    options = {"tokenizer": "app.py:answer", "vocabulary": None, "rules": None}
    with click.Context(click.Command("export")) as context:
        context.params = {"output": Path("out"), **options}
        assert replace_tokenizer_by_its_splitting_part(options)
    assert options["tokenizer"] == "out_words.py:words"
    assert "clean" not in Path("out_words.py").read_text()
    assert "clean" in Path("out_changed_words.py").read_text()


@pytest.mark.parametrize(
    ("column", "is_found"),
    [("df['text'].apply(clean)", True), ("df['text'].astype(str).map(clean)", True),
     ("df['label'].apply(clean)", False), ("df['text'].apply(other)", False), ("clean(df)", False)],
)  # fmt: skip
def test_a_function_that_cleans_a_column_of_texts_is_proposed_from_another_file(
    column: str, is_found: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text("from torch import nn\nclass Net(nn.Module):\n    def forward(self, x): ...\n")
    Path("cleaning.py").write_text(
        "import re\ndef clean(text):\n    return re.sub('[0-9]', '', text.lower())\ndef other(text):\n    return 1\n"
    )
    Path("train.py").write_text(f"from cleaning import clean, other\nfrom net import Net\nrows = {column}\n")
    found = propose_tokenizer_function(Path("net.py"))
    assert (found is not None and found.option == "cleaning.py:clean") == is_found


def test_lines_to_copy_keep_a_function_that_splits_as_basic_english_does(folder: Path) -> None:
    code = "from torchtext.data.utils import get_tokenizer\ntokenizer = get_tokenizer('basic_english')\n"
    code += "def answer(model, text):\n    return model([vocab[word] for word in tokenizer(text) if word in vocab])\n"
    Path("app.py").write_text(code)
    options: dict[str, Any] = {"tokenizer": "app.py:answer", "vocabulary": None, "rules": '{"max_width": 9}'}
    found = OpenSettings([NamedLength("app.py, line 1,", "max_len", 50)], {}, "right", "right")
    with click.Context(click.Command("export")) as context:
        context.params = {"output": Path("out"), **options}
        assert replace_tokenizer_by_its_splitting_part(options)
        assert (options["tokenizer"], context.params["tokenizer"]) == ("basic_english", "app.py:answer")
        stated = json.loads(options["rules"])
        options["max_tokens"] = None
        changes = _make_options_for_length_and_unknown_id(found, options, stated, TextRules())
    assert stated == {"unknown_id": None, "max_width": 9}
    assert "tokenizer" not in changes
    assert json.loads(str(changes["rules"])) == {"unknown_id": None, "max_width": 50, "min_width": 50}
    # A tokenizer that is named stays, too.
    named = _make_options_for_length_and_unknown_id(
        found, {**options, "tokenizer": "whitespace"}, {}, TextRules(tokenizer="whitespace")
    )
    assert "tokenizer" not in {**named, **json.loads(str(named["rules"]))}
