"""A user's module, made ready to export: copied, its inputs found out, its answers brought to logits of classes."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from pocketrnn.errors import ExportError, PocketRNNError, first_line
from pocketrnn_export.intake.copied import copied_for_export, holds_torchscript, with_traceable_parts
from pocketrnn_export.proof.cases import Case, Ids, Logits, Run, neighbour_cases, shape_grid
from pocketrnn_export.proof.comparing import Reference, rows_stand_alone, run_of
from pocketrnn_export.proof.float64_graph import Run64
from pocketrnn_export.proof.float64_module import float64_run_of
from pocketrnn_export.proof.spread import moved_modules

__all__ = ["PreparedModule", "prepare"]

# Rounding of long texts may differ this much between batches; what looks at its neighbours differs by more.
_NEIGHBOURS: Final = 1e-3


@dataclass(frozen=True)
class PreparedModule:
    """A module that can be exported.

    Attributes:
        module: in float32 and eval mode on the CPU. It never runs, so that what a first run leaves behind in a module
            is not traced.
        reference: a copy of it, which does run.
        takes_lengths: whether forward is given lengths.
        padding: whether a row may be padded beside longer ones without changing its answer.
        padding_id: the token past a row's length.
        example: what the module is traced on, (tokens,) or (tokens, lengths): three rows by falling length, seven
            steps; sizes that occur nowhere else.
    """

    module: nn.Module
    reference: nn.Module
    takes_lengths: bool
    padding: bool
    padding_id: int
    example: tuple[Tensor, ...]

    @property
    def to_script(self) -> nn.Module:
        """What the TorchScript copy is made from: the module; where it holds TorchScript, that as it came."""
        return self.reference if holds_torchscript(self.reference) else self.module

    def as_reference(self) -> Reference:
        """The module as what every form is compared with. Its run raises ExportError where the module fails."""
        return Reference(
            "pytorch",
            _said(run_of(self.reference, takes_lengths=self.takes_lengths), self.padding_id),
            _float64_run(self),
            lambda: moved_modules(self.computed, takes_lengths=self.takes_lengths),
        )

    def check_neighbours(self, cases: Iterable[Case]) -> None:
        """Refuse a module that answers a text differently in a batch of some sizes than alone.

        Args:
            cases: sizes at which it may do something else, such as those on both sides of a branch; rows of full
                length.

        Raises:
            ExportError: it does.
        """
        run = self.as_reference().run
        for case in cases:
            rows, steps = case.tokens.shape
            if rows > 1 and not rows_stand_alone(run, [case], tolerance=_NEIGHBOURS, rows=(0, rows - 1)):
                raise ExportError(
                    f"The module answers a text differently in a batch of {rows} x {steps} tokens than alone.",
                    "Branch on no size of the batch: a text's answer may depend on its own tokens only.",
                )

    @property
    def computed(self) -> nn.Module:
        """What is run in double precision. The code of TorchScript holds float32 numbers and types of its own: there it
        is the module that runs its operators one by one."""
        return self.module if holds_torchscript(self.reference) else self.reference


def prepare(
    module: nn.Module, *, lengths: bool | None, ids: int, padding_id: int, classes: int, multi_label: bool
) -> PreparedModule:
    """Copy a module and find out how to call it.

    Args:
        module: the user's module, which is not changed.
        lengths: whether forward is given lengths; None to decide by its signature.
        ids: how many token ids there are.
        padding_id: the token past a row's length.
        classes: how many labels there are. A module of two labels may give a single logit: it becomes the second
            label's logit beside a zero. Softmax of the two gives the probabilities that sigmoid gives of the one.
        multi_label: whether each label has a probability of its own. Then no logit is added.

    Raises:
        ExportError: the module cannot be copied or called, is not reproducible, does not give
            logits [batch, classes], or answers a text according to the other texts of its batch.

    Example:
        >>> prepared = prepare(module, lengths=None, ids=8000, padding_id=1, classes=4, multi_label=False)
        >>> prepared.takes_lengths
        True
    """
    _refuse_statistics_of_a_batch(module)
    reference = copied_for_export(module)
    takes_lengths = _takes_lengths(reference) if lengths is None else lengths
    traceable = with_traceable_parts(reference)
    _refuse_nan(reference)
    case, answer = _first_answer(reference, ids, takes_lengths=takes_lengths)
    if classes == 2 and not multi_label and answer.shape in {(2,), (2, 1)}:
        traceable, reference = _SingleLogit(traceable), _SingleLogit(reference)
        answer = _answer(reference, case, takes_lengths=takes_lengths)
    _check_answer(answer, classes)
    if not torch.equal(answer, _answer(reference, case, takes_lengths=takes_lengths)):
        raise ExportError(
            "The module gives other answers when it is run again on the same texts.",
            "Take randomness such as dropout out of its eval mode.",
        )
    example = _example(padding_id, takes_lengths=takes_lengths)
    prepared = PreparedModule(
        traceable, reference, takes_lengths, padding=False, padding_id=padding_id, example=example
    )
    if not _rows_stand_alone(prepared, shape_grid(ids, 0, ragged=False)):
        raise ExportError(
            "The module answers a text differently beside other texts of the same length.",
            "Compute nothing across the batch and branch on no values: each row may depend on its own tokens only.",
        )
    padding = takes_lengths and _rows_stand_alone(prepared, shape_grid(ids, padding_id, ragged=True))
    return replace(prepared, padding=padding)


def _float64_run(prepared: PreparedModule) -> Run64:
    """The module in double precision. It is copied when it first runs: most questions are settled in float32."""

    @functools.cache
    def made() -> Run64:
        return float64_run_of(prepared.computed, takes_lengths=prepared.takes_lengths)

    return lambda tokens, lengths: made()(tokens, lengths)


def _rows_stand_alone(prepared: PreparedModule, grid: Sequence[Case]) -> bool:
    """Whether a text's answer does not depend on the other texts of its batch, nor on its padding."""
    cases, reference = neighbour_cases(grid), prepared.as_reference()
    if rows_stand_alone(reference.run, cases):
        return True
    # Other sums of a larger batch are rounded otherwise. A module that looks at its neighbours does in float64 too.
    try:
        return reference.float64_run is not None and rows_stand_alone(reference.float64_run, cases, tolerance=1e-8)
    except ExportError:
        return False


def _example(padding_id: int, *, takes_lengths: bool) -> tuple[Tensor, ...]:
    lengths = torch.tensor([7, 5, 3])
    # Real tokens: a module that counts those that are not padding may not take a text of padding only.
    tokens = torch.full((3, 7), int(padding_id == 0))
    if not takes_lengths:
        return (tokens,)
    tokens[torch.arange(7) >= lengths[:, None]] = padding_id
    return tokens, lengths


class _SingleLogit(nn.Module):
    """Two classes from a module that gives one logit a text, [batch] or [batch, 1]."""

    def __init__(self, single: nn.Module) -> None:
        super().__init__()
        self.single = single

    def forward(self, tokens: Tensor, lengths: Tensor | None = None) -> Tensor:
        logit = (self.single(tokens) if lengths is None else self.single(tokens, lengths)).reshape(-1, 1)
        return torch.cat([torch.zeros_like(logit), logit], dim=1)


def _said(run: Run, padding_id: int) -> Run:
    """A run of the module, with whatever the module raises as an ExportError that says on what."""

    def said(tokens: Ids, lengths: Ids) -> Logits:
        try:
            return run(tokens, lengths)
        except PocketRNNError:
            raise
        # Whatever a user's module raises, a call of sys.exit included.
        except (Exception, SystemExit) as error:
            what = f"{type(error).__name__}: {first_line(error)}"
            if any((row[:length] == padding_id).all() for row, length in zip(tokens, lengths, strict=True)):
                raise ExportError(
                    f"The module fails on a text that holds the padding only (the id {padding_id}), as a text without "
                    f"a known word or with the word for padding may: {what}.",
                    "Count at least one token in forward, as in lengths.clamp(min=1); and let unknown words and empty "
                    "texts become another id: with '<unk>' in the vocabulary, or with rules=TextRules(unknown_id=..., "
                    "empty_id=...).",
                ) from error
            shape = f"batch {len(tokens)} x sequence {tokens.shape[1]}"
            raise ExportError(
                f"The module fails on {shape}, ids {', '.join(map(str, tokens[0, :8]))}...: {what}.",
                "A classifier is asked for any number of texts of any length: correct forward for this one.",
            ) from error

    return said


def _refuse_statistics_of_a_batch(module: nn.Module) -> None:
    for path, layer in module.named_modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.running_mean is None:
            raise ExportError(
                f"The module's {path or 'forward'} is a {type(layer).__name__} without running statistics: it answers "
                "a text differently beside other texts.",
                "Train it with track_running_stats=True, or with nn.LayerNorm in its stead.",
            )


def _takes_lengths(module: nn.Module) -> bool:
    if isinstance(module, torch.jit.ScriptModule):
        arguments = [argument.name for argument in module.forward.schema.arguments[1:]]  # type: ignore[attr-defined]
        if len(arguments) not in (1, 2):
            raise ExportError(
                f"The TorchScript module takes {len(arguments)} inputs: {', '.join(arguments)}.",
                "Export a module whose forward takes (tokens) or (tokens, lengths).",
            )
        return len(arguments) == 2
    parameters = [
        p
        for p in inspect.signature(module.forward).parameters.values()
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    required = [p for p in parameters if p.default is p.empty]
    if len(required) in (1, 2):
        optional_lengths = len(required) == 1 and len(parameters) > 1 and "len" in parameters[1].name.lower()
        return len(required) == 2 or optional_lengths
    raise ExportError(
        f"The module's forward needs {len(required)} arguments: {', '.join(p.name for p in required) or 'none'}.",
        "Wrap it in a module whose forward takes (tokens) or (tokens, lengths).",
    )


def _refuse_nan(module: nn.Module) -> None:
    for name, weight in module.named_parameters():
        if weight.is_floating_point() and not bool(torch.isfinite(weight).all()):
            raise ExportError(
                f"The module's weight {name} holds a number that is not finite.", "Train it again, or correct it."
            )


def _first_answer(module: nn.Module, ids: int, *, takes_lengths: bool) -> tuple[Case, Any]:
    """What a module answers to two rows that hold the lowest and the highest id, of 3 tokens, or else of 7: some
    modules need a few tokens.

    Raises:
        ExportError: it answers neither; the message is about 3 tokens.
    """
    short, longer = (
        Case("every id", np.resize([0, ids - 1], (2, steps)).astype(np.int64), np.full(2, steps, np.int64))
        for steps in (3, 7)
    )
    try:
        return short, _answer(module, short, takes_lengths=takes_lengths)
    except ExportError as error:
        try:
            return longer, _answer(module, longer, takes_lengths=takes_lengths)
        except ExportError:
            raise error from error.__cause__


def _answer(module: nn.Module, case: Case, *, takes_lengths: bool) -> Any:
    def checked(*inputs: Tensor) -> Any:
        answer = module(*inputs)
        if not isinstance(answer, Tensor):
            raise ExportError(
                f"The module's forward gives a {type(answer).__name__}, not a tensor.",
                "Wrap it in a module that returns the logits [batch, classes] alone.",
            )
        if answer.dtype != torch.float32:
            raise ExportError(
                f"The module's forward gives a tensor of {answer.dtype}.",
                "Return logits of torch.float32: scores before softmax, not labels.",
            )
        return answer

    try:
        return torch.from_numpy(run_of(checked, takes_lengths=takes_lengths)(case.tokens, case.lengths))
    except PocketRNNError:
        raise
    # Whatever a user's module raises, a call of sys.exit included.
    except (Exception, SystemExit) as error:
        raise ExportError(
            f"The module fails on a batch of token ids up to {case.tokens.max()}: "
            f"{type(error).__name__}: {str(error).strip().rstrip('.')}.",
            "Check that its embedding has a row for every id of the vocabulary, and the arguments of forward.",
        ) from error


def _check_answer(answer: Tensor, classes: int) -> None:
    if answer.shape != (2, classes):
        raise ExportError(
            f"The module gives a tensor of shape {list(answer.shape)} for 2 texts and {classes} labels.",
            "Return logits [batch, classes] from forward, and give a label for every class.",
        )
    if not bool(torch.isfinite(answer).all()):
        raise ExportError("The module gives logits that are not finite numbers.", "Check its weights.")
