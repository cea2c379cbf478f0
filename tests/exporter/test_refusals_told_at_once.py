"""The options that an export needs are told at once, with one line to copy; a checkpoint's own are taken or named."""

from __future__ import annotations

import ast
import json
import logging
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from module_sources import make_net, run_source

from pocketrnn.bundle.manifest import read_manifest
from pocketrnn.commands.cli import main
from pocketrnn_export.commands.missing_option_files import correct_missing_source
from pocketrnn_export.intake.arguments_from_weights import list_strings_compared_with_argument
from pocketrnn_export.option_corrections_error import OptionCorrectionsError
from pocketrnn_export.source_code.code_and_data_files_near_module import write_first_line_of_exported_file
from pocketrnn_export.vocabularies.checkpoint_text_settings import (
    advise_on_checkpoint_settings,
    describe_lengths,
    list_text_lengths_in_checkpoint,
)

pytestmark = pytest.mark.usefixtures("scant_proofs")
WORDS = ["<pad>", "<unk>", "oil", "film", "good", "bad", "don't", "movie"]
FILE = """
import re
import torch
from torch import nn

print("the file runs")
STOP_WORDS = {"the", "a", "of"}


def tokenize(text, keep=True):
    text = re.sub(r"<[^>]+>", " ", text.lower())
    return [w for w in re.sub(r"[^a-z' ]", " ", text).split() if w not in STOP_WORDS and len(w) > 1 and keep]


def with_table(text, table):
    return [table[w] for w in text.split() if w in table]


class Net(nn.Module):
    def __init__(self, words, dim, pooling, classes=2):
        super().__init__()
        self.embedding = nn.Embedding(words, dim)
        self.gru = nn.GRU(dim, dim, batch_first=True)
        self.fc = nn.Linear(dim, classes)
        self.pooling = pooling

    def forward(self, x):
        steps = self.gru(self.embedding(x))[0]
        if self.pooling == "max":
            return self.fc(steps.max(1)[0])
        return self.fc(steps.mean(1) if self.pooling in ("mean", "average") else steps[:, -1])
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(FILE)
    state = make_net(FILE, len(WORDS), 6, "mean").state_dict()
    torch.save(state, "plain.pt")
    held = {"word2idx": {word: i for i, word in enumerate(WORDS)}, "classes": ["bad", "good"], "max_len": 50}
    torch.save({"model_state_dict": state, **held, "best_threshold": 0.43}, "whole.pt")
    texts = ["the film", "A <b>good</b> film of oil", "don't!", "bad x movie", "oil: good"]
    tokenize = run_source(FILE)["tokenize"]
    lines = [{"text": t, "ids": [WORDS.index(w) for w in tokenize(t)]} for t in texts]
    Path("pairs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def export(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["export", *arguments, "-o", "out", "--no-torchscript"])


@pytest.mark.parametrize(
    ("arguments", "heading"),
    [
        (["net.py:Net"], "Not exported yet"),
        (["net.py"], "Not exported yet"),
        (["two.py"], "Not exported yet"),
        (["net.py:Net", "--vocabulary", "words.json", "--labels", "bad,good"], "Not exported yet"),
        (["net.py:Net", "--vocabulary", "none.json"], "Error"),
        (["net.py:Nett"], "Error"),
        (["net.py:tokenize"], "Error"),
    ],
)
def test_a_run_that_only_lacks_something_is_not_headed_as_an_error(
    arguments: list[str], heading: str, folder: Path
) -> None:
    Path("two.py").write_text(FILE.replace("Net(", "Other(") + "\n\nclass Net(Other):\n    pass\n")
    Path("words.py").write_text(write_first_line_of_exported_file("") + "\n")
    result = export(*arguments)
    assert result.exit_code == 2
    (first,) = (one for one in result.stderr.splitlines() if re.match("Error: |Not exported yet: ", one))
    assert first.startswith(f"{heading}: ")
    assert "\nWrite: pocketrnn export " in result.stderr or arguments[-1] == "bad,good"


@pytest.mark.slow
def test_missing_arguments_are_told_with_rules_that_differ_and_one_line_to_copy(folder: Path) -> None:
    lines = [{"text": text, "ids": ids} for text, ids in [("Oil film", [1, 3]), ("oil", [2]), ("film Oil", [3, 1])]]
    Path("pairs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    Path("vocab.json").write_text(json.dumps(WORDS))
    given = ["--weights", "plain.pt", "--vocabulary", "vocab.json", "--labels", "bad,good", "--pairs", "pairs.jsonl"]
    result = export("net.py:Net", *given, "--tokenizer", "basic_english")
    assert result.exit_code == 2
    error = result.stderr[result.stderr.index("Error:") :]
    assert re.search(r"2 problems\.\n\(1\) Text 1 .*\n\(2\) Net.*pooling.*\"max\", \"mean\", \"average\"", error)
    words = shlex.split(error.split("Write: ")[1])
    assert "--tokenizer" not in words
    words[words.index("net.py:Net(words=8, dim=6, pooling=...)")] = 'net.py:Net(pooling="mean")'
    again = CliRunner().invoke(main, words[1:])
    assert again.exit_code == 0, again.output
    assert read_manifest(Path("out")).text.rules.lowercase is False


def test_each_file_that_cannot_be_read_is_told_once_beside_missing_arguments(folder: Path) -> None:
    for name in ("labels.json", "none.json"):
        Path(name).write_text("{")
    Path("answers.csv").write_text("sentence,label\noil,bad\n")
    result = export("net.py:Net", "--weights", "plain.pt", "--vocabulary", "none.json", "--labels", "labels.json",
                    "--pairs", "answers.csv", "--tokenizer", "net.py:with_table")  # fmt: skip
    assert result.exit_code == 2
    assert re.fullmatch(
        r"Error: .*4 problems\.\n\(1\) .*none\.json.*\n\(2\) labels\.json.*\n\(3\) answers\.csv .*"
        r"\n\(4\) Net.*pooling.*\nWrite: pocketrnn export .*\n",
        result.stderr[result.stderr.index("Error: ") :],
    )
    result = export("net.py:Net", "--weights", "none.pt", "--vocabulary", "whole.pt", "--labels", "bad,good")
    assert (result.exit_code, result.stderr.count("none.pt")) == (2, 1)


@pytest.mark.slow
def test_a_function_vocabulary_and_labels_need_one_export(folder: Path) -> None:
    result = export('net.py:Net(pooling="mean")', "--weights", "whole.pt", "--tokenizer", "net.py:tokenize",
                    "--pairs", "pairs.jsonl")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert result.output.count("the file runs") == 1
    manifest = read_manifest(Path("out"))
    assert (manifest.labels, manifest.text.vocabulary) == (("bad", "good"), tuple(WORDS))
    assert "the" in manifest.text.rules.stop_words
    assert re.search(r"vocabulary is its 'word2idx'.*labels are its 'classes'", result.stderr, re.DOTALL)
    assert re.search(r"best_threshold=0.43.*--thresholds", result.stderr)
    assert "Text rules: compared with your pipeline on 5 texts" in result.stdout


def test_rules_of_several_lines_are_valid_in_the_line_to_copy(folder: Path) -> None:
    rules = json.dumps({"tokenizer": "space", "steps": [{"sub": ["[\xa0\u2028ф]", "'"]}]}, indent=1, ensure_ascii=False)
    result = export("net.py:Net", "--weights", "whole.pt", "--rules", rules)
    assert result.exit_code == 2
    words = shlex.split(result.stderr.split("Write: ")[1])
    assert json.loads(words[words.index("--rules") + 1]) == json.loads(rules)


def test_labels_that_a_terminal_does_not_show_are_the_same_in_the_line_to_copy(folder: Path) -> None:
    labels = "b\u200bad \\'x,go\tod\x85,\U000e0001"
    result = export("net.py:Net", "--weights", "whole.pt", "--labels", labels)
    assert result.exit_code == 2
    line = result.stderr.split("Write: ")[1].splitlines()[0]
    assert line.isprintable()
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    found = subprocess.run(["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, check=True, env=environment)
    words = found.stdout.decode().split("\0")
    assert words[words.index("--labels") + 1] == labels


@pytest.mark.slow
@pytest.mark.parametrize("vocabulary", [pytest.param("words.json", marks=pytest.mark.slow), "whole.pt"])
def test_a_function_that_opens_the_vocabulary_gets_it(vocabulary: str, folder: Path) -> None:
    Path("words.json").write_text(json.dumps({word: i for i, word in enumerate(WORDS)}))
    Path("use.py").write_text(
        f"import json\nwith open('{vocabulary}') as f:\n    words = json.load(f)\n"
        "def encode(text):\n    return [[words.get(word, 1) for word in text.lower().split()]]\n"
    )
    given = ["--weights", "whole.pt", "--vocabulary", vocabulary, "--tokenizer", "use.py:encode"]
    result = export('net.py:Net(pooling="mean")', *given)
    assert result.exit_code == 0, result.output
    # The file of weights is not read as the vocabulary in that line, and the lines that split a text do not need it.
    said = "use.py:encode.*out_words.py" if vocabulary == "whole.pt" else "words of use.py .*words.json"
    assert re.search(said, result.stderr)
    assert "No text rule" not in result.stderr


@pytest.mark.parametrize(
    "options",
    [
        pytest.param([], marks=pytest.mark.slow),
        pytest.param(["--rules", '{"tokenizer": "space"}'], marks=pytest.mark.slow),
        ["--tokenizer", "whitespace"],
        pytest.param(["--tokenizer", "net.py:tokenize"], marks=pytest.mark.slow),
        pytest.param(
            ["--tokenizer", "net.py:tokenize", "--rules", '{"tokenizer": "external"}'], marks=pytest.mark.slow
        ),
        ["--tokenizer", "external"],
    ],
)
@pytest.mark.parametrize("answer", ["label", pytest.param("probabilities", marks=pytest.mark.slow)])
def test_pairs_may_have_answers_only(folder: Path, options: list[str], answer: str) -> None:
    names: dict[str, Any] = {}
    exec(FILE, names)  # noqa: S102 - above
    net = names["Net"](len(WORDS), 6, "mean").eval()
    net.load_state_dict(torch.load("plain.pt"))
    lines = []
    for text in ("good film", "bad movie oil", "oil", "film bad", "good film"):
        with torch.no_grad():
            logits = net(torch.tensor([[WORDS.index(w) for w in text.split()]]))[0]
        given = logits.softmax(0).tolist()
        lines.append({"text": text, answer: given if answer == "probabilities" else ["bad", "good"][logits.argmax()]})
    Path("pairs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = export('net.py:Net(pooling="mean")', "--weights", "whole.pt", "--pairs", "pairs.jsonl", *options)
    if options == ["--tokenizer", "external"]:
        assert result.exit_code == 2
        assert re.search(r"'good film'.*--pairs", result.stderr)
        return
    assert result.exit_code == 0, result.output
    assert re.search("n 4 texts it answers", result.output)


def test_what_a_checkpoint_does_not_hold_is_asked_for_with_the_arguments(folder: Path) -> None:
    result = export("net.py:Net", "--weights", "plain.pt")
    assert result.exit_code == 2
    assert re.search(
        r"(?s)needs --vocabulary and --labels.*needs pooling.*--vocabulary FILE --labels LABEL0,LABEL1 ", result.stderr
    )


@pytest.mark.slow
def test_a_function_with_a_table_that_leaves_out_unknown_words_gives_them_no_id(folder: Path) -> None:
    result = export('net.py:Net(pooling="mean")', "--weights", "whole.pt", "--tokenizer", "net.py:with_table")
    assert result.exit_code == 0, result.output
    assert re.search(r"with_table leaves out words", result.stderr)
    assert read_manifest(Path("out")).text.rules.unknown_id is None


@pytest.mark.parametrize(
    ("tokenizer", "said"),
    [
        pytest.param("net.py:tokenise", "net.py defines no tokenise.*tokenize", marks=pytest.mark.slow),
        ("net.py:STOP_WORDS", "not a function"),
        pytest.param("net.py:tokenize(3)", "without names", marks=pytest.mark.slow),
        pytest.param("nothing.py:tokenize", "not a file", marks=pytest.mark.slow),
    ],
)
def test_a_function_that_cannot_be_used_is_refused(tokenizer: str, said: str, folder: Path) -> None:
    result = export('net.py:Net(pooling="mean")', "--weights", "whole.pt", "--tokenizer", tokenizer)
    assert result.exit_code == 2
    assert re.search(said, result.stderr)
    # The length in the checkpoint is not why, and no bundle is written that may lack it.
    assert "max_len" not in result.stderr


def test_a_checkpoint_says_what_options_do_not(folder: Path) -> None:
    (hint,) = advise_on_checkpoint_settings(Path("whole.pt"), has_stop_words=False, has_thresholds=False)
    assert re.search(r"best_threshold=0\.43.*--thresholds 0\.43", hint)
    assert advise_on_checkpoint_settings(Path("whole.pt"), has_stop_words=False, has_thresholds=True) == []
    (length,) = describe_lengths(2 * list_text_lengths_in_checkpoint(Path("whole.pt"), 0))
    assert re.search(r"max_len=50.*--max-tokens 50", length)
    assert length.count("max_len") == 1
    assert (
        list_text_lengths_in_checkpoint(Path("whole.pt"), None)
        == list_text_lengths_in_checkpoint(Path("whole.pt"), 50)
        == []
    )
    torch.save({"config": {"stop_words": ["the", "a"], "max_epochs": 30}}, "more.pt")
    found = advise_on_checkpoint_settings(Path("more.pt"), has_stop_words=False, has_thresholds=False)
    assert len(found) == 1
    assert "2 words under stop_words" in found[0]
    assert advise_on_checkpoint_settings(Path("net.py"), has_stop_words=False, has_thresholds=False) == []


@pytest.mark.parametrize(
    ("body", "values"),
    [
        ("self.pool = pool\n  if self.pool.lower() == 'max': pass", ["max"]),
        ("assert pool in ['last', 'mean']", ["last", "mean"]),
        ("self.f = {'sum': 1, 'max': 2}[pool]", ["sum", "max"]),
        ("self.f = {'sum': 1}.get(pool)", ["sum"]),
        ("self.rnn = getattr(nn, pool)(3, 4)", ["LSTM", "GRU", "RNN"]),
        ("match pool:\n   case 'max' | 'mean': pass", ["max", "mean"]),
        ("other == 'max'", []),
    ],
)
def test_the_values_that_an_argument_is_compared_with_are_listed(body: str, values: list[str]) -> None:
    (definition,) = ast.parse(f"class Net:\n def __init__(self, pool):\n  {body}\n").body
    assert isinstance(definition, ast.ClassDef)
    assert list_strings_compared_with_argument(definition, "pool") == values


@pytest.mark.slow
def test_rules_that_are_too_long_for_a_message_are_written_to_a_file(folder: Path) -> None:
    Path("stem.py").write_text(
        "STOP = [f'word{i}' for i in range(200)]\n\n\n"
        "def words(text):\n    return [w.rstrip('s') for w in text.lower().split() if w not in STOP]\n"
    )
    result = export("net.py:Net", "--weights", "whole.pt", "--tokenizer", "stem.py:words", "--pairs", "pairs.jsonl")
    assert result.exit_code == 2
    assert re.search(r"(?s)rstrip.*\(2\) Net.*pooling.*out-rules\.json", result.stderr)
    assert "stem.py, line 5: w.rstrip('s')" in result.stderr
    assert len(json.loads(Path("out-rules.json").read_text())["stop_words"]) == 200
    # The same rules need no second file, and the widths that are given stay.
    given = ["--weights", "whole.pt", "--tokenizer", "stem.py:words", "--rules", '{"min_width": 9, "max_width": 9}']
    again = export("net.py:Net", *given).stderr
    assert '--rules \'{"tokenizer": "external", "min_width": 9, "max_width": 9}\'' in again
    assert not Path("out-rules2.json").exists()


@pytest.mark.slow
def test_stop_words_of_nltk_are_read_for_a_function_of_a_notebook(folder: Path) -> None:
    Path("nltk").mkdir()
    Path("nltk/__init__.py").write_text("")
    Path("nltk/corpus.py").write_text("class stopwords:\n    words = staticmethod(lambda language: ['the', 'of'])\n")
    cells = [
        "from nltk.corpus import stopwords\nstop_words = set(stopwords.words('english'))",
        "def words(text):\n    return [w for w in text.lower().split() if w not in stop_words]",
        "for epoch in range(3):\n    raise SystemExit",
    ]
    document = {"cells": [{"cell_type": "code", "source": cell} for cell in cells], "nbformat": 4}
    Path("clean.ipynb").write_text(json.dumps(document))
    result = export('net.py:Net(pooling="mean")', "--weights", "whole.pt", "--tokenizer", "clean.ipynb:words")
    assert result.exit_code == 0, result.output
    assert set(read_manifest(Path("out")).text.rules.stop_words) == {"the", "of"}


@pytest.mark.slow
def test_a_file_that_sets_logging_up_gets_no_line_of_the_exporter(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)
    line = "import logging\nlogging.basicConfig(level=logging.DEBUG, filename='system.log', force=True)\n"
    Path("net.py").write_text(line + FILE.replace('print("the file runs")', 'logging.info("the file runs")'))
    given = ["--weights", "whole.pt", "--tokenizer", "net.py:tokenize"]
    result = export('net.py:Net(pooling="mean")', *given)
    for handler in root.handlers:
        handler.close()
    assert result.exit_code == 0, result.output
    written = Path("system.log").read_text().splitlines()
    assert written
    assert set(written) == {"INFO:root:the file runs"}
    notes = [line for line in result.stderr.splitlines() if line.startswith("Note:")]
    assert len(notes) == len(set(notes))


def test_a_function_of_a_label_whose_splitting_part_is_not_found_is_refused_with_a_skeleton(folder: Path) -> None:
    Path("text").mkdir()
    Path("text/clean.py").write_text("def clean(text):\n    return text.lower()\n\n\nLIMIT = 3\n")
    Path("use.py").write_text(
        "from text.clean import clean, LIMIT\n\n\ndef encode(text):\n    return text.split()\n\n\n"
        "def answer(model, limit, text):\n    return int(model(encode(clean(text))[:LIMIT]).argmax())\n"
    )
    result = export('net.py:Net(pooling="mean")', "--weights", "whole.pt", "--tokenizer", "use.py:answer")
    assert result.exit_code == 2
    assert re.search(
        r"use\.py:answer returns an answer .*out_words\.py: .*\nWrite: .*out_words\.py:words", result.stderr
    )
    assert "def words(text" in Path("out_words.py").read_text()
    assert (folder / "use.py").exists()


def test_a_route_of_a_web_service_is_not_asked_for_a_value_of_the_service(folder: Path) -> None:
    Path("use.py").write_text(
        "from fastapi import FastAPI\nfor i in range(3):\n    print(i)\napp = FastAPI()\n\n\n"
        "@app.post('/answer')\ndef answer(text):\n    return 1\n"
    )
    result = export('net.py:Net(pooling="mean")', "--weights", "whole.pt", "--tokenizer", "use.py:answer")
    assert result.exit_code == 2
    assert ("--set" in result.stderr, "decorates answer" in result.stderr) == (False, True)
    assert (folder / "use.py").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rules", "body"),
    [
        (None, "ids = [words[w] for w in text.split() if w in words]"),
        ('{"tokenizer": "external"}', "ids = [words.get(w) for w in text.split()]\n    ids = [i for i in ids if i]"),
    ],
)
def test_words_that_the_owners_code_leaves_out_have_no_id(rules: str | None, body: str, folder: Path) -> None:
    Path("use.py").write_text(
        f"import torch\nwords = torch.load('whole.pt')['word2idx']\n\n\ndef predict(text):\n    {body}\n"
        "    return model(torch.tensor([ids])).argmax(1)\n"
    )
    given = ["--weights", "whole.pt", "--tokenizer", "use.py:predict"]
    result = export('net.py:Net(pooling="mean")', *given, *([] if rules is None else ["--rules", rules]))
    assert result.exit_code == 0, result.output
    assert read_manifest(Path("out")).text.rules.unknown_id is None
    assert re.search(r"predict leaves out words.*line [67]: ids = ", result.stderr)
    assert "give unknown_id" not in result.stderr


def test_the_only_code_file_whose_name_goes_on_is_meant_by_a_missing_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("nlp_text_classification.py").touch()
    Path("nlp_words.py").write_text(write_first_line_of_exported_file(""))
    for source in ("nlp.py", "nlp.py:Net"):
        with pytest.raises(OptionCorrectionsError) as refused:
            correct_missing_source(source)
        assert refused.value.changes["source"] == source.replace("nlp", "nlp_text_classification")
    Path("nlp_other.py").touch()
    correct_missing_source("nlp.py")


@pytest.mark.parametrize(
    ("source", "tokenizer", "proposed"),
    [
        ("net.py:Net", "char", "characters"),
        ("net.py:Net", "white_space", "whitespace"),
        ("net.py:Net", "tokenise", "net.py:tokenize"),
        ("net.py:Net", "net.py:tokenise", "net.py:tokenize"),
        ("net.py:Net", "net.py:tokenise(keep=False)", "net.py:tokenize(keep=False)"),
    ],
)
def test_a_misspelled_tokenizer_leads_to_a_line_to_copy(
    source: str, tokenizer: str, proposed: str, folder: Path
) -> None:
    Path("vocab.json").write_text(json.dumps(WORDS))
    given = ["--weights", "plain.pt", "--vocabulary", "vocab.json", "--labels", "bad,good"]
    result = export(source, *given, "--tokenizer", tokenizer)
    assert result.exit_code == 2
    words = shlex.split(result.stderr.splitlines()[-1])
    assert words[words.index("--tokenizer") + 1] == proposed


@pytest.mark.parametrize(
    ("source", "right"),
    [
        ("net.py:Nett", "net.py:Net"),
        ("net.py:Nett(8, dim=6)", "net.py:Net(8, dim=6)"),
        ("net.py:Net", None),
        ("net.py:nett", None),
        ("net.py:Ne", None),
    ],
)
def test_a_misspelled_class_is_told_beside_an_output_that_exists(source: str, right: str | None, folder: Path) -> None:
    Path("vocab.json").write_text(json.dumps(WORDS))
    Path("net.py").write_text(f"from torch import nn as Ne\nnett = 3\n{FILE}")
    Path("out").mkdir()
    Path("out/classifier.json").write_text("{}")
    given = ["--weights", "plain.pt", "--vocabulary", "vocab.json", "--labels", "bad,good"]
    line = export(source, *given).stderr.splitlines()[-1]
    # The output is told as the first of two problems.
    assert "--force" in line
    assert shlex.split(line)[3] == (right or source)


def test_a_class_of_pytorch_that_a_file_imports_is_not_one_that_it_defines(folder: Path) -> None:
    Path("net.py").write_text(f"from torch.nn import LogSoftmax\n{FILE}")
    Path("vocab.json").write_text(json.dumps(WORDS))
    given = ["--weights", "plain.pt", "--vocabulary", "vocab.json", "--labels", "bad,good"]
    said = export("net.py:Reviews", *given).stderr
    assert "tokenize" in said
    assert "LogSoftmax" not in said
