"""The ways that people write forward: lines that may call a module, the likely ones first."""

from __future__ import annotations

import contextlib
import inspect
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import torch
from torch import nn

from pocketrnn_export.intake.call_discovery.asked import Asked, parameters_of
from pocketrnn_export.intake.call_discovery.states import states_of
from pocketrnn_export.intake.convention import (
    left_as_it_was,
)
from pocketrnn_export.proof.surroundings import surroundings

__all__ = ["LENGTH_FIRST", "MOST_LINES", "calls_of"]

# A row that begins with its length. Any module takes such numbers for tokens, so that it is tried last.
LENGTH_FIRST: Final = "module(torch.cat([lengths[:, None], tokens], dim=1))"
# So many ways are tried at most: each takes some milliseconds.
MOST_LINES: Final = 240


def calls_of(asked: Asked) -> Iterator[str]:
    """Lines that may call the module, the likely ones first."""
    module, lengths, masks = asked.module, asked.lengths, _masks(asked)
    parameters = parameters_of(module)
    if not parameters:
        return
    if parameters[0].kind is inspect.Parameter.VAR_POSITIONAL:
        parameters = [inspect.Parameter("tokens", inspect.Parameter.POSITIONAL_ONLY)]
    required = [p for p in parameters if p.default is p.empty]
    choices = [_choices(asked, p, masks, first=i == _tokens_at(required)) for i, p in enumerate(parameters)]
    seen = set()
    # By the sum of the choices' ranks: what is likely for every argument comes before what is unlikely for one.
    ranked = sorted(itertools.product(*(range(len(c)) for c in choices)), key=lambda ranks: (sum(ranks), ranks))
    for ranks in ranked[: 8 * MOST_LINES]:
        arguments, positional = [], True
        for parameter, options, rank in zip(parameters, choices, ranks, strict=True):
            value = options[rank]
            if value is None:
                positional = False
            elif positional and parameter.kind is not parameter.KEYWORD_ONLY:
                arguments.append(value)
            else:
                arguments.append(f"{parameter.name}={value}")
        line = f"module({', '.join(arguments)})"
        if line not in seen and (lengths is not True or "lengths" in line):
            seen.add(line)
            yield line
    if len(required) == 1 and lengths is not False:
        yield from _single_arguments(module, masks)


def _tokens_at(required: Sequence[inspect.Parameter]) -> int:
    """The argument that is the tokens: the first whose name does not say otherwise."""
    for i, parameter in enumerate(required):
        if not re.search(r"len|mask|hidden|state|^h_?0?$|batch_size", parameter.name.lower()):
            return i
    return 0


def _choices(asked: Asked, parameter: inspect.Parameter, masks: Sequence[str], *, first: bool) -> list[str | None]:
    """What an argument may be, the likely first; None to leave it out."""
    module, lengths, ids = asked.module, asked.lengths, asked.ids
    if first:
        return [
            "tokens",
            "tokens.t()",
            "tokens[0]",
            *_one_hot(module, ids),
            "tokens.unsqueeze(1)",
            "tokens.unsqueeze(2)",
        ]
    name = parameter.name.lower()
    optional: list[str | None] = [] if parameter.default is parameter.empty else [None]
    if "device" in name:
        return [*optional, "tokens.device"]
    if re.search(r"^(is_?)?(train|training|teacher_forcing)$", name):
        return [*optional, "False"]
    if not optional and re.search(r"label|target|^ys?$", name):
        # Two values: if they tell in the answer, the ways differ, and neither is taken.
        shapes = [f"tokens.size(0), {asked.classes}"] if asked.multi_label else ["tokens.size(0), dtype=torch.long"]
        return ["None", *(f"torch.{made}({shape})" for shape in shapes for made in ("zeros", "ones"))]
    of_lengths = [] if lengths is False else ["lengths", "lengths.tolist()", "lengths.numpy()", "[tokens.size(1)]"]
    if "len" in name:
        return [*of_lengths, *optional]
    if "mask" in name:
        return [*optional, *masks]
    if re.search(r"batch_?(size|len)?$|^bs$|^bsz$", name):
        return ["tokens.size(0)", *optional]
    states = states_of(module)
    if re.search(r"hid|state|^h_?[0n]?$|^hc$|^hx$|prev|init|memory", name):
        return [*optional, *states]
    if optional:
        # Whatever else has a default keeps it.
        return optional
    return [*of_lengths, *masks, *states]


def _one_hot(module: nn.Module, ids: int) -> list[str]:
    """Tokens as vectors of zeros and a one, for a module of characters that has a recurrent layer for just these."""
    layers = list(module.modules())
    if any(isinstance(layer, nn.Embedding | nn.EmbeddingBag) for layer in layers):
        return []
    sizes = {layer.input_size for layer in layers if isinstance(layer, nn.RNNBase)}
    if ids in sizes:
        return [f"F.one_hot({tokens}, {ids}).float()" for tokens in ("tokens", "tokens.t()")]
    if ids - 1 in sizes:
        # The last id, such as that of padding, has no place in it: a vector of zeros.
        return [f"F.one_hot({tokens}, {ids})[..., :-1].float()" for tokens in ("tokens", "tokens.t()")]
    return []


def _masks(asked: Asked) -> list[str]:
    """Masks that are true at the tokens, or at the padding. Where the rules pad every text, the ids tell which these
    are."""
    real = "torch.arange(tokens.size(1)) < lengths[:, None]"
    padding = "torch.arange(tokens.size(1)) >= lengths[:, None]"
    if asked.widths.least > 1:
        real, padding = f"tokens != {asked.padding_id}", f"tokens == {asked.padding_id}"
    return [
        real, f"({real}).float()", f"({real}).long()", padding, f"({real}).t()", f"({real}).float().t()",
        f"({padding}).float()",
    ]  # fmt: skip


def _single_arguments(module: nn.Module, masks: Sequence[str]) -> Iterator[str]:
    """Lines for a forward that takes everything in one argument."""
    for tokens in ("tokens", "tokens.t()"):
        for pair in (f"({tokens}, lengths)", f"[{tokens}, lengths]", f"(lengths, {tokens})"):
            yield f"module({pair})"
    yield "module((tokens, lengths.tolist()))"
    if not isinstance(module, torch.jit.ScriptModule):
        yield from _by_keys(module, masks)
    yield "module(pack_padded_sequence(tokens, lengths, batch_first=True, enforce_sorted=False))"
    yield "module(pack_padded_sequence(tokens.unsqueeze(2), lengths, batch_first=True, enforce_sorted=False))"
    yield f"module(tokens, {masks[0]})"
    yield LENGTH_FIRST


class _Keys(dict[str, Any]):
    """A batch that notes which keys forward takes from it."""

    def __init__(self, give: Callable[[str], Any]) -> None:
        super().__init__()
        self._give = give
        self.asked: list[str] = []

    def __missing__(self, key: str) -> Any:
        self.asked.append(str(key))
        return self._give(str(key))

    def get(self, key: str, _default: Any = None) -> Any:
        return self[key]


class _Fields:
    """A batch that notes which attributes forward takes from it: `batch.text`, as torchtext's."""

    def __init__(self, give: Callable[[str], Any]) -> None:
        self._give = give
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        self.asked.append(name)
        return self._give(name)


def _by_keys(module: nn.Module, masks: Sequence[str]) -> Iterator[str]:
    """Lines for a forward that takes a dict, or an object with fields, with the names that it asks for."""
    one, two = torch.full((3, 5), 2), torch.full((3,), 5)

    def give(name: str) -> Any:
        return two if "len" in name.lower() else one

    def pairs(name: str) -> Any:
        return two if "len" in name.lower() else (one, two)

    for kind, given in ((_Keys, give), (_Fields, give), (_Fields, pairs)):
        batch = kind(given)
        with contextlib.suppress(Exception, SystemExit), surroundings(), left_as_it_was(module):
            module(batch)
        names = list(dict.fromkeys(batch.asked))
        if not names:
            continue
        for tokens, mask in itertools.product(("tokens", "tokens.t()"), masks[:3]):
            whole = f"({tokens}, lengths)" if given is pairs else tokens
            values = [
                (name, "lengths" if "len" in name.lower() else mask if "mask" in name.lower() else whole)
                for name in names
            ]
            if kind is _Keys:
                yield "module({" + ", ".join(f'"{name}": {value}' for name, value in values) + "})"
            elif all(name.isidentifier() for name in names):
                yield f"module(SimpleNamespace({', '.join(f'{name}={value}' for name, value in values)}))"
