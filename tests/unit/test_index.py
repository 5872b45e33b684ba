"""Finding a file on package indexes, as JSON, HTML and in a folder, and reading pip's settings."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from file_server import FileServer, serve

from umbel import index
from umbel.download import Client
from umbel.errors import DownloadError
from umbel.index import IndexSettings, index_settings, locate

VARIABLES = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_CERT", "UV_DEFAULT_INDEX", "UV_INDEX_URL")
WHEEL = "thing-1.0-py3-none-any.whl"
JSON = "application/vnd.pypi.simple.v1+json"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serve() as server:
        yield server


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that says nothing of indexes."""
    for variable in (*VARIABLES, "UV_EXTRA_INDEX_URL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(index, "_pip_configuration", dict)


def offer(server: FileServer, body: str, kind: str) -> IndexSettings:
    server.files["/simple/thing/"] = body.encode()
    server.kinds["/simple/thing/"] = kind
    return IndexSettings((f"{server.url}/simple",))


def test_a_file_is_found_in_a_json_page(server: FileServer) -> None:
    files = [{"filename": "other.whl", "url": "../../other.whl"}, {"filename": WHEEL, "url": f"../../files/{WHEEL}"}]
    settings = offer(server, json.dumps({"files": files}), JSON)
    assert locate("thing", WHEEL, settings, Client()) == f"{server.url}/files/{WHEEL}"
    assert JSON in server.headers_of("/simple/thing/")[0]["Accept"]


def test_a_file_is_found_in_an_html_page(server: FileServer) -> None:
    link = f'<a href="/files/{WHEEL.replace("-", "%2D")}#sha256=00" data-requires-python="&gt;=3">{WHEEL}</a>'
    settings = offer(server, f"<html><body><a name=top></a><a href='x.whl'>x</a>{link}</body></html>", "text/html")
    assert locate("thing", WHEEL, settings, Client()) == f"{server.url}/files/{WHEEL.replace('-', '%2D')}#sha256=00"


def test_links_are_relative_to_where_a_redirect_led(server: FileServer) -> None:
    offer(server, f'<a href="{WHEEL}">{WHEEL}</a>', "text/html")
    server.redirects["/old/thing/"] = "/simple/thing/"
    found = locate("thing", WHEEL, IndexSettings((f"{server.url}/old/",)), Client())
    assert found == f"{server.url}/simple/thing/{WHEEL}"


def test_a_folder_serves_as_index(tmp_path: Path) -> None:
    (tmp_path / "thing").mkdir()
    (tmp_path / "thing" / "index.html").write_text(f'<a href="{WHEEL}">{WHEEL}</a>')
    found = locate("thing", WHEEL, IndexSettings((tmp_path.as_uri(),)), Client())
    assert found == (tmp_path / "thing" / WHEEL).as_uri()


def test_indexes_are_asked_in_order(server: FileServer) -> None:
    offer(server, f'<a href="{WHEEL}">{WHEEL}</a>', "text/html")
    urls = (f"{server.url}/none", f"{server.url}/simple")
    assert locate("thing", WHEEL, IndexSettings(urls), Client()).endswith(WHEEL)


def test_what_each_index_answered_is_told_without_logins(server: FileServer) -> None:
    settings = offer(server, json.dumps({"files": []}), JSON)
    secret = server.url.replace("http://", "http://user:secret@")
    with pytest.raises(DownloadError) as caught:
        locate("thing", WHEEL, IndexSettings((*settings.urls, f"{secret}/none", "http://127.0.0.1:9/s")), Client())
    assert f"/simple/thing/: lists no {WHEEL}" in str(caught.value)
    assert "/none/thing/: the server answered 404" in str(caught.value)
    assert "127.0.0.1:9/s/thing/: cannot be reached" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("body", ["no json", "[]", '{"files": [{}]}', '{"name": "thing"}'])
def test_a_page_that_is_no_list_is_told(server: FileServer, body: str) -> None:
    with pytest.raises(DownloadError, match="not a list of files"):
        locate("thing", WHEEL, offer(server, body, JSON), Client())


@pytest.mark.usefixtures("bare")
def test_without_settings_it_is_pips_default() -> None:
    models = pytest.importorskip("pip._internal.models.index", reason="pip is not installed here")
    assert index_settings() == IndexSettings((models.PyPI.simple_url,))


@pytest.mark.usefixtures("bare")
def test_without_settings_and_pip_it_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pip._internal.models.index", None)
    with pytest.raises(DownloadError, match="no package index is set") as caught:
        index_settings()
    assert "PIP_INDEX_URL" in caught.value.hint


@pytest.mark.usefixtures("bare")
def test_the_environment_goes_before_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    configured = {"index-url": "http://c", "extra-index-url": "http://d\nhttp://e", "cert": "/ca.pem"}
    monkeypatch.setattr(index, "_pip_configuration", lambda: configured)
    assert index_settings() == IndexSettings(("http://c", "http://d", "http://e"), "/ca.pem")
    monkeypatch.setenv("PIP_INDEX_URL", "http://a")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "http://b")
    assert index_settings() == IndexSettings(("http://a", "http://b"), "/ca.pem")


@pytest.mark.usefixtures("bare")
def test_the_index_of_uv_serves_where_pip_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_INDEX_URL", "http://uv")
    assert index_settings().urls == ("http://uv",)


def test_pips_configuration_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pip", reason="pip is not installed here")
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / "pip.conf").write_text(
        "[global]\nindex-url = http://user:it's@a/simple\n[download]\nextra-index-url =\n  http://b\n  http://c\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    assert index_settings().urls == ("http://user:it's@a/simple", "http://b", "http://c")


def test_an_environment_without_pip_has_no_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "find_spec", lambda name: None)
    assert index._pip_configuration() == {}
