"""The text rules of a bundle as a file for programs that run its graph by themselves, compared with the bundle's."""

from __future__ import annotations

import logging
from pathlib import Path

from pocketrnn.bundle import manifest as manifests
from pocketrnn.bundle.folder import file_written_whole
from pocketrnn.bundle.manifest import Manifest
from pocketrnn.bundle.packed_file import is_packed, packed_text_rules
from pocketrnn.bundle.zoo import bundle_folder
from pocketrnn.engines.native import native_module
from pocketrnn.errors import BundleError, InputError, ParityError, shown
from pocketrnn.text import EXTERNAL, TextEncoder
from pocketrnn.text.text_input import TextInput
from pocketrnn_export.comparing.cases import texts_for_proof
from pocketrnn_export.progress import told_on_stderr

__all__ = ["pack_text_rules"]

_log = logging.getLogger(__name__)


def pack_text_rules(bundle: str | Path, path: str | Path, *, force: bool = False, progress: bool = True) -> Manifest:
    """Write the text rules of a bundle, its labels and its document as one file, with which the native engine makes the
    ids of texts. Browsers and programs in C++ read it beside the bundle's graph.

    Args:
        bundle: a bundle's folder, or a shipped classifier's name.
        path: the file to write, by convention text.prnn beside the graph.
        force: replace a file at `path`.
        progress: say on standard error what is done, as `export` does.

    Returns:
        what the bundle says.

    Raises:
        InputError: the bundle is packed already, or takes sequences of numbers; among them OutputError, when `path` is
            taken.
        BundleError: there is no such bundle, it is damaged, or the engine cannot hold its rules.
        MissingExtraError: the native engine is not installed.
        ParityError: the engine makes other ids of a text than the bundle's rules. Nothing was written.

    Example:
        >>> pack_text_rules("ag_news", "text.prnn").name
        'ag_news'
    """
    folder = bundle_folder(bundle)
    if is_packed(folder):
        raise InputError(f"{folder} is packed already.", "Give the bundle that it was made from.")
    manifest = manifests.read(folder)
    if not isinstance(manifest.input, TextInput):
        raise InputError(f"{folder.name} takes sequences of numbers, which have no text rules.", "Pack it as a whole.")
    manifest.check_one_text("a file of text rules is of")
    with told_on_stderr(progress), file_written_whole(Path(path), force=force) as work:
        content = packed_text_rules(manifest)
        _log.info("Comparing its ids with those of the bundle's rules")
        _compare(manifest, content)
        work.write(content)
    return manifest


def _compare(manifest: Manifest, content: bytes) -> None:
    module, encoder = native_module(), TextEncoder(manifest.text.rules, manifest.text.vocabulary)
    try:
        engine = module.Packed(content)
    except module.EngineError as error:
        raise BundleError(
            f"The engine cannot hold the text rules of {manifest.name}: {error}", "Use the bundle in Python."
        ) from None
    given = [example.shown for example in manifest.texts]
    for text in texts_for_proof(given, manifest.text.vocabulary, manifest.text.rules, made_too=True):
        tokens = text.split(" ")
        same = engine.encode_tokens(tokens) == encoder.encode_tokens(tokens)
        if manifest.text.rules.tokenizer != EXTERNAL:
            same = same and engine.encode(text) == encoder.encode(text)
        if not same:
            raise ParityError(
                f"The engine makes other ids of {shown(text, 40)} than the text rules of {manifest.name}.",
                "Please report it with the bundle's classifier.json.",
            )
