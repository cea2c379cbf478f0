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
    """Read text rules from the value of `--rules`, which is a JSON object or the path of a file with one.

    The object has the same members as `text` in classifier.json (docs/format.md). Missing members get the values that
    the vocabulary implies. Short forms are allowed: a step may be the name of a step of `cleaning`, a pair [what, by],
    or {"sub": [pattern, by]}; an id may be its token, such as "first_id": "<sos>".

    Args:
        json_or_file: the path of a file, or the JSON itself, which begins with a brace.
        vocabulary: the tokens, in the order of their ids.

    Raises:
        InputError: the file does not exist or is not JSON; a member of the rules is not valid; or a token in them is
            not in the vocabulary.
    """
    name, document = parse_rules_json_with_name(json_or_file)
    if isinstance(steps := document.get("steps"), list):
        document["steps"] = [made for step in steps for made in make_step_documents(_make_steps(step))]
    for member, value in document.items():
        if member.endswith("_id") and isinstance(value, str):
            if value not in vocabulary.tokens:
                raise InputError(
                    f"`{member}` in the text rules is {short_repr(value)}, which is not a token of the vocabulary.",
                    "Give the id as a number, or a token of the vocabulary.",
                )
            document[member] = vocabulary.tokens.index(value)
    schema = load_manifest_schema()
    if document.get("tokenizer") == SUBWORDS:
        raise InputError(
            f'{name} has "tokenizer": "subwords", but a subword tokenizer cannot be described by `--rules`.',
            "Give the file of the tokenizer: --tokenizer FILE.",
        )
    if fault := find_first_fault(document, {**schema["$defs"]["words"], "required": []}, schema):
        raise InputError(f"{name} does not hold valid text rules: {fault}.", _GIVE)
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
    """Return the name of the member of the rules that gives an empty text at least one id, such as `first_id`. Return
    an empty string if no member does."""
    if rules.min_width is not None:
        return "min_width"
    return "first_id" if rules.first_ids else "last_id" if rules.last_ids else ""


def list_given_rule_members(json_or_file: str | None) -> dict[str, Any]:
    """Return the members of the JSON object in `--rules`, such as {"max_width": 200}. `json_or_file` is the value of
    the option, the path of a file or the JSON itself; for None, return an empty dict."""
    return {} if json_or_file is None else parse_rules_json_with_name(json_or_file)[1]


def parse_rules_json_with_name(json_or_file: str) -> tuple[str, dict[str, Any]]:
    """Parse the value of `--rules`: the path of a file, or the JSON itself, which begins with a brace. Return the name
    of the rules for messages, and the JSON object. Its members are not checked.

    Raises:
        InputError: the file does not exist or cannot be read, or its content is not a JSON object.
    """
    name = "The JSON of the text rules" if json_or_file.lstrip().startswith("{") else json_or_file
    try:
        content = json_or_file if name != json_or_file else _read_content(Path(json_or_file))
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name} is not valid JSON: {error}.", _GIVE) from None
    except OSError as error:
        near = suggest_near_file(Path(json_or_file), (".json",)) if isinstance(error, FileNotFoundError) else ""
        raise InputError(f"{name} cannot be read: {error.strerror or error}.", near or _GIVE) from None
    if not isinstance(document, dict):
        raise InputError(f"{name} must hold a JSON object of text rules.", _GIVE)
    return name, document


def _read_content(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise InputError(f"{path} is too large: a file of text rules may have at most 16 MiB.", _GIVE)
    return content.decode("utf-8-sig")


def _make_steps(step: Any) -> tuple[CleaningStep, ...]:
    """Make the cleaning steps that one entry of the list `steps` in `--rules` stands for. The entry is a short form,
    such as "lowercase", or has the form of classifier.json."""
    match step:
        case str():
            return cleaning(step)
        case [what, by]:
            return cleaning((what, by))
        case {"sub": [pattern, by]} if len(step) == 1:
            return cleaning(("sub", pattern, by))
        case _:
            return build_steps_from_documents([step])
