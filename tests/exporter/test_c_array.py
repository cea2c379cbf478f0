"""A packed file as an array in C."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from pocketrnn_export.microcontroller import convert_to_c_array, make_array_name

CONTENT = struct.pack("<25I", *range(0, 25 << 24, 1 << 24))


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("news.h", "news"),
        ("ag-news small.h", "ag_news_small"),
        ("ag_news.v2.h", "ag_news_v2"),
        ("20news.h", "model_20news"),
        ("_Bool.h", "model__Bool"),
        ("int.h", "model_int"),
        ("nouvelles-é.h", "nouvelles__"),
        ("新闻.h", "model___"),
        ("*/ int x.h", "model__int_x"),
    ],
)
def test_the_array_has_the_files_name_as_c_takes_it(file: str, name: str) -> None:
    assert make_array_name(Path(file)) == name


def test_the_numbers_are_those_of_the_file() -> None:
    source = convert_to_c_array(CONTENT, "news")
    numbers = re.findall(r"0x[0-9a-f]{8}", source)
    assert struct.pack(f"<{len(numbers)}I", *(int(number, 16) for number in numbers)) == CONTENT
    assert "uint32_t news[25] = {" in source


@pytest.mark.parametrize("language", ["c", "c++"])
def test_a_compiler_makes_the_same_bytes_of_it(language: str, tmp_path: Path) -> None:
    if shutil.which("gcc") is None or (language == "c++" and shutil.which("g++") is None):
        pytest.skip("gcc is not installed")
    name = make_array_name(Path("a-b.h"))
    (tmp_path / "a-b.h").write_text(convert_to_c_array(CONTENT, name))
    # Twice, as two headers of a program may include it.
    lines = [
        "#include <stdio.h>",
        '#include "a-b.h"',
        '#include "a-b.h"',
        f'int main(void) {{ return fwrite({name}, 1, {name}_size, fopen("written", "wb")) != {name}_size; }}',
    ]
    (tmp_path / "main.c").write_text("\n".join(lines) + "\n")
    line = ["gcc", "-x", language, "-Wall", "-Wextra", "-Werror", "main.c", "-o", "main"]
    subprocess.run(line, cwd=tmp_path, check=True, timeout=60)
    subprocess.run([tmp_path / "main"], cwd=tmp_path, check=True, timeout=60)
    assert (tmp_path / "written").read_bytes() == CONTENT
