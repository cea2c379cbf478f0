"""Files of labelled texts are read correctly; faulty files are refused with a sentence."""

from __future__ import annotations

import hashlib
import json
import urllib.error
import urllib.request
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pocketrnn.errors import DataError
from pocketrnn_training.rows import ag_news_files, table_files
from pocketrnn_training.rows.ag_news_files import AG_NEWS_LABELS, ag_news
from pocketrnn_training.rows.disk_backed_data import StoredTexts
from pocketrnn_training.rows.labelled_rows import split_rows
from pocketrnn_training.rows.labelled_texts import LabelledTexts
from pocketrnn_training.rows.text_files import read_files
from pocketrnn_training.texts import word_vectors

CSV = 'label,text\nham,"Ok, see you"\nspam,WIN now\n'
ROWS = [("ham", "Ok, see you"), ("spam", "WIN now")]


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def rows_of(data: LabelledTexts) -> list[tuple[str, str]]:
    return [(data.labels[target], text) for target, text in zip(data.targets, data.texts, strict=True)]


def refusal(path: Path, **columns: str) -> str:
    with pytest.raises(DataError) as caught:
        read_files([path], **columns)
    assert caught.value.exit_status == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


def parquet(folder: Path, **columns: object) -> Path:
    path = folder / "rows.parquet"
    pyarrow.parquet.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", CSV),
        ("a.CSV", CSV),
        ("a.csv", "\ufeff" + CSV),
        ("a.csv", CSV.replace("\n", "\r\n")),
        ("a.csv", 'id,text,label\n1,"Ok, see you",ham\n2,WIN now,spam'),
        ("a.tsv", "text\tlabel\nOk, see you\tham\nWIN now\tspam\n"),
        ("a.jsonl", '{"text": "Ok, see you", "label": "ham"}\n\n{"label": "spam", "text": "WIN now", "x": [1]}'),
        ("a.ndjson", '\ufeff{"text": "Ok, see you", "label": "ham"}\r\n{"label": "spam", "text": "WIN now"}\r\n'),
    ],
)
def test_every_kind_of_file_gives_the_same_rows(tmp_path: Path, name: str, content: str) -> None:
    data = read_files([write(tmp_path, name, content)])
    assert rows_of(data) == ROWS
    assert data.labels == ("ham", "spam")
    assert data.targets.dtype == np.int64
    assert data.source == name


def test_parquet_gives_the_same_rows(tmp_path: Path) -> None:
    path = parquet(tmp_path, text=["Ok, see you", "WIN now"], label=["ham", "spam"])
    assert rows_of(read_files([path])) == ROWS


def test_several_files_are_one_set(tmp_path: Path) -> None:
    one = write(tmp_path, "one.csv", "label,text\nham,a\n")
    two = write(tmp_path, "two.jsonl", '{"text": "b", "label": "spam"}')
    data = read_files([one, two])
    assert rows_of(data) == [("ham", "a"), ("spam", "b")]
    assert data.source == "one.csv, two.jsonl"


def test_labels_that_are_whole_numbers_become_their_digits(tmp_path: Path) -> None:
    assert read_files([parquet(tmp_path, text=["a", "b"], label=[10, 9])]).labels == ("10", "9")
    assert read_files([write(tmp_path, "a.jsonl", '{"text":"a","label":1}\n{"text":"b","label":0}')]).labels == (
        "0",
        "1",
    )
    assert read_files([write(tmp_path, "a.csv", "label,text\n01,a\n1,b\n")]).labels == ("01", "1")


def test_texts_that_look_like_something_else_stay_texts(tmp_path: Path) -> None:
    texts = ["NULL", "", "12", "true", "2020-01-01", "nan", "a\x00b", 'say ""hi""']
    lines = "".join(f'{"xy"[i % 2]},"{text}"\n' for i, text in enumerate(texts))
    data = read_files([write(tmp_path, "a.csv", "label,text\n" + lines)])
    assert list(data.texts) == [text.replace('""', '"') for text in texts]


def test_a_text_may_hold_line_breaks_and_a_million_characters(tmp_path: Path) -> None:
    long = "word " * 400_000
    data = read_files([write(tmp_path, "a.csv", f'label,text\nx,"one\ntwo"\ny,{long}\n')])
    assert list(data.texts) == ["one\ntwo", long]


def test_half_a_surrogate_pair_is_read_from_json(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", '{"text": "a\\ud800", "label": "x"}\n{"text": "b", "label": "y"}')
    assert read_files([path]).texts[0] == "a\ud800"


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b", "ü,x"]), st.text(st.characters(codec="utf-8", exclude_characters="\r"))),
        min_size=1,
        max_size=20,
    )
)
def test_any_text_survives_every_format(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]) -> None:
    folder = tmp_path_factory.mktemp("rows")
    rows = [*rows, ("a", "x"), ("b", "y")]

    def quoted(value: str) -> str:
        return '"' + value.replace('"', '""') + '"'

    for name, mark in (("a.csv", ","), ("a.tsv", "\t")):
        content = "\n".join(mark.join(map(quoted, row)) for row in [("label", "text"), *rows])
        assert rows_of(read_files([write(folder, name, content)])) == rows
    lines = "\n".join(json.dumps({"label": label, "text": text}, ensure_ascii=False) for label, text in rows)
    assert rows_of(read_files([write(folder, "a.jsonl", lines)])) == rows
    labels, texts = zip(*rows, strict=True)
    assert rows_of(read_files([parquet(folder, label=labels, text=texts)])) == rows


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.parquet"])
def test_a_missing_file_or_a_folder_is_refused(tmp_path: Path, name: str) -> None:
    assert "does not exist" in refusal(tmp_path / name)
    (tmp_path / name).mkdir()
    assert f"{name} is not a regular file" in refusal(tmp_path / name)


@pytest.mark.parametrize("name", ["a.text", "a", "a.csv.gz", "a.json"])
def test_an_unknown_kind_of_file_is_refused_with_the_known_ones(tmp_path: Path, name: str) -> None:
    assert ".csv, .tsv, .jsonl, .ndjson, .parquet" in refusal(write(tmp_path, name, CSV))


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl"])
def test_bytes_that_are_not_utf8_are_refused_with_their_line(tmp_path: Path, name: str) -> None:
    content = {
        "a.csv": b"label,text\nx,fine\ny,caf\xe9\n",
        "a.tsv": b"label\ttext\nx\tfine\ny\tcaf\xe9\n",
        "a.jsonl": b'{"text": "a", "label": "x"}\n\n{"text": "caf\xe9", "label": "y"}\n',
    }[name]
    assert "not UTF-8: line 3 holds the byte 0xe9" in refusal(write(tmp_path, name, content))


def test_a_missing_column_is_refused_with_the_columns_there_are(tmp_path: Path) -> None:
    for path in (
        write(tmp_path, "a.csv", CSV),
        write(tmp_path, "a.tsv", "label\ttext\nham\tOk\n"),
        write(tmp_path, "a.jsonl", '{"text": "a", "label": "x"}'),
        parquet(tmp_path, text=["a"], label=["x"]),
    ):
        message = refusal(path, label_column="topic")
        assert "'topic'" in message
        assert "'label'" in message
        assert "--label-column" in message


def test_a_column_that_stands_twice_is_refused(tmp_path: Path) -> None:
    assert "'text' twice" in refusal(write(tmp_path, "a.csv", "label,text,text\nx,a,b\ny,c,d\n"))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", "", "is empty"),
        ("a.csv", " \n\n", "is empty"),
        ("a.csv", "label,text\n", "holds no rows"),
        ("a.jsonl", "\n \n", "holds no rows"),
        ("a.csv", "label,text\nx,a\nx,b\n", "same label, 'x'"),
        ("a.csv", "label,text\nx,a\n,b\n", "Row 2"),
        ("a.csv", "label,text\nx,a\ny,b,c\n", "cannot be read"),
        ("a.jsonl", '{"text": "a", "label": "x"}\n{"text": "b", "label"', "Line 2"),
        ("a.jsonl", "[" * 100_000, "Line 1"),
        ("a.jsonl", "[1, 2]", "not a JSON object"),
        ("a.jsonl", '{"text": "a", "label": "x"}\n{"text": "b"}', "Line 2"),
        ("a.jsonl", "{}", "It has nothing"),
        ("a.jsonl", '{"text": "a", "label": "x"}\n{"text": "b", "label": null}', "Row 2"),
        ("a.jsonl", '{"text": null, "label": "x"}\n{"text": "b", "label": "y"}', "Row 1"),
        ("a.jsonl", '{"text": "a", "label": "x"}\n{"text": "b", "label": ""}', "Row 2"),
        ("a.jsonl", '{"text": "a", "label": true}\n{"text": "b", "label": false}', "Row 1"),
        ("a.jsonl", '{"text": "a", "label": 1.5}\n{"text": "b", "label": 2}', "Row 1"),
        ("a.jsonl", '{"text": 3, "label": "x"}\n{"text": "b", "label": "y"}', "Row 1"),
        ("a.jsonl", '{"text": ["a"], "label": "x"}\n{"text": "b", "label": "y"}', "Row 1"),
        ("a.parquet", "PAR1 not really", "cannot be read as Parquet"),
        ("a.parquet", "", "cannot be read as Parquet"),
    ],
)
def test_bad_content_is_refused_with_its_place(tmp_path: Path, name: str, content: str, says: str) -> None:
    assert says in refusal(write(tmp_path, name, content))


def test_bad_parquet_values_are_refused(tmp_path: Path) -> None:
    assert "Row 2" in refusal(parquet(tmp_path, text=["a", "b"], label=["x", None]))
    assert "Row 1" in refusal(parquet(tmp_path, text=[None, "b"], label=["x", "y"]))
    assert "Row 1" in refusal(parquet(tmp_path, text=["a", "b"], label=[0.5, 1.0]))
    assert "Row 1" in refusal(parquet(tmp_path, text=[1, 2], label=["x", "y"]))
    whole = parquet(tmp_path, text=["a", "b"], label=["x", "y"]).read_bytes()
    for cut in range(0, len(whole), 37):
        assert "cannot be read as Parquet" in refusal(write(tmp_path, "cut.parquet", whole[:cut]))


def test_labels_outside_the_given_ones_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", CSV)
    assert read_files([path], labels=("spam", "x", "ham")).targets.tolist() == [2, 0]
    with pytest.raises(DataError, match=r"'spam', .*'ham', 'x'"):
        read_files([path], labels=("ham", "x"))


@given(st.lists(st.integers(2, 40), min_size=2, max_size=5), st.floats(0.01, 0.99), st.integers(0, 2**32))
def test_a_split_parts_every_class_by_the_share(sizes: list[int], share: float, seed: int) -> None:
    targets = np.repeat(np.arange(len(sizes)), sizes)
    data = LabelledTexts([""] * len(targets), targets, tuple(map(str, range(len(sizes)))), "rows")
    first, second = split_rows(data, share, np.random.default_rng(seed))
    assert sorted([*first, *second]) == list(range(len(data)))
    assert np.array_equal(split_rows(data, share, np.random.default_rng(seed))[1], second)
    for target, size in enumerate(sizes):
        held_out = int((targets[second] == target).sum())
        assert 1 <= held_out <= size - 1
        assert abs(held_out - share * size) <= 1


def test_the_same_rows_are_held_out_in_whatever_order_the_labels_stand() -> None:
    targets = np.random.default_rng(0).integers(0, 3, 60)
    one = LabelledTexts([""] * 60, targets, ("a", "b", "c"), "rows")
    other = LabelledTexts([""] * 60, np.array([2, 0, 1])[targets], ("b", "c", "a"), "rows")
    first, second = (split_rows(data, 0.2, np.random.default_rng(4))[1] for data in (one, other))
    assert np.array_equal(first, second)


def test_the_only_row_of_a_class_is_trained_on_and_something_has_to_be_held_out() -> None:
    data = LabelledTexts(["a", "b", "c"], np.array([0, 0, 1]), ("x", "y"), "rows")
    first, second = split_rows(data, 0.5, np.random.default_rng(0))
    assert 2 in first
    assert len(second) == 1
    with pytest.raises(DataError, match="Every class has 1 row"):
        split_rows(data.rows(np.array([0, 2])), 0.5, np.random.default_rng(0))


AG_ROWS = b'"3","Wall St. Bears","Short-sellers, \\again"\n"4","Moon","A ""new"" moon"\n'


def test_ag_news_in_a_folder_is_read_as_torchtext_reads_it(tmp_path: Path) -> None:
    write(tmp_path, "test.csv", AG_ROWS)
    data = ag_news("test", tmp_path)
    assert data.labels == AG_NEWS_LABELS
    assert rows_of(data) == [
        ("Business", "Wall St. Bears Short-sellers, \\again"),
        ("Sci/Tech", 'Moon A "new" moon'),
    ]
    with pytest.raises(DataError, match=r"train\.csv .*not exist"):
        ag_news("train", tmp_path)


def test_ag_news_takes_the_order_of_a_classifier(tmp_path: Path) -> None:
    write(tmp_path, "test.csv", AG_ROWS)
    assert ag_news("test", tmp_path, labels=tuple(sorted(AG_NEWS_LABELS))).targets.tolist() == [0, 1]
    with pytest.raises(DataError, match="not one of 'x', 'y'"):
        ag_news("test", tmp_path, labels=("x", "y"))


@pytest.mark.parametrize("content", [b"label,text\nx,y\n", b"class,title,description\n", b"5,a,b\n", b""])
def test_another_file_is_not_taken_for_ag_news(tmp_path: Path, content: bytes) -> None:
    write(tmp_path, "train.csv", content)
    with pytest.raises(DataError):
        ag_news("train", tmp_path)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "pocketrnn" / "ag_news"


def serve(monkeypatch: pytest.MonkeyPatch, content: bytes) -> list[str]:
    asked: list[str] = []

    def urlopen(url: str, timeout: float) -> BytesIO:
        asked.append(url)
        return BytesIO(content)

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    return asked


def test_ag_news_is_downloaded_once_and_checked(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    md5 = hashlib.md5(AG_ROWS, usedforsecurity=False).hexdigest()
    monkeypatch.setitem(ag_news_files._MD5, "test.csv", md5)
    asked = serve(monkeypatch, AG_ROWS)
    assert list(ag_news("test").texts) == list(ag_news("test").texts)
    assert asked == ["https://raw.githubusercontent.com/mhjabreel/CharCnn_Keras/master/data/ag_news_csv/test.csv"]
    assert [path.name for path in cache.iterdir()] == ["test.csv"]


def test_a_download_that_is_not_the_official_file_is_not_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, AG_ROWS)
    with pytest.raises(DataError, match="md5 differs"):
        ag_news("test")
    assert not cache.exists() or not list(cache.iterdir())


def test_a_damaged_cache_is_told(cache: Path) -> None:
    cache.mkdir(parents=True)
    write(cache, "test.csv", AG_ROWS)
    with pytest.raises(DataError, match="md5 differs"):
        ag_news("test")


@pytest.mark.parametrize("error", [urllib.error.URLError("no network"), TimeoutError("slow"), ConnectionResetError()])
def test_no_network_is_told_with_the_way_out(cache: Path, monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    def urlopen(url: str, timeout: float) -> BytesIO:
        raise error

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    with pytest.raises(DataError, match=r"cannot be downloaded.*--data-dir"):
        ag_news("train")


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_a_file_that_is_read_in_many_chunks_gives_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    rows = [(f"label {i % 3}", f'text {i}, "ü"\nof two lines' if i % 7 else "") for i in range(500)]
    if kind == "parquet":
        path = parquet(tmp_path, text=[text for _, text in rows], label=[label for label, _ in rows])
    elif kind == "jsonl":
        content = "\n".join(json.dumps({"text": text, "label": label}, ensure_ascii=False) for label, text in rows)
        path = write(tmp_path, "rows.jsonl", content)
    else:
        delimiter = "\t" if kind == "tsv" else ","
        lines = [f'{label}{delimiter}"{text.replace(chr(34), chr(34) * 2)}"\n' for label, text in rows]
        path = write(tmp_path, f"rows.{kind}", f"label{delimiter}text\n" + "".join(lines))
    for name, small in (("_BLOCK", 300), ("_ROWS", 7)):
        monkeypatch.setattr(table_files, name, small)
    assert rows_of(read_files([path])) == rows


def test_a_csv_file_of_another_delimiter_is_read_by_its_header(tmp_path: Path) -> None:
    content = '\ufeffAbteilung;Anliegen\nKasse;"Zu teuer; und spät, sehr"\nLager;Fehlt, 1,5 kg ü\n'
    path = write(tmp_path, "rows.csv", content.encode("utf-16"))
    data = read_files([path], text_column="Anliegen", label_column="Abteilung", encoding="utf-16")
    assert rows_of(data) == [("Kasse", "Zu teuer; und spät, sehr"), ("Lager", "Fehlt, 1,5 kg ü")]
    path = write(tmp_path, "rows.csv", "Anliegen;Abteilung\na;b\n")
    assert "columns are 'Anliegen', 'Abteilung'" in refusal(path)
    # A comma that gives the columns is the delimiter, whatever else stands in the line.
    path = write(tmp_path, "rows.csv", "text,label,a;b;c;d\nx,y,1\nz,w,2\n")
    assert rows_of(read_files([path])) == [("y", "x"), ("w", "z")]


def test_bad_content_after_the_first_chunk_is_refused_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_files, "_BLOCK", 100)
    good = "label,text\n" + "".join(f"{i % 2},text {i} ü\n" for i in range(50))
    assert "Row 51" in refusal(write(tmp_path, "a.csv", good + ",text\n"))
    assert "cannot be read" in refusal(write(tmp_path, "a.csv", good + "1,a,b\n"))
    assert "line 52 holds the byte 0xff" in refusal(write(tmp_path, "a.csv", good.encode() + b"1,\xff\n"))
    assert "line 52 holds the byte 0xc3" in refusal(write(tmp_path, "a.csv", good.encode() + b"1,\xc3"))
    assert "never closed" in refusal(write(tmp_path, "a.csv", good + '1,"' + "a" * 300))
    assert "never closed" in refusal(write(tmp_path, "a.csv", good + f"1,{'a' * 300}\n"))


@given(st.lists(st.lists(st.text(st.characters(codec=None)), max_size=5), max_size=8), st.integers(0, 60))
def test_stored_texts_are_the_texts_in_memory_or_in_a_file(chunks: list[list[str]], in_memory: int) -> None:
    texts = [text for chunk in chunks for text in chunk]
    stored = StoredTexts.from_chunks(chunks, in_memory)
    assert list(stored) == texts
    assert [stored[i] for i in range(len(stored))] == texts
    chosen = np.arange(len(texts))[::-2]
    assert list(stored.rows(chosen)) == [texts[i] for i in chosen]
    assert list(stored[1:3]) == texts[1:3]


def test_no_room_for_temporary_files_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pocketrnn_training.rows.disk_backed_data.tempfile.TemporaryFile", full)
    with pytest.raises(DataError, match="TMPDIR"):
        StoredTexts.from_chunks([["a long text"]], in_memory=3)


def test_files_without_an_end_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if Path("/dev/zero").exists():
        for name in ("a.csv", "a.jsonl", "a.parquet"):
            (tmp_path / name).symlink_to("/dev/zero")
            assert name in refusal(tmp_path / name)
        with pytest.raises(DataError):
            word_vectors.read_vectors(Path("/dev/zero"), ["a"])
    monkeypatch.setattr(table_files, "_LONGEST_LINE", 40)
    monkeypatch.setattr(word_vectors, "_LONGEST_LINE", 40)
    rows = '{"text": "a", "label": "b"}\n{"text": "c", "label": "d"}\n'
    assert len(read_files([write(tmp_path, "rows.jsonl", rows)])) == 2
    assert "Line 3 " in refusal(write(tmp_path, "endless.jsonl", rows + '{"text": "' + "a" * 100))
    with pytest.raises(DataError, match="Line 2 "):
        word_vectors.read_vectors(write(tmp_path, "vectors.txt", "a 1 2\nb" + " 1" * 100), ["a"])


# fastText's files


VARIANTS = "label,text\nAccess,a\naccess,b\nAccess ,c\nother,d\n,e\naccess,f\n,g\n"


def test_rows_without_a_label_are_counted_and_may_be_left_out(tmp_path: Path) -> None:
    path = write(tmp_path, "tickets.csv", VARIANTS)
    told = refusal(path)
    assert "2 rows" in told
    assert "row 5" in told
    assert "--drop-unlabelled" in told
    data = read_files([path], drop_unlabelled=True)
    assert list(data.texts) == ["a", "b", "c", "d", "f"]
    assert data.source == "tickets.csv without 2 unlabelled rows"


def test_labels_that_differ_in_case_or_spaces_are_one_where_that_is_said(tmp_path: Path) -> None:
    path = write(tmp_path, "tickets.csv", VARIANTS)
    assert read_files([path], drop_unlabelled=True).labels == ("Access", "Access ", "access", "other")
    joined = read_files([path], drop_unlabelled=True, join_labels=True)
    assert rows_of(joined) == [("access", "a"), ("access", "b"), ("access", "c"), ("other", "d"), ("access", "f")]
    # The classes of a classifier are written as it writes them.
    labels = ("ACCESS", "other")
    assert read_files([path], drop_unlabelled=True, join_labels=True, labels=labels).labels == labels
    with pytest.raises(DataError, match="--join-labels"):
        read_files([path], drop_unlabelled=True, labels=labels)
    several = read_files(
        [write(tmp_path, "tags.csv", "label,text\nA|b,x\na,y\na,z\n")], multi_label=True, join_labels=True
    )
    assert several.labels == ("a", "b")
    assert several.targets.tolist() == [[True, True], [True, False], [True, False]]


def test_files_of_fasttext_are_read_with_one_label_or_several(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("__label__good  a  good film \n\n__label__bad a bad one\n__label__bad\n")
    one = read_files([tmp_path / "one.txt"])
    assert (one.labels, list(one.texts)) == (("bad", "good"), ["a  good film", "a bad one", ""])
    assert one.targets.tolist() == [1, 0, 0]
    (tmp_path / "more.txt").write_text("__label__a __label__b x\n__label__b y __label__a\n")
    more = read_files([tmp_path / "more.txt"], multi_label=True)
    assert more.targets.tolist() == [[True, True], [False, True]]
    assert list(more.texts) == ["x", "y __label__a"]


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"a good film\n", "Line 1"),
        (b"__label__a x\n__label__ y\n", "Line 2"),
        (b"__label__a x\n__label__a __label__b y\n", "Row 2"),
        (b"__label__a x\n__label__b \xff\n", "line 2"),
        (b"", "no rows"),
    ],
)
def test_lines_that_fasttext_would_not_read_so_are_refused(tmp_path: Path, content: bytes, named: str) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(DataError, match=named):
        read_files([tmp_path / "a.txt"])
    with pytest.raises(DataError, match="'title'"):
        read_files([tmp_path / "a.txt"], text_column="title")
