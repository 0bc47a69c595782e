"""The processor: how many cores there are to use, and which one it is."""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")

TELLING = frozenset({
    "vendor_id", "cpu family", "model", "model name", "stepping", "flags", "cache size",  # x86
    "CPU implementer", "CPU architecture", "CPU variant", "CPU part", "CPU revision", "Features",  # ARM
})  # fmt: skip
"""What Linux says of a processor and does not change while it runs."""


def available_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def processor() -> str:
    """Which processor this is, as text: what was measured on one of another text may not hold here."""
    found = [platform.machine(), platform.processor()]
    if CPUINFO.is_file():
        first = CPUINFO.read_text(errors="replace").split("\n\n")[0]
        lines = (line.partition(":") for line in first.splitlines())
        found += [f"{key.strip()} {value.strip()}" for key, _, value in lines if key.strip() in TELLING]
    return "; ".join(found)
