"""The steps of code on a column of texts are written as a function of one text."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from module_sources import run_source

from pocketrnn_export.commands.proposed_options import propose_weights
from pocketrnn_export.source_code.text_column_code_as_function import write_tokenizer_of_columns

WEIGHTS = {"fc.weight": torch.zeros(2, 3), "fc.bias": torch.zeros(2)}
CODE = """
import re
import nltk
import pandas as pd
nltk.download("stopwords")
df = pd.read_csv("rows.csv")
stop = {"of", "the"}
def clean(text):
    return re.sub("[!?]", " ", text)
df["label"] = df["label"].map({"bad": 0, "good": 1})
"""


@pytest.mark.parametrize(
    ("steps", "given"),
    [
        ('df["text"] = df["text"].astype(str).str.lower()\ndf["t"] = df["text"].apply(clean)\n'
         'df["t"] = df["t"].fillna("").str.split()\n'
         'df["t"] = df["t"].apply(lambda some: [w for w in some if w not in stop])',
         ["end", "film"]),
        ('df["t"] = df["text"].str.replace("[A-Z]", "", regex=True).str.replace("o", "0", regex=False).str.split(" ")',
         ["nd", "0f", "", "the", "ilm!"]),
        ('df["t"] = df["text"].progress_apply(lambda x: clean(x).split())', ["End", "of", "the", "Film"]),
        # Texts, but not tokens; an unknown step; a replacement that depends on the release of pandas.
        ('df["t"] = df["text"].apply(clean)', None),
        ('df["t"] = df["text"].rolling(2)\ndf["t"] = df["t"].str.split()', None),
        ('df["t"] = df["text"].str.replace("o", "0").str.split()', None),
        ('df["t"] = df["text"].apply(other).str.split()', None),
        ('df["label_tokens"] = df["label_text"].str.split()', None),
    ],
)  # fmt: skip
def test_steps_of_a_column_are_a_function_of_a_text(steps: str, given: list[str] | None, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(CODE + steps)
    code = write_tokenizer_of_columns(tmp_path / "train.py")
    assert (code is None) == (given is None), code
    if code is not None:
        assert "pandas" not in code
        assert run_source(code)["words"]("End of  the Film!") == given


def test_weights_that_no_code_names_are_the_only_ones_beside_the_module(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("")
    (tmp_path / "words.pkl").write_bytes(b"")
    assert propose_weights(tmp_path / "net.py") is None
    torch.save(WEIGHTS, tmp_path / "model.pt")
    found = propose_weights(tmp_path / "net.py")
    assert found is not None
    assert found.path == tmp_path / "model.pt"
    torch.save(WEIGHTS, tmp_path / "last.pth")
    found = propose_weights(tmp_path / "net.py")
    assert found is not None
    assert found.others == (tmp_path / "model.pt",)
    # A name in the code decides.
    (tmp_path / "net.py").write_text(f"weights = {str(tmp_path / 'last.pth')!r}")
    found = propose_weights(tmp_path / "net.py")
    assert found is not None
    assert found.path.name == "last.pth"
