"""Read the lines of a vocabulary file as the owner's code does: stripped or not, and split at line breaks of Unicode or
not. The code is read and not run."""

from __future__ import annotations

import ast
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from pocketrnn.errors import DataError, short_repr
from pocketrnn_export.progress import AFTER_AN_ERROR
from pocketrnn_export.source_code.answering_code import list_code_parts
from pocketrnn_export.source_code.code_and_data_files_near_module import (
    is_string_the_end_of_file_name,
    list_syntax_nodes_near,
)
from pocketrnn_export.source_code.syntax_tree_parts import Function, read_last_name
from pocketrnn_export.vocabularies.vocabulary import (
    SAVE_AS_JSON,
    Vocabulary,
    describe_doubtful_lines,
    log_doubtful_lines,
    make_vocabulary_with_unknown,
)

_log = logging.getLogger(__name__)
_OPENS: Final = ("open", "GFile", "read_text")
_NAMES_VOCABULARY: Final = re.compile(
    r"(?i)vocab|dictionary|(word|token|char)s?_?(dict|list|map|table)|(word|token|char)_?(2|to)_?i"
)
_STRIPS: Final = ("strip", "rstrip", "lstrip")


def read_vocabulary_lines_as_owners_code_does(
    vocabulary: Vocabulary, file: Path, module_file: Path | None, rows: int, *, is_compared: bool
) -> Vocabulary:
    """Return a vocabulary with its words as the owner's code reads them from the lines of the file, for example
    stripped. If the code does not show how it reads a line, return the vocabulary unchanged, and log the lines whose
    words may be read in two ways.

    Args:
        vocabulary: the vocabulary whose words are the unchanged lines.
        file: the file of the vocabulary.
        module_file: the file of the module, near which the code lies; None if there is none.
        rows: the number of rows of the embedding; 0 if it is not known.
        is_compared: whether the user gave texts with their ids or answers. These would show that ids are shifted.

    Raises:
        DataError: the code reads the same word from two lines; or the code may read a line as two, which would shift
            the ids of all later words, and neither the embedding's size nor texts with ids show whether it does.
    """
    if not vocabulary.doubtful_lines:
        return vocabulary
    lines, said = vocabulary.tokens, describe_doubtful_lines(vocabulary, file)
    found = {} if module_file is None else _find_words_by_place(module_file, file, lines)
    if len({*found.values()}) == 1 and (words := next(iter(found.values()))) is not None:
        place = next(iter(found))
        if len({*words}) < len(words):
            twice = next(one for i, one in enumerate(words) if one in words[:i])
            raise DataError(
                f"{said}: the code in {place} reads the word {short_repr(twice)} from several lines, so it is not "
                "clear which of their ids the word has.",
                SAVE_AS_JSON,
            )
        if words != lines:
            _log.warning("%s: the code in %s strips or splits lines, and so does the bundle", said, place,
                         extra={AFTER_AN_ERROR: ""})  # fmt: skip
        return replace(make_vocabulary_with_unknown(words), keras=vocabulary.keras)
    may_shift = len("\n".join(lines).splitlines()) != len(lines) and rows != len(lines)
    if may_shift and not is_compared:
        raise DataError(
            f"{said}: if your code reads the file with splitlines() or codecs.open, it gives all words after such a "
            "line other ids than pocketrnn does.",
            SAVE_AS_JSON,
        )
    log_doubtful_lines(vocabulary, file)
    return vocabulary


def _find_words_by_place(module_file: Path, file: Path, lines: Sequence[str]) -> dict[str, tuple[str, ...] | None]:
    """Return the words that code near a module reads from the lines of a vocabulary file, by the place of the code. The
    code opens a file with this name; if there is no such code, a file whose name means a vocabulary. None stands for
    words that the code does not show."""
    nodes = [*list_syntax_nodes_near(module_file)]
    calls = [node for _, node in nodes if isinstance(node, ast.Call)]
    given = {read_last_name(one.func) for one in calls if _names_file([*one.args, *one.keywords], file)} - {*_OPENS}
    scopes = [(where, node.name, _list_own_nodes(node)) for where, node in nodes if isinstance(node, Function)]
    scopes += [(part.nodes[0][0], "", [node for _, node in part.nodes])
               for part in list_code_parts(module_file) if not part.name and part.nodes]  # fmt: skip
    named: dict[str, tuple[str, ...] | None] = {}
    called: dict[str, tuple[str, ...] | None] = {}
    for where, name, own in scopes:
        for call in own:
            opened = _find_opened(call)
            if opened is None:
                continue
            if name in given or _names_file([opened], file):
                named[where] = _read_words(own, lines)
            elif any(map(_NAMES_VOCABULARY.search, [name, *_list_names(opened)])):
                called[where] = _read_words(own, lines)
    return named or called


def _list_own_nodes(function: Function) -> list[ast.AST]:
    """List the syntax nodes of a function without those of functions inside it."""
    found: list[ast.AST] = []
    waiting: list[ast.AST] = [*function.body]
    while waiting:
        node = waiting.pop()
        found.append(node)
        if not isinstance(node, Function):
            waiting += ast.iter_child_nodes(node)
    return found


def _list_names(node: ast.AST) -> Iterator[str]:
    return (read_last_name(one) for one in ast.walk(node) if isinstance(one, ast.Name | ast.Attribute))


def _names_file(nodes: Sequence[ast.AST], file: Path) -> bool:
    """Return whether one of the syntax nodes is a string that ends with the name of the file."""
    held = [one.value for node in nodes for one in ast.walk(node) if isinstance(one, ast.Constant)]
    return any(is_string_the_end_of_file_name(file, one) for one in held if isinstance(one, str))


def _find_opened(call: ast.AST) -> ast.expr | None:
    """Return the expression for the file that a call opens for reading. Return None for a node that is not such a
    call."""
    if not isinstance(call, ast.Call) or read_last_name(call.func) not in _OPENS:
        return None
    modes = [one.value for one in (*call.args, *(one.value for one in call.keywords)) if isinstance(one, ast.Constant)]
    if any(isinstance(mode, str) and re.fullmatch("[waxbt+]*[waxb][waxbt+]*", mode) for mode in modes):
        return None
    is_method = read_last_name(call.func) == "read_text" or not call.args
    return call.func.value if is_method and isinstance(call.func, ast.Attribute) else next(iter(call.args), None)


def _read_words(nodes: Sequence[ast.AST], lines: Sequence[str]) -> tuple[str, ...] | None:
    """Return the words that a function makes of the lines of a file. Return None if its code does not show them,
    because it splits the whole file into words, or drops some of the lines that become empty."""
    words = [*lines]
    calls = [(one, one.func) for one in nodes if isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute)]
    if any(method.attr == "splitlines" or ast.unparse(method) == "codecs.open" for _, method in calls):
        words = "\n".join(lines).splitlines()
    firsts = [node.value for node in nodes if isinstance(node, ast.Subscript) and ast.unparse(node.slice) == "0"]
    for one, method in calls:
        is_of_file = isinstance(method.value, ast.Call) and read_last_name(method.value.func).startswith("read")
        given = [each.value if isinstance(each, ast.Constant) else None for each in one.args]
        if method.attr in _STRIPS and not is_of_file:
            if any(not isinstance(each, str) for each in given):
                return None
            words = [getattr(word, method.attr)(*given) for word in words]
        elif method.attr == "split" and not given:
            if one not in firsts:
                return None
            words = [(word.split() or [""])[0] for word in words]
    leaves_out = any(isinstance(one, ast.If | ast.IfExp) or getattr(one, "ifs", ()) for one in nodes)
    return None if leaves_out and "" in words else tuple(words)
