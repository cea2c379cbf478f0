"""Pairs of texts as a classifier is given them: checked, made rows of ids, and answered by the engine."""

from __future__ import annotations

from typing import NoReturn

from pocketrnn.answers import Answers
from pocketrnn.bundle.manifest import Manifest
from pocketrnn.engines.engine import Engine
from pocketrnn.errors import InputError
from pocketrnn.text.encoder import TextEncoder
from pocketrnn.text.pairs import checked_pair, mark_of
from pocketrnn.text.pretokenized import ReadyTexts, Tokenizer
from pocketrnn.text_intake import TextIntake

__all__ = ["PairIntake"]


class PairIntake(TextIntake):
    """Makes an engine's input of users' pairs; the arguments are those of `TextIntake`.

    A question about one text is refused.
    """

    def __init__(
        self, manifest: Manifest, engine: Engine, answers: Answers, tokenizer: Tokenizer | None = None
    ) -> None:
        super().__init__(manifest, engine, answers, tokenizer)
        self.ready = _ReadyPairs(manifest, tokenizer)

    def check_one_text(self, what: str) -> NoReturn:
        """Refuse what is asked of one text.

        Raises:
            InputError: always.
        """
        raise InputError(f"{self._name} takes two texts, and {what} one.", "Use classify() or predict().")

    @property
    def kinds_skipped(self) -> list[str]:
        """The faults of items that are passed over, as ends of a sentence."""
        return ["that are not two texts", *self.kinds_refused]


class _ReadyPairs(ReadyTexts):
    """Makes ids of pairs, each of whose texts is a string, or a list of its tokens or ids."""

    def __init__(self, manifest: Manifest, tokenizer: Tokenizer | None) -> None:
        encoder = TextEncoder(manifest.text.rules, manifest.text.vocabulary)
        self._each = ReadyTexts(manifest.name, encoder, manifest.graph.embedding_rows, tokenizer)
        super().__init__(manifest.name, encoder, manifest.graph.embedding_rows, tokenizer)
        self._mark = mark_of(manifest.text.rules.padding_id)
        # No pair is left to the encoder: each becomes ids here.
        self.splits = False
        self.blank = [*encoder.encode_tokens([]), self._mark, *encoder.encode_tokens([])]

    def ids(self, pair: object, which: str = "The pair") -> list[int]:
        """The ids of one pair, with the mark between.

        Args:
            pair: two texts, each as `ReadyTexts.ids` takes it.
            which: which pair it is, as the begin of a sentence.

        Raises:
            TextError: it is no pair, or as `ReadyTexts.ids` says of one of its texts.
        """
        which = which.replace("The text", "The pair", 1)
        first, second = checked_pair(pair, which)
        of_which = which.replace("The pair", "of the pair", 1)
        return [
            *self._each.ids(first, f"The first text {of_which}"),
            self._mark,
            *self._each.ids(second, f"The second text {of_which}"),
        ]
