"""Loads a decoder by name: from the catalogue, a GGUF file, a hub id, or a server's address. Knows nothing of tasks."""

from __future__ import annotations

import os
from pathlib import Path

from umbel.catalogue import CATALOGUE, DEFAULT_WRITER, ENCODERS, entry_of, pull
from umbel.decoding.engine import CONTEXT, LlamaCpp
from umbel.download import Progress, sha256_of
from umbel.errors import BackboneError, DownloadError, MissingExtraError, suggest
from umbel.hub import is_hub_id


def load_decoder(
    name_or_path: str | Path = DEFAULT_WRITER,
    threads: int = 0,
    context: int = CONTEXT,
    progress: Progress | None = None,
) -> LlamaCpp:
    """Load a decoder: a name of the catalogue (fetched if need be), a GGUF file, or a hub id that holds one.

    `threads` is 0 for all processors. `context` is how many tokens a text with its answer may have.

    Raises:
        BackboneError: it is unknown, damaged, or an encoder.
        DownloadError: it is not there and cannot be fetched.
        MissingExtraError: a package that it needs is not installed.
    """
    name = str(name_or_path)
    threads = threads or len(os.sched_getaffinity(0))
    if is_decoder(name):
        return LlamaCpp(pull(name, progress=progress), name, entry_of(name).sha256, threads, context)
    path = Path(name).expanduser()
    if name not in CATALOGUE and not path.is_file() and is_hub_id(name):
        path = _fetch(name)
    if name not in CATALOGUE and path.is_file():
        return LlamaCpp(path, path.stem, sha256_of(path), threads, context)
    known = [each.name for each in CATALOGUE.values() if each.architecture not in ENCODERS]
    what = "an encoder, which does not write" if name in CATALOGUE else "no decoder of the catalogue and no GGUF file"
    raise BackboneError(f"{name!r} is {what}{suggest(name, known)}", "umbel models")


def is_decoder(name: str) -> bool:
    """Tell whether a name of the catalogue is that of a decoder."""
    return name in CATALOGUE and CATALOGUE[name].architecture not in ENCODERS


def _fetch(hub_id: str) -> Path:
    """Return the GGUF file of a hub model: the only one, or that in Q4_K_M."""
    try:
        from huggingface_hub import HfApi, hf_hub_download
    except ImportError as error:
        raise MissingExtraError(f"huggingface_hub (needed as there is no file {hub_id!r} here)", "hub") from error
    try:
        files = sorted(name for name in HfApi().list_repo_files(hub_id) if name.lower().endswith(".gguf"))
        wanted = files if len(files) == 1 else [name for name in files if "q4_k_m" in name.lower()]
        if len(wanted) != 1:
            raise BackboneError(f"{hub_id}: found {len(files)} GGUF files, expected one, or one in Q4_K_M", _BRING)
        return Path(hf_hub_download(hub_id, wanted[0]))
    except (OSError, ValueError) as error:  # the library's errors are of these
        raise DownloadError(f"{hub_id}: cannot be fetched from the hub ({error})", _BRING) from error


_BRING = "bring a .gguf file and give its path"
