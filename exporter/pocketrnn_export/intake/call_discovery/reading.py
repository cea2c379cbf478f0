"""Where in an answer the logits are."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from pocketrnn_export.intake.call_discovery.asked import Asked

__all__ = ["leaves_of", "no_place", "places_of"]


def places_of(asked: Asked, answers: Sequence[Any], rows: int, *, suffixes: bool) -> list[tuple[str, int]]:
    """Where in an answer [rows, units] stands, with the units; several places that say the same count once."""
    leaves = [dict(leaves_of(answer)) for answer in answers]
    units = [asked.classes]
    if asked.classes == 2 and not asked.multi_label and not asked.values:
        units.append(1)
    places = []
    for wanted in units:
        found = []
        for suffix in leaves[0]:
            if suffix and not suffixes:
                continue
            further = {_reading(leaf.get(suffix), rows, wanted, values=asked.values) for leaf in leaves}
            if len(further) == 1 and (reading := further.pop()) is not None:
                found.append((suffix + reading, wanted))
        # Beside the scores some give the labels themselves, as whole numbers.
        scores = [
            (suffix, units)
            for suffix, units in found
            if not all(torch.equal(leaf[suffix], leaf[suffix].round()) for leaf in leaves)
        ]
        # Where there are two labels, one number and two may both be the answer.
        places += scores or found
    return places


def leaves_of(answer: Any, suffix: str = "", depth: int = 3) -> Iterator[tuple[str, Tensor]]:
    """The tensors of floating-point numbers in an answer, by what is written behind the call to reach each."""
    if isinstance(answer, Tensor):
        if answer.is_floating_point():
            yield suffix, answer
        return
    if depth == 0:
        return
    if isinstance(answer, dict):
        for key, value in answer.items():
            yield from leaves_of(value, f"{suffix}[{key!r}]", depth - 1)
    elif dataclasses.is_dataclass(answer):
        for field in dataclasses.fields(answer):
            yield from leaves_of(getattr(answer, field.name), f"{suffix}.{field.name}", depth - 1)
    elif isinstance(answer, list | tuple):
        for i, value in enumerate(answer):
            yield from leaves_of(value, f"{suffix}[{i}]", depth - 1)


def _reading(leaf: Tensor | None, rows: int, units: int, *, values: bool) -> str | None:
    """What brings a tensor to [rows, units], or to as many numbers in that order; None where it is something else."""
    if leaf is None:
        return None
    shape = tuple(leaf.shape)
    if shape in {(rows, units), (1, rows, units), (rows, 1, units), (rows, units, 1), (1, rows, units, 1)}:
        return ""
    if (units == 1 and shape == (rows,)) or (rows == 1 and shape in {(units,), (1, units)}):
        return ""
    # A horizon of several values each; no number of steps, which the batches differ in.
    if values and len(shape) == 3 and shape[0] == rows and shape[1] * shape[2] == units:
        return ""
    if rows == 1 and units == 1 and shape == ():
        return ""
    return None


def no_place(answer: Any, tokens: Tensor, asked: Asked) -> tuple[str, str]:
    """What is wrong with an answer to tokens [batch, sequence] that holds no [batch, classes]."""
    leaves = dict(leaves_of(answer))
    rows, width = tokens.shape
    texts = f"{'1 text' if rows == 1 else f'{rows} texts'} of {width} tokens"
    if isinstance(answer, Tensor) and not answer.is_floating_point():
        return (
            f"The module's forward gives a tensor of {answer.dtype}.",
            "Return logits: scores before softmax, not labels.",
        )
    if not leaves:
        return (
            f"The module's forward gives a {type(answer).__name__}, not a tensor.",
            "Return the logits [batch, classes], or say where they are: --call, or call=.",
        )
    shapes = ", ".join(f"answer{suffix} {list(leaf.shape)}" for suffix, leaf in leaves.items())
    if isinstance(answer, Tensor):
        shapes = f"a tensor of shape {list(answer.shape)}"
    if any(_of_each_token(leaf, rows, width, asked.classes) for leaf in leaves.values()):
        return (
            f"The module gives {shapes} for {texts} and {asked.classes} labels: one answer for every token, as a "
            "module that labels each word does.",
            "A bundle gives one answer for a text. If your code takes that from one of the steps, or from their mean, "
            "say so as it does: --call, or call=.",
        )
    advice = "Give a label for each logit, in their order; forward must return logits [batch, labels]."
    if any(leaf.dim() == 3 and leaf.shape[-1] == asked.classes for leaf in leaves.values()):
        advice = (
            "It holds several answers for a text: say which is the one that your code takes, with --call, or call=."
        )
    return f"The module gives {shapes} for {texts} and {asked.classes} labels.", advice


def _of_each_token(leaf: Tensor, rows: int, width: int, classes: int) -> bool:
    """Whether a tensor holds the numbers of the labels for each token, in any order of the axes."""
    shape = tuple(leaf.shape)
    return sorted(shape) == sorted((rows, width, classes)) or shape in {
        (rows * width, classes),
        (classes, rows * width),
    }
