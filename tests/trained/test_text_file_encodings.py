"""Files of labelled texts in other encodings than UTF-8."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from pocketrnn.commands.cli import main
from pocketrnn.errors import DataError, InputError
from pocketrnn.tables.encodings import check_encoding, recode_to_utf8
from pocketrnn_training import read_files

TEXTS = ["schön, né", "trüb", "schön né", "trüb\u00df"]
ROWS = {
    "a.csv": "label,text\n" + "".join(f'{"ab"[i % 2]},"{text}"\n' for i, text in enumerate(TEXTS)),
    "a.tsv": "label\ttext\n" + "".join(f"{'ab'[i % 2]}\t{text}\n" for i, text in enumerate(TEXTS)),
    "a.jsonl": "".join(f'{{"label": "{"ab"[i % 2]}", "text": "{text}"}}\n' for i, text in enumerate(TEXTS)),
    "a.txt": "".join(f"__label__{'ab'[i % 2]} {text}\n" for i, text in enumerate(TEXTS)),
}


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "utf-16-be", "gb18030", "utf-8-sig"])
def test_a_file_is_read_in_the_encoding_that_is_named_and_no_other(tmp_path: Path, name: str, encoding: str) -> None:
    path = tmp_path / name
    path.write_bytes(ROWS[name].replace("ß", "" if encoding == "gb18030" else "ß").encode(encoding))
    read = read_files([path], encoding=encoding)
    assert [text.replace("ß", "") for text in read.texts] == [text.replace("ß", "") for text in TEXTS]
    assert read.targets.tolist() == [0, 1, 0, 1]
    if encoding == "utf-8-sig":
        return
    with pytest.raises(DataError, match=r"not UTF-8: (line|.*UTF-16)") as refused:
        read_files([path])
    assert "--encoding" in refused.value.remedy
    path.write_text(ROWS[name], "utf-8")
    with pytest.raises(DataError, match=rf"(read as|encoding|encoding is) {encoding}\b"):
        read_files([path], encoding=encoding)


def test_a_byte_that_the_encoding_has_not_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"label,text\na,\xe9\nb,\x81\n")
    with pytest.raises(DataError, match=r"cp1252: line 3 .*\b0x81\b"):
        read_files([path], encoding="cp1252")
    # Across the chunks that are decoded at once.
    content = b"a\n" * 600_000 + "中".encode("gb18030")[:1]
    with pytest.raises(DataError, match="gb18030: line 600001 holds the byte 0xd6"):
        recode_to_utf8(io.BytesIO(content), "a", "gb18030").read()
    text = "中文\n" * 300_000
    assert recode_to_utf8(io.BytesIO(b" " + text.encode("gb18030")), "a", "gb18030").read() == b" " + text.encode()


@pytest.mark.parametrize("name", ["latin9x", "base64", "rot13", "undefined", "", "hex\0"])
def test_what_is_no_encoding_of_texts_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=re.escape(f"no encoding {name!r}")):
        check_encoding(name)


def test_the_commands_take_it_and_refuse_it_where_it_does_nothing(tmp_path: Path) -> None:
    def refused(*arguments: str) -> str:
        result = CliRunner().invoke(main, ["train", *arguments, "-o", str(tmp_path / "c")])
        assert result.exit_code == 2, result.output
        return result.stderr

    path = tmp_path / "a.csv"
    path.write_bytes(ROWS["a.csv"].encode("cp1252"))
    assert "line 2 holds the byte 0xf6" in refused(str(path))
    assert "Did you mean cp1252?" in refused(str(path), "--encoding", "cp12522")
    assert "--encoding is for your" in refused("ag_news", "--encoding", "cp1252")
    assert "is sequences of numbers" in refused("a.ts", "--encoding", "cp1252")
    # The rows are read; the option does the same for `evaluate`, which shares it.
    assert "'topic'" in refused(str(path), "--encoding", "windows-1252", "--label-column", "topic")
