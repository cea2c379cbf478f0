"""Make a parameter of the text that code answers: a field of a web request, what a user types, or each text of a loop.
No file is run."""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from pocketrnn_export.source_code.looked_up_tokens import loops_over_tokens_of_one_text
from pocketrnn_export.source_code.syntax_tree_parts import Function, read_last_name

REQUEST: Final = "request"


def take_request_fields_as_parameters(function: Function) -> tuple[Function, list[str]]:
    """Convert a function that reads fields of a web request to one that takes each field as a parameter. Return the new
    function, and the names of these parameters. If the function reads no fields, return the function itself and an
    empty list.

    Args:
        function: a function that handles a web request, such as a view of Flask.

    Example:
        >>> page = ast.parse("def page(): return split(request.form['title'])").body[0]
        >>> ast.unparse(take_request_fields_as_parameters(page)[0])
        "def page(title):\\n    return split(title)"
    """
    records = {
        node.targets[0].id
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        if _reads_request(node.value) and _find_request_field(node.value, {REQUEST}) is None
    }
    made = copy.deepcopy(function)
    replace = _ReplaceFields({REQUEST, *records})
    for one in made.body:
        replace.visit(one)
    held = {one.arg for one in ast.walk(function.args) if isinstance(one, ast.arg)}
    fields = [*dict.fromkeys(replace.found.values())]
    if not fields or held & {*fields}:
        return function, []
    made.args.args = [one for one in made.args.args if one.arg != REQUEST]
    made.args.kwonlyargs += [ast.arg(one) for one in fields]
    made.args.kw_defaults += [None] * len(fields)
    return ast.fix_missing_locations(made), fields


class _ReplaceFields(ast.NodeTransformer):
    """Replace `request.form["title"]`, or the same on an object made of the request, by the variable `title`."""

    def __init__(self, roots: set[str]) -> None:
        self._roots, self.found = roots, dict[str, str]()

    def visit(self, node: ast.AST) -> ast.AST:
        if (key := _find_request_field(node, self._roots)) is None:
            return self.generic_visit(node)
        name = key if key.isidentifier() else f"field_{key}"
        self.found[key] = name
        return ast.copy_location(ast.Name(name, ast.Load()), node)


def _find_request_field(node: ast.AST, roots: set[str]) -> str | None:
    """Return the field of a web request that an expression reads: "title" for `request.form["title"]` and
    `request.form.get("title")`. Return None for another expression.

    Args:
        roots: the variables that hold the request or its data.
    """
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


def take_each_text_as_parameter(function: Function) -> Function:
    """Convert a function of several texts to a function of one text. A loop over a parameter is replaced by the lines
    in it, and a list comprehension over a parameter by its element. Return the function itself if it has neither.

    Args:
        function: a function whose parameter is a list of texts.

    Example:
        >>> several = ast.parse("def predict(texts):\\n    for text in texts:\\n        split(text)").body[0]
        >>> ast.unparse(take_each_text_as_parameter(several))
        'def predict(text):\\n    split(text)'
    """
    arguments = {one.arg for one in (*function.args.posonlyargs, *function.args.args)}
    body: list[ast.stmt] = []
    for statement in function.body:
        # Such as `with torch.no_grad():`.
        body += statement.body if isinstance(statement, ast.With) else [statement]
    for at, loop in enumerate(body):
        each: ast.For | ast.comprehension
        if isinstance(loop, ast.For):
            if loops_over_tokens_of_one_text(loop):
                continue
            each, lines = loop, loop.body
        else:
            listed = [one for one in ast.walk(loop) if isinstance(one, ast.ListComp) and len(one.generators) == 1]
            if not listed or listed[0].generators[0].ifs or loops_over_tokens_of_one_text(listed[0]):
                continue
            each, lines = listed[0].generators[0], [_replace_code(loop, ast.unparse(listed[0]), listed[0].elt)]
        texts, text = each.iter, each.target
        # As in enumerate(texts) and tqdm(texts).
        if isinstance(texts, ast.Call) and texts.args:
            pair = isinstance(text, ast.Tuple) and read_last_name(texts.func) == "enumerate" and len(text.elts) == 2
            texts, text = texts.args[0], text.elts[1] if pair and isinstance(text, ast.Tuple) else text
        if isinstance(texts, ast.Name) and texts.id in arguments and isinstance(text, ast.Name):
            made = copy.deepcopy(function)
            made.body = copy.deepcopy([*body[:at], *lines])
            for one in (*made.args.posonlyargs, *made.args.args):
                one.arg = text.id if one.arg == texts.id else one.arg
            return made
    return function


def _replace_code(statement: ast.stmt, written: str, node: ast.expr) -> ast.stmt:
    made: ast.stmt = _ReplaceCode(written, node).visit(copy.deepcopy(statement))
    return made


class TextAndCode(NamedTuple):
    """The variable that holds the text in some code, the statements of the code, and the expression for the tokens."""

    name: str
    statements: Sequence[ast.stmt]
    tokens: ast.expr

    def replace_code(self, written: str, name: str) -> TextAndCode:
        """Return a copy in which the variable `name` replaces each expression whose code is `written`, and is the
        text."""
        replace = _ReplaceCode(written, ast.Name(name, ast.Load()))
        statements = [replace.visit(copy.deepcopy(one)) for one in self.statements]
        return TextAndCode(name, statements, replace.visit(copy.deepcopy(self.tokens)))


# These give the text that a user types: in Streamlit, Tkinter, Qt or a terminal.
_INPUTS: Final = (
    *("input", "raw_input", "text_input", "text_area", "chat_input", "askstring", "toPlainText", "getText", "prompt"),
)
_READS: Final = ("get", "getlist", "json", "get_json", "loads", "model_dump", "dict")
_TEXT_NAME: Final = re.compile(
    r"text|sent|review|comment|tweet|news|mess?age|input|phrase|doc|title|query|utter|word|line|content", re.IGNORECASE
)
_NO_TEXT_NAME: Final = re.compile("file|path|dir|col|len|size|max|num|count|dim", re.IGNORECASE)
_TYPED: Final = "typed_text"


def find_text_parameter(function: Function) -> str:
    """Return the first parameter of a function whose name means a text; else its first parameter; `text` if it has no
    parameters."""
    names = [one.arg for one in (*function.args.posonlyargs, *function.args.args)]
    return next((one for one in names if _TEXT_NAME.search(one) and not _NO_TEXT_NAME.search(one)), [*names, "text"][0])


def take_typed_text_as_parameter(code: TextAndCode, *, with_constants: bool) -> TextAndCode | None:
    """Convert code that reads a typed text, as in `text = input()`, to code whose text is a variable. Return None if
    the code reads nothing, or several things.

    Args:
        code: the code, whose `name` is empty.
        with_constants: whether a variable with a string constant counts as a typed text, too, as in the cells of a
            notebook.
    """
    read = {ast.unparse(node) for part in (*code.statements, code.tokens) for node in ast.walk(part) if _is_typed(node)}
    if len(read) == 1:
        return code.replace_code(read.pop(), _TYPED)
    named = {
        target.id: one for one in code.statements if isinstance(one, ast.Assign) and not read and with_constants
        if isinstance(one.value, ast.Constant) and isinstance(one.value.value, str)
        for target in one.targets if isinstance(target, ast.Name)
    }  # fmt: skip
    named = named if len(named) == 1 else {name: one for name, one in named.items() if _TEXT_NAME.search(name)}
    if len(named) != 1:
        return None
    ((name, maker),) = named.items()
    return TextAndCode(name, [one for one in code.statements if one is not maker], code.tokens)


def _is_typed(node: ast.AST) -> bool:
    """Return whether an expression is what a user types: `input()`, `entry.get()`, `sys.argv[1]`."""
    match node:
        case ast.Call(func=ast.Attribute(attr="get"), args=[], keywords=[]):
            return True
        case ast.Call(func=ast.Attribute(attr="get"), args=[ast.Constant(value=str() as place), _]):
            return re.match(r"\d+\.\d+$", place) is not None
        case ast.Call(func=called):
            return read_last_name(called) in _INPUTS or ast.unparse(called) in ("sys.stdin.read", "sys.stdin.readline")
        case ast.Subscript(value=ast.Attribute(attr="argv"), slice=ast.Constant()):
            return True
        case ast.Attribute(value=ast.Name(id="args" | "opt" | "options"), attr=name):
            return _TEXT_NAME.search(name) is not None and not _NO_TEXT_NAME.search(name)
    return False


def rename_text_to_value_read_from_parameter(code: TextAndCode) -> TextAndCode:
    """Convert code that reads a text from its parameter, as in `data["text"]`, to code whose parameter is this text. A
    statement such as `text = data` is dropped, and the parameter gets the name `text`. Return the code unchanged if it
    uses the parameter for anything else.

    Args:
        code: the code, whose `name` is the parameter.
    """
    while True:
        name, statements, tokens = code
        nodes = [node for part in (*statements, tokens) for node in ast.walk(part)]
        above = {child: one for one in nodes for child in ast.iter_child_nodes(one)}
        uses = [node for node in nodes if isinstance(node, ast.Name) and node.id == name]
        uses = [node for node in uses if isinstance(node.ctx, ast.Load)]
        read = {ast.unparse(_find_read_value(node, above)) for node in uses}
        if len(read) == 1 and read != {name}:
            code = code.replace_code(read.pop(), name)
            continue
        match statements[0] if len(uses) == 1 and statements else None:
            case ast.Assign(targets=[ast.Name(id=other)], value=ast.Name() as value) if value is uses[0]:
                code = TextAndCode(other, statements[1:], tokens)
            case _:
                return code


def _find_read_value(node: ast.AST, above: Mapping[ast.AST, ast.AST]) -> ast.AST:
    """Return the largest expression around a variable that only reads a part of its value:
    `json.loads(event["body"])["text"]` for the variable `event`.

    Args:
        node: the syntax node of the variable.
        above: the parent of each syntax node.
    """
    while True:
        match above.get(node):
            case ast.Subscript(value=value, slice=ast.Constant(value=str()), ctx=ast.Load()) as one if value is node:
                node = one
            case ast.Attribute(value=value, attr=name) as one if value is node:
                called = above.get(one)
                is_called = isinstance(called, ast.Call) and called.func is one
                if is_called and name not in _READS:
                    return node
                node = called if is_called and called is not None else one
            case ast.Await() as one:
                node = one
            case ast.Call(func=ast.Attribute(attr="loads"), args=[value]) as one if value is node:
                node = one
            case _:
                return node


class _ReplaceCode(ast.NodeTransformer):
    """Replace each expression whose code is `written` by another expression."""

    def __init__(self, written: str, other: ast.expr) -> None:
        self._written, self._other = written, other

    def visit(self, node: ast.AST) -> Any:
        if isinstance(node, ast.expr) and ast.unparse(node) == self._written:
            return copy.deepcopy(self._other)
        return self.generic_visit(node)
