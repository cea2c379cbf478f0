"""Read texts with the ids or tokens of the owner's pipeline, and with the labels or probabilities of the owner's
classifier.

Ids show how a text is split, and answers show the rest: the word of each id, where texts are cut off, the order of the
labels. So a text may have either, or both.
"""

from __future__ import annotations

import csv
import itertools
import logging
import math
import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeAlias

from pocketrnn.bundle.output_kinds import LabelOutput
from pocketrnn.errors import InputError, first_line, short_repr, suggest_similar_name
from pocketrnn.tables.row_batches import LABEL_SEPARATOR
from pocketrnn_export.json_reading_and_writing import brief_text, parse_json
from pocketrnn_export.label_spelling import normalize_label_spelling
from pocketrnn_export.option_corrections_error import OptionCorrectionsError
from pocketrnn_export.progress import hide_log_records
from pocketrnn_export.vocabularies.text_lines_and_compressed_files import read_lines

_log = logging.getLogger(__name__)

# A text, and its ids from the owner's pipeline.
Pair = tuple[str, Sequence[int]]
# The labels of an answer, or the probabilities of some labels.
Answer: TypeAlias = tuple[str, ...] | Mapping[str, float]

_LINE: Final = (
    'Write {"text": "...", "ids": [4, 17], "label": "Sports"} in each line ("tokens" may replace "ids", '
    '"probabilities" may replace "label", and a line with an answer needs no ids). Or give a CSV file with the columns '
    "text, label (a|b for several labels) and probability (the number for this label, or for the second of two labels "
    "if there is no column label), or with a column of probabilities for each label, named like the label."
)
_ITEM: Final = 'Give pairs of a text and its ids: [("oil prices", [4, 17])], or ("oil prices", [4, 17], "Business").'
_MEMBERS: Final = ("text", "ids", "tokens", "label", "probabilities")
# The columns that `pocketrnn classify` writes, with --top the second label too, and what others call them.
_ANSWER: Final = re.compile(r"(label|probability|prob|proba|score|confidence)(_\d+)?", re.IGNORECASE)
# Columns of true labels, such as true_label and gold, and columns of what the classifier predicts.
_TRUE: Final = re.compile(r"(^|[\W_])(true|truth|gold|actual|target|expected)(s|[\W_]|$)", re.IGNORECASE)
_OF_CLASSES: Final = re.compile(
    r"label|class|categor|sentiment|pred|answer|output|target|true|gold|^y(_|$)", re.IGNORECASE
)
_PREDICTED: Final = re.compile(r"(^|[\W_])pred(s|icted|ictions?)?([\W_]|$)", re.IGNORECASE)
# The tables that are read, with what is between their fields.
_DELIMITERS: Final = {".csv": ",", ".tsv": "\t"}
# How far the sum of rounded probabilities may be from 1.
_FROM_ONE: Final = 1e-3
_LIKELY: Final = 0.5
_IS_NUMBER: Final = re.compile(r"\d{1,3}(\.\d+)?(e-\d+)?")
_MOST_LABELS: Final = 200
_BEFORE_LABELS: Final = ("p_", "prob_", "proba_", "probability_", "score_", "confidence_")
# The most files in which the texts of a file without them are looked for.
_MOST_FILES: Final = 50


@dataclass(frozen=True)
class OwnersText:
    """A text with its ids, its tokens and its answer from the pipeline of the user who exports the classifier.

    Attributes:
        text: the text.
        ids: the ids of the text; None if they are not given.
        tokens: the tokens of the text; None if they are not given.
        answer: the label, the labels or the probabilities that the user's classifier answers, unchanged; None if they
            are not given. A single number is the probability of `label`, or of the second of two labels if `label` is
            None.
        label: the label that was given beside the probabilities; it must be the one with the highest probability.
        head: the output head of the module that gave the answer; empty if the module has only one head.
    """

    text: str
    ids: list[int] | None = None
    tokens: list[str] | None = None
    answer: Any = None
    label: Any = None
    head: str = ""


def list_texts_with_ids(texts: Iterable[OwnersText]) -> list[Pair]:
    """Return a pair (text, ids) for each text that has ids."""
    return [(one.text, one.ids) for one in texts if one.ids is not None]


def read_pairs(
    path: Path, labels: Sequence[str] = (), *, multi_label: bool = False, texts: Path | None = None
) -> list[OwnersText]:
    """Read the owner's texts with their ids, tokens or answers, from a file of JSON lines or from a CSV file.

    A line of JSON is `["text", [ids]]`, or an object with `text` and any of `ids`, `tokens`, `label` and
    `probabilities`. A CSV file has columns with these names, or a column of probabilities for each label. A column with
    another name is read as `text` or `label` if it is the only one that can hold texts or labels. If no column has
    texts, they are read from another CSV file in the same folder.

    Args:
        path: the file.
        labels: the labels, in the order of the logits; empty if they are not known. Each column of probabilities then
            has the name of a label.
        multi_label: whether a text may have several labels or none. An empty field of a CSV file means no label.
        texts: the CSV file with the texts, if `path` is a CSV file without them; None to search the folder.

    Raises:
        OptionCorrectionsError: several CSV files in the folder have the texts.
        InputError: the file cannot be read, or a line has another form; the message has the number of the line.
    """
    found: list[OwnersText] = []
    lines: Sequence[Any] = (
        _read_csv(path, labels, texts, multi_label=multi_label)
        if path.suffix.lower() in _DELIMITERS
        else read_lines(path)
    )
    for number, line in enumerate(lines, 1):
        where = f"{path}, {'line' if isinstance(line, str) else 'row'} {number}"
        document = parse_json(line, where, _LINE) if isinstance(line, str) else _convert_row_to_document(line, where)
        if not isinstance(document, dict):
            found.append(_make_owners_text(document, where, _LINE))
            continue
        document |= {} if "probabilities" in document else _read_answer_members(document, where)
        text, ids, tokens, label, probabilities = (document.get(name) for name in _MEMBERS)
        answer = label if probabilities is None else _check_probabilities(probabilities, where)
        one = _make_owners_text(
            [text, tokens if ids is None else ids, *([] if answer is None else [answer])], where, _LINE
        )
        if tokens is not None and ids is not None:
            one = replace(one, tokens=_check_tokens(tokens, where, _LINE))
        found.append(one if probabilities is None else replace(one, label=label))
    if not found:
        raise InputError(f"{path} is empty, but must hold texts.", _LINE)
    return found


def _read_csv(path: Path, labels: Sequence[str], texts: Path | None, *, multi_label: bool) -> list[dict[str, Any]]:
    """Read a CSV file of texts, labels and probabilities. Return a dict from column to field for each row that has an
    answer. The columns are renamed to `text`, `label`, `probability` or a label; all others are left out."""
    rows = _read_rows(path, labels)
    if rows and "text" not in rows[0]:
        rows = _add_texts_of_other_file(path, rows, texts)
    rows = _spell_columns_as_labels(rows, labels)
    rows = _replace_class_numbers(path, rows, labels)
    rows = _leave_out_true_labels(path, rows, labels)
    rows = _convert_percents(path, rows, labels)
    column = _find_column_of_all_labels(rows, labels, multi_label=multi_label)
    renamed = _find_label_columns(rows, labels, multi_label=multi_label) if column is None else {}
    if column is not None:
        _log.warning("%s: the numbers in each field of %s are read as those of the labels %s, in this order",
                     path, short_repr(column), _write_names(labels))  # fmt: skip
        rows = _split_number_list_into_label_columns(rows, column, labels)
    elif renamed:
        _log.warning(
            "%s: the numbers in %s are read as those of the labels %s", path, *_describe_label_columns(renamed)
        )
        rows = [{renamed.get(name, name): field for name, field in row.items()} for row in rows]
    elif not any(name in labels or name.lower().startswith("label") for name in (rows[0] if rows else ())):
        named = [name for name in (rows[0] if rows else ()) if _holds_only_given_labels(rows, name, labels)]
        # Beside probabilities of another label, they would be the true labels.
        named = [name for name in named if _are_labels_likelier_by_probability_columns(rows, name, labels)]
        rows = _rename_only_column(path, rows, named, "label")
    if len(labels) > 1 and not multi_label:
        rows = _rename_column_of_label_probability(path, rows, labels)
    if len(labels) == 2 and not multi_label:
        rows = _add_probability_of_other_label(rows, labels)
    if labels and rows and rows[0].keys() >= {*labels}:
        names = {label: column or label for label in labels} | {label: name for name, label in renamed.items()}
        kind = _find_kind_of_numbers(rows, names, multi_label=multi_label)
        if kind not in ("", "probabilities"):
            _log.warning("%s: the numbers of the labels are read as %s", path, kind)
            by_sigmoid = kind == "logits" and multi_label
            rows = [{**row, **_convert_to_probabilities(row, labels, by_sigmoid=by_sigmoid)} for row in rows]
    if column is not None or _are_columns_named_by_label_numbers(renamed):
        rows = [_join_label_columns_to_list(row, labels) for row in rows]
    unread = [
        name for name in (rows[0] if rows and labels else ())
        if name not in _MEMBERS and name not in labels and not _ANSWER.fullmatch(name)
    ]  # fmt: skip
    if unread and {*rows[0]} - {*unread} == {"text"}:
        _refuse_table_without_answers(path, rows, labels, unread)
    if unread:
        _log_unread_columns(path, rows, labels, unread)
    if not labels:
        # Columns that are not of one label are read when the labels are known.
        unread = [name for name in (rows[0] if rows else ()) if _holds_more_than_numbers(rows, name)]
    rows = _leave_out_rows_with_error_words(path, rows, labels)
    rows = _leave_out_rows_without_answer(path, rows, unread, multi_label=multi_label)
    return [{name: field for name, field in row.items() if name not in unread} for row in rows]


def _spell_columns_as_labels(rows: list[dict[str, Any]], labels: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows with each column renamed to a label, if the two names differ only in case and blanks. A column
    keeps its name if two labels differ from it only in this way."""
    names = [*rows[0]] if rows else []
    spelled = {
        name: same[0]
        for name in names
        if name not in labels and name not in _MEMBERS and not _ANSWER.fullmatch(name)
        if len(same := [one for one in labels if normalize_label_spelling(one) == normalize_label_spelling(name)]) == 1
    }
    spelled = {name: label for name, label in spelled.items()
               if label not in names and [*spelled.values()].count(label) == 1}  # fmt: skip
    return [{spelled.get(name, name): field for name, field in row.items()} for row in rows] if spelled else rows


def _refuse_table_without_answers(
    path: Path, rows: Sequence[Mapping[str, Any]], labels: Sequence[str], unread: Sequence[str]
) -> None:
    """Raise an InputError which says that a CSV file has texts, but no answers of the user's classifier. If one of the
    columns `unread` may hold the true labels, the message names this column."""
    # Data may have one class more than the classifier, such as neutral.
    few = [name for name in unread if 2 <= len({row[name] for row in rows}) <= len(labels) + 1]
    column = short_repr(few[0]) if few else ""
    said = f"Its column {column} seems to hold labels of the data, and not these answers. " if few else ""
    more = f" If {column} has the answers, rename it to label, and write them as --labels does." if few else ""
    raise InputError(
        f"{path} has no column with the answers of your classifier.",
        f"{said}Write the answer of your classifier to each text to a CSV file with the columns text and label, or "
        f"text and probability.{more}",
    )


def _leave_out_rows_without_answer(
    path: Path, rows: list[dict[str, Any]], unread: Sequence[str], *, multi_label: bool
) -> list[dict[str, Any]]:
    """Return the rows that have an answer, and log how many rows have none. With `multi_label`, return all rows, since
    an empty label then means that the text has no label, also beside probabilities if any row has a label. The columns
    `unread` are not searched for answers."""
    # A label that did not reach its threshold.
    others = [name for name in (rows[0] if rows else ()) if name != "text" and not _ANSWER.fullmatch(name)]
    others = [name for name in others if name not in unread]
    is_answered = [row.get("label") != "" or any(row[name] for name in others) for row in rows]
    empty = is_answered.count(False)
    if multi_label:
        has_labels = any(row.get("label") for row in rows)
        rows = [
            {**row, "label": []} if answered and has_labels and row["label"] == ""
            else row if answered else {"text": row["text"], "label": []}
            for row, answered in zip(rows, is_answered, strict=True)
        ]  # fmt: skip
        if without := sum(row.get("label") == [] for row in rows):
            _log.warning("%s: %d rows have an empty label, which is read as an answer without a label", path, without)
        return rows
    if 0 < empty < len(rows):
        _log.warning("%s: %d rows are left out, since their label is empty", path, empty)
        return [row for row, answered in zip(rows, is_answered, strict=True) if answered]
    return rows


def _log_unread_columns(
    path: Path, rows: Sequence[Mapping[str, Any]], labels: Sequence[str], unread: Sequence[str]
) -> None:
    """Log the columns of a CSV file that are not read. If they may hold probabilities, also log how to name them."""
    numbers = [name for name in unread if all(_is_probability(row[name]) and "." in row[name] for row in rows)]
    has_numbers = rows[0].keys() >= {*labels} or any(_ANSWER.fullmatch(one) and one != "label" for one in rows[0])
    numbers = [] if has_numbers else numbers
    more = f". If {numbers[0]} is the probability of the label, rename it to probability" if numbers else ""
    if len(numbers) == len(labels) > 1:
        more = f". If {_write_names(numbers)} are the probabilities of the labels, rename each to its label"
    _log.warning("%s: columns without the name of a label are not read: %s%s", path, _write_names(unread), more)


def name_class_numbers(given: Iterable[Any], labels: Sequence[str]) -> dict[int, str]:
    """Return a dict from the number of each class to its label. Numbers from 0 or from 1 on are positions in the list
    of labels. If there are as many other whole numbers as labels, they stand for the labels in rising order. Return an
    empty dict if a value is not a whole number, or is itself a label.

    Args:
        given: the numbers of classes, as integers or strings, such as 1 and "1.0".
        labels: the labels, in the order of the logits.

    Example:
        >>> name_class_numbers(["1", "0"], ["bad", "good"]), name_class_numbers([-1, 1], ["bad", "good"])
        ({0: 'bad', 1: 'good'}, {-1: 'bad', 1: 'good'})
    """
    # A float is a probability.
    written = {"" if isinstance(one, float) else str(one) for one in given}
    if not written or written & {*labels} or not all(re.fullmatch(r"-?[0-9]+(\.0+)?", one) for one in written):
        return {}
    numbers = sorted({int(one.partition(".")[0]) for one in written})
    for first in (0, 1):
        if {*numbers} <= {*range(first, first + len(labels))}:
            return dict(enumerate(labels, first))
    return dict(zip(numbers, labels, strict=True)) if len(numbers) == len(labels) else {}


def _replace_class_numbers(path: Path, rows: list[dict[str, Any]], labels: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows with labels in place of class numbers, such as 0 and 1, in the columns with a name like `label`
    or `y_pred`. Log which number is read as which label."""
    for column in [name for name in (rows[0] if rows else ()) if _OF_CLASSES.search(name) and name not in labels]:
        named = name_class_numbers([row[column] for row in rows if row[column]], labels)
        if named:
            _log.warning("%s: the numbers of %s are read as labels: %s. They show the order of the labels, not that "
                         "these are their names", path, column, _write_class_numbers(named))  # fmt: skip
            rows = [{**row, column: named[int(float(row[column]))] if row[column] else ""} for row in rows]
    return rows


def _write_class_numbers(named: Mapping[int, str]) -> str:
    said = [f"{number} is {short_repr(label)}" for number, label in list(named.items())[:8]]
    return ", ".join(said) + ", ..." * (len(named) > len(said))


def _leave_out_true_labels(path: Path, rows: list[dict[str, Any]], labels: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows without the columns of true labels, such as `gold`. A column of predicted labels, such as
    `y_pred`, is renamed to `label`; if there is a column `label` as well, that one holds the true labels and is
    removed."""
    names = [*(rows[0] if rows else ())]
    if any(map(_TRUE.search, labels)):
        return rows
    predicted = [name for name in names if _PREDICTED.search(name) and _holds_only_given_labels(rows, name, labels)]
    true = [name for name in names if _TRUE.search(name) or (name == "label" and predicted)]
    if true:
        _log.warning(
            "%s: these columns are not read, since they seem to hold true labels: %s", path, _write_names(true)
        )
        rows = [{name: field for name, field in row.items() if name not in true} for row in rows]
    return _rename_only_column(path, rows, predicted, "label")


def list_labels_of_answers(path: Path, *, multi_label: bool = False) -> list[str]:
    """List the labels that occur in a file of the owner's answers: the names of the columns of probabilities, the keys
    of the probabilities in JSON, or else the sorted values of the only column of labels. Return an empty list if the
    file shows no labels.

    Args:
        path: the file of JSON lines or the CSV file.
        multi_label: whether a text may have several labels, written as `a|b`.
    """
    if path.suffix.lower() not in _DELIMITERS:
        answers = [one.label or one.answer for one in read_pairs(path)]
        keys = [[*one] for one in answers if isinstance(one, Mapping)]
        if keys and all({*one} == {*keys[0]} for one in keys):
            return keys[0]
        return _collect_sorted_labels(
            [str(one) for one in answers if isinstance(one, str | int)], multi_label=multi_label
        )
    rows = _read_rows(path, ())
    columns = [
        name for name in (rows[0] if rows else ())
        if name not in ("text", "ids", "tokens") and not all(len(_parse_numbers(row[name])) > 1 for row in rows)
    ]  # fmt: skip
    numbers = [one for one in columns if all(_is_probability(row[one]) and "." in row[one] for row in rows)]
    named = [re.sub(rf"^({'|'.join(_BEFORE_LABELS)})", "", one, flags=re.IGNORECASE) for one in numbers]
    is_sum_one = all(abs(math.fsum(float(row[one]) for one in numbers) - 1) < _FROM_ONE for row in rows)
    if len(numbers) > 1 and (is_sum_one or multi_label) and not any(one.isdecimal() for one in named):
        return named
    others = [one for one in columns if one not in numbers]
    predicted = [one for one in others if _PREDICTED.search(one)]
    one_label = predicted or [one for one in others if _OF_CLASSES.search(one) and not _TRUE.search(one)]
    if len(one_label) != 1:
        return []
    return _collect_sorted_labels([row[one_label[0]] for row in rows], multi_label=multi_label)


def _collect_sorted_labels(given: Sequence[str], *, multi_label: bool) -> list[str]:
    """Return the different labels in a list of answers, sorted. If the answers are class numbers, return all numbers
    from 0 to the highest one. Return an empty list if the answers are other numbers, or have too many different values
    to be labels."""
    found = {part for one in given for part in (one.split(LABEL_SEPARATOR) if multi_label else [one]) if part}
    if found and all(re.fullmatch(r"-?\d+(\.\d+)?", one) for one in found):
        highest = max(map(float, found))
        return [str(i) for i in range(int(highest) + 1)] if found <= {*map(str, range(_MOST_LABELS))} else []
    return sorted(found) if 1 < len(found) <= min(_MOST_LABELS, max(2, len(given) // 2)) else []


def _convert_percents(path: Path, rows: list[dict[str, Any]], labels: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows with probabilities in place of percents. The numbers of a column are percents if all end in %, or
    if all lie between 100 divided by the number of labels and 100."""
    for name in [one for one in (rows[0] if rows and labels else ()) if _is_probability_name(one)]:
        given = [one.strip() for row in rows if (one := row[name])]
        numbers = [float(one.rstrip("% ")) for one in given if _IS_NUMBER.fullmatch(one.rstrip("% "))]
        if not given or len(numbers) < len(given):
            continue
        is_signed = all(one.endswith("%") for one in given)
        if is_signed or (max(100 / len(labels), 1) <= min(numbers) and 1 < max(numbers) <= 100):
            _log.warning("%s: the numbers of %s are read as percents", path, name)
            rows = [{**row, name: row[name] and repr(float(row[name].rstrip("% ")) / 100)} for row in rows]
    return rows


def _is_probability_name(name: str) -> bool:
    return _ANSWER.fullmatch(name) is not None and not name.lower().startswith("label")


def _rename_column_of_label_probability(
    path: Path, rows: list[dict[str, Any]], labels: Sequence[str]
) -> list[dict[str, Any]]:
    """Return the rows with one column renamed to `probability`: the only one whose numbers may be the probability of
    each row's label, or of the second of two labels. Percents are accepted. Return the rows unchanged if no column or
    several columns may hold it."""
    columns = [name for name in (rows[0] if rows else ()) if name not in _MEMBERS]
    if not rows or "label" not in rows[0] or any(name in labels or _ANSWER.fullmatch(name) for name in columns):
        return rows
    found: list[tuple[str, str, list[dict[str, Any]]]] = []
    fractions: set[str] = set()
    for name, (unit, divisor) in itertools.product(columns, (("", 1), (", in percent", 100))):
        fields = [str(row[name]).strip().removesuffix("%") for row in rows]
        # Whole numbers are counts or classes.
        if all(map(_IS_NUMBER.fullmatch, fields)) and any(float(one) % 1 for one in fields):
            fractions.add(name)
            shares = [{**row, name: repr(float(one) / divisor)} for row, one in zip(rows, fields, strict=True)]
            if max(
                float(row[name]) for row in shares
            ) * divisor > divisor // 100 and _may_be_probability_of_given_label(shares, name, "label", labels):
                found.append((name, unit, shares))
    # With several labels, it may be the column of one of them.
    if len(found) != 1 or (len(labels) > 2 and len(fractions) > 1):
        return rows
    name, unit, shares = found[0]
    # Another note says if they are those of the second label, whichever label a row has.
    _log.warning("%s: the numbers of %s are read as the column probability%s", path, short_repr(name), unit)
    return [{"probability" if one == name else one: field for one, field in row.items()} for row in shares]


def _may_be_probability_of_given_label(
    rows: Sequence[Mapping[str, Any]], column: str, label_column: str, labels: Sequence[str]
) -> bool:
    """Return whether the numbers in `column` may be the probability of each row's label, or of the second of two
    labels. They may not be if, in some row, they make another label likelier than the one in `label_column`."""
    given = [(float(row[column]), row[label_column]) for row in rows if row[column] and _is_probability(row[column])]
    of_second = len(labels) == 2 and all(
        number == _LIKELY or (number > _LIKELY) == (label == labels[1]) for number, label in given
    )
    is_fitting = of_second or all(number * len(labels) >= 1 for number, _ in given)
    return is_fitting and len(given) == len(rows) and any(0 < number < 1 for number, _ in given)


def _are_labels_likelier_by_probability_columns(
    rows: Sequence[Mapping[str, Any]], label_column: str, labels: Sequence[str]
) -> bool:
    """Return whether the label of each row, in `label_column`, is the likelier of two labels by each column of
    probabilities. Return True if there are not exactly two labels."""
    columns = [*filter(_is_probability_name, rows[0])] if len(labels) == 2 else []
    return all(_may_be_probability_of_given_label(rows, name, label_column, labels) for name in columns)


def _add_probability_of_other_label(rows: list[dict[str, Any]], labels: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows with a column of probabilities for each of two labels. If only one label has a column, the column
    of the other label gets 1 minus the probability."""
    given = [label for label in labels if rows and label in rows[0]]
    if len(given) != 1 or not all(_is_probability(row[given[0]]) for row in rows):
        return rows
    (other,) = {*labels} - {*given}
    return [{**row, other: str(1 - float(row[given[0]])) if row[given[0]] else ""} for row in rows]


def _leave_out_rows_with_error_words(
    path: Path, rows: list[dict[str, Any]], labels: Sequence[str]
) -> list[dict[str, Any]]:
    """Return the rows without those whose classification failed. Such a row has empty probabilities, and a word such as
    ERROR in place of a label. Return all rows if all of them failed, or if there is no column of labels or none of
    probabilities."""
    numbers = [
        name for name in (rows[0] if rows else ())
        if name in labels or (_ANSWER.fullmatch(name) and not name.startswith("label"))
    ]  # fmt: skip
    if not numbers or "label" not in rows[0]:
        return rows
    failed = [
        bool(row["label"]) and not {row["label"], *row["label"].split(LABEL_SEPARATOR)} & {*labels}
        and not any(row[name] for name in numbers)
        for row in rows
    ]  # fmt: skip
    if any(failed) and not all(failed):
        words = dict.fromkeys(row["label"] for row, is_one in zip(rows, failed, strict=True) if is_one)
        _log.warning(
            "%s: %d rows are left out: %s is not a label, and they have no probability",
            path, sum(failed), _write_names([*words]),
        )  # fmt: skip
        return [row for row, is_one in zip(rows, failed, strict=True) if not is_one]
    return rows


def _read_rows(path: Path, labels: Sequence[str]) -> list[dict[str, Any]]:
    """Read the rows of a CSV file. If there is no column `text`, and exactly one column has several words in at least
    half of its fields, rename this column to `text`."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [*csv.DictReader(file, delimiter=_DELIMITERS.get(path.suffix.lower(), ","))]
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text.", "Save the file in UTF-8.") from None
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path} cannot be read: {first_line(error)}.", _LINE) from None
    # DictReader collects the fields beyond the header under None.
    if longer := [number for number, row in enumerate(rows, 1) if None in row]:
        raise InputError(
            f"{path} has more fields in row {longer[0]} than column names in its first line.",
            'If a text contains commas, write it in quotes: "a, b".',
        )
    rows = [{name: field or "" for name, field in row.items()} for row in rows]
    if of_values := [name for name in (rows[0] if rows else ()) if name and any(row[name] == name for row in rows)]:
        raise InputError(
            f"The first line of {path} must hold the names of the columns, but {short_repr(of_values[0], 40)} is also "
            "a value in this column.",
            "Write the names of the columns into the first line, such as text,label,probability.",
        )
    several = [
        name for name in (rows[0] if rows else ())
        if name not in _MEMBERS and 2 * sum(" " in row[name].strip() for row in rows) >= len(rows)
        and not _holds_only_given_labels(rows, name, labels)
        and not all(_parse_numbers(row[name]) for row in rows if row[name])
    ]  # fmt: skip
    return _rename_only_column(path, rows, several, "text")


def _holds_only_given_labels(rows: Sequence[Mapping[str, Any]], column: str, labels: Sequence[str]) -> bool:
    """Return whether each field of a column is empty or holds one or several of `labels`, and not all are empty."""
    fields = {row[column] for row in rows} - {"", *labels}
    return any(row[column] for row in rows) and all({*field.split(LABEL_SEPARATOR)} <= {*labels} for field in fields)


def _rename_only_column(
    path: Path, rows: list[dict[str, Any]], columns: Sequence[str], name: str
) -> list[dict[str, Any]]:
    """Return the rows with the column in `columns` renamed to `name`. Return the rows unchanged if `columns` does not
    have exactly one column, or if a column has this name already."""
    if len(columns) != 1 or name in rows[0]:
        return rows
    _log.warning("%s has no column %s: the column %s is read in its place", path, name, short_repr(columns[0]))
    return [{name if one == columns[0] else one: field for one, field in row.items()} for row in rows]


def _add_texts_of_other_file(
    path: Path, rows: Sequence[dict[str, Any]], texts_file: Path | None
) -> list[dict[str, Any]]:
    """Return rows without texts with the texts from another CSV file in the same folder, or from `texts_file` if it is
    given. A column that both files have, such as id, shows which text belongs to which row; this column is removed.

    Raises:
        OptionCorrectionsError: several files in the folder have the texts.
        InputError: no file has the texts.
    """
    found: list[tuple[Path, str, dict[str, str]]] = []
    with_answers: set[Path] = set()
    for other in [texts_file] if texts_file else sorted(path.parent.glob("*.csv"))[:_MOST_FILES]:
        try:
            with hide_log_records():
                others = _read_rows(other, ())
        except InputError:
            continue
        for column in others[0] if others and "text" in others[0] else ():
            texts = {row[column]: row["text"] for row in others}
            if column in rows[0] and len(texts) == len(others) and all(row[column] in texts for row in rows):
                found.append((other, column, texts))
                with_answers |= {other} if any(map(_ANSWER.fullmatch, others[0])) else set()
                break
    # Answers that were written with their texts, as by `classify`, are not a file of texts.
    only_texts = [one for one in found if one[0] not in with_answers]
    found = only_texts or found
    problem = f"{path} has no column `text`, but only the columns {_write_names([*rows[0]])}."
    if not found:
        raise InputError(problem, _LINE)
    other, column, texts = found[0]
    if any([texts[row[column]] for row in rows] != [more[row[by]] for row in rows] for _, by, more in found[1:]):
        names = [str(one) for one, _, _ in found]
        remedy = f"Several files in the folder have texts: {', '.join(names)}. Give the right one: --texts {names[0]}."
        raise OptionCorrectionsError(problem, remedy, {"texts": names[0]})
    _log.warning("%s has no column text: its texts are those of %s, by the column %s", path, other.name, column)
    return [{"text": texts[row.pop(column)], **row} for row in rows]


def _find_label_columns(
    rows: Sequence[Mapping[str, Any]], labels: Sequence[str], *, multi_label: bool
) -> dict[str, str]:
    """Find the columns of a CSV file that hold the probability or the logit of one label, such as p_bad and p_good, or
    p_0 and p_1. Return a dict from the name of each column to its label; empty if there are no such columns."""
    columns = {name.casefold(): name for name in (rows[0] if rows else ()) if name not in _MEMBERS}
    if len(labels) < 2 or set(labels) & ({*columns.values()} | {*_MEMBERS}):
        return {}
    # Numbers may also be those of `classify --top`, which begins with 1.
    numbers = [*map(str, range(len(labels)))] if not any(one.startswith("label_") for one in columns) else []
    written = [[label.casefold() for label in labels]]
    # Without signs at their ends: `positive` for `Positive 😀`.
    written += [[re.sub(r"^\W+|\W+$", "", label) for label in written[0]]]
    for names in (*written, numbers):
        for column in columns if names and all(names) and len({*names}) == len(names) else ():
            before, name, after = column.rpartition(names[0])
            around = [f"{before}{one}{after}" for one in names]
            if not name or not columns.keys() >= {*around}:
                continue
            found = {columns[one]: label for one, label in zip(around, labels, strict=True)}
            as_labels = [{**row, **{label: row[name] for name, label in found.items()}} for row in rows]
            if _find_kind_of_numbers(as_labels, dict(zip(labels, found, strict=True)), multi_label=multi_label):
                return found
    # One column of two labels, say, as of a sigmoid.
    named = {
        columns[f"{before}{name}"]: label
        for names in written
        for name, label in zip(names, labels, strict=True)
        for before in _BEFORE_LABELS
        if name and f"{before}{name}" in columns
    }
    return named if all(_is_probability(row[one]) for row in rows for one in named) else {}


def _describe_label_columns(columns: Mapping[str, str]) -> tuple[str, str]:
    """Return two phrases for a message: the names of the columns, and the labels to which they belong. Column names
    with a common beginning are shortened: `logit_bad` and `logit_good` become 'logit_...'."""
    first, label = next(iter(columns.items()))
    before, _, after = first.partition(label)
    is_around = all(name == f"{before}{label}{after}" for name, label in columns.items())
    named = repr(f"{before}...{after}") if is_around else _write_names([*columns])
    return named, _write_names([*columns.values()])


def _are_columns_named_by_label_numbers(columns: Mapping[str, str]) -> bool:
    """Return whether the columns are named by the numbers of labels, such as p_0 and p_1, and not by the labels. Such
    names do not show the order of the labels."""
    each = [*enumerate(columns.items())]
    return bool(each) and all(
        re.search(rf"(?<![0-9]){number}(?![0-9])", name) and label.casefold() not in name.casefold()
        for number, (name, label) in each
    )


def _join_label_columns_to_list(row: Mapping[str, Any], labels: Sequence[str]) -> dict[str, Any]:
    """Return a copy of a row with one list `probabilities` in place of the columns of the labels. Return the row
    unchanged if a number is missing."""
    if not all(row[label] for label in labels):
        return dict(row)
    others = {name: field for name, field in row.items() if name not in labels}
    return {**others, "probabilities": f"[{', '.join(row[label] for label in labels)}]"}


def _find_column_of_all_labels(
    rows: Sequence[Mapping[str, Any]], labels: Sequence[str], *, multi_label: bool
) -> str | None:
    """Find the only column of a CSV file whose fields hold a list with one number for each label, such as `[0.2, 1.5]`.
    The numbers must be logits, or probabilities whose sum is 1 (with `multi_label`, any sum). Return None if there is
    no such column, or if columns have the names of labels."""
    if len(labels) < 2 or not rows or {*labels} & rows[0].keys():
        return None
    found = []
    for name in rows[0].keys() - {*_MEMBERS}:
        numbers = [_parse_numbers(row[name]) for row in rows if row[name]]
        if numbers and all(len(one) == len(labels) for one in numbers):
            kind = _find_kind_of_numbers(
                _split_number_list_into_label_columns(rows, name, labels),
                dict.fromkeys(labels, name),
                multi_label=multi_label,
            )
            is_sum_one = multi_label or all(abs(math.fsum(one) - 1) < _FROM_ONE * len(one) * 5 for one in numbers)
            found += [name] if kind and (kind != "probabilities" or is_sum_one) else []
    return found[0] if len(found) == 1 else None


def _holds_more_than_numbers(rows: Sequence[Mapping[str, Any]], column: str) -> bool:
    """Return whether no field of a column is a single number, so that the column cannot hold probabilities. Return
    False for a column with a name like `label`, `probability` or `score`."""
    fields = [row[column] for row in rows if row[column]] if column not in _MEMBERS else []
    is_answer = _ANSWER.fullmatch(column) is not None
    return (
        not is_answer and bool(fields) and all(isinstance(one, str) and len(_parse_numbers(one)) != 1 for one in fields)
    )


def _parse_numbers(field: str) -> list[float]:
    """Return the numbers in a field such as `0.2 1.5` or `[0.2, 1.5]`. Return an empty list for any other field."""
    try:
        return [float(one) for one in re.split(r"[\s,;]+", field.strip("[]() \t\n"))]
    except ValueError:
        return []


def _split_number_list_into_label_columns(
    rows: Sequence[Mapping[str, Any]], column: str, labels: Sequence[str]
) -> list[dict[str, Any]]:
    """Return the rows with one column for each label in place of `column`, whose fields are lists with one number for
    each label."""
    divided = []
    for row in rows:
        numbers = [*map(repr, _parse_numbers(row[column]))] if row[column] else [""] * len(labels)
        others = {name: field for name, field in row.items() if name != column}
        divided.append(others | dict(zip(labels, numbers, strict=True)))
    return divided


def _is_probability(field: str) -> bool:
    """Return whether a field of a CSV file is a number from 0 to 1, or empty."""
    try:
        return not field or 0 <= float(field) <= 1
    except ValueError:
        return False


def _find_kind_of_numbers(
    rows: Sequence[Mapping[str, Any]], column_names: Mapping[str, str], *, multi_label: bool
) -> str:
    """Return the kind of the numbers in the columns of the labels: "probabilities", "logarithms of probabilities" or
    "logits". Numbers are logits if the label of each row has the highest number, or if the names of the columns say so.
    Return an empty string for other numbers.

    Args:
        rows: the rows, with the labels as columns.
        column_names: the names that these columns had in the file.
        multi_label: whether a text may have several labels.
    """
    if all(_is_probability(row[label]) for row in rows for label in column_names):
        return "probabilities"
    given = [row for row in rows if any(row[label] for label in column_names)]
    try:
        numbers = [{label: float(row[label]) for label in column_names} for row in given]
    except ValueError:
        return ""
    if all(
        max(one.values()) <= 0 and min(one.values()) < 0
        and abs(math.fsum(map(math.exp, one.values())) - 1) < _FROM_ONE for one in numbers
    ):  # fmt: skip
        return "logarithms of probabilities"
    chosen = [
        {label for label, number in one.items() if (number > 0 if multi_label else number == max(one.values()))}
        for one in numbers
    ]
    fits = all(
        {*row.get("label", " ").split(LABEL_SEPARATOR)} - {""} == one for row, one in zip(given, chosen, strict=True)
    )
    return "logits" if fits or all("logit" in name.lower() for name in column_names.values()) else ""


def _convert_to_probabilities(row: Mapping[str, Any], labels: Sequence[str], *, by_sigmoid: bool) -> dict[str, str]:
    """Convert the logits in a row to a dict from labels to probabilities, by a sigmoid or else by a softmax. Logarithms
    of probabilities are converted by the softmax, too. Return an empty dict if a number is missing."""
    if not all(row[label] for label in labels):
        return {}
    numbers = [float(row[label]) for label in labels]
    if by_sigmoid:
        found = [0.5 + 0.5 * math.tanh(number / 2) for number in numbers]
    else:
        # The greatest is taken away, so that nothing overflows.
        powers = [math.exp(number - max(numbers)) for number in numbers]
        found = [power / math.fsum(powers) for power in powers]
    return {label: repr(number) for label, number in zip(labels, found, strict=True)}


def _write_names(names: Sequence[str]) -> str:
    return ", ".join(map(short_repr, names[:8])) + ", ..." * (len(names) > 8)


def _convert_row_to_document(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Convert a row of a CSV file to the dict that a line of JSON would give, with keys such as `text`, `ids` and
    `probabilities`. Raise an InputError if a field cannot be parsed; `where` names the row in the message."""
    has_label = row.get("label") not in ("", [])
    document: dict[str, Any] = {
        name: field
        for name, field in row.items()
        if name == "text" or (name == "label" and field == []) or (field and has_label and _ANSWER.fullmatch(name))
    }
    document |= {
        n: parse_json(row[n], f"{where}, {n}", _LINE) for n in ("ids", "tokens", "probabilities") if row.get(n)
    }
    numbers = {
        name: field for name, field in row.items() if field and name not in _MEMBERS and not _ANSWER.fullmatch(name)
    }
    try:
        return document | (
            {"probabilities": {name: float(field) for name, field in numbers.items()}} if numbers else {}
        )
    except ValueError as error:
        raise InputError(f"{where} has a probability that is not a number: {first_line(error)}.", _LINE) from None


def _read_answer_members(document: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the answer in a line or row as a dict with the keys `label` and `probabilities`. It is read from keys such
    as `label` and `probability`, or `label_2` and `probability_2`, whose values may have several parts, such as `a|b`
    and `0.9|0.8`. Return an empty dict if there is no probability."""
    pairs: list[tuple[str | None, str]] = []
    names = {name.lower(): name for name in document if _ANSWER.fullmatch(name)}
    for name in names:
        if name.startswith("label") or document[names[name]] in (None, ""):
            continue
        label = document.get(names.get(f"label{name[len(name.rstrip('_0123456789')) :]}", ""))
        each = str(document[names[name]]).split(LABEL_SEPARATOR)
        pairs += zip(label.split(LABEL_SEPARATOR) if isinstance(label, str) else [label], each, strict=False)
    try:
        numbers = [(label, float(number)) for label, number in pairs]
    except ValueError as error:
        raise InputError(f"{where} has a probability that is not a number: {first_line(error)}.", _LINE) from None
    if len(numbers) > 1:
        return {"label": None, "probabilities": {str(label): number for label, number in numbers}}
    return {"probabilities": [number for _, number in numbers]} if numbers else {}


def convert_example_pairs(tuples: Iterable[Any]) -> list[OwnersText]:
    """Convert tuples (text, ids) or (text, ids, answer) of the argument `example_ids` to `OwnersText` objects.

    Args:
        tuples: the tuples. The ids are a list, an array or a tensor of ids, or a list of tokens; with an answer, they
            may be None. An answer is a label, a list of labels, a dict from label to probability, or the probabilities
            of all labels in their order.

    Raises:
        InputError: `tuples` is not iterable, or an item is not such a tuple.
    """
    try:
        found = [_make_owners_text(item, f"example_ids, item {number}", _ITEM) for number, item in enumerate(tuples)]
    except TypeError:
        raise InputError(
            f"`example_ids` is of type {type(tuples).__name__}, but must be a list of pairs.", _ITEM
        ) from None
    if twice := len(found) - len({one.text for one in found}):
        _log.info("%d of the %d pairs repeat the text of another pair, which counts only once", twice, len(found))
    return found


def _make_owners_text(item: Any, where: str, remedy: str) -> OwnersText:
    """Make an `OwnersText` from a tuple (text, ids or tokens) or (text, ids or tokens, answer). Raise an InputError if
    the tuple has another form; `where` names the tuple in the message, and `remedy` is the advice in it."""
    if isinstance(item, OwnersText):
        return item
    if not isinstance(item, list | tuple) or len(item) not in (2, 3):
        raise InputError(f"{where} is {brief_text(item)}, but must be a text with its ids or its answer.", remedy)
    text, ids, answer = (*item, None)[:3]
    values = ids.tolist() if hasattr(ids, "tolist") else ids
    if not isinstance(text, str):
        raise InputError(f"{where} has {brief_text(text)} as its text, but a text must be a string.", remedy)
    if values is None and answer is not None:
        return OwnersText(text, answer=answer)
    if values is None:
        raise InputError(f"{where} has a text, but needs its ids, its tokens or an answer beside it.", remedy)
    if not isinstance(values, list | tuple):
        raise InputError(f"{where} has {brief_text(values)} as its ids, but ids must be a list.", remedy)
    if values and isinstance(values[0], str):
        return OwnersText(text, tokens=_check_tokens(values, where, remedy), answer=answer)
    # An array that numpy made without a type holds floats.
    values = [int(value) if isinstance(value, float) and value.is_integer() else value for value in values]
    for value in values:
        if isinstance(value, bool) or not hasattr(value, "__index__") or operator.index(value) < 0:
            raise InputError(
                f"{where} has the id {brief_text(value)}, but an id must be a whole number of 0 or more.", remedy
            )
    return OwnersText(text, [operator.index(value) for value in values], answer=answer)


def _check_tokens(values: Any, where: str, remedy: str) -> list[str]:
    if not isinstance(values, list | tuple):
        raise InputError(f"{where} has {brief_text(values)} as its tokens, but tokens must be a list.", remedy)
    if odd := [value for value in values if not isinstance(value, str)]:
        raise InputError(f"{where} has the token {brief_text(odd[0])}, but each token must be a string.", remedy)
    return list(values)


def _check_probabilities(given: Any, where: str) -> Any:
    """Return the probabilities of a text, with a single number as a list of one number. Raise an InputError if they are
    neither a list nor a dict, or if one of them is a string."""
    given = [given] if isinstance(given, float) else given
    values = given.values() if isinstance(given, Mapping) else given
    if not isinstance(given, Mapping | list) or any(isinstance(value, str) for value in values):
        raise InputError(
            f"{where} has {brief_text(given)} as its probabilities, but they must be a list or a dict of numbers.",
            'Give one number for each label, in the order of the labels, or a dict {"label": number}.',
        )
    return given


def map_answers_to_labels(
    texts: Iterable[OwnersText], labels: Sequence[str], *, multi_label: bool = False
) -> list[tuple[OwnersText, Answer]]:
    """Return a pair (text, answer) for each text that has an answer. The answer is converted to a tuple of labels, or
    to a dict from labels to probabilities.

    Args:
        texts: the texts with their answers as the user gave them.
        labels: the labels, in the order of the logits.
        multi_label: whether a text may have several labels. The answer `a|b` then means the labels a and b.

    Raises:
        InputError: an answer has an unknown label, a number that is not a probability, or too few or too many
            probabilities; or the label beside the probabilities is not the one with the highest.
    """
    texts = [one for one in texts if one.answer is not None]
    if multi_label:
        texts = [
            replace(one, answer=_split_labels(one.answer, labels), label=_split_labels(one.label, labels))
            for one in texts
        ]
    texts = _replace_class_numbers_of_answers(_spell_answers_as_labels(texts, labels), labels)
    numbers = [_read_single_probability(one.answer) if len(labels) > 1 else None for one in texts]
    # A label that has less than a half of two is not the one whose probability this is.
    of_second = len(labels) == 2 and any(
        number is not None and (one.label is None or number < _LIKELY)
        for one, number in zip(texts, numbers, strict=True)
    )
    if of_second:
        _log.warning(
            "Each text has one probability, which is read as that of %s, the second label",
            short_repr(labels[1], 40),
        )  # fmt: skip
    seconds = [
        number if number is not None and of_second else _read_probability_of_second(one.answer, labels)
        for one, number in zip(texts, numbers, strict=True)
    ]
    labelled = [(number, str(one.label)) for one, number in zip(texts, seconds, strict=True)
                if number is not None and one.label is not None and not multi_label]  # fmt: skip
    threshold = find_threshold_of_second_label(labelled, labels)
    found = []
    for one, number, second in zip(texts, numbers, seconds, strict=True):
        answer = one.answer
        if threshold is not None and second is not None:
            # The labels show which of the two has this probability.
            named = replace(one, answer={labels[0]: 1 - second, labels[1]: second} if number is not None else answer)
            found.append((named, _map_answer_to_labels(named, labels)))
            continue
        if number is not None and of_second:
            answer = {labels[0]: 1 - number, labels[1]: number}
        elif number is not None and one.label is not None:
            answer = {str(one.label): number}
        found.append((one, _map_probabilities_and_check_label(replace(one, answer=answer), labels)))
    return found


def find_thresholds_of_two_labels(
    answers: Iterable[tuple[OwnersText, Answer]], labels: Sequence[str]
) -> tuple[float, float] | None:
    """Find the thresholds that decide between two labels as the labels beside the probabilities do. Return None if the
    owner's classifier gives the likelier label, if no thresholds explain its labels, or if there are not two labels.

    Args:
        answers: the texts with their answers, as `map_answers_to_labels` returns them.
        labels: the labels, in the order of the logits.

    Example:
        >>> texts = [OwnersText("a", label="ham"), OwnersText("b", label="spam")]
        >>> answers = zip(texts, [{"ham": 0.4, "spam": 0.6}, {"ham": 0.1, "spam": 0.9}])
        >>> find_thresholds_of_two_labels(answers, ["ham", "spam"])
        (0.3, 0.7)
    """
    rows = [(answer[labels[1]], str(one.label)) for one, answer in answers
            if isinstance(answer, Mapping) and len(labels) == len(answer) == 2 and one.label is not None]  # fmt: skip
    threshold = find_threshold_of_second_label(rows, labels)
    return None if threshold is None else make_thresholds_of_two_labels(float(threshold))


def make_thresholds_of_two_labels(second: float) -> tuple[float, float]:
    """Return thresholds that decide between two labels, from the threshold of the second label: two decimal numbers
    whose sum is 1.

    Example:
        >>> make_thresholds_of_two_labels(0.77)
        (0.23, 0.77)
    """
    return round(1 - second, 15), second


def find_threshold_of_second_label(rows: Iterable[tuple[float, str]], labels: Sequence[str]) -> str | None:
    """Return the lowest probability of the second label at which a classifier with two labels gives the second label,
    with as few digits as possible. Return None if the classifier always gives the likelier label, or if no such
    threshold explains its labels.

    Args:
        rows: for each text, the probability of the second label, and the label that the classifier gives.
        labels: the labels, in the order of the logits.

    Example:
        >>> find_threshold_of_second_label([(0.03, "ham"), (0.19, "ham"), (0.22, "spam")], ["ham", "spam"])
        '0.2'
    """
    rows = [*rows]
    if len(labels) != 2 or {label for _, label in rows} != {*labels}:
        return None
    below = max(number for number, label in rows if label == labels[0])
    above = min(number for number, label in rows if label == labels[1])
    return None if below >= above or below < _LIKELY <= above else write_threshold(below, above)


def write_threshold(below: float, highest: float) -> str:
    """Return a number above `below` and at most `highest` as a string for a message: 0.5 if it lies in this range, or
    else the number with the fewest digits. Both limits are from 0 to 1."""
    below, highest = max(below, 0.0), min(highest, 1.0)
    if below < _LIKELY <= highest:
        return "0.5"
    for digits in range(1, 9):
        number = math.floor(below * 10**digits + 1) / 10**digits
        if number <= highest:
            return f"{number:.{digits}f}"
    return repr(highest)


def _read_probability_of_second(answer: Any, labels: Sequence[str]) -> float | None:
    """Return the probability of the second of two labels in an answer, or None if the answer does not have the
    probabilities of both labels."""
    values = answer.tolist() if hasattr(answer, "tolist") else answer
    if isinstance(values, Mapping) and values.keys() == {*labels}:
        values = [values[label] for label in labels]
    is_of_both = isinstance(values, list | tuple) and len(values) == len(labels) == 2
    return values[1] if is_of_both and all(isinstance(one, float) for one in values) else None


def _spell_answers_as_labels(texts: Sequence[OwnersText], labels: Sequence[str]) -> list[OwnersText]:
    """Return the texts with each answer replaced by a label, if the two differ only in case and blanks. Return the
    texts unchanged if two of the labels differ only in this way."""
    spelled = {normalize_label_spelling(one): one for one in labels}

    def spell(given: Any) -> Any:
        if isinstance(given, str) and given not in labels:
            return spelled.get(normalize_label_spelling(given), given)
        if isinstance(given, list | tuple):
            return [*map(spell, given)]
        if isinstance(given, Mapping):
            return {spell(name): number for name, number in given.items()}
        return given

    found = [replace(one, answer=spell(one.answer), label=spell(one.label)) for one in texts]
    other = [
        before for one, new in zip(texts, found, strict=True)
        for before, after in ((one.answer, new.answer), (one.label, new.label))
        if isinstance(before, str | Mapping) and before != after
    ]  # fmt: skip
    if len(spelled) < len(labels):
        return [*texts]
    if other:
        _log.warning(
            "Answers such as %s are read as the labels that differ only in case or blanks", short_repr(other[0])
        )
    return found


def _replace_class_numbers_of_answers(texts: list[OwnersText], labels: Sequence[str]) -> list[OwnersText]:
    """Return the texts with labels in place of answers that are class numbers, such as 0 and 1."""
    answers = name_class_numbers([one.answer for one in texts], labels)
    given = name_class_numbers([one.label for one in texts if one.label is not None], labels)
    if not (answers or given):
        return texts
    _log.warning("The numbers of the answers are read as labels: %s", _write_class_numbers(answers or given))
    return [
        replace(
            one,
            answer=answers[int(str(one.answer).partition(".")[0])] if answers else one.answer,
            label=given[int(str(one.label).partition(".")[0])] if given and one.label is not None else one.label,
        )
        for one in texts
    ]


def _split_labels(given: Any, labels: Sequence[str]) -> Any:
    """Split an answer such as `a|b` into the list of its labels, if each part is one of `labels` and `a|b` itself is
    not. Return any other answer unchanged."""
    if not isinstance(given, str) or given in labels or LABEL_SEPARATOR not in given:
        return given
    each = given.split(LABEL_SEPARATOR)
    return each if set(each) <= set(labels) else given


def _read_single_probability(answer: Any) -> float | None:
    """Return the number in an answer that is a single probability, or a list with a single probability. Return None for
    any other answer."""
    values = answer.tolist() if hasattr(answer, "tolist") else answer
    values = values if isinstance(values, list | tuple) else [values]
    return float(values[0]) if len(values) == 1 and isinstance(values[0], float) else None


def map_head_answers(texts: Iterable[OwnersText], heads: Mapping[str, LabelOutput]) -> list[tuple[OwnersText, Answer]]:
    """Return a pair (text, answer) for each text and each output head that answers it, for a module with several heads.
    `OwnersText.head` of the text is the name of the head. The answer is a tuple of labels, or a dict from labels to
    probabilities.

    Args:
        texts: the texts. The answer of each is a dict from the name of a head to the answer of this head.
        heads: the output of each head by its name.

    Raises:
        InputError: an answer is not such a dict, names an unknown head, or has labels or probabilities that do not fit
            the head.
    """
    found = []
    for one in texts:
        if one.answer is None:
            continue
        if not isinstance(one.answer, Mapping):
            raise InputError(
                f"The answer to {short_repr(one.text, 40)} is {brief_text(one.answer)}, but the module has several "
                f"heads ({', '.join(heads)}), so the answer must be a dict.",
                f"Give a dict from the name of each head to its answer: {{{next(iter(heads))!r}: ...}}.",
            )
        for name, answer in one.answer.items():
            if name not in heads:
                near = suggest_similar_name(str(name), heads) or f"The heads are {', '.join(heads)}."
                raise InputError(
                    f"The answer to {short_repr(one.text, 40)} names {brief_text(name)}, which is not a head of the "
                    "module.",
                    near,
                )
            label = one.label.get(name) if isinstance(one.label, Mapping) else one.label
            of_head = replace(one, answer=answer, label=label, head=name)
            found.append((of_head, _map_probabilities_and_check_label(of_head, heads[name].labels)))
    return found


def _map_probabilities_and_check_label(one: OwnersText, labels: Sequence[str]) -> Answer:
    """Return the answer to a text as a tuple of labels or as a dict from labels to probabilities. Raise an InputError
    if the owner gave both a label and probabilities, and another label has the highest probability."""
    answer = _map_answer_to_labels(one, labels)
    if one.label is None or not isinstance(answer, Mapping):
        return answer
    chosen = _map_answer_to_labels(replace(one, answer=one.label), labels)
    others = [number for label, number in answer.items() if label not in chosen]
    for label in chosen:
        if label not in answer or answer[label] < max(others, default=0.0):
            raise InputError(
                f"The answer to {short_repr(one.text, 40)} has the label {short_repr(label, 40)}, but its highest "
                f"probability is that of {short_repr(max(answer, key=answer.__getitem__), 40)}.",
                "If the label is the true one and not the answer of your classifier, leave it out. If it is the "
                "answer, the order of the labels may be wrong: leave out the probabilities, and pocketrnn finds the "
                "order by the labels.",
            )
    return answer


def _map_answer_to_labels(one: OwnersText, labels: Sequence[str]) -> Answer:
    """Return the answer to a text as a tuple of labels or as a dict from labels to probabilities. Raise an InputError
    if the answer has an unknown label, or not one probability for each label."""
    where, given = f"The answer to {short_repr(one.text, 40)}", one.answer
    given = given.tolist() if hasattr(given, "tolist") else given
    given = [given] if isinstance(given, float) else given
    if isinstance(given, Mapping):
        if not given:
            raise InputError(
                f"{where} is an empty dict, but must have the probability of each label.",
                'Give a dict such as {"label": 0.9}, or leave out the answer.',
            )
        _check_labels(given, labels, where)
        return {name: _check_probability(value, where) for name, value in given.items()}
    if not isinstance(given, list | tuple):
        # Files often write labels that are digits as numbers.
        given = [given]
        return _check_labels([str(given[0]) if type(given[0]) is int else given[0]], labels, where)
    if given and all(isinstance(value, int | float) and not isinstance(value, bool) for value in given):
        if len(given) != len(labels):
            raise InputError(
                f"{where} has {len(given)} probabilities, but there are {len(labels)} labels.",
                "Give one probability for each label, in the order of the labels, or a dict from label to probability, "
                'such as {"label": 0.9}.',
            )
        return {label: _check_probability(value, where) for label, value in zip(labels, given, strict=True)}
    return _check_labels(given, labels, where)


def _check_labels(names: Iterable[Any], labels: Sequence[str], where: str) -> tuple[str, ...]:
    """Return the labels of an answer as a tuple. Raise an InputError if one of `names` is not one of `labels`; `where`
    names the answer in the message."""
    found = tuple(names)
    for name in found:
        if not isinstance(name, str) or name not in labels:
            shown = f"{', '.join(map(short_repr, labels[:8]))}{', ...' if len(labels) > 8 else ''}"
            problem = f"{where} is {brief_text(name)}, but the labels are {shown}."
            if isinstance(name, str) and _split_labels(name, labels) != name:
                said = f"A text has several labels, {name}, only with --multi-label (multi_label=True)."
                raise OptionCorrectionsError(problem, said, {"multi_label": "given"})
            raise InputError(
                problem,
                "Give the label or the probabilities that your classifier gives, and leave out texts to which it gives "
                f'no label. Write several labels of a text as a{LABEL_SEPARATOR}b (in JSON: ["a", "b"]) and give '
                "--multi-label.",
            )
    return found


def _check_probability(value: Any, where: str) -> float:
    if isinstance(value, bool) or not hasattr(value, "__float__") or not 0 <= value <= 1:
        raise InputError(
            f"{where} has the probability {brief_text(value)}, but a probability must be a number from 0 to 1.",
            "Give the numbers after the softmax or sigmoid, not the logits.",
        )
    return float(value)
