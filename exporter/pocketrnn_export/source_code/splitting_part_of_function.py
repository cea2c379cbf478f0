"""Write the part of a function that splits a text, such as `predict(text, model)`, as a function of its own. No file
is run."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from pocketrnn_export.source_code.changed_and_needed_names import list_changed_names, list_needed_names
from pocketrnn_export.source_code.import_statements import Import
from pocketrnn_export.source_code.notebook import read_python_cells
from pocketrnn_export.source_code.parts_of_functions_and_classes import Function, find_defaults
from pocketrnn_export.source_code.request_fields_as_parameters import REQUEST, take_request_fields_as_parameters

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
    """Find the last call of a function, in its file, whose first argument is the result of another call on a text.

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
            called = [one.func for one in ast.walk(given) if isinstance(one, ast.Call)]
            texts = _list_read_names(given) - {ast.unparse(one) for one in called} - _BUILTINS
            is_changed = any(ast.unparse(one) not in (*_BUILTINS, name) for one in called)
            if is_changed and len(texts) == 1 and not any(isinstance(one, ast.Subscript) for one in ast.walk(given)):
                place = f"{path}, {f'{cell.name}, ' if cell.name else ''}line {call.lineno}"
                found = ChangedText(place, ast.unparse(given), texts.pop())
    return found


def write_tokenizer_of_function(
    path: Path, name: str, changed_text: ChangedText | None = None
) -> WrittenTokenizer | None:
    """Return the code of a file with a function `words(text)`. It makes the tokens whose ids the function looks up, as
    in `[vocab.get(word, 1) for word in text.split()]`. Return None if that part is not found, or needs more than the
    text.

    Args:
        path: the file of the function.
        name: the function.
        changed_text: what changes a text before the function gets it; `words` then does both.

    Example:
        >>> print(write_tokenizer_of_function(Path("api.py"), "predict").code)
        def words(text):
            return text.lower().split()
    """
    statements = [one for cell in read_python_cells(path) for one in cell.statements]
    functions = {one.name: one for one in statements if isinstance(one, Function)}
    if name not in functions:
        return None
    later: list[str] = []
    written_name = WRITTEN_NAME if changed_text is None else f"{WRITTEN_NAME}_of_{name}"
    function, fields = take_request_fields_as_parameters(functions[name])
    made = _write_token_functions(function, functions, written_name, _MOST_CALLS, later, fields)
    fields = [one.arg for one in made[-1].args.args] if made and isinstance(made[-1], Function) else []
    if made is not None and len(fields) > 1:
        made[-1] = ast.parse(ast.unparse(made[-1]).replace(written_name, NAME_WITH_FIELDS, 1)).body[0]
    if made is not None and changed_text is not None:
        code = f"def {WRITTEN_NAME}({changed_text.text}):\n    return {written_name}({changed_text.code})"
        made += ast.parse(code).body
    helpers = None if made is None else list_file_statements_that_code_needs(made, statements)
    if made is None or helpers is None:
        return None
    code = f"{ast.unparse(ast.Module([*helpers, *made], []))}\n"
    return WrittenTokenizer(code, later, fields if len(fields) > 1 else ())


def uses_only_basic_english_tokenizer(code: str) -> bool:
    """Return whether written code does nothing but call `get_tokenizer("basic_english")`, whose package may be missing.

    Args:
        code: that of `write_tokenizer_of_function`.
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
    fields: Sequence[str] = (),
) -> list[ast.stmt] | None:
    """Return functions, the last of which makes the tokens of a text, or of the given fields of a request, as
    `function` does. Return None if the tokens are not found. Add the lines that change the ids after that to `later`.
    """
    helpers: list[ast.stmt] = []
    found: _Split | None = None
    for at, statement in enumerate(body := [*_flatten_with_and_try_blocks(function.body)]):
        if (tokens := _find_looked_up_tokens(statement)) is None and calls_left:
            for call in (node for node in ast.walk(statement) if isinstance(node, ast.Call)):
                called = functions.get(getattr(call.func, "id", ""))
                if called is None or called is function or not call.args:
                    continue
                inner = f"{written_name}_of_{called.name}"
                if (made := _write_token_functions(called, functions, inner, calls_left - 1, later)) is not None:
                    helpers, tokens = made, ast.Call(ast.Name(inner, ast.Load()), [call.args[0]], [])
                    break
        if tokens is not None:
            found = _Split(body[:at], tokens)
            later += _list_lines_that_change_ids(body[at:], tokens)
            break
    text = None if found is None else _find_text_and_statements_that_tokens_need(function, found, fields)
    return None if text is None else [*helpers, _make_text_function(written_name, *text)]


def _list_lines_that_change_ids(statements: Sequence[ast.stmt], tokens: ast.expr) -> list[str]:
    """List the lines in which code cuts, reverses or extends the ids of a text. The first statement makes them of
    `tokens`."""
    of_tokens = {ast.unparse(one) for one in ast.walk(tokens)}
    names, found = list_changed_names(statements[0]), []
    for at, statement in enumerate(statements):
        for one in ast.walk(statement):
            of_ids = at == 0 or bool(_list_read_names(one) & names)
            is_change = (
                (isinstance(one, ast.Subscript) and isinstance(one.slice, ast.Slice))
                or (isinstance(one, ast.BinOp | ast.AugAssign) and any(isinstance(n, ast.List) for n in ast.walk(one)))
                or (isinstance(one, ast.Attribute) and one.attr in _CHANGING_METHODS)
            )
            if of_ids and is_change and ast.unparse(one) not in of_tokens:
                found.append(f"line {statement.lineno}: {ast.unparse(statement).partition(chr(10))[0]}")
                break
    return found


def _flatten_with_and_try_blocks(statements: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield statements, and in place of a `with`, a `try` or `if request.method == "POST"` those in it."""
    for one in statements:
        is_request = isinstance(one, ast.If) and f"{REQUEST}.method" in ast.unparse(one.test)
        if isinstance(one, ast.With | ast.Try) or (isinstance(one, ast.If) and is_request):
            yield from _flatten_with_and_try_blocks(one.body)
        else:
            yield one


def _find_looked_up_tokens(statement: ast.stmt) -> ast.expr | None:
    """Return TOKENS of `[vocab.get(word, 1) for word in TOKENS]` or `[vocab[word] for word in TOKENS]`; None for other
    code."""
    for node in ast.walk(statement):
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
    """Return the parameter that is the text, or those that are fields of a request; the statements that the tokens
    need; and the tokens. Return None if they need another parameter without a default."""
    kept: list[ast.stmt] = []
    needed = _list_read_names(split.tokens)
    for one in reversed(split.statements):
        if needed & list_changed_names(one):
            is_function = isinstance(one, Function)
            if not is_function and any(isinstance(part, ast.Return) for part in ast.walk(one)):
                return None
            kept.insert(0, one)
            needed |= list_needed_names(one) if is_function else _list_read_names(one)
    defaults = find_defaults(function)
    arguments = [one.arg for one in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)]
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
    made: Sequence[ast.stmt], statements: Sequence[ast.stmt]
) -> list[ast.stmt] | None:
    """Return the imports, functions, classes and constants of a file that some code needs. Return None if a name is
    not known, or another statement makes it.

    Args:
        made: the code, whose own functions and names are not looked for.
        statements: those of the file.
    """
    defined = {name for one in made for name in list_changed_names(one)}
    waiting = [name for one in made for name in list_needed_names(one)]
    kept: set[ast.stmt] = set()
    while waiting:
        if (name := waiting.pop()) in defined or name in _BUILTINS:
            continue
        defined.add(name)
        makers = [one for one in statements if name in list_changed_names(one)]
        if not makers or not all(isinstance(one, _KEPT) for one in makers):
            return None
        kept.update(makers)
        waiting += [other for one in makers for other in list_needed_names(one)]
    return [one for one in statements if one in kept]


def _list_read_names(node: ast.AST) -> set[str]:
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Load)}
