"""How the code is laid out: which file may import which, which one knows private parts of torch, how long a function
may be, where an example must be, and how sentences begin.

The source is parsed and never imported. An import counts wherever it is: at the top of a file, inside of a function, or
under TYPE_CHECKING.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import gc
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TypeGuard

import pytest

ROOT = Path(__file__).parents[1]
# From left to right: a package imports only from itself and from those to its left.
PACKAGES = {"pocketrnn": "runtime", "pocketrnn_training": "trained", "pocketrnn_export": "exporter"}
# The same within the exporter. `bundle_writer` writes every bundle of texts, `numbers` exports modules of numbers, and
# `bundle` those of texts, `trained` a checkpoint; `compression`, `packing` and `mobile` make something of
# a bundle, `integer_accuracy` measures what integers change, and `microcontroller` makes a file of C of a packed one.
WINGS = (
    *(
        "torch_internals",
        "progress",
        "module_runs",
        "comparing",
        "json_reading_and_writing",
        "label_spelling",
        "option_corrections_error",
        "safe_pickle_reader",
        "vocabularies",
    ),
    *(
        "source_code",
        "bundle_description",
        "intake",
        "module_check_by_owner_answers",
        "tracing",
        "proof",
        "crf_of_tagger",
        "forms",
        "bundle_proof",
    ),
    *(
        "bundle_writer",
        "diagnosis",
        "export_lock_and_exceptions",
        "single_text_fallback",
        "predicted_labels_and_data_labels",
        "integer_accuracy",
        "packing_with_integer_products",
    ),
    *("export_arguments", "numbers"),
    *("bundle_export", "checkpoint_export"),
    *(
        "compression",
        "microcontroller",
        "packing",
        "standalone_text_rules_file",
        "mobile_profile",
        "checking",
        "pytest_fixture",
    ),
    "commands",
)
# And within the runtime: its folders, below the files that join them; `commands` is above these.
RUNTIME_WINGS = ("text", "numbers", "bundle", "graph_check", "tables", "engines")
# And within training, where `commands` is above these, too.
TRAINING_WINGS = (
    *(
        "training_events",
        "training_events_as_text",
        "settings",
        "rows",
        "texts",
        "classifiers",
        "measures",
        "preparation",
        "loop",
        "baselines",
        "training_parts_by_row_kind",
    ),
    *(
        "candidates",
        "training",
        "cross_validation",
        "fit_with_scikit_learn_interface",
        "report",
        "run_folder",
        "training_run",
    ),
)
# Folders of the exporter that hold files and other folders.
BESIDE_FOLDERS = tuple(f"pocketrnn_export{folder}" for folder in ("", ".intake", ".tracing", ".forms"))
TERMINAL = {"click", "rich"}
# The only file that uses private parts of torch and onnxscript; it imports nothing of this project.
GUARDED = "pocketrnn_export.torch_internals"
LONGEST = 60

Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = Function | ast.ClassDef


def texts() -> dict[str, str]:
    """Every module of the three packages by its full name; a package by that of its folder."""
    found = {}
    for package, folder in PACKAGES.items():
        for path in sorted((ROOT / folder / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT / folder).with_suffix("").parts).removesuffix(".__init__")
            found[name] = path.read_text(encoding="utf-8")
    return found


TEXTS = texts()


@functools.cache
def source_of(name: str) -> ast.Module:
    """A module's syntax tree, parsed when a test asks: all of them take a second, and every worker imports this
    file."""
    with without_collection():
        return ast.parse(TEXTS[name], name)


@functools.cache
def nodes_of(name: str) -> list[ast.AST]:
    """All nodes of what a module says: to find them takes as long as to parse it, and each test asks for them."""
    with without_collection():
        return list(ast.walk(source_of(name)))


@contextlib.contextmanager
def without_collection() -> Iterator[None]:
    """Nodes live to the end. Looked through for cycles again and again, they take half as long again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@functools.cache
def imports_of(name: str) -> set[str]:
    """The modules that a module imports, of this project and of others."""
    found = set()
    for node in nodes_of(name):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import in line {node.lineno}."
            module = str(node.module)
            # `from pocketrnn_export.intake import module_file` imports a module, named by its last word.
            full = {f"{module}.{alias.name}" for alias in node.names}
            found |= (full & TEXTS.keys()) | ({module} if full - TEXTS.keys() else set())
    return found - {name}


def package_of(name: str) -> str:
    return name.partition(".")[0]


def modules_of(package: str) -> list[str]:
    return [name for name in TEXTS if package_of(name) == package]


def in_commands(name: str) -> bool:
    return name.split(".")[1:2] == ["commands"]


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_from_those_to_its_left(package: str) -> None:
    order = list(PACKAGES)
    to_its_right = set(order[order.index(package) + 1 :])
    wrong = [
        (name, other) for name in modules_of(package) for other in imports_of(name) if package_of(other) in to_its_right
    ]
    assert wrong == []


def test_a_wing_of_the_exporter_imports_only_from_those_to_its_left() -> None:
    package = "pocketrnn_export"
    modules = [name for name in modules_of(package) if name != package]
    wings = {name: name.split(".")[1] for name in modules}
    assert set(wings.values()) <= set(WINGS), "A new wing needs its position in WINGS."
    wrong = [
        (name, other)
        for name in modules
        for other in imports_of(name) & wings.keys()
        if WINGS.index(wings[other]) > WINGS.index(wings[name])
    ]
    assert wrong == []
    # It stands left of all, and needs nothing of the other packages either.
    assert imports_of(GUARDED) & TEXTS.keys() == set()


def test_a_wing_of_the_runtime_imports_only_from_those_to_its_left() -> None:
    modules = [name for name in modules_of("pocketrnn") if name.split(".")[1:2] != ["commands"]]
    wing = {name: part for name in modules if (part := "".join(name.split(".")[1:2])) in RUNTIME_WINGS}
    assert set(wing.values()) == set(RUNTIME_WINGS)
    wrong = [
        (name, other)
        for name in wing
        for other in imports_of(name) & set(modules) - {"pocketrnn.errors", "pocketrnn.install_commands"}
        if other not in wing or RUNTIME_WINGS.index(wing[other]) > RUNTIME_WINGS.index(wing[name])
    ]
    assert wrong == []


def test_a_wing_of_training_imports_only_from_those_to_its_left() -> None:
    package = "pocketrnn_training"
    modules = [name for name in modules_of(package) if name != package and not in_commands(name)]
    wings = {name: name.split(".")[1] for name in modules}
    assert set(wings.values()) == set(TRAINING_WINGS)
    wrong = [
        (name, other)
        for name in modules
        for other in imports_of(name) & wings.keys()
        if TRAINING_WINGS.index(wings[other]) > TRAINING_WINGS.index(wings[name])
    ]
    assert wrong == []


@pytest.mark.parametrize("package", PACKAGES)
def test_only_commands_know_a_terminal(package: str) -> None:
    # `python -m pocketrnn` starts the command line and does nothing else.
    modules = [name for name in modules_of(package) if not in_commands(name) and name != "pocketrnn.__main__"]
    wrong = [
        (name, other)
        for name in modules
        for other in imports_of(name)
        if package_of(other) in TERMINAL or (package_of(other) in PACKAGES and in_commands(other))
    ]
    assert wrong == []


def test_no_imports_run_in_a_circle() -> None:
    circle: list[str] = []
    try:
        TopologicalSorter({name: imports_of(name) & TEXTS.keys() for name in TEXTS}).prepare()
    except CycleError as error:
        circle = error.args[1]
    assert circle == []


def test_no_folders_of_the_exporter_import_each_other() -> None:
    modules = [name for name in modules_of("pocketrnn_export") if name.count(".") > 0]
    # A file that stands beside folders joins them, and counts by itself.
    folders = {name: parent for name in modules if (parent := name.rpartition(".")[0]) not in BESIDE_FOLDERS}
    imports: dict[str, set[str]] = {}
    for name in modules:
        place = folders.get(name, name)
        imports.setdefault(place, set()).update(folders.get(one, one) for one in imports_of(name) & set(modules))
    circle: list[str] = []
    try:
        TopologicalSorter({place: others - {place} for place, others in imports.items()}).prepare()
    except CycleError as error:
        circle = error.args[1]
    assert circle == []


def lines_of(function: Function) -> int:
    """The lines from `def` to the end, without the docstring; decorators stand before `def`."""
    first = function.body[0]
    has_docstring = ast.get_docstring(function) is not None
    docstring = (first.end_lineno or 0) - first.lineno + 1 if has_docstring else 0
    return (function.end_lineno or 0) - function.lineno + 1 - docstring


@pytest.mark.parametrize("package", PACKAGES)
def test_a_function_has_at_most_sixty_lines_or_says_why_not(package: str) -> None:
    long = [
        (name, node.name, lines)
        for name in modules_of(package)
        for node in nodes_of(name)
        if isinstance(node, Function)
        and (lines := lines_of(node)) > LONGEST
        and not re.search(r"^Long because ", ast.get_docstring(node) or "", re.MULTILINE)
    ]
    assert long == []


def public_names(package: str) -> list[str]:
    for node in source_of(package).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names: list[str] = ast.literal_eval(node.value)
            return names
    pytest.fail(f"{package} has no __all__.")


def definition_of(module: str, name: str) -> Definition | None:
    """The function or class that a module has under a name, also when it imports it; None for another value. Where a
    function has overloads, it is the last definition, which does the work."""
    for node in reversed(source_of(module).body):
        if isinstance(node, Definition) and node.name == name:
            return node
    for imported in nodes_of(module):
        if isinstance(imported, ast.ImportFrom) and imported.module in TEXTS:
            for alias in imported.names:
                if (alias.asname or alias.name) == name:
                    return definition_of(imported.module, alias.name)
    assigned = (ast.unparse(node.targets[0]) for node in source_of(module).body if isinstance(node, ast.Assign))
    assert name in assigned, f"{module} does not define {name}."
    return None


def methods_of(definition: ast.ClassDef) -> Iterator[Function]:
    """The public methods of a class, without properties and the signatures of overloads."""
    others = {"property", "functools.cached_property", "cached_property", "overload", "typing.overload"}
    for node in definition.body:
        if not isinstance(node, Function) or node.name.startswith("_"):
            continue
        if not {ast.unparse(decorator) for decorator in node.decorator_list} & others:
            yield node


def public_functions(package: str) -> Iterator[tuple[str, Function]]:
    """The functions in the package's `__all__`, and the methods of the classes there."""
    for name in public_names(package):
        found = definition_of(package, name)
        if isinstance(found, ast.ClassDef):
            yield from ((f"{name}.{method.name}", method) for method in methods_of(found))
        elif found is not None:
            yield name, found


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_function_shows_an_example(package: str) -> None:
    functions = dict(public_functions(package))
    assert functions
    without = [
        name
        for name, function in functions.items()
        if not re.search(r"^Examples?:\n+ +>>> ", ast.get_docstring(function) or "", re.MULTILINE)
    ]
    assert without == []


# --- Private parts of torch and onnxscript ---

FOREIGN = {"torch", "onnxscript", "onnx_ir", "onnx", "onnxruntime"}
# How PyTorch's objects keep what a trace knows: `size.node.expr`, `environment.guards`, `guard.sloc`.
OF_A_TRACE = {"guards", "shape_env", "sloc"}
OF_A_NODE = {"expr", "hint"}
# Names with an underscore that are documented. torch's page on sparse tensors shows the last two for a tensor that is
# not coalesced.
DOCUMENTED = {"_empty", "_exit", "_getframe", "_indices", "_replace", "_values"}
# Dunder names that say what a library is, and those that torch's page on `__torch_function__` shows.
SAID = {"__file__", "__version__", "__get__", "__name__"}


# The functions that take the name of an attribute as text.
BY_NAME = {"getattr", "setattr", "hasattr", "delattr"}


def is_private(dotted: str) -> bool:
    """Whether a full name leads through a part of a library that is private; torch.fx.experimental says it is."""
    first, *others = dotted.split(".")
    if first not in FOREIGN:
        return False
    dunder = any(part.startswith("__") and part not in SAID for part in others)
    underscore = any(part.startswith("_") and not part.startswith("__") for part in others)
    return dunder or underscore or dotted.startswith("torch.fx.experimental")


def names_bound(nodes: Sequence[ast.AST]) -> tuple[dict[str, str], list[str]]:
    """The full name for each name of a file, by its imports and `name = library.part`; and the full names imported."""
    bound, imported = {}, []
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                imported.append(alias.name)
                bound[alias.asname or package_of(alias.name)] = alias.name if alias.asname else package_of(alias.name)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                imported.append(f"{node.module}.{alias.name}")
                bound[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    for node in nodes:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            full = full_name(node.value, bound)
            if full is not None and package_of(full) in FOREIGN:
                bound.setdefault(node.targets[0].id, full)
    return bound, imported


def full_name(node: ast.AST, bound: dict[str, str]) -> str | None:
    if isinstance(node, ast.Name):
        return bound.get(node.id)
    if isinstance(node, ast.Attribute):
        before = full_name(node.value, bound)
        return None if before is None else f"{before}.{node.attr}"
    return None


def names_defined(nodes: Sequence[ast.AST]) -> set[str]:
    """The names that this project defines: a name with an underscore that is not one of them is somebody else's."""
    return (
        {node.name for node in nodes if isinstance(node, Definition)}
        | {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        | {node.attr for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)}
        | {str(key.value) for node in nodes if isinstance(node, ast.Dict) for key in node.keys if is_constant(key)}
    )


def is_constant(node: ast.AST | None) -> TypeGuard[ast.Constant]:
    return isinstance(node, ast.Constant)


def private_uses(text: str, ours: set[str]) -> list[str]:
    """The private parts of torch and onnxscript that a file uses, each with its line.

    Looked for: imports, from anywhere in the file; attributes, also of `nn` and other names that were imported or
    assigned, and `__code__` and the like of what is a library's; names with an underscore that nothing of ours
    defines, also as text for `getattr`; what a size of a trace has; and the name of a private module in any text.
    """
    return private_uses_in(list(ast.walk(ast.parse(text))), text, ours)


def private_uses_in(nodes: Sequence[ast.AST], text: str, ours: set[str]) -> list[str]:
    bound, imported = names_bound(nodes)
    found = [f"imports {name}" for name in imported if is_private(name)]
    for node in nodes:
        if isinstance(node, ast.Attribute):
            full, name = full_name(node, bound), node.attr
            hidden = name.startswith("_") and not name.startswith("__") and name not in ours | DOCUMENTED
            of_node = isinstance(node.value, ast.Attribute) and node.value.attr == "node" and name in OF_A_NODE
            if hidden or of_node or name in OF_A_TRACE or (full is not None and is_private(full)):
                found.append(f"{node.lineno}: {ast.unparse(node)}")
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in BY_NAME:
            name = node.args[1].value if isinstance(node.args[1], ast.Constant) else ""
            if re.match(r"_[a-z]", str(name)) and name not in ours:
                found.append(f"{node.lineno}: {ast.unparse(node)}")
    in_text = re.compile(r"\btorch\._(?!VF|_)\w|from torch\._|torch\.fx\.experimental|torch\.utils\._|onnxscript\._")
    return found + [f"{i}: {line}" for i, line in enumerate(text.splitlines(), 1) if in_text.search(line)]


@pytest.mark.slow
def test_private_parts_of_torch_are_in_one_file() -> None:
    ours = names_defined([node for name in TEXTS for node in nodes_of(name)])
    wrong = {name: private_uses_in(nodes_of(name), TEXTS[name], ours) for name in TEXTS if name != GUARDED}
    assert {name: uses for name, uses in wrong.items() if uses} == {}
    assert len(private_uses_in(nodes_of(GUARDED), TEXTS[GUARDED], ours)) > 20


def test_the_least_torch_that_pyproject_allows_is_one_that_was_run() -> None:
    releases = next(
        ast.literal_eval(node.value)
        for node in source_of(GUARDED).body
        if isinstance(node, ast.AnnAssign) and node.value is not None and ast.unparse(node.target) == "RELEASES"
    )
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    asked = [line for extra in extras.values() for line in extra if re.match(r"torch\W", line)]
    assert set(asked) == {f"torch>={releases[0]}"}
    assert f'torch: ["{releases[0]}.0", newest, nightly]' in (ROOT / ".github/workflows/tests.yml").read_text("utf-8")


@pytest.mark.parametrize(
    "text",
    [
        "import torch._dynamo",
        "import torch.fx.experimental.symbolic_shapes as shapes",
        "from torch.fx import experimental",
        "from torch.utils import _pytree as pytree",
        "def f():\n    from torch._subclasses.fake_tensor import FakeTensor",
        "import torch\ntorch._C._get_tracing_state()",
        "import torch as t\nt.utils._sympy",
        "from torch import nn\nnn.modules.module._global_buffer_registration_hooks",
        "import torch\nutils = torch.utils\nutils._pytree",
        "from torch.nn.utils import rnn\nrnn.pack_padded_sequence.__code__ = None",
        "import torch\ntorch.SymBool.__bool__ = len",
        "from onnxscript.rewriter.rules.common import _no_op",
        "from onnxscript import rewriter\nrewriter._DEFAULT_REWRITE_RULES",
        "def f(layer):\n    return layer._flat_weights",
        "def f(target):\n    return getattr(target, '_overloadname', '')",
        "def f(size):\n    return size.node.expr",
        "def f(size):\n    return size.node.shape_env.guards",
        "import importlib\nimportlib.import_module('torch._export')",
        "x = 1  # as torch._inductor does",
    ],
)
def test_a_private_part_is_found_however_it_is_named(text: str) -> None:
    assert private_uses(text, {"_own"})


@pytest.mark.parametrize(
    "text",
    [
        "import torch\nprint(torch.__version__, torch.export.Dim.DYNAMIC, torch.jit.trace)",
        "import sys\nsys._getframe(1)",
        "def f(self):\n    return self._own, getattr(self, '_own')",
        "def f(statement):\n    return statement.node.lineno",
        "from torch import nn\nnn.GRU.forward",
    ],
)
def test_what_is_public_is_not_taken_for_private(text: str) -> None:
    assert private_uses(text, {"_own"}) == []


@pytest.mark.slow
def test_a_checkpoint_is_exported_without_what_only_training_needs() -> None:
    # `[export]` brings no pyarrow: scripts/demo exports the shipped checkpoint with that extra alone.
    code = (
        "import sys\n"
        "for name in ('pyarrow', 'lightning_fabric', 'sklearn', 'rich', 'matplotlib', 'scipy'):\n"
        "    sys.modules[name] = None\n"
        "import pathlib\n"
        "from pocketrnn_export.checkpoint_export import read_export_arguments_from_checkpoint\n"
        "from pocketrnn_export import bundle_export, compression, mobile_profile, packing\n"
        "read_export_arguments_from_checkpoint(pathlib.Path(sys.argv[1]))\n"
    )
    checkpoint = ROOT / "trained" / "pocketrnn_zoo" / "ag_news" / "checkpoint"
    done = subprocess.run([sys.executable, "-c", code, str(checkpoint)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


# --- Messages ---

# Words with nothing but spaces and commas between them are a sentence's; what a message names stands between others.
SENTENCE = re.compile(r"(?:\b[A-Za-z]+[ ,]+){3}\b[A-Za-z]+")


def sentences_compared(text: str) -> list[str]:
    """The English sentences that `match=` compares, each with its line: the string itself, or a parametrised test's
    values for the name that stands there."""
    # Most files have neither words nor a name there, and to parse all takes two seconds.
    behind = [after[:300] for after in text.split("match=")[1:]]
    if not any(SENTENCE.search(after) or re.match(r"f|[^\"']*\b[a-z]\w*[,)]", after) for after in behind):
        return []
    tree = ast.parse(text)
    compared = [node.value for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg == "match"]
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            compared += [value for name in names_compared(function) for value in parametrised(function, name)]
    return [
        f"{part.lineno}: {part.value}"
        for value in compared
        for part in ast.walk(value)
        if is_constant(part) and isinstance(part.value, str) and SENTENCE.search(part.value)
    ]


def names_compared(function: ast.FunctionDef) -> set[str]:
    """The names that stand in what a test's `match=` compares."""
    matches = [node for node in ast.walk(function) if isinstance(node, ast.keyword) and node.arg == "match"]
    return {part.id for match in matches for part in ast.walk(match) if isinstance(part, ast.Name)}


def parametrised(function: ast.FunctionDef, name: str) -> Iterator[ast.expr]:
    """The values of `pytest.mark.parametrize` for one of a test's arguments."""
    for decorator in function.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.parametrize":
            names = ast.literal_eval(decorator.args[0])
            names = [part.strip() for part in names.split(",")] if isinstance(names, str) else list(names)
            if name in names:
                for case in getattr(decorator.args[1], "elts", []):
                    values = case.args if isinstance(case, ast.Call) else case.elts if len(names) > 1 else [case]
                    yield values[names.index(name)]


def test_a_test_compares_what_a_refusal_names_and_not_its_sentence() -> None:
    tests = sorted((ROOT / "tests").rglob("*.py"))
    found = {str(path.relative_to(ROOT)): sentences_compared(path.read_text(encoding="utf-8")) for path in tests}
    assert {name: lines for name, lines in found.items() if lines} == {}, (
        "Let match= have no four words of English in a row, so that a sentence can be made better without a test: "
        "compare the file, value or option that the message names; if it names too little, let it name more."
    )
    assert sentences_compared('raises(E, match="is not a plain value")') == ["1: is not a plain value"]
    assert sentences_compared(r'raises(E, match=r"a\.csv .*\b301\b|not plain")') == []
    cases = '@pytest.mark.parametrize("a, said", [(1, "two"), (2, "is not a plain value")])\n'
    assert sentences_compared(cases + "def f(a, said): raises(E, match=said)") == ["1: is not a plain value"]
    assert sentences_compared(cases + "def f(a, said): raises(E, match=a)") == []


# --- Sentences ---

# The folders and pages in which every sentence begins with its subject.
PLAIN = ("runtime", "trained", "exporter", "scripts", "tests", "docs", "examples", "README.md", "CONTRIBUTING.md")
# Pages that are made of the code, where their sentences are held.
MADE = {ROOT / "docs" / f"{name}.md" for name in ("command-line", "files", "reference")}
# Files whose texts hold such sentences on purpose: these tests, and a verdict that tells how many rows it is about.
SHOWN = {ROOT / "tests" / "test_imports.py", ROOT / "tests" / "native" / "test_integer_products.py"}
# From the begin of a text, or from the end of a sentence or a clause, to the end of the sentence.
OF_OR_WHAT = re.compile(r"""(?:^|[.!?:;]["')*`\]]* )["'(*_[]*((?:Of|What) .*?(?:[.!?](?=["')*_`]*(?: |$))|$))""")


def plain_files() -> Iterator[Path]:
    """The pages and the files of Python in `PLAIN`; a script is told by its first line."""
    for path in (ROOT / name for name in PLAIN):
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            in_scripts = file.parent == ROOT / "scripts" and not file.suffix and file.is_file()
            if file.suffix in (".py", ".md") or (in_scripts and "python" in file.read_text("utf-8").partition("\n")[0]):
                yield file


def texts_in(path: Path) -> Iterator[str]:
    """The text of a page without its code, or the strings and the comments of a file of Python."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        yield re.sub(r"(?ms)^ *```.*?^ *```$", "", text)
        return
    parts: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.JoinedStr):
            parts |= {id(part) for part in node.values}
            yield "".join(str(part.value) if is_constant(part) else "{}" for part in node.values)
        elif is_constant(node) and isinstance(node.value, str) and id(node) not in parts:
            yield node.value
    # A comment on lines of its own goes on from one to the next; one behind code does not.
    lines = ((re.match(r"\s*#:? ?(.*)", line), re.search(r"  # (.*)", line)) for line in text.splitlines())
    yield "\n".join(alone[1] if alone else f"\n{behind[1]}\n" if behind else "" for alone, behind in lines)


def begun_without_subject(text: str) -> list[str]:
    """The sentences that begin with "Of" or "What", and are neither questions nor exclamations; headings are none."""
    without_headings = re.sub(r"(?m)^#+ .*$", "", text)
    paragraphs = re.split(r"\n\s*\n|\n\s*(?:[-*>]|\d+\.) |\|", f"\n{without_headings}")
    found = (match[1] for part in paragraphs for match in OF_OR_WHAT.finditer(" ".join(part.split())))
    return [sentence for sentence in found if not sentence.endswith(("?", "!"))]


@pytest.mark.slow
def test_every_sentence_begins_with_its_subject() -> None:
    files = [path for path in plain_files() if path not in MADE | SHOWN]
    assert len(files) > 500
    found = [
        f"{path.relative_to(ROOT)}: {sentence}"
        for path in files
        for text in texts_in(path)
        for sentence in begun_without_subject(text)
    ]
    assert found == [], 'Begin with the subject: "The text that ..." or "Returns ...", not "What ..." or "Of ...".'
    assert set(plain_files()) >= SHOWN


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("What the hub raises, as a sentence.", 1),
        ("One row. Of several, the first\ncounts.", 1),
        ("Args:\n    text: What is read.", 1),
        ("| a | What is read |", 1),
        ("- one\n- What is two", 1),
        ("**Of a file** only the head is read.", 1),
        ("What is it? Who knows what it is.", 0),
        ("What a film!", 0),
        ("## What a page knows\n\nA page of `Of` and What's new.", 0),
    ],
)
def test_a_sentence_without_a_subject_is_found(text: str, count: int) -> None:
    assert len(begun_without_subject(text)) == count


# Words that a reader has to read twice, and what to write in their place.
READ_TWICE = {
    r"\b(?:None|NULL|undefined|[Ee]mpty) where (?!its )": "if",
    r"\b(?:sizes?|lengths?|those) on both sides of": "just below and above",
    r"\bits like\b": "similar ones",
}


@pytest.mark.slow
def test_no_phrase_has_to_be_read_twice() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {phrase[0]!r}, write: {better}"
        for path in plain_files()
        if path not in MADE | SHOWN
        for text in texts_in(path)
        for pattern, better in READ_TWICE.items()
        for phrase in re.finditer(pattern, " ".join(text.split()))
    ]
    assert found == []


def test_sentences_are_read_from_strings_and_comments(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text('x = f"Of {1} two"  # Of three\n# One\n# of four. What five\ny = f"What is {x}?"\n')
    found = [sentence for text in texts_in(tmp_path / "a.py") for sentence in begun_without_subject(text)]
    assert found == ["Of {} two", "Of three", "What five"]
