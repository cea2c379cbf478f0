"""How the owner's files are read without running them: imports between them, data files, notebooks and options."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from pocketrnn.errors import InputError
from pocketrnn_export.source_code.argparse_and_config_settings import find_parser_defaults
from pocketrnn_export.source_code.class_definitions import find_imported_class_of_object
from pocketrnn_export.source_code.code_and_data_files_near_module import list_data_files_named_in_code
from pocketrnn_export.source_code.needed_code import find_needed_statements
from pocketrnn_export.source_code.notebook import read_python_cells, read_python_statements
from pocketrnn_export.source_code.splitting_part_of_function import write_tokenizer_of_function
from pocketrnn_export.source_code.text_functions_in_file import find_text_library

CUT = "import jieba\ndef split(text):\n    return jieba.lcut(text)\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_function_that_is_imported_under_another_name_is_followed(folder: Path) -> None:
    Path("cut.py").write_text(CUT)
    Path("api.py").write_text("from cut import split as words_of\ndef tokenize(text):\n    return words_of(text)\n")
    assert find_text_library(Path("api.py"), "tokenize") == "jieba"


def test_an_imported_file_that_is_not_python_hides_no_other_function(folder: Path) -> None:
    Path("broken.py").write_text("def (")
    Path("cut.py").write_text(CUT)
    lines = "from broken import clean\nfrom cut import split\ndef tokenize(text):\n    return split(text)\n"
    Path("api.py").write_text(lines)
    assert find_text_library(Path("api.py"), "tokenize") == "jieba"


@pytest.mark.parametrize(
    ("line", "file"), [("from nets import Net", "nets.py"), ("from ..nets import Net as N", "app/nets.py")]
)
def test_the_class_of_an_object_is_found_in_a_file_above_too(folder: Path, line: str, file: str) -> None:
    Path("app/web").mkdir(parents=True)
    Path(file).write_text("class Net: ...")
    made = "N" if line.endswith(" N") else "Net"
    statements = ast.parse(f"{line}\nmodel = {made}(3).eval()").body
    found = find_imported_class_of_object(statements, "model", Path("app/web/page.py"))
    assert found is not None
    assert (found[0].resolve(), found[1]) == (Path(file).resolve(), "Net")
    assert find_imported_class_of_object(statements, "other", Path("app/web/page.py")) is None


def test_a_folder_of_thousands_of_files_is_read_up_to_a_limit(folder: Path) -> None:
    Path("net.py").write_text('WORDS = "words.json"\nLATER = "later/words.pkl"')
    Path("words.json").write_text("{}")
    Path("later").mkdir()
    for number in range(2001):
        Path(f"later/a{number}.txt").touch()
    Path("later/words.pkl").touch()
    assert [*list_data_files_named_in_code(Path("net.py"), "json|pkl")] == [Path("words.json")]


def test_a_line_that_changes_the_folder_of_a_notebook_is_python(folder: Path) -> None:
    cell = {"cell_type": "code", "source": "%cd data\nrows = 3", "outputs": [], "metadata": {}, "execution_count": 1}
    Path("a.ipynb").write_text(json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    (found,) = read_python_cells(Path("a.ipynb"))
    assert found.source == "import os; os.chdir('data')\nrows = 3"


def test_a_missing_file_has_no_statements_but_an_error_that_names_it(folder: Path) -> None:
    with pytest.raises(InputError, match=r"none\.py"):
        read_python_statements(Path("none.py"))


def test_a_default_that_code_computes_is_left_out() -> None:
    code = 'p.add_argument("--jobs", default=count())\np.add_argument("--dim", type=int, default="8")'
    assert find_parser_defaults(ast.parse(code).body) == {"dim": 8}


def test_a_change_that_needs_a_package_which_is_not_installed_is_noted_and_not_run(folder: Path) -> None:
    lines = "import package_that_is_missing\nconfig = {'a': 1}\npackage_that_is_missing.change(config)\n"
    Path("a.py").write_text(f"{lines}class Net:\n    size = config['a']\n")
    found = find_needed_statements(read_python_cells(Path("a.py")), ["Net"], "a.py", set())
    assert "package_that_is_missing" not in " ".join(one.title for one in found.statements)
    assert [note for note in found.notes if "line 3" in note]


def test_the_texts_of_a_loop_with_a_counter_are_followed(folder: Path) -> None:
    code = (
        "def predict(texts):\n"
        "    for i, text in enumerate(texts):\n"
        "        ids = [VOCAB.get(word, 1) for word in text.lower().split()]\n"
    )
    Path("api.py").write_text(code)
    written = write_tokenizer_of_function(Path("api.py"), "predict")
    assert written is not None
    assert written.code == "def words(text):\n    return text.lower().split()\n\nUNKNOWN_WORD_ID = 1\n"


@pytest.mark.parametrize(
    ("imports", "train", "places"),
    [
        ("from pocketrnn import Classifier", "import net\nsave(net, 'net.pt')\n", ["train.py, line 2"]),
        ("import pocketrnn.text", "", []),
        # It exports the module with the files that it names.
        ("import pocketrnn, pocketrnn_export", "", ["check.py, line 3"]),
        ("import torch", "", ["check.py, line 3"]),
    ],
)
def test_a_script_that_asks_a_bundle_is_no_witness_of_the_files_of_training(
    imports: str, train: str, places: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text("class Net:\n    pass\n")
    Path("check.py").write_text(f"{imports}\nimport net\nload('net.pt')\n")
    Path("train.py").write_text(train)
    Path("net.pt").write_bytes(b"")
    assert [*list_data_files_named_in_code(Path("net.py"), "pt").values()] == places
