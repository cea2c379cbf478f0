"""Check users' pairs of texts, encode them as rows of ids, and run the engine on them."""

from __future__ import annotations

from pocketrnn.bundle.manifest import Manifest
from pocketrnn.text.encoder import TextEncoder
from pocketrnn.text.pairs import check_pair, make_pair_mark
from pocketrnn.text.text_row_encoder import TextRowEncoder, Tokenizer
from pocketrnn.text_intake import TextIntake

__all__ = ["PairIntake"]


class PairIntake(TextIntake):
    """Converts pairs of texts to the engine's input, and runs the engine on it."""

    _item_kind = "two texts"

    def _make_row_encoder(self, manifest: Manifest, tokenizer: Tokenizer | None) -> TextRowEncoder:
        return _PairRowEncoder(manifest, tokenizer)


class _PairRowEncoder(TextRowEncoder):
    """Encodes pairs of texts as ids. Each text is a string, or a list of tokens or ids."""

    def __init__(self, manifest: Manifest, tokenizer: Tokenizer | None) -> None:
        encoder = TextEncoder(manifest.text.rules, manifest.text.vocabulary)
        super().__init__(manifest.name, encoder, manifest.graph.embedding_rows, tokenizer)
        self._mark = make_pair_mark(manifest.text.rules.padding_id)
        # Pairs are not left to the encoder: each is encoded here.
        self.splits = False
        self.blank = [*encoder.encode_tokens([]), self._mark, *encoder.encode_tokens([])]

    def encode_text(self, pair: object, text_name: str = "The pair") -> list[int]:
        """Encode one pair as ids: those of the first text, a negative id, and those of the second text.

        Args:
            pair: a tuple of two texts, each a string or a list of tokens or ids.
            text_name: the name of the pair in messages, as the beginning of a sentence.

        Raises:
            TextError: `pair` is not a pair of texts, or the text rules refuse one of its texts.
        """
        text_name = text_name.replace("The text", "The pair", 1)
        first, second = check_pair(pair, text_name)
        of_pair = text_name.replace("The pair", "of the pair", 1)
        return [
            *super().encode_text(first, f"The first text {of_pair}"),
            self._mark,
            *super().encode_text(second, f"The second text {of_pair}"),
        ]
