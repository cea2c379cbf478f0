"""Write the part of a function that splits a text, such as `predict(text, model)`, as a function of its own. The fields
that the function reads from a web request become parameters. No file is run."""

from __future__ import annotations

import ast
import builtins
import contextlib
import copy
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from pocketrnn.errors import InputError
from pocketrnn_export.source_code.files_near_module import find_relatively_imported_file, list_syntax_nodes_near
from pocketrnn_export.source_code.notebook import read_python_cells, read_python_statements
from pocketrnn_export.source_code.syntax_tree_parts import (
    Function,
    Import,
    find_defaults,
    list_changed_names,
    list_needed_names,
    list_parameters,
    list_positional_parameters,
    list_read_names,
    read_last_name,
)
from pocketrnn_export.source_code.torchtext_field_split import (
    METHODS_OF_FIELD,
    find_field_split,
    replace_methods_of_field,
)
from pocketrnn_export.vocabularies.keras_split import KerasSplit, read_keras_split

WRITTEN_NAME: Final = "words"
NAME_WITH_FIELDS: Final = "words_of_fields"
_BUILTINS: Final = frozenset(dir(builtins))
_MOST_CALLS: Final = 3
_KEPT: Final = Import | Function | ast.ClassDef | ast.Assign
_CHANGING_METHODS: Final = ("append", "extend", "insert", "pop", "remove", "reverse", "sort")


@dataclass(frozen=True)
class _Split:
    """The part of a function that makes the tokens of a text: an expression, and the statements before it."""

    statements: Sequence[ast.stmt]
    tokens: ast.expr


class WrittenTokenizer(NamedTuple):
    """The code of a file with a function `words(text)`, and the lines of the owner's function that change the ids after
    that, each with its number. With several fields of a web request, the function is `words_of_fields`, and takes
    these."""

    code: str
    later_changes: Sequence[str] = ()
    fields: Sequence[str] = ()


@dataclass(frozen=True)
class ChangedText:
    """A call of a function with a text that other code changes before.

    Attributes:
        place: the file and line of the call.
        code: what it is called with, such as `clean(line)`.
        text: the name of the text in it.
    """

    place: str
    code: str
    text: str


def find_changed_text(path: Path, name: str) -> ChangedText | None:
    """Find a call that changes a text before it gives the text to a function, such as `predict(clean(line))`. If
    the function's file has several such calls, return the last; None if there is none.

    Args:
        path: the file of the function.
        name: the function.

    Example:
        >>> find_changed_text(Path("api.py"), "predict")
        ChangedText(place='api.py, line 9', code='clean(line)', text='line')
    """
    found = None
    for cell in read_python_cells(path):
        nodes = [*ast.walk(ast.Module(list(cell.statements), []))]
        assigned = {ast.unparse(one.targets[0]): one.value for one in nodes if isinstance(one, ast.Assign)}
        for call in nodes:
            if not isinstance(call, ast.Call) or getattr(call.func, "id", "") != name or not call.args:
                continue
            given = assigned.get(ast.unparse(call.args[0]), call.args[0])
            called = [one.func for one in ast.walk(given) if isinstance(one, ast.Call) and not _reads_field(one)]
            texts = list_read_names(given) - {ast.unparse(one) for one in called} - _BUILTINS
            is_changed = any(ast.unparse(one) not in (*_BUILTINS, name) for one in called)
            if is_changed and len(texts) == 1 and not any(isinstance(one, ast.Subscript) for one in ast.walk(given)):
                found = ChangedText(cell.describe_place(path, call), ast.unparse(given), texts.pop())
    return found


def _reads_field(call: ast.Call) -> bool:
    """Return whether a call reads a field of a request, as `data.get("text", "")`."""
    return read_last_name(call.func) == "get" and bool(call.args) and isinstance(call.args[0], ast.Constant)


def write_tokenizer_of_function(
    path: Path, name: str, changed_text: ChangedText | None = None, keras: KerasSplit | None = None
) -> WrittenTokenizer | None:
    """Write a function `words(text)` from the part of an owner's function that splits the text.

    That part makes the tokens whose ids the function looks up, as in `[vocab.get(word, 1) for word in text.split()]` or
    `tokenizer.texts_to_sequences([text])`. Return None if it is not found, or needs more than the text.

    Args:
        path: the file of the function.
        name: the function.
        changed_text: the change of the text before the function gets it; `words` then makes this change, too.
        keras: how the Keras Tokenizer that the function calls splits a text; by default this is read from the owner's
            code.

    Example:
        >>> print(write_tokenizer_of_function(Path("api.py"), "predict").code)
        def words(text):
            return text.lower().split()
    """
    statements = read_python_statements(path)
    if not any(isinstance(one, Function) and one.name == name for one in statements):
        return None
    if any(f".{method}(" in ast.unparse(one) for one in statements for method in METHODS_OF_FIELD):
        field = find_field_split(path)
        statements = statements if field is None else replace_methods_of_field(statements, field)
    functions = {one.name: one for one in statements if isinstance(one, Function)}
    imported = find_imported_functions(statements, path)
    functions = {**{one: function for one, (_, function) in imported.items()}, **functions}
    if keras is None and any("texts_to_sequences" in ast.unparse(one) for one in statements):
        keras = _find_keras_split(path)
    later: list[str] = []
    written_name = WRITTEN_NAME if changed_text is None else f"{WRITTEN_NAME}_of_{name}"
    function, fields = take_request_fields_as_parameters(take_each_text_as_parameter(functions[name]))
    made = _write_token_functions(function, functions, written_name, _MOST_CALLS, later, keras, fields)
    fields = [one.arg for one in made[-1].args.args] if made and isinstance(made[-1], Function) else []
    if made is not None and len(fields) > 1:
        made[-1] = ast.parse(ast.unparse(made[-1]).replace(written_name, NAME_WITH_FIELDS, 1)).body[0]
    if made is not None and changed_text is not None:
        code = f"def {WRITTEN_NAME}({changed_text.text}):\n    return {written_name}({changed_text.code})"
        made += ast.parse(code).body
    helpers = None if made is None else list_file_statements_that_code_needs(made, statements, path)
    if made is None or helpers is None:
        return None
    code = f"{ast.unparse(ast.Module([*helpers, *made], []))}\n"
    return WrittenTokenizer(code, later, fields if len(fields) > 1 else ())


def find_imported_functions(statements: Sequence[ast.stmt], path: Path) -> dict[str, tuple[Path, Function]]:
    """Return a dict from the names that a file imports to functions of the files near it, each with its file. A file
    that cannot be read has none.

    Args:
        statements: the statements of the file.
        path: the file.
    """
    found: dict[str, tuple[Path, Function]] = {}
    for node in statements:
        if not isinstance(node, ast.ImportFrom) or (file := find_relatively_imported_file(path, node)) is None:
            continue
        with contextlib.suppress(InputError):
            there = {one.name: one for one in read_python_statements(file) if isinstance(one, Function)}
            found |= {one.asname or one.name: (file, there[one.name]) for one in node.names if one.name in there}
    return found


def uses_only_basic_english_tokenizer(code: str) -> bool:
    """Return whether code does nothing but split a text by torchtext's `get_tokenizer("basic_english")`. The text rules
    have this tokenizer, and torchtext may not be installed.

    Args:
        code: the code of a file from `write_tokenizer_of_function`.
    """
    nodes = [*ast.walk(ast.parse(code))]
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    made = [call for call in calls if ast.unparse(call) == "get_tokenizer('basic_english')"]
    if len(made) != 1:
        return False
    own = {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    own |= {ast.unparse(node.targets[0]) for node in nodes if isinstance(node, ast.Assign) and node.value in made}
    others = [call for call in calls if call not in made]
    # With the tokenizer's name as the only constant, nothing else is done to the text.
    is_plain = all(ast.unparse(call.func) in own and len(call.args) == 1 and not call.keywords for call in others)
    changing = ast.Subscript | ast.BinOp | ast.IfExp | ast.stmt
    kept = ast.Import | ast.ImportFrom | ast.FunctionDef | ast.Assign | ast.Return
    changes = [node for node in nodes if isinstance(node, changing | ast.comprehension) and not isinstance(node, kept)]
    return is_plain and not changes


def _write_token_functions(
    function: Function,
    functions: dict[str, Function],
    written_name: str,
    calls_left: int,
    later: list[str],
    keras: KerasSplit | None,
    fields: Sequence[str] = (),
) -> list[ast.stmt] | None:
    """Return functions, the last of which makes the tokens of a text as `function` does. With `fields`, it makes them
    from these fields of a web request. Add the lines of the owner's code that later change the ids to `later`. Return
    None if the tokens are not found."""
    helpers: list[ast.stmt] = []
    found: _Split | None = None
    for at, statement in enumerate(body := [*_flatten_with_and_try_blocks(function.body)]):
        if (tokens := _find_looked_up_tokens(statement, keras)) is None and calls_left:
            for call in (node for node in ast.walk(statement) if isinstance(node, ast.Call)):
                called = functions.get(getattr(call.func, "id", ""))
                if called is None or called is function or not call.args:
                    continue
                inner = f"{written_name}_of_{called.name}"
                if (made := _write_token_functions(called, functions, inner, calls_left - 1, later, keras)) is not None:
                    helpers, tokens = made, ast.Call(ast.Name(inner, ast.Load()), [call.args[0]], [])
                    break
        if tokens is not None:
            found = _Split(body[:at], tokens)
            later += _list_lines_that_change_ids(body[at:], tokens)
            break
    text = None if found is None else _find_text_and_statements_that_tokens_need(function, found, fields)
    return None if text is None else [*helpers, _make_text_function(written_name, *text)]


def _find_keras_split(path: Path) -> KerasSplit | None:
    """Return how a Keras Tokenizer splits texts, as the owner's code in a file or near it makes it. Return None if the
    owner's code has its own function `texts_to_sequences`."""
    found: KerasSplit | None = KerasSplit()
    for _, node in list_syntax_nodes_near(path):
        if isinstance(node, Function) and node.name == "texts_to_sequences":
            return None
        if isinstance(node, ast.Call) and read_last_name(node.func) == "Tokenizer":
            given = {str(one.arg): one.value for one in node.keywords}
            found = read_keras_split({name: one.value for name, one in given.items() if isinstance(one, ast.Constant)})
    return found


def _list_lines_that_change_ids(statements: Sequence[ast.stmt], tokens: ast.expr) -> list[str]:
    """List the lines in which code cuts, reverses or extends the ids of a text. The first of the statements makes the
    ids from `tokens`."""
    of_tokens = {ast.unparse(one) for one in ast.walk(tokens)}
    names, found = list_changed_names(statements[0]), []
    for at, statement in enumerate(statements):
        for one in ast.walk(statement):
            of_ids = at == 0 or bool(list_read_names(one) & names)
            is_change = (
                (isinstance(one, ast.Subscript) and isinstance(one.slice, ast.Slice))
                or (isinstance(one, ast.BinOp | ast.AugAssign) and any(isinstance(n, ast.List) for n in ast.walk(one)))
                or (isinstance(one, ast.Attribute) and one.attr in _CHANGING_METHODS)
                or (isinstance(one, ast.Call) and read_last_name(one.func) == "pad_sequences")
            )
            if of_ids and is_change and ast.unparse(one) not in of_tokens:
                found.append(f"line {statement.lineno}: {ast.unparse(statement).partition(chr(10))[0]}")
                break
    return found


def take_each_text_as_parameter(function: Function) -> Function:
    """Return a function of one text for a function of several texts: its loop over a parameter is replaced by the lines
    in it. Return the function itself if it has no such loop.

    Args:
        function: a function that answers texts.

    Example:
        >>> several = ast.parse("def predict(texts):\\n    for text in texts:\\n        split(text)").body[0]
        >>> ast.unparse(take_each_text_as_parameter(several))
        'def predict(text):\\n    split(text)'
    """
    arguments = list_positional_parameters(function)
    body = [*_flatten_with_and_try_blocks(function.body)]
    for at, loop in enumerate(body):
        if not isinstance(loop, ast.For):
            continue
        texts, text = loop.iter, loop.target
        # As in enumerate(texts) and tqdm(texts).
        if isinstance(texts, ast.Call) and texts.args:
            pair = isinstance(text, ast.Tuple) and read_last_name(texts.func) == "enumerate" and len(text.elts) == 2
            texts, text = texts.args[0], text.elts[1] if pair and isinstance(text, ast.Tuple) else text
        if isinstance(texts, ast.Name) and texts.id in arguments and isinstance(text, ast.Name):
            made = copy.deepcopy(function)
            made.body = copy.deepcopy([*body[:at], *loop.body])
            for one in (*made.args.posonlyargs, *made.args.args):
                one.arg = text.id if one.arg == texts.id else one.arg
            return made
    return function


def _flatten_with_and_try_blocks(statements: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield statements. A `with`, a `try` or an `if request.method == "POST"` is replaced by the statements in its
    body."""
    for one in statements:
        is_request = isinstance(one, ast.If) and f"{REQUEST}.method" in ast.unparse(one.test)
        if isinstance(one, ast.With | ast.Try) or (isinstance(one, ast.If) and is_request):
            yield from _flatten_with_and_try_blocks(one.body)
        else:
            yield one


def _find_looked_up_tokens(statement: ast.stmt, keras: KerasSplit | None) -> ast.expr | None:
    """Return the expression of the tokens whose ids a statement looks up: TOKENS in `[vocab.get(word, 1) for word in
    TOKENS]` or `[vocab[word] for word in TOKENS]`. For `tokenizer.texts_to_sequences([TEXT])`, write an expression of
    the tokens. Return None for other code."""
    for node in ast.walk(statement):
        match node:
            case ast.Call(func=ast.Attribute(attr="texts_to_sequences"), args=[ast.List(elts=[text])]) if keras:
                return ast.parse(keras.write_tokens(f"({ast.unparse(text)})"), mode="eval").body
        if not isinstance(node, ast.ListComp | ast.GeneratorExp) or len(node.generators) != 1:
            continue
        (generator,) = node.generators
        word, parts = getattr(generator.target, "id", None), [*ast.walk(node.elt)]
        got = [part.args[0] for part in parts if isinstance(part, ast.Call) and part.args
               and getattr(part.func, "attr", "") == "get"]  # fmt: skip
        got += [part.slice for part in parts if isinstance(part, ast.Subscript)]
        asked = [part.left for part in parts if isinstance(part, ast.Compare)]
        used = [part for part in parts if isinstance(part, ast.Name) and part.id == word]
        # A word that is also looked up in lower case, say, is not looked up as it is.
        if {*got} & {*used} and {*used} <= {*got, *asked} and not generator.ifs:
            return generator.iter
    return None


def _find_text_and_statements_that_tokens_need(
    function: Function, split: _Split, fields: Sequence[str]
) -> tuple[str, list[ast.stmt], ast.expr] | None:
    """Return three things: the name of the parameter that is the text, or the names of those that are fields of a web
    request; the statements that the tokens need; and the tokens. Return None if the tokens need another parameter that
    has no default."""
    kept: list[ast.stmt] = []
    needed = list_read_names(split.tokens)
    for one in reversed(split.statements):
        if needed & list_changed_names(one):
            is_function = isinstance(one, Function)
            if not is_function and any(isinstance(part, ast.Return) for part in ast.walk(one)):
                return None
            kept.insert(0, one)
            needed |= list_needed_names(one) if is_function else list_read_names(one)
    defaults = find_defaults(function)
    arguments = list_parameters(function)
    texts = [one for one in arguments if one in needed and one not in defaults]
    if texts == ["self"] or not texts or (len(texts) > 1 and not {*texts} <= {*fields}):
        return None
    given = [f"{one} = {ast.unparse(defaults[one])}" for one in arguments if one in needed & {*defaults}]
    return ", ".join(texts), [*ast.parse("\n".join(given)).body, *kept], split.tokens


def _make_text_function(name: str, parameter: str, statements: Sequence[ast.stmt], tokens: ast.expr) -> ast.stmt:
    """Make a function of a text. A parameter of which only one attribute is read, as `request.text`, is the text."""
    # Unparsed and parsed again, since the owner's nodes must not change.
    body = ast.parse(ast.unparse(ast.Module([*statements, ast.Return(tokens)], []))).body
    made: ast.stmt = ast.parse(f"def {name}({parameter}): ...").body[0]
    made.body = body  # type: ignore[attr-defined]
    read = [node for node in ast.walk(made) if isinstance(node, ast.Name) and node.id == parameter]
    attributes = [node for node in ast.walk(made) if isinstance(node, ast.Attribute) and node.value in read]
    names = {node.attr for node in attributes}
    called = {node.func for node in ast.walk(made) if isinstance(node, ast.Call)}
    if len(attributes) == len(read) and len(names) == 1 and not called & {*attributes}:
        made = _ReplaceAttribute(parameter).visit(made)
    return ast.fix_missing_locations(made)


class _ReplaceAttribute(ast.NodeTransformer):
    """Replace `NAME.attribute` by `NAME`."""

    def __init__(self, name: str) -> None:
        self._name = name

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        return node.value if getattr(node.value, "id", "") == self._name else self.generic_visit(node)


def list_file_statements_that_code_needs(
    made: Sequence[ast.stmt], statements: Sequence[ast.stmt], path: Path
) -> list[ast.stmt] | None:
    """Return the imports, functions, classes and constants of a file that some new code needs, in order. An import from
    a file near it is replaced by the code that it imports. Return None if a name is not defined, or if its definition
    is another kind of statement.

    Args:
        made: the new code.
        statements: the statements of the file.
        path: the file.
    """
    names = [name for one in made for name in list_needed_names(one)]
    own = {name for one in made for name in list_changed_names(one)}
    found = _list_needed_statements(names, own, statements, path)
    # Two files may give a name different meanings.
    makers = [(name, ast.unparse(one)) for one in found or () for name in list_changed_names(one)]
    if found is not None and len({*makers}) > len({name for name, _ in makers}):
        found = _list_needed_statements(names, own, statements, None)
    return found


def _list_needed_statements(
    names: Sequence[str], own: Collection[str], statements: Sequence[ast.stmt], path: Path | None
) -> list[ast.stmt] | None:
    """Return the statements that define the names, and those that these need. Names in `own` are left out. If `path`,
    the path of their file, is given, an import from a file near it is replaced by the code that it imports."""
    defined, waiting = {*own}, [*names]
    kept: set[ast.stmt] = set()
    near: dict[str, ast.stmt] = {}
    while waiting:
        if (name := waiting.pop()) in defined or name in _BUILTINS:
            continue
        defined.add(name)
        makers = [one for one in statements if name in list_changed_names(one)]
        # nltk.download() and nltk.data.path are about where its data is.
        makers = [one for one in makers if name != "nltk" or isinstance(one, Import)]
        if not makers or not all(isinstance(one, _KEPT) for one in makers):
            return None
        if path is not None and (copied := _list_imported_statements(name, makers, path)) is not None:
            near |= {ast.unparse(one): one for one in copied}
            continue
        kept.update(makers)
        waiting += [other for one in makers for other in list_needed_names(one)]
    return [*near.values(), *(one for one in statements if one in kept)]


def _list_imported_statements(name: str, makers: Sequence[ast.stmt], path: Path) -> list[ast.stmt] | None:
    """Return the statements that define an imported name in the file near it from which it is imported, and those that
    they need. Return None if the name is not imported from such a file, or is not found there."""
    if len(makers) != 1 or not isinstance(node := makers[0], ast.ImportFrom):
        return None
    original = next(one.name for one in node.names if (one.asname or one.name) == name)
    if original == "*" or (file := find_relatively_imported_file(path, node)) is None or not node.module:
        return None
    found: list[ast.stmt] | None = None
    with contextlib.suppress(InputError):
        found = _list_needed_statements([original], (), read_python_statements(file), file)
    renamed = ast.parse(f"{name} = {original}").body if name != original else []
    return None if found is None else [*found, *renamed]


REQUEST: Final = "request"


def take_request_fields_as_parameters(function: Function) -> tuple[Function, list[str]]:
    """Return a copy of a function in which each field of a web request is a parameter, and the names of these
    parameters. If it reads no fields, return the function itself and an empty list.

    Args:
        function: a function that answers a web request, such as a page of Flask.

    Example:
        >>> page = ast.parse("def page(): return split(request.form['title'])").body[0]
        >>> ast.unparse(take_request_fields_as_parameters(page)[0])
        "def page(title):\\n    return split(title)"
    """
    records = {
        node.targets[0].id
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        if _reads_request(node.value) and _find_key(node.value, {REQUEST}) is None
    }
    made = copy.deepcopy(function)
    replace = _ReplaceFields({REQUEST, *records})
    for one in made.body:
        replace.visit(one)
    held = {one.arg for one in ast.walk(function.args) if isinstance(one, ast.arg)}
    fields = [*dict.fromkeys(replace.found.values())]
    if not fields or held & {*fields, REQUEST}:
        return function, []
    made.args.kwonlyargs += [ast.arg(one) for one in fields]
    made.args.kw_defaults += [None] * len(fields)
    return ast.fix_missing_locations(made), fields


class _ReplaceFields(ast.NodeTransformer):
    """Replace `request.form["title"]`, or the same of an object made of the request, by a name."""

    def __init__(self, roots: set[str]) -> None:
        self._roots, self.found = roots, dict[str, str]()

    def visit(self, node: ast.AST) -> ast.AST:
        if (key := _find_key(node, self._roots)) is None:
            return self.generic_visit(node)
        name = key if key.isidentifier() else f"field_{key}"
        self.found[key] = name
        return ast.copy_location(ast.Name(name, ast.Load()), node)


def _find_key(node: ast.AST, roots: set[str]) -> str | None:
    """Return the field that an expression reads of a web request: "title" for `request.form["title"]` and
    `request.form.get("title")`. `roots` has the names that hold the request or its data. Return None for another
    expression."""
    key: ast.AST | None = None
    root: ast.AST = node
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
        root, key = node.value, node.slice
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get" and node.args:
        root, key = node.func.value, node.args[0]
    while isinstance(root, ast.Attribute | ast.Call):
        root = root.func if isinstance(root, ast.Call) else root.value
    is_field = isinstance(key, ast.Constant) and isinstance(root, ast.Name) and root.id in roots
    name = str(key.value) if is_field and isinstance(key, ast.Constant) else ""
    return name if f"field_{name}".isidentifier() and name else None


def _reads_request(node: ast.AST) -> bool:
    return any(isinstance(one, ast.Name) and one.id == REQUEST for one in ast.walk(node))
