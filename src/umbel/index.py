"""Finds the URL of one file of a project on the package indexes that pip is set to use.

Knows nothing of backbones or caches. Speaks the simple API, as JSON (PEP 691) where the index has it, else as HTML
(PEP 503), over HTTP or from a folder (`file:`). Where none is set, pip knows the public one.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from html.parser import HTMLParser
from http.client import HTTPException
from importlib.util import find_spec
from typing import Any
from urllib.error import URLError
from urllib.parse import unquote, urljoin, urlsplit

from umbel.download import OFFLINE_HINT, Client, redact, refuse_if_final
from umbel.errors import DownloadError

ACCEPT = "application/vnd.pypi.simple.v1+json, text/html;q=0.1"
_SECTIONS = ("global", "download")  # the later one wins, as in `pip download`


@dataclass(frozen=True)
class IndexSettings:
    """The indexes to ask, in order, and the file of certificates to trust, if not the system's."""

    urls: tuple[str, ...]
    certificates: str | None = None


def index_settings() -> IndexSettings:
    """Return what pip would use: its environment variables (then uv's), else its configuration, else its default."""
    configured = _pip_configuration()
    environment = os.environ

    def setting(name: str, *variables: str) -> str:
        found = (value for variable in variables if (value := environment.get(variable)))
        return next(found, configured.get(name, ""))

    first = setting("index-url", "PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL") or _public_index()
    others = setting("extra-index-url", "PIP_EXTRA_INDEX_URL", "UV_EXTRA_INDEX_URL").split()
    return IndexSettings((first, *others), setting("cert", "PIP_CERT") or None)


def _public_index() -> str:
    """Return the index that pip asks when it is told of none.

    Raises:
        DownloadError: pip is not installed.
    """
    try:
        from pip._internal.models.index import PyPI
    except ImportError as error:
        message = "no package index is set, and pip, which knows the public one, is not installed"
        raise DownloadError(message, "set PIP_INDEX_URL to an index, or install pip") from error
    return str(PyPI.simple_url)


def _pip_configuration() -> dict[str, str]:
    """Ask pip for its configuration files' settings; an environment without pip has none."""
    if find_spec("pip") is None:
        return {}
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "config", "list"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line.partition("=") for line in answer.stdout.splitlines() if "=" in line]
    settings: dict[str, str] = {}
    for section in _SECTIONS:
        for key, _, value in lines:
            if key.startswith(f"{section}."):
                settings[key.removeprefix(f"{section}.")] = str(ast.literal_eval(value))
    return settings


def locate(project: str, filename: str, settings: IndexSettings, client: Client) -> str:
    """Return the URL of `filename`, from the first index that has it.

    Raises:
        DownloadError: no index has it or none can be reached; what each one answered is told.
    """
    answers = []
    for index in settings.urls:
        page = f"{index.rstrip('/')}/{project}/"
        try:
            files = _files(page, client)
        except DownloadError as error:
            answers.append(error.message)
        else:
            if filename in files:
                return files[filename]
            answers.append(f"{redact(page)}: lists no {filename}")
    raise DownloadError("; ".join(answers), OFFLINE_HINT)


def _files(page: str, client: Client) -> dict[str, str]:
    """Return the URLs of a project's files by file name."""
    if page.startswith("file:"):
        page += "index.html"  # as pip reads an index in a folder
    try:
        with closing(client.open(page, {"Accept": ACCEPT})) as response:
            body, base = response.read(), response.url
            kind = response.headers.get_content_type()
    except (URLError, OSError, HTTPException) as error:
        refuse_if_final(page, error)
        reason = getattr(error, "reason", None) or error
        raise DownloadError(f"{redact(page)}: cannot be reached ({reason})", OFFLINE_HINT) from error
    links = _json_links(body, page) if kind.endswith("json") else _html_links(body)
    return {_filename(link): urljoin(base, link) for link in links}


def _json_links(body: bytes, page: str) -> list[str]:
    try:
        answer: dict[str, Any] = json.loads(body)
        return [str(file["url"]) for file in answer["files"]]
    except (ValueError, KeyError, TypeError) as error:
        raise DownloadError(f"{redact(page)}: not a list of files ({error})", "ask another index") from error


def _html_links(body: bytes) -> list[str]:
    parser = _Links()
    parser.feed(body.decode(errors="replace"))
    return parser.links


class _Links(HTMLParser):
    """Collects where the anchors of a page lead."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.links += [value for name, value in attrs if name == "href" and value]


def _filename(link: str) -> str:
    return unquote(urlsplit(link).path).rpartition("/")[2]
