"""pocketrnn: run exported recurrent classifiers of texts and of numbers, with numpy and onnxruntime alone."""

# Not from typing, whose import takes longer than all else here; type checkers know the name.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from pocketrnn.bundle.output_kinds import HeadsOutput, LabelOutput, TagOutput, ValueOutput
    from pocketrnn.classifier import Classifier
    from pocketrnn.errors import PocketRNNError
    from pocketrnn.numbers.number_input import NumberInput
    from pocketrnn.predictions_from_logits import Prediction
    from pocketrnn.tags import Span, Tag, Tags, spans_of
    from pocketrnn.text.features_beside_text import Category, Number
    from pocketrnn.text.text_input import CharacterInput, FeatureInput, PairInput, TextInput
    from pocketrnn.text.token_characters import Characters
    from pocketrnn.verification import verify

__version__ = "0.1.0"

__all__ = [
    "Category",
    "CharacterInput",
    "Characters",
    "Classifier",
    "FeatureInput",
    "HeadsOutput",
    "LabelOutput",
    "Number",
    "NumberInput",
    "PairInput",
    "PocketRNNError",
    "Prediction",
    "Span",
    "Tag",
    "TagOutput",
    "Tags",
    "TextInput",
    "ValueOutput",
    "__version__",
    "spans_of",
    "verify",
]

# The module that defines each name. It is imported when the name is first used, so that the command line can handle
# signals before numpy and onnxruntime are read.
_MODULE_OF_NAME = {
    "Category": "pocketrnn.text.features_beside_text",
    "CharacterInput": "pocketrnn.text.text_input",
    "Characters": "pocketrnn.text.token_characters",
    "Classifier": "pocketrnn.classifier",
    "FeatureInput": "pocketrnn.text.text_input",
    "HeadsOutput": "pocketrnn.bundle.output_kinds",
    "LabelOutput": "pocketrnn.bundle.output_kinds",
    "Number": "pocketrnn.text.features_beside_text",
    "NumberInput": "pocketrnn.numbers.number_input",
    "PairInput": "pocketrnn.text.text_input",
    "PocketRNNError": "pocketrnn.errors",
    "Prediction": "pocketrnn.predictions_from_logits",
    "Span": "pocketrnn.tags",
    "Tag": "pocketrnn.tags",
    "TagOutput": "pocketrnn.bundle.output_kinds",
    "Tags": "pocketrnn.tags",
    "TextInput": "pocketrnn.text.text_input",
    "ValueOutput": "pocketrnn.bundle.output_kinds",
    "spans_of": "pocketrnn.tags",
    "verify": "pocketrnn.verification",
}

# Type checkers read the imports above: with this function, they would take a misspelt name for one that is there.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Import a name of `__all__`, or a module such as `pocketrnn.errors`, when the name is first used."""
        from importlib import import_module

        if name in _MODULE_OF_NAME:
            value = globals()[name] = getattr(import_module(_MODULE_OF_NAME[name]), name)
            return value
        if name.isidentifier() and not name.startswith("_"):
            module = f"{__name__}.{name}"
            try:
                return import_module(module)
            except ModuleNotFoundError as error:
                # Not of another package, which the module needs.
                if error.name != module:
                    raise
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
