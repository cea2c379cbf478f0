"""The modules whose exports `scripts/record_exports` records: those of the tests, those made to mislead the exporter,
and those of the corpus that have been fetched."""

from __future__ import annotations

import functools
import importlib
import inspect
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from corpus import (
    find_cache_folder,
    get_entry_folder,
    is_fetched,
    make_export_arguments,
    make_spec,
    make_spec_module,
    read_entries,
)

# It also lets the files of the tests be imported.
from misleading_modules import list_misleading_modules
from torch import nn

__all__ = ["CORPUS", "Recorded", "list_module_files", "list_recorded_modules"]

TESTS: Final = Path(__file__).parents[1] / "tests"
# The family of the modules of other people.
CORPUS: Final = "corpus"


@dataclass(frozen=True)
class Recorded:
    """A module, and how it is exported.

    Attributes:
        family: where it is from.
        name: its name, of which there is one.
        made: makes it.
        arguments: what `export` is given beside the module and the bundle's path.

    Example:
        >>> next(one.name for one in list_recorded_modules() if one.family == "user_modules.py")
        'user_modules.py, PackedLastState'
    """

    family: str
    name: str
    made: Callable[[], nn.Module]
    arguments: Callable[[], dict[str, Any]]


def list_recorded_modules() -> Iterator[Recorded]:
    """List all modules that are recorded, by family, each name once.

    Example:
        >>> sorted({one.family for one in list_recorded_modules()})[0]
        'a number for each token'
    """
    seen: set[object] = set()
    for one in itertools.chain(_list_misleading(), _list_test_modules(), _list_corpus_modules()):
        # A module of the tests that misleads is exported once, as it is in its family.
        if not {one.name, kind := _find_recordable_class(one.made)} & seen:
            seen |= {one.name} | ({kind} if isinstance(kind, type) else set())
            yield one


def list_module_files() -> list[Path]:
    """List the files of the tests that hold modules.

    Example:
        >>> "user_modules.py" in [path.name for path in list_module_files()]
        True
    """
    found = (path for folder in ("exporter", "native") for path in (TESTS / folder).glob("*_modules.py"))
    return sorted(path for path in found if not path.name.startswith("test_"))


def _find_recordable_class(made: Callable[[], nn.Module]) -> object:
    """Return the class that a partial function gets as its only argument; else return `made` itself."""
    chosen = made.args[0] if isinstance(made, functools.partial) and len(made.args) == 1 else made
    return chosen if isinstance(chosen, type) else made


def _list_misleading() -> Iterator[Recorded]:
    for one in list_misleading_modules():
        yield Recorded(one.family, f"{one.family}, {one.name}", one.made, lambda one=one: one.arguments)


def _list_test_modules() -> Iterator[Recorded]:
    """List each class with a forward that can be made without arguments, with the arguments that most tests use to
    export it."""
    for path in list_module_files():
        zoo = importlib.import_module(path.stem)
        if path.stem == "number_modules":
            for name, (made, _, options) in zoo.EXPORTED.items():
                yield Recorded(path.name, f"{path.name}, {name}", made, lambda options=options: dict(options))
            continue
        for name, kind in vars(zoo).items():
            if _is_recordable(kind, zoo) and not name.startswith("_"):
                yield Recorded(
                    path.name, f"{path.name}, {name}", kind, lambda zoo=zoo, kind=kind: _find_usual_arguments(zoo, kind)
                )


def _list_corpus_modules() -> Iterator[Recorded]:
    """List other people's modules, both as they are and with the line in `tests/corpus.toml`."""
    cache = find_cache_folder()
    for entry in read_entries():
        if is_fetched(entry, cache):
            spec = make_spec(entry, get_entry_folder(entry, cache))
            made, arguments = (
                functools.partial(make_spec_module, spec),
                functools.partial(make_export_arguments, spec, call=False),
            )
            yield Recorded(CORPUS, f"{CORPUS}, {entry.title}", made, arguments)
            if entry.has_line:
                arguments = functools.partial(make_export_arguments, spec, call=True)
                yield Recorded(CORPUS, f"{CORPUS}, {entry.title}, with one line", made, arguments)


def _is_recordable(kind: Any, zoo: ModuleType) -> bool:
    """Return whether a value is a module of this file that has a forward and can be made without arguments."""
    if not (isinstance(kind, type) and issubclass(kind, nn.Module) and kind.__module__ == zoo.__name__):
        return False
    if issubclass(kind, nn.RNNBase):
        return False
    needed = [p for p in inspect.signature(kind).parameters.values() if p.default is p.empty and p.kind not in (2, 4)]
    return not needed and kind.forward is not nn.Module.forward


def _find_usual_arguments(zoo: ModuleType, kind: type[nn.Module]) -> dict[str, Any]:
    """Return the vocabulary and labels that the tests of a file use; two labels for one unit."""
    last = getattr(kind(), "fc", None)
    classes = 2 if isinstance(last, nn.Linear) and last.out_features == 1 else getattr(zoo, "CLASSES", 4)
    words = ["<unk>", "<pad>", *(f"w{i}" for i in range(zoo.WORDS - 2))]
    return {"labels": [f"label {i}" for i in range(classes)], "vocabulary": words}
