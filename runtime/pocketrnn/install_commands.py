"""Make the pip commands that install an extra of pocketrnn, or its native engine, from where pocketrnn came."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

__all__ = ["make_extra_install_command", "make_native_install_command"]

_NATIVE: Final = "pocketrnn-native"
# Where the native engine's package is in the sources.
_NATIVE_FOLDER: Final = "runtime/native"


def make_extra_install_command(extra: str) -> str:
    """Make the pip command that installs pocketrnn with an extra, such as `export`, from where pocketrnn was
    installed."""
    wanted, origin = f"pocketrnn[{extra}]", _find_install_origin()
    if origin is None:
        return f"pip install {shlex.quote(wanted)}"
    folder = _find_folder_from_url(origin)
    return "pip install " + shlex.quote(f"{wanted} @ {origin}" if folder is None else f"{folder}[{extra}]")


def make_native_install_command() -> str:
    """Make the pip command that installs the native engine, a separate package, from where pocketrnn was installed."""
    origin = _find_install_origin()
    if origin is None:
        return f"pip install {_NATIVE}"
    folder = _find_folder_from_url(origin)
    if folder is not None:
        return f"pip install {shlex.quote(str(folder / _NATIVE_FOLDER))}"
    return "pip install " + shlex.quote(f"{_NATIVE} @ {origin}#subdirectory={_NATIVE_FOLDER}")


def _find_install_origin() -> str | None:
    """Return the URL of the folder or repository from which pip installed pocketrnn; None if pip installed it from a
    package index or a single file. If pocketrnn is not installed, return the URL of its source folder.

    pip writes this URL into the file direct_url.json
    (https://packaging.python.org/en/latest/specifications/direct-url/).
    """
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        told = json.loads(distribution("pocketrnn").read_text("direct_url.json") or "{}")
    except PackageNotFoundError:
        # Imported from the sources without installation.
        told = {"url": Path(__file__).resolve().parents[2].as_uri()}
    except (ValueError, OSError):
        told = {}
    # Checked, since another program wrote the file.
    if not isinstance(told, dict) or not isinstance(url := told.get("url"), str):
        return None
    if isinstance(version := told.get("vcs_info"), dict):
        return f"{version.get('vcs', 'git')}+{url}@{version.get('requested_revision') or version.get('commit_id')}"
    folder = _find_folder_from_url(url)
    files = ("pyproject.toml", f"{_NATIVE_FOLDER}/pyproject.toml")
    return folder.as_uri() if folder is not None and all((folder / file).is_file() for file in files) else None


def _find_folder_from_url(url: str) -> Path | None:
    """Return the folder that a URL of the form file:... names; None for another URL."""
    from urllib.request import url2pathname

    parts = urlsplit(url)
    return Path(url2pathname(parts.path)) if parts.scheme == "file" else None
