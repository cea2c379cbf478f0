"""Fetch and build other people's modules; `tests/corpus.toml` says where they are, and how they are made and called.

Their code is not part of this project. `fetch_entry` takes the files of an entry from GitHub or a folder of clones,
into a cache; `make_spec` runs the classes and functions of its file, and makes a module of it.
"""

from __future__ import annotations

import ast
import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import random
import re
import subprocess
import sys
import tomllib
import types
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

__all__ = [
    "CORPUS",
    "Entry",
    "fetch_entry",
    "find_cache_folder",
    "get_entry_folder",
    "is_fetched",
    "list_package_entries",
    "make_export_arguments",
    "make_spec",
    "make_spec_module",
    "read_entries",
]

CORPUS: Final = Path(__file__).parents[1] / "tests" / "corpus.toml"
RAW: Final = "https://raw.githubusercontent.com"
SECONDS: Final = 60


@dataclass(frozen=True)
class Entry:
    """A module, and how its owner makes it and calls it.

    The values of `before`, `make`, `before_call`, `arguments` and `reads` are Python, in the names of the module's file
    and of `torch`, `nn`, `F`, `np`, `SimpleNamespace` and `pack_padded_sequence`.

    Attributes:
        page: the page of docs/ that has it.
        repository, commit, path, name: where it is; `name` is its class. An empty commit: not yet located.
        special: what is special about it, for the table.
        results: the verdicts that the page has, in the order of its columns; the last two are pocketrnn's.
        measured: those of pocketrnn alone and with one line, when the entry was last run.
        not_counted: why its result says nothing.
        files: further files of the repository that it imports.
        before: statements that are run before it is made.
        make: makes it.
        labels: how many classes; 0 if it gives values.
        values: how many numbers it gives, where these are not labels.
        ids, padding: how many ids, and which one pads.
        rules: text rules that the owner's code applies.
        channels, steps, least: of sequences of numbers: how many numbers a step has; how many steps each sequence has,
            and at least, where the owner's code takes no others.
        before_call: statements that are run before each call.
        arguments: what it is called with: an expression, or several with commas between. It may have `tokens` (int64
            [batch, sequence]), `lengths` (int64 [batch]), `rows`, or `samples` (float32 [batch, steps, channels]);
            where `options` has `two_texts`, `first`, `first_lengths`, `second` and `second_lengths`; each of the
            `features` by its name [batch], and `numbers`, those that are numbers [batch, numbers]; `n`, the batch; and
            `module`. Else `tokens`, both texts, or `samples`.
        reads: the probabilities [n, labels] or [n], or the values, of its `output`; else the softmax of it, or itself
            where it gives values.
        options: further arguments of `export` that describe the task.
        call, gives, told: the one line; `told` are further arguments of `export`.
        tags: of a tagger: an expression for the labels of the tokens of `n` texts, whole numbers, as its owner's code
            asks for them. It may have `module`, `tokens`, `lengths`, `mask` (true at the tokens), `sentences` (the
            texts without their padding) and `n`.
        features: what it takes beside a text: for each name the word "number", or how many values a category has.
        packages: the names of packages, of the tables `package`, that it imports.

    Example:
        >>> next(one.path for one in read_entries() if one.repository == "keon/3-min-pytorch").endswith(".py")
        True
    """

    page: str
    repository: str
    path: str
    name: str
    special: str
    results: tuple[str, ...]
    commit: str = ""
    measured: tuple[str, ...] = ()
    not_counted: str = ""
    files: tuple[str, ...] = ()
    before: str = ""
    make: str = ""
    labels: int = 0
    values: int = 0
    ids: int = 100
    padding: int = 1
    rules: Mapping[str, Any] = field(default_factory=dict)
    channels: int = 0
    steps: int | None = None
    least: int = 0
    before_call: str = ""
    arguments: str = ""
    reads: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    call: str | None = None
    gives: str | None = None
    told: Mapping[str, Any] = field(default_factory=dict)
    tags: str = ""
    features: Mapping[str, Any] = field(default_factory=dict)
    packages: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Its title in tables and records.

        Example:
            >>> next(read_entries()).title.split(", ")[0]
            '649453932/Chinese-Text-Classification-Pytorch'
        """
        return f"{self.repository}, {self.path}, {self.name}"

    @property
    def has_line(self) -> bool:
        """Whether it has a line that is used to export it.

        Example:
            >>> any(one.has_line for one in read_entries())
            True
        """
        return bool(self.call or self.gives or self.told)

    @property
    def is_located(self) -> bool:
        """Whether the entry can be fetched and run."""
        return bool(self.commit and self.make)


def read_entries() -> Iterator[Entry]:
    """The entries of `tests/corpus.toml`, in order.

    Raises:
        TypeError: one has a field that there is not, or lacks one.

    Example:
        >>> {one.page for one in read_entries()} == {"modules", "number-modules", "tags", "pairs"}
        True
    """
    for one in _read_corpus_file()["module"]:
        yield Entry(**{name: tuple(value) if isinstance(value, list) else value for name, value in one.items()})


def _read_corpus_file() -> dict[str, Any]:
    return tomllib.loads(CORPUS.read_text(encoding="utf-8"))


def list_package_entries(entry: Entry) -> list[Entry]:
    """List the packages from other repositories that an entry's module imports; each is an entry that has its files."""
    known = _read_corpus_file().get("package", {})
    return [Entry(page="", name="", special="", results=(), make="0", **known[name]) for name in entry.packages]


def fetch_entry(entry: Entry, cache: Path, repositories: Path | None = None) -> Path:
    """Return the folder of an entry's files; fetch the files first if they are missing.

    Args:
        entry: which module.
        cache: the folder of all such folders, outside of this project.
        repositories: a folder of clones, which are taken instead of GitHub: OWNER/NAME or OWNER+NAME, each a work tree
            or a git directory, or with one of these in `repo`.

    Raises:
        OSError: a file is not to be had.

    Example:
        >>> fetch_entry(next(read_entries()), Path("/tmp/corpus")).name  # doctest: +SKIP
        '6cb26819af7b646275aff8a4693676f2849e67f6'
    """
    folder = get_entry_folder(entry, cache)
    for package in list_package_entries(entry):
        fetch_entry(package, cache, repositories)
    for path in (entry.path, *entry.files):
        if not (folder / path).exists():
            content = (
                _copy_from_clone(entry, path, repositories) if repositories else _download_from_github(entry, path)
            )
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
    return folder


def get_entry_folder(entry: Entry, cache: Path) -> Path:
    """Return the folder of an entry's files, whether they were fetched or not."""
    return cache / entry.repository / entry.commit


def is_fetched(entry: Entry, cache: Path) -> bool:
    """Return whether all files of an entry have been fetched.

    Example:
        >>> is_fetched(next(read_entries()), Path("/no/such/folder"))
        False
    """
    return entry.is_located and all(
        (get_entry_folder(entry, cache) / path).exists() for path in (entry.path, *entry.files)
    )


def _download_from_github(entry: Entry, path: str) -> bytes:
    address = f"{RAW}/{entry.repository}/{entry.commit}/{urllib.parse.quote(path)}"
    with urllib.request.urlopen(address, timeout=SECONDS) as answer:  # noqa: S310 - RAW is https
        content: bytes = answer.read()
    return content


def _copy_from_clone(entry: Entry, path: str, repositories: Path) -> bytes:
    named = (repositories / entry.repository, repositories / entry.repository.replace("/", "+"))
    places = (folder / inner for folder in named for inner in (".git", "repo/.git", "repo", "."))
    for place in places:
        if (place / "HEAD").exists():
            command = ["git", "--git-dir", str(place), "show", f"{entry.commit}:{path}"]
            done = subprocess.run(command, capture_output=True, check=False)
            if done.returncode:
                raise FileNotFoundError(f"{place} has no {path} at {entry.commit}: {done.stderr.decode().strip()}")
            return done.stdout
    raise FileNotFoundError(f"{repositories} has no clone of {entry.repository}")


def find_cache_folder() -> Path:
    """Find the folder for fetched files if no option names one: POCKETRNN_CORPUS, or a folder in the user's cache.

    Example:
        >>> find_cache_folder().name  # doctest: +SKIP
        'pocketrnn-corpus'
    """
    usual = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "pocketrnn-corpus"
    return Path(os.environ.get("POCKETRNN_CORPUS", usual))


# --- a module of the files


def make_spec(entry: Entry, folder: Path) -> Any:
    """Make the spec of a module for scripts/measure_modules, with `module()`, `arguments()` and so on, as in a spec.py.

    Args:
        entry: which module.
        folder: what `fetched` gave.

    Example:
        >>> make_spec(entry, fetch_entry(entry, cache)).module()  # doctest: +SKIP
        RNN(...)
    """
    import torch

    found: list[dict[str, Any]] = []
    usual = "samples" if entry.channels else ", ".join(name for name in list_input_names(entry) if "length" not in name)
    reading = entry.reads or ("output" if entry.values else "torch.softmax(output, -1)")

    def known() -> dict[str, Any]:
        if not found:
            _seed_generators()
            found.append(_run_definitions(entry, folder))
        return found[0]

    def module() -> Any:
        return eval(entry.make, known())  # noqa: S307

    def arguments(module: Any, given: Any) -> tuple[Any, ...]:
        inputs = {"module": module, **(given if isinstance(given, Mapping) else _make_inputs(entry, given))}
        first = next(value for name, value in inputs.items() if name != "module")
        # A graph may be traced of this: len() would make a constant of the batch.
        inputs["n"] = first.shape[0] if isinstance(first, torch.Tensor) else len(first)
        if "number" in entry.features.values():
            numbers = [inputs[name] for name, kind in entry.features.items() if kind == "number"]
            inputs["numbers"] = torch.stack(numbers, 1)
        exec(entry.before_call, scope := {**known(), **inputs})  # noqa: S102
        called: tuple[Any, ...] = eval(f"({entry.arguments or usual},)", scope)  # noqa: S307
        return called

    def labels_of_tokens(module: Any, tokens: Any, lengths: Any) -> Any:
        inputs = {"tokens": tokens, "lengths": lengths, "mask": tokens != entry.padding, "n": tokens.shape[0]}
        if "sentences" in entry.tags:
            # One text is not cut: then its number of tokens may change.
            cut = zip(tokens, lengths.tolist() if tokens.shape[0] > 1 else [None], strict=True)
            inputs["sentences"] = [row[:n] for row, n in cut]
        return eval(entry.tags, {**known(), "module": module, **inputs})  # noqa: S307

    def reads(output: Any, n: int) -> Any:
        return eval(reading, {**known(), "output": output, "n": n})  # noqa: S307

    return types.SimpleNamespace(
        LABELS=entry.labels or None, IDS=entry.ids, PADDING=entry.padding, RULES=dict(entry.rules),
        EXPORT=dict(entry.options), CALL=entry.call, GIVES=entry.gives, TOLD=dict(entry.told),
        NOT_COUNTED=entry.not_counted, CHANNELS=entry.channels or None, STEPS=entry.steps, LEAST=entry.least,
        VALUES=entry.values or None, known=known, module=module, arguments=arguments, probabilities=reads, values=reads,
        TAGS=bool(entry.tags), tags=labels_of_tokens, INPUTS=list_input_names(entry), FEATURES=dict(entry.features),
    )  # fmt: skip


def list_input_names(entry: Entry) -> tuple[str, ...]:
    """Return the names of the tensors that a module's owner makes from a batch of texts.

    Example:
        >>> list_input_names(next(read_entries()))
        ('tokens', 'lengths')
    """
    if entry.options.get("two_texts"):
        return "first", "first_lengths", "second", "second_lengths"
    return "tokens", "lengths", *entry.features


def make_spec_module(spec: Any) -> Any:
    """Make the module of a spec, always with the same random weights.

    Example:
        >>> make_spec_module(spec).training  # doctest: +SKIP
        False
    """
    # An import may draw numbers.
    getattr(spec, "known", dict)()
    _seed_generators()
    module = spec.module()
    for layer in module.modules():
        # Its owner's train() may be something else.
        layer.training = False
    # A sequence of numbers may be given in double precision.
    return module if spec.CHANNELS else module.float()


def _seed_generators() -> None:
    import numpy as np
    import torch

    torch.manual_seed(7)
    np.random.seed(7)
    random.seed(7)


def make_export_arguments(spec: Any, *, call: bool) -> dict[str, Any]:
    """Make the arguments of `export`, without the module and the path.

    Args:
        spec: of a module.
        call: whether with the one line.

    Example:
        >>> make_export_arguments(spec, call=False)["labels"]  # doctest: +SKIP
        ['label 0', 'label 1']
    """
    from pocketrnn import Number
    from pocketrnn.text import TextRules

    told = {"call": spec.CALL, "gives": spec.GIVES, **spec.TOLD} if call else {}
    if spec.LABELS:
        answers = {"labels": [f"label {i}" for i in range(spec.LABELS)]}
    else:
        answers = {"values": [f"value {i}" for i in range(spec.VALUES)]}
    if spec.CHANNELS:
        return {**answers, "channels": spec.CHANNELS, "steps": spec.STEPS, **spec.EXPORT, **told}
    if spec.TAGS:
        answers["labels_of"] = "tokens"
    if spec.FEATURES:
        answers["features"] = {
            name: Number() if kind == "number" else [f"value {i}" for i in range(kind)]
            for name, kind in spec.FEATURES.items()
        }
    words = [f"w{i}" for i in range(spec.IDS)]
    # A word of the owner's padding never comes in a text.
    words[spec.PADDING] = "<pad>"
    rules = TextRules(
        tokenizer="whitespace", unknown_id=None, padding_id=spec.PADDING,
        empty_id=spec.PADDING if spec.PADDING else 0, **spec.RULES,
    )  # fmt: skip
    return {**answers, "vocabulary": words, "rules": rules, **spec.EXPORT, **told}


def _make_inputs(entry: Entry, given: Any) -> dict[str, Any]:
    import torch

    if entry.channels:
        return {"samples": given}
    lengths = [sum(i != entry.padding for i in row) or 1 for row in given]
    return {"tokens": torch.tensor(given), "lengths": torch.tensor(lengths), "rows": given}


def _run_definitions(entry: Entry, folder: Path) -> dict[str, Any]:
    """Run a file's definitions, and return its names: its classes and functions, its imports, and constants. Nothing
    else in it is run."""
    import numpy as np
    import torch
    from torch import nn
    from torch.nn.utils.rnn import pack_padded_sequence

    path, cache = folder / entry.path, folder.parents[2]
    _forget_last_modules(cache)
    sys.path[:0] = [str(folder / part) for part in reversed(Path(entry.path).parents)]
    sys.path[:0] = [str(get_entry_folder(package, cache)) for package in list_package_entries(entry)]
    file = types.ModuleType(_make_module_name(path.stem))
    file.__package__ = ".".join(Path(entry.path).parent.parts)
    file.__dict__.update(torch=torch, nn=nn, F=nn.functional, np=np, SimpleNamespace=types.SimpleNamespace,
                         pack_padded_sequence=pack_padded_sequence)  # fmt: skip
    sys.modules[file.__name__] = file
    text = _read_source(path)
    if path.suffix == ".ipynb":
        # The exporter reads this as the module's file.
        path = path.with_suffix(".py")
        path.write_text(text, encoding="utf-8")
    file.__file__ = str(path)
    sys.meta_path.append(stubs := _Stubs(_find_missing_packages(entry, folder)))
    try:
        definitions = [*filter(_is_definition, _parse_statements(text))]
        # A definition that fails, as of a file of the repository that the entry does not name, is not needed; or it is
        # of names that `before` gives.
        failed = [one for one in definitions if not _is_defined(one, path, file.__dict__)]
        exec(entry.before, file.__dict__)  # noqa: S102 - that is what the field is for
        for one in failed:
            _is_defined(one, path, file.__dict__)
    finally:
        sys.meta_path.remove(stubs)
        # The exporter is not to find a package that is not installed.
        for name in [name for name, module in sys.modules.items() if isinstance(module, _Stub)]:
            del sys.modules[name]
    return file.__dict__


def _is_defined(statement: ast.stmt, path: Path, names: dict[str, Any]) -> bool:
    try:
        exec(compile(ast.Module([statement], []), str(path), "exec"), names)  # noqa: S102
    except Exception:
        return False
    return True


def _make_module_name(stem: str) -> str:
    """Return the name of the file as a module, unless a module that others import has this name."""
    name = re.sub(r"\W", "_", stem)
    return f"{name}_of_corpus" if name in sys.modules or name in sys.stdlib_module_names else name


def _forget_last_modules(cache: Path) -> None:
    """Remove the modules imported last: two repositories may each have a `utils`."""
    inside = str(cache)

    def places(module: types.ModuleType) -> list[str]:
        found = getattr(getattr(module, "__spec__", None), "submodule_search_locations", None) or ()
        return [str(place) for place in (getattr(module, "__file__", None), *found)]

    for name in [n for n, module in sys.modules.items() if any(p.startswith(inside) for p in places(module))]:
        del sys.modules[name]
    sys.path[:] = [place for place in sys.path if not place.startswith(inside)]


def _parse_statements(text: str) -> list[ast.stmt]:
    try:
        return ast.parse(text).body
    except TabError:
        # As Python 2 read it.
        return ast.parse(text.expandtabs(8)).body


def _is_definition(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Import | ast.ImportFrom | ast.ClassDef | ast.FunctionDef):
        return True
    constant = (
        ast.Constant,
        ast.BinOp,
        ast.UnaryOp,
        ast.operator,
        ast.unaryop,
        ast.List,
        ast.Tuple,
        ast.Dict,
        ast.Load,
    )
    return (
        isinstance(statement, ast.Assign)
        and all(isinstance(target, ast.Name) for target in statement.targets)
        and all(isinstance(node, constant) for node in ast.walk(statement.value))
    )


def _find_missing_packages(entry: Entry, folder: Path) -> set[str]:
    """Return the packages that its files import if they are neither installed nor among the files."""
    names = set()
    for path in (entry.path, *entry.files):
        if path.endswith(".py") and path != entry.path:
            text = (folder / path).read_text(encoding="utf-8-sig")
        elif path == entry.path:
            text = _read_source(folder / path)
        else:
            continue
        for node in ast.walk(ast.Module(_parse_statements(text), [])):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.split(".")[0])
    return {name for name in names if name not in sys.modules and importlib.util.find_spec(name) is None}


def _read_source(path: Path) -> str:
    """Return the text of a file. For a notebook, return its cells, without lines that only Jupyter understands and
    without cells that are not Python."""
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix != ".ipynb":
        return text
    cells = []
    for cell in json.loads(text)["cells"]:
        if cell["cell_type"] == "code":
            lines = "".join(cell["source"]).splitlines()
            code = "\n".join("" if line.lstrip().startswith(("%", "!")) else line for line in lines)
            with contextlib.suppress(SyntaxError):
                ast.parse(code)
                cells.append(code)
    return "\n\n".join(cells) + "\n"


class _Stubs(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Stands for packages that are not installed: every name in them is a class of modules that does nothing."""

    def __init__(self, packages: set[str]) -> None:
        self.packages = packages

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        del path, target
        if fullname.split(".", maxsplit=1)[0] not in self.packages:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _Stub(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        del module


class _Stub(types.ModuleType):
    def __getattr__(self, name: str) -> Any:
        from torch import nn

        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (nn.Module,), {})
