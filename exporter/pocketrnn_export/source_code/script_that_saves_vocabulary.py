"""Write the lines of the owner's code that count a vocabulary as a script that saves it. No file is run."""

from __future__ import annotations

import ast
import builtins
import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from pocketrnn_export.source_code.files_near_module import (
    find_imported_file,
    find_relatively_imported_file,
    list_files_near,
    make_import_absolute,
)
from pocketrnn_export.source_code.notebook import read_python_statements_if_readable
from pocketrnn_export.source_code.statements_that_code_needs import slice_statements
from pocketrnn_export.source_code.syntax_tree_parts import (
    Function,
    Import,
    find_defaults,
    list_changed_names,
)
from pocketrnn_export.source_code.text_settings_in_code import WORD_TO_ID

_BUILTINS: Final = frozenset(dir(builtins)) | {"__name__", "__file__"}
_MOST_STATEMENTS: Final = 60
# The beginnings of the names of functions that make a vocabulary, and do not load it.
_MAKES: Final = re.compile(r"(?i)_?(build|make|create|get|gen|count|construct|prepare)")
# Those of functions that load one, or read a model's settings.
_LOADS: Final = re.compile(r"(?i)load(?!er)|read|open|from_|pars|dict$|^len$|^max$")
# Functions that list files in an order that differs between machines.
_LISTS_FILES: Final = re.compile(r"(listdir|glob|iterdir)\(")
_COMPLETE: Final = """\
import json, sys
sys.path[:0] = {folders!r}
{sorting}{code}
found = [getattr(one, "stoi", None) or getattr(one, "word2idx", None) or one for one in ({made},)]
{counting}words = {chosen}
file = sys.argv[0].removesuffix(".py") + ".json"
json.dump(words, open(file, "w"), default=int)
print(len(words), "words are in", file)
{comparing}"""
# A list of words and the dict made of it have as many words, but the ids of the dict may begin at 1.
_COUNTING: Final = """\
def count_ids(words):
    return max(map(int, words.values()), default=0) + 1 if isinstance(words, dict) else len(words)
"""
_COMPARING: Final = """\
if len(words) > {rows}:
    print("They are more than the {rows} rows of the embedding: use the data that the module was trained with.")
"""
_SORTING: Final = """\
# {place} lists files in the order of the file system, which may differ on another machine, and with it the order of
# the words. If the answers differ from those of your classifier, run this file with the argument sorted.
if "sorted" in sys.argv:
    import glob, os, pathlib
    for holder, name in ((os, "listdir"), (glob, "glob"), (pathlib.Path, "glob"), (pathlib.Path, "iterdir")):
        setattr(holder, name, lambda *args, list=getattr(holder, name), **more: sorted(list(*args, **more)))
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
        folders: those in which the modules that the code imports are looked for.
        unsorted: the place in the owner's code that lists files, in an order that may differ between machines; empty if
            there is none.
    """

    file: Path
    made: tuple[str, ...]
    lines: str
    code: str
    others: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    unsorted: str = ""

    def write(self, rows: int = 0) -> str:
        """Return a complete script that makes the vocabulary and saves it as JSON beside the script, under its name. If
        the code makes several, it saves the one whose size is nearest to `rows`, the number of embedding rows; without
        `rows`, the largest."""
        chosen = f"min(found, key=lambda one: abs(count_ids(one) - {rows}))" if rows else "max(found, key=len)"
        chosen = chosen if len(self.made) > 1 else "found[0]"
        sorting = _SORTING.format(place=self.unsorted) if self.unsorted else ""
        comparing = _COMPARING.format(rows=rows) if rows else ""
        counting = _COUNTING if rows and len(self.made) > 1 else ""
        return _COMPLETE.format(folders=[*self.folders], sorting=sorting, code=self.code, made=", ".join(self.made),
                                counting=counting, chosen=chosen, comparing=comparing)  # fmt: skip


def find_vocabulary_code(path: Path) -> VocabularyScript | None:
    """Find the code with which the owner makes a vocabulary, in a module's file or near it. Other vocabularies of the
    same function or file are found with it. Return None if there is no such code that can run without a caller's
    arguments.

    Args:
        path: the file of the module.
    """
    script: VocabularyScript | None = None
    others: dict[str, str] = {}
    for file in list_files_near(path):
        statements = read_python_statements_if_readable(file)
        top = [*_flatten_blocks(statements)]
        by_scope: dict[Function | None, dict[str, ast.Assign]] = {}
        for maker, made in _list_makers(file, statements, top):
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


def _list_makers(
    path: Path, statements: Sequence[ast.stmt], top: Sequence[ast.stmt]
) -> Iterator[tuple[ast.Assign, str]]:
    """Yield each assignment that makes a dict from words to ids, and the dict's name. The dict may be a literal, the
    result of an owner's function, or an attribute of an owner's object, such as `dataset.vocab`."""
    tree = ast.Module([*statements], [])
    imported = _find_imported_files(path, tree)
    own = {one.name for one in statements if isinstance(one, Function | ast.ClassDef)} | {*imported}
    makers = {one for one in own if _MAKES.match(one) and not _LOADS.search(one)}
    makers |= {one.name for one in statements if isinstance(one, Function) and _MAKES.match(one.name)}
    assigned = [one for one in ast.walk(tree) if isinstance(one, ast.Assign)]
    # Those that a function or class of the owner's gives.
    objects = {
        name
        for one in assigned
        if isinstance(one.value, ast.Call) and (called := getattr(one.value.func, "id", "")) in own
        if called in makers or called[0].isupper()
        for target in one.targets
        for name in map(ast.unparse, target.elts if isinstance(target, ast.Tuple) else [target])
    }
    for node in assigned:
        value = node.value.func if isinstance(node.value, ast.Call) else node.value
        called = getattr(value, "id", "") if isinstance(node.value, ast.Call) else ""
        # A call with all its arguments, such as process("reviews.txt").
        is_made = called in makers or (node in top and called and not _LOADS.search(called))
        if isinstance(value, ast.Attribute) and ast.unparse(value.value) in objects:
            is_made = (_MAKES if isinstance(node.value, ast.Call) else WORD_TO_ID).match(value.attr) is not None
        elif isinstance(value, ast.Attribute) and ast.unparse(value.value) in imported:
            # A function of an imported file, such as data.build_vocab(texts).
            is_made = _MAKES.match(value.attr) is not None and not _LOADS.search(value.attr)
        if is_made or isinstance(node.value, ast.Dict | ast.DictComp):
            target = node.targets[0]
            names = map(ast.unparse, target.elts if isinstance(target, ast.Tuple) else [target])
            yield from ((node, name) for name in names if WORD_TO_ID.fullmatch(name))


def _find_imported_files(path: Path, tree: ast.AST) -> dict[str, tuple[Path, Path]]:
    """Find the owner's files that a file imports, or from which it imports names.

    Return a dict from each imported name to two paths: the file, and the folder in which the import looks for it.
    """
    found: dict[str, tuple[Path, Path]] = {}
    for one in ast.walk(tree):
        if isinstance(one, ast.ImportFrom) and (file := find_relatively_imported_file(path, one)) is not None:
            above = (one.module or "").count(".")
            root = make_import_absolute(path, one)[0] if one.level else file.parents[above]
            found |= {alias.asname or alias.name: (file, root) for alias in one.names}
        for alias in one.names if isinstance(one, ast.Import) else ():
            if (file := find_imported_file(path, alias.name)) is not None:
                found[alias.asname or alias.name] = file, file.parents[alias.name.count(".")]
    return found


def _find_unsorted_files(files: Sequence[Path]) -> str:
    """Return the first place in some files whose code lists the files of a folder and does not sort them. Return an
    empty string if there is none."""
    for file in files:
        for number, line in enumerate(file.read_text(errors="replace").splitlines(), 1):
            if _LISTS_FILES.search(line) and "sorted(" not in line and not line.lstrip().startswith("#"):
                return f"{file}, line {number},"
    return ""


def _find_needed_code(
    path: Path, top: Sequence[ast.stmt], function: Function | None, makers: Mapping[str, ast.Assign]
) -> VocabularyScript | None:
    """Find the statements of a file that make some vocabularies or later change them. Return None if they need a name
    that the file does not define, or are too many.

    Args:
        path: the file.
        top: the file's top-level statements.
        function: the function that makes the vocabularies; None if the top level does.
        makers: a dict from the vocabularies' names to the statements that make them.
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
    usual = [one for one in scope if one is not function and not any(isinstance(n, ast.Return) for n in _walk_now(one))]
    kept, needed = slice_statements(makers, usual, in_order=True)
    known = {name for one in kept for name in list_changed_names(one)} | _BUILTINS
    unknown_imports = [one for one in scope if "*" in list_changed_names(one)] if needed - known else []
    kept = [*unknown_imports, *kept]
    if not {*makers.values()} <= {*kept} or (needed - known and not unknown_imports) or len(kept) > _MOST_STATEMENTS:
        return None
    lines = [f"{one.lineno} to {one.end_lineno}" if one.end_lineno != one.lineno else str(one.lineno)
             for one in kept if not isinstance(one, Import)]  # fmt: skip
    imported = [*_find_imported_files(path, ast.Module(kept, [])).values()]
    folders = dict.fromkeys([str(path.parent), *(str(root) for _, root in imported)])
    unsorted = _find_unsorted_files([path, *(file for file, _ in imported)])
    code = ast.unparse(_AbsoluteImports(path).visit(copy.deepcopy(ast.Module(kept, []))))
    return VocabularyScript(path, (*makers,), ", ".join(lines), code, folders=(*folders,), unsorted=unsorted)


class _AbsoluteImports(ast.NodeTransformer):
    """Replaces the relative imports of a file, which is in a package, by those of a script, which is in none."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.ImportFrom:
        return make_import_absolute(self._path, node)[1] if node.level else node


def _flatten_blocks(statements: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield statements. A `try` or a check of `__name__` is replaced by the statements in its body."""
    for one in statements:
        if isinstance(one, ast.Try) or (isinstance(one, ast.If) and "__name__" in ast.unparse(one.test)):
            yield from _flatten_blocks(one.body)
        else:
            yield one


def _walk_now(node: ast.stmt) -> Iterator[ast.AST]:
    """Yield the syntax nodes of a statement; none for a function or class, whose body runs later."""
    return iter(()) if isinstance(node, Function | ast.ClassDef) else ast.walk(node)
