"""Copied code reads the data files that lie here, and not the paths of the machine on which the owner trained."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from pocketrnn_export.source_code.data_paths_of_another_machine import DataPaths, replace_paths_of_another_machine
from pocketrnn_export.source_code.script_that_saves_vocabulary import find_code_that_makes_vocabulary

TWEETS = "/kaggle/input/airline/Tweets.csv"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("LSTM").mkdir()
    Path("LSTM/Tweets.csv").write_text("good flight\nbad flight\n")
    return tmp_path


def replace(code: str, place: str = ".") -> tuple[str, DataPaths]:
    tree = ast.parse(code)
    paths = replace_paths_of_another_machine(tree, [Path()], Path(place))
    return ast.unparse(tree), paths


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (f"f = open({TWEETS!r})", "f = open('LSTM/Tweets.csv')"),
        (r"f = open('C:\\data\\Tweets.csv')", "f = open('LSTM/Tweets.csv')"),
        ("f = open('Tweets.csv')", "f = open('LSTM/Tweets.csv')"),
        ("f = open('/content/drive/' + 'Tweets.csv')", "f = open('LSTM/' + 'Tweets.csv')"),
        ("d = '../input/a'\nf = open(os.path.join(d, 'Tweets.csv'))",
         "d = 'LSTM/'\nf = open(os.path.join(d, 'Tweets.csv'))"),
        ("d = '/content'\nf = open(f'{d}/Tweets.csv')", "d = 'LSTM/'\nf = open(f'{d}/Tweets.csv')"),
        ("f = open(Path('/content') / 'Tweets.csv')", "f = open(Path('LSTM/') / 'Tweets.csv')"),
        # Neither a path, nor a name of a file that is here.
        (r"f = re.sub('http\\S+', '/', 'a.b')", None),
        ("f = get('https://site.org/Tweets.csv')", None),
        ("f = open('LSTM/Tweets.csv')", None),
        ("f = open('written/here.csv')", None),
    ],
)  # fmt: skip
def test_a_path_that_exists_only_elsewhere_is_replaced_by_the_file_here(code: str, expected: str | None) -> None:
    written, paths = replace(code)
    assert written == ast.unparse(ast.parse(expected or code))
    assert bool(paths.replaced) == (expected is not None)


@pytest.mark.usefixtures("folder")
def test_the_new_path_is_one_from_the_folder_in_which_the_code_runs() -> None:
    assert replace(f"open({TWEETS!r})", "LSTM")[1] == DataPaths({TWEETS: "Tweets.csv"}, ())


@pytest.mark.usefixtures("folder")
def test_a_file_of_which_there_are_two_is_not_chosen() -> None:
    Path("old").mkdir()
    Path("old/Tweets.csv").write_text("other\n")
    assert replace(f"open({TWEETS!r})") == (f"open({TWEETS!r})", DataPaths())


@pytest.mark.usefixtures("folder")
def test_an_absolute_path_without_a_file_here_is_named() -> None:
    assert replace("open('/content/train.csv')\nopen('made.csv')")[1] == DataPaths({}, ("/content/train.csv",))


def test_the_script_that_saves_a_vocabulary_runs_with_the_data_here(folder: Path) -> None:
    Path("LSTM/net.py").write_text(
        f"words = {{*open({TWEETS!r}).read().split()}}\nvocab = {{w: i for i, w in enumerate(sorted(words))}}\n"
    )
    script = find_code_that_makes_vocabulary(Path("LSTM/net.py"))
    assert script is not None
    Path("v.py").write_text(script.write(3, folder))
    subprocess.run([sys.executable, "v.py"], check=True, capture_output=True)
    assert json.loads(Path("v.json").read_text()) == {"bad": 0, "flight": 1, "good": 2}
