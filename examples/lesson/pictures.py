"""The lesson's pictures, as small SVG files.

`scripts/draw_lesson` writes them into docs/lesson. Each is a plain text of lines, boxes and words, so that a change of
one shows in a diff.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Final

from chapter import ROWS
from steps import Result

__all__ = ["PICTURES", "draw_curves", "draw_onnx_graph"]

INK: Final = "#1f2933"
FAINT: Final = "#9aa5b1"
PADDING: Final = "#e4e7eb"
WORD: Final = "#d9e8fb"
STATE: Final = "#ffe8c2"
GATE: Final = "#d8f3dc"
ANSWER: Final = "#f8d7da"
MARK: Final = "#c1121f"
# One for each row of the table; the second, which reads padding as text, is the one to look at.
COLOURS: Final = ("#3d5a80", "#c1121f", "#2a9d8f", "#7b2cbf", "#bc6c25", "#588157", "#1f2933")


@dataclass
class Drawing:
    """An SVG picture on white, so that it can be read on a dark page too.

    Attributes:
        width: in pixels.
        height: in pixels.
        title: what a screen reader reads.
        parts: the elements so far.
    """

    width: int
    height: int
    title: str
    parts: list[str] = field(default_factory=list)

    def box(self, x: float, y: float, w: float, h: float, text: str = "", fill: str = "#ffffff") -> None:
        """Draw a rounded box with a word in its middle."""
        self.parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" rx="5" fill="{fill}" stroke="{INK}"/>'
        )
        if text:
            self.words(x + w / 2, y + h / 2 + 4.5, text)

    def circle(self, x: float, y: float, text: str, fill: str) -> None:
        """Draw a circle with a sign in it."""
        self.parts.append(f'<circle cx="{x:g}" cy="{y:g}" r="13" fill="{fill}" stroke="{INK}"/>')
        self.words(x, y + 5, text)

    def words(
        self, x: float, y: float, text: str, *, anchor: str = "middle", colour: str = INK, size: int = 13
    ) -> None:
        """Draw a line of text on its base line."""
        self.parts.append(
            f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" fill="{colour}" font-size="{size}">{escape(text)}</text>'
        )

    def arrow(self, x1: float, y1: float, x2: float, y2: float, colour: str = INK) -> None:
        """Draw an arrow from the first point to the second."""
        mark = "marked" if colour == MARK else "plain"
        self.parts.append(
            f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{colour}" stroke-width="1.5" '
            f'marker-end="url(#{mark})"/>'
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, colour: str = FAINT) -> None:
        """Draw a thin line."""
        self.parts.append(f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{colour}"/>')

    def curve(self, points: Sequence[tuple[float, float]], colour: str, dashes: str = "") -> None:
        """Draw a line through many points."""
        through = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
        self.parts.append(f'<polyline points="{through}" fill="none" stroke="{colour}" stroke-width="1.8"{dashed}/>')

    def svg(self) -> str:
        """The file's content."""
        heads = "".join(
            f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
            f'<path d="M0,0 L8,4 L0,8 z" fill="{colour}"/></marker>'
            for name, colour in (("plain", INK), ("marked", MARK))
        )
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" width="{self.width}" '
            f'height="{self.height}" font-family="system-ui, sans-serif" role="img">'
        )
        lines = [
            head,
            f"<title>{escape(self.title)}</title>",
            f"<defs>{heads}</defs>",
            f'<rect width="{self.width}" height="{self.height}" fill="#ffffff"/>',
            *self.parts,
            "</svg>",
        ]
        return "\n".join(lines) + "\n"


def draw_state() -> str:
    """Draw a simple RNN with one step for each word, and the mean of its states."""
    d = Drawing(660, 300, "An RNN reads four words and hands its state on from step to step")
    for i, word in enumerate(("oil", "prices", "rise", "again")):
        x = 40 + 130 * i
        d.box(x, 240, 90, 30, word, WORD)
        d.words(x + 96, 259, f"id {(812, 164, 951, 305)[i]}", anchor="start", colour=FAINT, size=10)
        d.arrow(x + 45, 240, x + 45, 216)
        d.box(x, 184, 90, 30, "64 numbers", WORD)
        d.arrow(x + 45, 184, x + 45, 160)
        d.box(x, 118, 90, 40, "RNN", STATE)
        d.arrow(x + 90, 138, x + 128, 138)
        d.words(x + 109, 130, f"h{i + 1}", size=11)
        d.arrow(x + 45, 118, x + 45, 86)
    d.box(40, 50, 480, 34, "the mean of the four states: 32 numbers", STATE)
    d.words(570, 142, "the last state", anchor="start", size=12)
    d.arrow(520, 67, 558, 67)
    d.box(560, 50, 80, 34, "4 logits", ANSWER)
    d.words(40, 28, "Every step is the same small network: word and state in, new state out.", anchor="start")
    return d.svg()


def draw_gates() -> str:
    """Draw one step of an LSTM with its three gates."""
    d = Drawing(660, 300, "One step of an LSTM: three gates decide what is forgotten, added and shown")
    d.words(
        30, 28, "A gate is a number from 0 to 1 for each number of the state: shut, half open, open.", anchor="start"
    )
    d.words(20, 86, "memory c", anchor="start")
    d.arrow(90, 82, 117, 82)
    d.circle(132, 82, "×", GATE)
    d.arrow(145, 82, 317, 82)
    d.circle(332, 82, "+", "#ffffff")
    d.arrow(345, 82, 638, 82)
    d.words(640, 72, "new memory", anchor="end", size=12)
    d.circle(332, 132, "×", GATE)
    d.arrow(332, 119, 332, 97)
    d.line(540, 82, 540, 118, INK)
    d.circle(540, 132, "×", GATE)
    d.arrow(553, 132, 638, 132)
    d.words(640, 152, "new state h", anchor="end", size=12)
    d.box(70, 250, 534, 32, "the word (64 numbers) and the state before it (32 numbers)", WORD)
    for x, name, question, fill, to in (
        (130, "forget", "keep how much?", GATE, (131, 97)),
        (264, "input", "add how much?", GATE, (321, 142)),
        (396, "new things", "what is there?", WORD, (344, 142)),
        (540, "output", "show how much?", GATE, (540, 147)),
    ):
        d.arrow(x, 250, x, 227)
        d.box(x - 62, 180, 124, 46, "", fill)
        d.words(x, 200, name)
        d.words(x, 217, question, size=11)
        d.arrow(x, 180, *to)
    return d.svg()


_BATCH: Final = (
    ("stocks", "slide", "as", "oil", "climbs", "to", "record"),
    ("cup", "final", "today"),
    ("new", "chip", "sold", "out"),
)


def draw_padding() -> str:
    """Draw a padded batch, and the position of the last state with and without packing."""
    d = Drawing(660, 236, "A padded batch: the last state of a short text stands after its padding")
    d.words(30, 28, "Three texts in one batch are filled up to one length.", anchor="start")
    for r, words in enumerate(_BATCH):
        for step in range(len(_BATCH[0])):
            x, y = 30 + 82 * step, 48 + 48 * r
            real = step < len(words)
            d.box(x, y, 74, 32, words[step] if real else "<pad>", WORD if real else PADDING)
        end = 30 + 82 * len(words) - 8
        d.parts.append(
            f'<rect x="{end - 77:g}" y="{45 + 48 * r:g}" width="80" height="38" rx="7" fill="none" '
            f'stroke="#2a9d8f" stroke-width="2.5"/>'
        )
        d.arrow(626, 64 + 48 * r, 605, 64 + 48 * r, MARK)
    d.words(30, 206, "Green: the last state of each text, which a packed LSTM gives.", anchor="start", colour="#21867a")
    d.words(
        30, 226, "Red arrow: what `hidden[-1]` is without packing - the state after all the padding.",
        anchor="start", colour=MARK,
    )  # fmt: skip
    return d.svg()


def draw_packing() -> str:
    """Draw the same batch packed: each step has as many rows as there are texts that have not ended."""
    d = Drawing(660, 216, "A packed batch: each step holds the texts that still go on")
    d.words(30, 28, "Packed: sorted by length, and each step computes only the texts that still go on.", anchor="start")
    texts = sorted(_BATCH, key=len, reverse=True)
    for step in range(len(texts[0])):
        x = 30 + 82 * step
        going_on = [words for words in texts if step < len(words)]
        for r, words in enumerate(going_on):
            d.box(x, 44 + 40 * r, 74, 30, words[step], WORD)
        d.words(x + 37, 182, str(len(going_on)))
    d.words(30, 204, "batch_sizes: how many texts each step has. No step sees padding.", anchor="start", size=12)
    return d.svg()


def draw_directions() -> str:
    """Draw two directions: a second network reads the text from its end."""
    d = Drawing(660, 270, "Two directions: one network reads forwards, another backwards")
    d.words(30, 28, "A second network of its own reads the same words from the end.", anchor="start")
    for i, word in enumerate(("oil", "prices", "rise", "again")):
        x = 40 + 120 * i
        d.box(x, 212, 84, 30, word, WORD)
        d.box(x, 146, 84, 34, "forwards", STATE)
        d.box(x, 82, 84, 34, "backwards", GATE)
        d.arrow(x + 30, 212, x + 30, 182)
        d.line(x + 62, 212, x + 62, 182, INK)
        d.arrow(x + 62, 146, x + 62, 118)
        if i < 3:
            d.arrow(x + 84, 163, x + 118, 163)
            d.arrow(x + 120, 99, x + 86, 99)
    d.arrow(484, 163, 548, 150)
    d.arrow(82, 82, 82, 60)
    d.line(82, 58, 595, 58, INK)
    d.arrow(595, 58, 595, 106)
    d.box(550, 108, 90, 50, "32 + 32", ANSWER)
    d.words(595, 178, "the last state of each,", size=11)
    d.words(595, 194, "side by side", size=11)
    return d.svg()


def draw_layers() -> str:
    """Draw two layers: the states of the first are the input of the second."""
    d = Drawing(660, 240, "Two layers: the second reads the states of the first")
    d.words(30, 28, "The second layer reads the first one's states as if they were words.", anchor="start")
    for i, word in enumerate(("oil", "prices", "rise", "again")):
        x = 40 + 130 * i
        d.box(x, 186, 90, 30, word, WORD)
        d.arrow(x + 45, 186, x + 45, 156)
        d.box(x, 120, 90, 34, "layer 1", STATE)
        d.arrow(x + 45, 120, x + 45, 90)
        d.box(x, 54, 90, 34, "layer 2", GATE)
        d.arrow(x + 90, 137, x + 128, 137)
        d.arrow(x + 90, 71, x + 128, 71)
    d.words(562, 75, "the last state", anchor="start", size=12)
    return d.svg()


PICTURES: Final[Mapping[str, Callable[[], str]]] = {
    "state": draw_state,
    "gate": draw_gates,
    "padding": draw_padding,
    "packing": draw_packing,
    "directions": draw_directions,
    "layers": draw_layers,
}

# The part of the module that each operator of the packed LSTM's graph stands for.
_MEANING: Final = {
    "Gather": "nn.Embedding: rows of a table",
    "Transpose": "batch first -> time first",
    "Cast": "lengths to int32",
    "LSTM": "all steps in one operator",
    "Gemm": "nn.Linear",
}


def draw_onnx_graph(result: Result) -> str:
    """Draw the graph of a packed LSTM, with the PyTorch call that each operator comes from.

    Args:
        result: that of the row `lstm-last-packed`.
    """
    operators = [name for name in result.operators if name != "Cast"]
    d = Drawing(660, 76 + 54 * len(operators), "The ONNX graph of the packed LSTM")
    d.words(30, 28, f"The whole graph of the packed LSTM: {len(result.operators)} operators.", anchor="start")
    d.words(210, 52, "tokens [batch, sequence]", size=12)
    for i, name in enumerate(operators):
        y = 72 + 54 * i
        d.arrow(210, y - 16, 210, y - 2)
        d.box(130, y, 160, 34, name, STATE if name == "LSTM" else "#ffffff")
        after = "LSTM" in operators[:i] and name == "Gather"
        d.words(310, y + 22, "hidden[-1]" if after else _MEANING[name], anchor="start", size=12)
        if name == "LSTM":
            d.words(30, y + 8, "lengths", anchor="start", size=12)
            d.box(14, y + 14, 66, 24, "Cast")
            d.arrow(80, y + 26, 128, y + 22, MARK)
            d.words(
                310, y + 38, "this input, sequence_lens, is all that is left of packing",
                anchor="start", size=11, colour=MARK,
            )  # fmt: skip
    return d.svg()


def draw_curves(results: Mapping[str, Result]) -> str:
    """Draw the running accuracy of every row, over the rows that an epoch has read.

    Args:
        results: by the names of the rows. For a row with several epochs, the first is drawn, and the last with dashes.
    """
    d = Drawing(660, 430, "The running accuracy of each classifier over the rows read so far")
    rows = max(result.rows for result in results.values())
    left, top, width, height = 50, 30, 590, 260

    def place(read: float, accuracy: float) -> tuple[float, float]:
        return left + width * read / rows, top + height * (1 - accuracy)

    for tenth in range(0, 11, 2):
        _, y = place(0, tenth / 10)
        d.line(left, y, left + width, y, PADDING)
        d.words(left - 8, y + 4, f"{tenth / 10:.1f}", anchor="end", size=11)
    for read in range(0, rows + 1, _round_step(rows)):
        x, y = place(read, 0)
        d.words(x, y + 18, f"{read:,}", size=11)
    d.words(left, top - 10, "running accuracy: right answers / rows read so far", anchor="start", size=12)
    d.words(left + width, top + height + 36, "rows read in the epoch", anchor="end", size=12)
    shown = [(row, colour) for row, colour in zip(ROWS, COLOURS, strict=True) if row.name in results]
    for i, (row, colour) in enumerate(shown):
        curves = results[row.name].curves
        d.curve([place(*point) for point in curves[0]], colour)
        title = row.title
        if len(curves) > 1:
            d.curve([place(*point) for point in curves[-1]], colour, "5 4")
            title += f" (dashes: epoch {len(curves)})"
        x, y = left + 310 * (i % 2), top + height + 64 + 20 * (i // 2)
        d.curve([(x, y), (x + 22, y)], colour)
        d.words(x + 28, y + 4, title, anchor="start", size=12)
    return d.svg()


def _round_step(rows: int) -> int:
    """Return the distance between two marks on the axis of rows: 1, 2 or 5 with zeros, for three to six marks."""
    steps = (digit * 10**zeros for zeros in range(12) for digit in (1, 2, 5))
    return next(int(step) for step in steps if rows < 6 * step)
