"""Find a tagger's CRF, and add its weights to the bundle's description."""

from __future__ import annotations

import ast
import contextlib
import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import nn

from pocketrnn.bundle.crf import Crf
from pocketrnn.bundle.output_kinds import TagOutput
from pocketrnn.errors import ExportError, InputError
from pocketrnn_export.bundle_description import Description
from pocketrnn_export.comparing.proof_inputs import Ids
from pocketrnn_export.intake.call_discovery.call_candidates import (
    MOST_LINES,
    list_forward_candidates,
    list_method_candidates,
)
from pocketrnn_export.intake.call_discovery.module_properties_and_trial_batches import ModuleFacts
from pocketrnn_export.intake.call_discovery.trial_answers import call_and_read_numbers, call_and_restore_state
from pocketrnn_export.intake.calling_convention import CallAdapter, Convention
from pocketrnn_export.intake.compiled_call_line import Call, compile_call
from pocketrnn_export.intake.crf_discovery import (
    Decoder,
    find_decoder_or_unknown_layers,
    find_matching_crf,
    find_transition_layer,
    read_labels_in_answer,
)
from pocketrnn_export.intake.module_copy_with_call_and_logits import ExportableModule

_log = logging.getLogger(__name__)
# How many calls that give labels are tried; and the lengths of the random texts on which such a call is compared with a
# CRF.
_CALLS: Final = 8
_DRAWN: Final = tuple(n for n in (1, 2, 3, 4, 5, 7, 9, 12, 17, 33) for _ in range(1 + (n < 10)))


@dataclass(frozen=True)
class OwnersLabels:
    """The two ways in which the user's module decodes the labels of tokens. Each is None if the module does not have
    it.

    Attributes:
        decoder: the CRF layer, which decodes logits.
        whole: a call of the module from token ids to labels.
    """

    decoder: Decoder | None
    whole: Callable[[Ids], list[int]] | None


def add_crf(
    prepared: ExportableModule, description: Description, *, crf_option: bool | Crf = True
) -> tuple[Description, OwnersLabels | None]:
    """Find the CRF with which a tagger decodes its labels, and add it to the description of the bundle. Return a tuple:
    the new description, unchanged without a CRF; and the user's own decoder, with which the bundle's labels are
    compared later, or None if there is nothing to compare.

    Args:
        description: the description of the bundle so far.
        crf_option: True to look for the CRF, False to use none; or the CRF itself.

    Raises:
        ExportError: the module decodes its labels, but not by a CRF of a supported form.
        InputError: the rules pad texts, and a CRF would decode the padding, too.
    """
    if not isinstance(description.output, TagOutput) or not crf_option:
        return description, None
    if isinstance(crf_option, Crf):
        if not crf_option.over_tokens:
            _refuse_crf_on_padded_texts(description, "crf")
        return replace(description, output=replace(description.output, crf=crf_option)), None
    reference, convention = prepared.reference, prepared.convention
    module = reference.module if isinstance(reference, CallAdapter) else reference
    decoder, unknown = find_decoder_or_unknown_layers(module, len(description.output.labels))
    called = _find_call_captured_by_given_to(convention)
    if called is None and not _calls_module_itself(convention):
        found = _find_labelling_call_and_crf(module, convention, description, description.output)
        if found is not None:
            return found
        unknown = unknown or find_transition_layer(module, len(description.output.labels))
    if decoder is None:
        if called is not None or unknown:
            raise ExportError(
                f"The module decodes its labels ({unknown or 'by its own code'}). A bundle can do so only by a CRF "
                "with one transition matrix and, possibly, scores for the first and the last label, but this is "
                "not such a CRF.",
                "If the bundle may give the likeliest label of each token instead, say so: --no-crf, or crf=False "
                "in Python.",
            )
        return description, None
    _refuse_crf_on_padded_texts(description, decoder.where)
    _log.log(
        logging.WARNING if called is None else logging.INFO,
        "The labels are decoded by the module's CRF (%s)%s", decoder.where,
        "" if called is not None else ", which the call that gives its emissions does not use. If your code takes the "
        "likeliest label of each token, say so: --no-crf, or crf=False",
    )  # fmt: skip
    output = replace(description.output, crf=decoder.crf)
    whole = (
        None if called is None else _make_label_function(module, compile_call(called, spellings=convention.spellings))
    )
    described = replace(description, output=output).add_provenance({"crf": decoder.where})
    return described, OwnersLabels(decoder, whole)


def _find_labelling_call_and_crf(
    module: nn.Module, convention: Convention, description: Description, output: TagOutput
) -> tuple[Description, OwnersLabels] | None:
    """Find another call of the module that gives labels, and the CRF that decodes these from the module's logits.
    Return the description with this CRF, and the user's decoder. Return None if there is no such call.

    The CRF must give these labels for the module's emissions. If the labels are the likeliest ones, there is no CRF,
    and the description is unchanged.

    Raises:
        ExportError: no CRF with the module's weights gives these labels.
    """
    padding_id = description.text.rules.padding_id
    facts = ModuleFacts(
        module,
        description.token_id_count,
        padding_id,
        len(output.labels),
        of_tokens=True,
        spellings=convention.spellings,
    )
    batches = [facts.draw_batch(1, length) for length in _DRAWN]
    given = [call_and_read_numbers(facts, convention, *batch) for batch in batches]
    emissions = [numbers.reshape(length, -1).numpy() for numbers, length in zip(given, _DRAWN, strict=True)]
    lines = []
    for line, labels in itertools.islice(
        _find_labelling_calls(facts, [tokens.numpy() for tokens, _ in batches]), _CALLS
    ):
        owners = OwnersLabels(None, _make_label_function(module, facts.compile(line)))
        if all(numbers.argmax(1).tolist() == found for numbers, found in zip(emissions, labels, strict=True)):
            return description, owners
        if (crf := find_matching_crf(module, list(zip(emissions, labels, strict=True)))) is not None:
            _refuse_crf_on_padded_texts(description, line)
            return replace(description, output=replace(output, crf=crf)).add_provenance({"crf": line}), owners
        lines.append(line)
    if not lines:
        return None
    raise ExportError(
        f"The module labels tokens by {lines[0]}. These labels are neither the likeliest labels of "
        f"{convention.line}, nor those of a CRF with one transition matrix, so a bundle cannot give them.",
        "If the bundle may give the likeliest label of each token instead, say so: --no-crf, or crf=False in Python.",
    )


def _find_labelling_calls(facts: ModuleFacts, texts: Sequence[Ids]) -> Iterator[tuple[str, list[list[int]]]]:
    """Yield (line, labels) for each call of forward or of another method that gives one label for each token: the line
    of Python that makes the call, and the labels of each text."""
    for way in itertools.chain(
        itertools.islice(list_forward_candidates(facts), MOST_LINES), list_method_candidates(facts)
    ):
        whole = _make_label_function(facts.module, facts.compile(way.line))
        # A user's module can raise any exception.
        with contextlib.suppress(Exception, SystemExit):
            labels: list[list[int]] = []
            for tokens in texts:
                labels.append(whole(tokens))
                if len(labels[-1]) != tokens.shape[1]:
                    break
            else:
                yield way.line, labels


def _refuse_crf_on_padded_texts(description: Description, crf_place: str) -> None:
    """Raise an InputError if the text rules pad texts, since a CRF would decode the padding, too. `crf_place` says
    where the CRF is, for the message."""
    if description.text.rules.min_width is not None:
        raise InputError(
            f"The module decodes its labels by a CRF ({crf_place}), but the rules pad every text, so the CRF would "
            "decode the padding, too.",
            "Leave `min_width` out of the rules.",
        )


def _calls_module_itself(convention: Convention) -> bool:
    """Return whether the line of Python by which the module is called contains `module(...)`, and not only a call of
    one of its methods. Return True for a line that is not Python code."""
    with contextlib.suppress(SyntaxError):
        calls = [node.func for node in ast.walk(ast.parse(convention.line)) if isinstance(node, ast.Call)]
        return any(isinstance(function, ast.Name) and function.id == "module" for function in calls)
    return True


def _find_call_captured_by_given_to(convention: Convention) -> str | None:
    """Return the call of the module inside `given_to(...)` in the line of Python by which the module is called.
    `given_to` captures the input of the CRF. Return None for a line without it."""
    if "given_to(" not in convention.line:
        return None
    *setup, last = ast.parse(convention.line).body
    for node in ast.walk(last):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "given_to":
            called = node.args[1].body if isinstance(node.args[1], ast.Lambda) else node.args[1]
            return "; ".join(map(ast.unparse, [*setup, called]))
    return None


def _make_label_function(module: nn.Module, call: Call) -> Callable[[Ids], list[int]]:
    """Return a function that calls the module with the token ids of a text and returns the label of each token. The
    function returns an empty list if the answer has no labels."""

    def compute_labels(tokens: Ids) -> list[int]:
        answer = call_and_restore_state(module, call, torch.from_numpy(tokens), torch.tensor([tokens.shape[1]]))
        return read_labels_in_answer(answer) or []

    return compute_labels
