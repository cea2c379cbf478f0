"""The engine that runs bundles in onnxruntime. No other file in `engines` uses onnxruntime."""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from pocketrnn.bundle.manifest import Limits, Manifest, StepGraph
from pocketrnn.engines.batching import divide_into_runs, mark_texts_with_ids, pad_rows
from pocketrnn.engines.engine import (
    CPU,
    EngineAnswer,
    Floats,
    Ids,
    Options,
    Steps,
    choose_message_words,
    choose_padding_value,
    find_step_dtype,
)
from pocketrnn.engines.text_embedding_output import add_graph_output, find_last_layer_input
from pocketrnn.errors import BundleError, InputError, PocketRNNError, first_line
from pocketrnn.graph_check.graph_file import ORT_SUFFIX, read_graph
from pocketrnn.text.features_beside_text import (
    encode_numbers_as_negative_ids,
    make_highest_category_ids_and_zeros,
    separate_features_from_ids,
)
from pocketrnn.text.pairs import make_pair_inputs, make_pair_mark
from pocketrnn.text.text_input import TextInput

__all__ = ["OnnxRuntimeEngine", "check_engine_options"]

_EXPORT_AGAIN: Final = "Export the bundle again."
# onnxruntime keeps the memory of a run for the next one (its arena). Without it, `predict` of AG News texts takes 1.6
# times as long, and threads wait for each other in malloc. But a run of 300,000 tokens leaves 1,120 MiB allocated: the
# arena is shrunk after a run of more tokens than this, which leaves 80 MiB.
_LARGEST_KEPT: Final = 1 << 14
# The inputs of graphs: type and rank.
_INPUTS: Final = {
    "tokens": ("tensor(int64)", 2),
    "second_tokens": ("tensor(int64)", 2),
    "samples": ("tensor(float)", 3),
    "lengths": ("tensor(int64)", 1),
    "second_lengths": ("tensor(int64)", 1),
    "features": ("tensor(float)", 2),
    "characters": ("tensor(int64)", 3),
}


def check_engine_options(max_batch_tokens: int, providers: Sequence[str], *, trust: bool) -> Options:
    """Check the options of onnxruntime, and return them.

    Raises:
        InputError: `max_batch_tokens` is not a whole number of 1 or more; `providers` is a string or empty; or the
            installed onnxruntime lacks a provider.
    """
    if not isinstance(max_batch_tokens, int) or max_batch_tokens < 1:
        raise InputError(
            f"max_batch_tokens is {max_batch_tokens!r}, but it must be a whole number of 1 or more.",
            "Give the largest number of tokens in one run of the graph.",
        )
    if isinstance(providers, str) or not providers:
        raise InputError(
            f"providers is {providers!r}, but it must be a list of names of execution providers.",
            f"Give a list such as [{CPU!r}].",
        )
    available = onnxruntime.get_available_providers()
    for provider in providers:
        if provider not in available:
            raise InputError(
                f"The installed onnxruntime {onnxruntime.__version__} has no execution provider {provider!r}, but only "
                f"{', '.join(available)}.",
                "Install the package of onnxruntime that has it (for CUDA: onnxruntime-gpu), or leave `providers` out.",
            )
    return Options(max_batch_tokens, tuple(providers), trust)


class OnnxRuntimeEngine:
    """Runs a bundle's graphs in onnxruntime. A forked process opens the graphs again.

    Several threads may use one engine at once.

    Args:
        manifest: the content of its classifier.json.

    Raises:
        BundleError: the graph is missing, damaged, or does not fit classifier.json.
    """

    def __init__(self, folder: Path, manifest: Manifest, options: Options) -> None:
        self._folder = folder
        self._manifest, self._name = manifest, manifest.name
        self._options = options
        self._words = choose_message_words(manifest)
        self._input = manifest.graph.inputs[0]
        self._type, self._padding = find_step_dtype(manifest), choose_padding_value(manifest)
        # Bound runs are for the CPU only; a longer text would leave its memory allocated.
        self._largest_bound = max(_LARGEST_KEPT, options.max_batch_tokens) if options.providers == (CPU,) else 0
        self._idle: list[_BoundRun] = []
        self._embedding_session: tuple[onnxruntime.InferenceSession, str] | None = None
        self._step_session: onnxruntime.InferenceSession | None = None
        self._classes, self._of_tokens = len(manifest.labels), manifest.output.of_tokens
        self._takes_lengths, self._pairs = "lengths" in manifest.graph.inputs, "second_tokens" in manifest.graph.inputs
        self._features, self._characters = len(manifest.features), manifest.characters
        self._lock = threading.RLock()
        self._session: onnxruntime.InferenceSession | None = self._open_session()
        # The current directory may change after this.
        self._folder = folder.absolute()
        _register_for_reset_in_forks(self)
        self._check_graph_on_shortest_input()

    @property
    def metadata(self) -> Mapping[str, str]:
        """The metadata of the ONNX file (`metadata_props`), by name."""
        return dict(self._open_graph_once().get_modelmeta().custom_metadata_map)

    def _open_graph_once(self) -> onnxruntime.InferenceSession:
        """Return the session of the graph; open the graph if it is not open, as in a process that was just forked."""
        if self._session is None:
            with self._lock:
                if self._session is None:
                    self._session = self._open_session()
        return self._session

    def _open_session(self) -> onnxruntime.InferenceSession:
        """Open and check the bundle's graph."""
        graph = self._manifest.graph
        path = self._folder / graph.file
        session = _open_checked_session(path, graph.sha256, self._options)
        _check_signature(session, self._manifest, path)
        return session

    def open_step(self) -> None:
        """Open and check the step graph, so that its errors are reported before the first input is read."""
        self._open_step_graph_once()

    def step(self, steps: Sequence[int] | Floats, state: Floats) -> tuple[Floats, Floats]:
        """Read further steps of a text or recording, from the state after the earlier steps; return the logits, float32
        [1, labels], and the new state."""
        given = np.asarray(steps, self._type)[None]
        logits, new_state = self._run_session(
            self._open_step_graph_once(), ["logits", "new_state"], {self._input: given, "state": state}
        )
        return logits, new_state

    def _open_step_graph_once(self) -> onnxruntime.InferenceSession:
        """Return the session of the step graph; open and check the graph at the first call. Raise an InputError if the
        bundle has no step graph."""
        step = self._manifest.stream
        if step is None:
            raise InputError(
                f"The bundle of {self._name} cannot answer {self._words.arrival}: it holds no step graph, which a "
                "stream needs.",
                self._words.step_graph_remedy,
            )
        if self._step_session is None:
            with self._lock:
                if self._step_session is None:
                    path = self._folder / step.file
                    session = _open_checked_session(path, step.sha256, self._options)
                    self._check_step_signature(session, step, path)
                    self._step_session = session
        return self._step_session

    def _check_step_signature(self, session: onnxruntime.InferenceSession, step: StepGraph, path: Path) -> None:
        """Raise a BundleError if the inputs and outputs of a step graph have other names, types, ranks or sizes than
        classifier.json says."""
        inputs = {node.name: (node.type, len(node.shape)) for node in session.get_inputs()}
        outputs = {node.name: (node.type, len(node.shape)) for node in session.get_outputs()}
        widths = {node.name: node.shape[-1] for node in (*session.get_inputs()[1:], *session.get_outputs())}
        if (
            inputs != {self._input: _INPUTS[self._input], "state": ("tensor(float)", 2)}
            or outputs != {"logits": ("tensor(float)", 2), "new_state": ("tensor(float)", 2)}
            or widths != {"state": step.state_size, "logits": self._classes, "new_state": step.state_size}
        ):
            raise BundleError(
                f"The step graph {path} has the inputs {_format_signature(inputs)} and the outputs "
                f"{_format_signature(outputs)}, but it must take {self._input} and a state of {step.state_size} "
                f"numbers, and give {self._classes} logits and a new state.",
                _EXPORT_AGAIN,
            )

    def _run_graph_for_output(
        self, session: onnxruntime.InferenceSession, output: str, steps: NDArray[Any], lengths: Ids
    ) -> Floats:
        """Run the graph once on padded rows, and return one of its outputs. Free the memory of a large run afterwards.

        Args:
            steps: the rows, [batch, sequence, ...]. Negative ids separate two texts, or encode features.
            lengths: int64 [batch], how many steps each row has without padding.
        """
        if self._pairs:
            feed: dict[str, NDArray[Any]] = dict(
                zip(self._manifest.graph.inputs, make_pair_inputs(steps, lengths), strict=False)
            )
        elif self._features:
            rows = separate_features_from_ids(steps, lengths)
            feed = {"tokens": rows.tokens, "lengths": rows.lengths, "features": rows.features}
            feed = {name: feed[name] for name in self._manifest.graph.inputs}
        elif self._characters is not None:
            # Each step is a token's id, and then those of its characters.
            feed = {"tokens": steps[..., 0], "lengths": lengths, "characters": steps[..., 1:]}
            feed = {name: np.ascontiguousarray(feed[name]) for name in self._manifest.graph.inputs}
        else:
            feed = {self._input: steps, "lengths": lengths} if self._takes_lengths else {self._input: steps}
        large = steps.shape[0] * steps.shape[1] > max(_LARGEST_KEPT, self._options.max_batch_tokens)
        (found,) = self._run_session(session, [output], feed, _make_arena_shrinkage_options() if large else None)
        return found

    def _run_session(
        self,
        session: onnxruntime.InferenceSession,
        outputs: list[str],
        feed: dict[str, NDArray[Any]],
        options: onnxruntime.RunOptions | None = None,
    ) -> list[Floats]:
        """Run a session, and convert any error of onnxruntime to a PocketRNNError."""
        try:
            return session.run(outputs, feed, options)  # type: ignore[no-any-return]
        except Exception as error:  # onnxruntime's errors share no base of their own
            raise self._make_run_error(next(iter(feed.values())), error) from error

    def _make_run_error(self, steps: NDArray[Any], error: Exception) -> PocketRNNError:
        """Make the error for a run that failed on rows `steps`, [batch, sequence, ...]."""
        (rows, width), words = steps.shape[:2], self._words
        return PocketRNNError(
            f"The graph of {self._name} failed on {rows} {words.row}s of up to {width} {words.step}s: "
            f"{first_line(error)}.",
            f"If a {words.row} is very long, shorten it; else check the bundle with: pocketrnn verify",
        )

    def reset_after_fork(self) -> None:
        """Forget all sessions that a forked process has inherited, without freeing them. New sessions are opened when
        they are needed.

        Another thread may have held a lock of onnxruntime's memory when the process was forked; in the child, such a
        lock is never released. Of 60 children forked under load, 5 hung in their first answer. The sessions are never
        freed, since that may need such a lock, too.
        """
        for inherited in (self._session, self._step_session, self._embedding_session, self._idle):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(inherited))
        self._session = self._step_session = self._embedding_session = None
        self._idle = []
        self._lock = threading.RLock()

    def compute_item_logits(self, steps: Steps) -> list[float]:
        """Compute the logits of one text or sequence from its ids, int64 [1, tokens], or samples, float32 [1, time,
        channels]."""
        if self._pairs or self._features or steps.shape[1] > self._largest_bound:
            return self._compute_logits_of_run(steps, np.array(steps.shape[1:2], np.int64))[0].tolist()  # type: ignore[no-any-return]
        # `pop` and `append` are atomic in the interpreter: neither another thread nor a signal handler that classifies
        # gets a bound run that is in use.
        try:
            bound = self._idle.pop()
        except IndexError:
            bound = _BoundRun(self._open_graph_once(), self._input, self._classes, self._takes_lengths)
        try:
            logits = bound.compute_logits(steps)
        except Exception as error:  # onnxruntime's errors share no base of their own
            raise self._make_run_error(steps, error) from error
        self._idle.append(bound)
        return logits

    def logits(self, steps: Steps, lengths: Ids) -> EngineAnswer:
        """Compute the logits of many texts or sequences, whose steps are given one after the other, with the number of
        steps of each."""
        rows_of_each = lengths if self._of_tokens else np.ones_like(lengths)
        logits = np.empty((int(rows_of_each.sum()), self._classes), np.float32)
        starts = np.cumsum(rows_of_each) - rows_of_each
        for texts, given in self._make_padded_runs(steps, lengths):
            found = self._compute_logits_of_run(given, lengths[texts])
            if self._of_tokens:
                places = starts[texts, None] + np.arange(given.shape[1])
                inside = np.arange(given.shape[1]) < lengths[texts, None]
                logits[places[inside]] = found[inside]
            else:
                logits[texts] = found
        return EngineAnswer(logits, [])

    def embeddings(self, steps: Steps, lengths: Ids) -> EngineAnswer:
        """Compute the embeddings of many texts, whose ids are given one after the other, with the number of ids of
        each."""
        parts = [
            (rows, self._compute_embeddings_of_run(given, lengths[rows]))
            for rows, given in self._make_padded_runs(steps, lengths)
        ]
        width = parts[0][1].shape[1] if parts else 0
        embeddings = np.empty((len(lengths), width), np.float32)
        for rows, part in parts:
            embeddings[rows] = part
        return EngineAnswer(embeddings, [])

    def _make_padded_runs(self, steps: Steps, lengths: Ids) -> Iterator[tuple[NDArray[np.intp], Steps]]:
        """Divide texts into runs of the graph; yield for each run the indices of its texts and their padded steps.

        A run has texts of similar length. A text whose answer would depend on the other texts of a run gets a run of
        its own.
        """
        starts, graph = np.cumsum(lengths) - lengths, self._manifest.graph
        ids = steps if self._characters is None else steps[:, 0]
        alone = mark_texts_with_ids(ids, lengths, graph.alone)
        for some in self._group_pairs_by_length_of_first_text(steps, starts):
            shapes = divide_into_runs(
                lengths[some],
                padding=graph.padding,
                max_tokens=self._options.max_batch_tokens,
                max_texts=graph.batch or (None if graph.limits is None else graph.limits.max_batch),
                alone=None if alone is None else alone[some],
            )
            for rows in (some[run] for run in shapes):
                yield rows, pad_rows(steps, starts[rows], lengths[rows], self._padding)

    def _group_pairs_by_length_of_first_text(
        self, steps: Steps, starts: NDArray[np.int64]
    ) -> Iterator[NDArray[np.intp]]:
        """Yield groups of indices of texts that may share a run. If the graph takes pairs and its answers depend on
        padding, a group has the pairs whose first texts are equally long; else all texts are one group.

        Args:
            steps: the ids of all texts, one text after the other.
            starts: int64 [texts], the index in `steps` of each text's first id.
        """
        if not self._pairs or self._manifest.graph.padding:
            yield np.arange(len(starts))
            return
        firsts = np.flatnonzero(steps < 0) - starts
        for length in np.unique(firsts):
            yield np.flatnonzero(firsts == length)

    def _open_embedding_graph(self) -> tuple[onnxruntime.InferenceSession, str]:
        """Open the graph with the input of its last linear layer as a further output; return the session and the name
        of that output. Raise an InputError for a graph in onnxruntime's own format."""
        if self._embedding_session is None:
            with self._lock:
                if self._embedding_session is None:
                    graph = self._manifest.graph
                    path = self._folder / graph.file
                    if graph.file.endswith(ORT_SUFFIX):
                        raise InputError(
                            f"{path} is in onnxruntime's own format (.ort), which gives logits but not embeddings.",
                            "Use the bundle from which this bundle was made.",
                        )
                    content = read_graph(path, graph.sha256, trusted=self._options.trust)
                    name = find_last_layer_input(content, path)
                    session = _create_session(add_graph_output(content, name), path, self._options)
                    self._embedding_session = session, name
        return self._embedding_session

    def _compute_embeddings_of_run(self, steps: Steps, lengths: Ids) -> Floats:
        """Compute the embeddings of the texts of one run, float32 [batch, features].

        Args:
            steps: the padded steps, [batch, sequence, ...].
            lengths: int64 [batch], how many steps each text has.
        """
        session, name = self._open_embedding_graph()
        found = self._run_graph_for_output(session, name, steps, lengths)
        # A layer's last states are [1, batch, features]; a graph of one text may leave its batch out.
        rows = found[0] if found.ndim == 3 and len(found) == 1 else found
        rows = rows[None] if rows.ndim == 1 and len(steps) == 1 else rows
        if rows.dtype != np.float32 or rows.ndim != 2 or len(rows) != len(steps):
            raise InputError(
                f"{self._manifest.name} cannot give embeddings: the input of its last linear layer has the shape "
                f"{list(found.shape)} for {len(steps)} {self._words.row}s, but it must have one row for each.",
                "Use the logits or the probabilities instead.",
            )
        return rows

    def _compute_logits_of_run(self, steps: Steps, lengths: Ids) -> Floats:
        """Compute the logits of one run: float32 [batch, labels], or [batch, sequence, labels] if the classifier labels
        tokens.

        Args:
            steps: the padded steps, [batch, sequence, ...].
            lengths: int64 [batch], how many steps each text has.
        """
        logits = self._run_graph_for_output(self._open_graph_once(), "logits", steps, lengths)
        logits = self._append_nan_for_missing_steps(logits, steps)
        if logits.shape != self._compute_expected_logits_shape(steps):
            raise PocketRNNError(
                f"The graph of {self._name} gave logits of the wrong shape, {list(logits.shape)}, for {len(steps)} "
                f"{self._words.row}s and {self._classes} labels.",
                _EXPORT_AGAIN,
            )
        return logits

    def _check_graph_on_shortest_input(self) -> None:
        """Run the graph once to check that it accepts an input, and gives one logit for each label. Raise a BundleError
        if not."""
        steps, asked = _make_and_describe_shortest_input(self._manifest)
        try:
            logits = self._run_graph_for_output(
                self._open_graph_once(), "logits", steps, np.array(steps.shape[1:2], np.int64)
            )
        except (PocketRNNError, OverflowError) as error:
            raise BundleError(
                f"The graph of {self._name} cannot be run with {asked}: {first_line(error)}.", _EXPORT_AGAIN
            ) from None
        if self._append_nan_for_missing_steps(logits, steps).shape != (
            wanted := self._compute_expected_logits_shape(steps)
        ):
            raise BundleError(
                f"The graph of {self._name} gives logits of shape {list(logits.shape)}, but it must be {list(wanted)}.",
                _EXPORT_AGAIN,
            )

    def _append_nan_for_missing_steps(self, logits: Floats, steps: Steps) -> Floats:
        """Append NaN for the last steps of a batch if the graph gives no logits for them. A module that labels tokens
        may give logits only up to the length of the longest text."""
        if not self._of_tokens or logits.ndim != 3 or logits.shape[1] >= steps.shape[1]:
            return logits
        missing = steps.shape[1] - logits.shape[1]
        return np.pad(logits, ((0, 0), (0, missing), (0, 0)), constant_values=np.nan)

    def _compute_expected_logits_shape(self, steps: Steps) -> tuple[int, ...]:
        """Return the shape that the logits must have for steps [batch, sequence, ...]."""
        return (*steps.shape[: 2 if self._of_tokens else 1], self._classes)


def _make_and_describe_shortest_input(manifest: Manifest) -> tuple[Steps, str]:
    """Make the shortest input that the graph accepts, and describe it for a message.

    For sequences, the input has only zeros. For texts, it has only the highest id, which tests the last row of the
    embedding; if this is the padding id and the graph needs another one, it begins with the next lower id.
    """
    given, limits, rows = manifest.input, manifest.graph.limits or Limits(), manifest.graph.embedding_rows
    least = limits.min_tokens or 1
    if not isinstance(given, TextInput):
        steps = given.steps or least
        return np.zeros((1, steps, len(given.channels)), np.float32), f"{steps} steps of zeros"
    tokens = np.full((1, least), rows - 1, np.int64)
    if limits.real_token and given.rules.padding_id == rows - 1:
        tokens = np.append(tokens, tokens[:, :1], axis=1) if limits.allows_length(tokens.size + 1) else tokens
        tokens[0, 0] = rows - 2
    if given.pairs:
        tokens = np.concatenate([tokens, [[make_pair_mark(given.rules.padding_id)]], tokens], axis=1)
    if given.features:
        tokens = np.concatenate(
            [encode_numbers_as_negative_ids(make_highest_category_ids_and_zeros(given.features))[None], tokens], axis=1
        )
    if given.characters is not None:
        highest = np.full((*tokens.shape, given.characters.width), given.characters.ids[-1], np.int64)
        tokens = np.concatenate([tokens[..., None], highest], axis=2)
    return tokens, f"the highest token id, {rows - 1}"


class _BoundRun:
    """Answers one text at a time, with fixed memory for lengths and logits (IO binding of onnxruntime).

    `session.run` allocates both for each call and checks their names, which takes 5 % of the time of a text.
    """

    def __init__(self, session: onnxruntime.InferenceSession, name: str, classes: int, takes_lengths: bool) -> None:
        self._session, self._name = session, name
        self._length = np.ones(1, np.int64)
        self._logits = np.empty((1, classes), np.float32)
        self._binding = session.io_binding()
        if takes_lengths:
            self._binding.bind_cpu_input("lengths", self._length)
        self._binding.bind_ortvalue_output("logits", onnxruntime.OrtValue.ortvalue_from_numpy(self._logits))

    def compute_logits(self, steps: Steps) -> list[float]:
        """Compute the logits of one text or sequence: int64 [1, tokens], or float32 [1, time, channels]."""
        self._length[0] = steps.shape[1]
        self._binding.bind_cpu_input(self._name, steps)
        self._session.run_with_iobinding(self._binding)
        logits: list[float] = self._logits[0].tolist()
        return logits


_engines: weakref.WeakSet[OnnxRuntimeEngine] = weakref.WeakSet()


def _register_for_reset_in_forks(engine: OnnxRuntimeEngine) -> None:
    """Register an engine, so that every forked process forgets the engine's sessions."""
    if hasattr(os, "register_at_fork") and not _registered.is_set():
        _registered.set()
        os.register_at_fork(after_in_child=_reset_all_engines)
    _engines.add(engine)


# Set when the first engine is made: importing pocketrnn registers nothing.
_registered: Final = threading.Event()


def _reset_all_engines() -> None:
    """Let all engines forget their sessions, in a process that was just forked."""
    for engine in list(_engines):
        engine.reset_after_fork()


def _make_arena_shrinkage_options() -> onnxruntime.RunOptions:
    """Make options for a run after which onnxruntime frees the memory that it would keep for the next run."""
    options = onnxruntime.RunOptions()
    options.log_severity_level = 4
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options


def _open_checked_session(path: Path, sha256: str, engine_options: Options) -> onnxruntime.InferenceSession:
    """Read and check a graph's file, and open a session from the bytes that were checked, since the file may change
    meanwhile."""
    return _create_session(read_graph(path, sha256, trusted=engine_options.trust), path, engine_options)


def _create_session(content: bytes, path: Path, engine_options: Options) -> onnxruntime.InferenceSession:
    """Open a session of onnxruntime with one thread, from the bytes of a graph that was checked. Raise a BundleError if
    onnxruntime cannot open the graph."""
    options = onnxruntime.SessionOptions()
    # One thread: our own threads divide several texts among them, and onnxruntime's threads gain nothing on one text
    # (35 us with one, 52 with two that sleep, 37 with two that spin).
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    # Only fatal errors are logged. The others are raised, and then reported once, in our words.
    options.log_severity_level = 4
    options.add_session_config_entry("session.load_model_format", "ORT" if path.name.endswith(ORT_SUFFIX) else "ONNX")
    try:
        session = onnxruntime.InferenceSession(content, options, providers=list(engine_options.providers))
    except Exception as error:  # onnxruntime's errors share no base of their own
        raise BundleError(
            f"onnxruntime {onnxruntime.__version__} cannot open the graph {path}: {first_line(error)}.",
            "Install a newer onnxruntime, or export the bundle again.",
        ) from error
    # The Python object keeps the bytes for a change of providers, which never happens here ("TODO: This is bad as we're
    # holding the memory indefinitely", says its source); the session itself does not use them again. With 15.3 MiB of
    # weights, a session takes 35.6 MiB with them and 22.9 without; opened from the file, 21.0.
    session._model_bytes = None
    return session


def _check_signature(session: onnxruntime.InferenceSession, manifest: Manifest, path: Path) -> None:
    """Raise a BundleError if the graph's inputs and outputs do not have the names, types, ranks and sizes that
    classifier.json says."""
    given = manifest.input
    expected = {name: _INPUTS[name] for name in manifest.graph.inputs}
    inputs = {node.name: (node.type, len(node.shape)) for node in session.get_inputs()}
    if inputs != expected:
        raise BundleError(
            f"The graph {path} has the inputs {_format_signature(inputs)}, but by classifier.json they must be "
            f"{_format_signature(expected)}.",
            _EXPORT_AGAIN,
        )
    outputs = {node.name: (node.type, len(node.shape)) for node in session.get_outputs()}
    rank = 3 if manifest.output.of_tokens else 2
    if outputs != {"logits": ("tensor(float)", rank)}:
        raise BundleError(
            f"The graph {path} has the outputs {_format_signature(outputs)}, but its only output must be logits "
            f"(tensor(float), rank {rank}).",
            _EXPORT_AGAIN,
        )
    fixed, characters = {(0, manifest.graph.batch)}, manifest.characters
    if not isinstance(given, TextInput):
        fixed |= {(1, given.steps), (2, len(given.channels))}
        if (channels := session.get_inputs()[0].shape[2]) != len(given.channels):
            raise BundleError(
                f"The graph {path} takes {channels} channels, but classifier.json has {len(given.channels)}.",
                _EXPORT_AGAIN,
            )
    for node in session.get_inputs():
        if node.name == "features" and node.shape[1] == len(manifest.features):
            continue
        own = {(2, characters.width)} if node.name == "characters" and characters is not None else set()
        if any(isinstance(size, int) and (axis, size) not in fixed | own for axis, size in enumerate(node.shape)):
            raise BundleError(
                f"The graph {path} has the fixed shape {node.shape} for the input {node.name}, but classifier.json "
                "does not fix all of these sizes.",
                _EXPORT_AGAIN,
            )
    classes = session.get_outputs()[0].shape[-1]
    if isinstance(classes, int) and classes != len(manifest.labels):
        raise BundleError(
            f"The graph {path} gives {classes} logits, but classifier.json has {len(manifest.labels)} labels.",
            _EXPORT_AGAIN,
        )


def _format_signature(type_and_rank_by_name: dict[str, tuple[str, int]]) -> str:
    """Format inputs or outputs for a message: "tokens (tensor(int64), rank 2)"; "none" if there are none."""
    return ", ".join(f"{name} ({kind}, rank {rank})" for name, (kind, rank) in type_and_rank_by_name.items()) or "none"
