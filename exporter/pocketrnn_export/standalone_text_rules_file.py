"""Write the text rules of a bundle, without its graph, to a file for programs that run the graph themselves.

The ids by this file are compared with the bundle's.
"""

from __future__ import annotations

import logging
from pathlib import Path

from pocketrnn.bundle import manifest as manifests
from pocketrnn.bundle.atomic_writing import write_whole_file
from pocketrnn.bundle.bundle_lookup import find_or_download_bundle
from pocketrnn.bundle.manifest import Manifest
from pocketrnn.bundle.packed_file import encode_packed_text_rules, is_packed_file
from pocketrnn.engines.native import import_native_module
from pocketrnn.errors import BundleError, InputError, ParityError, short_repr
from pocketrnn.text import EXTERNAL, TextEncoder
from pocketrnn.text.text_input import TextInput
from pocketrnn_export.comparing.proof_inputs import choose_texts_for_proof
from pocketrnn_export.progress import show_progress

_log = logging.getLogger(__name__)


def pack_text_rules(bundle: str | Path, path: str | Path, *, force: bool = False, progress: bool = True) -> Manifest:
    """Write the text rules and the labels of a bundle, with its classifier.json, as one file. The native engine turns
    texts into ids with this file. Browsers and programs in C++ read it together with the bundle's graph.

    Args:
        bundle: a bundle's folder, or a shipped classifier's name.
        path: the file to write, by convention text.prnn beside the graph.
        force: whether to replace a file at `path`.
        progress: whether to print progress on standard error, as `export` does.

    Returns:
        the bundle's manifest.

    Raises:
        InputError: the bundle is already packed, or takes sequences of numbers.
        OutputError: `path` exists, and `force` is not set.
        BundleError: the bundle does not exist or is damaged, or the engine cannot hold its rules.
        MissingExtraError: the native engine is not installed.
        ParityError: the engine's ids of a text differ from the bundle's. Nothing was written.
    """
    folder = find_or_download_bundle(bundle)
    if is_packed_file(folder):
        raise InputError(f"{folder} is already a packed file.", "Give the bundle that it was made from.")
    manifest = manifests.read_manifest(folder)
    if not isinstance(manifest.input, TextInput):
        raise InputError(
            f"{folder.name} takes sequences of numbers, so it has no text rules to write.",
            "Pack the whole bundle: leave out --text-rules.",
        )
    manifest.require_single_text("a file of text rules")
    manifest.require_single_head("a file of text rules")
    with show_progress(progress), write_whole_file(Path(path), force=force) as work:
        content = encode_packed_text_rules(manifest)
        _log.info("Comparing the file's ids with those of the bundle's rules")
        _refuse_other_ids_of_engine(manifest, content)
        work.write(content)
    return manifest


def _refuse_other_ids_of_engine(manifest: Manifest, content: bytes) -> None:
    """Raise a ParityError if the native engine, with the packed text rules, gives a text other ids than the bundle's
    rules."""
    module, encoder = import_native_module(), TextEncoder(manifest.text.rules, manifest.text.vocabulary)
    try:
        engine = module.Packed(content)
    except module.EngineError as error:
        raise BundleError(
            f"The native engine cannot hold the text rules of {manifest.name}: {error}", "Use the bundle in Python."
        ) from None
    given = [example.shown for example in manifest.golden_texts]
    for text in choose_texts_for_proof(given, manifest.text.vocabulary, manifest.text.rules, made_too=True):
        tokens = text.split(" ")
        same = engine.encode_tokens(tokens) == encoder.encode_tokens(tokens)
        if manifest.text.rules.tokenizer != EXTERNAL:
            same = same and engine.encode(text) == encoder.encode(text)
        if not same:
            raise ParityError(
                f"The native engine gives {short_repr(text, 40)} other ids than the text rules of {manifest.name} do.",
                "This is a bug of pocketrnn. Please report it with the bundle's classifier.json.",
            )
