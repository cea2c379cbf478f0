"""Correct the labels or the file of --pairs that `export` refuses: add what to give in their place to the error."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from pocketrnn.commands.standard_streams import get_lines_to_print_at_end
from pocketrnn.errors import ExportError, InputError
from pocketrnn_export.commands.collected_refusals import write_line_to_copy
from pocketrnn_export.commands.proposed_options import (
    list_labels_of_pairs,
    propose_labels,
    propose_pairs,
    read_labels,
    read_weight_sizes,
)
from pocketrnn_export.intake.module_name_with_arguments import ModuleName, parse_module_name
from pocketrnn_export.option_corrections_error import OptionCorrectionsError


@contextlib.contextmanager
def propose_labels_by_outputs(named: ModuleName | None, options: Mapping[str, Any]) -> Iterator[None]:
    """While the block runs, add to the error of a wrong number of labels the labels that --labels should have, as many
    as the module has outputs. Notes on words of the vocabulary that occur in no text are dropped then."""
    from pocketrnn_export.intake.call_discovery.missing_logits_and_omitted_outputs import OTHER_COUNT
    from pocketrnn_export.progress import ABOUT_WORDS

    try:
        yield
    except ExportError as error:
        count = read_weight_sizes(options["weights"]).labels
        if OTHER_COUNT not in error.problem or options["labels"] is None or not count:
            raise
        if count == len(read_labels(options["labels"])):
            raise
        kept = get_lines_to_print_at_end(click.get_current_context())
        kept[:] = [one for one in kept if one[1] != ABOUT_WORDS]
        found = propose_labels(
            None if named is None else named.path,
            options["weights"],
            options["pairs"],
            multi_label=options["multi_label"],
        )
        write = write_line_to_copy({"labels": found.value})
        raise ExportError(error.problem, f"{error.remedy} {found.sentence}{write}") from None


def find_file_of_source(options: Mapping[str, Any]) -> Path | None:
    """Return the Python file or notebook that SOURCE names. Return None if SOURCE is another file or a folder."""
    named = parse_module_name(options["source"] or "")
    return None if named is None else named.path


def correct_pairs_or_labels(
    error: InputError, file: Path, labels: Sequence[str], options: Mapping[str, Any]
) -> InputError:
    """Return the error of a refused file of answers with a correction: another file of answers if this one cannot be
    read, or the labels that its answers have. Return the error unchanged if neither is known.

    Args:
        error: the refusal of the file.
        file: the file of --pairs.
        labels: the labels of --labels.
    """
    if isinstance(error, OptionCorrectionsError):
        return error
    several, code = options["multi_label"], find_file_of_source(options)
    found = list_labels_of_pairs(file, multi_label=several)
    other = None if found else propose_pairs([], code, multi_label=several)
    if other is not None and other.file != str(file):
        is_other = file.suffix.lower() not in (".csv", ".tsv", ".json", ".jsonl")
        problem = f"{file} is neither a CSV file nor lines of JSON." if is_other else error.problem
        return OptionCorrectionsError(problem, other.sentence, {"pairs": other.file})
    if found is None:
        return error
    proposed = propose_labels(code, options["weights"], file, multi_label=several)
    given, meant, answered = {*labels}, {*read_labels(proposed.value)}, {*found}
    # The answers have all given labels, and others, or have other names for them.
    are_renamed = meant == answered and not given & answered
    if not labels or not (given < meant or are_renamed):
        return error
    said = f" For names of your own, write them in {file} in place of these, or leave --pairs out." * are_renamed
    return OptionCorrectionsError(error.problem, f"{proposed.sentence}{said}", {"labels": proposed.value})
