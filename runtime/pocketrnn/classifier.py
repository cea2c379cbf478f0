"""Classifier: a bundle, ready to answer. Text -> token ids -> engine -> logits -> answers."""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, cast, overload

import numpy as np
from numpy.typing import NDArray

from pocketrnn.answers import Answers, Prediction
from pocketrnn.bundle import manifest as manifests
from pocketrnn.bundle.manifest import Manifest
from pocketrnn.bundle.packed_file import is_packed, takes_numbers
from pocketrnn.bundle.refused_texts import SKIP_THEM, among, kinds_outside, limit_error, outside, too_costly
from pocketrnn.bundle.zoo import bundle_folder
from pocketrnn.engines.batching import MAX_TOKENS
from pocketrnn.engines.engine import CPU, Answered, Engine, Ids, Options, ReadsTexts, checked_threads
from pocketrnn.engines.parallel import Workers
from pocketrnn.errors import InputError, LimitError
from pocketrnn.estimator import TrainedEstimator
from pocketrnn.text.checked_texts import Chunk, OnError, checked_batches, chunks
from pocketrnn.text.pretokenized import ReadyTexts, Text, Tokenizer
from pocketrnn.text.text_input import TextInput

if TYPE_CHECKING:
    from pocketrnn.explanation import Explanation
    from pocketrnn.numbers.range_watch import OutOfRange
    from pocketrnn.stream import Stream

__all__ = [
    "Classifier",
    "Prediction",
    "graph_metadata",
    "kinds_refused",
    "logits_of_batches",
    "logits_of_ids",
    "logits_until_refused",
    "refusal",
]

Floats = NDArray[np.float32]

_log: Final = logging.getLogger(__name__)


class Classifier(TrainedEstimator):
    """A classifier read from a bundle. Make one with `Classifier.load`.

    Thread-safe: the only mutable state is a pool of buffers, each used by one call at a time. It may be used after a
    fork. A pickled one is loaded again from its folder. scikit-learn's tools take it as an estimator.

    Attributes:
        manifest: all that classifier.json says.

    Example:
        >>> clf = Classifier.load("ag_news")
        >>> clf.classify("Oil prices rise again").label
        'Business'
    """

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        engine: Engine,
        threads: int,
        options: Options,
        tokenizer: Tokenizer | None = None,
    ) -> None:
        self.manifest = manifest
        self._folder = folder
        self._engine = engine
        self._workers = Workers(threads)
        self._options = options
        self._encoder = manifest.text.encoder()
        self._ready = ReadyTexts(manifest.name, self._encoder, manifest.graph.embedding_rows, tokenizer)
        self._answers = Answers.of(manifest)
        self._limits = manifest.graph.limits
        # An engine that reads texts itself, where the class is not asked for ids.
        self._reader = engine if isinstance(engine, ReadsTexts) and self._ready.splits else None

    @classmethod
    def load(
        cls,
        path_or_name: str | os.PathLike[str],
        *,
        threads: int = 1,
        max_batch_tokens: int = MAX_TOKENS,
        providers: Sequence[str] = (CPU,),
        trust: bool = False,
        tokenizer: Tokenizer | None = None,
        out_of_range: str | None = None,
    ) -> Classifier:
        """Read and check a bundle, or a packed file.

        Args:
            path_or_name: a bundle's folder, the name of a classifier that ships with pocketrnn, or a file that
                `pocketrnn pack` wrote, which the native engine answers (pip install pocketrnn-native).
            threads: how many processor cores one call for several texts may use. One text is answered on one core.
            max_batch_tokens: how many tokens one run of the graph may hold, padding included. It bounds the memory of a
                run, whatever the texts; only a text that is longer by itself is run, alone, at its own length.
            providers: onnxruntime's execution providers, most wanted first.
            trust: allow graphs with any operator, among them loops, which may never end. For a bundle that you made
                yourself: see SECURITY.md.
            tokenizer: your own function, text -> its tokens, or its ids, which splits every string in place of the
                bundle's tokenizer. One whose tokenizer is `external` splits none itself (docs/text-rules.md).
            out_of_range: of a bundle that takes sequences of numbers: what becomes of numbers far outside of those of
                training, as `NumberClassifier.load` takes it.

        Returns:
            the classifier; of a bundle that takes sequences of numbers, a NumberClassifier (docs/numbers.md).

        Raises:
            InputError: `threads` or `max_batch_tokens` is not a number from 1, onnxruntime has no such provider, or
                `tokenizer` is no function.
            BundleError: there is no such bundle, it is damaged, or its graph does not fit its classifier.json.
            MissingExtraError: it is a packed file, and the native engine is not installed.

        Example:
            >>> Classifier.load("ag_news", threads=2)
            <Classifier 'ag_news': 4 labels>
        """
        checked_threads(threads)
        folder = bundle_folder(path_or_name)
        if is_packed(folder):
            from pocketrnn.engines.native import NativeEngine

            options = Options(max_batch_tokens, tuple(providers), trust)
            if takes_numbers(folder):
                return cls._of_numbers(folder, options, threads, tokenizer, out_of_range)
            _refuse_range(out_of_range)
            native = NativeEngine(folder)
            return cls(folder.absolute(), native.manifest, native, threads, options, tokenizer)
        # A packed classifier does without onnxruntime, which takes most of the time of a start.
        from pocketrnn.engines.onnxruntime import OnnxRuntimeEngine, checked_options

        options = checked_options(max_batch_tokens, providers, trust=trust)
        manifest = manifests.read(folder)
        if not isinstance(manifest.input, TextInput):
            return cls._of_numbers(folder, options, threads, tokenizer, out_of_range)
        _refuse_range(out_of_range)
        engine = OnnxRuntimeEngine(folder, manifest, options)
        classifier = cls(folder.absolute(), manifest, engine, threads, options, tokenizer)
        _log.debug("Loaded %s from %s with %d threads and %s", manifest.name, folder, threads, options)
        return classifier

    @classmethod
    def _of_numbers(
        cls, folder: Path, options: Options, threads: int, tokenizer: Tokenizer | None, out_of_range: str | None
    ) -> Classifier:
        """A NumberClassifier, which has the methods of this class that make sense of numbers."""
        from pocketrnn.number_classifier import NumberClassifier

        if tokenizer is not None:
            raise InputError(f"{folder} takes sequences of numbers, not texts.", "Leave tokenizer out.")
        return cast("Classifier", NumberClassifier.load(
            folder, threads=threads, max_batch_tokens=options.max_batch_tokens,
            providers=options.providers, trust=options.trust, out_of_range=cast("OutOfRange", out_of_range or "warn"),
        ))  # fmt: skip

    @property
    def name(self) -> str:
        """What the classifier is called.

        Example:
            >>> Classifier.load("ag_news").name
            'ag_news'
        """
        return self.manifest.name

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in the order of the columns of `predict_proba`.

        Example:
            >>> Classifier.load("ag_news").labels
            ('World', 'Sports', 'Business', 'Sci/Tech')
        """
        return self.manifest.labels

    @property
    def thresholds(self) -> tuple[float, ...] | None:
        """For each label the probability from which `predict_labels` gives it; None where the bundle keeps none.

        Example:
            >>> Classifier.load("ag_news").thresholds is None
            True
        """
        return self.manifest.output.thresholds

    def encode(self, text: Text) -> list[int]:
        """The token ids of one text; never empty.

        Args:
            text: as in `classify`.

        Raises:
            TextError: as `classify`.

        Example:
            >>> classifier = Classifier.load("ag_news")
            >>> classifier.encode("Oil prices") == classifier.encode(["oil", "prices"])
            True
        """
        return self._ready.ids(text)

    def stream(self, saved: bytes | None = None) -> Stream:
        """A text that arrives in fragments, answered for after each: `stream.push("Wall St. ")`.

        Args:
            saved: what `Stream.save` gave, to go on from there.

        Raises:
            InputError: the bundle was not exported for streaming, or `saved` is damaged or another bundle's.
            BundleError: the step graph is damaged or does not fit its classifier.json.

        Example:
            >>> stream = Classifier.load("one-way").stream()    # a bundle exported with --streaming
            >>> stream.push("Wall St. ").label
            'Business'
        """
        # Most programs that classify texts never stream one: without it, importing pocketrnn takes 4 ms less.
        from pocketrnn.stream import Stream

        if self._ready.tokenizer is not None:
            raise InputError(
                "A text that arrives in fragments is split by the bundle's tokenizer, not by another one.",
                "Load the classifier without tokenizer= for streams.",
            )
        return Stream(self.manifest, self._encoder, self._engine, self._answers, saved)

    def classify(self, text: Text, top: int = 1) -> Prediction:
        """Classify one text.

        Args:
            text: any string; one without a known token is answered as the empty text is. Or a text that is split
                already: a list of its tokens, which are looked up, or of all its ids (docs/text-rules.md).
            top: how many labels to give, from 1 to the number of labels.

        Raises:
            TextError: `text` is no string and no such list, or the rules could give no such ids.
            LimitError: `text` has fewer or more tokens than the graph takes, or no known word where the graph needs one
                (`manifest.graph.limits`).
            InputError: `top` is out of its range; `text` is a string, and the bundle's tokenizer is external; or the
                tokenizer that it was loaded with fails.

        Example:
            >>> Classifier.load("ag_news").classify("Striker scores twice in cup final").label
            'Sports'
        """
        if top != 1:
            self._answers.check_top(top)
        if isinstance(text, str) and self._ready.splits:
            return self._answers.prediction(self._logits_of_string(text), top)
        return self._answers.prediction(self._logits_of_row(np.array([self._ready.ids(text)], np.int64)), top)

    def _logits_of_string(self, text: str) -> list[float]:
        if self._reader is not None and (logits := self._reader.logits_of_text(text)) is not None:
            return logits
        return self._logits_of_row(self._encoder.encode_row(text))

    def _logits_of_row(self, tokens: Ids) -> list[float]:
        """The logits of int64 [1, tokens]."""
        if self._limits is not None and not self._limits.take(tokens[0], self.manifest.text.rules.padding_id):
            raise limit_error(self.name, self._limits, tokens.shape[1])
        return self._engine.logits_of_one(tokens)

    def explain(self, text: Text, label: str | None = None, *, most_fragments: int = 64) -> Explanation:
        """Which words decided: each is left out once, and what the label loses by it is told.

        All shortened texts are answered in one call. A text of n words takes about as long as n texts of that length.

        Args:
            text: any string, or a list of tokens. Of tokens, `start` and `end` of a fragment count tokens.
            label: the label to explain; None for the likeliest.
            most_fragments: a text of more words than this is explained in fragments of several words. Very long texts
                are cut into fewer fragments, and not at all where even two would take too long.

        Raises:
            TextError: `text` is no string and no list of tokens.
            LimitError: `text` is beyond the graph's limits.
            InputError: there is no such label, or `most_fragments` is out of its range.

        Example:
            >>> explanation = Classifier.load("ag_news").explain("Oil prices rise again")
            >>> max(explanation.fragments, key=lambda fragment: fragment.log_odds).text
            'Oil'
        """
        # Imported only when needed, as the stream is.
        from pocketrnn.explanation import Explainer

        whole = text if isinstance(text, str) and self._ready.splits else self._ready.tokens(text)
        return Explainer(self.manifest, self.encode, self._logits_of_variants).explained(whole, label, most_fragments)

    def _logits_of_variants(self, texts: Sequence[str | list[str]]) -> tuple[Floats, list[int]]:
        """The logits of a text and of what is left of it without some words; the indices of those that are refused.

        Raises:
            LimitError: the text itself, the first, is refused.
        """
        parts: list[Floats] = []
        refused: list[int] = []
        for logits, skipped in self._logits_of_chunks(texts, "skip", warns=False):
            before = sum(len(part) for part in parts)
            refused += [before + index for index in skipped]
            parts.append(logits)
        if refused and refused[0] == 0:
            raise self._refusal(texts[0])
        return np.concatenate(parts), refused

    @overload
    def predict(self, texts: Iterable[Text], *, on_error: Literal["raise"] = "raise") -> list[str]: ...
    @overload
    def predict(self, texts: Iterable[Text], *, on_error: OnError) -> list[str] | list[str | None]: ...
    def predict(self, texts: Iterable[Text], *, on_error: OnError = "raise") -> list[str] | list[str | None]:
        """The likeliest label of every text, in the texts' order.

        Args:
            texts: a list, a column of numpy or pandas, or any iterable; a generator is read lazily, chunk by chunk. An
                item is a string, or a list of the text's tokens or ids, as in `classify`.
            on_error: what becomes of an item that is no text (None, bytes, a number, a list of other things), or is a
                text that the graph does not take (`manifest.graph.limits`): of fewer or more tokens, or without a known
                word. `raise` refuses it, `skip` gives None as its label.

        Raises:
            TextError: `texts` is one string, or an item of it is no text.
            LimitError: an item of it is beyond the graph's limits.

        Example:
            >>> Classifier.load("ag_news").predict(["Oil prices rise again", "Striker scores twice in cup final"])
            ['Business', 'Sports']
        """
        return self._answers.likeliest(self._logits_of_chunks(texts, on_error))

    def classify_all(
        self, texts: Iterable[Text], *, top: int = 1, on_error: OnError = "raise"
    ) -> Iterator[Prediction | None]:
        """Yields predictions lazily, in the texts' order, reading only a few chunks ahead.

        Neither the texts nor the answers are held: memory does not grow with their number. An error leaves the answers
        that came before it.

        Args:
            texts: any iterable.
            top: how many labels to give, from 1 to the number of labels.
            on_error: `raise` refuses an item as in `predict`, `skip` gives None for it.

        Raises:
            TextError: `texts` is one string, or an item of it is no text.
            LimitError: an item of it is beyond the graph's limits.
            InputError: `top` is out of its range.

        Example:
            >>> [answer.label for answer in Classifier.load("ag_news").classify_all(iter(["Oil prices rise again"]))]
            ['Business']
        """
        self._answers.check_top(top)
        yield from self._answers.predictions(self._logits_of_chunks(texts, on_error), top)

    def predict_proba(self, texts: Iterable[Text], *, on_error: OnError = "raise") -> Floats:
        """The probabilities of every label for every text.

        Args:
            texts: as in `predict`.
            on_error: `raise` refuses an item as in `predict`, `skip` gives a row of NaN for it.

        Returns:
            float32 [texts, labels], the columns in the order of `labels`; each row adds up to 1, unless the classifier
            is multi-label.

        Raises:
            TextError: `texts` is one string, or an item of it is no text.
            LimitError: an item of it is beyond the graph's limits.

        Example:
            >>> Classifier.load("ag_news").predict_proba(["Oil prices rise again"]).shape
            (1, 4)
        """
        return self._answers.probabilities(self.logits(texts, on_error=on_error))

    def predict_labels(
        self, texts: Iterable[Text], threshold: float | None = None, *, on_error: OnError = "raise"
    ) -> list[tuple[str, ...]]:
        """Every label of every text that reaches its threshold: what a multi-label classifier is asked for.

        Of a classifier of which one label is right, that is the likeliest label, or none: "none of these".

        Args:
            texts: as in `predict`.
            threshold: a probability, for all labels; None for the thresholds that the bundle keeps, or else 0.5.
            on_error: `raise` refuses an item as in `predict`, `skip` gives it no label.

        Returns:
            for each text its labels, in the order of `labels`; none, one or several.

        Raises:
            TextError: `texts` is one string, or an item of it is no text.
            LimitError: an item of it is beyond the graph's limits.

        Example:
            >>> Classifier.load("ag_news").predict_labels(["Oil prices rise again"], 0.5)
            [('Business',)]
        """
        return self._answers.labels_reached(self.predict_proba(texts, on_error=on_error), threshold)

    def logits(self, texts: Iterable[Text], *, on_error: OnError = "raise") -> Floats:
        """The graph's own answers, before they are made probabilities.

        Args:
            texts: as in `predict`.
            on_error: `raise` refuses an item as in `predict`, `skip` gives a row of NaN for it.

        Returns:
            float32 [texts, labels], the columns in the order of `labels`.

        Raises:
            TextError: `texts` is one string, or an item of it is no text.
            LimitError: an item of it is beyond the graph's limits.
            PocketRNNError: the graph fails, for instance because a text is too long for this machine's memory, or its
                logits are no probabilities (NaN or infinite).

        Example:
            >>> Classifier.load("ag_news").logits(["Oil prices rise again"]).argmax()
            2
        """
        return self._answers.joined(self._logits_of_chunks(texts, on_error))

    def embed(self, texts: Iterable[Text], *, on_error: OnError = "raise") -> Floats:
        """Numbers that stand for each text: what the graph computes before its last linear layer.

        Texts that the classifier finds alike have numbers that are near each other, by their cosine for one: for
        search, clusters, or a detector of texts unlike all others. They are of the graph whose logits are proven; the
        proof looks at them through the logits only. The graph of a bundle is opened a second time where they are first
        asked for; a packed file gives those of its own program, which are rounded where its products are of integers.

        Args:
            texts: as in `predict`.
            on_error: `raise` refuses an item as in `predict`, `skip` gives a row of NaN for it.

        Returns:
            float32 [texts, features]; [0, 0] where there is no text.

        Raises:
            InputError: the graph has no last linear layer that is given one row of numbers for each text, or is of
                onnxruntime's own format.
            TextError: `texts` is one string, or an item of it is no text.
            LimitError: an item of it is beyond the graph's limits.

        Example:
            >>> Classifier.load("ag_news").embed(["Oil prices rise again", "A cup final"]).shape
            (2, 192)
        """
        given = chunks(texts, self._ready, on_error=on_error, threads=self._workers.threads)
        work = partial(self._embedded, on_error=on_error)
        parts, skipped = [], 0
        for _, (part, left_out) in self._workers.mapped(work, given):
            parts.append(part)
            skipped += left_out
        self._warn_of_skipped(skipped)
        width = max((part.shape[1] for part in parts), default=0)
        # Of texts that were all passed over nobody knows how many numbers they would have.
        parts = [part if part.shape[1] else np.full((len(part), width), np.nan, np.float32) for part in parts]
        return np.concatenate([np.empty((0, width), np.float32), *parts])

    def _embedded(self, chunk: Chunk, on_error: OnError) -> tuple[Floats, int]:
        """float32 [texts, features], and how many of them were skipped, whose rows are NaN."""
        ids, lengths = self._encoder.encode_all(chunk.texts)
        refused = np.zeros(len(lengths), bool)
        if self._limits is not None:
            refused |= outside(self._limits, ids, lengths, self.manifest.text.rules.padding_id)
        if refused.any() and on_error == "raise":
            raise self._refusal_in(chunk, int(refused.argmax()))
        refused[chunk.skipped] = True
        kept = np.flatnonzero(~refused)
        found, costly = self._engine.embeddings(ids[np.repeat(~refused, lengths)], lengths[kept])
        if costly and on_error == "raise":
            raise self._refusal_in(chunk, int(kept[costly[0]]))
        refused[kept[costly]] = True
        embeddings = np.full((len(lengths), found.shape[1]), np.nan, np.float32)
        embeddings[kept] = found
        embeddings[refused] = np.nan
        return embeddings, int(refused.sum())

    def _logits_of_chunks(
        self, texts: Iterable[Text], on_error: OnError, *, warns: bool = True
    ) -> Generator[tuple[Floats, list[int]], None, None]:
        """Chunk by chunk, in order: the logits, and the indices of what was skipped, whose logits mean nothing."""
        total = 0
        given = chunks(texts, self._ready, on_error=on_error, threads=self._workers.threads)
        work = partial(self._logits_of, on_error=on_error)
        for _, (logits, skipped) in self._workers.mapped(work, given, self._stop):
            total += len(skipped)
            yield logits, skipped
        if warns:
            self._warn_of_skipped(total)

    def _warn_of_skipped(self, count: int) -> None:
        if count:
            kinds = ["that are no texts", *kinds_refused(self)]
            _log.warning("%s passed over %d items %s", self.name, count, ", or ".join(kinds))

    def _stop(self) -> None:
        if isinstance(self._engine, ReadsTexts):
            self._engine.stop()

    def _logits_of(self, chunk: Chunk, on_error: OnError) -> tuple[Floats, list[int]]:
        """float32 [texts, labels], and the indices of what was skipped, whose logits mean nothing."""
        strings = chunk.strings
        if strings is not None and self._reader is not None:
            logits, refused = self._reader.logits_of_texts(strings)
        else:
            logits, refused = self._logits_within(*self._encoder.encode_all(chunk.texts))
        if not refused:
            self._answers.check_finite(logits)
            return logits, chunk.skipped
        if on_error == "raise":
            raise self._refusal_in(chunk, refused[0])
        logits[refused] = 0
        self._answers.check_finite(logits)
        # An item that is no text stands there as an empty one, which may be refused.
        return logits, sorted({*chunk.skipped, *refused})

    def _logits_within(self, ids: Ids, lengths: Ids) -> Answered:
        """The logits of ids; refused are also those beyond the limits."""
        if self._limits is None:
            return self._engine.logits(ids, lengths)
        beyond = outside(self._limits, ids, lengths, self.manifest.text.rules.padding_id)
        if not beyond.any():
            return self._engine.logits(ids, lengths)
        within = np.flatnonzero(~beyond)
        logits = np.zeros((len(lengths), len(self.labels)), np.float32)
        logits[within], refused = self._engine.logits(ids[np.repeat(~beyond, lengths)], lengths[within])
        return Answered(logits, sorted({*np.flatnonzero(beyond).tolist(), *within[refused].tolist()}))

    def _refusal_in(self, chunk: Chunk, index: int) -> LimitError:
        """Why a text of a chunk is refused, with its position among all."""
        text = f"The text at position {chunk.first + index} (counted from 0)"
        return among(self._refusal(chunk.texts[index]), text, SKIP_THEM)

    def _refusal(self, text: Text) -> LimitError:
        """Why a text is refused, as `classify` says it: a string, its tokens, or ids that were checked."""
        try:
            if isinstance(text, str):
                self._logits_of_string(text)
            else:
                ids = text if text and isinstance(text[0], int) else self._ready.ids(text)
                self._logits_of_row(np.array([ids], np.int64))
        except LimitError as error:
            return error
        return too_costly(self.name)

    def __reduce__(self) -> tuple[Any, ...]:
        return _loaded_again, (self._folder, self._workers.threads, self._options, self._ready.tokenizer)

    def __repr__(self) -> str:
        return f"<Classifier {self.name!r}: {len(self.labels)} labels>"


def logits_of_batches(
    classifier: Classifier, batches: Iterable[list[str]], *, on_error: OnError = "raise"
) -> Generator[Floats, None, None]:
    """The logits of one list of texts after the other, computed lazily, only a few lists ahead.

    This is for texts that come in batches with something else, such as the rows that they stand in. Batches of some
    thousand texts suit best; a classifier of several threads works on as many batches at once.

    Args:
        classifier: who answers.
        batches: lists of strings, which may be empty.
        on_error: `raise` refuses a text beyond the graph's limits, `skip` gives a row of NaN for it.

    Yields:
        float32 [texts of the batch, labels], the columns in the order of `classifier.labels`.

    Raises:
        TextError: an item of a batch is not a string; it is named by its position in all batches.
        LimitError: a text is beyond the graph's limits; likewise.
        PocketRNNError: as `Classifier.logits`.

    Example:
        >>> [logits.shape for logits in logits_of_batches(Classifier.load("ag_news"), [["Oil"], ["Cup", "Final"]])]
        [(1, 4), (2, 4)]
    """
    work = partial(classifier._logits_of, on_error=on_error)
    for _, (logits, skipped) in classifier._workers.mapped(work, checked_batches(batches, classifier._ready)):
        logits[skipped] = np.nan
        yield logits


def logits_of_ids(classifier: Classifier, rows: Sequence[Sequence[int] | Ids]) -> Floats:
    """The logits of texts that are ids already, put into runs as `Classifier.logits` puts them.

    Args:
        classifier: who answers.
        rows: the ids of each text, at least one; none of these beyond the graph's limits.

    Returns:
        float32 [texts, labels].

    Raises:
        LimitError: a text is not answered by the native engine, which allows no more work or larger whole numbers.
        PocketRNNError: as `Classifier.logits`.

    Example:
        >>> classifier = Classifier.load("ag_news")
        >>> logits_of_ids(classifier, [classifier.encode("Oil prices")]).shape
        (1, 4)
    """
    lengths = np.array([len(row) for row in rows], np.int64)
    logits, refused = classifier._engine.logits(np.concatenate([np.asarray(row, np.int64) for row in rows]), lengths)
    if refused:
        raise classifier._refusal([int(one) for one in rows[refused[0]]])
    classifier._answers.check_finite(logits)
    return logits


def kinds_refused(classifier: Classifier) -> list[str]:
    """What is wrong with texts that are passed over, as ends of a sentence.

    Example:
        >>> kinds_refused(Classifier.load("news.prnn"))
        ['too costly, or of too large whole numbers, for the file']
    """
    limits, reads = classifier.manifest.graph.limits, isinstance(classifier._engine, ReadsTexts)
    own = ["too costly, or of too large whole numbers, for the file"] if reads else []
    return [*([] if limits is None else kinds_outside(limits)), *own]


def logits_until_refused(classifier: Classifier, texts: Sequence[Text]) -> tuple[Floats, LimitError | None]:
    """The logits of texts up to the first that is refused, and why that is, as `classify` says it.

    Args:
        classifier: who answers.
        texts: strings, or lists of tokens or ids.

    Returns:
        float32 [texts before it, labels], and the error; None where all are answered.

    Example:
        >>> logits, error = logits_until_refused(classifier, ["oil prices", "oil " * 500])
        >>> len(logits), error.problem
        (1, 'The text becomes 500 token ids, but news takes at most 300.')
    """
    parts = [np.empty((0, len(classifier.labels)), np.float32)]
    for logits, skipped in classifier._logits_of_chunks(texts, "skip", warns=False):
        if skipped:
            parts.append(logits[: skipped[0]])
            answered = np.concatenate(parts)
            return answered, classifier._refusal(texts[len(answered)])
        parts.append(logits)
    return np.concatenate(parts), None


def refusal(classifier: Classifier, text: Text) -> LimitError:
    """Why a text is refused that was passed over with on_error='skip', as `classify` says it.

    Example:
        >>> refusal(classifier, "oil " * 500).problem
        'The text becomes 500 token ids, but news takes at most 300.'
    """
    return classifier._refusal(text)


def graph_metadata(classifier: Classifier) -> Mapping[str, str]:
    """What the graph of a classifier says of itself (in an ONNX file, `metadata_props`).

    Example:
        >>> graph_metadata(Classifier.load("ag_news"))["pocketrnn.name"]
        'ag_news'
    """
    return classifier._engine.metadata


def _loaded_again(folder: Path, threads: int, options: Options, tokenizer: Tokenizer | None) -> Classifier:
    return Classifier.load(
        folder,
        threads=threads,
        max_batch_tokens=options.max_batch_tokens,
        providers=options.providers,
        trust=options.trust,
        tokenizer=tokenizer,
    )


def _refuse_range(out_of_range: str | None) -> None:
    if out_of_range is not None:
        raise InputError("out_of_range is of sequences of numbers, and the bundle takes texts.", "Leave it out.")
