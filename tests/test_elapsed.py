"""Time that passes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from sapwood.elapsed import Elapsed


def test_waiting_for_the_processor_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the clock a minute has gone, of which the process had a second; with two threads it is the other way round."""
    now = {"monotonic": 0.0, "process_time": 0.0}
    monkeypatch.setattr("sapwood.elapsed.time", SimpleNamespace(**{name: lambda name=name: now[name] for name in now}))
    elapsed = Elapsed()
    now.update(monotonic=60.0, process_time=1.0)
    assert elapsed.seconds == 1.0
    now.update(monotonic=60.0, process_time=110.0)
    assert elapsed.seconds == 60.0
