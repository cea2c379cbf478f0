"""Refuse a function of a file that needs more arguments than a text and a vocabulary, and name functions that split
texts. No file is run."""

from __future__ import annotations

import ast
import contextlib
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from pocketrnn.errors import InputError
from pocketrnn_export.source_code.files_near_module import find_imported_file, list_files_near
from pocketrnn_export.source_code.import_statements import list_imported_names
from pocketrnn_export.source_code.notebook import read_python_cells
from pocketrnn_export.source_code.parts_of_functions_and_classes import Function, find_methods
from pocketrnn_export.source_code.splitting_part_of_function import write_tokenizer_of_function
from pocketrnn_export.source_code.text_function_in_own_file import list_read_attributes
from pocketrnn_export.vocabularies.owner_function_call import (
    find_vocabulary_argument,
    is_vocabulary_name,
    make_function_arguments_error,
)

# The most functions that a message names.
_MOST_CALLED = 4
# `class_encoder` encodes no texts.
_OF_LABELS = re.compile(r"label|class(es)?(_|$)|target|categor", re.IGNORECASE)
# Libraries that split texts or change words as no text rules do.
_LIBRARIES = re.compile(
    "jieba|spacy|nltk|mecab|fugashi|janome|konlpy|kiwipiepy|sudachipy|thulac|pkuseg|hanlp|snownlp|stanza|pythainlp|"
    "underthesea|pyvi|sacremoses|pymorphy[23]|spellchecker|autocorrect|symspellpy|textblob|camel_tools",
    re.IGNORECASE,
)
_MAKES_OBJECT = re.compile(r"(?i)_*(build|create|load|train|fit|save|init)|\w*(make|get)\w*(tokenizer|encoder)")
# The names of first arguments that are not a text.
_NO_TEXT = re.compile(
    r"(?i)config|cfg|path|file|tokenizer|model|^args|^df|frame|state|ids$|tensor|tokens$|^words$|"
    r"(texts|sentences|reviews|documents|docs|corpus|comments|tweets|lines|data|dataset)$"
)
# The names of functions that split texts, and last of those that only clean them.
_TEXT_FUNCTIONS = (
    "tokeni[sz]e(?!d)",
    "split|words",
    "encode|numericali|vectori|to_?(id|ind|int|seq|tens)",
    "clean|prepro|normali",
)


def refuse_function_with_more_arguments(path: Path, name: str, given_arguments: Collection[str]) -> None:
    """Refuse a function of a file that needs more arguments than a text, a vocabulary and the given ones. Other objects
    pass.

    Args:
        path: the file.
        name: the function's name.
        given_arguments: the names of arguments that are given to it.

    Raises:
        InputError: it needs others.
    """
    found = [one for one in _list_statements(path) if getattr(one, "name", None) == name]
    if not found or not isinstance(function := found[-1], ast.FunctionDef) or function.decorator_list:
        return
    arguments = function.args
    plain = [*arguments.posonlyargs, *arguments.args]
    needed = [one.arg for one in plain[: len(plain) - len(arguments.defaults)] if one.arg not in given_arguments]
    # Without any that it needs, whether it can be called with one is seen when it is loaded.
    if len(needed) > 1 and find_vocabulary_argument(needed) is None:
        error = make_function_arguments_error(f"{path}:{name}", needed)
        if called := _find_called_functions(path, function):
            named = [f"{file}:{inner.name}" for file, inner in called[:_MOST_CALLED]]
            error = InputError(
                error.problem,
                f"It calls {' and '.join(named)}: name the one that gives tokens or ids of a text, or write a "
                "function of the text, def encode(text), that calls them and returns these.",
            )
        raise error


def is_name_of_answering_function(name: str) -> bool:
    """Return whether a function's name says that it answers a text, as `predict_sentiment` does."""
    return re.search("predict|infer|classif|answer|analy[sz]e", name, re.IGNORECASE) is not None


def is_name_of_cleaning_function(name: str) -> bool:
    """Return whether a function's name says that it cleans a text and does not split it, as `preprocess` does."""
    *of_splitting, of_cleaning = (re.search(one, name, re.IGNORECASE) for one in _TEXT_FUNCTIONS)
    return of_cleaning is not None and not any(of_splitting)


def list_text_functions(path: Path) -> list[str]:
    """List up to four functions whose names say that they split or clean texts, each as file.py:name. Functions that
    answer texts come first, since they clean and split them as the classifier does, or the functions that they call
    with the text as it is, as in `model(encode(text))`; then those that call a library, which no text rules replace;
    then those that split texts. The functions are in the given file and in Python files near it.

    Args:
        path: the file.
    """
    found: dict[str, int] = {}
    for file in list_files_near(path):
        with contextlib.suppress(InputError):
            for name, function in _list_functions_and_methods(file):
                is_method = "." in name
                is_answering = not is_method and is_name_of_answering_function(name)
                if is_answering and (inner := _find_function_of_same_text(file, function)):
                    found[inner] = -3 * len(_TEXT_FUNCTIONS)
                elif is_answering and write_tokenizer_of_function(file, name):
                    found[f"{file}:{name}"] = -3 * len(_TEXT_FUNCTIONS)
                elif ranks := _list_ranks(function, given=is_method):
                    ranks[0] += len(_TEXT_FUNCTIONS) * is_method
                    is_foreign = bool(find_text_library(file, name))
                    found.setdefault(f"{file}:{name}", ranks[0] - 2 * len(_TEXT_FUNCTIONS) * is_foreign)
    return sorted(found, key=found.__getitem__)[:_MOST_CALLED]


def is_of_class_with_arguments(path: Path, name: str) -> bool:
    """Return whether a name is Class.method, the class needs arguments that are no vocabulary, and the method reads
    more than a vocabulary of its object.

    Args:
        path: the file.
        name: the function or method.
    """
    held, _, method = name.rpartition(".")
    classes = [one for one in _list_statements(path) if isinstance(one, ast.ClassDef) and one.name == held and method]
    needed = [
        one.arg
        for init in (found for made in classes for found in find_methods(made, "__init__"))
        for one in init.args.args[1 : len(init.args.args) - len(init.args.defaults)]
    ]
    if all(map(is_vocabulary_name, needed)):
        return False
    read = list_read_attributes(path, held, method)
    return read is None or not all(map(is_vocabulary_name, read))


def find_text_library(path: Path, name: str, calls_left: int = 2) -> str:
    """Return the library by which a function or method of a file splits or changes words, itself or in the functions
    that it calls. Return an empty string if it calls none.

    Args:
        path: the file.
        name: the function, or Class.method.
        calls_left: how many calls of functions, one in the other, are followed.

    Example:
        >>> find_text_library(Path("api.py"), "tokenize")
        'jieba'
    """
    statements = _list_statements(path)
    function = dict(_list_functions_and_methods(path)).get(name)
    libraries: dict[str, str] = {}
    for node in ast.walk(ast.Module(statements, [])):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for imported, full_name in list_imported_names(node):
                package = full_name.split(".")[0]
                # The stop words of NLTK are data.
                if _LIBRARIES.fullmatch(package) and not full_name.startswith("nltk.corpus"):
                    libraries[imported] = package
    # Objects that a library makes, such as nlp = spacy.load("en_core_web_sm").
    for node in ast.walk(ast.Module(statements, [])):
        if isinstance(node, ast.Assign) and (found := _find_library(node.value, libraries)):
            libraries |= {ast.unparse(target): found for target in node.targets}
    calls = [] if function is None else [one.func for one in ast.walk(function) if isinstance(one, ast.Call)]
    if found := next(filter(None, (_find_library(call, libraries) for call in calls)), ""):
        return found
    called = [] if function is None or not calls_left else _find_called_functions(path, function)
    return next(filter(None, (find_text_library(file, one.name, calls_left - 1) for file, one in called)), "")


def _find_library(node: ast.AST, libraries: Mapping[str, str]) -> str:
    """Return the library of the first name or attribute, such as `self.nlp`, that code mentions and a library made, or
    of `Field(tokenize="spacy")` and `get_tokenizer("spacy")`."""
    for call in (one for one in ast.walk(node) if isinstance(one, ast.Call)):
        named = [one.value for one in call.keywords if one.arg == "tokenize"]
        named += call.args[:1] if ast.unparse(call.func).endswith("get_tokenizer") else []
        for value in (one.value for one in named if isinstance(one, ast.Constant)):
            if isinstance(value, str) and _LIBRARIES.fullmatch(value):
                return value
    parts = (ast.unparse(one) for one in ast.walk(node) if isinstance(one, ast.Name | ast.Attribute))
    return next((libraries[one] for one in parts if one in libraries), "")


def _list_functions_and_methods(path: Path) -> Iterator[tuple[str, Function]]:
    """Yield the name and the code of each function of a file, and of each method of its classes without a forward."""
    for one in _list_statements(path):
        if isinstance(one, Function):
            yield one.name, one
        elif isinstance(one, ast.ClassDef) and not find_methods(one, "forward"):
            yield from ((f"{one.name}.{method.name}", method) for method in find_methods(one))


def _list_ranks(function: Function, given: int) -> list[int]:
    """Return the positions in `_TEXT_FUNCTIONS` of the patterns that a function's name matches; an empty list if it
    cannot be called with a text alone, or with a text and a vocabulary, after the first `given` arguments."""
    needed = function.args.args[given : len(function.args.args) - len(function.args.defaults)]
    if function.decorator_list or isinstance(function, ast.AsyncFunctionDef) or not 1 <= len(needed) <= 2:
        return []
    if _NO_TEXT.search(needed[0].arg):
        return []
    if _OF_LABELS.search(function.name) or _MAKES_OBJECT.match(function.name):
        return []
    return [i for i, pattern in enumerate(_TEXT_FUNCTIONS) if re.search(pattern, function.name, re.IGNORECASE)]


def _find_function_of_same_text(path: Path, function: Function) -> str:
    """Return, as file.py:name, the function that splits or encodes a text and that an answering function calls with its
    own text as it is. Return an empty string if there is none."""
    nodes = [*ast.walk(function)]
    changed = {one.id for one in nodes if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)}
    own = {one.arg for one in function.args.args} - changed
    called = {node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
              and node.args and getattr(node.args[0], "id", "") in own}  # fmt: skip
    for file, inner in _find_called_functions(path, function):
        if inner.name in called and _list_ranks(inner, given=0) and not is_name_of_cleaning_function(inner.name):
            return f"{file}:{inner.name}"
    return ""


def _find_called_functions(path: Path, function: Function) -> list[tuple[Path, ast.FunctionDef]]:
    """Return the functions that a function calls, each with its file. Only functions that its file defines, or imports
    from another Python file of the folder, are found."""
    statements = _list_statements(path)
    places = {one.name: (path, one) for one in statements if isinstance(one, ast.FunctionDef) and one is not function}
    for node in statements:
        if not isinstance(node, ast.ImportFrom) or node.level:
            continue
        if (file := find_imported_file(path, node.module or "")) is not None:
            held = {one.name: one for one in _list_statements(file) if isinstance(one, ast.FunctionDef)}
            places |= {one.name: (file, held[one.name]) for one in node.names if one.name in held and not one.asname}
    called = [node.func.id for node in ast.walk(function) if isinstance(node, ast.Call)
              if isinstance(node.func, ast.Name)]  # fmt: skip
    return [places[name] for name in dict.fromkeys(called) if name in places]


def _list_statements(path: Path) -> list[ast.stmt]:
    return [one for cell in read_python_cells(path) for one in cell.statements]
