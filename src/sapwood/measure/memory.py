"""How much memory a call needs on top of what the process holds."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from sapwood.errors import ConfigError, MeasureError
from sapwood.runtime import give_back
from sapwood.types import Measurement

PROC_SELF = Path("/proc/self")
SAMPLING_SECONDS = 0.001


def peak_memory(fn: Callable[[], object], *, warmup: int = 1) -> Measurement:
    """Measures by how many bytes the process's resident memory rises at its highest while ``fn`` runs.

    Weights that are loaded already do not count; the result of ``fn`` does, and so does memory that other threads take
    meanwhile. Before the call, garbage is collected and freed memory goes back to the system (glibc), so that a
    candidate does not run for nothing in what another one left behind.

    Args:
        fn: What to run.
        warmup: Calls before the measured one, so that what a library sets up once does not count.

    Returns:
        Bytes, never negative. The conditions name the method: ``"kernel"`` is Linux's own high-water mark, reset before
        the call, which misses no peak (and rounds by some pages a core); ``"sampled"`` reads the resident size every
        millisecond, where the mark cannot be reset, and may miss a shorter peak.

    Raises:
        ConfigError: If ``warmup`` is negative.
        MeasureError: If ``fn`` raises, or the system does not tell a process its resident size (not Linux).
    """
    if warmup < 0:
        raise ConfigError(f"warmup: got {warmup!r}; expected a whole number of at least 0")
    if not (PROC_SELF / "status").is_file():
        raise MeasureError(f"peak memory: {sys.platform} does not tell a process its resident size; expected Linux")
    for _ in range(warmup):
        _called(fn)
    gc.collect()
    give_back()
    value, method = _kernel_peak(fn) if _reset_high_water_mark() else _sampled_peak(fn)
    return Measurement(float(max(value, 0)), "bytes", {"method": method, "warmup": warmup, "figure": "rise of the RSS"})


def _called(fn: Callable[[], object]) -> object:
    try:
        return fn()
    except Exception as error:
        raise MeasureError(f"peak memory: the call failed with {type(error).__name__}: {error}") from error


def _kernel_peak(fn: Callable[[], object]) -> tuple[int, str]:
    before = _status_bytes("VmHWM")
    _called(fn)
    return _status_bytes("VmHWM") - before, "kernel"


def _sampled_peak(fn: Callable[[], object]) -> tuple[int, str]:
    before = highest = _status_bytes("VmRSS")
    done = threading.Event()

    def watch() -> None:
        nonlocal highest
        while not done.wait(SAMPLING_SECONDS):
            highest = max(highest, _status_bytes("VmRSS"))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        output = _called(fn)
        highest = max(highest, _status_bytes("VmRSS"))
        del output
    finally:
        done.set()
        watcher.join()
    return highest - before, "sampled"


def _reset_high_water_mark() -> bool:
    """Makes the resident size of now the highest so far; returns whether the kernel lets us."""
    try:
        (PROC_SELF / "clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _status_bytes(field: str) -> int:
    for line in (PROC_SELF / "status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return 1024 * int(value.removesuffix("kB"))
    raise MeasureError(f"peak memory: {PROC_SELF / 'status'} has no {field}")
