"""Replace what libraries have removed in code that is written for the user, such as `spacy.load("en")`, by its present
form. No file is run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from pocketrnn_export.source_code.parts_of_functions_and_classes import read_last_name

# The shortcuts of spaCy 2, which spaCy 3 has not: https://spacy.io/usage/v3#migrating-models
_SPACY_MODELS: Final = {
    "en": "en_core_web_sm",
    "xx": "xx_ent_wiki_sm",
    **{one: f"{one}_core_news_sm" for one in ("de", "el", "es", "fr", "it", "lt", "nb", "nl", "pt")},
}
# NLTK 3.8.2 reads no pickles any more; these have the same data.
_NLTK_DATA: Final = {"punkt": "punkt_tab", "averaged_perceptron_tagger": "averaged_perceptron_tagger_eng"}
# The first arguments that have another name, by the function.
_RENAMED: Final = {"load": _SPACY_MODELS, "download": _NLTK_DATA}
# Modules that have another name. The old name of each is gone with the release in the note.
_MODULES: Final = {
    "spacy.en": ("spacy.lang.en", "spaCy 2"),
    "keras.preprocessing.text": ("tensorflow.keras.preprocessing.text", "Keras 3"),
    "keras_preprocessing": ("tensorflow.keras.preprocessing", "Keras 2.13"),
}
_FIELDS: Final = ("torchtext.data", "torchtext.legacy", "torchtext.legacy.data")


class _Change(NamedTuple):
    """A piece of code, what replaces it, and a sentence on it."""

    node: Any
    code: str
    note: str


def replace_removed_names(code: str) -> tuple[str, list[str]]:
    """Replace names that newer releases of libraries have removed, such as the spaCy model `en`, by their present
    names. Return the new code, and a sentence on each change for the user.

    Args:
        code: the code of a file.

    Example:
        >>> replace_removed_names("nlp = spacy.load('en')")
        ("nlp = spacy.load('en_core_web_sm')", ["spacy.load('en') is now spacy.load('en_core_web_sm'): ..."])
    """
    changes = [one for node in ast.walk(ast.parse(code)) for one in _list_changes(node)]
    lines = [line.encode() for line in code.splitlines(keepends=True)]
    starts = [sum(map(len, lines[:number])) for number in range(len(lines) + 1)]
    content = b"".join(lines)
    for node, by, _ in sorted(changes, key=lambda one: (one.node.lineno, one.node.col_offset), reverse=True):
        start, end = starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset
        content = content[:start] + by.encode() + content[end:]
    return content.decode(), [one.note for one in changes if one.note]


def _list_changes(node: ast.AST) -> Iterator[_Change]:
    """Yield the changes that a syntax node needs because a newer release of its library has removed a name."""
    match node:
        case ast.ImportFrom(module=str() as module, level=0):
            known = next((one for one in _MODULES if f"{module}.".startswith(f"{one}.")), "")
            if known:
                now, release = _MODULES[known]
                written = ast.ImportFrom(module.replace(known, now, 1), node.names, 0)
                yield _Change(node, ast.unparse(written), f"{module} is now {written.module}, since {release}.")
            elif module in _FIELDS and {one.name for one in node.names} & {"Field", "data"}:
                said = "torchtext has no Field since 0.12: write what its tokenize did in its place."
                yield _Change(node, ast.unparse(node), said)
        case ast.Call(args=[ast.Constant(value=str() as name), *_]) if read_last_name(node.func) in _RENAMED:
            called, method = ast.unparse(node.func), read_last_name(node.func)
            if (now := _RENAMED[method].get(name, "")) and called != "nltk.data.load":
                install = f": python -m spacy download {now}" * (method == "load")
                yield _Change(node.args[0], repr(now), f"{called}({name!r}) is now {called}({now!r}){install}.")
            if called == "nltk.data.load" and name.startswith("tokenizers/punkt/"):
                now = f"nltk.tokenize.PunktTokenizer({name.rpartition('/')[2].removesuffix('.pickle')!r})"
                yield _Change(node, now, f"nltk.data.load({name!r}) is now {now}: python -m nltk.downloader punkt_tab.")
