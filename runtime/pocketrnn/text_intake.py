"""Texts as a classifier is given them: checked, made ids within the limits, and answered by the engine."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator

import numpy as np

from pocketrnn.answers import Answers
from pocketrnn.bundle.manifest import Manifest
from pocketrnn.bundle.refused_texts import SKIP_THEM, kinds_outside, limit_error, outside, too_costly, with_text_named
from pocketrnn.engines.engine import Answered, Engine, Floats, Ids, ReadsTexts
from pocketrnn.errors import LimitError
from pocketrnn.text.checked_texts import Chunk, OnError, checked_batches, chunks
from pocketrnn.text.pretokenized import ReadyTexts, Text, Tokenizer

__all__ = ["TextIntake"]


class TextIntake:
    """Makes an engine's input of users' texts.

    Args:
        manifest: of a classifier of texts.
        engine: who answers ids; or texts, where it reads them itself.
        answers: what the logits mean.
        tokenizer: the caller's own, which splits every string; None for the bundle's.

    Attributes:
        ready: what makes ids of texts that are split already.
        encoder: what makes ids of strings.

    Raises:
        InputError: the tokenizer is not a function.
    """

    def __init__(
        self, manifest: Manifest, engine: Engine, answers: Answers, tokenizer: Tokenizer | None = None
    ) -> None:
        self._name, self._engine, self._answers = manifest.name, engine, answers
        self._limits = manifest.graph.limits
        self._padding_id = manifest.text.rules.padding_id
        self.encoder = manifest.text.encoder()
        self.ready = ReadyTexts(manifest.name, self.encoder, manifest.graph.embedding_rows, tokenizer)
        self._reader = self._reads(engine)

    def _reads(self, engine: Engine) -> ReadsTexts | None:
        """An engine that reads texts itself, where the class is not asked for ids."""
        return engine if isinstance(engine, ReadsTexts) and self.ready.splits else None

    def answered_by(self, engine: Engine, answers: Answers) -> TextIntake:
        """The same for another engine."""
        other = copy.copy(self)
        other._engine, other._answers, other._reader = engine, answers, self._reads(engine)
        return other

    def check_whole(self) -> None:
        """Refuse to answer for a text as a whole, where the labels are of its tokens; here they are not.

        Raises:
            InputError: they are.
        """

    def check_one_text(self, what: str) -> None:
        """Refuse what is asked of one text, where each answer is to two; here it is to one.

        Args:
            what: what is asked, as the subject of a sentence: `explain() takes`.

        Raises:
            InputError: it is to two.
        """

    def logits_of_one(self, text: object) -> list[float]:
        """The logits of one text.

        Raises:
            TextError: it is not a text.
            LimitError: it is beyond the limits.
        """
        if isinstance(text, str) and self.ready.splits:
            if self._reader is not None and (logits := self._reader.logits_of_text(text)) is not None:
                return logits
            return self._of_row(self.encoder.encode_row(text))
        return self._of_row(np.array([self.ready.ids(text)], np.int64))

    def _of_row(self, tokens: Ids) -> list[float]:
        """The logits of int64 [1, tokens]."""
        if self._limits is not None and not self._limits.take(tokens[0], self._padding_id):
            raise limit_error(self._name, self._limits, tokens.shape[1])
        return self._engine.logits_of_one(tokens)

    def chunks(self, texts: Iterable[Text], on_error: OnError, threads: int) -> Iterable[Chunk]:
        """Texts, checked and shared out; see `pocketrnn.text.checked_texts.chunks`."""
        return chunks(texts, self.ready, on_error=on_error, threads=threads)

    def batches(self, batches: Iterable[list[str]]) -> Iterator[Chunk]:
        """Lists of texts, each checked as one chunk."""
        return checked_batches(batches, self.ready)

    def logits(self, chunk: Chunk, on_error: OnError) -> tuple[Floats, list[int]]:
        """float32 [texts, labels], and the indices of what was skipped, whose logits mean nothing.

        Raises:
            LimitError: a text is beyond the limits, where errors are raised.
        """
        strings = chunk.strings
        if strings is not None and self._reader is not None:
            logits, refused = self._reader.logits_of_texts(strings)
        else:
            logits, refused = self._within(*self.encoder.encode_all(chunk.texts))
        if not refused:
            self._answers.check_finite(logits)
            return logits, chunk.skipped
        if on_error == "raise":
            raise self._refusal_in(chunk, refused[0])
        logits[refused] = 0
        self._answers.check_finite(logits)
        # An item that is not a text stands there as an empty one, which may be refused.
        return logits, sorted({*chunk.skipped, *refused})

    def _within(self, ids: Ids, lengths: Ids) -> Answered:
        """The logits of ids; refused are also those beyond the limits."""
        if self._limits is None:
            return self._engine.logits(ids, lengths)
        beyond = outside(self._limits, ids, lengths, self._padding_id)
        if not beyond.any():
            return self._engine.logits(ids, lengths)
        within = np.flatnonzero(~beyond)
        logits = np.zeros((len(lengths), len(self._answers.labels)), np.float32)
        logits[within], refused = self._engine.logits(ids[np.repeat(~beyond, lengths)], lengths[within])
        return Answered(logits, sorted({*np.flatnonzero(beyond).tolist(), *within[refused].tolist()}))

    def embeddings(self, chunk: Chunk, on_error: OnError) -> tuple[Floats, list[int]]:
        """float32 [texts, features], and the indices of what was skipped, whose rows are NaN.

        Raises:
            LimitError: a text is beyond the limits, where errors are raised.
        """
        ids, lengths = self.encoder.encode_all(chunk.texts)
        refused = np.zeros(len(lengths), bool)
        if self._limits is not None:
            refused |= outside(self._limits, ids, lengths, self._padding_id)
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
        return embeddings, np.flatnonzero(refused).tolist()

    def _refusal_in(self, chunk: Chunk, index: int) -> LimitError:
        """Why a text of a chunk is refused, with its position among all."""
        text = f"The text at position {chunk.first + index} (counted from 0)"
        return with_text_named(self.refusal(chunk.texts[index]), text, SKIP_THEM)

    def refusal(self, text: Text) -> LimitError:
        """Why a text is refused, as `one` says it: a string, its tokens, or ids that were checked."""
        try:
            if isinstance(text, str) or not (text and isinstance(text[0], int)):
                self.logits_of_one(text)
            else:
                self._of_row(np.array([text], np.int64))
        except LimitError as error:
            return error
        return too_costly(self._name)

    @property
    def kinds_refused(self) -> list[str]:
        """The faults of texts that are passed over though they are texts, as ends of a sentence."""
        reads = isinstance(self._engine, ReadsTexts)
        limits = [] if self._limits is None else kinds_outside(self._limits)
        return [*limits, *(["too costly, or of too large whole numbers, for the file"] if reads else [])]

    @property
    def kinds_skipped(self) -> list[str]:
        """The faults of items that are passed over, as ends of a sentence."""
        return ["that are not texts", *self.kinds_refused]

    def stop(self) -> None:
        """End what the engine does for other threads."""
        if isinstance(self._engine, ReadsTexts):
            self._engine.stop()
