"""Write the part of a function that splits a text, such as `predict(text, model)`, as a function of its own. The fields
that the function reads from a web request become parameters. No file is run."""

from __future__ import annotations

import ast
import builtins
import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

from pocketrnn_export.source_code.code_and_data_files_near_module import list_files_near, list_syntax_nodes_near
from pocketrnn_export.source_code.functions_of_file import (
    find_functions,
    read_statements_with_methods_as_functions,
)
from pocketrnn_export.source_code.functions_that_answer_or_split import (
    computes_prediction,
    is_name_of_answering_function,
    needs_torch,
)
from pocketrnn_export.source_code.looked_up_tokens import (
    LookedUpTokens,
    find_constant_numbers,
    find_forward_that_looks_up,
    find_looked_up_tokens,
    find_unknown_id,
    is_test_for_unknown_word,
    join_lookups,
    list_filters_of_ids,
    list_unknown_values,
    read_unknown_id,
)
from pocketrnn_export.source_code.notebook import read_python_cells
from pocketrnn_export.source_code.statements_that_code_needs import list_file_statements_that_code_needs
from pocketrnn_export.source_code.syntax_tree_parts import (
    Function,
    Import,
    find_defaults,
    list_changed_names,
    list_needed_names,
    list_parameters,
    list_read_names,
    read_last_name,
    rename_name_of_file,
)
from pocketrnn_export.source_code.text_made_a_parameter import (
    TextAndCode,
    rename_text_to_value_read_from_parameter,
    take_each_text_as_parameter,
    take_request_fields_as_parameters,
    take_typed_text_as_parameter,
)
from pocketrnn_export.source_code.torchtext_field_split import (
    METHODS_OF_FIELD,
    find_field_split,
    replace_methods_of_field,
)
from pocketrnn_export.source_code.values_of_call_arguments import find_call_arguments
from pocketrnn_export.vocabularies.keras_tokenizer_split import KerasSplit, read_keras_split
from pocketrnn_export.vocabularies.owner_function_call import LEAVES_OUT_UNKNOWN, UNKNOWN_ID
from pocketrnn_export.vocabularies.words_as_vocabulary_object import is_vocabulary_name

WRITTEN_NAME: Final = "words"
# The owner's function or constant of that name.
OWNERS_NAME: Final = "owners_words"
NAME_WITH_FIELDS: Final = "words_of_fields"
_BUILTINS: Final = frozenset(dir(builtins))
_MOST_CALLS: Final = 3
_CHANGING_METHODS: Final = ("append", "extend", "insert", "pop", "remove", "reverse", "sort")
_ARRAY_FUNCTIONS: Final = ("array", "asarray", "as_tensor", "int", "from_numpy", "list", "LongTensor", "tensor")


@dataclass(frozen=True)
class _Split:
    """The part of a function that splits a text into tokens: the expression for the tokens, and the statements before
    it."""

    statements: Sequence[ast.stmt]
    tokens: ast.expr


class WrittenTokenizer(NamedTuple):
    """The code of a new file with a function `words(text)`, and lines of the owner's function that a reader has to
    know. With several fields of a web request, the function is `words_of_fields` and takes these fields.

    Attributes:
        code: the code of the file.
        later_changes: the owner's lines that change the ids after the split, each with its number.
        fields: the fields of the web request; empty without one.
        leaves_out: the owner's line that drops words which are not in the vocabulary; empty if none does.
        unknown: the id that unknown words get, and the owner's line that says so; None if no line does.
    """

    code: str
    later_changes: Sequence[str] = ()
    fields: Sequence[str] = ()
    leaves_out: str = ""
    unknown: tuple[int, str] | None = None


@dataclass(frozen=True)
class ChangedText:
    """A call that changes a text first and passes the result, such as `predict(clean(line))`.

    Attributes:
        place: the file and line of the call.
        code: the passed expression, such as `clean(line)`.
        text: the variable of the unchanged text, such as `line`.
    """

    place: str
    code: str
    text: str


def find_changed_text(path: Path, name: str) -> ChangedText | None:
    """Find a call of a function whose argument is a changed text, such as `predict(clean(line))`. Return the last such
    call in the function's file; None if there is none.

    Args:
        path: the file of the function.
        name: the called function.

    Example:
        >>> find_changed_text(Path("api.py"), "predict")
        ChangedText(place='api.py, line 9', code='clean(line)', text='line')
    """
    found, (position, parameter) = None, _find_text_parameter(path, name)
    scopes = [(cell, nodes) for cell in read_python_cells(path) for nodes in _list_scopes(cell.statements)]
    for cell, nodes in scopes:
        assigned = {ast.unparse(one.targets[0]): one.value for one in nodes if isinstance(one, ast.Assign)}
        for call in nodes:
            if not isinstance(call, ast.Call) or getattr(call.func, "id", "") != name:
                continue
            texts_given = [*call.args[position : position + 1], *(k.value for k in call.keywords if k.arg == parameter)]
            if not texts_given or any(isinstance(one, ast.Starred) for one in call.args):
                continue
            given = assigned.get(ast.unparse(texts_given[0]), texts_given[0])
            called = [one.func for one in ast.walk(given) if isinstance(one, ast.Call) and not _reads_field(one)]
            texts = list_read_names(given) - {ast.unparse(one) for one in called} - _BUILTINS
            is_changed = any(ast.unparse(one) not in (*_BUILTINS, name) for one in called) and not computes_prediction(
                given
            )
            is_text = len(texts) == 1 and not any(map(is_vocabulary_name, texts))
            if is_changed and is_text and not any(isinstance(one, ast.Subscript) for one in ast.walk(given)):
                found = ChangedText(cell.describe_place(path, call), ast.unparse(given), texts.pop())
    return found


def _list_scopes(statements: Sequence[ast.stmt]) -> list[list[ast.AST]]:
    """List the syntax nodes of each scope: first those outside of functions, then those of each function. The same
    variable may have another value in each scope."""
    scopes: list[list[ast.AST]] = [[*statements]]
    for scope in scopes:
        # Both lists grow while they are read.
        for node in scope:
            is_function = isinstance(node, Function | ast.Lambda)
            scopes.extend([[*ast.iter_child_nodes(node)]] if is_function else [])
            scope.extend([] if is_function else ast.iter_child_nodes(node))
    return scopes


def _find_text_parameter(path: Path, name: str) -> tuple[int, str]:
    """Return the position and the name of the parameter that takes the text: 1 and "text" for `predict(model, text)`.
    Return the first parameter if the code does not show which one it is."""
    statements, name = read_statements_with_methods_as_functions(path, name)
    function = find_functions(statements, path).get(name)
    parameters = [] if function is None else [one.arg for one in (*function.args.posonlyargs, *function.args.args)]
    written = write_tokenizer_of_function(path, name) if parameters else None
    made = ast.parse("" if written is None else written.code).body
    functions = [one for one in made if isinstance(one, Function) and one.name == WRITTEN_NAME]
    texts = [one.args.args[0].arg for one in functions if one.args.args]
    position = parameters.index(texts[0]) if texts and texts[0] in parameters else 0
    return position, "".join(parameters[position : position + 1])


def _reads_field(call: ast.Call) -> bool:
    """Return whether a call reads a field of a web request, such as `data.get("text", "")`."""
    return read_last_name(call.func) == "get" and bool(call.args) and isinstance(call.args[0], ast.Constant)


def write_tokenizer_of_function(
    path: Path,
    name: str,
    changed_text: ChangedText | None = None,
    keras: KerasSplit | None = None,
    module_file: Path | None = None,
) -> WrittenTokenizer | None:
    """Write a function `words(text)` from the part of an owner's function that splits the text into tokens.

    This part makes the tokens whose ids the function looks up, as in `[vocab.get(word, 1) for word in text.split()]` or
    `tokenizer.texts_to_sequences([text])`. Return None if it is not found, or if it needs more than the text.

    Args:
        path: the file of the function.
        name: the function, or Class.method; empty for the statements of the file outside of functions.
        changed_text: a change that the owner's code makes to the text before it calls the function. If it is given,
            `words` makes the change, too.
        keras: how the Keras Tokenizer that the function calls splits a text; None to read this from the owner's code.
        module_file: the file of the module, whose forward is searched if the function itself looks up no tokens; None
            to search only the function.

    Example:
        >>> print(write_tokenizer_of_function(Path("api.py"), "predict").code)
        def words(text):
            return text.lower().split()
    """
    statements, name = read_statements_with_methods_as_functions(path, name)
    if any(f".{method}(" in ast.unparse(one) for one in statements for method in METHODS_OF_FIELD):
        field = find_field_split(path)
        statements = statements if field is None else replace_methods_of_field(statements, field)
    name = OWNERS_NAME if name == WRITTEN_NAME else name
    statements = rename_name_of_file(statements, WRITTEN_NAME, OWNERS_NAME)
    functions = find_functions(statements, path)
    if name not in functions and name:
        return None
    functions = ({} if module_file is None else find_forward_that_looks_up(module_file)) | functions
    if keras is None and any("texts_to_sequences" in ast.unparse(one) for one in statements):
        keras = _find_keras_split(path)
    code = _OwnersCode(path, functions, keras, find_constant_numbers(path), [], [], [])
    written_name = WRITTEN_NAME if changed_text is None else f"{WRITTEN_NAME}_of_{name}"
    function, fields = functions[name] if name else _make_function_of_file(statements), list[str]()
    if name:
        function, fields = take_request_fields_as_parameters(take_each_text_as_parameter(function))
    made = _write_token_functions(function, code, written_name, _MOST_CALLS, fields, is_last=True)
    fields = [one.arg for one in made[-1].args.args] if made and isinstance(made[-1], Function) else []
    fields = fields[: len(fields) - len(made[-1].args.defaults)] if made and isinstance(made[-1], Function) else []
    if made is not None and len(fields) > 1:
        made[-1] = ast.parse(ast.unparse(made[-1]).replace(written_name, NAME_WITH_FIELDS, 1)).body[0]
    if made is not None and changed_text is not None:
        call = f"def {WRITTEN_NAME}({changed_text.text}):\n    return {written_name}({changed_text.code})"
        made += ast.parse(call).body
    helpers = None if made is None else list_file_statements_that_code_needs(made, statements, path)
    if made is None or helpers is None:
        return None
    # An imported file may have a function of this name, too.
    helpers = rename_name_of_file(helpers, WRITTEN_NAME, OWNERS_NAME)
    written = f"{ast.unparse(ast.Module([*helpers, *made], []))}\n"
    written += f"\n{LEAVES_OUT_UNKNOWN} = True\n" if code.leaves_out else ""
    # A later line that changes the ids may change this one.
    unknown = code.unknown[0] if len(code.unknown) == 1 and not code.leaves_out else None
    written += "" if unknown is None else f"\n{UNKNOWN_ID} = {unknown[0]}\n"
    fields = fields if len(fields) > 1 else []
    return WrittenTokenizer(written, code.later_changes, fields, "".join(code.leaves_out[:1]), unknown)


def _make_function_of_file(statements: Sequence[ast.stmt]) -> Function:
    """Make a function without parameters from the statements of a file, except those that define functions and
    classes."""
    body = [one for one in statements if not isinstance(one, Import | Function | ast.ClassDef)]
    return ast.FunctionDef("", ast.arguments([], [], None, [], [], None, []), body, [])


def uses_only_basic_english_tokenizer(code: str) -> bool:
    """Return whether code only splits a text by torchtext's `get_tokenizer("basic_english")`. Then the text rules of
    the bundle can replace it, and torchtext need not be installed.

    Args:
        code: the code of a file, from `write_tokenizer_of_function`.
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
    own |= {"list"}
    is_plain = all(ast.unparse(call.func) in own and len(call.args) == 1 and not call.keywords for call in others)
    changing = ast.Subscript | ast.BinOp | ast.IfExp | ast.stmt
    kept = ast.Import | ast.ImportFrom | ast.FunctionDef | ast.Assign | ast.Return
    changes = [node for node in nodes if isinstance(node, changing | ast.comprehension) and not isinstance(node, kept)]
    return is_plain and not changes


@dataclass(frozen=True)
class _OwnersCode:
    """A file of the owner's with its functions, and what the search has found about the ids.

    Attributes:
        path: the file.
        functions: the functions of the file, by their names.
        keras: how the Keras Tokenizer in the code splits texts; None without one.
        constants: the numbers of the constants in the file.
        later_changes: the lines that change the ids after the look-up. The search adds to this list and the next two.
        leaves_out: the lines that drop words which are not in the vocabulary.
        unknown: the ids of unknown words, each with its line.
    """

    path: Path
    functions: Mapping[str, Function]
    keras: KerasSplit | None
    constants: Mapping[str, int]
    later_changes: list[str]
    leaves_out: list[str]
    unknown: list[tuple[int, str]]

    def list_called(self, node: ast.AST) -> list[tuple[ast.Call, Function]]:
        """List the calls in a piece of code that call functions of the file, each with the function."""
        calls = (one for one in ast.walk(node) if isinstance(one, ast.Call))
        named = ((call, self.functions.get(getattr(call.func, "id", ""))) for call in calls)
        return [(call, function) for call, function in named if function is not None]

    def looks_up(self, node: ast.AST, seen: frozenset[str] = frozenset()) -> bool:
        """Return whether a piece of code looks up ids of words, or calls a function of the file that does.

        Args:
            seen: the names of the functions that are being examined, which are not entered again.
        """
        statements = [one for one in ast.walk(node) if isinstance(one, ast.stmt) and one is not node]
        if any(find_looked_up_tokens(one, self.keras) for one in (node, *statements) if isinstance(one, ast.stmt)):
            return True
        called = [one for _, one in self.list_called(node) if one.name not in seen]
        return any(self.looks_up(one, seen | {one.name}) for one in called)


def _write_token_functions(
    function: Function,
    code: _OwnersCode,
    written_name: str,
    calls_left: int,
    fields: Sequence[str] = (),
    *,
    is_last: bool = False,
) -> list[ast.stmt] | None:
    """Write functions that make the tokens of a text as an owner's function does. The last of them is the one to call;
    the others are its helpers. Return None if the tokens are not found. Lines that change the ids later are added to
    `code`.

    Args:
        function: the owner's function.
        code: the owner's file.
        written_name: the name of the last written function.
        calls_left: how many further levels of calls are followed.
        fields: the parameters that are fields of a web request.
        is_last: whether the written function is the one that the user calls with only a text.
    """
    body = [*_flatten_blocks(function.body, code, function.name)]
    code = replace(code, functions={**code.functions, **find_functions(body)})
    for at, statement in enumerate(body):
        helpers: list[ast.stmt] = []
        found = find_looked_up_tokens(statement, code.keras)
        for call, called in code.list_called(statement) if found is None and calls_left else ():
            if called is not function and not isinstance(statement, Function):
                inner = f"{written_name}_of_{called.name}"
                made = _write_token_functions(called, code, inner, calls_left - 1)
                given = None if made is None else _bind_arguments(call, called, made[-1])
                if made is not None and given is not None:
                    helpers, found = made, LookedUpTokens(given)
                    break
        if found is not None:
            lists = [one for one in body[:at] if {*found.collected} & list_changed_names(one)]
            _add_lines_that_change_ids([*lists, *body[at:]], found, len(lists), code)
            split = _Split([*body[:at], *found.statements], found.write_list(body[:at]))
            text = _find_text_and_statements_that_tokens_need(function, split, fields, code, is_last=is_last)
            # A function that returns its argument splits nothing.
            if text is None or (not text[1] and isinstance(text[2], ast.Name)):
                return None
            return [*helpers, _make_text_function(written_name, *text)]
    return None


def _bind_arguments(call: ast.Call, called: Function, written: ast.stmt) -> ast.expr | None:
    """Write a call of a written function with the arguments of the owner's call. Return None if the owner's call does
    not give an argument that the written function needs.

    Args:
        call: the owner's call.
        called: the owner's function in this call.
        written: the function written from a part of `called`.
    """
    if not isinstance(written, Function) or any(isinstance(one, ast.Starred) for one in call.args):
        return None
    given = dict(zip([one.arg for one in (*called.args.posonlyargs, *called.args.args)], call.args, strict=False))
    given |= {one.arg: one.value for one in call.keywords if one.arg}
    taken = [one.arg for one in written.args.args]
    needed = taken[: len(taken) - len(written.args.defaults)]
    if not {*needed} <= given.keys():
        return None
    by_name = [ast.keyword(one, given[one]) for one in taken[len(needed) :] if one in given]
    return ast.Call(ast.Name(written.name, ast.Load()), [given[one] for one in needed], by_name)


def _find_keras_split(path: Path) -> KerasSplit | None:
    """Return how the Keras Tokenizer that the code in or near a file makes splits texts. Return None if there is none,
    or if the owner's code has its own function `texts_to_sequences`."""
    found: KerasSplit | None = KerasSplit()
    for _, node in list_syntax_nodes_near(path):
        if isinstance(node, Function) and node.name == "texts_to_sequences":
            return None
        if isinstance(node, ast.Call) and read_last_name(node.func) == "Tokenizer":
            given = {str(one.arg): one.value for one in node.keywords}
            found = read_keras_split({name: one.value for name, one in given.items() if isinstance(one, ast.Constant)})
    return found


def _add_lines_that_change_ids(
    statements: Sequence[ast.stmt], found: LookedUpTokens, first: int, code: _OwnersCode
) -> None:
    """Add to `code` the lines that cut, reverse or extend the ids of a text, and those that drop words.

    Args:
        statements: the statements of a function.
        found: the tokens whose ids the statement at `first` looks up.
        first: the index of that statement. The statements before it only make the list to which it appends.
        code: the owner's file, to which the lines are added.
    """
    of_tokens = {ast.unparse(one) for one in ast.walk(found.tokens)}
    names = list_changed_names(statements[first]) | {*found.collected}
    unknown = list_unknown_values(statements[first])
    if (unknown_id := find_unknown_id(join_lookups(statements[first], code.constants))) is not None:
        code.unknown.append((unknown_id, f"line {statements[first].lineno}"))
    for at, statement in enumerate(statements):
        kinds = ast.BinOp | ast.AugAssign if at >= first else ast.BinOp | ast.AugAssign | ast.Assign
        written = f"line {statement.lineno}: {ast.unparse(statement).partition(chr(10))[0]}"
        filters = [] if isinstance(statement, Function) or at < first else list_filters_of_ids(statement, names, found)
        tells = [is_test_for_unknown_word(one, unknown) for one in filters]
        if (at == first and found.leaves_out) or any(tells):
            code.leaves_out.append(written)
        if (at == first and found.leaves_out_others) or not all(tells):
            code.later_changes.append(f"{written} (leaves out words by their ids)")
            continue
        if (at == first and found.statements) or isinstance(statement, Function):
            continue
        for one in ast.walk(statement):
            of_ids = at <= first or bool(list_read_names(one) & names)
            has_list = any(isinstance(n, ast.List) and (at >= first or n.elts) for n in ast.walk(one))
            is_change = (
                (isinstance(one, ast.Subscript) and isinstance(one.slice, ast.Slice | ast.Compare))
                or (isinstance(one, kinds) and has_list)
                # `encoded.append([vocab[w] for w in words])` makes a batch of one text.
                or (
                    isinstance(one, ast.Attribute)
                    and one.attr in _CHANGING_METHODS
                    and (at, one.attr) != (first, "append")
                )
                or (isinstance(one, ast.Call) and read_last_name(one.func) == "pad_sequences")
            )
            if _computes_with_ids(one, names if at > first else ()):
                # Unknown words may have another id after that.
                code.unknown.clear()
                is_change = True
            if of_ids and is_change and ast.unparse(one) not in of_tokens:
                code.later_changes.append(written)
                break


def _computes_with_ids(node: ast.AST, names: Collection[str]) -> bool:
    """Return whether code computes new ids from ids: `[i + 1 for i in ids]`, `torch.tensor(ids) + 1` or
    `vocab.get(word, 0) + 1`."""
    match node:
        case ast.ListComp(elt=made, generators=[of]) | ast.GeneratorExp(elt=made, generators=[of]):
            return ast.unparse(of.iter) in names and ast.unparse(_unwrap_array(made)) != ast.unparse(of.target)
        case ast.BinOp(left=left, right=right):
            parts = [_unwrap_array(left), _unwrap_array(right)]
            return any(ast.unparse(part) in names or read_unknown_id(part) is not None for part in parts)
    return False


def _unwrap_array(value: ast.expr) -> ast.expr:
    """Return the argument of a call that makes an array: `ids` for `torch.tensor(ids)`. Return another expression
    unchanged."""
    is_made = isinstance(value, ast.Call) and value.args and read_last_name(value.func) in _ARRAY_FUNCTIONS
    return value.args[0] if is_made and isinstance(value, ast.Call) else value


def _flatten_blocks(statements: Sequence[ast.stmt], code: _OwnersCode, name: str) -> Iterator[ast.stmt]:
    """Yield the statements of a function. A `with` or a `try` is replaced by the statements in its body, and so is the
    branch of an `if`, or the body of a `while`, in which alone the code looks up ids of words."""
    for one in statements:
        if isinstance(one, ast.With | ast.AsyncWith | ast.Try):
            yield from _flatten_blocks(one.body, code, name)
        elif isinstance(one, ast.If | ast.While):
            seen = frozenset([name])
            reached = [some for some in (one.body, one.orelse) if code.looks_up(ast.Module(some, []), seen)]
            yield from _flatten_blocks(reached[0], code, name) if len(reached) == 1 else [one]
        else:
            yield one


def _find_text_and_statements_that_tokens_need(
    function: Function, split: _Split, fields: Sequence[str], code: _OwnersCode, *, is_last: bool
) -> tuple[ast.arguments, Sequence[ast.stmt], ast.expr] | None:
    """Find what is needed to make the tokens. Return three things: the parameters of the new function, which are the
    text or the fields of a web request, and further ones with a default; the needed statements; and the expression for
    the tokens. Return None if the tokens need another parameter, or the module's output.

    Args:
        function: the owner's function.
        split: the part of this function that makes the tokens.
        fields: the parameters that are fields of a web request.
        code: the owner's file.
        is_last: whether the new function is the one that the user calls with only a text.
    """
    kept, needed = _list_statements_that_tokens_need(split)
    parts = [*kept, ast.Expr(split.tokens)]
    if any(isinstance(node, ast.Return) for one in kept if not isinstance(one, Function) for node in ast.walk(one)):
        return None
    if any(computes_prediction(one) or needs_torch(one) for one in parts if not isinstance(one, Function)):
        return None
    defaults = find_defaults(function)
    arguments = list_parameters(function)
    taken = {one: ast.unparse(defaults[one]) for one in arguments if one in needed & {*defaults}}
    texts = [one for one in arguments if one in needed and one not in defaults]
    if not is_last:
        return _make_parameters(texts, taken), kept, split.tokens
    if len(texts) > 1 and not {*texts} <= {*fields}:
        texts, given = _separate_text_parameters_from_values_of_owners_call(function, texts, code)
        taken |= given
    if texts == ["self"] or (len(texts) > 1 and not {*texts} <= {*fields}):
        return None
    if len(texts) > 1:
        return _make_parameters(texts, taken), kept, split.tokens
    text = TextAndCode("".join(texts), kept, split.tokens)
    if not texts:
        typed = None if taken else take_typed_text_as_parameter(text, with_constants=not function.name)
        if typed is None:
            return None
        text = typed
    text = rename_text_to_value_read_from_parameter(text)
    # Such as `args = parser.parse_args()`, of which only the text was needed.
    kept, _ = _list_statements_that_tokens_need(_Split(text.statements, text.tokens))
    # The others of a file are needed once, and not for each text.
    kept = kept if function.name else _list_statements_of_text(text._replace(statements=kept))
    return _make_parameters([text.name], taken), kept, text.tokens


def _list_statements_that_tokens_need(split: _Split) -> tuple[list[ast.stmt], set[str]]:
    """Return two things: the statements on which the tokens depend, and the names that these statements need. Unneeded
    statements in loops and branches are left out."""
    kept: list[ast.stmt] = []
    needed = list_read_names(split.tokens)
    for one in reversed(split.statements):
        if not needed & list_changed_names(one):
            continue
        if isinstance(one, Function):
            needed |= list_needed_names(one)
        elif isinstance(one, ast.Assign) and all(isinstance(target, ast.Name) for target in one.targets):
            needed = (needed - list_changed_names(one)) | list_read_names(one)
        else:
            one, needed = _drop_unneeded_parts(one, needed)
        kept.insert(0, one)
    return kept, needed


def _drop_unneeded_parts(statement: ast.stmt, needed: set[str]) -> tuple[ast.stmt, set[str]]:
    """Return a loop or branch without the statements in it that do not set a needed name, and the needed names, to
    which the names that it reads are added. Return another statement unchanged."""
    if not isinstance(statement, ast.For | ast.If | ast.While) or any(
        isinstance(one, ast.Return) for one in ast.walk(statement)
    ):
        return statement, needed | list_read_names(statement)
    while True:
        made = _KeepNeeded(needed).visit(copy.deepcopy(statement))
        if (wider := needed | list_read_names(made)) == needed:
            return made, needed
        needed = wider


class _KeepNeeded(ast.NodeTransformer):
    """Drop the simple statements that set none of the needed names."""

    def __init__(self, needed: set[str]) -> None:
        self._needed = needed

    def visit(self, node: ast.AST) -> Any:
        if isinstance(node, ast.For | ast.If | ast.While):
            node.body = [one for part in node.body if (one := self.visit(part)) is not None]
            node.orelse = [one for part in node.orelse if (one := self.visit(part)) is not None]
            if not node.body and not node.orelse:
                return None
            node.body = node.body or [ast.Pass()]
        elif isinstance(node, ast.stmt) and not isinstance(node, ast.Continue | ast.Break | ast.Raise):
            return node if list_changed_names(node) & self._needed else None
        return node


def _list_statements_of_text(code: TextAndCode) -> list[ast.stmt]:
    """List the statements that depend on the text, and those that first set a variable that these change, such as `ids
    = []`."""
    names = {code.name}
    for one in code.statements:
        names |= list_changed_names(one) if names & list_read_names(one) else set()
    return [one for one in code.statements if names & list_changed_names(one)]


def _separate_text_parameters_from_values_of_owners_call(
    function: Function, needed: Sequence[str], code: _OwnersCode
) -> tuple[list[str], dict[str, str]]:
    """Return two things: the needed parameters of a function that are texts; and the other needed parameters, as a dict
    to the code of the values that the owner's code passes. A parameter that gets a top-level variable of the same name
    is in neither result, since the variable replaces it.

    Args:
        needed: the needed parameters. The first is a text.
        code: the owner's file.
    """
    others = [one for one in needed[1:] if one != needed[0]]
    called = find_call_arguments(list_files_near(code.path), code.path, function, others, is_name_of_answering_function)
    if called is None:
        return [*needed], {}
    given = {name: repr(value) for name, value in called.values.items()}
    in_file = called.file == code.path
    same = [name for name in called.unknown if in_file and called.code.get(name) == name]
    return [one for one in needed if one not in (*given, *same)], given


def _make_parameters(texts: Sequence[str], taken: Mapping[str, str]) -> ast.arguments:
    written = ", ".join([*texts, *(f"{name}={value}" for name, value in taken.items())])
    made = ast.parse(f"lambda {written}: 0", mode="eval").body
    return cast("ast.Lambda", made).args


def _make_text_function(
    name: str, parameters: ast.arguments, statements: Sequence[ast.stmt], tokens: ast.expr
) -> ast.stmt:
    # Unparsed and parsed again, since the owner's nodes must not change.
    body = ast.parse(ast.unparse(ast.Module([*statements, ast.Return(tokens)], []))).body
    return ast.fix_missing_locations(ast.FunctionDef(name, parameters, body, []))
