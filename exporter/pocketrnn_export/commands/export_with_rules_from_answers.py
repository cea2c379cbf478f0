"""Export with the text rules that fit the owner's answers, or refuse and name the command with these rules."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pocketrnn.commands.standard_streams import get_lines_to_print_at_end, print_line
from pocketrnn.commands.terminal_text import escape_line
from pocketrnn.errors import ParityError
from pocketrnn_export.commands.collected_refusals import write_command_to_copy, write_line_to_copy
from pocketrnn_export.commands.proposed_options import (
    TEXTS_TO_DECIDE_BY,
    describe_tokenizer_function,
    propose_pairs,
    propose_tokenizer_function,
)
from pocketrnn_export.commands.tokenizer_function_written_to_file import write_tokenizer_with_changed_text
from pocketrnn_export.intake.module_name_with_arguments import parse_module_name

if TYPE_CHECKING:
    from pocketrnn.bundle.manifest import Manifest
    from pocketrnn.text import TextRules
    from pocketrnn_export.vocabularies.owner_answer_comparison import OtherAnswersError


def export_with_rules_from_answers(
    write: Callable[[dict[str, Any]], Manifest],
    description: dict[str, Any],
    options: Mapping[str, Any],
    given_tokenizer: str | None,
    tries_left: int = 3,
) -> Manifest:
    """Export a classifier. If its probabilities differ from the user's answers but agree under other text rules, export
    it with these rules. Raise an error that proposes them, and do not export, if the options already state text rules,
    or if only a few texts agree.

    Args:
        write: the function that exports the classifier, from the arguments of `pocketrnn_export.export`.
        description: these arguments.
        given_tokenizer: --tokenizer as the user gave it. The --tokenizer in `options` may be a written file with a part
            of the user's function.
        tries_left: how many more times the rules may be replaced, since rules that agree on some texts may fail on
            others.

    Raises:
        ParityError: the answers differ. The message has the command with the rules for which they agree.
    """
    from pocketrnn.text import TextRules
    from pocketrnn_export.vocabularies.candidate_text_rules import describe_long_rules_option, write_rules_option
    from pocketrnn_export.vocabularies.external_tokenizer_advice import collect_width_members
    from pocketrnn_export.vocabularies.owner_answer_comparison import OtherAnswersError

    try:
        preferred, function = _replace_rules_by_equal_rules_in_code(description.get("rules"), description, options)
        if function and preferred != description["rules"]:
            print_line(
                f"Note: {function} splits the texts of --pairs as these rules do, and its rules are taken: --rules "
                f"{shlex.quote(write_rules_option(preferred, description['rules']))}",
                err=True,
            )
            description = _replace_rules(description, preferred)
        made = write(description)
        _print_rules_that_agree_as_well(made, description, options)
        return made
    except OtherAnswersError as error:
        if error.seem_true_labels and (refused := _make_error_on_true_labels(error, options, given_tokenizer)):
            raise refused from None
        agreeing, numbers, tokens, said = error.agreeing, error.numbers, error.tokens, error.remedy
        before = _get_rules_that_options_imply(error.before, options, description.get("vocabulary"))
        if not isinstance(agreeing, TextRules):
            if error.options:
                widths = {} if agreeing is None else {"rules": json.dumps(collect_width_members(agreeing))}
                raise _make_parity_error_with_command(error, error.remedy, {**error.options, **widths}) from None
            if error.is_of_split and "labels" not in error.nearer_options:
                # A function is tried when the labels are right.
                _raise_again_with_function_names(error, options, given_tokenizer)
            raise _make_parity_error_with_command(error, error.remedy, error.nearer_options) from None
        changed = write_rules_option(agreeing, before)
        is_split_otherwise = _do_members_change_splitting(json.loads(changed))
        of_function = parse_module_name(options["tokenizer"] or "") is not None
        is_stated = options["max_tokens"] is not None or _state_more_than_external_tokenizer(options["rules"])
        is_stated = is_stated or (options["tokenizer"] is not None and (is_split_otherwise or not of_function))
        if error.options or is_stated or numbers < TEXTS_TO_DECIDE_BY or not tries_left:
            # With other tokens, the rules are those of another vocabulary.
            rules = {} if tokens else _make_corrected_rule_options(options, agreeing, before, description["vocabulary"])
            raise _make_parity_error_with_command(error, error.remedy, {**error.options, **rules}) from None
    description = {**description, "vocabulary": tokens} if tokens else description
    preferred, function = _replace_rules_by_equal_rules_in_code(agreeing, description, options)
    changed = write_rules_option(preferred, before) if function else changed
    if tokens:
        print_line(f"Note: {escape_line(said)} The bundle has such a vocabulary.", err=True)
    if json.loads(changed):
        print_line(
            f"Note: The module's answers agree with your classifier's on {numbers} texts with "
            f"{describe_long_rules_option(preferred, changed)}{', which are those of ' * bool(function)}{function}. "
            "So these are taken.",
            err=True,
        )
    description = _replace_rules(description, preferred)
    return export_with_rules_from_answers(write, description, options, given_tokenizer, tries_left - 1)


def _replace_rules(description: dict[str, Any], rules: Any) -> dict[str, Any]:
    """Return the arguments of an export with other text rules. Drop the notes on the earlier rules that were to be
    printed at the end of the command."""
    from pocketrnn_export.progress import ABOUT_RULES

    if (context := click.get_current_context(silent=True)) is not None:
        kept = get_lines_to_print_at_end(context)
        kept[:] = [one for one in kept if one[1] not in ABOUT_RULES]
    return {**description, "rules": rules}


def _make_error_on_true_labels(
    error: OtherAnswersError, options: Mapping[str, Any], given_tokenizer: str | None
) -> ParityError | None:
    """Return an error that says that --pairs seems to have the true labels of the data, and names a file near the
    module that seems to have the classifier's own answers. Return None if there is no such file, and --tokenizer does
    not name a function that may cause the difference."""
    named = parse_module_name(options["source"])
    found = propose_pairs([], None if named is None else named.path, multi_label=options["multi_label"])
    given = options["pairs"]
    others = [] if found is None else [one for one in (found.file, *found.others) if Path(one) != given]
    said = (
        f"{given} seems to hold the true labels of the data: the module agrees far more often than by chance, but not "
        "always, with all rules that were tried. --pairs takes the labels that your classifier predicts"
    )
    if others:
        own = f"{said}. They seem to be in {others[0]}."
        return _make_parity_error_with_command(error, own, {"pairs": others[0]})
    if parse_module_name(given_tokenizer or "") is None:
        return None
    made = "let your code write the columns text, label and probability to answers.csv, or leave --pairs out."
    kept = f"{said}: {made} If these are its own labels: {error.remedy}"
    return _make_parity_error_with_command(error, kept, {})


def _state_more_than_external_tokenizer(rules: str | None) -> bool:
    """Return whether --rules has a further member, such as a width, besides the tokenizer `external`."""
    from pocketrnn.text import EXTERNAL
    from pocketrnn_export.vocabularies.text_rules_file import parse_rules_json_with_name

    return rules is not None and parse_rules_json_with_name(rules)[1] != {"tokenizer": EXTERNAL}


def _must_answers_show_text_rules(description: Mapping[str, Any], options: Mapping[str, Any]) -> bool:
    """Return whether the text rules can only be found by the user's answers, since no option states rules and no text
    has ids."""
    is_stated = any(options[name] is not None for name in ("rules", "tokenizer"))
    given = description.get("example_ids") or ()
    is_stated = is_stated or bool(description.get("two_texts"))
    return bool(given) and not is_stated and not any(one.ids is not None for one in given)


def _replace_rules_by_equal_rules_in_code(
    rules: Any, description: Mapping[str, Any], options: Mapping[str, Any]
) -> tuple[Any, str]:
    """Return the text rules that a function of the user's code shows, and this function as file.py:name, if these rules
    give the same ids as `rules` to all texts that have answers. Otherwise, return `rules` and an empty string."""
    from pocketrnn.text import TextEncoder, TextRules
    from pocketrnn_export.vocabularies.vocabulary import read_vocabulary

    if not isinstance(rules, TextRules) or not _must_answers_show_text_rules(description, options):
        return rules, ""
    tokens = read_vocabulary(description["vocabulary"]).tokens
    texts, given = [one.text for one in description["example_ids"]], TextEncoder(rules, tokens)
    for function, of_code in list_rules_in_code(rules, description, options):
        encoder = None if of_code is None else TextEncoder(of_code, tokens)
        if encoder and all(encoder.encode(text) == given.encode(text) for text in texts):
            return of_code, function
    return rules, ""


def list_rules_in_code(
    rules: TextRules, description: Mapping[str, Any], options: Mapping[str, Any]
) -> Iterator[tuple[str, TextRules | None]]:
    """Yield the functions of the user's code that may split texts, as file.py:name, each with its text rules; None if
    no rules do the same. They have the widths and ids of `rules`. Yield none if an option states text rules, or if the
    user gave ids."""
    from pocketrnn_export.source_code.text_function_in_own_file import write_computing_text_function
    from pocketrnn_export.source_code.text_functions_in_file import list_text_functions
    from pocketrnn_export.vocabularies.rules_from_function import read_split_in_code

    named = parse_module_name(options["source"])
    if named is None or not _must_answers_show_text_rules(description, options):
        return
    for one in list_text_functions(named.path):
        code = write_computing_text_function(one.file, one.name)
        yield one.option, None if code is None else read_split_in_code(code, rules)


def _print_rules_that_agree_as_well(
    manifest: Manifest, description: Mapping[str, Any], options: Mapping[str, Any]
) -> None:
    """If other text rules give the same ids to all texts with answers, print a note on them, since the answers do not
    show which rules are right. Also print a command with the function of the user's code that seems to split texts.
    Print nothing if an option or the code shows the rules."""
    from pocketrnn.text import TextEncoder, TextRules
    from pocketrnn.text.text_input import TextInput
    from pocketrnn_export.vocabularies.text_rule_selection import describe_other_agreeing_rules

    # A bundle of numbers has no text rules.
    rules = manifest.text.rules if isinstance(manifest.input, TextInput) else None
    if not isinstance(rules, TextRules) or not _must_answers_show_text_rules(description, options):
        return
    if _replace_rules_by_equal_rules_in_code(rules, description, options)[1]:
        return
    encoder = TextEncoder(rules, manifest.text.vocabulary)
    pairs = [(one.text, encoder.encode(one.text)) for one in description["example_ids"]]
    if not (said := describe_other_agreeing_rules(rules, manifest.text.vocabulary, pairs)):
        return
    named = parse_module_name(options["source"])
    function = None if named is None else propose_tokenizer_function(named.path)
    if function is None:
        said += ". Give texts that show which is right, or name your function: --tokenizer file.py:name"
    else:
        said += f". {describe_tokenizer_function(function)} It shows which is right."
    print_line(f"Note: Other rules agree with your texts, too: {said}", err=True)
    if function is not None:
        print_line(f"Write: {write_command_to_copy({'tokenizer': function.option})}", err=True)


def _raise_again_with_function_names(
    error: OtherAnswersError, options: Mapping[str, Any], given_tokenizer: str | None
) -> None:
    """Raise the error again with the names of the functions in the owner's file that may split texts, if there are such
    functions and no option states text rules. A function that --tokenizer names is left out."""
    from pocketrnn_export.source_code.answering_code import list_code_parts
    from pocketrnn_export.source_code.text_functions_in_file import list_text_functions

    changed: set[str] = set()
    named, tried = parse_module_name(options["source"]), parse_module_name(options["tokenizer"] or "")
    if named is not None and tried is not None:
        changed = _raise_again_with_tokenizer_that_changes_text_first(error, named.path, str(tried), options)
    # A function that splits otherwise is named beside them, but the line to copy keeps the stated rules.
    is_stated = options["max_tokens"] is not None or _state_more_than_external_tokenizer(options["rules"])
    if named is None or (options["tokenizer"] is not None and tried is None):
        return
    given = {"" if tried is None else str(tried), given_tokenizer, *changed}
    found = [one for one in list_text_functions(named.path) if not {f"{one.file}:{one.name}", one.option} & given]
    called = {one.name: one.called_names for one in list_code_parts(named.path) if one.name and one.is_answering}
    tried_names = {one.rpartition(":")[2] for one in given if one}
    for name in tried_names & called.keys():
        # A function that the answering one does not call changes none of its answers.
        found = [one for one in found if one.name.rpartition(".")[2] in called[name]]
    of_answers = {*called, *(name for names in called.values() for name in names)}
    found.sort(key=lambda one: bool(of_answers) and one.name.rpartition(".")[2] not in of_answers)
    if found:
        widths = {} if found[0].called is not None else _make_width_options(error, options)
        other, first = "Other f", ""
        if not tried_names:
            other, first = "F", "Give --tokenizer with the one that does first. If the answers still differ: "
        raise _make_parity_error_with_command(
            error,
            f"{other}unctions of your code that may split texts: {', '.join(one.option for one in found)}. "
            f"{first}{error.remedy}",
            {**error.nearer_options, **({} if is_stated else {"tokenizer": found[0].option, **widths})},
        ) from None


def _make_parity_error_with_command(
    error: OtherAnswersError, cause: str, changes: Mapping[str, str | None]
) -> ParityError:
    """Return an error with these lines: how many answers differ, the likely cause, the first text with another answer,
    and the command with changed options. The command is left out if it is the running one."""
    write = write_line_to_copy(changes)
    lines = "".join(f"\n{escape_line(one)}" for one in (*cause.split("\n"), error.example) if one)
    return ParityError(error.count, f"{lines}{write}")


def _make_width_options(error: OtherAnswersError, options: Mapping[str, Any]) -> dict[str, str | None]:
    """Return the option --rules with the widths for which most answers agree, added to the rules that are given. Return
    an empty dict if no such widths are known."""
    from pocketrnn_export.vocabularies.external_tokenizer_advice import collect_width_members
    from pocketrnn_export.vocabularies.text_rules_file import list_given_rule_members

    widths = {} if error.nearest is None else collect_width_members(error.nearest)
    stated = list_given_rule_members(options["rules"])
    return {"rules": json.dumps({**stated, **widths})} if widths and options["max_tokens"] is None else {}


def _raise_again_with_tokenizer_that_changes_text_first(
    error: OtherAnswersError, file: Path, tokenizer: str, options: Mapping[str, Any]
) -> set[str]:
    """Write a tokenizer that changes a text as the user's code does before it splits or classifies the text, and raise
    the error again with this tokenizer as the correction. If there is no such code, return the functions for which
    --tokenizer already names a tokenizer of this kind."""
    from pocketrnn_export.source_code.functions_that_answer_or_split import is_name_of_answering_function
    from pocketrnn_export.source_code.text_functions_in_file import list_text_functions

    answering = [one.option for one in list_text_functions(file) if is_name_of_answering_function(one.name)]
    given = set()
    for one in (tokenizer, *answering):
        function = parse_module_name(one)
        both = None if function is None else write_tokenizer_with_changed_text(function)
        given |= {one} if both is not None and both[1] == tokenizer else set()
        if both is not None and both[1] != tokenizer:
            changes = {**error.nearer_options, "tokenizer": both[1], **_make_width_options(error, options)}
            raise _make_parity_error_with_command(error, both[0], changes) from None
    return given


def _do_members_change_splitting(members: Mapping[str, Any]) -> bool:
    """Return whether these members of text rules, such as `steps`, change how texts are split. Return False if the
    members leave the splitting to the function of --tokenizer."""
    from pocketrnn.text import EXTERNAL
    from pocketrnn_export.vocabularies.candidate_text_rules import SPLITTING_MEMBERS

    return members.get("tokenizer") != EXTERNAL and any(name in members for name in SPLITTING_MEMBERS)


def _get_rules_that_options_imply(rules: Any, options: Mapping[str, Any], vocabulary: Any) -> Any:
    """Return the text rules that hold without --rules, from which a message writes the difference. These are `rules`,
    or the default ones if no option states rules, since `rules` may then have been chosen to fit the vocabulary."""
    from pocketrnn.text import TextRules
    from pocketrnn_export.vocabularies.vocabulary import make_implied_rules, read_vocabulary

    is_stated = options["rules"] is not None or options["tokenizer"] is not None
    if not isinstance(rules, TextRules) or is_stated or vocabulary is None:
        return rules
    return make_implied_rules(read_vocabulary(vocabulary), TextRules().tokenizer)


def _make_corrected_rule_options(
    options: Mapping[str, Any], rules: TextRules, before: TextRules, vocabulary: Any
) -> dict[str, str | None]:
    """Return the options to change so that the bundle has the text rules `rules` in place of `before`: --rules with its
    value, and None for each option to leave out. --tokenizer is left out if the new rules split texts in another
    way."""
    from pocketrnn.text import TextRules
    from pocketrnn_export.vocabularies.candidate_text_rules import write_rules_option
    from pocketrnn_export.vocabularies.text_rules_file import list_given_rule_members
    from pocketrnn_export.vocabularies.vocabulary import make_implied_rules, read_vocabulary

    members = json.loads(write_rules_option(rules, before))
    changes: dict[str, str | None] = {
        "rules": json.dumps({**list_given_rule_members(options["rules"]), **members}),
        **({"max_tokens": None} if "max_tokens" in members or "max_width" in members else {}),
    }
    if options["tokenizer"] is not None and _do_members_change_splitting(members):
        implied = make_implied_rules(read_vocabulary(vocabulary), TextRules().tokenizer)
        changes |= {"tokenizer": None, "max_tokens": None, "rules": write_rules_option(rules, implied)}
    return changes
