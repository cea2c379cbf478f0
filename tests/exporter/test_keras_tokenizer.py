"""A script that saves a vocabulary counts words as the Tokenizer of Keras does, also where Keras has none."""

import json
import subprocess
import sys
import types
from pathlib import Path

import pytest

from pocketrnn_export.source_code.keras_tokenizer import KerasTokenizer, provide_keras_tokenizer_for_import
from pocketrnn_export.source_code.script_that_saves_vocabulary import find_code_that_makes_vocabulary
from pocketrnn_export.vocabularies.vocabulary import read_vocabulary


@pytest.mark.parametrize(
    ("settings", "texts", "words"),
    [
        # keras-preprocessing 1.1.2 gives these words, by falling count and in the order of the texts.
        ({}, ["Oil, a WAR!", "war of oil; oil"], ["oil", "war", "a", "of"]),
        ({"oov_token": "<OOV>"}, ["don't go_on"], ["<OOV>", "don't", "go", "on"]),
        ({"lower": False, "filters": ""}, ["Oil,  oil"], ["Oil,", "oil"]),
        ({"split": "|"}, ["a b|a b|c"], ["a b", "c"]),
        ({"char_level": True}, ["Abba a"], ["a", "b", " "]),
        ({}, [["Oil", "", "oil"], "cup"], ["oil", "", "cup"]),
    ],
)
def test_words_are_counted_as_keras_counts_them(
    settings: dict[str, object], texts: list[str], words: list[str]
) -> None:
    tokenizer = KerasTokenizer(**settings)  # type: ignore[arg-type]
    tokenizer.fit_on_texts(texts)
    assert tokenizer.word_index == {word: number for number, word in enumerate(words, 1)}


def test_a_tokenizer_is_provided_only_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    own = types.ModuleType("ownkeras")
    own.__path__ = []
    monkeypatch.setitem(sys.modules, "ownkeras", own)
    monkeypatch.setitem(sys.modules, "ownkeras.text", types.ModuleType("ownkeras.text"))
    provide_keras_tokenizer_for_import("ownkeras.preprocessing.text", "ownkeras.text")
    assert sys.modules["ownkeras"] is own
    assert own.preprocessing.text.Tokenizer is KerasTokenizer
    sys.modules["ownkeras.text"].Tokenizer = str  # type: ignore[attr-defined]
    provide_keras_tokenizer_for_import("ownkeras.text")
    assert sys.modules["ownkeras.text"].Tokenizer is str
    for name in ("ownkeras.preprocessing", "ownkeras.preprocessing.text"):
        monkeypatch.delitem(sys.modules, name)


@pytest.mark.parametrize(
    "code",
    [
        "from notensorflow.keras.preprocessing.text import Tokenizer\nTOKENIZER",
        "import notensorflow.keras.preprocessing.text\nTOKENIZER".replace(
            "TOKENIZER", "t = notensorflow.keras.preprocessing.text.Tokenizer(num_words=3)\nFIT"
        ),
        "from notensorflow.keras.preprocessing import text\nt = text.Tokenizer(num_words=3)\nFIT",
    ],
)
def test_a_script_saves_the_tokenizer_that_the_code_fits(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = code.replace("TOKENIZER", "t = Tokenizer(num_words=3)\nFIT").replace("FIT", "t.fit_on_texts(['b a', 'a c'])")
    Path("net.py").write_text(f"{code}\nrows = t.texts_to_sequences(['a'])\n")
    script = find_code_that_makes_vocabulary(Path("net.py"))
    assert script is not None
    Path("v.py").write_text(script.write(3))
    shown = subprocess.run([sys.executable, "v.py"], check=True, capture_output=True, text=True).stdout
    assert "more than" not in shown
    assert json.loads(json.loads(Path("v.json").read_text())["config"]["word_index"]) == {"a": 1, "b": 2, "c": 3}
    vocabulary = read_vocabulary(Path("v.json"))
    assert vocabulary.tokens[1:] == ("a", "b")
    assert vocabulary.keras is not None
