"""Runs one target for some seconds and writes what it met as JSON; ``run.py`` runs all of them."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from random import Random
from typing import Any

from guards import Guard, limit_memory

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))  # small networks and records are in its `support`

KEPT = 20
"""So many different violations are written down; a target that has more is broken in another way."""


FRESH = 0.4
"""So often a document is made from a seed and not from one that was found interesting, which is often refused early."""


class Campaign:
    """Counts what documents bring, and keeps those that bring violations.

    Args:
        name: The target.
        seconds: How long to go on.
        out: Where the result goes, ``NAME.json``, and documents that brought violations.
    """

    def __init__(self, name: str, seconds: float, out: Path) -> None:
        from targets import seeds_of

        self.name, self.out = name, out
        self.folder = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
        self.seeds, self._read, self.mutate = seeds_of(name, self.folder)
        self.guard = Guard(self.folder)
        self.counts: Counter[str] = Counter()
        self.violations: dict[str, str] = {}
        for seed in self.seeds:  # whatever is imported late is imported now
            self._one(seed)
        refused = self.counts["refused"]
        self.seeds_refused = refused
        self.counts.clear()
        self.seconds = seconds
        self.end = float("inf")  # the clock starts with the first document: what drives is imported until then

    def take(self, data: bytes) -> None:
        """Reads one document; ends the process when time is over."""
        if self.end == float("inf"):
            self.end = time.monotonic() + self.seconds
        self._one(data)
        if time.monotonic() > self.end:
            self.finish()

    def _one(self, data: bytes) -> None:
        from sapwood.errors import SapwoodError

        try:
            with self.guard.watch():
                self._read(data)
            self.counts["accepted"] += 1
        except SapwoodError as error:
            self.counts["refused"] += 1
            if self.folder.name not in str(error):
                self._violation(data, error, "names no file")
        except Exception as error:
            self._violation(data, error, "raises")

    def _violation(self, data: bytes, error: BaseException, kind: str) -> None:
        self.counts["violations"] += 1
        frames = traceback.extract_tb(error.__traceback__)
        place = next((f for f in reversed(frames) if "sapwood" in f.filename), frames[-1])
        key = f"{kind} {type(error).__name__} at {Path(place.filename).name}:{place.lineno}"
        if key in self.violations or len(self.violations) >= KEPT:
            return
        self.violations[key] = f"{error}"[:300]
        found = self.out / "found" / self.name
        found.mkdir(parents=True, exist_ok=True)
        name = hashlib.sha256(data).hexdigest()[:12]
        (found / name).write_bytes(data)
        (found / f"{name}.txt").write_text(key + "\n" + "".join(traceback.format_exception(error)))

    def finish(self) -> None:
        """Writes the result and ends the process at once, whoever calls."""
        result = {
            "target": self.name,
            "inputs": sum(self.counts.values()),
            **{key: self.counts[key] for key in ("accepted", "refused", "violations")},
            "seeds": len(self.seeds),
            "seeds_refused": self.seeds_refused,
            "found": self.violations,
        }
        self.out.mkdir(parents=True, exist_ok=True)
        (self.out / f"{self.name}.json").write_text(json.dumps(result, indent=1))
        import shutil

        shutil.rmtree(self.folder, ignore_errors=True)
        sys.stdout.flush()
        os._exit(0)


def _instrumented(engine: str) -> AbstractContextManager[Any]:
    """While Sapwood's modules and the YAML reader are imported: atheris makes them tell what they come through."""
    if engine != "atheris":
        return nullcontext()
    import atheris

    return atheris.instrument_imports(include=["sapwood", "yaml"])  # type: ignore[no-any-return]


def with_atheris(campaign: Campaign, seed: int) -> None:
    """Lets libFuzzer choose by coverage which documents to go on from; the mutations are ours or its own."""
    import atheris
    from targets import mutated

    def mutate(data: bytes, max_size: int, number: int) -> bytes:
        random = Random(number)
        if random.random() < FRESH:
            data = random.choice(campaign.seeds)
        if random.random() < 0.2:
            return bytes(atheris.Mutate(data, len(data)))[:max_size]
        return mutated(bytes(data), campaign.mutate, random)[:max_size]

    corpus = campaign.folder / ".corpus"
    corpus.mkdir()
    for number, data in enumerate(campaign.seeds):
        (corpus / str(number)).write_bytes(data)
    options = [
        f"-seed={seed}",
        "-max_len=262144",
        "-len_control=0",
        "-verbosity=0",
        "-rss_limit_mb=0",
        "-timeout=0",
        "-detect_leaks=0",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], campaign.take, custom_mutator=mutate)
    atheris.Fuzz()


def with_hypothesis(campaign: Campaign, seed: int) -> None:
    """Draws documents without looking at coverage, where atheris is not installed."""
    import hypothesis
    from hypothesis import strategies
    from targets import mutated

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=10**9, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck)
    )
    @hypothesis.given(strategies.sampled_from(campaign.seeds), strategies.integers(0, 2**64))
    def run(document: bytes, number: int) -> None:
        campaign.take(mutated(document, campaign.mutate, Random(number)))

    run()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", choices=("atheris", "hypothesis"), default="hypothesis")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    out = options.out.resolve()
    warnings.simplefilter("ignore")
    import torch  # noqa: F401 - not to be watched for coverage, nor what else is imported before

    with _instrumented(options.engine):
        campaign = Campaign(options.target, options.seconds, out)
    limit_memory()
    (with_atheris if options.engine == "atheris" else with_hypothesis)(campaign, options.seed)
    campaign.finish()


if __name__ == "__main__":
    main()
