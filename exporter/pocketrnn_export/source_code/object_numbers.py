"""What stands for an object of a user's file: the number of the statement that gave it a name; and numbers below those
for what belongs to no name.

A name may reach several objects, as `c` does after `c = config` or `c = [config]`.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "NAMES",
    "NONE",
    "Objects",
    "by_statement",
    "held_by",
    "holding",
    "inside_class",
    "object_of_class",
]

Objects = frozenset[int]
NONE: Final[Objects] = frozenset()
# Stands for the names of the file, as globals() gives them. What is below it stands for what objects of a class have of
# it, and for the lists and the like that are attributes of the class: see `object_of_class` and `inside_class`.
NAMES: Final = -1


def object_of_class(index: int) -> int:
    """Stands for an object of a class, by the statement of the class: what is in its attributes may be the class's."""
    return -2 - 3 * index


def inside_class(index: int) -> int:
    """Stands for what attributes of a class hold, or defaults of its methods, by the statement of the class: who
    changes it changes the class."""
    return -3 - 3 * index


def holding(objects: Objects) -> Objects:
    """What an object holds in an attribute, as the object: to give it another attribute does not change the class."""
    return frozenset(i - 1 if i < NAMES and (-2 - i) % 3 == 1 else i for i in objects)


def held_by(objects: Objects) -> Objects:
    """What attributes of some objects hold of a class."""
    return frozenset(i + 1 for i in objects if i < NAMES and (-2 - i) % 3 == 2)


def by_statement(objects: Objects) -> Objects:
    """Objects by their statements: what is in a class by the class's."""
    return frozenset(i if i >= 0 else (-2 - i) // 3 for i in objects if i >= 0 or (i < NAMES and (-2 - i) % 3 == 1))
