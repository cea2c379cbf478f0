"""The last lines of `export`, `compress` and `pack`: the verdicts on the graph and on the text rules, and the texts
that are inside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pocketrnn.commands.standard_streams import tell
from pocketrnn.commands.terminal import aligned, one_line

if TYPE_CHECKING:
    from pocketrnn.bundle.manifest import Manifest, Parity

__all__ = ["lines_of_examples", "proof_table", "tell_verdicts"]

# The advice printed in place of `TextVerdict.remedy`, for users who have the pipeline.
_COMPARE: Final = {
    "not compared": "Compare them: --pairs FILE, with texts, the ids that your pipeline gives and your classifier's "
    "answers (docs/your-files.md).",
    "external": "Compare it: --pairs FILE, with texts, the tokens that your code makes of them and your classifier's "
    "answers (docs/your-files.md).",
}


def tell_verdicts(manifest: Manifest) -> None:
    """Say the two verdicts, each on a line of its own; as a note, among the warnings, where one leaves something open.

    Example:
        >>> tell_verdicts(manifest)
        Graph: proven equal to the PyTorch module.
        Text rules: those that it was trained with.
    """
    from pocketrnn.verdicts import graph_sentence, text_verdict

    verdict = text_verdict(manifest)
    tell(f"Graph: {one_line(graph_sentence(manifest))}")
    if not verdict.is_open:
        tell(f"Text rules: {verdict.sentence}")
        return
    remedy = _COMPARE.get(verdict.kind, f"{verdict.remedy}.")
    tell(f"Note: Text rules: {verdict.sentence} {remedy}", err=True)


def proof_table(parity: Parity, rows_called: str, *, of_labels: bool = True) -> list[str]:
    """The comparisons of a proof, a line each under a head.

    Args:
        parity: the proof.
        rows_called: what a row is: `texts` or `sequences`.
        of_labels: whether it is said how many labels differ.

    Example:
        >>> proof_table(manifest.parity, "texts")[0].split()[:3]
        ['compared', 'on', 'cases']
    """
    rows = [("compared", "on", "cases", rows_called, "largest difference", "labels differing")]
    rows += [
        (f"{c.candidate} with {c.reference}", c.inputs, str(c.cases), str(c.rows), f"{c.largest_difference:.1e}",
         str(c.labels_differing))
        for c in parity.comparisons
    ]  # fmt: skip
    return aligned(rows if of_labels else [row[:-1] for row in rows])


def lines_of_examples(manifest: Manifest) -> list[str]:
    """That texts which were given are inside, for who can still leave them out; none where there are none.

    Example:
        >>> lines_of_examples(manifest)
        []
    """
    if manifest.provenance.get("golden_examples") != "given texts":
        return []
    return [
        f"Inside are {len(manifest.examples)} golden examples, which are texts of yours: whoever has the bundle can "
        "read them. Leave them out with --no-examples."
    ]
