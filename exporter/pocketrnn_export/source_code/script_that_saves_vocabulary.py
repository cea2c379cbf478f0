"""Write the lines of the owner's code that count a vocabulary as a script that saves it. No file is run."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from pocketrnn_export.source_code.changed_and_needed_names import list_changed_names, list_needed_names
from pocketrnn_export.source_code.files_near_module import list_files_near
from pocketrnn_export.source_code.import_statements import Import
from pocketrnn_export.source_code.notebook import read_python_cells_if_readable
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
found = [getattr(one, "stoi", None) or getattr(one, "word2idx", None) or one for one in ({made},)]
words = {chosen}
json.dump(words, open({vocabulary!r}, "w"), default=int)
print(len(words), "words are in", {vocabulary!r})
"""


@dataclass(frozen=True)
class VocabularyScript:
    """The code that makes a vocabulary, or several.

    Attributes:
        file: the file.
        made: the expressions for the vocabularies.
        lines: the lines of the file that they need, as `3 to 9, 14`.
        code: these lines.
        others: the vocabularies that other code near the module makes, each with its file and line.
    """

    file: Path
    made: tuple[str, ...]
    lines: str
    code: str
    others: tuple[str, ...] = ()

    def write(self, vocabulary: str, rows: int = 0) -> str:
        """Return a complete script that makes the vocabulary, and saves it as JSON in the file `vocabulary`. If there
        are several, it saves the one whose size is nearest to `rows`, those of the embedding; the largest without
        them."""
        chosen = f"min(found, key=lambda one: abs(len(one) - {rows}))" if rows else "max(found, key=len)"
        return _COMPLETE.format(folder=str(self.file.parent), code=self.code, made=", ".join(self.made),
                                chosen=chosen if len(self.made) > 1 else "found[0]", vocabulary=vocabulary)  # fmt: skip


def find_vocabulary_code(path: Path) -> VocabularyScript | None:
    """Find the code that makes a vocabulary in a module's file or near it, with the other vocabularies that the same
    function, or the top level of the same file, makes. Return None if there is none, or if all of it needs the argument
    of a function, or a name that is not known.

    Args:
        path: the file of the module.
    """
    script: VocabularyScript | None = None
    others: dict[str, str] = {}
    for file in list_files_near(path):
        statements = [one for cell in read_python_cells_if_readable(file) for one in cell.statements]
        top = [*_flatten_blocks(statements)]
        by_scope: dict[Function | None, dict[str, ast.Assign]] = {}
        for maker, made in _list_makers(statements, top):
            function = next((one for one in top if isinstance(one, Function) and maker in ast.walk(one)), None)
            if _find_needed_code(file, top, function, {made: maker}) is not None:
                by_scope.setdefault(function, {}).setdefault(made, maker)
        for function, makers in by_scope.items():
            if script is None:
                script = _find_needed_code(file, top, function, makers)
            else:
                others |= {name: f"{name} ({file}, line {one.lineno})" for name, one in makers.items()
                           if name not in script.made and name not in others}  # fmt: skip
    return None if script is None else replace(script, others=tuple(others.values()))


def _list_makers(statements: Sequence[ast.stmt], top: Sequence[ast.stmt]) -> Iterator[tuple[ast.Assign, str]]:
    """Yield each assignment that makes a dict from words to ids, with the name of the dict."""
    makers = {one.name for one in statements if isinstance(one, Function) and _MAKES.match(one.name)}
    for node in ast.walk(ast.Module([*statements], [])):
        if not isinstance(node, ast.Assign):
            continue
        called = getattr(node.value.func, "id", "") if isinstance(node.value, ast.Call) else ""
        # A call with all its arguments, such as process("reviews.txt").
        is_made = called in makers or (node in top and called and not _LOADS.search(called))
        if is_made or isinstance(node.value, ast.Dict | ast.DictComp):
            target = node.targets[0]
            names = map(ast.unparse, target.elts if isinstance(target, ast.Tuple) else [target])
            yield from ((node, name) for name in names if WORD_TO_ID.fullmatch(name))


def _find_needed_code(
    path: Path, top: Sequence[ast.stmt], function: Function | None, makers: Mapping[str, ast.Assign]
) -> VocabularyScript | None:
    """Find the statements of a file that vocabularies need, up to the last one that changes one of them. Return None if
    they need more than the file has.

    Args:
        path: the file.
        top: its statements.
        function: the one of these in which the vocabularies are made; None at the top level.
        makers: the names of the vocabularies, and the statements that make them.
    """
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
    needed = {*makers}
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
    if not {*makers.values()} <= {*kept} or (needed - known and not unknown_imports) or len(kept) > _MOST_STATEMENTS:
        return None
    lines = [f"{one.lineno} to {one.end_lineno}" if one.end_lineno != one.lineno else str(one.lineno)
             for one in kept if not isinstance(one, Import)]  # fmt: skip
    return VocabularyScript(path, (*makers,), ", ".join(lines), ast.unparse(ast.Module(kept, [])))


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
