"""What `umbel serve` is told: packs and indexes by name, and an extra that is not there."""

import signal

import pytest
from tiny_pack import write_tiny_backbone, write_tiny_pack

from umbel import serving
from umbel.errors import BackboneError, InputError, MissingExtraError, PackError
from umbel.server.keys import KeyEntry
from umbel.server.settings import Settings
from umbel.terminal import output


@pytest.fixture
def pack(tmp_path):
    return write_tiny_pack(tmp_path / "pack", write_tiny_backbone(tmp_path / "backbone")).folder


def test_packs_have_their_own_name_or_one_that_is_given(pack):
    assert serving.sources_of([str(pack), f"mine={pack}"]) == {"tiny": str(pack), "mine": str(pack)}
    with pytest.raises(InputError, match="two packs are called tiny"):
        serving.sources_of([str(pack), f"tiny={pack}"])
    with pytest.raises(PackError):
        serving.sources_of(["nothing"])


def test_indexes_are_named(tmp_path):
    (tmp_path / "docs.index").write_text("")
    assert serving.named([f"docs={tmp_path}/docs.index"], "--index") == {"docs": tmp_path / "docs.index"}
    for wrong in ("docs", "=docs.index", f"docs={tmp_path}/no.index"):
        with pytest.raises(InputError, match="--index"):
            serving.named([wrong], "--index")


def test_a_missing_extra_names_its_command(monkeypatch):
    monkeypatch.setattr(serving, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError) as raised:
        serving.serve(["base"], Settings())
    assert raised.value.hint == 'pip install "umbel[serve]"'


def test_keys_are_shown_in_a_table(capsys):
    entries = [KeyEntry(name="shop", sha256="abc", per_minute=1000), KeyEntry(name="boss", sha256="d", role="admin")]
    output().print(serving.keys_table(entries))
    shown = capsys.readouterr().out
    assert "1,000" in shown
    assert "abc" not in shown


@pytest.mark.parametrize(("screen", "opened"), [({"DISPLAY": ":0"}, ["http://here/studio/"]), ({}, [])])
def test_the_studio_is_opened_where_there_is_a_screen(pack, monkeypatch, screen, opened):
    from umbel.server import logs, running

    shown = []
    monkeypatch.setattr(serving.sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in screen.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(serving, "prepare", lambda source: None)
    monkeypatch.setattr(serving.webbrowser, "open", shown.append)
    monkeypatch.setattr(serving, "Thread", Now)
    monkeypatch.setattr(logs, "set_up", lambda form, level: None)
    monkeypatch.setattr(running, "run", lambda sources, settings, told: told("http://here"))
    serving.serve([str(pack)], Settings(), opening=True)
    assert shown == opened
    serving.serve([str(pack)], Settings())
    assert shown == opened


class Now:
    """A thread that runs at once."""

    def __init__(self, target, args, daemon):
        self.start = lambda: target(*args)


def test_decoders_have_their_own_name_or_one_that_is_given(tmp_path):
    listed = ["smollm2-135m-instruct", f"{tmp_path}/tiny.gguf", "mine=gemma-3-270m", "http://127.0.0.1:1/v1?a=b#qwen"]
    assert serving.named_decoders(listed) == {
        "smollm2-135m-instruct": "smollm2-135m-instruct",
        "tiny": f"{tmp_path}/tiny.gguf",
        "mine": "gemma-3-270m",
        "qwen": "http://127.0.0.1:1/v1?a=b#qwen",
    }
    for wrong in (["=a"], ["a="], ["a", "a"]):
        with pytest.raises(InputError, match="--decoder"):
            serving.named_decoders(wrong)
    with pytest.raises(BackboneError, match="e5-small is an encoder"):
        serving.fetched_decoder("e5-small")


def test_sigterm_before_anything_is_served_ends_well():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended, serving.ending_at_once():
        signal.raise_signal(signal.SIGTERM)
    assert ended.value.code == 0
    assert signal.getsignal(signal.SIGTERM) == before
