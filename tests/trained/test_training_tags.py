"""Training of taggers: their files, the run, the bundle that is made of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pocketrnn.errors import DataError
from pocketrnn_training.rows.conll_files import read_tagged
from pocketrnn_training.settings.number_settings import NumberSettings

CONLLU = """\
# sent_id = 1
# text = vom Haus
1-2\tvom\t_\t_\t_\t_\t_\t_\t_\t_
1\tvon\tvon\tADP\t_\t_\t_\t_\t_\t_
2\tdem\tder\tDET\t_\t_\t_\t_\t_\t_
3\t10 000\tH\tNUM\t_\t_\t_\t_\t_\t_
3.1\tghost\tg\tVERB\t_\t_\t_\t_\t_\t_

1\t#\t#\tSYM\t_\t_\t_\t_\t_\t_
"""


def written(folder: Path, text: str | bytes, name: str = "tags.conll") -> tuple[Path]:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return (path,)


def test_conll_u_gives_forms_and_upos_without_ranges_and_empty_nodes(tmp_path: Path) -> None:
    data = read_tagged(written(tmp_path, CONLLU, "a.conllu"))
    assert data.sentences == [("von", "dem", "10 000"), ("#",)]
    assert [data.labels[i] for i in data.targets] == ["ADP", "DET", "NUM", "SYM"]
    assert data.shown(2) == "von dem [10 000]"
    assert len(data.rows(data.targets[:1] * 0 + 1).targets) == 1


@pytest.mark.parametrize(
    ("text", "sentences", "labels"),
    [
        ("# a comment\nAda\tB\n# \tO\n\t\n\nin\tO", [("Ada", "# "), ("in",)], "BOO"),
        ("\ufeffAda NNP B\r\nin IN O\r\n\r\n# id one two\r\n# X O\r\n", [("Ada", "in"), ("#",)], "BOO"),
        ("-DOCSTART- -X- O\n\nAda NNP B\nin IN O\n", [("Ada", "in")], "BO"),
        ("New\u00a0York\tB\na\u2028b\tO\n", [("New\u00a0York", "a\u2028b")], "BO"),
    ],
    ids=["tabs", "spaces", "documents", "other white space"],
)
def test_columns_give_the_first_and_the_last(
    tmp_path: Path, text: str, sentences: list[tuple[str, ...]], labels: str
) -> None:
    data = read_tagged(written(tmp_path, text))
    assert data.sentences == sentences
    assert [data.labels[i] for i in data.targets] == list(labels)


@pytest.mark.parametrize(
    ("name", "text", "named"),
    [
        ("a.conll", "Ada B\nin\n", "a.conll:2 .*1 column .*line 1 has 2"),
        ("a.conll", "Ada\tB\nin\tP\tO\n", "a.conll:2 .*3 columns"),
        ("a.conll", "word\n", "a.conll:1 .*'word'"),
        ("a.conll", "Ada\t\n", "a.conll:1 .*label"),
        ("a.conll", "\tO\nAda\tB\n", "a.conll:1 .*word"),
        ("a.conll", "", "a.conll"),
        ("a.conll", "# only this\n\n", "a.conll"),
        ("a.conll", "Ada O\nin O\n", "a.conll .*'O'"),
        ("a.conll", b"Ada B\nM\xfcller O\n", "line 2 .*0xfc"),
        ("a.conll", "Ada B\n".encode("utf-16"), "utf-16"),
        ("a.conllu", "1\tAda\tPROPN\n", "a.conllu:1 .*3 columns.* 10"),
        ("a.conllu", CONLLU.replace("2\tdem", "4\tdem"), "a.conllu:5 .*'4'.* 2 "),
        ("a.conllu", CONLLU.replace("\n\n1\t#", "\n1\t#"), "a.conllu:8 .*'1'.* 4 "),
        ("a.conllu", CONLLU.replace("1\tvon", "x\tvon"), "a.conllu:4 .*'x'"),
        ("a.conllu", CONLLU.replace("DET", "_"), "a.conllu:5 .*UPOS"),
    ],
)
def test_a_file_that_is_none_is_refused_with_its_line(tmp_path: Path, name: str, text: str | bytes, named: str) -> None:
    with pytest.raises(DataError, match=named):
        read_tagged(written(tmp_path, text, name))


def test_a_missing_file_and_a_label_of_another_classifier_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.conll"):
        read_tagged((tmp_path / "none.conll",))
    with pytest.raises(DataError, match=r"tags.conll:2 .*'X'.*'B', 'O'"):
        read_tagged(written(tmp_path, "Ada B\nin X\n"), ("B", "O"))


def test_different_sentences_are_held_out(tmp_path: Path) -> None:
    data = read_tagged(written(tmp_path, "a B\n\nb O\n\n" * 5))
    training, held_out = data.parts(None, NumberSettings())
    assert not set(training.sentences) & set(held_out.sentences)
    assert len(training) + len(held_out) == len(data)
    with pytest.raises(DataError, match=r"tags\.conll .*--validation"):
        read_tagged(written(tmp_path, "a B\nb O\n")).parts(None, NumberSettings())
