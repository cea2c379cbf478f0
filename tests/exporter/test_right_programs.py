"""Whether a trace is right can be asked of the program alone: it answers as the module does, without any form."""

from __future__ import annotations

import copy
import inspect
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import loop_modules
import numpy as np
import pytest
import torch
from slow_case_sampling import mostly_slow
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from pocketrnn.bundle.manifest import Limits
from pocketrnn.errors import ExportError
from pocketrnn_export.module_runs.quiet_cpu_run import compute_answer
from pocketrnn_export.proof import right_program_search as right_programs
from pocketrnn_export.proof.program_runs_and_nodes import make_runnable_program
from pocketrnn_export.proof.right_program_search import find_program_right_for_all_sizes
from pocketrnn_export.tracing.layers.recurrence import OPERATOR
from pocketrnn_export.tracing.module_trace import TracedProgram
from pocketrnn_export.tracing.sizes.size_question_log import TraceLog

WORDS = 60


class Packed(nn.Module):
    """A packed bidirectional layer of each kind, whose outputs and last states take part."""

    def __init__(self, kind: type[nn.RNNBase], **options: Any) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 6)
        self.rnn = kind(6, 5, batch_first=True, bidirectional=True, **options)
        self.fc = nn.LazyLinear(3)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(self.embedding(tokens), lengths, batch_first=True, enforce_sorted=False)
        outputs, last = self.rnn(packed)
        outputs, _ = pad_packed_sequence(outputs, batch_first=True)
        state = last[0] if isinstance(last, tuple) else last
        logits: Tensor = self.fc(torch.cat([outputs.amax(1), state[-1], state[-2]], 1))
        return logits


class CutsLongTexts(nn.Module):
    """Something else for texts of more than 9 tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 6)
        self.fc = nn.Linear(6, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        logits: Tensor = self.fc(x[:, :9].mean(1) * 2 if tokens.size(1) > 9 else x.sum(1))
        return logits


class _Steps(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.cell, self.fc = nn.Embedding(WORDS, 6), nn.GRUCell(6, 5), nn.Linear(5, 3)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        x = self.embedding(tokens)
        h = torch.zeros(x.size(0), 5)
        for t in self.positions(tokens, lengths):
            h = self.cell(x[:, t], h)
        logits: Tensor = self.fc(h)
        return logits

    def positions(self, tokens: Tensor, lengths: Tensor) -> Any:
        raise NotImplementedError


class UpToTheLongest(_Steps):
    def positions(self, tokens: Tensor, lengths: Tensor) -> Any:
        del tokens
        return range(int(lengths.max().item()))


class OfAList(_Steps):
    def positions(self, tokens: Tensor, lengths: Tensor) -> Any:
        del lengths
        return list(range(tokens.size(1)))


class NamesItsInputs(_Steps):
    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        order = torch.sort(input=lengths, dim=0, descending=True)[1]
        x, h = self.embedding(torch.index_select(input=tokens, dim=0, index=order)), torch.zeros(tokens.size(0), 5)
        if tokens.size(1) > 9:
            x = torch.narrow(input=x, dim=1, start=0, length=9)
        for step in torch.unbind(input=x, dim=1):
            h = self.cell(step, h)
        logits: Tensor = self.fc(torch.squeeze(input=h.unsqueeze(0))).reshape(-1, 3)
        return logits[torch.argsort(input=order)]


def inputs_of(rows: int, steps: int, *, with_lengths: bool) -> tuple[Tensor, ...]:
    tokens = torch.randint(2, WORDS, (rows, steps), generator=torch.Generator().manual_seed(rows + steps))
    lengths = torch.arange(steps, steps - rows, -1).clamp(min=1)
    return (tokens, lengths) if with_lengths else (tokens,)


def assert_program_answers_as_module(module: nn.Module, *, with_lengths: bool = False) -> None:
    module.eval()
    with torch.no_grad():
        module(*inputs_of(3, 7, with_lengths=with_lengths))
    assert_equal_answers(
        module,
        find_program_right_for_all_sizes(module, inputs_of(3, 7, with_lengths=with_lengths)),
        with_lengths=with_lengths,
    )


def assert_equal_answers(module: nn.Module, found: TracedProgram, *, with_lengths: bool) -> None:
    run = make_runnable_program(found).run
    for rows, steps in ((1, 1), (1, 9), (2, 10), (5, 3), (3, 40)):
        inputs = inputs_of(rows, steps, with_lengths=with_lengths)
        with torch.no_grad():
            expected = module(*inputs)
        torch.testing.assert_close(torch.from_numpy(run(inputs)), expected, atol=1e-5, rtol=1e-5)


# In the fast suite, test_streaming.py exports two such layers, and test_real_tokens.py one of both directions.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (nn.LSTM, {"num_layers": 2}),
        (nn.LSTM, {"proj_size": 4}),
        (nn.GRU, {}),
        (nn.RNN, {"nonlinearity": "relu", "bias": False}),
        (nn.RNN, {}),
    ],
)
def test_a_program_of_packed_layers_answers_as_its_module(kind: type[nn.RNNBase], options: dict[str, Any]) -> None:
    assert_program_answers_as_module(Packed(kind, **options), with_lengths=True)


class Encoded(nn.Module):
    """Encoders of PyTorch, which answer otherwise where gradients are recorded: a mask that weighs hides, and what is
    hidden at the end of a text comes out as zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.fc = nn.Embedding(WORDS, 6), nn.Linear(6, 3)
        layer = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True)
        self.encoder, self.alone = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(6)), layer

    def forward(self, tokens: Tensor) -> Tensor:
        weighs = (tokens == 0).float() * -3.0
        x = self.encoder(self.embedding(tokens), src_key_padding_mask=weighs)
        places = torch.arange(tokens.size(1))
        near = -0.1 * (places[:, None] - places[None]).abs().float()
        logits: Tensor = self.fc((x + self.alone(x, src_mask=near)).mean(1))
        return logits


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_encoders_answer_as_where_no_gradients_are_recorded() -> None:
    torch.manual_seed(0)
    module = Encoded().eval()
    run = make_runnable_program(find_program_right_for_all_sizes(module, inputs_of(3, 7, with_lengths=False))).run
    for rows in ([[5, 6, 0, 0]], [[5, 0, 6, 0]], [[0, 5]], [[7, 8, 9]], [[5, 6, 0], [5, 0, 0]]):
        tokens = torch.tensor(rows)
        with torch.no_grad():
            expected = module(tokens)
        assert torch.equal(compute_answer(module, [tokens]), expected)
        torch.testing.assert_close(torch.from_numpy(run((tokens,))), expected, atol=1e-5, rtol=1e-5)


class Masked(nn.Module):
    """A mask that is made of the number of tokens, which PyTorch compares with a causal one, and a wrong hint of one,
    which the fast path does not take."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.fc = nn.Embedding(WORDS, 6), nn.Linear(6, 3)
        layer = nn.TransformerEncoderLayer(6, 2, 8)
        self.slow, self.fast = nn.TransformerEncoder(layer, 1), nn.TransformerEncoderLayer(6, 2, 8, batch_first=True)
        self.decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(6, 2, 8), 1)

    def forward(self, tokens: Tensor) -> Tensor:
        causal = nn.Transformer.generate_square_subsequent_mask(tokens.size(1))
        x = self.slow(self.embedding(tokens).transpose(0, 1), causal)
        x = self.decoder(x, x, tgt_mask=causal).transpose(0, 1)
        places = torch.arange(tokens.size(1))
        far = (places[:, None] - places[None]).abs() > 2
        logits: Tensor = self.fc(self.fast(x, far, is_causal=True).mean(1))
        return logits


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*enable_nested_tensor is True")
def test_masks_of_encoders_may_be_made_of_the_number_of_tokens() -> None:
    assert_program_answers_as_module(Masked(), with_lengths=False)


class NeedsFive(nn.Module):
    """A convolution over five tokens, of at most 40 places."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.places = nn.Embedding(WORDS, 6), nn.Embedding(40, 6)
        self.convolution, self.fc = nn.Conv1d(6, 4, 5), nn.Linear(4, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens) + self.places(torch.arange(tokens.size(1)))
        logits: Tensor = self.fc(self.convolution(x.transpose(1, 2)).amax(2))
        return logits


@pytest.mark.slow
def test_sizes_that_pytorch_cannot_take_are_limits() -> None:
    found = find_program_right_for_all_sizes(NeedsFive().eval(), inputs_of(3, 7, with_lengths=False))
    assert found.limits == Limits(min_tokens=5, max_tokens=40)


@pytest.mark.slow
def test_a_program_of_two_branches_answers_as_its_module_and_one_that_departs_is_seen() -> None:
    module = CutsLongTexts().eval()
    found = find_program_right_for_all_sizes(module, inputs_of(3, 7, with_lengths=False))
    assert_equal_answers(module, found, with_lengths=False)
    with torch.no_grad():
        module.fc.bias += 1
    with pytest.raises(AssertionError):
        assert_equal_answers(module, found, with_lengths=False)


class OfNineTokens(nn.Module):
    """Something else is done to a rare word in texts of 9 tokens: hardly any random text shows it."""

    RARE = 3_999

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.rnn, self.fc = nn.Embedding(4_000, 6), nn.GRU(6, 5, batch_first=True), nn.Linear(5, 3)
        self.register_buffer("table", torch.arange(4_000))
        self.table[self.RARE] = 2

    def forward(self, tokens: Tensor) -> Tensor:
        if tokens.size(1) == 9:
            tokens = torch.where(tokens == self.RARE, torch.full_like(tokens, 2), tokens)
        logits: Tensor = self.fc(self.rnn(self.embedding(tokens))[1][-1])
        return logits


class OfAllButNineTokens(OfNineTokens):
    def forward(self, tokens: Tensor) -> Tensor:
        if tokens.size(1) != 9:
            tokens = self.table[tokens]
        logits: Tensor = self.fc(self.rnn(self.embedding(tokens))[1][-1])
        return logits


class OtherTableOfNineTokens(OfNineTokens):
    def __init__(self) -> None:
        super().__init__()
        self.other = copy.deepcopy(self.embedding)
        nn.init.ones_(self.other.weight.data[self.RARE])

    def forward(self, tokens: Tensor) -> Tensor:
        embedding = self.other if tokens.size(1) == 9 else self.embedding
        logits: Tensor = self.fc(self.rnn(embedding(tokens))[1][-1])
        return logits


class OfFiveTexts(OfNineTokens):
    def forward(self, tokens: Tensor) -> Tensor:
        if tokens.size(0) == 5:
            tokens = torch.where(tokens == self.RARE, torch.full_like(tokens, 2), tokens)
        logits: Tensor = self.fc(self.rnn(self.embedding(tokens))[1][-1])
        return logits


@pytest.mark.slow
def test_a_branch_by_the_number_of_texts_that_only_a_rare_word_shows_is_refused() -> None:
    with pytest.raises(ExportError, match=r"5 texts.*x\.size\(0\)"):
        find_program_right_for_all_sizes(OfFiveTexts().eval(), (torch.randint(2, 40, (3, 7)),))


class FixedLastStep(OfNineTokens):
    """Its clamp has another number for each size, and its branch computes the same."""

    def forward(self, tokens: Tensor) -> Tensor:
        if tokens.size(1) == 1:
            tokens = torch.cat([tokens, tokens], 1)[:, :1]
        last = torch.full((len(tokens), 1, 5), 300).clamp(max=tokens.size(1) - 1)
        logits: Tensor = self.fc(self.rnn(self.embedding(tokens))[0].gather(1, last)[:, 0])
        return logits


class CountsPairsOfWords(OfNineTokens):
    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.rnn(self.embedding(tokens))[1][-1])
        if tokens.size(1) > 1:
            logits = logits + (tokens[:, :-1] == self.RARE).float().mean(1, keepdim=True)
        return logits


class AddsHalfATruth(OfNineTokens):
    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.embedding(tokens).mean(1)[:, :5]) + (tokens.size(1) > 4) * 0.5
        return logits


@pytest.mark.slow
def test_the_truth_of_a_size_is_multiplied_by_a_fraction() -> None:
    module = AddsHalfATruth().eval()
    run = make_runnable_program(find_program_right_for_all_sizes(module, (torch.randint(2, 40, (3, 7)),))).run
    for tokens in (1, 4, 5, 8):
        text = torch.full((2, tokens), 5)
        np.testing.assert_allclose(run((text,)), compute_answer(module, (text,)), atol=1e-5)


@pytest.mark.slow
def test_a_branch_for_a_single_token_is_one_of_its_own() -> None:
    module = CountsPairsOfWords().eval()
    run = make_runnable_program(find_program_right_for_all_sizes(module, (torch.randint(2, 40, (3, 7)),))).run
    for tokens in (1, 2, 3, 8):
        text = torch.full((2, tokens), 5)
        text[1, 0] = CountsPairsOfWords.RARE
        np.testing.assert_allclose(run((text,)), compute_answer(module, (text,)), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", mostly_slow([FixedLastStep, OfNineTokens, OfAllButNineTokens, OtherTableOfNineTokens], 4)
)
def test_a_branch_that_only_a_rare_word_shows_is_followed(kind: type[OfNineTokens]) -> None:
    module = kind().eval()
    run = make_runnable_program(find_program_right_for_all_sizes(module, (torch.randint(2, 40, (3, 7)),))).run
    for tokens in (4, 8, 9, 10):
        text = torch.full((2, tokens), 5)
        text[1, 3] = kind.RARE
        np.testing.assert_allclose(run((text,)), compute_answer(module, (text,)), atol=1e-5)


class RareSums(nn.Module):
    """Something else is done to texts whose ids have a rare sum, and no word alone tells it."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.fc = nn.Embedding(60, 6), nn.Linear(6, 3)

    def rare(self, x: Tensor) -> Tensor:
        return x[:, :9].sum(1) if x.size(1) > 9 else x.amax(1)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        is_rare = (tokens * tokens).sum(1, keepdim=True) % 9_973 == 17
        logits: Tensor = self.fc(torch.where(is_rare, self.rare(x), x.mean(1)))
        return logits


class RareSumsTimesAGate(RareSums):
    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        is_rare = (tokens * tokens).sum(1, keepdim=True) % 9_973 == 17
        logits: Tensor = self.fc(x.mean(1) + is_rare * self.rare(x))
        return logits


class RareSumsOfLongTexts(RareSums):
    def rare(self, x: Tensor) -> Tensor:
        return x[:, :9].sum(1) if x.size(1) > 9 else x.mean(1)


class RareSumsOfEvenTexts(RareSums):
    def rare(self, x: Tensor) -> Tensor:
        return x[:, ::2].mean(1) if x.size(1) % 2 else x.sum(1)


class RareSumsOfASingleToken(RareSums):
    def rare(self, x: Tensor) -> Tensor:
        return x.std(1) if x.size(1) > 1 else x[:, 0] + 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    mostly_slow([RareSumsOfLongTexts, RareSums, RareSumsTimesAGate, RareSumsOfEvenTexts, RareSumsOfASingleToken], 9),
)
def test_a_branch_behind_a_gate_that_no_text_opens_is_followed(kind: type[RareSums]) -> None:
    torch.manual_seed(0)
    module = kind().eval()
    run = make_runnable_program(find_program_right_for_all_sizes(module, (torch.randint(2, 40, (3, 7)),))).run
    generator = torch.Generator().manual_seed(1)
    for tokens in (1, 6, 9, 10, 21):
        # Texts of this sum are drawn until there are some; a single token has none.
        texts = torch.randint(2, 60, (60_000, tokens), generator=generator)
        rare = texts[(texts * texts).sum(1) % 9_973 == 17][:2]
        for text in (texts[:2], *([rare] if len(rare) == 2 else [])):
            np.testing.assert_allclose(run((text,)), compute_answer(module, (text,)), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", mostly_slow([kind for kind, _ in loop_modules.EXPORTED], 99, first=16))
def test_a_program_with_its_loop_put_back_answers_as_its_module(kind: type[nn.Module]) -> None:
    module = kind()
    assert_program_answers_as_module(module, with_lengths=len(inspect.signature(module.forward).parameters) > 1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [UpToTheLongest, OfAList, NamesItsInputs])
def test_ways_to_write_a_loop_are_one_program(kind: type[nn.Module]) -> None:
    assert_program_answers_as_module(kind(), with_lengths=True)


@pytest.mark.parametrize("mode", ["RNN_TANH", "RNN_RELU", "LSTM", "GRU"])
def test_the_operator_of_a_layer_is_what_pytorch_computes_for_each_text(mode: str) -> None:
    kind: Any = {"LSTM": nn.LSTM, "GRU": nn.GRU}.get(mode, nn.RNN)
    layer = kind(4, 5, **({"nonlinearity": mode[4:].lower()} if kind is nn.RNN else {}))
    order = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2)}.get(mode, (0,))
    w, r, b, c = (
        torch.cat([getattr(layer, f"{name}_l0").chunk(len(order))[i] for i in order])
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    x, lengths = torch.randn(6, 3, 4), torch.tensor([6, 1, 4])
    outputs, last, _ = OPERATOR(x, w[None], r[None], torch.cat([b, c])[None], lengths, None, None, mode)
    for i, length in enumerate(lengths.tolist()):
        expected, state = layer(x[:length, i])
        torch.testing.assert_close(outputs[:length, i], expected)
        torch.testing.assert_close(last[0, i], (state[0] if isinstance(state, tuple) else state)[0])
        assert not outputs[length:, i].any()


@pytest.mark.slow
def test_no_form_is_needed_to_ask() -> None:
    code = """
import sys
for name in ("onnx", "onnxruntime", "onnxscript", "onnx_ir"):
    sys.modules[name] = None
import torch
from torch import nn
from pocketrnn_export.proof.program_runs_and_nodes import make_runnable_program
from pocketrnn_export.proof.right_program_search import find_program_right_for_all_sizes
from pocketrnn_export.tracing.module_trace import TracedProgram

class Last(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.rnn, self.fc = nn.Embedding(9, 4), nn.GRU(4, 3, batch_first=True), nn.Linear(3, 2)
    def forward(self, x):
        return self.fc(self.rnn(self.embedding(x))[0][:, -1])

module, example = Last().eval(), (torch.ones(3, 7, dtype=torch.int64),)
run = make_runnable_program(find_program_right_for_all_sizes(module, example)).run
tokens = torch.tensor([[1, 2, 3, 4]])
assert abs(run((tokens,)) - module(tokens).detach().numpy()).max() < 1e-6
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


class FoldsHalves(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 4)
        self.fc = nn.Linear(4, 2)

    def fold(self, x: Tensor) -> Tensor:
        half = x.size(1) // 2
        return x[:, 0] if x.size(1) == 1 else torch.tanh(self.fold(x[:, :half]) + self.fold(x[:, half:]))

    def forward(self, x: Tensor) -> Any:
        return self.fc(self.fold(self.embedding(x)))


@pytest.mark.slow
def test_a_forward_that_calls_itself_for_the_halves_of_a_text_is_refused_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(right_programs, "_SECONDS_A_WAY", 1)
    started = time.process_time()
    with pytest.raises(ExportError, match=r"test_right_programs\.py:\d+"):
        find_program_right_for_all_sizes(FoldsHalves().eval(), (torch.full((3, 7), 2),))
    assert time.process_time() - started < 60


def test_the_refusal_of_a_slow_forward_says_that_it_is_slow() -> None:
    with pytest.raises(ExportError, match=r"too long.*, model\.py:3"):
        TraceLog(until=0.0).refuse_long_trace(lambda: "model.py:3")


class PacksWholeRows(nn.Module):
    """Packs by lengths that are all the width of the batch."""

    def __init__(self, lengths: Callable[[Any, Any], Any]) -> None:
        super().__init__()
        self.lengths = lengths
        self.embedding, self.rnn, self.fc = nn.Embedding(WORDS, 6), nn.GRU(6, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        lengths = self.lengths(tokens.size(1), tokens.size(0))
        outputs, lengths = pad_packed_sequence(
            self.rnn(pack_padded_sequence(self.embedding(tokens), lengths, batch_first=True))[0], batch_first=True
        )
        logits: Tensor = self.fc(outputs.sum(1) / lengths[:, None])
        return logits


@pytest.mark.slow
@pytest.mark.parametrize(
    "lengths",
    [
        lambda tokens, batch: torch.LongTensor([tokens] * batch),
        lambda tokens, batch: batch * [tokens],
        lambda tokens, batch: torch.tensor((tokens,) * batch),
    ],
)
def test_a_size_is_repeated_as_often_as_another_says(lengths: Callable[[Any, Any], Any]) -> None:
    module = PacksWholeRows(lengths).eval()
    run = make_runnable_program(find_program_right_for_all_sizes(module, (torch.randint(2, WORDS, (3, 7)),))).run
    for batch, width in ((1, 1), (2, 5), (5, 30)):
        tokens = torch.randint(2, WORDS, (batch, width))
        torch.testing.assert_close(torch.from_numpy(run((tokens,))), module(tokens).detach())
