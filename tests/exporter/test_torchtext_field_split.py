"""The methods of a torchtext Field are written without torchtext, as the owner's code makes the Field."""

from __future__ import annotations

from pathlib import Path

import pytest
from module_sources import run_source

from pocketrnn_export.source_code.splitting_part_of_function import write_tokenizer_of_function
from pocketrnn_export.source_code.torchtext_field_split import find_field_split
from pocketrnn_export.source_code.torchtext_tokenizers import replace_torchtext_tokenizers

_PREDICT = (
    "def predict(texts):\n    TEXT = torch.load('fields.pth')\n    found = []\n    for text in texts:\n"
    "        tokens = {}\n        ids = [TEXT.vocab.stoi.get(token, 0) for token in tokens]\n"
    "        found.append(net(ids))\n    return found\n"
)


def _write_and_run(path: Path, field: str, tokens: str, text: str) -> list[str]:
    path.write_text(f"{field}\n{_PREDICT.format(tokens)}", encoding="utf-8")
    written = write_tokenizer_of_function(path, "predict")
    assert written is not None
    return [*run_source(written.code)["words"](text)]


@pytest.mark.parametrize(
    ("field", "tokens", "expected"),
    [
        ("TEXT = data.Field(lower=True)", "TEXT.tokenize(text)", ["Good", "DAY,", "all"]),
        ("TEXT = data.Field(lower=True)", "TEXT.preprocess(text)", ["good", "day,", "all"]),
        ("TEXT = Field(tokenize=lambda x: x.split(','))", "[t.upper() for t in TEXT.tokenize(text)]",
         ["GOOD DAY", " ALL"]),
        ("def cut(text): return list(text[:3])\nTEXT = Field(tokenize=cut, stop_words=['o'])", "TEXT.preprocess(text)",
         ["G"]),
        ("TEXT = Field(preprocessing=lambda tokens: tokens[::-1])", "TEXT.preprocess(text)", ["all", "DAY,", "Good"]),
    ],
)  # fmt: skip
def test_the_methods_of_a_field_split_as_its_settings_say(
    tmp_path: Path, field: str, tokens: str, expected: list[str]
) -> None:
    assert _write_and_run(tmp_path / "a.py", field, tokens, "Good DAY, all") == expected


def test_a_field_that_splits_by_spacy_needs_spacy_and_no_torchtext(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    field = "TEXT = data.Field(tokenize='spacy', tokenizer_language='en_core_web_sm', include_lengths=True)\n"
    path.write_text(field + _PREDICT.format("[t.lower() for t in TEXT.tokenize(text)]"), encoding="utf-8")
    written = write_tokenizer_of_function(path, "predict")
    assert written is not None
    code = replace_torchtext_tokenizers(written.code)
    assert "spacy.load('en_core_web_sm')" in code
    assert "torchtext" not in code


@pytest.mark.parametrize(
    "code",
    [
        "TEXT = data.Field(lower=flag)",
        "TEXT = data.Field(**settings)",
        "TEXT = data.Field(tokenize='other')",
        "TEXT = data.Field(tokenize='spacy', tokenizer_language=language)",
        "A = data.Field(lower=True)\nB = data.Field()",
        "LABEL = data.LabelField()\nNUMBER = data.Field(sequential=False)",
        "a, b = data.Field(), data.Field()",
    ],
)
def test_a_field_whose_settings_are_not_seen_is_not_guessed(tmp_path: Path, code: str) -> None:
    (tmp_path / "a.py").write_text(code, encoding="utf-8")
    assert find_field_split(tmp_path / "a.py") is None


def test_a_field_of_the_own_file_comes_before_another_near_it(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("TEXT = Field(lower=True)", encoding="utf-8")
    (tmp_path / "b.py").write_text("WORDS = Field()", encoding="utf-8")
    (tmp_path / "c.py").write_text("", encoding="utf-8")
    own, other, none = (find_field_split(tmp_path / name) for name in ("a.py", "b.py", "c.py"))
    assert own is not None
    assert other is not None
    assert (own.names, other.names, none) == ({"TEXT"}, {"WORDS"}, None)
