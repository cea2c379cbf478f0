"""How the bundles in this folder were written, each by the code of the commit that its folder is named after.

They are written once and stay as they are: bundles that users have cannot be written anew either. To add those of
another commit, before a change of the format:

    git worktree add /tmp/old COMMIT
    cd /tmp/old && PYTHONPATH=runtime:trained:exporter python .../version-1/make_bundles.py .../version-1/COMMIT

The answers beside each bundle are those of the PyTorch module.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from pocketrnn.text import TextEncoder, TextRules
from pocketrnn_export import export

LABELS = ("World", "Sports", "Größe", "名前")
WORDS = ("<unk>", "<pad>", "oil", "prices", "rise", "the", "team", "wins", "cup", "final", ".", "'", "größe", "名前")
TEXTS = (
    "Oil prices rise.",
    "The TEAM wins the cup final",
    "Größe 名前",
    "isn't it the oil?",
    "unknown words only",
    "",
    "the " * 40,
    "İstanbul, ΑΣ.",
)


class Packed(nn.Module):
    """Packed LSTM in both directions."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(WORDS), 6)
        self.rnn = nn.LSTM(6, 4, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(8, len(LABELS))

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        embedded = self.embedding(tokens)
        packed = pack_padded_sequence(embedded, lengths.cpu(), batch_first=True, enforce_sorted=False)
        hidden = self.rnn(packed)[1][0]
        return self.fc(torch.cat((hidden[0], hidden[1]), dim=1))


class Padded(nn.Module):
    """Simple RNN of two layers, mean of all states: padding would change its answers."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(WORDS), 6)
        self.rnn = nn.RNN(6, 4, 2, batch_first=True)
        self.fc = nn.Linear(4, len(LABELS))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc(self.rnn(self.embedding(tokens))[0].mean(dim=1))


class Gru(nn.Module):
    """GRU, last state: multi-label."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(WORDS), 6)
        self.rnn = nn.GRU(6, 4, batch_first=True)
        self.fc = nn.Linear(4, len(LABELS))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc(self.rnn(self.embedding(tokens))[1][-1])


def write_answers(module: nn.Module, rules: TextRules, path: Path) -> None:
    """The texts, with the ids and logits that they have, each text alone."""
    encoder = TextEncoder(rules, WORDS)
    with path.open("w", encoding="ascii") as file, torch.no_grad():
        for text in TEXTS:
            ids = encoder.encode(text)
            arguments = [torch.tensor([ids])] + ([torch.tensor([len(ids)])] if isinstance(module, Packed) else [])
            logits = module.eval()(*arguments)[0]
            answer = {"text": text, "ids": ids, "logits": logits.tolist(), "label": LABELS[int(logits.argmax())]}
            file.write(json.dumps(answer) + "\n")


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    plain = TextRules(padding_id=1)
    for name, module, rules, options in (
        ("packed-lstm", Packed(), plain, {"torchscript": True}),
        ("padded-rnn", Padded(), TextRules("whitespace", padding_id=1, max_tokens=12, unknown_id=None), {}),
        ("multi-label-gru", Gru(), TextRules("basic_english", ngrams=2, padding_id=1), {"multi_label": True}),
    ):
        # Large enough that labels differ; as drawn, the bias would decide each answer.
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.mul_(2.5)
        write_answers(module, rules, folder / f"{name}.jsonl")
        arguments: dict[str, Any] = {"torchscript": False, **options}
        export(
            module, folder / name, labels=LABELS, vocabulary=list(WORDS), rules=rules, example_texts=TEXTS[:5],
            name=name, **arguments,
        )  # fmt: skip
    made_of_bundles(folder)


def made_of_bundles(folder: Path) -> None:
    """What came later than the first bundles, where the commit has it."""
    try:
        from pocketrnn_export.compression import compress
        from pocketrnn_export.mobile import mobile
    except ImportError:
        return
    from pocketrnn_training import Architecture, RecurrentClassifier

    compress(folder / "packed-lstm", folder / "packed-lstm-int8")
    mobile(folder / "packed-lstm", folder / "packed-lstm-mobile")
    architecture = Architecture(
        cell="lstm", vocabulary_size=len(WORDS), embedding_dim=6, hidden_dim=4, layers=1, bidirectional=False,
        dropout=0.0, pooling="last", packed=True, classes=len(LABELS), padding_id=1,
    )  # fmt: skip
    export(
        RecurrentClassifier(architecture), folder / "streaming", labels=LABELS, vocabulary=list(WORDS),
        rules=TextRules(padding_id=1), example_texts=TEXTS[:5], name="streaming", torchscript=False, streaming=True,
    )  # fmt: skip
    try:
        from pocketrnn_export.packing import pack
    except ImportError:
        return
    pack(folder / "packed-lstm", folder / "packed-lstm.prnn")


if __name__ == "__main__":
    main()
