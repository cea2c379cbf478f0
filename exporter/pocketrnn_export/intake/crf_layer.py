"""A CRF in a tagger: what decodes its labels, what it is given, and its transitions as numbers.

A CRF's decoding is a loop over the tokens with choices by numbers, which no graph holds. So the graph gives what goes
into it, the emissions, and the bundle has the transitions. Which of the layer's numbers are these, and in which order,
is found out: a guess holds if it decodes drawn emissions as the layer does.
"""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pocketrnn.bundle.crf import Crf
from pocketrnn_export.module_runs.cpu_run import quietly_on_cpu

__all__ = ["Decoder", "crf_that_gives", "decoder_of", "emissions_around", "held_by", "no_crf", "owners_labels"]

_DECODES: Final = re.compile(r"viterbi|decode", re.IGNORECASE)
# Numbers of tokens of the drawn emissions, and how large these are: near the transitions, the order of labels decides.
_TOKENS: Final = (1, 2, 3, 5, 9, 17, 33)
_SCALES: Final = (0.1, 0.5, 2.0, 8.0)
# And of longer ones, which a method may cut, or decode in windows. There, two orders may be as good but for rounding.
_MANY_TOKENS: Final = (64, 130, 257, 520, 1030)
_ROUNDING: Final = 2e-6
# No label that a CRF allows has such a score.
_NEVER: Final = -1e3
# AllenNLP's score of them (allennlp/modules/conditional_random_field, viterbi_tags).
_RULED_OUT: Final = -10000.0
# More labels are not tried in pairs as the begin and the end.
_MOST_PAIRS: Final = 4096
# How a row of numbers for the first token is called, and how many rows are tried in pairs.
_BEGINS: Final = re.compile(r"start|begin|bos|init|first", re.IGNORECASE)
_MOST_ROWS: Final = 4

# Emissions float [tokens, labels] -> the labels of the tokens.
Decode = Callable[[Tensor], list[int]]
# A mask of ones and a number of tokens -> what a method is given beside the emissions.
Beside = Callable[[Tensor, int], tuple[Any, ...]]
_BESIDE: Final[tuple[Beside, ...]] = (
    lambda _, __: (),
    lambda ones, _: (ones.bool(),),
    lambda ones, _: (ones,),
    lambda _, tokens: (torch.tensor([tokens]),),
    lambda _, tokens: ([tokens],),
    lambda ones, tokens: (torch.tensor([tokens]), ones.long()),
    lambda ones, tokens: (ones.long(), torch.tensor([tokens])),
)


@dataclass(frozen=True)
class Decoder:
    """The layer that decodes a tagger's labels.

    Attributes:
        where: the layer's method, for messages.
        decode: it, on the emissions of one text.
        crf: the same as numbers.
    """

    where: str
    decode: Decode
    crf: Crf

    def labels(self, emissions: NDArray[Any]) -> list[int]:
        """The labels of a text's tokens, by the layer.

        Args:
            emissions: float [tokens, labels].
        """
        with torch.no_grad(), quietly_on_cpu():
            return self.decode(torch.from_numpy(np.ascontiguousarray(emissions, np.float32)))


def emissions_around(module: nn.Module) -> list[str]:
    """The expressions that give a tagger's emissions: what a method that decodes is given in a call, which stands in
    the place of {}.

    Example:
        >>> emissions_around(module)[0]
        'given_to(module.crf.decode, lambda: {})'
    """
    return [f"given_to({target}, lambda: {{}})" for target in _targets(module)]


def _targets(module: nn.Module) -> Iterator[str]:
    for path, _, names in _layers(module):
        parts = [f"[{part}]" if part.isdigit() else f".{part}" for part in path.split(".") if part]
        yield from (f"module{''.join(parts)}.{name}" for name in names)


def decoder_of(module: nn.Module, labels: int) -> tuple[Decoder | None, str]:
    """The layer that decodes a tagger's labels, with its numbers; and those that may and are not understood, empty
    where there are none.

    Args:
        module: in eval mode, on the CPU.
        labels: how many there are.

    Example:
        >>> decoder_of(nn.Linear(2, 2), 2)
        (None, '')
    """
    unknown = []
    for path, layer, names in _layers(module):
        guesses = list(_guesses(layer, labels))
        for name in names if guesses else ():
            for decode in _ways(getattr(layer, name)):
                if (crf := _that_decodes_alike(decode, guesses, labels)) is not None:
                    return Decoder(f"{path}.{name}".lstrip("."), decode, crf), ""
        if guesses:
            unknown.append(path or type(layer).__name__)
    return None, " and ".join(unknown)


def no_crf(labels: int) -> Crf:
    """The CRF by which each token has its likeliest label.

    Example:
        >>> no_crf(2).decoded(np.array([[1.0, 2.0], [3.0, 0.0]])).tolist()
        [1, 0]
    """
    return _crf(np.zeros(labels), np.zeros(labels), np.zeros((labels, labels)))


def held_by(module: nn.Module, labels: int) -> str:
    """The layer that holds a matrix of the labels, which may be the transitions of a CRF; empty where none does.

    Example:
        >>> held_by(nn.Linear(3, 2), 2)
        ''
    """
    layers = (path or type(layer).__name__ for path, layer in module.named_modules() if any(_guesses(layer, labels)))
    return next(layers, "")


def crf_that_gives(module: nn.Module, texts: Sequence[tuple[NDArray[Any], list[int]]]) -> Crf | None:
    """The CRF of a module's numbers that decodes the emissions of texts as its owner labels them; None where none does.

    Args:
        module: in eval mode, on the CPU.
        texts: emissions float [tokens, labels], each with the labels of the tokens.
    """
    labels = texts[0][0].shape[1]
    for layer in module.modules():
        for guess in _guesses(layer, labels):
            if all(_is_as_good(guess, torch.from_numpy(numbers), found) for numbers, found in texts):
                return guess
    return None


def owners_labels(answer: Any) -> list[int] | None:
    """The whole numbers in an answer, in their order: the labels of one text; None where there are none.

    Example:
        >>> owners_labels((torch.tensor(0.5), [[1, 0, 2]]))
        [1, 0, 2]
    """
    found = list(_whole_numbers(answer))
    return found or None


def _whole_numbers(value: Any) -> Iterator[int]:
    if isinstance(value, Tensor | np.ndarray):
        if np.asarray(value.detach() if isinstance(value, Tensor) else value).dtype.kind in "iu":
            yield from map(int, value.reshape(-1).tolist())
    elif isinstance(value, list | tuple | Mapping):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _whole_numbers(part)
    elif isinstance(value, int | np.integer) and not isinstance(value, bool):
        yield int(value)


def _layers(module: nn.Module) -> Iterator[tuple[str, nn.Module, list[str]]]:
    """The layers that hold a square of numbers and have methods that decode, with these."""
    for path, layer in module.named_modules():
        if isinstance(layer, torch.jit.ScriptModule) or next(_squares(layer), None) is None:
            continue
        names = [
            name
            for kind in type(layer).__mro__
            for name, value in vars(kind).items()
            if _DECODES.search(name) and callable(value) and kind is not nn.Module
        ]
        # Those that a user calls come first.
        if names:
            yield path, layer, sorted(dict.fromkeys(names), key=lambda name: name.startswith("_"))


def _squares(layer: nn.Module) -> Iterator[Tensor]:
    """The transitions that a layer may hold: its own matrices of as many rows as columns."""
    held = [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]
    held += [value for value in vars(layer).values() if isinstance(value, Tensor)]
    yield from (t for t in held if t.dim() == 2 and t.shape[0] == t.shape[1] > 1 and t.is_floating_point())


def _guesses(layer: nn.Module, labels: int) -> Iterator[Crf]:
    """The meanings that a layer's numbers may have."""
    for square in _squares(layer):
        if len(square) != labels:
            continue
        matrix = square.detach().double().numpy()
        mask = dict(layer.named_parameters(recurse=False)).get("_constraint_mask")
        if isinstance(mask, Tensor) and mask.shape == (labels + 2, labels + 2):
            yield from _constrained(layer, matrix, mask.detach().double().numpy())
        for own in (matrix, matrix.T):
            yield from _with_ends(layer, own)


def _with_ends(layer: nn.Module, matrix: NDArray[np.float64]) -> Iterator[Crf]:
    """The matrix [from, to], with numbers for the first and the last token: of the layer's own, of none, or of labels
    for the begin and the end."""
    labels = len(matrix)
    for start, end in itertools.permutations(_rows(layer, labels), 2):
        yield _crf(start, end, matrix)
    yield _crf(np.zeros(labels), np.zeros(labels), matrix)
    # To the begin and from the end, nothing leads.
    begins = [i for i in range(labels) if (matrix[:, i] <= _NEVER).all()] or list(range(labels))
    ends = [i for i in range(labels) if (matrix[i] <= _NEVER).all()] or list(range(labels))
    for first, last in itertools.islice(itertools.product(begins, ends), _MOST_PAIRS):
        yield _crf(matrix[first], matrix[:, last], matrix)
    for first in begins:
        yield _crf(matrix[first], np.zeros(labels), matrix)


def _constrained(layer: nn.Module, matrix: NDArray[np.float64], mask: NDArray[np.float64]) -> Iterator[Crf]:
    """As AllenNLP's: a mask of what may follow what, with the begin and the end behind the labels."""
    labels = len(matrix)
    zeros = np.zeros(labels)
    start, end = (*_rows(layer, labels), None, None)[:2]
    inside, first, last = mask[:labels, :labels], mask[labels, :labels], mask[:labels, labels + 1]
    yield _crf(
        (zeros if start is None else start) * first + _RULED_OUT * (1 - first),
        (zeros if end is None else end) * last + _RULED_OUT * (1 - last),
        matrix * inside + _RULED_OUT * (1 - inside),
    )


def _rows(layer: nn.Module, labels: int) -> list[NDArray[np.float64]]:
    """The numbers for each label that a layer holds, those of the first token first where their names say so."""
    held = [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]
    held += [(name, value) for name, value in vars(layer).items() if isinstance(value, Tensor)]
    rows = {name: value for name, value in held if value.shape == (labels,) and value.is_floating_point()}
    first = sorted(rows, key=lambda name: not _BEGINS.search(name))
    return [rows[name].detach().double().numpy() for name in first[:_MOST_ROWS]]


def _crf(start: NDArray[np.float64], end: NDArray[np.float64], matrix: NDArray[np.float64]) -> Crf:
    """The numbers as the shortest digits of float32 that give them."""

    def numbers(row: NDArray[np.float64]) -> tuple[float, ...]:
        return tuple(float(str(number)) for number in row.astype(np.float32))

    return Crf(numbers(start), numbers(end), tuple(map(numbers, matrix)))


def _ways(method: Callable[..., Any]) -> Iterator[Decode]:
    """The ways to call a method with the emissions of one text: with a batch or without, with a mask, lengths or both,
    or without."""
    for shape, beside in itertools.product(("batch first", "batch second", "none"), _BESIDE):

        def decode(emissions: Tensor, shape: str = shape, beside: Beside = beside) -> list[int]:
            tokens = len(emissions)
            axis = {"batch first": 0, "batch second": 1}.get(shape)
            given = emissions if axis is None else emissions.unsqueeze(axis)
            ones = torch.ones(tokens) if axis is None else torch.ones(tokens).unsqueeze(axis)
            answer = method(given, *beside(ones, tokens))
            found = owners_labels(answer) or []
            if len(found) != tokens or not 0 <= min(found) <= max(found) < emissions.shape[1]:
                raise ValueError(f"{len(found)} labels for {tokens} tokens")
            return found

        yield decode


def _that_decodes_alike(decode: Decode, guesses: Sequence[Crf], labels: int) -> Crf | None:
    """The first guess that decodes drawn emissions as a method does; None where none does."""
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randn(tokens, labels, generator=generator) * scale for scale in _SCALES for tokens in _TOKENS]
    long = [torch.randn(tokens, labels, generator=generator) for tokens in _MANY_TOKENS]
    with torch.no_grad(), quietly_on_cpu(), contextlib.suppress(Exception, SystemExit):
        own = [decode(emissions) for emissions in (*drawn, *long)]
        for guess in guesses:
            alike = [guess.decoded(e.numpy()).tolist() == found for e, found in zip(drawn, own, strict=False)]
            if all(alike) and all(_is_as_good(guess, *pair) for pair in zip(long, own[len(drawn) :], strict=True)):
                return guess
    return None


def _is_as_good(crf: Crf, emissions: Tensor, labels: Sequence[int]) -> bool:
    """Whether labels are those that a CRF decodes, or as good but for the rounding of their sum."""
    scores = [crf.score(emissions.numpy(), found) for found in (crf.decoded(emissions.numpy()), np.array(labels))]
    return scores[0] - scores[1] <= _ROUNDING * max(1.0, abs(scores[0]))
