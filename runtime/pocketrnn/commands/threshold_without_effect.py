"""Describe thresholds that change no answer: the likeliest label of a text always reaches them."""

from __future__ import annotations

from collections.abc import Sequence

from pocketrnn.errors import short_repr


def describe_threshold_without_effect(thresholds: Sequence[float], labels: Sequence[str]) -> str:
    """Return the end of a sentence that says why thresholds change no answer: the likeliest label always reaches them.
    The sentence begins with the option for the thresholds. Return an empty string if the thresholds have an effect.

    Args:
        labels: the labels of a classifier that gives each text exactly one label.

    Example:
        >>> describe_threshold_without_effect([0.2], ["ham", "spam"])[:60]
        "changes no answer, since the likelier label of 'ham', 'spam'"
    """
    if max(thresholds) * len(labels) >= 1 or len(labels) < 2:
        return ""
    if len(labels) == 2:
        (first, second), number = (short_repr(one, 40) for one in labels), max(thresholds)
        return (
            f"changes no answer, since the likelier label of {first}, {second} always has 0.5 or more. For a bundle "
            f"that gives {second} from {number:g} on, export with --thresholds {1 - number:g},{number:g}."
        )
    return f"changes no answer, since the likeliest of {len(labels)} labels always has {1 / len(labels):.2g} or more."
