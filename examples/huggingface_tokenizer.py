"""A classifier that was trained in front of a Hugging Face tokenizer, for every place where pocketrnn runs.

    python examples/huggingface_tokenizer.py FOLDER

It trains both on a few rows, exports them, and writes into FOLDER: tokenizer.json, the bundle `mood`, and `mood.prnn`,
which C, the browser and a microcontroller read. It needs pocketrnn[all] and tokenizers.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import nn

from pocketrnn import Classifier
from pocketrnn_export import export
from pocketrnn_export.packing import pack

LABELS = ["negative", "positive"]
ROWS = [
    ("What a lovely, thoughtful film!", 1),
    ("Lovelier than the book, and funnier.", 1),
    ("I'd watch it again and again.", 1),
    ("Thoughtfully made; the ending is wonderful.", 1),
    ("Dull, dreary, and far too long.", 0),
    ("The dullest film I've seen this year...", 0),
    ("A dreadful ending; I wouldn't watch it again.", 0),
    ("Too long, and not funny at all.", 0),
]


class Mood(nn.Module):
    def __init__(self, pieces: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(pieces, 24)
        self.gru = nn.GRU(24, 16, batch_first=True)
        self.fc = nn.Linear(16, len(LABELS))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.fc(self.gru(self.embedding(tokens))[0][:, -1])
        return logits


def train_tokenizer() -> Tokenizer:
    """Make a byte-level BPE tokenizer like RoBERTa's."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<s>", "</s>", "<pad>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([text for text, _ in ROWS], trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0))
    return tokenizer


def train_module(tokenizer: Tokenizer) -> Mood:
    torch.manual_seed(0)
    module = Mood(tokenizer.get_vocab_size())
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    for _ in range(40):
        for text, label in ROWS:
            tokens = torch.tensor([tokenizer.encode(text).ids])
            loss = nn.functional.cross_entropy(module(tokens), torch.tensor([label]))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return module


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer()
    module = train_module(tokenizer)
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.save(module.state_dict(), folder / "weights.pt")

    # From here on the tokenizer is text rules: pocketrnn runs without Hugging Face's library.
    texts = [text for text, _ in ROWS]
    export(
        module,
        folder / "mood",
        labels=LABELS,
        tokenizer=folder / "tokenizer.json",
        example_texts=texts,
        force=True,
    )
    pack(folder / "mood", folder / "mood.prnn", force=True)

    for text in ("A lovely ending!", "Dreary."):
        print(f"{text}\t{Classifier.load(folder / 'mood').classify(text).label}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
