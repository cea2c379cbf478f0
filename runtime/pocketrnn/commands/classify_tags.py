"""Label the tokens of texts, and write them with brackets, as JSON Lines, or as CoNLL columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pocketrnn.commands.input_and_answer_lines import AnswerFormat
from pocketrnn.commands.standard_streams import (
    format_json_line,
    open_standard_input,
    print_line,
    print_text,
    read_arriving_lines,
)
from pocketrnn.commands.terminal_text import escape_line
from pocketrnn.errors import InputError, replace_error_subject
from pocketrnn.tags import select_text_between

if TYPE_CHECKING:
    from pocketrnn.classifier import Classifier
    from pocketrnn.tags import Tags

__all__ = ["classify_tags"]

# CoNLL-U's mark for an unspecified field.
_UNTAGGED = "_"


def classify_tags(classifier: Classifier, texts: Sequence[str], wanted: AnswerFormat, *, as_conll: bool) -> None:
    """Print the tags of texts, or of the lines of standard input as they arrive.

    Args:
        texts: the texts; empty for standard input.
        wanted: the format of inputs and answers: whether an input is a JSON list, and an answer a JSON object.
        as_conll: whether answers are printed as CoNLL columns.

    Raises:
        InputError: a text cannot be tagged. The texts before it are answered first.
    """
    format_line = (
        _format_tags_as_conll
        if as_conll
        else _format_tags_as_json
        if wanted.as_json
        else _format_text_with_spans_in_brackets
    )
    stdin = None if texts else open_standard_input()
    if stdin is not None and stdin.isatty():
        print_text("Reading texts, one a line, until Ctrl-D.", err=True)
    batches = [list(texts)] if stdin is None else read_arriving_lines(stdin)
    answered = untagged = 0
    for lines in batches:
        untagged += _print_tags_and_count_untagged_tokens(
            classifier, lines, wanted, format_line, "Text" if texts else "Line", answered
        )
        answered += len(lines)
    if untagged:
        print_line(f"{untagged:,} tokens have no label: the text rules cut them off, or drop them.", err=True)


def _print_tags_and_count_untagged_tokens(
    classifier: Classifier,
    texts: Sequence[str],
    wanted: AnswerFormat,
    format_line: Callable[[Tags], str],
    row_name: str,
    rows_before: int,
) -> int:
    """Print the tags of texts; return how many of their tokens have no tag, since the text rules cut them off or drop
    them.

    Messages call a text `row_name`, such as "Line", with a number that counts from `rows_before` + 1. `format_line`
    makes the output for the tags of one text.
    """
    try:
        tagged = classifier.predict_tags([wanted.parse_input(text, "") for text in texts])
        if tagged:
            print_text("\n".join(map(format_line, tagged)))
        return sum(len(tags.untagged) for tags in tagged)
    except InputError:
        pass
    # One of the texts is refused: those before it are still answered.
    for index, text in enumerate(texts):
        name = f"{row_name} {rows_before + index + 1}"
        given = wanted.parse_input(text, name)
        try:
            tags = classifier.tag(given)
        except InputError as error:
            raise replace_error_subject(error, "The text", name) from None
        print_text(format_line(tags))
    return 0


def _format_text_with_spans_in_brackets(tags: Tags) -> str:
    """Format a text on one line with its spans in brackets: `[PER Ada] lives in [LOC Berlin]`."""
    text, made, done = tags.text, list[str](), 0
    for span in tags.spans:
        made += [_escape_text_between(text, done, span.start), f"[{escape_line(span.label)} {escape_line(span.text)}]"]
        done = span.end
    made.append(_escape_text_between(text, done, len(text)))
    return "".join(made) if isinstance(text, str) else " ".join(part for part in made if part)


def _escape_text_between(text: str | Sequence[str], start: int, end: int) -> str:
    """Return a part of a text, or of a list of tokens, with control characters escaped."""
    return escape_line(select_text_between(text, start, end))


def _format_tags_as_json(tags: Tags) -> str:
    """Format a text as a JSON object with its tags, its spans and its untagged tokens."""
    given: dict[str, Any] = {"text": tags.text} if isinstance(tags.text, str) else {"tokens": list(tags.text)}
    left = [{"token": token, "start": start, "end": end} for token, start, end in tags.untagged]
    return format_json_line({
        **given,
        "tags": [asdict(tag) for tag in tags],
        "spans": [asdict(span) for span in tags.spans],
        **({"untagged": left} if left else {}),
    })  # fmt: skip


def _format_tags_as_conll(tags: Tags) -> str:
    """Format each token with its label on a line of its own, with a tab between them, and end with an empty line. A
    token without a label gets `_`."""
    rows = [(tag.start, tag.token, tag.label) for tag in tags]
    rows += [(start, token, _UNTAGGED) for token, start, _ in tags.untagged]
    return "".join(
        f"{escape_line(token)}\t{escape_line(label)}\n" for _, token, label in sorted(rows, key=lambda row: row[0])
    )
