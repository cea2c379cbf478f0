"""A --tokenizer function that raises on ordinary texts is told as the owner's, with the next function in its place."""

import ast
from collections.abc import Callable
from typing import Any

import pytest

from pocketrnn_export.vocabularies.owner_function_call import describe_exceptions, find_how_to_call_owner_function
from pocketrnn_export.vocabularies.vocabulary import read_vocabulary

TEXTS = ["good film", "['bad']", "so so", "no", "a b c"]


def of_list(text: str) -> Any:
    return ast.literal_eval(text)


def of_known_words(text: str) -> list[int]:
    return [{"good": 1, "film": 2}[word] for word in text.split()]


def of_exit(text: str) -> list[str]:
    if text == "no":
        raise SystemExit("usage")
    return text.split()


@pytest.mark.parametrize(
    ("function", "is_external", "expected"),
    [
        (of_list, True, "4 of 5 texts of yours: SyntaxError"),
        (of_list, False, "3 of 5 texts of yours: SyntaxError"),
        (of_known_words, True, "4 of 5 texts of yours: KeyError"),
        # The vocabulary lacks these words, and the text rules give them the id of unknown words.
        (of_known_words, False, ""),
        (of_exit, True, "1 of 5 texts of yours: SystemExit"),
        (of_exit, False, ""),
        (str.split, True, ""),
    ],
)
def test_the_exceptions_on_texts_are_counted(
    function: Callable[[str], Any], expected: str, *, is_external: bool
) -> None:
    adapted = find_how_to_call_owner_function(function, read_vocabulary(["<unk>", "good", "film"]))
    said = describe_exceptions(adapted, "clean.py:cut", TEXTS, is_external=is_external)
    assert said.startswith("clean.py:cut raises" if expected else "")
    assert bool(said) == bool(expected)
    assert expected in said
