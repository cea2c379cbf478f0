"""Check and encode users' texts, and run the engine on them."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator

import numpy as np

from pocketrnn.bundle.manifest import Manifest
from pocketrnn.bundle.texts_beyond_limits import (
    SKIP_THEM,
    add_text_name_to_error,
    list_possible_limit_faults,
    make_engine_memory_or_time_error,
    make_limit_error,
    mark_texts_beyond_limits,
)
from pocketrnn.engines.engine import Engine, EngineAnswer, Floats, Ids, TextEngine
from pocketrnn.errors import InputError, LimitError
from pocketrnn.predictions_from_logits import Answers, LogitsAndSkipped
from pocketrnn.text.chunks_of_checked_texts import Chunk, OnError, check_batches, divide_into_chunks
from pocketrnn.text.text_row_encoder import Text, TextRowEncoder, Tokenizer

__all__ = ["TextIntake"]


class TextIntake:
    """Converts users' texts to the engine's input, and runs the engine on it.

    Args:
        engine: the engine that answers ids; or texts, if it is a `TextEngine`.
        answers: turns logits into labels and probabilities.
        tokenizer: the caller's own tokenizer, which splits every string; None for the bundle's.

    Attributes:
        row_encoder: encodes texts that are given as tokens or ids, or that the caller's tokenizer splits.
        encoder: encodes strings by the bundle's rules.

    Raises:
        InputError: the tokenizer is not a function.
    """

    # The items that the classifier takes, for messages.
    _item_kind = "texts"

    def __init__(
        self, manifest: Manifest, engine: Engine, answers: Answers, tokenizer: Tokenizer | None = None
    ) -> None:
        self._name, self._engine, self._answers = manifest.name, engine, answers
        self._limits = manifest.graph.limits
        self._padding_id = manifest.text.rules.padding_id
        # The number of feature marks before the ids of a text.
        self._marks = len(manifest.features)
        self.encoder = manifest.text.encoder()
        self.row_encoder = self._make_row_encoder(manifest, tokenizer)
        self._text_engine = self._choose_text_engine(engine)

    def _make_row_encoder(self, manifest: Manifest, tokenizer: Tokenizer | None) -> TextRowEncoder:
        """Make the object that encodes texts one by one. `tokenizer` is the caller's own tokenizer; None for the
        bundle's."""
        files = manifest.provenance.get("tokenizer_files")
        files = [one for one in files if isinstance(one, str)] if isinstance(files, list) else []
        return TextRowEncoder(manifest.name, self.encoder, manifest.graph.embedding_rows, tokenizer, files)

    def _choose_text_engine(self, engine: Engine) -> TextEngine | None:
        """Return the engine if it encodes texts itself, and strings are split by the bundle's rules; else None."""
        return engine if isinstance(engine, TextEngine) and self.row_encoder.splits else None

    def refuse_tokenizer_with_other_ids(self, manifest: Manifest) -> None:
        """Raise an InputError if the caller's tokenizer fails on a golden example, or gives it other ids than at the
        export. Only a bundle with an external tokenizer is checked."""
        if manifest.provenance.get("examples_split_by") != "function":
            return
        # The last two are made of the rules.
        examples = [one for one in manifest.golden_texts[:-2] if isinstance(one.text, str)]
        differ = [one for one in examples if tuple(self.row_encoder.encode_text(one.text)) != one.ids]
        if differ:
            raise InputError(
                f"The given tokenizer is not that of the export: {len(differ)} of the {len(examples)} golden examples "
                f"of {manifest.name} get other ids, such as {differ[0].shown[:60]!r}, which had the ids "
                f"{[*differ[0].ids[:8]]} at the export.",
                "Give the tokenizer function of the export, with the same vocabulary and settings.",
            )

    def copy_with_engine(self, engine: Engine, answers: Answers) -> TextIntake:
        """Return a copy of this object with another engine, and with other `Answers` for its logits."""
        other = copy.copy(self)
        other._engine, other._answers, other._text_engine = engine, answers, self._choose_text_engine(engine)
        return other

    def require_text_labels(self) -> None:
        """Do nothing: this classifier labels whole texts. For a classifier that labels tokens, `TagIntake` raises an
        InputError."""

    def compute_item_logits(self, text: object) -> list[float]:
        """Compute the logits of one text: a string, or a list of its tokens or ids.

        Raises:
            TextError: the argument is not a text.
            LimitError: the text has too few or too many tokens for the graph, or no known word where the graph needs
                one.
        """
        if isinstance(text, str) and self.row_encoder.splits:
            engine = self._text_engine
            if engine is not None and (logits := engine.compute_logits_of_text(text)) is not None:
                return logits
            return self._compute_logits_of_row(self.encoder.encode_row(text))
        return self._compute_logits_of_row(np.array([self.row_encoder.encode_text(text)], np.int64))

    def _compute_logits_of_row(self, tokens: Ids) -> list[float]:
        """Compute the logits of one text from its ids, int64 [1, tokens]. Raise a LimitError if the ids are beyond the
        graph's limits."""
        if self._limits is not None and not self._limits.accepts_ids(tokens[0], self._padding_id):
            raise make_limit_error(self._name, self._limits, tokens.shape[1] - self._marks)
        return self._engine.compute_item_logits(tokens)

    def divide_into_chunks(self, texts: Iterable[Text], on_error: OnError, threads: int) -> Iterable[Chunk]:
        """Check texts, and divide them into chunks for `threads` threads. With `on_error` "skip", replace an item that
        is not a text by an empty text."""
        return divide_into_chunks(texts, self.row_encoder, on_error=on_error, threads=threads)

    def check_batches(self, batches: Iterable[list[str]]) -> Iterator[Chunk]:
        """Check lists of texts, and make a chunk of each list."""
        return check_batches(batches, self.row_encoder)

    def compute_chunk_logits(self, chunk: Chunk, on_error: OnError) -> LogitsAndSkipped:
        """Compute the logits of a chunk, float32 [texts, labels]; also return the indices in the chunk of the skipped
        texts, whose rows of logits have no meaning. Raise a LimitError if a text is beyond the graph's limits, and
        `on_error` is `raise`."""
        strings = chunk.texts_if_all_strings
        if strings is not None and self._text_engine is not None:
            logits, refused = self._text_engine.logits_of_texts(strings)
        else:
            logits, refused = self._compute_logits_within_limits(*self.encoder.encode_all(chunk.texts))
        if not refused:
            self._answers.check_finite(logits)
            return logits, chunk.skipped
        if on_error == "raise":
            raise self._make_error_for_refused_text(chunk, refused[0])
        logits[refused] = 0
        self._answers.check_finite(logits)
        # An item that is not a text was replaced by an empty text, which may be refused.
        return logits, sorted({*chunk.skipped, *refused})

    def _compute_logits_within_limits(self, ids: Ids, lengths: Ids) -> EngineAnswer:
        """Compute the logits of encoded texts. Texts beyond the graph's limits are among the refused texts of the
        answer.

        Args:
            ids: int64 [ids of all texts], one text after the other.
            lengths: int64 [texts], how many ids each text has.
        """
        if self._limits is None:
            return self._engine.logits(ids, lengths)
        beyond = mark_texts_beyond_limits(self._limits, ids, lengths, self._padding_id)
        if not beyond.any():
            return self._engine.logits(ids, lengths)
        within = np.flatnonzero(~beyond)
        logits = np.zeros((len(lengths), len(self._answers.labels)), np.float32)
        logits[within], refused = self._engine.logits(ids[np.repeat(~beyond, lengths)], lengths[within])
        return EngineAnswer(logits, sorted({*np.flatnonzero(beyond).tolist(), *within[refused].tolist()}))

    def compute_chunk_embeddings(self, chunk: Chunk, on_error: OnError) -> tuple[Floats, list[int]]:
        """Compute the embeddings of a chunk, float32 [texts, features]; also return the indices in the chunk of the
        skipped texts, whose rows are NaN. Raise a LimitError if a text is beyond the graph's limits, and `on_error` is
        `raise`."""
        ids, lengths = self.encoder.encode_all(chunk.texts)
        refused = np.zeros(len(lengths), bool)
        if self._limits is not None:
            refused |= mark_texts_beyond_limits(self._limits, ids, lengths, self._padding_id)
        if refused.any() and on_error == "raise":
            raise self._make_error_for_refused_text(chunk, int(refused.argmax()))
        refused[chunk.skipped] = True
        kept = np.flatnonzero(~refused)
        found, costly = self._engine.embeddings(ids[np.repeat(~refused, lengths)], lengths[kept])
        if costly and on_error == "raise":
            raise self._make_error_for_refused_text(chunk, int(kept[costly[0]]))
        refused[kept[costly]] = True
        embeddings = np.full((len(lengths), found.shape[1]), np.nan, np.float32)
        embeddings[kept] = found
        embeddings[refused] = np.nan
        return embeddings, np.flatnonzero(refused).tolist()

    def _make_error_for_refused_text(self, chunk: Chunk, index: int) -> LimitError:
        """Make the error for the refused text at `index` in a chunk; the message has its position among all texts."""
        text = f"The text at position {chunk.first + index} (counted from 0)"
        return add_text_name_to_error(self.find_refusal_error(chunk.texts[index]), text, SKIP_THEM)

    def find_refusal_error(self, text: Text) -> LimitError:
        """Return the error that `compute_item_logits` would raise for a text that was refused.

        Args:
            text: a string, its tokens, or ids that were checked before.
        """
        try:
            if isinstance(text, str) or not (text and isinstance(text[0], int)):
                self.compute_item_logits(text)
            else:
                self._compute_logits_of_row(np.array([text], np.int64))
        except LimitError as error:
            return error
        return make_engine_memory_or_time_error(self._name)

    @property
    def refusal_reasons(self) -> list[str]:
        """The reasons for which a text may be refused although it is a string, each as the end of a sentence: "without
        a known word"."""
        has_limits_of_work = isinstance(self._engine, TextEngine)
        limits = [] if self._limits is None else list_possible_limit_faults(self._limits)
        return [
            *limits,
            *(["too costly for the native engine, or with integers beyond 32 bits"] if has_limits_of_work else []),
        ]

    @property
    def skip_reasons(self) -> list[str]:
        """The reasons for which an item may be skipped, each as the end of a sentence: "that are not texts"."""
        return [f"that are not {self._item_kind}", *self.refusal_reasons]

    def stop(self) -> None:
        """Stop the engine's work in all threads: the calls that run raise an error."""
        if isinstance(self._engine, TextEngine):
            self._engine.stop()
