"""Write the lines of the owner's code that count a vocabulary as a script that saves it. No file is run."""

from __future__ import annotations

import ast
import builtins
import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pocketrnn.errors import InputError
from pocketrnn_export.source_code.changed_and_needed_names import list_changed_names, list_needed_names
from pocketrnn_export.source_code.files_near_module import list_files_near
from pocketrnn_export.source_code.import_statements import Import
from pocketrnn_export.source_code.notebook import read_python_cells
from pocketrnn_export.source_code.parts_of_functions_and_classes import Function, find_defaults
from pocketrnn_export.source_code.text_settings_in_code import WORD_TO_ID

_BUILTINS: Final = frozenset(dir(builtins)) | {"__name__", "__file__"}
_MOST_STATEMENTS: Final = 60
# The beginnings of the names of functions that make a vocabulary, and do not load it.
_MAKES: Final = re.compile(r"(?i)_?(build|make|create|get|gen|count|construct|prepare)")
# Those of functions that load one, or read a model's settings.
_LOADS: Final = re.compile(r"(?i)load|read|open|from_|pars|dict$|^len$|^max$")
_COMPLETE: Final = """\
import json, sys
sys.path.insert(0, {folder!r})
{code}
words = {made}
words = getattr(words, "stoi", None) or getattr(words, "word2idx", None) or words
json.dump(words, open({vocabulary!r}, "w"))
print(len(words), "words are in", {vocabulary!r})
"""


@dataclass(frozen=True)
class VocabularyScript:
    """The code that makes a vocabulary.

    Attributes:
        file: the file.
        made: the expression for the vocabulary.
        lines: the lines of the file that it needs, as `3 to 9, 14`.
        code: these lines.
    """

    file: Path
    made: str
    lines: str
    code: str

    def write(self, vocabulary: str) -> str:
        """Return a complete script that makes the vocabulary, and saves it as JSON in the file `vocabulary`."""
        return _COMPLETE.format(folder=str(self.file.parent), code=self.code, made=self.made, vocabulary=vocabulary)


def find_vocabulary_code(path: Path) -> VocabularyScript | None:
    """Find the code that makes a vocabulary in a module's file or near it. Return None if there is none, or if all of
    it needs the argument of a function, or a name that is not known.

    Args:
        path: the file of the module.
    """
    for file in list_files_near(path):
        statements: list[ast.stmt] = []
        with contextlib.suppress(InputError):
            statements = [one for cell in read_python_cells(file) for one in cell.statements]
        makers = {one.name for one in statements if isinstance(one, Function) and _MAKES.match(one.name)}
        at_top = {*_flatten_blocks(statements)}
        for node in ast.walk(ast.Module(statements, [])):
            made = _find_made_vocabulary(node) if isinstance(node, ast.Assign) else ""
            if isinstance(node, ast.Assign) and made:
                called = getattr(node.value.func, "id", "") if isinstance(node.value, ast.Call) else ""
                # A call with all its arguments, such as process("reviews.txt").
                is_made = called in makers or (node in at_top and called and not _LOADS.search(called))
                is_made = is_made or isinstance(node.value, ast.Dict | ast.DictComp)
                if is_made and (found := _find_needed_code(file, statements, node, made)) is not None:
                    return found
    return None


def _find_made_vocabulary(node: ast.Assign) -> str:
    """Return the target of an assignment, or one of several, whose name is that of a dict from words to ids; else an
    empty string."""
    target = node.targets[0]
    names = map(ast.unparse, target.elts if isinstance(target, ast.Tuple) else [target])
    return next((name for name in names if WORD_TO_ID.fullmatch(name)), "")


def _find_needed_code(
    path: Path, statements: Sequence[ast.stmt], maker: ast.Assign, made: str
) -> VocabularyScript | None:
    """Find the statements of a file that a vocabulary needs, up to the last one that changes it. Return None if they
    need more than the file has.

    Args:
        path: the file.
        statements: its statements.
        maker: the statement among them, or in a function, that makes the vocabulary.
        made: the name of the vocabulary.
    """
    top = [*_flatten_blocks(statements)]
    function = next((one for one in top if isinstance(one, Function) and maker in ast.walk(one)), None)
    scope = top
    if function is not None:
        body = [*_flatten_blocks(function.body)]
        defaults = [
            ast.parse(f"{name} = {ast.unparse(value)}").body[0] for name, value in find_defaults(function).items()
        ]
        scope = [
            *(one for one in top if isinstance(one, Import | Function | ast.ClassDef | ast.Assign)),
            *defaults,
            *body,
        ]
    kept: list[ast.stmt] = []
    needed = {made}
    for one in reversed(scope):
        changed = list_changed_names(one)
        if (
            needed & changed
            and one is not function
            and not any(isinstance(part, ast.Return) for part in _walk_now(one))
        ):
            kept.insert(0, one)
            needed |= list_needed_names(one)
    known = {name for one in kept for name in list_changed_names(one)} | _BUILTINS
    unknown_imports = [one for one in scope if "*" in list_changed_names(one)] if needed - known else []
    kept = [*unknown_imports, *kept]
    if maker not in kept or (needed - known and not unknown_imports) or len(kept) > _MOST_STATEMENTS:
        return None
    lines = [f"{one.lineno} to {one.end_lineno}" if one.end_lineno != one.lineno else str(one.lineno)
             for one in kept if not isinstance(one, Import)]  # fmt: skip
    return VocabularyScript(path, made, ", ".join(lines), ast.unparse(ast.Module(kept, [])))


def _flatten_blocks(statements: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield statements, and in place of a `try` or the check of `__name__` those in it."""
    for one in statements:
        if isinstance(one, ast.Try) or (isinstance(one, ast.If) and "__name__" in ast.unparse(one.test)):
            yield from _flatten_blocks(one.body)
        else:
            yield one


def _walk_now(node: ast.stmt) -> Iterator[ast.AST]:
    """Yield the parts of a statement that run where it stands."""
    return iter(()) if isinstance(node, Function | ast.ClassDef) else ast.walk(node)
