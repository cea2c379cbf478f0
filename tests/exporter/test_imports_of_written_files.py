"""A written file finds the owner's files that it imports, from wherever it is run."""

import subprocess
import sys
from pathlib import Path

import click
import pytest

from pocketrnn_export.commands.tokenizer_function_written_to_file import write_code_file
from pocketrnn_export.source_code.code_and_data_files_near_module import list_imported_files, list_imported_libraries

CODE = "from texts.cleaning import drop_marks\n\ndef words(text):\n    return drop_marks(text).split()\n"


@pytest.fixture
def page_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a project whose page runs in a folder beside that of its module and its text functions."""
    for folder in ("page/views", "nets", "texts"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "nets/net.py").touch()
    (tmp_path / "page/views/answer.py").write_text(CODE)
    cleaning = "import numpy\n\ndef drop_marks(text):\n    return text.replace('!', ' ')\n"
    (tmp_path / "texts/cleaning.py").write_text(cleaning)
    monkeypatch.chdir(tmp_path / "page")
    return tmp_path / "page"


def write_words(source: str, output: str = "net.bundle") -> Path:
    with click.Context(click.Command("export")) as context:
        context.params = {"source": source}
        return write_code_file(Path(output), "words", CODE, Path("views/answer.py"))


def test_a_written_file_runs_in_another_folder(page_folder: Path, tmp_path: Path) -> None:
    path = write_words("../nets/net.py:Net")
    run = f"import sys; sys.path.insert(0, {str(page_folder)!r}); from {path.stem} import words; print(words('so! it'))"
    done = subprocess.run(
        [sys.executable, "-c", run], cwd=tmp_path / "nets", capture_output=True, text=True, check=True
    )
    assert done.stdout == "['so', 'it']\n"


@pytest.mark.usefixtures("page_folder")
def test_the_files_and_libraries_of_its_imports_are_found() -> None:
    path = write_words("../nets/net.py:Net")
    assert [one.name for one in list_imported_files(path)] == ["cleaning.py"]
    assert list_imported_libraries(path) == ["numpy"]


@pytest.mark.usefixtures("page_folder")
def test_a_file_beside_its_imports_is_written_as_it_is() -> None:
    assert "sys.path" not in write_words("../nets/net.py:Net", "../net.bundle").read_text()
