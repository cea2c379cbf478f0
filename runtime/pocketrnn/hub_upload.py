"""Publish a classifier on a model hub, with a card that describes it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pocketrnn.bundle.bundle_lookup import find_or_download_bundle
from pocketrnn.bundle.hub_download import (
    SCHEME,
    HubAddress,
    import_hub_library,
    parse_hub_address,
    translate_hub_errors,
)
from pocketrnn.bundle.manifest import Manifest
from pocketrnn.bundle.packed_file import is_packed_file
from pocketrnn.errors import InputError
from pocketrnn.text.features_beside_text import make_example_values, write_example_feature_options
from pocketrnn.text.text_input import TextInput
from pocketrnn.verdicts import describe_graph_proof, read_text_verdict
from pocketrnn.verification import verify

__all__ = ["push"]

_CARD: Final = "README.md"
_SHOWN_LABELS: Final = 100


def push(
    bundle: str | os.PathLike[str], address: str, *, private: bool = False, message: str | None = None
) -> HubAddress:
    """Verify a bundle or a packed file, and upload it to a model hub in one commit.

    A missing repository is created. If the repository has no README.md, a card that describes the classifier is
    written. The hub's library handles authentication: `hf auth login`, or the variable HF_TOKEN.

    Args:
        bundle: a bundle's folder, the name of a shipped classifier, or a packed file.
        address: the repository: hf://user/name, or user/name.
        private: whether only its owner can read a new repository.
        message: the message of the commit; None for one with the classifier's name.

    Returns:
        the address with the new commit as its revision, so that its content never changes.

    Raises:
        MissingExtraError: the library `huggingface_hub` is not installed.
        InputError: the address has a revision, or is not an address; or the classifier takes sequences of numbers.
        BundleError: the bundle is missing or damaged, or the hub refuses the upload or cannot be reached.
        ParityError: a golden example is answered differently here.
    """
    wanted = parse_hub_address(address)
    if wanted.revision is not None:
        raise InputError(
            f"{address} has a revision (after the @), but an upload always makes a new one.",
            f"Give {SCHEME}{wanted.name}.",
        )
    library = import_hub_library()
    # Resolved once: an address may name another commit a moment later.
    folder = find_or_download_bundle(bundle)
    verification = verify(folder)
    if not isinstance(verification.manifest.input, TextInput):
        raise InputError(
            f"`pocketrnn push` works only for classifiers of texts, but {bundle} takes sequences of numbers.",
            "Upload the files with the hub's own command: hf upload.",
        )
    files = [folder] if is_packed_file(folder) else [folder / name for name in verification.files]
    api = library.HfApi()
    with translate_hub_errors(wanted):
        api.create_repo(wanted.name, private=private, exist_ok=True)
        additions = [library.CommitOperationAdd(path.name, str(path)) for path in files]
        if not api.file_exists(wanted.name, _CARD):
            text = "\n".join((*_format_card_lines(verification.manifest, wanted, files), ""))
            additions.append(library.CommitOperationAdd(_CARD, text.encode()))
        said = message or f"{verification.manifest.name}, by pocketrnn"
        commit = api.create_commit(wanted.name, additions, commit_message=said)
    return HubAddress(wanted.name, commit.oid)


def _format_card_lines(manifest: Manifest, address: HubAddress, files: list[Path]) -> Iterator[str]:
    """Yield the lines of a classifier's card, the README.md of its repository: what the classifier does, how to use it,
    and what is proven."""
    of_tokens = manifest.output.of_tokens
    task = "token-classification" if of_tokens else "text-classification"
    name, labels = _escape_markdown(manifest.name), [_escape_markdown(label) for label in manifest.labels]
    yield from ("---", "library_name: pocketrnn", f"pipeline_tag: {task}", "---", f"# {name}", "")
    given = "each token of a text" if of_tokens else "two texts" if manifest.has_two_texts else "a text"
    example = '("a text", "another text")' if manifest.has_two_texts else '"a text"'
    on_a_line = '"a text" "another text"' if manifest.has_two_texts else '"a text"'
    if manifest.features:
        values = make_example_values(manifest.features)
        given += f" with {', '.join(values)}"
        example = f'("a text", {values!r})'
        on_a_line = f'{write_example_feature_options(manifest.features)}"a text"'
    more = f" and {len(labels) - _SHOWN_LABELS} more" if len(labels) > _SHOWN_LABELS else ""
    several = "any number of" if manifest.output.activation == "sigmoid" else "one of"
    several = f"for each of {len(manifest.heads)} heads one or some of" if manifest.heads else several
    yield f"Gives {given} {several} {len(labels)} labels: {', '.join(labels[:_SHOWN_LABELS])}{more}."
    yield from ("", "```console", f"$ pocketrnn classify -b {address} {on_a_line}", "```", "")
    yield from ("```python", "from pocketrnn import Classifier", "", f'classifier = Classifier.load("{address}")')
    yield from (f"print(classifier.{'tag' if of_tokens else 'classify'}({example}))", "```", "")
    size = sum(path.stat().st_size for path in files)
    yield f"{len(manifest.text.vocabulary):,} tokens, {size:,} bytes. It is answered without PyTorch."
    yield from ("", "## Proof", "", f"- Graph: {_escape_markdown(describe_graph_proof(manifest))}")
    yield f"- Text rules: {_escape_markdown(read_text_verdict(manifest).sentence)}"
    yield f"- It holds {len(manifest.examples)} golden examples, which are texts that anybody can read."
    yield from ("", "The owner states here the licence, the data and the limits of use.")


def _escape_markdown(text: str) -> str:
    """Escape text so that Markdown and a terminal show it literally."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>#|!" else c for c in shown)
