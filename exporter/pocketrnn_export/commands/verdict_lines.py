"""The last lines of `export`, `compress` and `pack`: the verdicts on the graph and on the text rules, and a note on
the texts in the bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pocketrnn.commands.standard_streams import print_line
from pocketrnn.commands.terminal_text import align_columns, escape_line

if TYPE_CHECKING:
    from pocketrnn.bundle.manifest import Manifest, Parity

__all__ = ["format_example_note", "format_proof_table", "print_verdicts"]

# The advice printed in place of `TextVerdict.remedy`, for users who have the pipeline.
_COMPARE: Final = {
    "not compared": "Compare them: --pairs FILE, with texts, the ids that your pipeline gives and your classifier's "
    "answers (docs/your-files.md).",
    "external": 'Compare it: --pairs FILE, with the tokens that your code makes of each text (the member "tokens") and '
    "your classifier's answer (docs/your-files.md).",
}


def print_verdicts(manifest: Manifest) -> None:
    """Print the two verdicts, one on each line. The verdict on the text rules is printed as a warning if it is open.

    Example:
        >>> print_verdicts(manifest)
        Graph: proven equal to the PyTorch module.
        Text rules: those that it was trained with.
    """
    from pocketrnn.verdicts import describe_graph_proof, read_text_verdict

    verdict = read_text_verdict(manifest)
    print_line(f"Graph: {escape_line(describe_graph_proof(manifest))}")
    if not verdict.is_open:
        print_line(f"Text rules: {verdict.sentence}")
        return
    remedy = _COMPARE.get(verdict.kind, f"{verdict.remedy}.")
    print_line(f"Note: Text rules: {verdict.sentence} {remedy}", err=True)


def format_proof_table(parity: Parity, rows_called: str, *, of_labels: bool = True) -> list[str]:
    """Return the comparisons of a proof as a table: a header, and a line for each.

    Args:
        parity: the proof.
        rows_called: the name of a row: `texts` or `sequences`.
        of_labels: whether to show the number of labels that differ.
    """
    rows = [("compared", "on", "cases", rows_called, "largest difference", "labels differing")]
    rows += [
        (f"{c.candidate} with {c.reference}", c.inputs, str(c.cases), str(c.rows), f"{c.largest_difference:.1e}",
         str(c.labels_differing))
        for c in parity.comparisons
    ]  # fmt: skip
    return align_columns(rows if of_labels else [row[:-1] for row in rows])


def format_example_note(manifest: Manifest) -> list[str]:
    """Return the note that the bundle holds texts of the user, and how to leave them out; empty if the bundle holds
    none."""
    if manifest.provenance.get("golden_examples") != "given texts":
        return []
    return [
        f"Inside are {len(manifest.examples)} golden examples, which are texts of yours: whoever has the bundle can "
        "read them. Leave them out with --no-examples."
    ]
