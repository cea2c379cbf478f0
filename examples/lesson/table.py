"""The lesson's results as the tables that its page shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from chapter import ROWS, Row
from steps import Result

__all__ = ["describe_operators", "format_accuracy_table", "format_graph_table", "format_speed_table"]

_RECURRENT = ("RNN", "LSTM", "GRU")


def format_accuracy_table(results: Mapping[str, Result]) -> list[str]:
    """Return the accuracy of each row, as lines of Markdown."""
    first = next(iter(results.values()))
    lines = [
        f"| | the chapter, AG News, 120,000 rows | here, {first.rows:,} rows | test, in batches | test, the bundle |",
        "|---|---:|---:|---:|---:|",
    ]
    for row in _present(results):
        result = results[row.name]
        chapter = '"to do"' if row.chapter is None else f"{row.chapter:.3f}"
        if row.settings.epochs is None:
            chapter = "-"
        lines.append(
            f"| {row.title} | {chapter} | {_running(result)} | {result.test_in_batches:.3f} | {result.test:.3f} |"
        )
    return lines


def _running(result: Result) -> str:
    ends = [curve[-1][1] for curve in result.curves]
    return f"{ends[0]:.3f}" if len(ends) == 1 else f"{ends[0]:.3f}; {ends[-1]:.3f} in epoch {len(ends)}"


def format_speed_table(results: Mapping[str, Result]) -> list[str]:
    """Return the size of each row, and how many times longer PyTorch takes for one text, as lines of Markdown."""
    lines = [
        "| | words | bundle, MB | packed, MB | PyTorch : bundle | PyTorch : packed |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in _present(results):
        r = results[row.name]
        packed = "-" if r.packed_bytes is None else f"{r.packed_bytes / 1e6:.1f}"
        faster = "-" if r.packed_us is None else f"{r.pytorch_us / r.packed_us:.0f} : 1"
        lines.append(
            f"| {row.title} | {r.words:,} | {r.bundle_bytes / 1e6:.1f} | {packed} | "
            f"{r.pytorch_us / r.bundle_us:.1f} : 1 | {faster} |"
        )
    return lines


def format_graph_table(results: Mapping[str, Result]) -> list[str]:
    """Return the ONNX graph of each row, and how much its answers differ, as lines of Markdown."""
    lines = ["| | inputs | recurrent operators | of all operators | largest difference |", "|---|---|---|---:|---:|"]
    for row in _present(results):
        r = results[row.name]
        inputs = ", ".join(f"`{name}`" for name in r.inputs)
        largest = max(line["largest_difference"] for line in r.parity)
        lines.append(
            f"| {row.title} | {inputs} | {describe_operators(r.operators)} | {len(r.operators)} | {largest:.0e} |"
        )
    return lines


def describe_operators(operators: Sequence[str]) -> str:
    """Return the recurrent operators among a graph's operators, in words.

    Example:
        >>> describe_operators(["Gather", "LSTM", "Squeeze", "LSTM", "Gemm"])
        '2 `LSTM`'
    """
    recurrent = sorted(operator for operator in operators if operator in _RECURRENT)
    counted = [(name, len(list(group))) for name, group in groupby(recurrent)]
    return ", ".join(f"{count} `{name}`" for name, count in counted)


def _present(results: Mapping[str, Result]) -> list[Row]:
    return [row for row in ROWS if row.name in results]
