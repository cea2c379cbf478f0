"""Small packed taggers: by words with a CRF, by subwords with one over first pieces, and by characters; and the tags of
hostile texts."""

from __future__ import annotations

import itertools
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from packing_tools import packed_tagger, tagger_program

from pocketrnn import Classifier
from pocketrnn.bundle.crf import Crf
from pocketrnn.bundle.output_kinds import TagOutput
from pocketrnn.errors import InputError
from pocketrnn.tags import Tags
from pocketrnn.text import AnyTextRules, Keep, Replace, SubwordRules, TextRules
from pocketrnn.text.subword_models import WordPiece
from pocketrnn.text.subword_splits import SplitAt
from pocketrnn.text.subword_steps import LowercaseEach

__all__ = ["CRF", "FILES", "LABELS", "TEXTS", "Made", "as_rows", "made"]

LABELS = ("O", "B-PER", "I-PER", "B-LOC")
# No I-PER begins a text, or stands behind a B-LOC.
CRF = Crf(
    (0.25, 0.5, -1e4, 0.125),
    (0.0, -0.5, 0.75, 0.1),
    ((0.5, 0.25, -1e4, 0.0), (-0.5, -1.0, 2.0, 0.3), (0.1, 0.2, 1.0, -0.25), (0.0, 0.7, -1e4, -2.0)),
)
_WORDS = (
    "<unk>",
    "<pad>",
    "<s>",
    "</s>",
    "ada",
    "lives",
    "in",
    "new",
    "york",
    ".",
    ",",
    "'",
    "s",
    "i",
    "\u0307",
    "\U0001f600",
)
_PIECES = (
    "[UNK]",
    "[PAD]",
    "[CLS]",
    "[SEP]",
    "un",
    "##able",
    "able",
    "a",
    ".",
    ",",
    "?",
    "\u3002",
    "\u2581",
    "y",
    "##s",
)
FILES: dict[str, tuple[AnyTextRules, tuple[str, ...], Crf | None]] = {
    "tags": (
        TextRules(
            padding_id=1,
            steps=(Replace("&amp;", "and "), Replace("oil", "new oil"), Keep(("\u0000\u007f", "\u00c0\U0010ffff"), "")),
            stop_words=("the",),
            max_tokens=9,
            first_id=2,
            last_id=3,
        ),
        _WORDS,
        CRF,
    ),
    "tags-characters": (
        TextRules(
            "characters", unknown_id=None, padding_id=1, max_width=6, min_width=3, pad_side="left", cut_side="left"
        ),
        (*_WORDS[:4], "a", "d", "\u00e9", "\u0301", "\U0001f600", " "),
        None,
    ),
    "tags-subwords": (
        SubwordRules(
            WordPiece(most_characters=8),
            0,
            steps=(LowercaseEach(),),
            splits=(SplitAt((" ", "\t", "\n"), "removed"), SplitAt((".", ",", "?", "\u3002"), "isolated")),
            padding_id=1,
            first_ids=(2,),
            last_ids=(3,),
            max_tokens=7,
        ),
        _PIECES,
        replace(CRF, over_tokens=True),
    ),
}
TEXTS = (
    "Ada lives in New York.",
    "",
    " ",
    "the the",
    "\U0001f600 cafe\u0301 ada\u0301, \U0001f469\u200d\U0001f467 Ada's",
    "\u0130\u0130 ada \u0130n \u039f\u03a3. \u1e9e",
    'ada &amp; oil <br /> "new" york; (in)',
    "unable ables, \u3002a  able?? un\u00e9",
    "a\ud800 in \udc00 new\ud83d",
    "\u00a0ada\u3000in\x1fnew\u0085york\u00a9",
    "ada lives in new york and lives in new york and lives in new york",
    "d\u00e9 a d a",
)


@dataclass(frozen=True)
class Made:
    """A file, and the tags of texts."""

    content: bytes
    vectors: list[dict[str, Any]]


def made(name: str) -> Made:
    """The file of a name, and the tags that it gives; those without a label among them. Places count bytes of UTF-8."""
    rules, tokens, crf = FILES[name]
    program = tagger_program(len(tokens), len(LABELS))
    content = packed_tagger(program, rules, tokens, TagOutput(LABELS, crf), name=name, text=TEXTS[0])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.prnn"
        path.write_bytes(content)
        classifier = Classifier.load(path)
        lines = []
        for text in TEXTS:
            line = {"text": text, "ids": classifier.encode(text)}
            points = [0, *itertools.accumulate(len(point.encode("utf-8", "surrogatepass")) for point in text)]
            try:
                rows = [[points[row[0]], points[row[1]], *row[2:]] for row in as_rows(classifier.tag(text), LABELS)]
                lines.append({**line, "tags": rows})
            except InputError:
                lines.append({**line, "said": "PLACES"})
    return Made(content, lines)


def as_rows(tags: Tags, labels: tuple[str, ...]) -> list[list[Any]]:
    """Start, end, label and probability of each token, in the order of the text, as the engine gives them."""
    tagged = [[tag.start, tag.end, labels.index(tag.label), tag.probability] for tag in tags]
    return sorted([*tagged, *([start, end, None, None] for _, start, end in tags.untagged)], key=lambda row: row[:2])
