"""Tells what the processor is and which instruction sets it has, as far as the system says."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

FLAGS = {  # ours -> Linux's name of it
    "avx2": "avx2",
    "avx512": "avx512f",
    "vnni": "avx512_vnni",
    "avx-vnni": "avx_vnni",
    "bf16": "avx512_bf16",
    "amx": "amx_tile",
    "amx-int8": "amx_int8",
    "amx-bf16": "amx_bf16",
    "neon": "asimd",
    "arm-bf16": "bf16",
}
_MAC_FLAGS = {"avx2": "avx2_0", "avx512": "avx512f", "neon": "AdvSIMD", "arm-bf16": "FEAT_BF16"}
_WINDOWS_FLAGS = {"avx2": 40, "avx512": 41, "neon": 19}  # of IsProcessorFeaturePresent
CPU_FILE = Path("/proc/cpuinfo")


@cache
def multiplies_bytes() -> bool:
    """Tell whether the processor is known to add up products of 8-bit numbers in one instruction."""
    known = instruction_sets() or {}
    return any(known.get(name, False) for name in ("vnni", "avx-vnni", "amx-int8"))


def processor_name() -> str:
    """Return the processor's name, as the system tells it."""
    named = re.search(r"^model name\s*:\s*(.+)$", _cpu_text(), re.MULTILINE)
    return named[1] if named else platform.processor() or platform.machine()


def instruction_sets() -> dict[str, bool] | None:
    """Return which instruction sets that matter here the processor has, or None where the system does not tell."""
    if sys.platform == "win32":
        return _windows_flags()
    if sys.platform == "darwin":
        return _mac_flags()
    found = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", _cpu_text(), re.MULTILINE)
    if not found:
        return None
    flags = set(found[1].split())
    arm = platform.machine() in ("aarch64", "arm64")
    return {name: flag in flags for name, flag in FLAGS.items() if (name in ("neon", "arm-bf16")) == arm}


def _cpu_text() -> str:
    try:
        return CPU_FILE.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _mac_flags() -> dict[str, bool] | None:
    try:
        told = subprocess.run(
            ["sysctl", "hw.optional", "hw.optional.arm"], check=False, capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    on = set(re.findall(r"hw\.optional\.(?:arm\.)?(\w+): 1", told.stdout))
    return {name: flag in on for name, flag in _MAC_FLAGS.items()}


def _windows_flags() -> dict[str, bool] | None:
    import ctypes

    windows = getattr(ctypes, "windll", None)
    if windows is None:
        return None
    return {name: bool(windows.kernel32.IsProcessorFeaturePresent(n)) for name, n in _WINDOWS_FLAGS.items()}
