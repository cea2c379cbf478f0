"""Answers of Python about a size or a tensor that do not ask it: by another object, by its class, by its text."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import logging
import numbers
import operator
import pickle
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from slow_case_sampling import mostly_slow
from torch import Tensor, nn

from pocketrnn import Classifier
from pocketrnn.errors import ExportError
from pocketrnn_export import export
from pocketrnn_export.diagnosis import add_first_difference_to_error
from pocketrnn_export.proof.program_runs_and_nodes import make_runnable_program
from pocketrnn_export.proof.right_program_search import find_program_right_for_all_sizes

pytestmark = pytest.mark.usefixtures("short_proofs")
WORDS = ["<unk>", "<pad>", *(f"w{i}" for i in range(18))]
SPECIAL = 23
SEEN: list[str] = []
LOG = logging.getLogger("a_logger_of_this_test")


class Keeps(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        SEEN.append(record.getMessage())


class Base(nn.Module):
    """A mean of the words, or their maximum where a question about the text is answered with yes. It has no recurrent
    layer, with which each of the four traces of such a module takes half a second more."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(WORDS), 6)
        self.fc = nn.Linear(6, 2)

    def asks(self, x: Tensor) -> Any:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        words = self.embedding(x)
        return self.fc(words.amax(dim=1) if self.asks(x) else words.mean(dim=1))


class MethodOfANumber(Base):
    def asks(self, x: Tensor) -> Any:
        return not (23).__ne__(x.size(1))


class MethodInAMap(Base):
    def asks(self, x: Tensor) -> Any:
        return not all(map((23).__ne__, x.shape))


class MethodOfAFloat(Base):
    def asks(self, x: Tensor) -> Any:
        return not (11.5).__ne__(x.size(1) / 2)


class PrintsIntoAText(Base):
    def asks(self, x: Tensor) -> Any:
        text = io.StringIO()
        print(x.size(1), file=text, end="")
        return text.getvalue() == "23"


class PrintsWhereItIsRead(Base):
    def asks(self, x: Tensor) -> Any:
        with contextlib.redirect_stdout(io.StringIO()) as text:
            print(x.size(1))
        return text.getvalue().strip() == "23"


@functools.wraps(print)
def kept(*values: Any) -> None:
    SEEN[:] = [str(value) for value in values]


class PrintsByItsOwn(Base):
    def asks(self, x: Tensor) -> Any:
        kept(f"{x.size(1)}")
        return SEEN == ["23"]


class LogsToItself(Base):
    def asks(self, x: Tensor) -> Any:
        SEEN.clear()
        LOG.warning(f"{x.size(1)}")
        return SEEN[-1:] == ["23"]


class WarnsItself(Base):
    def asks(self, x: Tensor) -> Any:
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            warnings.warn(f"{x.size(1)}", stacklevel=1)
        return bool(found) and str(found[-1].message) == "23"


class SameObjectUnderADecorator(Base):
    @torch.no_grad()
    def asks(self, x: Tensor) -> Any:
        return x.size(1) is SPECIAL


class SameObjectInAStaticMethod(Base):
    @staticmethod
    def special(n: int) -> bool:
        return n is SPECIAL

    def asks(self, x: Tensor) -> Any:
        return self.special(x.size(1))


class SameObjectInAProperty(Base):
    tokens: Any = None

    @property
    def special(self) -> bool:
        n = self.tokens
        return n is SPECIAL

    def asks(self, x: Tensor) -> Any:
        self.tokens = x.size(1)
        return self.special


class SameObjectByOperator(Base):
    def asks(self, x: Tensor) -> Any:
        return operator.is_(x.size(1), SPECIAL)


class ByItsClass(Base):
    def asks(self, x: Tensor) -> Any:
        n = x.size(1)
        return n.__class__ is int and n == 23


class TextOfIds(Base):
    def asks(self, x: Tensor) -> Any:
        return repr(x[0, :2]) == "tensor([4, 7])"


class FormattedId(Base):
    def asks(self, x: Tensor) -> Any:
        return f"{x[0, 0]}" + f"{x[0, -1]}" == "47"


class TextOfAll(Base):
    def asks(self, x: Tensor) -> Any:
        return "[4, 7" in str(x)


class NamesWhatItPrints(Base):
    def asks(self, x: Tensor) -> Any:
        print(said := f"{x.size(1)} tokens")
        return said == "23 tokens"


class KeepsWhatItPrints(Base):
    def keep(self, text: str) -> str:
        SEEN[:] = [text]
        return text

    def asks(self, x: Tensor) -> Any:
        print(self.keep(f"{x.size(1)}"))
        return SEEN == ["23"]


class KeepsTheMessageOfAnError(KeepsWhatItPrints):
    def asks(self, x: Tensor) -> Any:
        message = self.keep(f"{x.size(1)}")
        if x.dim() > 2:
            raise ValueError(message)
        return SEEN == ["23"]


LAST = ""


class PrintsAGlobal(Base):
    def asks(self, x: Tensor) -> Any:
        global LAST
        LAST = f"{x.size(1)}"
        print(LAST)
        return self.was_special()

    def was_special(self) -> bool:
        return LAST == "23"


class ReadByLocals(Base):
    def asks(self, x: Tensor) -> Any:
        message = f"{x.size(1)}"
        print(message)
        return locals()["message"] == "23"


class Adapter(logging.LoggerAdapter[Any]):
    def process(self, message: Any, options: Any) -> Any:
        SEEN[:] = [message]
        return message, options


class LogsByAnAdapter(Base):
    def asks(self, x: Tensor) -> Any:
        Adapter(logging.getLogger("a_third_logger_of_this_test"), {}).error(f"{x.size(1)}")
        return SEEN == ["23"]


class OwnLogger(logging.Logger):
    def info(self, message: Any, *_: Any, **__: Any) -> None:
        SEEN[:] = [message]


class LogsByItsOwnClass(Base):
    def asks(self, x: Tensor) -> Any:
        OwnLogger("one").info(f"{x.size(1)}")
        return SEEN == ["23"]


@dataclasses.dataclass
class Key:
    n: int


class TextOfADataclass(Base):
    def asks(self, x: Tensor) -> Any:
        return repr(Key(x.size(1))) == "Key(n=23)"


class TextByEval(Base):
    def asks(self, x: Tensor) -> Any:
        n = x.size(1)  # noqa: F841 - the text below reads it
        return eval("str(n)") == "23"  # noqa: S307 - what a forward may do


class TextInAnotherThread(Base):
    def asks(self, x: Tensor) -> Any:
        n = x.size(1)
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(lambda: str(n)).result() == "23"


class Tee:
    def __init__(self, stream: Any) -> None:
        self.stream, self.last = stream, ""

    def write(self, text: str) -> None:
        self.last = text.strip() or self.last

    def flush(self) -> None:
        """Nothing is held back."""


class PrintsToATee(Base):
    def __init__(self) -> None:
        super().__init__()
        self.tee = sys.stdout = Tee(sys.stdout)  # type: ignore[assignment]

    def asks(self, x: Tensor) -> Any:
        print(x.size(1))
        return self.tee.last == "23"


class SameObjectById(Base):
    def asks(self, x: Tensor) -> Any:
        return id(x.size(1)) == id(SPECIAL)


class CatchesWhatDecimalSays(Base):
    def asks(self, x: Tensor) -> Any:
        try:
            return Decimal(x.size(1)) == 23
        except TypeError:
            return False


class SuppressesWhatFractionSays(Base):
    def asks(self, x: Tensor) -> Any:
        special = False
        with contextlib.suppress(Exception):
            special = Fraction(x.size(1), 23) == 1
        return special


class CatchesOnOneBranch(Base):
    def asks(self, x: Tensor) -> Any:
        if x.size(1) > 15:
            try:
                return pickle.dumps(x.size(1)) == pickle.dumps(23)
            except Exception:
                return False
        return False


REFUSED = [
    MethodOfANumber, MethodInAMap, MethodOfAFloat, PrintsIntoAText, PrintsWhereItIsRead, PrintsByItsOwn, LogsToItself,
    WarnsItself, SameObjectUnderADecorator, SameObjectInAStaticMethod, SameObjectInAProperty, SameObjectByOperator,
    ByItsClass, TextOfIds, FormattedId, TextOfAll, NamesWhatItPrints, KeepsWhatItPrints, KeepsTheMessageOfAnError,
    PrintsAGlobal, ReadByLocals, LogsByAnAdapter, LogsByItsOwnClass, TextOfADataclass, TextByEval, TextInAnotherThread,
    PrintsToATee, SameObjectById, CatchesWhatDecimalSays, SuppressesWhatFractionSays, CatchesOnOneBranch,
]  # fmt: skip


@functools.singledispatch
def number(_: Any) -> int:
    return 0


@number.register
def _(n: int) -> int:
    return n


class Dispatched(Base):
    def asks(self, x: Tensor) -> Any:
        return number(x.size(1)) == 23


class OfAnAbstractClass(Base):
    def asks(self, x: Tensor) -> Any:
        return isinstance(x.size(1), numbers.Integral) and x.size(1) == 23


class DispatchedMethod(Base):
    @functools.singledispatchmethod
    def number(self, _: Any) -> int:
        return 0

    @number.register
    def _(self, n: int) -> int:
        return n

    def asks(self, x: Tensor) -> Any:
        return self.number(x.size(1)) == 23


class ImportsWhenItRuns(Base):
    def asks(self, x: Tensor) -> Any:
        from late_imported_module import is_special

        return is_special(x.size(1))


class CatchesWhatARunMeetsToo(Base):
    def asks(self, x: Tensor) -> Any:
        try:
            return {}["no such key"]
        except KeyError:
            return x.size(1) == 23


class OnlyShown(Base):
    def asks(self, x: Tensor) -> Any:
        print(f"{x.shape} {x}")
        print("n: " + str(x.size(1)), "%d" % x.size(1), end=f"{x.size(1)}")  # noqa: UP031 - as people write it
        print("{} {n}".format(x.size(0), n=x.size(1)))  # noqa: UP032 - as people write it
        print(", ".join(str(size) for size in x.shape))
        logging.getLogger("another_logger_of_this_test").info("%s %s", x.size(1), x)
        logging.getLogger("another_logger_of_this_test").critical("%d tokens", x.size(1))
        warnings.warn(f"{x.size(1)}", stacklevel=1)
        message = f"{x.size(1)} tokens"
        print(message)
        return x is None or x.size(1) == 23


RIGHT = [
    Dispatched, DispatchedMethod, OfAnAbstractClass, ImportsWhenItRuns, CatchesWhatARunMeetsToo, OnlyShown,
]  # fmt: skip


@pytest.fixture(autouse=True)
def _kept() -> Any:
    handler = Keeps()
    LOG.addHandler(handler)
    stdout = sys.stdout
    yield
    sys.stdout = stdout
    LOG.removeHandler(handler)


def exported(module: nn.Module, path: Path) -> None:
    export(module, path, labels=["a", "b"], vocabulary=WORDS, tokenizer="whitespace", torchscript=False)


# MethodOfANumber leaves no bundle, below.
@pytest.mark.usefixtures("usual_proofs")
@pytest.mark.parametrize("kind", mostly_slow(REFUSED, 31, first=10))
def test_what_is_answered_without_asking_a_size_or_a_tensor_is_refused_by_its_line(kind: type[Base]) -> None:
    with pytest.raises(ExportError) as refused, add_first_difference_to_error():
        find_program_right_for_all_sizes(kind().eval(), (torch.zeros(3, 7, dtype=torch.int64),))
    assert Path(__file__).name in refused.value.problem


@pytest.mark.usefixtures("usual_proofs")
@pytest.mark.parametrize("kind", mostly_slow(REFUSED, 40))
def test_what_is_refused_so_leaves_no_bundle(kind: type[Base], tmp_path: Path) -> None:
    with pytest.raises(ExportError) as refused:
        exported(kind().eval(), tmp_path / "b")
    assert Path(__file__).name in refused.value.problem
    assert not (tmp_path / "b").exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", mostly_slow(RIGHT, 10, first=4))
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_is_asked_so_is_right_at_every_length(kind: type[Base]) -> None:
    torch.manual_seed(0)
    module = kind().eval()
    # As export does: what forward imports is there when it is traced.
    module(torch.zeros(3, 7, dtype=torch.int64))
    run = make_runnable_program(find_program_right_for_all_sizes(module, (torch.zeros(3, 7, dtype=torch.int64),))).run
    for count in (1, 2, 22, 23, 24):
        ids = torch.randint(2, len(WORDS), (1, count))
        torch.testing.assert_close(torch.from_numpy(run((ids,))), module(ids).detach(), atol=1e-5, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", RIGHT)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_size_is_a_number_for_its_class_and_what_is_only_shown_changes_nothing(
    kind: type[Base], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    module = kind().eval()
    exported(module, tmp_path / "b")
    classifier = Classifier.load(tmp_path / "b")
    for count in (1, 2, 22, 23, 24):
        ids = torch.randint(2, len(WORDS), (1, count))
        given = torch.from_numpy(classifier.logits([" ".join(WORDS[i] for i in ids[0])]))
        torch.testing.assert_close(given, module(ids).detach(), atol=1e-5, rtol=0)
