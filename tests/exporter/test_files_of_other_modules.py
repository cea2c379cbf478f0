"""Proposals for a module come from code that reaches it, and from code of another module only if nothing is nearer."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from notebook_maker import notebook

from pocketrnn_export.commands.export import export as export_command
from pocketrnn_export.commands.proposed_options import (
    describe_module_of_other_file,
    describe_tokenizer_function,
    describe_weights_that_do_not_fit,
    propose_labels,
    propose_to_save_transformers_tokenizer,
    propose_tokenizer_function,
    propose_vocabulary,
)
from pocketrnn_export.commands.source_without_module_name import complete_source
from pocketrnn_export.option_corrections_error import OptionCorrectionsError
from pocketrnn_export.source_code.code_and_data_files_near_module import (
    Nearness,
    list_files_that_import,
    rank_files_near,
)

MODEL = """
from torch import nn
class {name}(nn.Module):
    def forward(self, ids):
        return self.rnn(ids)
"""
NET = """
from torch import nn
class {name}(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.{layer}(3, 3)
    def forward(self, ids):
        return self.rnn(ids)
"""
ANSWER = "def predict(text):\n    p = {name}()(text.split())\n    return {labels}[p.argmax().item()]\n"
TRAIN = "from model import {name}\nloss = {name}()(1)\nloss.backward()\n"


def write_files(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_text(text)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def propose(path: str, weights: Path | None = None) -> tuple[str, str]:
    found = propose_labels(Path(path), weights, None, multi_label=False)
    return found.value, found.sentence


# Labels of the answering code of another module beside a list of the module's own code.
TWO_FOLDERS = {
    "rnn/model.py": MODEL.format(name="RNN"),
    "rnn/train.py": f"{TRAIN.format(name='RNN')}MOODS = ['sad', 'glad']\n",
    "char/model.py": MODEL.format(name="CharRNN"),
    "char/train.py": f"{TRAIN.format(name='CharRNN')}{ANSWER.format(name='CharRNN', labels=['fr', 'de'])}",
}
ONE_FOLDER = {
    "rnn.py": f"{MODEL.format(name='RNN')}MOODS = ['sad', 'glad']\n",
    "a_char.py": f"{MODEL.format(name='CharRNN')}{ANSWER.format(name='CharRNN', labels=['fr', 'de'])}",
}
# A package, of which a script imports all modules.
PACKAGE = {
    "nets/__init__.py": "from .rnn import RNN\nfrom .char import CharRNN\n",
    "nets/rnn.py": MODEL.format(name="RNN"),
    "nets/char.py": f"{MODEL.format(name='CharRNN')}LANGUAGE_LABELS = ['fr', 'de']\n",
    "char_main.py": f"from nets import CharRNN\n{ANSWER.format(name='CharRNN', labels=['fr', 'de'])}",
    "main.py": "from nets.char import CharRNN\nfrom nets.rnn import RNN\nMOODS = ['sad', 'glad']\n",
}


@pytest.mark.parametrize(
    ("files", "module"), [(TWO_FOLDERS, "rnn/model.py"), (ONE_FOLDER, "rnn.py"), (PACKAGE, "nets/rnn.py")]
)
def test_labels_come_from_code_that_reaches_the_module(files: Mapping[str, str], module: str, here: Path) -> None:
    write_files(here, files)
    labels, said = propose(module)
    assert labels == "sad,glad"
    assert "another module" not in said


def test_labels_of_another_module_are_proposed_with_a_note_if_nothing_is_nearer(here: Path) -> None:
    write_files(here, {**TWO_FOLDERS, "rnn/train.py": TRAIN.format(name="RNN")})
    labels, said = propose("rnn/model.py")
    assert labels == "fr,de"
    assert "char/train.py, line 6, code of another module" in said


def test_a_file_of_labels_that_another_module_names_is_not_nearer_than_own_labels(here: Path) -> None:
    torch.save({"embedding.weight": torch.zeros(9, 6), "fc.weight": torch.zeros(2, 4)}, "net.pt")
    write_files(here, {**ONE_FOLDER, "a_char.py": f"{ONE_FOLDER['a_char.py']}open('languages.txt')\n"})
    Path("languages.txt").write_text("French\nGerman\n")
    assert propose("rnn.py", Path("net.pt"))[0] == "sad,glad"
    write_files(here, {"rnn.py": f"{ONE_FOLDER['rnn.py']}open('languages.txt')\n"})
    assert propose("rnn.py", Path("net.pt"))[0] == "languages.txt"


def test_the_vocabulary_that_own_code_names_is_taken_where_another_module_has_one_of_its_size(here: Path) -> None:
    torch.save({"embedding.weight": torch.zeros(30, 6), "fc.weight": torch.zeros(2, 4)}, "net.pt")
    write_files(here, TWO_FOLDERS)
    for folder in ("rnn", "char"):
        Path(folder, "words.json").write_text(json.dumps([f"{folder}{i}" for i in range(30)]))
        Path(folder, "train.py").write_text(f"{TWO_FOLDERS[f'{folder}/train.py']}open('../{folder}_words.json')\n")
        Path(folder, "words.json").rename(f"{folder}_words.json")
    found = propose_vocabulary(Path("rnn/model.py"), Path("net.pt"))
    assert found is not None
    assert (str(found.path), found.others) == ("rnn_words.json", ())
    Path("rnn/train.py").write_text(TRAIN.format(name="RNN"))
    found = propose_vocabulary(Path("rnn/model.py"), Path("net.pt"))
    assert found is not None
    assert found.place_in_code == "char/train.py, line 7, code of another module"


def test_own_text_functions_come_before_those_that_answer_with_another_module(here: Path) -> None:
    cut = (
        "def cut_words(text):\n    return text.lower().split()\ndef predict(text):\n    return model(cut_words(text))\n"
    )
    write_files(here, {**ONE_FOLDER, "a_char.py": f"{MODEL.format(name='CharRNN')}{cut}"})
    function = propose_tokenizer_function(Path("rnn.py"))
    assert function is not None
    assert "a_char.py:cut_words in code of another module" in describe_tokenizer_function(function)
    Path("rnn.py").write_text(f"{ONE_FOLDER['rnn.py']}def tokenize(text):\n    return text.split()\n")
    function = propose_tokenizer_function(Path("rnn.py"))
    assert function is not None
    assert describe_tokenizer_function(function) == "Texts seem to be split by rnn.py:tokenize."


def test_own_code_that_makes_a_vocabulary_is_nearer_than_a_tokenizer_that_another_module_loads(here: Path) -> None:
    loads = "tokenizer = BertTokenizer.from_pretrained('bert-base-uncased')\n"
    write_files(here, {**ONE_FOLDER, "a_char.py": f"{MODEL.format(name='Bert')}{loads}"})
    found = propose_to_save_transformers_tokenizer(Path("rnn.py"))
    assert found is not None
    assert "a_char.py, line 6, code of another module" in found.sentence
    Path("rnn.py").write_text(f"{ONE_FOLDER['rnn.py']}vocab = {{'<pad>': 0, 'a': 1, 'b': 2}}\n")
    assert propose_to_save_transformers_tokenizer(Path("rnn.py")) is None


def test_a_file_imports_neither_another_file_of_the_name_nor_another_class_of_the_folder(here: Path) -> None:
    write_files(here, TWO_FOLDERS | PACKAGE)
    assert list_files_that_import(Path("rnn/model.py")) == [Path("rnn/train.py")]
    assert list_files_that_import(Path("nets/rnn.py")) == [Path("nets/__init__.py"), Path("main.py")]


def test_shared_code_belongs_to_all_modules_and_code_for_a_module_of_any_name_to_none(here: Path) -> None:
    shared = {
        name: f"import shared\n{text}" if name in ("rnn.py", "a_char.py") else text for name, text in ONE_FOLDER.items()
    }
    run = "import importlib\nmodule = importlib.import_module(name)\nmodule.Net()(1).backward()\n"
    write_files(here, {**shared, "shared.py": "WORDS = 3\n", "run.py": run, "deep/more.py": "", "deep/net.py": MODEL})
    assert {str(one): rank for one, rank in rank_files_near(Path("rnn.py")).items()} == {
        "rnn.py": Nearness.OWN,
        "shared.py": Nearness.OWN,
        "a_char.py": Nearness.OF_ANOTHER,
        "run.py": Nearness.BESIDE,
        "deep/more.py": Nearness.ELSEWHERE,
        "deep/net.py": Nearness.ELSEWHERE,
    }


BERT = f"{MODEL.format(name='Bert')}".replace("rnn", "bert")


@pytest.mark.parametrize("transformer", [BERT, "model = AutoModelForSequenceClassification.from_pretrained('bert')\n"])
def test_a_line_that_takes_the_module_of_another_notebook_says_so(transformer: str, here: Path) -> None:
    notebook(here / "phobert.ipynb", [transformer])
    notebook(here / "gru.ipynb", [MODEL.format(name="RNN")])
    said = describe_module_of_other_file(Path("phobert.ipynb"), "gru.ipynb:RNN")
    assert "phobert.ipynb has no recurrent classifier" in said
    assert "takes gru.ipynb:RNN" in said
    assert "no recurrent" not in describe_module_of_other_file(Path("gru.ipynb"), "rnn.py:RNN")
    assert describe_module_of_other_file(Path("gru.ipynb"), "./gru.ipynb:RNN") == ""


def test_a_notebook_without_a_module_or_with_the_weights_of_another_one_says_whose_module_is_taken(here: Path) -> None:
    notebook(here / "trainer.ipynb", ["Trainer(model).train()\n"])
    notebook(here / "gru.ipynb", [NET.format(name="RNN", layer="GRU")])
    torch.save(torch.nn.ModuleDict({"rnn": torch.nn.GRU(3, 3)}).state_dict(), "gru.pt")
    refused = r"trainer\.ipynb has no recurrent.*gru\.ipynb:RNN"
    context = export_command.make_context("export", ["trainer.ipynb", "-o", "out"])
    with context, pytest.raises(OptionCorrectionsError, match=refused):
        complete_source("trainer.ipynb")
    notebook(here / "phobert.ipynb", [BERT])
    said, changes = describe_weights_that_do_not_fit(Path("phobert.ipynb"), "Bert")
    assert changes == {"source": "gru.ipynb:RNN", "weights": "gru.pt"}
    assert "phobert.ipynb has no recurrent classifier" in said
