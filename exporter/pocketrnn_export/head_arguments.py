"""Read the argument `heads` of `export`, and refuse arguments that cannot be given with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pocketrnn.bundle.output_kinds import HeadsOutput, LabelOutput
from pocketrnn.errors import InputError, short_repr
from pocketrnn_export.bundle_description import make_label_output


def make_heads_output(heads: Mapping[str, Sequence[str] | LabelOutput], *, multi_label: bool = False) -> HeadsOutput:
    """Make the output of a classifier with several heads.

    Args:
        heads: the labels of each head by its name, or its whole output: `LabelOutput(labels, "sigmoid", thresholds)`.
        multi_label: whether a text can have any number of the labels of a head that is given as labels alone.

    Raises:
        InputError: as `make_label_output`, of any head; or there are fewer than two.
    """
    if not isinstance(heads, Mapping):
        raise InputError(
            f"heads is {short_repr(heads, 40)}, which is not a dict.",
            'Give the labels of each head by its name: heads={"topic": ["oil", "cup"], "mood": ["bad", "good"]}.',
        )
    made = {}
    for name, given in heads.items():
        try:
            if isinstance(given, LabelOutput):
                several = given.activation == "sigmoid"
                made[name] = make_label_output(given.labels, given.thresholds, given.priors, multi_label=several)
            else:
                made[name] = make_label_output(given, None, multi_label=multi_label)
        except (InputError, TypeError) as error:
            problem, remedy = ("its labels are not a list", "Give a list of names.")
            if isinstance(error, InputError):
                problem, remedy = f"{error.problem[0].lower()}{error.problem[1:].rstrip('.')}", error.remedy
            raise InputError(f"The head {short_repr(name, 40)}: {problem}.", remedy) from None
    return HeadsOutput(made)


def refuse_arguments_with_heads(
    *,
    labels: Sequence[str] | None,
    labels_of: str,
    thresholds: Sequence[float] | None,
    two_texts: bool,
    streaming: bool,
) -> None:
    """Refuse arguments of `export` that a classifier with several heads cannot have."""
    if labels is not None:
        raise InputError(
            "Both labels and heads are given.",
            "Leave labels out if the module has several heads, else leave heads out.",
        )
    if thresholds is not None:
        raise InputError(
            "The argument thresholds does not say which head the thresholds are for.",
            'Give them with the labels of their head: heads={"mood": LabelOutput(labels, "sigmoid", thresholds), ...}.',
        )
    if labels_of != "texts":
        raise InputError(
            "Heads label texts, but labels_of is tokens.",
            "Export the labels of tokens by themselves: labels=[...], labels_of='tokens'.",
        )
    if two_texts:
        raise InputError(
            "The module takes two texts, but a module with heads takes one.",
            "Export each head by itself: labels=[...], call=... and two_texts=True.",
        )
    if streaming:
        raise InputError("A bundle with several heads has no step graph for streams.", "Leave streaming out.")
