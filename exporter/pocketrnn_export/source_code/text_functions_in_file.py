"""Refuse a function of a file that needs more arguments than a text and a vocabulary, and name functions that split
texts. No file is run."""

from __future__ import annotations

import ast
import contextlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pocketrnn.errors import InputError
from pocketrnn_export.source_code.code_and_data_files_near_module import (
    Nearness,
    contains_training_loop,
    list_code_files_of_module,
    list_files_near,
    rank_files_near,
)
from pocketrnn_export.source_code.functions_of_file import find_imported_functions
from pocketrnn_export.source_code.functions_that_answer_or_split import (
    computes_prediction,
    is_name_of_answering_function,
)
from pocketrnn_export.source_code.notebook import read_python_statements
from pocketrnn_export.source_code.splitting_part_of_function import WRITTEN_NAME, write_tokenizer_of_function
from pocketrnn_export.source_code.syntax_tree_parts import (
    Function,
    Import,
    find_first_parameter_name,
    find_methods,
    list_imported_names,
    list_positional_parameters,
)
from pocketrnn_export.source_code.text_function_in_own_file import list_read_attributes
from pocketrnn_export.source_code.values_of_call_arguments import (
    CallArguments,
    find_attribute_values,
    find_call_arguments,
    write_call_of_text_function,
)
from pocketrnn_export.vocabularies.owner_function_call import (
    find_vocabulary_argument,
    make_function_arguments_error,
)
from pocketrnn_export.vocabularies.words_as_vocabulary_object import is_vocabulary_name

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
_TRAINS = re.compile(r"train|(^|_)fit|epoch|evaluat|valid|test", re.IGNORECASE)
# The names of first arguments that are not a text.
_NO_TEXT = re.compile(
    r"(?i)config|cfg|path|file|tokenizer|model|^args|^df|frame|state|ids$|tensor|tokens$|^words$|"
    r"(texts|sentences|reviews|documents|docs|corpus|comments|tweets|lines|data|dataset)$"
)
# The names of functions that split texts, and last of those that only clean them.
_TEXT_FUNCTIONS = (
    "tokeni[sz]e(?!d)",
    "split|words",
    "encode|numericali|vectori|(to_?|2)(id|ind|int|seq|tens)",
    "clean|prepro|normali",
)


def refuse_function_with_more_arguments(path: Path, name: str, given_arguments: Collection[str]) -> None:
    """Raise an error if a function of a file needs more arguments than a text, a vocabulary and the given ones. A name
    that is not a plain function of the file is accepted.

    Args:
        name: the function's name.
        given_arguments: the names of the arguments that the user gives.

    Raises:
        InputError: the function needs further arguments.
    """
    found = [one for one in read_python_statements(path) if getattr(one, "name", None) == name]
    if not found or not isinstance(function := found[-1], ast.FunctionDef) or function.decorator_list:
        return
    needed = [one for one in list_positional_parameters(function, required=True) if one not in given_arguments]
    # Without any that it needs, whether it can be called with one is seen when it is loaded.
    if len(needed) > 1 and find_vocabulary_argument(needed) is None:
        error = make_function_arguments_error(f"{path}:{name}", needed)
        if called := _find_called_functions(path, function):
            named = [f"{file}:{inner.name}" for file, inner in called[:_MOST_CALLED]]
            error = InputError(
                error.problem,
                f"It calls {' and '.join(named)}. If one of these takes only a text and returns its tokens or ids, "
                "name that function. Otherwise write a function def encode(text) that calls them and returns the "
                "tokens or ids.",
            )
        raise error


def only_cleans_texts(file: Path, name: str) -> bool:
    """Return whether a function cleans texts and does not split them into tokens. Its name must say so, such as
    `preprocess`, and its code must neither take a vocabulary nor look up words."""
    *of_splitting, of_cleaning = (re.search(one, name, re.IGNORECASE) for one in _TEXT_FUNCTIONS)
    if of_cleaning is None or any(of_splitting):
        return False
    function = dict(_list_functions_and_methods(file)).get(name)
    takes_vocabulary = function is not None and any(is_vocabulary_name(one.arg) for one in function.args.args)
    return not takes_vocabulary and write_tokenizer_of_function(file, name) is None


class TextFunction(NamedTuple):
    """A function of the owner's code that splits or cleans texts.

    Attributes:
        option: the value for --tokenizer: file.py:name, or file.py:name(most=50) if the function needs more than the
            text and the vocabulary.
        file: the file of the function.
        name: the name of the function, or Class.method.
        text: the name of the argument that takes the text, if the function needs other arguments; else empty.
        called: the call in the owner's code, with the values of the other arguments; None if the function needs no
            other arguments.
        code: the code of a new file with a function `words` that makes this call; empty if all values are plain.
        is_answering: whether the function predicts for a text, or splits the text for a function that does.
        is_place_in_code_of_another_module: whether its file belongs to another module.
    """

    option: str
    file: Path
    name: str
    text: str = ""
    called: CallArguments | None = None
    code: str = ""
    is_answering: bool = False
    is_place_in_code_of_another_module: bool = False


def list_functions_of_text(path: Path) -> list[str]:
    """List the functions of a file that may take only a text, or a text and a vocabulary. Return an empty list if the
    file cannot be read."""
    with contextlib.suppress(InputError):
        functions = [(name, one) for name, one in _list_functions_and_methods(path) if "." not in name]
        return [name for name, one in functions if _find_tokenizer_value([path], path, name, one) is not None]
    return []


def seems_to_return_ids(function: TextFunction) -> bool:
    """Return whether a function seems to return the ids of a text, and not its tokens: it takes a vocabulary or other
    values beside the text, or its name says so."""
    node = dict(_list_functions_and_methods(function.file)).get(function.name)
    takes_vocabulary = node is not None and any(is_vocabulary_name(one.arg) for one in node.args.args)
    is_named_so = re.search(_TEXT_FUNCTIONS[2], function.name.rpartition(".")[2], re.IGNORECASE) is not None
    return takes_vocabulary or is_named_so or function.called is not None


def list_text_functions(path: Path) -> list[TextFunction]:
    """List up to four functions of a file and of the files near it that split or clean texts, by their names. Files of
    other modules are left out, or come last.

    First come functions that split the text for a function that predicts; if there are none, the function that
    predicts. Then come functions that call a library such as spaCy, whose splitting the text rules of the bundle cannot
    replace. The other functions come last.
    """
    found: dict[str, tuple[int, TextFunction]] = {}
    near, kinds = list_code_files_of_module(path), len(_TEXT_FUNCTIONS)
    for file in near:
        with contextlib.suppress(InputError):
            for name, function in _list_functions_and_methods(file):
                is_method, is_answering = "." in name, _is_answering(function)
                if is_answering and (inner := _find_function_of_same_text(near, file, name, function)):
                    found[inner.option] = -3 * kinds, inner._replace(is_answering=True)
                elif is_answering and write_tokenizer_of_function(file, name, module_file=path):
                    found[f"{file}:{name}"] = -3 * kinds, TextFunction(f"{file}:{name}", file, name, is_answering=True)
                elif is_answering and _predicts_label_of_one_text(function):
                    made = TextFunction(f"{file}:{name}", file, name, is_answering=True)
                    found[made.option] = 2 * kinds, made
                elif (ranks := _list_matching_name_patterns(function)) and (
                    one := _find_tokenizer_value(near, file, name, function)
                ):
                    is_foreign = bool(find_text_library(file, name))
                    rank = ranks[0] + kinds * is_method - 2 * kinds * is_foreign
                    # Training code often reads texts that are split already.
                    rank += 3 * kinds * (contains_training_loop(file) and not is_foreign)
                    found.setdefault(one.option, (rank, one))
    others = {one for one, rank in rank_files_near(path).items() if rank is Nearness.OF_ANOTHER}
    ranked = [
        (rank, one._replace(is_place_in_code_of_another_module=one.file in others)) for rank, one in found.values()
    ]
    return [
        one
        for _, one in sorted(ranked, key=lambda each: (each[1].is_place_in_code_of_another_module, each[0]))[
            :_MOST_CALLED
        ]
    ]


def _predicts_label_of_one_text(function: Function) -> bool:
    """Return whether a function of one text computes a prediction and returns a label, by the names that it calls and
    returns."""
    needed = list_positional_parameters(function, required=True)
    nodes = [*ast.walk(function)]
    names = {getattr(one, "id", "") for one in nodes} | {getattr(one, "attr", "") for one in nodes}
    reads_one = len([one for one in needed if one != "self"]) == 1 and not _NO_TEXT.search(needed[-1])
    return reads_one and computes_prediction(function) and any(map(_OF_LABELS.search, names))


def complete_text_function(file: Path, name: str) -> TextFunction | None:
    """Find the value for --tokenizer that gives an owner's function, with the values that the owner's code passes for
    its further arguments.

    A function that predicts for a text is replaced by the function that it calls to split the text. Return None if it
    calls none. For a function that itself splits texts, return None if a value of an argument is not found.

    Args:
        name: the function, or Class.method.
    """
    near, function = list_files_near(file), dict(_list_functions_and_methods(file)).get(name)
    if function is None:
        return None
    is_answering = _is_answering(function)
    found = (
        _find_function_of_same_text(near, file, name, function)
        if is_answering
        else _find_tokenizer_value(near, file, name, function)
    )
    return found if found is not None and (is_answering or found.called is not None) else None


def _find_tokenizer_value(
    near: Sequence[Path], file: Path, name: str, function: Function, *, takes_list: bool = False
) -> TextFunction | None:
    """Find the value for --tokenizer that gives an owner's function. Return None if its first argument is not a text.
    Also return None if the value of a further argument is not known and the part that splits the text cannot be copied.

    Args:
        near: the files whose calls show the values of the further arguments.
        file: the file of the function.
        name: the function, or Class.method.
        function: the code of the function.
        takes_list: whether the first argument is a list of texts, whatever its name is.
    """
    needed = list_positional_parameters(function, required=True)["." in name :]
    texts = [one for one in needed if not is_vocabulary_name(one)]
    if not texts or (_NO_TEXT.search(texts[0]) and not takes_list) or _only_looks_up(function, texts[0]):
        return None
    plain = TextFunction(f"{file}:{name}", file, name, texts[0] if len(needed) > 1 else "")
    if len(needed) == 1 or find_vocabulary_argument(needed) is not None or "." in name:
        return plain if len(needed) <= 2 else None
    called = find_call_arguments(near, file, function, texts[1:], is_name_of_answering_function)
    if called is None:
        return plain if len(needed) <= 2 or write_tokenizer_of_function(file, name) else None
    if called.unknown:
        # The tokenizer, say, that it needs beside the text is made in the file.
        written = write_call_of_text_function(name, texts[0], called, WRITTEN_NAME)
        if written is not None:
            return plain._replace(called=called, code=written)
        return plain if len(needed) <= 2 or write_tokenizer_of_function(file, name) else None
    given = ", ".join(f"{one}={value!r}" for one, value in called.values.items())
    return plain._replace(option=f"{file}:{name}({given})", called=called)


def _only_looks_up(function: Function, name: str) -> bool:
    """Return whether a function uses its argument only as the key of look-ups, such as `self.ids.get(token, 1)`. It
    then takes a token or an id, and not a text.

    Args:
        name: the name of the argument.
    """
    keys: list[ast.expr] = []
    for node in ast.walk(function):
        if isinstance(node, ast.Subscript):
            keys.append(node.slice)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get":
            keys += node.args[:1]
        elif isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn):
            keys.append(node.left)
    used = [node for node in ast.walk(function) if isinstance(node, ast.Name) and node.id == name]
    return bool(used) and all(any(node is key for key in keys) for node in used)


def is_method_of_object_that_cannot_be_made(path: Path, name: str) -> bool:
    """Return whether a name is a method whose object cannot be made from a vocabulary and plain values. The class needs
    other arguments, and the values of the attributes that the method reads are not known from the owner's code.

    Args:
        name: the function, or Class.method.
    """
    held, _, method = name.rpartition(".")
    if not method or all(map(is_vocabulary_name, _list_values_that_object_needs(path, held))):
        return False
    read = list_read_attributes(path, held, method)
    others = [one for one in read or () if not is_vocabulary_name(one)]
    return read is None or len(find_attribute_values(path, held, others)) < len(others)


def needs_no_values_to_make_object(path: Path, name: str) -> bool:
    """Return whether an object of a class of the file `path` can be made without arguments. Base classes are not read.

    Args:
        name: the class.
    """
    return not _list_values_that_object_needs(path, name)


def _list_values_that_object_needs(path: Path, name: str) -> list[str]:
    """List the parameters without a default of the `__init__` of a class, without `self`."""
    classes = [one for one in read_python_statements(path) if isinstance(one, ast.ClassDef) and one.name == name]
    inits = [init for made in classes for init in find_methods(made, "__init__")]
    return [one for init in inits for one in list_positional_parameters(init, required=True)[1:]]


def find_text_library(path: Path, name: str, calls_left: int = 2) -> str:
    """Return the library with which a function splits or changes words, such as "spaCy", itself or through functions
    that it calls. Return an empty string if it uses none.

    Args:
        name: the function, or Class.method.
        calls_left: how many levels of calls of the owner's other functions are followed.

    Example:
        >>> find_text_library(Path("api.py"), "tokenize")
        'jieba'
    """
    statements = read_python_statements(path)
    function = dict(_list_functions_and_methods(path)).get(name)
    libraries: dict[str, str] = {}
    for node in ast.walk(ast.Module(statements, [])):
        if isinstance(node, Import):
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
    """Return the text library that a piece of code uses; an empty string if it uses none.

    Args:
        libraries: the library of each imported name, and of each object that a library has made, such as `self.nlp`.
    """
    for call in (one for one in ast.walk(node) if isinstance(one, ast.Call)):
        named = [one.value for one in call.keywords if one.arg == "tokenize"]
        named += call.args[:1] if ast.unparse(call.func).endswith("get_tokenizer") else []
        for value in (one.value for one in named if isinstance(one, ast.Constant)):
            if isinstance(value, str) and _LIBRARIES.fullmatch(value):
                return value
    parts = (ast.unparse(one) for one in ast.walk(node) if isinstance(one, ast.Name | ast.Attribute))
    return next((libraries[one] for one in parts if one in libraries), "")


def _is_answering(function: Function) -> bool:
    """Return whether a function predicts for a text, by its name or by the names that it calls."""
    is_named = is_name_of_answering_function(function.name)
    return is_named or (computes_prediction(function) and not _TRAINS.search(function.name))


def _list_functions_and_methods(path: Path) -> Iterator[tuple[str, Function]]:
    """Yield pairs (name, function) for the functions of a file and the methods of its classes. The methods of a class
    with a `forward` take tensors, so only those whose name says that they predict for a text are yielded."""
    for one in read_python_statements(path):
        if isinstance(one, Function):
            yield one.name, one
        elif isinstance(one, ast.ClassDef):
            is_module = bool(find_methods(one, "forward"))
            for method in find_methods(one):
                if not is_module or is_name_of_answering_function(method.name):
                    yield f"{one.name}.{method.name}", method


def _list_matching_name_patterns(function: Function) -> list[int]:
    """Return the positions in `_TEXT_FUNCTIONS` of the patterns that match a function's name; a lower position is a
    better match. Return an empty list if the function has a decorator, or if its name means labels or the making of an
    object."""
    if function.decorator_list or isinstance(function, ast.AsyncFunctionDef):
        return []
    if _OF_LABELS.search(function.name) or _MAKES_OBJECT.match(function.name):
        return []
    return [i for i, pattern in enumerate(_TEXT_FUNCTIONS) if re.search(pattern, function.name, re.IGNORECASE)]


def _find_function_of_same_text(near: Sequence[Path], path: Path, name: str, function: Function) -> TextFunction | None:
    """Find the function or method to which a function that predicts passes its text to split or encode it. The text
    must be passed unchanged, as in `model(encode(text))` and `model(self.encode(text))`, or in a list. Return None if
    there is none.

    Args:
        near: the files whose calls show the values of the found function's further arguments.
    """
    nodes = [*ast.walk(function)]
    changed = {one.id for one in nodes if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)}
    own = {one.arg for one in function.args.args} - changed
    plain = [*_list_calls_with_argument(nodes, own)]
    calls = [*plain, *_list_calls_with_argument(nodes, own, in_list=True)]
    for file, inner in _find_called_functions(path, function):
        named = [one for one in calls if getattr(one.func, "id", "") == inner.name]
        if named and _list_matching_name_patterns(inner) and not only_cleans_texts(file, inner.name):
            return _find_tokenizer_value(near, file, inner.name, inner, takes_list=named[0] not in plain)
    held = name.rpartition(".")[0]
    called = {f"{held}.{one.func.attr}" for one in calls if held and isinstance(one.func, ast.Attribute)
              and ast.unparse(one.func.value) == find_first_parameter_name(function)}  # fmt: skip
    for method, code in _list_functions_and_methods(path):
        is_splitting = method in called and _list_matching_name_patterns(code) and not only_cleans_texts(path, method)
        if is_splitting and not is_method_of_object_that_cannot_be_made(path, method):
            return _find_tokenizer_value(near, path, method, code)
    return None


def _list_calls_with_argument(
    nodes: Iterable[ast.AST], names: Collection[str], *, in_list: bool = False
) -> Iterator[ast.Call]:
    """Yield the calls among `nodes` that have one of `names` as an argument.

    Args:
        in_list: whether a list that contains only one of the names, such as `[text]`, counts, too.
    """
    for call in (one for one in nodes if isinstance(one, ast.Call)):
        lists = [one.elts for one in call.args if isinstance(one, ast.List) and len(one.elts) == 1]
        given = [elements[0] for elements in lists] if in_list else call.args
        if any(getattr(one, "id", "") in names for one in given):
            yield call


def _find_called_functions(path: Path, function: Function) -> list[tuple[Path, Function]]:
    """Return the owner's functions that a function calls, each with its file. Only functions of the same file, and of
    files near it that it imports, are found."""
    statements = read_python_statements(path)
    own = {one.name: (path, one) for one in statements if isinstance(one, Function) and one is not function}
    places = {**find_imported_functions(statements, path), **own}
    called = [node.func.id for node in ast.walk(function) if isinstance(node, ast.Call)
              if isinstance(node.func, ast.Name)]  # fmt: skip
    return [places[name] for name in dict.fromkeys(called) if name in places]
