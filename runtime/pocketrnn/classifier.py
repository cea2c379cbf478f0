"""Classifier: a loaded bundle that answers texts or sequences of numbers."""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, cast, overload

import numpy as np
from numpy.typing import NDArray

from pocketrnn.answers_by_head import build_answers, choose_labels_of_head
from pocketrnn.bundle import manifest as manifests
from pocketrnn.bundle.bundle_lookup import find_or_download_bundle
from pocketrnn.bundle.manifest import Manifest
from pocketrnn.bundle.packed_file import is_packed_file
from pocketrnn.engines.batching import MAX_TOKENS, Steps
from pocketrnn.engines.engine import CPU, Engine, Options, check_threads, compute_logits, find_step_dtype
from pocketrnn.engines.worker_threads import Workers
from pocketrnn.errors import InputError, LimitError
from pocketrnn.label_subset_and_prior import ChosenLabels, choose_labels, weight_labels_by_prior, wrap_engine_for_labels
from pocketrnn.predictions_from_logits import Answers, LogitsAndSkipped, Prediction
from pocketrnn.scikit_learn_interface import TrainedEstimator
from pocketrnn.text.chunks_of_checked_texts import OnError
from pocketrnn.text.text_input import TextInput
from pocketrnn.text.text_row_encoder import Text, Tokenizer
from pocketrnn.text_intake import TextIntake

if TYPE_CHECKING:
    from pocketrnn.explanation import Explanation
    from pocketrnn.number_intake import NumberIntake
    from pocketrnn.numbers.training_range import OutOfRange
    from pocketrnn.recording_stream import CarriedStream, NumberStream, Window
    from pocketrnn.tag_intake import TagIntake
    from pocketrnn.tags import Tags
    from pocketrnn.text_answered_while_arriving import Stream

__all__ = [
    "Classifier",
    "Prediction",
    "compute_logits_of_batches",
    "compute_logits_of_engine_input",
    "compute_logits_up_to_first_refused_text",
    "find_refusal_error_of_text",
    "get_answers_of_chosen_labels",
    "list_refusal_reasons",
    "read_graph_metadata",
]

Floats = NDArray[np.float32]

_log: Final = logging.getLogger(__name__)


class Classifier(TrainedEstimator):
    """A classifier of texts, or of sequences of numbers, from a bundle. Make one with `Classifier.load`.

    Several threads may use one classifier at once, and a forked process may use it, too. Unpickling a classifier loads
    its bundle again from the same folder. scikit-learn's tools take a classifier as an estimator.

    Attributes:
        manifest: the content of classifier.json.

    Example:
        >>> clf = Classifier.load("ag_news")
        >>> clf.classify("Oil prices rise again").label
        'Business'
    """

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        engine: Engine,
        threads: int,
        options: Options,
        tokenizer: Tokenizer | None = None,
        out_of_range: str | None = None,
    ) -> None:
        self.manifest = manifest
        self._folder = folder
        self._engine = engine
        self._workers = Workers(threads)
        self._options = options
        self._tokenizer, self._out_of_range = tokenizer, out_of_range
        self._answers = build_answers(manifest)
        self._gives_values = self._answers.gives_values
        self._chosen: ChosenLabels | None = None
        self._intake = _build_intake(manifest, engine, self._answers, tokenizer, out_of_range)

    @classmethod
    def load(
        cls,
        path_or_name: str | os.PathLike[str],
        *,
        threads: int = 1,
        max_batch_tokens: int = MAX_TOKENS,
        providers: Sequence[str] = (CPU,),
        trust: bool = False,
        tokenizer: Tokenizer | None = None,
        out_of_range: OutOfRange | None = None,
        prior: str | Mapping[str, float] | None = None,
    ) -> Classifier:
        """Read and check a bundle, or a packed file.

        Args:
            path_or_name: a bundle's folder, the name of a classifier that ships with pocketrnn, an address on a model
                hub (`hf://user/name`), or a file that `pocketrnn pack` wrote. A packed file needs the native engine
                (pip install pocketrnn-native).
            threads: how many processor cores one call for several texts may use. One text is answered on one core.
            max_batch_tokens: how many tokens one run of the graph may hold, padding included. This limits the memory of
                a run. A text of more tokens than this is run alone.
            providers: onnxruntime's execution providers, most wanted first.
            trust: whether to allow graphs with any operator, also loops, which may never end. Use it only for a bundle
                that you made yourself (SECURITY.md).
            tokenizer: your own function that splits every string in place of the bundle's tokenizer. It takes a text
                and returns the list of its tokens, the list of its ids, or one string with white space between the
                tokens. For a bundle with the tokenizer `external`, which cannot split strings (docs/text-rules.md), the
                function is first tried on the golden examples, which must get the same ids as at the export.
            out_of_range: what to do about numbers far outside the range of the training data, for a bundle of sequences
                that states this range. `warn`, the default, warns once; `refuse` refuses the sequence; `ignore` does
                neither.
            prior: how often each label is expected, in any unit: {"en": 70, "de": 25, "fr": 5}. All labels that are not
                named are together expected as often as the rarest named one. The shorter a text, the more the prior
                decides. It can also be the name of a prior in the bundle (`manifest.output.priors`), such as "web" of
                `languages`.

        Raises:
            InputError: `threads` or `max_batch_tokens` is not a whole number of 1 or more; onnxruntime lacks a
                provider; `tokenizer` is not a function, or gives the golden examples other ids; `out_of_range` is
                unknown, or is given for texts; or `prior` is not valid for this classifier.
            BundleError: there is no such bundle, it is damaged, or its graph does not fit its classifier.json.
            MissingExtraError: the path is a packed file, and the native engine is not installed.

        Example:
            >>> Classifier.load("ag_news", threads=2)
            <Classifier 'ag_news': 4 labels>
        """
        check_threads(threads)
        folder = find_or_download_bundle(path_or_name)
        if is_packed_file(folder):
            from pocketrnn.engines.native import NativeEngine

            options = Options(max_batch_tokens, tuple(providers), trust)
            native = NativeEngine(folder)
            packed = cls(folder.absolute(), native.manifest, native, threads, options, tokenizer, out_of_range)
            return packed._apply_prior(prior)
        # Imported here: a packed classifier does not need onnxruntime, whose import is most of the time to start.
        from pocketrnn.engines.onnxruntime import OnnxRuntimeEngine, check_engine_options

        options = check_engine_options(max_batch_tokens, providers, trust=trust)
        manifest = manifests.read_manifest(folder)
        engine = OnnxRuntimeEngine(folder, manifest, options)
        classifier = cls(folder.absolute(), manifest, engine, threads, options, tokenizer, out_of_range)
        _log.debug("Loaded %s from %s with %d threads and %s", manifest.name, folder, threads, options)
        return classifier._apply_prior(prior)

    def among(self, labels: Iterable[str]) -> Classifier:
        """Return the same classifier restricted to some labels, for texts that can have only these labels.

        All methods of the returned classifier then have only these labels: its probabilities add up to 1 over them. The
        graph is not loaded again.

        Args:
            labels: the labels to keep. `und`, the label for texts that have none of the other labels, is kept, too, if
                the classifier has it. A label after a minus is left out, such as "-und"; if all labels have a minus,
                all others are kept.

        Raises:
            InputError: a label is unknown, no label is left, or the classifier gives several labels for a text, or
                values.

        Example:
            >>> Classifier.load("languages").among(["en", "de", "fr", "-und"]).labels
            ('de', 'en', 'fr')
        """
        return self._restrict_to_labels(choose_labels(self._answers, labels))

    def head(self, name: str) -> Classifier:
        """Return a classifier that answers only with the labels of one head of the same bundle.

        Its methods work like those of a classifier with a single set of labels. The graph is not loaded again.

        Raises:
            InputError: the classifier has no heads, or none of this name.

        Example:
            >>> Classifier.load("reviews").head("mood").classify("Never again").label
            'bad'
        """
        return self._restrict_to_labels(choose_labels_of_head(self._answers, name))

    def _apply_prior(self, prior: str | Mapping[str, float] | None) -> Classifier:
        """Return a classifier that weights its labels by `prior`, a map from labels to numbers or the name of a prior
        in the bundle. Return this classifier if `prior` is None."""
        if prior is None:
            return self
        return self._restrict_to_labels(weight_labels_by_prior(self._answers, prior, self.manifest.output.priors))

    def _restrict_to_labels(self, chosen: ChosenLabels) -> Classifier:
        """Return a copy of the classifier that answers only with the chosen labels. The copy uses the same engine, so
        the graph is not loaded again."""
        # Not with copy.copy, which would load the bundle again, as pickle does.
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._chosen = chosen.combine_with_earlier_choice(self._chosen)
        other._answers = self._answers.restrict_to_labels(chosen.indices)
        other._intake = self._intake.copy_with_engine(
            wrap_engine_for_labels(self._engine, other._chosen), other._answers
        )
        return other

    @property
    def name(self) -> str:
        """The name of the classifier.

        Example:
            >>> Classifier.load("ag_news").name
            'ag_news'
        """
        return self.manifest.name

    @property
    def heads(self) -> tuple[str, ...]:
        """The names of the heads, if the classifier gives several answers to a text, such as its topic and its mood
        (docs/heads.md).

        It is empty for other classifiers, and for the classifier that `head` returns.

        Example:
            >>> Classifier.load("reviews").heads
            ('topic', 'mood')
        """
        return self.manifest.heads if self._chosen is None else ()

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the columns of `predict_proba`; for a bundle of values, the names of the values.

        With several heads, these are the labels of all heads in the order of the columns of `logits`, each with its
        head's name in front: `topic: oil`.

        Example:
            >>> Classifier.load("ag_news").labels
            ('World', 'Sports', 'Business', 'Sci/Tech')
        """
        return self._answers.labels

    @property
    def thresholds(self) -> tuple[float, ...] | None:
        """The threshold of each label, the probability from which `predict_labels` lists the label; None if the bundle
        has no thresholds.

        Example:
            >>> Classifier.load("ag_news").thresholds is None
            True
        """
        return self._answers.thresholds

    @property
    def channels(self) -> tuple[str, ...]:
        """The names of the channels of a sequence of numbers, in order.

        Raises:
            InputError: the bundle takes texts.

        Example:
            >>> Classifier.load("walking").channels
            ('ax', 'ay', 'az')
        """
        return self.manifest.numbers.channels

    def encode(self, text: Text) -> list[int]:
        """Encode one text as a list of token ids. There is at least one id, also for an empty text.

        A pair of texts becomes the ids of the first text, a negative id, and the ids of the second text. A text with
        features gets a negative id in front for each feature.

        Args:
            text: a text in any form that `classify` takes.

        Raises:
            TextError: the argument is not a text, or the text rules cannot produce such ids.
            InputError: the bundle takes sequences of numbers (for these, use `prepared`); the text is a string and the
                bundle's tokenizer is external; or the tokenizer given to `load` fails.

        Example:
            >>> classifier = Classifier.load("ag_news")
            >>> classifier.encode("Oil prices") == classifier.encode(["oil", "prices"])
            True
        """
        return self._get_text_intake("prepared()").row_encoder.encode_text(text)

    def prepared(self, sequence: object) -> Floats:
        """Prepare a sequence of numbers as the graph's input, float32 [time, channels].

        Raises:
            SequenceError: the argument is not a sequence that the bundle takes, or is too short or too long for the
                graph.
            InputError: the bundle takes texts; for these, use `encode`.

        Example:
            >>> Classifier.load("walking").prepared([[0.1, 0.2, 9.7]]).shape
            (1, 3)
        """
        return self._get_number_intake("encode()").prepared(sequence)

    def _get_text_intake(self, method_instead: str) -> TextIntake:
        """Return the `TextIntake`, the object that encodes texts. If the classifier takes numbers, raise an InputError
        that names the method to use instead."""
        if not isinstance(self._intake, TextIntake):
            raise InputError(f"{self.name} takes sequences of numbers, not texts.", f"Call {method_instead} instead.")
        return self._intake

    def _get_number_intake(self, method_instead: str) -> NumberIntake:
        """Return the `NumberIntake`, the object that reads sequences of numbers. If the classifier takes texts, raise
        an InputError that names the method to use instead."""
        if isinstance(self._intake, TextIntake):
            raise InputError(f"{self.name} takes texts, not sequences of numbers.", f"Call {method_instead} instead.")
        return self._intake

    @overload
    def stream(self, saved: bytes | None = None) -> Stream: ...
    @overload
    def stream(
        self, saved: bytes | None = None, *, window: int | None = None, hop: int | None = None, top: int = 1
    ) -> NumberStream | CarriedStream: ...
    def stream(
        self, saved: bytes | None = None, *, window: int | None = None, hop: int | None = None, top: int | None = None
    ) -> Stream | NumberStream | CarriedStream:
        """Open a stream: a text or a recording that arrives in parts, with an answer after each part.

        A text arrives in fragments, `stream.push("Wall St. ")`, and each push returns the answer for the text so far. A
        recording arrives as samples, `stream.push(samples)`, and is answered window by window. Without a window, and
        with a bundle exported with `streaming=True`, each push answers for all samples so far, at the cost of the new
        ones.

        Args:
            saved: the bytes that `Stream.save` or `CarriedStream.save` returned, to continue from that state; None to
                begin.
            window: for a recording, how many steps each answer is for; by default the bundle's window.
            hop: for a recording, how many steps after the beginning of a window the next window begins; by default the
                bundle's hop, or else the length of the window.
            top: how many labels each answer to a recording has. For a text, give `top` to `Stream.push`.

        Raises:
            InputError: there is no window, and the bundle was not exported for streaming; the window or hop is not
                valid; or `saved` is damaged, or comes from another bundle.
            BundleError: the step graph is damaged or does not fit its classifier.json.

        Example:
            >>> stream = Classifier.load("one-way").stream()    # a bundle exported with --streaming
            >>> stream.push("Wall St. ").label
            'Business'
            >>> stream = Classifier.load("walking").stream(window=128, hop=64)
            >>> [answer.start for answer in stream.push(np.zeros((200, 3)))]
            [0, 64]
        """
        intake = self._intake
        if not isinstance(intake, TextIntake):
            return self._make_recording_stream(saved, window, hop, 1 if top is None else top)
        intake.require_text_labels()
        self.manifest.require_single_text("a stream")
        self._answers.require_single_head("a stream")
        for argument, value in (("window", window), ("hop", hop), ("top", top)):
            if value is not None:
                raise InputError(
                    f"The argument `{argument}` is for sequences of numbers, but {self.name} takes texts.",
                    f"Leave `{argument}` out.",
                )
        if self._tokenizer is not None:
            raise InputError(
                "The classifier was loaded with a tokenizer function, but only the bundle's own tokenizer can split "
                "a text that arrives in fragments.",
                "Load the classifier without the argument `tokenizer`.",
            )
        # Most programs that classify texts never stream one: without it, importing pocketrnn takes 4 ms less.
        from pocketrnn.text_answered_while_arriving import Stream

        return Stream(self.manifest, intake.encoder, self._engine, self._answers, saved, self._chosen)

    def _make_recording_stream(
        self, saved: bytes | None, window: int | None, hop: int | None, top: int
    ) -> NumberStream | CarriedStream:
        """Open a stream of a recording. The stream answers each window if `window` is given or the bundle has a window;
        else it answers for all samples so far."""
        from pocketrnn.recording_stream import CarriedStream, NumberStream, choose_window_and_hop

        intake = self._get_number_intake("Stream.push()")
        if not self._gives_values:
            self._answers.check_top(top)
        wanted = choose_window_and_hop(self.manifest, window, hop)
        if wanted is None:
            return CarriedStream(self.manifest, self._engine, intake, self._answers, top, saved, self._chosen)
        if saved is not None:
            raise InputError(
                "`saved` and `window` are both given, but a stream that answers in windows cannot be saved.",
                "Leave one of them out.",
            )
        return NumberStream(intake, self._answers, *wanted, top)

    def recording(
        self, recording: object, *, window: int | None = None, hop: int | None = None, top: int = 1
    ) -> list[Window]:
        """Answer all windows of a complete recording. The last steps are ignored if they do not fill a window. If there
        is no window, return one answer for all steps.

        Args:
            recording: the samples, numbers [time, channels] as the sensor gives them.
            window: how many steps each answer is for; by default the bundle's window.
            hop: how many steps after the beginning of a window the next window begins; by default the bundle's hop, or
                else the length of the window.
            top: how many labels each answer has.

        Raises:
            SequenceError: the recording has fewer steps than a window.
            InputError: the bundle takes texts; there is no window, and the bundle was not exported for streaming; or
                the window or hop is not valid.

        Example:
            >>> walking = Classifier.load("walking")
            >>> [window.start for window in walking.recording(np.zeros((300, 3)), window=128, hop=64)]
            [0, 64, 128]
        """
        self._get_number_intake("classify()")
        return self._make_recording_stream(None, window, hop, top).answer_whole_recording(recording)

    def classify(self, given: object, top: int = 1, *, among: Iterable[str] | None = None) -> Prediction:
        """Classify one text, one text with features, one pair of texts, or one sequence of numbers.

        With several heads, the answer is a dict from each head's name to its prediction, from one run of the graph.
        `predict`, `classify_all` and `predict_labels` then give such a dict for each text, and `predict_proba` gives
        one dict of arrays. To use a single head, call `head` first.

        Args:
            given: one input of the classifier. A text is any string, or a text that is split already: a list of its
                tokens, which are looked up, or of all its ids (docs/text-rules.md). A text without a known token gets
                the answer of the empty text. A pair is a tuple of two texts, in the order of the module's forward
                (docs/pairs.md). A text with features is a tuple of the text and a mapping from the features' names to
                their values (docs/features.md). A sequence is an array of numbers [time, channels] as the sensor gives
                them, or [time] for a single channel; or lists, a table with a column for each channel, or an Arrow
                array (docs/numbers.md).
            top: how many labels to give, from 1 to the number of labels.
            among: the labels to choose among, as for the method `among`; None for all. For many texts, call that method
                once.

        Raises:
            TextError: `given` is not a text, or the text rules cannot produce such ids.
            SequenceError: `given` is not a sequence that the bundle takes, or is too short or too long for the graph.
            LimitError: a text has fewer or more tokens than the graph takes, or no known word where the graph needs one
                (`manifest.graph.limits`).
            InputError: `top` is out of its range; the bundle gives values; `among` names an unknown label; a text is a
                string, and the bundle's tokenizer is external; or the tokenizer given to `load` fails.

        Example:
            >>> Classifier.load("ag_news").classify("Striker scores twice in cup final").label
            'Sports'
        """
        if among is not None:
            return self.among(among).classify(given, top)
        if top != 1 or self._gives_values:
            self._answers.check_top(top)
        return self._answers.make_prediction(self._intake.compute_item_logits(given), top)

    def explain(self, text: Text, label: str | None = None, *, most_fragments: int = 64) -> Explanation:
        """Explain an answer by its words: leave each word out once, and measure how much evidence the label loses.

        All shortened texts are answered in one call. A text of n words takes about as long as n texts of that length.

        Args:
            text: any string, or a list of tokens. For a list, `start` and `end` of a fragment count tokens.
            label: the label to explain; None for the likeliest.
            most_fragments: the largest number of fragments of the answer. In a text of more words, a fragment has
                several words. A very long text gets fewer fragments, or none if even two would take too long.

        Raises:
            TextError: `text` is neither a string nor a list of tokens.
            LimitError: `text` has too few or too many tokens for the graph, or no known word where the graph needs one.
            InputError: there is no such label; `most_fragments` is not a whole number of 1 or more; or the bundle takes
                pairs, features or sequences of numbers, or has several heads.

        Example:
            >>> explanation = Classifier.load("ag_news").explain("Oil prices rise again")
            >>> max(explanation.fragments, key=lambda fragment: fragment.log_odds).text
            'Oil'
        """
        # Imported only when needed, like the stream.
        from pocketrnn.explanation import Explainer

        row_encoder = self._get_text_intake("predict_proba()").row_encoder
        self.manifest.require_single_text("explain()")
        self._answers.require_single_head("explain()")
        whole = text if isinstance(text, str) and row_encoder.splits else row_encoder.get_tokens(text)
        return Explainer(self.manifest, self._answers, self.encode, self._compute_logits_and_refused).explain_label(
            whole, label, most_fragments
        )

    def _compute_logits_and_refused(self, text_and_variants: Sequence[str | list[str]]) -> tuple[Floats, list[int]]:
        """Compute the logits of a text and of its shortened variants. Return the logits, float32 [texts, labels], and
        the indices of the variants that the graph cannot take. Raise a LimitError if the graph cannot take the text
        itself, which comes first."""
        parts: list[Floats] = []
        refused: list[int] = []
        for logits, skipped in self._compute_logits_of_chunks(text_and_variants, "skip", warns=False):
            before = sum(len(part) for part in parts)
            refused += [before + index for index in skipped]
            parts.append(logits)
        if refused and refused[0] == 0:
            raise find_refusal_error_of_text(self, text_and_variants[0])
        return np.concatenate(parts), refused

    @overload
    def predict(self, given: Iterable[object], *, on_error: Literal["raise"] = "raise") -> list[str]: ...
    @overload
    def predict(self, given: Iterable[object], *, on_error: OnError) -> list[str] | list[str | None]: ...
    def predict(self, given: Iterable[object], *, on_error: OnError = "raise") -> list[str] | list[str | None]:
        """Predict the likeliest label of every text or sequence, in order. For a bundle of values, return the result of
        `values`.

        Args:
            given: texts, or sequences of numbers. Texts are a list, a column of numpy or pandas, or any iterable, which
                is read chunk by chunk; each is a string, or a list of its tokens or ids, as in `classify`. Sequences
                are a list of arrays [time, channels], or one array [sequences, time, channels].
            on_error: what to do with an item that is not a text or sequence, such as None, or that is beyond the
                graph's limits (`manifest.graph.limits`), such as a text of too many tokens. `raise` raises an error,
                `skip` gives None as the item's label.

        Raises:
            TextError: `given` is one string, or an item of it is not a text.
            SequenceError: an item is not a sequence that the bundle takes, or is too short or too long for the graph.
            LimitError: a text is beyond the graph's limits.

        Example:
            >>> Classifier.load("ag_news").predict(["Oil prices rise again", "Striker scores twice in cup final"])
            ['Business', 'Sports']
        """
        if self._gives_values:
            return cast("list[str]", self.values(given, on_error=on_error))
        return self._answers.find_likeliest_labels(self._compute_logits_of_chunks(given, on_error))

    def values(self, given: Iterable[object], *, on_error: OnError = "raise") -> Floats:
        """Compute the values of every sequence, with a bundle that gives values and not labels.

        Args:
            given: a list or another iterable of sequences of numbers.
            on_error: what to do with an item that the classifier cannot answer: `raise` raises an error, `skip` gives a
                row of NaN.

        Returns:
            float32 [sequences, values], the columns in the order of `labels`.

        Raises:
            InputError: the bundle gives labels.
            SequenceError: an item is not a sequence that the bundle takes, or is too short or too long for the graph.

        Example:
            >>> forecast.values([[[0.4], [0.5]]]).shape
            (1, 1)
        """
        if not self._gives_values:
            raise InputError(f"{self.name} gives labels, not values.", "Call predict() or predict_proba().")
        return self.logits(given, on_error=on_error)

    def classify_all(
        self, given: Iterable[object], *, top: int = 1, on_error: OnError = "raise"
    ) -> Iterator[Prediction | None]:
        """Yield the prediction for each item, in order. Items are read a few chunks ahead.

        Neither items nor answers are collected, so the memory does not grow with their number. If an item raises an
        error, the answers before it are yielded first.

        Args:
            given: any iterable of texts or sequences of numbers.
            top: how many labels to give, from 1 to the number of labels.
            on_error: what to do with an item that the classifier cannot answer: `raise` raises an error, `skip` gives
                None.

        Raises:
            TextError, SequenceError, LimitError: an item cannot be answered, and `on_error` is `raise`.
            InputError: `top` is out of its range, or the bundle gives values.

        Example:
            >>> [answer.label for answer in Classifier.load("ag_news").classify_all(iter(["Oil prices rise again"]))]
            ['Business']
        """
        self._answers.check_top(top)
        yield from self._answers.iterate_predictions(self._compute_logits_of_chunks(given, on_error), top)

    def tag(self, text: Text) -> Tags:
        """Label each token of one text, with a bundle that labels tokens.

        Args:
            text: any string; or a text that is split already, a list of its tokens.

        Returns:
            a sequence of `Tag`, each with the position of its token in the original text. Its `spans` are the entities
            that BIO or IOBES labels mark; its `untagged` are the tokens that the text rules cut off or drop.

        Raises:
            TextError: `text` is neither a string nor a list of tokens.
            LimitError: `text` has too few or too many tokens for the graph.
            InputError: the bundle does not label tokens; or the position of a token in the text cannot be found.

        Example:
            >>> [(tag.token, tag.label, tag.start) for tag in Classifier.load("people").tag("Ada lives in Berlin")]
            [('Ada', 'B-PER', 0), ('lives', 'O', 4), ('in', 'O', 10), ('Berlin', 'B-LOC', 13)]
        """
        return self._get_tag_intake().make_text_tags(text)

    @overload
    def predict_tags(self, texts: Iterable[Text], *, on_error: Literal["raise"] = "raise") -> list[Tags]: ...
    @overload
    def predict_tags(self, texts: Iterable[Text], *, on_error: OnError) -> list[Tags] | list[Tags | None]: ...
    def predict_tags(self, texts: Iterable[Text], *, on_error: OnError = "raise") -> list[Tags] | list[Tags | None]:
        """Label the tokens of every text, in order, with a bundle that labels tokens.

        Args:
            texts: any iterable of texts; each is a string, or a list of its tokens.
            on_error: what to do with an item that is not a text, or has too few or too many tokens: `raise` raises an
                error, `skip` gives None.

        Raises:
            TextError, LimitError, InputError: an item cannot be tagged, and `on_error` is `raise`.

        Example:
            >>> [len(tags) for tags in Classifier.load("people").predict_tags(["Ada", "New York"])]
            [1, 2]
        """
        return list(self.tag_all(texts, on_error=on_error))

    def tag_all(self, texts: Iterable[Text], *, on_error: OnError = "raise") -> Iterator[Any]:
        """Yield the tags of each text, in order, with a bundle that labels tokens. Some hundred texts are read ahead.

        Args:
            texts: any iterable of texts; each is a string, or a list of its tokens.
            on_error: what to do with an item that cannot be tagged: `raise` raises an error, `skip` gives None.

        Raises:
            TextError, LimitError, InputError: an item cannot be tagged, and `on_error` is `raise`.

        Example:
            >>> [tags[0].label for tags in Classifier.load("people").tag_all(iter(["Ada"]))]
            ['B-PER']
        """
        intake, skipped = self._get_tag_intake(), 0
        for _, group in self._workers.map_in_order(
            intake.compute_group_tags, intake.locate_texts_in_groups(texts, on_error)
        ):
            skipped += sum(tags is None for tags in group)
            yield from group
        self._warn_of_skipped(skipped)

    def _get_tag_intake(self) -> TagIntake:
        """Return the `TagIntake`, the object that tags texts. If the classifier does not label tokens, raise an
        InputError."""
        if not self.manifest.output.of_tokens:
            what = "values" if self._gives_values else "a label for a text, not for its tokens"
            raise InputError(f"{self.name} gives {what}, not labels of tokens.", "Call classify() or predict().")
        return cast("TagIntake", self._intake)

    def predict_proba(self, given: Iterable[object], *, on_error: OnError = "raise") -> Floats:
        """Compute the probabilities of every label for every text or sequence.

        Args:
            given: a list or another iterable of texts or sequences of numbers.
            on_error: what to do with an item that the classifier cannot answer: `raise` raises an error, `skip` gives a
                row of NaN.

        Returns:
            float32 [texts, labels], the columns in the order of `labels`; each row adds up to 1, unless the classifier
            is multi-label.

        Raises:
            TextError, SequenceError, LimitError: an item cannot be answered, and `on_error` is `raise`.

        Example:
            >>> Classifier.load("ag_news").predict_proba(["Oil prices rise again"]).shape
            (1, 4)
        """
        return self._answers.probabilities(self.logits(given, on_error=on_error))

    def predict_labels(
        self, given: Iterable[object], threshold: float | None = None, *, on_error: OnError = "raise"
    ) -> list[tuple[str, ...]]:
        """List for every text the labels whose probabilities reach their thresholds, for a multi-label classifier.

        A softmax classifier, where exactly one label is right, gives its likeliest label if that label reaches its
        threshold, or else no label. If it has two labels and their thresholds add up to 1, such as 0.23 and 0.77, it
        gives the one label that reaches its threshold.

        Args:
            given: a list or another iterable of texts or sequences of numbers.
            threshold: one probability for all labels; None for the bundle's own thresholds, or 0.5 if it has none.
            on_error: what to do with an item that the classifier cannot answer: `raise` raises an error, `skip` gives
                an empty tuple.

        Returns:
            for each text a tuple of its labels, in the order of `labels`; it may be empty.

        Raises:
            TextError, SequenceError, LimitError: an item cannot be answered, and `on_error` is `raise`.

        Example:
            >>> Classifier.load("ag_news").predict_labels(["Oil prices rise again"], 0.5)
            [('Business',)]
        """
        return self._answers.list_reached_labels(self.predict_proba(given, on_error=on_error), threshold)

    def logits(self, given: Iterable[object], *, on_error: OnError = "raise") -> Floats:
        """Compute the logits: the graph's outputs before softmax or sigmoid.

        Args:
            given: a list or another iterable of texts or sequences of numbers.
            on_error: what to do with an item that the classifier cannot answer: `raise` raises an error, `skip` gives a
                row of NaN.

        Returns:
            float32 [texts, labels], the columns in the order of `labels`.

        Raises:
            TextError, SequenceError, LimitError: an item cannot be answered, and `on_error` is `raise`.
            PocketRNNError: the graph fails, for instance because a text is too long for this machine's memory, or its
                logits are NaN or infinite.

        Example:
            >>> Classifier.load("ag_news").logits(["Oil prices rise again"]).argmax()
            2
        """
        return self._answers.join_logits(self._compute_logits_of_chunks(given, on_error))

    def embed(self, texts: Iterable[Text], *, on_error: OnError = "raise") -> Floats:
        """Compute the embedding of each text: the input of the graph's last linear layer.

        Texts that the classifier finds similar have similar embeddings, for instance by their cosine. Use them for
        search, clustering or outlier detection. They come from the graph whose logits are proven, but are not compared
        themselves. The first call opens the graph of a bundle a second time. A packed file gives the embeddings of its
        own program, which are rounded if that program multiplies integers.

        Args:
            texts: a list or another iterable of texts.
            on_error: what to do with an item that the classifier cannot answer: `raise` raises an error, `skip` gives a
                row of NaN.

        Returns:
            float32 [texts, features]; [0, 0] if `texts` is empty.

        Raises:
            InputError: the graph does not end with a linear layer that takes one row for each text; or the graph's file
                is in onnxruntime's own format.
            TextError: `texts` is one string, or an item of it is not a text.
            LimitError: a text is beyond the graph's limits.

        Example:
            >>> Classifier.load("ag_news").embed(["Oil prices rise again", "A cup final"]).shape
            (2, 192)
        """
        intake = self._get_text_intake("logits()")
        self.manifest.require_single_text("embed()")
        given = intake.divide_into_chunks(texts, on_error, self._workers.threads)
        work = partial(intake.compute_chunk_embeddings, on_error=on_error)
        parts, skipped = [], 0
        for _, (part, left_out) in self._workers.map_in_order(work, given):
            parts.append(part)
            skipped += len(left_out)
        self._warn_of_skipped(skipped)
        width = max((part.shape[1] for part in parts), default=0)
        # If all texts of a part were passed over, its width is unknown: it takes that of the others.
        parts = [part if part.shape[1] else np.full((len(part), width), np.nan, np.float32) for part in parts]
        return np.concatenate([np.empty((0, width), np.float32), *parts])

    def _compute_logits_of_chunks(
        self, given: Iterable[Any], on_error: OnError, *, warns: bool = True
    ) -> Generator[LogitsAndSkipped, None, None]:
        """Yield for each chunk of `given`, in order, its logits and the indices of the skipped items in the chunk. With
        `warns`, log at the end how many items were skipped."""
        total, intake = 0, cast("Any", self._intake)
        work = partial(intake.compute_chunk_logits, on_error=on_error)
        chunks = intake.divide_into_chunks(given, on_error, self._workers.threads)
        for _, (logits, skipped) in self._workers.map_in_order(work, chunks, intake.stop):
            total += len(skipped)
            yield logits, skipped
        if warns:
            self._warn_of_skipped(total)

    def _warn_of_skipped(self, count: int) -> None:
        """Log how many items were skipped, and the reasons for which the classifier skips items; nothing for the count
        0."""
        if count:
            _log.warning("%s skipped %d items %s", self.name, count, ", or ".join(self._intake.skip_reasons))

    def __reduce__(self) -> tuple[Any, ...]:
        return _load_pickled_copy, (
            self._folder, self._workers.threads, self._options, self._tokenizer, self._out_of_range, self._chosen,
        )  # fmt: skip

    def __repr__(self) -> str:
        given = self.manifest.input
        if self.heads:
            return f"<Classifier {self.name!r}: {len(self.labels)} labels of the heads {', '.join(self.heads)}>"
        what = "values" if self._gives_values else "labels of tokens" if self.manifest.output.of_tokens else "labels"
        takes = f"{len(given.channels)} channels, " if not isinstance(given, TextInput) else "two texts, " * given.pairs
        takes += "".join(f"{name}, " for name, _ in self.manifest.features)
        return f"<Classifier {self.name!r}: {takes}{len(self.labels)} {what}>"


def _build_intake(
    manifest: Manifest, engine: Engine, answers: Answers, tokenizer: Tokenizer | None, out_of_range: str | None
) -> TextIntake | NumberIntake:
    """Make the object that checks the user's inputs and runs the engine on them, for the kind of input that the
    manifest states: texts, pairs, texts with features, texts whose tokens are labelled, or numbers."""
    if isinstance(manifest.input, TextInput):
        if out_of_range is not None:
            raise InputError(
                f"The argument `out_of_range` is for sequences of numbers, but {manifest.name} takes texts.",
                "Leave `out_of_range` out.",
            )
        if manifest.output.of_tokens:
            # Imported when needed: only labels of tokens need it.
            from pocketrnn.tag_intake import TagIntake

            return TagIntake(manifest, engine, answers, tokenizer)
        if manifest.input.pairs:
            from pocketrnn.pair_intake import PairIntake

            return PairIntake(manifest, engine, answers, tokenizer)
        if manifest.input.features:
            from pocketrnn.feature_intake import FeatureIntake

            return FeatureIntake(manifest, engine, answers, tokenizer)
        intake = TextIntake(manifest, engine, answers, tokenizer)
        if tokenizer is not None:
            intake.refuse_tokenizer_with_other_ids(manifest)
        return intake
    if tokenizer is not None:
        raise InputError(
            f"The argument `tokenizer` is for texts, but {manifest.name} takes sequences of numbers.",
            "Leave `tokenizer` out.",
        )
    # Imported when needed: classifiers of texts do not need it.
    from pocketrnn.number_intake import NumberIntake

    return NumberIntake(manifest, engine, answers, "warn" if out_of_range is None else out_of_range)


def compute_logits_of_batches(
    classifier: Classifier, batches: Iterable[list[str]], *, on_error: OnError = "raise"
) -> Generator[Floats, None, None]:
    """Yield the logits of each list of texts. Lists are read a few ahead.

    This is for texts that come in batches with other data, such as the rows of a table. Batches of some thousand texts
    are fastest; a classifier with several threads works on as many batches at once.

    Args:
        batches: lists of strings, which may be empty.
        on_error: `raise` refuses a text beyond the graph's limits, `skip` gives a row of NaN for it.

    Yields:
        float32 [texts of the batch, labels], the columns in the order of `classifier.labels`.

    Raises:
        TextError: an item of a batch is not a string. The error names the item's position in all batches.
        LimitError: a text is beyond the graph's limits. The error names the text's position in all batches.
        PocketRNNError: the graph fails, or its logits are NaN or infinite.
    """
    intake = classifier._get_text_intake("logits()")
    work = partial(intake.compute_chunk_logits, on_error=on_error)
    for _, (logits, skipped) in classifier._workers.map_in_order(work, intake.check_batches(batches)):
        logits[skipped] = np.nan
        yield logits


def encode_texts_as_engine_input(classifier: Classifier, texts: Iterable[Any]) -> list[Any]:
    """Encode each text as the row of ids that `compute_logits_of_engine_input` takes.

    If the classifier reads the characters of tokens, a row is int64 [ids, 1 + width]: each id, then the ids of its
    characters.

    Args:
        texts: strings, or lists of tokens or ids; lists of ids only if the classifier does not read characters.

    Raises:
        TextError: an item is not a text.
        LimitError: a text is beyond the graph's limits.
        InputError: a text is a string, and the bundle's tokenizer is external; or the tokenizer given to `load` fails.
    """
    if classifier.manifest.characters is None:
        return [classifier.encode(text) for text in texts]
    from pocketrnn.tag_intake import TagIntake

    intake = classifier._intake
    assert isinstance(intake, TagIntake)  # noqa: S101 - only labels of tokens have characters
    return [intake.make_engine_input(text) for text in texts]


def compute_logits_of_engine_input(classifier: Classifier, rows: Sequence[Sequence[int] | Steps]) -> Floats:
    """Compute the logits of texts that are encoded already, or of sequences of numbers that are prepared already.

    Args:
        rows: for each text its ids; for each sequence its samples, float32 [time, channels]. There is at least one row,
            and all are within the graph's limits.

    Returns:
        float32 [texts, labels]; if the classifier labels tokens, [ids of all texts, labels], with NaN for an id without
        an answer.

    Raises:
        LimitError: the native engine would need too much memory or time for a row, or too large integers.
        PocketRNNError: the graph fails, or its logits are NaN or infinite.
    """
    kind = find_step_dtype(classifier.manifest)
    logits = compute_logits(classifier._engine, classifier.name, [np.asarray(row, kind) for row in rows])
    if classifier._chosen is not None:
        logits = classifier._chosen.select_and_weight_logits_of_rows(logits)
    if not classifier.manifest.output.of_tokens:
        classifier._answers.check_finite(logits)
    return logits


def list_refusal_reasons(classifier: Classifier) -> list[str]:
    """List the reasons for which the classifier refuses a text, each as the end of a sentence, such as "with too few or
    too many tokens"."""
    return classifier._get_text_intake("classify()").refusal_reasons


def compute_logits_up_to_first_refused_text(
    classifier: Classifier, texts: Sequence[Any]
) -> tuple[Floats, LimitError | None]:
    """Compute the logits of texts or sequences, up to the first that the classifier refuses.

    Args:
        texts: strings, or lists of tokens or ids; or valid sequences.

    Returns:
        float32 [answered texts, labels], and the error for the refused text; None if all texts are answered.
    """
    parts = [np.empty((0, len(classifier.labels)), np.float32)]
    for logits, skipped in classifier._compute_logits_of_chunks(texts, "skip", warns=False):
        if skipped:
            parts.append(logits[: skipped[0]])
            answered = np.concatenate(parts)
            return answered, find_refusal_error_of_text(classifier, texts[len(answered)])
        parts.append(logits)
    return np.concatenate(parts), None


def find_refusal_error_of_text(classifier: Classifier, text: Text) -> LimitError:
    """Return the error that `classify` would raise for a text that was skipped."""
    return classifier._get_text_intake("classify()").find_refusal_error(text)


def read_graph_metadata(classifier: Classifier) -> Mapping[str, str]:
    """Return the metadata of a classifier's graph (`metadata_props` in an ONNX file)."""
    return classifier._engine.metadata


def get_answers_of_chosen_labels(classifier: Classifier) -> Answers:
    """Return the object that turns a classifier's logits into answers, with only the labels that `among` or `head`
    left."""
    return classifier._answers


def can_split_texts(classifier: Classifier) -> bool:
    """Return whether a classifier can split strings into tokens, by its bundle's tokenizer or by the function that was
    given to `load`."""
    return classifier._tokenizer is not None or classifier.manifest.text.rules.tokenizer != "external"


def _load_pickled_copy(
    folder: Path,
    threads: int,
    options: Options,
    tokenizer: Tokenizer | None,
    out_of_range: OutOfRange | None,
    chosen: ChosenLabels | None,
) -> Classifier:
    """Load a pickled classifier again from the folder of its bundle, with the options and chosen labels that it had
    when it was pickled."""
    classifier = Classifier.load(
        folder,
        threads=threads,
        max_batch_tokens=options.max_batch_tokens,
        providers=options.providers,
        trust=options.trust,
        tokenizer=tokenizer,
        out_of_range=out_of_range,
    )
    return classifier if chosen is None else classifier._restrict_to_labels(chosen)
