"""Read text rules from JSON or a JSON file: in the form of a bundle's classifier.json, or in short forms."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any, Final, cast

from pocketrnn.bundle.json_schema_check import find_first_fault
from pocketrnn.bundle.manifest import load_manifest_schema
from pocketrnn.bundle.names_from_paths import suggest_near_file
from pocketrnn.errors import InputError, short_repr
from pocketrnn.text import EXTERNAL, SUBWORDS, AnyTextRules, TextRules, cleaning, make_rules_document, rules_of
from pocketrnn.text.cleaning_steps import CleaningStep, build_steps_from_documents, make_step_documents
from pocketrnn_export.vocabularies.vocabulary import Vocabulary, make_implied_rules

_log = logging.getLogger(__name__)

_LARGEST: Final = 1 << 24
_GIVE: Final = (
    'Give a JSON file, or JSON such as {"tokenizer": "whitespace", "steps": ["lowercase", "remove_punctuation"]}; '
    "docs/text-rules.md lists what can stand in it."
)


def read_rules(json_or_file: str, vocabulary: Vocabulary) -> TextRules:
    """Read the text rules that `--rules` gives: a JSON object, or a file with one.

    The object has members of `text` in classifier.json (docs/format.md). Short forms are allowed: for a step, a name
    that `cleaning` knows, a pair [what, by], or {"sub": [pattern, by]}; for an id, its token, such as "first_id":
    "<sos>". The vocabulary implies the missing members.

    Args:
        json_or_file: the path of a file, or the JSON itself, which begins with a brace.
        vocabulary: the tokens, whose ids the rules use.

    Raises:
        InputError: the file does not exist or is not JSON, or the rules have a member that is not valid, or a token
            that is not in the vocabulary.
    """
    name, document = parse_rules_json_with_name(json_or_file)
    if isinstance(steps := document.get("steps"), list):
        document["steps"] = [made for step in steps for made in make_step_documents(_make_steps(step))]
    for member, value in document.items():
        if member.endswith("_id") and isinstance(value, str):
            if value not in vocabulary.tokens:
                raise InputError(
                    f"{member} is {short_repr(value)}, which is not in the vocabulary.",
                    "Give a token of the vocabulary.",
                )
            document[member] = vocabulary.tokens.index(value)
    schema = load_manifest_schema()
    if document.get("tokenizer") == SUBWORDS:
        raise InputError(
            f"{name} names the tokenizer subwords, which text rules alone do not describe.",
            "Give the tokenizer's own file: --tokenizer FILE.",
        )
    if fault := find_first_fault(document, {**schema["$defs"]["words"], "required": []}, schema):
        raise InputError(f"{name} does not hold text rules: {fault}.", _GIVE)
    implied = make_implied_rules(vocabulary, EXTERNAL if document.get("tokenizer") == EXTERNAL else "basic_english")
    rules = rules_of(make_rules_document(implied) | document)
    if "empty_id" in document and (member := _find_member_for_empty_text(rules)):
        _log.warning(
            "empty_id has no effect beside %s, with which an empty text has ids. Leave it out, or give your pipeline's "
            "ids of an empty text with --pairs, which compares them.", member,
        )  # fmt: skip
    # The tokenizer is not `subwords`.
    return cast("TextRules", rules)


def _find_member_for_empty_text(rules: AnyTextRules) -> str:
    """Return the member of the rules that gives ids to an empty text. Return an empty string if no member does."""
    if rules.min_width is not None:
        return "min_width"
    return "first_id" if rules.first_ids else "last_id" if rules.last_ids else ""


def list_given_rule_members(json_or_file: str | None) -> dict[str, Any]:
    """Return the members of the JSON object in --rules, such as {"max_width": 200}. Return an empty dict if the option
    is not given.

    Args:
        json_or_file: the value of --rules, the path of a file or the JSON itself; None if the option is not given.
    """
    return {} if json_or_file is None else parse_rules_json_with_name(json_or_file)[1]


def parse_rules_json_with_name(json_or_file: str) -> tuple[str, dict[str, Any]]:
    """Parse the value of `--rules`, without a check of its members. Return a name for the rules in messages, and the
    JSON object.

    Args:
        json_or_file: the path of a file, or the JSON itself, which begins with a brace.

    Raises:
        InputError: the file does not exist, or it is not a JSON object.
    """
    name = "The JSON of the text rules" if json_or_file.lstrip().startswith("{") else json_or_file
    try:
        content = json_or_file if name != json_or_file else _read_content(Path(json_or_file))
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name} is not JSON: {error}.", _GIVE) from None
    except OSError as error:
        near = suggest_near_file(Path(json_or_file), (".json",)) if isinstance(error, FileNotFoundError) else ""
        raise InputError(f"{name} cannot be read: {error.strerror or error}.", near or _GIVE) from None
    if not isinstance(document, dict):
        raise InputError(f"{name} is JSON, but not an object.", _GIVE)
    return name, document


def _read_content(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise InputError(f"{path} is larger than 16 MiB.", _GIVE)
    return content.decode("utf-8-sig")


def _make_steps(step: Any) -> tuple[CleaningStep, ...]:
    """Make the cleaning steps of one entry of the list `steps` in --rules. The entry is a short form, or the form of
    classifier.json."""
    match step:
        case str():
            return cleaning(step)
        case [what, by]:
            return cleaning((what, by))
        case {"sub": [pattern, by]} if len(step) == 1:
            return cleaning(("sub", pattern, by))
        case _:
            return build_steps_from_documents([step])
