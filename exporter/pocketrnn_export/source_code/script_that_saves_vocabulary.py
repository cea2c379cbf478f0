"""Write the lines of the owner's code that count a vocabulary, or load it from a file, as a script that saves it. No
file is run."""

from __future__ import annotations

import ast
import builtins
import copy
import inspect
import itertools
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from pocketrnn_export.source_code import keras_tokenizer, torchtext_functions
from pocketrnn_export.source_code.code_and_data_files_near_module import (
    Nearness,
    find_file_loaded_by_from_import,
    find_imported_file,
    is_string_the_end_of_file_name,
    keep_nearest,
    list_code_files_of_module,
    list_data_files_named_in_code,
    list_imported_files,
    list_notebooks_near,
    list_search_folders,
    make_import_absolute,
    rank_files_near,
)
from pocketrnn_export.source_code.data_paths_of_another_machine import (
    LONGEST_FILE_NAME,
    DataPaths,
    replace_paths_of_another_machine,
)
from pocketrnn_export.source_code.notebook import read_python_statements_if_readable
from pocketrnn_export.source_code.statements_that_code_needs import slice_statements
from pocketrnn_export.source_code.syntax_tree_parts import (
    Function,
    Import,
    find_defaults,
    find_first_parameter_name,
    find_methods,
    list_changed_names,
    list_needed_names,
    list_parameters,
    list_positional_parameters,
    read_last_name,
)
from pocketrnn_export.source_code.text_settings_in_code import WORD_TO_ID

_BUILTINS: Final = frozenset(dir(builtins)) | {"__name__", "__file__"}
_MOST_STATEMENTS: Final = 60
# The beginnings of the names of functions that make a vocabulary, and do not load it.
_MAKES: Final = re.compile(r"(?i)_?(build|make|create|get|gen|count|construct|prepare)")
# Those of functions that load one, or read a model's settings.
_LOADS: Final = re.compile(r"(?i)load(?!er)|read|open|from_|pars|dict$|^len$|^max$")
# Functions that load one from a file, and the files.
_LOADERS: Final = re.compile(r"(?i)_?(load|read|get|open|parse)_?\w*(vocab|words?_?(to|2)_?|word_?dict)\w*")
_FILES_OF_WORDS: Final = re.compile(r"(?i)vocab|(?<!stop)(?<!stop[_-])words?($|_?(to|2)_?|[_-]?(list|dict|ids?|index))")
_SUFFIXES_OF_WORDS: Final = "txt|tsv|csv|vocab|dict|words|lst|dat"
# The methods that find the place of a letter in a string, or of a word in a list.
_PLACES: Final = ("find", "index")
# The names of variables that may hold the words of a file, or their ids.
_HOLDS_WORDS: Final = re.compile(r"(?i)(\w+\.)?(\w*(words?|tokens?|itos|dictionary|lookup|index)|idx_?(2|to)_?\w+)")
# Words that code adds to those of texts.
_SPECIAL: Final = re.compile(
    r"(?i)([<\[{#_|$@%*]+/?(pad|unk|oov|bos|eos|sos|cls|sep|mask|start|end|s)(ding|nown)?(_?token)?[>\]}#_|$@%*]+)"
    r"|(?-i:PAD|UNK|OOV|BOS|EOS|SOS)"
)
# Functions that list files in an order that differs between machines.
_LISTS_FILES: Final = re.compile(r"(listdir|glob|iterdir)\(")
# Functions of torchtext, and what shows that code is written for its releases up to 0.8, whose vocabularies begin with
# two special words.
_TORCHTEXT: Final = re.compile(r"\btorchtext\.(vocab|data)\b|\bfrom torchtext import .*\b(vocab|data)\b")
_FIELDS_OF_OLD_TORCHTEXT: Final = re.compile(r"\b(num_lines|BucketIterator|Field)\b")
_VOCAB: Final = re.compile(r"\btorchtext\.vocab\b|\bfrom torchtext import .*\bvocab\b")
_OLD_VOCAB: Final = re.compile(r"\bVocab\(|\.(?:stoi|itos|freqs)\b")
_NEW_VOCAB: Final = re.compile(r"\b(specials|special_first|set_default_index|max_tokens|get_[si]to[si])\b")
# The modules of Keras's Tokenizer.
_KERAS: Final = re.compile(r"\b([\w.]*keras[\w.]*)\.text\b|\bfrom ([\w.]*keras[\w.]*) import .*\btext\b")
_COMPLETE: Final = """\
{functions}import json, os, sys
written_file = os.path.abspath(__file__).removesuffix(".py") + ".json"
os.chdir(os.path.join(os.path.dirname(written_file), {place!r}))
sys.path[:0] = map(os.path.abspath, {folders!r})
{missing}{sorting}{code}
def list_words(one):
    names = ("get_stoi", "stoi", "word2idx", "get_itos", "itos", "word_index")
    found = next(filter(None, (getattr(one, name, None) for name in names)), one)
    found = found() if callable(found) and found is not one else found
    return list(found) if isinstance(found, str) else found
made = [{made}]
found = [*map(list_words, made)]
{counting}words = {chosen}
maker = made[found.index(words)]
default = getattr(maker, "get_default_index", lambda: None)()
saved = words if default is None else {{"default_index": default, "tokens": sorted(words, key=words.get)}}
saved = json.loads(maker.to_json()) if hasattr(maker, "word_index") else saved
json.dump(saved, open(written_file, "w"), default=int)
size = min(len(words), getattr(maker, "num_words", None) or len(words))
print(size, "words are in", written_file)
{comparing}"""
# A list of words and the dict made of it have as many words, but the ids of the dict may begin at 1.
_COUNTING: Final = """\
def count_ids(words):
    return max(map(int, words.values()), default=0) + 1 if isinstance(words, dict) else len(words)
"""
_COMPARING: Final = """\
if size > {rows}:
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
    """The owner's code that makes one or several vocabularies, from which a script that saves one of them is written.

    Attributes:
        file: the owner's file.
        made: an expression for each vocabulary, such as `dataset.vocab`.
        lines: the numbers of the needed lines of the file, such as `3 to 9, 14`.
        code: these lines.
        others: the vocabularies that other code near the module makes, each with its file and line.
        folders: the folders that the script adds to `sys.path`, so that the imports of the code work.
        place: the folder in which the script has to run, since the code names its data files relative to that folder.
        missing: import lines for names that one of the imported files uses, but does not import.
        needs_torchtext: whether the code needs functions that torchtext has only since release 0.9.
        unsorted: the place of code that lists files without sorting them, so that the order may differ between
            machines; empty if there is none.
        data: the paths of data files in the owner's code that do not exist here.
        strings: the strings in the code and in the files that it imports, without those of calls that write a file.
        shifts_ids: whether the code, or a file that it imports, counts ids from a higher number than 0.
    """

    file: Path
    made: tuple[str, ...]
    lines: str
    code: str
    others: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    place: Path = Path()
    missing: str = ""
    needs_torchtext: bool = False
    unsorted: str = ""
    data: DataPaths = field(default_factory=DataPaths)
    strings: frozenset[str] = frozenset()
    shifts_ids: bool = False

    def changes_ids(self, tokens: Collection[str]) -> bool:
        """Return whether the code seems to give other ids than those of `tokens`: it names words for padding or unknown
        words that are not among them, or it does not count ids from 0."""
        return self.shifts_ids or any(_SPECIAL.fullmatch(one) and one not in tokens for one in self.strings)

    def names_file(self, file: Path) -> bool:
        """Return whether a string in the code is the path of a file, or the end of its name."""
        return any(is_string_the_end_of_file_name(file, one) for one in self.strings)

    def write(self, rows: int = 0, folder: Path = Path()) -> str:
        """Write a complete script that makes the vocabulary and saves it as JSON beside the script, under the script's
        name.

        Args:
            rows: the number of rows of the embedding. If the code makes several vocabularies, the one with the nearest
                size is saved; with 0, the largest.
            folder: the folder of the script. The script changes to the folder of its data when it runs.
        """
        chosen = f"min(found, key=lambda one: abs(count_ids(one) - {rows}))" if rows else "max(found, key=len)"
        chosen = chosen if len(self.made) > 1 else "found[0]"
        sorting = _SORTING.format(place=self.unsorted) if self.unsorted else ""
        comparing = _COMPARING.format(rows=rows) if rows else ""
        counting = _COUNTING if rows and len(self.made) > 1 else ""
        functions = f"{inspect.getsource(torchtext_functions)}\nprovide_torchtext()\n" if self.needs_torchtext else ""
        if keras := _list_keras_modules(self.code):
            provide = keras_tokenizer.provide_keras_tokenizer_for_import.__name__
            functions += f"{inspect.getsource(keras_tokenizer)}\n{provide}({', '.join(map(repr, keras))})\n"
        folders = [os.path.relpath(one, self.place) for one in self.folders]
        return _COMPLETE.format(functions=functions, place=os.path.relpath(self.place, folder), folders=folders,
                                missing=self.missing, sorting=sorting, code=self.code, made=", ".join(self.made),
                                counting=counting, chosen=chosen, comparing=comparing)  # fmt: skip


def find_code_that_makes_vocabulary(path: Path) -> VocabularyScript | None:
    """Find the owner's code that makes a vocabulary, in the module's file or a file near it. Return None if no code is
    found, or if the code needs arguments that only its caller has. If the found code makes several vocabularies, all
    are returned."""
    script: VocabularyScript | None = None
    others: dict[str, str] = {}
    for file in list_code_files_of_module(path):
        statements = read_python_statements_if_readable(file)
        top = [*_flatten_blocks(statements)]
        by_scope: dict[Function | None, dict[str, ast.Assign]] = {}
        for maker, made in _list_assignments_of_vocabularies(file, statements, top):
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


def find_words_that_code_adds(path: Path, words: Collection[str]) -> list[str]:
    """List the special words, such as "<pad>", that the module's file and the files that imports connect with it name,
    and that are not among `words`.

    Args:
        path: the file of the module.
        words: the words of a vocabulary file.
    """
    own = [one for one, rank in rank_files_near(path).items() if rank is Nearness.OWN]
    nodes = [node for file in own for one in read_python_statements_if_readable(file) for node in ast.walk(one)]
    strings = [one.value for one in nodes if isinstance(one, ast.Constant) and isinstance(one.value, str)]
    return [one for one in dict.fromkeys(strings) if _SPECIAL.fullmatch(one) and one not in words]


def find_vocabulary_loader(path: Path, data: Path | None = None) -> tuple[VocabularyScript, Path] | None:
    """Find the owner's code that loads the vocabulary from a file, in the module's file or a file near it. Return the
    code, and the file. Return None if there is no such code, or if several files are possible.

    The code is the assignment of a vocabulary that reads the file, or else a call of a function that loads one.

    Args:
        path: the file of the module.
        data: the file of the words; None for the only text file of words that the code names.
    """
    if data is None:
        named = list_data_files_named_in_code(path, _SUFFIXES_OF_WORDS)
        named = {one: where for one, where in named.items() if _FILES_OF_WORDS.search(one.stem)}
        files = [*keep_nearest(path, named, within=Nearness.ELSEWHERE)]
        if len(files) != 1:
            return None
        (data,) = files
    code = {one: read_python_statements_if_readable(one) for one in list_code_files_of_module(path)}
    naming = {one.resolve() for one in code if _names_file(one, data)}
    # A search of all code would take seconds.
    users = [
        one for one in code if naming and not naming.isdisjoint(map(Path.resolve, [one, *list_imported_files(one)]))
    ]
    for names, file in itertools.product((WORD_TO_ID, _HOLDS_WORDS), users):
        if (script := _find_loading_assignments(file, code[file], data, names)) is not None:
            return script, data
    for file, statements in code.items():
        if (script := _find_loading_function(file, statements, data)) is not None:
            return script, data
    return None


def _names_file(code: Path, data: Path) -> bool:
    """Return whether a string in a file of code is the path of the file `data`, or the end of its name."""
    nodes = ast.walk(ast.Module([*read_python_statements_if_readable(code)], []))
    strings = (one.value for one in nodes if isinstance(one, ast.Constant) and isinstance(one.value, str))
    return any(is_string_the_end_of_file_name(data, one) for one in strings)


def _find_loading_assignments(
    file: Path, statements: Sequence[ast.stmt], data: Path, names: re.Pattern[str]
) -> VocabularyScript | None:
    """Return the code of the assignments of vocabularies in the first scope of a file that reads `data`. A scope is the
    top level, a function or a method. Return None if there is none.

    Args:
        names: the names of vocabularies.
    """
    top = [*_flatten_blocks(statements)]
    functions = [one for one in top if isinstance(one, Function)]
    for function in (None, *functions, *_convert_methods_to_functions(top)):
        makers: dict[str, ast.stmt] = {}
        for one in _flatten_blocks(top if function is None else function.body):
            for name in filter(names.fullmatch, () if isinstance(one, Function | ast.ClassDef | Import) else
                               sorted(list_changed_names(one))):  # fmt: skip
                script = _find_needed_code(file, top, function, {name: one})
                if script is not None and script.names_file(data):
                    makers.setdefault(name, one)
        if makers:
            return _find_needed_code(file, top, function, makers)
    return None


def _convert_methods_to_functions(statements: Sequence[ast.stmt]) -> Iterator[Function]:
    """Yield each method of the classes in `statements` as a function without `self`: a variable takes the place of each
    attribute that is not a method."""
    for one in statements:
        methods = find_methods(one) if isinstance(one, ast.ClassDef) else []
        for method in methods:
            function = _VariablesForAttributes(find_first_parameter_name(method), {each.name for each in methods})
            yield function.visit(copy.deepcopy(method))


class _VariablesForAttributes(ast.NodeTransformer):
    """Replace `self.words` by `words`, and leave the parameter `self` out.

    Args:
        own: the name of the object, such as `self`.
        methods: the names of the object's methods, which are not replaced.
    """

    def __init__(self, own: str, methods: Collection[str]) -> None:
        self._own, self._methods = own, methods

    def visit_arguments(self, node: ast.arguments) -> ast.arguments:
        node.args = [one for one in node.args if one.arg != self._own]
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if getattr(node.value, "id", "") == self._own and node.attr not in self._methods:
            return ast.copy_location(ast.Name(node.attr, node.ctx), node)
        return self.generic_visit(node)


def _find_loading_function(file: Path, statements: Sequence[ast.stmt], data: Path) -> VocabularyScript | None:
    """Return the code that calls the first function of a file that loads a vocabulary from a file: with `data` as its
    only required argument, or without an argument if it names `data`. Return None if there is none."""
    top = [*_flatten_blocks(statements)]
    for one in top:
        if not isinstance(one, ast.FunctionDef) or not _LOADERS.fullmatch(one.name):
            continue
        given = list_positional_parameters(one, required=True)
        gives_one = not any(isinstance(part, ast.Return) and isinstance(part.value, ast.Tuple)
                            for part in ast.walk(one))  # fmt: skip
        opens = any(getattr(part, "id", "") == "open" or getattr(part, "attr", "") in ("open", "read_text")
                    for part in ast.walk(one))  # fmt: skip
        if len(given) > 1 or not opens or not gives_one:
            continue
        (call,) = ast.parse(f"vocabulary = {one.name}({repr(data.as_posix()) * len(given)})").body
        script = _find_needed_code(file, [*top, ast.copy_location(call, one)], None, {"vocabulary": call})
        if script is not None and script.names_file(data):
            return replace(script, lines=f"{one.lineno} to {one.end_lineno}")
    return None


def _list_assignments_of_vocabularies(
    path: Path, statements: Sequence[ast.stmt], top: Sequence[ast.stmt]
) -> Iterator[tuple[ast.Assign, str]]:
    """Yield each assignment that makes a vocabulary, a dict from words to ids, and the code that refers to it, such as
    `dataset.vocab`. The value may be a literal, the result of an owner's function, or an owner's object with such an
    attribute. A Keras Tokenizer that the code fits on texts counts as a vocabulary, and so does a string of letters in
    which code finds the place of each letter.

    Args:
        statements: the statements to search.
        top: the top-level statements of the file.
    """
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
    fitted = {ast.unparse(one.value) for one in ast.walk(tree)
              if isinstance(one, ast.Attribute) and one.attr == "fit_on_texts"}  # fmt: skip
    searched = {ast.unparse(one.func.value) for one in ast.walk(tree)
                if isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute) and one.func.attr in _PLACES
                and one.args and not isinstance(one.args[0], ast.Constant)}  # fmt: skip
    for node in assigned:
        name = ast.unparse(node.targets[0])
        if name in searched and _are_only_strings(node.value):
            yield node, name
        if name in fitted and isinstance(node.value, ast.Call) and read_last_name(node.value.func) == "Tokenizer":
            yield node, name
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


def _are_only_strings(node: ast.expr) -> bool:
    """Return whether an expression consists of strings alone, such as `string.ascii_letters + " .,;'"` or a list of
    words."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _are_only_strings(node.left) and _are_only_strings(node.right)
    if isinstance(node, ast.List | ast.Tuple):
        return bool(node.elts) and all(map(_are_only_strings, node.elts))
    if isinstance(node, ast.Call):
        return getattr(node.func, "id", "") in ("list", "sorted") and all(map(_are_only_strings, node.args))
    is_named = isinstance(node, ast.Attribute) and ast.unparse(node.value) == "string"
    return is_named or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _find_imported_files(path: Path, tree: ast.AST) -> dict[str, tuple[Path, Path]]:
    """Find the owner's files that some code imports, or from which it imports names. Return a dict from each imported
    name to two paths: the file, and the folder in which the import looks for the file.

    Args:
        path: the file that contains the code.
        tree: the code.
    """
    found: dict[str, tuple[Path, Path]] = {}
    for one in ast.walk(tree):
        if isinstance(one, ast.ImportFrom) and (file := find_file_loaded_by_from_import(path, one)) is not None:
            above = (one.module or "").count(".")
            root = make_import_absolute(path, one)[0] if one.level else file.parents[above]
            found |= {alias.asname or alias.name: (file, root) for alias in one.names}
        for alias in one.names if isinstance(one, ast.Import) else ():
            if (file := find_imported_file(path, alias.name)) is not None:
                found[alias.asname or alias.name] = file, file.parents[alias.name.count(".")]
    return found


def _find_unsorted_file_listing(path: Path, kept: Sequence[ast.stmt], imported: Sequence[Path]) -> str:
    """Return the place of the first code that lists a folder without sorting the result: one of the statements `kept`
    of the file `path`, or code of the `imported` files. Return an empty string if there is none."""
    lines = {number for one in kept for number in range(one.lineno, (one.end_lineno or one.lineno) + 1)}
    for file in [path, *imported]:
        for number, line in enumerate(file.read_text(errors="replace").splitlines(), 1):
            if file == path and number not in lines:
                continue
            if _LISTS_FILES.search(line) and "sorted(" not in line and not line.lstrip().startswith("#"):
                return f"{file}, line {number},"
    return ""


def _find_needed_code(
    path: Path, top: Sequence[ast.stmt], function: Function | None, makers: Mapping[str, ast.stmt]
) -> VocabularyScript | None:
    """Find the statements of a file that make some vocabularies or later change them. Return None if they need a name
    that the file does not define or a value that a caller gives, or are too many.

    Args:
        top: the top-level statements of the file.
        function: the function that makes the vocabularies; None if the top level does.
        makers: the statement that makes each vocabulary, by the vocabulary's name.
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
    given = [] if function is None else [one for one in list_parameters(function) if one not in find_defaults(function)]
    if any(_reads_before_binding(one, kept) for one in given):
        return None
    imported = [*_find_imported_files(path, ast.Module(kept, [])).values()]
    folders = dict.fromkeys([str(path.parent), *(str(root) for _, root in imported)])
    unsorted = _find_unsorted_file_listing(path, kept, [file for file, _ in imported])
    folders_of_code = [*list_search_folders(path), *(one.parent for one in list_notebooks_near(path))]
    own = {file: [*read_python_statements_if_readable(file)] for file in _list_all_imported_files(imported)}
    code = [*kept, *(one for part in own.values() for one in part)]
    nodes = [*_walk_without_writing(ast.Module(code, []))]
    read = {one.attr for one in nodes if isinstance(one, ast.Attribute)}
    kept = [one for one in kept if not _is_unread_argument(one, read)]
    lines = [f"{one.lineno} to {one.end_lineno}" if one.end_lineno != one.lineno else str(one.lineno)
             for one in kept if not isinstance(one, Import)]  # fmt: skip
    place = _find_folder_of_data(folders_of_code, code)
    tree = _OfFileInFolder(path, place).visit(copy.deepcopy(ast.Module(kept, [])))
    data = replace_paths_of_another_machine(tree, folders_of_code, place)
    return VocabularyScript(
        path, (*makers,), ", ".join(lines), ast.unparse(tree), folders=(*folders,), unsorted=unsorted, place=place,
        missing=_write_missing_imports(own, top), data=data, shifts_ids=any(map(_counts_from_higher_number, nodes)),
        strings=frozenset(one.value for one in nodes if isinstance(one, ast.Constant) and isinstance(one.value, str)),
        needs_torchtext=_needs_functions_of_new_torchtext([kept, *own.values()]),
    )  # fmt: skip


def _is_unread_argument(node: ast.stmt, read: Collection[str]) -> bool:
    """Return whether a statement adds an argument to a command line that no code reads.

    Args:
        read: the names of the attributes that the code reads.
    """
    call = node.value if isinstance(node, ast.Expr) else None
    if not isinstance(call, ast.Call) or read_last_name(call.func) != "add_argument":
        return False
    given = [*call.args, *(one.value for one in call.keywords if one.arg == "dest")]
    names = {str(one.value).lstrip("-").replace("-", "_") for one in given if isinstance(one, ast.Constant)}
    return not names & {*read}


def _walk_without_writing(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the syntax nodes of code without those of calls that write a file."""
    waiting = [node]
    while waiting:
        one = waiting.pop()
        given = [getattr(part, "value", None) for part in (*one.args, *(each.value for each in one.keywords))
                 ] if isinstance(one, ast.Call) else []  # fmt: skip
        if any(isinstance(part, str) and re.fullmatch("[wax][bt+]*", part) for part in given):
            continue
        yield one
        waiting += ast.iter_child_nodes(one)


def _counts_from_higher_number(node: ast.AST) -> bool:
    """Return whether code counts words from another number than 0: `enumerate(words, 2)`, or `i + 2` as a value of a
    dict."""
    if isinstance(node, ast.DictComp):
        return isinstance(node.value, ast.BinOp) and isinstance(node.value.op, ast.Add)
    is_count = isinstance(node, ast.Call) and read_last_name(node.func) == "enumerate"
    given = [*node.args[1:], *(one.value for one in node.keywords)] if is_count else []  # type: ignore[attr-defined]
    return any(ast.unparse(one) != "0" for one in given)


def _reads_before_binding(name: str, statements: Iterable[ast.stmt]) -> bool:
    """Return whether statements that run in this order read a name before one of them defines it."""
    for one in statements:
        if name in list_needed_names(one) and not isinstance(one, Function | ast.ClassDef):
            return True
        if name in list_changed_names(one):
            return False
    return False


def _list_all_imported_files(imported: Iterable[tuple[Path, Path]]) -> list[Path]:
    """List some imported files and, recursively, the owner's files that they import.

    Args:
        imported: the imported files, each with the folder in which it was found.
    """
    waiting, seen = [file for file, _ in imported], dict[Path, None]()
    while waiting:
        if (file := waiting.pop()) not in seen:
            seen[file] = None
            waiting += list_imported_files(file)
    return [*seen]


def _find_folder_of_data(folders: Sequence[Path], statements: Sequence[ast.stmt]) -> Path:
    """Return the folder among `folders` in which most of the paths exist that are strings in the code."""
    strings = {one.value for one in ast.walk(ast.Module([*statements], []))
               if isinstance(one, ast.Constant) and isinstance(one.value, str)}  # fmt: skip
    names = [one for one in strings if one.strip("./\\") and one.isprintable() and len(one) < LONGEST_FILE_NAME]
    return max(folders, key=lambda folder: sum((folder / one).exists() for one in names))


def _write_missing_imports(own: Mapping[Path, Sequence[ast.stmt]], top: Sequence[ast.stmt]) -> str:
    """Write lines that import names which an imported file uses but does not import. Such a file works only if another
    file makes these names global. A name is found if another of the owner's files imports it.

    Args:
        own: the statements of each imported file.
        top: the top-level statements of the file that imports them.
    """
    imports = [one for part in (top, *own.values()) for one in part if isinstance(one, Import)]
    lines: dict[str, None] = {}
    for file, statements in own.items():
        known = {name for one in statements for name in list_changed_names(one)} | _BUILTINS
        now = {name for one in statements for name in list_needed_names(one) if not isinstance(one, Function)}
        for name in sorted(now - known) if "*" not in known else ():
            maker = next(
                (one for one in imports if name in list_changed_names(one) and not getattr(one, "level", 0)), None
            )
            if maker is not None:
                said = f"# {file.name} uses {name}, and does not import it."
                lines[f"{ast.unparse(maker)}\nimport builtins\nbuiltins.{name} = {name}  {said}\n"] = None
    return "".join(lines)


def _needs_functions_of_new_torchtext(parts: Iterable[Sequence[ast.stmt]]) -> bool:
    """Return whether code needs functions of torchtext that release 0.6 lacks or has in another form. Release 0.6 is
    the one that loads beside every release of PyTorch.

    Args:
        parts: the statements of each file.
    """
    code = "\n".join(ast.unparse(ast.Module([*one], [])) for one in parts)
    has_old_vocab = _VOCAB.search(code) and _OLD_VOCAB.search(code)
    is_old = (_FIELDS_OF_OLD_TORCHTEXT.search(code) or has_old_vocab) and not _NEW_VOCAB.search(code)
    return _TORCHTEXT.search(code) is not None and not is_old


def _list_keras_modules(code: str) -> list[str]:
    """List the modules from which code imports the Tokenizer of Keras, such as
    `tensorflow.keras.preprocessing.text`."""
    found = (re.sub(r"^tf\b", "tensorflow", one[1] or one[2]) for one in _KERAS.finditer(code))
    return [f"{one}.text" for one in dict.fromkeys(found)]


class _OfFileInFolder(ast.NodeTransformer):
    """Replace what a script in another folder reads otherwise: the relative imports of a file in a package, by absolute
    ones, and `__file__`.

    Args:
        path: the file.
        place: the folder in which the script runs.
    """

    def __init__(self, path: Path, place: Path) -> None:
        self._path, self._place = path, place

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id != "__file__":
            return node
        return ast.parse(f"os.path.abspath({os.path.relpath(self._path, self._place)!r})", mode="eval").body

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.ImportFrom:
        return make_import_absolute(self._path, node)[1] if node.level else node


def _flatten_blocks(statements: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield statements. In place of a `try` or an `if __name__ == ...`, yield the statements in its body. A `try` whose
    `except` reads the same data in another way is kept."""
    for one in statements:
        if isinstance(one, ast.Try) and _reads_in_two_ways(one):
            yield one
        elif isinstance(one, ast.Try) or (isinstance(one, ast.If) and "__name__" in ast.unparse(one.test)):
            yield from _flatten_blocks(one.body)
        else:
            yield one


def _reads_in_two_ways(node: ast.Try) -> bool:
    """Return whether an `except` assigns a variable that the body of its `try` assigns, too, and no such variable has
    the name of a vocabulary."""
    body, handlers = (
        {name for one in part for name in list_changed_names(one)}
        for part in (node.body, [one for handler in node.handlers for one in handler.body])
    )
    return bool(body & handlers) and not any(map(WORD_TO_ID.fullmatch, body & handlers))


def _walk_now(node: ast.stmt) -> Iterator[ast.AST]:
    """Yield the syntax nodes of a statement that run with it: all nodes of a simple statement, none of a function or
    class."""
    return iter(()) if isinstance(node, Function | ast.ClassDef) else ast.walk(node)
