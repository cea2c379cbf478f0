"""Read the Python code of a Jupyter notebook, cell by cell, and give it the names that Jupyter gives it. The code is
not run.

In Jupyter, `__name__` is `__main__`, and `__file__` is missing. Here the code runs in a module with its own name, so
that its classes can be found later.
"""

from __future__ import annotations

import ast
import copy
import functools
import itertools
import re
import symtable
import sys
import textwrap
import warnings
from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from pocketrnn.errors import InputError
from pocketrnn_export.json_reading_and_writing import parse_json
from pocketrnn_export.source_code.known_side_effects import FOREIGN_CELLS, HARMLESS_MAGICS
from pocketrnn_export.source_code.syntax_tree_parts import read_last_name

# A notebook contains the outputs of its cells, also pictures: some have 50 MB.
_LARGEST_FILE: Final = 256 * 2**20
_GIVE: Final = "Give a notebook that Jupyter saved, or the code as a Python file."
# Cell magics whose cell is Python that binds names of the notebook. A cell in another language
# is left out; any other cell magic may run its cell in any way.
_PYTHON_CELLS: Final = frozenset({"time", "capture", "prun", "wandb"})
# `%matplotlib inline`, `!pip install`, `files = !ls`, `model?`, without the spaces before.
_MAGIC: Final = re.compile(r"[%!?].*|\w[\w.\[\]'\", ]*=\s*[%!].*|[\w.]+\?{1,2}\s*")
# `%time X = 3`, `Y = %time f(x)`: the Python in them runs as it stands, after the options that have a number or none.
_TIMED: Final = re.compile(
    r"((?:\w[\w.\[\]'\", ]*=\s*)?)%(?:time|prun)\s+(?:-(?:q|r|D\s*\S+|l\s*\S+|s\s*\S+|T\s*\S+)\s+)*(?=[^\s-])(.*)"
)
# The options of %timeit and similar commands, such as `-n 10 -r1 -o`.
_OPTIONS: Final = re.compile(r"^(?:-[a-z]+\s*(?:\d+\s+)?)*")
# Magics that run a cell as a function: its other names are the notebook's.
_IN_A_FUNCTION: Final = frozenset({"timeit", "memit", "lprun", "mprun"})
# Magics that do nothing without code after them.
_TIMING: Final = _IN_A_FUNCTION | {"time", "prun", "store"}
_GIVEN: Final = re.compile(r"(\w[\w.\[\]'\", ]*=)\s*([%!].*)")
_NAMED: Final = re.compile(r"%(\w+)\s*(.*)")
_CHANGES_FOLDER: Final = re.compile(r"%?cd\s+(\S.*)")
# `%env NAME=value`, `%set_env NAME value`; except where Jupyter inserts a variable's value.
_SETS_ENVIRONMENT: Final = re.compile(r"%(?:set_)?env\s+([^\s=]+)(?:\s*=|\s)\s*([^${]+)")
# Commands that Jupyter accepts without a % if no variable has that name.
_AUTOMATIC: Final = re.compile(
    r"(?:apt|apt-get|cat|cd|conda|cp|git|head|less|ls|mkdir|mv|pip|pip3|pwd|rm|rmdir|unzip|wget)(?:\s+[^\s=(.].*)?"
)


@dataclass(frozen=True)
class Cell:
    """The Python code of one notebook cell, or of a whole Python file.

    Attributes:
        name: the name for messages, such as `cell 5 [7]`; empty for a Python file.
        file: the file name that tracebacks show for the cell.
        source: the code. A line that only Jupyter understands becomes `pass`, or a call of `get_ipython()` if it may
            bind a name.
        statements: the top-level statements of the cell.
        count: the execution count in the notebook; None if the notebook does not state it.
        whole: the unchanged text of the cell, in any language.
    """

    name: str
    file: str
    source: str
    statements: tuple[ast.stmt, ...]
    count: int | None = None
    whole: str = ""

    def describe_place(self, path: Path, node: ast.AST) -> str:
        """Return the place of a syntax node: the path of the file, the cell if it has a name, and the line."""
        return f"{path}, {f'{self.name}, ' if self.name else ''}line {getattr(node, 'lineno', 1)}"


def read_notebook(path: Path) -> tuple[list[Cell], list[str]]:
    """Read a notebook of format 2, 3 or 4. Return its Python cells, and the names of the cells in other languages.

    Commands of Jupyter or of the shell (`%matplotlib inline`, `!pip install ...`, `data = !ls`) and whole cells of
    other languages (`%%bash`) are not part of the returned code.

    Raises:
        InputError: the file cannot be read, is not a notebook, or is a notebook of another language.
    """
    document = parse_json(_read_text(path), str(path), _GIVE, strict=False)
    sources = list(_list_code_cells(document))
    if not sources:
        raise InputError(f"{path} is not a notebook with code: it has no cells of code.", _GIVE)
    language = _find_language(document)
    if "python" not in language.lower():
        raise InputError(f"{path} is a notebook in the language {language[:40]!a}, but only Python can be read.", _GIVE)
    cells, unreadable = [], []
    for number, source, count in sources:
        name = name_cell(number, count)
        python, statements = _parse_cell(source)
        if statements is None:
            unreadable.append(name)
        else:
            cells.append(Cell(name, f"{path}, {name}", python, tuple(statements), count, source))
    return cells, unreadable


def name_cell(number: int, count: int | None) -> str:
    """Return the name of a cell in messages: its position among all cells, text cells included, and the execution count
    that Jupyter shows beside it.

    Args:
        number: the position of the cell, from 1.
        count: the execution count of the cell; None for a cell that was not run.

    Example:
        >>> name_cell(5, 7), name_cell(6, None)
        ('cell 5 [7]', 'cell 6')
    """
    return f"cell {number}" if count is None else f"cell {number} [{count}]"


def read_python_file(path: Path) -> Cell:
    """Read a Python file as one cell.

    Raises:
        InputError: the file cannot be read, or is not valid Python 3.
    """
    source = _read_text(path)
    statements = parse_statements(source)
    if statements is None:
        raise InputError(
            f"{path} is not valid Python 3.", "Run the file with Python, and correct the errors that Python shows."
        )
    return Cell("", str(path), source, tuple(statements))


def read_python_cells(path: Path) -> list[Cell]:
    """Return the Python cells of a notebook, or a Python file as one cell.

    Raises:
        InputError: the file cannot be read, is neither a notebook of Python nor valid Python 3.
    """
    try:
        status = path.stat()
    except OSError:
        return [read_python_file(path)]
    return [*_read_cells_with_cache(path.absolute(), path, status.st_mtime_ns, status.st_size)]


@functools.lru_cache(maxsize=8)
def _read_cells_with_cache(_place: Path, path: Path, _changed: int, _size: int) -> tuple[Cell, ...]:
    """Return the cells of a file, with a cache: an export reads a file some 25 times, and a notebook of 30 MB takes a
    second. The other arguments are only parts of the cache's key: the working folder, the time of the last change, and
    the size."""
    return tuple(read_notebook(path)[0] if path.suffix == ".ipynb" else [read_python_file(path)])


def read_python_statements(path: Path) -> list[ast.stmt]:
    """Return the top-level statements of all cells of a notebook, or of a Python file.

    Raises:
        InputError: the file cannot be read, or is neither a notebook of Python nor valid Python 3.
    """
    return [one for cell in read_python_cells(path) for one in cell.statements]


def read_python_cells_if_readable(path: Path) -> list[Cell]:
    """Return the Python cells of a notebook, or a Python file as one cell. Return an empty list for a file that cannot
    be read or parsed."""
    try:
        return read_python_cells(path)
    except InputError:
        return []


def read_python_statements_if_readable(path: Path) -> list[ast.stmt]:
    """Return the top-level statements of a notebook or Python file. Return an empty list if it cannot be read or
    parsed."""
    return [one for cell in read_python_cells_if_readable(path) for one in cell.statements]


def _read_text(path: Path) -> str:
    """Return the text of a UTF-8 file. Raise an InputError if it cannot be read, is not UTF-8, or is too large."""
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise InputError(
                f"{path} is larger than {_LARGEST_FILE >> 20} MiB, which is the limit.",
                "Clear the outputs of the notebook in Jupyter, and save the notebook again.",
            )
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text.", "Save the file in UTF-8.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.", _GIVE) from None


def _list_code_cells(document: Any) -> Iterator[tuple[int, str, int | None]]:
    """Yield tuples (position, code, execution count) for the code cells of a notebook of format 2, 3 or 4. Positions
    are counted among all cells, from 1; the count is None for a cell that was not run."""
    place = itertools.count(1)
    sheets = [document]
    if isinstance(document, dict) and isinstance(document.get("worksheets"), list):
        sheets = document["worksheets"]
    for sheet in sheets:
        cells = sheet.get("cells") if isinstance(sheet, dict) else None
        for cell in cells if isinstance(cells, list) else ():
            number = next(place)
            if not isinstance(cell, dict) or cell.get("cell_type") != "code":
                continue
            source = cell.get("source", cell.get("input"))
            lines = source if isinstance(source, list) else [source]
            count = cell.get("execution_count", cell.get("prompt_number"))
            code = "".join(line for line in lines if isinstance(line, str))
            yield number, code, count if isinstance(count, int) else None


def _find_language(document: Any) -> str:
    """Return the language that a notebook names in its metadata; python if it names none."""
    metadata = document.get("metadata")
    for member in ("language_info", "kernelspec"):
        about = metadata.get(member) if isinstance(metadata, dict) else None
        for key in ("name", "language"):
            # The kernel's name can be anything, such as that of an environment.
            if isinstance(about, dict) and isinstance(about.get(key), str) and (member, key) != ("kernelspec", "name"):
                return str(about[key])
    return "python"


def _parse_cell(source: str) -> tuple[str, list[ast.stmt] | None]:
    """Return the code of a cell as Python, and its statements. The statements are an empty list for a cell in another
    language, and None for code that is not Python 3."""
    stripped = source.lstrip()
    if stripped.startswith("%%"):
        magic = stripped[2:].split(maxsplit=1)[0] if stripped[2:].strip() else ""
        if magic in _IN_A_FUNCTION:
            head, *body = stripped.split("\n")
            if setup := _OPTIONS.sub("", head.removeprefix(f"%%{magic}").strip()):
                body.insert(0, setup)
            body = list(_replace_magics(textwrap.dedent("\n".join(body)).split("\n"), without_percent_too=False))
            lines = [f"    {line}" if line.strip() else "" for line in body]
            source = "\n".join([f"def timed_cell():{'' if any(lines) else ' pass'}", *lines, "timed_cell()"])
            return source, parse_statements(source)
        if magic in FOREIGN_CELLS:
            return "", []
        if magic not in _PYTHON_CELLS:
            source = f"get_ipython().run_cell_magic({magic!r}, '', '')"
            return source, parse_statements(source)
    statements = parse_statements(source)
    if statements is not None:
        return source, statements
    # Only then: a line of a long string may begin with % or ! too.
    for more in (False, True):
        python = textwrap.dedent("\n".join(_replace_magics(source.split("\n"), without_percent_too=more)))
        statements = parse_statements(python)
        if statements is not None:
            break
    return python, statements


def _is_expression(source: str) -> bool:
    """Return whether code is a single expression statement."""
    statements = parse_statements(source)
    return statements is not None and len(statements) == 1 and isinstance(statements[0], ast.Expr)


def parse_statements(source: str) -> list[ast.stmt] | None:
    """Parse Python code into statements. Return None for code that is not Python 3."""
    try:
        with warnings.catch_warnings():
            # Such as an invalid escape in a string: the owner's code may warn.
            warnings.simplefilter("ignore")
            # Refuses errors that ast.parse accepts, such as a duplicate parameter: such a cell never ran.
            symtable.symtable(source, "cell", "exec")
            return ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _replace_magics(lines: list[str], *, without_percent_too: bool) -> Iterator[str]:
    """Replace each line that only Jupyter understands by a line of Python. Line numbers stay the same."""
    goes_on = False
    for line in lines:
        code = line.lstrip()
        before = line[: len(line) - len(code)]
        is_magic = _MAGIC.fullmatch(code) is not None or (
            without_percent_too and _AUTOMATIC.fullmatch(code.rstrip()) is not None
        )
        if goes_on:
            yield ""
        elif is_magic and (timed := _TIMED.fullmatch(code)):
            yield before + timed[1] + timed[2]
            continue
        else:
            yield before + _translate_magic(code) if is_magic else line
        goes_on = (is_magic or goes_on) and line.endswith("\\")


def _translate_magic(code: str) -> str:
    """Translate a Jupyter command, such as `%matplotlib inline`, to a line of Python. A command without a result, which
    runs no Python code, becomes `pass`."""
    if given := _GIVEN.fullmatch(code):
        return f"{given[1]} get_ipython().getoutput({given[2]!r})"
    if setting := _SETS_ENVIRONMENT.fullmatch(code):
        return f"import os; os.environ[{setting[1]!r}] = {setting[2].strip()!r}"
    if folder := _CHANGES_FOLDER.fullmatch(code):
        return f"import os; os.chdir({folder[1].strip()!r})"
    if (named := _NAMED.fullmatch(code)) and named[1] not in HARMLESS_MAGICS and (named[2] or named[1] not in _TIMING):
        if named[1] in _IN_A_FUNCTION and _is_expression(statement := _OPTIONS.sub("", named[2])):
            return statement
        return f"get_ipython().run_line_magic({named[1]!r}, {named[2]!r})"
    return "pass"


_DOC: Final = "Automatically created module for IPython interactive environment"
# Names, strings, packages and attributes by which code checks whether it runs in Jupyter, and by whom.
_OF_JUPYTER: Final = frozenset({
    "IPython", "In", "Out", "__IPYTHON__", "__globals__", "__main__", "__module__", "_ih", "_oh", "get_ipython",
    "google.colab", "ipykernel", "ipykernel_launcher",
})  # fmt: skip
_LOOK_UPS: Final = ("dir()", "globals()", "locals()", "vars()")
# Functions by which a file looks up itself, or something named after it.
_ASK_FOR_A_FILE: Final = frozenset({"__import__", "find_spec", "getLogger", "import_module", "reload"})


@contextmanager
def pretend_jupyter(file: ModuleType) -> Iterator[None]:
    """While the block runs, make a module look as in Jupyter: its name is `__main__` and it has no `__file__`."""
    main, path = sys.modules["__main__"], file.__file__
    sys.modules["__main__"], file.__doc__ = file, _DOC
    del file.__file__
    try:
        yield
    finally:
        sys.modules["__main__"], file.__file__ = main, path


def checks_for_jupyter(statement: ast.stmt, defined: Container[str]) -> bool:
    """Return whether a statement may test that it runs in Jupyter, as a use of `get_ipython` does. Names that the
    notebook defines itself, given as `defined`, do not count."""
    parts = [] if isinstance(statement, ast.Import) else [*ast.walk(statement)]
    of_jupyter = _OF_JUPYTER - ({"__main__"} if any(map(_is_name_variable, parts)) else set())
    for part in parts:
        value = part.value if isinstance(part, ast.Constant) else ""
        names = {value if isinstance(value, str) else "", getattr(part, "attr", ""), getattr(part, "name", "")}
        name = getattr(part, "id", "")
        if names & of_jupyter or (name in of_jupyter and name not in defined):
            return True
        if isinstance(part, ast.Call) and ast.unparse(part) in _LOOK_UPS:
            return True
    return False


def _is_name_variable(node: ast.AST) -> bool:
    return getattr(node, "id", "") == "__name__" or ast.unparse(node) == "globals()['__name__']"


def replace_dunder_name_by_main(statement: ast.stmt) -> ast.stmt:
    """Return a copy of a statement with "__main__" in place of `__name__`. `__name__` stays where the code looks up its
    own file, as in `sys.modules[__name__]`."""
    return _DunderNameReplacer().visit(copy.deepcopy(statement))  # type: ignore[no-any-return]


def depends_on_dunder_name(statement: ast.stmt) -> bool:
    """Return whether a statement may depend on the value of `__name__`, which is "__main__" only if the file is run
    directly."""
    return ast.dump(replace_dunder_name_by_main(statement)) != ast.dump(statement)


class _DunderNameReplacer(ast.NodeTransformer):
    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        if _is_name_variable(node):
            return self.visit_Name(ast.copy_location(ast.Name("__name__", node.ctx), node))
        if ast.unparse(node.value).endswith("modules"):
            return node
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        asked = read_last_name(node.func)
        asks_for_itself = asked in _ASK_FOR_A_FILE or ast.unparse(node.func).endswith("modules.get")
        return node if asks_for_itself else self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.expr:
        is_it = node.id == "__name__" and isinstance(node.ctx, ast.Load)
        return ast.copy_location(ast.Constant("__main__"), node) if is_it else node
