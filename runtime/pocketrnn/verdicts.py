"""The verdicts on a bundle: on its graph, on its text rules or scale, and on its arithmetic with integers.

A graph can be proven equal to a module while every text is split into other words than in training. So the verdicts are
always separate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, cast

from pocketrnn.bundle.manifest import IN_OWN_PRECISION, ROUNDED, Comparison, Manifest
from pocketrnn.bundle.output_kinds import decides_between_two_labels
from pocketrnn.errors import short_repr
from pocketrnn.text import EXTERNAL, TextRules

__all__ = [
    "COMPRESSED",
    "LOGGER",
    "SCALE",
    "TEXT_RULES",
    "AnswerComparison",
    "IntegerVerdict",
    "TextVerdict",
    "describe_graph_proof",
    "describe_origin_of_number_scale",
    "describe_uncompared_steps",
    "find_graph_name_in_proof",
    "read_integer_verdict",
    "read_text_verdict",
]

# The proof's name for the graph of a compressed bundle; "onnx" is the graph that it was made from.
COMPRESSED: Final = "compressed"
# The member of provenance that states what the text rules were compared with.
TEXT_RULES: Final = "text_rules"
# The member of provenance of a classifier of numbers that states where mean and scale come from.
SCALE: Final = "scale"
_HOW_TO_COMPARE: Final = (
    "Export it again with texts and the ids that your pipeline gives: pocketrnn export ... --pairs FILE"
)
_HOW_TO_COMPARE_TOKENS: Final = (
    "Export it again with texts, the tokens that your code makes of them, and your classifier's answers: pocketrnn "
    "export ... --pairs FILE"
)
_HOW_TO_ORDER: Final = (
    "Export it again with texts whose answers are these labels, or with the probability of each label by its name: "
    "pocketrnn export ... --pairs FILE"
)
# How many labels a sentence names.
_NAMED: Final = 6
# The owner's function shows less than ids.
_WITHOUT_IDS: Final = ("tokens", "strings")
# The exporter's messages about a bundle that it has written go to this logger.
LOGGER: Final = "pocketrnn_export.verdicts"
_LIBRARIES: Final = ("tokenizers", "sentencepiece")
# A bundle may come from a stranger: only these sources are repeated in a sentence.
_SOURCES: Final = (
    *("a tokenizer.json", "a .model of sentencepiece", "BERT's vocab.txt", "a vocab.json and a merges.txt"),
)
_FLOAT64: Final = ", float64"


@dataclass(frozen=True)
class AnswerComparison:
    """The comparison of the bundle's answers with the answers that its owner's classifier gave to the same texts.

    Attributes:
        labels: on how many texts the labels were compared; these texts may also count in `probabilities`.
        probabilities: on how many texts the probabilities were compared.
        largest_difference: the largest difference of a probability.
        tolerance: the largest difference of a probability that is allowed. A compared label may be this much less
            probable than the likeliest label.
        unordered: labels that could be exchanged without a contradiction to these answers: the answers do not show
            their order.
        is_before: whether weights were rounded, or integer arithmetic was introduced, after this comparison.
        texts: how many texts were compared; 0 if this is not known.
        by_thresholds: whether the labels are those that the thresholds of the bundle decide between two labels.
        of_likeliest: whether only the likeliest labels were compared, because a text may have several labels but the
            owner's answers have only the likeliest one.
    """

    labels: int
    probabilities: int
    largest_difference: float
    tolerance: float
    unordered: tuple[str, ...] = ()
    is_before: bool = False
    texts: int = 0
    by_thresholds: bool = False
    of_likeliest: bool = False

    @property
    def document(self) -> dict[str, Any]:
        """The comparison as the member `answers` of the text rules in the provenance."""
        left_out = {"is_before", "by_thresholds"} | (set() if self.of_likeliest else {"of_likeliest"})
        stated = {name: value for name, value in asdict(self).items() if name not in left_out}
        return {**stated, "unordered": list(self.unordered)}

    @property
    def sentence(self) -> str:
        """The comparison in one or more sentences: on how many texts the answers agree, and what the answers do not
        show."""
        near = f"probabilities within {self.tolerance:g}, at most {self.largest_difference:.1e} apart"
        same = "the same likeliest label" if self.of_likeliest else "the same labels"
        same += " by the bundle's thresholds" if self.by_thresholds else ""
        compared = [(self.labels, same), (self.probabilities, near)]
        # Some texts may have a label, and as many others probabilities.
        if self.labels == self.probabilities == self.texts:
            compared = [(self.texts, f"{same} and {near}")]
        (first, equal), *second = [(number, equal) for number, equal in compared if number]
        found = [
            f"On {_format_text_count(first)} {self._words_of_agreement}: {equal}"
            + "".join(f"; on {_format_text_count(number)}: {also}" for number, also in second)
            + "."
        ]
        if self.unordered:
            named = ", ".join(short_repr(label, 40) for label in self.unordered[:_NAMED])
            named += f" and {len(self.unordered) - _NAMED:,} more" if len(self.unordered) > _NAMED else ""
            found.append(f"These answers do not show the order of {named}: that was not compared.")
        return " ".join(found)

    @property
    def _words_of_agreement(self) -> str:
        """The part of a sentence that says that the bundle answers like the owner's classifier."""
        return "it answered as your classifier before its numbers were rounded" if self.is_before else (
            "it answers as your classifier"
        )  # fmt: skip


def _format_text_count(number: int) -> str:
    """Return a number of texts in words: "1 text", "2,000 texts"."""
    return "1 text" if number == 1 else f"{number:,} texts"


@dataclass(frozen=True)
class TextVerdict:
    """The verdict on the text rules: whether they were compared with the pipeline of the classifier's owner, and how.

    Attributes:
        kind: `compared`: the rules were compared with the owner's pipeline on some texts. `trained`: pocketrnn trained
            the classifier with these rules. `external`: the owner's code splits the texts. `read`: the rules were read
            from a tokenizer's file. `not compared`: none of these, or the bundle does not say.
        texts: how many texts were compared; 0 if none were.
        by: what the rules were compared with: `ids` of the owner's pipeline; `tokens` of the owner's tokenizer;
            `strings` of the owner's tokenizer, in which the tokens stand between white space or are characters;
            `answers` of the owner's classifier to texts without ids; or the name of the library that reads the
            tokenizer's file.
        source: the kind of file of `read` rules, such as "a tokenizer.json".
        answers: the comparison with the owner's answers; None if they were not given.
        unknown_words: False if it is known that no compared text has a word that the vocabulary lacks.
    """

    kind: Literal["compared", "trained", "external", "read", "not compared"] = "not compared"
    texts: int = 0
    by: Literal["ids", "tokens", "strings", "answers", "tokenizers", "sentencepiece"] = "ids"
    source: str = ""
    answers: AnswerComparison | None = None
    unknown_words: bool = True

    @property
    def document(self) -> dict[str, Any]:
        """The verdict as the member `text_rules` of the provenance."""
        answers = {} if self.answers is None else {"answers": self.answers.document}
        if self.kind == "read":
            return {"verdict": self.kind, "source": self.source, "texts": self.texts, "by": self.by, **answers}
        if self.kind != "compared":
            return {"verdict": self.kind, **answers}
        unknown = {} if self.unknown_words else {"unknown_words": False}
        return {"verdict": self.kind, "texts": self.texts, "by": self.by, **unknown, **answers}

    @property
    def is_open(self) -> bool:
        """Whether a step from a text to its labels was not compared with the owner's pipeline. This is shown as a
        warning."""
        if self.answers is not None and self.answers.unordered:
            return True
        if self.kind == "read":
            return not self.texts
        return self.kind in ("not compared", "external") or (self.by in _WITHOUT_IDS and self.answers is None)

    @property
    def remedy(self) -> str:
        """What to do so that the missing step is compared, as a sentence without its full stop; empty if no step is
        missing."""
        if not self.is_open:
            return ""
        if self.kind == "read" and not self.texts:
            return f"Export it again where {self.by} is installed"
        if self.answers is not None and self.answers.unordered:
            return _HOW_TO_ORDER
        return _HOW_TO_COMPARE_TOKENS if self.kind == "external" else _HOW_TO_COMPARE

    @property
    def sentence(self) -> str:
        """The verdict as the rest of a sentence that begins with "The text rules: ". Further sentences may follow."""
        return self._sentence_on_text_rules + ("" if self.answers is None else f" {self.answers.sentence}")

    @property
    def _sentence_on_text_rules(self) -> str:
        """The verdict without the comparison of answers, as the rest of a sentence that begins with "The text rules:
        "."""
        if self.kind == "trained":
            return "those that it was trained with."
        if self.kind == "external":
            return "texts are split by your code, and given as tokens or ids; that was not compared."
        if self.kind == "not compared":
            return "not compared with your pipeline."
        texts = _format_text_count(self.texts)
        if self.kind == "read" and not self.texts:
            return f"read from {self.source}; not compared with {self.by}, which is not installed here."
        if self.kind == "read":
            return f"read from {self.source}, and compared with {self.by} on {texts}: the same ids."
        known = "" if self.unknown_words else " None has a word that the vocabulary lacks: that was not compared."
        if self.by == "ids":
            return f"compared with your pipeline on {texts}: the same ids.{known}"
        if self.by == "answers":
            return f"compared with your pipeline on {texts}, by its answers.{known}"
        same = "the same tokens of the vocabulary" if self.by == "tokens" else (
            "the same tokens of the string that it gives"
        )  # fmt: skip
        rest = "The rest" if self.by == "tokens" else "Whether your code splits the string so"
        rest = "" if self.answers is not None else f" {rest} was not compared."
        return f"compared with your tokenizer on {texts}: {same}.{rest}"


def read_text_verdict(manifest: Manifest) -> TextVerdict:
    """Read the verdict on the text rules from a bundle's provenance. If the provenance states no valid verdict, the
    kind is `external` for the tokenizer `external`, and else `not compared`."""
    stated = manifest.provenance.get(TEXT_RULES)
    stated = stated if isinstance(stated, Mapping) else {}
    texts, by, answers = stated.get("texts"), stated.get("by"), _read_answer_comparison(stated.get("answers"), manifest)
    if stated.get("verdict") == "trained":
        return TextVerdict("trained")
    known = by in ("ids", *_WITHOUT_IDS) or (by == "answers" and answers is not None)
    if stated.get("verdict") == "compared" and type(texts) is int and texts > 0 and known:
        by = cast('Literal["ids", "tokens", "strings", "answers"]', by)
        return TextVerdict(
            "compared", texts, by, answers=answers, unknown_words=stated.get("unknown_words") is not False
        )
    source = stated.get("source")
    if (
        stated.get("verdict") == "read"
        and type(texts) is int
        and texts >= 0
        and by in _LIBRARIES
        and source in _SOURCES
    ):
        return TextVerdict("read", texts, by, source, answers)
    return TextVerdict("external", answers=answers) if manifest.text.rules.tokenizer == EXTERNAL else TextVerdict()


def describe_uncompared_steps(manifest: Manifest) -> list[str]:
    """Describe what a bundle does with long texts, unknown words and padding, in a sentence for each of these that was
    not compared with the owner's pipeline.

    Example:
        >>> describe_uncompared_steps(Classifier.load("ag_news").manifest)
        []
    """
    verdict, rules = read_text_verdict(manifest), manifest.text.rules
    if verdict.kind in ("trained", "read") or not isinstance(rules, TextRules):
        return []
    is_compared = verdict.kind == "compared" and verdict.by not in _WITHOUT_IDS
    cut, said = rules.max_width or rules.max_tokens, list[str]()
    if not is_compared and verdict.answers is None:
        side = "first" if rules.cut_side == "right" else "last"
        said.append(f"Long texts, not compared: {f'the {side} {cut} tokens' if cut else 'all tokens'} are read.")
    if not ((is_compared or verdict.answers is not None) and verdict.unknown_words):
        given = "dropped" if rules.unknown_id is None else f"given the id {rules.unknown_id}"
        said.append(f"Unknown words, not compared: {given}.")
    padding = manifest.provenance.get("padding")
    if not is_compared and verdict.answers is None and rules.min_width:
        said.append(f"Padding, not compared: on the {rules.pad_side} side, to {rules.min_width} tokens.")
    elif verdict.answers is None and isinstance(padding, Mapping) and not rules.min_width:
        change = max(padding.get("probability_after", 0), padding.get("probability_before", 0))
        said.append(
            f"Padding, not compared: none is added; with it, your module's probabilities change by up to {change}. "
            "If your code pads, say min_width, max_width and pad_side in --rules "
            "(docs/text-rules.md)."
        )
    return said


def _read_answer_comparison(stated: Any, manifest: Manifest) -> AnswerComparison | None:
    """Read the comparison with the owner's answers from the member `answers` of the provenance; None if it is not a
    valid one."""
    stated = stated if isinstance(stated, Mapping) else {}
    labels, probabilities, largest, tolerance = (
        stated.get(name) for name in ("labels", "probabilities", "largest_difference", "tolerance")
    )
    if not all(type(number) is int and number >= 0 for number in (labels, probabilities)):
        return None
    if not all(type(number) is float and 0 <= number <= 1 for number in (largest, tolerance)):
        return None
    if not labels and not probabilities:
        return None
    unordered = stated.get("unordered")
    if not isinstance(unordered, list | tuple) or not all(label in manifest.labels for label in unordered):
        return None
    texts = stated.get("texts")
    changed = any(line.measures_rounding or line.measures_integer_arithmetic for line in manifest.parity.comparisons)
    by_thresholds = manifest.output.activation == "softmax" and decides_between_two_labels(manifest.output.thresholds)
    return AnswerComparison(
        labels, probabilities, largest, tolerance, tuple(unordered), changed, by_thresholds=by_thresholds,
        texts=texts if type(texts) is int else 0,
        of_likeliest=stated.get("of_likeliest") is True,
    )  # fmt: skip


@dataclass(frozen=True)
class IntegerVerdict:
    """The effect of integer arithmetic on answers, as it was measured when a packed file was made.

    Attributes:
        texts: how many texts were answered both in float32 and with integers.
        source: the name of the source of these texts.
        is_data: True if the texts are a data set; False if they are the golden examples.
        changed: how many texts get another label, or another set of labels.
        largest_change: the largest change of a probability.
        labelled: how many of the texts have known labels.
        accuracy_before: the accuracy on the texts with known labels in float32; None if there are none.
        accuracy: the accuracy on the same texts with integers; None if there are none.
        interval: the 95 % confidence interval of the change of the accuracy, as shares; None if there are no known
            labels.
        of: the kind of inputs: `texts`, or `sequences` of numbers.
        several_labels: whether the classifier is multi-label, so that sets of labels were compared.
    """

    texts: int
    source: str
    is_data: bool
    changed: int
    largest_change: float
    labelled: int = 0
    accuracy_before: float | None = None
    accuracy: float | None = None
    interval: tuple[float, float] | None = None
    of: Literal["texts", "sequences"] = "texts"
    several_labels: bool = False

    @property
    def unit(self) -> str:
        """The word for what changes in a text: "label", or "set of labels" if the classifier is multi-label."""
        return "set of labels" if self.several_labels else "label"

    @property
    def document(self) -> dict[str, Any]:
        """The verdict as the member `measured` of `int8` in the provenance."""
        stated = asdict(self)
        left_out = {"of"} if self.of == "texts" else set()
        left_out |= set() if self.several_labels else {"several_labels"}
        return {name: value for name, value in stated.items() if value is not None and name not in left_out}

    @property
    def sentence(self) -> str:
        """The result of the measurement in one or two sentences: how many labels change, and how the accuracy
        changes."""
        where = f"On {self.texts:,} {self.of} of {self.source}," if self.is_data else (
            f"On {self.texts:,} golden examples, which says little,"
        )  # fmt: skip
        many = "sets of labels change" if self.several_labels else "labels change"
        labels = f"no {self.unit} changes" if not self.changed else (
            f"{self.changed:,} {f'{self.unit} changes' if self.changed == 1 else many} "
            f"({self.changed / self.texts:.2%})"
        )  # fmt: skip
        told = f"{where} {labels}, and a probability by at most {self.largest_change:.2g}."
        if self.accuracy is None or self.accuracy_before is None or self.interval is None:
            return told
        change = 100 * (self.accuracy - self.accuracy_before)
        low, high = (100 * end for end in self.interval)
        right = "get exactly their labels" if self.several_labels else "are right"
        return (
            f"{told} {self.labelled:,} of them have known labels: {self.accuracy:.2%} {right}, before "
            f"{self.accuracy_before:.2%}: {change:+.2f} points, in an interval of 95 % from {low:+.2f} to {high:+.2f}."
        )


def read_integer_verdict(manifest: Manifest) -> IntegerVerdict | None:
    """Read the verdict on integer arithmetic from a packed file's provenance; None if it states no valid one."""
    stated: Any = manifest.provenance
    for member in ("packed", "int8", "measured"):
        stated = stated.get(member) if isinstance(stated, Mapping) else None
    if not isinstance(stated, Mapping):
        return None
    whole = [stated.get(name) for name in ("texts", "changed", "labelled")]
    shares = [stated.get(name) for name in ("largest_change", "accuracy_before", "accuracy")]
    interval = stated.get("interval")
    ends: Any = list(interval) if isinstance(interval, list | tuple) and len(interval) == 2 else [None, None]
    source, is_data = stated.get("source"), stated.get("is_data")
    if (
        not all(type(number) is int and number >= 0 for number in whole)
        or whole[0] == 0
        or not isinstance(shares[0], int | float)
        or not all(number is None or isinstance(number, int | float) for number in (*shares, *ends))
        or not isinstance(source, str)
        or not isinstance(is_data, bool)
    ):
        return None
    texts, changed, labelled = (int(number) for number in whole if number is not None)
    return IntegerVerdict(
        texts, source, is_data, changed, float(shares[0]), labelled, shares[1], shares[2],
        None if None in ends else (ends[0], ends[1]), "sequences" if stated.get("of") == "sequences" else "texts",
        stated.get("several_labels") is True,
    )  # fmt: skip


def find_graph_name_in_proof(manifest: Manifest) -> str:
    """Return the name that the proof has for a bundle's graph: "compressed" if the graph was compressed, else
    "onnx"."""
    return COMPRESSED if any(line.candidate == COMPRESSED for line in manifest.parity.comparisons) else "onnx"


def describe_graph_proof(manifest: Manifest) -> str:
    """Describe how the graph is proven equal to the module, as the rest of a sentence that begins with "The graph: ".
    Further sentences may follow."""
    first = manifest.parity.comparisons[0]
    module = first.reference.removesuffix(_FLOAT64)
    exact = first.candidate.endswith(_FLOAT64)
    module = "the PyTorch module" if module == "pytorch" else module
    if any(line.measures_integer_arithmetic for line in manifest.parity.comparisons):
        return _describe_integer_verdict(manifest)
    rounding = _describe_rounding(manifest)
    own = "".join(map(_describe_difference_from_other_precision, manifest.parity.comparisons))
    if rounding:
        shown = "proven equal to" if exact else "equal in single precision to"
        return f"{shown} {module} with rounded weights.{own} {rounding}"
    if module == ROUNDED:
        return "proven equal to an earlier graph with rounded weights; the bundle says nothing about the module itself."
    if exact:
        return f"proven equal to {module}.{own}"
    return f"equal to {module} in single precision; not proven in double precision.{own}"


def describe_origin_of_number_scale(manifest: Manifest) -> str:
    """Describe where the scale of numbers comes from, as the rest of a sentence that begins with "Numbers: "."""
    if manifest.provenance.get(SCALE) == "trained":
        return "scaled as in training, by the same code."
    return "scaled as their owner said; that was not compared with anything."


def _describe_difference_from_other_precision(line: Comparison) -> str:
    """If a comparison is with a module in another precision than float32, describe how far its answers differ, as a
    sentence; else return an empty string."""
    if line.measures_rounding or line.measures_integer_arithmetic or not line.is_only_measured:
        return ""
    precision = line.candidate.removeprefix(IN_OWN_PRECISION)
    apart = f"{line.largest_difference:.1e}"
    return f" It computes in float32: in {precision}, the module's own logits differ by up to {apart}."


def _describe_integer_verdict(manifest: Manifest) -> str:
    """Describe a packed file that multiplies integers, and is therefore not proven equal to the module."""
    verdict = read_integer_verdict(manifest)
    measured = "The file does not say what that changes." if verdict is None else verdict.sentence
    lines = [line for line in manifest.parity.comparisons if line.measures_integer_arithmetic]
    rows, labels = sum(line.rows for line in lines), sum(line.labels_differing for line in lines)
    drawn = f" {labels:,} of {rows:,} inputs of the proof get another label; most of these inputs are random."
    rounding = _describe_rounding(manifest)
    before = f" Its weights had been compressed before: {rounding[0].lower()}{rounding[1:]}" if rounding else ""
    return (
        "not equal to the PyTorch module: its layers multiply integers of 8 bits. The engine's integers are exactly "
        "those of a reference implementation in numpy. Their effect was measured against the same program in float32. "
        f"{measured}{drawn if lines else ''}{before}"
    )


def _describe_rounding(manifest: Manifest) -> str:
    """Describe how rounding the weights changed the answers, in a sentence; an empty string if no weight was
    rounded."""
    changed = [line for line in manifest.parity.comparisons if line.measures_rounding]
    if not changed:
        return ""
    if not any(line.largest_difference for line in changed):
        return "Rounding changed no answer."
    rows, labels = sum(line.rows for line in changed), sum(line.labels_differing for line in changed)
    return (
        f"Rounding moved a logit by at most {max(line.largest_difference for line in changed):.1e}, and changed the "
        f"label of {labels:,} of {rows:,} inputs."
    )
