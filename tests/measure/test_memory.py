from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from sapwood.errors import ConfigError, MeasureError
from sapwood.measure import memory, peak_memory

MEBIBYTE = 2**20
SLACK = 8 * MEBIBYTE
"""What the interpreter and the allocator may take besides, generously; the calls under test take 60 MiB and more."""
ROUNDING = MEBIBYTE
"""The kernel adds up pages a core at a time, in batches of 32 or more."""

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process its resident size")


def fill(num_bytes: int) -> bytes:
    return b"x" * num_bytes


def fill_for_a_while() -> None:
    """Holds 100 MiB, and sleeps meanwhile, so that a sampling thread gets its turn however busy the machine is."""
    held = fill(100 * MEBIBYTE)
    time.sleep(0.5)
    assert len(held) == 100 * MEBIBYTE


@linux
@pytest.mark.parametrize("method", ["kernel", "sampled"])
def test_a_peak_is_seen_and_what_was_there_is_not(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if method == "kernel" and not memory._reset_high_water_mark():
        pytest.skip("this kernel does not reset the high-water mark")
    if method == "sampled":
        monkeypatch.setattr(memory, "_reset_high_water_mark", lambda: False)
    held = fill(50 * MEBIBYTE)
    measured = peak_memory(fill_for_a_while)
    assert 100 * MEBIBYTE - ROUNDING <= measured.value < 100 * MEBIBYTE + SLACK
    assert (measured.unit, measured.conditions["method"]) == ("bytes", method)
    assert peak_memory(lambda: None).value < SLACK
    assert len(held) == 50 * MEBIBYTE


@linux
def test_a_passing_peak_counts_in_full() -> None:
    if not memory._reset_high_water_mark():
        pytest.skip("this kernel does not reset the high-water mark")

    def twice() -> None:
        for _ in range(2):
            fill(60 * MEBIBYTE)

    assert 60 * MEBIBYTE - ROUNDING <= peak_memory(twice).value < 60 * MEBIBYTE + SLACK


@linux
def test_warm_up_runs_before() -> None:
    calls: list[int] = []
    assert peak_memory(lambda: calls.append(1), warmup=3).conditions["warmup"] == 3
    assert len(calls) == 4
    with pytest.raises(ConfigError, match=r"warmup: got -1; expected a whole number of at least 0"):
        peak_memory(int, warmup=-1)


@linux
@pytest.mark.parametrize("warmup", [0, 1])
def test_a_call_that_fails(warmup: int) -> None:
    with pytest.raises(MeasureError, match=r"peak memory: the call failed with ZeroDivisionError"):
        peak_memory(lambda: 1 // 0, warmup=warmup)


def test_a_system_that_does_not_tell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "PROC_SELF", tmp_path)
    with pytest.raises(MeasureError, match=r"does not tell a process its resident size; expected Linux"):
        peak_memory(int)
