"""Classifiers whose forward catches errors: those that only rare texts meet, so that the error is an answer; and those
whose handlers change no answer.

Each takes tokens [batch, sequence]. A rare text holds the ids 29 and 17 in this order, which no drawn text shows.
"""

from __future__ import annotations

import contextlib
import logging
import time

import torch
import torch.nn.functional as F  # noqa: N812 - everybody's name for it
from error_catching_import import falling_back, keeping_going
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

WORDS, CLASSES = 50, 3
_log = logging.getLogger(__name__)


class _Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(WORDS, 6)
        self.few = nn.Embedding(2, 6)
        self.rnn = nn.GRU(6, 6, batch_first=True)
        self.out = nn.Linear(6, CLASSES)

    def mean(self, x):
        return self.emb(x).mean(1)

    def rare(self, x):
        """Whole numbers [batch]: 1 of a rare text."""
        return ((F.pad(x, (1, 0))[:, :-1] == 29) & (x == 17)).any(1).long()


class _Tried(_Base):
    """`fails` raises for a rare text."""

    def forward(self, x):
        h = self.mean(x)
        try:
            self.fails(self.rare(x), h)
        except (RuntimeError, IndexError, AssertionError):
            h = h * -3
        return self.out(h)


class OneHot(_Tried):
    def fails(self, k, _):
        F.one_hot(k * 2, 2)


class Scatter(_Tried):
    def fails(self, k, _):
        torch.full((2,), 0.5).scatter(0, k * 5, 1.0)


class ScatterInPlace(_Tried):
    def fails(self, k, _):
        torch.zeros(len(k), 2).scatter_(dim=1, index=k[:, None] * 2, value=1.0)


class Gather(_Tried):
    def fails(self, k, h):
        torch.gather(input=h, dim=1, index=k[:, None] * -1)


class IndexSelect(_Tried):
    def fails(self, k, _):
        torch.ones(2).index_select(0, k * 2)


class Indexed(_Tried):
    def fails(self, k, _):
        torch.ones(2)[k * 2]


class IndexedAssignment(_Tried):
    def fails(self, k, _):
        held = torch.zeros(2)
        held[k * 2] = 1.0


class Taken(_Tried):
    def fails(self, k, _):
        torch.ones(2).take(k * 2)


class CrossEntropy(_Tried):
    def fails(self, k, h):
        F.cross_entropy(h, k * 9)


class NLL(_Tried):
    def fails(self, k, h):
        F.nll_loss(h, k * 9)


class Bag(_Tried):
    def fails(self, k, _):
        F.embedding_bag(k[:, None] * 2, self.few.weight)


class Inverse(_Tried):
    def fails(self, k, _):
        torch.linalg.inv(torch.eye(2) * (1 - k).float()[:, None, None])


class Cholesky(_Tried):
    def fails(self, k, _):
        torch.linalg.cholesky(torch.eye(2) * (1 - k).float()[:, None, None])


class WholeQuotient(_Tried):
    def fails(self, k, _):
        torch.full_like(k, 7) // (1 - k)


class BinaryCrossEntropy(_Tried):
    def fails(self, k, _):
        F.binary_cross_entropy(k.float() * 2, k.float())


class Asserted(_Tried):
    def fails(self, k, _):
        assert (k == 0).all()


@torch.jit.script
def _scattered(k: torch.Tensor) -> torch.Tensor:
    return torch.zeros(k.size(0), 2).scatter(1, k[:, None] * 2, 1.0)


class Scripted(_Tried):
    def fails(self, k, _):
        _scattered(k)


class ThroughAnArray(_Tried):
    def fails(self, k, _):
        torch.ones(2).index_select(0, torch.from_numpy(k.numpy().copy()) * 2)


class _Scatters(torch.autograd.Function):
    @staticmethod
    def forward(_, k):
        return torch.zeros(len(k), 2).scatter(1, k[:, None] * 2, 1.0)


class FunctionOfItsOwn(_Tried):
    def fails(self, k, _):
        _Scatters.apply(k)


class Compiled(_Tried):
    def __init__(self):
        super().__init__()
        self.scattered = torch.compile(lambda k: torch.zeros(len(k), 2).scatter(1, k[:, None] * 2, 1.0))

    def fails(self, k, _):
        self.scattered(k)


class SmallTable(_Base):
    def forward(self, x):
        h = self.mean(x)
        try:
            return self.out(h + self.few(self.rare(x) * 2))
        except IndexError:
            return self.out(-3 * h)


class Suppressed(_Base):
    def forward(self, x):
        h, k = self.mean(x), -3.0
        with contextlib.suppress(RuntimeError):
            F.one_hot(self.rare(x) * 2, 2)
            k = 1.0
        return self.out(h * k)


class _Swallows:
    def __enter__(self):
        return self

    def __exit__(self, *error):
        return True


class SwallowedByItsExit(_Base):
    def forward(self, x):
        h, k = self.mean(x), -3.0
        with _Swallows():
            F.one_hot(self.rare(x) * 2, 2)
            k = 1.0
        return self.out(h * k)


class SwallowedInAnotherFile(_Base):
    def forward(self, x):
        h, k = self.mean(x), -3.0
        with keeping_going():
            F.one_hot(self.rare(x) * 2, 2)
            k = 1.0
        return self.out(h * k)


class SwallowedByAStack(_Base):
    def forward(self, x):
        h, k = self.mean(x), -3.0
        with contextlib.ExitStack() as stack:
            stack.push(lambda *_: True)
            F.one_hot(self.rare(x) * 2, 2)
            k = 1.0
        return self.out(h * k)


class ReturnsFinally(_Base):
    def forward(self, x):
        return self.out(self.mean(x) * self.scale(x))

    def scale(self, x):
        scale = -3.0
        try:
            F.one_hot(self.rare(x) * 2, 2)
            scale = 1.0
        finally:
            return scale  # noqa: B012 - that is what it is about


class Decorated(_Base):
    def forward(self, x):
        return self.out(self.checked(x, self.mean(x)))

    @falling_back(lambda _self, _x, h: -3 * h)
    def checked(self, x, h):
        return h * F.one_hot(self.rare(x) * 2, 2)[:, :1].float()


class OnlyInLongTexts(_Base):
    def forward(self, x):
        h = self.mean(x)
        if x.size(1) > 40:
            try:
                F.one_hot(self.rare(x) * 2, 2)
            except RuntimeError:
                h = h * -3
        return self.out(h)


class OnlyInVeryLongTexts(_Base):
    def forward(self, x):
        h = self.mean(x)
        if x.size(1) > 9000:
            try:
                F.one_hot(self.rare(x) * 2, 2)
            except RuntimeError:
                h = h * -3
        return self.out(h)


class PacksNoTokens(_Base):
    def forward(self, x):
        n = (x != 5).sum(1)
        try:
            packed = pack_padded_sequence(self.emb(x), n, batch_first=True, enforce_sorted=False)
            return self.out(self.rnn(packed)[1][-1])
        except RuntimeError:
            return torch.zeros(len(x), CLASSES)


class GathersTheLast(_Base):
    """PyTorch takes no index of -1, and ONNX takes it for the last."""

    def forward(self, x):
        out = self.rnn(self.emb(x))[0]
        try:
            last = (x != 5).sum(1) - 1
            return self.out(out.gather(1, last.view(-1, 1, 1).expand(-1, 1, 6))[:, 0])
        except RuntimeError:
            return torch.zeros(len(x), CLASSES)


class RepairsByTheText(_Base):
    """The handler changes the answer to rare texts only."""

    def forward(self, x):
        h, k = self.mean(x), self.rare(x)
        try:
            F.one_hot(k * 2, 2)
        except RuntimeError:
            h = torch.where(k[:, None] == 1, -3 * h, h)
        return self.out(h)


REFUSED = (
    OneHot, GathersTheLast, Asserted, Suppressed, Decorated, OnlyInLongTexts, SmallTable, PacksNoTokens, Scatter,
    ScatterInPlace, Gather, IndexSelect, Indexed, IndexedAssignment, Taken, CrossEntropy, NLL, Bag,
    Inverse, Cholesky, WholeQuotient, BinaryCrossEntropy, SwallowedByItsExit, SwallowedInAnotherFile,
    SwallowedByAStack, ReturnsFinally, Scripted, ThroughAnArray,
    OnlyInVeryLongTexts, FunctionOfItsOwn, Compiled, RepairsByTheText,
)  # fmt: skip


class InRangeByWhere(_Base):
    """The way out of a refusal."""

    def forward(self, x):
        h, k = self.mean(x), self.rare(x) * 2
        in_range = (k < 2)[:, None]
        return self.out(torch.where(in_range, h + self.few(k.clamp(0, 1)), -3 * h))


class RaisesAgain(_Base):
    def forward(self, x):
        h = self.mean(x)
        try:
            h = h + self.few(self.rare(x))
        except IndexError as error:
            raise ValueError("an id that no table has") from error
        return self.out(h)


class FallsBackWithoutMemory(_Base):
    def forward(self, x):
        try:
            h = self.mean(x) + self.few(self.rare(x))
        except RuntimeError as error:
            if "out of memory" not in str(error):
                raise
            h = torch.stack([self.mean(row[None])[0] for row in x])
        return self.out(h)


class TriesWhatNeverFails(_Base):
    def forward(self, x):
        try:
            h = self.rnn(self.emb(x))[0].softmax(2).mean(1)
        except Exception:
            h = torch.zeros(len(x), 6)
        return self.out(h)


class TriesAnImport(_Base):
    def forward(self, x):
        try:  # noqa: SIM105 - that is how people write it
            import no_such_package  # noqa: F401
        except ImportError:
            pass
        return self.out(self.mean(x) + self.few(self.rare(x)))


class CleansUp(_Base):
    def forward(self, x):
        self.busy = True
        try:
            return self.out(self.mean(x) + self.few(self.rare(x)))
        finally:
            self.busy = False


class _Timed:
    def __enter__(self):
        self.started = time.perf_counter()
        return self

    def __exit__(self, *error):
        self.took = time.perf_counter() - self.started


class InContexts(_Base):
    def forward(self, x):
        with _Timed(), torch.no_grad(), torch.autocast("cpu", enabled=False), torch.profiler.record_function("few"):
            h = self.mean(x) + self.few(self.rare(x))
        return self.out(h)


class OnlyCounts(_Base):
    """Its failure changes no answer."""

    def forward(self, x):
        with contextlib.suppress(Exception):
            _log.debug("%s", F.one_hot(self.rare(x), 2).shape)
        return self.out(self.mean(x))


class TriesByPlaces(_Base):
    """Places depend on the size of a text, and not on what it holds."""

    def forward(self, x):
        out = self.rnn(self.emb(x))[0]
        try:
            h = out[:, torch.arange(x.size(1))].mean(1)
        except IndexError:
            h = out.sum(1)
        return self.out(h)


class HidesByAMask(_Base):
    def forward(self, x):
        e = self.emb(x)
        try:
            e = e.clone()
            e[x == 3] = 0.0
        except RuntimeError:
            e = e * 2
        return self.out(e.mean(1))


HARMLESS = (
    InRangeByWhere, RaisesAgain, CleansUp, FallsBackWithoutMemory, TriesWhatNeverFails, TriesAnImport, InContexts,
    OnlyCounts, TriesByPlaces, HidesByAMask,
)  # fmt: skip
