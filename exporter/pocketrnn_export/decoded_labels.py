"""The labels that a tagger's CRF decodes: found out as numbers, and compared with the owner's on the proof's texts."""

from __future__ import annotations

import ast
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from pocketrnn.bundle.crf import Crf
from pocketrnn.bundle.manifest import Comparison
from pocketrnn.bundle.output import TagOutput
from pocketrnn.classifier import Classifier, logits_of_steps
from pocketrnn.errors import ExportError, InputError, ParityError
from pocketrnn_export.comparing.cases import Case, Ids
from pocketrnn_export.comparing.comparing import Compared, Difference, summary
from pocketrnn_export.description import Description
from pocketrnn_export.intake.call_discovery.trial import answer_to
from pocketrnn_export.intake.convention import CallAdapter, Convention, compiled
from pocketrnn_export.intake.crf_layer import Decoder, decoder_of, owners_labels
from pocketrnn_export.intake.exportable import ExportableModule
from pocketrnn_export.proof.reference_answers import ReferenceAnswers

__all__ = ["OwnersLabels", "decoded_compared", "with_crf"]

_log = logging.getLogger(__name__)
# Two orders of labels whose sums are nearer are equally good within float32's rounding of a token's scores.
_TIE: Final = 1e-4
_LONG: Final = (130, 600)


@dataclass(frozen=True)
class OwnersLabels:
    """The layer that decodes the labels of a tagger, and its whole forward, where that gives the labels."""

    decoder: Decoder
    whole: Callable[[Ids], list[int]] | None


def with_crf(
    prepared: ExportableModule, description: Description, *, wanted: bool = True
) -> tuple[Description, OwnersLabels | None]:
    """The description with the CRF of a tagger, and what it is compared with; as it was where there is none.

    Args:
        prepared: the module.
        description: of its bundle so far.
        wanted: whether a CRF decodes the labels, if there is one.

    Raises:
        ExportError: the module decodes its labels, and not by a CRF that is understood.
        InputError: the rules fill texts up, which a CRF would decode too.
    """
    if not isinstance(description.output, TagOutput) or not wanted:
        return description, None
    reference, convention = prepared.reference, prepared.convention
    module = reference.module if isinstance(reference, CallAdapter) else reference
    decoder, unknown = decoder_of(module, len(description.output.labels))
    called = _call_of_forward(convention)
    if decoder is None:
        if called is not None or unknown:
            raise ExportError(
                f"The module decodes its labels ({unknown or 'by its own code'}), and not as a CRF does whose numbers "
                "are a matrix of the labels, with or without some for the first and the last token.",
                "To have the likeliest label of each token, say so: --no-crf, or crf=False.",
            )
        return description, None
    if description.text.rules.min_width is not None:
        raise InputError(
            f"The module decodes its labels by a CRF ({decoder.where}), and the rules fill every text up.",
            "Leave min_width out of the rules.",
        )
    _log.log(
        logging.WARNING if called is None else logging.INFO,
        "The labels are decoded by the module's CRF (%s)%s", decoder.where,
        "" if called is not None else ", which the call that gives its emissions does not use. If your code takes the "
        "likeliest label of each token, say so: --no-crf, or crf=False",
    )  # fmt: skip
    output = replace(description.output, crf=decoder.crf)
    described = replace(description, output=output).noting({"crf": decoder.where})
    return described, OwnersLabels(decoder, None if called is None else _whole(module, called))


def _call_of_forward(convention: Convention) -> str | None:
    """The call of forward in a line before which what decodes was put aside; None for another line."""
    *setup, last = convention.line.split("; ")
    if not any("= lambda emissions" in statement for statement in setup):
        return None
    node: ast.AST = ast.parse(last.strip(), mode="eval").body
    while not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
        node = node.func.value if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) else node.value  # type: ignore[attr-defined]
    others = [statement for statement in setup if "= lambda emissions" not in statement]
    return "; ".join([*others, ast.unparse(node)])


def _whole(module: nn.Module, line: str) -> Callable[[Ids], list[int]]:
    def labels(tokens: Ids) -> list[int]:
        answer = answer_to(module, compiled(line), torch.from_numpy(tokens), torch.tensor([tokens.shape[1]]))
        return owners_labels(answer) or []

    return labels


def decoded_compared(classifier: Classifier, owners: OwnersLabels | None, answers: ReferenceAnswers) -> list[Compared]:
    """Compare the labels that the runtime decodes with those of the owner's layer and of the owner's forward.

    Args:
        classifier: the bundle, as the runtime loads it.
        owners: what decodes the labels; None where nothing does.
        answers: the reference's, with each text as a case of its own.

    Raises:
        ParityError: the labels are others, and not equally good ones.
    """
    output = classifier.manifest.output
    if owners is None or not isinstance(output, TagOutput) or output.crf is None:
        return []
    differences, other, padding_id = list[Difference](), 0, classifier.manifest.text.rules.padding_id
    pairs = answers.of("texts", one_row=False)
    for case, emissions in pairs:
        answered = np.isfinite(emissions).all(axis=1)
        own = output.crf.decoded(logits_of_steps(classifier, [case.tokens[0]])[answered])
        found = [np.array(owners.decoder.labels(emissions[answered]), np.int64)]
        if owners.whole is not None and padding_id not in case.tokens:
            # A forward that masks the padding's id leaves it out inside of a text, too.
            found.append(np.array(owners.whole(case.tokens), np.int64))
        for labels in found:
            gap = _gap(output.crf, emissions[answered], own, labels, case)
            other += int((own != labels).sum())
            differences.append(Difference("decoding", case.name, gap, 0))
    if owners.whole is not None:
        for tokens in _long_rows(classifier, padding_id):
            emissions = logits_of_steps(classifier, [tokens[0]])
            labels = np.array(owners.whole(tokens), np.int64)
            case = Case(f"{tokens.shape[1]} tokens", tokens, np.array([tokens.shape[1]]))
            _gap(output.crf, emissions, output.crf.decoded(emissions), labels, case)
    compared = summary(differences, reference=answers.reference.name, inputs="texts", rows=len(pairs))
    line: Comparison = replace(compared.line, labels_differing=other)
    return [Compared(line, ())]


def _long_rows(classifier: Classifier, padding_id: int) -> Iterator[Ids]:
    """Rows of more tokens than texts have: forward may cut what it decodes, or decode in windows."""
    graph, generator = classifier.manifest.graph, np.random.default_rng(0)
    most = None if graph.limits is None else graph.limits.max_tokens
    for length in _LONG:
        if most is None or length <= most:
            ids = generator.integers(0, graph.embedding_rows - 1, (1, length))
            yield np.where(ids >= padding_id, ids + 1, ids)


def _gap(crf: Crf, emissions: Any, own: Any, labels: Any, case: Case) -> float:
    """How much less the sum of one order of labels is than that of another, for each token."""
    if labels.shape == own.shape:
        gap = abs(crf.score(emissions, own) - crf.score(emissions, labels)) / len(own)
        if (own == labels).all() or gap <= _TIE:
            return 0.0 if (own == labels).all() else gap
    raise ParityError(
        f"The bundle decodes other labels than the module, on {case.name}, ids {case.tokens[0, :8].tolist()}...",
        "Nothing was written; export what goes into the CRF: --call, or call=.",
    )
