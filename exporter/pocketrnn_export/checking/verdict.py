"""The verdict on a file, and the input that shows a difference, as text, as JSON and as a page."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from pocketrnn.bundle.manifest import Comparison
from pocketrnn.tables.row_writer import replace_values_that_json_lacks

Kind = Literal["right", "some sizes", "wrong", "changed", "not comparable"]

_STATUS: Final[dict[Kind, int]] = {"right": 0, "some sizes": 3, "wrong": 3, "changed": 3, "not comparable": 2}
_HEADS: Final[dict[Kind, str]] = {
    "right": "Right for every size looked at",
    "some sizes": "Right for some sizes only",
    "wrong": "Wrong",
    "changed": "Changed",
    "not comparable": "Not comparable",
}


@dataclass(frozen=True)
class Shown:
    """The shortest input that was found to show a difference.

    Attributes:
        given: the ids or numbers of each row; for several inputs, the name and the rows of each.
        expected: the first numbers of the module's answer to the row that differs most.
        answer: the file's answer to this row, or what the file gives instead: an error, or the other shape of its
            answer.
        difference: the difference of these two; infinite if the file fails.
        output: the name of the file's output that the numbers are from; empty if only one output was compared.
    """

    given: tuple[Any, ...]
    expected: tuple[float, ...]
    answer: tuple[float, ...] | str
    difference: float
    output: str = ""


@dataclass(frozen=True)
class Verdict:
    """Whether a file answers as its module does.

    Attributes:
        file: the path of the file.
        kind: `right` for every size looked at; `some sizes`, outside of which the file fails; `wrong`, if the file
            gives other answers; `changed`, for two files that differ; or `not comparable`.
        reason: why the verdict is so, in a sentence or two.
        name: the module's name.
        sizes: the sizes for which the file is right, if it is right only for some.
        shown: an input that shows a difference.
        departs: a sentence on the first operation of forward whose result the file lacks, with its line and its node in
            the graph; or on the file's node after the last operation of forward; empty if neither was found.
        called: how the module was called.
        inputs: pairs of an input of the file and the module's input that it was given.
        outputs: pairs of the index of an output of the file that was compared, and the module's output.
        comparisons: a line for each kind of inputs that was compared.
        looked_at: a sentence with the number of batches, and their sizes.
        float64_difference: the largest difference in double precision; None if it was not computed.
        notes: sentences on which of several outputs were compared, and on what was not compared.
        numbers_changed: the largest difference of numbers that may be values, as a share of the largest such number.
        activation: a phrase that says which side alone ends with an activation; empty if neither does.

    Example:
        >>> check(module, "theirs.onnx").kind
        'right'
    """

    file: str
    kind: Kind
    reason: str
    name: str = "the module"
    sizes: str = ""
    shown: Shown | None = None
    departs: str = ""
    called: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    comparisons: tuple[Comparison, ...] = ()
    looked_at: str = ""
    float64_difference: float | None = None
    notes: tuple[str, ...] = ()
    numbers_changed: float = 0.0
    activation: str = ""

    @property
    def is_right(self) -> bool:
        """Whether no difference was found at the compared sizes."""
        return self.kind == "right"

    @property
    def exit_status(self) -> int:
        """The exit status of `check`.

        0 if the file is right, 3 if it is wrong or right for some sizes only, 2 without a comparison.
        """
        return _STATUS[self.kind]

    @property
    def labels_changed(self) -> float:
        """The share of the compared rows for which the file gives another label than the module. The label is the index
        of the answer's largest number or, for an answer that is a whole number, this number."""
        rows = sum(line.rows for line in self.comparisons)
        return sum(line.labels_differing for line in self.comparisons) / rows if rows else 0.0

    @property
    def lines(self) -> list[str]:
        """The verdict as lines for the terminal: what it is and why, the shown input, the call and the notes."""
        said = [f"{_HEADS[self.kind]}: {self.reason}"]
        if self.sizes:
            said.append(f"It is right for {self.sizes}.")
        if self.shown is not None:
            said += [
                f"Shown by {_format_inputs(self.shown.given)}{self.shown.output and f', output {self.shown.output}'}",
                f"  {self.name} answers {_format_numbers(self.shown.expected)}",
            ]
            of_file = self.shown.answer
            said.append(f"  the file {of_file if isinstance(of_file, str) else f'answers {_format_numbers(of_file)}'}")
        if self.departs:
            said.append(self.departs)
        if self.called:
            said.append(f"{self.name} is called as {self.called}{self._describe_inputs()}.")
        said += [self.looked_at] if self.looked_at else []
        if self.float64_difference is not None:
            said.append(f"In double precision the largest difference is {self.float64_difference:.1e}.")
        return [*said, *self.notes]

    def _describe_inputs(self) -> str:
        """Return a phrase that names each input of the file with the module's input that it takes, if the two names
        differ."""
        if not self.inputs:
            return "; the file takes no input"
        pairs = [f"{name} is given {own}" for name, own in self.inputs.items() if name != own]
        return f"; the file's input {', '.join(pairs)}" if pairs else ""

    @property
    def document(self) -> dict[str, Any]:
        """The verdict as a JSON object."""
        added = {"exit_status": self.exit_status, "labels_changed": self.labels_changed}
        found: dict[str, Any] = replace_values_that_json_lacks({**asdict(self), **added})
        return found

    @property
    def table(self) -> list[tuple[str, ...]]:
        """The comparisons as rows of text, with a header row."""
        return [
            ("compared on", "batches", "rows", "largest difference", "labels differing"),
            *(
                (one.inputs, str(one.cases), str(one.rows), f"{one.largest_difference:.1e}", str(one.labels_differing))
                for one in self.comparisons
            ),
        ]


def _format_inputs(given: tuple[Any, ...]) -> str:
    """Return the input that shows a difference as text: its rows, or for several inputs the name and the numbers of
    each."""
    if all(isinstance(one, tuple) and len(one) > 1 and isinstance(one[0], str) for one in given):
        return ", ".join(f"{name} {_format_numbers(rows)}" for name, *rows in given)
    return _format_numbers(given)


def _format_numbers(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_format_numbers, value))}]"
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def make_verdict_page(verdict: Verdict) -> str:
    """Return a verdict as an HTML page without scripts: its lines, and the table of comparisons."""
    cells = (("".join(f"<td>{html.escape(cell)}</td>" for cell in row)) for row in verdict.table)
    table = "\n".join(f"<tr>{row}</tr>" for row in cells)
    said = "\n".join(f"<p>{html.escape(line)}</p>" for line in verdict.lines)
    title = html.escape(f"{verdict.file}: {_HEADS[verdict.kind].lower()}")
    style = (
        "body{font:16px/1.5 sans-serif;max-width:48rem;margin:2rem auto}td{padding:.1rem .8rem;border:1px solid #ccc}"
    )
    return (
        f'<!doctype html>\n<meta charset="utf-8">\n<title>{title}</title>\n<style>{style}</style>\n'
        f"<h1>{title}</h1>\n{said}\n<table>{table}</table>\n"
    )
