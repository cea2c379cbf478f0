"""Notebooks as Jupyter saves them, for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MODEL = """class Classifier(nn.Module):
    def __init__(self, words, dim=DIM, classes=2):
        super(Classifier, self).__init__()
        self.embedding = nn.Embedding(words, dim)
        self.gru = nn.GRU(dim, dim, batch_first=True)
        self.fc = head(dim, classes)

    def forward(self, tokens):
        return self.fc(self.gru(self.embedding(tokens))[1][-1])

    def fit(self, loader):
        for batch in loader:
            optimizer.zero_grad(train_data)
"""
# Cells as they stand in course notebooks: installs, downloads, training, and in between what the class needs.
CELLS = [
    "!pip install torch \\\n   torchtext\n%matplotlib inline\nimport torch, torchtext_not_here\nfrom torch import nn",
    "%%bash\nwget data.csv",
    "import pandas as pd\ntrain_data = pd.read_csv('train.csv')\nDIM = 4\nLAYERS = len(train_data)",
    "def head(dim, classes):\n    return nn.Linear(dim, classes)\n",
    f"%%time\n# the model\n{MODEL}",
    "moved = Classifier(LAYERS)\nmoved = moved.to('cpu')",
    "model = Classifier(LAYERS)\nsmall = Classifier(9)\nopen('ran', 'w').write('training ran')",
    "for epoch in range(10):\n    loss = model.fit(train_data)\n    !date\n",
    "def build(words=6):\n    open('built', 'w').close()\n    return Classifier(words)",
]


def cell(source: str, **other: Any) -> dict[str, Any]:
    return {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None, "source": source, **other}


def notebook(path: Path, sources: list[str] | None = None, **metadata: Any) -> Path:
    """Write a notebook of format 4, its sources as lists of lines."""
    cells = [cell(source.splitlines(keepends=True)) for source in (CELLS if sources is None else sources)]  # type: ignore[arg-type]
    cells.append({"cell_type": "markdown", "metadata": {}, "source": "# class Classifier"})
    path.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": cells}))
    return path


def notebook_3(path: Path, sources: list[str] | None = None) -> Path:
    """Write a notebook of format 3, its sources as strings."""
    cells = [
        {"cell_type": "code", "input": source, "language": "python"}
        for source in (CELLS if sources is None else sources)
    ]
    path.write_text(json.dumps({"nbformat": 3, "metadata": {"name": ""}, "worksheets": [{"cells": cells}]}))
    return path
