"""Names the machine that figures were measured on."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from sapwood.runtime import available_cores

CPUINFO = Path("/proc/cpuinfo")


def machine() -> dict[str, Any]:
    """Describes the machine and the versions that a measurement holds for; nothing in it names a person or a host.

    Returns:
        Plain JSON: ``cpu`` (model name), ``logical_cores`` (of the machine), ``usable_cores`` (that this process may
        run on), ``threads`` (that PyTorch uses now), ``instruction_set`` (the best PyTorch has kernels for here),
        ``memory_bytes`` (``None`` where the system does not tell), ``os``, ``python``, ``torch``.

    Examples:
        >>> sorted(machine())
        ['cpu', 'instruction_set', 'logical_cores', 'memory_bytes', 'os', 'python', 'threads', 'torch', 'usable_cores']
    """
    return {
        "cpu": cpu_name(),
        "logical_cores": os.cpu_count() or 1,
        "usable_cores": available_cores(),
        "threads": torch.get_num_threads(),
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
        "memory_bytes": _memory_bytes(),
        "os": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": str(torch.__version__),
    }


def cpu_name() -> str:
    """Returns the processor's model name, as far as the system tells."""
    if CPUINFO.is_file():
        for line in CPUINFO.read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in {"model name", "Model", "Hardware"} and value.strip():
                return value.strip()
    if sys.platform == "darwin":
        asked = subprocess.run(
            ["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=False
        )
        if asked.returncode == 0 and asked.stdout.strip():
            return asked.stdout.strip()
    return platform.processor() or platform.machine()


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
