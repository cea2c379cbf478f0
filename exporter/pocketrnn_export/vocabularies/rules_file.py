"""Text rules from a JSON file, or from JSON itself: as `text` in a bundle's classifier.json, with short words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, cast

from pocketrnn.bundle.folder import near_file
from pocketrnn.bundle.json_schema import first_fault
from pocketrnn.bundle.manifest import json_schema
from pocketrnn.errors import InputError, shown
from pocketrnn.text import EXTERNAL, SUBWORDS, TextRules, rules_document, rules_of
from pocketrnn.text.cleaning_steps import step_documents, steps_of
from pocketrnn_export.vocabularies.vocabulary import Vocabulary, text_rules

__all__ = ["read_rules"]

_LARGEST: Final = 1 << 24
_GIVE: Final = (
    'Give a file of JSON, or JSON such as {"tokenizer": "whitespace", "steps": ["lowercase", "remove_punctuation"]}; '
    "docs/text-rules.md lists what can stand in it."
)


def read_rules(given: str, vocabulary: Vocabulary) -> TextRules:
    """Text rules as a user writes them.

    They are an object with members of `text` in classifier.json (docs/format.md). These may be short: a step, as a name
    that `text_steps.cleaning` knows, or as a pair [what, by]; an id, as its token, such as "first_id": "<sos>". A
    member that is missing is what the vocabulary implies.

    Args:
        given: the path of a file, or the JSON itself, which begins with a brace.
        vocabulary: the tokens, whose ids the rules use.

    Raises:
        InputError: there is no such file, it is not JSON, holds something that is not a rule, or a token that the
            vocabulary does not hold.

    Example:
        >>> read_rules('{"last_id": "<eos>", "steps": ["letters"]}', Vocabulary(("<unk>", "<eos>"), 0)).last_id
        1
    """
    name = "The JSON of the text rules" if given.lstrip().startswith("{") else given
    document = _document(given, name)
    if isinstance(steps := document.get("steps"), list):
        document["steps"] = step_documents(steps_of(_in_long(step) for step in steps))
    for member, value in document.items():
        if member.endswith("_id") and isinstance(value, str):
            if value not in vocabulary.tokens:
                raise InputError(f"{member} is {shown(value)}, which is not in the vocabulary.", "Give a token of it.")
            document[member] = vocabulary.tokens.index(value)
    schema = json_schema()
    if document.get("tokenizer") == SUBWORDS:
        raise InputError(f"{name} names the tokenizer subwords.", "Give the tokenizer's own file: --tokenizer FILE.")
    if fault := first_fault(document, {**schema["$defs"]["words"], "required": []}, schema):
        raise InputError(f"{name} does not hold text rules: {fault}.", _GIVE)
    implied = text_rules(vocabulary, EXTERNAL if document.get("tokenizer") == EXTERNAL else "basic_english")
    rules = rules_of(rules_document(implied) | document)
    # It names another tokenizer.
    return cast("TextRules", rules)


def _document(given: str, name: str) -> dict[str, Any]:
    try:
        content = given if name != given else _content(Path(given))
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name} is not JSON: {error}.", _GIVE) from None
    except OSError as error:
        near = near_file(Path(given), (".json",)) if isinstance(error, FileNotFoundError) else ""
        raise InputError(f"{name} cannot be read: {error.strerror or error}.", near or _GIVE) from None
    if not isinstance(document, dict):
        raise InputError(f"{name} holds no JSON object.", _GIVE)
    return document


def _content(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise InputError(f"{path} is larger than 16 MiB.", _GIVE)
    return content.decode("utf-8-sig")


def _in_long(step: Any) -> Any:
    return {"replace": step[0], "by": step[1]} if isinstance(step, list) and len(step) == 2 else step
