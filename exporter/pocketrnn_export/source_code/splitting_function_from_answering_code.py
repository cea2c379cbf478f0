"""Write the lines of an answering function that read its text as the beginning of a function that splits texts. No file
is run."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from pocketrnn_export.source_code.functions_of_file import find_functions, read_statements_with_methods_as_functions
from pocketrnn_export.source_code.functions_that_answer_or_split import computes_prediction, needs_torch
from pocketrnn_export.source_code.splitting_part_of_function import WRITTEN_NAME
from pocketrnn_export.source_code.statements_that_code_needs import list_file_statements_that_code_needs
from pocketrnn_export.source_code.syntax_tree_parts import Function, list_changed_names, list_needed_names
from pocketrnn_export.source_code.text_made_a_parameter import (
    find_text_parameter,
    take_each_text_as_parameter,
    take_request_fields_as_parameters,
)

_MOST_LINES: Final = 3
_LONGEST_LINE: Final = 80


class TokenizerSkeleton(NamedTuple):
    """The beginning of a function `words(text)`, which the user has to complete.

    Attributes:
        code: the code of a file with the function. A call of it raises an error until the user completes it.
        lines: the last lines that were copied from the owner's function, each with its number.
        missing: the names that these lines use and that are not defined.
    """

    code: str
    lines: Sequence[str]
    missing: Sequence[str]


def write_skeleton_of_tokenizer_function(path: Path, name: str) -> TokenizerSkeleton:
    """Write the beginning of a function `words(text)` that the user has to complete. It consists of the lines of an
    owner's function that depend on the text, up to the first line that computes a prediction.

    Args:
        name: the function, or Class.method.
    """
    statements, name = read_statements_with_methods_as_functions(path, name)
    function = find_functions(statements, path)[name]
    function, fields = take_request_fields_as_parameters(take_each_text_as_parameter(function))
    texts = fields or [find_text_parameter(function)]
    kept = _list_statements_on_text(function, {*texts})
    lines = [line for one in kept for line in ast.unparse(one).splitlines()]
    body = [f"def {WRITTEN_NAME}({texts[0]}):", *(f"    {line}" for line in lines)]
    body += ["    raise NotImplementedError('Return the list of the tokens here, in place of this line.')"]
    helpers, missing = _list_known_statements(ast.parse("\n".join(body)).body[0], statements, path)
    missing += texts[1:]
    head = f"# Complete `{WRITTEN_NAME}`: it takes a text, and returns its tokens, as your classifier reads them.\n"
    head += f"# These names are not known here: {', '.join(missing)}.\n" if missing else ""
    code = f"{head}{ast.unparse(ast.Module(helpers, []))}\n\n" + "\n".join(body) + "\n"
    told = [f"line {one.lineno}: {_shorten(ast.unparse(one))}" for one in kept[-_MOST_LINES:]]
    return TokenizerSkeleton(code, told, missing)


def _list_statements_on_text(function: Function, names: set[str]) -> list[ast.stmt]:
    """List the statements of a function that set a variable from its text, up to the first that predicts."""
    found: list[ast.stmt] = []
    waiting = [*function.body]
    while waiting:
        one = waiting.pop(0)
        if isinstance(one, ast.With | ast.Try):
            waiting[:0] = one.body
        elif names & list_needed_names(one):
            if computes_prediction(one) or needs_torch(one):
                break
            if any(isinstance(node, ast.Return) for node in ast.walk(one)) or not list_changed_names(one):
                continue
            found.append(one)
            names = names | list_changed_names(one)
    return found


def _list_known_statements(
    made: ast.stmt, statements: Sequence[ast.stmt], path: Path
) -> tuple[list[ast.stmt], list[str]]:
    """Return the statements of a file that a new statement needs, and the needed names that the file does not define.

    Args:
        made: the new statement.
    """
    whole = list_file_statements_that_code_needs([made], statements, path)
    if whole is not None:
        return whole, []
    found: dict[str, ast.stmt] = {}
    missing: list[str] = []
    for name in sorted(list_needed_names(made)):
        of_name = list_file_statements_that_code_needs(ast.parse(name).body, statements, path)
        missing += [name] if of_name is None else []
        found |= {ast.unparse(one): one for one in of_name or ()}
    return [*found.values()], missing


def _shorten(code: str) -> str:
    line = code.partition("\n")[0]
    return line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}..."
