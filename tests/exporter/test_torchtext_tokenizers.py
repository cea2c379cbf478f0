"""Written code splits texts as torchtext's `get_tokenizer` does, without torchtext, which imports PyTorch."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from module_sources import run_source

from pocketrnn_export.commands.tokenizer_function_written_to_file import write_code_file
from pocketrnn_export.source_code.code_and_data_files_near_module import imports_torch_directly_or_indirectly
from pocketrnn_export.source_code.torchtext_tokenizers import replace_torchtext_tokenizers

_IMPORT = "from torchtext.data.utils import get_tokenizer\n"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("cut = get_tokenizer('basic_english')", ["it", "'", "s", "here", ",", "b"]),
        ("kind = 'basic_english'\ncut = get_tokenizer(tokenizer=kind, language='en')",
         ["it", "'", "s", "here", ",", "b"]),
        ("cut = get_tokenizer(None)", ["It's", "here,", "B"]),
        ("def own(text): return [*text[:2]]\ncut = get_tokenizer(own)", ["I", "t"]),
        ("cut = get_tokenizer(lambda text: text.split(','))", ["It's here", " B"]),
        ("def cut(text):\n    return get_tokenizer('basic_english')(text)[:1]", ["it"]),
    ],
)  # fmt: skip
def test_code_splits_as_torchtext_without_it(code: str, expected: list[str]) -> None:
    written = replace_torchtext_tokenizers(f"from __future__ import annotations\n{_IMPORT}{code}")
    assert "torchtext" not in written
    assert run_source(written)["cut"]("It's here, B") == expected


@pytest.mark.parametrize(
    ("code", "made"),
    [
        (f"{_IMPORT}cut = get_tokenizer('spacy', language='en_core_web_sm')", "spacy.load('en_core_web_sm')"),
        (f"{_IMPORT}L = f()\ncut = get_tokenizer('spacy', L)", "spacy.load(L)"),
        ("import torchtext\ncut = torchtext.data.utils.get_tokenizer('toktok')", "ToktokTokenizer().tokenize"),
        ("from torchtext import data as d\ncut = d.get_tokenizer('moses')", "sacremoses.MosesTokenizer().tokenize"),
        ("from torchtext.data import get_tokenizer as g\ncut = g('revtok')", "revtok.tokenize"),
        (f"{_IMPORT}cut = get_tokenizer('subword')", "functools.partial(revtok.tokenize, decap=True)"),
    ],
)
def test_tokenizers_of_libraries_are_made_without_torchtext(code: str, made: str) -> None:
    written = replace_torchtext_tokenizers(code)
    assert made in written
    assert "torchtext" not in written
    assert replace_torchtext_tokenizers(written) == written
    ast.parse(written)


@pytest.mark.parametrize(
    "code",
    [
        f"{_IMPORT}cut = get_tokenizer(settings.kind)",
        f"{_IMPORT}cut = get_tokenizer('basic_english', 'de')",
        f"{_IMPORT}cut = get_tokenizer(*given)",
        "from own import get_tokenizer\ncut = get_tokenizer('spacy')",
    ],
)
def test_a_tokenizer_that_is_not_known_stays(code: str) -> None:
    assert replace_torchtext_tokenizers(code) == code


def test_a_written_file_imports_torch_only_where_its_code_needs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = f"{_IMPORT}cut = get_tokenizer({{}})\ndef words(text):\n    return cut(text)\n"
    written = write_code_file(Path("a"), "words", code.format("'spacy', language='en'"))
    assert not imports_torch_directly_or_indirectly(written)
    assert "spacy.load('en_core_web_sm')" in written.read_text()
    assert imports_torch_directly_or_indirectly(write_code_file(Path("b"), "words", code.format("settings.kind")))
