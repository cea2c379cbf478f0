"""Write the report of a run: `report.md` with three pictures, and `report.html`, the same report as one page.

The page loads nothing and runs nothing. Only the Markdown that is written here is supported: headings, paragraphs,
lists, tables and pictures; in a line `**bold**`, `` `code` `` and characters after a backslash.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from pocketrnn_training.baselines.baseline_accuracy import Baseline
from pocketrnn_training.candidates.candidate import Candidate, read_candidates
from pocketrnn_training.classifiers.checkpoint import FITTED_ROWS, Checkpoint
from pocketrnn_training.cross_validation import CrossValidation
from pocketrnn_training.loop.training_loop import VALIDATION_LENGTHS, VALIDATION_LOGITS, TrainingState
from pocketrnn_training.measures.evaluation import (
    Evaluation,
    add_span_scores,
    list_confusions_by_frequency,
    score_classes,
    score_multi_label_predictions,
)
from pocketrnn_training.measures.fold_scores import FoldScores
from pocketrnn_training.measures.span_scores import SpanScores
from pocketrnn_training.measures.thresholds import predict_cross_fitted_labels
from pocketrnn_training.report.report_pictures import (
    DRAWN_CLASSES,
    NUMBERED_CLASSES,
    LengthBin,
    draw_accuracy_by_length,
    draw_confusion_matrix_of_most_confused_classes,
    draw_learning_curve,
    format_range,
    make_tick_label,
)
from pocketrnn_training.rows.labelled_rows import LabelledRows
from pocketrnn_training.rows.tagged_sentences import TaggedSentences
from pocketrnn_training.training_events import Epoch, Notice

__all__ = ["PAGE", "REPORT", "OtherResults", "ValidationAnswers", "render_markdown_as_html_page", "write_report"]

REPORT: Final = "report.md"
PAGE: Final = "report.html"
_MISTAKES: Final = 20
_SHOWN_CHARACTERS: Final = 300
_LENGTH_BINS: Final = 10
# An accuracy on fewer rows says little: with 30 rows, its standard error is about 9 points.
_ROWS_OF_A_BIN: Final = 30
_CONFUSIONS: Final = 20


@dataclass(frozen=True)
class ValidationAnswers:
    """A checkpoint's answers for the validation rows.

    Attributes:
        probabilities: float32 [rows, classes].
        lengths: int64 [rows], the number of tokens or of steps of each row.
    """

    probabilities: npt.NDArray[np.float32]
    lengths: npt.NDArray[np.int64]

    @classmethod
    def from_state(cls, state: TrainingState) -> ValidationAnswers:
        """Compute the probabilities of a run's best epoch from the logits in the state of the run."""
        logits = state.tensors[VALIDATION_LOGITS] / float(state.best.metrics["temperature"])
        return cls(state.best.answers.probabilities(logits.numpy()), state.tensors[VALIDATION_LENGTHS].numpy())


@dataclass(frozen=True)
class OtherResults:
    """Results of a run, besides its checkpoint, that its report shows.

    Attributes:
        notices: the notices that were reported about the data.
        baseline: the accuracy of a linear model on the same rows.
        cross_validation: the result of cross-validation.
    """

    notices: Sequence[Notice] = ()
    baseline: Baseline | None = None
    cross_validation: CrossValidation | None = None


def write_report(
    folder: Path,
    checkpoint: Checkpoint,
    history: Sequence[Epoch],
    validation: LabelledRows,
    answers: ValidationAnswers,
    other_results: OtherResults,
) -> None:
    """Write the report of a checkpoint on its validation rows into an existing folder.

    Args:
        folder: for `report.md`, `report.html`, `learning_curve.png`, `accuracy_by_length.png` and, where each text has
            one label, `confusion.png`.
        checkpoint: the result of the run.
        history: all epochs of the run; empty if the classifier is fitted without epochs.
        validation: the validation rows.
        answers: the checkpoint's answers for the validation rows.
        other_results: other results of the run.
    """
    probabilities, counts = answers.probabilities, None
    if validation.several_labels:
        given = predict_cross_fitted_labels(probabilities.astype(np.float64), validation.targets)
        result = score_multi_label_predictions(checkpoint.labels, validation.targets, given)
        right = (given == validation.targets).all(axis=1)
        mistakes = _format_label_mistakes(checkpoint, validation, probabilities, given)
    else:
        predicted = probabilities.argmax(axis=1)
        result = score_classes(checkpoint.labels, validation.targets, predicted)
        if isinstance(validation, TaggedSentences):
            result = add_span_scores(result, validation, predicted)
        # Only once: with 10,000 classes, this takes half a minute.
        counts = np.array(result.confusion)
        right = predicted == validation.targets
        mistakes = _format_mistakes(checkpoint, validation, probabilities, predicted)
        draw_confusion_matrix_of_most_confused_classes(result, counts).savefig(folder / "confusion.png")
    bins = _divide_rows_into_length_bins(answers.lengths, right)
    if history:
        draw_learning_curve(history).savefig(folder / "learning_curve.png")
    draw_accuracy_by_length(bins, validation.STEPS).savefig(folder / "accuracy_by_length.png")
    has_linear_part = getattr(checkpoint.architecture, "pairs", 0) > 0
    lines = [
        *_format_overview(checkpoint, result, validation.ROW, validation.ANSWER),
        *_format_baseline(result, other_results.baseline),
        *_format_candidates(read_candidates(checkpoint.data)),
        *_format_folds(other_results.cross_validation),
        *(_format_learning_curve(history, has_linear_part=has_linear_part) if history else ()),
        *_format_spans(result.spans),
        *_format_scores_of_classes(result, counts, checkpoint.thresholds),
        *_format_accuracy_by_length(bins, validation.STEPS),
        *mistakes,
        *_format_data_and_settings(checkpoint, other_results.notices),
    ]
    # Half a surrogate pair, which a text may hold, has no UTF-8 form.
    (folder / REPORT).write_text("\n".join(lines) + "\n", encoding="utf-8", errors="backslashreplace")
    pictures = {path.name: path.read_bytes() for path in folder.glob("*.png")}
    (folder / PAGE).write_text(render_markdown_as_html_page(lines, pictures), encoding="ascii")


def _format_overview(checkpoint: Checkpoint, result: Evaluation, row_word: str, answer_word: str) -> Iterator[str]:
    """Yield the first lines of the report: title, accuracy, architecture, calibration and threshold.

    Args:
        checkpoint: the classifier.
        result: its scores on the validation rows.
        row_word: what a row is called, such as "text".
        answer_word: what has a label, such as "row" or "word".
    """
    metrics = checkpoint.metrics
    yield f"# {_shorten_and_escape(checkpoint.name)}"
    yield ""
    if checkpoint.activation == "sigmoid":
        yield f"On {result.rows:,} validation rows: micro F1 **{result.micro_f1:.2%}**, macro F1 {result.macro_f1:.2%},"
        yield f"all labels right in {result.accuracy:.2%}, after epoch {metrics['epoch']}."
        yield "Each half of the rows is measured with thresholds that were chosen on the other half; the checkpoint"
        yield "keeps thresholds that were chosen on all of them."
    else:
        yield from _format_accuracy(checkpoint, result, answer_word)
    if (fitted := checkpoint.data.get(FITTED_ROWS)) is not None:
        yield "All scores here are of a classifier that had not read these rows. It was then fitted once more,"
        yield f"on all {fitted:,} rows: no row is left to measure it with."
    yield ""
    yield f"{checkpoint.architecture.summary}."
    yield ""
    yield f"Calibration: the expected calibration error is {metrics['calibration_error']:.4f}; it was"
    yield f"{metrics['calibration_error_before']:.4f} before the logits were divided by the temperature"
    yield f"{metrics['temperature']:.3f}, fitted on the same rows."
    if (threshold := metrics.get("threshold")) is not None:
        yield ""
        yield f"None of these: below the probability {threshold:.4f}, a {row_word} is given no label. On the"
        right, wrong = metrics["right_above_threshold"], metrics["wrong_above_threshold"]
        yield f"validation rows, {right:.1%} of the right answers reach it, and {wrong:.1%} of the wrong ones."
        outside = metrics.get("outside_above_threshold")
        if outside is None:
            yield f"No {row_word} outside the classes was tried: `--outside` names the label of such rows."
        else:
            yield f"{outside:.1%} of {checkpoint.data['outside_rows']:,} rows of none of the classes are given a label."
            yield "They are not trained on."
            if checkpoint.training["none_of_these"] is None:
                yield "Each half of these rows and of the validation rows is measured with the threshold of the other"
                yield "half; the one that is kept is chosen on all of them."


def _format_accuracy(checkpoint: Checkpoint, result: Evaluation, answer_word: str) -> Iterator[str]:
    """Yield the report's lines with the accuracy of a classifier that gives each row or word one label.

    `answer_word` is what has a label, such as "row" or "word".
    """
    metrics = checkpoint.metrics
    if checkpoint.measured_by_folds:
        said = FoldScores.from_metrics(metrics, result.rows).summary
        yield f"**{said.capitalize()}**, mean F1 {result.macro_f1:.1%}; ± is the standard deviation of the folds."
        yield "Each row was answered by a classifier that was trained on the other folds."
        return
    epoch = f", after epoch {metrics['epoch']}" if "epoch" in metrics else ""
    if result.spans is not None:
        spans = result.spans.all
        yield f"Spans: F1 **{spans.f1:.2%}**, precision {spans.precision:.2%}, recall {spans.recall:.2%} of"
        yield f"{spans.spans:,} true spans."
    right = f"**{result.accuracy:.2%}**, mean F1 {result.macro_f1:.2%}{epoch}"
    yield f"Correct answers to {result.rows:,} validation {answer_word}s: {right}."


def _format_baseline(result: Evaluation, baseline: Baseline | None) -> Iterator[str]:
    """Yield the report's lines that compare the classifier with a simple model; no lines if `baseline` is None."""
    if baseline is None:
        return
    if baseline.micro_f1 is None:
        ours, how = result.accuracy, "has an accuracy of **{:.2%}** on the same rows"
    else:
        ours, how = result.micro_f1, "one for each label, has a micro F1 of **{:.2%}** on the same rows"
    yield ""
    yield f"{baseline.MODEL},"
    yield f"{baseline.FITTED.format(baseline.rows)}, {how.format(baseline.compared_score)}."
    if baseline.compared_score > ours:
        yield f"**It is better here, by {100 * (baseline.compared_score - ours):.2f} points.** {baseline.ADVICE}"


def _format_candidates(candidates: Sequence[Candidate]) -> Iterator[str]:
    """Yield the report's section with the variants of the classifier that training compared; no lines without any."""
    if not candidates:
        return
    yield from ("", "## The compared variants", "")
    yield "Before the training, each fold of the rows was answered by a classifier trained on the other folds. The"
    yield "weights of both parts, by which their logits are multiplied, were fitted on these answers; each accuracy"
    yield "uses weights that were fitted on the other folds. The first line is the chosen variant: the one with the"
    yield "smallest loss, or the linear part alone if no other loss is smaller by more than its standard error."
    yield "If the linear part of a variant is clearly worse than another's, or than that of the same tokens with or"
    yield "without word vectors, its recurrent part was not trained. A variant with fewer folds had the larger loss on"
    yield "these rows and was not trained on the others. Losses on different rows are not compared."
    yield from ("", "| tokens | parts | rows | folds | accuracy | deviation | loss | weights | recurrent part alone |")
    yield "|---|---|---:|---:|---:|---:|---:|---:|---:|"
    for c in candidates:
        parts, weights, alone = "linear", f"{c.linear_weight:.3f}", ""
        if c.recurrent_accuracy is not None:
            parts, weights, alone = "both", f"{c.recurrent_weight:.3f}, {weights}", f"{c.recurrent_accuracy:.2%}"
        tokens = c.tokenizer if c.vectors is None else f"{c.tokenizer}, {c.vectors}"
        yield (
            f"| {_shorten_and_escape(tokens)} | {parts} | {c.rows:,} | {c.folds} | {c.accuracy:.2%} | "
            f"{c.deviation:.2%} | {c.loss:.4f} | {weights} | {alone} |"
        )


def _format_folds(result: CrossValidation | None) -> Iterator[str]:
    """Yield the report's section with the score of each fold of a cross-validation; no lines if `result` is None."""
    if result is None:
        return
    yield from ("", "## Cross-validation", "")
    yield f"Result: **{result.summary}** Each fold is measured by a classifier of the same settings that was trained on"
    yield "the rows of the others. The classifier of this report is not one of these: it read all rows."
    what = "micro F1" if result.several_labels else "accuracy"
    yield from ("", f"| fold | rows | {what} | mean F1 | linear model |", "|---:|---:|---:|---:|---:|")
    for i, (fold, reached) in enumerate(zip(result.folds, result.scores.tolist(), strict=True), start=1):
        linear = "" if fold.linear is None else f"{fold.linear:.2%}"
        yield f"| {i} | {fold.rows:,} | {reached:.2%} | {fold.macro_f1:.2%} | {linear} |"


def _format_learning_curve(history: Sequence[Epoch], *, has_linear_part: bool) -> Iterator[str]:
    """Yield the report's section with the picture of the learning curve and a table with the scores of each epoch.

    If the classifier has a linear part, the section says that the training scores do not count that part.
    """
    yield from ("", "## Learning curve", "", "![learning curve](learning_curve.png)", "")
    if has_linear_part:
        yield "Training scores are of the recurrent part alone, validation scores of both parts: the linear part was"
        yield from ("fitted on the training rows before.", "")
    yield "| epoch | training loss | training accuracy | validation loss | validation accuracy | F1 | seconds | |"
    yield "|---:|---:|---:|---:|---:|---:|---:|---|"
    for e in history:
        best = "best so far" if e.best else ""
        yield (
            f"| {e.epoch} | {e.training_loss:.4f} | {e.training_accuracy:.2%} | {e.validation_loss:.4f} | "
            f"{e.validation_accuracy:.2%} | {e.validation_f1:.2%} | {e.seconds:.1f} | {best} |"
        )


def _format_spans(spans: SpanScores | None) -> Iterator[str]:
    """Yield the report's section with the scores of the spans of each label; no lines if `spans` is None."""
    if spans is None:
        return
    yield from ("", "## Spans", "", "| label | precision | recall | F1 | true spans |", "|---|---:|---:|---:|---:|")
    for s in spans.labels:
        yield f"| {_shorten_and_escape(s.label)} | {s.precision:.2%} | {s.recall:.2%} | {s.f1:.2%} | {s.spans:,} |"


def _format_scores_of_classes(
    result: Evaluation, confusion_counts: npt.NDArray[np.int64] | None, thresholds: Sequence[float] | None
) -> Iterator[str]:
    """Yield the report's sections with the scores of each class, and with the classes that are confused.

    Args:
        result: the scores on the validation rows.
        confusion_counts: int64 [classes, classes], a confusion matrix; None if a text can have several labels, where
            only the section with the scores of each label is made.
        thresholds: the threshold of each label; None for 0.5 each.
    """
    if confusion_counts is None:
        yield from ("", "## Labels", "", "| label | threshold | precision | recall | F1 | rows |")
        yield "|---|---:|---:|---:|---:|---:|"
        for c, threshold in zip(result.classes, thresholds or (0.5,) * len(result.classes), strict=True):
            yield (
                f"| {_shorten_and_escape(c.label)} | {threshold:.4f} | {c.precision:.2%} | {c.recall:.2%} | "
                f"{c.f1:.2%} | {c.rows:,} |"
            )
        return
    yield from ("", "## Classes", "", "| | class | precision | recall | F1 | rows |", "|---:|---|---:|---:|---:|---:|")
    for i, c in enumerate(result.classes, start=1):
        yield f"| {i} | {_shorten_and_escape(c.label)} | {c.precision:.2%} | {c.recall:.2%} | {c.f1:.2%} | {c.rows:,} |"
    yield from ("", "## Confusion", "", _explain_confusion_picture(result), "", "![confusion](confusion.png)")
    confused = list_confusions_by_frequency(confusion_counts)
    if confused and len(result.classes) > NUMBERED_CLASSES:
        yield from ("", f"The largest of {len(confused):,} confusions:" if len(confused) > _CONFUSIONS else "")
        yield from ("", "| true class | class given | rows |", "|---|---|---:|")
        for count, true, given in confused[:_CONFUSIONS]:
            names = [_shorten_and_escape(result.classes[i].label) for i in (true, given)]
            yield f"| {names[0]} | {names[1]} | {count:,} |"


def _explain_confusion_picture(result: Evaluation) -> str:
    """Return the sentences of the report that explain the picture of the confusion matrix."""
    classes = len(result.classes)
    which = "Rows by true class and class given, as shares of the true class."
    if classes > DRAWN_CLASSES:
        which += f" The picture has the {DRAWN_CLASSES} of {classes:,} classes that are confused most."
    if any(make_tick_label(i, of_class.label).isdigit() for i, of_class in enumerate(result.classes)):
        which += " A class whose name is hard to draw has its number in the table above."
    return which


def _format_accuracy_by_length(bins: Sequence[LengthBin], length_unit: str) -> Iterator[str]:
    """Yield the report's section with the accuracy of rows by their length, which is counted in `length_unit`."""
    yield from ("", "## Accuracy by length", "", "![accuracy by length](accuracy_by_length.png)", "")
    yield from (f"| {length_unit} | rows | accuracy |", "|---|---:|---:|")
    for least, most, rows, accuracy in bins:
        yield f"| {format_range(least, most)} | {rows:,} | {accuracy:.2%} |"


def _format_mistakes(
    checkpoint: Checkpoint,
    validation: LabelledRows,
    probabilities: npt.NDArray[np.float32],
    predicted: npt.NDArray[np.int64],
) -> Iterator[str]:
    """Yield the report's section with the rows that are given a wrong class, the most probable mistakes first.

    Args:
        checkpoint: the classifier, which has the names of the classes.
        validation: the validation rows.
        probabilities: float32 [rows, classes].
        predicted: int64 [rows], the class that each row is given.
    """
    wrong = np.flatnonzero(predicted != validation.targets)
    yield from ("", "## The worst mistakes", "")
    surest = "; the surest first." if len(wrong) else "."
    yield f"{len(wrong):,} of {len(predicted):,} validation {validation.ANSWER}s are given a wrong class{surest}"
    order = wrong[np.argsort(-probabilities[wrong, predicted[wrong]], kind="stable")]
    if not len(order):
        return
    yield ""
    yield from (f"| class given | probability | true class | {validation.ROW} |", "|---|---:|---|---|")
    for row in order[:_MISTAKES].tolist():
        given, true = checkpoint.labels[predicted[row]], checkpoint.labels[validation.targets[row]]
        probability = probabilities[row, predicted[row]]
        answer = f"{_shorten_and_escape(given)} | {probability:.1%} | {_shorten_and_escape(true)}"
        yield f"| {answer} | {_shorten_and_escape(validation.format_row(row))} |"


def _format_label_mistakes(
    checkpoint: Checkpoint,
    validation: LabelledRows,
    probabilities: npt.NDArray[np.float32],
    given: npt.NDArray[np.bool_],
) -> Iterator[str]:
    """Yield the report's section with the rows that get a wrong label or lack a correct one, the highest loss first.

    Args:
        checkpoint: the classifier, which has the names of the labels.
        validation: the validation rows, which can have several labels.
        probabilities: float32 [rows, labels].
        given: bool [rows, labels], the labels that each row is given.
    """
    wrong = np.flatnonzero((given != validation.targets).any(axis=1))
    yield from ("", "## The worst mistakes", "")
    yield f"{len(wrong):,} of {len(validation):,} validation rows are given a wrong label, or lack one" + (
        "; those with the highest loss first." if len(wrong) else "."
    )
    if not len(wrong):
        return
    likely = np.where(validation.targets, probabilities, 1 - probabilities).clip(1e-7)
    order = wrong[np.argsort(np.log(likely[wrong]).sum(axis=1), kind="stable")]
    yield from ("", f"| labels given | true labels | {validation.ROW} |", "|---|---|---|")
    for row in order[:_MISTAKES].tolist():
        named = [
            ", ".join(
                _shorten_and_escape(label) for label, is_one in zip(checkpoint.labels, some, strict=True) if is_one
            )
            or "none"
            for some in (given[row], validation.targets[row])
        ]
        yield f"| {named[0]} | {named[1]} | {_shorten_and_escape(validation.format_row(row))} |"


def _format_data_and_settings(checkpoint: Checkpoint, notices: Sequence[Notice]) -> Iterator[str]:
    """Yield the report's sections with the source of the rows, the notices about the rows, and the settings."""
    data = checkpoint.data
    yield from ("", "## Data", "")
    if checkpoint.measured_by_folds:
        yield f"{_shorten_and_escape(str(data['source']))}: {data['rows']:,} rows."
    else:
        yield f"{_shorten_and_escape(str(data['source']))}: {data['training_rows']:,} training rows,"
        yield f"{data['validation_rows']:,} validation rows."
    if notices:
        yield ""
        yield from (f"- {_shorten_and_escape(notice.text)}" for notice in notices)
    yield from ("", "## Settings", "", "| | |", "|---|---|")
    yield from (f"| {name} | {_shorten_and_escape(str(value))} |" for name, value in checkpoint.training.items())


def _shorten_and_escape(text: str) -> str:
    """Return a text as one line of Markdown that shows it literally. Only the start of a long text is kept."""
    text = text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."
    one_line = "".join(c if c.isprintable() else " " if c.isspace() else ascii(c)[1:-1] for c in text)
    return re.sub(r"([\\`*_{}\[\]<>()#+!|&~$-])", r"\\\1", one_line)


def _divide_rows_into_length_bins(lengths: npt.NDArray[np.int64], right: npt.NDArray[np.bool_]) -> list[LengthBin]:
    """Divide the rows by length into bins of about equal numbers of rows, and compute the accuracy of each bin.

    Args:
        lengths: int64 [rows], the length of each row.
        right: bool [rows], whether each row is classified correctly.
    """
    count = max(1, min(_LENGTH_BINS, len(lengths) // _ROWS_OF_A_BIN))
    edges = np.unique(np.quantile(lengths, np.linspace(0, 1, count + 1), method="lower"))
    bins = []
    bin_of_row = np.clip(np.searchsorted(edges, lengths, side="right") - 1, 0, max(0, len(edges) - 2))
    for index in np.unique(bin_of_row):
        here = bin_of_row == index
        least, most = int(lengths[here].min()), int(lengths[here].max())
        bins.append(LengthBin(least, most, int(here.sum()), float(right[here].mean())))
    return bins


_STYLE: Final = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; font-size: 0.9rem; }
th, td { text-align: left; padding: 0.2rem 0.6rem; border-bottom: 1px solid #ddd; vertical-align: top; }
td { overflow-wrap: break-word; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
img { max-width: 100%; height: auto; }
@media print { body { margin: 0; } }
"""
_SAFE: Final = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_PICTURE: Final = re.compile(r"!\[(.*)\]\((.*)\)")
# An escaped character, bold text, or code: whichever comes first.
_MARK: Final = re.compile(r"\\(?P<plain>.)|\*\*(?P<bold>(?:\\.|[^*\\])*)\*\*|`(?P<code>[^`]*)`", re.DOTALL)
_BETWEEN_CELLS: Final = re.compile(r"(?<!\\)\|")


def render_markdown_as_html_page(lines: Sequence[str], pictures: Mapping[str, bytes]) -> str:
    """Render Markdown and its pictures as an HTML page.

    Args:
        lines: the lines of the Markdown, which begins with a heading.
        pictures: the content of the PNG files that it shows, by name.

    Returns:
        a complete HTML document, ASCII only.
    """
    title = re.sub(r"\\(.)", r"\1", lines[0].removeprefix("# "))
    head = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_SAFE}">',
        '<meta name="viewport" content="width=device-width">',
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body>",
    ]
    whole = "\n".join([*head, *_render_markdown_blocks(lines, pictures), "</body></html>"]) + "\n"
    return whole.encode("ascii", "xmlcharrefreplace").decode("ascii")


def _render_markdown_blocks(lines: Sequence[str], pictures: Mapping[str, bytes]) -> Iterator[str]:
    """Yield the HTML of the blocks of Markdown: headings, pictures, lists, tables and text.

    `pictures` is the content of the PNG files that the Markdown shows, by name.
    """
    for kind, found in groupby(lines, _find_line_kind):
        some = list(found)
        if kind == "heading":
            for line in some:
                marks, _, text = line.partition(" ")
                yield f"<h{len(marks)}>{_render_inline_markdown(text)}</h{len(marks)}>"
        elif kind == "picture":
            yield from (_render_picture(line, pictures) for line in some)
        elif kind == "list":
            yield "<ul>" + "".join(f"<li>{_render_inline_markdown(line[2:])}</li>" for line in some) + "</ul>"
        elif kind == "table":
            yield from _render_table(some)
        elif kind == "text":
            yield f"<p>{_render_inline_markdown(chr(10).join(some))}</p>"


def _find_line_kind(line: str) -> str:
    """Return the kind of Markdown block that a line belongs to, such as "table" or "text"; "" for an empty line."""
    beginnings = {"#": "heading", "![": "picture", "- ": "list", "|": "table"}
    return next((kind for mark, kind in beginnings.items() if line.startswith(mark)), "text" if line else "")


def _render_picture(line: str, pictures: Mapping[str, bytes]) -> str:
    """Render a line of Markdown that shows a PNG file as an HTML image that contains the file."""
    match = _PICTURE.fullmatch(line)
    assert match is not None  # noqa: S101 - the report writes no other
    content = base64.b64encode(pictures[match[2]]).decode()
    return f'<img alt="{html.escape(match[1])}" src="data:image/png;base64,{content}">'


def _render_table(lines: Sequence[str]) -> Iterator[str]:
    head, aligned, *rows = ([cell.strip() for cell in _BETWEEN_CELLS.split(line)[1:-1]] for line in lines)
    cell_attributes = [' class="number"' if cell.endswith(":") else "" for cell in aligned]
    yield "<table>"
    if any(head):
        yield _render_row(head, cell_attributes, "th")
    yield from (_render_row(row, cell_attributes, "td") for row in rows)
    yield "</table>"


def _render_row(cells: Sequence[str], cell_attributes: Sequence[str], tag: str) -> str:
    inside = (
        f"<{tag}{kind}>{_render_inline_markdown(cell)}</{tag}>"
        for cell, kind in zip(cells, cell_attributes, strict=True)
    )
    return f"<tr>{''.join(inside)}</tr>"


def _render_inline_markdown(text: str) -> str:
    """Render a line of Markdown, with its escaped characters, bold text and code, as HTML."""
    made, end = [], 0
    for match in _MARK.finditer(text):
        made.append(html.escape(text[end : match.start()]))
        end = match.end()
        if match["plain"] is not None:
            made.append(html.escape(match["plain"]))
        elif match["bold"] is not None:
            made.append(f"<strong>{_render_inline_markdown(match['bold'])}</strong>")
        else:
            made.append(f"<code>{html.escape(match['code'])}</code>")
    return "".join([*made, html.escape(text[end:])])
