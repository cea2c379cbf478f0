"""The modules whose exports `scripts/record_exports` writes down: of the tests, made to mislead the exporter, and of
the corpus, where they have been fetched."""

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

from corpus import cache_folder, entries, export_arguments, folder_of, is_fetched, module_of, spec_of

# It also lets the files of the tests be imported.
from misleading_modules import misleading
from torch import nn

__all__ = ["CORPUS", "Recorded", "files_of_modules", "recorded"]

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
        >>> next(one.name for one in recorded() if one.family == "user_modules.py")
        'user_modules.py, PackedLastState'
    """

    family: str
    name: str
    made: Callable[[], nn.Module]
    arguments: Callable[[], dict[str, Any]]


def recorded() -> Iterator[Recorded]:
    """Every module that is recorded, family by family, each name once.

    Example:
        >>> sorted({one.family for one in recorded()})[0]
        'a number for each token'
    """
    seen: set[object] = set()
    for one in itertools.chain(_misleading(), _of_tests(), _of_corpus()):
        # A module of the tests that misleads is exported once, as it is in its family.
        if not {one.name, kind := _kind(one.made)} & seen:
            seen |= {one.name} | ({kind} if isinstance(kind, type) else set())
            yield one


def files_of_modules() -> list[Path]:
    """The files of the tests that hold modules.

    Example:
        >>> "user_modules.py" in [path.name for path in files_of_modules()]
        True
    """
    found = (path for folder in ("exporter", "native") for path in (TESTS / folder).glob("*_modules.py"))
    return sorted(path for path in found if not path.name.startswith("test_"))


def _kind(made: Callable[[], nn.Module]) -> object:
    """The class whose modules it makes without a choice, or itself."""
    chosen = made.args[0] if isinstance(made, functools.partial) and len(made.args) == 1 else made
    return chosen if isinstance(chosen, type) else made


def _misleading() -> Iterator[Recorded]:
    for one in misleading():
        yield Recorded(one.family, f"{one.family}, {one.name}", one.made, lambda one=one: one.arguments)


def _of_tests() -> Iterator[Recorded]:
    """Each class with a forward that can be made without arguments, as the tests export most of them."""
    for path in files_of_modules():
        zoo = importlib.import_module(path.stem)
        if path.stem == "number_modules":
            for name, (made, _, options) in zoo.EXPORTED.items():
                yield Recorded(path.name, f"{path.name}, {name}", made, lambda options=options: dict(options))
            continue
        for name, kind in vars(zoo).items():
            if _is_of(kind, zoo) and not name.startswith("_"):
                yield Recorded(path.name, f"{path.name}, {name}", kind, lambda zoo=zoo, kind=kind: _usual(zoo, kind))


def _of_corpus() -> Iterator[Recorded]:
    """The modules of other people, as they are and with the line that `tests/corpus.toml` has."""
    cache = cache_folder()
    for entry in entries():
        if is_fetched(entry, cache):
            spec = spec_of(entry, folder_of(entry, cache))
            made, arguments = functools.partial(module_of, spec), functools.partial(export_arguments, spec, call=False)
            yield Recorded(CORPUS, f"{CORPUS}, {entry.title}", made, arguments)
            if entry.has_line:
                arguments = functools.partial(export_arguments, spec, call=True)
                yield Recorded(CORPUS, f"{CORPUS}, {entry.title}, with one line", made, arguments)


def _is_of(kind: Any, zoo: ModuleType) -> bool:
    """Whether it is a module of this file that has a forward, and can be made without arguments."""
    if not (isinstance(kind, type) and issubclass(kind, nn.Module) and kind.__module__ == zoo.__name__):
        return False
    if issubclass(kind, nn.RNNBase):
        return False
    needed = [p for p in inspect.signature(kind).parameters.values() if p.default is p.empty and p.kind not in (2, 4)]
    return not needed and kind.forward is not nn.Module.forward


def _usual(zoo: ModuleType, kind: type[nn.Module]) -> dict[str, Any]:
    """The vocabulary and labels of the tests of a file; two labels for one unit."""
    last = getattr(kind(), "fc", None)
    classes = 2 if isinstance(last, nn.Linear) and last.out_features == 1 else getattr(zoo, "CLASSES", 4)
    words = ["<unk>", "<pad>", *(f"w{i}" for i in range(zoo.WORDS - 2))]
    return {"labels": [f"label {i}" for i in range(classes)], "vocabulary": words}
