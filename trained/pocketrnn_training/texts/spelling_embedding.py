"""An embedding for training in which words with similar spelling share rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import embedding_bag

__all__ = ["SpelledEmbedding", "Spelling"]

# The lengths of fragments, as in fastText, which goes up to 6.
_SHORTEST: Final = 3
_LONGEST: Final = 5
# A fragment of only one word would learn the same as the word's own row.
_FEWEST_WORDS: Final = 2
# A longer word is cut after this many characters.
_MOST_CHARACTERS: Final = 64


@dataclass(frozen=True)
class Spelling:
    """The fragments of each word of a vocabulary: its character n-grams of length 3 to 5, with marks at both ends.

    Attributes:
        fragments: int64, the numbers of the fragments of all words, one word after the other.
        offsets: int64 [words + 1], the position where the fragments of each word begin.
        size: the number of different fragments.
    """

    fragments: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    size: int

    @classmethod
    def from_vocabulary(cls, vocabulary: Sequence[str], first_word_id: int) -> Spelling:
        """Find the fragments (character n-grams) that at least two words of a vocabulary share.

        Args:
            vocabulary: the tokens, in the order of their ids.
            first_word_id: the first id of a word; the special tokens before it have no fragments.
        """
        of_words = [_list_fragments(word) if i >= first_word_id else [] for i, word in enumerate(vocabulary)]
        words = Counter(fragment for fragments in of_words for fragment in fragments)
        kept = sorted(fragment for fragment, count in words.items() if count >= _FEWEST_WORDS)
        number_of = {fragment: number for number, fragment in enumerate(kept)}
        numbers = [[number_of[fragment] for fragment in fragments if fragment in number_of] for fragments in of_words]
        offsets = np.cumsum([0, *map(len, numbers)], dtype=np.int64)
        return cls(np.array([n for some in numbers for n in some], dtype=np.int64), offsets, len(kept))


class SpelledEmbedding(nn.Embedding):
    """An embedding in which the vector of a word is its own row plus the mean of the rows of its fragments.

    Rare words then learn from other words with similar spelling (Bojanowski et al., "Enriching word vectors with
    subword information", 2017, use the sum, not the mean). After training, `fold_embedding` makes an ordinary embedding
    of it.

    Attributes:
        fragments: float32 [fragments, embedding_dim], the rows of the fragments. They start at 0, so that a word starts
            from its own row, such as a word vector.
    """

    _of_words: Tensor
    _offsets: Tensor

    def __init__(self, words: nn.Embedding, spelling: Spelling) -> None:
        """Make the embedding from the rows of the ordinary embedding `words`, and from the fragments of each word."""
        weight = words.weight.detach()
        super().__init__(words.num_embeddings, words.embedding_dim, sparse=words.sparse, _weight=weight)
        self.fragments = nn.Parameter(weight.new_zeros(spelling.size, words.embedding_dim))
        # Not stored: they follow from the vocabulary, and a resumed run makes them again.
        self.register_buffer("_of_words", torch.from_numpy(spelling.fragments), persistent=False)
        self.register_buffer("_offsets", torch.from_numpy(spelling.offsets), persistent=False)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """Look up the vectors of token ids: int64 [...] -> float32 [..., embedding_dim]."""
        # Most tokens of a batch are the same few words.
        ids, places = torch.unique(input, return_inverse=True)
        return super().forward(input) + self._average_fragments(ids)[places]

    @torch.no_grad()
    def fold_embedding(self) -> Tensor:
        """Compute the weight of an ordinary embedding that gives the same vectors, float32 [words, embedding_dim]."""
        return self.weight + self._average_fragments(torch.arange(self.num_embeddings, device=self.weight.device))

    def _average_fragments(self, ids: Tensor) -> Tensor:
        """Compute the mean row of the fragments of each word, float32 [ids, embedding_dim]."""
        begin = self._offsets[ids]
        counts = self._offsets[ids + 1] - begin
        before = counts.cumsum(0) - counts
        places = torch.arange(int(counts.sum()), device=ids.device) + (begin - before).repeat_interleave(counts)
        return embedding_bag(self._of_words[places], self.fragments, before, mode="mean", sparse=self.sparse)


def _list_fragments(word: str) -> list[str]:
    """List the character n-grams of length 3 to 5 of a word with marks at both ends, sorted: "<go", "good", ..."""
    marked = f"<{word[:_MOST_CHARACTERS]}>"
    sizes = range(_SHORTEST, _LONGEST + 1)
    return sorted({marked[i : i + size] for size in sizes for i in range(len(marked) - size + 1)})
