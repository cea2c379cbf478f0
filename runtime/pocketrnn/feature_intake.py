"""Check users' texts with features, encode them as rows of ids, and run the engine on them."""

from __future__ import annotations

from pocketrnn.bundle.manifest import Manifest
from pocketrnn.text.encoder import TextEncoder
from pocketrnn.text.features_beside_text import (
    check_text_with_features,
    encode_numbers_as_negative_ids,
    encode_values,
    make_example_values,
)
from pocketrnn.text.text_row_encoder import TextRowEncoder, Tokenizer
from pocketrnn.text_intake import TextIntake

__all__ = ["FeatureIntake"]


class FeatureIntake(TextIntake):
    """Converts texts with features to the engine's input, and runs the engine on it."""

    _item_kind = "texts with their features"

    def _make_row_encoder(self, manifest: Manifest, tokenizer: Tokenizer | None) -> TextRowEncoder:
        return _FeatureRowEncoder(manifest, tokenizer)


class _FeatureRowEncoder(TextRowEncoder):
    """Encodes texts with features as ids. A text is a string, or a list of tokens or ids."""

    def __init__(self, manifest: Manifest, tokenizer: Tokenizer | None) -> None:
        encoder = TextEncoder(manifest.text.rules, manifest.text.vocabulary)
        super().__init__(manifest.name, encoder, manifest.graph.embedding_rows, tokenizer)
        self._features = manifest.features
        # Texts with features are not left to the encoder: each is encoded here.
        self.splits = False
        example = encode_values(self._features, make_example_values(self._features))
        self.blank = [*encode_numbers_as_negative_ids(example).tolist(), *encoder.encode_tokens([])]

    def encode_text(self, item: object, text_name: str = "The text") -> list[int]:
        """Encode one text with its features as ids: first a negative id for each feature, which encodes the feature's
        value, and then the ids of the text.

        Args:
            item: a tuple of the text, which is a string or a list of tokens or ids, and a mapping from the features'
                names to their values.
            text_name: the name of the text in messages, as the beginning of a sentence.

        Raises:
            TextError: `item` is not such a tuple; the text rules refuse the text; or a feature is missing, unknown, or
                has an impossible value.
        """
        text, values = check_text_with_features(item, text_name)
        marks = encode_numbers_as_negative_ids(encode_values(self._features, values, text_name)).tolist()
        return [*marks, *super().encode_text(text, text_name)]
