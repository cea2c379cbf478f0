"""Find what a method reads of its object, and write a function or method of a file, with the code that it needs, as a
file of its own. No file is run.

Names that libraries have removed, such as `spacy.load("en")`, are replaced by their present form. A function is written
to be run here only if its code computes values: it changes nothing outside itself and reads no files, but the data of
NLTK.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, Final, NamedTuple

from pocketrnn_export.source_code.code_and_data_files_near_module import find_imported_file
from pocketrnn_export.source_code.known_side_effects import PURE_METHODS, REACH_ANY
from pocketrnn_export.source_code.notebook import read_python_statements
from pocketrnn_export.source_code.splitting_part_of_function import (
    OWNERS_NAME,
    WRITTEN_NAME,
    write_tokenizer_of_function,
)
from pocketrnn_export.source_code.statements_that_code_needs import list_file_statements_that_code_needs
from pocketrnn_export.source_code.syntax_tree_parts import (
    Function,
    Import,
    find_first_parameter_name,
    find_methods,
    list_assigned_names,
    list_changed_names,
    list_imported_modules,
    list_imported_names,
    read_last_name,
    rename_name_of_file,
)
from pocketrnn_export.vocabularies.words_as_vocabulary_object import is_vocabulary_name

# How a function of a text alone is called.
PLAIN_CALL = "{}(text)"
_MADE_NAME = "_made"
_CALLED_NAME = "_called"


class _ReadParts(NamedTuple):
    """What the methods of a class use of `self`: the methods that they call, and the attributes that they read, each
    with the number of the first line that reads it."""

    methods: Mapping[str, Function]
    attributes: Mapping[str, int]


def list_read_attributes(path: Path, class_name: str, method: str) -> dict[str, int] | None:
    """Return the attributes of `self` that a method reads, itself or through the methods that it calls, each with the
    number of the first line that reads it. Return None if the attributes cannot be known, for example because the
    method passes `self` to a function.

    Args:
        path: the file of the class.
        class_name: the class. Its base classes must be in the same file, unless the method reads nothing of `self`.

    Example:
        >>> list_read_attributes(Path("text.py"), "Processor", "encode")
        {'stoi': 12, 'max_length': 14}
    """
    statements = read_python_statements(path)
    classes = _list_class_and_its_bases(statements, class_name)
    alone = [one for one in statements if isinstance(one, ast.ClassDef) and one.name == class_name]
    found = _find_read_parts(classes or alone, [method])
    return None if found is None or (found.attributes and not classes) else dict(found.attributes)


def write_text_function(
    path: Path,
    name: str,
    method: str = "",
    arguments: str = "",
    attributes: Mapping[str, Any] = MappingProxyType({}),
    *,
    calls_init: bool = True,
    method_arguments: str = "",
    call: str = PLAIN_CALL,
) -> str | None:
    """Copy an owner's function or method to a new file, as the function `words`, with all code that it needs. Return
    the code of the new file. Return None if the function needs code that is not found, another of the owner's files, or
    PyTorch.

    Args:
        path: the owner's file.
        name: the function or the class.
        method: the method; empty for a function, and for a class whose object is itself called.
        arguments: the arguments with which the class is instantiated; for a function, its arguments beside the text.
            Both as code.
        attributes: plain values that are set as attributes of the object.
        calls_init: whether `__init__` is called. If not, the object has only `attributes`.
        method_arguments: the method's arguments beside the text, as code.
        call: how the function is called with a text, as code with {} for the function, such as {}([text])[0].

    Example:
        >>> print(write_text_function(Path("text.py"), "Processor", "cut", "", {"most": 60}, calls_init=False))
        class Processor:
        ...
        _made = Processor.__new__(Processor)
        _made.most = 60
        words = _made.cut
    """
    statements = read_python_statements(path)
    called, made = f"{name}{f'.{method}' * bool(method)}", list[ast.stmt]()
    if any(isinstance(one, ast.ClassDef) and one.name == name for one in statements):
        called = called.replace(name, _MADE_NAME, 1)
        classes = _list_class_and_its_bases(statements, name)
        given = arguments if calls_init else None
        made = _write_class_and_its_instance(classes, method or "__call__", given, attributes) if classes else []
        if not made:
            return None
        arguments = method_arguments
    if arguments:
        called = f"functools.partial({called}, {arguments})"
        made = [*ast.parse("import functools").body, *made]
    helpers = list_file_statements_that_code_needs([*made, *ast.parse(called).body], statements, path)
    if helpers is None or any(_imports_owners_file_or_torch(one, path) for one in helpers):
        return None
    written = [*helpers, *made]
    if called != WRITTEN_NAME or call != PLAIN_CALL:
        renamed = rename_name_of_file([*written, *ast.parse(called).body], WRITTEN_NAME, OWNERS_NAME)
        written, called = renamed[:-1], ast.unparse(renamed[-1])
        lines = f"{_CALLED_NAME} = {called}\ndef {WRITTEN_NAME}(text):\n    return {call.format(_CALLED_NAME)}"
        written += ast.parse(lines if call != PLAIN_CALL else f"{WRITTEN_NAME} = {called}").body
    return ast.unparse(ast.Module(written, [])) + "\n"


def _list_class_and_its_bases(statements: Sequence[ast.stmt], name: str) -> list[ast.ClassDef]:
    """Return a class and its base classes. Return an empty list if any of these is not defined in `statements`."""
    classes = {one.name: one for one in statements if isinstance(one, ast.ClassDef)}
    found: list[ast.ClassDef] = []
    waiting = [name]
    while waiting:
        if (one := classes.get(waiting.pop(0))) is None or one.keywords:
            return []
        if one not in found:
            found.append(one)
            waiting += [base for base in map(ast.unparse, one.bases) if base != "object"]
    return found


def _find_read_parts(classes: Sequence[ast.ClassDef], methods: Sequence[str]) -> _ReadParts | None:
    """Return the methods and attributes of `self` that some methods of a class use, directly or through each other.
    Return None if these cannot be known.

    Args:
        classes: the class and its base classes.
        methods: the names of the methods.
    """
    held: dict[str, Function] = {}
    for method in (one for definition in classes for one in find_methods(definition)):
        held.setdefault(method.name, method)
    found, attributes, waiting = dict[str, Function](), dict[str, int](), [*methods]
    while waiting:
        if (name := waiting.pop(0)) in found:
            continue
        if name not in held:
            return None
        function = found[name] = held[name]
        own = "" if "staticmethod" in map(ast.unparse, function.decorator_list) else find_first_parameter_name(function)
        nodes = [*ast.walk(function)]
        read = [node for node in nodes if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == own]
        names = [node.id for node in nodes if isinstance(node, ast.Name)]
        if len(read) < names.count(own) or "super" in names:
            return None
        waiting += [node.attr for node in read if node.attr in held]
        for node in read:
            if node.attr not in held and isinstance(node.ctx, ast.Load):
                attributes.setdefault(node.attr, node.lineno)
    return _ReadParts(found, attributes)


def _write_class_and_its_instance(
    classes: Sequence[ast.ClassDef], method: str, arguments: str | None, attributes: Mapping[str, Any]
) -> list[ast.stmt]:
    """Write statements that define a class with only the methods that `method` needs, and make an instance of it.
    Return an empty list if an attribute has no value, or if it cannot be known what the method reads.

    Args:
        classes: the class and its base classes.
        method: the method that will be called.
        arguments: the arguments of `__init__`, as code; None to make the instance without a call of `__init__`.
        attributes: the values of attributes of the instance.
    """
    name, calls_init = classes[0].name, arguments is not None
    calls_init = calls_init and any(find_methods(one, "__init__") for one in classes)
    parts = _find_read_parts(classes, [method, *["__init__"] * calls_init])
    plain = [one for part in classes[::-1] for one in part.body if not isinstance(one, Function | ast.Expr)]
    of_class = {name for one in plain for name in list_changed_names(one)}
    if parts is None or (arguments is None and parts.attributes.keys() - attributes.keys() - of_class):
        return []
    lines = [f"{_MADE_NAME} = {f'{name}.__new__({name})' if arguments is None else f'{name}({arguments})'}"]
    lines += [f"{_MADE_NAME}.{one} = {attributes[one]!r}" for one in parts.attributes if one in attributes]
    written: ast.stmt = ast.ClassDef(name, [], [], [*plain, *parts.methods.values()], classes[0].decorator_list)
    return [written, *ast.parse("\n".join(lines)).body]


def _imports_owners_file_or_torch(node: ast.stmt, path: Path) -> bool:
    """Return whether a statement imports PyTorch, or one of the owner's Python files near the file `path`."""
    modules = list_imported_modules(node) if isinstance(node, Import) else ()
    return any(
        one.startswith(".") or one.partition(".")[0] == "torch" or find_imported_file(path, one) is not None
        for one in modules
    )


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
    """A change of code: a syntax node, the code that replaces it, and a sentence for the user about the change."""

    node: Any
    code: str
    note: str


def replace_removed_names(code: str) -> tuple[str, list[str]]:
    """Replace names that newer releases of libraries have removed by their present names, such as the spaCy model `en`
    by `en_core_web_sm`. Return the new code, and a sentence for the user about each change.

    Example:
        >>> replace_removed_names("nlp = spacy.load('en')")
        ("nlp = spacy.load('en_core_web_sm')", ["spacy.load('en') is now spacy.load('en_core_web_sm'): ..."])
    """
    changes = [one for node in ast.walk(ast.parse(code)) for one in _list_replacements_of_removed_names(node)]
    lines = [line.encode() for line in code.splitlines(keepends=True)]
    starts = [sum(map(len, lines[:number])) for number in range(len(lines) + 1)]
    content = b"".join(lines)
    for node, by, _ in sorted(changes, key=lambda one: (one.node.lineno, one.node.col_offset), reverse=True):
        start, end = starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset
        content = content[:start] + by.encode() + content[end:]
    return content.decode(), [one.note for one in changes if one.note]


def _list_replacements_of_removed_names(node: ast.AST) -> Iterator[_Change]:
    """Yield the changes by which a syntax node works with the newer release of a library that has removed a name in
    it."""
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


# Modules whose functions only compute. The stop words of NLTK are data.
_COMPUTING_MODULES: Final = (
    "__future__", "collections", "functools", "html", "itertools", "math", "nltk.corpus", "re", "regex", "string",
    "typing", "unicodedata",
)  # fmt: skip
_OTHER_BUILTINS: Final = REACH_ANY | {"breakpoint", "exit", "getattr", "help", "input", "open", "quit"}
_METHODS_OF_STRINGS: Final = {name for kind in (str, list, set, dict, tuple) for name in dir(kind) if name[0] != "_"}
_METHODS: Final = PURE_METHODS | _METHODS_OF_STRINGS | {
    *("finditer", "findall", "from_iterable", "fullmatch", "group", "match", "search", "sub", "subn", "words"),
}  # fmt: skip


def write_computing_text_function(file: Path, name: str) -> str | None:
    """Copy an owner's function that splits texts to a new file, as the function `words`, if the function is safe to
    run. Return the code of the new file. Return None if the function is not found, or if it may do more than compute,
    such as read a file.

    Args:
        file: the owner's file.
        name: the function, or Class.method.
    """
    held, _, method = name.rpartition(".")
    written = None if held else write_tokenizer_of_function(file, name)
    code = None if written is None else written.code
    if code is None:
        read = list_read_attributes(file, held, method) if held else {}
        attributes: dict[str, Any] = {attribute: {} for attribute in read or () if is_vocabulary_name(attribute)}
        code = write_text_function(file, held or name, method if held else "", "", attributes, calls_init=False)
    return code if code is not None and _only_computes(code) else None


def _only_computes(code: str) -> bool:
    """Return whether code certainly does nothing but compute. It may import only modules that compute. It may call only
    these, its own functions, harmless builtins, and methods of strings, lists and patterns. A `while` loop is not
    allowed, since it may not end."""
    tree = ast.parse(code)
    known = {name for one in tree.body for name in list_changed_names(one)}
    imported: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, Import):
            for name, full_name in list_imported_names(node):
                if not any(f"{full_name}.".startswith(f"{one}.") for one in _COMPUTING_MODULES):
                    return False
                if _is_module_that_may_do_more_than_compute(full_name):
                    return False
                imported.add(name)
    known |= {one.arg for one in ast.walk(tree) if isinstance(one, ast.arg)} | imported
    known |= list_assigned_names(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.While) or (isinstance(node, ast.Attribute) and node.attr.startswith("_")):
            return False
        if isinstance(node, ast.Name) and node.id not in known and node.id in (*_OTHER_BUILTINS, "__builtins__"):
            return False
        if isinstance(node, ast.Name) and node.id not in known and not hasattr(builtins, node.id):
            return False
        # `typing.contextlib.os.system` reaches any code through the imports of a module.
        if isinstance(node, ast.Attribute) and isinstance(inner := node.value, ast.Attribute):
            of_module = _find_root_name(inner) in imported
            if of_module and node.attr not in _METHODS:
                return False
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in imported:
            if any(_is_module_that_may_do_more_than_compute(f"{one}.{node.attr}") for one in _COMPUTING_MODULES):
                return False
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            called = node.func
            of_module = isinstance(called.value, ast.Name) and called.value.id in imported
            if not of_module and called.attr not in _METHODS:
                return False
    return True


def _find_root_name(node: ast.AST) -> str:
    """Return the first name of a dotted expression: `a` for `a.b.c`. Return an empty string for another expression."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _is_module_that_may_do_more_than_compute(full_name: str) -> bool:
    """Return whether a dotted name, such as `typing.sys`, leads from an allowed module of the standard library to a
    module that may do more than compute."""
    module, _, name = full_name.rpartition(".")
    if full_name in _COMPUTING_MODULES or module.partition(".")[0] not in sys.stdlib_module_names:
        return False
    return isinstance(getattr(importlib.import_module(module), name, None), ModuleType)
