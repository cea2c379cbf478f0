"""A conditional random field (CRF) over the labels of a sentence's words.

It is trained together with the layers below it.

Lafferty, McCallum and Pereira, "Conditional random fields", 2001. The runtime decodes: `pocketrnn.bundle.crf`.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pocketrnn.bundle.crf import Crf

__all__ = ["CrfLayer"]

# The first score of an order of labels that cannot be. It is far below what logits make up for, and a probability of
# such an order is still a number above 0.
_RULED_OUT: Final = -100.0
_LEAST: Final = 1e-300


class CrfLayer(nn.Module):
    """A layer with the trainable scores of a CRF: of labels that follow each other, begin a sentence, or end it.

    A sequence consists of the words of a sentence, each represented by its first piece.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.start, self.end = nn.Parameter(torch.zeros(classes)), nn.Parameter(torch.zeros(classes))
        self.transitions = nn.Parameter(torch.zeros(classes, classes))

    @property
    def crf(self) -> Crf:
        """The scores of this layer as a `Crf` of the runtime."""
        start, end, transitions = (
            scores.detach().double().cpu().tolist() for scores in (self.start, self.end, self.transitions)
        )
        return Crf(tuple(start), tuple(end), tuple(map(tuple, transitions)), over_tokens=True)

    def forbid_orders(self, forbidden: npt.NDArray[np.bool_]) -> None:
        """Give forbidden orders of labels a very low score before the training; all other orders get the score 0.

        Args:
            forbidden: bool [1 + classes, classes]. Row 0 says which labels the first word cannot have; row 1 + i,
                which labels cannot follow label i.
        """
        scores = torch.from_numpy(forbidden) * _RULED_OUT
        with torch.no_grad():
            self.start.copy_(scores[0])
            self.transitions.copy_(scores[1:])

    def compute_summed_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Compute the negative log probability of the right labels, summed over sentences; float32 [].

        Args:
            logits: float32 [batch, sequence, classes].
            targets: int64 [batch, sequence], the right labels; negative for a step without a label. Each row has at
                least one label.
        """
        words = (targets >= 0).sum(1)
        # The steps with a target come first, in their order.
        order = (targets < 0).byte().argsort(dim=1, stable=True)[:, : int(words.max())]
        logits = logits.float().gather(1, order.unsqueeze(2).expand(-1, -1, logits.size(2)))
        targets = targets.gather(1, order)
        is_word, labels = targets >= 0, targets.clamp_min(0)
        own = logits.gather(2, labels.unsqueeze(2)).squeeze(2)
        own[:, 1:] += self.transitions[labels[:, :-1], labels[:, 1:]]
        last = labels.gather(1, words.unsqueeze(1) - 1).squeeze(1)
        scores = (own * is_word).sum(1) + self.start[labels[:, 0]] + self.end[last]
        return (self._compute_log_sums_of_all_orders(logits, is_word) - scores).sum()

    def _compute_log_sums_of_all_orders(self, logits: Tensor, is_word: Tensor) -> Tensor:
        """Compute the log sum exp of the scores of all orders of labels, float32 [batch], by the forward algorithm."""
        sums = logits[:, 0] + self.start
        for i in range(1, logits.size(1)):
            longer = (sums.unsqueeze(2) + self.transitions).logsumexp(1) + logits[:, i]
            sums = torch.where(is_word[:, i : i + 1], longer, sums)
        return (sums + self.end).logsumexp(1)

    def decode_words_as_log_probabilities(self, logits: Tensor, word_counts: npt.NDArray[np.int64]) -> Tensor:
        """Decode the label of each word with the CRF; return the log probabilities of all labels.

        The decoded label has the largest log probability of its word, so that callers can use the result as logits. If
        another label is likelier, the probabilities of the two are exchanged.

        Args:
            logits: float32 [words of all sentences, classes].
            word_counts: int64 [sentences], the number of words of each.

        Returns:
            float32 [words of all sentences, classes].
        """
        crf, found = self.crf, []
        for part in np.split(logits.double().numpy(), np.cumsum(word_counts)[:-1]):
            answers, rows = crf.probabilities(part), np.arange(len(part))
            labels, likeliest = crf.decode_labels(part), answers.argmax(1)
            answers[rows, labels], answers[rows, likeliest] = answers[rows, likeliest], answers[rows, labels]
            found.append(answers)
        return torch.from_numpy(np.log(np.concatenate(found).clip(_LEAST)).astype(np.float32))
