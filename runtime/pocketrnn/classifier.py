"""Classifier: a bundle, ready to answer."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import operator
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import exp, isfinite, tanh
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, overload

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from pocketrnn import manifest as manifests
from pocketrnn.batching import MAX_TOKENS, rectangle, runs
from pocketrnn.errors import BundleError, InputError, PocketRNNError, TextError
from pocketrnn.graph_file import ORT_SUFFIX, read_graph
from pocketrnn.incoming import OnError, Piece, pieces, whole_pieces
from pocketrnn.manifest import Manifest, StepGraph
from pocketrnn.shipped import bundle_folder
from pocketrnn.text import TextEncoder

if TYPE_CHECKING:
    from concurrent.futures import Future

    from pocketrnn.stream import Stream

__all__ = ["Classifier", "Prediction"]

Floats = NDArray[np.float32]

_EXPORT_AGAIN: Final = "Export the bundle again."
_MOST_THREADS: Final = 1024
_CPU: Final = "CPUExecutionProvider"
_log: Final = logging.getLogger(__name__)
# onnxruntime keeps the memory that a run took for the next one (its arena). Without it, glibc gave a batch's memory
# back to the system after every run: of the 263 us that `predict` took for a text of AG News with the shipped GRU, 100
# went into getting it again, and two threads waited for each other there; with it 168 us. But a run of 300,000 tokens
# leaves 1,120 MiB behind: the arena is emptied after a run of more tokens than this, and then 80 MiB are left.
_LARGEST_KEPT: Final = 1 << 14


@dataclass(frozen=True)
class _Options:
    """How a classifier was asked to work; see `Classifier.load`."""

    threads: int
    max_batch_tokens: int
    providers: tuple[str, ...]
    trust: bool = False


@dataclass(frozen=True, slots=True)
class Prediction:
    """One text's answer.

    Attributes:
        label: the likeliest label.
        probability: its probability.
        top: the likeliest labels with their probabilities, likeliest first; as many as were asked for, at least one.

    The probabilities of a multi-label classifier are each label's own, and do not add up to 1.
    """

    label: str
    probability: float
    top: tuple[tuple[str, float], ...]


class Classifier:
    """A classifier read from a bundle. Make one with `Classifier.load`.

    Several Python threads may use one: it holds nothing that changes, but buffers that no two calls use at once. A
    pickled one is loaded again from its folder.

    Attributes:
        manifest: all that classifier.json says.
    """

    def __init__(
        self, folder: Path, manifest: Manifest, session: onnxruntime.InferenceSession, options: _Options
    ) -> None:
        self.manifest = manifest
        self._folder = folder
        self._session = session
        self._options = options
        self._encoder = TextEncoder(manifest.text, manifest.vocabulary)
        self._takes_lengths = "lengths" in manifest.graph.inputs
        self._idle: list[_OneText] = []
        self._largest_kept = max(_LARGEST_KEPT, options.max_batch_tokens)

    @classmethod
    def load(
        cls,
        path_or_name: str | os.PathLike[str],
        *,
        threads: int = 1,
        max_batch_tokens: int = MAX_TOKENS,
        providers: Sequence[str] = (_CPU,),
        trust: bool = False,
    ) -> Classifier:
        """Read and check a bundle.

        Args:
            path_or_name: a bundle's folder, or the name of a classifier that ships with pocketrnn.
            threads: how many processor cores one call for several texts may use. One text is answered on one core.
            max_batch_tokens: how many tokens one run of the graph may hold, padding included. It bounds the memory of a
                run, whatever the texts; only a text that is longer by itself is run, alone, at its own length.
            providers: onnxruntime's execution providers, most wanted first.
            trust: allow graphs with any operator, among them loops, which may never end. For a bundle that you made
                yourself: see SECURITY.md.

        Raises:
            InputError: `threads` or `max_batch_tokens` is not a number from 1, or onnxruntime has not that provider.
            BundleError: there is no such bundle, it is damaged, or its graph does not fit its classifier.json.
        """
        if not isinstance(threads, int) or not 1 <= threads <= _MOST_THREADS:
            raise InputError(f"threads is {threads!r}.", f"Use a whole number from 1 to {_MOST_THREADS}.")
        if not isinstance(max_batch_tokens, int) or max_batch_tokens < 1:
            raise InputError(f"max_batch_tokens is {max_batch_tokens!r}.", "Use a whole number from 1.")
        options = _Options(threads, max_batch_tokens, _checked_providers(providers), trust)
        folder = bundle_folder(path_or_name)
        manifest = manifests.read(folder)
        path = folder / manifest.graph.file
        session = _session(path, manifest.graph.sha256, options.providers, trusted=trust)
        _check_signature(session, manifest, path)
        classifier = cls(folder.absolute(), manifest, session, options)
        classifier._check_answer()
        _log.debug("Loaded %s from %s with %s", manifest.name, folder, options)
        return classifier

    @property
    def name(self) -> str:
        """What the classifier is called."""
        return self.manifest.name

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in the order of the columns of `predict_proba`."""
        return self.manifest.labels

    @property
    def graph_metadata(self) -> dict[str, str]:
        """What the ONNX file says of itself (`metadata_props`)."""
        return dict(self._session.get_modelmeta().custom_metadata_map)

    def encode(self, text: str) -> list[int]:
        """The token ids of one text; never empty."""
        return self._encoder.encode(text)

    def look_up(self, tokens: Sequence[str]) -> list[int]:
        """The ids of tokens; none of those that are dropped."""
        return self._encoder.look_up(tokens)

    def stream(self, saved: bytes | None = None) -> Stream:
        """A text that arrives in pieces, answered for after each: `stream.push("Wall St. ")`.

        Args:
            saved: what `Stream.save` gave, to go on from there.

        Raises:
            InputError: the bundle was not exported for streaming, or `saved` is damaged or another bundle's.
            BundleError: the step graph is damaged or does not fit its classifier.json.
        """
        # Most programs that classify texts never stream one: without it, importing pocketrnn takes 4 ms less.
        from pocketrnn.stream import Stream

        # Opened now, so that what is wrong with it is said before any text is read.
        _ = self._steps
        return Stream(self, saved)

    @functools.cached_property
    def _steps(self) -> onnxruntime.InferenceSession:
        step = self._step_graph()
        path = self._folder / step.file
        session = _session(path, step.sha256, self._options.providers, trusted=self._options.trust)
        _check_step_signature(session, step, len(self.labels), path)
        return session

    def _step_graph(self) -> StepGraph:
        if self.manifest.stream is None:
            raise InputError(
                f"The bundle of {self.name} cannot answer while a text arrives: it holds no step graph.",
                "Export it with --streaming, which one-directional classifiers allow.",
            )
        return self.manifest.stream

    @property
    def state_size(self) -> int:
        """How many numbers a stream's state has."""
        return self._step_graph().state_size

    @functools.cached_property
    def stream_digest(self) -> str:
        """What tells this bundle's streams from another's: a sha256 of its step graph, labels, rules and words."""
        manifest = self.manifest
        meaning = manifests.text_digest(manifest.labels, manifest.text, manifest.vocabulary)
        return hashlib.sha256(f"{self._step_graph().sha256} {meaning}".encode()).hexdigest()

    def step(self, ids: Sequence[int], state: Floats) -> tuple[Floats, Floats]:
        """Read on: int64 [tokens], at least one, and the state before them, float32 [1, state_size].

        Returns:
            the logits, float32 [1, labels], and the state after them, float32 [1, state_size].
        """
        tokens = np.array((ids,), np.int64)
        return self._ran(self._steps, ["logits", "new_state"], {"tokens": tokens, "state": state})  # type: ignore[return-value]

    def classify(self, text: str, top: int = 1) -> Prediction:
        """Classify one text.

        Args:
            text: any string; one without a known token is answered as the empty text is.
            top: how many labels to give, from 1 to the number of labels.

        Raises:
            TextError: `text` is not a string.
            InputError: `top` is out of its range.
        """
        if not isinstance(text, str):
            raise TextError(
                f"A text must be a string, not {type(text).__name__}.",
                "Use predict or predict_proba for several texts.",
            )
        if top != 1:
            self.check_top(top)
        return self.prediction(self._logits_of_one(self._encoder.encode_row(text)), top)

    @overload
    def predict(self, texts: Iterable[str], *, on_error: Literal["raise"] = "raise") -> list[str]: ...
    @overload
    def predict(self, texts: Iterable[str], *, on_error: OnError) -> list[str] | list[str | None]: ...
    def predict(self, texts: Iterable[str], *, on_error: OnError = "raise") -> list[str] | list[str | None]:
        """The likeliest label of every text, in the texts' order.

        Args:
            texts: a list, a column of numpy or pandas, or any iterable; a generator is read a piece at a time.
            on_error: what becomes of an item that is not a string (None, bytes, a number): `raise` refuses it, `skip`
                gives None as its label.

        Raises:
            TextError: `texts` is one string, or an item of it is not a string.
        """
        labels = self.labels
        answers: list[str | None] = []
        for logits, skipped in self._answered(texts, on_error):
            start = len(answers)
            answers += [labels[i] for i in logits.argmax(1).tolist()]
            for place in skipped:
                answers[start + place] = None
        return answers

    def classify_all(
        self, texts: Iterable[str], *, top: int = 1, on_error: OnError = "raise"
    ) -> Iterator[Prediction | None]:
        """The answer to every text, in the texts' order, each piece's before the next but few is read.

        Neither the texts nor the answers are held: memory does not grow with their number. An error leaves the answers
        that came before it.

        Args:
            texts: any iterable.
            top: how many labels to give, from 1 to the number of labels.
            on_error: `raise` refuses an item that is not a string, `skip` gives None for it.

        Raises:
            TextError: `texts` is one string, or an item of it is not a string.
            InputError: `top` is out of its range.
        """
        self.check_top(top)
        with contextlib.closing(self._answered(texts, on_error)) as answered:
            for logits, skipped in answered:
                passed_over = set(skipped)
                for place, row in enumerate(logits.tolist()):
                    yield None if place in passed_over else self.prediction(row, top)

    def predict_proba(self, texts: Iterable[str], *, on_error: OnError = "raise") -> Floats:
        """The probabilities of every label for every text.

        Args:
            texts: as in `predict`.
            on_error: `raise` refuses an item that is not a string, `skip` gives a row of NaN for it.

        Returns:
            float32 [texts, labels], the columns in the order of `labels`; each row adds up to 1, unless the classifier
            is multi-label.

        Raises:
            TextError: `texts` is one string, or an item of it is not a string.
        """
        return self.probabilities(self.logits(texts, on_error=on_error))

    def predict_labels(
        self, texts: Iterable[str], threshold: float = 0.5, *, on_error: OnError = "raise"
    ) -> list[tuple[str, ...]]:
        """Every label of every text whose probability reaches `threshold`: what a multi-label classifier is asked for.

        Args:
            texts: as in `predict`.
            threshold: a probability.
            on_error: `raise` refuses an item that is not a string, `skip` gives it no label.

        Returns:
            for each text its labels, in the order of `labels`; none, one or several.

        Raises:
            TextError: `texts` is one string, or an item of it is not a string.
        """
        reached = self.predict_proba(texts, on_error=on_error) >= threshold
        return [tuple(label for label, is_one in zip(self.labels, row, strict=True) if is_one) for row in reached]

    def logits(self, texts: Iterable[str], *, on_error: OnError = "raise") -> Floats:
        """The graph's own answers, before they are made probabilities.

        Args:
            texts: as in `predict`.
            on_error: `raise` refuses an item that is not a string, `skip` gives a row of NaN for it.

        Returns:
            float32 [texts, labels], the columns in the order of `labels`.

        Raises:
            TextError: `texts` is one string, or an item of it is not a string.
            PocketRNNError: the graph fails, for instance because a text is too long for this machine's memory, or its
                logits are no probabilities (NaN or infinite).
        """
        parts = [np.empty((0, len(self.labels)), np.float32)]
        for logits, skipped in self._answered(texts, on_error):
            logits[skipped] = np.nan
            parts.append(logits)
        return np.concatenate(parts)

    def logits_of_batches(self, batches: Iterable[list[str]]) -> Generator[Floats, None, None]:
        """The logits of one list of texts after the other, each given before the next but few is read.

        This is for texts that come in batches with something else, such as the rows that they stand in. Batches of
        some thousand texts suit best; with several `threads`, so many batches are worked on at once.

        Args:
            batches: lists of strings, which may be empty.

        Yields:
            float32 [texts of the batch, labels], the columns in the order of `labels`.

        Raises:
            TextError: an item of a batch is not a string; it is named by its position in all batches.
            PocketRNNError: as `logits`.
        """
        threads = self._options.threads
        for _, logits in _in_order(self._logits_of, whole_pieces(batches), threads):
            yield logits

    def probabilities(self, logits: Floats) -> Floats:
        """The probabilities that `logits` stand for.

        Args:
            logits: float32 [n, labels].

        Returns:
            float32 [n, labels]; each row adds up to 1, unless the classifier is multi-label.
        """
        return _softmax(logits) if self.manifest.activation == "softmax" else _sigmoid(logits)

    def prediction(self, logits: Sequence[float], top: int = 1) -> Prediction:
        """The answer that one row of `logits` stands for; of equal probabilities, the earlier label comes first.

        This is the softmax of one row in Python's own floats: 2 us where numpy's calls take 9 of a text's 56, and the
        same to 1e-7.

        Args:
            logits: one row, as a list.
            top: how many labels to give, from 1 to the number of labels.

        Raises:
            InputError: `top` is out of its range.
            PocketRNNError: the logits are no probabilities (NaN or infinite).
        """
        labels = self.manifest.labels
        largest = max(logits)
        if self.manifest.activation == "softmax":
            powers = [exp(logit - largest) for logit in logits]
            total = sum(powers)
        else:
            powers, total = [_sigmoid_of(logit) for logit in logits], 1.0
        if not isfinite(largest) or total != total:
            raise self._no_number()
        if top == 1:
            best = logits.index(largest)
            label, probability = labels[best], powers[best] / total
            return Prediction(label, probability, ((label, probability),))
        self.check_top(top)
        # By logit: far from zero, several of them have the probability 1.0 or 0.0.
        order = sorted(range(len(logits)), key=logits.__getitem__, reverse=True)[:top]
        likeliest = tuple((labels[i], powers[i] / total) for i in order)
        return Prediction(*likeliest[0], likeliest)

    def check_top(self, top: int) -> None:
        """Refuse a number of labels that cannot be given.

        Raises:
            InputError: `top` is not a whole number from 1 to the number of labels.
        """
        try:
            number = operator.index(top)
        except TypeError:
            number = 0
        if not 1 <= number <= len(self.labels):
            raise InputError(
                f"top is {top!r}, but {self.name} has {len(self.labels)} labels.",
                f"Use a whole number from 1 to {len(self.labels)}.",
            )

    def _answered(self, texts: Iterable[str], on_error: OnError) -> Generator[tuple[Floats, list[int]], None, None]:
        """Piece by piece, in order: the logits, and the places of what was passed over (its logits mean nothing)."""
        threads = self._options.threads
        skipped = 0
        for piece, logits in _in_order(self._logits_of, pieces(texts, on_error=on_error, threads=threads), threads):
            skipped += len(piece.skipped)
            yield logits, piece.skipped
        if skipped:
            _log.warning("%s passed over %d items that are no texts", self.name, skipped)

    def _logits_of(self, piece: Piece) -> Floats:
        """float32 [texts, labels]."""
        ids, lengths = self._encoder.encode_all(piece.texts)
        starts = np.cumsum(lengths) - lengths
        logits = np.empty((len(lengths), len(self.labels)), np.float32)
        graph, padding_id = self.manifest.graph, self.manifest.text.padding_id
        # A run of one token at most holds one text, however long it is.
        most = 1 if graph.batch == 1 else self._options.max_batch_tokens
        for places in runs(lengths, padding=graph.padding, max_tokens=most):
            some = lengths[places]
            logits[places] = self._run(rectangle(ids, starts[places], some, padding_id), some)
        # Single logits of minus infinity are a probability of 0; NaN, or infinity as the largest one, is none at all.
        if not np.isfinite(logits.max(1)).all():
            raise self._no_number()
        return logits

    def _logits_of_one(self, tokens: NDArray[np.int64]) -> list[float]:
        """One text's logits, of its ids, int64 [1, tokens]."""
        if tokens.size > self._largest_kept or self._options.providers != (_CPU,):
            logits: list[float] = self._run(tokens, np.array(tokens.shape[1:], np.int64))[0].tolist()
            return logits
        # Taken out and put back, each in one step of the interpreter: neither another thread nor a signal's handler
        # that classifies finds a place in use.
        try:
            place = self._idle.pop()
        except IndexError:
            place = _OneText(self._session, len(self.labels), self._takes_lengths)
        try:
            logits = place.run(self._session, tokens)
        except Exception as error:  # onnxruntime's errors share no base of their own
            raise self._failed(tokens, error) from error
        self._idle.append(place)
        return logits

    def _run(self, tokens: NDArray[np.int64], lengths: NDArray[np.int64]) -> Floats:
        """One run of the graph: int64 [batch, sequence], int64 [batch] -> float32 [batch, labels]."""
        feed = {"tokens": tokens, "lengths": lengths} if self._takes_lengths else {"tokens": tokens}
        shrink = _shrinking() if tokens.size > self._largest_kept else None
        (logits,) = self._ran(self._session, ["logits"], feed, shrink)
        return logits

    def _ran(
        self,
        session: onnxruntime.InferenceSession,
        outputs: list[str],
        feed: dict[str, NDArray[Any]],
        options: onnxruntime.RunOptions | None = None,
    ) -> list[Floats]:
        try:
            return session.run(outputs, feed, options)  # type: ignore[no-any-return]
        except Exception as error:  # onnxruntime's errors share no base of their own
            raise self._failed(feed["tokens"], error) from error

    def _failed(self, tokens: NDArray[np.int64], error: Exception) -> PocketRNNError:
        rows, width = tokens.shape
        return PocketRNNError(
            f"The graph of {self.name} failed on {rows} texts of up to {width} tokens: {_first_line(error)}",
            "If a text is very long, shorten it; else check the bundle with: pocketrnn verify",
        )

    def _check_answer(self) -> None:
        """Ask the graph once, for the embedding's last row: does it have so many, and as many logits as labels?"""
        rows = self.manifest.graph.embedding_rows
        try:
            tokens = np.array([[rows - 1]], np.int64)
            shape = self._run(tokens, np.ones(1, np.int64)).shape
        except (PocketRNNError, OverflowError) as error:
            raise BundleError(
                f"The graph of {self.name} cannot be run with the highest token id, {rows - 1}: {_first_line(error)}",
                _EXPORT_AGAIN,
            ) from None
        if shape != (1, len(self.labels)):
            raise BundleError(
                f"The graph of {self.name} gives logits of shape {list(shape)}, not {[1, len(self.labels)]}.",
                _EXPORT_AGAIN,
            )

    def _no_number(self) -> PocketRNNError:
        return PocketRNNError(
            f"The graph of {self.name} answered with logits that are NaN or infinite.",
            "Check the bundle with: pocketrnn verify",
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _loaded_again, (self._folder, self._options)

    def __repr__(self) -> str:
        return f"<Classifier {self.name!r}: {len(self.labels)} labels>"


class _OneText:
    """Where one text is answered: its length and its logits have fixed places, which the graph is bound to once.

    `session.run` makes both anew each time, and checks their names: that is 2.5 us of the 52 that a text takes.
    """

    def __init__(self, session: onnxruntime.InferenceSession, labels: int, takes_lengths: bool) -> None:
        self._length = np.ones(1, np.int64)
        self._logits = np.empty((1, labels), np.float32)
        self._binding = session.io_binding()
        if takes_lengths:
            self._binding.bind_cpu_input("lengths", self._length)
        self._binding.bind_ortvalue_output("logits", onnxruntime.OrtValue.ortvalue_from_numpy(self._logits))

    def run(self, session: onnxruntime.InferenceSession, tokens: NDArray[np.int64]) -> list[float]:
        self._length[0] = tokens.shape[1]
        self._binding.bind_cpu_input("tokens", tokens)
        session.run_with_iobinding(self._binding)
        logits: list[float] = self._logits[0].tolist()
        return logits


def _shrinking() -> onnxruntime.RunOptions:
    options = onnxruntime.RunOptions()
    options.log_severity_level = 4
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options


def _loaded_again(folder: Path, options: _Options) -> Classifier:
    return Classifier.load(
        folder,
        threads=options.threads,
        max_batch_tokens=options.max_batch_tokens,
        providers=options.providers,
        trust=options.trust,
    )


def _in_order(
    answer: Callable[[Piece], Floats], given: Iterable[Piece], threads: int
) -> Iterator[tuple[Piece, Floats]]:
    """Every piece and its answer, worked on by `threads` threads, so many pieces ahead of whoever takes the answers.

    onnxruntime releases the interpreter lock while it runs a graph: meanwhile another thread tokenizes. The threads are
    started here and ended here, so that a classifier owns none and works on after a fork. An error in reading the
    pieces is raised after the answers to those that were read.
    """
    if threads == 1 or (isinstance(given, list) and len(given) <= 1):
        for piece in given:
            yield piece, answer(piece)
        return
    # Not at the top: 2 ms of a start that takes 200, for whoever asks one text at a time.
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(threads, thread_name_prefix="pocketrnn")
    waiting: deque[tuple[Piece, Future[Floats]]] = deque()
    failure: Exception | None = None
    pieces_left = iter(given)
    try:
        while True:
            try:
                piece = next(pieces_left)
            except StopIteration:
                break
            except Exception as error:
                failure = error
                break
            waiting.append((piece, pool.submit(answer, piece)))
            if len(waiting) > threads:
                piece, future = waiting.popleft()
                yield piece, future.result()
        while waiting:
            piece, future = waiting.popleft()
            yield piece, future.result()
    finally:
        pool.shutdown(cancel_futures=True)
    if failure is not None:
        raise failure


def _checked_providers(providers: Sequence[str]) -> tuple[str, ...]:
    if isinstance(providers, str) or not providers:
        raise InputError(f"providers is {providers!r}.", f"Give a list of names, such as [{_CPU!r}].")
    available = onnxruntime.get_available_providers()
    for provider in providers:
        if provider not in available:
            raise InputError(
                f"onnxruntime {onnxruntime.__version__} has no provider {provider!r} here; it has "
                f"{', '.join(available)}.",
                "Install the build of onnxruntime that brings it (for CUDA: onnxruntime-gpu), or leave providers out.",
            )
    return tuple(providers)


def _session(
    path: Path, sha256: str, providers: Sequence[str], *, trusted: bool = False
) -> onnxruntime.InferenceSession:
    """A graph, opened from the bytes that were checked; a file may change between two looks at it."""
    content = read_graph(path, sha256, trusted=trusted)
    options = onnxruntime.SessionOptions()
    # One thread: several texts are shared out among threads of our own, and onnxruntime's gain nothing on one text
    # (LSTM 64 -> 32: 35 us with one, 52 with two that sleep, 37 with two that spin). A session without threads
    # also outlives a fork.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    # Fatal errors only. What goes wrong is raised, and then said once, in our words.
    options.log_severity_level = 4
    options.add_session_config_entry("session.load_model_format", "ORT" if path.name.endswith(ORT_SUFFIX) else "ONNX")
    try:
        session = onnxruntime.InferenceSession(content, options, providers=list(providers))
    except Exception as error:  # onnxruntime's errors share no base of their own
        raise BundleError(
            f"onnxruntime {onnxruntime.__version__} cannot open {path}: {_first_line(error)}",
            "Upgrade onnxruntime, or export the bundle again.",
        ) from error
    # The Python object keeps the bytes for a change of providers, which never comes ("TODO: This is bad as we're
    # holding the memory indefinitely", says its source); the session itself does not use them again. With 15.3 MiB of
    # weights, a session takes 35.6 MiB with them and 22.9 without; opened from the file, 21.0.
    session._model_bytes = None
    return session


def _check_signature(session: onnxruntime.InferenceSession, manifest: Manifest, path: Path) -> None:
    """Hold the graph's inputs and outputs against classifier.json. A string or None in a shape is a dynamic axis."""
    ranks = {"tokens": 2, "lengths": 1}
    expected = {name: ("tensor(int64)", ranks[name]) for name in manifest.graph.inputs}
    inputs = {node.name: (node.type, len(node.shape)) for node in session.get_inputs()}
    if inputs != expected:
        raise BundleError(
            f"{path} has the inputs {_signature(inputs)}; classifier.json says {_signature(expected)}.", _EXPORT_AGAIN
        )
    outputs = {node.name: (node.type, len(node.shape)) for node in session.get_outputs()}
    if outputs != {"logits": ("tensor(float)", 2)}:
        raise BundleError(
            f"{path} has the outputs {_signature(outputs)}; a classifier gives logits (tensor(float), rank 2).",
            _EXPORT_AGAIN,
        )
    for node in session.get_inputs():
        if any(
            isinstance(size, int) and (axis, size) != (0, manifest.graph.batch) for axis, size in enumerate(node.shape)
        ):
            raise BundleError(f"{path} takes {node.name} of the fixed shape {node.shape} only.", _EXPORT_AGAIN)
    classes = session.get_outputs()[0].shape[1]
    if isinstance(classes, int) and classes != len(manifest.labels):
        raise BundleError(
            f"{path} gives {classes} logits, but classifier.json names {len(manifest.labels)} labels.", _EXPORT_AGAIN
        )


def _check_step_signature(session: onnxruntime.InferenceSession, step: StepGraph, classes: int, path: Path) -> None:
    inputs = {node.name: (node.type, len(node.shape)) for node in session.get_inputs()}
    outputs = {node.name: (node.type, len(node.shape)) for node in session.get_outputs()}
    widths = {node.name: node.shape[-1] for node in (*session.get_inputs()[1:], *session.get_outputs())}
    if (
        inputs != {"tokens": ("tensor(int64)", 2), "state": ("tensor(float)", 2)}
        or outputs != {"logits": ("tensor(float)", 2), "new_state": ("tensor(float)", 2)}
        or widths != {"state": step.state_size, "logits": classes, "new_state": step.state_size}
    ):
        raise BundleError(
            f"{path} takes {_signature(inputs)} and gives {_signature(outputs)}; a step graph takes tokens and a state "
            f"of {step.state_size} numbers, and gives {classes} logits and a new state.",
            _EXPORT_AGAIN,
        )


def _signature(nodes: dict[str, tuple[str, int]]) -> str:
    return ", ".join(f"{name} ({kind}, rank {rank})" for name, (kind, rank) in nodes.items()) or "none"


def _softmax(logits: Floats) -> Floats:
    """Probabilities, float32 [n, classes]. The largest logit is taken off first, so that none overflows."""
    powers = np.exp(logits - logits.max(1, keepdims=True))
    powers /= powers.sum(1, keepdims=True)
    return powers  # type: ignore[no-any-return]


def _sigmoid(logits: Floats) -> Floats:
    """Probabilities, float32 [n, classes], each by itself. The tanh form overflows for no logit."""
    return np.float32(0.5) * (np.tanh(np.float32(0.5) * logits) + np.float32(1))  # type: ignore[no-any-return]


def _sigmoid_of(logit: float) -> float:
    return 0.5 * (tanh(0.5 * logit) + 1.0)


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0]
