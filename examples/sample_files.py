"""Make the files that README and the pages in `docs` name, so that their commands can be typed as they stand.

    python examples/sample_files.py samples
    cd samples

They are small, and what they hold is made up. Those with weights need PyTorch, the Parquet file needs pyarrow: without
these they are left out, which is said.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import pickle
import random
import sys
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

WORDS = ["<unk>", "<pad>", "good", "bad", "film"]
CLASSIFIER = """\
from torch import nn


class Classifier(nn.Module):
    def __init__(self, words=5, dim=16, hidden=8, classes=2):
        super().__init__()
        self.embedding = nn.Embedding(words, dim)
        self.gru = nn.GRU(dim, hidden, batch_first=True)
        self.fc = nn.Linear(hidden, classes)

    def forward(self, tokens):
        return self.fc(self.gru(self.embedding(tokens))[1][-1])
"""
NEWS_CLASSIFIER = """\
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence


class NewsClassifier(nn.Module):
    def __init__(self, vocab_size=8000, embed_dim=64, hidden_dim=32, num_class=4):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, embed_dim, padding_idx=1)
        self.rnn = nn.LSTM(embed_dim, hidden_dim, batch_first=True)
        self.fc = nn.Linear(hidden_dim, num_class)

    def forward(self, tokens, lengths):
        packed = pack_padded_sequence(self.embedding(tokens), lengths.cpu(), batch_first=True, enforce_sorted=False)
        _, (hidden, _) = self.rnn(packed)
        return self.fc(hidden[-1])
"""
TRAINING_CELL = "rows = open('all-my-rows.csv').read()  # the training: export does not run it\n"
HEADLINES = ["NASA probe nears Saturn", "Oil prices rise again"]
LETTERS = [
    "Où est la gare, s'il vous plaît ?",
    "Der Zug nach Hamburg fährt heute eine Stunde später ab.",
    "Hvor ligger stasjonen, og når går det siste toget?",
]
FRAMES = ["a {} {}", "the {1} is {0}", "what a {} {}", "I found this {1} {0}"]
NOUNS = ["film", "book", "play", "story", "song"]
REVIEWS = {
    "positive": ["good", "great", "lovely", "fine", "clever"],
    "negative": ["bad", "dull", "poor", "awful", "silly"],
}
TAGS = {"long": ["long", "endless"], "sad": ["sad", "bitter"], "long|sad": ["long, sad"], "": ["short", "merry"]}


def write_rows(path: Path, columns: list[str], rows: Iterable[Iterable[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def list_labelled_texts(words_of: dict[str, list[str]]) -> list[tuple[str, str]]:
    """Return every sentence with its label, always in the same order."""
    words = [(word, label) for label, words in words_of.items() for word in words]
    rows = [(frame.format(word, noun), label) for frame, noun, (word, label) in product(FRAMES, NOUNS, words)]
    random.Random(0).shuffle(rows)  # noqa: S311 - an order, not a secret
    return rows


def write_texts(folder: Path) -> None:
    """Write labelled texts for `train`, a teacher's answers to them, and texts for `classify`."""
    rows = list_labelled_texts(REVIEWS)
    write_rows(folder / "test.csv", ["text", "label"], rows[:40])
    write_rows(folder / "reviews.csv", ["text", "label"], rows[40:])
    shares = {"negative": ("0.8", "0.2"), "positive": ("0.1", "0.9")}
    write_rows(folder / "teacher.csv", ["negative", "positive"], [shares[label] for _, label in rows[40:]])
    write_rows(folder / "tags.csv", ["text", "label"], list_labelled_texts(TAGS))
    write_rows(folder / "comments.csv", ["id", "review"], [(str(i), text) for i, (text, _) in enumerate(rows[:40])])
    (folder / "headlines.txt").write_text("\n".join(HEADLINES) + "\n", encoding="utf-8")
    write_rows(folder / "headlines.csv", ["text", "source"], [(HEADLINES[0], "wire")])
    write_rows(folder / "letters.csv", ["text"], [(letter,) for letter in LETTERS])
    (folder / "headlines.jsonl").write_text(json.dumps({"headline": HEADLINES[1]}) + "\n", encoding="utf-8")


def write_parquet(folder: Path) -> None:
    """Write the comments as Parquet; this needs pyarrow."""
    from pyarrow import csv as arrow_csv
    from pyarrow import parquet

    parquet.write_table(arrow_csv.read_csv(folder / "comments.csv"), folder / "comments.parquet")


def write_training_files(folder: Path) -> None:
    """Write code, vocabularies and labels, as scripts and notebooks save them."""
    (folder / "model.py").write_text(CLASSIFIER, encoding="utf-8")
    (folder / "news.py").write_text(NEWS_CLASSIFIER, encoding="utf-8")
    cells = [{"cell_type": "code", "source": source} for source in (CLASSIFIER, TRAINING_CELL)]
    (folder / "notebook.ipynb").write_text(json.dumps({"nbformat": 4, "cells": cells}, indent=1), encoding="utf-8")
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    ids = {word: i for i, word in enumerate(WORDS)}
    (folder / "word2idx.json").write_text(json.dumps({"word2idx": ids}), encoding="utf-8")
    (folder / "labels.json").write_text('["no", "yes"]', encoding="utf-8")
    pair = {"text": "A good film", "ids": [ids["<unk>"], ids["good"], ids["film"]]}
    (folder / "pairs.jsonl").write_text(json.dumps(pair) + "\n", encoding="utf-8")
    # import-vocab refuses a pickle that names a function. It would not be called.
    (folder / "from-the-internet.pth").write_bytes(pickle.dumps(os.system))


def write_weights(folder: Path) -> None:
    """Write weights with `torch.save`. The weights of model.py are trained on two texts; the others are random."""
    import torch

    torch.manual_seed(0)
    module = run_source(CLASSIFIER)["Classifier"]()
    optimizer = torch.optim.Adam(module.parameters(), lr=0.02)
    for _ in range(100):
        tokens, labels = torch.tensor([[0, 2, 4], [0, 3, 4]]), torch.tensor([1, 0])
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(module(tokens), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    torch.save(module.state_dict(), folder / "weights.pt")
    torch.save(run_source(NEWS_CLASSIFIER)["NewsClassifier"]().state_dict(), folder / "news-weights.pt")
    words = ["<unk>", "<pad>", ".", "the", ",", "to", "a", "of", "in", "and", *(f"word{i}" for i in range(7990))]
    torch.save(words, folder / "vocab.pth")


def write_safetensors(folder: Path) -> None:
    """Write weights.pt in the safetensors format; this needs PyTorch and safetensors."""
    import torch
    from safetensors.torch import save_file

    save_file(torch.load(folder / "weights.pt"), folder / "weights.safetensors")


def run_source(source: str) -> dict[str, Any]:
    scope: dict[str, Any] = {}
    exec(source, scope)  # noqa: S102 - our own text, above
    return scope


def write_samples(folder: Path) -> list[str]:
    """Write all files that can be written with the installed packages.

    Returns:
        the names of the packages without which something was left out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = []
    for write in (write_texts, write_training_files, write_parquet, write_weights, write_safetensors):
        try:
            write(folder)
        except ModuleNotFoundError as error:
            missing.append(str(error.name))
    return missing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a new folder")
    folder = parser.parse_args().folder
    if folder.exists():
        sys.exit(f"Error: {folder} is there already. Give a new folder.")
    missing = write_samples(folder)
    print(f"Wrote {len(list(folder.iterdir()))} files into {folder}.")
    for name in sorted(set(missing)):
        print(f"{name} is not installed: the files that need it are left out.")


if __name__ == "__main__":
    main()
