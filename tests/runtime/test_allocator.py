"""Memory that stays with the process while calls are timed."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROBE = """
import ctypes, resource, torch
from sapwood.runtime import kept_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(1 << 20).add(1.0)  # four MiB each: mapped and unmapped one by one in a young process
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

young = faults()
with kept_memory() as able:
    faults()
    with kept_memory():
        pass
    kept = min(faults() for _ in range(5))  # the kernel may take pages back meanwhile
print(int(able), young, kept)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts page faults")
def test_no_page_faults_where_memory_is_kept() -> None:
    done = subprocess.run([sys.executable, "-c", PROBE], check=True, capture_output=True, text=True)
    able, young, kept = map(int, done.stdout.split())
    if not able:
        pytest.skip("this C library has no mallopt")
    assert young > 1000
    assert kept < 50
