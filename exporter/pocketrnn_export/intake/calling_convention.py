"""Call a module by its convention: the inputs of forward for a batch of texts, and the place of the logits in the
answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pocketrnn.text.features_beside_text import Features
from pocketrnn_export.intake.character_pair_and_feature_calls import CharacterCall, FeatureCall, PairCall
from pocketrnn_export.intake.compiled_call_line import Call
from pocketrnn_export.intake.last_activation_removal import ActivationCall, ActivationSkipper
from pocketrnn_export.intake.run_that_undoes_assignments import undo_assignments
from pocketrnn_export.intake.user_code_lines_for_messages import run_user_call
from pocketrnn_export.vocabularies.spelled_word_ids import Spellings


@dataclass(frozen=True)
class Convention:
    """The way to call a module, and the way to read its answer.

    Attributes:
        line: Python code of the call, such as `module(tokens.t(), lengths)[0]`, with statements and `;` before it if
            needed. For a user's function, its name.
        function: the call as a function.
        units: how many numbers the call gives for a text, or a token: one for each label, or a single one for two
            labels.
        takes_lengths: whether the answer depends on the lengths that are given.
        exact: whether the answer already has the shape of the graph's output, even for a single text.
        one_text: whether the module answers only one text at a time.
        beside_a_copy: whether the module fails on a batch of one text, which is then run in a batch with a copy of
            itself.
        activation: the call that turns the module's logits into probabilities; the export leaves it out.
        counts: the padding id, if the rules pad every text. The module's lengths then count the other ids, and the
            graph does not take lengths.
        undone: `softmax` or `sigmoid`, if the module gives probabilities but no such call was found, so that the
            logarithm turns them into logits; else None.
        gives: whether the module gives logits or probabilities, and the reason for this conclusion.
        notes: sentences on the assumptions about the arguments.
        values: whether the module's numbers are values, and not logits of labels.
        left_out: a sentence on other outputs that may be answers, too; empty if there are none.
        of_tokens: whether the call gives numbers for each token: [batch, sequence, units], or [sequence, units] for one
            text.
        pair: the names of the inputs for the first and the second of two texts, if they are known.
        heads: for a module with several heads, whose outputs are joined, the convention of each head.
    """

    line: str
    function: Call
    units: int
    takes_lengths: bool
    exact: bool = False
    one_text: bool = False
    beside_a_copy: bool = False
    activation: ActivationCall | None = None
    undone: str | None = None
    counts: int | None = None
    gives: str = "logits"
    notes: tuple[str, ...] = ()
    values: bool = False
    left_out: str = ""
    of_tokens: bool = False
    pair: tuple[str, str] | None = None
    heads: tuple[Convention, ...] = ()

    @property
    def answer_conventions(self) -> tuple[Convention, ...]:
        """The conventions of all heads. If there are no heads, this convention is the only one."""
        return self.heads or (self,)

    @property
    def gives_probabilities(self) -> bool:
        """Whether the module, or at least one of its heads, gives probabilities."""
        return any(part.activation is not None or part.undone is not None for part in self.answer_conventions)

    def shape(self, rows: int, steps: int) -> tuple[int, ...]:
        """Return the shape of the graph's answer: [rows, units], or [rows, steps, units] for labels of tokens."""
        return (rows, steps, self.units) if self.of_tokens else (rows, self.units)

    @property
    def provenance(self) -> dict[str, Any]:
        """The entry in a bundle's provenance: the line of the call, why the answers are logits, the assumptions, and
        the outputs that are left out. The entry also says if one number stands for two labels."""
        said: dict[str, Any] = {"call": self.line, "gives": self.gives}
        if self.units == 1 and not self.values:
            said["one_number"] = True
        said |= {"assumed": " ".join(self.notes)} if self.notes else {}
        said |= {"pair": ", ".join(self.pair)} if self.pair else {}
        return {**said, "left_out": self.left_out} if self.left_out else said

    @property
    def has_two_texts(self) -> bool:
        """Whether the module takes two texts."""
        return isinstance(self.function, PairCall)

    @property
    def features(self) -> Features:
        """The features that the module takes besides a text. Empty if it takes none."""
        return self.function.features if isinstance(self.function, FeatureCall) else ()

    @property
    def spellings(self) -> Spellings | None:
        """The words and characters that the ids stand for, if the module takes characters. None if it does not."""
        return self.function.spellings if isinstance(self.function, CharacterCall) else None

    @property
    def has_graph_inputs_and_outputs(self) -> bool:
        """Whether the module has the same inputs and outputs as a bundle's graph, so that it needs no wrapper. One
        logit for two labels is allowed, too."""
        usual = "module(tokens, lengths)" if self.takes_lengths else "module(tokens)"
        return self.line == usual and self.exact and not self.gives_probabilities and self.counts is None

    def __deepcopy__(self, _memory: dict[int, Any]) -> Convention:
        # The user's function may hold anything; it calls a copy of the module as it calls the module.
        return self


class CallAdapter(nn.Module):
    """A module that is called by its convention. It takes tokens int64 [batch, sequence], and lengths int64 [batch] if
    the module takes lengths. It gives logits [batch, classes], or [batch, sequence, classes] for labels of tokens.

    Changes that forward makes to the module are undone after each call, so that no text depends on earlier ones. The
    search for the convention has checked that forward does not need these changes.

    Args:
        module: the user's module.
        convention: how the module is called.
        as_logits: whether the answer is converted to logits; otherwise it is what the module gives, such as
            probabilities.
    """

    def __init__(self, module: nn.Module, convention: Convention, *, as_logits: bool = True) -> None:
        super().__init__()
        self.module = module
        self.convention = convention
        self.as_logits = as_logits

    def forward(self, tokens: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the logits of a batch of texts. For a module with features, the rows of ids contain the features."""
        function = self.convention.function
        if not isinstance(function, FeatureCall):
            return self._call_on_texts(function, tokens, lengths)
        full = torch.full((tokens.shape[0],), tokens.shape[1], dtype=torch.int64) if lengths is None else lengths
        tokens, full, numbers = function.split_rows(tokens, full)
        return self.call_with_features(tokens, None if lengths is None else full, numbers)

    def call_with_features(self, tokens: Tensor, lengths: Tensor | None, numbers: Tensor) -> Tensor:
        """Return the logits of texts with features. `numbers` are the features, float32 [batch, features]."""
        function = self.convention.function
        assert isinstance(function, FeatureCall)  # noqa: S101 - whoever asks has a module of features
        counts = self.convention.counts is not None and not torch.compiler.is_exporting()

        def call(module: nn.Module, texts: Tensor, of_texts: Tensor) -> Any:
            # Counted lengths sort the rows.
            own = (
                numbers[_make_order_by_decreasing_length(_count_real_ids(tokens, self.convention.counts))]
                if counts
                else numbers
            )
            return function.call_module_with_features(module, texts, of_texts, own)

        return self._call_on_texts(call, tokens, lengths)

    def _call_on_texts(self, function: Call, tokens: Tensor, lengths: Tensor | None) -> Tensor:
        """Make the call `function` on texts, and return their logits. If the convention counts tokens, each length is
        the number of ids that are not padding, and `lengths` is ignored. Otherwise, if `lengths` is None, each length
        is the width of the batch."""
        convention, back = self.convention, None
        if convention.counts is not None:
            lengths = _count_real_ids(tokens, convention.counts)
            # Packing may need rows of decreasing length. A traced graph packs in any order.
            if not torch.compiler.is_exporting():
                order = _make_order_by_decreasing_length(lengths)
                tokens, lengths, back = tokens[order], lengths[order], torch.argsort(order)
        elif lengths is None:
            lengths = torch.full((tokens.shape[0],), tokens.shape[1], dtype=torch.int64)
        return self.call_and_read_logits(function, tokens, lengths, back)

    def call_and_read_logits(
        self, function: Call, tokens: Tensor, lengths: Tensor, restoring_order: Tensor | None = None
    ) -> Tensor:
        """Make the call `function`, and return the logits in its answer. If the rows were sorted before,
        `restoring_order` brings them back to their order."""
        convention = self.convention
        with undo_assignments(self.module):
            calls = [part.activation for part in convention.answer_conventions if part.activation is not None]
            if calls and self.as_logits:
                with ActivationSkipper(*calls):
                    answer = run_user_call(function, self.module, tokens, lengths)
            else:
                answer = run_user_call(function, self.module, tokens, lengths)
        # A squeeze() removes the batch axis of a single text, and the last axis of a single number.
        if answer.dim() != 2 + convention.of_tokens:
            answer = answer.reshape(convention.shape(tokens.shape[0], -1))
        if restoring_order is not None:
            answer = answer[restoring_order]
        if not self.as_logits:
            given: Tensor = answer
            return given
        if not convention.heads or not any(_needs_conversion_to_logits(part) for part in convention.heads):
            return _convert_to_logits(answer, convention)
        parts = torch.split(answer, [head.units for head in convention.heads], dim=-1)
        return torch.cat(
            [_convert_to_logits(part, head) for part, head in zip(parts, convention.heads, strict=True)], dim=-1
        )


def _needs_conversion_to_logits(convention: Convention) -> bool:
    return convention.undone is not None or (convention.units == 1 and not convention.values)


def _convert_to_logits(answer: Tensor, convention: Convention) -> Tensor:
    """Convert a module's answer, or one head's part of it, to logits."""
    if convention.undone is not None:
        return _invert_activation(answer, convention)
    return torch.cat([torch.zeros_like(answer), answer], dim=-1) if _needs_conversion_to_logits(convention) else answer


def _count_real_ids(tokens: Tensor, padding_id: int | None) -> Tensor:
    lengths: Tensor = torch.ne(tokens, padding_id).sum(1).clamp(min=1)  # type: ignore[arg-type]
    return lengths


def _make_order_by_decreasing_length(lengths: Tensor) -> Tensor:
    return torch.argsort(lengths, descending=True, stable=True)


def _invert_activation(probabilities: Tensor, convention: Convention) -> Tensor:
    """Compute logits [..., classes] from probabilities [..., units]. A single unit is the probability of the second
    label."""
    least = float(np.finfo(np.float32).tiny)
    if convention.units == 1:
        probabilities = torch.cat([1 - probabilities, probabilities], dim=-1)
    elif convention.undone == "sigmoid":
        return torch.log(probabilities.clamp(min=least)) - torch.log((1 - probabilities).clamp(min=least))
    return torch.log(probabilities.clamp(min=least))
