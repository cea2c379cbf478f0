"""Read the argument of `--labels`, which may name a list in the owner's code."""

from __future__ import annotations

from pocketrnn_export.intake.module_name_with_arguments import parse_module_name


def read_labels(given: str, head: str = "") -> list[str]:
    """Read the labels that `--labels` names: `a,b,c`, a file of labels, or `file.py:NAME` for a list in code.

    Args:
        given: the labels, or what holds them.
        head: the name of the module's head that these labels belong to; empty for a module with one set of labels.

    Raises:
        InputError: they cannot be read.
    """
    from pocketrnn_export.source_code.labels_in_code import read_labels_in_file
    from pocketrnn_export.vocabularies.labels import read_labels as read_plain_labels

    named = parse_module_name(given) if "," not in given else None
    return read_plain_labels(given, head) if named is None else read_labels_in_file(named.path, named.name)
