"""Log the settings for texts and answers that the checkpoint and the owner's code name, and that no option gives and no
pair shows."""

from __future__ import annotations

import contextlib
import json
import logging
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from pocketrnn.commands.standard_streams import get_lines_to_print_at_end, print_line
from pocketrnn.errors import InputError
from pocketrnn_export.commands.proposed_options import (
    find_activation_after_module,
    make_options_of_tokenizer_function,
    propose_tokenizer_function,
)
from pocketrnn_export.intake.module_name_with_arguments import ModuleName, parse_module_name

if TYPE_CHECKING:
    from pathlib import Path

    from pocketrnn_export.source_code.text_settings_in_code import OpenSettings
    from pocketrnn_export.vocabularies.checkpoint_text_settings import NamedLength
    from pocketrnn_export.vocabularies.owner_texts_and_answers import OwnersText

# The key in the options of `export` for those that correct them.
CORRECTED: Final = "corrected"
_LONG: Final = "Long texts, not compared"
# A note on the length of texts says so; another one on the same topic is about the id of unknown words.
_READS_ALL: Final = "reads all tokens of a text"
_PADDING: Final = "Padding, not compared"
_COMPARED_WORDS: Final = 2_000
_LARGEST_STOP_WORDS: Final = 2**17
_TOLD_WORDS: Final = 3


def log_owner_hints_and_list_corrections(
    named: ModuleName | None, options: dict[str, Any], text: dict[str, Any]
) -> dict[str, str | None]:
    """Log a note for each setting, such as the length of texts, that the user's code or checkpoint names but the bundle
    does not have. Return the options that give the bundle these settings. The notes are printed at the end of the
    command.

    Args:
        named: the module's file.
        options: the options of `export`.
        text: the arguments for texts that were read.

    Returns:
        the options to give or to change, so that the bundle has these settings; empty if there are none.
    """
    from pocketrnn_export.progress import ABOUT_LENGTHS, ABOUT_SOFTMAX, ABOUT_SPLITTING, AFTER_AN_ERROR
    from pocketrnn_export.source_code.sigmoid_or_softmax_in_code import find_activations_in_code
    from pocketrnn_export.source_code.text_settings_in_code import (
        find_settings_that_rules_lack,
        find_uncompared_length_and_unknown_id,
        list_hints_on_text_rules_in_code,
    )
    from pocketrnn_export.vocabularies.checkpoint_text_settings import (
        advise_on_checkpoint_settings,
        describe_unread_tokenizer,
    )
    from pocketrnn_export.vocabularies.text_rules_file import list_given_rule_members
    from pocketrnn_export.vocabularies.vocabulary import read_vocabulary

    rules, pairs, weights = text["rules"], text["example_ids"], options["weights"]
    plain = getattr(rules, "rules", rules)
    stated = list_given_rule_members(options["rules"])
    longest, unknown_id = find_uncompared_length_and_unknown_id(
        plain, read_vocabulary(text["vocabulary"]).tokens, pairs, text.get("tokenizer")
    )
    files = list_code_files(named, options)
    lengths = _list_saved_lengths(weights, options["vocabulary"], longest)
    open_ones: dict[str, Any] = {"longest": longest, "unknown_id": unknown_id, "lengths": lengths}
    hints: dict[str, list[str]] = {ABOUT_LENGTHS: [], ABOUT_SPLITTING: []}
    hints[ABOUT_LENGTHS] += list_hints_on_text_rules_in_code(files, **open_ones, rules=stated, of_tokenizer=plain)
    if not (options["head"] or options["labels_of"] or any(one.answer is not None for one in pairs)):
        hints[ABOUT_SOFTMAX] = find_activations_in_code(files).list_hints(multi_label=options["multi_label"])
    if weights is not None:
        hints[""] = advise_on_checkpoint_settings(
            weights,
            has_stop_words=rules is None or bool(getattr(plain, "stop_words", ())),
            has_thresholds=options["thresholds"] is not None,
            multi_label=options["multi_label"], labels=len(text.get("labels", ())),
        )  # fmt: skip
    split, function = dict[str, str | None](), None
    if options["tokenizer"] is options["rules"] is None and not pairs:
        hints[ABOUT_SPLITTING] += [] if weights is None else filter(None, [describe_unread_tokenizer(weights)])
        hints[ABOUT_SPLITTING] += [*_describe_text_functions(named), *_describe_stop_words(named)] if named else []
        if named is not None and (function := propose_tokenizer_function(named.path)) is not None:
            split = make_options_of_tokenizer_function(function.option)
    if named is not None and not pairs:
        hints[ABOUT_SPLITTING] += _describe_function_of_other_ids(named, options, plain, text["vocabulary"])
    given = "" if longest is None and unknown_id == -1 else _find_function_from_tokens_to_ids(options["tokenizer"])
    if given:
        hints[ABOUT_SPLITTING].append(
            f"--tokenizer {given} gives ids, so that its cut and its id of unknown words are found and compared"
        )
    for about, sentence in ((about, one) for about, some in hints.items() for one in some):
        logging.getLogger(__name__).warning("%s", sentence, extra={AFTER_AN_ERROR: about})
    if given and options["rules"] is None:
        return {"tokenizer": given}
    if function is not None and function.called is not None:
        # It gives all ids of a text, which show its width.
        return split
    return split | _make_options_for_length_and_unknown_id(
        find_settings_that_rules_lack(files, **open_ones), {**options, **split}, stated, plain
    )


def log_activation_after_module(
    named: ModuleName | None, options: Mapping[str, Any], pairs: Sequence[OwnersText]
) -> dict[str, str | None]:
    """Log a note if the user's code applies a softmax or sigmoid to the output of a module that ends with one itself.
    The note is printed at the end of the command. Return the option --gives logits, or an empty dict if there is no
    such code, or if answers with probabilities show what the module gives.

    Args:
        named: the file and the name of the module.
        options: the options of `export`.
        pairs: the user's texts with their answers.
    """
    from pocketrnn_export.progress import ABOUT_OUTPUT, AFTER_AN_ERROR

    # Labels are the same with both.
    are_labels = all(isinstance(one.answer, str | int | None) for one in pairs)
    found = find_activation_after_module(named, options) if are_labels else None
    if found is None:
        return {}
    logging.getLogger(__name__).warning("%s", found.hint, extra={AFTER_AN_ERROR: ABOUT_OUTPUT})
    return {"gives": "logits"}


def list_code_files(named: ModuleName | None, options: Mapping[str, Any]) -> list[Path]:
    """Return the file of the module, the file of the --tokenizer function, and the files that import the file of the
    module."""
    from pocketrnn_export.source_code.code_and_data_files_near_module import list_files_that_import

    files = [one.path for one in (named, parse_module_name(options["tokenizer"] or "")) if one is not None]
    return files + ([] if named is None else list_files_that_import(named.path))


def list_lengths_in_files(named: ModuleName | None, options: Mapping[str, Any]) -> list[NamedLength]:
    """Return the lengths of texts that the checkpoint, settings beside it and the user's code name, in this order.

    Args:
        named: the module's file.
        options: the options of `export`.
    """
    from pocketrnn_export.source_code.text_settings_in_code import find_settings_that_rules_lack

    saved = _list_saved_lengths(options["weights"], options["vocabulary"], 0)
    return [*saved, *find_settings_that_rules_lack(list_code_files(named, options), longest=0).lengths]


def find_files_of_stop_words(path: Path) -> dict[Path, list[str]]:
    """Find the text files of stop words that the code of a module, or of the files near it, names. Return a dict from
    each file to its words. Large files and lines of several words are left out.

    Args:
        path: the file of the module.
    """
    from pocketrnn_export.source_code.code_and_data_files_near_module import list_data_files_named_in_code
    from pocketrnn_export.vocabularies.text_lines_and_compressed_files import read_lines

    found: dict[Path, list[str]] = {}
    for file in list_data_files_named_in_code(path, "txt|csv|lst|dic"):
        with contextlib.suppress(InputError, OSError):
            if "stop" in file.name.lower() and file.stat().st_size <= _LARGEST_STOP_WORDS:
                found[file] = [words[0] for line in read_lines(file) if len(words := line.split()) == 1]
    return found


def propose_text_length(
    named: ModuleName, options: Mapping[str, Any], function: str = ""
) -> tuple[list[str], dict[str, str | None]]:
    """Propose the length to which texts are cut or padded, if the checkpoint, settings beside it and the user's code
    name only one. Return a list with a sentence on it, and a dict with the option that sets it, which may be empty.
    Return an empty list and dict if they name no length or several.

    Args:
        named: the module's file.
        options: the options of `export`.
        function: the --tokenizer function that is proposed, which gives tokens; an empty string for none.
    """
    from pocketrnn_export.source_code.text_settings_in_code import find_settings_that_rules_lack

    saved = _list_saved_lengths(options["weights"], options["vocabulary"], 0)
    found = find_settings_that_rules_lack(list_code_files(named, options), longest=0, lengths=saved)
    # Other code, such as that of another module, has the length.
    if not saved and function and _find_function_that_passes_ids_unchanged(function):
        return [], {}
    if options["max_tokens"] is not None or len({one.value for one in found.lengths}) != 1:
        return [], {}
    (one, *_), is_padded = found.lengths, bool(found.pad_side)
    done = "padded or cut" if is_padded else "cut"
    said = f"Texts seem to be {done} to {one.value} tokens: {one.where} says {one.name}={one.value}."
    if function:
        beside = {**options, "tokenizer": function}
        return [said], _make_options_for_length_and_unknown_id(found, beside, {}, None)
    is_given = not is_padded and found.cut_side == "right"
    return [said], {"max_tokens": str(one.value)} if is_given else {}


def _list_saved_lengths(weights: Path | None, vocabulary: Path | None, longest: int | None) -> list[NamedLength]:
    """Return the lengths of texts that were saved with the weights: in their file, in the vocabulary's, or in files of
    settings beside them. Lengths up to `longest` are left out."""
    from pocketrnn_export.source_code.text_settings_in_code import list_text_lengths_in_settings_beside
    from pocketrnn_export.vocabularies.checkpoint_text_settings import list_text_lengths_in_checkpoint

    files = dict.fromkeys(one for one in (weights, vocabulary) if one is not None and one.is_file())
    found = [length for one in files for length in list_text_lengths_in_checkpoint(one, longest)]
    return found + ([] if weights is None else list_text_lengths_in_settings_beside(weights, longest))


def print_uncompared_steps_and_kept_notes(
    steps: Sequence[str],
    *,
    one_number: bool,
    gives_probabilities: bool,
    is_answered: bool,
    has_answers_beside: bool,
    rules: Any,
    tokenizer: str | None = None,
) -> None:
    """Print a note for each processing step of texts that the export could not compare with the user's code. Then print
    the notes that were kept for the end of the command, such as one on the length of texts.

    Args:
        steps: a sentence for each step that was not compared.
        one_number: whether the module gives one number for a text. Notes on its softmax are then left out.
        gives_probabilities: whether the module gives probabilities. If not, the note on a second softmax is left out.
        is_answered: whether the user's answers were compared. Notes on padding, and on words around a text, are then
            left out.
        has_answers_beside: whether the next command compares the user's answers. Notes on how texts are split and
            on words around a text are then left out.
        rules: the text rules. If they cut or pad texts, notes on lengths are left out.
        tokenizer: --tokenizer. If it is of a function that gives its module the ids as they are, a note says so, and
            asks for no padding.
    """
    from pocketrnn_export.progress import (
        ABOUT_FIRST_ID,
        ABOUT_LENGTHS,
        ABOUT_MARKS,
        ABOUT_OUTPUT,
        ABOUT_PADDING,
        ABOUT_SOFTMAX,
        ABOUT_SPLITTING,
        ABOUT_WORDS,
    )

    has_width = any(getattr(rules, name, None) is not None for name in ("max_tokens", "max_width", "min_width"))
    has_marks = bool(getattr(rules, "first_ids", ()) or getattr(rules, "last_ids", ()))
    is_left_out = {
        # The step has the same change of the probability.
        ABOUT_PADDING: is_answered or any(step.startswith(_PADDING) for step in steps),
        ABOUT_SOFTMAX: one_number,
        ABOUT_OUTPUT: not gives_probabilities,
        # Its words are in no text, and need not be.
        ABOUT_WORDS: is_answered and getattr(rules, "tokenizer", "") == "characters",
        # Unknown words have it.
        ABOUT_FIRST_ID: getattr(rules, "unknown_id", None) == 0,
        ABOUT_LENGTHS: has_width,
        ABOUT_SPLITTING: has_answers_beside,
        ABOUT_MARKS: is_answered or has_answers_beside or has_marks,
    }
    kept = get_lines_to_print_at_end(click.get_current_context())
    shown = [(line, about) for line, about in kept if not is_left_out.get(about)]
    # A note on a length that the user's files name says more.
    is_said = any(about == ABOUT_LENGTHS and _READS_ALL in line for line, about in shown)
    sorted_steps = sorted(steps, key=lambda step: step.startswith(_LONG))
    if not has_width and (function := _find_function_that_passes_ids_unchanged(tokenizer)):
        unpadded = f"Padding: none is added, as in {function}."
        sorted_steps = [unpadded if step.startswith(_PADDING) else step for step in sorted_steps]
    lines = [f"Note: {step}" for step in sorted_steps if not (is_said and step.startswith(_LONG))]
    lines += [line for line, _ in shown]
    kept.clear()
    for line in lines:
        print_line(line, err=True)


def _find_function_that_passes_ids_unchanged(tokenizer: str | None) -> str:
    """Return the function of --tokenizer if it passes the ids of a text to its module neither padded nor cut. For a
    file that an export wrote, return the user's function from which it was written. Return an empty string
    otherwise."""
    from pocketrnn_export.source_code.code_and_data_files_near_module import read_copied_function_of_exported_file
    from pocketrnn_export.source_code.ids_passed_to_module import passes_ids_neither_padded_nor_cut

    written = parse_module_name(tokenizer or "")
    origin = "" if written is None else read_copied_function_of_exported_file(written.path)
    named = parse_module_name(origin) or written
    if written is None or named is None:
        return ""
    path, origin = (written.path.parent / named.path, origin) if origin else (written.path, str(written))
    if not path.is_file():
        return ""
    return origin if passes_ids_neither_padded_nor_cut(path, named.function_name) else ""


def _describe_text_functions(named: ModuleName) -> list[str]:
    """Return a list with a hint that names the functions of the user's code that may split or clean texts. Return an
    empty list if there are none."""
    from pocketrnn_export.source_code.text_functions_in_file import list_text_functions

    found = [one.option for one in list_text_functions(named.path)]
    said = f"Functions of your code that may split or clean texts: {', '.join(found)}. If your classifier uses one"
    return [f"{said}, give it: --tokenizer {shlex.quote(found[0])}"] if found else []


def _describe_stop_words(named: ModuleName) -> list[str]:
    """Return a hint for each file of stop words that the user's code names, since the bundle keeps these words."""
    return [
        f"{file} seems to hold words that your code leaves out, but the bundle reads them: "
        f"{', '.join(words[:_TOLD_WORDS])}, ... Answers of your classifier show whether it does so: --pairs FILE"
        for file, words in find_files_of_stop_words(named.path).items()
    ]


def _describe_function_of_other_ids(
    named: ModuleName, options: Mapping[str, Any], rules: Any, vocabulary: Any
) -> list[str]:
    """Return a list with a hint that names a function of the user's code that gives texts other ids than the
    --tokenizer function. Return an empty list if there is none. Functions that text rules cannot imitate are left
    out."""
    from pocketrnn.text import TextEncoder, TextRules
    from pocketrnn_export.source_code.code_and_data_files_near_module import read_copied_function_of_exported_file
    from pocketrnn_export.source_code.splitting_part_of_function import write_tokenizer_of_function
    from pocketrnn_export.source_code.text_functions_in_file import list_text_functions
    from pocketrnn_export.vocabularies.candidate_text_rules import describe_rules
    from pocketrnn_export.vocabularies.rules_from_function import (
        generate_texts_for_tokenizer_comparison,
        has_ordinary_characters,
        read_split_in_code,
    )
    from pocketrnn_export.vocabularies.vocabulary import read_vocabulary

    own = parse_module_name(options["tokenizer"] or "")
    if own is None or not isinstance(rules, TextRules) or rules.tokenizer == "external":
        return []
    tokens = read_vocabulary(vocabulary).tokens
    texts = [
        *filter(has_ordinary_characters, generate_texts_for_tokenizer_comparison(tokens)),
        *tokens[:_COMPARED_WORDS],
    ]
    given = [*map(TextEncoder(rules, tokens).encode, texts)]
    for one in list_text_functions(named.path):
        written = write_tokenizer_of_function(one.file, one.name)
        of_code = None if written is None or written.fields else read_split_in_code(written.code, rules)
        if of_code is None or [*map(TextEncoder(of_code, tokens).encode, texts)] == given:
            continue
        kinds = [describe_rules(some) for some in (of_code, rules)]
        if kinds[0] == kinds[1]:
            kinds = [f"unknown words: {some.unknown_id}" for some in (of_code, rules)]
        return [
            f"{one.file}:{one.name} gives texts other ids ({kinds[0]}) than "
            f"{read_copied_function_of_exported_file(own.path) or own} ({kinds[1]}), whose rules the bundle has. The "
            "answers of your classifier show which are right: --pairs FILE"
        ]
    return []


def _find_function_from_tokens_to_ids(tokenizer: str | None) -> str:
    """Return, as file.py:name, the function of the owner's code that converts the tokens of the --tokenizer function to
    ids. Return an empty string if there is none, or if it needs more than a text."""
    from pocketrnn_export.source_code.text_functions_in_file import refuse_function_with_more_arguments
    from pocketrnn_export.source_code.text_settings_in_code import find_token_id_function

    named = parse_module_name(tokenizer or "")
    name = "" if named is None else find_token_id_function(named.path, named.name)
    if named is None or not name:
        return ""
    try:
        refuse_function_with_more_arguments(named.path, name, [])
    except InputError:
        return ""
    return f"{named.path}:{name}"


def _make_options_for_length_and_unknown_id(
    found: OpenSettings, options: Mapping[str, Any], stated_rules: dict[str, Any], rules: Any
) -> dict[str, str | None]:
    """Return the options that set the length of texts and the id of unknown words that the user's code or checkpoint
    names. Return an empty dict if it names neither. If it names several lengths, return only --pairs with a
    placeholder, since answers show the right length."""
    lengths = {one.value for one in found.lengths}
    if len(lengths) > 1:
        return {"pairs": "FILE"} if options["pairs"] is None else {}
    members: dict[str, Any] = {"unknown_id": next(iter(found.unknown))} if found.unknown else {}
    length = next(iter(lengths), options["max_tokens"])
    if lengths and found.cut_side != "right":
        members["cut_side"] = found.cut_side
    marks = found.count_marks_of_rules(rules)
    most = length - marks if lengths and length > marks else length
    if lengths and found.pad_side:
        # A bundle that only cuts would give a padded text another answer.
        members |= {"min_width": length, **({"max_tokens": most} if most != length else {"max_width": length})}
        members |= {} if found.pad_side == "right" else {"pad_side": found.pad_side}
        length = None
    if not members and options["rules"] is None:
        return {"max_tokens": str(most)} if lengths else {}
    if not members and not lengths:
        return {}
    members |= {} if length is None else {"max_tokens": most}
    changes: dict[str, str | None] = {"max_tokens": None, "rules": json.dumps({**stated_rules, **members})}
    context = click.get_current_context(silent=True)
    # The owner's function, where an export takes a tokenizer that does the same in its place.
    typed = None if context is None else context.params.get("tokenizer")
    is_of_function = any(parse_module_name(one or "") is not None for one in (options["tokenizer"], typed))
    if is_of_function or "tokenizer" in stated_rules:
        return changes
    if not hasattr(rules, "lowercase"):
        # A tokenizer.json says how texts are split.
        return changes
    # Without a function, --rules says how texts are split, too.
    split = {} if options["tokenizer"] else {"tokenizer": rules.tokenizer}
    split |= {} if rules.tokenizer == "external" else {"lowercase": rules.lowercase}
    return {**changes, "rules": json.dumps({**split, **stated_rules, **members})}
