"""Find the CRF of a tagger: the method that decodes the labels, the emissions that it gets, and its transitions.

A CRF decodes in a loop over the tokens, which the graph does not hold. So the graph returns the emissions, and the
bundle stores the transitions. Guesses are tried for which of the layer's tensors these are, and in which order: a
guess is right if it decodes random emissions as the layer does.
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
from pocketrnn_export.intake.compiled_call_line import write_layer_code
from pocketrnn_export.module_runs.quiet_cpu_run import run_quietly_on_cpu

_DECODES: Final = re.compile(r"viterbi|decode", re.IGNORECASE)
# The tokens and the scales of the random emissions: where these are as small as transitions, their order matters.
_TOKENS: Final = (1, 2, 3, 5, 9, 17, 33)
_SCALES: Final = (0.1, 0.5, 2.0, 8.0)
# Longer texts, which a method may cut or decode in windows. On these, two label sequences may differ by rounding only.
_MANY_TOKENS: Final = (64, 130, 257, 520, 1030)
_ROUNDING: Final = 2e-6
# A lower score rules out a transition.
_NEVER: Final = -1e3
# AllenNLP's score of such a transition (allennlp/modules/conditional_random_field, viterbi_tags).
_RULED_OUT: Final = -10000.0
# The most pairs of labels that are tried as begin and end.
_MOST_PAIRS: Final = 4096
# The name of a vector of scores for the first token, and the most vectors that are tried in pairs.
_BEGINS: Final = re.compile(r"start|begin|bos|init|first", re.IGNORECASE)
_MOST_ROWS: Final = 4

# Emissions float [tokens, labels] -> the labels of the tokens.
Decode = Callable[[Tensor], list[int]]
# A mask of ones and a number of tokens -> the further arguments of the decoding method.
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
    """The layer of a tagger that decodes its labels.

    Attributes:
        where: the layer's decoding method, for messages.
        decode: calls this method on the emissions of one text.
        crf: the CRF with the layer's transitions.
    """

    where: str
    decode: Decode
    crf: Crf

    def decode_labels(self, emissions: NDArray[Any]) -> list[int]:
        """Return the labels that the layer gives to a text's tokens. `emissions` are the emissions of the text, float
        [tokens, labels]."""
        with torch.no_grad(), run_quietly_on_cpu():
            return self.decode(torch.from_numpy(np.ascontiguousarray(emissions, np.float32)))


def list_code_that_reads_emissions(module: nn.Module) -> list[str]:
    """Return lines of code that read a tagger's emissions, that is, the numbers that a call passes to a decoding
    method. {} in each line stands for the call."""
    methods = [f"{write_layer_code(path)}.{name}" for path, _, names in _find_decoding_layers(module) for name in names]
    return [f"given_to({method}, lambda: {{}})" for method in methods]


def find_decoder_or_unknown_layers(module: nn.Module, labels: int) -> tuple[Decoder | None, str]:
    """Find the layer that decodes a tagger's labels as a CRF does. Return it with its CRF, and an empty string. If
    there is none, return None and the names of layers that may decode the labels in another way.

    Args:
        module: the tagger, in eval mode and on the CPU.
        labels: the number of labels.
    """
    unknown = []
    for path, layer, names in _find_decoding_layers(module):
        guesses = list(_guess_crfs(layer, labels))
        for name in names if guesses else ():
            for decode in _yield_decode_calls(getattr(layer, name)):
                if (crf := _find_equally_decoding_crf(decode, guesses, labels)) is not None:
                    return Decoder(f"{path}.{name}".lstrip("."), decode, crf), ""
        if guesses:
            unknown.append(path or type(layer).__name__)
    return None, " and ".join(unknown)


def make_neutral_crf(labels: int) -> Crf:
    """Return a CRF whose transitions change nothing: each token gets its likeliest label."""
    return _make_crf(np.zeros(labels), np.zeros(labels), np.zeros((labels, labels)))


def find_transition_layer(module: nn.Module, labels: int) -> str:
    """Return the name of a layer with a square matrix [labels, labels], which may be transitions. Return an empty
    string if there is none."""
    layers = (path or type(layer).__name__ for path, layer in module.named_modules() if any(_guess_crfs(layer, labels)))
    return next(layers, "")


def find_matching_crf(module: nn.Module, texts: Sequence[tuple[NDArray[Any], list[int]]]) -> Crf | None:
    """Find a CRF among a module's tensors that decodes the emissions of texts to the expected labels. Return None if
    there is none.

    Args:
        module: the tagger, in eval mode and on the CPU.
        texts: for each text, its emissions, float [tokens, labels], and the expected labels of its tokens.
    """
    labels = texts[0][0].shape[1]
    for layer in module.modules():
        for guess in _guess_crfs(layer, labels):
            if all(_has_highest_score(guess, torch.from_numpy(numbers), found) for numbers, found in texts):
                return guess
    return None


def read_labels_in_answer(answer: Any) -> list[int] | None:
    """Return the integers in an answer, in order, as the labels of one text. Return None if there are no integers."""
    found = list(_yield_whole_numbers(answer))
    return found or None


def _yield_whole_numbers(value: Any) -> Iterator[int]:
    """Yield the integers in a value, also in tensors, arrays, lists and dicts."""
    if isinstance(value, Tensor | np.ndarray):
        if np.asarray(value.detach() if isinstance(value, Tensor) else value).dtype.kind in "iu":
            yield from map(int, value.reshape(-1).tolist())
    elif isinstance(value, list | tuple | Mapping):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _yield_whole_numbers(part)
    elif isinstance(value, int | np.integer) and not isinstance(value, bool):
        yield int(value)


def _find_decoding_layers(module: nn.Module) -> Iterator[tuple[str, nn.Module, list[str]]]:
    """Yield tuples (name, layer, names of its decoding methods) for each layer that has a square matrix and decoding
    methods."""
    for path, layer in module.named_modules():
        if isinstance(layer, torch.jit.ScriptModule) or next(_yield_square_matrices(layer), None) is None:
            continue
        names = [
            name
            for kind in type(layer).__mro__
            for name, value in vars(kind).items()
            if _DECODES.search(name) and callable(value) and kind is not nn.Module
        ]
        # Public methods come first.
        if names:
            yield path, layer, sorted(dict.fromkeys(names), key=lambda name: name.startswith("_"))


def _yield_square_matrices(layer: nn.Module) -> Iterator[Tensor]:
    """Yield the square matrices of a layer, which may be transitions."""
    held = [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]
    held += [value for value in vars(layer).values() if isinstance(value, Tensor)]
    yield from (t for t in held if t.dim() == 2 and t.shape[0] == t.shape[1] > 1 and t.is_floating_point())


def _guess_crfs(layer: nn.Module, labels: int) -> Iterator[Crf]:
    """Yield each CRF that the tensors of a layer may define. The caller finds out which of these decodes as the layer
    does."""
    for square in _yield_square_matrices(layer):
        if len(square) != labels:
            continue
        matrix = square.detach().double().numpy()
        mask = dict(layer.named_parameters(recurse=False)).get("_constraint_mask")
        if isinstance(mask, Tensor) and mask.shape == (labels + 2, labels + 2):
            yield from _guess_crfs_of_allennlp(layer, matrix, mask.detach().double().numpy())
        for own in (matrix, matrix.T):
            yield from _guess_crfs_with_ends(layer, own)


def _guess_crfs_with_ends(layer: nn.Module, matrix: NDArray[np.float64]) -> Iterator[Crf]:
    """Yield CRFs with the transitions `matrix` and with scores for the first and the last token. These scores are
    vectors of the layer, zeros, or the rows and columns of extra labels."""
    labels = len(matrix)
    for start, end in itertools.permutations(_list_label_vectors(layer, labels), 2):
        yield _make_crf(start, end, matrix)
    yield _make_crf(np.zeros(labels), np.zeros(labels), matrix)
    # No transition leads to the begin label or from the end label.
    begins = [i for i in range(labels) if (matrix[:, i] <= _NEVER).all()] or list(range(labels))
    ends = [i for i in range(labels) if (matrix[i] <= _NEVER).all()] or list(range(labels))
    for first, last in itertools.islice(itertools.product(begins, ends), _MOST_PAIRS):
        yield _make_crf(matrix[first], matrix[:, last], matrix)
    for first in begins:
        yield _make_crf(matrix[first], np.zeros(labels), matrix)


def _guess_crfs_of_allennlp(layer: nn.Module, matrix: NDArray[np.float64], mask: NDArray[np.float64]) -> Iterator[Crf]:
    """Yield the CRF of AllenNLP's layer. It has a mask of allowed transitions, and two extra labels for begin and
    end."""
    labels = len(matrix)
    zeros = np.zeros(labels)
    start, end = (*_list_label_vectors(layer, labels), None, None)[:2]
    inside, first, last = mask[:labels, :labels], mask[labels, :labels], mask[:labels, labels + 1]
    yield _make_crf(
        (zeros if start is None else start) * first + _RULED_OUT * (1 - first),
        (zeros if end is None else end) * last + _RULED_OUT * (1 - last),
        matrix * inside + _RULED_OUT * (1 - inside),
    )


def _list_label_vectors(layer: nn.Module, labels: int) -> list[NDArray[np.float64]]:
    """Return a layer's vectors over the labels. Vectors whose names mean the first token come first."""
    held = [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]
    held += [(name, value) for name, value in vars(layer).items() if isinstance(value, Tensor)]
    rows = {name: value for name, value in held if value.shape == (labels,) and value.is_floating_point()}
    first = sorted(rows, key=lambda name: not _BEGINS.search(name))
    return [rows[name].detach().double().numpy() for name in first[:_MOST_ROWS]]


def _make_crf(start: NDArray[np.float64], end: NDArray[np.float64], matrix: NDArray[np.float64]) -> Crf:
    """Make a CRF. Its numbers are the shortest decimal numbers that become the same float32 numbers."""

    def shorten_numbers(row: NDArray[np.float64]) -> tuple[float, ...]:
        return tuple(float(str(number)) for number in row.astype(np.float32))

    return Crf(shorten_numbers(start), shorten_numbers(end), tuple(map(shorten_numbers, matrix)))


def _yield_decode_calls(method: Callable[..., Any]) -> Iterator[Decode]:
    """Yield functions that call a decoding method on one text: with and without a batch axis, a mask and lengths."""
    for shape, beside in itertools.product(("batch first", "batch second", "none"), _BESIDE):

        def decode_text(emissions: Tensor, shape: str = shape, beside: Beside = beside) -> list[int]:
            tokens = len(emissions)
            axis = {"batch first": 0, "batch second": 1}.get(shape)
            given = emissions if axis is None else emissions.unsqueeze(axis)
            ones = torch.ones(tokens) if axis is None else torch.ones(tokens).unsqueeze(axis)
            answer = method(given, *beside(ones, tokens))
            found = read_labels_in_answer(answer) or []
            if len(found) != tokens or not 0 <= min(found) <= max(found) < emissions.shape[1]:
                raise ValueError(f"the answer has {len(found)} labels for {tokens} tokens, or labels that do not exist")
            return found

        yield decode_text


def _find_equally_decoding_crf(decode: Decode, guesses: Sequence[Crf], labels: int) -> Crf | None:
    """Return the first CRF in `guesses` that decodes random emissions to the same labels as the function `decode`. For
    long texts, it is enough that the labels have an equal score. Return None if there is no such CRF."""
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randn(tokens, labels, generator=generator) * scale for scale in _SCALES for tokens in _TOKENS]
    long = [torch.randn(tokens, labels, generator=generator) for tokens in _MANY_TOKENS]
    with torch.no_grad(), run_quietly_on_cpu(), contextlib.suppress(Exception, SystemExit):
        own = [decode(emissions) for emissions in (*drawn, *long)]
        for guess in guesses:
            alike = [guess.decode_labels(e.numpy()).tolist() == found for e, found in zip(drawn, own, strict=False)]
            if all(alike) and all(
                _has_highest_score(guess, *pair) for pair in zip(long, own[len(drawn) :], strict=True)
            ):
                return guess
    return None


def _has_highest_score(crf: Crf, emissions: Tensor, labels: Sequence[int]) -> bool:
    """Return whether these labels have the highest score of the CRF, up to rounding."""
    scores = [crf.score(emissions.numpy(), found) for found in (crf.decode_labels(emissions.numpy()), np.array(labels))]
    return scores[0] - scores[1] <= _ROUNDING * max(1.0, abs(scores[0]))
