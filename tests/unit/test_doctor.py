"""What the doctor finds, on this machine and on made-up ones."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from umbel import doctor, processor
from umbel.tables import doctor_report

CPU = "processor : 0\nmodel name : Some CPU\nflags : fpu avx2 avx512f avx512_bf16 amx_tile\n"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UMBEL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def shown(found: dict[str, Any]) -> str:
    file = io.StringIO()
    Console(file=file, width=80, markup=False).print(doctor_report(found))
    return file.getvalue()


def test_a_sound_installation_has_no_problems(cache: Path) -> None:
    found = json.loads(json.dumps(doctor.examine()))
    assert found["problems"] == []
    assert found["engine"]["devices"]
    assert found["packages"]["numpy"]
    assert found["cache"] == found["cache"] | {"folder": str(cache), "writable": True}
    assert "torch" in found["extras"]["train"]["packages"]
    assert not cache.exists()
    text = shown(found)
    assert "not fetched: umbel models pull e5-small" in text
    assert "Nothing keeps Umbel from working." in text
    assert max(map(len, text.splitlines())) <= 80


def test_instruction_sets_are_read_from_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpuinfo").write_text(CPU)
    monkeypatch.setattr(processor, "CPU_FILE", tmp_path / "cpuinfo")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    found = processor.instruction_sets()
    assert found is not None
    assert [name for name, there in found.items() if there] == ["avx2", "avx512", "bf16", "amx"]
    assert "neon" not in found


@pytest.mark.parametrize(
    ("flag", "able"), [("avx512_vnni", True), ("avx_vnni", True), ("amx_int8", True), ("avx512_bf16", False)]
)
def test_products_of_bytes_are_known_by_their_instructions(
    flag: str, able: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(f"flags : fpu avx2 {flag}\n")
    monkeypatch.setattr(processor, "CPU_FILE", tmp_path / "cpuinfo")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    processor.multiplies_bytes.cache_clear()
    assert processor.multiplies_bytes() == able
    processor.multiplies_bytes.cache_clear()


def test_a_system_that_does_not_tell_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "CPU_FILE", tmp_path / "nowhere")
    monkeypatch.setattr("sys.platform", "linux")
    assert processor.instruction_sets() is None
    assert "instructions  unknown" in shown(doctor.examine())


def test_a_broken_engine_and_a_missing_package_are_problems_with_remedies(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> Any:
        raise ImportError(f"{name}: libtbb.so.12 is missing")

    real = doctor._version
    monkeypatch.setattr(doctor, "import_module", broken)
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "sentencepiece" else real(name))
    text = shown(doctor.examine())
    assert "OpenVINO cannot be used: openvino: libtbb.so.12 is missing" in text
    assert "pip install --force-reinstall openvino" in text
    assert "pip install sentencepiece" in text


def test_it_works_where_packages_cannot_be_imported() -> None:
    code = (
        "import sys\n"
        "for name in ('tokenizers', 'openvino', 'pydantic', 'numpy', 'safetensors'): sys.modules[name] = None\n"
        "from umbel.doctor import examine\n"
        "print(len(examine()['problems']))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "2\n"  # the engine, and a broken package


def test_a_missing_extra_is_told_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    real = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "torch" else real(name))
    found = doctor.examine()
    assert found["extras"]["train"]["installed"] is False
    assert 'pip install "umbel[train]"' in shown(found)
    assert found["problems"] == []


def test_a_cache_that_is_a_file_is_one_problem(cache: Path) -> None:
    cache.write_text("not a folder")
    found = doctor.examine()
    assert len(found["problems"]) == 1
    assert "UMBEL_CACHE" in found["problems"][0]["remedy"]
    assert shown(found)


def test_a_cache_that_cannot_be_written_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert "cannot be written" in doctor.examine()["problems"][0]["problem"]
