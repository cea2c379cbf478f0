"""Parse the input lines of `pocketrnn classify`, and format its output lines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from pocketrnn.commands.file_options import DECIMALS, SECOND_TEXT
from pocketrnn.commands.standard_streams import format_json_line
from pocketrnn.commands.terminal_text import escape_line
from pocketrnn.errors import InputError, short_repr
from pocketrnn.tables.row_batches import LABEL_SEPARATOR

if TYPE_CHECKING:
    from pocketrnn.predictions_from_logits import Answers, Prediction

__all__ = ["AnswerFormat", "check_labels_separable"]

_EXAMPLES: Final = {"rows": "[[0.1, 9.8], [0.2, 9.7]]", "tokens or ids": '["oil", "prices"] or [17, 254]'}
# How many characters of a sequence's JSON are shown beside the answer.
_SHOWN: Final = 60


@dataclass(frozen=True)
class AnswerFormat:
    """The format of the lines of `pocketrnn classify`: what an input line holds, and which parts of an answer are
    printed.

    Attributes:
        answers: turns logits into labels and probabilities.
        top: how many labels to print.
        by_threshold: whether to print all labels that reach their thresholds, in place of the `top` likeliest.
        threshold: one probability for all labels; None for the bundle's own thresholds.
        as_json: whether an answer is a JSON object.
        explains: whether to show the effect of each word.
        line_content: what an input line holds: None for a text; `tokens or ids` or `rows` (of numbers) for a JSON list
            of these; `pairs` for two texts with a tab between.
        features: the values of the features, by their names, which apply to all texts; None without features.
    """

    answers: Answers
    top: int
    by_threshold: bool
    threshold: float | None
    as_json: bool
    explains: bool
    line_content: str | None = None
    features: Mapping[str, Any] | None = None

    def parse_input(self, line: str, line_name: str) -> Any:
        """Parse an input line of `pocketrnn classify` into an argument of `Classifier.classify`.

        Args:
            line_name: the name of the line in messages, as the beginning of a sentence: `Line 3`.

        Returns:
            what `Classifier.classify` takes: a text, a pair of texts, tokens, ids, or rows of numbers; with features, a
            tuple of the text and the features.

        Raises:
            InputError: the line is not a JSON list, or not a pair of texts, although `line_content` asks for it.
        """
        given = self._parse_line_without_features(line, line_name)
        return given if self.features is None else (given, dict(self.features))

    def _parse_line_without_features(self, line: str, line_name: str) -> Any:
        """Parse an input line into a text, a pair of texts, tokens, ids or rows of numbers, without features."""
        if self.line_content is None:
            return line
        if self.line_content == "pairs":
            parts = tuple(line.split("\t"))
            if len(parts) != 2:
                what = f"{line_name} is {short_repr(line, 40)}, but it must be two texts with a tab between them."
                raise InputError(what, "Give both texts, with a tab between them.")
            return parts
        from pocketrnn.tables.recording_reader import parse_json_constant

        try:
            values = json.loads(line, parse_constant=parse_json_constant)
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, list):
            raise InputError(
                f"{line_name} is {short_repr(line, 40)}, but it must be a JSON list of {self.line_content}.",
                f"Write it like this: {_EXAMPLES[self.line_content]}.",
            )
        return values

    def shorten_shown_sequence(self, text: str) -> str:
        """Return what is printed of an input line: a text as it is, and the first 60 characters of a sequence's
        JSON."""
        return text if self.line_content != "rows" or len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."

    def format_answer_line(self, text_or_name: str, answer: Any) -> str:
        """Format one answer as a line without a line break.

        Args:
            text_or_name: the text, the pair of texts with a tab between, or the name of the sequence or window.
            answer: the prediction, a dict of predictions by head, or the values.
        """
        kind = "sequence" if self.line_content == "rows" else "text"
        # A pair's two texts are two columns, or two members.
        texts = text_or_name.split("\t") if self.line_content == "pairs" else [text_or_name]
        named, columns = dict(zip((kind, SECOND_TEXT), texts, strict=False)), list(map(escape_line, texts))
        if self.answers.gives_values:
            values = [round(float(value), DECIMALS) for value in answer]
            if self.as_json:
                return format_json_line({**named, "values": dict(zip(self.answers.labels, values, strict=True))})
            return "\t".join((*(f"{value:g}" for value in values), *columns))
        if self.answers.heads:
            heads = [(head, self._make_format_for_head(own), answer[head]) for head, own in self.answers.heads.items()]
            if self.as_json:
                return format_json_line(
                    {**named, "heads": {head: own.make_json_members(one) for head, own, one in heads}}
                )
            return "\t".join(
                (
                    *(f"{escape_line(head)}: {own.format_labels_and_probabilities(one)}" for head, own, one in heads),
                    *columns,
                )
            )
        if self.as_json:
            return format_json_line({**named, **self.make_json_members(answer)})
        return "\t".join((self.format_labels_and_probabilities(answer), *columns))

    def _make_format_for_head(self, answers: Answers) -> AnswerFormat:
        """Make the format for the answers of one head. If labels are printed by threshold, a head without a threshold
        prints its likeliest label."""
        if not self.by_threshold:
            return replace(self, answers=answers)
        has_some = self.threshold is not None or answers.gives_reached_labels
        return replace(self, answers=answers, by_threshold=has_some, top=len(answers.labels) if has_some else 1)

    def _select_shown_labels(self, answer: Prediction) -> tuple[tuple[str, float], ...]:
        """Select the labels of a prediction that are printed, with their probabilities."""
        if self.by_threshold:
            return self.answers.list_reached_labels_with_probabilities(answer, self.threshold)
        return answer.top[: self.top]

    def make_json_members(self, answer: Prediction) -> dict[str, Any]:
        """Make the members of the JSON object for one prediction: the label, its probability, and all printed
        labels."""
        given = self._select_shown_labels(answer)
        pairs = [{"label": label, "probability": probability} for label, probability in given]
        return {"label": answer.label if given else "", "probability": answer.probability, "top": pairs}

    def format_labels_and_probabilities(self, answer: Prediction) -> str:
        """Format the printed labels and probabilities of one prediction, with tabs between the columns."""
        given = self._select_shown_labels(answer)
        if self.by_threshold:
            # One column of labels and one of probabilities, however many there are.
            labels = LABEL_SEPARATOR.join(escape_line(label) for label, _ in given)
            figures = [probability for _, probability in given] or [answer.probability]
            return f"{labels}\t{LABEL_SEPARATOR.join(f'{figure:.4f}' for figure in figures)}"
        return "\t".join(f"{escape_line(label)}\t{probability:.4f}" for label, probability in given)


def check_labels_separable(answers: Answers, remedy_end: str) -> None:
    """Refuse labels that contain `|`, if a text can have several labels, since `|` separates these in the output.

    Args:
        answers: the labels and activations of the classifier or of its heads. With softmax, a text has at most one
            label.
        remedy_end: the end of the remedy, which begins with "To tell them apart,".

    Raises:
        InputError: a text can have several labels, and one of them holds the separator.
    """
    each = (one for _, one, _ in answers.iterate_heads() if one.activation == "sigmoid")
    held = [label for one in each for label in one.labels if LABEL_SEPARATOR in label]
    if held:
        raise InputError(
            f"The label {short_repr(held[0], 40)} contains {LABEL_SEPARATOR!r}, but this character separates the "
            "labels of one text in the output.",
            f"To tell them apart, {remedy_end}.",
        )
